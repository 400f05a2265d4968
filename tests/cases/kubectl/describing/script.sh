kubectl create configmap settings --from-literal=color=blue --from-literal=size=3
kubectl describe configmap settings
kubectl create secret generic login --from-literal=user=admin --from-literal=password=s3cr3t
kubectl describe secret login
kubectl create secret generic login --from-literal=user=admin
kubectl create quota small --hard=pods=4,cpu=2
kubectl describe quota
kubectl describe namespace default
kubectl create namespace default
kubectl describe serviceaccount default
kubectl describe endpoints kubernetes
kubectl describe endpointslice kubernetes
kubectl create role reader --verb=get,list --resource=pods,deployments
kubectl describe role reader
kubectl create rolebinding robots --role=reader --serviceaccount=default:robot
kubectl describe rolebinding robots
kubectl describe priorityclass system-node-critical
kubectl describe storageclass
kubectl describe lease -n kube-node-lease kind-worker
kubectl apply -f db.yml
sleep 10
kubectl describe pvc
kubectl describe pv
kubectl describe pod db-0 | grep -A9 Events
kubectl describe node kind-worker | grep -A6 Lease
kubectl delete statefulset db
kubectl get pvc
