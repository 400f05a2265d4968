//! IPv4 packets: parsed once, rewritten in place.

use std::fmt;
use std::net::Ipv4Addr;

use crate::checksum;
use crate::{put_u16, u16_at, u32_at};

/// IP protocol numbers (IANA) that the lab speaks.
pub mod protocol {
    /// Internet Control Message Protocol.
    pub const ICMP: u8 = 1;
    /// IP in IP.
    pub const IPIP: u8 = 4;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// Stream Control Transmission Protocol.
    pub const SCTP: u8 = 132;
}

/// TCP control bits (RFC 9293 §3.1).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment field is significant.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer is significant.
    pub const URG: u8 = 0x20;
    /// ECN echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
}

/// The segment size that a peer may count on without being told (RFC 9293 §3.7.1).
pub const MSS_DEFAULT: u16 = 536;

/// Why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than the header, or the header's own length field, asks for.
    Truncated,
    /// The version field is not 4, or the address family is another.
    NotIpv4,
    /// The header length or total length field contradicts the rest.
    BadLength,
    /// The header checksum is wrong.
    BadChecksum,
    /// The frame carries an 802.1Q tag of this VLAN; links here know none.
    Tagged(u16),
    /// The frame carries something else than IPv4 and ARP.
    EtherType(u16),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Tagged(vlan) => return write!(f, "tagged for VLAN {vlan} (802.1Q)"),
            Malformed::EtherType(kind) => return write!(f, "unknown EtherType 0x{kind:04x}"),
            Malformed::Truncated => "the packet is cut short",
            Malformed::NotIpv4 => "not an IPv4 packet",
            Malformed::BadLength => "the length fields contradict each other",
            Malformed::BadChecksum => "the header checksum is wrong",
        })
    }
}

/// Where in a datagram a fragment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Fragment {
    /// Offset in bytes.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
}

/// What stands at the beginning of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum L4 {
    /// A TCP header.
    Tcp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// Control bits, see [`tcp_flags`].
        flags: u8,
    },
    /// A UDP header.
    Udp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
    },
    /// An SCTP common header.
    Sctp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
    },
    /// An ICMP header.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier of a query; 0 where the type has none.
        id: u16,
    },
    /// Another protocol, a later fragment, or a header that is cut short.
    Other,
}

impl L4 {
    /// Source and destination port, where the protocol has them.
    pub fn ports(self) -> Option<(u16, u16)> {
        match self {
            L4::Tcp { sport, dport, .. } | L4::Udp { sport, dport } | L4::Sctp { sport, dport } => {
                Some((sport, dport))
            }
            L4::Icmp { .. } | L4::Other => None,
        }
    }
}

/// The fields of a packet that decisions are made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol of the payload, see [`protocol`].
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// Length of the IP header in bytes.
    pub header_len: u8,
    /// Length of the whole packet in bytes.
    pub total_len: u16,
    /// Place in a fragmented datagram.
    pub fragment: Fragment,
    /// The payload's header.
    pub l4: L4,
}

impl Head {
    /// Reads the header at the beginning of `bytes`. `whole` asks that the total length be there too,
    /// as it is for a packet of its own but not for one quoted in an ICMP error.
    fn parse(bytes: &[u8], whole: bool) -> Result<Head, Malformed> {
        let first = *bytes.first().ok_or(Malformed::Truncated)?;
        if first >> 4 != 4 {
            return Err(Malformed::NotIpv4);
        }
        let header_len = usize::from(first & 0xf) * 4;
        if header_len < 20 {
            return Err(Malformed::BadLength);
        }
        let Some(header) = bytes.get(..header_len) else { return Err(Malformed::Truncated) };
        let total_len = u16_at(header, 2).ok_or(Malformed::Truncated)?;
        if usize::from(total_len) < header_len {
            return Err(Malformed::BadLength);
        }
        if whole && bytes.len() < usize::from(total_len) {
            return Err(Malformed::Truncated);
        }
        let flags = u16_at(header, 6).ok_or(Malformed::Truncated)?;
        let fragment = Fragment { offset: (flags & 0x1fff) * 8, more: flags & 0x2000 != 0 };
        let addr = |at| u32_at(header, at).map(Ipv4Addr::from).ok_or(Malformed::Truncated);
        let byte = |at: usize| header.get(at).copied().ok_or(Malformed::Truncated);
        let protocol = byte(9)?;
        let payload_end = bytes.len().min(usize::from(total_len));
        let payload = bytes.get(header_len..payload_end).unwrap_or_default();
        Ok(Head {
            src: addr(12)?,
            dst: addr(16)?,
            protocol,
            ttl: byte(8)?,
            tos: byte(1)?,
            header_len: header_len as u8,
            total_len,
            fragment,
            l4: if fragment.offset == 0 { parse_l4(protocol, payload, whole) } else { L4::Other },
        })
    }

    /// Source and destination port, where the protocol has them.
    pub fn ports(&self) -> Option<(u16, u16)> {
        self.l4.ports()
    }

    /// A TCP segment that opens a connection: SYN without ACK.
    pub fn is_tcp_syn(&self) -> bool {
        matches!(self.l4, L4::Tcp { flags, .. } if flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN)
    }

    /// An ICMP message about another packet (RFC 792: types 3, 4, 5, 11, 12), which must never cause one.
    pub fn is_icmp_error(&self) -> bool {
        matches!(self.l4, L4::Icmp { kind: 3 | 4 | 5 | 11 | 12, .. })
    }
}

/// `whole`: the payload is all there, so the header must be; a quoted packet has only 8 bytes for certain.
fn parse_l4(protocol: u8, payload: &[u8], whole: bool) -> L4 {
    let need = match (protocol, whole) {
        (protocol::TCP, true) => 20,
        (protocol::SCTP, true) => 12,
        _ => 8,
    };
    if payload.len() < need {
        return L4::Other;
    }
    let word = |at| u16_at(payload, at).unwrap_or_default();
    let byte = |at: usize| payload.get(at).copied().unwrap_or_default();
    match protocol {
        protocol::TCP => L4::Tcp { sport: word(0), dport: word(2), flags: byte(13) },
        protocol::UDP => L4::Udp { sport: word(0), dport: word(2) },
        protocol::SCTP => L4::Sctp { sport: word(0), dport: word(2) },
        protocol::ICMP => {
            let kind = byte(0);
            let has_id = matches!(kind, 0 | 8 | 13 | 14 | 15 | 16 | 17 | 18);
            L4::Icmp { kind, code: byte(1), id: if has_id { word(4) } else { 0 } }
        }
        _ => L4::Other,
    }
}

/// Which end of a packet a rewrite touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Source address and port.
    Source,
    /// Destination address and port.
    Destination,
}

/// An IPv4 packet: its bytes, and its header fields parsed once.
///
/// The two are kept in step; every change goes through the methods here, which adjust the checksums.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    bytes: Vec<u8>,
    head: Head,
}

impl Packet {
    /// Takes a packet whose header checksum is known to be right, as the lab's own stacks make them.
    /// Bytes after the total length (Ethernet padding) are cut off.
    pub fn parse(mut bytes: Vec<u8>) -> Result<Packet, Malformed> {
        let head = Head::parse(&bytes, true)?;
        bytes.truncate(usize::from(head.total_len));
        Ok(Packet { bytes, head })
    }

    /// Takes a packet from outside, checking the header checksum as a kernel does on receipt
    /// (`net/ipv4/ip_input.c`).
    pub fn parse_checked(bytes: Vec<u8>) -> Result<Packet, Malformed> {
        let packet = Packet::parse(bytes)?;
        if checksum::fold(checksum::sum(0, packet.header())) != 0xffff {
            return Err(Malformed::BadChecksum);
        }
        Ok(packet)
    }

    /// The fields decisions are made on.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The packet as it stands.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives the buffer back, for reuse.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn l4_at(&self) -> usize {
        usize::from(self.head.header_len)
    }

    /// The IP header with its options.
    pub fn header(&self) -> &[u8] {
        self.bytes.get(..self.l4_at()).unwrap_or_default()
    }

    /// Everything after the IP header.
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(self.l4_at()..).unwrap_or_default()
    }

    /// The data after the TCP or UDP header; empty for others.
    pub fn data(&self) -> &[u8] {
        let payload = self.payload();
        let skip = match self.head.l4 {
            L4::Tcp { .. } => payload.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4),
            L4::Udp { .. } => 8,
            _ => return &[],
        };
        payload.get(skip..).unwrap_or_default()
    }

    /// TCP sequence and acknowledgment number.
    pub fn tcp_numbers(&self) -> Option<(u32, u32)> {
        matches!(self.head.l4, L4::Tcp { .. })
            .then(|| Some((u32_at(self.payload(), 4)?, u32_at(self.payload(), 8)?)))
            .flatten()
    }

    /// "Don't fragment" is set.
    pub fn dont_fragment(&self) -> bool {
        self.bytes.get(6).is_some_and(|flags| flags & 0x40 != 0)
    }

    /// Sets "don't fragment".
    pub fn set_dont_fragment(&mut self) {
        let flags = u16_at(&self.bytes, 6).unwrap_or_default();
        self.set_header_word(6, flags | 0x4000);
    }

    /// The identification field.
    pub fn ident(&self) -> u16 {
        u16_at(&self.bytes, 4).unwrap_or_default()
    }

    /// Sets the identification field.
    pub fn set_ident(&mut self, ident: u16) {
        self.set_header_word(4, ident);
    }

    /// Takes one from the time to live. `false`: it was 1 or 0, and the packet must not go on.
    pub fn decrement_ttl(&mut self) -> bool {
        if self.head.ttl <= 1 {
            return false;
        }
        self.set_ttl(self.head.ttl - 1);
        true
    }

    /// Sets the time to live.
    pub fn set_ttl(&mut self, ttl: u8) {
        self.head.ttl = ttl;
        self.set_header_word(8, u16::from_be_bytes([ttl, self.head.protocol]));
    }

    /// Sets the type of service: DSCP and ECN together.
    pub fn set_tos(&mut self, tos: u8) {
        let first = self.bytes.first().copied().unwrap_or_default();
        self.head.tos = tos;
        self.set_header_word(0, u16::from_be_bytes([first, tos]));
    }

    /// Sets the differentiated services code point (RFC 2474 §3) and leaves ECN alone.
    pub fn set_dscp(&mut self, dscp: u8) {
        self.set_tos((dscp << 2) | (self.head.tos & 0x03));
    }

    /// The maximum segment size that a TCP segment announces.
    pub fn tcp_mss(&self) -> Option<u16> {
        let (_, value) = self.mss_option()?;
        Some(value)
    }

    /// Replaces the maximum segment size that a SYN announces. `false`: it announces none.
    pub fn set_tcp_mss(&mut self, mss: u16) -> bool {
        let Some((at, _)) = self.mss_option() else { return false };
        self.patch_l4(at, &mss.to_be_bytes());
        true
    }

    /// Lowers the maximum segment size that a SYN announces to `most`, as `TCPMSS` does, which never raises it
    /// (`net/netfilter/xt_TCPMSS.c`). A SYN that announces none counts on [`MSS_DEFAULT`], and gets at most
    /// that. Size before and after, where it was changed.
    pub fn lower_mss(&mut self, most: u16) -> Option<(u16, u16)> {
        let L4::Tcp { flags, .. } = self.head.l4 else { return None };
        if flags & tcp_flags::SYN == 0 || self.head.fragment != Fragment::default() {
            return None;
        }
        let Some(old) = self.tcp_mss() else {
            let mss = most.min(MSS_DEFAULT);
            return self.insert_mss(mss).map(|()| (MSS_DEFAULT, mss));
        };
        if old <= most {
            return None;
        }
        self.set_tcp_mss(most);
        Some((old, most))
    }

    /// Puts the option before the others. Not where data follows, which would have to move, nor where the
    /// header has no room.
    fn insert_mss(&mut self, mss: u16) -> Option<()> {
        let (at, header_len) = (self.l4_at(), usize::from(self.payload().get(12)? >> 4) * 4);
        if self.payload().len() != header_len || header_len >= 60 {
            return None;
        }
        let [high, low] = mss.to_be_bytes();
        let offset_word = u16_at(&self.bytes, at + 12)?;
        // By difference, so that a segment that was damaged stays so.
        let changes = [
            (header_len as u16, header_len as u16 + 4),
            (0, u16::from_be_bytes([2, 4])),
            (0, mss),
            (offset_word, offset_word + (1 << 12)),
        ];
        let check = u16_at(&self.bytes, at + 16)?;
        let check = changes.into_iter().fold(check, |c, (old, new)| checksum::adjust(c, old, new));
        self.bytes.splice(at + 20..at + 20, [2, 4, high, low]);
        put_u16(&mut self.bytes, at + 12, offset_word + (1 << 12));
        put_u16(&mut self.bytes, at + 16, check);
        self.head.total_len += 4;
        self.set_header_word(2, self.head.total_len);
        Some(())
    }

    /// Where in the payload the value of the option stands, and the value.
    fn mss_option(&self) -> Option<(usize, u16)> {
        if !matches!(self.head.l4, L4::Tcp { .. }) {
            return None;
        }
        let payload = self.payload();
        let end = payload.get(12).map(|offset| usize::from(offset >> 4) * 4)?;
        let options = payload.get(..end)?;
        let mut at = 20;
        loop {
            match *options.get(at)? {
                0 => return None,
                1 => at += 1,
                kind => {
                    let len = usize::from(*options.get(at + 1)?);
                    if len < 2 {
                        return None;
                    }
                    if kind == 2 && len == 4 {
                        return Some((at + 2, u16_at(options, at + 2)?));
                    }
                    at += len;
                }
            }
        }
    }

    /// Overwrites bytes of a TCP payload and adjusts its checksum, wherever in a word they stand.
    fn patch_l4(&mut self, at: usize, new: &[u8]) {
        let Some(check_at) = l4_checksum_at(self.head.protocol) else { return };
        let (l4_at, protocol) = (self.l4_at(), self.head.protocol);
        let words = l4_at + (at & !1)..l4_at + at + new.len() + ((at + new.len()) & 1);
        let end = words.end.min(self.bytes.len());
        let words = words.start..end;
        let Some(before) = self.bytes.get(words.clone()).map(|b| checksum::sum(0, b)) else {
            return;
        };
        if let Some(field) = self.bytes.get_mut(l4_at + at..l4_at + at + new.len()) {
            field.copy_from_slice(new);
        }
        let after = checksum::sum(0, self.bytes.get(words).unwrap_or_default());
        let changes = u32::from(!checksum::fold(before)) + u32::from(checksum::fold(after));
        adjust_l4(&mut self.bytes, l4_at + check_at, protocol, changes);
    }

    /// Replaces a word of the IP header and adjusts its checksum.
    fn set_header_word(&mut self, at: usize, new: u16) {
        let old = u16_at(&self.bytes, at).unwrap_or_default();
        let check = u16_at(&self.bytes, 10).unwrap_or_default();
        put_u16(&mut self.bytes, at, new);
        put_u16(&mut self.bytes, 10, checksum::adjust(check, old, new));
    }

    /// Rewrites the address of one end, and its port where the protocol has ports.
    ///
    /// For ICMP queries `port` is the identifier, whichever end is named, as conntrack sees it.
    pub fn rewrite(&mut self, end: End, addr: Ipv4Addr, port: Option<u16>) {
        rewrite_at(&mut self.bytes, &mut self.head, end, addr, port);
        // CRC32c covers the ports but not the addresses, and cannot be adjusted by difference
        // (net/netfilter/nf_nat_proto.c).
        if port.is_some()
            && matches!(self.head.l4, L4::Sctp { .. })
            && self.head.fragment == Fragment::default()
        {
            let l4_at = self.l4_at();
            checksum::fill_sctp(self.bytes.get_mut(l4_at..).unwrap_or_default());
        }
    }

    /// The packet quoted in an ICMP error, as far as it is there.
    pub fn quoted(&self) -> Option<Head> {
        if !self.head.is_icmp_error() {
            return None;
        }
        Head::parse(self.payload().get(8..)?, false).ok()
    }

    /// Rewrites one end of the packet quoted in an ICMP error and the outer checksum
    /// (`net/netfilter/nf_nat_proto.c`, reply translation of ICMP errors).
    pub fn rewrite_quoted(&mut self, end: End, addr: Ipv4Addr, port: Option<u16>) {
        let Some(mut quoted) = self.quoted() else { return };
        let l4_at = self.l4_at();
        let Some(inner) = self.bytes.get_mut(l4_at + 8..) else { return };
        // All that changes lies within the quoted header and the 20 bytes behind it.
        let reach = inner.len().min(usize::from(quoted.header_len) + 20);
        let before = checksum::sum(0, inner.get(..reach).unwrap_or_default());
        rewrite_at(inner, &mut quoted, end, addr, port);
        // The kernel sums up what is quoted of SCTP as if it were all.
        if port.is_some() && matches!(quoted.l4, L4::Sctp { .. }) {
            let quoted_l4 = usize::from(quoted.header_len);
            checksum::fill_sctp(inner.get_mut(quoted_l4..).unwrap_or_default());
        }
        let after = checksum::sum(0, inner.get(..reach).unwrap_or_default());
        if self.head.fragment == Fragment::default()
            && let Some(check) = u16_at(&self.bytes, l4_at + 2)
        {
            put_u16(&mut self.bytes, l4_at + 2, checksum::adjust_sum(check, before, after));
        }
    }

    /// Whether the checksum of the payload is right. True where there is none to check: other protocols,
    /// fragments, UDP without checksum.
    pub fn l4_checksum_ok(&self) -> bool {
        let Head { src, dst, protocol, fragment, .. } = self.head;
        if fragment != Fragment::default() {
            return true;
        }
        let payload = self.payload();
        let pseudo = checksum::pseudo_header(src, dst, protocol, payload.len() as u16);
        let sum = match self.head.l4 {
            L4::Tcp { .. } => checksum::sum(pseudo, payload),
            L4::Udp { .. } if u16_at(payload, 6) == Some(0) => return true,
            L4::Udp { .. } => checksum::sum(pseudo, payload),
            L4::Icmp { .. } => checksum::sum(0, payload),
            L4::Sctp { .. } => return checksum::sctp_ok(payload),
            L4::Other => return true,
        };
        checksum::fold(sum) == 0xffff
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packet({})", crate::tcpdump::Line::new(self))
    }
}

/// Where the checksum of a protocol's header stands, and whether it covers the pseudo header.
fn l4_checksum_at(protocol: u8) -> Option<usize> {
    match protocol {
        protocol::TCP => Some(16),
        protocol::UDP => Some(6),
        _ => None,
    }
}

/// Rewrites one end of the packet at the beginning of `bytes`, which may be cut short after 8 bytes of
/// payload; checksum fields that are not there are left alone.
fn rewrite_at(bytes: &mut [u8], head: &mut Head, end: End, addr: Ipv4Addr, port: Option<u16>) {
    let (addr_at, port_at) = match end {
        End::Source => (12, 0),
        End::Destination => (16, 2),
    };
    let old_addr = match end {
        End::Source => std::mem::replace(&mut head.src, addr),
        End::Destination => std::mem::replace(&mut head.dst, addr),
    };
    if let Some(field) = bytes.get_mut(addr_at..addr_at + 4) {
        field.copy_from_slice(&addr.octets());
    }
    let by_addr = checksum::change_of_addr(old_addr, addr);
    if let Some(check) = u16_at(bytes, 10) {
        put_u16(bytes, 10, checksum::adjust_by(check, by_addr));
    }
    if head.fragment.offset != 0 {
        return;
    }
    let l4_at = usize::from(head.header_len);
    let by_port = port.map_or(0, |port| rewrite_port(bytes, head, l4_at, port_at, port));
    match (l4_checksum_at(head.protocol), head.l4) {
        (Some(at), _) => adjust_l4(bytes, l4_at + at, head.protocol, by_addr + by_port),
        // The sum of ICMP is not over the addresses.
        (None, L4::Icmp { .. }) => adjust_l4(bytes, l4_at + 2, head.protocol, by_port),
        _ => {}
    }
}

/// What the change adds to the sum.
#[inline]
fn rewrite_port(bytes: &mut [u8], head: &mut Head, l4_at: usize, port_at: usize, port: u16) -> u32 {
    let field_at = match &mut head.l4 {
        L4::Tcp { sport, dport, .. } | L4::Udp { sport, dport } | L4::Sctp { sport, dport } => {
            *(if port_at == 0 { sport } else { dport }) = port;
            l4_at + port_at
        }
        L4::Icmp { kind: 0 | 8 | 13..=18, id, .. } => {
            *id = port;
            l4_at + 4
        }
        L4::Icmp { .. } | L4::Other => return 0,
    };
    let Some(old) = u16_at(bytes, field_at) else { return 0 };
    put_u16(bytes, field_at, port);
    checksum::change(old, port)
}

/// UDP's checksum 0 means "none" and stays; a computed 0 is sent as 0xffff (RFC 768).
fn adjust_l4(bytes: &mut [u8], at: usize, protocol: u8, changes: u32) {
    let Some(check) = u16_at(bytes, at) else { return };
    if changes == 0 || protocol == protocol::UDP && check == 0 {
        return;
    }
    let new = checksum::adjust_by(check, changes);
    put_u16(bytes, at, if protocol == protocol::UDP && new == 0 { 0xffff } else { new });
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::reply;
    use proptest::prelude::*;

    pub(crate) fn addr(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, 1, last)
    }

    /// A valid packet of `protocol` with ports 40000 → 80 and `data`.
    pub(crate) fn sample(protocol: u8, data: &[u8]) -> Packet {
        let mut l4 = match protocol {
            protocol::TCP => {
                let mut header = vec![0; 20];
                header[12] = 5 << 4;
                header[13] = tcp_flags::SYN;
                header[14] = 0xfa;
                header
            }
            protocol::UDP => vec![0; 8],
            _ => vec![8, 0, 0, 0, 0x9c, 0x40, 0, 1],
        };
        if protocol != protocol::ICMP {
            put_u16(&mut l4, 0, 40000);
            put_u16(&mut l4, 2, 80);
        }
        if protocol == protocol::UDP {
            put_u16(&mut l4, 4, 8 + data.len() as u16);
        }
        l4.extend_from_slice(data);
        reply::finish(addr(2), addr(3), protocol, 64, l4)
    }

    #[test]
    fn refuses_what_is_not_a_packet() {
        let good = sample(protocol::TCP, b"").into_bytes();
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        assert_eq!(Packet::parse(vec![]), Err(Malformed::Truncated));
        assert_eq!(Packet::parse(with(0, 0x65)), Err(Malformed::NotIpv4));
        assert_eq!(Packet::parse(with(0, 0x44)), Err(Malformed::BadLength));
        assert_eq!(Packet::parse(with(3, 19)), Err(Malformed::BadLength));
        assert_eq!(Packet::parse(with(3, 41)), Err(Malformed::Truncated));
        assert_eq!(Packet::parse_checked(with(8, 63)), Err(Malformed::BadChecksum));
        assert!(Packet::parse_checked(good).is_ok());
    }

    #[test]
    fn padding_after_the_packet_is_cut_off() {
        let mut bytes = sample(protocol::UDP, b"x").into_bytes();
        let len = bytes.len();
        bytes.extend([0; 9]);
        assert_eq!(Packet::parse(bytes).unwrap().bytes().len(), len);
    }

    #[test]
    fn ttl_runs_out_at_one() {
        let mut packet = sample(protocol::UDP, b"");
        packet.set_ttl(2);
        assert!(packet.decrement_ttl());
        assert!(!packet.decrement_ttl());
        assert!(Packet::parse_checked(packet.into_bytes()).is_ok());
    }

    #[test]
    fn udp_without_checksum_keeps_none() {
        let mut bytes = sample(protocol::UDP, b"x").into_bytes();
        put_u16(&mut bytes, 26, 0);
        let mut packet = Packet::parse(bytes).unwrap();
        packet.rewrite(End::Source, addr(9), Some(1));
        assert_eq!(u16_at(packet.payload(), 6), Some(0));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(mut packet) = Packet::parse_checked(bytes) {
                packet.rewrite(End::Source, addr(1), Some(7));
                packet.rewrite_quoted(End::Destination, addr(1), Some(7));
                let _ = (packet.data(), packet.l4_checksum_ok(), format!("{packet:?}"));
            }
        }

        #[test]
        fn rewriting_keeps_checksums_right_and_head_in_step(
            protocol in prop::sample::select(vec![protocol::TCP, protocol::UDP, protocol::ICMP]),
            data in prop::collection::vec(any::<u8>(), 0..40),
            rewrites in prop::collection::vec((any::<bool>(), any::<u32>(), any::<Option<u16>>()), 0..5),
        ) {
            let mut packet = sample(protocol, &data);
            for (source, to, port) in rewrites {
                let end = if source { End::Source } else { End::Destination };
                packet.rewrite(end, to.into(), port);
            }
            prop_assert!(packet.l4_checksum_ok());
            let again = Packet::parse_checked(packet.bytes().to_vec()).unwrap();
            prop_assert_eq!(again.head(), packet.head());
        }

        #[test]
        fn rewriting_back_gives_the_same_bytes(to: u32, port: u16) {
            let mut packet = sample(protocol::TCP, b"GET / HTTP/1.1\r\n");
            let before = packet.clone();
            packet.rewrite(End::Destination, to.into(), Some(port));
            packet.rewrite(End::Destination, addr(3), Some(80));
            prop_assert_eq!(packet, before);
        }

        #[test]
        fn a_quoted_packet_is_rewritten_inside_a_valid_error(to: u32, port: u16) {
            let about = sample(protocol::UDP, b"who are you");
            let mut error = reply::icmp_error(&about, addr(1), reply::Unreachable::Port.into()).unwrap();
            error.rewrite_quoted(End::Destination, to.into(), Some(port));
            let quoted = error.quoted().unwrap();
            prop_assert_eq!((quoted.dst, quoted.ports()), (to.into(), Some((40000, port))));
            prop_assert!(error.l4_checksum_ok());
        }
    }
}
