kubectl apply -f pods.yml
sleep 1
kubectl get pods
sleep 3
kubectl get pods
kubectl get pod nope -o jsonpath='{.status.containerStatuses[0].state.waiting.message}{"\n"}'
sleep 30
kubectl get pods
kubectl describe pod crash
kubectl logs crash
kubectl logs crash -p
kubectl get pod config -o jsonpath='{.status.containerStatuses[0].state}{"\n"}'
kubectl get events --field-selector involvedObject.name=nope
kubectl get events --field-selector involvedObject.name=missing
kubectl create configmap settings --from-literal=x=42
sleep 12
kubectl get pod config
kubectl exec config -- env
sleep 300
kubectl get pods
