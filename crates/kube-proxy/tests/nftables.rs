//! The nftables mode writes what a real kube-proxy writes, and partial syncs end where a full sync ends.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::rc::Rc;

use base::{Duration, Instant};
use kube_api::MetaExt;
use kube_api::core::Service;
use kube_api::discovery::EndpointSlice;
use kube_proxy::{Balancing, Mode, Proxier, ProxyConfig, SyncReport};
use netfilter::rule::AddrMask;
use netfilter::text::parse::parse_addr_mask;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};
use support::{Fake, Kernel, Ours};

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

fn config_of(value: &Value) -> ProxyConfig {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let list = |key: &str| -> Vec<&str> {
        let items = value.get(key).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let masks = |key: &str| -> Vec<AddrMask> {
        list(key).iter().filter_map(|cidr| parse_addr_mask(cidr).ok()).collect()
    };
    let node_ip = text("nodeIP").unwrap().parse().unwrap();
    let mut config = ProxyConfig::new(text("nodeName").unwrap(), node_ip, AddrMask::host(node_ip));
    let cidr = text("clusterCIDR").and_then(|cidr| parse_addr_mask(cidr).ok());
    config.cluster_cidr = if text("localDetector") == Some("None") { None } else { cidr };
    config.service_cidrs = masks("serviceCIDRs");
    config.masquerade_all = value["masqueradeAll"] == true;
    config.node_port_addresses = masks("nodePortAddresses");
    let addrs = list("interfaceAddrs").into_iter();
    config.interface_addrs =
        addrs.filter_map(|cidr| cidr.split('/').next()?.parse().ok()).collect();
    config.balancing = Balancing::Random;
    config.mode = Mode::Nftables;
    config
}

#[test]
fn rules_are_those_of_a_real_kube_proxy() {
    let Some(flows) = flows() else { return };
    let mut seen = 0;
    for line in flows.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let name = format!("{} {} {}", case["test"], case["case"], case["step"]);
        // The lab is IPv4.
        if case["config"]["ipFamily"] == "IPv6" {
            continue;
        }
        let services: Vec<Service> = serde_json::from_value(case["services"].clone()).unwrap();
        let slices: Vec<EndpointSlice> =
            serde_json::from_value(case["endpointSlices"].clone()).unwrap();
        let mut proxier = Proxier::new(config_of(&case["config"]));
        for service in &services {
            let meta = &service.metadata;
            proxier.observe_service(meta.namespace(), meta.name(), Some(service));
        }
        for slice in slices {
            proxier.observe_slice(None, Some(&Rc::new(slice)));
        }
        let mut fake = Fake::default();
        fake.ours = Some(Rc::new(Ours::new()));
        let report = proxier.sync_nftables(&mut fake, false, Instant::ZERO);
        assert_eq!(report.error, None, "{name}");
        let (actual, expected) = (fake.dump(), case["nftRules"].as_str().unwrap().trim());
        for (number, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
            assert_eq!(actual, expected, "{name}, line {}", number + 1);
        }
        assert_eq!(actual.trim(), expected, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 39, "three of them are IPv6");
}

fn config() -> ProxyConfig {
    let pods = AddrMask::prefix("10.244.0.0".parse().unwrap(), 16);
    let config = ProxyConfig::new("node-1", "172.18.0.2".parse().unwrap(), pods);
    ProxyConfig { mode: Mode::Nftables, ..config }
}

/// A node's table and its kube-proxy.
struct Node {
    proxier: Proxier,
    table: Fake,
    slices: std::collections::BTreeMap<String, Rc<EndpointSlice>>,
    now: Instant,
}

impl Node {
    /// With the table of our own netfilter beside the one that the tests look at.
    fn new() -> Node {
        let mut node = Node::with(config());
        node.table.ours = Some(Rc::new(Ours::new()));
        node
    }

    fn with(config: ProxyConfig) -> Node {
        Node {
            proxier: Proxier::new(config),
            table: Fake::default(),
            slices: std::collections::BTreeMap::new(),
            now: Instant::ZERO,
        }
    }

    fn service(&mut self, name: &str, spec: Option<Value>) {
        let service: Option<Service> = spec.map(|spec| {
            let mut value =
                json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
            if let Some(lb) = value["spec"]["lb"].take().as_str() {
                value["status"] = json!({"loadBalancer": {"ingress": [{"ip": lb}]}});
            }
            value["spec"].as_object_mut().unwrap().remove("lb");
            serde_json::from_value(value).unwrap()
        });
        self.proxier.observe_service("default", name, service.as_ref());
    }

    fn slice(&mut self, name: &str, service: &str, endpoints: Option<&[u8]>) {
        let new = endpoints.map(|endpoints| {
            let endpoints = endpoints.iter().map(|n| {
                json!({
                    "addresses": [format!("10.244.1.{n}")],
                    "conditions": {"ready": n % 5 != 0, "serving": true, "terminating": n % 5 == 0},
                    "nodeName": if n % 2 == 0 { "node-1" } else { "node-2" },
                })
            });
            let value = json!({
                "metadata": {"name": name, "namespace": "default",
                    "labels": {"kubernetes.io/service-name": service}},
                "addressType": "IPv4",
                "endpoints": endpoints.collect::<Vec<_>>(),
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"},
                    {"name": "dns", "port": 53, "protocol": "UDP"}],
            });
            Rc::new(serde_json::from_value::<EndpointSlice>(value).unwrap())
        });
        let old = match &new {
            Some(slice) => self.slices.insert(name.to_string(), slice.clone()),
            None => self.slices.remove(name),
        };
        self.proxier.observe_slice(old.as_ref(), new.as_ref());
    }

    fn sync(&mut self, full: bool) -> SyncReport {
        self.now += Duration::from_secs(1);
        self.proxier.sync_nftables(&mut self.table, full, self.now)
    }

    /// The last transaction.
    fn last(&self) -> &str {
        self.table.log.last().unwrap()
    }

    /// What stands in the table, without the elements' order and comments: as upstream's, these may name a
    /// port that once asked for the same.
    fn sorted(&self) -> Vec<String> {
        let dump = self.table.dump();
        let (mut elements, mut lines): (Vec<String>, Vec<String>) =
            dump.lines().map(str::to_string).partition(|line| line.starts_with("add element"));
        for element in &mut elements {
            if let Some((key, rest)) = element.split_once(" comment \"") {
                *element = [key, rest.split_once('"').unwrap().1].concat();
            }
        }
        elements.sort();
        lines.extend(elements);
        lines
    }
}

fn spec(cluster_ip: &str, more: &Value) -> Value {
    let mut spec = json!({
        "clusterIP": cluster_ip,
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"},
            {"name": "dns", "port": 53, "protocol": "UDP"}],
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

const NAMES: [&str; 4] = ["a", "a-b", "web", "web2"];

#[derive(Clone, Debug)]
enum Act {
    Service(usize, Option<usize>),
    Slice(usize, usize, Option<Vec<u8>>),
    Sync(bool),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let endpoints = prop::collection::vec(1..30u8, 0..5);
    prop_oneof![
        2 => (0..4usize, prop::option::weighted(0.8, 0..8usize)).prop_map(|(n, k)| Act::Service(n, k)),
        3 => (0..4usize, 0..2usize, prop::option::weighted(0.8, endpoints))
            .prop_map(|(n, at, endpoints)| Act::Slice(n, at, endpoints)),
        3 => prop::bool::weighted(0.1).prop_map(Act::Sync),
        1 => Just(Act::Restart),
    ]
}

fn apply(node: &mut Node, act: &Act) {
    let kinds = [
        json!({}),
        json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}]}),
        // The same address for every Service: only one can have it.
        json!({"externalIPs": ["192.0.2.7"], "sessionAffinity": "ClientIP"}),
        json!({"type": "NodePort", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
            "ports": [{"name": "http", "port": 80, "nodePort": 30081, "protocol": "TCP"}]}),
        json!({"internalTrafficPolicy": "Local"}),
        json!({"clusterIP": "None"}),
        json!({"lb": "203.0.113.9", "externalIPs": ["203.0.113.9"], "externalTrafficPolicy": "Local",
            "loadBalancerSourceRanges": ["10.0.0.0/8"]}),
        json!({"lb": "203.0.113.10"}),
    ];
    match act {
        Act::Service(n, kind) => {
            let ip = format!("10.96.0.{}", 10 + n);
            node.service(NAMES[*n], kind.map(|kind| spec(&ip, &kinds[kind])));
        }
        Act::Slice(n, at, endpoints) => {
            node.slice(&format!("{}-{at}", NAMES[*n]), NAMES[*n], endpoints.as_deref());
        }
        Act::Sync(full) => {
            let report = node.sync(*full);
            assert_eq!(report.error, None);
        }
        Act::Restart => {
            node.proxier.restart_nftables();
            assert_eq!(node.sync(false).error, None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn partial_syncs_end_where_a_full_sync_ends(acts in prop::collection::vec(act(), 1..30)) {
        let mut node = Node::new();
        node.sync(true);
        acts.iter().for_each(|act| apply(&mut node, act));
        prop_assert_eq!(node.sync(false).error, None);
        let written = node.table.log.len();
        // This one deletes what has been stale for long enough, and has nothing else to do.
        let report = node.sync(false);
        prop_assert!(node.table.log.len() <= written + 1, "{report:?}");
        prop_assert_eq!((report.rules_written, report.elements_changed), (0, 0));
        let partial = node.sorted();
        let mut fresh = Node::new();
        for act in acts.iter().filter(|act| !matches!(act, Act::Sync(_) | Act::Restart)) {
            apply(&mut fresh, act);
        }
        fresh.sync(true);
        prop_assert_eq!(&partial, &fresh.sorted());
        prop_assert_eq!(node.sync(true).error, None);
        let rules = partial.iter().filter(|line| line.starts_with("add rule")).count();
        prop_assert_eq!(node.proxier.rule_count(), rules);
        prop_assert_eq!(partial, node.sorted());
    }
}

#[test]
fn the_kernel_takes_what_is_written() {
    let Some(kernel) = Kernel::new("proxy") else { return };
    let kernel = Rc::new(kernel);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let acts = prop::collection::vec(act(), 20..40);
    for _ in 0..12 {
        let acts = acts.new_tree(&mut runner).unwrap().current();
        kernel.run("add table ip kube-proxy\ndelete table ip kube-proxy\n").unwrap();
        let mut node = Node::new();
        node.table.kernel = Some(kernel.clone());
        acts.iter().for_each(|act| apply(&mut node, act));
        assert!(kernel.lines().len() >= 24, "{:#?}", kernel.lines());
    }
}

fn two_services() -> Node {
    let mut node = Node::new();
    for (name, ip) in [("web", "10.96.0.1"), ("db", "10.96.0.2")] {
        node.service(name, Some(spec(ip, &json!({}))));
        node.slice(&format!("{name}-1"), name, Some(&[1, 2]));
    }
    node
}

#[test]
fn a_partial_sync_writes_what_has_changed_and_nothing_else() {
    let mut node = two_services();
    assert!(node.sync(false).is_full, "the first sync is a full one");
    node.slice("web-1", "web", Some(&[1, 2, 3]));
    let report = node.sync(false);
    assert!(!report.is_full);
    assert!(!node.last().contains("/db/"), "{}", node.last());
    assert_eq!(report.elements_changed, 0, "addresses and chains are the same");
    assert_eq!(report.chains_added.len(), 2, "two ports, one new endpoint");
    assert!(report.chains_deleted.is_empty());
    assert!(node.sync(false).is_empty());
    assert!(!node.sync(true).is_empty());
}

#[test]
fn a_chain_is_emptied_first_and_deleted_by_a_later_sync() {
    let mut node = two_services();
    node.sync(false);
    node.slice("web-1", "web", Some(&[1]));
    let report = node.sync(false);
    let flushed = node.last().lines().filter(|line| line.starts_with("flush chain")).count();
    assert!(report.chains_deleted.is_empty());
    assert_eq!(
        flushed,
        2 + 2 + 2,
        "two ports: the Service's chain, the endpoint's, the one that is gone"
    );
    assert!(node.table.dump().contains("__10.244.1.2/8080"));
    let report = node.sync(false);
    assert_eq!(report.chains_deleted.len(), 2);
    let web: Vec<String> =
        node.sorted().into_iter().filter(|line| line.contains("/web/")).collect();
    assert!(!web.iter().any(|line| line.contains("__10.244.1.2/")), "{web:?}");
}

#[test]
fn an_endpoint_that_comes_back_keeps_its_chain() {
    let mut node = two_services();
    node.sync(false);
    node.slice("web-1", "web", Some(&[1]));
    node.sync(false);
    node.slice("web-1", "web", Some(&[1, 2]));
    // Not yet stale for long enough.
    let report = node.proxier.sync_nftables(&mut node.table, false, node.now);
    assert_eq!((report.chains_deleted.len(), report.chains_added.len()), (0, 0));
    assert!(node.sync(false).is_empty());
    assert!(node.table.dump().contains("dnat to 10.244.1.2:8080"));
}

#[test]
fn an_element_is_changed_by_taking_it_out_and_putting_it_in() {
    let mut node = two_services();
    node.sync(false);
    node.slice("web-1", "web", Some(&[]));
    let report = node.sync(false);
    let elements: Vec<&str> =
        node.last().lines().filter(|line| line.contains(" element ")).collect();
    let expected = [
        "add element ip kube-proxy no-endpoint-services { 10.96.0.1 . udp . 53 comment \"default/web:dns\" : goto reject-chain }",
        "add element ip kube-proxy no-endpoint-services { 10.96.0.1 . tcp . 80 comment \"default/web:http\" : goto reject-chain }",
        "delete element ip kube-proxy service-ips { 10.96.0.1 . udp . 53 }",
        "delete element ip kube-proxy service-ips { 10.96.0.1 . tcp . 80 }",
    ];
    assert_eq!(elements, expected);
    assert_eq!(report.elements_changed, 4);
}

#[test]
fn clients_keep_their_endpoint_by_a_set_for_each() {
    let mut node = Node::new();
    let affinity = json!({"sessionAffinity": "ClientIP", "ports": [{"name": "http", "port": 80}],
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 7}}});
    node.service("web", Some(spec("10.96.0.1", &affinity)));
    node.slice("web-1", "web", Some(&[1, 2]));
    node.sync(false);
    let lines: Vec<String> =
        node.sorted().into_iter().filter(|line| line.contains("affinity-")).collect();
    assert!(
        lines[0].ends_with("{ type ipv4_addr ; flags dynamic,timeout ; timeout 7s ; }"),
        "{lines:#?}"
    );
    let of = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(of("add set"), 2);
    assert_eq!(of("add rule ip kube-proxy endpoint-"), 2, "{lines:#?}");
    assert_eq!(of("add rule ip kube-proxy service-"), 2, "{lines:#?}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("8080 update @affinity-") && line.ends_with("{ ip saddr }"))
    );
    node.service("web", Some(spec("10.96.0.1", &json!({"ports": [{"name": "http", "port": 80}]}))));
    node.sync(false);
    assert!(!node.table.dump().contains("affinity-"), "sets go at once");
}

#[test]
fn a_set_of_clients_is_told_another_time() {
    let mut node = Node::new();
    let kernel = Kernel::new("time").map(Rc::new);
    node.table.kernel = kernel.clone();
    for seconds in [10800, 7] {
        let affinity = json!({"sessionAffinity": "ClientIP", "ports": [{"name": "http", "port": 80}],
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}}});
        node.service("web", Some(spec("10.96.0.1", &affinity)));
        node.slice("web-1", "web", Some(&[1]));
        assert_eq!(node.sync(false).error, None);
        let timeout = format!("timeout {seconds}s ;");
        assert!(node.table.dump().contains(&timeout));
    }
}

#[test]
fn turns_are_taken_by_a_counter() {
    let mut node = two_services();
    node.sync(false);
    assert!(node.table.dump().contains("numgen inc mod 2 vmap { 0 : goto endpoint-"));
    let config = ProxyConfig { balancing: Balancing::Random, ..config() };
    node.proxier.configure(config);
    assert!(node.sync(false).is_full);
    assert!(node.table.dump().contains("numgen random mod 2 vmap"));
}

#[test]
fn a_process_that_begins_leaves_the_chains_of_endpoints_as_they_are() {
    let mut node = two_services();
    node.sync(false);
    let before = node.table.dump();
    node.proxier.restart_nftables();
    let report = node.sync(false);
    assert!(report.is_full);
    assert_eq!(report.elements_changed, 1, "the addresses for node ports are always written");
    assert!(!node.last().contains("chain ip kube-proxy endpoint-"), "{}", node.last());
    assert!(node.last().contains("delete chain ip kube-proxy nat-output"));
    assert_eq!(before, node.table.dump());
    node.sync(true);
    assert!(node.last().contains("flush chain ip kube-proxy endpoint-"));
    assert!(!node.last().contains("delete chain"));
}

#[test]
fn a_chain_that_a_predecessor_has_emptied_is_written() {
    let mut node = two_services();
    node.sync(false);
    let before = node.sorted();
    node.slice("web-1", "web", Some(&[1]));
    node.sync(false);
    node.proxier.restart_nftables();
    node.slice("web-1", "web", Some(&[1, 2]));
    node.sync(false);
    assert_eq!(before, node.sorted());
}

#[test]
fn what_a_predecessor_left_is_cleaned_away() {
    use kube_proxy::nftables::Tables as _;
    let mut node = two_services();
    node.sync(false);
    let left = "add chain ip kube-proxy service-AAAAAAAA-old/svc/tcp/p\n\
        add chain ip kube-proxy mine\n\
        add set ip kube-proxy affinity-AAAAAAAA-old { type ipv4_addr ; }\n\
        add element ip kube-proxy service-ips { 10.96.9.9 . tcp . 1 : drop }\n\
        delete element ip kube-proxy cluster-ips { 10.96.0.1 }\n";
    node.table.run(left).unwrap();
    node.sync(true);
    let dump = node.table.dump();
    assert!(!dump.contains("affinity-AAAA") && !dump.contains("10.96.9.9"));
    assert!(dump.contains("cluster-ips { 10.96.0.1 }"));
    node.sync(false);
    assert!(!node.table.dump().contains("service-AAAA"));
    assert!(node.table.dump().contains("mine"), "others' chains are theirs");
}

#[test]
fn after_an_error_everything_is_written() {
    let mut node = two_services();
    node.sync(false);
    let (before, log) = (node.table.dump(), node.table.log.len());
    node.table = Fake::default();
    node.slice("web-1", "web", Some(&[1, 2, 3]));
    let report = node.sync(false);
    assert!(report.error.unwrap().starts_with("Error: No such file or directory"));
    assert_eq!(node.table, Fake::default());
    node.slice("web-1", "web", Some(&[1, 2]));
    assert!(node.sync(false).is_full);
    assert_eq!(node.table.dump(), before);
    assert!(log > 0);
}

#[test]
fn every_chain_and_element_knows_what_it_was_written_for() {
    let mut node = Node::new();
    let more = json!({"type": "NodePort", "externalIPs": ["192.0.2.7"],
        "ports": [{"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}]});
    node.service("web", Some(spec("10.96.0.1", &more)));
    node.slice("web-1", "web", Some(&[1, 2]));
    node.sync(true);
    let dump = node.table.dump();
    let chain = |end: &str| {
        let mut chains =
            dump.lines().filter_map(|line| line.strip_prefix("add chain ip kube-proxy "));
        let name = chains.find(|name| name.ends_with(end)).unwrap();
        node.proxier.nftables_chain_origin(name).unwrap()
    };
    assert_eq!(chain("-default/web/tcp/http").field, "spec.ports[1].nodePort");
    assert_eq!(chain("/web/udp/dns").port.port, "dns");
    let endpoint = chain("/web/tcp/http__10.244.1.2/8080");
    assert_eq!(endpoint.field, "spec.ports[1].targetPort");
    assert_eq!(endpoint.endpoint.unwrap().address, "10.244.1.2:8080");
    let element =
        |container, key| Some(node.proxier.nftables_element_origin(container, key)?.field);
    let is = |field: &str| Some(field.to_string());
    assert_eq!(element("service-ips", "10.96.0.1 . tcp . 80"), is("spec.ports[1].port"));
    assert_eq!(element("service-ips", "192.0.2.7 . udp . 53"), is("spec.externalIPs"));
    assert_eq!(element("service-nodeports", "tcp . 30080"), is("spec.ports[1].nodePort"));
    assert_eq!(element("service-nodeports", "tcp . 30081"), None);
    assert_eq!(node.proxier.nftables_chain_origin("services"), None);
}

#[test]
fn node_ports_answer_on_the_first_address_or_on_those_that_are_asked_for() {
    let ips = |ranges: &[&str]| {
        let mut config = config();
        config.interface_addrs.push(Ipv4Addr::new(10, 0, 0, 1));
        config.node_port_addresses = ranges.iter().map(|r| parse_addr_mask(r).unwrap()).collect();
        let mut node = Node::with(config);
        node.sync(false);
        let dump = node.table.dump();
        let lines: Vec<String> = dump
            .lines()
            .filter(|line| {
                line.contains("nodeport") && (line.contains("rule") || line.contains("element"))
            })
            .map(|line| line.replace("ip kube-proxy ", ""))
            .collect();
        lines.join("\n")
    };
    let by_set = "add rule filter-input ct state new jump nodeport-endpoints-check\n\
        add rule nodeport-endpoints-check ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports\n\
        add rule services ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports";
    let element = |addr: &str| format!("\nadd element nodeport-ips {{ {addr} }}");
    assert_eq!(ips(&[]), [by_set, &element("172.18.0.2")].concat());
    assert_eq!(ips(&["10.0.0.0/8", "127.0.0.0/8"]), [by_set, &element("10.0.0.1")].concat());
    assert_eq!(ips(&["127.0.0.0/8"]), by_set);
    assert_eq!(
        ips(&["0.0.0.0/0"]),
        "add rule filter-input ct state new jump nodeport-endpoints-check\n\
        add rule nodeport-endpoints-check ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @no-endpoint-nodeports\n\
        add rule services fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports"
    );
}
