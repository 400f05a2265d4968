//! Everything there is: [`World`] owns it and lets time pass; [`Lab`] is what everybody else holds.

use base::tree::BTreeMap;
use std::cell::RefCell;
use std::rc::{Rc, Weak};

use base::{Duration, Instant, Rng};
use kube_proxy::Balancing;
use netsim::exec::Notify;
use netsim::{Advance, Cause, Host, Net, NsId, Process, Sim, StepKind, TraceMode};
use programs::Commands;
use programs::dns::Resolver;

use crate::cluster::Cluster;
use crate::dns::files;
use crate::journal::{Journal, Topic};
use crate::kind::{KindConfig, KindError};
use crate::machine::Machine;
use crate::path::{Journey, journey};
use crate::place::Place;
use crate::requests::{Outcome, Request, Requests};

/// How long a new lab's cluster has been running when it is handed over.
const WARM_UP: Duration = Duration::from_secs(60);

/// Bytes of an answer that are kept with the request.
const BODY_KEPT: usize = 16 * 1024;

/// What a lab begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// All chance comes from it.
    pub seed: u64,
    /// How rules choose among endpoints.
    pub balancing: Balancing,
    /// The cluster that runs already, if one is to.
    pub cluster: Option<KindConfig>,
}

impl Default for Options {
    fn default() -> Self {
        let cluster = Some(KindConfig::of_a_new_lab());
        Options { seed: 1, balancing: Balancing::default(), cluster }
    }
}

/// The owner of a lab. When it is dropped, everything in it ends.
pub struct World {
    sim: Sim,
    lab: Lab,
}

/// A lab, to look at it and to act in it. Cheap to copy.
#[derive(Clone)]
pub struct Lab {
    net: Net,
    state: Rc<RefCell<State>>,
    /// Requests whose senders were killed. They are ended at the next step: a process may be killed in the
    /// middle of anything.
    abandoned: Rc<RefCell<Vec<Cause>>>,
}

/// A [`Lab`] that does not keep what it shows alive: for what the lab itself holds.
#[derive(Clone)]
pub struct WeakLab {
    net: Net,
    state: Weak<RefCell<State>>,
    abandoned: Rc<RefCell<Vec<Cause>>>,
}

impl WeakLab {
    /// The lab, if there still is one.
    pub fn upgrade(&self) -> Option<Lab> {
        let WeakLab { net, state, abandoned } = self;
        let state = state.upgrade()?;
        Some(Lab { net: net.clone(), state, abandoned: abandoned.clone() })
    }
}

/// Who runs containers' commands, once somebody has said so.
pub(crate) type CommandsSlot = Rc<RefCell<Option<Rc<dyn Commands>>>>;

struct State {
    seed: u64,
    rng: Rng,
    balancing: Balancing,
    machine: Machine,
    clusters: BTreeMap<String, Cluster>,
    /// The cluster that kubectl speaks to.
    current: Option<String>,
    journal: Journal,
    requests: Requests,
    /// Steps up to here are in the fingerprint.
    absorbed: u64,
    /// Clusters have come or gone.
    clusters_changed: Notify,
    commands: CommandsSlot,
}

impl World {
    /// A new lab; its cluster, if it is to have one, has been running for a minute.
    pub fn new(options: &Options) -> World {
        let sim = Sim::new(options.seed);
        let net = sim.net().clone();
        net.set_trace(TraceMode::Caused);
        let state = State {
            seed: options.seed,
            rng: Rng::new(options.seed).fork("lab"),
            balancing: options.balancing,
            machine: Machine::new(&net),
            clusters: BTreeMap::new(),
            current: None,
            journal: Journal::default(),
            requests: Requests::default(),
            absorbed: 0,
            clusters_changed: Notify::new(&net),
            commands: CommandsSlot::default(),
        };
        let lab = Lab { net, state: Rc::new(RefCell::new(state)), abandoned: Rc::default() };
        let world = World { sim, lab };
        if let Some(config) = &options.cluster {
            let name = config.name.clone().unwrap_or_else(|| "kind".to_string());
            // An empty machine has room for any cluster, and no port is taken.
            let _ = world.lab.create_cluster(&name, config);
            world.advance(Instant::ZERO + WARM_UP, u32::MAX);
        }
        world
    }

    /// The handle.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Does the next thing that happens by `until`. `false`: there is none, and the clock stands at `until`.
    pub fn step(&self, until: Instant) -> bool {
        let due = self.lab.settle();
        let limit = due.map_or(until, |due| due.min(until));
        self.sim.step(limit) || due.is_some_and(|due| due <= until)
    }

    /// Lets time pass until the clock shows `until`, in at most `budget` steps.
    pub fn advance(&self, until: Instant, budget: u32) -> Advance {
        for _ in 0..budget {
            if !self.step(until) {
                return Advance::Reached;
            }
        }
        Advance::OutOfBudget
    }

    /// When the next thing happens, if anything does.
    pub fn next_at(&self) -> Option<Instant> {
        let due = self.lab.settle();
        [due, self.sim.next_at()].into_iter().flatten().min()
    }

    /// Lets time pass until a process has ended, and says how. `None`: it waits for something that will
    /// never happen.
    pub fn run(&self, process: &Process) -> Option<i32> {
        loop {
            if let Some(code) = process.exit_code() {
                return Some(code);
            }
            self.next_at()?;
            self.step(Instant::MAX);
        }
    }
}

/// The clusters.
impl Lab {
    /// The network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.net.now()
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.state.borrow().seed
    }

    /// The same without keeping it alive.
    pub fn downgrade(&self) -> WeakLab {
        let Lab { net, state, abandoned } = self;
        WeakLab { net: net.clone(), state: Rc::downgrade(state), abandoned: abandoned.clone() }
    }

    /// Says who runs the commands of containers from now on. Without anybody only the programs of images
    /// run.
    pub fn set_commands(&self, commands: Rc<dyn Commands>) {
        *self.state.borrow().commands.borrow_mut() = Some(commands);
    }

    /// Has what is due done, and says when something is due next.
    fn settle(&self) -> Option<Instant> {
        let now = self.net.now();
        for cause in self.abandoned.take() {
            self.end_request(cause, Outcome::Failed("interrupted".to_string()), b"");
        }
        let mut state = self.state.borrow_mut();
        let State { clusters, journal, .. } = &mut *state;
        let mut due: Option<Instant> = None;
        for cluster in clusters.values_mut() {
            if cluster.needs_work(now) {
                cluster.work(journal, now);
            }
            due = [due, cluster.due()].into_iter().flatten().min();
        }
        due
    }

    /// Looks at your machine.
    pub fn machine<R>(&self, look: impl FnOnce(&Machine) -> R) -> R {
        look(&self.state.borrow().machine)
    }

    /// The names of all clusters.
    pub fn clusters(&self) -> Vec<String> {
        self.state.borrow().clusters.keys().cloned().collect()
    }

    /// The cluster that kubectl speaks to.
    pub fn current(&self) -> Option<String> {
        self.state.borrow().current.clone()
    }

    /// That is the cluster from now on. `false`: there is none of this name.
    pub fn set_current(&self, name: &str) -> bool {
        let is_there = self.clusters().iter().any(|known| known == name);
        if is_there {
            self.state.borrow_mut().current = Some(name.to_string());
        }
        is_there
    }

    /// Looks at a cluster, or does something in it; `None` when there is no such cluster.
    pub fn with<R>(&self, cluster: &str, act: impl FnOnce(&mut Cluster) -> R) -> Option<R> {
        self.state.borrow_mut().clusters.get_mut(cluster).map(act)
    }

    /// Tells when objects of the cluster have changed, or clusters have come or gone.
    pub fn changed(&self, cluster: &str) -> Notify {
        let state = self.state.borrow();
        let of_cluster = state.clusters.get(cluster).map(Cluster::changed);
        of_cluster.unwrap_or_else(|| state.clusters_changed.clone())
    }

    /// `kind create cluster`: its containers run at once, the rest takes its time. kubectl speaks to it
    /// from now on.
    pub fn create_cluster(&self, name: &str, config: &KindConfig) -> Result<(), KindError> {
        let now = self.now();
        let mut state = self.state.borrow_mut();
        if state.clusters.contains_key(name) {
            return Err(KindError::Exists(name.to_string()));
        }
        let State { machine, balancing, rng, commands, .. } = &mut *state;
        let cluster = Cluster::create(name, config, machine, &self.net, *balancing, rng, commands)?;
        state.clusters.insert(name.to_string(), cluster);
        state.current = Some(name.to_string());
        let nodes = config.nodes.len();
        let text = format!("cluster {name} created, {nodes} nodes");
        state.journal.note(now, Topic::World, "", text);
        state.clusters_changed.notify();
        Ok(())
    }

    /// `kind delete cluster`. `false`: there is none of this name.
    pub fn delete_cluster(&self, name: &str) -> bool {
        let now = self.now();
        let mut state = self.state.borrow_mut();
        let Some(mut cluster) = state.clusters.remove(name) else { return false };
        cluster.destroy(&mut state.machine);
        if state.current.as_deref() == Some(name) {
            state.current = None;
        }
        state.journal.note(now, Topic::World, "", format!("cluster {name} deleted"));
        state.clusters_changed.notify();
        true
    }

    /// How rules choose among endpoints.
    pub fn balancing(&self) -> Balancing {
        self.state.borrow().balancing
    }

    /// Changes how rules choose among endpoints, on all nodes.
    pub fn set_balancing(&self, balancing: Balancing) {
        let now = self.now();
        let mut state = self.state.borrow_mut();
        state.balancing = balancing;
        state.clusters.values_mut().for_each(|cluster| cluster.set_balancing(balancing, now));
        let text = format!("load balancing is {} now", balancing.name());
        state.journal.note(now, Topic::World, "", text);
    }

    /// Stops or starts a node's kube-proxy. `false`: there is no such node.
    pub fn set_proxy_stopped(&self, node: &str, stopped: bool) -> bool {
        let now = self.now();
        let mut state = self.state.borrow_mut();
        let found = state.clusters.values_mut().any(|c| c.set_proxy_stopped(node, stopped, now));
        if found {
            let what = if stopped { "stopped" } else { "started" };
            state.journal.note(now, Topic::World, node, format!("kube-proxy {what}"));
        }
        found
    }

    /// Does something with the clusters that is worth writing down.
    pub(crate) fn with_clusters<R>(
        &self,
        act: impl FnOnce(&mut BTreeMap<String, Cluster>, &mut Journal) -> R,
    ) -> R {
        let mut state = self.state.borrow_mut();
        let State { clusters, journal, .. } = &mut *state;
        act(clusters, journal)
    }

    /// The network namespace of a place, while it exists.
    pub fn ns(&self, place: &Place) -> Option<NsId> {
        self.net.namespace(&place.ns_name())
    }

    /// How programs of your machine and of nodes ask for names. Those of Pods have their container's own files
    /// ([`programs::Container::resolver`]).
    pub fn resolver(&self, place: &Place) -> Resolver {
        let state = self.state.borrow();
        files::resolver_of(&state.hosts(place), state.resolv_conf(place))
    }

    /// A file that whoever made your machine or a node has written there: `/etc/hosts`, `/etc/hostname`,
    /// `/etc/resolv.conf`.
    pub fn etc(&self, place: &Place, path: &str) -> Option<String> {
        let state = self.state.borrow();
        match path {
            "/etc/hosts" => Some(state.hosts(place)),
            "/etc/resolv.conf" => Some(state.resolv_conf(place).to_string()),
            "/etc/hostname" if *place == Place::Machine => Some("podwire\n".to_string()),
            "/etc/hostname" => Some(format!("{}\n", place.short())),
            _ => None,
        }
    }

    /// Starts a program somewhere.
    pub fn start<F>(
        &self,
        place: &Place,
        name: &str,
        program: impl FnOnce(Host) -> F,
    ) -> Option<Process>
    where
        F: Future<Output = i32> + 'static,
    {
        Some(self.net.start(self.ns(place)?, name, Cause::default(), program))
    }
}

impl State {
    fn hosts(&self, place: &Place) -> String {
        let mut nodes = self.clusters.values().flat_map(Cluster::nodes);
        match nodes.find(|node| *place == Place::Node(node.name.clone())) {
            Some(node) => files::node_hosts(&node.name, node.ip),
            None => files::machine_hosts(),
        }
    }

    fn resolv_conf(&self, place: &Place) -> &'static str {
        if *place == Place::Machine { files::MACHINE_RESOLV } else { files::NODE_RESOLV }
    }
}

/// Requests, and what has been written down.
impl Lab {
    /// A request begins. Whoever sends it does so with the cause that is returned.
    pub fn begin_request(&self, from: &Place, to: &str, command: &str) -> Cause {
        let now = self.now();
        let mut state = self.state.borrow_mut();
        let first_step = self.net.next_step();
        let cause = state.requests.begin(now, from, to, command, first_step);
        state.journal.note(now, Topic::Request, "", format!("#{} {command}", cause.0));
        cause
    }

    /// A request has ended.
    pub fn end_request(&self, cause: Cause, outcome: Outcome, body: &[u8]) {
        let now = self.now();
        let journey = self.journey(cause);
        let answered_by = journey.pod().map(|place| place.short().to_string());
        let mut state = self.state.borrow_mut();
        let text = match (&outcome, &answered_by) {
            (Outcome::Answered(status), Some(pod)) => format!("#{} {status} from {pod}", cause.0),
            (Outcome::Answered(status), None) => format!("#{} {status}", cause.0),
            (Outcome::Failed(why), _) => format!("#{} {why}", cause.0),
        };
        let write = match &outcome {
            Outcome::Failed(_) => Journal::complain,
            Outcome::Answered(_) => Journal::note,
        };
        self.absorb_steps(&mut state);
        write(&mut state.journal, now, Topic::Request, "", text);
        if let Some(request) = state.requests.get_mut(cause) {
            request.done = Some(now);
            request.path = journey.places();
            request.answered_by = answered_by.filter(|_| matches!(outcome, Outcome::Answered(_)));
            request.outcome = Some(outcome);
            request.body = body.get(..BODY_KEPT).unwrap_or(body).to_vec();
        }
    }

    /// Whoever sent a request is no more, and will not say how it ended.
    pub fn abandon_request(&self, cause: Cause) {
        self.abandoned.borrow_mut().push(cause);
    }

    /// The steps since the last time go into the fingerprint.
    fn absorb_steps(&self, state: &mut State) {
        for step in self.net.steps_since(state.absorbed) {
            let detail = match &step.kind {
                StepKind::Hook(trace) => trace.events.len() as u64,
                StepKind::Sent { arrives, .. } => arrives.as_micros(),
                _ => 0,
            };
            for number in [step.serial, step.at.as_micros(), step.packet.0, detail] {
                state.journal.absorb(&number.to_le_bytes());
            }
            state.journal.absorb(&step.bytes);
            state.absorbed = step.serial + 1;
        }
    }

    /// What was written down of a request's packets.
    pub fn journey(&self, cause: Cause) -> Journey {
        let first = self.state.borrow().requests.get(cause).map(|request| request.first_step);
        first.map_or_else(Journey::default, |first| {
            journey(&self.net, &self.net.steps_since(first), cause)
        })
    }

    /// Looks at the requests.
    pub fn requests<R>(&self, look: impl FnOnce(&Requests) -> R) -> R {
        look(&self.state.borrow().requests)
    }

    /// A request.
    pub fn request(&self, cause: Cause) -> Option<Request> {
        self.state.borrow().requests.get(cause).cloned()
    }

    /// Looks at the journal.
    pub fn journal<R>(&self, look: impl FnOnce(&Journal) -> R) -> R {
        look(&self.state.borrow().journal)
    }
}
