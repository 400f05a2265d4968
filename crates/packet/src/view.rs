//! Checked views: headers read where they lie, without copying.
//!
//! A view exists only when the header it stands for is all there and its length fields do not
//! contradict the bytes; anything else is [`Malformed`] with the reason.

use std::net::Ipv4Addr;

use crate::ethernet::Mac;
use crate::ipv4::Malformed;
use crate::{u16_at, u32_at};

/// EtherTypes (IANA) that the lab speaks or recognises.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// Customer VLAN tag (IEEE 802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// Service VLAN tag (IEEE 802.1ad).
    pub const QINQ: u16 = 0x88a8;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// An 802.1Q tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The tag protocol, [`ethertype::VLAN`] or [`ethertype::QINQ`].
    pub tpid: u16,
    /// Tag control information: priority, drop eligible, VLAN identifier.
    pub tci: u16,
}

impl Vlan {
    /// The VLAN's number, 0 to 4095.
    pub fn id(self) -> u16 {
        self.tci & 0xfff
    }

    /// Priority, 0 to 7.
    pub fn priority(self) -> u8 {
        (self.tci >> 13) as u8
    }
}

/// Tags in a row that are looked through.
const TAGS_MAX: usize = 4;

/// An Ethernet II frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet<'a> {
    /// Who is to take it.
    pub dst: Mac,
    /// Who sent it.
    pub src: Mac,
    /// The outermost 802.1Q tag.
    pub vlan: Option<Vlan>,
    /// What the payload is, behind all tags.
    pub ethertype: u16,
    /// Everything behind the header and its tags.
    pub payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    /// Reads a frame as it stands on the wire.
    pub fn parse(bytes: &'a [u8]) -> Result<Ethernet<'a>, Malformed> {
        let mac = |at: usize| -> Result<Mac, Malformed> {
            let octets = bytes.get(at..at + 6).ok_or(Malformed::Truncated)?;
            Ok(Mac(octets.try_into().map_err(|_| Malformed::Truncated)?))
        };
        let (dst, src) = (mac(0)?, mac(6)?);
        let mut vlan = None;
        let mut at = 12;
        for _ in 0..=TAGS_MAX {
            let kind = u16_at(bytes, at).ok_or(Malformed::Truncated)?;
            if kind != ethertype::VLAN && kind != ethertype::QINQ {
                let payload = bytes.get(at + 2..).ok_or(Malformed::Truncated)?;
                return Ok(Ethernet { dst, src, vlan, ethertype: kind, payload });
            }
            let tci = u16_at(bytes, at + 2).ok_or(Malformed::Truncated)?;
            vlan.get_or_insert(Vlan { tpid: kind, tci });
            at += 4;
        }
        Err(Malformed::BadLength)
    }
}

/// A TCP header and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp<'a> {
    header: &'a [u8],
    /// The segment's data.
    pub data: &'a [u8],
}

impl<'a> Tcp<'a> {
    /// Reads a segment (RFC 9293 §3.1).
    pub fn parse(bytes: &'a [u8]) -> Result<Tcp<'a>, Malformed> {
        let offset = *bytes.get(12).ok_or(Malformed::Truncated)?;
        let len = usize::from(offset >> 4) * 4;
        if len < 20 {
            return Err(Malformed::BadLength);
        }
        let (header, data) = bytes.split_at_checked(len).ok_or(Malformed::Truncated)?;
        Ok(Tcp { header, data })
    }

    fn word(&self, at: usize) -> u16 {
        u16_at(self.header, at).unwrap_or_default()
    }

    fn long(&self, at: usize) -> u32 {
        u32_at(self.header, at).unwrap_or_default()
    }

    /// Source and destination port.
    pub fn ports(&self) -> (u16, u16) {
        (self.word(0), self.word(2))
    }

    /// Sequence number.
    pub fn seq(&self) -> u32 {
        self.long(4)
    }

    /// Acknowledgment number.
    pub fn ack(&self) -> u32 {
        self.long(8)
    }

    /// Control bits, see [`crate::tcp_flags`].
    pub fn flags(&self) -> u8 {
        self.header.get(13).copied().unwrap_or_default()
    }

    /// Window, not scaled.
    pub fn window(&self) -> u16 {
        self.word(14)
    }

    /// Urgent pointer.
    pub fn urgent(&self) -> u16 {
        self.word(18)
    }

    /// The options, one after the other, without padding.
    pub fn options(&self) -> Options<'a> {
        Options { rest: self.header.get(20..).unwrap_or_default() }
    }

    /// The value of the maximum segment size option.
    pub fn mss(&self) -> Option<u16> {
        self.options().find(|option| option.kind == 2).and_then(|option| u16_at(option.data, 0))
    }

    /// The shift of the window scale option (RFC 7323 §2).
    pub fn window_scale(&self) -> Option<u8> {
        let option = self.options().find(|option| option.kind == 3)?;
        option.data.first().copied()
    }
}

/// An option of TCP or IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt<'a> {
    /// Its kind.
    pub kind: u8,
    /// What follows kind and length.
    pub data: &'a [u8],
}

/// Options in a row; ends at the first that is malformed.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Options<'a> {
    /// Reads the option field of a TCP or IPv4 header; both have the same form.
    pub fn new(bytes: &'a [u8]) -> Options<'a> {
        Options { rest: bytes }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Opt<'a>;

    fn next(&mut self) -> Option<Opt<'a>> {
        while let [1, rest @ ..] = self.rest {
            self.rest = rest;
        }
        let [kind, len, ..] = *self.rest else { return None };
        if kind == 0 || len < 2 {
            return None;
        }
        let (option, rest) = self.rest.split_at_checked(usize::from(len))?;
        self.rest = rest;
        Some(Opt { kind, data: option.get(2..)? })
    }
}

/// A UDP header and its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Checksum field; 0 stands for none.
    pub checksum: u16,
    /// The datagram's data, up to the header's length field.
    pub data: &'a [u8],
}

impl<'a> Udp<'a> {
    /// Reads a datagram (RFC 768).
    pub fn parse(bytes: &'a [u8]) -> Result<Udp<'a>, Malformed> {
        let word = |at| u16_at(bytes, at).ok_or(Malformed::Truncated);
        let (sport, dport, len, checksum) = (word(0)?, word(2)?, word(4)?, word(6)?);
        if len < 8 {
            return Err(Malformed::BadLength);
        }
        let data = bytes.get(8..usize::from(len)).ok_or(Malformed::Truncated)?;
        Ok(Udp { sport, dport, checksum, data })
    }
}

/// An ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp<'a> {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The second four bytes, whose meaning depends on the type.
    pub rest: u32,
    /// What follows the eight bytes of header.
    pub data: &'a [u8],
}

impl<'a> Icmp<'a> {
    /// Reads a message (RFC 792).
    pub fn parse(bytes: &'a [u8]) -> Result<Icmp<'a>, Malformed> {
        let [kind, code, _, _, a, b, c, d, data @ ..] = bytes else {
            return Err(Malformed::Truncated);
        };
        let rest = u32::from_be_bytes([*a, *b, *c, *d]);
        Ok(Icmp { kind: *kind, code: *code, rest, data })
    }
}

/// An SCTP common header and its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sctp<'a> {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Verification tag.
    pub tag: u32,
    /// CRC32c, as it stands in the header.
    pub checksum: u32,
    /// The chunks.
    pub chunks: &'a [u8],
}

impl<'a> Sctp<'a> {
    /// Reads a packet (RFC 9260 §3.1).
    pub fn parse(bytes: &'a [u8]) -> Result<Sctp<'a>, Malformed> {
        let word = |at| u16_at(bytes, at).ok_or(Malformed::Truncated);
        let long = |at| u32_at(bytes, at).ok_or(Malformed::Truncated);
        Ok(Sctp {
            sport: word(0)?,
            dport: word(2)?,
            tag: long(4)?,
            checksum: long(8)?,
            chunks: bytes.get(12..).ok_or(Malformed::Truncated)?,
        })
    }
}

/// A VXLAN header and the frame inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan<'a> {
    /// VXLAN network identifier.
    pub vni: u32,
    /// The frame inside.
    pub frame: &'a [u8],
}

impl<'a> Vxlan<'a> {
    /// The port that IANA assigned.
    pub const PORT: u16 = 4789;
    /// The port that Linux used before, and flannel still uses.
    pub const LINUX_PORT: u16 = 8472;

    /// Reads the payload of a datagram (RFC 7348 §5).
    pub fn parse(bytes: &'a [u8]) -> Result<Vxlan<'a>, Malformed> {
        let flags = *bytes.first().ok_or(Malformed::Truncated)?;
        let vni = u32_at(bytes, 4).ok_or(Malformed::Truncated)? >> 8;
        if flags & 0x08 == 0 {
            return Err(Malformed::BadLength);
        }
        Ok(Vxlan { vni, frame: bytes.get(8..).ok_or(Malformed::Truncated)? })
    }
}

/// An IPv4 header, its options and its payload, where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4<'a> {
    header: &'a [u8],
    /// What the header's total length says belongs to the packet.
    pub payload: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// Reads a packet (RFC 791 §3.1). Bytes after the total length are not part of it.
    pub fn parse(bytes: &'a [u8]) -> Result<Ipv4<'a>, Malformed> {
        let first = *bytes.first().ok_or(Malformed::Truncated)?;
        if first >> 4 != 4 {
            return Err(Malformed::NotIpv4);
        }
        let header_len = usize::from(first & 0xf) * 4;
        let total = usize::from(u16_at(bytes, 2).ok_or(Malformed::Truncated)?);
        if header_len < 20 || total < header_len {
            return Err(Malformed::BadLength);
        }
        let packet = bytes.get(..total).ok_or(Malformed::Truncated)?;
        let (header, payload) = packet.split_at_checked(header_len).ok_or(Malformed::Truncated)?;
        Ok(Ipv4 { header, payload })
    }

    /// Source address.
    pub fn src(&self) -> Ipv4Addr {
        u32_at(self.header, 12).unwrap_or_default().into()
    }

    /// Destination address.
    pub fn dst(&self) -> Ipv4Addr {
        u32_at(self.header, 16).unwrap_or_default().into()
    }

    /// Protocol of the payload.
    pub fn protocol(&self) -> u8 {
        self.header.get(9).copied().unwrap_or_default()
    }

    /// The options, one after the other.
    pub fn options(&self) -> Options<'a> {
        Options::new(self.header.get(20..).unwrap_or_default())
    }

    /// The packet inside an IPIP tunnel (RFC 2003).
    pub fn ipip(&self) -> Option<Result<Ipv4<'a>, Malformed>> {
        (self.protocol() == crate::protocol::IPIP).then(|| Ipv4::parse(self.payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv4::tests::sample;
    use crate::protocol;
    use crate::reply::finish;
    use proptest::prelude::*;

    #[test]
    fn tags_are_seen_and_looked_through() {
        let mut frame = vec![2; 12];
        frame.extend([0x88, 0xa8, 0x20, 7, 0x81, 0, 0, 100, 8, 0, 0x45]);
        let view = Ethernet::parse(&frame).unwrap();
        let vlan = view.vlan.unwrap();
        assert_eq!((vlan.id(), vlan.priority(), vlan.tpid), (7, 1, ethertype::QINQ));
        assert_eq!((view.ethertype, view.payload), (ethertype::IPV4, &[0x45][..]));
        assert_eq!(Ethernet::parse(&frame[..20]), Err(Malformed::Truncated));
        let endless: Vec<u8> = [0x81, 0].into_iter().cycle().take(60).collect();
        assert_eq!(Ethernet::parse(&endless), Err(Malformed::BadLength));
    }

    #[test]
    fn options_of_a_segment() {
        let mut segment = sample(protocol::TCP, b"").payload().to_vec();
        segment[12] = 8 << 4;
        segment.extend([1, 3, 3, 7, 2, 4, 5, 0xb4, 0, 0, 0, 0]);
        let view = Tcp::parse(&segment).unwrap();
        assert_eq!((view.mss(), view.window_scale()), (Some(1460), Some(7)));
        assert_eq!(view.options().count(), 2);
        segment[12] = 4 << 4;
        assert_eq!(Tcp::parse(&segment), Err(Malformed::BadLength));
    }

    #[test]
    fn tunnels_show_what_is_inside() {
        let inner = sample(protocol::UDP, b"hello");
        let outer = finish(
            [1, 1, 1, 1].into(),
            [2, 2, 2, 2].into(),
            protocol::IPIP,
            64,
            inner.bytes().to_vec(),
        );
        let view = Ipv4::parse(outer.bytes()).unwrap();
        let inside = view.ipip().unwrap().unwrap();
        assert_eq!((inside.src(), inside.dst()), (inner.head().src, inner.head().dst));
        assert_eq!(Udp::parse(inside.payload).unwrap().data, b"hello");
        let vxlan = Vxlan::parse(&[8, 0, 0, 0, 0, 0, 1, 0, 0xaa]).unwrap();
        assert_eq!((vxlan.vni, vxlan.frame), (1, &[0xaa][..]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_viewed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (Ethernet::parse(&bytes), Udp::parse(&bytes), Icmp::parse(&bytes));
            let _ = (Sctp::parse(&bytes), Vxlan::parse(&bytes));
            if let Ok(tcp) = Tcp::parse(&bytes) {
                let _ = (tcp.options().count(), tcp.mss(), tcp.window_scale());
            }
            if let Ok(ip) = Ipv4::parse(&bytes) {
                let _ = (ip.options().count(), ip.ipip());
            }
        }
    }
}
