//! A node's parts.

use base::tree::BTreeMap;
use std::net::Ipv4Addr;

use base::{Instant, Rng, order};
use kube_api::core::{
    Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo,
    Pod, Taint,
};
use kube_api::object::time;
use kube_api::{Change, MetaExt};
use kube_proxy::{Balancing, Mode, ProxyConfig};
use netfilter::rule::AddrMask;
use netsim::{Cidr, IfId, Net, NsId};

use crate::KUBERNETES_VERSION;
use crate::cni::portmap::HostPorts;
use crate::kind::{NodeConfig, ProxyOptions, Role};
use crate::kubelet::Kubelet;
use crate::outage::Outage;
use crate::policy::PolicyAgent;
use crate::proxy::NodeProxy;

/// The taint of control planes.
pub const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// A node: a container on your machine's bridge, with a kubelet and a kube-proxy.
pub struct NodeRuntime {
    /// Its name, which is its container's.
    pub name: String,
    /// Its namespace.
    pub ns: NsId,
    /// Its interface on Docker's bridge.
    pub eth0: IfId,
    /// Its address there.
    pub ip: Ipv4Addr,
    /// Where its Pods have their addresses.
    pub pod_cidr: Cidr,
    /// What it is for.
    pub role: Role,
    /// What starts and stops its Pods.
    pub kubelet: Kubelet,
    /// What writes its rules.
    pub proxy: NodeProxy,
    /// Its ports that lead to Pods.
    pub(crate) host_ports: HostPorts,
    /// What keeps traffic out that no NetworkPolicy allows.
    pub(crate) policy: PolicyAgent,
    /// As what its kubelet made it known.
    pub(crate) object: Node,
    /// When it was made; its heartbeats count from there.
    pub(crate) joined: Instant,
    /// When it was last switched on or off.
    pub(crate) switched: Instant,
    /// What has happened to it, and the last heartbeat that was heard.
    pub(crate) outage: Option<Outage>,
    pub(crate) silent: Option<Instant>,
}

/// What a node is made with.
pub(crate) struct NodeParts<'a> {
    pub(crate) name: &'a str,
    pub(crate) config: &'a NodeConfig,
    pub(crate) ns: NsId,
    pub(crate) eth0: IfId,
    pub(crate) ip: Ipv4Addr,
    pub(crate) pod_cidr: Cidr,
    pub(crate) pod_subnet: Cidr,
    pub(crate) service_subnet: Cidr,
    pub(crate) balancing: Balancing,
    pub(crate) mode: Mode,
    pub(crate) proxy: &'a ProxyOptions,
}

impl NodeRuntime {
    pub(crate) fn new(parts: &NodeParts<'_>, cluster: &str, net: &Net, rng: &Rng) -> NodeRuntime {
        let NodeParts { name, ns, eth0, ip, pod_cidr, .. } = *parts;
        let mask = |subnet: Cidr| AddrMask::prefix(subnet.addr, subnet.len);
        let mut config = ProxyConfig::new(name, ip, mask(parts.pod_subnet));
        config.service_cidrs.push(mask(parts.service_subnet));
        config.balancing = parts.balancing;
        config.mode = parts.mode;
        parts.proxy.apply(&mut config);
        // For iptables, kube-proxy lets node ports answer on 127.0.0.1.
        net.set_route_localnet(ns, parts.mode == Mode::Iptables && config.localhost_node_ports);
        NodeRuntime {
            name: name.to_string(),
            ns,
            eth0,
            ip,
            pod_cidr,
            role: parts.config.role,
            kubelet: Kubelet::new(cluster, name, ns, ip, pod_cidr, net.now()),
            proxy: NodeProxy::new(config, ns, rng.fork(&format!("proxy/{name}")), net.now()),
            host_ports: HostPorts::default(),
            policy: PolicyAgent::new(
                name,
                ns,
                parts.mode == Mode::Ipvs,
                rng.fork(&format!("policy/{name}")),
            ),
            object: Node::default(),
            joined: net.now(),
            switched: net.now(),
            outage: None,
            silent: None,
        }
    }
}

impl NodeRuntime {
    /// The ports of the node that a Pod asks for lead to it while it has its network.
    pub(crate) fn follow_host_ports(&mut self, change: &Change, net: &Net) {
        let Some(pod) = change.of::<Pod>() else { return };
        let is_host = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        let key = (pod.metadata.namespace(), pod.metadata.name());
        let has_network =
            change.new.is_some() && !is_host && self.kubelet.namespace_of(key.0, key.1).is_some();
        let addr = controllers::pods::address(pod).and_then(|addr| addr.parse().ok());
        let addr = addr.filter(|_| has_network);
        self.host_ports.follow(pod, addr, self.pod_cidr, net, self.ns);
    }
}

/// The Node object of a new node.
pub(crate) fn node_object(parts: &NodeParts<'_>, is_tainted: bool, now: Instant) -> Node {
    let mut node = Node::default();
    node.metadata.name = Some(parts.name.to_string());
    node.metadata.labels = Some(labels(parts));
    let taint = Taint {
        key: CONTROL_PLANE.to_string(),
        effect: "NoSchedule".to_string(),
        ..Taint::default()
    };
    node.spec = Some(NodeSpec {
        pod_cidr: Some(parts.pod_cidr.to_string()),
        pod_cidrs: Some(vec![parts.pod_cidr.to_string()]),
        provider_id: Some(format!("kind://docker/kind/{}", parts.name)),
        taints: is_tainted.then(|| vec![taint]),
        ..NodeSpec::default()
    });
    node.status = Some(status(parts, now));
    node
}

fn labels(parts: &NodeParts<'_>) -> BTreeMap<String, String> {
    let mut labels = order::map(
        [
            ("beta.kubernetes.io/arch", "amd64"),
            ("beta.kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
            ("kubernetes.io/hostname", parts.name),
            ("kubernetes.io/os", "linux"),
        ]
        .map(|(key, value)| (key.to_string(), value.to_string())),
    );
    if parts.config.role == Role::ControlPlane {
        labels.insert(CONTROL_PLANE.to_string(), String::new());
        let exclude = "node.kubernetes.io/exclude-from-external-load-balancers";
        labels.insert(exclude.to_string(), String::new());
    }
    labels.extend(parts.config.labels.iter().cloned());
    labels
}

fn status(parts: &NodeParts<'_>, now: Instant) -> NodeStatus {
    let quantity = |text: &str| kube_api::quantity_object(text);
    let capacity = order::map(
        [
            ("cpu", "8"),
            ("ephemeral-storage", "263174212Ki"),
            ("hugepages-1Gi", "0"),
            ("hugepages-2Mi", "0"),
            ("memory", "16374564Ki"),
            ("pods", "110"),
        ]
        .map(|(name, amount)| (name.to_string(), quantity(amount))),
    );
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_string(), address };
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", parts.ip.to_string()),
            address("Hostname", parts.name.to_string()),
        ]),
        allocatable: Some(capacity.clone()),
        capacity: Some(capacity),
        conditions: Some(conditions(now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(kube_api::core::DaemonEndpoint { port: 10250 }),
        }),
        node_info: Some(NodeSystemInfo {
            architecture: "amd64".to_string(),
            container_runtime_version: "containerd://2.2.0".to_string(),
            kernel_version: "6.12.0-podwire".to_string(),
            kube_proxy_version: String::new(),
            kubelet_version: KUBERNETES_VERSION.to_string(),
            machine_id: uuid(parts.name).replace('-', ""),
            system_uuid: uuid(&format!("system/{}", parts.name)),
            // All nodes run on one kernel.
            boot_id: uuid("boot"),
            operating_system: "linux".to_string(),
            os_image: "Debian GNU/Linux 12 (bookworm)".to_string(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

/// An identifier that is always the same for a name.
fn uuid(name: &str) -> String {
    let mut chance = Rng::new(0).fork(name);
    let (a, b) = (chance.next_u64(), chance.next_u64());
    let (first, second, third) = (a >> 32, (a >> 16) & 0xffff, a & 0xfff);
    format!("{first:08x}-{second:04x}-4{third:03x}-9{:03x}-{:012x}", b >> 52, b & 0xffff_ffff_ffff)
}

/// What a node that is well says about itself.
pub(crate) fn conditions(now: Instant) -> Vec<NodeCondition> {
    let condition = |(kind, status, reason, message): (&str, &str, &str, &str)| NodeCondition {
        type_: kind.to_string(),
        status: status.to_string(),
        reason: Some(reason.to_string()),
        message: Some(message.to_string()),
        last_heartbeat_time: Some(time(now)),
        last_transition_time: Some(time(now)),
    };
    let all = [
        (
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    all.map(condition).into()
}
