kubectl apply -f pods.yml
sleep 4
kubectl get pods
kubectl exec hooks -- cat /tmp/hook
time kubectl delete pod hooks
time kubectl delete pod slow
time kubectl delete pod deaf
kubectl get pods
kubectl get pod deadline -o jsonpath='{.status.phase} {.status.reason} {.status.message}{"\n"}'
kubectl get events --field-selector involvedObject.name=bad-start
kubectl get events --field-selector involvedObject.name=slow
time kubectl delete pod bad-start --force --grace-period=0
kubectl delete pod -n kube-system kube-scheduler-kind-control-plane
sleep 3
kubectl get pod -n kube-system kube-scheduler-kind-control-plane
