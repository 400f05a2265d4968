kubectl apply -f pods.yml
sleep 5
kubectl apply -f node.yml
sleep 5
kubectl get pods
sleep 20
kubectl get pods
kubectl get events --field-selector reason=TaintManagerEviction
kubectl cordon kind-worker
sleep 1
kubectl get node kind-worker -o jsonpath='{range .spec.taints[*]}{.key}:{.effect}{"\n"}{end}'
kubectl uncordon kind-worker
sleep 1
kubectl get node kind-worker -o jsonpath='{range .spec.taints[*]}{.key}:{.effect}{"\n"}{end}'
