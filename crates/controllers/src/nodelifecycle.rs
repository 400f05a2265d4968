//! Nodes that are not heard of any more, and Pods that may not stay where they are
//! (`pkg/controller/nodelifecycle`, `pkg/controller/tainteviction`).
//!
//! Heartbeats are not objects here: as long as a node's come, nobody writes them down. Whoever runs the nodes
//! says when they stop ([`NodeLifecycle::set_silent`]) and when they come again.

use base::tree::BTreeMap;
use std::rc::Rc;

use base::{Duration, Instant, Items as _};
use kube_api::core::{
    EventSource, Node, NodeCondition, ObjectReference, Pod, PodCondition, Taint, Toleration,
};
use kube_api::object::time;
use kube_api::{Api, Change, DeleteOptions, Kind, MetaExt};

use crate::events::{self, Severity};
use crate::queue::WorkQueue;

/// How often nodes are looked at (`--node-monitor-period`).
const MONITOR: Duration = Duration::from_secs(5);
/// How long a node may be silent (`--node-monitor-grace-period`).
const GRACE: Duration = Duration::from_secs(50);

const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// It is new.
    Register(String),
    /// It has been silent for too long.
    Silent(String),
    /// Its taints, and the Pods that do not tolerate them.
    Node(String),
    /// A Pod's time on a tainted node is over.
    Evict { namespace: String, name: String, uid: String },
}

/// The node lifecycle and the taint eviction controller.
#[derive(Debug)]
pub struct NodeLifecycle {
    latency: Duration,
    queue: WorkQueue<Task>,
    /// Nodes that are silent, and since when.
    silent: BTreeMap<String, Instant>,
    /// Pods that are to go, and when.
    leaving: BTreeMap<String, Instant>,
}

impl NodeLifecycle {
    pub(crate) fn new(latency: Duration) -> Self {
        NodeLifecycle {
            latency,
            queue: WorkQueue::default(),
            silent: BTreeMap::new(),
            leaving: BTreeMap::new(),
        }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    /// A node's last heartbeat was then, or its heartbeats come again.
    pub fn set_silent(&mut self, node: &str, since: Option<Instant>) {
        let Some(since) = since else {
            self.silent.remove(node);
            return;
        };
        self.silent.insert(node.to_string(), since);
        let turn = MONITOR.as_secs();
        let late = (since + GRACE + Duration::from_micros(999_999)).as_secs();
        let at = Instant::from_secs(late.div_ceil(turn) * turn);
        self.queue.add(Task::Silent(node.to_string()), at);
    }

    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let at = now + self.latency;
        if let Some(node) = change.of::<Node>() {
            let was = change.old.as_ref().and_then(Node::of);
            let is_same = was.is_some_and(|was| {
                was.spec == node.spec && ready(was) == ready(node) && change.new.is_some()
            });
            if was.is_none() && change.new.is_some() {
                self.queue.add(Task::Register(node.metadata.name().to_string()), at);
            }
            if !is_same {
                self.queue.add(Task::Node(node.metadata.name().to_string()), at);
            }
        }
        if let Some(pod) = change.of::<Pod>() {
            if change.new.is_none() {
                self.leaving.remove(pod.metadata.uid());
                return;
            }
            let node = crate::pods::node_name(pod);
            let was = change.old.as_ref().and_then(Pod::of);
            let is_new = was.is_none_or(|was| crate::pods::node_name(was) != node);
            if let (true, Some(node)) = (is_new, node) {
                self.queue.add(Task::Node(node.to_string()), at);
            }
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(task) = self.queue.pop(now) {
            worked = true;
            match task {
                Task::Register(name) => {
                    if let Some(node) = api.store().get::<Node>("", &name).cloned() {
                        register(api, &node, now);
                    }
                }
                Task::Silent(node) => {
                    // It may have come back.
                    if self.silent.get(&node).is_some_and(|since| *since + GRACE <= now) {
                        lose(api, &node, now);
                    }
                }
                Task::Node(name) => {
                    if let Some(node) = api.store().get::<Node>("", &name).cloned() {
                        taint(api, &node, now);
                        self.look_at_pods(api, &name, now);
                    }
                }
                Task::Evict { namespace, name, uid } => {
                    let is_due = self.leaving.get(&uid).is_some_and(|at| *at <= now);
                    if is_due {
                        self.leaving.remove(&uid);
                        evict(api, &namespace, &name, &uid, now);
                    }
                }
            }
        }
        worked
    }

    /// Pods that do not tolerate a node's taints have to leave, at once or when their time is over.
    fn look_at_pods(&mut self, api: &mut Api, name: &str, now: Instant) {
        let Some(node) = api.store().get::<Node>("", name).cloned() else { return };
        let taints = no_execute(&node);
        if taints.is_empty() && self.leaving.is_empty() {
            return;
        }
        let pods: Vec<Rc<Pod>> = api.store().pods_on(name).cloned().collect();
        for pod in pods {
            let uid = pod.metadata.uid().to_string();
            let stays = if pod.metadata.is_terminating() { None } else { time_left(&pod, &taints) };
            match (stays, self.leaving.get(&uid)) {
                (None, None) => {}
                (None, Some(_)) => {
                    self.leaving.remove(&uid);
                    if !pod.metadata.is_terminating() {
                        tell(api, &pod, "Cancelling deletion of Pod", now);
                    }
                }
                // What was decided stays decided.
                (Some(_), Some(_)) => {}
                (Some(left), None) => {
                    self.leaving.insert(uid.clone(), now + left);
                    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
                    let (namespace, name) = (namespace.to_string(), name.to_string());
                    self.queue.add(Task::Evict { namespace, name, uid }, now + left);
                }
            }
        }
    }
}

/// What a node says about itself.
fn ready(node: &Node) -> Option<&str> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.items());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    ready.next().map(|condition| condition.status.as_str())
}

fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.items());
    taints.filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

/// How long a Pod may stay; `None`: for ever (`getMinTolerationTime`).
fn time_left(pod: &Pod, taints: &[Taint]) -> Option<Duration> {
    let mut least: Option<Duration> = None;
    for taint in taints {
        let all = pod.spec.iter().flat_map(|spec| spec.tolerations.items());
        let mut fitting = all.filter(|toleration| tolerates(toleration, taint)).peekable();
        if fitting.peek().is_none() {
            return Some(Duration::ZERO);
        }
        for toleration in fitting {
            if let Some(secs) = toleration.toleration_seconds {
                let left = Duration::from_secs(u64::try_from(secs).unwrap_or(0));
                least = Some(least.map_or(left, |least| least.min(left)));
            }
        }
    }
    least
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let is_fine = |wanted: &Option<String>, is: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == is)
    };
    if !is_fine(&toleration.effect, &taint.effect) || !is_fine(&toleration.key, &taint.key) {
        return false;
    }
    let value = |text: &Option<String>| text.clone().unwrap_or_default();
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        _ => !value(&toleration.key).is_empty() && value(&toleration.value) == value(&taint.value),
    }
}

/// Says that a node is known from now on.
fn register(api: &mut Api, node: &Rc<Node>, now: Instant) {
    let name = node.metadata.name();
    let message = format!("Node {name} event: Registered Node {name} in Controller");
    let (about, from) = (events::reference(&**node), events::component("node-controller"));
    events::record(api, now, about, Severity::Normal, "RegisteredNode", &message, from);
}

/// A node has been silent for too long: nothing is known about it any more.
fn lose(api: &mut Api, name: &str, now: Instant) {
    let Some(node) = api.store().get::<Node>("", name).cloned() else { return };
    if ready(&node) == Some("Unknown") {
        return;
    }
    api.modify::<Node>("", name, |node| {
        let conditions = node.status.iter_mut().flat_map(|status| status.conditions.iter_mut());
        conditions.flatten().for_each(|condition| forget(condition, now));
    });
    let message = format!("Node {name} status is now: NodeNotReady");
    let from = events::component("node-controller");
    events::record(
        api,
        now,
        events::reference(&*node),
        Severity::Normal,
        "NodeNotReady",
        &message,
        from,
    );
    let pods: Vec<Rc<Pod>> = api.store().pods_on(name).cloned().collect();
    for pod in pods {
        if !crate::pods::is_ready(&pod) {
            continue;
        }
        let (namespace, pod_name) = (pod.metadata.namespace(), pod.metadata.name());
        api.modify::<Pod>(namespace, pod_name, |pod| {
            let conditions = pod.status.iter_mut().flat_map(|status| status.conditions.iter_mut());
            for condition in conditions.flatten().filter(|c| c.type_ == "Ready") {
                condition.status = "False".to_string();
                condition.last_transition_time = Some(time(now));
            }
        });
        let from = events::component("node-controller");
        let about = events::reference(&*pod);
        events::record(
            api,
            now,
            about,
            Severity::Warning,
            "NodeNotReady",
            "Node is not ready",
            from,
        );
    }
}

fn forget(condition: &mut NodeCondition, now: Instant) {
    if condition.status != "Unknown" {
        condition.status = "Unknown".to_string();
        condition.reason = Some("NodeStatusUnknown".to_string());
        condition.message = Some("Kubelet stopped posting node status.".to_string());
        condition.last_transition_time = Some(time(now));
    }
}

/// The taints that a node's state asks for.
fn taint(api: &mut Api, node: &Node, now: Instant) {
    let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let (unreachable, not_ready) = match ready(node) {
        Some("Unknown") => (true, false),
        Some("False") => (false, true),
        _ => (false, false),
    };
    let wanted = [
        (UNREACHABLE, "NoSchedule", unreachable),
        (UNREACHABLE, "NoExecute", unreachable),
        (NOT_READY, "NoSchedule", not_ready),
        (NOT_READY, "NoExecute", not_ready),
        (UNSCHEDULABLE, "NoSchedule", is_cordoned),
    ];
    api.modify::<Node>("", node.metadata.name(), |node| {
        let spec = node.spec.get_or_insert_default();
        let mut taints = spec.taints.take().unwrap_or_default();
        for (key, effect, is_wanted) in wanted {
            let is_it = |taint: &Taint| taint.key == key && taint.effect == effect;
            let has = taints.iter().any(is_it);
            if has && !is_wanted {
                taints.retain(|taint| !is_it(taint));
            }
            if is_wanted && !has {
                let mut new = Taint { key: key.into(), effect: effect.into(), ..Taint::default() };
                let stamp = kube_api::types::to_value(&time(now));
                new.rest.insert("timeAdded".to_string(), stamp);
                taints.push(new);
            }
        }
        spec.taints = (!taints.is_empty()).then_some(taints);
    });
}

fn tell(api: &mut Api, pod: &Pod, what: &str, now: Instant) {
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    let message = format!("{what} {namespace}/{name}");
    let from: EventSource = events::component("taint-eviction-controller");
    let about: ObjectReference = events::reference(pod);
    events::record(api, now, about, Severity::Normal, "TaintManagerEviction", &message, from);
}

fn evict(api: &mut Api, namespace: &str, name: &str, uid: &str, now: Instant) {
    let pod = api.store().get::<Pod>(namespace, name).cloned();
    let Some(pod) = pod.filter(|pod| pod.metadata.uid() == uid) else { return };
    tell(api, &pod, "Marking for deletion Pod", now);
    api.modify::<Pod>(namespace, name, |pod| {
        let status = pod.status.get_or_insert_default();
        let generation = pod.metadata.generation;
        status.conditions.get_or_insert_default().push(PodCondition {
            type_: "DisruptionTarget".to_string(),
            status: "True".to_string(),
            reason: Some("DeletionByTaintManager".to_string()),
            message: Some("Taint manager: deleting due to NoExecute taint".to_string()),
            last_transition_time: Some(time(now)),
            observed_generation: generation,
            ..PodCondition::default()
        });
    });
    // One that is gone already needs no eviction.
    let _ = api.delete(Pod::id(), namespace, name, DeleteOptions::default(), now);
}
