//! What happens to connections, told to whoever listens (`conntrack -E`; the kernel's
//! `nf_conntrack_ecache`).
//!
//! Nothing is written down while nobody listens. What is written down is bounded: a listener that does not
//! read in time loses the oldest, and is told how many.

use std::collections::VecDeque;
use std::rc::Rc;

use base::Instant;

use super::Conn;

/// Most events kept for listeners that have not read them yet.
pub const EVENTS_MAX: usize = 4096;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A connection entered the table.
    New,
    /// A connection changed.
    Update,
    /// A connection was forgotten.
    Destroy,
}

/// Something that happened to a connection.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// What.
    pub kind: EventKind,
    /// The connection as it was then.
    pub conn: Conn,
    /// The number of the program that did it; none when packets or time did.
    pub portid: Option<u32>,
}

/// Bits for what changed about a connection; told together, once for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Change {
    /// The first answer.
    Reply = 1 << 0,
    /// It will not be thrown out early any more.
    Assured = 1 << 1,
    /// Its protocol's state.
    State = 1 << 2,
    /// Its mark.
    Mark = 1 << 3,
}

/// Somebody who hears of events; stops listening when dropped.
#[derive(Debug)]
pub struct Listener {
    _token: Rc<()>,
    next: u64,
}

/// What a listener hears next.
#[derive(Clone, Debug)]
pub enum Heard {
    /// This.
    Event(Box<Event>),
    /// So many events were lost because it did not listen in time.
    Lost(u64),
}

/// The events that somebody may still want to read.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    /// Number of the first in the queue.
    first: u64,
    token: Rc<()>,
}

impl Events {
    /// Somebody listens.
    #[inline]
    pub(crate) fn has_listener(&self) -> bool {
        Rc::strong_count(&self.token) > 1
    }

    pub(crate) fn listen(&mut self) -> Listener {
        if !self.has_listener() {
            self.first += self.queue.len() as u64;
            self.queue.clear();
        }
        Listener { _token: self.token.clone(), next: self.first + self.queue.len() as u64 }
    }

    pub(crate) fn push(&mut self, event: Event) {
        if self.queue.len() >= EVENTS_MAX {
            self.queue.pop_front();
            self.first += 1;
        }
        self.queue.push_back(event);
    }

    pub(crate) fn hear(&self, listener: &mut Listener) -> Option<Heard> {
        if listener.next < self.first {
            let lost = self.first - listener.next;
            listener.next = self.first;
            return Some(Heard::Lost(lost));
        }
        let event = self.queue.get((listener.next - self.first) as usize)?;
        listener.next += 1;
        Some(Heard::Event(Box::new(event.clone())))
    }
}
