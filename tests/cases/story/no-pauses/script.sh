# The same story by somebody who does not wait: between two commands no time passes but their own.
kind delete cluster
kind create cluster --config kind.yml
kubectl apply -f deployment.yml
kubectl apply -f service.yml
kubectl rollout status deployment/nginx-deployment
for i in 1 2 3 4; do curl -sS localhost:30007 | grep title; done
kubectl delete $(kubectl get pods -o name | head -1)
for i in 1 2 3 4; do curl -sS localhost:30007 | grep title; done
kubectl get pods -o wide
kubectl apply -f httpd.yml
kubectl rollout status deployment/httpd-deployment
for i in 1 2 3 4; do curl -sS localhost:30007 | grep h1; done
kubectl drain kind-worker --ignore-daemonsets
for i in 1 2 3 4; do curl -sS localhost:30007 | grep h1; done
kubectl get pods -o wide
