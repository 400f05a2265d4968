//! `-m tos`, `-m dscp`, `-j TOS`, `-j DSCP`: the type-of-service byte, and its upper six bits.

use std::fmt::Write as _;

use packet::Head;

use super::{Match, TargetExt, but};
use crate::rule::{Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::text::words::number_prefix;
use crate::trace::{Field, Miss, Seen};

/// Options of `-m tos` and `-m dscp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TosMatch {
    /// `-m tos --tos value/mask`
    Tos(Wanted<(u8, u8)>),
    /// `-m dscp --dscp value`
    Dscp(Wanted<u8>),
}

impl TosMatch {
    pub(crate) fn check(&self, head: &Head) -> Result<(), Miss> {
        let (fits, not) = match self {
            TosMatch::Tos(w) => (head.tos & w.value.1 == w.value.0, w.not),
            TosMatch::Dscp(w) => (head.tos >> 2 == w.value, w.not),
        };
        if fits == not {
            return Err(Miss::new(Field::Tos, Seen::Byte(head.tos)));
        }
        Ok(())
    }

    pub(super) fn wanted(&self) -> String {
        match self {
            TosMatch::Tos(w) => format!("{}{:#04x}/{:#04x}", but(w.not), w.value.0, w.value.1),
            TosMatch::Dscp(w) => format!("{}DSCP {:#04x}", but(w.not), w.value),
        }
    }

    pub(super) fn save(&self, out: &mut String) {
        let _ = match self {
            TosMatch::Tos(w) => {
                let (value, mask) = w.value;
                write!(out, " -m tos {}--tos {value:#04x}/{mask:#04x}", w.bang())
            }
            TosMatch::Dscp(w) => write!(out, " -m dscp {}--dscp {:#04x}", w.bang(), w.value),
        };
    }

    pub(super) fn list(&self, out: &mut String) {
        let bang = |not: bool| if not { "!" } else { "" };
        let _ = match self {
            TosMatch::Tos(w) => {
                write!(out, " tos match{}{:#04x}/{:#04x}", bang(w.not), w.value.0, w.value.1)
            }
            TosMatch::Dscp(w) => write!(out, " DSCP match {}{:#04x}", bang(w.not), w.value),
        };
    }
}

/// Names for values of the old type-of-service field (RFC 1349).
const SYMBOLS: [(&str, u8); 5] = [
    ("Minimize-Delay", 0x10),
    ("Maximize-Throughput", 0x08),
    ("Maximize-Reliability", 0x04),
    ("Minimize-Cost", 0x02),
    ("Normal-Service", 0x00),
];

/// A name, `value` or `value/mask`; a name leaves the two highest bits alone.
fn parse_tos(text: &str) -> Result<(u8, u8), ParseError> {
    let unknown = || ParseError::new(format!("Symbolic name \"{text}\" is unknown"));
    let number = number_prefix(text);
    let value = number.and_then(|(number, rest)| Some((u8::try_from(number).ok()?, rest)));
    match value {
        Some((value, "")) => Ok((value, 0xff)),
        Some((value, rest)) => {
            let illegal = || ParseError::new(format!("Illegal value: \"{text}\""));
            let mask = rest.strip_prefix('/').and_then(number_prefix);
            let mask = mask.filter(|(_, rest)| rest.is_empty()).map(|(mask, _)| u8::try_from(mask));
            Ok((value, mask.and_then(Result::ok).ok_or_else(illegal)?))
        }
        None => {
            let named = SYMBOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
            named.map(|(_, value)| (*value, 0x3f)).ok_or_else(unknown)
        }
    }
}

/// Class names of DSCP (RFC 2474, RFC 2597, RFC 3246).
const CLASSES: [(&str, u8); 22] = [
    ("CS0", 0x00),
    ("CS1", 0x08),
    ("CS2", 0x10),
    ("CS3", 0x18),
    ("CS4", 0x20),
    ("CS5", 0x28),
    ("CS6", 0x30),
    ("CS7", 0x38),
    ("BE", 0x00),
    ("AF11", 0x0a),
    ("AF12", 0x0c),
    ("AF13", 0x0e),
    ("AF21", 0x12),
    ("AF22", 0x14),
    ("AF23", 0x16),
    ("AF31", 0x1a),
    ("AF32", 0x1c),
    ("AF33", 0x1e),
    ("AF41", 0x22),
    ("AF42", 0x24),
    ("AF43", 0x26),
    ("EF", 0x2e),
];

fn parse_class(text: &str) -> Result<u8, ParseError> {
    let named = CLASSES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    let invalid = || ParseError::new(format!("Invalid DSCP value `{text}'"));
    named.map(|(_, value)| *value).ok_or_else(invalid)
}

static OPTIONS: Options = Options { ext: "tos", table: &[Opt::new("tos", 0).may_not().must()] };

#[derive(Default)]
pub(super) struct Parser(Option<Wanted<(u8, u8)>>);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        self.0 = Some(Wanted { not: given.not, value: parse_tos(given.value)? });
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(self.0.map(|wanted| Match::Tos(TosMatch::Tos(wanted))))
    }
}

static DSCP_OPTIONS: Options = Options {
    ext: "dscp",
    table: &[
        Opt::new("dscp", 0).may_not().not_with(1 << 1),
        Opt::new("dscp-class", 1).may_not().not_with(1 << 0),
    ],
};

#[derive(Default)]
pub(super) struct DscpParser(Option<Wanted<u8>>);

impl super::MatchParser for DscpParser {
    fn options(&self) -> &'static Options {
        &DSCP_OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let value = match given.opt.id {
            0 => given.number32(0, 63)? as u8,
            _ => parse_class(given.value)?,
        };
        self.0 = Some(Wanted { not: given.not, value });
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        match self.0 {
            Some(_) => Ok(()),
            None => Err(ParseError::new("DSCP match: Parameter --dscp is required")),
        }
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(self.0.map(|wanted| Match::Tos(TosMatch::Dscp(wanted))))
    }
}

/// Options of `-j TOS` and `-j DSCP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTos {
    /// The bits of the second are cleared, then those of the first flipped.
    Tos(u8, u8),
    /// The upper six bits.
    Dscp(u8),
}

impl SetTos {
    /// The byte after.
    pub fn apply(self, tos: u8) -> u8 {
        match self {
            SetTos::Tos(value, mask) => (tos & !mask) ^ value,
            SetTos::Dscp(value) => (tos & 3) | (value << 2),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            SetTos::Tos(..) => "TOS",
            SetTos::Dscp(_) => "DSCP",
        }
    }

    pub(super) fn save(self, out: &mut String) {
        let _ = match self {
            SetTos::Tos(value, mask) => write!(out, " --set-tos {value:#04x}/{mask:#04x}"),
            SetTos::Dscp(value) => write!(out, " --set-dscp {value:#04x}"),
        };
    }

    pub(super) fn list(self, out: &mut String) {
        let _ = match self {
            SetTos::Tos(value, mask) => write!(out, " TOS set {value:#04x}/{mask:#04x}"),
            SetTos::Dscp(value) => write!(out, " DSCP set {value:#04x}"),
        };
    }
}

const SET: u8 = 0;
const AND: u8 = 1;
const OR: u8 = 2;

static TOS_OPTIONS: Options = Options {
    ext: "TOS",
    table: &[
        Opt::new("set-tos", SET).not_with(0xe),
        Opt::new("and-tos", AND).not_with(0xd),
        Opt::new("or-tos", OR).not_with(0xb),
        Opt::new("xor-tos", 3).not_with(0x7),
    ],
};

#[derive(Default)]
pub(super) struct TargetParser(Option<SetTos>);

impl super::TargetParser for TargetParser {
    fn options(&self) -> &'static Options {
        &TOS_OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let (value, mask) = match given.opt.id {
            SET => parse_tos(given.value)?,
            id => {
                let bits = given.number32(0, 255)? as u8;
                match id {
                    AND => (0, !bits),
                    OR => (bits, bits),
                    _ => (bits, 0),
                }
            }
        };
        self.0 = Some(SetTos::Tos(value, mask));
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        match self.0 {
            Some(_) => Ok(()),
            None => Err(ParseError::new("TOS: An action is required")),
        }
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        Ok(TargetExt::Tos(self.0.unwrap_or(SetTos::Tos(0, 0))))
    }
}

static DSCP_TARGET_OPTIONS: Options = Options {
    ext: "DSCP",
    table: &[
        Opt::new("set-dscp", 0).not_with(1 << 1),
        Opt::new("set-dscp-class", 1).not_with(1 << 0),
    ],
};

#[derive(Default)]
pub(super) struct DscpTargetParser(Option<u8>);

impl super::TargetParser for DscpTargetParser {
    fn options(&self) -> &'static Options {
        &DSCP_TARGET_OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        self.0 = Some(match given.opt.id {
            0 => given.number32(0, 63)? as u8,
            _ => parse_class(given.value)?,
        });
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        match self.0 {
            Some(_) => Ok(()),
            None => Err(ParseError::new("DSCP target: Parameter --set-dscp is required")),
        }
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        Ok(TargetExt::Tos(SetTos::Dscp(self.0.unwrap_or(0))))
    }
}
