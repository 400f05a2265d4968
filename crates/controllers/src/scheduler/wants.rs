//! What a Pod asks of its node: resources (`resourcehelper.PodRequests`) and ports.

use base::Items as _;
use base::tree::BTreeMap;
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
        wants.add_init(spec.init_containers.as_deref().unwrap_or_default());
        wants
    }

    /// One after the other they need as much as the largest, beside the sidecars that run already; those stay
    /// beside the others too (`AggregateContainerRequests`).
    fn add_init(&mut self, containers: &[Container]) {
        let mut sidecars: BTreeMap<String, i128> = BTreeMap::new();
        let mut largest: BTreeMap<String, i128> = BTreeMap::new();
        for container in containers {
            let stays =
                container.rest.get("restartPolicy").is_some_and(|policy| policy == "Always");
            for (resource, milli) in requests(container) {
                let beside = sidecars.entry(resource.clone()).or_default();
                let needed = *beside + milli;
                *beside += if stays { milli } else { 0 };
                let most = largest.entry(resource).or_default();
                *most = (*most).max(needed);
            }
        }
        for (resource, milli) in sidecars {
            *self.requests.entry(resource).or_default() += milli;
        }
        for (resource, milli) in largest {
            let sum = self.requests.entry(resource).or_default();
            *sum = (*sum).max(milli);
        }
    }

    fn add_ports(&mut self, container: &Container) {
        for port in container.ports.items() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_containers_and_sidecars() {
        let container = |cpu: &str, more: &str| {
            let text = format!(
                r#"{{"name": "c", "resources": {{"requests": {{"cpu": "{cpu}"}}}}{more}}}"#
            );
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let sidecar = r#", "restartPolicy": "Always""#;
        let check = |init: Vec<serde_json::Value>, milli: i128| {
            let pod = serde_json::json!({"spec": {"initContainers": init,
                "containers": [container("100m", ""), container("200m", "")]}});
            let pod: Pod = kube_api::from_value(pod).unwrap();
            assert_eq!(Wants::of(&pod).requests.get("cpu"), Some(&milli));
        };
        check(vec![], 300);
        check(vec![container("250m", "")], 300);
        check(vec![container("500m", ""), container("400m", "")], 500);
        check(vec![container("50m", sidecar)], 350);
        check(vec![container("50m", sidecar), container("400m", "")], 450);
    }
}
