//! `-m recent`: has this address been here lately? (`net/netfilter/xt_recent.c`)

use std::collections::VecDeque;

use base::tree::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use base::{Duration, FastMap, Instant};

use super::{Facts, Match};

use crate::rule::{Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::text::words::cut;
use crate::trace::{Field, Miss, Seen};

/// Addresses remembered in one list before the longest unseen is forgotten (`ip_list_tot`).
const LIST_MAX: usize = 100;
/// Sightings remembered of one address (`ip_pkt_list_tot`).
const STAMPS_MAX: usize = 20;
/// Largest hit count (`XT_RECENT_MAX_NSTAMPS`).
const HITS_MAX: u32 = 65535;
/// Longest name of a list (`XT_RECENT_NAME_LEN` less the final zero).
const NAME_MAX: usize = 199;

/// What the rule does with its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `--set`: remember the address. Fits always.
    Set,
    /// `--rcheck`: fits when it is remembered.
    Check,
    /// `--update`: the same, and remember that it was here again.
    Update,
    /// `--remove`: fits when it is remembered; forgets it.
    Remove,
}

/// Options of `-m recent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent {
    /// What to do, perhaps reversed.
    pub action: Wanted<Action>,
    /// `--seconds`: only what was seen within so many.
    pub seconds: Option<u32>,
    /// `--reap`: forget what is older.
    pub reap: bool,
    /// `--hitcount`: only what was seen so often.
    pub hitcount: Option<u32>,
    /// `--rttl`: only with the same TTL.
    pub rttl: bool,
    /// `--name`
    pub name: String,
    /// `--mask`
    pub mask: u32,
    /// `--rdest`: the destination; else the source.
    pub by_destination: bool,
}

impl Recent {
    /// `--set --name name`, by source.
    pub fn set(name: &str) -> Recent {
        Recent {
            action: Wanted::is(Action::Set),
            seconds: None,
            reap: false,
            hitcount: None,
            rttl: false,
            name: name.to_string(),
            mask: u32::MAX,
            by_destination: false,
        }
    }

    /// `--rcheck --seconds seconds --reap --name name`, by source.
    pub fn check_within(name: &str, seconds: u32) -> Recent {
        Recent {
            action: Wanted::is(Action::Check),
            seconds: Some(seconds),
            reap: true,
            ..Recent::set(name)
        }
    }

    pub(crate) fn check(&self, facts: &mut Facts<'_>) -> Result<(), Miss> {
        let head = facts.head;
        let addr = if self.by_destination { head.dst } else { head.src };
        let addr = Ipv4Addr::from(u32::from(addr) & self.mask);
        // The TTL as it was on arrival, before the packet was routed on.
        let is_routed = !facts.iif.is_none() && !facts.oif.is_none();
        let ttl = if is_routed { head.ttl.wrapping_add(1) } else { head.ttl };
        if facts.stores.recent.look(self, addr, ttl, facts.now) {
            Ok(())
        } else {
            Err(Miss::new(Field::Recent, Seen::Addr(addr)))
        }
    }

    /// Whether the kernel would take it (`recent_mt_check`).
    pub(super) fn is_sound(&self) -> bool {
        let asks = matches!(self.action.value, Action::Check | Action::Update);
        let hits_fit = self.hitcount.is_none_or(|hits| hits <= HITS_MAX);
        let is_named = !self.name.is_empty();
        (asks || (self.seconds.is_none() && self.hitcount.is_none())) && hits_fit && is_named
    }

    pub(super) fn wanted(&self) -> String {
        let not = if self.action.not { "not " } else { "" };
        let times = self.hitcount.map(|hits| format!(" {hits} times")).unwrap_or_default();
        let within = self.seconds.map(|secs| format!(" within {secs} s")).unwrap_or_default();
        format!("one that is {not}in the list {}, seen{times}{within}", self.name)
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m recent");
        let bang = if self.action.not { " !" } else { "" };
        let action = match self.action.value {
            Action::Set => "set",
            Action::Check => "rcheck",
            Action::Update => "update",
            Action::Remove => "remove",
        };
        let _ = write!(out, "{bang} --{action}");
        if let Some(seconds) = self.seconds {
            let _ = write!(out, " --seconds {seconds}");
        }
        if self.reap {
            out.push_str(" --reap");
        }
        if let Some(hits) = self.hitcount {
            let _ = write!(out, " --hitcount {hits}");
        }
        if self.rttl {
            out.push_str(" --rttl");
        }
        let side = if self.by_destination { "--rdest" } else { "--rsource" };
        let _ = write!(out, " --name {} --mask {} {side}", self.name, Ipv4Addr::from(self.mask));
    }

    pub(super) fn list(&self, out: &mut String) {
        let bang = if self.action.not { "! " } else { "" };
        let _ = write!(out, " {bang}recent:");
        let action = match self.action.value {
            Action::Set => "SET",
            Action::Check => "CHECK",
            Action::Update => "UPDATE",
            Action::Remove => "REMOVE",
        };
        let _ = write!(out, " {action}");
        if let Some(seconds) = self.seconds {
            let _ = write!(out, " seconds: {seconds}");
        }
        if self.reap {
            out.push_str(" reap");
        }
        if let Some(hits) = self.hitcount {
            let _ = write!(out, " hit_count: {hits}");
        }
        if self.rttl {
            out.push_str(" TTL-Match");
        }
        let side = if self.by_destination { "dest" } else { "source" };
        let mask = Ipv4Addr::from(self.mask);
        let _ = write!(out, " name: {} side: {side} mask: {mask}", self.name);
    }
}

/// All lists of a namespace, by name.
#[derive(Debug, Default)]
pub(crate) struct Lists(BTreeMap<String, List>);

#[derive(Debug, Default)]
struct List {
    entries: FastMap<Ipv4Addr, Entry>,
    /// Addresses, the one that was longest not seen first.
    by_age: VecDeque<Ipv4Addr>,
    /// Sightings remembered of one address: as many as the rule with the largest hit count needs.
    stamps_max: usize,
}

#[derive(Debug)]
struct Entry {
    ttl: u8,
    stamps: VecDeque<Instant>,
}

impl Lists {
    /// Whether the rule fits, as `recent_mt` decides it.
    fn look(&mut self, rule: &Recent, addr: Ipv4Addr, ttl: u8, now: Instant) -> bool {
        let list = self.0.entry(rule.name.clone()).or_default();
        let hits_kept = rule.hitcount.unwrap_or(0) as usize;
        list.stamps_max = list.stamps_max.max(hits_kept.next_power_of_two()).max(STAMPS_MAX);
        let not = rule.action.not;
        let known = list.entries.get(&addr);
        let known = known.filter(|entry| !rule.rttl || entry.ttl == ttl);
        let Some(entry) = known else {
            if rule.action.value == Action::Set {
                list.see(addr, ttl, now);
                return !not;
            }
            return not;
        };
        let fits = match rule.action.value {
            Action::Set => !not,
            Action::Remove => {
                list.forget(addr);
                return !not;
            }
            Action::Check | Action::Update => {
                let within = rule.seconds.map(|secs| Duration::from_secs(u64::from(secs)));
                let is_fresh =
                    |stamp: Instant| within.is_none_or(|within| now.since(stamp) <= within);
                let hits = entry.stamps.iter().filter(|&&stamp| is_fresh(stamp)).count();
                let enough = hits >= hits_kept.max(1);
                if rule.reap {
                    list.reap(is_fresh);
                }
                enough != not
            }
        };
        let is_seen_again = match rule.action.value {
            Action::Set => true,
            Action::Update => fits,
            Action::Check | Action::Remove => false,
        };
        if is_seen_again {
            list.see(addr, ttl, now);
        }
        fits
    }
}

impl List {
    fn see(&mut self, addr: Ipv4Addr, ttl: u8, now: Instant) {
        self.by_age.retain(|known| *known != addr);
        if !self.entries.contains_key(&addr)
            && self.by_age.len() >= LIST_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.by_age.push_back(addr);
        let entry = self.entries.entry(addr).or_insert(Entry { ttl, stamps: VecDeque::new() });
        entry.ttl = ttl;
        entry.stamps.push_back(now);
        if entry.stamps.len() > self.stamps_max {
            entry.stamps.pop_front();
        }
    }

    fn forget(&mut self, addr: Ipv4Addr) {
        self.entries.remove(&addr);
        self.by_age.retain(|known| *known != addr);
    }

    /// Forgets the address that was longest not seen, if that was too long ago.
    fn reap(&mut self, is_fresh: impl Fn(Instant) -> bool) {
        let Some(&oldest) = self.by_age.front() else { return };
        let last = self.entries.get(&oldest).and_then(|entry| entry.stamps.back());
        if last.is_none_or(|&stamp| !is_fresh(stamp)) {
            self.forget(oldest);
        }
    }
}

const SET: u8 = 0;
const RCHECK: u8 = 1;
const UPDATE: u8 = 2;
const REMOVE: u8 = 3;
const SECONDS: u8 = 4;
const REAP: u8 = 5;
const HITCOUNT: u8 = 6;
const RTTL: u8 = 7;
const NAME: u8 = 8;
const RSOURCE: u8 = 9;
const RDEST: u8 = 10;
const MASK: u8 = 11;
/// The options that say what to do.
const ACTIONS: u32 = 1 << SET | 1 << RCHECK | 1 << UPDATE | 1 << REMOVE;

const fn action(name: &'static str, id: u8) -> Opt {
    Opt::flag(name, id).may_not().not_with(ACTIONS & !(1 << id))
}

static OPTIONS: Options = Options {
    ext: "recent",
    table: &[
        action("set", SET),
        action("rcheck", RCHECK),
        action("update", UPDATE),
        action("remove", REMOVE),
        Opt::new("seconds", SECONDS),
        Opt::flag("reap", REAP).needs(1 << SECONDS),
        Opt::new("hitcount", HITCOUNT),
        Opt::flag("rttl", RTTL).not_with(1 << SET | 1 << REMOVE),
        Opt::new("name", NAME),
        Opt::flag("rsource", RSOURCE),
        Opt::flag("rdest", RDEST),
        Opt::new("mask", MASK),
    ],
};

#[derive(Default)]
pub(super) struct Parser {
    action: Option<Wanted<Action>>,
    seconds: Option<u32>,
    reap: bool,
    hitcount: Option<u32>,
    rttl: bool,
    name: Option<String>,
    mask: Option<u32>,
    by_destination: bool,
}

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let act = |value| Some(Wanted { not: given.not, value });
        match given.opt.id {
            SET => self.action = act(Action::Set),
            RCHECK => self.action = act(Action::Check),
            UPDATE => self.action = act(Action::Update),
            REMOVE => self.action = act(Action::Remove),
            SECONDS => self.seconds = Some(given.number32(1, u32::MAX)?),
            HITCOUNT => {
                self.hitcount = Some(given.number32(0, u32::MAX)?).filter(|&hits| hits > 0);
            }
            REAP => self.reap = true,
            RTTL => self.rttl = true,
            RSOURCE => self.by_destination = false,
            RDEST => self.by_destination = true,
            NAME => self.name = Some(cut(given.value, NAME_MAX)),
            _ => {
                let mask = crate::text::parse::parse_addr_mask(given.value);
                let mask = mask.ok().filter(|mask| mask.mask == u32::MAX);
                let mask = mask.ok_or_else(|| {
                    ParseError::new("getaddrinfo: Temporary failure in name resolution\n")
                })?;
                // A lone number is the last part of an address, as `inet_aton` takes it.
                let is_number = given.value.bytes().all(|byte| byte.is_ascii_digit());
                let addr = u32::from(mask.addr);
                self.mask =
                    Some(if is_number && addr & 0x00ff_ffff == 0 { addr >> 24 } else { addr });
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        match self.action {
            Some(_) => Ok(()),
            None => Err(ParseError::new(
                "recent: you must specify one of `--set', `--rcheck' `--update' or `--remove'",
            )),
        }
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Recent(Recent {
            action: self.action.unwrap_or(Wanted::is(Action::Check)),
            seconds: self.seconds,
            reap: self.reap,
            hitcount: self.hitcount,
            rttl: self.rttl,
            name: self.name.unwrap_or_else(|| "DEFAULT".to_string()),
            mask: self.mask.unwrap_or(u32::MAX),
            by_destination: self.by_destination,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_for_so_many_seconds() {
        let (set, check) = (Recent::set("A"), Recent::check_within("A", 10));
        let mut lists = Lists::default();
        let addr = Ipv4Addr::new(10, 0, 0, 1);
        let mut look = |rule: &Recent, secs| lists.look(rule, addr, 64, Instant::from_secs(secs));
        assert!(!look(&check, 0));
        assert!(look(&set, 1));
        assert!(look(&check, 11));
        assert!(!look(&check, 12));
        assert!(!look(&check, 11), "reaped when it was found too old");
    }

    #[test]
    fn forgets_the_longest_unseen_when_the_list_is_full() {
        let mut lists = Lists::default();
        let addr = |i: usize| Ipv4Addr::from(i as u32);
        for i in 0..=LIST_MAX {
            lists.look(&Recent::set("A"), addr(i), 64, Instant::from_secs(i as u64));
        }
        let mut known =
            |i| lists.look(&Recent::check_within("A", 1000), addr(i), 64, Instant::from_secs(200));
        assert_eq!((known(0), known(1), known(LIST_MAX)), (false, true, true));
    }
}
