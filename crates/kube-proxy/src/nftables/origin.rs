//! From a chain or element back to what it was written for.

use crate::endpoint::EndpointInfo;
use crate::origin::{Field, Origin};
use crate::proxier::Proxier;
use crate::service::ServicePortInfo;

use super::{elements, names};

impl Proxier {
    /// What the rules of a chain of the table `ip kube-proxy` were written for, or a set of clients.
    pub fn nftables_chain_origin(&self, name: &str) -> Option<Origin> {
        let (prefix, port, endpoint) = names::parse(name)?;
        let port = self.kept(&port)?;
        let is_it = |info: &&EndpointInfo| Some(&*info.text) == endpoint.as_deref();
        let field = match prefix {
            names::ENDPOINT | names::AFFINITY => Field::TargetPort,
            names::FIREWALL => Field::SourceRanges,
            names::EXTERNAL if port.info.node_port.is_some() => Field::NodePort,
            _ => Field::Port,
        };
        Some(port.origin(field, port.endpoints.iter().find(is_it)))
    }

    /// What an element of a set or map of the table `ip kube-proxy` was written for; `key` as `nft` prints it:
    /// `10.96.0.1 . tcp . 443`.
    pub fn nftables_element_origin(&self, container: &str, key: &str) -> Option<Origin> {
        let port = self.kept(self.nftables.elements.port(container, key)?)?;
        Some(port.origin(field(container, key, &port.info), None))
    }
}

/// The field that says the element's address or port.
fn field(container: &str, key: &str, info: &ServicePortInfo) -> Field {
    if container == elements::SERVICE_NODE_PORTS || container == elements::NO_ENDPOINT_NODE_PORTS {
        return Field::NodePort;
    }
    let addr = key.split(' ').next().and_then(|addr| addr.parse().ok());
    match addr {
        Some(addr) if info.external_ips.contains(&addr) => Field::ExternalIPs,
        Some(addr) if info.load_balancer_ips.contains(&addr) => Field::LoadBalancerIngress,
        _ => Field::Port,
    }
}
