//! The line tcpdump prints for a packet (`tcpdump -n`, without its time stamp and interface).
//!
//! Facts from the-tcpdump-group/tcpdump `print-ip.c`, `print-tcp.c`, `print-udp.c`, `print-icmp.c`,
//! `print-arp.c`, `print-http.c`.

use std::fmt;

use crate::arp::Arp;
use crate::ethernet::{Body, Frame};
use crate::ipv4::{Head, L4, Packet, tcp_flags};
use crate::{u16_at, u32_at};

/// Displays as tcpdump's line for an IPv4 packet.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    packet: &'a Packet,
    /// Initial sequence numbers of the sender and of its peer, when both have been seen.
    relative_to: Option<(u32, u32)>,
}

impl<'a> Line<'a> {
    /// With absolute sequence numbers, as for the first packets of a connection or with `-S`.
    pub fn new(packet: &'a Packet) -> Self {
        Line { packet, relative_to: None }
    }

    /// With sequence numbers relative to the initial ones of the sender and its peer.
    pub fn relative(packet: &'a Packet, isn: u32, peer_isn: u32) -> Self {
        Line { packet, relative_to: Some((isn, peer_isn)) }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.packet.head();
        f.write_str("IP ")?;
        match head.l4.ports() {
            Some((sport, dport)) => write!(f, "{}.{sport} > {}.{dport}: ", head.src, head.dst)?,
            None => write!(f, "{} > {}: ", head.src, head.dst)?,
        }
        match head.l4 {
            L4::Tcp { flags, .. } => self.tcp(f, flags),
            L4::Udp { .. } => write!(f, "UDP, length {}", self.packet.data().len()),
            L4::Icmp { kind, code, id } => icmp(f, self.packet, kind, code, id),
            L4::Sctp { .. } => f.write_str("sctp"),
            L4::Other => other(f, head),
        }
    }
}

impl Line<'_> {
    fn tcp(&self, f: &mut fmt::Formatter<'_>, flags: u8) -> fmt::Result {
        let segment = self.packet.payload();
        let len = self.packet.data().len() as u32;
        let (seq, ack) = self.packet.tcp_numbers().unwrap_or_default();
        let has = |bit| flags & bit != 0;
        write!(f, "Flags [{}]", flag_letters(flags))?;
        let (seq_base, ack_base) = match self.relative_to {
            Some((isn, peer)) if !has(tcp_flags::SYN) => (isn, peer),
            _ => (0, 0),
        };
        let seq = seq.wrapping_sub(seq_base);
        if len > 0 {
            write!(f, ", seq {seq}:{}", seq.wrapping_add(len))?;
        } else if has(tcp_flags::SYN) || has(tcp_flags::FIN) || has(tcp_flags::RST) {
            write!(f, ", seq {seq}")?;
        }
        if has(tcp_flags::ACK) {
            write!(f, ", ack {}", ack.wrapping_sub(ack_base))?;
        }
        write!(f, ", win {}", u16_at(segment, 14).unwrap_or_default())?;
        let header_len = segment.get(12).map_or(20, |offset| usize::from(offset >> 4) * 4);
        if let Some(options) = segment.get(20..header_len).filter(|options| !options.is_empty()) {
            write!(f, ", options [")?;
            tcp_options(f, options)?;
            write!(f, "]")?;
        }
        write!(f, ", length {len}")?;
        http(f, self.packet)
    }
}

/// `S`, `F.`, `P.`, … in tcpdump's order; `none` when no bit is set.
pub fn flag_letters(flags: u8) -> String {
    let order = [
        (tcp_flags::FIN, 'F'),
        (tcp_flags::SYN, 'S'),
        (tcp_flags::RST, 'R'),
        (tcp_flags::PSH, 'P'),
        (tcp_flags::ACK, '.'),
        (tcp_flags::URG, 'U'),
        (tcp_flags::ECE, 'E'),
        (tcp_flags::CWR, 'W'),
    ];
    let letters: String =
        order.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| letter).collect();
    if letters.is_empty() { "none".to_string() } else { letters }
}

fn tcp_options(f: &mut fmt::Formatter<'_>, mut options: &[u8]) -> fmt::Result {
    let mut separator = "";
    while let Some(&kind) = options.first() {
        f.write_str(separator)?;
        separator = ",";
        let len = match kind {
            0 | 1 => 1,
            _ => options.get(1).map_or(0, |&len| usize::from(len)),
        };
        let Some(option) = options.get(..len).filter(|_| len > 0) else {
            return f.write_str("[bad opt]");
        };
        match kind {
            0 => return f.write_str("eol"),
            1 => f.write_str("nop")?,
            2 => write!(f, "mss {}", u16_at(option, 2).unwrap_or_default())?,
            3 => write!(f, "wscale {}", option.get(2).copied().unwrap_or_default())?,
            4 => f.write_str("sackOK")?,
            5 => {
                write!(f, "sack {} ", option.len().saturating_sub(2) / 8)?;
                for block in option.get(2..).unwrap_or_default().chunks_exact(8) {
                    let edge = |at| u32_at(block, at).unwrap_or_default();
                    write!(f, "{{{}:{}}}", edge(0), edge(4))?;
                }
            }
            8 => {
                let stamp = |at| u32_at(option, at).unwrap_or_default();
                write!(f, "TS val {} ecr {}", stamp(2), stamp(6))?;
            }
            other => write!(f, "unknown-{other}")?,
        }
        options = options.get(len..).unwrap_or_default();
    }
    Ok(())
}

/// `: HTTP: GET / HTTP/1.1`, the first line of what goes over a port known for HTTP.
fn http(f: &mut fmt::Formatter<'_>, packet: &Packet) -> fmt::Result {
    let Some((sport, dport)) = packet.head().ports() else { return Ok(()) };
    let is_http_port = |port| matches!(port, 80 | 8080 | 3128);
    if !is_http_port(sport) && !is_http_port(dport) {
        return Ok(());
    }
    let data = packet.data();
    let Some(line) = data.split(|&byte| byte == b'\r' || byte == b'\n').next() else {
        return Ok(());
    };
    match std::str::from_utf8(line) {
        Ok(line) if !line.is_empty() => write!(f, ": HTTP: {line}"),
        Ok(_) if data.is_empty() => Ok(()),
        _ => f.write_str(": HTTP"),
    }
}

fn icmp(f: &mut fmt::Formatter<'_>, packet: &Packet, kind: u8, code: u8, id: u16) -> fmt::Result {
    let payload = packet.payload();
    f.write_str("ICMP ")?;
    match (kind, code) {
        (0 | 8, _) => {
            let word = if kind == 8 { "request" } else { "reply" };
            write!(f, "echo {word}, id {id}, seq {}", u16_at(payload, 6).unwrap_or_default())?;
        }
        (3, code) => unreachable(f, packet, code)?,
        (11, 0) => f.write_str("time exceeded in-transit")?,
        (11, _) => f.write_str("ip reassembly time exceeded")?,
        (kind, _) => write!(f, "type-#{kind}")?,
    }
    write!(f, ", length {}", payload.len())
}

fn unreachable(f: &mut fmt::Formatter<'_>, packet: &Packet, code: u8) -> fmt::Result {
    let Some(quoted) = packet.quoted() else { return write!(f, "unreachable - #{code}") };
    let dst = quoted.dst;
    match code {
        0 => write!(f, "net {dst} unreachable"),
        1 => write!(f, "host {dst} unreachable"),
        2 => write!(f, "{dst} protocol {} unreachable", quoted.protocol),
        3 => match quoted.l4 {
            L4::Tcp { dport, .. } => write!(f, "{dst} tcp port {dport} unreachable"),
            L4::Udp { dport, .. } => write!(f, "{dst} udp port {dport} unreachable"),
            _ => write!(f, "{dst} protocol {} port unreachable", quoted.protocol),
        },
        4 => match u16_at(packet.payload(), 6).unwrap_or_default() {
            0 => write!(f, "{dst} unreachable - need to frag"),
            mtu => write!(f, "{dst} unreachable - need to frag (mtu {mtu})"),
        },
        9 => write!(f, "net {dst} unreachable - admin prohibited"),
        10 => write!(f, "host {dst} unreachable - admin prohibited"),
        13 => write!(f, "host {dst} unreachable - admin prohibited filter"),
        code => write!(f, "{dst} unreachable - #{code}"),
    }
}

fn other(f: &mut fmt::Formatter<'_>, head: &Head) -> fmt::Result {
    if head.fragment.offset > 0 {
        return f.write_str("ip-proto-").and_then(|()| write!(f, "{}", head.protocol));
    }
    let len = head.total_len - u16::from(head.header_len);
    write!(f, "ip-proto-{} {len}", head.protocol)
}

impl fmt::Display for Arp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_request {
            write!(f, "ARP, Request who-has {} tell {}, length 28", self.target, self.sender)
        } else {
            write!(f, "ARP, Reply {} is-at {}, length 28", self.sender, self.sender_mac)
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Ipv4(packet) => Line::new(packet).fmt(f),
            Body::Arp(arp) => arp.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::Mac;
    use crate::ipv4::protocol;
    use crate::ipv4::tests::{addr, sample};
    use crate::reply::finish;
    use expect_test::{Expect, expect};

    fn check(line: impl fmt::Display, expected: Expect) {
        expected.assert_eq(&line.to_string());
    }

    fn segment(flags: u8, options: &[u8], data: &[u8]) -> Packet {
        let mut bytes = sample(protocol::TCP, b"").payload().to_vec();
        bytes[4..8].copy_from_slice(&1000u32.to_be_bytes());
        bytes[8..12].copy_from_slice(&2000u32.to_be_bytes());
        bytes[12] = (((20 + options.len()) / 4) << 4) as u8;
        bytes[13] = flags;
        bytes.extend_from_slice(options);
        bytes.extend_from_slice(data);
        finish(addr(2), addr(3), protocol::TCP, 64, bytes)
    }

    #[test]
    fn tcp_segments() {
        let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        check(
            Line::new(&segment(tcp_flags::SYN, &options, b"")),
            expect![
                "IP 10.244.1.2.40000 > 10.244.1.3.80: Flags [S], seq 1000, win 64000, options [mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7], length 0"
            ],
        );
        let get =
            segment(tcp_flags::PSH | tcp_flags::ACK, &[], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        check(
            Line::relative(&get, 999, 1999),
            expect![
                "IP 10.244.1.2.40000 > 10.244.1.3.80: Flags [P.], seq 1:28, ack 1, win 64000, length 27: HTTP: GET / HTTP/1.1"
            ],
        );
        check(
            Line::relative(&segment(tcp_flags::ACK, &[], b""), 999, 1999),
            expect!["IP 10.244.1.2.40000 > 10.244.1.3.80: Flags [.], ack 1, win 64000, length 0"],
        );
        check(
            Line::new(&segment(0, &[8, 40, 0, 0], b"")),
            expect![
                "IP 10.244.1.2.40000 > 10.244.1.3.80: Flags [none], win 64000, options [[bad opt]], length 0"
            ],
        );
    }

    #[test]
    fn other_protocols() {
        check(
            Line::new(&sample(protocol::UDP, b"12345")),
            expect!["IP 10.244.1.2.40000 > 10.244.1.3.80: UDP, length 5"],
        );
        check(
            Line::new(&sample(protocol::ICMP, &[0; 56])),
            expect!["IP 10.244.1.2 > 10.244.1.3: ICMP echo request, id 40000, seq 1, length 64"],
        );
        check(
            Line::new(&finish(addr(2), addr(3), 47, 64, vec![0; 4])),
            expect!["IP 10.244.1.2 > 10.244.1.3: ip-proto-47 4"],
        );
        let question = Arp::who_has(addr(1), Mac([2, 0, 0, 0, 0, 1]), addr(2));
        check(question, expect!["ARP, Request who-has 10.244.1.1 tell 10.244.1.2, length 28"]);
        check(
            question.is_at(Mac([2, 0, 0, 0, 0, 9])),
            expect!["ARP, Reply 10.244.1.1 is-at 02:00:00:00:00:09, length 28"],
        );
    }
}
