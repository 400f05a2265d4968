//! What the API server refuses, for all kinds: metadata, and for the kinds with behaviour what they say.
//!
//! Objects are looked at as JSON, so that it does not matter which of them have a type here:
//! - [`rules`]: the table of what is asked of each type, and who reads it; [`names`]: the forms of texts;
//! - [`pods`], [`workloads`], [`services`], [`others`]: what is more than a line of the table;
//! - [`update`]: what may not change.

mod names;
mod others;
mod pods;
mod rules;
mod services;
mod update;
mod workloads;

use base::Items as _;
use serde_json::Value;

use crate::MetaExt;
use crate::kinds::KindInfo;
use crate::object::AnyObject;
use crate::status::FieldError;

use names::Form;
use rules::Checker;

/// What annotations may be together.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// What is wrong with a new object of a kind.
pub fn create(info: &KindInfo, object: &AnyObject) -> Vec<FieldError> {
    let mut checker = Checker::default();
    meta(&mut checker, info, object);
    body(&mut checker, info, object);
    checker.errors
}

/// What is wrong with a new object whose contents are known to be right.
pub(crate) fn metadata(info: &KindInfo, object: &AnyObject) -> Vec<FieldError> {
    let mut checker = Checker::default();
    meta(&mut checker, info, object);
    checker.errors
}

/// What is wrong with a changed object.
pub fn update(info: &KindInfo, old: &AnyObject, new: &AnyObject) -> Vec<FieldError> {
    let mut checker = Checker::default();
    meta(&mut checker, info, new);
    let changes = update::changes(info, old, new);
    // Of Services upstream asks first what has changed.
    if info.kind == "Service" && !changes.is_empty() {
        checker.errors.extend(changes);
        body(&mut checker, info, new);
    } else {
        body(&mut checker, info, new);
        checker.errors.extend(changes);
    }
    checker.errors
}

fn body(checker: &mut Checker, info: &KindInfo, object: &AnyObject) {
    if let Some(custom) = &info.custom {
        checker.errors.extend(crate::crd::check(&object.to_value(), &custom.schema));
    }
    if let Some(type_name) = info.type_name.filter(|name| rules::has_rules(name)) {
        checker.object(type_name, &object.to_value());
    }
}

fn meta(checker: &mut Checker, info: &KindInfo, object: &AnyObject) {
    let meta = object.meta();
    checker.within("metadata", |checker| {
        match meta.name() {
            "" => checker.required("name", "name or generateName is required"),
            name => self::name(checker, info, name),
        }
        for (key, value) in meta.labels.iter().flatten() {
            checker.form("labels", key, Form::QualifiedName);
            checker.form("labels", value, Form::LabelValue);
        }
        let mut size = 0;
        for (key, value) in meta.annotations.iter().flatten() {
            checker.form("annotations", &key.to_lowercase(), Form::QualifiedName);
            size += key.len() + value.len();
        }
        if size > ANNOTATIONS_MAX {
            let field = checker.path("annotations");
            checker.errors.push(FieldError::too_long(field, ANNOTATIONS_MAX));
        }
        for finalizer in meta.finalizers.items() {
            checker.form("finalizers", finalizer, Form::QualifiedName);
        }
    });
}

fn annotations(checker: &mut Checker, field: &str, annotations: &Value) {
    for key in annotations.as_object().into_iter().flat_map(|all| all.keys()) {
        checker.form(field, &key.to_lowercase(), Form::QualifiedName);
    }
}

fn name(checker: &mut Checker, info: &KindInfo, name: &str) {
    let form = match info.kind.as_str() {
        "Namespace" => Form::Label,
        "Service" if info.group.is_empty() => Form::Label1035,
        "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => {
            for part in ["/", "%"] {
                if name.contains(part) {
                    checker.invalid("name", &name.into(), &format!("may not contain '{part}'"));
                }
            }
            return;
        }
        _ => Form::Subdomain,
    };
    checker.form("name", name, form);
}
