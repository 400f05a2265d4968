//! Words and numbers: what every part of the text reads and writes.

use packet::protocol;

use super::ParseError;

/// The number at the beginning of `text` as `strtoull` with base 0 reads it, and what follows.
pub(crate) fn number_prefix(text: &str) -> Option<(u64, &str)> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let hex = hex.filter(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit()));
    let (digits, radix) = match (hex, text.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(_)) => (text, 8),
        _ => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (number, rest) = digits.split_at(end);
    Some((u64::from_str_radix(number, radix).ok()?, rest))
}

/// The whole of `text` as a number.
pub(crate) fn parse_u64(text: &str) -> Option<u64> {
    number_prefix(text).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
}

/// The whole of `text` as a number of 32 bits.
pub(crate) fn parse_number(text: &str) -> Option<u32> {
    parse_u64(text).and_then(|number| number.try_into().ok())
}

/// A port by number or by name.
pub(crate) fn find_port(text: &str) -> Option<u16> {
    let named = || {
        let (tcp, udp) = packet::services::ports_of(text);
        tcp.or(udp)
    };
    parse_number(text).and_then(|port| u16::try_from(port).ok()).or_else(named)
}

/// A port by number or by name, or the words that most extensions have for it.
pub(crate) fn parse_port(text: &str) -> Result<u16, ParseError> {
    find_port(text)
        .ok_or_else(|| ParseError::new(format!("invalid port/service `{text}' specified")))
}

/// Protocols by name, as a Debian system lists them; of two names the first is printed.
const PROTOCOLS: [(&str, u8); 48] = [
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("icmp", protocol::ICMP),
    ("sctp", protocol::SCTP),
    ("igmp", 2),
    ("ggp", 3),
    ("ipencap", protocol::IPIP),
    ("st", 5),
    ("egp", 8),
    ("igp", 9),
    ("pup", 12),
    ("hmp", 20),
    ("xns-idp", 22),
    ("rdp", 27),
    ("iso-tp4", 29),
    ("dccp", 33),
    ("xtp", 36),
    ("ddp", 37),
    ("idpr-cmtp", 38),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("idrp", 45),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("skip", 57),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("rspf", 73),
    ("vmtp", 81),
    ("eigrp", 88),
    ("ospf", 89),
    ("ax.25", 93),
    ("ipip", 94),
    ("etherip", 97),
    ("encap", 98),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("isis", 124),
    ("fc", 133),
    ("mobility-header", 135),
    ("udplite", 136),
];

/// Names of protocols that are read but never printed.
const PROTOCOL_ALIASES: [(&str, u8); 7] = [
    ("mpls-in-ip", 137),
    ("hip", 139),
    ("shim6", 140),
    ("wesp", 141),
    ("rohc", 142),
    ("ipv6-mh", 135),
    ("mh", 135),
];

/// The protocol's name, or its number where it has none.
pub(crate) fn protocol_word(number: u8) -> String {
    let mut known = PROTOCOLS.iter().chain(&PROTOCOL_ALIASES);
    match known.find(|(_, known)| *known == number) {
        Some((name, _)) => name.to_string(),
        None => number.to_string(),
    }
}

/// A protocol by number or by name; 0 is any.
pub(crate) fn parse_protocol(text: &str) -> Result<u8, ParseError> {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "all" | "ip" | "hopopt") {
        return Ok(0);
    }
    let mut known = PROTOCOLS.iter().chain(&PROTOCOL_ALIASES);
    let named = known.find(|(name, _)| *name == lower).map(|(_, number)| *number);
    let number = || parse_number(text).and_then(|number| u8::try_from(number).ok());
    named
        .or_else(number)
        .ok_or_else(|| ParseError::new(format!("unknown protocol \"{lower}\" specified")))
}

/// Appends a word, in double quotes unless it is of letters, digits, `-` and `_` only
/// (`xtables_save_string`).
pub(crate) fn quote(word: &str, out: &mut String) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !word.is_empty() && word.chars().all(is_plain) {
        out.push_str(word);
        return;
    }
    out.push('"');
    for c in word.chars() {
        if matches!(c, '"' | '\\' | '\'') {
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

/// As much of `text` as fits into `max` bytes, as the kernel's arrays cut it.
pub(crate) fn cut(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_string()
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
            ("0x", None),
        ] {
            assert_eq!(parse_number(text), number, "{text}");
        }
        assert_eq!(number_prefix("5/6"), Some((5, "/6")));
        assert_eq!(number_prefix("0x"), Some((0, "x")));
    }

    #[test]
    fn what_is_quoted_is_read_back() {
        for word in ["", "a", "a b", "a\"b\\c'd", "é", "a-b_c"] {
            let mut quoted = String::new();
            quote(word, &mut quoted);
            assert_eq!(split_words(&quoted), [word]);
        }
    }
}
