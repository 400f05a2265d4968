//! `-m nfacct`: counts in a named counter, and fits always.

use base::tree::BTreeMap;

use super::{Facts, Match};
use crate::rule::Header;
use crate::table::Counters;
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::text::words::cut;
use crate::trace::{Field, Miss, Seen};

/// Longest name (`NFACCT_NAME_MAX` less the final zero).
const NAME_MAX: usize = 31;

/// The named counters of a namespace.
#[derive(Debug, Default)]
pub struct Objects(BTreeMap<String, Counters>);

impl Objects {
    /// A counter of this name, from zero, unless it is there.
    pub fn add(&mut self, name: &str) {
        self.0.entry(cut(name, NAME_MAX)).or_default();
    }

    /// What a counter has counted.
    pub fn get(&self, name: &str) -> Option<Counters> {
        self.0.get(name).copied()
    }

    /// All counters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Counters)> {
        self.0.iter().map(|(name, counters)| (name.as_str(), *counters))
    }
}

pub(super) fn check(name: &str, facts: &mut Facts<'_>) -> Result<(), Miss> {
    match facts.stores.nfacct.0.get_mut(name) {
        Some(counters) => {
            counters.add(facts.head.total_len);
            Ok(())
        }
        None => Err(Miss::new(Field::Counter, Seen::Nothing)),
    }
}

static OPTIONS: Options = Options { ext: "nfacct", table: &[Opt::new("nfacct-name", 0).must()] };

#[derive(Default)]
pub(super) struct Parser(String);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        self.0 = given.text(NAME_MAX)?;
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Nfacct(self.0)))
    }
}
