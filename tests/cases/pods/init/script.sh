kubectl apply -f pods.yml
sleep 2
kubectl get pods
sleep 3
kubectl get pods
sleep 4
kubectl get pods
kubectl exec site -c web -- cat /usr/share/nginx/html/index.html
kubectl logs site -c proxy
kubectl logs broken -c check
sleep 40
kubectl get pods
kubectl describe pod job
kubectl get pod never -o jsonpath='{.status.phase} {.status.conditions[?(@.type=="Initialized")]}{"\n"}'
kubectl delete pod site
