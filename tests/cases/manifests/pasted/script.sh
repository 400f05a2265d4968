# A list, JSON, several documents with CRLF, and comments only.
kubectl apply -f list.yml
kubectl apply -f stream.json
kubectl apply -f crlf.yml
kubectl apply -f nothing.yml
# Octal numbers, dates, and words that YAML takes for truth values.
kubectl apply -f plain.yml
kubectl get cm plain -o jsonpath='{.data}'
# What is odd is pointed out.
kubectl apply -f tab.yml
kubectl apply -f space.yml
kubectl apply -f quotes.yml
kubectl apply -f template.yml
kubectl apply -f variable.yml
kubectl apply -f ports.yml
# The last of equal keys counts.
kubectl apply -f twice.yml
kubectl get cm second -o name
