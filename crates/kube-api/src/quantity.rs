//! Quantities of CPU, memory and the like (`apimachinery/pkg/api/resource/quantity.go`).

use std::fmt;

/// A quantity in thousandths of its unit, and the text it was written as.
///
/// Precise to a thousandth, which is what the API server keeps; larger than 2⁶³ units is capped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    text: String,
    milli: i128,
}

impl Quantity {
    /// `100m`, `1.5Gi`, `1e3`, `2`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Quantity> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let digits_end =
            unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (digits, suffix) = unsigned.split_at_checked(digits_end)?;
        if digits.matches('.').count() > 1 || !digits.contains(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let (factor_milli, divisor) = factor(suffix)?;
        // At most 18 digits after the point matter; a thousandth is all that is kept.
        let fraction: String = fraction.chars().take(18).collect();
        let scale = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let digits: i128 = match format!("{whole}{fraction}").trim_start_matches('0') {
            "" => 0,
            digits => digits.parse().unwrap_or(i128::from(i64::MAX)),
        };
        let cap = i128::from(i64::MAX) * 1000;
        let product =
            digits.checked_mul(factor_milli).unwrap_or(cap).min(cap * scale.min(1_000_000));
        // What is smaller than a thousandth is rounded up, as upstream does.
        let below = scale.checked_mul(divisor)?;
        let milli = ((product + below - 1) / below).min(cap);
        let milli = if text.starts_with('-') { -milli } else { milli };
        Some(Quantity { text: text.to_string(), milli })
    }

    /// Thousandths of the unit.
    pub fn milli(&self) -> i128 {
        self.milli
    }

    /// Whole units, rounded up.
    pub fn units(&self) -> i128 {
        self.milli.div_euclid(1000) + i128::from(self.milli.rem_euclid(1000) != 0)
    }
}

impl Quantity {
    /// The text as the API server writes it: no fraction, and the largest suffix that loses nothing
    /// (`CanonicalizeBytes`).
    pub fn canonical(&self) -> String {
        let is_exponent = self.text.contains(['e'])
            || self.text.ends_with(|c: char| c.is_ascii_digit()) && self.text.contains('E');
        if is_exponent || self.text.ends_with(['u', 'n']) {
            // Finer than what is kept, or written in a form of its own.
            return self.text.clone();
        }
        if self.milli % 1000 != 0 {
            return format!("{}m", self.milli);
        }
        let mut units = self.milli / 1000;
        let is_binary = self.text.ends_with('i') && units.unsigned_abs() >= 1024;
        let (base, suffixes) = match is_binary {
            true => (1024, ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]),
            false => (1000, ["", "k", "M", "G", "T", "P", "E"]),
        };
        let mut power = 0;
        while units != 0 && units % base == 0 && power < 6 {
            units /= base;
            power += 1;
        }
        format!("{units}{}", suffixes.get(power).copied().unwrap_or_default())
    }
}

/// What a suffix multiplies with, in thousandths, and what it divides by.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1000 * 1024i128.pow(power), 1));
    let decimal = |power: u32| Some((1000 * 1000i128.pow(power), 1));
    match suffix {
        "" => Some((1000, 1)),
        "m" => Some((1, 1)),
        "u" => Some((1, 1000)),
        "n" => Some((1, 1_000_000)),
        "k" => decimal(1),
        "M" => decimal(2),
        "G" => decimal(3),
        "T" => decimal(4),
        "P" => decimal(5),
        "E" => decimal(6),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10i128.checked_pow(exponent.unsigned_abs().min(30))?;
            if exponent >= 0 {
                Some((1000i128.checked_mul(power)?, 1))
            } else {
                Some((1000, power))
            }
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, milli) in [
            ("100m", Some(100)),
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("1Ki", Some(1_024_000)),
            ("2k", Some(2_000_000)),
            ("1e3", Some(1_000_000)),
            ("1E2", Some(100_000)),
            ("5e-1", Some(500)),
            ("100u", Some(1)),
            ("-2", Some(-2000)),
            (".5", Some(500)),
            ("", None),
            ("lots", None),
            ("1.2.3", None),
            ("1 Gi", None),
            ("1gi", None),
            (".", None),
            ("1e", None),
        ] {
            assert_eq!(Quantity::parse(text).map(|q| q.milli()), milli, "{text}");
        }
        for (text, canonical) in [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("512Mi", "512Mi"),
            ("1500", "1500"),
            ("1000", "1k"),
            ("0.5Ki", "512"),
            ("128974848", "128974848"),
            ("1e3", "1e3"),
            ("2E", "2E"),
            ("100u", "100u"),
            ("0", "0"),
            ("-1.5", "-1500m"),
            ("+2", "2"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().canonical(), canonical, "{text}");
        }
        let huge = Quantity::parse("99999999999999999999999999999999E").unwrap();
        assert_eq!(huge.units(), i128::from(i64::MAX));
    }
}
