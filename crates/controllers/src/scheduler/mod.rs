//! Pods to nodes: which nodes can take a Pod, and which of them is best (`pkg/scheduler`).
//!
//! - [`mod@self`]: when a Pod is looked at, and what is done with what was found;
//! - [`cache`]: what runs where already, kept up with every change;
//! - [`wants`]: what a Pod asks for; [`taints`]: what keeps it off;
//! - [`filter`]: nodes that cannot take it, and why; [`spread`]: what other Pods have to do with it;
//! - [`score`]: which of the others is best; [`preempt`]: whom it may drive away.

mod cache;
mod filter;
mod preempt;
mod score;
mod spread;
pub mod taints;
mod wants;

use base::tree::BTreeMap;
use std::rc::Rc;

use base::{Duration, Instant, Rng};
use kube_api::core::{Node, Pod, PodCondition};
use kube_api::object::time;
use kube_api::{AnyObject, Api, Change, Kind, MetaExt};

use crate::events::{self, Severity};
use crate::pods;
use crate::queue::{Key, WorkQueue};

use cache::Cache;
use wants::Wants;

pub use taints::tolerates;

/// How long a Pod that found no node waits before it is looked at again, if nothing changes
/// (`DefaultPodMaxInUnschedulablePodsDuration`).
const RETRY: Duration = Duration::from_secs(300);

/// How long a Pod waits at least after it found no node; doubles with each time (`podInitialBackoffSeconds`,
/// `podMaxBackoffSeconds`).
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    latency: Duration,
    queue: WorkQueue<Key>,
    cache: Cache,
    /// Pods that found no node; they are looked at again when something changes.
    waiting: BTreeMap<Key, Waiting>,
    rng: Rng,
}

#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    attempts: u32,
    last: Instant,
    /// It is not in the queue for another try, except for the one in five minutes.
    is_parked: bool,
    /// Where it can go depends on where others are.
    minds_others: bool,
}

/// Something about a node has changed that decides which Pods it takes.
pub(crate) fn node_matters(change: &Change) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    match (Node::of(old), Node::of(new)) {
        (Some(old), Some(new)) => {
            let allocatable =
                |node: &Node| node.status.as_ref().and_then(|s| s.allocatable.clone());
            old.metadata.labels != new.metadata.labels
                || old.spec != new.spec
                || allocatable(old) != allocatable(new)
        }
        _ => true,
    }
}

impl Scheduler {
    pub(crate) fn new(latency: Duration, rng: Rng) -> Self {
        let (queue, cache) = (WorkQueue::default(), Cache::default());
        Scheduler { latency, queue, cache, waiting: BTreeMap::new(), rng }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let at = now + self.latency;
        match change.object() {
            AnyObject::Node(node) if node_matters(change) => {
                self.cache.set_node(node.metadata.name(), change.new.as_ref().and_then(Node::of));
                self.try_again(at, false);
            }
            AnyObject::Dynamic(object) if object.kind_name.starts_with("PersistentVolume") => {
                self.try_again(at, false);
            }
            AnyObject::Pod(pod) => self.observe_pod(change, pod, at),
            _ => {}
        }
    }

    fn observe_pod(&mut self, change: &Change, pod: &Rc<Pod>, at: Instant) {
        let key = (pod.metadata.namespace().to_string(), pod.metadata.name().to_string());
        let (has_left, has_come) = self.cache.set_pod(&key, change.new.as_ref().and_then(Pod::of));
        if has_left {
            self.try_again(at, false);
        } else if has_come {
            self.try_again(at, true);
        }
        if change.new.is_none() {
            self.waiting.remove(&key);
            self.cache.nominate(&key, None);
            return;
        }
        let before = change.old.as_ref().and_then(Pod::of);
        if needs_node(pod) && before.is_none_or(|old| is_gated(old) != is_gated(pod)) {
            self.queue.add(key, at);
        }
    }

    /// Those who found no node may find one now; with `others`, only who depends on where others are.
    fn try_again(&mut self, at: Instant, others: bool) {
        for (key, waiting) in &mut self.waiting {
            if waiting.is_parked && (waiting.minds_others || !others) {
                waiting.is_parked = false;
                let wait = BACKOFF.0.saturating_mul(1 << (waiting.attempts.max(1) - 1).min(8));
                self.queue.add(key.clone(), at.max(waiting.last + wait.min(BACKOFF.1)));
            }
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut due: Vec<(i32, Rc<Pod>)> = Vec::new();
        let mut worked = false;
        while let Some((namespace, name)) = self.queue.pop(now) {
            worked = true;
            let Some(pod) = api.store().get::<Pod>(&namespace, &name) else { continue };
            if needs_node(pod) {
                due.push((priority(pod), pod.clone()));
            }
        }
        // Whoever is more important goes first (`PrioritySort`).
        base::order::sort_by(&mut due, |a, b| b.0.cmp(&a.0));
        for (_, pod) in due {
            if is_gated(&pod) {
                gate(api, &pod, now);
            } else {
                self.schedule(api, &pod, now);
            }
        }
        worked
    }

    fn schedule(&mut self, api: &mut Api, pod: &Rc<Pod>, now: Instant) {
        let key = (pod.metadata.namespace().to_string(), pod.metadata.name().to_string());
        let wants = Wants::of(pod);
        let others = self.cache.others(api, pod);
        let found = match filter::volumes(api, pod) {
            Err(message) => Err(filter::Refusal::of_all(&self.cache, message)),
            Ok(volumes) => filter::nodes(&mut self.cache, pod, &wants, &others, &volumes),
        };
        match found {
            Ok(fitting) => {
                let best = score::best(&self.cache, pod, &wants, &others, &fitting, &self.rng);
                if let Some(bound) = bind(api, pod, &best, now) {
                    self.cache.set_pod(&key, Some(&bound));
                    if self.cache.has_watched(&bound) {
                        self.try_again(now + self.latency, true);
                    }
                }
                self.waiting.remove(&key);
                self.cache.nominate(&key, None);
            }
            Err(refusal) => {
                let waiting = self.waiting.entry(key.clone()).or_default();
                waiting.attempts += 1;
                waiting.last = now;
                waiting.is_parked = true;
                waiting.minds_others = others.is_any();
                self.queue.add(key.clone(), now + RETRY);
                let message = self.make_room(api, pod, &wants, &refusal, now);
                refuse(api, pod, &message, now);
            }
        }
    }

    /// Drives less important Pods away, if that helps. Gives the message for the Pod.
    fn make_room(
        &mut self,
        api: &mut Api,
        pod: &Rc<Pod>,
        wants: &Wants,
        refusal: &filter::Refusal,
        now: Instant,
    ) -> String {
        let key = (pod.metadata.namespace().to_string(), pod.metadata.name().to_string());
        match preempt::find(api, &self.cache, pod, wants, refusal) {
            preempt::Outcome::Found { node, victims } => {
                preempt::evict(api, pod, &node, &victims, now);
                api.modify::<Pod>(&key.0, &key.1, |pod| {
                    let status = pod.status.get_or_insert_default();
                    status.nominated_node_name = Some(node.clone());
                });
                self.cache.nominate(&key, Some((node, priority(pod), wants.clone())));
                refusal.message()
            }
            preempt::Outcome::None(why) => {
                // The plugin for devices has its say first (`DynamicResources.PostFilter`).
                format!("{} no new claims to deallocate, preemption: {why}", refusal.message())
            }
            preempt::Outcome::NoNodes => refusal.message(),
        }
    }
}

/// The more, the more important.
pub(crate) fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}

fn needs_node(pod: &Pod) -> bool {
    let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    pods::node_name(pod).is_none()
        && pods::is_active(pod)
        && scheduler.is_none_or(|name| name == "default-scheduler")
}

fn is_gated(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_some_and(|gates| !gates.is_empty())
}

fn bind(api: &mut Api, pod: &Rc<Pod>, node: &str, now: Instant) -> Option<Rc<Pod>> {
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    let bound = api.modify::<Pod>(namespace, name, |pod| {
        pod.spec.get_or_insert_default().node_name = Some(node.to_string());
        pod.status.get_or_insert_default().nominated_node_name = None;
        scheduled_condition(pod, true, None, now);
    })?;
    let message = format!("Successfully assigned {namespace}/{name} to {node}");
    tell(api, &bound, Severity::Normal, "Scheduled", &message, now);
    Some(bound)
}

fn refuse(api: &mut Api, pod: &Rc<Pod>, message: &str, now: Instant) {
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    let why = Some(("Unschedulable", message));
    api.modify::<Pod>(namespace, name, |pod| scheduled_condition(pod, false, why, now));
    tell(api, pod, Severity::Warning, "FailedScheduling", message, now);
}

/// A Pod that is held back on purpose is not looked at, and nothing is told of it.
fn gate(api: &mut Api, pod: &Rc<Pod>, now: Instant) {
    let message = "Scheduling is blocked due to non-empty scheduling gates";
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    let why = Some(("SchedulingGated", message));
    api.modify::<Pod>(namespace, name, |pod| scheduled_condition(pod, false, why, now));
}

fn tell(api: &mut Api, pod: &Pod, severity: Severity, reason: &str, message: &str, now: Instant) {
    let from = events::component("default-scheduler");
    events::record(api, now, events::reference(pod), severity, reason, message, from);
}

fn scheduled_condition(pod: &mut Pod, is_scheduled: bool, why: Option<(&str, &str)>, now: Instant) {
    let status = if is_scheduled { "True" } else { "False" };
    let generation = pod.metadata.generation;
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let before = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == status);
    let transition = before.and_then(|c| c.last_transition_time).unwrap_or_else(|| time(now));
    let condition = PodCondition {
        type_: "PodScheduled".to_string(),
        status: status.to_string(),
        reason: why.map(|(reason, _)| reason.to_string()),
        message: why.map(|(_, message)| message.to_string()),
        last_transition_time: Some(transition),
        observed_generation: generation,
        ..PodCondition::default()
    };
    conditions.retain(|c| c.type_ != "PodScheduled");
    conditions.push(condition);
}
