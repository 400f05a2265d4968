curl -sS 172.18.0.3:8080
kubectl apply -f pod.yml
kubectl wait --for=condition=ready pod --all
curl -s 172.18.0.3:8080 | grep title
curl -sS 172.18.0.4:8080
docker exec kind-worker curl -s localhost:8080 | grep title
docker exec kind-worker2 curl -s 172.18.0.3:8080 | grep title
kubectl exec client -- curl -s 172.18.0.3:8080 | grep title
kubectl exec web -- curl -s 172.18.0.3:8080 | grep title
kubectl logs web --tail=5
docker exec kind-worker iptables-save -t nat | grep CNI-
kubectl delete pod web --now
docker exec kind-worker iptables-save -t nat | grep CNI-DN
curl -sS 172.18.0.3:8080
