kubectl apply -f all.yml
sleep 8
kubectl get pods -o wide
kubectl exec box -- cat /etc/resolv.conf /etc/hosts
kubectl exec onnode -- cat /etc/resolv.conf
kubectl exec onnode -- nslookup web
# A headless Service has the addresses of those that are ready.
kubectl exec box -- dig +noall +answer db.default.svc.cluster.local
kubectl exec box -- dig +noall +answer db-all.default.svc.cluster.local
kubectl exec box -- dig +noall +answer db-0.db.default.svc.cluster.local
kubectl exec box -- nslookup db-1.db.default.svc.cluster.local
kubectl exec box -- nslookup empty
kubectl exec box -- dig +noall +answer +additional SRV _sql._tcp.db-all.default.svc.cluster.local
kubectl exec box -- dig +noall +answer +additional SRV _sql._udp.db-all.default.svc.cluster.local
# Names that stand for others.
kubectl exec box -- dig +noall +answer elsewhere.default.svc.cluster.local
kubectl exec box -- dig +noall +answer inside.default.svc.cluster.local
kubectl exec box -- curl -s inside:5678
# A name that is there, without this type; the namespace is not there; the specification's version.
kubectl exec box -- dig +noall +comments +authority AAAA kubernetes.default.svc.cluster.local
kubectl exec box -- nslookup -type=TXT kubernetes.nowhere.svc.cluster.local
kubectl exec box -- dig +short TXT dns-version.cluster.local
kubectl exec box -- dig +short 10-244-1-2.default.pod.cluster.local
kubectl exec box -- dig +short -x $(kubectl get pod db-0 -o jsonpath={.status.podIP})
kubectl exec box -- dig +noall +answer cluster.local SOA
kubectl exec box -- getent hosts foo
# The servers follow the API.
kubectl delete service db
kubectl exec box -- dig +noall +comments db.default.svc.cluster.local | grep status
sleep 1
kubectl exec box -- dig +noall +comments db.default.svc.cluster.local | grep status
# Nobody is there to be asked.
kubectl scale deployment coredns -n kube-system --replicas=0
sleep 10
time kubectl exec box -- curl -s db-all:5678
kubectl exec box -- nslookup db-all
