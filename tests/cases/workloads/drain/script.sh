kubectl apply -f web.yml
kubectl rollout status deployment/web
kubectl get pdb
kubectl describe pdb web
kubectl cordon kind-worker --dry-run=client
kubectl cordon kind-worker
kubectl cordon kind-worker
kubectl drain kind-worker
kubectl drain kind-worker --ignore-daemonsets
kubectl drain kind-worker --ignore-daemonsets --delete-emptydir-data --force --dry-run=server
kubectl drain kind-worker --ignore-daemonsets --delete-emptydir-data --force --timeout=3s
kubectl drain kind-worker --ignore-daemonsets --delete-emptydir-data --force
kubectl get pods -o wide
kubectl get nodes
kubectl uncordon kind-worker
kubectl uncordon kind-worker
kubectl get pdb
