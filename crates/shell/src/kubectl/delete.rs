//! `kubectl delete`.

use base::Duration;
use kube_api::{AnyObject, DeleteOptions, KindInfo};

use super::kube::{Fail, Kube, error};
use super::manifest;
use super::target::{Filter, find_all, targets};
use crate::flags::Args;

/// `kubectl delete TYPE NAME… | -l … | --all | -f …`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let ignore = args.is_on("ignore-not-found");
    let (found, mut all_there) = if args.get("filename").is_some() {
        from_files(kube, args, ignore).await?
    } else {
        named(kube, args, ignore).await?
    };
    let grace = grace(args)?;
    if args.is_on("force") {
        kube.err("Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.\n").await?;
    }
    let deadline = kube.deadline(args, "timeout")?;
    let mut pending: Vec<(KindInfo, AnyObject)> = Vec::new();
    for (kind, object) in found {
        let (namespace, name) = (object.namespace().to_string(), object.name().to_string());
        let now = kube.now();
        let deleted = kube.api(|api| {
            api.delete(kind.id, &namespace, &name, DeleteOptions { grace_seconds: grace }, now)
        })?;
        match deleted {
            Ok(_) => {
                let how = if grace == Some(0) { "force deleted" } else { "deleted" };
                kube.out(line(args, &kind, &namespace, &name, how)).await?;
                pending.push((kind, object));
            }
            Err(status) => {
                all_there = false;
                kube.err(format!("{status}\n")).await?;
            }
        }
    }
    let waits = args.switch_or("wait", !args.is_on("force"));
    if waits {
        wait_until_gone(kube, &pending, deadline).await?;
    }
    Ok(if all_there { 0 } else { 1 })
}

/// `pod "x" deleted from default namespace`
fn line(args: &Args, kind: &KindInfo, namespace: &str, name: &str, how: &str) -> String {
    if args.get("output") == Some("name") {
        return format!("{}\n", kind.object_name(name));
    }
    let singular = kube_api::status::resource_name(&kind.group, &kind.singular);
    match namespace {
        "" => format!("{singular} {name:?} {how}\n"),
        namespace => format!("{singular} {name:?} {how} from {namespace} namespace\n"),
    }
}

fn grace(args: &Args) -> Result<Option<i64>, Fail> {
    let given = args.number("grace-period")?.filter(|secs| *secs >= 0);
    if args.is_on("now") {
        return Ok(Some(1));
    }
    match (given, args.is_on("force")) {
        (Some(0), false) => Ok(Some(1)),
        (None, true) => Ok(Some(0)),
        (given, _) => Ok(given),
    }
}

type Found = (Vec<(KindInfo, AnyObject)>, bool);

async fn named(kube: &Kube<'_>, args: &Args, ignore: bool) -> Result<Found, Fail> {
    if args.words.is_empty() {
        return Err(error(
            "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'",
        ));
    }
    let targets = targets(kube, &args.words)?;
    let filter = Filter::of(kube, args)?;
    let is_all = targets.iter().any(|target| target.name.is_none());
    if is_all && !args.is_on("all") && !filter.is_any() {
        return Err(error("resource(s) were provided, but no name was specified"));
    }
    if !is_all && args.is_on("all") {
        return Err(error("name cannot be provided when a selector is specified"));
    }
    let (found, all_there) = find_all(kube, &targets, &filter, ignore).await?;
    if found.is_empty() && is_all {
        kube.out("No resources found\n").await?;
    }
    Ok((found, all_there))
}

async fn from_files(kube: &Kube<'_>, args: &Args, ignore: bool) -> Result<Found, Fail> {
    let (mut found, mut all_there) = (Vec::new(), true);
    for manifest in manifest::read(kube, args).await? {
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(message) => {
                kube.err(format!("{message}\n")).await?;
                all_there = false;
                continue;
            }
        };
        match kube.get_in(&manifest.kind, &manifest.namespace, &manifest.name) {
            Ok(object) => found.push((manifest.kind, object)),
            Err(Fail::Message(_)) if ignore => {}
            Err(Fail::Message(text)) => {
                let what = format!("error when deleting {:?}: ", manifest.file);
                kube.err(format!("{}\n", text.replacen("): ", &format!("): {what}"), 1))).await?;
                all_there = false;
            }
            Err(other) => return Err(other),
        }
    }
    Ok((found, all_there))
}

/// An object is gone when its uid is.
async fn wait_until_gone(
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
                let name = kind.object_name(object.name());
                return Err(error(format!("timed out waiting for the condition on {name}")));
            }
        }
    }
    kube.ctx.host.sleep(Duration::from_millis(5)).await;
    Ok(())
}
