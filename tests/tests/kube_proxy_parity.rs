//! The rules of a real kube-proxy, and what packets meet in them (`../shared/kube-proxy`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::rc::Rc;

use base::{Instant, Rng};
use kube_api::MetaExt;
use kube_api::core::Service;
use kube_api::discovery::EndpointSlice;
use kube_api::yaml;
use kube_proxy::jumps::install_jumps;
use kube_proxy::nftables::Engine;
use kube_proxy::{Balancing, Mode, Proxier, ProxyConfig, text};
use netfilter::Netfilter;
use netfilter::rule::AddrMask;
use netfilter::text::parse::parse_addr_mask;
use netfilter::text::save::save;
use serde_json::{Value, json};

#[path = "../../crates/kube-proxy/tests/support/flow.rs"]
mod flow;

use flow::{Node, send};

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
    config.cluster_cidr = if text("localDetector") == Some("None") { None } else { cidr };
    config.masquerade_all = flag("masqueradeAll", false);
    config.masquerade_bit = value.get("masqueradeBit").and_then(Value::as_u64).unwrap_or(14) as u8;
    config.random_fully = flag("randomFully", false);
    config.conntrack_tcp_liberal = flag("conntrackTCPLiberal", false);
    config.localhost_node_ports = flag("localhostNodePorts", true);
    let masks = |key: &str| -> Vec<AddrMask> {
        list(key).iter().filter_map(|cidr| parse_addr_mask(cidr).ok()).collect()
    };
    config.service_cidrs = masks("serviceCIDRs");
    config.node_port_addresses = masks("nodePortAddresses");
    config.interface_addrs = list("interfaceAddrs")
        .iter()
        .filter_map(|cidr| cidr.split('/').next()?.parse().ok())
        .collect();
    config.balancing = Balancing::Random;
    config
}

/// A kube-proxy that has heard of these objects, and what it has written.
fn synced(
    config: &ProxyConfig,
    services: &[Service],
    slices: &[EndpointSlice],
) -> (Proxier, Netfilter) {
    let mut proxier = Proxier::new(config.clone());
    for service in services {
        let meta = &service.metadata;
        proxier.observe_service(meta.namespace(), meta.name(), Some(service));
    }
    for slice in slices {
        proxier.observe_slice(None, Some(&Rc::new(slice.clone())));
    }
    let mut netfilter = Netfilter::new(Rng::new(7));
    if config.mode == Mode::Nftables {
        let mut engine = Engine::new(&mut netfilter, Instant::ZERO);
        let report = proxier.sync_nftables(&mut engine, true, Instant::ZERO);
        assert_eq!(report.error, None);
    } else {
        install_jumps(&mut netfilter, config);
        proxier.sync(&mut netfilter, true);
    }
    (proxier, netfilter)
}

fn assert_same_lines(name: &str, actual: &str, expected: &str) {
    for (number, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(actual, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(actual.lines().count(), expected.lines().count(), "{name}");
}

#[test]
fn rules_are_those_of_a_real_kube_proxy() {
    let Some(folder) = tests::shared("kube-proxy/goldens") else { return };
    let mut inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    inputs.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    inputs.sort();
    assert!(!inputs.is_empty());
    for path in inputs {
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        let documents = yaml::documents(&fs::read_to_string(&path).unwrap());
        let values = documents.into_iter().filter_map(|d| d.content.unwrap());
        let values: Vec<Value> = values.map(|node| node.to_value()).collect();
        let of =
            |kind: &str| values.iter().filter(|v| v["kind"] == *kind).cloned().collect::<Vec<_>>();
        let services: Vec<Service> =
            of("Service").into_iter().map(|v| serde_json::from_value(v).unwrap()).collect();
        let slices: Vec<EndpointSlice> =
            of("EndpointSlice").into_iter().map(|v| serde_json::from_value(v).unwrap()).collect();
        let (proxier, netfilter) = synced(&config(&of("ProxyConfig")[0]), &services, &slices);
        let expected = fs::read_to_string(path.with_extension("restore")).unwrap();
        assert_same_lines(
            &format!("{name}.restore"),
            &text::restore_input(&proxier.plan()),
            &expected,
        );

        let saved = save(&netfilter, None, false, "now");
        let saved: String =
            saved.lines().filter(|line| !line.starts_with('#')).map(|l| format!("{l}\n")).collect();
        let expected = fs::read_to_string(path.with_extension("save")).unwrap();
        assert_same_lines(&format!("{name}.save"), &saved, &expected);
    }
}

#[test]
fn packets_go_where_a_real_kube_proxy_sends_them() {
    let Some(path) = tests::shared("kube-proxy/flows.jsonl") else { return };
    let (mut flows_seen, mut others) = (0, BTreeSet::new());
    for line in fs::read_to_string(path).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let name = format!("{} {} {}", case["test"], case["case"], case["step"]);
        // The lab is IPv4.
        if case["config"]["ipFamily"] == "IPv6" {
            continue;
        }
        let services: Vec<Service> = serde_json::from_value(case["services"].clone()).unwrap();
        let slices: Vec<EndpointSlice> =
            serde_json::from_value(case["endpointSlices"].clone()).unwrap();
        let mut config = config(&case["config"]);
        let plan = synced(&config, &services, &slices).0.plan();
        assert_same_rules(&name, &text::restore_input(&plan), case["rules"].as_str().unwrap());
        let mut addrs = config.interface_addrs.clone();
        addrs.extend(
            case["config"]["nodeIPs"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|ip| ip.as_str()?.parse::<Ipv4Addr>().ok()),
        );
        addrs.push(config.node_ip);
        let node = Node { addrs };
        let ways = [Balancing::Random, Balancing::RoundRobin];
        for (mode, balancing) in [Mode::Iptables, Mode::Nftables]
            .into_iter()
            .flat_map(|mode| ways.into_iter().map(move |balancing| (mode, balancing)))
        {
            (config.mode, config.balancing) = (mode, balancing);
            for flow in case["flows"].as_array().unwrap() {
                flows_seen += 1;
                let mut flow = flow.clone();
                if mode == Mode::Nftables
                    && let Some(output) = otherwise(&config, &services, &node, &flow)
                {
                    let name = flow["name"].as_str().unwrap();
                    others.insert(format!(
                        "{name}: {}",
                        if output.is_empty() { "-" } else { output }
                    ));
                    (flow["output"], flow["masq"]) = (output.into(), false.into());
                }
                check_flow(
                    &format!("{name} {} {mode:?} {balancing:?}", flow["name"]),
                    &config,
                    (&services, &slices),
                    &node,
                    &flow,
                );
            }
        }
    }
    assert!(flows_seen > 4 * 200, "{flows_seen}");
    let expected = [
        "TCP-only port does not match UDP traffic: REJECT",
        "external to nodePort on secondary IP: -",
        "localhost to NodePort with eTP:Local: -",
        "localhost to NodePort with iTP:Local: -",
        "localhost to NodePort: -",
        "localhost to nodePort gets masqueraded: -",
        "svc1 does not accept svc2's ports: REJECT",
    ];
    assert_eq!(Vec::from_iter(others), expected);
}

/// What becomes of a packet that ends otherwise in nftables mode: there node ports answer on the node's first
/// address alone if nothing else is said, and never on 127.0.0.1; and what is for no port of a cluster IP, or for
/// no cluster IP, is refused or dropped.
fn otherwise(
    config: &ProxyConfig,
    services: &[Service],
    node: &Node,
    flow: &Value,
) -> Option<&'static str> {
    let to: Ipv4Addr = flow["destIP"].as_str().unwrap().parse().unwrap();
    let wanted = &config.node_port_addresses;
    let answers = match wanted.is_empty() {
        true => to == config.node_ip,
        false => wanted.iter().any(|range| range.contains(to)) && !to.is_loopback(),
    };
    let is_here = to.is_loopback() || node.addrs.contains(&to);
    let is_node_port = flow["destPort"].as_u64() >= Some(3000);
    let is_taken = flow["output"] != "" && flow["output"] != "ACCEPT";
    if is_here && !answers && is_node_port && is_taken {
        return Some("");
    }
    if flow["output"] != "" || !config.service_cidrs.iter().any(|range| range.contains(to)) {
        return None;
    }
    let ips = services.iter().filter_map(|service| service.spec.as_ref()?.cluster_ip.as_deref());
    let is_known = ips.into_iter().any(|ip| ip == to.to_string());
    Some(if is_known { "REJECT" } else { "DROP" })
}

/// Sends as many packets as there may be answers, many times over, and compares who was reached.
fn check_flow(
    name: &str,
    config: &ProxyConfig,
    (services, slices): (&[Service], &[EndpointSlice]),
    node: &Node,
    flow: &Value,
) {
    let mut netfilter = synced(config, services, slices).1;
    let expected = flow["output"].as_str().unwrap();
    let mut wanted: Vec<&str> = expected.split(", ").collect();
    wanted.sort_unstable();
    let mut reached: Vec<String> = Vec::new();
    for serial in 0..60 {
        let (output, masq) = send(&mut netfilter, node, flow, serial);
        if expected == "ACCEPT" {
            assert!(output.is_empty(), "{name}: {output}");
            continue;
        }
        assert_eq!(masq, flow["masq"].as_bool().unwrap(), "{name}: masqueraded to {output}");
        if !reached.contains(&output) {
            reached.push(output);
        }
        if wanted.len() == 1 && serial > 2 {
            break;
        }
    }
    if expected != "ACCEPT" {
        reached.sort_unstable();
        assert_eq!(reached, wanted, "{name}");
    }
}

/// The same lines for each chain, whatever the order of the chains.
fn assert_same_rules(name: &str, actual: &str, expected: &str) {
    let by_chain = |text: &str| {
        let mut lines: Vec<(String, usize, String)> = text
            .lines()
            .enumerate()
            .map(|(at, line)| {
                let chain = line
                    .strip_prefix("-A ")
                    .and_then(|l| l.split(' ').next())
                    .unwrap_or("")
                    .to_string();
                (chain.clone(), if chain.is_empty() { 0 } else { at }, line.to_string())
            })
            .collect();
        lines.sort();
        lines.into_iter().map(|(_, _, line)| line).collect::<Vec<_>>()
    };
    let (actual, expected) = (by_chain(actual), by_chain(expected));
    for (actual, expected) in actual.iter().zip(&expected) {
        assert_eq!(actual, expected, "{name}");
    }
    assert_eq!(actual.len(), expected.len(), "{name}");
}

/// A Service `turns` with so many endpoints, and a node that has heard of it.
fn balanced(config: &ProxyConfig, endpoints: usize, annotation: Option<&str>) -> Netfilter {
    let annotations = annotation.map(|value| json!({"podwire.dev/load-balancing": value}));
    let service = json!({
        "metadata": {"name": "turns", "namespace": "default", "annotations": annotations},
        "spec": {"type": "NodePort", "clusterIP": "172.30.0.1",
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]},
    });
    let addresses = (1..=endpoints).map(|n| {
        json!({"addresses": [format!("10.180.0.{n}")], "conditions": {"ready": true}, "nodeName": "elsewhere"})
    });
    let slice = json!({
        "metadata": {"name": "turns-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "turns"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": addresses.collect::<Vec<_>>(),
    });
    let service = serde_json::from_value(service).unwrap();
    let slice = serde_json::from_value(slice).unwrap();
    synced(config, &[service], &[slice]).1
}

/// Who answers each of so many connections, some to the cluster IP, some to the node port.
fn answers(
    netfilter: &mut Netfilter,
    config: &ProxyConfig,
    count: usize,
    rng: &mut Rng,
) -> Vec<String> {
    let node = Node { addrs: vec![config.node_ip] };
    let mut ask = |serial| {
        let (to, port) = match rng.below(2) {
            0 => ("172.30.0.1".to_string(), 80),
            _ => (config.node_ip.to_string(), 30080),
        };
        let flow =
            json!({"sourceIP": "10.0.0.9", "destIP": to, "destPort": port, "protocol": "TCP"});
        send(netfilter, &node, &flow, serial).0
    };
    (0..count).map(|serial| ask(serial as u16)).collect()
}

fn node_config(balancing: Balancing) -> ProxyConfig {
    let pods = AddrMask::prefix(Ipv4Addr::new(10, 0, 0, 0), 8);
    let config = ProxyConfig::new("node-1", Ipv4Addr::new(192, 168, 0, 2), pods);
    ProxyConfig { balancing, ..config }
}

/// Among any N·k consecutive connections through a node each of N endpoints gets exactly k, wherever one begins to
/// count.
#[test]
fn by_turns_each_endpoint_gets_its_share() {
    for endpoints in 1..=24 {
        let config = node_config(Balancing::RoundRobin);
        let mut netfilter = balanced(&config, endpoints, None);
        let answers = answers(&mut netfilter, &config, endpoints * 7 + 3, &mut Rng::new(3));
        for rounds in 1..=3 {
            for window in answers.windows(endpoints * rounds) {
                let mut got: BTreeMap<&str, usize> = BTreeMap::new();
                window.iter().for_each(|answer| *got.entry(answer).or_default() += 1);
                let is_fair = got.len() == endpoints && got.values().all(|count| *count == rounds);
                assert!(is_fair, "{endpoints} endpoints: {got:?}");
            }
        }
    }
}

/// By chance each endpoint gets about its share, and not by turns.
#[test]
fn by_chance_each_endpoint_gets_about_its_share() {
    for endpoints in [2, 3, 7] {
        let config = node_config(Balancing::Random);
        let mut netfilter = balanced(&config, endpoints, None);
        let answers = answers(&mut netfilter, &config, 6000, &mut Rng::new(5));
        let mut got: BTreeMap<&str, usize> = BTreeMap::new();
        answers.iter().for_each(|answer| *got.entry(answer).or_default() += 1);
        let share = 6000 / endpoints;
        let is_near = |count: &usize| count.abs_diff(share) < share / 6;
        assert!(got.len() == endpoints && got.values().all(is_near), "{got:?}");
        let twice = answers.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(twice > 6000 / endpoints / 2, "{endpoints}: never the same twice");
    }
}

/// An annotation decides for one Service, whatever the node does otherwise.
#[test]
fn one_service_is_balanced_otherwise() {
    let saved = |balancing, annotation| {
        save(&balanced(&node_config(balancing), 3, annotation), None, false, "now")
    };
    let random = saved(Balancing::Random, None);
    let turns = saved(Balancing::RoundRobin, None);
    assert!(random.contains("--mode random --probability 0.33333333349"), "{random}");
    assert!(turns.contains("--mode nth --every 3 --packet 0"), "{turns}");
    assert_eq!(saved(Balancing::Random, Some("round-robin")), turns);
    assert_eq!(saved(Balancing::RoundRobin, Some("random")), random);
    assert_eq!(saved(Balancing::RoundRobin, Some("nonsense")), turns);
}
