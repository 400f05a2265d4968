//! `-m udp`: ports; and what all matches with ports share.

use std::fmt::{self, Write as _};

use packet::{Head, L4, protocol};

use super::{Match, but};
use crate::rule::{Header, Wanted};
use crate::text::options::{Given, Opt, Options};
use crate::text::{ParseError, parse_port};
use crate::trace::{Field, Miss, Seen};

/// A port, or all from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First.
    pub from: u16,
    /// Last, not below the first.
    pub to: u16,
}

impl PortRange {
    /// One port.
    pub fn one(port: u16) -> PortRange {
        PortRange { from: port, to: port }
    }

    /// Whether `port` is in it.
    pub fn contains(&self, port: u16) -> bool {
        (self.from..=self.to).contains(&port)
    }

    /// All ports.
    pub(crate) fn is_all(&self) -> bool {
        *self == PortRange { from: 0, to: u16::MAX }
    }

    /// `80`, `http`, `1024:2047`, `:1023`, `1024:`.
    pub(crate) fn parse(text: &str) -> Result<PortRange, ParseError> {
        let Some((from, to)) = text.split_once(':') else {
            return Ok(PortRange::one(parse_port(text)?));
        };
        let from = if from.is_empty() { 0 } else { parse_port(from)? };
        let to = if to.is_empty() { u16::MAX } else { parse_port(to)? };
        Ok(PortRange { from, to })
    }

    /// The same, where the first may not be above the last.
    pub(crate) fn parse_ordered(text: &str) -> Result<PortRange, ParseError> {
        let range = PortRange::parse(text)?;
        if range.from > range.to {
            return Err(ParseError::new("invalid portrange (min > max)"));
        }
        Ok(range)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            write!(f, "{}", self.from)
        } else {
            write!(f, "{}:{}", self.from, self.to)
        }
    }
}

/// Options of `-m udp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// `--sport`
    pub sport: Option<Wanted<PortRange>>,
    /// `--dport`
    pub dport: Option<Wanted<PortRange>>,
}

impl Ports {
    #[inline]
    pub(crate) fn check(&self, head: &Head) -> Result<(), Miss> {
        match head.l4 {
            L4::Udp { sport, dport } => check_ports(&self.sport, &self.dport, sport, dport),
            _ => Err(Miss::new(Field::Protocol, Seen::Nothing)),
        }
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m udp");
        save_ports(&self.sport, &self.dport, out);
    }

    pub(super) fn list(&self, out: &mut String) {
        out.push_str(" udp");
        list_ports(&self.sport, &self.dport, out);
    }
}

pub(super) fn check_ports(
    wanted_sport: &Option<Wanted<PortRange>>,
    wanted_dport: &Option<Wanted<PortRange>>,
    sport: u16,
    dport: u16,
) -> Result<(), Miss> {
    if let Some(wanted) = wanted_sport
        && wanted.value.contains(sport) == wanted.not
    {
        return Err(Miss::new(Field::SourcePort, Seen::Port(sport)));
    }
    if let Some(wanted) = wanted_dport
        && wanted.value.contains(dport) == wanted.not
    {
        return Err(Miss::new(Field::DestinationPort, Seen::Port(dport)));
    }
    Ok(())
}

/// What is wanted of a port, in plain words.
pub(super) fn wanted_ports(
    sport: &Option<Wanted<PortRange>>,
    dport: &Option<Wanted<PortRange>>,
    field: Field,
) -> Option<String> {
    let wanted = match field {
        Field::SourcePort => sport.as_ref()?,
        Field::DestinationPort => dport.as_ref()?,
        _ => return None,
    };
    Some(format!("{}{}", but(wanted.not), wanted.value))
}

pub(super) fn save_ports(
    sport: &Option<Wanted<PortRange>>,
    dport: &Option<Wanted<PortRange>>,
    out: &mut String,
) {
    for (option, wanted) in [("--sport", sport), ("--dport", dport)] {
        if let Some(wanted) = wanted {
            let _ = write!(out, " {}{option} {}", wanted.bang(), wanted.value);
        }
    }
}

pub(super) fn list_ports(
    sport: &Option<Wanted<PortRange>>,
    dport: &Option<Wanted<PortRange>>,
    out: &mut String,
) {
    for (word, wanted) in [("spt", sport), ("dpt", dport)] {
        if let Some(Wanted { not, value }) = wanted {
            let plural = if value.from == value.to { "" } else { "s" };
            let bang = if *not { "!" } else { "" };
            let _ = write!(out, " {word}{plural}:{bang}{value}");
        }
    }
}

/// What nftables makes of a match on ports: all of them is no wish, and neither, there, is none of them.
/// The `bool`: there was such a wish.
pub(super) fn without_all(port: &mut Option<Wanted<PortRange>>) -> bool {
    let was_none = port.is_some_and(|w| w.value.is_all() && w.not);
    *port = port.filter(|w| !w.value.is_all());
    was_none
}

pub(super) const SPORT: u8 = 0;
pub(super) const DPORT: u8 = 1;

static OPTIONS: Options = Options {
    ext: "udp",
    table: &[
        Opt::new("source-port", SPORT).may_not(),
        Opt::new("sport", SPORT).may_not(),
        Opt::new("destination-port", DPORT).may_not(),
        Opt::new("dport", DPORT).may_not(),
    ],
};

#[derive(Default)]
pub(super) struct Parser(Ports);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let slot = if given.opt.id == SPORT { &mut self.0.sport } else { &mut self.0.dport };
        *slot = Some(Wanted { not: given.not, value: PortRange::parse(given.value)? });
        Ok(())
    }

    fn finish(mut self: Box<Self>, header: &Header) -> Result<Option<Match>, ParseError> {
        let asked = self.0 != Ports::default();
        if asked && header.protocol.is_none_or(|p| p.value != protocol::UDP) {
            return Err(ParseError::new("UDP match requires '-p udp'"));
        }
        let was_none = without_all(&mut self.0.sport) | without_all(&mut self.0.dport);
        Ok((self.0 != Ports::default() || !was_none).then_some(Match::Udp(self.0)))
    }
}
