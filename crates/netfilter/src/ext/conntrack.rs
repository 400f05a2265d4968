//! `-m conntrack --ctstate` and its older form `-m state --state`.

use std::fmt::Write as _;

use super::{Facts, Match};
use crate::conntrack::ct_state;
use crate::rule::Wanted;
use crate::text::{ParseError, Words};
use crate::trace::{Field, Miss, Seen, ct_state_names};

/// Options of `-m conntrack`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtMatch {
    /// Written as `-m state`.
    pub is_state: bool,
    /// `--ctstate`, bits of [`ct_state`].
    pub state: Wanted<u8>,
}

impl CtMatch {
    #[inline]
    pub(crate) fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        let seen = facts.conntrack.state_bits(facts.skb.ct);
        if (seen & self.state.value != 0) == self.state.not {
            return Err(Miss::new(Field::CtState, Seen::CtState(seen)));
        }
        Ok(())
    }

    pub(super) fn wanted(&self) -> String {
        let not = if self.state.not { "anything but " } else { "" };
        format!("{not}{}", ct_state_names(self.state.value))
    }

    pub(super) fn save(&self, out: &mut String) {
        let (ext, option) =
            if self.is_state { ("state", "--state") } else { ("conntrack", "--ctstate") };
        let names = ct_state_names(self.state.value);
        let _ = write!(out, " -m {ext} {}{option} {names}", self.state.bang());
    }

    pub(super) fn list(&self, out: &mut String) {
        let word = if self.is_state { "state" } else { "ctstate" };
        let bang = if self.state.not { "! " } else { "" };
        let _ = write!(out, " {bang}{word} {}", ct_state_names(self.state.value));
    }
}

fn parse_states(text: &str, is_state: bool) -> Result<u8, ParseError> {
    text.split(',').try_fold(0, |bits, name| {
        let wanted = name.to_ascii_uppercase();
        ct_state::NAMES
            .iter()
            .find(|(bit, known)| {
                *known == wanted && !(is_state && bit & (ct_state::SNAT | ct_state::DNAT) != 0)
            })
            .map(|(bit, _)| bits | bit)
            .ok_or_else(|| ParseError::BadState { is_state, name: text.to_string() })
    })
}

pub(super) struct Parser {
    is_state: bool,
    state: Option<Wanted<u8>>,
}

impl Parser {
    pub(super) fn new(is_state: bool) -> Self {
        Parser { is_state, state: None }
    }
}

impl super::MatchParser for Parser {
    fn option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<bool, ParseError> {
        let known = if self.is_state { "--state" } else { "--ctstate" };
        if option != known {
            return Ok(false);
        }
        self.state =
            Some(Wanted { not, value: parse_states(words.value(option)?, self.is_state)? });
        Ok(true)
    }

    fn finish(self: Box<Self>) -> Result<Match, ParseError> {
        let Parser { is_state, state } = *self;
        let state = state.ok_or(ParseError::AtLeastOneOption {
            ext: if is_state { "state" } else { "conntrack" },
        })?;
        Ok(Match::Conntrack(CtMatch { is_state, state }))
    }
}
