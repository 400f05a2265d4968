//! `kubectl run -i`, `--attach`, `--rm`: what a Pod that was just made prints, until it has ended
//! (`kubectl/pkg/cmd/run`).

use base::Duration;
use kube_api::core::{ContainerState, Pod};
use kube_api::{AnyObject, DeleteOptions, KindInfo};

use super::delete::{line, wait_until_gone};
use super::kube::{Fail, Kube, error};
use super::pods::log_of;
use crate::commands::exec::{INTERACTIVE, is_shell};
use crate::flags::Args;

/// How often kubectl looks.
const LOOK: Duration = Duration::from_millis(100);

/// How long it waits for the Pod to run (`--pod-running-timeout`).
const START: Duration = Duration::from_secs(60);

/// Whether `run` stays with its Pod; an error where the flags do not fit together.
pub(crate) fn is_wanted(kube: &Kube<'_>, args: &Args, is_dry: bool) -> Result<bool, Fail> {
    let with_input = args.is_on("stdin");
    let attaches = args.switch_or("attach", with_input);
    if args.is_on("tty") && !with_input {
        return Err(error("-i/--stdin is required for containers with -t/--tty=true"));
    }
    if args.is_on("rm") && !attaches {
        return Err(error("--rm should only be used for attached containers"));
    }
    if attaches && is_dry {
        return Err(error(
            "--dry-run=[server|client] can't be used with attached containers options (--attach, --stdin, or --tty)",
        ));
    }
    let words: Vec<&str> = args.rest.iter().flatten().map(String::as_str).collect();
    let waits_for_input = match words.as_slice() {
        [] => with_input,
        [one] => with_input && is_shell(one),
        _ => false,
    };
    if waits_for_input {
        return Err(kube.unsupported(INTERACTIVE));
    }
    Ok(attaches)
}

/// Shows what the Pod prints; afterwards it goes, with `--rm`. The exit code is its container's where it is not
/// started again.
pub(crate) async fn stay(kube: &Kube<'_>, args: &Args, name: &str) -> Result<i32, Fail> {
    if !args.is_on("quiet") {
        let text = "All commands and output from this session will be recorded in container logs, including credentials and sensitive information passed through the command prompt.\nIf you don't see a command prompt, try pressing enter.\n";
        kube.err(text).await?;
    }
    let watched = watch(kube, name).await;
    if args.is_on("rm") {
        remove(kube, name).await?;
    }
    let Some((code, reason)) = watched? else { return Ok(0) };
    if matches!(args.get("restart"), None | Some("Always")) || code == 0 {
        return Ok(0);
    }
    kube.err(format!("pod {}/{name} terminated ({reason})\n", kube.namespace)).await?;
    Ok(code)
}

/// How a container has ended: its exit code, and the reason.
type Ended = Option<(i32, String)>;

async fn watch(kube: &Kube<'_>, name: &str) -> Result<Ended, Fail> {
    let deadline = kube.now() + START;
    let mut shown = 0;
    loop {
        let found = kube.api(|api| api.store().get::<Pod>(&kube.namespace, name).cloned())?;
        let Some(pod) = found else { return Ok(None) };
        let (ended, was_restarted) = ended(&pod);
        if let Some(log) = log_of(kube, &pod, name, was_restarted)? {
            let lines = log.lines_from(shown);
            shown = log.count();
            for (_, line) in lines {
                kube.out(format!("{line}\n")).await?;
            }
        }
        if ended.is_some() {
            return Ok(ended);
        }
        let is_waiting = controllers::pods::phase(&pod) == "Pending";
        if is_waiting && kube.now() >= deadline {
            return Err(error("timed out waiting for the condition"));
        }
        kube.ctx.host.sleep(LOOK).await;
    }
}

/// How the container has ended, if it has; and whether another has been started since.
fn ended(pod: &Pod) -> (Ended, bool) {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let Some(status) = statuses.into_iter().next() else { return (None, false) };
    let of = |state: &Option<ContainerState>| {
        let ended = state.as_ref()?.terminated.as_ref()?;
        Some((ended.exit_code, ended.reason.clone().unwrap_or_default()))
    };
    if let Some(now) = of(&status.state) {
        return (Some(now), false);
    }
    let is_running = status.state.as_ref().is_some_and(|state| state.running.is_some());
    (of(&status.last_state), is_running)
}

async fn remove(kube: &Kube<'_>, name: &str) -> Result<(), Fail> {
    let kind: KindInfo = kube.kind("pods")?;
    let Ok(live) = kube.get_in(&kind, &kube.namespace, name) else { return Ok(()) };
    let (now, namespace) = (kube.now(), &kube.namespace);
    kube.api(|api| api.delete(kind.id, namespace, name, DeleteOptions::default(), now))??;
    kube.out(line(&kind, namespace, name, "deleted")).await?;
    let gone: [(KindInfo, AnyObject); 1] = [(kind, live)];
    wait_until_gone(kube, &gone, None).await
}
