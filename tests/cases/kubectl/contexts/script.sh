kubectl create namespace shop
kubectl config set-context --current --namespace=shop
kubectl get pods
kubectl apply -f pod.yml
kubectl get configmaps
kubectl get configmaps -n default there
kubectl create deployment web --image=nginx:1.27
kubectl get deployments -A -o jsonpath='{.items[?(@.metadata.name=="web")].metadata.namespace}{"\n"}'
kubectl config get-contexts
kubectl config view --minify -o jsonpath='{..namespace}{"\n"}'
kubectl config view
kubectl config set-context kind-other --namespace=x
kubectl config set-context --namespace=x
kind create cluster --name two -q
kubectl config current-context
kubectl get pods
kubectl config use-context kind-kind
kubectl get configmaps here
kubectl config set-context --current --namespace=
kubectl get configmaps
