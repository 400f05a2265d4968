//! A packet of `flows.jsonl` takes its way through a node's hooks.

use std::net::Ipv4Addr;

use base::Instant;
use netfilter::ext::addrtype::AddrType;
use netfilter::{Hook, HookInput, IfName, Netfilter, Skb, Surroundings, Verdict};
use packet::reply::finish;
use packet::{protocol, tcp_flags};
use serde_json::Value;

/// A node with these addresses of its own.
pub(crate) struct Node {
    pub(crate) addrs: Vec<Ipv4Addr>,
}

impl Surroundings for Node {
    fn addr_type(&self, addr: Ipv4Addr, _: Option<IfName>) -> AddrType {
        if addr.is_loopback() || self.addrs.contains(&addr) {
            AddrType::Local
        } else {
            AddrType::Unicast
        }
    }

    fn masquerade_source(&self) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::new(192, 0, 2, 99))
    }

    fn primary_address(&self, _: IfName) -> Option<Ipv4Addr> {
        None
    }
}

/// What became of a packet: where it went, if anywhere else than it was sent to, and whether it was masqueraded.
pub(crate) fn send(
    netfilter: &mut Netfilter,
    node: &Node,
    flow: &Value,
    serial: u16,
) -> (String, bool) {
    let addr = |key: &str| flow[key].as_str().unwrap().parse::<Ipv4Addr>().unwrap();
    let (src, dst) = (addr("sourceIP"), addr("destIP"));
    let dport = flow["destPort"].as_u64().unwrap() as u16;
    let number = match flow["protocol"].as_str().unwrap() {
        "UDP" => protocol::UDP,
        "SCTP" => protocol::SCTP,
        _ => protocol::TCP,
    };
    let mut payload = [(20000 + serial).to_be_bytes(), dport.to_be_bytes()].concat();
    match number {
        protocol::TCP => {
            payload.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, tcp_flags::SYN, 0, 0, 0, 0, 0, 0])
        }
        protocol::UDP => payload.extend([0, 8, 0, 0]),
        // Verification tag 0, checksum, and an INIT chunk of twenty bytes: what begins an association.
        _ => {
            payload.extend([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 7]);
            payload.extend([0, 0, 0xff, 0xff, 0, 10, 0, 10, 0, 0, 0, 1]);
        }
    }
    let mut skb = Skb::new(finish(src, dst, number, 64, payload));
    skb.is_trusted = true;
    let is_local = |addr: Ipv4Addr| node.addr_type(addr, None) == AddrType::Local;
    let mut hooks = vec![if is_local(src) { Hook::Output } else { Hook::Prerouting }];
    let mut at = 0;
    while let Some(hook) = hooks.get(at).copied() {
        at += 1;
        let (iif, oif) = match hook {
            Hook::Prerouting | Hook::Input => (IfName::new("eth0"), IfName::NONE),
            Hook::Output | Hook::Postrouting => (IfName::NONE, IfName::new("eth0")),
            Hook::Forward => (IfName::new("eth0"), IfName::new("eth0")),
        };
        let input = HookInput { hook, iif, oif, now: Instant::ZERO, surroundings: node };
        match netfilter.hook(&input, &mut skb, None) {
            Verdict::Accept => {}
            Verdict::Drop(_) => return ("DROP".into(), false),
            Verdict::Reject(..) => return ("REJECT".into(), false),
            Verdict::Virtual { .. } => {
                hooks.extend([Hook::Output, Hook::Postrouting]);
                continue;
            }
        }
        match hook {
            Hook::Prerouting if is_local(skb.packet.head().dst) => hooks.push(Hook::Input),
            Hook::Prerouting => hooks.extend([Hook::Forward, Hook::Postrouting]),
            Hook::Output if at == 1 => hooks.push(Hook::Postrouting),
            _ => {}
        }
    }
    let head = skb.packet.head();
    let to = (head.dst, head.ports().unwrap().1);
    let output = if to == (dst, dport) { String::new() } else { format!("{}:{}", to.0, to.1) };
    (output, head.src != src)
}
