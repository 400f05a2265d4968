//! `-m rpfilter`: would an answer go out by the interface the packet came in by?

use super::{Facts, Match};
use crate::rule::Header;
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::trace::{Field, Miss, Seen};

/// Options of `-m rpfilter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rpfilter {
    /// `--loose`: by any interface will do.
    pub loose: bool,
    /// `--validmark`: the mark counts when the route is looked up.
    pub validmark: bool,
    /// `--accept-local`
    pub accept_local: bool,
    /// `--invert`: fits where the answer would *not* go that way.
    pub invert: bool,
}

impl Rpfilter {
    pub(crate) fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        let (source, to) = (facts.head.src, facts.head.dst);
        // Who has no address yet asks everybody, or a group of the link.
        let asks_all = to.is_broadcast() || matches!(to.octets(), [224, 0, 0, _]);
        let (mark, loose) = (if self.validmark { facts.skb.mark } else { 0 }, self.loose);
        // What cannot be told passes, as loopback's packets do.
        let goes_back = (source.is_unspecified() && asks_all)
            || facts.surroundings.reverse_path(source, facts.iif, loose, mark).unwrap_or(true);
        if goes_back == self.invert {
            let seen = if goes_back { Seen::Iface(facts.iif) } else { Seen::Nothing };
            return Err(Miss::new(Field::ReversePath, seen));
        }
        Ok(())
    }

    pub(super) fn wanted(&self) -> String {
        if self.invert { "another" } else { "the one it came in by" }.to_string()
    }

    fn print(&self, out: &mut String, dashes: &str) {
        for (is_set, word) in [
            (self.loose, "loose"),
            (self.validmark, "validmark"),
            (self.accept_local, "accept-local"),
            (self.invert, "invert"),
        ] {
            if is_set {
                out.push(' ');
                out.push_str(dashes);
                out.push_str(word);
            }
        }
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m rpfilter");
        self.print(out, "--");
    }

    pub(super) fn list(&self, out: &mut String) {
        out.push_str(" rpfilter");
        self.print(out, "");
    }
}

static OPTIONS: Options = Options {
    ext: "rpfilter",
    table: &[
        Opt::flag("loose", 0),
        Opt::flag("validmark", 1),
        Opt::flag("accept-local", 2),
        Opt::flag("invert", 3),
    ],
};

#[derive(Default)]
pub(super) struct Parser(Rpfilter);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        match given.opt.id {
            0 => self.0.loose = true,
            1 => self.0.validmark = true,
            2 => self.0.accept_local = true,
            _ => self.0.invert = true,
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Rpfilter(self.0)))
    }
}
