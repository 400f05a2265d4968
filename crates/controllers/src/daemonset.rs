//! DaemonSets to Pods: one on every node that takes it (`pkg/controller/daemon`).

use base::tree::BTreeMap;
use std::rc::Rc;

use base::{Duration, Instant};
use kube_api::apps::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use kube_api::core::{Node, Pod, PodSpec, Toleration};
use kube_api::meta::LabelSelector;
use kube_api::{Api, Change, MetaExt, Store};

use crate::control::{Claims, Owner, available_from, count};
use crate::deployment::scaled;
use crate::events::Severity;
use crate::history::{self, REVISION_LABEL};
use crate::queue::{Key, WorkQueue};
use crate::scheduler::{node_matters, taints};
use crate::{affinity, pods};

/// What a daemon's Pod puts up with (`AddOrUpdateDaemonPodTolerations`).
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// The first wait before a failed Pod is replaced, and the longest; it doubles.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(900));

/// The DaemonSet controller.
#[derive(Debug)]
pub struct DaemonSets {
    latency: Duration,
    queue: WorkQueue<Key>,
    claims: Claims,
    /// How often Pods of a set have failed on a node, and until when the next is waited for.
    failed: BTreeMap<(String, String), (u32, Instant)>,
}

fn selector(set: &DaemonSet) -> Option<LabelSelector> {
    set.spec.as_ref().map(|spec| spec.selector.clone())
}

impl DaemonSets {
    pub(crate) fn new(latency: Duration) -> Self {
        let (queue, claims) = (WorkQueue::default(), Claims::default());
        DaemonSets { latency, queue, claims, failed: BTreeMap::new() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, store: &Store, now: Instant) {
        let at = now + self.latency;
        if change.of::<Node>().is_some() && node_matters(change) {
            for set in store.list::<DaemonSet>() {
                let meta = &set.metadata;
                self.queue.add((meta.namespace().to_string(), meta.name().to_string()), at);
            }
        }
        for key in self.claims.observe(change, store, selector) {
            self.queue.add(key, at);
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(key) = self.queue.pop(now) {
            worked = true;
            let Some(set) = api.store().get::<DaemonSet>(&key.0, &key.1).cloned() else {
                continue;
            };
            let spec = set.spec.clone().unwrap_or_default();
            let owner = Owner::of(&*set, "daemonset-controller");
            if self.claims.take(&key) {
                owner.claim(api, &spec.selector, set.metadata.is_terminating());
            }
            let mut sync = Sync {
                owner,
                set: &set,
                spec,
                hash: String::new(),
                now,
                failed: &mut self.failed,
                again: None,
            };
            sync.run(api);
            if let Some(again) = sync.again {
                self.queue.add(key, again);
            }
        }
        worked
    }
}

/// A DaemonSet that is being looked at.
struct Sync<'a> {
    owner: Owner,
    set: &'a DaemonSet,
    spec: DaemonSetSpec,
    hash: String,
    now: Instant,
    failed: &'a mut BTreeMap<(String, String), (u32, Instant)>,
    again: Option<Instant>,
}

/// A node, whether it should have a Pod of the set, whether one that is there may stay, and the ones it has.
struct Place {
    node: String,
    wants: bool,
    keeps: bool,
    pods: Vec<Rc<Pod>>,
}

impl Sync<'_> {
    fn run(&mut self, api: &mut Api) {
        let (owner, template) = (&self.owner, &self.spec.template);
        let meta = &self.set.metadata;
        let Some(current) = history::current(api, owner, meta, template, self.now) else { return };
        self.hash = history::hash_of(&current).to_string();
        let mut places = self.places(api);
        if !self.set.metadata.is_terminating() {
            let has_managed = self.manage(api, &places);
            if has_managed {
                places = self.places(api);
            }
            self.roll(api, &places);
        }
        let used: Vec<&str> = places
            .iter()
            .flat_map(|place| &place.pods)
            .filter_map(|pod| pod.metadata.label(REVISION_LABEL))
            .chain([self.hash.as_str()])
            .collect();
        history::forget(api, &self.owner, self.spec.revision_history_limit, &used, self.now);
        self.write_status(api, &places);
    }

    fn places(&self, api: &Api) -> Vec<Place> {
        let mut by_node: BTreeMap<String, Vec<Rc<Pod>>> = BTreeMap::new();
        for pod in api.store().owned::<Pod>(&self.owner.uid) {
            let tied = pod.spec.as_ref().and_then(affinity::tied_to);
            if let Some(node) = pods::node_name(pod).or(tied) {
                by_node.entry(node.to_string()).or_default().push(pod.clone());
            }
        }
        let candidate = Pod { spec: Some(self.pod_spec()), ..Pod::default() };
        let mut places = Vec::new();
        for node in api.store().list::<Node>() {
            let name = node.metadata.name().to_string();
            let pods = by_node.remove(&name).unwrap_or_default();
            let fits = candidate.spec.as_ref().is_some_and(|spec| affinity::matches(spec, node));
            let bad = |effect: &str| taints::untolerated(&candidate, node, &[effect]).is_some();
            let keeps = fits && !bad("NoExecute");
            places.push(Place { node: name, wants: keeps && !bad("NoSchedule"), keeps, pods });
        }
        places
    }

    /// The template's spec with what every daemon puts up with.
    fn pod_spec(&self) -> PodSpec {
        let mut spec = self.spec.template.spec.clone().unwrap_or_default();
        let on_host = spec.host_network == Some(true);
        let tolerations = spec.tolerations.get_or_insert_default();
        let network = on_host.then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
        for (key, effect) in TOLERATED.into_iter().chain(network) {
            tolerations.push(Toleration {
                key: Some(key.to_string()),
                operator: Some("Exists".to_string()),
                effect: Some(effect.to_string()),
                ..Toleration::default()
            });
        }
        spec
    }

    fn is_new(&self, pod: &Pod) -> bool {
        pod.metadata.label(REVISION_LABEL) == Some(&self.hash)
    }

    fn is_available(&mut self, pod: &Pod) -> bool {
        match available_from(pod, self.spec.min_ready_seconds) {
            Some(from) => {
                if from > self.now {
                    self.again = self.again.into_iter().chain([from]).min();
                }
                from <= self.now
            }
            None => false,
        }
    }

    /// How many nodes may have a second Pod, and how many none, while they change.
    fn limits(&self, wanted: usize) -> (i32, i32) {
        let strategy = self.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let surge = scaled(surge, count(wanted), true);
        let missing = unavailable.map_or(1, |value| scaled(Some(value), count(wanted), true));
        if surge == 0 { (0, missing.max(1)) } else { (surge, missing) }
    }

    /// One Pod where there should be one, none where there should be none; one that has failed is replaced.
    fn manage(&mut self, api: &mut Api, places: &[Place]) -> bool {
        let mut has_managed = false;
        let may_surge = self.limits(places.len()).0 > 0 && !self.is_on_delete();
        for place in places {
            let mut kept: Vec<&Rc<Pod>> = Vec::new();
            for pod in &place.pods {
                let is_running = !pod.metadata.is_terminating();
                if is_running && !place.wants && !place.keeps {
                    has_managed = true;
                    self.owner.delete_pod(api, pod, self.now);
                } else if is_running && pods::has_ended(pod) {
                    has_managed |= self.replace_failed(api, place, pod);
                    kept.push(pod);
                } else {
                    kept.push(pod);
                }
            }
            // Of several the oldest stays; while a new one takes over, one of each.
            let live: Vec<&&Rc<Pod>> = kept.iter().filter(|pod| pods::is_active(pod)).collect();
            let mut seen: Vec<bool> = Vec::new();
            for pod in live {
                let kind = may_surge && self.is_new(pod);
                if seen.contains(&kind) || (!may_surge && !seen.is_empty()) {
                    has_managed = true;
                    self.owner.delete_pod(api, pod, self.now);
                } else {
                    seen.push(kind);
                }
            }
            if place.wants && kept.is_empty() {
                has_managed = true;
                self.create(api, &place.node);
            }
        }
        has_managed
    }

    fn replace_failed(&mut self, api: &mut Api, place: &Place, pod: &Pod) -> bool {
        let key = (self.owner.uid.clone(), place.node.clone());
        let (failures, until) = self.failed.get(&key).copied().unwrap_or((0, Instant::ZERO));
        if until > self.now {
            self.again = self.again.into_iter().chain([until]).min();
            return false;
        }
        let wait = BACKOFF.0.saturating_mul(1 << failures.min(16)).min(BACKOFF.1);
        self.failed.insert(key, (failures + 1, self.now + wait));
        let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
        let (word, what, reason, severity) = match pods::phase(pod) {
            "Succeeded" => ("succeeded", "delete", "SucceededDaemonPod", Severity::Normal),
            _ => ("failed", "kill", "FailedDaemonPod", Severity::Warning),
        };
        let node = &place.node;
        let message = format!(
            "Found {word} daemon pod {namespace}/{name} on node {node}, will try to {what} it"
        );
        self.owner.tell(api, severity, reason, &message, self.now);
        self.owner.delete_pod(api, pod, self.now);
        true
    }

    fn is_on_delete(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete")
    }

    /// Pods of an earlier template make room (`rollingUpdate`).
    fn roll(&mut self, api: &mut Api, places: &[Place]) {
        if self.is_on_delete() {
            return;
        }
        let wanted: Vec<&Place> = places.iter().filter(|place| place.wants).collect();
        let (surge, missing) = self.limits(wanted.len());
        if surge > 0 {
            self.surge(api, &wanted, surge)
        } else {
            self.take_turns(api, &wanted, missing)
        }
    }

    fn find(&self, place: &Place, is_new: bool) -> Option<Rc<Pod>> {
        let mut live = place.pods.iter().filter(|pod| pods::is_active(pod));
        live.find(|pod| self.is_new(pod) == is_new).cloned()
    }

    /// An old Pod goes, and a new one comes where it was, on so many nodes at a time.
    fn take_turns(&mut self, api: &mut Api, places: &[&Place], limit: i32) {
        let (mut missing, mut go, mut candidates) = (0, Vec::new(), Vec::new());
        for place in places {
            let (new, old) = (self.find(place, true), self.find(place, false));
            match (new, old) {
                (Some(new), _) => missing += i32::from(!self.is_available(&new)),
                (None, Some(old)) if self.is_available(&old) => candidates.push(old),
                (None, Some(old)) => {
                    missing += 1;
                    go.push(old);
                }
                (None, None) => missing += 1,
            }
        }
        let room = usize::try_from(limit - missing).unwrap_or(0);
        go.extend(candidates.into_iter().take(room));
        for pod in go {
            self.owner.delete_pod(api, &pod, self.now);
        }
    }

    /// A new Pod comes beside the old one, which goes when the new one works.
    fn surge(&mut self, api: &mut Api, places: &[&Place], limit: i32) {
        let (mut surging, mut come, mut candidates) = (0, Vec::new(), Vec::new());
        let mut go = Vec::new();
        for place in places {
            let (new, old) = (self.find(place, true), self.find(place, false));
            match (new, old) {
                (None, Some(old)) if self.is_available(&old) => candidates.push(&place.node),
                (None, Some(_)) => come.push(&place.node),
                (Some(new), Some(old)) => {
                    surging += 1;
                    if self.is_available(&new) {
                        go.push(old);
                    }
                }
                (_, None) => {}
            }
        }
        for pod in go {
            self.owner.delete_pod(api, &pod, self.now);
        }
        let room = usize::try_from(limit - surging).unwrap_or(0);
        come.extend(candidates.into_iter().take(room));
        for node in come {
            self.create(api, node);
        }
    }

    fn create(&self, api: &mut Api, node: &str) {
        let mut pod = self.owner.pod(&self.spec.template);
        let mut spec = self.pod_spec();
        affinity::tie_to(&mut spec, node);
        pod.spec = Some(spec);
        let labels = pod.metadata.labels.get_or_insert_default();
        labels.insert(REVISION_LABEL.to_string(), self.hash.clone());
        let generation = self.set.metadata.generation.unwrap_or(1);
        labels.insert("pod-template-generation".to_string(), generation.to_string());
        let _ = self.owner.create_pod(api, pod, self.now);
    }

    /// (`updateDaemonSetStatus`)
    fn write_status(&mut self, api: &mut Api, places: &[Place]) {
        let mut status = DaemonSetStatus {
            observed_generation: self.set.metadata.generation,
            rest: self.set.status.clone().unwrap_or_default().rest,
            ..DaemonSetStatus::default()
        };
        let (mut available, mut updated) = (0, 0);
        for place in places {
            let oldest = place.pods.iter().find(|pod| pods::is_active(pod)).cloned();
            let scheduled = i32::from(!place.pods.is_empty());
            if !place.wants {
                status.number_misscheduled += scheduled;
                continue;
            }
            status.desired_number_scheduled += 1;
            status.current_number_scheduled += scheduled;
            let ready =
                place.pods.iter().find(|p| pods::is_active(p) && pods::is_ready(p)).cloned();
            if let Some(pod) = ready {
                status.number_ready += 1;
                available += i32::from(self.is_available(&pod));
            }
            let newest = self.find(place, true).or(oldest);
            updated += i32::from(newest.is_some_and(|pod| self.is_new(&pod)));
        }
        let some = |n: i32| (n > 0).then_some(n);
        status.number_available = some(available);
        status.number_unavailable = some(status.desired_number_scheduled - available);
        status.updated_number_scheduled = some(updated);
        let (namespace, name) = self.owner.key();
        api.modify::<DaemonSet>(&namespace, &name, |set| set.status = Some(status));
    }
}
