kubectl create deployment web --image=nginx:1.26
kubectl annotate deployment web kubernetes.io/change-cause=first team=a
kubectl annotate deployment web kubernetes.io/change-cause=second
kubectl annotate deployment web team=b
kubectl set image deployment/web nginx=nginx:1.27
kubectl rollout status deployment/web
kubectl rollout undo deployment/web --dry-run=client
kubectl rollout undo deployment/web --dry-run=server
kubectl rollout history deployment/web
kubectl scale deployment web --replicas=3 --dry-run=server
kubectl get deployment web
kubectl patch deployment web -p '{"spec":{"nothing":1,"replicas":1}}'
kubectl patch deployment web -p '{"spec":{"replicas":"two"}}'
kubectl patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"nginx","image":5}]}}}}'
kubectl patch deployment web -p '{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"nginx"}],"containers":[{"name":"nginx","image":"nginx:1.28"}]}}}}'
kubectl patch deployment web --subresource=scale --type=merge -p '{"spec":{"replicas":2,"paused":true}}'
kubectl get deployment web -o jsonpath='{.spec.replicas}{.spec.paused}{"\n"}'
kubectl wait -f broken.yml --for=condition=Available
kubectl apply -f broken.yml
kubectl delete -f broken.yml
kubectl wait -f broken.yml --for=delete
kubectl apply -f limits.yml
kubectl get limits
kubectl describe limits
kubectl create quota few --hard=pods=4,requests.cpu=2,limits.cpu=3,limits.memory=3Gi
kubectl get quota
kubectl get serviceaccounts
kubectl get componentstatuses
kubectl get servicecidrs
kubectl create rolebinding robots --clusterrole=view --serviceaccount=default:robot --user=jane
kubectl get rolebindings -o wide
sleep 3
kubectl exec done -- ls
kubectl get pods --field-selector status.phase!=Running
kubectl get pods --field-selector spec.color=red
kubectl get deployments --field-selector spec.replicas=1
kubectl get nodes --field-selector spec.unschedulable=false
kubectl get pods -o jsonpath
