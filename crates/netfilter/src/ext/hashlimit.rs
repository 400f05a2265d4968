//! `-m hashlimit`: a bucket of tokens for each group of packets (`net/netfilter/xt_hashlimit.c`).

use base::tree::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use base::{Duration, Instant};

use super::limit::{Rate, parse_rate, rate_words, take_token};
use super::{Facts, Match, State};
use crate::rule::{AddrMask, Header};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::trace::{Field, Miss, Seen};

/// Parts of a second that rates are kept in (`XT_HASHLIMIT_SCALE_v2`).
const SCALE: u64 = 1_000_000;
/// The kernel's credits for a microsecond, where it counts 250 or 1000 ticks a second: as many as let a day's
/// just fit into 64 bits (`user2credits`).
const CREDITS: u64 = 137_438_953;
const BURST: u32 = 5;
const BURST_MAX: u64 = 1_000_000;
const GC_INTERVAL: u32 = 1000;
/// Buckets of a hash table where the rule does not say how many, and groups for each where it says no most.
const SIZE_USUAL: u32 = 8192;
const GROUPS_EACH: u32 = 8;

/// Options of `-m hashlimit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashlimit {
    /// `--hashlimit-above`; else `--hashlimit-upto`.
    pub above: bool,
    /// The time of one packet, in microseconds.
    pub period: u64,
    /// `--hashlimit-burst`
    pub burst: u32,
    /// `--hashlimit-mode`: bits of [`MODES`].
    pub mode: u8,
    /// `--hashlimit-name`
    pub name: String,
    /// `--hashlimit-htable-size`; 0: not said.
    pub size: u32,
    /// `--hashlimit-htable-max`; 0: not said.
    pub max: u32,
    /// `--hashlimit-htable-gcinterval`, milliseconds.
    pub gc_interval: u32,
    /// `--hashlimit-htable-expire`, milliseconds.
    pub expire: u32,
    /// `--hashlimit-srcmask`
    pub srcmask: u8,
    /// `--hashlimit-dstmask`
    pub dstmask: u8,
    /// `--hashlimit-rate-match`
    pub rate_match: bool,
}

/// What packets are grouped by, in the order in which it is printed.
pub const MODES: [(&str, u8); 4] = [("srcip", 2), ("srcport", 8), ("dstip", 1), ("dstport", 4)];

/// The group of a packet.
type Group = (Ipv4Addr, Ipv4Addr, u16, u16);

/// The tables of a namespace, by name.
#[derive(Debug, Default)]
pub(crate) struct Tables(BTreeMap<String, BTreeMap<Group, State>>);

impl Hashlimit {
    fn group(&self, facts: &Facts<'_>) -> Group {
        let head = facts.head;
        let (sport, dport) = head.ports().unwrap_or_default();
        let has = |bit: u8| self.mode & bit != 0;
        let masked = |is_asked, addr, len| match is_asked {
            true => AddrMask::prefix(addr, len).addr,
            false => Ipv4Addr::UNSPECIFIED,
        };
        (
            masked(has(2), head.src, self.srcmask),
            masked(has(1), head.dst, self.dstmask),
            if has(8) { sport } else { 0 },
            if has(4) { dport } else { 0 },
        )
    }

    pub(crate) fn check(&self, facts: &mut Facts<'_>) -> Result<(), Miss> {
        let group = self.group(facts);
        let cost = self.period.saturating_mul(1_000_000_000 / SCALE);
        let tables = &mut facts.stores.hashlimit.0;
        if !tables.contains_key(&self.name) {
            tables.insert(self.name.clone(), BTreeMap::new());
        }
        let Some(table) = tables.get_mut(&self.name) else { return Ok(()) };
        let max = self.groups_max();
        if table.len() >= max && !table.contains_key(&group) {
            self.collect(table, facts.now);
        }
        if table.len() >= max && !table.contains_key(&group) {
            return Err(Miss::new(Field::HashRate, Seen::NoRoom));
        }
        let full = self.full();
        let fresh = State { value: full, at: facts.now };
        let bucket = table.entry(group).or_insert(fresh);
        if self.has_expired(bucket, facts.now) {
            *bucket = fresh;
        }
        let is_within = take_token(bucket, facts.now, cost, full);
        if is_within != self.above {
            return Ok(());
        }
        let missing = cost.saturating_sub(bucket.value).div_ceil(1_000_000);
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        let seen = if is_within { Seen::Number(0) } else { Seen::TooFast(missing) };
        Err(Miss::new(Field::HashRate, seen))
    }

    /// Credits of the whole burst; what 64 bits cannot hold is lost, as in the kernel.
    fn burst_credits(&self) -> u64 {
        self.period.wrapping_mul(self.burst.into()).wrapping_mul(CREDITS)
    }

    /// What a full bucket has, in nanoseconds.
    fn full(&self) -> u64 {
        (u128::from(self.burst_credits()) * 1000 / u128::from(CREDITS)) as u64
    }

    /// Forgets the groups that were not seen for long enough.
    fn collect(&self, table: &mut BTreeMap<Group, State>, now: Instant) {
        table.retain(|_, bucket| !self.has_expired(bucket, now));
    }

    fn has_expired(&self, bucket: &State, now: Instant) -> bool {
        now.since(bucket.at) >= Duration::from_millis(self.expire.into())
    }

    /// Groups that one table holds (`htable_create`).
    fn groups_max(&self) -> usize {
        let size = if self.size == 0 { SIZE_USUAL } else { self.size };
        let max = match self.max {
            0 => size.saturating_mul(GROUPS_EACH),
            max => max.max(size),
        };
        max as usize
    }

    /// Whether the kernel would take it (`hashlimit_mt_check_common`).
    pub(super) fn is_sound(&self) -> bool {
        let masks_fit = self.srcmask <= 32 && self.dstmask <= 32;
        let burst_fits = self.burst_credits() >= self.period.wrapping_mul(CREDITS);
        masks_fit
            && burst_fits
            && self.expire > 0
            && self.gc_interval > 0
            && !self.name.contains('/')
    }

    fn modes(&self, between: &str) -> String {
        let named = MODES.iter().filter(|(_, bit)| self.mode & bit != 0);
        named.map(|(name, _)| *name).collect::<Vec<_>>().join(between)
    }

    pub(super) fn wanted(&self) -> String {
        let word = if self.above { "more than" } else { "at most" };
        let each = if self.mode == 0 {
            String::new()
        } else {
            format!(" for each {}", self.modes(" and "))
        };
        format!("{word} {}{each}", rate_words(self.period, SCALE).0)
    }

    pub(super) fn save(&self, out: &mut String) {
        let word = if self.above { "above" } else { "upto" };
        let (rate, seconds) = rate_words(self.period, SCALE);
        let _ = write!(out, " -m hashlimit --hashlimit-{word} {rate}");
        let _ = write!(out, " --hashlimit-burst {}", self.burst);
        if self.mode != 0 {
            let _ = write!(out, " --hashlimit-mode {}", self.modes(","));
        }
        let _ = write!(out, " --hashlimit-name {}", self.name);
        self.print(seconds, "--hashlimit-", out);
        if self.rate_match {
            out.push_str(" --hashlimit-rate-match");
        }
    }

    pub(super) fn list(&self, out: &mut String) {
        let word = if self.above { "above" } else { "up to" };
        let (rate, seconds) = rate_words(self.period, SCALE);
        let _ = write!(out, " limit: {word} {rate} burst {}", self.burst);
        if self.mode != 0 {
            let _ = write!(out, " mode {}", self.modes("-"));
        }
        self.print(seconds, "", out);
        if self.rate_match {
            out.push_str(" rate-match");
        }
    }

    fn print(&self, seconds: u64, before: &str, out: &mut String) {
        for (word, value, usual) in [
            ("htable-size", self.size, 0),
            ("htable-max", self.max, 0),
            ("htable-gcinterval", self.gc_interval, GC_INTERVAL),
            ("htable-expire", self.expire, (seconds * 1000) as u32),
            ("srcmask", u32::from(self.srcmask), 32),
            ("dstmask", u32::from(self.dstmask), 32),
        ] {
            if value != usual {
                let _ = write!(out, " {before}{word} {value}");
            }
        }
    }
}

const UPTO: u8 = 0;
const ABOVE: u8 = 1;
const MODE: u8 = 3;
const NAME: u8 = 4;
const BURST_ID: u8 = 5;
const SRCMASK: u8 = 6;
const DSTMASK: u8 = 7;
const SIZE: u8 = 8;
const MAX: u8 = 9;
const GC: u8 = 10;
const EXPIRE: u8 = 11;

static OPTIONS: Options = Options {
    ext: "hashlimit",
    table: &[
        Opt::new("hashlimit-upto", UPTO).may_not().not_with(1 << ABOVE),
        Opt::new("hashlimit-above", ABOVE).may_not().not_with(1 << UPTO),
        Opt::new("hashlimit", UPTO).may_not().not_with(1 << ABOVE),
        Opt::new("hashlimit-srcmask", SRCMASK),
        Opt::new("hashlimit-dstmask", DSTMASK),
        Opt::new("hashlimit-burst", BURST_ID),
        Opt::new("hashlimit-htable-size", SIZE),
        Opt::new("hashlimit-htable-max", MAX),
        Opt::new("hashlimit-htable-expire", EXPIRE),
        Opt::new("hashlimit-htable-gcinterval", GC),
        Opt::new("hashlimit-mode", MODE),
        Opt::new("hashlimit-name", NAME).must(),
        Opt::flag("hashlimit-rate-match", 12),
    ],
};

pub(super) struct Parser {
    limit: Hashlimit,
    seconds: Option<u64>,
    expire: Option<u32>,
}

impl Default for Parser {
    fn default() -> Self {
        let limit = Hashlimit {
            above: false,
            period: SCALE,
            burst: BURST,
            mode: 0,
            name: String::new(),
            size: 0,
            max: 0,
            gc_interval: GC_INTERVAL,
            expire: 0,
            srcmask: 32,
            dstmask: 32,
            rate_match: false,
        };
        Parser { limit, seconds: None, expire: None }
    }
}

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let limit = &mut self.limit;
        match given.opt.id {
            id @ (UPTO | ABOVE) => {
                let text = given.value;
                if text.contains('b') {
                    return Err(ParseError::unsupported("a rate of bytes"));
                }
                match parse_rate(text, SCALE) {
                    Rate::Period(period, seconds) => {
                        limit.period = period;
                        self.seconds = Some(seconds);
                    }
                    Rate::TooFast => {
                        return Err(ParseError::new(format!("Rate too fast \"{text}\"")));
                    }
                    Rate::Bad => return Err(given.bad(text)),
                }
                limit.above = (id == ABOVE) != given.not;
            }
            MODE => limit.mode = parse_mode(given)?,
            NAME => limit.name = crate::text::words::cut(given.value, 254),
            BURST_ID => {
                let text = given.value;
                if text.contains('b') {
                    return Err(ParseError::unsupported("a burst of bytes"));
                }
                let burst = crate::text::words::parse_u64(text);
                let burst = burst.filter(|burst| (1..=BURST_MAX).contains(burst));
                limit.burst = burst.ok_or_else(|| {
                    ParseError::new(format!(
                        "bad value for option \"--hashlimit-burst\", or out of range (1-{BURST_MAX})."
                    ))
                })? as u32;
            }
            SRCMASK => limit.srcmask = given.number32(0, 128)? as u8,
            DSTMASK => limit.dstmask = given.number32(0, 128)? as u8,
            SIZE => limit.size = given.number32(0, u32::MAX)?,
            MAX => limit.max = given.number32(0, u32::MAX)?,
            GC => limit.gc_interval = given.number32(0, u32::MAX)?,
            EXPIRE => self.expire = Some(given.number32(0, u32::MAX)?),
            _ => limit.rate_match = true,
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        match self.seconds {
            Some(_) => Ok(()),
            None => Err(ParseError::new("You have to specify --hashlimit")),
        }
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        let mut limit = self.limit;
        let usual = (self.seconds.unwrap_or(1) * 1000) as u32;
        limit.expire = self.expire.unwrap_or(usual);
        Ok(Some(Match::Hashlimit(limit)))
    }
}

fn parse_mode(given: &Given<'_, '_>) -> Result<u8, ParseError> {
    let mut bits = 0;
    for name in given.value.split(',').filter(|name| !name.is_empty()) {
        let known = MODES.iter().find(|(known, _)| *known == name);
        bits |= known.ok_or_else(|| given.bad(given.value))?.1;
    }
    Ok(bits)
}
