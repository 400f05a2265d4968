kubectl apply -f claim.yml
kubectl wait --for=condition=Ready pod/user
kubectl exec user -- ls /var/run/secrets/kubernetes.io/serviceaccount
kubectl exec user -- cat /var/run/secrets/kubernetes.io/serviceaccount/namespace
kubectl exec user -- touch /var/run/secrets/kubernetes.io/serviceaccount/more
kubectl delete pvc data --wait=false
kubectl get pvc,pv
kubectl describe pvc data | grep -e Status -e Finalizers
kubectl delete pod user
sleep 1
kubectl get pvc,pv
kubectl get deployment lost
kubectl get events --field-selector reason=FailedCreate
kubectl create serviceaccount nobody
sleep 30
kubectl get deployment lost
