//! How objects go (`apiserver/pkg/registry/generic/registry/store.go`, `registry/rest/delete.go`).
//!
//! An object goes at once, unless somebody has to do something first: a Pod's containers have to end, a
//! finalizer's owner has to clean up, a namespace has to be emptied. Until then it is marked. What belongs to it
//! is the garbage collector's work, which learns what is wanted from two finalizers.

use std::rc::Rc;

use base::{Duration, Instant};

use super::{Api, has_generation};
use crate::MetaExt;
use crate::core::Pod;
use crate::kinds::{KindId, KindInfo};
use crate::object::{self, AnyObject};
use crate::status::Status;

/// The finalizer of an object that goes after what it owns.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object that leaves what it owns behind.
pub const ORPHAN: &str = "orphan";

/// What becomes of what the object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// It goes afterwards.
    Background,
    /// It goes first.
    Foreground,
    /// It stays.
    Orphan,
}

/// How an object is to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds a Pod has to end; `None` is what the Pod says itself.
    pub grace_seconds: Option<i64>,
    /// What becomes of what it owns; afterwards, unless the object says otherwise.
    pub propagation: Option<Propagation>,
    /// Only if it has this uid.
    pub uid: Option<String>,
    /// Only if it has this resource version.
    pub resource_version: Option<String>,
    /// Only to see what would come of it.
    pub dry_run: bool,
}

impl Api {
    /// Deletes an object. One that cannot go at once is only marked.
    pub fn delete(
        &mut self,
        kind: KindId,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
        now: Instant,
    ) -> Result<AnyObject, Status> {
        let info = self.store.kinds().get(kind).clone();
        let Some(object) = self.store.get_any(kind, namespace, name).cloned() else {
            return Err(Status::not_found(&info.resource(), name));
        };
        preconditions(&info, &object, &options)?;
        if info.plural == "namespaces" && matches!(name, "default" | "kube-system" | "kube-public")
        {
            return Err(Status::forbidden("namespaces", name, "this namespace may not be deleted"));
        }
        let grace = match &object {
            AnyObject::Pod(pod) => pod_grace(pod, &options),
            _ => 0,
        };
        let mut marked = object.clone();
        set_propagation(&mut marked, options.propagation);
        let is_free = marked.meta().finalizers.as_ref().is_none_or(Vec::is_empty);
        let is_namespace = matches!(object, AnyObject::Namespace(_));
        if grace == 0 && is_free && !is_namespace {
            if options.dry_run {
                return Ok(object);
            }
            return Ok(self.remove(kind, namespace, name).unwrap_or(object));
        }
        mark(&info, &mut marked, grace, now);
        if marked == object || options.dry_run {
            return Ok(marked);
        }
        let put = self.store.put(marked);
        self.finish(&put);
        Ok(put)
    }

    /// Takes an object away, and gives back what it held, when whoever had to end it has done so. One with
    /// finalizers stays until those are gone.
    pub fn remove(&mut self, kind: KindId, namespace: &str, name: &str) -> Option<AnyObject> {
        let object = self.store.get_any(kind, namespace, name)?;
        if object.meta().finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty()) {
            let mut waiting = object.clone();
            waiting.meta_mut().deletion_grace_period_seconds = Some(0);
            if waiting != *object {
                self.store.put(waiting);
            }
            return None;
        }
        let removed = self.store.remove(kind, namespace, name)?;
        self.provenance.forget(kind, namespace, name);
        if let AnyObject::Service(service) = &removed {
            self.allocator.release(service);
        }
        // With a definition go the objects of its kind.
        for kind in self.store.forget_kinds(&removed) {
            let objects = self.store.list_any(kind);
            let places: Vec<(String, String)> =
                objects.map(|o| (o.namespace().to_string(), o.name().to_string())).collect();
            for (namespace, name) in places {
                self.store.remove(kind, &namespace, &name);
            }
        }
        Some(removed)
    }

    /// What is to go and has nothing left to wait for goes.
    pub(super) fn finish(&mut self, object: &AnyObject) {
        let meta = object.meta();
        let waits = meta.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty())
            || meta.deletion_grace_period_seconds.is_some_and(|seconds| seconds != 0);
        let is_full = match object {
            AnyObject::Namespace(namespace) => {
                let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
                finalizers.is_some_and(|finalizers| !finalizers.is_empty())
            }
            _ => false,
        };
        if meta.is_terminating() && !waits && !is_full {
            self.remove(object.kind(), object.namespace(), object.name());
        }
    }
}

fn preconditions(
    info: &KindInfo,
    object: &AnyObject,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let meta = object.meta();
    let fail = |why: String| Err(Status::unfulfilled(&info.resource(), object.name(), &why));
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != meta.uid()) {
        return fail(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            meta.uid()
        ));
    }
    let version = meta.resource_version.as_deref().unwrap_or_default();
    if let Some(wanted) = options.resource_version.as_deref().filter(|wanted| *wanted != version) {
        return fail(format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        ));
    }
    Ok(())
}

/// (`deletionFinalizersForGarbageCollection`)
fn set_propagation(object: &mut AnyObject, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let wanted = match propagation {
        Propagation::Background => None,
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Orphan => Some(ORPHAN),
    };
    let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
    finalizers.retain(|finalizer| finalizer != FOREGROUND && finalizer != ORPHAN);
    finalizers.extend(wanted.map(str::to_string));
    object.meta_mut().finalizers = (!finalizers.is_empty()).then_some(finalizers);
}

/// Seconds that a Pod has to end; none when it runs nowhere, or has ended.
fn pod_grace(pod: &Pod, options: &DeleteOptions) -> i64 {
    let spec = pod.spec.as_ref();
    let is_scheduled = spec.is_some_and(|spec| spec.node_name.is_some());
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if !is_scheduled || matches!(phase, Some("Succeeded" | "Failed")) {
        return 0;
    }
    let own = spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
    // A negative one counts as a second (`pkg/registry/core/pod/strategy.go`).
    let grace = options.grace_seconds.unwrap_or(own);
    if grace < 0 { 1 } else { grace }
}

fn mark(info: &KindInfo, object: &mut AnyObject, grace: i64, now: Instant) {
    let generation = object.meta().generation.filter(|_| has_generation(info));
    let meta = object.meta_mut();
    let is_new = meta.deletion_timestamp.is_none();
    let is_sooner = meta.deletion_grace_period_seconds.is_none_or(|earlier| grace < earlier);
    if is_new || is_sooner {
        let ends = now + Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        meta.deletion_timestamp = Some(object::time(ends));
        meta.deletion_grace_period_seconds = Some(grace);
    }
    if is_new {
        meta.generation = generation.map(|generation| generation + 1).or(meta.generation);
    }
    if let AnyObject::Namespace(namespace) = object {
        let status = Rc::make_mut(namespace).status.get_or_insert_default();
        status.phase = Some("Terminating".into());
    }
}
