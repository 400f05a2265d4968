//! `kubectl rollout` (`kubectl/pkg/polymorphichelpers`).

use controllers::deployment::{revision_of, sets_of};
use kube_api::apps::Deployment;
use kube_api::object::time;
use kube_api::{AnyObject, KindInfo, MetaExt};
use serde_json::Value;

use super::kube::{Fail, Kube, error};
use super::scale::{change, set};
use super::table::View;
use super::target::{Filter, find_all, targets};
use crate::flags::Args;

/// `kubectl rollout status | history | restart | undo | pause | resume`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let Some((verb, words)) = args.words.split_first() else {
        return Err(error("must specify one of history, pause, restart, resume, status, undo"));
    };
    let known = ["history", "pause", "restart", "resume", "status", "undo"];
    if !known.contains(&verb.as_str()) {
        return Err(error(format!("unknown command \"rollout {verb}\"")));
    }
    if words.is_empty() {
        return Err(error("required resource not specified"));
    }
    let targets = targets(kube, words)?;
    let (found, all_there) = find_all(kube, &targets, &Filter::of(kube, args)?, false).await?;
    for (kind, object) in found {
        match (verb.as_str(), kind.plural.as_str()) {
            ("status", "deployments" | "daemonsets") => status(kube, args, &kind, &object).await?,
            ("restart", "deployments" | "daemonsets" | "statefulsets") => {
                restart(kube, &object)?;
                kube.out(format!("{} restarted\n", kind.object_name(object.name()))).await?;
            }
            ("pause" | "resume", "deployments") => {
                pause(kube, &kind, &object, verb == "pause").await?
            }
            ("history", "deployments") => history(kube, &kind, &object).await?,
            ("undo", "deployments") => undo(kube, args, &kind, &object).await?,
            ("history" | "undo" | "status", _) if is_workload(&kind) => {
                return Err(kube.unsupported(&format!("'rollout {verb}' of {}", kind.plural)));
            }
            (verb, _) => {
                let what = if verb == "status" {
                    "no status viewer has been implemented for".to_string()
                } else {
                    format!("no {verb}er has been implemented for")
                };
                return Err(error(format!("{what} {:?}", kind.kind)));
            }
        }
    }
    Ok(if all_there { 0 } else { 1 })
}

fn is_workload(kind: &KindInfo) -> bool {
    ["deployments", "daemonsets", "statefulsets"].contains(&kind.plural.as_str())
}

async fn status(
    kube: &Kube<'_>,
    args: &Args,
    kind: &KindInfo,
    object: &AnyObject,
) -> Result<(), Fail> {
    let deadline = kube.deadline(args, "timeout")?;
    let waits = args.switch_or("watch", true);
    let mut last = String::new();
    loop {
        let live = kube.get_in(kind, object.namespace(), object.name())?;
        let (line, is_done) = match kind.plural.as_str() {
            "deployments" => deployment_status(&live.to_value())?,
            _ => daemon_set_status(&live.to_value()),
        };
        if line != last {
            kube.out(format!("{line}\n")).await?;
            last = line;
        }
        if is_done || !waits {
            return Ok(());
        }
        if !kube.changed(deadline).await {
            return Err(error("timed out waiting for the condition"));
        }
    }
}

fn number(view: &View<'_>, pointer: &str) -> i64 {
    view.at(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// (`rollout_status.go`, `DeploymentStatusViewer`)
fn deployment_status(value: &Value) -> Result<(String, bool), Fail> {
    let view = View(value);
    let name = view.text("/metadata/name");
    if number(&view, "/metadata/generation") > number(&view, "/status/observedGeneration") {
        return Ok(("Waiting for deployment spec update to be observed...".to_string(), false));
    }
    let mut conditions = view.items("/status/conditions").map(View);
    if conditions.any(|c| {
        c.text("/type") == "Progressing" && c.text("/reason") == "ProgressDeadlineExceeded"
    }) {
        return Err(error(format!("deployment {name:?} exceeded its progress deadline")));
    }
    let wanted = number(&view, "/spec/replicas");
    let updated = number(&view, "/status/updatedReplicas");
    let total = number(&view, "/status/replicas");
    let available = number(&view, "/status/availableReplicas");
    let waiting = format!("Waiting for deployment {name:?} rollout to finish:");
    Ok(if updated < wanted {
        (format!("{waiting} {updated} out of {wanted} new replicas have been updated..."), false)
    } else if total > updated {
        (format!("{waiting} {} old replicas are pending termination...", total - updated), false)
    } else if available < updated {
        (format!("{waiting} {available} of {updated} updated replicas are available..."), false)
    } else {
        (format!("deployment {name:?} successfully rolled out"), true)
    })
}

fn daemon_set_status(value: &Value) -> (String, bool) {
    let view = View(value);
    let name = view.text("/metadata/name");
    if number(&view, "/metadata/generation") > number(&view, "/status/observedGeneration") {
        return ("Waiting for daemon set spec update to be observed...".to_string(), false);
    }
    let wanted = number(&view, "/status/desiredNumberScheduled");
    let updated = number(&view, "/status/updatedNumberScheduled");
    let available = number(&view, "/status/numberAvailable");
    let waiting = format!("Waiting for daemon set {name:?} rollout to finish:");
    if updated < wanted {
        (format!("{waiting} {updated} out of {wanted} new pods have been updated..."), false)
    } else if available < wanted {
        (format!("{waiting} {available} of {wanted} updated pods are available..."), false)
    } else {
        (format!("daemon set {name:?} successfully rolled out"), true)
    }
}

/// A new annotation of the template makes new Pods.
fn restart(kube: &Kube<'_>, object: &AnyObject) -> Result<(), Fail> {
    let now = Value::String(time(kube.now()).to_string());
    change(kube, object, |value| {
        let pointer = "/spec/template/metadata/annotations";
        set(value, pointer, "kubectl.kubernetes.io/restartedAt", now);
    })?;
    Ok(())
}

async fn pause(
    kube: &Kube<'_>,
    kind: &KindInfo,
    object: &AnyObject,
    pauses: bool,
) -> Result<(), Fail> {
    let name = kind.object_name(object.name());
    let is_paused =
        object.to_value().pointer("/spec/paused").and_then(Value::as_bool) == Some(true);
    if is_paused == pauses {
        let what = if pauses { "is already paused" } else { "is not paused" };
        return Err(error(format!("{} {:?} {what}", kind.resource(), object.name())));
    }
    change(kube, object, |value| set(value, "/spec", "paused", pauses.into()))?;
    kube.out(format!("{name} {}\n", if pauses { "paused" } else { "resumed" })).await
}

fn deployment(object: &AnyObject) -> Result<&Deployment, Fail> {
    match object {
        AnyObject::Deployment(deployment) => Ok(deployment),
        _ => Err(error("not a Deployment")),
    }
}

async fn history(kube: &Kube<'_>, kind: &KindInfo, object: &AnyObject) -> Result<(), Fail> {
    let deployment = deployment(object)?;
    let mut sets = kube.api(|api| sets_of(api, deployment))?;
    base::order::sort_by_key(&mut sets, |set| revision_of(set));
    let mut text = "REVISION\tCHANGE-CAUSE\n".to_string();
    for set in &sets {
        let cause = set.metadata.annotation("kubernetes.io/change-cause").unwrap_or("<none>");
        text.push_str(&format!("{}\t{cause}\n", revision_of(set)));
    }
    let layout = crate::tabwriter::Layout { min_width: 0, padding: 2 };
    kube.out(format!(
        "{} \n{}\n",
        kind.object_name(object.name()),
        crate::tabwriter::layout(&text, layout)
    ))
    .await
}

/// The template of an earlier ReplicaSet becomes the Deployment's.
async fn undo(
    kube: &Kube<'_>,
    args: &Args,
    kind: &KindInfo,
    object: &AnyObject,
) -> Result<(), Fail> {
    let deployment = deployment(object)?;
    let mut sets = kube.api(|api| sets_of(api, deployment))?;
    base::order::sort_by_key(&mut sets, |set| std::cmp::Reverse(revision_of(set)));
    let wanted = args.number("to-revision")?.filter(|revision| *revision > 0);
    let found = match wanted {
        Some(revision) => sets.iter().find(|set| i64::try_from(revision_of(set)) == Ok(revision)),
        None => sets.get(1),
    };
    let Some(set_to) = found else {
        return Err(match wanted {
            Some(revision) => {
                error(format!("unable to find specified revision {revision} in history"))
            }
            None => error(format!("no rollout history found for deployment {:?}", object.name())),
        });
    };
    let template = set_to.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let mut template = template.map(|template| kube_api::to_value(template)).unwrap_or_default();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(controllers::deployment::TEMPLATE_HASH);
    }
    change(kube, object, |value| set(value, "/spec", "template", template))?;
    kube.out(format!("{} rolled back\n", kind.object_name(object.name()))).await
}
