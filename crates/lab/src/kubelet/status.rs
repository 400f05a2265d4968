//! What a Pod's status says (`pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/status/generate.go`).

use base::Instant;
use base::Items as _;
use kube_api::core::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use kube_api::object::time;
use kube_api::types::Time;
use sha2::{Digest, Sha256};

use super::Job;
use super::containers::full_name;
use super::worker::{Container, End, Role, State, Worker, json, restart_policy};

impl Job<'_> {
    pub(super) fn write_status(&mut self) {
        let status = self.worker.status(&self.pod, self.info.node_ip, self.now);
        if self.pod.status.as_ref() == Some(&status) {
            return;
        }
        let (namespace, name) = self.key;
        let changed = self.api.modify::<Pod>(namespace, name, |pod| pod.status = Some(status));
        if let Some(pod) = changed {
            self.pod = pod;
        }
    }
}

fn digest(text: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        for digit in [byte >> 4, byte & 15] {
            hex.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    hex
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let message = (!message.is_empty()).then(|| message.to_string());
    let waiting = ContainerStateWaiting { reason: Some(reason.to_string()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn ended(end: &End, id: &Option<String>) -> ContainerState {
    let started = if end.has_run { time(end.started) } else { Time(0) };
    let terminated = ContainerStateTerminated {
        container_id: id.clone(),
        exit_code: end.code,
        reason: Some(end.reason.to_string()),
        message: (!end.message.is_empty()).then(|| end.message.clone()),
        started_at: Some(started),
        finished_at: Some(time(end.finished)),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

impl Container {
    /// A container's id: of the right form, and another one for each start.
    fn id(&self, pod: &str, generation: u32) -> Option<String> {
        let text = format!("{pod}/{}/{generation}", self.name);
        (generation > 0).then(|| format!("containerd://{}", digest(&text)))
    }

    fn status(&self, pod: &str, before: &'static str) -> ContainerStatus {
        let id = self.id(pod, self.generation);
        let state = match (&self.state, &self.shown) {
            (State::Running { since }, _) => ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(time(*since)) }),
                ..ContainerState::default()
            },
            (State::Ended(end), _) => ended(end, &id),
            (State::Blocked { reason, message, .. }, _) => waiting(reason, message),
            (_, Some((reason, message))) => waiting(reason, message),
            // About to be started again: nothing has been said of it since its end.
            _ => self.last_end.as_ref().map_or_else(|| waiting(before, ""), |end| ended(end, &id)),
        };
        // Of one that has ended and is not started again, the end is its state, not its last state.
        let last_id =
            if self.is_running() { self.id(pod, self.generation - 1) } else { id.clone() };
        let last = match &self.last_end {
            Some(end) if state.terminated.is_none() => ended(end, &last_id),
            _ => ContainerState::default(),
        };
        let image = full_name(&self.image);
        let repository = image.split('@').next().unwrap_or_default();
        let repository = repository.rsplit_once(':').map_or(repository, |(name, _)| name);
        ContainerStatus {
            name: self.name.clone(),
            image_id: match self.generation {
                0 => String::new(),
                _ => format!("{repository}@sha256:{}", digest(&image)),
            },
            image: if self.generation > 0 { image } else { self.image.clone() },
            container_id: id,
            state: Some(state),
            last_state: Some(last),
            ready: if self.role == Role::Init {
                self.has_succeeded()
            } else {
                self.is_running() && self.is_ready
            },
            started: Some(self.is_running() && self.is_started),
            restart_count: self.restarts,
            ..ContainerStatus::default()
        }
    }

    /// It has run before, or runs.
    fn has_run(&self) -> bool {
        self.generation > 0
    }
}

/// The conditions that a kubelet writes.
const OWN: [&str; 4] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];

/// The conditions of a Pod that others have written.
pub(super) fn of_others(pod: &Pod) -> impl Iterator<Item = &PodCondition> {
    let all = pod.status.iter().flat_map(|status| status.conditions.items());
    all.filter(|condition| !OWN.contains(&condition.type_.as_str()))
}

/// A condition's value with its reason and message.
type Verdict = (bool, &'static str, String);

fn yes() -> Verdict {
    (true, "", String::new())
}

impl Worker {
    fn status(&self, pod: &Pod, node_ip: std::net::Ipv4Addr, now: Instant) -> PodStatus {
        let mut status = pod.status.clone().unwrap_or_default();
        let has_init = self.containers.iter().any(|c| c.role != Role::Main);
        let before = if has_init { "PodInitializing" } else { "ContainerCreating" };
        let of = |is_main: bool| -> Vec<ContainerStatus> {
            let some = self.containers.iter().filter(|c| (c.role == Role::Main) == is_main);
            let mut statuses = Vec::with_capacity(some.clone().count());
            statuses.extend(some.map(|c| c.status(&self.id, before)));
            statuses
        };
        let phase = self.phase(pod);
        status.phase = Some(phase.to_string());
        status.observed_generation = pod.metadata.generation;
        status.host_ip = Some(node_ip.to_string());
        status.host_ips = Some(vec![HostIP { ip: node_ip.to_string() }]);
        let has_begun = self.containers.iter().any(Container::has_run);
        if let Some(sandbox) = self.sandbox.filter(|_| has_begun) {
            status.pod_ip = Some(sandbox.ip.to_string());
            status.pod_ips = Some(vec![PodIP { ip: sandbox.ip.to_string() }]);
        }
        if status.start_time.is_none() {
            status.start_time = Some(time(self.since));
        }
        status.container_statuses = Some(of(true));
        status.init_container_statuses = has_init.then(|| of(false));
        if let Some((reason, message)) = self.failed {
            status.reason = Some(reason.to_string());
            status.message = Some(message.to_string());
        }
        self.conditions(pod, phase, &mut status, now);
        status
    }

    fn conditions(&self, pod: &Pod, phase: &str, status: &mut PodStatus, now: Instant) {
        let ready = self.containers_ready(phase);
        let gates = self.gates_ready(pod, status, &ready);
        let has_sandbox = (self.sandbox.is_some(), "", String::new());
        let order = OWN.into_iter().chain(["PodScheduled"]);
        let verdicts = [has_sandbox, self.initialized(phase), gates, ready];
        let conditions = status.conditions.get_or_insert_default();
        for (kind, verdict) in OWN.into_iter().zip(verdicts) {
            set_condition(conditions, kind, verdict, pod.metadata.generation, now);
        }
        conditions.shrink_to_fit();
        base::order::sort_by_key(conditions, |c| {
            order.clone().position(|kind| kind == c.type_).unwrap_or(OWN.len() + 1)
        });
    }

    fn initialized(&self, phase: &str) -> Verdict {
        if phase == "Succeeded" {
            return (true, "PodCompleted", String::new());
        }
        if self.is_initialized() {
            return yes();
        }
        let open = self.containers.iter().filter(|container| match container.role {
            Role::Init => !container.has_succeeded(),
            Role::Sidecar => !container.is_started,
            Role::Main => false,
        });
        (false, "ContainersNotInitialized", names("incomplete", open))
    }

    fn containers_ready(&self, phase: &str) -> Verdict {
        match phase {
            "Succeeded" => return (false, "PodCompleted", String::new()),
            "Failed" => return (false, "PodFailed", String::new()),
            _ => {}
        }
        let is_open = |c: &&Container| c.role != Role::Init && !(c.is_running() && c.is_ready);
        let open: Vec<&Container> = self.containers.iter().filter(is_open).collect();
        if open.is_empty() {
            return yes();
        }
        (false, "ContainersNotReady", names("unready", open.into_iter()))
    }

    fn gates_ready(&self, pod: &Pod, status: &PodStatus, ready: &Verdict) -> Verdict {
        let gates = pod.spec.as_ref().and_then(|spec| json(spec, "/readinessGates"));
        let gates = gates.as_ref().and_then(|gates| gates.as_array());
        let mut missing = Vec::new();
        for gate in gates.items() {
            let kind = gate.get("conditionType").and_then(|kind| kind.as_str()).unwrap_or_default();
            let mut conditions = status.conditions.items();
            match conditions.find(|condition| condition.type_ == kind) {
                None => missing.push(format!(
                    "corresponding condition of pod readiness gate {kind:?} does not exist."
                )),
                Some(condition) if condition.status != "True" => missing.push(format!(
                    "the status of pod readiness gate {kind:?} is not \"True\", but {}",
                    condition.status
                )),
                Some(_) => {}
            }
        }
        if !ready.0 || missing.is_empty() {
            return ready.clone();
        }
        (false, "ReadinessGatesNotReady", missing.join(", "))
    }

    /// (`getPhase`)
    fn phase(&self, pod: &Pod) -> &'static str {
        if self.failed.is_some() {
            return "Failed";
        }
        let policy = restart_policy(pod);
        let is_last = self.ending.is_some();
        let init_failed = |c: &Container| {
            c.role == Role::Init
                && (policy == "Never" || is_last)
                && matches!(&c.state, State::Ended(end) if end.code != 0)
        };
        if self.containers.iter().any(init_failed) {
            return "Failed";
        }
        if !self.is_initialized() {
            return "Pending";
        }
        let (mut running, mut stopped, mut failed) = (0usize, 0usize, 0usize);
        for container in self.containers.iter().filter(|c| c.role == Role::Main) {
            if container.is_running() {
                running += 1;
            } else if let Some(end) = &container.last_end {
                stopped += 1;
                failed += usize::from(end.code != 0);
            } else {
                return if is_last && running == 0 { "Failed" } else { "Pending" };
            }
        }
        let is_sidecar = |c: &Container| c.role == Role::Sidecar && c.is_running();
        running += usize::from(self.containers.iter().any(is_sidecar) && stopped > 0);
        match (running, stopped, policy) {
            (1.., _, _) => "Running",
            (0, 0, _) => "Pending",
            _ if is_last => {
                if failed > 0 {
                    "Failed"
                } else {
                    "Succeeded"
                }
            }
            (_, _, "Always") => "Running",
            _ if failed == 0 => "Succeeded",
            (_, _, "Never") => "Failed",
            _ => "Running",
        }
    }
}

fn names<'a>(what: &str, containers: impl Iterator<Item = &'a Container>) -> String {
    let names: Vec<&str> = containers.map(|container| container.name.as_str()).collect();
    format!("containers with {what} status: [{}]", names.join(" "))
}

fn set_condition(
    conditions: &mut Vec<PodCondition>,
    kind: &str,
    (is_true, reason, message): Verdict,
    generation: Option<i64>,
    now: Instant,
) {
    let status = if is_true { "True" } else { "False" };
    let some = |text: &str| (!text.is_empty()).then(|| text.to_string());
    let found = conditions.iter_mut().find(|condition| condition.type_ == kind);
    let same = found.as_ref().filter(|condition| condition.status == status);
    let since = same.and_then(|c| c.last_transition_time).unwrap_or_else(|| time(now));
    let condition = PodCondition {
        type_: kind.to_string(),
        status: status.to_string(),
        reason: some(reason),
        message: some(&message),
        last_transition_time: Some(since),
        observed_generation: generation,
        ..PodCondition::default()
    };
    match found {
        Some(slot) => *slot = condition,
        None => conditions.push(condition),
    }
}
