kubectl apply -f web.yml -f nodeport.yml
kubectl rollout status deployment web
kubectl get service web
curl -s -o /dev/null -w '%{http_code}\n' 172.18.0.3:$(kubectl get service web -o jsonpath='{.spec.ports[0].nodePort}')
kubectl apply -f clusterip.yml
kubectl get service web
kubectl apply -f externalname.yml
kubectl get service web -o yaml
kubectl apply -f loadbalancer.yml
kubectl get service web
kubectl apply -f local.yml
kubectl describe service web
kubectl delete service web
kubectl apply -f many.yml
kubectl get services
kubectl describe service headless
