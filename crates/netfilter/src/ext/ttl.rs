//! `-m ttl` and `-j TTL`.

use std::fmt::Write as _;

use packet::Head;

use super::{Match, TargetExt};
use crate::rule::Header;
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::trace::{Field, Miss, Seen};

/// How the time to live is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `--ttl-eq`
    Equal,
    /// `! --ttl-eq`
    Other,
    /// `--ttl-lt`
    Less,
    /// `--ttl-gt`
    Greater,
}

/// Options of `-m ttl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TtlMatch {
    /// How.
    pub compare: Compare,
    /// With what.
    pub ttl: u8,
}

impl TtlMatch {
    pub(crate) fn check(&self, head: &Head) -> Result<(), Miss> {
        let fits = match self.compare {
            Compare::Equal => head.ttl == self.ttl,
            Compare::Other => head.ttl != self.ttl,
            Compare::Less => head.ttl < self.ttl,
            Compare::Greater => head.ttl > self.ttl,
        };
        if fits { Ok(()) } else { Err(Miss::new(Field::Ttl, Seen::Number(u32::from(head.ttl)))) }
    }

    pub(super) fn wanted(&self) -> String {
        let words = match self.compare {
            Compare::Equal => "",
            Compare::Other => "anything but ",
            Compare::Less => "less than ",
            Compare::Greater => "more than ",
        };
        format!("{words}{}", self.ttl)
    }

    pub(super) fn save(&self, out: &mut String) {
        let option = match self.compare {
            Compare::Equal => "--ttl-eq",
            Compare::Other => "! --ttl-eq",
            Compare::Less => "--ttl-lt",
            Compare::Greater => "--ttl-gt",
        };
        let _ = write!(out, " -m ttl {option} {}", self.ttl);
    }

    pub(super) fn list(&self, out: &mut String) {
        let sign = match self.compare {
            Compare::Equal => "==",
            Compare::Other => "!=",
            Compare::Less => "<",
            Compare::Greater => ">",
        };
        let _ = write!(out, " TTL match TTL {sign} {}", self.ttl);
    }
}

const LT: u8 = 0;
const GT: u8 = 1;
const EQ: u8 = 2;

static OPTIONS: Options = Options {
    ext: "ttl",
    table: &[
        Opt::new("ttl-lt", LT).not_with(1 << GT | 1 << EQ),
        Opt::new("ttl-gt", GT).not_with(1 << LT | 1 << EQ),
        Opt::new("ttl-eq", EQ).may_not().not_with(1 << LT | 1 << GT),
        Opt::new("ttl", EQ).may_not().not_with(1 << LT | 1 << GT),
    ],
};

#[derive(Default)]
pub(super) struct Parser(Option<TtlMatch>);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let compare = match given.opt.id {
            LT => Compare::Less,
            GT => Compare::Greater,
            _ if given.not => Compare::Other,
            _ => Compare::Equal,
        };
        self.0 = Some(TtlMatch { compare, ttl: given.number32(0, 255)? as u8 });
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        match self.0 {
            Some(_) => Ok(()),
            None => Err(ParseError::new(
                "TTL match: You must specify one of `--ttl-eq', `--ttl-lt', `--ttl-gt",
            )),
        }
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(self.0.map(Match::Ttl))
    }
}

/// Options of `-j TTL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTtl {
    /// `--ttl-set`
    Set(u8),
    /// `--ttl-dec`
    Dec(u8),
    /// `--ttl-inc`
    Inc(u8),
}

impl SetTtl {
    /// The time to live after; it neither falls below 0 nor rises above 255.
    pub fn apply(self, ttl: u8) -> u8 {
        match self {
            SetTtl::Set(to) => to,
            SetTtl::Dec(by) => ttl.saturating_sub(by),
            SetTtl::Inc(by) => ttl.saturating_add(by),
        }
    }

    pub(super) fn save(self, out: &mut String) {
        let _ = match self {
            SetTtl::Set(ttl) => write!(out, " --ttl-set {ttl}"),
            SetTtl::Dec(by) => write!(out, " --ttl-dec {by}"),
            SetTtl::Inc(by) => write!(out, " --ttl-inc {by}"),
        };
    }

    pub(super) fn list(self, out: &mut String) {
        let _ = match self {
            SetTtl::Set(ttl) => write!(out, " TTL set to {ttl}"),
            SetTtl::Dec(by) => write!(out, " TTL decrement by {by}"),
            SetTtl::Inc(by) => write!(out, " TTL increment by {by}"),
        };
    }
}

const SET: u8 = 0;
const DEC: u8 = 1;
const INC: u8 = 2;

static TARGET_OPTIONS: Options = Options {
    ext: "TTL",
    table: &[
        Opt::new("ttl-set", SET).not_with(1 << DEC | 1 << INC),
        Opt::new("ttl-dec", DEC).not_with(1 << SET | 1 << INC),
        Opt::new("ttl-inc", INC).not_with(1 << SET | 1 << DEC),
    ],
};

#[derive(Default)]
pub(super) struct TargetParser(Option<SetTtl>);

impl super::TargetParser for TargetParser {
    fn options(&self) -> &'static Options {
        &TARGET_OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        self.0 = Some(match given.opt.id {
            SET => SetTtl::Set(given.number32(0, 255)? as u8),
            DEC => SetTtl::Dec(given.number32(1, 255)? as u8),
            _ => SetTtl::Inc(given.number32(1, 255)? as u8),
        });
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        match self.0 {
            Some(_) => Ok(()),
            None => Err(ParseError::new("TTL: You must specify an action")),
        }
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        Ok(TargetExt::Ttl(self.0.unwrap_or(SetTtl::Inc(0))))
    }
}
