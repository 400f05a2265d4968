//! Neighbours: who on the link has which hardware address (`net/core/neighbour.c`, `net/ipv4/arp.c`).

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use base::{Duration, Instant};
use packet::Mac;

use crate::iface::IfId;
use crate::path::Outgoing;

/// Time between two questions (`retrans_time_ms`).
pub const RETRANS: Duration = Duration::from_secs(1);
/// Questions before a neighbour counts as gone (`mcast_solicit`, `ucast_solicit`).
pub const PROBES_MAX: u8 = 3;
/// Time for which an answer is believed without asking again (`base_reachable_time_ms`).
pub const REACHABLE: Duration = Duration::from_secs(30);
/// Packets that wait for one neighbour; of more, the oldest is dropped (`unres_qlen_bytes`, about so many
/// small packets).
pub const WAITING_MAX: usize = 101;

/// State of a neighbour, as `ip neigh` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighState {
    /// Asked for, not yet answered.
    Incomplete,
    /// Answered lately.
    Reachable,
    /// Answered, but not lately; used all the same.
    Stale,
    /// Being asked whether it is still there.
    Probe,
    /// Did not answer.
    Failed,
}

impl NeighState {
    /// The name `ip neigh` prints.
    pub fn name(self) -> &'static str {
        match self {
            NeighState::Incomplete => "INCOMPLETE",
            NeighState::Reachable => "REACHABLE",
            NeighState::Stale => "STALE",
            NeighState::Probe => "PROBE",
            NeighState::Failed => "FAILED",
        }
    }
}

/// What is known of a neighbour.
#[derive(Debug)]
pub struct Neighbour {
    /// Its hardware address, when it has ever answered.
    pub mac: Option<Mac>,
    /// When that was last confirmed.
    pub confirmed: Instant,
    /// Questions asked since; 0 when none is open.
    pub probes: u8,
    /// It did not answer any of them.
    pub has_failed: bool,
    /// Packets waiting for its address.
    pub(crate) waiting: VecDeque<Outgoing>,
}

impl Neighbour {
    /// Its state at `now`.
    pub fn state(&self, now: Instant) -> NeighState {
        match (self.mac, self.probes) {
            _ if self.has_failed => NeighState::Failed,
            (None, _) => NeighState::Incomplete,
            (Some(_), 1..) => NeighState::Probe,
            (Some(_), 0) if now - self.confirmed < REACHABLE => NeighState::Reachable,
            (Some(_), 0) => NeighState::Stale,
        }
    }
}

/// The neighbours of a namespace.
#[derive(Debug, Default)]
pub struct Neighbours(BTreeMap<(IfId, Ipv4Addr), Neighbour>);

impl Neighbours {
    pub(crate) fn get(&self, iface: IfId, addr: Ipv4Addr) -> Option<&Neighbour> {
        self.0.get(&(iface, addr))
    }

    pub(crate) fn get_mut(&mut self, iface: IfId, addr: Ipv4Addr) -> Option<&mut Neighbour> {
        self.0.get_mut(&(iface, addr))
    }

    pub(crate) fn get_or_new(
        &mut self,
        iface: IfId,
        addr: Ipv4Addr,
        now: Instant,
    ) -> &mut Neighbour {
        self.0.entry((iface, addr)).or_insert_with(|| Neighbour {
            mac: None,
            confirmed: now,
            probes: 0,
            has_failed: false,
            waiting: VecDeque::new(),
        })
    }

    /// An interface is gone.
    pub(crate) fn forget_iface(&mut self, iface: IfId) {
        self.0.retain(|(at, _), _| *at != iface);
    }

    /// All of them, by interface and address.
    pub fn entries(&self) -> impl Iterator<Item = (IfId, Ipv4Addr, &Neighbour)> {
        self.0.iter().map(|((iface, addr), neighbour)| (*iface, *addr, neighbour))
    }
}
