kubectl apply -f web.yml --dry-run=client
kubectl apply -f web.yml --dry-run=server
kubectl get deploy,svc
kubectl apply -f web.yml
kubectl apply -f web.yml
kubectl apply -f web.yml --dry-run=server
kubectl apply -f web.yml --dry-run=client
kubectl get deploy web -o jsonpath='{.metadata.generation} {.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration}'
# What others add stays; what the manifest no longer says goes.
kubectl set env deploy/web C=9
kubectl label deploy web owner=me
kubectl apply -f web2.yml
kubectl get deploy web -o jsonpath='{.spec.replicas} {.metadata.labels} {.spec.template.spec.containers[0]}'
kubectl apply -f web2.yml
# What can only be made anew.
kubectl apply -f other-selector.yml
kubectl apply -f other-selector.yml --force
kubectl get deploy web -o jsonpath='{.spec.selector}'
kubectl apply -f web.yml --force
# A budget's selector is sent every time.
kubectl apply -f pdb.yml
kubectl apply -f pdb.yml
# What was not applied before.
kubectl create cm mine --from-literal=a=1
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine}\ndata: {b: "2"}\n' | kubectl apply -f -
kubectl get cm mine -o jsonpath='{.data}'
kubectl apply view-last-applied cm mine
# Names and versions.
kubectl apply -f generated.yml
kubectl create -f generated.yml
kubectl create -f generated.yml -o name
kubectl apply -f stale.yml
kubectl apply -f web.yml -o name
# Prune.
kubectl apply -f web.yml --prune
kubectl apply -f web.yml
kubectl apply -f web2.yml --prune -l tier=front --dry-run=client
kubectl apply -f web2.yml --prune -l tier=front
kubectl get svc
# Diff.
kubectl diff -f web2.yml
kubectl diff -f web.yml
kubectl create secret generic s --from-literal=a=1 --save-config
kubectl create secret generic s --from-literal=a=2 --from-literal=b=3 --dry-run=client -o yaml | kubectl diff -f -
