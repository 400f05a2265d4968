//! DaemonSets to Pods: one on every node that takes it (`pkg/controller/daemon`).

use std::collections::BTreeMap;
use std::rc::Rc;

use base::{Duration, Instant};
use kube_api::apps::{DaemonSet, DaemonSetStatus};
use kube_api::core::{Node, Pod, PodSpec, Toleration};
use kube_api::object::controller_ref;
use kube_api::{Api, Change, DeleteOptions, Kind, MetaExt, Store};

use crate::deployment::{scaled, template_hash};
use crate::events::{self, Severity};
use crate::queue::{Key, WorkQueue};
use crate::{affinity, pods, scheduler};

/// The label that tells Pods of one template from those of another.
const REVISION: &str = "controller-revision-hash";

/// What a daemon's Pod puts up with (`AddOrUpdateDaemonPodTolerations`).
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// The DaemonSet controller.
#[derive(Debug)]
pub struct DaemonSets {
    latency: Duration,
    queue: WorkQueue<Key>,
}

impl DaemonSets {
    pub(crate) fn new(latency: Duration) -> Self {
        DaemonSets { latency, queue: WorkQueue::default() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, store: &Store, now: Instant) {
        let at = now + self.latency;
        let key = |meta: &dyn MetaExt| (meta.namespace().to_string(), meta.name().to_string());
        if let Some(set) = change.of::<DaemonSet>() {
            self.queue.add(key(&set.metadata), at);
        }
        if change.of::<Node>().is_some() {
            for set in store.list::<DaemonSet>() {
                self.queue.add(key(&set.metadata), at);
            }
        }
        let Some(pod) = change.of::<Pod>() else { return };
        if let Some(owner) = pod.metadata.controller().filter(|owner| owner.kind == "DaemonSet") {
            self.queue.add((pod.metadata.namespace().to_string(), owner.name.clone()), at);
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some((namespace, name)) = self.queue.pop(now) {
            worked = true;
            if let Some(set) = api.store().get::<DaemonSet>(&namespace, &name).cloned() {
                sync(api, &set, now);
            }
        }
        worked
    }
}

/// A node, whether it should have a Pod of the set, and the ones it has.
struct Place {
    node: Rc<Node>,
    wants: bool,
    pods: Vec<Rc<Pod>>,
}

fn sync(api: &mut Api, set: &Rc<DaemonSet>, now: Instant) {
    let Some(template) = set.spec.as_ref().map(|spec| spec.template.clone()) else { return };
    let hash = template_hash(&template);
    let places = places(api, set);
    if !set.metadata.is_terminating() {
        for place in &places {
            manage(api, set, place, &hash, now);
        }
        roll(api, set, &places, &hash, now);
    }
    write_status(api, set, &places, &hash);
}

fn places(api: &Api, set: &DaemonSet) -> Vec<Place> {
    let mut by_node: BTreeMap<String, Vec<Rc<Pod>>> = BTreeMap::new();
    for pod in api.store().list_in::<Pod>(set.metadata.namespace()) {
        let owner = pod.metadata.controller();
        if owner.is_none_or(|owner| owner.uid != set.metadata.uid()) {
            continue;
        }
        let tied = pod.spec.as_ref().and_then(affinity::tied_to);
        if let Some(node) = pods::node_name(pod).or(tied) {
            by_node.entry(node.to_string()).or_default().push(pod.clone());
        }
    }
    let nodes = api.store().list::<Node>().cloned();
    let candidate = Pod { spec: Some(daemon_spec(set)), ..Pod::default() };
    let place = |node: Rc<Node>| {
        let pods = by_node.remove(node.metadata.name()).unwrap_or_default();
        let wants = candidate.spec.as_ref().is_some_and(|spec| affinity::matches(spec, &node))
            && scheduler::untolerated(&candidate, &node).is_none();
        Place { node, wants, pods }
    };
    nodes.map(place).collect()
}

/// The template's spec with what every daemon puts up with.
fn daemon_spec(set: &DaemonSet) -> PodSpec {
    let template = set.spec.as_ref().map(|spec| &spec.template);
    let mut spec = template.and_then(|template| template.spec.clone()).unwrap_or_default();
    let on_host = spec.host_network == Some(true);
    let tolerations = spec.tolerations.get_or_insert_default();
    let network = on_host.then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    for (key, effect) in TOLERATED.into_iter().chain(network) {
        tolerations.push(Toleration {
            key: Some(key.to_string()),
            operator: Some("Exists".to_string()),
            effect: Some(effect.to_string()),
            ..Toleration::default()
        });
    }
    spec
}

/// One Pod where there should be one, none where there should be none; one that has failed is replaced.
fn manage(api: &mut Api, set: &Rc<DaemonSet>, place: &Place, hash: &str, now: Instant) {
    let mut healthy = 0;
    for pod in &place.pods {
        if pod.metadata.is_terminating() {
            healthy += 1;
        } else if !place.wants || pods::has_ended(pod) || healthy > 0 {
            delete(api, set, pod, now);
        } else {
            healthy += 1;
        }
    }
    if place.wants && healthy == 0 {
        create(api, set, place.node.metadata.name(), hash, now);
    }
}

/// Pods of an earlier template make room, as many at a time as may be missing.
fn roll(api: &mut Api, set: &Rc<DaemonSet>, places: &[Place], hash: &str, now: Instant) {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return;
    }
    let wanted: Vec<&Place> = places.iter().filter(|place| place.wants).collect();
    let limit = strategy.and_then(|s| s.rolling_update.as_ref()?.max_unavailable.as_ref());
    let total = i32::try_from(wanted.len()).unwrap_or(i32::MAX);
    let limit = usize::try_from(scaled(limit, total, true).max(1)).unwrap_or(1);
    let serves =
        |place: &&&Place| place.pods.iter().any(|p| pods::is_active(p) && pods::is_ready(p));
    let mut missing = wanted.iter().filter(|place| !serves(place)).count();
    for place in &wanted {
        let is_old =
            |pod: &&Rc<Pod>| pods::is_active(pod) && pod.metadata.label(REVISION) != Some(hash);
        let Some(old) = place.pods.iter().find(is_old) else { continue };
        if pods::is_ready(old) {
            if missing >= limit {
                continue;
            }
            missing += 1;
        }
        delete(api, set, old, now);
    }
}

fn create(api: &mut Api, set: &Rc<DaemonSet>, node: &str, hash: &str, now: Instant) {
    let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let mut spec = daemon_spec(set);
    affinity::tie_to(&mut spec, node);
    let mut pod =
        Pod { metadata: template.metadata.unwrap_or_default(), spec: Some(spec), ..Pod::default() };
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(REVISION.to_string(), hash.to_string());
    labels.insert("pod-template-generation".to_string(), generation(set).to_string());
    pod.metadata.name = None;
    pod.metadata.generate_name = Some(format!("{}-", set.metadata.name()));
    pod.metadata.namespace = set.metadata.namespace.clone();
    pod.metadata.owner_references = Some(vec![controller_ref(&**set)]);
    let (severity, reason, message) = match api.create_typed(pod, now) {
        Ok(pod) => {
            let message = format!("Created pod: {}", pod.metadata.name());
            (Severity::Normal, "SuccessfulCreate", message)
        }
        Err(status) => {
            (Severity::Warning, "FailedCreate", format!("Error creating: {}", status.message))
        }
    };
    tell(api, set, severity, reason, &message, now);
}

fn delete(api: &mut Api, set: &Rc<DaemonSet>, pod: &Pod, now: Instant) {
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    if api.delete(Pod::id(), namespace, name, DeleteOptions::default(), now).is_ok() {
        let message = format!("Deleted pod: {name}");
        tell(api, set, Severity::Normal, "SuccessfulDelete", &message, now);
    }
}

fn tell(
    api: &mut Api,
    set: &Rc<DaemonSet>,
    severity: Severity,
    reason: &str,
    message: &str,
    now: Instant,
) {
    let from = events::component("daemonset-controller");
    events::record(api, now, events::reference(&**set), severity, reason, message, from);
}

fn generation(set: &DaemonSet) -> i64 {
    set.metadata.generation.unwrap_or(1)
}

fn write_status(api: &mut Api, set: &DaemonSet, places: &[Place], hash: &str) {
    let count = |test: &dyn Fn(&Place) -> bool| {
        i32::try_from(places.iter().filter(|place| test(place)).count()).unwrap_or(i32::MAX)
    };
    let any = |place: &Place, test: &dyn Fn(&Pod) -> bool| {
        place.pods.iter().any(|pod| pods::is_active(pod) && test(pod))
    };
    let desired = count(&|place| place.wants);
    let ready = count(&|place| place.wants && any(place, &pods::is_ready));
    let is_new = |pod: &Pod| pod.metadata.label(REVISION) == Some(hash);
    let some = |n: i32| (n > 0).then_some(n);
    let status = DaemonSetStatus {
        current_number_scheduled: count(&|place| place.wants && any(place, &|_| true)),
        desired_number_scheduled: desired,
        number_misscheduled: count(&|place| !place.wants && any(place, &|_| true)),
        number_ready: ready,
        number_available: some(ready),
        number_unavailable: some(desired - ready),
        updated_number_scheduled: some(count(&|place| place.wants && any(place, &is_new))),
        observed_generation: set.metadata.generation,
        ..set.status.clone().unwrap_or_default()
    };
    let (namespace, name) = (set.metadata.namespace(), set.metadata.name());
    api.modify::<DaemonSet>(namespace, name, |set| set.status = Some(status));
}
