//! `-m recent`: has this address been here lately? (`net/netfilter/xt_recent.c`)

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use base::{Duration, FastMap, Instant};

use super::{Facts, Match};
use crate::rule::Wanted;
use crate::text::{ParseError, Words};
use crate::trace::{Field, Miss, Seen};

/// Addresses remembered in one list before the longest unseen is forgotten (`ip_list_tot`).
const LIST_MAX: usize = 100;
/// Sightings remembered of one address (`ip_pkt_list_tot`).
const STAMPS_MAX: usize = 20;
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
        let ttl = head.ttl;
        let fits = facts.recent.look(self, addr, ttl, facts.now);
        if fits == self.action.not {
            return Err(Miss::new(Field::Recent, Seen::Nothing));
        }
        Ok(())
    }

    pub(super) fn wanted(&self) -> String {
        let not = if self.action.not { "not " } else { "" };
        let within = self.seconds.map(|secs| format!(" within {secs} s")).unwrap_or_default();
        format!("it {not}to have been seen{within} in {}", self.name)
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
        out.push_str(" recent:");
        let bang = if self.action.not { " !" } else { "" };
        let action = match self.action.value {
            Action::Set => "SET",
            Action::Check => "CHECK",
            Action::Update => "UPDATE",
            Action::Remove => "REMOVE",
        };
        let _ = write!(out, "{bang} {action}");
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
}

#[derive(Debug)]
struct Entry {
    ttl: u8,
    stamps: VecDeque<Instant>,
}

impl Lists {
    fn look(&mut self, rule: &Recent, addr: Ipv4Addr, ttl: u8, now: Instant) -> bool {
        let list = self.0.entry(rule.name.clone()).or_default();
        let ttl_wanted = rule.rttl.then_some(ttl);
        let is_known = list
            .entries
            .get(&addr)
            .is_some_and(|entry| ttl_wanted.is_none_or(|ttl| entry.ttl == ttl));
        match rule.action.value {
            Action::Set => {
                list.see(addr, ttl, now);
                return true;
            }
            Action::Remove => {
                if is_known {
                    list.forget(addr);
                }
                return is_known;
            }
            Action::Check | Action::Update => {}
        }
        if !is_known {
            return false;
        }
        let since = rule.seconds.map(|secs| (now, Duration::from_secs(u64::from(secs))));
        let is_fresh = |stamp: Instant| since.is_none_or(|(now, within)| now - stamp <= within);
        let Some(entry) = list.entries.get_mut(&addr) else { return false };
        let hits = entry.stamps.iter().filter(|&&stamp| is_fresh(stamp)).count() as u32;
        let fits = hits >= rule.hitcount.unwrap_or(1);
        if rule.reap {
            list.reap(is_fresh);
        }
        if fits && rule.action.value == Action::Update {
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
        if entry.stamps.len() > STAMPS_MAX {
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
    fn option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<bool, ParseError> {
        let mut act = |value| self.action = Some(Wanted { not, value });
        match option {
            "--set" => act(Action::Set),
            "--rcheck" => act(Action::Check),
            "--update" => act(Action::Update),
            "--remove" => act(Action::Remove),
            "--seconds" => self.seconds = Some(words.number("recent", option, 1, u32::MAX)?),
            "--hitcount" => self.hitcount = Some(words.number("recent", option, 1, 255)?),
            "--reap" => self.reap = true,
            "--rttl" => self.rttl = true,
            "--rsource" => self.by_destination = false,
            "--rdest" => self.by_destination = true,
            "--name" => {
                let name = words.value(option)?;
                if name.len() > NAME_MAX || name.is_empty() {
                    return Err(ParseError::bad("recent", option, name));
                }
                self.name = Some(name.to_string());
            }
            "--mask" => {
                let text = words.value(option)?;
                let mask = text.parse::<Ipv4Addr>();
                self.mask = Some(mask.map_err(|_| ParseError::bad("recent", option, text))?.into());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self: Box<Self>) -> Result<Match, ParseError> {
        let action = self.action.ok_or(ParseError::RecentWithoutAction)?;
        Ok(Match::Recent(Recent {
            action,
            seconds: self.seconds,
            reap: self.reap,
            hitcount: self.hitcount,
            rttl: self.rttl,
            name: self.name.unwrap_or_else(|| "DEFAULT".to_string()),
            mask: self.mask.unwrap_or(u32::MAX),
            by_destination: self.by_destination,
        }))
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
