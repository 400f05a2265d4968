//! `/etc/resolv.conf` and `/etc/hosts`: of nodes and your machine as Docker and systemd write them, of Pods as
//! the kubelet does (`pkg/kubelet/network/dns`, `pkg/kubelet/kubelet_pods.go`).

use std::net::Ipv4Addr;

use kube_api::MetaExt;
use kube_api::core::Pod;
use programs::dns::{Flavour, ResolvConf, Resolver};
use programs::resolve::Names;
use serde_json::Value;

use super::records::DOMAIN;

/// Your machine asks its own service.
pub(crate) const MACHINE_RESOLV: &str = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n";
/// A node asks Docker, by way of your machine.
pub(crate) const NODE_RESOLV: &str = "nameserver 172.18.0.1\noptions ndots:0\n";

/// What every machine's file begins with.
const HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";

/// The file of your machine.
pub(crate) fn machine_hosts() -> String {
    HOSTS.to_string()
}

/// The file of a node: Docker adds its container's own name.
pub(crate) fn node_hosts(name: &str, ip: Ipv4Addr) -> String {
    format!("{HOSTS}{ip}\t{name}\n")
}

fn is_on_host(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true)
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let all = value.and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_string).collect()
}

/// The file of a Pod.
pub(crate) fn pod_hosts(pod: &Pod, ip: Ipv4Addr, host: &str) -> String {
    let on_host = if is_on_host(pod) { " (host network)" } else { "" };
    let mut text = format!("# Kubernetes-managed hosts file{on_host}.\n{HOSTS}");
    // Where the host name is the full one (`setHostnameAsFQDN`), the file has the short one, too.
    let host = if is_on_host(pod) { host } else { host.split('.').next().unwrap_or(host) };
    let subdomain = pod.spec.as_ref().and_then(|spec| spec.subdomain.as_deref());
    if let Some(subdomain) = subdomain.filter(|subdomain| !subdomain.is_empty() && !is_on_host(pod))
    {
        let namespace = pod.metadata.namespace();
        text.push_str(&format!("{ip}\t{host}.{subdomain}.{namespace}.svc.{DOMAIN}\t{host}\n"));
    } else {
        text.push_str(&format!("{ip}\t{host}\n"));
    }
    let aliases = pod.spec.as_ref().and_then(|spec| spec.rest.get("hostAliases"));
    let aliases = aliases.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let ip = alias.get("ip").and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!("{ip}\t{}\n", strings(alias.get("hostnames")).join("\t")));
    }
    text
}

/// The file of a Pod, by its `dnsPolicy` and `dnsConfig`.
pub(crate) fn pod_resolv(pod: &Pod, cluster_dns: Option<Ipv4Addr>) -> String {
    let policy = pod.spec.as_ref().and_then(|spec| spec.dns_policy.as_deref());
    let node = || {
        let conf = ResolvConf::parse(NODE_RESOLV);
        let servers: Vec<String> = conf.nameservers.iter().map(Ipv4Addr::to_string).collect();
        (servers, Vec::new(), vec!["ndots:0".to_string()])
    };
    let (mut servers, mut search, mut options) = match policy {
        Some("None") => Default::default(),
        Some("Default") => node(),
        // Only with the longer policy does a Pod on the node's own network ask the cluster.
        Some("ClusterFirst") | None if is_on_host(pod) => node(),
        _ => {
            let namespace = pod.metadata.namespace();
            let search = [format!("{namespace}.svc."), "svc.".to_string(), String::new()];
            let servers = cluster_dns.iter().map(Ipv4Addr::to_string).collect();
            let search = search.map(|part| format!("{part}{DOMAIN}")).to_vec();
            (servers, search, vec!["ndots:5".to_string()])
        }
    };
    let config = pod.spec.as_ref().and_then(|spec| spec.rest.get("dnsConfig"));
    let given = |name: &str| config.and_then(|config| config.get(name));
    add_new(&mut servers, strings(given("nameservers")));
    add_new(&mut search, strings(given("searches")));
    for option in given("options").and_then(Value::as_array).into_iter().flatten() {
        let name = option.get("name").and_then(Value::as_str).unwrap_or_default();
        options.retain(|known: &String| known.split(':').next() != Some(name));
        options.push(match option.get("value").and_then(Value::as_str) {
            Some(value) if !value.is_empty() => format!("{name}:{value}"),
            _ => name.to_string(),
        });
    }
    let mut text = String::new();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    servers.iter().for_each(|server| text.push_str(&format!("nameserver {server}\n")));
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

fn add_new(to: &mut Vec<String>, more: Vec<String>) {
    for one in more {
        if !to.contains(&one) {
            to.push(one);
        }
    }
}

/// How programs of your machine and of nodes ask for names.
pub(crate) fn resolver_of(hosts: &str, resolv: &str) -> Resolver {
    Resolver {
        names: Names::parse(hosts),
        conf: ResolvConf::parse(resolv),
        flavour: Flavour::Glibc,
        asks_both: true,
        udp_size: None,
    }
}
