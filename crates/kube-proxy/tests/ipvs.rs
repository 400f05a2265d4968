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
use kube_proxy::{Mode, Proxier, ProxyConfig};
use netfilter::ext::addrtype::AddrType;
use netfilter::rule::AddrMask;
use netfilter::text::parse::parse_addr_mask;
use netfilter::{Hook, HookInput, IfName, Netfilter, Skb, Surroundings, Verdict};
use packet::reply::finish;
use packet::{protocol, tcp_flags};
use serde_json::Value;

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

/// A node: its own addresses, and those on its dummy interface.
struct Node {
    addrs: Vec<Ipv4Addr>,
}

impl Surroundings for Node {
    fn addr_type(&self, addr: Ipv4Addr, _: Option<IfName>) -> AddrType {
        if addr.is_loopback() || self.addrs.contains(&addr) {
            AddrType::Local
        } else {
            AddrType::Unicast
        }
    }

    fn masquerade_source(&self) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::new(192, 0, 2, 99))
    }

    fn primary_address(&self, _: IfName) -> Option<Ipv4Addr> {
        None
    }
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

/// What became of a packet: where it went and whether it was masqueraded.
fn send(netfilter: &mut Netfilter, node: &Node, flow: &Value, serial: u16) -> (String, bool) {
    let addr = |key: &str| flow[key].as_str().unwrap().parse::<Ipv4Addr>().unwrap();
    let (src, dst) = (addr("sourceIP"), addr("destIP"));
    let dport = flow["destPort"].as_u64().unwrap() as u16;
    let number = match flow["protocol"].as_str().unwrap() {
        "UDP" => protocol::UDP,
        "SCTP" => protocol::SCTP,
        _ => protocol::TCP,
    };
    let mut payload = [(20000 + serial).to_be_bytes(), dport.to_be_bytes()].concat();
    match number {
        protocol::TCP => {
            payload.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, tcp_flags::SYN, 0, 0, 0, 0, 0, 0])
        }
        protocol::UDP => payload.extend([0, 8, 0, 0]),
        _ => {
            payload.extend([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 7]);
            payload.extend([0, 0, 0xff, 0xff, 0, 10, 0, 10, 0, 0, 0, 1]);
        }
    }
    let mut skb = Skb::new(finish(src, dst, number, 64, payload));
    skb.is_trusted = true;
    let is_local = |addr: Ipv4Addr| node.addr_type(addr, None) == AddrType::Local;
    let mut hooks = vec![if is_local(src) { Hook::Output } else { Hook::Prerouting }];
    let mut at = 0;
    while let Some(hook) = hooks.get(at).copied() {
        at += 1;
        let (iif, oif) = match hook {
            Hook::Prerouting | Hook::Input => (IfName::new("eth0"), IfName::NONE),
            Hook::Output | Hook::Postrouting => (IfName::NONE, IfName::new("eth0")),
            Hook::Forward => (IfName::new("eth0"), IfName::new("eth0")),
        };
        let input = HookInput { hook, iif, oif, now: Instant::ZERO, surroundings: node };
        match netfilter.hook(&input, &mut skb, None) {
            Verdict::Accept => {}
            Verdict::Drop(_) => return ("DROP".into(), false),
            Verdict::Reject(..) => return ("REJECT".into(), false),
            Verdict::Virtual { .. } => {
                hooks.extend([Hook::Output, Hook::Postrouting]);
                continue;
            }
        }
        match hook {
            Hook::Prerouting if is_local(skb.packet.head().dst) => hooks.push(Hook::Input),
            Hook::Prerouting => hooks.extend([Hook::Forward, Hook::Postrouting]),
            Hook::Output if at == 1 => hooks.push(Hook::Postrouting),
            _ => {}
        }
    }
    let head = skb.packet.head();
    let to = (head.dst, head.ports().unwrap().1);
    let output = if to == (dst, dport) { String::new() } else { format!("{}:{}", to.0, to.1) };
    (output, head.src != src)
}

/// Everybody who is reached, and whether masqueraded.
fn outcome(config: &ProxyConfig, case: &Value, flow: &Value) -> String {
    let (mut netfilter, node) = synced(config, case);
    let mut reached: Vec<String> = Vec::new();
    for serial in 0..20 {
        let (output, masq) = send(&mut netfilter, &node, flow, serial);
        let text = if masq { format!("{output} masq") } else { output };
        if !reached.contains(&text) {
            reached.push(text);
        }
    }
    reached.sort_unstable();
    reached.join(", ")
}

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
                    "ACCEPT" => String::new(),
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
    expect_test::expect![[""]].assert_eq(&differences);
}
