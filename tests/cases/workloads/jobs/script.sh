kubectl apply -f jobs.yml
kubectl get jobs,cronjobs
kubectl wait --for=condition=Complete job/hello
kubectl get jobs -o wide
kubectl get pods -l job-name=hello
kubectl wait --for=condition=Failed job/bad
kubectl get jobs
kubectl describe job bad
kubectl create job now --from=cronjob/tick
kubectl wait --for=condition=Complete job/now
sleep 300
kubectl get cronjob tick
kubectl get jobs
kubectl describe cronjob tick
kubectl delete job hello
kubectl get pods -l job-name=hello
