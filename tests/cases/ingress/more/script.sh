kind delete cluster
kind create cluster --config kind.yml -q
lab addon ingress
kubectl wait -n ingress-nginx --for=condition=ready pod -l app.kubernetes.io/component=controller --timeout=90s
kubectl annotate ingressclass nginx ingressclass.kubernetes.io/is-default-class=true
kubectl apply -f apps.yml -f ingress.yml -f other-class.yml
kubectl wait --for=condition=ready pod --all
sleep 6
kubectl get ingress
kubectl describe ingress
for i in 1 2 3 4; do curl -s localhost; done
curl -s -H 'Host: other.example.com' localhost -o /dev/null -w '%{http_code}\n'
curl -sS -k https://localhost
curl -s -H 'Host: slow.example.com' localhost -w '%{http_code} %{time_total}\n' -o /dev/null
kubectl delete pod one --now
sleep 2
for i in 1 2; do curl -s localhost; done
kubectl apply -f deny.yml
sleep 1
# A connection that stands outlives a policy; the proxy keeps one for a minute.
curl -s localhost
sleep 61
curl -s localhost -w '%{http_code} %{time_total}\n' -o /dev/null
lab path | grep LOST | head -1
kubectl delete netpol --all
kubectl delete ingress all
sleep 2
curl -s localhost -o /dev/null -w '%{http_code}\n'
kubectl get events -A | grep Sync
