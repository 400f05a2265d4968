//! Patches: how an object becomes another by a text that says only what changes.
//!
//! - [`strategy`]: how the fields of the built-in types are merged;
//! - [`mod@diff`]: kubectl's apply, the patch that makes three states one;
//! - [`merge`]: a strategic merge patch, and a JSON merge patch (RFC 7386), applied;
//! - [`json`]: a JSON patch (RFC 6902), applied.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

pub mod diff;
pub mod json;
pub mod merge;
pub mod strategy;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::Value;

pub use diff::three_way;
pub use merge::{json_merge, strategic};

/// Where kubectl remembers what was applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A patch that cannot be made or applied, in the words of `apimachinery/pkg/util/mergepatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchError(pub String);

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PatchError {
    fn no_merge_key(item: &Value, key: &str) -> PatchError {
        let item = go_text(item);
        PatchError(format!("map: {item} does not contain declared merge key: {key}"))
    }

    fn unknown_directive(directive: &Value, item: &Value) -> PatchError {
        PatchError(format!("unknown patch type: {} in map: {}", go_text(directive), go_text(item)))
    }
}

/// A value as Go prints it with `%v`.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{key}:{}", go_text(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}
