//! Jobs to Pods that end (`pkg/controller/job`), and the end of Jobs that are done
//! (`pkg/controller/ttlafterfinished`). [`policy`]: what a Pod's failure means for its Job, and which successes are
//! enough; [`per_index`]: Jobs whose numbers fail each for themselves.

mod per_index;
mod policy;

use base::tree::{BTreeMap, BTreeSet};
use std::rc::Rc;

use base::{Duration, Instant, Items as _};
use kube_api::batch::{Job, JobCondition, JobSpec, JobStatus};
use kube_api::core::{ContainerStatus, Pod};
use kube_api::meta::LabelSelector;
use kube_api::object::{instant, time};
use kube_api::{Api, Change, DeleteOptions, Kind, MetaExt, Store};
use serde_json::{Map, Value, json};

use crate::control::{Claims, Owner, count, some};
use crate::events::Severity;
use crate::indexes::Indexes;
use crate::pods;
use crate::queue::{Key, WorkQueue};

use per_index::Failures;
use policy::{Policy, policy};

/// Keeps a Pod until it has been counted.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// The number of a Pod of an indexed Job, as annotation and label.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The first wait after a failure, and the longest; it doubles (`DefaultJobPodFailureBackOff`).
const BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// Pods created or deleted in one go (`MaxPodCreateDeletePerSync`).
const BURST: usize = 500;

/// The Job controller.
#[derive(Debug)]
pub struct Jobs {
    latency: Duration,
    queue: WorkQueue<Key>,
    claims: Claims,
    /// Failures since the last success, and when the last was, by the Job's uid.
    failures: BTreeMap<String, (u32, Instant)>,
}

fn selector(job: &Job) -> Option<LabelSelector> {
    job.spec.as_ref()?.selector.clone()
}

/// It has come to an end, with this condition.
pub fn finished(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is_end = |c: &&JobCondition| matches!(c.type_.as_str(), "Complete" | "Failed");
    conditions.iter().find(|c| is_end(c) && c.status == "True")
}

impl Jobs {
    pub(crate) fn new(latency: Duration) -> Self {
        let (queue, claims) = (WorkQueue::default(), Claims::default());
        Jobs { latency, queue, claims, failures: BTreeMap::new() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, store: &Store, now: Instant) {
        if let Some(job) = change.of::<Job>().filter(|_| change.new.is_none()) {
            self.failures.remove(job.metadata.uid());
        }
        for key in self.claims.observe(change, store, selector) {
            self.queue.add(key, now + self.latency);
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(key) = self.queue.pop(now) {
            worked = true;
            let Some(job) = api.store().get::<Job>(&key.0, &key.1).cloned() else {
                release_orphans(api, &key);
                continue;
            };
            let owner = Owner::of(&*job, "job-controller");
            let spec = job.spec.clone().unwrap_or_default();
            if self.claims.take(&key) {
                let wanted = spec.selector.clone().unwrap_or_default();
                owner.claim(api, &wanted, job.metadata.is_terminating());
            }
            let failures = self.failures.get(job.metadata.uid()).copied();
            let status = job.status.clone().unwrap_or_default();
            let mut sync = Sync { owner, job, spec, status, now, failures, again: None };
            sync.run(api);
            let uid = sync.owner.uid.clone();
            match sync.failures {
                Some(failures) => drop(self.failures.insert(uid, failures)),
                None => drop(self.failures.remove(&uid)),
            }
            if let Some(again) = sync.again {
                self.queue.add(key, again);
            }
        }
        worked
    }
}

/// Pods of a Job that is gone are kept by nobody (`syncOrphanPod`).
fn release_orphans(api: &mut Api, (namespace, name): &Key) {
    let is_left = |pod: &&Rc<Pod>| {
        is_tracked(pod)
            && pod.metadata.controller().is_some_and(|o| o.kind == "Job" && o.name == *name)
    };
    let prefix = format!("{name}-");
    let left: Vec<Rc<Pod>> =
        api.store().list_named::<Pod>(namespace, &prefix).filter(is_left).cloned().collect();
    for pod in left {
        untrack(api, &pod);
    }
}

fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.items().any(|finalizer| finalizer == TRACKING)
}

/// Lets a Pod go that has been counted. One that was only waiting for that is gone.
fn untrack(api: &mut Api, pod: &Pod) {
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    let changed = api.modify::<Pod>(namespace, name, |pod| {
        let finalizers = pod.metadata.finalizers.get_or_insert_default();
        finalizers.retain(|finalizer| finalizer != TRACKING);
        if finalizers.is_empty() {
            pod.metadata.finalizers = None;
        }
    });
    let Some(changed) = changed else { return };
    let is_over = pods::has_ended(&changed) || pods::node_name(&changed).is_none();
    if changed.metadata.is_terminating() && changed.metadata.finalizers.is_none() && is_over {
        api.remove(Pod::id(), namespace, name);
    }
}

/// A Job that is being looked at.
struct Sync {
    owner: Owner,
    job: Rc<Job>,
    spec: JobSpec,
    status: JobStatus,
    now: Instant,
    failures: Option<(u32, Instant)>,
    again: Option<Instant>,
}

/// Its Pods, as they are counted.
#[derive(Default)]
struct Counted {
    active: Vec<Rc<Pod>>,
    terminating: i32,
    /// A rule says that the Job has failed.
    verdict: Option<String>,
    has_new_failure: bool,
    /// The last failure of each number, where those are counted each for itself.
    failures: Failures,
}

impl Sync {
    fn run(&mut self, api: &mut Api) {
        if let Some(end) = finished(&self.job) {
            let ended = end.last_transition_time.as_ref().map_or(self.now, instant);
            return self.after_the_end(api, ended);
        }
        if !self.is_suspended() && self.status.start_time.is_none() {
            self.status.start_time = Some(time(self.now));
        }
        let counted = self.count(api);
        let verdict = self.verdict(&counted);
        if let Some((kind, reason, message)) = verdict {
            self.end(api, &counted, kind, reason, message);
        } else if !self.job.metadata.is_terminating() {
            self.suspend_or_resume(api);
            self.manage(api, &counted);
        }
        self.write_status(api);
    }

    fn wait_until(&mut self, at: Instant) {
        self.again = self.again.into_iter().chain([at]).min();
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    fn parallelism(&self) -> usize {
        usize::try_from(self.spec.parallelism.unwrap_or(1)).unwrap_or(0)
    }

    // ---- counting ------------------------------------------------------------------------------------

    /// Counts its Pods; those that are over are counted once, and let go.
    fn count(&mut self, api: &mut Api) -> Counted {
        let all: Vec<Rc<Pod>> = api.store().owned::<Pod>(&self.owner.uid).cloned().collect();
        let mut counted = Counted::default();
        let mut done = Indexes::parse(self.status.completed_indexes.as_deref().unwrap_or_default());
        let waits_for_end = self.spec.pod_replacement_policy.as_deref() == Some("Failed");
        let (mut succeeded, mut ready) = (0, 0);
        if self.is_per_index() {
            counted.failures = Failures::of(&all);
        }
        for pod in all {
            let (has_ended, is_going) = (pods::has_ended(&pod), pod.metadata.is_terminating());
            if !has_ended && is_going {
                counted.terminating += 1;
            }
            if !has_ended && !is_going {
                ready += i32::from(pods::is_ready(&pod));
                counted.active.push(pod);
                continue;
            }
            if !is_tracked(&pod) || (!has_ended && waits_for_end) {
                continue;
            }
            if pods::phase(&pod) == "Succeeded" {
                match index_of(&pod) {
                    Some(index) if self.is_indexed() => {
                        succeeded += i32::from(index < self.completions() && done.insert(index));
                    }
                    _ => succeeded += 1,
                }
            } else {
                self.count_failure(&pod, &mut counted);
            }
            untrack(api, &pod);
        }
        if succeeded > 0 {
            self.failures = None;
        }
        self.status.succeeded = some(self.status.succeeded.unwrap_or(0) + succeeded);
        if self.is_indexed() {
            self.status.completed_indexes = Some(done.to_string()).filter(|text| !text.is_empty());
        }
        self.status.active = some(count(counted.active.len()));
        self.status.ready = Some(ready);
        self.status.terminating = Some(counted.terminating);
        counted
    }

    fn count_failure(&mut self, pod: &Pod, counted: &mut Counted) {
        match policy(&self.spec, pod) {
            Some(Policy::Ignore) => return,
            Some(Policy::FailJob(message)) => counted.verdict = Some(message),
            Some(Policy::FailIndex) => self.count_for_index(pod, true),
            None => self.count_for_index(pod, false),
        }
        counted.has_new_failure = true;
        self.status.failed = some(self.status.failed.unwrap_or(0) + 1);
        let ended = finished_at(pod).unwrap_or(self.now).min(self.now);
        let (before, last) = self.failures.unwrap_or((0, Instant::ZERO));
        self.failures = Some((before + 1, last.max(ended)));
    }

    fn completions(&self) -> i32 {
        self.spec.completions.unwrap_or(i32::MAX)
    }

    // ---- the end -------------------------------------------------------------------------------------

    /// Whether the Job is over, and how.
    fn verdict(&mut self, counted: &Counted) -> Option<(&'static str, &'static str, String)> {
        let of = |reason, text: &str| Some(("FailureTarget", reason, text.to_string()));
        let marks = self.status.conditions.items();
        for mark in marks.filter(|c| c.status == "True") {
            let message = mark.message.clone().unwrap_or_default();
            match mark.type_.as_str() {
                "SuccessCriteriaMet" => {
                    let by_policy = mark.reason.as_deref() == Some("SuccessPolicy");
                    let reason = if by_policy { "SuccessPolicy" } else { "CompletionsReached" };
                    return Some(("SuccessCriteriaMet", reason, message));
                }
                "FailureTarget" => {
                    let known = [
                        "BackoffLimitExceeded",
                        "DeadlineExceeded",
                        "PodFailurePolicy",
                        "MaxFailedIndexesExceeded",
                        "FailedIndexes",
                    ];
                    let reason = known.into_iter().find(|r| mark.reason.as_deref() == Some(r));
                    return Some(("FailureTarget", reason.unwrap_or_default(), message));
                }
                _ => {}
            }
        }
        if let Some(message) = &counted.verdict {
            return of("PodFailurePolicy", message);
        }
        let limit = self.spec.backoff_limit.unwrap_or(6);
        let failed = self.status.failed.unwrap_or(0);
        if (counted.has_new_failure && failed > limit) || self.has_restarted_too_often(counted) {
            return of("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        if let Some(deadline) = self.deadline() {
            if deadline <= self.now {
                return of("DeadlineExceeded", "Job was active longer than specified deadline");
            }
            self.wait_until(deadline);
        }
        if let Some((reason, message)) = self.failed_indexes(counted) {
            return of(reason, message);
        }
        let done = Indexes::parse(self.status.completed_indexes.as_deref().unwrap_or_default());
        if let Some(message) = policy::success(&self.spec, &done) {
            return Some(("SuccessCriteriaMet", "SuccessPolicy", message));
        }
        let succeeded = self.status.succeeded.unwrap_or(0);
        let is_complete = match self.spec.completions {
            Some(completions) => succeeded >= completions,
            None => succeeded > 0 && counted.active.is_empty(),
        };
        is_complete.then(|| {
            let message = "Reached expected number of succeeded pods".to_string();
            ("SuccessCriteriaMet", "CompletionsReached", message)
        })
    }

    /// Containers that are started again in their Pods count too (`pastBackoffLimitOnFailure`).
    fn has_restarted_too_often(&self, counted: &Counted) -> bool {
        let policy = self.spec.template.spec.as_ref().and_then(|s| s.restart_policy.as_deref());
        if policy != Some("OnFailure") {
            return false;
        }
        let limit = self.spec.backoff_limit.unwrap_or(6);
        let statuses = counted.active.iter().filter_map(|pod| pod.status.as_ref());
        let containers = |status: &kube_api::core::PodStatus| -> i32 {
            let all = status.container_statuses.iter().chain(&status.init_container_statuses);
            all.flatten().map(|container: &ContainerStatus| container.restart_count).sum()
        };
        let restarts: i32 = statuses.map(containers).sum();
        if limit == 0 { restarts > 0 } else { restarts >= limit }
    }

    fn deadline(&self) -> Option<Instant> {
        let seconds = u64::try_from(self.spec.active_deadline_seconds?).ok()?;
        let started = self.status.start_time.as_ref().filter(|_| !self.is_suspended())?;
        Some(instant(started) + Duration::from_secs(seconds))
    }

    /// What still runs is ended; when nothing runs any more, the Job has come to its end.
    fn end(
        &mut self,
        api: &mut Api,
        counted: &Counted,
        kind: &str,
        reason: &'static str,
        message: String,
    ) {
        for pod in counted.active.iter().take(BURST) {
            self.owner.delete_pod(api, pod, self.now);
        }
        self.set_condition(kind, "True", reason, &message);
        if !counted.active.is_empty() {
            self.status.active = None;
            self.status.ready = Some(0);
        }
        if counted.terminating > 0 || !counted.active.is_empty() {
            return;
        }
        self.status.terminating = Some(0);
        if kind == "SuccessCriteriaMet" {
            self.set_condition("Complete", "True", reason, &message);
            self.status.completion_time = Some(time(self.now));
            let (severity, text) = (Severity::Normal, "Job completed");
            self.owner.tell(api, severity, "Completed", text, self.now);
        } else {
            self.set_condition("Failed", "True", reason, &message);
            self.owner.tell(api, Severity::Warning, reason, &message, self.now);
        }
    }

    /// What is done is taken away after a while, if that is wanted.
    fn after_the_end(&mut self, api: &mut Api, ended: Instant) {
        let left: Vec<Rc<Pod>> =
            api.store().owned::<Pod>(&self.owner.uid).filter(|p| is_tracked(p)).cloned().collect();
        for pod in left {
            untrack(api, &pod);
        }
        let Some(ttl) = self.spec.ttl_seconds_after_finished else { return };
        let due = ended + Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
        if due > self.now {
            return self.wait_until(due);
        }
        let (namespace, name) = self.owner.key();
        let _ = api.delete(Job::id(), &namespace, &name, DeleteOptions::default(), self.now);
    }

    // ---- Pods ----------------------------------------------------------------------------------------

    fn suspend_or_resume(&mut self, api: &mut Api) {
        let conditions = self.status.conditions.items();
        let known = conditions.into_iter().find(|c| c.type_ == "Suspended");
        let is_known_so = known.map(|c| c.status == "True");
        let word = match (self.is_suspended(), is_known_so) {
            (true, None | Some(false)) => {
                self.status.start_time = None;
                self.set_condition("Suspended", "True", "JobSuspended", "Job suspended");
                ("Suspended", "Job suspended")
            }
            (false, Some(true)) => {
                self.status.start_time = Some(time(self.now));
                self.set_condition("Suspended", "False", "JobResumed", "Job resumed");
                ("Resumed", "Job resumed")
            }
            _ => return,
        };
        self.owner.tell(api, Severity::Normal, word.0, word.1, self.now);
    }

    /// (`manageJob`)
    fn manage(&mut self, api: &mut Api, counted: &Counted) {
        let active = counted.active.len();
        let succeeded = self.status.succeeded.unwrap_or(0);
        let wanted = if self.is_suspended() {
            0
        } else if let Some(completions) = self.spec.completions {
            let left = completions - succeeded - count(self.given_up().len());
            usize::try_from(left).unwrap_or(0).min(self.parallelism())
        } else if succeeded > 0 {
            active
        } else {
            self.parallelism()
        };
        if active > wanted {
            let mut surplus = counted.active.clone();
            base::order::sort_by_key(&mut surplus, |pod| {
                (
                    pods::node_name(pod).is_some(),
                    pods::is_ready(pod),
                    pod.metadata.uid().to_string(),
                )
            });
            surplus.truncate((active - wanted).min(BURST));
            for pod in &surplus {
                self.owner.delete_pod(api, pod, self.now);
            }
            self.status.active = some(count(active - surplus.len()));
            return;
        }
        let going = usize::try_from(counted.terminating).unwrap_or(0);
        let replaces_late = self.spec.pod_replacement_policy.as_deref() == Some("Failed");
        let there = active + if replaces_late { going } else { 0 };
        let missing = wanted.saturating_sub(there).min(BURST);
        if missing == 0 {
            return;
        }
        let until = self.backoff().filter(|until| *until > self.now && !self.is_per_index());
        if let Some(until) = until {
            return self.wait_until(until);
        }
        self.create(api, counted, missing);
    }

    /// Until when a failure is to be slept over.
    fn backoff(&self) -> Option<Instant> {
        let (failures, last) = self.failures.filter(|(failures, _)| *failures > 0)?;
        let wait = BACKOFF.0.saturating_mul(1 << (failures - 1).min(16)).min(BACKOFF.1);
        Some(last + wait)
    }

    fn create(&mut self, api: &mut Api, counted: &Counted, missing: usize) {
        let indexes = self.indexes(counted, missing);
        let (mut created, mut batch) = (0, 1);
        while created < missing {
            let goal = (created + batch).min(missing);
            while created < goal {
                let index = indexes.as_ref().map(|all| all.get(created).copied());
                let pod = match index {
                    Some(None) => {
                        self.status.active = some(count(counted.active.len() + created));
                        return;
                    }
                    Some(Some(index)) => self.pod(Some(index), &counted.failures),
                    None => self.pod(None, &counted.failures),
                };
                if self.owner.create_pod(api, pod, self.now).is_err() {
                    self.wait_until(self.now + Duration::from_secs(1));
                    self.status.active = some(count(counted.active.len() + created));
                    return;
                }
                created += 1;
            }
            batch *= 2;
        }
        self.status.active = some(count(counted.active.len() + created));
    }

    /// The lowest numbers that nobody works on and that are not done.
    fn indexes(&mut self, counted: &Counted, missing: usize) -> Option<Vec<i32>> {
        if !self.is_indexed() {
            return None;
        }
        let done = Indexes::parse(self.status.completed_indexes.as_deref().unwrap_or_default());
        let busy: BTreeSet<i32> =
            base::order::set(counted.active.iter().filter_map(|pod| index_of(pod)));
        let given_up = self.given_up();
        let (mut free, mut later) = (Vec::new(), None);
        for index in 0..self.completions() {
            if free.len() == missing {
                break;
            }
            if busy.contains(&index) || done.contains(index) || given_up.contains(index) {
                continue;
            }
            match counted.failures.until(index).filter(|until| *until > self.now) {
                Some(until) => later = later.into_iter().chain([until]).min(),
                None => free.push(index),
            }
        }
        if let Some(later) = later {
            self.wait_until(later);
        }
        Some(free)
    }

    fn pod(&self, index: Option<i32>, failures: &Failures) -> Pod {
        let mut pod = self.owner.pod(&self.spec.template);
        pod.metadata.finalizers = Some(vec![TRACKING.to_string()]);
        let Some(index) = index else { return pod };
        let text = index.to_string();
        pod.metadata.generate_name = Some(format!("{}-{index}-", self.owner.name));
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(INDEX.to_string(), text.clone());
        if self.is_per_index() {
            annotations.insert(per_index::FAILURES.to_string(), failures.next(index).to_string());
        }
        pod.metadata.labels.get_or_insert_default().insert(INDEX.to_string(), text);
        let spec = pod.spec.get_or_insert_default();
        spec.hostname = Some(format!("{}-{index}", self.owner.name));
        let path = format!("metadata.labels['{INDEX}']");
        let variable = json!({"name": "JOB_COMPLETION_INDEX",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
        let containers =
            spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
        for container in containers {
            let env = container.env.get_or_insert_default();
            env.extend(kube_api::from_value(variable.clone()));
        }
        pod
    }

    // ---- status --------------------------------------------------------------------------------------

    fn set_condition(&mut self, kind: &str, state: &str, reason: &str, message: &str) {
        let conditions = self.status.conditions.get_or_insert_default();
        let before = conditions.iter().position(|c| c.type_ == kind);
        if before.and_then(|at| conditions.get(at)).is_some_and(|c| c.status == state) {
            return;
        }
        let condition = JobCondition {
            type_: kind.to_string(),
            status: state.to_string(),
            reason: Some(reason.to_string()),
            message: Some(message.to_string()),
            last_probe_time: Some(time(self.now)),
            last_transition_time: Some(time(self.now)),
        };
        conditions.retain(|c| c.type_ != kind);
        conditions.push(condition);
    }

    fn write_status(&mut self, api: &mut Api) {
        let uncounted = Value::Object(Map::new());
        self.status.rest.insert("uncountedTerminatedPods".to_string(), uncounted);
        let status = self.status.clone();
        let (namespace, name) = self.owner.key();
        api.modify::<Job>(&namespace, &name, |job| job.status = Some(status));
    }
}

fn index_of(pod: &Pod) -> Option<i32> {
    pod.metadata.annotation(INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// When the last of a Pod's containers ended.
fn finished_at(pod: &Pod) -> Option<Instant> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ends = statuses.iter().filter_map(|status| {
        status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(instant)
    });
    ends.max()
}
