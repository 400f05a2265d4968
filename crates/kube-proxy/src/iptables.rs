//! The rules (`pkg/proxy/iptables/proxier.go`, `syncProxyRules`).
//!
//! For every port of every Service, in the order of their names:
//!
//! ```text
//! KUBE-SERVICES ──── cluster IP ──────────► KUBE-SVC / KUBE-SVL ─► KUBE-SEP ─► DNAT
//!      ├── external IP, load balancer IP ─► KUBE-EXT ─────▲
//!      └── (last) local address ─ KUBE-NODEPORTS ─► KUBE-EXT
//! ```
//!
//! What has no endpoints is refused or dropped in the `filter` table instead.

use std::net::Ipv4Addr;
use std::rc::Rc;

use netfilter::conntrack::ct_state;
use netfilter::ext::addrtype::Addrtype;
use netfilter::ext::conntrack::CtMatch;
use netfilter::ext::mark::{MarkMatch, SetMark};
use netfilter::ext::nat::NatTarget;
use netfilter::ext::recent::Recent;
use netfilter::ext::reject::Reject;
use netfilter::ext::sctp::Sctp;
use netfilter::ext::statistic::Statistic;
use netfilter::ext::tcp::Tcp;
use netfilter::ext::udp::{PortRange, Ports};
use netfilter::ext::{Match, TargetExt};
use netfilter::rule::{AddrMask, Wanted};
use netfilter::{RuleSpec, Target};

use crate::config::{Balancing, ProxyConfig};
use crate::endpoint::EndpointInfo;
use crate::names::ChainNames;
use crate::origin::{self, Field};
use crate::service::{Protocol, ServicePortInfo};
use crate::topology::{self, Reachable, Refusal};

/// Above so many endpoints in all, rules for single endpoints go without comments
/// (`largeClusterEndpointsThreshold`).
pub(crate) const LARGE_CLUSTER: usize = 1000;

/// Chains of the `filter` table, in the order in which they are declared.
pub const FILTER_CHAINS: [&str; 6] = [
    "KUBE-SERVICES",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-FORWARD",
    "KUBE-NODEPORTS",
    "KUBE-PROXY-FIREWALL",
    "KUBE-FIREWALL",
];
/// Chains of the `nat` table that are always there.
pub const NAT_CHAINS: [&str; 4] =
    ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"];

/// The rules of one table, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TablePlan {
    /// Chains, in the order in which they are declared.
    pub chains: Vec<Rc<str>>,
    /// Rules and their chains.
    pub rules: Vec<(Rc<str>, Rc<RuleSpec>)>,
}

impl TablePlan {
    fn new(chains: &[&str]) -> TablePlan {
        TablePlan { chains: chains.iter().map(|name| (*name).into()).collect(), rules: Vec::new() }
    }

    fn rule(&mut self, chain: impl Into<Rc<str>>, rule: Rule) {
        self.rules.push((chain.into(), Rc::new(rule.0)));
    }
}

/// Everything that kube-proxy writes on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The `filter` table.
    pub filter: TablePlan,
    /// The `nat` table.
    pub nat: TablePlan,
}

impl Plan {
    pub(crate) fn extend(&mut self, other: &Plan) {
        for (to, from) in [(&mut self.filter, &other.filter), (&mut self.nat, &other.nat)] {
            to.chains.extend(from.chains.iter().cloned());
            to.rules.extend(from.rules.iter().cloned());
        }
    }

    /// How many rules there are.
    pub fn rule_count(&self) -> usize {
        self.filter.rules.len() + self.nat.rules.len()
    }
}

/// A rule in the making.
#[derive(Clone)]
struct Rule(RuleSpec);

fn rule() -> Rule {
    Rule(RuleSpec::new(Target::Continue))
}

impl Rule {
    fn with(mut self, m: Match) -> Rule {
        self.0.matches.push(m);
        self
    }

    fn comment(self, text: impl Into<String>) -> Rule {
        self.with(Match::Comment(text.into()))
    }

    /// `-m tcp -p tcp --dport port`
    fn port(mut self, protocol: Protocol, dport: Option<u16>) -> Rule {
        self.0.header.protocol = Some(Wanted::is(protocol.number()));
        let dport = dport.map(|port| Wanted::is(PortRange::one(port)));
        self.with(match protocol {
            Protocol::Tcp => Match::Tcp(Tcp { dport, ..Tcp::default() }),
            Protocol::Udp => Match::Udp(Ports { sport: None, dport }),
            Protocol::Sctp => Match::Sctp(Sctp { dport, ..Sctp::default() }),
        })
    }

    fn to(mut self, addr: Ipv4Addr) -> Rule {
        self.0.header.dst = Some(Wanted::is(AddrMask::host(addr)));
        self
    }

    fn from(mut self, from: AddrMask) -> Rule {
        // 0.0.0.0/0 is everybody, which a rule says by saying nothing.
        self.0.header.src = (from.mask != 0).then(|| Wanted::is(from));
        self
    }

    fn not_from(mut self, from: AddrMask) -> Rule {
        self.0.header.src = Some(Wanted::is_not(from));
        self
    }

    fn origin(mut self, origin: u64) -> Rule {
        self.0.origin = origin;
        self
    }

    fn then(mut self, target: Target) -> Rule {
        self.0.target = target;
        self
    }

    fn jump(self, chain: impl Into<Rc<str>>) -> Rule {
        self.then(Target::Jump(chain.into()))
    }
}

/// With node ports on 127.0.0.1 the kernel lets loopback addresses in; nobody else may use them (CVE-2020-8558).
/// The kubelet puts in the same rule.
pub fn localnet_firewall() -> RuleSpec {
    let loopback = AddrMask::prefix(Ipv4Addr::new(127, 0, 0, 0), 8);
    let known = ct_state::RELATED | ct_state::ESTABLISHED | ct_state::DNAT;
    let mut drop = rule()
        .comment("block incoming localnet connections")
        .with(Match::Conntrack(CtMatch::state(Wanted::is_not(known))))
        .not_from(loopback)
        .then(Target::Drop);
    drop.0.header.dst = Some(Wanted::is(loopback));
    drop.0
}

/// The chains that are always there.
pub(crate) fn chains(config: &ProxyConfig) -> Plan {
    // Without node ports on 127.0.0.1 there is nothing to guard.
    let filter = if config.localhost_node_ports { &FILTER_CHAINS } else { &FILTER_CHAINS[..5] };
    Plan { filter: TablePlan::new(filter), nat: TablePlan::new(&NAT_CHAINS) }
}

/// The rules that stand before those of the Services.
pub(crate) fn head(config: &ProxyConfig) -> Plan {
    let mut writer = Writer::new(config, false, 0);
    writer.localnet_firewall();
    writer.masquerading();
    writer.plan
}

/// The rules that stand behind those of the Services.
pub(crate) fn tail(config: &ProxyConfig) -> Plan {
    let mut writer = Writer::new(config, false, 0);
    writer.node_ports();
    writer.forwarding();
    writer.plan
}

/// The rules of one port of a Service. `serial` stands for the port in what its rules say of their origin.
pub(crate) fn port_rules(
    config: &ProxyConfig,
    is_large: bool,
    serial: u32,
    port: &ServicePortInfo,
    endpoints: &[EndpointInfo],
) -> Plan {
    let mut writer = Writer::new(config, is_large, serial);
    writer.service(port, endpoints);
    writer.plan
}

struct Writer<'a> {
    config: &'a ProxyConfig,
    is_large: bool,
    serial: u32,
    mark_masq: Rc<str>,
    plan: Plan,
}

impl Writer<'_> {
    fn new(config: &ProxyConfig, is_large: bool, serial: u32) -> Writer<'_> {
        let mark_masq = "KUBE-MARK-MASQ".into();
        Writer { config, is_large, serial, mark_masq, plan: Plan::default() }
    }
}

impl Refusal {
    fn target(&self) -> Target {
        match self {
            Refusal::Reject => Target::Ext(TargetExt::Reject(Reject::default())),
            Refusal::Drop => Target::Drop,
        }
    }

    fn comment(&self, name: &str) -> String {
        match self {
            Refusal::Reject => format!("{name} has no endpoints"),
            Refusal::Drop => format!("{name} has no local endpoints"),
        }
    }
}

/// One port of a Service while its rules are written.
struct Port<'a> {
    info: &'a ServicePortInfo,
    name: String,
    chains: ChainNames,
    reachable: Reachable<'a>,
}

impl Port<'_> {
    fn has_internal(&self) -> bool {
        self.reachable.has_internal(self.info)
    }

    fn has_external(&self) -> bool {
        self.reachable.has_external(self.info)
    }

    fn internal_chain(&self) -> Rc<str> {
        if self.info.internal_local { self.chains.local() } else { self.chains.cluster() }
    }

    fn external_policy_chain(&self) -> Rc<str> {
        if self.info.external_local { self.chains.local() } else { self.chains.cluster() }
    }

    fn uses_firewall(&self) -> bool {
        self.reachable.has_any
            && !self.info.load_balancer_ips.is_empty()
            && !self.info.source_ranges.is_empty()
    }

    fn refusal(&self, has_endpoints_to_use: bool) -> Option<Refusal> {
        self.reachable.refusal(has_endpoints_to_use)
    }

    fn protocol(&self) -> Protocol {
        self.info.name.protocol
    }
}

impl Writer<'_> {
    // ---- what is always there --------------------------------------------------------------------------

    fn localnet_firewall(&mut self) {
        if self.config.localhost_node_ports {
            self.plan.filter.rule("KUBE-FIREWALL", Rule(localnet_firewall()));
        }
    }

    fn masquerading(&mut self) {
        let mark = self.config.masquerade_mark();
        let nat = &mut self.plan.nat;
        let unmarked = MarkMatch { wanted: Wanted::is_not((mark, mark)) };
        let return_unmarked = rule().with(Match::Mark(unmarked)).then(Target::Return);
        nat.rule("KUBE-POSTROUTING", return_unmarked);
        let set = |value, mask| Target::Ext(TargetExt::Mark(SetMark { value, mask }));
        // The mark is taken off, so that the packet is not masqueraded again should it come by once more.
        nat.rule("KUBE-POSTROUTING", rule().then(set(mark, 0)));
        let masquerade = NatTarget::masquerade(self.config.random_fully);
        nat.rule(
            "KUBE-POSTROUTING",
            rule()
                .comment("kubernetes service traffic requiring SNAT")
                .then(Target::Ext(TargetExt::Nat(masquerade))),
        );
        nat.rule("KUBE-MARK-MASQ", rule().then(set(mark, mark)));
    }

    /// Last in KUBE-SERVICES: whatever is for one of the node's own addresses.
    fn node_ports(&mut self) {
        let comment =
            "kubernetes service nodeports; NOTE: this must be the last rule in this chain";
        let base = rule().comment(comment);
        if self.config.node_port_addresses.is_empty() {
            let mut all = base.with(Match::Addrtype(Addrtype::dst_local()));
            if !self.config.localhost_node_ports {
                let loopback = AddrMask::prefix(Ipv4Addr::new(127, 0, 0, 0), 8);
                all.0.header.dst = Some(Wanted::is_not(loopback));
            }
            self.plan.nat.rule("KUBE-SERVICES", all.jump("KUBE-NODEPORTS"));
            return;
        }
        for addr in self.node_port_ips() {
            self.plan.nat.rule("KUBE-SERVICES", base.clone().to(addr).jump("KUBE-NODEPORTS"));
        }
    }

    /// The node's addresses that answer on node ports.
    fn node_port_ips(&self) -> Vec<Ipv4Addr> {
        let wanted = &self.config.node_port_addresses;
        let fits = |addr: &Ipv4Addr| {
            wanted.iter().any(|range| range.contains(*addr))
                && (self.config.localhost_node_ports || !addr.is_loopback())
        };
        let mut ips: Vec<Ipv4Addr> =
            self.config.interface_addrs.iter().copied().filter(fits).collect();
        ips.dedup();
        ips
    }

    fn forwarding(&mut self) {
        let mark = self.config.masquerade_mark();
        let filter = &mut self.plan.filter;
        let state = |bits| Match::Conntrack(CtMatch::state(Wanted::is(bits)));
        if !self.config.conntrack_tcp_liberal {
            let invalid = rule().with(state(ct_state::INVALID)).then(Target::Drop);
            filter.rule("KUBE-FORWARD", invalid);
        }
        let marked = MarkMatch { wanted: Wanted::is((mark, mark)) };
        filter.rule(
            "KUBE-FORWARD",
            rule()
                .comment("kubernetes forwarding rules")
                .with(Match::Mark(marked))
                .then(Target::Accept),
        );
        filter.rule(
            "KUBE-FORWARD",
            rule()
                .comment("kubernetes forwarding conntrack rule")
                .with(state(ct_state::RELATED | ct_state::ESTABLISHED))
                .then(Target::Accept),
        );
    }

    // ---- one port of a Service -------------------------------------------------------------------------

    fn service(&mut self, info: &ServicePortInfo, endpoints: &[EndpointInfo]) {
        let port = Port {
            info,
            name: info.name.to_string(),
            chains: ChainNames::new(&info.name),
            reachable: topology::categorize(endpoints, info, self.config),
        };
        self.capture_cluster_ip(&port);
        self.capture_external_ips(&port);
        self.capture_load_balancer_ips(&port);
        self.capture_node_port(&port);
        self.health_check(&port);
        self.internal(&port);
        self.external(&port);
        self.firewall(&port);
        if port.reachable.uses_cluster(info) {
            let chain = port.chains.cluster();
            self.plan.nat.chains.push(chain.clone());
            self.balance(&port, chain, &port.reachable.cluster);
        }
        if port.reachable.uses_local(info) {
            let chain = port.chains.local();
            self.plan.nat.chains.push(chain.clone());
            self.balance(&port, chain, &port.reachable.local);
        }
        for endpoint in &port.reachable.all {
            self.endpoint(&port, endpoint);
        }
    }

    fn origin(&self, field: Field) -> u64 {
        origin::encode(self.serial, field, None)
    }

    fn capture_cluster_ip(&mut self, port: &Port<'_>) {
        let origin = self.origin(Field::Port);
        let base = |comment: String| {
            rule()
                .comment(comment)
                .port(port.protocol(), Some(port.info.port))
                .to(port.info.cluster_ip)
                .origin(origin)
        };
        match port.refusal(port.has_internal()) {
            None => {
                let capture = base(format!("{} cluster IP", port.name));
                self.plan.nat.rule("KUBE-SERVICES", capture.jump(port.internal_chain()));
            }
            Some(refusal) => {
                let refuse = base(refusal.comment(&port.name)).then(refusal.target());
                self.plan.filter.rule("KUBE-SERVICES", refuse);
            }
        }
    }

    fn capture_external_ips(&mut self, port: &Port<'_>) {
        for ip in &port.info.external_ips {
            let origin = self.origin(Field::ExternalIPs);
            let base = |comment: String| {
                rule()
                    .comment(comment)
                    .port(port.protocol(), Some(port.info.port))
                    .to(*ip)
                    .origin(origin)
            };
            if port.reachable.has_any {
                let capture = base(format!("{} external IP", port.name));
                self.plan.nat.rule("KUBE-SERVICES", capture.jump(port.chains.external()));
            }
            if let Some(refusal) = port.refusal(port.has_external()) {
                let refuse = base(refusal.comment(&port.name)).then(refusal.target());
                self.plan.filter.rule("KUBE-EXTERNAL-SERVICES", refuse);
            }
        }
    }

    fn capture_load_balancer_ips(&mut self, port: &Port<'_>) {
        let origin = match port.info.load_balancer_ips.is_empty() {
            true => return,
            false => self.origin(Field::LoadBalancerIngress),
        };
        let base = |ip: Ipv4Addr, comment: String| {
            rule()
                .comment(comment)
                .port(port.protocol(), Some(port.info.port))
                .to(ip)
                .origin(origin)
        };
        let chain =
            if port.uses_firewall() { port.chains.firewall() } else { port.chains.external() };
        for ip in &port.info.load_balancer_ips {
            if port.reachable.has_any {
                let capture = base(*ip, format!("{} loadbalancer IP", port.name));
                self.plan.nat.rule("KUBE-SERVICES", capture.jump(chain.clone()));
            }
            if port.uses_firewall() {
                let comment =
                    format!("{} traffic not accepted by {}", port.name, port.chains.firewall());
                let drop = base(*ip, comment).then(Target::Drop);
                self.plan.filter.rule("KUBE-PROXY-FIREWALL", drop);
            }
        }
        let Some(refusal) = port.refusal(port.has_external()) else { return };
        for ip in &port.info.load_balancer_ips {
            let refuse = base(*ip, refusal.comment(&port.name)).then(refusal.target());
            self.plan.filter.rule("KUBE-EXTERNAL-SERVICES", refuse);
        }
    }

    fn capture_node_port(&mut self, port: &Port<'_>) {
        let Some(node_port) = port.info.node_port else { return };
        let origin = self.origin(Field::NodePort);
        if port.reachable.has_any {
            let capture = rule()
                .comment(port.name.clone())
                .port(port.protocol(), Some(node_port))
                .origin(origin);
            self.plan.nat.rule("KUBE-NODEPORTS", capture.jump(port.chains.external()));
        }
        if let Some(refusal) = port.refusal(port.has_external()) {
            let refuse = rule()
                .comment(refusal.comment(&port.name))
                .with(Match::Addrtype(Addrtype::dst_local()))
                .port(port.protocol(), Some(node_port))
                .origin(origin)
                .then(refusal.target());
            self.plan.filter.rule("KUBE-EXTERNAL-SERVICES", refuse);
        }
    }

    fn health_check(&mut self, port: &Port<'_>) {
        let Some(number) = port.info.health_check_node_port else { return };
        let origin = self.origin(Field::HealthCheckNodePort);
        let accept = rule()
            .comment(format!("{} health check node port", port.name))
            .port(Protocol::Tcp, Some(number))
            .origin(origin)
            .then(Target::Accept);
        self.plan.filter.rule("KUBE-NODEPORTS", accept);
    }

    /// What is sent to the cluster IP from outside the Pod network is masqueraded.
    fn internal(&mut self, port: &Port<'_>) {
        if !port.has_internal() {
            return;
        }
        let origin = self.origin(Field::Port);
        let to_cluster_ip = rule()
            .comment(format!("{} cluster IP", port.name))
            .port(port.protocol(), Some(port.info.port))
            .to(port.info.cluster_ip)
            .origin(origin);
        let masquerade = match (self.config.masquerade_all, self.config.cluster_cidr) {
            (true, _) => to_cluster_ip,
            (false, Some(pods)) => to_cluster_ip.not_from(pods),
            (false, None) => return,
        };
        self.plan.nat.rule(port.internal_chain(), masquerade.jump(self.mark_masq.clone()));
    }

    fn external(&mut self, port: &Port<'_>) {
        if !port.reachable.uses_external(port.info) {
            return;
        }
        let chain = port.chains.external();
        self.plan.nat.chains.push(chain.clone());
        let has_node_port = port.info.node_port.is_some();
        let origin = self.origin(if has_node_port { Field::NodePort } else { Field::Port });
        let name = &port.name;
        let (mark_masq, nat) = (self.mark_masq.clone(), &mut self.plan.nat);
        if port.info.external_local {
            // The sender's address can be kept: the endpoint is on this node. Two kinds of senders are
            // special, as if they had gone out and come back in.
            if let Some(pods) = self.config.cluster_cidr {
                let comment = format!("pod traffic for {name} external destinations");
                let from_pods = rule().comment(comment).from(pods).origin(origin);
                nat.rule(chain.clone(), from_pods.jump(port.chains.cluster()));
            }
            let from_node = |words: &str| {
                rule()
                    .comment(format!("{words} LOCAL traffic for {name} external destinations"))
                    .with(Match::Addrtype(Addrtype::src_local()))
                    .origin(origin)
            };
            nat.rule(chain.clone(), from_node("masquerade").jump(mark_masq.clone()));
            nat.rule(chain.clone(), from_node("route").jump(port.chains.cluster()));
        } else {
            let comment = format!("masquerade traffic for {name} external destinations");
            let masquerade = rule().comment(comment).origin(origin);
            nat.rule(chain.clone(), masquerade.jump(mark_masq.clone()));
        }
        if port.has_external() {
            nat.rule(chain, rule().origin(origin).jump(port.external_policy_chain()));
        }
    }

    fn firewall(&mut self, port: &Port<'_>) {
        if !port.uses_firewall() {
            return;
        }
        let chain = port.chains.firewall();
        self.plan.nat.chains.push(chain.clone());
        let origin = self.origin(Field::SourceRanges);
        let base = rule().comment(format!("{} loadbalancer IP", port.name)).origin(origin);
        let mut allows_this_node = false;
        for range in &port.info.source_ranges {
            let allow = base.clone().from(*range).jump(port.chains.external());
            self.plan.nat.rule(chain.clone(), allow);
            allows_this_node |= range.contains(self.config.node_ip);
        }
        // A request from this node to the balancer's address may come with that address as its source.
        if allows_this_node {
            for ip in &port.info.load_balancer_ips {
                let allow = base.clone().from(AddrMask::host(*ip)).jump(port.chains.external());
                self.plan.nat.rule(chain.clone(), allow);
            }
        }
        let comment =
            format!("other traffic to {} will be dropped by KUBE-PROXY-FIREWALL", port.name);
        self.plan.nat.rule(chain, rule().comment(comment).origin(origin));
    }

    // ---- endpoints -------------------------------------------------------------------------------------

    /// Chooses among endpoints (`writeServiceToEndpointRules`).
    fn balance(&mut self, port: &Port<'_>, chain: Rc<str>, endpoints: &[&EndpointInfo]) {
        let is_large = self.is_large;
        let base = |endpoint: &EndpointInfo, origin| {
            let rule = rule().origin(origin);
            if is_large { rule } else { rule.comment(format!("{} -> {endpoint}", port.name)) }
        };
        let targets: Vec<(&EndpointInfo, Rc<str>, u64)> = endpoints
            .iter()
            .map(|endpoint| (*endpoint, endpoint.chain.clone(), self.endpoint_origin(endpoint)))
            .collect();
        if let Some(seconds) = port.info.affinity_seconds {
            for (endpoint, to, origin) in &targets {
                let seen = Match::Recent(Recent::check_within(to, seconds));
                let stay = base(endpoint, *origin).with(seen).jump(to.clone());
                self.plan.nat.rule(chain.clone(), stay);
            }
        }
        let balancing = port.info.balancing.unwrap_or(self.config.balancing);
        let mut left = u32::try_from(targets.len()).unwrap_or(u32::MAX);
        for (endpoint, to, origin) in targets {
            let mut choose = base(endpoint, origin);
            if left > 1 {
                choose = choose.with(Match::Statistic(share(balancing, left)));
            }
            left -= 1;
            self.plan.nat.rule(chain.clone(), choose.jump(to));
        }
    }

    fn endpoint_origin(&self, endpoint: &EndpointInfo) -> u64 {
        origin::encode(self.serial, Field::TargetPort, Some(endpoint.at))
    }

    fn endpoint(&mut self, port: &Port<'_>, endpoint: &EndpointInfo) {
        let chain = endpoint.chain.clone();
        self.plan.nat.chains.push(chain.clone());
        let origin = self.endpoint_origin(endpoint);
        let is_large = self.is_large;
        let base = || {
            let rule = rule().origin(origin);
            if is_large { rule } else { rule.comment(port.name.clone()) }
        };
        // An endpoint that reaches itself must see another sender, or it would answer itself directly.
        let hairpin = base().from(AddrMask::host(endpoint.ip));
        self.plan.nat.rule(chain.clone(), hairpin.jump(self.mark_masq.clone()));
        let mut translate = base();
        if port.info.affinity_seconds.is_some() {
            translate = translate.with(Match::Recent(Recent::set(&chain)));
        }
        let to = Target::Ext(TargetExt::Nat(NatTarget::dnat(endpoint.ip, endpoint.port)));
        self.plan.nat.rule(chain, translate.port(port.protocol(), None).then(to));
    }
}

/// One of `left` endpoints.
fn share(balancing: Balancing, left: u32) -> Statistic {
    match balancing {
        Balancing::RoundRobin => Statistic::nth(left),
        // Upstream writes ten digits; what the kernel keeps is made from those.
        Balancing::Random => {
            let written = format!("{:.10}", 1.0 / f64::from(left));
            Statistic::random(written.parse().unwrap_or(1.0))
        }
    }
}
