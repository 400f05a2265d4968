//! The nftables mode (`pkg/proxy/nftables` of Kubernetes): one table, `ip kube-proxy`, with a map from addresses
//! and ports to chains, so that packets find their Service at once.
//!
//! In reading order:
//! - `names`: what chains and sets are called;
//! - `batch`: the lines of a transaction;
//! - `fixed`: what is there whatever Services there are;
//! - `port`: chains, sets and elements of one port;
//! - `elements`: what of the elements is to be added and deleted;
//! - `origin`: from a chain or element back to its Service.
//!
//! In `round-robin` mode `numgen inc` stands where upstream writes `numgen random`; that is the only difference.
//! Base chains and comments are those of v1.31 (later versions write none in `@firewall-ips`). v1.34 has made
//! `filter-output-pre-dnat` beside `filter-output`, which there is asked after translation: what a node itself
//! sends to an external address of a Service with the policy Local and without endpoints on the node is dropped
//! here, and reaches other nodes there.

mod batch;
mod elements;
mod engine;
mod fixed;
mod names;
mod origin;
mod port;

use std::rc::Rc;

use base::{Duration, Instant, order};

use crate::endpoint::EndpointInfo;
use crate::proxier::Proxier;
use crate::service::PortName;
use crate::sync::{Sync, SyncReport};

use batch::Batch;
use elements::Elements;
pub use engine::Engine;
pub(crate) use names::endpoint_chain;
use port::PortRules;

/// A chain must have been without references for so long before it can be deleted: old kernels notice late that
/// an element is gone.
const STALE: Duration = Duration::from_secs(1);

/// The table `ip kube-proxy` of a node.
pub trait Tables {
    /// Does what the lines for `nft -f -` say: all of it or, with an error, nothing.
    ///
    /// # Errors
    /// What `nft` says.
    fn run(&mut self, lines: &str) -> Result<(), String>;
    /// Names of the table's chains, and how many rules each has.
    fn chains(&self) -> Vec<(Rc<str>, usize)>;
    /// Names of the table's sets, not of its maps.
    fn sets(&self) -> Vec<Rc<str>>;
    /// Keys and verdicts of a set or map, as they are added: `10.96.0.1 . tcp . 443`, `drop`. `None`: there is
    /// no such set or map.
    fn elements(&self, container: &str) -> Option<Vec<(String, String)>>;
}

/// What of a node's table is known.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// What stands there, port by port.
    ports: base::tree::BTreeMap<PortName, PortRules>,
    elements: Elements,
    /// Chains that nothing leads to, empty, and since when.
    stale: Vec<(Rc<str>, Instant)>,
    /// A sync has succeeded.
    has_synced: bool,
    /// The last one failed.
    has_failed: bool,
}

/// A transaction in the making.
#[derive(Default)]
struct Work {
    out: Batch,
    report: SyncReport,
    /// Chains that were there before: all, or those that matter to a partial sync.
    chains: Vec<Rc<str>>,
    /// Those of a predecessor that have rules, and its sets.
    kept: Vec<Rc<str>>,
    sets: Vec<Rc<str>>,
}

impl Proxier {
    /// Brings the table of a node up to date, at once.
    pub fn sync_nftables(
        &mut self,
        tables: &mut dyn Tables,
        full: bool,
        now: Instant,
    ) -> SyncReport {
        let sync = self.begin(full);
        self.finish_nftables(tables, sync, now)
    }

    /// Writes the rules, in one transaction. Written are the chains of every Service that has changed and, of the
    /// elements, those that are not as they should be; in a full sync, or after an error, all chains. Chains that
    /// nothing leads to any more are emptied, and deleted by a later sync.
    pub fn finish_nftables(
        &mut self,
        tables: &mut dyn Tables,
        sync: Sync,
        now: Instant,
    ) -> SyncReport {
        let mut state = std::mem::take(&mut self.nftables);
        let mut work = Work::default();
        let is_deleted = state.delete_stale(tables, now, &mut work.report);
        let is_full = sync.is_full || !is_deleted;
        work.report.is_full = is_full;
        if is_full {
            state.write_all(self, tables, now, &mut work);
        } else {
            let changed = order::set(sync.changes.ports.into_iter().map(|change| change.name));
            state.write_some(self, changed.iter(), now, &mut work);
        }
        let Work { out, mut report, .. } = work;
        (report.rules_written, report.elements_changed) = (out.rules, out.elements);
        match if out.text.is_empty() { Ok(()) } else { tables.run(&out.text) } {
            Ok(()) => (state.has_synced, state.has_failed) = (true, false),
            Err(error) => {
                // The chains have not been emptied; the next sync finds them.
                state.stale.clear();
                state.has_failed = true;
                report = SyncReport { is_full, error: Some(error), ..SyncReport::default() };
            }
        }
        self.nftables = state;
        report
    }

    /// About how many rules a sync is going to write.
    pub(crate) fn nftables_rules_to_write(&self, sync: &Sync) -> usize {
        let of = |endpoints: &[EndpointInfo]| 2 + 2 * endpoints.len();
        if sync.is_full {
            let ports: usize = self.ports().map(|(_, endpoints)| of(endpoints)).sum();
            return self.nftables_fixed_count() + ports;
        }
        let changed = sync.changes.ports.iter().filter_map(|change| self.port(&change.name));
        changed.map(|(_, endpoints)| of(endpoints)).sum()
    }

    fn nftables_fixed_count(&self) -> usize {
        let mut fixed = Batch::default();
        fixed::write(self.config(), false, &mut fixed);
        fixed.rules
    }

    /// Forgets what is known of the node's table, as a process that begins knows nothing of what its predecessor
    /// wrote.
    pub fn restart_nftables(&mut self) {
        self.nftables = State::default();
    }

    /// How many rules there are in the table.
    pub(crate) fn nftables_rule_count(&self) -> usize {
        let ports = self.nftables.ports.values();
        self.nftables_fixed_count() + ports.map(|rules| rules.count).sum::<usize>()
    }
}

impl State {
    /// What stands in the table is what was written.
    pub(crate) fn has_written(&self) -> bool {
        self.has_synced && !self.has_failed
    }

    /// Deletes chains that have been stale for long enough. `false`: they are still in use.
    fn delete_stale(
        &mut self,
        tables: &mut dyn Tables,
        now: Instant,
        report: &mut SyncReport,
    ) -> bool {
        let mut out = Batch::default();
        let mut deleted = Vec::new();
        self.stale.retain(|(chain, since)| {
            let is_due = now - *since >= STALE;
            if is_due {
                out.line("delete chain", &[chain]);
                deleted.push(chain.clone());
            }
            !is_due
        });
        if deleted.is_empty() {
            return true;
        }
        let is_done = tables.run(&out.text).is_ok();
        if is_done {
            report.chains_deleted = deleted;
        }
        is_done
    }

    fn write_all(&mut self, proxier: &Proxier, tables: &dyn Tables, now: Instant, work: &mut Work) {
        fixed::write(proxier.config(), !self.has_synced, &mut work.out);
        let mut chains = tables.chains();
        order::sort_by(&mut chains, |a, b| a.0.cmp(&b.0));
        for (chain, rules) in chains {
            if !self.has_synced && rules > 0 {
                work.kept.push(chain.clone());
            }
            work.chains.push(chain);
        }
        work.sets = tables.sets();
        order::sort(&mut work.sets);
        self.elements.read(tables, &mut work.out);
        self.ports.clear();
        for (info, _) in proxier.ports() {
            self.write_port(proxier, &info.name, work);
        }
        self.elements.settle_all(&mut work.out);
        let ports = || self.ports.values();
        let chains = order::set(ports().flat_map(|rules| &rules.chains));
        let sets = order::set(ports().flat_map(|rules| &rules.sets));
        let is_stale = |chain: &Rc<str>| names::is_service_chain(chain) && !chains.contains(chain);
        let stale: Vec<Rc<str>> = work.chains.iter().filter(|c| is_stale(c)).cloned().collect();
        let is_unused = |set: &Rc<str>| set.starts_with(names::AFFINITY) && !sets.contains(set);
        let unused: Vec<Rc<str>> = work.sets.iter().filter(|s| is_unused(s)).cloned().collect();
        self.stale.clear();
        self.empty(stale, now, &mut work.out);
        unused.iter().for_each(|set| work.out.line("delete set", &[set]));
    }

    fn write_some<'a>(
        &mut self,
        proxier: &Proxier,
        changed: impl Iterator<Item = &'a PortName>,
        now: Instant,
        work: &mut Work,
    ) {
        let mut old = Vec::new();
        let mut names = Vec::new();
        for name in changed {
            if let Some(rules) = self.ports.remove(name) {
                self.elements.release(name, &rules.elements);
                work.chains.extend(rules.chains.iter().cloned());
                old.push(rules);
            }
            names.push(name);
        }
        work.chains.extend(self.stale.iter().map(|(chain, _)| chain.clone()));
        order::sort(&mut work.chains);
        for name in &names {
            self.write_port(proxier, name, work);
        }
        let ports = || names.iter().filter_map(|name| self.ports.get(*name));
        let chains = order::set(ports().flat_map(|rules| &rules.chains));
        let sets = order::set(ports().flat_map(|rules| &rules.sets));
        let of_old = old.iter().flat_map(|rules| &rules.chains);
        let stale: Vec<Rc<str>> = of_old.filter(|chain| !chains.contains(chain)).cloned().collect();
        let of_old = old.iter().flat_map(|rules| &rules.sets);
        let unused: Vec<Rc<str>> = of_old.filter(|set| !sets.contains(set)).cloned().collect();
        self.stale.retain(|(chain, _)| !chains.contains(chain));
        self.empty(stale, now, &mut work.out);
        unused.iter().for_each(|set| work.out.line("delete set", &[set]));
        old.iter().for_each(|rules| self.elements.settle(&rules.elements, &mut work.out));
    }

    /// Empties chains that nothing leads to any more.
    fn empty(&mut self, chains: Vec<Rc<str>>, now: Instant, out: &mut Batch) {
        for chain in chains {
            out.line("flush chain", &[&chain]);
            self.stale.push((chain, now));
        }
    }

    /// Writes the chains of a port and asks for its elements.
    fn write_port(&mut self, proxier: &Proxier, name: &PortName, work: &mut Work) {
        let Some(port) = proxier.kept(name) else { return };
        let is_there =
            |names: &[Rc<str>], name: &str| names.binary_search_by(|n| (**n).cmp(name)).is_ok();
        let has_affinity = port.info.affinity_seconds.is_some();
        // A predecessor's chains of endpoints say the same as ours when the set of clients is there if it should
        // be: their names stand for all that is in them (`epChainSkipUpdate`).
        let is_same = |chain: &str, set: &str| {
            is_there(&work.kept, chain) && is_there(&work.sets, set) == has_affinity
        };
        let (rules, text) = port::make(proxier.config(), &port.info, &port.endpoints, &is_same);
        for chain in &rules.chains {
            let list = match is_there(&work.chains, chain) {
                false => &mut work.report.chains_added,
                true => &mut work.report.chains_changed,
            };
            list.push(chain.clone());
        }
        work.out.append(&text.chains);
        self.elements.claim(&Rc::new(name.clone()), &rules.elements);
        self.elements.settle(&rules.elements, &mut work.out);
        work.out.append(&text.rules);
        self.ports.insert(name.clone(), rules);
    }
}
