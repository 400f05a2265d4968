//! What may not change about an object that is there.

use serde_json::{Map, Value};

use super::pods::{list, text};
use super::rules::shown;
use crate::kinds::KindInfo;
use crate::object::AnyObject;
use crate::status::FieldError;

const IMMUTABLE: &str = "field is immutable";

/// What has changed and must not.
pub(super) fn changes(info: &KindInfo, old: &AnyObject, new: &AnyObject) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let Some(type_name) = info.type_name else { return errors };
    let paths: &[&str] = match type_name {
        "apps/v1.Deployment" | "apps/v1.ReplicaSet" | "apps/v1.DaemonSet" => &["spec.selector"],
        "batch/v1.Job" => &["spec.selector", "spec.completionMode"],
        "core/v1.Secret" => &["type"],
        "discovery/v1.EndpointSlice" => &["addressType"],
        "scheduling/v1.PriorityClass" => &["value"],
        "core/v1.Pod" | "core/v1.Service" | "core/v1.ConfigMap" | "apps/v1.StatefulSet" => &[],
        "core/v1.PersistentVolumeClaim" | "storage/v1.StorageClass" => &[],
        "rbac/v1.RoleBinding" | "rbac/v1.ClusterRoleBinding" => &[],
        _ => return errors,
    };
    let (old, new) = (old.to_value(), new.to_value());
    for path in paths {
        same(&old, &new, path, IMMUTABLE, &mut errors);
    }
    match type_name {
        "core/v1.Pod" => pod(&old, &new, &mut errors),
        "core/v1.Service" => service(&old, &new, &mut errors),
        "core/v1.ConfigMap" | "core/v1.Secret" => data(&old, &new, &mut errors),
        "apps/v1.StatefulSet" => stateful_set(&old, &new, &mut errors),
        "batch/v1.Job" => job(&old, &new, &mut errors),
        "core/v1.PersistentVolumeClaim" => claim(&old, &new, &mut errors),
        "rbac/v1.RoleBinding" | "rbac/v1.ClusterRoleBinding" => {
            same(&old, &new, "roleRef", "cannot change roleRef", &mut errors);
        }
        "storage/v1.StorageClass" => {
            for (field, what) in [
                ("parameters", "updates to parameters are forbidden."),
                ("provisioner", "updates to provisioner are forbidden."),
                ("reclaimPolicy", "updates to reclaimPolicy are forbidden."),
                ("volumeBindingMode", "updates to volumeBindingMode are forbidden."),
            ] {
                if old.get(field) != new.get(field) {
                    errors.push(FieldError::forbidden(field, what));
                }
            }
        }
        _ => {}
    }
    errors
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').try_fold(value, |value, field| value.get(field)).unwrap_or(&Value::Null)
}

fn same(old: &Value, new: &Value, path: &str, what: &str, errors: &mut Vec<FieldError>) {
    let (old, new) = (at(old, path), at(new, path));
    if old != new {
        errors.push(FieldError::invalid(path, shown(new), what));
    }
}

/// An object without some of its fields.
fn without(value: &Value, fields: &[&str]) -> Map<String, Value> {
    let mut map = value.as_object().cloned().unwrap_or_default();
    for field in fields {
        map.remove(*field);
    }
    map
}

/// Of a Pod's spec only the images and a few numbers may change.
fn pod(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let (old, new) = (at(old, "spec"), at(new, "spec"));
    for field in ["containers", "initContainers"] {
        if list(old, field).len() != list(new, field).len() {
            let what = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(format!("spec.{field}"), what));
            return;
        }
    }
    let deadlines = (at(old, "activeDeadlineSeconds").as_i64(), at(new, "activeDeadlineSeconds"));
    match deadlines {
        (Some(_), Value::Null) => {
            let what = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid("spec.activeDeadlineSeconds", "null", what));
        }
        (Some(old), new) if new.as_i64().is_some_and(|new| new > old) => {
            let what = "must be less than or equal to previous value";
            errors.push(FieldError::invalid("spec.activeDeadlineSeconds", new, what));
        }
        _ => {}
    }
    tolerations(old, new, errors);
    if frozen(old) != frozen(new) {
        errors.push(FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
}

/// What is left of a Pod's spec without what may change. The scheduler writes `nodeName`, once.
fn frozen(spec: &Value) -> Map<String, Value> {
    let mut spec = without(
        spec,
        &[
            "activeDeadlineSeconds",
            "terminationGracePeriodSeconds",
            "tolerations",
            "nodeName",
            "schedulingGates",
            "ephemeralContainers",
        ],
    );
    for field in ["containers", "initContainers"] {
        for container in spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
            *container = Value::Object(without(container, &["image"]));
        }
    }
    spec
}

fn tolerations(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let bare = |toleration: &Value| without(toleration, &["tolerationSeconds"]);
    let kept: Vec<_> = list(new, "tolerations").iter().map(bare).collect();
    if !list(old, "tolerations").iter().all(|toleration| kept.contains(&bare(toleration))) {
        let what = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", what));
    }
}

fn service(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let (old, new) = (at(old, "spec"), at(new, "spec"));
    if text(old, "type") == "ExternalName" || text(new, "type") == "ExternalName" {
        return;
    }
    let (before, after) = (text(old, "clusterIP"), text(new, "clusterIP"));
    if before != after && !before.is_empty() {
        let shown = shown(&Value::Array(vec![after.into()]));
        errors.push(FieldError::invalid("spec.clusterIPs[0]", shown, "may not change once set"));
    }
    let needs_check = |spec: &Value| {
        text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
    };
    let check_port = |spec: &Value| spec.get("healthCheckNodePort").cloned();
    if needs_check(old) && needs_check(new) && check_port(new) != check_port(old) {
        errors.push(FieldError::forbidden("spec.healthCheckNodePort", IMMUTABLE));
    }
}

/// ConfigMaps and Secrets that have said they will not change.
fn data(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if old.get("immutable") != Some(&Value::Bool(true)) {
        return;
    }
    let what = "field is immutable when `immutable` is set";
    for field in ["immutable", "data", "binaryData"] {
        if old.get(field) != new.get(field) {
            errors.push(FieldError::forbidden(field, what));
        }
    }
}

fn stateful_set(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    const FREE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    if without(at(old, "spec"), &FREE) != without(at(new, "spec"), &FREE) {
        errors.push(FieldError::forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ));
    }
}

fn job(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let is_indexed = text(at(new, "spec"), "completionMode") == "Indexed";
    let of = |job: &'_ Value, field: &str| at(job, field).clone();
    let completions = of(new, "spec.completions");
    if !is_indexed {
        same(old, new, "spec.completions", IMMUTABLE, errors);
    } else if completions != of(old, "spec.completions")
        && completions != of(new, "spec.parallelism")
    {
        let what = "can only be modified in tandem with spec.parallelism";
        errors.push(FieldError::invalid("spec.completions", shown(&completions), what));
    }
    same(old, new, "spec.template", IMMUTABLE, errors);
}

fn claim(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    // What binds the claim, what it may grow by, and the class that it gets when it names none.
    const FREE: [&str; 4] =
        ["resources", "volumeName", "volumeAttributesClassName", "storageClassName"];
    let (old, new) = (at(old, "spec"), at(new, "spec"));
    let class = old.get("storageClassName");
    let has_other_class = class.is_some() && class != new.get("storageClassName");
    if has_other_class || without(old, &FREE) != without(new, &FREE) {
        let what = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden("spec", what));
    }
}
