# Ours: no real tool says this.
kubectl apply -f deployment.yml -f service.yml
kubectl rollout status deployment nginx-deployment
sleep 2
lab origin kind-worker KUBE-NODEPORTS
lab origin kind-worker KUBE-SVC-V2OKYYMBY3REGZOG
lab origin kind-worker KUBE-SERVICES
lab origin kind-worker KUBE-NOTHING
lab origin nobody KUBE-SERVICES
kind delete cluster
kind create cluster --config kind.yml -q
kubectl apply -f deployment.yml -f service.yml
kubectl rollout status deployment nginx-deployment
sleep 2
for chain in $(docker exec kind-worker nft list table ip kube-proxy | grep -o '[a-z]*-[A-Z0-9]*-default/nginx-service[^ ,]*' | sort -u); do lab origin kind-worker $chain; done
lab origin kind-worker services
