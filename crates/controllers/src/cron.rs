//! Schedules of CronJobs (`robfig/cron/v3`, `ParseStandard`).

use base::Utc;
use base::zones::Zone;

/// How far ahead the next time is looked for.
const YEARS: i64 = 5;

/// When something is to happen again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Minutes, hours, days of the month, months, days of the week: one bit for each.
    fields: [u64; 5],
    /// Days of the month, and of the week, that are not restricted.
    any_day: (bool, bool),
    /// `@every`: seconds between two times.
    every: Option<i64>,
}

/// Name of a field, first and last value.
const FIELDS: [(u64, u64); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
const MONTHS: &str = "jan feb mar apr may jun jul aug sep oct nov dec";
const DAYS: &str = "sun mon tue wed thu fri sat";

impl Schedule {
    /// `*/5 * * * *`, `0 9 * * mon-fri`, `@hourly`, `@every 90s`. The error is in the real parser's words.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        if text.is_empty() {
            return Err("empty spec string".to_string());
        }
        if let Some(word) = text.strip_prefix('@') {
            return Schedule::descriptor(text, word);
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() != 5 {
            return Err(format!("expected exactly 5 fields, found {}: {words:?}", words.len())
                .replace("\", \"", " ")
                .replace('"', ""));
        }
        let mut fields = [0; 5];
        for (at, (word, (first, last))) in words.iter().zip(FIELDS).enumerate() {
            let names = match at {
                3 => MONTHS,
                4 => DAYS,
                _ => "",
            };
            let field = field(word, first, last, names)?;
            if let Some(slot) = fields.get_mut(at) {
                *slot = field;
            }
        }
        let is_any = |at: usize| {
            words.get(at).is_some_and(|w| {
                w.split(',').any(|p| matches!(p, "*" | "?") || p.starts_with("*/1") && p.len() == 3)
            })
        };
        Ok(Schedule { fields, any_day: (is_any(2), is_any(4)), every: None })
    }

    fn descriptor(text: &str, word: &str) -> Result<Schedule, String> {
        let standard = match word {
            "yearly" | "annually" => "0 0 1 1 *",
            "monthly" => "0 0 1 * *",
            "weekly" => "0 0 * * 0",
            "daily" | "midnight" => "0 0 * * *",
            "hourly" => "0 * * * *",
            _ => {
                let every = word
                    .strip_prefix("every ")
                    .ok_or_else(|| format!("unrecognized descriptor: {text}"))?;
                let seconds = seconds(every).ok_or_else(|| {
                    format!("failed to parse duration {text}: time: invalid duration {every:?}")
                })?;
                let every = Some(seconds.max(1));
                return Ok(Schedule { fields: [0; 5], any_day: (true, true), every });
            }
        };
        Schedule::parse(standard)
    }

    fn has(&self, field: usize, value: u32) -> bool {
        self.fields.get(field).is_some_and(|bits| bits >> value.min(63) & 1 == 1)
    }

    fn fits_day(&self, date: &Utc) -> bool {
        // 0 is Monday in our calendar, Sunday in cron's.
        let (day, weekday) = (self.has(2, date.day), self.has(4, (date.weekday + 1) % 7));
        let (any_day, any_weekday) = self.any_day;
        let fits = if any_day || any_weekday { day && weekday } else { day || weekday };
        fits && self.has(3, date.month)
    }

    /// The first time after `after`, in seconds since 1970, on the clocks of a zone. A time that those skip when they
    /// go forward does not come that day.
    pub fn next(&self, after: i64, zone: Zone) -> Option<i64> {
        if let Some(every) = self.every {
            return Some(after + every);
        }
        let mut from = after;
        // The clocks change twice a year: it is a matter of one or two turns.
        for _ in 0..4 {
            let ahead = zone.ahead(from);
            let next = self.next_on(from, ahead)?;
            let then = zone.ahead(next);
            if then == ahead {
                return Some(next);
            }
            let other = self.next_on(from, then)?;
            if zone.ahead(other) == then {
                return Some(other);
            }
            from = next.max(other);
        }
        None
    }

    /// The same on a clock that is always so many seconds ahead of UTC.
    fn next_on(&self, after: i64, ahead: i64) -> Option<i64> {
        let local = after.saturating_add(ahead);
        let first = (local.div_euclid(60) + 1) * 60;
        let mut midnight = first.div_euclid(86_400) * 86_400;
        let end = midnight + YEARS * 366 * 86_400;
        while midnight < end {
            if self.fits_day(&Utc::from_unix(midnight, 0)) {
                let start = if midnight < first { (first - midnight) / 60 } else { 0 };
                for minute in start..24 * 60 {
                    let fits =
                        self.has(1, (minute / 60) as u32) && self.has(0, (minute % 60) as u32);
                    if fits {
                        return Some(midnight + minute * 60 - ahead);
                    }
                }
            }
            midnight += 86_400;
        }
        None
    }
}

/// One field: parts with commas, each `*`, `?`, a value or a range, with a step perhaps.
fn field(word: &str, first: u64, last: u64, names: &str) -> Result<u64, String> {
    let mut bits = 0;
    for part in word.split(',').filter(|part| !part.is_empty()) {
        let pieces: Vec<&str> = part.split('/').collect();
        let (range, step) = match pieces.as_slice() {
            [range] => (*range, None),
            [range, step] => (*range, Some(number(step)?)),
            _ => return Err(format!("too many slashes: {part}")),
        };
        let ends: Vec<&str> = range.split('-').collect();
        let (low, high) = match ends.as_slice() {
            ["*" | "?"] => (first, last),
            // `5/15` means from 5 on.
            [one] => {
                let value = value(one, names, first)?;
                (value, if step.is_some() { last } else { value })
            }
            [low, high] => (value(low, names, first)?, value(high, names, first)?),
            _ => return Err(format!("too many hyphens: {part}")),
        };
        let step = step.unwrap_or(1);
        if low < first {
            return Err(format!("beginning of range ({low}) below minimum ({first}): {part}"));
        }
        if high > last {
            return Err(format!("end of range ({high}) above maximum ({last}): {part}"));
        }
        if low > high {
            return Err(format!("beginning of range ({low}) beyond end of range ({high}): {part}"));
        }
        if step == 0 {
            return Err(format!("step of range should be a positive number: {part}"));
        }
        let mut at = low;
        while at <= high {
            bits |= 1 << at;
            at = at.saturating_add(step);
        }
    }
    Ok(bits)
}

fn value(word: &str, names: &str, first: u64) -> Result<u64, String> {
    let lower = word.to_ascii_lowercase();
    match names.split(' ').position(|name| !name.is_empty() && name == lower) {
        Some(at) => Ok(at as u64 + first),
        None => number(word),
    }
}

fn number(word: &str) -> Result<u64, String> {
    if let Some(digits) = word.strip_prefix('-').filter(|d| d.parse::<u32>().is_ok()) {
        return Err(format!("negative number (-{digits}) not allowed: {word}"));
    }
    word.parse::<u32>().map(u64::from).map_err(|_| {
        format!("failed to parse int from {word}: strconv.Atoi: parsing {word:?}: invalid syntax")
    })
}

/// `1h30m`, in seconds.
fn seconds(text: &str) -> Option<i64> {
    let (mut total, mut digits) = (0i64, String::new());
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        let amount: i64 = std::mem::take(&mut digits).parse().ok()?;
        total = total.checked_add(amount.checked_mul(unit)?)?;
    }
    (digits.is_empty() && total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::zones;

    #[test]
    fn the_next_time() {
        let at = |text: &str| Utc::parse_rfc3339(text).map(|utc| utc.unix_secs()).unwrap();
        for (schedule, after, next) in [
            ("* * * * *", "2026-01-05T09:00:00Z", "2026-01-05T09:01:00Z"),
            ("*/15 * * * *", "2026-01-05T09:46:10Z", "2026-01-05T10:00:00Z"),
            ("30 2 * * *", "2026-01-05T09:00:00Z", "2026-01-06T02:30:00Z"),
            ("0 9 * * mon-fri", "2026-01-09T09:00:00Z", "2026-01-12T09:00:00Z"),
            ("0 0 1,15 * *", "2026-01-05T09:00:00Z", "2026-01-15T00:00:00Z"),
            ("0 0 13 * 5", "2026-01-05T09:00:00Z", "2026-01-09T00:00:00Z"),
            ("5/20 * * * *", "2026-01-05T09:06:00Z", "2026-01-05T09:25:00Z"),
            ("0 12 29 feb ?", "2026-01-05T09:00:00Z", "2028-02-29T12:00:00Z"),
            ("0 0 * * 0", "2026-01-05T09:00:00Z", "2026-01-11T00:00:00Z"),
            ("@hourly", "2026-01-05T09:00:00Z", "2026-01-05T10:00:00Z"),
            ("@every 1m30s", "2026-01-05T09:00:00Z", "2026-01-05T09:01:30Z"),
        ] {
            let found = Schedule::parse(schedule).unwrap().next(at(after), zones::UTC);
            assert_eq!(found, Some(at(next)), "{schedule} after {after}");
        }
        let daily = Schedule::parse("0 0 * * *").unwrap();
        let zone = |name: &str| zones::find(name).unwrap();
        let east = daily.next(at("2026-01-05T09:00:00Z"), zone("Etc/GMT-2"));
        assert_eq!(east, Some(at("2026-01-05T22:00:00Z")));
        assert_eq!(Schedule::parse("0 0 31 feb *").unwrap().next(0, zones::UTC), None);
        for (schedule, after, next) in [
            ("30 9 * * *", "2026-01-05T09:00:00Z", "2026-01-06T08:30:00Z"),
            ("30 9 * * *", "2026-03-28T09:00:00Z", "2026-03-29T07:30:00Z"),
            // There is no half past two that day.
            ("30 2 * * *", "2026-03-28T09:00:00Z", "2026-03-30T00:30:00Z"),
            ("30 9 * * *", "2026-10-24T09:00:00Z", "2026-10-25T08:30:00Z"),
        ] {
            let found = Schedule::parse(schedule).unwrap().next(at(after), zone("Europe/Berlin"));
            assert_eq!(found, Some(at(next)), "{schedule} after {after}");
        }
    }

    #[test]
    fn what_is_no_schedule() {
        for (text, error) in [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("@often", "unrecognized descriptor: @often"),
            (
                "x * * * *",
                "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
        ] {
            assert_eq!(Schedule::parse(text), Err(error.to_string()), "{text}");
        }
    }
}
