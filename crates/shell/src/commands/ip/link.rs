//! `ip link` and `ip addr`.

use std::fmt::Write as _;

use netsim::Mac;
use netsim::iface::{IfAddr, IfStats};
use netsim::route::Scope;
use netsim::sim::IfaceView;
use netsim::{Cidr, IfId, LinkConfig};

use super::{Answer, Call, Fail, Style, garbage, is, prefix, unknown};

/// Which interfaces are shown.
#[derive(Default)]
struct Filter {
    name: Option<String>,
    is_up: bool,
    kind: Option<String>,
    master: Option<String>,
}

pub(super) fn links(mut call: Call<'_>) -> Answer {
    let verb = call.next().unwrap_or("show");
    match verb {
        _ if is(verb, "add") => add_link(call),
        _ if is(verb, "set") => set_link(call),
        _ if is(verb, "show") || is(verb, "list") || verb == "lst" => show(call, false),
        _ if is(verb, "delete") => delete_link(call),
        _ => Err(unknown(verb, "link")),
    }
}

pub(super) fn addresses(mut call: Call<'_>) -> Answer {
    let verb = call.next().unwrap_or("show");
    match verb {
        _ if is(verb, "add") => change_address(call, true),
        _ if is(verb, "delete") => change_address(call, false),
        _ if is(verb, "show") || is(verb, "list") || verb == "lst" => show(call, true),
        _ if is(verb, "flush") => flush_addresses(call),
        "change" | "replace" | "save" | "restore" => {
            Err(Fail::unsupported(&format!("'ip address {verb}'")))
        }
        // `ip addr eth0` is read as a name only after `show`.
        _ => Err(unknown(verb, "address")),
    }
}

fn show(mut call: Call<'_>, with_addresses: bool) -> Answer {
    let mut filter = Filter::default();
    while let Some(word) = call.next() {
        match word {
            "up" => filter.is_up = true,
            "type" => filter.kind = Some(call.value()?.to_string()),
            "master" => filter.master = Some(call.value()?.to_string()),
            "dev" => filter.name = Some(call.value()?.to_string()),
            name if filter.name.is_none() => filter.name = Some(name.to_string()),
            word => return Err(garbage("dev", word)),
        }
    }
    let ifaces = call.net.ifaces(call.ns);
    if let Some(name) = &filter.name
        && !ifaces.iter().any(|iface| iface.name == *name)
    {
        return Err(Fail(format!("Device \"{name}\" does not exist."), 1));
    }
    let is_shown = |iface: &&IfaceView| {
        filter.name.as_ref().is_none_or(|name| *name == iface.name)
            && (!filter.is_up || iface.is_up)
            && filter.kind.as_ref().is_none_or(|kind| kind == iface.kind)
            && filter.master.is_none_or_is(&iface.master)
    };
    // Other namespaces are numbered as they are met.
    let mut others = Vec::new();
    let mut out = String::new();
    for iface in &ifaces {
        if let Some((ns, ..)) = iface.peer
            && ns != call.ns
            && !others.contains(&ns)
        {
            others.push(ns);
        }
        if !is_shown(&iface) {
            continue;
        }
        let same = iface.peer.filter(|(ns, ..)| *ns == call.ns).map(|(_, id, _)| id);
        let peer_name = same.map(|id| call.name_of(id));
        let netns = iface.peer.and_then(|(ns, ..)| others.iter().position(|other| *other == ns));
        let shown = Shown { iface, peer_name, netns };
        match call.style {
            Style { brief: true, .. } => shown.brief(&mut out, with_addresses),
            Style { one_line: true, .. } if with_addresses => shown.one_line(&mut out),
            style => shown.full(&mut out, with_addresses, style),
        }
    }
    Ok(out)
}

trait IsNoneOrIs {
    fn is_none_or_is(&self, other: &Self) -> bool;
}

impl IsNoneOrIs for Option<String> {
    fn is_none_or_is(&self, other: &Self) -> bool {
        self.is_none() || self == other
    }
}

/// An interface and what is known of its surroundings.
struct Shown<'a> {
    iface: &'a IfaceView,
    /// The name of the other end, where that is in the same namespace.
    peer_name: Option<String>,
    /// The number of the other end's namespace.
    netns: Option<usize>,
}

impl Shown<'_> {
    fn full_name(&self) -> String {
        match (&self.peer_name, self.iface.peer) {
            (Some(peer), _) => format!("{}@{peer}", self.iface.name),
            (None, Some((.., index))) => format!("{}@if{index}", self.iface.name),
            (None, None) => self.iface.name.clone(),
        }
    }

    fn flags(&self) -> String {
        let iface = self.iface;
        let is_cut_off = iface.is_up && !iface.has_carrier;
        let mut flags = if is_cut_off { vec!["NO-CARRIER"] } else { Vec::new() };
        match iface.is_loopback {
            true => flags.push("LOOPBACK"),
            false if iface.kind == "dummy" => flags.extend(["BROADCAST", "NOARP"]),
            false => flags.extend(["BROADCAST", "MULTICAST"]),
        }
        if iface.is_up {
            flags.push("UP");
            flags.extend(iface.has_carrier.then_some("LOWER_UP"));
        }
        if self.peer_name.is_some() && !iface.has_carrier {
            flags.push("M-DOWN");
        }
        flags.join(",")
    }

    fn state(&self) -> &'static str {
        let iface = self.iface;
        match (iface.is_up, iface.has_carrier) {
            (false, _) => "DOWN",
            (true, _) if iface.is_loopback || iface.kind == "dummy" => "UNKNOWN",
            (true, true) => "UP",
            (true, false) if iface.is_bridge => "DOWN",
            (true, false) => "LOWERLAYERDOWN",
        }
    }

    fn full(&self, out: &mut String, with_addresses: bool, style: Style) {
        let iface = self.iface;
        let end = if style.one_line { "\\" } else { "\n" };
        let master = iface.master.as_ref().map(|m| format!(" master {m}")).unwrap_or_default();
        // One that was never up has no queue at all; of others it is not known here.
        let is_bare = iface.kind == "dummy" && !iface.is_up;
        let qdisc = if is_bare { "noop" } else { "noqueue" };
        let _ = write!(
            out,
            "{}: {}: <{}> mtu {} qdisc {qdisc}{master} state {}{} group default{}{end}",
            iface.index,
            self.full_name(),
            self.flags(),
            iface.mtu,
            self.state(),
            if with_addresses { "" } else { " mode DEFAULT" },
            if iface.is_loopback { " qlen 1000" } else { "" },
        );
        let (kind, broadcast) = match iface.is_loopback {
            true => ("loopback", Mac::ZERO),
            false => ("ether", Mac::BROADCAST),
        };
        let netns = self.netns.map(|id| format!(" link-netnsid {id}")).unwrap_or_default();
        let _ = writeln!(out, "    link/{kind} {} brd {broadcast}{netns}", iface.mac);
        if style.stats {
            stats(out, &iface.stats);
        }
        for addr in iface.if_addrs.iter().filter(|_| with_addresses) {
            let _ = writeln!(out, "    {}", inet(addr, &iface.name));
            let _ = writeln!(out, "       valid_lft forever preferred_lft forever");
        }
    }

    fn one_line(&self, out: &mut String) {
        let iface = self.iface;
        for addr in &iface.if_addrs {
            let inet = inet(addr, &iface.name);
            let lifetime = "valid_lft forever preferred_lft forever";
            let _ = writeln!(out, "{}: {}    {inet}\\       {lifetime}", iface.index, iface.name);
        }
    }

    fn brief(&self, out: &mut String, with_addresses: bool) {
        let _ = write!(out, "{:<16} {:<14} ", self.full_name(), self.state());
        if with_addresses {
            for addr in &self.iface.if_addrs {
                let _ = write!(out, "{} ", addr.cidr);
            }
        } else {
            let _ = write!(out, "{} <{}> ", self.iface.mac, self.flags());
        }
        out.push('\n');
    }
}

fn inet(addr: &IfAddr, name: &str) -> String {
    let broadcast = addr.broadcast.map(|addr| format!(" brd {addr}")).unwrap_or_default();
    let secondary = if addr.is_secondary { " secondary" } else { "" };
    format!("inet {}{broadcast} scope {}{secondary} {name}", addr.cidr, addr.scope)
}

fn stats(out: &mut String, stats: &IfStats) {
    let mut line = |head: &str, last: [&str; 2], bytes: u64, packets: u64, dropped: u64| {
        let _ = writeln!(
            out,
            "    {head}:  bytes packets errors dropped {:>7} {:>7}           ",
            last[0], last[1]
        );
        let _ =
            writeln!(out, "    {bytes:>10} {packets:>7} {:>6} {dropped:>7} {:>7} {:>7} ", 0, 0, 0);
    };
    let IfStats { rx_bytes, rx_packets, rx_dropped, tx_bytes, tx_packets, tx_dropped } = *stats;
    line("RX", ["missed", "mcast"], rx_bytes, rx_packets, rx_dropped);
    line("TX", ["carrier", "collsns"], tx_bytes, tx_packets, tx_dropped);
}

fn add_link(mut call: Call<'_>) -> Answer {
    call.change()?;
    let (mut name, mut kind, mut peer) = (None, None, None);
    while let Some(word) = call.next() {
        match word {
            "name" | "dev" => name = Some(call.value()?),
            "type" => kind = Some(call.value()?),
            "peer" => {
                let word = call.value()?;
                peer = Some(if word == "name" { call.value()? } else { word });
            }
            word if name.is_none() => name = Some(word),
            word => return Err(garbage("name", word)),
        }
    }
    let Some(kind) = kind else {
        return Err(Fail("Not enough information: \"type\" argument is required".into(), 255));
    };
    let ifaces = call.net.ifaces(call.ns);
    let free = |kind: &str| {
        let names = (0..).map(|i| format!("{kind}{i}"));
        let is_free = |name: &String| !ifaces.iter().any(|iface| iface.name == *name);
        names.into_iter().find(is_free).unwrap_or_default()
    };
    let name = name.map_or_else(|| free(kind), str::to_string);
    if !["bridge", "dummy", "veth"].contains(&kind) {
        return match kind {
            "vlan" | "vxlan" | "macvlan" | "ipvlan" | "tun" | "bond" | "gre" | "ipip"
            | "wireguard" | "vrf" => Err(Fail::unsupported(&format!("a link of type '{kind}'"))),
            _ => Err(Fail("Error: Unknown device type.".into(), 2)),
        };
    }
    call.net.check_link_name(call.ns, &name)?;
    let made: Vec<IfId> = match kind {
        "bridge" => vec![call.net.add_bridge(call.ns, &name)],
        "dummy" => vec![call.net.add_dummy(call.ns, &name)],
        _ => {
            let peer = peer.map_or_else(|| free("veth"), str::to_string);
            call.net.check_link_name(call.ns, &peer)?;
            if peer == name {
                return Err(netsim::NetlinkError::Exists.into());
            }
            let link = LinkConfig::default();
            let ends = call.net.add_veth((call.ns, &name), (call.ns, &peer), link);
            vec![ends.0, ends.1]
        }
    };
    // Unlike those that the world is built with, a new link is down.
    made.into_iter().for_each(|id| call.net.set_up(id, false));
    Ok(String::new())
}

fn delete_link(mut call: Call<'_>) -> Answer {
    call.change()?;
    let mut word = call.value()?;
    if word == "dev" {
        word = call.value()?;
    }
    let id = call.device(word)?;
    if call.net.ifaces(call.ns).iter().any(|iface| iface.id == id && iface.is_loopback) {
        return Err(netsim::NetlinkError::NotSupported.into());
    }
    call.net.remove_iface(id);
    Ok(String::new())
}

fn set_link(mut call: Call<'_>) -> Answer {
    call.change()?;
    let mut word = call.value()?;
    if word == "dev" {
        word = call.value()?;
    }
    let id = call.device(word)?;
    let net = call.net;
    while let Some(word) = call.next() {
        match word {
            "up" => net.set_up(id, true),
            "down" => net.set_up(id, false),
            "mtu" => {
                let mtu = call.number("mtu")?;
                net.set_mtu(id, mtu)?;
            }
            "address" => {
                let text = call.value()?;
                let mac =
                    mac(text).ok_or_else(|| Fail(format!("\"{text}\" is invalid lladdr."), 1))?;
                net.set_mac(id, mac)?;
            }
            "name" => {
                let name = call.value()?;
                net.rename(id, name)?;
            }
            "nomaster" => net.clear_master(id),
            "master" => {
                let name = call.value()?;
                let bridge = net.iface_named(call.ns, name);
                let bridge = bridge.ok_or_else(|| Fail::wrong(name, "Device does not exist"))?;
                let is_bridge = net.ifaces(call.ns).iter().any(|i| i.id == bridge && i.is_bridge);
                if !is_bridge {
                    return Err(netsim::NetlinkError::NotSupported.into());
                }
                net.set_master(id, bridge);
            }
            "netns" | "arp" | "multicast" | "promisc" | "txqueuelen" | "qlen" | "alias"
            | "type" => {
                return Err(Fail::unsupported(&format!("'ip link set … {word}'")));
            }
            word => return Err(garbage("dev", word)),
        }
    }
    Ok(String::new())
}

/// A hardware address: six bytes in hexadecimal.
pub(super) fn mac(text: &str) -> Option<Mac> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| (1..=2).contains(&part.len()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(Mac(bytes))
}

fn change_address(mut call: Call<'_>, adds: bool) -> Answer {
    call.change()?;
    let (mut cidr, mut dev, mut scope, mut broadcast) = (None, None, None, None);
    while let Some(word) = call.next() {
        match word {
            "dev" => dev = Some(call.value()?),
            "scope" => {
                let text = call.value()?;
                let wrong = || Fail::wrong(text, "invalid scope value.");
                scope = Some(Scope::parse(text).ok_or_else(wrong)?);
            }
            "brd" | "broadcast" => broadcast = Some(call.value()?),
            "local" => cidr = Some(prefix(call.value()?)?),
            "peer" | "anycast" | "label" | "metric" | "valid_lft" | "preferred_lft"
            | "noprefixroute" => {
                return Err(Fail::unsupported(&format!("'ip address add … {word}'")));
            }
            word if cidr.is_none() => cidr = Some(prefix(word)?),
            word => return Err(garbage("local", word)),
        }
    }
    let Some(dev) = dev else {
        return Err(Fail("Not enough information: \"dev\" argument is required.".into(), 1));
    };
    let id = call.device(dev)?;
    let Some(cidr) = cidr else { return Err(netsim::NetlinkError::NotSupported.into()) };
    if !adds {
        call.net.remove_addr(id, cidr)?;
        return Ok(String::new());
    }
    let default = if cidr.addr.is_loopback() { Scope::HOST } else { Scope::UNIVERSE };
    let mut addr = IfAddr::new(cidr, scope.unwrap_or(default));
    addr.broadcast = match broadcast {
        None | Some("-") => None,
        Some("+") => cidr.broadcast(),
        Some(text) => Some(super::address(text)?),
    };
    call.net.add_if_addr(id, addr)?;
    Ok(String::new())
}

fn flush_addresses(mut call: Call<'_>) -> Answer {
    let mut dev = None;
    while let Some(word) = call.next() {
        match word {
            "dev" => dev = Some(call.value()?),
            word if dev.is_none() => dev = Some(word),
            word => return Err(garbage("dev", word)),
        }
    }
    let Some(dev) = dev else { return Err(Fail("Flush requires arguments.".into(), 1)) };
    let missing = || Fail(format!("Device \"{dev}\" does not exist."), 1);
    let id = call.net.iface_named(call.ns, dev).ok_or_else(missing)?;
    call.change()?;
    loop {
        let ifaces = call.net.ifaces(call.ns);
        let first = ifaces.iter().find(|i| i.id == id).and_then(|i| i.addrs.first().copied());
        let Some(cidr): Option<Cidr> = first else { return Ok(String::new()) };
        call.net.remove_addr(id, cidr)?;
    }
}
