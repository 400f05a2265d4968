//! `-m addrtype`: what kind of address is it to this namespace?

use std::fmt::{self, Write as _};

use super::{Facts, Match};
use crate::rule::{Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::trace::{Field, Miss, Seen};

/// Kinds of addresses, as the routing table tells them apart (`RTN_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum AddrType {
    /// No such thing.
    Unspec = 0,
    /// Somebody else's, reached by a route.
    Unicast = 1,
    /// One of this namespace's own.
    Local = 2,
    /// Everybody on a link.
    Broadcast = 3,
    /// Received as broadcast, sent as unicast.
    Anycast = 4,
    /// A group.
    Multicast = 5,
    /// A route drops it silently.
    Blackhole = 6,
    /// A route answers that it is unreachable.
    Unreachable = 7,
    /// A route answers that it is prohibited.
    Prohibit = 8,
    /// Looked up in another table.
    Throw = 9,
    /// Translated by the routing table, long ago.
    Nat = 10,
    /// Resolved outside the kernel, never used.
    Xresolve = 11,
}

impl AddrType {
    const ALL: [(AddrType, &str); 12] = [
        (AddrType::Unspec, "UNSPEC"),
        (AddrType::Unicast, "UNICAST"),
        (AddrType::Local, "LOCAL"),
        (AddrType::Broadcast, "BROADCAST"),
        (AddrType::Anycast, "ANYCAST"),
        (AddrType::Multicast, "MULTICAST"),
        (AddrType::Blackhole, "BLACKHOLE"),
        (AddrType::Unreachable, "UNREACHABLE"),
        (AddrType::Prohibit, "PROHIBIT"),
        (AddrType::Throw, "THROW"),
        (AddrType::Nat, "NAT"),
        (AddrType::Xresolve, "XRESOLVE"),
    ];

    fn bit(self) -> u16 {
        1 << self as u8
    }
}

impl fmt::Display for AddrType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = AddrType::ALL.iter().find(|(kind, _)| kind == self);
        f.write_str(named.map_or("UNSPEC", |(_, name)| name))
    }
}

fn names(bits: u16) -> String {
    let named = AddrType::ALL.iter().filter(|(kind, _)| bits & kind.bit() != 0);
    named.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

/// Options of `-m addrtype`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addrtype {
    /// `--src-type`, a bit for each kind.
    pub src: Option<Wanted<u16>>,
    /// `--dst-type`
    pub dst: Option<Wanted<u16>>,
    /// `--limit-iface-in`: only addresses of the interface the packet came in by count as local.
    pub limit_in: bool,
    /// `--limit-iface-out`
    pub limit_out: bool,
}

impl Addrtype {
    /// `--dst-type LOCAL`
    pub fn dst_local() -> Self {
        Addrtype { dst: Some(Wanted::is(AddrType::Local.bit())), ..Addrtype::default() }
    }

    /// `--src-type LOCAL`
    pub fn src_local() -> Self {
        Addrtype { src: Some(Wanted::is(AddrType::Local.bit())), ..Addrtype::default() }
    }

    pub(crate) fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        let limit = match (self.limit_in, self.limit_out) {
            (true, _) => Some(facts.iif),
            (_, true) => Some(facts.oif),
            _ => None,
        };
        let sides = [
            (&self.src, facts.head.src, Field::SourceType),
            (&self.dst, facts.head.dst, Field::DestinationType),
        ];
        for (wanted, addr, field) in sides {
            let Some(wanted) = wanted else { continue };
            let kind = facts.surroundings.addr_type(addr, limit);
            if (wanted.value & kind.bit() != 0) == wanted.not {
                return Err(Miss::new(field, Seen::AddrType(kind)));
            }
        }
        Ok(())
    }

    pub(super) fn wanted(&self, field: Field) -> Option<String> {
        let wanted = match field {
            Field::SourceType => self.src?,
            Field::DestinationType => self.dst?,
            _ => return None,
        };
        Some(format!("{}{}", if wanted.not { "anything but " } else { "" }, names(wanted.value)))
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m addrtype");
        for (option, wanted) in [("--src-type", &self.src), ("--dst-type", &self.dst)] {
            if let Some(wanted) = wanted {
                let _ = write!(out, " {}{option} {}", wanted.bang(), names(wanted.value));
            }
        }
        if self.limit_in {
            out.push_str(" --limit-iface-in");
        }
        if self.limit_out {
            out.push_str(" --limit-iface-out");
        }
    }

    pub(super) fn list(&self, out: &mut String) {
        out.push_str(" ADDRTYPE match");
        for (word, wanted) in [("src-type", &self.src), ("dst-type", &self.dst)] {
            if let Some(wanted) = wanted {
                let bang = if wanted.not { "!" } else { "" };
                let _ = write!(out, " {word} {bang}{}", names(wanted.value));
            }
        }
        if self.limit_in {
            out.push_str(" limit-in");
        }
        if self.limit_out {
            out.push_str(" limit-out");
        }
    }
}

const SRC: u8 = 0;
const DST: u8 = 1;
const LIMIT_IN: u8 = 2;
const LIMIT_OUT: u8 = 3;

static OPTIONS: Options = Options {
    ext: "addrtype",
    table: &[
        Opt::new("src-type", SRC).may_not(),
        Opt::new("dst-type", DST).may_not(),
        Opt::flag("limit-iface-in", LIMIT_IN).not_with(1 << LIMIT_OUT),
        Opt::flag("limit-iface-out", LIMIT_OUT).not_with(1 << LIMIT_IN),
    ],
};

#[derive(Default)]
pub(super) struct Parser(Addrtype);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let slot = match given.opt.id {
            LIMIT_IN => {
                self.0.limit_in = true;
                return Ok(());
            }
            LIMIT_OUT => {
                self.0.limit_out = true;
                return Ok(());
            }
            SRC => &mut self.0.src,
            _ => &mut self.0.dst,
        };
        let mut bits = 0;
        for name in given.value.split(',') {
            let kind = AddrType::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
            let bad = || ParseError::new(format!("addrtype: bad type \"{name}\""));
            bits |= kind.ok_or_else(bad)?.0.bit();
        }
        *slot = Some(Wanted { not: given.not, value: bits });
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        match (&self.0.src, &self.0.dst) {
            (None, None) => {
                Err(ParseError::new("addrtype: you must specify --src-type or --dst-type"))
            }
            _ => Ok(()),
        }
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Addrtype(self.0)))
    }
}
