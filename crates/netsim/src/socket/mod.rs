//! Sockets. smoltcp makes and understands the segments; which socket a packet is for, which port is free,
//! what a closed port answers and how long a closed connection is remembered is decided here.
//!
//! - [`tcp`]: connections and listeners;
//! - [`udp`]: datagram sockets;
//! - [`raw`]: sockets for whole packets: ping, traceroute;
//! - [`list`]: what `ss` shows.
//!
//! What differs from Linux in what smoltcp sends: a window of 64,240 bytes without scaling, no timestamps,
//! options in another order; no delayed acknowledgements, no Nagle; NewReno at most; after "fragmentation
//! needed" the shorter segments go out when the retransmission timer fires, not at once.
//!
//! Every connection has a smoltcp socket set of its own, so that a packet costs the same whether a
//! namespace has one socket or ten thousand.

pub mod list;
pub mod raw;
pub mod tcp;
pub mod udp;

use base::tree::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddrV4};

use base::{FastMap, Instant, Rng};
use netfilter::Skb;
use packet::reply::{self, Unreachable};
use packet::{Head, L4, Packet, protocol};
use slab::Slab;
use smallvec::SmallVec;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium};
use smoltcp::wire::HardwareAddress;

use crate::drops::DropReason;
use crate::icmp::{self, IcmpNews};
use crate::iface::IfId;
use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::path::{Meta, Sent, Way};
use crate::route::{Flow, RouteError, RouteKind};
use crate::sysctl::NsKey;
use crate::trace::Cause;

pub use list::{SocketState, SocketView, Transport};
pub use raw::RawSocket;
pub use tcp::{ListenOptions, TcpListener, TcpStream};
pub use udp::UdpSocket;

use raw::RawState;
use tcp::{Listener, TcpConn, TimeWaits};
use udp::UdpState;

/// Why a socket call failed, in the C library's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SockError {
    /// Nobody listens there (a reset, or "port unreachable").
    Refused,
    /// The other side has reset the connection.
    Reset,
    /// No answer in time.
    TimedOut,
    /// The next hop does not answer, or a router says so.
    HostUnreachable,
    /// No route leads there.
    NetUnreachable,
    /// Another socket has this port.
    AddrInUse,
    /// The address is not one of ours, or no port is free.
    AddrNotAvailable,
    /// This side has already closed for writing.
    BrokenPipe,
    /// A filter on the way says no.
    Prohibited,
    /// A route forbids it, or a broadcast was not asked for.
    AccessDenied,
    /// The route is a blackhole, or the address cannot be talked to.
    InvalidArgument,
    /// The datagram is longer than any may be.
    TooLong,
}

impl fmt::Display for SockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SockError::Refused => "Connection refused",
            SockError::Reset => "Connection reset by peer",
            SockError::TimedOut => "Connection timed out",
            SockError::HostUnreachable => "No route to host",
            SockError::NetUnreachable => "Network is unreachable",
            SockError::AddrInUse => "Address already in use",
            SockError::AddrNotAvailable => "Cannot assign requested address",
            SockError::BrokenPipe => "Broken pipe",
            SockError::Prohibited => "Operation not permitted",
            SockError::AccessDenied => "Permission denied",
            SockError::InvalidArgument => "Invalid argument",
            SockError::TooLong => "Message too long",
        })
    }
}

impl SockError {
    /// What a socket learns from an ICMP error (`icmp_err_convert`).
    fn of(why: Unreachable) -> SockError {
        match why {
            Unreachable::Net => SockError::NetUnreachable,
            Unreachable::Protocol | Unreachable::Port => SockError::Refused,
            Unreachable::NetProhibited => SockError::NetUnreachable,
            Unreachable::Host
            | Unreachable::HostProhibited
            | Unreachable::AdminProhibited
            | Unreachable::FragmentationNeeded(_) => SockError::HostUnreachable,
        }
    }

    /// What a socket learns when there is no way (`ip_route_output_key`).
    fn of_route(error: RouteError) -> SockError {
        match error {
            RouteError::NoRoute | RouteError::RuleSays(RouteKind::Unreachable) => {
                SockError::NetUnreachable
            }
            RouteError::Says(RouteKind::Unreachable) => SockError::HostUnreachable,
            RouteError::Says(RouteKind::Prohibit) | RouteError::RuleSays(RouteKind::Prohibit) => {
                SockError::AccessDenied
            }
            RouteError::Says(_) | RouteError::RuleSays(_) => SockError::InvalidArgument,
        }
    }
}

/// Stands for a socket for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SockId {
    slot: u32,
    serial: u32,
}

/// One end of a connection as its own side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnKey {
    pub(crate) local: SocketAddrV4,
    pub(crate) remote: SocketAddrV4,
}

impl Hash for ConnKey {
    /// Two words: every packet of TCP is looked up by it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let word =
            |addr: &SocketAddrV4| u64::from(u32::from(*addr.ip())) << 16 | u64::from(addr.port());
        state.write_u64(word(&self.local));
        state.write_u64(word(&self.remote));
    }
}

/// All sockets of the world.
#[derive(Default)]
pub(crate) struct Pool {
    socks: Slab<(u32, Sock)>,
    next_serial: u32,
    /// Closed TCP sockets with their buffers, for the next connections.
    spare_tcp: Vec<SocketSet<'static>>,
    /// Buffers of packets that have been taken, for the next ones.
    spare_buffers: Vec<Vec<u8>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} sockets)", self.socks.len())
    }
}

enum Sock {
    Tcp(TcpConn),
    Listener(Listener),
    Udp(UdpState),
    Raw(RawState),
}

impl Pool {
    fn insert(&mut self, sock: Sock) -> SockId {
        let serial = self.next_serial;
        self.next_serial = self.next_serial.wrapping_add(1);
        SockId { slot: self.socks.insert((serial, sock)) as u32, serial }
    }

    fn get_mut(&mut self, id: SockId) -> Option<&mut Sock> {
        let (serial, sock) = self.socks.get_mut(id.slot as usize)?;
        (*serial == id.serial).then_some(sock)
    }

    fn remove(&mut self, id: SockId) -> Option<Sock> {
        self.get_mut(id)?;
        Some(self.socks.remove(id.slot as usize).1)
    }

    fn tcp(&mut self, id: SockId) -> Option<&mut TcpConn> {
        match self.get_mut(id)? {
            Sock::Tcp(conn) => Some(conn),
            _ => None,
        }
    }

    fn listener(&mut self, id: SockId) -> Option<&mut Listener> {
        match self.get_mut(id)? {
            Sock::Listener(listener) => Some(listener),
            _ => None,
        }
    }

    fn udp(&mut self, id: SockId) -> Option<&mut UdpState> {
        match self.get_mut(id)? {
            Sock::Udp(udp) => Some(udp),
            _ => None,
        }
    }

    fn raw(&mut self, id: SockId) -> Option<&mut RawState> {
        match self.get_mut(id)? {
            Sock::Raw(raw) => Some(raw),
            _ => None,
        }
    }
}

/// smoltcp's sides of a namespace, at most so many; a connection for which none fits takes a smaller one.
const STACKS_MAX: usize = 16;

/// Least and greatest MTU a stack is made for.
const STACK_MTU: std::ops::RangeInclusive<u16> = 552..=65_535;

/// The sockets of one namespace: who is meant by a packet.
pub(crate) struct Sockets {
    /// smoltcp's sides of the namespace: one host that has any address it is sent packets for; one for each
    /// MTU, because that is what smoltcp makes segments by.
    stacks: Vec<(u16, Interface)>,
    rng: Rng,
    conns: FastMap<ConnKey, SockId>,
    listeners: BTreeMap<u16, Vec<(Ipv4Addr, SockId)>>,
    udp: BTreeMap<u16, Vec<(Ipv4Addr, SockId)>>,
    raw: Vec<SockId>,
    time_waits: TimeWaits,
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sockets({} connections, {} listeners)", self.conns.len(), self.listeners.len())
    }
}

impl Sockets {
    pub(crate) fn new(rng: &Rng) -> Sockets {
        Sockets {
            stacks: Vec::new(),
            rng: rng.clone(),
            conns: FastMap::default(),
            listeners: BTreeMap::new(),
            udp: BTreeMap::new(),
            raw: Vec::new(),
            time_waits: TimeWaits::default(),
        }
    }

    fn add_stack(&mut self, mtu: u16) {
        let mut config = Config::new(HardwareAddress::Ip);
        let rng = match mtu {
            1500 => self.rng.fork("stack"),
            _ => self.rng.fork(&format!("stack/{mtu}")),
        };
        config.random_seed = rng.clone().next_u64();
        let mut tx = Packets::new();
        let mut phy = Phy { rx: None, tx: &mut tx, spare: &mut Vec::new(), mtu };
        let mut stack = Interface::new(config, &mut phy, smoltcp::time::Instant::ZERO);
        // Which packets are ours has been decided before they get here.
        stack.set_any_ip(true);
        self.stacks.push((mtu, stack));
    }

    /// The MTU of the stack that serves `mtu`; there is one from now on.
    fn stack_mtu(&mut self, mtu: u16) -> u16 {
        let mtu = mtu.clamp(*STACK_MTU.start(), *STACK_MTU.end());
        if self.stacks.iter().any(|(of, _)| *of == mtu) {
            return mtu;
        }
        if self.stacks.len() >= STACKS_MAX {
            let smaller = self.stacks.iter().map(|(of, _)| *of).filter(|of| *of < mtu).max();
            if let Some(smaller) = smaller {
                return smaller;
            }
        }
        self.add_stack(mtu);
        mtu
    }

    fn stack(&mut self, mtu: u16) -> Option<&mut Interface> {
        self.stacks.iter_mut().find(|(of, _)| *of == mtu).map(|(_, stack)| stack)
    }

    /// Connections that are there or were there lately have this address.
    fn is_port_in_use(&self, local: SocketAddrV4, now: Instant) -> bool {
        let is_it = |key: &ConnKey| {
            let ip = *local.ip();
            key.local.port() == local.port() && (ip.is_unspecified() || ip == *key.local.ip())
        };
        self.conns.keys().any(is_it) || self.time_waits.keys(now).iter().any(is_it)
    }

    fn listener_for(&self, local: SocketAddrV4) -> Option<SockId> {
        best(self.listeners.get(&local.port())?, *local.ip())
    }
}

/// The socket bound to this very address, else the one bound to any.
fn best(bound: &[(Ipv4Addr, SockId)], addr: Ipv4Addr) -> Option<SockId> {
    let find = |wanted| bound.iter().find(|(at, _)| *at == wanted).map(|(_, id)| *id);
    find(addr).or_else(|| find(Ipv4Addr::UNSPECIFIED))
}

/// Whether a new socket bound to `addr` would be in the way of those that are there.
fn clashes(bound: Option<&Vec<(Ipv4Addr, SockId)>>, addr: Ipv4Addr) -> bool {
    let any = Ipv4Addr::UNSPECIFIED;
    bound.is_some_and(|bound| bound.iter().any(|(at, _)| addr == any || *at == any || *at == addr))
}

fn unbind(table: &mut BTreeMap<u16, Vec<(Ipv4Addr, SockId)>>, port: u16, id: SockId) {
    if let Some(bound) = table.get_mut(&port) {
        bound.retain(|(_, other)| *other != id);
        if bound.is_empty() {
            table.remove(&port);
        }
    }
}

/// Packets that smoltcp has made in one go.
pub(crate) type Packets = SmallVec<[Vec<u8>; 4]>;

/// smoltcp's device: at most one packet to take, any number to give.
pub(crate) struct Phy<'a> {
    rx: Option<&'a [u8]>,
    tx: &'a mut Packets,
    spare: &'a mut Vec<Vec<u8>>,
    mtu: u16,
}

pub(crate) struct RxToken<'a>(&'a [u8]);
pub(crate) struct TxToken<'a> {
    tx: &'a mut Packets,
    spare: &'a mut Vec<Vec<u8>>,
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.resize(len, 0);
        let result = f(&mut buffer);
        self.tx.push(buffer);
        result
    }
}

impl Device for Phy<'_> {
    type RxToken<'a>
        = RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = TxToken<'a>
    where
        Self: 'a;

    fn receive(
        &mut self,
        _: smoltcp::time::Instant,
    ) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let rx = RxToken(self.rx.take()?);
        Some((rx, TxToken { tx: self.tx, spare: self.spare }))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Self::TxToken<'_>> {
        Some(TxToken { tx: self.tx, spare: self.spare })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = usize::from(self.mtu);
        // What comes in was made by another stack here and rewritten with care; what came from outside
        // the world has been checked at the door.
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities.checksum.udp = Checksum::Tx;
        capabilities.checksum.icmpv4 = Checksum::Tx;
        capabilities
    }
}

fn to_smoltcp(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

fn from_smoltcp(at: smoltcp::time::Instant) -> Instant {
    Instant::from_micros(u64::try_from(at.total_micros()).unwrap_or_default())
}

impl Kernel {
    /// Why the stack does not take a packet that has come through INPUT, if it does not.
    pub(crate) fn refusal(&mut self, ns: NsId, packet: &Packet, meta: Meta) -> Option<DropReason> {
        let head = packet.head();
        match head.l4 {
            // TCP is between two.
            L4::Tcp { .. } if meta.is_group => Some(DropReason::NotAccepted),
            L4::Tcp { .. } if head.is_tcp_syn() => self.tcp_refusal(ns, head),
            L4::Udp { .. } => self.udp_refusal(ns, packet),
            _ => None,
        }
    }

    /// A packet for this namespace has come through INPUT.
    pub(crate) fn stack_in(&mut self, ns: NsId, skb: Skb, meta: Meta) {
        let head = *skb.packet.head();
        let raw_took_it =
            self.ns(ns).is_some_and(|here| !here.sockets.raw.is_empty()) && self.raw_in(ns, &skb);
        match head.l4 {
            L4::Tcp { .. } => self.tcp_in(ns, skb.packet, meta),
            L4::Udp { .. } => self.udp_in(ns, skb, meta),
            L4::Icmp { .. } if head.is_icmp_error() => self.icmp_error_in(ns, &skb.packet),
            L4::Icmp { kind: 8 | 13, .. } => {
                self.answer_query(ns, &skb.packet, meta);
                self.recycle(skb.packet);
            }
            L4::Icmp { .. } => {}
            // A header that is cut short.
            _ if matches!(head.protocol, protocol::TCP | protocol::UDP | protocol::ICMP) => {}
            _ if raw_took_it => {}
            _ => self.send_icmp_error(ns, &skb, Unreachable::Protocol.into(), meta),
        }
    }

    /// A segment that fits no connection and opens none is answered with a reset (`tcp_v4_send_reset`).
    fn refuse_tcp(&mut self, ns: NsId, packet: &Packet, cause: Cause) {
        let Some(mut reset) = reply::tcp_reset(packet) else { return };
        let Some(here) = self.ns(ns) else { return };
        reset.set_ttl(here.sysctls.get(NsKey::IpDefaultTtl) as u8);
        reset.set_tos(packet.head().tos & 0xfc);
        self.ip_out(ns, reset, cause);
    }

    /// Sends what smoltcp has made. `ident`: of the next packet of a connection.
    fn send_all(&mut self, ns: NsId, tx: Packets, sent: Sent, ident: &mut u16) {
        for bytes in tx {
            let Ok(mut packet) = Packet::parse(bytes) else { continue };
            packet.set_ident(*ident);
            *ident = ident.wrapping_add(1);
            self.send(ns, Skb::new(packet), sent);
        }
    }

    /// The source address and the way for talking to `dst`, from `from` or an address that fits.
    fn way_to(
        &self,
        ns: NsId,
        dst: Ipv4Addr,
        from: Option<Ipv4Addr>,
        oif: Option<IfId>,
    ) -> Result<(Ipv4Addr, Way), SockError> {
        let here = self.ns(ns).ok_or(SockError::NetUnreachable)?;
        if let Some(from) = from
            && !here.fib.is_local(from)
            && !here.sysctls.is_on(NsKey::IpNonlocalBind)
        {
            return Err(SockError::AddrNotAvailable);
        }
        let oif_name = oif.and_then(|oif| self.iface(oif)).map(|iface| iface.name);
        let oif_name = oif_name.unwrap_or_default();
        let src = from.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let flow = Flow { src, oif, oif_name, ..Flow::to(dst) };
        let way = self.find_way(ns, &flow).map_err(SockError::of_route)?;
        let chosen = || match here.fib.lookup(&flow) {
            Ok(route) => here.fib.source_of(route, dst),
            Err(_) => here.fib.select_addr(way.dev, dst, crate::route::Scope::LINK),
        };
        let src = from.or_else(chosen).ok_or(SockError::AddrNotAvailable)?;
        Ok((src, way))
    }

    /// Keeps the buffer of a packet that has been taken.
    fn recycle(&mut self, packet: Packet) {
        if self.pool.spare_buffers.len() < 256 {
            self.pool.spare_buffers.push(packet.into_bytes());
        }
    }

    /// Something became of a packet that a socket here sent.
    fn icmp_error_in(&mut self, ns: NsId, packet: &Packet) {
        let Some(quoted) = packet.quoted() else { return };
        let Some((news, is_hard)) = icmp::meaning(packet) else { return };
        let why = match news {
            IcmpNews::Unreachable(why) => why,
            // Routers of old do not say how much: the least is assumed.
            IcmpNews::TooBig(mtu) => return self.path_is_narrow(ns, &quoted, mtu),
        };
        let Some(key) = key_of(&quoted) else { return };
        match quoted.l4 {
            L4::Tcp { .. } => self.tcp_error(ns, key, SockError::of(why)),
            L4::Udp { .. } if is_hard => self.udp_error(ns, key, SockError::of(why)),
            _ => {}
        }
    }

    fn path_is_narrow(&mut self, ns: NsId, sent: &Head, mtu: u16) {
        let Some(mtu) = self.learn_path_mtu(ns, sent.dst, mtu) else { return };
        if let (L4::Tcp { .. }, Some(key)) = (sent.l4, key_of(sent)) {
            self.tcp_set_mtu(ns, key, mtu);
        }
    }

    /// The time a socket asked for has come.
    pub(crate) fn socket_timer(&mut self, id: SockId) {
        let now = self.now;
        let Some(conn) = self.pool.tcp(id) else { return };
        conn.scheduled = None;
        let ns = conn.ns();
        let timeout = self.fin_timeout(ns);
        let Some(conn) = self.pool.tcp(id) else { return };
        if conn.is_orphan_overdue(now, timeout) {
            return self.tcp_forget(id);
        }
        if conn.due.is_some_and(|due| due <= now) {
            self.tcp_poll(id, None);
        } else {
            self.tcp_schedule(id);
        }
    }

    /// All sockets of a namespace are gone; nobody is told.
    pub(crate) fn forget_sockets(&mut self, ns: NsId) {
        let Some(here) = self.ns_mut(ns) else { return };
        let sockets = &mut here.sockets;
        let conns = std::mem::take(&mut sockets.conns);
        let mut ids: Vec<SockId> = sorted_ids(conns);
        for table in [&mut sockets.listeners, &mut sockets.udp] {
            ids.extend(std::mem::take(table).into_values().flatten().map(|(_, id)| id));
        }
        ids.append(&mut sockets.raw);
        for id in ids {
            self.pool.remove(id);
        }
    }

    /// A port between the ephemeral ones for which `is_free`.
    fn ephemeral_port(
        &mut self,
        ns: NsId,
        is_free: impl Fn(&Sockets, u16, Instant) -> bool,
    ) -> Option<u16> {
        let now = self.now;
        let here = self.ns_mut(ns)?;
        let range = here.sysctls.ports();
        let count = u32::from(range.end().saturating_sub(*range.start())) + 1;
        let start = here.rng.below(count);
        (0..count)
            .map(|i| range.start() + ((start + i) % count) as u16)
            .find(|port| is_free(&here.sockets, *port, now))
    }
}

#[allow(clippy::iter_over_hash_type, reason = "sorted before anybody sees the order")]
fn sorted_ids(conns: FastMap<ConnKey, SockId>) -> Vec<SockId> {
    let mut all: Vec<(ConnKey, SockId)> = conns.into_iter().collect();
    base::order::sort_by_key(&mut all, |(key, _)| *key);
    all.into_iter().map(|(_, id)| id).collect()
}

/// The connection that a quoted packet is of, as the side sees it that sent it.
fn key_of(sent: &Head) -> Option<ConnKey> {
    let (sport, dport) = sent.ports()?;
    Some(ConnKey {
        local: SocketAddrV4::new(sent.src, sport),
        remote: SocketAddrV4::new(sent.dst, dport),
    })
}
