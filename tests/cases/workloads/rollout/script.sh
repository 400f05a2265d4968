kubectl apply -f web.yml
kubectl rollout status deployment/web
kubectl apply -f web2.yml
kubectl rollout status deployment/web
kubectl rollout history deployment/web
kubectl rollout history deployment/web --revision=2
kubectl rollout undo deployment/web
kubectl rollout status deployment/web
kubectl rollout history deployment/web
kubectl rollout undo deployment/web --to-revision=3
kubectl rollout undo deployment/web --to-revision=9
kubectl rollout pause deployment/web
kubectl rollout pause deployment/web
kubectl rollout restart deployment/web
kubectl rollout undo deployment/web
kubectl rollout resume deployment/web
kubectl apply -f web3.yml
kubectl rollout status deployment/web
kubectl get deployment web
kubectl describe deployment web
kubectl describe replicaset -l app=web | head -30
kubectl apply -f agent.yml
kubectl rollout status daemonset/agent
kubectl rollout restart daemonset/agent
kubectl rollout status daemonset/agent
kubectl rollout history daemonset/agent
kubectl rollout undo daemonset/agent
kubectl get controllerrevisions
kubectl describe daemonset agent
kubectl rollout history service/kubernetes
kubectl rollout pause daemonset/agent
