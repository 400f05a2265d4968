//! Probes, which travel the network from the node, and the handlers of a container's life: commands in the
//! container, requests, pauses (`pkg/kubelet/prober`, `pkg/probe`, `pkg/kubelet/lifecycle`).
//!
//! A probe is sent for the first time when the container has run for `initialDelaySeconds`, and from then on
//! every `periodSeconds`, without jitter.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::{Duration, Instant, Items as _};
use controllers::events::Severity;
use kube_api::core::{Container as Spec, Probe};
use netsim::{Host, NsId, Process};
use programs::http::Headers;
use programs::http::client::{Ask, Fetched, fetch};
use programs::{Commands, Container as Program, Log};
use serde_json::Value;

use super::worker::{json, restart_policy, restarts_again, spec_at};
use super::{Happened, Job, Report};

/// Who asks.
pub(super) const AGENT: &str = "kube-probe/1.35";

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Liveness => "Liveness",
        }
    }

    /// A container's probe of this kind.
    pub(super) fn of(self, spec: &Spec) -> Option<&Probe> {
        match self {
            ProbeKind::Startup => spec.startup_probe.as_ref(),
            ProbeKind::Readiness => spec.readiness_probe.as_ref(),
            ProbeKind::Liveness => spec.liveness_probe.as_ref(),
        }
    }
}

/// How a probe came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Good,
    Bad(String),
    /// It could not be sent: this counts neither way.
    Errored(String),
}

/// What is done to look at a container, or to tell it something.
#[derive(Clone)]
pub(super) enum Action {
    Http {
        addr: SocketAddrV4,
        path: String,
        host: String,
        headers: Vec<(String, String)>,
    },
    Tcp(SocketAddrV4),
    Grpc {
        addr: SocketAddrV4,
        service: String,
        timeout: Duration,
    },
    Exec {
        argv: Vec<String>,
        ns: NsId,
        runs_with: Rc<Program>,
        commands: Option<Rc<dyn Commands>>,
    },
    Sleep(Duration),
    /// Not to be done here, and why.
    Cannot(String),
}

/// A port by its number or its name.
fn port(port: &Value, spec: &Spec) -> Option<u16> {
    if let Some(number) = port.as_u64() {
        return u16::try_from(number).ok();
    }
    let name = port.as_str()?;
    let mut ports = spec.ports.items();
    let named = ports.find(|port| port.name.as_deref() == Some(name));
    named.map_or_else(|| name.parse().ok(), |port| u16::try_from(port.container_port).ok())
}

impl Job<'_> {
    /// What a probe or a handler says is to be done.
    pub(super) fn action(&self, handler: &Value, spec: &Spec, runs_with: &Rc<Program>) -> Action {
        let Some(sandbox) = self.worker.sandbox else {
            return Action::Cannot("the Pod has no network".to_string());
        };
        let commands = self.info.commands.borrow().clone();
        let text = |value: &Value, name: &str| {
            value
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_string)
        };
        let addr = |value: &Value| -> Result<SocketAddrV4, Action> {
            let number = port(value.get("port").unwrap_or(&Value::Null), spec);
            let number = number.ok_or_else(|| {
                let name = value.get("port").and_then(Value::as_str).unwrap_or_default();
                Action::Cannot(format!("port {name} not found"))
            })?;
            let host = text(value, "host");
            let ip: Option<Ipv4Addr> = host.as_ref().map_or(Some(sandbox.ip), |h| h.parse().ok());
            let ip = ip
                .or_else(|| (host.as_deref() == Some("localhost")).then_some(Ipv4Addr::LOCALHOST));
            let why = || format!("dial tcp: lookup {}: no such host", host.unwrap_or_default());
            Ok(SocketAddrV4::new(ip.ok_or_else(|| Action::Cannot(why()))?, number))
        };
        if let Some(exec) = handler.get("exec") {
            let words = exec.get("command").and_then(Value::as_array).items();
            let argv = words.filter_map(Value::as_str).map(str::to_string).collect();
            return Action::Exec { argv, ns: sandbox.ns, runs_with: runs_with.clone(), commands };
        }
        if let Some(get) = handler.get("httpGet") {
            let addr = match addr(get) {
                Ok(addr) => addr,
                Err(cannot) => return cannot,
            };
            let path = text(get, "path").unwrap_or_else(|| "/".to_string());
            let path = if path.starts_with('/') { path } else { format!("/{path}") };
            if text(get, "scheme").as_deref() == Some("HTTPS") {
                let why = format!("Get \"https://{addr}{path}\": TLS is not supported by podwire");
                return Action::Cannot(why);
            }
            let headers = get.get("httpHeaders").and_then(Value::as_array).items();
            let header = |h: &Value| Some((text(h, "name")?, text(h, "value").unwrap_or_default()));
            let headers: Vec<(String, String)> = headers.filter_map(header).collect();
            return Action::Http { addr, path, host: addr.to_string(), headers };
        }
        if let Some(tcp) = handler.get("tcpSocket") {
            return addr(tcp).map_or_else(|cannot| cannot, Action::Tcp);
        }
        if let Some(sleep) = handler.get("sleep") {
            let secs = sleep.get("seconds").and_then(Value::as_u64).unwrap_or(0);
            return Action::Sleep(Duration::from_secs(secs));
        }
        let Some(grpc) = handler.get("grpc") else {
            return Action::Cannot("missing probe handler".to_string());
        };
        let limit = handler.get("timeoutSeconds").and_then(Value::as_i64);
        let timeout = timeout(limit.and_then(|limit| i32::try_from(limit).ok()));
        let service = text(grpc, "service").unwrap_or_default();
        addr(grpc).map_or_else(|cannot| cannot, |addr| Action::Grpc { addr, service, timeout })
    }

    /// Starts a probe of a container that runs.
    pub(super) fn start_probe(&mut self, at: usize, kind: ProbeKind) {
        let pod = self.pod.clone();
        let Some(spec) = spec_at(&pod, at) else { return };
        let Some(probe) = kind.of(spec) else { return };
        let Some(container) = self.worker.containers.get(at) else { return };
        let super::worker::State::Running { since } = container.state else { return };
        let Some(runs_with) = container.runs_with.clone() else { return };
        let (generation, handler) = (container.generation, kube_api::types::to_value(probe));
        let action = self.action(&handler, spec, &runs_with);
        let times = Times {
            first: since + secs(probe.initial_delay_seconds, 0),
            period: secs(probe.period_seconds, 10).max(Duration::from_secs(1)),
            timeout: timeout(probe.timeout_seconds),
        };
        let report = self.reporter(at, generation);
        let process = self.net.start(self.info.ns, "kubelet-probe", netsim::Cause(0), |host| {
            probe_forever(host, times, action, move |answer| report(Happened::Probed(kind, answer)))
        });
        if let Some(container) = self.worker.containers.get_mut(at)
            && let Some(earlier) = container.probes.insert(kind, process)
        {
            earlier.kill();
        }
    }

    /// Counts a probe's answer.
    pub(super) fn probed(&mut self, at: usize, kind: ProbeKind, answer: Answer) {
        let pod = self.pod.clone();
        let Some(probe) = spec_at(&pod, at).and_then(|spec| kind.of(spec)) else { return };
        let is_good = match &answer {
            Answer::Good => true,
            Answer::Bad(why) => {
                let message = format!("{} probe failed: {why}", kind.name());
                self.tell(at, Severity::Warning, "Unhealthy", &message);
                false
            }
            Answer::Errored(why) => {
                let message =
                    format!("{} probe errored and resulted in unknown state: {why}", kind.name());
                return self.tell(at, Severity::Warning, "Unhealthy", &message);
            }
        };
        let Some(container) = self.worker.containers.get_mut(at) else { return };
        if !container.is_running() {
            return;
        }
        let streak = container.streaks.entry(kind).or_default();
        *streak = match is_good {
            true => (*streak).max(0).saturating_add(1),
            false => (*streak).min(0).saturating_sub(1),
        };
        let threshold = match is_good {
            true => probe.success_threshold.unwrap_or(1),
            false => probe.failure_threshold.unwrap_or(3),
        };
        if streak.abs() < threshold {
            return;
        }
        match (kind, is_good) {
            (ProbeKind::Readiness, is_good) => container.is_ready = is_good,
            (ProbeKind::Liveness, true) => {}
            (ProbeKind::Startup, true) => self.has_started(at),
            (ProbeKind::Startup | ProbeKind::Liveness, false) => {
                let own = probe.termination_grace_period_seconds;
                let own = own.and_then(|n| u64::try_from(n).ok()).map(Duration::from_secs);
                let grace = own.unwrap_or_else(|| self.grace());
                self.fail(at, kind, grace);
            }
        }
    }

    /// The startup probe has succeeded: now the others begin.
    fn has_started(&mut self, at: usize) {
        let has_readiness = spec_at(&self.pod, at).is_some_and(|s| s.readiness_probe.is_some());
        let Some(container) = self.worker.containers.get_mut(at) else { return };
        container.is_started = true;
        container.is_ready = !has_readiness;
        if let Some(probe) = container.probes.remove(&ProbeKind::Startup) {
            probe.kill();
        }
        self.start_probe(at, ProbeKind::Readiness);
        self.start_probe(at, ProbeKind::Liveness);
    }

    /// A probe has failed too often.
    fn fail(&mut self, at: usize, kind: ProbeKind, grace: Duration) {
        let Some(container) = self.worker.containers.get(at) else { return };
        let what = if kind == ProbeKind::Startup { "startup" } else { "liveness" };
        let restarts = restarts_again(container.role, restart_policy(&self.pod), 1);
        let then = if restarts { ", will be restarted" } else { "" };
        let message = format!("Container {} failed {what} probe{then}", container.name);
        self.stop_container(at, &message, grace);
    }

    /// Runs a handler of a container's life once, and reports what came of it.
    pub(super) fn start_hook(
        &mut self,
        at: usize,
        which: &str,
        happened: fn(Result<(), String>) -> Happened,
    ) -> Option<Process> {
        let pod = self.pod.clone();
        let spec = spec_at(&pod, at)?;
        let handler = json(spec, &format!("/lifecycle/{which}")).filter(Value::is_object)?;
        let container = self.worker.containers.get(at)?;
        let (generation, runs_with) = (container.generation, container.runs_with.clone()?);
        let action = self.action(&handler, spec, &runs_with);
        let report = self.reporter(at, generation);
        Some(self.net.start(self.info.ns, "kubelet-hook", netsim::Cause(0), |host| async move {
            let result = match act(&host, &action).await {
                Answer::Good => Ok(()),
                // Any answer will do.
                Answer::Bad(why) if why.starts_with("HTTP probe failed") => Ok(()),
                Answer::Bad(why) | Answer::Errored(why) => Err(why),
            };
            report(happened(result));
            0
        }))
    }

    /// What tells the kubelet about a container; late news of an earlier start are known by the generation.
    pub(super) fn reporter(&self, at: usize, generation: u32) -> impl Fn(Happened) + use<> {
        let (inbox, node) = (self.inbox.clone(), self.info.node.clone());
        let (key, id) = (self.key.clone(), self.worker.id.clone());
        move |happened| {
            let report = Report { key: key.clone(), id: id.clone(), at, generation, happened };
            inbox.borrow_mut().push_back((node.clone(), report));
        }
    }
}

fn secs(n: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(n.and_then(|n| u64::try_from(n).ok()).unwrap_or(default))
}

/// How long a probe's answer is waited for.
fn timeout(timeout_seconds: Option<i32>) -> Duration {
    secs(timeout_seconds, 1).max(Duration::from_secs(1))
}

struct Times {
    first: Instant,
    period: Duration,
    timeout: Duration,
}

/// Probes again and again, each answer a report.
async fn probe_forever(host: Host, times: Times, action: Action, report: impl Fn(Answer)) -> i32 {
    host.net().sleep_until(times.first).await;
    loop {
        let begun = host.now();
        let attempt = netsim::exec::timeout(host.sleep(times.timeout), act(&host, &action)).await;
        report(attempt.unwrap_or_else(|| Answer::Bad(timed_out(&action, times.timeout))));
        host.net().sleep_until(begun + times.period).await;
    }
}

fn timed_out(action: &Action, limit: Duration) -> String {
    match action {
        Action::Http { addr, path, .. } => format!(
            "Get \"http://{addr}{path}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        ),
        Action::Tcp(addr) => format!("dial tcp {addr}: i/o timeout"),
        Action::Exec { argv, .. } => {
            format!(
                "command timed out: \"{}\" timed out after {}s",
                argv.join(" "),
                limit.as_secs()
            )
        }
        // It says itself what it has waited for.
        Action::Grpc { .. } | Action::Sleep(_) | Action::Cannot(_) => String::new(),
    }
}

/// Does it once.
pub(super) async fn act(host: &Host, action: &Action) -> Answer {
    match action {
        Action::Cannot(why) => Answer::Bad(why.clone()),
        Action::Sleep(duration) => {
            host.sleep(*duration).await;
            Answer::Good
        }
        Action::Tcp(addr) => match host.connect(*addr).await {
            Ok(_) => Answer::Good,
            Err(error) => Answer::Bad(refused(addr, error)),
        },
        Action::Grpc { addr, service, timeout } => {
            super::grpc::probe(host, *addr, service, *timeout).await
        }
        Action::Exec { argv, ns, runs_with, commands } => {
            exec(host, argv, *ns, runs_with, commands.as_ref()).await
        }
        Action::Http { addr, path, host: name, headers } => {
            http(host, *addr, path, name, headers).await
        }
    }
}

fn refused(addr: &SocketAddrV4, error: netsim::SockError) -> String {
    format!("dial tcp {addr}: connect: {}", error.to_string().to_lowercase())
}

/// Ends what runs when nobody waits for it any more.
struct Ends(Process);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.kill();
    }
}

async fn exec(
    host: &Host,
    argv: &[String],
    ns: NsId,
    runs_with: &Rc<Program>,
    commands: Option<&Rc<dyn Commands>>,
) -> Answer {
    let Some(commands) = commands else {
        return Answer::Errored("nobody runs commands here".to_string());
    };
    let (log, mut is_there) = (Log::default(), true);
    let name = argv.first().map(String::as_str).unwrap_or_default();
    let process = host.net().start(ns, name, netsim::Cause(0), |host| {
        commands.run(host, runs_with, argv, &log).unwrap_or_else(|| {
            is_there = false;
            Box::pin(std::future::ready(126))
        })
    });
    if !is_there {
        process.kill();
        return Answer::Errored(format!(
            "rpc error: code = Unknown desc = failed to exec in container: failed to start exec: OCI runtime exec failed: exec failed: unable to start container process: exec: {name:?}: executable file not found in $PATH"
        ));
    }
    let process = Ends(process);
    if process.0.wait().await == 0 {
        return Answer::Good;
    }
    log.close(host.now());
    let lines = log.lines().into_iter().map(|(_, line)| line + "\n");
    Answer::Bad(lines.collect())
}

/// Redirects followed at most.
const REDIRECTS_MAX: usize = 10;

async fn http(
    host: &Host,
    addr: SocketAddrV4,
    path: &str,
    name: &str,
    headers: &[(String, String)],
) -> Answer {
    let mut path = path.to_string();
    for _ in 0..=REDIRECTS_MAX {
        let fetched = match get(host, addr, &path, name, headers).await {
            Ok(fetched) => fetched,
            Err(why) => return Answer::Bad(why),
        };
        let status = fetched.response.status;
        let location = fetched.response.headers.get("location").unwrap_or_default();
        if !matches!(status, 301 | 302 | 303 | 307 | 308) || location.is_empty() {
            return match status {
                200..400 => Answer::Good,
                status => Answer::Bad(format!("HTTP probe failed with statuscode: {status}")),
            };
        }
        // To another host it is not followed, and counts as a good answer.
        let own = format!("http://{addr}");
        let next = location.strip_prefix(&own).unwrap_or(location);
        if !next.is_empty() && !next.starts_with('/') {
            return Answer::Good;
        }
        path = if next.is_empty() { "/".to_string() } else { next.to_string() };
    }
    Answer::Bad(format!("Get \"http://{addr}{path}\": stopped after 10 redirects"))
}

async fn get(
    host: &Host,
    addr: SocketAddrV4,
    path: &str,
    name: &str,
    headers: &[(String, String)],
) -> Result<Fetched, String> {
    let url = format!("http://{addr}{path}");
    let connected = host.connect(addr).await;
    let stream = connected.map_err(|error| format!("Get \"{url}\": {}", refused(&addr, error)))?;
    let own = |wanted: &str| headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(wanted));
    let mut fields = Headers::default();
    fields.push("Host", own("Host").map_or(name, |(_, value)| value));
    for (field, value) in [("User-Agent", AGENT), ("Accept", "*/*")] {
        if own(field).is_none() {
            fields.push(field, value);
        }
    }
    for (field, value) in headers.iter().filter(|(field, _)| !field.eq_ignore_ascii_case("host")) {
        fields.push(field, value.clone());
    }
    fields.push("Connection", "close");
    let ask = Ask {
        method: "GET".to_string(),
        target: path.to_string(),
        headers: fields,
        body: Vec::new(),
    };
    fetch(host, &stream, &ask).await.map_err(|_| format!("Get \"{url}\": EOF"))
}
