//! The rules of so many Services on one node, in kube-proxy's chains and order
//! (`pkg/proxy/iptables/proxier.go`).

use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// Cluster address of Service number `i`.
pub fn cluster_ip(i: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 10)) + i)
}

/// `iptables-restore` text for `services` Services of type NodePort. The last one is on node port 30007
/// and has the endpoint `10.244.2.2:80`; the others have one endpoint each, somewhere.
pub fn ruleset(services: u32) -> String {
    let mut chains = String::new();
    let mut portals = String::new();
    let mut node_ports = String::new();
    let mut rules = String::new();
    for i in 0..services {
        let is_last = i + 1 == services;
        let endpoint = match is_last {
            true => Ipv4Addr::new(10, 244, 2, 2),
            false => Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 245, 0, 0)) + i),
        };
        let node_port = if is_last { 30007 } else { 31000 + i % 1700 };
        let ip = cluster_ip(i);
        let name = format!("default/web-{i}");
        for kind in ["SVC", "EXT", "SEP"] {
            let _ = writeln!(chains, ":KUBE-{kind}-{i:016} - [0:0]");
        }
        let _ = writeln!(
            portals,
            "-A KUBE-SERVICES -d {ip}/32 -p tcp -m comment --comment \"{name} cluster IP\" -m tcp --dport 80 -j KUBE-SVC-{i:016}"
        );
        if is_last || i < 1700 {
            let _ = writeln!(
                node_ports,
                "-A KUBE-NODEPORTS -p tcp -m comment --comment {name} -m tcp --dport {node_port} -j KUBE-EXT-{i:016}"
            );
        }
        let _ = write!(
            rules,
            "-A KUBE-EXT-{i:016} -m comment --comment \"masquerade traffic for {name} external destinations\" -j KUBE-MARK-MASQ\n\
             -A KUBE-EXT-{i:016} -j KUBE-SVC-{i:016}\n\
             -A KUBE-SVC-{i:016} ! -s 10.244.0.0/16 -d {ip}/32 -p tcp -m comment --comment \"{name} cluster IP\" -m tcp --dport 80 -j KUBE-MARK-MASQ\n\
             -A KUBE-SVC-{i:016} -m comment --comment \"{name} -> {endpoint}:80\" -j KUBE-SEP-{i:016}\n\
             -A KUBE-SEP-{i:016} -s {endpoint}/32 -m comment --comment {name} -j KUBE-MARK-MASQ\n\
             -A KUBE-SEP-{i:016} -p tcp -m comment --comment {name} -m tcp -j DNAT --to-destination {endpoint}:80\n"
        );
    }
    format!(
        "*filter\n:KUBE-FORWARD - [0:0]\n:KUBE-SERVICES - [0:0]\n\
         -A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD\n\
         -A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n\
         -A KUBE-FORWARD -m comment --comment \"kubernetes forwarding rules\" -m mark --mark 0x4000/0x4000 -j ACCEPT\n\
         -A KUBE-FORWARD -m comment --comment \"kubernetes forwarding conntrack rule\" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         COMMIT\n*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n{chains}\
         -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n\
         -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
         -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n\
         -A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully\n\
         -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n\
         {portals}\
         -A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n\
         {node_ports}{rules}COMMIT\n"
    )
}
