//! `-m comment --comment "…"`: fits everything, remembers a text.

use super::Match;
use crate::text::{ParseError, Words, quote};

/// Longest comment in bytes (`XT_MAX_COMMENT_LEN` less the final zero).
const COMMENT_MAX: usize = 255;

pub(super) fn save(text: &str, out: &mut String) {
    out.push_str(" -m comment --comment ");
    quote(text, out);
}

#[derive(Default)]
pub(super) struct Parser {
    text: Option<String>,
}

impl super::MatchParser for Parser {
    fn option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<bool, ParseError> {
        if option != "--comment" {
            return Ok(false);
        }
        words.refuse_not(option, not)?;
        let text = words.value(option)?;
        if text.len() > COMMENT_MAX {
            return Err(ParseError::bad("comment", option, text));
        }
        self.text = Some(text.to_string());
        Ok(true)
    }

    fn finish(self: Box<Self>) -> Result<Match, ParseError> {
        self.text
            .map(Match::Comment)
            .ok_or(ParseError::Missing { ext: "comment", option: "--comment" })
    }
}
