//! `kubectl label` and `kubectl annotate`.

use serde_json::{Map, Value};

use super::kube::{Fail, Kube, error};
use super::scale::change;
use super::target::{Filter, find_all, targets};
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

    fn done(self) -> &'static str {
        match self {
            What::Labels => "labeled",
            What::Annotations => "annotated",
        }
    }
}

/// `kubectl label TYPE NAME KEY=VALUE… KEY-…`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args, what: What) -> Result<i32, Fail> {
    let is_change = |word: &&String| word.contains('=') || word.ends_with('-');
    let (changes, words): (Vec<&String>, Vec<&String>) = args.words.iter().partition(is_change);
    let words: Vec<String> = words.into_iter().cloned().collect();
    if words.is_empty() {
        return Err(error(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>",
        ));
    }
    if changes.is_empty() {
        return Err(error(format!(
            "at least one {} update is required",
            what.field().trim_end_matches('s')
        )));
    }
    let targets = targets(kube, &words)?;
    let filter = Filter::of(kube, args)?;
    if targets.iter().any(|target| target.name.is_none()) && !args.is_on("all") && !filter.is_any()
    {
        return Err(error("resource(s) were provided, but no name was specified"));
    }
    let (found, mut all_well) = find_all(kube, &targets, &filter, false).await?;
    for (kind, object) in found {
        let mut fields = current(&object.to_value(), what);
        let name = kind.object_name(object.name());
        match apply(kube, &mut fields, &changes, args.is_on("overwrite")).await? {
            Some(conflict) => {
                kube.err(format!("error: {conflict}\n")).await?;
                all_well = false;
            }
            None => {
                let is_same = fields == current(&object.to_value(), what);
                if !is_same {
                    change(kube, &object, |value| {
                        super::scale::set(value, "/metadata", what.field(), Value::Object(fields));
                    })?;
                }
                let only_removes = changes.iter().all(|change| change.ends_with('-'));
                let done = match (is_same, what, only_removes) {
                    (true, What::Labels, _) => "not labeled",
                    (false, What::Labels, true) => "unlabeled",
                    (_, what, _) => what.done(),
                };
                kube.out(format!("{name} {done}\n")).await?;
            }
        }
    }
    Ok(if all_well { 0 } else { 1 })
}

fn current(value: &Value, what: What) -> Map<String, Value> {
    let fields = value.pointer(&format!("/metadata/{}", what.field()));
    fields.and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Carries out the changes; what stands in the way, if something does.
async fn apply(
    kube: &Kube<'_>,
    fields: &mut Map<String, Value>,
    changes: &[&String],
    overwrite: bool,
) -> Result<Option<String>, Fail> {
    for change in changes {
        if let Some((key, value)) = change.split_once('=') {
            let old = fields.get(key).and_then(Value::as_str).map(str::to_string);
            if let Some(old) = old.filter(|old| old != value && !overwrite) {
                return Ok(Some(format!(
                    "'{key}' already has a value ({old}), and --overwrite is false"
                )));
            }
            fields.insert(key.to_string(), value.into());
        } else if let Some(key) = change.strip_suffix('-')
            && fields.remove(key).is_none()
        {
            kube.out(format!("label {key:?} not found.\n")).await?;
        }
    }
    Ok(None)
}
