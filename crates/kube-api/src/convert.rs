//! Objects of a version that is served, in the version in which they are kept.

use serde_json::{Map, Value, json};

use crate::kinds::{KindInfo, Kinds};

/// An object of `info` as the version of it that is kept, and which that is.
pub fn to_storage<'a>(
    kinds: &'a Kinds,
    info: &KindInfo,
    mut value: Value,
) -> (&'a KindInfo, Value) {
    let storage = kinds.get(info.storage);
    if storage.id == info.id {
        return (storage, value);
    }
    if let Some(fields) = value.as_object_mut() {
        fields.insert("apiVersion".to_string(), storage.api_version().into());
        match (info.group.as_str(), info.kind.as_str()) {
            ("autoscaling", _) => scaler(fields),
            ("events.k8s.io", _) => event(fields),
            _ => {}
        }
    }
    (storage, value)
}

/// `autoscaling/v1` knows one metric (`pkg/apis/autoscaling/v1/conversion.go`).
fn scaler(fields: &mut Map<String, Value>) {
    let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(percent) = spec.remove("targetCPUUtilizationPercentage") {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        spec.insert("metrics".to_string(), Value::Array(vec![metric]));
    }
    fields.remove("status");
}

/// `events.k8s.io/v1` has other names for the same (`pkg/apis/events/v1/conversion.go`).
fn event(fields: &mut Map<String, Value>) {
    const NAMES: [(&str, &str); 7] = [
        ("regarding", "involvedObject"),
        ("note", "message"),
        ("reportingController", "reportingComponent"),
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
    ];
    for (theirs, ours) in NAMES {
        if let Some(value) = fields.remove(theirs) {
            fields.insert(ours.to_string(), value);
        }
    }
}
