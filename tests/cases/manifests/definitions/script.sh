kubectl apply -f tab.yml
kubectl apply -f crd.yml
kubectl api-resources | grep -i crontab
kubectl apply -f tab.yml
kubectl get crontabs
kubectl get ct my-tab -o jsonpath='{.spec}'
kubectl patch ct my-tab --type=merge -p '{"spec":{"replicas":3,"colour":"red"}}'
kubectl apply -f tab.yml
kubectl get ct my-tab -o jsonpath='{.spec}{"\n"}{.metadata.annotations}{"\n"}'
kubectl apply -f wrong.yml
kubectl delete crd crontabs.stable.example.com
kubectl get crontabs
