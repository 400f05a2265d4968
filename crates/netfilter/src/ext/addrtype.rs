//! `-m addrtype`: what kind of address is it to this namespace?

use std::fmt::{self, Write as _};

use super::{Facts, Match};
use crate::rule::Wanted;
use crate::text::{ParseError, Words};
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
}

impl AddrType {
    const ALL: [(AddrType, &str); 9] = [
        (AddrType::Unspec, "UNSPEC"),
        (AddrType::Unicast, "UNICAST"),
        (AddrType::Local, "LOCAL"),
        (AddrType::Broadcast, "BROADCAST"),
        (AddrType::Anycast, "ANYCAST"),
        (AddrType::Multicast, "MULTICAST"),
        (AddrType::Blackhole, "BLACKHOLE"),
        (AddrType::Unreachable, "UNREACHABLE"),
        (AddrType::Prohibit, "PROHIBIT"),
    ];

    fn bit(self) -> u16 {
        1 << self as u8
    }
}

impl fmt::Display for AddrType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = AddrType::ALL[*self as usize];
        f.write_str(name)
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

#[derive(Default)]
pub(super) struct Parser(Addrtype);

impl super::MatchParser for Parser {
    fn option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<bool, ParseError> {
        match option {
            "--limit-iface-in" => self.0.limit_in = true,
            "--limit-iface-out" => self.0.limit_out = true,
            "--src-type" | "--dst-type" => {
                let text = words.value(option)?;
                let value = text.split(',').try_fold(0, |bits, name| {
                    let kind =
                        AddrType::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
                    kind.map(|(kind, _)| bits | kind.bit())
                });
                let value = value.ok_or_else(|| ParseError::BadAddrType(text.to_string()))?;
                let slot = if option == "--src-type" { &mut self.0.src } else { &mut self.0.dst };
                *slot = Some(Wanted { not, value });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self: Box<Self>) -> Result<Match, ParseError> {
        if self.0.src.is_none() && self.0.dst.is_none() {
            return Err(ParseError::AddrTypeMissing);
        }
        if self.0.limit_in && self.0.limit_out {
            return Err(ParseError::AddrTypeBothLimits);
        }
        Ok(Match::Addrtype(self.0))
    }
}
