kubectl get priorityclasses
kubectl apply -f pods.yml
kubectl apply -f unknown.yml
sleep 1
kubectl get pods
kubectl events --types=Warning
kubectl label node kind-worker disk=ssd
kubectl wait --for=condition=Ready pod/ssd
kubectl events --for pod/ssd
kubectl get pod huge -o jsonpath='{.spec.priority} {.status.conditions[0].reason}{"\n"}'
kubectl -n shop events
kubectl create deployment web --image=nginx:1.27 --replicas=12
kubectl rollout status deployment/web
kubectl get pods -l app=web -o jsonpath='{range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort | uniq -c
kubectl describe replicaset -l app=web | grep -A14 Events
