//! `ip`: interfaces, addresses, routes, rules and neighbours of a namespace, in the words of iproute2 6.1.
//!
//! - [`link`] with addresses, [`route`], [`rule`], [`neigh`]: one file an object.

mod link;
mod neigh;
mod route;
mod rule;

use std::net::Ipv4Addr;

use ::lab::Place;
use netsim::{Cidr, IfId, Net, NetlinkError, NsId};

use super::Ctx;
use crate::io::Exit;

/// What a verb prints, or its message and exit code.
type Answer = Result<String, Fail>;

/// A message on standard error and an exit code.
struct Fail(String, i32);

impl From<NetlinkError> for Fail {
    fn from(error: NetlinkError) -> Fail {
        Fail(error.to_string(), 2)
    }
}

impl Fail {
    fn no_device(name: &str) -> Fail {
        Fail(format!("Cannot find device \"{name}\""), 1)
    }

    fn bad_prefix(text: &str) -> Fail {
        Fail(format!("Error: any valid prefix is expected rather than \"{text}\"."), 1)
    }

    /// `invarg`
    fn wrong(text: &str, why: &str) -> Fail {
        Fail(format!("Error: argument \"{text}\" is wrong: {why}\n"), 255)
    }

    fn unsupported(what: &str) -> Fail {
        Fail(format!("ip: {what} is not supported by podwire"), 1)
    }
}

/// How it is to be printed.
#[derive(Clone, Copy, Default)]
struct Style {
    brief: bool,
    one_line: bool,
    stats: bool,
}

/// What a verb is given: the namespace, the words after it, how to print.
struct Call<'a> {
    net: &'a Net,
    ns: NsId,
    style: Style,
    words: std::iter::Copied<std::slice::Iter<'a, &'a str>>,
    /// Settings of the network may be changed here.
    may_change: bool,
}

impl<'a> Call<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.words.next()
    }

    /// `NEXT_ARG`
    fn value(&mut self) -> Result<&'a str, Fail> {
        let incomplete = || Fail("Command line is not complete. Try option \"help\"".into(), 255);
        self.next().ok_or_else(incomplete)
    }

    fn number(&mut self, what: &str) -> Result<u32, Fail> {
        let text = self.value()?;
        number(text).ok_or_else(|| Fail::wrong(text, &format!("{what} value is invalid")))
    }

    fn device(&self, name: &str) -> Result<IfId, Fail> {
        self.net.iface_named(self.ns, name).ok_or_else(|| Fail::no_device(name))
    }

    fn device_value(&mut self) -> Result<IfId, Fail> {
        let name = self.value()?;
        self.device(name)
    }

    /// The name of an interface.
    fn name_of(&self, id: IfId) -> String {
        let ifaces = self.net.ifaces(self.ns);
        ifaces.into_iter().find(|iface| iface.id == id).map(|i| i.name).unwrap_or_default()
    }

    /// Refuses a change where a container may not make any.
    fn change(&self) -> Result<(), Fail> {
        match self.may_change {
            true => Ok(()),
            false => Err(Fail("RTNETLINK answers: Operation not permitted".into(), 2)),
        }
    }
}

/// A number as C reads it: decimal, `0x…`, `0…`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => match text.strip_prefix('0').filter(|rest| !rest.is_empty()) {
            Some(octal) => u32::from_str_radix(octal, 8).ok(),
            None => text.parse().ok(),
        },
    }
}

/// `default`, `all`, an address, or an address and a length.
fn prefix(text: &str) -> Result<Cidr, Fail> {
    let bad = || Fail::bad_prefix(text);
    match text {
        "default" | "any" | "all" => Ok(Cidr::DEFAULT),
        _ if text.contains('/') => text.parse().map_err(|_| bad()),
        _ => text.parse().map(Cidr::host).map_err(|_| bad()),
    }
}

fn address(text: &str) -> Result<Ipv4Addr, Fail> {
    let bad = || Fail(format!("Error: inet address is expected rather than \"{text}\"."), 1);
    text.parse().map_err(|_| bad())
}

/// A table by name or number; 0 stands for all.
fn table(text: &str) -> Result<u32, Fail> {
    match text {
        "local" => Ok(255),
        "main" => Ok(254),
        "default" => Ok(253),
        "all" | "unspec" => Ok(0),
        _ => number(text).ok_or_else(|| Fail::wrong(text, "table id value is invalid")),
    }
}

fn table_name(id: u32) -> String {
    match id {
        255 => "local".into(),
        254 => "main".into(),
        253 => "default".into(),
        id => id.to_string(),
    }
}

/// Whether `word` is `full` or its beginning, as iproute2 lets its words be cut short.
fn is(word: &str, full: &str) -> bool {
    !word.is_empty() && full.starts_with(word)
}

const OBJECTS: [&str; 7] = ["address", "route", "rule", "neighbour", "neighbor", "link", "netns"];

/// `ip addr | link | route | rule | neigh`
pub async fn run(ctx: Ctx) -> Exit {
    let args: Vec<&str> = ctx.args.iter().map(String::as_str).collect();
    let mut style = Style::default();
    let mut at = 0;
    while let Some(option) = args.get(at).filter(|word| word.starts_with('-')) {
        match *option {
            "-4" | "-d" | "-details" | "-c" | "-color" | "-N" => {}
            "-f" | "-family" if args.get(at + 1) == Some(&"inet") => at += 1,
            "-br" | "-brief" => style.brief = true,
            "-o" | "-oneline" => style.one_line = true,
            "-s" | "-stats" | "-statistics" => style.stats = true,
            "-V" | "-Version" => {
                ctx.out("ip utility, iproute2-6.1.0, libbpf 1.1.2\n").await?;
                return Ok(0);
            }
            other => return ctx.unsupported(&format!("'ip {other}'")).await,
        }
        at += 1;
    }
    let words = args.get(at..).unwrap_or_default();
    let Some((object, words)) = words.split_first() else {
        return ctx.fail("Usage: ip [ OPTIONS ] OBJECT { COMMAND | help }", 255).await;
    };
    let (net, ns) = (ctx.host.net(), ctx.host.ns());
    let may_change = !matches!(ctx.session.place, Place::Pod { .. });
    let call = Call { net, ns, style, words: words.iter().copied(), may_change };
    let answer = match OBJECTS.into_iter().find(|full| is(object, full)) {
        Some("address") => link::addresses(call),
        Some("link") => link::links(call),
        Some("route") => route::run(call),
        Some("rule") => rule::run(call),
        Some("neighbour" | "neighbor") => neigh::run(call),
        Some(other) => Err(Fail::unsupported(&format!("'ip {other}'"))),
        None if ["tunnel", "maddress", "tcp_metrics", "monitor", "nexthop"].contains(object) => {
            Err(Fail::unsupported(&format!("'ip {object}'")))
        }
        None => Err(Fail(format!("Object \"{object}\" is unknown, try \"ip help\"."), 1)),
    };
    match answer {
        Ok(text) => {
            ctx.out(text).await?;
            Ok(0)
        }
        Err(Fail(message, code)) => ctx.fail(message, code).await,
    }
}

fn unknown(word: &str, object: &str) -> Fail {
    Fail(format!("Command \"{word}\" is unknown, try \"ip {object} help\"."), 255)
}

/// `duparg2`: a word that fits nowhere.
fn garbage(expected: &str, word: &str) -> Fail {
    Fail(format!("Error: either \"{expected}\" is duplicate, or \"{word}\" is a garbage."), 255)
}
