//! `-m connbytes`: how much has been said in this connection? (`net/netfilter/xt_connbytes.c`)

use std::fmt::Write as _;

use super::{Facts, Match};
use crate::conntrack::Traffic;
use crate::rule::Header;
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::trace::{Field, Miss, Seen};

/// Options of `-m connbytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connbytes {
    /// `--connbytes`: from and to, both included; the other way round with `!`.
    pub range: (u64, u64),
    /// `--connbytes-mode`: place in [`MODES`].
    pub mode: usize,
    /// `--connbytes-dir`: place in [`DIRECTIONS`].
    pub direction: usize,
}

/// What is counted.
pub const MODES: [&str; 3] = ["packets", "bytes", "avgpkt"];
/// Whose packets.
pub const DIRECTIONS: [&str; 3] = ["original", "reply", "both"];

impl Connbytes {
    pub(crate) fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        let miss = |seen| Miss::new(Field::Traffic, seen);
        // A connection that began before its packets were counted has no counters.
        let counters = facts.conn().and_then(|conn| conn.counters);
        let [original, reply] = counters.ok_or(miss(Seen::Nothing))?;
        let sum = Traffic {
            packets: original.packets + reply.packets,
            bytes: original.bytes + reply.bytes,
        };
        let of = [original, reply, sum].get(self.direction).copied().unwrap_or(sum);
        let seen = match self.mode {
            0 => of.packets,
            1 => of.bytes,
            _ => of.bytes.checked_div(of.packets).unwrap_or(0),
        };
        let (from, to) = self.range;
        let fits = match to >= from {
            true => (from..=to).contains(&seen),
            false => seen < to || seen > from,
        };
        match fits {
            true => Ok(()),
            false => Err(miss(Seen::Number(u32::try_from(seen).unwrap_or(u32::MAX)))),
        }
    }

    fn words(&self) -> (&'static str, &'static str) {
        let word = |of: [&'static str; 3], at: usize| of.get(at).copied().unwrap_or_default();
        (word(MODES, self.mode), word(DIRECTIONS, self.direction))
    }

    pub(super) fn wanted(&self) -> String {
        let mut out = String::new();
        self.print("", &mut out);
        let (mode, direction) = self.words();
        format!("{} {mode}, {direction}", out.trim_start())
    }

    fn print(&self, name: &str, out: &mut String) {
        let (from, to) = self.range;
        let (bang, from, to) = if from > to { ("! ", to, from) } else { ("", from, to) };
        let _ = write!(out, " {bang}{name}{from}");
        if to != 0 && to < u64::MAX {
            let _ = write!(out, ":{to}");
        }
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m connbytes");
        self.print("--connbytes ", out);
        let (mode, direction) = self.words();
        let _ = write!(out, " --connbytes-mode {mode} --connbytes-dir {direction}");
    }

    pub(super) fn list(&self, out: &mut String) {
        self.print("connbytes ", out);
        let (mode, direction) = self.words();
        let _ = write!(out, " connbytes mode {mode} connbytes direction {direction}");
    }
}

static OPTIONS: Options = Options {
    ext: "connbytes",
    table: &[
        Opt::new("connbytes", 0).may_not().must(),
        Opt::new("connbytes-dir", 1).must(),
        Opt::new("connbytes-mode", 2).must(),
    ],
};

pub(super) struct Parser(Connbytes);

impl Default for Parser {
    fn default() -> Self {
        Parser(Connbytes { range: (0, 0), mode: 0, direction: 0 })
    }
}

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let unknown = |at: Option<usize>| {
            let (name, value) = (given.opt.name, given.value);
            at.ok_or_else(|| ParseError::new(format!("Unknown --{name} `{value}'")))
        };
        let place = |of: [&str; 3]| unknown(of.iter().position(|word| *word == given.value));
        match given.opt.id {
            0 => {
                let (from, to) = given.range(u64::MAX)?;
                let to = if given.value.contains(':') { to } else { u64::MAX };
                if to < from {
                    return Err(ParseError::new(format!("{from} should be less than {to}")));
                }
                self.0.range = if given.not { (to, from) } else { (from, to) };
            }
            1 => self.0.direction = place(DIRECTIONS)?,
            _ => self.0.mode = place(MODES)?,
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Connbytes(self.0)))
    }
}
