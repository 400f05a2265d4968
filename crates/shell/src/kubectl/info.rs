//! `kubectl version`, `cluster-info`, `api-resources`, `api-versions`, `config`.

use kube_api::KindInfo;

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
                text.push_str(&format!("{star}\tkind-{name}\tkind-{name}\tkind-{name}\t\n"));
            }
            ctx.out(tabwriter::layout(&text, tabwriter::TABLE)).await?;
        }
        ["use-context" | "use", context] => {
            let is_there = lab.clusters().iter().any(|name| *context == format!("kind-{name}"));
            match lab.current() {
                Some(name) if *context == format!("kind-{name}") => {
                    ctx.out(format!("Switched to context {context:?}.\n")).await?;
                }
                _ if !is_there => {
                    return Err(error(format!("no context exists with the name: {context:?}")));
                }
                _ => {
                    return Err(Fail::Message(
                        "kubectl: 'config use-context' is not supported by podwire; use --context"
                            .to_string(),
                    ));
                }
            }
        }
        [] => return Err(error("config needs a subcommand: current-context, get-contexts")),
        other => {
            return Err(Fail::Message(format!(
                "kubectl: 'kubectl config {}' is not supported by podwire",
                other.join(" ")
            )));
        }
    }
    Ok(0)
}
