use base::Instant;
use expect_test::{Expect, expect};
use packet::reply::finish;
use packet::{Packet, protocol, tcp_flags};

use super::*;
use crate::conntrack::{CtSlot, Heard};
use crate::hook::Hook;

fn addr(last: u8) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::new(10, 0, 0, last)
}

fn packet(number: u8, (from, sport): (u8, u16), (to, dport): (u8, u16), rest: &[u8]) -> Packet {
    let ports = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    finish(addr(from), addr(to), number, 64, [&ports, rest].concat())
}

fn tcp(from: (u8, u16), to: (u8, u16), flags: u8, (seq, ack): (u32, u32)) -> Packet {
    let mut rest = [seq.to_be_bytes(), ack.to_be_bytes()].concat();
    rest.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet(protocol::TCP, from, to, &rest)
}

fn pass(conntrack: &mut Conntrack, packet: &Packet, secs: u64) -> CtSlot {
    let now = Instant::from_secs(secs);
    let mut slot = conntrack.track(packet, Hook::Prerouting, false, now).unwrap();
    assert!(conntrack.confirm(&mut slot, now));
    slot
}

/// Three connections: TCP in use, UDP without answer and with a mark, a ping.
fn some() -> Conntrack {
    let mut conntrack = Conntrack::default();
    fill(&mut conntrack);
    conntrack
}

fn fill(conntrack: &mut Conntrack) {
    let (client, server) = ((1, 40000), (2, 80));
    pass(conntrack, &tcp(client, server, tcp_flags::SYN, (100, 0)), 0);
    pass(conntrack, &tcp(server, client, tcp_flags::SYN | tcp_flags::ACK, (500, 101)), 0);
    pass(conntrack, &tcp(client, server, tcp_flags::ACK, (101, 501)), 0);
    let slot = pass(conntrack, &packet(protocol::UDP, (1, 5000), (3, 53), &[0, 8, 0, 0]), 1);
    let CtSlot::Tracked { conn, .. } = slot else { panic!("{slot:?}") };
    conntrack.set_mark(conn, 21);
    let ping = finish(addr(1), addr(4), protocol::ICMP, 64, vec![8, 0, 0, 0, 0, 7, 0, 1]);
    pass(conntrack, &ping, 1);
}

fn check(conntrack: &mut Conntrack, line: &str, expected: Expect) {
    let args: Vec<&str> = line.split_whitespace().collect();
    let Run::Done(output) = run(&args, conntrack, Instant::from_secs(2), 77) else {
        panic!("{line} listens")
    };
    let Output { stdout, stderr, code } = output;
    expected.assert_eq(&format!("{stdout}{stderr}= {code}\n"));
}

#[test]
fn lists_and_counts() {
    let conntrack = &mut some();
    check(
        conntrack,
        "-L",
        expect![[r#"
            tcp      6 431998 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 [ASSURED] mark=0 use=1
            udp      17 29 src=10.0.0.1 dst=10.0.0.3 sport=5000 dport=53 [UNREPLIED] src=10.0.0.3 dst=10.0.0.1 sport=53 dport=5000 mark=21 use=1
            icmp     1 29 src=10.0.0.1 dst=10.0.0.4 type=8 code=0 id=7 [UNREPLIED] src=10.0.0.4 dst=10.0.0.1 type=0 code=0 id=7 mark=0 use=1
            conntrack v1.4.7 (conntrack-tools): 3 flow entries have been shown.
            = 0
        "#]],
    );
    check(
        conntrack,
        "-L -p tcp --state ESTABLISHED --dport 80 -o extended",
        expect![[r#"
            ipv4     2 tcp      6 431998 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 [ASSURED] mark=0 use=1
            conntrack v1.4.7 (conntrack-tools): 1 flow entries have been shown.
            = 0
        "#]],
    );
    check(
        conntrack,
        "-L -osave -s 10.0.0.0/24 -u UNREPLIED",
        expect![[r#"
            -A -t 29 -u UNSET -s 10.0.0.1 -d 10.0.0.3 -r 10.0.0.3 -q 10.0.0.1 -p udp --sport 5000 --dport 53 --reply-port-src 53 --reply-port-dst 5000
            -A -t 29 -u UNSET -s 10.0.0.1 -d 10.0.0.4 -r 10.0.0.4 -q 10.0.0.1 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 7
            conntrack v1.4.7 (conntrack-tools): 2 flow entries have been shown.
            = 0
        "#]],
    );
    check(
        conntrack,
        "-L -o xml -m 0x5/0x5",
        expect![[r#"
            <?xml version="1.0" encoding="utf-8"?>
            <conntrack>
            <flow><meta direction="original"><layer3 protonum="2" protoname="ipv4"><src>10.0.0.1</src><dst>10.0.0.3</dst></layer3><layer4 protonum="17" protoname="udp"><sport>5000</sport><dport>53</dport></layer4></meta><meta direction="reply"><layer3 protonum="2" protoname="ipv4"><src>10.0.0.3</src><dst>10.0.0.1</dst></layer3><layer4 protonum="17" protoname="udp"><sport>53</sport><dport>5000</dport></layer4></meta><meta direction="independent"><timeout>29</timeout><mark>21</mark><use>1</use><id>1815234515</id><unreplied/></meta></flow>
            </conntrack>
            conntrack v1.4.7 (conntrack-tools): 1 flow entries have been shown.
            = 0
        "#]],
    );
    check(
        conntrack,
        "-C",
        expect![[r#"
        3
        = 0
    "#]],
    );
    check(
        conntrack,
        "-S",
        expect![[r#"
            cpu=0   	found=0 invalid=0 insert=0 insert_failed=0 drop=0 early_drop=0 error=0 search_restart=0 clash_resolve=0 chaintoolong=0 
            = 0
        "#]],
    );
}

#[test]
fn gets_changes_and_deletes() {
    let conntrack = &mut some();
    check(
        conntrack,
        "-G -p udp -s 10.0.0.1 -d 10.0.0.3 --sport 5000 --dport 53",
        expect![[r#"
            udp      17 29 src=10.0.0.1 dst=10.0.0.3 sport=5000 dport=53 [UNREPLIED] src=10.0.0.3 dst=10.0.0.1 sport=53 dport=5000 mark=21 use=2
            conntrack v1.4.7 (conntrack-tools): 1 flow entries have been shown.
            = 0
        "#]],
    );
    check(
        conntrack,
        "-G -p tcp -s 10.0.0.1 -d 10.0.0.3 --sport 5000 --dport 53",
        expect![[r#"
            conntrack v1.4.7 (conntrack-tools): Operation failed: such conntrack doesn't exist
            = 1
        "#]],
    );
    check(
        conntrack,
        "-U -p udp -m 0x2/0xf -t 100",
        expect![[r#"
            udp      17 100 src=10.0.0.1 dst=10.0.0.3 sport=5000 dport=53 [UNREPLIED] src=10.0.0.3 dst=10.0.0.1 sport=53 dport=5000 mark=18 use=2
            conntrack v1.4.7 (conntrack-tools): 1 flow entries have been updated.
            = 0
        "#]],
    );
    check(
        conntrack,
        "-D -d 10.0.0.4",
        expect![[r#"
            icmp     1 29 src=10.0.0.1 dst=10.0.0.4 type=8 code=0 id=7 [UNREPLIED] src=10.0.0.4 dst=10.0.0.1 type=0 code=0 id=7 mark=0 use=1
            conntrack v1.4.7 (conntrack-tools): 1 flow entries have been deleted.
            = 0
        "#]],
    );
    check(
        conntrack,
        "-D -d 10.0.0.4",
        expect![[r#"
            conntrack v1.4.7 (conntrack-tools): 0 flow entries have been deleted.
            = 1
        "#]],
    );
    check(
        conntrack,
        "-F",
        expect![[r#"
            conntrack v1.4.7 (conntrack-tools): connection tracking table has been emptied.
            = 0
        "#]],
    );
    check(
        conntrack,
        "-C",
        expect![[r#"
        0
        = 0
    "#]],
    );
}

#[test]
fn wrong_arguments_are_told_as_the_tool_tells_them() {
    let conntrack = &mut some();
    // Taken from the tool's own standard error.
    for (line, message) in [
        ("-L -o foo", "Bad parameter `foo'"),
        ("-L --dport 7778", "unknown option `--dport'"),
        ("-L -D", "Invalid commands combination"),
        ("-Q", "unknown option `-Q'"),
        ("-L -p foo", "`foo' unsupported protocol"),
        ("-L -s foo", "Invalid IP address `foo'"),
        ("-L -p tcp --state FOO", "unknown TCP state `FOO'"),
        ("-L -p udp --state ESTABLISHED", "unknown option `--state'"),
        ("-L -u FOO", "Bad parameter `FOO'"),
        ("-L foo", "unknown type `foo'"),
        ("-L -s", "option `-s' requires an argument"),
        ("-L -p tcp --state", "option `--state' requires an argument"),
        ("-G", "You need to supply the `--protonum' option for this command"),
        (
            "-G -p tcp -s 1.1.1.1 -d 2.2.2.2 --sport 1",
            "you have to specify `--sport' and `--dport'",
        ),
        ("-L -e NEW", "Illegal option `--event-mask' with this command"),
        ("-E -e FOO", "Bad parameter `FOO'"),
        ("-S -o xml", "Illegal option `--output' with this command"),
        ("-L -t 5", "Illegal option `--timeout' with this command"),
        ("-F -p tcp", "Illegal option `--protonum' with this command"),
        ("-D -j 3.3.3.3", "Illegal option `--any-nat' with this command"),
        ("-p tcp", "Illegal option `--protonum' with this command"),
        ("-L -s 1.2.3.4/33", "Invalid netmask"),
        ("-L -f foo", "`foo' unsupported protocol"),
        ("-L -z -p icmp", "Can't use -z with filtering parameters"),
    ] {
        let args: Vec<&str> = line.split_whitespace().collect();
        let Run::Done(output) = run(&args, conntrack, Instant::ZERO, 1) else { panic!("{line}") };
        let expected = format!(
            "{BANNER}{message}\nTry `conntrack -h' or 'conntrack --help' for more information.\n"
        );
        assert_eq!((output.stderr, output.code), (expected, 2), "{line}");
    }
}

#[test]
fn events_are_told_to_who_listens_and_cost_nothing_otherwise() {
    let mut conntrack = some();
    let Run::Listen(mut printer) =
        run(&["-E", "-o", "timestamp"], &mut conntrack, Instant::ZERO, 1)
    else {
        panic!("does not listen")
    };
    conntrack.flush(Instant::ZERO, None);
    let mut listener = conntrack.listen();
    conntrack.settings.acct = true;
    fill(&mut conntrack);
    let client_fin = tcp((1, 40000), (2, 80), tcp_flags::FIN | tcp_flags::ACK, (101, 501));
    pass(&mut conntrack, &client_fin, 2);
    conntrack.gc(Instant::from_secs(40));
    let mut told = String::new();
    while let Some(Heard::Event(event)) = conntrack.hear(&mut listener) {
        told.push_str(&printer.line(&event).unwrap_or_default());
    }
    told.push_str(&printer.finish().stderr);
    expect![[r#"
        [1767603600.0     ]	    [NEW] tcp      6 120 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000
        [1767603600.0     ]	 [UPDATE] tcp      6 60 SYN_RECV src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000
        [1767603600.0     ]	 [UPDATE] tcp      6 432000 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 [ASSURED]
        [1767603601.0     ]	    [NEW] udp      17 30 src=10.0.0.1 dst=10.0.0.3 sport=5000 dport=53 [UNREPLIED] src=10.0.0.3 dst=10.0.0.1 sport=53 dport=5000
        [1767603601.0     ]	    [NEW] icmp     1 30 src=10.0.0.1 dst=10.0.0.4 type=8 code=0 id=7 [UNREPLIED] src=10.0.0.4 dst=10.0.0.1 type=0 code=0 id=7
        [1767603602.0     ]	 [UPDATE] tcp      6 120 FIN_WAIT src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 [ASSURED]
        [1767603640.0     ]	[DESTROY] udp      17 0 src=10.0.0.1 dst=10.0.0.3 sport=5000 dport=53 packets=1 bytes=28 [UNREPLIED] src=10.0.0.3 dst=10.0.0.1 sport=53 dport=5000 packets=0 bytes=0 mark=21
        [1767603640.0     ]	[DESTROY] icmp     1 0 src=10.0.0.1 dst=10.0.0.4 type=8 code=0 id=7 packets=1 bytes=28 [UNREPLIED] src=10.0.0.4 dst=10.0.0.1 type=0 code=0 id=7 packets=0 bytes=0
        conntrack v1.4.7 (conntrack-tools): 8 flow events have been shown.
    "#]]
    .assert_eq(&told);
    drop(listener);
    assert!(!conntrack.events.has_listener());
}

#[test]
fn a_listener_that_is_too_slow_is_told_what_it_lost() {
    let mut conntrack = Conntrack::default();
    let mut listener = conntrack.listen();
    for port in 0..5000 {
        pass(&mut conntrack, &packet(protocol::UDP, (1, port), (3, 53), &[0, 8, 0, 0]), 0);
    }
    let Some(Heard::Lost(lost)) = conntrack.hear(&mut listener) else { panic!("heard all") };
    assert_eq!(lost, 5000 - crate::conntrack::event::EVENTS_MAX as u64);
    assert!(matches!(conntrack.hear(&mut listener), Some(Heard::Event(_))));
}
