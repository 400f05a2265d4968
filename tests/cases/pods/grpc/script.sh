kubectl apply -f pods.yml
kubectl run box --image=nicolaka/netshoot --command -- sleep 999
sleep 8
kubectl get pods
kubectl logs ready --tail=4
sleep 12
kubectl get pods
events() { kubectl get events --field-selector involvedObject.name=$1,type=Warning; }
events wrong-port
events wrong-service
events web
kubectl get events --field-selector involvedObject.name=turns
kubectl get pod turns -o jsonpath='{.status.containerStatuses[0].lastState.terminated.exitCode}{"\n"}'
kubectl describe pod ready | grep Readiness
ask() { kubectl exec box -- curl -s $(kubectl get pod ready -o jsonpath={.status.podIP}):8080/$1; echo; }
ask make-not-serving
sleep 3
kubectl get pod ready
events ready
ask make-serving
sleep 3
kubectl get pod ready
ask other
kubectl exec box -- curl -sS $(kubectl get pod ready -o jsonpath={.status.podIP}):5000
kubectl apply -f - <<END
apiVersion: v1
kind: Pod
metadata: {name: wrong}
spec:
  containers: [{name: a, image: nginx, livenessProbe: {grpc: {port: 0}}}]
END
