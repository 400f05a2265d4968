//! What rules can look at: parts of headers, and what the namespace knows of a packet.

use super::value::Type;
use crate::conntrack::Direction;

/// Where a field is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the IP header: first bit, number of bits.
    Network(u16, u16),
    /// In the header behind it, of this protocol (0: any): first bit, number of bits.
    Transport(u8, u16, u16),
    /// Known of the packet.
    Meta(Meta),
    /// Known of its connection.
    Ct(Ct, Option<Direction>),
}

/// What is known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the words after `meta`")]
pub enum Meta {
    Mark,
    Iif,
    Oif,
    Iifname,
    Oifname,
    L4proto,
    Nfproto,
    Protocol,
    Length,
    Pkttype,
    Skuid,
    Skgid,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the words after `ct`")]
pub enum Ct {
    State,
    Direction,
    Status,
    Mark,
    Expiration,
    Protocol,
    Saddr,
    Daddr,
    Sport,
    Dport,
    Bytes,
    Packets,
}

/// Something that rules can look at.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// As it is printed.
    pub name: &'static str,
    /// Of what type.
    pub ty: Type,
    /// Where it is.
    pub place: Place,
}

const fn ip(name: &'static str, ty: Type, bit: u16, bits: u16) -> Field {
    Field { name, ty, place: Place::Network(bit, bits) }
}

const fn l4(name: &'static str, ty: Type, protocol: u8, bit: u16, bits: u16) -> Field {
    Field { name, ty, place: Place::Transport(protocol, bit, bits) }
}

const fn meta(name: &'static str, ty: Type, meta: Meta) -> Field {
    Field { name, ty, place: Place::Meta(meta) }
}

const fn ct(name: &'static str, ty: Type, ct: Ct, direction: Option<Direction>) -> Field {
    Field { name, ty, place: Place::Ct(ct, direction) }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ORIGINAL: Option<Direction> = Some(Direction::Original);
const REPLY: Option<Direction> = Some(Direction::Reply);

/// All of them.
pub static FIELDS: [Field; 64] = [
    ip("ip version", Type::Number(1), 0, 4),
    ip("ip hdrlength", Type::Number(1), 4, 4),
    ip("ip dscp", Type::Dscp, 8, 6),
    ip("ip length", Type::Number(2), 16, 16),
    ip("ip id", Type::Number(2), 32, 16),
    ip("ip frag-off", Type::Number(2), 48, 16),
    ip("ip ttl", Type::Number(1), 64, 8),
    ip("ip protocol", Type::Proto, 72, 8),
    ip("ip checksum", Type::Number(2), 80, 16),
    ip("ip saddr", Type::Addr, 96, 32),
    ip("ip daddr", Type::Addr, 128, 32),
    l4("tcp sport", Type::Port, TCP, 0, 16),
    l4("tcp dport", Type::Port, TCP, 16, 16),
    l4("tcp sequence", Type::Number(4), TCP, 32, 32),
    l4("tcp ackseq", Type::Number(4), TCP, 64, 32),
    l4("tcp doff", Type::Number(1), TCP, 96, 4),
    l4("tcp flags", Type::TcpFlag, TCP, 104, 8),
    l4("tcp window", Type::Number(2), TCP, 112, 16),
    l4("tcp checksum", Type::Number(2), TCP, 128, 16),
    l4("tcp urgptr", Type::Number(2), TCP, 144, 16),
    l4("udp sport", Type::Port, UDP, 0, 16),
    l4("udp dport", Type::Port, UDP, 16, 16),
    l4("udp length", Type::Number(2), UDP, 32, 16),
    l4("udp checksum", Type::Number(2), UDP, 48, 16),
    l4("sctp sport", Type::Port, SCTP, 0, 16),
    l4("sctp dport", Type::Port, SCTP, 16, 16),
    l4("sctp vtag", Type::Number(4), SCTP, 32, 32),
    l4("icmp type", Type::IcmpType, ICMP, 0, 8),
    l4("icmp code", Type::IcmpCode, ICMP, 8, 8),
    l4("icmp checksum", Type::Number(2), ICMP, 16, 16),
    l4("th sport", Type::Port, 0, 0, 16),
    l4("th dport", Type::Port, 0, 16, 16),
    meta("meta mark", Type::Mark, Meta::Mark),
    meta("iif", Type::Iface, Meta::Iif),
    meta("oif", Type::Iface, Meta::Oif),
    meta("iifname", Type::Name, Meta::Iifname),
    meta("oifname", Type::Name, Meta::Oifname),
    meta("meta l4proto", Type::Proto, Meta::L4proto),
    meta("meta nfproto", Type::Family, Meta::Nfproto),
    meta("meta protocol", Type::EtherType, Meta::Protocol),
    meta("meta length", Type::Number(4), Meta::Length),
    meta("meta pkttype", Type::PktType, Meta::Pkttype),
    meta("meta skuid", Type::Uid, Meta::Skuid),
    meta("meta skgid", Type::Gid, Meta::Skgid),
    ct("ct state", Type::CtState, Ct::State, None),
    ct("ct direction", Type::CtDir, Ct::Direction, None),
    ct("ct status", Type::CtStatus, Ct::Status, None),
    ct("ct mark", Type::Mark, Ct::Mark, None),
    ct("ct expiration", Type::Time, Ct::Expiration, None),
    ct("ct protocol", Type::Proto, Ct::Protocol, None),
    ct("ct bytes", Type::Number(8), Ct::Bytes, None),
    ct("ct packets", Type::Number(8), Ct::Packets, None),
    ct("ct original ip saddr", Type::Addr, Ct::Saddr, ORIGINAL),
    ct("ct original ip daddr", Type::Addr, Ct::Daddr, ORIGINAL),
    ct("ct original proto-src", Type::Port, Ct::Sport, ORIGINAL),
    ct("ct original proto-dst", Type::Port, Ct::Dport, ORIGINAL),
    ct("ct original bytes", Type::Number(8), Ct::Bytes, ORIGINAL),
    ct("ct original packets", Type::Number(8), Ct::Packets, ORIGINAL),
    ct("ct reply ip saddr", Type::Addr, Ct::Saddr, REPLY),
    ct("ct reply ip daddr", Type::Addr, Ct::Daddr, REPLY),
    ct("ct reply proto-src", Type::Port, Ct::Sport, REPLY),
    ct("ct reply proto-dst", Type::Port, Ct::Dport, REPLY),
    ct("ct reply bytes", Type::Number(8), Ct::Bytes, REPLY),
    ct("ct reply packets", Type::Number(8), Ct::Packets, REPLY),
];

impl Field {
    /// The field that is printed so.
    pub fn named(name: &str) -> Option<&'static Field> {
        FIELDS.iter().find(|field| field.name == name)
    }

    /// The protocol that a packet must be of to have it.
    pub fn protocol(&self) -> Option<u8> {
        match self.place {
            Place::Transport(protocol, ..) if protocol != 0 => Some(protocol),
            _ => None,
        }
    }

    /// Whether it is the field of this place.
    pub fn is_meta(&self, meta: Meta) -> bool {
        self.place == Place::Meta(meta)
    }

    /// The same field of the header of a known protocol: `th dport` of TCP is `tcp dport`.
    pub fn of_protocol(&'static self, protocol: u8) -> &'static Field {
        let Place::Transport(0, bit, bits) = self.place else { return self };
        let place = Place::Transport(protocol, bit, bits);
        FIELDS.iter().find(|field| field.place == place).unwrap_or(self)
    }
}
