//! StatefulSets to Pods with names of their own, one after the other (`pkg/controller/statefulset`).

use base::tree::BTreeMap;
use std::rc::Rc;

use base::{Duration, Instant, Items as _};
use kube_api::apps::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use kube_api::core::{Pod, PodTemplateSpec, Volume};
use kube_api::meta::LabelSelector;
use kube_api::object::controller_ref;
use kube_api::{Api, Change, DeleteOptions, Kind, MetaExt, Store};
use serde_json::json;

use crate::control::{Claims, Owner, available_from, count};
use crate::deployment::scaled;
use crate::events::Severity;
use crate::history::{self, REVISION_LABEL};
use crate::pods;
use crate::queue::{Key, WorkQueue};

/// The name of the Pod, for Services that mean one Pod.
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// Its number.
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The StatefulSet controller.
#[derive(Debug)]
pub struct StatefulSets {
    latency: Duration,
    queue: WorkQueue<Key>,
    claims: Claims,
}

fn selector(set: &StatefulSet) -> Option<LabelSelector> {
    set.spec.as_ref().map(|spec| spec.selector.clone())
}

impl StatefulSets {
    pub(crate) fn new(latency: Duration) -> Self {
        StatefulSets { latency, queue: WorkQueue::default(), claims: Claims::default() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, store: &Store, now: Instant) {
        for key in self.claims.observe(change, store, selector) {
            self.queue.add(key, now + self.latency);
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(key) = self.queue.pop(now) {
            worked = true;
            let Some(set) = api.store().get::<StatefulSet>(&key.0, &key.1).cloned() else {
                continue;
            };
            let mut sync = Sync::new(&set, now);
            if self.claims.take(&key) {
                sync.owner.claim(api, &sync.spec.selector, set.metadata.is_terminating());
            }
            sync.run(api);
            if let Some(again) = sync.again {
                self.queue.add(key, again);
            }
        }
        worked
    }
}

/// A StatefulSet that is being looked at.
struct Sync<'a> {
    owner: Owner,
    set: &'a StatefulSet,
    spec: StatefulSetSpec,
    now: Instant,
    /// Names and templates of the revisions: the one to come, and the one before.
    update: (String, PodTemplateSpec),
    current: (String, PodTemplateSpec),
    /// When a Pod will have been ready long enough.
    again: Option<Instant>,
}

/// `web-2` of `web` is 2 (`getParentNameAndOrdinal`).
fn ordinal(set: &str, pod: &str) -> Option<i32> {
    let number = pod.strip_prefix(set)?.strip_prefix('-')?;
    number.parse().ok().filter(|n: &i32| *n >= 0 && n.to_string() == number)
}

impl<'a> Sync<'a> {
    fn new(set: &'a StatefulSet, now: Instant) -> Sync<'a> {
        let spec = set.spec.clone().unwrap_or_default();
        let owner = Owner::of(set, "statefulset-controller");
        let none = (String::new(), PodTemplateSpec::default());
        Sync { owner, set, spec, now, update: none.clone(), current: none, again: None }
    }

    fn run(&mut self, api: &mut Api) {
        let (owner, template) = (&self.owner, &self.spec.template);
        let meta = &self.set.metadata;
        let Some(update) = history::current(api, owner, meta, template, self.now) else { return };
        self.update = (update.metadata.name().to_string(), self.spec.template.clone());
        let wanted = self.set.status.as_ref().and_then(|s| s.current_revision.clone());
        let all = history::of(api, &self.owner.uid);
        let known = all.iter().find(|r| wanted.as_deref() == Some(r.metadata.name()));
        let template = known.and_then(|revision| history::typed_template_of(revision));
        self.current = match (known, template) {
            (Some(known), Some(template)) => (known.metadata.name().to_string(), template),
            _ => self.update.clone(),
        };
        let mut by_ordinal: BTreeMap<i32, Rc<Pod>> = BTreeMap::new();
        for pod in api.store().owned::<Pod>(&self.owner.uid) {
            if let Some(number) = ordinal(&self.owner.name, pod.metadata.name()) {
                by_ordinal.insert(number, pod.clone());
            }
        }
        let mut status = self.status(&by_ordinal);
        if !self.set.metadata.is_terminating() {
            self.manage(api, &by_ordinal);
        }
        self.complete(&mut status);
        let used: Vec<&str> = by_ordinal
            .values()
            .filter_map(|pod| pod.metadata.label(REVISION_LABEL))
            .chain([self.update.0.as_str(), self.current.0.as_str()])
            .collect();
        history::forget(api, &self.owner, self.spec.revision_history_limit, &used, self.now);
        let (namespace, name) = self.owner.key();
        api.modify::<StatefulSet>(&namespace, &name, |set| set.status = Some(status));
    }

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1).max(0)
    }

    fn start(&self) -> i32 {
        self.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0)
    }

    fn is_parallel(&self) -> bool {
        self.spec.pod_management_policy.as_deref() == Some("Parallel")
    }

    fn is_rolling(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
    }

    fn partition(&self) -> i32 {
        let strategy = self.spec.update_strategy.as_ref();
        strategy.and_then(|s| s.rolling_update.as_ref()?.partition).unwrap_or(0).max(0)
    }

    /// Running, ready, and long enough so.
    fn is_available(&mut self, pod: &Pod) -> bool {
        match available_from(pod, self.spec.min_ready_seconds) {
            Some(from) if pods::phase(pod) == "Running" => {
                if from > self.now {
                    self.again = self.again.into_iter().chain([from]).min();
                }
                from <= self.now
            }
            _ => false,
        }
    }

    fn status(&mut self, pods: &BTreeMap<i32, Rc<Pod>>) -> StatefulSetStatus {
        let (mut ready, mut available, mut current, mut updated) = (0, 0, 0, 0);
        for pod in pods.values() {
            let is_running = pods::phase(pod) == "Running" && pods::is_ready(pod);
            ready += i32::from(is_running);
            available += i32::from(self.is_available(pod));
            if !pods::is_active(pod) {
                continue;
            }
            let revision = pod.metadata.label(REVISION_LABEL);
            current += i32::from(revision == Some(&self.current.0));
            updated += i32::from(revision == Some(&self.update.0));
        }
        let some = |n: i32| (n > 0).then_some(n);
        let before = self.set.status.clone().unwrap_or_default();
        StatefulSetStatus {
            replicas: count(pods.len()),
            ready_replicas: some(ready),
            available_replicas: Some(available),
            current_replicas: some(current),
            updated_replicas: some(updated),
            current_revision: Some(self.current.0.clone()),
            update_revision: Some(self.update.0.clone()),
            observed_generation: self.set.metadata.generation,
            collision_count: Some(before.collision_count.unwrap_or(0)),
            rest: before.rest,
        }
    }

    /// All Pods are of the new revision, which is the current one from now on (`completeRollingUpdate`).
    fn complete(&self, status: &mut StatefulSetStatus) {
        if self.is_rolling()
            && status.updated_replicas.unwrap_or(0) == self.replicas()
            && status.ready_replicas.unwrap_or(0) == self.replicas()
            && status.replicas == self.replicas()
        {
            status.current_replicas = status.updated_replicas;
            status.current_revision.clone_from(&status.update_revision);
        }
    }

    /// (`updateStatefulSet`)
    fn manage(&mut self, api: &mut Api, pods: &BTreeMap<i32, Rc<Pod>>) {
        let range = self.start()..self.start().saturating_add(self.replicas());
        for number in range.clone() {
            if !self.one(api, number, pods.get(&number)) {
                return;
            }
        }
        let condemned: Vec<(i32, Rc<Pod>)> = pods
            .iter()
            .filter(|(number, _)| !range.contains(number))
            .map(|(number, pod)| (*number, pod.clone()))
            .collect();
        let broken =
            condemned.iter().find(|(_, pod)| !pods::is_ready(pod)).map(|(number, _)| *number);
        for (number, pod) in condemned.iter().rev() {
            if pod.metadata.is_terminating() {
                if self.is_parallel() {
                    continue;
                }
                return;
            }
            let waits = !self.is_available(pod) && broken != Some(*number);
            if waits && !self.is_parallel() {
                return;
            }
            self.claims_follow(api, pod);
            self.delete(api, pod);
            if !self.is_parallel() {
                return;
            }
        }
        if self.is_rolling() {
            self.roll(api, range, pods);
        }
    }

    /// A Pod that is to be there. `false`: what comes after it has to wait (`processReplica`).
    fn one(&mut self, api: &mut Api, number: i32, pod: Option<&Rc<Pod>>) -> bool {
        let Some(pod) = pod else {
            let is_made = self.create(api, number);
            return is_made && self.is_parallel();
        };
        if pods::has_ended(pod) {
            if !pod.metadata.is_terminating() {
                let (ns, set) = (&self.owner.namespace, &self.owner.name);
                let name = pod.metadata.name();
                let message = format!("StatefulSet {ns}/{set} is recreating failed Pod {name}");
                let reason = "RecreatingFailedPod";
                self.owner.tell(api, Severity::Warning, reason, &message, self.now);
                self.delete(api, pod);
            }
            return self.is_parallel();
        }
        let waits = pod.metadata.is_terminating() || !self.is_available(pod);
        !waits || self.is_parallel()
    }

    /// From the highest number down, as many at a time as may be missing.
    fn roll(&mut self, api: &mut Api, range: std::ops::Range<i32>, pods: &BTreeMap<i32, Rc<Pod>>) {
        let strategy = self.spec.update_strategy.as_ref();
        let limit = strategy.and_then(|s| s.rolling_update.as_ref()?.max_unavailable.clone());
        let limit = limit.map_or(1, |limit| scaled(Some(&limit), self.replicas(), false).max(1));
        let first = range.start.saturating_add(self.partition());
        let mut missing = 0;
        for number in range.clone() {
            let works = match pods.get(&number) {
                Some(pod) => !pod.metadata.is_terminating() && self.is_available(pod),
                None => false,
            };
            missing += i32::from(!works);
        }
        for number in (first.max(range.start)..range.end).rev() {
            let Some(pod) = pods.get(&number).filter(|pod| !pod.metadata.is_terminating()) else {
                continue;
            };
            if pod.metadata.label(REVISION_LABEL) == Some(&self.update.0) {
                continue;
            }
            let works = self.is_available(pod);
            if missing - i32::from(!works) >= limit {
                return;
            }
            missing += i32::from(works);
            self.delete(api, pod);
        }
    }

    fn delete(&self, api: &mut Api, pod: &Pod) {
        let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
        if api.delete(Pod::id(), namespace, name, DeleteOptions::default(), self.now).is_ok() {
            let message =
                format!("delete Pod {name} in StatefulSet {} successful", self.owner.name);
            self.owner.tell(api, Severity::Normal, "SuccessfulDelete", &message, self.now);
        }
    }

    /// (`newVersionedStatefulSetPod`)
    fn create(&self, api: &mut Api, number: i32) -> bool {
        let is_kept = self.is_rolling() && number < self.start().saturating_add(self.partition());
        let (revision, template) = if is_kept { &self.current } else { &self.update };
        let name = format!("{}-{number}", self.owner.name);
        let mut pod = self.owner.pod(template);
        pod.metadata.generate_name = Some(format!("{}-", self.owner.name));
        pod.metadata.name = Some(name.clone());
        let labels = pod.metadata.labels.get_or_insert_default();
        labels.insert(POD_NAME.to_string(), name.clone());
        labels.insert(POD_INDEX.to_string(), number.to_string());
        labels.insert(REVISION_LABEL.to_string(), revision.clone());
        let spec = pod.spec.get_or_insert_default();
        spec.hostname = Some(name.clone());
        spec.subdomain = self.spec.service_name.clone().filter(|name| !name.is_empty());
        let volumes = spec.volumes.get_or_insert_default();
        for claim in self.spec.volume_claim_templates.items() {
            let template = claim.metadata.name();
            volumes.retain(|volume| volume.name != template);
            let mut volume = Volume { name: template.to_string(), ..Volume::default() };
            let source = json!({"claimName": format!("{template}-{name}")});
            volume.rest.insert("persistentVolumeClaim".to_string(), source);
            volumes.push(volume);
        }
        if volumes.is_empty() {
            spec.volumes = None;
        }
        let made = self.create_claims(api, &name).and_then(|()| {
            api.create_typed(pod, self.now).map(drop).map_err(|status| status.message)
        });
        let set = &self.owner.name;
        match made {
            Ok(()) => {
                let message = format!("create Pod {name} in StatefulSet {set} successful");
                self.owner.tell(api, Severity::Normal, "SuccessfulCreate", &message, self.now);
                true
            }
            Err(error) => {
                let message =
                    format!("create Pod {name} in StatefulSet {set} failed error: {error}");
                self.owner.tell(api, Severity::Warning, "FailedCreate", &message, self.now);
                false
            }
        }
    }

    /// What a Pod stores stays when it goes: a claim that is there already is taken again.
    fn create_claims(&self, api: &mut Api, pod: &str) -> Result<(), String> {
        let Ok(kind) = api.store().kinds().by_name("persistentvolumeclaims").map(|k| k.id) else {
            return Ok(());
        };
        for template in self.spec.volume_claim_templates.items() {
            let mut claim = template.clone();
            let name = format!("{}-{pod}", template.metadata.name());
            if api.store().get_any(kind, &self.owner.namespace, &name).is_some() {
                continue;
            }
            claim.metadata.name = Some(name.clone());
            claim.metadata.namespace = Some(self.owner.namespace.clone());
            let labels = claim.metadata.labels.get_or_insert_default();
            labels.extend(self.spec.selector.match_labels.clone().unwrap_or_default());
            if self.retention(true) {
                claim.metadata.owner_references = Some(vec![controller_ref(self.set)]);
            }
            let set = &self.owner.name;
            let made = api
                .object(kind, kube_api::to_value(&claim))
                .and_then(|object| api.create(object, self.now));
            let what = format!("create Claim {name} Pod {pod} in StatefulSet {set}");
            match made {
                Ok(_) => {
                    let message = format!("{what} success");
                    self.owner.tell(api, Severity::Normal, "SuccessfulCreate", &message, self.now);
                }
                Err(status) => {
                    let message = format!("{what} failed error: {}", status.message);
                    self.owner.tell(api, Severity::Warning, "FailedCreate", &message, self.now);
                    return Err(status.message);
                }
            }
        }
        Ok(())
    }

    /// Claims go with the set, or with a Pod that is scaled away.
    fn retention(&self, when_deleted: bool) -> bool {
        let policy = self.spec.persistent_volume_claim_retention_policy.as_ref();
        let word = policy.and_then(|policy| {
            if when_deleted {
                policy.when_deleted.as_deref()
            } else {
                policy.when_scaled.as_deref()
            }
        });
        word == Some("Delete")
    }

    /// The claims of a Pod that is scaled away belong to the Pod, and go when it is gone.
    fn claims_follow(&self, api: &mut Api, pod: &Rc<Pod>) {
        let Ok(kind) = api.store().kinds().by_name("persistentvolumeclaims").map(|k| k.id) else {
            return;
        };
        for template in self.spec.volume_claim_templates.items() {
            if !self.retention(false) {
                return;
            }
            let name = format!("{}-{}", template.metadata.name(), pod.metadata.name());
            let Some(claim) = api.store().get_any(kind, &self.owner.namespace, &name) else {
                continue;
            };
            let mut claim = claim.clone();
            let mut owner = controller_ref(&**pod);
            owner.controller = None;
            owner.block_owner_deletion = None;
            claim.meta_mut().owner_references = Some(vec![owner]);
            let _ = api.update(claim);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals() {
        for (pod, number) in [
            ("web-0", Some(0)),
            ("web-12", Some(12)),
            ("web-012", None),
            ("web--1", None),
            ("web-x", None),
            ("web", None),
            ("other-1", None),
        ] {
            assert_eq!(ordinal("web", pod), number, "{pod}");
        }
    }
}
