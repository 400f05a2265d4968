//! `-m set` and `-j SET`: is it in a set of addresses, and put it there (`net/netfilter/xt_set.c`).

use std::fmt::Write as _;

use base::Duration;

use super::{Facts, Match, TargetExt};
use crate::ipset::{Comparison, Probe, Query};
use crate::rule::{Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::text::words::cut;
use crate::trace::{Field, Miss, Seen};

/// Longest name of a set (`IPSET_MAXNAMELEN` less the final zero).
const NAME_MAX: usize = 31;
/// Most parts of an element (`IPSET_DIM_MAX`).
const PARTS_MAX: usize = 6;

/// A set, and which end of the packet each part of an element is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRef {
    /// Its name.
    pub name: String,
    /// For each part of an element: the source; else the destination.
    pub source: Vec<bool>,
}

impl SetRef {
    fn parse(name: &str, ends: &str) -> Result<SetRef, ParseError> {
        let mut source = Vec::new();
        for end in ends.split(',') {
            source.push(match end {
                "src" => true,
                "dst" => false,
                _ => {
                    return Err(ParseError::new(
                        "You must spefify (the comma separated list of) 'src' or 'dst'.",
                    ));
                }
            });
        }
        if source.len() > PARTS_MAX {
            return Err(ParseError::new("Can't be more src/dst options than 6."));
        }
        Ok(SetRef { name: cut(name, NAME_MAX), source })
    }

    fn print(&self, out: &mut String) {
        let ends: Vec<_> = self.source.iter().map(|src| if *src { "src" } else { "dst" }).collect();
        let _ = write!(out, " {} {}", self.name, ends.join(","));
    }

    /// What the packet is, to this set.
    pub(crate) fn probe(&self, facts: &Facts<'_>) -> Probe {
        Probe {
            addrs: (facts.head.src, facts.head.dst),
            ports: facts.head.ports(),
            protocol: facts.head.protocol,
            l4: facts.head.l4,
            source: self.source.iter().copied().collect(),
        }
    }
}

/// Options of `-m set`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetMatch {
    /// `--match-set`
    pub set: Wanted<SetRef>,
    /// `--return-nomatch`: an element marked `nomatch` fits.
    pub return_nomatch: bool,
    /// `! --update-counters`: the set's counters stay as they are.
    pub no_counters: bool,
    /// `! --update-subcounters`
    pub no_subcounters: bool,
    /// `--packets-eq` and the like.
    pub packets: Option<Wanted<Comparison>>,
    /// `--bytes-eq` and the like.
    pub bytes: Option<Wanted<Comparison>>,
}

impl SetMatch {
    pub(crate) fn check(&self, facts: &mut Facts<'_>) -> Result<(), Miss> {
        let set = &self.set.value;
        let probe = set.probe(facts);
        let query = Query {
            now: facts.now,
            len: facts.head.total_len,
            counts: !self.no_counters,
            counts_members: !self.no_subcounters,
            return_nomatch: self.return_nomatch,
            packets: self.packets,
            bytes: self.bytes,
        };
        // A set that is gone holds nothing.
        let fits = facts.stores.sets.test(&set.name, &probe, &query);
        if fits == self.set.not {
            let seen = match set.source.first() {
                Some(true) => facts.head.src,
                _ => facts.head.dst,
            };
            return Err(Miss::new(Field::Set, Seen::Addr(seen)));
        }
        Ok(())
    }

    pub(super) fn wanted(&self) -> String {
        let not = if self.set.not { "not " } else { "" };
        format!("one {not}in the set {}", self.set.value.name)
    }

    fn print(&self, out: &mut String, dashes: &str) {
        let _ = write!(out, " {}{dashes}match-set", self.set.bang());
        self.set.value.print(out);
        if self.return_nomatch {
            let _ = write!(out, " {dashes}return-nomatch");
        }
        if self.no_counters {
            let _ = write!(out, " ! {dashes}update-counters");
        }
        if self.no_subcounters {
            let _ = write!(out, " ! {dashes}update-subcounters");
        }
        for (what, wanted) in [("packets", &self.packets), ("bytes", &self.bytes)] {
            if let Some(w) = wanted {
                let (word, value) = match w.value {
                    Comparison::Equal(value) => ("eq", value),
                    Comparison::Less(value) => ("lt", value),
                    Comparison::Greater(value) => ("gt", value),
                };
                let _ = write!(out, " {}{dashes}{what}-{word} {value}", w.bang());
            }
        }
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m set");
        self.print(out, "--");
    }

    pub(super) fn list(&self, out: &mut String) {
        self.print(out, "");
    }
}

const SET: u8 = 0;
const NOMATCH: u8 = 1;
const COUNTERS: u8 = 2;
const SUBCOUNTERS: u8 = 3;

static OPTIONS: Options = Options {
    ext: "set",
    table: &[
        Opt::new("match-set", SET).may_not().many(),
        Opt::new("set", SET).may_not().many(),
        Opt::flag("return-nomatch", NOMATCH),
        Opt::flag("update-counters", COUNTERS).may_not(),
        Opt::flag("update-subcounters", SUBCOUNTERS).may_not(),
        Opt::new("packets-eq", 4).may_not(),
        Opt::new("packets-lt", 5),
        Opt::new("packets-gt", 6),
        Opt::new("bytes-eq", 7).may_not(),
        Opt::new("bytes-lt", 8),
        Opt::new("bytes-gt", 9),
    ],
};

#[derive(Default)]
pub(super) struct Parser {
    set: Option<Wanted<SetRef>>,
    return_nomatch: bool,
    no_counters: bool,
    no_subcounters: bool,
    packets: Option<Wanted<Comparison>>,
    bytes: Option<Wanted<Comparison>>,
}

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let not = given.not;
        match given.opt.id {
            SET => {
                if self.set.is_some() {
                    return Err(ParseError::new("--match-set can be specified only once"));
                }
                let ends = given.second();
                let ends = ends.ok_or_else(|| ParseError::new("--match-set requires two args."))?;
                self.set = Some(Wanted { not, value: SetRef::parse(given.value, ends)? });
            }
            NOMATCH => self.return_nomatch = true,
            COUNTERS => self.no_counters = not,
            SUBCOUNTERS => self.no_subcounters = not,
            id => {
                let value = given.number(0, u64::MAX)?;
                let comparison = match id {
                    4 | 7 => Comparison::Equal(value),
                    5 | 8 => Comparison::Less(value),
                    _ => Comparison::Greater(value),
                };
                let slot = if id < 7 { &mut self.packets } else { &mut self.bytes };
                if slot.is_some() {
                    let what = if id < 7 { "packets" } else { "bytes" };
                    return Err(ParseError::new(format!(
                        "only one of the --{what}-[eq|lt|gt] is allowed\n"
                    )));
                }
                *slot = Some(Wanted { not, value: comparison });
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        match self.set {
            Some(_) => Ok(()),
            None => Err(ParseError::new("You must specify `--match-set' with proper arguments")),
        }
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        let Parser { set, return_nomatch, no_counters, no_subcounters, packets, bytes } = *self;
        Ok(set.map(|set| {
            Match::Set(SetMatch {
                set,
                return_nomatch,
                no_counters,
                no_subcounters,
                packets,
                bytes,
            })
        }))
    }
}

/// Options of `-j SET`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetTarget {
    /// `--add-set`
    pub add: Option<SetRef>,
    /// `--del-set`
    pub del: Option<SetRef>,
    /// `--exist`: what is there is added again, for its timeout.
    pub exist: bool,
    /// `--timeout`, seconds.
    pub timeout: Option<u32>,
}

impl SetTarget {
    /// Puts the packet into one set, or takes it out of another.
    pub(crate) fn carry_out(&self, facts: &mut Facts<'_>) {
        if let Some(set) = &self.add {
            let probe = set.probe(facts);
            let timeout = self.timeout.map(|secs| Duration::from_secs(u64::from(secs)));
            let packet = (&probe, facts.head.total_len);
            facts.stores.sets.add_packet(&set.name, packet, timeout, self.exist, facts.now);
        }
        if let Some(set) = &self.del {
            let probe = set.probe(facts);
            facts.stores.sets.del_packet(&set.name, &probe);
        }
    }

    /// The sets that it names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.add.iter().chain(&self.del).map(|set| set.name.as_str())
    }

    fn print(&self, out: &mut String, dashes: &str) {
        for (word, set) in [("add", &self.add), ("del", &self.del)] {
            if let Some(set) = set {
                let _ = write!(out, " {dashes}{word}-set");
                set.print(out);
            }
            if word == "add" && self.exist {
                let _ = write!(out, " {dashes}exist");
            }
            if word == "add"
                && let Some(timeout) = self.timeout
            {
                let _ = write!(out, " {dashes}timeout {timeout}");
            }
        }
    }

    pub(super) fn save(&self, out: &mut String) {
        self.print(out, "--");
    }

    pub(super) fn list(&self, out: &mut String) {
        self.print(out, "");
    }
}

static TARGET_OPTIONS: Options = Options {
    ext: "SET",
    table: &[
        Opt::new("add-set", 0).many(),
        Opt::new("del-set", 1).many(),
        Opt::flag("exist", 2),
        Opt::new("timeout", 3),
        Opt::new("map-set", 4),
        Opt::flag("map-mark", 5),
        Opt::flag("map-prio", 6),
        Opt::flag("map-queue", 7),
    ],
};

#[derive(Default)]
pub(super) struct TargetParser(SetTarget);

impl super::TargetParser for TargetParser {
    fn options(&self) -> &'static Options {
        &TARGET_OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let name = given.opt.name;
        match given.opt.id {
            id @ (0 | 1) => {
                let slot = if id == 0 { &self.0.add } else { &self.0.del };
                if slot.is_some() {
                    return Err(ParseError::new(format!("--{name} can be specified only once")));
                }
                let ends = given.second();
                let missing = || ParseError::new(format!("--{name} requires two args."));
                let set = SetRef::parse(given.value, ends.ok_or_else(missing)?)?;
                *(if id == 0 { &mut self.0.add } else { &mut self.0.del }) = Some(set);
            }
            2 => self.0.exist = true,
            3 => self.0.timeout = Some(given.number32(0, u32::MAX - 1)?),
            _ => return Err(ParseError::unsupported(&format!("SET: option \"--{name}\""))),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        if self.0.add.is_none() && self.0.del.is_none() {
            return Err(ParseError::new(
                "You must specify either `--add-set' or `--del-set' or `--map-set'",
            ));
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        Ok(TargetExt::Set(self.0))
    }
}
