//! The rules alone: first packets of connections to one Service through PREROUTING.

use std::net::Ipv4Addr;

use base::{Instant, Rng};
use netfilter::ext::addrtype::AddrType;
use netfilter::text::{RestoreOptions, restore};
use netfilter::{Hook, HookInput, IfName, Netfilter, Skb, Surroundings, Verdict};
use packet::reply::finish;
use packet::{Packet, protocol, tcp_flags};

use crate::rules::{cluster_ip, ruleset};

struct Node;

impl Surroundings for Node {
    fn addr_type(&self, addr: Ipv4Addr, _: Option<IfName>) -> AddrType {
        match addr.octets() {
            [172, 18, 0, 2] => AddrType::Local,
            _ => AddrType::Unicast,
        }
    }

    fn version(&self) -> Option<u64> {
        Some(0)
    }

    fn masquerade_source(&self) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::new(172, 18, 0, 2))
    }

    fn primary_address(&self, _: IfName) -> Option<Ipv4Addr> {
        None
    }
}

/// The rules of `services` Services.
pub struct Rules {
    netfilter: Netfilter,
    last: Ipv4Addr,
}

impl Rules {
    /// As they stand on one node.
    pub fn new(services: u32) -> Rules {
        let mut netfilter = Netfilter::new(Rng::new(1));
        let taken = restore(&mut netfilter, &ruleset(services), RestoreOptions::default());
        assert!(taken.is_ok(), "{taken:?}");
        Rules { netfilter, last: cluster_ip(services - 1) }
    }

    /// Sends `packets` first packets to the last Service; returns how many were translated.
    pub fn packets(&mut self, packets: u32) -> u32 {
        let mut translated = 0;
        for i in 0..packets {
            let mut skb = Skb::new(syn(self.last, i));
            let input = HookInput {
                hook: Hook::Prerouting,
                iif: IfName::new("eth0"),
                oif: IfName::NONE,
                now: Instant::ZERO,
                surroundings: &Node,
            };
            let verdict = self.netfilter.hook(&input, &mut skb, None);
            let is_translated = skb.packet.head().dst == Ipv4Addr::new(10, 244, 2, 2);
            translated += u32::from(verdict == Verdict::Accept && is_translated);
            // The packet goes no further, and its connection with it.
            self.netfilter.discard(&skb);
        }
        translated
    }
}

fn syn(to: Ipv4Addr, i: u32) -> Packet {
    let mut segment = vec![0; 20];
    segment[..2].copy_from_slice(&(1024 + (i % 60_000) as u16).to_be_bytes());
    segment[2..4].copy_from_slice(&80u16.to_be_bytes());
    segment[12] = 5 << 4;
    segment[13] = tcp_flags::SYN;
    finish(Ipv4Addr::new(10, 244, 1, 7), to, protocol::TCP, 64, segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_is_translated() {
        for services in [1, 3, 100] {
            assert_eq!(Rules::new(services).packets(10), 10);
        }
    }
}
