//! The rules of one port, sorted into the chains that all Services share and those of its own.

use std::cell::Cell;
use std::rc::Rc;

use netfilter::RuleSpec;
use netfilter::table::ChainId;

use crate::config::ProxyConfig;
use crate::iptables::{self, Plan, TablePlan};
use crate::proxier::Port;

/// The chains that lead to all Services, and the table of each: `true` for `nat`.
pub(crate) const SHARED: [(bool, &str); 6] = [
    (false, "KUBE-SERVICES"),
    (false, "KUBE-EXTERNAL-SERVICES"),
    (false, "KUBE-NODEPORTS"),
    (false, "KUBE-PROXY-FIREWALL"),
    (true, "KUBE-SERVICES"),
    (true, "KUBE-NODEPORTS"),
];

/// The rules of one port of a Service.
#[derive(Debug, Default)]
pub(crate) struct PortRules {
    /// In the order in which they are written.
    pub(crate) plan: Plan,
    /// The chains in [`SHARED`] that it has rules in, and those rules.
    pub(crate) shared: Vec<(usize, Vec<Rc<RuleSpec>>)>,
    /// Its own chains, all in `nat`.
    pub(crate) own: Vec<OwnChain>,
}

/// A chain of one port's own.
#[derive(Debug)]
pub(crate) struct OwnChain {
    pub(crate) name: Rc<str>,
    pub(crate) rules: Vec<Rc<RuleSpec>>,
    /// Where it was found in the table.
    pub(crate) id: Cell<Option<ChainId>>,
}

impl OwnChain {
    fn new(name: &Rc<str>) -> OwnChain {
        OwnChain { name: name.clone(), rules: Vec::new(), id: Cell::new(None) }
    }
}

impl PortRules {
    pub(crate) fn new(config: &ProxyConfig, is_large: bool, port: &Port) -> PortRules {
        let plan = iptables::port_rules(config, is_large, port.serial, &port.info, &port.endpoints);
        let mut rules = PortRules { plan, ..PortRules::default() };
        let PortRules { plan, shared, own } = &mut rules;
        sort(&plan.filter, false, shared, own);
        // Its chains exist even when there are no rules in them.
        own.extend(plan.nat.chains.iter().map(OwnChain::new));
        sort(&plan.nat, true, shared, own);
        rules
    }

    /// Its rules in a shared chain.
    pub(crate) fn in_shared(&self, chain: usize) -> &[Rc<RuleSpec>] {
        let found = self.shared.iter().find(|(at, _)| *at == chain);
        found.map(|(_, rules)| rules.as_slice()).unwrap_or_default()
    }
}

/// How many of a port's chains are not of one endpoint, at most: KUBE-EXT, -FW, -SVC, -SVL.
const SERVICE_CHAINS: usize = 4;

fn sort(
    table: &TablePlan,
    is_nat: bool,
    shared: &mut Vec<(usize, Vec<Rc<RuleSpec>>)>,
    own: &mut [OwnChain],
) {
    let mut last = 0;
    for (chain, rule) in &table.rules {
        let known = SHARED.iter().position(|(nat, name)| *nat == is_nat && **name == **chain);
        if let Some(known) = known {
            match shared.iter_mut().find(|(at, _)| *at == known) {
                Some((_, rules)) => rules.push(rule.clone()),
                None => shared.push((known, vec![rule.clone()])),
            }
            continue;
        }
        // Endpoints' chains come one after the other, behind those of the Service.
        let is_it = |at: &usize| own.get(*at).is_some_and(|own| own.name == *chain);
        let near = [last, last + 1].into_iter().find(is_it);
        let found = near.or_else(|| (0..SERVICE_CHAINS).chain(0..own.len()).find(is_it));
        if let Some(at) = found
            && let Some(own) = own.get_mut(at)
        {
            own.rules.push(rule.clone());
            last = at;
        }
    }
}
