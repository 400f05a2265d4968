//! UDP.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::task::Poll;

use packet::{L4, Packet};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, Socket, UdpMetadata};
use smoltcp::wire::{IpAddress, IpEndpoint, IpListenEndpoint};

use super::{ConnKey, Packets, Phy, Sock, SockError, SockId, Sockets, clashes, to_smoltcp, unbind};
use crate::exec::{Host, Waiters};
use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::path::Meta;
use crate::sim::Net;
use crate::trace::Cause;

/// Datagrams, and bytes of them, that wait to be read or sent.
const PACKETS_MAX: usize = 64;
const BYTES_MAX: usize = 32_768;

/// A UDP socket.
pub(super) struct UdpState {
    set: SocketSet<'static>,
    handle: SocketHandle,
    ns: NsId,
    local: SocketAddrV4,
    /// The only one it talks to (`connect`).
    remote: Option<SocketAddrV4>,
    waiters: Waiters,
    error: Option<SockError>,
    /// What the datagram that came in last was sent for.
    cause: Cause,
}

impl UdpState {
    fn socket(&mut self) -> &mut Socket<'static> {
        self.set.get_mut::<Socket<'static>>(self.handle)
    }
}

impl Kernel {
    /// A datagram for this namespace.
    pub(super) fn udp_in(&mut self, ns: NsId, packet: Packet, meta: Meta) {
        let head = packet.head();
        let L4::Udp { sport, dport } = head.l4 else { return };
        let (src, dst) = (head.src, head.dst);
        let found = self.ns(ns).and_then(|h| h.sockets.udp_for(SocketAddrV4::new(dst, dport)));
        let remote = SocketAddrV4::new(src, sport);
        let is_welcome = |udp: &UdpState| udp.remote.is_none_or(|connected| connected == remote);
        match found {
            Some(id) if self.pool.udp(id).is_some_and(|udp| is_welcome(udp)) => {
                if let Some(udp) = self.pool.udp(id) {
                    udp.cause = meta.cause;
                }
                self.udp_poll(id, Some(packet.bytes()), meta.cause);
            }
            _ => self.stack_answers(ns, &packet, meta.cause),
        }
        self.recycle(packet);
    }

    fn udp_poll(&mut self, id: SockId, rx: Option<&[u8]>, cause: Cause) {
        let now = to_smoltcp(self.now);
        let Kernel { pool, namespaces, .. } = self;
        let Some((_, Sock::Udp(udp))) =
            pool.socks.get_mut(id.slot as usize).filter(|(serial, _)| *serial == id.serial)
        else {
            return;
        };
        let ns = udp.ns;
        let Some(here) = namespaces.get_mut(ns.slot as usize) else { return };
        let stack = &mut here.sockets.stack;
        let mut tx = Packets::new();
        let is_rx = rx.is_some();
        let mut phy = Phy { rx, tx: &mut tx, spare: &mut pool.spare_buffers };
        if is_rx {
            stack.poll_ingress_single(now, &mut phy, &mut udp.set);
            let mut waiters = std::mem::take(&mut udp.waiters);
            self.scheduler.wake_all(&mut waiters);
        }
        while stack.poll_egress(now, &mut phy, &mut udp.set)
            == smoltcp::iface::PollResult::SocketStateChanged
        {}
        self.send_all(ns, tx, cause, None);
    }

    /// A datagram did not arrive: the socket that is connected to its destination learns it.
    pub(super) fn udp_error(&mut self, ns: NsId, key: ConnKey, error: SockError) {
        let Some(id) = self.ns(ns).and_then(|here| here.sockets.udp_for(key.local)) else {
            return;
        };
        let Some(udp) = self.pool.udp(id).filter(|udp| udp.remote == Some(key.remote)) else {
            return;
        };
        udp.error = Some(error);
        let mut waiters = std::mem::take(&mut udp.waiters);
        self.scheduler.wake_all(&mut waiters);
    }
}

impl Host {
    /// A UDP socket at an address of this namespace; port 0 stands for any that is free.
    pub fn bind_udp(&self, local: SocketAddrV4) -> Result<UdpSocket, SockError> {
        let mut kernel = self.net.kernel_mut();
        let ns = kernel.ns_mut(self.ns).ok_or(SockError::AddrNotAvailable)?;
        let addr = *local.ip();
        if !addr.is_unspecified() && !ns.fib.is_local(addr) {
            return Err(SockError::AddrNotAvailable);
        }
        let is_free = |sockets: &Sockets, port| !clashes(sockets.udp.get(&port), addr);
        let port = match local.port() {
            0 => kernel
                .ephemeral_port(self.ns, |sockets, port, _| is_free(sockets, port))
                .ok_or(SockError::AddrNotAvailable)?,
            port if is_free(&ns.sockets, port) => port,
            _ => return Err(SockError::AddrInUse),
        };
        let local = SocketAddrV4::new(addr, port);
        let buffer =
            || PacketBuffer::new(vec![PacketMetadata::EMPTY; PACKETS_MAX], vec![0; BYTES_MAX]);
        let mut socket = Socket::new(buffer(), buffer());
        let any = addr.is_unspecified();
        let bind = IpListenEndpoint { addr: (!any).then(|| addr.into()), port };
        socket.bind(bind).map_err(|_| SockError::AddrNotAvailable)?;
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        let (ns, waiters) = (self.ns, Waiters::new());
        let (remote, error, cause) = (None, None, Cause::default());
        let state = UdpState { set, handle, ns, local, remote, waiters, error, cause };
        let id = kernel.pool.insert(Sock::Udp(state));
        if let Some(ns) = kernel.ns_mut(self.ns) {
            ns.sockets.udp.entry(port).or_default().push((addr, id));
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
        self.net.kernel_mut().pool.udp(self.id).map(|udp| udp.local)
    }

    /// From here on it talks to `remote` only, and learns when that does not listen.
    pub fn connect(&self, remote: SocketAddrV4) {
        if let Some(udp) = self.net.kernel_mut().pool.udp(self.id) {
            udp.remote = Some(remote);
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
        let mut kernel = self.net.kernel_mut();
        let cause = kernel.scheduler.cause();
        let udp = kernel.pool.udp(self.id).ok_or(SockError::BrokenPipe)?;
        if let Some(error) = udp.error.take() {
            return Err(error);
        }
        let (ns, bound) = (udp.ns, *udp.local.ip());
        let bound = (!bound.is_unspecified()).then_some(bound);
        let source = from.or(bound).or_else(|| kernel.source_for(ns, *to.ip()));
        let source = source.ok_or(SockError::NetUnreachable)?;
        let endpoint = IpEndpoint { addr: (*to.ip()).into(), port: to.port() };
        let local_address = Some(IpAddress::Ipv4(source));
        let meta = UdpMetadata { local_address, ..UdpMetadata::from(endpoint) };
        let udp = kernel.pool.udp(self.id).ok_or(SockError::BrokenPipe)?;
        // A full buffer loses the datagram, as a full queue would.
        let _ = udp.socket().send_slice(data, meta);
        kernel.udp_poll(self.id, None, cause);
        Ok(())
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
            let cause = udp.cause;
            if let Ok((data, meta)) = udp.socket().recv() {
                let IpAddress::Ipv4(from) = meta.endpoint.addr;
                let to = meta.local_address.map(|IpAddress::Ipv4(addr)| addr);
                let from = SocketAddrV4::new(from, meta.endpoint.port);
                let received = (data.to_vec(), from, to);
                scheduler.set_cause(cause);
                return Poll::Ready(Ok(received));
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
