//! Services as a proxy sees them: one entry for each port that is to be proxied
//! (`pkg/proxy/serviceport.go`).

use std::cmp::Ordering;
use std::fmt;
use std::net::Ipv4Addr;

use base::Items as _;
use kube_api::MetaExt;
use kube_api::core::{Service, ServicePort, ServiceSpec};
use netfilter::rule::AddrMask;
use netfilter::text::parse::parse_addr_mask;

use crate::config::Balancing;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `TCP`
    Tcp,
    /// `UDP`
    Udp,
    /// `SCTP`
    Sctp,
}

impl Protocol {
    /// From the words of objects; TCP when there is none.
    pub fn parse(word: Option<&str>) -> Protocol {
        match word {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        }
    }

    /// In lower case, as rules have it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

/// Names a port of a Service. In order of their texts, then of their protocols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortName {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// Name of the port; empty when it has none.
    pub port: String,
    /// Its protocol.
    pub protocol: Protocol,
}

impl PortName {
    fn letters(&self) -> impl Iterator<Item = u8> {
        let port = if self.port.is_empty() { None } else { Some(b':') };
        let service = self.namespace.bytes().chain([b'/']).chain(self.service.bytes());
        service.chain(port).chain(self.port.bytes())
    }
}

impl Ord for PortName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.letters().cmp(other.letters()).then(self.protocol.cmp(&other.protocol))
    }
}

impl PartialOrd for PortName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PortName {
    /// `default/web:http`, or `default/web` for a port without a name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service)?;
        if self.port.is_empty() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePortInfo {
    /// Its name.
    pub name: PortName,
    /// Its place among the Service's ports.
    pub index: usize,
    /// The Service's cluster IP.
    pub cluster_ip: Ipv4Addr,
    /// The Service's port.
    pub port: u16,
    /// The port on every node, if it has one.
    pub node_port: Option<u16>,
    /// `externalIPs`
    pub external_ips: Vec<Ipv4Addr>,
    /// Addresses of load balancers that deliver packets addressed to them (ipMode VIP).
    pub load_balancer_ips: Vec<Ipv4Addr>,
    /// `loadBalancerSourceRanges`
    pub source_ranges: Vec<AddrMask>,
    /// Seconds for which a client keeps its endpoint (`sessionAffinity: ClientIP`).
    pub affinity_seconds: Option<u32>,
    /// `externalTrafficPolicy: Local`
    pub external_local: bool,
    /// `internalTrafficPolicy: Local`
    pub internal_local: bool,
    /// The port that says whether this node has endpoints.
    pub health_check_node_port: Option<u16>,
    /// `service.kubernetes.io/topology-mode: Auto`, or a `trafficDistribution`.
    pub uses_hints: bool,
    /// The balancing that the Service asks for itself (annotation `podwire.dev/load-balancing`).
    pub balancing: Option<Balancing>,
}

/// Chooses the balancing of one Service.
pub const BALANCING_ANNOTATION: &str = "podwire.dev/load-balancing";

impl ServicePortInfo {
    /// Reached from outside the cluster.
    pub fn is_externally_accessible(&self) -> bool {
        self.node_port.is_some()
            || !self.load_balancer_ips.is_empty()
            || !self.external_ips.is_empty()
    }

    /// Endpoints of the whole cluster are of use: also under external policy Local, for what comes from
    /// inside.
    pub fn uses_cluster_endpoints(&self) -> bool {
        !self.internal_local || self.is_externally_accessible()
    }

    /// Endpoints of this node are of use by themselves.
    pub fn uses_local_endpoints(&self) -> bool {
        self.internal_local || (self.external_local && self.is_externally_accessible())
    }
}

/// The ports of a Service that are to be proxied: none for headless and external-name Services
/// (`ShouldSkipService`).
pub fn ports(service: &Service) -> Vec<ServicePortInfo> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let cluster_ip = spec.cluster_ip.as_deref().unwrap_or_default();
    let is_external_name = spec.type_.as_deref() == Some("ExternalName");
    let Ok(cluster_ip) = cluster_ip.parse::<Ipv4Addr>() else { return Vec::new() };
    if is_external_name || is_someone_elses(service) {
        return Vec::new();
    }
    let ports = spec.ports.items().enumerate();
    ports.map(|(index, port)| info(service, spec, cluster_ip, index, port)).collect()
}

/// Other proxies mark the Services that are theirs.
fn is_someone_elses(service: &Service) -> bool {
    service.metadata.label("service.kubernetes.io/service-proxy-name").is_some()
}

fn info(
    service: &Service,
    spec: &ServiceSpec,
    cluster_ip: Ipv4Addr,
    index: usize,
    port: &ServicePort,
) -> ServicePortInfo {
    let number = |n: Option<i32>| n.and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0);
    let ips = |list: Option<&Vec<String>>| -> Vec<Ipv4Addr> {
        list.items().filter_map(|ip| ip.parse().ok()).collect()
    };
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
        let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(10800);
        u32::try_from(seconds).unwrap_or(10800)
    });
    let external_local = spec.external_traffic_policy.as_deref() == Some("Local");
    ServicePortInfo {
        name: PortName {
            namespace: service.metadata.namespace().to_string(),
            service: service.metadata.name().to_string(),
            port: port.name.clone().unwrap_or_default(),
            protocol: Protocol::parse(port.protocol.as_deref()),
        },
        index,
        cluster_ip,
        port: number(Some(port.port)).unwrap_or(0),
        node_port: number(port.node_port),
        external_ips: ips(spec.external_ips.as_ref()),
        load_balancer_ips: load_balancer_ips(service),
        source_ranges: source_ranges(spec),
        affinity_seconds: affinity,
        external_local,
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        health_check_node_port: number(spec.health_check_node_port).filter(|_| external_local),
        uses_hints: uses_hints(service, spec),
        balancing: match service.metadata.annotation(BALANCING_ANNOTATION) {
            Some("round-robin") => Some(Balancing::RoundRobin),
            Some("random") => Some(Balancing::Random),
            _ => None,
        },
    }
}

fn load_balancer_ips(service: &Service) -> Vec<Ipv4Addr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.into_iter().flat_map(|lb| lb.ingress.items());
    ingress
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.as_ref()?.parse().ok())
        .collect()
}

fn source_ranges(spec: &ServiceSpec) -> Vec<AddrMask> {
    let ranges = spec.load_balancer_source_ranges.items();
    ranges.filter_map(|range| parse_addr_mask(range.trim()).ok()).collect()
}

fn uses_hints(service: &Service, spec: &ServiceSpec) -> bool {
    let mode = service.metadata.annotation("service.kubernetes.io/topology-mode");
    let older = service.metadata.annotation("service.kubernetes.io/topology-aware-hints");
    let asks = |value: Option<&str>| value.is_some_and(|v| v.eq_ignore_ascii_case("auto"));
    asks(mode) || asks(older) || spec.traffic_distribution.is_some()
}
