//! What a primitive asks of a packet.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::FilterError;
use super::eval::{Arith, Base, Node, Rel};
use super::lex::dotted;
use crate::ethernet::Mac;
use crate::services;
use crate::tcpdump::LinkType;

type Result<T> = std::result::Result<T, FilterError>;

/// The protocol in front of a primitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proto {
    Default,
    Link,
    /// A protocol that has a word: `ip`, `tcp`, …
    Named(&'static str),
}

impl Proto {
    fn name(self) -> &'static str {
        match self {
            Proto::Default => "",
            Proto::Link => "link",
            Proto::Named(name) => name,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dir {
    Default,
    Src,
    Dst,
    Or,
    And,
}

/// What kind of thing a name or number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Default,
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

/// The qualifiers of a primitive; the next name or number without any takes them over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quals {
    pub(super) proto: Proto,
    pub(super) dir: Dir,
    pub(super) kind: Kind,
}

const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const ARP: u32 = 0x0806;
const RARP: u32 = 0x8035;

/// Makes questions for one link type. `vlan` moves what comes after it by a tag.
pub(super) struct Gen<'h> {
    link: LinkType,
    hosts: &'h dyn Fn(&str) -> Vec<Ipv4Addr>,
    /// Where the type of the payload stands.
    type_at: u32,
    /// Where the payload begins.
    payload_at: u32,
}

fn error<T>(text: impl Into<String>) -> Result<T> {
    Err(FilterError::new(text))
}

impl<'h> Gen<'h> {
    pub(super) fn new(link: LinkType, hosts: &'h dyn Fn(&str) -> Vec<Ipv4Addr>) -> Gen<'h> {
        let (type_at, payload_at) = match link {
            LinkType::Ethernet => (12, 14),
            LinkType::Raw => (0, 0),
            LinkType::Sll2 => (0, 20),
        };
        Gen { link, hosts, type_at, payload_at }
    }

    fn field(&self, offset: u32, size: u8, value: u32) -> Node {
        self.masked(offset, size, u32::MAX, value)
    }

    fn masked(&self, offset: u32, size: u8, mask: u32, value: u32) -> Node {
        let base = Base::At(self.payload_at);
        Node::Field { base, offset, size, mask, rel: Rel::Eq, value }
    }

    /// A field counted from the beginning of the capture.
    fn absolute(offset: u32, size: u8, mask: u32, value: u32) -> Node {
        Node::Field { base: Base::At(0), offset, size, mask, rel: Rel::Eq, value }
    }

    fn link_type(&self, kind: u32) -> Node {
        match (self.link, kind) {
            (LinkType::Raw, IPV4) => Self::absolute(0, 1, 0xf0, 0x40),
            (LinkType::Raw, IPV6) => Self::absolute(0, 1, 0xf0, 0x60),
            (LinkType::Raw, _) => Node::Const(false),
            (LinkType::Ethernet, 0..=1500) => {
                let is_length = Node::Field {
                    base: Base::At(self.type_at),
                    offset: 0,
                    size: 2,
                    mask: u32::MAX,
                    rel: Rel::Le,
                    value: 1500,
                };
                is_length.and(self.field(0, 1, kind))
            }
            _ => Self::absolute(self.type_at, 2, u32::MAX, kind),
        }
    }

    /// A protocol's own word: `tcp`, `arp`, …
    pub(super) fn abbreviation(&self, proto: Proto) -> Result<Node> {
        let v4 = |number| self.proto_v4(number);
        let both = |number| self.proto_v4(number).or(self.proto_v6(number));
        Ok(match proto {
            Proto::Default => return Err(FilterError::syntax()),
            Proto::Link => return error("link layer applied in wrong context"),
            Proto::Named(name) => match name {
                "ip" => self.link_type(IPV4),
                "ip6" => self.link_type(IPV6),
                "arp" => self.link_type(ARP),
                "rarp" => self.link_type(RARP),
                "tcp" => both(6),
                "udp" => both(17),
                "sctp" => both(132),
                "icmp" => v4(1),
                "igmp" => v4(2),
                "igrp" => v4(9),
                "pim" => both(103),
                "vrrp" | "carp" => v4(112),
                "icmp6" => self.proto_v6(58),
                "ah" => both(51),
                "esp" => both(50),
                other => return Err(FilterError::unsupported(other)),
            },
        })
    }

    fn proto_v4(&self, number: u32) -> Node {
        self.link_type(IPV4).and(self.field(9, 1, number))
    }

    fn proto_v6(&self, number: u32) -> Node {
        let behind_fragment = self.field(6, 1, 44).and(self.field(40, 1, number));
        self.link_type(IPV6).and(self.field(6, 1, number).or(behind_fragment))
    }

    fn proto(&self, number: u32, quals: Quals) -> Result<Node> {
        if quals.dir != Dir::Default {
            return error("direction applied to 'proto'");
        }
        match quals.proto {
            Proto::Default => Ok(self.proto_v4(number).or(self.proto_v6(number))),
            Proto::Link => Ok(self.link_type(number)),
            Proto::Named("ip") => Ok(self.proto_v4(number)),
            Proto::Named("ip6") => Ok(self.proto_v6(number)),
            Proto::Named(name @ ("arp" | "rarp")) => {
                error(format!("{name} does not encapsulate another protocol"))
            }
            Proto::Named(name) => error(format!("'{name} proto' is bogus")),
        }
    }

    /// A word that is no number: a host, a network, a port, a protocol.
    pub(super) fn name(&self, name: &str, quals: Quals) -> Result<Node> {
        match quals.kind {
            Kind::Net => error(format!("unknown network '{name}'")),
            Kind::Default | Kind::Host if quals.proto == Proto::Link => {
                error(format!("unknown ether host '{name}'"))
            }
            Kind::Default | Kind::Host => {
                let mut all: Option<Node> = None;
                for addr in (self.hosts)(name) {
                    let node = self.host(u32::from(addr), u32::MAX, quals)?;
                    all = Some(match all {
                        Some(all) => all.or(node),
                        None => node,
                    });
                }
                all.ok_or_else(|| FilterError::new(format!("unknown host '{name}'")))
            }
            Kind::Port => self.named_port(name, quals),
            Kind::PortRange => self.named_range(name, quals),
            Kind::Proto => {
                let number = match quals.proto {
                    Proto::Link => ether_proto(name),
                    _ => services::protocol_number(name).map(u32::from),
                };
                let unknown = match quals.proto {
                    Proto::Link => format!("unknown ether proto '{name}'"),
                    Proto::Default => format!("unknown protocol '{name}'"),
                    Proto::Named(proto) => format!("unknown {proto} proto '{name}'"),
                };
                self.proto(number.ok_or_else(|| FilterError::new(unknown))?, quals)
            }
        }
    }

    fn ip_proto(quals: Quals, what: &str) -> Result<Option<u32>> {
        match quals.proto {
            Proto::Default => Ok(None),
            Proto::Named("tcp") => Ok(Some(6)),
            Proto::Named("udp") => Ok(Some(17)),
            Proto::Named("sctp") => Ok(Some(132)),
            _ => error(format!("illegal qualifier of '{what}'")),
        }
    }

    /// The port of a service, and the protocol where it is known for one only.
    fn service(name: &str) -> Option<(u32, Option<u32>)> {
        let (tcp, udp) = services::ports_of(name);
        match (tcp, udp) {
            (Some(tcp), Some(_)) => Some((u32::from(tcp), None)),
            (Some(tcp), None) => Some((u32::from(tcp), Some(6))),
            (None, Some(udp)) => Some((u32::from(udp), Some(17))),
            (None, None) => None,
        }
    }

    fn agree(name: &str, wanted: Option<u32>, known: Option<u32>) -> Result<Option<u32>> {
        match (wanted, known) {
            (Some(17), Some(6)) => error(format!("port '{name}' is tcp")),
            (Some(6), Some(17)) => error(format!("port '{name}' is udp")),
            (Some(132), Some(known)) => {
                error(format!("port '{name}' is {}", if known == 6 { "tcp" } else { "udp" }))
            }
            (wanted, known) => Ok(wanted.or(known)),
        }
    }

    fn named_port(&self, name: &str, quals: Quals) -> Result<Node> {
        let wanted = Self::ip_proto(quals, "port")?;
        let Some((port, known)) = Self::service(name) else {
            return error(format!("unknown port '{name}'"));
        };
        Ok(self.ports(port, port, Self::agree(name, wanted, known)?, quals.dir))
    }

    fn named_range(&self, name: &str, quals: Quals) -> Result<Node> {
        let wanted = Self::ip_proto(quals, "portrange")?;
        let unknown = || FilterError::new(format!("unknown port in range '{name}'"));
        let one = |text: &str| -> Option<(u32, Option<u32>)> {
            let number = text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse().ok());
            number.flatten().map_or_else(|| Self::service(text), |port| Some((port, None)))
        };
        let Some((low, high)) = name.split_once('-') else {
            let (port, known) = Self::service(name).ok_or_else(unknown)?;
            return Ok(self.ports(port, port, Self::agree(name, wanted, known)?, quals.dir));
        };
        let (low, known) = one(low).ok_or_else(unknown)?;
        let (high, _) = one(high).ok_or_else(unknown)?;
        for port in [low, high] {
            if port > 65535 {
                return error(format!("illegal port number {port} > 65535"));
            }
        }
        Ok(self.ports(low.min(high), low.max(high), Self::agree(name, wanted, known)?, quals.dir))
    }

    /// TCP, UDP and SCTP ports between two, over both versions of IP.
    fn ports(&self, low: u32, high: u32, ip_proto: Option<u32>, dir: Dir) -> Node {
        let protos: &[u32] = match &ip_proto {
            Some(proto) => std::slice::from_ref(proto),
            None => &[132, 6, 17],
        };
        let (v4, v6) = (Base::BehindIpv4(self.payload_at), Base::At(self.payload_at + 40));
        let any = |field: u32, unfragmented: bool, base: Base| {
            let each = protos.iter().map(|proto| {
                let mut node = self.field(field, 1, *proto);
                if unfragmented {
                    node = node.and(self.masked(6, 2, 0x1fff, 0));
                }
                node.and(Self::port_fields(base, low, high, dir))
            });
            each.reduce(Node::or).unwrap_or(Node::Const(false))
        };
        let over_v4 = self.link_type(IPV4).and(any(9, true, v4));
        let over_v6 = self.link_type(IPV6).and(any(6, false, v6));
        over_v6.or(over_v4)
    }

    fn port_fields(base: Base, low: u32, high: u32, dir: Dir) -> Node {
        let one = |offset| {
            let field =
                |rel, value| Node::Field { base, offset, size: 2, mask: u32::MAX, rel, value };
            if low == high {
                field(Rel::Eq, low)
            } else {
                field(Rel::Ge, low).and(field(Rel::Le, high))
            }
        };
        match dir {
            Dir::Src => one(0),
            Dir::Dst => one(2),
            Dir::And => one(0).and(one(2)),
            Dir::Or | Dir::Default => one(0).or(one(2)),
        }
    }

    /// A number or a dotted address.
    pub(super) fn number(&self, text: Option<&str>, value: u32, quals: Quals) -> Result<Node> {
        let (value, bits) = match text {
            Some(text) => dotted(text)?,
            None => (value, 32),
        };
        match quals.kind {
            Kind::Default | Kind::Host | Kind::Net => {
                if quals.proto == Proto::Link {
                    return error("illegal link layer address");
                }
                let (mut value, mut mask) = (value, u32::MAX);
                if text.is_some() {
                    value = value.checked_shl(32 - bits).unwrap_or(0);
                    mask = mask.checked_shl(32 - bits).unwrap_or(0);
                } else if quals.kind == Kind::Net {
                    while value != 0 && value & 0xff00_0000 == 0 {
                        value <<= 8;
                        mask <<= 8;
                    }
                }
                self.host(value, mask, quals)
            }
            Kind::Port | Kind::PortRange => {
                let what = if quals.kind == Kind::Port { "port" } else { "portrange" };
                let proto = Self::ip_proto(quals, what)?;
                if value > 65535 {
                    return error(format!("illegal port number {value} > 65535"));
                }
                Ok(self.ports(value, value, proto, quals.dir))
            }
            Kind::Proto => self.proto(value, quals),
        }
    }

    /// `10.0.0.0/8`, or with `mask`.
    pub(super) fn network(
        &self,
        text: &str,
        mask: std::result::Result<u32, &str>,
        quals: Quals,
    ) -> Result<Node> {
        let (net, bits) = dotted(text)?;
        let net = net.checked_shl(32 - bits).unwrap_or(0);
        let (mask, shown) = match mask {
            Ok(len) if len > 32 => return error("mask length must be <= 32"),
            Ok(len) => (u32::MAX.checked_shl(32 - len).unwrap_or(0), format!("{text}/{len}")),
            Err(dots) => {
                let (mask, bits) = dotted(dots)?;
                (mask.checked_shl(32 - bits).unwrap_or(0), format!("{text} mask {dots}"))
            }
        };
        if net & !mask != 0 {
            return error(format!("non-network bits set in \"{shown}\""));
        }
        if quals.kind != Kind::Net {
            return error("Mask syntax for networks only");
        }
        self.host(net, mask, quals)
    }

    fn host(&self, addr: u32, mask: u32, quals: Quals) -> Result<Node> {
        let what = if quals.kind == Kind::Net { "net" } else { "host" };
        let over = |kind, src, dst| self.addresses(kind, (src, dst), addr, mask, quals.dir);
        Ok(match quals.proto {
            Proto::Default => over(IPV4, 12, 16).or(over(ARP, 14, 24)).or(over(RARP, 14, 24)),
            Proto::Named("ip") => over(IPV4, 12, 16),
            Proto::Named("arp") => over(ARP, 14, 24),
            Proto::Named("rarp") => over(RARP, 14, 24),
            Proto::Link => return error(format!("link-layer modifier applied to {what}")),
            Proto::Named("ip6") => return error(format!("'ip6' modifier applied to ip {what}")),
            Proto::Named(name) => return error(format!("'{name}' modifier applied to {what}")),
        })
    }

    fn addresses(&self, kind: u32, (src, dst): (u32, u32), addr: u32, mask: u32, dir: Dir) -> Node {
        let one = |at| self.link_type(kind).and(self.masked(at, 4, mask, addr & mask));
        match dir {
            Dir::Src => one(src),
            Dir::Dst => one(dst),
            Dir::And => one(src).and(one(dst)),
            Dir::Or | Dir::Default => one(src).or(one(dst)),
        }
    }

    /// An IPv6 address with a prefix length.
    pub(super) fn v6(&self, addr: Ipv6Addr, len: u32, quals: Quals) -> Result<Node> {
        if len > 128 {
            return error("mask length must be <= 128");
        }
        match quals.kind {
            Kind::Default | Kind::Host if len != 128 => {
                return error("Mask syntax for networks only");
            }
            Kind::Default | Kind::Host | Kind::Net => {}
            _ => return error("invalid qualifier against IPv6 address"),
        }
        match quals.proto {
            Proto::Default | Proto::Named("ip6") => {}
            Proto::Link => return error("link-layer modifier applied to ip6 host"),
            Proto::Named(name) => return error(format!("'{name}' modifier applied to ip6 host")),
        }
        let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
        let bits = u128::from(addr);
        if bits & !mask != 0 {
            return error(format!("non-network bits set in \"{addr}/{len}\""));
        }
        let one = |at: u32| {
            let words = (0..4u32).filter_map(|word| {
                let mask = (mask >> (96 - word * 32)) as u32;
                let value = (bits >> (96 - word * 32)) as u32;
                (mask != 0).then(|| self.masked(at + word * 4, 4, mask, value))
            });
            let all = words.reduce(Node::and).unwrap_or(Node::Const(true));
            self.link_type(IPV6).and(all)
        };
        Ok(match quals.dir {
            Dir::Src => one(8),
            Dir::Dst => one(24),
            Dir::And => one(8).and(one(24)),
            Dir::Or | Dir::Default => one(8).or(one(24)),
        })
    }

    pub(super) fn mac(&self, mac: Mac, quals: Quals) -> Result<Node> {
        let is_host = matches!(quals.kind, Kind::Default | Kind::Host);
        if !is_host || quals.proto != Proto::Link {
            return error("ethernet address used in non-ether expression");
        }
        if self.link != LinkType::Ethernet {
            return error(
                "ethernet addresses supported only on ethernet/FDDI/token ring/802.11/ATM LANE/Fibre Channel",
            );
        }
        let [a, b, c, d, e, f] = mac.0;
        let one = |at| {
            let tail = Self::absolute(at + 2, 4, u32::MAX, u32::from_be_bytes([c, d, e, f]));
            tail.and(Self::absolute(at, 2, u32::MAX, u32::from(u16::from_be_bytes([a, b]))))
        };
        Ok(match quals.dir {
            Dir::Src => one(6),
            Dir::Dst => one(0),
            Dir::And => one(6).and(one(0)),
            Dir::Or | Dir::Default => one(6).or(one(0)),
        })
    }

    pub(super) fn broadcast(&self, proto: Proto) -> Result<Node> {
        match (proto, self.link) {
            (Proto::Default | Proto::Link, LinkType::Ethernet) => {
                let quals = Quals { proto: Proto::Link, dir: Dir::Dst, kind: Kind::Host };
                self.mac(Mac::BROADCAST, quals)
            }
            (Proto::Default | Proto::Link, _) => error("not a broadcast link"),
            // The network's mask is not known when a file is read; tcpdump takes it for empty.
            (Proto::Named("ip"), _) => {
                let dst = self.field(16, 4, 0).or(self.field(16, 4, u32::MAX));
                Ok(self.link_type(IPV4).and(dst))
            }
            _ => error("only link-layer/IP broadcast filters supported"),
        }
    }

    pub(super) fn multicast(&self, proto: Proto) -> Result<Node> {
        let byte = |offset, rel, value| Node::Field {
            base: Base::At(self.payload_at),
            offset,
            size: 1,
            mask: u32::MAX,
            rel,
            value,
        };
        match (proto, self.link) {
            (Proto::Default | Proto::Link, LinkType::Ethernet) => Ok(Node::Field {
                base: Base::At(0),
                offset: 0,
                size: 1,
                mask: u32::MAX,
                rel: Rel::Set,
                value: 1,
            }),
            (Proto::Default | Proto::Link, _) => error(
                "link-layer multicast filters supported only on ethernet/FDDI/token ring/ARCNET/802.11/ATM LANE/Fibre Channel",
            ),
            (Proto::Named("ip"), _) => Ok(self.link_type(IPV4).and(byte(16, Rel::Ge, 224))),
            (Proto::Named("ip6"), _) => Ok(self.link_type(IPV6).and(byte(24, Rel::Eq, 255))),
            _ => error(
                "IP multicast filters supported only on ethernet/FDDI/token ring/ARCNET/802.11/ATM LANE/Fibre Channel",
            ),
        }
    }

    /// A tag, of any VLAN or of one. What comes after it looks behind the tag.
    pub(super) fn vlan(&mut self, id: Option<u32>) -> Result<Node> {
        if self.link != LinkType::Ethernet {
            return error(format!("no VLAN support for {}", self.link_words()));
        }
        if let Some(id) = id.filter(|id| *id > 4095) {
            return error(format!("VLAN tag {id} greater than maximum 4095"));
        }
        let tag = |kind| Self::absolute(self.type_at, 2, u32::MAX, kind);
        let mut node = tag(0x8100).or(tag(0x88a8)).or(tag(0x9100));
        if let Some(id) = id {
            node = node.and(self.masked(0, 2, 0x0fff, id));
        }
        // Offsets are constants of the program: a tag too many is behind every packet.
        self.type_at = self.type_at.saturating_add(4);
        self.payload_at = self.payload_at.saturating_add(4);
        Ok(node)
    }

    fn link_words(&self) -> &'static str {
        match self.link {
            LinkType::Ethernet => "Ethernet",
            LinkType::Raw => "Raw IP",
            LinkType::Sll2 => "Linux cooked v2",
        }
    }

    pub(super) fn direction(&self, is_outbound: bool) -> Result<Node> {
        if self.link != LinkType::Sll2 {
            return error(format!(
                "inbound/outbound not supported on {} when reading savefiles",
                self.link_words()
            ));
        }
        let outgoing = Self::absolute(10, 1, u32::MAX, 4);
        Ok(if is_outbound { outgoing } else { outgoing.negate() })
    }

    pub(super) fn ifindex(&self, index: u32) -> Result<Node> {
        if self.link != LinkType::Sll2 {
            return error(format!(
                "ifindex not supported on {} when reading savefiles",
                self.link_words()
            ));
        }
        Ok(Self::absolute(4, 4, u32::MAX, index))
    }

    /// `proto[offset:size]`: the value, and what must hold for it to be there.
    pub(super) fn load(
        &self,
        proto: Proto,
        offset: Arith,
        size: u32,
    ) -> Result<(Arith, Option<Node>)> {
        if !matches!(size, 1 | 2 | 4) {
            return error("data size must be 1, 2, or 4");
        }
        let unfragmented = || self.masked(6, 2, 0x1fff, 0);
        let (base, needs) = match proto {
            Proto::Link => (Base::At(0), None),
            Proto::Named("ip" | "arp" | "rarp" | "ip6") => {
                (Base::At(self.payload_at), Some(self.abbreviation(proto)?))
            }
            Proto::Named(
                "tcp" | "udp" | "icmp" | "igmp" | "igrp" | "pim" | "vrrp" | "carp" | "sctp",
            ) => {
                let needs = self.abbreviation(Proto::Named("ip"))?;
                let needs = needs.and(self.abbreviation(proto)?).and(unfragmented());
                (Base::BehindIpv4(self.payload_at), Some(needs))
            }
            Proto::Named("icmp6") => {
                let needs = self.abbreviation(Proto::Named("ip6"))?;
                (Base::At(self.payload_at + 40), Some(needs.and(self.abbreviation(proto)?)))
            }
            Proto::Default => return Err(FilterError::syntax()),
            Proto::Named(_) => {
                return Err(FilterError::unsupported(&format!("{}[]", proto.name())));
            }
        };
        Ok((Arith::Load { base, offset: Box::new(offset), size: size as u8 }, needs))
    }
}

fn ether_proto(name: &str) -> Option<u32> {
    Some(match name {
        "ip" => IPV4,
        "arp" => ARP,
        "rarp" | "revarp" => RARP,
        "ip6" => IPV6,
        "loopback" => 0x9000,
        "aarp" => 0x80f3,
        "atalk" => 0x809b,
        "decnet" => 0x6003,
        "lat" => 0x6004,
        "moprc" => 0x6002,
        "mopdl" => 0x6001,
        "sca" => 0x6007,
        _ => return None,
    })
}
