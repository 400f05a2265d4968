//! SCTP as the man in the middle sees it (`net/netfilter/nf_conntrack_proto_sctp.c` of Linux 6.18;
//! RFC 9260).

use base::{Duration, Instant};

use super::event::Change;
use super::settings::Settings;
use super::track::Updated;
use super::{Conn, Direction, Invalid, Proto, status};

/// Number of [`SctpState`]s.
pub const SCTP_STATES: usize = 9;

/// State of a tracked SCTP association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SctpState {
    /// Nothing seen.
    None,
    /// INIT seen, or the association is over.
    Closed,
    /// INIT ACK seen.
    CookieWait,
    /// COOKIE ECHO seen.
    CookieEchoed,
    /// COOKIE ACK seen.
    Established,
    /// SHUTDOWN seen from the end that began it.
    ShutdownSent,
    /// SHUTDOWN seen from the other end.
    ShutdownRecd,
    /// SHUTDOWN ACK seen.
    ShutdownAckSent,
    /// HEARTBEAT seen, and nothing before it: another path of an association.
    HeartbeatSent,
}

impl SctpState {
    /// All states in the kernel's order.
    pub const ALL: [SctpState; SCTP_STATES] = [
        SctpState::None,
        SctpState::Closed,
        SctpState::CookieWait,
        SctpState::CookieEchoed,
        SctpState::Established,
        SctpState::ShutdownSent,
        SctpState::ShutdownRecd,
        SctpState::ShutdownAckSent,
        SctpState::HeartbeatSent,
    ];

    /// The name `conntrack -L` prints.
    pub fn name(self) -> &'static str {
        match self {
            SctpState::None => "NONE",
            SctpState::Closed => "CLOSED",
            SctpState::CookieWait => "COOKIE_WAIT",
            SctpState::CookieEchoed => "COOKIE_ECHOED",
            SctpState::Established => "ESTABLISHED",
            SctpState::ShutdownSent => "SHUTDOWN_SENT",
            SctpState::ShutdownRecd => "SHUTDOWN_RECD",
            SctpState::ShutdownAckSent => "SHUTDOWN_ACK_SENT",
            SctpState::HeartbeatSent => "HEARTBEAT_SENT",
        }
    }

    pub(super) fn default_timeout(self) -> Duration {
        Duration::from_secs(match self {
            SctpState::None | SctpState::Closed => 10,
            SctpState::Established => 210,
            SctpState::HeartbeatSent => 30,
            _ => 3,
        })
    }

    /// The end has begun: may be forgotten early.
    pub(super) fn is_closing(self) -> bool {
        use SctpState::{ShutdownAckSent, ShutdownRecd, ShutdownSent};
        matches!(self, ShutdownSent | ShutdownRecd | ShutdownAckSent)
    }
}

/// What is remembered of an association.
#[derive(Clone, Debug)]
pub struct SctpTrack {
    /// Its state.
    pub state: SctpState,
    /// The verification tag of packets in each direction.
    tags: [u32; 2],
    /// Directions that have sent an INIT.
    inits: [bool; 2],
    /// A HEARTBEAT with another tag was seen in this direction.
    strange_heartbeat: Option<Direction>,
}

impl Default for SctpTrack {
    fn default() -> Self {
        SctpTrack {
            state: SctpState::None,
            tags: [0; 2],
            inits: [false; 2],
            strange_heartbeat: None,
        }
    }
}

/// Kinds of chunks that matter (RFC 9260 §3.2).
mod chunk {
    pub(super) const DATA: u8 = 0;
    pub(super) const INIT: u8 = 1;
    pub(super) const INIT_ACK: u8 = 2;
    pub(super) const HEARTBEAT: u8 = 4;
    pub(super) const HEARTBEAT_ACK: u8 = 5;
    pub(super) const ABORT: u8 = 6;
    pub(super) const SHUTDOWN: u8 = 7;
    pub(super) const SHUTDOWN_ACK: u8 = 8;
    pub(super) const ERROR: u8 = 9;
    pub(super) const COOKIE_ECHO: u8 = 10;
    pub(super) const COOKIE_ACK: u8 = 11;
    pub(super) const SHUTDOWN_COMPLETE: u8 = 14;
}

/// The transition tables. Columns are the states in their order, by number; `.` is invalid.
const ROWS: [(u8, &[u8; SCTP_STATES], &[u8; SCTP_STATES]); 11] = [
    (chunk::INIT, b"112341172", b".1234567."),
    (chunk::INIT_ACK, b"112345671", b".2234567."),
    (chunk::ABORT, b"111111111", b".1111111."),
    (chunk::SHUTDOWN, b"112355671", b".1236567."),
    (chunk::SHUTDOWN_ACK, b"712347777", b".1234777."),
    (chunk::ERROR, b"112345671", b".1214567."),
    (chunk::COOKIE_ECHO, b"113345671", b".1334567."),
    (chunk::COOKIE_ACK, b"112445671", b".1244567."),
    (chunk::SHUTDOWN_COMPLETE, b"112345611", b".1234561."),
    (chunk::HEARTBEAT, b"812345678", b".12345678"),
    (chunk::HEARTBEAT_ACK, b"112345678", b".12345674"),
];

/// Where a chunk leads; other kinds change nothing.
fn next(state: SctpState, direction: Direction, kind: u8) -> Option<SctpState> {
    let Some((_, original, reply)) = ROWS.iter().find(|(known, ..)| *known == kind) else {
        return Some(state);
    };
    let row = match direction {
        Direction::Original => original,
        Direction::Reply => reply,
    };
    let digit = row.get(state as usize)?.checked_sub(b'0')?;
    SctpState::ALL.get(usize::from(digit)).copied()
}

/// The chunks of a packet: kind, flags and what follows the chunk's header.
fn chunks(payload: &[u8]) -> impl Iterator<Item = (u8, u8, u16, &[u8])> {
    let mut rest = payload.get(12..).unwrap_or_default();
    std::iter::from_fn(move || {
        let &[kind, flags, high, low] = rest.first_chunk::<4>()?;
        let len = u16::from_be_bytes([high, low]);
        let body = rest.get(4..).unwrap_or_default();
        // A chunk of no length ends the packet; `read` refuses it.
        let padded = (usize::from(len) + 3) & !3;
        rest = if len == 0 { &[] } else { rest.get(padded..).unwrap_or_default() };
        Some((kind, flags, len, body))
    })
}

/// The kinds of chunks in a packet as bits; `None` if they may not stand together (RFC 9260 §6.10).
fn kinds(payload: &[u8]) -> Option<u64> {
    let mut kinds = 0u64;
    let mut must_be_alone = false;
    let mut count = 0;
    for (kind, _, len, _) in chunks(payload) {
        must_be_alone |= matches!(kind, chunk::INIT | chunk::INIT_ACK | chunk::SHUTDOWN_COMPLETE);
        let must_be_first = matches!(kind, chunk::COOKIE_ACK | chunk::COOKIE_ECHO);
        if len == 0 || (count > 0 && (must_be_alone || must_be_first)) {
            return None;
        }
        kinds |= 1u64.checked_shl(u32::from(kind)).unwrap_or(0);
        count += 1;
    }
    (count > 0).then_some(kinds)
}

fn has(kinds: u64, kind: u8) -> bool {
    kinds & (1 << kind) != 0
}

fn long_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk::<4>()?))
}

impl SctpTrack {
    /// The first packet. `false`: it begins nothing.
    pub(super) fn begin(&mut self, payload: &[u8]) -> bool {
        let (Some(kinds), Some(tag)) = (kinds(payload), long_at(payload, 4)) else {
            return false;
        };
        let is_stray = [chunk::ABORT, chunk::SHUTDOWN_COMPLETE, chunk::COOKIE_ACK];
        if is_stray.iter().any(|&kind| has(kinds, kind)) {
            return false;
        }
        *self = SctpTrack::default();
        for (kind, _, _, body) in chunks(payload) {
            match next(SctpState::None, Direction::Original, kind) {
                None | Some(SctpState::None) => return false,
                Some(_) => {}
            }
            match kind {
                chunk::INIT => match long_at(body, 0) {
                    Some(peer_tag) if tag == 0 => self.tags[1] = peer_tag,
                    _ => return false,
                },
                chunk::HEARTBEAT => self.tags[0] = tag,
                _ => self.tags[1] = tag,
            }
        }
        true
    }

    /// Whether the packet's verification tag is right for a chunk (RFC 9260 §8.5); `None` for a chunk to
    /// skip.
    fn check_tag(
        &mut self,
        (kind, flags): (u8, u8),
        tag: u32,
        direction: Direction,
        kinds: u64,
        skips: bool,
    ) -> Option<bool> {
        let (own, peer) = (direction as usize, direction.opposite() as usize);
        Some(match kind {
            chunk::INIT => tag == 0,
            chunk::ABORT | chunk::SHUTDOWN_COMPLETE => {
                let reflected = flags & 1 != 0;
                tag == self.tags[if reflected { peer } else { own }]
            }
            chunk::COOKIE_ECHO => tag == self.tags[own],
            chunk::COOKIE_ACK => {
                self.inits = [false; 2];
                true
            }
            chunk::HEARTBEAT | chunk::HEARTBEAT_ACK if self.tags[own] == 0 => {
                self.tags[own] = tag;
                true
            }
            chunk::HEARTBEAT | chunk::HEARTBEAT_ACK if tag == self.tags[own] => {
                self.strange_heartbeat = None;
                true
            }
            chunk::HEARTBEAT | chunk::HEARTBEAT_ACK if has(kinds, chunk::DATA) || skips => false,
            chunk::HEARTBEAT => {
                self.strange_heartbeat = Some(direction);
                return None;
            }
            chunk::HEARTBEAT_ACK => {
                if self.strange_heartbeat != Some(direction.opposite()) {
                    return Some(false);
                }
                self.strange_heartbeat = None;
                self.tags[own] = tag;
                self.tags[peer] = 0;
                true
            }
            _ => true,
        })
    }

    /// INIT and INIT ACK say which tag the other end is to use.
    fn take_tag(&mut self, kind: u8, body: &[u8], direction: Direction) -> Option<()> {
        let (own, peer) = (direction as usize, direction.opposite() as usize);
        let tag = long_at(body, 0)?;
        if kind == chunk::INIT {
            if self.inits[own] && self.inits[peer] {
                self.inits[peer] = false;
            }
            self.inits[own] = true;
            self.tags[peer] = tag;
        } else {
            // An answer that contradicts the INIT it answers belongs to another association.
            let known = self.tags[peer];
            let contradicts = !self.inits[peer] && known != 0 && known != tag;
            let have_crossed = self.inits[own] && self.inits[peer] && known != tag;
            if contradicts || have_crossed {
                return None;
            }
            self.tags[peer] = tag;
        }
        Some(())
    }
}

/// A packet of an association moves its state and its expiry.
pub(super) fn track(
    conn: &mut Conn,
    payload: &[u8],
    direction: Direction,
    bytes: u16,
    settings: &Settings,
    now: Instant,
) -> Updated {
    let is_confirmed = conn.has(status::CONFIRMED);
    let invalid = Updated::Invalid(Invalid::State);
    let Proto::Sctp(sctp) = &mut conn.proto else { return invalid };
    let (Some(kinds), Some(tag)) = (kinds(payload), long_at(payload, 4)) else { return invalid };
    let own_rules = [
        chunk::INIT,
        chunk::SHUTDOWN_COMPLETE,
        chunk::COOKIE_ECHO,
        chunk::ABORT,
        chunk::SHUTDOWN_ACK,
        chunk::HEARTBEAT,
        chunk::HEARTBEAT_ACK,
    ];
    let has_own_rule = own_rules.iter().any(|&kind| has(kinds, kind));
    if !has_own_rule && tag != sctp.tags[direction as usize] {
        return invalid;
    }
    let mut keeps_expiry = false;
    let mut new = SctpState::None;
    let before = sctp.state;
    let mut establishes = false;
    for (kind, flags, _, body) in chunks(payload) {
        match sctp.check_tag((kind, flags), tag, direction, kinds, keeps_expiry) {
            Some(true) => {}
            Some(false) => return invalid,
            None => {
                keeps_expiry = true;
                continue;
            }
        }
        let old = sctp.state;
        match next(old, direction, kind) {
            Some(state) => new = state,
            None => return invalid,
        }
        if matches!(kind, chunk::INIT | chunk::INIT_ACK) {
            if sctp.take_tag(kind, body, direction).is_none() {
                return invalid;
            }
            // A repeated INIT must not keep a port for ever.
            let repeats = old == SctpState::Closed && new == SctpState::Closed;
            keeps_expiry |= kind == chunk::INIT && repeats && is_confirmed;
        }
        sctp.state = new;
        establishes |= old != new && new == SctpState::Established;
    }
    if sctp.state != before {
        conn.pending |= Change::State as u8;
    }
    if establishes {
        conn.raise(status::ASSURED, Change::Assured);
    }
    if !keeps_expiry {
        let timeout = settings.sctp.get(new as usize).copied().unwrap_or_default();
        conn.refresh(now + timeout, direction, bytes);
    }
    Updated::Fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_association_from_init_to_shutdown() {
        use Direction::{Original, Reply};
        let mut state = SctpState::None;
        let seen: Vec<&str> = [
            (Original, chunk::INIT),
            (Reply, chunk::INIT_ACK),
            (Original, chunk::COOKIE_ECHO),
            (Reply, chunk::COOKIE_ACK),
            (Original, chunk::DATA),
            (Reply, chunk::SHUTDOWN),
            (Original, chunk::SHUTDOWN_ACK),
            (Reply, chunk::SHUTDOWN_COMPLETE),
        ]
        .into_iter()
        .map(|(direction, kind)| {
            state = next(state, direction, kind).unwrap();
            state.name()
        })
        .collect();
        assert_eq!(
            seen,
            [
                "CLOSED",
                "COOKIE_WAIT",
                "COOKIE_ECHOED",
                "ESTABLISHED",
                "ESTABLISHED",
                "SHUTDOWN_RECD",
                "SHUTDOWN_ACK_SENT",
                "CLOSED"
            ]
        );
    }

    #[test]
    fn chunks_of_any_bytes_end() {
        for len in 0..40 {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 37) as u8).collect();
            assert!(chunks(&bytes).count() <= 16);
            let _ = kinds(&bytes);
        }
    }
}
