//! Endpoints as a proxy sees them: one entry for each address and port (`pkg/proxy/endpoint.go`,
//! `pkg/proxy/endpointslicecache.go`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use kube_api::MetaExt;
use kube_api::discovery::EndpointSlice;

use crate::service::{PortName, Protocol};

/// An address and port behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointInfo {
    /// Where it is.
    pub ip: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Takes new connections.
    pub ready: bool,
    /// Would take them, but is on its way out perhaps.
    pub serving: bool,
    /// Is on its way out.
    pub terminating: bool,
    /// Runs on this node.
    pub is_local: bool,
    /// Zones for which it is meant.
    pub zone_hints: Vec<String>,
    /// The Pod it is, if any.
    pub pod: Option<String>,
    /// The slice it is written in.
    pub slice: String,
}

impl fmt::Display for EndpointInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.ip, self.port)
    }
}

/// The endpoints of all ports, each port's in the order of their texts, as upstream sorts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    by_port: BTreeMap<PortName, Vec<EndpointInfo>>,
    total: usize,
}

impl Endpoints {
    /// Reads slices, as they are for the node `node_name`.
    pub fn read<'a>(slices: impl Iterator<Item = &'a EndpointSlice>, node_name: &str) -> Endpoints {
        let mut found: BTreeMap<PortName, BTreeMap<String, EndpointInfo>> = BTreeMap::new();
        let mut slices: Vec<&EndpointSlice> = slices.filter(|s| s.address_type == "IPv4").collect();
        base::order::sort_by_key(&mut slices, |slice| slice.metadata.name().to_string());
        for slice in slices {
            let Some(service) = slice.metadata.label("kubernetes.io/service-name") else {
                continue;
            };
            for port in slice.ports.iter().flatten() {
                let Some(number) = port.port.and_then(|port| u16::try_from(port).ok()) else {
                    continue;
                };
                let name = PortName {
                    namespace: slice.metadata.namespace().to_string(),
                    service: service.to_string(),
                    port: port.name.clone().unwrap_or_default(),
                    protocol: Protocol::parse(port.protocol.as_deref()),
                };
                let into = found.entry(name).or_default();
                for info in infos(slice, number, node_name) {
                    add(into, info);
                }
            }
        }
        let sorted = |by_text: BTreeMap<String, EndpointInfo>| by_text.into_values().collect();
        let by_port: BTreeMap<PortName, Vec<EndpointInfo>> =
            base::order::map(found.into_iter().map(|(name, infos)| (name, sorted(infos))));
        let total = by_port.values().map(Vec::len).sum();
        Endpoints { by_port, total }
    }

    /// The endpoints of a port.
    pub fn of(&self, port: &PortName) -> &[EndpointInfo] {
        self.by_port.get(port).map(Vec::as_slice).unwrap_or_default()
    }

    /// How many there are in all.
    pub fn total(&self) -> usize {
        self.total
    }
}

fn infos<'a>(
    slice: &'a EndpointSlice,
    port: u16,
    node_name: &'a str,
) -> impl Iterator<Item = EndpointInfo> + 'a {
    slice.endpoints.iter().filter_map(move |endpoint| {
        let ip = endpoint.addresses.first()?.parse().ok()?;
        let conditions = endpoint.conditions.as_ref();
        // What is not said: ready, serving as ready, not terminating.
        let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
        let hints = endpoint.hints.as_ref().and_then(|hints| hints.for_zones.as_ref());
        Some(EndpointInfo {
            ip,
            port,
            ready,
            serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
            terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
            is_local: endpoint.node_name.as_deref() == Some(node_name),
            zone_hints: hints.into_iter().flatten().map(|zone| zone.name.clone()).collect(),
            pod: endpoint.target_ref.as_ref().and_then(|target| target.name.clone()),
            slice: slice.metadata.name().to_string(),
        })
    })
}

/// An address that stands in two slices counts once; the one that is ready wins.
fn add(into: &mut BTreeMap<String, EndpointInfo>, info: EndpointInfo) {
    let key = info.to_string();
    let is_better = into.get(&key).is_none_or(|known| !known.ready && info.ready);
    if is_better {
        into.insert(key, info);
    }
}
