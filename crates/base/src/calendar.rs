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
        let secs = EPOCH_UNIX_SECS + at.as_secs();
        let days = secs / 86_400;
        let (year, month, day) = civil_from_days(days);
        Utc {
            year,
            month,
            day,
            hour: (secs / 3600 % 24) as u32,
            minute: (secs / 60 % 60) as u32,
            second: (secs % 60) as u32,
            micros: (at.as_micros() % 1_000_000) as u32,
            // 1970-01-01 was a Thursday.
            weekday: ((days + 3) % 7) as u32,
        }
    }

    /// Milliseconds since midnight, as ICMP tells the time (RFC 792).
    pub fn millis_of_day(&self) -> u32 {
        ((self.hour * 60 + self.minute) * 60 + self.second) * 1000 + self.micros / 1000
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

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil_from_days(days: u64) -> (u32, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year as u32, month as u32, day as u32)
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
}
