kubectl apply -f broken.yml
kubectl apply -f unknown-kind.yml
kubectl apply -f unknown-field.yml
kubectl apply -f wrong-type.yml
kubectl apply -f low-port.yml
kubectl apply -f service.yml
kubectl apply -f taken-port.yml
kubectl apply -f half.yml
kubectl get ns shop
kubectl get cm after
kubectl apply -f nowhere.yml
kubectl apply
kubectl get widgets
kubectl get pods nope
kubectl get pods --nope
kubectl explode
kubectl delete pod
kubectl scale deployment/nope --replicas=2
kubectl edit svc/nginx-service
kubectl create -f service.yml
sleep 2
# No Pod fits: refused, as by a real cluster.
curl localhost:30007
curl -sS nowhere:80
curl -sS localhost:9
kind create cluster
kind create cluster --name two --config kind-no-control-plane.yml
kind create cluster --name two --config kind-unknown-field.yml
docker exec kind-worker9 ls
docker exec kind-worker frobnicate
frobnicate
cat nowhere.txt
kubectl apply -f service.yml
kubectl top pods
kubectl get pods --raw /healthz
kubectl config use-context kind-kind
kubectl config use-context nowhere
kubectl exec deploy/nowhere -- ls
kubectl exec -n kube-system kube-scheduler-kind-control-plane -c nope -- ls
kubectl logs -n kube-system kube-scheduler-kind-control-plane -c nope
kubectl get pods -l 'a in'
kubectl get pods -o jsonpath='{.items[0'
docker exec -it kind-worker bash
