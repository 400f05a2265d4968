kubectl run net --image=nicolaka/netshoot -- sleep 1d
kubectl run box --image=busybox -- sleep 1d
kubectl run redis --image=redis
kubectl run ears --image=nicolaka/netshoot --restart=Never -- sh -c 'nc -lv 7000; nc -luv -w 2 7001; echo over'
kubectl apply -f web.yml
kubectl wait --for=condition=Ready pod --all --timeout=30s
ip() { kubectl get pod $1 -o jsonpath='{.status.podIP}'; }
# The port that it speaks from is the one that was asked for.
kubectl exec net -- sh -c "echo hello | nc -p 4000 -w 1 $(ip ears) 7000"
kubectl exec net -- sh -c "echo datagram | nc -u -p 4001 -w 1 $(ip ears) 7001"
kubectl exec net -- sh -c "nc -l 4000 & sleep 1; nc -p 4000 -w 1 $(ip redis) 6379 < /dev/null"
kubectl exec box -- sh -c "nc -l -p 4000 & sleep 1; nc -p 4000 -w 1 $(ip redis) 6379 < /dev/null"
kubectl exec box -- nc -p x $(ip redis) 6379
# Who follows a log is done when the container is.
kubectl logs -f ears
# More lines than are kept: nobody who follows misses one.
kubectl run counter --image=busybox --restart=Never -- sh -c 'sleep 2; i=0; while [ $i -lt 1500 ]; do echo line $i; i=$((i + 1)); done'
kubectl wait --for=condition=Ready pod/counter
kubectl logs -f counter | tail -1
kubectl logs counter | wc -l
kubectl exec redis -- redis-cli INCR n
kubectl exec redis -- redis-cli RPUSH list a b c
kubectl exec redis -- redis-cli LRANGE list 0 -1
kubectl exec redis -- redis-cli GET nothing
# A server may be named, and is asked.
kubectl exec net -- host kubernetes.default.svc.cluster.local kube-dns.kube-system
kubectl exec net -- host kubernetes nowhere
kubectl exec net -- host -t NOPE kubernetes
kubectl exec net -- nslookup -timeout=1 -retry=0 web 10.96.0.99
kubectl exec net -- nslookup -port=54 web
# What is sent elsewhere is asked for there.
kubectl exec net -- curl -sL -d x=1 web/old
kubectl exec net -- curl -s web/nothing
kubectl exec net -- sh -c 'curl -sI web/conf/conf.d | grep Location'
kubectl exec net -- curl -s web/app/page
kubectl exec net -- wget -qO- web/old
# Jobs have numbers of their own, and are forgotten once they were waited for.
sleep 1 & sleep 2 & jobs; kill %1; wait $!; echo "code $?"; wait $!; echo "code $?"
jobs
kubectl get -f web.yml
kubectl get -f web.yml -o name
kubectl describe -f web.yml | grep ^Name:
kubectl wait --for=delete -f web.yml
: > empty.yml
kubectl create -f empty.yml
kubectl replace -f empty.yml
kubectl delete -f empty.yml
kubectl exec net -- sh -c 'wget -P /tmp -q web/new; cat /tmp/new'
