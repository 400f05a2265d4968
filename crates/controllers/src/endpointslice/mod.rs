//! Services to the addresses of their Pods: EndpointSlices and the older Endpoints
//! (`pkg/controller/endpointslice`, `pkg/controller/endpoint`).
//!
//! In reading order:
//! - here: [`EndpointSlices`], which Services a change of a Pod concerns, and when they are looked at;
//! - [`member`]: a Pod as an endpoint of a Service;
//! - [`pack`]: endpoints into slices of a hundred;
//! - [`legacy`]: the same endpoints as one `Endpoints` object;
//! - [`mirror`]: `Endpoints` that people write, as slices.
//!
//! **Invariant:** the cost of a change is that of the Pods and the slices it touches. A Service remembers where each
//! of its Pods is; selectors are found by one of their labels; nothing is listed but by an index.

mod legacy;
mod member;
pub mod mirror;
mod pack;

use base::tree::{BTreeMap, BTreeSet};
use base::{Duration, Instant};
use kube_api::core::{Endpoints, Node, Pod, Service};
use kube_api::discovery::EndpointSlice;
use kube_api::labels::{Labels, Selector};
use kube_api::{Api, Change, DeleteOptions, Kind, MetaExt, Store, Time};

pub use member::find_port;
use member::{Member, matters};

use crate::queue::{Key, WorkQueue};

/// The Service a slice belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Who looks after a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Us.
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
/// On what belongs to a Service without a cluster IP.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// When what an object reports on has changed, at the earliest.
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// An `Endpoints` object holds its addresses in one piece and is written as one; with so many addresses it is
/// written later by [`Latencies::endpoints`](crate::manager::Latencies), and again for each further so many.
const ENDPOINTS_AT_ONCE: usize = 50;

/// The EndpointSlice and Endpoints controllers.
#[derive(Debug)]
pub struct EndpointSlices {
    latency: Duration,
    /// Services whose slices are to be looked at.
    queue: WorkQueue<Key>,
    /// Services whose `Endpoints` are to be written.
    legacy: WorkQueue<Key>,
    services: BTreeMap<Key, Held>,
    /// Services by namespace and one label that they ask for.
    by_label: BTreeMap<(String, String), BTreeSet<String>>,
}

/// What is remembered of a Service with a selector.
#[derive(Debug, Default)]
struct Held {
    uid: String,
    selector: Selector,
    /// The label it is found by.
    label: String,
    /// Its Pods, by name, each as an endpoint.
    members: BTreeMap<String, Member>,
    /// Pods that have changed since the slices were looked at.
    dirty: BTreeSet<String>,
    /// Everything may have changed: the Service itself, or a slice by another hand.
    is_stale: bool,
    /// The resource version of each slice as we have left it.
    written: BTreeMap<String, Option<String>>,
    /// The Service's creation has been reported as a change.
    is_told: bool,
    /// The earliest change that `Endpoints` do not report yet.
    trigger: Option<Time>,
}

fn key_of(meta: &dyn MetaExt) -> Key {
    (meta.namespace().to_string(), meta.name().to_string())
}

fn pair(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

/// The labels that a Service selects, if it selects by labels at all.
fn selected_labels(service: &Service) -> Option<&Labels> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector.as_ref().filter(|labels| !labels.is_empty())
}

impl EndpointSlices {
    pub(crate) fn new(latency: Duration) -> Self {
        EndpointSlices {
            latency,
            queue: WorkQueue::default(),
            legacy: WorkQueue::default(),
            services: BTreeMap::new(),
            by_label: BTreeMap::new(),
        }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        [self.queue.next_at(), self.legacy.next_at()].into_iter().flatten().min()
    }

    pub(crate) fn observe(&mut self, change: &Change, store: &Store, now: Instant) {
        let at = now + self.latency;
        if let Some(pod) = change.of::<Pod>() {
            let before = change.old.as_ref().and_then(Pod::of);
            if before.is_none_or(|before| change.new.is_none() || matters(before, pod)) {
                self.observe_pod(pod, at);
                if let Some(before) = before.filter(|b| b.metadata.labels != pod.metadata.labels) {
                    self.observe_pod(before, at);
                }
            }
        } else if let Some(service) = change.of::<Service>() {
            self.observe_service(service, change.new.is_none(), store, at);
        } else if let Some(slice) = change.of::<EndpointSlice>() {
            self.observe_slice(slice, change.new.is_none(), at);
        } else if let Some(endpoints) = change.of::<Endpoints>() {
            let key = key_of(&endpoints.metadata);
            if change.new.is_none() && self.services.contains_key(&key) {
                self.legacy.add(key, at);
            }
        } else if change.of::<Node>().is_some() && change.old.is_none() {
            // Pods of a node that was not known are left out until it is.
            for (key, held) in &mut self.services {
                held.is_stale = true;
                self.queue.add(key.clone(), at);
            }
        }
    }

    fn observe_pod(&mut self, pod: &Pod, at: Instant) {
        let namespace = pod.metadata.namespace();
        let labels = pod.metadata.labels.as_ref();
        for (key, value) in labels.into_iter().flatten() {
            let under = (namespace.to_string(), pair(key, value));
            let Some(names) = self.by_label.get(&under) else { continue };
            for name in names {
                let key = (namespace.to_string(), name.clone());
                let Some(held) = self.services.get_mut(&key) else { continue };
                if held.selector.matches(labels) {
                    held.dirty.insert(pod.metadata.name().to_string());
                    self.queue.add(key, at);
                }
            }
        }
    }

    fn observe_service(&mut self, service: &Service, is_gone: bool, store: &Store, at: Instant) {
        let key = key_of(&service.metadata);
        // A Service that is gone and there again at once is another one.
        let is_another =
            self.services.get(&key).is_some_and(|held| held.uid != service.metadata.uid());
        if is_gone || is_another {
            self.queue.add(key.clone(), at);
        }
        let labels = selected_labels(service).filter(|_| !is_gone);
        let Some((labels, label)) = labels.and_then(|labels| {
            // Of its labels the one that the fewest Pods have; most often there is but one.
            let count = |(key, value): &(&String, &String)| {
                let one = base::order::map([((*key).clone(), (*value).clone())]);
                store.pods_with(service.metadata.namespace(), &one).len()
            };
            let rarest = if labels.len() == 1 {
                labels.iter().next()
            } else {
                labels.iter().min_by_key(count)
            };
            rarest.map(|(key, value)| (labels, pair(key, value)))
        }) else {
            // Without a selector, what is there is left as it is.
            if !is_gone {
                self.unfile(&key);
                self.services.remove(&key);
            }
            return;
        };
        self.unfile(&key);
        let under = (key.0.clone(), label.clone());
        self.by_label.entry(under).or_default().insert(key.1.clone());
        let held = self.services.entry(key.clone()).or_default();
        held.selector = Selector::of_labels(labels);
        held.label = label;
        held.is_stale = true;
        self.queue.add(key, at);
    }

    /// Its selector is not found any more.
    fn unfile(&mut self, key: &Key) {
        let Some(held) = self.services.get(key) else { return };
        let under = (key.0.clone(), held.label.clone());
        if let Some(names) = self.by_label.get_mut(&under) {
            names.remove(&key.1);
            if names.is_empty() {
                self.by_label.remove(&under);
            }
        }
    }

    /// A slice that somebody else has changed or deleted is put right.
    fn observe_slice(&mut self, slice: &EndpointSlice, is_gone: bool, at: Instant) {
        let meta = &slice.metadata;
        if meta.label(MANAGED_BY) != Some(MANAGER) {
            return;
        }
        let service = meta.label(SERVICE_NAME).unwrap_or_default();
        let key = (meta.namespace().to_string(), service.to_string());
        let Some(held) = self.services.get_mut(&key) else { return };
        let version = if is_gone { None } else { meta.resource_version.as_ref() };
        let ours = held.written.get(meta.name()).and_then(Option::as_ref);
        if version != ours {
            held.is_stale = true;
            self.queue.add(key, at);
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(key) = self.queue.pop(now) {
            worked = true;
            self.sync(api, key, now);
        }
        while let Some(key) = self.legacy.pop(now) {
            worked = true;
            let service = api.store().get::<Service>(&key.0, &key.1).cloned();
            if let (Some(service), Some(held)) = (service, self.services.get_mut(&key)) {
                legacy::sync(api, &service, held, now);
            }
        }
        worked
    }

    fn sync(&mut self, api: &mut Api, key: Key, now: Instant) {
        let service = api.store().get::<Service>(&key.0, &key.1).cloned();
        let is_another = self.services.get(&key).is_some_and(|held| {
            !held.uid.is_empty()
                && service.as_ref().is_none_or(|service| service.metadata.uid() != held.uid)
        });
        if is_another || service.is_none() {
            self.forget(api, &key, service.is_some(), now);
        }
        let Some(service) = service else { return };
        let Some(held) = self.services.get_mut(&key) else { return };
        held.uid = service.metadata.uid().to_string();
        pack::sync(api, &service, held, now);
        let wait = u32::try_from(held.members.len() / ENDPOINTS_AT_ONCE).unwrap_or(0);
        self.legacy.add(key, now + self.latency * wait);
    }

    /// A Service is gone: so are its slices and its Endpoints.
    fn forget(&mut self, api: &mut Api, key: &Key, is_replaced: bool, now: Instant) {
        if !is_replaced {
            self.unfile(key);
        }
        let Some(held) = self.services.get_mut(key) else { return };
        let slices: Vec<_> = pack::slices_of(api, &held.uid).collect();
        for slice in slices {
            let options = DeleteOptions::default();
            let (namespace, name) = (slice.metadata.namespace(), slice.metadata.name());
            let _ = api.delete(EndpointSlice::id(), namespace, name, options, now);
        }
        if !is_replaced {
            let _ = api.delete(Endpoints::id(), &key.0, &key.1, DeleteOptions::default(), now);
            self.services.remove(key);
            return;
        }
        // Selector and label are those of the new Service already.
        let (selector, label) = (held.selector.clone(), held.label.clone());
        *held = Held { selector, label, is_stale: true, ..Held::default() };
    }
}
