//! Packets through hooks, told in full: what every rule saw, what conntrack knew, what NAT did.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::Ipv4Addr;

use base::{Instant, Rng};
use expect_test::{Expect, expect};
use netfilter::ext::addrtype::AddrType;
use netfilter::nft::command::load;
use netfilter::text::{RestoreOptions, restore};
use netfilter::trace::HookTrace;
use netfilter::{Hook, HookInput, IfName, Netfilter, Skb, Surroundings, TableName, Verdict};
use packet::reply::finish;
use packet::{Packet, protocol, tcp_flags};

/// A node with the addresses 172.18.0.2 and 127.0.0.1.
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

fn flags(letters: &str) -> u8 {
    letters.chars().fold(0, |bits, letter| {
        bits | match letter {
            'S' => tcp_flags::SYN,
            'A' => tcp_flags::ACK,
            'F' => tcp_flags::FIN,
            'R' => tcp_flags::RST,
            other => panic!("flag {other}"),
        }
    })
}

/// `tcp 10.0.0.1:40000 > 10.96.0.10:80 S`, `udp a:p > b:p`, `icmp a > b`.
fn parse(text: &str) -> Packet {
    let words: Vec<&str> = text.split(' ').collect();
    let end = |word: &str| -> (Ipv4Addr, u16) {
        let (addr, port) = word.split_once(':').unwrap_or((word, "0"));
        (addr.parse().unwrap(), port.parse().unwrap())
    };
    let ((src, sport), (dst, dport)) = (end(words[1]), end(words[3]));
    let ports = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    match words[0] {
        "tcp" => {
            let header =
                [ports, vec![0; 8], vec![0x50, flags(words[4]), 0, 0, 0, 0, 0, 0]].concat();
            finish(src, dst, protocol::TCP, 64, header)
        }
        "udp" => finish(src, dst, protocol::UDP, 64, [ports, vec![0, 8, 0, 0]].concat()),
        _ => finish(src, dst, protocol::ICMP, 64, vec![8, 0, 0, 0, 0, 7, 0, 1]),
    }
}

/// Takes packets through the hooks named for each and tells everything.
///
/// A line is `in out packet`: from `eth0` to `veth1` passes PREROUTING, FORWARD, POSTROUTING; `-` for in
/// is made here, `-` for out is delivered here.
fn tell(rules: &str, packets: &str) -> String {
    let mut netfilter = Netfilter::new(Rng::new(1));
    restore(&mut netfilter, rules, RestoreOptions::default()).unwrap();
    let mut told = String::new();
    for (second, line) in packets.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate()
    {
        let [iif, oif, packet] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let hooks: &[Hook] = match (iif, oif) {
            ("-", _) => &[Hook::Output, Hook::Postrouting],
            (_, "-") => &[Hook::Prerouting, Hook::Input],
            _ => &[Hook::Prerouting, Hook::Forward, Hook::Postrouting],
        };
        let name = |name: &str| if name == "-" { IfName::NONE } else { IfName::new(name) };
        let mut skb = Skb::new(parse(packet));
        told += &format!("{line}\n");
        for &hook in hooks {
            let oif = if hook == Hook::Prerouting { IfName::NONE } else { name(oif) };
            let iif = if hook == Hook::Postrouting { IfName::NONE } else { name(iif) };
            let now = Instant::from_secs(second as u64);
            let input = HookInput { hook, iif, oif, now, surroundings: &Node };
            let mut trace = HookTrace::new(hook);
            let verdict = netfilter.hook(&input, &mut skb, Some(&mut trace));
            for event in &trace.events {
                for line in event.to_string().lines() {
                    told += &format!("  {hook} {line}\n");
                }
            }
            if verdict != Verdict::Accept {
                told += &format!("  {verdict:?}\n");
                break;
            }
        }
        told += &format!("  = {:?}\n", skb.packet);
    }
    told
}

fn check(rules: &str, packets: &str, expected: Expect) {
    expected.assert_eq(&tell(rules, packets));
}

const NODE_PORT: &str = "
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-EXT-A - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SEP-1 - [0:0]
:KUBE-SEP-2 - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-SERVICES -d 10.96.0.10 -p tcp --dport 80 -j KUBE-SVC-A
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp --dport 30007 -j KUBE-EXT-A
-A KUBE-EXT-A -j KUBE-MARK-MASQ
-A KUBE-EXT-A -j KUBE-SVC-A
-A KUBE-SVC-A -m statistic --mode nth --every 2 --packet 0 -j KUBE-SEP-1
-A KUBE-SVC-A -j KUBE-SEP-2
-A KUBE-SEP-1 -p tcp -j DNAT --to-destination 10.244.1.5:8080
-A KUBE-SEP-2 -p tcp -j DNAT --to-destination 10.244.2.7:8080
COMMIT
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";

#[test]
fn a_node_port_is_translated_there_and_back() {
    check(
        NODE_PORT,
        "eth0 eth0 tcp 172.18.0.1:51544 > 172.18.0.2:30007 S
         eth0 eth0 tcp 10.244.2.7:8080 > 172.18.0.2:51544 SA
         eth0 eth0 tcp 172.18.0.1:51544 > 172.18.0.2:30007 A",
        expect![[r#"
            eth0 eth0 tcp 172.18.0.1:51544 > 172.18.0.2:30007 S
              PREROUTING conntrack: NEW (src=172.18.0.1 dst=172.18.0.2 sport=51544 dport=30007)
              PREROUTING nat PREROUTING 1: go to KUBE-SERVICES
              PREROUTING nat KUBE-SERVICES 1: the destination is 172.18.0.2, the rule wants 10.96.0.10
              PREROUTING nat KUBE-SERVICES 2: go to KUBE-NODEPORTS
              PREROUTING nat KUBE-NODEPORTS 1: go to KUBE-EXT-A
              PREROUTING nat KUBE-EXT-A 1: go to KUBE-MARK-MASQ
              PREROUTING nat KUBE-MARK-MASQ 1: mark 0x0 becomes 0x4000
              PREROUTING nat KUBE-EXT-A 2: go to KUBE-SVC-A
              PREROUTING nat KUBE-SVC-A 1: go to KUBE-SEP-1
              PREROUTING nat KUBE-SEP-1 1: DNAT to:10.244.1.5:8080
              PREROUTING nat: accepted
              PREROUTING destination 172.18.0.2:30007 becomes 10.244.1.5:8080 (decided now)
              FORWARD filter FORWARD 1: go to KUBE-FORWARD
              FORWARD filter KUBE-FORWARD 1: the connection's state is NEW,DNAT, the rule wants INVALID
              FORWARD filter KUBE-FORWARD 2: accepted
              FORWARD filter: accepted
              POSTROUTING nat POSTROUTING 1: go to KUBE-POSTROUTING
              POSTROUTING nat KUBE-POSTROUTING 1: the mark is 0x4000, the rule wants anything but 0x4000/0x4000
              POSTROUTING nat KUBE-POSTROUTING 2: mark 0x4000 becomes 0x0
              POSTROUTING nat KUBE-POSTROUTING 3: MASQUERADE
              POSTROUTING nat: accepted
              POSTROUTING source 172.18.0.1:51544 becomes 172.18.0.2:51544 (decided now)
              POSTROUTING conntrack: remembered src=172.18.0.1 dst=172.18.0.2 sport=51544 dport=30007 / src=10.244.1.5 dst=172.18.0.2 sport=8080 dport=51544
              = Packet(IP 172.18.0.2.51544 > 10.244.1.5.8080: Flags [S], seq 0, win 0, length 0)
            eth0 eth0 tcp 10.244.2.7:8080 > 172.18.0.2:51544 SA
              PREROUTING conntrack: INVALID
              FORWARD filter FORWARD 1: go to KUBE-FORWARD
              FORWARD filter KUBE-FORWARD 1: dropped
              FORWARD filter: dropped
              Drop(Rule { table: Filter, chain: "KUBE-FORWARD", number: 1 })
              = Packet(IP 10.244.2.7.8080 > 172.18.0.2.51544: Flags [S.], seq 0, ack 0, win 0, length 0)
            eth0 eth0 tcp 172.18.0.1:51544 > 172.18.0.2:30007 A
              PREROUTING conntrack: INVALID
              FORWARD filter FORWARD 1: go to KUBE-FORWARD
              FORWARD filter KUBE-FORWARD 1: dropped
              FORWARD filter: dropped
              Drop(Rule { table: Filter, chain: "KUBE-FORWARD", number: 1 })
              = Packet(IP 172.18.0.1.51544 > 172.18.0.2.30007: Flags [.], ack 0, win 0, length 0)
        "#]],
    );
}

#[test]
fn a_source_port_in_use_is_replaced_by_a_free_one() {
    let rules = "*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT";
    let told = tell(
        rules,
        "veth1 eth0 tcp 10.244.1.5:40000 > 1.1.1.1:80 S
         veth2 eth0 tcp 10.244.1.6:40000 > 1.1.1.1:80 S
         veth2 eth0 tcp 10.244.1.6:40000 > 1.1.1.2:80 S",
    );
    let sources: Vec<&str> =
        told.lines().filter_map(|line| line.split_once("becomes ")).map(|(_, to)| to).collect();
    assert_eq!(sources[0], "172.18.0.2:40000 (decided now)");
    assert_ne!(sources[1], sources[0], "{told}");
    assert_eq!(sources[2], sources[1], "the same source keeps its port for another destination");
}

#[test]
fn an_error_about_a_translated_packet_reaches_its_sender() {
    let mut netfilter = Netfilter::new(Rng::new(1));
    restore(&mut netfilter, NODE_PORT, RestoreOptions::default()).unwrap();
    let pass = |netfilter: &mut Netfilter, packet: Packet| {
        let mut skb = Skb::new(packet);
        for hook in [Hook::Prerouting, Hook::Forward, Hook::Postrouting] {
            let (iif, oif, now) = (IfName::new("eth0"), IfName::new("eth0"), Instant::ZERO);
            let input = HookInput { hook, iif, oif, now, surroundings: &Node };
            assert_eq!(netfilter.hook(&input, &mut skb, None), Verdict::Accept);
        }
        skb.packet
    };
    let sent = pass(&mut netfilter, parse("tcp 172.18.0.1:51544 > 172.18.0.2:30007 S"));
    let why = packet::reply::Unreachable::Host.into();
    let error = packet::reply::icmp_error(&sent, Ipv4Addr::new(172, 18, 0, 4), why).unwrap();
    let error = pass(&mut netfilter, error);
    let quoted = error.quoted().unwrap();
    assert_eq!(error.head().dst, Ipv4Addr::new(172, 18, 0, 1));
    assert_eq!(
        (quoted.src, quoted.dst),
        (Ipv4Addr::new(172, 18, 0, 1), Ipv4Addr::new(172, 18, 0, 2))
    );
    assert_eq!(quoted.ports(), Some((51544, 30007)));
    assert!(error.l4_checksum_ok());
}

#[test]
fn a_nat_table_without_rules_begins_no_tracking() {
    check(
        "*nat
         COMMIT
         *filter
         -A FORWARD -p tcp --dport 80 -j ACCEPT
         COMMIT",
        "eth0 veth1 tcp 10.0.0.1:40000 > 10.96.0.10:80 S",
        expect![[r#"
            eth0 veth1 tcp 10.0.0.1:40000 > 10.96.0.10:80 S
              FORWARD filter FORWARD 1: accepted
              FORWARD filter: accepted
              = Packet(IP 10.0.0.1.40000 > 10.96.0.10.80: Flags [S], seq 0, win 0, length 0)
        "#]],
    );
}

#[test]
fn what_is_rejected_or_invalid_leaves_no_connection() {
    check(
        "*filter
         -A FORWARD -m conntrack --ctstate INVALID -j DROP
         -A FORWARD -d 10.96.0.10 -p tcp --dport 80 -j REJECT
         COMMIT
         *nat
         COMMIT",
        "eth0 veth1 tcp 10.0.0.1:40000 > 10.96.0.10:80 S
         eth0 veth1 tcp 10.0.0.1:40000 > 10.96.0.10:81 SA
         eth0 veth1 icmp 10.0.0.1 > 10.96.0.10",
        expect![[r#"
            eth0 veth1 tcp 10.0.0.1:40000 > 10.96.0.10:80 S
              PREROUTING conntrack: NEW (src=10.0.0.1 dst=10.96.0.10 sport=40000 dport=80)
              FORWARD filter FORWARD 1: the connection's state is NEW, the rule wants INVALID
              FORWARD filter FORWARD 2: refused with icmp-port-unreachable
              FORWARD filter: dropped
              Reject(Icmp(Port), Rule { table: Filter, chain: "FORWARD", number: 2 })
              = Packet(IP 10.0.0.1.40000 > 10.96.0.10.80: Flags [S], seq 0, win 0, length 0)
            eth0 veth1 tcp 10.0.0.1:40000 > 10.96.0.10:81 SA
              PREROUTING conntrack: INVALID
              FORWARD filter FORWARD 1: dropped
              FORWARD filter: dropped
              Drop(Rule { table: Filter, chain: "FORWARD", number: 1 })
              = Packet(IP 10.0.0.1.40000 > 10.96.0.10.81: Flags [S.], seq 0, ack 0, win 0, length 0)
            eth0 veth1 icmp 10.0.0.1 > 10.96.0.10
              PREROUTING conntrack: NEW (src=10.0.0.1 dst=10.96.0.10 type=8 code=0 id=7)
              FORWARD filter FORWARD 1: the connection's state is NEW, the rule wants INVALID
              FORWARD filter FORWARD 2: the protocol is icmp, the rule wants tcp
              FORWARD filter: policy ACCEPT
              POSTROUTING conntrack: remembered src=10.0.0.1 dst=10.96.0.10 type=8 code=0 id=7 / src=10.96.0.10 dst=10.0.0.1 type=0 code=0 id=7
              = Packet(IP 10.0.0.1 > 10.96.0.10: ICMP echo request, id 7, seq 1, length 8)
        "#]],
    );
}

#[test]
fn new_matches_say_what_did_not_fit() {
    let rules = "*filter
        -A FORWARD -p tcp -m multiport --dports 80,443 -j ACCEPT
        -A FORWARD -p tcp -m multiport ! --ports 81,40000 -j ACCEPT
        -A FORWARD -m iprange --src-range 10.0.0.2-10.0.0.9 -j ACCEPT
        -A FORWARD -m length --length 100:200 -j ACCEPT
        -A FORWARD -m ttl --ttl-lt 64 -j ACCEPT
        -A FORWARD -m tos --tos 0x10 -j ACCEPT
        -A FORWARD -m connmark --mark 0x1 -j ACCEPT
        -A FORWARD -m conntrack --ctstatus ASSURED -j ACCEPT
        -A FORWARD -m conntrack --ctdir REPLY -j ACCEPT
        -A FORWARD -m conntrack --ctorigdst 10.96.0.0/16 --ctorigdstport 80 -j ACCEPT
        -A FORWARD -p tcp -m tcp --tcp-option 2 -j ACCEPT
        -A FORWARD -m mac --mac-source 02:00:00:00:00:01 -j ACCEPT
        -A FORWARD -m pkttype --pkt-type broadcast -j ACCEPT
        -A FORWARD -m physdev --physdev-in veth+ -j ACCEPT
        -A FORWARD -m quota --quota 10 -j ACCEPT
        -A FORWARD -m recent --rcheck --name seen --seconds 5 -j ACCEPT
        COMMIT";
    let told = tell(rules, "eth0 veth1 tcp 10.0.0.1:40000 > 10.96.0.10:81 S");
    let forward: Vec<&str> =
        told.lines().filter_map(|line| line.trim().strip_prefix("FORWARD filter ")).collect();
    expect![[r#"
        FORWARD 1: the destination port is 81, the rule wants one of 80,443
        FORWARD 2: neither of the ports fits; the destination port is 81, the rule wants anything but one of 81,40000
        FORWARD 3: the source is 10.0.0.1, the rule wants 10.0.0.2-10.0.0.9
        FORWARD 4: the packet's length is 40, the rule wants 100:200
        FORWARD 5: the time to live is 64, the rule wants less than 64
        FORWARD 6: the type of service is 0x00, the rule wants 0x10/0xff
        FORWARD 7: the connection's mark is 0x0, the rule wants 0x1
        FORWARD 8: the connection's status is NONE, the rule wants ASSURED
        FORWARD 9: the direction is ORIGINAL, the rule wants REPLY
        FORWARD 10: the connection's first destination port is 81, the rule wants 80
        FORWARD 11: the TCP option is nothing, the rule wants 2
        FORWARD 12: the sender's hardware address is nothing, the rule wants 02:00:00:00:00:01
        FORWARD 13: the kind of delivery is unicast, the rule wants broadcast
        FORWARD 14: the bridge port it came in by is none, the rule wants veth+
        FORWARD 15: what is left of the quota is 10, the rule wants enough for the packet
        FORWARD 16: the address is 10.0.0.1, the rule wants one that is in the list seen, seen within 5 s"#]]
    .assert_eq(&forward.join("\n"));
}

#[test]
fn new_targets_change_the_packet_and_say_so() {
    check(
        "*mangle
         -A PREROUTING -j MARK --set-mark 0x12
         -A PREROUTING -j CONNMARK --save-mark --nfmask 0xf0 --ctmask 0xff
         -A PREROUTING -j TTL --ttl-dec 4
         -A PREROUTING -j DSCP --set-dscp-class EF
         -A FORWARD -j MARK --set-mark 0
         -A FORWARD -j CONNMARK --restore-mark
         -A FORWARD -m connmark --mark 0x10 -j LOG --log-prefix \"seen: \"
         COMMIT
         *nat
         -A PREROUTING -d 192.168.7.0/24 -j NETMAP --to 10.1.2.0/24
         COMMIT",
        "eth0 veth1 tcp 10.0.0.1:40000 > 192.168.7.9:80 S",
        expect![[r#"
            eth0 veth1 tcp 10.0.0.1:40000 > 192.168.7.9:80 S
              PREROUTING conntrack: NEW (src=10.0.0.1 dst=192.168.7.9 sport=40000 dport=80)
              PREROUTING mangle PREROUTING 1: mark 0x0 becomes 0x12
              PREROUTING mangle PREROUTING 2: the connection's mark 0x0 becomes 0x10
              PREROUTING mangle PREROUTING 3: time to live 64 becomes 60
              PREROUTING mangle PREROUTING 4: type of service 0x00 becomes 0xb8
              PREROUTING mangle: policy ACCEPT
              PREROUTING nat PREROUTING 1: NETMAP to:10.1.2.0/24
              PREROUTING nat: accepted
              PREROUTING destination 192.168.7.9:80 becomes 10.1.2.9:80 (decided now)
              FORWARD mangle FORWARD 1: mark 0x12 becomes 0x0
              FORWARD mangle FORWARD 2: mark 0x0 becomes 0x10, the connection's
              FORWARD mangle FORWARD 3: logged "seen: "
              FORWARD mangle: policy ACCEPT
              POSTROUTING conntrack: remembered src=10.0.0.1 dst=192.168.7.9 sport=40000 dport=80 / src=10.1.2.9 dst=10.0.0.1 sport=80 dport=40000
              = Packet(IP 10.0.0.1.40000 > 10.1.2.9.80: Flags [S], seq 0, win 0, length 0)
        "#]],
    );
}

#[test]
fn an_untracked_packet_belongs_to_no_connection() {
    let told = tell(
        "*raw
         -A PREROUTING -p udp -j CT --notrack
         COMMIT
         *filter
         -A FORWARD -m conntrack --ctstate UNTRACKED -j ACCEPT
         COMMIT",
        "eth0 veth1 udp 10.0.0.1:53 > 10.0.0.2:53",
    );
    assert!(told.contains("PREROUTING raw PREROUTING 1: not tracked"), "{told}");
    assert!(told.contains("FORWARD filter FORWARD 1: accepted"), "{told}");
    assert!(!told.contains("remembered"), "{told}");
}

#[test]
fn a_limit_is_per_rule_and_a_hashlimit_per_address() {
    let accepted = |rule: &str| {
        let packets = "eth0 veth1 udp 10.0.0.1:53 > 10.0.0.9:53
             eth0 veth1 udp 10.0.0.1:53 > 10.0.0.9:53
             eth0 veth1 udp 10.0.0.2:53 > 10.0.0.9:53
             eth0 veth1 udp 10.0.0.2:53 > 10.0.0.9:53";
        let told = tell(&format!("*filter\n-A FORWARD {rule} -j ACCEPT\nCOMMIT"), packets);
        told.lines().filter(|line| line.contains("FORWARD 1: accepted")).count()
    };
    assert_eq!(accepted("-m limit --limit 1/hour --limit-burst 1"), 1);
    let by_source = "-m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 1 --hashlimit-mode srcip --hashlimit-name a";
    assert_eq!(accepted(by_source), 2);
    assert_eq!(accepted(&by_source.replace("upto", "above")), 2);
}

#[test]
fn sets_are_asked_and_filled_by_packets() {
    let mut netfilter = Netfilter::new(Rng::new(1));
    let run = |netfilter: &mut Netfilter, line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_string).collect();
        netfilter::ipset::command::ipset(netfilter, &words, "", Instant::ZERO)
    };
    for line in [
        "create nets hash:net",
        "add nets 10.0.0.0/8",
        "add nets 10.9.0.0/16 nomatch",
        "create pairs hash:ip,port timeout 5",
        "create all list:set",
        "add all nets",
        "create seen hash:ip",
    ] {
        assert_eq!(run(&mut netfilter, line).err, "", "{line}");
    }
    let rules = "*filter
        :FROM-NETS - [0:0]
        -A FORWARD -m set --match-set all src -j FROM-NETS
        -A FORWARD -m set --match-set pairs dst,dst -j DROP
        -A FORWARD -j SET --add-set pairs dst,dst
        -A FROM-NETS -j SET --add-set seen src
        -A FROM-NETS -j ACCEPT
        COMMIT";
    restore(&mut netfilter, rules, RestoreOptions::default()).unwrap();
    let mut pass = |packet: &str, secs| {
        let (iif, oif, now) = (IfName::new("eth0"), IfName::new("eth1"), Instant::from_secs(secs));
        let hook = Hook::Forward;
        let input = HookInput { hook, iif, oif, now, surroundings: &Node };
        netfilter.hook(&input, &mut Skb::new(parse(packet)), None) == Verdict::Accept
    };
    assert!(pass("udp 10.1.1.1:1 > 1.1.1.1:53", 0), "in a network of the list");
    assert!(pass("udp 10.9.1.1:1 > 1.1.1.1:53", 0), "an exception; its destination is remembered");
    assert!(!pass("udp 10.9.1.1:1 > 1.1.1.1:53", 4), "known by now");
    assert!(pass("udp 10.9.1.1:1 > 1.1.1.1:54", 4), "another port");
    assert!(pass("udp 10.9.1.1:1 > 1.1.1.1:53", 6), "the timeout is over");
    assert_eq!(run(&mut netfilter, "test seen 10.1.1.1").code, 0);
    assert_eq!(run(&mut netfilter, "test seen 10.9.1.1").code, 1);
    let in_use = "Set cannot be destroyed: it is in use by a kernel component";
    assert!(run(&mut netfilter, "destroy nets").err.contains(in_use));
}

#[test]
fn a_lowered_segment_size_leaves_a_valid_packet() {
    let mut netfilter = Netfilter::new(Rng::new(1));
    let rules = "*mangle\n-A FORWARD -p tcp --syn -j TCPMSS --set-mss 1200\nCOMMIT";
    restore(&mut netfilter, rules, RestoreOptions::default()).unwrap();
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    // The option once at an even place and once, after a filler, at an odd one.
    for options in [[2, 4, 0x05, 0xb4, 1, 1, 1, 0], [1, 2, 4, 0x05, 0xb4, 1, 1, 0]] {
        let mut header = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x70, 2, 1, 0, 0, 0, 0, 0];
        header.extend(options);
        let mut skb = Skb::new(finish(src, dst, protocol::TCP, 64, header));
        assert!(skb.packet.l4_checksum_ok());
        let (iif, oif, now) = (IfName::new("eth0"), IfName::new("eth1"), Instant::ZERO);
        let hook = Hook::Forward;
        let input = HookInput { hook, iif, oif, now, surroundings: &Node };
        netfilter.hook(&input, &mut skb, None);
        let shown = format!("{:?}", skb.packet);
        assert!(shown.contains("mss 1200"), "{shown}");
        assert!(skb.packet.l4_checksum_ok(), "{shown}");
    }
}

#[test]
fn the_kernels_log_line_is_kept() {
    let mut netfilter = Netfilter::new(Rng::new(1));
    let rules = "*filter\n-A INPUT -j LOG --log-prefix \"drop: \" --log-level 7\nCOMMIT";
    restore(&mut netfilter, rules, RestoreOptions::default()).unwrap();
    for packet in ["tcp 10.0.0.1:40000 > 10.0.0.2:80 S", "icmp 10.0.0.1 > 10.0.0.2"] {
        let (iif, oif, now) = (IfName::new("eth0"), IfName::NONE, Instant::from_secs(3));
        let hook = Hook::Input;
        let input = HookInput { hook, iif, oif, now, surroundings: &Node };
        netfilter.hook(&input, &mut Skb::new(parse(packet)), None);
    }
    let lines: Vec<&str> = netfilter.stores().log.lines().map(|line| line.text.as_str()).collect();
    expect![[r#"
        drop: IN=eth0 OUT= SRC=10.0.0.1 DST=10.0.0.2 LEN=40 TOS=0x00 PREC=0x00 TTL=64 ID=0 PROTO=TCP SPT=40000 DPT=80 WINDOW=0 RES=0x00 SYN URGP=0 
        drop: IN=eth0 OUT= SRC=10.0.0.1 DST=10.0.0.2 LEN=28 TOS=0x00 PREC=0x00 TTL=64 ID=0 PROTO=ICMP TYPE=8 CODE=0 ID=7 SEQ=1 "#]]
    .assert_eq(&lines.join("\n"));
}

/// The kernel makes built-in chains when they are first needed, and what is not there sees no packet.
#[test]
fn a_built_in_chain_is_there_when_it_is_needed() {
    let mut netfilter = Netfilter::new(Rng::new(1));
    let counted = |netfilter: &mut Netfilter| {
        let input = HookInput {
            hook: Hook::Input,
            iif: IfName::new("eth0"),
            oif: IfName::NONE,
            now: Instant::ZERO,
            surroundings: &Node,
        };
        let packet = parse("udp 10.0.0.2:5 > 172.18.0.2:53");
        netfilter.hook(&input, &mut Skb::new(packet), None);
        let table = netfilter.table(TableName::Mangle).unwrap();
        table.chain("INPUT").unwrap().counters.packets
    };
    netfilter.edit(TableName::Mangle, |table| table.new_chain("FOO")).unwrap();
    assert_eq!(counted(&mut netfilter), 0, "a chain of its own only");
    netfilter.edit(TableName::Mangle, |table| table.flush("INPUT")).unwrap();
    assert_eq!(counted(&mut netfilter), 0, "-F");
    netfilter.edit(TableName::Mangle, |table| table.flush_named("INPUT")).unwrap();
    assert_eq!(counted(&mut netfilter), 1, "-F INPUT");
}

/// Ten jumps from each chain to the next would be a million million rules.
#[test]
fn a_packet_does_not_walk_the_chains_of_nft_without_end() {
    let mut rules =
        "add table t\nadd chain t c0 { type filter hook input priority 0; }\n".to_string();
    for depth in 1..12 {
        rules.push_str(&format!("add chain t c{depth}\n"));
        let jump = format!("add rule t c{} jump c{depth}\n", depth - 1);
        rules.push_str(&jump.repeat(10));
    }
    rules.push_str("add rule t c11 counter\n");
    let mut netfilter = Netfilter::new(Rng::new(1));
    load(&mut netfilter, &rules, Instant::ZERO).unwrap();
    let input = HookInput {
        hook: Hook::Input,
        iif: IfName::new("eth0"),
        oif: IfName::NONE,
        now: Instant::ZERO,
        surroundings: &Node,
    };
    let mut skb = Skb::new(parse("udp 10.0.0.2:5 > 172.18.0.2:53"));
    assert!(matches!(netfilter.hook(&input, &mut skb, None), Verdict::Drop(_)));
}

/// Each of twelve chains jumps ten times into the next: nobody waits for the end of that.
#[test]
fn a_walk_without_end_is_ended() {
    let mut rules = String::from("*filter\n");
    (0..12).for_each(|n| rules += &format!(":C{n} - [0:0]\n"));
    rules += "-A FORWARD -j C0\n";
    for n in 0..11 {
        (0..10).for_each(|_| rules += &format!("-A C{n} -j C{}\n", n + 1));
    }
    rules += "-A C11 -p tcp\nCOMMIT\n";
    let told = tell(&rules, "eth0 veth1 udp 10.0.0.1:5 > 10.0.0.2:53");
    assert!(told.contains("Drop(Rule { table: Filter, chain: "), "{}", told.len());
}
