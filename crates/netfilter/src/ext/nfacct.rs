//! `-m nfacct`: counts in a named counter, and fits always.

use super::{Facts, Match};
use crate::rule::Header;
use crate::table::Counters;
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::text::words::cut;
use crate::trace::{Field, Miss, Seen};

/// Longest name (`NFACCT_NAME_MAX` less the final zero).
const NAME_MAX: usize = 31;

/// The named counters of a namespace, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Objects(Vec<(String, Counters)>);

impl Objects {
    /// Adds a counter. `false`: there is one of this name.
    pub fn add(&mut self, name: &str, counters: Counters) -> bool {
        let name = cut(name, NAME_MAX);
        let is_new = self.get(&name).is_none();
        if is_new {
            self.0.push((name, counters));
        }
        is_new
    }

    /// What a counter has counted.
    pub fn get(&self, name: &str) -> Option<Counters> {
        self.iter().find(|(known, _)| *known == name).map(|(_, counters)| counters)
    }

    /// A counter, for changing.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Counters> {
        self.0.iter_mut().find(|(known, _)| known == name).map(|(_, counters)| counters)
    }

    /// Takes counters away.
    pub fn remove(&mut self, mut is_to_go: impl FnMut(&str) -> bool) {
        self.0.retain(|(name, _)| !is_to_go(name));
    }

    /// All counters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Counters)> {
        self.0.iter().map(|(name, counters)| (name.as_str(), *counters))
    }
}

pub(super) fn check(name: &str, facts: &mut Facts<'_>) -> Result<(), Miss> {
    match facts.stores.nfacct.get_mut(name) {
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
