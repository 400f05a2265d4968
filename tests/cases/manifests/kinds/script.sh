kubectl apply -f old.yml
kubectl apply -f gone.yml
kubectl apply -f unknown.yml
kubectl apply -f cluster.yml
kubectl apply -f scaler.yml
kubectl get hpa web -o jsonpath='{.apiVersion} {.spec.metrics[0].resource.target.averageUtilization}'
kubectl apply -f stored.yml
