kubectl create deployment web --image=nginx:1.27 --replicas=2
kubectl rollout status deployment/web
kubectl delete node kind-worker2
sleep 10
kubectl get pods -l app=web -o wide
sleep 55
kubectl get nodes
kubectl get pods -l app=web -o wide
docker restart kind-worker2
sleep 10
kubectl get nodes
kubectl get pods -A --field-selector spec.nodeName=kind-worker2
kubectl get events --field-selector involvedObject.kind=Node,involvedObject.name=kind-worker2
docker stop kind-worker
docker ps --format '{{.Names}} {{.Status}}'
docker ps -a --format '{{.Names}} {{.Status}}'
docker exec kind-worker ip route
sleep 60
kubectl get nodes
docker start kind-worker
sleep 10
kubectl get nodes
docker stop nowhere
docker stop kind-control-plane
