//! What happens next: events ordered by time and, within one instant, by the order of their scheduling.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;

use base::Instant;
use slab::Slab;

use crate::exec::TaskId;
use crate::iface::IfId;
use crate::ns::NsId;
use crate::path::Parcel;
use crate::socket::SockId;

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A frame has crossed a link and is at this interface.
    Arrive { iface: IfId, parcel: Box<Parcel> },
    /// A bridge has made up its mind about a frame that came in by one of its ports.
    Switch { bridge: IfId, port: IfId, parcel: Box<Parcel> },
    /// A socket asked to be looked at.
    Socket(SockId),
    /// A neighbour has not answered in time.
    Neighbour { ns: NsId, iface: IfId, addr: Ipv4Addr },
    /// Fragments may have waited long enough.
    Fragments { ns: NsId },
    /// A task has slept enough.
    Wake(TaskId),
}

/// The events to come.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    events: Slab<Event>,
    next_serial: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Instant, event: Event) {
        let slot = self.events.insert(event) as u32;
        self.heap.push(Reverse((at, self.next_serial, slot)));
        self.next_serial += 1;
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// The first event, if it happens by `until`.
    pub(crate) fn pop_by(&mut self, until: Instant) -> Option<(Instant, Event)> {
        let Reverse((at, _, slot)) = *self.heap.peek()?;
        if at > until {
            return None;
        }
        self.heap.pop();
        Some((at, self.events.remove(slot as usize)))
    }
}
