//! What has lost its owner, and what goes with its owner (`pkg/controller/garbagecollector`).
//!
//! An object whose owners are all gone is deleted. One that is deleted in the foreground goes after what it owns
//! (as far as that blocks it); one that leaves what it owns behind goes after it has let go of it. Owners are
//! told apart by their uids: another object of the same name is no owner.
//!
//! Costs what changes: what an object owns stands in the store's index, and a change of an object that neither
//! has lost an owner nor is one is passed over.

use base::{Duration, Instant, Items as _};
use kube_api::meta::OwnerReference;
use kube_api::server::{FOREGROUND, ORPHAN};
use kube_api::{AnyObject, Api, Change, DeleteOptions, MetaExt, Propagation, Store, index::Place};

use crate::queue::WorkQueue;

/// The garbage collector.
#[derive(Debug)]
pub struct Cleanup {
    latency: Duration,
    queue: WorkQueue<Place>,
}

fn has_finalizer(object: &AnyObject, finalizer: &str) -> bool {
    object.meta().finalizers.items().any(|known| known == finalizer)
}

fn waits_for_dependents(object: &AnyObject) -> bool {
    object.meta().is_terminating() && has_finalizer(object, FOREGROUND)
}

fn owners(object: &AnyObject) -> &[OwnerReference] {
    object.meta().owner_references.as_deref().unwrap_or_default()
}

/// What there is of an owner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Here,
    /// Going, and waiting for what it owns to go first.
    Waiting,
    Gone,
    /// Nobody can tell: no such kind, or one that lives in a namespace where the dependent has none. Such an
    /// owner is left alone, and so is what it owns.
    Unknown,
}

/// An owner lives in the namespace of what it owns, or in none.
fn find<'a>(
    store: &'a Store,
    dependent: &AnyObject,
    owner: &OwnerReference,
) -> (State, Option<&'a AnyObject>) {
    let Some(kind) = store.kinds().find(&owner.api_version, &owner.kind) else {
        return (State::Unknown, None);
    };
    let namespace = if kind.is_namespaced { dependent.namespace() } else { "" };
    if kind.is_namespaced && namespace.is_empty() {
        return (State::Unknown, None);
    }
    let found = store.get_any(kind.id, namespace, &owner.name);
    match found.filter(|found| found.meta().uid() == owner.uid) {
        None => (State::Gone, None),
        Some(found) if waits_for_dependents(found) => (State::Waiting, Some(found)),
        Some(found) => (State::Here, Some(found)),
    }
}

impl Cleanup {
    pub(crate) fn new(latency: Duration) -> Self {
        Cleanup { latency, queue: WorkQueue::default() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, store: &Store, now: Instant) {
        let at = now + self.latency;
        let object = change.object();
        let is_gone = change.new.is_none();
        let owns_something = store.owned_by(object.meta().uid()).next().is_some();
        let is_going = !is_gone && object.meta().is_terminating();
        if is_going && (has_finalizer(object, ORPHAN) || has_finalizer(object, FOREGROUND)) {
            self.queue.add(Place::of(object), at);
        }
        if owns_something && (is_gone || waits_for_dependents(object)) {
            for dependent in store.owned_by(object.meta().uid()) {
                self.queue.add(Place::of(dependent), at);
            }
        }
        let had: &[OwnerReference] = change.old.as_ref().map_or(&[], owners);
        if is_gone || had != owners(object) {
            for reference in had {
                if let (State::Waiting, Some(owner)) = find(store, object, reference) {
                    self.queue.add(Place::of(owner), at);
                }
            }
        }
        // Written for an owner that is not there (any more).
        let is_lost = |reference: &OwnerReference| {
            matches!(find(store, object, reference).0, State::Gone | State::Waiting)
        };
        if !is_gone && had != owners(object) && owners(object).iter().any(is_lost) {
            self.queue.add(Place::of(object), at);
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(place) = self.queue.pop(now) {
            worked = true;
            let store = api.store();
            let Some(object) = store.get_any(place.kind, &place.namespace, &place.name).cloned()
            else {
                continue;
            };
            if object.meta().is_terminating() && has_finalizer(&object, ORPHAN) {
                orphan(api, &object);
            } else if waits_for_dependents(&object) {
                self.wait_for_dependents(api, &object, now);
            } else if !object.meta().is_terminating() {
                collect(api, &object, now);
            }
        }
        worked
    }

    /// Goes when nothing that blocks it is left.
    fn wait_for_dependents(&mut self, api: &mut Api, object: &AnyObject, now: Instant) {
        let uid = object.meta().uid();
        let blocks = |dependent: &&AnyObject| {
            let mut references = owners(dependent).iter().filter(|owner| owner.uid == uid);
            references.any(|owner| owner.block_owner_deletion == Some(true))
        };
        let mut is_free = true;
        for dependent in api.store().owned_by(uid).filter(blocks) {
            is_free = false;
            if !dependent.meta().is_terminating() {
                self.queue.add(Place::of(dependent), now);
            }
        }
        if is_free {
            change(api, object, |meta| {
                meta.finalizers.iter_mut().for_each(|all| all.retain(|known| known != FOREGROUND));
            });
        }
    }
}

/// Changes the metadata of an object, as it is now.
fn change(api: &mut Api, object: &AnyObject, change: impl FnOnce(&mut kube_api::meta::ObjectMeta)) {
    let live = api.store().get_any(object.kind(), object.namespace(), object.name()).cloned();
    let Some(mut live) = live else { return };
    let meta = live.meta_mut();
    change(meta);
    if meta.finalizers.as_ref().is_some_and(Vec::is_empty) {
        meta.finalizers = None;
    }
    if meta.owner_references.as_ref().is_some_and(Vec::is_empty) {
        meta.owner_references = None;
    }
    // It has been valid before, and neither field can make it otherwise.
    let _ = api.update(live);
}

/// What it owns is its own from now on; then it goes.
fn orphan(api: &mut Api, object: &AnyObject) {
    let uid = object.meta().uid();
    let owned: Vec<AnyObject> = api.store().owned_by(uid).cloned().collect();
    for dependent in owned {
        change(api, &dependent, |meta| {
            meta.owner_references.iter_mut().for_each(|all| all.retain(|owner| owner.uid != uid));
        });
    }
    change(api, object, |meta| {
        meta.finalizers.iter_mut().for_each(|all| all.retain(|known| known != ORPHAN));
    });
}

/// Deletes an object that has no owner left; of several owners, those that are gone are forgotten.
fn collect(api: &mut Api, object: &AnyObject, now: Instant) {
    let (mut solid, mut waiting) = (Vec::new(), false);
    for reference in owners(object) {
        match find(api.store(), object, reference).0 {
            State::Waiting => waiting = true,
            State::Here | State::Unknown => solid.push(reference.uid.clone()),
            State::Gone => {}
        }
    }
    if solid.len() == owners(object).len() {
        return;
    }
    if !solid.is_empty() {
        change(api, object, |meta| {
            let all = meta.owner_references.iter_mut();
            all.for_each(|all| all.retain(|owner| solid.contains(&owner.uid)));
        });
        return;
    }
    let owns_something = api.store().owned_by(object.meta().uid()).next().is_some();
    let propagation = if waiting && owns_something {
        Some(Propagation::Foreground)
    } else if has_finalizer(object, ORPHAN) {
        Some(Propagation::Orphan)
    } else if has_finalizer(object, FOREGROUND) {
        Some(Propagation::Foreground)
    } else {
        None
    };
    let uid = object.meta().uid.clone();
    let options = DeleteOptions { propagation, uid, ..DeleteOptions::default() };
    let _ = api.delete(object.kind(), object.namespace(), object.name(), options, now);
}
