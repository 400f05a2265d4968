kubectl apply -f empty.yml
kubectl apply -f empty.yml
kubectl get pod e -o jsonpath='{.metadata.labels}{.spec.tolerations}{"\n"}{.spec.containers[0].env}{.spec.containers[0].readinessProbe}{"\n"}'
kubectl get pod e -o yaml | grep -e '""' -e '\[\]' -e '{}' -e false
kubectl get service e -o jsonpath='{.spec}{"\n"}'
kubectl get configmap e -o jsonpath='{.data}{"\n"}'
kubectl get deployment e -o jsonpath='{.spec}{"\n"}'
kubectl patch configmap e -p '{"data":{"a":1}}'
kubectl patch configmap e --type=merge -p '{"data":{"a":1}}'
