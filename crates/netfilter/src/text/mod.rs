//! The text of rules, in iptables 1.8.9's spelling and order.
//!
//! - [`parse`]: the arguments of a rule → [`crate::RuleSpec`];
//! - [`mod@save`]: `iptables-save`, `iptables -S`;
//! - [`mod@restore`]\: `iptables-restore`;
//! - [`mod@list`]: `iptables -L`.
//!
//! **Invariant:** total. Any text is a ruleset or an error that names the line.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

pub mod list;
pub mod parse;
pub mod restore;
pub mod save;

use std::fmt;

use packet::protocol;

pub use parse::parse_rule;
pub use restore::{RestoreError, RestoreOptions, restore};

/// What is wrong with the arguments of a rule, in iptables' words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the message below, with the user's words in it")]
pub enum ParseError {
    UnknownOption(String),
    MissingArgument(String),
    BadArgument(String),
    UnexpectedNot(String),
    UnknownMatch(String),
    UnknownTarget(String),
    UnsupportedTarget(String),
    UnsupportedMatch(String),
    UnknownProtocol(String),
    UnknownHost(String),
    BadMask(String),
    BadIpAddress(String),
    BadPort(String),
    PortsReversed(String),
    BadInterface(String),
    MatchNeedsProtocol(&'static str),
    TwoTargets,
    Repeated(&'static str),
    Missing { ext: &'static str, option: &'static str },
    AtLeastOneOption { ext: &'static str },
    BadValue { ext: &'static str, option: String, value: String },
    BadState { is_state: bool, name: String },
    BadMode(String),
    BadProbability,
    PacketBeyondEvery,
    BadAddrType(String),
    AddrTypeMissing,
    AddrTypeBothLimits,
    MarkWithoutAction,
    RecentWithoutAction,
    UnknownReject(String),
    UnknownTcpFlag(String),
    UnknownIcmpType(String),
}

impl ParseError {
    pub(crate) fn bad(ext: &'static str, option: &str, value: &str) -> ParseError {
        ParseError::BadValue { ext, option: option.to_string(), value: value.to_string() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ParseError as E;
        match self {
            E::UnknownOption(option) => write!(f, "unknown option \"{option}\""),
            E::MissingArgument(option) => write!(f, "option \"{option}\" requires an argument"),
            E::BadArgument(word) => write!(f, "Bad argument `{word}'"),
            E::UnexpectedNot(option) => write!(f, "unexpected ! flag before {option}"),
            E::UnknownMatch(name) => {
                write!(f, "Couldn't load match `{name}':No such file or directory")
            }
            E::UnknownTarget(name) => {
                write!(f, "Couldn't load target `{name}':No such file or directory")
            }
            E::UnsupportedTarget(name) => write!(f, "target `{name}' is not supported by podwire"),
            E::UnsupportedMatch(name) => write!(f, "match `{name}' is not supported by podwire"),
            E::UnknownProtocol(name) => write!(f, "unknown protocol \"{name}\" specified"),
            E::UnknownHost(name) => write!(f, "host/network `{name}' not found"),
            E::BadMask(mask) => write!(f, "invalid mask `{mask}' specified"),
            E::BadIpAddress(addr) => write!(f, "Bad IP address \"{addr}\""),
            E::BadPort(port) => write!(f, "invalid port/service `{port}' specified"),
            E::PortsReversed(range) => write!(f, "invalid portrange ({range}) (min > max)"),
            E::BadInterface(name) => {
                write!(f, "interface name `{name}' must be shorter than IFNAMSIZ (15)")
            }
            E::MatchNeedsProtocol(name) => write!(f, "match `{name}' needs `-p {name}'"),
            E::TwoTargets => f.write_str("multiple -j flags not allowed"),
            E::Repeated(option) => write!(f, "multiple {option} flags not allowed"),
            E::Missing { ext, option } => write!(f, "{ext}: option \"{option}\" must be specified"),
            E::AtLeastOneOption { ext } => {
                write!(f, "{ext}: At least one option is required")
            }
            E::BadValue { ext, option, value } => {
                write!(f, "{ext}: Bad value for \"{option}\" option: \"{value}\"")
            }
            E::BadState { is_state: true, name } => write!(f, "Bad state \"{name}\""),
            E::BadState { is_state: false, name } => write!(f, "Bad ctstate \"{name}\""),
            E::BadMode(mode) => write!(f, "Bad mode \"{mode}\""),
            E::BadProbability => f.write_str(
                "statistic: bad value for option \"--probability\", or out of range (0-1).",
            ),
            E::PacketBeyondEvery => f.write_str("the --packet p must be 0 <= p <= n-1"),
            E::BadAddrType(name) => write!(f, "addrtype: bad type `{name}'"),
            E::AddrTypeMissing => {
                f.write_str("addrtype: you must specify --src-type or --dst-type")
            }
            E::AddrTypeBothLimits => f.write_str(
                "addrtype: you can't specify both --limit-iface-in and --limit-iface-out",
            ),
            E::MarkWithoutAction => f.write_str(
                "MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required",
            ),
            E::RecentWithoutAction => f.write_str(
                "recent: you must specify one of `--set', `--rcheck' `--update' or `--remove'",
            ),
            E::UnknownReject(name) => write!(f, "unknown reject type \"{name}\""),
            E::UnknownTcpFlag(name) => write!(f, "Unknown TCP flag `{name}'"),
            E::UnknownIcmpType(name) => write!(f, "Invalid ICMP type `{name}'"),
        }
    }
}

/// The words of a rule, taken one after the other.
pub(crate) struct Words<'a> {
    rest: std::slice::Iter<'a, String>,
}

impl<'a> Words<'a> {
    pub(crate) fn new(words: &'a [String]) -> Self {
        Words { rest: words.iter() }
    }

    pub(crate) fn next(&mut self) -> Option<&'a str> {
        self.rest.next().map(String::as_str)
    }

    /// The word after `option`.
    pub(crate) fn value(&mut self, option: &str) -> Result<&'a str, ParseError> {
        self.next().ok_or_else(|| ParseError::MissingArgument(option.to_string()))
    }

    /// The number after `option`, from `min` to `max`; `0x` and a leading `0` are understood.
    pub(crate) fn number(
        &mut self,
        ext: &'static str,
        option: &str,
        min: u32,
        max: u32,
    ) -> Result<u32, ParseError> {
        let text = self.value(option)?;
        let number = parse_number(text).filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| ParseError::bad(ext, option, text))
    }

    pub(crate) fn refuse_not(&self, option: &str, not: bool) -> Result<(), ParseError> {
        if not { Err(ParseError::UnexpectedNot(option.to_string())) } else { Ok(()) }
    }
}

/// A number as `strtoul` with base 0 reads it.
pub(crate) fn parse_number(text: &str) -> Option<u32> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(hex, 16).ok();
    }
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u32::from_str_radix(octal, 8).ok(),
        _ if text.starts_with('+') => None,
        _ => text.parse().ok(),
    }
}

/// `value[/mask]`.
pub(crate) fn parse_masked(text: &str) -> Option<(u32, u32)> {
    match text.split_once('/') {
        Some((value, mask)) => Some((parse_number(value)?, parse_number(mask)?)),
        None => Some((parse_number(text)?, u32::MAX)),
    }
}

/// Ports that people write by name (IANA).
const SERVICES: [(&str, u16); 14] = [
    ("ssh", 22),
    ("smtp", 25),
    ("domain", 53),
    ("bootps", 67),
    ("http", 80),
    ("ntp", 123),
    ("snmp", 161),
    ("https", 443),
    ("syslog", 514),
    ("kubernetes", 6443),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("redis", 6379),
    ("http-alt", 8080),
];

/// A port by number or by name.
pub(crate) fn parse_port(text: &str) -> Result<u16, ParseError> {
    let named = SERVICES.iter().find(|(name, _)| *name == text).map(|(_, port)| *port);
    let number = || parse_number(text).and_then(|port| u16::try_from(port).ok());
    named.or_else(number).ok_or_else(|| ParseError::BadPort(text.to_string()))
}

const PROTOCOLS: [(&str, u8); 9] = [
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("icmp", protocol::ICMP),
    ("sctp", protocol::SCTP),
    ("esp", 50),
    ("ah", 51),
    ("gre", 47),
    ("ipencap", protocol::IPIP),
    ("udplite", 136),
];

/// The protocol's name, or its number where it has none here.
pub(crate) fn protocol_word(number: u8) -> String {
    match PROTOCOLS.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => name.to_string(),
        None => number.to_string(),
    }
}

pub(crate) fn parse_protocol(text: &str) -> Result<u8, ParseError> {
    let lower = text.to_ascii_lowercase();
    if lower == "all" {
        return Ok(0);
    }
    let named = PROTOCOLS.iter().find(|(name, _)| *name == lower).map(|(_, number)| *number);
    let number = || parse_number(text).and_then(|number| u8::try_from(number).ok());
    named.or_else(number).ok_or_else(|| ParseError::UnknownProtocol(text.to_string()))
}

/// Appends a word in double quotes, as `iptables-save` quotes comments: always but for plain words.
pub(crate) fn quote(word: &str, out: &mut String) {
    out.push('"');
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// Splits a line of `iptables-restore` into words: blanks separate, double quotes keep together, a
/// backslash inside quotes takes the next character as it is.
pub(crate) fn split_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut in_quotes = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                in_quotes = !in_quotes;
                word.get_or_insert_default();
            }
            '\\' if in_quotes => word.get_or_insert_default().extend(chars.next()),
            c if c.is_ascii_whitespace() && !in_quotes => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_iptables_restore_splits_them() {
        let line = r#"-A X -m comment --comment "a \"b\" c\\d" -j Y "" "#;
        assert_eq!(
            split_words(line),
            ["-A", "X", "-m", "comment", "--comment", r#"a "b" c\d"#, "-j", "Y", ""]
        );
    }

    #[test]
    fn numbers_are_read_as_strtoul_reads_them() {
        for (text, number) in [
            ("0x4000", Some(0x4000)),
            ("010", Some(8)),
            ("0", Some(0)),
            ("12", Some(12)),
            ("+1", None),
            ("-1", None),
            ("", None),
            ("4294967296", None),
            ("08", None),
        ] {
            assert_eq!(parse_number(text), number, "{text}");
        }
    }
}
