//! `Endpoints` that people write for a Service without a selector, as slices: kube-proxy reads nothing else
//! (`pkg/controller/endpointslicemirroring`).

use base::tree::BTreeMap;
use std::rc::Rc;

use base::{Duration, Instant, Items as _};
use kube_api::core::{EndpointAddress, Endpoints, Service};
use kube_api::discovery::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube_api::object::controller_ref;
use kube_api::{Api, Change, DeleteOptions, Kind, MetaExt};

use super::member::{PodPorts, ports_of};
use super::{MANAGED_BY, SERVICE_NAME, TRIGGER_TIME, key_of};
use crate::events::{self, Severity};
use crate::queue::{Key, WorkQueue};

/// Who looks after such slices.
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// On `Endpoints` that are not to be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Kept on `Endpoints` by who leads a group; those are no Service's.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Addresses of a subset that are mirrored at most (`--mirroring-max-endpoints-per-subset`).
const SUBSET_MAX: usize = 1000;

/// The EndpointSliceMirroring controller.
#[derive(Debug)]
pub struct Mirror {
    latency: Duration,
    queue: WorkQueue<Key>,
    /// uid of the `Endpoints` whose slices there may be.
    mirrored: BTreeMap<Key, String>,
}

/// One slice that is wanted: IPv6 or not, and its ports.
type Wanted = BTreeMap<(bool, PodPorts), Vec<Endpoint>>;

impl Mirror {
    pub(crate) fn new(latency: Duration) -> Mirror {
        Mirror { latency, queue: WorkQueue::default(), mirrored: BTreeMap::new() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let at = now + self.latency;
        if let Some(endpoints) = change.of::<Endpoints>() {
            let key = key_of(&endpoints.metadata);
            // What the other controller writes is never mirrored: its Service has a selector.
            if is_mirrored(endpoints) || self.mirrored.contains_key(&key) {
                self.queue.add(key, at);
            }
        } else if let Some(service) = change.of::<Service>() {
            let selector = |object: &Option<kube_api::AnyObject>| {
                let service = object.as_ref().and_then(Service::of)?;
                service.spec.as_ref()?.selector.clone()
            };
            let is_new = change.old.is_none() || change.new.is_none();
            if is_new || selector(&change.old) != selector(&change.new) {
                self.queue.add(key_of(&service.metadata), at);
            }
        } else if let Some(slice) = change.of::<EndpointSlice>() {
            let meta = &slice.metadata;
            if meta.label(MANAGED_BY) == Some(MANAGER) && change.old.is_some() {
                let service = meta.label(SERVICE_NAME).unwrap_or_default();
                self.queue.add((meta.namespace().to_string(), service.to_string()), at);
            }
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(key) = self.queue.pop(now) {
            worked = true;
            self.sync(api, &key, now);
        }
        worked
    }

    fn sync(&mut self, api: &mut Api, key: &Key, now: Instant) {
        let service = api.store().get::<Service>(&key.0, &key.1);
        let has_selector = |service: &Rc<Service>| {
            service.spec.as_ref().is_some_and(|spec| spec.selector.is_some())
        };
        let is_asked = service.is_some_and(|service| !has_selector(service));
        let endpoints = api.store().get::<Endpoints>(&key.0, &key.1).cloned();
        let endpoints = endpoints.filter(|endpoints| is_asked && is_mirrored(endpoints));
        let uid = endpoints.as_ref().map(|endpoints| endpoints.metadata.uid().to_string());
        if let Some(old) = self.mirrored.get(key).filter(|old| uid.as_ref() != Some(old)) {
            for slice in slices_of(api, old) {
                remove(api, &slice, now);
            }
            self.mirrored.remove(key);
        }
        let (Some(endpoints), Some(uid)) = (endpoints, uid) else { return };
        let mut spare = slices_of(api, &uid);
        self.mirrored.insert(key.clone(), uid);
        let mut missing: Wanted = Wanted::new();
        for ((is_v6, ports), wanted) in wanted(api, &endpoints, now) {
            let kind = address_type(is_v6);
            let fits = |slice: &Rc<EndpointSlice>| {
                slice.address_type == kind && ports_of(slice.ports.as_ref()) == ports
            };
            match spare.iter().position(fits) {
                Some(at) => {
                    let slice = spare.remove(at);
                    write(api, &endpoints, &slice, &ports, wanted);
                }
                None => drop(missing.insert((is_v6, ports), wanted)),
            }
        }
        for ((is_v6, ports), wanted) in missing {
            let kind = address_type(is_v6);
            match spare.iter().position(|slice| slice.address_type == kind) {
                Some(at) => write(api, &endpoints, &spare.remove(at), &ports, wanted),
                None => create(api, &endpoints, kind, &ports, wanted, now),
            }
        }
        for slice in spare {
            remove(api, &slice, now);
        }
    }
}

fn address_type(is_v6: bool) -> &'static str {
    if is_v6 { "IPv6" } else { "IPv4" }
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    meta.label(SKIP) != Some("true") && meta.annotation(LEADER).is_none()
}

fn slices_of(api: &Api, uid: &str) -> Vec<Rc<EndpointSlice>> {
    let slices = api.store().owned::<EndpointSlice>(uid);
    slices.filter(|slice| slice.metadata.label(MANAGED_BY) == Some(MANAGER)).cloned().collect()
}

fn remove(api: &mut Api, slice: &EndpointSlice, now: Instant) {
    let (namespace, name) = (slice.metadata.namespace(), slice.metadata.name());
    let _ = api.delete(EndpointSlice::id(), namespace, name, DeleteOptions::default(), now);
}

/// What the slices are to hold; complains of addresses that are left out.
fn wanted(api: &mut Api, endpoints: &Rc<Endpoints>, now: Instant) -> Wanted {
    let mut wanted = Wanted::new();
    let (mut skipped, mut invalid) = (0, 0);
    for subset in endpoints.subsets.items() {
        let mut ports = PodPorts::new();
        for port in subset.ports.items() {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_string());
            let name = port.name.clone().unwrap_or_default();
            ports.push((name, port.port, protocol, port.app_protocol.clone()));
        }
        let mut count = 0;
        let ready = subset.addresses.items().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.items().map(|address| (address, false));
        for (address, is_ready) in ready.chain(not_ready) {
            let is_v6 = address.ip.contains(':');
            if !is_v6 && address.ip.parse::<std::net::Ipv4Addr>().is_err() {
                invalid += 1;
            } else if count >= SUBSET_MAX {
                skipped += 1;
            } else {
                count += 1;
                let group = wanted.entry((is_v6, ports.clone())).or_default();
                group.push(endpoint(address, is_ready));
            }
        }
    }
    let from = || kube_api::core::EventSource {
        component: Some("endpoint-slice-mirroring-controller".to_string()),
        ..Default::default()
    };
    let mut tell = |reason: &str, message: String| {
        let about = events::reference(&**endpoints);
        events::record(api, now, about, Severity::Warning, reason, &message, from());
    };
    if invalid > 0 {
        let what =
            format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
        tell("InvalidIPAddress", what);
    }
    if skipped > 0 {
        let skipped = skipped + invalid;
        let what = format!(
            "A max of {SUBSET_MAX} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} addresses were skipped"
        );
        tell("TooManyAddressesToMirror", what);
    }
    wanted
}

fn endpoint(address: &EndpointAddress, is_ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(is_ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn fill(slice: &mut EndpointSlice, of: &Endpoints, ports: &PodPorts, endpoints: Vec<Endpoint>) {
    let mut labels = of.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_string(), of.metadata.name().to_string());
    labels.insert(MANAGED_BY.to_string(), MANAGER.to_string());
    slice.metadata.labels = Some(labels);
    let mut annotations = of.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(TRIGGER_TIME);
    annotations.remove(LAST_APPLIED);
    slice.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    slice.endpoints = endpoints;
    let mut list = Vec::new();
    for (name, port, protocol, app) in ports {
        list.push(EndpointPort {
            name: Some(name.clone()),
            port: Some(*port),
            protocol: Some(protocol.clone()),
            app_protocol: app.clone(),
        });
    }
    slice.ports = (!list.is_empty()).then_some(list);
}

fn write(
    api: &mut Api,
    of: &Endpoints,
    slice: &EndpointSlice,
    ports: &PodPorts,
    endpoints: Vec<Endpoint>,
) {
    let (namespace, name) = (slice.metadata.namespace(), slice.metadata.name());
    api.modify::<EndpointSlice>(namespace, name, |slice| fill(slice, of, ports, endpoints));
}

fn create(
    api: &mut Api,
    of: &Rc<Endpoints>,
    kind: &str,
    ports: &PodPorts,
    endpoints: Vec<Endpoint>,
    now: Instant,
) {
    let mut slice = EndpointSlice { address_type: kind.to_string(), ..EndpointSlice::default() };
    slice.metadata.generate_name = Some(format!("{}-", of.metadata.name()));
    slice.metadata.namespace = of.metadata.namespace.clone();
    slice.metadata.owner_references = Some(vec![controller_ref(&**of)]);
    fill(&mut slice, of, ports, endpoints);
    let _ = api.create_typed(slice, now);
}
