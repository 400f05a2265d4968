//! What must hold of connections and their translation whatever comes: round trips, uniqueness, limits.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use base::{Instant, Rng};
use netfilter::conntrack::{Invalid, text};
use netfilter::ext::addrtype::AddrType;
use netfilter::text::{RestoreOptions, restore};
use netfilter::{
    CtInfo, CtSlot, Direction, DropReason, Hook, HookInput, IfName, Netfilter, Skb, Surroundings,
    Verdict,
};
use packet::reply::{Unreachable, finish, icmp_error};
use packet::{L4, Packet, protocol, tcp_flags};
use proptest::prelude::*;

struct Node;

impl Surroundings for Node {
    fn addr_type(&self, _: Ipv4Addr, _: Option<IfName>) -> AddrType {
        AddrType::Unicast
    }

    fn masquerade_source(&self) -> Option<Ipv4Addr> {
        Some(addr(2, 1))
    }

    fn primary_address(&self, _: IfName) -> Option<Ipv4Addr> {
        Some(addr(1, 1))
    }
}

fn addr(net: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, net, 0, host)
}

fn node(rules: &str) -> Netfilter {
    let mut netfilter = Netfilter::new(Rng::new(1));
    restore(&mut netfilter, rules, RestoreOptions::default()).unwrap();
    netfilter
}

type Ends = ((Ipv4Addr, u16), (Ipv4Addr, u16));

fn tcp(
    ((src, sport), (dst, dport)): Ends,
    flags: u8,
    (seq, ack): (u32, u32),
    data: &[u8],
) -> Packet {
    let mut segment = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    segment.extend_from_slice(&seq.to_be_bytes());
    segment.extend_from_slice(&ack.to_be_bytes());
    segment.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend_from_slice(data);
    finish(src, dst, protocol::TCP, 64, segment)
}

fn udp(((src, sport), (dst, dport)): Ends, data: &[u8]) -> Packet {
    let len = 8 + data.len() as u16;
    let mut datagram = [sport, dport, len, 0].map(u16::to_be_bytes).concat();
    datagram.extend_from_slice(data);
    finish(src, dst, protocol::UDP, 64, datagram)
}

fn ping(kind: u8, ((src, id), (dst, _)): Ends, data: &[u8]) -> Packet {
    let mut message = vec![kind, 0, 0, 0];
    message.extend_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message.extend_from_slice(data);
    finish(src, dst, protocol::ICMP, 64, message)
}

fn at(netfilter: &mut Netfilter, hook: Hook, oif: &str, skb: &mut Skb, secs: u64) -> Verdict {
    let (iif, oif) = (IfName::new("eth0"), IfName::new(oif));
    let now = Instant::from_secs(secs);
    netfilter.hook(&HookInput { hook, iif, oif, now, surroundings: &Node }, skb, None)
}

/// Takes a packet through a router, and says what became of it.
fn forward(netfilter: &mut Netfilter, packet: Packet, secs: u64) -> Result<Packet, DropReason> {
    let mut skb = Skb::new(packet);
    for hook in [Hook::Prerouting, Hook::Forward, Hook::Postrouting] {
        match at(netfilter, hook, "eth1", &mut skb, secs) {
            Verdict::Accept => {}
            Verdict::Drop(why) | Verdict::Reject(_, why) => return Err(why),
            Verdict::Virtual { .. } => unreachable!("there are no virtual servers"),
        }
    }
    Ok(skb.packet)
}

/// A packet of each kind, the same kind of answer for the same ends turned round.
fn sample(kind: u8, ends: Ends, is_answer: bool, data: &[u8]) -> Packet {
    match (kind, is_answer) {
        (0, false) => tcp(ends, tcp_flags::SYN, (100, 0), data),
        (0, true) => {
            tcp(ends, tcp_flags::SYN | tcp_flags::ACK, (500, 101 + data.len() as u32), &[])
        }
        (1, _) => udp(ends, data),
        (_, false) => ping(8, ends, data),
        (_, true) => ping(0, ends, data),
    }
}

/// Source and destination with their ports, exchanged.
fn turned(packet: &Packet) -> Ends {
    let head = packet.head();
    let (sport, dport) = match head.l4 {
        L4::Icmp { id, .. } => (id, id),
        _ => head.ports().unwrap(),
    };
    ((head.dst, dport), (head.src, sport))
}

const RULES: [&str; 7] = [
    "-A PREROUTING -p tcp -j DNAT --to-destination 10.2.0.7:9090",
    "-A PREROUTING -j DNAT --to-destination 10.2.0.3-10.2.0.90",
    "-A PREROUTING -p udp -j DNAT --to-destination 10.2.0.7:1000-1010 --random",
    "-A POSTROUTING -j MASQUERADE --random-fully",
    "-A POSTROUTING -j SNAT --to-source 10.2.0.3-10.2.0.90 --persistent",
    "-A POSTROUTING -p tcp -j SNAT --to-source 10.2.0.9:5000-5003",
    "-A POSTROUTING -j MASQUERADE",
];

proptest! {
    /// What an answer looks like to the client does not tell that anything was translated, to the byte.
    #[test]
    fn translation_forth_and_back_leaves_nothing_behind(
        first in 0..RULES.len(),
        second in 0..RULES.len(),
        packets in prop::collection::vec(
            (0..3u8, 2..250u8, any::<u16>(), 2..250u8, any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)),
            1..12,
        ),
    ) {
        let mut netfilter = node(&format!("*nat\n{}\n{}\nCOMMIT\n", RULES[first], RULES[second]));
        for (kind, client, sport, server, dport, data) in packets {
            let ends = ((addr(1, client), sport), (addr(3, server), dport));
            let sent = sample(kind, ends, false, &data);
            let Ok(out) = forward(&mut netfilter, sent.clone(), 0) else { continue };
            prop_assert!(out.l4_checksum_ok());
            // The error that a router behind would send about it.
            let error = icmp_error(&out, addr(2, 99), Unreachable::Host.into()).unwrap();
            let error = forward(&mut netfilter, error, 0).unwrap();
            prop_assert!(error.l4_checksum_ok());
            let quote = error.payload().get(8..).unwrap().to_vec();
            let shown = Packet::parse(quote).unwrap();
            prop_assert!(shown.l4_checksum_ok(), "{shown:?}");
            prop_assert_eq!(shown.bytes(), sent.bytes());
            prop_assert_eq!(error.head().dst, addr(1, client));
            let answer = sample(kind, turned(&out), true, &data);
            let back = forward(&mut netfilter, answer, 0).unwrap();
            let expected = sample(kind, turned(&sent), true, &data);
            prop_assert_eq!(back.bytes(), expected.bytes());
        }
    }

    /// Whatever ports are scarce, no two connections can be mistaken for each other.
    #[test]
    fn no_two_connections_share_a_tuple(
        rule in 0..RULES.len(),
        packets in prop::collection::vec((0..3u8, 2..8u8, 0..4u16, 2..5u8, 0..3u16), 1..80),
    ) {
        let mut netfilter = node(&format!("*nat\n{}\nCOMMIT\n", RULES[rule]));
        for (kind, client, sport, server, dport) in packets {
            let ends = ((addr(1, client), sport), (addr(3, server), dport));
            let _ = forward(&mut netfilter, sample(kind, ends, false, b"x"), 0);
        }
        let mut seen = BTreeSet::new();
        for (_, conn) in netfilter.conntrack().entries(Instant::ZERO) {
            prop_assert!(seen.insert(conn.original), "{}", conn.original);
            prop_assert!(seen.insert(conn.reply), "{}", conn.reply);
        }
    }

    /// Any bytes as packets, at any hooks, in any order: no panic, and no more memory than allowed.
    #[test]
    fn any_packets_leave_the_table_within_its_limit(
        steps in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..80), 0..5u8, 0..6u8, any::<bool>(), 0..100u64),
            1..200,
        ),
    ) {
        let mut netfilter = node(
            "*nat\n-A PREROUTING -j DNAT --to-destination 10.2.0.7\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n\
             *filter\n-A INPUT -p udp -j REJECT\nCOMMIT\n",
        );
        netfilter.conntrack_mut().settings.max = 20;
        netfilter.conntrack_mut().settings.checksum = false;
        let mut listener = netfilter.conntrack_mut().listen();
        let mut now = 0;
        for (payload, hook, number, is_answer, later) in steps {
            now += later / 20;
            let number = [1, 6, 17, 132, 47, 99][usize::from(number)];
            let (src, dst) = if is_answer { (addr(2, 7), addr(2, 1)) } else { (addr(1, 2), addr(3, 2)) };
            let mut skb = Skb::new(finish(src, dst, number, 64, payload));
            let hook = Hook::ALL[usize::from(hook)];
            let _ = at(&mut netfilter, Hook::Prerouting, "eth1", &mut skb, now);
            let _ = at(&mut netfilter, hook, "eth1", &mut skb, now);
            prop_assert!(netfilter.conntrack().count() <= 20);
            let _ = text::proc_file(netfilter.conntrack(), Instant::from_secs(now));
        }
        while netfilter.conntrack().hear(&mut listener).is_some() {}
    }
}

#[test]
fn a_full_table_throws_out_what_nobody_needs_and_then_refuses() {
    let mut netfilter = node("*nat\n-A POSTROUTING -o nowhere -j MASQUERADE\nCOMMIT\n");
    let settings = &mut netfilter.conntrack_mut().settings;
    settings.set("nf_conntrack_max", "3").unwrap();
    // As many buckets as connections: whoever can go is found.
    settings.set("nf_conntrack_buckets", "1").unwrap();
    let ends = |port| ((addr(1, 2), port), (addr(3, 2), 80));
    for port in 1..=3 {
        forward(&mut netfilter, udp(ends(port), b""), 0).unwrap();
    }
    forward(&mut netfilter, udp(ends(4), b""), 0).unwrap();
    let stats = netfilter.conntrack().stats;
    assert_eq!((stats.early_drop, stats.drop), (1, 0));
    // Three that are in use cannot go.
    netfilter.conntrack_mut().flush(Instant::ZERO, None);
    let open = |netfilter: &mut Netfilter, port: u16| {
        let (client, server) = (ends(port), (ends(port).1, ends(port).0));
        forward(netfilter, tcp(client, tcp_flags::SYN, (100, 0), b""), 0).unwrap();
        let answer = tcp(server, tcp_flags::SYN | tcp_flags::ACK, (500, 101), b"");
        forward(netfilter, answer, 0).unwrap();
        forward(netfilter, tcp(client, tcp_flags::ACK, (101, 501), b""), 0).unwrap();
    };
    (1..=3).for_each(|port| open(&mut netfilter, port));
    let refused = forward(&mut netfilter, udp(ends(9), b""), 0);
    assert_eq!(refused, Err(DropReason::ConntrackFull));
    assert_eq!(netfilter.conntrack().stats.drop, 1);
    // One that is closing can.
    let fin = tcp(ends(2), tcp_flags::FIN | tcp_flags::ACK, (101, 501), b"");
    forward(&mut netfilter, fin, 0).unwrap();
    let tries = (0..3).filter(|_| forward(&mut netfilter, udp(ends(9), b""), 0).is_ok()).count();
    assert!(tries > 0);
    assert_eq!(netfilter.conntrack().count(), 3);
}

#[test]
fn a_limit_far_below_the_number_of_buckets_refuses_at_once() {
    // The kernel looks into eight of 262,144 buckets, and finds nobody there.
    let mut netfilter = node("*nat\n-A POSTROUTING -o nowhere -j MASQUERADE\nCOMMIT\n");
    netfilter.conntrack_mut().settings.set("nf_conntrack_max", "3").unwrap();
    let ends = |port| ((addr(1, 2), port), (addr(3, 2), 80));
    for port in 1..=3 {
        forward(&mut netfilter, udp(ends(port), b""), 0).unwrap();
    }
    assert_eq!(forward(&mut netfilter, udp(ends(4), b""), 0), Err(DropReason::ConntrackFull));
}

#[test]
fn masqueraded_connections_end_with_their_interface_and_address() {
    let rules = "*nat\n-A POSTROUTING -o eth1 -j MASQUERADE\nCOMMIT\n";
    let ends = ((addr(1, 2), 5000), (addr(3, 2), 53));
    let eth1 = IfName::new("eth1");
    let mut netfilter = node(rules);
    forward(&mut netfilter, udp(ends, b""), 0).unwrap();
    netfilter.conntrack_mut().masquerade_down(IfName::new("eth2"), Instant::ZERO);
    netfilter.conntrack_mut().masquerade_address_gone(eth1, addr(2, 2), Instant::ZERO);
    assert_eq!(netfilter.conntrack().count(), 1);
    netfilter.conntrack_mut().masquerade_address_gone(eth1, addr(2, 1), Instant::ZERO);
    assert_eq!(netfilter.conntrack().count(), 0);
    forward(&mut netfilter, udp(ends, b""), 0).unwrap();
    netfilter.conntrack_mut().masquerade_down(eth1, Instant::ZERO);
    assert_eq!(netfilter.conntrack().count(), 0);
    // The route changes: the next packet leaves by another interface.
    forward(&mut netfilter, udp(ends, b""), 0).unwrap();
    let mut skb = Skb::new(udp(ends, b""));
    at(&mut netfilter, Hook::Prerouting, "", &mut skb, 0);
    let verdict = at(&mut netfilter, Hook::Postrouting, "eth2", &mut skb, 0);
    assert_eq!(verdict, Verdict::Drop(DropReason::MasqueradeMoved));
    assert_eq!(netfilter.conntrack().count(), 0);
}

/// Two packets come in before either has left.
fn race(rules: &str, first: Packet, second: Packet) -> (Netfilter, [Verdict; 2], [Skb; 2]) {
    let mut netfilter = node(rules);
    let mut both = [Skb::new(first), Skb::new(second)];
    for skb in &mut both {
        assert_eq!(at(&mut netfilter, Hook::Prerouting, "", skb, 0), Verdict::Accept);
    }
    let verdicts = both.each_mut().map(|skb| at(&mut netfilter, Hook::Postrouting, "eth1", skb, 0));
    (netfilter, verdicts, both)
}

#[test]
fn of_two_first_packets_the_second_joins_the_connection_if_it_is_udp() {
    let ends = ((addr(1, 2), 5000), (addr(3, 2), 53));
    let rules = "*nat\n-A POSTROUTING -o nowhere -j MASQUERADE\nCOMMIT\n";
    let (netfilter, verdicts, both) = race(rules, udp(ends, b"a"), udp(ends, b"b"));
    assert_eq!(verdicts, [Verdict::Accept, Verdict::Accept]);
    assert_eq!(both[0].ct, both[1].ct);
    assert_eq!((netfilter.conntrack().count(), netfilter.conntrack().stats.clash_resolve), (1, 1));

    let syn = || tcp(ends, tcp_flags::SYN, (100, 0), b"");
    let (netfilter, verdicts, _) = race(rules, syn(), syn());
    assert_eq!(verdicts, [Verdict::Accept, Verdict::Drop(DropReason::ConntrackClash)]);
    let stats = netfilter.conntrack().stats;
    assert_eq!((stats.insert_failed, stats.drop), (1, 1));
}

#[test]
fn of_two_first_packets_sent_to_two_backends_both_get_their_answers() {
    let ends = ((addr(1, 2), 5000), (addr(3, 2), 53));
    let rules = "*nat\n\
        -A PREROUTING -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination 10.2.0.7\n\
        -A PREROUTING -j DNAT --to-destination 10.2.0.8\nCOMMIT\n";
    let (mut netfilter, verdicts, both) = race(rules, udp(ends, b"a"), udp(ends, b"b"));
    assert_eq!(verdicts, [Verdict::Accept, Verdict::Accept]);
    for skb in &both {
        let back = forward(&mut netfilter, udp(turned(&skb.packet), b"c"), 0).unwrap();
        assert_eq!(turned(&back), ends);
    }
    // Only the one that won is shown, and the other is gone after a second.
    assert_eq!(netfilter.conntrack().entries(Instant::ZERO).len(), 1);
    assert_eq!(netfilter.conntrack_mut().gc(Instant::from_secs(1)), 1);
}

#[test]
fn what_rejects_a_translated_packet_speaks_of_what_its_sender_knows() {
    let mut netfilter = node(
        "*nat\n-A PREROUTING -j DNAT --to-destination 10.2.0.7:99\nCOMMIT\n\
         *filter\n-A FORWARD -p tcp -j REJECT\nCOMMIT\n"
            .replace("-j DNAT", "-p tcp -j DNAT")
            .as_str(),
    );
    let sent = tcp(((addr(1, 2), 5000), (addr(3, 2), 80)), tcp_flags::SYN, (100, 0), b"");
    let mut skb = Skb::new(sent.clone());
    assert_eq!(at(&mut netfilter, Hook::Prerouting, "", &mut skb, 0), Verdict::Accept);
    let verdict = at(&mut netfilter, Hook::Forward, "eth1", &mut skb, 0);
    assert!(matches!(verdict, Verdict::Reject(..)));
    let error = icmp_error(&skb.packet, addr(1, 1), Unreachable::Port.into()).unwrap();
    let mut answer = Skb { ct: skb.ct.of_answer(), ..Skb::new(error) };
    for hook in [Hook::Output, Hook::Postrouting] {
        assert_eq!(at(&mut netfilter, hook, "eth0", &mut answer, 0), Verdict::Accept);
    }
    let CtSlot::Tracked { info, .. } = answer.ct else { panic!("{:?}", answer.ct) };
    assert_eq!(info, CtInfo::Related(Direction::Reply));
    assert_eq!(answer.packet.payload().get(8..), Some(sent.bytes()));
    assert_eq!(netfilter.conntrack().count(), 0);
}

#[test]
fn a_port_is_taken_from_a_connection_that_is_over_when_there_is_no_other() {
    let mut netfilter =
        node("*nat\n-A POSTROUTING -p tcp -j SNAT --to-source 10.2.0.9:5000\nCOMMIT\n");
    let ends = |client| ((addr(1, client), 40000), (addr(3, 2), 80));
    let syn = |client, seq| tcp(ends(client), tcp_flags::SYN, (seq, 0), b"");
    let out = forward(&mut netfilter, syn(2, 100), 0).unwrap();
    // In use, the port is given twice, and the second connection comes to nothing.
    assert_eq!(forward(&mut netfilter, syn(3, 900), 0), Err(DropReason::ConntrackClash));
    let server = turned(&out);
    let answer = tcp(server, tcp_flags::SYN | tcp_flags::ACK, (500, 101), b"");
    forward(&mut netfilter, answer, 0).unwrap();
    forward(&mut netfilter, tcp(ends(2), tcp_flags::ACK, (101, 501), b""), 0).unwrap();
    let reset = tcp(ends(2), tcp_flags::RST, (101, 0), b"");
    forward(&mut netfilter, reset, 0).unwrap();
    // Over, but the new one's numbers lie behind: late packets of the old one would fit.
    assert_eq!(forward(&mut netfilter, syn(3, 50), 0), Err(DropReason::ConntrackClash));
    let out = forward(&mut netfilter, syn(3, 900), 0).unwrap();
    assert_eq!(turned(&out).1, (addr(2, 9), 5000));
    assert_eq!(netfilter.conntrack().count(), 1);
}

#[test]
fn the_same_source_keeps_its_port_towards_others() {
    let mut netfilter =
        node("*nat\n-A POSTROUTING -p udp -j SNAT --to-source 10.2.0.9:5000-6000\nCOMMIT\n");
    let client = (addr(1, 2), 40000);
    let first = forward(&mut netfilter, udp((client, (addr(3, 2), 53)), b""), 0).unwrap();
    let second = forward(&mut netfilter, udp((client, (addr(3, 3), 53)), b""), 0).unwrap();
    assert_eq!(turned(&first).1, turned(&second).1);
    // Also when the first of them is forgotten.
    let filter = netfilter::conntrack::Filter::default();
    let ids: Vec<_> = netfilter
        .conntrack()
        .select(&filter, Instant::ZERO)
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    netfilter.conntrack_mut().remove(ids[0], Instant::ZERO);
    let third = forward(&mut netfilter, udp((client, (addr(3, 4), 53)), b""), 0).unwrap();
    assert_eq!(turned(&first).1, turned(&third).1);
}

#[test]
fn why_a_packet_is_invalid_is_told() {
    let mut netfilter = node("*nat\n-A POSTROUTING -o nowhere -j MASQUERADE\nCOMMIT\n");
    let ends = ((addr(1, 2), 40000), (addr(3, 2), 80));
    let mut spoiled = tcp(ends, tcp_flags::SYN, (1, 0), b"data").into_bytes();
    *spoiled.last_mut().unwrap() ^= 1;
    for (packet, why) in [
        (tcp(ends, tcp_flags::FIN | tcp_flags::ACK, (1, 1), b""), Invalid::New),
        (tcp(ends, tcp_flags::SYN | tcp_flags::FIN, (1, 0), b""), Invalid::Flags),
        (Packet::parse(spoiled).unwrap(), Invalid::Checksum),
        (ping(0, ends, b""), Invalid::New),
        (finish(addr(1, 2), addr(3, 2), protocol::UDP, 64, vec![0; 5]), Invalid::Truncated),
    ] {
        forward(&mut netfilter, packet, 0).unwrap();
        assert_eq!(netfilter.conntrack().last_invalid, Some(why));
    }
    assert_eq!(netfilter.conntrack().stats.invalid, 5);
    assert_eq!(netfilter.conntrack().count(), 0);
}
