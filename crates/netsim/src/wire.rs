//! Frames: in from an interface, out by one, and across the link between two.

use base::{Duration, Instant};
use netfilter::ipvs::Handled;
use netfilter::{CtSlot, IfName, Sender, Skb};
use packet::{Arp, Body, Frame, Mac, Packet};

use crate::capture::CaptureDirection;
use crate::drops::DropReason;
use crate::iface::{IfId, IfKind};
use crate::kernel::Kernel;
use crate::link::{self, Fate};
use crate::ns::NsId;
use crate::path::{In, Meta, Parcel};
use crate::queue::Event;
use crate::trace::{Cause, PacketId, StepKind};

/// Time a bridge takes to pass a frame on.
pub const BRIDGE_HOP: Duration = Duration::from_micros(50);

/// Time a frame takes over loopback.
const LOOPBACK_HOP: Duration = Duration::from_micros(10);

impl Kernel {
    /// A frame is at an interface.
    pub(crate) fn arrive(&mut self, id: IfId, mut parcel: Box<Parcel>) {
        let bytes = parcel.frame.body_len() as u64;
        let Some(iface) = self.iface_at_work(id) else {
            return self.lose(parcel, DropReason::Down);
        };
        let ns = iface.ns;
        let (is_up, master, mac, name) = (iface.is_up, iface.master, iface.mac, iface.name);
        let is_loopback = iface.is_loopback();
        if is_up {
            iface.stats.rx_packets += 1;
            iface.stats.rx_bytes += bytes + 14;
        } else {
            iface.stats.rx_dropped += 1;
        }
        let here = self.ns(ns).filter(|here| !here.is_off());
        let tracks = here.is_some_and(|here| here.netfilter.is_tracking());
        if !is_up || here.is_none() {
            return self.lose_at(ns, parcel, DropReason::Down);
        }
        self.show(id, &parcel.frame, parcel.meta, CaptureDirection::In);
        self.note(ns, parcel.meta, &parcel.frame.body, || StepKind::Received { iface: name });
        if let Some(bridge) = master
            && parcel.kept.is_none()
        {
            let at = self.now + BRIDGE_HOP;
            self.counts.on_wire += u64::from(parcel.is_ip());
            return self.queue.push(at, Event::Switch { bridge, port: id, parcel });
        }
        let (is_group, from_mac) = (parcel.frame.dst.is_group(), parcel.frame.src);
        if !is_loopback && parcel.frame.dst != mac && !is_group {
            return self.lose_at(ns, parcel, DropReason::OtherHost);
        }
        if !self.partitions.is_empty() && self.are_parted(parcel.from, ns) {
            return self.lose_at(ns, parcel, DropReason::Partitioned);
        }
        if tracks
            && !is_group
            && !parcel.meta.is_suspect
            && parcel.meta.frag_max == 0
            && parcel.kept.is_none()
            && let Some(way) = self.follow_trail(ns, id, &mut parcel)
        {
            return self.send_along(ns, way, parcel);
        }
        let kept = parcel.kept.take();
        let meta =
            Meta { is_group, from_mac, is_icmps: false, sender: Sender::None, ..parcel.meta };
        match self.unpack(parcel) {
            Body::Arp(arp) => self.arp_in(ns, id, meta, arp),
            Body::Ipv4(packet) => {
                let is_looped = kept.is_some();
                let (mark, ct, ipvs) = kept.unwrap_or_default();
                let way_in = In { dev: id, name, is_looped };
                let is_trusted = !meta.is_suspect;
                self.ip_in(ns, way_in, Skb { packet, mark, ct, is_trusted, ipvs }, meta);
            }
        }
    }

    /// The frame's body; the box is kept for the next frame.
    pub(crate) fn unpack(&mut self, mut parcel: Box<Parcel>) -> Body {
        let unset = std::net::Ipv4Addr::UNSPECIFIED;
        let empty = Body::Arp(Arp::who_has(unset, Mac::ZERO, unset));
        let body = std::mem::replace(&mut parcel.frame.body, empty);
        if self.spare_parcels.len() < 1024 {
            self.spare_parcels.push(parcel);
        }
        body
    }

    pub(crate) fn pack(&mut self, parcel: Parcel) -> Box<Parcel> {
        match self.spare_parcels.pop() {
            Some(mut spare) => {
                *spare = parcel;
                spare
            }
            None => Box::new(parcel),
        }
    }

    /// Bytes from outside the world are at an interface, as if its link had carried them. An Ethernet
    /// header comes first. Nothing is believed of them: all checksums are checked.
    pub(crate) fn inject(&mut self, id: IfId, bytes: &[u8], cause: Cause) -> PacketId {
        let packet_id = self.new_packet_id();
        let meta = Meta { is_suspect: true, ..Meta::new(packet_id, cause) };
        let ns = self.iface(id).map_or(NsId::NONE, |iface| iface.ns);
        let body = match parse_frame(bytes) {
            Ok(frame) => frame,
            Err(reason) => {
                self.counts.made += 1;
                self.counts.dropped += 1;
                if self.tracer.wants(cause) {
                    let kind = StepKind::Dropped(reason);
                    self.tracer.record(self.now, (packet_id, cause), ns, bytes, kind);
                }
                return packet_id;
            }
        };
        let parcel = Parcel { frame: body, meta, kept: None, from: NsId::NONE };
        self.counts.made += u64::from(parcel.is_ip());
        let parcel = self.pack(parcel);
        self.arrive(id, parcel);
        packet_id
    }

    // ---- out -----------------------------------------------------------------------------------------

    pub(crate) fn transmit_ip(&mut self, dev: IfId, dst: Mac, packet: Packet, meta: Meta) {
        let Some(iface) = self.iface(dev) else {
            return self.drop_ip(NsId::NONE, meta, Skb::new(packet), DropReason::Down);
        };
        let (src, from) = (iface.mac, iface.ns);
        let frame = Frame { dst, src, body: Body::Ipv4(packet) };
        let parcel = self.pack(Parcel { frame, meta, kept: None, from });
        self.transmit(dev, parcel);
    }

    /// Sends a packet to this namespace itself, with what is known of it.
    pub(crate) fn loop_back(&mut self, dev: IfId, skb: Skb, meta: Meta, dst: Mac) {
        let from = self.iface(dev).map_or(NsId::NONE, |iface| iface.ns);
        let Skb { packet, mark, ct, ipvs, .. } = skb;
        let frame = Frame { dst, src: Mac::ZERO, body: Body::Ipv4(packet) };
        let parcel = self.pack(Parcel { frame, meta, kept: Some((mark, ct, ipvs)), from });
        let is_loopback = self.iface(dev).is_some_and(|iface| iface.is_loopback());
        if is_loopback {
            return self.transmit(dev, parcel);
        }
        let name = self.iface(dev).map(|iface| iface.name).unwrap_or_default();
        self.put_on_wire(from, (dev, name), dev, self.now, parcel);
    }

    /// Puts a frame on an interface.
    pub(crate) fn transmit(&mut self, dev: IfId, parcel: Box<Parcel>) {
        match self.sure_way(dev, &parcel) {
            Some((to, arrives)) => {
                self.counts.on_wire += u64::from(parcel.is_ip());
                self.queue.push(arrives, Event::Arrive { iface: to, parcel });
            }
            None => self.transmit_with_care(dev, parcel),
        }
    }

    /// The other end of a cable that loses and delays nothing, and when a frame is there that nobody watches;
    /// the frame counts as sent.
    #[inline]
    fn sure_way(&mut self, dev: IfId, parcel: &Parcel) -> Option<(IfId, Instant)> {
        let iface = self.iface(dev)?;
        let IfKind::Veth { peer, link, .. } = &iface.kind else { return None };
        let (to, arrives) = (*peer, self.now + link.latency);
        let (other, len) = (self.iface(to)?, parcel.frame.body_len());
        let is_sure = iface.is_up
            && link.is_sure()
            && other.is_up
            && len <= usize::from(other.mtu) + 4
            && self.taps.is_empty()
            && !self.tracer.wants(parcel.meta.cause);
        if !is_sure {
            return None;
        }
        let iface = self.ifaces.get_mut(dev.slot as usize)?;
        iface.stats.tx_packets += 1;
        iface.stats.tx_bytes += len as u64 + 14;
        Some((to, arrives))
    }

    /// The same where more may happen to it.
    fn transmit_with_care(&mut self, dev: IfId, mut parcel: Box<Parcel>) {
        let now = self.now;
        let len = parcel.frame.body_len();
        let Some(iface) = self.iface(dev) else { return self.lose(parcel, DropReason::Down) };
        let (ns, name) = (iface.ns, iface.name);
        if !iface.is_up {
            return self.cannot_send(dev, ns, parcel, DropReason::Down);
        }
        if let IfKind::Veth { peer, .. } = &iface.kind {
            match self.iface(*peer) {
                Some(peer) if peer.is_up => {
                    // The other end takes no more than its own MTU and a VLAN tag (`is_skb_forwardable`).
                    let mtu = peer.mtu;
                    if len > usize::from(mtu) + 4 {
                        let reason = DropReason::TooBigForPeer { mtu };
                        return self.cannot_send(dev, ns, parcel, reason);
                    }
                }
                _ => return self.cannot_send(dev, ns, parcel, DropReason::NoCarrier),
            }
        }
        self.show(dev, &parcel.frame, parcel.meta, CaptureDirection::Out);
        let Kernel { ifaces, rng, .. } = self;
        let Some(iface) = ifaces.get_mut(dev.slot as usize) else { return };
        iface.stats.tx_packets += 1;
        iface.stats.tx_bytes += len as u64 + 14;
        let (to, fate) = match &mut iface.kind {
            IfKind::Loopback => {
                let fate = Fate { arrives: now + LOOPBACK_HOP, again: None, flipped: None };
                (dev, Ok(fate))
            }
            IfKind::Dummy => return self.lose_at(ns, parcel, DropReason::Dummy),
            IfKind::Bridge { .. } => return self.switch_own(dev, parcel),
            IfKind::Veth { peer, link, busy_until, .. } => {
                (*peer, link::fate(link, busy_until, len + 14, now, rng))
            }
        };
        let Fate { arrives, again, flipped } = match fate {
            Ok(fate) => fate,
            Err(reason) => return self.lose_at(ns, parcel, reason),
        };
        if let Some(arrives) = again {
            let copy = self.copy(&parcel);
            self.counts.made += u64::from(copy.is_ip());
            self.put_on_wire(ns, (dev, name), to, arrives, copy);
        }
        if let Some(bit) = flipped
            && !flip(&mut parcel, bit)
        {
            return self.lose_at(ns, parcel, DropReason::LinkDamage);
        }
        self.put_on_wire(ns, (dev, name), to, arrives, parcel);
    }

    fn cannot_send(&mut self, dev: IfId, ns: NsId, parcel: Box<Parcel>, reason: DropReason) {
        if let Some(iface) = self.iface_at_work(dev) {
            iface.stats.tx_dropped += 1;
        }
        self.lose_at(ns, parcel, reason);
    }

    fn put_on_wire(
        &mut self,
        ns: NsId,
        (from, iface): (IfId, IfName),
        to: IfId,
        arrives: Instant,
        parcel: Box<Parcel>,
    ) {
        if self.tracer.wants(parcel.meta.cause) {
            let to_ns = self.iface(to).map_or(ns, |iface| iface.ns);
            let kind = || StepKind::Sent { iface, from, to, to_ns, arrives };
            self.note(ns, parcel.meta, &parcel.frame.body, kind);
        }
        self.counts.on_wire += u64::from(parcel.is_ip());
        self.queue.push(arrives, Event::Arrive { iface: to, parcel });
    }

    /// A second frame like this one.
    pub(crate) fn copy(&self, parcel: &Parcel) -> Box<Parcel> {
        let Parcel { frame, meta, from, .. } = parcel;
        Box::new(Parcel { frame: frame.clone(), meta: *meta, kept: None, from: *from })
    }
}

/// Flips a bit of a frame's packet. `false`: what is left is not a packet. ARP is small and stays whole.
fn flip(parcel: &mut Parcel, bit: u32) -> bool {
    let Body::Ipv4(packet) = &mut parcel.frame.body else { return true };
    let mut bytes = packet.bytes().to_vec();
    let bits = (bytes.len() as u32).saturating_mul(8).max(1);
    let at = bit % bits;
    if let Some(byte) = bytes.get_mut((at / 8) as usize) {
        *byte ^= 1 << (at % 8);
    }
    parcel.meta.is_suspect = true;
    match Packet::parse_checked(bytes) {
        Ok(damaged) => {
            *packet = damaged;
            true
        }
        Err(_) => false,
    }
}

fn parse_frame(bytes: &[u8]) -> Result<Frame, DropReason> {
    use packet::Malformed::{NotIpv4, Truncated};
    let mac = |at: usize| -> Option<Mac> { Some(Mac(bytes.get(at..at + 6)?.try_into().ok()?)) };
    let cut_short = DropReason::Malformed(Truncated);
    let (Some(dst), Some(src)) = (mac(0), mac(6)) else { return Err(cut_short) };
    let kind = match bytes.get(12..14) {
        Some([a, b]) => u16::from_be_bytes([*a, *b]),
        _ => return Err(cut_short),
    };
    let payload = bytes.get(14..).unwrap_or_default();
    let body = match kind {
        0x0800 => Packet::parse_checked(payload.to_vec()).map(Body::Ipv4),
        0x0806 => Arp::parse(payload).map(Body::Arp),
        _ => Err(NotIpv4),
    };
    body.map(|body| Frame { dst, src, body }).map_err(DropReason::Malformed)
}

/// What a looped packet keeps.
pub(crate) type Kept = Option<(u32, CtSlot, Handled)>;
