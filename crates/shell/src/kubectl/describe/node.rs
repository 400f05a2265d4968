//! A node's description: its state, and what its Pods have asked for (`describeNode`).

use std::fmt::Write as _;
use std::rc::Rc;

use kube_api::core::Pod;
use kube_api::quantity::Quantity;
use kube_api::{AnyObject, MetaExt};
use serde_json::Value;

use super::super::kube::{Fail, Kube};
use super::super::table::{View, roles, since};
use super::{labelled, line, stamp};

pub(super) fn describe_node(
    kube: &Kube<'_>,
    object: &AnyObject,
    v: &View<'_>,
    out: &mut String,
) -> Result<(), Fail> {
    line(out, "Name", v.text("/metadata/name"));
    line(out, "Roles", roles(v));
    labelled(v, out);
    line(out, "CreationTimestamp", stamp(v, "/metadata/creationTimestamp"));
    taints(v, out);
    line(out, "Unschedulable", v.text_or("/spec/unschedulable", "false"));
    lease(kube, object, out)?;
    conditions(v, out);
    out.push_str("Addresses:\n");
    for address in v.items("/status/addresses") {
        let a = View(address);
        let _ = writeln!(out, "  {}:\t{}", a.text("/type"), a.text("/address"));
    }
    for (name, pointer) in
        [("Capacity", "/status/capacity"), ("Allocatable", "/status/allocatable")]
    {
        let _ = writeln!(out, "{name}:");
        for (key, value) in v.at(pointer).and_then(Value::as_object).into_iter().flatten() {
            let _ = writeln!(out, "  {key}:\t{}", value.as_str().unwrap_or_default());
        }
    }
    out.push_str("System Info:\n");
    for (name, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ] {
        let _ = writeln!(out, "  {name}:\t{}", v.text(&format!("/status/nodeInfo/{field}")));
    }
    line(out, "PodCIDR", v.text("/spec/podCIDR"));
    let cidrs: Vec<&str> = v.items("/spec/podCIDRs").filter_map(Value::as_str).collect();
    line(out, "PodCIDRs", cidrs.join(","));
    line(out, "ProviderID", v.text("/spec/providerID"));
    pods_of_node(kube, object, v, out)
}

fn taints(v: &View<'_>, out: &mut String) {
    for (number, taint) in v.items("/spec/taints").enumerate() {
        let t = View(taint);
        let value = t.text("/value");
        let value = if value.is_empty() { value } else { format!("={value}") };
        let head = if number == 0 { "Taints:" } else { "" };
        let _ = writeln!(out, "{head}\t{}{value}:{}", t.text("/key"), t.text("/effect"));
    }
    if v.len("/spec/taints") == 0 {
        line(out, "Taints", "<none>");
    }
}

fn lease(kube: &Kube<'_>, node: &AnyObject, out: &mut String) -> Result<(), Fail> {
    let kind = kube.kind("leases")?;
    let Ok(lease) = kube.get_in(&kind, "kube-node-lease", node.name()) else {
        let why = format!("leases.coordination.k8s.io {:?} not found", node.name());
        let _ = writeln!(out, "Lease:\tFailed to get lease: {why}");
        return Ok(());
    };
    let value = lease.to_value();
    let v = View(&value);
    let time = |pointer: &str| match v.at(pointer) {
        Some(_) => stamp(&v, pointer),
        None => "<unset>".to_string(),
    };
    let _ = writeln!(
        out,
        "Lease:\n  HolderIdentity:\t{}\n  AcquireTime:\t{}\n  RenewTime:\t{}",
        v.text_or("/spec/holderIdentity", "<unset>"),
        time("/spec/acquireTime"),
        time("/spec/renewTime")
    );
    Ok(())
}

fn conditions(v: &View<'_>, out: &mut String) {
    if v.len("/status/conditions") == 0 {
        return;
    }
    out.push_str("Conditions:\n  Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage\n  ----\t------\t-----------------\t------------------\t------\t-------\n");
    for condition in v.items("/status/conditions") {
        let c = View(condition);
        let _ = writeln!(
            out,
            "  {} \t{} \t{} \t{} \t{} \t{}",
            c.text("/type"),
            c.text("/status"),
            stamp(&c, "/lastHeartbeatTime"),
            stamp(&c, "/lastTransitionTime"),
            c.text("/reason"),
            c.text("/message")
        );
    }
}

/// What is added up: of what, and whether requests or limits.
const COLUMNS: [(&str, &str); 4] =
    [("cpu", "requests"), ("cpu", "limits"), ("memory", "requests"), ("memory", "limits")];

fn pods_of_node(
    kube: &Kube<'_>,
    node: &AnyObject,
    v: &View<'_>,
    out: &mut String,
) -> Result<(), Fail> {
    let mut pods: Vec<Rc<Pod>> = kube.api(|api| {
        let pods = api.store().pods_on(node.name());
        pods.filter(|pod| !controllers::pods::has_ended(pod)).cloned().collect()
    })?;
    base::order::sort_by(&mut pods, |a, b| {
        let key =
            |pod: &Rc<Pod>| (pod.metadata.namespace().to_string(), pod.metadata.name().to_string());
        key(a).cmp(&key(b))
    });
    let has = |resource: &str| milli(v, &format!("/status/allocatable/{resource}"));
    let _ = writeln!(out, "Non-terminated Pods:\t({} in total)", pods.len());
    out.push_str("  Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge\n  ---------\t----\t\t------------\t----------\t---------------\t-------------\t---\n");
    let mut totals = [0; 4];
    for pod in &pods {
        let age = since(pod.metadata.creation_timestamp.as_ref(), kube.now());
        let _ = write!(out, "  {}\t{}\t", pod.metadata.namespace(), pod.metadata.name());
        let value = kube_api::types::to_value(&**pod);
        for ((resource, which), total) in COLUMNS.into_iter().zip(&mut totals) {
            let wanted = of_pod(&View(&value), resource, which);
            *total += wanted;
            let _ = write!(out, "\t{}", share(resource, wanted, has(resource)));
        }
        let _ = writeln!(out, "\t{age}");
    }
    out.push_str("Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)\n  Resource\tRequests\tLimits\n  --------\t--------\t------\n");
    let [cpu, cpu_limit, memory, memory_limit] = totals;
    for (resource, requests, limits) in [
        ("cpu", cpu, cpu_limit),
        ("memory", memory, memory_limit),
        ("ephemeral-storage", 0, 0),
        ("hugepages-1Gi", 0, 0),
        ("hugepages-2Mi", 0, 0),
    ] {
        let all = has(resource);
        let (requests, limits) = (share(resource, requests, all), share(resource, limits, all));
        let _ = writeln!(out, "  {resource}\t{requests}\t{limits}");
    }
    Ok(())
}

fn milli(v: &View<'_>, pointer: &str) -> i128 {
    Quantity::parse(&v.text(pointer)).map_or(0, |quantity| quantity.milli())
}

/// What a Pod asks for: its containers together, or its hungriest init container. Those that stay count as
/// containers.
fn of_pod(pod: &View<'_>, resource: &str, which: &str) -> i128 {
    let of = |container: &Value| milli(&View(container), &format!("/resources/{which}/{resource}"));
    let mut sum: i128 = pod.items("/spec/containers").map(of).sum();
    let mut most = 0;
    for container in pod.items("/spec/initContainers") {
        if View(container).text("/restartPolicy") == "Always" {
            sum += of(container);
        } else {
            most = of(container).max(most);
        }
    }
    sum.max(most)
}

/// `100m (1%)`
fn share(resource: &str, milli: i128, all: i128) -> String {
    let percent = if all == 0 { 0 } else { milli * 100 / all };
    // Memory is written in powers of 1024 where that loses nothing.
    let text = match milli % 1_024_000 {
        0 if resource != "cpu" => format!("{}Ki", milli / 1_024_000),
        _ => format!("{milli}m"),
    };
    let text = Quantity::parse(&text).map(|quantity| quantity.canonical()).unwrap_or_default();
    format!("{text} ({percent}%)")
}
