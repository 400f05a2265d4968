//! Plain pictures of a cluster for the page: made when something has changed, and then only read.

use base::Items as _;
use base::tree::BTreeMap;
use std::net::Ipv4Addr;

use controllers::endpointslice::SERVICE_NAME;
use controllers::pods::{self, Summary};
use kube_api::core::{Node, Pod, Service, ServicePort};
use kube_api::discovery::EndpointSlice;
use kube_api::{IntOrString, MetaExt};

use crate::cluster::Cluster;
use crate::kind::Role;

/// A cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// Its nodes, control planes first.
    pub nodes: Vec<NodeView>,
    /// Pods that are on no node yet.
    pub waiting: Vec<PodView>,
    /// Its Services.
    pub services: Vec<ServiceView>,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its address on Docker's bridge.
    pub ip: Ipv4Addr,
    /// Where its Pods have their addresses.
    pub pod_cidr: String,
    /// It runs the API server.
    pub is_control_plane: bool,
    /// It says that it is ready.
    pub is_ready: bool,
    /// No new Pods are to come.
    pub is_cordoned: bool,
    /// What its kube-proxy writes them for: `iptables`.
    pub mode: &'static str,
    /// Rules that its kube-proxy has written, and that stand there now.
    pub rules: usize,
    /// Its Pods.
    pub pods: Vec<PodView>,
}

/// A Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its address, once it has one.
    pub ip: Option<String>,
    /// How it is.
    pub summary: Summary,
    /// It is ready.
    pub is_ready: bool,
    /// It is to end.
    pub is_ending: bool,
    /// It has no network of its own: it uses the node's.
    pub on_host: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The image of its first container.
    pub image: String,
    /// Services that count it among their endpoints.
    pub serves: Vec<String>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `ClusterIP`, `NodePort`, …
    pub kind: String,
    /// Its address, if it has one.
    pub cluster_ip: Option<String>,
    /// Its ports.
    pub ports: Vec<PortView>,
    /// The labels it looks for.
    pub selector: BTreeMap<String, String>,
    /// Who serves it.
    pub endpoints: Vec<EndpointView>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct PortView {
    /// The Service's port.
    pub port: i32,
    /// The container's port, by number or name.
    pub target: String,
    /// Every node's port.
    pub node_port: Option<i32>,
    /// `TCP`, `UDP`, `SCTP`
    pub protocol: String,
}

/// An endpoint of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointView {
    /// Address and port.
    pub address: String,
    /// The Pod's name, if it is one.
    pub pod: Option<String>,
    /// Its node.
    pub node: Option<String>,
    /// It is ready for new connections.
    pub is_ready: bool,
}

/// Draws a cluster.
pub fn cluster(cluster: &Cluster) -> ClusterView {
    let store = cluster.api.store();
    let services: Vec<ServiceView> =
        store.list::<Service>().map(|service| service_view(cluster, service)).collect();
    let mut by_node: BTreeMap<String, Vec<PodView>> = BTreeMap::new();
    let mut waiting = Vec::new();
    for pod in store.list::<Pod>() {
        let view = pod_view(pod, &services);
        match pods::node_name(pod) {
            Some(node) => by_node.entry(node.to_string()).or_default().push(view),
            None => waiting.push(view),
        }
    }
    let mut nodes: Vec<NodeView> = Vec::new();
    for node in cluster.nodes() {
        let object = store.get::<Node>("", &node.name);
        nodes.push(NodeView {
            name: node.name.clone(),
            ip: node.ip,
            pod_cidr: node.pod_cidr.to_string(),
            is_control_plane: node.role == Role::ControlPlane,
            is_ready: object.is_some_and(|node| node_is_ready(node)),
            is_cordoned: object
                .and_then(|node| node.spec.as_ref()?.unschedulable)
                .unwrap_or_default(),
            mode: node.proxy.proxier().config().mode.name(),
            rules: node.proxy.proxier().rule_count(),
            pods: by_node.remove(&node.name).unwrap_or_default(),
        });
    }
    base::order::sort_by_key(&mut nodes, |node| !node.is_control_plane);
    ClusterView { name: cluster.name.clone(), nodes, waiting, services }
}

fn node_is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.items());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn pod_view(pod: &Pod, services: &[ServiceView]) -> PodView {
    let spec = pod.spec.as_ref();
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    let serves = services.iter().filter(|service| {
        service.namespace == namespace
            && service.endpoints.iter().any(|e| e.pod.as_deref() == Some(name))
    });
    PodView {
        namespace: namespace.to_string(),
        name: name.to_string(),
        ip: pods::address(pod).map(str::to_string),
        summary: pods::summary(pod),
        is_ready: pods::is_ready(pod),
        is_ending: pod.metadata.is_terminating(),
        on_host: spec.and_then(|spec| spec.host_network) == Some(true),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        image: spec.and_then(|spec| spec.containers.first()?.image.clone()).unwrap_or_default(),
        serves: serves.map(|service| service.name.clone()).collect(),
    }
}

fn service_view(cluster: &Cluster, service: &Service) -> ServiceView {
    let spec = service.spec.clone().unwrap_or_default();
    let (namespace, name) = (service.metadata.namespace(), service.metadata.name());
    let slices = cluster.api.store().list_in::<EndpointSlice>(namespace);
    let own = slices.filter(|slice| slice.metadata.label(SERVICE_NAME) == Some(name));
    let mut endpoints: Vec<EndpointView> = own.flat_map(|slice| slice_views(slice)).collect();
    base::order::sort_by(&mut endpoints, |a, b| a.address.cmp(&b.address));
    ServiceView {
        namespace: namespace.to_string(),
        name: name.to_string(),
        kind: spec.type_.unwrap_or_default(),
        cluster_ip: spec.cluster_ip,
        ports: spec.ports.items().map(port_view).collect(),
        selector: spec.selector.unwrap_or_default(),
        endpoints,
    }
}

fn port_view(port: &ServicePort) -> PortView {
    let target = match &port.target_port {
        Some(IntOrString::Int(number)) => number.to_string(),
        Some(IntOrString::String(name)) => name.clone(),
        None => port.port.to_string(),
    };
    PortView {
        port: port.port,
        target,
        node_port: port.node_port.filter(|port| *port != 0),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_string()),
    }
}

fn slice_views(slice: &EndpointSlice) -> Vec<EndpointView> {
    let port = slice.ports.items().find_map(|port| port.port);
    let view = |endpoint: &kube_api::discovery::Endpoint| {
        let address = endpoint.addresses.first().cloned().unwrap_or_default();
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        EndpointView {
            address: port.map_or_else(|| address.clone(), |port| format!("{address}:{port}")),
            pod: endpoint.target_ref.as_ref().and_then(|target| target.name.clone()),
            node: endpoint.node_name.clone(),
            is_ready: conditions.ready != Some(false),
        }
    };
    slice.endpoints.iter().map(view).collect()
}
