//! Neighbours: who on the link has which hardware address (`net/core/neighbour.c`).
//!
//! This file is the table and its states; [`crate::arp`] asks and answers.

use std::collections::VecDeque;

use base::tree::BTreeMap;
use std::net::Ipv4Addr;

use base::{Duration, Instant};
use packet::Mac;
use slab::Slab;

use crate::iface::IfId;
use crate::path::Outgoing;

/// Time between two questions (`retrans_time_ms`).
pub const RETRANS: Duration = Duration::from_secs(1);
/// Questions before a neighbour counts as gone (`mcast_solicit`, `ucast_solicit`).
pub const PROBES_MAX: u8 = 3;
/// Time for which an answer is believed without asking again (`base_reachable_time_ms`). The kernel draws
/// a time between half and one and a half of it; here it is always the middle.
pub const REACHABLE: Duration = Duration::from_secs(30);
/// A stale neighbour that is used gets so much time to be confirmed by what it sends before it is asked
/// (`delay_first_probe_time`).
pub const DELAY: Duration = Duration::from_secs(5);
/// Another hardware address for a neighbour is not believed within this time of the last (`locktime`).
pub const LOCKTIME: Duration = Duration::from_secs(1);
/// Packets that wait for one neighbour; of more, the oldest is dropped (`unres_qlen_bytes`, about so many
/// small packets).
pub const WAITING_MAX: usize = 101;
/// Neighbours known at once (`gc_thresh3`).
pub const NEIGHBOURS_MAX: usize = 1024;

/// State of a neighbour, as `ip neigh` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighState {
    /// Asked for, not yet answered.
    Incomplete,
    /// Answered or was heard of lately.
    Reachable,
    /// Known, but not lately confirmed; used all the same.
    Stale,
    /// Used while stale; will be asked unless it is confirmed before.
    Delay,
    /// Being asked whether it is still there.
    Probe,
    /// Did not answer.
    Failed,
    /// Set by hand and needs no confirmation.
    Permanent,
    /// Needs no resolution.
    NoArp,
}

impl NeighState {
    /// All states.
    pub const ALL: [NeighState; 8] = [
        NeighState::Incomplete,
        NeighState::Reachable,
        NeighState::Stale,
        NeighState::Delay,
        NeighState::Probe,
        NeighState::Failed,
        NeighState::Permanent,
        NeighState::NoArp,
    ];

    /// The name `ip neigh` prints.
    pub fn name(self) -> &'static str {
        match self {
            NeighState::Incomplete => "INCOMPLETE",
            NeighState::Reachable => "REACHABLE",
            NeighState::Stale => "STALE",
            NeighState::Delay => "DELAY",
            NeighState::Probe => "PROBE",
            NeighState::Failed => "FAILED",
            NeighState::Permanent => "PERMANENT",
            NeighState::NoArp => "NOARP",
        }
    }

    /// The state of this name, in either case.
    pub fn of_name(name: &str) -> Option<NeighState> {
        NeighState::ALL.into_iter().find(|state| state.name().eq_ignore_ascii_case(name))
    }

    /// Its hardware address may be used (`NUD_VALID`).
    pub fn is_valid(self) -> bool {
        !matches!(self, NeighState::Incomplete | NeighState::Failed)
    }
}

/// What is known of a neighbour.
#[derive(Debug)]
pub struct Neighbour {
    /// Its hardware address, when it is known.
    pub mac: Option<Mac>,
    /// Its state, but that [`NeighState::Reachable`] becomes stale by the clock.
    pub(crate) nud: NeighState,
    /// When it was last confirmed to be there.
    pub confirmed: Instant,
    /// When its hardware address was last learnt.
    pub(crate) updated: Instant,
    /// When it was last used.
    pub(crate) used: Instant,
    /// Questions asked that are not answered.
    pub(crate) probes: u8,
    /// When it is to be looked at again.
    pub(crate) due: Option<Instant>,
    /// Packets waiting for its address.
    pub(crate) waiting: VecDeque<Outgoing>,
}

impl Neighbour {
    /// Its state at `now`.
    pub fn state(&self, now: Instant) -> NeighState {
        match self.nud {
            NeighState::Reachable if now - self.confirmed >= REACHABLE => NeighState::Stale,
            state => state,
        }
    }

    fn is_dispensable(&self, now: Instant) -> bool {
        matches!(self.state(now), NeighState::Stale | NeighState::Failed) && self.waiting.is_empty()
    }
}

/// The neighbour table of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    all: Slab<(Key, Neighbour)>,
    places: BTreeMap<Key, u32>,
    /// Where some of those stand that were used lately.
    recent: [u32; RECENT],
}

type Key = (IfId, Ipv4Addr);

/// Neighbours that are found without looking far.
const RECENT: usize = 8;

impl Neighbours {
    pub(crate) fn get(&self, iface: IfId, addr: Ipv4Addr) -> Option<&Neighbour> {
        let place = self.places.get(&(iface, addr))?;
        self.all.get(*place as usize).map(|(_, neighbour)| neighbour)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, iface: IfId, addr: Ipv4Addr) -> Option<&mut Neighbour> {
        let key = (iface, addr);
        let Neighbours { all, places, recent } = self;
        let hint = recent.get_mut((iface.slot ^ u32::from(addr)) as usize % RECENT)?;
        if all.get(*hint as usize).is_none_or(|(at, _)| *at != key) {
            *hint = *places.get(&key)?;
        }
        all.get_mut(*hint as usize).map(|(_, neighbour)| neighbour)
    }

    /// The entry, a new one where there is none; `None` when the table is full of entries in use.
    pub(crate) fn get_or_new(
        &mut self,
        iface: IfId,
        addr: Ipv4Addr,
        now: Instant,
    ) -> Option<&mut Neighbour> {
        let key = (iface, addr);
        if !self.places.contains_key(&key) {
            if self.all.len() >= NEIGHBOURS_MAX {
                self.make_room(now)?;
            }
            let neighbour = Neighbour {
                mac: None,
                nud: NeighState::Failed,
                confirmed: now,
                updated: now,
                used: now,
                probes: 0,
                due: None,
                waiting: VecDeque::new(),
            };
            let place = self.all.insert((key, neighbour));
            self.places.insert(key, place as u32);
        }
        self.get_mut(iface, addr)
    }

    /// Forgets the dispensable entry that was used longest ago (`neigh_forced_gc`).
    fn make_room(&mut self, now: Instant) -> Option<()> {
        let dispensable = self.entries().filter(|(.., n)| n.is_dispensable(now));
        let (iface, addr, _) = dispensable.min_by_key(|(.., n)| n.used)?;
        self.remove(iface, addr);
        Some(())
    }

    pub(crate) fn remove(&mut self, iface: IfId, addr: Ipv4Addr) -> Option<Neighbour> {
        let place = self.places.remove(&(iface, addr))?;
        Some(self.all.remove(place as usize).1)
    }

    /// Forgets what `matches`; gives back the packets that waited there.
    pub(crate) fn forget(
        &mut self,
        matches: impl Fn(IfId, Ipv4Addr, &Neighbour) -> bool,
    ) -> Vec<Outgoing> {
        let mut waiting = Vec::new();
        let Neighbours { all, places, .. } = self;
        places.retain(|(iface, addr), place| {
            let found = all.get(*place as usize);
            let goes = found.is_none_or(|(_, neighbour)| matches(*iface, *addr, neighbour));
            if goes && let Some((_, neighbour)) = all.try_remove(*place as usize) {
                waiting.extend(neighbour.waiting);
            }
            !goes
        });
        waiting
    }

    /// Packets that wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.all.iter().map(|(_, (_, neighbour))| neighbour.waiting.len()).sum()
    }

    /// All of them, by interface and address.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (IfId, Ipv4Addr, &Neighbour)> {
        self.places.iter().filter_map(|((iface, addr), place)| {
            self.all.get(*place as usize).map(|(_, neighbour)| (*iface, *addr, neighbour))
        })
    }
}
