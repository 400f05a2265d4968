//! Sockets. smoltcp makes and understands the segments; which socket a packet is for, which port is free,
//! what a closed port answers and how long a closed connection is remembered is decided here.
//!
//! - [`tcp`]: connections and listeners;
//! - [`udp`]: datagram sockets.
//!
//! Every connection has a smoltcp socket set of its own, so that a packet costs the same whether a
//! namespace has one socket or ten thousand.

pub mod tcp;
pub mod udp;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use base::{Duration, FastMap, Instant, Rng};
use packet::reply::Unreachable;
use packet::{Head, L4, Packet};
use slab::Slab;
use smallvec::SmallVec;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium};
use smoltcp::wire::HardwareAddress;

use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::path::Meta;
use crate::trace::Cause;

pub use tcp::{TcpListener, TcpStream};
pub use udp::UdpSocket;

use tcp::{Listener, TcpConn, TimeWaits};
use udp::UdpState;

/// Ports given to connections that do not ask for one (`ip_local_port_range`).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32768..=60999;

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
}

/// Stands for a socket for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SockId {
    slot: u32,
    serial: u32,
}

/// One end of a connection as its own side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnKey {
    pub(crate) local: SocketAddrV4,
    pub(crate) remote: SocketAddrV4,
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
}

/// The sockets of one namespace: who is meant by a packet.
pub(crate) struct Sockets {
    /// smoltcp's side of the namespace: one host that has any address it is sent packets for.
    stack: Interface,
    conns: FastMap<ConnKey, SockId>,
    listeners: BTreeMap<u16, Vec<(Ipv4Addr, SockId)>>,
    udp: BTreeMap<u16, Vec<(Ipv4Addr, SockId)>>,
    time_waits: TimeWaits,
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sockets({} connections, {} listeners)", self.conns.len(), self.listeners.len())
    }
}

impl Sockets {
    pub(crate) fn new(rng: &Rng) -> Sockets {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = rng.fork("stack").next_u64();
        let mut tx = Packets::new();
        let mut phy = Phy { rx: None, tx: &mut tx, spare: &mut Vec::new() };
        let mut stack = Interface::new(config, &mut phy, smoltcp::time::Instant::ZERO);
        // Which packets are ours has been decided before they get here.
        stack.set_any_ip(true);
        Sockets {
            stack,
            conns: FastMap::default(),
            listeners: BTreeMap::new(),
            udp: BTreeMap::new(),
            time_waits: TimeWaits::default(),
        }
    }

    fn listener_for(&self, local: SocketAddrV4) -> Option<SockId> {
        best(self.listeners.get(&local.port())?, *local.ip())
    }

    fn udp_for(&self, local: SocketAddrV4) -> Option<SockId> {
        best(self.udp.get(&local.port())?, *local.ip())
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
        capabilities.max_transmission_unit = 1500;
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
    /// A packet for this namespace has come through INPUT.
    pub(crate) fn stack_in(&mut self, ns: NsId, packet: Packet, meta: Meta) {
        match packet.head().l4 {
            L4::Tcp { .. } => self.tcp_in(ns, packet, meta),
            L4::Udp { .. } => self.udp_in(ns, packet, meta),
            _ if packet.head().is_icmp_error() => self.icmp_error_in(ns, &packet),
            _ => self.stack_answers(ns, &packet, meta.cause),
        }
    }

    /// No socket takes it: smoltcp says what a host says then (echo reply, reset, "unreachable").
    fn stack_answers(&mut self, ns: NsId, packet: &Packet, cause: Cause) {
        let now = to_smoltcp(self.now);
        let mut tx = Packets::new();
        let Kernel { pool, namespaces, .. } = self;
        let Some(here) = namespaces.get_mut(ns.slot as usize) else { return };
        let mut phy = Phy { rx: Some(packet.bytes()), tx: &mut tx, spare: &mut pool.spare_buffers };
        let mut nobody = SocketSet::new(Vec::new());
        here.sockets.stack.poll_ingress_single(now, &mut phy, &mut nobody);
        self.send_all(ns, tx, cause, None);
    }

    /// Sends what smoltcp has made. `ident`: of the next packet of a connection.
    fn send_all(&mut self, ns: NsId, tx: Packets, cause: Cause, mut ident: Option<&mut u16>) {
        for bytes in tx {
            let Ok(mut packet) = Packet::parse(bytes) else { continue };
            if let Some(ident) = &mut ident {
                packet.set_ident(**ident);
                **ident = ident.wrapping_add(1);
            }
            self.ip_out(ns, packet, cause);
        }
    }

    /// Keeps the buffer of a packet that has been taken.
    fn recycle(&mut self, packet: Packet) {
        if self.pool.spare_buffers.len() < 256 {
            self.pool.spare_buffers.push(packet.into_bytes());
        }
    }

    fn icmp_error_in(&mut self, ns: NsId, packet: &Packet) {
        let Some(quoted) = packet.quoted() else { return };
        let L4::Icmp { kind: 3, code, .. } = packet.head().l4 else { return };
        let why = match code {
            0 => Unreachable::Net,
            1 => Unreachable::Host,
            2 => Unreachable::Protocol,
            3 => Unreachable::Port,
            4 => return,
            9 => Unreachable::NetProhibited,
            10 => Unreachable::HostProhibited,
            13 => Unreachable::AdminProhibited,
            _ => return,
        };
        self.stack_error(ns, &quoted, why);
    }

    /// A socket of this namespace learns what became of a packet it sent.
    pub(crate) fn stack_error(&mut self, ns: NsId, sent: &Head, why: Unreachable) {
        let Some((sport, dport)) = sent.ports() else { return };
        let key = ConnKey {
            local: SocketAddrV4::new(sent.src, sport),
            remote: SocketAddrV4::new(sent.dst, dport),
        };
        match sent.l4 {
            L4::Tcp { .. } => self.tcp_error(ns, key, SockError::of(why)),
            L4::Udp { .. } => self.udp_error(ns, key, SockError::of(why)),
            _ => {}
        }
    }

    /// The time a socket asked for has come.
    pub(crate) fn socket_timer(&mut self, id: SockId) {
        let now = self.now;
        let Some(conn) = self.pool.tcp(id) else { return };
        conn.scheduled = None;
        if conn.is_orphan_overdue(now) {
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
        let count = u32::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1;
        let start = here.rng.below(count);
        (0..count)
            .map(|i| EPHEMERAL.start() + ((start + i) % count) as u16)
            .find(|port| is_free(&here.sockets, *port, now))
    }
}

#[allow(clippy::iter_over_hash_type, reason = "sorted before anybody sees the order")]
fn sorted_ids(conns: FastMap<ConnKey, SockId>) -> Vec<SockId> {
    let mut all: Vec<(ConnKey, SockId)> = conns.into_iter().collect();
    all.sort_unstable_by_key(|(key, _)| *key);
    all.into_iter().map(|(_, id)| id).collect()
}

/// How long the resources of a connection that nobody holds any more are kept waiting for the other side
/// (`tcp_fin_timeout`).
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(60);
