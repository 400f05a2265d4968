kubectl apply -f web.yml
sleep 5
lab fault node-cut kind-worker
sleep 60
kubectl get nodes
kubectl get pods -o wide
lab heal node-cut kind-worker
sleep 3
kubectl get nodes
kubectl get pods -o wide
kubectl get events --field-selector reason=NodeReady
