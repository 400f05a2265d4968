//! ReplicaSets to Pods (`pkg/controller/replicaset`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use base::{Duration, Instant};
use kube_api::apps::{ReplicaSet, ReplicaSetStatus};
use kube_api::core::Pod;
use kube_api::object::{controller_ref, instant};
use kube_api::{Api, Change, DeleteOptions, Kind, MetaExt};

use crate::events::{self, Severity};
use crate::pods;
use crate::queue::{Key, WorkQueue};

/// Pods created or deleted in one go (`BurstReplicas`).
const BURST: usize = 500;

/// The ReplicaSet controller.
#[derive(Debug)]
pub struct ReplicaSets {
    latency: Duration,
    queue: WorkQueue<Key>,
    /// Names of the Pods of each owner, by the owner's uid.
    owned: BTreeMap<String, BTreeSet<Key>>,
}

impl ReplicaSets {
    pub(crate) fn new(latency: Duration) -> Self {
        ReplicaSets { latency, queue: WorkQueue::default(), owned: BTreeMap::new() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let at = now + self.latency;
        let key = |meta: &dyn MetaExt| (meta.namespace().to_string(), meta.name().to_string());
        if let Some(set) = change.of::<ReplicaSet>() {
            self.queue.add(key(&set.metadata), at);
        }
        let Some(pod) = change.of::<Pod>() else { return };
        let Some(owner) = pod.metadata.controller().filter(|o| o.kind == "ReplicaSet") else {
            return;
        };
        let names = self.owned.entry(owner.uid.clone()).or_default();
        if change.new.is_some() {
            names.insert(key(&pod.metadata));
        } else {
            names.remove(&key(&pod.metadata));
            if names.is_empty() {
                self.owned.remove(&owner.uid);
            }
        }
        self.queue.add((pod.metadata.namespace().to_string(), owner.name.clone()), at);
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some((namespace, name)) = self.queue.pop(now) {
            worked = true;
            if let Some(set) = api.store().get::<ReplicaSet>(&namespace, &name).cloned() {
                self.sync(api, &set, now);
            }
        }
        worked
    }

    fn pods_of(&self, api: &Api, set: &ReplicaSet) -> Vec<Rc<Pod>> {
        let names = self.owned.get(set.metadata.uid());
        let get = |(namespace, name): &Key| api.store().get::<Pod>(namespace, name).cloned();
        names.into_iter().flatten().filter_map(get).collect()
    }

    fn sync(&mut self, api: &mut Api, set: &Rc<ReplicaSet>, now: Instant) {
        let active: Vec<Rc<Pod>> =
            self.pods_of(api, set).into_iter().filter(|pod| pods::is_active(pod)).collect();
        if !set.metadata.is_terminating() {
            let wanted = replicas(set);
            if active.len() < wanted {
                create_pods(api, set, (wanted - active.len()).min(BURST), now);
            } else if active.len() > wanted {
                delete_pods(api, set, &active, active.len() - wanted, now);
            }
        }
        self.write_status(api, set, &active, now);
    }

    /// The status reports what was there when it was looked at.
    fn write_status(&mut self, api: &mut Api, set: &ReplicaSet, active: &[Rc<Pod>], now: Instant) {
        let (namespace, name) = (set.metadata.namespace(), set.metadata.name());
        let min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        let min_ready = Duration::from_secs(u64::try_from(min_ready).unwrap_or(0));
        let ready: Vec<&Rc<Pod>> = active.iter().filter(|pod| pods::is_ready(pod)).collect();
        let since = |pod: &Pod| {
            let condition = pods::condition(pod, "Ready");
            condition.and_then(|c| c.last_transition_time.as_ref()).map_or(now, instant)
        };
        let available = ready.iter().filter(|pod| since(pod) + min_ready <= now).count();
        // What is ready but not yet available becomes so later.
        for pod in ready.iter().filter(|pod| since(pod) + min_ready > now) {
            let key = (namespace.to_string(), name.to_string());
            self.queue.add(key, since(pod) + min_ready);
        }
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let some = |n: usize| (n > 0).then(|| count(n));
        let labels = template_labels(set);
        let fully = active.iter().filter(|pod| {
            let has = |(key, value): (&String, &String)| pod.metadata.label(key) == Some(value);
            labels.iter().all(has)
        });
        let status = ReplicaSetStatus {
            replicas: count(active.len()),
            fully_labeled_replicas: some(fully.count()),
            ready_replicas: some(ready.len()),
            available_replicas: some(available),
            observed_generation: set.metadata.generation,
            ..set.status.clone().unwrap_or_default()
        };
        api.modify::<ReplicaSet>(namespace, name, |set| set.status = Some(status));
    }
}

/// Pods it wants.
pub(crate) fn replicas(set: &ReplicaSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

fn template_labels(set: &ReplicaSet) -> BTreeMap<String, String> {
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let metadata = template.and_then(|template| template.metadata.as_ref());
    metadata.and_then(|metadata| metadata.labels.clone()).unwrap_or_default()
}

fn create_pods(api: &mut Api, set: &Rc<ReplicaSet>, count: usize, now: Instant) {
    let Some(template) = set.spec.as_ref().and_then(|spec| spec.template.clone()) else { return };
    for _ in 0..count {
        let mut pod = Pod {
            metadata: template.metadata.clone().unwrap_or_default(),
            spec: template.spec.clone(),
            status: None,
        };
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
        let from = events::component("replicaset-controller");
        events::record(api, now, events::reference(&**set), severity, reason, &message, from);
    }
}

/// Which Pods go first: those that serve least (`controller.ActivePodsWithRanks`).
fn delete_pods(
    api: &mut Api,
    set: &Rc<ReplicaSet>,
    active: &[Rc<Pod>],
    count: usize,
    now: Instant,
) {
    let on_node = |node: Option<&str>| {
        active.iter().filter(|pod| node.is_some() && pods::node_name(pod) == node).count()
    };
    let mut by_rank: Vec<&Rc<Pod>> = active.iter().collect();
    base::order::sort_by_key(&mut by_rank, |pod| {
        let phase = match pods::phase(pod) {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        let created = pod.metadata.creation_timestamp.as_ref().map_or(Instant::ZERO, instant);
        (
            pods::node_name(pod).is_some(),
            phase,
            pods::is_ready(pod),
            // More of the same on the node: this one is missed less.
            std::cmp::Reverse(on_node(pods::node_name(pod))),
            std::cmp::Reverse(created),
            pod.metadata.name().to_string(),
        )
    });
    for pod in by_rank.into_iter().take(count.min(BURST)) {
        let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
        let deleted = api.delete(Pod::id(), namespace, name, DeleteOptions::default(), now);
        if deleted.is_ok() {
            let message = format!("Deleted pod: {name}");
            let from = events::component("replicaset-controller");
            let about = events::reference(&**set);
            events::record(api, now, about, Severity::Normal, "SuccessfulDelete", &message, from);
        }
    }
}
