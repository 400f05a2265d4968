//! Deployments to ReplicaSets: rolling updates, recreation, history (`pkg/controller/deployment`).
//!
//! - [`mod@self`]: when a Deployment is looked at, and what is done then;
//! - [`sets`]: its ReplicaSets: which is the new one, revisions, annotations, making and scaling them;
//! - [`roll`]: how old Pods make room for new ones, and how a rollout is scaled;
//! - [`status`]: what is reported of it.

mod roll;
mod sets;
mod status;

use std::rc::Rc;

use base::{Duration, Instant};
use kube_api::apps::{Deployment, ReplicaSet};
use kube_api::core::Pod;
use kube_api::labels::{Labels, Selector};
use kube_api::meta::LabelSelector;
use kube_api::object::controller_ref;
use kube_api::{Api, Change, IntOrString, Kind, MetaExt, Store};

use crate::control::Owner;
use crate::events::Severity;
use crate::queue::{Key, WorkQueue};

pub use sets::{REVISION, TEMPLATE_HASH, revision_of, sets_of, template_hash};

use sets::Sets;

/// The Deployment controller.
#[derive(Debug)]
pub struct Deployments {
    latency: Duration,
    queue: WorkQueue<Key>,
}

/// A Deployment that is being looked at.
struct Rollout<'a> {
    owner: Owner,
    deployment: &'a Rc<Deployment>,
    now: Instant,
}

impl Deployments {
    pub(crate) fn new(latency: Duration) -> Self {
        Deployments { latency, queue: WorkQueue::default() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, store: &Store, now: Instant) {
        let at = now + self.latency;
        if let Some(deployment) = change.of::<Deployment>() {
            let meta = &deployment.metadata;
            self.queue.add((meta.namespace().to_string(), meta.name().to_string()), at);
        }
        if let Some(set) = change.of::<ReplicaSet>() {
            self.observe_set(change, set, store, at);
        }
        // A Pod that is gone may be the last one that a recreation waits for.
        if change.new.is_none()
            && let Some(pod) = change.of::<Pod>()
            && let Some(owner) = pod.metadata.controller().filter(|o| o.kind == "ReplicaSet")
            && let Some(set) = store.get::<ReplicaSet>(pod.metadata.namespace(), &owner.name)
            && let Some(owner) = set.metadata.controller()
        {
            self.queue.add((set.metadata.namespace().to_string(), owner.name.clone()), at);
        }
    }

    fn observe_set(&mut self, change: &Change, set: &ReplicaSet, store: &Store, at: Instant) {
        let namespace = set.metadata.namespace();
        let old = change.old.as_ref().and_then(ReplicaSet::of);
        let owner = set.metadata.controller();
        let before = old.and_then(|old| old.metadata.controller());
        for owner in owner.into_iter().chain(before).filter(|o| o.kind == "Deployment") {
            self.queue.add((namespace.to_string(), owner.name.clone()), at);
        }
        let is_new_here = old.is_none_or(|old| old.metadata.labels != set.metadata.labels);
        if owner.is_none() && (is_new_here || before.is_some()) {
            for deployment in store.list_in::<Deployment>(namespace) {
                if selects(deployment, set.metadata.labels.as_ref()) {
                    let name = deployment.metadata.name().to_string();
                    self.queue.add((namespace.to_string(), name), at);
                }
            }
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some((namespace, name)) = self.queue.pop(now) {
            worked = true;
            if let Some(deployment) = api.store().get::<Deployment>(&namespace, &name).cloned() {
                let owner = Owner::of(&*deployment, "deployment-controller");
                let rollout = Rollout { owner, deployment: &deployment, now };
                if let Some(again) = rollout.sync(api) {
                    self.queue.add((namespace, name), again);
                }
            }
        }
        worked
    }
}

fn selector(deployment: &Deployment) -> LabelSelector {
    deployment.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default()
}

fn selects(deployment: &Deployment, labels: Option<&Labels>) -> bool {
    let selector = Selector::of(&selector(deployment));
    !selector.is_empty() && selector.matches(labels)
}

impl Rollout<'_> {
    /// (`syncDeployment`). Gives when to look again, if nothing happens before.
    fn sync(&self, api: &mut Api) -> Option<Instant> {
        self.claim(api);
        if self.deployment.metadata.is_terminating() {
            let sets = self.sets(api);
            return self.write_status(api, &sets, Vec::new());
        }
        let mut marks = self.pause_marks();
        let sets = self.sets(api);
        if self.is_paused() || self.is_scaled(&sets) {
            self.scale(api, &sets);
            let sets = self.sets(api);
            if self.is_paused() {
                self.forget_history(api, &sets);
            }
            return self.write_status(api, &sets, marks);
        }
        if self.strategy() == "Recreate" {
            self.recreate(api, &sets, &mut marks);
        } else {
            let sets = self.with_new_set(api, &sets, &mut marks);
            self.roll(api, &sets);
        }
        let sets = self.sets(api);
        if status::is_complete(self, &status::of(self, api, &sets)) {
            self.forget_history(api, &sets);
        }
        self.write_status(api, &sets, marks)
    }

    fn claim(&self, api: &mut Api) {
        let mut changed: Vec<(String, bool)> = Vec::new();
        let is_ending = self.deployment.metadata.is_terminating();
        for set in api.store().list_in::<ReplicaSet>(&self.owner.namespace) {
            let fits = selects(self.deployment, set.metadata.labels.as_ref());
            match set.metadata.controller() {
                Some(owner) if owner.uid == self.owner.uid && !fits => {
                    changed.push((set.metadata.name().to_string(), false));
                }
                None if fits && !is_ending && !set.metadata.is_terminating() => {
                    changed.push((set.metadata.name().to_string(), true));
                }
                _ => {}
            }
        }
        for (name, is_adopted) in changed {
            api.modify::<ReplicaSet>(&self.owner.namespace, &name, |set| {
                let owners = set.metadata.owner_references.get_or_insert_default();
                if is_adopted {
                    owners.push(controller_ref(&**self.deployment));
                } else {
                    owners.retain(|owner| owner.uid != self.owner.uid);
                }
            });
        }
    }

    /// Another number of Pods is wanted than when its ReplicaSets were last scaled (`isScalingEvent`).
    fn is_scaled(&self, sets: &Sets) -> bool {
        sets.all().any(|set| {
            let annotated = set.metadata.annotation(sets::DESIRED).and_then(|t| t.parse().ok());
            sets::desired(set) > 0 && annotated.is_some_and(|n: i32| n != self.wanted())
        })
    }

    fn wanted(&self) -> i32 {
        self.deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn is_paused(&self) -> bool {
        self.deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false)
    }

    fn strategy(&self) -> &str {
        let strategy = self.deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
        strategy.and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate")
    }

    fn min_ready(&self) -> Option<i32> {
        self.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds)
    }

    /// How many Pods more, and how many fewer, than wanted there may be during a rollout
    /// (`ResolveFenceposts`).
    fn limits(&self) -> (i32, i32) {
        let strategy = self.deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
        if self.strategy() == "Recreate" {
            return (0, 0);
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let (wanted, quarter) = (self.wanted(), IntOrString::String("25%".to_string()));
        let surge = rolling.and_then(|r| r.max_surge.as_ref()).unwrap_or(&quarter);
        let unavailable = rolling.and_then(|r| r.max_unavailable.as_ref()).unwrap_or(&quarter);
        let surge = scaled(Some(surge), wanted, true);
        let unavailable = scaled(Some(unavailable), wanted, false).min(wanted);
        if surge == 0 && unavailable == 0 { (0, 1.min(wanted)) } else { (surge, unavailable) }
    }

    fn tell(&self, api: &mut Api, reason: &str, message: &str) {
        self.owner.tell(api, Severity::Normal, reason, message, self.now);
    }
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
