//! What is done and asked: the lines of `tests/kernel/topology/*.txt`.
//!
//! ```text
//! # A comment.
//! $ kubectl apply -f pods.yml                          a command on your machine, in the lab
//! + host listens tcp 9000                              a server in a place; a fault; a route
//! ? a request's name | pod/client-1 | tcp web:80 | 3   asked in both worlds, which have to be equal
//! ! another one      | host | udp 10.0.0.1:53 | 1      known not to be equal; red when it is
//! ```

use std::net::Ipv4Addr;

/// A line.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// A command.
    Command(String),
    /// Something that no command does.
    Deed(Deed),
    /// A request.
    Scenario(Scenario),
}

/// Something that no command does.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// `PLACE listens tcp|udp PORT`
    Listens { place: String, protocol: String, port: u16 },
    /// `PLACE link IFACE up|down`
    Link { place: String, iface: String, is_up: bool },
    /// `PLACE forwarding on|off`
    Forwarding { place: String, is_on: bool },
    /// `PLACE route ADDR via ADDR`
    Route { place: String, to: Ipv4Addr, via: Ipv4Addr },
    /// `status SERVICE ADDR`: what a cloud does.
    Status { service: String, addr: Ipv4Addr },
}

/// A request, made the same way in both worlds.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// `host`, a node's name, `pod/NAME`.
    pub(crate) from: String,
    pub(crate) protocol: String,
    /// An address, `localhost`, a node's name, `pod/NAME`, or a Service's name; and a port.
    pub(crate) to: (String, u16),
    pub(crate) times: u32,
    /// It is known to differ.
    pub(crate) is_known: bool,
}

/// Reads a script; `Err` names the line.
pub(crate) fn parse(text: &str) -> Result<Vec<Line>, String> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(|line| parse_line(line).ok_or_else(|| format!("not a line: {line}"))).collect()
}

fn parse_line(line: &str) -> Option<Line> {
    let (kind, rest) = line.split_once(' ')?;
    Some(match kind {
        "$" => Line::Command(rest.to_string()),
        "+" => Line::Deed(deed(&rest.split_whitespace().collect::<Vec<_>>())?),
        "?" | "!" => {
            let parts: Vec<&str> = rest.split('|').map(str::trim).collect();
            let [name, from, to, times] = parts[..] else { return None };
            let (protocol, to) = to.split_once(' ')?;
            let (host, port) = to.rsplit_once(':')?;
            Line::Scenario(Scenario {
                name: name.to_string(),
                from: from.to_string(),
                protocol: protocol.to_string(),
                to: (host.to_string(), port.parse().ok()?),
                times: times.parse().ok()?,
                is_known: kind == "!",
            })
        }
        _ => return None,
    })
}

fn deed(words: &[&str]) -> Option<Deed> {
    Some(match words {
        [place, "listens", protocol, port] => Deed::Listens {
            place: place.to_string(),
            protocol: protocol.to_string(),
            port: port.parse().ok()?,
        },
        [place, "link", iface, state @ ("up" | "down")] => {
            Deed::Link { place: place.to_string(), iface: iface.to_string(), is_up: *state == "up" }
        }
        [place, "forwarding", state @ ("on" | "off")] => {
            Deed::Forwarding { place: place.to_string(), is_on: *state == "on" }
        }
        [place, "route", to, "via", via] => {
            Deed::Route { place: place.to_string(), to: to.parse().ok()?, via: via.parse().ok()? }
        }
        ["status", service, addr] => {
            Deed::Status { service: service.to_string(), addr: addr.parse().ok()? }
        }
        _ => return None,
    })
}
