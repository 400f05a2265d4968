//! Services to the addresses of their Pods: EndpointSlices and the older Endpoints
//! (`pkg/controller/endpointslice`, `pkg/controller/endpoint`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use base::{Duration, Instant};
use kube_api::core::{
    EndpointAddress, EndpointPort as CorePort, EndpointSubset, Endpoints, Node, ObjectReference,
    Pod, Service, ServicePort,
};
use kube_api::discovery::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube_api::labels::Selector;
use kube_api::object::controller_ref;
use kube_api::{Api, Change, DeleteOptions, IntOrString, Kind, MetaExt, Store};

use crate::pods;
use crate::queue::{Key, WorkQueue};

/// The Service a slice belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Who looks after a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Us.
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Endpoints in a slice at most (`--max-endpoints-per-slice`).
const SLICE_MAX: usize = 100;
/// Addresses in an Endpoints object at most.
const ENDPOINTS_MAX: usize = 1000;

/// The EndpointSlice and Endpoints controllers.
#[derive(Debug)]
pub struct EndpointSlices {
    latency: Duration,
    queue: WorkQueue<Key>,
}

impl EndpointSlices {
    pub(crate) fn new(latency: Duration) -> Self {
        EndpointSlices { latency, queue: WorkQueue::default() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, store: &Store, now: Instant) {
        let at = now + self.latency;
        if let Some(service) = change.of::<Service>() {
            let meta = &service.metadata;
            self.queue.add((meta.namespace().to_string(), meta.name().to_string()), at);
        }
        let Some(pod) = change.of::<Pod>() else { return };
        let before = change.old.as_ref().and_then(Pod::of);
        if before.is_some_and(|before| change.new.is_some() && !matters(before, pod)) {
            return;
        }
        let namespace = pod.metadata.namespace();
        for service in store.list_in::<Service>(namespace) {
            let Some(selector) = selector(service) else { continue };
            let is_selected = |pod: &Rc<Pod>| selector.matches(pod.metadata.labels.as_ref());
            if is_selected(pod) || before.is_some_and(is_selected) {
                self.queue.add((namespace.to_string(), service.metadata.name().to_string()), at);
            }
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some((namespace, name)) = self.queue.pop(now) {
            worked = true;
            match api.store().get::<Service>(&namespace, &name).cloned() {
                Some(service) => sync(api, &service, now),
                None => forget(api, &namespace, &name, now),
            }
        }
        worked
    }
}

/// Whether a change of a Pod can change an endpoint (`podEndpointsChanged`).
fn matters(old: &Pod, new: &Pod) -> bool {
    let view = |pod: &Pod| {
        (
            pod.status.as_ref().and_then(|status| status.pod_ip.clone()),
            pods::is_ready(pod),
            pods::has_ended(pod),
            pod.metadata.is_terminating(),
            pod.metadata.labels.clone(),
            pods::node_name(pod).map(str::to_string),
        )
    };
    view(old) != view(new)
}

/// The selector, of a Service that has one.
fn selector(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector.as_ref().filter(|labels| !labels.is_empty()).map(Selector::of_labels)
}

/// The Pods that a Service may send to, by address.
fn selected(api: &Api, service: &Service, selector: &Selector) -> Vec<Rc<Pod>> {
    let mut pods: Vec<Rc<Pod>> = api
        .store()
        .list_in::<Pod>(service.metadata.namespace())
        .filter(|pod| selector.matches(pod.metadata.labels.as_ref()))
        .filter(|pod| pods::address(pod).is_some() && !pods::has_ended(pod))
        .cloned()
        .collect();
    let addr = |pod: &Pod| pods::address(pod).and_then(|ip| ip.parse::<std::net::Ipv4Addr>().ok());
    base::order::sort_by_key(&mut pods, |pod| (addr(pod), pod.metadata.name().to_string()));
    pods
}

fn sync(api: &mut Api, service: &Rc<Service>, now: Instant) {
    let Some(selector) = selector(service) else { return };
    let pods = selected(api, service, &selector);
    sync_slices(api, service, &pods, now);
    sync_endpoints(api, service, &pods, now);
}

fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
}

/// The port of a Pod that a port of a Service leads to (`FindPort`).
pub fn find_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match port.target_port.as_ref() {
        Some(IntOrString::Int(number)) => Some(*number),
        None => Some(port.port),
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let found = ports.find(|p| {
                p.name.as_ref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol
            });
            found.map(|port| port.container_port)
        }
    }
}

/// Name, number, protocol and application protocol of each port, as they are for one Pod.
type PodPorts = Vec<(String, i32, String, Option<String>)>;

fn ports_for(service: &Service, pod: &Pod) -> PodPorts {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = find_port(pod, port)?;
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_string());
            Some((
                port.name.clone().unwrap_or_default(),
                number,
                protocol,
                port.app_protocol.clone(),
            ))
        })
        .collect()
}

fn pod_reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_string()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

// ---- EndpointSlices ----------------------------------------------------------------------------------------

fn endpoint(api: &Api, service: &Service, pod: &Pod) -> Endpoint {
    let is_terminating = pod.metadata.is_terminating();
    let serving = pods::is_ready(pod);
    let ready = publishes_not_ready(service) || (serving && !is_terminating);
    let node = pods::node_name(pod).map(str::to_string);
    let zone = node
        .as_ref()
        .and_then(|node| api.store().get::<Node>("", node))
        .and_then(|node| node.metadata.label("topology.kubernetes.io/zone").map(str::to_string));
    let spec = pod.spec.as_ref();
    let subdomain = spec.and_then(|spec| spec.subdomain.as_deref());
    let hostname = spec
        .and_then(|spec| spec.hostname.clone())
        .filter(|_| subdomain == Some(service.metadata.name()));
    Endpoint {
        addresses: pods::address(pod).map(str::to_string).into_iter().collect(),
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(is_terminating),
        }),
        hostname,
        node_name: node,
        target_ref: Some(pod_reference(pod)),
        zone,
        ..Endpoint::default()
    }
}

fn sync_slices(api: &mut Api, service: &Rc<Service>, pods: &[Rc<Pod>], now: Instant) {
    // Pods whose named ports have different numbers go into different slices.
    let mut groups: BTreeMap<PodPorts, BTreeMap<String, Endpoint>> = BTreeMap::new();
    for pod in pods {
        let endpoint = endpoint(api, service, pod);
        let name = pod.metadata.name().to_string();
        groups.entry(ports_for(service, pod)).or_default().insert(name, endpoint);
    }
    if groups.is_empty() {
        // A Service without Pods has one slice without endpoints.
        groups.insert(PodPorts::new(), BTreeMap::new());
    }
    let existing = slices_of(api, service.metadata.namespace(), service.metadata.name());
    let mut spare: Vec<Rc<EndpointSlice>> = Vec::new();
    let mut by_ports: BTreeMap<PodPorts, Vec<Rc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        let ports = slice_ports(&slice);
        if groups.contains_key(&ports) {
            by_ports.entry(ports).or_default().push(slice);
        } else {
            spare.push(slice);
        }
    }
    for (ports, wanted) in groups {
        let slices = by_ports.remove(&ports).unwrap_or_default();
        fill(api, service, &ports, wanted, slices, &mut spare, now);
    }
    for slice in spare {
        let (namespace, name) = (slice.metadata.namespace(), slice.metadata.name());
        let _ = api.delete(EndpointSlice::id(), namespace, name, DeleteOptions::default(), now);
    }
}

fn slices_of(api: &Api, namespace: &str, service: &str) -> Vec<Rc<EndpointSlice>> {
    let is_ours = |slice: &&Rc<EndpointSlice>| {
        slice.metadata.label(SERVICE_NAME) == Some(service)
            && slice.metadata.label(MANAGED_BY) == Some(MANAGER)
    };
    api.store().list_in::<EndpointSlice>(namespace).filter(is_ours).cloned().collect()
}

fn slice_ports(slice: &EndpointSlice) -> PodPorts {
    let of = |port: &EndpointPort| {
        (
            port.name.clone().unwrap_or_default(),
            port.port.unwrap_or(0),
            port.protocol.clone().unwrap_or_default(),
            port.app_protocol.clone(),
        )
    };
    slice.ports.iter().flatten().map(of).collect()
}

/// Puts endpoints with the same ports into slices: what is there stays where it is, what is new fills the
/// slices up, and a new slice is made only when they are full (`reconcileByPortMapping`).
fn fill(
    api: &mut Api,
    service: &Rc<Service>,
    ports: &PodPorts,
    mut wanted: BTreeMap<String, Endpoint>,
    slices: Vec<Rc<EndpointSlice>>,
    spare: &mut Vec<Rc<EndpointSlice>>,
    now: Instant,
) {
    let pod_of = |endpoint: &Endpoint| {
        endpoint.target_ref.as_ref().and_then(|target| target.name.clone()).unwrap_or_default()
    };
    let mut filled: Vec<(Rc<EndpointSlice>, Vec<Endpoint>)> = Vec::new();
    for slice in slices {
        let keep = slice.endpoints.iter().filter_map(|e| wanted.remove(&pod_of(e)));
        let keep: Vec<Endpoint> = keep.collect();
        filled.push((slice, keep));
    }
    let mut rest: Vec<Endpoint> = wanted.into_values().collect();
    let addr = |endpoint: &Endpoint| {
        endpoint.addresses.first().and_then(|ip| ip.parse::<std::net::Ipv4Addr>().ok())
    };
    base::order::sort_by_key(&mut rest, |endpoint| addr(endpoint));
    let mut rest = rest.into_iter().peekable();
    for (_, endpoints) in &mut filled {
        while endpoints.len() < SLICE_MAX
            && let Some(endpoint) = rest.next()
        {
            endpoints.push(endpoint);
        }
    }
    let mut kept = 0;
    let total = filled.len();
    for (slice, endpoints) in filled {
        let is_needed = !endpoints.is_empty() || (kept == 0 && total == 1);
        if is_needed {
            kept += 1;
            write_slice(api, service, &slice, ports, endpoints);
        } else {
            spare.push(slice);
        }
    }
    while rest.peek().is_some() || kept == 0 {
        let endpoints: Vec<Endpoint> = rest.by_ref().take(SLICE_MAX).collect();
        kept += 1;
        match spare.pop() {
            Some(slice) => write_slice(api, service, &slice, ports, endpoints),
            None => create_slice(api, service, ports, endpoints, now),
        }
    }
}

fn endpoint_ports(ports: &PodPorts) -> Option<Vec<EndpointPort>> {
    let of = |(name, port, protocol, app): &(String, i32, String, Option<String>)| EndpointPort {
        name: Some(name.clone()),
        port: Some(*port),
        protocol: Some(protocol.clone()),
        app_protocol: app.clone(),
    };
    (!ports.is_empty()).then(|| ports.iter().map(of).collect())
}

fn slice_labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_string(), service.metadata.name().to_string());
    labels.insert(MANAGED_BY.to_string(), MANAGER.to_string());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert("service.kubernetes.io/headless".to_string(), String::new());
    }
    labels
}

fn write_slice(
    api: &mut Api,
    service: &Service,
    slice: &EndpointSlice,
    ports: &PodPorts,
    endpoints: Vec<Endpoint>,
) {
    let (namespace, name) = (slice.metadata.namespace(), slice.metadata.name());
    let labels = slice_labels(service);
    api.modify::<EndpointSlice>(namespace, name, |slice| {
        slice.endpoints = endpoints;
        slice.ports = endpoint_ports(ports);
        slice.metadata.labels = Some(labels);
    });
}

fn create_slice(
    api: &mut Api,
    service: &Rc<Service>,
    ports: &PodPorts,
    endpoints: Vec<Endpoint>,
    now: Instant,
) {
    let mut slice = EndpointSlice {
        address_type: "IPv4".to_string(),
        endpoints,
        ports: endpoint_ports(ports),
        ..EndpointSlice::default()
    };
    slice.metadata.generate_name = Some(format!("{}-", service.metadata.name()));
    slice.metadata.namespace = service.metadata.namespace.clone();
    slice.metadata.labels = Some(slice_labels(service));
    slice.metadata.owner_references = Some(vec![controller_ref(&**service)]);
    // A namespace that goes away takes no new slices; there is nothing to do about that.
    let _ = api.create_typed(slice, now);
}

/// A Service is gone: so are its slices and its Endpoints.
fn forget(api: &mut Api, namespace: &str, service: &str, now: Instant) {
    for slice in slices_of(api, namespace, service) {
        let name = slice.metadata.name();
        let _ = api.delete(EndpointSlice::id(), namespace, name, DeleteOptions::default(), now);
    }
    let _ = api.delete(Endpoints::id(), namespace, service, DeleteOptions::default(), now);
}

// ---- Endpoints ---------------------------------------------------------------------------------------------

fn sync_endpoints(api: &mut Api, service: &Rc<Service>, pods: &[Rc<Pod>], now: Instant) {
    // Addresses with the same ports, in one subset; those that are not ready apart.
    let mut subsets: BTreeMap<PodPorts, (Vec<EndpointAddress>, Vec<EndpointAddress>)> =
        BTreeMap::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for pod in pods.iter().take(ENDPOINTS_MAX) {
        let Some(ip) = pods::address(pod) else { continue };
        if pod.metadata.is_terminating() && !publishes_not_ready(service) {
            continue;
        }
        seen.insert(ip.to_string());
        let address = EndpointAddress {
            ip: ip.to_string(),
            node_name: pods::node_name(pod).map(str::to_string),
            target_ref: Some(pod_reference(pod)),
            hostname: endpoint(api, service, pod).hostname,
        };
        let (ready, not_ready) = subsets.entry(ports_for(service, pod)).or_default();
        if publishes_not_ready(service) || pods::is_ready(pod) { ready } else { not_ready }
            .push(address);
    }
    let some = |list: Vec<EndpointAddress>| (!list.is_empty()).then_some(list);
    let subsets: Vec<EndpointSubset> = subsets
        .into_iter()
        .map(|(ports, (ready, not_ready))| EndpointSubset {
            addresses: some(ready),
            not_ready_addresses: some(not_ready),
            ports: core_ports(&ports),
        })
        .collect();
    let subsets = (!subsets.is_empty()).then_some(subsets);
    let (namespace, name) = (service.metadata.namespace(), service.metadata.name());
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert("endpoints.kubernetes.io/managed-by".into(), "endpoint-controller".into());
    if api.store().get::<Endpoints>(namespace, name).is_some() {
        api.modify::<Endpoints>(namespace, name, |endpoints| {
            endpoints.subsets = subsets;
            endpoints.metadata.labels = Some(labels);
        });
        return;
    }
    let mut endpoints = Endpoints { subsets, ..Endpoints::default() };
    endpoints.metadata.name = Some(name.to_string());
    endpoints.metadata.namespace = Some(namespace.to_string());
    endpoints.metadata.labels = Some(labels);
    let _ = api.create_typed(endpoints, now);
}

fn core_ports(ports: &PodPorts) -> Option<Vec<CorePort>> {
    let of = |(name, port, protocol, app): &(String, i32, String, Option<String>)| CorePort {
        name: (!name.is_empty()).then(|| name.clone()),
        port: *port,
        protocol: Some(protocol.clone()),
        app_protocol: app.clone(),
    };
    (!ports.is_empty()).then(|| ports.iter().map(of).collect())
}
