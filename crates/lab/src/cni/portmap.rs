//! Ports of nodes that lead to Pods (`hostPort`), as the CNI plugin portmap makes them
//! (`plugins/meta/portmap/portmap_iptables.go`): DNAT rules, no listening program.
//!
//! Like the plugin's, the chains that all Pods share come with the first Pod that needs them, and stay.

use base::Items as _;
use base::tree::BTreeMap;
use std::net::Ipv4Addr;

use controllers::queue::Key;
use kube_api::MetaExt;
use kube_api::core::Pod;
use netfilter::text::{RestoreOptions, restore};
use netsim::{Cidr, Flow, Net, NsId};
use sha2::{Digest, Sha256};

/// What all Pods share.
const SHARED: &str = r#"
*nat
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-I POSTROUTING 1 -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
COMMIT
"#;

/// The rules of one Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortMap {
    /// Its chain.
    chain: String,
    /// Rules of `CNI-HOSTPORT-DNAT` that lead there.
    entries: Vec<String>,
    /// Rules of its chain.
    rules: Vec<String>,
}

/// The rules for a Pod with this address; `None` for one without host ports.
pub(crate) fn port_map(pod: &Pod, addr: Ipv4Addr, pod_cidr: Cidr) -> Option<PortMap> {
    let mut by_protocol: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    let mut rules = Vec::new();
    for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
        for port in container.ports.items() {
            let Some(host_port) = port.host_port.filter(|port| *port != 0) else { continue };
            let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
            let host_ip = port.host_ip.as_deref().and_then(|ip| ip.parse::<Ipv4Addr>().ok());
            let at = match host_ip.filter(|ip| !ip.is_unspecified()) {
                Some(ip) => format!("-d {ip}/32 -p {protocol} -m {protocol} --dport {host_port}"),
                None => format!("-p {protocol} -m {protocol} --dport {host_port}"),
            };
            // Answers to neighbours and to the node itself must come back through the node.
            for source in [pod_cidr.network().to_string(), "127.0.0.1/32".to_string()] {
                rules.push(format!("-s {source} {at} -j CNI-HOSTPORT-SETMARK"));
            }
            rules.push(format!("{at} -j DNAT --to-destination {addr}:{}", port.container_port));
            by_protocol.entry(protocol).or_default().push(host_port);
        }
    }
    if rules.is_empty() {
        return None;
    }
    let id = hex(pod.metadata.uid(), 64);
    let chain = format!("CNI-DN-{}", hex(&format!("kindnet{id}"), 21));
    let mut entries = Vec::new();
    for (protocol, mut ports) in by_protocol {
        ports.dedup();
        // A rule takes fifteen ports.
        for ports in ports.chunks(15) {
            let ports: Vec<String> = ports.iter().map(i32::to_string).collect();
            entries.push(format!(
                "-p {protocol} -m comment --comment \"dnat name: \\\"kindnet\\\" id: \\\"{id}\\\"\" -m multiport --dports {} -j {chain}",
                ports.join(",")
            ));
        }
    }
    Some(PortMap { chain, entries, rules })
}

/// The beginning of a text's hash, in hexadecimal.
fn hex(text: &str, len: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut out: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    out.truncate(len);
    out
}

/// The host ports of one node.
#[derive(Debug, Default)]
pub(crate) struct HostPorts {
    has_shared: bool,
    in_force: BTreeMap<Key, PortMap>,
}

impl HostPorts {
    /// A Pod of the node is new, has changed, or is gone; `addr` is its address while it has a network of its
    /// own.
    pub(crate) fn follow(
        &mut self,
        pod: &Pod,
        addr: Option<Ipv4Addr>,
        pod_cidr: Cidr,
        net: &Net,
        node: NsId,
    ) {
        let key = (pod.metadata.namespace().to_string(), pod.metadata.name().to_string());
        let wanted = addr.and_then(|addr| port_map(pod, addr, pod_cidr));
        if let Some(addr) = addr.filter(|_| wanted.is_some()) {
            route_localnet(net, node, addr);
        }
        if self.in_force.get(&key) == wanted.as_ref() {
            return;
        }
        let mut text = String::new();
        if wanted.is_some() && !std::mem::replace(&mut self.has_shared, true) {
            text.push_str(SHARED);
        }
        text.push_str("*nat\n");
        if let Some(old) = self.in_force.remove(&key) {
            for entry in &old.entries {
                text.push_str(&format!("-D CNI-HOSTPORT-DNAT {entry}\n"));
            }
            text.push_str(&format!("-F {0}\n-X {0}\n", old.chain));
        }
        if let Some(new) = wanted {
            text.push_str(&format!(":{} - [0:0]\n", new.chain));
            for rule in &new.rules {
                text.push_str(&format!("-A {} {rule}\n", new.chain));
            }
            for entry in &new.entries {
                text.push_str(&format!("-A CNI-HOSTPORT-DNAT {entry}\n"));
            }
            self.in_force.insert(key, new);
        }
        text.push_str("COMMIT\n");
        net.with_netfilter(node, |netfilter| {
            let options = RestoreOptions { noflush: true, ..RestoreOptions::default() };
            let written = restore(netfilter, &text, options);
            debug_assert!(written.is_ok(), "{written:?}\n{text}");
        });
    }
}

/// The interface that leads to a Pod lets 127.0.0.1 through, so that answers to the node itself come in by it
/// (`getRoutableHostIF`, `enableLocalnetRouting`).
fn route_localnet(net: &Net, node: NsId, pod: Ipv4Addr) {
    if let Ok(way) = net.route_get(node, &Flow::to(pod)) {
        // An interface has all these settings.
        let _ = net.set_sysctl(node, &format!("net/ipv4/conf/{}/route_localnet", way.dev), "1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_rules_of_a_pod() {
        let pod: Pod = kube_api::from_value(serde_json::json!({
            "metadata": {"name": "a", "uid": "u"},
            "spec": {"containers": [
                {"name": "a", "ports": [
                    {"containerPort": 8080, "hostPort": 80}, {"containerPort": 1},
                    {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "172.18.0.2"}]},
                {"name": "b", "ports": [{"containerPort": 443, "hostPort": 443, "hostIP": "0.0.0.0"}]},
            ]},
        }))
        .unwrap();
        let map = port_map(&pod, Ipv4Addr::new(10, 244, 0, 5), "10.244.0.0/24".parse().unwrap());
        let map = map.unwrap();
        expect![[r#"
            -p tcp -m comment --comment "dnat name: \"kindnet\" id: \"0bfe935e70c321c7ca3afc75ce0d0ca2f98b5422e008bb31c00c6d7f1f1c0ad6\"" -m multiport --dports 80,443 -j CNI-DN-2aa9ae5c788a603d08c29
            -p udp -m comment --comment "dnat name: \"kindnet\" id: \"0bfe935e70c321c7ca3afc75ce0d0ca2f98b5422e008bb31c00c6d7f1f1c0ad6\"" -m multiport --dports 53 -j CNI-DN-2aa9ae5c788a603d08c29
            --
            -s 10.244.0.0/24 -p tcp -m tcp --dport 80 -j CNI-HOSTPORT-SETMARK
            -s 127.0.0.1/32 -p tcp -m tcp --dport 80 -j CNI-HOSTPORT-SETMARK
            -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.0.5:8080
            -s 10.244.0.0/24 -d 172.18.0.2/32 -p udp -m udp --dport 53 -j CNI-HOSTPORT-SETMARK
            -s 127.0.0.1/32 -d 172.18.0.2/32 -p udp -m udp --dport 53 -j CNI-HOSTPORT-SETMARK
            -d 172.18.0.2/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.244.0.5:53
            -s 10.244.0.0/24 -p tcp -m tcp --dport 443 -j CNI-HOSTPORT-SETMARK
            -s 127.0.0.1/32 -p tcp -m tcp --dport 443 -j CNI-HOSTPORT-SETMARK
            -p tcp -m tcp --dport 443 -j DNAT --to-destination 10.244.0.5:443"#]].assert_eq(&format!(
            "{}\n--\n{}",
            map.entries.join("\n"),
            map.rules.join("\n")
        ));
        let none: Pod = kube_api::from_value(serde_json::json!({
            "spec": {"containers": [{"name": "a", "ports": [{"containerPort": 1}]}]}
        }))
        .unwrap();
        assert_eq!(port_map(&none, Ipv4Addr::LOCALHOST, "10.244.0.0/24".parse().unwrap()), None);
    }
}
