kubectl apply --server-side -f web.yml
kubectl apply --server-side -f web.yml
kubectl get deploy web -o yaml --show-managed-fields | sed -n '/managedFields/,/name: web/p'
kubectl get deploy web -o yaml | grep -c managedFields
kubectl apply --server-side --field-manager=team-b -f label.yml
kubectl apply --server-side --field-manager=team-b -f more.yml
kubectl apply --server-side --field-manager=team-b -f more.yml --force-conflicts
kubectl get deploy web -o jsonpath='{.spec.replicas} {.metadata.labels} {.spec.template.spec.containers[0].image}'
kubectl apply --server-side -f web.yml
# What is no longer applied goes, when nobody else wants it.
kubectl apply --server-side --field-manager=team-b -f label.yml
kubectl get deploy web -o jsonpath='{.spec.replicas} {.metadata.labels}'
kubectl scale deploy/web --replicas=3
kubectl apply --server-side -f web.yml
kubectl apply --server-side -f web.yml --force-conflicts --dry-run=server
kubectl apply --server-side -f web.yml --force-conflicts
# From kubectl's own apply to the server's.
kubectl delete deploy web
kubectl apply -f web.yml
kubectl set image deploy/web web=nginx:1.26
kubectl apply --server-side -f web.yml
kubectl set image deploy/web web=nginx
kubectl apply --server-side -f web.yml --force-conflicts
kubectl get deploy web -o jsonpath='{range .metadata.managedFields[*]}{.manager} {.operation}{"\n"}{end}'
kubectl apply --server-side --dry-run=client -f web.yml
kubectl apply --force-conflicts -f web.yml
