//! PodDisruptionBudgets, and evictions that respect them (`pkg/controller/disruption`,
//! `pkg/registry/core/pod/storage/eviction.go`).

use std::rc::Rc;

use base::{Duration, Instant};
use kube_api::apps::{Deployment, ReplicaSet, StatefulSet};
use kube_api::core::{Pod, ReplicationController};
use kube_api::labels::{Labels, Selector};
use kube_api::object::time;
use kube_api::policy::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use kube_api::{Api, Change, DeleteOptions, IntOrString, Kind, MetaExt, Status, Store, Time};
use serde_json::json;

use crate::control::{Owner, count};
use crate::deployment::scaled;
use crate::events::Severity;
use crate::pods;
use crate::queue::{Key, WorkQueue};

/// How long an evicted Pod is waited for to disappear (`DeletionTimeout`).
const DELETION: Duration = Duration::from_secs(120);

/// The disruption controller.
#[derive(Debug)]
pub struct Disruptions {
    latency: Duration,
    queue: WorkQueue<Key>,
}

impl Disruptions {
    pub(crate) fn new(latency: Duration) -> Self {
        Disruptions { latency, queue: WorkQueue::default() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, store: &Store, now: Instant) {
        let at = now + self.latency;
        let mut add = |budget: &PodDisruptionBudget| {
            let meta = &budget.metadata;
            self.queue.add((meta.namespace().to_string(), meta.name().to_string()), at);
        };
        if let Some(budget) = change.of::<PodDisruptionBudget>() {
            add(budget);
        }
        if let Some(pod) = change.of::<Pod>() {
            budgets_of(store, pod).for_each(|budget| add(budget));
            if let Some(old) = change.old.as_ref().and_then(Pod::of) {
                budgets_of(store, old).for_each(|budget| add(budget));
            }
        }
        let is_scaled = change.of::<ReplicaSet>().is_some() || change.of::<Deployment>().is_some();
        if is_scaled || change.of::<StatefulSet>().is_some() {
            store.list_in(change.object().namespace()).for_each(|budget| add(budget));
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(key) = self.queue.pop(now) {
            worked = true;
            let found = api.store().get::<PodDisruptionBudget>(&key.0, &key.1).cloned();
            if let Some(again) = found.and_then(|budget| sync(api, &budget, now)) {
                self.queue.add(key, again);
            }
        }
        worked
    }
}

/// What a budget selects: without a selector nothing, with an empty one everything.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| Selector::of(selector).matches(pod.metadata.labels.as_ref()))
}

fn budgets_of<'a>(
    store: &'a Store,
    pod: &'a Pod,
) -> impl Iterator<Item = &'a Rc<PodDisruptionBudget>> {
    let all = store.list_in::<PodDisruptionBudget>(pod.metadata.namespace());
    all.filter(|budget| selects(budget, pod))
}

/// (`trySync`)
fn sync(api: &mut Api, budget: &Rc<PodDisruptionBudget>, now: Instant) -> Option<Instant> {
    let spec = budget.spec.clone().unwrap_or_default();
    let owner = Owner::of(&**budget, "controllermanager");
    let none = Labels::new();
    let labels = spec.selector.as_ref().and_then(|s| s.match_labels.as_ref()).unwrap_or(&none);
    let pods: Vec<Rc<Pod>> = api
        .store()
        .pods_with(&owner.namespace, labels)
        .into_iter()
        .filter(|pod| selects(budget, pod))
        .cloned()
        .collect();
    if pods.is_empty() {
        owner.tell(api, Severity::Normal, "NoPods", "No matching pods found", now);
    }
    let before = budget.status.clone().unwrap_or_default();
    let disrupted = still_disrupted(&before, &pods, now);
    let again = disrupted.values().map(|at| kube_api::object::instant(at) + DELETION).min();
    let (expected, desired) = match expected(api, &spec, &pods) {
        Ok(counts) => counts,
        Err(error) => {
            let message = format!("Failed to calculate the number of expected pods: {error}");
            let reason = "CalculateExpectedPodCountFailed";
            owner.tell(api, Severity::Warning, reason, &message, now);
            let status = PodDisruptionBudgetStatus {
                disruptions_allowed: 0,
                conditions: condition(budget, ("False", "SyncFailed", &error), now),
                observed_generation: budget.metadata.generation,
                ..before
            };
            write(api, &owner, status);
            return None;
        }
    };
    let is_healthy = |pod: &&Rc<Pod>| {
        !pod.metadata.is_terminating()
            && !disrupted.contains_key(pod.metadata.name())
            && pods::is_ready(pod)
    };
    let healthy = count(pods.iter().filter(is_healthy).count());
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let state = if allowed > 0 {
        ("True", "SufficientPods", "")
    } else {
        ("False", "InsufficientPods", "")
    };
    let status = PodDisruptionBudgetStatus {
        current_healthy: healthy,
        desired_healthy: desired,
        expected_pods: expected,
        disruptions_allowed: allowed,
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        conditions: condition(budget, state, now),
        observed_generation: budget.metadata.generation,
    };
    write(api, &owner, status);
    again
}

fn write(api: &mut Api, owner: &Owner, status: PodDisruptionBudgetStatus) {
    api.modify::<PodDisruptionBudget>(&owner.namespace, &owner.name, |budget| {
        budget.status = Some(status);
    });
}

fn condition(
    budget: &PodDisruptionBudget,
    (state, reason, message): (&str, &str, &str),
    now: Instant,
) -> Option<Vec<serde_json::Value>> {
    let known = budget.status.as_ref().and_then(|status| status.conditions.as_ref()?.first());
    let text = |field: &str| known.and_then(|c| c.get(field)?.as_str());
    let since = text("lastTransitionTime").filter(|_| text("status") == Some(state));
    let since = since.map_or_else(|| time(now).to_string(), str::to_string);
    Some(vec![json!({"type": "DisruptionAllowed", "status": state, "reason": reason,
        "message": message, "lastTransitionTime": since,
        "observedGeneration": budget.metadata.generation})])
}

/// Pods that were evicted and are not seen to go yet.
fn still_disrupted(
    before: &PodDisruptionBudgetStatus,
    pods: &[Rc<Pod>],
    now: Instant,
) -> base::tree::BTreeMap<String, Time> {
    let mut left = base::tree::BTreeMap::new();
    for (name, at) in before.disrupted_pods.iter().flatten() {
        let is_there =
            pods.iter().any(|pod| pod.metadata.name() == name && !pod.metadata.is_terminating());
        if is_there && kube_api::object::instant(at) + DELETION > now {
            left.insert(name.clone(), *at);
        }
    }
    left
}

/// How many Pods there should be, and how many of them must stay (`getExpectedPodCount`).
fn expected(
    api: &Api,
    spec: &PodDisruptionBudgetSpec,
    pods: &[Rc<Pod>],
) -> Result<(i32, i32), String> {
    let (limit, is_max) = match (&spec.max_unavailable, &spec.min_available) {
        (Some(max), _) => (max.clone(), true),
        (None, Some(min)) => (min.clone(), false),
        (None, None) => (IntOrString::Int(1), false),
    };
    if let (IntOrString::Int(number), false) = (&limit, is_max) {
        return Ok((count(pods.len()), *number));
    }
    let total = expected_scale(api, pods)?;
    let part = scaled(Some(&limit), total, true);
    Ok((total, if is_max { (total - part).max(0) } else { part }))
}

/// What the controllers of these Pods want, each counted once (`getExpectedScale`).
fn expected_scale(api: &Api, pods: &[Rc<Pod>]) -> Result<i32, String> {
    let mut seen: Vec<String> = Vec::new();
    let mut total = 0;
    for pod in pods {
        let Some(owner) = pod.metadata.controller() else {
            return Err(format!("found no controllers for pod {:?}", pod.metadata.name()));
        };
        let (namespace, store) = (pod.metadata.namespace(), api.store());
        let (uid, wanted) = match owner.kind.as_str() {
            "ReplicaSet" => {
                let set = store.get::<ReplicaSet>(namespace, &owner.name);
                let above = set.and_then(|set| set.metadata.controller());
                let above = above
                    .filter(|above| above.kind == "Deployment")
                    .and_then(|above| store.get::<Deployment>(namespace, &above.name));
                match above {
                    Some(deployment) => (
                        deployment.metadata.uid().to_string(),
                        deployment.spec.as_ref().and_then(|spec| spec.replicas),
                    ),
                    None => (
                        owner.uid.clone(),
                        set.and_then(|set| set.spec.as_ref()).and_then(|spec| spec.replicas),
                    ),
                }
            }
            "StatefulSet" => {
                let set = store.get::<StatefulSet>(namespace, &owner.name);
                let spec = set.and_then(|set| set.spec.as_ref());
                (owner.uid.clone(), spec.and_then(|spec| spec.replicas))
            }
            "ReplicationController" => {
                let rc = store.get::<ReplicationController>(namespace, &owner.name);
                let spec = rc.and_then(|rc| rc.spec.as_ref());
                (owner.uid.clone(), spec.and_then(|spec| spec.replicas))
            }
            kind => {
                let plural = format!("{}s", kind.to_lowercase());
                let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
                let dot = if group.is_empty() { "" } else { "." };
                return Err(format!(
                    "{plural}{dot}{group} does not implement the scale subresource"
                ));
            }
        };
        if !seen.contains(&uid) {
            seen.push(uid);
            total += wanted.unwrap_or(1);
        }
    }
    Ok(total)
}

/// Deletes a Pod as `kubectl drain` does: not if a budget would be overdrawn.
pub fn evict(
    api: &mut Api,
    namespace: &str,
    name: &str,
    options: DeleteOptions,
    now: Instant,
) -> Result<(), Status> {
    let Some(pod) = api.store().get::<Pod>(namespace, name).cloned() else {
        return Err(Status::not_found("pods", name));
    };
    let is_free =
        pods::has_ended(&pod) || pods::phase(&pod) == "Pending" || pod.metadata.is_terminating();
    if !is_free {
        let budgets: Vec<_> = budgets_of(api.store(), &pod).cloned().collect();
        match budgets.as_slice() {
            [] => {}
            [budget] => draw(api, budget, &pod, now)?,
            _ => {
                return Err(Status::internal(
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        }
        let message = "Eviction API: evicting";
        pods::disrupt(api, &pod, "EvictionByEvictionAPI", message, now);
    }
    api.delete(Pod::id(), namespace, name, options, now).map(drop)
}

/// Takes one disruption from a budget (`checkAndDecrement`).
fn draw(
    api: &mut Api,
    budget: &PodDisruptionBudget,
    pod: &Pod,
    now: Instant,
) -> Result<(), Status> {
    let status = budget.status.clone().unwrap_or_default();
    let policy = budget.spec.as_ref().and_then(|spec| spec.unhealthy_pod_eviction_policy.clone());
    let is_covered = status.current_healthy >= status.desired_healthy && status.desired_healthy > 0;
    if !pods::is_ready(pod) && (policy.as_deref() == Some("AlwaysAllow") || is_covered) {
        return Ok(());
    }
    let is_stale =
        status.observed_generation.unwrap_or(0) < budget.metadata.generation.unwrap_or(0);
    if is_stale || status.disruptions_allowed <= 0 {
        return Err(Status::too_many_requests(
            "Cannot evict pod as it would violate the pod's disruption budget.",
        ));
    }
    let (namespace, name) = (budget.metadata.namespace(), budget.metadata.name());
    let pod = pod.metadata.name().to_string();
    api.modify::<PodDisruptionBudget>(namespace, name, |budget| {
        let status = budget.status.get_or_insert_default();
        status.disruptions_allowed -= 1;
        status.disrupted_pods.get_or_insert_default().insert(pod, time(now));
    });
    Ok(())
}
