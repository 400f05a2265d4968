kubectl create service clusterip who --tcp=80
kubectl create service clusterip hello --tcp=80:8080
kubectl apply -f servers.yml
sleep 5
kubectl expose pod web --port=80
sleep 2
ask() { kubectl exec box -- curl -s $*; }
ask web/a/b?c
ask web/who
ask web/two
ask web/two
ask -i web/late
ask -I web/away
ask -I web/files/
ask web/files/nope
kubectl logs web
kubectl exec web -- cat /etc/nginx/conf.d/default.conf | head -3
# nginx looks names up once, when it starts; what it does not understand ends it, too.
kubectl apply -f broken.yml
sleep 5
kubectl get pods lost typo
kubectl logs lost | tail -2
kubectl logs typo | tail -1
# The image's own page can be replaced.
kubectl run plain --image=nginx --port=80
sleep 4
kubectl exec plain -- sh -c 'echo mine > /usr/share/nginx/html/index.html'
ask $(kubectl get pod plain -o jsonpath={.status.podIP})
