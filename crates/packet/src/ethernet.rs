//! Hardware addresses, and what crosses a link.

use std::fmt;

use crate::arp::Arp;
use crate::ipv4::{Malformed, Packet};
use crate::view::{Ethernet, ethertype};

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Every station on the link.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// What loopback uses, and "not known yet".
    pub const ZERO: Mac = Mac([0; 6]);

    /// A locally administered unicast address made of `bits`.
    pub fn local(bits: u64) -> Mac {
        let b = bits.to_be_bytes();
        Mac([(b[2] & 0xfc) | 0x02, b[3], b[4], b[5], b[6], b[7]])
    }

    /// Broadcast or multicast: the group bit is set.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An Ethernet frame on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Who is to take it.
    pub dst: Mac,
    /// Who sent it on this link.
    pub src: Mac,
    /// What it carries.
    pub body: Body,
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// EtherType 0x0800.
    Ipv4(Packet),
    /// EtherType 0x0806.
    Arp(Arp),
}

impl Frame {
    /// Reads a frame as it stands on the wire. A tagged frame is refused, and the refusal says so: links
    /// here know no VLANs.
    pub fn parse(bytes: &[u8]) -> Result<Frame, Malformed> {
        let view = Ethernet::parse(bytes)?;
        if let Some(vlan) = view.vlan {
            return Err(Malformed::Tagged(vlan.id()));
        }
        let body = match view.ethertype {
            ethertype::IPV4 => Body::Ipv4(Packet::parse_checked(view.payload.to_vec())?),
            ethertype::ARP => Body::Arp(Arp::parse(view.payload)?),
            other => return Err(Malformed::EtherType(other)),
        };
        Ok(Frame { dst: view.dst, src: view.src, body })
    }

    /// EtherType of the body.
    pub fn ethertype(&self) -> u16 {
        match self.body {
            Body::Ipv4(_) => 0x0800,
            Body::Arp(_) => 0x0806,
        }
    }

    /// The frame as it stands on the wire, without preamble, padding and check sequence.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(14 + self.body_len());
        bytes.extend_from_slice(&self.dst.0);
        bytes.extend_from_slice(&self.src.0);
        bytes.extend_from_slice(&self.ethertype().to_be_bytes());
        match &self.body {
            Body::Ipv4(packet) => bytes.extend_from_slice(packet.bytes()),
            Body::Arp(arp) => bytes.extend_from_slice(&arp.to_bytes()),
        }
        bytes
    }

    /// Length of the body in bytes, what the link's MTU limits.
    pub fn body_len(&self) -> usize {
        match &self.body {
            Body::Ipv4(packet) => packet.bytes().len(),
            Body::Arp(_) => Arp::LEN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv4::{protocol, tests::sample};

    #[test]
    fn frames_survive_the_wire() {
        let body = Body::Ipv4(sample(protocol::UDP, b"x"));
        let frame = Frame { dst: Mac::BROADCAST, src: Mac::local(1), body };
        let bytes = frame.to_bytes();
        assert_eq!(Frame::parse(&bytes), Ok(frame));
        let mut tagged = bytes[..12].to_vec();
        tagged.extend([0x81, 0, 0, 5]);
        tagged.extend(&bytes[12..]);
        assert_eq!(Frame::parse(&tagged), Err(Malformed::Tagged(5)));
        assert_eq!(Frame::parse(&[0; 60]), Err(Malformed::EtherType(0)));
        assert_eq!(Frame::parse(&bytes[..13]), Err(Malformed::Truncated));
    }

    #[test]
    fn local_addresses_are_unicast_and_locally_administered() {
        for bits in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let mac = Mac::local(bits);
            assert!(!mac.is_group(), "{mac}");
            assert_eq!(mac.0[0] & 2, 2, "{mac}");
        }
        assert!(Mac::BROADCAST.is_group());
        assert_eq!(Mac([2, 0x42, 0xac, 18, 0, 2]).to_string(), "02:42:ac:12:00:02");
    }
}
