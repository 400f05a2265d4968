//! `kubectl wait`.

use base::Duration;
use kube_api::{AnyObject, KindInfo};
use serde_json::Value;

use super::jsonpath::{Template, show};
use super::kube::{Fail, Kube, error};
use super::table::View;
use super::target::{Filter, Target, files_or, find_all, targets};
use crate::flags::Args;

/// What is waited for.
enum Condition {
    Delete,
    Create,
    Is(String, String),
    Path(Template, Option<String>),
}

/// How long, unless it is said.
const TIMEOUT: Duration = Duration::from_secs(30);

/// `kubectl wait --for=… TYPE/NAME…`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let condition = condition(args.get("for").unwrap_or_default())?;
    let has_files = args.get("filename").is_some();
    let targets = targets(kube, &args.words)?;
    if targets.is_empty() && !has_files {
        return Err(error("arguments in resource/name form must have a single resource and name"));
    }
    let filter = Filter::of(kube, args)?;
    if targets.iter().any(|target| target.name.is_none()) && !filter.is_any() && !args.is_on("all")
    {
        return Err(error("resource(s) were provided, but no name was specified"));
    }
    let timeout = match args.duration("timeout")? {
        Some(timeout) => timeout,
        None => TIMEOUT,
    };
    let deadline = Some(kube.now() + timeout);
    let may_be_missing = matches!(condition, Condition::Delete | Condition::Create);
    let mut found = look(kube, args, &targets, &filter, may_be_missing).await?;
    while matches!(condition, Condition::Create) && found.0.is_empty() {
        if !kube.changed(deadline).await {
            return Err(error("timed out waiting for the condition"));
        }
        found = look(kube, args, &targets, &filter, true).await?;
    }
    let (objects, all_there) = found;
    if !all_there {
        return Ok(1);
    }
    if objects.is_empty() && !may_be_missing {
        return Err(error("no matching resources found"));
    }
    let mut failed = Vec::new();
    for (kind, object) in &objects {
        match one(kube, kind, object, &condition, deadline).await {
            Ok(()) => {}
            Err(Fail::Message(text)) => failed.push(text),
            Err(other) => return Err(other),
        }
    }
    // Of several errors each is a line of its own (`MultipleErrors`).
    let are_many = failed.len() > 1;
    for text in &failed {
        let text = text.strip_prefix("error: ").filter(|_| are_many).unwrap_or(text);
        kube.err(format!("{text}\n")).await?;
    }
    Ok(i32::from(!failed.is_empty()))
}

/// What is there of what is waited for.
async fn look(
    kube: &Kube<'_>,
    args: &Args,
    targets: &[Target],
    filter: &Filter,
    may_be_missing: bool,
) -> Result<(Vec<(KindInfo, AnyObject)>, bool), Fail> {
    match args.get("filename") {
        Some(_) => files_or(kube, args, "", may_be_missing).await,
        None => find_all(kube, targets, filter, may_be_missing).await,
    }
}

fn condition(text: &str) -> Result<Condition, Fail> {
    if text.is_empty() {
        return Err(error("at least one --for condition must be specified, or --for=delete"));
    }
    if text.eq_ignore_ascii_case("delete") {
        return Ok(Condition::Delete);
    }
    if text.eq_ignore_ascii_case("create") {
        return Ok(Condition::Create);
    }
    if let Some(rest) = text.strip_prefix("condition=") {
        let (name, wanted) = rest.split_once('=').unwrap_or((rest, "true"));
        return Ok(Condition::Is(name.to_string(), wanted.to_string()));
    }
    if let Some(rest) = text.strip_prefix("jsonpath=") {
        let rest = rest.trim_matches('\'');
        let (path, wanted) = match rest.split_once("}=") {
            Some((path, wanted)) => (format!("{path}}}"), Some(wanted.to_string())),
            None => (rest.to_string(), None),
        };
        return Ok(Condition::Path(Template::of_path(&path).map_err(error)?, wanted));
    }
    Err(error(format!("unrecognized condition: {text:?}")))
}

fn holds(condition: &Condition, value: Option<&Value>) -> bool {
    match (condition, value) {
        (Condition::Delete, value) => value.is_none(),
        (Condition::Create, value) => value.is_some(),
        (_, None) => false,
        (Condition::Is(name, wanted), Some(value)) => {
            let mut conditions = View(value).items("/status/conditions").map(View);
            conditions.any(|c| {
                c.text("/type").eq_ignore_ascii_case(name)
                    && c.text("/status").eq_ignore_ascii_case(wanted)
            })
        }
        (Condition::Path(path, wanted), Some(value)) => {
            let values = path.values(value);
            match wanted {
                None => !values.is_empty(),
                Some(wanted) => values.iter().any(|value| show(value) == *wanted),
            }
        }
    }
}

async fn one(
    kube: &Kube<'_>,
    kind: &KindInfo,
    object: &AnyObject,
    condition: &Condition,
    deadline: Option<base::Instant>,
) -> Result<(), Fail> {
    let name = kind.object_name(object.name());
    loop {
        let live = kube
            .api(|api| api.store().get_any(kind.id, object.namespace(), object.name()).cloned())?;
        let same = live.filter(|live| live.meta().uid == object.meta().uid);
        if same.is_none() && !matches!(condition, Condition::Delete) {
            return Err(super::target::not_found(kind, object.name()));
        }
        if holds(condition, same.as_ref().map(AnyObject::to_value).as_ref()) {
            let text =
                if matches!(condition, Condition::Delete) { "deleted" } else { "condition met" };
            return kube.out(format!("{name} {text}\n")).await;
        }
        if !kube.changed(deadline).await {
            return Err(error(format!(
                "timed out waiting for the condition on {}",
                plural_name(kind, object.name())
            )));
        }
    }
}

/// `pods/web-1`: the message names the resource.
fn plural_name(kind: &KindInfo, name: &str) -> String {
    format!("{}/{name}", kind.resource())
}
