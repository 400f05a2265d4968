kubectl apply -f pod.yml
sleep 10
kubectl get pods
kubectl get events --field-selector involvedObject.name=waits,type=Warning
kubectl logs box
kubectl exec box -- env
kubectl exec box -- sh -c 'pwd; ls; cat color; echo; cat /etc/app.conf; ls /one /all; cat /all/labels; echo; cat /all/password'
kubectl exec box -- cat /etc/hosts
kubectl exec box -- cat /etc/resolv.conf
kubectl exec box -- sh -c 'echo red > /etc/conf/color'
kubectl apply -f later.yml
kubectl exec box -- cat color
sleep 60
kubectl exec box -- cat color
kubectl exec box -- sh -c 'echo $CFG_color'
sleep 130
kubectl get pods
kubectl describe pod box
