//! Endpoints as a proxy sees them: one entry for each address and port (`pkg/proxy/endpoint.go`,
//! `pkg/proxy/endpointslicecache.go`).

use base::Items as _;
use base::tree::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::rc::Rc;

use kube_api::MetaExt;
use kube_api::discovery::{Endpoint, EndpointSlice};

use crate::config::{Mode, ProxyConfig};
use crate::names;
use crate::nftables;
use crate::service::{PortName, Protocol};

/// The label that says which Service a slice is for.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An address and port behind a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointInfo {
    /// Where it is.
    pub ip: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Both: `10.244.1.5:8080`
    pub text: Rc<str>,
    /// The chain that leads to it: `KUBE-SEP-…`, `endpoint-…`; empty in a mode without such chains.
    pub chain: Rc<str>,
    /// Takes new connections.
    pub ready: bool,
    /// Would take them, but is on its way out perhaps.
    pub serving: bool,
    /// Is on its way out.
    pub terminating: bool,
    /// Runs on this node.
    pub is_local: bool,
    /// Its place among the port's endpoints.
    pub at: u32,
    /// The slice it is written in, and its place there.
    slice: (Rc<EndpointSlice>, usize),
}

impl EndpointInfo {
    fn endpoint(&self) -> Option<&Endpoint> {
        self.slice.0.endpoints.get(self.slice.1)
    }

    /// Zones for which it is meant.
    pub fn zone_hints(&self) -> impl Iterator<Item = &str> {
        let hints = self.endpoint().and_then(|endpoint| endpoint.hints.as_ref());
        let zones = hints.and_then(|hints| hints.for_zones.as_ref());
        zones.items().map(|zone| zone.name.as_str())
    }

    /// Nodes for which it is meant.
    pub fn node_hints(&self) -> impl Iterator<Item = &str> {
        let hints = self.endpoint().and_then(|endpoint| endpoint.hints.as_ref());
        let nodes = hints.and_then(|hints| hints.for_nodes.as_ref());
        nodes.items().map(|node| node.name.as_str())
    }

    /// The Pod it is, if any.
    pub fn pod(&self) -> Option<&str> {
        self.endpoint()?.target_ref.as_ref()?.name.as_deref()
    }

    /// The name of the slice it is written in.
    pub fn slice(&self) -> &str {
        self.slice.0.metadata.name()
    }
}

impl fmt::Display for EndpointInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The endpoints of a Service's ports, each port's in the order of their texts, as upstream sorts them.
pub type ByPort = BTreeMap<PortName, Vec<EndpointInfo>>;

/// Reads the slices of one Service (by name), as they are for a node.
pub fn read<'a>(
    slices: impl Iterator<Item = &'a Rc<EndpointSlice>>,
    config: &ProxyConfig,
) -> ByPort {
    let mut found = ByPort::new();
    for slice in slices.filter(|slice| slice.address_type == "IPv4") {
        let Some(service) = slice.metadata.label(SERVICE_NAME) else { continue };
        for port in slice.ports.items() {
            let Some(number) = port.port.and_then(|port| u16::try_from(port).ok()) else {
                continue;
            };
            let name = PortName {
                namespace: slice.metadata.namespace().to_string(),
                service: service.to_string(),
                port: port.name.clone().unwrap_or_default(),
                protocol: Protocol::parse(port.protocol.as_deref()),
            };
            let infos = infos(slice, &name, number, config);
            found.entry(name).or_default().extend(infos);
        }
    }
    found.values_mut().for_each(arrange);
    found
}

fn infos(
    slice: &Rc<EndpointSlice>,
    name: &PortName,
    port: u16,
    config: &ProxyConfig,
) -> Vec<EndpointInfo> {
    let mut chains = names::EndpointChains::new(name);
    let mut infos = Vec::with_capacity(slice.endpoints.len());
    for (place, endpoint) in slice.endpoints.iter().enumerate() {
        let Some(ip) = endpoint.addresses.first().and_then(|ip| ip.parse::<Ipv4Addr>().ok()) else {
            continue;
        };
        let text: Rc<str> = format!("{ip}:{port}").into();
        let conditions = endpoint.conditions.as_ref();
        // What is not said: ready, serving as ready, not terminating.
        let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
        infos.push(EndpointInfo {
            ip,
            port,
            chain: match config.mode {
                Mode::Iptables => chains.of(&text),
                Mode::Nftables => nftables::endpoint_chain(name, ip, port),
                Mode::Ipvs | Mode::None => "".into(),
            },
            text,
            ready,
            serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
            terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
            is_local: endpoint.node_name.as_deref() == Some(&config.node_name),
            at: 0,
            slice: (slice.clone(), place),
        });
    }
    infos
}

/// In the order of their texts. An address that stands in two slices counts once; the one that is ready
/// wins, and of equal ones the first.
fn arrange(infos: &mut Vec<EndpointInfo>) {
    base::order::sort_by(infos, |a, b| a.text.cmp(&b.text).then(b.ready.cmp(&a.ready)));
    infos.dedup_by(|later, first| later.text == first.text);
    for (at, info) in (0..).zip(infos) {
        info.at = at;
    }
}
