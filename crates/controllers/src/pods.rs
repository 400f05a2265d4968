//! What is asked of Pods everywhere (`pkg/api/v1/pod/util.go`).

use base::Instant;
use base::Items as _;
use kube_api::core::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus};
use kube_api::object::{instant, time};
use kube_api::{Api, MetaExt};

/// A condition of a Pod.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// The Pod says that it is ready.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// The phase; `Pending` before there is one.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// It has ended, well or badly.
pub fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// It has not ended and is not to be deleted.
pub fn is_active(pod: &Pod) -> bool {
    !has_ended(pod) && !pod.metadata.is_terminating()
}

/// The node it runs on, or is to run on.
pub fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Its address.
pub fn address(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.pod_ip.as_deref().filter(|ip| !ip.is_empty())
}

/// Marks a Pod that is about to be disrupted, and says by whom (`DisruptionTarget`).
pub fn disrupt(api: &mut Api, pod: &Pod, reason: &str, message: &str, now: Instant) {
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    api.modify::<Pod>(namespace, name, |pod| {
        let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != "DisruptionTarget");
        conditions.push(PodCondition {
            type_: "DisruptionTarget".to_string(),
            status: "True".to_string(),
            reason: Some(reason.to_string()),
            message: Some(message.to_string()),
            last_transition_time: Some(time(now)),
            ..PodCondition::default()
        });
    });
}

/// The number of a named port of its containers, sidecars among them.
pub fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.items().filter(|container| {
        container.rest.get("restartPolicy").and_then(|policy| policy.as_str()) == Some("Always")
    });
    for container in spec.containers.iter().chain(sidecars) {
        for port in container.ports.items() {
            if port.name.as_deref() == Some(name)
                && port.protocol.as_deref().unwrap_or("TCP") == protocol
            {
                return Some(port.container_port);
            }
        }
    }
    None
}

/// A Pod in a few words, as its row in a list says it (`pkg/printers/internalversion`, `printPod`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Containers that are ready.
    pub ready: usize,
    /// Containers there are.
    pub total: usize,
    /// `Running`, `ContainerCreating`, `CrashLoopBackOff`, …
    pub status: String,
    /// Restarts of all its containers.
    pub restarts: i32,
    /// When the last of those was.
    pub last_restart: Option<Instant>,
}

/// Sums up a Pod.
pub fn summary(pod: &Pod) -> Summary {
    let default = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&default);
    let init = status.init_container_statuses.as_deref().unwrap_or_default();
    let main = status.container_statuses.as_deref().unwrap_or_default();
    let total = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
    let mut summary = Summary { total, status: phase(pod).to_string(), ..Summary::default() };
    if let Some(reason) = &status.reason {
        summary.status.clone_from(reason);
    }
    let gate = condition(pod, "PodScheduled").and_then(|condition| condition.reason.as_deref());
    if gate == Some("SchedulingGated") {
        summary.status = "SchedulingGated".to_string();
    }
    let sidecars = sidecars(pod);
    summary.total += sidecars.iter().filter(|is_sidecar| **is_sidecar).count();
    let is_sidecar = |at: usize| sidecars.get(at) == Some(&true);
    let mut stuck = None;
    for (at, container) in init.iter().enumerate() {
        if is_sidecar(at) && container.started == Some(true) {
            summary.ready += usize::from(container.ready);
        } else if let Some(trouble) = init_trouble(container) {
            stuck = Some((at, trouble));
            break;
        }
    }
    if let Some((at, trouble)) = &stuck {
        summary.count_restarts(init.iter().take(at + 1));
        let progress = || format!("{at}/{}", init.len());
        summary.status = format!("Init:{}", trouble.clone().unwrap_or_else(progress));
    }
    let is_initialized = condition(pod, "Initialized").is_some_and(|c| c.status == "True");
    if stuck.is_none() || is_initialized {
        (summary.restarts, summary.last_restart) = (0, None);
        let side = init.iter().enumerate().filter(|(at, _)| is_sidecar(*at));
        summary.count_restarts(side.map(|(_, status)| status));
        summary.count_restarts(main);
        summary.look_at(main, is_ready(pod));
    }
    if pod.metadata.is_terminating() && !has_ended(pod) {
        summary.status = "Terminating".to_string();
    }
    summary
}

/// Which of its init containers go on running beside the others.
fn sidecars(pod: &Pod) -> Vec<bool> {
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.items());
    let policy = |value: serde_json::Value| value.get("restartPolicy").cloned();
    init.map(|c| policy(kube_api::types::to_value(c)).is_some_and(|p| p == "Always")).collect()
}

/// What keeps an init container from being done: `None` when it is; else a word, if there is one.
fn init_trouble(container: &ContainerStatus) -> Option<Option<String>> {
    let state = container.state.as_ref();
    if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        return (ended.exit_code != 0).then(|| Some(end_word(ended)));
    }
    let waiting = state.and_then(|state| state.waiting.as_ref()?.reason.clone());
    Some(waiting.filter(|reason| !reason.is_empty() && reason != "PodInitializing"))
}

fn end_word(ended: &ContainerStateTerminated) -> String {
    match (ended.reason.as_deref(), ended.signal) {
        (Some(reason), _) if !reason.is_empty() => reason.to_string(),
        (_, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", ended.exit_code),
    }
}

impl Summary {
    fn count_restarts<'a>(&mut self, statuses: impl IntoIterator<Item = &'a ContainerStatus>) {
        for status in statuses {
            self.restarts += status.restart_count;
            let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let last = last.and_then(|ended| ended.finished_at.as_ref()).map(instant);
            self.last_restart = self.last_restart.max(last);
        }
    }

    /// The word of the first container that has one.
    fn look_at(&mut self, statuses: &[ContainerStatus], pod_is_ready: bool) {
        let mut has_running = false;
        for status in statuses.iter().rev() {
            let state = status.state.clone().unwrap_or_default();
            let waiting = state.waiting.and_then(|waiting| waiting.reason);
            if let Some(reason) = waiting.filter(|reason| !reason.is_empty()) {
                self.status = reason;
            } else if let Some(ended) = &state.terminated {
                self.status = end_word(ended);
            } else if status.ready && state.running.is_some() {
                has_running = true;
                self.ready += 1;
            }
        }
        if self.status == "Completed" && has_running {
            self.status = if pod_is_ready { "Running" } else { "NotReady" }.to_string();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        let check = |json: serde_json::Value, expected: (usize, usize, &str, i32)| {
            let pod: Pod = serde_json::from_value(json).unwrap();
            let Summary { ready, total, status, restarts, .. } = summary(&pod);
            assert_eq!((ready, total, status.as_str(), restarts), expected);
        };
        let pod = |phase: &str, statuses: serde_json::Value| {
            serde_json::json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]},
                "status": {"phase": phase, "containerStatuses": statuses}})
        };
        let one = |state: serde_json::Value, ready: bool, restarts: i32| {
            serde_json::json!({"name": "a", "image": "", "imageID": "", "state": state,
                "ready": ready, "restartCount": restarts})
        };
        check(pod("Pending", serde_json::json!([])), (0, 2, "Pending", 0));
        let running = one(serde_json::json!({"running": {}}), true, 1);
        check(pod("Running", serde_json::json!([running, running])), (2, 2, "Running", 2));
        let waits = one(serde_json::json!({"waiting": {"reason": "CrashLoopBackOff"}}), false, 3);
        check(pod("Running", serde_json::json!([waits, running])), (1, 2, "CrashLoopBackOff", 4));
        let ended = one(serde_json::json!({"terminated": {"exitCode": 3}}), false, 0);
        check(pod("Failed", serde_json::json!([ended])), (0, 2, "ExitCode:3", 0));
        let mut starting = pod("Pending", serde_json::json!([]));
        let init = one(serde_json::json!({"running": {}}), false, 0);
        starting["status"]["initContainerStatuses"] = serde_json::json!([init]);
        check(starting.clone(), (0, 2, "Init:0/1", 0));
        let mut beside = starting.clone();
        beside["spec"]["initContainers"] =
            serde_json::json!([{"name": "a", "restartPolicy": "Always"}]);
        beside["status"]["initContainerStatuses"][0]["started"] = true.into();
        beside["status"]["initContainerStatuses"][0]["ready"] = true.into();
        check(beside, (1, 3, "Pending", 0));
        starting["metadata"] = serde_json::json!({"deletionTimestamp": "2026-01-05T09:00:00Z"});
        check(starting, (0, 2, "Terminating", 0));
    }
}
