nft --version
nft list ruleset
# A table of one's own, on your machine.
nft add table demo
nft add chain demo out '{ type filter hook output priority filter; }'
nft add rule demo out tcp dport { 80, 443 } counter
nft insert rule demo out ct state established,related accept
nft add rule demo out ip daddr 10.0.0.0/8 icmp type echo-request limit rate 5/minute accept comment \"not too many\"
nft -a list ruleset
nft delete rule demo out handle 5
nft add set demo hosts '{ type ipv4_addr; flags interval; }'
nft add element demo hosts '{ 192.0.2.0/24, 198.51.100.7 }'
nft add rule demo out ip daddr @hosts drop
nft delete set demo hosts
nft list set demo hosts
nft -n list chain demo out
# Mistakes.
nft add rule demo out tcp dport 99999
nft add rule demo out tcp prot 80
nft add rule demo out jump nowhere
nft add rule demo in accept
nft list table nope
nft add element demo hosts '{ 192.0.2.9 }'
nft add table ip6 demo
nft add rule demo out quota over 1 mbytes drop
nft -f nowhere.nft
nft
echo $?
nft flush ruleset
# On a node, from a file: all of it or nothing.
kubectl apply -f deployment.yml -f service.yml
kubectl rollout status deploy nginx-deployment
printf 'add table ip t\nadd chain ip t c\nadd rule ip t c jump d\n' | docker exec -i kind-control-plane nft -f -
docker exec kind-control-plane nft list tables
docker exec -i kind-control-plane nft -f - < watch.nft
curl -s -o /dev/null -w '%{http_code}\n' localhost:30007
docker exec kind-control-plane nft -s list table watch
docker exec kind-control-plane nft list chain watch http
docker exec kind-control-plane nft 'add rule watch forward tcp dport 80 drop'
curl -s -m 2 localhost:30007
echo $?
docker exec kind-control-plane nft flush table watch
curl -s -o /dev/null -w '%{http_code}\n' localhost:30007
docker exec kind-control-plane nft delete table watch
docker exec kind-control-plane nft list ruleset
