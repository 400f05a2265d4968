//! From the rules of a node back to the objects, fields and lines that they were written for.

use std::rc::Rc;

use kube_api::Kind as _;
use kube_api::core::Service;
use kube_proxy::Origin;
use kube_proxy::nftables::{Engine, Tables as _};
use netfilter::TableName;

use crate::cluster::Cluster;

/// What a rule was written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOrigin {
    /// The table: `nat`, or `ip kube-proxy`.
    pub table: &'static str,
    /// The rule's number in its chain, from 1; of nftables a chain as a whole, 0.
    pub number: usize,
    /// The Service, field and endpoint; none for rules that are there whatever Services there are.
    pub origin: Option<Origin>,
    /// The file and line where that field is written, if the Service was applied from one.
    pub place: Option<(Rc<str>, u32)>,
}

impl Cluster {
    /// What the rules of a chain on a node were written for, table by table. `None`: there is no such node.
    pub fn origins(&self, node: &str, chain: &str) -> Option<Vec<RuleOrigin>> {
        let node = self.node(node)?;
        let proxier = node.proxy.proxier();
        let mut found: Vec<(&'static str, usize, Option<Origin>)> = Vec::new();
        let now = self.net.now();
        self.net.with_netfilter(node.ns, |netfilter| {
            for table in [TableName::Filter, TableName::Nat] {
                let rules = netfilter.table(table).and_then(|table| table.chain(chain));
                for (number, rule) in (1..).zip(rules.iter().flat_map(|chain| &chain.rules)) {
                    found.push((table.name(), number, proxier.origin(rule.spec.origin)));
                }
            }
            let chains = Engine::new(netfilter, now).chains();
            if chains.iter().any(|(name, _)| **name == *chain) {
                found.push(("ip kube-proxy", 0, proxier.nftables_chain_origin(chain)));
            }
        });
        let whole = found.into_iter().map(|(table, number, origin)| {
            let place = origin.as_ref().and_then(|origin| self.place_of(origin));
            RuleOrigin { table, number, origin, place }
        });
        Some(whole.collect())
    }

    fn place_of(&self, origin: &Origin) -> Option<(Rc<str>, u32)> {
        let port = &origin.port;
        let found = self.api.provenance();
        found.place(Service::id(), &port.namespace, &port.service, &origin.field)
    }
}
