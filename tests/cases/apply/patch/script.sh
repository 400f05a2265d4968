kubectl apply -f web.yml
kubectl patch deploy web -p '{"spec":{"replicas":2}}'
kubectl patch deploy web -p '{"spec":{"replicas":2}}'
kubectl patch deploy web -p 'spec: {template: {spec: {containers: [{name: side, image: "busybox:1.36"}]}}}'
kubectl get deploy web -o jsonpath='{.spec.template.spec.containers[*].image}'
kubectl patch deploy web -p '{"spec":{"template":{"spec":{"containers":[{"$patch":"delete","name":"side"}]}}}}'
kubectl patch deploy web -p '{"spec":{"template":{"spec":{"containers":[{"image":"x"}]}}}}'
kubectl patch deploy web --type=merge -p '{"metadata":{"annotations":{"a":"b"}}}'
kubectl get deploy web -o jsonpath='{.metadata.generation} {.spec.template.spec.containers[*].image}'
kubectl patch svc web --type=json -p '[{"op":"replace","path":"/spec/ports/0/port","value":8080}]'
kubectl patch svc web --type=json -p '[{"op":"remove","path":"/spec/nope"}]'
kubectl patch svc web --type=json -p '{"op":"remove"}'
kubectl patch svc web --type=yaml -p '{}'
kubectl patch svc web -p '{"metadata":{"name":"other"}}'
kubectl patch svc web -p '{"spec":{"ports":[{"port":8080,"nodePort":1}],"type":"NodePort"}}'
kubectl patch svc web -p '{"metadata":{"resourceVersion":"1"}}'
kubectl patch svc web -p '{"metadata":{"uid":"1-2-3"}}'
kubectl patch svc web -p '{'
kubectl patch svc web
kubectl patch svc nope -p '{}'
kubectl patch svc web -p '{"metadata":{"labels":{"x":"y"}}}' --dry-run=server -o jsonpath='{.metadata.labels}'
kubectl patch svc web -p '{"metadata":{"labels":{"x":"y"}}}' --dry-run=server
kubectl get svc web --show-labels
kubectl replace -f old.yml
kubectl replace -f new.yml
kubectl get svc web -o jsonpath='{.spec.ports}'
kubectl replace --force -f new.yml
kubectl delete svc web
kubectl replace -f new.yml
kubectl set image deploy/web web=nginx:1.27 nope=x
kubectl set image deploy/web web=nginx:1.27
kubectl set image deploy/web web=nginx:1.27
kubectl set env deploy/web A=1 B=2
kubectl set env deploy/web A- --list
kubectl set env deploy/web A-
kubectl set env deploy/web --list
kubectl set resources deploy/web --limits=cpu=200m,memory=64Mi
kubectl set resources deploy/web
kubectl set serviceaccount deploy/web robot
kubectl get deploy web -o jsonpath='{.spec.template.spec.serviceAccountName} {.spec.template.spec.containers[0].resources}'
kubectl expose deploy web --port=80
kubectl expose deploy web --port=80
kubectl set selector svc/web app=other
kubectl get svc web -o jsonpath='{.spec.selector}'
kubectl autoscale deploy web --min=2 --max=5 --cpu-percent=80
kubectl autoscale deploy web
kubectl get hpa web -o jsonpath='{.spec}'
kubectl label deploy web a=1
kubectl label deploy web a=2
kubectl label deploy web a=1
kubectl label deploy web a=2 --overwrite
kubectl label deploy web a- b-
kubectl label deploy web a=1 a-
kubectl label deploy --all x=y
kubectl label deploy web --list
kubectl label deploy,svc -l app=nothing z=z
kubectl label svc web v=1 --resource-version=1
kubectl annotate deploy web note='hello there' --dry-run=client
kubectl annotate deploy web note='hello there'
kubectl annotate deploy web note-
kubectl taint nodes kind-worker dedicated=db:NoSchedule
kubectl taint nodes kind-worker dedicated=web:NoSchedule
kubectl taint nodes kind-worker dedicated=web:NoSchedule --overwrite
kubectl get node kind-worker -o jsonpath='{.spec.taints}'
kubectl taint nodes kind-worker dedicated:NoSchedule-
kubectl taint nodes kind-worker dedicated:NoSchedule-
kubectl taint nodes kind-worker dedicated=x:Sometimes
