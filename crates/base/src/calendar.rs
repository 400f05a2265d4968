//! What the clocks of the virtual world show: UTC, counted from a fixed moment.

use std::fmt;

use crate::time::Instant;

/// Unix time of [`Instant::ZERO`]: 2026-01-05 09:00:00 UTC, a Monday. The same for every lab, so that the
/// same seed and commands give the same bytes.
pub const EPOCH_UNIX_SECS: u64 = 1_767_603_600;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    /// For instance 2026.
    pub year: u32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
    /// 0 to 999,999.
    pub micros: u32,
    /// 0 is Monday.
    pub weekday: u32,
}

impl Utc {
    /// What the clocks show at `at`.
    pub fn at(at: Instant) -> Utc {
        let secs = i64::try_from(EPOCH_UNIX_SECS + at.as_secs()).unwrap_or(i64::MAX);
        Utc::from_unix(secs, (at.as_micros() % 1_000_000) as u32)
    }

    /// The moment so many seconds and microseconds after 1970-01-01. What lies before the year 0 or after
    /// the year 9999 counts as their beginning and end: four digits are what stamps have.
    pub fn from_unix(secs: i64, micros: u32) -> Utc {
        // Counted from 0000-01-01, so that nothing is negative.
        let since_0 = secs.clamp(FIRST_UNIX_SECS, LAST_UNIX_SECS) - FIRST_UNIX_SECS;
        let (days, second_of_day) = ((since_0 / 86_400) as u64, (since_0 % 86_400) as u32);
        let (year, month, day) = civil_from_days(days);
        Utc {
            year,
            month,
            day,
            hour: second_of_day / 3600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
            micros,
            // 0000-01-01 was a Saturday.
            weekday: ((days + 5) % 7) as u32,
        }
    }

    /// Seconds since 1970-01-01.
    pub fn unix_secs(&self) -> i64 {
        let days = days_from_civil(self.year, self.month, self.day) as i64;
        let second_of_day = self.hour * 3600 + self.minute * 60 + self.second;
        FIRST_UNIX_SECS + days * 86_400 + i64::from(second_of_day)
    }

    /// Reads a stamp as Go's `time.RFC3339` reads it: `2026-01-05T09:00:00Z`, with any number of digits
    /// after the second, and an offset instead of `Z`.
    pub fn parse_rfc3339(text: &str) -> Option<Utc> {
        let date_and_time = text.get(..19)?;
        let mut shape = date_and_time.bytes().zip(b"0000-00-00T00:00:00".iter());
        if !shape.all(|(c, want)| if *want == b'0' { c.is_ascii_digit() } else { c == *want }) {
            return None;
        }
        let number = |from: usize, to: usize| date_and_time.get(from..to)?.parse::<u32>().ok();
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let in_range = (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        let (micros, zone) = fraction(text.get(19..)?)?;
        let offset = offset_secs(zone)?;
        if !in_range {
            return None;
        }
        let local = Utc { year, month, day, hour, minute, second, micros, weekday: 0 };
        let secs = local.unix_secs() - offset;
        let fits = (FIRST_UNIX_SECS..=LAST_UNIX_SECS).contains(&secs);
        fits.then(|| Utc::from_unix(secs, micros))
    }

    fn day_name(&self) -> &'static str {
        DAYS[self.weekday as usize % 7]
    }

    fn month_name(&self) -> &'static str {
        MONTHS[(self.month as usize - 1) % 12]
    }

    /// `Mon, 05 Jan 2026 09:00:00 GMT`, as HTTP dates things (RFC 9110 §5.6.7).
    pub fn http(&self) -> String {
        format!(
            "{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
            self.day_name(),
            self.day,
            self.month_name(),
            self.year,
            self.hour,
            self.minute,
            self.second
        )
    }

    /// `Mon Jan  5 09:00:00 2026`, as the C library's `ctime` prints it.
    pub fn ctime(&self) -> String {
        format!(
            "{} {} {:2} {:02}:{:02}:{:02} {}",
            self.day_name(),
            self.month_name(),
            self.day,
            self.hour,
            self.minute,
            self.second,
            self.year
        )
    }

    /// `Mon, 05 Jan 2026 09:00:00 +0000` (RFC 1123 with a numeric zone), as kubectl prints times.
    pub fn rfc1123z(&self) -> String {
        self.http().replace("GMT", "+0000")
    }

    /// `05/Jan/2026:09:00:00 +0000`, as web servers log it.
    pub fn access_log(&self) -> String {
        format!(
            "{:02}/{}/{}:{:02}:{:02}:{:02} +0000",
            self.day,
            self.month_name(),
            self.year,
            self.hour,
            self.minute,
            self.second
        )
    }

    /// `2026-01-05T09:00:00.000000Z`, as Kubernetes objects have it where seconds are too coarse.
    pub fn rfc3339_micros(&self) -> String {
        self.to_string().replace('Z', &format!(".{:06}Z", self.micros))
    }

    /// `09:00:00.000000`, as tcpdump prints it.
    pub fn time_of_day(&self) -> String {
        format!("{:02}:{:02}:{:02}.{:06}", self.hour, self.minute, self.second, self.micros)
    }
}

impl fmt::Display for Utc {
    /// `2026-01-05T09:00:00Z`, as Kubernetes objects have it (RFC 3339).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            self.year, self.month, self.day, self.hour, self.minute, self.second
        )
    }
}

/// The microseconds of `.25Z`, and what follows the fraction; without one there are none.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(digits) = text.strip_prefix(['.', ',']) else { return Some((0, text)) };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, zone) = digits.split_at_checked(end)?;
    if digits.is_empty() {
        return None;
    }
    let micros = format!("{digits:0<6}").get(..6)?.parse().ok()?;
    Some((micros, zone))
}

/// The seconds by which a zone is ahead of UTC: `Z`, `+02:00`.
fn offset_secs(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
    let two_digits = |text: &str| {
        let fits = text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
        fits.then(|| text.parse::<i64>().ok())?
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Unix time of 0000-01-01 00:00:00.
const FIRST_UNIX_SECS: i64 = -62_167_219_200;
/// Unix time of 9999-12-31 23:59:59.
const LAST_UNIX_SECS: i64 = 253_402_300_799;

/// Howard Hinnant's algorithms count years from March, so that a leap day is the last of its year; this is
/// the number of days from 0000-01-01 to 0000-03-01.
const DAYS_TO_MARCH: u64 = 60;
const DAYS_OF_400_YEARS: u64 = 146_097;

/// Year, month and day of a day counted from 0000-01-01 (Howard Hinnant's `civil_from_days`).
fn civil_from_days(days: u64) -> (u32, u32, u32) {
    // One era is added, so that the two months before 0000-03-01 are not negative, and taken off the year.
    let shifted = days + DAYS_OF_400_YEARS - DAYS_TO_MARCH;
    let era = shifted / DAYS_OF_400_YEARS;
    let day_of_era = shifted % DAYS_OF_400_YEARS;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2) - 400;
    (year as u32, month as u32, day as u32)
}

/// The day counted from 0000-01-01 (Howard Hinnant's `days_from_civil`).
fn days_from_civil(year: u32, month: u32, day: u32) -> u64 {
    let shifted_year = u64::from(year) + 400 - u64::from(month <= 2);
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let shifted_month = u64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * shifted_month + 2) / 5 + u64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_OF_400_YEARS + day_of_era + DAYS_TO_MARCH - DAYS_OF_400_YEARS
}

fn days_in_month(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_some_later_days() {
        let show = |secs| Utc::at(Instant::from_secs(secs)).to_string();
        assert_eq!(show(0), "2026-01-05T09:00:00Z");
        assert_eq!(show(54 * 86_400), "2026-02-28T09:00:00Z");
        assert_eq!(show(55 * 86_400), "2026-03-01T09:00:00Z");
        assert_eq!(show((365 * 2 + 55) * 86_400), "2028-02-29T09:00:00Z");
    }

    #[test]
    fn the_forms_of_the_tools() {
        let utc = Utc::at(Instant::from_micros(61_000_042));
        assert_eq!(utc.http(), "Mon, 05 Jan 2026 09:01:01 GMT");
        assert_eq!(utc.ctime(), "Mon Jan  5 09:01:01 2026");
        assert_eq!(utc.rfc1123z(), "Mon, 05 Jan 2026 09:01:01 +0000");
        assert_eq!(utc.access_log(), "05/Jan/2026:09:01:01 +0000");
        assert_eq!(utc.time_of_day(), "09:01:01.000042");
    }
    #[test]
    fn stamps_as_go_reads_them() {
        let read = |text: &str| Utc::parse_rfc3339(text).map(|utc| utc.rfc3339_micros());
        for (text, same) in [
            ("2026-01-05T09:00:00Z", "2026-01-05T09:00:00.000000Z"),
            ("2026-01-05T09:00:00.25Z", "2026-01-05T09:00:00.250000Z"),
            ("2026-01-05T09:00:00,123456789Z", "2026-01-05T09:00:00.123456Z"),
            ("2026-01-05T10:30:00+01:30", "2026-01-05T09:00:00.000000Z"),
            ("2025-12-31T23:00:00-10:00", "2026-01-01T09:00:00.000000Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000000Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59.000000Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(read(text).as_deref(), Some(same), "{text}");
        }
        for bad in [
            "",
            "yesterday",
            "2026-01-05",
            "2026-01-05 09:00:00Z",
            "2026-01-05T09:00:00",
            "2026-01-05T09:00:00z",
            "2026-01-05T09:00:00.Z",
            "2026-01-05T09:00:00+1:00",
            "2026-01-05T09:00:00+24:00",
            "2026-01-05T24:00:00Z",
            "2026-01-05T09:60:00Z",
            "2026-02-29T09:00:00Z",
            "2026-13-01T09:00:00Z",
            "2026-00-01T09:00:00Z",
            "+026-01-05T09:00:00Z",
            "2026-01-0€T09:00:00Z",
            "9999-12-31T23:59:59-01:00",
            "0000-01-01T00:00:00+01:00",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_day_of_the_stamps_calendar_is_itself() {
        let mut before = 0;
        for year in 0..=9999 {
            for month in 1..=12 {
                let days = days_from_civil(year, month, 1);
                assert_eq!(civil_from_days(days), (year, month, 1));
                assert!(days == before, "{year}-{month}");
                before = days + u64::from(days_in_month(year, month));
            }
        }
        let utc = Utc::from_unix(0, 0);
        assert_eq!(utc.http(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(utc.unix_secs(), 0);
        for secs in [i64::MIN, -1, 1_767_603_600, i64::MAX] {
            let clamped = secs.clamp(FIRST_UNIX_SECS, LAST_UNIX_SECS);
            assert_eq!(Utc::from_unix(secs, 0).unix_secs(), clamped);
        }
    }
}
