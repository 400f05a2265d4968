kubectl apply -f web.yml
kubectl rollout status deploy web
kubectl delete deploy web --dry-run=client
kubectl delete deploy web --dry-run=server
kubectl delete deploy web --cascade=sometimes
kubectl delete deploy web --cascade=orphan
kubectl get rs,deploy -o name
kubectl get rs -o jsonpath='{.items[*].metadata.ownerReferences}'
kubectl delete rs -l app=web
kubectl get pods -l app=web
kubectl apply -f web.yml
kubectl rollout status deploy web
kubectl delete deploy web --cascade=foreground --wait=false
kubectl get deploy web -o jsonpath='{.metadata.finalizers} {.metadata.generation}'
kubectl wait --for=delete deploy/web --timeout=60s
kubectl get all
kubectl apply -f held.yml
kubectl delete cm held --timeout=2s
kubectl get cm held -o jsonpath='{.metadata.deletionTimestamp} {.metadata.finalizers}'
kubectl apply -f held.yml
kubectl patch cm held -p '{"data":{"still":"changes"}}'
kubectl patch cm held --type=merge -p '{"metadata":{"finalizers":["example.com/hold","example.com/more"]}}'
kubectl patch cm held --type=json -p '[{"op":"remove","path":"/metadata/finalizers"}]'
kubectl get cm held
# Namespaces.
kubectl create ns shop
kubectl get sa,cm -n shop
kubectl apply -n shop -f web.yml -f held.yml
kubectl delete ns shop --wait=false
kubectl create cm late -n shop --from-literal=a=b
sleep 5
kubectl get ns shop -o jsonpath='{range .status.conditions[?(@.status=="True")]}{.type}: {.message}{"\n"}{end}'
kubectl patch cm held -n shop --type=merge -p '{"metadata":{"finalizers":null}}'
kubectl get ns shop
kubectl delete ns kube-system
# Several at once.
kubectl run a --image=nginx
kubectl run b --image=nginx
kubectl delete pod a b --now
kubectl run a --image=nginx -l app=a
kubectl delete pod -l app=a --force
kubectl delete pod -l app=a
kubectl delete pods --all
kubectl delete pod nope
kubectl delete pod nope --ignore-not-found
kubectl delete pods
kubectl delete cm kube-root-ca.crt -o name
kubectl get cm
kubectl delete svc kubernetes
sleep 11
kubectl get svc kubernetes
kubectl get endpointslices kubernetes
