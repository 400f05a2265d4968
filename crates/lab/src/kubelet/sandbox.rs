//! What all containers of a Pod share: its network namespace and its host name
//! (`pkg/kubelet/kubelet_pods.go`).

use std::net::Ipv4Addr;

use base::Duration;
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

/// The Pod's host name: its own, or the full one where it wants that.
pub(super) fn hostname(pod: &Pod, node: &str) -> String {
    if is_host_network(pod) {
        return node.to_string();
    }
    let spec = pod.spec.as_ref();
    let name = spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let mut name = name.unwrap_or_else(|| pod.metadata.name().to_string());
    // A host name has 63 characters at most (`truncatePodHostnameIfNeeded`).
    if name.len() > 63 {
        name = name.get(..63).unwrap_or_default().trim_end_matches(['-', '.']).to_string();
    }
    let uses_full =
        spec.and_then(|spec| json(spec, "/setHostnameAsFQDN")) == Some(Value::Bool(true));
    let subdomain = spec.and_then(|spec| spec.subdomain.as_deref()).filter(|name| !name.is_empty());
    match subdomain {
        Some(subdomain) if uses_full => {
            format!("{name}.{subdomain}.{}.svc.{DOMAIN}", pod.metadata.namespace())
        }
        _ => name,
    }
}
