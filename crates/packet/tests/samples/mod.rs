//! Frames for the tests against the real tools: made by hand, and by a seed.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::net::Ipv4Addr;

use base::Rng;
use packet::reply::{IcmpError, Unreachable, finish, icmp_error, tcp_reset};
use packet::{Arp, Mac, Packet, protocol};

pub(crate) const A: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 2);
pub(crate) const B: Ipv4Addr = Ipv4Addr::new(10, 244, 2, 3);
const MAC_A: Mac = Mac([2, 0, 0, 0, 0, 1]);
const MAC_B: Mac = Mac([2, 0, 0, 0, 0, 2]);

pub(crate) fn ethernet(kind: u16, body: &[u8]) -> Vec<u8> {
    [&MAC_B.0[..], &MAC_A.0, &kind.to_be_bytes(), body].concat()
}

fn ip(packet: &Packet) -> Vec<u8> {
    ethernet(0x0800, packet.bytes())
}

/// The frame in a Linux cooked header of version 2.
pub(crate) fn cooked(frame: &[u8], ifindex: u32, direction: u8) -> Vec<u8> {
    let mut out = frame[12..14].to_vec();
    out.extend([0, 0]);
    out.extend(ifindex.to_be_bytes());
    out.extend([0, 1, direction, 6]);
    out.extend(&frame[6..12]);
    out.extend([0, 0]);
    out.extend(&frame[14..]);
    out
}

pub(crate) struct Segment<'a> {
    pub(crate) ports: (u16, u16),
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) options: &'a [u8],
    pub(crate) data: &'a [u8],
}

pub(crate) fn tcp(src: Ipv4Addr, dst: Ipv4Addr, segment: &Segment<'_>) -> Packet {
    let mut bytes = Vec::new();
    bytes.extend(segment.ports.0.to_be_bytes());
    bytes.extend(segment.ports.1.to_be_bytes());
    bytes.extend(segment.seq.to_be_bytes());
    bytes.extend(segment.ack.to_be_bytes());
    let mut options = segment.options.to_vec();
    options.resize(options.len().next_multiple_of(4).min(40), 0);
    bytes.extend([(((20 + options.len()) / 4) << 4) as u8, segment.flags]);
    bytes.extend([0xfa, 0xf0, 0, 0, 0, 7]);
    bytes.extend(options);
    bytes.extend(segment.data);
    finish(src, dst, protocol::TCP, 64, bytes)
}

pub(crate) fn udp(src: Ipv4Addr, dst: Ipv4Addr, ports: (u16, u16), data: &[u8]) -> Packet {
    let mut bytes = Vec::new();
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend((8 + data.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(data);
    finish(src, dst, protocol::UDP, 64, bytes)
}

fn icmp(kind: u8, code: u8, rest: &[u8]) -> Packet {
    finish(A, B, protocol::ICMP, 64, [&[kind, code, 0, 0], rest].concat())
}

fn name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

fn dns_head(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let mut out = id.to_be_bytes().to_vec();
    out.extend(flags.to_be_bytes());
    counts.iter().for_each(|count| out.extend(count.to_be_bytes()));
    out
}

fn question(domain: &str, kind: u16) -> Vec<u8> {
    [name(domain), kind.to_be_bytes().to_vec(), vec![0, 1]].concat()
}

fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut out = owner.to_vec();
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    out.extend(ttl.to_be_bytes());
    out.extend((data.len() as u16).to_be_bytes());
    out.extend(data);
    out
}

const POINTER: [u8; 2] = [0xc0, 12];

pub(crate) fn dns_messages() -> Vec<Vec<u8>> {
    let web = "web.default.svc.cluster.local";
    let ask = |kind| [dns_head(12345, 0x0100, [1, 0, 0, 0]), question(web, kind)].concat();
    let answer = |flags, records: &[Vec<u8>]| {
        let head = dns_head(12345, flags, [1, records.len() as u16, 0, 0]);
        [head, question(web, 1), records.concat()].concat()
    };
    let a = |last| record(&POINTER, 1, 30, &[10, 96, 0, last]);
    let srv = record(&POINTER, 33, 30, &[&[0, 0, 0, 100, 0, 80][..], &POINTER].concat());
    let soa_data = [name("ns.dns"), name("hostmaster"), (0..20).collect()].concat();
    let soa = record(&POINTER, 6, 5, &soa_data);
    let opt = [vec![0, 0, 41, 0x10, 0, 0, 0, 0x80, 0], vec![0, 12], vec![0, 10, 0, 8], vec![1; 8]]
        .concat();
    let aaaa = record(&POINTER, 28, 90_061, &[&[0xfd, 0][..], &[0; 13], &[1]].concat());
    vec![
        ask(1),
        ask(28),
        ask(33),
        ask(65),
        ask(999),
        [dns_head(1, 0x0120, [1, 0, 0, 1]), question("a.b", 1), opt.clone()].concat(),
        [dns_head(1, 0x0020, [1, 0, 0, 0]), question(".", 2)].concat(),
        [dns_head(1, 0x2900, [0, 0, 0, 0])].concat(),
        [dns_head(1, 0x0800, [1, 2, 3, 4]), question("a", 1)].concat(),
        [dns_head(2, 0x0100, [2, 0, 0, 0]), question("a.b", 1), question("c.d", 15)].concat(),
        answer(0x8580, &[a(1)]),
        answer(0x8180, &[a(1), a(2), a(3)]),
        answer(0x8583, &[]),
        answer(0x8182, &[]),
        answer(0x8780, &[]),
        answer(0x8500, &[srv, aaaa]),
        answer(
            0x8580,
            &[record(&POINTER, 5, 5, &name("x.y")), record(&name("x.y"), 1, 5, &[1, 2, 3, 4])],
        ),
        answer(
            0x8580,
            &[
                record(&POINTER, 12, 5, &name("ptr.x")),
                record(&POINTER, 16, 5, b"\x05hello\x03a b"),
            ],
        ),
        answer(
            0x8580,
            &[record(&POINTER, 15, 5, &[&[0, 10][..], &name("mx")].concat()), soa.clone()],
        ),
        [dns_head(9, 0x8583, [1, 0, 1, 1]), question(web, 1), soa.clone(), opt].concat(),
        [
            dns_head(9, 0x8580, [1, 1, 0, 0]),
            question(web, 1),
            record(&[0xc0, 80], 1, 5, &[1, 2, 3, 4]),
        ]
        .concat(),
        answer(0x8580, &[record(&POINTER, 12, 5, &[0xc0, 0x40])]),
        answer(0x8580, &[record(&POINTER, 1, 5, &[1, 2])]),
        [dns_head(9, 0x8580, [1, 3, 0, 0]), question(web, 1), a(9)].concat(),
        dns_head(9, 0x8580, [1, 0, 0, 0])[..11].to_vec(),
        [dns_head(9, 0x0100, [1, 0, 0, 0]), name("\u{1}\u{7f}x.é"), vec![0, 1, 0, 3]].concat(),
        [dns_head(9, 0x0100, [1, 0, 0, 0]), vec![0x85, 1, 2, 3]].concat(),
    ]
}

pub(crate) fn texts() -> Vec<&'static [u8]> {
    vec![
        b"GET /a?b HTTP/1.1\r\nHost: web\r\nUser-Agent: curl/8\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\nhello world",
        b"HTTP/1.1 200 OK\nServer: nginx\n\nhello\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"post / HTTP/1.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"<html>\n<body>",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTT",
        b"GET / HTTP/1.1\rX",
        b"GET",
        b"GET\tx\r",
        b"220 ready\r\n",
        b"USER x\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b"  GET / \r\n",
        b"DELETE /x HTTP/1.1\r\n\x80\r\n",
    ]
}

pub(crate) fn icmps() -> Vec<Packet> {
    let mut all = Vec::new();
    let about = [
        udp(B, A, (40000, 53), b"hello"),
        tcp(B, A, &segment(0x02, b"")),
        finish(B, A, 99, 64, vec![1; 40]),
        udp(B, A, (40000, 80), &[7; 600]),
    ];
    for sent in &about {
        use Unreachable::*;
        for why in [
            Net,
            Host,
            Protocol,
            Port,
            FragmentationNeeded(1450),
            FragmentationNeeded(0),
            NetProhibited,
            HostProhibited,
            AdminProhibited,
        ] {
            all.extend(icmp_error(sent, A, why.into()));
        }
        all.extend(icmp_error(sent, A, IcmpError::TimeExceeded));
        let quoted = sent.bytes();
        for (kind, code) in [
            (3, 5),
            (3, 6),
            (3, 7),
            (3, 8),
            (3, 11),
            (3, 12),
            (3, 14),
            (3, 15),
            (3, 99),
            (11, 1),
            (11, 7),
            (12, 0),
            (12, 1),
            (4, 0),
            (5, 0),
            (5, 1),
            (5, 2),
            (5, 3),
            (5, 9),
        ] {
            all.push(icmp(kind, code, &[&[10, 0, 0, 1][..], quoted].concat()));
        }
    }
    for kind in [0, 8, 13, 14, 15, 16, 17, 18, 10, 9, 30, 200] {
        all.push(icmp(kind, 0, &[0x12, 0x34, 0, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
    }
    all.push(icmp(9, 0, &[2, 2, 0x0e, 0x11, 1, 1, 1, 1, 0, 0, 0, 1, 2, 2, 2, 2, 0, 0, 0, 2]));
    all.push(icmp(8, 0, &[0, 1, 0, 2]));
    all.push(icmp(3, 3, &[0; 8]));
    all
}

fn segment(flags: u8, data: &[u8]) -> Segment<'_> {
    Segment { ports: (40000, 80), seq: 1000, ack: 2000, flags, options: &[], data }
}

/// A whole connection, as a browser and a server have it.
fn conversation() -> Vec<Packet> {
    let syn_options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    let stamp = [1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 1];
    let sack =
        [1, 1, 5, 18, 0, 0, 0x23, 0x28, 0, 0, 0x27, 0x10, 0, 0, 0x2a, 0xf8, 0, 0, 0x2e, 0xe0];
    let (c, s) = ((41000, 80), (80, 41000));
    let at =
        |ports, seq, ack, flags, options, data| Segment { ports, seq, ack, flags, options, data };
    vec![
        tcp(A, B, &at(c, 1000, 0, 0x02, &syn_options, b"")),
        tcp(B, A, &at(s, 9000, 1001, 0x12, &syn_options, b"")),
        tcp(A, B, &at(c, 1001, 9001, 0x10, &stamp, b"")),
        tcp(A, B, &at(c, 1001, 9001, 0x18, &stamp, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
        tcp(B, A, &at(s, 9001, 1028, 0x10, &stamp, b"")),
        tcp(B, A, &at(s, 9001, 1028, 0x18, &stamp, b"HTTP/1.1 200 OK\r\n\r\nhi")),
        tcp(A, B, &at(c, 1028, 9022, 0x10, &sack, b"")),
        tcp(B, A, &at(s, 9022, 1028, 0x11, &stamp, b"")),
        tcp(A, B, &at(c, 1028, 9023, 0x11, &stamp, b"")),
        tcp(A, B, &at(c, 5000, 0, 0x02, &[], b"")),
        tcp(B, A, &at(s, 0, 5001, 0x14, &[], b"")),
        tcp(A, B, &at(c, 5001, 0, 0x04, &[], b"connection refused by policy of the house")),
        tcp(A, A, &at((7, 7), 1, 1, 0x10, &[], b"x")),
        tcp(A, A, &at((7, 7), 2, 2, 0x10, &[], b"y")),
    ]
}

fn with_ip_options(options: &[u8]) -> Vec<u8> {
    let inner = udp(A, B, (1, 2), b"options").into_bytes();
    let mut header = inner[..20].to_vec();
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    header[0] = 0x45 + (options.len() / 4) as u8;
    let total = (inner.len() + options.len()) as u16;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[10..12].copy_from_slice(&[0, 0]);
    header.extend(&options);
    let check = packet::checksum::of(&header);
    header[10..12].copy_from_slice(&check.to_be_bytes());
    header.extend(&inner[20..]);
    ethernet(0x0800, &header)
}

fn fragment(offset_and_flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = finish(A, B, protocol::UDP, 64, payload.to_vec()).into_bytes();
    bytes[6..8].copy_from_slice(&offset_and_flags.to_be_bytes());
    bytes[10..12].copy_from_slice(&[0, 0]);
    let check = packet::checksum::of(&bytes[..20]);
    bytes[10..12].copy_from_slice(&check.to_be_bytes());
    ethernet(0x0800, &bytes)
}

fn sctp(chunks: &[u8]) -> Packet {
    finish(
        A,
        B,
        protocol::SCTP,
        64,
        [&[0x0b, 0xb8, 0x0b, 0xb9, 0, 0, 0, 1, 0, 0, 0, 0][..], chunks].concat(),
    )
}

fn arps() -> Vec<Vec<u8>> {
    let ask = Arp::who_has(B, MAC_A, A);
    let mut known = ask.to_bytes();
    known[18] = 9;
    let mut reverse = ask.to_bytes();
    reverse[7] = 3;
    let mut reverse_reply = ask.to_bytes();
    reverse_reply[7] = 4;
    let mut odd = ask.to_bytes();
    odd[2..4].copy_from_slice(&[0x12, 0x34]);
    let mut hardware = ask.to_bytes();
    hardware[1] = 6;
    let mut unknown = ask.to_bytes();
    unknown[7] = 77;
    let padded = [&ask.to_bytes()[..], &[0; 18]].concat();
    let all: [&[u8]; 9] = [
        &ask.to_bytes(),
        &ask.is_at(MAC_B).to_bytes(),
        &known,
        &reverse,
        &reverse_reply,
        &odd,
        &hardware,
        &padded,
        &unknown,
    ];
    all.iter().map(|body| ethernet(0x0806, body)).collect()
}

fn tunnels() -> Vec<Vec<u8>> {
    let inner = udp(A, B, (1, 2), b"inner");
    let frame = [&[8, 0, 0, 0, 0, 0x12, 0x34, 0][..], &ip(&inner)].concat();
    let ask = [&[8, 0, 0, 0, 0, 0, 1, 0][..], &arps()[0]].concat();
    let twice = finish(
        A,
        B,
        protocol::IPIP,
        9,
        finish(B, A, protocol::IPIP, 64, inner.bytes().to_vec()).into_bytes(),
    );
    vec![
        ip(&udp(A, B, (50000, 4789), &frame)),
        ip(&udp(A, B, (50000, 4789), &ask)),
        ip(&udp(A, B, (50000, 8472), &frame)),
        ip(&udp(A, B, (50000, 4789), &[0, 0, 0, 0, 0, 0, 1, 0, 1, 2])),
        ip(&udp(A, B, (50000, 4789), &[8, 0, 0])),
        ip(&udp(A, B, (50000, 8472), &[8, 0, 0])),
        ip(&finish(A, B, protocol::IPIP, 64, inner.bytes().to_vec())),
        ip(&twice),
        ethernet(0x8100, &[&[0x20, 100, 8, 0][..], inner.bytes()].concat()),
        ethernet(0x88a8, &[&[0, 7, 0x81, 0, 0xb0, 9, 8, 0][..], inner.bytes()].concat()),
        ethernet(0x8100, &[&[0, 5, 8, 6][..], &arps()[0][14..]].concat()),
    ]
}

fn odd_packets() -> Vec<Vec<u8>> {
    let edit = |mut bytes: Vec<u8>, at: usize, value: u8| {
        bytes[at] = value;
        bytes
    };
    let plain = || ip(&udp(A, B, (1, 2), b"plain data"));
    let seg = || ip(&tcp(A, B, &segment(0x18, b"data")));
    let mut all = vec![
        edit(plain(), 14, 0x65),
        edit(plain(), 14, 0x75),
        edit(plain(), 14, 0x44),
        edit(plain(), 17, 19),
        edit(plain(), 17, 200),
        edit(plain(), 24, 1),
        edit(plain(), 15, 0xb9),
        edit(plain(), 15, 2),
        edit(plain(), 15, 3),
        edit(plain(), 22, 0),
        edit(plain(), 39, 7),
        edit(plain(), 39, 200),
        edit(plain(), 40, 0x55),
        edit(edit(plain(), 40, 0), 41, 0),
        edit(seg(), 46, 0x40),
        edit(seg(), 46, 0xf0),
        edit(seg(), 50, 0x55),
        edit(seg(), 47, 0),
        edit(seg(), 47, 0xff),
        edit(seg(), 47, 0x38),
        ip(&finish(A, B, 99, 64, b"unknown".to_vec())),
        ip(&finish(A, B, protocol::UDP, 64, vec![0, 1, 0, 2])),
        ip(&finish(A, B, protocol::UDP, 64, vec![0, 1])),
        ip(&finish(A, B, protocol::TCP, 64, vec![0, 1, 0, 2])),
        ip(&finish(A, B, protocol::TCP, 64, vec![0])),
        ip(&finish(A, B, protocol::ICMP, 64, vec![8])),
        ip(&finish(A, B, protocol::SCTP, 64, vec![0, 1, 0, 2])),
        ethernet(0x1234, b"what is this"),
        [plain(), vec![0; 20]].concat(),
        [plain(), vec![1, 2, 3]].concat(),
    ];
    let options: [&[u8]; 12] = [
        &[1, 1, 1],
        &[7, 11, 4, 1, 2, 3, 4, 0, 0, 0, 0],
        &[131, 7, 8, 9, 9, 9, 9],
        &[137, 11, 4, 9, 9, 9, 9, 8, 8, 8, 8],
        &[68, 12, 9, 0, 0, 0, 0, 1, 0, 0, 0, 2],
        &[68, 12, 5, 1, 1, 2, 3, 4, 0, 0, 0, 9],
        &[68, 12, 13, 0x23, 1, 2, 3, 4, 0, 0, 0, 9],
        &[148, 4, 0, 0],
        &[148, 4, 0, 5],
        &[130, 4, 0, 0, 82, 4, 0, 0],
        &[200, 1],
        &[200, 40, 1],
    ];
    all.extend(options.iter().map(|options| with_ip_options(options)));
    let tcp_options: [&[u8]; 13] = [
        &[2, 3, 5],
        &[5, 6, 1, 2, 3, 4],
        &[19, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        &[28, 4, 0x80, 5],
        &[28, 4, 0, 5],
        &[6, 6, 1, 2, 3, 4, 7, 6, 1, 2, 3, 4],
        &[11, 6, 0, 0, 0, 1, 12, 6, 0, 0, 0, 1, 13, 6, 0, 0, 0, 1],
        &[20, 4, 1, 2],
        &[77, 5, 1, 2, 3],
        &[8, 9, 1, 2, 3, 4, 5, 6, 7],
        &[3, 4, 7, 7],
        &[1, 1, 0, 9],
        &[77, 60, 1, 2],
    ];
    for options in tcp_options {
        all.push(ip(&tcp(A, B, &Segment { options, ..segment(0x02, b"") })));
        all.push(ip(&tcp(A, B, &Segment { options, ports: (9, 10), ..segment(0x10, b"x") })));
    }
    all
}

pub(crate) fn hand_made() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = conversation().iter().map(ip).collect();
    for message in dns_messages() {
        all.push(ip(&udp(A, B, (40000, 53), &message)));
        all.push(ip(&udp(B, A, (5353, 5353), &message)));
        let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        all.push(ip(&tcp(A, B, &Segment { ports: (40001, 53), ..segment(0x18, &framed) })));
    }
    for text in texts() {
        for port in [80, 8080, 21, 22, 25, 554] {
            all.push(ip(&tcp(A, B, &Segment { ports: (port, 40002), ..segment(0x18, text) })));
        }
        all.push(ip(&udp(A, B, (5060, 5060), text)));
    }
    all.extend(icmps().iter().map(ip));
    all.extend(arps());
    all.extend(tunnels());
    all.extend(odd_packets());
    all.push(fragment(0x2000, &udp(A, B, (1, 2), &[5; 400]).bytes()[20..200]));
    all.push(fragment(3, &[5; 40]));
    all.push(fragment(0x2003, &[5; 40]));
    all.push(fragment(0x4000, &udp(A, B, (1, 2), b"df").bytes()[20..]));
    all.push(fragment(0x8000, &udp(A, B, (1, 2), b"evil").bytes()[20..]));
    all.extend(tcp_reset(&tcp(A, B, &segment(2, b""))).iter().map(ip));
    let chunks: [&[u8]; 9] = [
        &[1, 0, 0, 20, 0, 0, 0, 7, 0, 0, 0x10, 0, 0, 1, 0, 2, 0, 0, 0, 5],
        &[2, 0, 0, 20, 0, 0, 0, 7, 0, 0, 0x10, 0, 0, 1, 0, 2, 0, 0, 0, 5, 10, 0, 0, 4],
        &[0, 3, 0, 18, 0, 0, 0, 7, 0, 1, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 11, 0, 0, 4],
        &[0, 0, 0, 16, 0, 0, 0, 7, 0, 1, 0, 2, 0, 0, 0, 0],
        &[3, 0, 0, 24, 0, 0, 0, 7, 0, 0, 0x10, 0, 0, 1, 0, 1, 0, 2, 0, 3, 0, 0, 0, 9],
        &[14, 0, 0, 4],
        &[1, 0, 0, 8, 0, 0, 0, 0],
        &[200, 0, 0, 4, 1, 0, 0, 2],
        &[10, 0],
    ];
    all.extend(chunks.iter().map(|chunk| ip(&sctp(chunk))));
    all
}

/// Packets of the kinds above with random fields, some of them damaged.
pub(crate) fn generated(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut rng = Rng::new(seed).fork("frames");
    let hosts = [
        A,
        B,
        Ipv4Addr::new(10, 96, 0, 10),
        Ipv4Addr::new(172, 18, 0, 2),
        Ipv4Addr::new(224, 0, 0, 1),
    ];
    let ports =
        [80, 443, 53, 8080, 30007, 40000, 40001, 22, 4789, 65535, 1, 123_u16.wrapping_mul(400)];
    let (texts, messages) = (texts(), dns_messages());
    let mut all = Vec::new();
    for _ in 0..count {
        let mut pick = |n: usize| rng.below(n as u32) as usize;
        let (src, dst) = (hosts[pick(4)], hosts[pick(5)]);
        let pair = (ports[pick(12)], ports[pick(12)]);
        let data: Vec<u8> = match pick(4) {
            0 => Vec::new(),
            1 => texts[pick(texts.len())].to_vec(),
            2 => messages[pick(messages.len())].clone(),
            _ => (0..pick(60)).map(|i| (i * 7) as u8).collect(),
        };
        let mut frame = match pick(10) {
            0..=4 => {
                let letters = [2, 0x12, 0x10, 0x18, 0x11, 4, 0x14, 1, 0, 0x38, 0x52, 0xc2];
                let options: [&[u8]; 3] =
                    [&[], &[1, 1, 8, 10, 0, 0, 1, 2, 0, 0, 3, 4], &[2, 4, 5, 0xb4]];
                let (seq, ack) = (pick(5000) as u32, pick(5000) as u32);
                let flags = letters[pick(12)];
                ip(&tcp(
                    src,
                    dst,
                    &Segment {
                        ports: pair,
                        seq,
                        ack,
                        flags,
                        options: options[pick(3)],
                        data: &data,
                    },
                ))
            }
            5..=7 => ip(&udp(src, dst, pair, &data)),
            8 => {
                let all = icmps();
                ip(&all[pick(all.len())])
            }
            _ => {
                let all = arps();
                all[pick(all.len())].clone()
            }
        };
        // IPv6 is not shown; neither are packets whose version says so.
        if pick(3) == 0 {
            let at = 15 + pick(frame.len() - 15);
            frame[at] ^= 1 << pick(8);
            if frame[23] != 1 && frame[23] != 6 && frame[23] != 17 && frame[12..14] == [8, 0] {
                frame[23] = 17;
            }
        }
        all.push(frame);
    }
    all
}
