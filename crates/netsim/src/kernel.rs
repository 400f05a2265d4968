//! Everything that changes, in one place, behind [`crate::Net`].

use base::tree::BTreeMap;
use base::{Instant, Rng};
use slab::Slab;

use crate::along::Trails;
use crate::capture::TapState;
use crate::exec::Scheduler;
use crate::fault::Faults;
use crate::iface::{IfId, Iface};
use crate::ns::{Namespace, NsId};
use crate::path::{PacketCounts, Parcel};
use crate::queue::Queue;
use crate::socket::Pool;
use crate::trace::{PacketId, Tracer};
use crate::ways::Ways;

/// The world's state. Modules add to it what they are about: [`crate::path`] the way of a packet,
/// [`crate::socket`] the sockets, [`crate::sim`] building.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) now: Instant,
    pub(crate) queue: Queue,
    pub(crate) rng: Rng,
    pub(crate) namespaces: Slab<Namespace>,
    pub(crate) ns_by_name: BTreeMap<String, NsId>,
    /// The names of namespaces that are gone: what has been written down still speaks of them.
    pub(crate) past_names: BTreeMap<NsId, String>,
    /// Of the next namespace or interface.
    pub(crate) next_serial: u32,
    pub(crate) ifaces: Slab<Iface>,
    pub(crate) pool: Pool,
    pub(crate) scheduler: Scheduler,
    pub(crate) tracer: Tracer,
    /// Captures that are running.
    pub(crate) taps: Slab<TapState>,
    /// Faults that have been applied and not healed.
    pub(crate) faults: Faults,
    /// Namespaces that are parted from others; from all others where none are named.
    pub(crate) partitions: Vec<(Vec<NsId>, Vec<NsId>)>,
    pub(crate) next_packet: u64,
    pub(crate) ways: Ways,
    pub(crate) trails: Trails,
    pub(crate) counts: PacketCounts,
    /// Boxes of frames that have arrived, for the next ones.
    #[allow(clippy::vec_box, reason = "the boxes are what is kept")]
    pub(crate) spare_parcels: Vec<Box<Parcel>>,
}

impl Kernel {
    pub(crate) fn new(seed: u64) -> Kernel {
        Kernel {
            now: Instant::ZERO,
            queue: Queue::default(),
            rng: Rng::new(seed),
            namespaces: Slab::new(),
            ns_by_name: BTreeMap::new(),
            past_names: BTreeMap::new(),
            next_serial: 0,
            ifaces: Slab::new(),
            pool: Pool::default(),
            scheduler: Scheduler::default(),
            tracer: Tracer::default(),
            taps: Slab::new(),
            faults: Faults::default(),
            partitions: Vec::new(),
            next_packet: 0,
            ways: Ways::default(),
            trails: Trails::default(),
            counts: PacketCounts::default(),
            spare_parcels: Vec::new(),
        }
    }

    pub(crate) fn ns(&self, id: NsId) -> Option<&Namespace> {
        self.namespaces.get(id.slot as usize).filter(|ns| ns.serial == id.serial)
    }

    pub(crate) fn ns_mut(&mut self, id: NsId) -> Option<&mut Namespace> {
        self.namespaces.get_mut(id.slot as usize).filter(|ns| ns.serial == id.serial)
    }

    pub(crate) fn iface(&self, id: IfId) -> Option<&Iface> {
        self.ifaces.get(id.slot as usize).filter(|iface| iface.serial == id.serial)
    }

    /// An interface, to be changed: whatever depends on it is looked for anew.
    pub(crate) fn iface_mut(&mut self, id: IfId) -> Option<&mut Iface> {
        self.ways.changed();
        self.ifaces.get_mut(id.slot as usize).filter(|iface| iface.serial == id.serial)
    }

    /// An interface, to be counted at, or for its bridge to learn: no way depends on that.
    #[inline]
    pub(crate) fn iface_at_work(&mut self, id: IfId) -> Option<&mut Iface> {
        self.ifaces.get_mut(id.slot as usize).filter(|iface| iface.serial == id.serial)
    }

    pub(crate) fn new_packet_id(&mut self) -> PacketId {
        self.next_packet += 1;
        PacketId(self.next_packet)
    }
}
