//! Address translation: choosing a unique tuple, and rewriting packets
//! (`net/netfilter/nf_nat_core.c`).

use std::net::Ipv4Addr;

use base::{Instant, Rng};
use packet::Packet;
use packet::ipv4::End;
use packet::protocol;

use crate::conntrack::{ConnId, Conntrack, CtInfo, Direction, Tuple, status};
use crate::hook::Hook;

/// What an address and port may be translated to. Both ends are included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatRange {
    /// Addresses; `None` keeps the address.
    pub addrs: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Ports, or ICMP identifiers; `None` keeps the port where it can be kept.
    pub ports: Option<(u16, u16)>,
    /// `--random`
    pub random: bool,
    /// `--random-fully`: a new random port even where the old one is free.
    pub random_fully: bool,
    /// `--persistent`: the same client gets the same address.
    pub persistent: bool,
}

impl NatRange {
    /// This address, and the port kept where it can be.
    pub fn addr(addr: Ipv4Addr) -> NatRange {
        NatRange { addrs: Some((addr, addr)), ..Default::default() }
    }
}

/// Candidates tried for a free port before giving up a round (`NF_NAT_MAX_ATTEMPTS`).
const ATTEMPTS_MAX: u32 = 128;

/// Which end is translated at a hook: the source of what leaves or is delivered, else the destination.
pub(crate) fn end_at(hook: Hook) -> End {
    match hook {
        Hook::Postrouting | Hook::Input => End::Source,
        Hook::Prerouting | Hook::Output | Hook::Forward => End::Destination,
    }
}

fn done_bit(end: End) -> u16 {
    match end {
        End::Source => status::SRC_NAT_DONE,
        End::Destination => status::DST_NAT_DONE,
    }
}

fn nat_bit(end: End) -> u16 {
    match end {
        End::Source => status::SRC_NAT,
        End::Destination => status::DST_NAT,
    }
}

/// Whether translation of this end has been decided for the connection.
pub(crate) fn is_decided(conntrack: &Conntrack, conn: ConnId, end: End) -> bool {
    conntrack.get(conn).is_none_or(|conn| conn.has(done_bit(end)))
}

/// Decides the translation of one end of a connection, once (`nf_nat_setup_info`).
pub(crate) fn decide(
    conntrack: &mut Conntrack,
    id: ConnId,
    range: &NatRange,
    end: End,
    rng: &mut Rng,
    now: Instant,
) {
    let Some(conn) = conntrack.get(id) else { return };
    if conn.has(done_bit(end)) {
        return;
    }
    // What the packet looks like by now: the answers' tuple, turned round.
    let current = conn.reply.inverted();
    let chosen = unique_tuple(conntrack, id, current, range, end, rng, now);
    conntrack.conn_mut(id, |conn| {
        if chosen != current {
            conn.reply = chosen.inverted();
            conn.status |= nat_bit(end);
        }
        conn.status |= done_bit(end);
    });
    if end == End::Source {
        conntrack.remember_source(id);
    }
}

/// Decides that one end stays as it is, unless that would clash with another connection
/// (`nf_nat_alloc_null_binding`).
pub(crate) fn decide_none(
    conntrack: &mut Conntrack,
    id: ConnId,
    end: End,
    rng: &mut Rng,
    now: Instant,
) {
    let Some(conn) = conntrack.get(id) else { return };
    let addr = match end {
        End::Source => conn.reply.dst,
        End::Destination => conn.reply.src,
    };
    decide(conntrack, id, &NatRange::addr(addr), end, rng, now);
}

fn unique_tuple(
    conntrack: &mut Conntrack,
    id: ConnId,
    current: Tuple,
    range: &NatRange,
    end: End,
    rng: &mut Rng,
    now: Instant,
) -> Tuple {
    let is_free =
        |conntrack: &mut Conntrack, tuple: &Tuple| !conntrack.is_taken(&tuple.inverted(), id, now);
    if end == End::Source && !range.random_fully && !range.random {
        if in_range(&current, range, end) && is_free(conntrack, &current) {
            return current;
        }
        if let Some(same) = same_source_mapping(conntrack, &current, range)
            && is_free(conntrack, &same)
        {
            return same;
        }
    }
    let mut tuple = current;
    if let Some(addrs) = range.addrs {
        let addr = pick_addr(addrs, &current, range.persistent);
        match end {
            End::Source => tuple.src = addr,
            End::Destination => tuple.dst = addr,
        }
    }
    if !range.random_fully && !range.random {
        match range.ports {
            Some((first, last)) => {
                let fits = (first..=last).contains(&port_of(&tuple, end));
                if fits && (first == last || is_free(conntrack, &tuple)) {
                    return tuple;
                }
            }
            None if is_free(conntrack, &tuple) => return tuple,
            None => {}
        }
    }
    pick_port(conntrack, tuple, range, end, rng, is_free)
}

/// The port that a translation of `end` changes; for ICMP the identifier.
fn port_of(tuple: &Tuple, end: End) -> u16 {
    match end {
        _ if tuple.protocol == protocol::ICMP => tuple.sport,
        End::Source => tuple.sport,
        End::Destination => tuple.dport,
    }
}

fn set_port(tuple: &mut Tuple, end: End, port: u16) {
    match end {
        _ if tuple.protocol == protocol::ICMP => tuple.sport = port,
        End::Source => tuple.sport = port,
        End::Destination => tuple.dport = port,
    }
}

fn in_range(tuple: &Tuple, range: &NatRange, end: End) -> bool {
    let addr = match end {
        End::Source => tuple.src,
        End::Destination => tuple.dst,
    };
    let addr_fits = range.addrs.is_none_or(|(first, last)| (first..=last).contains(&addr));
    let port = port_of(tuple, end);
    addr_fits && range.ports.is_none_or(|(first, last)| (first..=last).contains(&port))
}

/// The same source keeps the port it was given for another destination (`find_appropriate_src`).
fn same_source_mapping(conntrack: &Conntrack, current: &Tuple, range: &NatRange) -> Option<Tuple> {
    let earlier = conntrack.same_source(current)?;
    let mapped = earlier.reply.inverted();
    let tuple = Tuple { src: mapped.src, sport: mapped.sport, ..*current };
    in_range(&tuple, range, End::Source).then_some(tuple)
}

/// One address of the range, the same for the same pair of hosts; with `persistent`, for the same client.
fn pick_addr((first, last): (Ipv4Addr, Ipv4Addr), tuple: &Tuple, persistent: bool) -> Ipv4Addr {
    if first == last {
        return first;
    }
    let (low, high) = (u32::from(first), u32::from(last));
    let other = if persistent { 0 } else { u32::from(tuple.dst) };
    let mixed = (u64::from(u32::from(tuple.src)) << 32 | u64::from(other))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let count = u64::from(high.wrapping_sub(low)) + 1;
    Ipv4Addr::from(low.wrapping_add(((mixed >> 32) % count) as u32))
}

/// A free port of the range, beginning at a random one (`nf_nat_l4proto_unique_tuple`).
fn pick_port(
    conntrack: &mut Conntrack,
    mut tuple: Tuple,
    range: &NatRange,
    end: End,
    rng: &mut Rng,
    is_free: impl Fn(&mut Conntrack, &Tuple) -> bool,
) -> Tuple {
    if !matches!(tuple.protocol, protocol::TCP | protocol::UDP | protocol::SCTP | protocol::ICMP) {
        return tuple;
    }
    let (first, count) = match range.ports {
        Some((first, last)) => (first, u32::from(last) - u32::from(first) + 1),
        None if tuple.protocol == protocol::ICMP => (0, 65536),
        // Without a range a destination port is never changed.
        None if end == End::Destination => return tuple,
        None => match tuple.sport {
            0..=511 => (1, 511 - 1 + 1),
            512..=1023 => (600, 1023 - 600 + 1),
            _ => (1024, 65535 - 1024 + 1),
        },
    };
    let is_random = range.random_fully || range.random || end == End::Source;
    let mut offset = if is_random { rng.next_u32() & 0xffff } else { 0 };
    let mut attempts = count.min(ATTEMPTS_MAX);
    loop {
        for _ in 0..attempts {
            set_port(&mut tuple, end, (u32::from(first) + offset % count) as u16);
            if is_free(conntrack, &tuple) {
                return tuple;
            }
            offset += 1;
        }
        if attempts >= count || attempts < 16 {
            return tuple;
        }
        attempts /= 2;
        offset = rng.next_u32() & 0xffff;
    }
}

/// A rewrite that was done: the end, and address and port before and after.
pub(crate) type Rewritten = (End, (Ipv4Addr, u16), (Ipv4Addr, u16));

/// Rewrites a packet as its connection's translation asks at this hook (`nf_nat_packet`).
pub(crate) fn translate(
    conntrack: &Conntrack,
    id: ConnId,
    info: CtInfo,
    hook: Hook,
    packet: &mut Packet,
) -> Option<Rewritten> {
    let conn = conntrack.get(id)?;
    let end = end_at(hook);
    let direction = info.direction();
    // On the way back each end is the other one's answer.
    let decided = match direction {
        Direction::Original => end,
        Direction::Reply => opposite(end),
    };
    if !conn.has(nat_bit(decided)) {
        return None;
    }
    let answer = conn.tuple(direction.opposite());
    if let CtInfo::Related(_) = info {
        return Some(translate_error(packet, end, answer));
    }
    let target = answer.inverted();
    let before = end_of(packet, end);
    let (addr, port) = match end {
        End::Source => (target.src, target.sport),
        End::Destination => (target.dst, target.dport),
    };
    let port = if target.protocol == protocol::ICMP { target.sport } else { port };
    packet.rewrite(end, addr, Some(port));
    Some((end, before, (addr, port)))
}

/// An ICMP error: the packet it quotes is put back to what its sender knows, and so is its own address.
fn translate_error(packet: &mut Packet, end: End, answer: &Tuple) -> Rewritten {
    let (addr, port) = match opposite(end) {
        End::Source => (answer.src, answer.sport),
        End::Destination => (answer.dst, answer.dport),
    };
    let port = if answer.protocol == protocol::ICMP { answer.sport } else { port };
    packet.rewrite_quoted(opposite(end), addr, Some(port));
    let before = end_of(packet, end);
    let outer = match end {
        End::Source => answer.dst,
        End::Destination => answer.src,
    };
    packet.rewrite(end, outer, None);
    (end, before, (outer, 0))
}

fn opposite(end: End) -> End {
    match end {
        End::Source => End::Destination,
        End::Destination => End::Source,
    }
}

fn end_of(packet: &Packet, end: End) -> (Ipv4Addr, u16) {
    let head = packet.head();
    let (sport, dport) = head.ports().unwrap_or_default();
    match end {
        End::Source => (head.src, sport),
        End::Destination => (head.dst, dport),
    }
}
