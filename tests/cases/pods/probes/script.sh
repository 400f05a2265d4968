kubectl apply -f pods.yml
sleep 4
kubectl get pods
sleep 2
kubectl get pods
sleep 30
kubectl get pods
kubectl get events --field-selector involvedObject.name=wrong-port,type=Warning
kubectl get events --field-selector involvedObject.name=dies
kubectl get events --field-selector involvedObject.name=file,type=Warning
kubectl get pod dies -o jsonpath='{.status.containerStatuses[0].lastState}{"\n"}'
kubectl get pod file -o jsonpath='{.status.containerStatuses[0].lastState.terminated.exitCode}{"\n"}'
kubectl get pod wrong-port -o jsonpath='{range .status.conditions[*]}{.type}={.status} {.reason} {.message}{"\n"}{end}'
