# The story of the first page, from an empty machine.
kind delete cluster
kind create cluster --config kind.yml
kubectl get nodes -o wide
kubectl apply -f deployment.yml
kubectl rollout status deployment/nginx-deployment
kubectl get pods -o wide
kubectl apply -f service.yml
kubectl get svc
sleep 2
for i in 1 2 3 4; do curl -s localhost:30007 | grep title; done
kubectl describe svc nginx-service
kubectl get endpointslices
kubectl delete $(kubectl get pods -o name | head -1)
kubectl get pods -o wide
sleep 2
curl -s localhost:30007 | grep title
kubectl apply -f httpd.yml
kubectl rollout status deployment/httpd-deployment
sleep 2
for i in 1 2 3 4; do curl -s localhost:30007 | head -4; done
kubectl drain kind-worker --ignore-daemonsets
sleep 3
kubectl get pods -o wide -A
curl -s localhost:30007 | grep -c h1
docker exec kind-worker2 iptables-save -t nat | grep -c KUBE
docker exec kind-worker iptables -t nat -L KUBE-NODEPORTS -n -v
docker ps
docker exec kind-control-plane ip route
kubectl get all
kubectl scale deployment/nginx-deployment --replicas=0
kubectl delete deployment httpd-deployment
sleep 3
# A Service without endpoints refuses.
curl -sS localhost:30007
lab trace curl -s 172.18.0.3:30007
lab status
