//! What a kubelet remembers of a Pod and of its containers.

use base::tree::BTreeMap;
use std::rc::Rc;

use base::{Duration, Instant, Items as _};
use kube_api::MetaExt;
use kube_api::core::{Container as Spec, Pod};
use netsim::Process;
use programs::{Container as Program, Log};
use serde_json::Value;

use super::probes::ProbeKind;
use super::sandbox::Sandbox;
use super::volumes::Mounted;

/// Waiting between two starts of a container that fails, at first and at most.
pub(super) const BACKOFF: (Duration, Duration) =
    (Duration::from_secs(10), Duration::from_secs(300));
/// A container that ran so long is started again without waiting.
const BACKOFF_RESET: Duration = Duration::from_secs(600);
/// Bytes of a container's last words (`MaxContainerTerminationMessageLength`).
const MESSAGE_MAX: usize = 4096;

/// A Pod on this node.
pub(super) struct Worker {
    /// The Pod's own number. It stays when the mirror of a Pod from a file is made anew in the API.
    pub id: String,
    /// Its number in the API.
    pub uid: String,
    /// When the kubelet first heard of it.
    pub since: Instant,
    /// Its image in the API, for a Pod that comes from a file and cannot be deleted there.
    pub from_file: Option<Rc<Pod>>,
    pub volumes: BTreeMap<String, Mounted>,
    pub are_volumes_there: bool,
    /// What cannot be done now is tried again then, and has failed so often.
    pub retry: Option<Instant>,
    pub failures: u32,
    /// When changes of ConfigMaps and Secrets reach its files.
    pub refresh: Option<Instant>,
    pub sandbox: Option<Sandbox>,
    /// Init containers first, each list in the order of the Pod.
    pub containers: Vec<Container>,
    /// It was asked to end.
    pub ending: Option<Ending>,
    /// The kubelet has ended it, with this reason and message.
    pub failed: Option<(&'static str, &'static str)>,
    /// All its containers have ended for good.
    pub is_over: bool,
}

/// A Pod that is asked to end.
#[derive(Clone, Copy)]
pub(super) struct Ending {
    /// What is left then is killed.
    pub kill_at: Instant,
    /// Its containers and its network are gone; when the API server is told so.
    pub removal: Option<Instant>,
}

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs to its end before the next is started.
    Init,
    /// An init container that goes on running beside the others.
    Sidecar,
    Main,
}

pub(super) struct Container {
    pub name: String,
    pub role: Role,
    pub image: String,
    /// Where its last words are, and whether its log has them when it says nothing there and fails.
    pub message_path: String,
    pub message_in_log: bool,
    pub state: State,
    pub last_end: Option<End>,
    pub restarts: i32,
    /// How long the next wait is, if it fails again.
    pub backoff: Duration,
    /// The same for its image.
    pub pull_backoff: Duration,
    /// Rises with every start, so that late reports of an earlier one are known.
    pub generation: u32,
    pub log: Log,
    pub previous_log: Option<Log>,
    pub process: Option<Process>,
    /// What it was last started with.
    pub runs_with: Option<Rc<Program>>,
    pub probes: BTreeMap<ProbeKind, Process>,
    /// It is being ended.
    pub stopping: Option<Stopping>,
    /// Its `postStart` has not come to its end yet; the process that runs it.
    pub post_start: Option<Process>,
    /// The startup probe has succeeded, or there is none.
    pub is_started: bool,
    pub is_ready: bool,
    /// Why it waited before it was started again; shown until it runs.
    pub shown: Option<(&'static str, String)>,
    /// Results in a row: successes above zero, failures below.
    pub streaks: BTreeMap<ProbeKind, i32>,
}

/// A container that is being ended: first its `preStop`, then SIGTERM, then SIGKILL.
pub(super) struct Stopping {
    pub kill_at: Instant,
    pub pre_stop: Option<Process>,
}

/// How a container's program ended.
#[derive(Clone)]
pub(super) struct End {
    pub code: i32,
    pub reason: &'static str,
    pub message: String,
    /// It never ran: the times say nothing.
    pub has_run: bool,
    pub started: Instant,
    pub finished: Instant,
}

impl End {
    pub(super) fn new(code: i32, started: Instant, finished: Instant) -> End {
        let reason = if code == 0 { "Completed" } else { "Error" };
        End { code, reason, message: String::new(), has_run: true, started, finished }
    }
}

/// Where in its life a container is.
#[derive(Clone)]
pub(super) enum State {
    /// Not begun, or to begin again.
    New,
    /// Something is missing; tried again later.
    Blocked {
        reason: &'static str,
        message: String,
        until: Instant,
    },
    Pulling {
        until: Instant,
        since: Instant,
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

/// The specification of a Pod's container by its number among all of them.
pub(super) fn spec_at(pod: &Pod, at: usize) -> Option<&Spec> {
    let spec = pod.spec.as_ref()?;
    spec.init_containers.items().chain(&spec.containers).nth(at)
}

/// A field of an object, by its path in JSON. Most fields of Pods that only a kubelet looks at have no place
/// of their own in the types.
pub(super) fn json(object: &dyn kube_api::types::Object, pointer: &str) -> Option<Value> {
    let path = pointer.strip_prefix('/')?;
    let (name, deeper) = path.split_once('/').unwrap_or((path, ""));
    let mut part = kube_api::types::part(object, name)?;
    if deeper.is_empty() {
        return Some(part);
    }
    part.pointer_mut(&format!("/{deeper}")).map(Value::take)
}

impl Container {
    fn new(spec: &Spec, is_init: bool) -> Container {
        let restarts = json(spec, "/restartPolicy");
        let is_sidecar = is_init && restarts.as_ref().and_then(Value::as_str) == Some("Always");
        Container {
            name: spec.name.clone(),
            role: match (is_init, is_sidecar) {
                (_, true) => Role::Sidecar,
                (true, false) => Role::Init,
                (false, false) => Role::Main,
            },
            image: spec.image.clone().unwrap_or_default(),
            message_path: spec.termination_message_path.clone().unwrap_or_default(),
            message_in_log: spec.termination_message_policy.as_deref()
                == Some("FallbackToLogsOnError"),
            state: State::New,
            last_end: None,
            restarts: 0,
            backoff: BACKOFF.0,
            pull_backoff: BACKOFF.0,
            generation: 0,
            log: Log::default(),
            previous_log: None,
            process: None,
            runs_with: None,
            probes: BTreeMap::new(),
            stopping: None,
            post_start: None,
            is_started: false,
            is_ready: false,
            shown: None,
            streaks: BTreeMap::new(),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// It has ended well.
    pub(super) fn has_succeeded(&self) -> bool {
        matches!(&self.state, State::Ended(end) if end.code == 0)
    }

    /// Ends everything about it at once, without a word.
    pub(super) fn kill(&mut self) {
        self.kill_probes();
        let stopping = self.stopping.take().and_then(|stopping| stopping.pre_stop);
        for process in self.post_start.take().iter().chain(&stopping).chain(&self.process) {
            process.kill();
        }
        self.process = None;
    }

    pub(super) fn kill_probes(&mut self) {
        for probe in std::mem::take(&mut self.probes).into_values() {
            probe.kill();
        }
    }

    /// Its program has ended, or was killed.
    pub(super) fn ended(&mut self, code: i32, now: Instant) {
        let since = match self.state {
            State::Running { since } => since,
            _ => now,
        };
        self.end(End::new(code, since, now));
    }

    pub(super) fn end(&mut self, mut end: End) {
        self.log.close(end.finished);
        if end.message.is_empty() {
            end.message = self.last_words(end.code);
        }
        self.kill();
        self.is_ready = false;
        self.is_started = false;
        self.last_end = Some(end.clone());
        self.state = State::Ended(end);
    }

    /// What it left to be read after its end (`getTerminationMessage`).
    fn last_words(&self, code: i32) -> String {
        let program = self.runs_with.as_ref();
        if let Some(message) = program.and_then(|program| program.files.read(&self.message_path)) {
            let some = message.get(..MESSAGE_MAX).unwrap_or(&message);
            return String::from_utf8_lossy(some).into_owned();
        }
        let mut words = String::new();
        if self.message_in_log && code != 0 {
            let lines = self.log.lines();
            for (_, line) in lines.iter().skip(lines.len().saturating_sub(80)) {
                words.push_str(line);
                words.push('\n');
            }
        }
        words
    }

    /// How long to wait before the next start: not at all after the first end, then longer and longer
    /// (`client-go/util/flowcontrol/backoff.go`).
    pub(super) fn next_backoff(&mut self, end: &End) -> Duration {
        if end.has_run && end.finished - end.started >= BACKOFF_RESET {
            self.backoff = BACKOFF.0;
            return Duration::ZERO;
        }
        if self.restarts == 0 && self.generation == 1 {
            return Duration::ZERO;
        }
        let wait = self.backoff;
        self.backoff = (wait * 2).min(BACKOFF.1);
        wait
    }
}

impl Worker {
    pub(super) fn new(pod: &Rc<Pod>, now: Instant) -> Worker {
        let spec = pod.spec.as_ref();
        let init = spec.iter().flat_map(|spec| spec.init_containers.items());
        let mut containers: Vec<Container> = init.map(|c| Container::new(c, true)).collect();
        let main = spec.iter().flat_map(|spec| &spec.containers);
        containers.extend(main.map(|c| Container::new(c, false)));
        containers.shrink_to_fit();
        let source = pod.metadata.annotation("kubernetes.io/config.source");
        Worker {
            id: pod.metadata.uid().to_string(),
            uid: pod.metadata.uid().to_string(),
            since: now,
            from_file: (source == Some("file")).then(|| pod.clone()),
            volumes: BTreeMap::new(),
            are_volumes_there: false,
            retry: None,
            failures: 0,
            refresh: None,
            sandbox: None,
            containers,
            ending: None,
            failed: None,
            is_over: false,
        }
    }

    /// Everything before this container that it waits for is done: init containers run one after the other,
    /// sidecars have to have started, and all of them come before the others
    /// (`computeInitContainerActions`).
    pub(super) fn may_run(&self, at: usize) -> bool {
        let is_main = self.containers.get(at).is_some_and(|container| container.role == Role::Main);
        let has_begun = is_main && self.has_begun();
        let mut before = self.containers.iter().take(at);
        before.all(|container| match container.role {
            Role::Init | Role::Sidecar if has_begun => true,
            Role::Init => container.has_succeeded(),
            Role::Sidecar => container.is_started && container.post_start.is_none(),
            Role::Main => container.post_start.is_none(),
        })
    }

    /// A main container has been started.
    pub(super) fn has_begun(&self) -> bool {
        self.containers.iter().any(|c| c.role == Role::Main && c.generation > 0)
    }

    /// All init containers have done what the others wait for.
    pub(super) fn is_initialized(&self) -> bool {
        self.has_begun()
            || self.containers.iter().all(|container| match container.role {
                Role::Init => container.has_succeeded(),
                Role::Sidecar => container.is_started,
                Role::Main => true,
            })
    }

    /// Whether its turn has come to be ended: sidecars end after all others, the last one first.
    pub(super) fn may_stop(&self, at: usize) -> bool {
        let Some(container) = self.containers.get(at) else { return false };
        let is_later = |(other, c): (usize, &Container)| {
            c.is_running() && (c.role == Role::Main || (c.role == Role::Sidecar && other > at))
        };
        container.role != Role::Sidecar || !self.containers.iter().enumerate().any(is_later)
    }
}

pub(super) fn restart_policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
}

/// Whether a container that has ended is to be started again.
pub(super) fn restarts_again(role: Role, policy: &str, code: i32) -> bool {
    match (role, policy) {
        (Role::Sidecar, _) => true,
        (Role::Init, "Always" | "OnFailure") => code != 0,
        (_, "Never") => false,
        (_, "OnFailure") => code != 0,
        _ => true,
    }
}
