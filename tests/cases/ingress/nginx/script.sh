kind delete cluster
kind create cluster --config kind.yml
kubectl apply -f apps.yml
kubectl apply -f ingress.yml
kubectl get ingress
curl localhost/foo
lab addon ingress
lab addon ingress
kubectl wait -n ingress-nginx --for=condition=ready pod -l app.kubernetes.io/component=controller --timeout=90s
kubectl get pods -n ingress-nginx -o wide
curl -i localhost/
curl localhost/foo
curl localhost/foo/a?b=c
curl localhost/food -o /dev/null -sw '%{http_code}\n'
curl -sI localhost/bar
curl localhost/bar/ -o /dev/null -sw '%{http_code}\n'
curl -i localhost/nobody
curl localhost/missing -o /dev/null -sw '%{http_code}\n'
curl -s localhost/wrong-port
curl -s -H 'Host: foo.example.com' localhost/api/v1/users | grep GET
curl -s -H 'Host: a.bar.example.com' localhost/ | head -4
curl -s -H 'Host: other.example.com' localhost/bar -o /dev/null -w '%{http_code}\n'
sleep 10
kubectl get ingress
kubectl describe ingress paths
kubectl describe ingressclass nginx
docker exec kind-control-plane iptables -t nat -S | grep CNI
kubectl logs -n ingress-nginx deploy/ingress-nginx-controller --tail=3
lab trace curl -s -o /dev/null localhost/foo | grep '→'
kubectl delete deployment -n ingress-nginx ingress-nginx-controller
sleep 5
docker exec kind-control-plane iptables -t nat -S CNI-HOSTPORT-DNAT
curl localhost/foo
