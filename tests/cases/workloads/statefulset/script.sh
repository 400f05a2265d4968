kubectl apply -f db.yml
kubectl rollout status statefulset/db
kubectl get statefulset,pods -l app=db
kubectl get statefulset db -o wide
kubectl apply -f db2.yml
kubectl rollout status statefulset/db
kubectl rollout history statefulset/db
kubectl get pods -l app=db -o custom-columns=NAME:.metadata.name,IMAGE:.spec.containers[0].image
kubectl scale statefulset db --replicas=1
sleep 20
kubectl get pods -l app=db
kubectl delete pod db-0
kubectl get pods -l app=db
kubectl describe statefulset db
kubectl rollout undo statefulset/db
kubectl get controllerrevisions
