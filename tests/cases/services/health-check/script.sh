# The answers of kube-proxy's health-check node port are upstream's (pkg/proxy/healthcheck/service_health.go).
kubectl apply -f web.yml
kubectl rollout status deployment web
sleep 2
curl -i http://172.18.0.3:31000/
curl -s http://172.18.0.4:31000/healthz -w '\n%{http_code}\n'
# It follows the endpoints, and goes with the Service.
kubectl scale deployment web --replicas=0
sleep 3
curl -s http://172.18.0.3:31000/ -w '\n%{http_code}\n'
kubectl scale deployment web --replicas=2
sleep 5
curl -sI http://172.18.0.3:31000/ | grep Weight
lab fault kube-proxy-stop kind-worker
curl -sS http://172.18.0.3:31000/
lab heal kube-proxy-stop kind-worker
sleep 2
curl -s -o /dev/null http://172.18.0.3:31000/ -w '%{http_code}\n'
kubectl patch service web -p '{"spec":{"externalTrafficPolicy":"Cluster"}}'
sleep 2
curl -sS http://172.18.0.3:31000/
