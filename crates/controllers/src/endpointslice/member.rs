//! A Pod as an endpoint of a Service.

use std::rc::Rc;

use base::Items as _;
use kube_api::core::{Node, ObjectReference, Pod, Service, ServicePort};
use kube_api::discovery::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone,
};
use kube_api::{IntOrString, MetaExt, Store, Time};

use crate::pods;

/// Name, number, protocol and application protocol of each port, as they are for one Pod.
pub(super) type PodPorts = Vec<(String, i32, String, Option<String>)>;

/// A Pod of a Service.
#[derive(Debug)]
pub(super) struct Member {
    /// The ports that the Service's ports are for this Pod.
    pub(super) ports: Rc<PodPorts>,
    pub(super) endpoint: Endpoint,
    /// The slice it is in.
    pub(super) slice: String,
    /// When it became ready, or not ready.
    pub(super) changed: Option<Time>,
}

/// Whether a change of a Pod can change an endpoint (`podEndpointsChanged`).
pub(super) fn matters(old: &Pod, new: &Pod) -> bool {
    pods::address(old) != pods::address(new)
        || pods::is_ready(old) != pods::is_ready(new)
        || pods::has_ended(old) != pods::has_ended(new)
        || old.metadata.is_terminating() != new.metadata.is_terminating()
        || pods::node_name(old) != pods::node_name(new)
        || old.metadata.labels != new.metadata.labels
        || old.metadata.uid != new.metadata.uid
}

/// The port of a Pod that a port of a Service leads to (`FindPort`).
pub fn find_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match port.target_port.as_ref() {
        Some(IntOrString::Int(number)) => Some(*number),
        None => Some(port.port),
        Some(IntOrString::String(name)) => {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            pods::named_port(pod, name, protocol)
        }
    }
}

fn ports_for(service: &Service, pod: &Pod) -> PodPorts {
    let mut ports = PodPorts::new();
    for port in service.spec.iter().flat_map(|spec| spec.ports.items()) {
        let Some(number) = find_port(pod, port) else { continue };
        let name = port.name.clone().unwrap_or_default();
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_string());
        ports.push((name, number, protocol, port.app_protocol.clone()));
    }
    ports
}

/// The ports of a slice, as they are compared.
pub(super) fn ports_of(ports: Option<&Vec<EndpointPort>>) -> PodPorts {
    let mut found = PodPorts::new();
    for port in ports.items() {
        found.push((
            port.name.clone().unwrap_or_default(),
            port.port.unwrap_or(0),
            port.protocol.clone().unwrap_or_default(),
            port.app_protocol.clone(),
        ));
    }
    found
}

pub(super) fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
}

/// The Pod as an endpoint, in no slice yet; `None` for one that has no address, has ended, or runs on a node
/// that nobody knows (`ShouldPodBeInEndpoints`).
pub(super) fn member(store: &Store, service: &Service, pod: &Pod) -> Option<Member> {
    pods::address(pod)?;
    if pods::has_ended(pod) {
        return None;
    }
    let node = pods::node_name(pod).and_then(|name| store.get::<Node>("", name));
    if node.is_none() && !publishes_not_ready(service) {
        return None;
    }
    let ready = pods::condition(pod, "Ready");
    Some(Member {
        ports: Rc::new(ports_for(service, pod)),
        endpoint: endpoint(service, pod, node.map(|node| &**node)),
        slice: String::new(),
        changed: ready.and_then(|condition| condition.last_transition_time),
    })
}

fn endpoint(service: &Service, pod: &Pod, node: Option<&Node>) -> Endpoint {
    let terminating = pod.metadata.is_terminating();
    let serving = pods::is_ready(pod);
    let ready = publishes_not_ready(service) || (serving && !terminating);
    let zone = node.and_then(|node| node.metadata.label("topology.kubernetes.io/zone"));
    let spec = pod.spec.as_ref();
    let subdomain = spec.and_then(|spec| spec.subdomain.as_deref());
    let hostname = spec.and_then(|spec| spec.hostname.clone());
    let target = ObjectReference {
        kind: Some("Pod".to_string()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    };
    let mut endpoint = Endpoint {
        addresses: vec![pods::address(pod).unwrap_or_default().to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname.filter(|_| subdomain == Some(service.metadata.name())),
        node_name: pods::node_name(pod).map(str::to_string),
        target_ref: Some(target),
        zone: zone.map(str::to_string),
        ..Endpoint::default()
    };
    endpoint.hints = if ready { hints(service, &endpoint) } else { None };
    endpoint
}

/// For whom an endpoint is meant first (`staging/src/k8s.io/endpointslice/trafficdist`).
fn hints(service: &Service, endpoint: &Endpoint) -> Option<EndpointHints> {
    let wish = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    if !matches!(wish, "PreferClose" | "PreferSameZone" | "PreferSameNode") {
        return None;
    }
    let zone = endpoint.zone.clone();
    let node = endpoint.node_name.clone().filter(|_| wish == "PreferSameNode");
    if zone.is_none() && node.is_none() {
        return None;
    }
    Some(EndpointHints {
        for_zones: zone.map(|name| vec![ForZone { name }]),
        for_nodes: node.map(|name| vec![ForNode { name }]),
    })
}
