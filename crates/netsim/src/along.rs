//! A router's short way: a forwarded packet goes from one interface to the other as one before it did that was
//! between the same addresses ([`netfilter::passage`]).
//!
//! **Invariant:** nobody can tell. What is traced, in fragments, damaged, too long, too old or for a group of
//! stations goes the long way ([`crate::path`]), and so does everything after a change of a rule, a route, an
//! interface or a setting.
//! **Invariant:** memory is bounded; a new trail takes the place of another.

use netfilter::Passage;
use packet::{Body, Fragment, Head, L4};

use crate::iface::IfId;
use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::path::{Meta, Outgoing, Parcel, Way};
use crate::route::RouteKind;

/// Trails kept in the whole world.
const SLOTS: usize = 512;

/// What packets have in common that take the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trail {
    ns: NsId,
    came_in: IfId,
    /// Source and destination.
    addrs: u64,
    /// Protocol, and source and destination port where rules look at them.
    ports: u64,
}

impl Trail {
    #[inline]
    fn of(ns: NsId, came_in: IfId, head: &Head) -> Option<Trail> {
        let (L4::Tcp { sport, dport, .. } | L4::Udp { sport, dport }) = head.l4 else {
            return None;
        };
        // What begins a connection is of no established one.
        if head.is_tcp_syn() || head.fragment != Fragment::default() {
            return None;
        }
        let addrs = u64::from(u32::from(head.src)) << 32 | u64::from(u32::from(head.dst));
        let ports = u64::from(head.protocol) << 32 | u64::from(sport) << 16 | u64::from(dport);
        Some(Trail { ns, came_in, addrs, ports })
    }

    /// The same for all ports.
    #[inline]
    fn wide(&self) -> Trail {
        Trail { ports: self.ports >> 32 << 32, ..*self }
    }

    #[inline]
    fn slot(&self) -> usize {
        let words = [self.addrs, self.ports ^ u64::from(self.came_in.slot) << 32];
        let mixed = words.into_iter().fold(0_u64, |mixed, word| {
            (mixed.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        (mixed >> 48) as usize % SLOTS
    }
}

#[derive(Clone, Debug)]
struct Kept {
    trail: Trail,
    /// Of the namespace's tables of routes, and of everything else.
    versions: (u64, u64),
    passage: Passage,
    way: Way,
}

/// The trails that have been taken.
#[derive(Debug, Default)]
pub(crate) struct Trails {
    slots: Vec<Option<Kept>>,
    /// Of the packet that goes the long way just now.
    draft: Option<Trail>,
    /// Rules look at ports somewhere.
    has_narrow: bool,
}

impl Trails {
    /// What is kept of a trail.
    #[inline]
    fn get(&self, trail: &Trail) -> Option<&Kept> {
        let place = |trail: &Trail| {
            self.slots.get(trail.slot())?.as_ref().filter(|kept| kept.trail == *trail)
        };
        place(&trail.wide()).or_else(|| place(trail).filter(|_| self.has_narrow))
    }
}

impl Kernel {
    /// A packet sets out on the long way: the next one may follow.
    pub(crate) fn begin_trail(&mut self, ns: NsId, came_in: IfId, head: &Head, meta: Meta) {
        let is_plain = !meta.is_group && !meta.is_suspect && meta.frag_max == 0;
        let trail = if is_plain { Trail::of(ns, came_in, head) } else { None };
        self.trails.draft = trail.filter(|_| !self.tracer.wants(meta.cause));
        if self.trails.draft.is_some()
            && let Some(here) = self.ns_mut(ns)
        {
            here.netfilter.begin_passage();
        }
    }

    /// Another packet is being made: what is noted would be of both.
    pub(crate) fn lose_trail(&mut self) {
        self.trails.draft = None;
    }

    /// The packet leaves.
    pub(crate) fn end_trail(&mut self, ns: NsId, way: Way) {
        let Some(trail) = self.trails.draft.take().filter(|trail| trail.ns == ns) else { return };
        let others = self.ways.version();
        let Some(here) = self.ns_mut(ns) else { return };
        let versions = (here.fib.version(), others);
        let is_out = way.kind == RouteKind::Unicast && way.dev != here.loopback;
        let Some(passage) = here.netfilter.end_passage().filter(|_| is_out) else { return };
        let trail = if passage.is_narrow() { trail } else { trail.wide() };
        self.trails.has_narrow |= passage.is_narrow();
        let slots = &mut self.trails.slots;
        slots.resize(SLOTS, None);
        if let Some(place) = slots.get_mut(trail.slot()) {
            *place = Some(Kept { trail, versions, passage, way });
        }
    }

    /// Takes a packet that has come in as far as the interface it leaves by. `None`: it has to go the long way.
    #[inline]
    pub(crate) fn follow_trail(
        &mut self,
        ns: NsId,
        came_in: IfId,
        parcel: &mut Parcel,
    ) -> Option<Way> {
        if self.trails.slots.is_empty() || self.tracer.wants(parcel.meta.cause) {
            return None;
        }
        let Body::Ipv4(packet) = &mut parcel.frame.body else { return None };
        let head = packet.head();
        let trail = Trail::of(ns, came_in, head)?;
        let kept = self.trails.get(&trail)?;
        let here = self.namespaces.get_mut(ns.slot as usize)?;
        if kept.versions != (here.fib.version(), self.ways.version())
            || head.ttl <= 1
            || head.total_len > kept.way.mtu
        {
            return None;
        }
        if !here.netfilter.pass_along(&kept.passage, packet, self.now) {
            return None;
        }
        packet.decrement_ttl();
        Some(kept.way)
    }

    /// Sends a packet on that has followed a trail.
    pub(crate) fn send_along(&mut self, ns: NsId, way: Way, mut parcel: Box<Parcel>) {
        parcel.meta.from_mac = parcel.frame.src;
        parcel.meta.is_icmps = false;
        let meta = parcel.meta;
        let mac = self.resolve(ns, way.dev, way.next_hop, meta.confirms);
        match (mac, self.iface(way.dev)) {
            (Some(mac), Some(iface)) => {
                (parcel.frame.dst, parcel.frame.src, parcel.from) = (mac, iface.mac, ns);
                self.transmit(way.dev, parcel);
            }
            _ => {
                if let Body::Ipv4(packet) = self.unpack(parcel) {
                    self.send_to_neighbour(ns, way.dev, way.next_hop, Outgoing { packet, meta });
                }
            }
        }
    }
}
