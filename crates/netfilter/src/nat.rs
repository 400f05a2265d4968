//! Address translation: choosing a unique tuple, and rewriting packets
//! (`net/netfilter/nf_nat_core.c`).

use std::net::Ipv4Addr;

use base::{Instant, Rng};
use packet::ipv4::End;
use packet::{L4, Packet, protocol};

use crate::conntrack::tcp::TcpState;
use crate::conntrack::{Conn, ConnId, Conntrack, CtInfo, Direction, Proto, Tuple, status};
use crate::hook::Hook;
use crate::iface::IfName;

/// What an address and port may be translated to. Both ends are included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatRange {
    /// Addresses; `None` keeps the address.
    pub addrs: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Ports, or ICMP identifiers; `None` keeps the port where it can be kept.
    pub ports: Option<(u16, u16)>,
    /// `--to-destination addr:first-last/base`: the port moves by as much as `first` is from `base`.
    pub base_port: Option<u16>,
    /// `--random`: a new random port even where the old one is free. Kernels since 5.0 make no difference
    /// between the two.
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

/// With so few attempts left, ports of connections that are over are taken (`NF_NAT_HARDER_THRESH`).
const ATTEMPTS_HARDER: u32 = 32;

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

/// Decides the translation of one end of a connection, once (`nf_nat_setup_info`). What is in the table
/// already stays as it is.
pub(crate) fn decide(
    conntrack: &mut Conntrack,
    id: ConnId,
    range: &NatRange,
    end: End,
    rng: &mut Rng,
    now: Instant,
) {
    let Some(conn) = conntrack.get(id) else { return };
    if conn.has(done_bit(end)) || conn.has(status::CONFIRMED) {
        return;
    }
    // What the packet looks like by now: the answers' tuple, turned round.
    let current = conn.reply.inverted();
    let chosen = Search { conntrack, id, range, end, rng, now }.unique_tuple(current);
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

/// The search for a tuple that a range allows and no other connection has (`get_unique_tuple`).
struct Search<'a> {
    conntrack: &'a mut Conntrack,
    id: ConnId,
    range: &'a NatRange,
    end: End,
    rng: &'a mut Rng,
    now: Instant,
}

impl Search<'_> {
    fn is_free(&mut self, tuple: &Tuple) -> bool {
        !self.conntrack.is_taken(&tuple.inverted(), self.id, self.now)
    }

    fn unique_tuple(&mut self, current: Tuple) -> Tuple {
        let is_random = self.range.random || self.range.random_fully;
        if self.end == End::Source && !is_random {
            if in_range(&current, self.range, End::Source) {
                if self.is_free(&current) {
                    return current;
                }
            } else if let Some(same) = self.same_source_mapping(&current)
                && self.is_free(&same)
            {
                return same;
            }
        }
        let mut tuple = current;
        if let Some(addrs) = self.range.addrs {
            let addr = pick_addr(addrs, &current, self.range.persistent);
            match self.end {
                End::Source => tuple.src = addr,
                End::Destination => tuple.dst = addr,
            }
        }
        if !is_random && self.may_keep_port(&tuple) {
            return tuple;
        }
        self.pick_port(tuple)
    }

    fn may_keep_port(&mut self, tuple: &Tuple) -> bool {
        match self.range.ports {
            Some(_) if self.range.base_port.is_some() => false,
            Some((first, last)) => {
                is_port_in_range(tuple, (first, last), self.end)
                    && (first == last || self.is_free(tuple))
            }
            None => self.is_free(tuple),
        }
    }

    /// The same source keeps the port it was given for another destination (`find_appropriate_src`).
    fn same_source_mapping(&self, current: &Tuple) -> Option<Tuple> {
        self.conntrack
            .same_source(current)
            .map(|earlier| {
                let mapped = earlier.reply.inverted();
                Tuple { src: mapped.src, sport: mapped.sport, ..*current }
            })
            .find(|tuple| in_range(tuple, self.range, End::Source))
    }

    /// A free port of the range (`nf_nat_l4proto_unique_tuple`): from a random one on, or for a destination
    /// from the first.
    fn pick_port(&mut self, mut tuple: Tuple) -> Tuple {
        if !has_ports(tuple.protocol) {
            return tuple;
        }
        let Some((first, count)) = self.port_range(&tuple) else { return tuple };
        let is_random = self.range.random_fully || self.range.random || self.end == End::Source;
        let mut offset = match self.range.base_port {
            Some(base) if self.range.ports.is_some() => {
                u32::from(port_of(&tuple, self.end).wrapping_sub(base))
            }
            _ if is_random => self.random_offset(),
            _ => 0,
        };
        let mut attempts = count.min(ATTEMPTS_MAX);
        loop {
            for attempt in 0..attempts {
                let port = u32::from(first) + (offset & 0xffff) % count;
                set_port(&mut tuple, self.end, port as u16);
                if self.is_free_or_freed(&tuple, attempts - attempt) {
                    return tuple;
                }
                offset = offset.wrapping_add(1);
            }
            if attempts >= count || attempts < 16 {
                return tuple;
            }
            attempts /= 2;
            offset = self.random_offset();
        }
    }

    fn random_offset(&mut self) -> u32 {
        self.rng.next_u32() & 0xffff
    }

    /// The first port to try, and how many there are; none where the port must stay.
    fn port_range(&self, tuple: &Tuple) -> Option<(u16, u32)> {
        Some(match self.range.ports {
            Some((first, last)) => {
                let (first, last) = (first.min(last), first.max(last));
                (first, u32::from(last - first) + 1)
            }
            None if tuple.protocol == protocol::ICMP => (0, 65536),
            // Without a range a destination port is never changed.
            None if self.end == End::Destination => return None,
            // By loose convention, ports below 512 pass on the caller's rights.
            None => match tuple.sport {
                0..=511 => (1, 511),
                512..=1023 => (600, 424),
                _ => (1024, 64512),
            },
        })
    }

    /// As the attempts run out, a TCP connection that is over and whose numbers lie behind gives up its port
    /// (`nf_nat_used_tuple_harder`).
    fn is_free_or_freed(&mut self, tuple: &Tuple, attempts_left: u32) -> bool {
        if attempts_left > ATTEMPTS_HARDER || !self.begins_tcp() {
            return self.is_free(tuple);
        }
        match self.conntrack.find(&tuple.inverted(), self.now) {
            None => true,
            Some((other, Direction::Reply)) if self.may_be_evicted(other) => {
                self.conntrack.remove(other, self.now);
                true
            }
            Some(_) => false,
        }
    }

    fn begins_tcp(&self) -> bool {
        let conn = self.conntrack.get(self.id);
        conn.and_then(Conn::tcp_state) == Some(TcpState::SynSent)
    }

    fn may_be_evicted(&self, other: ConnId) -> bool {
        let (Some(old), Some(new)) = (self.conntrack.get(other), self.conntrack.get(self.id))
        else {
            return false;
        };
        let (Proto::Tcp(old_tcp), Proto::Tcp(new_tcp)) = (&old.proto, &new.proto) else {
            return false;
        };
        let has_advanced =
            new_tcp.original_end().wrapping_sub(old_tcp.original_end()).cast_signed() > 0;
        old_tcp.state >= TcpState::TimeWait
            && old.has(status::SRC_NAT)
            && !old.has(status::FIXED_TIMEOUT)
            && has_advanced
    }
}

fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP | protocol::SCTP | protocol::ICMP)
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

fn is_port_in_range(tuple: &Tuple, (first, last): (u16, u16), end: End) -> bool {
    !has_ports(tuple.protocol) || (first..=last).contains(&port_of(tuple, end))
}

fn in_range(tuple: &Tuple, range: &NatRange, end: End) -> bool {
    let addr = match end {
        End::Source => tuple.src,
        End::Destination => tuple.dst,
    };
    range.addrs.is_none_or(|(first, last)| (first..=last).contains(&addr))
        && range.ports.is_none_or(|ports| is_port_in_range(tuple, ports, end))
}

/// One address of the range, the same for the same pair of hosts; with `persistent`, for the same client.
/// The very address that a kernel on a little-endian machine chooses (`find_best_ips_proto`).
fn pick_addr((first, last): (Ipv4Addr, Ipv4Addr), tuple: &Tuple, persistent: bool) -> Ipv4Addr {
    if first == last {
        return first;
    }
    let (low, high) = (u32::from(first), u32::from(last));
    let word = |addr: Ipv4Addr| u32::from_le_bytes(addr.octets());
    let initial = if persistent { 0 } else { word(tuple.dst) };
    let hash = hash_source(word(tuple.src), initial);
    let count = high.wrapping_sub(low).wrapping_add(1);
    let offset = (u64::from(hash) * u64::from(count)) >> 32;
    Ipv4Addr::from(low.wrapping_add(offset as u32))
}

/// Bob Jenkins' `lookup3` (2006, in the public domain) over four words, the address and three zeros, as an
/// address of either family is hashed.
fn hash_source(word: u32, initial: u32) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(4 << 2).wrapping_add(initial);
    let [mut a, mut b, mut c] = [start.wrapping_add(word), start, start];
    for (rotation_c, rotation_a, rotation_b) in [(4, 6, 8), (16, 19, 4)] {
        a = a.wrapping_sub(c) ^ c.rotate_left(rotation_c);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(rotation_a);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(rotation_b);
        b = b.wrapping_add(a);
    }
    // The fourth word is zero: nothing to add before the end.
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// The address that `NETMAP` gives: the network of the range, the host of `addr`. The range must be a whole
/// network, from its first address to its last (`net/netfilter/xt_NETMAP.c`).
pub fn netmap(addr: Ipv4Addr, (first, last): (Ipv4Addr, Ipv4Addr)) -> Ipv4Addr {
    let network = !(u32::from(first) ^ u32::from(last));
    Ipv4Addr::from((u32::from(addr) & !network) | (u32::from(first) & network))
}

/// Whether a masqueraded connection's packet leaves by another interface than the one whose address it was
/// given: then the connection is over (`nf_nat_oif_changed`).
pub(crate) fn has_moved(conn: &Conn, info: CtInfo, hook: Hook, oif: IfName) -> bool {
    hook == Hook::Postrouting
        && !conn.masquerade.is_none()
        && info.direction() == Direction::Original
        && conn.masquerade != oif
}

/// A rewrite that was done: the end, and address and port before and after.
pub(crate) type Rewritten = (End, (Ipv4Addr, u16), (Ipv4Addr, u16));

/// An ICMP error that must not go on: it cannot be translated (`nf_nat_icmp_reply_translation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Untranslatable;

/// Rewrites a packet as its connection's translation asks at this hook (`nf_nat_packet`).
#[inline]
pub(crate) fn translate(
    conn: &Conn,
    info: CtInfo,
    hook: Hook,
    packet: &mut Packet,
) -> Result<Option<Rewritten>, Untranslatable> {
    let end = end_at(hook);
    let direction = info.direction();
    // On the way back each end is the other one's answer.
    let decided = match direction {
        Direction::Original => end,
        Direction::Reply => opposite(end),
    };
    if let (CtInfo::Related(_), L4::Icmp { kind, .. }) = (info, packet.head().l4) {
        check_error(conn, kind, packet)?;
    }
    if !conn.has(nat_bit(decided)) {
        return Ok(None);
    }
    let answer = conn.tuple(direction.opposite());
    if packet.head().is_icmp_error() && matches!(info, CtInfo::Related(_)) {
        return Ok(Some(translate_error(packet, end, answer)));
    }
    let target = answer.inverted();
    let before = end_of(packet, end);
    let (addr, port) = match end {
        End::Source => (target.src, target.sport),
        End::Destination => (target.dst, target.dport),
    };
    let port = if target.protocol == protocol::ICMP { target.sport } else { port };
    packet.rewrite(end, addr, has_ports(target.protocol).then_some(port));
    Ok(Some((end, before, (addr, port))))
}

/// An error with a wrong checksum could be made to look right; a redirect names an address that means
/// something else on the other side.
fn check_error(conn: &Conn, kind: u8, packet: &Packet) -> Result<(), Untranslatable> {
    const REDIRECT: u8 = 5;
    const DONE: u16 = status::SRC_NAT_DONE | status::DST_NAT_DONE;
    let is_translated = conn.status & (status::SRC_NAT | status::DST_NAT) != 0;
    let is_bad_redirect = kind == REDIRECT && (is_translated || !conn.has(DONE));
    if is_bad_redirect || !packet.l4_checksum_ok() { Err(Untranslatable) } else { Ok(()) }
}

/// An ICMP error: the packet it quotes is put back to what its sender knows, and so is its own address.
fn translate_error(packet: &mut Packet, end: End, answer: &Tuple) -> Rewritten {
    let (addr, port) = match opposite(end) {
        End::Source => (answer.src, answer.sport),
        End::Destination => (answer.dst, answer.dport),
    };
    let port = if answer.protocol == protocol::ICMP { answer.sport } else { port };
    packet.rewrite_quoted(opposite(end), addr, has_ports(answer.protocol).then_some(port));
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

#[cfg(test)]
mod tests {
    use packet::reply::finish;

    use super::*;

    fn addr(net: u8, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, net, 0, host)
    }

    /// Where the first packet of a connection to `port` is sent by a range.
    fn decided(range: &NatRange, port: u16) -> (Ipv4Addr, u16) {
        let mut conntrack = Conntrack::default();
        let ports = [4000u16, port, 8, 0].map(u16::to_be_bytes).concat();
        let packet = finish(addr(1, 2), addr(3, 2), protocol::UDP, 64, ports);
        let slot = conntrack.track(&packet, Hook::Prerouting, false, Instant::ZERO).unwrap();
        let crate::CtSlot::Tracked { conn, .. } = slot else { panic!("{slot:?}") };
        let mut rng = Rng::new(1);
        decide(&mut conntrack, conn, range, End::Destination, &mut rng, Instant::ZERO);
        let reply = conntrack.get(conn).unwrap().reply;
        (reply.src, reply.sport)
    }

    #[test]
    fn a_port_moves_with_a_shifted_range() {
        let range = NatRange {
            ports: Some((5000, 5010)),
            base_port: Some(80),
            ..NatRange::addr(addr(2, 7))
        };
        assert_eq!(decided(&range, 80), (addr(2, 7), 5000));
        assert_eq!(decided(&range, 85), (addr(2, 7), 5005));
        // Eleven ports, over and over.
        assert_eq!(decided(&range, 91), (addr(2, 7), 5000));
        let plain = NatRange { base_port: None, ..range };
        assert_eq!(decided(&plain, 85), (addr(2, 7), 5000));
        assert_eq!(decided(&plain, 5007), (addr(2, 7), 5007));
    }

    #[test]
    fn a_network_is_mapped_to_a_network() {
        let range = (Ipv4Addr::new(10, 9, 4, 0), Ipv4Addr::new(10, 9, 7, 255));
        assert_eq!(netmap(Ipv4Addr::new(10, 1, 2, 77), range), Ipv4Addr::new(10, 9, 6, 77));
        assert_eq!(netmap(addr(1, 2), (addr(2, 7), addr(2, 7))), addr(2, 7));
    }
}
