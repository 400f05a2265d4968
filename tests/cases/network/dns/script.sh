kubectl get pods,svc -n kube-system -l k8s-app=kube-dns
kubectl create deployment web --image=nginx --replicas=2
kubectl expose deployment web --port=80
kubectl run box --image=busybox -- sleep 1d
kubectl run net --image=nicolaka/netshoot -- sleep 1d
kubectl wait --for=condition=Ready pod --all --timeout=30s
sleep 2
kubectl exec box -- cat /etc/resolv.conf
kubectl exec box -- cat /etc/hosts
kubectl exec box -- nslookup web
kubectl exec box -- nslookup web.default.svc.cluster.local
kubectl exec box -- nslookup web.default
kubectl exec net -- nslookup kubernetes
kubectl exec net -- nslookup nope
kubectl exec net -- dig web.default.svc.cluster.local
kubectl exec net -- dig +short +search web
kubectl exec net -- dig +short -x 10.96.0.1
kubectl exec net -- dig +noall +answer +additional SRV _dns._udp.kube-dns.kube-system.svc.cluster.local
kubectl exec net -- dig nope.default.svc.cluster.local +noall +comments +authority
kubectl exec net -- dig @kube-dns.kube-system kind-worker +short
kubectl exec net -- dig example.com +noall +comments +authority
kubectl exec net -- host web
kubectl exec net -- getent hosts kube-dns.kube-system
kubectl exec net -- curl -sv web -o /dev/null
kubectl exec box -- wget -qO- web | head -4
kubectl exec box -- wget -O /dev/null web
kubectl exec box -- wget -qO- nope
kubectl exec box -- wget -qO- web:81
kubectl exec net -- nc -zv web 80
kubectl exec box -- nc -zv web 80
curl web
docker exec kind-worker cat /etc/resolv.conf
docker exec kind-worker dig +short kind-worker2
dig +short web.default.svc.cluster.local @10.96.0.10 +time=1 +tries=1
kubectl logs -n kube-system deployment/coredns
