//! HorizontalPodAutoscalers, in a cluster without a metrics server: the limits hold, and the metrics cannot be
//! had (`pkg/controller/podautoscaler/horizontal.go`).

use base::{Duration, Instant};
use kube_api::apps::{Deployment, ReplicaSet, StatefulSet};
use kube_api::core::ReplicationController;
use kube_api::object::time;
use kube_api::{AnyObject, Api, Change, Dynamic, KindId, MetaExt};
use serde_json::{Value, json};

use crate::events::{self, Severity};
use crate::queue::{Key, WorkQueue};

/// How often each is looked at (`--horizontal-pod-autoscaler-sync-period`).
const PERIOD: Duration = Duration::from_secs(15);

/// The autoscaler.
#[derive(Debug, Default)]
pub struct Autoscalers {
    queue: WorkQueue<(KindId, Key)>,
}

/// Why a metric cannot be had.
const NO_METRICS: &str = "unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)";

impl Autoscalers {
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let Some(AnyObject::Dynamic(object)) = change.new.as_ref() else { return };
        if object.kind_name == "HorizontalPodAutoscaler" && change.old.is_none() {
            let meta = &object.metadata;
            let key = (meta.namespace().to_string(), meta.name().to_string());
            self.queue.add((object.kind, key), now + PERIOD);
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some((kind, key)) = self.queue.pop(now) {
            worked = true;
            let found = api.store().get_any(kind, &key.0, &key.1);
            if let Some(AnyObject::Dynamic(object)) = found.cloned() {
                sync(api, &object, now);
                self.queue.add((kind, key), now + PERIOD);
            }
        }
        worked
    }
}

/// Pods that the target wants and has.
fn scale_of(api: &Api, namespace: &str, kind: &str, name: &str) -> Option<(i32, i32)> {
    let store = api.store();
    let value = match kind {
        "Deployment" => kube_api::to_value(&**store.get::<Deployment>(namespace, name)?),
        "ReplicaSet" => kube_api::to_value(&**store.get::<ReplicaSet>(namespace, name)?),
        "StatefulSet" => kube_api::to_value(&**store.get::<StatefulSet>(namespace, name)?),
        _ => kube_api::to_value(&**store.get::<ReplicationController>(namespace, name)?),
    };
    let number = |at: &str| value.pointer(at).and_then(Value::as_i64);
    let number = |at: &str, or: i64| i32::try_from(number(at).unwrap_or(or)).unwrap_or(0);
    Some((number("/spec/replicas", 1), number("/status/replicas", 0)))
}

fn set_scale(api: &mut Api, namespace: &str, kind: &str, name: &str, to: i32) {
    match kind {
        "Deployment" => drop(api.modify::<Deployment>(namespace, name, |object| {
            object.spec.get_or_insert_default().replicas = Some(to);
        })),
        "ReplicaSet" => drop(api.modify::<ReplicaSet>(namespace, name, |object| {
            object.spec.get_or_insert_default().replicas = Some(to);
        })),
        "StatefulSet" => drop(api.modify::<StatefulSet>(namespace, name, |object| {
            object.spec.get_or_insert_default().replicas = Some(to);
        })),
        _ => drop(api.modify::<ReplicationController>(namespace, name, |object| {
            object.spec.get_or_insert_default().replicas = Some(to);
        })),
    }
}

/// `cpu utilization`: the first metric that is asked for, in the words of the controller.
fn metric(spec: &Value) -> (String, String) {
    let name = spec.pointer("/metrics/0/resource/name").and_then(Value::as_str).unwrap_or("cpu");
    let kind = spec.pointer("/metrics/0/resource/target/type").and_then(Value::as_str);
    let what = if kind == Some("AverageValue") {
        format!("{name} usage")
    } else {
        format!("{name} utilization")
    };
    (name.to_string(), what)
}

/// (`reconcileAutoscaler`)
fn sync(api: &mut Api, object: &Dynamic, now: Instant) {
    let namespace = object.metadata.namespace();
    let spec = object.body.get("spec").cloned().unwrap_or_default();
    let text = |at: &str| spec.pointer(at).and_then(Value::as_str).unwrap_or_default().to_string();
    let number = |field: &str| spec.get(field).and_then(Value::as_i64);
    let (kind, target) = (text("/scaleTargetRef/kind"), text("/scaleTargetRef/name"));
    let tell = |api: &mut Api, severity: Severity, reason: &str, message: &str| {
        let mut about = kube_api::core::ObjectReference {
            api_version: Some(object.api_version.clone()),
            kind: Some(object.kind_name.clone()),
            ..Default::default()
        };
        about.name.clone_from(&object.metadata.name);
        about.namespace.clone_from(&object.metadata.namespace);
        about.uid.clone_from(&object.metadata.uid);
        let from = events::component("horizontal-pod-autoscaler");
        events::record(api, now, about, severity, reason, message, from);
    };
    let mut conditions: Vec<(&str, &str, String, String)> = Vec::new();
    let Some((wanted, current)) = scale_of(api, namespace, &kind, &target) else {
        let plural = format!("{}s", kind.to_lowercase());
        let group = if kind == "ReplicationController" { "" } else { ".apps" };
        let error = format!("{plural}{group} {target:?} not found");
        tell(api, Severity::Warning, "FailedGetScale", &error);
        let message =
            format!("the HPA controller was unable to get the target's current scale: {error}");
        conditions.push(("AbleToScale", "False", "FailedGetScale".to_string(), message));
        return write(api, object, None, conditions, now);
    };
    let mut condition = |kind: &'static str, state: &'static str, reason: &str, message: &str| {
        conditions.push((kind, state, reason.to_string(), message.to_string()));
    };
    let get = "the HPA controller was able to get the target's current scale";
    let min = i32::try_from(number("minReplicas").unwrap_or(1)).unwrap_or(1);
    let max = i32::try_from(number("maxReplicas").unwrap_or(1)).unwrap_or(i32::MAX);
    let limit = if wanted > max {
        Some((max, "Current number of replicas above Spec.MaxReplicas"))
    } else if wanted < min && wanted > 0 {
        Some((min, "Current number of replicas below Spec.MinReplicas"))
    } else {
        None
    };
    if wanted == 0 && min != 0 {
        condition("AbleToScale", "True", "SucceededGetScale", get);
        let message = "scaling is disabled since the replica count of the target is zero";
        condition("ScalingActive", "False", "ScalingDisabled", message);
    } else if let Some((to, why)) = limit {
        set_scale(api, namespace, &kind, &target, to);
        let message = format!("New size: {to}; reason: {why}");
        tell(api, Severity::Normal, "SuccessfulRescale", &message);
        let message = format!("the HPA controller was able to update the target scale to {to}");
        condition("AbleToScale", "True", "SucceededRescale", &message);
        return write(api, object, Some((current, to)), conditions, now);
    } else {
        let (resource, what) = metric(&spec);
        let error = format!(
            "failed to get {what}: unable to get metrics for resource {resource}: {NO_METRICS}"
        );
        tell(api, Severity::Warning, "FailedGetResourceMetric", &error);
        let invalid = format!(
            "invalid metrics (1 invalid out of 1), first error is: failed to get {resource} resource metric value: {error}"
        );
        tell(api, Severity::Warning, "FailedComputeMetricsReplicas", &invalid);
        condition("AbleToScale", "True", "SucceededGetScale", get);
        let message = format!("the HPA was unable to compute the replica count: {error}");
        condition("ScalingActive", "False", "FailedGetResourceMetric", &message);
    }
    write(api, object, Some((current, 0)), conditions, now);
}

fn write(
    api: &mut Api,
    object: &Dynamic,
    replicas: Option<(i32, i32)>,
    conditions: Vec<(&str, &str, String, String)>,
    now: Instant,
) {
    let known = object.body.get("status").and_then(|status| status.get("conditions"));
    let known = known.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut written = Vec::new();
    for (kind, state, reason, message) in conditions {
        let before = known.iter().find(|c| {
            c.get("type").and_then(Value::as_str) == Some(kind)
                && c.get("status").and_then(Value::as_str) == Some(state)
        });
        let since = before.and_then(|c| c.get("lastTransitionTime").cloned());
        let since = since.unwrap_or_else(|| time(now).to_string().into());
        written.push(json!({"type": kind, "status": state, "reason": reason, "message": message,
            "lastTransitionTime": since}));
    }
    let mut status = json!({"conditions": written, "currentMetrics": null});
    if let (Some((current, desired)), Some(fields)) = (replicas, status.as_object_mut()) {
        fields.insert("currentReplicas".to_string(), current.into());
        fields.insert("desiredReplicas".to_string(), desired.into());
    }
    let mut changed = object.clone();
    changed.body.insert("status".to_string(), status);
    changed.metadata.resource_version = None;
    let _ = api.update(AnyObject::Dynamic(std::rc::Rc::new(changed)));
}
