//! `kubectl logs` and `kubectl exec`.

use std::rc::Rc;

use base::Duration;
use base::Items as _;
use kube_api::core::Pod;
use kube_api::{AnyObject, MetaExt};
use lab::Place;
use programs::Log;

use super::kube::{Fail, Kube, error};
use super::target::{Filter, Target, find, targets};
use crate::commands::exec::{ExecError, INTERACTIVE, Stdio, exec as exec_in, is_interactive};
use crate::flags::Args;

/// A Pod by its name, or one of a workload's; and of how many.
fn pod(kube: &Kube<'_>, word: &str) -> Result<(Rc<Pod>, usize), Fail> {
    let target = match word.contains('/') {
        true => targets(kube, &[word.to_string()])?.into_iter().next(),
        false => Some(Target { kind: kube.kind("pods")?, name: Some(word.to_string()) }),
    };
    let object = match &target {
        Some(target) => find(kube, target, &Filter::default())?.into_iter().next(),
        None => None,
    };
    match object {
        Some(AnyObject::Pod(pod)) => Ok((pod, 1)),
        Some(other) => first_of(kube, &other),
        None => Err(error(format!("no pod found for {word:?}"))),
    }
}

/// The first Pod that a selector of a workload or Service fits, and how many there are.
fn first_of(kube: &Kube<'_>, object: &AnyObject) -> Result<(Rc<Pod>, usize), Fail> {
    let value = object.to_value();
    let selector = match object {
        AnyObject::Service(_) => value.pointer("/spec/selector"),
        _ => value.pointer("/spec/selector/matchLabels"),
    };
    let wanted = selector.and_then(serde_json::Value::as_object).cloned().unwrap_or_default();
    let fits = |pod: &&Rc<Pod>| {
        !wanted.is_empty()
            && wanted.iter().all(|(name, value)| pod.metadata.label(name) == value.as_str())
    };
    let found = kube.api(|api| {
        let mut all = api.store().list_in::<Pod>(object.namespace()).filter(fits);
        let first = all.next().cloned();
        first.map(|first| (first, 1 + all.count()))
    })?;
    found.ok_or_else(|| error("timed out waiting for the condition"))
}

/// The container that is meant; says so where it had to choose.
async fn container(kube: &Kube<'_>, args: &Args, pod: &Pod) -> Result<String, Fail> {
    let names: Vec<String> =
        pod.spec.iter().flat_map(|spec| &spec.containers).map(|c| c.name.clone()).collect();
    let mut init = pod.spec.iter().flat_map(|spec| spec.init_containers.items());
    match args.get("container") {
        Some(name) if names.iter().any(|known| known == name) => Ok(name.to_string()),
        Some(name) if init.any(|known| known.name == *name) => Ok(name.to_string()),
        Some(name) => {
            Err(error(format!("container {name} is not valid for pod {}", pod.metadata.name())))
        }
        None => {
            let first = names.first().cloned().unwrap_or_default();
            if names.len() > 1 && !args.is_on("quiet") {
                let all = names.into_iter().chain(init.map(|c| format!("{} (init)", c.name)));
                let all: Vec<String> = all.collect();
                kube.err(format!("Defaulted container {first:?} out of: {}\n", all.join(", ")))
                    .await?;
            }
            Ok(first)
        }
    }
}

/// `kubectl logs POD`
pub(crate) async fn logs(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    if args.get("since").is_some() {
        return Err(kube.unsupported("'logs --since'"));
    }
    let mut chosen: Vec<(Rc<Pod>, String)> = Vec::new();
    let has_selector = args.get("selector").is_some();
    if has_selector {
        if args.is_on("follow") {
            return Err(kube.unsupported("'logs -f' of several Pods"));
        }
        let filter = Filter::of(kube, args)?;
        let target = Target { kind: kube.kind("pods")?, name: None };
        for object in find(kube, &target, &filter)? {
            if let AnyObject::Pod(pod) = object {
                let name = container(kube, args, &pod).await?;
                chosen.push((pod, name));
            }
        }
        if chosen.is_empty() {
            kube.err(format!("No resources found in {} namespace.\n", kube.namespace)).await?;
            return Ok(0);
        }
    } else {
        let Some(word) = args.words.first() else {
            return Err(error(
                "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command\nSee 'kubectl logs -h' for help and examples",
            ));
        };
        let (pod, count) = pod(kube, word)?;
        if count > 1 {
            let name = pod.metadata.name();
            kube.err(format!("Found {count} pods, using pod/{name}\n")).await?;
        }
        if args.is_on("all-containers") {
            for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
                chosen.push((pod.clone(), container.name.clone()));
            }
        } else {
            let name = match args.words.get(1) {
                Some(name) => name.clone(),
                None => container(kube, args, &pod).await?,
            };
            chosen.push((pod, name));
        }
    }
    // Of several Pods not everything is shown, unless that is asked for.
    let tail = args.number("tail")?.or(has_selector.then_some(10));
    let tail = tail.and_then(|n| u64::try_from(n).ok());
    for (pod, container) in &chosen {
        print_log(kube, args, pod, container, tail).await?;
    }
    Ok(0)
}

/// What a container has printed; `None`: it has not run.
pub(super) fn log_of(
    kube: &Kube<'_>,
    pod: &Pod,
    container: &str,
    previous: bool,
) -> Result<Option<Log>, Fail> {
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    kube.cluster(|cluster| {
        let node = controllers::pods::node_name(pod).and_then(|node| cluster.node(node))?;
        node.kubelet.log_of(namespace, name, container, previous)
    })
}

/// Why a container does not run yet.
fn waits_for(pod: &Pod, container: &str) -> String {
    let status = pod.status.as_ref();
    let main = status.into_iter().flat_map(|status| status.container_statuses.items());
    let init = status.into_iter().flat_map(|s| s.init_container_statuses.items());
    let found = main.chain(init).find(|status| status.name == container);
    let waiting = found.and_then(|status| status.state.as_ref()?.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.clone());
    reason.unwrap_or_else(|| "ContainerCreating".to_string())
}

/// Why there is no log.
fn without_log(pod: &Pod, container: &str, previous: bool) -> Fail {
    let name = pod.metadata.name();
    let why = match (previous, waits_for(pod, container).as_str()) {
        (true, _) => {
            format!("previous terminated container {container:?} in pod {name:?} not found")
        }
        (false, reason) => {
            let reason = match reason {
                "ErrImagePull" | "ImagePullBackOff" => "trying and failing to pull image",
                reason => reason,
            };
            format!("container {container:?} in pod {name:?} is waiting to start: {reason}")
        }
    };
    Fail::Message(format!("Error from server (BadRequest): {why}"))
}

async fn print_log(
    kube: &Kube<'_>,
    args: &Args,
    pod: &Pod,
    container: &str,
    tail: Option<u64>,
) -> Result<(), Fail> {
    let previous = args.is_on("previous");
    let Some(log) = log_of(kube, pod, container, previous)? else {
        return Err(without_log(pod, container, previous));
    };
    let prefix = match args.is_on("prefix") {
        true => format!("[pod/{}/{container}] ", pod.metadata.name()),
        false => String::new(),
    };
    let mut shown = tail.map_or(0, |tail| log.count().saturating_sub(tail));
    loop {
        // What comes while it is printed is printed next time.
        let (lines, is_closed) = (log.lines_from(shown), log.is_closed());
        shown = log.count();
        for (at, line) in lines {
            let stamp = match args.is_on("timestamps") {
                true => format!("{} ", kube_api::object::micro_time(at)),
                false => String::new(),
            };
            kube.out(format!("{prefix}{stamp}{line}\n")).await?;
        }
        // Who follows hears of this container only, not of the one that is started in its place.
        if !args.is_on("follow") || is_closed {
            return Ok(());
        }
        kube.ctx.host.sleep(Duration::from_millis(100)).await;
        let now = log_of(kube, pod, container, previous)?;
        if !now.is_some_and(|now| now.is_same(&log)) && shown == log.count() {
            return Ok(());
        }
    }
}

/// There is no such container that runs.
fn not_found(container: &str) -> Fail {
    let why = format!("unable to upgrade connection: container not found (\"{container}\")");
    error(format!("Internal error occurred: {why}"))
}

/// `kubectl exec POD -- COMMAND…`
pub(crate) async fn exec(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let Some(word) = args.words.first() else {
        return Err(error("pod, type/name or --filename must be specified"));
    };
    let argv = match &args.rest {
        Some(rest) => rest.clone(),
        None if args.words.len() > 1 => {
            return Err(error(
                "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead\nSee 'kubectl exec -h' for help and examples",
            ));
        }
        None => Vec::new(),
    };
    if argv.is_empty() {
        return Err(error("you must specify at least one command for the container"));
    }
    let (pod, _) = pod(kube, word)?;
    if controllers::pods::has_ended(&pod) {
        let phase = controllers::pods::phase(&pod);
        return Err(error(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    // Here it is the API server that looks for the container.
    let container = match container(kube, args, &pod).await {
        Err(Fail::Message(text)) => {
            let text = text.replacen("error:", "Error from server (BadRequest):", 1);
            return Err(Fail::Message(text));
        }
        other => other?,
    };
    if is_interactive(kube.ctx, &argv, args.is_on("stdin")) {
        return Err(kube.unsupported(INTERACTIVE));
    }
    let (namespace, name) = (pod.metadata.namespace(), pod.metadata.name());
    let place = if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
        Place::Node(controllers::pods::node_name(&pod).unwrap_or_default().to_string())
    } else {
        Place::Pod {
            cluster: kube.cluster_name().to_string(),
            namespace: namespace.to_string(),
            name: name.to_string(),
        }
    };
    if controllers::pods::phase(&pod) != "Running" {
        return Err(not_found(&container));
    }
    let runs = kube.cluster(|cluster| cluster.container(namespace, name, &container))?;
    let Some(runs) = runs else { return Err(not_found(&container)) };
    let stdio = Stdio { with_stdin: args.is_on("stdin"), with_tty: args.is_on("tty") };
    match exec_in(kube.ctx, &place, Some(&runs), &argv, stdio).await {
        Ok(0) => Ok(0),
        Ok(code) => {
            kube.err(format!("command terminated with exit code {code}\n")).await?;
            Ok(code)
        }
        Err(ExecError::Gone) => Err(not_found(&container)),
        Err(ExecError::NotFound(program)) => {
            let chance = base::Rng::new(kube.now().as_micros());
            let mut chance = chance.fork(&format!("exec/{namespace}/{name}"));
            let id: String = (0..4).map(|_| format!("{:016x}", chance.next_u64())).collect();
            kube.err(format!("error: Internal error occurred: Internal error occurred: error executing command in container: failed to exec in container: failed to start exec {id:?}: OCI runtime exec failed: exec failed: unable to start container process: exec: {program:?}: executable file not found in $PATH\n")).await?;
            Err(Fail::Said(1))
        }
    }
}
