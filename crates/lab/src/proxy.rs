//! When a node's rules follow: kube-proxy watches, waits a little, and syncs
//! (`pkg/proxy/iptables/proxier.go`, the bounded-frequency runner).

use std::collections::BTreeSet;

use base::{Duration, Instant, Rng};
use kube_api::core::Service;
use kube_api::discovery::EndpointSlice;
use kube_api::{AnyObject, Api, Change, Kind, MetaExt};
use kube_proxy::endpoint::Endpoints;
use kube_proxy::sync::{SyncReport, Synced, install_jumps};
use kube_proxy::{ProxyConfig, plan, service};
use netsim::{Net, NsId};

/// Shortest time between two syncs (`minSyncPeriod`); what changes meanwhile is done in one.
pub const MIN_SYNC: Duration = Duration::from_secs(1);

/// kube-proxy of one node.
#[derive(Debug)]
pub struct NodeProxy {
    /// What it is told about its node.
    pub config: ProxyConfig,
    ns: NsId,
    /// How long after a change this node hears of it; nodes differ.
    watch_delay: Duration,
    last_sync: Option<Instant>,
    due: Option<Instant>,
    changed_services: BTreeSet<String>,
    changed_slices: BTreeSet<String>,
    synced: Synced,
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
            config,
            ns,
            watch_delay: Duration::from_micros(2_000 + u64::from(rng.below(18_000))),
            last_sync: None,
            due: Some(now),
            changed_services: BTreeSet::new(),
            changed_slices: BTreeSet::new(),
            synced: Synced::default(),
            is_stopped: false,
            has_jumps: false,
        }
    }

    /// The rules that are in force.
    pub fn synced(&self) -> &Synced {
        &self.synced
    }

    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let (into, meta) = match (change.of::<Service>(), change.of::<EndpointSlice>()) {
            (Some(service), _) => (&mut self.changed_services, &service.metadata),
            (_, Some(_)) if !has_endpoints(change) => return,
            (_, Some(slice)) => (&mut self.changed_slices, &slice.metadata),
            _ => return,
        };
        into.insert(format!("{}/{}", meta.namespace(), meta.name()));
        self.ask(now + self.watch_delay);
    }

    /// Asks for a sync at `at`, or when the last one is long enough ago.
    pub(crate) fn ask(&mut self, at: Instant) {
        let at = self.last_sync.map_or(at, |last| at.max(last + MIN_SYNC));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_stopped)
    }

    /// Stops or starts the process. Stopped, it leaves its rules as they are.
    pub(crate) fn set_stopped(&mut self, is_stopped: bool, now: Instant) {
        if self.is_stopped && !is_stopped {
            self.ask(now);
        }
        self.is_stopped = is_stopped;
    }

    /// Syncs, if it is time.
    pub(crate) fn work(&mut self, api: &Api, net: &Net, now: Instant) -> Option<SyncNews> {
        if self.next_at().is_none_or(|due| due > now) {
            return None;
        }
        self.due = None;
        let is_first = self.last_sync.replace(now).is_none();
        let ports: Vec<_> =
            api.store().list::<Service>().flat_map(|service| service::ports(service)).collect();
        let slices = api.store().list::<EndpointSlice>().map(|slice| &**slice);
        let endpoints = Endpoints::read(slices, &self.config.node_name);
        let plan = plan(&self.config, &ports, &endpoints);
        let report = net.with_netfilter(self.ns, |netfilter| {
            if !self.has_jumps {
                install_jumps(netfilter);
                self.has_jumps = true;
            }
            self.synced.apply(plan, netfilter)
        })?;
        let services = std::mem::take(&mut self.changed_services).len();
        let endpoint_slices = std::mem::take(&mut self.changed_slices).len();
        Some(SyncNews { is_first, services, endpoint_slices, report })
    }
}
