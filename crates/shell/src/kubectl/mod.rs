//! `kubectl`, in the words of kubectl 1.35.
//!
//! - [`run`]: verbs to what they do; [`kube`]: what every verb has at hand; [`target`]: `TYPE NAME…`;
//! - looking: [`get`] with [`table`] ([`rows`]), [`mod@yaml`], [`jsonpath`]; [`describe`]; [`events`]; [`pods`] (logs, exec); [`info`];
//! - changing: [`manifest`] reads files for [`apply`] (and create, replace) with [`prune`], and [`diff`];
//!   [`imperative`] makes objects without a file, those of [`generate`], and stays with a Pod with [`attach`]; [`delete`], [`patch`], [`mod@set`],
//!   [`scale`], [`rollout`], [`label`], [`taint`], [`nodes`] (cordon, drain); what they say: [`output`]; [`wait`].

mod apply;
mod attach;
mod delete;
mod describe;
mod diff;
mod events;
mod generate;
mod get;
mod imperative;
mod info;
mod jsonpath;
mod kube;
mod label;
mod manifest;
mod nodes;
mod output;
mod patch;
mod pods;
mod prune;
mod rollout;
mod rows;
mod scale;
mod set;
mod table;
mod taint;
mod target;
mod wait;
mod yaml;

use base::Duration;

use crate::commands::Ctx;
use crate::flags::{Args, Flag, FlagError, optional, switch, value};
use crate::io::Exit;

use kube::{Doing, Fail, Kube};

/// What kubectl takes before it asks the API server.
const START: Duration = Duration::from_millis(60);

const GLOBAL: &[Flag] = &[
    value("namespace").short('n'),
    value("context"),
    value("cluster"),
    value("kubeconfig"),
    value("request-timeout"),
    value("v").short('v'),
    switch("help").short('h'),
];
const SELECT: &[Flag] =
    &[value("selector").short('l'), value("field-selector"), switch("all-namespaces").short('A')];
const FILES: &[Flag] = &[
    value("filename").short('f'),
    switch("recursive").short('R'),
    value("kustomize").short('k'),
    optional("dry-run", "unchanged"),
    switch("server-side"),
    switch("prune"),
    value("output").short('o'),
    optional("validate", "strict"),
    value("field-manager"),
    switch("force-conflicts"),
    switch("force"),
    switch("save-config"),
    switch("show-managed-fields"),
    switch("all"),
    switch("overwrite"),
    switch("wait"),
    optional("cascade", "background"),
    value("grace-period"),
    value("timeout"),
    value("prune-allowlist"),
];
const GET: &[Flag] = &[
    value("output").short('o'),
    switch("watch").short('w'),
    switch("watch-only"),
    switch("output-watch-events"),
    switch("show-labels"),
    switch("no-headers"),
    switch("show-kind"),
    switch("show-managed-fields"),
    switch("ignore-not-found"),
    value("sort-by"),
    value("filename").short('f'),
    value("label-columns").short('L'),
    value("chunk-size"),
    value("for"),
    value("types"),
];
const DELETE: &[Flag] = &[
    value("filename").short('f'),
    switch("recursive").short('R'),
    switch("all"),
    value("grace-period"),
    switch("force"),
    switch("now"),
    switch("wait"),
    switch("ignore-not-found"),
    value("timeout"),
    optional("cascade", "background"),
    value("output").short('o'),
    optional("dry-run", "unchanged"),
];
const CHANGE: &[Flag] = &[
    value("replicas"),
    value("current-replicas"),
    switch("all"),
    switch("overwrite"),
    value("timeout"),
    value("filename").short('f'),
    switch("list"),
    value("output").short('o'),
    switch("recursive").short('R'),
    value("kustomize").short('k'),
    optional("dry-run", "unchanged"),
    value("field-manager"),
    value("resource-version"),
    switch("show-managed-fields"),
];
/// `patch` and `set`.
const PATCH: &[Flag] = &[
    value("patch").short('p'),
    value("patch-file"),
    value("type"),
    value("subresource"),
    value("containers").short('c'),
    value("env").short('e'),
    value("from"),
    value("limits"),
    value("requests"),
];
const ROLLOUT: &[Flag] = &[
    switch("watch").short('w'),
    value("timeout"),
    value("revision"),
    value("to-revision"),
    optional("dry-run", "unchanged"),
    value("filename").short('f'),
];
const DRAIN: &[Flag] = &[
    switch("ignore-daemonsets"),
    switch("delete-emptydir-data"),
    switch("force"),
    switch("disable-eviction"),
    optional("dry-run", "unchanged"),
    value("grace-period"),
    value("timeout"),
    value("pod-selector"),
    value("skip-wait-for-delete-timeout"),
];
const LOGS: &[Flag] = &[
    switch("follow").short('f'),
    switch("previous").short('p'),
    value("container").short('c'),
    value("tail"),
    switch("timestamps"),
    value("since"),
    switch("all-containers"),
    switch("prefix"),
    switch("stdin").short('i'),
    switch("tty").short('t'),
    switch("quiet").short('q'),
];
const WAIT: &[Flag] =
    &[value("for"), value("timeout"), switch("all"), value("filename").short('f')];
const CREATE: &[Flag] = &[
    value("image"),
    value("replicas").short('r'),
    value("port"),
    value("target-port"),
    value("name"),
    value("type"),
    value("tcp"),
    value("node-port"),
    value("clusterip"),
    value("labels").short('l'),
    value("protocol"),
    value("env"),
    value("from-literal"),
    value("restart"),
    switch("expose"),
    switch("command"),
    value("annotations"),
    value("from-file"),
    value("from-env-file"),
    value("cert"),
    value("key"),
    value("docker-server"),
    value("docker-username"),
    value("docker-password"),
    value("docker-email"),
    value("hard"),
    value("scopes"),
    value("verb"),
    value("resource"),
    value("resource-name"),
    value("role"),
    value("clusterrole"),
    value("user"),
    value("group"),
    value("serviceaccount"),
    value("schedule"),
    value("from"),
    value("rule"),
    value("class"),
    value("default-backend"),
    value("annotation"),
    value("min-available"),
    value("max-unavailable"),
    value("external-name"),
    value("external-ip"),
    value("cluster-ip"),
    value("session-affinity"),
    value("value"),
    value("description"),
    value("preemption-policy"),
    switch("global-default"),
    value("min"),
    value("max"),
    value("cpu"),
    value("cpu-percent"),
    value("selector"),
];
const RUN: &[Flag] = &[
    switch("rm"),
    switch("stdin").short('i'),
    switch("tty").short('t'),
    switch("attach"),
    switch("quiet").short('q'),
    value("image-pull-policy"),
];
const INFO: &[Flag] = &[
    value("output").short('o'),
    switch("client"),
    switch("namespaced"),
    switch("no-headers"),
    switch("minify"),
    switch("current"),
    value("api-group"),
];

/// Flags of kubectl's verbs that are not here.
const REAL: &str = "all-pods allow-missing-template-keys append-hash as as-group as-uid cache-dir certificate-authority \
    client-certificate client-key concurrent disable-compression disable-eviction dry-run edit error expires filename \
    ignore-errors insecure-skip-tls-verify insecure-skip-tls-verify-backend interactive keep-annotations kustomize \
    leave-stdin-open limit-bytes local match-server-version max-log-requests openapi-patch override-type overrides \
    pod-running-timeout privileged profile prune-whitelist raw recursive save-config selector server server-print \
    show-events show-managed-fields since-time subresource template tls-server-name token user username \
    validate-schema warnings-as-errors windows-line-endings";

/// Verbs of kubectl that are not here.
const ABSENT: &[&str] = &[
    "alpha",
    "apply-set",
    "attach",
    "auth",
    "certificate",
    "completion",
    "cp",
    "debug",
    "edit",
    "explain",
    "kustomize",
    "options",
    "plugin",
    "port-forward",
    "proxy",
];

/// `kubectl VERB …`
pub async fn run(ctx: Ctx) -> Exit {
    ctx.host.sleep(START).await;
    match verb(&ctx).await {
        Ok(code) => Ok(code),
        Err(Fail::Closed(closed)) => Err(closed),
        Err(Fail::Said(code)) => Ok(code),
        Err(Fail::Message(text)) => ctx.fail(text, 1).await,
    }
}

/// The flags of a verb.
fn flags(verb: &str) -> Option<Vec<&'static [Flag]>> {
    Some(match verb {
        "get" | "describe" => vec![GLOBAL, SELECT, GET],
        "apply" | "replace" | "diff" => vec![GLOBAL, SELECT, FILES],
        "run" => vec![GLOBAL, FILES, CREATE, RUN],
        "create" | "expose" | "autoscale" => vec![GLOBAL, FILES, CREATE],
        "delete" => vec![GLOBAL, SELECT, DELETE],
        "scale" | "label" | "annotate" | "taint" => vec![GLOBAL, SELECT, CHANGE],
        "patch" | "set" => vec![GLOBAL, SELECT, CHANGE, PATCH],
        "rollout" => vec![GLOBAL, SELECT, ROLLOUT],
        "cordon" | "uncordon" | "drain" => vec![GLOBAL, SELECT, DRAIN],
        "logs" | "exec" => vec![GLOBAL, LOGS, SELECT],
        "wait" => vec![GLOBAL, SELECT, WAIT],
        "events" => vec![GLOBAL, SELECT, GET],
        "version" | "cluster-info" | "api-resources" | "api-versions" | "config" => {
            vec![GLOBAL, INFO]
        }
        _ => return None,
    })
}

async fn verb(ctx: &Ctx) -> Result<i32, Fail> {
    // Global flags may stand before the verb: `kubectl -n shop get pods`.
    let (before, rest) = split_at_verb(&ctx.args);
    let Some((verb, rest)) = rest.split_first() else {
        ctx.out(USAGE).await?;
        return Ok(0);
    };
    if verb == "help" {
        ctx.out(USAGE).await?;
        return Ok(0);
    }
    // kind has no metrics server, and neither has a cluster here.
    if verb == "top" {
        return Err(Fail::Message("error: Metrics API not available".to_string()));
    }
    let Some(known) = flags(verb) else {
        if ABSENT.contains(&verb.as_str()) {
            return Ok(ctx.unsupported(&format!("'kubectl {verb}'")).await?);
        }
        let meant = suggestions(verb);
        return Err(Fail::Message(format!(
            "error: unknown command {verb:?} for \"kubectl\"{meant}"
        )));
    };
    let all: Vec<String> = before.iter().chain(rest).cloned().collect();
    let args = Args::parse(&all, &known).map_err(|error| match &error {
        FlagError::Unknown(name) if REAL.split_whitespace().any(|real| real == name) => {
            Fail::Message(format!("kubectl: --{name} is not supported by podwire"))
        }
        _ => Fail::Message(format!("error: {error}\nSee 'kubectl {verb} --help' for usage.")),
    })?;
    if args.is_on("help") {
        ctx.out(USAGE).await?;
        return Ok(0);
    }
    if verb == "config" || (verb == "version" && args.is_on("client")) {
        return info::without_server(ctx, verb, &args).await;
    }
    let kube = Kube::new(ctx, &args)?;
    let doing: Doing<'_> = match verb.as_str() {
        "get" => Box::pin(get::run(&kube, &args)),
        "describe" => Box::pin(describe::run(&kube, &args)),
        "apply" => Box::pin(apply::apply(&kube, &args)),
        "replace" => Box::pin(apply::replace(&kube, &args)),
        "create" => Box::pin(imperative::create(&kube, &args)),
        "run" => Box::pin(imperative::run(&kube, &args)),
        "expose" => Box::pin(imperative::expose(&kube, &args)),
        "autoscale" => Box::pin(imperative::autoscale(&kube, &args)),
        "diff" => Box::pin(diff::run(&kube, &args)),
        "patch" => Box::pin(patch::run(&kube, &args)),
        "set" => Box::pin(set::run(&kube, &args)),
        "taint" => Box::pin(taint::run(&kube, &args)),
        "delete" => Box::pin(delete::run(&kube, &args)),
        "scale" => Box::pin(scale::run(&kube, &args)),
        "label" => Box::pin(label::run(&kube, &args, label::What::Labels)),
        "annotate" => Box::pin(label::run(&kube, &args, label::What::Annotations)),
        "rollout" => Box::pin(rollout::run(&kube, &args)),
        "cordon" | "uncordon" | "drain" => Box::pin(nodes::run(&kube, verb, &args)),
        "logs" => Box::pin(pods::logs(&kube, &args)),
        "exec" => Box::pin(pods::exec(&kube, &args)),
        "wait" => Box::pin(wait::run(&kube, &args)),
        "events" => Box::pin(events::run(&kube, &args)),
        _ => Box::pin(info::run(&kube, verb, &args)),
    };
    doing.await
}

/// Verbs that look like one that there is not (cobra's `findSuggestions`).
fn suggestions(typed: &str) -> String {
    const VERBS: &str = "alpha annotate api-resources api-versions apply attach auth autoscale certificate cluster-info completion config cordon cp create debug delete describe diff drain edit events exec explain expose get kuberc kustomize label logs options patch plugin port-forward proxy replace rollout run scale set taint top uncordon version wait";
    let typed = typed.to_lowercase();
    let is_near = |verb: &&str| verb.starts_with(&typed) || distance(&typed, verb) <= 2;
    let near: Vec<&str> = VERBS.split(' ').filter(is_near).collect();
    if near.is_empty() {
        return String::new();
    }
    format!("\n\nDid you mean this?\n\t{}", near.join("\n\t"))
}

/// How many letters are to be put in, taken out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (at, x) in a.chars().take(64).enumerate() {
        let mut corner = at;
        let mut left = at + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (y, cell) in b.chars().zip(row.iter_mut().skip(1)) {
            let best = (corner + usize::from(x != y)).min(*cell + 1).min(left + 1);
            corner = *cell;
            *cell = best;
            left = best;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The flags before the verb, and the rest.
fn split_at_verb(args: &[String]) -> (&[String], &[String]) {
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        let takes_next = matches!(
            arg.as_str(),
            "-n" | "--namespace"
                | "--context"
                | "--cluster"
                | "--kubeconfig"
                | "-v"
                | "--request-timeout"
        );
        match (takes_next, arg.starts_with('-')) {
            (true, _) => at += 2,
            (false, true) => at += 1,
            (false, false) => break,
        }
    }
    args.split_at(at.min(args.len()))
}

const USAGE: &str = "kubectl controls the Kubernetes cluster manager.

Commands here:
  get, describe, events, logs, exec, wait
  apply, create, replace, diff, run, expose, autoscale, delete
  patch, set (image, env, resources, selector, serviceaccount)
  scale, rollout (status, history, restart, undo), label, annotate
  cordon, uncordon, drain, taint
  version, cluster-info, api-resources, api-versions, config

Usage:
  kubectl [flags] [options]
";
