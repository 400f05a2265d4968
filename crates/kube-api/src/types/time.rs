//! Stamps of objects: RFC 3339 in UTC.

use std::fmt;

use base::Utc;
use serde_json::Value;

use super::{Field, Typed};
use crate::schema::Type;

/// A moment to the second; seconds since 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

/// A moment to the microsecond; microseconds since 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MicroTime(pub i64);

impl Time {
    /// Reads a stamp; `None` for what is none.
    pub fn parse(text: &str) -> Option<Time> {
        Some(Time(Utc::parse_rfc3339(text)?.unix_secs()))
    }
}

impl MicroTime {
    /// Reads a stamp; `None` for what is none.
    pub fn parse(text: &str) -> Option<MicroTime> {
        let utc = Utc::parse_rfc3339(text)?;
        Some(MicroTime(utc.unix_secs() * 1_000_000 + i64::from(utc.micros)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Utc::from_unix(self.0, 0).fmt(f)
    }
}

impl fmt::Display for MicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.rem_euclid(1_000_000) as u32;
        f.write_str(&Utc::from_unix(self.0.div_euclid(1_000_000), micros).rfc3339_micros())
    }
}

impl Field for Time {
    fn to_json(&self) -> Option<Value> {
        Some(Value::String(self.to_string()))
    }
    fn set(&mut self, value: Value) {
        if let Some(time) = value.as_str().and_then(Time::parse) {
            *self = time;
        }
    }
}

impl Field for MicroTime {
    fn to_json(&self) -> Option<Value> {
        Some(Value::String(self.to_string()))
    }
    fn set(&mut self, value: Value) {
        if let Some(time) = value.as_str().and_then(MicroTime::parse) {
            *self = time;
        }
    }
}

impl Typed for Time {
    const TYPE: Type = Type::Time;
}

impl Typed for MicroTime {
    const TYPE: Type = Type::MicroTime;
}

serde_by_value!(Time);
serde_by_value!(MicroTime);
