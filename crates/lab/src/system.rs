//! What is in a cluster that kind has just made: its namespaces, the API server's own Service, CoreDNS,
//! kube-proxy and kindnet, and the Pods that a control plane runs by itself.

use std::net::Ipv4Addr;

use base::Instant;
use kube_api::core::{Container, Namespace, Node, Pod, PodSpec, Toleration};
use kube_api::object::controller_ref;
use kube_api::{Api, yaml};
use kube_proxy::Mode;

use crate::KUBERNETES_VERSION;
use crate::kind::KindConfig;

/// The namespaces of a new cluster.
const NAMESPACES: [&str; 5] =
    ["default", "kube-node-lease", "kube-public", "kube-system", "local-path-storage"];

/// Images that are part of a node's own image.
pub(crate) const IMAGES: [&str; 8] = [
    "registry.k8s.io/coredns/coredns:v1.13.1",
    "registry.k8s.io/kube-proxy:v1.35.0",
    "docker.io/kindest/kindnetd:v20250512-df8de77b",
    "docker.io/kindest/local-path-provisioner:v20250214-acbabc1a",
    "registry.k8s.io/etcd:3.6.6-0",
    "registry.k8s.io/kube-apiserver:v1.35.0",
    "registry.k8s.io/kube-controller-manager:v1.35.0",
    "registry.k8s.io/kube-scheduler:v1.35.0",
];

/// Creates what the cluster itself needs.
pub(crate) fn create(api: &mut Api, api_server: Ipv4Addr, config: &KindConfig, now: Instant) {
    for name in NAMESPACES {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_string());
        api.create_typed(namespace, now).expect("a new cluster has no namespaces");
    }
    let services = config.service_subnet;
    let address = |n: u32| services.nth(n).unwrap_or(services.addr).to_string();
    let text = include_str!("system.yaml")
        .replace("<first service address>", &address(1))
        .replace("<dns address>", &address(10))
        .replace("<services>", &services.to_string())
        .replace("<api server>", &api_server.to_string())
        .replace("<pod subnet>", &config.pod_subnet.to_string())
        .replace("<proxy mode>", config.proxy_mode.name());
    let text = config.proxy.fill_in(&text).replace("<version>", KUBERNETES_VERSION);
    for document in yaml::documents(&text) {
        if config.proxy_mode == Mode::None && is_of_proxy(&document) {
            continue;
        }
        create_document(api, document, now).expect("the objects of system.yaml are valid");
    }
}

fn is_of_proxy(document: &yaml::Document) -> bool {
    let Ok(Some(node)) = &document.content else { return false };
    let name = node.get("metadata").and_then(|metadata| metadata.get("name"));
    name.and_then(|name| name.as_str()) == Some("kube-proxy")
}

pub(crate) fn create_document(
    api: &mut Api,
    document: yaml::Document,
    now: Instant,
) -> Result<(), String> {
    let Some(node) = document.content.map_err(|error| error.message)? else { return Ok(()) };
    let field = |name: &str| node.get(name).and_then(|node| node.as_str()).unwrap_or_default();
    let (api_version, kind) = (field("apiVersion"), field("kind"));
    let info = api.store().kinds().find(api_version, kind).ok_or(kind)?.id;
    let value = api.decode(info, &node).map_err(|error| error.0.to_string())?;
    let object = api.object(info, value).map_err(|status| status.to_string())?;
    api.create(object, now).map_err(|status| status.to_string())?;
    Ok(())
}

/// The Pods that the kubelet of a control plane runs from files, and shows in the API.
pub(crate) fn create_static_pods(api: &mut Api, node: &Node, now: Instant) {
    let node_name = node.metadata.name.clone().unwrap_or_default();
    let version = KUBERNETES_VERSION;
    for (name, image, cpu) in [
        ("etcd", "registry.k8s.io/etcd:3.6.6-0".to_string(), "100m"),
        ("kube-apiserver", format!("registry.k8s.io/kube-apiserver:{version}"), "250m"),
        (
            "kube-controller-manager",
            format!("registry.k8s.io/kube-controller-manager:{version}"),
            "200m",
        ),
        ("kube-scheduler", format!("registry.k8s.io/kube-scheduler:{version}"), "100m"),
    ] {
        let mut pod = Pod::default();
        pod.metadata.name = Some(format!("{name}-{node_name}"));
        pod.metadata.namespace = Some("kube-system".to_string());
        let labels = [("component", name), ("tier", "control-plane")];
        let labels = labels.map(|(key, value)| (key.to_string(), value.to_string()));
        pod.metadata.labels = Some(labels.into());
        // kubelet names what it read by a hash of the file.
        let hash = format!("{:032x}", u128::from_le_bytes(file_hash(name)));
        let marks =
            [("config.hash", hash.as_str()), ("config.mirror", &hash), ("config.source", "file")]
                .map(|(mark, value)| (format!("kubernetes.io/{mark}"), value.to_string()));
        pod.metadata.annotations = Some(base::order::map(marks));
        pod.metadata.owner_references = Some(vec![controller_ref(node)]);
        let mut container =
            Container { name: name.to_string(), image: Some(image), ..Container::default() };
        container.image_pull_policy = Some("IfNotPresent".to_string());
        let requests = [("cpu".to_string(), kube_api::quantity_object(cpu))];
        container.resources.get_or_insert_default().requests = Some(base::order::map(requests));
        let everything = Toleration {
            operator: Some("Exists".to_string()),
            effect: Some("NoExecute".to_string()),
            ..Toleration::default()
        };
        pod.spec = Some(PodSpec {
            containers: vec![container],
            host_network: Some(true),
            node_name: Some(node_name.clone()),
            priority_class_name: Some("system-node-critical".to_string()),
            tolerations: Some(vec![everything]),
            ..PodSpec::default()
        });
        api.create_typed(pod, now).expect("a new control plane has no Pods");
    }
}

/// Stands for the hash of a static Pod's file.
fn file_hash(name: &str) -> [u8; 16] {
    use sha2::{Digest, Sha256};
    let mut hash = [0; 16];
    hash.iter_mut().zip(Sha256::digest(name)).for_each(|(to, from)| *to = from);
    hash
}
