//! `DNAT`, `SNAT`, `MASQUERADE`, `REDIRECT`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::TargetExt;
use crate::nat::NatRange;
use crate::text::{ParseError, Words, parse_port};

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
        }
    }

    pub(super) fn save(&self, out: &mut String) {
        let to = self.to();
        let option = match self.kind {
            NatKind::Dnat => "--to-destination",
            NatKind::Snat => "--to-source",
            NatKind::Masquerade | NatKind::Redirect => "--to-ports",
        };
        if !to.is_empty() {
            let _ = write!(out, " {option} {to}");
        }
        self.flags(out, "--");
    }

    pub(super) fn list(&self, out: &mut String) {
        let to = self.to();
        match self.kind {
            NatKind::Dnat | NatKind::Snat => {
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
            if last != first {
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

pub(super) struct Parser {
    target: NatTarget,
    is_addressed: bool,
}

impl Parser {
    pub(super) fn new(name: &str) -> Option<Self> {
        let kind = match name {
            "DNAT" => NatKind::Dnat,
            "SNAT" => NatKind::Snat,
            "MASQUERADE" => NatKind::Masquerade,
            "REDIRECT" => NatKind::Redirect,
            _ => return None,
        };
        Some(Parser { target: NatTarget { kind, range: NatRange::default() }, is_addressed: false })
    }
}

impl super::TargetParser for Parser {
    fn option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<bool, ParseError> {
        let kind = self.target.kind;
        match (option, kind) {
            ("--to-destination", NatKind::Dnat) | ("--to-source", NatKind::Snat) => {
                words.refuse_not(option, not)?;
                let (addrs, ports) = parse_to(words.value(option)?)?;
                self.target.range.addrs = addrs;
                self.target.range.ports = ports;
                self.is_addressed = true;
            }
            ("--to-ports", NatKind::Masquerade | NatKind::Redirect) => {
                words.refuse_not(option, not)?;
                self.target.range.ports = Some(parse_ports(words.value(option)?)?);
            }
            ("--random", _) => self.target.range.random = true,
            ("--random-fully", NatKind::Snat | NatKind::Masquerade) => {
                self.target.range.random_fully = true;
            }
            ("--persistent", NatKind::Dnat | NatKind::Snat) => self.target.range.persistent = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        let missing = match self.target.kind {
            NatKind::Dnat => Some(("DNAT", "--to-destination")),
            NatKind::Snat => Some(("SNAT", "--to-source")),
            NatKind::Masquerade | NatKind::Redirect => None,
        };
        match missing {
            Some((ext, option)) if !self.is_addressed => Err(ParseError::Missing { ext, option }),
            _ => Ok(TargetExt::Nat(self.target)),
        }
    }
}

type Pair<T> = Option<(T, T)>;

/// `addr[-addr][:port[-port]]`, where either part may be left out.
fn parse_to(text: &str) -> Result<(Pair<Ipv4Addr>, Pair<u16>), ParseError> {
    let (addrs, ports) = match text.split_once(':') {
        Some((addrs, ports)) => (addrs, Some(parse_ports(ports)?)),
        None => (text, None),
    };
    if addrs.is_empty() {
        return Ok((None, ports));
    }
    let addr = |text: &str| {
        text.parse::<Ipv4Addr>().map_err(|_| ParseError::BadIpAddress(text.to_string()))
    };
    let addrs = match addrs.split_once('-') {
        Some((first, last)) => (addr(first)?, addr(last)?),
        None => (addr(addrs)?, addr(addrs)?),
    };
    Ok((Some(addrs), ports))
}

/// `80`, `80-90`.
fn parse_ports(text: &str) -> Result<(u16, u16), ParseError> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (parse_port(first)?, parse_port(last)?),
        None => (parse_port(text)?, parse_port(text)?),
    };
    if first > last {
        return Err(ParseError::PortsReversed(text.to_string()));
    }
    Ok((first, last))
}
