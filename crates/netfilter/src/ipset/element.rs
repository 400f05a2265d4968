//! What can be in a set.

use std::fmt;
use std::net::Ipv4Addr;

use packet::protocol;

use crate::ext::icmp;
use crate::rule::AddrMask;
use crate::text::parse::parse_addr_mask;
use crate::text::words::{find_port, protocol_word};

/// Kinds of sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `hash:ip`
    HashIp,
    /// `hash:net`
    HashNet,
    /// `hash:ip,port`
    HashIpPort,
    /// `hash:net,port`
    HashNetPort,
    /// `hash:ip,port,ip`
    HashIpPortIp,
    /// `hash:ip,port,net`
    HashIpPortNet,
    /// `bitmap:port`
    BitmapPort,
    /// `list:set`
    ListSet,
}

/// Kinds with their names and the revision that ipset 7.17 reports.
const KINDS: [(Kind, &str, u8); 8] = [
    (Kind::HashIp, "hash:ip", 6),
    (Kind::HashNet, "hash:net", 7),
    (Kind::HashIpPort, "hash:ip,port", 7),
    (Kind::HashNetPort, "hash:net,port", 8),
    (Kind::HashIpPortIp, "hash:ip,port,ip", 6),
    (Kind::HashIpPortNet, "hash:ip,port,net", 8),
    (Kind::BitmapPort, "bitmap:port", 3),
    (Kind::ListSet, "list:set", 3),
];

impl Kind {
    /// The kind of this name.
    pub fn of(name: &str) -> Option<Kind> {
        KINDS.iter().find(|(_, known, _)| *known == name).map(|(kind, ..)| *kind)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }

    pub(super) fn revision(self) -> u8 {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or(0, |(.., revision)| *revision)
    }

    /// Kept in a hash table.
    pub(super) fn is_hash(self) -> bool {
        !matches!(self, Kind::BitmapPort | Kind::ListSet)
    }
}

/// An address and the length of its network.
pub type Net = (Ipv4Addr, u8);

/// Protocol and port.
pub type ProtoPort = (u8, u16);

/// An element of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// An address or a network.
    Net(Net),
    /// The same with a port.
    NetPort(Net, ProtoPort),
    /// The same with another address.
    NetPortIp(Net, ProtoPort, Ipv4Addr),
    /// An address and a port with a network.
    IpPortNet(Ipv4Addr, ProtoPort, Net),
    /// A port.
    Port(u16),
    /// A set.
    Set(String),
}

/// The network of `len` bits that `addr` is in.
pub(super) fn network(addr: Ipv4Addr, len: u8) -> Net {
    (AddrMask::prefix(addr, len).addr, len)
}

impl Element {
    /// The length of its network.
    pub(super) fn len(&self) -> u8 {
        match self {
            Element::Net((_, len)) | Element::NetPort((_, len), _) => *len,
            Element::NetPortIp((_, len), ..) | Element::IpPortNet(.., (_, len)) => *len,
            Element::Port(_) | Element::Set(_) => 32,
        }
    }

    /// The elements that `text` stands for: addresses may be a range or a network, ports a range.
    /// `None`: it is not an element of such a set.
    pub(super) fn parse(kind: Kind, netmask: u8, text: &str) -> Option<Vec<Element>> {
        let parts: Vec<&str> = text.split(',').collect();
        Some(match (kind, parts.as_slice()) {
            (Kind::HashIp, [addr]) => {
                // `netmask` says what hosts are the same one, which is kept as a host.
                let nets = hosts(addr)?.into_iter().map(|host| (network(host, netmask).0, 32));
                let mut nets: Vec<_> = nets.map(Element::Net).collect();
                nets.dedup();
                nets
            }
            (Kind::HashNet, [net]) => vec![Element::Net(parse_net(net)?)],
            (Kind::HashIpPort, [addr, port]) => {
                let ports = ports(port)?;
                let hosts = hosts(addr)?.into_iter();
                hosts
                    .flat_map(|host| {
                        ports.iter().map(move |port| Element::NetPort((host, 32), *port))
                    })
                    .take(ELEMENTS_MAX)
                    .collect()
            }
            (Kind::HashNetPort, [net, port]) => {
                let net = parse_net(net)?;
                ports(port)?.into_iter().map(|port| Element::NetPort(net, port)).collect()
            }
            (Kind::HashIpPortIp | Kind::HashIpPortNet, [addr, port, other]) => {
                let is_net = kind == Kind::HashIpPortNet;
                let net = if is_net { parse_net(other)? } else { (other.parse().ok()?, 32) };
                let ports = ports(port)?;
                let mut all = Vec::new();
                for host in hosts(addr)? {
                    for port in ports.iter().take(ELEMENTS_MAX - all.len()) {
                        all.push(match is_net {
                            true => Element::IpPortNet(host, *port, net),
                            false => Element::NetPortIp((host, 32), *port, net.0),
                        });
                    }
                }
                all
            }
            (Kind::BitmapPort, [port]) => {
                ports(port)?.into_iter().map(|(_, port)| Element::Port(port)).collect()
            }
            (Kind::ListSet, [name]) => vec![Element::Set(name.to_string())],
            _ => return None,
        })
    }
}

/// Elements that are made of one text with many addresses and many ports, at most.
pub(super) const ELEMENTS_MAX: usize = 1 << 18;

/// Most addresses that one text may stand for.
const MANY: u32 = 65_536;

/// `10.0.0.1`, `10.0.0.0/24`, `10.0.0.1-10.0.0.9`: every host of it.
fn hosts(text: &str) -> Option<Vec<Ipv4Addr>> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
        None => {
            let AddrMask { addr, mask } = parse_addr_mask(text).ok()?;
            (addr, Ipv4Addr::from(u32::from(addr) | !mask))
        }
    };
    let (first, last): (u32, u32) = (first.into(), last.into());
    if first > last || last - first >= MANY {
        return None;
    }
    Some((first..=last).map(Ipv4Addr::from).collect())
}

fn parse_net(text: &str) -> Option<Net> {
    let mask = parse_addr_mask(text).ok()?;
    let len = u8::try_from(mask.prefix_len()?).ok()?;
    (len > 0).then_some((mask.addr, len))
}

/// Whether an element with this protocol says more than its number (`ip_set_proto_with_ports`, and ICMP).
pub(super) fn has_ports(number: u8) -> bool {
    use protocol::{ICMP, SCTP, TCP, UDP};
    const UDPLITE: u8 = 136;
    matches!(number, ICMP | SCTP | TCP | UDP | UDPLITE)
}

/// `80`, `udp:53`, `tcp:80-90`, `icmp:8/0`, `icmp:echo-request`, `gre:0`.
fn ports(text: &str) -> Option<Vec<ProtoPort>> {
    let (proto, text) = match text.split_once(':') {
        Some((proto, text)) => (crate::text::words::parse_protocol(proto).ok()?, text),
        None => (protocol::TCP, text),
    };
    if proto == protocol::ICMP {
        let (kind, code): (u8, u8) = match text.split_once('/') {
            Some((kind, code)) => (kind.parse().ok()?, code.parse().ok()?),
            None => icmp::type_and_code(text)?,
        };
        return Some(vec![(proto, u16::from(kind) << 8 | u16::from(code))]);
    }
    if !has_ports(proto) {
        return (text.parse() == Ok(0)).then(|| vec![(proto, 0)]);
    }
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (find_port(first)?, find_port(last)?),
        None => (find_port(text)?, find_port(text)?),
    };
    (first <= last).then(|| (first..=last).map(|port| (proto, port)).collect())
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let net = |(addr, len): &Net| match len {
            32 => addr.to_string(),
            _ => format!("{addr}/{len}"),
        };
        let port = |(proto, port): &ProtoPort| match *proto {
            protocol::ICMP => {
                let (kind, code) = ((port >> 8) as u8, *port as u8);
                match icmp::name_of(kind, code) {
                    Some(name) => format!("icmp:{name}"),
                    None => format!("icmp:{kind}/{code}"),
                }
            }
            proto => format!("{}:{port}", protocol_word(proto)),
        };
        match self {
            Element::Net(of) => f.write_str(&net(of)),
            Element::NetPort(of, at) => write!(f, "{},{}", net(of), port(at)),
            Element::NetPortIp(of, at, other) => write!(f, "{},{},{other}", net(of), port(at)),
            Element::IpPortNet(addr, at, of) => write!(f, "{addr},{},{}", port(at), net(of)),
            Element::Port(port) => port.fmt(f),
            Element::Set(name) => f.write_str(name),
        }
    }
}
