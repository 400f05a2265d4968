//! Words, numbers, addresses, signs.

use std::net::Ipv6Addr;

use super::FilterError;
use crate::ethernet::Mac;

/// A piece of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A word of the language.
    Word(&'static str),
    /// A sign.
    Sign(&'static str),
    Num(u32),
    /// A dotted address, whole or its first bytes.
    Dotted(String),
    Mac(Mac),
    V6(Ipv6Addr),
    /// Any other word, or one that a backslash makes one.
    Name(String),
}

/// Words that cannot be names; `"a=b"` means that they are one.
const WORDS: [&str; 82] = [
    "and",
    "or",
    "not",
    "dst",
    "src",
    "link",
    "ether",
    "ppp",
    "slip",
    "fddi",
    "tr",
    "wlan",
    "arp",
    "rarp",
    "ip",
    "sctp",
    "tcp",
    "udp",
    "icmp",
    "igmp",
    "igrp",
    "pim",
    "vrrp",
    "carp",
    "radio",
    "ip6",
    "icmp6",
    "ah",
    "esp",
    "atalk",
    "aarp",
    "decnet",
    "lat",
    "sca",
    "moprc",
    "mopdl",
    "iso",
    "esis",
    "es-is",
    "isis",
    "is-is",
    "clnp",
    "stp",
    "ipx",
    "netbeui",
    "host",
    "net",
    "mask",
    "port",
    "portrange",
    "proto",
    "gateway",
    "protochain",
    "type",
    "subtype",
    "dir",
    "less",
    "greater",
    "byte",
    "broadcast",
    "multicast",
    "len",
    "inbound",
    "outbound",
    "ifindex",
    "vlan",
    "mpls",
    "pppoed",
    "pppoes",
    "geneve",
    "llc",
    "ifname",
    "on",
    "rset",
    "ruleset",
    "rnr",
    "srnr",
    "reason",
    "action",
    "addr1",
    "lane",
    "vpi",
];

/// Words for numbers.
const NUMBERS: [(&str, u32); 31] = [
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("tcpflags", 13),
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("icmp6-destinationrunreach", 1),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
];

/// Longest first.
const SIGNS: [&str; 22] = [
    "&&", "||", "!=", "==", "<=", ">=", "<<", ">>", "!", "=", "<", ">", "+", "-", "*", "/", "%",
    "&", "|", "^", "(", ")",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\n', '\t', '\r']);
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let (token, len) = if first == '\\' {
            let name = rest.get(1..).unwrap_or_default();
            let end = name.find([' ', '!', '(', ')', '\n', '\t']).unwrap_or(name.len());
            if end == 0 {
                return Err(FilterError::syntax());
            }
            (Token::Name(name.get(..end).unwrap_or_default().to_string()), end + 1)
        } else if first.is_ascii_alphanumeric() || first == ':' {
            word(rest)?
        } else {
            sign(rest)?
        };
        tokens.push(token);
        rest = rest.get(len..).unwrap_or_default();
    }
}

fn sign(rest: &str) -> Result<(Token, usize), FilterError> {
    let all = SIGNS.iter().chain(&["[", "]", ":"]);
    let sign = all.copied().find(|sign| rest.starts_with(sign)).ok_or_else(FilterError::syntax)?;
    Ok((
        match sign {
            "&&" => Token::Word("and"),
            "||" => Token::Word("or"),
            "!" => Token::Word("not"),
            "==" => Token::Sign("="),
            sign => Token::Sign(sign),
        },
        sign.len(),
    ))
}

/// The longest word, number or address that stands at the beginning.
fn word(rest: &str) -> Result<(Token, usize), FilterError> {
    let run = |is_in: fn(char) -> bool| {
        let end = rest.find(|c| !is_in(c)).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    };
    let plain = run(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let plain = plain.trim_end_matches(['-', '_']);
    let colons = run(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'));
    if colons.len() > plain.len() && colons.contains(':') {
        if let Some(mac) = mac(colons, ':') {
            return Ok((Token::Mac(mac), colons.len()));
        }
        if let Ok(addr) = colons.parse() {
            return Ok((Token::V6(addr), colons.len()));
        }
    }
    if plain.is_empty() {
        return sign(rest);
    }
    Ok((classify(plain)?, plain.len()))
}

fn mac(text: &str, separator: char) -> Option<Mac> {
    let mut octets = [0; 6];
    let mut parts = text.split(separator);
    for octet in &mut octets {
        let part = parts.next().filter(|part| (1..=2).contains(&part.len()))?;
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(Mac(octets))
}

fn classify(word: &str) -> Result<Token, FilterError> {
    match word {
        "ppp" | "link" | "ether" | "slip" | "fddi" | "tr" => return Ok(Token::Word("ether")),
        "length" => return Ok(Token::Word("len")),
        "ifname" | "on" => return Ok(Token::Word("ifname")),
        _ => {}
    }
    if let Some(known) = WORDS.iter().find(|known| **known == word) {
        return Ok(Token::Word(known));
    }
    if let Some((_, number)) = NUMBERS.iter().find(|(name, _)| *name == word) {
        return Ok(Token::Num(*number));
    }
    if let Some(number) = number(word) {
        return number.map(Token::Num);
    }
    let parts: Vec<&str> = word.split('.').collect();
    if parts.len() == 6
        && let Some(mac) = mac(word, '.')
    {
        return Ok(Token::Mac(mac));
    }
    if let Some(mac) = mac(word, '-') {
        return Ok(Token::Mac(mac));
    }
    let is_hex = |part: &&str| part.len() == 4 && part.chars().all(|c| c.is_ascii_hexdigit());
    if parts.len() == 3 && parts.iter().all(is_hex) {
        let bits = u64::from_str_radix(&parts.concat(), 16).unwrap_or_default().to_be_bytes();
        let [_, _, a, b, c, d, e, f] = bits;
        return Ok(Token::Mac(Mac([a, b, c, d, e, f])));
    }
    if (2..=4).contains(&parts.len()) && parts.iter().all(|part| is_number(part)) {
        return Ok(Token::Dotted(word.to_string()));
    }
    Ok(Token::Name(word.to_string()))
}

fn is_number(word: &str) -> bool {
    let hex = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    match hex {
        Some(digits) => !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit()),
        None => !word.is_empty() && word.chars().all(|c| c.is_ascii_digit()),
    }
}

/// A number as C reads it: hexadecimal, octal after a zero, decimal.
fn number(word: &str) -> Option<Result<u32, FilterError>> {
    if !is_number(word) {
        return None;
    }
    let hex = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let (digits, base, kind) = match (hex, word.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16, ""),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8, "octal"),
        _ => (word, 10, ""),
    };
    if kind == "octal" && digits.contains(['8', '9']) {
        return Some(Err(FilterError::new(format!("number {word} contains non-octal digit"))));
    }
    let value = u32::from_str_radix(digits, base);
    Some(value.map_err(|_| FilterError::new(format!("number {word} overflows 32 bits"))))
}

/// The bytes of a dotted address, shifted down when they are not all there, and how many bits there are.
pub(super) fn dotted(text: &str) -> Result<(u32, u32), FilterError> {
    let bad = || FilterError::new(format!("invalid IPv4 address '{text}'"));
    let (mut value, mut bits) = (0u32, 0);
    for part in text.split('.') {
        let byte: u32 = part.parse().map_err(|_| bad())?;
        if byte > 255 {
            return Err(bad());
        }
        value = value << 8 | byte;
        bits += 8;
    }
    Ok((value, bits))
}
