//! One cluster: its objects, its controllers, its nodes, and the changes that go between them.

use std::collections::VecDeque;

use base::tree::BTreeMap;
use std::net::Ipv4Addr;
use std::rc::Rc;

use base::{Duration, Instant, Rng};
use controllers::ControlPlane;
use controllers::events::{self, Severity};
use controllers::manager::Latencies;
use kube_api::core::{EventSource, Node, Pod, Service};
use kube_api::discovery::EndpointSlice;
use kube_api::networking::Ingress;
use kube_api::{Api, ApiConfig, Change, Kind, KindId, MetaExt};
use kube_proxy::Balancing;
use netsim::exec::Notify;
use netsim::{Cidr, Net, NsId};
use programs::Container;

use crate::dns::ClusterDns;
use crate::journal::{Journal, Topic};
use crate::kind::{KindConfig, KindError, Role};
use crate::kubelet::{Inbox, Surroundings};
use crate::machine::Machine;
use crate::node::{NodeParts, NodeRuntime, node_object};
use crate::proxy::SyncNews;
use crate::world::CommandsSlot;
use crate::{cni, ingress, news, system};

/// How long after the control plane the workers join.
const JOIN: Duration = Duration::from_secs(1);

/// A cluster.
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// What it was made from.
    pub config: KindConfig,
    /// The namespace that kubectl's context of it names.
    pub context_namespace: Option<String>,
    /// Its objects.
    pub api: Api,
    pub(crate) net: Net,
    pub(crate) control_plane: ControlPlane,
    pub(crate) nodes: BTreeMap<String, NodeRuntime>,
    /// Nodes whose containers run, and that are not known to the API server yet.
    joining: VecDeque<(Instant, Joining)>,
    ingress: ingress::Controllers,
    dns: ClusterDns,
    pub(crate) inbox: Inbox,
    /// What Pods show as files.
    config_kinds: Vec<KindId>,
    /// The revision up to which changes have been handed out.
    seen: u64,
    /// When something is to be done without anything changing first.
    due: Option<Instant>,
    changed: Notify,
}

struct Joining {
    runtime: NodeRuntime,
    object: Node,
}

/// A node's container, which runs and belongs to no cluster yet.
struct Created {
    name: String,
    index: usize,
    ns: NsId,
    eth0: netsim::IfId,
    ip: Ipv4Addr,
    pod_cidr: Cidr,
}

impl Cluster {
    /// Makes a cluster on your machine. When that is not possible, nothing is left of it.
    pub(crate) fn create(
        name: &str,
        config: &KindConfig,
        machine: &mut Machine,
        net: &Net,
        balancing: Balancing,
        rng: &Rng,
        commands: &CommandsSlot,
    ) -> Result<Cluster, KindError> {
        let containers = start_containers(name, config, machine, net)?;
        let now = net.now();
        let services = config.service_subnet;
        let api_config =
            ApiConfig { service_network: (services.addr, services.len), ..ApiConfig::default() };
        let rng = rng.fork(&format!("cluster/{name}"));
        let mut cluster = Cluster {
            name: name.to_string(),
            config: config.clone(),
            context_namespace: None,
            api: Api::new(api_config, rng.fork("api")),
            net: net.clone(),
            control_plane: ControlPlane::new(&Latencies::default(), rng.fork("controllers")),
            nodes: BTreeMap::new(),
            joining: VecDeque::new(),
            inbox: Inbox::default(),
            ingress: ingress::Controllers::default(),
            dns: ClusterDns::default(),
            config_kinds: Vec::new(),
            seen: 0,
            due: Some(now),
            changed: Notify::new(net),
        };
        for kind in ["ConfigMap", "Secret"] {
            let found = cluster.api.store().kinds().find("v1", kind).map(|info| info.id);
            cluster.config_kinds.extend(found);
        }
        let is_tainted = config.nodes.iter().any(|node| node.role == Role::Worker);
        let api_server = containers.first().map_or(services.addr, |first| first.ip);
        let mut has_begun = false;
        for container in &containers {
            let Some(node_config) = config.nodes.get(container.index) else { continue };
            let parts = NodeParts {
                name: &container.name,
                config: node_config,
                ns: container.ns,
                eth0: container.eth0,
                ip: container.ip,
                pod_cidr: container.pod_cidr,
                pod_subnet: config.pod_subnet,
                service_subnet: services,
                balancing,
                mode: config.proxy_mode,
                proxy: &config.proxy,
            };
            let mut runtime = NodeRuntime::new(&parts, name, net, &rng);
            runtime.kubelet.set_dns(cluster.dns.clone());
            runtime.kubelet.set_commands(commands.clone());
            system::IMAGES.iter().for_each(|image| runtime.kubelet.preload(image));
            let is_control_plane = node_config.role == Role::ControlPlane;
            let object = node_object(&parts, is_control_plane && is_tainted, now);
            let joining = Joining { runtime, object };
            if has_begun {
                cluster.joining.push_back((now + JOIN, joining));
            } else {
                has_begun = true;
                system::create(&mut cluster.api, api_server, config, now);
                cluster.join(joining, now);
            }
        }
        Ok(cluster)
    }

    /// Ends everything and takes it away.
    pub(crate) fn destroy(&mut self, machine: &mut Machine) {
        let all = std::mem::take(&mut self.nodes).into_values();
        let joining = std::mem::take(&mut self.joining).into_iter();
        for mut node in all.chain(joining.map(|(_, joining)| joining.runtime)) {
            node.kubelet.tear_down_all(&self.net);
            self.net.remove_namespace(node.ns);
            machine.disconnect(&node.name, node.ip);
        }
        self.due = None;
        self.changed.notify();
    }

    /// Its nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRuntime> {
        self.nodes.values()
    }

    /// A node.
    pub fn node(&self, name: &str) -> Option<&NodeRuntime> {
        self.nodes.get(name)
    }

    /// The network namespace of a Pod's containers, while there is one.
    pub fn pod_ns(&self, namespace: &str, name: &str) -> Option<NsId> {
        self.nodes.values().find_map(|node| node.kubelet.namespace_of(namespace, name))
    }

    /// What a container of a Pod runs with: its environment and its files, while it runs.
    pub fn container(&self, namespace: &str, pod: &str, name: &str) -> Option<Rc<Container>> {
        self.nodes.values().find_map(|node| node.kubelet.container(namespace, pod, name))
    }

    /// Installs ingress-nginx as it is made for kind; says how many objects are new.
    pub fn install_ingress(&mut self) -> usize {
        ingress::install(&mut self.api, self.net.now())
    }

    /// Tells when objects have changed.
    pub fn changed(&self) -> Notify {
        self.changed.clone()
    }

    /// Says how all nodes' rules are to choose among endpoints from now on.
    pub(crate) fn set_balancing(&mut self, balancing: Balancing, now: Instant) {
        for node in self.nodes.values_mut() {
            node.proxy.set_balancing(balancing, now);
        }
        self.due = Some(now);
    }

    /// Stops or starts a node's kube-proxy. `false`: there is no such node.
    pub(crate) fn set_proxy_stopped(&mut self, node: &str, stopped: bool, now: Instant) -> bool {
        let Some(node) = self.nodes.get_mut(node) else { return false };
        node.proxy.set_stopped(stopped, now);
        self.due = Some(now);
        true
    }

    /// There is something to do now.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.due = Some(now);
    }

    // ---- the way of changes --------------------------------------------------------------------------

    /// Something waits to be done now.
    pub(crate) fn needs_work(&self, now: Instant) -> bool {
        self.seen != self.api.store().revision()
            || self.due.is_some_and(|due| due <= now)
            || !self.inbox.borrow().is_empty()
    }

    /// When something is to be done next.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Hands out what has changed, and does what is due, until there is nothing more to do now.
    pub(crate) fn work(&mut self, journal: &mut Journal, now: Instant) {
        let before = self.seen;
        while self.joining.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, joining)) = self.joining.pop_front() else { break };
            self.join(joining, now);
        }
        self.read_reports(now);
        loop {
            self.hand_out(journal, now);
            self.control_plane.run(&mut self.api, now);
            let Cluster { api, net, inbox, nodes, .. } = &mut *self;
            let mut around = Surroundings { api, net, inbox, now };
            for node in nodes.values_mut() {
                node.kubelet.work(&mut around);
            }
            self.ingress.work(&mut self.api, &self.nodes, now);
            if self.seen == self.api.store().revision() {
                break;
            }
        }
        // The controllers and the nodes have seen everything now.
        self.api.forget(self.seen);
        self.sync_rules(journal, now);
        self.due = self.next_at();
        if self.seen != before {
            self.changed.notify();
        }
    }

    fn next_at(&self) -> Option<Instant> {
        let nodes = self.nodes.values();
        let parts = nodes
            .flat_map(|node| [node.kubelet.next_at(), node.proxy.next_at(), node.policy.next_at()]);
        let joining = self.joining.front().map(|(at, _)| *at);
        parts.chain([self.control_plane.next_at(), self.ingress.next_at(), joining]).flatten().min()
    }

    fn read_reports(&mut self, now: Instant) {
        loop {
            let Some((node, report)) = self.inbox.borrow_mut().pop_front() else { return };
            let Cluster { api, net, inbox, nodes, .. } = &mut *self;
            if let Some(node) = nodes.get_mut(&node) {
                node.kubelet.report(report, &mut Surroundings { api, net, inbox, now });
            }
        }
    }

    /// Every change goes to those whom it concerns, in the order in which it was made.
    fn hand_out(&mut self, journal: &mut Journal, now: Instant) {
        let store = self.api.store();
        let mut ingresses = Vec::new();
        for change in store.changes_since(self.seen) {
            if let Some(news) = news::of(change) {
                let write = if news.is_bad { Journal::complain } else { Journal::note };
                write(journal, now, news.topic, &news.place, news.text);
            }
            self.dns.observe(change, now);
            if change.of::<Pod>().is_some() {
                if let Some(node) = node_of(change).and_then(|name| self.nodes.get_mut(name)) {
                    node.kubelet.observe(change, now);
                    node.follow_host_ports(change, &self.net);
                }
            } else if self.config_kinds.contains(&change.object().kind()) {
                let namespace = change.object().namespace();
                self.nodes.values_mut().for_each(|n| n.kubelet.observe_config(namespace, now));
            } else if change.of::<Service>().is_some() || change.of::<EndpointSlice>().is_some() {
                self.nodes.values_mut().for_each(|node| node.proxy.observe(change, now));
            }
            if let Some(node) = change.new.as_ref().and_then(Node::of)
                && let Some(runtime) = self.nodes.get_mut(node.metadata.name())
            {
                runtime.proxy.observe_node(node, now);
            }
            self.nodes.values_mut().for_each(|node| node.policy.observe(change, now));
            self.ingress.observe(change, now);
            if change.of::<Ingress>().is_some() {
                ingresses.push(change.clone());
            }
        }
        self.seen = store.revision();
        self.ingress.tell(&mut self.api, &ingresses, now);
    }

    fn sync_rules(&mut self, journal: &mut Journal, now: Instant) {
        for node in self.nodes.values_mut() {
            if node.proxy.has_begun() {
                announce_proxy(&mut self.api, &node.name, now);
            }
            if let Some(count) = node.policy.work(&self.api, &self.net, now) {
                let text = format!("NetworkPolicies: {count} rules and addresses written");
                journal.note(now, Topic::Rules, &node.name, text);
            }
            let Some(news) = node.proxy.work(&self.net, now) else { continue };
            if let Some(error) = &news.report.error {
                let error = error.lines().next().unwrap_or_default();
                journal.complain(now, Topic::Rules, &node.name, format!("sync failed: {error}"));
                continue;
            }
            if news.report.is_empty() {
                continue;
            }
            let text = sync_text(&news);
            journal.note(now, Topic::Rules, &node.name, text);
        }
    }

    // ---- nodes ---------------------------------------------------------------------------------------

    /// A node becomes known to the API server and to the other nodes.
    fn join(&mut self, joining: Joining, now: Instant) {
        let Joining { mut runtime, object } = joining;
        runtime.object.clone_from(&object);
        let Ok(object) = self.api.create_typed(object, now) else { return };
        if runtime.role == Role::ControlPlane {
            system::create_static_pods(&mut self.api, &object, now);
        }
        for other in self.nodes.values() {
            cni::add_peer(&self.net, runtime.ns, runtime.eth0, other.ip, other.pod_cidr);
            cni::add_peer(&self.net, other.ns, other.eth0, runtime.ip, runtime.pod_cidr);
        }
        runtime.proxy.list(&self.api);
        let name = runtime.name.clone();
        let joined = runtime.joined;
        self.nodes.insert(name.clone(), runtime);
        self.renew_lease(&name, joined, now);
    }
}

/// The event by which a kube-proxy says that it has begun (`cmd/kube-proxy/app/server.go`).
fn announce_proxy(api: &mut Api, node: &str, now: Instant) {
    let Some(object) = api.store().get::<Node>("", node) else { return };
    let about = events::reference(&**object);
    let from = EventSource { component: Some("kube-proxy".to_string()), host: None };
    events::record(api, now, about, Severity::Normal, "Starting", "", from);
}

/// `2 Services, 3 endpoints changed, 14 rules written, 1.8 ms`
fn sync_text(news: &SyncNews) -> String {
    let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    let mut parts = Vec::new();
    for (n, one) in [(news.services, "Service"), (news.endpoints, "endpoint")] {
        if n > 0 && !news.is_first {
            parts.push(count(n, one));
        }
    }
    match parts.last_mut() {
        Some(last) => last.push_str(" changed"),
        None if news.is_first => parts.push("first sync".to_string()),
        None if news.report.is_full => parts.push("full sync".to_string()),
        None => parts.push("asked to sync".to_string()),
    }
    let rules = count(news.report.rules_written, "rule");
    let elements = count(news.report.elements_changed, "element");
    parts.push(match (news.report.rules_written, news.report.elements_changed) {
        (_, 0) => format!("{rules} written"),
        (0, _) => format!("{elements} written"),
        _ => format!("{rules}, {elements} written"),
    });
    if !news.report.chains_deleted.is_empty() {
        parts.push(format!("{} deleted", count(news.report.chains_deleted.len(), "chain")));
    }
    let takes = (news.takes.as_micros() + 50) / 100;
    format!("{}, {}.{} ms", parts.join(", "), takes / 10, takes % 10)
}

/// The node that a changed Pod is on, or was.
fn node_of(change: &Change) -> Option<&str> {
    change.of::<Pod>().map(Rc::as_ref).and_then(controllers::pods::node_name)
}

/// `kind-control-plane`, `kind-worker`, `kind-worker2`, …
fn node_names(cluster: &str, config: &KindConfig) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    for (role, word) in [(Role::ControlPlane, "control-plane"), (Role::Worker, "worker")] {
        let of_role = config.nodes.iter().enumerate().filter(|(_, node)| node.role == role);
        for (count, (index, _)) in of_role.enumerate() {
            let number = if count == 0 { String::new() } else { (count + 1).to_string() };
            names.push((index, format!("{cluster}-{word}{number}")));
        }
    }
    names
}

/// Starts the nodes' containers, control planes first, and publishes their ports.
fn start_containers(
    cluster: &str,
    config: &KindConfig,
    machine: &mut Machine,
    net: &Net,
) -> Result<Vec<Created>, KindError> {
    let mut created: Vec<Created> = Vec::new();
    for (order, (index, name)) in node_names(cluster, config).into_iter().enumerate() {
        let ip = machine.next_address();
        let ns = net.add_namespace(&name);
        let eth0 = machine.connect(&name, ns, ip);
        let pod_cidr = pod_cidr(config.pod_subnet, order);
        cni::prepare_node(net, ns, config.pod_subnet);
        created.push(Created { name: name.clone(), index, ns, eth0, ip, pod_cidr });
        let mappings = config.nodes.get(index).map(|node| node.port_mappings.clone());
        for mapping in mappings.unwrap_or_default() {
            let (address, port) = (mapping.listen_address, mapping.host_port);
            if machine.publish(&name, ip, mapping).is_err() {
                for container in &created {
                    net.remove_namespace(container.ns);
                    machine.disconnect(&container.name, container.ip);
                }
                let cluster = cluster.to_string();
                return Err(KindError::PortTaken { cluster, node: name, address, port });
            }
        }
    }
    Ok(created)
}

/// The `order`th network of 256 addresses, or less where the Pod network is small.
fn pod_cidr(subnet: Cidr, order: usize) -> Cidr {
    let len = subnet.len.max(24);
    let size = 1u32.checked_shl(32 - u32::from(len)).unwrap_or(0);
    let offset = size.wrapping_mul(u32::try_from(order).unwrap_or(0));
    let first = u32::from(subnet.addr).wrapping_add(offset);
    Cidr::new(Ipv4Addr::from(first), len)
}
