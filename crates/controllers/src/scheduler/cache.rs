//! What runs where already (`pkg/scheduler/backend/cache`). Sums are kept for each node, and changed with every
//! Pod that comes or goes: a Pod's way to its node does not cost more because there are many others.

use base::tree::BTreeMap;
use std::rc::Rc;

use kube_api::MetaExt;
use kube_api::core::{Node, Pod};
use kube_api::labels::Selector;

use super::spread::{self, Term};
use super::wants::{Port, Wants, allocatable};
use crate::pods;
use crate::queue::Key;

/// Selectors that are counted at most; more are counted anew each time.
const WATCHES_MAX: usize = 64;

/// All nodes, and the Pods on them.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub(super) nodes: BTreeMap<String, NodeInfo>,
    placed: BTreeMap<Key, Rc<Pod>>,
    watches: Vec<Watch>,
    /// What Pods that are there say about others.
    pub(super) held: Vec<Held>,
    nominated: BTreeMap<Key, (String, i32, Wants)>,
}

/// A node, and the sums of what its Pods ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeInfo {
    /// `None` while only Pods are known of it.
    pub(super) node: Option<Rc<Node>>,
    pub(super) pods: usize,
    pub(super) requested: BTreeMap<String, i128>,
    pub(super) weight: [i128; 2],
    pub(super) ports: Vec<Port>,
    /// Pods of one owner that are not on their way out.
    by_owner: BTreeMap<String, i32>,
    /// Parsed once: quantities are texts.
    allocatable: BTreeMap<String, i128>,
}

/// Pods of some namespaces that a selector selects, by node.
#[derive(Debug)]
pub(super) struct Watch {
    namespaces: Vec<String>,
    selector: Selector,
    by_node: BTreeMap<String, i32>,
}

/// A wish of Pods about others, and on which nodes Pods with this wish are.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) term: Term,
    pub(super) by_node: BTreeMap<String, i32>,
}

impl NodeInfo {
    pub(super) fn add(&mut self, wants: &Wants, sign: i128) {
        self.pods = if sign > 0 { self.pods + 1 } else { self.pods.saturating_sub(1) };
        for (resource, milli) in &wants.requests {
            *self.requested.entry(resource.clone()).or_default() += sign * milli;
        }
        for (sum, weight) in self.weight.iter_mut().zip(wants.weight) {
            *sum += sign * weight;
        }
        for port in &wants.ports {
            if sign > 0 {
                self.ports.push(port.clone());
            } else if let Some(at) = self.ports.iter().position(|known| known == port) {
                self.ports.remove(at);
            }
        }
    }

    pub(super) fn siblings(&self, owner: &str) -> i32 {
        self.by_owner.get(owner).copied().unwrap_or(0)
    }

    pub(super) fn allocatable(&self, resource: &str) -> i128 {
        self.allocatable.get(resource).copied().unwrap_or(0)
    }

    pub(super) fn requested(&self, resource: &str) -> i128 {
        self.requested.get(resource).copied().unwrap_or(0)
    }

    pub(super) fn pods_max(&self) -> i128 {
        self.allocatable.get("pods").map_or(110, |milli| milli / 1000)
    }
}

fn counts(pod: &Pod) -> bool {
    pods::node_name(pod).is_some() && !pods::has_ended(pod)
}

fn change(counts: &mut BTreeMap<String, i32>, key: &str, sign: i32) {
    let count = counts.entry(key.to_string()).or_default();
    *count += sign;
    if *count <= 0 {
        counts.remove(key);
    }
}

impl Watch {
    fn selects(&self, pod: &Pod) -> bool {
        self.namespaces.iter().any(|ns| ns == pod.metadata.namespace())
            && !pod.metadata.is_terminating()
            && self.selector.matches(pod.metadata.labels.as_ref())
    }
}

impl Cache {
    pub(super) fn set_node(&mut self, name: &str, node: Option<&Rc<Node>>) {
        let info = self.nodes.entry(name.to_string()).or_default();
        info.node = node.cloned();
        info.allocatable.clear();
        let Some(node) = node else { return };
        let known = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        for resource in known.into_iter().flat_map(BTreeMap::keys) {
            let milli = allocatable(node, resource).unwrap_or(0);
            info.allocatable.insert(resource.clone(), milli);
        }
    }

    /// A Pod as it is now, or `None` when it is gone. Says whether it has left a node, and whether it has come
    /// to one.
    pub(super) fn set_pod(&mut self, key: &Key, pod: Option<&Rc<Pod>>) -> (bool, bool) {
        let new = pod.filter(|pod| counts(pod));
        let old = self.placed.get(key).cloned();
        if let (Some(old), Some(new)) = (&old, new) {
            let is_same = pods::node_name(old) == pods::node_name(new)
                && old.metadata.is_terminating() == new.metadata.is_terminating()
                && old.metadata.generation == new.metadata.generation
                && old.metadata.labels == new.metadata.labels;
            if is_same {
                self.placed.insert(key.clone(), new.clone());
                return (false, false);
            }
        }
        if let Some(old) = &old {
            self.count(old, -1);
            self.placed.remove(key);
        }
        if let Some(new) = new {
            self.count(new, 1);
            self.placed.insert(key.clone(), new.clone());
        }
        (old.is_some() && new.is_none(), old.is_none() && new.is_some())
    }

    fn count(&mut self, pod: &Pod, sign: i32) {
        let Some(node) = pods::node_name(pod) else { return };
        let is_staying = !pod.metadata.is_terminating();
        let info = self.nodes.entry(node.to_string()).or_default();
        info.add(&Wants::of(pod), i128::from(sign));
        if let Some(owner) = pod.metadata.controller().filter(|_| is_staying) {
            change(&mut info.by_owner, &owner.uid, sign);
        }
        for watch in self.watches.iter_mut().filter(|watch| watch.selects(pod)) {
            change(&mut watch.by_node, node, sign);
        }
        for term in spread::terms_of(pod) {
            match self.held.iter_mut().find(|held| held.term == term) {
                Some(held) => change(&mut held.by_node, node, sign),
                None if sign > 0 => {
                    let by_node = BTreeMap::from([(node.to_string(), 1)]);
                    self.held.push(Held { term, by_node });
                }
                None => {}
            }
        }
        self.held.retain(|held| !held.by_node.is_empty());
    }

    /// Somebody has asked for Pods like this one.
    pub(super) fn has_watched(&self, pod: &Pod) -> bool {
        self.watches.iter().any(|watch| watch.selects(pod))
    }

    /// How many Pods a selector selects, by node.
    pub(super) fn selected(
        &mut self,
        namespaces: &[String],
        selector: &Selector,
    ) -> BTreeMap<String, i32> {
        let is_it = |w: &&Watch| w.namespaces == namespaces && w.selector == *selector;
        if let Some(known) = self.watches.iter().find(is_it) {
            return known.by_node.clone();
        }
        let mut watch = Watch {
            namespaces: namespaces.to_vec(),
            selector: selector.clone(),
            by_node: BTreeMap::new(),
        };
        for pod in
            self.placed.values().filter(|pod| watch.selects(pod)).cloned().collect::<Vec<_>>()
        {
            if let Some(node) = pods::node_name(&pod) {
                change(&mut watch.by_node, node, 1);
            }
        }
        let found = watch.by_node.clone();
        if self.watches.len() >= WATCHES_MAX {
            self.watches.remove(0);
        }
        self.watches.push(watch);
        found
    }

    /// A Pod has made room for itself on a node, and is not there yet.
    pub(super) fn nominate(&mut self, key: &Key, to: Option<(String, i32, Wants)>) {
        match to {
            Some(to) => drop(self.nominated.insert(key.clone(), to)),
            None => drop(self.nominated.remove(key)),
        }
    }

    /// A node as it will be when those at least as important are there who have made room on it.
    pub(super) fn with_nominated(&self, name: &str, pod: &Pod) -> Option<NodeInfo> {
        let key = (pod.metadata.namespace().to_string(), pod.metadata.name().to_string());
        let least = super::priority(pod);
        let mut info = None;
        for (other, (node, priority, wants)) in &self.nominated {
            if node == name && *other != key && *priority >= least {
                let info: &mut NodeInfo =
                    info.get_or_insert_with(|| self.nodes.get(name).cloned().unwrap_or_default());
                info.add(wants, 1);
            }
        }
        info
    }
}
