//! `docker`: the containers that kind's nodes are. Words are those of Docker 28.

use ::lab::{Lab, Place};
use base::Duration;

use super::Ctx;
use super::exec::{ExecError, INTERACTIVE, exec, is_interactive};
use crate::flags::{Args, Flag, switch, value};
use crate::io::Exit;
use crate::tabwriter;

const START: Duration = Duration::from_millis(30);

/// `docker ps | exec`
pub async fn run(ctx: Ctx) -> Exit {
    ctx.host.sleep(START).await;
    let command = ctx.args.first().cloned().unwrap_or_default();
    let args = ctx.args.get(1..).unwrap_or_default().to_vec();
    match command.as_str() {
        "ps" => ps(&ctx, &args).await,
        "container" if args.first().is_some_and(|word| word == "ls") => {
            ps(&ctx, args.get(1..).unwrap_or_default()).await
        }
        "exec" => run_in_container(&ctx, &args).await,
        "" => ctx.fail("Usage:  docker COMMAND\n\nCommands here: ps, exec", 1).await,
        "attach" | "build" | "commit" | "compose" | "cp" | "create" | "images" | "inspect"
        | "kill" | "load" | "login" | "logs" | "network" | "pause" | "pull" | "push"
        | "restart" | "rm" | "run" | "start" | "stats" | "stop" | "system" | "top" | "unpause"
        | "version" | "volume" => ctx.unsupported(&format!("'docker {command}'")).await,
        other => {
            let text = format!(
                "docker: unknown command: docker {other}\n\nRun 'docker --help' for more information"
            );
            ctx.fail(text, 1).await
        }
    }
}

/// A node's container as `docker ps` tells it.
struct Container {
    id: String,
    name: String,
    image: String,
    ports: String,
    /// For how long it has been there.
    age: Duration,
}

fn containers(lab: &Lab) -> Vec<Container> {
    let names = lab.clusters();
    let nodes = names.iter().flat_map(|cluster| {
        let nodes = lab.with(cluster, |c| {
            let all = c.nodes().map(|node| {
                let object = c.api.store().get::<kube_api::core::Node>("", &node.name);
                let created = object.and_then(|node| node.metadata.creation_timestamp.as_ref());
                let is_first = created.is_some() && node.name.ends_with("-control-plane");
                (node.name.clone(), created.map(kube_api::object::instant), is_first)
            });
            all.collect::<Vec<_>>()
        });
        nodes.unwrap_or_default().into_iter().map(|node| (cluster.as_str(), node))
    });
    let container =
        |(cluster, (name, created, is_first)): (&str, (String, Option<base::Instant>, bool))| {
            let ports = lab.machine(|machine| {
                let own = machine.published().iter().filter(|p| p.container == name);
                let port = |p: &::lab::machine::Published| {
                    let m = &p.mapping;
                    let protocol = m.protocol.to_ascii_lowercase();
                    format!("{}:{}->{}/{protocol}", m.listen_address, m.host_port, m.container_port)
                };
                // The API server's own port.
                let api =
                    is_first.then(|| format!("127.0.0.1:{}->6443/tcp", api_port(lab, cluster)));
                own.map(port).chain(api).collect::<Vec<_>>().join(", ")
            });
            let age = created.map_or(Duration::ZERO, |created| lab.now().since(created));
            let id = base::Rng::new(lab.seed()).fork(&format!("container/{name}")).next_u64();
            let image = super::kind::NODE_IMAGE.split('@').next().unwrap_or_default().to_string();
            Container { id: format!("{:012x}", id >> 16), name, image, ports, age }
        };
    let mut all: Vec<Container> = nodes.map(container).collect();
    all.reverse();
    all
}

/// The port of your machine behind which a cluster's API server is: one that was free.
pub(crate) fn api_port(lab: &Lab, cluster: &str) -> u16 {
    let chance = base::Rng::new(lab.seed()).fork(&format!("api/{cluster}")).next_u64() % 28_000;
    32_768 + u16::try_from(chance).unwrap_or(0)
}

/// `About a minute` (`docker/go-units`, `HumanDuration`).
fn human(age: Duration) -> String {
    let secs = age.as_secs();
    let (minutes, hours) = (secs / 60, (secs + 1800) / 3600);
    match (secs, minutes, hours) {
        (0, ..) => "Less than a second".to_string(),
        (1, ..) => "1 second".to_string(),
        (secs, 0, _) => format!("{secs} seconds"),
        (_, 1, _) => "About a minute".to_string(),
        (_, minutes, _) if minutes < 60 => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_string(),
        (_, _, hours) if hours < 48 => format!("{hours} hours"),
        (_, _, hours) if hours < 24 * 14 => format!("{} days", hours / 24),
        (_, _, hours) if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        (_, _, hours) if hours < 24 * 730 => format!("{} months", hours / 24 / 30),
        (_, _, hours) => format!("{} years", hours / 24 / 365),
    }
}

async fn ps(ctx: &Ctx, args: &[String]) -> Exit {
    const FLAGS: &[Flag] = &[
        switch("all").short('a'),
        switch("quiet").short('q'),
        switch("no-trunc"),
        value("format"),
    ];
    let args = match Args::parse(args, &[FLAGS]) {
        Ok(args) => args,
        Err(error) => return ctx.fail(error.to_string(), 125).await,
    };
    let containers = containers(&ctx.session.lab);
    if args.is_on("quiet") {
        for container in &containers {
            ctx.out(format!("{}\n", container.id)).await?;
        }
        return Ok(0);
    }
    if let Some(format) = args.get("format") {
        for c in &containers {
            let line = format
                .replace("{{.Names}}", &c.name)
                .replace("{{.Ports}}", &c.ports)
                .replace("{{.Image}}", &c.image)
                .replace("{{.Status}}", &format!("Up {}", human(c.age)))
                .replace("{{.ID}}", &c.id);
            if line.contains("{{") {
                return ctx.unsupported("this --format").await;
            }
            ctx.out(format!("{line}\n")).await?;
        }
        return Ok(0);
    }
    let mut table = "CONTAINER ID\tIMAGE\tCOMMAND\tCREATED\tSTATUS\tPORTS\tNAMES\n".to_string();
    for c in &containers {
        let age = human(c.age);
        let (created, status) = (format!("{age} ago"), format!("Up {age}"));
        let command = "\"/usr/local/bin/entr…\"";
        let row = [c.id.as_str(), &c.image, command, &created, &status, &c.ports, &c.name];
        table.push_str(&format!("{}\n", row.join("\t")));
    }
    ctx.out(tabwriter::layout(&table, tabwriter::TABLE)).await?;
    Ok(0)
}

/// `docker exec [-it] CONTAINER COMMAND…`: options end where the container's name begins.
async fn run_in_container(ctx: &Ctx, args: &[String]) -> Exit {
    let mut words = args.iter();
    let mut with_stdin = false;
    let container = loop {
        let Some(word) = words.next() else {
            return ctx
                .fail("docker: 'docker exec' requires at least 2 arguments\n\nUsage:  docker exec [OPTIONS] CONTAINER COMMAND [ARG...]", 1)
                .await;
        };
        match word.as_str() {
            "-i" | "--interactive" | "-it" | "-ti" => with_stdin = true,
            "-t" | "--tty" | "--privileged" => {}
            option if option.starts_with('-') => {
                return ctx.unsupported(&format!("'docker exec {option}'")).await;
            }
            name => break name.to_string(),
        }
    };
    let argv: Vec<String> = words.cloned().collect();
    let known = containers(&ctx.session.lab);
    let found = known
        .iter()
        .find(|c| c.name == container || (container.len() > 3 && c.id.starts_with(&container)));
    let Some(found) = found else {
        return ctx
            .fail(format!("Error response from daemon: No such container: {container}"), 1)
            .await;
    };
    if argv.is_empty() {
        return ctx.fail("docker: 'docker exec' requires at least 2 arguments\n\nUsage:  docker exec [OPTIONS] CONTAINER COMMAND [ARG...]", 1).await;
    }
    if is_interactive(ctx, &argv, with_stdin) {
        return ctx.unsupported(INTERACTIVE).await;
    }
    match exec(ctx, &Place::Node(found.name.clone()), None, &argv, with_stdin).await {
        Ok(code) => Ok(code),
        Err(ExecError::Gone) => {
            let name = &found.name;
            ctx.fail(format!("Error response from daemon: container {name} is not running"), 1)
                .await
        }
        Err(ExecError::NotFound(name)) => {
            let text = format!(
                "OCI runtime exec failed: exec failed: unable to start container process: exec: {name:?}: executable file not found in $PATH: unknown"
            );
            ctx.fail(text, 127).await
        }
    }
}
