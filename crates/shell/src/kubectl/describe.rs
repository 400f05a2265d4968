//! `kubectl describe` (`kubectl/pkg/describe/describe.go`): which description a kind has, what all of them share, and
//! that of kinds without one of their own.
//!
//! [`pod`], with containers; [`workloads`]; [`node`]; [`networking`]: Services, Ingresses, policies; [`config`]: the
//! rest.

mod config;
mod networking;
mod node;
mod pod;
pub(crate) mod workloads;

use std::fmt::Write as _;

use base::calendar::Utc;
use kube_api::core::Event;
use kube_api::object::instant;
use kube_api::{AnyObject, KindInfo, Time};
use serde_json::Value;

use self::pod::describe_pod;
use super::events::last_seen;
use super::kube::{Fail, Kube, error};
use super::table::View;
use super::target::{chosen, targets};
use crate::flags::Args;
use crate::tabwriter;

/// `kubectl describe TYPE [NAME…]`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    if args.words.is_empty() && args.get("filename").is_none() {
        return Err(error(
            "You must specify the type of resource to describe. Use \"kubectl api-resources\" for a complete list of supported resources.",
        ));
    }
    let targets = targets(kube, &args.words)?;
    let kinds: Vec<&KindInfo> = targets.iter().map(|target| &target.kind).collect();
    kube.warn_of_old(&kinds).await?;
    let (found, all_there) = chosen(kube, args, &args.words).await?;
    if found.is_empty() && all_there {
        let text = format!("No resources found in {} namespace.\n", kube.namespace);
        kube.err(text).await?;
    }
    for (number, (kind, object)) in found.iter().enumerate() {
        if number > 0 {
            kube.out("\n\n").await?;
        }
        let text = describe(kube, kind, object)?;
        kube.out(tabwriter::layout(&text, tabwriter::DESCRIPTION)).await?;
    }
    Ok(if all_there { 0 } else { 1 })
}

fn describe(kube: &Kube<'_>, kind: &KindInfo, object: &AnyObject) -> Result<String, Fail> {
    let value = object.to_value();
    let v = View(&value);
    let mut out = String::new();
    match object {
        AnyObject::Pod(pod) => describe_pod(kube, pod, &v, &mut out),
        AnyObject::Service(_) => networking::service(kube, object, &v, &mut out)?,
        AnyObject::Node(_) => node::describe_node(kube, object, &v, &mut out)?,
        AnyObject::NetworkPolicy(_) => {
            // kubectl shows no events of these.
            networking::network_policy(&v, &mut out);
            return Ok(out);
        }
        AnyObject::Ingress(_) => networking::ingress(kube, object, &v, &mut out)?,
        AnyObject::IngressClass(_) => networking::ingress_class(&v, &mut out),
        _ if workloads::describe(kube, object, &v, &mut out)? => {}
        _ => match config::describe(kube, kind, object, &v, &mut out)? {
            Some(config::Below::Events) => {}
            Some(config::Below::Nothing) => return Ok(out),
            None => describe_any(&value, &mut out),
        },
    }
    out.push_str(&events(kube, kind, object)?);
    Ok(out)
}

/// `Name:`, and the rest of a list that has a name in front of its first line.
fn many(out: &mut String, name: &str, value: Option<&Value>, between: &str) {
    let empty = serde_json::Map::new();
    let fields = value.and_then(Value::as_object).unwrap_or(&empty);
    if fields.is_empty() {
        let _ = writeln!(out, "{name}:\t<none>");
    }
    for (number, (key, value)) in fields.iter().enumerate() {
        let head = if number == 0 { format!("{name}:") } else { String::new() };
        let text = value.as_str().unwrap_or_default().trim_end();
        let _ = writeln!(out, "{head}\t{key}{between}{text}");
    }
}

fn annotations(out: &mut String, v: &View<'_>) {
    let mut shown = v.at("/metadata/annotations").cloned().unwrap_or(Value::Null);
    if let Some(fields) = shown.as_object_mut() {
        fields.remove(kube_api::patch::LAST_APPLIED);
    }
    many(out, "Annotations", Some(&shown), ": ");
}

fn named(v: &View<'_>, out: &mut String) {
    line(out, "Name", v.text("/metadata/name"));
    if v.at("/metadata/namespace").is_some() {
        line(out, "Namespace", v.text("/metadata/namespace"));
    }
}

fn labelled(v: &View<'_>, out: &mut String) {
    many(out, "Labels", v.at("/metadata/labels"), "=");
    annotations(out, v);
}

/// How most descriptions begin.
fn head(v: &View<'_>, out: &mut String) {
    named(v, out);
    labelled(v, out);
}

fn line(out: &mut String, name: &str, value: impl AsRef<str>) {
    let _ = writeln!(out, "{name}:\t{}", value.as_ref());
}

/// `Mon, 05 Jan 2026 09:01:00 +0000`
fn stamp(v: &View<'_>, pointer: &str) -> String {
    let time = v.at(pointer).and_then(Value::as_str).and_then(Time::parse);
    time.map_or("<unknown>".to_string(), |time| Utc::from_unix(time.0, 0).rfc1123z())
}

/// Kinds without a description of their own: their fields, as the generic describer prints them.
fn describe_any(value: &Value, out: &mut String) {
    let v = View(value);
    head(&v, out);
    let mut shown = value.clone();
    if let Some(meta) = shown.get_mut("metadata").and_then(Value::as_object_mut) {
        // What stands above already.
        let above = |name: &String, _: &mut Value| {
            !["name", "namespace", "labels", "annotations", "managedFields"]
                .contains(&name.as_str())
        };
        meta.retain(above);
    }
    for (name, inner) in shown.as_object().into_iter().flatten() {
        field(0, name, inner, out);
    }
}

/// Levels of a description at most.
const DEPTH_MAX: usize = 20;

fn field(depth: usize, name: &str, value: &Value, out: &mut String) {
    let indent = "  ".repeat(depth);
    let title = title(name);
    match value {
        Value::Object(fields) if depth < DEPTH_MAX => {
            let _ = writeln!(out, "{indent}{title}:");
            fields.iter().for_each(|(name, inner)| field(depth + 1, name, inner, out));
        }
        Value::Array(items) if depth < DEPTH_MAX => {
            let _ = writeln!(out, "{indent}{title}:");
            for item in items {
                match item {
                    Value::Object(fields) => {
                        fields.iter().for_each(|(name, inner)| field(depth + 1, name, inner, out));
                    }
                    other => {
                        let _ = writeln!(out, "{indent}  {}", super::jsonpath::show(other));
                    }
                }
            }
        }
        other => {
            let _ = writeln!(out, "{indent}{title}:\t{}", super::jsonpath::show(other));
        }
    }
}

/// `addressType` → `Address Type`
fn title(name: &str) -> String {
    let mut out = String::new();
    for (at, c) in name.chars().enumerate() {
        if at == 0 {
            out.extend(c.to_uppercase());
        } else {
            if c.is_uppercase() {
                out.push(' ');
            }
            out.push(c);
        }
    }
    // What is said in capitals (`smartLabelFor`).
    let words = out.split(' ').map(|word| match word {
        "Api" | "Url" | "Uid" | "Osb" | "Guid" => word.to_uppercase(),
        word => word.to_string(),
    });
    words.collect::<Vec<String>>().join(" ")
}

/// What has happened to an object.
fn events(kube: &Kube<'_>, kind: &KindInfo, object: &AnyObject) -> Result<String, Fail> {
    let now = kube.now();
    let rows: Vec<String> = kube.api(|api| {
        let about = |event: &&std::rc::Rc<Event>| {
            let involved = &event.involved_object;
            involved.kind.as_deref() == Some(kind.kind.as_str())
                && involved.name.as_deref() == Some(object.name())
                && involved.uid.as_ref().is_none_or(|uid| {
                    Some(uid) == object.meta().uid.as_ref() || kind.plural == "nodes"
                })
        };
        // Events have their object's name in front, and are in its namespace, or in `default`.
        let space = Some(object.namespace()).filter(|space| !space.is_empty()).unwrap_or("default");
        let prefix = format!("{}.", object.name());
        let named = api.store().list_named::<Event>(space, &prefix);
        let mut found: Vec<_> = named.filter(about).cloned().collect();
        base::order::sort_by_key(&mut found, |event| event.last_timestamp.as_ref().map(instant));
        found.iter().map(|event| event_row(event, now)).collect()
    })?;
    if rows.is_empty() {
        return Ok("Events:\t<none>\n".to_string());
    }
    let head = "Events:\n  Type\tReason\tAge\tFrom\tMessage\n  ----\t------\t----\t----\t-------\n";
    Ok(format!("{head}{}", rows.concat()))
}

fn event_row(event: &Event, now: base::Instant) -> String {
    let age = last_seen(event, now);
    let from = event.source.as_ref().and_then(|source| source.component.clone());
    let from = from.or_else(|| event.reporting_component.clone()).unwrap_or_default();
    // Which container it is about (`DescribeEvents`).
    let path = event.involved_object.field_path.as_deref().filter(|path| !path.is_empty());
    let path = path.map(|path| format!("{path}: ")).unwrap_or_default();
    format!(
        "  {}\t{}\t{age}\t{from}\t{path}{}\n",
        event.type_.as_deref().unwrap_or_default(),
        event.reason.as_deref().unwrap_or_default(),
        event.message.as_deref().unwrap_or_default().trim()
    )
}
