//! `-m comment --comment "…"`: fits everything, remembers a text.

use super::Match;
use crate::rule::Header;
use crate::text::options::{Given, Opt, Options};
use crate::text::words::cut;
use crate::text::{ParseError, quote};

/// Longest comment in bytes (`XT_MAX_COMMENT_LEN` less the final zero); what is longer is cut.
const COMMENT_MAX: usize = 255;

pub(super) fn save(text: &str, out: &mut String) {
    out.push_str(" -m comment --comment ");
    quote(text, out);
}

static OPTIONS: Options = Options { ext: "comment", table: &[Opt::new("comment", 0).must()] };

#[derive(Default)]
pub(super) struct Parser(String);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        self.0 = cut(given.value, COMMENT_MAX);
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Comment(self.0)))
    }
}
