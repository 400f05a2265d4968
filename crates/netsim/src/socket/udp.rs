//! UDP (`net/ipv4/udp.c`).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::task::Poll;

use netfilter::{CtSlot, Skb};
use packet::reply::{self, Unreachable};
use packet::{Head, L4, Packet, protocol};
use smallvec::SmallVec;

use super::{ConnKey, Sock, SockError, SockId, Sockets, unbind};
use crate::exec::{Host, ProcId, Waiters};
use crate::icmp::finish_header;
use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::path::{Meta, Sent};
use crate::sim::Net;
use crate::sysctl::NsKey;
use crate::trace::Cause;

/// Bytes that wait to be read (`rmem_default`), each datagram's bookkeeping included.
const BUFFER_BYTES: usize = 212_992;
/// What a datagram costs besides its data.
const OVERHEAD: usize = 768;
/// Longest data a datagram carries.
const DATA_MAX: usize = 65_507;

/// A datagram that waits to be read.
struct Datagram {
    data: Vec<u8>,
    from: SocketAddrV4,
    to: Ipv4Addr,
    cause: Cause,
}

/// A UDP socket.
pub(super) struct UdpState {
    pub(super) ns: NsId,
    pub(super) local: SocketAddrV4,
    /// The only one it talks to (`connect`), and the address it does that from.
    pub(super) remote: Option<(SocketAddrV4, Ipv4Addr)>,
    queue: VecDeque<Datagram>,
    pub(super) queued: usize,
    waiters: Waiters,
    error: Option<SockError>,
    may_broadcast: bool,
    reuses_address: bool,
    ttl: Option<u8>,
    ident: u16,
    pub(super) owner: ProcId,
}

impl UdpState {
    /// How well a datagram fits (`compute_score`); `None`: not at all.
    fn score(&self, src: SocketAddrV4, dst: Ipv4Addr) -> Option<u8> {
        let bound = *self.local.ip();
        if !bound.is_unspecified() && bound != dst {
            return None;
        }
        let for_bound = u8::from(!bound.is_unspecified());
        match self.remote {
            Some((remote, own)) if remote == src && own == dst => Some(2 + for_bound),
            Some(_) => None,
            None => Some(for_bound),
        }
    }

    fn has_room(&self, len: usize) -> bool {
        self.queued == 0 || self.queued + len + OVERHEAD <= BUFFER_BYTES
    }
}

fn datagram(sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    let len = (data.len() + 8) as u16;
    let mut bytes = Vec::with_capacity(data.len() + 8);
    for field in [sport, dport, len, 0] {
        bytes.extend_from_slice(&field.to_be_bytes());
    }
    bytes.extend_from_slice(data);
    bytes
}

/// The packet with "don't fragment" set.
fn unfragmented(packet: Packet) -> Option<Packet> {
    let mut bytes = packet.into_bytes();
    *bytes.get_mut(6)? |= 0x40;
    finish_header(bytes)
}

impl Kernel {
    /// The sockets a datagram is for: one, or all that fit where it is for everybody.
    fn udp_takers(&mut self, ns: NsId, head: &Head) -> SmallVec<[SockId; 2]> {
        let mut takers = SmallVec::new();
        let L4::Udp { sport, dport } = head.l4 else { return takers };
        let src = SocketAddrV4::new(head.src, sport);
        let Kernel { pool, namespaces, .. } = self;
        let Some(here) = namespaces.get(ns.slot as usize) else { return takers };
        let Some(bound) = here.sockets.udp.get(&dport) else { return takers };
        let is_to_all = here.fib.is_broadcast(head.dst);
        let mut best = None;
        for (_, id) in bound {
            let Some(score) = pool.udp(*id).and_then(|udp| udp.score(src, head.dst)) else {
                continue;
            };
            if is_to_all {
                takers.push(*id);
            } else if best.is_none_or(|(other, _)| score > other) {
                best = Some((score, *id));
            }
        }
        takers.extend(best.map(|(_, id)| id));
        takers
    }

    pub(super) fn udp_refusal(&mut self, ns: NsId, packet: &Packet) -> Option<crate::DropReason> {
        let takers = self.udp_takers(ns, packet.head());
        let len = packet.data().len();
        let is_full = |id: &SockId| self.pool.udp(*id).is_some_and(|udp| !udp.has_room(len));
        let all_full = !takers.is_empty() && takers.iter().all(is_full);
        all_full.then_some(crate::DropReason::ReceiveBufferFull)
    }

    /// A datagram for this namespace.
    pub(super) fn udp_in(&mut self, ns: NsId, skb: Skb, meta: Meta) {
        let head = *skb.packet.head();
        let L4::Udp { sport, .. } = head.l4 else { return };
        let takers = self.udp_takers(ns, &head);
        if takers.is_empty() {
            // The connection has been let go by then (`nf_reset_ct` in `__udp4_lib_rcv`).
            let alone = Skb { ct: CtSlot::None, ..skb.clone() };
            self.send_icmp_error(ns, &alone, Unreachable::Port.into(), meta);
        }
        for id in takers {
            let Kernel { pool, scheduler, .. } = self;
            let Some(udp) = pool.udp(id) else { continue };
            let data = udp_data(&skb.packet);
            if !udp.has_room(data.len()) {
                continue;
            }
            udp.queued += data.len() + OVERHEAD;
            udp.queue.push_back(Datagram {
                data: data.to_vec(),
                from: SocketAddrV4::new(head.src, sport),
                to: head.dst,
                cause: meta.cause,
            });
            scheduler.wake_all(&mut udp.waiters);
        }
        self.recycle(skb.packet);
    }

    /// A datagram did not arrive: the socket that is connected to its destination learns it.
    pub(super) fn udp_error(&mut self, ns: NsId, key: ConnKey, error: SockError) {
        let Kernel { pool, scheduler, namespaces, .. } = self;
        let Some(here) = namespaces.get(ns.slot as usize) else { return };
        let Some(bound) = here.sockets.udp.get(&key.local.port()) else { return };
        for (_, id) in bound {
            let Some(udp) = pool.udp(*id) else { continue };
            if udp.remote == Some((key.remote, *key.local.ip())) {
                udp.error = Some(error);
                scheduler.wake_all(&mut udp.waiters);
            }
        }
    }

    fn udp_send(
        &mut self,
        id: SockId,
        data: &[u8],
        to: SocketAddrV4,
        from: Option<Ipv4Addr>,
    ) -> Result<(), SockError> {
        let cause = self.scheduler.cause();
        let udp = self.pool.udp(id).ok_or(SockError::BrokenPipe)?;
        if let Some(error) = udp.error.take() {
            return Err(error);
        }
        if data.len() > DATA_MAX {
            return Err(SockError::TooLong);
        }
        if to.port() == 0 {
            return Err(SockError::InvalidArgument);
        }
        let (ns, sport, own_ttl) = (udp.ns, udp.local.port(), udp.ttl);
        let (may_broadcast, is_connected) = (udp.may_broadcast, udp.remote.is_some());
        let bound = Some(*udp.local.ip()).filter(|addr| !addr.is_unspecified());
        let connected = udp.remote.filter(|(remote, _)| *remote == to).map(|(_, own)| own);
        udp.ident = udp.ident.wrapping_add(1);
        let ident = udp.ident;
        let dst = if to.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *to.ip() };
        let (src, way) = self.way_to(ns, dst, from.or(bound).or(connected), None)?;
        if way.kind == crate::RouteKind::Broadcast && !may_broadcast {
            return Err(SockError::AccessDenied);
        }
        let mtu = self.path_mtu(ns, dst, way.mtu);
        let Some(here) = self.ns_mut(ns) else { return Err(SockError::NetUnreachable) };
        let ttl = own_ttl.unwrap_or(here.sysctls.get(NsKey::IpDefaultTtl) as u8);
        let ttl = if dst.is_multicast() { own_ttl.unwrap_or(1) } else { ttl };
        let payload = datagram(sport, to.port(), data);
        let mut packet = reply::finish(src, dst, protocol::UDP, ttl, payload);
        // What fits asks not to be cut on its way; what does not is cut here (`IP_PMTUDISC_WANT`).
        if packet.head().total_len <= mtu && !here.sysctls.is_on(NsKey::IpNoPmtuDisc) {
            packet = unfragmented(packet).ok_or(SockError::TooLong)?;
            if is_connected {
                packet.set_ident(ident);
            }
        } else {
            packet.set_ident(here.next_ident());
        }
        self.send(ns, Skb::new(packet), Sent::by_program(cause));
        Ok(())
    }
}

/// The data of a datagram, as long as it says it is.
fn udp_data(packet: &Packet) -> &[u8] {
    let payload = packet.payload();
    let said = match payload.get(4..6) {
        Some([a, b]) => usize::from(u16::from_be_bytes([*a, *b])),
        _ => 0,
    };
    payload.get(8..said.clamp(8, payload.len().max(8))).unwrap_or_default()
}

impl Host {
    /// A UDP socket at an address of this namespace; port 0 stands for any that is free.
    pub fn bind_udp(&self, local: SocketAddrV4) -> Result<UdpSocket, SockError> {
        self.bind_udp_with(local, false)
    }

    /// The same; with `reuses_address` (`SO_REUSEADDR`) several such sockets may have one port.
    pub fn bind_udp_with(
        &self,
        local: SocketAddrV4,
        reuses_address: bool,
    ) -> Result<UdpSocket, SockError> {
        let mut kernel = self.net.kernel_mut();
        let addr = *local.ip();
        let here = kernel.ns(self.ns).ok_or(SockError::AddrNotAvailable)?;
        let may_bind = addr.is_unspecified()
            || here.fib.is_local(addr)
            || here.fib.is_broadcast(addr)
            || here.sysctls.is_on(NsKey::IpNonlocalBind);
        if !may_bind {
            return Err(SockError::AddrNotAvailable);
        }
        let any = Ipv4Addr::UNSPECIFIED;
        let is_in_the_way = |at: Ipv4Addr| addr == any || at == any || at == addr;
        let port = match local.port() {
            0 => {
                let is_free = |sockets: &Sockets, port: u16| {
                    sockets
                        .udp
                        .get(&port)
                        .is_none_or(|b| !b.iter().any(|(at, _)| is_in_the_way(*at)))
                };
                let found =
                    kernel.ephemeral_port(self.ns, |sockets, port, _| is_free(sockets, port));
                found.ok_or(SockError::AddrInUse)?
            }
            port => {
                let bound = here.sockets.udp.get(&port).cloned().unwrap_or_default();
                let clashes = bound.iter().any(|(at, id)| {
                    let reuses = kernel.pool.udp(*id).is_some_and(|udp| udp.reuses_address);
                    is_in_the_way(*at) && !(reuses && reuses_address)
                });
                if clashes {
                    return Err(SockError::AddrInUse);
                }
                port
            }
        };
        let ident = kernel.ns_mut(self.ns).map_or(0, |here| here.next_ident());
        let state = UdpState {
            ns: self.ns,
            local: SocketAddrV4::new(addr, port),
            remote: None,
            queue: VecDeque::new(),
            queued: 0,
            waiters: Waiters::new(),
            error: None,
            may_broadcast: false,
            reuses_address,
            ttl: None,
            ident,
            owner: self.process,
        };
        let id = kernel.pool.insert(Sock::Udp(state));
        if let Some(ns) = kernel.ns_mut(self.ns) {
            // Of several that fit equally well, the one bound last gets what comes.
            ns.sockets.udp.entry(port).or_default().insert(0, (addr, id));
        }
        Ok(UdpSocket { net: self.net.clone(), id })
    }
}

/// A UDP socket. Dropping it closes it.
pub struct UdpSocket {
    net: Net,
    id: SockId,
}

impl UdpSocket {
    /// Where it is bound.
    pub fn local_addr(&self) -> Option<SocketAddrV4> {
        self.net.kernel_mut().pool.udp(self.id).map(|udp| match udp.remote {
            Some((_, own)) => SocketAddrV4::new(own, udp.local.port()),
            None => udp.local,
        })
    }

    /// From here on it talks to `remote` only, and learns when that does not listen.
    pub fn connect(&self, remote: SocketAddrV4) -> Result<(), SockError> {
        let mut kernel = self.net.kernel_mut();
        let udp = kernel.pool.udp(self.id).ok_or(SockError::BrokenPipe)?;
        let (ns, bound) = (udp.ns, *udp.local.ip());
        let bound = (!bound.is_unspecified()).then_some(bound);
        let dst = if remote.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *remote.ip() };
        let (own, _) = kernel.way_to(ns, dst, bound, None)?;
        if let Some(udp) = kernel.pool.udp(self.id) {
            udp.remote = Some((SocketAddrV4::new(dst, remote.port()), own));
        }
        Ok(())
    }

    /// `SO_BROADCAST`: it may send to everybody.
    pub fn set_broadcast(&self, may_broadcast: bool) {
        if let Some(udp) = self.net.kernel_mut().pool.udp(self.id) {
            udp.may_broadcast = may_broadcast;
        }
    }

    /// `IP_TTL`: of what it sends; `None`: `ip_default_ttl`.
    pub fn set_ttl(&self, ttl: Option<u8>) {
        if let Some(udp) = self.net.kernel_mut().pool.udp(self.id) {
            udp.ttl = ttl;
        }
    }

    /// Sends a datagram. `from` is the address it is sent from, for a server that answers where it was
    /// asked; without it, routing decides.
    pub fn send_to(
        &self,
        data: &[u8],
        to: SocketAddrV4,
        from: Option<Ipv4Addr>,
    ) -> Result<(), SockError> {
        self.net.kernel_mut().udp_send(self.id, data, to, from)
    }

    /// Sends a datagram to the one it is connected to.
    pub fn send(&self, data: &[u8]) -> Result<(), SockError> {
        let mut kernel = self.net.kernel_mut();
        let udp = kernel.pool.udp(self.id).ok_or(SockError::BrokenPipe)?;
        let (remote, _) = udp.remote.ok_or(SockError::InvalidArgument)?;
        kernel.udp_send(self.id, data, remote, None)
    }

    /// The next datagram, who sent it, and the address it was sent to. What this task does from here on,
    /// it does for whatever the datagram was sent for.
    pub async fn recv_from(&self) -> Result<(Vec<u8>, SocketAddrV4, Option<Ipv4Addr>), SockError> {
        poll_fn(|_| {
            let mut kernel = self.net.kernel_mut();
            let Kernel { pool, scheduler, .. } = &mut *kernel;
            let Some(udp) = pool.udp(self.id) else {
                return Poll::Ready(Err(SockError::BrokenPipe));
            };
            if let Some(error) = udp.error.take() {
                return Poll::Ready(Err(error));
            }
            if let Some(Datagram { data, from, to, cause }) = udp.queue.pop_front() {
                udp.queued = udp.queued.saturating_sub(data.len() + OVERHEAD);
                scheduler.set_cause(cause);
                return Poll::Ready(Ok((data, from, Some(to))));
            }
            scheduler.wait(&mut udp.waiters);
            Poll::Pending
        })
        .await
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        let mut kernel = self.net.kernel_mut();
        let Some(Sock::Udp(udp)) = kernel.pool.remove(self.id) else { return };
        if let Some(ns) = kernel.ns_mut(udp.ns) {
            unbind(&mut ns.sockets.udp, udp.local.port(), self.id);
        }
    }
}
