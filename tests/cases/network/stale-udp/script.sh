# A UDP conversation outlives its endpoint: kube-proxy forgets it, so that the next datagram finds another.
kubectl apply -f udp.yml
kubectl rollout status deployment/echo
kubectl wait --for=condition=Ready pod/client
kubectl exec client -- sh -c 'echo hostname | nc -u -w 1 echo 81'; echo
docker exec kind-worker2 conntrack -L -p udp
kubectl delete pod -l app=echo --wait=false
kubectl rollout status deployment/echo
sleep 2
docker exec kind-worker2 conntrack -L -p udp
kubectl exec client -- sh -c 'echo hostname | nc -u -w 1 echo 81'; echo
kubectl get pods -o wide
