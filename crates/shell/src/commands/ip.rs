//! `ip`: interfaces, addresses and routes of a namespace, as iproute2 prints them.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use netsim::RouteKind;
use netsim::sim::{IfaceView, RouteView};

use super::Ctx;
use crate::io::Exit;

/// `ip addr | link | route | neigh`
pub async fn run(ctx: Ctx) -> Exit {
    let mut words: Vec<&str> = ctx.args.iter().map(String::as_str).collect();
    words.retain(|word| !matches!(*word, "-4" | "-d" | "-details" | "-family" | "inet"));
    if let Some(option) = words.iter().find(|word| word.starts_with('-')) {
        return ctx.unsupported(&format!("'ip {option}'")).await;
    }
    let (object, rest) = words.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
    let is = |full: &str| !object.is_empty() && full.starts_with(object);
    let rest: Vec<&str> =
        rest.iter().filter(|w| !matches!(**w, "show" | "list" | "ls" | "s")).copied().collect();
    if is("address") || is("addr") {
        interfaces(&ctx, &rest, true).await
    } else if is("link") {
        interfaces(&ctx, &rest, false).await
    } else if is("route") || object == "ro" {
        match rest.as_slice() {
            [] | ["table", "main"] => routes(&ctx).await,
            ["get", address] => route_get(&ctx, address).await,
            _ => ctx.unsupported(&format!("'ip route {}'", rest.join(" "))).await,
        }
    } else if object.is_empty() {
        ctx.fail("Usage: ip { addr | link | route } [ show | get ADDRESS ]", 255).await
    } else if ["neighbour", "neighbor", "rule", "netns", "tunnel", "maddress", "tcp_metrics"]
        .iter()
        .any(|full| full.starts_with(object))
    {
        ctx.unsupported(&format!("'ip {object}'")).await
    } else {
        ctx.fail(format!("Object \"{object}\" is unknown, try \"ip help\"."), 1).await
    }
}

async fn interfaces(ctx: &Ctx, rest: &[&str], with_addresses: bool) -> Exit {
    let only = match rest {
        [] => None,
        [name] | ["dev", name] => Some(*name),
        _ => return ctx.unsupported(&format!("'{}'", rest.join(" "))).await,
    };
    let ifaces = ctx.host.net().ifaces(ctx.host.ns());
    if let Some(name) = only.filter(|name| !ifaces.iter().any(|iface| iface.name == *name)) {
        return ctx.fail(format!("Device \"{name}\" does not exist."), 1).await;
    }
    for iface in ifaces.iter().filter(|iface| only.is_none_or(|only| only == iface.name)) {
        ctx.out(interface(iface, with_addresses)).await?;
    }
    Ok(0)
}

fn interface(iface: &IfaceView, with_addresses: bool) -> String {
    let mut out = String::new();
    let mut flags =
        if iface.is_loopback { vec!["LOOPBACK"] } else { vec!["BROADCAST", "MULTICAST"] };
    if iface.is_up {
        flags.extend(["UP", "LOWER_UP"]);
    }
    let peer = iface.peer.map(|(_, _, index)| format!("@if{index}")).unwrap_or_default();
    let queue = if iface.is_loopback || iface.is_bridge || iface.peer.is_some() {
        "noqueue"
    } else {
        "fq_codel"
    };
    let master = iface.master.as_ref().map(|m| format!(" master {m}")).unwrap_or_default();
    let state = match (iface.is_loopback, iface.is_up) {
        (true, _) => "UNKNOWN",
        (false, true) => "UP",
        (false, false) => "DOWN",
    };
    let (kind, broadcast) = if iface.is_loopback {
        ("loopback", "00:00:00:00:00:00")
    } else {
        ("ether", "ff:ff:ff:ff:ff:ff")
    };
    let _ = writeln!(
        out,
        "{}: {}{peer}: <{}> mtu {} qdisc {queue}{master} state {state} group default{}",
        iface.index,
        iface.name,
        flags.join(","),
        iface.mtu,
        if iface.is_loopback { " qlen 1000" } else { "" },
    );
    let _ = writeln!(out, "    link/{kind} {} brd {broadcast}", iface.mac);
    for cidr in iface.addrs.iter().filter(|_| with_addresses) {
        let scope = if iface.is_loopback { "host" } else { "global" };
        let broadcast = cidr.broadcast().filter(|_| !iface.is_loopback && cidr.len < 31);
        let broadcast = broadcast.map(|addr| format!(" brd {addr}")).unwrap_or_default();
        let _ = writeln!(out, "    inet {cidr}{broadcast} scope {scope} {}", iface.name);
        let _ = writeln!(out, "       valid_lft forever preferred_lft forever");
    }
    out
}

async fn routes(ctx: &Ctx) -> Exit {
    // The kernel walks its trie: by address, wider prefixes first.
    let mut all = ctx.host.net().routes(ctx.host.ns());
    all.sort_by_key(|route| (route.dst.addr, route.dst.len));
    for route in &all {
        ctx.out(format!("{}\n", route_line(route))).await?;
    }
    Ok(0)
}

fn route_line(route: &RouteView) -> String {
    let mut out = match route.kind {
        RouteKind::Unicast => String::new(),
        other => format!("{} ", format!("{other:?}").to_lowercase()),
    };
    match route.dst.len {
        0 => out.push_str("default"),
        32 => {
            let _ = write!(out, "{}", route.dst.addr);
        }
        _ => {
            let _ = write!(out, "{}", route.dst);
        }
    }
    if let Some(via) = route.via {
        let _ = write!(out, " via {via}");
    }
    let _ = write!(out, " dev {}", route.dev);
    if route.is_kernel {
        out.push_str(" proto kernel");
    }
    if route.via.is_none() && route.kind == RouteKind::Unicast {
        out.push_str(if route.dst.len == 32 && !route.is_kernel {
            " scope host"
        } else {
            " scope link"
        });
    }
    if let Some(src) = route.src {
        let _ = write!(out, " src {src}");
    }
    if route.metric != 0 {
        let _ = write!(out, " metric {}", route.metric);
    }
    out.push(' ');
    out
}

async fn route_get(ctx: &Ctx, address: &str) -> Exit {
    let Ok(addr) = address.parse::<Ipv4Addr>() else {
        let text = format!("Error: any valid prefix is expected rather than \"{address}\".");
        return ctx.fail(text, 1).await;
    };
    let (net, ns) = (ctx.host.net(), ctx.host.ns());
    let is_own = net.ifaces(ns).iter().any(|i| i.addrs.iter().any(|cidr| cidr.addr == addr));
    if is_own || addr.is_loopback() {
        ctx.out(format!("local {addr} dev lo src {addr} uid 0 \n    cache <local> \n")).await?;
        return Ok(0);
    }
    let routes = net.routes(ns);
    let best = routes.iter().filter(|route| route.dst.contains(addr)).max_by_key(|r| r.dst.len);
    let (Some(route), Some(src)) = (best, net.source_for(ns, addr)) else {
        return ctx.fail("RTNETLINK answers: Network is unreachable", 2).await;
    };
    let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
    ctx.out(format!("{addr}{via} dev {} src {src} uid 0 \n    cache \n", route.dev)).await?;
    Ok(0)
}
