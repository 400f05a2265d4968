//! What the API server fills in for workloads that run to an end or keep their names, and for budgets
//! (`pkg/apis/{apps,batch,policy}/v1/defaults.go`, `pkg/registry/batch/job/strategy.go`), and what a Pod's
//! priority class means (`plugin/pkg/admission/priority`).

use std::rc::Rc;

use crate::apps::StatefulSet;
use crate::batch::{CronJob, Job, JobSpec};
use crate::core::{Pod, PodTemplateSpec, ReplicationController};
use crate::defaults::{or, pod_spec};
use crate::meta::LabelSelector;
use crate::object::AnyObject;
use crate::status::Status;
use crate::store::Store;
use crate::{IntOrString, MetaExt};

/// The classes that every cluster has, and what they are worth.
pub const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// Fills in what the user has left out.
pub(crate) fn apply(object: &mut AnyObject) {
    match object {
        AnyObject::StatefulSet(set) => stateful_set(Rc::make_mut(set)),
        AnyObject::Job(job) => self::job(Rc::make_mut(job)),
        AnyObject::CronJob(cron) => cron_job(Rc::make_mut(cron)),
        AnyObject::ReplicationController(rc) => controller(Rc::make_mut(rc)),
        AnyObject::PodDisruptionBudget(budget) => {
            Rc::make_mut(budget).status.get_or_insert_default();
        }
        _ => {}
    }
}

fn template(template: &mut PodTemplateSpec) {
    pod_spec(template.spec.get_or_insert_default());
}

fn stateful_set(set: &mut StatefulSet) {
    let spec = set.spec.get_or_insert_default();
    or(&mut spec.replicas, || 1);
    or(&mut spec.revision_history_limit, || 10);
    or(&mut spec.pod_management_policy, || "OrderedReady".to_string());
    let strategy = spec.update_strategy.get_or_insert_default();
    or(&mut strategy.type_, || "RollingUpdate".to_string());
    if strategy.type_.as_deref() == Some("RollingUpdate") {
        let rolling = strategy.rolling_update.get_or_insert_default();
        or(&mut rolling.partition, || 0);
        or(&mut rolling.max_unavailable, || IntOrString::Int(1));
    }
    let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
    or(&mut retention.when_deleted, || "Retain".to_string());
    or(&mut retention.when_scaled, || "Retain".to_string());
    for claim in spec.volume_claim_templates.iter_mut().flatten() {
        let rest = &mut claim.rest;
        if let Some(fields) =
            rest.entry("spec").or_insert_with(|| serde_json::json!({})).as_object_mut()
        {
            fields.entry("volumeMode").or_insert_with(|| "Filesystem".into());
        }
        rest.entry("status").or_insert_with(|| serde_json::json!({"phase": "Pending"}));
    }
    template(&mut spec.template);
    set.status.get_or_insert_default();
}

fn job_spec(spec: &mut JobSpec) {
    // Neither said: one Pod, once. Only the number of Pods at once: as many as it takes.
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    or(&mut spec.parallelism, || 1);
    let is_by_index = spec.rest.contains_key("backoffLimitPerIndex");
    or(&mut spec.backoff_limit, || if is_by_index { i32::MAX } else { 6 });
    or(&mut spec.completion_mode, || "NonIndexed".to_string());
    or(&mut spec.suspend, || false);
    let has_policy = spec.rest.contains_key("podFailurePolicy");
    or(&mut spec.pod_replacement_policy, || {
        if has_policy { "Failed" } else { "TerminatingOrFailed" }.to_string()
    });
    template(&mut spec.template);
}

fn job(job: &mut Job) {
    let spec = job.spec.get_or_insert_default();
    or(&mut spec.manual_selector, || false);
    job_spec(spec);
    job.status.get_or_insert_default();
}

fn cron_job(cron: &mut CronJob) {
    let spec = cron.spec.get_or_insert_default();
    or(&mut spec.concurrency_policy, || "Allow".to_string());
    or(&mut spec.suspend, || false);
    or(&mut spec.successful_jobs_history_limit, || 3);
    or(&mut spec.failed_jobs_history_limit, || 1);
    // What a Job gets when it is made is not filled in before; its Pods' defaults are.
    template(&mut spec.job_template.spec.get_or_insert_default().template);
    cron.status.get_or_insert_default();
}

fn controller(rc: &mut ReplicationController) {
    let spec = rc.spec.get_or_insert_default();
    or(&mut spec.replicas, || 1);
    let labels = spec.template.as_ref().and_then(|t| t.metadata.as_ref()?.labels.clone());
    if spec.selector.as_ref().is_none_or(|selector| selector.is_empty()) {
        spec.selector.clone_from(&labels);
    }
    if rc.metadata.labels.as_ref().is_none_or(|labels| labels.is_empty()) {
        rc.metadata.labels = labels;
    }
    template(spec.template.get_or_insert_default());
    rc.status.get_or_insert_default();
}

/// A Job that has just got its uid selects its Pods by it (`generateSelector`).
pub(crate) fn select_by_uid(job: &mut Job) {
    let (uid, name) = (job.metadata.uid().to_string(), job.metadata.name().to_string());
    let spec = job.spec.get_or_insert_default();
    if spec.manual_selector == Some(true) {
        return;
    }
    let metadata = spec.template.metadata.get_or_insert_default();
    let labels = metadata.labels.get_or_insert_default();
    for (key, value) in [("controller-uid", &uid), ("job-name", &name)] {
        labels.insert(key.to_string(), value.clone());
        labels.insert(format!("batch.kubernetes.io/{key}"), value.clone());
    }
    let selector = spec.selector.get_or_insert_with(LabelSelector::default);
    let wanted = selector.match_labels.get_or_insert_default();
    wanted.insert("batch.kubernetes.io/controller-uid".to_string(), uid);
}

/// What a Pod's priority class is worth; without one, what the default class is.
pub(crate) fn settle_priority(store: &Store, pod: &mut Pod) -> Result<(), Status> {
    // A name that is to be made is not made yet.
    let name = pod.metadata.name.clone().or_else(|| pod.metadata.generate_name.clone());
    let spec = pod.spec.get_or_insert_default();
    let wanted = spec.priority_class_name.clone().filter(|class| !class.is_empty());
    let mut found = None;
    if let Ok(kind) = store.kinds().by_name("priorityclasses").map(|kind| kind.id) {
        let is_default = |body: &serde_json::Map<String, serde_json::Value>| {
            body.get("globalDefault").and_then(serde_json::Value::as_bool) == Some(true)
        };
        for object in store.list_any(kind) {
            let AnyObject::Dynamic(class) = object else { continue };
            let fits = match &wanted {
                Some(wanted) => wanted == class.metadata.name(),
                None => is_default(&class.body),
            };
            if fits {
                found = Some(class.clone());
            }
        }
    }
    if let Some(class) = &found {
        let value = class.body.get("value").and_then(serde_json::Value::as_i64);
        spec.priority = value.and_then(|value| i32::try_from(value).ok());
        spec.priority_class_name = class.metadata.name.clone();
        let policy = class.body.get("preemptionPolicy").and_then(serde_json::Value::as_str);
        if let Some(policy) = policy {
            or(&mut spec.preemption_policy, || policy.to_string());
        }
        return Ok(());
    }
    let Some(wanted) = wanted else { return Ok(()) };
    match SYSTEM_CLASSES.iter().find(|(class, _)| *class == wanted) {
        Some((_, value)) => spec.priority = Some(*value),
        None => {
            let why = format!("no PriorityClass with name {wanted} was found");
            return Err(Status::forbidden("pods", &name.unwrap_or_default(), &why));
        }
    }
    Ok(())
}
