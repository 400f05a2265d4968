kubectl apply -f deployment.yml -f service.yml
kubectl rollout status deploy nginx-deployment
sleep 2
curl -s -o /dev/null localhost:30007
docker exec kind-control-plane conntrack -L -p tcp --dport 30007 -o extended
docker exec kind-control-plane conntrack -L --dst-nat -p tcp --dport 30007 --state TIME_WAIT
docker exec kind-control-plane conntrack -L -p tcp --dport 30007 -o save
docker exec kind-control-plane conntrack -D -p tcp --dport 30007
docker exec kind-control-plane conntrack -D -p tcp --dport 30007
docker exec kind-control-plane conntrack -G -p tcp -s 1.1.1.1 -d 2.2.2.2 --sport 1 --dport 2
docker exec kind-control-plane conntrack -L --dport 30007
docker exec kind-control-plane conntrack -S
docker exec kind-control-plane conntrack -F
docker exec kind-control-plane conntrack -C
