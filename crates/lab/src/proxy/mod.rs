//! When a node's rules follow: kube-proxy watches, waits a little, and syncs
//! (`pkg/proxy/iptables/proxier.go`, the bounded-frequency runner).

mod health;
mod ipvs;

use std::rc::Rc;

use base::tree::{BTreeMap, BTreeSet};
use base::{Duration, Instant, Rng, order};
use kube_api::core::{Node, Service};
use kube_api::discovery::{Endpoint, EndpointSlice};
use kube_api::{AnyObject, Api, Change, Kind, MetaExt};
use kube_proxy::canary::Canary;
use kube_proxy::conntrack::clean_stale;
use kube_proxy::jumps::install_jumps;
use kube_proxy::nftables::Engine;
use kube_proxy::{Balancing, Mode, Proxier, ProxyConfig, Sync, SyncReport};
use netsim::{Net, NsId};

use self::health::HealthChecks;

/// Shortest time between two syncs (`minSyncPeriod`); what changes meanwhile is done in one.
pub const MIN_SYNC: Duration = Duration::from_secs(1);
/// A sync that comes so long after the last full one writes everything (`FullSyncPeriod`).
const FULL_SYNC: Duration = Duration::from_secs(3600);

/// The label that says which zone a node is in.
const ZONE: &str = "topology.kubernetes.io/zone";
/// How often it looks whether its chains are still there, and how late it tries again what has failed
/// (`syncPeriod`).
const SYNC_PERIOD: Duration = Duration::from_secs(30);
/// How long a sync takes, besides what each rule takes.
const SYNC: Duration = Duration::from_micros(1_500);
/// How much longer for each rule that is written.
const SYNC_RULE: Duration = Duration::from_micros(20);

/// kube-proxy of one node.
pub struct NodeProxy {
    proxier: Proxier,
    ns: NsId,
    /// How long after a change this node hears of it; nodes differ.
    watch_delay: Duration,
    last_sync: Option<Instant>,
    due: Option<Instant>,
    /// A sync that has begun.
    writing: Option<Writing>,
    changed_services: BTreeSet<String>,
    /// EndpointSlices as they were at the last sync, and as they are.
    changed_slices: BTreeMap<String, SliceChange>,
    /// A full sync is to come.
    wants_full: bool,
    last_full: Instant,
    is_stopped: bool,
    /// Its process has begun, and nobody has heard of it yet.
    is_new: bool,
    canary: Canary,
    health: HealthChecks,
}

/// A sync between its beginning and its end.
#[derive(Debug)]
struct Writing {
    sync: Sync,
    until: Instant,
    news: SyncNews,
}

/// An EndpointSlice before and after.
#[derive(Debug, Default)]
struct SliceChange {
    old: Option<Rc<EndpointSlice>>,
    new: Option<Rc<EndpointSlice>>,
}

impl SliceChange {
    /// A slice that neither had nor has endpoints changes no rule. Upstream syncs all the same, and the first
    /// endpoints of a new Service may then have to wait for the next sync.
    fn has_endpoints(&self) -> bool {
        [&self.old, &self.new].into_iter().flatten().any(|slice| !slice.endpoints.is_empty())
    }

    /// How many endpoints are new, gone or otherwise.
    fn endpoint_count(&self) -> usize {
        let (Some(old), Some(new)) = (&self.old, &self.new) else {
            let slice = self.old.as_ref().or(self.new.as_ref());
            return slice.map_or(0, |slice| slice.endpoints.len());
        };
        if old.ports != new.ports {
            return old.endpoints.len().max(new.endpoints.len());
        }
        fn by_address(slice: &EndpointSlice) -> BTreeMap<&Vec<String>, &Endpoint> {
            order::map(slice.endpoints.iter().map(|endpoint| (&endpoint.addresses, endpoint)))
        }
        let (old, new) = (by_address(old), by_address(new));
        let gone = old.keys().filter(|address| !new.contains_key(*address)).count();
        gone + new.iter().filter(|(address, endpoint)| old.get(*address) != Some(endpoint)).count()
    }
}

/// What a sync was about and what it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SyncNews {
    pub(crate) is_first: bool,
    pub(crate) services: usize,
    pub(crate) endpoints: usize,
    pub(crate) takes: Duration,
    pub(crate) report: SyncReport,
}

impl NodeProxy {
    pub(crate) fn new(config: ProxyConfig, ns: NsId, mut rng: Rng, now: Instant) -> NodeProxy {
        NodeProxy {
            proxier: Proxier::new(config),
            ns,
            watch_delay: Duration::from_micros(2_000 + u64::from(rng.below(18_000))),
            last_sync: None,
            due: Some(now),
            changed_services: BTreeSet::new(),
            writing: None,
            changed_slices: BTreeMap::new(),
            wants_full: true,
            last_full: now,
            is_stopped: false,
            is_new: true,
            canary: Canary::new("KUBE-PROXY-CANARY", SYNC_PERIOD, now),
            health: HealthChecks::default(),
        }
    }

    /// What it knows, and the rules that it makes of it.
    pub fn proxier(&self) -> &Proxier {
        &self.proxier
    }

    /// Says how rules are to choose among endpoints.
    pub(crate) fn set_balancing(&mut self, balancing: Balancing, now: Instant) {
        let config = ProxyConfig { balancing, ..self.proxier.config().clone() };
        self.proxier.configure(config);
        self.ask(now);
    }

    /// Its node is, or is now, in this zone.
    pub(crate) fn observe_node(&mut self, node: &Node, now: Instant) {
        let zone = node.metadata.label(ZONE).map(str::to_string);
        if self.proxier.config().zone != zone {
            let config = ProxyConfig { zone, ..self.proxier.config().clone() };
            self.proxier.configure(config);
            self.ask(now + self.watch_delay);
        }
    }

    /// Takes in what there is, as a process that begins lists everything before it watches.
    pub(crate) fn list(&mut self, api: &Api) {
        for service in api.store().list::<Service>() {
            let meta = &service.metadata;
            self.proxier.observe_service(meta.namespace(), meta.name(), Some(service));
        }
        for slice in api.store().list::<EndpointSlice>() {
            self.proxier.observe_slice(None, Some(slice));
        }
    }

    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let name = |meta: &kube_api::meta::ObjectMeta| {
            (meta.namespace().to_string(), meta.name().to_string())
        };
        if let Some(service) = change.of::<Service>() {
            let (namespace, name) = name(&service.metadata);
            let new = change.new.as_ref().and_then(Service::of);
            if !self.proxier.observe_service(&namespace, &name, new.map(|service| &**service)) {
                return;
            }
            self.changed_services.insert(format!("{namespace}/{name}"));
        } else if let Some(slice) = change.of::<EndpointSlice>() {
            let of =
                |object: &Option<AnyObject>| object.as_ref().and_then(EndpointSlice::of).cloned();
            let seen = SliceChange { old: of(&change.old), new: of(&change.new) };
            self.proxier.observe_slice(seen.old.as_ref(), seen.new.as_ref());
            if !seen.has_endpoints() {
                return;
            }
            let (namespace, name) = name(&slice.metadata);
            let new = seen.new.clone();
            let slot = self.changed_slices.entry(format!("{namespace}/{name}"));
            slot.or_insert_with(|| seen).new = new;
        } else {
            return;
        }
        self.ask(now + self.watch_delay);
    }

    fn is_ipvs(&self) -> bool {
        self.proxier.config().mode == Mode::Ipvs
    }

    /// Asks for a sync at `at`, or when the last one is long enough ago; in ipvs mode at once.
    pub(crate) fn ask(&mut self, at: Instant) {
        let last = self.last_sync.filter(|_| !self.is_ipvs());
        let at = last.map_or(at, |last| at.max(last + MIN_SYNC));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        if self.is_stopped || self.proxier.config().mode == Mode::None {
            return None;
        }
        let sync = self.writing.as_ref().map(|writing| writing.until).or(self.due);
        // Only the iptables mode has a canary; the ipvs mode writes everything often enough.
        let other = match self.proxier.config().mode {
            Mode::Iptables => Some(self.canary.next_at()),
            Mode::Ipvs => self.proxier.ipvs_next_at(),
            Mode::Nftables | Mode::None => None,
        };
        sync.into_iter().chain(other).min()
    }

    /// Stops or starts the process. Stopped, it leaves its rules as they are.
    pub(crate) fn set_stopped(&mut self, is_stopped: bool, now: Instant) {
        if self.is_stopped && !is_stopped {
            // A process that begins knows nothing of what its predecessor wrote.
            self.proxier.restart_nftables();
            self.wants_full = true;
            self.proxier.restart_ipvs();
            self.is_new = true;
            self.ask(now);
        }
        // What is not written by now will not be.
        self.writing = None;
        if is_stopped {
            self.health.stop();
        }
        self.is_stopped = is_stopped;
    }

    /// Its process has begun since this was last asked.
    pub(crate) fn has_begun(&mut self) -> bool {
        let runs = !self.is_stopped && self.proxier.config().mode != Mode::None;
        runs && std::mem::take(&mut self.is_new)
    }

    /// Begins a sync or ends one, if it is time.
    pub(crate) fn work(&mut self, net: &Net, now: Instant) -> Option<SyncNews> {
        if self.next_at().is_none_or(|due| due > now) {
            return None;
        }
        let mode = self.proxier.config().mode;
        let is_flushed = net.with_netfilter(self.ns, |netfilter| match mode {
            Mode::Iptables => self.canary.look(netfilter, now),
            Mode::Ipvs => {
                self.proxier.retire_servers(netfilter, now);
                false
            }
            Mode::Nftables | Mode::None => false,
        });
        if is_flushed == Some(true) {
            self.wants_full = true;
            self.ask(now);
        }
        match self.writing.take() {
            Some(writing) if writing.until <= now => return self.end_sync(net, writing, now),
            None if self.due.is_some_and(|due| due <= now) => self.begin_sync(net, now),
            writing => self.writing = writing,
        }
        None
    }

    fn begin_sync(&mut self, net: &Net, now: Instant) {
        self.due = None;
        let mut period = FULL_SYNC;
        if self.is_ipvs() {
            period = kube_proxy::ipvs::SYNC_PERIOD;
            self.due = Some(now + period);
            let interface_addrs = ipvs::own_addresses(net, self.ns);
            let config = ProxyConfig { interface_addrs, ..self.proxier.config().clone() };
            self.proxier.configure(config);
        }
        let is_first = self.last_sync.replace(now).is_none();
        let full = std::mem::take(&mut self.wants_full) || now - self.last_full >= period;
        if full {
            self.last_full = now;
        }
        let sync = self.proxier.begin(full);
        let rules = self.proxier.rules_to_write(&sync);
        let takes = SYNC + SYNC_RULE * u32::try_from(rules).unwrap_or(u32::MAX);
        let slices = std::mem::take(&mut self.changed_slices);
        let news = SyncNews {
            is_first,
            services: std::mem::take(&mut self.changed_services).len(),
            endpoints: slices.values().map(SliceChange::endpoint_count).sum(),
            takes,
            report: SyncReport::default(),
        };
        self.writing = Some(Writing { sync, until: now + takes, news });
    }

    fn end_sync(&mut self, net: &Net, writing: Writing, now: Instant) -> Option<SyncNews> {
        let Writing { sync, news, .. } = writing;
        let mode = self.proxier.config().mode;
        let report = net.with_netfilter(self.ns, |netfilter| {
            let report = match mode {
                Mode::Ipvs => self.proxier.finish_ipvs(netfilter, sync, now),
                Mode::Nftables => {
                    self.proxier.finish_nftables(&mut Engine::new(netfilter, now), sync, now)
                }
                Mode::Iptables | Mode::None => {
                    if sync.is_full() {
                        install_jumps(netfilter, self.proxier.config());
                    }
                    self.proxier.finish(netfilter, sync)
                }
            };
            clean_stale(&mut self.proxier, netfilter, now);
            report
        })?;
        if mode == Mode::Ipvs {
            ipvs::bind(net, self.ns, &self.proxier.ipvs_addresses());
        }
        if report.error.is_some() {
            self.ask(now + SYNC_PERIOD);
        }
        self.health.sync(&self.proxier, net, self.ns);
        Some(SyncNews { report, ..news })
    }
}
