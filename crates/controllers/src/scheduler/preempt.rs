//! Whom a Pod may drive away that found no node (`pkg/scheduler/framework/preemption`).

use std::rc::Rc;

use base::Instant;
use kube_api::core::Pod;
use kube_api::labels::Selector;
use kube_api::policy::PodDisruptionBudget;
use kube_api::{Api, DeleteOptions, Kind, MetaExt};

use super::cache::Cache;
use super::filter::{Refusal, lacks};
use super::priority;
use super::wants::Wants;
use crate::events::Severity;
use crate::pods;

/// What came of it.
pub(super) enum Outcome {
    Found {
        node: String,
        victims: Vec<Rc<Pod>>,
    },
    /// Nothing, and why.
    None(String),
    /// There are no nodes at all.
    NoNodes,
}

const UNHELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

pub(super) fn find(
    api: &Api,
    cache: &Cache,
    pod: &Pod,
    wants: &Wants,
    refusal: &Refusal,
) -> Outcome {
    if refusal.total == 0 {
        return Outcome::NoNodes;
    }
    if pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
        return Outcome::None("not eligible due to preemptionPolicy=Never.".to_string());
    }
    if waits_for_victims(api, pod) {
        let why = "not eligible due to a terminating pod on the nominated node.";
        return Outcome::None(why.to_string());
    }
    let mut best: Option<(Cost, String, Vec<Rc<Pod>>)> = None;
    for node in &refusal.resolvable {
        let Some(victims) = victims(api, cache, node, pod, wants) else { continue };
        let cost = cost(api, &victims);
        if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
            best = Some((cost, node.clone(), victims));
        }
    }
    if let Some((_, node, victims)) = best {
        return Outcome::Found { node, victims };
    }
    let hopeful = refusal.resolvable.len();
    let parts: Vec<String> = [(refusal.total - hopeful, UNHELPFUL), (hopeful, NO_VICTIMS)]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {why}"))
        .collect();
    let mut parts = parts;
    base::order::sort(&mut parts);
    Outcome::None(format!("0/{} nodes are available: {}.", refusal.total, parts.join(", ")))
}

/// Somebody who was driven away for it is still on the way out (`PodEligibleToPreemptOthers`).
fn waits_for_victims(api: &Api, pod: &Pod) -> bool {
    let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
    nominated.is_some_and(|node| {
        let mut there = api.store().pods_on(node);
        there.any(|other| other.metadata.is_terminating() && priority(other) < priority(pod))
    })
}

/// The fewest who have to go from a node: all who are less important, but for those for whom there is room
/// after all, the most important first (`SelectVictimsOnNode`).
fn victims(api: &Api, cache: &Cache, node: &str, pod: &Pod, wants: &Wants) -> Option<Vec<Rc<Pod>>> {
    let mut info = cache.with_nominated(node, pod).or_else(|| cache.nodes.get(node).cloned())?;
    let less = |other: &&Rc<Pod>| priority(other) < priority(pod) && !pods::has_ended(other);
    let mut lesser: Vec<Rc<Pod>> = api.store().pods_on(node).filter(less).cloned().collect();
    for other in &lesser {
        info.add(&Wants::of(other), -1);
    }
    if lesser.is_empty() || lacks(&info, wants).is_some() {
        return None;
    }
    base::order::sort_by_key(&mut lesser, |other| {
        let started = other.status.as_ref().and_then(|status| status.start_time);
        (std::cmp::Reverse(priority(other)), started)
    });
    let mut victims = Vec::new();
    for other in lesser {
        let theirs = Wants::of(&other);
        info.add(&theirs, 1);
        if lacks(&info, wants).is_some() {
            info.add(&theirs, -1);
            victims.push(other);
        }
    }
    // What keeps the Pod off is not what these Pods use.
    (!victims.is_empty()).then_some(victims)
}

/// Budgets overdrawn, the highest priority of those who go, the sum of their priorities, how many they are.
type Cost = (usize, i32, i64, usize);

fn cost(api: &Api, victims: &[Rc<Pod>]) -> Cost {
    let overdraws = |pod: &&Rc<Pod>| {
        api.store().list_in::<PodDisruptionBudget>(pod.metadata.namespace()).any(|budget| {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let labels = pod.metadata.labels.as_ref();
            selector.is_some_and(|selector| Selector::of(selector).matches(labels))
                && budget.status.as_ref().is_none_or(|status| status.disruptions_allowed <= 0)
        })
    };
    let highest = victims.iter().map(|pod| priority(pod)).max().unwrap_or(i32::MIN);
    let sum = victims.iter().map(|pod| i64::from(priority(pod)) + i64::from(i32::MAX) + 1).sum();
    (victims.iter().filter(overdraws).count(), highest, sum, victims.len())
}

/// Those who have to go are told so, and go.
pub(super) fn evict(api: &mut Api, pod: &Pod, node: &str, victims: &[Rc<Pod>], now: Instant) {
    for victim in victims.iter().filter(|victim| !victim.metadata.is_terminating()) {
        let message = "default-scheduler: preempting to accommodate a higher priority pod";
        pods::disrupt(api, victim, "PreemptionByScheduler", message, now);
        let (namespace, name) = (victim.metadata.namespace(), victim.metadata.name());
        let _ = api.delete(Pod::id(), namespace, name, DeleteOptions::default(), now);
        let message = format!("Preempted by pod {} on node {node}", pod.metadata.uid());
        super::tell(api, victim, Severity::Normal, "Preempted", &message, now);
    }
}
