# ipvsadm's layout is that of 1.31 (ipvsadm.c), the rules and sets are upstream's (pkg/proxy/ipvs): all of it by reading.
kind delete cluster
kind create cluster --config kind.yml
kubectl apply -f web.yml
kubectl rollout status deploy web
sleep 3
# One turn each, through the port of a node and from the node itself.
for i in 1 2 3 4; do curl -s 172.18.0.3:30080; done
IP=$(kubectl get svc web -o jsonpath='{.spec.clusterIP}')
for i in 1 2 3; do docker exec kind-worker curl -s $IP; done
docker exec kind-worker ipvsadm -Ln
docker exec kind-worker ipvsadm -Lnc
docker exec kind-worker conntrack -L -p tcp --dport 30080
docker exec kind-worker ip addr show kube-ipvs0
docker exec kind-worker iptables-save -t nat
docker exec kind-worker iptables-save -t filter | grep -v KUBE-FIREWALL
docker exec kind-worker ipset list -n
docker exec kind-worker ipset list KUBE-CLUSTER-IP
docker exec kind-worker ipset list KUBE-NODE-PORT-TCP
# Affinity.
for i in 1 2 3; do docker exec kind-worker2 curl -s 10.96.0.77; done
docker exec kind-worker2 ipvsadm -Ln -t 10.96.0.77:80
docker exec kind-worker2 ipvsadm -Lnc
# Nobody is there.
docker exec kind-worker curl -s -S 10.96.0.78
# Another port of a Service's address is nobody's, whatever the node listens to.
docker exec kind-worker2 curl -s -S --max-time 2 $IP:10250
# A Pod calls itself.
POD=$(kubectl get pods -o jsonpath='{.items[0].metadata.name}')
for i in 1 2 3; do kubectl exec $POD -- wget -q -O - $IP; done
# A Pod goes: its servers get nothing more, and are gone when their connections are.
kubectl delete pod $POD
kubectl rollout status deploy web
sleep 2
docker exec kind-worker ipvsadm -Ln -t 172.18.0.3:30080
for i in 1 2 3; do curl -s 172.18.0.3:30080; done
sleep 200
docker exec kind-worker ipvsadm -Ln -t 172.18.0.3:30080
# Names are found by UDP.
for i in 1 2 3; do docker exec kind-worker dig +short web.default.svc.cluster.local @10.96.0.10; done
docker exec kind-worker ipvsadm -Ln -u 10.96.0.10:53
docker exec kind-worker ipvsadm -Ln --stats -t 172.18.0.3:30080
# Somebody clears it all; the next sync puts it right.
docker exec kind-worker ipvsadm -C
docker exec kind-worker ipvsadm -Ln
sleep 31
docker exec kind-worker ipvsadm -Ln -t 172.18.0.3:30080
kubectl delete svc web sticky empty
sleep 3
docker exec kind-worker ipvsadm -Ln
docker exec kind-worker ip -br addr show kube-ipvs0
# Ports of nodes for Pods are the CNI plugin's, on 127.0.0.1 too.
kubectl apply -f host-port.yml
kubectl wait --for=condition=ready pod/host-port
curl -s 172.18.0.3:8888
docker exec kind-worker curl -s --max-time 2 127.0.0.1:8888
