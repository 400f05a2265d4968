//! JSON patches (RFC 6902), with the words of evanphx/json-patch for what goes wrong.

use serde_json::Value;

use super::PatchError;

/// Operations in one patch at most (`apiserver/pkg/endpoints/handlers`, `maxJSONPatchOperations`).
const OPERATIONS_MAX: usize = 10_000;

/// Bytes that all copies of one patch may make together (`JSONPatchMaxCopyBytes`).
const COPIES_MAX: usize = 3 * 1024 * 1024;

/// Whether a text is a patch at all: a list of operations.
pub fn check(patch: &Value) -> Result<&[Value], PatchError> {
    let Value::Array(operations) = patch else {
        let found = if patch.is_object() { "object" } else { "value" };
        return Err(PatchError(format!(
            "error decoding patch: json: cannot unmarshal {found} into Go value of type jsonpatch.Patch"
        )));
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(PatchError(format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            operations.len()
        )));
    }
    Ok(operations)
}

/// Applies a patch; an error leaves the target as it was.
pub fn apply(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let mut changed = target.clone();
    let mut copied = 0;
    for operation in check(patch)? {
        step(&mut changed, operation, &mut copied)?;
    }
    *target = changed;
    Ok(())
}

fn step(target: &mut Value, operation: &Value, copies: &mut usize) -> Result<(), PatchError> {
    let text = |field: &str| operation.get(field).and_then(Value::as_str);
    let kind = text("op").unwrap_or_default();
    let missing =
        |field: &str| PatchError(format!("{kind} operation does not apply: missing {field}"));
    let path = text("path").ok_or_else(|| missing("path"))?;
    let value = || operation.get("value").cloned().ok_or_else(|| missing("value"));
    let from = || text("from").ok_or_else(|| missing("from"));
    match kind {
        "add" => put(target, path, value()?, kind, false),
        "remove" => take(target, path, kind).map(|_| ()),
        "replace" => put(target, path, value()?, kind, true),
        "move" => {
            let from = from()?;
            if path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
                return Err(nowhere(kind, path));
            }
            let moved = take(target, from, kind)?;
            put(target, path, moved, kind, false)
        }
        "copy" => {
            let from = from()?;
            let copied = target.pointer(from).cloned().ok_or_else(|| nowhere(kind, from))?;
            *copies += copied.to_string().len();
            if *copies > COPIES_MAX {
                return Err(PatchError(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copies}, exceeding the limit {COPIES_MAX}"
                )));
            }
            put(target, path, copied, kind, false)
        }
        "test" => {
            let wanted = operation.get("value").cloned().unwrap_or_default();
            match target.pointer(path) {
                Some(found) if *found == wanted => Ok(()),
                None if wanted.is_null() => Ok(()),
                _ => Err(PatchError(format!("testing value {path} failed: test failed"))),
            }
        }
        other => Err(PatchError(format!("Unexpected kind: {other}"))),
    }
}

fn nowhere(kind: &str, path: &str) -> PatchError {
    PatchError(format!(
        "{kind} operation does not apply: doc is missing path: {path:?}: missing value"
    ))
}

/// The value that holds the last part of a path, and that part.
fn holder<'a>(target: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (holder, last) = path.rsplit_once('/')?;
    Some((target.pointer_mut(holder)?, last.replace("~1", "/").replace("~0", "~")))
}

/// A place in a list: no leading zeros (RFC 6901 §4); evanphx counts negative ones from the end.
fn index(text: &str, len: usize) -> Option<usize> {
    if let Some(back) = text.strip_prefix('-') {
        return len.checked_sub(back.parse().ok()?);
    }
    text.parse().ok().filter(|_| text == "0" || !text.starts_with(['0', '+']))
}

fn put(
    target: &mut Value,
    path: &str,
    value: Value,
    kind: &str,
    replaces: bool,
) -> Result<(), PatchError> {
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    let (holder, last) = holder(target, path).ok_or_else(|| nowhere(kind, path))?;
    match holder {
        Value::Object(fields) => {
            if replaces && !fields.contains_key(&last) {
                return Err(nowhere(kind, path));
            }
            fields.insert(last, value);
        }
        Value::Array(items) => {
            let at = if last == "-" && !replaces {
                Some(items.len())
            } else {
                index(&last, items.len())
            };
            let end = items.len() + usize::from(!replaces);
            let at = at.filter(|at| *at < end).ok_or_else(|| nowhere(kind, path))?;
            match items.get_mut(at) {
                Some(item) if replaces => *item = value,
                _ => items.insert(at, value),
            }
        }
        _ => return Err(nowhere(kind, path)),
    }
    Ok(())
}

fn take(target: &mut Value, path: &str, kind: &str) -> Result<Value, PatchError> {
    let (holder, last) = holder(target, path).ok_or_else(|| nowhere(kind, path))?;
    let taken = match holder {
        Value::Object(fields) => fields.remove(&last),
        Value::Array(items) => {
            let at = index(&last, items.len()).filter(|at| *at < items.len());
            at.map(|at| items.remove(at))
        }
        _ => None,
    };
    taken.ok_or_else(|| nowhere(kind, path))
}
