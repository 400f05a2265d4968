//! Fragments: cutting a packet for a link that takes less, and putting the pieces together again
//! (RFC 791, `net/ipv4/ip_output.c`, `ip_fragment.c`, `inet_fragment.c`; RFC 5722: fragments that overlap
//! make the whole datagram void).
//!
//! Packets are put together where they are delivered; where connections are tracked, before PREROUTING
//! and OUTPUT (`nf_defrag_ipv4`), and then cut again to the size they came in.

use base::tree::BTreeMap;
use std::net::Ipv4Addr;

use base::{Duration, Instant};
use packet::Packet;

use crate::drops::DropReason;
use crate::icmp::finish_header;
use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::path::Meta;
use crate::queue::Event;
use crate::sysctl::NsKey;

/// Which datagram a fragment is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    src: Ipv4Addr,
    dst: Ipv4Addr,
    protocol: u8,
    ident: u16,
}

/// A datagram of which something is missing.
#[derive(Debug)]
struct Pending {
    /// Fragments by offset, none overlapping another.
    parts: BTreeMap<u16, Packet>,
    /// Length of the payload, once the last fragment is there.
    end: Option<usize>,
    /// Longest fragment.
    longest: u16,
    meta: Meta,
    expires: Instant,
}

impl Pending {
    fn bytes(&self) -> usize {
        self.parts.values().map(|part| part.bytes().len()).sum()
    }
}

/// The datagrams of a namespace of which something is missing.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    pending: BTreeMap<Key, Pending>,
    bytes: usize,
}

/// What came of a fragment.
#[derive(Debug)]
enum Joined {
    /// The rest is still missing.
    Waits,
    /// It was the last that was missing.
    Whole(Packet, Meta, u64),
    /// It and so many others are void.
    Void(Vec<(Packet, Meta)>),
}

impl Fragments {
    /// Fragments that wait for others.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.values().map(|pending| pending.parts.len()).sum()
    }

    fn add(&mut self, packet: Packet, meta: Meta, limit: usize, expires: Instant) -> Joined {
        let head = *packet.head();
        let key =
            Key { src: head.src, dst: head.dst, protocol: head.protocol, ident: packet.ident() };
        let len = packet.payload().len();
        let start = usize::from(head.fragment.offset);
        let (end, is_last) = (start + len, !head.fragment.more);
        let fits = end + usize::from(head.header_len) <= usize::from(u16::MAX)
            && len > 0
            && (is_last || len.is_multiple_of(8));
        let is_full = self.bytes + packet.bytes().len() > limit;
        if !fits || is_full {
            return Joined::Void(vec![(packet, meta)]);
        }
        let pending = self.pending.entry(key).or_insert_with(|| Pending {
            parts: BTreeMap::new(),
            end: None,
            longest: 0,
            meta,
            expires,
        });
        match room_for(pending, start, end, is_last) {
            Room::Free => {}
            Room::Twice => return Joined::Void(vec![(packet, meta)]),
            Room::Overlap => {
                self.bytes -= pending.bytes();
                let parts = std::mem::take(&mut pending.parts);
                let first = pending.meta;
                self.pending.remove(&key);
                let others = parts.into_values().map(|part| (part, first));
                return Joined::Void(others.chain([(packet, meta)]).collect());
            }
        }
        if is_last {
            pending.end = Some(end);
        }
        if start == 0 {
            pending.meta = meta;
        }
        pending.longest = pending.longest.max(head.total_len);
        self.bytes += packet.bytes().len();
        pending.parts.insert(head.fragment.offset, packet);
        let have: usize = pending.parts.values().map(|part| part.payload().len()).sum();
        if pending.end != Some(have) {
            return Joined::Waits;
        }
        self.bytes -= pending.bytes();
        let Some(whole) = self.pending.remove(&key) else { return Joined::Waits };
        let count = whole.parts.len() as u64;
        let meta = Meta { frag_max: whole.longest, ..whole.meta };
        match join(&whole) {
            Some(packet) => Joined::Whole(packet, meta, count),
            None => Joined::Void(whole.parts.into_values().map(|part| (part, meta)).collect()),
        }
    }

    /// The datagrams whose time is over at `now`, each with its fragments by offset.
    fn expire(&mut self, now: Instant) -> Vec<(BTreeMap<u16, Packet>, Meta)> {
        let over = self.pending.iter().filter(|(_, pending)| pending.expires <= now);
        let keys: Vec<Key> = over.map(|(key, _)| *key).collect();
        let mut gone = Vec::new();
        for key in keys {
            if let Some(pending) = self.pending.remove(&key) {
                self.bytes -= pending.bytes();
                gone.push((pending.parts, pending.meta));
            }
        }
        gone
    }

    /// All fragments that wait, for a namespace that goes.
    pub(crate) fn drain(&mut self) -> Vec<(Packet, Meta)> {
        self.bytes = 0;
        let pending = std::mem::take(&mut self.pending).into_values();
        pending.flat_map(|p| p.parts.into_values().map(move |part| (part, p.meta))).collect()
    }
}

enum Room {
    Free,
    Twice,
    Overlap,
}

fn room_for(pending: &Pending, start: usize, end: usize, is_last: bool) -> Room {
    if pending.end.is_some_and(|known| end > known || (is_last && end != known)) {
        return Room::Overlap;
    }
    let reaches = |part: &Packet| usize::from(part.head().fragment.offset) + part.payload().len();
    if is_last && pending.parts.values().any(|part| reaches(part) > end) {
        return Room::Overlap;
    }
    for part in pending.parts.values() {
        let (from, to) = (usize::from(part.head().fragment.offset), reaches(part));
        if from <= start && end <= to {
            return Room::Twice;
        }
        if start < to && from < end {
            return Room::Overlap;
        }
    }
    Room::Free
}

/// The datagram, with the first fragment's header.
fn join(whole: &Pending) -> Option<Packet> {
    let first = whole.parts.get(&0)?;
    let mut bytes = first.header().to_vec();
    for part in whole.parts.values() {
        bytes.extend_from_slice(part.payload());
    }
    let len = u16::try_from(bytes.len()).ok()?;
    bytes.get_mut(2..4)?.copy_from_slice(&len.to_be_bytes());
    bytes.get_mut(6..8)?.fill(0);
    finish_header(bytes)
}

/// Cuts a packet into pieces of at most `mtu` bytes. `None`: it cannot be cut so small.
pub(crate) fn cut(packet: &Packet, mtu: u16) -> Option<Vec<Packet>> {
    let head = packet.head();
    let header = packet.header();
    let room = usize::from(mtu).checked_sub(header.len())? & !7;
    if room == 0 {
        return None;
    }
    let payload = packet.payload();
    let count = payload.len().div_ceil(room);
    let mut pieces = Vec::with_capacity(count);
    for (i, data) in payload.chunks(room).enumerate() {
        let offset = usize::from(head.fragment.offset) + i * room;
        let more = i + 1 < count || head.fragment.more;
        let mut bytes = header.to_vec();
        if i > 0 {
            blank_options(bytes.get_mut(20..)?);
        }
        let word = u16::try_from(offset / 8).ok()? | if more { 0x2000 } else { 0 };
        let len = u16::try_from(header.len() + data.len()).ok()?;
        bytes.get_mut(2..4)?.copy_from_slice(&len.to_be_bytes());
        bytes.get_mut(6..8)?.copy_from_slice(&word.to_be_bytes());
        bytes.extend_from_slice(data);
        pieces.push(finish_header(bytes)?);
    }
    Some(pieces)
}

/// Options that are for the first fragment only become "no operation" (`ip_options_fragment`).
fn blank_options(options: &mut [u8]) {
    let mut at = 0;
    while let Some(kind) = options.get(at).copied() {
        let len = match kind {
            0 => return,
            1 => 1,
            _ => usize::from(options.get(at + 1).copied().unwrap_or(0)).max(2),
        };
        if kind & 0x80 == 0
            && let Some(option) = options.get_mut(at..at + len)
        {
            option.fill(1);
        }
        at += len;
    }
}

impl Kernel {
    /// Keeps a fragment until the rest is there; then gives the whole.
    pub(crate) fn defragment(
        &mut self,
        ns: NsId,
        packet: Packet,
        meta: Meta,
    ) -> Option<(Packet, Meta)> {
        let now = self.now;
        let here = self.ns_mut(ns)?;
        let seconds = u64::try_from(here.sysctls.get(NsKey::IpfragTime)).unwrap_or(0);
        let limit = usize::try_from(here.sysctls.get(NsKey::IpfragHighThresh)).unwrap_or(0);
        let expires = now + Duration::from_secs(seconds);
        match here.fragments.add(packet, meta, limit, expires) {
            Joined::Waits => {
                self.queue.push(expires, Event::Fragments { ns });
                None
            }
            Joined::Whole(packet, meta, count) => {
                // The pieces have arrived; one packet goes on.
                self.counts.delivered += count - 1;
                Some((packet, meta))
            }
            Joined::Void(gone) => {
                for (packet, meta) in gone {
                    let skb = netfilter::Skb::new(packet);
                    self.dropped(ns, meta, &skb, DropReason::BadFragments);
                }
                None
            }
        }
    }

    /// Fragments whose others did not come are dropped; the sender hears of it if the first one came.
    pub(crate) fn fragment_timer(&mut self, ns: NsId) {
        let now = self.now;
        let Some(here) = self.ns_mut(ns) else { return };
        for (parts, meta) in here.fragments.expire(now) {
            if let Some(first) = parts.get(&0) {
                self.send_fragment_timeout(ns, first, meta);
            }
            for packet in parts.into_values() {
                let skb = netfilter::Skb::new(packet);
                self.dropped(ns, meta, &skb, DropReason::FragmentTimeout);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Cause, PacketId};
    use packet::{protocol, reply};

    fn datagram(len: usize) -> Packet {
        let mut payload = vec![0, 7, 0, 9];
        payload.extend_from_slice(&(len as u16 + 8).to_be_bytes());
        payload.extend_from_slice(&[0, 0]);
        payload.extend((0..len).map(|i| i as u8));
        let mut packet =
            reply::finish([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::UDP, 64, payload);
        packet.set_ident(77);
        packet
    }

    fn meta() -> Meta {
        Meta::new(PacketId(1), Cause(0))
    }

    fn add(fragments: &mut Fragments, packet: &Packet) -> Joined {
        fragments.add(packet.clone(), meta(), 1 << 20, Instant::from_secs(30))
    }

    #[test]
    fn pieces_in_any_order_make_the_whole_again() {
        let whole = datagram(3000);
        let pieces = cut(&whole, 1000).unwrap();
        assert_eq!(pieces.len(), 4);
        assert!(pieces.iter().all(|piece| piece.bytes().len() <= 1000));
        let mut fragments = Fragments::default();
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            for (i, at) in order.iter().enumerate() {
                match add(&mut fragments, &pieces[*at]) {
                    Joined::Waits => assert!(i < 3),
                    Joined::Whole(packet, meta, 4) => {
                        assert_eq!(packet.bytes(), whole.bytes());
                        assert_eq!(meta.frag_max, 996);
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((fragments.bytes, fragments.waiting()), (0, 0));
        }
    }

    #[test]
    fn a_piece_is_cut_further_and_keeps_its_place() {
        let whole = datagram(3000);
        let mut fragments = Fragments::default();
        let pieces = cut(&whole, 1500).unwrap();
        let smaller: Vec<Packet> = pieces.iter().flat_map(|p| cut(p, 600).unwrap()).collect();
        let (last, rest) = smaller.split_last().unwrap();
        for piece in rest {
            assert!(matches!(add(&mut fragments, piece), Joined::Waits));
        }
        let Joined::Whole(packet, ..) = add(&mut fragments, last) else { panic!("incomplete") };
        assert_eq!(packet.bytes(), whole.bytes());
    }

    #[test]
    fn overlapping_pieces_void_the_datagram_and_copies_do_not() {
        let whole = datagram(3000);
        let (large, small) = (cut(&whole, 1500).unwrap(), cut(&whole, 1000).unwrap());
        let mut fragments = Fragments::default();
        assert!(matches!(add(&mut fragments, &large[0]), Joined::Waits));
        let Joined::Void(copies) = add(&mut fragments, &large[0]) else { panic!("copied") };
        assert_eq!((copies.len(), fragments.waiting()), (1, 1));
        let Joined::Void(gone) = add(&mut fragments, &small[1]) else { panic!("overlap") };
        assert_eq!((gone.len(), fragments.waiting(), fragments.bytes), (2, 0, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let pieces = cut(&datagram(3000), 1500).unwrap();
        let mut fragments = Fragments::default();
        let joined = fragments.add(pieces[0].clone(), meta(), 1000, Instant::ZERO);
        assert!(matches!(joined, Joined::Void(_)));
        assert_eq!(fragments.waiting(), 0);
    }
}
