//! The packets that are made about a packet: ICMP errors and TCP resets.

use std::net::Ipv4Addr;

use crate::checksum;
use crate::ipv4::{Fragment, L4, Packet, protocol, tcp_flags};
use crate::put_u16;

/// Why a destination cannot be reached: the codes of ICMP type 3 (RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreachable {
    /// Code 0, no route.
    Net,
    /// Code 1, the next hop does not answer ARP.
    Host,
    /// Code 2.
    Protocol,
    /// Code 3, nobody listens there.
    Port,
    /// Code 4, larger than the next link takes while "don't fragment" is set; carries that link's MTU.
    FragmentationNeeded(u16),
    /// Code 9.
    NetProhibited,
    /// Code 10.
    HostProhibited,
    /// Code 13, a filter says no.
    AdminProhibited,
}

/// An ICMP error message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Type 3.
    Unreachable(Unreachable),
    /// Type 11, code 0: the TTL ran out on the way.
    TimeExceeded,
}

impl From<Unreachable> for IcmpError {
    fn from(why: Unreachable) -> Self {
        IcmpError::Unreachable(why)
    }
}

impl IcmpError {
    /// Type, code and the rest of the header.
    fn fields(self) -> (u8, u8, u16) {
        match self {
            IcmpError::TimeExceeded => (11, 0, 0),
            IcmpError::Unreachable(why) => match why {
                Unreachable::Net => (3, 0, 0),
                Unreachable::Host => (3, 1, 0),
                Unreachable::Protocol => (3, 2, 0),
                Unreachable::Port => (3, 3, 0),
                Unreachable::FragmentationNeeded(mtu) => (3, 4, mtu),
                Unreachable::NetProhibited => (3, 9, 0),
                Unreachable::HostProhibited => (3, 10, 0),
                Unreachable::AdminProhibited => (3, 13, 0),
            },
        }
    }
}

/// The first type that is not among those the kernel knows (`NR_ICMP_TYPES` and one).
const ICMP_TYPE_MAX: u8 = 19;

/// Longest ICMP error in bytes, IP header included (RFC 1812 §4.3.2.3).
const ICMP_ERROR_MAX: usize = 576;

/// The ICMP error `why` about `about`, sent by `src` to the sender of `about`.
///
/// `None` where an error must not be sent (RFC 1122 §3.2.2): about an ICMP error, a later fragment, or a
/// packet whose source is not one host. Of ICMP, only questions and answers are not
/// errors here (`icmp_pointers`).
pub fn icmp_error(about: &Packet, src: Ipv4Addr, why: IcmpError) -> Option<Packet> {
    let head = about.head();
    let is_error = matches!(head.l4, L4::Icmp { kind: 1..=7 | 9..=12 | ICMP_TYPE_MAX.., .. });
    if is_error || head.fragment.offset != 0 || !is_one_host(head.src) {
        return None;
    }
    let (kind, code, rest) = why.fields();
    let quote = about.bytes().get(..about.bytes().len().min(ICMP_ERROR_MAX - 28))?;
    let mut message = vec![kind, code, 0, 0, 0, 0];
    message.extend_from_slice(&rest.to_be_bytes());
    message.extend_from_slice(quote);
    Some(finish(src, head.src, protocol::ICMP, 64, message))
}

/// The TCP reset that answers `about`, from its destination to its source (RFC 9293 §3.5.2).
///
/// `None` for a packet that is not TCP, is itself a reset, or is a fragment.
pub fn tcp_reset(about: &Packet) -> Option<Packet> {
    let head = about.head();
    let L4::Tcp { sport, dport, flags } = head.l4 else { return None };
    if flags & tcp_flags::RST != 0 || head.fragment != Fragment::default() {
        return None;
    }
    let (seq, ack) = about.tcp_numbers()?;
    let (seq, ack, flags) = if flags & tcp_flags::ACK != 0 {
        (ack, 0, tcp_flags::RST)
    } else {
        let phantom =
            u32::from(flags & tcp_flags::SYN != 0) + u32::from(flags & tcp_flags::FIN != 0);
        let len = about.data().len() as u32;
        (0, seq.wrapping_add(len).wrapping_add(phantom), tcp_flags::RST | tcp_flags::ACK)
    };
    let mut segment = Vec::with_capacity(20);
    segment.extend_from_slice(&dport.to_be_bytes());
    segment.extend_from_slice(&sport.to_be_bytes());
    segment.extend_from_slice(&seq.to_be_bytes());
    segment.extend_from_slice(&ack.to_be_bytes());
    segment.extend_from_slice(&[5 << 4, flags, 0, 0, 0, 0, 0, 0]);
    let mut reset = finish(head.dst, head.src, protocol::TCP, 64, segment);
    // As the kernel's own resets and those of `REJECT`.
    reset.set_dont_fragment();
    Some(reset)
}

fn is_one_host(addr: Ipv4Addr) -> bool {
    !(addr.is_unspecified() || addr.is_broadcast() || addr.is_multicast())
}

/// Puts an IPv4 header before `payload` and fills in the checksums.
///
/// A payload too long for an IPv4 packet is cut.
pub fn finish(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, ttl: u8, mut payload: Vec<u8>) -> Packet {
    payload.truncate(usize::from(u16::MAX) - 20);
    fill_l4_checksum(src, dst, protocol, &mut payload);
    let total_len = 20 + payload.len() as u16;
    let mut bytes = Vec::with_capacity(usize::from(total_len));
    bytes.extend_from_slice(&[0x45, 0]);
    bytes.extend_from_slice(&total_len.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 0, ttl, protocol, 0, 0]);
    bytes.extend_from_slice(&src.octets());
    bytes.extend_from_slice(&dst.octets());
    let check = checksum::of(&bytes);
    put_u16(&mut bytes, 10, check);
    bytes.extend_from_slice(&payload);
    Packet::parse(bytes).expect("the header was written just above")
}

fn fill_l4_checksum(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &mut [u8]) {
    if protocol == protocol::SCTP {
        return checksum::fill_sctp(payload);
    }
    let pseudo = checksum::pseudo_header(src, dst, protocol, payload.len() as u16);
    let (at, initial) = match protocol {
        protocol::TCP => (16, pseudo),
        protocol::UDP => (6, pseudo),
        protocol::ICMP => (2, 0),
        _ => return,
    };
    put_u16(payload, at, 0);
    let check = !checksum::fold(checksum::sum(initial, payload));
    put_u16(payload, at, if protocol == protocol::UDP && check == 0 { 0xffff } else { check });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv4::tests::{addr, sample};
    use expect_test::expect;

    fn check(reply: Option<Packet>, expected: expect_test::Expect) {
        let shown = reply.map_or_else(
            || "nothing".to_string(),
            |packet| {
                assert!(packet.l4_checksum_ok());
                crate::tcpdump::Line::new(&packet).to_string()
            },
        );
        expected.assert_eq(&shown);
    }

    #[test]
    fn errors_quote_the_packet_they_are_about() {
        let about = sample(protocol::UDP, b"hello");
        check(
            icmp_error(&about, addr(3), Unreachable::Port.into()),
            expect![
                "IP 10.244.1.3 > 10.244.1.2: ICMP 10.244.1.3 udp port 80 unreachable, length 41"
            ],
        );
        check(
            icmp_error(&about, addr(1), IcmpError::TimeExceeded),
            expect!["IP 10.244.1.1 > 10.244.1.2: ICMP time exceeded in-transit, length 41"],
        );
        check(
            icmp_error(&about, addr(1), Unreachable::FragmentationNeeded(1450).into()),
            expect![
                "IP 10.244.1.1 > 10.244.1.2: ICMP 10.244.1.3 unreachable - need to frag (mtu 1450), length 41"
            ],
        );
    }

    #[test]
    fn no_error_about_an_error() {
        let about = sample(protocol::UDP, b"");
        let error = icmp_error(&about, addr(3), Unreachable::Port.into()).unwrap();
        check(icmp_error(&error, addr(2), Unreachable::Host.into()), expect!["nothing"]);
    }

    #[test]
    fn long_packets_are_quoted_up_to_the_limit() {
        let about = sample(protocol::UDP, &[7; 1400]);
        let error = icmp_error(&about, addr(3), Unreachable::Port.into()).unwrap();
        assert_eq!(error.bytes().len(), ICMP_ERROR_MAX);
    }

    #[test]
    fn a_reset_acknowledges_the_syn_it_refuses() {
        let syn = sample(protocol::TCP, b"");
        check(
            tcp_reset(&syn),
            expect![
                "IP 10.244.1.3.80 > 10.244.1.2.40000: Flags [R.], seq 0, ack 1, win 0, length 0"
            ],
        );
        check(tcp_reset(&tcp_reset(&syn).unwrap()), expect!["nothing"]);
        check(tcp_reset(&sample(protocol::UDP, b"")), expect!["nothing"]);
    }
}
