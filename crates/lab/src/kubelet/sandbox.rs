//! What all containers of a Pod share: its network namespace, its names, and the files that say so
//! (`pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/network/dns`).

use std::net::Ipv4Addr;

use base::Duration;
use base::Items as _;
use controllers::events::Severity;
use kube_api::MetaExt;
use kube_api::core::Pod;
use netsim::{IfId, NsId};
use serde_json::Value;

use super::Job;
use super::worker::json;
use crate::cni;
use crate::place::pod_ns_name;

/// What all containers of a Pod share.
#[derive(Clone, Copy)]
pub(super) struct Sandbox {
    pub ns: NsId,
    pub ip: Ipv4Addr,
    /// A namespace of its own; else the node's.
    pub is_own: bool,
    #[allow(dead_code, reason = "the map draws the cable")]
    pub veth: Option<IfId>,
}

/// The domain of all clusters here.
const DOMAIN: &str = "cluster.local";

pub(super) fn is_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true)
}

impl Job<'_> {
    /// Gives the Pod its network. `false`: it could not be had, and will be tried again.
    pub(super) fn start_sandbox(&mut self) -> bool {
        if self.worker.sandbox.is_some() {
            return true;
        }
        if is_host_network(&self.pod) {
            let (ns, ip) = (self.info.ns, self.info.node_ip);
            self.worker.sandbox = Some(Sandbox { ns, ip, is_own: false, veth: None });
            return true;
        }
        let Some(ip) = self.ipam.take() else {
            let message = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox: plugin type=\"ptp\" failed (add): failed to allocate for range 0: no IP addresses available in range set";
            self.tell_pod(Severity::Warning, "FailedCreatePodSandBox", message);
            self.worker.retry = Some(self.now + Duration::from_secs(12));
            return false;
        };
        let name = pod_ns_name(&self.info.cluster, &self.key.0, &self.key.1);
        let ns = self.net.add_namespace(&name);
        let veth = cni::add_pod(self.net, self.info.ns, ns, &name, ip, self.ipam);
        self.worker.sandbox = Some(Sandbox { ns, ip, is_own: true, veth: Some(veth) });
        true
    }

    /// Ends what still runs, and takes the Pod's network away.
    pub(super) fn take_down_sandbox(&mut self) {
        for container in &mut self.worker.containers {
            container.kill();
        }
        if let Some(Sandbox { ns, ip, is_own: true, .. }) = self.worker.sandbox.take() {
            self.net.remove_namespace(ns);
            self.ipam.give_back(ip);
        }
    }
}

/// The Pod's host name, and its full name where it has a subdomain.
pub(super) fn hostname(pod: &Pod, node: &str) -> (String, Option<String>) {
    if is_host_network(pod) {
        return (node.to_string(), None);
    }
    let spec = pod.spec.as_ref();
    let name = spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let mut name = name.unwrap_or_else(|| pod.metadata.name().to_string());
    // A host name has 63 characters at most (`truncatePodHostnameIfNeeded`).
    if name.len() > 63 {
        name = name.get(..63).unwrap_or_default().trim_end_matches(['-', '.']).to_string();
    }
    let subdomain = spec.and_then(|spec| spec.subdomain.as_deref()).filter(|name| !name.is_empty());
    let full = subdomain
        .map(|subdomain| format!("{name}.{subdomain}.{}.svc.{DOMAIN}", pod.metadata.namespace()));
    let uses_full =
        spec.and_then(|spec| json(spec, "/setHostnameAsFQDN")) == Some(Value::Bool(true));
    match &full {
        Some(long) if uses_full => (long.clone(), full),
        _ => (name, full),
    }
}

/// What a Pod's `/etc/hosts` says.
pub(super) fn hosts_file(pod: &Pod, node: &str, ip: Ipv4Addr) -> String {
    let whose = if is_host_network(pod) { " (host network)" } else { "" };
    let mut text = format!(
        "# Kubernetes-managed hosts file{whose}.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
    );
    let (name, full) = hostname(pod, node);
    match full.filter(|full| *full != name) {
        Some(full) => text.push_str(&format!("{ip}\t{full}\t{name}\n")),
        None => text.push_str(&format!("{ip}\t{name}\n")),
    }
    let aliases = pod.spec.as_ref().and_then(|spec| json(spec, "/hostAliases"));
    let aliases = aliases.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let ip = alias.get("ip").and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!("{ip}\t{}\n", words(alias.get("hostnames"), "\t")));
    }
    text
}

fn words(list: Option<&Value>, between: &str) -> String {
    let words = list.and_then(Value::as_array).items();
    words.filter_map(Value::as_str).collect::<Vec<&str>>().join(between)
}

/// Who answers a node's questions: your machine, as Docker's resolver does in kind.
const NODE_DNS: &str = "172.18.0.1";

/// What a Pod's `/etc/resolv.conf` says (`pkg/kubelet/network/dns/dns.go`).
pub(super) fn resolv_conf(pod: &Pod, dns: Option<Ipv4Addr>) -> String {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let (mut servers, mut search, mut options) = (String::new(), String::new(), String::new());
    match (policy, dns) {
        ("None", _) => {}
        ("ClusterFirst", Some(dns)) if !is_host_network(pod) => {
            (servers, search, options) = cluster_first(pod, dns);
        }
        ("ClusterFirstWithHostNet", Some(dns)) => {
            (servers, search, options) = cluster_first(pod, dns);
        }
        _ => {
            servers = NODE_DNS.to_string();
            options = "ndots:0".to_string();
        }
    }
    let config = spec.and_then(|spec| json(spec, "/dnsConfig")).unwrap_or_default();
    add_new(&mut servers, &words(config.get("nameservers"), " "));
    add_new(&mut search, &words(config.get("searches"), " "));
    for option in config.get("options").and_then(Value::as_array).items() {
        let name = option.get("name").and_then(Value::as_str).unwrap_or_default();
        let value = option.get("value").and_then(Value::as_str);
        let text = value.map_or_else(|| name.to_string(), |value| format!("{name}:{value}"));
        // The Pod's own value replaces the one that was there.
        let others = options.split_whitespace();
        let others = others.filter(|known| known.split(':').next() != Some(name));
        options = others.chain([text.as_str()]).collect::<Vec<&str>>().join(" ");
    }
    let mut text = String::new();
    if !search.is_empty() {
        text.push_str(&format!("search {search}\n"));
    }
    for server in servers.split_whitespace() {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {options}\n"));
    }
    text
}

fn cluster_first(pod: &Pod, dns: Ipv4Addr) -> (String, String, String) {
    let search = format!("{}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}", pod.metadata.namespace());
    (dns.to_string(), search, "ndots:5".to_string())
}

/// Adds the words that are not there yet.
fn add_new(list: &mut String, more: &str) {
    for word in more.split_whitespace() {
        if !list.split_whitespace().any(|known| known == word) {
            if !list.is_empty() {
                list.push(' ');
            }
            list.push_str(word);
        }
    }
}
