//! Telling a sender what became of its packet: when, from which address and how often
//! (`net/ipv4/icmp.c`: `icmp_send`, `icmp_global_allow`, `icmpv4_xrlim_allow`).
//!
//! Redirects (type 5) are never sent.

use base::tree::BTreeMap;
use std::net::Ipv4Addr;

use base::{Duration, Instant, Utc};
use netfilter::Skb;
use packet::reply::{self, IcmpError, Unreachable};
use packet::{L4, Packet, checksum, protocol};

use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::path::{Meta, Sent};
use crate::route::Flow;
use crate::sysctl::{NsKey, Sysctls};

/// Errors a peer may get at once before it has to wait (`XRLIM_BURST_FACTOR`).
const BURST: u64 = 6;
/// Peers whose share is remembered.
const PEERS_MAX: usize = 4096;

/// How many ICMP messages may still be sent, to each peer and to all together.
#[derive(Debug, Default)]
pub(crate) struct IcmpLimits {
    /// Milliseconds each peer has saved up, and when that was counted.
    peers: BTreeMap<Ipv4Addr, (u64, Instant)>,
    credit: u64,
    counted: Option<Instant>,
}

impl IcmpLimits {
    /// Whether a message may go to `peer`; counts it if so.
    fn allows(&mut self, peer: Ipv4Addr, settings: &Sysctls, now: Instant) -> bool {
        self.allows_any(settings, now) && self.allows_peer(peer, settings, now)
    }

    fn allows_any(&mut self, settings: &Sysctls, now: Instant) -> bool {
        let number = |key| u64::try_from(settings.get(key)).unwrap_or(0);
        let (per_sec, burst) = (number(NsKey::IcmpMsgsPerSec), number(NsKey::IcmpMsgsBurst));
        let since = self.counted.map_or(Duration::from_secs(1), |at| now - at);
        let passed = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).min(1000);
        let earned = per_sec.saturating_mul(passed) / 1000;
        if earned > 0 {
            self.counted = Some(now);
            self.credit = self.credit.saturating_add(earned).min(burst);
        }
        let allowed = self.credit > 0;
        self.credit = self.credit.saturating_sub(1);
        allowed
    }

    fn allows_peer(&mut self, peer: Ipv4Addr, settings: &Sysctls, now: Instant) -> bool {
        let each = u64::try_from(settings.get(NsKey::IcmpRatelimit)).unwrap_or(0);
        if each == 0 {
            return true;
        }
        let full = each.saturating_mul(BURST);
        let earned = |saved: u64, at: Instant| {
            let passed = u64::try_from((now - at).as_millis()).unwrap_or(u64::MAX);
            saved.saturating_add(passed).min(full)
        };
        if self.peers.len() >= PEERS_MAX {
            self.peers.retain(|_, (saved, at)| earned(*saved, *at) < full);
        }
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            return false;
        }
        let (saved, at) = self.peers.entry(peer).or_insert((full, now));
        *saved = earned(*saved, *at);
        *at = now;
        let allowed = *saved >= each;
        if allowed {
            *saved -= each;
        }
        allowed
    }
}

impl Kernel {
    /// Tells the sender of a packet what became of it.
    ///
    /// Not about what was sent to everybody, about later fragments, ICMP errors, or for a source that is
    /// not one host; and not more often than the namespace's settings allow.
    pub(crate) fn send_icmp_error(&mut self, ns: NsId, about: &Skb, why: IcmpError, meta: Meta) {
        if meta.is_icmps {
            return;
        }
        let head = *about.packet.head();
        let now = self.now;
        let Some(here) = self.ns_mut(ns) else { return };
        let is_to_all = meta.is_group || here.fib.is_broadcast(head.dst) || head.dst.is_multicast();
        if is_to_all || here.fib.is_broadcast(head.src) {
            return;
        }
        let mut flow = Flow::to(head.src);
        let is_for_us = here.fib.is_local(head.dst);
        if is_for_us {
            flow.src = head.dst;
        }
        let Ok(route) = here.fib.lookup(&flow) else { return };
        let chosen = here.fib.source_of(route, head.src);
        let src = if is_for_us { Some(head.dst) } else { chosen };
        let Some(src) = src else { return };
        let is_loopback = route.dev == here.loopback || here.fib.is_local(head.src);
        let Some(error) = reply::icmp_error(&about.packet, src, why) else { return };
        let ratemask = here.sysctls.get(NsKey::IcmpRatemask);
        let kind = error.payload().first().copied().unwrap_or_default();
        let is_free = matches!(why, IcmpError::Unreachable(Unreachable::FragmentationNeeded(_)))
            || ratemask >> kind.min(63) & 1 == 0
            || is_loopback;
        if !is_free && !here.icmp_limits.allows(head.src, &here.sysctls, now) {
            return;
        }
        let ttl = here.sysctls.get(NsKey::IpDefaultTtl) as u8;
        let tos = (head.tos & 0x1e) | 0xc0;
        let Some(mut error) = with_tos(error, tos) else { return };
        error.set_ttl(ttl);
        error.set_ident(here.next_ident());
        let ct = about.ct.of_answer();
        self.send(ns, Skb { ct, ..Skb::new(error) }, Sent::by_icmp(meta.cause));
    }

    /// "The fragments did not come in time", with the first of them.
    pub(crate) fn send_fragment_timeout(&mut self, ns: NsId, first: &Packet, meta: Meta) {
        let head = first.head();
        let quote = first.bytes().get(..first.bytes().len().min(548)).unwrap_or_default();
        let mut message = vec![11, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(quote);
        let Some(here) = self.ns_mut(ns) else { return };
        if head.is_icmp_error() || !here.fib.is_local(head.dst) {
            return;
        }
        let ttl = here.sysctls.get(NsKey::IpDefaultTtl) as u8;
        let error = reply::finish(head.dst, head.src, protocol::ICMP, ttl, message);
        let Some(mut error) = with_tos(error, 0xc0) else { return };
        error.set_ident(here.next_ident());
        self.send(ns, Skb::new(error), Sent::by_icmp(meta.cause));
    }

    /// Answers an echo request (`icmp_echo`) with the same data, and the question for the time
    /// (`icmp_timestamp`) with the time, from the address that was asked.
    pub(crate) fn answer_query(&mut self, ns: NsId, request: &Packet, meta: Meta) {
        let now = self.now;
        let head = *request.head();
        let Some(here) = self.ns_mut(ns) else { return };
        let ignores_all = here.sysctls.is_on(NsKey::IcmpEchoIgnoreAll);
        let ignores_broadcasts = here.sysctls.is_on(NsKey::IcmpEchoIgnoreBroadcasts);
        let is_to_all = meta.is_group || here.fib.is_broadcast(head.dst);
        if ignores_all || (is_to_all && ignores_broadcasts) {
            return;
        }
        let Some(message) = answer_to(request.payload(), now) else { return };
        let own = || here.fib.lookup(&Flow::to(head.src)).ok();
        let src = match is_to_all {
            true => own().and_then(|route| here.fib.source_of(route, head.src)),
            false => Some(head.dst),
        };
        let Some(src) = src else { return };
        let ttl = here.sysctls.get(NsKey::IpDefaultTtl) as u8;
        let reply = reply::finish(src, head.src, protocol::ICMP, ttl, message);
        let Some(mut reply) = with_tos(reply, head.tos) else { return };
        reply.set_ident(here.next_ident());
        self.send(ns, Skb::new(reply), Sent::by_icmp(meta.cause));
    }
}

/// The ICMP message that answers a question. `None`: the question is cut short.
fn answer_to(question: &[u8], now: Instant) -> Option<Vec<u8>> {
    let mut message = question.to_vec();
    if question.first() == Some(&13) {
        // Identifier, number and the asker's time; then twice ours, in milliseconds of the day.
        let time = Utc::at(now).millis_of_day().to_be_bytes();
        message.truncate(12);
        message.get(8..12)?;
        message.extend_from_slice(&[time, time].concat());
        *message.first_mut()? = 14;
    } else {
        *message.first_mut()? = 0;
    }
    Some(message)
}

/// The packet with another type of service.
pub(crate) fn with_tos(packet: Packet, tos: u8) -> Option<Packet> {
    if packet.head().tos == tos {
        return Some(packet);
    }
    let mut bytes = packet.into_bytes();
    *bytes.get_mut(1)? = tos;
    finish_header(bytes)
}

/// Fills in the checksum of an IP header and reads the packet.
pub(crate) fn finish_header(mut bytes: Vec<u8>) -> Option<Packet> {
    let header_len = usize::from(bytes.first()? & 0xf) * 4;
    bytes.get_mut(10..12)?.fill(0);
    let check = checksum::of(bytes.get(..header_len)?);
    bytes.get_mut(10..12)?.copy_from_slice(&check.to_be_bytes());
    Packet::parse(bytes).ok()
}

/// What an ICMP error says to a socket (`icmp_err_convert`), and whether it is more than a hint.
pub(crate) fn meaning(packet: &Packet) -> Option<(IcmpNews, bool)> {
    let L4::Icmp { kind, code, .. } = packet.head().l4 else { return None };
    let why = match (kind, code) {
        (3, 0) => (IcmpNews::Unreachable(Unreachable::Net), false),
        (3, 1) => (IcmpNews::Unreachable(Unreachable::Host), false),
        (3, 2) => (IcmpNews::Unreachable(Unreachable::Protocol), true),
        (3, 3) => (IcmpNews::Unreachable(Unreachable::Port), true),
        (3, 4) => (IcmpNews::TooBig(word(packet, 6)), false),
        (3, 6 | 9) => (IcmpNews::Unreachable(Unreachable::NetProhibited), true),
        (3, 7 | 8 | 10) => (IcmpNews::Unreachable(Unreachable::HostProhibited), true),
        (3, 13..=15) => (IcmpNews::Unreachable(Unreachable::AdminProhibited), true),
        (3, 11) => (IcmpNews::Unreachable(Unreachable::Net), false),
        (3, 12) | (11, _) => (IcmpNews::Unreachable(Unreachable::Host), false),
        _ => return None,
    };
    Some(why)
}

/// What a socket learns from an ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IcmpNews {
    /// What it sent did not arrive.
    Unreachable(Unreachable),
    /// What it sent was too long for a link that takes so much.
    TooBig(u16),
}

fn word(packet: &Packet, at: usize) -> u16 {
    let field = packet.payload().get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
    field.map_or(0, u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_gets_six_at_once_then_one_a_second() {
        let (mut limits, settings) = (IcmpLimits::default(), Sysctls::default());
        let peer = Ipv4Addr::new(10, 0, 0, 1);
        let mut at = |millis| limits.allows(peer, &settings, Instant::from_millis(millis));
        assert_eq!((0..10).filter(|_| at(5000)).count(), 6);
        assert!(!at(5500));
        assert!(at(6100));
        assert!(!at(6200));
    }

    #[test]
    fn all_together_get_a_burst_of_fifty() {
        let (mut limits, settings) = (IcmpLimits::default(), Sysctls::default());
        let now = Instant::from_secs(9);
        let peers = (0..100u8).map(|i| Ipv4Addr::new(10, 0, 0, i));
        assert_eq!(peers.filter(|peer| limits.allows(*peer, &settings, now)).count(), 50);
    }
}
