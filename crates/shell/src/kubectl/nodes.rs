//! `kubectl cordon`, `uncordon`, `drain` (`kubectl/pkg/drain`).

use std::rc::Rc;

use kube_api::core::Pod;
use kube_api::{AnyObject, DeleteOptions, KindInfo, MetaExt};
use serde_json::Value;

use super::kube::{Fail, Kube, error};
use super::scale::{change, set};
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
    for (kind, node) in &found {
        cordon(kube, kind, node, verb != "uncordon").await?;
    }
    if verb == "drain" {
        for (_, node) in &found {
            drain(kube, args, node.name()).await?;
        }
    }
    Ok(if all_there { 0 } else { 1 })
}

async fn cordon(kube: &Kube<'_>, kind: &KindInfo, node: &AnyObject, on: bool) -> Result<(), Fail> {
    let value = node.to_value();
    let is_on = value.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true);
    let word = if on { "cordoned" } else { "uncordoned" };
    let already = if is_on == on { "already " } else { "" };
    if is_on != on {
        change(kube, node, |value| {
            let to = if on { Value::Bool(true) } else { Value::Null };
            set(value, "/spec", "unschedulable", to);
        })?;
    }
    kube.out(format!("{} {already}{word}\n", kind.object_name(node.name()))).await
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
    let (mut ignored, mut evict, mut forced) = (Vec::new(), Vec::new(), Vec::new());
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
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
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
    if !forced.is_empty() {
        plan.warned.push(("deleting Pods that declare no controller", forced));
    }
    plan
}

async fn drain(kube: &Kube<'_>, args: &Args, node: &str) -> Result<(), Fail> {
    let pods: Vec<Rc<Pod>> = kube.api(|api| {
        let pods = api.store().list::<Pod>();
        pods.filter(|pod| controllers::pods::node_name(pod) == Some(node)).cloned().collect()
    })?;
    let plan = plan(args, pods);
    if !plan.refused.is_empty() {
        let reasons: Vec<String> =
            plan.refused.iter().map(|(why, pods)| format!("{why}: {}", pods.join(", "))).collect();
        let text = match reasons.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        return Err(error(format!(
            "unable to drain node {node:?} due to error: {text}, continuing command...\nThere are pending nodes to be drained:\n {node}\n{}",
            reasons.join("\n")
        )));
    }
    if !plan.ignored.is_empty() {
        kube.err(format!(
            "Warning: ignoring DaemonSet-managed Pods: {}\n",
            plan.ignored.join(", ")
        ))
        .await?;
    }
    for (what, pods) in &plan.warned {
        kube.err(format!("Warning: {what}: {}\n", pods.join(", "))).await?;
    }
    evict(kube, args, &plan.evict).await?;
    kube.out(format!("node/{node} drained\n")).await
}

async fn evict(kube: &Kube<'_>, args: &Args, pods: &[Rc<Pod>]) -> Result<(), Fail> {
    let grace = args.number("grace-period")?.filter(|secs| *secs >= 0);
    let kind = kube.kind("pods")?;
    for pod in pods {
        let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
        kube.out(format!("evicting pod {namespace}/{name}\n")).await?;
    }
    for pod in pods {
        let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
        let now = kube.now();
        // One that is gone already needs no eviction.
        let _ = kube.api(|api| {
            api.delete(
                kind.id,
                namespace,
                name,
                DeleteOptions { grace_seconds: grace, ..DeleteOptions::default() },
                now,
            )
        })?;
    }
    let deadline = kube.deadline(args, "timeout")?;
    let mut left: Vec<&Rc<Pod>> = pods.iter().collect();
    while !left.is_empty() {
        let mut still = Vec::new();
        for pod in left {
            let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
            let live = kube.api(|api| {
                api.store().get::<Pod>(namespace, name).map(|p| p.metadata.uid.clone())
            })?;
            if live.is_some_and(|uid| uid == pod.metadata.uid) {
                still.push(pod);
            } else {
                kube.out(format!("pod/{name} evicted\n")).await?;
            }
        }
        left = still;
        if !left.is_empty() && !kube.changed(deadline).await {
            return Err(error("unable to drain node: global timeout reached"));
        }
    }
    Ok(())
}
