# kube-proxy in nftables mode: one table with maps, and what each change does to it.
kind delete cluster
kind create cluster --config kind.yml
kubectl apply -f web.yml
kubectl rollout status deployment/web
sleep 2
kubectl get pods -o wide
# Nothing of kube-proxy is in the tables of iptables.
docker exec kind-worker iptables-save | grep -c KUBE-SVC
docker exec kind-worker nft list table ip kube-proxy
# Turns.
for i in 1 2 3 4; do curl -s localhost:30007/hostname; echo; done
kubectl run client --image=busybox --command -- sleep infinity
kubectl wait --for=condition=Ready pod/client
kubectl exec client -- sh -c 'for i in 1 2 3 4; do wget -qO- http://web/hostname; echo; done'
# The node's own address answers; 127.0.0.1 does not, and no other port of a cluster IP.
docker exec kind-worker curl -s 172.18.0.3:30007/hostname; echo
docker exec kind-worker curl -sS 127.0.0.1:30007/hostname
kubectl exec client -- wget -qO- -T 2 http://web:81/
# By chance, as a real one.
lab set load-balancing random
sleep 2
docker exec kind-worker nft list table ip kube-proxy | grep numgen
lab set load-balancing round-robin
# A Pod goes: its chain is emptied at once, and deleted by a later sync.
kubectl delete $(kubectl get pods -l app=web -o name | head -1) --wait=false
sleep 40
docker exec kind-worker nft list table ip kube-proxy | grep -c endpoint-
for i in 1 2 3 4; do curl -s localhost:30007/hostname; echo; done
# Clients keep their endpoint.
kubectl apply -f affinity.yml
sleep 2
for i in 1 2 3 4; do curl -s localhost:30007/hostname; echo; done
docker exec kind-control-plane nft list sets table ip kube-proxy
# A Service without endpoints refuses.
kubectl scale deployment/web --replicas=0
sleep 3
docker exec kind-worker nft list map ip kube-proxy no-endpoint-services
docker exec kind-worker nft list map ip kube-proxy no-endpoint-nodeports
curl -sS localhost:30007
curl -sS 172.18.0.3:30007
kubectl exec client -- wget -qO- -T 2 http://web/
lab trace curl -s 172.18.0.3:30007
# A table that somebody deletes comes back.
docker exec kind-worker nft delete table ip kube-proxy
kubectl scale deployment/web --replicas=1
sleep 35
docker exec kind-worker nft list table ip kube-proxy | grep -c chain
lab log | grep 'rules kind-worker:' | tail -12
