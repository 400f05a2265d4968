# What kube-proxy is told by kubeadm's configuration, and what rules follow (pkg/proxy/iptables).
kind delete cluster
kind create cluster --config kind.yml -q
kubectl apply -f deployment.yml -f service.yml
kubectl rollout status deployment nginx-deployment
sleep 2
kubectl -n kube-system get cm kube-proxy -o yaml | grep -A1 -E 'masquerade|nodePortAddresses'
docker exec kind-worker iptables-save -t nat | grep -E '0x|NODEPORTS|nginx-service cluster'
docker exec kind-control-plane curl -s -o /dev/null -w '%{http_code}\n' kind-worker:30007
docker exec kind-worker curl -sS -m 2 localhost:30007
kind delete cluster
kind create cluster --config none.yml
kubectl get pods -A
kubectl apply -f deployment.yml -f service.yml
sleep 5
docker exec kind-worker iptables-save
docker exec kind-worker curl -sS -m 2 localhost:30007
