//! `DNAT`, `SNAT`, `MASQUERADE`, `REDIRECT`, `NETMAP`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use packet::protocol;

use super::{TargetExt, hook_bits};
use crate::hook::Hook;
use crate::nat::NatRange;
use crate::rule::AddrMask;
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::text::words::{find_port, parse_number};

/// Options of the address translating targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatTarget {
    /// Which target.
    pub kind: NatKind,
    /// To what.
    pub range: NatRange,
}

/// The address translating targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// Another destination.
    Dnat,
    /// Another source.
    Snat,
    /// The source is the address of the interface the packet leaves by.
    Masquerade,
    /// The destination is this namespace.
    Redirect,
    /// The network part of the address is replaced; the range is the new network, first to last.
    Netmap,
}

impl NatTarget {
    /// `DNAT --to-destination addr:port`
    pub fn dnat(addr: Ipv4Addr, port: u16) -> NatTarget {
        let range =
            NatRange { addrs: Some((addr, addr)), ports: Some((port, port)), ..Default::default() };
        NatTarget { kind: NatKind::Dnat, range }
    }

    /// `MASQUERADE`, with `--random-fully` if asked.
    pub fn masquerade(random_fully: bool) -> NatTarget {
        NatTarget {
            kind: NatKind::Masquerade,
            range: NatRange { random_fully, ..Default::default() },
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            NatKind::Dnat => "DNAT",
            NatKind::Snat => "SNAT",
            NatKind::Masquerade => "MASQUERADE",
            NatKind::Redirect => "REDIRECT",
            NatKind::Netmap => "NETMAP",
        }
    }

    /// Where the kernel lets it stand.
    pub(super) fn hooks(&self) -> u8 {
        use Hook::{Input, Output, Postrouting, Prerouting};
        match self.kind {
            NatKind::Dnat | NatKind::Redirect => hook_bits(&[Prerouting, Output]),
            NatKind::Snat => hook_bits(&[Postrouting, Input]),
            NatKind::Masquerade => hook_bits(&[Postrouting]),
            NatKind::Netmap => hook_bits(&[Prerouting, Output, Postrouting, Input]),
        }
    }

    /// The address that `NETMAP` makes of `addr`: the new network, and the host as it was.
    pub(crate) fn mapped(&self, addr: Ipv4Addr) -> Option<Ipv4Addr> {
        let (first, last) = self.range.addrs.filter(|_| self.kind == NatKind::Netmap)?;
        let (first, last) = (u32::from(first), u32::from(last));
        let host = first ^ last;
        Some(Ipv4Addr::from((u32::from(addr) & host) | (first & !host)))
    }

    pub(super) fn save(&self, out: &mut String) {
        let to = self.to();
        let option = match self.kind {
            NatKind::Dnat => "--to-destination",
            NatKind::Snat => "--to-source",
            NatKind::Masquerade | NatKind::Redirect => "--to-ports",
            NatKind::Netmap => "--to",
        };
        if !to.is_empty() {
            let _ = write!(out, " {option} {to}");
        }
        self.flags(out, "--");
    }

    pub(super) fn list(&self, out: &mut String) {
        let to = self.to();
        match self.kind {
            NatKind::Dnat | NatKind::Snat | NatKind::Netmap => {
                let _ = write!(out, " to:{to}");
            }
            NatKind::Masquerade if !to.is_empty() => {
                let _ = write!(out, " masq ports: {to}");
            }
            NatKind::Redirect if !to.is_empty() => {
                let _ = write!(out, " redir ports {to}");
            }
            NatKind::Masquerade | NatKind::Redirect => {}
        }
        self.flags(out, "");
    }

    /// `10.0.0.1-10.0.0.9:80-90`, or the ports alone.
    fn to(&self) -> String {
        let mut to = String::new();
        if let Some((first, last)) = self.range.addrs {
            let _ = write!(to, "{first}");
            if self.kind == NatKind::Netmap {
                let host = u32::from(first) ^ u32::from(last);
                let _ = write!(to, "/{}", host.leading_zeros());
            } else if last != first {
                let _ = write!(to, "-{last}");
            }
        }
        if let Some((first, last)) = self.range.ports {
            let colon = if to.is_empty() && self.has_no_addrs() { "" } else { ":" };
            let _ = write!(to, "{colon}{first}");
            if last != first {
                let _ = write!(to, "-{last}");
            }
        }
        to
    }

    fn has_no_addrs(&self) -> bool {
        matches!(self.kind, NatKind::Masquerade | NatKind::Redirect)
    }

    fn flags(&self, out: &mut String, dashes: &str) {
        let NatRange { random, random_fully, persistent, .. } = self.range;
        for (is_set, word) in
            [(random, "random"), (random_fully, "random-fully"), (persistent, "persistent")]
        {
            if is_set {
                let _ = write!(out, " {dashes}{word}");
            }
        }
    }
}

const TO: u8 = 0;
const RANDOM: u8 = 1;
const RANDOM_FULLY: u8 = 2;
const PERSISTENT: u8 = 3;

static DNAT: Options = Options {
    ext: "DNAT",
    table: &[
        Opt::new("to-destination", TO).must(),
        Opt::flag("random", RANDOM),
        Opt::flag("persistent", PERSISTENT),
    ],
};
static SNAT: Options = Options {
    ext: "SNAT",
    table: &[
        Opt::new("to-source", TO).must(),
        Opt::flag("random", RANDOM),
        Opt::flag("random-fully", RANDOM_FULLY),
        Opt::flag("persistent", PERSISTENT),
    ],
};
static MASQUERADE: Options = Options {
    ext: "MASQUERADE",
    table: &[
        Opt::new("to-ports", TO),
        Opt::flag("random", RANDOM),
        Opt::flag("random-fully", RANDOM_FULLY),
    ],
};
static REDIRECT: Options =
    Options { ext: "REDIRECT", table: &[Opt::new("to-ports", TO), Opt::flag("random", RANDOM)] };
static NETMAP: Options = Options { ext: "NETMAP", table: &[Opt::new("to", TO).must()] };

pub(super) struct Parser(NatTarget);

impl Parser {
    pub(super) fn new(name: &str) -> Option<Self> {
        let kind = match name {
            "DNAT" => NatKind::Dnat,
            "SNAT" => NatKind::Snat,
            "MASQUERADE" => NatKind::Masquerade,
            "REDIRECT" => NatKind::Redirect,
            "NETMAP" => NatKind::Netmap,
            _ => return None,
        };
        Some(Parser(NatTarget { kind, range: NatRange::default() }))
    }
}

impl super::TargetParser for Parser {
    fn options(&self) -> &'static Options {
        match self.0.kind {
            NatKind::Dnat => &DNAT,
            NatKind::Snat => &SNAT,
            NatKind::Masquerade => &MASQUERADE,
            NatKind::Redirect => &REDIRECT,
            NatKind::Netmap => &NETMAP,
        }
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let range = &mut self.0.range;
        match (given.opt.id, self.0.kind) {
            (RANDOM, _) => range.random = true,
            (RANDOM_FULLY, _) => range.random_fully = true,
            (PERSISTENT, _) => range.persistent = true,
            (_, NatKind::Dnat | NatKind::Snat) => {
                let (addrs, ports) = given.value.split_once(':').unzip();
                if let Some(ports) = ports {
                    range.ports = Some(parse_ports(ports, given)?);
                }
                range.addrs = parse_addrs(addrs.unwrap_or(given.value))?;
                if range.addrs.is_none() && range.ports.is_none() {
                    return Err(ParseError::new("Bad IP address \"\""));
                }
            }
            (_, NatKind::Masquerade | NatKind::Redirect) => {
                range.ports = Some(parse_ports(given.value, given)?);
            }
            (_, NatKind::Netmap) => range.addrs = Some(parse_network(given.value)?),
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        Ok(TargetExt::Nat(self.0))
    }
}

/// `addr[-addr]`, or nothing.
fn parse_addrs(text: &str) -> Result<Option<(Ipv4Addr, Ipv4Addr)>, ParseError> {
    let addr = |text: &str| {
        let bad = || ParseError::new(format!("Bad IP address \"{text}\""));
        text.parse::<Ipv4Addr>().map_err(|_| bad())
    };
    Ok(match text.split_once('-') {
        _ if text.is_empty() => None,
        Some((first, last)) => Some((addr(first)?, addr(last)?)),
        None => Some((addr(text)?, addr(text)?)),
    })
}

/// `80`, `80-90`.
fn parse_ports(text: &str, given: &Given<'_, '_>) -> Result<(u16, u16), ParseError> {
    let has_ports = given.around.protocol.is_some_and(|p| {
        matches!(p.value, protocol::TCP | protocol::UDP | protocol::SCTP | 33 | protocol::ICMP)
            && !p.not
    });
    if !has_ports {
        return Err(ParseError::new("Need TCP, UDP, SCTP or DCCP with port specification"));
    }
    if text.contains('/') {
        return Err(ParseError::unsupported("a shifted port range"));
    }
    let port = |text: &str| {
        let number = parse_number(text).map(u16::try_from);
        let port = number.map_or_else(|| find_port(text), Result::ok);
        port.ok_or_else(|| ParseError::new(format!("Port `{text}' not valid")))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        return Err(ParseError::new(format!("Port range `{last}' funky")));
    }
    Ok((first, last))
}

/// The network of `NETMAP --to`, first address to last.
fn parse_network(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), ParseError> {
    let AddrMask { addr, mask } = super::conntrack::host_mask(text)?;
    Ok((addr, Ipv4Addr::from(u32::from(addr) | !mask)))
}
