//! What other Pods have to do with where a Pod goes: topology spread (`plugins/podtopologyspread`) and
//! affinity between Pods (`plugins/interpodaffinity`).

use base::Items as _;
use base::tree::BTreeMap;
use kube_api::core::{Namespace, Node, Pod, PodAffinityTerm, TopologySpreadConstraint};
use kube_api::labels::Selector;
use kube_api::meta::{LabelSelector, LabelSelectorRequirement};
use kube_api::{Api, MetaExt};

use super::cache::Cache;
use super::taints;
use crate::affinity;

/// What a wish about others is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only where such Pods are.
    Near,
    /// Only where no such Pods are.
    Apart,
    /// Rather where such Pods are; below zero, rather not.
    Prefers(i32),
}

/// A wish about other Pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) kind: Kind,
    pub(super) namespaces: Vec<String>,
    pub(super) selector: Selector,
    pub(super) topology_key: String,
}

/// Pods in each part of the cluster, by the value of a label of nodes.
pub(super) struct Domains {
    topology_key: String,
    counts: BTreeMap<String, i32>,
}

/// What has been found out about other Pods, for one Pod.
#[derive(Default)]
pub(super) struct Others {
    /// The Pod's own wishes, and where those Pods are.
    pub(super) terms: Vec<(Term, Domains)>,
    /// Where Pods are that do not want this one near.
    pub(super) forbidden: Vec<Domains>,
    /// Where Pods are that want this one near, or not, and how much.
    pub(super) drawn: Vec<(i32, Domains)>,
    pub(super) spread: Vec<(TopologySpreadConstraint, Domains, bool)>,
}

impl Others {
    pub(super) fn is_any(&self) -> bool {
        !self.terms.is_empty() || !self.forbidden.is_empty() || !self.spread.is_empty()
    }
}

impl Domains {
    pub(super) fn count(&self, node: &Node) -> Option<i32> {
        let value = node.metadata.label(&self.topology_key)?;
        Some(self.counts.get(value).copied().unwrap_or(0))
    }

    fn total(&self) -> i32 {
        self.counts.values().sum()
    }

    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// The fewest in any part.
    fn least(&self) -> i32 {
        self.counts.values().copied().min().unwrap_or(0)
    }
}

/// The labels that the keys name have the Pod's own values (`matchLabelKeys`).
fn with_keys(
    selector: Option<&LabelSelector>,
    keys: Option<&Vec<String>>,
    operator: &str,
    pod: &Pod,
) -> Option<LabelSelector> {
    let mut selector = selector.cloned()?;
    for key in keys.items() {
        if let Some(value) = pod.metadata.label(key) {
            selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.to_string(),
                values: Some(vec![value.to_string()]),
            });
        }
    }
    Some(selector)
}

fn term(pod: &Pod, wish: &PodAffinityTerm, kind: Kind) -> Option<Term> {
    let keys = wish.match_label_keys.as_ref();
    let selector = with_keys(wish.label_selector.as_ref(), keys, "In", pod);
    let keys = wish.mismatch_label_keys.as_ref();
    // Without a selector, nobody is meant.
    let selector = with_keys(selector.as_ref(), keys, "NotIn", pod)?;
    let mut namespaces = wish.namespaces.clone().unwrap_or_default();
    if namespaces.is_empty() && wish.namespace_selector.is_none() {
        namespaces.push(pod.metadata.namespace().to_string());
    }
    Some(Term {
        kind,
        namespaces,
        selector: Selector::of(&selector),
        topology_key: wish.topology_key.clone(),
    })
}

/// All that a Pod wishes about others, with the namespaces that a selector of those would add.
fn wishes(pod: &Pod) -> Vec<(Term, Option<LabelSelector>)> {
    let mut all = Vec::new();
    let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) else {
        return all;
    };
    let mut add = |wish: &PodAffinityTerm, kind| {
        all.extend(term(pod, wish, kind).map(|term| (term, wish.namespace_selector.clone())));
    };
    if let Some(near) = &affinity.pod_affinity {
        let required = near.required_during_scheduling_ignored_during_execution.items();
        required.for_each(|wish| add(wish, Kind::Near));
        for wish in near.preferred_during_scheduling_ignored_during_execution.items() {
            add(&wish.pod_affinity_term, Kind::Prefers(wish.weight));
        }
    }
    if let Some(apart) = &affinity.pod_anti_affinity {
        let required = apart.required_during_scheduling_ignored_during_execution.items();
        required.for_each(|wish| add(wish, Kind::Apart));
        for wish in apart.preferred_during_scheduling_ignored_during_execution.items() {
            add(&wish.pod_affinity_term, Kind::Prefers(-wish.weight));
        }
    }
    all
}

/// What a Pod that has its node says about others. Namespaces that only a selector names are not looked up
/// here: such a wish holds in all.
pub(super) fn terms_of(pod: &Pod) -> Vec<Term> {
    let open = |(mut term, selector): (Term, Option<LabelSelector>)| {
        if selector.is_some() {
            term.namespaces.push("*".to_string());
        }
        term
    };
    wishes(pod).into_iter().map(open).collect()
}

fn concerns(term: &Term, pod: &Pod) -> bool {
    let is_here = |ns: &String| ns == "*" || ns == pod.metadata.namespace();
    term.namespaces.iter().any(is_here) && term.selector.matches(pod.metadata.labels.as_ref())
}

impl Cache {
    /// Finds out what other Pods have to do with where this one goes.
    pub(super) fn others(&mut self, api: &Api, pod: &Pod) -> Others {
        let mut others = Others::default();
        for (mut term, selector) in wishes(pod) {
            if let Some(selector) = selector.map(|selector| Selector::of(&selector)) {
                let all = api.store().list::<Namespace>();
                let fits = all.filter(|ns| selector.matches(ns.metadata.labels.as_ref()));
                term.namespaces.extend(fits.map(|ns| ns.metadata.name().to_string()));
            }
            let counts = self.selected(&term.namespaces, &term.selector);
            let domains = self.domains(&term.topology_key, &counts, &|_| true, false);
            others.terms.push((term, domains));
        }
        for held in &self.held {
            if !concerns(&held.term, pod) {
                continue;
            }
            let domains = self.domains(&held.term.topology_key, &held.by_node, &|_| true, false);
            match held.term.kind {
                Kind::Apart => others.forbidden.push(domains),
                // (`HardPodAffinityWeight`)
                Kind::Near => others.drawn.push((1, domains)),
                Kind::Prefers(weight) => others.drawn.push((weight, domains)),
            }
        }
        let constraints = pod.spec.as_ref().and_then(|s| s.topology_spread_constraints.clone());
        for constraint in constraints.into_iter().flatten() {
            others.spread.push(self.spread(pod, constraint));
        }
        others
    }

    fn spread(
        &mut self,
        pod: &Pod,
        constraint: TopologySpreadConstraint,
    ) -> (TopologySpreadConstraint, Domains, bool) {
        let keys = constraint.match_label_keys.as_ref();
        let selector = with_keys(constraint.label_selector.as_ref(), keys, "In", pod);
        let namespaces = [pod.metadata.namespace().to_string()];
        let (counts, is_self) = match &selector {
            Some(selector) => {
                let selector = Selector::of(selector);
                let is_self = selector.matches(pod.metadata.labels.as_ref());
                (self.selected(&namespaces, &selector), is_self)
            }
            None => (BTreeMap::new(), false),
        };
        let ignores_affinity = constraint.node_affinity_policy.as_deref() == Some("Ignore");
        let honors_taints = constraint.node_taints_policy.as_deref() == Some("Honor");
        let includes = |node: &Node| {
            let fits = pod.spec.as_ref().is_some_and(|spec| affinity::matches(spec, node));
            (ignores_affinity || fits)
                && (!honors_taints || taints::untolerated(pod, node, &taints::HARD).is_none())
        };
        let domains = self.domains(&constraint.topology_key, &counts, &includes, true);
        (constraint, domains, is_self)
    }

    /// Pods by part of the cluster; with `all`, parts without any are counted too.
    fn domains(
        &self,
        topology_key: &str,
        by_node: &BTreeMap<String, i32>,
        includes: &dyn Fn(&Node) -> bool,
        all: bool,
    ) -> Domains {
        let mut counts: BTreeMap<String, i32> = BTreeMap::new();
        let mut add = |node: &Node, count: i32| {
            if let Some(value) = node.metadata.label(topology_key).filter(|_| includes(node)) {
                *counts.entry(value.to_string()).or_default() += count;
            }
        };
        if all {
            for (name, info) in &self.nodes {
                if let Some(node) = &info.node {
                    add(node, by_node.get(name).copied().unwrap_or(0));
                }
            }
        } else {
            for (name, count) in by_node {
                if let Some(node) = self.nodes.get(name).and_then(|info| info.node.as_ref()) {
                    add(node, *count);
                }
            }
        }
        Domains { topology_key: topology_key.to_string(), counts }
    }
}

/// Why a node is wrong because of other Pods, and whether that could change if some went away.
pub(super) fn misfit(pod: &Pod, node: &Node, others: &Others) -> Option<(&'static str, bool)> {
    for (constraint, domains, is_self) in &others.spread {
        if constraint.when_unsatisfiable == "ScheduleAnyway" {
            continue;
        }
        let Some(count) = domains.count(node) else {
            return Some((
                "node(s) didn't match pod topology spread constraints (missing required label)",
                false,
            ));
        };
        let wanted = usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or(1);
        let least = if domains.len() < wanted { 0 } else { domains.least() };
        if count + i32::from(*is_self) - least > constraint.max_skew {
            return Some(("node(s) didn't match pod topology spread constraints", true));
        }
    }
    let near = || others.terms.iter().filter(|(term, _)| term.kind == Kind::Near);
    let is_near = near().all(|(_, domains)| domains.count(node).is_some_and(|count| count > 0));
    // The first of several that want to be near each other may go anywhere.
    let is_first = || {
        near().all(|(term, domains)| {
            domains.total() == 0
                && concerns(term, pod)
                && node.metadata.label(&term.topology_key).is_some()
        })
    };
    if !is_near && !is_first() {
        return Some(("node(s) didn't match pod affinity rules", false));
    }
    let mut apart = others.terms.iter().filter(|(term, _)| term.kind == Kind::Apart);
    if apart.any(|(_, domains)| domains.count(node).is_some_and(|count| count > 0)) {
        return Some(("node(s) didn't match pod anti-affinity rules", true));
    }
    let mut forbidden = others.forbidden.iter();
    if forbidden.any(|domains| domains.count(node).is_some_and(|count| count > 0)) {
        return Some(("node(s) didn't satisfy existing pods anti-affinity rules", true));
    }
    None
}
