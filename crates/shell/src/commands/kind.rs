//! `kind`: clusters whose nodes are containers on your machine. Words are those of kind 0.30.

use std::fmt::Write as _;

use ::lab::kind::{self, KindConfig, KindError, Role};
use base::Duration;

use super::Ctx;
use crate::flags::{Args, Flag, switch, value};
use crate::io::Exit;

/// The image of the nodes.
pub(crate) const NODE_IMAGE: &str = "kindest/node:v1.35.0";

const FLAGS: &[Flag] = &[
    value("name").short('n'),
    value("config"),
    value("wait"),
    value("image"),
    value("kubeconfig"),
    value("verbosity").short('v'),
    switch("retain"),
    switch("quiet").short('q'),
    switch("all").short('A'),
];

/// `kind create | delete | get | version`
pub async fn run(ctx: Ctx) -> Exit {
    ctx.host.sleep(Duration::from_millis(20)).await;
    let args = match Args::parse(&ctx.args, &[FLAGS]) {
        Ok(args) => args,
        Err(error) => return ctx.fail(format!("ERROR: {error}"), 1).await,
    };
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["create", "cluster"] => create(&ctx, &args).await,
        ["delete", "cluster"] => delete(&ctx, &args).await,
        ["delete", "clusters", names @ ..] => {
            let all = ctx.session.lab.clusters();
            let names: Vec<String> = if args.is_on("all") {
                all
            } else {
                names.iter().map(|name| name.to_string()).collect()
            };
            for name in &names {
                ctx.session.lab.delete_cluster(name);
            }
            ctx.err(format!("Deleted clusters: {names:?}\n").replace(", ", " ")).await?;
            Ok(0)
        }
        ["get", "clusters"] => {
            let clusters = ctx.session.lab.clusters();
            if clusters.is_empty() {
                ctx.err("No kind clusters found.\n").await?;
            }
            for name in clusters {
                ctx.out(format!("{name}\n")).await?;
            }
            Ok(0)
        }
        ["get", "nodes"] => nodes(&ctx, &args).await,
        ["version"] => {
            ctx.out("kind v0.31.0 go1.25.5 linux/amd64 (podwire)\n").await?;
            Ok(0)
        }
        [] => ctx.fail("kind creates and manages local Kubernetes clusters using Docker container 'nodes'\n\nUsage:\n  kind [create cluster | delete cluster | get clusters | get nodes | version]", 0).await,
        ["export" | "load" | "build" | "completion", ..] | ["get", "kubeconfig"] => {
            ctx.unsupported(&format!("'kind {}'", words.join(" "))).await
        }
        [command, ..] => {
            ctx.fail(format!("ERROR: unknown command {command:?} for \"kind\""), 1).await
        }
    }
}

fn cluster_name(args: &Args, config: Option<&KindConfig>) -> String {
    let given = args.get("name").map(str::to_string);
    let given = given.or_else(|| config.and_then(|config| config.name.clone()));
    given.unwrap_or_else(|| "kind".to_string())
}

async fn create(ctx: &Ctx, args: &Args) -> Exit {
    let config = match args.get("config") {
        None => KindConfig::default(),
        Some(path) => {
            let text = match ctx.read(path).await {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) => {
                    let why = error.to_string().to_lowercase();
                    let text = format!(
                        "ERROR: failed to create cluster: error reading file: open {path}: {why}"
                    );
                    return ctx.fail(text, 1).await;
                }
            };
            match kind::parse(&text) {
                Ok(config) => config,
                Err(error) => return ctx.fail(error.to_string(), 1).await,
            }
        }
    };
    let name = cluster_name(args, Some(&config));
    if ctx.session.lab.clusters().contains(&name) {
        return ctx.fail(KindError::Exists(name).to_string(), 1).await;
    }
    let wait = match args.duration("wait") {
        Ok(wait) => wait,
        Err(error) => return ctx.fail(format!("ERROR: {error}"), 1).await,
    };
    for what in &config.without_effect {
        ctx.err(format!(
            "podwire: {what} in {} has no effect here\n",
            args.get("config").unwrap_or("-")
        ))
        .await?;
    }
    bring_up(ctx, &name, &config, wait, args.is_on("quiet")).await
}

/// Says what goes on while it takes its time.
async fn bring_up(
    ctx: &Ctx,
    name: &str,
    config: &KindConfig,
    wait: Option<Duration>,
    is_quiet: bool,
) -> Exit {
    let say = async |text: String| if is_quiet { Ok(()) } else { ctx.err(text).await };
    let step = async |text: &str, millis: u64| {
        ctx.host.sleep(Duration::from_millis(millis)).await;
        say(format!(" ✓ {text}\n")).await
    };
    say(format!("Creating cluster {name:?} ...\n")).await?;
    step(&format!("Ensuring node image ({NODE_IMAGE}) 🖼"), 300).await?;
    ctx.host.sleep(Duration::from_millis(1500)).await;
    if let Err(error) = ctx.session.lab.create_cluster(name, config) {
        say(" ✗ Preparing nodes 📦\n".to_string()).await?;
        return ctx.fail(error.to_string(), 1).await;
    }
    let boxes = vec!["📦"; config.nodes.len()].join(" ");
    step(&format!("Preparing nodes {boxes}  "), 0).await?;
    step("Writing configuration 📜", 300).await?;
    step("Starting control-plane 🕹️", 4000).await?;
    step("Installing CNI 🔌", 300).await?;
    step("Installing StorageClass 💾", 300).await?;
    if config.nodes.iter().any(|node| node.role == Role::Worker) {
        wait_for_nodes(ctx, name, config.nodes.len()).await;
        step("Joining worker nodes 🚜", 100).await?;
    }
    if let Some(wait) = wait.filter(|wait| *wait > Duration::ZERO) {
        let secs = wait.as_secs_f64();
        step(&format!("Waiting ≤ {secs}s for control-plane = Ready ⏳"), 1000).await?;
        say(" • Ready after 1s 💚\n".to_string()).await?;
    }
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Set kubectl context to \"kind-{name}\"\nYou can now use your cluster with:\n"
    );
    let _ = writeln!(text, "kubectl cluster-info --context kind-{name}\n");
    let _ = writeln!(text, "Have a nice day! 👋");
    say(text).await?;
    Ok(0)
}

async fn wait_for_nodes(ctx: &Ctx, name: &str, count: usize) {
    let lab = &ctx.session.lab;
    let have = || lab.with(name, |cluster| cluster.nodes().count());
    while have().is_some_and(|have| have < count) {
        lab.changed(name).changed().await;
    }
}

async fn delete(ctx: &Ctx, args: &Args) -> Exit {
    let name = cluster_name(args, None);
    ctx.err(format!("Deleting cluster {name:?} ...\n")).await?;
    ctx.host.sleep(Duration::from_millis(600)).await;
    let lab = &ctx.session.lab;
    let nodes = lab
        .with(&name, |cluster| cluster.nodes().map(|node| node.name.clone()).collect::<Vec<_>>());
    if lab.delete_cluster(&name) {
        let nodes = nodes.unwrap_or_default();
        ctx.err(format!("Deleted nodes: {nodes:?}\n").replace(", ", " ")).await?;
    }
    Ok(0)
}

async fn nodes(ctx: &Ctx, args: &Args) -> Exit {
    let name = cluster_name(args, None);
    let nodes = ctx
        .session
        .lab
        .with(&name, |cluster| cluster.nodes().map(|node| node.name.clone()).collect::<Vec<_>>());
    let Some(nodes) = nodes else {
        ctx.err(format!("No kind nodes found for cluster {name:?}.\n")).await?;
        return Ok(0);
    };
    for node in nodes {
        ctx.out(format!("{node}\n")).await?;
    }
    Ok(0)
}
