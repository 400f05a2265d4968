//! What is reported of a Deployment (`pkg/controller/deployment/progress.go`, `sync.go`).

use base::{Duration, Instant, Items as _};
use kube_api::apps::{Deployment, DeploymentCondition, DeploymentStatus};
use kube_api::object::{instant, time};
use kube_api::{Api, MetaExt};

use super::Rollout;
use super::sets::{REVISION, Sets, actual, available, desired, ready, terminating};
use crate::control::some;

/// What happened while a Deployment was looked at, and is to be seen in its status.
pub(super) enum Mark {
    /// A word about its progress.
    Progress(&'static str, &'static str, String),
    /// The new ReplicaSet could not be made.
    Failed(&'static str, String),
    /// The name of the new ReplicaSet is taken.
    Collision,
}

impl Mark {
    pub(super) fn progressing(reason: &'static str, message: String) -> Mark {
        Mark::Progress("True", reason, message)
    }
}

fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Sets a condition, unless it says the same already (`SetDeploymentCondition`).
fn set_condition(
    status: &mut DeploymentStatus,
    kind: &str,
    state: &str,
    (reason, message): (&str, String),
    now: Instant,
) {
    let before = condition(status, kind);
    if before.is_some_and(|c| c.status == state && c.reason.as_deref() == Some(reason)) {
        return;
    }
    let kept = before.filter(|c| c.status == state).and_then(|c| c.last_transition_time);
    let condition = DeploymentCondition {
        type_: kind.to_string(),
        status: state.to_string(),
        reason: Some(reason.to_string()),
        message: Some(message),
        last_transition_time: kept.or(Some(time(now))),
        last_update_time: Some(time(now)),
    };
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|c| c.type_ != kind);
    conditions.push(condition);
}

/// (`calculateStatus`)
pub(super) fn of(rollout: &Rollout<'_>, _: &Api, sets: &Sets) -> DeploymentStatus {
    let deployment = rollout.deployment;
    let sum =
        |of: fn(&kube_api::apps::ReplicaSet) -> i32| sets.all().map(|set| of(set)).sum::<i32>();
    let available = sum(available);
    let before = deployment.status.clone().unwrap_or_default();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(sum(actual)),
        updated_replicas: some(sets.new.as_ref().map_or(0, |set| actual(set))),
        ready_replicas: some(sum(ready)),
        available_replicas: some(available),
        unavailable_replicas: some((sum(desired) - available).max(0)),
        terminating_replicas: Some(sum(terminating)),
        collision_count: before.collision_count,
        conditions: before.conditions,
    };
    let is_available = available >= rollout.wanted() - rollout.limits().1;
    let word = if is_available {
        ("MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    let state = if is_available { "True" } else { "False" };
    set_condition(&mut status, "Available", state, (word.0, word.1.to_string()), rollout.now);
    status
}

/// All Pods are new, and work (`DeploymentComplete`).
pub(super) fn is_complete(rollout: &Rollout<'_>, status: &DeploymentStatus) -> bool {
    let wanted = some(rollout.wanted());
    status.updated_replicas == wanted
        && status.replicas == wanted
        && status.available_replicas == wanted
}

/// Something has come forward since the last time (`DeploymentProgressing`).
fn has_progressed(before: &DeploymentStatus, now: &DeploymentStatus) -> bool {
    let number = |n: Option<i32>| n.unwrap_or(0);
    let old = |s: &DeploymentStatus| number(s.replicas) - number(s.updated_replicas);
    number(now.updated_replicas) > number(before.updated_replicas)
        || old(now) < old(before)
        || number(now.ready_replicas) > number(before.ready_replicas)
        || number(now.available_replicas) > number(before.available_replicas)
}

impl Rollout<'_> {
    pub(super) fn condition(&self, kind: &str) -> Option<&DeploymentCondition> {
        condition(self.deployment.status.as_ref()?, kind)
    }

    fn deadline(&self) -> Option<Duration> {
        let seconds = self.deployment.spec.as_ref()?.progress_deadline_seconds?;
        // As good as never: there is no deadline.
        let seconds = u64::try_from(seconds).ok().filter(|_| seconds != i32::MAX)?;
        Some(Duration::from_secs(seconds))
    }

    /// A rollout that is paused makes no progress, and is not late (`checkPausedConditions`).
    pub(super) fn pause_marks(&self) -> Vec<Mark> {
        let reason = self.condition("Progressing").and_then(|c| c.reason.as_deref());
        let mark = |reason, message: &str| Mark::Progress("Unknown", reason, message.to_string());
        match (self.is_paused(), reason) {
            _ if self.deadline().is_none() => Vec::new(),
            (_, Some("ProgressDeadlineExceeded")) => Vec::new(),
            (true, reason) if reason != Some("DeploymentPaused") => {
                vec![mark("DeploymentPaused", "Deployment is paused")]
            }
            (false, Some("DeploymentPaused")) => {
                vec![mark("DeploymentResumed", "Deployment is resumed")]
            }
            _ => Vec::new(),
        }
    }

    /// Writes the status. Gives when the rollout is late.
    pub(super) fn write_status(
        &self,
        api: &mut Api,
        sets: &Sets,
        marks: Vec<Mark>,
    ) -> Option<Instant> {
        let mut status = of(self, api, sets);
        for mark in marks {
            match mark {
                Mark::Progress(state, reason, message) => {
                    set_condition(&mut status, "Progressing", state, (reason, message), self.now);
                }
                Mark::Failed(reason, message) => {
                    set_condition(&mut status, "Progressing", "False", (reason, message), self.now);
                }
                Mark::Collision => {
                    status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
                }
            }
        }
        if !self.is_paused() {
            self.progress(sets, &mut status);
        }
        self.failures(sets, &mut status);
        let late = self.late_at(&status).filter(|late| *late > self.now);
        let revision = sets.new.as_ref().and_then(|set| set.metadata.annotation(REVISION));
        let revision = revision.map(str::to_string);
        api.modify::<Deployment>(&self.owner.namespace, &self.owner.name, |deployment| {
            deployment.status = Some(status);
            if let Some(revision) = revision {
                let annotations = deployment.metadata.annotations.get_or_insert_default();
                annotations.insert(REVISION.to_string(), revision);
            }
        });
        late
    }

    /// Whether the rollout gets on (`syncRolloutStatus`).
    fn progress(&self, sets: &Sets, status: &mut DeploymentStatus) {
        if self.deadline().is_none() {
            status.conditions.iter_mut().for_each(|all| all.retain(|c| c.type_ != "Progressing"));
            return;
        }
        let current = condition(status, "Progressing").cloned();
        let is_done = current.as_ref().and_then(|c| c.reason.as_deref())
            == Some("NewReplicaSetAvailable")
            && status.replicas == status.updated_replicas;
        if is_done {
            return;
        }
        let what = match &sets.new {
            Some(set) => format!("ReplicaSet {:?}", set.metadata.name()),
            None => format!("Deployment {:?}", self.owner.name),
        };
        let before = self.deployment.status.clone().unwrap_or_default();
        if is_complete(self, status) {
            let message = format!("{what} has successfully progressed.");
            let reason = ("NewReplicaSetAvailable", message);
            set_condition(status, "Progressing", "True", reason, self.now);
        } else if has_progressed(&before, status) {
            let kept = current.filter(|c| c.status == "True").and_then(|c| c.last_transition_time);
            status.conditions.iter_mut().for_each(|all| all.retain(|c| c.type_ != "Progressing"));
            let reason = ("ReplicaSetUpdated", format!("{what} is progressing."));
            set_condition(status, "Progressing", "True", reason, self.now);
            let last = status.conditions.iter_mut().flatten().last();
            if let (Some(last), Some(kept)) = (last, kept) {
                last.last_transition_time = Some(kept);
            }
        } else if self.late_at(status).is_some_and(|late| late <= self.now) {
            let reason = ("ProgressDeadlineExceeded", format!("{what} has timed out progressing."));
            set_condition(status, "Progressing", "False", reason, self.now);
        }
    }

    /// When the rollout counts as stuck, if nothing moves before (`requeueStuckDeployment`).
    fn late_at(&self, status: &DeploymentStatus) -> Option<Instant> {
        let progressing = condition(status, "Progressing")?;
        let reason = progressing.reason.as_deref();
        if self.is_paused()
            || matches!(
                reason,
                Some("ProgressDeadlineExceeded" | "DeploymentPaused" | "NewReplicaSetAvailable")
            )
        {
            return None;
        }
        let updated = progressing.last_update_time.as_ref().map_or(self.now, instant);
        Some(updated + self.deadline()?)
    }

    /// What its ReplicaSets complain of.
    fn failures(&self, sets: &Sets, status: &mut DeploymentStatus) {
        let first = sets.new.iter().chain(&sets.old).find_map(|set| {
            let mut conditions = set.status.as_ref()?.conditions.items();
            conditions.find(|c| c.type_ == "ReplicaFailure" && c.status == "True")
        });
        match first {
            Some(failure) => {
                let reason = failure.reason.clone().unwrap_or_default();
                let message = failure.message.clone().unwrap_or_default();
                set_condition(status, "ReplicaFailure", "True", (&reason, message), self.now);
            }
            None => {
                let conditions = status.conditions.iter_mut();
                conditions.for_each(|all| all.retain(|c| c.type_ != "ReplicaFailure"));
            }
        }
    }
}
