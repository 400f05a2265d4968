//! What is remembered of one connection.

use base::Instant;

use super::event::Change;
use super::sctp::SctpTrack;
use super::tcp::{TcpState, TcpTrack};
use super::{Direction, Tuple, status};
use crate::iface::IfName;

/// What is remembered of a connection.
#[derive(Clone, Debug)]
pub struct Conn {
    /// Rises with every connection; the order of their beginning.
    pub serial: u64,
    /// As its first packet came in.
    pub original: Tuple,
    /// As answers will come in: the inverse of the first packet as it went out.
    pub reply: Tuple,
    /// Bits of [`status`].
    pub status: u16,
    /// Forgotten at this time unless a packet comes first.
    pub expires: Instant,
    /// Set by `CONNMARK`.
    pub mark: u32,
    /// When its first packet came in.
    pub since: Instant,
    /// When it was forgotten; for events.
    pub until: Option<Instant>,
    /// What its protocol needs.
    pub proto: Proto,
    /// Packets and bytes in the original and in the reply direction, where they are counted.
    pub counters: Option<[Traffic; 2]>,
    /// The interface whose address `MASQUERADE` gave it; none for other connections.
    pub masquerade: IfName,
    /// Its beginning is shown (`nf_conntrack_timestamp` was set when it began).
    pub shows_time: bool,
    /// Somebody hears of its changes.
    pub(crate) is_watched: bool,
    /// Changes that have not been told yet: bits of [`Change`].
    pub(crate) pending: u8,
    /// Neighbours in the list of connections of the same source.
    pub(crate) source_links: SourceLinks,
}

/// Places in the list of connections whose packets come from the same source.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SourceLinks {
    pub(crate) is_linked: bool,
    pub(crate) previous: Option<u32>,
    pub(crate) next: Option<u32>,
}

/// Packets and bytes in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// What a protocol's tracker remembers.
#[derive(Clone, Debug)]
pub enum Proto {
    /// TCP.
    Tcp(TcpTrack),
    /// SCTP.
    Sctp(SctpTrack),
    /// UDP, ICMP and protocols without a tracker of their own need no more than the tuples.
    Other,
}

impl Conn {
    /// The tuple of packets going in `direction`.
    #[inline]
    pub fn tuple(&self, direction: Direction) -> &Tuple {
        match direction {
            Direction::Original => &self.original,
            Direction::Reply => &self.reply,
        }
    }

    /// Has all bits of `bits`.
    #[inline]
    pub fn has(&self, bits: u16) -> bool {
        self.status & bits == bits
    }

    /// The state of a TCP connection.
    pub fn tcp_state(&self) -> Option<TcpState> {
        match &self.proto {
            Proto::Tcp(track) => Some(track.state),
            Proto::Sctp(_) | Proto::Other => None,
        }
    }

    /// The name of its protocol's state, where the protocol has states.
    pub fn state_name(&self) -> Option<&'static str> {
        match &self.proto {
            Proto::Tcp(track) => Some(track.state.name()),
            Proto::Sctp(track) => Some(track.state.name()),
            Proto::Other => None,
        }
    }

    /// The number `-o id` shows: the same for as long as the connection exists, and not a counter.
    pub fn id(&self) -> u32 {
        let mixed = (self.serial.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
    }

    /// Can be forgotten though it was in use: it is closing (`can_early_drop` of the protocols).
    pub(crate) fn is_closing(&self) -> bool {
        match &self.proto {
            Proto::Tcp(track) => track.state.is_closing(),
            Proto::Sctp(track) => track.state.is_closing(),
            Proto::Other => false,
        }
    }

    /// A packet of `bytes` bytes belongs to it: it lives until `expires` (`nf_ct_refresh_acct`).
    #[inline]
    pub(crate) fn refresh(&mut self, expires: Instant, direction: Direction, bytes: u16) {
        if !self.has(status::FIXED_TIMEOUT) {
            self.expires = expires;
        }
        self.account(direction, bytes);
    }

    #[inline]
    pub(crate) fn account(&mut self, direction: Direction, bytes: u16) {
        if let Some(counters) = &mut self.counters {
            // Two directions by construction.
            let traffic = &mut counters[direction as usize];
            traffic.packets += 1;
            traffic.bytes += u64::from(bytes);
        }
    }

    /// Sets a status bit and notes the change if it was not set.
    #[inline]
    pub(crate) fn raise(&mut self, bit: u16, change: Change) {
        if !self.has(bit) {
            self.status |= bit;
            self.pending |= change as u8;
        }
    }
}
