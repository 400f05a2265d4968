//! `lab`: what only this world has.

use std::fmt::Write as _;
use std::rc::Rc;

use ::lab::journal::Topic;
use ::lab::outage::Outage;
use ::lab::path::{Ending, Journey, PacketPath, Stay};
use kube_proxy::Balancing;
use netsim::Cause;

use super::Ctx;
use crate::grammar::run::Runner;
use crate::io::Exit;

const USAGE: &str = "Usage: lab status
       lab set load-balancing round-robin|random
       lab fault kube-proxy-stop NODE
       lab fault node-down|node-cut|kubelet-stop NODE
       lab heal FAULT NODE
       lab addon ingress        ingress-nginx, as it is installed on kind
       lab trace COMMAND…   the path of each packet that the command causes, and the rules that matched
       lab path [NUMBER]    the same of a request that was sent already; without a number, of the last
       lab origin NODE CHAIN   what the rules of a chain were written for
       lab log [TOPIC]      what has happened: object, endpoints, rules, request, world
       lab seed";

/// `lab status | set | fault | heal | trace | path | log | seed`
pub async fn run(ctx: Ctx) -> Exit {
    let words: Vec<&str> = ctx.args.iter().map(String::as_str).collect();
    let lab = &ctx.session.lab;
    match words.as_slice() {
        ["status"] => status(&ctx).await,
        ["seed"] => {
            ctx.out(format!("{}\n", lab.seed())).await?;
            Ok(0)
        }
        ["set", "load-balancing", value] => match Balancing::parse(value) {
            Some(balancing) => {
                lab.set_balancing(balancing);
                Ok(0)
            }
            None => ctx.fail(format!("lab: {value:?} is neither round-robin nor random"), 1).await,
        },
        [verb @ ("fault" | "heal"), "kube-proxy-stop", node] => {
            if lab.set_proxy_stopped(node, *verb == "fault") {
                return Ok(0);
            }
            ctx.fail(format!("lab: there is no node {node:?}"), 1).await
        }
        ["addon", "ingress"] => addon_ingress(&ctx).await,
        ["addon", name, ..] => {
            ctx.fail(format!("lab: there is no addon {name:?}; there is: ingress"), 1).await
        }
        [verb @ ("fault" | "heal"), fault, node] if Outage::parse(fault).is_some() => {
            let outage = Outage::parse(fault).unwrap_or(Outage::Kubelet);
            match lab.set_outage(node, outage, *verb == "fault") {
                Ok(()) => Ok(0),
                Err(error) => ctx.fail(format!("lab: {error}"), 1).await,
            }
        }
        ["origin", node, chain] => origin(&ctx, node, chain).await,
        ["log"] => log(&ctx, None).await,
        ["log", name] => match Topic::ALL.into_iter().find(|topic| topic.name() == *name) {
            Some(topic) => log(&ctx, Some(topic)).await,
            None => ctx.fail(format!("lab: there is no topic {name:?}"), 1).await,
        },
        ["trace", command @ ..] if !command.is_empty() => trace(&ctx).await,
        ["path"] => {
            let last = lab.requests(|all| all.iter().next_back().map(|request| request.cause));
            path(&ctx, last).await
        }
        ["path", number] => {
            let cause = number.trim_start_matches('#').parse().ok().map(Cause);
            path(&ctx, cause.filter(|cause| lab.request(*cause).is_some())).await
        }
        ["why" | "clock" | "export" | "import", ..] | ["fault" | "heal" | "set", ..] => {
            ctx.unsupported(&format!("'lab {}'", words.join(" "))).await
        }
        _ => ctx.fail(USAGE, 2).await,
    }
}

async fn status(ctx: &Ctx) -> Exit {
    let lab = &ctx.session.lab;
    let mut out = String::new();
    let _ = writeln!(out, "time            {}", ctx.host.now());
    let _ = writeln!(out, "seed            {}", lab.seed());
    let _ = writeln!(out, "load-balancing  {}", lab.balancing().name());
    let requests = lab.requests(|all| all.iter().count());
    let _ = writeln!(out, "requests        {requests}");
    for cluster in lab.clusters() {
        let counts = lab.with(&cluster, |cluster| {
            let view = ::lab::view::cluster(cluster);
            let pods: usize = view.nodes.iter().map(|node| node.pods.len()).sum();
            (view.nodes.len(), pods + view.waiting.len(), view.services.len())
        });
        let (nodes, pods, services) = counts.unwrap_or_default();
        let _ =
            writeln!(out, "cluster {cluster:<7} {nodes} nodes, {pods} Pods, {services} Services");
    }
    let _ = writeln!(out, "fingerprint     {}", lab.journal(|journal| journal.fingerprint()));
    ctx.out(out).await?;
    Ok(0)
}

/// Rules, and the objects, fields and lines that they were written for.
async fn origin(ctx: &Ctx, node: &str, chain: &str) -> Exit {
    let lab = &ctx.session.lab;
    let clusters = lab.clusters();
    let mut found = clusters
        .iter()
        .filter_map(|cluster| lab.with(cluster, |cluster| cluster.origins(node, chain)).flatten());
    let Some(rules) = found.next() else {
        return ctx.fail(format!("lab: there is no node {node:?}"), 1).await;
    };
    if rules.is_empty() {
        return ctx.fail(format!("lab: no rules in a chain {chain:?} of {node}"), 1).await;
    }
    let mut out = String::new();
    for rule in rules {
        let number = if rule.number == 0 { String::new() } else { format!(" {}", rule.number) };
        let _ = write!(out, "{} {chain}{number}: ", rule.table);
        let Some(origin) = &rule.origin else {
            out.push_str("always there\n");
            continue;
        };
        let _ = write!(out, "Service {}/{}", origin.port.namespace, origin.port.service);
        let _ = write!(out, " {}", origin.field);
        if let Some((file, line)) = &rule.place {
            let _ = write!(out, " ({file}:{line})");
        }
        if let Some(endpoint) = &origin.endpoint {
            let _ =
                write!(out, ", endpoint {} of EndpointSlice {}", endpoint.address, endpoint.slice);
            if let Some(pod) = &endpoint.pod {
                let _ = write!(out, ", Pod {pod}");
            }
        }
        out.push('\n');
    }
    ctx.out(out).await?;
    Ok(0)
}

/// The journal's lines, as many of them as are kept.
async fn log(ctx: &Ctx, topic: Option<Topic>) -> Exit {
    let text: String = ctx.session.lab.journal(|journal| {
        let wanted =
            journal.since(0).filter(|entry| topic.is_none_or(|topic| topic == entry.topic));
        wanted.map(|entry| format!("{entry}\n")).collect()
    });
    ctx.out(text).await?;
    Ok(0)
}

/// Installs ingress-nginx into the current cluster.
async fn addon_ingress(ctx: &Ctx) -> Exit {
    let lab = &ctx.session.lab;
    let Some(cluster) = lab.current() else {
        return ctx.fail("lab: there is no cluster", 1).await;
    };
    let count = lab.with(&cluster, |cluster| cluster.install_ingress()).unwrap_or_default();
    if count == 0 {
        ctx.out("ingress-nginx is installed already\n").await?;
        return Ok(0);
    }
    ctx.out(
        "ingress-nginx is installed; TLS is not supported by podwire, hosts are served over HTTP. Until it is ready:\n  kubectl wait -n ingress-nginx --for=condition=ready pod -l app.kubernetes.io/component=controller --timeout=90s\n",
    )
    .await?;
    Ok(0)
}

/// Runs a command, and then tells the paths of the requests that it has sent.
async fn trace(ctx: &Ctx) -> Exit {
    let lab = ctx.session.lab.clone();
    let before = lab.requests(|all| all.iter().next_back().map_or(0, |request| request.cause.0));
    let quoted = ctx.args.iter().skip(1).map(|arg| format!("'{}'", arg.replace('\'', r"'\''")));
    let text = quoted.collect::<Vec<String>>().join(" ");
    let runner = Runner::new(Rc::clone(&ctx.session), ctx.host.clone(), ctx.io.clone());
    let code = Box::pin(runner.run(&text)).await;
    let sent: Vec<Cause> = lab.requests(|all| {
        all.iter().map(|request| request.cause).filter(|cause| cause.0 > before).collect()
    });
    if sent.is_empty() {
        ctx.err("lab: the command has sent no request\n").await?;
    }
    for cause in sent {
        path(ctx, Some(cause)).await?;
    }
    Ok(code)
}

async fn path(ctx: &Ctx, cause: Option<Cause>) -> Exit {
    let request = cause.and_then(|cause| ctx.session.lab.request(cause));
    let Some(request) = request else {
        return ctx.fail("lab: there is no such request", 1).await;
    };
    let journey = ctx.session.lab.journey(request.cause);
    let places: Vec<String> = request.path.iter().map(ToString::to_string).collect();
    ctx.out(format!("#{} {}: {}\n", request.cause.0, request.to, places.join(" → "))).await?;
    ctx.out(tell(&journey)).await?;
    Ok(0)
}

/// A journey as text: packets, and under each its hops with what mattered there.
pub(crate) fn tell(journey: &Journey) -> String {
    let mut out = String::new();
    for (number, packet) in (1..).zip(&journey.packets) {
        tell_packet(number, packet, &mut out);
    }
    out
}

fn tell_packet(number: usize, packet: &PacketPath, out: &mut String) {
    let _ = writeln!(out, "  {number}. {} {} {}", packet.at, packet.kind.word(), packet.line);
    for stay in packet.stays.iter().filter(|stay| !stay.is_switched()) {
        tell_stay(stay, out);
    }
}

fn tell_stay(stay: &Stay, out: &mut String) {
    let came = stay.came_by().map(|iface| format!("in by {iface}, ")).unwrap_or_default();
    let ended = match stay.ending() {
        Ending::Left(iface) => format!("out by {iface}"),
        Ending::Delivered => "taken".to_string(),
        Ending::Lost(why) => format!("LOST: {why}"),
        Ending::Open => "still there".to_string(),
    };
    let _ = writeln!(out, "     {}: {came}{} rules asked, {ended}", stay.place, stay.rules_asked());
    for matched in stay.matched() {
        let rule = matched.rule.line();
        let _ = writeln!(out, "       {} {} {rule}", matched.hook, matched.table);
    }
    for change in stay.rewritten() {
        let _ = writeln!(out, "       {:?}: {} becomes {}", change.end, change.from, change.to);
    }
}
