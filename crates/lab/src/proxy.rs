//! When a node's rules follow: kube-proxy watches, waits a little, and syncs
//! (`pkg/proxy/iptables/proxier.go`, the bounded-frequency runner).

use base::tree::BTreeSet;
use base::{Duration, Instant, Rng};
use kube_api::core::Service;
use kube_api::discovery::EndpointSlice;
use kube_api::{AnyObject, Api, Change, Kind, MetaExt};
use kube_proxy::conntrack::clean_stale;
use kube_proxy::sync::install_jumps;
use kube_proxy::{Balancing, Mode, Proxier, ProxyConfig, SyncReport};
use netsim::{Net, NsId};

/// Shortest time between two syncs (`minSyncPeriod`); what changes meanwhile is done in one.
pub const MIN_SYNC: Duration = Duration::from_secs(1);
/// A sync that comes so long after the last full one writes everything (`FullSyncPeriod`).
const FULL_SYNC: Duration = Duration::from_secs(3600);

/// kube-proxy of one node.
#[derive(Debug)]
pub struct NodeProxy {
    proxier: Proxier,
    ns: NsId,
    /// How long after a change this node hears of it; nodes differ.
    watch_delay: Duration,
    last_sync: Option<Instant>,
    due: Option<Instant>,
    changed_services: BTreeSet<String>,
    changed_slices: BTreeSet<String>,
    /// A full sync is to come.
    wants_full: bool,
    last_full: Instant,
    is_stopped: bool,
    has_jumps: bool,
}

/// A slice that neither had nor has endpoints changes no rule. Upstream syncs all the same, and the first
/// endpoints of a new Service may then have to wait for the next sync.
fn has_endpoints(change: &Change) -> bool {
    let of = |object: &Option<AnyObject>| {
        let slice = object.as_ref().and_then(EndpointSlice::of);
        slice.is_some_and(|slice| !slice.endpoints.is_empty())
    };
    of(&change.old) || of(&change.new)
}

/// What a sync was about and what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyncNews {
    pub(crate) is_first: bool,
    pub(crate) services: usize,
    pub(crate) endpoint_slices: usize,
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
            changed_slices: BTreeSet::new(),
            wants_full: true,
            last_full: now,
            is_stopped: false,
            has_jumps: false,
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
            self.proxier.observe_slice(of(&change.old).as_ref(), of(&change.new).as_ref());
            if !has_endpoints(change) {
                return;
            }
            let (namespace, name) = name(&slice.metadata);
            self.changed_slices.insert(format!("{namespace}/{name}"));
        } else {
            return;
        }
        self.ask(now + self.watch_delay);
    }

    /// Asks for a sync at `at`, or when the last one is long enough ago.
    pub(crate) fn ask(&mut self, at: Instant) {
        let at = self.last_sync.map_or(at, |last| at.max(last + MIN_SYNC));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_stopped && self.proxier.config().mode != Mode::None)
    }

    /// Stops or starts the process. Stopped, it leaves its rules as they are.
    pub(crate) fn set_stopped(&mut self, is_stopped: bool, now: Instant) {
        if self.is_stopped && !is_stopped {
            // A process that begins knows nothing of what its predecessor wrote.
            self.wants_full = true;
            self.ask(now);
        }
        self.is_stopped = is_stopped;
    }

    /// Syncs, if it is time.
    pub(crate) fn work(&mut self, net: &Net, now: Instant) -> Option<SyncNews> {
        if self.next_at().is_none_or(|due| due > now) {
            return None;
        }
        self.due = None;
        let is_first = self.last_sync.replace(now).is_none();
        let full = std::mem::take(&mut self.wants_full) || now - self.last_full >= FULL_SYNC;
        if full {
            self.last_full = now;
        }
        let report = net.with_netfilter(self.ns, |netfilter| {
            if !std::mem::replace(&mut self.has_jumps, true) {
                install_jumps(netfilter);
            }
            let report = self.proxier.sync(netfilter, full);
            clean_stale(&mut self.proxier, netfilter, now);
            report
        })?;
        let services = std::mem::take(&mut self.changed_services).len();
        let endpoint_slices = std::mem::take(&mut self.changed_slices).len();
        Some(SyncNews { is_first, services, endpoint_slices, report })
    }
}
