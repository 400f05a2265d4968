//! `kubectl rollout` (`kubectl/pkg/polymorphichelpers`, `kubectl/pkg/cmd/rollout`).
//!
//! What the history of a workload is, a Deployment's ReplicaSets or the ControllerRevisions of the others, is read
//! as a list of [`Revision`]s; the verbs know nothing else of it.

use controllers::deployment::{TEMPLATE_HASH, revision_of, sets_of};
use controllers::history;
use kube_api::object::time;
use kube_api::{AnyObject, KindInfo, MetaExt, Request};
use serde_json::Value;

use super::describe::workloads::template;
use super::kube::{Fail, Kube, error};
use super::output::DryRun;
use super::scale::{change, change_as, set};
use super::table::View;
use super::target::chosen;
use crate::flags::Args;
use crate::tabwriter;

pub(super) const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

/// `kubectl rollout status | history | restart | undo | pause | resume`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let Some((verb, words)) = args.words.split_first() else {
        return Err(error("must specify one of history, pause, restart, resume, status, undo"));
    };
    let known = ["history", "pause", "restart", "resume", "status", "undo"];
    if !known.contains(&verb.as_str()) {
        return Err(error(format!("unknown command \"rollout {verb}\"")));
    }
    if words.is_empty() && args.get("filename").is_none() {
        return Err(error("required resource not specified"));
    }
    let (found, all_there) = chosen(kube, args, words).await?;
    for (kind, object) in found {
        one(kube, args, verb, &kind, &object).await?;
    }
    Ok(if all_there { 0 } else { 1 })
}

async fn one(
    kube: &Kube<'_>,
    args: &Args,
    verb: &str,
    kind: &KindInfo,
    object: &AnyObject,
) -> Result<(), Fail> {
    let is_deployment = kind.plural == "deployments";
    let is_workload = ["deployments", "daemonsets", "statefulsets"].contains(&kind.plural.as_str());
    let named = |what: &str| error(format!("{} {:?} {what}", kind.resource(), object.name()));
    match verb {
        "status" if is_workload => status(kube, args, kind, object).await,
        "restart" if is_workload => {
            if is_deployment && is_paused(object) {
                return Err(named("can't restart paused deployment (run rollout resume first)"));
            }
            restart(kube, object)?;
            kube.out(format!("{} restarted\n", kind.object_name(object.name()))).await
        }
        "pause" | "resume" if is_deployment => pause(kube, kind, object, verb == "pause").await,
        "history" if is_workload => show_history(kube, args, kind, object).await,
        "undo" if is_workload => undo(kube, args, kind, object).await,
        "pause" => Err(named("pausing is not supported")),
        "resume" => Err(named("resuming is not supported")),
        "restart" => Err(named("restarting is not supported")),
        "status" => {
            let resource = &kind.kind;
            Err(error(format!("no status viewer has been implemented for {resource}")))
        }
        "history" => {
            Err(error(format!("no history viewer has been implemented for {:?}", kind.kind)))
        }
        _ => Err(error(format!("no rollbacker has been implemented for {:?}", kind.kind))),
    }
}

// ---- status ----------------------------------------------------------------------------------------------

async fn status(
    kube: &Kube<'_>,
    args: &Args,
    kind: &KindInfo,
    object: &AnyObject,
) -> Result<(), Fail> {
    let deadline = kube.deadline(args, "timeout")?;
    let wanted = args.number("revision")?.filter(|revision| *revision > 0);
    let waits = args.switch_or("watch", true);
    let mut last = String::new();
    loop {
        let live = kube.get_in(kind, object.namespace(), object.name())?;
        let value = live.to_value();
        if let Some(wanted) = wanted.filter(|_| kind.plural == "deployments") {
            let running = live.meta().annotation(controllers::deployment::REVISION);
            let running: i64 = running.and_then(|text| text.parse().ok()).unwrap_or(0);
            if running != wanted {
                return Err(error(format!(
                    "desired revision ({wanted}) is different from the running revision ({running})"
                )));
            }
        }
        let (line, is_done) = match kind.plural.as_str() {
            "deployments" => deployment_status(&value)?,
            "statefulsets" => stateful_set_status(&value)?,
            _ => daemon_set_status(&value)?,
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

fn is_observed(view: &View<'_>) -> bool {
    number(view, "/metadata/generation") <= number(view, "/status/observedGeneration")
}

/// (`rollout_status.go`, `DeploymentStatusViewer`)
fn deployment_status(value: &Value) -> Result<(String, bool), Fail> {
    let view = View(value);
    let name = view.text("/metadata/name");
    if !is_observed(&view) {
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

fn only_rolling(view: &View<'_>) -> Result<(), Fail> {
    if view.text("/spec/updateStrategy/type") == "OnDelete" {
        return Err(error("rollout status is only available for RollingUpdate strategy type"));
    }
    Ok(())
}

fn daemon_set_status(value: &Value) -> Result<(String, bool), Fail> {
    let view = View(value);
    let name = view.text("/metadata/name");
    only_rolling(&view)?;
    if !is_observed(&view) {
        return Ok(("Waiting for daemon set spec update to be observed...".to_string(), false));
    }
    let wanted = number(&view, "/status/desiredNumberScheduled");
    let updated = number(&view, "/status/updatedNumberScheduled");
    let available = number(&view, "/status/numberAvailable");
    let waiting = format!("Waiting for daemon set {name:?} rollout to finish:");
    Ok(if updated < wanted {
        (format!("{waiting} {updated} out of {wanted} new pods have been updated..."), false)
    } else if available < wanted {
        (format!("{waiting} {available} of {wanted} updated pods are available..."), false)
    } else {
        (format!("daemon set {name:?} successfully rolled out"), true)
    })
}

fn stateful_set_status(value: &Value) -> Result<(String, bool), Fail> {
    let view = View(value);
    only_rolling(&view)?;
    if number(&view, "/status/observedGeneration") == 0 || !is_observed(&view) {
        return Ok(("Waiting for statefulset spec update to be observed...".to_string(), false));
    }
    let (wanted, ready) = (number(&view, "/spec/replicas"), number(&view, "/status/readyReplicas"));
    if ready < wanted {
        return Ok((format!("Waiting for {} pods to be ready...", wanted - ready), false));
    }
    let updated = number(&view, "/status/updatedReplicas");
    if view.at("/spec/updateStrategy/rollingUpdate/partition").is_some() {
        let partition = number(&view, "/spec/updateStrategy/rollingUpdate/partition");
        let goal = wanted - partition;
        return Ok(if updated < goal {
            let waiting = "Waiting for partitioned roll out to finish:";
            (format!("{waiting} {updated} out of {goal} new pods have been updated..."), false)
        } else {
            (
                format!("partitioned roll out complete: {updated} new pods have been updated..."),
                true,
            )
        });
    }
    let (current, update) =
        (view.text("/status/currentRevision"), view.text("/status/updateRevision"));
    Ok(if current != update {
        let what = "waiting for statefulset rolling update to complete";
        (format!("{what} {updated} pods at revision {update}..."), false)
    } else {
        let pods = number(&view, "/status/currentReplicas");
        (format!("statefulset rolling update complete {pods} pods at revision {current}..."), true)
    })
}

// ---- restart, pause --------------------------------------------------------------------------------------

/// A new annotation of the template makes new Pods.
fn restart(kube: &Kube<'_>, object: &AnyObject) -> Result<(), Fail> {
    let now = Value::String(time(kube.now()).to_string());
    change(kube, object, |value| {
        let pointer = "/spec/template/metadata/annotations";
        set(value, pointer, "kubectl.kubernetes.io/restartedAt", now);
    })?;
    Ok(())
}

fn is_paused(object: &AnyObject) -> bool {
    object.to_value().pointer("/spec/paused").and_then(Value::as_bool) == Some(true)
}

async fn pause(
    kube: &Kube<'_>,
    kind: &KindInfo,
    object: &AnyObject,
    pauses: bool,
) -> Result<(), Fail> {
    let name = kind.object_name(object.name());
    if is_paused(object) == pauses {
        let what = if pauses { "is already paused" } else { "is not paused" };
        return Err(error(format!("{} {:?} {what}", kind.resource(), object.name())));
    }
    change(kube, object, |value| {
        let to = if pauses { Value::Bool(true) } else { Value::Null };
        set(value, "/spec", "paused", to);
    })?;
    kube.out(format!("{name} {}\n", if pauses { "paused" } else { "resumed" })).await
}

// ---- history ---------------------------------------------------------------------------------------------

/// An earlier template of a workload, or the present one.
struct Revision {
    number: i64,
    cause: Option<String>,
    template: Value,
}

/// What a workload was, oldest first.
fn history(kube: &Kube<'_>, object: &AnyObject) -> Result<Vec<Revision>, Fail> {
    let cause =
        |meta: &kube_api::meta::ObjectMeta| meta.annotation(CHANGE_CAUSE).map(str::to_string);
    let mut all: Vec<Revision> = Vec::new();
    if let AnyObject::Deployment(deployment) = object {
        for set in kube.api(|api| sets_of(api, deployment))? {
            let own = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            all.push(Revision {
                number: i64::try_from(revision_of(&set)).unwrap_or(0),
                cause: cause(&set.metadata),
                template: own.map(|own| kube_api::to_value(own)).unwrap_or_default(),
            });
        }
    } else {
        for revision in kube.api(|api| history::of(api, object.meta().uid()))? {
            all.push(Revision {
                number: revision.revision,
                cause: cause(&revision.metadata),
                template: history::template_of(&revision).unwrap_or_default(),
            });
        }
    }
    base::order::sort_by_key(&mut all, |revision| revision.number);
    Ok(all)
}

async fn show_history(
    kube: &Kube<'_>,
    args: &Args,
    kind: &KindInfo,
    object: &AnyObject,
) -> Result<(), Fail> {
    let all = history(kube, object)?;
    let name = kind.object_name(object.name());
    let wanted = args.number("revision")?.unwrap_or(0);
    if wanted < 0 {
        return Err(error(format!("revision must be a positive integer: {wanted}")));
    }
    if wanted > 0 {
        let found = all.iter().find(|revision| revision.number == wanted);
        let found = found.ok_or_else(|| error("unable to find the specified revision"))?;
        let mut text = String::new();
        // The reason is shown with the template's annotations.
        let mut shown = found.template.clone();
        if let Some(cause) = &found.cause {
            set(&mut shown, "/metadata/annotations", CHANGE_CAUSE, cause.clone().into());
        }
        template(Some(&shown), &mut text);
        // kubectl leaves its tabs in.
        return kube.out(format!("{name} with revision #{wanted}\n{text}\n")).await;
    }
    let mut text = "REVISION\tCHANGE-CAUSE\n".to_string();
    for revision in &all {
        let cause = revision.cause.as_deref().unwrap_or("<none>");
        text.push_str(&format!("{}\t{cause}\n", revision.number));
    }
    let layout = tabwriter::Layout { min_width: 0, padding: 2 };
    kube.out(format!("{name} \n{}\n", tabwriter::layout(&text, layout))).await
}

fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(TEMPLATE_HASH);
    }
    template
}

/// The template of an earlier revision becomes the workload's (`rollback.go`).
async fn undo(
    kube: &Kube<'_>,
    args: &Args,
    kind: &KindInfo,
    object: &AnyObject,
) -> Result<(), Fail> {
    let wanted = args.number("to-revision")?.unwrap_or(0);
    if wanted < 0 {
        return Err(error(format!("revision number cannot be negative: {wanted}")));
    }
    let all = history(kube, object)?;
    let is_deployment = kind.plural == "deployments";
    if is_deployment && is_paused(object) {
        return Err(error(format!(
            "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume deployment/{}' and try again",
            object.name()
        )));
    }
    let found = match wanted {
        0 => all.len().checked_sub(2).and_then(|at| all.get(at)),
        wanted => all.iter().find(|revision| revision.number == wanted),
    };
    let Some(found) = found else {
        return Err(match (wanted, is_deployment) {
            (0, true) => {
                error(format!("no rollout history found for deployment {:?}", object.name()))
            }
            (0, false) => error("no last revision to roll back to"),
            (wanted, _) => error(format!("unable to find specified revision {wanted} in history")),
        });
    };
    let name = kind.object_name(object.name());
    let dry_run = DryRun::of(args)?;
    if dry_run == DryRun::Client {
        let mut text = String::new();
        template(Some(&found.template), &mut text);
        return kube.out(format!("{name} will roll back to {text}{}\n", dry_run.suffix())).await;
    }
    let to = without_hash(&found.template);
    let value = object.to_value();
    if value.pointer("/spec/template").map(without_hash).as_ref() == Some(&to) {
        let text = format!(
            "{name} skipped rollback (current template already matches revision {})\n",
            found.number
        );
        return kube.out(text).await;
    }
    let cause = found.cause.clone().map_or(Value::Null, Value::String);
    let has_cause =
        value.pointer("/metadata/annotations").is_some_and(|a| a.get(CHANGE_CAUSE).is_some());
    let request = Request::new("kubectl-rollout", kube.now()).dry(dry_run == DryRun::Server);
    change_as(kube, object, &request, |value| {
        set(value, "/spec", "template", to);
        if !cause.is_null() {
            set(value, "/metadata/annotations", CHANGE_CAUSE, cause);
        } else if let Some(annotations) = value
            .pointer_mut("/metadata/annotations")
            .and_then(Value::as_object_mut)
            .filter(|_| has_cause && is_deployment)
        {
            annotations.remove(CHANGE_CAUSE);
        }
    })?;
    kube.out(format!("{name} rolled back{}\n", dry_run.suffix())).await
}
