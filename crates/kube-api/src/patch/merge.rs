//! Merge patches applied: strategic ones, by the rules of each field, and JSON merge patches (RFC 7386).

use base::tree::{BTreeMap, BTreeSet};
use serde_json::{Map, Value};

use super::PatchError;
use super::strategy::{self, field_type, item_type};
use crate::schema::Type;

/// What is to be done with the map or the item that has this: `replace`, `delete`.
const DIRECTIVE: &str = "$patch";
/// The fields that stay.
pub(super) const RETAIN: &str = "$retainKeys";
/// The order of a list's items.
pub(super) const ORDER: &str = "$setElementOrder/";
/// Plain values that go from a list.
pub(super) const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Applies a JSON merge patch (RFC 7386 §2).
pub fn json_merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(&name);
        } else {
            json_merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// Applies a strategic merge patch to an object of a type.
pub fn strategic(
    target: &mut Value,
    patch: Value,
    type_name: &'static str,
) -> Result<(), PatchError> {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            merge_maps(target, patch, Type::Object(type_name), false)
        }
        (_, patch) => {
            let text = super::go_text(&patch);
            Err(PatchError(format!("json: cannot unmarshal {text} into a map")))
        }
    }
}

/// The items of a list by what tells them apart.
pub(super) struct Lookup<'a> {
    key: &'a str,
    places: BTreeMap<String, usize>,
}

impl<'a> Lookup<'a> {
    /// The name of an item in its list.
    pub(super) fn name(item: &Value, key: &str) -> String {
        if key.is_empty() { Some(item) } else { item.get(key) }
            .map(Value::to_string)
            .unwrap_or_default()
    }

    /// Of equal items the first counts.
    pub(super) fn of(items: &[Value], key: &'a str) -> Result<Lookup<'a>, PatchError> {
        let mut places = BTreeMap::new();
        for (at, item) in items.iter().enumerate() {
            if !key.is_empty() && item.get(key).is_none() {
                return Err(PatchError::no_merge_key(item, key));
            }
            places.entry(Lookup::name(item, key)).or_insert(at);
        }
        Ok(Lookup { key, places })
    }

    pub(super) fn find(&self, item: &Value) -> Option<usize> {
        self.places.get(&Lookup::name(item, self.key)).copied()
    }
}

/// Merges `patch` into `target`. Where `target` is a patch itself (`combines`), what the second says about order
/// and deletions is kept in the first.
pub(super) fn merge_maps(
    target: &mut Map<String, Value>,
    mut patch: Map<String, Value>,
    ty: Type,
    combines: bool,
) -> Result<(), PatchError> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        target.clear();
        match directive.as_str() {
            Some("replace") => target.extend(patch),
            Some("delete") => {}
            _ => return Err(PatchError::unknown_directive(&directive, &Value::Object(patch))),
        }
        return Ok(());
    }
    retain(target, &mut patch, combines)?;
    set_orders(target, &mut patch, ty, combines)?;
    for (name, value) in patch {
        let (name, deletes) = match name.strip_prefix(DELETE_FROM) {
            Some(_) if combines => {
                target.insert(name, value);
                continue;
            }
            Some(list) => (list.to_string(), true),
            None => (name, false),
        };
        if value.is_null() {
            target.remove(&name);
            if combines {
                target.insert(name, value);
            }
            continue;
        }
        let (how, inner) = (strategy::of(ty, &name), field_type(ty, &name));
        match (target.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) if !how.replaces => {
                merge_maps(old, new, inner, combines)?;
            }
            (Some(Value::Array(old)), Value::Array(gone)) if deletes => {
                let gone: BTreeSet<String> = base::order::set(gone.iter().map(Value::to_string));
                old.retain(|value| !gone.contains(&value.to_string()));
            }
            (_, _) if deletes => {}
            (Some(Value::Array(old)), Value::Array(new)) if how.merges => {
                let merged = std::mem::take(old);
                *old = merge_lists(merged, new, item_type(inner), how.key(), combines)?;
            }
            (_, value) => {
                target.insert(name, if combines { value } else { without_directives(value) });
            }
        }
    }
    Ok(())
}

/// What is taken from a patch as it is has no nulls and says nothing to whoever merges.
fn without_directives(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut kept = Map::new();
            for (name, value) in fields {
                let is_directive = name == DIRECTIVE
                    || name == RETAIN
                    || name.starts_with(ORDER)
                    || name.starts_with(DELETE_FROM);
                if !is_directive && !value.is_null() {
                    kept.insert(name, without_directives(value));
                }
            }
            Value::Object(kept)
        }
        Value::Array(items) => {
            let stays = |item: &Value| item.get(DIRECTIVE).is_none_or(|d| d != "delete");
            items.into_iter().filter(stays).map(without_directives).collect()
        }
        other => other,
    }
}

/// `$retainKeys`
fn retain(
    target: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    combines: bool,
) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN) else { return Ok(()) };
    if combines {
        target.insert(RETAIN.to_string(), keys);
        return Ok(());
    }
    let bad = || PatchError("invalid patch format of retainKeys".to_string());
    let keys = keys.as_array().ok_or_else(bad)?;
    let keys = base::order::set(keys.iter().filter_map(Value::as_str));
    let stays = |name: &String| keys.contains(name.as_str());
    let is_named =
        |name: &String, value: &Value| value.is_null() || name.starts_with('$') || stays(name);
    if !patch.iter().all(|(name, value)| is_named(name, value)) {
        return Err(bad());
    }
    target.retain(|name, _| stays(name));
    Ok(())
}

/// `$setElementOrder/LIST`, together with the list that it orders.
fn set_orders(
    target: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    ty: Type,
    combines: bool,
) -> Result<(), PatchError> {
    let orders: Vec<String> =
        patch.keys().filter(|name| name.starts_with(ORDER)).cloned().collect();
    for at in orders {
        let Some(order) = patch.remove(&at) else { continue };
        let Value::Array(wanted) = &order else {
            return Err(PatchError("invalid patch format of setElementOrder list".to_string()));
        };
        let name = at.strip_prefix(ORDER).unwrap_or_default();
        let how = strategy::of(ty, name);
        let list = |value: Option<Value>| match value {
            Some(Value::Array(items)) => Some(items),
            _ => None,
        };
        let (old, new) = (list(target.get(name).cloned()), list(patch.remove(name)));
        let before = old.clone().unwrap_or_default();
        let merged = match (old, new) {
            (Some(old), Some(new)) if how.merges => {
                let item = item_type(field_type(ty, name));
                merge_lists(old, new, item, how.key(), combines)?
            }
            (_, Some(new)) if combines => new,
            (_, Some(new)) => match without_directives(Value::Array(new)) {
                Value::Array(new) => new,
                _ => Vec::new(),
            },
            (Some(old), None) => old,
            (None, None) => {
                if combines {
                    target.insert(at, order);
                }
                continue;
            }
        };
        let ordered = in_order(merged, wanted, &before, how.key())?;
        target.insert(name.to_string(), Value::Array(ordered));
        if combines {
            target.insert(at, order);
        }
    }
    Ok(())
}

fn merge_lists(
    mut list: Vec<Value>,
    patch: Vec<Value>,
    item: Type,
    key: &str,
    combines: bool,
) -> Result<Vec<Value>, PatchError> {
    let before = list.clone();
    let mut new = Vec::new();
    if key.is_empty() {
        new = patch;
        let known = Lookup::of(&list, key)?;
        let more: Vec<Value> = new.iter().filter(|v| known.find(v).is_none()).cloned().collect();
        list.extend(more);
    } else {
        let (mut gone, mut replaces) = (BTreeSet::new(), false);
        for value in patch {
            match value.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
                None => new.push(value),
                Some("replace") => replaces = true,
                Some("delete") if value.get(key).is_some() => {
                    gone.insert(Lookup::name(&value, key));
                }
                Some("delete") => return Err(PatchError::no_merge_key(&value, key)),
                Some("merge") => {
                    let text = "merging lists cannot yet be specified in the patch";
                    return Err(PatchError(text.to_string()));
                }
                Some(other) => return Err(PatchError::unknown_directive(&other.into(), &value)),
            }
        }
        if replaces {
            return Ok(new.into_iter().map(without_directives).collect());
        }
        list.retain(|value| !gone.contains(&Lookup::name(value, key)));
        let known = Lookup::of(&list, key)?;
        for value in &new {
            if value.get(key).is_none() {
                return Err(PatchError::no_merge_key(value, key));
            }
            let live = known.find(value).and_then(|at| list.get_mut(at));
            match (live.and_then(Value::as_object_mut), value) {
                (Some(old), Value::Object(new)) => merge_maps(old, new.clone(), item, combines)?,
                _ if combines => list.push(value.clone()),
                _ => list.push(without_directives(value.clone())),
            }
        }
    }
    in_order(list, &new, &before, key)
}

/// `list` with what `wanted` names in that order; what it does not name stands where it stood in `before`, as
/// far as that goes; what is to be deleted comes last.
fn in_order(
    list: Vec<Value>,
    wanted: &[Value],
    before: &[Value],
    key: &str,
) -> Result<Vec<Value>, PatchError> {
    let (wanted, before) = (Lookup::of(wanted, key)?, Lookup::of(before, key)?);
    let (mut named, mut others, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for value in list {
        if value.get(DIRECTIVE).is_some_and(|directive| directive == "delete") {
            gone.push(value);
        } else if wanted.find(&value).is_some() {
            named.push(value);
        } else {
            others.push(value);
        }
    }
    base::order::sort_by_key(&mut named, |value| wanted.find(value));
    let mut ordered = Vec::new();
    let mut others = others.into_iter().peekable();
    for value in named {
        let place = before.find(&value);
        let stands_before = |other: &Value| match (before.find(other), place) {
            (Some(other), Some(place)) => other < place,
            _ => false,
        };
        while let Some(other) = others.next_if(stands_before) {
            ordered.push(other);
        }
        ordered.push(value);
    }
    ordered.extend(others);
    ordered.extend(gone);
    Ok(ordered)
}
