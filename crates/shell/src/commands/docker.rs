//! `docker`: the containers that kind's nodes are. Words are those of Docker 28.

use ::lab::outage::{Outage, OutageError};
use ::lab::{Lab, Place};
use base::Duration;

use super::Ctx;
use super::exec::{ExecError, INTERACTIVE, Stdio, exec, is_interactive};
use crate::flags::{Args, Flag, switch, value};
use crate::io::Exit;
use crate::tabwriter;

const START: Duration = Duration::from_millis(30);

/// `docker ps | exec | stop | start | restart`
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
        "stop" | "start" | "restart" | "kill" => switch_power(&ctx, &command, &args).await,
        "" => {
            let text =
                "Usage:  docker COMMAND\n\nCommands here: ps, exec, start, stop, restart, kill";
            ctx.fail(text, 1).await
        }
        "attach" | "build" | "commit" | "compose" | "cp" | "create" | "images" | "inspect"
        | "load" | "login" | "logs" | "network" | "pause" | "pull" | "push" | "rm" | "run"
        | "stats" | "system" | "top" | "unpause" | "version" | "volume" => {
            ctx.unsupported(&format!("'docker {command}'")).await
        }
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
    /// Since when it has been running, or not, and which of the two.
    since: Duration,
    is_off: bool,
}

impl Container {
    fn status(&self) -> String {
        match self.is_off {
            true => format!("Exited (130) {} ago", human(self.since)),
            false => format!("Up {}", human(self.since)),
        }
    }
}

fn containers(lab: &Lab) -> Vec<Container> {
    let names = lab.clusters();
    let nodes = names.iter().flat_map(|cluster| {
        let nodes = lab.with(cluster, |c| {
            let all = c.nodes().map(|node| {
                let is_first = node.name.ends_with("-control-plane");
                (node.name.clone(), node.power(), is_first)
            });
            all.collect::<Vec<_>>()
        });
        nodes.unwrap_or_default().into_iter().map(|node| (cluster.as_str(), node))
    });
    let container =
        |(cluster, (name, power, is_first)): (&str, (String, ::lab::outage::Power, bool))| {
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
            let (age, since) = (lab.now().since(power.made), lab.now().since(power.since));
            let is_off = power.is_off;
            let ports = if is_off { String::new() } else { ports };
            let id = base::Rng::new(lab.seed()).fork(&format!("container/{name}")).next_u64();
            let image = super::kind::NODE_IMAGE.split('@').next().unwrap_or_default().to_string();
            let id = format!("{:012x}", id >> 16);
            Container { id, name, image, ports, age, since, is_off }
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
    let mut containers = containers(&ctx.session.lab);
    containers.retain(|container| args.is_on("all") || !container.is_off);
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
                .replace("{{.Status}}", &c.status())
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
        let (created, status) = (format!("{} ago", human(c.age)), c.status());
        let command = "\"/usr/local/bin/entr…\"";
        let row = [c.id.as_str(), &c.image, command, &created, &status, &c.ports, &c.name];
        table.push_str(&format!("{}\n", row.join("\t")));
    }
    ctx.out(tabwriter::layout(&table, tabwriter::TABLE)).await?;
    Ok(0)
}

/// `docker stop | start | restart | kill CONTAINER…`: a node loses its power, or has it again.
async fn switch_power(ctx: &Ctx, command: &str, args: &[String]) -> Exit {
    const FLAGS: &[Flag] =
        &[value("time").short('t'), value("timeout"), value("signal").short('s')];
    let args = match Args::parse(args, &[FLAGS]) {
        Ok(args) => args,
        Err(error) => return ctx.fail(error.to_string(), 125).await,
    };
    if args.words.is_empty() {
        let text = format!(
            "docker: 'docker {command}' requires at least 1 argument\n\nUsage:  docker {command} [OPTIONS] CONTAINER [CONTAINER...]"
        );
        return ctx.fail(text, 1).await;
    }
    let lab = &ctx.session.lab;
    let mut code = 0;
    for word in &args.words {
        let Some(found) = find(lab, word) else {
            let text = format!("Error response from daemon: No such container: {word}\n");
            ctx.err(text).await?;
            code = 1;
            continue;
        };
        let steps: &[bool] = match command {
            "start" => &[false],
            "restart" => &[true, false],
            _ => &[true],
        };
        for is_off in steps {
            // It takes its time to go down, and to come up.
            ctx.host.sleep(Duration::from_millis(700)).await;
            match lab.set_outage(&found.name, Outage::Power, *is_off) {
                Ok(()) => {}
                Err(OutageError::AsItIs) if command == "kill" => {
                    let name = &found.name;
                    let text = format!(
                        "Error response from daemon: cannot kill container: {name}: container {name} is not running\n"
                    );
                    ctx.err(text).await?;
                    code = 1;
                }
                Err(OutageError::AsItIs) => {}
                Err(error) => return ctx.fail(format!("docker: {error}"), 1).await,
            }
        }
        ctx.out(format!("{word}\n")).await?;
    }
    Ok(code)
}

/// A container by its name, or the beginning of its id.
fn find(lab: &Lab, word: &str) -> Option<Container> {
    let is_it = |c: &Container| c.name == word || (word.len() > 3 && c.id.starts_with(word));
    containers(lab).into_iter().find(is_it)
}

/// `docker exec [-it] CONTAINER COMMAND…`: options end where the container's name begins.
async fn run_in_container(ctx: &Ctx, args: &[String]) -> Exit {
    let mut words = args.iter();
    let mut stdio = Stdio::default();
    let container = loop {
        let Some(word) = words.next() else {
            return ctx
                .fail("docker: 'docker exec' requires at least 2 arguments\n\nUsage:  docker exec [OPTIONS] CONTAINER COMMAND [ARG...]", 1)
                .await;
        };
        match word.as_str() {
            "-i" | "--interactive" => stdio.with_stdin = true,
            "-t" | "--tty" => stdio.with_tty = true,
            "-it" | "-ti" => stdio = Stdio { with_stdin: true, with_tty: true },
            "--privileged" => {}
            option if option.starts_with('-') => {
                return ctx.unsupported(&format!("'docker exec {option}'")).await;
            }
            name => break name.to_string(),
        }
    };
    let argv: Vec<String> = words.cloned().collect();
    let Some(found) = find(&ctx.session.lab, &container) else {
        return ctx
            .fail(format!("Error response from daemon: No such container: {container}"), 1)
            .await;
    };
    if argv.is_empty() {
        return ctx.fail("docker: 'docker exec' requires at least 2 arguments\n\nUsage:  docker exec [OPTIONS] CONTAINER COMMAND [ARG...]", 1).await;
    }
    if is_interactive(ctx, &argv, stdio.with_stdin) {
        return ctx.unsupported(INTERACTIVE).await;
    }
    let place = Place::Node(found.name.clone());
    let done = match found.is_off {
        true => Err(ExecError::Gone),
        false => exec(ctx, &place, None, &argv, stdio).await,
    };
    match done {
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
