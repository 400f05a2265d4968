//! Building and changing the world's network as `ip` does: links, addresses, routes, rules, neighbours
//! (`net/core/rtnetlink.c`, `net/ipv4/devinet.c`, `fib_frontend.c`, `fib_semantics.c`).

use std::fmt;
use std::net::Ipv4Addr;

use base::Duration;
use netfilter::iface::IFNAME_MAX;
use netfilter::{IfName, Skb};
use packet::{Arp, Body, Frame, Mac};

use crate::addr::Cidr;
use crate::bridge::Fdb;
use crate::drops::DropReason;
use crate::iface::{IfAddr, IfId, IfKind, IfStats, Iface};
use crate::kernel::Kernel;
use crate::link::LinkConfig;
use crate::neigh::NeighState;
use crate::ns::NsId;
use crate::path::Outgoing;
use crate::route::{Flow, PutRoute, PutRouteError, Route, RouteKind, Scope, TABLE_LOCAL};
use crate::rule::PolicyRule;
use crate::sim::Net;
use crate::trace::Cause;

/// Why a change was refused, in the words that `ip` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetlinkError {
    /// `EEXIST`
    Exists,
    /// `ESRCH`
    NoSuchProcess,
    /// `ENOENT`
    NoSuchEntry,
    /// `ENODEV`
    NoDevice,
    /// `EOPNOTSUPP`
    NotSupported,
    /// `EBUSY`
    Busy,
    /// `ENOBUFS`
    NoBuffer,
    /// `ENETUNREACH`
    NetUnreachable,
    /// `EHOSTUNREACH`
    HostUnreachable,
    /// `EACCES`
    AccessDenied,
    /// `EINVAL`
    Invalid,
    /// With the kernel's own explanation.
    Explained(&'static str),
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            NetlinkError::Explained(text) => return write!(f, "Error: {text}."),
            NetlinkError::Exists => "File exists",
            NetlinkError::NoSuchProcess => "No such process",
            NetlinkError::NoSuchEntry => "No such file or directory",
            NetlinkError::NoDevice => "No such device",
            NetlinkError::NotSupported => "Operation not supported",
            NetlinkError::Busy => "Device or resource busy",
            NetlinkError::NoBuffer => "No buffer space available",
            NetlinkError::NetUnreachable => "Network is unreachable",
            NetlinkError::HostUnreachable => "No route to host",
            NetlinkError::AccessDenied => "Permission denied",
            NetlinkError::Invalid => "Invalid argument",
        };
        write!(f, "RTNETLINK answers: {text}")
    }
}

impl std::error::Error for NetlinkError {}

type Done = Result<(), NetlinkError>;

/// Shortest and longest packet that a link can be set to take (`ETH_MIN_MTU`, `ETH_MAX_MTU`).
const MTU_RANGE: std::ops::RangeInclusive<u32> = 68..=65535;

/// Links.
impl Net {
    /// Two interfaces with a cable between them, both up. Names must be new in their namespaces.
    pub fn add_veth(
        &self,
        (ns_a, name_a): (NsId, &str),
        (ns_b, name_b): (NsId, &str),
        link: LinkConfig,
    ) -> (IfId, IfId) {
        let mut kernel = self.kernel_mut();
        let end = |link: LinkConfig| IfKind::Veth {
            peer: IfId::NONE,
            sound: link.clone(),
            link,
            busy_until: base::Instant::ZERO,
        };
        let (mac_a, mac_b) = (kernel.mac(ns_a, name_a), kernel.mac(ns_b, name_b));
        let a = kernel.add_iface(ns_a, name_a, mac_a, 1500, end(link.clone()));
        let b = kernel.add_iface(ns_b, name_b, mac_b, 1500, end(link));
        for (one, other) in [(a, b), (b, a)] {
            if let Some(Iface { kind: IfKind::Veth { peer, .. }, .. }) = kernel.iface_mut(one) {
                *peer = other;
            }
        }
        kernel.refresh_link(a);
        kernel.refresh_link(b);
        (a, b)
    }

    /// A bridge, up, without ports.
    pub fn add_bridge(&self, ns: NsId, name: &str) -> IfId {
        let mut kernel = self.kernel_mut();
        let mac = kernel.mac(ns, name);
        let kind = IfKind::Bridge { ports: Vec::new(), fdb: Fdb::default() };
        kernel.add_iface(ns, name, mac, 1500, kind)
    }

    /// An interface, up, that takes everything and sends nothing.
    pub fn add_dummy(&self, ns: NsId, name: &str) -> IfId {
        let mut kernel = self.kernel_mut();
        let mac = kernel.mac(ns, name);
        kernel.add_iface(ns, name, mac, 1500, IfKind::Dummy)
    }

    /// Whether a new interface of a namespace may have this name.
    pub fn check_link_name(&self, ns: NsId, name: &str) -> Done {
        let is_bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if name.is_empty() || name.len() > IFNAME_MAX || name == "." || name == ".." {
            return Err(NetlinkError::Explained("Attribute failed policy validation"));
        }
        if name.contains(is_bad) {
            return Err(NetlinkError::Invalid);
        }
        if self.iface_named(ns, name).is_some() {
            return Err(NetlinkError::Exists);
        }
        Ok(())
    }

    /// The interface of this name.
    pub fn iface_named(&self, ns: NsId, name: &str) -> Option<IfId> {
        let kernel = self.kernel();
        let ifaces = &kernel.ns(ns)?.ifaces;
        let is_it = |id: &&IfId| kernel.iface(**id).is_some_and(|i| i.name.as_str() == name);
        ifaces.iter().find(is_it).copied()
    }

    /// Makes an interface a port of a bridge of the same namespace.
    pub fn set_master(&self, port: IfId, bridge: IfId) {
        let mut kernel = self.kernel_mut();
        kernel.leave_bridge(port);
        let is_bridge =
            matches!(kernel.iface(bridge), Some(Iface { kind: IfKind::Bridge { .. }, .. }));
        let is_here = kernel.iface(port).map(|p| p.ns) == kernel.iface(bridge).map(|b| b.ns);
        if !is_bridge || !is_here || port == bridge {
            return;
        }
        if let Some(Iface { kind: IfKind::Bridge { ports, .. }, .. }) = kernel.iface_mut(bridge) {
            ports.push(port);
        }
        if let Some(iface) = kernel.iface_mut(port) {
            iface.master = Some(bridge);
        }
    }

    /// `ip link set … nomaster`
    pub fn clear_master(&self, port: IfId) {
        self.kernel_mut().leave_bridge(port);
    }

    /// How long a bridge remembers a station it does not hear of.
    pub fn set_ageing_time(&self, bridge: IfId, ageing: Duration) {
        let mut kernel = self.kernel_mut();
        if let Some(Iface { kind: IfKind::Bridge { fdb, .. }, .. }) = kernel.iface_mut(bridge) {
            fdb.set_ageing(ageing);
        }
    }

    /// The stations a bridge knows, and the names of their ports (`bridge fdb show`).
    pub fn stations(&self, bridge: IfId) -> Vec<(Mac, String)> {
        let kernel = self.kernel();
        let Some(Iface { kind: IfKind::Bridge { fdb, .. }, .. }) = kernel.iface(bridge) else {
            return Vec::new();
        };
        let name = |id| kernel.iface(id).map(|i| i.name.to_string()).unwrap_or_default();
        fdb.entries(kernel.now).map(|(mac, port, _)| (mac, name(port))).collect()
    }

    /// Takes an interface away, with its peer, its addresses and routes.
    pub fn remove_iface(&self, id: IfId) {
        self.kernel_mut().remove_iface(id);
    }

    /// `ip link set … up|down`: with an interface that goes down go the routes that lead there.
    pub fn set_up(&self, id: IfId, is_up: bool) {
        self.kernel_mut().set_up(id, is_up);
    }

    /// `ip link set … mtu`
    pub fn set_mtu(&self, id: IfId, mtu: u32) -> Done {
        if mtu < *MTU_RANGE.start() {
            return Err(NetlinkError::Explained("mtu less than device minimum"));
        }
        let longest = u16::try_from(mtu)
            .map_err(|_| NetlinkError::Explained("mtu greater than device maximum"))?;
        let mut kernel = self.kernel_mut();
        kernel.iface_mut(id).ok_or(NetlinkError::NoDevice)?.mtu = longest;
        Ok(())
    }

    /// `ip link set … address`
    pub fn set_mac(&self, id: IfId, mac: Mac) -> Done {
        if mac.is_group() || mac == Mac::ZERO {
            return Err(NetlinkError::Invalid);
        }
        let mut kernel = self.kernel_mut();
        kernel.iface_mut(id).ok_or(NetlinkError::NoDevice)?.mac = mac;
        Ok(())
    }

    /// `ip link set … name`
    pub fn rename(&self, id: IfId, name: &str) -> Done {
        let ns = self.kernel().iface(id).map(|iface| iface.ns).ok_or(NetlinkError::NoDevice)?;
        self.check_link_name(ns, name)?;
        let mut kernel = self.kernel_mut();
        let Some(iface) = kernel.iface_mut(id) else { return Err(NetlinkError::NoDevice) };
        iface.name = IfName::new(name);
        kernel.sync_addrs(id);
        Ok(())
    }

    /// Changes how the cable treats what this end sends.
    pub fn set_link(&self, id: IfId, change: impl FnOnce(&mut LinkConfig)) {
        let mut kernel = self.kernel_mut();
        if let Some(Iface { kind: IfKind::Veth { sound, .. }, .. }) = kernel.iface_mut(id) {
            change(sound);
        }
        kernel.refresh_link(id);
    }
}

/// Addresses.
impl Net {
    /// The address with its network's broadcast address, and the routes that come with it. One that is
    /// there already is left alone.
    pub fn add_addr(&self, id: IfId, cidr: Cidr) {
        let is_loopback = self.kernel().iface(id).is_some_and(Iface::is_loopback);
        let scope = if is_loopback { Scope::HOST } else { Scope::UNIVERSE };
        let broadcast = cidr.broadcast().filter(|_| !is_loopback);
        let _ = self.add_if_addr(id, IfAddr { broadcast, ..IfAddr::new(cidr, scope) });
    }

    /// `ip addr add`
    pub fn add_if_addr(&self, id: IfId, addr: IfAddr) -> Done {
        self.kernel_mut().add_if_addr(id, addr)
    }

    /// `ip addr del`: with the first address of a network go the others of it.
    pub fn remove_addr(&self, id: IfId, cidr: Cidr) -> Done {
        self.kernel_mut().remove_addr(id, cidr)
    }

    /// Tells everybody on the link where an address is (gratuitous ARP).
    pub fn announce(&self, id: IfId, addr: Ipv4Addr) {
        let mut kernel = self.kernel_mut();
        let Some(iface) = kernel.iface(id) else { return };
        let (ns, mac) = (iface.ns, iface.mac);
        let arp = Arp::who_has(addr, mac, addr);
        let frame = Frame { dst: Mac::BROADCAST, src: mac, body: Body::Arp(arp) };
        kernel.send_arp(ns, id, frame, Cause(0));
    }
}

/// Routes and rules.
impl Net {
    /// `ip route add`
    pub fn add_route(&self, ns: NsId, route: Route) -> Done {
        self.put_route(ns, route, PutRoute::Add)
    }

    /// `ip route add|replace|change|append|prepend`
    pub fn put_route(&self, ns: NsId, route: Route, how: PutRoute) -> Done {
        self.kernel_mut().put_route(ns, route, how)
    }

    /// `ip route del`: the routes of the main table to `dst`. Says how many there were.
    pub fn remove_route(&self, ns: NsId, dst: Cidr) -> usize {
        let mut kernel = self.kernel_mut();
        let goes = |route: &Route| route.dst == dst.network() && route.table != TABLE_LOCAL;
        kernel.ns_mut(ns).map_or(0, |ns| ns.fib.remove(goes).len())
    }

    /// `ip route del`: the first route of a table that `matches`.
    pub fn remove_route_if(&self, ns: NsId, table: u32, matches: impl Fn(&Route) -> bool) -> Done {
        let mut kernel = self.kernel_mut();
        let here = kernel.ns_mut(ns).ok_or(NetlinkError::NoSuchProcess)?;
        here.fib.remove_first(table, matches).map(drop).ok_or(NetlinkError::NoSuchProcess)
    }

    /// The routes of a table, by prefix as the kernel lists them.
    pub fn table(&self, ns: NsId, table: u32) -> Vec<Route> {
        let kernel = self.kernel();
        let mut routes = kernel.ns(ns).map_or(Vec::new(), |ns| ns.fib.routes(table).to_vec());
        base::order::sort_by_key(&mut routes, |route| {
            (route.dst.addr, route.dst.len, route.metric)
        });
        routes
    }

    /// The ids of a namespace's tables.
    pub fn tables(&self, ns: NsId) -> Vec<u32> {
        self.kernel().ns(ns).map_or(Vec::new(), |ns| ns.fib.table_ids())
    }

    /// `ip route get`: the way and the source address of a flow that begins here, or that came in by
    /// `flow.iif`.
    pub fn route_get(&self, ns: NsId, flow: &Flow) -> Result<RouteGet, NetlinkError> {
        self.kernel().route_get(ns, flow)
    }

    /// `ip rule`
    pub fn rules(&self, ns: NsId) -> Vec<PolicyRule> {
        self.kernel().ns(ns).map_or(Vec::new(), |ns| ns.fib.rules().to_vec())
    }

    /// `ip rule add`; without a priority it goes before those that are there.
    pub fn add_rule(&self, ns: NsId, rule: PolicyRule, priority: Option<u32>) -> Done {
        let mut kernel = self.kernel_mut();
        let here = kernel.ns_mut(ns).ok_or(NetlinkError::NoSuchEntry)?;
        if here.fib.add_rule(rule, priority) { Ok(()) } else { Err(NetlinkError::Exists) }
    }

    /// `ip rule del`: the first that `matches`.
    pub fn remove_rule(&self, ns: NsId, matches: impl Fn(&PolicyRule) -> bool) -> Done {
        let mut kernel = self.kernel_mut();
        let here = kernel.ns_mut(ns).ok_or(NetlinkError::NoSuchEntry)?;
        if here.fib.remove_rule(matches) { Ok(()) } else { Err(NetlinkError::NoSuchEntry) }
    }

    /// `ip rule flush`
    pub fn flush_rules(&self, ns: NsId) {
        if let Some(here) = self.kernel_mut().ns_mut(ns) {
            here.fib.flush_rules();
        }
    }

    /// What routers have said about the longest packet to a destination, and for how long that counts.
    pub fn path_mtus(&self, ns: NsId) -> Vec<(Ipv4Addr, u16, base::Instant)> {
        let kernel = self.kernel();
        kernel.ns(ns).map_or(Vec::new(), |ns| ns.path_mtus.entries(kernel.now).collect())
    }
}

/// An answer of `ip route get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteGet {
    /// What becomes of the packet: unicast, local or broadcast.
    pub kind: RouteKind,
    /// The next hop, where it is not the destination itself.
    pub via: Option<Ipv4Addr>,
    /// The name of the interface it leaves by.
    pub dev: String,
    /// The source address it gets.
    pub src: Option<Ipv4Addr>,
    /// Longest packet this way.
    pub mtu: u16,
    /// It is so short because a router said so.
    pub is_learnt: bool,
}

/// A neighbour as `ip neigh` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighView {
    /// Its address.
    pub addr: Ipv4Addr,
    /// The interface it is behind.
    pub dev: String,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// Its state.
    pub state: NeighState,
}

/// Neighbours.
impl Net {
    /// `ip neigh`
    pub fn neighbours(&self, ns: NsId) -> Vec<NeighView> {
        let kernel = self.kernel();
        let Some(here) = kernel.ns(ns) else { return Vec::new() };
        let name = |id| kernel.iface(id).map(|i| i.name.to_string()).unwrap_or_default();
        let view = |(dev, addr, n): (IfId, Ipv4Addr, &crate::neigh::Neighbour)| NeighView {
            addr,
            dev: name(dev),
            mac: n.mac,
            state: n.state(kernel.now),
        };
        here.neighbours.entries().map(view).collect()
    }

    /// `ip neigh add|replace|change`: `may_exist`, `may_be_new` say which of them.
    pub fn put_neighbour(
        &self,
        dev: IfId,
        addr: Ipv4Addr,
        (mac, state): (Option<Mac>, NeighState),
        (may_exist, may_be_new): (bool, bool),
    ) -> Done {
        let mut kernel = self.kernel_mut();
        let ns = kernel.iface(dev).map(|iface| iface.ns).ok_or(NetlinkError::NoDevice)?;
        let known = kernel.ns(ns).and_then(|ns| ns.neighbours.get(dev, addr)).map(|n| n.mac);
        match known {
            Some(_) if !may_exist => return Err(NetlinkError::Exists),
            None if !may_be_new => return Err(NetlinkError::NoSuchEntry),
            _ => {}
        }
        if state.is_valid() && mac.or(known.flatten()).is_none() {
            return Err(NetlinkError::Explained("No link layer address given"));
        }
        match kernel.set_neighbour(ns, dev, addr, mac, state) {
            true => Ok(()),
            false => Err(NetlinkError::NoBuffer),
        }
    }

    /// `ip neigh del`
    pub fn remove_neighbour(&self, dev: IfId, addr: Ipv4Addr) -> Done {
        let mut kernel = self.kernel_mut();
        let ns = kernel.iface(dev).map(|iface| iface.ns).ok_or(NetlinkError::NoDevice)?;
        let here = kernel.ns_mut(ns).ok_or(NetlinkError::NoDevice)?;
        let gone = here.neighbours.remove(dev, addr).ok_or(NetlinkError::NoSuchEntry)?;
        kernel.lose_waiting(ns, gone.waiting);
        Ok(())
    }

    /// `ip neigh flush`: forgets what `matches`, but nothing that was set by hand.
    pub fn flush_neighbours(&self, ns: NsId, matches: impl Fn(IfId, Ipv4Addr) -> bool) {
        let mut kernel = self.kernel_mut();
        let Some(here) = kernel.ns_mut(ns) else { return };
        let is_kept = |state| matches!(state, NeighState::Permanent | NeighState::NoArp);
        let waiting = here.neighbours.forget(|dev, addr, n| !is_kept(n.nud) && matches(dev, addr));
        kernel.lose_waiting(ns, waiting);
    }
}

impl Kernel {
    /// A hardware address that depends on the seed and the place only.
    fn mac(&self, ns: NsId, iface: &str) -> Mac {
        let ns = self.ns(ns).map(|ns| ns.name.as_str()).unwrap_or_default();
        Mac::local(self.rng.fork(&format!("mac/{ns}/{iface}")).next_u64())
    }

    pub(crate) fn add_iface(
        &mut self,
        ns: NsId,
        name: &str,
        mac: Mac,
        mtu: u16,
        kind: IfKind,
    ) -> IfId {
        let serial = self.next_serial;
        self.next_serial += 1;
        let (index, conf) = self.ns_mut(ns).map_or((0, Default::default()), |ns| {
            ns.next_index += 1;
            (ns.next_index - 1, ns.sysctls.default)
        });
        self.ways.changed();
        let slot = self.ifaces.insert(Iface {
            serial,
            ns,
            index,
            name: IfName::new(name),
            mac,
            mtu,
            is_up: true,
            is_arp_silent: false,
            master: None,
            addrs: Vec::new(),
            conf,
            kind,
            stats: IfStats::default(),
        }) as u32;
        let id = IfId { slot, serial };
        if let Some(ns) = self.ns_mut(ns) {
            ns.ifaces.push(id);
        }
        id
    }

    fn leave_bridge(&mut self, port: IfId) {
        let Some(iface) = self.iface_mut(port) else { return };
        let master = iface.master.take();
        if let Some(Iface { kind: IfKind::Bridge { ports, fdb }, .. }) =
            master.and_then(|master| self.iface_mut(master))
        {
            ports.retain(|other| *other != port);
            fdb.forget_port(port);
        }
    }

    pub(crate) fn remove_iface(&mut self, id: IfId) {
        self.leave_bridge(id);
        let Some(iface) = self.iface(id) else { return };
        let ns = iface.ns;
        let (mut peer, mut ports) = (None, Vec::new());
        match &iface.kind {
            IfKind::Veth { peer: other, .. } => peer = Some(*other),
            IfKind::Bridge { ports: all, .. } => ports = all.clone(),
            _ => {}
        }
        for port in ports {
            self.leave_bridge(port);
        }
        self.ways.changed();
        self.ifaces.remove(id.slot as usize);
        if let Some(here) = self.ns_mut(ns) {
            here.ifaces.retain(|other| *other != id);
            here.fib.forget_dev(id, true);
            let waiting = here.neighbours.forget(|dev, _, _| dev == id);
            self.lose_waiting(ns, waiting);
        }
        if let Some(peer) = peer {
            self.remove_iface(peer);
        }
    }

    /// Packets waited for a neighbour that is not looked for any more.
    pub(crate) fn lose_waiting(&mut self, ns: NsId, waiting: impl IntoIterator<Item = Outgoing>) {
        for Outgoing { packet, meta } in waiting {
            self.drop_ip(ns, meta, Skb::new(packet), DropReason::Down);
        }
    }

    pub(crate) fn set_up(&mut self, id: IfId, is_up: bool) {
        let now = self.now;
        let Some(iface) = self.iface_mut(id) else { return };
        if iface.is_up == is_up {
            return;
        }
        iface.is_up = is_up;
        let (ns, addrs, is_loopback) = (iface.ns, iface.addrs.clone(), iface.is_loopback());
        let name = iface.name;
        let Some(here) = self.ns_mut(ns) else { return };
        if is_up {
            for addr in &addrs {
                let primary = primary_of(&addrs, addr);
                here.fib.add_addr_routes(addr, primary, id, (is_loopback, true));
            }
            return;
        }
        here.fib.forget_dev(id, false);
        here.netfilter.conntrack_mut().masquerade_down(name, now);
        let waiting = here.neighbours.forget(|dev, _, _| dev == id);
        self.lose_waiting(ns, waiting);
    }

    fn add_if_addr(&mut self, id: IfId, mut addr: IfAddr) -> Done {
        let Some(iface) = self.iface_mut(id) else { return Err(NetlinkError::NoDevice) };
        let is_same = |a: &IfAddr| a.cidr == addr.cidr;
        if iface.addrs.iter().any(is_same) {
            return Err(NetlinkError::Explained("ipv4: Address already assigned"));
        }
        let network = addr.cidr.network();
        let primaries = || iface.addrs.iter().filter(|a| !a.is_secondary);
        addr.is_secondary = primaries().any(|a| a.cidr.network() == network && network.len < 32);
        // First addresses stand by scope, the nearest first, and before all second ones.
        let at = match addr.is_secondary {
            true => iface.addrs.len(),
            false => {
                let stays_before = |a: &IfAddr| !a.is_secondary && a.scope >= addr.scope;
                iface.addrs.iter().rposition(stays_before).map_or(0, |at| at + 1)
            }
        };
        iface.addrs.insert(at, addr);
        let primary = primary_of(&iface.addrs, &addr);
        let (ns, flags) = (iface.ns, (iface.is_loopback(), iface.is_up));
        self.sync_addrs(id);
        if let Some(here) = self.ns_mut(ns) {
            here.fib.add_addr_routes(&addr, primary, id, flags);
        }
        Ok(())
    }

    fn remove_addr(&mut self, id: IfId, cidr: Cidr) -> Done {
        let now = self.now;
        let Some(iface) = self.iface_mut(id) else { return Err(NetlinkError::NoDevice) };
        let missing = NetlinkError::Explained("ipv4: Address not found");
        let at = iface.addrs.iter().position(|addr| addr.cidr == cidr).ok_or(missing)?;
        let mut gone = vec![iface.addrs.remove(at)];
        if gone.iter().all(|addr| !addr.is_secondary) {
            let network = cidr.network();
            let goes_too = |a: &IfAddr| a.is_secondary && a.cidr.network() == network;
            gone.extend(iface.addrs.iter().filter(|addr| goes_too(addr)).copied());
            iface.addrs.retain(|addr| !goes_too(addr));
        }
        let (ns, name, is_last) = (iface.ns, iface.name, iface.addrs.is_empty());
        self.sync_addrs(id);
        let Some(here) = self.ns_mut(ns) else { return Ok(()) };
        for addr in gone {
            here.fib.remove_addr_routes(&addr, id);
            let conntrack = here.netfilter.conntrack_mut();
            conntrack.masquerade_address_gone(name, addr.cidr.addr, now);
        }
        // An interface without addresses does not speak IP (`fib_disable_ip`).
        if is_last {
            here.fib.forget_dev(id, true);
            let waiting = here.neighbours.forget(|dev, _, _| dev == id);
            self.lose_waiting(ns, waiting);
        }
        Ok(())
    }

    /// Tells the routing tables which addresses an interface has.
    fn sync_addrs(&mut self, id: IfId) {
        let Some(iface) = self.iface(id) else { return };
        let (ns, key, addrs) = (iface.ns, (iface.index, iface.name), iface.addrs.clone());
        if let Some(here) = self.ns_mut(ns) {
            here.fib.set_addrs(id, key, &addrs);
        }
    }

    /// `fib_create_info`: what is asked of a route before it is put in.
    fn put_route(&mut self, ns: NsId, mut route: Route, how: PutRoute) -> Done {
        let Some(here) = self.ns(ns) else { return Err(NetlinkError::NoDevice) };
        if route.dst != route.dst.network() {
            return Err(NetlinkError::Explained("Invalid prefix for given prefix length"));
        }
        if !route.kind.has_device() {
            (route.via, route.dev) = (None, IfId::NONE);
        } else if let Some(via) = route.via
            && route.kind == RouteKind::Unicast
        {
            route.dev = self.check_gateway(ns, via, route.dev, route.onlink)?;
        } else {
            let iface = self.iface(route.dev).ok_or(NetlinkError::NoDevice)?;
            if !iface.is_up && route.kind == RouteKind::Unicast {
                return Err(NetlinkError::Explained("Device for nexthop is not up"));
            }
        }
        if route.src.is_some_and(|src| !here.fib.is_local(src)) && route.kind != RouteKind::Local {
            return Err(NetlinkError::Explained("Invalid prefsrc address"));
        }
        let Some(here) = self.ns_mut(ns) else { return Err(NetlinkError::NoDevice) };
        here.fib.put(route, how).map_err(|error| match error {
            PutRouteError::Exists => NetlinkError::Exists,
            PutRouteError::Missing => NetlinkError::NoSuchEntry,
        })
    }

    /// Whether a next hop is on a link, and on which (`fib_check_nh_v4_gw`).
    fn check_gateway(
        &self,
        ns: NsId,
        via: Ipv4Addr,
        dev: IfId,
        is_onlink: bool,
    ) -> Result<IfId, NetlinkError> {
        let invalid = NetlinkError::Explained("Nexthop has invalid gateway");
        let here = self.ns(ns).ok_or(NetlinkError::NoDevice)?;
        let is_up = |dev| self.iface(dev).map(|iface| iface.is_up);
        if is_onlink {
            return match is_up(dev) {
                None => Err(NetlinkError::NoDevice),
                Some(false) => Err(NetlinkError::Explained("Nexthop device is not up")),
                Some(true) if here.fib.is_local(via) || via.is_multicast() => Err(invalid),
                Some(true) => Ok(dev),
            };
        }
        let oif = (dev != IfId::NONE).then_some(dev);
        let flow = Flow { oif, scope: Scope::LINK, ..Flow::to(via) };
        let found = here.fib.lookup(&flow);
        let found = found.ok().filter(|r| matches!(r.kind, RouteKind::Unicast | RouteKind::Local));
        let route = found.ok_or(invalid)?;
        match is_up(route.dev) {
            Some(true) => Ok(route.dev),
            _ => Err(NetlinkError::Explained("Device for nexthop is not up")),
        }
    }

    fn route_get(&self, ns: NsId, flow: &Flow) -> Result<RouteGet, NetlinkError> {
        use crate::route::RouteError::{NoRoute, RuleSays, Says};
        let here = self.ns(ns).ok_or(NetlinkError::NetUnreachable)?;
        let comes_in = !flow.iif.is_none();
        let has_src = !flow.src.is_unspecified();
        if has_src && !comes_in && !here.fib.is_local(flow.src) {
            return Err(NetlinkError::NetUnreachable);
        }
        let way = self.find_way(ns, flow).map_err(|error| match error {
            NoRoute | RuleSays(RouteKind::Unreachable) => NetlinkError::NetUnreachable,
            Says(RouteKind::Unreachable) => NetlinkError::HostUnreachable,
            Says(RouteKind::Prohibit) | RuleSays(RouteKind::Prohibit) => NetlinkError::AccessDenied,
            Says(_) | RuleSays(_) => NetlinkError::Invalid,
        })?;
        let route = here.fib.lookup(flow).ok();
        let chosen = match route {
            Some(route) => here.fib.source_of(route, flow.dst),
            None => here.fib.select_addr(way.dev, flow.dst, Scope::LINK),
        };
        let learnt = here.path_mtus.get(flow.dst, self.now);
        Ok(RouteGet {
            kind: way.kind,
            via: (way.next_hop != flow.dst).then_some(way.next_hop),
            dev: way.name.to_string(),
            src: if has_src { Some(flow.src) } else { chosen },
            mtu: self.path_mtu(ns, flow.dst, way.mtu),
            is_learnt: learnt.is_some_and(|mtu| mtu < way.mtu),
        })
    }
}

/// The first address of the network that `addr` is in.
fn primary_of(addrs: &[IfAddr], addr: &IfAddr) -> Ipv4Addr {
    let network = addr.cidr.network();
    let is_it = |a: &&IfAddr| !a.is_secondary && a.cidr.network() == network;
    match addr.is_secondary {
        true => addrs.iter().find(is_it).map_or(addr.cidr.addr, |a| a.cidr.addr),
        false => addr.cidr.addr,
    }
}
