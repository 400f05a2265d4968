kubectl apply -f web.yml
sleep 5
kubectl get pods -o wide
kubectl get leases -n kube-node-lease
kubectl get lease -n kube-node-lease kind-worker -o jsonpath='{.spec.renewTime}{"\n"}'
lab fault node-down kind-worker
sleep 40
kubectl get nodes
sleep 20
kubectl get nodes
kubectl get pods
kubectl get node kind-worker -o jsonpath='{range .spec.taints[*]}{.key}:{.effect}{"\n"}{end}'
kubectl get node kind-worker -o jsonpath='{range .status.conditions[*]}{.type}={.status} {.reason} {.message}{"\n"}{end}'
kubectl get endpointslices -l kubernetes.io/service-name=web -o jsonpath='{range .items[0].endpoints[*]}{.nodeName} {.conditions}{"\n"}{end}'
kubectl get lease -n kube-node-lease kind-worker -o jsonpath='{.spec.renewTime}{"\n"}'
kubectl get events --field-selector involvedObject.name=kind-worker
sleep 300
kubectl get pods -o wide
lab heal node-down kind-worker
sleep 5
kubectl get nodes
kubectl get pods -o wide
kubectl get node kind-worker -o jsonpath='{.spec.taints}{"\n"}'
kubectl get pods -n kube-system -o wide --field-selector spec.nodeName=kind-worker
lab fault node-down kind-control-plane
lab fault node-down nowhere
