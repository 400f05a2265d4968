//! How Pods live and die on a node (`pkg/kubelet`).
//!
//! In reading order, as a Pod goes:
//! - [`Kubelet`], and [`Job`]: one look at one Pod;
//! - [`worker`]: what is remembered of a Pod and its containers;
//! - [`volumes`], [`sandbox`]: its files, its network, its names;
//! - [`containers`]: images, configuration, starts and restarts; [`env`]: a container's environment;
//! - [`probes`]: probes and handlers; [`grpc`]: the probe that needs more words;
//! - [`ending`]: containers and Pods that are ended;
//! - [`status`]: the status that says so;
//! - [`tables`]: what the kubelet itself has in its node's tables.
//!
//! The kubelet is driven: it is told of changes of its Pods and of what its programs and probes report, and
//! says when it wants to be asked again. Latencies are those of a small real cluster.

mod containers;
mod ending;
mod env;
mod grpc;
mod probes;
mod sandbox;
mod status;
mod tables;
mod volumes;
mod worker;

use base::tree::{BTreeMap, BTreeSet};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::rc::Rc;

use base::Instant;
use controllers::events::{self, Severity};
use controllers::queue::{Key, WorkQueue};
use kube_api::core::{EventSource, ObjectReference, Pod};
use kube_api::{AnyObject, Api, Change, DeleteOptions, Kind, MetaExt};
use netsim::{Cidr, Net, NsId};
use programs::{Container as Program, Log, Volume};

use self::containers::{full_name, is_init, sooner};
use self::probes::{Answer, ProbeKind};
use self::tables::Tables;
use self::worker::{End, State, Worker, restart_policy, restarts_again};
use crate::cni::Ipam;
use crate::dns::ClusterDns;
use crate::world::CommandsSlot;

/// What programs and probes report to their kubelet.
pub(crate) struct Report {
    key: Key,
    /// The Pod's own number.
    id: String,
    /// The container's place in the Pod.
    at: usize,
    generation: u32,
    happened: Happened,
}

/// What has happened to a container.
pub(crate) enum Happened {
    Exited(i32),
    Probed(ProbeKind, Answer),
    PostStarted(Result<(), String>),
    PreStopped(Result<(), String>),
}

/// Reports of all nodes of a cluster that have not been read yet.
pub(crate) type Inbox = Rc<RefCell<VecDeque<(String, Report)>>>;

/// What a kubelet knows about itself.
struct Info {
    cluster: String,
    node: String,
    ns: NsId,
    node_ip: Ipv4Addr,
    commands: CommandsSlot,
    dns: ClusterDns,
}

/// The kubelet of one node.
pub struct Kubelet {
    info: Info,
    ipam: Ipam,
    workers: BTreeMap<Key, Worker>,
    images: BTreeSet<String>,
    /// The node's files, which outlive Pods: `hostPath` and local volumes.
    disk: Volume,
    /// By namespace, what its Pods need to talk to the API server.
    api_access: BTreeMap<String, Volume>,
    queue: WorkQueue<Key>,
    tables: Tables,
    /// It does nothing; reports wait.
    is_stopped: bool,
    held: VecDeque<Report>,
}

/// What a look at a Pod needs besides the kubelet.
pub(crate) struct Surroundings<'a> {
    pub(crate) api: &'a mut Api,
    pub(crate) net: &'a Net,
    pub(crate) inbox: &'a Inbox,
    pub(crate) now: Instant,
}

/// One look at one Pod.
struct Job<'a> {
    info: &'a Info,
    ipam: &'a mut Ipam,
    images: &'a mut BTreeSet<String>,
    disk: &'a Volume,
    api_access: &'a mut BTreeMap<String, Volume>,
    api: &'a mut Api,
    net: &'a Net,
    inbox: &'a Inbox,
    now: Instant,
    key: &'a Key,
    pod: Rc<Pod>,
    worker: &'a mut Worker,
    /// The Pod is gone, and nothing of it is left.
    is_done: bool,
}

impl Kubelet {
    pub(crate) fn new(
        cluster: &str,
        node: &str,
        ns: NsId,
        node_ip: Ipv4Addr,
        pod_cidr: Cidr,
        now: Instant,
    ) -> Kubelet {
        let (cluster, node) = (cluster.to_string(), node.to_string());
        Kubelet {
            info: Info {
                cluster,
                node,
                ns,
                node_ip,
                commands: CommandsSlot::default(),
                dns: ClusterDns::default(),
            },
            ipam: Ipam::new(pod_cidr),
            workers: BTreeMap::new(),
            images: BTreeSet::new(),
            disk: Volume::default(),
            api_access: BTreeMap::new(),
            queue: WorkQueue::default(),
            tables: Tables::new(ns, now),
            is_stopped: false,
            held: VecDeque::new(),
        }
    }

    /// Who runs commands in containers.
    pub(crate) fn set_commands(&mut self, commands: CommandsSlot) {
        self.info.commands = commands;
    }

    /// The cluster's name servers, some of which may run here.
    pub(crate) fn set_dns(&mut self, dns: ClusterDns) {
        self.info.dns = dns;
    }

    /// An image is on the node from the beginning.
    pub(crate) fn preload(&mut self, image: &str) {
        self.images.insert(full_name(image));
    }

    // ---- looking at it -------------------------------------------------------------------------------------

    fn worker(&self, namespace: &str, name: &str) -> Option<&Worker> {
        self.workers.get(&(namespace.to_string(), name.to_string()))
    }

    /// What a container runs with, while it runs.
    pub(crate) fn container(&self, namespace: &str, pod: &str, name: &str) -> Option<Rc<Program>> {
        let container = self.worker(namespace, pod)?.containers.iter().find(|c| c.name == name)?;
        container.runs_with.clone().filter(|_| container.is_running())
    }

    /// The namespace of a Pod's containers.
    pub fn namespace_of(&self, namespace: &str, name: &str) -> Option<NsId> {
        self.worker(namespace, name)?.sandbox.map(|sandbox| sandbox.ns)
    }

    /// What a container has printed: now, or before its last restart. `None`: it has not run, or not so often.
    pub fn log_of(
        &self,
        namespace: &str,
        name: &str,
        container: &str,
        previous: bool,
    ) -> Option<Log> {
        let worker = self.worker(namespace, name)?;
        let container = worker.containers.iter().find(|c| c.name == container)?;
        match previous {
            true => container.previous_log.clone(),
            false => (container.generation > 0).then(|| container.log.clone()),
        }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        let next = self.queue.next_at().into_iter().chain([self.tables.next_at()]).min();
        next.filter(|_| !self.is_stopped)
    }

    // ---- what it is told -----------------------------------------------------------------------------------

    /// A Pod of this node is new, has changed, or is gone. What the kubelet itself says about Pods is no news
    /// to it.
    pub(crate) fn observe(&mut self, change: &Change, now: Instant) {
        let pod = |object: &Option<AnyObject>| object.as_ref().and_then(Pod::of).cloned();
        if let (Some(old), Some(new)) = (pod(&change.old), pod(&change.new))
            && old.spec == new.spec
            && old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
            && old.metadata.labels == new.metadata.labels
            && status::of_others(&old).eq(status::of_others(&new))
        {
            return;
        }
        let meta = change.object().meta();
        self.queue.add((meta.namespace().to_string(), meta.name().to_string()), now);
    }

    /// A ConfigMap or Secret of this namespace has changed: the files of Pods that show such objects follow
    /// when the kubelet next comes round to them.
    pub(crate) fn observe_config(&mut self, namespace: &str, now: Instant) {
        let in_namespace = self.workers.iter_mut().filter(|((space, _), _)| space == namespace);
        for (key, worker) in in_namespace.filter(|(_, worker)| worker.follows_api()) {
            let at = volumes::next_sync(worker.since, now);
            worker.refresh.get_or_insert(at);
            self.queue.add(key.clone(), at);
        }
    }

    /// Takes in a report.
    pub(crate) fn report(&mut self, report: Report, around: &mut Surroundings<'_>) {
        if self.is_stopped {
            self.held.push_back(report);
            return;
        }
        let Report { key, id, at, generation, happened } = report;
        let is_known = self.workers.get(&key).is_some_and(|worker| {
            worker.id == id && worker.containers.get(at).is_some_and(|c| c.generation == generation)
        });
        let pod = around.api.store().get::<Pod>(&key.0, &key.1).cloned();
        let Some(pod) = pod.filter(|_| is_known) else { return };
        let now = around.now;
        self.with_job(&key, pod, around, |job| job.happened(at, happened));
        self.queue.add(key, now);
    }

    // ---- working -------------------------------------------------------------------------------------------

    /// Does what is due.
    pub(crate) fn work(&mut self, around: &mut Surroundings<'_>) -> bool {
        let mut worked = false;
        if !self.is_stopped {
            self.tables.work(around.net, around.now);
        }
        while !self.is_stopped
            && let Some(key) = self.queue.pop(around.now)
        {
            worked = true;
            self.sync(&key, around);
        }
        worked
    }

    /// Has something done about a Pod that the kubelet knows.
    fn with_job<R>(
        &mut self,
        key: &Key,
        pod: Rc<Pod>,
        around: &mut Surroundings<'_>,
        act: impl FnOnce(&mut Job<'_>) -> R,
    ) -> Option<R> {
        let worker = self.workers.get_mut(key)?;
        let mut job = Job {
            info: &self.info,
            ipam: &mut self.ipam,
            images: &mut self.images,
            disk: &self.disk,
            api_access: &mut self.api_access,
            api: &mut *around.api,
            net: around.net,
            inbox: around.inbox,
            now: around.now,
            key,
            pod,
            worker,
            is_done: false,
        };
        let result = act(&mut job);
        if job.is_done {
            self.workers.remove(key);
        }
        Some(result)
    }

    fn sync(&mut self, key: &Key, around: &mut Surroundings<'_>) {
        let pod = around.api.store().get::<Pod>(&key.0, &key.1).cloned();
        let is_ours = |pod: &Rc<Pod>| controllers::pods::node_name(pod) == Some(&self.info.node);
        let mut pod = pod.filter(is_ours);
        if let Some(worker) = self.workers.get(key) {
            match (&pod, &worker.from_file) {
                (Some(pod), _) if pod.metadata.uid() == worker.uid => {}
                (None, Some(file)) => {
                    let file = file.clone();
                    pod = self.with_job(key, file, around, |job| {
                        job.show_anew(false);
                        job.pod.clone()
                    });
                }
                _ => self.tear_down(key, around.net),
            }
        }
        let Some(pod) = pod else { return };
        if !self.workers.contains_key(key) {
            if pod.metadata.is_terminating() {
                let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
                let _ = around.api.delete(Pod::id(), &key.0, &key.1, options, around.now);
                return;
            }
            if controllers::pods::has_ended(&pod) {
                return;
            }
            self.workers.insert(key.clone(), Worker::new(&pod, around.now));
        }
        if let Some(Some(next)) = self.with_job(key, pod, around, |job| job.sync()) {
            self.queue.add(key.clone(), next);
        }
    }

    fn tear_down(&mut self, key: &Key, net: &Net) {
        let Some(mut worker) = self.workers.remove(key) else { return };
        worker.containers.iter_mut().for_each(worker::Container::kill);
        if let Some(sandbox) = worker.sandbox.filter(|sandbox| sandbox.is_own) {
            net.remove_namespace(sandbox.ns);
            self.ipam.give_back(sandbox.ip);
        }
    }

    /// The node is taken away with all its Pods.
    pub(crate) fn tear_down_all(&mut self, net: &Net) {
        let keys: Vec<Key> = self.workers.keys().cloned().collect();
        keys.iter().for_each(|key| self.tear_down(key, net));
    }

    // ---- stops and starts ----------------------------------------------------------------------------------

    /// Its process ends, or begins again: what has happened meanwhile is then dealt with.
    pub(crate) fn set_stopped(&mut self, is_stopped: bool, now: Instant) {
        self.is_stopped = is_stopped;
        if !is_stopped {
            let keys: Vec<Key> = self.workers.keys().cloned().collect();
            keys.into_iter().for_each(|key| self.queue.add(key, now));
        }
    }

    /// What was reported while it was stopped.
    pub(crate) fn take_held(&mut self) -> VecDeque<Report> {
        std::mem::take(&mut self.held)
    }

    /// The node's power is cut: everything that runs there ends at once, and nobody hears of it.
    pub(crate) fn lose_power(&mut self) {
        self.is_stopped = true;
        self.held.clear();
        for worker in self.workers.values_mut() {
            worker.containers.iter_mut().for_each(worker::Container::kill);
        }
    }

    /// The node is there again: what ran has ended, and Pods get another network
    /// (`computePodActions`, a sandbox that has changed).
    pub(crate) fn start_again(&mut self, around: &mut Surroundings<'_>) {
        let keys: Vec<Key> = self.workers.keys().cloned().collect();
        for key in keys {
            let pod = around.api.store().get::<Pod>(&key.0, &key.1).cloned();
            if let Some(pod) = pod {
                self.with_job(&key, pod, around, |job| job.lost_sandbox());
            }
        }
        self.set_stopped(false, around.now);
    }
}

impl Job<'_> {
    /// Does what there is to do about the Pod now; says when to look again.
    fn sync(&mut self) -> Option<Instant> {
        if self.pod.metadata.is_terminating() {
            if self.worker.from_file.is_none() {
                let next = self.delete();
                if !self.is_done {
                    self.write_status();
                }
                return next;
            }
            self.show_anew(true);
        }
        let mut next = None;
        if let Some(at) = self.worker.refresh {
            if at <= self.now {
                self.worker.refresh = None;
                self.refresh_volumes();
            } else {
                next = Some(at);
            }
        }
        if !self.worker.is_over {
            if self.worker.ending.is_none() {
                next = sooner(next, self.go_on());
            }
            next = sooner(next, self.check_end());
        }
        self.write_status();
        next
    }

    /// Volumes, network, containers, as far as it goes now.
    fn go_on(&mut self) -> Option<Instant> {
        if let Some(retry) = self.worker.retry.filter(|retry| *retry > self.now) {
            return Some(retry);
        }
        self.worker.retry = None;
        if self.mount_volumes() && self.start_sandbox() {
            return self.run_containers();
        }
        self.worker.retry
    }

    /// Something has happened to a container.
    fn happened(&mut self, at: usize, happened: Happened) {
        match happened {
            Happened::Exited(code) => {
                let now = self.now;
                if let Some(container) = self.worker.containers.get_mut(at)
                    && container.is_running()
                {
                    container.ended(code, now);
                }
            }
            Happened::Probed(kind, answer) => self.probed(at, kind, answer),
            Happened::PostStarted(result) => self.post_started(at, &result),
            Happened::PreStopped(result) => self.pre_stopped(at, &result),
        }
    }

    /// Its network has gone with all that ran there; it begins anew.
    fn lost_sandbox(&mut self) {
        let had_one = self.worker.sandbox.is_some();
        let now = self.now;
        for container in &mut self.worker.containers {
            match container.state {
                State::Running { since } => {
                    let mut end = End::new(255, since, now);
                    end.reason = "Unknown";
                    container.end(end);
                }
                State::Pulling { .. } | State::Starting { .. } => container.state = State::New,
                _ => {}
            }
        }
        self.take_down_sandbox();
        if self.worker.is_over || self.worker.ending.is_some() || !had_one {
            return;
        }
        let message = "Pod sandbox changed, it will be killed and re-created.";
        self.tell_pod(Severity::Normal, "SandboxChanged", message);
        for container in &mut self.worker.containers {
            let is_again = restarts_again(container.role, restart_policy(&self.pod), 255);
            if is_again || container.role == worker::Role::Init {
                container.state = State::New;
            }
        }
    }

    // ---- events --------------------------------------------------------------------------------------------

    /// Writes an event about one container.
    fn tell(&mut self, at: usize, severity: Severity, reason: &str, message: &str) {
        let list = if is_init(&self.pod, at) { "initContainers" } else { "containers" };
        let name = self.worker.containers.get(at).map_or("", |container| &container.name);
        let field_path = Some(format!("spec.{list}{{{name}}}"));
        let about = ObjectReference { field_path, ..events::reference(&*self.pod) };
        self.record(about, severity, reason, message);
    }

    /// Writes an event about the Pod.
    fn tell_pod(&mut self, severity: Severity, reason: &str, message: &str) {
        let about = events::reference(&*self.pod);
        self.record(about, severity, reason, message);
    }

    fn record(&mut self, about: ObjectReference, severity: Severity, reason: &str, message: &str) {
        let from = EventSource {
            component: Some("kubelet".to_string()),
            host: Some(self.info.node.clone()),
        };
        events::record(self.api, self.now, about, severity, reason, message, from);
    }
}
