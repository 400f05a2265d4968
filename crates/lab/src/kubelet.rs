//! How Pods live and die on a node (`pkg/kubelet`): sandbox, images, containers, probes, restarts,
//! termination, and the status that says so.
//!
//! The kubelet is driven: it is told of changes of its Pods and of what its programs and probes report, and
//! says when it wants to be asked again. Latencies are those of a small real cluster.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::{Duration, Instant};
use controllers::events::{self, Severity};
use controllers::queue::{Key, WorkQueue};
use kube_api::core::{
    Container as Spec, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, EventSource, HostIP, ObjectReference, Pod,
    PodCondition, PodIP, PodSpec, PodStatus, Probe,
};
use kube_api::object::{instant, time};
use kube_api::{Api, IntOrString, Kind, MetaExt};
use netsim::{Cause, Cidr, Host, IfId, Net, NsId, Process};
use programs::http::Headers;
use programs::http::client::{Ask, fetch};
use programs::{Container as Program, Log, images};
use sha2::{Digest, Sha256};

use crate::cni::{self, Ipam};
use crate::place::pod_ns_name;
use crate::world::CommandsSlot;

/// Pulling an image for the first time on a node.
const PULL: Duration = Duration::from_millis(1200);
/// Asking the registry whether an image that is there is the newest.
const PULL_AGAIN: Duration = Duration::from_millis(100);
/// From a container's creation to its program's start.
const START: Duration = Duration::from_millis(400);
/// Time from the end of a Pod's containers and network until the API server forgets it: volumes and cgroups
/// are cleaned up and the last status is sent (`SyncTerminatedPod` of `pkg/kubelet/kubelet.go`), in loops
/// that come round every second or so. `kubectl delete` waits for it; rules have long followed by then.
const CLEAN_UP: Duration = Duration::from_millis(1100);
/// Waiting between two starts of a container that fails, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
/// A container that ran so long is started again without waiting.
const BACKOFF_RESET: Duration = Duration::from_secs(600);

/// What programs and probes report to their kubelet.
#[derive(Debug)]
pub(crate) enum Report {
    /// A container's program has ended.
    Exited { uid: String, container: String, generation: u32, code: i32 },
    /// A probe has come back.
    Probed {
        uid: String,
        container: String,
        generation: u32,
        kind: ProbeKind,
        result: Result<(), String>,
    },
}

/// Reports of all nodes of a cluster that have not been read yet.
pub(crate) type Inbox = Rc<RefCell<VecDeque<(String, Report)>>>;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    fn name(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Liveness => "Liveness",
        }
    }
}

/// The kubelet of one node.
pub struct Kubelet {
    cluster: String,
    node: String,
    ns: NsId,
    node_ip: Ipv4Addr,
    ipam: Ipam,
    workers: BTreeMap<Key, Worker>,
    images: BTreeSet<String>,
    queue: WorkQueue<Key>,
    commands: CommandsSlot,
}

/// A Pod on this node.
struct Worker {
    uid: String,
    sandbox: Option<Sandbox>,
    containers: Vec<Container>,
    /// When it was asked to end, and when what is left is killed.
    stopping: Option<Instant>,
    /// Its containers and its network are gone; when the API server is told so.
    removal: Option<Instant>,
    /// It was told so in an event already.
    sandbox_failed: bool,
}

/// What all containers of a Pod share.
#[derive(Clone, Copy)]
struct Sandbox {
    ns: NsId,
    ip: Ipv4Addr,
    /// A namespace of its own; else the node's.
    is_own: bool,
    #[allow(dead_code, reason = "the map draws the cable")]
    veth: Option<IfId>,
}

struct Container {
    spec: Spec,
    is_init: bool,
    state: State,
    last_end: Option<End>,
    restarts: i32,
    /// How long the next wait is, if it fails again.
    backoff: Duration,
    /// Rises with every start, so that late reports of an earlier one are known.
    generation: u32,
    log: Log,
    previous_log: Option<Log>,
    process: Option<Process>,
    /// What it was last started with.
    runs_with: Option<Rc<Program>>,
    probes: Vec<Process>,
    /// The startup probe has succeeded, or there is none.
    is_started: bool,
    is_ready: bool,
    /// Results in a row: successes above zero, failures below.
    streaks: BTreeMap<ProbeKind, i32>,
}

/// How a container's program ended.
#[derive(Clone)]
struct End {
    code: i32,
    started: Instant,
    finished: Instant,
}

/// Where in its life a container is.
#[derive(Clone)]
enum State {
    /// Not begun.
    Waiting,
    Pulling {
        until: Instant,
        since: Instant,
    },
    /// The image cannot be had; tried again later.
    PullFailed {
        until: Instant,
        is_backing_off: bool,
    },
    Starting {
        until: Instant,
    },
    Running {
        since: Instant,
    },
    Ended(End),
    /// Ended, and to be started again.
    BackOff {
        until: Instant,
    },
}

impl Kubelet {
    pub(crate) fn new(
        cluster: &str,
        node: &str,
        ns: NsId,
        node_ip: Ipv4Addr,
        pod_cidr: Cidr,
    ) -> Kubelet {
        Kubelet {
            cluster: cluster.to_string(),
            node: node.to_string(),
            ns,
            node_ip,
            ipam: Ipam::new(pod_cidr),
            workers: BTreeMap::new(),
            images: BTreeSet::new(),
            queue: WorkQueue::default(),
            commands: CommandsSlot::default(),
        }
    }

    /// Who runs commands in containers.
    pub(crate) fn set_commands(&mut self, commands: CommandsSlot) {
        self.commands = commands;
    }

    /// What a container runs with, while it runs.
    pub(crate) fn container(&self, namespace: &str, pod: &str, name: &str) -> Option<Rc<Program>> {
        let worker = self.workers.get(&(namespace.to_string(), pod.to_string()))?;
        let container = worker.containers.iter().find(|c| c.spec.name == name)?;
        let is_running = matches!(container.state, State::Running { .. });
        container.runs_with.clone().filter(|_| is_running)
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    /// A Pod of this node is new, has changed, or is gone.
    pub(crate) fn observe(&mut self, pod: &Pod, now: Instant) {
        let key = (pod.metadata.namespace().to_string(), pod.metadata.name().to_string());
        self.queue.add(key, now);
    }

    /// An image is on the node from the beginning.
    pub(crate) fn preload(&mut self, image: &str) {
        self.images.insert(image.to_string());
    }

    /// The namespace of a Pod's containers.
    pub fn namespace_of(&self, namespace: &str, name: &str) -> Option<NsId> {
        let worker = self.workers.get(&(namespace.to_string(), name.to_string()))?;
        worker.sandbox.map(|sandbox| sandbox.ns)
    }

    /// What a container has printed: now, or before its last restart.
    pub fn log_of(
        &self,
        namespace: &str,
        name: &str,
        container: &str,
        previous: bool,
    ) -> Option<Log> {
        let worker = self.workers.get(&(namespace.to_string(), name.to_string()))?;
        let container = worker.containers.iter().find(|c| c.spec.name == container)?;
        if previous { container.previous_log.clone() } else { Some(container.log.clone()) }
    }

    /// Takes in a report.
    pub(crate) fn report(&mut self, report: Report, api: &mut Api, now: Instant) {
        let uid = match &report {
            Report::Exited { uid, .. } | Report::Probed { uid, .. } => uid.clone(),
        };
        let Some((key, worker)) = self.workers.iter_mut().find(|(_, worker)| worker.uid == uid)
        else {
            return;
        };
        match report {
            Report::Exited { container, generation, code, .. } => {
                worker.exited(&container, generation, code, now);
            }
            Report::Probed { container, generation, kind, result, .. } => {
                let told = worker.probed(&container, generation, kind, &result);
                if let (Some(message), Some(pod)) =
                    (told, api.store().get::<Pod>(&key.0, &key.1).cloned())
                {
                    let about = container_reference(&pod, &container);
                    let from = source(&self.node);
                    events::record(api, now, about, Severity::Warning, "Unhealthy", &message, from);
                }
            }
        }
        self.queue.add(key.clone(), now);
    }

    /// Does what is due.
    pub(crate) fn work(&mut self, api: &mut Api, net: &Net, inbox: &Inbox, now: Instant) -> bool {
        let mut worked = false;
        while let Some(key) = self.queue.pop(now) {
            worked = true;
            self.sync(&key, api, net, inbox, now);
        }
        worked
    }

    fn sync(&mut self, key: &Key, api: &mut Api, net: &Net, inbox: &Inbox, now: Instant) {
        let pod = api.store().get::<Pod>(&key.0, &key.1).cloned();
        let pod = pod
            .filter(|pod| pod.spec.as_ref().and_then(|s| s.node_name.as_ref()) == Some(&self.node));
        let is_another = |worker: &Worker, pod: &Pod| worker.uid != pod.metadata.uid();
        let is_stale = match (self.workers.get(key), &pod) {
            (Some(_), None) => true,
            (Some(worker), Some(pod)) => is_another(worker, pod),
            (None, _) => false,
        };
        if is_stale {
            self.tear_down(key, net);
        }
        let Some(pod) = pod else { return };
        if !self.workers.contains_key(key) {
            let has_ended = controllers::pods::has_ended(&pod);
            if has_ended {
                return;
            }
            if pod.metadata.is_terminating() {
                api.remove(Pod::id(), &key.0, &key.1);
                return;
            }
            self.workers.insert(key.clone(), Worker::new(&pod));
        }
        if pod.metadata.is_terminating() {
            return self.stop(key, &pod, api, net, now);
        }
        self.start_sandbox(key, &pod, api, net, now);
        let next = self.run_containers(key, &pod, api, net, inbox, now);
        self.write_status(key, &pod, api, now);
        if let Some(next) = next {
            self.queue.add(key.clone(), next);
        }
    }

    // ---- sandbox -------------------------------------------------------------------------------------

    fn start_sandbox(&mut self, key: &Key, pod: &Pod, api: &mut Api, net: &Net, now: Instant) {
        let Some(worker) = self.workers.get_mut(key).filter(|worker| worker.sandbox.is_none())
        else {
            return;
        };
        let is_host = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        if is_host {
            let sandbox = Sandbox { ns: self.ns, ip: self.node_ip, is_own: false, veth: None };
            worker.sandbox = Some(sandbox);
            return;
        }
        let Some(ip) = self.ipam.take() else {
            if !std::mem::replace(&mut worker.sandbox_failed, true) {
                let message = "Failed to create pod sandbox: plugin type=\"ptp\" failed (add): failed to allocate for range 0: no IP addresses available in range set";
                let (about, from) = (events::reference(pod), source(&self.node));
                events::record(
                    api,
                    now,
                    about,
                    Severity::Warning,
                    "FailedCreatePodSandBox",
                    message,
                    from,
                );
            }
            self.queue.add(key.clone(), now + Duration::from_secs(5));
            return;
        };
        let name = pod_ns_name(&self.cluster, &key.0, &key.1);
        let ns = net.add_namespace(&name);
        let veth = cni::add_pod(net, self.ns, ns, &name, ip, &self.ipam);
        worker.sandbox = Some(Sandbox { ns, ip, is_own: true, veth: Some(veth) });
    }

    fn tear_down(&mut self, key: &Key, net: &Net) {
        self.take_down_sandbox(key, net);
        self.workers.remove(key);
    }

    /// Ends what still runs, and takes the Pod's network away.
    fn take_down_sandbox(&mut self, key: &Key, net: &Net) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        for container in &worker.containers {
            container.kill();
        }
        if let Some(Sandbox { ns, ip, is_own: true, .. }) = worker.sandbox.take() {
            net.remove_namespace(ns);
            self.ipam.give_back(ip);
        }
    }

    /// The node is taken away with all its Pods.
    pub(crate) fn tear_down_all(&mut self, net: &Net) {
        let keys: Vec<Key> = self.workers.keys().cloned().collect();
        keys.iter().for_each(|key| self.tear_down(key, net));
    }

    // ---- containers ----------------------------------------------------------------------------------

    /// Moves every container on as far as it can go now; says when the next has to be moved on.
    fn run_containers(
        &mut self,
        key: &Key,
        pod: &Rc<Pod>,
        api: &mut Api,
        net: &Net,
        inbox: &Inbox,
        now: Instant,
    ) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let count = self.workers.get(key).map_or(0, |worker| worker.containers.len());
        for at in 0..count {
            let Some(worker) = self.workers.get(key) else { break };
            let Some(sandbox) = worker.sandbox else { break };
            if !worker.may_run(at) {
                break;
            }
            let mut step = Step { kubelet: self, key, pod, api, net, inbox, now, sandbox };
            let due = step.container(at);
            next = match (next, due) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        next
    }

    // ---- ending --------------------------------------------------------------------------------------

    /// The Pod is to be deleted: its programs are asked to end, and killed when their time is over.
    fn stop(&mut self, key: &Key, pod: &Rc<Pod>, api: &mut Api, net: &Net, now: Instant) {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let marked = pod.metadata.deletion_timestamp.as_ref().map_or(now, instant);
        let Some(worker) = self.workers.get_mut(key) else { return };
        if let Some(removal) = worker.removal {
            return self.remove(key, removal, api, now);
        }
        let is_first = worker.stopping.is_none();
        // The stamp has whole seconds; whoever has just been asked gets the full time.
        let limit = now + Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let kill_at = worker.stopping.unwrap_or(limit).min(limit.max(marked));
        worker.stopping = Some(kill_at);
        let mut running = Vec::new();
        for container in &mut worker.containers {
            for probe in container.probes.drain(..) {
                probe.kill();
            }
            match container.state {
                State::Running { .. } => {
                    if let Some(process) = &container.process {
                        process.terminate();
                    }
                    running.push(container.spec.name.clone());
                }
                State::Ended(_) => {}
                _ => container.state = State::Waiting,
            }
        }
        if is_first {
            for container in &running {
                let message = format!("Stopping container {container}");
                let (about, from) = (container_reference(pod, container), source(&self.node));
                events::record(api, now, about, Severity::Normal, "Killing", &message, from);
            }
        }
        if !running.is_empty() && now < kill_at {
            self.write_status(key, pod, api, now);
            self.queue.add(key.clone(), kill_at);
            return;
        }
        self.write_status(key, pod, api, now);
        self.take_down_sandbox(key, net);
        let removal = now + CLEAN_UP;
        if let Some(worker) = self.workers.get_mut(key) {
            worker.removal = Some(removal);
        }
        self.queue.add(key.clone(), removal);
    }

    /// What was left of the Pod has been cleaned up: the API server may forget it.
    fn remove(&mut self, key: &Key, removal: Instant, api: &mut Api, now: Instant) {
        if now < removal {
            return self.queue.add(key.clone(), removal);
        }
        self.workers.remove(key);
        api.remove(Pod::id(), &key.0, &key.1);
    }

    // ---- status --------------------------------------------------------------------------------------

    fn write_status(&self, key: &Key, pod: &Pod, api: &mut Api, now: Instant) {
        let Some(worker) = self.workers.get(key) else { return };
        let status = worker.status(pod, self.node_ip, now);
        api.modify::<Pod>(&key.0, &key.1, |pod| pod.status = Some(status));
    }
}

/// One step of one container.
struct Step<'a> {
    kubelet: &'a mut Kubelet,
    key: &'a Key,
    pod: &'a Rc<Pod>,
    api: &'a mut Api,
    net: &'a Net,
    inbox: &'a Inbox,
    now: Instant,
    sandbox: Sandbox,
}

impl Step<'_> {
    fn tell(&mut self, container: &str, severity: Severity, reason: &str, message: &str) {
        let about = container_reference(self.pod, container);
        let from = source(&self.kubelet.node);
        events::record(self.api, self.now, about, severity, reason, message, from);
    }

    fn at(&mut self, at: usize) -> Option<&mut Container> {
        self.kubelet.workers.get_mut(self.key)?.containers.get_mut(at)
    }

    /// Moves a container on; says when it has to be moved on again.
    fn container(&mut self, at: usize) -> Option<Instant> {
        loop {
            let now = self.now;
            let container = self.at(at)?;
            let name = container.spec.name.clone();
            let image = container.spec.image.clone().unwrap_or_default();
            match container.state.clone() {
                State::Waiting => self.begin(at, &name, &image),
                State::Pulling { until, since } if until <= now => {
                    self.pulled(at, &name, &image, since)
                }
                State::PullFailed { until, .. } if until <= now => {
                    self.at(at)?.state = State::Waiting;
                }
                State::Starting { until } if until <= now => self.start(at, &name),
                State::BackOff { until } if until <= now => {
                    self.at(at)?.state = State::Waiting;
                }
                State::Ended(end) => {
                    let policy = restart_policy(self.pod);
                    let container = self.at(at)?;
                    let again = match policy {
                        _ if container.is_init && end.code == 0 => false,
                        "Never" => false,
                        "OnFailure" => end.code != 0,
                        _ => true,
                    };
                    if !again {
                        return None;
                    }
                    let wait = container.next_backoff(&end);
                    let until = end.finished + wait;
                    container.state = State::BackOff { until };
                    if until > now {
                        let pod = self.pod.metadata.name().to_string();
                        let message = format!(
                            "Back-off restarting failed container {name} in pod {pod}_{}({})",
                            self.pod.metadata.namespace(),
                            self.pod.metadata.uid()
                        );
                        self.tell(&name, Severity::Warning, "BackOff", &message);
                    }
                }
                State::Pulling { until, .. }
                | State::PullFailed { until, .. }
                | State::Starting { until }
                | State::BackOff { until } => return Some(until),
                State::Running { .. } => return None,
            }
        }
    }

    /// First the image.
    fn begin(&mut self, at: usize, name: &str, image: &str) {
        let now = self.now;
        let policy = self.at(at).and_then(|c| c.spec.image_pull_policy.clone());
        let policy = policy.as_deref().unwrap_or("IfNotPresent");
        let is_there = self.kubelet.images.contains(image);
        if images::pull(image).is_err() || (policy == "Never" && !is_there) {
            return self.pull_failed(at, name, image, policy);
        }
        if is_there && policy != "Always" {
            let message = format!("Container image {image:?} already present on machine");
            self.tell(name, Severity::Normal, "Pulled", &message);
            return self.create(at, name);
        }
        self.tell(name, Severity::Normal, "Pulling", &format!("Pulling image {image:?}"));
        let until = now + if is_there { PULL_AGAIN } else { PULL };
        if let Some(container) = self.at(at) {
            container.state = State::Pulling { until, since: now };
        }
    }

    fn pull_failed(&mut self, at: usize, name: &str, image: &str, policy: &str) {
        let now = self.now;
        let (message, reason) = if policy == "Never" {
            let text =
                format!("Container image {image:?} is not present with pull policy of Never");
            (text, "ErrImageNeverPull")
        } else {
            let text = format!(
                "Failed to pull image {image:?}: failed to pull and unpack image: failed to resolve reference: {image}: not found"
            );
            self.tell(name, Severity::Normal, "Pulling", &format!("Pulling image {image:?}"));
            (text, "Failed")
        };
        self.tell(name, Severity::Warning, reason, &message);
        self.tell(name, Severity::Warning, "Failed", "Error: ErrImagePull");
        let Some(container) = self.at(at) else { return };
        let wait = container.backoff;
        container.backoff = (wait * 2).min(BACKOFF.1);
        container.state = State::PullFailed { until: now + wait, is_backing_off: false };
    }

    fn pulled(&mut self, at: usize, name: &str, image: &str, since: Instant) {
        self.kubelet.images.insert(image.to_string());
        let took = self.now - since;
        let took = if took.as_secs() > 0 {
            format!("{:.3}s", took.as_secs_f64()).replace("00s", "s")
        } else {
            format!("{}ms", took.as_millis())
        };
        let message =
            format!("Successfully pulled image {image:?} in {took} ({took} including waiting)");
        self.tell(name, Severity::Normal, "Pulled", &message);
        self.create(at, name);
    }

    fn create(&mut self, at: usize, name: &str) {
        self.tell(name, Severity::Normal, "Created", &format!("Created container: {name}"));
        let until = self.now + START;
        if let Some(container) = self.at(at) {
            container.backoff = container.backoff.max(BACKOFF.0);
            container.state = State::Starting { until };
        }
    }

    fn start(&mut self, at: usize, name: &str) {
        let now = self.now;
        self.tell(name, Severity::Normal, "Started", &format!("Started container {name}"));
        let (net, sandbox) = (self.net.clone(), self.sandbox);
        let program = Rc::new(program(self.pod, at, self));
        let commands = self.kubelet.commands.borrow().clone();
        let uid = self.pod.metadata.uid().to_string();
        let (node, inbox) = (self.kubelet.node.clone(), self.inbox.clone());
        let node_ns = self.kubelet.ns;
        let Some(container) = self.at(at) else { return };
        container.generation += 1;
        let generation = container.generation;
        if container.generation > 1 {
            container.restarts += i32::from(!container.is_init || container.last_end.is_some());
            let fresh = Log::default();
            container.previous_log = Some(std::mem::replace(&mut container.log, fresh));
        }
        container.state = State::Running { since: now };
        container.streaks.clear();
        container.is_started = container.spec.startup_probe.is_none();
        container.is_ready = container.is_started && container.spec.readiness_probe.is_none();
        let log = container.log.clone();
        let (reporter, container_name, pod_uid) = (inbox.clone(), name.to_string(), uid.clone());
        let reporting_node = node.clone();
        container.runs_with = Some(program.clone());
        let runs_with = program;
        let process = net.start(sandbox.ns, name, Cause(0), |host| {
            let clock = host.clone();
            let line = commands.zip(runs_with.command_line());
            let running = match line {
                Some((commands, argv)) => commands.run(host, &runs_with, &argv, &log),
                None => Some(images::program(host, (*runs_with).clone(), log.clone())),
            };
            async move {
                let code = match running {
                    Some(running) => running.await,
                    None => 127,
                };
                log.close(clock.now());
                let report =
                    Report::Exited { uid: pod_uid, container: container_name, generation, code };
                reporter.borrow_mut().push_back((reporting_node, report));
                code
            }
        });
        container.process = Some(process);
        let probes = [
            (ProbeKind::Startup, container.spec.startup_probe.clone()),
            (ProbeKind::Readiness, container.spec.readiness_probe.clone()),
            (ProbeKind::Liveness, container.spec.liveness_probe.clone()),
        ];
        for (kind, probe) in probes {
            let Some(probe) = probe else { continue };
            let Some(target) = ProbeTarget::of(&probe, &container.spec, sandbox.ip) else {
                continue;
            };
            let (inbox, node, uid) = (inbox.clone(), node.clone(), uid.clone());
            let container_name = name.to_string();
            let prober = net.start(node_ns, "kubelet-probe", Cause(0), |host| async move {
                let report = |result| {
                    let (uid, container) = (uid.clone(), container_name.clone());
                    let report = Report::Probed { uid, container, generation, kind, result };
                    inbox.borrow_mut().push_back((node.clone(), report));
                };
                probe_forever(host, probe, target, report).await
            });
            container.probes.push(prober);
        }
    }
}

/// What a container's program is started with.
fn program(pod: &Pod, at: usize, step: &mut Step<'_>) -> Program {
    let hostname = pod.spec.as_ref().and_then(|spec| spec.hostname.clone());
    let hostname = hostname.unwrap_or_else(|| pod.metadata.name().to_string());
    let node = step.kubelet.node.clone();
    let is_own = step.sandbox.is_own;
    let Some(container) = step.at(at) else { return Program::default() };
    let spec = &container.spec;
    let env = spec.env.iter().flatten();
    let env = env.filter_map(|env| Some((env.name.clone(), env.value.clone()?))).collect();
    let ports = spec.ports.iter().flatten();
    let declared_ports = ports
        .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
        .filter_map(|port| u16::try_from(port.container_port).ok())
        .collect();
    Program {
        image: spec.image.clone().unwrap_or_default(),
        command: spec.command.clone().unwrap_or_default(),
        args: spec.args.clone().unwrap_or_default(),
        env,
        declared_ports,
        hostname: if is_own { hostname } else { node },
        ..Program::default()
    }
}

fn restart_policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
}

fn source(node: &str) -> EventSource {
    EventSource { component: Some("kubelet".to_string()), host: Some(node.to_string()) }
}

/// A reference to one container of a Pod, as events carry it.
fn container_reference(pod: &Pod, container: &str) -> ObjectReference {
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let is_init = init.into_iter().any(|c| c.name == container);
    let list = if is_init { "initContainers" } else { "containers" };
    let field_path = Some(format!("spec.{list}{{{container}}}"));
    ObjectReference { field_path, ..events::reference(pod) }
}

impl Container {
    fn new(spec: &Spec, is_init: bool) -> Container {
        Container {
            spec: spec.clone(),
            is_init,
            state: State::Waiting,
            last_end: None,
            restarts: 0,
            backoff: BACKOFF.0,
            generation: 0,
            log: Log::default(),
            previous_log: None,
            process: None,
            runs_with: None,
            probes: Vec::new(),
            is_started: false,
            is_ready: false,
            streaks: BTreeMap::new(),
        }
    }

    fn kill(&self) {
        for process in self.probes.iter().chain(&self.process) {
            process.kill();
        }
    }

    /// How long to wait before the next start: not at all after the first end, then longer and longer.
    fn next_backoff(&mut self, end: &End) -> Duration {
        if end.finished - end.started >= BACKOFF_RESET {
            self.backoff = BACKOFF.0;
        }
        if self.restarts == 0 && self.generation == 1 {
            return Duration::ZERO;
        }
        let wait = self.backoff;
        self.backoff = (wait * 2).min(BACKOFF.1);
        wait
    }

    fn status(&self, pod_uid: &str) -> ContainerStatus {
        let waiting = |reason: &str, message: Option<String>| ContainerState {
            waiting: Some(ContainerStateWaiting { reason: Some(reason.to_string()), message }),
            ..ContainerState::default()
        };
        let ended = |end: &End| ContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: end.code,
                reason: Some(if end.code == 0 { "Completed" } else { "Error" }.to_string()),
                started_at: Some(time(end.started)),
                finished_at: Some(time(end.finished)),
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        };
        let image = self.spec.image.clone().unwrap_or_default();
        let initial = if self.is_init { "PodInitializing" } else { "ContainerCreating" };
        let state = match &self.state {
            State::Waiting | State::Pulling { .. } | State::Starting { .. } => {
                waiting(initial, None)
            }
            State::PullFailed { is_backing_off: true, .. } => {
                let message = format!("Back-off pulling image {image:?}");
                waiting("ImagePullBackOff", Some(message))
            }
            State::PullFailed { .. } => waiting("ErrImagePull", None),
            State::Running { since } => ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(time(*since)) }),
                ..ContainerState::default()
            },
            State::Ended(end) => ended(end),
            State::BackOff { .. } => {
                let name = &self.spec.name;
                let message = format!("back-off restarting failed container={name}");
                waiting("CrashLoopBackOff", Some(message))
            }
        };
        let is_running = matches!(self.state, State::Running { .. });
        ContainerStatus {
            name: self.spec.name.clone(),
            image: full_name(&image),
            image_id: String::new(),
            container_id: (self.generation > 0)
                .then(|| container_id(pod_uid, &self.spec.name, self.generation)),
            state: Some(state),
            last_state: Some(self.last_end.as_ref().map(ended).unwrap_or_default()),
            ready: if self.is_init {
                matches!(&self.state, State::Ended(end) if end.code == 0)
            } else {
                is_running && self.is_ready
            },
            started: Some(is_running && self.is_started),
            restart_count: self.restarts,
            ..ContainerStatus::default()
        }
    }
}

/// `nginx` is `docker.io/library/nginx:latest`.
fn full_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let tagged = match last.contains([':', '@']) {
        true => image.to_string(),
        false => format!("{image}:latest"),
    };
    match tagged.split_once('/') {
        None => format!("docker.io/library/{tagged}"),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => tagged,
        Some(_) => format!("docker.io/{tagged}"),
    }
}

impl Worker {
    fn new(pod: &Pod) -> Worker {
        let default = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&default);
        let init = spec.init_containers.iter().flatten().map(|c| Container::new(c, true));
        let main = spec.containers.iter().map(|c| Container::new(c, false));
        Worker {
            uid: pod.metadata.uid().to_string(),
            sandbox: None,
            containers: init.chain(main).collect(),
            stopping: None,
            removal: None,
            sandbox_failed: false,
        }
    }

    /// Init containers run one after the other, and the others when all of those have succeeded.
    fn may_run(&self, at: usize) -> bool {
        let before = self.containers.iter().take(at).filter(|container| container.is_init);
        before.into_iter().all(|c| matches!(&c.state, State::Ended(end) if end.code == 0))
    }

    fn named(&mut self, container: &str, generation: u32) -> Option<&mut Container> {
        self.containers.iter_mut().find(|c| c.spec.name == container && c.generation == generation)
    }

    fn exited(&mut self, container: &str, generation: u32, code: i32, now: Instant) {
        let Some(container) = self.named(container, generation) else { return };
        for probe in container.probes.drain(..) {
            probe.kill();
        }
        let started = match container.state {
            State::Running { since } => since,
            _ => now,
        };
        let end = End { code, started, finished: now };
        container.last_end = Some(end.clone());
        container.process = None;
        container.is_ready = false;
        container.state = State::Ended(end);
    }

    /// Counts a probe's result; says what is to be told about it.
    fn probed(
        &mut self,
        container: &str,
        generation: u32,
        kind: ProbeKind,
        result: &Result<(), String>,
    ) -> Option<String> {
        let container = self.named(container, generation)?;
        // Until the startup probe has succeeded, the others do not count.
        if kind != ProbeKind::Startup && !container.is_started {
            return None;
        }
        let probe = match kind {
            ProbeKind::Startup => container.spec.startup_probe.as_ref(),
            ProbeKind::Readiness => container.spec.readiness_probe.as_ref(),
            ProbeKind::Liveness => container.spec.liveness_probe.as_ref(),
        }?;
        let enough = match result {
            Ok(()) => probe.success_threshold.unwrap_or(1),
            Err(_) => probe.failure_threshold.unwrap_or(3),
        };
        let streak = container.streaks.entry(kind).or_default();
        *streak = match result {
            Ok(()) => streak.max(&mut 0).saturating_add(1),
            Err(_) => streak.min(&mut 0).saturating_sub(1),
        };
        let is_enough = streak.abs() >= enough;
        let told = result.as_ref().err().map(|why| format!("{} probe failed: {why}", kind.name()));
        if is_enough {
            match (kind, result) {
                (ProbeKind::Startup, Ok(())) => {
                    container.is_started = true;
                    container.is_ready = container.spec.readiness_probe.is_none();
                }
                (ProbeKind::Readiness, result) => container.is_ready = result.is_ok(),
                (ProbeKind::Liveness, Ok(())) => {}
                (ProbeKind::Startup | ProbeKind::Liveness, Err(_)) => {
                    container.streaks.remove(&kind);
                    if let Some(process) = &container.process {
                        process.terminate();
                    }
                }
            }
        }
        told
    }

    fn status(&self, pod: &Pod, node_ip: Ipv4Addr, now: Instant) -> PodStatus {
        let uid = pod.metadata.uid();
        let mut status = pod.status.clone().unwrap_or_default();
        let (init, main): (Vec<&Container>, Vec<&Container>) =
            self.containers.iter().partition(|container| container.is_init);
        let has_begun = main.iter().chain(&init).any(|container| container.generation > 0);
        let is_initialized = self.may_run(self.containers.len());
        let all_ready = main.iter().all(|c| c.status(uid).ready);
        status.phase = Some(self.phase(&main, pod, is_initialized).to_string());
        status.host_ip = Some(node_ip.to_string());
        status.host_ips = Some(vec![HostIP { ip: node_ip.to_string() }]);
        if let Some(sandbox) = self.sandbox.filter(|_| has_begun) {
            status.pod_ip = Some(sandbox.ip.to_string());
            status.pod_ips = Some(vec![PodIP { ip: sandbox.ip.to_string() }]);
        }
        if status.start_time.is_none() {
            status.start_time = Some(time(now));
        }
        let statuses = |list: &[&Container]| list.iter().map(|c| c.status(uid)).collect::<Vec<_>>();
        status.container_statuses = Some(statuses(&main));
        status.init_container_statuses = (!init.is_empty()).then(|| statuses(&init));
        let is_over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let unready: Vec<&str> =
            main.iter().filter(|c| !c.status(uid).ready).map(|c| c.spec.name.as_str()).collect();
        let not_ready = format!("containers with unready status: [{}]", unready.join(" "));
        let why = |is_true: bool| match (is_true, is_over) {
            (true, _) => (None, None),
            (false, true) => (Some("PodCompleted"), None),
            (false, false) => (Some("ContainersNotReady"), Some(not_ready.clone())),
        };
        let conditions = status.conditions.get_or_insert_default();
        set_condition(
            conditions,
            "PodReadyToStartContainers",
            self.sandbox.is_some(),
            (None, None),
            now,
        );
        set_condition(conditions, "Initialized", is_initialized, (None, None), now);
        set_condition(conditions, "Ready", all_ready, why(all_ready), now);
        set_condition(conditions, "ContainersReady", all_ready, why(all_ready), now);
        let order = [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled",
        ];
        base::order::sort_by_key(conditions, |c| order.iter().position(|kind| *kind == c.type_));
        status
    }

    fn phase(&self, main: &[&Container], pod: &Pod, is_initialized: bool) -> &'static str {
        let policy = restart_policy(pod);
        let init_failed = |c: &Container| {
            c.is_init && policy == "Never" && matches!(&c.state, State::Ended(end) if end.code != 0)
        };
        if self.containers.iter().any(init_failed) {
            return "Failed";
        }
        if !is_initialized || main.iter().all(|c| c.generation == 0) {
            return "Pending";
        }
        let has_ended = |c: &&Container| matches!(c.state, State::Ended(_));
        if main.iter().all(has_ended) && policy != "Always" {
            let failed = |c: &&Container| matches!(&c.state, State::Ended(end) if end.code != 0);
            return match main.iter().any(failed) {
                true if policy == "Never" => "Failed",
                true => "Running",
                false => "Succeeded",
            };
        }
        "Running"
    }
}

fn set_condition(
    conditions: &mut Vec<PodCondition>,
    kind: &str,
    is_true: bool,
    (reason, message): (Option<&str>, Option<String>),
    now: Instant,
) {
    let status = if is_true { "True" } else { "False" };
    let before = conditions.iter().position(|condition| condition.type_ == kind);
    let unchanged = before.and_then(|at| conditions.get(at)).filter(|c| c.status == status);
    let since = unchanged.and_then(|c| c.last_transition_time).unwrap_or_else(|| time(now));
    let condition = PodCondition {
        type_: kind.to_string(),
        status: status.to_string(),
        reason: reason.map(str::to_string),
        message,
        last_transition_time: Some(since),
        ..PodCondition::default()
    };
    match before.and_then(|at| conditions.get_mut(at)) {
        Some(slot) => *slot = condition,
        None => conditions.push(condition),
    }
}

// ---- probes ------------------------------------------------------------------------------------------------

/// Where a probe looks.
#[derive(Clone, Debug)]
enum ProbeTarget {
    Http { addr: SocketAddrV4, path: String, host: String, headers: Vec<(String, String)> },
    Tcp(SocketAddrV4),
}

impl ProbeTarget {
    /// `None` for a probe that runs a command or calls gRPC, which this kubelet does not do.
    fn of(probe: &Probe, container: &Spec, pod: Ipv4Addr) -> Option<ProbeTarget> {
        let port = |port: &IntOrString| -> Option<u16> {
            match port {
                IntOrString::Int(number) => u16::try_from(*number).ok(),
                IntOrString::String(name) => {
                    let mut ports = container.ports.iter().flatten();
                    let found = ports.find(|port| port.name.as_ref() == Some(name))?;
                    u16::try_from(found.container_port).ok()
                }
            }
        };
        let addr = |host: Option<&String>, port: u16| {
            let host = host.and_then(|host| host.parse().ok()).unwrap_or(pod);
            SocketAddrV4::new(host, port)
        };
        if let Some(get) = &probe.http_get {
            let addr = addr(get.host.as_ref(), port(&get.port)?);
            let path = get.path.clone().unwrap_or_else(|| "/".to_string());
            let headers = get.http_headers.iter().flatten();
            let headers = headers.map(|h| (h.name.clone(), h.value.clone())).collect();
            return Some(ProbeTarget::Http { addr, path, host: addr.to_string(), headers });
        }
        let tcp = probe.tcp_socket.as_ref()?;
        Some(ProbeTarget::Tcp(addr(tcp.host.as_ref(), port(&tcp.port)?)))
    }
}

/// Probes again and again, each result a report.
async fn probe_forever(
    host: Host,
    probe: Probe,
    target: ProbeTarget,
    report: impl Fn(Result<(), String>),
) -> i32 {
    let secs = |n: Option<i32>, default: u64| {
        Duration::from_secs(n.and_then(|n| u64::try_from(n).ok()).unwrap_or(default))
    };
    host.sleep(secs(probe.initial_delay_seconds, 0)).await;
    loop {
        let limit = secs(probe.timeout_seconds, 1).max(Duration::from_secs(1));
        let begun = host.now();
        let attempt = netsim::exec::timeout(host.sleep(limit), probe_once(&host, &target)).await;
        report(attempt.unwrap_or_else(|| Err(timed_out(&target))));
        let period = secs(probe.period_seconds, 10).max(Duration::from_secs(1));
        host.net().sleep_until(begun + period).await;
    }
}

fn timed_out(target: &ProbeTarget) -> String {
    match target {
        ProbeTarget::Http { addr, path, .. } => format!(
            "Get \"http://{addr}{path}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        ),
        ProbeTarget::Tcp(addr) => format!("dial tcp {addr}: i/o timeout"),
    }
}

async fn probe_once(host: &Host, target: &ProbeTarget) -> Result<(), String> {
    let refused = |addr: &SocketAddrV4, error| {
        format!("dial tcp {addr}: connect: {}", format!("{error}").to_lowercase())
    };
    match target {
        ProbeTarget::Tcp(addr) => {
            host.connect(*addr).await.map(drop).map_err(|error| refused(addr, error))
        }
        ProbeTarget::Http { addr, path, host: name, headers } => {
            let url = format!("http://{addr}{path}");
            let stream = host
                .connect(*addr)
                .await
                .map_err(|error| format!("Get \"{url}\": {}", refused(addr, error)))?;
            let mut fields = Headers::default();
            fields.push("Host", name.clone());
            fields.push("User-Agent", "kube-probe/1.35");
            fields.push("Accept", "*/*");
            fields.push("Connection", "close");
            for (name, value) in headers {
                fields.push(name, value.clone());
            }
            let ask = Ask {
                method: "GET".to_string(),
                target: path.clone(),
                headers: fields,
                body: Vec::new(),
            };
            match fetch(host, &stream, &ask).await {
                Ok(fetched) if (200..400).contains(&fetched.response.status) => Ok(()),
                Ok(fetched) => {
                    Err(format!("HTTP probe failed with statuscode: {}", fetched.response.status))
                }
                Err(_) => Err(format!("Get \"{url}\": EOF")),
            }
        }
    }
}

/// A container's id: of the right form, and another one for each start.
fn container_id(pod_uid: &str, name: &str, generation: u32) -> String {
    let digest = Sha256::digest(format!("{pod_uid}/{name}/{generation}"));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("containerd://{hex}")
}
