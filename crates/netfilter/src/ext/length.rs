//! `-m length`: how long is the packet, IP header included?

use std::fmt::Write as _;

use packet::Head;

use super::{Match, but};
use crate::rule::{Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::trace::{Field, Miss, Seen};

/// Options of `-m length`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Length {
    /// `--length`: shortest and longest.
    pub bytes: Wanted<(u16, u16)>,
}

impl Length {
    pub(crate) fn check(&self, head: &Head) -> Result<(), Miss> {
        let Wanted { not, value: (min, max) } = self.bytes;
        if (min..=max).contains(&head.total_len) == not {
            return Err(Miss::new(Field::Length, Seen::Number(u32::from(head.total_len))));
        }
        Ok(())
    }

    fn range(&self) -> String {
        match self.bytes.value {
            (min, max) if min == max => min.to_string(),
            (min, max) => format!("{min}:{max}"),
        }
    }

    pub(super) fn wanted(&self) -> String {
        format!("{}{}", but(self.bytes.not), self.range())
    }

    pub(super) fn save(&self, out: &mut String) {
        let _ = write!(out, " -m length {}--length {}", self.bytes.bang(), self.range());
    }

    pub(super) fn list(&self, out: &mut String) {
        let bang = if self.bytes.not { "!" } else { "" };
        let _ = write!(out, " length {bang}{}", self.range());
    }
}

static OPTIONS: Options =
    Options { ext: "length", table: &[Opt::new("length", 0).may_not().must()] };

#[derive(Default)]
pub(super) struct Parser(Option<Length>);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let (min, max) = given.range(u64::from(u16::MAX))?;
        let bytes = Wanted { not: given.not, value: (min as u16, max as u16) };
        self.0 = Some(Length { bytes });
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(self.0.map(Match::Length))
    }
}
