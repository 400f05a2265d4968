//! `-m limit`: a bucket of tokens (`net/netfilter/xt_limit.c`, `net/netfilter/nft_limit.c`).

use std::fmt::Write as _;

use base::Instant;

use super::{Match, State};
use crate::rule::Header;
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::trace::{Field, Miss, Seen};

/// Parts of a second that rates are kept in (`XT_LIMIT_SCALE`).
const SCALE: u64 = 10_000;
const BURST: u32 = 5;

/// Options of `-m limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// `--limit`: the time of one packet, in 1/10,000 seconds, as the kernel is told it.
    pub period: u64,
    /// `--limit-burst`: so many at once.
    pub burst: u32,
}

/// Names of times and their length in seconds, longest first.
pub(super) const UNITS: [(&str, u64); 4] =
    [("day", 86_400), ("hour", 3600), ("min", 60), ("sec", 1)];

/// What a rate typed by a user comes to.
pub(super) enum Rate {
    /// The time of one packet in parts of `1/scale` seconds, and the seconds of the unit.
    Period(u64, u64),
    Bad,
    TooFast,
}

/// `5/min`, `5/m`, `5`, in parts of `1/scale` seconds.
pub(super) fn parse_rate(text: &str, scale: u64) -> Rate {
    let (number, seconds) = match text.split_once('/') {
        None => (text, 1),
        Some((number, unit)) => {
            let unit = unit.to_ascii_lowercase();
            let full = [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400)];
            let known = full.iter().find(|(name, _)| !unit.is_empty() && name.starts_with(&unit));
            match known {
                Some((_, seconds)) => (number, *seconds),
                None => return Rate::Bad,
            }
        }
    };
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    let rate = number.get(..end).and_then(|digits| digits.parse::<u64>().ok()).unwrap_or(0);
    match rate {
        0 => Rate::Bad,
        _ if rate / seconds > scale => Rate::TooFast,
        _ => Rate::Period((scale * seconds / rate).max(1), seconds),
    }
}

/// The rate in the unit that shows it best, and that unit's seconds (`print_rate`).
pub(super) fn rate_words(period: u64, scale: u64) -> (String, u64) {
    let period = period.max(1);
    let mut chosen = UNITS[0];
    for unit in UNITS.into_iter().skip(1) {
        let parts = unit.1 * scale;
        if period > parts || parts / period < parts % period {
            break;
        }
        chosen = unit;
    }
    (format!("{}/{}", chosen.1 * scale / period, chosen.0), chosen.1)
}

/// A bucket that is full at first, fills by a nanosecond each nanosecond up to `full`, and gives `cost` for each
/// packet.
pub(super) fn take_token(bucket: &mut State, now: Instant, cost: u64, full: u64) -> bool {
    let passed = now.as_micros().saturating_sub(bucket.at.as_micros()).saturating_mul(1000);
    bucket.at = now;
    bucket.value = bucket.value.saturating_add(passed).min(full);
    let has_enough = bucket.value >= cost;
    if has_enough {
        bucket.value -= cost;
    }
    has_enough
}

impl Limit {
    /// Nanoseconds of one packet.
    fn cost(&self) -> u64 {
        self.period.saturating_mul(1_000_000_000 / SCALE)
    }

    pub(super) fn initial_state(&self) -> u64 {
        self.cost().saturating_mul(u64::from(self.burst))
    }

    pub(crate) fn check(&self, now: Instant, state: &mut State) -> Result<(), Miss> {
        let full = self.cost().saturating_mul(u64::from(self.burst).max(1));
        if take_token(state, now, self.cost(), full) {
            return Ok(());
        }
        let missing = (self.cost() - state.value).div_ceil(1_000_000);
        Err(Miss::new(Field::Rate, Seen::TooFast(u32::try_from(missing).unwrap_or(u32::MAX))))
    }

    fn rate(&self) -> String {
        rate_words(self.period, SCALE).0
    }

    pub(super) fn wanted(&self) -> String {
        format!("at most {} after {} at once", self.rate(), self.burst)
    }

    pub(super) fn save(&self, out: &mut String) {
        let _ = write!(out, " -m limit --limit {}", self.rate());
        if self.burst != BURST {
            let _ = write!(out, " --limit-burst {}", self.burst);
        }
    }

    pub(super) fn list(&self, out: &mut String) {
        let _ = write!(out, " limit: avg {} burst {}", self.rate(), self.burst);
    }
}

static OPTIONS: Options =
    Options { ext: "limit", table: &[Opt::new("limit", 0), Opt::new("limit-burst", 1)] };

pub(super) struct Parser(Limit);

impl Default for Parser {
    fn default() -> Self {
        // Three in an hour.
        Parser(Limit { period: SCALE * 3600 / 3, burst: BURST })
    }
}

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        if given.opt.id == 1 {
            // None at all is taken for the default.
            let burst = given.number32(0, 10_000)?;
            self.0.burst = if burst == 0 { BURST } else { burst };
            return Ok(());
        }
        let text = given.value;
        self.0.period = match parse_rate(text, SCALE) {
            Rate::Period(period, _) => period,
            Rate::TooFast => return Err(ParseError::new(format!("Rate too fast \"{text}\""))),
            Rate::Bad => return Err(ParseError::new(format!("bad rate \"{text}\"'"))),
        };
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Limit(self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_then_one_at_a_time() {
        let limit = Limit { period: SCALE, burst: 3 };
        let mut state = State { value: limit.initial_state(), at: Instant::ZERO };
        let mut pass = |millis| limit.check(Instant::from_millis(millis), &mut state).is_ok();
        assert_eq!([pass(0), pass(0), pass(0), pass(0)], [true, true, true, false]);
        assert_eq!([pass(999), pass(1000), pass(1001)], [false, true, false]);
        assert_eq!([pass(3000), pass(3000), pass(3000)], [true, true, false]);
        assert_eq!(
            [pass(90_000), pass(90_000), pass(90_000), pass(90_000)],
            [true, true, true, false]
        );
    }
}
