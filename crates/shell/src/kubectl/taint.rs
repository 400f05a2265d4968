//! `kubectl taint` (`kubectl/pkg/cmd/taint`).

use serde_json::{Value, json};

use super::kube::{Fail, Kube, error};
use super::output::{Told, change_all};
use super::target::objects;
use crate::flags::Args;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// One change of taints.
struct Change {
    key: String,
    value: String,
    /// None: of every effect, when it is taken away.
    effect: Option<String>,
    goes: bool,
    text: String,
}

/// `kubectl taint nodes NAME KEY=VALUE:EFFECT… KEY:EFFECT- KEY-`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let is_change =
        |word: &&String| word.contains(':') || word.contains('=') || word.ends_with('-');
    let (changes, mut words): (Vec<&String>, Vec<&String>) = args.words.iter().partition(is_change);
    if words.is_empty() {
        return Err(error("one or more resources must be specified as <resource> <name>"));
    }
    if changes.is_empty() {
        return Err(error("at least one taint update is required"));
    }
    if words.first().is_some_and(|word| {
        !matches!(word.as_str(), "node" | "nodes" | "no")
            && !word.starts_with("node/")
            && !word.starts_with("nodes/")
    }) {
        let kind = words.remove(0);
        return Err(error(format!("invalid resource type {kind}, only node(s) is supported")));
    }
    let words: Vec<String> = words.into_iter().cloned().collect();
    let changes: Vec<Change> =
        changes.into_iter().map(|word| parse(word)).collect::<Result<_, _>>()?;
    let mut told = Told::new(kube, args, "kubectl-taint")?;
    let (found, all_there) = objects(kube, args, &words).await?;
    let overwrites = args.is_on("overwrite");
    let code = change_all(kube, &mut told, &found, &mut |_, value| {
        let name =
            value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_string();
        let taints = value.pointer("/spec/taints").and_then(Value::as_array);
        let mut taints = taints.cloned().unwrap_or_default();
        let what = apply(&name, &mut taints, &changes, overwrites)?;
        let taints = if taints.is_empty() { Value::Null } else { Value::Array(taints) };
        super::scale::set(value, "/spec", "taints", taints);
        Ok(Some(what))
    })
    .await?;
    told.end().await?;
    Ok(if all_there { code } else { 1 })
}

fn parse(word: &str) -> Result<Change, Fail> {
    let (spec, goes) = match word.strip_suffix('-') {
        Some(spec) => (spec, true),
        None => (word, false),
    };
    let (pair, effect) = match spec.split_once(':') {
        Some((pair, effect)) => (pair, Some(effect.to_string())),
        None => (spec, None),
    };
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if key.is_empty() || spec.matches(':').count() > 1 || pair.matches('=').count() > 1 {
        return Err(error(format!("invalid taint spec: {word}")));
    }
    match &effect {
        Some(effect) if !EFFECTS.contains(&effect.as_str()) => {
            return Err(error(format!("invalid taint effect: {effect}, unsupported taint effect")));
        }
        None if !goes => return Err(error(format!("invalid taint spec: {word}"))),
        _ => {}
    }
    let text = spec.to_string();
    Ok(Change { key: key.to_string(), value: value.to_string(), effect, goes, text })
}

fn apply(
    node: &str,
    taints: &mut Vec<Value>,
    changes: &[Change],
    overwrites: bool,
) -> Result<&'static str, Fail> {
    let fits = |taint: &Value, change: &Change| {
        taint.get("key").is_some_and(|key| *key == change.key)
            && change
                .effect
                .as_ref()
                .is_none_or(|effect| taint.get("effect").is_some_and(|e| e == effect))
    };
    let mut taken: Vec<String> = Vec::new();
    for change in changes.iter().filter(|change| !change.goes) {
        if !overwrites && taints.iter().any(|taint| fits(taint, change)) {
            taken.push(change.key.clone());
        }
    }
    if !taken.is_empty() {
        return Err(error(format!(
            "node {node} already has {} taint(s) with same effect(s) and --overwrite is false",
            taken.join(",")
        )));
    }
    let (mut put, mut gone) = (0, false);
    for change in changes {
        let before = taints.len();
        taints.retain(|taint| !fits(taint, change));
        if change.goes {
            if taints.len() == before {
                return Err(error(format!("taint {:?} not found", change.text)));
            }
            gone = true;
            continue;
        }
        let mut taint = json!({"key": change.key, "effect": change.effect});
        if let (false, Some(fields)) = (change.value.is_empty(), taint.as_object_mut()) {
            fields.insert("value".to_string(), change.value.clone().into());
        }
        // New ones stand before those that were there (`reorganizeTaints`).
        taints.insert(put.min(taints.len()), taint);
        put += 1;
    }
    Ok(match (put > 0, gone) {
        _ if overwrites => "modified",
        (true, true) => "modified",
        (false, true) => "untainted",
        _ => "tainted",
    })
}
