//! Whatever is rewritten, and in whatever order: the checksums are those that a full computation gives.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod samples;

use std::net::Ipv4Addr;

use packet::ipv4::End;
use packet::reply::{Unreachable, finish, icmp_error};
use packet::{Packet, checksum, protocol};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Rewrite {
    End(bool, u32, Option<u16>),
    Ttl(u8),
    Tos(u8),
    Dscp(u8),
    Ident(u16),
    Mss(u16),
    Clamp(u16),
    Quoted(bool, u32, Option<u16>),
}

fn end(source: bool) -> End {
    if source { End::Source } else { End::Destination }
}

impl Rewrite {
    fn apply(&self, packet: &mut Packet) {
        match *self {
            Rewrite::End(source, addr, port) => packet.rewrite(end(source), addr.into(), port),
            Rewrite::Ttl(ttl) => packet.set_ttl(ttl),
            Rewrite::Tos(tos) => packet.set_tos(tos),
            Rewrite::Dscp(dscp) => packet.set_dscp(dscp),
            Rewrite::Ident(ident) => packet.set_ident(ident),
            Rewrite::Mss(mss) => drop(packet.set_tcp_mss(mss)),
            Rewrite::Clamp(mss) => {
                packet.lower_mss(mss);
            }
            Rewrite::Quoted(source, addr, port) => {
                packet.rewrite_quoted(end(source), addr.into(), port);
            }
        }
    }
}

fn rewrites() -> impl Strategy<Value = Vec<Rewrite>> {
    let one = prop_oneof![
        (any::<bool>(), any::<u32>(), any::<Option<u16>>())
            .prop_map(|(s, a, p)| Rewrite::End(s, a, p)),
        any::<u8>().prop_map(Rewrite::Ttl),
        any::<u8>().prop_map(Rewrite::Tos),
        any::<u8>().prop_map(Rewrite::Dscp),
        any::<u16>().prop_map(Rewrite::Ident),
        any::<u16>().prop_map(Rewrite::Mss),
        any::<u16>().prop_map(Rewrite::Clamp),
        (any::<bool>(), any::<u32>(), any::<Option<u16>>())
            .prop_map(|(s, a, p)| Rewrite::Quoted(s, a, p)),
    ];
    prop::collection::vec(one, 0..10)
}

const A: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 2);
const B: Ipv4Addr = Ipv4Addr::new(10, 244, 2, 3);

/// A SYN whose options begin with so many NOPs, so that the segment size stands at even and odd places.
fn syn(nops: usize, data: &[u8]) -> Packet {
    let options = [vec![1; nops], vec![2, 4, 5, 0xb4]].concat();
    let ports = (40000, 80);
    samples::tcp(
        A,
        B,
        &samples::Segment { ports, seq: 1, ack: 0, flags: 2, options: &options, data },
    )
}

fn packets() -> impl Strategy<Value = Packet> {
    let data = || prop::collection::vec(any::<u8>(), 0..60);
    prop_oneof![
        (0..6usize, data()).prop_map(|(nops, data)| syn(nops, &data)),
        data().prop_map(|data| samples::udp(A, B, (1, 2), &data)),
        data().prop_map(|data| {
            finish(A, B, protocol::ICMP, 64, [&[8, 0, 0, 0, 0, 7, 0, 1][..], &data].concat())
        }),
        data().prop_map(|data| {
            finish(
                A,
                B,
                protocol::SCTP,
                64,
                [&[0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0][..], &data].concat(),
            )
        }),
        (0..6usize, data()).prop_filter_map("an error is made", |(nops, data)| {
            icmp_error(&syn(nops, &data), B, Unreachable::Port.into())
        }),
        data().prop_filter_map("an error is made", |data| {
            icmp_error(&samples::udp(A, B, (1, 2), &data), B, Unreachable::Host.into())
        }),
    ]
}

/// The packet with all checksums computed anew.
fn recomputed(packet: &Packet) -> Packet {
    let head = packet.head();
    let payload = packet.payload().to_vec();
    let mut fresh = finish(head.src, head.dst, head.protocol, head.ttl, payload);
    fresh.set_tos(head.tos);
    fresh.set_ident(packet.ident());
    fresh
}

proptest! {
    #[test]
    fn differences_add_up_to_a_full_computation(mut packet in packets(), rewrites in rewrites()) {
        for rewrite in &rewrites {
            rewrite.apply(&mut packet);
            let whole = packet.bytes().to_vec();
            prop_assert_eq!(checksum::of(packet.header()), 0, "{:?}", rewrite);
            prop_assert!(packet.l4_checksum_ok(), "{:?} {:?}", rewrite, packet);
            let again = Packet::parse_checked(whole).unwrap();
            prop_assert_eq!(again.head(), packet.head());
        }
        let fresh = recomputed(&packet);
        prop_assert_eq!(fresh.bytes(), packet.bytes());
    }

    #[test]
    fn a_wrong_checksum_stays_wrong(mut packet in packets(), rewrites in rewrites(), flip in 1..u16::MAX) {
        let at = usize::from(packet.head().header_len) + match packet.head().protocol {
            protocol::TCP => 16,
            protocol::UDP => 6,
            protocol::SCTP => return Ok(()),
            _ => 2,
        };
        let mut bytes = packet.bytes().to_vec();
        let check = u16::from_be_bytes([bytes[at], bytes[at + 1]]) ^ flip;
        prop_assume!(check != 0 && check != u16::MAX);
        bytes[at..at + 2].copy_from_slice(&check.to_be_bytes());
        packet = Packet::parse(bytes).unwrap();
        prop_assume!(!packet.l4_checksum_ok());
        for rewrite in &rewrites {
            rewrite.apply(&mut packet);
        }
        prop_assert!(!packet.l4_checksum_ok(), "{packet:?}");
    }

    #[test]
    fn fragments_make_a_whole_with_a_right_checksum(
        data in prop::collection::vec(any::<u8>(), 40..90), source: bool, addr: u32, port: u16,
    ) {
        // The first fragment carries the ports and the checksum, the second only addresses.
        let whole = samples::udp(A, B, (1, 2), &data);
        let cut = 32;
        let fragment = |range: std::ops::Range<usize>, field: u16| {
            let mut bytes = whole.bytes()[..20].to_vec();
            bytes.extend(&whole.payload()[range]);
            let total = bytes.len() as u16;
            bytes[2..4].copy_from_slice(&total.to_be_bytes());
            bytes[6..8].copy_from_slice(&field.to_be_bytes());
            bytes[10..12].copy_from_slice(&[0, 0]);
            let check = checksum::of(&bytes[..20]);
            bytes[10..12].copy_from_slice(&check.to_be_bytes());
            Packet::parse_checked(bytes).unwrap()
        };
        let mut parts = [
            fragment(0..cut, 0x2000),
            fragment(cut..whole.payload().len(), (cut / 8) as u16),
        ];
        for part in &mut parts {
            part.rewrite(end(source), addr.into(), Some(port));
            prop_assert_eq!(checksum::of(part.header()), 0);
        }
        let payload = [parts[0].payload(), parts[1].payload()].concat();
        let head = *parts[1].head();
        prop_assert_eq!((head.src, head.dst), (parts[0].head().src, parts[0].head().dst));
        let expected = finish(head.src, head.dst, protocol::UDP, 64, payload.clone());
        prop_assert_eq!(expected.payload(), &payload[..]);
    }

    #[test]
    fn datagrams_without_a_checksum_never_get_one(rewrites in rewrites()) {
        let mut bytes = samples::udp(A, B, (1, 2), b"none").into_bytes();
        bytes[26..28].copy_from_slice(&[0, 0]);
        let mut packet = Packet::parse(bytes).unwrap();
        for rewrite in &rewrites {
            rewrite.apply(&mut packet);
        }
        prop_assert_eq!(&packet.payload()[6..8], &[0, 0]);
    }

    #[test]
    fn a_quoted_segment_that_is_cut_short_is_rewritten_as_far_as_it_is_there(
        keep in 20..60usize, source: bool, addr: u32, port: u16,
    ) {
        let about = syn(0, b"some data");
        let quote = &about.bytes()[..keep.min(about.bytes().len())];
        let message = [&[3, 1, 0, 0, 0, 0, 0, 0][..], quote].concat();
        let mut error = finish(B, A, protocol::ICMP, 64, message);
        error.rewrite_quoted(end(source), addr.into(), Some(port));
        prop_assert!(error.l4_checksum_ok());
        let inner = &error.payload()[8..];
        prop_assert_eq!(checksum::of(&inner[..20]), 0);
    }
}

#[test]
fn a_segment_size_is_lowered_and_never_raised() {
    let mut packet = syn(1, b"");
    assert_eq!(packet.tcp_mss(), Some(1460));
    assert_eq!(packet.lower_mss(1460), None);
    assert_eq!(packet.lower_mss(1410), Some((1460, 1410)));
    assert_eq!(packet.lower_mss(1500), None);
    assert_eq!(packet.tcp_mss(), Some(1410));
    assert_eq!(samples::udp(A, B, (1, 2), b"").tcp_mss(), None);
}
