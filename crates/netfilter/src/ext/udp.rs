//! `-m udp` and `-m sctp`: ports; and what all matches with ports share.

use std::fmt::{self, Write as _};

use packet::{Head, L4};

use super::Match;
use crate::rule::Wanted;
use crate::text::{ParseError, Words, parse_port};
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

    /// `80`, `http`, `1024:2047`, `:1023`, `1024:`.
    pub(crate) fn parse(text: &str) -> Result<PortRange, ParseError> {
        let Some((from, to)) = text.split_once(':') else {
            return Ok(PortRange::one(parse_port(text)?));
        };
        let from = if from.is_empty() { 0 } else { parse_port(from)? };
        let to = if to.is_empty() { u16::MAX } else { parse_port(to)? };
        if from > to {
            return Err(ParseError::PortsReversed(text.to_string()));
        }
        Ok(PortRange { from, to })
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

/// Options of `-m udp` and `-m sctp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// `-m sctp`; else `-m udp`.
    pub is_sctp: bool,
    /// `--sport`
    pub sport: Option<Wanted<PortRange>>,
    /// `--dport`
    pub dport: Option<Wanted<PortRange>>,
}

impl Ports {
    fn name(&self) -> &'static str {
        if self.is_sctp { "sctp" } else { "udp" }
    }

    #[inline]
    pub(crate) fn check(&self, head: &Head) -> Result<(), Miss> {
        match (head.l4, self.is_sctp) {
            (L4::Udp { sport, dport }, false) | (L4::Sctp { sport, dport }, true) => {
                check_ports(&self.sport, &self.dport, sport, dport)
            }
            _ => Err(Miss::new(Field::Protocol, Seen::Nothing)),
        }
    }

    pub(super) fn save(&self, out: &mut String) {
        let _ = write!(out, " -m {}", self.name());
        save_ports(&self.sport, &self.dport, out);
    }

    pub(super) fn list(&self, out: &mut String) {
        let _ = write!(out, " {}", self.name());
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
    Some(format!("{}{}", if wanted.not { "anything but " } else { "" }, wanted.value))
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

pub(super) struct Parser(Ports);

impl Parser {
    pub(super) fn new(is_sctp: bool) -> Self {
        Parser(Ports { is_sctp, ..Ports::default() })
    }
}

impl super::MatchParser for Parser {
    fn option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<bool, ParseError> {
        let slot = match option {
            "--sport" | "--source-port" => &mut self.0.sport,
            "--dport" | "--destination-port" => &mut self.0.dport,
            _ => return Ok(false),
        };
        *slot = Some(Wanted { not, value: PortRange::parse(words.value(option)?)? });
        Ok(true)
    }

    fn finish(self: Box<Self>) -> Result<Match, ParseError> {
        Ok(Match::Udp(self.0))
    }
}
