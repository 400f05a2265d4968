//! The time in front of a line.

use base::Instant;

/// A packet's time: nanoseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub u64);

impl Stamp {
    /// From seconds and microseconds.
    pub const fn new(secs: u64, micros: u32) -> Stamp {
        Stamp(secs.saturating_mul(1_000_000_000).saturating_add(micros as u64 * 1000))
    }

    /// What the world's clocks show at `at`.
    pub fn of(at: Instant) -> Stamp {
        let start = base::calendar::EPOCH_UNIX_SECS.saturating_mul(1_000_000_000);
        Stamp(start.saturating_add(at.as_micros().saturating_mul(1000)))
    }

    /// Whole seconds.
    pub fn secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Microseconds of the second.
    pub fn micros(self) -> u64 {
        self.0 % 1_000_000_000 / 1000
    }
}

/// `-t` and its repetitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StampStyle {
    /// The time of day.
    #[default]
    Time,
    /// `-t`: none.
    None,
    /// `-tt`: seconds since 1970.
    Unix,
    /// `-ttt`: since the packet before.
    Delta,
    /// `-tttt`: date and time of day.
    Date,
    /// `-ttttt`: since the first packet.
    SinceFirst,
}

impl StampStyle {
    /// The style of so many `-t`.
    pub fn of(count: usize) -> StampStyle {
        match count {
            0 => StampStyle::Time,
            1 => StampStyle::None,
            2 => StampStyle::Unix,
            3 => StampStyle::Delta,
            4 => StampStyle::Date,
            _ => StampStyle::SinceFirst,
        }
    }
}

/// What is remembered of packets before.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamps {
    reference: Option<Stamp>,
}

impl Stamps {
    pub(super) fn show(&mut self, at: Stamp, style: StampStyle) -> String {
        let (secs, micros) = (at.secs(), at.micros());
        match style {
            StampStyle::None => String::new(),
            StampStyle::Time => format!("{}.{micros:06} ", time_of_day(secs)),
            StampStyle::Unix => format!("{secs}.{micros:06} "),
            StampStyle::Date => format!("{} {}.{micros:06} ", date(secs), time_of_day(secs)),
            StampStyle::Delta => {
                let before = self.reference.replace(at).unwrap_or(at);
                difference(before, at)
            }
            StampStyle::SinceFirst => difference(*self.reference.get_or_insert(at), at),
        }
    }
}

fn time_of_day(secs: u64) -> String {
    format!("{:02}:{:02}:{:02}", secs / 3600 % 24, secs / 60 % 60, secs % 60)
}

/// With the sign in front; a blank for plus. Hours do not turn into days.
fn difference(from: Stamp, to: Stamp) -> String {
    let sign = if to < from { '-' } else { ' ' };
    let micros = (to.0 / 1000).abs_diff(from.0 / 1000);
    let secs = micros / 1_000_000;
    let (hours, minutes) = (secs / 3600, secs / 60 % 60);
    format!("{sign}{hours:02}:{minutes:02}:{:02}.{:06} ", secs % 60, micros % 1_000_000)
}

/// `2026-01-05`, by the algorithm for the Gregorian calendar that counts from March.
fn date(secs: u64) -> String {
    let days = secs / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
