//! Deployments to ReplicaSets: rolling updates, recreation, history (`pkg/controller/deployment`).

use std::rc::Rc;

use base::{Duration, Instant};
use kube_api::apps::{
    Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetSpec,
};
use kube_api::core::PodTemplateSpec;
use kube_api::object::{controller_ref, instant, time};
use kube_api::server::NAME_LETTERS;
use kube_api::{Api, Change, DeleteOptions, IntOrString, Kind, MetaExt};

use crate::events::{self, Severity};
use crate::queue::{Key, WorkQueue};
use crate::replicaset;

/// Number of the rollout, on Deployments and ReplicaSets.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Tells the ReplicaSets of a Deployment, and their Pods, apart.
pub const TEMPLATE_HASH: &str = "pod-template-hash";

/// The Deployment controller.
#[derive(Debug)]
pub struct Deployments {
    latency: Duration,
    queue: WorkQueue<Key>,
}

impl Deployments {
    pub(crate) fn new(latency: Duration) -> Self {
        Deployments { latency, queue: WorkQueue::default() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let at = now + self.latency;
        if let Some(deployment) = change.of::<Deployment>() {
            let meta = &deployment.metadata;
            self.queue.add((meta.namespace().to_string(), meta.name().to_string()), at);
        }
        if let Some(set) = change.of::<ReplicaSet>()
            && let Some(owner) = set.metadata.controller().filter(|o| o.kind == "Deployment")
        {
            self.queue.add((set.metadata.namespace().to_string(), owner.name.clone()), at);
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some((namespace, name)) = self.queue.pop(now) {
            worked = true;
            if let Some(deployment) = api.store().get::<Deployment>(&namespace, &name).cloned() {
                self.sync(api, &deployment, now);
            }
        }
        worked
    }

    fn sync(&mut self, api: &mut Api, deployment: &Rc<Deployment>, now: Instant) {
        if deployment.metadata.is_terminating() {
            return;
        }
        let sets = sets_of(api, deployment);
        let hash = template_hash(&template(deployment));
        let is_new = |set: &Rc<ReplicaSet>| set.metadata.label(TEMPLATE_HASH) == Some(&hash);
        let old: Vec<Rc<ReplicaSet>> = sets.iter().filter(|set| !is_new(set)).cloned().collect();
        let mut new = sets.iter().find(|set| is_new(set)).cloned();
        if paused(deployment) {
            if let Some(new) = &new {
                scale_all(api, deployment, new, &old, now);
            }
            return self.write_status(api, deployment, new.as_ref(), &old, now);
        }
        let revision = next_revision(&old, new.as_ref());
        new = match new {
            Some(set) => Some(keep_revision(api, deployment, &set, revision)),
            None => create_set(api, deployment, &hash, revision, &old, now),
        };
        if let Some(new) = &new {
            match strategy(deployment) {
                "Recreate" => recreate(api, deployment, new, &old, now),
                _ => roll(api, deployment, new, &old, now),
            }
        }
        let sets = sets_of(api, deployment);
        let new = sets.iter().find(|set| is_new(set)).cloned();
        let old: Vec<Rc<ReplicaSet>> = sets.iter().filter(|set| !is_new(set)).cloned().collect();
        if let Some(new) = &new
            && is_complete(deployment, new, &old)
        {
            forget_history(api, deployment, &old, now);
        }
        self.write_status(api, deployment, new.as_ref(), &old, now);
    }

    fn write_status(
        &mut self,
        api: &mut Api,
        deployment: &Deployment,
        new: Option<&Rc<ReplicaSet>>,
        old: &[Rc<ReplicaSet>],
        now: Instant,
    ) {
        let all = || new.into_iter().chain(old);
        let sum = |of: &dyn Fn(&ReplicaSet) -> i32| all().map(|set| of(set)).sum::<i32>();
        let some = |n: i32| (n > 0).then_some(n);
        let total = sum(&actual);
        let available = sum(&available);
        let wanted = wanted(deployment);
        let mut status = DeploymentStatus {
            observed_generation: deployment.metadata.generation,
            replicas: some(total),
            updated_replicas: some(new.map_or(0, |set| actual(set))),
            ready_replicas: some(sum(&ready)),
            available_replicas: some(available),
            unavailable_replicas: some((total - available).max(0)),
            ..deployment.status.clone().unwrap_or_default()
        };
        let (_, max_unavailable) = limits(deployment);
        let is_available = available >= wanted - max_unavailable;
        set_condition(
            &mut status,
            "Available",
            is_available,
            if is_available {
                ("MinimumReplicasAvailable", "Deployment has minimum availability.".to_string())
            } else {
                (
                    "MinimumReplicasUnavailable",
                    "Deployment does not have minimum availability.".to_string(),
                )
            },
            now,
        );
        self.progress(deployment, new, old, &mut status, now);
        let (namespace, name) = (deployment.metadata.namespace(), deployment.metadata.name());
        let revision = new.and_then(|set| set.metadata.annotation(REVISION)).map(str::to_string);
        api.modify::<Deployment>(namespace, name, |deployment| {
            deployment.status = Some(status);
            if let Some(revision) = revision {
                let annotations = deployment.metadata.annotations.get_or_insert_default();
                annotations.insert(REVISION.to_string(), revision);
            }
        });
    }

    /// Whether the rollout gets on (`pkg/controller/deployment/progress.go`).
    fn progress(
        &mut self,
        deployment: &Deployment,
        new: Option<&Rc<ReplicaSet>>,
        old: &[Rc<ReplicaSet>],
        status: &mut DeploymentStatus,
        now: Instant,
    ) {
        let Some(new) = new else { return };
        let name = new.metadata.name();
        let before = deployment.status.clone().unwrap_or_default();
        if is_complete(deployment, new, old) {
            let message = format!("ReplicaSet {name:?} has successfully progressed.");
            set_condition(status, "Progressing", true, ("NewReplicaSetAvailable", message), now);
            return;
        }
        let measure =
            |s: &DeploymentStatus| (s.updated_replicas, s.ready_replicas, s.available_replicas);
        let has_progressed = measure(&before) != measure(status)
            || condition(&before, "Progressing").is_none()
            || before.observed_generation != status.observed_generation;
        if has_progressed {
            let message = format!("ReplicaSet {name:?} is progressing.");
            let reason = if before.updated_replicas.is_none() && status.updated_replicas.is_none() {
                ("NewReplicaSetCreated", format!("Created new replica set {name:?}"))
            } else {
                ("ReplicaSetUpdated", message)
            };
            set_condition(status, "Progressing", true, reason, now);
            touch(status, "Progressing", now);
        }
        let deadline = deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds);
        let deadline = Duration::from_secs(u64::try_from(deadline.unwrap_or(600)).unwrap_or(600));
        let updated = condition(status, "Progressing").and_then(|c| c.last_update_time.as_ref());
        let due = updated.map_or(now, instant) + deadline;
        if due <= now {
            let message = format!("ReplicaSet {name:?} has timed out progressing.");
            set_condition(status, "Progressing", false, ("ProgressDeadlineExceeded", message), now);
        } else {
            let meta = &deployment.metadata;
            self.queue.add((meta.namespace().to_string(), meta.name().to_string()), due);
        }
    }
}

// ---- reading -----------------------------------------------------------------------------------------------

fn template(deployment: &Deployment) -> PodTemplateSpec {
    deployment.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default()
}

fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn paused(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false)
}

fn strategy(deployment: &Deployment) -> &str {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate")
}

/// The Deployment's ReplicaSets, oldest first.
pub fn sets_of(api: &Api, deployment: &Deployment) -> Vec<Rc<ReplicaSet>> {
    let uid = deployment.metadata.uid();
    let is_owned = |set: &&Rc<ReplicaSet>| set.metadata.controller().is_some_and(|o| o.uid == uid);
    let mut sets: Vec<Rc<ReplicaSet>> = api
        .store()
        .list_in::<ReplicaSet>(deployment.metadata.namespace())
        .filter(is_owned)
        .cloned()
        .collect();
    base::order::sort_by_key(&mut sets, |set| {
        let created = set.metadata.creation_timestamp.as_ref().map_or(Instant::ZERO, instant);
        (created, revision_of(set), set.metadata.name().to_string())
    });
    sets
}

fn desired(set: &ReplicaSet) -> i32 {
    i32::try_from(replicaset::replicas(set)).unwrap_or(i32::MAX)
}

fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

fn ready(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
}

fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// Number of a ReplicaSet's rollout.
pub fn revision_of(set: &ReplicaSet) -> u64 {
    set.metadata.annotation(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// How many Pods more, and how many fewer, than wanted there may be during a rollout
/// (`ResolveFenceposts`).
fn limits(deployment: &Deployment) -> (i32, i32) {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let Some(rolling) = strategy.and_then(|strategy| strategy.rolling_update.as_ref()) else {
        return (0, 0);
    };
    let wanted = wanted(deployment);
    let surge = scaled(rolling.max_surge.as_ref(), wanted, true);
    let unavailable = scaled(rolling.max_unavailable.as_ref(), wanted, false).min(wanted);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// A number, or a percentage of `total`.
pub(crate) fn scaled(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        Some(IntOrString::Int(number)) => (*number).max(0),
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent.clamp(0, 10_000) * i64::from(total);
            let rounded = if round_up { (product + 99) / 100 } else { product / 100 };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
        None => 0,
    }
}

/// A short hash of a template. Upstream hashes Go's own print-out of the object; this hashes its JSON, so
/// the letters differ from a real cluster's, but not what they are for.
pub(crate) fn template_hash(template: &PodTemplateSpec) -> String {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut()) {
        labels.remove(TEMPLATE_HASH);
    }
    let text = kube_api::to_value(&template).to_string();
    // FNV-1a of 32 bits, written in decimal, each digit as a letter that makes no words.
    let hash = text
        .bytes()
        .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let letters: Vec<char> = NAME_LETTERS.chars().collect();
    let letter = |digit: u8| letters.get(usize::from(digit) % letters.len()).copied();
    hash.to_string().bytes().filter_map(letter).collect()
}

// ---- ReplicaSets -------------------------------------------------------------------------------------------

fn next_revision(old: &[Rc<ReplicaSet>], new: Option<&Rc<ReplicaSet>>) -> u64 {
    let highest_old = old.iter().map(|set| revision_of(set)).max().unwrap_or(0);
    (highest_old + 1).max(new.map_or(0, |set| revision_of(set)))
}

fn keep_revision(
    api: &mut Api,
    deployment: &Deployment,
    set: &Rc<ReplicaSet>,
    revision: u64,
) -> Rc<ReplicaSet> {
    let (namespace, name) = (set.metadata.namespace(), set.metadata.name());
    let annotations = set_annotations(deployment, revision);
    api.modify::<ReplicaSet>(namespace, name, |set| {
        set.metadata.annotations.get_or_insert_default().extend(annotations);
    })
    .unwrap_or_else(|| set.clone())
}

fn set_annotations(deployment: &Deployment, revision: u64) -> Vec<(String, String)> {
    let (surge, _) = limits(deployment);
    let mut annotations = vec![
        (REVISION.to_string(), revision.to_string()),
        (DESIRED.to_string(), wanted(deployment).to_string()),
        (MAX.to_string(), (wanted(deployment) + surge).to_string()),
    ];
    if let Some(cause) = deployment.metadata.annotation("kubernetes.io/change-cause") {
        annotations.push(("kubernetes.io/change-cause".to_string(), cause.to_string()));
    }
    annotations
}

fn create_set(
    api: &mut Api,
    deployment: &Rc<Deployment>,
    hash: &str,
    revision: u64,
    old: &[Rc<ReplicaSet>],
    now: Instant,
) -> Option<Rc<ReplicaSet>> {
    let spec = deployment.spec.as_ref()?;
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(TEMPLATE_HASH.to_string(), hash.to_string());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    let wanted_labels = selector.match_labels.get_or_insert_default();
    wanted_labels.insert(TEMPLATE_HASH.to_string(), hash.to_string());
    let replicas = first_replicas(deployment, old);
    let mut set = ReplicaSet {
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        ..ReplicaSet::default()
    };
    set.metadata.name = Some(format!("{}-{hash}", deployment.metadata.name()));
    set.metadata.namespace = deployment.metadata.namespace.clone();
    set.metadata.labels = Some(labels);
    set.metadata.annotations = Some(base::order::map(set_annotations(deployment, revision)));
    set.metadata.owner_references = Some(vec![controller_ref(&**deployment)]);
    let created = api.create_typed(set, now).ok()?;
    if replicas > 0 {
        tell_scaled(api, deployment, created.metadata.name(), 0, replicas, now);
    }
    Some(created)
}

/// How large the new ReplicaSet begins: as many as the surge allows (`NewRSNewReplicas`).
fn first_replicas(deployment: &Deployment, old: &[Rc<ReplicaSet>]) -> i32 {
    let wanted = wanted(deployment);
    let running: i32 = old.iter().map(|set| desired(set)).sum();
    if strategy(deployment) == "Recreate" {
        return if running == 0 { wanted } else { 0 };
    }
    let (surge, _) = limits(deployment);
    (wanted + surge - running).clamp(0, wanted)
}

fn scale(api: &mut Api, deployment: &Rc<Deployment>, set: &ReplicaSet, to: i32, now: Instant) {
    let from = desired(set);
    let (namespace, name) = (set.metadata.namespace(), set.metadata.name());
    let (surge, _) = limits(deployment);
    let max = (wanted(deployment) + surge).to_string();
    let desired_annotation = wanted(deployment).to_string();
    api.modify::<ReplicaSet>(namespace, name, |set| {
        set.spec.get_or_insert_default().replicas = Some(to);
        let annotations = set.metadata.annotations.get_or_insert_default();
        annotations.insert(DESIRED.to_string(), desired_annotation);
        annotations.insert(MAX.to_string(), max);
    });
    if from != to {
        tell_scaled(api, deployment, name, from, to, now);
    }
}

fn tell_scaled(
    api: &mut Api,
    deployment: &Rc<Deployment>,
    set: &str,
    from: i32,
    to: i32,
    now: Instant,
) {
    let word = if to > from { "up" } else { "down" };
    let message = format!("Scaled {word} replica set {set} from {from} to {to}");
    let (about, source) =
        (events::reference(&**deployment), events::component("deployment-controller"));
    events::record(api, now, about, Severity::Normal, "ScalingReplicaSet", &message, source);
}

/// A paused Deployment can still be scaled: all its ReplicaSets in proportion.
fn scale_all(
    api: &mut Api,
    deployment: &Rc<Deployment>,
    new: &Rc<ReplicaSet>,
    old: &[Rc<ReplicaSet>],
    now: Instant,
) {
    if old.iter().all(|set| desired(set) == 0) && desired(new) != wanted(deployment) {
        scale(api, deployment, new, wanted(deployment), now);
    }
}

/// New Pods come as old ones go, within the limits (`pkg/controller/deployment/rolling.go`).
fn roll(
    api: &mut Api,
    deployment: &Rc<Deployment>,
    new: &Rc<ReplicaSet>,
    old: &[Rc<ReplicaSet>],
    now: Instant,
) {
    let wanted = wanted(deployment);
    let (surge, max_unavailable) = limits(deployment);
    let running: i32 = old.iter().map(|set| desired(set)).sum();
    let size = desired(new);
    let target = if size > wanted {
        wanted
    } else {
        let room = (wanted + surge - (running + size)).max(0);
        (size + room).min(wanted)
    };
    if target != size {
        scale(api, deployment, new, target, now);
        if target > size {
            return;
        }
    }
    if running == 0 {
        return;
    }
    let total = running + size;
    let new_unavailable = size - available(new);
    let mut can_go = total - (wanted - max_unavailable) - new_unavailable;
    // Pods that do not work go first.
    for set in old {
        let broken = (desired(set) - available(set)).min(can_go).max(0);
        if broken > 0 {
            scale(api, deployment, set, desired(set) - broken, now);
            can_go -= broken;
        }
    }
    let old: Vec<Rc<ReplicaSet>> = sets_of(api, deployment)
        .into_iter()
        .filter(|set| set.metadata.name() != new.metadata.name())
        .collect();
    let available_now: i32 =
        old.iter().map(|set| available(set).min(desired(set))).sum::<i32>() + available(new);
    let mut can_go = can_go.min(available_now - (wanted - max_unavailable));
    for set in old {
        let down = desired(&set).min(can_go).max(0);
        if down > 0 {
            scale(api, deployment, &set, desired(&set) - down, now);
            can_go -= down;
        }
    }
}

/// All old Pods go before the first new one comes.
fn recreate(
    api: &mut Api,
    deployment: &Rc<Deployment>,
    new: &Rc<ReplicaSet>,
    old: &[Rc<ReplicaSet>],
    now: Instant,
) {
    for set in old.iter().filter(|set| desired(set) > 0) {
        scale(api, deployment, set, 0, now);
    }
    let is_empty = old.iter().all(|set| desired(set) == 0 && actual(set) == 0);
    if is_empty && desired(new) != wanted(deployment) {
        scale(api, deployment, new, wanted(deployment), now);
    }
}

fn is_complete(deployment: &Deployment, new: &ReplicaSet, old: &[Rc<ReplicaSet>]) -> bool {
    let wanted = wanted(deployment);
    let others: i32 = old.iter().map(|set| actual(set)).sum();
    actual(new) == wanted && available(new) == wanted && others == 0
}

/// ReplicaSets of old rollouts, beyond those that are to be kept.
fn forget_history(api: &mut Api, deployment: &Deployment, old: &[Rc<ReplicaSet>], now: Instant) {
    let limit = deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    let mut empty: Vec<&Rc<ReplicaSet>> =
        old.iter().filter(|set| desired(set) == 0 && actual(set) == 0).collect();
    base::order::sort_by_key(&mut empty, |set| revision_of(set));
    let surplus = empty.len().saturating_sub(limit);
    for set in empty.into_iter().take(surplus) {
        let (namespace, name) = (set.metadata.namespace(), set.metadata.name());
        let _ = api.delete(ReplicaSet::id(), namespace, name, DeleteOptions::default(), now);
    }
}

// ---- conditions --------------------------------------------------------------------------------------------

fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn set_condition(
    status: &mut DeploymentStatus,
    kind: &str,
    is_true: bool,
    (reason, message): (&str, String),
    now: Instant,
) {
    let state = if is_true { "True" } else { "False" };
    let conditions = status.conditions.get_or_insert_default();
    let before = conditions.iter().position(|condition| condition.type_ == kind);
    let mut transition = Some(time(now));
    if let Some(before) = before.and_then(|at| conditions.get(at)) {
        let same = before.status == state && before.reason.as_deref() == Some(reason);
        if same && before.message.as_deref() == Some(&message) {
            return;
        }
        if before.status == state {
            transition = before.last_transition_time;
        }
    }
    let condition = DeploymentCondition {
        type_: kind.to_string(),
        status: state.to_string(),
        reason: Some(reason.to_string()),
        message: Some(message),
        last_transition_time: transition,
        last_update_time: Some(time(now)),
    };
    match before {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

/// It was seen to be so just now.
fn touch(status: &mut DeploymentStatus, kind: &str, now: Instant) {
    let conditions = status.conditions.iter_mut().flatten();
    for condition in conditions.filter(|condition| condition.type_ == kind) {
        condition.last_update_time = Some(time(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_up_for_surge_and_down_for_unavailable() {
        let percent = |text: &str| IntOrString::String(text.to_string());
        for (value, total, up, down) in [
            (percent("25%"), 2, 1, 0),
            (percent("25%"), 4, 1, 1),
            (percent("25%"), 10, 3, 2),
            (percent("100%"), 3, 3, 3),
            (IntOrString::Int(2), 10, 2, 2),
        ] {
            assert_eq!(scaled(Some(&value), total, true), up, "{value:?} of {total}");
            assert_eq!(scaled(Some(&value), total, false), down, "{value:?} of {total}");
        }
    }
}
