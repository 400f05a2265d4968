//! TCP (`print-tcp.c`).

use std::collections::VecDeque;

use base::tree::BTreeMap;
use std::net::Ipv4Addr;

use super::ip::Ip;
use super::page::{Page, Shown, need, put, should_be, u8_at, u16_at, u32_at};
use super::{dns, text};
use crate::ipv4::{Packet, tcp_flags};
use crate::protocol;

/// Connections whose sequence numbers are remembered; of more, the oldest is forgotten.
const CONNECTIONS_MAX: usize = 16_384;

/// One connection, whichever way its packets go.
type Key = (Ipv4Addr, Ipv4Addr, u16, u16);

/// What tcpdump remembers of connections: where the sequence numbers of both ends began.
#[derive(Clone, Debug, Default)]
pub(super) struct Seqs {
    known: BTreeMap<Key, (u32, u32)>,
    order: VecDeque<Key>,
}

impl Seqs {
    /// The connection's key, and whether this packet goes against the order of the key.
    fn key(src: Ipv4Addr, dst: Ipv4Addr, sport: u16, dport: u16) -> (Key, bool) {
        let reversed = sport > dport || (sport == dport && src > dst);
        if reversed { ((dst, src, dport, sport), true) } else { ((src, dst, sport, dport), false) }
    }

    fn remember(&mut self, key: Key, begin: (u32, u32)) {
        if self.known.insert(key, begin).is_none() {
            self.order.push_back(key);
            if self.order.len() > CONNECTIONS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }

    /// Makes a connection known by the initial numbers of this packet's sender and its peer.
    pub(super) fn know(&mut self, packet: &Packet, isn: u32, peer: u32) -> bool {
        let head = packet.head();
        let Some((sport, dport)) = head.ports() else { return false };
        let (key, reversed) = Seqs::key(head.src, head.dst, sport, dport);
        self.remember(key, if reversed { (peer, isn) } else { (isn, peer) });
        true
    }

    /// The numbers to take off those of a packet that acknowledges, and of its selective acknowledgments.
    fn bases(&mut self, key: Key, reversed: bool, seq: u32, ack: u32, is_syn: bool) -> Bases {
        let (begin, is_new) = match self.known.get(&key) {
            Some(begin) if !is_syn => (*begin, false),
            _ => {
                let peer = ack.wrapping_sub(1);
                let begin = if reversed { (peer, seq) } else { (seq, peer) };
                self.remember(key, begin);
                (begin, true)
            }
        };
        let (own, peer) = if reversed { (begin.1, begin.0) } else { begin };
        let sack = peer;
        if is_new { Bases { seq: 0, ack: 0, sack } } else { Bases { seq: own, ack: peer, sack } }
    }
}

#[derive(Clone, Copy, Default)]
struct Bases {
    seq: u32,
    ack: u32,
    sack: u32,
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

pub(super) fn print(page: &mut Page<'_>, ip: &Ip<'_>) -> Shown {
    let shown = header(page, ip);
    page.end_header(shown)
}

fn header(page: &mut Page<'_>, ip: &Ip<'_>) -> Shown {
    page.proto = "tcp";
    let bytes = ip.payload;
    if bytes.len() < 4 {
        put!(page, "{} > {}:", ip.src, ip.dst);
        page.trunc();
        return Ok(());
    }
    let (sport, dport) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
    let (from, to) = (page.port(sport, "tcp"), page.port(dport, "tcp"));
    put!(page, "{}.{from} > {}.{to}: ", ip.src, ip.dst);
    need(bytes, 20)?;
    let header_len = u32::from(u8_at(bytes, 12)? >> 4) * 4;
    let len = ip.len.wrapping_sub(header_len);
    if header_len < 20 {
        put!(page, " tcp {len} [bad hdr length {header_len} - too short, < 20]");
        return Ok(());
    }
    if page.opt.quiet {
        put!(page, "tcp {len}");
        if header_len > ip.len {
            put!(page, " [bad hdr length {header_len} - too long, > {}]", ip.len);
        }
        return Ok(());
    }
    segment(page, ip, (sport, dport), header_len)
}

fn segment(page: &mut Page<'_>, ip: &Ip<'_>, (sport, dport): (u16, u16), header_len: u32) -> Shown {
    let bytes = ip.payload;
    let (seq, ack) = (u32_at(bytes, 4)?, u32_at(bytes, 8)?);
    let flags = u8_at(bytes, 13)?;
    put!(page, "Flags [{}]", flag_letters(flags));
    let has = |bit| flags & bit != 0;
    let bases = if !page.opt.absolute && has(tcp_flags::ACK) {
        let (key, reversed) = Seqs::key(ip.src, ip.dst, sport, dport);
        page.seqs.bases(key, reversed, seq, ack, has(tcp_flags::SYN))
    } else {
        Bases::default()
    };
    if header_len > ip.len {
        put!(page, " [bad hdr length {header_len} - too long, > {}]", ip.len);
        return Ok(());
    }
    if page.opt.verbose > 0
        && !page.opt.no_checksums
        && !ip.fragmented
        && let Some(whole) = bytes.get(..ip.len as usize)
    {
        let (field, sum) = (u16_at(bytes, 16)?, ip.checksum(protocol::TCP, whole, ip.len));
        match sum {
            0 => put!(page, ", cksum 0x{field:04x} (correct)"),
            _ => put!(page, ", cksum 0x{field:04x} (incorrect -> 0x{:04x})", should_be(field, sum)),
        }
    }
    let len = ip.len - header_len;
    let seq = seq.wrapping_sub(bases.seq);
    if page.opt.verbose > 1 || len > 0 || flags & 0x07 != 0 {
        put!(page, ", seq {seq}");
        if len > 0 {
            put!(page, ":{}", seq.wrapping_add(len));
        }
    }
    if has(tcp_flags::ACK) {
        put!(page, ", ack {}", ack.wrapping_sub(bases.ack));
    }
    put!(page, ", win {}", u16_at(bytes, 14)?);
    if has(tcp_flags::URG) {
        put!(page, ", urg {}", u16_at(bytes, 18)?);
    }
    if header_len > 20 {
        page.push(", options [");
        let captured = bytes.get(20..).unwrap_or_default();
        if !options(page, captured, header_len as usize - 20, bases.sack)? {
            return Ok(());
        }
        page.push("]");
    }
    put!(page, ", length {len}");
    if len == 0 {
        return Ok(());
    }
    let data = bytes.get(header_len as usize..).unwrap_or_default();
    if has(tcp_flags::RST) && page.opt.verbose > 0 {
        reset_data(page, data, len as usize);
        return Ok(());
    }
    application(page, data, len, (sport, dport))
}

/// The options. `false`: one of them contradicts its length or its value was cut off, and that has been
/// said.
fn options(
    page: &mut Page<'_>,
    captured: &[u8],
    len: usize,
    sack_base: u32,
) -> Result<bool, super::page::Cut> {
    let mut at = 0;
    while at < len {
        if at > 0 {
            page.push(",");
        }
        let kind = u8_at(captured, at)?;
        let size = if kind <= 1 { 1 } else { usize::from(u8_at(captured, at + 1)?) };
        let is_bad = kind > 1 && (size < 2 || size > len - at);
        if !is_bad {
            name_option(page, kind);
        }
        let (head_len, data_len) = (if kind <= 1 { 1 } else { 2 }, option_data_len(kind, size));
        if is_bad || data_len > len - at - head_len {
            put!(page, "[bad opt]{}", if at > 0 { "]" } else { "" });
            return Ok(false);
        }
        let data = captured.get(at + head_len..).unwrap_or_default();
        let data = data.get(..data_len).unwrap_or(data);
        if show_option(page, kind, data, data_len, sack_base).is_err() {
            page.trunc();
            page.push(if at > 0 { ">" } else { "" });
            return Ok(false);
        }
        at += head_len + data_len;
        if head_len + data_len != size {
            put!(page, "[len {size}]");
        }
        if kind == 0 {
            break;
        }
    }
    Ok(true)
}

/// Where an option has a fixed size, that counts, whatever the option's own size says.
fn option_data_len(kind: u8, size: usize) -> usize {
    match kind {
        0 | 1 | 4 => 0,
        3 => 1,
        2 | 20 | 28 => 2,
        6 | 7 | 11 | 12 | 13 => 4,
        8 => 8,
        19 => 16,
        _ => size.saturating_sub(2),
    }
}

fn name_option(page: &mut Page<'_>, kind: u8) {
    page.push(match kind {
        0 => "eol",
        1 => "nop",
        2 => "mss",
        3 => "wscale",
        4 => "sackOK",
        5 => "sack",
        6 => "echo",
        7 => "echoreply",
        8 => "TS",
        11 => "cc",
        12 => "ccnew",
        13 => "",
        19 => "md5",
        20 => "scps",
        28 => "uto",
        29 => "tcp-ao",
        30 => "mptcp",
        34 => "tfo",
        254 => "exp",
        other => return put!(page, "unknown-{other}"),
    });
}

/// `len`: how long the value is; `data`: what was captured of it.
fn show_option(page: &mut Page<'_>, kind: u8, data: &[u8], len: usize, sack_base: u32) -> Shown {
    if kind == 5 {
        return selective_ack(page, data, len, sack_base);
    }
    if matches!(kind, 19 | 30 | 34) || option_data_len(kind, 0) > 0 {
        need(data, len)?;
    }
    match kind {
        0 | 1 | 4 => {}
        2 => put!(page, " {}", u16_at(data, 0)?),
        3 => put!(page, " {}", u8_at(data, 0)?),
        6 | 7 | 11 | 12 | 13 => put!(page, " {}", u32_at(data, 0)?),
        8 => put!(page, " val {} ecr {}", u32_at(data, 0)?, u32_at(data, 4)?),
        19 => {
            page.push(" shared secret not supplied with -M, can't check - ");
            put_hex(page, data);
        }
        20 => put!(page, " cap {:02x} id {}", u8_at(data, 0)?, u8_at(data, 1)?),
        28 => {
            let value = u16_at(data, 0)?;
            let seconds = u32::from(value >> 1) * if value & 1 == 1 { 60 } else { 1 };
            put!(page, " 0x{value:x} {seconds}");
        }
        _ if len == 0 => {}
        _ => {
            page.push(" 0x");
            put_hex(page, data);
            need(data, len)?;
        }
    }
    Ok(())
}

fn selective_ack(page: &mut Page<'_>, data: &[u8], len: usize, base: u32) -> Shown {
    if !len.is_multiple_of(8) {
        page.push(" invalid sack");
        return Ok(());
    }
    put!(page, " {} ", len / 8);
    for block in (0..len).step_by(8) {
        let edge = |at| u32_at(data, block + at).map(|edge| edge.wrapping_sub(base));
        put!(page, "{{{}:{}}}", edge(0)?, edge(4)?);
    }
    Ok(())
}

fn put_hex(page: &mut Page<'_>, data: &[u8]) {
    for byte in data {
        put!(page, "{byte:02x}");
    }
}

/// What a reset carries: a text, by custom (RFC 9293 §3.5.2).
fn reset_data(page: &mut Page<'_>, data: &[u8], len: usize) {
    page.push(if data.len() >= len { " [RST" } else { " [!RST" });
    if len > 30 {
        page.push("+");
    }
    page.push(" ");
    for byte in data.iter().take(len.min(30)) {
        page.push_char(*byte);
    }
    page.push("]");
}

fn application(page: &mut Page<'_>, data: &[u8], len: u32, (sport, dport): (u16, u16)) -> Shown {
    let is = |port| sport == port || dport == port;
    if let Some(kind) = text::Kind::of_tcp_port(is) {
        if kind == text::Kind::Ssh {
            return text::ssh(page, data, len);
        }
        page.push(": ");
        return text::print(page, kind, data, len);
    }
    if is(53) {
        return dns::print(page, data, len, dns::Over::Tcp);
    }
    Ok(())
}
