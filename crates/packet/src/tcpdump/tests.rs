use super::*;
use crate::ethernet::Mac;
use crate::ipv4::protocol;
use crate::ipv4::tcp_flags;
use crate::ipv4::tests::{addr, sample};
use crate::reply::finish;
use expect_test::{Expect, expect};

fn check(line: impl fmt::Display, expected: Expect) {
    expected.assert_eq(&line.to_string());
}

fn segment(flags: u8, options: &[u8], data: &[u8]) -> Packet {
    let mut bytes = sample(protocol::TCP, b"").payload().to_vec();
    bytes[4..8].copy_from_slice(&1000u32.to_be_bytes());
    bytes[8..12].copy_from_slice(&2000u32.to_be_bytes());
    bytes[12] = (((20 + options.len()) / 4) << 4) as u8;
    bytes[13] = flags;
    bytes.extend_from_slice(options);
    bytes.extend_from_slice(data);
    finish(addr(2), addr(3), protocol::TCP, 64, bytes)
}

#[test]
fn tcp_segments() {
    let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    check(
        Line::new(&segment(tcp_flags::SYN, &options, b"")),
        expect![
            "IP 10.244.1.2.40000 > 10.244.1.3.80: Flags [S], seq 1000, win 64000, options [mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7], length 0"
        ],
    );
    let get = segment(tcp_flags::PSH | tcp_flags::ACK, &[], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    check(
        Line::relative(&get, 999, 1999),
        expect![
            "IP 10.244.1.2.40000 > 10.244.1.3.80: Flags [P.], seq 1:28, ack 1, win 64000, length 27: HTTP: GET / HTTP/1.1"
        ],
    );
    check(
        Line::relative(&segment(tcp_flags::ACK, &[], b""), 999, 1999),
        expect!["IP 10.244.1.2.40000 > 10.244.1.3.80: Flags [.], ack 1, win 64000, length 0"],
    );
    check(
        Line::new(&segment(0, &[8, 40, 0, 0], b"")),
        expect!["IP 10.244.1.2.40000 > 10.244.1.3.80: Flags [none], win 64000, options [[bad opt]"],
    );
}

#[test]
fn other_protocols() {
    check(
        Line::new(&sample(protocol::UDP, b"12345")),
        expect!["IP 10.244.1.2.40000 > 10.244.1.3.80: UDP, length 5"],
    );
    check(
        Line::new(&sample(protocol::ICMP, &[0; 56])),
        expect!["IP 10.244.1.2 > 10.244.1.3: ICMP echo request, id 40000, seq 1, length 64"],
    );
    check(
        Line::new(&finish(addr(2), addr(3), 47, 64, vec![0; 4])),
        expect!["IP 10.244.1.2 > 10.244.1.3:  ip-proto-47 4"],
    );
    let question = Arp::who_has(addr(1), Mac([2, 0, 0, 0, 0, 1]), addr(2));
    check(question, expect!["ARP, Request who-has 10.244.1.1 tell 10.244.1.2, length 28"]);
    check(
        question.is_at(Mac([2, 0, 0, 0, 0, 9])),
        expect!["ARP, Reply 10.244.1.1 is-at 02:00:00:00:00:09, length 28"],
    );
}

#[test]
fn a_header_longer_than_a_packet_without_a_length_is_said_and_survived() {
    let mut bytes = sample(protocol::UDP, b"").into_bytes();
    (bytes[0], bytes[2], bytes[3]) = (0x4f, 0, 0);
    let packet = Captured { at: Stamp(0), link: LinkType::Raw, bytes: &bytes, len: 28 };
    let text =
        Printer::new(Options { stamp: StampStyle::None, ..Options::default() }).print(&packet);
    assert_eq!(text, "IP bad-len 0");
}
