//! Jobs and CronJobs (`batch/v1`).

#![allow(missing_docs, reason = "types and fields are those of the Kubernetes API reference")]

use super::core::{ObjectReference, PodTemplateSpec};
use super::meta::{LabelSelector, ObjectMeta};
use super::{Rest, Time};

objects! { "batch/v1", "batch/v1";

    struct CronJob: kind {
        metadata: ObjectMeta = "metadata",
        spec: Option<CronJobSpec> = "spec",
        status: Option<CronJobStatus> = "status",
    }

    struct CronJobSpec {
        concurrency_policy: Option<String> = "concurrencyPolicy",
        failed_jobs_history_limit: Option<i32> = "failedJobsHistoryLimit",
        job_template: JobTemplateSpec = "jobTemplate",
        schedule: String = "schedule",
        starting_deadline_seconds: Option<i64> = "startingDeadlineSeconds",
        successful_jobs_history_limit: Option<i32> = "successfulJobsHistoryLimit",
        suspend: Option<bool> = "suspend",
        time_zone: Option<String> = "timeZone",
    }

    struct CronJobStatus {
        active: Option<Vec<ObjectReference>> = "active",
        last_schedule_time: Option<Time> = "lastScheduleTime",
        last_successful_time: Option<Time> = "lastSuccessfulTime",
    }

    struct Job: kind {
        metadata: ObjectMeta = "metadata",
        spec: Option<JobSpec> = "spec",
        status: Option<JobStatus> = "status",
    }

    struct JobCondition {
        last_probe_time: Option<Time> = "lastProbeTime",
        last_transition_time: Option<Time> = "lastTransitionTime",
        message: Option<String> = "message",
        reason: Option<String> = "reason",
        status: String = "status",
        type_: String = "type",
    }

    struct JobSpec {
        active_deadline_seconds: Option<i64> = "activeDeadlineSeconds",
        backoff_limit: Option<i32> = "backoffLimit",
        backoff_limit_per_index: Option<i32> = "backoffLimitPerIndex",
        completion_mode: Option<String> = "completionMode",
        completions: Option<i32> = "completions",
        manual_selector: Option<bool> = "manualSelector",
        max_failed_indexes: Option<i32> = "maxFailedIndexes",
        parallelism: Option<i32> = "parallelism",
        pod_replacement_policy: Option<String> = "podReplacementPolicy",
        selector: Option<LabelSelector> = "selector",
        suspend: Option<bool> = "suspend",
        template: PodTemplateSpec = "template",
        ttl_seconds_after_finished: Option<i32> = "ttlSecondsAfterFinished",
        rest: Rest = "",
    }

    struct JobStatus {
        active: Option<i32> = "active",
        completed_indexes: Option<String> = "completedIndexes",
        completion_time: Option<Time> = "completionTime",
        conditions: Option<Vec<JobCondition>> = "conditions",
        failed: Option<i32> = "failed",
        failed_indexes: Option<String> = "failedIndexes",
        ready: Option<i32> = "ready",
        start_time: Option<Time> = "startTime",
        succeeded: Option<i32> = "succeeded",
        terminating: Option<i32> = "terminating",
        rest: Rest = "",
    }

    struct JobTemplateSpec {
        metadata: Option<ObjectMeta> = "metadata",
        spec: Option<JobSpec> = "spec",
    }
}
