//! Skipping through long chains, and taking the way of an earlier packet again, changes nothing: a packet
//! whose way is written down asks every rule, one whose way is not does not; both must end the same, with the same counters, for any rules and packets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use base::{Instant, Rng};
use netfilter::ext::addrtype::AddrType;
use netfilter::text::save::save;
use netfilter::text::{RestoreOptions, restore};
use netfilter::trace::HookTrace;
use netfilter::{
    Hook, HookInput, IfName, Netfilter, RuleSpec, Skb, Surroundings, Table, TableName, Target,
    Verdict,
};
use packet::reply::finish;
use packet::{Packet, protocol, tcp_flags};

struct Nowhere;

impl Surroundings for Nowhere {
    fn addr_type(&self, addr: Ipv4Addr, _: Option<IfName>) -> AddrType {
        if addr.octets()[3] == 1 { AddrType::Local } else { AddrType::Unicast }
    }

    fn version(&self) -> Option<u64> {
        Some(0)
    }

    fn masquerade_source(&self) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::new(10, 0, 0, 1))
    }

    fn primary_address(&self, _: IfName) -> Option<Ipv4Addr> {
        None
    }
}

fn pick<'a>(rng: &mut Rng, words: &[&'a str]) -> &'a str {
    words[rng.below(words.len() as u32) as usize]
}

/// Options of one rule, out of few values, so that rules and packets meet.
fn rule(rng: &mut Rng, is_drawing: bool, targets: &[&str]) -> String {
    let mut text = String::new();
    let addrs = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.0/30", "10.0.0.2/31"];
    for option in ["-s", "-d"] {
        if rng.below(3) == 0 {
            let _ = write!(text, " {}{option} {}", pick(rng, &["", "", "! "]), pick(rng, &addrs));
        }
    }
    if rng.below(5) == 0 {
        let _ =
            write!(text, " {}-i {}", pick(rng, &["", "! "]), pick(rng, &["eth0", "eth+", "eth1"]));
    }
    if rng.below(2) == 0 {
        let name = pick(rng, &["tcp", "udp"]);
        let _ = write!(text, " -p {name}");
        if rng.below(4) == 0 && is_drawing {
            let _ =
                write!(text, " -m statistic --mode nth --every {} --packet 0", 2 + rng.below(3));
        }
        let port = pick(rng, &["80", "81", "80:81", "443"]);
        let (bang, option) = (pick(rng, &["", "", "! "]), pick(rng, &["--dport", "--sport"]));
        let _ = write!(text, " -m {name} {bang}{option} {port}");
    }
    match rng.below(8) {
        0 if is_drawing => text.push_str(" -m statistic --mode random --probability 0.5"),
        1 => text.push_str(" -m addrtype --dst-type LOCAL"),
        2 => text.push_str(" -m mark --mark 0x1/0x1"),
        3 => text.push_str(" -m comment --comment here"),
        _ => {}
    }
    let target = pick(rng, targets);
    if target.is_empty() { text } else { format!("{text} {target}") }
}

/// `is_drawing`: some rules decide by chance or by turns.
fn ruleset(rng: &mut Rng, is_drawing: bool) -> String {
    let mut text = "*filter\n:A - [0:0]\n:B - [0:0]\n".to_string();
    let marks = ["", "-j MARK --set-xmark 0x1/0x1", "-j RETURN", "-j DROP", "-j ACCEPT", ""];
    for chain in ["INPUT", "A", "B"] {
        let length = pick(rng, &["3", "9", "40"]).parse().unwrap();
        for _ in 0..length {
            let mut targets = marks.to_vec();
            match chain {
                "INPUT" => targets.extend(["-j A", "-g B", "-j B"]),
                "A" => targets.extend(["-j B", "-g B"]),
                _ => {}
            }
            let _ = writeln!(text, "-A {chain}{}", rule(rng, is_drawing, &targets));
        }
    }
    text + "COMMIT\n"
}

fn a_packet(rng: &mut Rng) -> Packet {
    let addr = |rng: &mut Rng| Ipv4Addr::new(10, 0, 0, 1 + rng.below(4) as u8);
    let (src, dst) = (addr(rng), addr(rng));
    let port = |rng: &mut Rng| pick(rng, &["80", "81", "443", "9"]).parse::<u16>().unwrap();
    let mut bytes = [port(rng).to_be_bytes(), port(rng).to_be_bytes()].concat();
    match rng.below(4) {
        0 => {
            bytes.extend([0, 8, 0, 0]);
            finish(src, dst, protocol::UDP, 64, bytes)
        }
        1 => finish(src, dst, protocol::ICMP, 64, vec![8, 0, 0, 0, 0, 1, 0, 1]),
        // A header that is cut short.
        2 if rng.below(4) == 0 => finish(src, dst, protocol::TCP, 64, bytes),
        _ => {
            bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, tcp_flags::SYN, 0, 0, 0, 0, 0, 0]);
            finish(src, dst, protocol::TCP, 64, bytes)
        }
    }
}

fn pass(
    netfilter: &mut Netfilter,
    (packet, mark): (&Packet, u32),
    iif: &str,
    is_traced: bool,
) -> (Verdict, u32) {
    let input = HookInput {
        hook: Hook::Input,
        iif: IfName::new(iif),
        oif: IfName::NONE,
        now: Instant::ZERO,
        surroundings: &Nowhere,
    };
    let mut skb = Skb { mark, ..Skb::new(packet.clone()) };
    let mut trace = HookTrace::new(Hook::Input);
    let verdict = netfilter.hook(&input, &mut skb, is_traced.then_some(&mut trace));
    (verdict, skb.mark)
}

fn counters(netfilter: &Netfilter) -> String {
    let table = netfilter.table(TableName::Filter).unwrap();
    let chains = table.chains().flat_map(|chain| &chain.rules);
    chains.map(|rule| format!("{:?}\n", rule.counters)).collect()
}

#[test]
fn skipping_rules_that_cannot_fit_changes_nothing() {
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let text = ruleset(&mut rng, seed % 3 == 0);
        let load = || {
            let mut netfilter = Netfilter::new(Rng::new(seed));
            restore(&mut netfilter, &text, RestoreOptions::default()).unwrap();
            netfilter
        };
        let (mut walks, mut skips) = (load(), load());
        for number in 0..200 {
            if number % 50 == 49 {
                let spec = RuleSpec::new(Target::Continue);
                for netfilter in [&mut walks, &mut skips] {
                    let edited = |table: &mut Table| table.insert("A", 1, spec.clone());
                    netfilter.edit(TableName::Filter, edited).unwrap();
                }
            }
            if number % 9 == 8 {
                let (at, gone, new) = (rng.below(40) as usize, rng.below(4) as usize, rng.below(4));
                let chain = walks.table(TableName::Filter).unwrap().chain("INPUT").unwrap();
                let some =
                    |_| chain.rules[rng.below(chain.rules.len() as u32) as usize].spec.clone();
                let new = Vec::from_iter((0..new).filter(|_| !chain.rules.is_empty()).map(some));
                for netfilter in [&mut walks, &mut skips] {
                    let edited = |table: &mut Table| table.splice_rules("INPUT", at, gone, &new);
                    netfilter.edit(TableName::Filter, edited).unwrap();
                }
            }
            let packet = (&a_packet(&mut rng), rng.below(4));
            let iif = pick(&mut rng, &["eth0", "eth1", "lo"]);
            let walked = pass(&mut walks, packet, iif, true);
            let skipped = pass(&mut skips, packet, iif, false);
            assert_eq!(walked, skipped, "seed {seed}, packet {number} {packet:?}\n{text}");
        }
        assert_eq!(counters(&walks), counters(&skips), "seed {seed}\n{text}");
        assert_eq!(save(&walks, None, true, ""), save(&skips, None, true, ""), "seed {seed}");
    }
}

#[test]
fn a_changed_chain_is_read_anew() {
    let rules = |port: u16| -> String {
        let one = |p: u16| format!("-A INPUT -p tcp -m tcp --dport {p} -j DROP\n");
        format!("*filter\n{}COMMIT\n", (port..port + 20).map(one).collect::<String>())
    };
    let mut netfilter = Netfilter::new(Rng::new(1));
    let to = |port: u16| {
        let mut segment = vec![0; 20];
        segment[2..4].copy_from_slice(&port.to_be_bytes());
        (segment[12], segment[13]) = (0x50, tcp_flags::SYN);
        finish(Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1), protocol::TCP, 64, segment)
    };
    let passes = |netfilter: &mut Netfilter, port| {
        pass(netfilter, (&to(port), 0), "eth0", false).0 == Verdict::Accept
    };
    restore(&mut netfilter, &rules(100), RestoreOptions::default()).unwrap();
    assert!(!passes(&mut netfilter, 110) && passes(&mut netfilter, 210));
    restore(&mut netfilter, &rules(200), RestoreOptions::default()).unwrap();
    assert!(passes(&mut netfilter, 110) && !passes(&mut netfilter, 210));
    let spec =
        netfilter.table(TableName::Filter).unwrap().chain("INPUT").unwrap().rules[10].spec.clone();
    netfilter.edit(TableName::Filter, |table| table.delete("INPUT", 11)).unwrap();
    assert!(passes(&mut netfilter, 210));
    netfilter.edit(TableName::Filter, |table| table.append("INPUT", (*spec).clone())).unwrap();
    assert!(!passes(&mut netfilter, 210));
}
