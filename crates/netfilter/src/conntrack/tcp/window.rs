//! Is a segment within what the two ends can have sent? After Guido van Rooij, "Real Stateful TCP Packet
//! Filtering in IP Filter" (2000), with the bounds of the kernel's `tcp_in_window`:
//!
//! 1. no data beyond what the receiver has offered,
//! 2. no acknowledgment of what has not been sent,
//! 3. no data older than one receive window,
//! 4. no acknowledgment older than the largest window.

use super::segment::{Segment, after, before};
use super::{Kind, TcpState, TcpTrack};
use crate::conntrack::{Direction, Invalid};

/// What has been seen of one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// One after the last byte it has sent.
    pub(crate) end: u32,
    /// One after the last byte the other end has allowed.
    pub(crate) max_end: u32,
    /// The largest window it has offered; 0 until it has sent anything.
    pub(crate) max_window: u32,
    /// The highest acknowledgment it has sent.
    pub(crate) max_ack: Option<u32>,
    /// Shift of its windows.
    pub(crate) scale: u8,
    /// Its SYN offered window scaling.
    pub(crate) offers_scale: bool,
    /// Its SYN permitted selective acknowledgments.
    pub(crate) permits_sack: bool,
    /// It has sent the first FIN.
    pub(crate) close_init: bool,
    /// Its bounds are guesses: nothing it sends is out of the window.
    pub(crate) be_liberal: bool,
    /// It has sent data that has not been acknowledged.
    pub(crate) has_unacknowledged: bool,
}

impl Seen {
    /// Takes over what a SYN offers; one without options leaves what was known.
    pub(super) fn take_options(&mut self, segment: &Segment<'_>) {
        if !segment.has_options() {
            return;
        }
        let options = segment.syn_options();
        *self = Seen {
            end: self.end,
            max_end: self.max_end,
            max_window: self.max_window,
            scale: options.scale.unwrap_or(0),
            offers_scale: options.scale.is_some(),
            permits_sack: options.permits_sack,
            be_liberal: self.be_liberal,
            ..Seen::default()
        };
    }
}

/// How a segment stands to the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// Within.
    In,
    /// Not quite, but it may pass: the receiver will deal with it.
    Ignore,
    /// Outside.
    Out(Invalid),
}

/// Acknowledgments may be this old whatever the window.
const ACK_AGE_MIN: u32 = 66_000;

/// The numbers of a segment, as far as they are believed.
struct Numbers {
    seq: u32,
    end: u32,
    ack: u32,
    /// The highest acknowledgment, selective ones included.
    sack: u32,
}

impl Numbers {
    fn of(segment: &Segment<'_>, receiver: &Seen) -> Numbers {
        let sack = if receiver.permits_sack { segment.highest_ack() } else { segment.ack };
        Numbers { seq: segment.seq, end: segment.end, ack: segment.ack, sack }
    }

    /// What a segment does not say is taken to be right.
    fn pretend(&mut self, segment: &Segment<'_>, sender: &Seen, receiver: &Seen, state: TcpState) {
        // Some stacks set ACK in a reset and leave the number at zero.
        if !segment.has_ack() || (segment.has_rst() && self.ack == 0) {
            (self.ack, self.sack) = (receiver.end, receiver.end);
        }
        // A reset that answers a SYN.
        if segment.has_rst() && self.seq == 0 && state == TcpState::SynSent {
            (self.seq, self.end) = (sender.end, sender.end);
        }
    }

    fn is_ack_recent(&self, sender: &Seen, receiver: &Seen) -> bool {
        let age = sender.max_window.max(ACK_AGE_MIN);
        after(self.sack, receiver.end.wrapping_sub(age).wrapping_sub(1))
    }

    fn is_data_recent(&self, sender: &Seen, receiver: &Seen) -> bool {
        after(self.end, sender.end.wrapping_sub(receiver.max_window).wrapping_sub(1))
    }
}

impl TcpTrack {
    /// Compares a segment with the windows, and moves them if it fits.
    pub(super) fn in_window(
        &mut self,
        segment: &Segment<'_>,
        direction: Direction,
        be_liberal: bool,
    ) -> Window {
        let state = self.state;
        let [original, reply] = &mut self.seen;
        let (sender, receiver) = match direction {
            Direction::Original => (original, reply),
            Direction::Reply => (reply, original),
        };
        let mut numbers = Numbers::of(segment, receiver);
        if begin_sender(sender, receiver, segment, &numbers, direction, state) {
            return Window::In;
        }
        numbers.pretend(segment, sender, receiver, state);
        let verdict = judge(&numbers, sender, receiver);
        if verdict != Window::In {
            let forgives = be_liberal || sender.be_liberal;
            return if forgives { Window::In } else { verdict };
        }
        advance(&numbers, segment, sender, receiver);
        if segment.kind == Kind::Ack {
            self.count_retransmission(segment, &numbers, direction);
        }
        Window::In
    }

    fn count_retransmission(
        &mut self,
        segment: &Segment<'_>,
        numbers: &Numbers,
        direction: Direction,
    ) {
        let is_same = self.last.direction == direction
            && self.last.seq == numbers.seq
            && self.last.ack == numbers.ack
            && self.last.end == numbers.end
            && self.last.window == segment.window;
        if is_same {
            self.retransmissions = self.retransmissions.saturating_add(1);
            return;
        }
        self.last.direction = direction;
        self.last.seq = numbers.seq;
        self.last.ack = numbers.ack;
        self.last.end = numbers.end;
        self.last.window = segment.window;
        self.retransmissions = 0;
    }
}

/// The first segment of an end, or a SYN that begins anew, sets its bounds. `true`: a SYN alone, about which
/// there is nothing more to ask.
fn begin_sender(
    sender: &mut Seen,
    receiver: &mut Seen,
    segment: &Segment<'_>,
    numbers: &Numbers,
    direction: Direction,
    state: TcpState,
) -> bool {
    if sender.max_window == 0 {
        if segment.has_syn() {
            init_sender(sender, receiver, segment, direction);
            return !segment.has_ack();
        }
        pick_up(sender, receiver, segment, numbers);
    } else if segment.has_syn()
        && after(segment.end, sender.end)
        && matches!(state, TcpState::SynSent | TcpState::SynRecv)
    {
        // An end that begins anew need not wait, if only its numbers have moved on (RFC 9293 §3.4.2).
        init_sender(sender, receiver, segment, direction);
        return direction == Direction::Reply && !segment.has_ack();
    }
    false
}

fn init_sender(
    sender: &mut Seen,
    receiver: &mut Seen,
    segment: &Segment<'_>,
    direction: Direction,
) {
    sender.end = segment.end;
    sender.max_end = segment.end;
    sender.max_window = u32::from(segment.window.max(1));
    sender.take_options(segment);
    // Windows are scaled only if both ends offer it (RFC 7323 §2.2).
    if direction == Direction::Reply && !(sender.offers_scale && receiver.offers_scale) {
        (sender.scale, receiver.scale) = (0, 0);
    }
}

/// The middle of a connection: its history is lost, and the segment is believed.
fn pick_up(sender: &mut Seen, receiver: &mut Seen, segment: &Segment<'_>, numbers: &Numbers) {
    sender.end = segment.end;
    sender.max_window = (u32::from(segment.window) << sender.scale).max(1);
    sender.max_end = segment.end.wrapping_add(sender.max_window);
    if receiver.max_window == 0 {
        (receiver.end, receiver.max_end) = (numbers.sack, numbers.sack);
    } else if numbers.sack == receiver.end.wrapping_add(1) {
        // Probably the answer to a keep-alive.
        receiver.end = receiver.end.wrapping_add(1);
    }
}

fn judge(numbers: &Numbers, sender: &mut Seen, receiver: &Seen) -> Window {
    let acks_unsent = !before(numbers.sack, receiver.end.wrapping_add(1));
    if !before(numbers.seq, sender.max_end.wrapping_add(1)) {
        let overshot = numbers.end.wrapping_sub(sender.max_end).wrapping_add(1);
        let is_only_too_much = receiver.max_window != 0
            && numbers.is_data_recent(sender, receiver)
            && numbers.is_ack_recent(sender, receiver)
            && overshot <= receiver.max_window
            && !acks_unsent;
        if is_only_too_much {
            // Some stacks send more than they may; what acknowledges it must not be refused.
            sender.end = numbers.end;
            sender.has_unacknowledged = true;
            return Window::Ignore;
        }
        return Window::Out(Invalid::SeqOverBound);
    }
    if acks_unsent {
        return Window::Out(Invalid::AckOverBound);
    }
    let is_data_recent = receiver.max_window == 0 || numbers.is_data_recent(sender, receiver);
    if !is_data_recent || !numbers.is_ack_recent(sender, receiver) {
        return Window::Ignore;
    }
    Window::In
}

fn advance(numbers: &Numbers, segment: &Segment<'_>, sender: &mut Seen, receiver: &mut Seen) {
    let mut window = u32::from(segment.window);
    if !segment.has_syn() {
        window <<= sender.scale;
    }
    let offered = window.wrapping_add(numbers.sack.wrapping_sub(numbers.ack));
    sender.max_window = sender.max_window.max(offered);
    if after(numbers.end, sender.end) {
        sender.end = numbers.end;
        sender.has_unacknowledged = true;
    }
    if segment.has_ack() {
        let is_higher = sender.max_ack.is_none_or(|highest| after(numbers.ack, highest));
        if is_higher {
            sender.max_ack = Some(numbers.ack);
        }
    }
    if receiver.max_window != 0 && after(numbers.end, sender.max_end) {
        let more = numbers.end.wrapping_sub(sender.max_end);
        receiver.max_window = receiver.max_window.wrapping_add(more);
    }
    let allowed = numbers.sack.wrapping_add(window);
    if after(allowed, receiver.max_end.wrapping_sub(1)) {
        // A closed window still lets one byte probe it.
        receiver.max_end = allowed.wrapping_add(u32::from(window == 0));
    }
    if numbers.ack == receiver.end {
        receiver.has_unacknowledged = false;
    }
}
