//! NetworkPolicies in force: an agent on each node that follows Pods, Namespaces and policies, and writes the
//! node's rules ([`plan`]).
//!
//! A real kindnet brings kube-network-policies, which takes the first packet of each connection into user space
//! (nfqueue) and decides there. Here the same decisions are rules, in the manner of kube-router, so that a
//! dropped packet can be followed to the rule and the policy that dropped it. Like kindnet, and unlike
//! kube-router, it drops and does not reject, and leaves traffic between a node and its own Pods alone. A
//! connection that is established stays, whatever policies say later. As on a real node, a change takes effect a
//! little after it was made.
//!
//! **Invariant:** while no policy selects a Pod of the node, there is nothing of this in its tables.

pub(crate) mod plan;

use base::{Duration, Instant, Rng};
use kube_api::core::{Namespace, Pod};
use kube_api::networking::NetworkPolicy;
use kube_api::{Api, Change, Kind};
use netfilter::Netfilter;
use netfilter::ipset::command::ipset;
use netfilter::text::{RestoreOptions, restore};
use netsim::{Net, NsId};
use plan::{FORWARD, Plan};

/// Shortest time between two looks at everything; what changes meanwhile is dealt with in one.
const MIN_SYNC: Duration = Duration::from_millis(50);

/// The policy agent of one node.
#[derive(Debug)]
pub(crate) struct PolicyAgent {
    node: String,
    ns: NsId,
    is_virtual: bool,
    /// How long after a change this node hears of it; nodes differ.
    watch_delay: Duration,
    last_sync: Option<Instant>,
    due: Option<Instant>,
    in_force: Plan,
    /// How many policies there are.
    policies: usize,
}

impl PolicyAgent {
    /// An agent that knows of no policy. `is_virtual`: Services are virtual servers, so that packets to them go
    /// through OUTPUT instead of FORWARD.
    pub(crate) fn new(node: &str, ns: NsId, is_virtual: bool, mut rng: Rng) -> PolicyAgent {
        PolicyAgent {
            node: node.to_string(),
            ns,
            is_virtual,
            watch_delay: Duration::from_micros(2_000 + u64::from(rng.below(18_000))),
            last_sync: None,
            due: None,
            in_force: Plan::default(),
            policies: 0,
        }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.due
    }

    /// Something has changed: if a rule may follow from it, the node looks again.
    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        if change.of::<NetworkPolicy>().is_some() {
            match (&change.old, &change.new) {
                (None, _) => self.policies += 1,
                (_, None) => self.policies = self.policies.saturating_sub(1),
                (Some(old), Some(new)) if old.same_spec(new) => return,
                _ => {}
            }
        } else if self.policies == 0 || !matters(change) {
            return;
        }
        let at = now + self.watch_delay;
        let at = self.last_sync.map_or(at, |last| at.max(last + MIN_SYNC));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Writes what has changed; says how many rules and elements of sets that were.
    pub(crate) fn work(&mut self, api: &Api, net: &Net, now: Instant) -> Option<usize> {
        self.due.filter(|due| *due <= now)?;
        self.due = None;
        self.last_sync = Some(now);
        let plan = plan::plan(api.store(), &self.node);
        if plan == self.in_force {
            return None;
        }
        let old = std::mem::replace(&mut self.in_force, plan);
        let new = &self.in_force;
        let is_virtual = self.is_virtual;
        net.with_netfilter(self.ns, |netfilter| apply(netfilter, (&old, new), is_virtual, now))
    }
}

/// Whether a change of a Pod or a Namespace can change a rule.
fn matters(change: &Change) -> bool {
    let (old, new) = (change.old.as_ref(), change.new.as_ref());
    if change.of::<Pod>().is_some() {
        let (old, new) = (old.and_then(Pod::of), new.and_then(Pod::of));
        let (Some(old), Some(new)) = (old, new) else { return true };
        return controllers::pods::address(old) != controllers::pods::address(new)
            || controllers::pods::has_ended(old) != controllers::pods::has_ended(new)
            || old.metadata.labels != new.metadata.labels;
    }
    let labels = |object: Option<&kube_api::AnyObject>| object?.meta().labels.clone();
    change.of::<Namespace>().is_some() && labels(old) != labels(new)
}

/// From one plan to another: sets before the rules that ask them, and what nothing asks any more last. Chains and
/// elements that do not change stay, with their counters.
fn apply(
    netfilter: &mut Netfilter,
    (old, new): (&Plan, &Plan),
    is_virtual: bool,
    now: Instant,
) -> usize {
    let mut count = 0;
    let mut sets = String::new();
    for (name, (kind, elements)) in &new.sets {
        let before = old.sets.get(name).map(|(_, elements)| elements);
        if before.is_none() {
            sets.push_str(&format!("create {name} {kind} -exist\n"));
        }
        let has = |element: &String| before.is_some_and(|before| before.contains(element));
        for element in elements.iter().filter(|element| !has(element)) {
            count += 1;
            sets.push_str(&format!("add {name} {element} -exist\n"));
        }
        for element in before.into_iter().flatten().filter(|element| !elements.contains(*element)) {
            count += 1;
            let element = element.trim_end_matches(" nomatch");
            sets.push_str(&format!("del {name} {element} -exist\n"));
        }
    }
    ipset(netfilter, &["restore".to_string()], &sets, now);
    let (text, rules) = table_changes(old, new, is_virtual);
    let options = RestoreOptions { noflush: true, ..RestoreOptions::default() };
    let written = restore(netfilter, &text, options);
    debug_assert!(written.is_ok(), "{written:?}\n{text}");
    let gone = old.sets.keys().filter(|name| !new.sets.contains_key(*name));
    let gone: String = gone.map(|name| format!("destroy {name}\n")).collect();
    ipset(netfilter, &["restore".to_string()], &gone, now);
    count + rules
}

/// What `iptables-restore --noflush` is to read, and how many rules that is.
fn table_changes(old: &Plan, new: &Plan, is_virtual: bool) -> (String, usize) {
    let mut count = 0;
    let (mut chains, mut rules) = (String::new(), String::new());
    let changed = |name: &String, rules: &Vec<String>| old.chains.get(name) != Some(rules);
    for (name, list) in new.chains.iter().filter(|(name, list)| changed(name, list)) {
        // Named like this, a chain that is there is emptied.
        chains.push_str(&format!(":{name} - [0:0]\n"));
        for rule in list {
            count += 1;
            rules.push_str(&format!("-A {name} {rule}\n"));
        }
    }
    let has = |plan: &Plan| plan.chains.contains_key(FORWARD);
    let jump = "-m comment --comment \"kube-router netpol\" -j KUBE-ROUTER-FORWARD";
    // What the node itself sends is not for policies.
    let passing = "-m ipvs --ipvs -m addrtype ! --src-type LOCAL ";
    let ways = [("FORWARD", ""), ("OUTPUT", passing)];
    for (chain, which) in ways.iter().take(if is_virtual { 2 } else { 1 }) {
        if has(new) && !has(old) {
            rules.push_str(&format!("-I {chain} 1 {which}{jump}\n"));
        }
        if has(old) && !has(new) {
            rules.push_str(&format!("-D {chain} {which}{jump}\n"));
        }
    }
    let gone: Vec<&String> =
        old.chains.keys().filter(|name| !new.chains.contains_key(*name)).collect();
    for name in &gone {
        rules.push_str(&format!("-F {name}\n"));
    }
    for name in gone {
        rules.push_str(&format!("-X {name}\n"));
    }
    (format!("*filter\n{chains}{rules}COMMIT\n"), count)
}
