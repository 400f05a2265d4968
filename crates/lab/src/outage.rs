//! Nodes that fail and come back, and the heartbeats by which that is noticed.
//!
//! Heartbeats are not written down while they come (`controllers::nodelifecycle`); who looks at leases and
//! nodes has the last ones filled in first ([`Cluster::beat`]).

use base::{Duration, Instant};
use controllers::events::{self, Severity};
use kube_api::AnyObject;
use kube_api::core::{EventSource, Node};
use kube_api::object::{micro_time, time};
use netsim::Fault;
use netsim::fault::{Direction, Port};
use serde_json::json;

use crate::cluster::Cluster;
use crate::journal::Topic;
use crate::kind::Role;
use crate::kubelet::Surroundings;
use crate::node::{NodeRuntime, conditions};
use crate::world::Lab;

/// How often a lease is renewed (`nodeLeaseDurationSeconds` / 4).
const RENEW: Duration = Duration::from_secs(10);
/// How often a node's status is sent when nothing in it changes (`nodeStatusReportFrequency`).
const REPORT: Duration = Duration::from_secs(300);

/// What can happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It is switched off: all that ran there ends.
    Power,
    /// Its cable is cut: what runs there goes on, and nobody hears of it.
    Network,
    /// Its kubelet has stopped: its Pods go on and are still reached.
    Kubelet,
}

impl Outage {
    /// By its name in commands.
    pub fn parse(name: &str) -> Option<Outage> {
        Some(match name {
            "node-down" => Outage::Power,
            "node-cut" => Outage::Network,
            "kubelet-stop" => Outage::Kubelet,
            _ => return None,
        })
    }

    fn words(self, is_on: bool) -> &'static str {
        match (self, is_on) {
            (Outage::Power, true) => "switched off",
            (Outage::Power, false) => "switched on",
            (Outage::Network, true) => "cut off from the network",
            (Outage::Network, false) => "connected to the network again",
            (Outage::Kubelet, true) => "kubelet stopped",
            (Outage::Kubelet, false) => "kubelet started",
        }
    }

    fn fault(self, node: &str) -> Option<Fault> {
        match self {
            Outage::Power => Some(Fault::PowerOff(node.to_string())),
            Outage::Network => {
                let port = Port { ns: node.to_string(), iface: "eth0".to_string() };
                Some(Fault::Cut(port, Direction::Both))
            }
            Outage::Kubelet => None,
        }
    }
}

/// Why a node cannot be taken down or brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutageError {
    /// There is no such node.
    NoNode(String),
    /// Without its control plane nothing here could go on.
    ControlPlane(String),
    /// It is so already; or something else has happened to it.
    AsItIs,
}

impl std::fmt::Display for OutageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OutageError::NoNode(node) => write!(f, "there is no node {node:?}"),
            OutageError::ControlPlane(node) => {
                write!(f, "taking down the control plane ({node}) is not supported by podwire")
            }
            OutageError::AsItIs => f.write_str("it is so already"),
        }
    }
}

impl Lab {
    /// Something happens to a node, or is over.
    pub fn set_outage(&self, node: &str, outage: Outage, is_on: bool) -> Result<(), OutageError> {
        let now = self.now();
        self.with_clusters(|clusters, journal| {
            let cluster = clusters.values_mut().find(|cluster| cluster.node(node).is_some());
            let cluster = cluster.ok_or_else(|| OutageError::NoNode(node.to_string()))?;
            cluster.set_outage(node, outage, is_on, now)?;
            journal.note(now, Topic::World, node, outage.words(is_on).to_string());
            Ok(())
        })
    }
}

/// The last of the times since `first`, one every `step`, that is not after `now`.
fn last_beat(first: Instant, step: Duration, now: Instant) -> Instant {
    let turns = now.since(first).as_secs() / step.as_secs();
    first + Duration::from_secs(turns * step.as_secs())
}

impl Cluster {
    fn set_outage(
        &mut self,
        name: &str,
        outage: Outage,
        is_on: bool,
        now: Instant,
    ) -> Result<(), OutageError> {
        let Some(node) = self.nodes.get_mut(name) else {
            return Err(OutageError::NoNode(name.to_string()));
        };
        if node.role == Role::ControlPlane && outage != Outage::Kubelet {
            return Err(OutageError::ControlPlane(name.to_string()));
        }
        let wanted = if is_on { None } else { Some(outage) };
        if node.outage != wanted {
            return Err(OutageError::AsItIs);
        }
        if let Some(fault) = outage.fault(name) {
            let done =
                if is_on { self.net.apply_fault(fault) } else { self.net.heal_fault(&fault) };
            done.map_err(|_| OutageError::AsItIs)?;
        }
        if outage == Outage::Power {
            node.switched = now;
        }
        if is_on {
            node.outage = Some(outage);
            let silent = last_beat(node.joined, RENEW, now);
            node.silent = Some(silent);
            self.control_plane.set_silent(name, Some(silent));
        } else {
            node.outage = None;
            node.silent = None;
            self.control_plane.set_silent(name, None);
        }
        self.stop_parts(name, outage, is_on, now);
        self.wake(now);
        Ok(())
    }

    fn stop_parts(&mut self, name: &str, outage: Outage, is_on: bool, now: Instant) {
        let Cluster { nodes, api, net, inbox, .. } = self;
        let Some(node) = nodes.get_mut(name) else { return };
        if outage != Outage::Kubelet {
            node.proxy.set_stopped(is_on, now);
        }
        let mut around = Surroundings { api, net, inbox, now };
        match (outage, is_on) {
            (Outage::Power, true) => node.kubelet.lose_power(),
            (_, true) => node.kubelet.set_stopped(true, now),
            (Outage::Power, false) => node.kubelet.start_again(&mut around),
            (_, false) => {
                node.kubelet.set_stopped(false, now);
                for report in node.kubelet.take_held() {
                    node.kubelet.report(report, &mut around);
                }
            }
        }
        if !is_on {
            self.register(name, outage, now);
            self.post_ready(name, outage, now);
        }
    }

    /// A kubelet that begins makes its node known if nobody knows it (any more), and at no other time.
    fn register(&mut self, name: &str, outage: Outage, now: Instant) {
        let Some(node) = self.nodes.get(name).filter(|_| outage != Outage::Network) else { return };
        let (object, joined) = (node.object.clone(), node.joined);
        // Who is known already stays as it is.
        if self.api.create_typed(object, now).is_ok() {
            self.renew_lease(name, last_beat(joined, RENEW, now), now);
        }
    }

    /// The kubelet posts its status again.
    fn post_ready(&mut self, name: &str, outage: Outage, now: Instant) {
        let Some(before) = self.api.store().get::<Node>("", name).cloned() else { return };
        let from =
            || EventSource { component: Some("kubelet".to_string()), host: Some(name.to_string()) };
        let about = events::reference(&*before);
        if outage != Outage::Network {
            let about = about.clone();
            events::record(
                &mut self.api,
                now,
                about,
                Severity::Normal,
                "Starting",
                "Starting kubelet.",
                from(),
            );
        }
        let mut was_lost = false;
        self.api.modify::<Node>("", name, |node| {
            let status = node.status.get_or_insert_default();
            let old = status.conditions.take().unwrap_or_default();
            let mut new = conditions(now);
            for condition in &mut new {
                let before = old.iter().find(|old| old.type_ == condition.type_);
                match before.filter(|before| before.status == condition.status) {
                    Some(before) => condition.last_transition_time = before.last_transition_time,
                    None => was_lost = true,
                }
            }
            status.conditions = Some(new);
        });
        if was_lost {
            let message = format!("Node {name} status is now: NodeReady");
            let api = &mut self.api;
            events::record(api, now, about, Severity::Normal, "NodeReady", &message, from());
        }
    }

    /// Writes down the heartbeats that have come until now: leases, and the times in the nodes' conditions.
    pub fn beat(&mut self, now: Instant) {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in names {
            let Some(node) = self.nodes.get(&name) else { continue };
            let until = node.silent.unwrap_or(now);
            let (lease, report) =
                (last_beat(node.joined, RENEW, until), last_beat(node.joined, REPORT, until));
            self.renew_lease(&name, lease, now);
            self.api.modify::<Node>("", &name, |node| {
                let all = node.status.iter_mut().flat_map(|status| status.conditions.iter_mut());
                for condition in all.flatten() {
                    let stamp = Some(time(report));
                    condition.last_heartbeat_time = condition.last_heartbeat_time.max(stamp);
                }
            });
        }
    }

    pub(crate) fn renew_lease(&mut self, name: &str, at: Instant, now: Instant) {
        const SPACE: &str = "kube-node-lease";
        let Some(info) = self.api.store().kinds().find("coordination.k8s.io/v1", "Lease") else {
            return;
        };
        let id = info.id;
        let Some(node) = self.api.store().get::<Node>("", name).cloned() else { return };
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": name,
                "namespace": SPACE,
                "ownerReferences": [{
                    "apiVersion": "v1",
                    "kind": "Node",
                    "name": name,
                    "uid": node.metadata.uid,
                }],
            },
            "spec": {
                "holderIdentity": name,
                "leaseDurationSeconds": 40,
                "renewTime": kube_api::types::to_value(&micro_time(at)),
            },
        });
        let Ok(lease) = self.api.object(id, lease) else { return };
        // What is there already is only renewed.
        let _ = match self.api.store().get_any(id, SPACE, name).map(AnyObject::kind) {
            Some(_) => self.api.update(lease),
            None => self.api.create(lease, now),
        };
    }
}

/// Whether a node's container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Power {
    /// When the container was made.
    pub made: Instant,
    /// Since when it has been as it is.
    pub since: Instant,
    /// It does not run.
    pub is_off: bool,
}

impl NodeRuntime {
    /// Whether its container runs.
    pub fn power(&self) -> Power {
        let is_off = self.outage == Some(Outage::Power);
        Power { made: self.joined, since: self.switched, is_off }
    }

    /// What is wrong with it.
    pub fn outage(&self) -> Option<Outage> {
        self.outage
    }
}
