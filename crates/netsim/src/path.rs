//! A packet's way through a namespace (`net/ipv4/ip_input.c`, `ip_forward.c`, `ip_output.c`).
//!
//! ```text
//! arrive ─ bridge port? ─ switch
//!    └ ARP ─ answer, learn
//!    └ IPv4 ─ PREROUTING ─ route ┬ ours ─ INPUT ─ socket
//!                                └ TTL ─ MTU ─ FORWARD ─┐
//! socket ─ route ─ OUTPUT ─ route again if rewritten ───┴ POSTROUTING ─ neighbour ─ link
//! ```

use std::fmt;
use std::net::Ipv4Addr;

use base::Duration;
use netfilter::ext::reject::Reject;
use netfilter::trace::HookTrace;
use netfilter::{CtSlot, Hook, HookInput, IfName, Skb, Verdict};
use packet::reply::{self, IcmpError, Unreachable};
use packet::{Arp, Body, Frame, Mac, Malformed, Packet};

use crate::iface::{IfId, IfKind};
use crate::kernel::Kernel;
use crate::neigh::{PROBES_MAX, REACHABLE, RETRANS, WAITING_MAX};
use crate::ns::{NsId, View};
use crate::queue::Event;
use crate::route::RouteKind;
use crate::trace::{Cause, PacketId, Routed, StepKind};

/// Time a bridge takes to pass a frame on.
pub const BRIDGE_HOP: Duration = Duration::from_micros(50);

/// Who a packet is, wherever it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) id: PacketId,
    pub(crate) cause: Cause,
}

/// A frame on its way, and what goes with it.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) frame: Frame,
    pub(crate) meta: Meta,
    /// Over loopback a packet keeps its mark and its connection; between namespaces it loses them.
    pub(crate) kept: Option<(u32, CtSlot)>,
}

/// A packet that waits for its next hop's hardware address.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) packet: Packet,
    pub(crate) meta: Meta,
    /// The interface it came in by; `None` when it was made here.
    pub(crate) came_by: Option<IfId>,
}

/// Why a packet is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Netfilter dropped it.
    Netfilter(netfilter::DropReason),
    /// Netfilter refused it and told the sender.
    Rejected(netfilter::DropReason),
    /// No route leads there.
    NoRoute,
    /// A route says so.
    RouteSays(RouteKind),
    /// It is for somebody else, and this namespace does not forward (`ip_forward` is 0).
    NotForwarding,
    /// Its time to live ran out.
    TtlExceeded,
    /// It is longer than the next link takes and must not be fragmented.
    TooBig {
        /// The link's MTU.
        mtu: u16,
    },
    /// A loopback address came in from outside.
    Martian,
    /// The frame is for another station.
    OtherHost,
    /// The interface is down or gone, or the namespace is switched off.
    Down,
    /// The link is cut.
    LinkCut,
    /// The link lost it.
    LinkLoss,
    /// The next hop does not answer ARP.
    NoNeighbour,
    /// Too many packets wait for the same neighbour.
    QueueFull,
    /// The bridge has no other port to send it to.
    NoPort,
    /// The stack does not take it.
    NotAccepted,
    /// Not a packet.
    Malformed(Malformed),
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DropReason::Netfilter(reason) => write!(f, "dropped by {reason}"),
            DropReason::Rejected(reason) => write!(f, "refused by {reason}"),
            DropReason::NoRoute => f.write_str("no route to this destination"),
            DropReason::RouteSays(RouteKind::Blackhole) => f.write_str("the route is a blackhole"),
            DropReason::RouteSays(RouteKind::Prohibit) => f.write_str("the route is prohibited"),
            DropReason::RouteSays(_) => f.write_str("the route says unreachable"),
            DropReason::NotForwarding => f.write_str("for another host, and ip_forward is 0 here"),
            DropReason::TtlExceeded => f.write_str("its time to live ran out"),
            DropReason::TooBig { mtu } => {
                write!(f, "longer than the next link takes ({mtu} bytes)")
            }
            DropReason::Martian => f.write_str("a loopback address from outside"),
            DropReason::OtherHost => f.write_str("the frame is for another station"),
            DropReason::Down => f.write_str("the interface is down"),
            DropReason::LinkCut => f.write_str("the link is cut"),
            DropReason::LinkLoss => f.write_str("lost on the link"),
            DropReason::NoNeighbour => f.write_str("the next hop does not answer ARP"),
            DropReason::QueueFull => f.write_str("too many packets wait for the next hop"),
            DropReason::NoPort => f.write_str("the bridge has nowhere to send it"),
            DropReason::NotAccepted => f.write_str("the stack does not take it"),
            DropReason::Malformed(why) => why.fmt(f),
        }
    }
}

/// What became of the IPv4 packets that stacks have made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounts {
    /// Made by a stack, or copied by a flooding bridge.
    pub made: u64,
    /// Taken by a stack.
    pub delivered: u64,
    /// Dropped, each with a reason.
    pub dropped: u64,
}

/// Where a packet leaves by.
struct Way {
    dev: IfId,
    name: IfName,
    next_hop: Ipv4Addr,
}

enum RouteError {
    NoRoute,
    Says(RouteKind),
}

impl Kernel {
    // ---- in from a link ------------------------------------------------------------------------------

    /// A frame is at an interface.
    pub(crate) fn arrive(&mut self, id: IfId, mut parcel: Box<Parcel>) {
        let Some(iface) = self.iface(id) else { return self.lose(parcel, DropReason::Down) };
        let ns = iface.ns;
        let (is_up, master, mac) = (iface.is_up, iface.master, iface.mac);
        let (name, is_loopback) = (iface.name, matches!(iface.kind, IfKind::Loopback));
        if !is_up || self.ns(ns).is_none_or(|ns| ns.is_off) {
            return self.lose_at(ns, parcel, DropReason::Down);
        }
        let bytes = parcel.frame.body_len() as u64;
        if let Some(iface) = self.iface_mut(id) {
            iface.stats.rx_packets += 1;
            iface.stats.rx_bytes += bytes + 14;
        }
        self.note(ns, parcel.meta, &parcel.frame.body, || StepKind::Received { iface: name });
        if let Some(bridge) = master {
            let at = self.now + BRIDGE_HOP;
            return self.queue.push(at, Event::Switch { bridge, port: id, parcel });
        }
        if !is_loopback && parcel.frame.dst != mac && !parcel.frame.dst.is_group() {
            return self.lose_at(ns, parcel, DropReason::OtherHost);
        }
        let kept = parcel.kept.take();
        let meta = parcel.meta;
        match self.unpack(parcel) {
            Body::Arp(arp) => self.arp_in(ns, id, meta, arp),
            Body::Ipv4(packet) => {
                let (mark, ct) = kept.unwrap_or_default();
                self.ip_in(ns, id, name, Skb { packet, mark, ct }, meta);
            }
        }
    }

    /// The frame's body; the box is kept for the next frame.
    fn unpack(&mut self, mut parcel: Box<Parcel>) -> Body {
        let empty =
            Body::Arp(Arp::who_has(Ipv4Addr::UNSPECIFIED, Mac::ZERO, Ipv4Addr::UNSPECIFIED));
        let body = std::mem::replace(&mut parcel.frame.body, empty);
        if self.spare_parcels.len() < 1024 {
            self.spare_parcels.push(parcel);
        }
        body
    }

    fn pack(&mut self, parcel: Parcel) -> Box<Parcel> {
        match self.spare_parcels.pop() {
            Some(mut spare) => {
                *spare = parcel;
                spare
            }
            None => Box::new(parcel),
        }
    }

    /// A packet has come in (`ip_rcv`).
    fn ip_in(&mut self, ns: NsId, iif: IfId, iif_name: IfName, mut skb: Skb, meta: Meta) {
        let Some(here) = self.ns(ns) else { return };
        let head = skb.packet.head();
        let is_loopback = iif == here.loopback;
        let from_loopback = head.src.is_loopback() || head.dst.is_loopback();
        if from_loopback && !is_loopback && !here.route_localnet {
            return self.drop_ip(ns, meta, skb, DropReason::Martian);
        }
        if !self.hook(ns, Hook::Prerouting, (iif_name, IfName::NONE), None, &mut skb, meta) {
            return;
        }
        let Some(here) = self.ns(ns) else { return };
        let dst = skb.packet.head().dst;
        if here.fib.is_local(dst) || here.fib.is_broadcast(dst) {
            self.note_ip(ns, meta, &skb, || StepKind::Routed(Routed::Local));
            return self.deliver(ns, iif_name, skb, meta);
        }
        if dst.is_multicast() {
            return self.drop_ip(ns, meta, skb, DropReason::NotAccepted);
        }
        if !here.forwarding {
            return self.drop_ip(ns, meta, skb, DropReason::NotForwarding);
        }
        self.forward(ns, iif, iif_name, skb, meta);
    }

    fn deliver(&mut self, ns: NsId, iif: IfName, mut skb: Skb, meta: Meta) {
        if !self.hook(ns, Hook::Input, (iif, IfName::NONE), None, &mut skb, meta) {
            return;
        }
        self.note_ip(ns, meta, &skb, || StepKind::Delivered);
        self.counts.delivered += 1;
        self.stack_in(ns, skb.packet, meta);
    }

    /// For somebody else (`ip_forward`).
    fn forward(&mut self, ns: NsId, iif: IfId, iif_name: IfName, mut skb: Skb, meta: Meta) {
        let way = match self.find_way(ns, skb.packet.head().dst) {
            Ok(way) => way,
            Err(error) => return self.unroutable(ns, skb, meta, error),
        };
        self.note_route(ns, meta, &skb);
        if skb.packet.head().ttl <= 1 {
            self.send_icmp_error(ns, &skb.packet, IcmpError::TimeExceeded, meta.cause);
            return self.drop_ip(ns, meta, skb, DropReason::TtlExceeded);
        }
        let mtu = self.iface(way.dev).map_or(u16::MAX, |iface| iface.mtu);
        if skb.packet.head().total_len > mtu {
            let why = Unreachable::FragmentationNeeded(mtu).into();
            self.send_icmp_error(ns, &skb.packet, why, meta.cause);
            return self.drop_ip(ns, meta, skb, DropReason::TooBig { mtu });
        }
        skb.packet.decrement_ttl();
        let leaves = Some((way.dev, way.next_hop));
        if !self.hook(ns, Hook::Forward, (iif_name, way.name), leaves, &mut skb, meta) {
            return;
        }
        self.leave(ns, way, skb, meta, Some(iif));
    }

    fn unroutable(&mut self, ns: NsId, skb: Skb, meta: Meta, error: RouteError) {
        let (answer, reason) = match error {
            RouteError::NoRoute => (Some(Unreachable::Net), DropReason::NoRoute),
            RouteError::Says(kind) => (
                match kind {
                    RouteKind::Unreachable => Some(Unreachable::Host),
                    RouteKind::Prohibit => Some(Unreachable::AdminProhibited),
                    RouteKind::Blackhole | RouteKind::Unicast => None,
                },
                DropReason::RouteSays(kind),
            ),
        };
        if let Some(answer) = answer {
            self.send_icmp_error(ns, &skb.packet, answer.into(), meta.cause);
        }
        self.drop_ip(ns, meta, skb, reason);
    }

    // ---- out from a stack ----------------------------------------------------------------------------

    /// A packet that this namespace has made goes out (`ip_local_out`).
    pub(crate) fn ip_out(&mut self, ns: NsId, packet: Packet, cause: Cause) {
        let meta = Meta { id: self.new_packet_id(), cause };
        self.counts.made += 1;
        let mut skb = Skb::new(packet);
        self.note_ip(ns, meta, &skb, || StepKind::Made);
        if self.ns(ns).is_none_or(|ns| ns.is_off) {
            return self.drop_ip(ns, meta, skb, DropReason::Down);
        }
        let way = match self.find_way(ns, skb.packet.head().dst) {
            Ok(way) => way,
            Err(error) => return self.unroutable(ns, skb, meta, error),
        };
        let before = (skb.packet.head().dst, skb.mark);
        let leaves = Some((way.dev, way.next_hop));
        if !self.hook(ns, Hook::Output, (IfName::NONE, way.name), leaves, &mut skb, meta) {
            return;
        }
        // OUTPUT may have rewritten the destination: then the way is another (`ip_route_me_harder`).
        let way = match (skb.packet.head().dst, skb.mark) == before {
            true => way,
            false => match self.find_way(ns, skb.packet.head().dst) {
                Ok(way) => way,
                Err(error) => return self.unroutable(ns, skb, meta, error),
            },
        };
        self.note_route(ns, meta, &skb);
        self.leave(ns, way, skb, meta, None);
    }

    fn find_way(&self, ns: NsId, dst: Ipv4Addr) -> Result<Way, RouteError> {
        let here = self.ns(ns).ok_or(RouteError::NoRoute)?;
        if here.fib.is_local(dst) {
            let dev = here.loopback;
            return Ok(Way { dev, name: IfName::new("lo"), next_hop: dst });
        }
        let route = here.fib.lookup(dst).ok_or(RouteError::NoRoute)?;
        if route.kind != RouteKind::Unicast {
            return Err(RouteError::Says(route.kind));
        }
        let name = self.iface(route.dev).map(|iface| iface.name).ok_or(RouteError::NoRoute)?;
        Ok(Way { dev: route.dev, name, next_hop: route.via.unwrap_or(dst) })
    }

    /// POSTROUTING, then out by the interface.
    fn leave(&mut self, ns: NsId, way: Way, mut skb: Skb, meta: Meta, came_by: Option<IfId>) {
        let leaves = Some((way.dev, way.next_hop));
        let names = (IfName::NONE, way.name);
        if !self.hook(ns, Hook::Postrouting, names, leaves, &mut skb, meta) {
            return;
        }
        let is_loopback = self.ns(ns).is_some_and(|here| here.loopback == way.dev);
        if is_loopback {
            let Skb { packet, mark, ct } = skb;
            let frame = Frame { dst: Mac::ZERO, src: Mac::ZERO, body: Body::Ipv4(packet) };
            let parcel = self.pack(Parcel { frame, meta, kept: Some((mark, ct)) });
            return self.transmit(way.dev, parcel);
        }
        let outgoing = Outgoing { packet: skb.packet, meta, came_by };
        self.send_to_neighbour(ns, way.dev, way.next_hop, outgoing);
    }

    // ---- neighbours ----------------------------------------------------------------------------------

    fn send_to_neighbour(&mut self, ns: NsId, dev: IfId, next_hop: Ipv4Addr, outgoing: Outgoing) {
        let now = self.now;
        let Some(here) = self.ns_mut(ns) else { return };
        if let Some(neighbour) = here.neighbours.get(dev, next_hop)
            && let Some(mac) = neighbour.mac
            && !neighbour.has_failed
        {
            let is_stale = neighbour.probes == 0 && now - neighbour.confirmed >= REACHABLE;
            let Outgoing { packet, meta, .. } = outgoing;
            self.transmit_ip(dev, mac, packet, meta);
            if is_stale {
                self.ask(ns, dev, next_hop, Some(mac), meta.cause);
            }
            return;
        }
        let broadcast = here.fib.is_broadcast(next_hop);
        if broadcast {
            let Outgoing { packet, meta, .. } = outgoing;
            return self.transmit_ip(dev, Mac::BROADCAST, packet, meta);
        }
        let neighbour = here.neighbours.get_or_new(dev, next_hop, now);
        let is_first = neighbour.probes == 0 || neighbour.has_failed;
        if neighbour.has_failed {
            neighbour.has_failed = false;
            neighbour.mac = None;
            neighbour.probes = 0;
        }
        let overflow = match neighbour.waiting.len() >= WAITING_MAX {
            true => neighbour.waiting.pop_front(),
            false => None,
        };
        let meta = outgoing.meta;
        let bytes = self.tracer.wants(meta.cause).then(|| outgoing.packet.bytes().to_vec());
        if let Some(bytes) = bytes {
            let iface = self.iface(dev).map(|iface| iface.name).unwrap_or_default();
            let at = self.now;
            let kind = StepKind::Waits { next_hop, iface };
            self.tracer.record(at, (meta.id, meta.cause), ns, &bytes, kind);
        }
        if let Some(neighbour) = self.ns_mut(ns).and_then(|h| h.neighbours.get_mut(dev, next_hop)) {
            neighbour.waiting.push_back(outgoing);
        }
        if let Some(dropped) = overflow {
            let skb = Skb::new(dropped.packet);
            self.drop_ip(ns, dropped.meta, skb, DropReason::QueueFull);
        }
        if is_first {
            self.ask(ns, dev, next_hop, None, meta.cause);
        }
    }

    /// "Who has `addr`?": to everybody, or to the station that had it.
    fn ask(&mut self, ns: NsId, dev: IfId, addr: Ipv4Addr, mac: Option<Mac>, cause: Cause) {
        let at = self.now + RETRANS;
        let Some(here) = self.ns_mut(ns) else { return };
        let Some(neighbour) = here.neighbours.get_mut(dev, addr) else { return };
        neighbour.probes += 1;
        let sender = here.fib.select_source(dev, addr).unwrap_or(Ipv4Addr::UNSPECIFIED);
        self.queue.push(at, Event::Neighbour { ns, iface: dev, addr });
        let Some(iface) = self.iface(dev) else { return };
        let arp = Arp::who_has(addr, iface.mac, sender);
        let frame =
            Frame { dst: mac.unwrap_or(Mac::BROADCAST), src: iface.mac, body: Body::Arp(arp) };
        self.send_arp(ns, dev, frame, cause);
    }

    fn send_arp(&mut self, ns: NsId, dev: IfId, frame: Frame, cause: Cause) {
        let meta = Meta { id: self.new_packet_id(), cause };
        self.note(ns, meta, &frame.body, || StepKind::Made);
        let parcel = self.pack(Parcel { frame, meta, kept: None });
        self.transmit(dev, parcel);
    }

    /// The time for an answer is over.
    pub(crate) fn neighbour_timer(&mut self, ns: NsId, dev: IfId, addr: Ipv4Addr) {
        let Some(here) = self.ns_mut(ns) else { return };
        let Some(neighbour) = here.neighbours.get_mut(dev, addr) else { return };
        if neighbour.probes == 0 || neighbour.has_failed {
            return;
        }
        if neighbour.probes < PROBES_MAX {
            let mac = neighbour.mac;
            let cause = neighbour.waiting.front().map(|o| o.meta.cause).unwrap_or_default();
            return self.ask(ns, dev, addr, mac, cause);
        }
        neighbour.has_failed = true;
        neighbour.mac = None;
        let waiting = std::mem::take(&mut neighbour.waiting);
        for Outgoing { packet, meta, came_by } in waiting {
            self.neighbour_is_gone(ns, packet, meta, came_by);
        }
    }

    /// The sender is told that the host cannot be reached.
    fn neighbour_is_gone(&mut self, ns: NsId, packet: Packet, meta: Meta, came_by: Option<IfId>) {
        match came_by {
            Some(_) => self.send_icmp_error(ns, &packet, Unreachable::Host.into(), meta.cause),
            // A socket of our own learns it at once, without a packet, as from `ipv4_link_failure`.
            None => self.stack_error(ns, packet.head(), Unreachable::Host),
        }
        self.drop_ip(ns, meta, Skb::new(packet), DropReason::NoNeighbour);
    }

    fn arp_in(&mut self, ns: NsId, dev: IfId, meta: Meta, arp: Arp) {
        let now = self.now;
        let mac = self.iface(dev).map(|iface| iface.mac).unwrap_or_default();
        let Some(here) = self.ns_mut(ns) else { return };
        let is_for_us = here.fib.local(arp.target).is_some();
        let is_known = here.neighbours.get(dev, arp.sender).is_some();
        let mut waiting = Default::default();
        if (is_for_us || is_known) && !arp.sender.is_unspecified() {
            let neighbour = here.neighbours.get_or_new(dev, arp.sender, now);
            neighbour.mac = Some(arp.sender_mac);
            neighbour.confirmed = now;
            neighbour.probes = 0;
            neighbour.has_failed = false;
            waiting = std::mem::take(&mut neighbour.waiting);
        }
        self.note(ns, meta, &Body::Arp(arp), || StepKind::Delivered);
        if arp.is_request && is_for_us {
            let frame = Frame { dst: arp.sender_mac, src: mac, body: Body::Arp(arp.is_at(mac)) };
            self.send_arp(ns, dev, frame, meta.cause);
        }
        for Outgoing { packet, meta, .. } in waiting {
            self.transmit_ip(dev, arp.sender_mac, packet, meta);
        }
    }

    // ---- out by a link -------------------------------------------------------------------------------

    fn transmit_ip(&mut self, dev: IfId, dst: Mac, packet: Packet, meta: Meta) {
        let src = self.iface(dev).map(|iface| iface.mac).unwrap_or_default();
        let frame = Frame { dst, src, body: Body::Ipv4(packet) };
        let parcel = self.pack(Parcel { frame, meta, kept: None });
        self.transmit(dev, parcel);
    }

    /// Puts a frame on an interface.
    pub(crate) fn transmit(&mut self, dev: IfId, parcel: Box<Parcel>) {
        let now = self.now;
        let Some(iface) = self.iface_mut(dev) else { return self.lose(parcel, DropReason::Down) };
        let ns = iface.ns;
        if !iface.is_up {
            return self.lose_at(ns, parcel, DropReason::Down);
        }
        iface.stats.tx_packets += 1;
        iface.stats.tx_bytes += parcel.frame.body_len() as u64 + 14;
        let name = iface.name;
        let (to, link) = match &iface.kind {
            IfKind::Loopback => {
                let arrives = now + Duration::from_micros(10);
                return self.put_on_wire(ns, (dev, name), dev, arrives, parcel);
            }
            IfKind::Bridge { .. } => return self.switch_own(dev, parcel),
            IfKind::Veth { peer, link } => (*peer, link),
        };
        if link.is_cut {
            return self.lose_at(ns, parcel, DropReason::LinkCut);
        }
        let (arrives, loss_ppm) = (now + link.latency, link.loss_ppm);
        if loss_ppm > 0 && self.rng.below(1_000_000) < loss_ppm {
            return self.lose_at(ns, parcel, DropReason::LinkLoss);
        }
        self.put_on_wire(ns, (dev, name), to, arrives, parcel);
    }

    fn put_on_wire(
        &mut self,
        ns: NsId,
        (from, iface): (IfId, IfName),
        to: IfId,
        arrives: base::Instant,
        parcel: Box<Parcel>,
    ) {
        let to_ns = self.iface(to).map_or(ns, |iface| iface.ns);
        let kind = || StepKind::Sent { iface, from, to, to_ns, arrives };
        self.note(ns, parcel.meta, &parcel.frame.body, kind);
        self.queue.push(arrives, Event::Arrive { iface: to, parcel });
    }

    // ---- bridges -------------------------------------------------------------------------------------

    /// A frame has come in by a port and the bridge has looked at it (`br_handle_frame_finish`).
    pub(crate) fn switch(&mut self, bridge: IfId, port: IfId, parcel: Box<Parcel>) {
        let now = self.now;
        let (src, dst) = (parcel.frame.src, parcel.frame.dst);
        let Some(iface) = self.iface_mut(bridge) else {
            return self.lose(parcel, DropReason::Down);
        };
        let (ns, mac, name) = (iface.ns, iface.mac, iface.name);
        let IfKind::Bridge { ports, fdb } = &mut iface.kind else {
            return self.lose_at(ns, parcel, DropReason::Down);
        };
        fdb.learn(src, port, now);
        if dst == mac {
            return self.up_from_bridge(bridge, parcel);
        }
        let out: Vec<IfId> = match fdb.port_of(dst, now) {
            Some(known) if !dst.is_group() => vec![known],
            _ => ports.clone(),
        };
        let out: Vec<IfId> = out.into_iter().filter(|to| *to != port).collect();
        self.flood(ns, (bridge, name), out, parcel, dst.is_group());
    }

    /// A frame that the namespace itself sends by its bridge.
    fn switch_own(&mut self, bridge: IfId, parcel: Box<Parcel>) {
        let now = self.now;
        let dst = parcel.frame.dst;
        let Some(iface) = self.iface(bridge) else { return self.lose(parcel, DropReason::Down) };
        let (ns, name) = (iface.ns, iface.name);
        let IfKind::Bridge { ports, fdb } = &iface.kind else {
            return self.lose_at(ns, parcel, DropReason::Down);
        };
        let out = match fdb.port_of(dst, now) {
            Some(known) if !dst.is_group() => vec![known],
            _ => ports.clone(),
        };
        self.flood(ns, (bridge, name), out, parcel, false);
    }

    /// Sends a frame by each of the ports, and up to the bridge's own namespace if `also_up`.
    fn flood(
        &mut self,
        ns: NsId,
        (bridge, name): (IfId, IfName),
        out: Vec<IfId>,
        parcel: Box<Parcel>,
        also_up: bool,
    ) {
        if out.is_empty() && !also_up {
            return self.lose_at(ns, parcel, DropReason::NoPort);
        }
        if self.tracer.wants(parcel.meta.cause) {
            let port_name = |port: &IfId| self.iface(*port).map(|iface| iface.name);
            let ports = out.iter().filter_map(port_name).collect();
            self.note(ns, parcel.meta, &parcel.frame.body, || StepKind::Switched {
                bridge: name,
                ports,
            });
        }
        let mut copies = out.len() + usize::from(also_up);
        let is_ip = matches!(parcel.frame.body, Body::Ipv4(_));
        if is_ip {
            self.counts.made += copies as u64 - 1;
        }
        let mut last = Some(parcel);
        for port in out {
            copies -= 1;
            let copy = if copies == 0 { last.take() } else { last.as_ref().map(|p| self.copy(p)) };
            if let Some(copy) = copy {
                self.transmit(port, copy);
            }
        }
        if let Some(parcel) = last {
            self.up_from_bridge(bridge, parcel);
        }
    }

    fn copy(&self, parcel: &Parcel) -> Box<Parcel> {
        Box::new(Parcel { frame: parcel.frame.clone(), meta: parcel.meta, kept: None })
    }

    /// The bridge is also an interface of its namespace; the frame is for that.
    fn up_from_bridge(&mut self, bridge: IfId, parcel: Box<Parcel>) {
        self.arrive(bridge, parcel);
    }

    // ---- hooks and what comes of them ----------------------------------------------------------------

    /// Takes a packet through a hook. `false`: it is gone, and that has been dealt with.
    fn hook(
        &mut self,
        id: NsId,
        hook: Hook,
        (iif, oif): (IfName, IfName),
        leaves: Option<(IfId, Ipv4Addr)>,
        skb: &mut Skb,
        meta: Meta,
    ) -> bool {
        let now = self.now;
        let wants_trace = self.tracer.wants(meta.cause);
        let Some(ns) = self.ns_mut(id) else { return false };
        if ns.netfilter.is_idle() {
            return true;
        }
        let view = View { fib: &ns.fib, leaves };
        let input = HookInput { hook, iif, oif, now, surroundings: &view };
        let mut trace = wants_trace.then(|| HookTrace::new(hook));
        let verdict = ns.netfilter.hook(&input, skb, trace.as_mut());
        if let Some(trace) = trace {
            let kind = StepKind::Hook(trace);
            self.tracer.record(now, (meta.id, meta.cause), id, skb.packet.bytes(), kind);
        }
        match verdict {
            Verdict::Accept => true,
            Verdict::Drop(reason) => {
                self.dropped(id, meta, skb, DropReason::Netfilter(reason));
                false
            }
            Verdict::Reject(with, reason) => {
                match with {
                    Reject::Icmp(why) => {
                        self.send_icmp_error(id, &skb.packet, why.into(), meta.cause);
                    }
                    Reject::TcpReset => {
                        if let Some(reset) = reply::tcp_reset(&skb.packet) {
                            self.ip_out(id, reset, meta.cause);
                        }
                    }
                }
                self.dropped(id, meta, skb, DropReason::Rejected(reason));
                false
            }
        }
    }

    /// Tells the sender of a packet what became of it (`icmp_send`).
    fn send_icmp_error(&mut self, ns: NsId, about: &Packet, why: IcmpError, cause: Cause) {
        let Some(here) = self.ns(ns) else { return };
        let head = about.head();
        let src = if here.fib.is_local(head.dst) {
            Some(head.dst)
        } else {
            let route = here.fib.lookup(head.src);
            route.and_then(|r| {
                r.src.or_else(|| here.fib.select_source(r.dev, r.via.unwrap_or(head.src)))
            })
        };
        // To ourselves: from the address that was used.
        let src = if here.fib.is_local(head.src) { Some(head.src) } else { src };
        if let Some(error) = src.and_then(|src| reply::icmp_error(about, src, why)) {
            self.ip_out(ns, error, cause);
        }
    }

    fn drop_ip(&mut self, ns: NsId, meta: Meta, skb: Skb, reason: DropReason) {
        if let Some(here) = self.ns_mut(ns) {
            here.netfilter.discard(&skb);
        }
        self.dropped(ns, meta, &skb, reason);
    }

    fn dropped(&mut self, ns: NsId, meta: Meta, skb: &Skb, reason: DropReason) {
        self.counts.dropped += 1;
        self.note_ip(ns, meta, skb, || StepKind::Dropped(reason));
    }

    #[allow(clippy::boxed_local, reason = "parcels travel in boxes")]
    fn lose_at(&mut self, ns: NsId, parcel: Box<Parcel>, reason: DropReason) {
        let meta = parcel.meta;
        if matches!(parcel.frame.body, Body::Ipv4(_)) {
            self.counts.dropped += 1;
        }
        self.note(ns, meta, &parcel.frame.body, || StepKind::Dropped(reason));
    }

    /// Lost where there is no namespace any more.
    fn lose(&mut self, parcel: Box<Parcel>, reason: DropReason) {
        self.lose_at(NsId { slot: u32::MAX, serial: u32::MAX }, parcel, reason);
    }

    // ---- writing down --------------------------------------------------------------------------------

    fn note(&mut self, ns: NsId, meta: Meta, body: &Body, kind: impl FnOnce() -> StepKind) {
        if !self.tracer.wants(meta.cause) {
            return;
        }
        let at = self.now;
        let who = (meta.id, meta.cause);
        match body {
            Body::Ipv4(packet) => self.tracer.record(at, who, ns, packet.bytes(), kind()),
            Body::Arp(arp) => self.tracer.record(at, who, ns, &arp.to_bytes(), kind()),
        }
    }

    fn note_ip(&mut self, ns: NsId, meta: Meta, skb: &Skb, kind: impl FnOnce() -> StepKind) {
        if self.tracer.wants(meta.cause) {
            let at = self.now;
            self.tracer.record(at, (meta.id, meta.cause), ns, skb.packet.bytes(), kind());
        }
    }

    fn note_route(&mut self, ns: NsId, meta: Meta, skb: &Skb) {
        if !self.tracer.wants(meta.cause) {
            return;
        }
        let dst = skb.packet.head().dst;
        let Some(here) = self.ns(ns) else { return };
        let routed = match here.fib.is_local(dst) {
            true => Routed::Local,
            false => match here.fib.lookup(dst) {
                Some(route) => Routed::By {
                    dst: route.dst,
                    via: route.via,
                    dev: self.iface(route.dev).map(|iface| iface.name).unwrap_or_default(),
                },
                None => return,
            },
        };
        self.note_ip(ns, meta, skb, || StepKind::Routed(routed));
    }
}
