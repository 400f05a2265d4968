//! CustomResourceDefinitions: what they define, and how objects of such kinds are checked
//! (`apiextensions-apiserver/pkg/apiserver`).
//!
//! Expressions (`x-kubernetes-validations`) are not evaluated.

use std::rc::Rc;

use base::Instant;
use serde_json::{Map, Value, json};

use crate::kinds::{Column, Custom, KindId, KindInfo, Kinds};
use crate::object::{self, AnyObject};
use crate::status::FieldError;

/// `CustomResourceDefinition`
pub fn is_definition(kind: KindId) -> bool {
    kind.schema().is_some_and(|schema| schema.kind == "CustomResourceDefinition")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn spec_of(object: &AnyObject) -> Option<&Value> {
    match object {
        AnyObject::Dynamic(object) if is_definition(object.kind) => object.body.get("spec"),
        _ => None,
    }
}

/// Defines what a stored definition defines.
pub(crate) fn define(kinds: &mut Kinds, definition: &AnyObject) {
    let Some(spec) = spec_of(definition) else { return };
    let names = spec.get("names").unwrap_or(&Value::Null);
    let kind = text(names, "kind");
    let singular = match text(names, "singular") {
        "" => kind.to_ascii_lowercase(),
        singular => singular.to_string(),
    };
    let words = |field: &str| -> Vec<String> {
        list(names, field).iter().filter_map(Value::as_str).map(str::to_string).collect()
    };
    kinds.forget(text(spec, "group"), text(names, "plural"));
    let mut versions = Vec::new();
    let mut storage = None;
    for version in list(spec, "versions") {
        let flag = |field: &str| version.get(field).and_then(Value::as_bool).unwrap_or(false);
        let schema = version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default();
        let columns = list(version, "additionalPrinterColumns").iter().map(column).collect();
        let id = kinds.define(KindInfo {
            id: definition.kind(),
            storage: definition.kind(),
            group: text(spec, "group").to_string(),
            version: text(version, "name").to_string(),
            kind: kind.to_string(),
            plural: text(names, "plural").to_string(),
            singular: singular.clone(),
            short_names: words("shortNames"),
            is_namespaced: text(spec, "scope") == "Namespaced",
            type_name: None,
            custom: Some(Rc::new(Custom { schema, columns, is_served: flag("served") })),
        });
        versions.push(id);
        if flag("storage") {
            storage = Some(id);
        }
    }
    if let Some(storage) = storage {
        kinds.keep_in(&versions, storage);
    }
}

fn column(value: &Value) -> Column {
    let is_wide = value.get("priority").and_then(Value::as_i64).unwrap_or(0) > 0;
    Column {
        name: text(value, "name").to_uppercase(),
        path: text(value, "jsonPath").to_string(),
        is_date: text(value, "type") == "date",
        is_wide,
    }
}

/// Takes back what a definition has defined; the kinds whose objects go with it.
pub(crate) fn forget(kinds: &mut Kinds, definition: &AnyObject) -> Vec<KindId> {
    let Some(spec) = spec_of(definition) else { return Vec::new() };
    kinds.forget(text(spec, "group"), text(spec.get("names").unwrap_or(&Value::Null), "plural"))
}

/// The status that the server's own controllers give a definition.
pub(crate) fn accept(definition: &mut AnyObject, now: Instant) {
    let Some(spec) = spec_of(definition) else { return };
    let names = spec.get("names").cloned().unwrap_or_default();
    let stored = list(spec, "versions").iter().find(|v| v.get("storage") == Some(&json!(true)));
    let stored = stored.map(|version| text(version, "name")).unwrap_or_default();
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": "True", "reason": reason, "message": message,
               "lastTransitionTime": object::time(now).to_string()})
    };
    let status = json!({
        "acceptedNames": names,
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "storedVersions": [stored],
    });
    if let AnyObject::Dynamic(object) = definition {
        Rc::make_mut(object).body.entry("status").or_insert(status);
    }
}

// ---- objects of such kinds -----------------------------------------------------------------------------

fn is_set(schema: &Value, flag: &str) -> bool {
    schema.get(flag) == Some(&Value::Bool(true))
}

/// Takes away what the schema does not know; the paths of what was taken away.
pub fn prune(value: &mut Value, schema: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    prune_at(value, schema, &mut String::new(), &mut unknown, true);
    unknown
}

/// An object as it is kept: without what its schema does not know, with what that fills in.
pub(crate) fn settle(value: &mut Value, schema: &Value) {
    prune(value, schema);
    fill(value, schema);
}

/// What is missing and has a default, there and within (`apiextensions-apiserver`, `defaulting`).
fn fill(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) => {
            let known = schema.get("properties").and_then(Value::as_object);
            for (name, schema) in known.into_iter().flatten() {
                if let Some(default) = schema.get("default") {
                    fields.entry(name.clone()).or_insert_with(|| default.clone());
                }
                if let Some(value) = fields.get_mut(name) {
                    fill(value, schema);
                }
            }
            if let Some(schema) = schema.get("additionalProperties").filter(|o| o.is_object()) {
                fields.values_mut().for_each(|value| fill(value, schema));
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            items.iter_mut().for_each(|item| fill(item, schema));
        }
        _ => {}
    }
}

fn prune_at(
    value: &mut Value,
    schema: &Value,
    path: &mut String,
    unknown: &mut Vec<String>,
    is_root: bool,
) {
    let len = path.len();
    match value {
        Value::Object(fields) => {
            let known = schema.get("properties").and_then(Value::as_object);
            let others = schema.get("additionalProperties").filter(|others| others.is_object());
            let keeps = is_set(schema, "x-kubernetes-preserve-unknown-fields")
                || is_set(schema, "additionalProperties")
                || schema.as_object().is_none_or(Map::is_empty);
            let is_object = is_root || is_set(schema, "x-kubernetes-embedded-resource");
            let names: Vec<String> = fields.keys().cloned().collect();
            for name in names {
                if is_object && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
                    continue;
                }
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&name);
                match (known.and_then(|known| known.get(&name)).or(others), fields.get_mut(&name)) {
                    (Some(schema), Some(value)) => prune_at(value, schema, path, unknown, false),
                    _ if keeps => {}
                    _ => {
                        unknown.push(path.clone());
                        fields.remove(&name);
                    }
                }
                path.truncate(len);
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for (index, item) in items.iter_mut().enumerate() {
                path.push_str(&format!("[{index}]"));
                prune_at(item, schema, path, unknown, false);
                path.truncate(len);
            }
        }
        _ => {}
    }
}

/// What is wrong with an object, by its kind's schema.
pub(crate) fn check(value: &Value, schema: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_at(value, schema, &mut String::new(), &mut errors);
    errors
}

fn check_at(value: &Value, schema: &Value, path: &mut String, errors: &mut Vec<FieldError>) {
    let may_be_null = is_set(schema, "nullable");
    if value.is_null() && may_be_null {
        return;
    }
    if let Some(found) = wrong_type(value, schema) {
        let wanted = text(schema, "type");
        let detail = format!("{path} in body must be of type {wanted}: {found:?}");
        let field = if path.is_empty() { "<nil>" } else { path };
        errors.push(FieldError::invalid(field, format!("{found:?}"), &detail));
        return;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let shown: Vec<String> = allowed.iter().map(Value::to_string).collect();
        let body = format!("Unsupported value: {value}: supported values: {}", shown.join(", "));
        errors.push(FieldError { field: path.clone(), body });
    }
    limits(value, schema, path, errors);
    let len = path.len();
    match value {
        Value::Object(fields) => {
            for name in list(schema, "required").iter().filter_map(Value::as_str) {
                if !fields.contains_key(name) {
                    let dot = if path.is_empty() { "" } else { "." };
                    errors.push(FieldError::required(format!("{path}{dot}{name}"), ""));
                }
            }
            let known = schema.get("properties");
            let others = schema.get("additionalProperties").filter(|others| others.is_object());
            for (name, value) in fields {
                let Some(schema) = known.and_then(|known| known.get(name)).or(others) else {
                    continue;
                };
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                check_at(value, schema, path, errors);
                path.truncate(len);
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                check_at(item, schema, path, errors);
                path.truncate(len);
            }
        }
        _ => {}
    }
}

/// What a value is, when the schema wants something else.
fn wrong_type(value: &Value, schema: &Value) -> Option<&'static str> {
    let is_whole = |number: &serde_json::Number| {
        number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if is_whole(number) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let wanted = text(schema, "type");
    let fits = wanted.is_empty()
        || wanted == found
        || (wanted == "number" && found == "integer")
        || (is_set(schema, "x-kubernetes-int-or-string") && ["integer", "string"].contains(&found));
    (!fits).then_some(found)
}

/// Lengths, ranges and patterns.
fn limits(value: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
    let mut complain = |shown: String, what: String| {
        errors.push(FieldError::invalid(path, shown, &format!("{path} in body should {what}")));
    };
    match value {
        Value::Number(number) => {
            let n = number.as_f64().unwrap_or(0.0);
            let shown =
                |limit: f64| Value::from(limit).to_string().trim_end_matches(".0").to_string();
            if let Some(max) = limit("maximum").filter(|max| n > *max) {
                complain(number.to_string(), format!("be less than or equal to {}", shown(max)));
            }
            if let Some(min) = limit("minimum").filter(|min| n < *min) {
                complain(number.to_string(), format!("be greater than or equal to {}", shown(min)));
            }
        }
        Value::String(text) => {
            let len = text.chars().count() as f64;
            if let Some(min) = limit("minLength").filter(|min| len < *min) {
                complain(value.to_string(), format!("be at least {min} chars long"));
            }
            if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
                // Of what this grammar of expressions does not have, nothing is asked.
                && regex_lite::Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text))
            {
                complain(value.to_string(), format!("match '{pattern}'"));
            }
            if let Some(max) = limit("maxLength").filter(|max| len > *max) {
                errors.push(FieldError::too_long(path, max as usize));
            }
        }
        Value::Array(items) => {
            let len = items.len() as f64;
            if let Some(min) = limit("minItems").filter(|min| len < *min) {
                complain(items.len().to_string(), format!("have at least {min} items"));
            }
            if let Some(max) = limit("maxItems").filter(|max| len > *max) {
                let body = format!("Too many: {}: must have at most {max} items", items.len());
                errors.push(FieldError { field: path.to_string(), body });
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "required": ["spec"], "properties": {"spec": {
        "type": "object", "required": ["cronSpec"], "properties": {
            "cronSpec": {"type": "string", "pattern": "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$"},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 10},
            "mode": {"type": "string", "enum": ["fast", "slow"], "default": "slow"},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "port": {"x-kubernetes-int-or-string": true},
            "hosts": {"type": "array", "minItems": 1, "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        }}}})
    }

    fn wrong(spec: Value) -> Vec<String> {
        let object =
            json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec});
        check(&object, &schema()).iter().map(FieldError::to_string).collect()
    }

    #[test]
    fn what_a_schema_forbids() {
        assert_eq!(
            wrong(json!({"cronSpec": "* * * * */5", "replicas": 3, "port": "http"})),
            Vec::<String>::new()
        );
        assert_eq!(wrong(json!({})), ["spec.cronSpec: Required value"]);
        assert_eq!(
            wrong(
                json!({"cronSpec": "* * *", "hosts": [{"name": 1}], "mode": "odd", "replicas": 15})
            ),
            [
                "spec.cronSpec: Invalid value: \"* * *\": spec.cronSpec in body should match '^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$'",
                "spec.hosts[0].name: Invalid value: \"integer\": spec.hosts[0].name in body must be of type string: \"integer\"",
                "spec.mode: Unsupported value: \"odd\": supported values: \"fast\", \"slow\"",
                "spec.replicas: Invalid value: 15: spec.replicas in body should be less than or equal to 10",
            ]
        );
        assert_eq!(
            wrong(json!({"cronSpec": "* * * * *", "hosts": [], "labels": {"a": true}})),
            [
                "spec.hosts: Invalid value: 0: spec.hosts in body should have at least 1 items",
                "spec.labels.a: Invalid value: \"boolean\": spec.labels.a in body must be of type string: \"boolean\"",
            ]
        );
    }

    #[test]
    fn what_a_schema_does_not_know_is_taken_away() {
        let mut object = json!({
            "apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x", "labels": {"a": "b"}},
            "spec": {"cronSpec": "", "any": {"thing": 1}, "labels": {"x": "y"}, "image": "a",
                     "hosts": [{"name": "a", "weight": 1}]},
            "status": {},
        });
        let unknown = prune(&mut object, &schema());
        assert_eq!(unknown, ["spec.hosts[0].weight", "spec.image", "status"]);
        assert_eq!(
            object["spec"],
            json!({"cronSpec": "", "any": {"thing": 1}, "labels": {"x": "y"}, "hosts": [{"name": "a"}]})
        );
        settle(&mut object, &schema());
        assert_eq!(object["spec"]["mode"], "slow");
    }
}
