//! kubectl's client-side apply: a three-way merge by the kind's own rules
//! (`apimachinery/pkg/util/strategicpatch`).
//!
//! What was applied last time and is not there any more is taken away; what is there now is put in; what
//! others have added stays. Lists of objects with a merge key are merged item by item.

use serde_json::{Map, Value};

use crate::schema::{Schema, Type};

/// Where kubectl remembers what was applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The field by which items of a list are told apart, by the type that has the list and the list's name.
/// Where there are several, the first counts for merging. (`patchMergeKey` tags of the API types.)
fn merge_key(type_name: &str, field: &str) -> Option<&'static str> {
    Some(match (type_name, field) {
        (
            "core/v1.PodSpec",
            "containers" | "initContainers" | "ephemeralContainers" | "volumes",
        ) => "name",
        ("core/v1.PodSpec", "imagePullSecrets" | "resourceClaims" | "schedulingGates") => "name",
        ("core/v1.PodSpec", "hostAliases") => "ip",
        ("core/v1.PodSpec", "topologySpreadConstraints") => "topologyKey",
        ("core/v1.Container" | "core/v1.EphemeralContainer", "ports") => "containerPort",
        ("core/v1.Container" | "core/v1.EphemeralContainer", "env") => "name",
        ("core/v1.Container" | "core/v1.EphemeralContainer", "volumeMounts") => "mountPath",
        ("core/v1.Container" | "core/v1.EphemeralContainer", "volumeDevices") => "devicePath",
        ("core/v1.ServiceSpec", "ports") => "port",
        ("core/v1.ServiceAccount", "secrets" | "imagePullSecrets") => "name",
        ("meta/v1.ObjectMeta", "ownerReferences") => "uid",
        ("core/v1.NodeStatus", "addresses") => "type",
        (_, "conditions") => "type",
        _ => return None,
    })
}

/// Lists of plain values that are merged instead of replaced.
fn merges_values(type_name: &str, field: &str) -> bool {
    matches!((type_name, field), ("meta/v1.ObjectMeta", "finalizers"))
}

/// `current`, changed as applying `modified` changes it, when `original` was applied before.
///
/// `type_name` is the type in the schema; without one (a kind the schema does not have) lists are replaced.
pub fn three_way(
    original: &Value,
    modified: &Value,
    current: &Value,
    type_name: Option<&'static str>,
) -> Value {
    let ty = type_name.map_or(Type::Any, Type::Object);
    merge(Some(original), modified, Some(current), ty)
}

fn merge(original: Option<&Value>, modified: &Value, current: Option<&Value>, ty: Type) -> Value {
    match (modified, current) {
        (Value::Object(modified), Some(Value::Object(current))) => {
            let original = original.and_then(Value::as_object);
            Value::Object(merge_objects(original, modified, current, ty))
        }
        _ => modified.clone(),
    }
}

fn merge_objects(
    original: Option<&Map<String, Value>>,
    modified: &Map<String, Value>,
    current: &Map<String, Value>,
    ty: Type,
) -> Map<String, Value> {
    let mut merged = current.clone();
    for name in original.into_iter().flat_map(Map::keys) {
        if !modified.contains_key(name) {
            merged.remove(name);
        }
    }
    for (name, value) in modified {
        if value.is_null() {
            merged.remove(name);
            continue;
        }
        let original = original.and_then(|original| original.get(name));
        let merged_value = match (value, current.get(name)) {
            (Value::Array(items), Some(Value::Array(live))) => {
                let original = original.and_then(Value::as_array).map(Vec::as_slice);
                merge_lists(original.unwrap_or_default(), items, live, ty, name)
            }
            (value, live) => merge(original, value, live, field_type(ty, name)),
        };
        merged.insert(name.clone(), merged_value);
    }
    merged
}

fn field_type(ty: Type, field: &str) -> Type {
    match ty {
        Type::Object(name) => Schema::get().field(name, field).map_or(Type::Any, |field| field.ty),
        Type::Map(value) => Type::parse(value),
        _ => Type::Any,
    }
}

fn merge_lists(
    original: &[Value],
    modified: &[Value],
    live: &[Value],
    ty: Type,
    field: &str,
) -> Value {
    let Type::Object(type_name) = ty else { return Value::Array(modified.to_vec()) };
    if merges_values(type_name, field) {
        let mut merged: Vec<Value> = live
            .iter()
            .filter(|value| !original.contains(value) || modified.contains(value))
            .cloned()
            .collect();
        for value in modified {
            if !merged.contains(value) {
                merged.push(value.clone());
            }
        }
        return Value::Array(merged);
    }
    let Some(key) = merge_key(type_name, field) else { return Value::Array(modified.to_vec()) };
    let item = match field_type(ty, field) {
        Type::List(item) => Type::parse(item),
        _ => Type::Any,
    };
    let find = |list: &[Value], wanted: &Value| {
        let id = wanted.get(key)?.clone();
        list.iter().find(|value| value.get(key) == Some(&id)).cloned()
    };
    // What is applied keeps its order and comes first; what others have added follows.
    let mut merged: Vec<Value> = Vec::new();
    for value in modified {
        let (before, now) = (find(original, value), find(live, value));
        merged.push(match now {
            Some(now) => merge(before.as_ref(), value, Some(&now), item),
            None => value.clone(),
        });
    }
    for value in live {
        if find(modified, value).is_none() && find(original, value).is_none() {
            merged.push(value.clone());
        }
    }
    Value::Array(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DEPLOYMENT: Option<&str> = Some("apps/v1.Deployment");

    #[test]
    fn what_others_added_stays_and_what_was_taken_out_goes() {
        let original = json!({"spec": {"replicas": 2, "paused": true}});
        let modified = json!({"spec": {"replicas": 3}});
        let current = json!({"spec": {"replicas": 2, "paused": true, "revisionHistoryLimit": 10}});
        let merged = three_way(&original, &modified, &current, DEPLOYMENT);
        assert_eq!(merged, json!({"spec": {"replicas": 3, "revisionHistoryLimit": 10}}));
    }

    #[test]
    fn containers_are_merged_by_name() {
        let container = |name: &str, image: &str| json!({"name": name, "image": image});
        let pods = |containers: Vec<Value>| json!({"spec": {"template": {"spec": {"containers": containers}}}});
        let original = pods(vec![container("a", "nginx:1"), container("gone", "x")]);
        let modified = pods(vec![container("a", "nginx:2")]);
        let live = json!({"name": "a", "image": "nginx:1", "imagePullPolicy": "Always"});
        let current = pods(vec![live, container("gone", "x"), container("sidecar", "y")]);
        let merged = three_way(&original, &modified, &current, DEPLOYMENT);
        let expected = json!({"name": "a", "image": "nginx:2", "imagePullPolicy": "Always"});
        assert_eq!(merged, pods(vec![expected, container("sidecar", "y")]));
    }

    #[test]
    fn a_port_without_its_node_port_keeps_the_one_it_was_given() {
        let service = |port: Value| json!({"spec": {"ports": [port]}});
        let applied = service(json!({"port": 80, "protocol": "TCP"}));
        let current =
            service(json!({"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30123}));
        assert_eq!(three_way(&applied, &applied, &current, Some("core/v1.Service")), current);
    }

    #[test]
    fn applying_the_same_again_changes_nothing() {
        let applied = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"selector": {"x": "y"}}});
        let current = json!({"metadata": {"labels": {"a": "b", "c": "d"}, "uid": "1"}, "spec": {"selector": {"x": "y"}, "type": "ClusterIP"}});
        assert_eq!(three_way(&applied, &applied, &current, Some("core/v1.Service")), current);
    }
}
