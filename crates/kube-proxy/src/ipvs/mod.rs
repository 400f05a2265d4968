//! The ipvs mode (`pkg/proxy/ipvs` of Kubernetes): a virtual service for every address and port, real servers for
//! the endpoints, all addresses on a dummy interface so that the node takes packets to them for its own, and a few
//! rules that ask sets of addresses what is to be masqueraded.
//!
//! In reading order:
//! - `wanted`: what a port of a Service asks for;
//! - `sets`: the ipsets; `rules`: the rules that ask them, which depend on no more than which sets are empty.
//!
//! Every sync of upstream compares everything. So does a full sync here, which comes at least every
//! [`SYNC_PERIOD`]; between two of them only what has changed is looked at.
//!
//! Balancing is the scheduler's, `rr` by default, which gives strict turns; what [`crate::Balancing`] says has no
//! meaning here.
//!
//! **Invariant:** what several ports ask for (an address, an element of a set) is there as long as one of them does.

mod rules;
mod sets;
mod wanted;

use std::net::{Ipv4Addr, SocketAddrV4};

use base::tree::{BTreeMap, BTreeSet};
use base::{Duration, Instant, order};
use netfilter::ipvs::{Persistence, Scheduler, ServerOptions, ServiceKey};
use netfilter::{Netfilter, Table, TableName};

use crate::proxier::Proxier;
use crate::service::PortName;
use crate::sync::{Sync, SyncReport};
use wanted::{Item, Wanted};

/// The interface that has the addresses of all Services.
pub const DEVICE: &str = "kube-ipvs0";
/// A full sync comes at least so often (`syncPeriod`).
pub const SYNC_PERIOD: Duration = Duration::from_secs(30);
/// How often it is looked whether servers that were taken away have lost their last connections
/// (`rsCheckDeleteInterval`).
const RETIRE_PERIOD: u64 = 60;

/// Protocols whose servers go at once when they are taken away: UDP and SCTP.
const AT_ONCE: [u8; 2] = [17, 132];

/// A server of a virtual service.
type Place = (ServiceKey, SocketAddrV4);

/// What of a node's virtual servers, sets and rules is known.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// What each port has asked for.
    ports: BTreeMap<PortName, Wanted>,
    /// How many ports ask for a thing.
    counts: BTreeMap<Item, u32>,
    /// Servers that get nothing more, and are gone with their last connection.
    retiring: BTreeSet<Place>,
    /// When to look at them.
    look_at: Option<Instant>,
    /// The rules that were written last, and the tables' generations then.
    rules: String,
    written_at: [u64; 2],
    has_synced: bool,
}

/// A sync under way.
struct Work<'a> {
    netfilter: &'a mut Netfilter,
    now: Instant,
    report: SyncReport,
    /// Everything there is, is compared.
    is_full: bool,
    is_first: bool,
}

impl Proxier {
    /// Brings a node's virtual servers up to date, at once.
    pub fn sync_ipvs(&mut self, netfilter: &mut Netfilter, full: bool, now: Instant) -> SyncReport {
        let sync = self.begin(full);
        self.finish_ipvs(netfilter, sync, now)
    }

    /// Writes what a sync has found: virtual services and servers, sets, rules. The addresses for [`DEVICE`] are
    /// [`Proxier::ipvs_addresses`] afterwards. The node's own addresses, those of [`DEVICE`] left out, are to be in
    /// `interface_addrs` of the configuration.
    pub fn finish_ipvs(
        &mut self,
        netfilter: &mut Netfilter,
        sync: Sync,
        now: Instant,
    ) -> SyncReport {
        let mut state = std::mem::take(&mut self.ipvs);
        let is_full = sync.is_full || !state.has_synced;
        let report = SyncReport { is_full, ..SyncReport::default() };
        let is_first = !state.has_synced;
        let mut work = Work { netfilter, now, report, is_full, is_first };
        settle_in(&mut work);
        if is_full {
            state.sync_all(self, &mut work);
        } else {
            let changed = order::set(sync.changes.ports.into_iter().map(|change| change.name));
            changed.iter().for_each(|name| state.sync_port(self, name, &mut work));
        }
        state.write_rules(self, &mut work);
        state.look_later(now);
        state.has_synced = true;
        self.ipvs = state;
        work.report
    }

    /// Forgets what is known of the node, as a process that begins knows nothing of its predecessor.
    pub fn restart_ipvs(&mut self) {
        self.ipvs = State::default();
    }

    /// The addresses that belong on [`DEVICE`], in order.
    pub fn ipvs_addresses(&self) -> Vec<Ipv4Addr> {
        let mut addrs = Vec::new();
        let first = Item::Bound(Ipv4Addr::UNSPECIFIED);
        for (item, _) in self.ipvs.counts.range_from(&first) {
            let Item::Bound(addr) = item else { break };
            addrs.push(*addr);
        }
        addrs
    }

    /// When it is to be looked at servers that were taken away, if there are any left.
    pub fn ipvs_next_at(&self) -> Option<Instant> {
        self.ipvs.look_at
    }

    /// Deletes servers that were taken away and have lost their last connections, if it is time for that
    /// (`tryDeleteRs`).
    pub fn retire_servers(&mut self, netfilter: &mut Netfilter, now: Instant) {
        if self.ipvs.look_at.is_none_or(|at| at > now) {
            return;
        }
        let ipvs = netfilter.ipvs_mut();
        self.ipvs.retiring.retain(|(key, addr)| {
            let server = ipvs.servers(key).find(|server| server.addr == *addr);
            let is_done = server.is_none_or(|server| server.active + server.inactive == 0);
            if is_done {
                // It may be gone with its service.
                let _ = ipvs.remove_server(key, *addr);
            }
            !is_done
        });
        self.ipvs.look_at = None;
        self.ipvs.look_later(now);
    }

    /// About how much a sync is going to write.
    pub(crate) fn ipvs_rules_to_write(&self, sync: &Sync) -> usize {
        match sync.is_full {
            true => self.ports().map(|(_, endpoints)| 1 + endpoints.len()).sum(),
            false => {
                let changed = sync.changes.ports.iter().filter_map(|c| self.port(&c.name));
                changed.map(|(_, endpoints)| 1 + endpoints.len()).sum()
            }
        }
    }

    pub(crate) fn has_synced_ipvs(&self) -> bool {
        self.ipvs.has_synced
    }
}

/// What is there whatever Services there are: sysctls, sets, chains and the jumps to them.
fn settle_in(work: &mut Work<'_>) {
    if work.is_full {
        let settings = &mut work.netfilter.ipvs_mut().settings;
        settings.conntrack = true;
        settings.expire_nodest_conn = true;
        settings.expire_quiescent_template = true;
        for set in sets::SETS {
            work.netfilter.stores_mut().sets.ensure(set.name, set.kind);
        }
    }
    rules::install_jumps(work.netfilter);
}

/// The first port asks for something.
fn put(item: &Item, work: &mut Work<'_>) {
    if let Item::Element(set, element) = item
        && let Some(set) = sets::SETS.get(usize::from(*set))
    {
        let sets = &mut work.netfilter.stores_mut().sets;
        work.report.elements_changed += usize::from(sets.put(set.name, element.clone()));
    }
}

/// The virtual service is there, with the persistence that its port asks for (`syncService`).
fn sync_service(key: &ServiceKey, wanted: &Wanted, work: &mut Work<'_>) {
    let persistence = wanted
        .affinity_seconds
        .map(|timeout| Persistence { timeout, netmask: Ipv4Addr::BROADCAST });
    let scheduler = Scheduler::RoundRobin;
    let ipvs = work.netfilter.ipvs_mut();
    let known = ipvs.service(key).map(|known| (known.scheduler, known.persistence));
    if known == Some((scheduler, persistence)) {
        return;
    }
    let _ = match known {
        None => ipvs.add_service(*key, scheduler, persistence, work.now),
        Some(_) => ipvs.edit_service(key, scheduler, persistence),
    };
    work.report.elements_changed += 1;
}

impl State {
    /// Looks at servers that were taken away every so often, as long as there are any.
    fn look_later(&mut self, now: Instant) {
        let minute = now.as_secs() / RETIRE_PERIOD + 1;
        let at = Instant::from_secs(minute * RETIRE_PERIOD);
        self.look_at = (!self.retiring.is_empty()).then(|| self.look_at.unwrap_or(at));
    }

    /// How many rules there are.
    pub(crate) fn rule_count(&self) -> usize {
        self.rules.lines().filter(|line| line.starts_with("-A")).count()
    }

    fn sync_all(&mut self, proxier: &Proxier, work: &mut Work<'_>) {
        let old: Vec<PortName> = self.ports.keys().cloned().collect();
        for name in old.iter().filter(|name| proxier.port(name).is_none()) {
            self.sync_port(proxier, name, work);
        }
        for (info, _) in proxier.ports() {
            self.sync_port(proxier, &info.name, work);
        }
        self.clean_sets(work);
        self.clean_services(work);
    }

    /// Brings everything of a port up to date, or takes it away when the port is gone.
    fn sync_port(&mut self, proxier: &Proxier, name: &PortName, work: &mut Work<'_>) {
        let new = proxier
            .port(name)
            .map(|(info, endpoints)| wanted::of(proxier.config(), info, endpoints));
        let old = self.ports.remove(name);
        for item in new.iter().flat_map(|wanted| &wanted.items) {
            let count = self.counts.entry(item.clone()).or_default();
            *count += 1;
            if *count == 1 || work.is_full {
                put(item, work);
            }
        }
        for item in old.iter().flat_map(|wanted| &wanted.items) {
            let Some(count) = self.counts.get_mut(item) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(item);
                self.take(item, work);
            }
        }
        if let Some(wanted) = new {
            for (key, is_local) in &wanted.services {
                sync_service(key, &wanted, work);
                let servers = if *is_local { &wanted.local } else { &wanted.cluster };
                self.sync_servers(key, servers, work);
            }
            self.ports.insert(name.clone(), wanted);
        }
    }

    /// No port asks for it any more.
    fn take(&mut self, item: &Item, work: &mut Work<'_>) {
        match item {
            Item::Element(set, element) => {
                let Some(set) = sets::SETS.get(usize::from(*set)) else { return };
                let sets = &mut work.netfilter.stores_mut().sets;
                work.report.elements_changed += usize::from(sets.take(set.name, element));
            }
            Item::Service(key) => {
                let is_gone = work.netfilter.ipvs_mut().remove_service(key).is_ok();
                work.report.elements_changed += usize::from(is_gone);
                self.retiring.retain(|(of, _)| of != key);
            }
            Item::Bound(_) | Item::Shut(..) => {}
        }
    }

    /// The virtual service has these servers, and others only until their connections are over
    /// (`syncEndpoint`).
    fn sync_servers(&mut self, key: &ServiceKey, wanted: &[SocketAddrV4], work: &mut Work<'_>) {
        let ipvs = work.netfilter.ipvs_mut();
        let there =
            order::map(ipvs.servers(key).map(|server| (server.addr, server.options.weight)));
        let options = ServerOptions::default();
        for addr in wanted {
            if let Some(weight) = there.get(addr) {
                if work.is_first && *weight != options.weight {
                    let _ = ipvs.edit_server(key, *addr, options);
                }
                if !self.retiring.remove(&(*key, *addr)) {
                    continue;
                }
                let _ = ipvs.remove_server(key, *addr);
            }
            let _ = ipvs.add_server(key, *addr, options, work.now);
            work.report.elements_changed += 1;
        }
        let wanted = order::set(wanted.iter().copied());
        for addr in there.keys().filter(|addr| !wanted.contains(*addr)) {
            let place = (*key, *addr);
            if self.retiring.contains(&place) {
                continue;
            }
            let server = ipvs.servers(key).find(|server| server.addr == *addr);
            let is_idle = server.is_none_or(|server| server.active + server.inactive == 0);
            if is_idle || AT_ONCE.contains(&key.protocol) {
                let _ = ipvs.remove_server(key, *addr);
            } else {
                let quiet = ServerOptions { weight: 0, ..options };
                let _ = ipvs.edit_server(key, *addr, quiet);
                self.retiring.insert(place);
            }
            work.report.elements_changed += 1;
        }
    }

    /// Elements of kube-proxy's sets that no port asks for (`syncIPSetEntries`).
    fn clean_sets(&self, work: &mut Work<'_>) {
        for (at, set) in (0u8..).zip(sets::SETS) {
            let sets = &mut work.netfilter.stores_mut().sets;
            let Some(known) = sets.get(set.name) else { continue };
            let is_ours = |element: &netfilter::ipset::Element| {
                self.counts.contains_key(&Item::Element(at, element.clone()))
            };
            let there = known.entries(work.now).map(|(element, _)| element);
            let stale: Vec<_> = there.filter(|element| !is_ours(element)).cloned().collect();
            for element in stale {
                work.report.elements_changed += usize::from(sets.take(set.name, &element));
            }
        }
    }

    /// Virtual services that no port asks for (`cleanLegacyService`).
    fn clean_services(&mut self, work: &mut Work<'_>) {
        let ipvs = work.netfilter.ipvs_mut();
        let is_ours = |key: &ServiceKey| self.counts.contains_key(&Item::Service(*key));
        let there = ipvs.services().map(|(key, _)| *key);
        let stale: Vec<ServiceKey> = there.filter(|key| !is_ours(key)).collect();
        for key in stale {
            let _ = ipvs.remove_service(&key);
            work.report.elements_changed += 1;
        }
    }

    /// The rules, where they are not what they should be. Upstream writes them with every sync, so that they count
    /// from zero again.
    fn write_rules(&mut self, proxier: &Proxier, work: &mut Work<'_>) {
        let generations = |netfilter: &Netfilter| {
            [TableName::Filter, TableName::Nat]
                .map(|name| netfilter.table(name).map_or(0, Table::generation))
        };
        let text = rules::text(proxier.config(), &self.counts);
        let is_foreign = self.written_at != generations(work.netfilter);
        if is_foreign || text != self.rules {
            let is_new = text != self.rules;
            if is_new {
                self.rules = text;
                work.report.rules_written += self.rule_count();
            }
            rules::write(work.netfilter, &self.rules);
        } else {
            rules::zero(work.netfilter);
        }
        self.written_at = generations(work.netfilter);
    }
}
