kubectl apply -f fields.yml
kubectl apply -f fields.yml --validate=warn
kubectl apply -f pod.yml
kubectl apply -f workloads.yml
kubectl apply -f service.yml
kubectl apply -f policy.yml
# What may not change.
kubectl apply -f single.yml
kubectl apply -f web.yml
sed -i 's/app: web/app: shop/' web.yml
kubectl apply -f web.yml
sed -i 's/name: nginx/name: httpd/; s/image: nginx/image: httpd/' single.yml
kubectl apply -f single.yml
