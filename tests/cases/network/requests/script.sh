kubectl apply -f deployment.yml -f service.yml
kubectl rollout status deploy nginx-deployment
sleep 2
curl -v localhost:30007 -o /dev/null
docker exec kind-control-plane conntrack -L -p tcp --dport 30007
docker exec kind-worker ip addr
docker exec kind-worker ip route get 10.244.2.2
docker exec kind-control-plane iptables -t nat -S KUBE-NODEPORTS
docker exec kind-control-plane iptables -t nat -nvL POSTROUTING --line-numbers
kubectl exec -it deploy/nginx-deployment -- curl -sI localhost
kubectl logs deploy/nginx-deployment
lab trace curl -s -o /dev/null localhost:30007
# What one rule does: nobody but the node itself gets in.
docker exec kind-control-plane iptables -I INPUT -p tcp --dport 30007 -j DROP
docker exec kind-control-plane iptables -t raw -A PREROUTING -p tcp --dport 30007 -j DROP
curl -sS -m 3 localhost:30007
docker exec kind-control-plane iptables -t raw -D PREROUTING -p tcp --dport 30007 -j DROP
curl -s -o /dev/null -w '%{http_code}\n' localhost:30007
