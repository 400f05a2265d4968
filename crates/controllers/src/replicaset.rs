//! ReplicaSets and ReplicationControllers to Pods (`pkg/controller/replicaset`, which does both).

use base::tree::BTreeMap;
use std::cmp::Reverse;
use std::rc::Rc;

use base::{Duration, Instant};
use kube_api::apps::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use kube_api::core::{
    Pod, PodTemplateSpec, ReplicationController, ReplicationControllerCondition,
    ReplicationControllerStatus,
};
use kube_api::meta::LabelSelector;
use kube_api::object::{instant, time};
use kube_api::{Api, Change, MetaExt, Store};

use crate::control::{self, Claims, Owner, count, some};
use crate::pods;
use crate::queue::{Key, WorkQueue};

/// Pods created or deleted in one go (`BurstReplicas`).
const BURST: usize = 500;

/// The first wait after a failure, and the longest; it doubles (`DefaultControllerRateLimiter`).
const RETRY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1000));

/// The ReplicaSet controller, which is the ReplicationController's manager too.
#[derive(Debug)]
pub struct ReplicaSets {
    latency: Duration,
    sets: Line,
    controllers: Line,
}

/// What waits for one of the two kinds.
#[derive(Debug, Default)]
struct Line {
    queue: WorkQueue<Key>,
    claims: Claims,
    failures: BTreeMap<Key, u32>,
}

/// What the two kinds have in common.
struct View {
    owner: Owner,
    replicas: usize,
    min_ready: Option<i32>,
    selector: LabelSelector,
    template: PodTemplateSpec,
    is_ending: bool,
    generation: Option<i64>,
    status: ReplicaSetStatus,
    /// The Deployment above it.
    above: Option<String>,
}

fn selector_of_set(set: &ReplicaSet) -> Option<LabelSelector> {
    set.spec.as_ref().map(|spec| spec.selector.clone())
}

fn selector_of_controller(rc: &ReplicationController) -> Option<LabelSelector> {
    let labels = rc.spec.as_ref()?.selector.clone();
    Some(LabelSelector { match_labels: labels, match_expressions: None })
}

impl View {
    fn of_set(set: &ReplicaSet) -> View {
        let spec = set.spec.clone().unwrap_or_default();
        View {
            owner: Owner::of(set, "replicaset-controller"),
            replicas: replicas(set),
            min_ready: spec.min_ready_seconds,
            selector: spec.selector,
            template: spec.template.unwrap_or_default(),
            is_ending: set.metadata.is_terminating(),
            generation: set.metadata.generation,
            status: set.status.clone().unwrap_or_default(),
            above: set.metadata.controller().map(|owner| owner.uid.clone()),
        }
    }

    fn of_controller(rc: &ReplicationController) -> View {
        let spec = rc.spec.clone().unwrap_or_default();
        let status = rc.status.clone().unwrap_or_default();
        let condition = |c: ReplicationControllerCondition| ReplicaSetCondition {
            last_transition_time: c.last_transition_time,
            message: c.message,
            reason: c.reason,
            status: c.status,
            type_: c.type_,
        };
        View {
            owner: Owner::of(rc, "replication-controller"),
            replicas: usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0),
            min_ready: spec.min_ready_seconds,
            selector: selector_of_controller(rc).unwrap_or_default(),
            template: spec.template.unwrap_or_default(),
            is_ending: rc.metadata.is_terminating(),
            generation: rc.metadata.generation,
            status: ReplicaSetStatus {
                conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
                ..ReplicaSetStatus::default()
            },
            above: None,
        }
    }
}

impl ReplicaSets {
    pub(crate) fn new(latency: Duration) -> Self {
        ReplicaSets { latency, sets: Line::default(), controllers: Line::default() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.sets.queue.next_at().into_iter().chain(self.controllers.queue.next_at()).min()
    }

    pub(crate) fn observe(&mut self, change: &Change, store: &Store, now: Instant) {
        let at = now + self.latency;
        for key in self.sets.claims.observe(change, store, selector_of_set) {
            self.sets.queue.add(key, at);
        }
        for key in self.controllers.claims.observe(change, store, selector_of_controller) {
            self.controllers.queue.add(key, at);
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(key) = self.sets.queue.pop(now) {
            worked = true;
            if let Some(set) = api.store().get::<ReplicaSet>(&key.0, &key.1).cloned() {
                let status = self.sets.sync(api, &key, &View::of_set(&set), now);
                api.modify::<ReplicaSet>(&key.0, &key.1, |set| set.status = Some(status));
            }
        }
        while let Some(key) = self.controllers.queue.pop(now) {
            worked = true;
            if let Some(rc) = api.store().get::<ReplicationController>(&key.0, &key.1).cloned() {
                let view = View::of_controller(&rc);
                let status = controller_status(self.controllers.sync(api, &key, &view, now));
                api.modify::<ReplicationController>(&key.0, &key.1, |rc| rc.status = Some(status));
            }
        }
        worked
    }
}

fn controller_status(status: ReplicaSetStatus) -> ReplicationControllerStatus {
    let condition = |c: ReplicaSetCondition| ReplicationControllerCondition {
        last_transition_time: c.last_transition_time,
        message: c.message,
        reason: c.reason,
        status: c.status,
        type_: c.type_,
    };
    ReplicationControllerStatus {
        available_replicas: status.available_replicas,
        conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
        fully_labeled_replicas: status.fully_labeled_replicas,
        observed_generation: status.observed_generation,
        ready_replicas: status.ready_replicas,
        replicas: status.replicas,
    }
}

impl Line {
    fn sync(&mut self, api: &mut Api, key: &Key, view: &View, now: Instant) -> ReplicaSetStatus {
        if self.claims.take(key) {
            view.owner.claim(api, &view.selector, view.is_ending);
        }
        let all: Vec<Rc<Pod>> = api.store().owned::<Pod>(&view.owner.uid).cloned().collect();
        let is_ending = |pod: &&Rc<Pod>| pod.metadata.is_terminating() && !pods::has_ended(pod);
        let ending = all.iter().filter(is_ending).count();
        let active: Vec<Rc<Pod>> = all.into_iter().filter(|pod| pods::is_active(pod)).collect();
        let mut failure = None;
        if !view.is_ending {
            if active.len() < view.replicas {
                let missing = (view.replicas - active.len()).min(BURST);
                failure = create_pods(api, view, missing, now);
                if failure.is_none() && active.len() + missing < view.replicas {
                    self.queue.add(key.clone(), now + Duration::from_millis(1));
                }
            } else if active.len() > view.replicas {
                let surplus = (active.len() - view.replicas).min(BURST);
                delete_pods(api, view, &active, surplus, now);
            }
        }
        self.retry(key, failure.is_some(), now);
        self.status(view, &active, ending, failure, now)
    }

    /// What has failed is tried again, later each time.
    fn retry(&mut self, key: &Key, has_failed: bool, now: Instant) {
        if !has_failed {
            self.failures.remove(key);
            return;
        }
        let failures = self.failures.entry(key.clone()).or_default();
        let wait = RETRY.0.saturating_mul(1 << (*failures).min(20)).min(RETRY.1);
        *failures += 1;
        self.queue.add(key.clone(), now + wait);
    }

    /// The status reports what was there when it was looked at.
    fn status(
        &mut self,
        view: &View,
        active: &[Rc<Pod>],
        ending: usize,
        failure: Option<String>,
        now: Instant,
    ) -> ReplicaSetStatus {
        let (mut ready, mut available, mut labeled) = (0, 0, 0);
        let labels = view.template.metadata.as_ref().and_then(|m| m.labels.as_ref());
        for pod in active {
            let has = |(key, value): (&String, &String)| pod.metadata.label(key) == Some(value);
            labeled += i32::from(labels.into_iter().flatten().all(has));
            let Some(from) = control::available_from(pod, view.min_ready) else { continue };
            ready += 1;
            if from <= now {
                available += 1;
            } else {
                // What is ready but not yet available becomes so later.
                self.queue.add(view.owner.key(), from);
            }
        }
        let mut conditions = view.status.conditions.clone().unwrap_or_default();
        let known = conditions.iter().position(|c| c.type_ == "ReplicaFailure");
        match (known, failure) {
            (Some(at), None) => drop(conditions.remove(at)),
            (None, Some(message)) => conditions.push(ReplicaSetCondition {
                type_: "ReplicaFailure".to_string(),
                status: "True".to_string(),
                reason: Some("FailedCreate".to_string()),
                message: Some(message),
                last_transition_time: Some(time(now)),
            }),
            _ => {}
        }
        ReplicaSetStatus {
            replicas: count(active.len()),
            fully_labeled_replicas: some(labeled),
            ready_replicas: some(ready),
            available_replicas: some(available),
            terminating_replicas: Some(count(ending)),
            observed_generation: view.generation,
            conditions: (!conditions.is_empty()).then_some(conditions),
        }
    }
}

/// Pods it wants.
pub(crate) fn replicas(set: &ReplicaSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

/// Creates one Pod, then two, then four, … so that what is refused is refused once and not five hundred
/// times (`slowStartBatch`). Gives what went wrong.
fn create_pods(api: &mut Api, view: &View, wanted: usize, now: Instant) -> Option<String> {
    let (mut left, mut batch) = (wanted, 1);
    while left > 0 {
        let mut failure = None;
        for _ in 0..batch.min(left) {
            let pod = view.owner.pod(&view.template);
            if let Err(status) = view.owner.create_pod(api, pod, now) {
                failure = Some(status.message);
            }
        }
        if failure.is_some() {
            return failure;
        }
        left -= batch.min(left);
        batch *= 2;
    }
    None
}

/// How many Pods of the same Deployment each node has (`getIndirectlyRelatedPods`).
fn related_by_node(api: &Api, view: &View) -> BTreeMap<String, usize> {
    let store = api.store();
    let mut by_node = BTreeMap::new();
    let mut add = |uid: &str| {
        for pod in store.owned::<Pod>(uid).filter(|pod| pods::is_active(pod)) {
            if let Some(node) = pods::node_name(pod) {
                *by_node.entry(node.to_string()).or_default() += 1;
            }
        }
    };
    match &view.above {
        Some(above) => store.owned::<ReplicaSet>(above).for_each(|set| add(set.metadata.uid())),
        None => add(&view.owner.uid),
    }
    by_node
}

/// Whole doublings of a time: what differs by less is as old (`LogarithmicScaleDown`).
fn magnitude(time: Duration) -> u32 {
    u64::BITS - time.as_secs().leading_zeros()
}

/// Which Pods go first: those that serve least (`ActivePodsWithRanks`).
fn delete_pods(api: &mut Api, view: &View, active: &[Rc<Pod>], surplus: usize, now: Instant) {
    let by_node = related_by_node(api, view);
    let rank = |pod: &Pod| {
        let phase = match pods::phase(pod) {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        let cost = pod.metadata.annotation("controller.kubernetes.io/pod-deletion-cost");
        let cost: i32 = cost.and_then(|text| text.parse().ok()).unwrap_or(0);
        // More of the same on the node: this one is missed less.
        let related = pods::node_name(pod).and_then(|node| by_node.get(node)).copied();
        let ready = control::ready_since(pod);
        let created = pod.metadata.creation_timestamp.as_ref().map_or(Instant::ZERO, instant);
        let is_bound = pods::node_name(pod).is_some();
        let placed = (is_bound, phase, ready.is_some(), cost, Reverse(related.unwrap_or(0)));
        let ages = (
            ready.map(|since| magnitude(now.since(since))),
            Reverse(pods::summary(pod).restarts),
            magnitude(now.since(created)),
        );
        (placed, ages, pod.metadata.uid().to_string())
    };
    let mut ranked: Vec<_> = active.iter().map(|pod| (rank(pod), pod)).collect();
    base::order::sort_by(&mut ranked, |a, b| a.0.cmp(&b.0));
    for (_, pod) in ranked.into_iter().take(surplus) {
        view.owner.delete_pod(api, pod, now);
    }
}
