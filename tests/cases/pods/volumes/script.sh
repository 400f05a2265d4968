kubectl get storageclass
kubectl apply -f pods.yml
kubectl get pvc
sleep 10
kubectl get pods -o wide
kubectl get pvc
kubectl get pv
kubectl get events --field-selector involvedObject.kind=PersistentVolumeClaim
kubectl exec writer -c web -- cat /usr/share/nginx/html/index.html
sleep 10
kubectl exec writer -c web -- cat /usr/share/nginx/html/index.html
kubectl delete pod writer --grace-period=1
kubectl apply -f reader.yml
sleep 5
kubectl logs reader
kubectl get events --field-selector involvedObject.name=elsewhere,type=Warning
kubectl delete pvc data --timeout=2s
kubectl delete pods reader elsewhere --grace-period=1
kubectl wait --for=delete pvc/data --timeout=5s
sleep 1
kubectl get pv
