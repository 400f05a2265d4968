//! `kubectl delete` (`kubectl/pkg/cmd/delete`).

use base::Duration;
use kube_api::{AnyObject, DeleteOptions, KindInfo, Propagation};

use super::kube::{Fail, Kube, error};
use super::output::DryRun;
use super::target::{Filter, files, find_all, targets};
use crate::flags::Args;

/// `kubectl delete TYPE NAME… | -l … | --all | -f …`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let dry_run = DryRun::of(args)?;
    let grace = grace(args)?;
    let propagation = propagation(kube, args).await?;
    if !matches!(args.get("output"), None | Some("" | "name")) {
        return Err(error(
            "unexpected -o output mode: ".to_string()
                + args.get("output").unwrap_or_default()
                + ". We only support '-o name'",
        ));
    }
    let has_files = args.get("filename").is_some();
    let (found, mut all_there) =
        if has_files { files(kube, args, "deleting").await? } else { named(kube, args).await? };
    if has_files && found.is_empty() && all_there && !args.is_on("ignore-not-found") {
        kube.out("No resources found\n").await?;
    }
    if args.is_on("force") {
        kube.err("Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.\n").await?;
    }
    let deadline = kube.deadline(args, "timeout")?;
    let how = if grace == Some(0) { "force deleted" } else { "deleted" };
    let how = format!("{how}{}", dry_run.suffix());
    let mut pending: Vec<(KindInfo, AnyObject)> = Vec::new();
    for (kind, object) in found {
        let (namespace, name) = (object.namespace().to_string(), object.name().to_string());
        let now = kube.now();
        let deleted = if dry_run == DryRun::Client {
            Ok(object.clone())
        } else {
            let options = DeleteOptions {
                grace_seconds: grace,
                propagation: Some(propagation),
                dry_run: dry_run == DryRun::Server,
                ..DeleteOptions::default()
            };
            kube.api(|api| api.delete(kind.id, &namespace, &name, options, now))?
        };
        match deleted {
            Ok(_) => {
                if args.get("output") == Some("name") {
                    kube.out(format!("{}\n", kind.object_name(&name))).await?;
                } else {
                    kube.out(line(&kind, &namespace, &name, &how)).await?;
                }
                pending.push((kind, object));
            }
            Err(status) => {
                all_there = false;
                kube.err(format!("{status}\n")).await?;
            }
        }
    }
    let waits = args.switch_or("wait", !args.is_on("force"));
    if waits && dry_run == DryRun::No {
        wait_until_gone(kube, &pending, deadline).await?;
    }
    Ok(if all_there { 0 } else { 1 })
}

/// `pod "x" deleted from default namespace`
pub(crate) fn line(kind: &KindInfo, namespace: &str, name: &str, how: &str) -> String {
    let singular = kube_api::status::resource_name(&kind.group, &kind.singular);
    match namespace {
        "" => format!("{singular} {name:?} {how}\n"),
        namespace => format!("{singular} {name:?} {how} from {namespace} namespace\n"),
    }
}

fn grace(args: &Args) -> Result<Option<i64>, Fail> {
    let given = args.number("grace-period")?.filter(|secs| *secs >= 0);
    if args.is_on("now") {
        if given.is_some() {
            return Err(error("--now and --grace-period cannot be specified together"));
        }
        return Ok(Some(1));
    }
    match (given, args.is_on("force")) {
        (Some(0), false) => Ok(Some(1)),
        (Some(given), true) if given > 0 => {
            Err(error("--force and --grace-period greater than 0 cannot be specified together"))
        }
        (None, true) => Ok(Some(0)),
        (given, _) => Ok(given),
    }
}

/// `--cascade`
async fn propagation(kube: &Kube<'_>, args: &Args) -> Result<Propagation, Fail> {
    Ok(match args.get("cascade") {
        None | Some("background") => Propagation::Background,
        Some("foreground") => Propagation::Foreground,
        Some("orphan") => Propagation::Orphan,
        Some("true") => {
            kube.err("warning: --cascade=true is deprecated (boolean value) and can be replaced with --cascade=background.\n").await?;
            Propagation::Background
        }
        Some("false") => {
            kube.err("warning: --cascade=false is deprecated (boolean value) and can be replaced with --cascade=orphan.\n").await?;
            Propagation::Orphan
        }
        Some(other) => {
            return Err(error(format!(
                "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
            )));
        }
    })
}

type Found = (Vec<(KindInfo, AnyObject)>, bool);

async fn named(kube: &Kube<'_>, args: &Args) -> Result<Found, Fail> {
    if args.words.is_empty() {
        return Err(error(
            "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'",
        ));
    }
    let targets = targets(kube, &args.words)?;
    let filter = Filter::of(kube, args)?;
    let is_all = targets.iter().any(|target| target.name.is_none());
    if args.is_on("all") && args.get("selector").is_some() {
        return Err(error("cannot set --all and --selector at the same time"));
    }
    if is_all && !args.is_on("all") && !filter.is_any() {
        return Err(error("resource(s) were provided, but no name was specified"));
    }
    if !is_all && (args.is_on("all") || filter.is_any()) {
        return Err(error("name cannot be provided when a selector is specified"));
    }
    if !is_all && kube.all_namespaces {
        return Err(error("a resource cannot be retrieved by name across all namespaces"));
    }
    let ignore = args.is_on("ignore-not-found");
    let (found, all_there) = find_all(kube, &targets, &filter, ignore).await?;
    if found.is_empty() && all_there && (is_all || !ignore) {
        kube.out("No resources found\n").await?;
    }
    Ok((found, all_there))
}

/// An object is gone when its uid is.
pub(crate) async fn wait_until_gone(
    kube: &Kube<'_>,
    deleted: &[(KindInfo, AnyObject)],
    deadline: Option<base::Instant>,
) -> Result<(), Fail> {
    for (kind, object) in deleted {
        loop {
            let live = kube.api(|api| {
                let live = api.store().get_any(kind.id, object.namespace(), object.name());
                live.and_then(|live| live.meta().uid.clone())
            });
            // The cluster may be gone with everything in it.
            let Ok(live) = live else { return Ok(()) };
            if live != object.meta().uid || live.is_none() {
                break;
            }
            if !kube.changed(deadline).await {
                let name = format!("{}/{}", kind.plural, object.name());
                return Err(error(format!("timed out waiting for the condition on {name}")));
            }
        }
    }
    kube.ctx.host.sleep(Duration::from_millis(5)).await;
    Ok(())
}
