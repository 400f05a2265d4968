//! Connections chosen by what they are: the conditions of `conntrack -L`, `-D`, `-U` and `-E`.

use std::net::Ipv4Addr;

use super::tcp::TcpState;
use super::{Conn, Proto, Tuple, status};

/// An address, and the bits of it that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddrBits {
    /// The address.
    pub addr: Ipv4Addr,
    /// The bits to compare.
    pub mask: u32,
}

impl AddrBits {
    /// This address and no other.
    pub fn host(addr: Ipv4Addr) -> AddrBits {
        AddrBits { addr, mask: u32::MAX }
    }

    fn fits(&self, addr: Ipv4Addr) -> bool {
        (u32::from(addr) ^ u32::from(self.addr)) & self.mask == 0
    }
}

/// What is asked about translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translated {
    /// It is translated, to whatever.
    Any,
    /// It is translated to this address.
    To(Ipv4Addr),
}

/// Conditions on one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TupleFilter {
    /// Source address.
    pub src: Option<AddrBits>,
    /// Destination address.
    pub dst: Option<AddrBits>,
    /// Source port, or ICMP identifier.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
}

impl TupleFilter {
    fn matches(&self, tuple: &Tuple) -> bool {
        self.src.is_none_or(|src| src.fits(tuple.src))
            && self.dst.is_none_or(|dst| dst.fits(tuple.dst))
            && self.sport.is_none_or(|port| port == tuple.sport)
            && self.dport.is_none_or(|port| port == tuple.dport)
    }
}

/// Conditions that all must hold. The default has none: everything fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Protocol number.
    pub protocol: Option<u8>,
    /// Packets as the first one.
    pub original: TupleFilter,
    /// Answers.
    pub reply: TupleFilter,
    /// ICMP type.
    pub icmp_type: Option<u8>,
    /// ICMP code.
    pub icmp_code: Option<u8>,
    /// State of TCP.
    pub tcp_state: Option<TcpState>,
    /// Name of a state of another protocol.
    pub state: Option<&'static str>,
    /// Mark, and the bits of it that count.
    pub mark: Option<(u32, u32)>,
    /// All of these status bits.
    pub status: u16,
    /// Nobody has answered.
    pub is_unreplied: bool,
    /// Its source is translated.
    pub src_nat: Option<Translated>,
    /// Its destination is translated.
    pub dst_nat: Option<Translated>,
    /// Its source or its destination is translated.
    pub any_nat: Option<Translated>,
    /// Something that no connection here is: of IPv6, or of another zone.
    pub is_foreign: bool,
}

fn is_src_translated(conn: &Conn, wanted: Translated) -> bool {
    let is_decided = conn.has(status::SRC_NAT_DONE);
    let (from, to) = (conn.original.src, conn.reply.dst);
    match wanted {
        Translated::To(addr) => is_decided && from != to && to == addr,
        // The tool compares the ports of all protocols alike; for ICMP these are an identifier and a type,
        // so that it takes every ICMP connection for translated.
        Translated::Any => is_decided && (from != to || conn.original.sport != conn.reply.dport),
    }
}

fn is_dst_translated(conn: &Conn, wanted: Translated) -> bool {
    let is_decided = conn.has(status::DST_NAT_DONE);
    let (from, to) = (conn.original.dst, conn.reply.src);
    match wanted {
        Translated::To(addr) => is_decided && from != to && to == addr,
        Translated::Any => is_decided && (from != to || conn.original.dport != conn.reply.sport),
    }
}

impl Filter {
    /// Whether all conditions hold.
    pub fn matches(&self, conn: &Conn) -> bool {
        let (kind, code) = conn.original.icmp_type_code();
        !self.is_foreign
            && self.protocol.is_none_or(|protocol| protocol == conn.original.protocol)
            && self.original.matches(&conn.original)
            && self.reply.matches(&conn.reply)
            && self.icmp_type.is_none_or(|wanted| wanted == kind)
            && self.icmp_code.is_none_or(|wanted| wanted == code)
            && self.tcp_state.is_none_or(|state| conn.tcp_state() == Some(state))
            && self.state.is_none_or(|state| match conn.proto {
                Proto::Sctp(_) => conn.state_name() == Some(state),
                Proto::Tcp(_) | Proto::Other => false,
            })
            && self.mark.is_none_or(|(mark, mask)| conn.mark & mask == mark & mask)
            && conn.has(self.status)
            && !(self.is_unreplied && conn.has(status::SEEN_REPLY))
            && self.is_translated(conn)
    }

    fn is_translated(&self, conn: &Conn) -> bool {
        self.src_nat.is_none_or(|wanted| is_src_translated(conn, wanted))
            && self.dst_nat.is_none_or(|wanted| is_dst_translated(conn, wanted))
            && self.any_nat.is_none_or(|wanted| {
                is_src_translated(conn, wanted) || is_dst_translated(conn, wanted)
            })
    }
}
