//! `-m mark --mark` and `-j MARK`.

use std::fmt::Write as _;

use super::{Match, TargetExt};
use crate::rule::Wanted;
use crate::text::{ParseError, Words, parse_masked};
use crate::trace::{Field, Miss, Seen};

/// Options of `-m mark`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkMatch {
    /// `--mark value/mask`
    pub wanted: Wanted<(u32, u32)>,
}

impl MarkMatch {
    #[inline]
    pub(crate) fn check(&self, mark: u32) -> Result<(), Miss> {
        let (value, mask) = self.wanted.value;
        if (mark & mask == value) == self.wanted.not {
            return Err(Miss::new(Field::Mark, Seen::Mark(mark)));
        }
        Ok(())
    }

    pub(super) fn wanted(&self) -> String {
        let not = if self.wanted.not { "anything but " } else { "" };
        format!("{not}{}", masked(self.wanted.value))
    }

    pub(super) fn save(&self, out: &mut String) {
        let _ = write!(out, " -m mark {}--mark {}", self.wanted.bang(), masked(self.wanted.value));
    }

    pub(super) fn list(&self, out: &mut String) {
        let bang = if self.wanted.not { "!" } else { "" };
        let _ = write!(out, " mark match {bang}{}", masked(self.wanted.value));
    }
}

/// `0x4000` or `0x4000/0x4000`.
pub(crate) fn masked((value, mask): (u32, u32)) -> String {
    if mask == u32::MAX { format!("{value:#x}") } else { format!("{value:#x}/{mask:#x}") }
}

#[derive(Default)]
pub(super) struct MatchParser {
    wanted: Option<Wanted<(u32, u32)>>,
}

impl super::MatchParser for MatchParser {
    fn option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<bool, ParseError> {
        if option != "--mark" {
            return Ok(false);
        }
        let text = words.value(option)?;
        let value = parse_masked(text).ok_or_else(|| ParseError::bad("mark", option, text))?;
        self.wanted = Some(Wanted { not, value });
        Ok(true)
    }

    fn finish(self: Box<Self>) -> Result<Match, ParseError> {
        let wanted = self.wanted.ok_or(ParseError::Missing { ext: "mark", option: "--mark" })?;
        Ok(Match::Mark(MarkMatch { wanted }))
    }
}

/// Options of `-j MARK`: the bits of `mask` are cleared, then those of `value` flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetMark {
    /// Bits to flip.
    pub value: u32,
    /// Bits to clear first.
    pub mask: u32,
}

impl SetMark {
    /// The mark after.
    pub fn apply(&self, mark: u32) -> u32 {
        (mark & !self.mask) ^ self.value
    }

    pub(super) fn save(&self, out: &mut String) {
        let _ = write!(out, " --set-xmark {:#x}/{:#x}", self.value, self.mask);
    }

    /// As `xt_MARK` words it: the simplest form that says the same.
    pub(super) fn list(&self, out: &mut String) {
        let SetMark { value, mask } = *self;
        let _ = match (value, mask) {
            (_, 0) => write!(out, " MARK xor {value:#x}"),
            (0, _) => write!(out, " MARK and {:#x}", !mask),
            (_, u32::MAX) => write!(out, " MARK set {value:#x}"),
            _ if value == mask => write!(out, " MARK or {value:#x}"),
            _ => write!(out, " MARK xset {value:#x}/{mask:#x}"),
        };
    }
}

#[derive(Default)]
pub(super) struct TargetParser {
    set: Option<SetMark>,
}

impl super::TargetParser for TargetParser {
    fn option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<bool, ParseError> {
        if !matches!(
            option,
            "--set-mark" | "--set-xmark" | "--and-mark" | "--or-mark" | "--xor-mark"
        ) {
            return Ok(false);
        }
        words.refuse_not(option, not)?;
        let text = words.value(option)?;
        let (value, mask) =
            parse_masked(text).ok_or_else(|| ParseError::bad("MARK", option, text))?;
        self.set = Some(match option {
            "--set-xmark" => SetMark { value, mask },
            // set-mark clears the bits it sets as well as those of its mask.
            "--set-mark" => SetMark { value, mask: mask | value },
            "--and-mark" => SetMark { value: 0, mask: !value },
            "--or-mark" => SetMark { value, mask: value },
            _ => SetMark { value, mask: 0 },
        });
        Ok(true)
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        self.set.map(TargetExt::Mark).ok_or(ParseError::MarkWithoutAction)
    }
}
