//! CronJobs to Jobs, when it is time (`pkg/controller/cronjob`).

use std::rc::Rc;

use base::zones::{self, Zone};
use base::{Duration, Instant, Utc};
use kube_api::batch::{CronJob, CronJobSpec, CronJobStatus, Job};
use kube_api::object::{instant, time};
use kube_api::{Api, Change, DeleteOptions, Kind, MetaExt, Time};

use crate::control::Owner;
use crate::cron::Schedule;
use crate::events::{self, Severity};
use crate::job;
use crate::queue::{Key, WorkQueue};

/// How much later than on the dot it looks (`nextScheduleTimeDuration`).
const DELTA: Duration = Duration::from_millis(100);

/// Times that were missed, beyond which something is wrong.
const MISSED_MAX: usize = 100;

/// On a Job: the time it was made for.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// The CronJob controller.
#[derive(Debug)]
pub struct CronJobs {
    latency: Duration,
    queue: WorkQueue<Key>,
}

impl CronJobs {
    pub(crate) fn new(latency: Duration) -> Self {
        CronJobs { latency, queue: WorkQueue::default() }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let at = now + self.latency;
        if let Some(cron) = change.of::<CronJob>() {
            let meta = &cron.metadata;
            self.queue.add((meta.namespace().to_string(), meta.name().to_string()), at);
        }
        if let Some(job) = change.of::<Job>()
            && let Some(owner) = job.metadata.controller().filter(|o| o.kind == "CronJob")
        {
            self.queue.add((job.metadata.namespace().to_string(), owner.name.clone()), at);
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(key) = self.queue.pop(now) {
            worked = true;
            let Some(cron) = api.store().get::<CronJob>(&key.0, &key.1).cloned() else { continue };
            let mut sync = Sync {
                owner: Owner::of(&*cron, "cronjob-controller"),
                spec: cron.spec.clone().unwrap_or_default(),
                status: cron.status.clone().unwrap_or_default(),
                cron: &cron,
                now,
            };
            let again = sync.run(api);
            let status = sync.status;
            api.modify::<CronJob>(&key.0, &key.1, |cron| cron.status = Some(status));
            if let Some(again) = again {
                self.queue.add(key, again);
            }
        }
        worked
    }
}

/// A CronJob that is being looked at.
struct Sync<'a> {
    owner: Owner,
    cron: &'a CronJob,
    spec: CronJobSpec,
    status: CronJobStatus,
    now: Instant,
}

/// Seconds since 1970.
fn unix(at: Instant) -> i64 {
    time(at).0
}

impl Sync<'_> {
    fn tell(&self, api: &mut Api, severity: Severity, reason: &str, message: &str) {
        self.owner.tell(api, severity, reason, message, self.now);
    }

    /// Gives when to look again.
    fn run(&mut self, api: &mut Api) -> Option<Instant> {
        let jobs: Vec<Rc<Job>> = api.store().owned::<Job>(&self.owner.uid).cloned().collect();
        self.forget_history(api, &jobs);
        self.look_at_active(api, &jobs);
        if self.cron.metadata.is_terminating() || self.spec.suspend == Some(true) {
            return None;
        }
        let name = self.spec.time_zone.as_deref();
        let Some(zone) = name.map_or(Some(zones::UTC), zones::find) else {
            let name = name.unwrap_or_default();
            let message =
                format!("invalid timeZone: {name:?}: this time zone is not supported by podwire");
            self.tell(api, Severity::Warning, "UnknownTimeZone", &message);
            return None;
        };
        let schedule = match Schedule::parse(&self.spec.schedule) {
            Ok(schedule) => schedule,
            Err(error) => {
                let message = format!("unparseable schedule: {:?} : {error}", self.spec.schedule);
                self.tell(api, Severity::Warning, "UnparseableSchedule", &message);
                return None;
            }
        };
        if let Some(due) = self.most_recent(api, &schedule, zone) {
            self.start(api, due);
        }
        let next = schedule.next(self.last().max(unix(self.now)), zone)?;
        Some(instant(&Time(next)) + DELTA)
    }

    /// The time from which on times count.
    fn last(&self) -> i64 {
        let created = self.cron.metadata.creation_timestamp.map_or(0, |at| at.0);
        self.status.last_schedule_time.map_or(created, |at| at.0)
    }

    /// The latest time that has come since the last one (`mostRecentScheduleTime`).
    fn most_recent(&self, api: &mut Api, schedule: &Schedule, zone: Zone) -> Option<i64> {
        let now = unix(self.now);
        let mut at = self.last();
        if let Some(seconds) = self.spec.starting_deadline_seconds {
            at = at.max(now.saturating_sub(seconds));
        }
        let (mut found, mut missed) = (None, 0);
        while let Some(next) = schedule.next(at, zone).filter(|next| *next <= now) {
            found = Some(next);
            at = next;
            missed += 1;
            if missed == MISSED_MAX + 1 {
                let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
                self.tell(api, Severity::Warning, "TooManyMissedTimes", message);
            }
            if missed > 100 * MISSED_MAX {
                break;
            }
        }
        found
    }

    fn look_at_active(&mut self, api: &mut Api, jobs: &[Rc<Job>]) {
        let mut active = Vec::new();
        for reference in self.status.active.take().unwrap_or_default() {
            let job = jobs.iter().find(|job| job.metadata.uid == reference.uid);
            let name = reference.name.clone().unwrap_or_default();
            let Some(job) = job else {
                let message = format!("Active job went missing: {name}");
                self.tell(api, Severity::Normal, "MissingJob", &message);
                continue;
            };
            let Some(end) = job::finished(job) else {
                active.push(reference);
                continue;
            };
            let message = format!("Saw completed job: {name}, condition: {}", end.type_);
            self.tell(api, Severity::Normal, "SawCompletedJob", &message);
            if end.type_ == "Complete" {
                let ended = job.status.as_ref().and_then(|status| status.completion_time);
                self.status.last_successful_time = self.status.last_successful_time.max(ended);
            }
        }
        self.status.active = (!active.is_empty()).then_some(active);
    }

    /// A time has come.
    fn start(&mut self, api: &mut Api, due: i64) {
        let deadline = self.spec.starting_deadline_seconds;
        if deadline.is_some_and(|seconds| due.saturating_add(seconds) < unix(self.now)) {
            let text = Utc::from_unix(due, 0).rfc1123z();
            let message = format!("Missed scheduled time to start a job: {text}");
            return self.tell(api, Severity::Warning, "MissSchedule", &message);
        }
        let policy = self.spec.concurrency_policy.as_deref().unwrap_or("Allow");
        if policy == "Forbid" && self.status.active.is_some() {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            return self.tell(api, Severity::Normal, "JobAlreadyActive", message);
        }
        if policy == "Replace" {
            for reference in self.status.active.take().unwrap_or_default() {
                self.delete(api, reference.name.as_deref().unwrap_or_default());
            }
        }
        let template = &self.spec.job_template;
        let mut job = Job { spec: template.spec.clone(), ..Job::default() };
        let metadata = template.metadata.clone().unwrap_or_default();
        job.metadata.labels = metadata.labels;
        job.metadata.annotations = metadata.annotations;
        self.owner.own(&mut job.metadata);
        job.metadata.name = Some(format!("{}-{}", self.owner.name, due / 60));
        let stamp = Time(due).to_string();
        job.metadata.annotations.get_or_insert_default().insert(SCHEDULED.to_string(), stamp);
        match api.create_typed(job, self.now) {
            Ok(job) => {
                let message = format!("Created job {}", job.metadata.name());
                self.tell(api, Severity::Normal, "SuccessfulCreate", &message);
                self.status.active.get_or_insert_default().push(events::reference(&*job));
            }
            Err(status) if status.reason == kube_api::Reason::AlreadyExists => {}
            Err(status) => {
                let message = format!("Error creating job: {}", status.message);
                self.tell(api, Severity::Warning, "FailedCreate", &message);
                return;
            }
        }
        self.status.last_schedule_time = Some(Time(due));
    }

    fn delete(&self, api: &mut Api, name: &str) {
        let namespace = &self.owner.namespace;
        if api.delete(Job::id(), namespace, name, DeleteOptions::default(), self.now).is_ok() {
            let message = format!("Deleted job {name}");
            self.tell(api, Severity::Normal, "SuccessfulDelete", &message);
        }
    }

    /// Jobs that have ended, beyond those that are to be kept (`cleanupFinishedJobs`).
    fn forget_history(&self, api: &mut Api, jobs: &[Rc<Job>]) {
        let limits = [
            ("Complete", self.spec.successful_jobs_history_limit.unwrap_or(3)),
            ("Failed", self.spec.failed_jobs_history_limit.unwrap_or(1)),
        ];
        for (kind, limit) in limits {
            let is_of = |job: &&Rc<Job>| job::finished(job).is_some_and(|end| end.type_ == kind);
            let mut ended: Vec<&Rc<Job>> = jobs.iter().filter(is_of).collect();
            base::order::sort_by_key(&mut ended, |job| {
                let started = job.status.as_ref().and_then(|status| status.start_time);
                (started, job.metadata.name().to_string())
            });
            let surplus = ended.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
            for job in ended.into_iter().take(surplus) {
                self.delete(api, job.metadata.name());
            }
        }
    }
}
