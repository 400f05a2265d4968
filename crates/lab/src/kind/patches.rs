//! What `kubeadmConfigPatches` say about kube-proxy: `kind: KubeProxyConfiguration`
//! (`pkg/proxy/apis/config/types.go`).

use kube_api::node::{Node, NodeKind};
use kube_api::yaml;
use kube_proxy::ProxyConfig;
use netfilter::rule::AddrMask;
use netsim::Cidr;

/// Options of kube-proxy that have an effect here; what nobody says is as kubeadm has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyOptions {
    /// `iptables.masqueradeAll`: masquerade everything that goes to a cluster IP.
    pub masquerade_all: bool,
    /// `iptables.masqueradeBit`: which bit of the mark asks for masquerading.
    pub masquerade_bit: Option<u8>,
    /// `iptables.localhostNodePorts`: node ports answer on 127.0.0.1.
    pub localhost_node_ports: Option<bool>,
    /// `nodePortAddresses`; `primary` is the node's own address.
    pub node_port_addresses: Vec<NodePortAddress>,
}

/// Addresses of a node that answer on node ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodePortAddress {
    /// Those of a range.
    Range(Cidr),
    /// The address that the node has in the cluster.
    Primary,
}

impl ProxyOptions {
    /// Puts the options into what a node's kube-proxy is told (`NewProxier`).
    pub(crate) fn apply(&self, config: &mut ProxyConfig) {
        config.masquerade_all = self.masquerade_all;
        if let Some(bit) = self.masquerade_bit {
            config.masquerade_bit = bit;
        }
        let ranges = self.node_port_addresses.iter().map(|address| match address {
            NodePortAddress::Range(cidr) => AddrMask::prefix(cidr.addr, cidr.len),
            NodePortAddress::Primary => AddrMask::host(config.node_ip),
        });
        config.node_port_addresses = ranges.collect();
        let is_loopback = |range: &AddrMask| range.addr.is_loopback() || range.mask == 0;
        let has_loopback = config.node_port_addresses.is_empty()
            || config.node_port_addresses.iter().any(is_loopback);
        config.localhost_node_ports = self.localhost_node_ports.unwrap_or(true) && has_loopback;
    }
}

impl ProxyOptions {
    /// Puts the options into the configuration that a cluster keeps of them.
    pub(crate) fn fill_in(&self, text: &str) -> String {
        let or_null = |value: Option<String>| value.unwrap_or_else(|| "null".to_string());
        let addresses = self.node_port_addresses.iter().map(|address| match address {
            NodePortAddress::Range(cidr) => format!("\n    - {cidr}"),
            NodePortAddress::Primary => "\n    - primary".to_string(),
        });
        let addresses: String = addresses.collect();
        text.replace("<masquerade all>", &self.masquerade_all.to_string())
            .replace("<masquerade bit>", &or_null(self.masquerade_bit.map(|bit| bit.to_string())))
            .replace(
                "<localhost node ports>",
                &or_null(self.localhost_node_ports.map(|value| value.to_string())),
            )
            .replace(
                " <node port addresses>",
                &if addresses.is_empty() { " null".to_string() } else { addresses },
            )
    }
}

/// Reads one patch. Gives what it says that is not possible; `without_effect` gets the paths of what has no effect.
pub(super) fn read(
    text: &str,
    options: &mut ProxyOptions,
    without_effect: &mut Vec<String>,
) -> Result<(), String> {
    for document in yaml::documents(text) {
        let Some(node) = document.content.map_err(|error| error.message)? else { continue };
        let kind = node.get("kind").and_then(Node::as_str).unwrap_or_default();
        if kind != "KubeProxyConfiguration" {
            without_effect.push(format!("kubeadmConfigPatches ({kind})"));
            continue;
        }
        for (path, value) in leaves(&node) {
            if !read_option(&path, value, options)? {
                without_effect.push(format!("kubeadmConfigPatches ({kind}.{path})"));
            }
        }
    }
    Ok(())
}

/// The values of a document and of the maps directly in it, by their paths.
fn leaves(node: &Node) -> Vec<(String, &Node)> {
    let NodeKind::Map(entries) = &node.kind else { return Vec::new() };
    let mut leaves = Vec::new();
    for (key, value) in entries {
        match &value.kind {
            NodeKind::Map(inner) => {
                let path = |inner: &str| format!("{}.{inner}", key.name);
                leaves.extend(inner.iter().map(|(key, value)| (path(&key.name), value)));
            }
            _ => leaves.push((key.name.clone(), value)),
        }
    }
    leaves
}

/// `false`: it is no option that has an effect here.
fn read_option(path: &str, value: &Node, options: &mut ProxyOptions) -> Result<bool, String> {
    if matches!(value.kind, NodeKind::Null) {
        return Ok(true);
    }
    match path {
        "kind" | "apiVersion" => {}
        "iptables.masqueradeAll" | "nftables.masqueradeAll" => {
            options.masquerade_all = boolean(path, value)?;
        }
        "iptables.localhostNodePorts" => {
            options.localhost_node_ports = Some(boolean(path, value)?);
        }
        "iptables.masqueradeBit" | "nftables.masqueradeBit" => {
            let number = match &value.kind {
                NodeKind::Number(number) => number.as_i64(),
                _ => None,
            };
            let bit = number.and_then(|bit| u8::try_from(bit).ok()).filter(|bit| *bit < 32);
            let problem = || format!("{path}: Invalid value: must be within the range [0, 31]");
            options.masquerade_bit = Some(bit.ok_or_else(problem)?);
        }
        "nodePortAddresses" => {
            let NodeKind::List(items) = &value.kind else {
                return Err(format!("{path}: must be a list"));
            };
            for item in items {
                let text = item.as_str().unwrap_or_default();
                let problem = || format!("{path}: Invalid value: {text:?}: must be a valid CIDR");
                options.node_port_addresses.push(match text {
                    "primary" => NodePortAddress::Primary,
                    _ => NodePortAddress::Range(text.parse().map_err(|_| problem())?),
                });
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn boolean(path: &str, value: &Node) -> Result<bool, String> {
    match &value.kind {
        NodeKind::Bool(value) => Ok(*value),
        _ => Err(format!("{path}: must be a boolean")),
    }
}
