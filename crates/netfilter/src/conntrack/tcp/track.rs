//! What a segment does to its connection (`nf_conntrack_tcp_packet`).

use base::{Duration, Instant};

use super::segment::{Segment, before};
use super::window::{Seen, Window};
use super::{Kind, Next, TcpState, next};
use crate::conntrack::event::Change;
use crate::conntrack::settings::TcpSettings;
use crate::conntrack::track::Updated;
use crate::conntrack::{Conn, Direction, Invalid, Proto, status};

/// What is remembered of a TCP connection.
#[derive(Clone, Debug)]
pub struct TcpTrack {
    /// Its state.
    pub state: TcpState,
    /// What has been seen of the end that began it, and of the other.
    pub(super) seen: [Seen; 2],
    pub(super) last: Last,
    /// How often the last segment has been repeated.
    pub(super) retransmissions: u8,
    /// Both ends have sent a SYN.
    is_simultaneous: bool,
}

/// The last segment, and what was put aside of one that was ignored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub(super) kind: Kind,
    pub(super) direction: Direction,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) end: u32,
    pub(super) window: u16,
    scale: Option<u8>,
    permits_sack: bool,
    /// A SYN was ignored in `LAST_ACK`: the ACK that follows may be a challenge (RFC 5961 §4).
    expects_challenge: bool,
}

impl Default for TcpTrack {
    fn default() -> Self {
        let last = Last {
            kind: Kind::None,
            direction: Direction::Original,
            seq: 0,
            ack: 0,
            end: 0,
            window: 0,
            scale: None,
            permits_sack: false,
            expects_challenge: false,
        };
        TcpTrack {
            state: TcpState::None,
            seen: [Seen::default(); 2],
            last,
            retransmissions: 0,
            is_simultaneous: false,
        }
    }
}

/// What comes of looking at the state alone.
enum Step {
    /// Go to this state, if the segment is in the window.
    Check(TcpState),
    /// Go to this state.
    Go(TcpState),
    /// Nothing changes.
    Ignored,
    /// The connection is over, and the segment begins another.
    Reopens,
    Invalid(Invalid),
}

impl TcpTrack {
    fn seen(&mut self, direction: Direction) -> &mut Seen {
        // Two directions by construction.
        &mut self.seen[direction as usize]
    }

    /// The end of what the first end has sent; a later connection from the same port goes on after it.
    pub(crate) fn original_end(&self) -> u32 {
        self.seen[0].end
    }

    /// The first segment (`tcp_new`). `false`: it begins nothing.
    pub(crate) fn begin(&mut self, segment: &Segment<'_>, settings: &TcpSettings) -> bool {
        let Next::To(state) = next(TcpState::None, Direction::Original, segment.kind) else {
            return false;
        };
        let is_syn = state == TcpState::SynSent;
        if !is_syn && !settings.loose {
            return false;
        }
        *self = TcpTrack::default();
        let sender = self.seen(Direction::Original);
        sender.end = segment.end;
        sender.max_window = u32::from(segment.window.max(1));
        sender.max_end = segment.end;
        if is_syn {
            sender.take_options(segment);
        } else {
            sender.max_end = segment.end.wrapping_add(sender.max_window);
            // What the two SYNs agreed upon is not known.
            for seen in &mut self.seen {
                seen.permits_sack = true;
                seen.be_liberal = true;
            }
        }
        true
    }

    fn step(
        &mut self,
        segment: &Segment<'_>,
        direction: Direction,
        settings: &TcpSettings,
        status: u16,
    ) -> Step {
        match next(self.state, direction, segment.kind) {
            Next::To(TcpState::SynSent) if self.state >= TcpState::TimeWait => {
                if self.may_be_reopened(direction) {
                    return Step::Reopens;
                }
                self.ignore(segment, direction)
            }
            Next::Ignore => self.ignore(segment, direction),
            Next::Invalid => Step::Invalid(Invalid::State),
            Next::To(TcpState::TimeWait) if self.is_challenge(segment, direction) => {
                self.last.expects_challenge = false;
                Step::Ignored
            }
            Next::To(TcpState::SynSent2) => {
                self.is_simultaneous = true;
                Step::Check(TcpState::SynSent2)
            }
            Next::To(TcpState::SynRecv)
                if self.is_simultaneous
                    && direction == Direction::Reply
                    && segment.kind == Kind::Ack =>
            {
                Step::Check(TcpState::Established)
            }
            Next::To(TcpState::Close) if segment.kind == Kind::Rst => {
                self.reset(segment, direction, settings, status)
            }
            Next::To(state) => Step::Check(state),
        }
    }

    /// A SYN to a connection that is over begins it anew: it was closed in order, or its client reset it
    /// just before (RFC 1122 §4.2.2.13).
    fn may_be_reopened(&self, direction: Direction) -> bool {
        self.seen.iter().any(|seen| seen.close_init)
            || (self.last.direction == direction && self.last.kind == Kind::Rst)
    }

    /// The ACK that an end in `LAST_ACK` sends about a stray SYN acknowledges no FIN.
    fn is_challenge(&self, segment: &Segment<'_>, direction: Direction) -> bool {
        self.state == TcpState::LastAck
            && segment.kind == Kind::Ack
            && self.last.direction != direction
            && self.last.kind == Kind::Syn
            && self.last.expects_challenge
    }

    /// A segment that may be right although it does not fit: the two ends may know better. A SYN is put
    /// aside, and if it is answered, it counts.
    fn ignore(&mut self, segment: &Segment<'_>, direction: Direction) -> Step {
        let answers_ignored = segment.kind == Kind::SynAck
            && self.last.kind == Kind::Syn
            && self.last.direction != direction
            && segment.ack == self.last.end;
        if answers_ignored {
            let Last { end, window, scale, permits_sack, .. } = self.last;
            self.last.expects_challenge = false;
            *self.seen(self.last.direction) = Seen {
                end,
                max_end: end,
                max_window: u32::from(window.max(1)),
                scale: scale.unwrap_or(0),
                offers_scale: scale.is_some(),
                permits_sack,
                ..Seen::default()
            };
            let answerer = self.seen(direction);
            *answerer = Seen { be_liberal: answerer.be_liberal, ..Seen::default() };
            return Step::Check(TcpState::SynRecv);
        }
        self.last.kind = segment.kind;
        self.last.direction = direction;
        self.last.seq = segment.seq;
        self.last.end = segment.end;
        self.last.window = segment.window;
        if segment.kind == Kind::Syn && direction == Direction::Original {
            let options = segment.syn_options();
            self.last.scale = options.scale;
            self.last.permits_sack = options.permits_sack;
            self.is_simultaneous = false;
            self.last.expects_challenge = self.state == TcpState::LastAck;
        }
        // May be a challenge (RFC 5961 §4), which the reset that follows will quote.
        if self.state == TcpState::SynSent
            && segment.kind == Kind::Ack
            && direction == Direction::Reply
        {
            self.last.ack = segment.ack;
        }
        Step::Ignored
    }

    /// A reset must come right after what the other end has acknowledged (RFC 5961 §3).
    fn reset(
        &mut self,
        segment: &Segment<'_>,
        direction: Direction,
        settings: &TcpSettings,
        status: u16,
    ) -> Step {
        // Numbers of an end that is closing may be those of the connection before.
        if self.state.is_closing() {
            return Step::Go(TcpState::Close);
        }
        let is_established = self.state == TcpState::Established && status & status::ASSURED != 0;
        let acked = self.seen(direction.opposite()).max_ack;
        let mut to = TcpState::Close;
        if let Some(acked) = acked.filter(|_| self.last.kind != Kind::Syn) {
            if segment.seq == 0 && !is_established {
                return Step::Check(TcpState::Close);
            }
            if before(segment.seq, acked) && !settings.ignore_invalid_rst {
                return Step::Invalid(Invalid::Reset);
            }
            let follows_data = self.last.kind == Kind::Ack
                && self.last.direction == direction
                && segment.seq == self.last.end;
            if !is_established || segment.seq == acked || follows_data {
                return Step::Check(TcpState::Close);
            }
            // The receiver will challenge it; until then nothing has happened.
            to = self.state;
        }
        let answers_ignored = (status & status::SEEN_REPLY != 0
            && self.last.kind == Kind::Syn
            && self.last.direction != direction)
            || (status & status::ASSURED == 0 && self.last.kind == Kind::Ack);
        if answers_ignored && segment.ack == self.last.end {
            return Step::Go(to);
        }
        let answers_challenge = self.state == TcpState::SynSent
            && self.last.kind == Kind::Ack
            && self.last.direction == Direction::Reply
            && segment.seq == self.last.ack;
        if answers_challenge {
            return Step::Go(to);
        }
        Step::Check(to)
    }

    /// How long the connection is remembered from here.
    fn timeout(&self, segment: &Segment<'_>, settings: &TcpSettings) -> Duration {
        let usual = settings.timeout(self.state);
        let has_unacknowledged = self.seen.iter().any(|seen| seen.has_unacknowledged);
        if self.retransmissions >= settings.max_retrans && usual > settings.timeout_max_retrans {
            settings.timeout_max_retrans
        } else if segment.kind == Kind::Rst {
            settings.timeout(TcpState::Close)
        } else if has_unacknowledged && usual > settings.timeout_unacknowledged {
            settings.timeout_unacknowledged
        } else if self.last.window == 0 && usual > settings.timeout_max_retrans {
            settings.timeout_max_retrans
        } else {
            usual
        }
    }
}

/// A segment of a connection moves its state, its windows and its expiry.
#[inline]
pub(crate) fn track(
    conn: &mut Conn,
    segment: &Segment<'_>,
    direction: Direction,
    bytes: u16,
    settings: &TcpSettings,
    now: Instant,
) -> Updated {
    let status = conn.status;
    let Proto::Tcp(tcp) = &mut conn.proto else { return Updated::Invalid(Invalid::State) };
    let mut old = tcp.state;
    let new = match tcp.step(segment, direction, settings, status) {
        Step::Ignored => return Updated::Fits,
        Step::Reopens => return Updated::Reopened,
        Step::Invalid(why) => return Updated::Invalid(why),
        Step::Go(state) => state,
        Step::Check(state) => {
            if is_resynchronised(old, direction, segment.kind, state) {
                old = TcpState::SynSent;
            }
            match tcp.in_window(segment, direction, settings.be_liberal) {
                Window::In => state,
                Window::Ignore => return Updated::Fits,
                Window::Out(why) => {
                    shorten_if_dead(conn, segment.kind, direction, settings, now);
                    return Updated::Invalid(why);
                }
            }
        }
    };
    tcp.last.kind = segment.kind;
    tcp.last.direction = direction;
    tcp.state = new;
    if old != new && new == TcpState::FinWait {
        tcp.seen(direction).close_init = true;
    }
    let timeout = tcp.timeout(segment, settings);
    if old != new {
        conn.pending |= Change::State as u8;
    }
    settle(conn, segment, (old, new), timeout, settings, (direction, bytes), now)
}

/// An ignored SYN was answered: the state was that of the SYN all along.
fn is_resynchronised(old: TcpState, direction: Direction, kind: Kind, new: TcpState) -> bool {
    new == TcpState::SynRecv && next(old, direction, kind) == Next::Ignore
}

/// The new state is known; whether the connection lives on, and how long, is settled here.
fn settle(
    conn: &mut Conn,
    segment: &Segment<'_>,
    (old, new): (TcpState, TcpState),
    mut timeout: Duration,
    settings: &TcpSettings,
    (direction, bytes): (Direction, u16),
    now: Instant,
) -> Updated {
    if !conn.has(status::SEEN_REPLY) {
        // Nobody but the reset has ever answered: there is no connection.
        if segment.has_rst() {
            conn.account(direction, bytes);
            return Updated::Refused;
        }
        // A repeated SYN must not keep a port for ever.
        if segment.kind == Kind::Syn && old == TcpState::SynSent {
            return Updated::Fits;
        }
        if new == TcpState::Established {
            timeout = timeout.min(settings.timeout_unacknowledged);
        }
    } else if matches!(old, TcpState::SynRecv | TcpState::Established)
        && new == TcpState::Established
    {
        conn.raise(status::ASSURED, Change::Assured);
    }
    conn.refresh(now + timeout, direction, bytes);
    Updated::Fits
}

/// Both ends have sent a FIN or a reset out of the window: they know better, and the connection is probably
/// dead (`nf_tcp_handle_invalid`).
#[cold]
fn shorten_if_dead(
    conn: &mut Conn,
    kind: Kind,
    direction: Direction,
    settings: &TcpSettings,
    now: Instant,
) {
    /// What expires sooner is left alone.
    const SOON: Duration = Duration::from_secs(120);
    let is_end = matches!(kind, Kind::Rst | Kind::Fin);
    if !is_end || !conn.has(status::ASSURED) || conn.has(status::FIXED_TIMEOUT) {
        return;
    }
    let left = conn.expires.since(now);
    let Proto::Tcp(tcp) = &mut conn.proto else { return };
    let was_end = matches!(tcp.last.kind, Kind::Rst | Kind::Fin);
    if was_end && tcp.last.direction != direction {
        if left >= SOON && left > settings.timeout_unacknowledged {
            conn.expires = now + settings.timeout_unacknowledged;
        }
    } else {
        tcp.last.kind = kind;
        tcp.last.direction = direction;
    }
}
