//! What happens next: events ordered by time and, within one instant, by the order of their scheduling.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::net::Ipv4Addr;

use base::Instant;

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

/// Lines of events that are in order by themselves.
const LINES: usize = 8;

/// The events to come.
///
/// Most events lie a fixed time ahead: a link's latency, a retransmission, a timeout. Of those, what is
/// scheduled later happens later, so they need no sorting, only a line to stand in. An event joins the line
/// whose last event is the nearest before it; what fits no line goes to a heap. A frame is often the only one
/// under way: what is scheduled last and happens first does not stand in a line at all.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Before the lines.
    front: Option<Entry>,
    /// The line whose first event happens first, [`LINES`] if that is the heap's, and its key.
    soonest: (usize, u128),
    lines: [VecDeque<Entry>; LINES],
    /// The key of the first event of each line, [`NEVER`] where there is none: for a look without touching the
    /// lines.
    firsts: [u128; LINES],
    /// When the last event that joined each line happens, in microseconds.
    lasts: [u64; LINES],
    /// So many of the lines have been used.
    used: usize,
    heap: BinaryHeap<Reverse<Entry>>,
    next_serial: u64,
}

/// The key of no event.
const NEVER: u128 = u128::MAX;

#[derive(Debug)]
struct Entry {
    at: Instant,
    serial: u64,
    event: Event,
}

impl Entry {
    /// Of two events the one with the lower key happens first.
    #[inline]
    fn key(&self) -> u128 {
        u128::from(self.at.as_micros()) << 64 | u128::from(self.serial)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            front: None,
            soonest: (LINES, NEVER),
            lines: Default::default(),
            firsts: [NEVER; LINES],
            lasts: [0; LINES],
            used: 0,
            heap: BinaryHeap::new(),
            next_serial: 0,
        }
    }
}

impl Queue {
    pub(crate) fn push(&mut self, at: Instant, event: Event) {
        let serial = self.next_serial;
        self.next_serial += 1;
        let mut entry = Entry { at, serial, event };
        match &mut self.front {
            None => self.front = Some(entry),
            Some(front) if at < front.at => {
                std::mem::swap(front, &mut entry);
                // Others for the same instant may stand in lines though they were scheduled later.
                let before = entry.at.as_micros().saturating_sub(1);
                self.stand(entry, before);
            }
            Some(_) => self.stand(entry, at.as_micros()),
        }
    }

    /// Puts an event into a line whose last one happens by `before`, in microseconds.
    fn stand(&mut self, entry: Entry, before: u64) {
        let (at, key) = (entry.at, entry.key());
        let place = self.line_for(before);
        let (Some(line), Some(first), Some(last)) =
            (self.lines.get_mut(place), self.firsts.get_mut(place), self.lasts.get_mut(place))
        else {
            if key < self.soonest.1 {
                self.soonest = (LINES, key);
            }
            return self.heap.push(Reverse(entry));
        };
        if key < *first {
            *first = key;
        }
        if key < self.soonest.1 {
            self.soonest = (place, key);
        }
        *last = at.as_micros();
        line.push_back(entry);
    }

    /// The line whose last event is the nearest before `at`, else a new one, else one that has become empty;
    /// [`LINES`] where there is none.
    #[inline]
    fn line_for(&mut self, at: u64) -> usize {
        let (mut found, mut nearest) = (LINES, 0);
        for (line, last) in self.lasts.iter().take(self.used).enumerate() {
            if *last <= at && *last >= nearest {
                (found, nearest) = (line, *last);
            }
        }
        if found == LINES && self.used < LINES {
            self.used += 1;
            return self.used - 1;
        }
        if found == LINES {
            return self.firsts.iter().position(|first| *first == NEVER).unwrap_or(LINES);
        }
        found
    }

    /// The line where the event stands that happens first, [`LINES`] if that is the heap, and its key. Within
    /// one instant the one that was scheduled first comes first.
    #[inline]
    fn first(&self) -> (usize, u128) {
        let mut found = match self.heap.peek() {
            Some(Reverse(entry)) => (LINES, entry.key()),
            None => (LINES, NEVER),
        };
        for (line, first) in self.firsts.iter().take(self.used).enumerate() {
            if *first < found.1 {
                found = (line, *first);
            }
        }
        found
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        let key = self.front.as_ref().map_or(NEVER, Entry::key).min(self.soonest.1);
        (key != NEVER).then(|| Instant::from_micros((key >> 64) as u64))
    }

    /// The first event, if it happens by `until`.
    #[inline]
    pub(crate) fn pop_by(&mut self, until: Instant) -> Option<(Instant, Event)> {
        if let Some(front) = &self.front
            && front.key() < self.soonest.1
        {
            if front.at > until {
                return None;
            }
            return self.front.take().map(|entry| (entry.at, entry.event));
        }
        let (place, key) = self.soonest;
        if key == NEVER || (key >> 64) as u64 > until.as_micros() {
            return None;
        }
        let entry = match (self.lines.get_mut(place), self.firsts.get_mut(place)) {
            (Some(line), Some(first)) => {
                let entry = line.pop_front();
                *first = line.front().map_or(NEVER, Entry::key);
                entry
            }
            _ => self.heap.pop().map(|Reverse(entry)| entry),
        };
        self.soonest = self.first();
        entry.map(|entry| (entry.at, entry.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Duration, Rng};

    /// Events scheduled in many ways come out by time, and within one instant as they were scheduled.
    #[test]
    fn events_come_in_the_order_of_time_and_then_of_scheduling() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let mut queue = Queue::default();
            let mut now = Instant::ZERO;
            let mut scheduled = Vec::new();
            let mut came = Vec::new();
            for serial in 0..2_000_u32 {
                let near = u64::from(rng.below(5));
                let delays =
                    [10, 10, 50, 1_000_000, 127_000_000, u64::from(rng.below(3_000)), near];
                let delay = delays[rng.below(7) as usize];
                let at = now + Duration::from_micros(delay);
                let task = TaskId { slot: 0, serial };
                queue.push(at, Event::Wake(task));
                scheduled.push((at, serial));
                if rng.below(3) > 0
                    && let Some((at, Event::Wake(task))) =
                        queue.pop_by(Instant::from_micros(u64::MAX / 2))
                {
                    now = at;
                    came.push((at, task.serial));
                }
            }
            while let Some((at, Event::Wake(task))) =
                queue.pop_by(Instant::from_micros(u64::MAX / 2))
            {
                came.push((at, task.serial));
            }
            assert!(came.windows(2).all(|pair| pair[0].0 <= pair[1].0));
            // Nothing is scheduled into the past here, so sorting what was scheduled gives the order.
            scheduled.sort();
            assert_eq!(came, scheduled);
        }
    }

    #[test]
    fn what_happens_later_than_asked_for_stays() {
        let mut queue = Queue::default();
        queue.push(Instant::from_micros(5), Event::Wake(TaskId { slot: 0, serial: 0 }));
        assert!(queue.pop_by(Instant::from_micros(4)).is_none());
        assert_eq!(queue.next_at(), Some(Instant::from_micros(5)));
        assert!(queue.pop_by(Instant::from_micros(5)).is_some());
        assert_eq!(queue.next_at(), None);
    }
}
