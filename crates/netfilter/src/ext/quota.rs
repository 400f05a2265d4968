//! `-m quota`: so many bytes, and no more (`net/netfilter/xt_quota.c`).

use std::fmt::Write as _;

use packet::Head;

use super::{Match, State};
use crate::rule::{Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::trace::{Field, Miss, Seen};

/// Options of `-m quota`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// `--quota`
    pub bytes: Wanted<u64>,
}

impl Quota {
    /// What is left becomes nothing with the first packet that is too long for it.
    pub(crate) fn check(&self, head: &Head, left: &mut State) -> Result<(), Miss> {
        let len = u64::from(head.total_len);
        let had = left.value;
        let fits = had >= len;
        left.value = if fits { had - len } else { 0 };
        if fits == self.bytes.not {
            let had = u32::try_from(had).unwrap_or(u32::MAX);
            return Err(Miss::new(Field::Quota, Seen::Number(had)));
        }
        Ok(())
    }

    pub(super) fn wanted(&self) -> String {
        if self.bytes.not { "less than the packet" } else { "enough for the packet" }.to_string()
    }

    pub(super) fn save(&self, out: &mut String) {
        let _ = write!(out, " -m quota {}--quota {}", self.bytes.bang(), self.bytes.value);
    }

    pub(super) fn list(&self, out: &mut String) {
        let _ = write!(out, " quota: {} bytes", self.bytes.value);
    }
}

static OPTIONS: Options = Options { ext: "quota", table: &[Opt::new("quota", 0).may_not().must()] };

#[derive(Default)]
pub(super) struct Parser(Option<Quota>);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let value = given.number(0, u64::MAX)?;
        self.0 = Some(Quota { bytes: Wanted { not: given.not, value } });
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(self.0.map(Match::Quota))
    }
}
