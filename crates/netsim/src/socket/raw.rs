//! Sockets for whole packets (`net/ipv4/raw.c`, `ping.c`): what ping and traceroute are made of.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::task::Poll;

use base::Instant;
use netfilter::Skb;
use packet::{L4, Packet, protocol, reply};

use super::{Sock, SockError, SockId};
use crate::exec::{Host, ProcId, Waiters};
use crate::icmp::finish_header;
use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::path::Sent;
use crate::sim::Net;
use crate::sysctl::NsKey;

/// Bytes of packets that wait to be read.
const BUFFER_BYTES: usize = 212_992;

/// A raw socket.
pub(super) struct RawState {
    pub(super) ns: NsId,
    pub(super) protocol: u8,
    /// Of ICMP it wants only what answers the echo requests with this identifier.
    pub(super) ident: Option<u16>,
    queue: VecDeque<(Packet, Instant)>,
    pub(super) queued: usize,
    waiters: Waiters,
    pub(super) owner: ProcId,
}

impl RawState {
    fn wants(&self, packet: &Packet) -> bool {
        let head = packet.head();
        if head.protocol != self.protocol {
            return false;
        }
        let Some(ident) = self.ident else { return true };
        match head.l4 {
            L4::Icmp { kind: 0, id, .. } => id == ident,
            L4::Icmp { .. } => packet
                .quoted()
                .is_some_and(|sent| matches!(sent.l4, L4::Icmp { kind: 8, id, .. } if id == ident)),
            _ => false,
        }
    }
}

impl Kernel {
    /// Gives every raw socket that wants it a copy of a packet. Says whether one did.
    pub(super) fn raw_in(&mut self, ns: NsId, skb: &Skb) -> bool {
        let now = self.now;
        let Kernel { pool, scheduler, namespaces, .. } = self;
        let Some(here) = namespaces.get(ns.slot as usize) else { return false };
        let mut was_taken = false;
        for id in &here.sockets.raw {
            let Some(raw) = pool.raw(*id).filter(|raw| raw.wants(&skb.packet)) else { continue };
            was_taken = true;
            let len = skb.packet.bytes().len();
            if raw.queued + len > BUFFER_BYTES {
                continue;
            }
            raw.queued += len;
            raw.queue.push_back((skb.packet.clone(), now));
            scheduler.wake_all(&mut raw.waiters);
        }
        was_taken
    }

    fn raw_send(&mut self, id: SockId, packet: Packet) -> Result<(), SockError> {
        let cause = self.scheduler.cause();
        let ns = self.pool.raw(id).ok_or(SockError::BrokenPipe)?.ns;
        let head = *packet.head();
        let from = Some(head.src).filter(|src| !src.is_unspecified());
        let (src, _) = self.way_to(ns, head.dst, from, None)?;
        let mut packet = packet;
        if head.src != src {
            packet.rewrite(packet::ipv4::End::Source, src, None);
        }
        if packet.ident() == 0
            && let Some(here) = self.ns_mut(ns)
        {
            packet.set_ident(here.next_ident());
        }
        self.send(ns, Skb::new(packet), Sent::by_program(cause));
        Ok(())
    }
}

impl Host {
    /// A socket that sends whole packets and gets a copy of every packet of `protocol` that is delivered
    /// here, ICMP errors with the packets they quote among them.
    pub fn raw_socket(&self, protocol: u8) -> RawSocket {
        self.add_raw(protocol, None)
    }

    /// A socket for echo requests: it gets the answers and what became of the requests, nothing else. It
    /// has an identifier that no other such socket of this namespace has.
    pub fn ping_socket(&self) -> RawSocket {
        let ident = {
            let mut kernel = self.net.kernel_mut();
            let Kernel { pool, namespaces, .. } = &mut *kernel;
            let here = namespaces.get_mut(self.ns.slot as usize);
            here.map_or(0, |here| {
                let raw = &here.sockets.raw;
                let taken: Vec<u16> =
                    raw.iter().filter_map(|id| pool.raw(*id).and_then(|raw| raw.ident)).collect();
                let start = here.rng.next_u32() as u16;
                (0..=u16::MAX)
                    .map(|i| start.wrapping_add(i))
                    .find(|ident| !taken.contains(ident))
                    .unwrap_or(start)
            })
        };
        self.add_raw(protocol::ICMP, Some(ident))
    }

    fn add_raw(&self, protocol: u8, ident: Option<u16>) -> RawSocket {
        let mut kernel = self.net.kernel_mut();
        let state = RawState {
            ns: self.ns,
            protocol,
            ident,
            queue: VecDeque::new(),
            queued: 0,
            waiters: Waiters::new(),
            owner: self.process,
        };
        let id = kernel.pool.insert(Sock::Raw(state));
        if let Some(here) = kernel.ns_mut(self.ns) {
            here.sockets.raw.push(id);
        }
        RawSocket { net: self.net.clone(), id }
    }
}

/// A socket for whole packets. Dropping it closes it.
pub struct RawSocket {
    net: Net,
    id: SockId,
}

impl RawSocket {
    /// The identifier of its echo requests, for a socket made for those.
    pub fn ident(&self) -> Option<u16> {
        self.net.kernel_mut().pool.raw(self.id).and_then(|raw| raw.ident)
    }

    /// Sends a packet as it is. Source and identification are filled in where they are zero.
    pub fn send(&self, packet: Packet) -> Result<(), SockError> {
        self.net.kernel_mut().raw_send(self.id, packet)
    }

    /// Sends an echo request; `ttl`: `ip_default_ttl` if there is none.
    pub fn send_echo(
        &self,
        to: Ipv4Addr,
        seq: u16,
        data: &[u8],
        ttl: Option<u8>,
    ) -> Result<(), SockError> {
        let mut kernel = self.net.kernel_mut();
        let raw = kernel.pool.raw(self.id).ok_or(SockError::BrokenPipe)?;
        let (ns, ident) = (raw.ns, raw.ident.unwrap_or_default());
        if data.len() > usize::from(u16::MAX) - 28 {
            return Err(SockError::TooLong);
        }
        let to = if to.is_unspecified() { Ipv4Addr::LOCALHOST } else { to };
        let (src, way) = kernel.way_to(ns, to, None, None)?;
        if way.kind == crate::RouteKind::Broadcast {
            return Err(SockError::AccessDenied);
        }
        let mtu = kernel.path_mtu(ns, to, way.mtu);
        let default = kernel.ns(ns).map_or(64, |here| here.sysctls.get(NsKey::IpDefaultTtl) as u8);
        let mut message = vec![8, 0, 0, 0];
        message.extend_from_slice(&ident.to_be_bytes());
        message.extend_from_slice(&seq.to_be_bytes());
        message.extend_from_slice(data);
        let packet = reply::finish(src, to, protocol::ICMP, ttl.unwrap_or(default), message);
        // As for UDP: what fits asks not to be cut.
        let fits = packet.head().total_len <= mtu;
        let mut bytes = packet.into_bytes();
        if let Some(flags) = bytes.get_mut(6)
            && fits
        {
            *flags |= 0x40;
        }
        let packet = finish_header(bytes).ok_or(SockError::InvalidArgument)?;
        kernel.raw_send(self.id, packet)
    }

    /// The next packet, if one is there, and when it came.
    pub fn try_recv(&self) -> Option<(Packet, Instant)> {
        let mut kernel = self.net.kernel_mut();
        let raw = kernel.pool.raw(self.id)?;
        let (packet, at) = raw.queue.pop_front()?;
        raw.queued = raw.queued.saturating_sub(packet.bytes().len());
        Some((packet, at))
    }

    /// Waits for the next packet.
    pub async fn recv(&self) -> Result<(Packet, Instant), SockError> {
        poll_fn(|_| {
            if let Some(received) = self.try_recv() {
                return Poll::Ready(Ok(received));
            }
            let mut kernel = self.net.kernel_mut();
            let Kernel { pool, scheduler, .. } = &mut *kernel;
            let Some(raw) = pool.raw(self.id) else {
                return Poll::Ready(Err(SockError::BrokenPipe));
            };
            scheduler.wait(&mut raw.waiters);
            Poll::Pending
        })
        .await
    }
}

impl Drop for RawSocket {
    fn drop(&mut self) {
        let mut kernel = self.net.kernel_mut();
        let Some(Sock::Raw(raw)) = kernel.pool.remove(self.id) else { return };
        if let Some(here) = kernel.ns_mut(raw.ns) {
            here.sockets.raw.retain(|id| *id != self.id);
        }
    }
}
