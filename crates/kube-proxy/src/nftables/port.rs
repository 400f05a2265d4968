//! The chains, sets and elements of one port of a Service (`syncProxyRules`):
//!
//! ```text
//! services ── @service-ips ─┬─ cluster IP ────────────────► service- / local- ─► endpoint- ─► dnat
//!      │                    └─ external, balancer's IP ─► external- ───▲
//!      └───── @service-nodeports ─────────────────────────► external-
//! ```
//!
//! Before that, packets for what has no endpoints end in `@no-endpoint-services` and `@no-endpoint-nodeports`,
//! and those from senders that may not in the chain that `@firewall-ips` leads to.

use std::net::Ipv4Addr;
use std::rc::Rc;

use crate::config::{Balancing, ProxyConfig};
use crate::endpoint::EndpointInfo;
use crate::service::ServicePortInfo;
use crate::topology::{self, Reachable, Refusal};

use super::batch::Batch;
use super::elements::{self, Element};
use super::names::{self, CLUSTER, EXTERNAL, FIREWALL, LOCAL, Names};

/// What stands in the table for a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortRules {
    /// Its chains.
    pub(super) chains: Vec<Rc<str>>,
    /// Its sets.
    pub(super) sets: Vec<Rc<str>>,
    /// Its elements in the sets and maps that all ports share.
    pub(super) elements: Vec<Element>,
    /// How many rules there are in its chains.
    pub(super) count: usize,
}

/// The lines that write it.
#[derive(Default)]
pub(super) struct PortText {
    /// The chains, empty.
    pub(super) chains: Batch,
    /// What stands in them.
    pub(super) rules: Batch,
}

/// An endpoint and its set.
struct Target<'a> {
    info: &'a EndpointInfo,
    set: Rc<str>,
}

/// What is already there of an endpoint: chain and set.
pub(super) type IsThere<'a> = &'a dyn Fn(&str, &str) -> bool;

/// Makes the rules of a port. The chain of an endpoint that `is_there` is left as it is.
pub(super) fn make(
    config: &ProxyConfig,
    info: &ServicePortInfo,
    endpoints: &[EndpointInfo],
    is_there: IsThere<'_>,
) -> (PortRules, PortText) {
    let reachable = topology::categorize(endpoints, info, config);
    let names = Names::new(&info.name);
    let mut targets = Vec::with_capacity(reachable.all.len());
    for endpoint in &reachable.all {
        let set = names::affinity_set(&endpoint.chain);
        targets.push(Target { info: endpoint, set });
    }
    let mut writer = Writer {
        config,
        info,
        reachable: &reachable,
        cluster: names.chain(CLUSTER),
        local: names.chain(LOCAL),
        external: names.chain(EXTERNAL),
        firewall: names.chain(FIREWALL),
        port: info.port.to_string(),
        targets: &targets,
        made: PortRules::default(),
        text: PortText::default(),
    };
    writer.write(is_there);
    (writer.made, writer.text)
}

struct Writer<'a> {
    config: &'a ProxyConfig,
    info: &'a ServicePortInfo,
    reachable: &'a Reachable<'a>,
    cluster: Rc<str>,
    local: Rc<str>,
    external: Rc<str>,
    firewall: Rc<str>,
    port: String,
    targets: &'a [Target<'a>],
    made: PortRules,
    text: PortText,
}

const MASQUERADE: &str = "jump mark-for-masquerade";

impl Writer<'_> {
    fn write(&mut self, is_there: IsThere<'_>) {
        let targets = self.targets;
        let (info, reachable) = (self.info, self.reachable);
        let written: Vec<&Target<'_>> =
            targets.iter().filter(|target| !is_there(&target.info.chain, &target.set)).collect();
        self.made.chains.extend(targets.iter().map(|target| target.info.chain.clone()));
        written.iter().for_each(|target| self.text.chains.empty_chain(&target.info.chain, &[]));
        if reachable.uses_cluster(info) {
            self.chain(self.cluster.clone());
        }
        if reachable.uses_local(info) {
            self.chain(self.local.clone());
        }
        if reachable.uses_external(info) {
            self.chain(self.external.clone());
        }
        self.capture_cluster_ip();
        self.capture_external_ips();
        self.capture_load_balancer_ips();
        self.capture_node_port();
        self.internal();
        self.external();
        self.sources();
        if info.affinity_seconds.is_some() {
            self.affinity_sets();
        }
        if reachable.uses_cluster(info) {
            self.balance(&self.cluster.clone(), &reachable.cluster);
        }
        if reachable.uses_local(info) {
            self.balance(&self.local.clone(), &reachable.local);
        }
        let kept = targets.len() - written.len();
        written.iter().for_each(|target| self.endpoint(target));
        let of_endpoint = if info.affinity_seconds.is_some() { 3 } else { 2 };
        self.made.count = self.text.rules.rules + kept * of_endpoint;
    }

    /// One of its chains, to be written from its beginning.
    fn chain(&mut self, chain: Rc<str>) {
        self.text.chains.empty_chain(&chain, &[]);
        self.made.chains.push(chain);
    }

    // ---- elements --------------------------------------------------------------------------------------

    fn element(&mut self, container: &str, key: &[&str], value: &str) {
        let id = elements::id(container, &key.join(" . "));
        self.made.elements.push(Element { id, value: value.into() });
    }

    /// An address together with the port.
    fn at(&mut self, container: &str, addr: Ipv4Addr, value: &str) {
        let (protocol, port) = (self.info.name.protocol.name(), self.port.clone());
        self.element(container, &[&addr.to_string(), protocol, &port], value);
    }

    fn goto(chain: &str) -> String {
        ["goto ", chain].concat()
    }

    fn verdict(refusal: Refusal) -> &'static str {
        match refusal {
            Refusal::Reject => "goto reject-chain",
            Refusal::Drop => "drop",
        }
    }

    fn external_verdict(&self) -> Option<&'static str> {
        let refusal = self.reachable.refusal(self.reachable.has_external(self.info));
        refusal.map(Self::verdict)
    }

    fn internal_chain(&self) -> Rc<str> {
        if self.info.internal_local { self.local.clone() } else { self.cluster.clone() }
    }

    fn capture_cluster_ip(&mut self) {
        let addr = self.info.cluster_ip;
        self.element(elements::CLUSTER_IPS, &[&addr.to_string()], "");
        match self.reachable.refusal(self.reachable.has_internal(self.info)) {
            None => {
                let to = Self::goto(&self.internal_chain());
                self.at(elements::SERVICE_IPS, addr, &to);
            }
            Some(refusal) => {
                self.at(elements::NO_ENDPOINT_SERVICES, addr, Self::verdict(refusal));
            }
        }
    }

    fn capture_external_ips(&mut self) {
        let to = Self::goto(&self.external);
        for addr in &self.info.external_ips {
            if self.reachable.has_any {
                self.at(elements::SERVICE_IPS, *addr, &to);
            }
            if let Some(verdict) = self.external_verdict() {
                self.at(elements::NO_ENDPOINT_SERVICES, *addr, verdict);
            }
        }
    }

    fn uses_firewall(&self) -> bool {
        !self.info.load_balancer_ips.is_empty() && !self.info.source_ranges.is_empty()
    }

    fn capture_load_balancer_ips(&mut self) {
        let info = self.info;
        if self.uses_firewall() {
            self.chain(self.firewall.clone());
        }
        let (to, firewall) = (Self::goto(&self.external), Self::goto(&self.firewall));
        for addr in &info.load_balancer_ips {
            if self.reachable.has_any {
                self.at(elements::SERVICE_IPS, *addr, &to);
            }
            if self.uses_firewall() {
                self.at(elements::FIREWALL_IPS, *addr, &firewall);
            }
        }
        if let Some(verdict) = self.external_verdict() {
            for addr in &info.load_balancer_ips {
                self.at(elements::NO_ENDPOINT_SERVICES, *addr, verdict);
            }
        }
    }

    fn capture_node_port(&mut self) {
        let Some(node_port) = self.info.node_port else { return };
        let node_port = node_port.to_string();
        let key = [self.info.name.protocol.name(), &node_port];
        if self.reachable.has_any {
            let to = Self::goto(&self.external);
            self.element(elements::SERVICE_NODE_PORTS, &key, &to);
        }
        if let Some(verdict) = self.external_verdict() {
            self.element(elements::NO_ENDPOINT_NODE_PORTS, &key, verdict);
        }
    }

    // ---- rules -----------------------------------------------------------------------------------------

    /// What is sent to the cluster IP from outside the Pod network is masqueraded.
    fn internal(&mut self) {
        if !self.reachable.has_internal(self.info) {
            return;
        }
        let from = match (self.config.masquerade_all, self.config.cluster_cidr) {
            (true, _) => None,
            (false, Some(pods)) => Some(format!("ip saddr != {pods}")),
            (false, None) => return,
        };
        let addr = self.info.cluster_ip.to_string();
        let chain = self.internal_chain();
        let protocol = self.info.name.protocol.name();
        let mut parts = vec![&*chain, "ip daddr", &addr, protocol, "dport", &self.port];
        parts.extend(from.as_deref());
        parts.push(MASQUERADE);
        self.text.rules.rule(&parts);
    }

    fn external(&mut self) {
        if !self.reachable.uses_external(self.info) {
            return;
        }
        let (chain, rules) = (&*self.external, &mut self.text.rules);
        if self.info.external_local {
            // The sender's address can be kept: the endpoint is on this node. Two kinds of senders are
            // special, as if they had gone out and come back in.
            if let Some(pods) = self.config.cluster_cidr {
                let comment = "comment \"short-circuit pod traffic\"";
                let pods = pods.to_string();
                rules.rule(&[chain, "ip saddr", &pods, "goto", &self.cluster, comment]);
            }
            let local = "fib saddr type local";
            let comment = "comment \"masquerade local traffic\"";
            rules.rule(&[chain, local, MASQUERADE, comment]);
            let comment = "comment \"short-circuit local traffic\"";
            rules.rule(&[chain, local, "goto", &self.cluster, comment]);
        } else {
            rules.rule(&[chain, MASQUERADE]);
        }
        if self.reachable.has_external(self.info) {
            let policy = if self.info.external_local { &self.local } else { &self.cluster };
            rules.rule(&[chain, "goto", policy]);
        }
    }

    /// Who may send to the addresses of load balancers.
    fn sources(&mut self) {
        if !self.uses_firewall() {
            return;
        }
        let info = self.info;
        let mut sources: Vec<String> = info.source_ranges.iter().map(|r| r.to_string()).collect();
        // A request from this node to the balancer's address may come with that address as its source.
        if info.source_ranges.iter().any(|range| range.contains(self.config.node_ip)) {
            sources.extend(info.load_balancer_ips.iter().map(|addr| addr.to_string()));
        }
        let sources = sources.join(" , ");
        self.text.rules.rule(&[&self.firewall, "ip saddr != {", &sources, "} drop"]);
    }

    fn affinity_sets(&mut self) {
        let seconds = self.info.affinity_seconds.unwrap_or_default().to_string();
        for target in self.targets {
            let properties =
                ["{ type ipv4_addr ; flags dynamic,timeout ; timeout ", &seconds, "s ; }"];
            self.text.rules.line("add set", &[&target.set, &properties.concat()]);
            self.made.sets.push(target.set.clone());
        }
    }

    /// Chooses among endpoints (`writeServiceToEndpointRules`).
    fn balance(&mut self, chain: &str, endpoints: &[&EndpointInfo]) {
        let targets = self.targets;
        let target = |at: u32| {
            let found = targets.binary_search_by(|target| target.info.at.cmp(&at)).ok()?;
            targets.get(found)
        };
        let mut choices = String::new();
        for (number, endpoint) in endpoints.iter().enumerate() {
            let Some(target) = target(endpoint.at) else { continue };
            if self.info.affinity_seconds.is_some() {
                let set = ["@", &target.set].concat();
                self.text.rules.rule(&[chain, "ip saddr", &set, "goto", &target.info.chain]);
            }
            let comma = if number == 0 { "" } else { " , " };
            choices.push_str(&format!("{comma}{number} : goto {}", target.info.chain));
        }
        let how = match self.info.balancing.unwrap_or(self.config.balancing) {
            Balancing::Random => "numgen random mod",
            Balancing::RoundRobin => "numgen inc mod",
        };
        let many = endpoints.len().to_string();
        self.text.rules.rule(&[chain, how, &many, "vmap {", &choices, "}"]);
    }

    fn endpoint(&mut self, target: &Target<'_>) {
        let (chain, rules) = (&*target.info.chain, &mut self.text.rules);
        // An endpoint that reaches itself must see another sender, or it would answer itself directly.
        rules.rule(&[chain, "ip saddr", &target.info.ip.to_string(), MASQUERADE]);
        if self.info.affinity_seconds.is_some() {
            let set = ["@", &target.set].concat();
            rules.rule(&[chain, "update", &set, "{ ip saddr }"]);
        }
        let protocol = self.info.name.protocol.name();
        rules.rule(&[chain, "meta l4proto", protocol, "dnat to", &target.info.text]);
    }
}
