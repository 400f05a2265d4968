//! `kubectl label` and `kubectl annotate` (`kubectl/pkg/cmd/label`, `annotate`).

use serde_json::{Map, Value};

use super::kube::{Fail, Kube, error};
use super::output::{Told, change_all};
use super::rollout::CHANGE_CAUSE;
use super::target::objects;
use crate::flags::Args;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Labels,
    Annotations,
}

impl What {
    fn field(self) -> &'static str {
        match self {
            What::Labels => "labels",
            What::Annotations => "annotations",
        }
    }

    fn one(self) -> &'static str {
        match self {
            What::Labels => "label",
            What::Annotations => "annotation",
        }
    }
}

/// What is to be put and what is to be taken away.
struct Changes<'a> {
    put: Vec<(&'a str, &'a str)>,
    gone: Vec<&'a str>,
}

/// `kubectl label TYPE NAME KEY=VALUE… KEY-…`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args, what: What) -> Result<i32, Fail> {
    let is_change = |word: &&String| word.contains('=') || word.ends_with('-');
    let (changes, words): (Vec<&String>, Vec<&String>) = args.words.iter().partition(is_change);
    let words: Vec<String> = words.into_iter().cloned().collect();
    let changes = parse(&changes, what)?;
    if args.is_on("all") && args.get("selector").is_some() {
        return Err(error("cannot set --all and --selector at the same time"));
    }
    if words.is_empty() && args.get("filename").is_none() {
        return Err(error(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>",
        ));
    }
    let lists = args.is_on("list");
    if changes.put.is_empty() && changes.gone.is_empty() && !lists {
        return Err(error(format!("at least one {} update is required", what.one())));
    }
    let manager = if what == What::Labels { "kubectl-label" } else { "kubectl-annotate" };
    let mut told = Told::new(kube, args, manager)?;
    let (found, all_there) = objects(kube, args, &words).await?;
    let version = args.get("resource-version").unwrap_or_default();
    if !version.is_empty() && found.len() != 1 {
        return Err(error("--resource-version may only be used with a single resource"));
    }
    if what == What::Labels {
        for (_, object) in &found {
            let labels = current(&object.to_value(), what);
            for key in changes.gone.iter().filter(|key| !labels.contains_key(**key)) {
                kube.out(format!("label {key:?} not found.\n")).await?;
            }
        }
    }
    if lists {
        return list(kube, &found, what).await;
    }
    let overwrites = args.is_on("overwrite");
    let code = change_all(kube, &mut told, &found, &mut |_, value| {
        let mut fields = current(value, what);
        let before = fields.clone();
        apply(&mut fields, &changes, overwrites, what)?;
        let is_same = fields == before;
        let shrinks = text_len(&fields) < text_len(&before);
        super::scale::set(value, "/metadata", what.field(), Value::Object(fields));
        if !version.is_empty() {
            super::scale::set(value, "/metadata", "resourceVersion", version.into());
        }
        Ok(Some(match what {
            What::Annotations => "annotated",
            What::Labels if is_same => "not labeled",
            What::Labels if shrinks && !overwrites => "unlabeled",
            What::Labels => "labeled",
        }))
    })
    .await?;
    told.end().await?;
    Ok(if all_there { code } else { 1 })
}

fn text_len(fields: &Map<String, Value>) -> usize {
    fields.iter().map(|(key, value)| key.len() + value.to_string().len() + 2).sum()
}

fn parse<'a>(words: &[&'a String], what: What) -> Result<Changes<'a>, Fail> {
    let one = what.one();
    let mut changes = Changes { put: Vec::new(), gone: Vec::new() };
    for word in words {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((_, value)), _) if what == What::Labels && value.contains('=') => {
                return Err(error(format!("invalid label spec: {word}")));
            }
            (Some(("", _)), _) => return Err(error(format!("invalid {one} spec: {word}"))),
            (Some(pair), _) => changes.put.push(pair),
            (None, Some(key)) => changes.gone.push(key),
            (None, None) => return Err(error(format!("unknown {one} spec: {word}"))),
        }
    }
    if changes.gone.iter().any(|gone| changes.put.iter().any(|(key, _)| key == gone)) {
        let what = if what == What::Labels { "a label" } else { "an annotation" };
        return Err(error(format!("can not both modify and remove {what} in the same command")));
    }
    Ok(changes)
}

fn current(value: &Value, what: What) -> Map<String, Value> {
    let fields = value.pointer(&format!("/metadata/{}", what.field()));
    fields.and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Carries out the changes, unless something stands in the way.
fn apply(
    fields: &mut Map<String, Value>,
    changes: &Changes<'_>,
    overwrites: bool,
    what: What,
) -> Result<(), Fail> {
    let mut taken = Vec::new();
    for (key, value) in &changes.put {
        // The reason of a change is always another one.
        let is_free = overwrites || (what == What::Annotations && *key == CHANGE_CAUSE);
        let old = fields.get(*key).and_then(Value::as_str).filter(|old| old != value);
        if let (Some(old), false) = (old, is_free) {
            let end = if what == What::Labels { ", and --overwrite is false" } else { "" };
            taken.push(format!("'{key}' already has a value ({old}){end}"));
        }
    }
    match (taken.as_slice(), what) {
        ([], _) => {}
        (taken, What::Annotations) => {
            return Err(error(format!(
                "--overwrite is false but found the following declared annotation(s): {}",
                taken.join("; ")
            )));
        }
        ([one], _) => return Err(error(one)),
        (many, _) => return Err(error(format!("[{}]", many.join(", ")))),
    }
    for (key, value) in &changes.put {
        fields.insert(key.to_string(), (*value).into());
    }
    for key in &changes.gone {
        fields.remove(*key);
    }
    Ok(())
}

/// `--list`
async fn list(
    kube: &Kube<'_>,
    found: &[(kube_api::KindInfo, kube_api::AnyObject)],
    what: What,
) -> Result<i32, Fail> {
    for (kind, object) in found {
        let indent = if found.len() > 1 { " " } else { "" };
        if found.len() > 1 {
            let (kind, group, name) = (&kind.kind, &kind.group, object.name());
            kube.out(format!("Listing {} for {kind}.{group}/{name}:\n", what.field())).await?;
        }
        for (key, value) in current(&object.to_value(), what) {
            let value = value.as_str().unwrap_or_default();
            kube.out(format!("{indent}{key}={value}\n")).await?;
        }
    }
    Ok(0)
}
