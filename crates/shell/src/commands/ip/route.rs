//! `ip route`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use netfilter::IfName;
use netsim::route::{PutRoute, RouteKind, Scope, TABLE_LOCAL, TABLE_MAIN, proto};
use netsim::{Cidr, Flow, IfId, Route};

use super::{Answer, Call, Fail, address, is, number, prefix, table, table_name, unknown};

pub(super) fn run(mut call: Call<'_>) -> Answer {
    let verb = call.next().unwrap_or("show");
    match verb {
        _ if is(verb, "show") || is(verb, "list") || verb == "lst" => show(call),
        _ if is(verb, "get") => get(call),
        _ if is(verb, "add") => put(call, PutRoute::Add),
        _ if is(verb, "change") || verb == "chg" => put(call, PutRoute::Change),
        _ if is(verb, "replace") => put(call, PutRoute::Replace),
        _ if is(verb, "prepend") => put(call, PutRoute::Prepend),
        _ if is(verb, "append") => put(call, PutRoute::Append),
        "test" => Err(Fail::unsupported("'ip route test'")),
        _ if is(verb, "delete") => delete(call),
        _ if is(verb, "flush") => flush(call),
        "save" | "restore" | "showdump" => Err(Fail::unsupported(&format!("'ip route {verb}'"))),
        _ => Err(unknown(verb, "route")),
    }
}

/// What words say of a route, and which of them were said.
#[derive(Default)]
struct Wanted {
    kind: Option<RouteKind>,
    dst: Option<Cidr>,
    via: Option<Ipv4Addr>,
    dev: Option<IfId>,
    src: Option<Ipv4Addr>,
    metric: Option<u32>,
    table: Option<u32>,
    proto: Option<u8>,
    scope: Option<Scope>,
    mtu: Option<u16>,
    onlink: bool,
}

fn read_proto(text: &str) -> Result<u8, Fail> {
    let named = proto::NAMES.iter().find(|(_, name)| *name == text).map(|(id, _)| *id);
    let read = || number(text).and_then(|id| u8::try_from(id).ok());
    let wrong = || Fail::wrong(text, "\"protocol\" value is invalid");
    named.or_else(read).ok_or_else(wrong)
}

fn read(call: &mut Call<'_>) -> Result<Wanted, Fail> {
    let mut wanted = Wanted::default();
    while let Some(word) = call.next() {
        match word {
            "via" => {
                let text = call.value()?;
                wanted.via = Some(address(if text == "inet" { call.value()? } else { text })?);
            }
            "dev" | "oif" => wanted.dev = Some(call.device_value()?),
            "src" => wanted.src = Some(address(call.value()?)?),
            "metric" | "priority" | "preference" => wanted.metric = Some(call.number("metric")?),
            "table" => wanted.table = Some(table(call.value()?)?),
            "proto" | "protocol" => wanted.proto = Some(read_proto(call.value()?)?),
            "scope" => {
                let text = call.value()?;
                let wrong = || Fail::wrong(text, "invalid \"scope\" value");
                wanted.scope = Some(Scope::parse(text).ok_or_else(wrong)?);
            }
            "mtu" => {
                let text = call.value()?;
                let text = if text == "lock" { call.value()? } else { text };
                let mtu = number(text).and_then(|mtu| u16::try_from(mtu).ok());
                let wrong = || Fail::wrong(text, "\"mtu\" value is invalid");
                wanted.mtu = Some(mtu.filter(|mtu| *mtu >= 68).ok_or_else(wrong)?);
            }
            "onlink" => wanted.onlink = true,
            "nexthop" | "nhid" => {
                return Err(Fail::unsupported("a route with several next hops"));
            }
            "tos" | "dsfield" | "encap" | "advmss" | "window" | "rtt" | "rttvar" | "hoplimit"
            | "initcwnd" | "initrwnd" | "features" | "quickack" | "congctl" | "realms"
            | "weight" | "expires" | "pref" | "ttl-propagate" | "pervasive" | "vrf" => {
                return Err(Fail::unsupported(&format!("'ip route … {word}'")));
            }
            "to" => wanted.dst = Some(prefix(call.value()?)?),
            word => match RouteKind::of_name(word).filter(|_| wanted.dst.is_none()) {
                Some(kind) => wanted.kind = Some(kind),
                None if wanted.dst.is_some() => return Err(super::garbage("to", word)),
                None => wanted.dst = Some(prefix(word)?),
            },
        }
    }
    Ok(wanted)
}

fn needs_destination(wanted: &Wanted) -> Result<Cidr, Fail> {
    let usage =
        || Fail("Usage: ip route { add | del | change | append | replace } ROUTE".into(), 255);
    wanted.dst.ok_or_else(usage)
}

fn put(mut call: Call<'_>, how: PutRoute) -> Answer {
    let wanted = read(&mut call)?;
    let dst = needs_destination(&wanted)?;
    call.change()?;
    let kind = wanted.kind.unwrap_or(RouteKind::Unicast);
    let own_table = matches!(kind, RouteKind::Local | RouteKind::Broadcast);
    let default = if own_table { TABLE_LOCAL } else { TABLE_MAIN };
    let route = Route {
        dst,
        via: wanted.via,
        dev: wanted.dev.unwrap_or(IfId::NONE),
        src: wanted.src,
        metric: wanted.metric.unwrap_or(0),
        proto: wanted.proto.unwrap_or(proto::BOOT),
        kind,
        table: wanted.table.filter(|id| *id != 0).unwrap_or(default),
        scope: wanted.scope,
        onlink: wanted.onlink,
        mtu: wanted.mtu,
    };
    call.net.put_route(call.ns, route, how)?;
    Ok(String::new())
}

impl Wanted {
    fn fits(&self, route: &Route) -> bool {
        self.dst.is_none_or(|dst| dst == route.dst)
            && self.kind.is_none_or(|kind| kind == route.kind)
            && (self.via.is_none() || self.via == route.via)
            && self.dev.is_none_or(|dev| dev == route.dev)
            && (self.src.is_none() || self.src == route.src)
            && self.metric.is_none_or(|metric| metric == route.metric)
            && self.proto.is_none_or(|proto| proto == route.proto)
            && self.scope.is_none_or(|scope| scope == route.effective_scope())
    }
}

fn delete(mut call: Call<'_>) -> Answer {
    let wanted = read(&mut call)?;
    needs_destination(&wanted)?;
    call.change()?;
    let id = wanted.table.filter(|id| *id != 0).unwrap_or(TABLE_MAIN);
    call.net.remove_route_if(call.ns, id, |route| wanted.fits(route))?;
    Ok(String::new())
}

fn flush(mut call: Call<'_>) -> Answer {
    let wanted = selector(&mut call)?;
    if wanted.is_empty {
        return Err(Fail("\"ip route flush\" requires arguments.".into(), 255));
    }
    call.change()?;
    for id in wanted.tables(&call) {
        while call.net.remove_route_if(call.ns, id, |route| wanted.what.fits(route)).is_ok() {}
    }
    Ok(String::new())
}

/// Which routes are meant.
struct Selector {
    what: Wanted,
    is_empty: bool,
}

impl Selector {
    fn tables(&self, call: &Call<'_>) -> Vec<u32> {
        match self.what.table {
            None => vec![TABLE_MAIN],
            Some(0) => {
                // Its own addresses last, as the kernel lists them.
                let mut all = call.net.tables(call.ns);
                base::order::sort_by_key(&mut all, |id| {
                    (*id == TABLE_LOCAL, *id == TABLE_MAIN, *id)
                });
                all
            }
            Some(id) => vec![id],
        }
    }
}

fn selector(call: &mut Call<'_>) -> Result<Selector, Fail> {
    let words: Vec<&str> = call.words.clone().collect();
    let is_empty = words.is_empty();
    let is_all = words.as_slice() == ["all"] || words.as_slice() == ["cache"];
    if words.iter().any(|word| matches!(*word, "root" | "match")) {
        return Err(Fail::unsupported("'ip route show root | match'"));
    }
    let words: Vec<&str> =
        words.into_iter().filter(|word| !is_all && !matches!(*word, "exact" | "type")).collect();
    let Call { net, ns, style, may_change, .. } = *call;
    let mut inner = Call { net, ns, style, may_change, words: words.iter().copied() };
    let what = read(&mut inner)?;
    Ok(Selector { what, is_empty })
}

fn show(mut call: Call<'_>) -> Answer {
    let selector = selector(&mut call)?;
    let mut out = String::new();
    for id in selector.tables(&call) {
        for route in call.net.table(call.ns, id) {
            if selector.what.fits(&route) {
                let with_table = selector.what.table == Some(0) && id != TABLE_MAIN;
                let _ = writeln!(out, "{}", line(&call, &route, &selector.what, with_table));
            }
        }
    }
    Ok(out)
}

/// A route as iproute2 prints it: a blank after every word.
fn line(call: &Call<'_>, route: &Route, wanted: &Wanted, with_table: bool) -> String {
    let mut out = String::new();
    if route.kind != RouteKind::Unicast {
        let _ = write!(out, "{} ", route.kind.name());
    }
    let _ = match route.dst.len {
        0 => write!(out, "default "),
        32 => write!(out, "{} ", route.dst.addr),
        _ => write!(out, "{} ", route.dst),
    };
    if let Some(via) = route.via {
        let _ = write!(out, "via {via} ");
    }
    let ifaces = call.net.ifaces(call.ns);
    let dev = ifaces.iter().find(|iface| iface.id == route.dev);
    if let Some(dev) = dev.filter(|_| wanted.dev.is_none()) {
        let _ = write!(out, "dev {} ", dev.name);
    }
    if with_table {
        let _ = write!(out, "table {} ", table_name(route.table));
    }
    if route.proto != proto::BOOT {
        let name = proto::NAMES.iter().find(|(id, _)| *id == route.proto).map(|(_, name)| *name);
        let _ = write!(out, "proto {} ", name.map_or(route.proto.to_string(), str::to_string));
    }
    if route.effective_scope() != Scope::UNIVERSE {
        let _ = write!(out, "scope {} ", route.effective_scope());
    }
    if let Some(src) = route.src {
        let _ = write!(out, "src {src} ");
    }
    if route.metric != 0 {
        let _ = write!(out, "metric {} ", route.metric);
    }
    if route.onlink {
        out.push_str("onlink ");
    }
    if dev.is_some_and(|dev| dev.is_up && !dev.has_carrier) {
        out.push_str("linkdown ");
    }
    if let Some(mtu) = route.mtu {
        let _ = write!(out, "mtu {mtu} ");
    }
    out
}

fn get(mut call: Call<'_>) -> Answer {
    let (mut to, mut from, mut iif, mut oif, mut mark) = (None, None, None, None, 0);
    while let Some(word) = call.next() {
        match word {
            "from" => from = Some(address(call.value()?)?),
            "iif" => iif = Some(call.value()?),
            "oif" | "dev" => oif = Some(call.value()?),
            "mark" => mark = call.number("mark")?,
            "uid" => drop(call.value()?),
            "fibmatch" | "tos" | "ipproto" | "sport" | "dport" | "vrf" | "notify" | "connected" => {
                return Err(Fail::unsupported(&format!("'ip route get … {word}'")));
            }
            "to" => to = Some(prefix(call.value()?)?),
            word => to = Some(prefix(word)?),
        }
    }
    let Some(to) = to.map(|to: Cidr| to.addr) else {
        return Err(Fail("need at least a destination address".into(), 1));
    };
    let oif_id = oif.map(|name| call.device(name)).transpose()?;
    if let Some(name) = iif {
        call.device(name)?;
    }
    let flow = Flow {
        src: from.unwrap_or(Ipv4Addr::UNSPECIFIED),
        mark,
        iif: iif.map_or(IfName::NONE, IfName::new),
        oif: oif_id,
        oif_name: oif.map_or(IfName::NONE, IfName::new),
        ..Flow::to(to)
    };
    let found = call.net.route_get(call.ns, &flow)?;
    if let Some(iif) = iif
        && found.kind == RouteKind::Unicast
    {
        let key = format!("net.ipv4.conf.{}.forwarding", iif.replace('.', "/"));
        if call.net.sysctl(call.ns, &key).is_ok_and(|value| value == "0") {
            return Err(netsim::NetlinkError::HostUnreachable.into());
        }
    }
    let mut out = match found.kind {
        RouteKind::Unicast => String::new(),
        kind => format!("{} ", kind.name()),
    };
    let _ = write!(out, "{to} ");
    if let Some(from) = from {
        let _ = write!(out, "from {from} ");
    }
    if let Some(via) = found.via {
        let _ = write!(out, "via {via} ");
    }
    let _ = write!(out, "dev {} ", found.dev);
    if let Some(src) = found.src.filter(|_| from.is_none()) {
        let _ = write!(out, "src {src} ");
    }
    let _ = match mark {
        0 => Ok(()),
        1..16 => write!(out, "mark {mark} "),
        _ => write!(out, "mark {mark:#x} "),
    };
    if iif.is_none() {
        out.push_str("uid 0 ");
    }
    out.push_str("\n    cache ");
    match found.kind {
        RouteKind::Local => out.push_str("<local> "),
        RouteKind::Broadcast => out.push_str("<local,brd> "),
        _ => {}
    }
    if found.is_learnt {
        let expires = call.net.path_mtus(call.ns).into_iter().find(|(dst, ..)| *dst == to);
        let left = expires.map_or(0, |(.., at)| (at - call.net.now()).as_secs());
        let _ = write!(out, "expires {left}sec mtu {} ", found.mtu);
    }
    if let Some(iif) = iif {
        let _ = write!(out, "iif {iif} ");
    }
    out.push('\n');
    Ok(out)
}
