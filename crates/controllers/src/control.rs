//! What all controllers of workloads do: claim the Pods they select, make Pods from templates, take Pods
//! away, and tell of it (`pkg/controller/controller_utils.go`, `controller_ref_manager.go`).

use base::tree::BTreeSet;
use std::rc::Rc;

use base::{Duration, Instant};
use kube_api::core::{ObjectReference, Pod, PodTemplateSpec};
use kube_api::labels::{Labels, Selector};
use kube_api::meta::{LabelSelector, ObjectMeta, OwnerReference};
use kube_api::object::{controller_ref, instant};
use kube_api::{Api, Change, DeleteOptions, Kind, MetaExt, Status};

use crate::events::{self, Severity};
use crate::pods;
use crate::queue::Key;

/// The object that a controller works for.
pub(crate) struct Owner {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    reference: OwnerReference,
    about: ObjectReference,
    component: &'static str,
}

impl Owner {
    pub(crate) fn of<T: Kind>(object: &T, component: &'static str) -> Owner {
        let meta = object.metadata();
        Owner {
            namespace: meta.namespace().to_string(),
            name: meta.name().to_string(),
            uid: meta.uid().to_string(),
            reference: controller_ref(object),
            about: events::reference(object),
            component,
        }
    }

    pub(crate) fn key(&self) -> Key {
        (self.namespace.clone(), self.name.clone())
    }

    /// Writes an event about it.
    pub(crate) fn tell(
        &self,
        api: &mut Api,
        severity: Severity,
        reason: &str,
        message: &str,
        now: Instant,
    ) {
        let from = events::component(self.component);
        events::record(api, now, self.about.clone(), severity, reason, message, from);
    }

    /// What belongs to it says so in its metadata.
    pub(crate) fn own(&self, meta: &mut ObjectMeta) {
        meta.namespace = Some(self.namespace.clone());
        meta.owner_references = Some(vec![self.reference.clone()]);
    }

    /// A Pod of a template, without a name (`GetPodFromTemplate`).
    pub(crate) fn pod(&self, template: &PodTemplateSpec) -> Pod {
        let mut pod = Pod {
            metadata: template.metadata.clone().unwrap_or_default(),
            spec: template.spec.clone(),
            status: None,
        };
        pod.metadata.name = None;
        pod.metadata.generate_name = Some(format!("{}-", self.name));
        self.own(&mut pod.metadata);
        pod
    }

    pub(crate) fn create_pod(
        &self,
        api: &mut Api,
        pod: Pod,
        now: Instant,
    ) -> Result<Rc<Pod>, Status> {
        let created = api.create_typed(pod, now);
        match &created {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.metadata.name());
                self.tell(api, Severity::Normal, "SuccessfulCreate", &message, now);
            }
            Err(status) => {
                let message = format!("Error creating: {}", status.message);
                self.tell(api, Severity::Warning, "FailedCreate", &message, now);
            }
        }
        created
    }

    pub(crate) fn delete_pod(&self, api: &mut Api, pod: &Pod, now: Instant) {
        let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
        if api.delete(Pod::id(), namespace, name, DeleteOptions::default(), now).is_ok() {
            let message = format!("Deleted pod: {name}");
            self.tell(api, Severity::Normal, "SuccessfulDelete", &message, now);
        }
    }

    /// Takes over the Pods that it selects and nobody manages, and lets go of those that it no longer
    /// selects (`PodControllerRefManager`).
    pub(crate) fn claim(&self, api: &mut Api, wanted: &LabelSelector, is_ending: bool) {
        let selector = Selector::of(wanted);
        let is_selected =
            |meta: &ObjectMeta| !selector.is_empty() && selector.matches(meta.labels.as_ref());
        let store = api.store();
        let released = store.owned::<Pod>(&self.uid).filter(|pod| !is_selected(&pod.metadata));
        let mut changed: Vec<(String, bool)> =
            released.map(|pod| (pod.metadata.name().to_string(), false)).collect();
        if !is_ending {
            let none = Labels::new();
            let labels = wanted.match_labels.as_ref().unwrap_or(&none);
            for pod in store.pods_with(&self.namespace, labels) {
                let is_free = pod.metadata.controller().is_none() && pods::is_active(pod);
                if is_free && is_selected(&pod.metadata) {
                    changed.push((pod.metadata.name().to_string(), true));
                }
            }
        }
        for (name, is_adopted) in changed {
            api.modify::<Pod>(&self.namespace, &name, |pod| {
                let owners = pod.metadata.owner_references.get_or_insert_default();
                if is_adopted {
                    owners.push(self.reference.clone());
                } else {
                    owners.retain(|owner| owner.uid != self.uid);
                }
            });
        }
    }
}

/// Which owners have to look at whom they own: one that is new or selects others, and those to whom a Pod
/// with other labels may belong. All others know their Pods.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    due: BTreeSet<Key>,
}

impl Claims {
    /// Takes in a change of what owns (`T`), or of a Pod. Gives the owners that are concerned.
    pub(crate) fn observe<T: Kind>(
        &mut self,
        change: &Change,
        store: &kube_api::Store,
        selector: fn(&T) -> Option<LabelSelector>,
    ) -> Vec<Key> {
        if let Some(owner) = change.of::<T>() {
            let meta = owner.metadata();
            let key = (meta.namespace().to_string(), meta.name().to_string());
            let old = change.old.as_ref().and_then(T::of);
            if old.is_none_or(|old| selector(old) != selector(owner)) {
                self.due.insert(key.clone());
            }
            return vec![key];
        }
        let Some(pod) = change.of::<Pod>() else { return Vec::new() };
        let before = change.old.as_ref().and_then(Pod::of);
        let mut keys = Vec::new();
        let namespace = pod.metadata.namespace();
        let owners = [Some(pod), before].into_iter().flatten().map(|pod| pod.metadata.controller());
        for owner in owners.flatten().filter(|owner| owner.kind == T::KIND) {
            let is_known = keys.iter().any(|(_, name)| *name == owner.name);
            if !is_known {
                keys.push((namespace.to_string(), owner.name.clone()));
            }
        }
        let is_free = pod.metadata.controller().is_none() && change.new.is_some();
        if (keys.is_empty() && !is_free) || !is_relabelled(before, pod) {
            return keys;
        }
        if before.is_some() {
            self.due.extend(keys.iter().cloned());
        }
        if is_free {
            for candidate in store.list_in::<T>(namespace) {
                let Some(wanted) = selector(candidate).map(|s| Selector::of(&s)) else { continue };
                if !wanted.is_empty() && wanted.matches(pod.metadata.labels.as_ref()) {
                    let key = (namespace.to_string(), candidate.metadata().name().to_string());
                    self.due.insert(key.clone());
                    keys.push(key);
                }
            }
        }
        keys
    }

    /// It is to look at whom it owns; asked once.
    pub(crate) fn take(&mut self, key: &Key) -> bool {
        self.due.remove(key)
    }
}

/// It is new, or may belong to others than before.
fn is_relabelled(before: Option<&Rc<Pod>>, pod: &Pod) -> bool {
    before.is_none_or(|old| {
        old.metadata.labels != pod.metadata.labels
            || old.metadata.owner_references != pod.metadata.owner_references
    })
}

/// When a Pod became ready; `None` while it is not.
pub(crate) fn ready_since(pod: &Pod) -> Option<Instant> {
    let ready = pods::condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    Some(ready.last_transition_time.as_ref().map_or(Instant::ZERO, instant))
}

/// From when on a Pod counts as available; `None` while it is not ready (`IsPodAvailable`).
pub(crate) fn available_from(pod: &Pod, min_ready: Option<i32>) -> Option<Instant> {
    let wait = u64::try_from(min_ready.unwrap_or(0)).unwrap_or(0);
    let since = ready_since(pod)?;
    Some(if wait == 0 { Instant::ZERO } else { since + Duration::from_secs(wait) })
}

/// A count as statuses carry it; `None` for 0.
pub(crate) fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

pub(crate) fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
