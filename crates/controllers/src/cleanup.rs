//! What has lost its owner, and what is in a namespace that goes away
//! (`pkg/controller/garbagecollector`, `pkg/controller/namespace`).

use base::{Duration, Instant};
use kube_api::core::{Namespace, Pod};
use kube_api::meta::OwnerReference;
use kube_api::{AnyObject, Api, Change, DeleteOptions, Kind, KindId, MetaExt};

use crate::queue::WorkQueue;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// Take away what this object owned.
    Owner { uid: String, namespace: String },
    /// Empty this namespace.
    Namespace(String),
}

/// The garbage collector and the namespace controller.
#[derive(Debug)]
pub struct Cleanup {
    latency: Duration,
    queue: WorkQueue<Task>,
}

impl Cleanup {
    pub(crate) fn new(latency: Duration) -> Self {
        Cleanup { latency, queue: WorkQueue::default() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let at = now + self.latency;
        let meta = change.object().meta();
        if change.new.is_none() {
            let (uid, namespace) = (meta.uid().to_string(), meta.namespace().to_string());
            self.queue.add(Task::Owner { uid, namespace: namespace.clone() }, at);
            // The namespace may be empty now.
            self.queue.add(Task::Namespace(namespace), at);
        }
        if change.of::<Namespace>().is_some() && meta.is_terminating() {
            self.queue.add(Task::Namespace(meta.name().to_string()), at);
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(task) = self.queue.pop(now) {
            worked = true;
            match task {
                Task::Owner { uid, namespace } => collect(api, &uid, &namespace, now),
                Task::Namespace(name) => empty(api, &name, now),
            }
        }
        worked
    }
}

fn kinds(api: &Api, is_namespaced: bool) -> Vec<KindId> {
    let kinds = api.store().kinds().all().iter();
    kinds.filter(|info| info.is_namespaced == is_namespaced).map(|info| info.id).collect()
}

fn names(
    api: &Api,
    kind: KindId,
    namespace: &str,
    pick: impl Fn(&AnyObject) -> bool,
) -> Vec<String> {
    let objects = api.store().list_any_in(kind, namespace);
    objects.filter(|object| pick(object)).map(|object| object.name().to_string()).collect()
}

/// Deletes what was owned by an object that is gone, unless somebody else owns it too.
fn collect(api: &mut Api, uid: &str, namespace: &str, now: Instant) {
    if uid.is_empty() {
        return;
    }
    for kind in kinds(api, true) {
        let is_orphan = |object: &AnyObject| {
            let owners: &[OwnerReference] =
                object.meta().owner_references.as_deref().unwrap_or_default();
            owners.len() == 1 && owners.iter().any(|owner| owner.uid == uid)
        };
        for name in names(api, kind, namespace, is_orphan) {
            let _ = api.delete(kind, namespace, &name, DeleteOptions::default(), now);
        }
    }
}

/// Deletes everything in a namespace that is to go, and then the namespace itself.
fn empty(api: &mut Api, namespace: &str, now: Instant) {
    let is_going = api
        .store()
        .get::<Namespace>("", namespace)
        .is_some_and(|namespace| namespace.metadata.is_terminating());
    if !is_going {
        return;
    }
    let mut is_empty = true;
    for kind in kinds(api, true) {
        for name in names(api, kind, namespace, |_| true) {
            let is_marked = api
                .store()
                .get_any(kind, namespace, &name)
                .is_some_and(|object| kind == Pod::id() && object.meta().is_terminating());
            if !is_marked {
                let _ = api.delete(kind, namespace, &name, DeleteOptions::default(), now);
            }
            is_empty &= api.store().get_any(kind, namespace, &name).is_none();
        }
    }
    if is_empty {
        api.remove(Namespace::id(), "", namespace);
    }
}
