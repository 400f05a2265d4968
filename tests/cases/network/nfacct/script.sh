# nfacct 1.0.2's words and layout, written down from the real one.
docker exec kind-worker iptables -A INPUT -m nfacct --nfacct-name web
docker exec kind-worker nfacct add web
docker exec kind-worker nfacct add web
docker exec kind-worker nfacct add spare
docker exec kind-worker iptables -A INPUT -p tcp --dport 10256 -m nfacct --nfacct-name web
curl -s -o /dev/null 172.18.0.3:10256/healthz
docker exec kind-worker nfacct list
docker exec kind-worker nfacct get web reset
docker exec kind-worker nfacct get web
docker exec kind-worker nfacct delete web
docker exec kind-worker nfacct flush
docker exec kind-worker sh -c 'nfacct list | sed s/web/saved/ | nfacct restore; nfacct list'
docker exec kind-worker nfacct get nothing
docker exec kind-worker nfacct add
docker exec kind-worker nfacct add few packet 10
docker exec kind-worker nfacct frob
docker exec kind-worker nfacct
