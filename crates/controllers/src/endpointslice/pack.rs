//! Endpoints into slices (`staging/src/k8s.io/endpointslice/reconciler.go`): what is there stays where it is, what is new
//! fills up slices that are changed anyway, then the fullest one that has room, and else a new one.

use base::tree::BTreeMap;
use std::rc::Rc;

use base::Instant;
use kube_api::core::{Pod, Service};
use kube_api::discovery::{Endpoint, EndpointPort, EndpointSlice};
use kube_api::labels::Labels;
use kube_api::object::controller_ref;
use kube_api::{Api, DeleteOptions, Kind, MetaExt, Time};

use super::member::{Member, PodPorts, member, ports_of};
use super::{HEADLESS, Held, MANAGED_BY, MANAGER, SERVICE_NAME, TRIGGER_TIME};

/// Endpoints in a slice at most (`--max-endpoints-per-slice`).
const SLICE_MAX: usize = 100;

/// A slice that is there, and what it is to be.
struct Slice {
    object: Rc<EndpointSlice>,
    ports: PodPorts,
    /// What is to be in it, once that differs from what is.
    endpoints: Option<Vec<Endpoint>>,
    is_deleted: bool,
}

impl Slice {
    fn now(&self) -> &[Endpoint] {
        self.endpoints.as_ref().unwrap_or(&self.object.endpoints)
    }

    fn edit(&mut self) -> &mut Vec<Endpoint> {
        let object = &self.object;
        self.endpoints.get_or_insert_with(|| object.endpoints.clone())
    }
}

/// A slice that is to be made.
struct New {
    ports: Rc<PodPorts>,
    endpoints: Vec<Endpoint>,
}

/// The slices of a Service that are ours, by name.
pub(super) fn slices_of(api: &Api, uid: &str) -> impl Iterator<Item = Rc<EndpointSlice>> {
    let is_ours = |slice: &&Rc<EndpointSlice>| slice.metadata.label(MANAGED_BY) == Some(MANAGER);
    api.store().owned::<EndpointSlice>(uid).filter(is_ours).cloned()
}

fn pod_of(endpoint: &Endpoint) -> &str {
    endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref()).unwrap_or_default()
}

/// Brings a Service's slices in line with its Pods.
pub(super) fn sync(api: &mut Api, service: &Rc<Service>, held: &mut Held, now: Instant) {
    let mut slices: BTreeMap<String, Slice> = BTreeMap::new();
    for object in slices_of(api, &held.uid) {
        let ports = ports_of(object.ports.as_ref());
        let name = object.metadata.name().to_string();
        slices.insert(name, Slice { object, ports, endpoints: None, is_deleted: false });
    }
    let is_whole = std::mem::take(&mut held.is_stale);
    if is_whole {
        look_again(api, service, held, &slices);
    }
    let mut trigger = None;
    if !std::mem::replace(&mut held.is_told, true) {
        trigger = service.metadata.creation_timestamp;
    }
    let mut added: BTreeMap<Rc<PodPorts>, Vec<Endpoint>> = BTreeMap::new();
    for name in std::mem::take(&mut held.dirty) {
        let before = held.members.remove(&name);
        let after = look_at(api, service, held, &name);
        let since = |member: &Option<Member>| member.as_ref().and_then(|member| member.changed);
        if let Some(at) = since(&after).filter(|at| since(&before).is_none_or(|old| old.0 < at.0)) {
            trigger = Some(trigger.filter(|earlier: &Time| earlier.0 <= at.0).unwrap_or(at));
        }
        let place = before.map(|before| before.slice).unwrap_or_default();
        if let Some(mut member) = put(&mut slices, &name, &place, after, &mut added) {
            member.slice = place;
            held.members.insert(name, member);
        }
    }
    held.trigger = held.trigger.filter(|old| trigger.is_none_or(|new| old.0 <= new.0)).or(trigger);
    let mut fresh = Vec::new();
    for (ports, endpoints) in added {
        fill(&mut slices, &mut fresh, &ports, endpoints);
    }
    settle(&mut slices, &mut fresh);
    write(api, service, held, Plan { slices, fresh, is_whole, trigger }, now);
}

/// Nothing that is remembered counts: all Pods are looked at, and where they are is read from the slices.
fn look_again(api: &Api, service: &Service, held: &mut Held, slices: &BTreeMap<String, Slice>) {
    let old = std::mem::take(&mut held.members);
    for (name, slice) in slices {
        for endpoint in &slice.object.endpoints {
            let pod = pod_of(endpoint);
            let changed = old.get(pod).and_then(|member| member.changed);
            held.dirty.insert(pod.to_string());
            held.members.insert(
                pod.to_string(),
                Member {
                    ports: Rc::default(),
                    endpoint: Endpoint::default(),
                    slice: name.clone(),
                    changed,
                },
            );
        }
    }
    let labels = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    for pod in api.store().pods_with(service.metadata.namespace(), &labels) {
        held.dirty.insert(pod.metadata.name().to_string());
    }
    held.written.clear();
    for (name, slice) in slices {
        held.written.insert(name.clone(), slice.object.metadata.resource_version.clone());
    }
}

fn look_at(api: &Api, service: &Service, held: &Held, name: &str) -> Option<Member> {
    let pod = api.store().get::<Pod>(service.metadata.namespace(), name)?;
    if !held.selector.matches(pod.metadata.labels.as_ref()) {
        return None;
    }
    member(api.store(), service, pod)
}

/// A Pod as it is now takes its place in its slice, leaves it, or is among those that need one.
fn put(
    slices: &mut BTreeMap<String, Slice>,
    pod: &str,
    place: &str,
    after: Option<Member>,
    added: &mut BTreeMap<Rc<PodPorts>, Vec<Endpoint>>,
) -> Option<Member> {
    let mut is_placed = false;
    if let Some(slice) = slices.get_mut(place) {
        let at = slice.now().iter().position(|endpoint| pod_of(endpoint) == pod);
        let fits = after.as_ref().filter(|member| *member.ports == slice.ports);
        match (at, fits) {
            (Some(at), Some(member)) => {
                is_placed = true;
                if slice.now().get(at) != Some(&member.endpoint)
                    && let Some(endpoint) = slice.edit().get_mut(at)
                {
                    endpoint.clone_from(&member.endpoint);
                }
            }
            (Some(at), None) => drop(slice.edit().remove(at)),
            (None, _) => {}
        }
    }
    let member = after?;
    if !is_placed {
        added.entry(member.ports.clone()).or_default().push(member.endpoint.clone());
    }
    Some(member)
}

/// Finds a slice for each endpoint of a group with the same ports (`reconcileByPortMapping`).
fn fill(
    slices: &mut BTreeMap<String, Slice>,
    fresh: &mut Vec<New>,
    ports: &Rc<PodPorts>,
    mut endpoints: Vec<Endpoint>,
) {
    let addr = |endpoint: &Endpoint| {
        endpoint.addresses.first().and_then(|ip| ip.parse::<std::net::Ipv4Addr>().ok())
    };
    base::order::sort_by_key(&mut endpoints, |endpoint| addr(endpoint));
    let mut rest = endpoints.into_iter();
    for slice in slices.values_mut().filter(|slice| slice.ports == **ports) {
        if let Some(held) = slice.endpoints.as_mut() {
            held.extend(rest.by_ref().take(SLICE_MAX.saturating_sub(held.len())));
        }
    }
    while rest.len() > 0 {
        let count = rest.len();
        let mut fullest: Option<&mut Slice> = None;
        for slice in slices.values_mut() {
            let fits = slice.ports == **ports
                && slice.endpoints.is_none()
                && slice.now().len() + count <= SLICE_MAX;
            let is_fuller =
                fullest.as_ref().is_none_or(|other| other.now().len() < slice.now().len());
            if fits && is_fuller {
                fullest = Some(slice);
            }
        }
        match fullest {
            Some(slice) => slice.edit().extend(rest.by_ref()),
            None => fresh.push(New {
                ports: ports.clone(),
                endpoints: rest.by_ref().take(SLICE_MAX).collect(),
            }),
        }
    }
}

/// Empty slices go; without any, one stands for the Service without Pods (`placeholderSlice`).
fn settle(slices: &mut BTreeMap<String, Slice>, fresh: &mut Vec<New>) {
    for slice in slices.values_mut() {
        slice.is_deleted = slice.now().is_empty();
    }
    if !slices.values().all(|slice| slice.is_deleted) || !fresh.is_empty() {
        return;
    }
    let placeholder = slices.values_mut().find(|slice| slice.ports.is_empty());
    match placeholder {
        Some(slice) => slice.is_deleted = false,
        None => fresh.push(New { ports: Rc::default(), endpoints: Vec::new() }),
    }
}

struct Plan {
    slices: BTreeMap<String, Slice>,
    fresh: Vec<New>,
    is_whole: bool,
    trigger: Option<Time>,
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

fn slice_labels(service: &Service) -> Labels {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.to_string(), service.metadata.name().to_string());
    labels.insert(MANAGED_BY.to_string(), MANAGER.to_string());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_string(), String::new());
    }
    labels
}

/// Notes when what is reported has changed, or that nothing new is known of it.
pub(super) fn set_trigger(annotations: &mut Option<Labels>, trigger: Option<Time>) {
    if let Some(time) = trigger {
        let annotations = annotations.get_or_insert_default();
        annotations.insert(TRIGGER_TIME.to_string(), time.to_string());
    } else if let Some(annotations) = annotations {
        annotations.remove(TRIGGER_TIME);
    }
}

/// Slices that are to go are written anew before others are made (`finalize`).
fn write(api: &mut Api, service: &Rc<Service>, held: &mut Held, plan: Plan, now: Instant) {
    let Plan { mut slices, fresh, is_whole, trigger } = plan;
    let labels = slice_labels(service);
    for New { ports, endpoints } in fresh {
        let spare = slices.values_mut().find(|slice| slice.is_deleted);
        if let Some(slice) = spare {
            slice.is_deleted = false;
            slice.ports = ports.to_vec();
            slice.endpoints = Some(endpoints);
            continue;
        }
        let mut slice = EndpointSlice {
            address_type: "IPv4".to_string(),
            endpoints,
            ports: endpoint_ports(&ports),
            ..EndpointSlice::default()
        };
        slice.metadata.generate_name = Some(format!("{}-", service.metadata.name()));
        slice.metadata.namespace = service.metadata.namespace.clone();
        slice.metadata.labels = Some(labels.clone());
        slice.metadata.owner_references = Some(vec![controller_ref(&**service)]);
        set_trigger(&mut slice.metadata.annotations, trigger);
        // A namespace that goes away takes no new slices; there is nothing to do about that.
        if let Ok(slice) = api.create_typed(slice, now) {
            placed(held, &slice);
        }
    }
    for (name, slice) in slices {
        let namespace = service.metadata.namespace();
        if slice.is_deleted {
            held.written.remove(&name);
            let _ =
                api.delete(EndpointSlice::id(), namespace, &name, DeleteOptions::default(), now);
            continue;
        }
        let has_other_labels = is_whole && slice.object.metadata.labels.as_ref() != Some(&labels);
        if slice.endpoints.is_none() && !has_other_labels {
            if is_whole {
                placed(held, &slice.object);
            }
            continue;
        }
        let written = api.modify::<EndpointSlice>(namespace, &name, |object| {
            if let Some(endpoints) = slice.endpoints {
                object.endpoints = endpoints;
            }
            object.ports = endpoint_ports(&slice.ports);
            object.metadata.labels = Some(labels.clone());
            set_trigger(&mut object.metadata.annotations, trigger);
        });
        if let Some(slice) = written {
            placed(held, &slice);
        }
    }
}

/// Remembers where the Pods of a slice are.
fn placed(held: &mut Held, slice: &EndpointSlice) {
    let name = slice.metadata.name();
    held.written.insert(name.to_string(), slice.metadata.resource_version.clone());
    for endpoint in &slice.endpoints {
        if let Some(member) = held.members.get_mut(pod_of(endpoint))
            && member.slice != name
        {
            member.slice = name.to_string();
        }
    }
}
