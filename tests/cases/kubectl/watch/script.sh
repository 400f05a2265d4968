kubectl apply -f deployment.yml
kubectl rollout status deploy nginx-deployment
kubectl get pods -w & sleep 1; kubectl delete pod -l app=nginx --wait=false; sleep 3; kill $!
kubectl get pods -l app=nginx --watch-only --output-watch-events & sleep 1; kubectl label pod -l app=nginx app=other --overwrite; sleep 2; kill $!
kubectl run test --image=nginx --dry-run=client -o yaml
kubectl create namespace shop; kubectl -n shop create deployment web --image=httpd --port=80
kubectl -n shop expose deployment web --port 8080 --target-port 80 --type NodePort
kubectl -n shop wait --for=condition=Available deployment/web
kubectl -n shop get all -o name | cut -d- -f1
kubectl delete namespace shop
kubectl get pods -n shop
kubectl taint nodes kind-worker a=b:NoSchedule
