date
kubectl apply -f jobs.yml
sleep 250
kubectl get cronjobs
kubectl get jobs
