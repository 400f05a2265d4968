//! What is there whatever Services there are (`setupNFTables`).

use std::net::Ipv4Addr;

use crate::config::ProxyConfig;

use super::batch::{Batch, TABLE};
use super::elements;

/// Base chains: name, type, hook, priority. Filters see the addresses from before translation, but one.
const BASE_CHAINS: [(&str, &str, &str, &str); 8] = [
    ("filter-prerouting", "filter", "prerouting", "-110"),
    ("filter-input", "filter", "input", "-110"),
    ("filter-forward", "filter", "forward", "-110"),
    ("filter-output", "filter", "output", "-110"),
    ("filter-output-post-dnat", "filter", "output", "-90"),
    ("nat-prerouting", "nat", "prerouting", "-100"),
    ("nat-output", "nat", "output", "-100"),
    ("nat-postrouting", "nat", "postrouting", "100"),
];

/// From where, for what, to which chain.
const JUMPS: [(&str, &str, &str); 11] = [
    ("filter-input", "ct state new jump", "nodeport-endpoints-check"),
    ("filter-input", "ct state new jump", "service-endpoints-check"),
    ("filter-forward", "ct state new jump", "service-endpoints-check"),
    ("filter-output", "ct state new jump", "service-endpoints-check"),
    ("filter-prerouting", "ct state new jump", "firewall-check"),
    ("filter-output", "ct state new jump", "firewall-check"),
    ("nat-output", "jump", "services"),
    ("nat-prerouting", "jump", "services"),
    ("nat-postrouting", "jump", "masquerading"),
    ("filter-forward", "ct state new jump", "cluster-ips-check"),
    ("filter-output-post-dnat", "ct state new jump", "cluster-ips-check"),
];

/// Chains without properties.
const CHAINS: [&str; 7] = [
    "nodeport-endpoints-check",
    "service-endpoints-check",
    "firewall-check",
    "services",
    "masquerading",
    "cluster-ips-check",
    "mark-for-masquerade",
];

/// Keys of maps.
const SERVICE_KEY: &str = "{ type ipv4_addr . inet_proto . inet_service : verdict ; comment";
const NODE_PORT_KEY: &str = "{ type inet_proto . inet_service : verdict ; comment";

/// Writes it. `is_first`: nothing is known of what a predecessor left; base chains are made anew, since their
/// properties cannot be changed.
pub(super) fn write(config: &ProxyConfig, is_first: bool, out: &mut Batch) {
    out.text.push_str(&format!("add table {TABLE} {{ comment \"rules for kube-proxy\" ; }}\n"));
    if is_first {
        for (chain, ..) in BASE_CHAINS {
            out.line("add chain", &[chain]);
            out.line("delete chain", &[chain]);
        }
    }
    for (chain, kind, hook, priority) in BASE_CHAINS {
        let properties = ["{ type", kind, "hook", hook, "priority", priority, "; }"];
        out.empty_chain(chain, &properties);
    }
    for chain in CHAINS {
        out.empty_chain(chain, &[]);
    }
    for (from, what, to) in JUMPS {
        out.rule(&[from, what, to]);
    }
    masquerading(config, out);
    cluster_ips(config, out);
    let node_ports = node_ports(config, out);
    no_endpoints(&node_ports, out);
    out.line(
        "add map",
        &[
            "firewall-ips",
            SERVICE_KEY,
            "\"destinations that are subject to LoadBalancerSourceRanges\" ; }",
        ],
    );
    out.rule(&["firewall-check", "ip daddr . meta l4proto . th dport vmap @firewall-ips"]);
    out.line(
        "add map",
        &["service-ips", SERVICE_KEY, "\"ClusterIP, ExternalIP and LoadBalancer IP traffic\" ; }"],
    );
    out.line("add map", &["service-nodeports", NODE_PORT_KEY, "\"NodePort traffic\" ; }"]);
    out.rule(&["services", "ip daddr . meta l4proto . th dport vmap @service-ips"]);
    let ports = "meta l4proto . th dport vmap @service-nodeports";
    if takes_all(config) {
        out.rule(&["services", "fib daddr type local", &node_ports, ports]);
    } else {
        out.rule(&["services", &node_ports, ports]);
    }
}

fn masquerading(config: &ProxyConfig, out: &mut Batch) {
    let mark = format!("{:#010x}", config.masquerade_mark());
    out.rule(&["mark-for-masquerade", "mark set mark or", &mark]);
    out.rule(&["masquerading", "mark and", &mark, "== 0 return"]);
    out.rule(&["masquerading", "mark set mark xor", &mark]);
    out.rule(&["masquerading", "masquerade fully-random"]);
}

/// What is sent to a cluster IP and not to a port that the Service has, or to a cluster IP that no Service
/// has.
fn cluster_ips(config: &ProxyConfig, out: &mut Batch) {
    out.line("add set", &["cluster-ips", "{ type ipv4_addr ; comment \"Active ClusterIPs\" ; }"]);
    let comment = "comment \"Reject traffic to invalid ports of ClusterIPs\"";
    out.rule(&["cluster-ips-check", "ip daddr @cluster-ips reject", comment]);
    if !config.service_cidrs.is_empty() {
        let ranges: Vec<String> =
            config.service_cidrs.iter().map(|cidr| cidr.to_string()).collect();
        let comment = "} drop comment \"Drop traffic to unallocated ClusterIPs\"";
        out.rule(&["cluster-ips-check", "ip daddr {", &ranges.join(","), comment]);
    }
}

/// Every address of the node but 127.0.0.1 answers on node ports (`NodePortAddresses.MatchAll`).
fn takes_all(config: &ProxyConfig) -> bool {
    config.node_port_addresses.iter().any(|range| range.mask == 0)
}

/// The addresses that answer on node ports, as a set. Gives the condition on the destination.
fn node_ports(config: &ProxyConfig, out: &mut Batch) -> String {
    let set = elements::NODE_PORT_IPS;
    let comment = "\"IPs that accept NodePort traffic\" ; }";
    out.line("add set", &[set, "{ type ipv4_addr ; comment", comment]);
    if takes_all(config) {
        out.line("delete set", &[set]);
        return "ip daddr != 127.0.0.0/8".to_string();
    }
    out.line("flush set", &[set]);
    for addr in node_port_ips(config) {
        out.elements += 1;
        out.line("add element", &[set, "{", &addr.to_string(), "}"]);
    }
    format!("ip daddr @{set}")
}

/// Those of the node's addresses that are asked for; without any wish its first (`primary`). Node ports on
/// 127.0.0.1 are not supported in this mode.
fn node_port_ips(config: &ProxyConfig) -> Vec<Ipv4Addr> {
    let wanted = &config.node_port_addresses;
    let mut ips: Vec<Ipv4Addr> = Vec::new();
    for addr in &config.interface_addrs {
        let fits = if wanted.is_empty() {
            *addr == config.node_ip
        } else {
            wanted.iter().any(|range| range.contains(*addr))
        };
        if fits && !addr.is_loopback() && !ips.contains(addr) {
            ips.push(*addr);
        }
    }
    ips
}

/// What has no endpoints is dropped or refused before addresses are translated.
fn no_endpoints(node_ports: &str, out: &mut Batch) {
    let vmap = "\"vmap to drop or reject packets to";
    let comment = [vmap, "services with no endpoints\" ; }"].join(" ");
    out.line("add map", &["no-endpoint-services", SERVICE_KEY, &comment]);
    let comment = [vmap, "service nodeports with no endpoints\" ; }"].join(" ");
    out.line("add map", &["no-endpoint-nodeports", NODE_PORT_KEY, &comment]);
    let comment = "{ comment \"helper for @no-endpoint-services / @no-endpoint-nodeports\" ; }";
    out.empty_chain("reject-chain", &[comment]);
    out.rule(&["reject-chain", "reject"]);
    let services = "ip daddr . meta l4proto . th dport vmap @no-endpoint-services";
    out.rule(&["service-endpoints-check", services]);
    let ports = "meta l4proto . th dport vmap @no-endpoint-nodeports";
    out.rule(&["nodeport-endpoints-check", node_ports, ports]);
}
