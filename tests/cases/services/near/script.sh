# Which rules follow is upstream's (pkg/proxy/topology.go).
kubectl label node kind-control-plane topology.kubernetes.io/zone=a
kubectl label node kind-worker topology.kubernetes.io/zone=a
kubectl label node kind-worker2 topology.kubernetes.io/zone=b
kubectl taint node kind-control-plane node-role.kubernetes.io/control-plane-
kubectl apply -f web.yml
kubectl rollout status ds web
sleep 2
kubectl get endpointslices -l kubernetes.io/service-name=same-zone -o jsonpath='{range .items[*].endpoints[*]}{.addresses[0]} {.nodeName} {.hints}{"\n"}{end}'
kubectl get endpointslices -l kubernetes.io/service-name=same-node -o jsonpath='{range .items[*].endpoints[*]}{.addresses[0]} {.nodeName} {.hints}{"\n"}{end}'
for node in kind-control-plane kind-worker kind-worker2; do echo $node; docker exec $node iptables-save -t nat | grep -- '-> '; done
# The last one of a node or zone is gone: whoever is left will do.
kubectl label node kind-worker2 stay=away
kubectl patch ds web -p '{"spec":{"template":{"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"stay","operator":"DoesNotExist"}]}]}}}}}}}'
kubectl rollout status ds web
sleep 5
docker exec kind-worker2 iptables-save -t nat | grep -- '-> '
# A node moves.
kubectl label node kind-worker2 topology.kubernetes.io/zone=a --overwrite
sleep 2
lab log rules | tail -1
