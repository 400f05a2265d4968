//! `-m iprange`: addresses from one to another.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use packet::Head;

use super::{Match, but};
use crate::rule::{Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::trace::{Field, Miss, Seen};

/// First and last address.
type Range = (Ipv4Addr, Ipv4Addr);

/// Options of `-m iprange`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iprange {
    /// `--src-range`
    pub src: Option<Wanted<Range>>,
    /// `--dst-range`
    pub dst: Option<Wanted<Range>>,
}

impl Iprange {
    pub(crate) fn check(&self, head: &Head) -> Result<(), Miss> {
        let sides = [
            (self.src, head.src, Field::SourceRange),
            (self.dst, head.dst, Field::DestinationRange),
        ];
        for (wanted, seen, field) in sides {
            if let Some(Wanted { not, value: (first, last) }) = wanted
                && (first..=last).contains(&seen) == not
            {
                return Err(Miss::new(field, Seen::Addr(seen)));
            }
        }
        Ok(())
    }

    pub(super) fn wanted(&self, field: Field) -> Option<String> {
        let wanted = match field {
            Field::SourceRange => self.src?,
            Field::DestinationRange => self.dst?,
            _ => return None,
        };
        Some(format!("{}{}-{}", but(wanted.not), wanted.value.0, wanted.value.1))
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m iprange");
        for (option, wanted) in [("src", &self.src), ("dst", &self.dst)] {
            if let Some(w) = wanted {
                let (first, last) = w.value;
                let _ = write!(out, " {}--{option}-range {first}-{last}", w.bang());
            }
        }
    }

    pub(super) fn list(&self, out: &mut String) {
        for (word, wanted) in [("source", &self.src), ("destination", &self.dst)] {
            if let Some(w) = wanted {
                let (first, last) = w.value;
                let _ = write!(out, " {word} IP range {}{first}-{last}", w.bang());
            }
        }
    }
}

static OPTIONS: Options = Options {
    ext: "iprange",
    table: &[Opt::new("src-range", 0).may_not(), Opt::new("dst-range", 1).may_not()],
};

#[derive(Default)]
pub(super) struct Parser(Iprange);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let addr = |text: &str| text.parse::<Ipv4Addr>().map_err(|_| given.bad(text));
        let value = match given.value.split_once('-') {
            Some((first, last)) => (addr(first)?, addr(last)?),
            None => (addr(given.value)?, addr(given.value)?),
        };
        if value.0 > value.1 {
            given.around.warnings.push(format!(
                "xt_iprange: range {}-{} is reversed and will never match",
                value.0, value.1
            ));
        }
        let slot = if given.opt.id == 0 { &mut self.0.src } else { &mut self.0.dst };
        *slot = Some(Wanted { not: given.not, value });
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        if self.0 == Iprange::default() {
            return Err(ParseError::new(
                "iprange match: You must specify `--src-range' or `--dst-range'",
            ));
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Iprange(self.0)))
    }
}
