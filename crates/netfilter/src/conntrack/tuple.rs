//! The five things that identify one direction of a connection.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;

use packet::{Head, L4, protocol};

/// One direction of a connection as its packets show it.
///
/// For ICMP queries `sport` is the identifier and `dport` the type and code (`type << 8 | code`), as the
/// kernel's tuple has them. Protocols without ports have zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Source port, or ICMP identifier.
    pub sport: u16,
    /// Destination port, or ICMP type and code.
    pub dport: u16,
    /// IP protocol number.
    pub protocol: u8,
}

impl Hash for Tuple {
    /// Two words: a tuple is hashed for every packet.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Tuple { src, dst, sport, dport, protocol } = *self;
        state.write_u64(u64::from(u32::from(src)) << 32 | u64::from(u32::from(dst)));
        let ports = u64::from(sport) << 16 | u64::from(dport);
        state.write_u64(ports << 8 | u64::from(protocol));
    }
}

impl Tuple {
    /// The tuple of a packet; `None` for a packet that cannot be tracked (a later fragment, a header that
    /// is cut short, an ICMP message that nothing answers).
    #[inline]
    pub fn of(head: &Head) -> Option<Tuple> {
        let (sport, dport) = match head.l4 {
            L4::Tcp { sport, dport, .. } | L4::Udp { sport, dport } | L4::Sctp { sport, dport } => {
                (sport, dport)
            }
            L4::Icmp { kind, code, id } => {
                icmp_counterpart(kind)?;
                (id, u16::from_be_bytes([kind, code]))
            }
            L4::Other => match head.protocol {
                _ if head.fragment.offset != 0 => return None,
                protocol::TCP | protocol::UDP | protocol::SCTP | protocol::ICMP => return None,
                _ => (0, 0),
            },
        };
        Some(Tuple { src: head.src, dst: head.dst, sport, dport, protocol: head.protocol })
    }

    /// The tuple of a packet that goes the other way.
    #[inline]
    pub fn inverted(&self) -> Tuple {
        let Tuple { src, dst, sport, dport, protocol } = *self;
        if protocol == protocol::ICMP {
            let [kind, code] = dport.to_be_bytes();
            let answer = icmp_counterpart(kind).unwrap_or(kind);
            let dport = u16::from_be_bytes([answer, code]);
            return Tuple { src: dst, dst: src, sport, dport, protocol };
        }
        Tuple { src: dst, dst: src, sport: dport, dport: sport, protocol }
    }

    /// ICMP type and code.
    pub fn icmp_type_code(&self) -> (u8, u8) {
        let [kind, code] = self.dport.to_be_bytes();
        (kind, code)
    }
}

/// The type that answers, or asks, an ICMP query type.
pub(crate) fn icmp_counterpart(kind: u8) -> Option<u8> {
    match kind {
        8 => Some(0),
        0 => Some(8),
        13 | 15 | 17 => Some(kind + 1),
        14 | 16 | 18 => Some(kind - 1),
        _ => None,
    }
}

impl fmt::Display for Tuple {
    /// As `conntrack -L` prints it. That tool takes protocol 33 for one with ports, though this kernel no
    /// longer tracks it as one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src={} dst={}", self.src, self.dst)?;
        match self.protocol {
            protocol::ICMP => {
                let (kind, code) = self.icmp_type_code();
                write!(f, " type={kind} code={code} id={}", self.sport)
            }
            protocol::TCP | protocol::UDP | protocol::SCTP | super::DCCP => {
                write!(f, " sport={} dport={}", self.sport, self.dport)
            }
            super::GRE => write!(f, " srckey={:#x} dstkey={:#x}", self.sport, self.dport),
            _ => Ok(()),
        }
    }
}
