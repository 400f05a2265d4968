//! Which nodes cannot take a Pod, and why, in the words of the scheduler's plugins and in their order
//! (`pkg/scheduler/framework/plugins`, `apis/config/v1/default_plugins.go`).

use base::Items as _;
use base::tree::BTreeMap;
use kube_api::core::{Node, NodeSelector, Pod};
use kube_api::{AnyObject, Api, MetaExt};
use serde_json::Value;

use super::cache::{Cache, NodeInfo};
use super::spread::{self, Others};
use super::taints;
use super::wants::Wants;
use crate::affinity;

/// Why no node takes a Pod.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    pub(super) total: usize,
    /// What holds for the Pod wherever it goes.
    overall: Option<String>,
    reasons: BTreeMap<String, usize>,
    /// Nodes that could take it if others went away.
    pub(super) resolvable: Vec<String>,
}

impl Refusal {
    pub(super) fn of_all(cache: &Cache, message: String) -> Refusal {
        let total = cache.nodes.values().filter(|info| info.node.is_some()).count();
        Refusal { total, overall: Some(message), ..Refusal::default() }
    }

    /// `0/3 nodes are available: 1 node(s) had …, 2 Insufficient cpu.`
    pub(super) fn message(&self) -> String {
        if self.total == 0 {
            return "no nodes available to schedule pods".to_string();
        }
        let mut parts: Vec<String> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        base::order::sort(&mut parts);
        let text = self.overall.clone().unwrap_or_else(|| parts.join(", "));
        format!("0/{} nodes are available: {text}.", self.total)
    }
}

/// Volumes that tie a Pod to nodes.
pub(super) type Volumes = Vec<NodeSelector>;

fn find<'a>(api: &'a Api, plural: &str, namespace: &str, name: &str) -> Option<&'a AnyObject> {
    let kind = api.store().kinds().by_name(plural).ok()?.id;
    api.store().get_any(kind, namespace, name)
}

/// What the claims of a Pod say about where it can go; what is wrong with them concerns all nodes
/// (`plugins/volumebinding`).
pub(super) fn volumes(api: &Api, pod: &Pod) -> Result<Volumes, String> {
    let mut tied = Vec::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.items()) {
        let Some(name) = crate::volumes::claim_of(volume) else { continue };
        let namespace = pod.metadata.namespace();
        let Some(claim) = find(api, "persistentvolumeclaims", namespace, name) else {
            return Err(format!("persistentvolumeclaim {name:?} not found"));
        };
        if claim.meta().is_terminating() {
            return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        let claim = claim.to_value();
        let text = |at: &str| claim.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let volume = find(api, "persistentvolumes", "", text("/spec/volumeName"));
        if text("/status/phase") == "Bound" {
            let value = volume.map(AnyObject::to_value).unwrap_or_default();
            let required = value.pointer("/spec/nodeAffinity/required").cloned();
            tied.extend(required.and_then(|required| kube_api::from_value(required).ok()));
            continue;
        }
        let class = find(api, "storageclasses", "", text("/spec/storageClassName"));
        let mode = class.map(AnyObject::to_value).unwrap_or_default();
        let mode = mode.get("volumeBindingMode").and_then(Value::as_str);
        if class.is_some() && mode != Some("WaitForFirstConsumer") {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_string());
        }
    }
    Ok(tied)
}

/// The nodes that can take a Pod, or why none can.
pub(super) fn nodes(
    cache: &mut Cache,
    pod: &Pod,
    wants: &Wants,
    others: &Others,
    volumes: &Volumes,
) -> Result<Vec<String>, Refusal> {
    let mut refusal = Refusal::default();
    let mut fitting = Vec::new();
    for (name, info) in &cache.nodes {
        let Some(node) = &info.node else { continue };
        refusal.total += 1;
        let crowded = cache.with_nominated(name, pod);
        let info = crowded.as_ref().unwrap_or(info);
        match misfit(pod, node, info, wants, others, volumes) {
            None => fitting.push(name.clone()),
            Some((reasons, is_resolvable)) => {
                for reason in reasons {
                    *refusal.reasons.entry(reason).or_default() += 1;
                }
                if is_resolvable {
                    refusal.resolvable.push(name.clone());
                }
            }
        }
    }
    if fitting.is_empty() { Err(refusal) } else { Ok(fitting) }
}

/// Why a node cannot take a Pod, and whether it could if others went away; `None` when it can.
fn misfit(
    pod: &Pod,
    node: &Node,
    info: &NodeInfo,
    wants: &Wants,
    others: &Others,
    volumes: &Volumes,
) -> Option<(Vec<String>, bool)> {
    let spec = pod.spec.as_ref()?;
    let because = |reason: &str, is_resolvable| Some((vec![reason.to_string()], is_resolvable));
    if taints::is_closed_to(pod, node) {
        return because("node(s) were unschedulable", false);
    }
    if taints::untolerated(pod, node, &taints::HARD).is_some() {
        return because("node(s) had untolerated taint(s)", false);
    }
    if !affinity::matches(spec, node) {
        return because("node(s) didn't match Pod's node affinity/selector", false);
    }
    if let Some(why) = lacks(info, wants) {
        return Some(why);
    }
    if !volumes.iter().all(|selector| affinity::selects(selector, node)) {
        return because("node(s) didn't match PersistentVolume's node affinity", false);
    }
    let (reason, is_resolvable) = spread::misfit(pod, node, others)?;
    because(reason, is_resolvable)
}

/// What of ports and resources the node does not have left.
pub(super) fn lacks(info: &NodeInfo, wants: &Wants) -> Option<(Vec<String>, bool)> {
    if wants.ports.iter().any(|port| info.ports.iter().any(|taken| taken.conflicts(port))) {
        let reason = "node(s) didn't have free ports for the requested pod ports";
        return Some((vec![reason.to_string()], true));
    }
    let mut short = Vec::new();
    let mut is_resolvable = true;
    if info.pods as i128 >= info.pods_max() {
        short.push("Too many pods".to_string());
    }
    for (resource, wanted) in wants.requests.iter().filter(|(_, wanted)| **wanted > 0) {
        let has = info.allocatable(resource);
        if *wanted > has - info.requested(resource) {
            short.push(format!("Insufficient {resource}"));
            // More than the whole node: nobody's going away helps.
            is_resolvable &= *wanted <= has;
        }
    }
    (!short.is_empty()).then_some((short, is_resolvable))
}
