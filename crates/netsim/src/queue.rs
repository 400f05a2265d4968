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
/// whose last event is the nearest before it; what fits no line goes to a heap.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lines: [VecDeque<Entry>; LINES],
    /// When the first event of each line happens, and when the last; for a look without touching the lines.
    ends: [(Instant, Instant); LINES],
    heap: BinaryHeap<Reverse<Entry>>,
    next_serial: u64,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    serial: u64,
    event: Event,
}

impl Entry {
    fn key(&self) -> (Instant, u64) {
        (self.at, self.serial)
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

/// Where the next event stands.
#[derive(Clone, Copy)]
enum Next {
    Line(usize),
    Heap,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Instant, event: Event) {
        let serial = self.next_serial;
        self.next_serial += 1;
        let entry = Entry { at, serial, event };
        let Some(line) = self.line_for(at) else { return self.heap.push(Reverse(entry)) };
        if let (Some(line), Some((first, last))) =
            (self.lines.get_mut(line), self.ends.get_mut(line))
        {
            if line.is_empty() {
                *first = at;
            }
            *last = at;
            line.push_back(entry);
        }
    }

    /// The line whose last event is the nearest before `at`, else an empty one.
    fn line_for(&self, at: Instant) -> Option<usize> {
        let mut best: Option<(usize, Instant)> = None;
        let mut empty = None;
        for (i, ((_, last), line)) in self.ends.iter().zip(&self.lines).enumerate() {
            if line.is_empty() {
                empty = empty.or(Some(i));
            } else if *last <= at && best.is_none_or(|(_, nearest)| *last > nearest) {
                best = Some((i, *last));
            }
        }
        best.map(|(i, _)| i).or(empty)
    }

    /// Where the event stands that happens first, and when. Within one instant the one that was scheduled
    /// first comes first.
    fn first(&self) -> Option<(Next, Instant)> {
        let mut found: Option<(Next, (Instant, u64))> = None;
        for (i, ((first, _), line)) in self.ends.iter().zip(&self.lines).enumerate() {
            if found.is_some_and(|(_, (at, _))| at < *first) {
                continue;
            }
            if let Some(entry) = line.front()
                && found.is_none_or(|(_, key)| entry.key() < key)
            {
                found = Some((Next::Line(i), entry.key()));
            }
        }
        if let Some(Reverse(entry)) = self.heap.peek()
            && found.is_none_or(|(_, key)| entry.key() < key)
        {
            found = Some((Next::Heap, entry.key()));
        }
        found.map(|(next, (at, _))| (next, at))
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.first().map(|(_, at)| at)
    }

    /// The first event, if it happens by `until`.
    pub(crate) fn pop_by(&mut self, until: Instant) -> Option<(Instant, Event)> {
        let (next, at) = self.first()?;
        if at > until {
            return None;
        }
        let entry = match next {
            Next::Heap => self.heap.pop().map(|Reverse(entry)| entry),
            Next::Line(i) => {
                let line = self.lines.get_mut(i)?;
                let entry = line.pop_front();
                if let (Some(front), Some((first, _))) = (line.front(), self.ends.get_mut(i)) {
                    *first = front.at;
                }
                entry
            }
        };
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
                let delays = [10, 10, 50, 1_000_000, 127_000_000, u64::from(rng.below(3_000))];
                let delay = delays[rng.below(6) as usize];
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
