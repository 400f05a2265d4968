# The words are iptables' own; what a flush leads to is upstream's (pkg/util/iptables, Monitor).
sleep 5
docker exec kind-worker iptables-save -t filter
docker exec kind-worker iptables -t mangle -S
# Somebody flushes everything; kube-proxy looks every 30 seconds, the kubelet every minute.
docker exec kind-worker sh -c 'iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X'
docker exec kind-worker iptables -t mangle -X
docker exec kind-worker iptables-save | grep -c KUBE
sleep 31
docker exec kind-worker iptables-save | grep -c KUBE
docker exec kind-worker iptables -t mangle -S
sleep 30
docker exec kind-worker iptables -t mangle -S
docker exec kind-worker iptables -S INPUT
# One table only is not a flush.
docker exec kind-worker iptables -t mangle -X
sleep 60
docker exec kind-worker iptables -t mangle -S
