//! The rules into a node's tables: all of them, or those of what has changed (full and partial syncs of
//! `syncProxyRules`).

use std::rc::Rc;

use base::order;
use netfilter::{Netfilter, RuleSpec, Table, TableName};

use crate::config::Mode;
use crate::iptables::{self, Plan};
use crate::names::is_service_chain;
use crate::proxier::{Changes, PortChange, Proxier};
use crate::rules::{OwnChain, PortRules, SHARED};
use crate::service::PortName;

/// What a sync did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// Everything was written, not only what changed.
    pub is_full: bool,
    /// Rules written into chains of Services and endpoints, and of those that all share, those that changed.
    pub rules_written: usize,
    /// Chains that are new.
    pub chains_added: Vec<Rc<str>>,
    /// Chains that were there and were written again.
    pub chains_changed: Vec<Rc<str>>,
    /// Chains that are gone.
    pub chains_deleted: Vec<Rc<str>>,
    /// Elements of sets and maps added and deleted.
    pub elements_changed: usize,
    /// Why nothing could be written.
    pub error: Option<String>,
}

impl SyncReport {
    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        self.rules_written == 0 && self.chains_deleted.is_empty() && self.elements_changed == 0
    }
}

/// A sync that has begun, with the rules that it is going to write.
#[derive(Debug)]
pub struct Sync {
    pub(crate) changes: Changes,
    pub(crate) is_full: bool,
}

impl Sync {
    /// Everything will be written, not only what has changed.
    pub fn is_full(&self) -> bool {
        self.is_full
    }
}

impl Changes {
    /// The rules in the own chains of what has changed, and those that are new in chains that all share.
    fn rule_count(&self) -> usize {
        let new = self.ports.iter().filter_map(|change| change.new.as_deref());
        let own: usize = new.flat_map(|rules| &rules.own).map(|chain| chain.rules.len()).sum();
        own + (0..SHARED.len()).map(|at| changed_rules(&self.ports, at)).sum::<usize>()
    }
}

/// More changed ports than this, and the shared chains are written as a whole.
const SPLICES: usize = 16;

impl Proxier {
    /// Brings a node's tables up to date, at once.
    pub fn sync(&mut self, netfilter: &mut Netfilter, full: bool) -> SyncReport {
        let sync = self.begin(full);
        self.finish(netfilter, sync)
    }

    /// Makes the rules of all that is known by now, and writes nothing yet.
    pub fn begin(&mut self, full: bool) -> Sync {
        let changes = self.update();
        let has_written = match self.config().mode {
            Mode::Nftables => self.nftables.has_written(),
            Mode::Ipvs => self.has_synced_ipvs(),
            _ => self.written_at.is_some(),
        };
        Sync { is_full: full || changes.is_all || !has_written, changes }
    }

    /// How many rules a sync is going to write; in other modes than iptables about how many.
    pub fn rules_to_write(&self, sync: &Sync) -> usize {
        match self.config().mode {
            Mode::Nftables => return self.nftables_rules_to_write(sync),
            Mode::Ipvs => return self.ipvs_rules_to_write(sync),
            _ => {}
        }
        if sync.is_full { self.rule_count() } else { sync.changes.rule_count() }
    }

    /// Writes the rules. Written are the chains of every Service that has changed and, as upstream does, the
    /// chains that all Services share, whose counters begin anew; in a full sync all chains. What is no longer
    /// used is deleted.
    pub fn finish(&mut self, netfilter: &mut Netfilter, sync: Sync) -> SyncReport {
        let Sync { changes, is_full } = sync;
        let generations = |netfilter: &Netfilter| {
            [TableName::Filter, TableName::Nat]
                .map(|name| netfilter.table(name).map_or(0, Table::generation))
        };
        // Somebody else has been at the tables.
        let is_foreign = self.written_at != Some(generations(netfilter));
        let mut report = SyncReport { is_full, ..SyncReport::default() };
        if is_full {
            self.write_all(netfilter, &mut report);
        } else if !changes.ports.is_empty() || is_foreign {
            let new = || changes.ports.iter().filter_map(|change| change.new.as_deref());
            netfilter.edit(TableName::Nat, |nat| write_own(nat, new, &mut report));
            let is_long = changes.ports.len() > SPLICES;
            for (at, (is_nat, chain)) in SHARED.into_iter().enumerate() {
                netfilter.edit(table_name(is_nat), |table| {
                    if is_foreign || is_long {
                        report.rules_written += changed_rules(&changes.ports, at);
                        self.write_shared(table, is_nat, chain, Some(at));
                    } else {
                        report.rules_written += self.splice(table, chain, at, &changes.ports);
                    }
                });
            }
            if is_foreign {
                self.write_fixed(netfilter);
            }
            let old = changes.ports.iter().filter_map(|change| change.old.as_ref());
            let gone = old.flat_map(|rules| &rules.own).map(|chain| &chain.name);
            let new = changes.ports.iter().filter_map(|change| change.new.as_ref());
            let kept = order::set(new.flat_map(|rules| &rules.own).map(|chain| &chain.name));
            let gone: Vec<Rc<str>> = gone.filter(|chain| !kept.contains(chain)).cloned().collect();
            netfilter.edit(TableName::Nat, |nat| delete(nat, gone, &mut report));
        }
        self.written_at = Some(generations(netfilter));
        report
    }

    fn write_all(&self, netfilter: &mut Netfilter, report: &mut SyncReport) {
        let chains = iptables::chains(self.config());
        let mut began = 0;
        netfilter.edit(TableName::Nat, |nat| {
            began = nat.generation();
            for chain in &chains.nat.chains {
                nat.ensure_chain(chain);
            }
            write_own(nat, || self.all_rules().map(|(_, rules)| rules), report);
        });
        netfilter.edit(TableName::Filter, |filter| {
            for chain in &chains.filter.chains {
                filter.ensure_chain(chain);
            }
        });
        for (at, (is_nat, chain)) in SHARED.into_iter().enumerate() {
            netfilter.edit(table_name(is_nat), |table| {
                report.rules_written += self.write_shared(table, is_nat, chain, Some(at));
            });
        }
        report.rules_written += self.write_fixed(netfilter);
        netfilter.edit(TableName::Nat, |nat| {
            let unwritten = nat.unwritten_since(began);
            let stale: Vec<Rc<str>> =
                unwritten.filter(|name| is_service_chain(name)).cloned().collect();
            delete(nat, stale, report);
        });
    }

    /// The chains that are the same whatever Services there are.
    fn write_fixed(&self, netfilter: &mut Netfilter) -> usize {
        let is_fixed = |is_nat: bool, chain: &str| !SHARED.contains(&(is_nat, chain));
        let all = iptables::chains(self.config());
        let mut written = 0;
        for (is_nat, plan) in [(false, &all.filter), (true, &all.nat)] {
            for chain in plan.chains.iter().filter(|chain| is_fixed(is_nat, chain)) {
                netfilter.edit(table_name(is_nat), |table| {
                    written += self.write_shared(table, is_nat, chain, None);
                });
            }
        }
        written
    }

    /// Writes a chain that is always there: what stands before the Services' rules, theirs, what follows.
    fn write_shared(
        &self,
        table: &mut Table,
        is_nat: bool,
        chain: &str,
        shared: Option<usize>,
    ) -> usize {
        let (id, _) = table.ensure_chain(&chain.into());
        let mut rules = Vec::from_iter(fixed(iptables::head(self.config()), is_nat, chain));
        if let Some(shared) = shared {
            for (_, port) in self.all_rules() {
                rules.extend(port.in_shared(shared).iter().cloned());
            }
        }
        rules.extend(fixed(iptables::tail(self.config()), is_nat, chain));
        let _ = table.set_rules(id, &rules);
        rules.len()
    }

    /// Changes in a chain that all share what has to be changed. Gives the number of rules that are new.
    fn splice(&self, table: &mut Table, chain: &str, at: usize, ports: &[PortChange]) -> usize {
        let mut written = 0;
        let mut sorted: Vec<&PortChange> = ports.iter().collect();
        // From the last to the first: whatever stands behind a port's rules is as it should be.
        order::sort_by(&mut sorted, |a, b| b.name.cmp(&a.name));
        for change in sorted {
            let rules = |rules: &Option<Rc<PortRules>>| -> Vec<Rc<RuleSpec>> {
                rules.as_ref().map(|r| r.in_shared(at).to_vec()).unwrap_or_default()
            };
            let (old, new) = (rules(&change.old), rules(&change.new));
            if old == new {
                continue;
            }
            written += new.len();
            let place = self.place(table, chain, at, (&change.name, &old));
            let _ = table.splice_rules(chain, place, old.len(), &new);
        }
        let _ = table.zero(chain);
        written
    }

    /// Where in a shared chain the rules of a port belong: where those stand that it has there, or before those of
    /// the next port.
    fn place(
        &self,
        table: &Table,
        chain: &str,
        at: usize,
        (name, old): (&PortName, &[Rc<RuleSpec>]),
    ) -> usize {
        let next = self.rules_from(name).filter(|(next, _)| *next != name);
        let next = next.filter_map(|(_, rules)| rules.in_shared(at).first());
        let found = old.first().into_iter().chain(next).next();
        found.and_then(|rule| table.position(chain, rule)).unwrap_or_else(|| {
            let is_nat = table.name() == TableName::Nat;
            let behind = fixed(iptables::tail(self.config()), is_nat, chain).count();
            let len = table.chain(chain).map_or(0, |chain| chain.rules.len());
            len.saturating_sub(behind)
        })
    }
}

/// The rules of a plan in one chain.
fn fixed(plan: Plan, is_nat: bool, chain: &str) -> impl Iterator<Item = Rc<RuleSpec>> {
    let rules = if is_nat { plan.nat.rules } else { plan.filter.rules };
    rules.into_iter().filter(move |(at, _)| **at == *chain).map(|(_, rule)| rule)
}

fn table_name(is_nat: bool) -> TableName {
    if is_nat { TableName::Nat } else { TableName::Filter }
}

fn note(is_new: bool, chain: &Rc<str>, report: &mut SyncReport) {
    let list = if is_new { &mut report.chains_added } else { &mut report.chains_changed };
    list.push(chain.clone());
}

/// Rules of changed ports that stand in a shared chain and were not there before.
fn changed_rules(ports: &[PortChange], at: usize) -> usize {
    let of = |rules: &Option<Rc<PortRules>>| -> Vec<Rc<RuleSpec>> {
        rules.as_ref().map(|rules| rules.in_shared(at).to_vec()).unwrap_or_default()
    };
    let changed = ports.iter().filter(|change| of(&change.old) != of(&change.new));
    changed.map(|change| of(&change.new).len()).sum()
}

/// Writes the own chains of ports.
fn write_own<'a, I>(nat: &mut Table, ports: impl Fn() -> I, report: &mut SyncReport)
where
    I: Iterator<Item = &'a PortRules>,
{
    for chain in ports().flat_map(|port| &port.own) {
        chain.find(nat, report);
    }
    for chain in ports().flat_map(|port| &port.own) {
        report.rules_written += chain.rules.len();
        if let Some(id) = chain.id.get() {
            let _ = nat.set_rules(id, &chain.rules);
        }
    }
}

impl OwnChain {
    /// Finds the chain in the table, or makes it. Whoever looks it up by its name each time spends most of a sync
    /// with that.
    fn find(&self, nat: &mut Table, report: &mut SyncReport) {
        let is_known = self.id.get().is_some_and(|id| nat.is_chain(id, &self.name));
        let is_new = !is_known && {
            let (id, is_new) = nat.ensure_chain(&self.name);
            self.id.set(Some(id));
            is_new
        };
        note(is_new, &self.name, report);
    }
}

/// Deletes chains that nothing leads to any more.
fn delete(nat: &mut Table, chains: Vec<Rc<str>>, report: &mut SyncReport) {
    for chain in &chains {
        let _ = nat.flush(chain);
    }
    for chain in chains {
        if nat.delete_chain(&chain).is_ok() {
            report.chains_deleted.push(chain);
        }
    }
}
