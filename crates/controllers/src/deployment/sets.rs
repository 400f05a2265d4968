//! The ReplicaSets of a Deployment (`pkg/controller/deployment/sync.go`, `util/deployment_util.go`).

use base::tree::BTreeMap;
use std::rc::Rc;

use base::Instant;
use kube_api::apps::{Deployment, ReplicaSet, ReplicaSetSpec};
use kube_api::core::PodTemplateSpec;
use kube_api::object::instant;
use kube_api::server::NAME_LETTERS;
use kube_api::{Api, DeleteOptions, Kind, MetaExt};

use super::Rollout;
use super::status::Mark;
use crate::replicaset;

/// Number of the rollout, on Deployments and ReplicaSets.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Numbers that a ReplicaSet had before it was rolled back to.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Tells the ReplicaSets of a Deployment, and their Pods, apart.
pub const TEMPLATE_HASH: &str = "pod-template-hash";

/// A Deployment's annotations that its ReplicaSets do not take over.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// The ReplicaSets of a Deployment.
pub(super) struct Sets {
    /// The one with the Deployment's template.
    pub(super) new: Option<Rc<ReplicaSet>>,
    /// The others, oldest first.
    pub(super) old: Vec<Rc<ReplicaSet>>,
}

impl Sets {
    pub(super) fn all(&self) -> impl Iterator<Item = &Rc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }
}

/// The Deployment's ReplicaSets, oldest first.
pub fn sets_of(api: &Api, deployment: &Deployment) -> Vec<Rc<ReplicaSet>> {
    let uid = deployment.metadata.uid();
    let is_managed =
        |set: &&Rc<ReplicaSet>| set.metadata.controller().is_some_and(|o| o.uid == uid);
    let mut sets: Vec<Rc<ReplicaSet>> =
        api.store().owned::<ReplicaSet>(uid).filter(is_managed).cloned().collect();
    base::order::sort_by_key(&mut sets, |set| {
        (created(set), revision_of(set), set.metadata.name().to_string())
    });
    sets
}

pub(super) fn created(set: &ReplicaSet) -> Instant {
    set.metadata.creation_timestamp.as_ref().map_or(Instant::ZERO, instant)
}

pub(super) fn desired(set: &ReplicaSet) -> i32 {
    i32::try_from(replicaset::replicas(set)).unwrap_or(i32::MAX)
}

pub(super) fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

pub(super) fn ready(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

pub(super) fn terminating(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0)
}

/// Number of a ReplicaSet's rollout.
pub fn revision_of(set: &ReplicaSet) -> u64 {
    set.metadata.annotation(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(metadata) = template.metadata.as_mut() {
        if let Some(labels) = metadata.labels.as_mut() {
            labels.remove(TEMPLATE_HASH);
        }
        metadata.creation_timestamp = None;
    }
    template
}

/// Whether both make the same Pods (`EqualIgnoreHash`).
pub(super) fn is_same_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let own = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    own.is_some_and(|own| own.spec == template.spec && without_hash(own) == without_hash(template))
}

/// A short hash of a template, another one after each collision. Upstream hashes Go's own print-out of the
/// object; this hashes its JSON, so the letters differ from a real cluster's, but not what they are for.
pub fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut text = kube_api::to_value(&without_hash(template)).to_string();
    if let Some(collisions) = collisions.filter(|n| *n > 0) {
        text.push_str(&collisions.to_string());
    }
    // FNV-1a of 32 bits, written in decimal, each digit as a letter that makes no words.
    let hash = text
        .bytes()
        .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let letters: Vec<char> = NAME_LETTERS.chars().collect();
    let letter = |digit: u8| letters.get(usize::from(digit) % letters.len()).copied();
    hash.to_string().bytes().filter_map(letter).collect()
}

impl Rollout<'_> {
    pub(super) fn template(&self) -> PodTemplateSpec {
        self.deployment.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default()
    }

    pub(super) fn sets(&self, api: &Api) -> Sets {
        let template = self.template();
        let mut old = sets_of(api, self.deployment);
        let new = old.iter().position(|set| is_same_template(set, &template));
        Sets { new: new.map(|at| old.remove(at)), old }
    }

    /// The ReplicaSets with a new one among them, which is made if it is not there (`getNewReplicaSet`).
    pub(super) fn with_new_set(&self, api: &mut Api, sets: &Sets, marks: &mut Vec<Mark>) -> Sets {
        let highest = sets.old.iter().map(|set| revision_of(set)).max().unwrap_or(0);
        match &sets.new {
            Some(set) => {
                let revision = (highest + 1).max(revision_of(set));
                self.annotate(api, set, revision);
                if self.condition("Progressing").is_none() {
                    let message = format!("Found new replica set {:?}", set.metadata.name());
                    marks.push(Mark::progressing("FoundNewReplicaSet", message));
                }
            }
            None => self.create_set(api, highest + 1, sets, marks),
        }
        self.sets(api)
    }

    /// What a ReplicaSet takes over, and its number (`SetNewReplicaSetAnnotations`).
    fn annotations(&self, set: Option<&ReplicaSet>, revision: u64) -> BTreeMap<String, String> {
        let taken = self.deployment.metadata.annotations.iter().flatten();
        let mut annotations: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in taken.filter(|(key, _)| !OWN.contains(&key.as_str())) {
            annotations.insert(key.clone(), value.clone());
        }
        let before = set.and_then(|set| set.metadata.annotation(REVISION)).unwrap_or_default();
        let text = revision.to_string();
        if !before.is_empty() && before != text {
            let history = set.and_then(|set| set.metadata.annotation(REVISION_HISTORY));
            let history = match history.filter(|history| !history.is_empty()) {
                Some(history) => format!("{history},{before}"),
                None => before.to_string(),
            };
            annotations.insert(REVISION_HISTORY.to_string(), history);
        }
        annotations.insert(REVISION.to_string(), text);
        if set.is_none() {
            let max = self.wanted() + self.limits().0;
            annotations.insert(DESIRED.to_string(), self.wanted().to_string());
            annotations.insert(MAX.to_string(), max.to_string());
        }
        annotations
    }

    fn annotate(&self, api: &mut Api, set: &Rc<ReplicaSet>, revision: u64) {
        let annotations = self.annotations(Some(set), revision);
        let min_ready = self.min_ready();
        api.modify::<ReplicaSet>(&self.owner.namespace, set.metadata.name(), |set| {
            set.metadata.annotations.get_or_insert_default().extend(annotations);
            set.spec.get_or_insert_default().min_ready_seconds = min_ready;
        });
    }

    fn create_set(&self, api: &mut Api, revision: u64, sets: &Sets, marks: &mut Vec<Mark>) {
        let Some(spec) = self.deployment.spec.as_ref() else { return };
        let collisions = self.deployment.status.as_ref().and_then(|s| s.collision_count);
        let hash = template_hash(&spec.template, collisions);
        let mut template = spec.template.clone();
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(TEMPLATE_HASH.to_string(), hash.clone());
        let labels = labels.clone();
        let mut selector = spec.selector.clone();
        selector
            .match_labels
            .get_or_insert_default()
            .insert(TEMPLATE_HASH.to_string(), hash.clone());
        let replicas = self.first_replicas(sets);
        let mut set = ReplicaSet {
            spec: Some(ReplicaSetSpec {
                replicas: Some(replicas),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            ..ReplicaSet::default()
        };
        let name = format!("{}-{hash}", self.owner.name);
        self.owner.own(&mut set.metadata);
        set.metadata.name = Some(name.clone());
        set.metadata.labels = Some(labels);
        set.metadata.annotations = Some(self.annotations(None, revision));
        if api.store().get::<ReplicaSet>(&self.owner.namespace, &name).is_some() {
            // Somebody else's, of another template: another hash next time.
            marks.push(Mark::Collision);
            return;
        }
        match api.create_typed(set, self.now) {
            Ok(_) => {
                if replicas > 0 {
                    self.tell_scaled(api, &name, 0, replicas);
                }
                let message = format!("Created new replica set {name:?}");
                marks.push(Mark::progressing("NewReplicaSetCreated", message));
            }
            Err(status) => {
                let message =
                    format!("Failed to create new replica set {name:?}: {}", status.message);
                marks.push(Mark::Failed("ReplicaSetCreateError", message));
            }
        }
    }

    /// How large the new ReplicaSet begins: as many as the surge allows (`NewRSNewReplicas`).
    fn first_replicas(&self, sets: &Sets) -> i32 {
        let wanted = self.wanted();
        if self.strategy() == "Recreate" {
            return wanted;
        }
        let running: i32 = sets.old.iter().map(|set| desired(set)).sum();
        (wanted + self.limits().0 - running).clamp(0, wanted)
    }

    /// Scales a ReplicaSet, and writes down what it was scaled for.
    pub(super) fn scale_set(&self, api: &mut Api, set: &ReplicaSet, to: i32) {
        let from = desired(set);
        let name = set.metadata.name();
        let max = (self.wanted() + self.limits().0).to_string();
        let wanted = self.wanted().to_string();
        api.modify::<ReplicaSet>(&self.owner.namespace, name, |set| {
            set.spec.get_or_insert_default().replicas = Some(to);
            let annotations = set.metadata.annotations.get_or_insert_default();
            annotations.insert(DESIRED.to_string(), wanted);
            annotations.insert(MAX.to_string(), max);
        });
        if from != to {
            self.tell_scaled(api, name, from, to);
        }
    }

    fn tell_scaled(&self, api: &mut Api, set: &str, from: i32, to: i32) {
        let word = if to > from { "up" } else { "down" };
        let message = format!("Scaled {word} replica set {set} from {from} to {to}");
        self.tell(api, "ScalingReplicaSet", &message);
    }

    /// ReplicaSets of old rollouts, beyond those that are to be kept (`cleanupDeployment`).
    pub(super) fn forget_history(&self, api: &mut Api, sets: &Sets) {
        let limit = self.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
        let is_empty = |set: &&Rc<ReplicaSet>| {
            desired(set) == 0 && actual(set) == 0 && !set.metadata.is_terminating()
        };
        let mut empty: Vec<&Rc<ReplicaSet>> = sets.old.iter().filter(is_empty).collect();
        base::order::sort_by_key(&mut empty, |set| revision_of(set));
        let surplus = empty.len().saturating_sub(limit);
        for set in empty.into_iter().take(surplus) {
            let (namespace, name) = (set.metadata.namespace(), set.metadata.name());
            let options = DeleteOptions::default();
            let _ = api.delete(ReplicaSet::id(), namespace, name, options, self.now);
        }
    }
}
