//! `kubectl version`, `cluster-info`, `api-resources`, `api-versions`, `config`.

use kube_api::KindInfo;
use serde_json::json;

use super::jsonpath::Template;
use super::kube::{Fail, Kube, error};
use crate::commands::Ctx;
use crate::flags::Args;
use crate::tabwriter;

const CLIENT: &str = "Client Version: v1.35.0\nKustomize Version: v5.7.1\n";

/// Verbs that ask the API server.
pub(crate) async fn run(kube: &Kube<'_>, verb: &str, args: &Args) -> Result<i32, Fail> {
    match verb {
        "version" => kube.out(format!("{CLIENT}Server Version: v1.35.0\n")).await?,
        "cluster-info" => {
            let port =
                crate::commands::docker::api_port(&kube.ctx.session.lab, kube.cluster_name());
            let text = format!(
                "Kubernetes control plane is running at https://127.0.0.1:{port}\nCoreDNS is running at https://127.0.0.1:{port}/api/v1/namespaces/kube-system/services/kube-dns:dns/proxy\n\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.\n"
            );
            kube.out(text).await?;
        }
        "api-versions" => {
            let versions = kube.api(|api| {
                base::order::set(api.store().kinds().served().map(|k| k.api_version()))
            })?;
            for version in versions {
                kube.out(format!("{version}\n")).await?;
            }
        }
        _ => resources(kube, args).await?,
    }
    Ok(0)
}

async fn resources(kube: &Kube<'_>, args: &Args) -> Result<(), Fail> {
    let mut kinds: Vec<KindInfo> = kube.api(|api| {
        let kinds = api.store().kinds();
        // Of each group the version that is preferred.
        let is_preferred =
            |k: &&KindInfo| k.storage == k.id || kinds.get(k.storage).group != k.group;
        kinds.served().filter(is_preferred).cloned().collect()
    })?;
    base::order::sort_by(&mut kinds, |a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural)));
    let wanted = args.get("namespaced").map(|text| text == "true");
    let mut text = String::new();
    if !args.is_on("no-headers") {
        text.push_str("NAME\tSHORTNAMES\tAPIVERSION\tNAMESPACED\tKIND\n");
    }
    for kind in kinds.iter().filter(|kind| wanted.is_none_or(|wanted| wanted == kind.is_namespaced))
    {
        let names = kind.short_names.join(",");
        let (version, is_namespaced) = (kind.api_version(), kind.is_namespaced);
        text.push_str(&format!(
            "{}\t{names}\t{version}\t{is_namespaced}\t{}\n",
            kind.plural, kind.kind
        ));
    }
    kube.out(tabwriter::layout(&text, tabwriter::TABLE)).await
}

/// The namespace that a cluster's context names.
fn namespace_of(ctx: &Ctx, cluster: &str) -> Option<String> {
    ctx.session.lab.with(cluster, |cluster| cluster.context_namespace.clone()).flatten()
}

/// `kubectl config set-context (NAME | --current) --namespace=NAMESPACE`
async fn set_context(ctx: &Ctx, args: &Args, names: &[&str]) -> Result<(), Fail> {
    let lab = &ctx.session.lab;
    let cluster = match (names, args.is_on("current")) {
        ([], true) => lab.current().ok_or_else(|| error("no current context is set"))?,
        ([name], false) => name.strip_prefix("kind-").unwrap_or_default().to_string(),
        ([_], true) => {
            return Err(error("you cannot specify both a context name and --current"));
        }
        _ => return Err(error("you must specify a non-empty context name or --current")),
    };
    let namespace = args.get("namespace").map(str::to_string);
    let set = lab.with(&cluster, |cluster| {
        if let Some(namespace) = namespace {
            cluster.context_namespace = Some(namespace).filter(|name| !name.is_empty());
        }
    });
    if set.is_none() {
        let text = "kubectl: a context of a cluster that there is not is not supported by podwire";
        return Err(Fail::Message(text.to_string()));
    }
    ctx.out(format!("Context \"kind-{cluster}\" modified.\n")).await?;
    Ok(())
}

/// `kubectl config view [--minify]`
async fn view(ctx: &Ctx, args: &Args) -> Result<(), Fail> {
    let lab = &ctx.session.lab;
    let current = lab.current();
    let (mut clusters, mut contexts, mut users) = (Vec::new(), Vec::new(), Vec::new());
    for name in lab.clusters() {
        if args.is_on("minify") && current.as_ref() != Some(&name) {
            continue;
        }
        let port = crate::commands::docker::api_port(lab, &name);
        let entry = format!("kind-{name}");
        let context = match namespace_of(ctx, &name) {
            Some(space) => json!({"cluster": entry, "namespace": space, "user": entry}),
            None => json!({"cluster": entry, "user": entry}),
        };
        clusters.push(json!({"name": entry, "cluster": {
            "certificate-authority-data": "DATA+OMITTED", "server": format!("https://127.0.0.1:{port}")}}));
        contexts.push(json!({"name": entry, "context": context}));
        users.push(json!({"name": entry, "user": {
            "client-certificate-data": "DATA+OMITTED", "client-key-data": "DATA+OMITTED"}}));
    }
    let current = current.map(|name| format!("kind-{name}")).unwrap_or_default();
    let value = json!({"apiVersion": "v1", "kind": "Config", "clusters": clusters, "contexts": contexts,
        "current-context": current, "users": users});
    let text = match args.get("output").unwrap_or("yaml") {
        "yaml" => super::yaml::print(&value),
        "json" => super::get::json_text(&value),
        output => {
            let Some(template) = output.strip_prefix("jsonpath=") else {
                return Err(Fail::Message(format!(
                    "kubectl: -o {output} here is not supported by podwire"
                )));
            };
            let wrong = |why: String| error(format!("error parsing jsonpath {template}, {why}"));
            let parsed = Template::parse(template).map_err(|why| wrong(why.to_string()))?;
            parsed.fill(&value).map_err(|why| error(format!("error executing jsonpath: {why}")))?
        }
    };
    ctx.out(text).await?;
    Ok(())
}

/// Verbs that ask nobody.
pub(crate) async fn without_server(ctx: &Ctx, verb: &str, args: &Args) -> Result<i32, Fail> {
    if verb == "version" {
        ctx.out(CLIENT).await?;
        return Ok(0);
    }
    let lab = &ctx.session.lab;
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["current-context"] => match lab.current() {
            Some(name) => ctx.out(format!("kind-{name}\n")).await?,
            None => return Err(error("current-context is not set")),
        },
        ["get-contexts"] => {
            let mut text = "CURRENT\tNAME\tCLUSTER\tAUTHINFO\tNAMESPACE\n".to_string();
            for name in lab.clusters() {
                let star = if lab.current().as_deref() == Some(&name) { "*" } else { "" };
                let space = namespace_of(ctx, &name).unwrap_or_default();
                text.push_str(&format!("{star}\tkind-{name}\tkind-{name}\tkind-{name}\t{space}\n"));
            }
            ctx.out(tabwriter::layout(&text, tabwriter::TABLE)).await?;
        }
        ["use-context" | "use", context] => {
            if !context.strip_prefix("kind-").is_some_and(|name| lab.set_current(name)) {
                return Err(error(format!("no context exists with the name: {context:?}")));
            }
            ctx.out(format!("Switched to context {context:?}.\n")).await?;
        }
        ["set-context", names @ ..] => set_context(ctx, args, names).await?,
        ["view"] => view(ctx, args).await?,
        [] => {
            let all = "current-context, get-contexts, use-context, set-context, view";
            return Err(error(format!("config needs a subcommand: {all}")));
        }
        other => {
            return Err(Fail::Message(format!(
                "kubectl: 'kubectl config {}' is not supported by podwire",
                other.join(" ")
            )));
        }
    }
    Ok(0)
}
