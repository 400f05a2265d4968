//! Taints of nodes, and what Pods put up with (`component-helpers/scheduling/corev1`).

use base::Items as _;
use kube_api::core::{Node, Pod, Taint, Toleration};

/// What keeps Pods off that are not there yet.
pub(crate) const HARD: [&str; 2] = ["NoSchedule", "NoExecute"];

/// The taints of a node.
pub(crate) fn of(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|spec| spec.taints.items())
}

/// Whether a toleration of the Pod covers the taint (`ToleratesTaint`).
pub fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.items());
    let covers = |toleration: &Toleration| {
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let key = toleration.key.as_deref().unwrap_or_default();
        let value = toleration.value.as_deref().unwrap_or_default();
        (effect.is_empty() || effect == taint.effect)
            && (key.is_empty() || key == taint.key)
            && match toleration.operator.as_deref() {
                Some("Exists") => true,
                _ => !key.is_empty() && value == taint.value.as_deref().unwrap_or_default(),
            }
    };
    tolerations.into_iter().any(covers)
}

/// The first taint with one of these effects that the Pod does not put up with.
pub(crate) fn untolerated<'a>(pod: &Pod, node: &'a Node, effects: &[&str]) -> Option<&'a Taint> {
    of(node).find(|taint| effects.contains(&taint.effect.as_str()) && !tolerates(pod, taint))
}

/// A node that was cordoned takes only Pods that put up with that.
pub(crate) fn is_closed_to(pod: &Pod, node: &Node) -> bool {
    let cordoned = Taint {
        key: "node.kubernetes.io/unschedulable".to_string(),
        effect: "NoSchedule".to_string(),
        ..Taint::default()
    };
    node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
        && !tolerates(pod, &cordoned)
}
