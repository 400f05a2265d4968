//! `-m icmp --icmp-type`.

use std::fmt::Write as _;

use packet::{Head, L4};

use super::{Match, but};
use crate::rule::{Header, Wanted};
use crate::text::options::{Given, Opt, Options};
use crate::text::{ParseError, parse_number};
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

/// Names as typed, with type and codes (`iptables -p icmp -h`).
const NAMES: [(&str, u8, (u8, u8)); 40] = [
    ("any", 255, (0, 255)),
    ("echo-reply", 0, (0, 255)),
    ("destination-unreachable", 3, (0, 255)),
    ("network-unreachable", 3, (0, 0)),
    ("host-unreachable", 3, (1, 1)),
    ("protocol-unreachable", 3, (2, 2)),
    ("port-unreachable", 3, (3, 3)),
    ("fragmentation-needed", 3, (4, 4)),
    ("source-route-failed", 3, (5, 5)),
    ("network-unknown", 3, (6, 6)),
    ("host-unknown", 3, (7, 7)),
    ("network-prohibited", 3, (9, 9)),
    ("host-prohibited", 3, (10, 10)),
    ("TOS-network-unreachable", 3, (11, 11)),
    ("TOS-host-unreachable", 3, (12, 12)),
    ("communication-prohibited", 3, (13, 13)),
    ("host-precedence-violation", 3, (14, 14)),
    ("precedence-cutoff", 3, (15, 15)),
    ("source-quench", 4, (0, 255)),
    ("redirect", 5, (0, 255)),
    ("network-redirect", 5, (0, 0)),
    ("host-redirect", 5, (1, 1)),
    ("TOS-network-redirect", 5, (2, 2)),
    ("TOS-host-redirect", 5, (3, 3)),
    ("echo-request", 8, (0, 255)),
    ("router-advertisement", 9, (0, 255)),
    ("router-solicitation", 10, (0, 255)),
    ("time-exceeded", 11, (0, 255)),
    ("ttl-exceeded", 11, (0, 255)),
    ("ttl-zero-during-transit", 11, (0, 0)),
    ("ttl-zero-during-reassembly", 11, (1, 1)),
    ("parameter-problem", 12, (0, 255)),
    ("ip-header-bad", 12, (0, 0)),
    ("required-option-missing", 12, (1, 1)),
    ("timestamp-request", 13, (0, 255)),
    ("timestamp-reply", 14, (0, 255)),
    ("address-mask-request", 17, (0, 255)),
    ("address-mask-reply", 18, (0, 255)),
    ("ping", 8, (0, 255)),
    ("pong", 0, (0, 255)),
];

/// Whether a name of a type is also one of its code 0, and not of a whole group.
fn is_code_zero(kind: u8, codes: (u8, u8)) -> bool {
    let has_own = |&(_, other, of): &(&str, u8, (u8, u8))| other == kind && of == (0, 0);
    kind != 255 && codes == (0, 255) && !NAMES.iter().any(has_own)
}

/// The name of a type with one code, in ipset's words.
pub(crate) fn name_of(kind: u8, code: u8) -> Option<&'static str> {
    let is_it = |&&(_, of, codes): &&(&str, u8, (u8, u8))| {
        of == kind && (codes == (code, code) || (code == 0 && is_code_zero(of, codes)))
    };
    NAMES.iter().find(is_it).map(|(name, ..)| *name)
}

/// The type and code of a name, or of the beginning of one.
pub(crate) fn type_and_code(text: &str) -> Option<(u8, u8)> {
    let begins =
        |name: &str| name.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
    let is_it = |&&(name, kind, codes): &&(&str, u8, (u8, u8))| {
        begins(name) && (codes.0 == codes.1 || is_code_zero(kind, codes))
    };
    NAMES.iter().find(is_it).map(|(_, kind, codes)| (*kind, codes.0))
}

impl IcmpType {
    /// A name, the beginning of just one name, a number, or two of them.
    fn parse(text: &str) -> Result<IcmpType, ParseError> {
        let lower = text.to_ascii_lowercase();
        let fits = |name: &str| name.to_ascii_lowercase().starts_with(&lower);
        let mut named = NAMES.iter().filter(|(name, ..)| fits(name));
        if let Some((name, kind, codes)) = named.next() {
            let exact = NAMES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(text));
            if let Some((_, kind, codes)) = exact {
                return Ok(IcmpType { kind: *kind, codes: *codes });
            }
            return match named.next() {
                None => Ok(IcmpType { kind: *kind, codes: *codes }),
                Some((other, ..)) => Err(ParseError::new(format!(
                    "Ambiguous ICMP type `{text}': `{name}' or `{other}'?"
                ))),
            };
        }
        let byte = |text| parse_number(text).and_then(|number| u8::try_from(number).ok());
        let (kind, code) = match text.split_once('/') {
            Some((kind, code)) => (kind, Some(code)),
            None => (text, None),
        };
        let kind =
            byte(kind).ok_or_else(|| ParseError::new(format!("Unknown ICMP type `{kind}'")))?;
        let codes = match code {
            None => (0, 255),
            Some(code) => {
                let code = byte(code)
                    .ok_or_else(|| ParseError::new(format!("Unknown ICMP code `{text}'")))?;
                (code, code)
            }
        };
        Ok(IcmpType { kind, codes })
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
        let Some(Wanted { not, value }) = self.wanted else { return String::new() };
        let code = match value.codes {
            (first, last) if first == last => format!(" code {first}"),
            _ => String::new(),
        };
        format!("{}type {}{code}", but(not), value.kind)
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m icmp");
        let Some(wanted) = &self.wanted else { return };
        let IcmpType { kind, codes } = wanted.value;
        let _ = match kind {
            255 => write!(out, " {}--icmp-type any", wanted.bang()),
            _ if codes.0 == codes.1 => {
                write!(out, " {}--icmp-type {kind}/{}", wanted.bang(), codes.0)
            }
            _ => write!(out, " {}--icmp-type {kind}", wanted.bang()),
        };
    }

    pub(super) fn list(&self, out: &mut String) {
        let Some(Wanted { not, value }) = &self.wanted else { return };
        let word = if *not { "icmp !type" } else { "icmptype" };
        let _ = write!(out, " {word} {}", value.kind);
        if value.codes.0 == value.codes.1 {
            let _ = write!(out, " code {}", value.codes.0);
        }
    }
}

static OPTIONS: Options =
    Options { ext: "icmp", table: &[Opt::new("icmp-type", 0).may_not().must()] };

#[derive(Default)]
pub(super) struct Parser(Icmp);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let value = IcmpType::parse(given.value)?;
        self.0.wanted = Some(Wanted { not: given.not, value });
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Icmp(self.0)))
    }
}
