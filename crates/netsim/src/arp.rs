//! Asking for neighbours and answering for ourselves (`net/ipv4/arp.c`, `net/core/neighbour.c`).
//!
//! A proxy answers at once; the kernel waits for a random time of up to 0.8 s first (`proxy_delay`).

use std::net::Ipv4Addr;

use netfilter::Skb;
use packet::reply::Unreachable;
use packet::{Arp, Body, Frame, Mac, Packet};

use crate::drops::DropReason;
use crate::iface::IfId;
use crate::kernel::Kernel;
use crate::neigh::{DELAY, LOCKTIME, NeighState, Neighbour, PROBES_MAX, RETRANS, WAITING_MAX};
use crate::ns::{Namespace, NsId};
use crate::path::{Meta, Outgoing, Parcel};
use crate::queue::Event;
use crate::route::{Flow, RouteKind, Scope};
use crate::sysctl::IfKey;
use crate::trace::{Cause, StepKind};

impl Kernel {
    /// Sends a packet to its next hop, or lets it wait until that is found (`neigh_resolve_output`).
    pub(crate) fn send_to_neighbour(
        &mut self,
        ns: NsId,
        dev: IfId,
        next_hop: Ipv4Addr,
        outgoing: Outgoing,
    ) {
        if let Some(mac) = self.resolve(ns, dev, next_hop, outgoing.meta.confirms) {
            return self.transmit_ip(dev, mac, outgoing.packet, outgoing.meta);
        }
        let Some(here) = self.ns_mut(ns) else { return };
        if next_hop.is_multicast() {
            let [_, b, c, d] = next_hop.octets();
            let mac = Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d]);
            return self.transmit_ip(dev, mac, outgoing.packet, outgoing.meta);
        }
        if here.fib.is_broadcast(next_hop) {
            return self.transmit_ip(dev, Mac::BROADCAST, outgoing.packet, outgoing.meta);
        }
        self.wait_for_neighbour(ns, dev, next_hop, outgoing);
    }

    /// The hardware address of a neighbour that is known, which is used now; `confirms`: it is there.
    pub(crate) fn resolve(
        &mut self,
        ns: NsId,
        dev: IfId,
        next_hop: Ipv4Addr,
        confirms: bool,
    ) -> Option<Mac> {
        let now = self.now;
        let neighbour = self.ns_mut(ns)?.neighbours.get_mut(dev, next_hop)?;
        let mac = neighbour.mac.filter(|_| neighbour.nud.is_valid())?;
        if confirms {
            neighbour.confirmed = now;
        }
        neighbour.used = now;
        if neighbour.state(now) == NeighState::Stale {
            neighbour.nud = NeighState::Delay;
            neighbour.due = Some(now + DELAY);
            let event = Event::Neighbour { ns, iface: dev, addr: next_hop };
            self.queue.push(now + DELAY, event);
        }
        Some(mac)
    }

    fn wait_for_neighbour(&mut self, ns: NsId, dev: IfId, next_hop: Ipv4Addr, outgoing: Outgoing) {
        let now = self.now;
        let meta = outgoing.meta;
        if self.tracer.wants(meta.cause) {
            let iface = self.iface(dev).map(|iface| iface.name).unwrap_or_default();
            let kind = StepKind::Waits { next_hop, iface };
            let bytes = outgoing.packet.bytes();
            self.tracer.record(now, (meta.id, meta.cause), ns, bytes, kind);
        }
        let Some(here) = self.ns_mut(ns) else { return };
        let Some(neighbour) = here.neighbours.get_or_new(dev, next_hop, now) else {
            let skb = Skb::new(outgoing.packet);
            return self.drop_ip(ns, meta, skb, DropReason::NeighbourTableFull);
        };
        neighbour.used = now;
        let is_first = neighbour.nud != NeighState::Incomplete;
        if is_first {
            neighbour.nud = NeighState::Incomplete;
            neighbour.mac = None;
            neighbour.probes = 0;
        }
        let is_full = neighbour.waiting.len() >= WAITING_MAX;
        let overflow = if is_full { neighbour.waiting.pop_front() } else { None };
        neighbour.waiting.push_back(outgoing);
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
        let announce = self.if_conf_max(ns, dev, IfKey::ArpAnnounce);
        let Some(here) = self.ns_mut(ns) else { return };
        let Some(neighbour) = here.neighbours.get_mut(dev, addr) else { return };
        neighbour.probes += 1;
        neighbour.due = Some(at);
        let packet_src = neighbour.waiting.back().map(|waiting| waiting.packet.head().src);
        let sender = sender_for(here, dev, addr, packet_src, announce);
        self.queue.push(at, Event::Neighbour { ns, iface: dev, addr });
        let Some(iface) = self.iface(dev) else { return };
        let arp = Arp::who_has(addr, iface.mac, sender);
        let dst = mac.unwrap_or(Mac::BROADCAST);
        let frame = Frame { dst, src: iface.mac, body: Body::Arp(arp) };
        self.send_arp(ns, dev, frame, cause);
    }

    pub(crate) fn send_arp(&mut self, ns: NsId, dev: IfId, frame: Frame, cause: Cause) {
        let meta = Meta::new(self.new_packet_id(), cause);
        self.note(ns, meta, &frame.body, || StepKind::Made);
        let parcel = self.pack(Parcel { frame, meta, kept: None, from: ns });
        self.transmit(dev, parcel);
    }

    /// A neighbour is to be looked at again (`neigh_timer_handler`).
    pub(crate) fn neighbour_timer(&mut self, ns: NsId, dev: IfId, addr: Ipv4Addr) {
        let now = self.now;
        let Some(here) = self.ns_mut(ns) else { return };
        let Some(neighbour) = here.neighbours.get_mut(dev, addr) else { return };
        if neighbour.due != Some(now) {
            return;
        }
        neighbour.due = None;
        let cause = neighbour.waiting.front().map(|o| o.meta.cause).unwrap_or_default();
        match neighbour.nud {
            NeighState::Delay if now - neighbour.confirmed < DELAY => {
                neighbour.nud = NeighState::Reachable;
            }
            NeighState::Delay => {
                neighbour.nud = NeighState::Probe;
                neighbour.probes = 0;
                let mac = neighbour.mac;
                self.ask(ns, dev, addr, mac, cause);
            }
            NeighState::Probe | NeighState::Incomplete if neighbour.probes < PROBES_MAX => {
                let mac = neighbour.mac;
                self.ask(ns, dev, addr, mac, cause);
            }
            NeighState::Probe | NeighState::Incomplete => {
                neighbour.nud = NeighState::Failed;
                neighbour.mac = None;
                let waiting = std::mem::take(&mut neighbour.waiting);
                for Outgoing { packet, meta, .. } in waiting {
                    self.neighbour_is_gone(ns, packet, meta);
                }
            }
            _ => {}
        }
    }

    /// The sender is told that the host cannot be reached; a sender of our own by way of the loopback
    /// interface (`arp_error_report`, `ipv4_link_failure`).
    fn neighbour_is_gone(&mut self, ns: NsId, packet: Packet, meta: Meta) {
        let skb = Skb::new(packet);
        self.send_icmp_error(ns, &skb, Unreachable::Host.into(), meta);
        self.drop_ip(ns, meta, skb, DropReason::NoNeighbour);
    }

    /// An ARP packet has come in (`arp_process`).
    pub(crate) fn arp_in(&mut self, ns: NsId, dev: IfId, meta: Meta, arp: Arp) {
        self.note(ns, meta, &Body::Arp(arp), || StepKind::Delivered);
        if arp.target.is_loopback() || arp.target.is_multicast() || arp.sender_mac.is_group() {
            return;
        }
        if arp.is_request && self.answers_for(ns, dev, &arp) {
            let Some(iface) = self.iface(dev) else { return };
            let mac = iface.mac;
            self.learn(ns, dev, &arp, NeighState::Stale, true);
            let frame = Frame { dst: arp.sender_mac, src: mac, body: Body::Arp(arp.is_at(mac)) };
            return self.send_arp(ns, dev, frame, meta.cause);
        }
        // Of others only what concerns a neighbour that is known already; who announces itself by an
        // answer to everybody is believed, but not taken for confirmed.
        let is_answer_to_us = !arp.is_request && !meta.is_group;
        let state = if is_answer_to_us { NeighState::Reachable } else { NeighState::Stale };
        self.learn(ns, dev, &arp, state, false);
    }

    /// Whether a question is to be answered: for one of our own addresses as `arp_ignore` has it, or for
    /// an address behind another interface where `proxy_arp` is set.
    fn answers_for(&self, ns: NsId, dev: IfId, arp: &Arp) -> bool {
        let (Some(here), Some(iface)) = (self.ns(ns), self.iface(dev)) else { return false };
        if iface.is_arp_silent {
            return false;
        }
        let flow = Flow { iif: iface.name, src: arp.sender, ..Flow::to(arp.target) };
        let Ok(route) = here.fib.lookup(&flow) else { return false };
        // A sender that cannot be there gets no answer; "is this address free?" has no sender yet.
        let is_probe = arp.sender.is_unspecified();
        if !is_probe && self.validate_source(here, (dev, iface), arp.sender, arp.target, 0).is_err()
        {
            return false;
        }
        if route.kind == RouteKind::Local {
            let level = self.if_conf_max(ns, dev, IfKey::ArpIgnore);
            return is_answered_at_level(here, dev, arp, level);
        }
        let is_proxy = self.if_conf_max(ns, dev, IfKey::ProxyArp) > 0;
        let forwards = iface.conf.get(IfKey::Forwarding) != 0;
        route.kind == RouteKind::Unicast && route.dev != dev && is_proxy && forwards
    }

    /// Takes down where a station is (`neigh_update`).
    fn learn(&mut self, ns: NsId, dev: IfId, arp: &Arp, state: NeighState, may_create: bool) {
        let now = self.now;
        let is_garp = arp.sender == arp.target;
        let Some(here) = self.ns_mut(ns) else { return };
        if arp.sender.is_unspecified() || here.fib.is_local(arp.sender) {
            return;
        }
        let known = here.neighbours.get(dev, arp.sender).is_some();
        if !known && !may_create {
            return;
        }
        let Some(neighbour) = here.neighbours.get_or_new(dev, arp.sender, now) else { return };
        let was_valid = neighbour.nud.is_valid();
        let is_same = neighbour.mac == Some(arp.sender_mac);
        if matches!(neighbour.nud, NeighState::Permanent | NeighState::NoArp) {
            return;
        }
        let may_override = may_create || is_garp || now - neighbour.updated > LOCKTIME;
        if was_valid && !is_same && !may_override {
            return;
        }
        if !(was_valid && is_same && state == NeighState::Stale) {
            neighbour.nud = state;
            neighbour.due = None;
            neighbour.probes = 0;
        }
        if state == NeighState::Reachable {
            neighbour.confirmed = now;
        }
        if !is_same {
            neighbour.mac = Some(arp.sender_mac);
            neighbour.updated = now;
        }
        let waiting = std::mem::take(&mut neighbour.waiting);
        for outgoing in waiting {
            self.send_to_neighbour(ns, dev, arp.sender, outgoing);
        }
    }

    /// Puts a neighbour in by hand, or changes it; what waited for it is sent.
    pub(crate) fn set_neighbour(
        &mut self,
        ns: NsId,
        dev: IfId,
        addr: Ipv4Addr,
        mac: Option<Mac>,
        state: NeighState,
    ) -> bool {
        let now = self.now;
        let Some(here) = self.ns_mut(ns) else { return false };
        let Some(neighbour) = here.neighbours.get_or_new(dev, addr, now) else { return false };
        *neighbour = Neighbour {
            mac: mac.or(neighbour.mac),
            nud: state,
            confirmed: now,
            updated: now,
            used: now,
            probes: 0,
            due: None,
            waiting: std::mem::take(&mut neighbour.waiting),
        };
        if state.is_valid() && neighbour.mac.is_some() {
            for outgoing in std::mem::take(&mut neighbour.waiting) {
                self.send_to_neighbour(ns, dev, addr, outgoing);
            }
        }
        true
    }
}

/// The address a question is asked with (`arp_solicit`): the waiting packet's own, as far as
/// `arp_announce` lets it.
fn sender_for(
    here: &Namespace,
    dev: IfId,
    target: Ipv4Addr,
    packet_src: Option<Ipv4Addr>,
    announce: i32,
) -> Ipv4Addr {
    let of_packet = packet_src.filter(|src| here.fib.is_local(*src)).filter(|src| match announce {
        0 => true,
        1 => here.fib.locals().iter().any(|a| a.cidr.addr == *src && a.cidr.contains(target)),
        _ => false,
    });
    let chosen = || here.fib.select_addr(dev, target, Scope::LINK);
    of_packet.or_else(chosen).unwrap_or(Ipv4Addr::UNSPECIFIED)
}

/// `arp_ignore`.
fn is_answered_at_level(here: &Namespace, dev: IfId, arp: &Arp, level: i32) -> bool {
    let on_dev = || here.fib.locals().iter().filter(|local| local.dev == dev);
    match level {
        0 => true,
        1 => on_dev().any(|local| local.cidr.addr == arp.target),
        2 => on_dev().any(|l| l.cidr.addr == arp.target && l.cidr.contains(arp.sender)),
        3 => here.fib.local(arp.target).is_some_and(|local| local.scope != Scope::HOST),
        8 => false,
        _ => true,
    }
}
