kubectl create deployment web --image=nginx:1.27
kubectl expose deployment web --port=80
kubectl rollout status deployment/web
sleep 2
kubectl run tmp --rm -it --image=busybox -- wget -qO- web | grep title
kubectl run tmp --rm -i --image=busybox --restart=Never -- nslookup web.default.svc.cluster.local
kubectl run tmp --rm -i --image=busybox --restart=Never -- wget -qO- nope
kubectl run tmp -i -q --image=busybox --restart=Never -- echo hi
kubectl get pods tmp
kubectl delete pod tmp
kubectl run x --rm -it -q --image=nginx:nope --restart=Never -- echo
kubectl run x --rm --image=busybox
kubectl run x -t --image=busybox
kubectl run x --rm -it --image=busybox -- sh
kubectl run x --image=busybox --restart=Sometimes
kubectl run x -i --image=busybox --dry-run=client -o yaml -- date
kubectl run x -it --image=busybox --attach=false --dry-run=client -o yaml -- date
kubectl exec -it deploy/web -- sh
kubectl run web --image=nginx
kubectl run web --image=nginx
