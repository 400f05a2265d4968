//! Virtual services: who gets which packet, what it looks like then, and what `ipvsadm` says of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::Ipv4Addr;

use base::{Duration, Instant, Rng};
use expect_test::{Expect, expect};
use netfilter::ext::addrtype::AddrType;
use netfilter::ipvs::command::ipvsadm;
use netfilter::nft::command::list_ruleset;
use netfilter::nft::value::Style;
use netfilter::text::{RestoreOptions, restore};
use netfilter::trace::HookTrace;
use netfilter::{Hook, HookInput, IfName, Netfilter, Skb, Surroundings, Verdict};
use packet::reply::{IcmpError, Unreachable, finish, icmp_error};
use packet::{Packet, protocol, tcp_flags};

/// A director: 10.0.0.1 and 192.168.0.1 are its own, 10.96.0.10 is on its dummy interface.
struct Director;

impl Surroundings for Director {
    fn addr_type(&self, addr: Ipv4Addr, _: Option<IfName>) -> AddrType {
        let local = ["10.0.0.1", "192.168.0.1", "10.96.0.10"];
        if addr.is_loopback() || local.contains(&addr.to_string().as_str()) {
            AddrType::Local
        } else {
            AddrType::Unicast
        }
    }

    fn masquerade_source(&self) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::new(192, 168, 0, 1))
    }

    fn primary_address(&self, _: IfName) -> Option<Ipv4Addr> {
        None
    }
}

struct World {
    netfilter: Netfilter,
    now: Instant,
    trace: Option<Vec<HookTrace>>,
}

impl World {
    /// A director on which these commands have been typed.
    fn new(commands: &str) -> World {
        let netfilter = Netfilter::new(Rng::new(7));
        let mut world = World { netfilter, now: Instant::from_secs(100), trace: None };
        world.netfilter.ipvs_mut().settings.conntrack = true;
        world.netfilter.ipvs_mut().settings.expire_nodest_conn = true;
        world.netfilter.ipvs_mut().settings.expire_quiescent_template = true;
        commands.lines().for_each(|line| assert_eq!(world.run(line.trim()), "", "{line}"));
        world
    }

    /// What a command prints, to whichever stream.
    fn run(&mut self, line: &str) -> String {
        let args: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        self.netfilter.settle(self.now);
        let output = ipvsadm(&mut self.netfilter, &args, "", self.now);
        output.out + &output.err
    }

    fn wait(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
    }

    fn hook(&mut self, hook: Hook, names: (&str, &str), skb: &mut Skb) -> Verdict {
        let (iif, oif) = (IfName::new(names.0), IfName::new(names.1));
        let input = HookInput { hook, iif, oif, now: self.now, surroundings: &Director };
        let mut trace = self.trace.is_some().then(|| HookTrace::new(hook));
        let verdict = self.netfilter.hook(&input, skb, trace.as_mut());
        if let (Some(all), Some(trace)) = (&mut self.trace, trace) {
            all.push(trace);
        }
        verdict
    }

    /// Sends a packet through the director: what it looks like when it leaves or is delivered.
    fn pass(&mut self, packet: Packet, from_here: bool) -> Result<String, String> {
        let mut skb = Skb::new(packet);
        skb.is_trusted = true;
        let first = if from_here { Hook::Output } else { Hook::Prerouting };
        let mut hooks = vec![first];
        let mut at = 0;
        while let Some(hook) = hooks.get(at).copied() {
            at += 1;
            let names = match hook {
                Hook::Prerouting | Hook::Input => ("eth0", ""),
                Hook::Forward => ("eth0", "eth1"),
                Hook::Output | Hook::Postrouting => ("", "eth1"),
            };
            match self.hook(hook, names, &mut skb) {
                Verdict::Accept => {}
                Verdict::Virtual { .. } => {
                    hooks.extend([Hook::Output, Hook::Postrouting]);
                    continue;
                }
                Verdict::Drop(why) => return Err(format!("dropped: {why}")),
                Verdict::Reject(with, why) => return Err(format!("{}: {why}", with.name())),
            }
            let is_local = Director.addr_type(skb.packet.head().dst, None) == AddrType::Local;
            match hook {
                Hook::Prerouting if is_local => hooks.push(Hook::Input),
                Hook::Prerouting => hooks.extend([Hook::Forward, Hook::Postrouting]),
                Hook::Output if hooks.len() == 1 => hooks.push(Hook::Postrouting),
                _ => {}
            }
        }
        Ok(shown(&skb.packet))
    }

    fn tcp(&mut self, from: &str, to: &str, flags: u8) -> Result<String, String> {
        let packet = tcp(from, to, flags);
        self.pass(packet, false)
    }

    /// Opens a connection and closes it from the client's side; gives the server.
    fn visit(&mut self, from: &str, to: &str) -> String {
        let forth = self.tcp(from, to, tcp_flags::SYN).unwrap();
        let server = forth.split(' ').nth(2).unwrap().to_string();
        let answer = self.tcp(&server, from, tcp_flags::SYN | tcp_flags::ACK).unwrap();
        assert_eq!(answer, format!("{to} > {from}"));
        assert_eq!(self.tcp(from, to, tcp_flags::ACK).unwrap(), forth);
        server
    }
}

fn ends(from: &str, to: &str) -> (Ipv4Addr, u16, Ipv4Addr, u16) {
    let (src, sport) = from.split_once(':').unwrap();
    let (dst, dport) = to.split_once(':').unwrap();
    let port = |text: &str| text.parse().unwrap();
    (src.parse().unwrap(), port(sport), dst.parse().unwrap(), port(dport))
}

fn tcp(from: &str, to: &str, flags: u8) -> Packet {
    let (src, sport, dst, dport) = ends(from, to);
    let mut segment = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    finish(src, dst, protocol::TCP, 64, segment)
}

fn udp(from: &str, to: &str) -> Packet {
    let (src, sport, dst, dport) = ends(from, to);
    let ports = [sport, dport, 8, 0].map(u16::to_be_bytes).concat();
    finish(src, dst, protocol::UDP, 64, ports)
}

fn shown(packet: &Packet) -> String {
    assert!(packet.l4_checksum_ok());
    let head = packet.head();
    match head.ports() {
        Some((sport, dport)) => format!("{}:{sport} > {}:{dport}", head.src, head.dst),
        None => {
            let quoted = packet.quoted().unwrap();
            let (sport, dport) = quoted.ports().unwrap();
            let about = format!("{}:{sport} > {}:{dport}", quoted.src, quoted.dst);
            format!("{} > {} about {about}", head.src, head.dst)
        }
    }
}

fn check(actual: &str, expected: Expect) {
    expected.assert_eq(actual);
}

const WEB: &str = "-A -t 10.96.0.10:80 -s rr
    -a -t 10.96.0.10:80 -r 10.244.1.2:8080 -m
    -a -t 10.96.0.10:80 -r 10.244.1.3:8080 -m
    -a -t 10.96.0.10:80 -r 10.244.2.4:8080 -m";

#[test]
fn round_robin_goes_round_and_answers_come_from_the_virtual_address() {
    let mut world = World::new(WEB);
    let servers: Vec<String> =
        (0..6).map(|i| world.visit(&format!("10.9.0.1:{}", 4000 + i), "10.96.0.10:80")).collect();
    assert_eq!(
        servers,
        [
            "10.244.2.4:8080",
            "10.244.1.3:8080",
            "10.244.1.2:8080",
            "10.244.2.4:8080",
            "10.244.1.3:8080",
            "10.244.1.2:8080"
        ]
    );
    check(
        &world.run("-L -n"),
        expect![[r#"
        IP Virtual Server version 1.2.1 (size=4096)
        Prot LocalAddress:Port Scheduler Flags
          -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
        TCP  10.96.0.10:80 rr
          -> 10.244.1.2:8080              Masq    1      2          0         
          -> 10.244.1.3:8080              Masq    1      2          0         
          -> 10.244.2.4:8080              Masq    1      2          0         
    "#]],
    );
    check(
        &world.run("-Ln --stats"),
        expect![[r#"
        IP Virtual Server version 1.2.1 (size=4096)
        Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
          -> RemoteAddress:Port
        TCP  10.96.0.10:80                       6       12        6      480      240
          -> 10.244.1.2:8080                     2        4        2      160       80
          -> 10.244.1.3:8080                     2        4        2      160       80
          -> 10.244.2.4:8080                     2        4        2      160       80
    "#]],
    );
    check(
        &world.run("-Lnc"),
        expect![[r#"
        IPVS connection entries
        pro expire state       source             virtual            destination
        TCP 15:00  ESTABLISHED 10.9.0.1:4000      10.96.0.10:80      10.244.2.4:8080
        TCP 15:00  ESTABLISHED 10.9.0.1:4001      10.96.0.10:80      10.244.1.3:8080
        TCP 15:00  ESTABLISHED 10.9.0.1:4002      10.96.0.10:80      10.244.1.2:8080
        TCP 15:00  ESTABLISHED 10.9.0.1:4003      10.96.0.10:80      10.244.2.4:8080
        TCP 15:00  ESTABLISHED 10.9.0.1:4004      10.96.0.10:80      10.244.1.3:8080
        TCP 15:00  ESTABLISHED 10.9.0.1:4005      10.96.0.10:80      10.244.1.2:8080
    "#]],
    );
    let conns = netfilter::conntrack::command::run(
        &["-L".to_string()],
        world.netfilter.conntrack_mut(),
        world.now,
        1,
    );
    let netfilter::conntrack::command::Run::Done(output) = conns else { panic!() };
    check(
        output.stdout.lines().next().unwrap(),
        expect![
            "tcp      6 432000 ESTABLISHED src=10.9.0.1 dst=10.96.0.10 sport=4000 dport=80 src=10.244.2.4 dst=10.9.0.1 sport=8080 dport=4000 [ASSURED] mark=0 use=1"
        ],
    );
}

#[test]
fn states_move_connections_between_active_and_inactive() {
    let mut world = World::new(WEB);
    let server = world.visit("10.9.0.1:4000", "10.96.0.10:80");
    let line = |world: &mut World| {
        let text = world.run("-Ln");
        text.lines().find(|line| line.contains(&server)).unwrap().to_string()
    };
    check(
        &line(&mut world),
        expect!["  -> 10.244.2.4:8080              Masq    1      1          0         "],
    );
    world.tcp("10.9.0.1:4000", "10.96.0.10:80", tcp_flags::FIN | tcp_flags::ACK).unwrap();
    check(
        &world.run("-Lnc"),
        expect![[r#"
        IPVS connection entries
        pro expire state       source             virtual            destination
        TCP 01:00  CLOSE_WAIT  10.9.0.1:4000      10.96.0.10:80      10.244.2.4:8080
    "#]],
    );
    world.tcp(&server, "10.9.0.1:4000", tcp_flags::FIN | tcp_flags::ACK).unwrap();
    world.wait(20);
    check(
        &world.run("-Lnc"),
        expect![[r#"
        IPVS connection entries
        pro expire state       source             virtual            destination
        TCP 01:40  TIME_WAIT   10.9.0.1:4000      10.96.0.10:80      10.244.2.4:8080
    "#]],
    );
    check(
        &line(&mut world),
        expect!["  -> 10.244.2.4:8080              Masq    1      0          1         "],
    );
    world.wait(101);
    check(
        &world.run("-Lnc"),
        expect![[r#"
        IPVS connection entries
        pro expire state       source             virtual            destination
    "#]],
    );
    check(
        &line(&mut world),
        expect!["  -> 10.244.2.4:8080              Masq    1      0          0         "],
    );
    assert_eq!(world.netfilter.conntrack().entries(world.now).len(), 0);
}

#[test]
fn a_masqueraded_connection_is_undone_step_by_step() {
    let mut world = World::new(WEB);
    let rules = "*nat\n-A POSTROUTING -d 10.244.0.0/16 -j MASQUERADE\nCOMMIT\n";
    restore(&mut world.netfilter, rules, RestoreOptions::default()).unwrap();
    world.trace = Some(Vec::new());
    let forth = world.tcp("10.9.0.1:4000", "10.96.0.10:80", tcp_flags::SYN).unwrap();
    assert_eq!(forth, "192.168.0.1:4000 > 10.244.2.4:8080");
    let flags = tcp_flags::SYN | tcp_flags::ACK;
    let back = world.tcp("10.244.2.4:8080", "192.168.0.1:4000", flags).unwrap();
    assert_eq!(back, "10.96.0.10:80 > 10.9.0.1:4000");
    let traces = world.trace.take().unwrap();
    let mut text = String::new();
    for trace in traces {
        for event in trace.events {
            text.push_str(&format!("{}: {}\n", trace.hook, event.to_string().replace('\n', "; ")));
        }
    }
    check(
        &text,
        expect![[r#"
            PREROUTING: conntrack: NEW (src=10.9.0.1 dst=10.96.0.10 sport=4000 dport=80)
            INPUT: ipvs: tcp 10.96.0.10:80 goes to 10.244.2.4:8080 (chosen by rr)
            OUTPUT: destination 10.96.0.10:80 becomes 10.244.2.4:8080 (decided now)
            POSTROUTING: nat POSTROUTING 1: MASQUERADE; nat: accepted
            POSTROUTING: source 10.9.0.1:4000 becomes 192.168.0.1:4000 (decided now)
            POSTROUTING: conntrack: remembered src=10.9.0.1 dst=10.96.0.10 sport=4000 dport=80 / src=10.244.2.4 dst=192.168.0.1 sport=8080 dport=4000
            PREROUTING: conntrack: ESTABLISHED,SNAT (src=10.9.0.1 dst=10.96.0.10 sport=4000 dport=80)
            PREROUTING: destination 192.168.0.1:4000 becomes 10.9.0.1:4000 (as remembered)
            FORWARD: source 10.244.2.4:8080 becomes 10.96.0.10:80 (as remembered)
        "#]],
    );
}

#[test]
fn the_director_itself_is_a_client_and_a_server() {
    let mut world = World::new(
        "-A -t 10.96.0.10:80 -s rr
         -a -t 10.96.0.10:80 -r 10.244.1.2:8080 -m
         -A -t 10.96.0.10:6443 -s rr
         -a -t 10.96.0.10:6443 -r 192.168.0.1:443 -m",
    );
    // Made here, for elsewhere: the packet goes through OUTPUT twice.
    let packet = tcp("10.96.0.10:5000", "10.96.0.10:80", tcp_flags::SYN);
    assert_eq!(world.pass(packet, true).unwrap(), "10.96.0.10:5000 > 10.244.1.2:8080");
    let flags = tcp_flags::SYN | tcp_flags::ACK;
    let back = world.tcp("10.244.1.2:8080", "10.96.0.10:5000", flags).unwrap();
    assert_eq!(back, "10.96.0.10:80 > 10.96.0.10:5000");
    // From elsewhere, for here: it is delivered.
    let forth = world.tcp("10.9.0.1:4000", "10.96.0.10:6443", tcp_flags::SYN).unwrap();
    assert_eq!(forth, "10.9.0.1:4000 > 192.168.0.1:443");
    let answer = tcp("192.168.0.1:443", "10.9.0.1:4000", flags);
    assert_eq!(world.pass(answer, true).unwrap(), "10.96.0.10:6443 > 10.9.0.1:4000");
}

#[test]
fn without_servers_a_client_is_told_and_other_ports_are_left_alone() {
    let mut world = World::new("-A -t 10.96.0.10:80 -s rr");
    let refused = world.tcp("10.9.0.1:4000", "10.96.0.10:80", tcp_flags::SYN);
    assert_eq!(
        refused.unwrap_err(),
        "icmp-port-unreachable: its virtual service has no real server"
    );
    let other = world.tcp("10.9.0.1:4000", "10.96.0.10:81", tcp_flags::SYN);
    assert_eq!(other.unwrap(), "10.9.0.1:4000 > 10.96.0.10:81");
    // What begins nothing is left to the socket.
    let stray = world.tcp("10.9.0.1:4000", "10.96.0.10:80", tcp_flags::ACK);
    assert_eq!(stray.unwrap(), "10.9.0.1:4000 > 10.96.0.10:80");
}

#[test]
fn persistence_keeps_a_client_with_its_server_until_its_time_is_over() {
    let mut world = World::new(&WEB.replace("-s rr", "-s rr -p 60"));
    let first = world.visit("10.9.0.1:4000", "10.96.0.10:80");
    for port in 4001..4004 {
        assert_eq!(world.visit(&format!("10.9.0.1:{port}"), "10.96.0.10:80"), first);
    }
    assert_ne!(world.visit("10.9.0.2:4000", "10.96.0.10:80"), first);
    check(
        &world.run("-Ln"),
        expect![[r#"
        IP Virtual Server version 1.2.1 (size=4096)
        Prot LocalAddress:Port Scheduler Flags
          -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
        TCP  10.96.0.10:80 rr persistent 60
          -> 10.244.1.2:8080              Masq    1      0          0         
          -> 10.244.1.3:8080              Masq    1      1          0         
          -> 10.244.2.4:8080              Masq    1      4          0         
    "#]],
    );
    check(
        &world.run("-Ln --persistent-conn"),
        expect![[r#"
        IP Virtual Server version 1.2.1 (size=4096)
        Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn 
          -> RemoteAddress:Port
        TCP  10.96.0.10:80 rr persistent 60
          -> 10.244.1.2:8080              1         0           0          0         
          -> 10.244.1.3:8080              1         1           1          0         
          -> 10.244.2.4:8080              1         1           4          0         
    "#]],
    );
    check(
        &world.run("-Lnc"),
        expect![[r#"
        IPVS connection entries
        pro expire state       source             virtual            destination
        TCP 01:00  ASSURED     10.9.0.1:0         10.96.0.10:80      10.244.2.4:8080
        TCP 15:00  ESTABLISHED 10.9.0.1:4000      10.96.0.10:80      10.244.2.4:8080
        TCP 15:00  ESTABLISHED 10.9.0.1:4001      10.96.0.10:80      10.244.2.4:8080
        TCP 15:00  ESTABLISHED 10.9.0.1:4002      10.96.0.10:80      10.244.2.4:8080
        TCP 15:00  ESTABLISHED 10.9.0.1:4003      10.96.0.10:80      10.244.2.4:8080
        TCP 01:00  ASSURED     10.9.0.2:0         10.96.0.10:80      10.244.1.3:8080
        TCP 15:00  ESTABLISHED 10.9.0.2:4000      10.96.0.10:80      10.244.1.3:8080
    "#]],
    );
    // A server that is to get nothing more loses its clients.
    world.run(&format!("-e -t 10.96.0.10:80 -r {first} -m -w 0"));
    let second = world.visit("10.9.0.1:4010", "10.96.0.10:80");
    assert_ne!(second, first);
    world.run(&format!("-e -t 10.96.0.10:80 -r {first} -m -w 1"));
    assert_eq!(world.visit("10.9.0.1:4011", "10.96.0.10:80"), second);
    // The connections hold it for longer than its own minute.
    world.wait(100);
    assert_eq!(world.visit("10.9.0.1:4012", "10.96.0.10:80"), second);
    world.wait(1000);
    check(
        &world.run("-Lnc"),
        expect![[r#"
        IPVS connection entries
        pro expire state       source             virtual            destination
    "#]],
    );
    assert_eq!(world.netfilter.ipvs().unwrap().conns().len(), 0);
}

#[test]
fn a_server_that_is_gone_is_found_out_by_the_next_packet() {
    let mut world = World::new(WEB);
    let server = world.visit("10.9.0.1:4000", "10.96.0.10:80");
    world.run(&format!("-d -t 10.96.0.10:80 -r {server}"));
    let lost = world.tcp("10.9.0.1:4000", "10.96.0.10:80", tcp_flags::ACK);
    assert_eq!(lost.unwrap_err(), "dropped: the real server of its connection is gone");
    assert_eq!(world.netfilter.ipvs().unwrap().conns().len(), 0);
    // Then it is nobody's: the socket answers with a reset.
    let next = world.tcp("10.9.0.1:4000", "10.96.0.10:80", tcp_flags::ACK);
    assert_eq!(next.unwrap(), "10.9.0.1:4000 > 10.96.0.10:80");
}

#[test]
fn a_server_that_comes_back_takes_up_its_connections() {
    let mut world = World::new(WEB);
    let server = world.visit("10.9.0.1:4000", "10.96.0.10:80");
    world.run(&format!("-d -t 10.96.0.10:80 -r {server}"));
    world.run(&format!("-a -t 10.96.0.10:80 -r {server} -m"));
    let text = world.run("-Ln");
    let line = text.lines().find(|line| line.contains(&server)).unwrap();
    assert!(line.contains("Masq    1      1          0"), "{line}");
    assert!(world.tcp("10.9.0.1:4000", "10.96.0.10:80", tcp_flags::ACK).is_ok());
}

#[test]
fn a_port_that_is_used_again_chooses_anew() {
    let mut world = World::new(WEB);
    let (client, front) = ("10.9.0.1:4000", "10.96.0.10:80");
    let first = world.visit(client, front);
    world.tcp(client, front, tcp_flags::FIN | tcp_flags::ACK).unwrap();
    world.tcp(&first, client, tcp_flags::FIN | tcp_flags::ACK).unwrap();
    world.tcp(client, front, tcp_flags::ACK).unwrap();
    let begun = world.tcp(client, front, tcp_flags::SYN);
    // Conntrack begins anew as well, so nothing is dropped.
    assert_eq!(begun.unwrap(), "10.9.0.1:4000 > 10.244.1.3:8080");
}

#[test]
fn errors_are_translated_both_ways() {
    let mut world = World::new(
        "-A -u 10.96.0.10:53 -s rr
         -a -u 10.96.0.10:53 -r 10.244.1.2:5353 -m",
    );
    let forth = world.pass(udp("10.9.0.1:4000", "10.96.0.10:53"), false).unwrap();
    assert_eq!(forth, "10.9.0.1:4000 > 10.244.1.2:5353");
    // Nobody listens at the server.
    let about = udp("10.9.0.1:4000", "10.244.1.2:5353");
    let why: IcmpError = Unreachable::Port.into();
    let error = icmp_error(&about, Ipv4Addr::new(10, 244, 1, 2), why).unwrap();
    assert_eq!(
        world.pass(error, false).unwrap(),
        "10.96.0.10 > 10.9.0.1 about 10.9.0.1:4000 > 10.96.0.10:53"
    );
    // The client does not want the answer.
    let back = world.pass(udp("10.244.1.2:5353", "10.9.0.1:4000"), false).unwrap();
    assert_eq!(back, "10.96.0.10:53 > 10.9.0.1:4000");
    let about = udp("10.96.0.10:53", "10.9.0.1:4000");
    let error = icmp_error(&about, Ipv4Addr::new(10, 9, 0, 1), why).unwrap();
    assert_eq!(
        world.pass(error, false).unwrap(),
        "10.9.0.1 > 10.244.1.2 about 10.244.1.2:5353 > 10.9.0.1:4000"
    );
    check(
        &world.run("-Lnc"),
        expect![[r#"
        IPVS connection entries
        pro expire state       source             virtual            destination
        UDP 05:00  UDP         10.9.0.1:4000      10.96.0.10:53      10.244.1.2:5353
    "#]],
    );
}

#[test]
fn weights_and_loads_decide() {
    let tally = |scheduler: &str, count: usize| {
        let mut world = World::new(&format!(
            "-A -t 10.96.0.10:80 -s {scheduler}
             -a -t 10.96.0.10:80 -r 10.244.1.2:8080 -m -w 1
             -a -t 10.96.0.10:80 -r 10.244.1.3:8080 -m -w 2
             -a -t 10.96.0.10:80 -r 10.244.2.4:8080 -m -w 3"
        ));
        // The hashing ones would send its share of clients nowhere.
        if !scheduler.ends_with('h') {
            world.run("-a -t 10.96.0.10:80 -r 10.244.2.5:8080 -m -w 0");
        }
        let visits = (0..count).map(|i| {
            let client = format!("10.9.{}.{}:4000", i / 200, i % 200);
            let server = world.visit(&client, "10.96.0.10:80");
            server.chars().nth("10.244.x.".len()).unwrap()
        });
        visits.collect::<String>()
    };
    assert_eq!(tally("rr", 9), "432432432");
    assert_eq!(tally("wrr", 12), "432443432443");
    assert_eq!(tally("lc", 6), "432432");
    assert_eq!(tally("wlc", 12), "432434432434");
    assert_eq!(tally("sed", 12), "434432434432");
    assert_eq!(tally("nq", 6), "432443");
    assert_eq!(tally("dh", 4), tally("dh", 1).repeat(4));
    let hashed = tally("sh", 120);
    assert!(hashed.matches('4').count() > hashed.matches('2').count(), "{hashed}");
    assert_eq!(tally("sh", 120), hashed);
}

#[test]
fn thresholds_close_a_server_until_there_is_room() {
    let mut world = World::new(
        "-A -t 10.96.0.10:80 -s rr
         -a -t 10.96.0.10:80 -r 10.244.1.2:8080 -m -x 2 -y 1
         -a -t 10.96.0.10:80 -r 10.244.1.3:8080 -m",
    );
    let mut visit = |port: u16| world.visit(&format!("10.9.0.1:{port}"), "10.96.0.10:80");
    let servers: Vec<String> = (4000..4006).map(&mut visit).collect();
    assert_eq!(servers.iter().filter(|server| *server == "10.244.1.2:8080").count(), 2);
    check(
        &world.run("-Ln --thresholds"),
        expect![[r#"
        IP Virtual Server version 1.2.1 (size=4096)
        Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn 
          -> RemoteAddress:Port
        TCP  10.96.0.10:80 rr
          -> 10.244.1.2:8080              2          1          2          0         
          -> 10.244.1.3:8080              0          0          4          0         
    "#]],
    );
}

#[test]
fn rules_that_are_saved_can_be_restored() {
    let mut world = World::new(
        "-A -t 10.96.0.10:80 -s wrr -p 10800 -M 255.255.255.0
         -a -t 10.96.0.10:80 -r 10.244.1.2:8080 -m -w 3
         -A -u 10.96.0.10:53
         -A --sctp-service 10.96.0.10:7 -s lc
         -a --sctp-service 10.96.0.10:7 -r 10.244.1.2 -m
         -A -t 172.18.0.2:30080 -s rr",
    );
    let saved = world.run("-S -n");
    check(
        &saved,
        expect![[r#"
        -A -t 172.18.0.2:30080 -s rr
        -A -t 10.96.0.10:80 -s wrr -p 10800 -M 255.255.255.0
        -a -t 10.96.0.10:80 -r 10.244.1.2:8080 -m -w 3
        -A -u 10.96.0.10:53 -s wlc
        -A --sctp-service 10.96.0.10:7 -s lc
        -a --sctp-service 10.96.0.10:7 -r 10.244.1.2:7 -m -w 1
    "#]],
    );
    check(
        &world.run("-L"),
        expect![[r#"
        IP Virtual Server version 1.2.1 (size=4096)
        Prot LocalAddress:Port Scheduler Flags
          -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
        TCP  172.18.0.2:30080 rr
        TCP  10.96.0.10:http wrr persistent 10800 mask 255.255.255.0
          -> 10.244.1.2:http-alt          Masq    3      0          0         
        UDP  10.96.0.10:domain wlc
        SCTP  10.96.0.10:7 lc
          -> 10.244.1.2:7                 Masq    1      0          0         
    "#]],
    );
    let mut again = World::new("");
    let output = ipvsadm(&mut again.netfilter, &["-R".to_string()], &saved, again.now);
    assert_eq!((output.code, output.err.as_str()), (0, ""));
    assert_eq!(again.run("-Sn"), saved);
    assert_eq!(again.run("-C"), "");
    check(
        &again.run("-Ln"),
        expect![[r#"
        IP Virtual Server version 1.2.1 (size=4096)
        Prot LocalAddress:Port Scheduler Flags
          -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
    "#]],
    );
}

#[test]
fn what_is_wrong_is_said_in_the_tool_s_words() {
    let mut world = World::new(WEB);
    let lines = "-A -t 10.96.0.10:80
        -A -t 10.96.0.11:80 -s fast
        -A -t 10.96.0.11:80 -s lblc
        -A -t 10.96.0.11
        -A -t nowhere:80
        -A -u 10.96.0.11:80 -n
        -A -t 1.1.1.1:1 -u 1.1.1.1:1
        -E -t 10.96.0.11:80
        -D -t 10.96.0.11:80
        -D
        -a -t 10.96.0.11:80 -r 10.0.0.2 -m
        -a -t 10.96.0.10:80 -r 10.244.1.2:8080 -m
        -a -t 10.96.0.10:80 -r 10.244.1.9:8080
        -a -t 10.96.0.10:80 -r 10.244.1.9:8080 -m -w 70000
        -a -t 10.96.0.10:80 -r 10.244.1.9:8080 -m -x 1 -y 2
        -d -t 10.96.0.10:80 -r 10.244.1.9:8080
        -A -f 7
        -L -t 10.96.0.11:80
        -Lnc -t 10.96.0.10:80
        -L --timeout --stats
        -L -q
        -Z -t 10.96.0.11:80
        --set 1 2
        -t 10.96.0.10:80
        nonsense
        -h";
    let mut text = String::new();
    for line in lines.lines() {
        let line = line.trim();
        let args: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        let output = ipvsadm(&mut world.netfilter, &args, "", world.now);
        text.push_str(&format!("{line}\n  {} {}{}", output.code, output.out, output.err));
    }
    check(
        &text,
        expect![[r#"
        -A -t 10.96.0.10:80
          255 Service already exists
        -A -t 10.96.0.11:80 -s fast
          255 Scheduler or persistence engine not found
        -A -t 10.96.0.11:80 -s lblc
          2 ipvsadm: the scheduler lblc is not supported by podwire
        -A -t 10.96.0.11
          2 Zero port specified for non-persistent service
        -A -t nowhere:80
          2 illegal virtual server address[:port] specified
        -A -u 10.96.0.11:80 -n
          2 Illegal 'numeric' option with the 'add-service' command
        -A -t 1.1.1.1:1 -u 1.1.1.1:1
          2 multiple 'service-address' options specified
        -E -t 10.96.0.11:80
          255 No such service
        -D -t 10.96.0.11:80
          255 No such service
        -D
          2 You need to supply the 'service-address' option for the 'delete-service' command
        -a -t 10.96.0.11:80 -r 10.0.0.2 -m
          255 Service not defined
        -a -t 10.96.0.10:80 -r 10.244.1.2:8080 -m
          255 Destination already exists
        -a -t 10.96.0.10:80 -r 10.244.1.9:8080
          2 ipvsadm: direct routing (-g), which is meant without -m, is not supported by podwire
        -a -t 10.96.0.10:80 -r 10.244.1.9:8080 -m -w 70000
          2 illegal weight specified
        -a -t 10.96.0.10:80 -r 10.244.1.9:8080 -m -x 1 -y 2
          255 Invalid operation.  Possibly wrong module version, address not unicast, ...
        -d -t 10.96.0.10:80 -r 10.244.1.9:8080
          255 No such destination
        -A -f 7
          2 ipvsadm: services by firewall mark are not supported by podwire
        -L -t 10.96.0.11:80
          1 No such service
        -Lnc -t 10.96.0.10:80
          2 The option 'service-address' conflicts with 'connection' option in the 'list' command
        -L --timeout --stats
          2 options conflicts in the list command
        -L -q
          255 -q: unknown option
        -Z -t 10.96.0.11:80
          255 No such service
        --set 1 2
          2 --set option requires 3 timeout values
        -t 10.96.0.10:80
          255 Try `ipvsadm -h' or 'ipvsadm --help' for more information.
        nonsense
          255 Try `ipvsadm -h' or 'ipvsadm --help' for more information.
        -h
          2 ipvsadm: the help text of ipvsadm is not supported by podwire
    "#]],
    );
}

#[test]
fn timeouts_are_set_and_rates_are_shown() {
    let mut world = World::new(WEB);
    assert_eq!(world.run("--set 10 0 20"), "");
    assert_eq!(world.run("-L --timeout"), "Timeout (tcp tcpfin udp): 10 120 20\n");
    for i in 0..40 {
        world.visit(&format!("10.9.0.1:{}", 5000 + i), "10.96.0.10:80");
        world.wait(1);
    }
    check(
        &world.run("-Ln --rate"),
        expect![[r#"
        IP Virtual Server version 1.2.1 (size=4096)
        Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS
          -> RemoteAddress:Port
        TCP  10.96.0.10:80                       1        2        1       80       40
          -> 10.244.1.2:8080                     0        1        0       27       13
          -> 10.244.1.3:8080                     0        1        0       23       11
          -> 10.244.2.4:8080                     0        1        0       30       15
    "#]],
    );
    world.run("-Z");
    world.wait(400);
    check(
        &world.run("-Ln --stats --exact"),
        expect![[r#"
        IP Virtual Server version 1.2.1 (size=4096)
        Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
          -> RemoteAddress:Port
        TCP  10.96.0.10:80                       0        0        0        0        0
          -> 10.244.1.2:8080                     0        0        0        0        0
          -> 10.244.1.3:8080                     0        0        0        0        0
          -> 10.244.2.4:8080                     0        0        0        0        0
    "#]],
    );
}

#[test]
fn rules_can_ask_for_virtual_services() {
    let mut world = World::new(WEB);
    let rules = "*filter
-A OUTPUT -s 10.96.0.10 -m ipvs --vaddr 10.96.0.10 --vproto tcp --vport 80 -j DROP
-A OUTPUT -m ipvs --ipvs --vdir ORIGINAL --vmethod MASQ
-A FORWARD -m ipvs ! --ipvs
COMMIT
";
    restore(&mut world.netfilter, rules, RestoreOptions::default()).unwrap();
    let saved = netfilter::text::save::save(&world.netfilter, None, true, "now");
    assert!(saved.contains(
        "-A OUTPUT -s 10.96.0.10/32 -m ipvs --vproto 6 --vaddr 10.96.0.10 --vport 80 -j DROP"
    ));
    world.visit("10.9.0.1:4000", "10.96.0.10:80");
    let packet = tcp("10.96.0.10:5000", "10.96.0.10:80", tcp_flags::SYN);
    let dropped = world.pass(packet, true).unwrap_err();
    assert_eq!(dropped, "dropped: rule 1 of chain OUTPUT in table filter");
    let saved = netfilter::text::save::save(&world.netfilter, None, true, "now");
    let counts: Vec<&str> = saved
        .lines()
        .filter(|line| line.contains("-m ipvs"))
        .filter_map(|line| line.split(':').next())
        .collect();
    check(&counts.join(" "), expect!["[1 [1 [2"]);
}

#[test]
fn a_set_of_address_port_and_network_fits_the_networks_in_it() {
    let mut netfilter = Netfilter::new(Rng::new(1));
    let mut ipset = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_string).collect();
        let now = Instant::ZERO;
        let output = netfilter::ipset::command::ipset(&mut netfilter, &words, "", now);
        output.out + &output.err
    };
    assert_eq!(ipset("create x hash:ip,port,net"), "");
    assert_eq!(ipset("add x 10.0.0.1,tcp:80,10.0.0.0/8"), "");
    assert_eq!(ipset("add x 10.0.0.1,80,1.2.3.4"), "");
    assert!(ipset("add x 10.0.0.1,80,0.0.0.0/0").contains("value of the CIDR parameter"));
    assert!(ipset("test x 10.0.0.1,80,10.2.3.4").contains("is in set x"));
    assert!(ipset("test x 10.0.0.1,81,10.2.3.4").contains("is NOT in set x"));
    assert!(
        ipset("save x")
            .ends_with("add x 10.0.0.1,tcp:80,1.2.3.4\nadd x 10.0.0.1,tcp:80,10.0.0.0/8\n")
    );
}

#[test]
fn chains_of_nftables_stand_before_and_behind_the_virtual_servers() {
    let mut world = World::new(WEB);
    let chain = |name: &str, hook: &str, priority: i32| {
        format!(
            "chain {name} {{ type filter hook {hook} priority {priority}; tcp dport 80 counter; tcp dport 8080 counter; }}\n"
        )
    };
    let rules = [
        chain("early", "input", 97),
        chain("late", "input", 99),
        chain("before", "output", -100),
        chain("behind", "output", -98),
    ];
    let rules = format!("table ip t {{\n{}}}\n", rules.concat());
    netfilter::nft::command::load(&mut world.netfilter, &rules, world.now).unwrap();
    // Somebody else's, and the director's own.
    world.visit("10.9.0.1:4000", "10.96.0.10:80");
    world.pass(tcp("192.168.0.1:4001", "10.96.0.10:80", tcp_flags::SYN), true).unwrap();
    let list = list_ruleset(&world.netfilter, Style::default(), world.now);
    let kept = |line: &&str| line.contains("chain") || line.contains("counter");
    let counted: Vec<&str> = list.lines().filter(kept).map(str::trim).collect();
    check(
        &counted.join("\n"),
        expect![[r#"
        chain early {
        tcp dport 80 counter packets 2 bytes 80
        tcp dport 8080 counter packets 0 bytes 0
        chain late {
        tcp dport 80 counter packets 0 bytes 0
        tcp dport 8080 counter packets 0 bytes 0
        chain before {
        tcp dport 80 counter packets 1 bytes 40
        tcp dport 8080 counter packets 3 bytes 120
        chain behind {
        tcp dport 80 counter packets 0 bytes 0
        tcp dport 8080 counter packets 3 bytes 120"#]],
    );
}
