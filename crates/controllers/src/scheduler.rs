//! Pods to nodes: which nodes can take a Pod, and which of them is best (`pkg/scheduler`).

use std::collections::BTreeMap;
use std::rc::Rc;

use base::{Duration, Instant, Rng};
use kube_api::core::{EventSource, Node, Pod, PodCondition, Taint, Toleration};
use kube_api::object::time;
use kube_api::quantity::Quantity;
use kube_api::{Api, Change, MetaExt};

use crate::events::{self, Severity};
use crate::queue::{Key, WorkQueue};
use crate::{affinity, pods};

/// How long a Pod that found no node waits before it is looked at again, if nothing changes.
const RETRY: Duration = Duration::from_secs(300);

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    latency: Duration,
    queue: WorkQueue<Key>,
    /// Pods that found no node; they are looked at again when something changes.
    waiting: Vec<Key>,
    rng: Rng,
}

impl Scheduler {
    pub(crate) fn new(latency: Duration, rng: Rng) -> Self {
        Scheduler { latency, queue: WorkQueue::default(), waiting: Vec::new(), rng }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let at = now + self.latency;
        if change.of::<Node>().is_some() {
            self.try_again(at);
        }
        let Some(pod) = change.of::<Pod>() else { return };
        let has_left = change.new.is_none() || pods::has_ended(pod);
        if has_left && pods::node_name(pod).is_some() {
            self.try_again(at);
        }
        let is_waiting = change.new.is_some() && needs_node(pod);
        if is_waiting && change.old.is_none() {
            let key = (pod.metadata.namespace().to_string(), pod.metadata.name().to_string());
            self.queue.add(key, at);
        }
    }

    fn try_again(&mut self, at: Instant) {
        for key in std::mem::take(&mut self.waiting) {
            self.queue.add(key, at);
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some((namespace, name)) = self.queue.pop(now) {
            worked = true;
            let Some(pod) = api.store().get::<Pod>(&namespace, &name).cloned() else { continue };
            if needs_node(&pod) {
                self.schedule(api, &pod, now);
            }
        }
        worked
    }

    fn schedule(&mut self, api: &mut Api, pod: &Rc<Pod>, now: Instant) {
        let nodes: Vec<Rc<Node>> = api.store().list::<Node>().cloned().collect();
        let load = Load::of(api);
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let mut fitting: Vec<&Rc<Node>> = Vec::new();
        for node in &nodes {
            match misfit(pod, node, &load) {
                None => fitting.push(node),
                Some(found) => {
                    for reason in found {
                        *reasons.entry(reason).or_default() += 1;
                    }
                }
            }
        }
        match self.best(pod, &fitting, &load) {
            Some(node) => bind(api, pod, node.metadata.name(), now),
            None => {
                let message = failure(&nodes, &reasons);
                refuse(api, pod, &message, now);
                let key = (pod.metadata.namespace().to_string(), pod.metadata.name().to_string());
                self.queue.add(key.clone(), now + RETRY);
                self.waiting.push(key);
            }
        }
    }

    /// Spreads the Pods of one owner, then balances what is requested; ties are broken by chance.
    fn best<'a>(&self, pod: &Pod, fitting: &[&'a Rc<Node>], load: &Load) -> Option<&'a Rc<Node>> {
        let owner = pod.metadata.controller().map(|owner| owner.uid.clone());
        let rank = |node: &Rc<Node>| {
            let name = node.metadata.name();
            let siblings = owner.as_ref().map_or(0, |owner| load.siblings(name, owner));
            let untolerated_soft = taints(node)
                .filter(|taint| taint.effect == "PreferNoSchedule" && !tolerates(pod, taint));
            (untolerated_soft.count(), siblings, load.permille(node), load.pods(name))
        };
        let best = fitting.iter().map(|node| rank(node)).min()?;
        let equal: Vec<&&Rc<Node>> = fitting.iter().filter(|node| rank(node) == best).collect();
        let purpose = format!("schedule/{}/{}", pod.metadata.namespace(), pod.metadata.name());
        let at = self.rng.fork(&purpose).below(u32::try_from(equal.len()).unwrap_or(1));
        equal.get(at as usize).map(|node| **node)
    }
}

fn needs_node(pod: &Pod) -> bool {
    let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    pods::node_name(pod).is_none()
        && pods::is_active(pod)
        && scheduler.is_none_or(|name| name == "default-scheduler")
}

/// What runs where already.
struct Load {
    nodes: BTreeMap<String, NodeLoad>,
}

#[derive(Default)]
struct NodeLoad {
    pods: usize,
    requested: BTreeMap<String, i128>,
    by_owner: BTreeMap<String, usize>,
    host_ports: Vec<(String, i32)>,
}

impl Load {
    fn of(api: &Api) -> Load {
        let mut nodes: BTreeMap<String, NodeLoad> = BTreeMap::new();
        for pod in api.store().list::<Pod>().filter(|pod| !pods::has_ended(pod)) {
            let Some(node) = pods::node_name(pod) else { continue };
            let load = nodes.entry(node.to_string()).or_default();
            load.pods += 1;
            for (resource, milli) in requests(pod) {
                *load.requested.entry(resource).or_default() += milli;
            }
            // What is going does not count when siblings are spread.
            if let Some(owner) = pod.metadata.controller()
                && !pod.metadata.is_terminating()
            {
                *load.by_owner.entry(owner.uid.clone()).or_default() += 1;
            }
            load.host_ports.extend(host_ports(pod));
        }
        Load { nodes }
    }

    fn pods(&self, node: &str) -> usize {
        self.nodes.get(node).map_or(0, |load| load.pods)
    }

    fn siblings(&self, node: &str, owner: &str) -> usize {
        self.nodes.get(node).and_then(|load| load.by_owner.get(owner)).copied().unwrap_or(0)
    }

    fn requested(&self, node: &str, resource: &str) -> i128 {
        self.nodes.get(node).and_then(|load| load.requested.get(resource)).copied().unwrap_or(0)
    }

    /// Requested CPU and memory, in thousandths of what the node has.
    fn permille(&self, node: &Node) -> i128 {
        let share = |resource: &str| {
            let has = allocatable(node, resource).unwrap_or(1).max(1);
            self.requested(node.metadata.name(), resource) * 1000 / has
        };
        share("cpu") + share("memory")
    }
}

/// What a Pod asks for: the sum of its containers, or the largest of its init containers.
fn requests(pod: &Pod) -> BTreeMap<String, i128> {
    let mut total: BTreeMap<String, i128> = BTreeMap::new();
    let Some(spec) = &pod.spec else { return total };
    let of = |container: &kube_api::core::Container| -> Vec<(String, i128)> {
        let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
        let pairs = requests.into_iter().flatten();
        pairs.filter_map(|(name, q)| Some((name.clone(), Quantity::parse(&q.0)?.milli()))).collect()
    };
    for (name, milli) in spec.containers.iter().flat_map(of) {
        *total.entry(name).or_default() += milli;
    }
    for (name, milli) in spec.init_containers.iter().flatten().flat_map(of) {
        let slot = total.entry(name).or_default();
        *slot = (*slot).max(milli);
    }
    total
}

fn host_ports(pod: &Pod) -> Vec<(String, i32)> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|port| *port != 0)?;
            Some((port.protocol.clone().unwrap_or_else(|| "TCP".to_string()), number))
        })
        .collect()
}

fn allocatable(node: &Node, resource: &str) -> Option<i128> {
    let quantity = node.status.as_ref()?.allocatable.as_ref()?.get(resource)?;
    Quantity::parse(&quantity.0).map(|quantity| quantity.milli())
}

fn taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten())
}

/// Whether a toleration of the Pod covers the taint (`ToleratesTaint`).
pub fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let covers = |toleration: &Toleration| {
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let key = toleration.key.as_deref().unwrap_or_default();
        let value = toleration.value.as_deref().unwrap_or_default();
        (effect.is_empty() || effect == taint.effect)
            && (key.is_empty() || key == taint.key)
            && match toleration.operator.as_deref() {
                Some("Exists") => true,
                _ => !key.is_empty() && value == taint.value.as_deref().unwrap_or_default(),
            }
    };
    tolerations.into_iter().any(covers)
}

/// The taint that keeps a Pod off a node, in the words of the scheduler's filters.
pub(crate) fn untolerated(pod: &Pod, node: &Node) -> Option<String> {
    let is_unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let unschedulable = Taint {
        key: "node.kubernetes.io/unschedulable".to_string(),
        effect: "NoSchedule".to_string(),
        ..Taint::default()
    };
    if is_unschedulable && !tolerates(pod, &unschedulable) {
        return Some("node(s) were unschedulable".to_string());
    }
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    let taint = taints(node).filter(hard).find(|taint| !tolerates(pod, taint))?;
    let value = taint.value.as_deref().unwrap_or_default();
    Some(format!("node(s) had untolerated taint {{{}: {value}}}", taint.key))
}

/// Why a node cannot take a Pod, in the words of the scheduler's filters; `None` when it can.
fn misfit(pod: &Pod, node: &Node, load: &Load) -> Option<Vec<String>> {
    let spec = pod.spec.as_ref()?;
    if let Some(why) = untolerated(pod, node) {
        return Some(vec![why]);
    }
    if !affinity::matches(spec, node) {
        return Some(vec!["node(s) didn't match Pod's node affinity/selector".to_string()]);
    }
    let name = node.metadata.name();
    let taken = load.nodes.get(name).map(|load| load.host_ports.as_slice()).unwrap_or_default();
    if host_ports(pod).iter().any(|port| taken.contains(port)) {
        return Some(vec![
            "node(s) didn't have free ports for the requested pod ports".to_string(),
        ]);
    }
    let mut short = Vec::new();
    let pods_max = allocatable(node, "pods").map_or(110, |milli| milli / 1000);
    if load.pods(name) as i128 >= pods_max {
        short.push("Too many pods".to_string());
    }
    for (resource, wanted) in requests(pod) {
        let has = allocatable(node, &resource).unwrap_or(0);
        if wanted > has - load.requested(name, &resource) && wanted > 0 {
            short.push(format!("Insufficient {resource}"));
        }
    }
    (!short.is_empty()).then_some(short)
}

/// `0/3 nodes are available: 1 node(s) had …, 2 Insufficient cpu. …`
fn failure(nodes: &[Rc<Node>], reasons: &BTreeMap<String, usize>) -> String {
    if nodes.is_empty() {
        return "no nodes available to schedule pods".to_string();
    }
    let mut parts: Vec<String> =
        reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    base::order::sort(&mut parts);
    let total = nodes.len();
    // Preemption helps where something could make room, and not where the node itself is wrong.
    let is_room = |reason: &str| reason.starts_with("Insufficient") || reason == "Too many pods";
    let hopeless: usize = reasons.iter().filter(|(r, _)| !is_room(r)).map(|(_, n)| n).sum();
    let mut preemption = Vec::new();
    if hopeless > 0 {
        preemption.push(format!("{hopeless} Preemption is not helpful for scheduling"));
    }
    if hopeless < total {
        let victims = total - hopeless;
        preemption.push(format!("{victims} No preemption victims found for incoming pod"));
    }
    let preemption: Vec<String> = {
        base::order::sort(&mut preemption);
        preemption
    };
    format!(
        "0/{total} nodes are available: {}. preemption: 0/{total} nodes are available: {}.",
        parts.join(", "),
        preemption.join(", ")
    )
}

fn bind(api: &mut Api, pod: &Rc<Pod>, node: &str, now: Instant) {
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    let bound = api.modify::<Pod>(namespace, name, |pod| {
        pod.spec.get_or_insert_default().node_name = Some(node.to_string());
        scheduled_condition(pod, true, None, now);
    });
    let Some(bound) = bound else { return };
    let message = format!("Successfully assigned {namespace}/{name} to {node}");
    let (about, from) = (events::reference(&*bound), source());
    events::record(api, now, about, Severity::Normal, "Scheduled", &message, from);
}

fn refuse(api: &mut Api, pod: &Rc<Pod>, message: &str, now: Instant) {
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    api.modify::<Pod>(namespace, name, |pod| scheduled_condition(pod, false, Some(message), now));
    let (about, from) = (events::reference(&**pod), source());
    events::record(api, now, about, Severity::Warning, "FailedScheduling", message, from);
}

fn source() -> EventSource {
    events::component("default-scheduler")
}

fn scheduled_condition(pod: &mut Pod, is_scheduled: bool, message: Option<&str>, now: Instant) {
    let status = if is_scheduled { "True" } else { "False" };
    let generation = pod.metadata.generation;
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let before = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == status);
    let transition = before.and_then(|c| c.last_transition_time).unwrap_or_else(|| time(now));
    let condition = PodCondition {
        type_: "PodScheduled".to_string(),
        status: status.to_string(),
        reason: (!is_scheduled).then(|| "Unschedulable".to_string()),
        message: message.map(str::to_string),
        last_transition_time: Some(transition),
        observed_generation: generation,
        ..PodCondition::default()
    };
    conditions.retain(|c| c.type_ != "PodScheduled");
    conditions.push(condition);
}
