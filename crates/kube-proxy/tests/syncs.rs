//! Partial syncs end where a full sync ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use base::tree::BTreeMap;
use std::rc::Rc;

use base::Rng;
use kube_api::core::Service;
use kube_api::discovery::EndpointSlice;
use kube_proxy::jumps::install_jumps;
use kube_proxy::{Proxier, ProxyConfig, SyncReport};
use netfilter::rule::AddrMask;
use netfilter::text::save::save;
use netfilter::text::{RestoreOptions, restore};
use netfilter::{Netfilter, TableName};
use proptest::prelude::*;
use serde_json::{Value, json};

fn config() -> ProxyConfig {
    let pods = AddrMask::prefix("10.244.0.0".parse().unwrap(), 16);
    ProxyConfig::new("node-1", "172.18.0.2".parse().unwrap(), pods)
}

/// A node's tables and its kube-proxy.
struct Node {
    proxier: Proxier,
    netfilter: Netfilter,
    slices: BTreeMap<String, Rc<EndpointSlice>>,
}

impl Node {
    fn new() -> Node {
        let mut netfilter = Netfilter::new(Rng::new(1));
        install_jumps(&mut netfilter, &config());
        Node { proxier: Proxier::new(config()), netfilter, slices: BTreeMap::new() }
    }

    fn service(&mut self, name: &str, spec: Option<Value>) {
        let service: Option<Service> = spec.map(|spec| {
            let value = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
            serde_json::from_value(value).unwrap()
        });
        self.proxier.observe_service("default", name, service.as_ref());
    }

    fn slice(&mut self, name: &str, service: &str, endpoints: Option<&[u8]>) {
        let new = endpoints.map(|endpoints| {
            let endpoints = endpoints.iter().map(|n| json!({
                "addresses": [format!("10.244.1.{n}")],
                "conditions": {"ready": n % 5 != 0, "serving": true, "terminating": n % 5 == 0},
                "nodeName": if n % 2 == 0 { "node-1" } else { "node-2" },
            }));
            let value = json!({
                "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
                "addressType": "IPv4",
                "endpoints": endpoints.collect::<Vec<_>>(),
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}],
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
        self.proxier.sync(&mut self.netfilter, full)
    }

    fn saved(&self) -> String {
        let text = save(&self.netfilter, None, false, "now");
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
    }
}

fn spec(cluster_ip: &str, more: &Value) -> Value {
    let mut spec = json!({
        "clusterIP": cluster_ip,
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}],
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
    Foreign(&'static str),
    Sync(bool),
}

fn act() -> impl Strategy<Value = Act> {
    let endpoints = prop::collection::vec(1..30u8, 0..5);
    prop_oneof![
        2 => (0..4usize, prop::option::weighted(0.8, 0..6usize)).prop_map(|(n, k)| Act::Service(n, k)),
        3 => (0..4usize, 0..2usize, prop::option::weighted(0.8, endpoints))
            .prop_map(|(n, at, endpoints)| Act::Slice(n, at, endpoints)),
        1 => prop::sample::select(vec!["-F KUBE-SERVICES", "-F KUBE-POSTROUTING", "-A KUBE-NODEPORTS -j RETURN"])
            .prop_map(Act::Foreign),
        3 => prop::bool::weighted(0.1).prop_map(Act::Sync),
    ]
}

fn apply(node: &mut Node, act: &Act) {
    let kinds = [
        json!({}),
        json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}]}),
        json!({"externalIPs": ["192.0.2.7"], "sessionAffinity": "ClientIP"}),
        json!({"type": "NodePort", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
            "ports": [{"name": "http", "port": 80, "nodePort": 30081, "protocol": "TCP"}]}),
        json!({"internalTrafficPolicy": "Local"}),
        json!({"clusterIP": "None"}),
    ];
    match act {
        Act::Service(n, kind) => {
            let ip = format!("10.96.0.{}", 10 + n);
            node.service(NAMES[*n], kind.map(|kind| spec(&ip, &kinds[kind])));
        }
        Act::Slice(n, at, endpoints) => {
            node.slice(&format!("{}-{at}", NAMES[*n]), NAMES[*n], endpoints.as_deref());
        }
        Act::Foreign(line) => {
            let text = format!("*nat\n{line}\nCOMMIT\n");
            let options = RestoreOptions { noflush: true, ..RestoreOptions::default() };
            restore(&mut node.netfilter, &text, options).unwrap();
        }
        Act::Sync(full) => drop(node.sync(*full)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn partial_syncs_end_where_a_full_sync_ends(acts in prop::collection::vec(act(), 1..30)) {
        let mut node = Node::new();
        node.sync(true);
        acts.iter().for_each(|act| apply(&mut node, act));
        // A foreign hand that came last is only noticed when there is something to write.
        node.sync(false);
        let partial = node.saved();
        // Nothing is left to be done.
        let report = node.sync(false);
        prop_assert!(report.is_empty(), "{report:?}");
        let mut fresh = Node::new();
        for act in acts.iter().filter(|act| !matches!(act, Act::Sync(_) | Act::Foreign(_))) {
            apply(&mut fresh, act);
        }
        fresh.sync(true);
        prop_assert_eq!(&partial, &fresh.saved());
        node.sync(true);
        prop_assert_eq!(partial, node.saved());
    }
}

fn packets(node: &Node, chain: &str) -> Vec<u64> {
    let table = node.netfilter.table(TableName::Nat).unwrap();
    table.chain(chain).unwrap().rules.iter().map(|rule| rule.counters.packets).collect()
}

fn count(node: &mut Node, chain: &str) {
    // As if packets had passed.
    let rules = save(&node.netfilter, None, false, "now");
    let rules = rules.split("*nat").nth(1).unwrap().lines();
    let lines: String = rules
        .filter(|line| line.starts_with(&format!("-A {chain} ")))
        .map(|line| format!("[7:420] {line}\n"))
        .collect();
    let text = format!("*nat\n-F {chain}\n{lines}COMMIT\n");
    let options = RestoreOptions { noflush: true, counters: true, ..RestoreOptions::default() };
    restore(&mut node.netfilter, &text, options).unwrap();
}

#[test]
fn a_partial_sync_leaves_the_chains_of_other_services_alone() {
    let mut node = Node::new();
    for (name, ip) in [("web", "10.96.0.1"), ("db", "10.96.0.2")] {
        node.service(name, Some(spec(ip, &json!({}))));
        node.slice(&format!("{name}-1"), name, Some(&[1, 2]));
    }
    assert!(node.sync(false).is_full, "the first sync is a full one");
    let chain = |node: &Node, name: &str| {
        let plan = node.proxier.plan();
        let leads = plan.nat.rules.iter().find(|(chain, rule)| {
            &**chain == "KUBE-SERVICES"
                && rule.to_string().contains(&format!("default/{name}:http"))
        });
        match &leads.unwrap().1.target {
            netfilter::Target::Jump(chain) => chain.to_string(),
            _ => unreachable!(),
        }
    };
    let (web, db) = (chain(&node, "web"), chain(&node, "db"));
    for chain in [web.as_str(), db.as_str(), "KUBE-SERVICES", "KUBE-POSTROUTING"] {
        count(&mut node, chain);
    }
    // This sync finds that somebody has been at the tables, and writes what is always written.
    node.sync(false);
    assert_eq!(packets(&node, "KUBE-SERVICES").iter().max(), Some(&0));
    count(&mut node, "KUBE-SERVICES");
    node.slice("web-1", "web", Some(&[1, 2, 3]));
    let report = node.sync(false);
    assert!(!report.is_full);
    assert!(report.chains_changed.iter().all(|chain| **chain != *db), "{report:?}");
    assert_eq!(packets(&node, &web).iter().max(), Some(&0), "written anew");
    assert_eq!(packets(&node, &db).iter().min(), Some(&7), "left alone");
    assert_eq!(packets(&node, "KUBE-SERVICES").iter().max(), Some(&0), "always written");
    node.sync(true);
    assert_eq!(packets(&node, &db).iter().max(), Some(&0), "a full sync writes everything");
}

#[test]
fn chains_of_a_predecessor_are_deleted_by_a_full_sync_only() {
    let mut node = Node::new();
    node.sync(true);
    let old = "*nat\n:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]\n:MINE - [0:0]\nCOMMIT\n";
    let options = RestoreOptions { noflush: true, ..RestoreOptions::default() };
    restore(&mut node.netfilter, old, options).unwrap();
    node.sync(false);
    assert!(node.saved().contains("KUBE-SVC-AAAA"));
    node.sync(true);
    assert!(!node.saved().contains("KUBE-SVC-AAAA"));
    assert!(node.saved().contains(":MINE"), "others' chains are theirs");
}

#[test]
fn every_rule_knows_what_it_was_written_for() {
    let mut node = Node::new();
    node.service("web", Some(spec("10.96.0.1", &json!({}))));
    node.slice("web-1", "web", Some(&[1, 2]));
    node.sync(true);
    let of = |needle: &str| {
        let plan = node.proxier.plan();
        let mut rules = plan.nat.rules.iter().map(|(_, rule)| rule);
        let rule = rules.find(|rule| rule.to_string().contains(needle)).unwrap();
        node.proxier.origin(rule.origin).unwrap()
    };
    let capture = of("default/web:http cluster IP");
    assert_eq!((capture.field.as_str(), capture.endpoint), ("spec.ports[0].port", None));
    let translate = of("--to-destination 10.244.1.2:8080");
    assert_eq!(translate.field, "spec.ports[0].targetPort");
    let endpoint = translate.endpoint.unwrap();
    assert_eq!((endpoint.address.as_str(), endpoint.slice.as_str()), ("10.244.1.2:8080", "web-1"));
    assert_eq!(of("--to-destination 10.244.1.1:53").port.port, "dns");
}

#[test]
fn all_rules_are_counted() {
    let mut node = Node::new();
    node.service("web", Some(spec("10.96.0.1", &json!({}))));
    node.slice("web-1", "web", Some(&[1, 2]));
    node.sync(true);
    assert_eq!(node.proxier.rule_count(), node.proxier.plan().rule_count());
}

#[test]
fn nothing_is_written_when_nothing_has_changed() {
    let mut node = Node::new();
    node.service("web", Some(spec("10.96.0.1", &json!({}))));
    node.sync(false);
    assert!(node.sync(false).is_empty());
}
