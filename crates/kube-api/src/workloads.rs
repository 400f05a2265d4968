//! What the API server fills in that is more than a default: how a Job finds its Pods
//! (`pkg/registry/batch/job/strategy.go`), and what a Pod's priority class means
//! (`plugin/pkg/admission/priority`).

use crate::MetaExt;
use crate::batch::Job;
use crate::core::Pod;
use crate::meta::LabelSelector;
use crate::object::AnyObject;
use crate::status::Status;
use crate::store::Store;

/// The classes that every cluster has, and what they are worth.
pub const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

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
    // A Job without labels has its template's: defaults are filled in whenever one is read (`SetDefaults_Job`).
    let shown = labels.clone();
    let own = job.metadata.labels.get_or_insert_default();
    if own.is_empty() {
        *own = shown;
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
            spec.preemption_policy.get_or_insert_with(|| policy.to_string());
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
