# What a virtual server sends on leaves through OUTPUT, not FORWARD: policies hold there, too.
kind delete cluster
kind create cluster --config kind.yml
kubectl apply -f apps.yml
kubectl wait --for=condition=ready pod --all
sleep 2
for pod in friend near far; do kubectl exec $pod -- curl -s -o /dev/null -w "$pod %{http_code}\n" 10.96.0.80; done
kubectl apply -f friends.yml
sleep 1
for pod in friend near far; do kubectl exec $pod -- curl -s -S -m 2 -o /dev/null -w "$pod %{http_code}\n" 10.96.0.80; done
lab path | grep LOST
# The node's own processes reach the Pods of the node.
docker exec kind-worker curl -s -o /dev/null -w '%{http_code}\n' 10.96.0.80
docker exec kind-worker iptables -S OUTPUT
# Who may not send may not send to a virtual server.
kubectl apply -f hermit.yml
sleep 1
kubectl exec friend -- curl -s -S -m 2 -o /dev/null 10.96.0.80
kubectl delete netpol --all
sleep 1
for pod in friend near far; do kubectl exec $pod -- curl -s -S -m 2 -o /dev/null -w "$pod %{http_code}\n" 10.96.0.80; done
docker exec kind-worker iptables -S OUTPUT
