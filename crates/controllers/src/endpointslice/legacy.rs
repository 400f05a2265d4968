//! The endpoints of a Service as one `Endpoints` object (`pkg/controller/endpoint`).

use base::Items as _;
use base::tree::BTreeMap;
use std::net::Ipv4Addr;
use std::rc::Rc;

use base::Instant;
use kube_api::core::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use kube_api::discovery::Endpoint;
use kube_api::{Api, MetaExt};

use super::member::{PodPorts, publishes_not_ready};
use super::pack::set_trigger;
use super::{HEADLESS, Held};

/// Addresses in an Endpoints object at most.
const MAX: usize = 1000;
/// Says that there are more.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// Addresses with the same ports: those that are ready, and the others.
type Group<'a> = (Vec<&'a Endpoint>, Vec<&'a Endpoint>);

/// Writes the object, if it differs.
pub(super) fn sync(api: &mut Api, service: &Rc<Service>, held: &mut Held, now: Instant) {
    let (subsets, is_cut) = subsets(service, held);
    let (namespace, name) = (service.metadata.namespace(), service.metadata.name());
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert("endpoints.kubernetes.io/managed-by".into(), "endpoint-controller".into());
    labels.remove(HEADLESS);
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_string(), String::new());
    }
    let trigger = held.trigger.take();
    let write = |endpoints: &mut Endpoints| {
        let is_same = endpoints.subsets == subsets
            && endpoints.metadata.labels.as_ref() == Some(&labels)
            && endpoints.metadata.annotation(OVER_CAPACITY).is_some() == is_cut;
        if is_same {
            return;
        }
        endpoints.subsets = subsets;
        endpoints.metadata.labels = Some(labels);
        let annotations = &mut endpoints.metadata.annotations;
        set_trigger(annotations, trigger);
        if is_cut {
            let annotations = annotations.get_or_insert_default();
            annotations.insert(OVER_CAPACITY.to_string(), "truncated".to_string());
        } else if let Some(annotations) = annotations {
            annotations.remove(OVER_CAPACITY);
        }
    };
    if api.store().get::<Endpoints>(namespace, name).is_some() {
        api.modify::<Endpoints>(namespace, name, write);
        return;
    }
    let mut endpoints = Endpoints::default();
    endpoints.metadata.name = Some(name.to_string());
    endpoints.metadata.namespace = Some(namespace.to_string());
    write(&mut endpoints);
    let _ = api.create_typed(endpoints, now);
}

/// The subsets, and whether some addresses had to be left out.
fn subsets(service: &Service, held: &Held) -> (Option<Vec<EndpointSubset>>, bool) {
    let publishes_all = publishes_not_ready(service);
    let mut groups: BTreeMap<&PodPorts, Group<'_>> = BTreeMap::new();
    let has_ports = service.spec.as_ref().is_some_and(|spec| spec.ports.items().count() > 0);
    for member in held.members.values() {
        let conditions = member.endpoint.conditions.as_ref();
        let is = |of: fn(&kube_api::discovery::EndpointConditions) -> Option<bool>| {
            conditions.and_then(of) == Some(true)
        };
        if is(|c| c.terminating) && !publishes_all || member.ports.is_empty() && has_ports {
            continue;
        }
        let (ready, not_ready) = groups.entry(&member.ports).or_default();
        if publishes_all || is(|c| c.serving) { ready } else { not_ready }.push(&member.endpoint);
    }
    let count = |list: fn(&Group<'_>) -> usize| groups.values().map(list).sum::<usize>();
    let (ready, not_ready) = (count(|group| group.0.len()), count(|group| group.1.len()));
    // Those that are ready go first.
    let mut room = (MAX.min(ready), MAX.saturating_sub(ready).min(not_ready));
    let is_cut = ready + not_ready > MAX;
    let mut subsets = Vec::new();
    for (ports, (ready, not_ready)) in groups {
        let addresses = addresses(ready, &mut room.0);
        let not_ready_addresses = self::addresses(not_ready, &mut room.1);
        if addresses.is_some() || not_ready_addresses.is_some() {
            subsets.push(EndpointSubset {
                addresses,
                not_ready_addresses,
                ports: core_ports(ports),
            });
        }
    }
    ((!subsets.is_empty()).then_some(subsets), is_cut)
}

/// As many as there is room for, by address.
fn addresses(mut endpoints: Vec<&Endpoint>, room: &mut usize) -> Option<Vec<EndpointAddress>> {
    base::order::sort_by_key(&mut endpoints, |endpoint| {
        endpoint.addresses.first().and_then(|ip| ip.parse::<Ipv4Addr>().ok())
    });
    endpoints.truncate(*room);
    *room -= endpoints.len();
    let address = |endpoint: &Endpoint| EndpointAddress {
        ip: endpoint.addresses.concat(),
        node_name: endpoint.node_name.clone(),
        target_ref: endpoint.target_ref.clone(),
        hostname: endpoint.hostname.clone(),
    };
    let list: Vec<EndpointAddress> = endpoints.into_iter().map(address).collect();
    (!list.is_empty()).then_some(list)
}

fn core_ports(ports: &PodPorts) -> Option<Vec<EndpointPort>> {
    let of = |(name, port, protocol, app): &(String, i32, String, Option<String>)| EndpointPort {
        name: (!name.is_empty()).then(|| name.clone()),
        port: *port,
        protocol: Some(protocol.clone()),
        app_protocol: app.clone(),
    };
    (!ports.is_empty()).then(|| ports.iter().map(of).collect())
}
