//! `kubectl create job NAME --from=cronjob/NAME` (`kubectl/pkg/cmd/create/create_job.go`).

use serde_json::{Value, json};

use super::kube::{Fail, Kube, error};

/// The Job that a CronJob would make, made by hand.
pub(crate) fn from_cron_job(kube: &Kube<'_>, name: &str, from: &str) -> Result<Value, Fail> {
    let (kind, cron) = from.split_once('/').ok_or_else(|| {
        error("must specify a resource in the form resource/name: --from=cronjob/NAME")
    })?;
    let kind = kube.kind(kind)?;
    if kind.plural != "cronjobs" {
        return Err(error(format!("from must be an existing cronjob, got {}", kind.kind)));
    }
    let cron = kube.get(&kind, cron)?;
    let value = cron.to_value();
    let at = |pointer: &str| value.pointer(pointer).cloned();
    let mut annotations = at("/spec/jobTemplate/metadata/annotations").unwrap_or(json!({}));
    if let Some(fields) = annotations.as_object_mut() {
        fields.insert("cronjob.kubernetes.io/instantiate".to_string(), "manual".into());
    }
    let mut metadata = json!({"name": name, "annotations": annotations, "ownerReferences": [{
        "apiVersion": "batch/v1", "kind": "CronJob", "name": cron.name(), "uid": cron.meta().uid,
        "controller": true,
    }]});
    if let (Some(labels), Some(fields)) =
        (at("/spec/jobTemplate/metadata/labels"), metadata.as_object_mut())
    {
        fields.insert("labels".to_string(), labels);
    }
    Ok(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
        "spec": at("/spec/jobTemplate/spec").unwrap_or(json!({}))}))
}
