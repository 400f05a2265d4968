//! A network namespace: interfaces, tables, netfilter, sockets.

use std::net::Ipv4Addr;

use base::Rng;
use netfilter::ext::addrtype::AddrType;
use netfilter::{IfName, Netfilter, Surroundings};

use crate::iface::IfId;
use crate::neigh::Neighbours;
use crate::route::Fib;
use crate::socket::Sockets;

/// Stands for a namespace for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NsId {
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    /// Its name, unique in the world.
    pub name: String,
    pub(crate) serial: u32,
    /// Its interfaces, by index.
    pub(crate) ifaces: Vec<IfId>,
    pub(crate) loopback: IfId,
    pub(crate) next_index: u32,
    /// `net.ipv4.ip_forward`
    pub(crate) forwarding: bool,
    /// `net.ipv4.conf.all.route_localnet`
    pub(crate) route_localnet: bool,
    /// Switched off: nothing comes in, nothing goes out.
    pub(crate) is_off: bool,
    pub(crate) fib: Fib,
    pub(crate) neighbours: Neighbours,
    pub(crate) netfilter: Netfilter,
    pub(crate) sockets: Sockets,
    pub(crate) rng: Rng,
}

/// What rules may ask about addresses, for one packet.
pub(crate) struct View<'a> {
    pub(crate) fib: &'a Fib,
    /// The interface the packet leaves by, and its next hop.
    pub(crate) leaves: Option<(IfId, Ipv4Addr)>,
}

impl Surroundings for View<'_> {
    fn addr_type(&self, addr: Ipv4Addr, iface: Option<IfName>) -> AddrType {
        if addr.is_multicast() {
            return AddrType::Multicast;
        }
        if addr.is_unspecified() || self.fib.is_broadcast(addr) {
            return AddrType::Broadcast;
        }
        let is_local = match iface {
            None => self.fib.is_local(addr),
            Some(name) => self.fib.locals().iter().any(|l| l.cidr.addr == addr && l.name == name),
        };
        if is_local { AddrType::Local } else { AddrType::Unicast }
    }

    fn masquerade_source(&self) -> Option<Ipv4Addr> {
        let (dev, next_hop) = self.leaves?;
        self.fib.select_source(dev, next_hop)
    }

    fn primary_address(&self, iface: IfName) -> Option<Ipv4Addr> {
        self.fib.locals().iter().find(|local| local.name == iface).map(|local| local.cidr.addr)
    }
}
