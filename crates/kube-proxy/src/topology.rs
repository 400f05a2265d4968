//! Which endpoints of a port this node may use (`pkg/proxy/topology.go`).

use crate::config::ProxyConfig;
use crate::endpoint::EndpointInfo;
use crate::service::ServicePortInfo;

/// The endpoints of a port, as this node sees them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reachable<'a> {
    /// For the traffic policy Cluster.
    pub cluster: Vec<&'a EndpointInfo>,
    /// For the traffic policy Local.
    pub local: Vec<&'a EndpointInfo>,
    /// Both together.
    pub all: Vec<&'a EndpointInfo>,
    /// Somewhere there is an endpoint, also where this node may not use it.
    pub has_any: bool,
}

/// What becomes of traffic that no endpoint may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nowhere an endpoint.
    Reject,
    /// Endpoints, but none that may be used here.
    Drop,
}

impl Reachable<'_> {
    /// Traffic to the cluster IP finds an endpoint here.
    pub(crate) fn has_internal(&self, port: &ServicePortInfo) -> bool {
        if port.internal_local { !self.local.is_empty() } else { self.has_any }
    }

    /// Traffic to an address or port outside the cluster's own finds an endpoint here.
    pub(crate) fn has_external(&self, port: &ServicePortInfo) -> bool {
        if port.external_local { !self.local.is_empty() } else { self.has_any }
    }

    /// Traffic is spread among the endpoints of the whole cluster.
    pub(crate) fn uses_cluster(&self, port: &ServicePortInfo) -> bool {
        !self.cluster.is_empty() && port.uses_cluster_endpoints()
    }

    /// Traffic is spread among the endpoints of this node.
    pub(crate) fn uses_local(&self, port: &ServicePortInfo) -> bool {
        !self.local.is_empty() && port.uses_local_endpoints()
    }

    /// There is something to do for traffic from outside, be it only for what this node itself sends.
    pub(crate) fn uses_external(&self, port: &ServicePortInfo) -> bool {
        self.has_any && port.is_externally_accessible()
    }

    /// What becomes of traffic, if there are endpoints that it may use or not.
    pub(crate) fn refusal(&self, has_endpoints_to_use: bool) -> Option<Refusal> {
        match (self.has_any, has_endpoints_to_use) {
            (false, _) => Some(Refusal::Reject),
            (true, false) => Some(Refusal::Drop),
            (true, true) => None,
        }
    }
}

/// Sorts the endpoints of a port by what this node may use them for.
pub fn categorize<'a>(
    endpoints: &'a [EndpointInfo],
    service: &ServicePortInfo,
    config: &ProxyConfig,
) -> Reachable<'a> {
    let mut reachable = Reachable::default();
    let near = Near::of(endpoints, service, config);
    let on_its_way_out = |e: &&EndpointInfo| e.serving && e.terminating;
    if service.uses_cluster_endpoints() {
        let fits = |e: &&EndpointInfo| e.ready && near.allows(e);
        reachable.cluster = endpoints.iter().filter(fits).collect();
        if reachable.cluster.is_empty() {
            reachable.cluster = endpoints.iter().filter(on_its_way_out).collect();
        }
        reachable.has_any = !reachable.cluster.is_empty();
    }
    if !service.uses_local_endpoints() {
        reachable.all = reachable.cluster.clone();
        return reachable;
    }
    let local = || endpoints.iter().filter(|e| e.is_local);
    reachable.local = local().filter(|e| e.ready).collect();
    let mut uses_terminating = false;
    if reachable.local.is_empty() {
        reachable.local = local().filter(on_its_way_out).collect();
        uses_terminating = !reachable.local.is_empty();
    }
    reachable.has_any |= !reachable.local.is_empty();
    if !service.uses_cluster_endpoints() {
        reachable.all = reachable.local.clone();
        reachable.has_any |= endpoints.iter().any(|e| e.ready || on_its_way_out(&e));
        return reachable;
    }
    reachable.all = if near == Near::Anywhere && !uses_terminating {
        reachable.cluster.clone()
    } else {
        let both = reachable.cluster.iter().chain(&reachable.local);
        base::order::map(both.map(|e| (e.at, *e))).into_values().collect()
    };
    reachable
}

/// What a node keeps to while endpoints are there for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Near<'a> {
    /// Nothing: every endpoint will do.
    Anywhere,
    /// Endpoints that are meant for this node.
    Node(&'a str),
    /// Endpoints that are meant for this zone.
    Zone(&'a str),
}

impl<'a> Near<'a> {
    /// Only if the Service asks for it, every endpoint that is ready has hints, and some is meant for this node, or
    /// else for its zone (`topologyModeFromHints`).
    fn of(
        endpoints: &[EndpointInfo],
        service: &ServicePortInfo,
        config: &'a ProxyConfig,
    ) -> Near<'a> {
        if !service.uses_hints {
            return Near::Anywhere;
        }
        let near = [Some(Near::Node(&config.node_name)), config.zone.as_deref().map(Near::Zone)];
        let is_followed = |near: &Near<'_>| {
            let ready = || endpoints.iter().filter(|e| e.ready);
            ready().all(|e| near.hints(e).next().is_some()) && ready().any(|e| near.allows(e))
        };
        near.into_iter().flatten().find(is_followed).unwrap_or(Near::Anywhere)
    }

    fn hints<'e>(self, endpoint: &'e EndpointInfo) -> Box<dyn Iterator<Item = &'e str> + 'e> {
        match self {
            Near::Anywhere => Box::new([].into_iter()),
            Near::Node(_) => Box::new(endpoint.node_hints()),
            Near::Zone(_) => Box::new(endpoint.zone_hints()),
        }
    }

    fn allows(self, endpoint: &EndpointInfo) -> bool {
        match self {
            Near::Anywhere => true,
            Near::Node(here) | Near::Zone(here) => self.hints(endpoint).any(|hint| hint == here),
        }
    }
}
