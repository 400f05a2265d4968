kubectl apply -f servers.yml
kubectl expose pod who --port=80
kubectl expose pod hello --port=80 --target-port=8080
kubectl expose pod redis --port=6379
sleep 5
kubectl get pods
ip() { kubectl get pod $1 -o jsonpath={.status.podIP}; }
ask() { kubectl exec box -- curl -s $*; echo; }
ask who
ask hello
ask $(ip agnhost)/hostname
ask $(ip agnhost)/clientip
ask "$(ip agnhost)/echo?msg=hi"
kubectl exec box -- sh -c "echo hostname | nc -u -w 1 $(ip agnhost) 8081"
ask $(ip echo)
ask $(ip echo):8080/a?b=c
ask $(ip py):9000/ | grep h1
ask $(ip plain)/x
ask $(ip httpd)
kubectl exec httpd -- sh -c 'echo "<h1>mine</h1>" > /usr/local/apache2/htdocs/index.html'
ask $(ip httpd)
ask $(ip httpd)/nope
kubectl exec box -- sh -c 'printf "PING\r\nINCR n\r\nINCR n\r\nGET n\r\nQUIT\r\n" | nc redis 6379'
for pod in who agnhost redis mysql postgres httpd py echo; do echo "--- $pod"; kubectl logs $pod -c c; done
