kubectl apply -f tab.yml
kubectl apply -f crd.yml
kubectl api-resources | grep -i crontab
kubectl apply -f tab.yml
kubectl get crontabs
kubectl get ct my-tab -o jsonpath='{.spec}'
kubectl apply -f wrong.yml
kubectl delete crd crontabs.stable.example.com
kubectl get crontabs
