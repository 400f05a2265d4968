//! TCP: listeners and connections, on the side of the namespace. `handle` is what programs hold of them.

mod handle;

pub use handle::{TcpListener, TcpStream};

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use base::{Duration, FastMap, Instant};
use packet::{Head, L4, Packet, tcp_flags};
use smoltcp::iface::{PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{IpEndpoint, IpListenEndpoint};

use super::{
    ConnKey, Packets, Phy, Pool, Sock, SockError, SockId, clashes, from_smoltcp, to_smoltcp,
};
use crate::drops::DropReason;
use crate::exec::{Host, ProcId, Waiters};
use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::path::{Meta, Sent};
use crate::route::Flow;
use crate::sim::Net;
use crate::sysctl::NsKey;
use crate::trace::Cause;

/// Bytes a connection takes before the program reads them: Linux's first window for an MSS of 1460.
const RX_BUFFER: usize = 64_240;
/// Bytes a program can write before the other side has taken them.
const TX_BUFFER: usize = 32_768;
/// Longest time between two attempts (`TCP_RTO_MAX`).
const RTO_MAX: u64 = 120;
/// How long a closed connection is remembered (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT: Duration = Duration::from_secs(60);
/// Closed connections that are remembered; of more, the oldest is forgotten (`tcp_max_tw_buckets`).
const TIME_WAITS_MAX: usize = 65_536;
/// Closed sockets kept with their buffers.
const SPARE_MAX: usize = 64;

/// A connection.
pub(super) struct TcpConn {
    set: SocketSet<'static>,
    handle: SocketHandle,
    ns: NsId,
    key: ConnKey,
    /// What its segments have to fit into.
    mtu: u16,
    /// The listener that has not yet given it away.
    listener: Option<SockId>,
    /// It counts among those of which its listener has heard only a SYN.
    is_half_open: bool,
    waiters: Waiters,
    error: Option<SockError>,
    /// What a router said; the reason if the connection times out.
    hint: Option<SockError>,
    pub(super) owner: ProcId,
    cause: Cause,
    /// When smoltcp wants to be asked next.
    pub(super) due: Option<Instant>,
    /// When the queue will ask.
    pub(super) scheduled: Option<Instant>,
    /// Since when nobody holds it.
    orphan_since: Option<Instant>,
    ident: u16,
}

impl TcpConn {
    fn socket(&mut self) -> &mut Socket<'static> {
        self.set.get_mut::<Socket<'static>>(self.handle)
    }

    pub(super) fn ns(&self) -> NsId {
        self.ns
    }

    pub(super) fn key(&self) -> ConnKey {
        self.key
    }

    /// Somebody still holds it, or will accept it.
    pub(super) fn is_held(&self) -> bool {
        self.orphan_since.is_none()
    }

    /// Bytes to be read and bytes not yet acknowledged.
    pub(super) fn queued(&mut self) -> (usize, usize) {
        let socket = self.socket();
        (socket.recv_queue(), socket.send_queue())
    }

    pub(super) fn state(&self) -> State {
        self.set.get::<Socket<'static>>(self.handle).state()
    }

    pub(super) fn is_orphan_overdue(&self, now: Instant, timeout: Duration) -> bool {
        self.orphan_since.is_some_and(|since| now - since >= timeout)
            && self.state() == State::FinWait2
    }
}

/// A listening socket.
pub(super) struct Listener {
    pub(super) ns: NsId,
    pub(super) local: SocketAddrV4,
    /// Established connections, the first being accepted next.
    pub(super) queue: VecDeque<SockId>,
    /// One more than this may wait to be accepted (`sk_acceptq_is_full`).
    pub(super) backlog: usize,
    /// Connections of which only a SYN has come.
    half_open: usize,
    waiters: Waiters,
    pub(super) owner: ProcId,
}

impl Listener {
    fn is_full(&self) -> bool {
        self.queue.len() > self.backlog
    }
}

/// How a socket listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections that may wait to be accepted; not more than `somaxconn`.
    pub backlog: usize,
    /// `SO_REUSEADDR`: connections of an earlier listener, and closed ones that are still remembered, are
    /// not in the way.
    pub reuses_address: bool,
}

impl Default for ListenOptions {
    /// As servers do: all that `somaxconn` lets, and an address that is reused.
    fn default() -> Self {
        ListenOptions { backlog: usize::MAX, reuses_address: true }
    }
}

/// Connections that are closed on both sides and answer repeated segments for a while.
#[derive(Default)]
pub(super) struct TimeWaits {
    by_key: FastMap<ConnKey, TimeWait>,
    by_age: VecDeque<(Instant, ConnKey)>,
}

struct TimeWait {
    expires: Instant,
    /// The acknowledgement that was sent last; in a box, because there may be very many of these.
    ack: Option<Box<Packet>>,
}

impl TimeWaits {
    fn insert(&mut self, key: ConnKey, ack: Option<Box<Packet>>, now: Instant) {
        while let Some((expires, old)) = self.by_age.front().copied()
            && expires <= now
        {
            self.by_age.pop_front();
            if self.by_key.get(&old).is_some_and(|entry| entry.expires <= now) {
                self.by_key.remove(&old);
            }
        }
        if self.by_age.len() >= TIME_WAITS_MAX
            && let Some((_, oldest)) = self.by_age.pop_front()
        {
            self.by_key.remove(&oldest);
        }
        let expires = now + TIME_WAIT;
        self.by_key.insert(key, TimeWait { expires, ack });
        self.by_age.push_back((expires, key));
    }

    /// The closed connections that are remembered, in order.
    pub(super) fn keys(&self, now: Instant) -> Vec<ConnKey> {
        let alive = self.by_age.iter().filter(|(_, key)| self.get(key, now).is_some());
        let mut keys: Vec<ConnKey> = alive.map(|(_, key)| *key).collect();
        base::order::sort(&mut keys);
        keys.dedup();
        keys
    }

    fn get(&self, key: &ConnKey, now: Instant) -> Option<&TimeWait> {
        self.by_key.get(key).filter(|entry| entry.expires > now)
    }
}

fn new_set(pool: &mut Pool) -> (SocketSet<'static>, SocketHandle) {
    if let Some(set) = pool.spare_tcp.pop() {
        let handle = set.iter().next().map(|(handle, _)| handle);
        if let Some(handle) = handle {
            return (set, handle);
        }
    }
    let buffer = |len| SocketBuffer::new(vec![0; len]);
    let mut set = SocketSet::new(Vec::with_capacity(1));
    let handle = set.add(Socket::new(buffer(RX_BUFFER), buffer(TX_BUFFER)));
    (set, handle)
}

fn prepare(socket: &mut Socket<'static>) {
    // As Linux does at the beginning of a connection: acknowledge at once, send small segments at once.
    socket.set_ack_delay(None);
    socket.set_nagle_enabled(false);
    socket.set_keep_alive(None);
}

/// How long something is tried that is repeated `retries` times, after one second, two, four, …
fn patience(retries: i64) -> Duration {
    let waits = (0..=retries.clamp(0, 255)).map(|i| 1u64.checked_shl(i as u32).unwrap_or(RTO_MAX));
    Duration::from_secs(waits.map(|wait| wait.min(RTO_MAX)).sum())
}

/// How long data is repeated before a connection is given up (`tcp_retries2`): the first time after 200 ms.
fn data_patience(retries: i64) -> Duration {
    let mut wait = 200u64;
    let mut all = 0;
    for _ in 0..=retries.clamp(0, 255) {
        all += wait;
        wait = (wait * 2).min(RTO_MAX * 1000);
    }
    Duration::from_millis(all)
}

fn duration(d: Duration) -> smoltcp::time::Duration {
    smoltcp::time::Duration::from_micros(u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

fn endpoint(addr: SocketAddrV4) -> IpEndpoint {
    IpEndpoint { addr: (*addr.ip()).into(), port: addr.port() }
}

impl Kernel {
    /// A segment for this namespace.
    pub(super) fn tcp_in(&mut self, ns: NsId, packet: Packet, meta: Meta) {
        let now = self.now;
        let head = *packet.head();
        let L4::Tcp { sport, dport, flags } = head.l4 else { return };
        let key = ConnKey {
            local: SocketAddrV4::new(head.dst, dport),
            remote: SocketAddrV4::new(head.src, sport),
        };
        let Some(here) = self.ns_mut(ns) else { return };
        if let Some(id) = here.sockets.conns.get(&key).copied() {
            if self.tcp_must_wait(id, flags) {
                return self.recycle(packet);
            }
            // A connection that is kept serves one request after the other.
            if let Some(conn) = self.pool.tcp(id)
                && conn.cause != meta.cause
                && !packet.data().is_empty()
            {
                conn.cause = meta.cause;
            }
            self.tcp_poll(id, Some(packet.bytes()));
            return self.recycle(packet);
        }
        let is_syn = head.is_tcp_syn();
        if let Some(closed) = here.sockets.time_waits.get(&key, now) {
            if !is_syn {
                let again = closed.ack.clone().filter(|_| flags & tcp_flags::RST == 0);
                if let Some(ack) = again {
                    self.ip_out(ns, *ack, meta.cause);
                }
                return self.recycle(packet);
            }
            here.sockets.time_waits.by_key.remove(&key);
        }
        match here.sockets.listener_for(key.local) {
            Some(listener) if is_syn => self.tcp_incoming(ns, listener, key, &packet, meta.cause),
            _ => self.refuse_tcp(ns, &packet, meta.cause),
        }
        self.recycle(packet);
    }

    /// A SYN for which its listener has no room.
    pub(super) fn tcp_refusal(&mut self, ns: NsId, head: &Head) -> Option<DropReason> {
        let L4::Tcp { sport, dport, .. } = head.l4 else { return None };
        let Kernel { pool, namespaces, .. } = self;
        let here = namespaces.get(ns.slot as usize)?;
        let local = SocketAddrV4::new(head.dst, dport);
        let remote = SocketAddrV4::new(head.src, sport);
        if here.sockets.conns.contains_key(&ConnKey { local, remote }) {
            return None;
        }
        let listener = pool.listener(here.sockets.listener_for(local)?)?;
        let half_open_max = here.sysctls.get(NsKey::TcpMaxSynBacklog);
        let half_open_max = usize::try_from(half_open_max).unwrap_or(usize::MAX);
        let is_full = listener.is_full() || listener.half_open >= half_open_max.max(1);
        is_full.then_some(DropReason::ListenOverflow)
    }

    /// The last segment of a handshake finds the accept queue full: as on Linux it is ignored, and the
    /// SYN is acknowledged again later (`tcp_v4_syn_recv_sock`); or the connection is reset.
    fn tcp_must_wait(&mut self, id: SockId, flags: u8) -> bool {
        let Some(conn) = self.pool.tcp(id) else { return false };
        let (Some(listener), ns) = (conn.listener, conn.ns) else { return false };
        if conn.state() != State::SynReceived || flags & tcp_flags::RST != 0 {
            return false;
        }
        if self.pool.listener(listener).is_none_or(|listener| !listener.is_full()) {
            return false;
        }
        if self.ns(ns).is_some_and(|here| here.sysctls.is_on(NsKey::TcpAbortOnOverflow)) {
            self.tcp_abandon(id);
        }
        true
    }

    /// Somebody opens a connection to a listener.
    fn tcp_incoming(
        &mut self,
        ns: NsId,
        listener: SockId,
        key: ConnKey,
        syn: &Packet,
        cause: Cause,
    ) {
        let Some(found) = self.pool.listener(listener) else { return };
        found.half_open += 1;
        let owner = found.owner;
        let mtu = self.mtu_towards(ns, key);
        let id = self.tcp_new(ns, key, (cause, owner), Some(listener), mtu);
        let retries = self.ns(ns).map_or(5, |here| here.sysctls.get(NsKey::TcpSynackRetries));
        if let Some(conn) = self.pool.tcp(id) {
            conn.is_half_open = true;
            conn.socket().set_timeout(Some(duration(patience(retries))));
            let local = conn.key.local;
            let listen = IpListenEndpoint { addr: Some((*local.ip()).into()), port: local.port() };
            // A fresh socket and a port above zero: listening cannot be refused.
            let _ = conn.socket().listen(listen);
        }
        self.tcp_poll(id, Some(syn.bytes()));
    }

    /// The longest packet that gets from one end to the next router, or further as far as is known.
    fn mtu_towards(&self, ns: NsId, key: ConnKey) -> u16 {
        let flow = Flow { src: *key.local.ip(), ..Flow::to(*key.remote.ip()) };
        let mtu = self.find_way(ns, &flow).map_or(1500, |way| way.mtu);
        self.path_mtu(ns, *key.remote.ip(), mtu)
    }

    fn tcp_new(
        &mut self,
        ns: NsId,
        key: ConnKey,
        (cause, owner): (Cause, ProcId),
        listener: Option<SockId>,
        mtu: u16,
    ) -> SockId {
        let (set, handle) = new_set(&mut self.pool);
        let (mut ident, mut ttl, mut stack_mtu) = (0, 64, 1500);
        if let Some(here) = self.ns_mut(ns) {
            ident = here.rng.next_u32() as u16;
            ttl = here.sysctls.get(NsKey::IpDefaultTtl) as u8;
            stack_mtu = here.sockets.stack_mtu(mtu);
        }
        let mut conn = TcpConn {
            set,
            handle,
            ns,
            key,
            mtu: stack_mtu,
            listener,
            is_half_open: false,
            waiters: Waiters::new(),
            error: None,
            hint: None,
            owner,
            cause,
            due: None,
            scheduled: None,
            orphan_since: None,
            ident,
        };
        prepare(conn.socket());
        conn.socket().set_hop_limit(Some(ttl.max(1)));
        let id = self.pool.insert(Sock::Tcp(conn));
        if let Some(here) = self.ns_mut(ns) {
            here.sockets.conns.insert(key, id);
        }
        id
    }

    /// Gives a connection a segment, or just the occasion to send, and deals with what came of it.
    pub(super) fn tcp_poll(&mut self, id: SockId, rx: Option<&[u8]>) {
        let now = to_smoltcp(self.now);
        let Kernel { pool, namespaces, .. } = self;
        let Some((_, Sock::Tcp(conn))) =
            pool.socks.get_mut(id.slot as usize).filter(|(serial, _)| *serial == id.serial)
        else {
            return;
        };
        let Some(here) = namespaces.get_mut(conn.ns.slot as usize) else { return };
        let Some(stack) = here.sockets.stack(conn.mtu) else { return };
        let mut tx = Packets::new();
        let is_rx = rx.is_some();
        let mut phy = Phy { rx, tx: &mut tx, spare: &mut pool.spare_buffers, mtu: conn.mtu };
        let before = conn.state();
        if is_rx {
            stack.poll_ingress_single(now, &mut phy, &mut conn.set);
        }
        // When it wants to be asked next is cheaper to find out than that it has no more to send.
        let due = loop {
            let sent = stack.poll_egress(now, &mut phy, &mut conn.set);
            let due = stack.poll_at(now, &conn.set);
            if sent == PollResult::None || due.is_none_or(|due| due > now) {
                break due;
            }
        };
        let after = conn.state();
        conn.due = due.map(from_smoltcp);
        let (ns, cause, mut ident) = (conn.ns, conn.cause, conn.ident);
        if before == State::SynSent && after == State::Closed {
            // An attempt that is given up ends in silence on Linux; smoltcp would send a reset.
            tx.clear();
        }
        let last_sent = match after {
            State::TimeWait => tx.last().cloned(),
            _ => None,
        };
        let sent_something = !tx.is_empty();
        conn.ident = conn.ident.wrapping_add(tx.len() as u16);
        if is_rx || before != after {
            let mut waiters = std::mem::take(&mut conn.waiters);
            self.scheduler.wake_all(&mut waiters);
        }
        if sent_something {
            let sent = Sent { confirms: is_rx, ..Sent::by_program(cause) };
            self.send_all(ns, tx, sent, &mut ident);
        }
        if before != after {
            self.tcp_changed(id, before, after, is_rx);
        }
        self.tcp_settle(id, last_sent);
    }

    fn tcp_changed(&mut self, id: SockId, before: State, after: State, is_rx: bool) {
        let ns = self.pool.tcp(id).map(|conn| conn.ns);
        let retries = ns.and_then(|ns| self.ns(ns));
        let retries = retries.map_or(15, |here| here.sysctls.get(NsKey::TcpRetries2));
        if before == State::SynReceived {
            self.tcp_is_whole(id);
        }
        let Some(conn) = self.pool.tcp(id) else { return };
        let timed_out = conn.hint.unwrap_or(SockError::TimedOut);
        match (before, after) {
            (_, State::Established) => {
                conn.socket().set_timeout(Some(duration(data_patience(retries))));
                if let Some(listener) = conn.listener {
                    self.tcp_ready_to_accept(listener, id);
                }
            }
            // The client closed, or sent everything, before the handshake was over.
            (State::SynReceived, State::CloseWait) => {
                if let Some(listener) = conn.listener {
                    self.tcp_ready_to_accept(listener, id);
                }
            }
            (State::LastAck | State::TimeWait, State::Closed) => {}
            (State::SynSent, State::Closed) => {
                let why = if is_rx { SockError::Refused } else { timed_out };
                conn.error.get_or_insert(why);
            }
            (_, State::Closed) => {
                let why = if is_rx { SockError::Reset } else { timed_out };
                conn.error.get_or_insert(why);
            }
            _ => {}
        }
    }

    /// A connection is not half open any more.
    fn tcp_is_whole(&mut self, id: SockId) {
        let Some(conn) = self.pool.tcp(id) else { return };
        let was_half_open = std::mem::take(&mut conn.is_half_open);
        let listener = conn.listener;
        if was_half_open && let Some(listener) = listener.and_then(|id| self.pool.listener(id)) {
            listener.half_open = listener.half_open.saturating_sub(1);
        }
    }

    fn tcp_ready_to_accept(&mut self, listener: SockId, id: SockId) {
        let Some(found) = self.pool.listener(listener) else {
            // The listener was closed while the handshake was on its way: nobody will ever accept.
            return self.tcp_abandon(id);
        };
        if !found.queue.contains(&id) {
            found.queue.push_back(id);
        }
        let mut waiters = std::mem::take(&mut found.waiters);
        self.scheduler.wake_all(&mut waiters);
    }

    /// Resets a connection that nobody holds.
    fn tcp_abandon(&mut self, id: SockId) {
        let now = self.now;
        self.tcp_is_whole(id);
        if let Some(conn) = self.pool.tcp(id) {
            conn.orphan_since = Some(now);
            conn.listener = None;
            conn.socket().abort();
        }
        self.tcp_poll(id, None);
    }

    /// After a change: a connection that is over is put away, any other gets its timer.
    fn tcp_settle(&mut self, id: SockId, last_sent: Option<Vec<u8>>) {
        let now = self.now;
        let Some(conn) = self.pool.tcp(id) else { return };
        let state = conn.state();
        let is_held = conn.orphan_since.is_none();
        match state {
            // A reset has made a connection that was never accepted a listener again.
            State::Listen => return self.tcp_forget(id),
            State::Closed if !is_held || conn.listener.is_some() => return self.tcp_forget(id),
            State::TimeWait if !is_held => {
                let (ns, key) = (conn.ns, conn.key);
                let ack = last_sent.and_then(|bytes| Packet::parse(bytes).ok()).map(Box::new);
                self.tcp_forget(id);
                if let Some(here) = self.ns_mut(ns) {
                    here.sockets.time_waits.insert(key, ack, now);
                }
                return;
            }
            _ => {}
        }
        self.tcp_schedule(id);
    }

    /// Sees to it that the queue asks when smoltcp wants to be asked.
    pub(super) fn tcp_schedule(&mut self, id: SockId) {
        let now = self.now;
        let Some(conn) = self.pool.tcp(id) else { return };
        if let Some(since) = conn.orphan_since
            && conn.state() == State::FinWait2
        {
            let ns = conn.ns;
            let overdue = since + self.fin_timeout(ns);
            let Some(conn) = self.pool.tcp(id) else { return };
            conn.due = Some(conn.due.map_or(overdue, |due| due.min(overdue)));
        }
        let Some(conn) = self.pool.tcp(id) else { return };
        let Some(due) = conn.due else { return };
        // All that could be sent has been; whatever is still "due now" is asked for a little later.
        let at = if due <= now { now + Duration::from_millis(1) } else { due };
        conn.due = Some(at);
        if conn.scheduled.is_none_or(|scheduled| at < scheduled) {
            conn.scheduled = Some(at);
            self.queue.push(at, crate::queue::Event::Socket(id));
        }
    }

    /// How long a connection that nobody holds waits for the other side (`tcp_fin_timeout`).
    pub(super) fn fin_timeout(&self, ns: NsId) -> Duration {
        let seconds = self.ns(ns).map_or(60, |here| here.sysctls.get(NsKey::TcpFinTimeout));
        Duration::from_secs(u64::try_from(seconds).unwrap_or(60))
    }

    /// The way to the other end takes less than was thought (`tcp_v4_mtu_reduced`): from here on segments
    /// are shorter, and what was sent will be sent again so.
    pub(super) fn tcp_set_mtu(&mut self, ns: NsId, key: ConnKey, mtu: u16) {
        let Some(here) = self.ns_mut(ns) else { return };
        let Some(id) = here.sockets.conns.get(&key).copied() else { return };
        let mtu = here.sockets.stack_mtu(mtu);
        if let Some(conn) = self.pool.tcp(id).filter(|conn| conn.mtu > mtu) {
            conn.mtu = mtu;
        }
    }

    /// Puts a connection away.
    pub(super) fn tcp_forget(&mut self, id: SockId) {
        self.tcp_is_whole(id);
        let Some(conn) = self.pool.tcp(id) else { return };
        let (ns, key, listener) = (conn.ns, conn.key, conn.listener);
        let mut waiters = std::mem::take(&mut conn.waiters);
        self.scheduler.wake_all(&mut waiters);
        if let Some(listener) = listener.and_then(|listener| self.pool.listener(listener)) {
            listener.queue.retain(|other| *other != id);
        }
        if let Some(here) = self.ns_mut(ns)
            && here.sockets.conns.get(&key) == Some(&id)
        {
            here.sockets.conns.remove(&key);
        }
        if let Some(Sock::Tcp(mut conn)) = self.pool.remove(id) {
            conn.socket().abort();
            if self.pool.spare_tcp.len() < SPARE_MAX {
                self.pool.spare_tcp.push(conn.set);
            }
        }
    }

    /// A packet that a connection sent did not arrive. Only a connection that is being opened gives up.
    pub(super) fn tcp_error(&mut self, ns: NsId, key: ConnKey, error: SockError) {
        let Some(id) = self.ns(ns).and_then(|here| here.sockets.conns.get(&key).copied()) else {
            return;
        };
        let Some(conn) = self.pool.tcp(id) else { return };
        if conn.state() == State::SynSent {
            conn.error = Some(error);
            conn.due = None;
            let mut waiters = std::mem::take(&mut conn.waiters);
            self.scheduler.wake_all(&mut waiters);
        } else {
            conn.hint = Some(error);
        }
    }

    fn tcp_connect(
        &mut self,
        ns: NsId,
        remote: SocketAddrV4,
        (from, port): (Option<Ipv4Addr>, Option<u16>),
        owner: ProcId,
    ) -> Result<SockId, SockError> {
        let cause = self.scheduler.cause();
        let dst = if remote.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *remote.ip() };
        let remote = SocketAddrV4::new(dst, remote.port());
        let (source, way) = self.way_to(ns, dst, from, None)?;
        if way.kind == crate::RouteKind::Broadcast || dst.is_multicast() {
            return Err(SockError::NetUnreachable);
        }
        if remote.port() == 0 {
            return Err(SockError::Refused);
        }
        let key = |port| ConnKey { local: SocketAddrV4::new(source, port), remote };
        let is_free = |sockets: &super::Sockets, port, now| {
            let key = key(port);
            !sockets.conns.contains_key(&key) && sockets.time_waits.get(&key, now).is_none()
        };
        let now = self.now;
        let port = match port {
            None => self.ephemeral_port(ns, is_free).ok_or(SockError::AddrNotAvailable)?,
            Some(port) => {
                let here = self.ns(ns).ok_or(SockError::NetUnreachable)?;
                let listens = clashes(here.sockets.listeners.get(&port), source);
                if listens || !is_free(&here.sockets, port, now) {
                    return Err(SockError::AddrInUse);
                }
                port
            }
        };
        let key = key(port);
        let mtu = self.path_mtu(ns, dst, way.mtu);
        let id = self.tcp_new(ns, key, (cause, owner), None, mtu);
        let retries = self.ns(ns).map_or(6, |here| here.sysctls.get(NsKey::TcpSynRetries));
        let Kernel { pool, namespaces, .. } = self;
        if let (Some(here), Some(conn)) = (namespaces.get_mut(ns.slot as usize), pool.tcp(id)) {
            let local =
                IpListenEndpoint { addr: Some((*key.local.ip()).into()), port: key.local.port() };
            let Some(stack) = here.sockets.stack(conn.mtu) else { return Ok(id) };
            conn.socket().set_timeout(Some(duration(patience(retries))));
            // Both ends are given and whole: smoltcp has nothing to refuse.
            let _ = conn.socket().connect(stack.context(), endpoint(key.remote), local);
        }
        self.tcp_poll(id, None);
        Ok(id)
    }

    /// The program lets go of a connection. Unread data makes it a reset, as on Linux.
    fn tcp_close(&mut self, id: SockId) {
        let now = self.now;
        let Some(conn) = self.pool.tcp(id) else { return };
        if conn.state() == State::SynSent {
            return self.tcp_forget(id);
        }
        conn.orphan_since = Some(now);
        conn.listener = None;
        let socket = conn.socket();
        if socket.recv_queue() > 0 && socket.state() != State::Closed {
            socket.abort();
        } else {
            socket.close();
        }
        self.tcp_poll(id, None);
    }
}
