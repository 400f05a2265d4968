//! What a Pod asks of its node: resources (`resourcehelper.PodRequests`) and ports.

use std::collections::BTreeMap;

use kube_api::core::{Container, Node, Pod};
use kube_api::quantity::Quantity;

/// What a container counts as that says nothing, where nodes are compared: a tenth of a CPU, 200 MB
/// (`DefaultMilliCPURequest`, `DefaultMemoryRequest`), in thousandths.
const UNSAID: [(&str, i128); 2] = [("cpu", 100), ("memory", 200 * 1024 * 1024 * 1000)];

/// What a Pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    /// Thousandths, by resource.
    pub(super) requests: BTreeMap<String, i128>,
    /// CPU and memory, with what is counted where nothing is said.
    pub(super) weight: [i128; 2],
    pub(super) ports: Vec<Port>,
}

/// A port of the node: protocol, address (empty: all), number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port(pub(super) String, pub(super) String, pub(super) i32);

impl Port {
    /// Both cannot be had on one node.
    pub(super) fn conflicts(&self, other: &Port) -> bool {
        self.0 == other.0
            && self.2 == other.2
            && (self.1 == other.1 || self.1.is_empty() || other.1.is_empty())
    }
}

impl Wants {
    pub(super) fn of(pod: &Pod) -> Wants {
        let mut wants = Wants::default();
        let Some(spec) = &pod.spec else { return wants };
        for container in &spec.containers {
            for (resource, milli) in requests(container) {
                *wants.requests.entry(resource).or_default() += milli;
            }
            for ((resource, unsaid), sum) in UNSAID.iter().zip(&mut wants.weight) {
                *sum += request(container, resource).filter(|milli| *milli > 0).unwrap_or(*unsaid);
            }
            wants.add_ports(container);
        }
        // One after the other they need as much as the largest.
        for container in spec.init_containers.iter().flatten() {
            for (resource, milli) in requests(container) {
                let slot = wants.requests.entry(resource).or_default();
                *slot = (*slot).max(milli);
            }
        }
        wants
    }

    fn add_ports(&mut self, container: &Container) {
        for port in container.ports.iter().flatten() {
            let Some(number) = port.host_port.filter(|number| *number != 0) else { continue };
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_string());
            let address = port.host_ip.clone().filter(|ip| ip != "0.0.0.0").unwrap_or_default();
            self.ports.push(Port(protocol, address, number));
        }
    }
}

fn request(container: &Container, resource: &str) -> Option<i128> {
    let quantity = container.resources.as_ref()?.requests.as_ref()?.get(resource)?;
    Quantity::parse(&quantity.0).map(|quantity| quantity.milli())
}

fn requests(container: &Container) -> impl Iterator<Item = (String, i128)> + '_ {
    let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    requests
        .into_iter()
        .flatten()
        .filter_map(|(name, quantity)| Some((name.clone(), Quantity::parse(&quantity.0)?.milli())))
}

/// Thousandths of a resource that a node has for Pods.
pub(super) fn allocatable(node: &Node, resource: &str) -> Option<i128> {
    let quantity = node.status.as_ref()?.allocatable.as_ref()?.get(resource)?;
    Quantity::parse(&quantity.0).map(|quantity| quantity.milli())
}
