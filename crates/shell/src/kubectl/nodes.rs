//! `kubectl cordon`, `uncordon`, `drain` (`kubectl/pkg/drain`).

use std::rc::Rc;

use base::Duration;
use base::Items as _;
use kube_api::core::Pod;
use kube_api::labels::Selector;
use kube_api::{AnyObject, DeleteOptions, Kind, KindInfo, MetaExt, Reason, Request};
use serde_json::Value;

use super::kube::{Fail, Kube, error};
use super::output::DryRun;
use super::scale::{change_as, set};
use super::target::{Filter, Target, find_all};
use crate::flags::Args;

/// `kubectl cordon | uncordon | drain NODE…`
pub(crate) async fn run(kube: &Kube<'_>, verb: &str, args: &Args) -> Result<i32, Fail> {
    let kind = kube.kind("nodes")?;
    let filter = Filter::of(kube, args)?;
    if args.words.is_empty() && !filter.is_any() {
        return Err(error(format!("USAGE: {verb} NODE [flags]")));
    }
    let target = |name: &str| Target {
        kind: kind.clone(),
        name: Some(name.strip_prefix("node/").unwrap_or(name).to_string()),
    };
    let targets: Vec<Target> = match args.words.as_slice() {
        [] => vec![Target { kind: kind.clone(), name: None }],
        names => names.iter().map(|name| target(name)).collect(),
    };
    let (found, all_there) = find_all(kube, &targets, &filter, false).await?;
    let dry_run = DryRun::of(args)?;
    for (kind, node) in &found {
        cordon(kube, kind, node, verb != "uncordon", dry_run).await?;
    }
    if verb == "drain" {
        return drain_all(kube, args, &found, all_there).await;
    }
    Ok(if all_there { 0 } else { 1 })
}

/// One node after the other; what keeps one from being drained does not keep the others (`RunDrain`).
async fn drain_all(
    kube: &Kube<'_>,
    args: &Args,
    found: &[(KindInfo, AnyObject)],
    all_there: bool,
) -> Result<i32, Fail> {
    let mut failures: Vec<String> = Vec::new();
    let mut pending: Vec<&str> = found.iter().map(|(_, node)| node.name()).collect();
    for (_, node) in found {
        let name = node.name();
        match drain(kube, args, name).await? {
            Ok(()) => {
                pending.retain(|other| *other != name);
                let suffix = DryRun::of(args)?.suffix();
                kube.out(format!("node/{name} drained{suffix}\n")).await?;
            }
            Err(reasons) => {
                let text = match reasons.as_slice() {
                    [one] => one.clone(),
                    many => format!("[{}]", many.join(", ")),
                };
                let mut told = format!(
                    "error: unable to drain node {name:?} due to error: {text}, continuing command...\nThere are pending nodes to be drained:\n"
                );
                pending.iter().for_each(|name| told.push_str(&format!(" {name}\n")));
                kube.err(told).await?;
                failures.extend(reasons);
            }
        }
    }
    if !failures.is_empty() {
        return Err(Fail::Message(failures.join("\n")));
    }
    Ok(if all_there { 0 } else { 1 })
}

async fn cordon(
    kube: &Kube<'_>,
    kind: &KindInfo,
    node: &AnyObject,
    on: bool,
    dry_run: DryRun,
) -> Result<(), Fail> {
    let value = node.to_value();
    let is_on = value.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true);
    let word = if on { "cordoned" } else { "uncordoned" };
    let already = if is_on == on { "already " } else { "" };
    if is_on != on {
        let request = Request::new("kubectl", kube.now()).dry(dry_run != DryRun::No);
        change_as(kube, node, &request, |value| {
            let to = if on { Value::Bool(true) } else { Value::Null };
            set(value, "/spec", "unschedulable", to);
        })?;
    }
    let name = kind.object_name(node.name());
    kube.out(format!("{name} {already}{word}{}\n", dry_run.suffix())).await
}

/// What is to be done with the Pods of a node.
#[derive(Default)]
struct Plan {
    evict: Vec<Rc<Pod>>,
    ignored: Vec<String>,
    /// Why the drain is refused: what is wrong, and with which Pods.
    refused: Vec<(&'static str, Vec<String>)>,
    warned: Vec<(&'static str, Vec<String>)>,
}

const DAEMON_SET: &str = "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)";
const LOCAL_STORAGE: &str =
    "cannot delete Pods with local storage (use --delete-emptydir-data to override)";
const UNMANAGED: &str = "cannot delete Pods that declare no controller (use --force to override)";

/// (`kubectl/pkg/drain/filters.go`)
fn plan(args: &Args, pods: Vec<Rc<Pod>>) -> Plan {
    let mut plan = Plan::default();
    let mut refuse =
        |why: &'static str, pod: String| match plan.refused.iter_mut().find(|(w, _)| *w == why) {
            Some((_, pods)) => pods.push(pod),
            None => plan.refused.push((why, vec![pod])),
        };
    let (mut ignored, mut evict) = (Vec::new(), Vec::new());
    let mut forced = Vec::new();
    for pod in pods {
        let name = format!("{}/{}", pod.metadata.namespace(), pod.metadata.name());
        let is_mirror = pod.metadata.annotation("kubernetes.io/config.mirror").is_some();
        let owner = pod.metadata.controller().map(|owner| owner.kind.clone());
        if is_mirror {
            continue;
        }
        if controllers::pods::has_ended(&pod) {
            evict.push(pod);
            continue;
        }
        if owner.as_deref() == Some("DaemonSet") {
            if args.is_on("ignore-daemonsets") {
                ignored.push(name);
            } else {
                refuse(DAEMON_SET, name);
            }
            continue;
        }
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.items());
        let has_local = volumes.into_iter().any(|volume| volume.empty_dir.is_some());
        if has_local && !args.is_on("delete-emptydir-data") {
            refuse(LOCAL_STORAGE, name);
            continue;
        }
        if owner.is_none() {
            if !args.is_on("force") {
                refuse(UNMANAGED, name);
                continue;
            }
            forced.push(name);
        }
        evict.push(pod);
    }
    plan.ignored = ignored;
    plan.evict = evict;
    // Of a Pod with local storage nothing is said: the last filter's word counts (`filterPods`).
    if !forced.is_empty() {
        plan.warned.push(("deleting Pods that declare no controller", forced));
    }
    plan
}

/// Evicts the Pods of a node, or says why that may not be.
async fn drain(kube: &Kube<'_>, args: &Args, node: &str) -> Result<Result<(), Vec<String>>, Fail> {
    let filter = match args.get("pod-selector") {
        Some(text) => Selector::parse(text).map_err(|bad| error(bad.to_string()))?,
        None => Selector::default(),
    };
    let pods: Vec<Rc<Pod>> = kube.api(|api| {
        let pods = api.store().pods_on(node);
        pods.filter(|pod| filter.matches(pod.metadata.labels.as_ref())).cloned().collect()
    })?;
    let plan = plan(args, pods);
    if !plan.refused.is_empty() {
        let reasons = plan.refused.iter().map(|(why, pods)| format!("{why}: {}", pods.join(", ")));
        return Ok(Err(reasons.collect()));
    }
    let ignored = Some(("ignoring DaemonSet-managed Pods", plan.ignored.clone()));
    let warned =
        ignored.filter(|(_, pods)| !pods.is_empty()).into_iter().chain(plan.warned.clone());
    let warned: Vec<String> =
        warned.map(|(what, pods)| format!("{what}: {}", pods.join(", "))).collect();
    if !warned.is_empty() {
        kube.err(format!("Warning: {}\n", warned.join("; "))).await?;
    }
    let dry_run = DryRun::of(args)?;
    if dry_run != DryRun::No {
        for pod in &plan.evict {
            let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
            kube.out(format!("evicting pod {namespace}/{name}{}\n", dry_run.suffix())).await?;
        }
        return Ok(Ok(()));
    }
    let outcome = evict(kube, args, &plan.evict).await?;
    if let Err(failure) = &outcome {
        let mut told =
            format!("There are pending pods in node {node:?} when an error occurred: {failure}\n");
        for pod in &plan.evict {
            if is_there(kube, pod)? {
                told.push_str(&format!("pod/{}\n", pod.metadata.name()));
            }
        }
        kube.err(told).await?;
    }
    Ok(outcome.map_err(|failure| vec![failure]))
}

/// The very Pod, not another of its name.
fn is_there(kube: &Kube<'_>, pod: &Pod) -> Result<bool, Fail> {
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    kube.api(|api| {
        let live = api.store().get::<Pod>(namespace, name);
        live.is_some_and(|live| live.metadata.uid == pod.metadata.uid)
    })
}

/// How long an eviction that a budget refuses waits for the next try.
const AGAIN: Duration = Duration::from_secs(5);

/// Asks for each Pod to go, again and again where a budget refuses it, and waits until all are gone
/// (`evictPods`).
async fn evict(kube: &Kube<'_>, args: &Args, pods: &[Rc<Pod>]) -> Result<Result<(), String>, Fail> {
    let grace = args.number("grace-period")?.filter(|secs| *secs >= 0);
    let deadline = kube.deadline(args, "timeout")?;
    let timeout = args.get("timeout").unwrap_or_default();
    let mut asking: Vec<&Rc<Pod>> = pods.iter().collect();
    let mut going: Vec<&Rc<Pod>> = Vec::new();
    while !asking.is_empty() || !going.is_empty() {
        let mut refused = Vec::new();
        for pod in std::mem::take(&mut asking) {
            match ask(kube, args, pod, grace).await? {
                Asked::Going => going.push(pod),
                Asked::Refused => refused.push(pod),
                Asked::Failed(why) => return Ok(Err(why)),
            }
        }
        asking = refused;
        let again = Some(kube.now() + AGAIN).filter(|_| !asking.is_empty());
        loop {
            let mut still = Vec::new();
            for pod in going {
                if is_there(kube, pod)? {
                    still.push(pod);
                } else {
                    let name = pod.metadata.name();
                    let word = if args.is_on("disable-eviction") { "deleted" } else { "evicted" };
                    kube.out(format!("pod/{name} {word}\n")).await?;
                }
            }
            going = still;
            let now = kube.now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                let Some(pod) = asking.first().or(going.first()) else { return Ok(Ok(())) };
                let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
                return Ok(Err(format!(
                    "error when evicting pods/{name:?} -n {namespace:?}: global timeout reached: {timeout}"
                )));
            }
            let is_time = again.is_some_and(|again| again <= now);
            if is_time || (going.is_empty() && asking.is_empty()) {
                break;
            }
            kube.changed(again.into_iter().chain(deadline).min()).await;
        }
    }
    Ok(Ok(()))
}

/// What came of asking for a Pod to go.
enum Asked {
    Going,
    Refused,
    Failed(String),
}

async fn ask(
    kube: &Kube<'_>,
    args: &Args,
    pod: &Rc<Pod>,
    grace: Option<i64>,
) -> Result<Asked, Fail> {
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    kube.out(format!("evicting pod {namespace}/{name}\n")).await?;
    let (now, by_deletion) = (kube.now(), args.is_on("disable-eviction"));
    let asked = kube.api(|api| {
        let options = DeleteOptions { grace_seconds: grace, ..DeleteOptions::default() };
        if by_deletion {
            api.delete(Pod::id(), namespace, name, options, now).map(drop)
        } else {
            controllers::disruption::evict(api, namespace, name, options, now)
        }
    })?;
    Ok(match asked {
        Ok(()) => Asked::Going,
        // One that is gone already needs no eviction.
        Err(status) if status.reason == Reason::NotFound => Asked::Going,
        Err(status) if status.reason == Reason::TooManyRequests => {
            kube.err(format!(
                "error when evicting pods/{name:?} -n {namespace:?} (will retry after 5s): {}\n",
                status.message
            ))
            .await?;
            Asked::Refused
        }
        Err(status) => Asked::Failed(format!(
            "error when evicting pods/{name:?} -n {namespace:?}: {}",
            status.message
        )),
    })
}
