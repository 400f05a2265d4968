kubectl apply -f shell.yml
sleep 20
kubectl get pods
kubectl logs box -c loop
kubectl logs once
kubectl exec box -c loop -- sh -c 'echo $GREETING; hostname; pwd; cd /tmp; echo x > a; cat a; ls /'
kubectl exec box -c loop -- env
kubectl exec box -c sleeper -- cat /tmp/a
kubectl exec box -c loop -- no-such-program
time kubectl delete pod box
time kubectl delete pod polite
kubectl get pods own
kubectl exec own -- cat /usr/share/nginx/html/index.html
