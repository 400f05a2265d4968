//! A packet's way through a namespace (`net/ipv4/ip_input.c`, `route.c`, `ip_forward.c`, `ip_output.c`).
//!
//! ```text
//! arrive ─ bridge port? ─ switch                                                   (wire.rs, bridge.rs)
//!    └ ARP ─ answer, learn                                                         (arp.rs)
//!    └ IPv4 ─ join ─ PREROUTING ─ route ┬ ours ─ join ─ INPUT ─ socket
//!                                       └ TTL ─ MTU ─ FORWARD ─┐
//! socket ─ route ─ OUTPUT ─ route again if rewritten ──────────┴ POSTROUTING ─ cut ─ neighbour ─ link
//! ```

use std::net::Ipv4Addr;

use netfilter::ext::reject::Reject;
use netfilter::trace::HookTrace;
use netfilter::{Hook, HookInput, IfName, Sender, Skb, Verdict};
use packet::reply::{self, IcmpError, Unreachable};
use packet::{Body, Fragment, Frame, Mac, Packet, checksum, protocol};

use crate::addr::Cidr;
use crate::frag;
use crate::iface::{IfId, Iface};
use crate::kernel::Kernel;
use crate::ns::{Namespace, NsId, View};
use crate::route::{Flow, RouteError, RouteKind};
use crate::sysctl::IfKey;
use crate::trace::{Cause, PacketId, Routed, StepKind};
use crate::ways::{Found, Sought};
use crate::wire::Kept;

pub use crate::drops::DropReason;
pub use crate::wire::BRIDGE_HOP;

/// Who a packet is, wherever it is, and what is known of it between two namespaces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) id: PacketId,
    pub(crate) cause: Cause,
    /// Length of the longest of the fragments it was put together from; 0: it was none.
    pub(crate) frag_max: u16,
    /// Its checksums are not to be trusted: it came from outside the world, or was damaged on a link.
    pub(crate) is_suspect: bool,
    /// It came in a frame for a group of stations.
    pub(crate) is_group: bool,
    /// The station whose frame it came in.
    pub(crate) from_mac: Mac,
    /// ICMP of this namespace is sending it (`icmp_xmit_lock`).
    pub(crate) is_icmps: bool,
    /// The socket of this namespace that is sending it.
    pub(crate) sender: Sender,
    /// It shows that the next hop is there: what was sent before has been acknowledged.
    pub(crate) confirms: bool,
}

impl Meta {
    pub(crate) fn new(id: PacketId, cause: Cause) -> Meta {
        let (frag_max, is_suspect, is_group, confirms) = (0, false, false, false);
        let (from_mac, is_icmps) = (Mac::ZERO, false);
        let sender = Sender::None;
        Meta { id, cause, frag_max, is_suspect, is_group, from_mac, is_icmps, sender, confirms }
    }
}

/// A frame on its way, and what goes with it.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) frame: Frame,
    pub(crate) meta: Meta,
    /// Over loopback a packet keeps its mark and its connection; between namespaces it loses them.
    pub(crate) kept: Kept,
    /// The namespace whose IP layer sent it; bridges on the way do not count.
    pub(crate) from: NsId,
}

impl Parcel {
    pub(crate) fn is_ip(&self) -> bool {
        matches!(self.frame.body, Body::Ipv4(_))
    }
}

/// A packet that waits for its next hop's hardware address.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) packet: Packet,
    pub(crate) meta: Meta,
}

/// What became of the IPv4 packets of the world.
///
/// `made` = `delivered` + `dropped` + those in flight ([`crate::Net::packets_in_flight`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounts {
    /// Made by a stack, injected, or copied: by a flooding bridge, a link that duplicates, fragmentation.
    pub made: u64,
    /// Taken by a stack, or put together with others to one packet.
    pub delivered: u64,
    /// Dropped, each with a reason.
    pub dropped: u64,
    /// In frames on links and in bridges.
    pub(crate) on_wire: u64,
}

/// How a packet came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct In {
    pub(crate) dev: IfId,
    pub(crate) name: IfName,
    /// From this namespace itself.
    pub(crate) is_looped: bool,
}

/// How a packet is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) cause: Cause,
    pub(crate) confirms: bool,
    /// The interface it has to leave by.
    pub(crate) oif: Option<IfId>,
    /// ICMP sends it.
    pub(crate) is_icmps: bool,
    /// The socket that sends it.
    pub(crate) sender: Sender,
}

impl Sent {
    pub(crate) fn because(cause: Cause) -> Sent {
        Sent { cause, ..Sent::default() }
    }

    /// Sent by ICMP, which has one socket only: what goes wrong on the way out cannot be answered.
    pub(crate) fn by_icmp(cause: Cause) -> Sent {
        Sent { is_icmps: true, sender: Sender::Kernel, ..Sent::because(cause) }
    }

    /// Sent by a program; all of them run as root.
    pub(crate) fn by_program(cause: Cause) -> Sent {
        Sent { sender: Sender::Program(0, 0), ..Sent::because(cause) }
    }
}

/// Where a packet leaves by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) dev: IfId,
    pub(crate) name: IfName,
    pub(crate) next_hop: Ipv4Addr,
    pub(crate) mtu: u16,
    pub(crate) kind: RouteKind,
    /// The route that was found.
    prefix: Cidr,
    via: Option<Ipv4Addr>,
}

/// What an incoming packet is.
enum Decision {
    Local,
    Forward(Way),
    Drop(DropReason),
    Unroutable(RouteError),
}

impl Kernel {
    // ---- in ------------------------------------------------------------------------------------------

    /// A packet has come in (`ip_rcv`).
    pub(crate) fn ip_in(&mut self, ns: NsId, way_in: In, mut skb: Skb, mut meta: Meta) {
        if skb.packet.head().fragment != Fragment::default()
            && self.ns(ns).is_some_and(|here| here.netfilter.is_tracking())
        {
            let Some((packet, whole)) = self.defragment(ns, skb.packet, meta) else { return };
            skb.packet = packet;
            meta = whole;
        }
        if !way_in.is_looped {
            self.begin_trail(ns, way_in.dev, skb.packet.head(), meta);
        }
        let names = (way_in.name, IfName::NONE);
        if !self.hook(ns, Hook::Prerouting, names, None, &mut skb, meta) {
            return;
        }
        match self.way_in(ns, way_in, &skb) {
            Decision::Local => {
                self.note_ip(ns, meta, &skb, || StepKind::Routed(Routed::Local));
                self.deliver(ns, way_in, skb, meta);
            }
            Decision::Forward(way) => self.forward(ns, way_in, way, skb, meta),
            Decision::Drop(reason) => self.drop_ip(ns, meta, skb, reason),
            Decision::Unroutable(error) => self.unroutable(ns, skb, meta, error),
        }
    }

    /// For us, for others, or for nobody; as it was for the last packet like this one.
    fn way_in(&mut self, ns: NsId, way_in: In, skb: &Skb) -> Decision {
        // Over loopback there is more to it than where it came in.
        if way_in.is_looped {
            return self.route_in(ns, way_in, skb);
        }
        let head = skb.packet.head();
        let (src, dst, mark, came_in) = (head.src, head.dst, skb.mark, way_in.dev);
        let sought = Sought { ns, src, dst, mark, came_in };
        let version = self.ns(ns).map_or(0, |here| here.fib.version());
        match self.ways.get(&sought, version) {
            Some(Found::Local) => return Decision::Local,
            Some(Found::Out(way)) => return Decision::Forward(way),
            None => {}
        }
        let decision = self.route_in(ns, way_in, skb);
        match decision {
            Decision::Local => self.ways.keep(sought, version, Found::Local),
            Decision::Forward(way) => self.ways.keep(sought, version, Found::Out(way)),
            _ => {}
        }
        decision
    }

    /// For us, for others, or for nobody (`ip_route_input_slow`).
    fn route_in(&self, ns: NsId, way_in: In, skb: &Skb) -> Decision {
        let (Some(here), Some(iface)) = (self.ns(ns), self.iface(way_in.dev)) else {
            return Decision::Drop(DropReason::Down);
        };
        let head = skb.packet.head();
        let (src, dst) = (head.src, head.dst);
        let is_inside = way_in.is_looped || iface.is_loopback();
        if dst.is_multicast() {
            return Decision::Drop(DropReason::NotMember);
        }
        if !is_inside && !self.is_plausible(here, iface, src, dst) {
            return Decision::Drop(DropReason::Martian);
        }
        let validate = || match is_inside || (src.is_unspecified() && is_everybody(dst)) {
            true => Ok(()),
            false => self.validate_source(here, (way_in.dev, iface), src, dst, skb.mark),
        };
        let flow = Flow { src, mark: skb.mark, iif: way_in.name, ..Flow::to(dst) };
        let found = match is_everybody(dst) {
            true => None,
            false => Some(here.fib.lookup(&flow)),
        };
        let forwards = iface.conf.get(IfKey::Forwarding) != 0;
        let route = match found {
            Some(Err(_)) if !forwards => return Decision::Drop(DropReason::NotForwarding),
            Some(Err(error)) => return Decision::Unroutable(error),
            Some(Ok(route)) => Some(route),
            None => None,
        };
        if let Err(reason) = validate() {
            return Decision::Drop(reason);
        }
        let Some(route) = route else { return Decision::Local };
        match route.kind {
            RouteKind::Local | RouteKind::Broadcast => Decision::Local,
            _ if !forwards => Decision::Drop(DropReason::NotForwarding),
            RouteKind::Unicast => match self.way_of(here, route, dst) {
                Some(way) => Decision::Forward(way),
                None => Decision::Unroutable(RouteError::NoRoute),
            },
            kind => Decision::Unroutable(RouteError::Says(kind)),
        }
    }

    /// Addresses that nobody may use on a link.
    fn is_plausible(&self, here: &Namespace, iface: &Iface, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
        if src.is_multicast() || src.is_broadcast() {
            return false;
        }
        if is_everybody(dst) {
            return !src.is_loopback() && (dst.is_broadcast() || src.is_unspecified());
        }
        if src.is_unspecified() {
            return false;
        }
        let localnet = here.conf_max(iface, IfKey::RouteLocalnet) != 0;
        localnet || !(src.is_loopback() || dst.is_loopback())
    }

    /// Whether a packet from `src` may come in by `iface` (`fib_validate_source`).
    pub(crate) fn validate_source(
        &self,
        here: &Namespace,
        (dev, iface): (IfId, &Iface),
        src: Ipv4Addr,
        dst: Ipv4Addr,
        mark: u32,
    ) -> Result<(), DropReason> {
        let strictness = here.conf_max(iface, IfKey::RpFilter);
        let accepts_local = here.conf_max(iface, IfKey::AcceptLocal) != 0;
        if strictness == 0 {
            let is_own = !accepts_local && here.fib.is_local(src);
            return if is_own { Err(DropReason::Martian) } else { Ok(()) };
        }
        let flow = Flow { src: dst, mark, iif: iface.name, ..Flow::to(src) };
        let Ok(back) = here.fib.lookup(&flow) else {
            return Err(DropReason::ReversePath);
        };
        match back.kind {
            RouteKind::Unicast => {}
            RouteKind::Local if accepts_local => return Ok(()),
            _ => return Err(DropReason::Martian),
        }
        if back.dev == dev {
            return Ok(());
        }
        match strictness {
            1 => Err(DropReason::ReversePath),
            _ if iface.addrs.is_empty() => Err(DropReason::ReversePath),
            _ => Ok(()),
        }
    }

    fn deliver(&mut self, ns: NsId, way_in: In, mut skb: Skb, mut meta: Meta) {
        if skb.packet.head().fragment != Fragment::default() {
            let Some((packet, whole)) = self.defragment(ns, skb.packet, meta) else { return };
            skb.packet = packet;
            meta = whole;
        }
        let names = (way_in.name, IfName::NONE);
        if !self.hook(ns, Hook::Input, names, None, &mut skb, meta) {
            return;
        }
        // Nobody here speaks SCTP, so nobody looks at its checksum.
        let has_reader = skb.packet.head().protocol != protocol::SCTP;
        if meta.is_suspect && has_reader && !skb.packet.l4_checksum_ok() {
            return self.drop_ip(ns, meta, skb, DropReason::BadChecksum);
        }
        if let Some(reason) = self.refusal(ns, &skb.packet, meta) {
            return self.drop_ip(ns, meta, skb, reason);
        }
        self.note_ip(ns, meta, &skb, || StepKind::Delivered);
        self.counts.delivered += 1;
        self.stack_in(ns, skb, meta);
    }

    /// For somebody else (`ip_forward`).
    fn forward(&mut self, ns: NsId, way_in: In, way: Way, mut skb: Skb, meta: Meta) {
        // What came to everybody on the link is not for us to pass on.
        if meta.is_group {
            return self.drop_ip(ns, meta, skb, DropReason::OtherHost);
        }
        self.note_route(ns, meta, &skb, &way);
        if skb.packet.head().ttl <= 1 {
            self.send_icmp_error(ns, &skb, IcmpError::TimeExceeded, meta);
            return self.drop_ip(ns, meta, skb, DropReason::TtlExceeded);
        }
        let mtu = way.mtu;
        if skb.packet.head().total_len > mtu && skb.packet.dont_fragment() {
            let why = Unreachable::FragmentationNeeded(mtu).into();
            self.send_icmp_error(ns, &skb, why, meta);
            return self.drop_ip(ns, meta, skb, DropReason::TooBig { mtu });
        }
        skb.packet.decrement_ttl();
        let leaves = Some((way.dev, way.next_hop));
        let names = (way_in.name, way.name);
        if !self.hook(ns, Hook::Forward, names, leaves, &mut skb, meta) {
            return;
        }
        self.leave(ns, way, skb, meta, way_in.name);
    }

    /// No way leads on: the sender hears of it (`ip_error`).
    #[cold]
    fn unroutable(&mut self, ns: NsId, skb: Skb, meta: Meta, error: RouteError) {
        let answer = match error {
            RouteError::NoRoute | RouteError::RuleSays(RouteKind::Unreachable) => {
                Some(Unreachable::Net)
            }
            RouteError::Says(RouteKind::Unreachable) => Some(Unreachable::Host),
            RouteError::Says(RouteKind::Prohibit) | RouteError::RuleSays(RouteKind::Prohibit) => {
                Some(Unreachable::AdminProhibited)
            }
            RouteError::Says(_) | RouteError::RuleSays(_) => None,
        };
        if let Some(answer) = answer {
            self.send_icmp_error(ns, &skb, answer.into(), meta);
        }
        self.drop_ip(ns, meta, skb, reason_of(error));
    }

    // ---- out -----------------------------------------------------------------------------------------

    /// A packet that this namespace itself has made goes out (`ip_local_out`).
    pub(crate) fn ip_out(&mut self, ns: NsId, packet: Packet, cause: Cause) {
        let sent = Sent { sender: Sender::Kernel, ..Sent::because(cause) };
        self.send(ns, Skb::new(packet), sent);
    }

    /// The same with what goes with it.
    pub(crate) fn send(&mut self, ns: NsId, mut skb: Skb, sent: Sent) {
        self.lose_trail();
        let meta = Meta::new(self.new_packet_id(), sent.cause);
        let mut meta =
            Meta { confirms: sent.confirms, is_icmps: sent.is_icmps, sender: sent.sender, ..meta };
        self.counts.made += 1;
        self.note_ip(ns, meta, &skb, || StepKind::Made);
        if self.ns(ns).is_none_or(Namespace::is_off) {
            return self.drop_ip(ns, meta, skb, DropReason::Down);
        }
        if skb.packet.head().fragment != Fragment::default()
            && self.ns(ns).is_some_and(|here| here.netfilter.is_tracking())
        {
            let Some((packet, whole)) = self.defragment(ns, skb.packet, meta) else { return };
            skb.packet = packet;
            meta = whole;
        }
        let way = match self.way_out(ns, &skb, sent.oif) {
            Ok(way) => way,
            Err(error) => return self.drop_ip(ns, meta, skb, reason_of(error)),
        };
        let key = |skb: &Skb| (skb.packet.head().src, skb.packet.head().dst, skb.mark);
        let before = key(&skb);
        let leaves = Some((way.dev, way.next_hop));
        if !self.hook(ns, Hook::Output, (IfName::NONE, way.name), leaves, &mut skb, meta) {
            return;
        }
        // OUTPUT may have rewritten the destination: then the way is another (`ip_route_me_harder`).
        let way = match key(&skb) == before {
            true => way,
            false => match self.way_out(ns, &skb, sent.oif) {
                Ok(way) => way,
                Err(error) => return self.drop_ip(ns, meta, skb, reason_of(error)),
            },
        };
        self.note_route(ns, meta, &skb, &way);
        self.leave(ns, way, skb, meta, IfName::NONE);
    }

    /// A virtual service has given the packet to a real server elsewhere: it leaves from here, whether it came
    /// in or was made here (`ip_vs_nat_xmit`).
    fn send_to_server(&mut self, ns: NsId, server: Ipv4Addr, mut skb: Skb, meta: Meta) {
        let way = match self.find_way(ns, &Flow::to(server)) {
            Ok(way) => way,
            Err(error) => {
                self.send_icmp_error(ns, &skb, Unreachable::Host.into(), meta);
                return self.drop_ip(ns, meta, skb, reason_of(error));
            }
        };
        if skb.packet.head().ttl <= 1 {
            self.send_icmp_error(ns, &skb, IcmpError::TimeExceeded, meta);
            return self.drop_ip(ns, meta, skb, DropReason::TtlExceeded);
        }
        let mtu = self.path_mtu(ns, server, way.mtu);
        if skb.packet.head().total_len > mtu && skb.packet.dont_fragment() {
            let why = Unreachable::FragmentationNeeded(mtu).into();
            self.send_icmp_error(ns, &skb, why, meta);
            return self.drop_ip(ns, meta, skb, DropReason::TooBig { mtu });
        }
        skb.packet.decrement_ttl();
        let leaves = Some((way.dev, way.next_hop));
        if !self.hook(ns, Hook::Output, (IfName::NONE, way.name), leaves, &mut skb, meta) {
            return;
        }
        self.note_route(ns, meta, &skb, &way);
        self.leave(ns, way, skb, meta, IfName::NONE);
    }

    fn flow_of(&self, skb: &Skb, oif: Option<IfId>) -> Flow {
        let head = skb.packet.head();
        let oif_name = match oif {
            Some(oif) => self.iface(oif).map(|iface| iface.name).unwrap_or_default(),
            None => IfName::NONE,
        };
        Flow { src: head.src, mark: skb.mark, oif, oif_name, ..Flow::to(head.dst) }
    }

    /// The way for a packet that begins here, as it was for the last one like it.
    fn way_out(&mut self, ns: NsId, skb: &Skb, oif: Option<IfId>) -> Result<Way, RouteError> {
        if oif.is_some() {
            return self.find_way(ns, &self.flow_of(skb, oif));
        }
        let head = skb.packet.head();
        let (src, dst, mark, came_in) = (head.src, head.dst, skb.mark, IfId::NONE);
        let sought = Sought { ns, src, dst, mark, came_in };
        let version = self.ns(ns).map_or(0, |here| here.fib.version());
        if let Some(Found::Out(way)) = self.ways.get(&sought, version) {
            return Ok(way);
        }
        let way = self.find_way(ns, &self.flow_of(skb, None))?;
        self.ways.keep(sought, version, Found::Out(way));
        Ok(way)
    }

    /// The way for a flow that begins here (`ip_route_output_key`).
    pub(crate) fn find_way(&self, ns: NsId, flow: &Flow) -> Result<Way, RouteError> {
        let here = self.ns(ns).ok_or(RouteError::NoRoute)?;
        if flow.src.is_multicast() || flow.src.is_broadcast() {
            return Err(RouteError::Says(RouteKind::Blackhole));
        }
        let found = here.fib.lookup(flow);
        let way = match (found, flow.oif) {
            (Ok(route), _) if route.kind.has_device() => {
                self.way_of(here, route, flow.dst).ok_or(RouteError::NoRoute)?
            }
            (Ok(route), _) => return Err(RouteError::Says(route.kind)),
            // A socket bound to an interface needs no route: the destination is taken to be on its link.
            (Err(RouteError::NoRoute), Some(dev)) => {
                let iface = self.iface(dev).ok_or(RouteError::NoRoute)?;
                let (name, mtu, kind) = (iface.name, iface.mtu, RouteKind::Unicast);
                let prefix = Cidr::host(flow.dst);
                Way { dev, name, next_hop: flow.dst, mtu, kind, prefix, via: None }
            }
            (Err(error), _) => return Err(error),
        };
        // 127.0.0.0/8 does not go out (`__mkroute_output`).
        if flow.src.is_loopback() && way.dev != here.loopback {
            let localnet =
                self.iface(way.dev).map_or(0, |out| here.conf_max(out, IfKey::RouteLocalnet));
            if localnet == 0 {
                return Err(RouteError::Says(RouteKind::Local));
            }
        }
        Ok(way)
    }

    fn way_of(&self, here: &Namespace, route: &crate::Route, dst: Ipv4Addr) -> Option<Way> {
        let is_local = route.kind == RouteKind::Local;
        let dev = if is_local { here.loopback } else { route.dev };
        let iface = self.iface(dev)?;
        let is_to_all = dst.is_broadcast() || dst.is_multicast() || is_local;
        let via = route.via.filter(|_| !is_to_all);
        Some(Way {
            dev,
            name: iface.name,
            next_hop: via.unwrap_or(dst),
            mtu: route.mtu.map_or(iface.mtu, |mtu| mtu.min(iface.mtu)),
            kind: if dst.is_broadcast() { RouteKind::Broadcast } else { route.kind },
            prefix: route.dst,
            via,
        })
    }

    /// POSTROUTING, then out by the interface in pieces that it takes. `came_in`: the interface by which it
    /// has come; none for what is made here.
    fn leave(&mut self, ns: NsId, way: Way, mut skb: Skb, meta: Meta, came_in: IfName) {
        if way.kind == RouteKind::Broadcast {
            // Our own sockets hear what we send to everybody.
            self.counts.made += 1;
            let (packet, mark) = (skb.packet.clone(), skb.mark);
            let copy = Skb { mark, ..Skb::new(packet) };
            self.loop_back(way.dev, copy, Meta { frag_max: 0, ..meta }, Mac::BROADCAST);
        }
        let leaves = Some((way.dev, way.next_hop));
        let names = (came_in, way.name);
        if !self.hook(ns, Hook::Postrouting, names, leaves, &mut skb, meta) {
            return;
        }
        let mtu = if meta.frag_max > 0 { way.mtu.min(meta.frag_max) } else { way.mtu };
        // What routers have said counts for what is made here (`ip_forward_use_pmtu` is 0).
        let mtu =
            if came_in.is_none() { self.path_mtu(ns, skb.packet.head().dst, mtu) } else { mtu };
        let meta = Meta { frag_max: 0, is_group: false, ..meta };
        if skb.packet.head().total_len <= mtu {
            self.end_trail(ns, way);
            return self.emit(ns, way, skb, meta);
        }
        if skb.packet.dont_fragment() {
            let why = Unreachable::FragmentationNeeded(mtu).into();
            self.send_icmp_error(ns, &skb, why, meta);
            return self.drop_ip(ns, meta, skb, DropReason::TooBig { mtu });
        }
        let Some(pieces) = frag::cut(&skb.packet, mtu) else {
            return self.drop_ip(ns, meta, skb, DropReason::TooBig { mtu });
        };
        self.counts.made += pieces.len() as u64 - 1;
        for (i, packet) in pieces.into_iter().enumerate() {
            let id = if i == 0 { meta.id } else { self.new_packet_id() };
            let piece = Skb { packet, ..skb };
            self.emit(ns, way, piece, Meta { id, ..meta });
        }
    }

    fn emit(&mut self, ns: NsId, way: Way, skb: Skb, meta: Meta) {
        let is_loopback = self.ns(ns).is_some_and(|here| here.loopback == way.dev);
        if is_loopback {
            return self.loop_back(way.dev, skb, meta, Mac::ZERO);
        }
        let outgoing = Outgoing { packet: skb.packet, meta };
        if way.kind == RouteKind::Broadcast {
            return self.transmit_ip(way.dev, Mac::BROADCAST, outgoing.packet, meta);
        }
        self.send_to_neighbour(ns, way.dev, way.next_hop, outgoing);
    }

    // ---- hooks and what comes of them ----------------------------------------------------------------

    /// Takes a packet through a hook. `false`: it is gone, and that has been dealt with.
    #[inline]
    fn hook(
        &mut self,
        id: NsId,
        hook: Hook,
        names: (IfName, IfName),
        leaves: Option<(IfId, Ipv4Addr)>,
        skb: &mut Skb,
        meta: Meta,
    ) -> bool {
        match self.ns(id) {
            Some(here) if here.netfilter.is_idle() => true,
            Some(_) => self.ask_hook(id, hook, names, leaves, skb, meta),
            None => false,
        }
    }

    fn ask_hook(
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
        let Kernel { namespaces, ifaces, .. } = self;
        let found = namespaces.get_mut(id.slot as usize).filter(|ns| ns.serial == id.serial);
        let Some(ns) = found else { return false };
        let (head, from) = (skb.packet.head(), (meta.from_mac, meta.is_group));
        let (addrs, sender) = ((head.src, head.dst), meta.sender);
        let view = View { fib: &ns.fib, ifaces, leaves, addrs, from, sender };
        let input = HookInput { hook, iif, oif, now, surroundings: &view };
        let mut trace = wants_trace.then(|| HookTrace::new(hook));
        let verdict = ns.netfilter.hook(&input, skb, trace.as_mut());
        if let Some(trace) = trace {
            let kind = StepKind::Hook(trace);
            self.tracer.record(now, (meta.id, meta.cause), id, skb.packet.bytes(), kind);
        }
        match verdict {
            Verdict::Accept => true,
            Verdict::Virtual { server } => {
                self.send_to_server(id, server, skb.clone(), meta);
                false
            }
            Verdict::Drop(reason) => {
                self.dropped(id, meta, skb, DropReason::Netfilter(reason));
                false
            }
            Verdict::Reject(with, reason) => {
                match with {
                    // What is damaged is not answered (`nf_reject_verify_csum`).
                    _ if meta.is_suspect && !is_answerable(&skb.packet) => {}
                    Reject::Icmp(why) => self.send_icmp_error(id, skb, why.into(), meta),
                    Reject::TcpReset => {
                        if let Some(packet) = reply::tcp_reset(&skb.packet) {
                            let ct = skb.ct.of_answer();
                            if let Some(here) = self.ns_mut(id) {
                                here.netfilter.conntrack_mut().set_closing(skb.ct, now);
                            }
                            let reset = Skb { ct, ..Skb::new(packet) };
                            self.send(id, reset, Sent::because(meta.cause));
                        }
                    }
                }
                self.dropped(id, meta, skb, DropReason::Rejected(reason));
                false
            }
        }
    }

    #[cold]
    pub(crate) fn drop_ip(&mut self, ns: NsId, meta: Meta, skb: Skb, reason: DropReason) {
        if let Some(here) = self.ns_mut(ns) {
            here.netfilter.discard(&skb);
        }
        self.dropped(ns, meta, &skb, reason);
    }

    #[cold]
    pub(crate) fn dropped(&mut self, ns: NsId, meta: Meta, skb: &Skb, reason: DropReason) {
        self.counts.dropped += 1;
        self.note_ip(ns, meta, skb, || StepKind::Dropped(reason));
    }

    #[allow(clippy::boxed_local, reason = "parcels travel in boxes")]
    #[cold]
    pub(crate) fn lose_at(&mut self, ns: NsId, parcel: Box<Parcel>, reason: DropReason) {
        let meta = parcel.meta;
        if parcel.is_ip() {
            self.counts.dropped += 1;
        }
        self.note(ns, meta, &parcel.frame.body, || StepKind::Dropped(reason));
    }

    /// Lost where there is no namespace any more.
    pub(crate) fn lose(&mut self, parcel: Box<Parcel>, reason: DropReason) {
        self.lose_at(NsId::NONE, parcel, reason);
    }

    // ---- writing down --------------------------------------------------------------------------------

    pub(crate) fn note(
        &mut self,
        ns: NsId,
        meta: Meta,
        body: &Body,
        kind: impl FnOnce() -> StepKind,
    ) {
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

    pub(crate) fn note_ip(
        &mut self,
        ns: NsId,
        meta: Meta,
        skb: &Skb,
        kind: impl FnOnce() -> StepKind,
    ) {
        if self.tracer.wants(meta.cause) {
            let at = self.now;
            self.tracer.record(at, (meta.id, meta.cause), ns, skb.packet.bytes(), kind());
        }
    }

    fn note_route(&mut self, ns: NsId, meta: Meta, skb: &Skb, way: &Way) {
        let Way { prefix, via, name, kind, .. } = *way;
        self.note_ip(ns, meta, skb, || {
            StepKind::Routed(match kind {
                RouteKind::Local => Routed::Local,
                _ => Routed::By { dst: prefix, via, dev: name },
            })
        });
    }
}

/// 255.255.255.255, and the older way to say it.
fn is_everybody(addr: Ipv4Addr) -> bool {
    addr.is_broadcast() || addr.is_unspecified()
}

fn reason_of(error: RouteError) -> DropReason {
    match error {
        RouteError::NoRoute => DropReason::NoRoute,
        // What cannot be routed because of its source.
        RouteError::Says(RouteKind::Local) => DropReason::Martian,
        RouteError::Says(kind) | RouteError::RuleSays(kind) => DropReason::RouteSays(kind),
    }
}

/// Whether `REJECT` answers a packet from outside (`nf_reject_verify_csum`): not one with a wrong checksum. The
/// payload of a protocol that it does not know is taken for one that sums up.
fn is_answerable(packet: &Packet) -> bool {
    match packet.head().protocol {
        // Sums of their own kind: DCCP, GRE, ESP, AH, SCTP, UDP-Lite.
        33 | 47 | 50 | 51 | protocol::SCTP | 136 => true,
        protocol::TCP | protocol::UDP | protocol::ICMP => packet.l4_checksum_ok(),
        // The sum is of the header too, so that nothing at all sums up as well.
        _ => matches!(checksum::fold(checksum::sum(0, packet.payload())), 0 | 0xffff),
    }
}
