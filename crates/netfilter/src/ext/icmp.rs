//! `-m icmp --icmp-type`.

use std::fmt::Write as _;

use packet::{Head, L4};

use super::Match;
use crate::rule::Wanted;
use crate::text::{ParseError, Words};
use crate::trace::{Field, Miss, Seen};

/// Options of `-m icmp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Icmp {
    /// `--icmp-type`: a type, and a range of codes; `None` is any type.
    pub wanted: Option<Wanted<IcmpType>>,
}

/// A type and the codes that are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpType {
    /// Type; 255 is any.
    pub kind: u8,
    /// First and last code.
    pub codes: (u8, u8),
}

/// Names as typed, with type and codes; the first name of a pair of numbers is the one printed.
const NAMES: [(&str, u8, (u8, u8)); 12] = [
    ("any", 255, (0, 255)),
    ("echo-reply", 0, (0, 255)),
    ("destination-unreachable", 3, (0, 255)),
    ("network-unreachable", 3, (0, 0)),
    ("host-unreachable", 3, (1, 1)),
    ("protocol-unreachable", 3, (2, 2)),
    ("port-unreachable", 3, (3, 3)),
    ("fragmentation-needed", 3, (4, 4)),
    ("redirect", 5, (0, 255)),
    ("echo-request", 8, (0, 255)),
    ("time-exceeded", 11, (0, 255)),
    ("parameter-problem", 12, (0, 255)),
];

impl IcmpType {
    fn parse(text: &str) -> Option<IcmpType> {
        let alias = match text {
            "ping" => "echo-request",
            "pong" => "echo-reply",
            "ttl-exceeded" => "time-exceeded",
            other => other,
        };
        if let Some((_, kind, codes)) = NAMES.iter().find(|(name, ..)| *name == alias) {
            return Some(IcmpType { kind: *kind, codes: *codes });
        }
        match text.split_once('/') {
            None => Some(IcmpType { kind: text.parse().ok()?, codes: (0, 255) }),
            Some((kind, code)) => {
                let code = code.parse().ok()?;
                Some(IcmpType { kind: kind.parse().ok()?, codes: (code, code) })
            }
        }
    }
}

impl Icmp {
    pub(crate) fn check(&self, head: &Head) -> Result<(), Miss> {
        let L4::Icmp { kind, code, .. } = head.l4 else {
            return Err(Miss::new(Field::Protocol, Seen::Nothing));
        };
        let Some(Wanted { not, value }) = self.wanted else { return Ok(()) };
        let fits = value.kind == 255
            || (value.kind == kind && (value.codes.0..=value.codes.1).contains(&code));
        if fits == not {
            return Err(Miss::new(Field::IcmpType, Seen::Icmp(kind, code)));
        }
        Ok(())
    }

    pub(super) fn wanted(&self) -> String {
        let mut listed = String::new();
        self.list(&mut listed);
        listed.trim_start().replace("icmptype", "type").replace('!', "anything but ")
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m icmp");
        let Some(wanted) = &self.wanted else { return };
        let IcmpType { kind, codes } = wanted.value;
        if kind == 255 {
            let _ = write!(out, " {}--icmp-type any", wanted.bang());
        } else if codes.0 == codes.1 {
            let _ = write!(out, " {}--icmp-type {kind}/{}", wanted.bang(), codes.0);
        } else {
            let _ = write!(out, " {}--icmp-type {kind}", wanted.bang());
        }
    }

    pub(super) fn list(&self, out: &mut String) {
        let Some(Wanted { not, value }) = &self.wanted else { return };
        let bang = if *not { "!" } else { "" };
        if value.kind == 255 {
            out.push_str(" icmp");
        } else if value.codes.0 == value.codes.1 {
            let _ = write!(out, " {bang}icmptype {} code {}", value.kind, value.codes.0);
        } else {
            let _ = write!(out, " {bang}icmptype {}", value.kind);
        }
    }
}

#[derive(Default)]
pub(super) struct Parser(Icmp);

impl super::MatchParser for Parser {
    fn option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<bool, ParseError> {
        if option != "--icmp-type" {
            return Ok(false);
        }
        let text = words.value(option)?;
        let value =
            IcmpType::parse(text).ok_or_else(|| ParseError::UnknownIcmpType(text.to_string()))?;
        self.0.wanted = Some(Wanted { not, value });
        Ok(true)
    }

    fn finish(self: Box<Self>) -> Result<Match, ParseError> {
        Ok(Match::Icmp(self.0))
    }
}
