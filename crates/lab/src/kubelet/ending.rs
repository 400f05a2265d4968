//! How containers and Pods end: `preStop`, SIGTERM, SIGKILL; deadlines; deletion
//! (`pkg/kubelet/kuberuntime/kuberuntime_container.go`, `SyncTerminatingPod` of `pkg/kubelet/kubelet.go`).

use base::{Duration, Instant};
use controllers::events::Severity;
use kube_api::core::Pod;
use kube_api::{DeleteOptions, Kind, MetaExt};

use super::containers::sooner;
use super::probes::ProbeKind;
use super::worker::{Ending, State, Stopping, restart_policy, restarts_again};
use super::{Happened, Job};

/// Time from the end of a Pod's containers and network until the API server forgets it: volumes and cgroups
/// are cleaned up and the last status is sent (`SyncTerminatedPod`), in loops that come round every second
/// or so. `kubectl delete` waits for it; rules have long followed by then.
const CLEAN_UP: Duration = Duration::from_millis(1100);
/// What a container has at least after its `preStop` (`minimumGracePeriodInSeconds`).
const GRACE_MIN: Duration = Duration::from_secs(2);

impl Job<'_> {
    // ---- a container -----------------------------------------------------------------------------------

    /// Begins to end a container that runs.
    pub(super) fn stop_container(&mut self, at: usize, message: &str, grace: Duration) {
        let Some(container) = self.worker.containers.get_mut(at) else { return };
        if !container.is_running() || container.stopping.is_some() {
            return;
        }
        for kind in [ProbeKind::Startup, ProbeKind::Liveness] {
            if let Some(probe) = container.probes.remove(&kind) {
                probe.kill();
            }
        }
        self.tell(at, Severity::Normal, "Killing", message);
        let pre_stop = match grace {
            Duration::ZERO => None,
            _ => self.start_hook(at, "preStop", Happened::PreStopped),
        };
        let kill_at = self.now + grace;
        let Some(container) = self.worker.containers.get_mut(at) else { return };
        if pre_stop.is_none() {
            container.terminate();
        }
        container.stopping = Some(Stopping { kill_at, pre_stop });
    }

    /// Goes on ending a container; says when it has to go on again.
    pub(super) fn stop_step(&mut self, at: usize) -> Option<Instant> {
        let now = self.now;
        let container = self.worker.containers.get_mut(at)?;
        let stopping = container.stopping.as_mut()?;
        if stopping.kill_at > now {
            return Some(stopping.kill_at);
        }
        // A `preStop` that is not done in time is given up; the program still hears of it.
        if let Some(hook) = stopping.pre_stop.take() {
            hook.kill();
            stopping.kill_at = now + GRACE_MIN;
            let again = stopping.kill_at;
            container.terminate();
            return Some(again);
        }
        container.ended(137, now);
        Some(now)
    }

    /// A `preStop` has come to its end.
    pub(super) fn pre_stopped(&mut self, at: usize, result: &Result<(), String>) {
        if result.is_err() {
            self.tell(at, Severity::Warning, "FailedPreStopHook", "PreStopHook failed");
        }
        let least = self.now + GRACE_MIN;
        let Some(container) = self.worker.containers.get_mut(at) else { return };
        if let Some(stopping) = &mut container.stopping {
            stopping.pre_stop = None;
            stopping.kill_at = stopping.kill_at.max(least);
            container.terminate();
        }
    }

    /// A `postStart` has come to its end. When it failed, the container has to go.
    pub(super) fn post_started(&mut self, at: usize, result: &Result<(), String>) {
        if let Some(container) = self.worker.containers.get_mut(at) {
            container.post_start = None;
        }
        if result.is_err() {
            self.tell(at, Severity::Warning, "FailedPostStartHook", "PostStartHook failed");
            let grace = self.grace();
            self.stop_container(at, "FailedPostStartHook", grace);
        }
    }

    // ---- the Pod ---------------------------------------------------------------------------------------

    /// The Pod is to be deleted: its programs are asked to end, and killed when their time is over. Says
    /// when to go on.
    pub(super) fn delete(&mut self) -> Option<Instant> {
        if let Some(Ending { removal: Some(removal), .. }) = self.worker.ending {
            if removal > self.now {
                return Some(removal);
            }
            let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
            let _ = self.api.delete(Pod::id(), &self.key.0, &self.key.1, options, self.now);
            self.is_done = true;
            return None;
        }
        let secs = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let grace = Duration::from_secs(u64::try_from(secs).unwrap_or(0));
        if let Some(next) = self.end(grace) {
            return Some(next);
        }
        self.write_status();
        self.take_down_sandbox();
        let removal = self.now + CLEAN_UP;
        if let Some(ending) = &mut self.worker.ending {
            ending.removal = Some(removal);
        }
        Some(removal)
    }

    /// Ends all containers; says when to go on, until none is left.
    fn end(&mut self, grace: Duration) -> Option<Instant> {
        // Who asks again with less time is heard; the time that is over already counts.
        let limit = self.now + grace;
        let kill_at = self.worker.ending.map_or(limit, |ending| ending.kill_at.min(limit));
        let removal = self.worker.ending.and_then(|ending| ending.removal);
        self.worker.ending = Some(Ending { kill_at, removal });
        let mut next = None;
        for at in (0..self.worker.containers.len()).rev() {
            if !self.worker.may_stop(at) {
                continue;
            }
            let Some(container) = self.worker.containers.get_mut(at) else { continue };
            if let Some(stopping) = &mut container.stopping {
                stopping.kill_at = stopping.kill_at.min(kill_at.max(self.now));
            }
            let left = if kill_at > self.now { kill_at - self.now } else { Duration::ZERO };
            let message = format!("Stopping container {}", container.name);
            let is_late = container.role == super::worker::Role::Sidecar && grace > Duration::ZERO;
            self.stop_container(at, &message, if is_late { left.max(GRACE_MIN) } else { left });
            next = sooner(next, self.stop_step(at));
        }
        let is_running = self.worker.containers.iter().any(|container| container.is_running());
        is_running.then(|| next.unwrap_or(self.now + Duration::from_secs(1)))
    }

    /// Whether the Pod has come to its end by itself, or by its deadline; what is left is ended. Says when to
    /// look again.
    pub(super) fn check_end(&mut self) -> Option<Instant> {
        let seconds = self.pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
        let deadline = seconds.and_then(|n| u64::try_from(n).ok());
        let deadline = deadline.map(|secs| self.worker.since + Duration::from_secs(secs));
        if self.worker.failed.is_none() && deadline.is_some_and(|deadline| deadline <= self.now) {
            let message = "Pod was active on the node longer than the specified deadline";
            self.worker.failed = Some(("DeadlineExceeded", message));
            self.tell_pod(Severity::Normal, "DeadlineExceeded", message);
        }
        if self.worker.failed.is_none() && !self.has_ended() {
            return deadline;
        }
        let grace = self.grace();
        if let Some(next) = self.end(grace) {
            return Some(next);
        }
        self.worker.is_over = true;
        self.take_down_sandbox();
        None
    }

    /// All main containers have ended for good, or an init container has.
    fn has_ended(&self) -> bool {
        let policy = restart_policy(&self.pod);
        let is_final = |container: &super::worker::Container| match &container.state {
            State::Ended(end) => !restarts_again(container.role, policy, end.code),
            _ => false,
        };
        let containers = &self.worker.containers;
        let init_failed = containers
            .iter()
            .any(|c| c.role == super::worker::Role::Init && is_final(c) && !c.has_succeeded());
        let mut main = containers.iter().filter(|c| c.role == super::worker::Role::Main);
        init_failed || main.all(is_final)
    }

    /// A Pod from a file has been deleted in the API, where it is only shown: it is shown anew
    /// (`pkg/kubelet/pod/mirror_client.go`).
    pub(super) fn show_anew(&mut self, is_there: bool) {
        if is_there {
            self.api.remove(Pod::id(), &self.key.0, &self.key.1);
        }
        let Some(file) = &self.worker.from_file else { return };
        let mut pod = (**file).clone();
        pod.metadata.uid = None;
        pod.metadata.resource_version = None;
        pod.metadata.deletion_timestamp = None;
        pod.metadata.deletion_grace_period_seconds = None;
        pod.status = None;
        if let Ok(pod) = self.api.create_typed(pod, self.now) {
            self.worker.uid = pod.metadata.uid().to_string();
            self.pod = pod;
        }
    }
}

impl super::worker::Container {
    /// SIGTERM
    fn terminate(&self) {
        if let Some(process) = &self.process {
            process.terminate();
        }
    }
}
