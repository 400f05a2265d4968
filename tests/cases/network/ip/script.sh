ip link add v0 type veth peer name v1
ip link show v0
ip addr add 10.9.0.1/24 dev v0
ip link set v0 up
ip -br addr show v0
ip link set v1 up
ip addr add 10.9.0.5/24 brd + dev v0
ip addr add 10.9.0.1/24 dev v0
ip addr add 10.9.7.7 dev v0
ip addr show dev v0
ip route add 10.5.0.0/16 via 10.9.0.77
ip route add 10.5.0.0/16 via 10.9.0.77
ip route add 10.5.0.0/16 via 10.99.0.1 metric 5
ip route add 10.6.0.0/16 via 10.99.0.1 dev v0 onlink
ip route add 10.7.0.1/16 dev v0
ip route add blackhole 10.8.0.0/16
ip route add prohibit 10.9.9.0/24
ip route add unreachable 10.10.0.0/16 metric 5
ip route add 10.12.0.0/16 dev v0 src 10.9.0.5
ip route add 10.13.0.0/16 dev v0 src 9.9.9.9
ip route add 10.14.0.0/16 nexthop via 10.9.0.7 nexthop via 10.9.0.8
ip route show dev v0
ip route show table local dev v0
ip route get 10.5.0.1
ip route get 10.9.0.1
ip route get 10.9.0.255
ip route get 10.8.0.1
ip route get 10.9.9.1
ip route get 10.10.0.1
ip route del 10.77.0.0/16
ip rule
ip rule add from 10.1.0.0/16 lookup 100
ip rule add fwmark 0x1/0xff iif v0 lookup main prio 5
ip rule add not from 1.2.3.4 blackhole pref 77
ip rule
ip rule del pref 12345
ip rule add
ip rule del from 10.1.0.0/16; ip rule del pref 5; ip rule del pref 77
ip neigh add 10.9.0.3 lladdr 02:00:00:00:00:03 dev v0
ip neigh add 10.9.0.3 lladdr 02:00:00:00:00:03 dev v0
ip neigh change 10.9.0.9 lladdr 02:00:00:00:00:05 dev v0
ip neigh show dev v0
ip neigh del 10.9.0.77 dev v0
ip neigh add 10.9.0.5 lladdr zz dev v0
ip neigh flush
ip link set v0 mtu 10
ip link set v0 mtu 1400
ip link set nope up
ip link set v0 down
ip route show dev v0
ip addr del 10.9.0.99/24 dev v0
ip addr flush dev v0
ip link del v0
ip link del lo
ip addr show nope
ip route foo
ip foo
