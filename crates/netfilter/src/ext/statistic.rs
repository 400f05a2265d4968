//! `-m statistic`: by chance, or every so many packets (`net/netfilter/xt_statistic.c`).

use std::fmt::Write as _;

use base::Rng;

use super::Match;
use super::State;
use crate::rule::{Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::trace::{Field, Miss, Seen};

/// 1.0 in the kernel's units.
const ONE: u32 = 0x8000_0000;

/// Options of `-m statistic`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistic {
    /// How it chooses, perhaps reversed.
    pub mode: Wanted<Mode>,
}

/// How `-m statistic` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `--mode random --probability`, in units of 2⁻³¹, as the kernel keeps it.
    Random(u32),
    /// `--mode nth --every every --packet packet`
    Nth {
        /// One packet of so many.
        every: u32,
        /// Which of them, the first being 0.
        packet: u32,
    },
}

impl Statistic {
    /// `--probability p`, rounded to 31 bits as iptables does.
    pub fn random(probability: f64) -> Statistic {
        let scaled = (probability.clamp(0.0, 1.0) * f64::from(ONE)).round();
        Statistic { mode: Wanted::is(Mode::Random(scaled as u32)) }
    }

    /// `--mode nth --every every --packet 0`
    pub fn nth(every: u32) -> Statistic {
        Statistic { mode: Wanted::is(Mode::Nth { every: every.max(1), packet: 0 }) }
    }

    pub(super) fn initial_state(&self) -> Option<u64> {
        match self.mode.value {
            // As iptables hands it over: packet 0 is the first, for which the counter has to wrap.
            Mode::Nth { every, packet } => {
                Some(u64::from(every.saturating_sub(1).saturating_sub(packet)))
            }
            Mode::Random(_) => None,
        }
    }

    /// The counter goes from 0 to `every - 1`; the packet at which it wraps is the one that fits.
    pub(crate) fn check(&self, rng: &mut Rng, count: &mut State) -> Result<(), Miss> {
        let (fits, seen) = match self.mode.value {
            Mode::Random(probability) => {
                let drawn = rng.next_u32() & (ONE - 1);
                (drawn < probability, Seen::Drawn(drawn))
            }
            Mode::Nth { every, .. } => {
                let at = u32::try_from(count.value).unwrap_or(0).saturating_add(1);
                count.value = if at >= every { 0 } else { u64::from(at) };
                (count.value == 0, Seen::Turn { at, of: every })
            }
        };
        if fits == self.mode.not { Err(Miss::new(Field::Turn, seen)) } else { Ok(()) }
    }

    pub(super) fn wanted(&self) -> String {
        match self.mode.value {
            Mode::Random(probability) => {
                format!("less than {:.11}", f64::from(probability) / f64::from(ONE))
            }
            Mode::Nth { every, .. } => format!("every {every}th"),
        }
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m statistic");
        self.print(out, "--");
    }

    pub(super) fn list(&self, out: &mut String) {
        out.push_str(" statistic");
        self.print(out, "");
    }

    fn print(&self, out: &mut String, dashes: &str) {
        let bang = if self.mode.not { " !" } else { "" };
        let _ = match self.mode.value {
            Mode::Random(probability) => {
                let probability = f64::from(probability) / f64::from(ONE);
                write!(out, " {dashes}mode random{bang} {dashes}probability {probability:.11}")
            }
            Mode::Nth { every, packet } => {
                write!(out, " {dashes}mode nth{bang} {dashes}every {every} {dashes}packet {packet}")
            }
        };
    }
}

const MODE: u8 = 0;
const PROBABILITY: u8 = 1;
const EVERY: u8 = 2;
const PACKET: u8 = 3;

static OPTIONS: Options = Options {
    ext: "statistic",
    table: &[
        Opt::new("mode", MODE).must(),
        Opt::new("probability", PROBABILITY).may_not().not_with(1 << EVERY | 1 << PACKET),
        Opt::new("every", EVERY).may_not().not_with(1 << PROBABILITY).needs(1 << PACKET),
        Opt::new("packet", PACKET).not_with(1 << PROBABILITY).needs(1 << EVERY),
    ],
};

#[derive(Default)]
pub(super) struct Parser {
    is_nth: bool,
    not: bool,
    probability: Option<u32>,
    every: Option<u32>,
    packet: Option<u32>,
}

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        match given.opt.id {
            MODE => {
                self.is_nth = match given.value {
                    "random" => false,
                    "nth" => true,
                    other => return Err(ParseError::new(format!("Bad mode \"{other}\""))),
                };
                return Ok(());
            }
            PROBABILITY => {
                let value = given.value.parse::<f64>().ok().filter(|p| (0.0..=1.0).contains(p));
                let value = value.ok_or_else(|| given.out_of_range(0, 1))?;
                self.probability = Some((value * f64::from(ONE)).round() as u32);
            }
            EVERY => self.every = Some(given.number32(1, u32::MAX)?),
            _ => {
                self.packet = Some(given.number32(0, u32::MAX)?);
                return Ok(());
            }
        }
        self.not = given.not;
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        let text = match (self.is_nth, self.probability, self.every, self.packet) {
            (false, None, ..) => "--probability must be specified when using random mode",
            // One of the two alone is named by what is true of all options.
            (true, _, None, None) => "--every and --packet must be specified when using nth mode",
            (true, _, Some(every), Some(packet)) if packet >= every => {
                "the --packet p must be 0 <= p <= n-1"
            }
            _ => return Ok(()),
        };
        Err(ParseError::new(text))
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        let value = match self.is_nth {
            false => Mode::Random(self.probability.unwrap_or(0)),
            true => Mode::Nth { every: self.every.unwrap_or(1), packet: self.packet.unwrap_or(0) },
        };
        Ok(Some(Match::Statistic(Statistic { mode: Wanted { not: self.not, value } })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_of(statistic: &Statistic) -> State {
        State { value: statistic.initial_state().unwrap_or_default(), ..State::default() }
    }

    #[test]
    fn nth_fits_when_its_counter_wraps() {
        let fits = |packet| -> Vec<bool> {
            let mode = Wanted::is(Mode::Nth { every: 3, packet });
            let every_third = Statistic { mode };
            let (mut count, mut rng) = (state_of(&every_third), Rng::new(1));
            (0..7).map(|_| every_third.check(&mut rng, &mut count).is_ok()).collect()
        };
        assert_eq!(fits(0), [true, false, false, true, false, false, true]);
        assert_eq!(fits(1), [false, true, false, false, true, false, false]);
        assert_eq!(fits(2), [false, false, true, false, false, true, false]);
    }

    #[test]
    fn a_chain_of_nth_rules_takes_strict_turns() {
        // Endpoints 0, 1, 2 behind `--every 3`, `--every 2`, and an unconditional rule.
        let rules = [Statistic::nth(3), Statistic::nth(2)];
        let mut counts = [0, 1].map(|i: usize| state_of(&rules[i]));
        let mut rng = Rng::new(1);
        let mut chosen = Vec::new();
        for _ in 0..9 {
            let hit = (0..2).find(|&i| rules[i].check(&mut rng, &mut counts[i]).is_ok());
            chosen.push(hit.unwrap_or(2));
        }
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn probabilities_round_to_31_bits_as_a_node_shows_them() {
        let shown: Vec<String> = (2..8)
            .map(|n| {
                let mut out = String::new();
                Statistic::random(1.0 / f64::from(n)).save(&mut out);
                out.rsplit(' ').next().unwrap().to_string()
            })
            .collect();
        assert_eq!(
            shown,
            [
                "0.50000000000",
                "0.33333333349",
                "0.25000000000",
                "0.20000000019",
                "0.16666666651",
                "0.14285714272"
            ]
        );
    }
}
