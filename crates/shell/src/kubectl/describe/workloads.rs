//! Descriptions of workloads and budgets (`kubectl/pkg/describe/describe.go`).

use std::fmt::Write as _;

use kube_api::core::Pod;
use kube_api::{AnyObject, MetaExt};
use serde_json::Value;

use super::super::kube::{Fail, Kube};
use super::super::table::{View, human, labels, selector_text};
use super::pod::{describe_container, tolerations, volumes};
use super::{head, labelled, line, many, named, stamp};

/// A description of one of the kinds here; `false`: it is none of them.
pub(super) fn describe(
    kube: &Kube<'_>,
    object: &AnyObject,
    v: &View<'_>,
    out: &mut String,
) -> Result<bool, Fail> {
    match object {
        AnyObject::Deployment(_) => deployment(kube, object, v, out)?,
        AnyObject::ReplicaSet(_) => replica_set(kube, object, v, out)?,
        AnyObject::ReplicationController(_) => replica_set(kube, object, v, out)?,
        AnyObject::StatefulSet(_) => stateful_set(kube, object, v, out)?,
        AnyObject::DaemonSet(_) => daemon_set(kube, object, v, out)?,
        AnyObject::Job(_) => job(object, v, out),
        AnyObject::CronJob(_) => cron_job(v, out),
        AnyObject::PodDisruptionBudget(_) => budget(v, out),
        AnyObject::Dynamic(d) if d.kind_name == "HorizontalPodAutoscaler" => autoscaler(v, out),
        _ => return Ok(false),
    }
    Ok(true)
}

fn selector(v: &View<'_>) -> String {
    match v.at("/spec/selector") {
        // A ReplicationController's is labels only.
        Some(value)
            if value.get("matchLabels").is_none() && value.get("matchExpressions").is_none() =>
        {
            labels(Some(value))
        }
        other => selector_text(other),
    }
}

fn controlled_by(object: &AnyObject, out: &mut String) {
    if let Some(owner) = object.meta().controller() {
        line(out, "Controlled By", format!("{}/{}", owner.kind, owner.name));
    }
}

/// `3 Running / 0 Waiting / 0 Succeeded / 0 Failed`
fn pods_status(kube: &Kube<'_>, object: &AnyObject) -> Result<String, Fail> {
    let uid = object.meta().uid();
    let mut counts = [0; 4];
    kube.api(|api| {
        for pod in api.store().owned::<Pod>(uid) {
            let at = match controllers::pods::phase(pod) {
                "Running" => 0,
                "Pending" => 1,
                "Succeeded" => 2,
                _ => 3,
            };
            if let Some(count) = counts.get_mut(at) {
                *count += 1;
            }
        }
    })?;
    let [running, waiting, succeeded, failed] = counts;
    Ok(format!("{running} Running / {waiting} Waiting / {succeeded} Succeeded / {failed} Failed"))
}

/// What Pods are made from (`DescribePodTemplate`).
pub(crate) fn template(value: Option<&Value>, out: &mut String) {
    out.push_str("Pod Template:\n");
    let Some(value) = value else {
        out.push_str("  <unset>");
        return;
    };
    let v = View(value);
    let mut head = String::new();
    many(&mut head, "Labels", v.at("/metadata/labels"), "=");
    if v.len("/metadata/annotations") > 0 {
        many(&mut head, "Annotations", v.at("/metadata/annotations"), ": ");
    }
    if !v.text("/spec/serviceAccountName").is_empty() {
        line(&mut head, "Service Account", v.text("/spec/serviceAccountName"));
    }
    for (title, pointer) in
        [("Init Containers", "/spec/initContainers"), ("Containers", "/spec/containers")]
    {
        if v.len(pointer) == 0 {
            continue;
        }
        let _ = writeln!(head, "{title}:");
        let mut text = String::new();
        for container in v.items(pointer) {
            describe_container(&View(&Value::Null), &View(container), &mut text);
        }
        shallower(&text, &mut head);
    }
    let mut text = String::new();
    volumes(&v, &mut text);
    shallower(&text, &mut head);
    many(&mut head, "Node-Selectors", v.at("/spec/nodeSelector"), "=");
    tolerations(&v, &mut head);
    head.lines().for_each(|line| {
        let _ = writeln!(out, "  {line}");
    });
}

/// What a Pod's description says of containers and volumes, two columns to the left; their names only one.
fn shallower(text: &str, out: &mut String) {
    for line in text.lines() {
        let _ = match line.strip_prefix("  ") {
            Some(facts) if facts.starts_with(' ') => writeln!(out, "{facts}"),
            Some(name) => writeln!(out, " {name}"),
            None => writeln!(out, "{line}"),
        };
    }
}

fn conditions(v: &View<'_>, with_message: bool, out: &mut String) {
    if v.len("/status/conditions") == 0 {
        return;
    }
    let (heads, rule) = if with_message { ("\tMessage", "\t-------") } else { ("", "") };
    let _ =
        write!(out, "Conditions:\n  Type\tStatus\tReason{heads}\n  ----\t------\t------{rule}\n");
    for condition in v.items("/status/conditions") {
        let c = View(condition);
        let more = if with_message { format!("\t{}", c.text("/message")) } else { String::new() };
        let (kind, status, reason) = (c.text("/type"), c.text("/status"), c.text("/reason"));
        let _ = writeln!(out, "  {kind} \t{status} \t{reason}{more}");
    }
}

fn deployment(
    kube: &Kube<'_>,
    object: &AnyObject,
    v: &View<'_>,
    out: &mut String,
) -> Result<(), Fail> {
    named(v, out);
    line(out, "CreationTimestamp", stamp(v, "/metadata/creationTimestamp"));
    labelled(v, out);
    line(out, "Selector", selector_text(v.at("/spec/selector")));
    line(
        out,
        "Replicas",
        format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            v.number("/spec/replicas"),
            v.number("/status/updatedReplicas"),
            v.number("/status/replicas"),
            v.number("/status/availableReplicas"),
            v.number("/status/unavailableReplicas"),
        ),
    );
    let strategy = v.text_or("/spec/strategy/type", "RollingUpdate");
    line(out, "StrategyType", &strategy);
    line(out, "MinReadySeconds", v.number("/spec/minReadySeconds"));
    if strategy == "RollingUpdate" {
        let text = format!(
            "{} max unavailable, {} max surge",
            v.text("/spec/strategy/rollingUpdate/maxUnavailable"),
            v.text("/spec/strategy/rollingUpdate/maxSurge")
        );
        line(out, "RollingUpdateStrategy", text);
    }
    template(v.at("/spec/template"), out);
    conditions(v, false, out);
    replica_sets(kube, object, out)
}

fn replica_sets(kube: &Kube<'_>, object: &AnyObject, out: &mut String) -> Result<(), Fail> {
    use controllers::deployment::{revision_of, sets_of};
    let AnyObject::Deployment(deployment) = object else { return Ok(()) };
    let sets = kube.api(|api| sets_of(api, deployment))?;
    let newest = sets.iter().map(|set| revision_of(set)).max().unwrap_or(0);
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for set in &sets {
        let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        let have = set.status.as_ref().map_or(0, |status| status.replicas);
        let text = format!("{} ({have}/{wanted} replicas created)", set.metadata.name());
        if revision_of(set) == newest { new.push(text) } else { old.push(text) }
    }
    let shown =
        |all: Vec<String>| if all.is_empty() { "<none>".to_string() } else { all.join(", ") };
    line(out, "OldReplicaSets", shown(old));
    line(out, "NewReplicaSet", shown(new));
    Ok(())
}

fn replica_set(
    kube: &Kube<'_>,
    object: &AnyObject,
    v: &View<'_>,
    out: &mut String,
) -> Result<(), Fail> {
    named(v, out);
    line(out, "Selector", selector(v));
    labelled(v, out);
    controlled_by(object, out);
    let (current, desired) = (v.number("/status/replicas"), v.number("/spec/replicas"));
    line(out, "Replicas", format!("{current} current / {desired} desired"));
    line(out, "Pods Status", pods_status(kube, object)?);
    template(v.at("/spec/template"), out);
    conditions(v, false, out);
    Ok(())
}

fn stateful_set(
    kube: &Kube<'_>,
    object: &AnyObject,
    v: &View<'_>,
    out: &mut String,
) -> Result<(), Fail> {
    named(v, out);
    line(out, "CreationTimestamp", stamp(v, "/metadata/creationTimestamp"));
    line(out, "Selector", selector(v));
    labelled(v, out);
    controlled_by(object, out);
    let (desired, total) = (v.number("/spec/replicas"), v.number("/status/replicas"));
    line(out, "Replicas", format!("{desired} desired | {total} total"));
    line(out, "Update Strategy", v.text("/spec/updateStrategy/type"));
    if v.at("/spec/updateStrategy/rollingUpdate/partition").is_some() {
        let partition = v.number("/spec/updateStrategy/rollingUpdate/partition");
        let _ = writeln!(out, "  Partition:\t{partition}");
    }
    line(out, "Pods Status", pods_status(kube, object)?);
    template(v.at("/spec/template"), out);
    if v.len("/spec/volumeClaimTemplates") == 0 {
        line(out, "Volume Claims", "<none>");
        return Ok(());
    }
    out.push_str("Volume Claims:\n");
    for claim in v.items("/spec/volumeClaimTemplates") {
        let claim = View(claim);
        let _ = writeln!(out, "  Name:\t{}", claim.text("/metadata/name"));
        let _ = writeln!(out, "  StorageClass:\t{}", claim.text("/spec/storageClassName"));
        for (title, pointer, between) in
            [("Labels", "/metadata/labels", "="), ("Annotations", "/metadata/annotations", ": ")]
        {
            let mut text = String::new();
            many(&mut text, title, claim.at(pointer), between);
            text.lines().for_each(|line| {
                let _ = writeln!(out, "  {line}");
            });
        }
        let storage = claim.text_or("/spec/resources/requests/storage", "<default>");
        let _ = writeln!(out, "  Capacity:\t{storage}");
        let modes: Vec<&str> = claim.items("/spec/accessModes").filter_map(Value::as_str).collect();
        let _ = writeln!(out, "  Access Modes:\t[{}]", modes.join(" "));
    }
    Ok(())
}

fn daemon_set(
    kube: &Kube<'_>,
    object: &AnyObject,
    v: &View<'_>,
    out: &mut String,
) -> Result<(), Fail> {
    named(v, out);
    line(out, "Selector", selector(v));
    line(out, "Node-Selector", labels(v.at("/spec/template/spec/nodeSelector")));
    labelled(v, out);
    for (title, field) in [
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ] {
        let _ = writeln!(out, "{title}: {}", v.number(&format!("/status/{field}")));
    }
    line(out, "Pods Status", pods_status(kube, object)?);
    template(v.at("/spec/template"), out);
    Ok(())
}

fn job(object: &AnyObject, v: &View<'_>, out: &mut String) {
    named(v, out);
    line(out, "Selector", selector(v));
    labelled(v, out);
    controlled_by(object, out);
    line(out, "Parallelism", v.text_or("/spec/parallelism", "<unset>"));
    line(out, "Completions", v.text_or("/spec/completions", "<unset>"));
    line(out, "Completion Mode", v.text_or("/spec/completionMode", "NonIndexed"));
    line(out, "Suspend", v.text_or("/spec/suspend", "false"));
    line(out, "Backoff Limit", v.text_or("/spec/backoffLimit", "6"));
    if v.at("/spec/ttlSecondsAfterFinished").is_some() {
        line(out, "TTL Seconds After Finished", v.number("/spec/ttlSecondsAfterFinished"));
    }
    let started = v.moment("/status/startTime");
    if started.is_some() {
        line(out, "Start Time", stamp(v, "/status/startTime"));
    }
    let completed = v.moment("/status/completionTime");
    if let (Some(started), Some(completed)) = (started, completed) {
        line(out, "Completed At", stamp(v, "/status/completionTime"));
        line(out, "Duration", human(completed.since(started)));
    }
    if v.at("/spec/activeDeadlineSeconds").is_some() {
        let seconds = v.number("/spec/activeDeadlineSeconds");
        line(out, "Active Deadline Seconds", format!("{seconds}s"));
    }
    let count = |field: &str| v.number(&format!("/status/{field}"));
    let (active, ready) = (count("active"), count("ready"));
    let (succeeded, failed) = (count("succeeded"), count("failed"));
    line(
        out,
        "Pods Statuses",
        format!("{active} Active ({ready} Ready) / {succeeded} Succeeded / {failed} Failed"),
    );
    if v.text("/spec/completionMode") == "Indexed" {
        line(out, "Completed Indexes", v.text_or("/status/completedIndexes", "<none>"));
    }
    template(v.at("/spec/template"), out);
}

fn cron_job(v: &View<'_>, out: &mut String) {
    head(v, out);
    line(out, "Schedule", v.text("/spec/schedule"));
    if v.at("/spec/timeZone").is_some() {
        line(out, "Time Zone", v.text("/spec/timeZone"));
    }
    line(out, "Concurrency Policy", v.text("/spec/concurrencyPolicy"));
    let suspend = v.at("/spec/suspend") == Some(&Value::Bool(true));
    line(out, "Suspend", if suspend { "True" } else { "False" });
    for (title, pointer) in [
        ("Successful Job History Limit", "/spec/successfulJobsHistoryLimit"),
        ("Failed Job History Limit", "/spec/failedJobsHistoryLimit"),
    ] {
        line(out, title, v.text_or(pointer, "<unset>"));
    }
    let deadline = match v.at("/spec/startingDeadlineSeconds") {
        Some(seconds) => format!("{seconds}s"),
        None => "<unset>".to_string(),
    };
    line(out, "Starting Deadline Seconds", deadline);
    let wanted = match v.at("/spec/jobTemplate/spec/selector") {
        None => "<unset>".to_string(),
        some => selector_text(some),
    };
    line(out, "Selector", wanted);
    line(out, "Parallelism", v.text_or("/spec/jobTemplate/spec/parallelism", "<unset>"));
    line(out, "Completions", v.text_or("/spec/jobTemplate/spec/completions", "<unset>"));
    template(v.at("/spec/jobTemplate/spec/template"), out);
    let last = match v.at("/status/lastScheduleTime") {
        Some(_) => stamp(v, "/status/lastScheduleTime"),
        None => "<unset>".to_string(),
    };
    line(out, "Last Schedule Time", last);
    let active: Vec<String> = v.items("/status/active").map(|a| View(a).text("/name")).collect();
    line(
        out,
        "Active Jobs",
        if active.is_empty() { "<none>".to_string() } else { active.join(", ") },
    );
}

fn budget(v: &View<'_>, out: &mut String) {
    named(v, out);
    if v.at("/spec/minAvailable").is_some() {
        line(out, "Min available", v.text("/spec/minAvailable"));
    } else if v.at("/spec/maxUnavailable").is_some() {
        line(out, "Max unavailable", v.text("/spec/maxUnavailable"));
    }
    line(out, "Selector", selector_text(v.at("/spec/selector")));
    out.push_str("Status:\n");
    for (title, field) in [
        ("Allowed disruptions", "disruptionsAllowed"),
        ("Current", "currentHealthy"),
        ("Desired", "desiredHealthy"),
        ("Total", "expectedPods"),
    ] {
        let _ = writeln!(out, "    {title}:\t{}", v.number(&format!("/status/{field}")));
    }
}

fn autoscaler(v: &View<'_>, out: &mut String) {
    head(v, out);
    line(out, "CreationTimestamp", stamp(v, "/metadata/creationTimestamp"));
    let kind = v.text("/spec/scaleTargetRef/kind");
    line(out, "Reference", format!("{kind}/{}", v.text("/spec/scaleTargetRef/name")));
    if v.len("/spec/metrics") > 0 {
        line(out, "Metrics", "( current / target )");
    }
    for metric in v.items("/spec/metrics") {
        let m = View(metric);
        let resource = m.text_or("/resource/name", &m.text("/type"));
        let target = m.text("/resource/target/averageUtilization");
        if target.is_empty() {
            let target = m.text("/resource/target/averageValue");
            let _ = writeln!(out, "  resource {resource} on pods:\t<unknown> / {target}");
        } else {
            let _ = writeln!(
                out,
                "  resource {resource} on pods  (as a percentage of request):\t<unknown> / {target}%"
            );
        }
    }
    line(out, "Min replicas", v.text_or("/spec/minReplicas", "<unset>"));
    line(out, "Max replicas", v.number("/spec/maxReplicas"));
    let (current, desired) =
        (v.number("/status/currentReplicas"), v.number("/status/desiredReplicas"));
    line(out, &format!("{kind} pods"), format!("{current} current / {desired} desired"));
    conditions(v, true, out);
}
