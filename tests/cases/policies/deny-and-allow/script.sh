kubectl apply -f apps.yml
kubectl wait --for=condition=ready pod --all
IP=$(kubectl get pod web -o jsonpath='{.status.podIP}')
kubectl exec stranger -- curl -s -o /dev/null -w '%{http_code}\n' $IP
kubectl apply -f deny.yml
kubectl get netpol
kubectl describe netpol deny-all
kubectl exec stranger -- curl -sS -m 2 $IP
lab path | grep LOST
kubectl exec friend -- curl -sS -m 2 $IP
kubectl apply -f allow.yml
kubectl describe netpol friends
sleep 1
kubectl exec friend -- curl -s -o /dev/null -w '%{http_code}\n' $IP
kubectl exec stranger -- curl -sS -m 2 $IP
lab path | grep LOST
curl -s -o /dev/null -w '%{http_code}\n' localhost:30007
docker exec kind-worker iptables -S | grep -e ROUTER -e POD-FW -e NWPLCY
docker exec kind-worker2 iptables -S | grep -c -e POD-FW
docker exec kind-worker ipset list
kubectl delete netpol --all
sleep 1
docker exec kind-worker iptables -S | grep -c -e ROUTER -e POD-FW -e NWPLCY
kubectl exec stranger -- curl -s -o /dev/null -w '%{http_code}\n' $IP
