//! Address resolution for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

use crate::ethernet::Mac;
use crate::ipv4::Malformed;

/// An ARP request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// A question; else an answer.
    pub is_request: bool,
    /// Hardware address of the sender.
    pub sender_mac: Mac,
    /// Address of the sender.
    pub sender: Ipv4Addr,
    /// Hardware address of the target, zero in a question.
    pub target_mac: Mac,
    /// Address asked for, or the asker's in an answer.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Bytes of an ARP packet for IPv4 over Ethernet.
    pub const LEN: usize = 28;

    /// The question "who has `target`?".
    pub fn who_has(target: Ipv4Addr, sender_mac: Mac, sender: Ipv4Addr) -> Arp {
        Arp { is_request: true, sender_mac, sender, target_mac: Mac::ZERO, target }
    }

    /// The answer to this question: `target` is at `mac`.
    pub fn is_at(&self, mac: Mac) -> Arp {
        Arp {
            is_request: false,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        }
    }

    /// Reads an ARP packet.
    pub fn parse(bytes: &[u8]) -> Result<Arp, Malformed> {
        let packet = ArpPacket::new_checked(bytes).map_err(|_| Malformed::Truncated)?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_hardware_addr,
            target_protocol_addr,
        } = ArpRepr::parse(&packet).map_err(|_| Malformed::NotIpv4)?
        else {
            return Err(Malformed::NotIpv4);
        };
        Ok(Arp {
            is_request: operation == ArpOperation::Request,
            sender_mac: Mac(source_hardware_addr.0),
            sender: source_protocol_addr,
            target_mac: Mac(target_hardware_addr.0),
            target: target_protocol_addr,
        })
    }

    /// The packet's bytes.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let repr = ArpRepr::EthernetIpv4 {
            operation: if self.is_request { ArpOperation::Request } else { ArpOperation::Reply },
            source_hardware_addr: EthernetAddress(self.sender_mac.0),
            source_protocol_addr: self.sender,
            target_hardware_addr: EthernetAddress(self.target_mac.0),
            target_protocol_addr: self.target,
        };
        let mut bytes = [0; Self::LEN];
        repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[..]));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_and_answer_survive_the_wire() {
        let (asker, owner) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let question =
            Arp::who_has(Ipv4Addr::new(172, 18, 0, 2), asker, Ipv4Addr::new(172, 18, 0, 1));
        let answer = question.is_at(owner);
        for arp in [question, answer] {
            assert_eq!(Arp::parse(&arp.to_bytes()), Ok(arp));
        }
        assert_eq!((answer.sender, answer.sender_mac), (question.target, owner));
        assert_eq!(Arp::parse(&answer.to_bytes()[..27]), Err(Malformed::Truncated));
        assert_eq!(Arp::parse(&[0; 28]), Err(Malformed::NotIpv4));
    }
}
