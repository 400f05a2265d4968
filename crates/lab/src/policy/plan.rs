//! NetworkPolicies to the rules of one node: objects in, chains and sets out.
//!
//! For every Pod of the node that a policy isolates there is a chain `KUBE-POD-FW-…` for each direction, reached from
//! `KUBE-ROUTER-FORWARD` by the Pod's address. It lets answers through, then asks the chain `KUBE-NWPLCY-…` of each policy
//! that selects the Pod; a rule of a policy that allows a packet marks it, and a packet without the mark is dropped.
//! Addresses of Pods stand in sets: `KUBE-SRC-…`, `KUBE-DST-…`.
//!
//! **What is not filtered:** host-network Pods; a node's traffic with its own Pods, probes among it, which passes no
//! FORWARD; a Pod's traffic with itself.

use base::Items as _;
use base::tree::{BTreeMap, BTreeSet};
use std::rc::Rc;

use controllers::pods;
use kube_api::core::{Namespace, Pod};
use kube_api::labels::Selector;
use kube_api::meta::LabelSelector;
use kube_api::networking::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use kube_api::{IntOrString, MetaExt, Store};

/// The chain that leads to the Pods' chains; FORWARD leads to it while there is a policy that matters here.
pub(crate) const FORWARD: &str = "KUBE-ROUTER-FORWARD";
/// What an allowed packet is marked with until its Pod's chain has seen it.
const MARK: &str = "0x10000/0x10000";
/// The longest comment is 255 bytes; a name has 253, and a list of names may have many.
const COMMENT_MAX: usize = 200;

/// What the filter table and the sets of a node are to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Chains and their rules, in iptables' words after the chain's name.
    pub(crate) chains: BTreeMap<String, Vec<String>>,
    /// Sets: their kind and their elements, an exception with `nomatch`.
    pub(crate) sets: BTreeMap<String, (&'static str, BTreeSet<String>)>,
}

/// Into a Pod or out of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Ingress,
    Egress,
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Way::Ingress => "ingress",
            Way::Egress => "egress",
        }
    }

    /// Whether a policy is about this direction. The server has filled in `policyTypes`.
    fn is_of(self, policy: &NetworkPolicy) -> bool {
        let types = policy.spec.as_ref().and_then(|spec| spec.policy_types.as_ref());
        let name = if self == Way::Ingress { "Ingress" } else { "Egress" };
        types.is_some_and(|types| types.iter().any(|kind| kind == name))
    }
}

/// A rule of a policy in either direction: who is at the other end, and which ports.
struct Allowed<'a> {
    peers: Option<&'a Vec<NetworkPolicyPeer>>,
    ports: Option<&'a Vec<NetworkPolicyPort>>,
}

fn allowed(policy: &NetworkPolicy, way: Way) -> Vec<Allowed<'_>> {
    let mut rules = Vec::new();
    let Some(spec) = &policy.spec else { return rules };
    match way {
        Way::Ingress => {
            for rule in spec.ingress.items() {
                rules.push(Allowed { peers: rule.from.as_ref(), ports: rule.ports.as_ref() });
            }
        }
        Way::Egress => {
            for rule in spec.egress.items() {
                rules.push(Allowed { peers: rule.to.as_ref(), ports: rule.ports.as_ref() });
            }
        }
    }
    rules
}

/// The address by which a Pod is known to policies; host-network Pods are their nodes to them.
fn address(pod: &Pod) -> Option<&str> {
    let is_host = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    pods::address(pod).filter(|_| !is_host && !pods::has_ended(pod))
}

fn selects(selector: Option<&LabelSelector>, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector.is_none_or(|selector| Selector::of(selector).matches(labels))
}

fn name(policy: &NetworkPolicy) -> String {
    format!("{}/{}", policy.metadata.namespace(), policy.metadata.name())
}

/// The rules of a node for its Pods.
pub(crate) fn plan(store: &Store, node: &str) -> Plan {
    let mut plan = Plan::default();
    let policies: Vec<&Rc<NetworkPolicy>> = store.list::<NetworkPolicy>().collect();
    if policies.is_empty() {
        return plan;
    }
    let mut jumps = Vec::new();
    let mut in_use: BTreeMap<String, (&NetworkPolicy, Way, Vec<&Pod>)> = BTreeMap::new();
    for way in [Way::Egress, Way::Ingress] {
        for pod in store.pods_on(node) {
            let Some(addr) = address(pod) else { continue };
            let selecting: Vec<&NetworkPolicy> = policies
                .iter()
                .filter(|policy| {
                    let spec = policy.spec.as_ref();
                    policy.metadata.namespace == pod.metadata.namespace
                        && way.is_of(policy)
                        && selects(spec.and_then(|spec| spec.pod_selector.as_ref()), pod)
                })
                .map(|policy| &***policy)
                .collect();
            if selecting.is_empty() {
                continue;
            }
            let pod_name = format!("{}/{}", pod.metadata.namespace(), pod.metadata.name());
            let chain = chain("KUBE-POD-FW", &format!("{pod_name}/{}", way.word()));
            let end = if way == Way::Egress { "-s" } else { "-d" };
            let about = comment(&format!("{} of pod {pod_name}", way.word()));
            jumps.push(format!("{end} {addr}/32 {about} -j {chain}"));
            let mut asked = Vec::new();
            for policy in &selecting {
                let chain = policy_chain(policy, way);
                asked.push(format!("{} -j {chain}", comment(&format!("policy {}", name(policy)))));
                let entry = in_use.entry(chain).or_insert_with(|| (*policy, way, Vec::new()));
                entry.2.push(pod);
            }
            plan.chains.insert(chain, pod_rules(addr, &selecting, asked));
        }
    }
    for (chain, (policy, way, selected)) in in_use {
        let rules = PolicyRules { store, plan: &mut plan, policy, way, selected: &selected };
        let rules = rules.write();
        plan.chains.insert(chain, rules);
    }
    if !jumps.is_empty() {
        plan.chains.insert(FORWARD.to_string(), jumps);
    }
    plan
}

fn chain(prefix: &str, of: &str) -> String {
    let hash = kube_proxy::names::hash(of);
    format!("{prefix}-{}", String::from_utf8_lossy(&hash))
}

fn policy_chain(policy: &NetworkPolicy, way: Way) -> String {
    chain("KUBE-NWPLCY", &format!("{}/{}", name(policy), way.word()))
}

fn comment(text: &str) -> String {
    format!("-m comment --comment \"{text}\"")
}

/// `policy default/a`, `policies default/a, default/b`, as many as there is room for.
fn names(policies: &[&NetworkPolicy]) -> String {
    if let [one] = policies {
        return format!("policy {}", name(one));
    }
    let mut text = "policies ".to_string();
    for (at, policy) in policies.iter().enumerate() {
        let name = name(policy);
        if at > 0 && text.len() + name.len() > COMMENT_MAX {
            text.push_str(&format!(" and {} more", policies.len() - at));
            break;
        }
        text.push_str(if at > 0 { ", " } else { "" });
        text.push_str(&name);
    }
    text
}

/// The chain of a Pod: answers and itself pass, then its policies are asked, and the rest is dropped.
fn pod_rules(addr: &str, policies: &[&NetworkPolicy], asked: Vec<String>) -> Vec<String> {
    let answers = comment("rule for stateful firewall for pod");
    let mut rules = vec![
        format!("{answers} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"),
        format!("-s {addr}/32 -d {addr}/32 {} -j RETURN", comment("a pod and itself")),
    ];
    rules.extend(asked);
    rules.push(format!("{} -m mark ! --mark {MARK} -j DROP", comment(&names(policies))));
    rules.push("-j MARK --set-xmark 0x0/0x10000".to_string());
    rules
}

/// What is written for one policy in one direction.
struct PolicyRules<'a> {
    store: &'a Store,
    plan: &'a mut Plan,
    policy: &'a NetworkPolicy,
    way: Way,
    /// The Pods of this node that it selects.
    selected: &'a [&'a Pod],
}

/// Who is at the other end.
enum Peers<'a> {
    Anybody,
    /// Pods, and the sets that hold them and what blocks of addresses there are.
    Some(Vec<&'a Rc<Pod>>, Vec<String>),
}

impl<'a> PolicyRules<'a> {
    fn write(mut self) -> Vec<String> {
        let mut rules = Vec::new();
        for (at, rule) in allowed(self.policy, self.way).into_iter().enumerate() {
            let peers = self.peers(at, rule.peers);
            let about =
                format!("policy {}, {} rule {}", name(self.policy), self.way.word(), at + 1);
            let end = format!("{} -j MARK --set-xmark {MARK}", comment(&about));
            // The other end: `src` of what comes in, `dst` of what goes out.
            let (word, ends) = match (self.way, &peers) {
                (_, Peers::Anybody) => ("", vec![String::new()]),
                (Way::Ingress, Peers::Some(_, sets)) => ("src", sets.clone()),
                (Way::Egress, Peers::Some(_, sets)) => ("dst", sets.clone()),
            };
            let matched = |set: &String| match word {
                "" => String::new(),
                word => format!("-m set --match-set {set} {word} "),
            };
            let ports: Vec<&NetworkPolicyPort> = rule.ports.items().collect();
            if ports.is_empty() {
                ends.iter().for_each(|set| rules.push(format!("{}{end}", matched(set))));
                continue;
            }
            for (number, port) in ports.into_iter().enumerate() {
                let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
                if let Some(IntOrString::String(named)) = &port.port {
                    let set = self.named(&format!("{at}/{number}"), named, &protocol, &peers);
                    // Of what goes out, the set holds the Pods at the other end with their ports already.
                    let ends: &[String] =
                        if self.way == Way::Egress { &[String::new()] } else { &ends };
                    for peer in ends {
                        let peer =
                            if self.way == Way::Egress { String::new() } else { matched(peer) };
                        rules.push(format!("{peer}-m set --match-set {set} dst,dst {end}"));
                    }
                    continue;
                }
                let ports = port_match(port, &protocol);
                ends.iter().for_each(|set| rules.push(format!("{}{ports}{end}", matched(set))));
            }
        }
        rules
    }

    fn set(&mut self, of: &str, kind: &'static str, elements: BTreeSet<String>) -> String {
        let prefix = if self.way == Way::Ingress && kind != "hash:ip,port" { "SRC" } else { "DST" };
        let of = format!("{}/{}/{of}", name(self.policy), self.way.word());
        let name = chain(&format!("KUBE-{prefix}"), &of);
        self.plan.sets.insert(name.clone(), (kind, elements));
        name
    }

    fn peers(&mut self, at: usize, peers: Option<&Vec<NetworkPolicyPeer>>) -> Peers<'a> {
        let Some(peers) = peers.filter(|peers| !peers.is_empty()) else { return Peers::Anybody };
        let (mut found, mut sets) = (Vec::new(), Vec::new());
        let mut has_selectors = false;
        for (number, peer) in peers.iter().enumerate() {
            match &peer.ip_block {
                Some(block) => {
                    // Each its own set: what one excepts another may hold.
                    let mut nets = BTreeSet::new();
                    add_net(&mut nets, &block.cidr, "");
                    for except in block.except.items() {
                        add_net(&mut nets, except, " nomatch");
                    }
                    sets.push(self.set(&format!("{at}/block {number}"), "hash:net", nets));
                }
                None => {
                    has_selectors = true;
                    self.select(peer, &mut found);
                }
            }
        }
        if has_selectors {
            let addrs = found.iter().filter_map(|pod| Some(address(pod)?.to_string()));
            let addrs = base::order::set(addrs);
            sets.push(self.set(&at.to_string(), "hash:ip", addrs));
        }
        Peers::Some(found, sets)
    }

    /// The Pods that selectors of namespaces, of Pods, or of both mean.
    fn select(&self, peer: &NetworkPolicyPeer, found: &mut Vec<&'a Rc<Pod>>) {
        let own = self.policy.metadata.namespace();
        let mut spaces: Vec<&str> = vec![own];
        if let Some(selector) = &peer.namespace_selector {
            let selector = Selector::of(selector);
            let all = self.store.list::<Namespace>();
            let fitting = all.filter(|space| selector.matches(space.metadata.labels.as_ref()));
            spaces = fitting.map(|space| space.metadata.name()).collect();
        }
        for space in spaces {
            for pod in self.store.list_in::<Pod>(space) {
                if selects(peer.pod_selector.as_ref(), pod) {
                    found.push(pod);
                }
            }
        }
    }

    /// The Pods with a port of this name at the receiving end, each with its number.
    fn named(&mut self, of: &str, port: &str, protocol: &str, peers: &Peers<'_>) -> String {
        let receivers: Vec<&Pod> = match (self.way, peers) {
            (Way::Ingress, _) => self.selected.to_vec(),
            (Way::Egress, Peers::Some(pods, _)) => pods.iter().map(|pod| &***pod).collect(),
            (Way::Egress, Peers::Anybody) => self.store.list::<Pod>().map(|pod| &**pod).collect(),
        };
        let upper = protocol.to_uppercase();
        let mut elements = BTreeSet::new();
        for pod in receivers {
            let number = pods::named_port(pod, port, &upper);
            if let (Some(addr), Some(number)) = (address(pod), number) {
                elements.insert(format!("{addr},{protocol}:{number}"));
            }
        }
        self.set(&format!("{of}/{port}"), "hash:ip,port", elements)
    }
}

/// `-p tcp -m tcp --dport 80:90 `
fn port_match(port: &NetworkPolicyPort, protocol: &str) -> String {
    let number = match port.port {
        Some(IntOrString::Int(number)) => number,
        _ => return format!("-p {protocol} "),
    };
    match port.end_port {
        Some(end) if end > number => {
            format!("-p {protocol} -m {protocol} --dport {number}:{end} ")
        }
        _ => format!("-p {protocol} -m {protocol} --dport {number} "),
    }
}

/// A network; one of all addresses does not fit into a set, so it goes in two halves.
fn add_net(nets: &mut BTreeSet<String>, cidr: &str, more: &str) {
    let Ok(net) = cidr.parse::<netsim::Cidr>() else { return };
    if net.len == 0 {
        nets.extend([format!("0.0.0.0/1{more}"), format!("128.0.0.0/1{more}")]);
    } else {
        nets.insert(format!("{}{more}", net.network()));
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use base::{Instant, Rng};
    use expect_test::{Expect, expect};
    use kube_api::{Api, ApiConfig, yaml};

    use super::*;

    const WORLD: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: default}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: sales}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default, labels: {app: web}}
spec: {nodeName: here, containers: [{name: a, image: a, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: friend, namespace: default, labels: {role: friend}}
spec: {nodeName: there, containers: [{name: a, image: a}]}
---
apiVersion: v1
kind: Pod
metadata: {name: buyer, namespace: shop, labels: {role: friend}}
spec: {nodeName: here, containers: [{name: a, image: a}]}
"#;

    fn api(policies: &str) -> Api {
        let mut api = Api::new(ApiConfig::default(), Rng::new(1));
        for document in yaml::documents(&format!("{WORLD}---{policies}")) {
            let Some(node) = document.content.unwrap() else { continue };
            let field = |name: &str| node.get(name).unwrap().as_str().unwrap();
            let kind = api.store().kinds().find(field("apiVersion"), field("kind")).unwrap().id;
            let value = api.decode(kind, &node).unwrap();
            let object = api.object(kind, value).unwrap();
            api.create(object, Instant::ZERO).unwrap();
        }
        for (n, (namespace, name)) in
            [("default", "web"), ("default", "friend"), ("shop", "buyer")].into_iter().enumerate()
        {
            api.modify::<Pod>(namespace, name, |pod| {
                let status = pod.status.get_or_insert_default();
                status.pod_ip = Some(format!("10.244.1.{}", n + 2));
            });
        }
        api
    }

    fn check(policies: &str, node: &str, expected: Expect) {
        let plan = plan(api(policies).store(), node);
        let mut text = String::new();
        for (name, rules) in &plan.chains {
            rules.iter().for_each(|rule| writeln!(text, "-A {name} {rule}").unwrap());
        }
        for (name, (kind, elements)) in &plan.sets {
            let elements: Vec<&str> = elements.iter().map(String::as_str).collect();
            writeln!(text, "{name} {kind}: {}", elements.join(" | ")).unwrap();
        }
        expected.assert_eq(&text);
    }

    const POLICY: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - podSelector: {matchLabels: {role: friend}}
    - ipBlock: {cidr: 172.18.0.0/16, except: [172.18.0.1/32]}
    ports: [{port: 80}, {port: 8000, endPort: 8100}, {port: http}]
  egress:
  - to: [{namespaceSelector: {matchLabels: {team: sales}}}]
  - ports: [{port: 53, protocol: UDP}]
"#;

    #[test]
    fn a_policy_as_chains_and_sets() {
        check(
            POLICY,
            "here",
            expect![[r#"
                -A KUBE-NWPLCY-33JQ6F5ZWZMSCK3L -m set --match-set KUBE-DST-LBO56DTRINX5WNXV dst -m comment --comment "policy default/web, egress rule 1" -j MARK --set-xmark 0x10000/0x10000
                -A KUBE-NWPLCY-33JQ6F5ZWZMSCK3L -p udp -m udp --dport 53 -m comment --comment "policy default/web, egress rule 2" -j MARK --set-xmark 0x10000/0x10000
                -A KUBE-NWPLCY-ZMJHBLAUJBRKODYL -m set --match-set KUBE-SRC-FTQU33HOPOFPRXGA src -p tcp -m tcp --dport 80 -m comment --comment "policy default/web, ingress rule 1" -j MARK --set-xmark 0x10000/0x10000
                -A KUBE-NWPLCY-ZMJHBLAUJBRKODYL -m set --match-set KUBE-SRC-2OU2V7TQBU5XDCBF src -p tcp -m tcp --dport 80 -m comment --comment "policy default/web, ingress rule 1" -j MARK --set-xmark 0x10000/0x10000
                -A KUBE-NWPLCY-ZMJHBLAUJBRKODYL -m set --match-set KUBE-SRC-FTQU33HOPOFPRXGA src -p tcp -m tcp --dport 8000:8100 -m comment --comment "policy default/web, ingress rule 1" -j MARK --set-xmark 0x10000/0x10000
                -A KUBE-NWPLCY-ZMJHBLAUJBRKODYL -m set --match-set KUBE-SRC-2OU2V7TQBU5XDCBF src -p tcp -m tcp --dport 8000:8100 -m comment --comment "policy default/web, ingress rule 1" -j MARK --set-xmark 0x10000/0x10000
                -A KUBE-NWPLCY-ZMJHBLAUJBRKODYL -m set --match-set KUBE-SRC-FTQU33HOPOFPRXGA src -m set --match-set KUBE-DST-AGCEU33E6753NRPF dst,dst -m comment --comment "policy default/web, ingress rule 1" -j MARK --set-xmark 0x10000/0x10000
                -A KUBE-NWPLCY-ZMJHBLAUJBRKODYL -m set --match-set KUBE-SRC-2OU2V7TQBU5XDCBF src -m set --match-set KUBE-DST-AGCEU33E6753NRPF dst,dst -m comment --comment "policy default/web, ingress rule 1" -j MARK --set-xmark 0x10000/0x10000
                -A KUBE-POD-FW-33JQ6F5ZWZMSCK3L -m comment --comment "rule for stateful firewall for pod" -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
                -A KUBE-POD-FW-33JQ6F5ZWZMSCK3L -s 10.244.1.2/32 -d 10.244.1.2/32 -m comment --comment "a pod and itself" -j RETURN
                -A KUBE-POD-FW-33JQ6F5ZWZMSCK3L -m comment --comment "policy default/web" -j KUBE-NWPLCY-33JQ6F5ZWZMSCK3L
                -A KUBE-POD-FW-33JQ6F5ZWZMSCK3L -m comment --comment "policy default/web" -m mark ! --mark 0x10000/0x10000 -j DROP
                -A KUBE-POD-FW-33JQ6F5ZWZMSCK3L -j MARK --set-xmark 0x0/0x10000
                -A KUBE-POD-FW-ZMJHBLAUJBRKODYL -m comment --comment "rule for stateful firewall for pod" -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
                -A KUBE-POD-FW-ZMJHBLAUJBRKODYL -s 10.244.1.2/32 -d 10.244.1.2/32 -m comment --comment "a pod and itself" -j RETURN
                -A KUBE-POD-FW-ZMJHBLAUJBRKODYL -m comment --comment "policy default/web" -j KUBE-NWPLCY-ZMJHBLAUJBRKODYL
                -A KUBE-POD-FW-ZMJHBLAUJBRKODYL -m comment --comment "policy default/web" -m mark ! --mark 0x10000/0x10000 -j DROP
                -A KUBE-POD-FW-ZMJHBLAUJBRKODYL -j MARK --set-xmark 0x0/0x10000
                -A KUBE-ROUTER-FORWARD -s 10.244.1.2/32 -m comment --comment "egress of pod default/web" -j KUBE-POD-FW-33JQ6F5ZWZMSCK3L
                -A KUBE-ROUTER-FORWARD -d 10.244.1.2/32 -m comment --comment "ingress of pod default/web" -j KUBE-POD-FW-ZMJHBLAUJBRKODYL
                KUBE-DST-AGCEU33E6753NRPF hash:ip,port: 10.244.1.2,tcp:8080
                KUBE-DST-LBO56DTRINX5WNXV hash:ip: 10.244.1.4
                KUBE-SRC-2OU2V7TQBU5XDCBF hash:ip: 10.244.1.3
                KUBE-SRC-FTQU33HOPOFPRXGA hash:net: 172.18.0.0/16 | 172.18.0.1/32 nomatch
            "#]],
        );
    }

    #[test]
    fn a_node_without_selected_pods_has_no_rules() {
        assert_eq!(plan(api(POLICY).store(), "there"), Plan::default());
        assert_eq!(plan(api("").store(), "here"), Plan::default());
    }

    #[test]
    fn many_policies_are_named_as_far_as_there_is_room() {
        let policy = |n: usize| {
            let mut policy = NetworkPolicy::default();
            policy.metadata.namespace = Some("default".into());
            policy.metadata.name = Some(format!("a-rather-long-name-of-a-policy-{n}"));
            policy
        };
        let policies: Vec<NetworkPolicy> = (0..9).map(policy).collect();
        let all: Vec<&NetworkPolicy> = policies.iter().collect();
        let text = names(&all);
        assert!(text.len() < 250 && text.ends_with(" and 5 more"), "{text}");
        assert_eq!(
            names(&[&policies[0], &policies[1]]),
            "policies default/a-rather-long-name-of-a-policy-0, default/a-rather-long-name-of-a-policy-1"
        );
    }
}
