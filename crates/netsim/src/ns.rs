//! A network namespace: interfaces, tables, settings, netfilter, sockets.

use base::tree::BTreeMap;
use std::net::Ipv4Addr;

use base::{Duration, Instant, Rng};
use netfilter::ext::addrtype::AddrType;
use netfilter::ext::link::PktType;
use netfilter::{IfName, Netfilter, Sender, Surroundings};
use packet::Mac;
use slab::Slab;

use crate::frag::Fragments;
use crate::icmp::IcmpLimits;
use crate::iface::{IfId, Iface};
use crate::kernel::Kernel;
use crate::neigh::Neighbours;
use crate::route::{Fib, Flow, RouteKind, Scope};
use crate::socket::Sockets;
use crate::sysctl::{IfKey, NsKey, Sysctls};

/// Stands for a namespace for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NsId {
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

impl NsId {
    /// None of them: where a packet from outside the world was made.
    pub(crate) const NONE: NsId = NsId { slot: u32::MAX, serial: u32::MAX };
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
    pub(crate) sysctls: Sysctls,
    /// Switched off: nothing comes in, nothing goes out.
    pub(crate) is_switched_off: bool,
    /// The same by a fault.
    pub(crate) has_no_power: bool,
    pub(crate) fib: Fib,
    pub(crate) neighbours: Neighbours,
    pub(crate) fragments: Fragments,
    pub(crate) icmp_limits: IcmpLimits,
    pub(crate) path_mtus: PathMtus,
    pub(crate) netfilter: Netfilter,
    pub(crate) sockets: Sockets,
    pub(crate) rng: Rng,
    /// Of the next packet that may be fragmented.
    pub(crate) ident: u16,
}

impl Namespace {
    pub(crate) fn is_off(&self) -> bool {
        self.is_switched_off || self.has_no_power
    }

    /// The greater of an interface's setting and that of all.
    pub(crate) fn conf_max(&self, iface: &Iface, key: IfKey) -> i32 {
        self.sysctls.all.get(key).max(iface.conf.get(key))
    }

    pub(crate) fn next_ident(&mut self) -> u16 {
        self.ident = self.ident.wrapping_add(1);
        self.ident
    }
}

/// What routers have said about how long packets to a destination may be (RFC 1191; `fnhe_pmtu`).
#[derive(Debug, Default)]
pub(crate) struct PathMtus(BTreeMap<Ipv4Addr, (u16, Instant)>);

/// Destinations remembered.
const PATH_MTUS_MAX: usize = 1024;

impl PathMtus {
    pub(crate) fn get(&self, dst: Ipv4Addr, now: Instant) -> Option<u16> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&dst).filter(|(_, expires)| *expires > now).map(|(mtu, _)| *mtu)
    }

    fn set(&mut self, dst: Ipv4Addr, mtu: u16, now: Instant, expires: Instant) {
        if self.0.len() >= PATH_MTUS_MAX {
            self.0.retain(|_, (_, expires)| *expires > now);
            if self.0.len() >= PATH_MTUS_MAX {
                self.0.pop_first();
            }
        }
        self.0.insert(dst, (mtu, expires));
    }

    pub(crate) fn entries(&self, now: Instant) -> impl Iterator<Item = (Ipv4Addr, u16, Instant)> {
        let all = self.0.iter().map(|(dst, (mtu, expires))| (*dst, *mtu, *expires));
        all.filter(move |(.., expires)| *expires > now)
    }
}

impl Kernel {
    /// What may be sent to `dst` in one piece where the first link takes `mtu`.
    pub(crate) fn path_mtu(&self, ns: NsId, dst: Ipv4Addr, mtu: u16) -> u16 {
        let now = self.now;
        let known = self.ns(ns).and_then(|here| here.path_mtus.get(dst, now));
        known.map_or(mtu, |known| known.min(mtu))
    }

    /// A router has said that packets to `dst` must not be longer than `mtu` (`ip_rt_update_pmtu`).
    /// Says what holds from now on, if that is less than before.
    pub(crate) fn learn_path_mtu(&mut self, ns: NsId, dst: Ipv4Addr, mtu: u16) -> Option<u16> {
        let now = self.now;
        let here = self.ns_mut(ns)?;
        if here.sysctls.is_on(NsKey::IpNoPmtuDisc) {
            return None;
        }
        let least = u16::try_from(here.sysctls.get(NsKey::MinPmtu)).unwrap_or(552);
        let mtu = mtu.max(least);
        if here.path_mtus.get(dst, now).is_some_and(|known| known <= mtu) {
            return None;
        }
        let seconds = u64::try_from(here.sysctls.get(NsKey::MtuExpires)).unwrap_or(0);
        here.path_mtus.set(dst, mtu, now, now + Duration::from_secs(seconds));
        Some(mtu)
    }

    /// The greater of an interface's setting and that of all of its namespace.
    pub(crate) fn if_conf_max(&self, ns: NsId, dev: IfId, key: IfKey) -> i32 {
        match (self.ns(ns), self.iface(dev)) {
            (Some(here), Some(iface)) => here.conf_max(iface, key),
            _ => 0,
        }
    }
}

/// What rules may ask about addresses, for one packet.
pub(crate) struct View<'a> {
    pub(crate) fib: &'a Fib,
    pub(crate) ifaces: &'a Slab<Iface>,
    /// The interface the packet leaves by, and its next hop.
    pub(crate) leaves: Option<(IfId, Ipv4Addr)>,
    /// Source and destination of the packet as it came to the hook.
    pub(crate) addrs: (Ipv4Addr, Ipv4Addr),
    /// The station whose frame it came in, and whether that was for a group of stations.
    pub(crate) from: (Mac, bool),
    /// The program that has sent it.
    pub(crate) sender: Sender,
}

impl View<'_> {
    fn mtu(&self, dev: IfId) -> Option<u16> {
        self.ifaces.get(dev.slot as usize).map(|iface| iface.mtu)
    }
}

impl Surroundings for View<'_> {
    fn addr_type(&self, addr: Ipv4Addr, iface: Option<IfName>) -> AddrType {
        if addr.is_multicast() {
            return AddrType::Multicast;
        }
        let is_of = |dev: IfId| match iface {
            None => true,
            Some(name) => self.ifaces.get(dev.slot as usize).is_some_and(|i| i.name == name),
        };
        let is_to_all = addr.is_unspecified() || addr.is_broadcast();
        if is_to_all || self.fib.broadcast_dev(addr).is_some_and(is_of) {
            return AddrType::Broadcast;
        }
        let is_local = match iface {
            None => self.fib.is_local(addr),
            Some(name) => self.fib.locals().iter().any(|l| l.cidr.addr == addr && l.name == name),
        };
        if is_local { AddrType::Local } else { AddrType::Unicast }
    }

    fn version(&self) -> Option<u64> {
        Some(self.fib.version())
    }

    fn masquerade_source(&self) -> Option<Ipv4Addr> {
        let (dev, next_hop) = self.leaves?;
        self.fib.select_addr(dev, next_hop, Scope::UNIVERSE)
    }

    fn primary_address(&self, iface: IfName) -> Option<Ipv4Addr> {
        self.fib.locals().iter().find(|local| local.name == iface).map(|local| local.cidr.addr)
    }

    fn source_mac(&self) -> Option<Mac> {
        Some(self.from.0).filter(|mac| *mac != Mac::ZERO)
    }

    fn sender(&self) -> Sender {
        self.sender
    }

    fn packet_type(&self) -> PktType {
        match self.from {
            (_, false) => PktType::Unicast,
            _ if self.addrs.1.is_multicast() => PktType::Multicast,
            _ => PktType::Broadcast,
        }
    }

    fn reverse_path(&self, src: Ipv4Addr, iif: IfName, loose: bool, mark: u32) -> Option<bool> {
        let Ok(back) = self.fib.lookup(&Flow { mark, ..Flow::to(src) }) else { return Some(false) };
        let name = self.ifaces.get(back.dev.slot as usize).map(|iface| iface.name);
        Some(back.kind == RouteKind::Unicast && (loose || name == Some(iif)))
    }

    fn path_mtu(&self) -> Option<u16> {
        let (dev, _) = self.leaves?;
        let back = self.fib.lookup(&Flow::to(self.addrs.0)).ok();
        let there = self.mtu(dev)?;
        Some(back.and_then(|route| self.mtu(route.dev)).map_or(there, |mtu| mtu.min(there)))
    }
}
