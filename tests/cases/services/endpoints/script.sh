kubectl apply -f web.yml -f service.yml
kubectl rollout status deployment web
sleep 1
kubectl get endpoints web
kubectl get endpointslices -l kubernetes.io/service-name=web
kubectl get endpointslices -l kubernetes.io/service-name=web -o yaml
kubectl scale deployment web --replicas=5
kubectl rollout status deployment web
sleep 1
kubectl get endpoints web
kubectl get endpointslices -l kubernetes.io/service-name=web
kubectl scale deployment web --replicas=0
sleep 5
kubectl get endpointslices -l kubernetes.io/service-name=web
kubectl apply -f outside.yml
sleep 1
kubectl get endpointslices -l kubernetes.io/service-name=database
curl -sS 172.18.0.3 -m 1
docker exec kind-worker curl -s $(kubectl get service database -o jsonpath='{.spec.clusterIP}'):5432/healthz
