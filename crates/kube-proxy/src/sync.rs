//! The rules into a node's tables, changing only what changed.

use std::collections::BTreeMap;
use std::rc::Rc;

use netfilter::text::{RestoreOptions, restore};
use netfilter::{Netfilter, RuleSpec, Table, TableName};

use crate::iptables::{Plan, TablePlan};

/// The jumps that lead packets into kube-proxy's chains (`iptablesJumpChains`,
/// `iptablesKubeletJumpChains`), as they stand in the tables when they have been put in.
const JUMPS: &str = r#"
*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
COMMIT
"#;

/// Puts in the jumps. Once, before the first rules.
pub fn install_jumps(netfilter: &mut Netfilter) {
    let options = RestoreOptions { noflush: true, ..RestoreOptions::default() };
    // The text above is ours; it is tested to be taken.
    let _ = restore(netfilter, JUMPS, options);
}

/// What is in force, for telling what changes.
#[derive(Clone, Debug, Default)]
pub struct Synced {
    filter: BTreeMap<Rc<str>, Vec<RuleSpec>>,
    nat: BTreeMap<Rc<str>, Vec<RuleSpec>>,
    plan: Plan,
}

/// What a sync did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// Rules written: those of every chain that changed.
    pub rules_written: usize,
    /// Chains that are new.
    pub chains_added: Vec<Rc<str>>,
    /// Chains whose rules changed.
    pub chains_changed: Vec<Rc<str>>,
    /// Chains that are gone.
    pub chains_deleted: Vec<Rc<str>>,
}

impl SyncReport {
    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        self.rules_written == 0 && self.chains_deleted.is_empty()
    }
}

impl Synced {
    /// The plan that is in force.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Brings the tables from what is in force to `plan`. Chains that do not change keep their counters and
    /// whose turn it is.
    pub fn apply(&mut self, plan: Plan, netfilter: &mut Netfilter) -> SyncReport {
        let mut report = SyncReport::default();
        let tables = [
            (TableName::Filter, &plan.filter, &mut self.filter),
            (TableName::Nat, &plan.nat, &mut self.nat),
        ];
        for (name, new, in_force) in tables {
            let by_chain = by_chain(new);
            netfilter.edit(name, |table| change(table, &by_chain, in_force, &mut report));
            *in_force = by_chain;
        }
        self.plan = plan;
        report
    }
}

fn by_chain(plan: &TablePlan) -> BTreeMap<Rc<str>, Vec<RuleSpec>> {
    let mut chains: BTreeMap<Rc<str>, Vec<RuleSpec>> =
        base::order::map(plan.chains.iter().map(|chain| (chain.clone(), Vec::new())));
    for (chain, spec) in &plan.rules {
        chains.entry(chain.clone()).or_default().push(spec.clone());
    }
    chains
}

fn change(
    table: &mut Table,
    new: &BTreeMap<Rc<str>, Vec<RuleSpec>>,
    in_force: &BTreeMap<Rc<str>, Vec<RuleSpec>>,
    report: &mut SyncReport,
) {
    // All chains first, so that rules can lead to them; then rules; then what nothing leads to any more.
    for chain in new.keys() {
        if table.chain(chain).is_none() {
            report.chains_added.push(chain.clone());
            let _ = table.new_chain(chain);
        }
    }
    let same = |a: &[RuleSpec], b: &[RuleSpec]| {
        a.len() == b.len()
            && a.iter().zip(b).all(|(a, b)| {
                // Where a rule came from may be numbered anew without the rule changing.
                (&a.header, &a.matches, &a.target) == (&b.header, &b.matches, &b.target)
            })
    };
    for (chain, rules) in new {
        let before = in_force.get(chain);
        if before.is_some_and(|before| same(before, rules)) {
            table.renumber_origins(chain, rules.iter().map(|rule| rule.origin));
            continue;
        }
        if before.is_some() {
            report.chains_changed.push(chain.clone());
        }
        report.rules_written += rules.len();
        let _ = table.flush(chain);
        for rule in rules {
            let _ = table.append(chain, rule.clone());
        }
    }
    let gone: Vec<&Rc<str>> = in_force.keys().filter(|chain| !new.contains_key(*chain)).collect();
    for chain in &gone {
        let _ = table.flush(chain);
    }
    for chain in gone {
        let _ = table.delete_chain(chain);
        report.chains_deleted.push(chain.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jumps_are_taken_by_iptables_restore() {
        let mut netfilter = Netfilter::new(base_rng());
        restore(&mut netfilter, JUMPS, RestoreOptions::default()).unwrap();
    }

    fn base_rng() -> base::Rng {
        base::Rng::new(1)
    }
}
