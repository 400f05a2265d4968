printf 'one=1\n# no\ntwo=2\n' > env.txt
kubectl create cm conf --from-literal=a=1,2 --from-file=env.txt --from-env-file=env.txt --dry-run=client -o yaml
kubectl create cm conf --from-literal=a=1,2 --from-file=env.txt --dry-run=client -o yaml
kubectl create cm conf --from-env-file=env.txt --dry-run=client -o yaml
kubectl create cm conf --from-literal=a=1 --from-literal=a=2
kubectl create secret generic s --from-literal=user=admin
kubectl create secret docker-registry r --docker-username=u --docker-password=p --dry-run=client -o yaml
kubectl get secret s -o yaml | grep -A3 '^data'
kubectl create deployment d --image=nginx:1.27 --replicas=2 --port=80 --dry-run=client -o yaml
kubectl create deployment d --image=nginx -- sleep 5
kubectl create deployment d --image=nginx
kubectl create deployment d
kubectl create deployment
kubectl create service nodeport n --tcp=80:8080 --node-port=30080
kubectl create service clusterip h --clusterip=None
kubectl create service externalname e --external-name=example.com
kubectl create service clusterip
kubectl get svc
kubectl create job j --image=busybox --dry-run=client -o yaml -- date
kubectl create cronjob c --image=busybox --schedule='*/5 * * * *' -- date
kubectl create job j --from=cronjob/c
kubectl get job j -o jsonpath='{.metadata.ownerReferences[0].kind} {.spec.template.spec.containers[0].command}'
kubectl create ingress i --rule='shop.example/cart*=cart:80,tls=cert' --rule='shop.example/=web:http' --class=nginx --dry-run=client -o yaml
kubectl create pdb p --selector=app=web --min-available=50%
kubectl create quota q --hard=pods=4,cpu=2
kubectl create role reader --verb=get,list --resource=pods,deployments
kubectl create rolebinding rb --role=reader --serviceaccount=default:robot
kubectl create clusterrolebinding crb --clusterrole=view --user=jane
kubectl create sa robot
kubectl create priorityclass high --value=1000
kubectl create token robot
kubectl create widget x
kubectl get role reader -o jsonpath='{.rules}'
