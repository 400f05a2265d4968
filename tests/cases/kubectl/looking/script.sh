kubectl apply -f deployment.yml -f service.yml
kubectl apply -f deployment.yml -f service.yml
kubectl rollout status deployment/nginx-deployment
kubectl get deploy,svc -o wide
kubectl get svc nginx-service -o yaml
kubectl get pods -l app=nginx -o jsonpath='{range .items[*]}{.metadata.name} {.status.podIP}{"\n"}{end}'
kubectl get pods -o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName --no-headers
kubectl describe pod $(kubectl get pods -o jsonpath='{.items[0].metadata.name}')
kubectl describe deployment nginx-deployment
kubectl describe node kind-worker
kubectl get events
kubectl get endpoints nginx-service
kubectl exec deploy/nginx-deployment -- hostname
kubectl exec deploy/nginx-deployment -- curl -s -o /dev/null -w '%{http_code}\n' nginx-service
kubectl logs deploy/nginx-deployment --tail=2
kubectl label pod -l app=nginx tier=front
kubectl get pods --show-labels
kubectl scale deployment/nginx-deployment --replicas=3
kubectl wait --for=condition=Ready pod -l app=nginx
kubectl rollout restart deployment/nginx-deployment
kubectl rollout status deployment/nginx-deployment
kubectl rollout history deployment/nginx-deployment
kubectl cordon kind-worker
kubectl get nodes
kubectl uncordon kind-worker
kubectl version
kubectl delete -f deployment.yml -f service.yml
kubectl get all
