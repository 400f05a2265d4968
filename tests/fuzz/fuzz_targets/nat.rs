//! Rules, and a row of packets through the hooks of a node that translates addresses.

#![no_main]

use std::net::Ipv4Addr;

use base::{Instant, Rng};
use libfuzzer_sys::fuzz_target;
use netfilter::ext::addrtype::AddrType;
use netfilter::text::{RestoreOptions, restore};
use netfilter::{Hook, HookInput, IfName, Netfilter, Skb, Surroundings, Verdict};
use packet::reply::{self, Unreachable, finish};
use packet::{Packet, protocol};

struct Node;

impl Surroundings for Node {
    fn addr_type(&self, addr: Ipv4Addr, _: Option<IfName>) -> AddrType {
        match addr.octets() {
            [127, ..] | [172, 18, 0, 2] => AddrType::Local,
            _ => AddrType::Unicast,
        }
    }

    fn masquerade_source(&self) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::new(172, 18, 0, 2))
    }

    fn primary_address(&self, _: IfName) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::new(172, 18, 0, 2))
    }
}

/// Rules as kube-proxy writes them; a bit of the input chooses each.
const RULES: [&str; 16] = [
    "-A PREROUTING -j SVC",
    "-A OUTPUT -j SVC",
    "-A SVC -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j SEP",
    "-A SVC -d 10.96.0.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.244.1.3:5353",
    "-A SVC -p tcp -m tcp --dport 30000:30003 -j MARK --set-xmark 0x4000/0x4000",
    "-A SVC -p tcp -m tcp --dport 30001 -j SEP",
    "-A SEP -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination 10.244.1.2:8080",
    "-A SEP -p tcp -j DNAT --to-destination 10.244.2.2:8080",
    "-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE",
    "-A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE --random-fully",
    "-A POSTROUTING -d 10.244.2.2/32 -j SNAT --to-source 172.18.0.2:1024-1026",
    "-A PREROUTING -p tcp -m tcp --dport 81 -j REDIRECT --to-ports 82",
    "-A OUTPUT -d 127.0.0.1/32 -j RETURN",
    "-A SEP -m recent --name a --set --mask 255.255.255.255 --rsource -j RETURN",
    "-A PREROUTING -p icmp -j DNAT --to-destination 10.244.1.2",
    "-A POSTROUTING -p icmp -j MASQUERADE",
];

fn rules(choice: u16, free: &str) -> String {
    let mut text = "*nat\n:SVC - [0:0]\n:SEP - [0:0]\n".to_string();
    for (bit, rule) in RULES.iter().enumerate() {
        if choice >> bit & 1 == 1 {
            text.push_str(rule);
            text.push('\n');
        }
    }
    format!(
        "{text}{free}\nCOMMIT\n*filter\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n"
    )
}

const HOSTS: [[u8; 4]; 8] = [
    [10, 244, 1, 2],
    [10, 244, 2, 2],
    [10, 244, 1, 3],
    [10, 96, 0, 1],
    [172, 18, 0, 2],
    [172, 18, 0, 1],
    [127, 0, 0, 1],
    [8, 8, 8, 8],
];
const PORTS: [u16; 8] = [80, 8080, 53, 5353, 30001, 40000, 81, 1024];

/// A packet from six bytes.
fn packet([kind, ends, ports, flags, a, b]: [u8; 6], before: Option<&Packet>) -> Option<Packet> {
    let host = |index: u8| Ipv4Addr::from(HOSTS[usize::from(index & 7)]);
    let port = |index: u8| PORTS[usize::from(index & 7)].to_be_bytes();
    let (src, dst) = (host(ends), host(ends >> 3));
    let pair = [port(ports), port(ports >> 3)].concat();
    Some(match kind % 6 {
        0 | 1 => {
            let numbers = [0, 0, a, b, 0, 0, b, a];
            let rest = [0x50, flags, 2, 0, 0, 0, 0, 0];
            finish(src, dst, protocol::TCP, 64, [&pair[..], &numbers, &rest].concat())
        }
        2 => finish(src, dst, protocol::UDP, 64, [&pair[..], &[0, 10, 0, 0, a, b]].concat()),
        3 => finish(src, dst, protocol::ICMP, 64, vec![flags & 8, 0, 0, 0, a, b & 1, 0, 1]),
        4 => {
            let why = [Unreachable::Port, Unreachable::Host, Unreachable::FragmentationNeeded(900)];
            reply::icmp_error(before?, src, why[usize::from(a % 3)].into())?
        }
        _ => answer(before?)?,
    })
}

/// What the other side would answer.
fn answer(packet: &Packet) -> Option<Packet> {
    let head = packet.head();
    let mut payload = packet.payload().to_vec();
    if head.ports().is_some() {
        let (a, b) = payload.split_at_mut_checked(2)?;
        a.swap_with_slice(b.get_mut(..2)?);
    }
    if head.protocol == protocol::TCP {
        *payload.get_mut(13)? |= 0x10;
    }
    Some(finish(head.dst, head.src, head.protocol, 64, payload))
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([low, high, len], rest)) = bytes.split_first_chunk::<3>() else { return };
    let (free, rest) = rest.split_at(usize::from(*len).min(rest.len()));
    let text = rules(u16::from_le_bytes([*low, *high]), &String::from_utf8_lossy(free));
    let mut netfilter = Netfilter::new(Rng::new(7));
    if restore(&mut netfilter, &text, RestoreOptions::default()).is_err() {
        return;
    }
    let mut before: Option<Packet> = None;
    for (index, chunk) in rest.chunks_exact(7).take(64).enumerate() {
        let Some((&way, fields)) = chunk.split_first() else { return };
        let fields = <[u8; 6]>::try_from(fields);
        let Some(packet) = fields.ok().and_then(|fields| packet(fields, before.as_ref())) else {
            continue;
        };
        let hooks: &[Hook] = match way % 3 {
            0 => &[Hook::Prerouting, Hook::Forward, Hook::Postrouting],
            1 => &[Hook::Output, Hook::Postrouting],
            _ => &[Hook::Prerouting, Hook::Input],
        };
        let mut skb = Skb::new(packet);
        for &hook in hooks {
            let iif = if matches!(hook, Hook::Output | Hook::Postrouting) {
                IfName::NONE
            } else {
                IfName::new("eth0")
            };
            let oif = if matches!(hook, Hook::Prerouting | Hook::Input) {
                IfName::NONE
            } else {
                IfName::new("veth1")
            };
            let now = Instant::from_millis(index as u64 * u64::from(way) * 500);
            let input = HookInput { hook, iif, oif, now, surroundings: &Node };
            if netfilter.hook(&input, &mut skb, None) != Verdict::Accept {
                netfilter.discard(&skb);
                break;
            }
            assert!(skb.packet.l4_checksum_ok(), "{hook} {:?}", skb.packet);
            let again = Packet::parse_checked(skb.packet.bytes().to_vec());
            assert_eq!(again.map(|packet| *packet.head()), Ok(*skb.packet.head()));
        }
        before = Some(skb.packet);
    }
});
