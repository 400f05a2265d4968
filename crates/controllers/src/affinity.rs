//! Which nodes a Pod wants: `nodeSelector` and node affinity
//! (`component-helpers/scheduling/corev1/nodeaffinity`).

use base::Items as _;
use kube_api::MetaExt;
use kube_api::core::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
    PodSpec, PreferredSchedulingTerm,
};

/// The label selector and the required affinity both hold.
pub fn matches(spec: &PodSpec, node: &Node) -> bool {
    let has = |(key, value): (&String, &String)| node.metadata.label(key) == Some(value);
    let wanted = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = wanted
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    spec.node_selector.iter().flatten().all(has)
        && required.is_none_or(|required| selects(required, node))
}

/// One of the terms holds.
pub fn selects(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, node))
}

/// How much a Pod would like a node: the weights of the preferred terms that hold.
pub fn preference(pod: &Pod, node: &Node) -> i64 {
    let affinity =
        pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let terms = affinity
        .and_then(|wanted| wanted.preferred_during_scheduling_ignored_during_execution.as_ref());
    let holds = |term: &&PreferredSchedulingTerm| term_matches(&term.preference, node);
    terms.items().filter(holds).map(|term| i64::from(term.weight)).sum()
}

/// A term holds when all its requirements do; one without any never holds.
fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let is_empty = expressions.is_empty() && fields.is_empty();
    let field = |name: &str| (name == "metadata.name").then(|| node.metadata.name());
    !is_empty
        && expressions.iter().all(|wanted| requirement(wanted, node.metadata.label(&wanted.key)))
        && fields.iter().all(|wanted| requirement(wanted, field(&wanted.key)))
}

fn requirement(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = wanted.values.as_deref().unwrap_or_default();
    let is_listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let number = |text: &str| text.parse::<i64>().ok();
    let compare = |holds: fn(i64, i64) -> bool| {
        let limit = values.first().and_then(|limit| number(limit));
        value.and_then(number).zip(limit).is_some_and(|(value, limit)| holds(value, limit))
    };
    match wanted.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(|value, limit| value > limit),
        "Lt" => compare(|value, limit| value < limit),
        _ => false,
    }
}

/// Ties a Pod to one node, as the DaemonSet controller does: by the node's name, whatever other terms say.
pub fn tie_to(spec: &mut PodSpec, node: &str) {
    let by_name = NodeSelectorRequirement {
        key: "metadata.name".to_string(),
        operator: "In".to_string(),
        values: Some(vec![node.to_string()]),
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let wanted: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    let required: &mut NodeSelector =
        wanted.required_during_scheduling_ignored_during_execution.get_or_insert_default();
    let terms = &mut required.node_selector_terms;
    if terms.is_empty() {
        terms.push(NodeSelectorTerm::default());
    }
    for term in terms {
        term.match_fields = Some(vec![by_name.clone()]);
    }
}

/// The node a Pod is tied to in that way.
pub fn tied_to(spec: &PodSpec) -> Option<&str> {
    let wanted = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = wanted.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.first()?.match_fields.as_ref()?;
    let by_name = fields.iter().find(|field| field.key == "metadata.name")?;
    by_name.values.as_ref()?.first().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_and_affinity() {
        let mut node = Node::default();
        node.metadata.name = Some("one".to_string());
        node.metadata.labels = Some(
            [("zone".to_string(), "a".to_string()), ("size".to_string(), "7".to_string())].into(),
        );
        let check = |json: serde_json::Value| {
            let spec: PodSpec = serde_json::from_value(json).unwrap();
            matches(&spec, &node)
        };
        let term = |key: &str, operator: &str, values: &[&str]| {
            let expression =
                serde_json::json!({"key": key, "operator": operator, "values": values});
            serde_json::json!({"containers": [], "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution":
                    {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}})
        };
        assert!(check(serde_json::json!({"containers": [], "nodeSelector": {"zone": "a"}})));
        assert!(!check(serde_json::json!({"containers": [], "nodeSelector": {"zone": "b"}})));
        assert!(check(term("zone", "In", &["b", "a"])));
        assert!(!check(term("zone", "NotIn", &["b", "a"])));
        assert!(check(term("size", "Gt", &["6"])));
        assert!(!check(term("size", "Lt", &["6"])));
        assert!(check(term("rack", "DoesNotExist", &[])));
        let mut tied = PodSpec::default();
        tie_to(&mut tied, "two");
        assert_eq!((tied_to(&tied), matches(&tied, &node)), (Some("two"), false));
    }
}
