//! Who manages which field: `metadata.managedFields`, and the server's apply with its conflicts
//! (`structured-merge-diff`, `apimachinery/pkg/util/managedfields`).
//!
//! A set of fields is kept as it is written, in FieldsV1: `{"f:spec": {"f:replicas": {}}}`. An empty object is a
//! field that belongs to the set; one with others inside belongs to it if it has `"."`.
//!
//! What people do is noted, by the names kubectl goes by. What controllers write is not: the engine would carry
//! a list of fields with every Pod.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use base::Items as _;
use serde_json::{Map, Value, json};

use crate::patch::LAST_APPLIED;
use crate::patch::strategy::{self, Strategy, field_type, item_type};
use crate::schema::Type;

type Set = Map<String, Value>;

/// Field of the metadata that has it all.
pub const MANAGED_FIELDS: &str = "managedFields";

/// Fields that nobody manages.
const NOBODYS: [&str; 12] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    MANAGED_FIELDS,
    "apiVersion",
    "kind",
];

/// Objects that are always there in Go's types, so that nobody can have added them.
const ALWAYS_THERE: [&str; 7] = [
    "f:metadata",
    "f:spec",
    "f:template",
    "f:strategy",
    "f:updateStrategy",
    "f:resources",
    "f:status",
];

/// A field that two managers want to have a say in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// `"kubectl-scale" using apps/v1`
    pub manager: String,
    /// `.spec.replicas`
    pub path: String,
}

/// What the server says about conflicts.
pub fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        let Conflict { manager, path } = one;
        return format!("Apply failed with 1 conflict: conflict with {manager}: {path}");
    }
    let mut text = format!("Apply failed with {} conflicts: ", conflicts.len());
    let mut managers: Vec<&String> = conflicts.iter().map(|conflict| &conflict.manager).collect();
    base::order::sort(&mut managers);
    managers.dedup();
    let mut lines = Vec::new();
    for manager in managers {
        lines.push(format!("conflicts with {manager}:"));
        let own = conflicts.iter().filter(|conflict| conflict.manager == *manager);
        lines.extend(own.map(|conflict| format!("- {}", conflict.path)));
    }
    text.push_str(&lines.join("\n"));
    text
}

// ---- sets of fields --------------------------------------------------------------------------------------

/// The name of a part of a value in a set, the part, its type, and how it is merged.
type Part<'a> = (String, &'a Value, Type, Strategy);

/// What a value consists of, each part with its name in a set; nothing for a value that is one field.
fn parts(value: &Value, ty: Type, how: Strategy) -> Option<Vec<Part<'_>>> {
    if how.is_atomic || strategy::is_atomic(ty) {
        return None;
    }
    let mut found = Vec::new();
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                let (ty, how) = (field_type(ty, name), strategy::of(ty, name));
                found.push((format!("f:{name}"), value, ty, how));
            }
        }
        Value::Array(items) if how.merges => {
            for item in items {
                let name = item_name(item, how.keys);
                found.push((name, item, item_type(ty), Strategy::default()));
            }
        }
        _ => return None,
    }
    Some(found)
}

fn item_name(item: &Value, keys: &str) -> String {
    if keys.is_empty() {
        return format!("v:{item}");
    }
    let mut name = Map::new();
    for key in keys.split(',') {
        let value = item.get(key).cloned();
        // The only key that has a default.
        let value = value.or_else(|| (key == "protocol").then(|| "TCP".into()));
        name.extend(value.map(|value| (key.to_string(), value)));
    }
    format!("k:{}", Value::Object(name))
}

/// All fields of a value. With `added`, those that hold others belong to it too, as for whoever adds them.
fn fields_of(value: &Value, ty: Type, how: Strategy, added: bool) -> Set {
    let mut set = Set::new();
    for (name, part, ty, how) in parts(value, ty, how).into_iter().flatten() {
        let mut inner = fields_of(part, ty, how, added);
        let is_own = name.starts_with("k:") || (added && !ALWAYS_THERE.contains(&name.as_str()));
        if is_own && !inner.is_empty() {
            inner.insert(".".to_string(), json!({}));
        }
        set.insert(name, Value::Object(inner));
    }
    set
}

/// The fields that are new or other in `new`; nothing if there are none.
fn changed(old: &Value, new: &Value, ty: Type, how: Strategy) -> Option<Set> {
    if old == new {
        return None;
    }
    let (Some(old), Some(new)) = (parts(old, ty, how), parts(new, ty, how)) else {
        return Some(Set::new());
    };
    let old = base::order::map(old.into_iter().map(|(name, value, ..)| (name, value)));
    let mut set = Set::new();
    for (name, part, ty, how) in new {
        let inner = match old.get(&name) {
            Some(before) => changed(before, part, ty, how),
            None => {
                let mut inner = fields_of(part, ty, how, true);
                if !inner.is_empty() && !ALWAYS_THERE.contains(&name.as_str()) {
                    inner.insert(".".to_string(), json!({}));
                }
                Some(inner)
            }
        };
        set.extend(inner.map(|inner| (name, Value::Object(inner))));
    }
    (!set.is_empty()).then_some(set)
}

fn is_own(field: &Value) -> bool {
    field.as_object().is_some_and(|inner| inner.is_empty() || inner.contains_key("."))
}

fn add(set: &mut Set, more: &Set) {
    for (name, field) in more {
        let (Some(Value::Object(inner)), Value::Object(new)) = (set.get_mut(name), field) else {
            set.insert(name.clone(), field.clone());
            continue;
        };
        if inner.is_empty() != new.is_empty() {
            inner.insert(".".to_string(), json!({}));
        }
        add(inner, new);
    }
}

fn subtract(set: &mut Set, less: &Set) {
    for (name, field) in less {
        let Some(Value::Object(inner)) = set.get_mut(name) else { continue };
        let Value::Object(gone) = field else { continue };
        if inner.is_empty() {
            if is_own(field) {
                set.remove(name);
            }
            continue;
        }
        if is_own(field) {
            inner.remove(".");
        }
        subtract(inner, gone);
        if inner.is_empty() {
            set.remove(name);
        }
    }
}

fn common(a: &Set, b: &Set, path: &str, found: &mut dyn FnMut(String)) {
    for (name, field) in a {
        let Some(other) = b.get(name).filter(|_| name != ".") else { continue };
        let path = format!("{path}{}", step(name));
        if is_own(field) && is_own(other) {
            found(path.clone());
        }
        if let (Value::Object(field), Value::Object(other)) = (field, other) {
            common(field, other, &path, found);
        }
    }
}

/// A part of a path: `.spec`, `[name="web"]`, `[="finalizer"]`.
fn step(name: &str) -> String {
    match name.split_once(':') {
        Some(("k", keys)) => {
            let keys: Value = serde_json::from_str(keys).unwrap_or_default();
            let keys = keys.as_object().into_iter().flatten();
            let keys: Vec<String> = keys.map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        Some((_, field)) => format!(".{field}"),
        None => name.to_string(),
    }
}

// ---- managers --------------------------------------------------------------------------------------------

/// How somebody writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer<'a> {
    /// `kubectl-client-side-apply`
    pub manager: &'a str,
    /// By way of `scale` or `status`; empty for the object itself.
    pub subresource: &'a str,
    /// When, as stamps are written.
    pub time: &'a str,
}

struct Entry {
    manager: String,
    subresource: String,
    operation: String,
    set: Set,
    /// The entry as it was written.
    value: Value,
}

fn entries(object: &Value) -> Vec<Entry> {
    let list = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let text = |value: &Value, field: &str| {
        value.get(field).and_then(Value::as_str).unwrap_or_default().to_string()
    };
    let entry = |value: &Value| Entry {
        manager: text(value, "manager"),
        subresource: text(value, "subresource"),
        operation: text(value, "operation"),
        set: value.get("fieldsV1").and_then(Value::as_object).cloned().unwrap_or_default(),
        value: value.clone(),
    };
    list.items().map(entry).collect()
}

fn write(object: &mut Value, entries: Vec<Entry>) {
    let mut list = Vec::new();
    for Entry { set, mut value, .. } in entries {
        if let (false, Some(fields)) = (set.is_empty(), value.as_object_mut()) {
            fields.insert("fieldsV1".to_string(), Value::Object(set));
            list.push(value);
        }
    }
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove(MANAGED_FIELDS);
        if !list.is_empty() {
            meta.insert(MANAGED_FIELDS.to_string(), Value::Array(list));
        }
    }
}

fn entry(object: &Value, writer: Writer<'_>, operation: &str, set: Set) -> Entry {
    let mut value = json!({
        "manager": writer.manager,
        "operation": operation,
        "apiVersion": object.get("apiVersion").cloned().unwrap_or_default(),
        "time": writer.time,
        "fieldsType": "FieldsV1",
    });
    let subresource = writer.subresource.to_string();
    if let (false, Some(fields)) = (subresource.is_empty(), value.as_object_mut()) {
        fields.insert("subresource".to_string(), subresource.clone().into());
    }
    let (manager, operation) = (writer.manager.to_string(), operation.to_string());
    Entry { manager, subresource, operation, set, value }
}

/// What somebody can manage of an object.
fn manageable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|name, _| !NOBODYS.contains(&name.as_str()) && name != "status");
        if let Some(meta) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.retain(|name, _| !NOBODYS.contains(&name.as_str()));
            if meta.is_empty() {
                fields.remove("metadata");
            }
        }
    }
    object
}

/// Notes that `writer` has made `new` of `old` (nothing, for a new object). Others no longer manage what has
/// been changed or taken away.
pub fn note_update(old: Option<&Value>, new: &mut Value, ty: Type, writer: Writer<'_>) {
    let before = old.map_or_else(|| json!({}), manageable);
    let after = manageable(new);
    let how = Strategy::default();
    let mut gone = fields_of(&before, ty, how, true);
    subtract(&mut gone, &fields_of(&after, ty, how, true));
    let put = changed(&before, &after, ty, how).unwrap_or_default();
    let mut entries = entries(old.unwrap_or(&Value::Null));
    let is_own = |entry: &Entry| {
        entry.manager == writer.manager
            && entry.subresource == writer.subresource
            && entry.operation == "Update"
    };
    let mut is_noted = false;
    for entry in &mut entries {
        subtract(&mut entry.set, &gone);
        if is_own(entry) {
            is_noted = true;
            add(&mut entry.set, &put);
            if let (false, Some(fields)) = (put.is_empty(), entry.value.as_object_mut()) {
                fields.insert("time".to_string(), writer.time.into());
            }
        } else {
            subtract(&mut entry.set, &put);
        }
    }
    if !is_noted {
        entries.push(entry(new, writer, "Update", put));
    }
    write(new, entries);
}

/// The server's apply: `live` as `config` wants it. What `writer` applied before and does not name any more goes,
/// unless others manage it too. With `force`, conflicts are won.
pub fn apply(
    live: &Value,
    config: &Value,
    ty: Type,
    writer: Writer<'_>,
    force: bool,
) -> Result<Value, Vec<Conflict>> {
    let how = Strategy::default();
    let config = manageable(config);
    let wanted = fields_of(&config, ty, how, false);
    let mut merged = live.clone();
    merge(&mut merged, &config, ty, how);
    let put = changed(&manageable(live), &manageable(&merged), ty, how).unwrap_or_default();
    let mut entries = entries(live);
    let mut conflicts = Vec::new();
    let mut before = Set::new();
    entries.retain_mut(|entry| {
        if entry.manager == writer.manager && entry.operation == "Apply" {
            before = std::mem::take(&mut entry.set);
            return false;
        }
        let mut manager = format!("{:?}", entry.manager);
        if !entry.subresource.is_empty() {
            manager.push_str(&format!(" with subresource {:?}", entry.subresource));
        }
        if entry.operation == "Update" {
            let version = entry.value.get("apiVersion").and_then(Value::as_str);
            manager.push_str(&format!(" using {}", version.unwrap_or_default()));
        }
        common(&put, &entry.set, "", &mut |path| {
            conflicts.push(Conflict { manager: manager.clone(), path });
        });
        subtract(&mut entry.set, &put);
        true
    });
    if !conflicts.is_empty() && !force {
        return Err(conflicts);
    }
    // What was applied, is not any more, and is nobody else's.
    subtract(&mut before, &wanted);
    for entry in &entries {
        subtract(&mut before, &entry.set);
    }
    remove(&mut merged, &before, ty, how);
    entries.insert(0, entry(live, writer, "Apply", wanted));
    write(&mut merged, entries);
    Ok(merged)
}

/// What kubectl's apply on its own side managed, the server's apply manages from now on
/// (`client-go/util/csaupgrade`). `false`: there was nothing.
pub fn take_over(object: &mut Value, from: &str, to: &str) -> bool {
    let mut entries = entries(object);
    let mut taken = Set::new();
    entries.retain_mut(|entry| {
        let is_theirs = entry.manager == from && entry.operation == "Update";
        if is_theirs {
            add(&mut taken, &entry.set);
        }
        !is_theirs
    });
    if taken.is_empty() {
        return false;
    }
    // The note of what was applied stays, whoever applies.
    let note = json!({"f:metadata": {"f:annotations": {format!("f:{LAST_APPLIED}"): {}}}});
    subtract(&mut taken, note.as_object().unwrap_or(&Set::new()));
    for entry in &mut entries {
        if entry.manager == to && entry.operation == "Apply" {
            add(&mut entry.set, &taken);
        }
    }
    write(object, entries);
    true
}

fn merge(live: &mut Value, config: &Value, ty: Type, how: Strategy) {
    if live == config {
        return;
    }
    if parts(config, ty, how).is_none() {
        *live = config.clone();
        return;
    }
    match (live, config) {
        (Value::Object(live), Value::Object(config)) => {
            for (name, value) in config {
                let inner = live.entry(name.clone()).or_insert(Value::Null);
                merge(inner, value, field_type(ty, name), strategy::of(ty, name));
            }
        }
        (Value::Array(live), Value::Array(config)) => {
            let name = |item: &Value| item_name(item, how.keys);
            let places = live.iter().enumerate().map(|(at, item)| (name(item), at));
            let places = base::order::map(places);
            for item in config {
                match places.get(&name(item)).and_then(|at| live.get_mut(*at)) {
                    Some(old) => merge(old, item, item_type(ty), Strategy::default()),
                    None => live.push(item.clone()),
                }
            }
        }
        (live, config) => *live = config.clone(),
    }
}

fn remove(value: &mut Value, gone: &Set, ty: Type, how: Strategy) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in gone {
                let Some(field) = name.strip_prefix("f:") else { continue };
                let (ty, how) = (field_type(ty, field), strategy::of(ty, field));
                let Some(value) = fields.get_mut(field) else { continue };
                if inner.as_object().is_some_and(Map::is_empty) {
                    fields.remove(field);
                } else if let Value::Object(inner) = inner {
                    remove(value, inner, ty, how);
                }
            }
        }
        Value::Array(items) => items.retain_mut(|item| {
            let Some(Value::Object(inner)) = gone.get(&item_name(item, how.keys)) else {
                return true;
            };
            if inner.is_empty() || inner.contains_key(".") {
                return false;
            }
            remove(item, inner, item_type(ty), Strategy::default());
            true
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        reason = "a test that cannot go on fails"
    )]

    use super::*;

    const TYPE: Type = Type::Object("apps/v1.Deployment");

    fn deployment(replicas: i64, image: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {"spec": {"containers": [{"name": "a", "image": image,
                    "ports": [{"containerPort": 80}], "resources": {}}]}}}})
    }

    fn writer(manager: &str) -> Writer<'_> {
        Writer { manager, subresource: "", time: "2026-01-05T09:00:00Z" }
    }

    fn sets(object: &Value) -> Vec<String> {
        let line = |entry: Entry| {
            format!("{} {} {}", entry.manager, entry.operation, Value::Object(entry.set))
        };
        entries(object).into_iter().map(line).collect()
    }

    #[test]
    fn who_creates_manages_everything_and_who_changes_what_has_changed() {
        let mut object = deployment(1, "nginx");
        note_update(None, &mut object, TYPE, writer("kubectl-create"));
        assert_eq!(
            sets(&object),
            [
                r#"kubectl-create Update {"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:spec":{"f:containers":{".":{},"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}},"f:resources":{}}}}}}}"#
            ]
        );
        let old = object.clone();
        object["spec"]["replicas"] = 3.into();
        object["metadata"]["labels"] = json!({});
        note_update(Some(&old), &mut object, TYPE, writer("kubectl-edit"));
        let sets = sets(&object);
        assert_eq!(sets[1], r#"kubectl-edit Update {"f:spec":{"f:replicas":{}}}"#);
        assert!(!sets[0].contains("replicas") && !sets[0].contains("f:app"), "{}", sets[0]);
    }

    #[test]
    fn apply_takes_what_is_free_and_says_where_others_have_a_say() {
        let live = json!({"apiVersion": "apps/v1", "metadata": {"name": "web"}});
        let mut live =
            apply(&live, &deployment(1, "nginx:1"), TYPE, writer("kubectl"), false).unwrap();
        let old = live.clone();
        live["spec"]["replicas"] = 5.into();
        note_update(Some(&old), &mut live, TYPE, writer("kubectl-scale"));
        // The same values as before conflict, others do not.
        let conflicts = apply(&live, &deployment(1, "nginx:2"), TYPE, writer("kubectl"), false);
        assert_eq!(
            conflict_message(&conflicts.unwrap_err()),
            "Apply failed with 1 conflict: conflict with \"kubectl-scale\" using apps/v1: .spec.replicas"
        );
        let agreed =
            apply(&live, &deployment(5, "nginx:2"), TYPE, writer("kubectl"), false).unwrap();
        assert_eq!(agreed.pointer("/spec/template/spec/containers/0/image").unwrap(), "nginx:2");
        let forced =
            apply(&live, &deployment(1, "nginx:1"), TYPE, writer("kubectl"), true).unwrap();
        assert_eq!(forced["spec"]["replicas"], 1);
        assert_eq!(sets(&forced).len(), 1);
        // Two fields, two managers.
        let other = apply(&live, &deployment(2, "x"), TYPE, writer("other"), false).unwrap_err();
        assert_eq!(
            conflict_message(&other),
            "Apply failed with 2 conflicts: conflicts with \"kubectl\":\n- .spec.template.spec.containers[name=\"a\"].image\nconflicts with \"kubectl-scale\" using apps/v1:\n- .spec.replicas"
        );
    }

    #[test]
    fn what_is_not_applied_any_more_goes_unless_others_want_it() {
        let mut config = deployment(1, "nginx");
        config["metadata"]["labels"]["more"] = "x".into();
        let live = json!({"apiVersion": "apps/v1", "metadata": {"name": "web"}});
        let one = apply(&live, &config, TYPE, writer("one"), false).unwrap();
        let mut small = json!({"apiVersion": "apps/v1", "metadata": {"labels": {"more": "x"}}});
        let two = apply(&one, &small, TYPE, writer("two"), false).unwrap();
        let less = apply(
            &two,
            &json!({"metadata": {"labels": {"app": "web"}}}),
            TYPE,
            writer("one"),
            false,
        );
        let less = less.unwrap();
        assert_eq!(less["metadata"]["labels"], json!({"app": "web", "more": "x"}));
        assert_eq!(less["spec"], json!({"template": {"spec": {"containers": []}}}));
        small["metadata"]["labels"] = json!({});
        let none = apply(&less, &small, TYPE, writer("two"), false).unwrap();
        assert_eq!(none["metadata"]["labels"], json!({"app": "web"}));
    }
}
