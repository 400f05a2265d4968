//! kind's configuration: `kind: Cluster` of `kind.x-k8s.io/v1alpha4`.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

mod patches;

use std::fmt;
use std::net::Ipv4Addr;

use kube_api::node::{Node, NodeKind};
use kube_api::yaml;
use kube_proxy::Mode;
use netsim::Cidr;

pub use patches::{NodePortAddress, ProxyOptions};

/// What a node is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Runs the API server and its companions.
    #[default]
    ControlPlane,
    /// Runs Pods.
    Worker,
}

/// A port of a node that is published on your machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// The node's port.
    pub container_port: u16,
    /// Your machine's port.
    pub host_port: u16,
    /// Your machine's address; the unspecified address stands for all of them.
    pub listen_address: Ipv4Addr,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// A node of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeConfig {
    /// What it is for.
    pub role: Role,
    /// Its image.
    pub image: Option<String>,
    /// Labels of the Node object.
    pub labels: Vec<(String, String)>,
    /// Ports published on your machine, from the creation of the cluster on and only then.
    pub port_mappings: Vec<PortMapping>,
}

/// A cluster as kind is told to make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindConfig {
    /// Its name.
    pub name: Option<String>,
    /// Its nodes.
    pub nodes: Vec<NodeConfig>,
    /// Where Pods have their addresses.
    pub pod_subnet: Cidr,
    /// Where Services have theirs.
    pub service_subnet: Cidr,
    /// What kube-proxy writes its rules for.
    pub proxy_mode: Mode,
    /// How it does that.
    pub proxy: ProxyOptions,
    /// Options that are accepted and have no effect here, by their path.
    pub without_effect: Vec<String>,
}

impl Default for KindConfig {
    /// One node.
    fn default() -> Self {
        KindConfig {
            name: None,
            nodes: vec![NodeConfig::default()],
            pod_subnet: Cidr::new(Ipv4Addr::new(10, 244, 0, 0), 16),
            service_subnet: Cidr::new(Ipv4Addr::new(10, 96, 0, 0), 16),
            proxy_mode: Mode::default(),
            proxy: ProxyOptions::default(),
            without_effect: Vec::new(),
        }
    }
}

impl KindConfig {
    /// The cluster of a new lab: a control plane with port 30007 published, and two workers.
    pub fn of_a_new_lab() -> KindConfig {
        let mapping = PortMapping {
            container_port: 30007,
            host_port: 30007,
            listen_address: Ipv4Addr::UNSPECIFIED,
            protocol: "TCP".to_string(),
        };
        let control_plane = NodeConfig { port_mappings: vec![mapping], ..NodeConfig::default() };
        let worker = NodeConfig { role: Role::Worker, ..NodeConfig::default() };
        KindConfig { nodes: vec![control_plane, worker.clone(), worker], ..KindConfig::default() }
    }
}

/// Why a configuration is refused, in kind's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KindError {
    /// Not YAML.
    Yaml(String),
    /// Fields that there are not, or values of the wrong type.
    Decode(Vec<String>),
    /// Not a cluster's configuration, or not of a version that there is.
    WrongKind {
        /// `apiVersion`
        api_version: String,
        /// `kind`
        kind: String,
    },
    /// Well-formed, but not possible.
    Invalid(String),
    /// There is a cluster of this name.
    Exists(String),
    /// Another container has published this port.
    PortTaken {
        /// The cluster's name.
        cluster: String,
        /// The node's name.
        node: String,
        /// Where.
        address: Ipv4Addr,
        /// Which.
        port: u16,
    },
}

impl fmt::Display for KindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ERROR: failed to create cluster: ")?;
        match self {
            KindError::Yaml(message) => write!(f, "unable to decode config: yaml: {message}"),
            KindError::Decode(problems) => {
                f.write_str("unable to decode config: yaml: unmarshal errors:")?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
            KindError::WrongKind { api_version, kind } => {
                write!(f, "unknown apiVersion: {api_version} or kind: {kind}")
            }
            KindError::Invalid(message) => f.write_str(message),
            KindError::Exists(name) => {
                write!(f, "node(s) already exist for a cluster with the name {name:?}")
            }
            KindError::PortTaken { cluster, node, address, port } => write!(
                f,
                "command \"docker run --name {node} --hostname {node} --label io.x-k8s.kind.cluster={cluster} …\" failed with error: exit status 125\nCommand Output: docker: Error response from daemon: failed to set up container networking: driver failed programming external connectivity on endpoint {node}: Bind for {address}:{port} failed: port is already allocated"
            ),
        }
    }
}

/// Reads a configuration file.
pub fn parse(text: &str) -> Result<KindConfig, KindError> {
    let mut documents = yaml::documents(text).into_iter();
    let content = documents.next().map(|document| document.content);
    let node = match content {
        None | Some(Ok(None)) => return Ok(KindConfig::default()),
        Some(Err(error)) => return Err(KindError::Yaml(error.message)),
        Some(Ok(Some(node))) => node,
    };
    let text = |field: &str| node.get(field).and_then(Node::as_str).unwrap_or_default().to_string();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version != "kind.x-k8s.io/v1alpha4" || kind != "Cluster" {
        return Err(KindError::WrongKind { api_version, kind });
    }
    let mut reader = Reader::default();
    let config = reader.cluster(&node);
    if !reader.problems.is_empty() {
        return Err(KindError::Decode(reader.problems));
    }
    if let Some(problem) = reader.invalid {
        return Err(KindError::Invalid(problem));
    }
    validate(&config)?;
    Ok(config)
}

fn validate(config: &KindConfig) -> Result<(), KindError> {
    let has_control_plane = config.nodes.iter().any(|node| node.role == Role::ControlPlane);
    if !has_control_plane {
        let message = "invalid configuration: must have at least one control-plane node";
        return Err(KindError::Invalid(message.to_string()));
    }
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if let Some(name) = config.name.as_ref().filter(|name| !name.chars().all(is_name)) {
        let message = format!(
            "'{name}' is not a valid cluster name, cluster names must match `^[a-z0-9.-]+$`"
        );
        return Err(KindError::Invalid(message));
    }
    Ok(())
}

#[derive(Default)]
struct Reader {
    problems: Vec<String>,
    /// Well-formed, but not a value that there is.
    invalid: Option<String>,
    proxy: ProxyOptions,
    without_effect: Vec<String>,
}

impl Reader {
    fn unknown(&mut self, line: u32, field: &str, ty: &str) {
        self.problems.push(format!("line {line}: field {field} not found in type {ty}"));
    }

    fn wrong(&mut self, node: &Node, ty: &str) {
        let (tag, shown) = match &node.kind {
            NodeKind::Map(_) => ("!!map", String::new()),
            NodeKind::List(_) => ("!!seq", String::new()),
            NodeKind::String(text) => ("!!str", format!(" `{text}`")),
            NodeKind::Number(number) => ("!!int", format!(" `{number}`")),
            NodeKind::Bool(value) => ("!!bool", format!(" `{value}`")),
            NodeKind::Null => return,
        };
        let line = node.mark.line;
        self.problems.push(format!("line {line}: cannot unmarshal {tag}{shown} into {ty}"));
    }

    /// The entries of a map, or none and a problem.
    fn entries<'a>(&mut self, node: &'a Node, ty: &str) -> Vec<(&'a str, u32, &'a Node)> {
        match &node.kind {
            NodeKind::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.name.as_str(), key.mark.line, value))
                .collect(),
            _ => {
                self.wrong(node, ty);
                Vec::new()
            }
        }
    }

    fn items<'a>(&mut self, node: &'a Node, ty: &str) -> &'a [Node] {
        match &node.kind {
            NodeKind::List(items) => items,
            _ => {
                self.wrong(node, ty);
                &[]
            }
        }
    }

    fn text(&mut self, node: &Node) -> Option<String> {
        match &node.kind {
            NodeKind::String(text) => Some(text.clone()),
            NodeKind::Null => None,
            _ => {
                self.wrong(node, "string");
                None
            }
        }
    }

    fn number(&mut self, node: &Node) -> Option<i64> {
        let number = match &node.kind {
            NodeKind::Number(number) => number.as_i64(),
            NodeKind::Null => return None,
            _ => None,
        };
        if number.is_none() {
            self.wrong(node, "int32");
        }
        number
    }

    fn cluster(&mut self, node: &Node) -> KindConfig {
        const IGNORED: [&str; 5] = [
            "kubeadmConfigPatchesJSON6902",
            "containerdConfigPatches",
            "containerdConfigPatchesJSON6902",
            "featureGates",
            "runtimeConfig",
        ];
        let mut config = KindConfig::default();
        for (field, line, value) in self.entries(node, "v1alpha4.Cluster") {
            match field {
                "apiVersion" | "kind" => {}
                "name" => config.name = self.text(value),
                "nodes" => {
                    let items = self.items(value, "[]v1alpha4.Node").iter();
                    let nodes: Vec<NodeConfig> = items.map(|node| self.node(node)).collect();
                    if !nodes.is_empty() {
                        config.nodes = nodes;
                    }
                }
                "networking" => self.networking(value, &mut config),
                "kubeadmConfigPatches" => self.patches(value),
                field if IGNORED.contains(&field) => self.without_effect.push(field.to_string()),
                field => self.unknown(line, field, "v1alpha4.Cluster"),
            }
        }
        config.without_effect = std::mem::take(&mut self.without_effect);
        config.proxy = std::mem::take(&mut self.proxy);
        config
    }

    fn patches(&mut self, node: &Node) {
        for item in self.items(node, "[]string") {
            let Some(text) = self.text(item) else { continue };
            let read = patches::read(&text, &mut self.proxy, &mut self.without_effect);
            if let Err(problem) = read {
                self.invalid = Some(format!("kubeadmConfigPatches: {problem}"));
            }
        }
    }

    fn networking(&mut self, node: &Node, config: &mut KindConfig) {
        const IGNORED: [&str; 5] =
            ["ipFamily", "apiServerPort", "apiServerAddress", "disableDefaultCNI", "dnsSearch"];
        for (field, line, value) in self.entries(node, "v1alpha4.Networking") {
            match field {
                "podSubnet" | "serviceSubnet" => {
                    let Some(text) = self.text(value) else { continue };
                    match text.parse::<Cidr>() {
                        Ok(cidr) if field == "podSubnet" => config.pod_subnet = cidr.network(),
                        Ok(cidr) => config.service_subnet = cidr.network(),
                        Err(_) => self.problems.push(format!(
                            "line {line}: invalid {field}: invalid CIDR address: {text}"
                        )),
                    }
                }
                "kubeProxyMode" => {
                    let Some(text) = self.text(value) else { continue };
                    match Mode::parse(&text) {
                        Some(mode) => config.proxy_mode = mode,
                        None => self.invalid = Some(format!("invalid kubeProxyMode: {text}")),
                    }
                }
                field if IGNORED.contains(&field) => {
                    self.without_effect.push(format!("networking.{field}"));
                }
                field => self.unknown(line, field, "v1alpha4.Networking"),
            }
        }
    }

    fn node(&mut self, node: &Node) -> NodeConfig {
        const IGNORED: [&str; 2] = ["extraMounts", "kubeadmConfigPatchesJSON6902"];
        let mut config = NodeConfig::default();
        for (field, line, value) in self.entries(node, "v1alpha4.Node") {
            match field {
                "role" => match self.text(value).as_deref() {
                    Some("control-plane") | None => config.role = Role::ControlPlane,
                    Some("worker") => config.role = Role::Worker,
                    Some(other) => {
                        let problem = format!("line {line}: {other:?} is not a valid node role");
                        self.problems.push(problem);
                    }
                },
                "image" => config.image = self.text(value),
                "kubeadmConfigPatches" => self.patches(value),
                "labels" => {
                    for (key, _, value) in self.entries(value, "map[string]string") {
                        let text = self.text(value).unwrap_or_default();
                        config.labels.push((key.to_string(), text));
                    }
                }
                "extraPortMappings" => {
                    let items = self.items(value, "[]v1alpha4.PortMapping").iter();
                    config.port_mappings = items.filter_map(|item| self.mapping(item)).collect();
                }
                field if IGNORED.contains(&field) => {
                    self.without_effect.push(format!("nodes[].{field}"));
                }
                field => self.unknown(line, field, "v1alpha4.Node"),
            }
        }
        config
    }

    fn mapping(&mut self, node: &Node) -> Option<PortMapping> {
        let (mut container_port, mut host_port) = (None, None);
        let mut listen_address = Ipv4Addr::UNSPECIFIED;
        let mut protocol = "TCP".to_string();
        for (field, line, value) in self.entries(node, "v1alpha4.PortMapping") {
            match field {
                "containerPort" => container_port = self.number(value),
                "hostPort" => host_port = self.number(value),
                "listenAddress" => {
                    let text = self.text(value).unwrap_or_default();
                    match text.parse() {
                        Ok(addr) => listen_address = addr,
                        Err(_) => self
                            .problems
                            .push(format!("line {line}: invalid listenAddress {text:?}")),
                    }
                }
                "protocol" => {
                    let text = self.text(value).unwrap_or_default();
                    match text.as_str() {
                        "TCP" | "UDP" | "SCTP" => protocol = text,
                        other => self.problems.push(format!(
                            "line {line}: {other:?} is not a valid port mapping protocol"
                        )),
                    }
                }
                field => self.unknown(line, field, "v1alpha4.PortMapping"),
            }
        }
        let port = |number: Option<i64>| number.and_then(|number| u16::try_from(number).ok());
        let Some(container_port) = port(container_port).filter(|port| *port != 0) else {
            let line = node.mark.line;
            self.problems.push(format!("line {line}: invalid containerPort, must be 1-65535"));
            return None;
        };
        // 0 and -1: any port that is free.
        let host_port = match host_port {
            None | Some(-1) => Some(0),
            Some(number) => port(Some(number)),
        };
        let Some(host_port) = host_port else {
            let line = node.mark.line;
            self.problems.push(format!("line {line}: invalid hostPort, must be 0-65535"));
            return None;
        };
        Some(PortMapping { container_port, host_port, listen_address, protocol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: Expect) {
        let shown = match parse(text) {
            Ok(config) => format!("{config:#?}"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    const HEAD: &str = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n";

    #[test]
    fn the_configuration_of_the_story() {
        let text = "
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
  extraPortMappings:
  - containerPort: 30007
    hostPort: 30007
- role: worker
- role: worker
";
        assert_eq!(parse(text), Ok(KindConfig::of_a_new_lab()));
        assert_eq!(parse(""), Ok(KindConfig::default()));
    }

    #[test]
    fn mistakes_in_kind_s_words() {
        check(
            &format!("{HEAD}node: []\n"),
            expect![[r#"
            ERROR: failed to create cluster: unable to decode config: yaml: unmarshal errors:
              line 3: field node not found in type v1alpha4.Cluster"#]],
        );
        check(
            &format!("{HEAD}nodes:\n- role: worker\n"),
            expect![
                "ERROR: failed to create cluster: invalid configuration: must have at least one control-plane node"
            ],
        );
        check(
            &format!("{HEAD}nodes:\n- role: boss\n  extraPortMapping: []\n"),
            expect![[r#"
            ERROR: failed to create cluster: unable to decode config: yaml: unmarshal errors:
              line 4: "boss" is not a valid node role
              line 5: field extraPortMapping not found in type v1alpha4.Node"#]],
        );
        check(
            &format!("{HEAD}nodes:\n- extraPortMappings:\n  - containerPort: http\n"),
            expect![[r#"
                ERROR: failed to create cluster: unable to decode config: yaml: unmarshal errors:
                  line 5: cannot unmarshal !!str `http` into int32
                  line 5: invalid containerPort, must be 1-65535"#]],
        );
        check(
            "kind: Pod\napiVersion: v1\n",
            expect!["ERROR: failed to create cluster: unknown apiVersion: v1 or kind: Pod"],
        );
        check(
            &format!("{HEAD}name: My_Cluster\n"),
            expect![
                "ERROR: failed to create cluster: 'My_Cluster' is not a valid cluster name, cluster names must match `^[a-z0-9.-]+$`"
            ],
        );
        check(
            &format!("{HEAD}networking: {{podSubnet: nonsense}}\n"),
            expect![[r#"
            ERROR: failed to create cluster: unable to decode config: yaml: unmarshal errors:
              line 3: invalid podSubnet: invalid CIDR address: nonsense"#]],
        );
    }

    #[test]
    fn what_has_no_effect_is_named() {
        let text = format!("{HEAD}featureGates: {{X: true}}\nnetworking: {{dnsSearch: [here]}}\n");
        assert_eq!(parse(&text).unwrap().without_effect, ["featureGates", "networking.dnsSearch"]);
    }

    #[test]
    fn kube_proxy_s_options() {
        let parsed = |options: &str| {
            let patch = format!("kind: KubeProxyConfiguration\n{options}");
            parse(&format!("{HEAD}kubeadmConfigPatches: [{patch:?}]\n"))
        };
        let options = "mode: iptables\niptables: {masqueradeAll: true, masqueradeBit: 10, localhostNodePorts: false}\nnodePortAddresses: [primary, 10.0.0.0/8]\n";
        let config = parsed(options).unwrap();
        let range = NodePortAddress::Range(Cidr::new(Ipv4Addr::new(10, 0, 0, 0), 8));
        let expected = ProxyOptions {
            masquerade_all: true,
            masquerade_bit: Some(10),
            localhost_node_ports: Some(false),
            node_port_addresses: vec![NodePortAddress::Primary, range],
        };
        assert_eq!(config.proxy, expected);
        assert_eq!(config.without_effect, ["kubeadmConfigPatches (KubeProxyConfiguration.mode)"]);
        let error = |options: &str| parsed(options).unwrap_err().to_string();
        expect![[r#"
            ERROR: failed to create cluster: kubeadmConfigPatches: iptables.masqueradeBit: Invalid value: must be within the range [0, 31]
            ERROR: failed to create cluster: kubeadmConfigPatches: nodePortAddresses: Invalid value: "here": must be a valid CIDR
            ERROR: failed to create cluster: kubeadmConfigPatches: iptables.masqueradeAll: must be a boolean"#]]
        .assert_eq(
            &[
                error("iptables: {masqueradeBit: 32}"),
                error("nodePortAddresses: [here]"),
                error("iptables: {masqueradeAll: 1}"),
            ]
            .join("\n"),
        );
    }

    #[test]
    fn kube_proxy_s_mode() {
        let parsed = |mode: &str| parse(&format!("{HEAD}networking: {{kubeProxyMode: {mode}}}\n"));
        assert_eq!(parsed("iptables").unwrap().proxy_mode, Mode::Iptables);
        assert_eq!(parsed("nftables").unwrap().proxy_mode, Mode::Nftables);
        assert_eq!(parsed("ipvs").unwrap().proxy_mode, Mode::Ipvs);
        assert_eq!(parsed("none").unwrap().proxy_mode, Mode::None);
        let error = parsed("ebpf").unwrap_err().to_string();
        assert_eq!(error, "ERROR: failed to create cluster: invalid kubeProxyMode: ebpf");
    }
}
