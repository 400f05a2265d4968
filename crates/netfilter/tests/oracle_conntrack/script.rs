//! Sequences of packets as text.
//!
//! A line is a packet: `>` from the client's side, `<` from the server's, then one of
//! - `FLAGS seq ack [wWINDOW] [dDATA] [wsSHIFT] [sackok] [sack:FROM-TO] [bad] [doff:N]`: TCP;
//! - `udp [dDATA] [bad] [len:N]`, `ping`, `pong`, `icmp TYPE CODE`, `proto NUMBER`;
//! - `sctp tag:N KIND[:FLAGS[:ITAG]]…`: chunks by their number;
//! - `error TYPE CODE [via ADDR] [to ADDR] [bad]`: about the packet last sent on to that side;
//!
//! or `sleep MILLIS`, or `set NAME VALUE`.

use std::net::Ipv4Addr;

use packet::reply::finish;
use packet::{Packet, protocol, tcp_flags};

pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
pub(crate) const CLIENT_PORT: u16 = 40000;
pub(crate) const SERVER_PORT: u16 = 8080;
/// All ports that a script or a rule names; others have been drawn.
pub(crate) const KNOWN_PORTS: [std::ops::RangeInclusive<u16>; 6] =
    [0..=0, 1234..=1234, 5353..=5353, 7000..=7010, 8000..=9090, CLIENT_PORT..=CLIENT_PORT];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    A,
    B,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    New,
    Established,
    Related,
    Invalid,
}

pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Rules of the nat table.
    pub(crate) nat: String,
    /// Rules of the filter table.
    pub(crate) filter: String,
    pub(crate) steps: Vec<Step>,
}

impl Scenario {
    pub(crate) fn new(name: &str, nat: &str, steps: &str) -> Scenario {
        let steps = steps.lines().map(str::trim).filter(|line| !line.is_empty());
        Scenario {
            name: name.to_string(),
            nat: nat.to_string(),
            filter: String::new(),
            steps: steps.map(Step::new).collect(),
        }
    }

    pub(crate) fn with_filter(mut self, rules: &str) -> Scenario {
        self.filter = rules.to_string();
        self
    }
}

pub(crate) struct Step {
    pub(crate) text: String,
    pub(crate) protocol: u8,
}

pub(crate) enum Act {
    Send(Side, Packet),
    Sleep(u64),
    Set(String, String),
}

/// Addresses and ports of the answers: source, destination, source port or ICMP id, destination port.
pub(crate) type Ends = (Ipv4Addr, Ipv4Addr, u16, u16);

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

impl Step {
    pub(crate) fn new(text: &str) -> Step {
        let protocol = match text.split(' ').nth(1).unwrap_or_default() {
            "udp" => protocol::UDP,
            "ping" | "pong" | "icmp" => protocol::ICMP,
            "sctp" => protocol::SCTP,
            "proto" => text.split(' ').nth(2).unwrap().parse().unwrap(),
            // The connection that the error is about.
            "error" => 0,
            _ => protocol::TCP,
        };
        Step { text: text.to_string(), protocol }
    }

    /// The packet, or what else is to be done. `reply` are the ends that the server's packets have.
    pub(crate) fn act(&self, reply: &Option<Ends>, last: &[Option<String>; 2]) -> Act {
        let words: Vec<&str> = self.text.split(' ').collect();
        let side = match words[0] {
            ">" => Side::A,
            "<" => Side::B,
            "sleep" => return Act::Sleep(words[1].parse().unwrap()),
            "set" => return Act::Set(words[1].to_string(), words[2].to_string()),
            other => panic!("{other}"),
        };
        let ends = self.ends(side, reply);
        let packet = match words[1] {
            "udp" => udp(ends, &words[2..]),
            "ping" => icmp(ends, 8, 0),
            "pong" => icmp(ends, 0, 0),
            "icmp" => icmp(ends, words[2].parse().unwrap(), words[3].parse().unwrap()),
            "proto" => finish(ends.0, ends.1, words[2].parse().unwrap(), 64, vec![0; 24]),
            "sctp" => sctp(ends, &words[2..]),
            "error" => error(ends, &words[2..], last[side as usize].as_deref()),
            flags => tcp(ends, flags, &words[2..]),
        };
        let packet = if words.contains(&"bad") { spoil(&packet) } else { packet };
        Act::Send(side, packet)
    }

    fn ends(&self, side: Side, reply: &Option<Ends>) -> Ends {
        let is_icmp = self.protocol == protocol::ICMP;
        let server_port = if is_icmp { CLIENT_PORT } else { SERVER_PORT };
        match (side, reply) {
            (Side::A, _) => (CLIENT, SERVER, CLIENT_PORT, SERVER_PORT),
            (Side::B, Some(reply)) => *reply,
            (Side::B, None) => (SERVER, CLIENT, server_port, CLIENT_PORT),
        }
    }
}

fn option<'a>(words: &[&'a str], prefix: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(prefix))
}

fn number<T: std::str::FromStr>(words: &[&str], prefix: &str) -> Option<T> {
    words.iter().filter_map(|word| word.strip_prefix(prefix)).find_map(|rest| rest.parse().ok())
}

fn tcp((src, dst, sport, dport): Ends, flags: &str, words: &[&str]) -> Packet {
    let bits = flags.chars().fold(0, |bits, letter| {
        bits | match letter {
            'S' => tcp_flags::SYN,
            'A' => tcp_flags::ACK,
            'F' => tcp_flags::FIN,
            'R' => tcp_flags::RST,
            'P' => tcp_flags::PSH,
            'U' => tcp_flags::URG,
            '-' => 0,
            other => panic!("flag {other}"),
        }
    });
    let mut options = Vec::new();
    if let Some(shift) = number::<u8>(words, "ws") {
        options.extend_from_slice(&[3, 3, shift, 1]);
    }
    if words.contains(&"sackok") {
        options.extend_from_slice(&[4, 2, 1, 1]);
    }
    if let Some((from, to)) = option(words, "sack:").and_then(|edges| edges.split_once('-')) {
        options.extend_from_slice(&[1, 1, 5, 10]);
        options.extend_from_slice(&from.parse::<u32>().unwrap().to_be_bytes());
        options.extend_from_slice(&to.parse::<u32>().unwrap().to_be_bytes());
    }
    let (seq, ack): (u32, u32) = (words[0].parse().unwrap(), words[1].parse().unwrap());
    let window: u16 = number(words, "w").unwrap_or(1000);
    let data: usize = number(words, "d").unwrap_or(0);
    let offset = number(words, "doff:").unwrap_or(5 + options.len() / 4) as u8;
    let mut segment = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    segment.extend_from_slice(&seq.to_be_bytes());
    segment.extend_from_slice(&ack.to_be_bytes());
    segment.extend_from_slice(&[offset << 4, bits]);
    segment.extend_from_slice(&window.to_be_bytes());
    segment.extend_from_slice(&[0; 4]);
    segment.extend_from_slice(&options);
    segment.extend(std::iter::repeat_n(b'x', data));
    finish(src, dst, protocol::TCP, 64, segment)
}

fn udp((src, dst, sport, dport): Ends, words: &[&str]) -> Packet {
    let data: u16 = number(words, "d").unwrap_or(4);
    let len: u16 = number(words, "len:").unwrap_or(8 + data);
    let mut datagram = [sport.to_be_bytes(), dport.to_be_bytes(), len.to_be_bytes()].concat();
    datagram.extend_from_slice(&[0; 2]);
    datagram.extend(std::iter::repeat_n(b'x', usize::from(data)));
    finish(src, dst, protocol::UDP, 64, datagram)
}

fn icmp((src, dst, sport, _): Ends, kind: u8, code: u8) -> Packet {
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(&sport.to_be_bytes());
    message.extend_from_slice(&[0, 1, b'p', b'i', b'n', b'g']);
    finish(src, dst, protocol::ICMP, 64, message)
}

fn sctp((src, dst, sport, dport): Ends, words: &[&str]) -> Packet {
    let tag: u32 = number(words, "tag:").unwrap();
    let mut segment = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    segment.extend_from_slice(&tag.to_be_bytes());
    segment.extend_from_slice(&[0; 4]);
    for chunk in words.iter().filter(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
        let fields: Vec<u32> = chunk.split(':').map(|field| field.parse().unwrap()).collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or(0);
        segment.extend_from_slice(&[field(0) as u8, field(1) as u8, 0, 20]);
        segment.extend_from_slice(&field(2).to_be_bytes());
        segment.extend_from_slice(&[0; 12]);
    }
    let check = crc32c(&segment);
    segment[8..12].copy_from_slice(&check.to_le_bytes());
    finish(src, dst, protocol::SCTP, 64, segment)
}

fn error(ends: Ends, words: &[&str], about: Option<&str>) -> Packet {
    let about = hex_to_bytes(about.expect("nothing was sent on to that side"));
    let quoted = Packet::parse(about.clone()).unwrap();
    let after = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse::<Ipv4Addr>().ok()
    };
    let src = after("via").unwrap_or(quoted.head().dst);
    let dst = after("to").unwrap_or(quoted.head().src);
    let _ = ends;
    let mut message = vec![words[0].parse().unwrap(), words[1].parse().unwrap(), 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&about);
    finish(src, dst, protocol::ICMP, 64, message)
}

/// Breaks the checksum of the payload, whatever it was.
fn spoil(packet: &Packet) -> Packet {
    let mut bytes = packet.bytes().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x55;
    Packet::parse(bytes).unwrap()
}

pub(crate) fn hex_to_bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The packet with the TTL and the IP checksum, which routers change, made alike.
pub(crate) fn settled(bytes: &[u8]) -> String {
    let mut bytes = bytes.to_vec();
    bytes[8] = 64;
    bytes[10..12].copy_from_slice(&[0; 2]);
    to_hex(&bytes)
}

/// Takes the time out of a line of `conntrack -L`.
pub(crate) fn without_time(line: &str) -> (String, u64) {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let time = words.remove(2).parse().unwrap();
    (words.join(" "), time)
}
