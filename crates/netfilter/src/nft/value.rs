//! What a rule compares: types, their values, and the values' names.
//!
//! A value of any type is a number of up to 128 bits; a name of an interface is its sixteen bytes, read as one.
//! In keys of sets values stand as bytes, the highest first ([`Type::bytes`] of them), one after the other.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use packet::services;
use smallvec::SmallVec;

use super::lex::Span;

/// The key of an element: the bytes of its values.
pub type Key = SmallVec<[u8; 16]>;

/// Types of values, by nft's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `ipv4_addr`
    Addr,
    /// `inet_proto`
    Proto,
    /// `inet_service`
    Port,
    /// `mark`
    Mark,
    /// `ifname`
    Name,
    /// `iface_index`: kept as the interface's name.
    Iface,
    /// `ct_state`
    CtState,
    /// `ct_status`
    CtStatus,
    /// `ct_dir`
    CtDir,
    /// `fib_addrtype`
    AddrType,
    /// `icmp_type`
    IcmpType,
    /// `icmp_code`
    IcmpCode,
    /// `tcp_flag`
    TcpFlag,
    /// `pkt_type`
    PktType,
    /// `nf_proto`
    Family,
    /// `ether_type`
    EtherType,
    /// `uid`
    Uid,
    /// `gid`
    Gid,
    /// `dscp`
    Dscp,
    /// `time`, in milliseconds.
    Time,
    /// `boolean`: there, or not.
    Exists,
    /// `integer` of so many bytes.
    Number(u8),
}

/// Name, words for errors, bytes, bits, elements on a line when printed (0: each on its own).
type Row = (Type, &'static str, &'static str, u8, u8, u8);

const ROWS: [Row; 21] = [
    (Type::Addr, "ipv4_addr", "IPv4 address", 4, 32, 2),
    (Type::Proto, "inet_proto", "Internet protocol", 1, 8, 5),
    (Type::Port, "inet_service", "internet network service", 2, 16, 5),
    (Type::Mark, "mark", "packet mark", 4, 32, 5),
    (Type::Name, "ifname", "network interface name", 16, 128, 0),
    (Type::Iface, "iface_index", "network interface index", 16, 128, 5),
    (Type::CtState, "ct_state", "conntrack state", 4, 32, 2),
    (Type::CtStatus, "ct_status", "conntrack status", 4, 32, 2),
    (Type::CtDir, "ct_dir", "conntrack direction", 1, 8, 5),
    (Type::AddrType, "fib_addrtype", "fib address type", 4, 32, 0),
    (Type::IcmpType, "icmp_type", "ICMP type", 1, 8, 0),
    (Type::IcmpCode, "icmp_code", "icmp code", 1, 8, 0),
    (Type::TcpFlag, "tcp_flag", "TCP flag", 1, 8, 5),
    (Type::PktType, "pkt_type", "packet type", 1, 8, 2),
    (Type::Family, "nf_proto", "netfilter protocol", 1, 8, 5),
    (Type::EtherType, "ether_type", "Ethernet protocol", 2, 16, 0),
    (Type::Uid, "uid", "user ID", 4, 32, 5),
    (Type::Gid, "gid", "group ID", 4, 32, 5),
    (Type::Dscp, "dscp", "Differentiated Services Code Point", 1, 6, 0),
    (Type::Time, "time", "Relative time", 8, 64, 2),
    (Type::Exists, "boolean", "boolean type", 1, 1, 5),
];

/// Names of values, in the order in which a list of flags prints them.
const NAMES: [(Type, &[(u32, &str)]); 12] = [
    (
        Type::CtState,
        &[(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked")],
    ),
    (
        Type::CtStatus,
        &[
            (1, "expected"),
            (2, "seen-reply"),
            (4, "assured"),
            (8, "confirmed"),
            (16, "snat"),
            (32, "dnat"),
            (512, "dying"),
        ],
    ),
    (Type::CtDir, &[(0, "original"), (1, "reply")]),
    (
        Type::AddrType,
        &[
            (0, "unspec"),
            (1, "unicast"),
            (2, "local"),
            (3, "broadcast"),
            (4, "anycast"),
            (5, "multicast"),
            (6, "blackhole"),
            (7, "unreachable"),
            (8, "prohibit"),
        ],
    ),
    (
        Type::IcmpType,
        &[
            (0, "echo-reply"),
            (3, "destination-unreachable"),
            (4, "source-quench"),
            (5, "redirect"),
            (8, "echo-request"),
            (9, "router-advertisement"),
            (10, "router-solicitation"),
            (11, "time-exceeded"),
            (12, "parameter-problem"),
            (13, "timestamp-request"),
            (14, "timestamp-reply"),
            (15, "info-request"),
            (16, "info-reply"),
            (17, "address-mask-request"),
            (18, "address-mask-reply"),
        ],
    ),
    (
        Type::IcmpCode,
        &[
            (0, "net-unreachable"),
            (1, "host-unreachable"),
            (2, "prot-unreachable"),
            (3, "port-unreachable"),
            (4, "frag-needed"),
            (9, "net-prohibited"),
            (10, "host-prohibited"),
            (13, "admin-prohibited"),
        ],
    ),
    (
        Type::TcpFlag,
        &[
            (1, "fin"),
            (2, "syn"),
            (4, "rst"),
            (8, "psh"),
            (16, "ack"),
            (32, "urg"),
            (64, "ecn"),
            (128, "cwr"),
        ],
    ),
    (
        Type::PktType,
        &[(0, "host"), (0, "unicast"), (1, "broadcast"), (2, "multicast"), (3, "other")],
    ),
    (Type::Family, &[(2, "ipv4"), (10, "ipv6")]),
    (
        Type::EtherType,
        &[(0x0800, "ip"), (0x0806, "arp"), (0x86dd, "ip6"), (0x8100, "8021q"), (0x8100, "vlan")],
    ),
    (
        Type::Dscp,
        &[
            (0x00, "cs0"),
            (0x08, "cs1"),
            (0x10, "cs2"),
            (0x18, "cs3"),
            (0x20, "cs4"),
            (0x28, "cs5"),
            (0x30, "cs6"),
            (0x38, "cs7"),
            (0x00, "df"),
            (0x00, "be"),
            (0x01, "lephb"),
            (0x0a, "af11"),
            (0x0c, "af12"),
            (0x0e, "af13"),
            (0x12, "af21"),
            (0x14, "af22"),
            (0x16, "af23"),
            (0x1a, "af31"),
            (0x1c, "af32"),
            (0x1e, "af33"),
            (0x22, "af41"),
            (0x24, "af42"),
            (0x26, "af43"),
            (0x2c, "va"),
            (0x2e, "ef"),
        ],
    ),
    (Type::Exists, &[(1, "exists"), (0, "missing")]),
];

/// How values are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// `-a`: handles.
    pub handles: bool,
    /// `-s`: without what rules have counted.
    pub stateless: bool,
    /// `-t`: without the elements of sets.
    pub terse: bool,
    /// `-y`: priorities as numbers.
    pub numeric_priority: bool,
    /// `-p`: protocols as numbers.
    pub numeric_protocol: bool,
    /// `-T`: times in seconds.
    pub numeric_time: bool,
    /// `-n`: other names as numbers, too.
    pub numeric_symbols: bool,
    /// `-S`: names of services.
    pub services: bool,
}

impl Type {
    fn row(self) -> Row {
        let integer = |len: u8| (self, "integer", "integer", len, len.saturating_mul(8), 5);
        match self {
            Type::Number(len) => integer(len),
            _ => ROWS.into_iter().find(|row| row.0 == self).unwrap_or(integer(4)),
        }
    }

    /// The type of this name, as `type` of a set takes it.
    pub fn named(name: &str) -> Option<Type> {
        ROWS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What errors call it.
    pub fn words(self) -> &'static str {
        self.row().2
    }

    /// Bytes in a key.
    pub fn bytes(self) -> usize {
        usize::from(self.row().3)
    }

    /// Bits of a value.
    pub fn bits(self) -> u32 {
        u32::from(self.row().4)
    }

    /// Elements of a set printed on one line.
    pub fn on_a_line(self) -> usize {
        usize::from(self.row().5)
    }

    /// The greatest value.
    pub fn max(self) -> u128 {
        u128::MAX >> (128 - self.bits().clamp(1, 128))
    }

    /// Values are sets of flags.
    pub fn is_flags(self) -> bool {
        matches!(self, Type::CtState | Type::CtStatus | Type::TcpFlag)
    }

    /// Values are names, and may be the beginning of one.
    pub fn is_text(self) -> bool {
        matches!(self, Type::Name | Type::Iface)
    }

    /// The kernel keeps it in the machine's order of bytes.
    pub fn is_host_order(self) -> bool {
        use Type::{AddrType, CtState, CtStatus, Gid, Mark, Name, Number, Time, Uid};
        matches!(self, Mark | CtState | CtStatus | AddrType | Uid | Gid | Time | Name | Number(_))
    }

    /// Ranges that are prefixes print as such.
    pub fn has_prefixes(self) -> bool {
        matches!(self, Type::Addr | Type::Mark)
    }

    fn names(self) -> &'static [(u32, &'static str)] {
        NAMES.iter().find(|(ty, _)| *ty == self).map_or(&[], |(_, names)| names)
    }

    /// A flag or value of this name.
    fn find(self, name: &str) -> Option<u128> {
        let found = self.names().iter().find(|(_, known)| *known == name);
        found.map(|(value, _)| u128::from(*value))
    }

    /// Reads a value. The error is nft's, without the place.
    pub fn parse(self, text: &str) -> Result<u128, String> {
        let number = parse_number(text);
        let known = match self {
            Type::Name | Type::Iface => return parse_name(text),
            Type::Addr => {
                return match (text.parse::<Ipv4Addr>(), number) {
                    (Ok(addr), _) => Ok(u32::from(addr).into()),
                    (_, Some(number)) if number <= self.max() => Ok(number),
                    _ => {
                        Err("Could not resolve hostname: Temporary failure in name resolution"
                            .into())
                    }
                };
            }
            Type::Proto => services::protocol_number(text).map(u128::from),
            Type::Port => {
                let (tcp, udp) = services::ports_of(text);
                tcp.or(udp).map(u128::from)
            }
            Type::Time => parse_time(text).map(u128::from),
            Type::Uid | Type::Gid if text == "root" => Some(0),
            _ => self.find(text),
        };
        if let Some(known) = known {
            return Ok(known);
        }
        match number {
            Some(number) if number <= self.max() => Ok(number),
            Some(_) => Err(match self {
                Type::Port => "Service out of range".to_string(),
                Type::Proto => "Protocol out of range".to_string(),
                _ => format!("Value {text} exceeds valid range 0-{}", self.max()),
            }),
            None => Err(match self {
                Type::Port => {
                    "Could not resolve service: Servname not supported for ai_socktype".to_string()
                }
                Type::Proto => "Could not resolve protocol name".to_string(),
                Type::Uid => "User does not exist".to_string(),
                Type::Gid => "Group does not exist".to_string(),
                _ => format!("Could not parse {}", self.words()),
            }),
        }
    }

    /// Prints a value.
    pub fn print(self, value: u128, style: Style, out: &mut String) {
        let number = value as u32;
        let _ = match self {
            Type::Addr => write!(out, "{}", Ipv4Addr::from(number)),
            Type::Mark => write!(out, "0x{value:08x}"),
            Type::Name | Type::Iface => write!(out, "\"{}\"", name_text(value)),
            Type::Time => write!(out, "{}", time_text(value as u64, style)),
            Type::Proto | Type::Family if style.numeric_protocol => write!(out, "{value}"),
            Type::Proto => match services::protocol_name(value as u8) {
                Some(name) => write!(out, "{name}"),
                None => write!(out, "{value}"),
            },
            Type::Port => match services::name_of(value as u16, "tcp").filter(|_| style.services) {
                Some(name) => write!(out, "\"{name}\""),
                None => write!(out, "{value}"),
            },
            _ if style.numeric_symbols && self.is_flags() => write!(out, "0x{value:x}"),
            _ if style.numeric_symbols && self == Type::Dscp => write!(out, "0x{value:02x}"),
            _ if style.numeric_symbols => write!(out, "{value}"),
            _ => match self.names().iter().find(|(known, _)| *known == number) {
                Some((_, name)) => write!(out, "{name}"),
                None if self == Type::Dscp => write!(out, "0x{value:02x}"),
                None if self.is_flags() => write!(out, "{}", self.flags(number, " | ", style)),
                None => write!(out, "{value}"),
            },
        };
    }

    /// The flags of a value, or the number where it has others.
    pub fn flags(self, value: u32, between: &str, style: Style) -> String {
        let mut out = String::new();
        let mut left = value;
        for (bit, name) in self.names() {
            if value & bit != 0 {
                if !out.is_empty() {
                    out.push_str(between);
                }
                let _ = match style.numeric_symbols {
                    true => write!(out, "0x{bit:x}"),
                    false => write!(out, "{name}"),
                };
                left &= !bit;
            }
        }
        if left != 0 || out.is_empty() {
            return format!("0x{value:x}");
        }
        out
    }
}

/// `80`, `0x50`.
pub fn parse_number(text: &str) -> Option<u128> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match hex {
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

/// Longest name of an interface.
const IFNAME_MAX: usize = 15;

fn parse_name(text: &str) -> Result<u128, String> {
    if text.is_empty() {
        return Err("Empty string is not allowed".to_string());
    }
    if text.len() > IFNAME_MAX {
        return Err("String exceeds maximum length of 16".to_string());
    }
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    Ok(u128::from_be_bytes(bytes))
}

/// The name that a value is.
pub fn name_text(value: u128) -> String {
    let bytes = value.to_be_bytes();
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..len).unwrap_or_default()).into_owned()
}

/// Units of time in milliseconds, longest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// `1h5m`, `5s`, `30` (seconds), in milliseconds.
pub fn parse_time(text: &str) -> Option<u64> {
    if let Some(seconds) = parse_number(text) {
        return u64::try_from(seconds).ok()?.checked_mul(1000);
    }
    let (mut rest, mut total) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        let tail = rest.get(digits..)?;
        let len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit = tail.get(..len)?;
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(*millis)?)?;
        rest = tail.get(len..)?;
    }
    (!text.is_empty()).then_some(total)
}

/// `1h5m`; with `-T` in seconds.
pub fn time_text(millis: u64, style: Style) -> String {
    if style.numeric_time {
        return format!("{}s", millis / 1000);
    }
    let mut out = String::new();
    let mut left = millis;
    for (unit, size) in UNITS {
        if left >= size {
            let _ = write!(out, "{}{unit}", left / size);
            left %= size;
        }
    }
    if out.is_empty() { "0s".to_string() } else { out }
}

/// Adds a value's bytes to a key.
pub fn push_key(key: &mut Key, ty: Type, value: u128) {
    let bytes = value.to_be_bytes();
    key.extend_from_slice(bytes.get(16 - ty.bytes().min(16)..).unwrap_or_default());
}

/// The value that stands in a key at its beginning, and the rest of the key.
pub fn pop_key(key: &[u8], ty: Type) -> (u128, &[u8]) {
    let (head, rest) = key.split_at_checked(ty.bytes()).unwrap_or((key, &[]));
    (head.iter().fold(0, |value, byte| value << 8 | u128::from(*byte)), rest)
}

/// How many leading bits a range of values has in common, if it is all values that have them in common.
pub fn prefix_of(low: u128, high: u128, bits: u32) -> Option<u32> {
    let width = low ^ high;
    let is_prefix = width & width.wrapping_add(1) == 0 && low & width == 0;
    is_prefix.then(|| bits.saturating_sub(128 - width.leading_zeros()))
}

/// The bits that a prefix of this length leaves free.
pub fn host_bits(bits: u32, len: u32) -> u128 {
    match bits.saturating_sub(len) {
        0 => 0,
        free => u128::MAX >> (128 - free.min(128)),
    }
}

/// A value as it was typed, not yet of a type.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub kind: RawKind,
}

/// What a typed value can be.
#[derive(Clone, Debug)]
pub enum RawKind {
    /// A name or a number.
    Word(String),
    /// A text in quotes.
    Quoted(String),
    /// `value/len`
    Prefix(Box<Raw>, u32),
    /// `low-high`
    Range(Box<Raw>, Box<Raw>),
    /// `a . b`
    Concat(Vec<Raw>),
    /// `a,b` or `a|b`
    Flags(Vec<Raw>),
    /// `*`
    Any,
}
