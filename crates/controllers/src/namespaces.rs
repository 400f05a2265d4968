//! What every namespace has from the beginning, and how it ends (`pkg/controller/namespace/deletion`,
//! `pkg/controller/serviceaccount`, `pkg/controller/certificates/rootcacertpublisher`); and what the API server
//! itself keeps in `default` (`pkg/controlplane/controller/kubernetesservice`).

use base::tree::{BTreeMap, BTreeSet};
use base::{Duration, Instant, Items as _};
use kube_api::core::Namespace;
use kube_api::index::Place;
use kube_api::object::time;
use kube_api::{AnyObject, Api, Change, DeleteOptions, KindId, MetaExt, Store};
use serde_json::{Value, json};

use crate::queue::WorkQueue;

/// How often the API server looks after its own Service, in seconds.
const RECONCILE_SECS: u64 = 10;

const ABOUT_ROOT_CA: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Stands for the certificate of whoever has signed the API server's.
pub const ROOT_CA: &str = "-----BEGIN CERTIFICATE-----\npodwire does not speak TLS: there is no certificate here.\n-----END CERTIFICATE-----\n";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// See that it has what every namespace has.
    Furnish(String),
    /// Empty it.
    Empty(String),
    /// Bring back what the API server keeps.
    Restore(Place),
}

/// The controllers of namespaces.
#[derive(Debug)]
pub struct Namespaces {
    latency: Duration,
    queue: WorkQueue<Task>,
    /// Objects of the API server's own that somebody has deleted.
    deleted: BTreeMap<Place, AnyObject>,
}

impl Namespaces {
    pub(crate) fn new(latency: Duration) -> Self {
        Namespaces { latency, queue: WorkQueue::default(), deleted: BTreeMap::new() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, store: &Store, now: Instant) {
        let at = now + self.latency;
        let object = change.object();
        let meta = object.meta();
        if change.of::<Namespace>().is_some() && change.new.is_some() {
            let name = meta.name().to_string();
            if meta.is_terminating() {
                self.queue.add(Task::Empty(name), at);
            } else if change.old.is_none() {
                self.queue.add(Task::Furnish(name), at);
            }
        }
        if change.new.is_some() || meta.namespace().is_empty() {
            return;
        }
        let namespace = meta.namespace().to_string();
        if store.get::<Namespace>("", &namespace).is_some_and(|n| n.metadata.is_terminating()) {
            self.queue.add(Task::Empty(namespace), at);
        } else if matches!(object, AnyObject::Dynamic(_))
            && matches!(meta.name(), "default" | "kube-root-ca.crt")
        {
            self.queue.add(Task::Furnish(namespace), at);
        } else if is_the_servers_own(object) {
            let next = Instant::from_secs((now.as_secs() / RECONCILE_SECS + 1) * RECONCILE_SECS);
            self.queue.add(Task::Restore(Place::of(object)), next);
            self.deleted.insert(Place::of(object), object.clone());
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(task) = self.queue.pop(now) {
            worked = true;
            match task {
                Task::Furnish(name) => furnish(api, &name, now),
                Task::Empty(name) => empty(api, &name, now),
                Task::Restore(place) => {
                    if let Some(object) = self.deleted.remove(&place) {
                        // Unless somebody has made one in its place.
                        let _ = api.create(object, now);
                    }
                }
            }
        }
        worked
    }
}

/// `kubernetes` in `default`: the Service, its Endpoints and its EndpointSlice.
fn is_the_servers_own(object: &AnyObject) -> bool {
    let is_kind = matches!(
        object,
        AnyObject::Service(_) | AnyObject::Endpoints(_) | AnyObject::EndpointSlice(_)
    );
    is_kind && object.namespace() == "default" && object.name() == "kubernetes"
}

fn furnish(api: &mut Api, namespace: &str, now: Instant) {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": namespace},
    });
    let bundle = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kube-root-ca.crt", "namespace": namespace,
            "annotations": {"kubernetes.io/description": ABOUT_ROOT_CA}},
        "data": {"ca.crt": ROOT_CA},
    });
    for (kind, value) in [("ServiceAccount", account), ("ConfigMap", bundle)] {
        let Some(kind) = api.store().kinds().find("v1", kind).map(|kind| kind.id) else { continue };
        // It may be there already, and the namespace may be on its way out.
        let _ = api.object(kind, value).and_then(|object| api.create(object, now));
    }
}

// ---- the end of a namespace ------------------------------------------------------------------------------

/// What is left in a namespace of one kind.
struct Left {
    resource: String,
    count: usize,
    finalizers: BTreeMap<String, usize>,
}

fn kinds(api: &Api, pods: bool) -> Vec<(KindId, String)> {
    let kinds = api.store().kinds().all().iter().filter(|info| info.is_namespaced);
    let kinds = kinds.filter(|info| (info.plural == "pods") == pods);
    kinds.map(|info| (info.id, format!("{}.{}", info.plural, info.group))).collect()
}

/// Deletes everything in a namespace that is to go, Pods first, and then lets the namespace go.
fn empty(api: &mut Api, namespace: &str, now: Instant) {
    let live = api.store().get::<Namespace>("", namespace).cloned();
    let Some(live) = live.filter(|live| live.metadata.is_terminating()) else { return };
    let mut left = delete_all(api, namespace, true, now);
    if left.is_empty() {
        left = delete_all(api, namespace, false, now);
    }
    let conditions = conditions(&live, &left, now);
    api.modify::<Namespace>("", namespace, |object| {
        let status = object.status.get_or_insert_default();
        status.rest.insert("conditions".to_string(), conditions);
        if let Some(spec) = object.spec.as_mut().filter(|_| left.is_empty()) {
            let all = spec.finalizers.iter_mut();
            all.for_each(|all| all.retain(|finalizer| finalizer != "kubernetes"));
        }
    });
}

fn delete_all(api: &mut Api, namespace: &str, pods: bool, now: Instant) -> Vec<Left> {
    let mut left = Vec::new();
    for (kind, resource) in kinds(api, pods) {
        let objects: Vec<(String, bool)> = api
            .store()
            .list_any_in(kind, namespace)
            .map(|object| (object.name().to_string(), object.meta().is_terminating()))
            .collect();
        for (name, is_going) in objects {
            if !is_going {
                let _ = api.delete(kind, namespace, &name, DeleteOptions::default(), now);
            }
        }
        let mut finalizers = BTreeMap::new();
        let mut count = 0;
        for object in api.store().list_any_in(kind, namespace) {
            count += 1;
            let own: BTreeSet<&String> = base::order::set(object.meta().finalizers.items());
            for finalizer in own {
                *finalizers.entry(finalizer.clone()).or_default() += 1;
            }
        }
        if count > 0 {
            left.push(Left { resource, count, finalizers });
        }
    }
    left
}

/// What the namespace says about its end (`status_condition_utils.go`).
fn conditions(live: &Namespace, left: &[Left], now: Instant) -> Value {
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, count) in left.iter().flat_map(|left| &left.finalizers) {
        *finalizers.entry(name).or_default() += count;
    }
    let list = |parts: Vec<String>| parts.join(", ");
    let resources: Vec<String> = left
        .iter()
        .map(|left| format!("{} has {} resource instances", left.resource, left.count))
        .collect();
    let waiting: Vec<String> = finalizers
        .iter()
        .map(|(name, count)| format!("{name} in {count} resource instances"))
        .collect();
    let remaining = match resources.is_empty() {
        true => ("False", "ContentRemoved", "All content successfully removed".to_string()),
        false => {
            let text = format!("Some resources are remaining: {}", list(resources));
            ("True", "SomeResourcesRemain", text)
        }
    };
    let held = match waiting.is_empty() {
        true => {
            let text = "All content-preserving finalizers finished";
            ("False", "ContentHasNoFinalizers", text.to_string())
        }
        false => {
            let text = format!(
                "Some content in the namespace has finalizers remaining: {}",
                list(waiting)
            );
            ("True", "SomeFinalizersRemain", text)
        }
    };
    let fine = |reason, text: &str| ("False", reason, text.to_string());
    let all = [
        (
            "NamespaceDeletionDiscoveryFailure",
            fine("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            fine("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            fine(
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
        ),
        ("NamespaceContentRemaining", remaining),
        ("NamespaceFinalizersRemaining", held),
    ];
    let before = live.status.as_ref().and_then(|status| status.rest.get("conditions"));
    let before = before.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let condition = |(kind, (status, reason, message)): (&str, (&str, &str, String))| {
        let old = before.iter().find(|c| c.get("type").is_some_and(|known| known == kind));
        let same = old.filter(|c| c.get("status").is_some_and(|known| known == status));
        let since = same.and_then(|c| c.get("lastTransitionTime")).cloned();
        let since = since.unwrap_or_else(|| time(now).to_string().into());
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
    };
    all.into_iter().map(condition).collect()
}
