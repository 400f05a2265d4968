//! A container's way: image, configuration, start, restart (`pkg/kubelet/kuberuntime`,
//! `pkg/kubelet/images`).

use std::rc::Rc;

use base::{Duration, Instant, Items as _};
use controllers::events::Severity;
use kube_api::core::{Container as Spec, Pod};
use netsim::Cause;
use programs::{Container as Program, Files, Log, images};

use super::probes::ProbeKind;
use super::sandbox;
use super::worker::{
    BACKOFF, Container, End, State, json, restart_policy, restarts_again, spec_at,
};
use super::{Happened, Job};

/// Pulling an image for the first time on a node.
const PULL: Duration = Duration::from_millis(1200);
/// Asking the registry whether an image that is there is the newest, or whether there is one.
const PULL_AGAIN: Duration = Duration::from_millis(100);
/// From a container's creation to its program's start.
const START: Duration = Duration::from_millis(400);
/// From a failure until the kubelet comes round to the Pod again (`workerBackOffPeriod`, with its jitter).
const COME_ROUND: Duration = Duration::from_secs(12);
/// From a failed pull until the kubelet says that it waits.
const NEXT_LOOK: Duration = Duration::from_secs(1);

/// The earlier of two times, where there are two.
pub(super) fn sooner(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Job<'_> {
    /// Moves every container on as far as it can go now; says when the next has to be moved on.
    pub(super) fn run_containers(&mut self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for at in 0..self.worker.containers.len() {
            if self.worker.may_run(at) {
                next = sooner(next, self.run_container(at));
            }
        }
        next
    }

    fn at(&mut self, at: usize) -> Option<&mut Container> {
        self.worker.containers.get_mut(at)
    }

    fn run_container(&mut self, at: usize) -> Option<Instant> {
        loop {
            let now = self.now;
            match self.at(at)?.state.clone() {
                State::New => self.begin(at),
                State::Pulling { until, since } if until <= now => self.pulled(at, since),
                State::Blocked { until, reason: "ErrImagePull", message } if until <= now => {
                    self.wait_for_image(at, message);
                }
                State::Blocked { until, .. } | State::BackOff { until, .. } if until <= now => {
                    self.at(at)?.state = State::New;
                }
                State::Starting { until } if until <= now => self.start(at),
                State::Ended(end) => {
                    let policy = self.policy(at);
                    let container = self.at(at)?;
                    if !restarts_again(container.role, &policy, end.code) {
                        return None;
                    }
                    self.back_off(at, &end);
                }
                State::Running { .. } => {
                    self.look_at_image(at);
                    return self.stop_step(at);
                }
                State::Pulling { until, .. }
                | State::Blocked { until, .. }
                | State::Starting { until }
                | State::BackOff { until, .. } => return Some(until),
            }
        }
    }

    /// The Pod's restart policy, or a main container's own.
    fn policy(&self, at: usize) -> String {
        let own = spec_at(&self.pod, at).and_then(|spec| json(spec, "/restartPolicy"));
        let own = own.as_ref().and_then(|policy| policy.as_str());
        own.unwrap_or(restart_policy(&self.pod)).to_string()
    }

    fn back_off(&mut self, at: usize, end: &End) {
        let now = self.now;
        let pod = self.pod_in_words();
        let Some(container) = self.at(at) else { return };
        let wait = container.next_backoff(end);
        let until = end.finished + wait;
        container.state = State::BackOff { until };
        if until <= now {
            return;
        }
        let name = container.name.clone();
        let secs = span(wait);
        let message = format!("back-off {secs} restarting failed container={name} pod={pod}");
        container.shown = Some(("CrashLoopBackOff", message));
        let message = format!("Back-off restarting failed container {name} in pod {pod}");
        self.tell(at, Severity::Warning, "BackOff", &message);
    }

    /// The image may be changed while the container runs.
    fn look_at_image(&mut self, at: usize) {
        let image = spec_at(&self.pod, at).and_then(|spec| spec.image.clone()).unwrap_or_default();
        let grace = self.grace();
        let Some(container) = self.at(at) else { return };
        if container.image != image && container.stopping.is_none() {
            container.image = image;
            let name = &container.name;
            let message = format!("Container {name} definition changed, will be restarted");
            self.stop_container(at, &message, grace);
        }
    }

    // ---- the image -----------------------------------------------------------------------------------------

    fn begin(&mut self, at: usize) {
        let now = self.now;
        let Some(spec) = spec_at(&self.pod, at) else { return };
        let image = spec.image.clone().unwrap_or_default();
        let policy = spec.image_pull_policy.clone().unwrap_or_else(|| "IfNotPresent".to_string());
        if let Some(container) = self.at(at) {
            container.image.clone_from(&image);
        }
        if let Some(why) = invalid(&image) {
            let message = format!(
                "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {why}"
            );
            return self.block(at, "InspectFailed", "InvalidImageName", &message);
        }
        let is_there = self.images.contains(&full_name(&image));
        if policy == "Never" && !is_there {
            let message =
                format!("Container image {image:?} is not present with pull policy of Never");
            return self.block(at, "ErrImageNeverPull", "ErrImageNeverPull", &message);
        }
        if is_there && policy != "Always" {
            let message = format!(
                "Container image {image:?} already present on machine and can be accessed by the pod"
            );
            self.tell(at, Severity::Normal, "Pulled", &message);
            return self.create(at);
        }
        self.tell(at, Severity::Normal, "Pulling", &format!("Pulling image {image:?}"));
        let is_known = is_there || images::pull(&image).is_err();
        let until = now + if is_known { PULL_AGAIN } else { PULL };
        if let Some(container) = self.at(at) {
            container.state = State::Pulling { until, since: now };
        }
    }

    /// Cannot go on: two events, a state, and another attempt later.
    fn block(&mut self, at: usize, event: &str, reason: &'static str, message: &str) {
        if event != "Failed" {
            self.tell(at, Severity::Warning, event, message);
        }
        let error = if event == "Failed" { message } else { reason };
        self.tell(at, Severity::Warning, "Failed", &format!("Error: {error}"));
        let until = self.now + COME_ROUND;
        if let Some(container) = self.at(at) {
            container.state = State::Blocked { reason, message: message.to_string(), until };
        }
    }

    fn pulled(&mut self, at: usize, since: Instant) {
        let now = self.now;
        let Some(container) = self.at(at) else { return };
        let image = container.image.clone();
        if images::pull(&image).is_err() {
            let full = full_name(&image);
            let why = format!(
                "rpc error: code = NotFound desc = failed to pull and unpack image {full:?}: failed to resolve image: {full}: not found"
            );
            let message = format!("Failed to pull image {image:?}: {why}");
            self.tell(at, Severity::Warning, "Failed", &message);
            self.tell(at, Severity::Warning, "Failed", "Error: ErrImagePull");
            let until = now + NEXT_LOOK;
            if let Some(container) = self.at(at) {
                container.state = State::Blocked { reason: "ErrImagePull", message: why, until };
            }
            return;
        }
        container.pull_backoff = BACKOFF.0;
        self.images.insert(full_name(&image));
        let took = span(now - since);
        let size = images::size(&image);
        let message = format!(
            "Successfully pulled image {image:?} in {took} ({took} including waiting). Image size: {size} bytes."
        );
        self.tell(at, Severity::Normal, "Pulled", &message);
        self.create(at);
    }

    fn wait_for_image(&mut self, at: usize, why: String) {
        let now = self.now;
        let Some(container) = self.at(at) else { return };
        let image = container.image.clone();
        let until = now + container.pull_backoff;
        container.pull_backoff = (container.pull_backoff * 2).min(BACKOFF.1);
        let words = format!("Back-off pulling image {image:?}");
        let message = format!("{words}: ErrImagePull: {why}");
        container.state = State::Blocked { reason: "ImagePullBackOff", message, until };
        self.tell(at, Severity::Normal, "BackOff", &words);
        self.tell(at, Severity::Warning, "Failed", "Error: ImagePullBackOff");
    }

    // ---- its start -----------------------------------------------------------------------------------------

    fn create(&mut self, at: usize) {
        match self.program(at) {
            Ok(program) => {
                self.tell(at, Severity::Normal, "Created", "Container created");
                let until = self.now + START;
                if let Some(container) = self.at(at) {
                    container.runs_with = Some(Rc::new(program));
                    container.state = State::Starting { until };
                }
            }
            Err(why) => self.block(at, "Failed", "CreateContainerConfigError", &why),
        }
    }

    /// What a container's program is started with, or what is missing.
    fn program(&self, at: usize) -> Result<Program, String> {
        let (Some(spec), Some(sandbox)) = (spec_at(&self.pod, at), self.worker.sandbox) else {
            return Err("the Pod has no network".to_string());
        };
        let (hostname, _) = sandbox::hostname(&self.pod, &self.info.node);
        let refers = super::env::Refers {
            api: self.api,
            pod: &self.pod,
            spec,
            hostname: &hostname,
            pod_ip: sandbox.ip,
            host_ip: self.info.node_ip,
        };
        let env = refers.environment()?;
        let files = Files::new(self.mounts(spec, &env));
        self.write_names(&files, &hostname, sandbox.ip);
        let nothing = base::tree::BTreeMap::new();
        let words = |list: &Option<Vec<String>>| -> Vec<String> {
            list.items().map(|word| super::env::expand(word, &env, &nothing)).collect()
        };
        let working_dir = json(spec, "/workingDir");
        let working_dir = working_dir.as_ref().and_then(|dir| dir.as_str()).unwrap_or_default();
        Ok(Program {
            image: spec.image.clone().unwrap_or_default(),
            command: words(&spec.command),
            args: words(&spec.args),
            declared_ports: declared_ports(spec),
            zone: self.info.dns.zone(spec.image.as_deref(), &hostname, self.api, self.net),
            is_task: is_task(&self.pod, spec, at),
            hostname,
            working_dir: working_dir.to_string(),
            files,
            env: env.into(),
        })
    }

    /// The files that say who and where the Pod is. What is mounted there stays as it is.
    fn write_names(&self, files: &Files, hostname: &str, ip: std::net::Ipv4Addr) {
        let dns = self.api.store().get::<kube_api::core::Service>("kube-system", "kube-dns");
        let dns = dns.and_then(|service| service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok());
        for (path, text) in [
            ("/etc/hosts", sandbox::hosts_file(&self.pod, &self.info.node, ip)),
            ("/etc/resolv.conf", sandbox::resolv_conf(&self.pod, dns)),
            ("/etc/hostname", format!("{hostname}\n")),
        ] {
            if files.read(path).is_none() {
                let _ = files.write(path, text.into_bytes());
            }
        }
    }

    fn start(&mut self, at: usize) {
        let now = self.now;
        let pod = self.pod.clone();
        let (Some(sandbox), Some(spec)) = (self.worker.sandbox, spec_at(&pod, at)) else { return };
        let commands = self.info.commands.borrow().clone();
        let net = self.net.clone();
        let generation = self.at(at).map_or(0, |container| container.generation + 1);
        let report = self.reporter(at, generation);
        let Some(container) = self.at(at) else { return };
        let Some(runs_with) = container.runs_with.clone() else { return };
        container.generation = generation;
        if generation > 1 {
            container.restarts += 1;
            container.previous_log = Some(std::mem::take(&mut container.log));
        }
        let (log, mut is_there) = (Log::default(), true);
        container.log = log.clone();
        let process = net.start(sandbox.ns, &container.name, Cause(0), |host| {
            let line = commands.zip(runs_with.command_line());
            let running = match line {
                Some((commands, argv)) => commands.run(host, &runs_with, &argv, &log),
                None => Some(images::program(host, (*runs_with).clone(), log)),
            };
            is_there = running.is_some();
            async move {
                let code = match running {
                    Some(running) => running.await,
                    None => return 0,
                };
                report(Happened::Exited(code));
                code
            }
        });
        if !is_there {
            process.kill();
            return self.cannot_start(at, &runs_with);
        }
        container.process = Some(process);
        container.state = State::Running { since: now };
        container.shown = None;
        container.streaks.clear();
        container.is_started = spec.startup_probe.is_none();
        container.is_ready = container.is_started && spec.readiness_probe.is_none();
        let is_started = container.is_started;
        self.tell(at, Severity::Normal, "Started", "Container started");
        if is_started {
            self.start_probe(at, ProbeKind::Readiness);
            self.start_probe(at, ProbeKind::Liveness);
        } else {
            self.start_probe(at, ProbeKind::Startup);
        }
        let hook = self.start_hook(at, "postStart", Happened::PostStarted);
        if let Some(container) = self.at(at) {
            container.post_start = hook;
        }
    }

    /// There is no such program in the container.
    fn cannot_start(&mut self, at: usize, runs_with: &Program) {
        let now = self.now;
        let line = runs_with.command_line().unwrap_or_default();
        let name = line.first().map(String::as_str).unwrap_or_default();
        let where_to = if name.contains('/') {
            format!("stat {name}: no such file or directory")
        } else {
            "executable file not found in $PATH".to_string()
        };
        let message = format!(
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: {name:?}: {where_to}"
        );
        self.tell(at, Severity::Warning, "Failed", &format!("Error: {message}"));
        let Some(container) = self.at(at) else { return };
        let mut end = End::new(128, now, now);
        (end.reason, end.has_run, end.message) = ("StartError", false, message.clone());
        container.end(end);
        container.shown = Some(("RunContainerError", message));
    }

    /// How long the Pod's containers have when they are asked to end.
    pub(super) fn grace(&self) -> Duration {
        let spec = self.pod.spec.as_ref();
        let secs = spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
        Duration::from_secs(u64::try_from(secs).unwrap_or(0))
    }

    /// `web-1_default(uid)`, as kubelets call a Pod.
    fn pod_in_words(&self) -> String {
        format!("{}_{}({})", self.key.1, self.key.0, self.worker.uid)
    }
}

/// Whether a container is to end: an init container, or one of a Pod that is not started again.
fn is_task(pod: &Pod, spec: &Spec, at: usize) -> bool {
    let Some(pod) = &pod.spec else { return false };
    let is_init = at < pod.init_containers.as_ref().map_or(0, Vec::len);
    let own = json(spec, "/restartPolicy");
    let policy = own.as_ref().and_then(|own| own.as_str()).or(pod.restart_policy.as_deref());
    match is_init {
        // A sidecar goes on.
        true => own.as_ref().and_then(|own| own.as_str()) != Some("Always"),
        false => policy.is_some_and(|policy| policy != "Always"),
    }
}

/// The ports that a container declares, and those that its probes ask for: there, too, something listens.
fn declared_ports(spec: &Spec) -> Vec<u16> {
    let ports = spec.ports.items();
    let mut all: Vec<u16> = ports
        .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
        .filter_map(|port| u16::try_from(port.container_port).ok())
        .collect();
    for probe in ["/startupProbe", "/readinessProbe", "/livenessProbe"] {
        let probe = json(spec, probe).unwrap_or_default();
        for port in ["/httpGet/port", "/tcpSocket/port", "/grpc/port"] {
            let port = probe.pointer(port).and_then(serde_json::Value::as_u64);
            if let Some(port) = port.and_then(|port| u16::try_from(port).ok())
                && !all.contains(&port)
            {
                all.push(port);
            }
        }
    }
    all
}

/// A duration as Go prints it: `1m20s`, `1.2s`, `400ms`.
pub(super) fn span(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (minutes, millis) = (millis / 60_000, millis % 60_000);
    let mut secs = format!("{}.{:03}", millis / 1000, millis % 1000);
    secs.truncate(secs.trim_end_matches('0').trim_end_matches('.').len());
    if minutes > 0 { format!("{minutes}m{secs}s") } else { format!("{secs}s") }
}

/// What is wrong with an image's name (`distribution/reference`); `None` when nothing is.
fn invalid(image: &str) -> Option<String> {
    let repository = images::repository(image);
    if repository.chars().any(|c| c.is_ascii_uppercase()) {
        let full = if repository.contains('/') { "" } else { "library/" };
        return Some(format!(
            "invalid reference format: repository name ({full}{repository}) must be lowercase"
        ));
    }
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    let is_bad =
        image.is_empty() || !image.chars().all(is_fine) || image.ends_with([':', '/', '@']);
    is_bad.then(|| "invalid reference format".to_string())
}

/// `nginx` is `docker.io/library/nginx:latest`.
pub(super) fn full_name(image: &str) -> String {
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

/// Whether the Pod has a container of this name that is an init container.
pub(super) fn is_init(pod: &Pod, at: usize) -> bool {
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.items());
    at < init.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images() {
        for (image, wanted) in [
            ("nginx", None),
            ("registry.k8s.io/pause:3.10@sha256:abc", None),
            ("localhost:5000/Own", Some("must be lowercase")),
            ("nginx:", Some("invalid reference format")),
            ("a b", Some("invalid reference format")),
        ] {
            let why = invalid(image);
            assert_eq!(why.is_some(), wanted.is_some(), "{image}");
            assert!(why.unwrap_or_default().contains(wanted.unwrap_or_default()), "{image}");
        }
        assert_eq!(full_name("traefik/whoami"), "docker.io/traefik/whoami:latest");
        assert_eq!(full_name("gcr.io/x/y@sha256:1"), "gcr.io/x/y@sha256:1");
    }

    #[test]
    fn spans_as_go_prints_them() {
        for (millis, text) in
            [(400, "400ms"), (1200, "1.2s"), (10_000, "10s"), (80_000, "1m20s"), (300_000, "5m0s")]
        {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }
}
