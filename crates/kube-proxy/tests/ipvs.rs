//! What packets meet in the ipvs mode, held against what they meet in the iptables mode of a real kube-proxy
//! (`../shared/kube-proxy/flows.jsonl`).

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::rc::Rc;

use base::{Instant, Rng};
use kube_api::MetaExt;
use kube_api::core::Service;
use kube_api::discovery::EndpointSlice;
use kube_proxy::{Mode, Proxier, ProxyConfig, SyncReport};
use netfilter::Netfilter;
use netfilter::ipset::command::ipset;
use netfilter::ipvs::command::ipvsadm;
use netfilter::rule::AddrMask;
use netfilter::text::parse::parse_addr_mask;
use netfilter::text::save::save;
use serde_json::Value;

#[path = "support/flow.rs"]
mod flow;

use flow::{Node, send};

/// Reference data beside the checkout (`../shared`), or where `PODWIRE_SHARED` says.
fn flows() -> Option<String> {
    let root = match std::env::var_os("PODWIRE_SHARED") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    };
    let text = std::fs::read_to_string(root.join("kube-proxy/flows.jsonl")).ok();
    if text.is_none() {
        eprintln!("skipped: no reference data at {}", root.display());
    }
    text
}

fn config(value: &Value) -> ProxyConfig {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let flag = |key: &str, default| value.get(key).and_then(Value::as_bool).unwrap_or(default);
    let list = |key: &str| -> Vec<&str> {
        let items = value.get(key).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let cidr = text("clusterCIDR").and_then(|cidr| parse_addr_mask(cidr).ok());
    let node_ip = text("nodeIP").unwrap().parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let mut config = ProxyConfig::new(text("nodeName").unwrap(), node_ip, AddrMask::host(node_ip));
    config.mode = Mode::Ipvs;
    config.cluster_cidr = if text("localDetector") == Some("None") { None } else { cidr };
    config.masquerade_all = flag("masqueradeAll", false);
    config.masquerade_bit = value.get("masqueradeBit").and_then(Value::as_u64).unwrap_or(14) as u8;
    config.random_fully = flag("randomFully", false);
    config.node_port_addresses =
        list("nodePortAddresses").iter().filter_map(|cidr| parse_addr_mask(cidr).ok()).collect();
    let addrs = list("interfaceAddrs").into_iter().chain(list("nodeIPs"));
    config.interface_addrs =
        addrs.filter_map(|cidr| cidr.split('/').next()?.parse().ok()).collect();
    config.interface_addrs.push(node_ip);
    config
}

fn synced(config: &ProxyConfig, case: &Value) -> (Netfilter, Node) {
    let services: Vec<Service> = serde_json::from_value(case["services"].clone()).unwrap();
    let slices: Vec<EndpointSlice> =
        serde_json::from_value(case["endpointSlices"].clone()).unwrap();
    let mut proxier = Proxier::new(config.clone());
    for service in &services {
        let meta = &service.metadata;
        proxier.observe_service(meta.namespace(), meta.name(), Some(service));
    }
    for slice in slices {
        proxier.observe_slice(None, Some(&Rc::new(slice)));
    }
    let mut netfilter = Netfilter::new(Rng::new(7));
    proxier.sync_ipvs(&mut netfilter, true, Instant::ZERO);
    let mut addrs = config.interface_addrs.clone();
    addrs.extend(proxier.ipvs_addresses());
    (netfilter, Node { addrs })
}

/// Everybody who is reached, and whether masqueraded.
fn outcome(config: &ProxyConfig, case: &Value, flow: &Value) -> String {
    let (mut netfilter, node) = synced(config, case);
    let mut reached: Vec<String> = Vec::new();
    for serial in 0..20 {
        let (output, masq) = send(&mut netfilter, &node, flow, serial);
        let output = if output.is_empty() { "past".to_string() } else { output };
        let text = if masq { format!("{output} masq") } else { output };
        if !reached.contains(&text) {
            reached.push(text);
        }
    }
    reached.sort_unstable();
    reached.join(", ")
}

/// Upstream's ipvs mode differs from its iptables mode in five ways, and each line is one of them:
/// - another port of a cluster IP is refused (`KUBE-IPVS-FILTER`), and not somebody else's business;
/// - the ports of nodes are not served on 127.0.0.1, which `proxier.go` leaves out of the nodes' addresses;
/// - with `externalTrafficPolicy: Local`, Pods and the node itself, too, meet the endpoints of this node only;
/// - with that policy and no endpoint here, the virtual server has those of other nodes;
/// - with `internalTrafficPolicy: Local` and no endpoint here, there is a virtual server without real ones,
///   and the kernel refuses what comes; iptables drops it.
#[test]
fn packets_go_where_the_iptables_mode_sends_them_with_these_exceptions() {
    let Some(text) = flows() else { return };
    let mut differences = String::new();
    let mut flows = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        if case["config"]["ipFamily"] == "IPv6" {
            continue;
        }
        let config = config(&case["config"]);
        for flow in case["flows"].as_array().unwrap() {
            flows += 1;
            let masq = if flow["masq"] == true { " masq" } else { "" };
            let mut expected: Vec<String> = flow["output"]
                .as_str()
                .unwrap()
                .split(", ")
                .map(|to| match to {
                    "ACCEPT" | "" => "past".into(),
                    "DROP" | "REJECT" => to.to_string(),
                    to => format!("{to}{masq}"),
                })
                .collect();
            expected.sort_unstable();
            let (expected, actual) = (expected.join(", "), outcome(&config, &case, flow));
            if expected != actual {
                differences.push_str(&format!(
                    "{} {} {}: {} {} > {}:{}: {expected} | {actual}\n",
                    case["test"].as_str().unwrap_or_default(),
                    case["case"].as_str().unwrap_or_default(),
                    case["step"],
                    flow["name"].as_str().unwrap_or_default(),
                    flow["sourceIP"].as_str().unwrap_or_default(),
                    flow["destIP"].as_str().unwrap_or_default(),
                    flow["destPort"],
                ));
            }
        }
    }
    assert!(flows > 200, "{flows}");
    expect_test::expect![[r#"
        TestClusterIPGeneral  null: TCP-only port does not match UDP traffic 10.180.0.2 > 172.30.0.42:80: past | REJECT
        TestClusterIPGeneral  null: svc1 does not accept svc2's ports 10.180.0.2 > 172.30.0.41:443: past | REJECT
        TestNodePorts ipv4, localhost-nodeports enabled null: localhost to nodePort gets masqueraded 127.0.0.1 > 127.0.0.1:3001: 10.180.0.1:80 masq, 10.180.2.1:80 masq | past
        TestExternalTrafficPolicyLocal  null: pod to external IP hits both endpoints, unmasqueraded 10.0.0.2 > 192.168.99.11:80: 10.180.0.1:80, 10.180.2.1:80 | 10.180.2.1:80
        TestExternalTrafficPolicyLocal  null: pod to LB IP hits both endpoints, unmasqueraded 10.0.0.2 > 1.2.3.4:80: 10.180.0.1:80, 10.180.2.1:80 | 10.180.2.1:80
        TestExternalTrafficPolicyLocal  null: pod to NodePort hits both endpoints, unmasqueraded 10.0.0.2 > 192.168.0.2:3001: 10.180.0.1:80, 10.180.2.1:80 | 10.180.2.1:80
        TestInternalTrafficPolicy internalTrafficPolicy is local and there are no local endpoints null: no endpoints 10.0.0.2 > 172.30.1.1:80: DROP | REJECT
        TestTerminatingEndpointsTrafficPolicyLocal terminating endpoints on remote node null: external to LB 203.0.113.2 > 1.2.3.4:80: DROP | 10.0.1.5:80
        TestInternalExternalMasquerade base null: localhost to NodePort 127.0.0.1 > 127.0.0.1:3001: 10.180.0.1:80 masq, 10.180.1.1:80 masq | past
        TestInternalExternalMasquerade base null: pod to NodePort with eTP:Local 10.0.0.2 > 192.168.0.2:3002: 10.180.0.2:80, 10.180.1.2:80 | 10.180.0.2:80
        TestInternalExternalMasquerade base null: pod to LB with eTP:Local 10.0.0.2 > 5.6.7.8:80: 10.180.0.2:80, 10.180.1.2:80 | 10.180.0.2:80
        TestInternalExternalMasquerade base null: localhost to NodePort with eTP:Local 127.0.0.1 > 127.0.0.1:3002: 10.180.0.2:80 masq, 10.180.1.2:80 masq | past
        TestInternalExternalMasquerade base null: node to LB with eTP:Local 192.168.0.2 > 5.6.7.8:80: 10.180.0.2:80 masq, 10.180.1.2:80 masq | 10.180.0.2:80
        TestInternalExternalMasquerade base null: localhost to NodePort with iTP:Local 127.0.0.1 > 127.0.0.1:3003: 10.180.0.3:80 masq, 10.180.1.3:80 masq | past
        TestInternalExternalMasquerade no LocalTrafficDetector null: localhost to NodePort 127.0.0.1 > 127.0.0.1:3001: 10.180.0.1:80 masq, 10.180.1.1:80 masq | past
        TestInternalExternalMasquerade no LocalTrafficDetector null: localhost to NodePort with eTP:Local 127.0.0.1 > 127.0.0.1:3002: 10.180.0.2:80 masq, 10.180.1.2:80 masq | past
        TestInternalExternalMasquerade no LocalTrafficDetector null: node to LB with eTP:Local 192.168.0.2 > 5.6.7.8:80: 10.180.0.2:80 masq, 10.180.1.2:80 masq | 10.180.0.2:80
        TestInternalExternalMasquerade no LocalTrafficDetector null: localhost to NodePort with iTP:Local 127.0.0.1 > 127.0.0.1:3003: 10.180.0.3:80 masq, 10.180.1.3:80 masq | past
        TestInternalExternalMasquerade masqueradeAll null: localhost to NodePort 127.0.0.1 > 127.0.0.1:3001: 10.180.0.1:80 masq, 10.180.1.1:80 masq | past
        TestInternalExternalMasquerade masqueradeAll null: pod to NodePort with eTP:Local 10.0.0.2 > 192.168.0.2:3002: 10.180.0.2:80, 10.180.1.2:80 | 10.180.0.2:80
        TestInternalExternalMasquerade masqueradeAll null: pod to LB with eTP:Local 10.0.0.2 > 5.6.7.8:80: 10.180.0.2:80, 10.180.1.2:80 | 10.180.0.2:80
        TestInternalExternalMasquerade masqueradeAll null: localhost to NodePort with eTP:Local 127.0.0.1 > 127.0.0.1:3002: 10.180.0.2:80 masq, 10.180.1.2:80 masq | past
        TestInternalExternalMasquerade masqueradeAll null: node to LB with eTP:Local 192.168.0.2 > 5.6.7.8:80: 10.180.0.2:80 masq, 10.180.1.2:80 masq | 10.180.0.2:80
        TestInternalExternalMasquerade masqueradeAll null: localhost to NodePort with iTP:Local 127.0.0.1 > 127.0.0.1:3003: 10.180.0.3:80 masq, 10.180.1.3:80 masq | past
        TestInternalExternalMasquerade masqueradeAll, no LocalTrafficDetector null: localhost to NodePort 127.0.0.1 > 127.0.0.1:3001: 10.180.0.1:80 masq, 10.180.1.1:80 masq | past
        TestInternalExternalMasquerade masqueradeAll, no LocalTrafficDetector null: localhost to NodePort with eTP:Local 127.0.0.1 > 127.0.0.1:3002: 10.180.0.2:80 masq, 10.180.1.2:80 masq | past
        TestInternalExternalMasquerade masqueradeAll, no LocalTrafficDetector null: node to LB with eTP:Local 192.168.0.2 > 5.6.7.8:80: 10.180.0.2:80 masq, 10.180.1.2:80 masq | 10.180.0.2:80
        TestInternalExternalMasquerade masqueradeAll, no LocalTrafficDetector null: localhost to NodePort with iTP:Local 127.0.0.1 > 127.0.0.1:3003: 10.180.0.3:80 masq, 10.180.1.3:80 masq | past
    "#]].assert_eq(&differences);
}

/// A node's kube-proxy and its tables.
struct Running {
    proxier: Proxier,
    netfilter: Netfilter,
    now: Instant,
}

impl Running {
    fn new() -> Running {
        let pods = AddrMask::prefix(Ipv4Addr::new(10, 244, 0, 0), 16);
        let mut config = ProxyConfig::new("worker", Ipv4Addr::new(172, 18, 0, 3), pods);
        config.mode = Mode::Ipvs;
        let (proxier, netfilter) = (Proxier::new(config), Netfilter::new(Rng::new(1)));
        Running { proxier, netfilter, now: Instant::from_secs(1) }
    }

    fn sync(&mut self, full: bool) -> SyncReport {
        self.proxier.sync_ipvs(&mut self.netfilter, full, self.now)
    }

    fn ipvsadm(&mut self, line: &str) -> String {
        let args: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        let output = ipvsadm(&mut self.netfilter, &args, "", self.now);
        output.out + &output.err
    }

    /// All that a sync writes, as the tools print it.
    fn state(&mut self) -> String {
        let saved = save(&self.netfilter, None, false, "now");
        let saved = saved.lines().filter(|line| !line.starts_with('#'));
        let mut text: String = saved.map(|line| format!("{line}\n")).collect();
        let words = ["save".to_string()];
        let sets = ipset(&mut self.netfilter, &words, "", self.now).out;
        text.push_str(
            &sets.lines().filter(|l| l.starts_with("add")).collect::<Vec<_>>().join("\n"),
        );
        text.push('\n');
        text.push_str(&self.ipvsadm("-Sn"));
        for addr in self.proxier.ipvs_addresses() {
            text.push_str(&format!("{addr}\n"));
        }
        text
    }
}

fn service(name: &str, spec: Value) -> Service {
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        "status": {"loadBalancer": {"ingress": spec["ingress"].as_array().cloned().unwrap_or_default()}}
    }))
    .unwrap()
}

/// A slice of ready endpoints: address and node.
fn slice(service: &str, port: u16, endpoints: &[(&str, &str)]) -> Rc<EndpointSlice> {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(addr, node)| serde_json::json!({"addresses": [addr], "nodeName": node}))
        .collect();
    let value = serde_json::json!({
        "metadata": {"name": format!("{service}-1"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        "endpoints": endpoints
    });
    Rc::new(serde_json::from_value(value).unwrap())
}

fn balancer() -> Service {
    service(
        "web",
        serde_json::json!({
            "clusterIP": "10.96.0.10", "type": "LoadBalancer", "externalIPs": ["203.0.113.7"],
            "ingress": [{"ip": "198.51.100.4"}],
            "loadBalancerSourceRanges": ["192.0.2.0/24", "0.0.0.0/0"],
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]
        }),
    )
}

#[test]
fn a_load_balancer_with_everything() {
    let mut running = Running::new();
    running.proxier.observe_service("default", "web", Some(&balancer()));
    let slice = slice("web", 8080, &[("10.244.1.2", "worker"), ("10.244.2.2", "other")]);
    running.proxier.observe_slice(None, Some(&slice));
    running.sync(true);
    expect_test::expect![[r#"
        *filter
        :INPUT ACCEPT [0:0]
        :FORWARD ACCEPT [0:0]
        :OUTPUT ACCEPT [0:0]
        :KUBE-FORWARD - [0:0]
        :KUBE-IPVS-FILTER - [0:0]
        :KUBE-IPVS-OUT-FILTER - [0:0]
        :KUBE-NODE-PORT - [0:0]
        :KUBE-PROXY-FIREWALL - [0:0]
        :KUBE-SOURCE-RANGES-FIREWALL - [0:0]
        -A INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER
        -A INPUT -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
        -A INPUT -m comment --comment "kubernetes health check rules" -j KUBE-NODE-PORT
        -A FORWARD -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
        -A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
        -A OUTPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-OUT-FILTER
        -A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
        -A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        -A KUBE-IPVS-FILTER -m set --match-set KUBE-LOAD-BALANCER dst,dst -j RETURN
        -A KUBE-IPVS-FILTER -m set --match-set KUBE-CLUSTER-IP dst,dst -j RETURN
        -A KUBE-IPVS-FILTER -m set --match-set KUBE-EXTERNAL-IP dst,dst -j RETURN
        -A KUBE-IPVS-FILTER -m set --match-set KUBE-EXTERNAL-IP-LOCAL dst,dst -j RETURN
        -A KUBE-IPVS-FILTER -m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j RETURN
        -A KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT --reject-with icmp-port-unreachable
        -A KUBE-NODE-PORT -m comment --comment "Kubernetes health check node port" -m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j ACCEPT
        -A KUBE-PROXY-FIREWALL -m comment --comment "Kubernetes service load balancer ip + port for load balancer with sourceRange" -m set --match-set KUBE-LOAD-BALANCER-FW dst,dst -j KUBE-SOURCE-RANGES-FIREWALL
        -A KUBE-SOURCE-RANGES-FIREWALL -m comment --comment "Kubernetes service load balancer ip + port + source cidr for packet filter purpose" -m set --match-set KUBE-LOAD-BALANCER-SOURCE-CIDR dst,dst,src -j RETURN
        -A KUBE-SOURCE-RANGES-FIREWALL -m comment --comment "Kubernetes service load balancer ip + port + source IP for packet filter purpose" -m set --match-set KUBE-LOAD-BALANCER-SOURCE-IP dst,dst,src -j RETURN
        -A KUBE-SOURCE-RANGES-FIREWALL -j DROP
        COMMIT
        *nat
        :PREROUTING ACCEPT [0:0]
        :INPUT ACCEPT [0:0]
        :OUTPUT ACCEPT [0:0]
        :POSTROUTING ACCEPT [0:0]
        :KUBE-LOAD-BALANCER - [0:0]
        :KUBE-MARK-MASQ - [0:0]
        :KUBE-NODE-PORT - [0:0]
        :KUBE-POSTROUTING - [0:0]
        :KUBE-SERVICES - [0:0]
        -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
        -A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
        -A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
        -A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
        -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
        -A KUBE-NODE-PORT -p tcp -m comment --comment "Kubernetes nodeport TCP port for masquerade purpose" -m set --match-set KUBE-NODE-PORT-TCP dst -j KUBE-MARK-MASQ
        -A KUBE-POSTROUTING -m comment --comment "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose" -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE
        -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
        -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
        -A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
        -A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN
        -A KUBE-SERVICES -m comment --comment "Kubernetes service lb portal" -m set --match-set KUBE-LOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER
        -A KUBE-SERVICES ! -s 10.244.0.0/16 -m comment --comment "Kubernetes service cluster ip + port for masquerade purpose" -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
        -A KUBE-SERVICES -m comment --comment "Kubernetes service external ip + port for masquerade and filter purpose" -m set --match-set KUBE-EXTERNAL-IP dst,dst -j KUBE-MARK-MASQ
        -A KUBE-SERVICES -m comment --comment "Kubernetes service external ip + port for masquerade and filter purpose" -m set --match-set KUBE-EXTERNAL-IP dst,dst -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT
        -A KUBE-SERVICES -m comment --comment "Kubernetes service external ip + port for masquerade and filter purpose" -m set --match-set KUBE-EXTERNAL-IP dst,dst -m addrtype --dst-type LOCAL -j ACCEPT
        -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
        -A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
        -A KUBE-SERVICES -m set --match-set KUBE-LOAD-BALANCER dst,dst -j ACCEPT
        COMMIT
        add KUBE-LOOP-BACK 10.244.1.2,tcp:8080,10.244.1.2
        add KUBE-CLUSTER-IP 10.96.0.10,tcp:80
        add KUBE-EXTERNAL-IP 203.0.113.7,tcp:80
        add KUBE-LOAD-BALANCER 198.51.100.4,tcp:80
        add KUBE-LOAD-BALANCER-FW 198.51.100.4,tcp:80
        add KUBE-LOAD-BALANCER-SOURCE-IP 198.51.100.4,tcp:80,198.51.100.4
        add KUBE-LOAD-BALANCER-SOURCE-CIDR 198.51.100.4,tcp:80,0.0.0.0/1
        add KUBE-LOAD-BALANCER-SOURCE-CIDR 198.51.100.4,tcp:80,128.0.0.0/1
        add KUBE-LOAD-BALANCER-SOURCE-CIDR 198.51.100.4,tcp:80,192.0.2.0/24
        add KUBE-NODE-PORT-TCP 30080
        add KUBE-IPVS-IPS 10.96.0.10
        add KUBE-IPVS-IPS 198.51.100.4
        add KUBE-IPVS-IPS 203.0.113.7
        -A -t 172.18.0.3:30080 -s rr
        -a -t 172.18.0.3:30080 -r 10.244.1.2:8080 -m -w 1
        -a -t 172.18.0.3:30080 -r 10.244.2.2:8080 -m -w 1
        -A -t 198.51.100.4:80 -s rr
        -a -t 198.51.100.4:80 -r 10.244.1.2:8080 -m -w 1
        -a -t 198.51.100.4:80 -r 10.244.2.2:8080 -m -w 1
        -A -t 203.0.113.7:80 -s rr
        -a -t 203.0.113.7:80 -r 10.244.1.2:8080 -m -w 1
        -a -t 203.0.113.7:80 -r 10.244.2.2:8080 -m -w 1
        -A -t 10.96.0.10:80 -s rr
        -a -t 10.96.0.10:80 -r 10.244.1.2:8080 -m -w 1
        -a -t 10.96.0.10:80 -r 10.244.2.2:8080 -m -w 1
        10.96.0.10
        198.51.100.4
        203.0.113.7
    "#]].assert_eq(&running.state());
    let text = running.ipvsadm("-Ln");
    expect_test::expect![[r#"
        IP Virtual Server version 1.2.1 (size=4096)
        Prot LocalAddress:Port Scheduler Flags
          -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
        TCP  172.18.0.3:30080 rr
          -> 10.244.1.2:8080              Masq    1      0          0         
          -> 10.244.2.2:8080              Masq    1      0          0         
        TCP  198.51.100.4:80 rr
          -> 10.244.1.2:8080              Masq    1      0          0         
          -> 10.244.2.2:8080              Masq    1      0          0         
        TCP  203.0.113.7:80 rr
          -> 10.244.1.2:8080              Masq    1      0          0         
          -> 10.244.2.2:8080              Masq    1      0          0         
        TCP  10.96.0.10:80 rr
          -> 10.244.1.2:8080              Masq    1      0          0         
          -> 10.244.2.2:8080              Masq    1      0          0         
    "#]]
    .assert_eq(&text);
}

#[test]
fn who_may_not_come_by_a_balancer_s_address_is_kept_from_it() {
    let mut running = Running::new();
    let mut service = balancer();
    service.spec.as_mut().unwrap().load_balancer_source_ranges = Some(vec!["192.0.2.0/24".into()]);
    running.proxier.observe_service("default", "web", Some(&service));
    running.proxier.observe_slice(None, Some(&slice("web", 8080, &[("10.244.1.2", "worker")])));
    running.sync(true);
    let state = running.state();
    let rules: Vec<&str> = state.lines().filter(|line| line.contains("-m ipvs")).collect();
    assert_eq!(
        rules,
        [
            "-A KUBE-IPVS-OUT-FILTER -s 198.51.100.4/32 -m ipvs --vproto 6 --vaddr 198.51.100.4 --vport 80 -j DROP"
        ]
    );
    let mut addrs = running.proxier.config().interface_addrs.clone();
    addrs.extend(running.proxier.ipvs_addresses());
    let node = Node { addrs };
    let mut from = |source: &str| {
        let flow = serde_json::json!({
            "sourceIP": source, "destIP": "198.51.100.4", "destPort": 80, "protocol": "TCP"
        });
        send(&mut running.netfilter, &node, &flow, 1).0
    };
    assert_eq!(from("192.0.2.9"), "10.244.1.2:8080");
    assert_eq!(from("192.0.3.9"), "DROP");
    assert_eq!(from("198.51.100.4"), "DROP");
}

#[test]
fn servers_that_are_taken_away_wait_for_their_last_connection() {
    let mut running = Running::new();
    let spec = serde_json::json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]});
    running.proxier.observe_service("default", "web", Some(&service("web", spec)));
    let both = slice("web", 8080, &[("10.244.1.2", "worker"), ("10.244.2.2", "other")]);
    running.proxier.observe_slice(None, Some(&both));
    running.sync(true);
    let node = Node { addrs: vec![Ipv4Addr::new(10, 96, 0, 10)] };
    let flow = serde_json::json!({
        "sourceIP": "10.244.1.9", "destIP": "10.96.0.10", "destPort": 80, "protocol": "TCP"
    });
    let first = send(&mut running.netfilter, &node, &flow, 1).0;
    assert_eq!(first, "10.244.2.2:8080");
    let one = slice("web", 8080, &[("10.244.1.2", "worker")]);
    running.proxier.observe_slice(Some(&both), Some(&one));
    let report = running.sync(false);
    assert_eq!((report.elements_changed, report.rules_written), (1, 0));
    let saved = |running: &mut Running| {
        let text = running.ipvsadm("-Sn");
        text.lines()
            .skip(1)
            .map(|line| line.split(" -r ").nth(1).unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(saved(&mut running), ["10.244.1.2:8080 -m -w 1", "10.244.2.2:8080 -m -w 0"]);
    // It comes back.
    running.proxier.observe_slice(Some(&one), Some(&both));
    running.sync(false);
    assert_eq!(saved(&mut running), ["10.244.1.2:8080 -m -w 1", "10.244.2.2:8080 -m -w 1"]);
    running.proxier.observe_slice(Some(&both), Some(&one));
    running.sync(false);
    // The connection was never answered, and is forgotten after a minute.
    assert_eq!(running.proxier.ipvs_next_at(), Some(Instant::from_secs(60)));
    for (secs, left) in [(59, 2), (60, 1)] {
        running.now = Instant::from_secs(secs);
        running.netfilter.settle(running.now);
        running.proxier.retire_servers(&mut running.netfilter, running.now);
        assert_eq!(saved(&mut running).len(), left, "{secs}");
    }
    assert_eq!(running.proxier.ipvs_next_at(), None);
}

#[test]
fn partial_syncs_end_where_a_full_sync_ends_and_a_full_sync_repairs_everything() {
    let mut running = Running::new();
    let spec = |ip: &str, more: Value| {
        let mut spec = serde_json::json!({"clusterIP": ip, "ports": [{"port": 80}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let node_port = serde_json::json!({"ports": [{"port": 80, "nodePort": 30001}],
        "externalTrafficPolicy": "Local", "type": "NodePort", "externalIPs": ["203.0.113.8"]});
    let affine = serde_json::json!({"sessionAffinity": "ClientIP"});
    let services = [
        ("a", service("a", spec("10.96.0.1", serde_json::json!({})))),
        ("b", service("b", spec("10.96.0.2", node_port.clone()))),
        ("b", service("b", spec("10.96.0.2", serde_json::json!({})))),
        ("c", service("c", spec("10.96.0.3", affine))),
        ("a", service("a", spec("10.96.0.4", node_port))),
        ("d", balancer()),
    ];
    for (step, (name, service)) in services.iter().enumerate() {
        running.proxier.observe_service("default", name, Some(service));
        let ends = [("10.244.1.2", "worker"), ("10.244.2.2", "other")];
        let endpoints = slice(name, 8080, &ends[step % 2..]);
        running.proxier.observe_slice(None, Some(&endpoints));
        running.sync(false);
        let state = running.state();
        running.proxier.restart_ipvs();
        let report = running.sync(true);
        assert_eq!(report.elements_changed, 0, "step {step}");
        assert_eq!(running.state(), state, "step {step}");
    }
    let before = running.state();
    running.ipvsadm("-C");
    let mut run = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_string).collect();
        ipset(&mut running.netfilter, &words, "", running.now);
    };
    run("flush KUBE-CLUSTER-IP");
    run("add KUBE-IPVS-IPS 1.2.3.4");
    running.ipvsadm("-A -t 1.2.3.4:5 -s rr");
    running.netfilter.edit(netfilter::TableName::Nat, |nat| nat.flush("KUBE-SERVICES")).unwrap();
    running.sync(true);
    assert_eq!(running.state(), before);
    for name in ["a", "b", "c", "d"] {
        running.proxier.observe_service("default", name, None);
    }
    running.sync(false);
    assert_eq!(running.ipvsadm("-Sn"), "");
    assert_eq!(running.proxier.ipvs_addresses(), Vec::<Ipv4Addr>::new());
}
