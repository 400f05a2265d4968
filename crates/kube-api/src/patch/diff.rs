//! What kubectl's apply sends: the patch from what was applied before, what is to be applied, and what is there
//! (`apimachinery/pkg/util/strategicpatch`).
//!
//! What was applied last time and is not there any more is taken away; what differs from what is there now is
//! put in; what others have added stays. An empty patch is what kubectl calls `unchanged`.

use serde_json::{Map, Value, json};

use super::PatchError;
use super::merge::{DELETE_FROM, Lookup, ORDER, RETAIN, merge_maps};
use super::strategy::{self, field_type, item_type};
use crate::schema::Type;

/// What a comparison is to find.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Find {
    /// What is new or other.
    Changes,
    /// What is gone.
    Deletions,
}

/// The patch that applying `modified` sends, when `original` was applied before and `current` is there.
///
/// `type_name` is the type in the schema; without one (a kind the schema does not have) it is a JSON merge
/// patch, and lists are replaced.
pub fn three_way(
    original: &Value,
    modified: &Value,
    current: &Value,
    type_name: Option<&'static str>,
) -> Result<Value, PatchError> {
    let ty = type_name.map_or(Type::Any, Type::Object);
    let none = Map::new();
    let fields = |value: &'_ Value| value.as_object().cloned().unwrap_or_default();
    let modified = modified.as_object().unwrap_or(&none);
    let changes = diff_maps(&fields(current), modified, ty, Find::Changes, false)?;
    let mut patch = diff_maps(&fields(original), modified, ty, Find::Deletions, false)?;
    merge_maps(&mut patch, changes, ty, true)?;
    Ok(Value::Object(patch))
}

fn diff_maps(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    ty: Type,
    find: Find,
    retains: bool,
) -> Result<Map<String, Value>, PatchError> {
    let mut patch = Map::new();
    for (name, new) in after {
        let Some(old) = before.get(name) else {
            if find == Find::Changes {
                patch.insert(name.clone(), new.clone());
            }
            continue;
        };
        let how = strategy::of(ty, name);
        match (old, new) {
            (Value::Object(old), Value::Object(new)) if !how.replaces => {
                let inner = diff_maps(old, new, field_type(ty, name), find, how.retains)?;
                if !inner.is_empty() {
                    patch.insert(name.clone(), Value::Object(inner));
                }
            }
            (Value::Array(old), Value::Array(new)) if how.merges => {
                let item = item_type(field_type(ty, name));
                diff_lists(old, new, name, item, how, find, &mut patch)?;
            }
            // A field that is replaced is sent again every time; kubectl then says `configured`.
            (old, new) => {
                if find == Find::Changes && (old != new || how.replaces) {
                    patch.insert(name.clone(), new.clone());
                }
            }
        }
    }
    if find == Find::Deletions {
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            patch.insert(name.clone(), Value::Null);
        }
    }
    let goes = before.keys().any(|name| !after.contains_key(name));
    if retains && !after.is_empty() && (!patch.is_empty() || goes) {
        patch.insert(RETAIN.to_string(), after.keys().cloned().collect());
    }
    Ok(patch)
}

fn diff_lists(
    before: &[Value],
    after: &[Value],
    name: &str,
    item: Type,
    how: strategy::Strategy,
    find: Find,
    patch: &mut Map<String, Value>,
) -> Result<(), PatchError> {
    let key = how.key();
    let (old, new) = (Lookup::of(before, key)?, Lookup::of(after, key)?);
    if before.is_empty() {
        if find == Find::Changes && !after.is_empty() {
            patch.insert(name.to_string(), after.to_vec().into());
        }
        return Ok(());
    }
    let (mut put, mut gone) = (Vec::new(), Vec::new());
    for value in after {
        match old.find(value) {
            None if find == Find::Changes => put.push(value.clone()),
            Some(at) if !key.is_empty() => {
                let none = Map::new();
                let before = before.get(at).and_then(Value::as_object).unwrap_or(&none);
                let after = value.as_object().unwrap_or(&none);
                let mut inner = diff_maps(before, after, item, find, how.retains)?;
                if !inner.is_empty() {
                    inner.insert(key.to_string(), value.get(key).cloned().unwrap_or_default());
                    put.push(Value::Object(inner));
                }
            }
            _ => {}
        }
    }
    if find == Find::Deletions {
        gone.extend(before.iter().filter(|value| new.find(value).is_none()).cloned());
    }
    let is_same_order = before.len() == after.len()
        && before
            .iter()
            .zip(after)
            .all(|(old, new)| Lookup::name(old, key) == Lookup::name(new, key));
    let changes_something = !put.is_empty() || !gone.is_empty();
    let is_ordered = changes_something || (find == Find::Changes && !is_same_order);
    let mut order = after.to_vec();
    if !key.is_empty() {
        let only_key = |value: &Value| json!({key: value.get(key).cloned().unwrap_or_default()});
        order = after.iter().map(only_key).collect();
        for value in gone.drain(..) {
            put.push(json!({"$patch": "delete", key: value.get(key).cloned().unwrap_or_default()}));
        }
    }
    for (at, list, is_wanted) in [
        (name.to_string(), put, true),
        (format!("{DELETE_FROM}{name}"), gone, true),
        (format!("{ORDER}{name}"), order, is_ordered),
    ] {
        if is_wanted && !list.is_empty() {
            patch.insert(at, Value::Array(list));
        }
    }
    Ok(())
}
