//! TCP: listeners and connections.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::task::Poll;

use base::{Duration, FastMap, Instant};
use packet::{L4, Packet, tcp_flags};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{IpEndpoint, IpListenEndpoint};

use super::{
    ConnKey, ORPHAN_TIMEOUT, Packets, Phy, Pool, Sock, SockError, SockId, clashes, from_smoltcp,
    to_smoltcp, unbind,
};
use crate::exec::{Host, Waiters};
use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::path::Meta;
use crate::sim::Net;
use crate::trace::Cause;

/// Bytes a connection takes before the program reads them: Linux's first window for an MSS of 1460.
const RX_BUFFER: usize = 64_240;
/// Bytes a program can write before the other side has taken them.
const TX_BUFFER: usize = 32_768;
/// Connections that wait to be accepted (`somaxconn`).
const BACKLOG_MAX: usize = 4096;
/// How long a SYN is repeated (`tcp_syn_retries` = 6).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(127);
/// How long data is repeated (`tcp_retries2` = 15).
const SEND_TIMEOUT: Duration = Duration::from_secs(924);
/// How long a closed connection is remembered (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT: Duration = Duration::from_secs(60);
/// Closed sockets kept with their buffers.
const SPARE_MAX: usize = 64;

/// A connection.
pub(super) struct TcpConn {
    set: SocketSet<'static>,
    handle: SocketHandle,
    ns: NsId,
    key: ConnKey,
    /// The listener that has not yet given it away.
    listener: Option<SockId>,
    waiters: Waiters,
    error: Option<SockError>,
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

    fn state(&self) -> State {
        self.set.get::<Socket<'static>>(self.handle).state()
    }

    pub(super) fn is_orphan_overdue(&self, now: Instant) -> bool {
        self.orphan_since.is_some_and(|since| now - since >= ORPHAN_TIMEOUT)
            && self.state() == State::FinWait2
    }
}

/// A listening socket.
pub(super) struct Listener {
    ns: NsId,
    local: SocketAddrV4,
    /// Established connections, the first being accepted next.
    queue: VecDeque<SockId>,
    waiters: Waiters,
}

/// Connections that are closed on both sides and answer repeated segments for a while.
#[derive(Default)]
pub(super) struct TimeWaits {
    by_key: FastMap<ConnKey, TimeWait>,
    by_age: VecDeque<(Instant, ConnKey)>,
}

struct TimeWait {
    expires: Instant,
    /// The acknowledgement that was sent last.
    ack: Option<Packet>,
}

impl TimeWaits {
    fn insert(&mut self, key: ConnKey, ack: Option<Packet>, now: Instant) {
        while let Some((expires, old)) = self.by_age.front().copied()
            && expires <= now
        {
            self.by_age.pop_front();
            if self.by_key.get(&old).is_some_and(|entry| entry.expires <= now) {
                self.by_key.remove(&old);
            }
        }
        let expires = now + TIME_WAIT;
        self.by_key.insert(key, TimeWait { expires, ack });
        self.by_age.push_back((expires, key));
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
    socket.set_timeout(Some(duration(CONNECT_TIMEOUT)));
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
            self.tcp_poll(id, Some(packet.bytes()));
            return self.recycle(packet);
        }
        let is_syn = head.is_tcp_syn();
        if let Some(closed) = here.sockets.time_waits.get(&key, now) {
            if !is_syn {
                let again = closed.ack.clone().filter(|_| flags & tcp_flags::RST == 0);
                if let Some(ack) = again {
                    self.ip_out(ns, ack, meta.cause);
                }
                return self.recycle(packet);
            }
            here.sockets.time_waits.by_key.remove(&key);
        }
        match here.sockets.listener_for(key.local) {
            Some(listener) if is_syn => self.tcp_incoming(ns, listener, key, &packet, meta.cause),
            _ => self.stack_answers(ns, &packet, meta.cause),
        }
        self.recycle(packet);
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
        // As Linux does with a full accept queue: the SYN is not answered.
        if self.pool.listener(listener).is_none_or(|l| l.queue.len() >= BACKLOG_MAX) {
            return;
        }
        let id = self.tcp_new(ns, key, cause, Some(listener));
        if let Some(conn) = self.pool.tcp(id) {
            let local = conn.key.local;
            let listen = IpListenEndpoint { addr: Some((*local.ip()).into()), port: local.port() };
            // A fresh socket and a port above zero: listening cannot be refused.
            let _ = conn.socket().listen(listen);
        }
        self.tcp_poll(id, Some(syn.bytes()));
    }

    fn tcp_new(
        &mut self,
        ns: NsId,
        key: ConnKey,
        cause: Cause,
        listener: Option<SockId>,
    ) -> SockId {
        let (set, handle) = new_set(&mut self.pool);
        let ident = self.ns_mut(ns).map_or(0, |here| here.rng.next_u32() as u16);
        let mut conn = TcpConn {
            set,
            handle,
            ns,
            key,
            listener,
            waiters: Waiters::new(),
            error: None,
            cause,
            due: None,
            scheduled: None,
            orphan_since: None,
            ident,
        };
        prepare(conn.socket());
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
        let stack = &mut here.sockets.stack;
        let mut tx = Packets::new();
        let is_rx = rx.is_some();
        let mut phy = Phy { rx, tx: &mut tx, spare: &mut pool.spare_buffers };
        let before = conn.state();
        if is_rx {
            stack.poll_ingress_single(now, &mut phy, &mut conn.set);
        }
        while stack.poll_egress(now, &mut phy, &mut conn.set)
            == smoltcp::iface::PollResult::SocketStateChanged
        {}
        let after = conn.state();
        conn.due = stack.poll_at(now, &conn.set).map(from_smoltcp);
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
            self.send_all(ns, tx, cause, Some(&mut ident));
        }
        if before != after {
            self.tcp_changed(id, before, after, is_rx);
        }
        self.tcp_settle(id, last_sent);
    }

    fn tcp_changed(&mut self, id: SockId, before: State, after: State, is_rx: bool) {
        let Some(conn) = self.pool.tcp(id) else { return };
        match (before, after) {
            (_, State::Established) => {
                conn.socket().set_timeout(Some(duration(SEND_TIMEOUT)));
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
                let why = if is_rx { SockError::Refused } else { SockError::TimedOut };
                conn.error.get_or_insert(why);
            }
            (_, State::Closed) => {
                let why = if is_rx { SockError::Reset } else { SockError::TimedOut };
                conn.error.get_or_insert(why);
            }
            _ => {}
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
                let ack = last_sent.and_then(|bytes| Packet::parse(bytes).ok());
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
        if conn.orphan_since.is_some() && conn.state() == State::FinWait2 {
            let overdue = conn.orphan_since.unwrap_or(now) + ORPHAN_TIMEOUT;
            conn.due = Some(conn.due.map_or(overdue, |due| due.min(overdue)));
        }
        let Some(due) = conn.due else { return };
        // All that could be sent has been; whatever is still "due now" is asked for a little later.
        let at = if due <= now { now + Duration::from_millis(1) } else { due };
        conn.due = Some(at);
        if conn.scheduled.is_none_or(|scheduled| at < scheduled) {
            conn.scheduled = Some(at);
            self.queue.push(at, crate::queue::Event::Socket(id));
        }
    }

    /// Puts a connection away.
    pub(super) fn tcp_forget(&mut self, id: SockId) {
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
        }
    }

    fn tcp_connect(
        &mut self,
        ns: NsId,
        remote: SocketAddrV4,
        from: Option<Ipv4Addr>,
        cause: Cause,
    ) -> Result<SockId, SockError> {
        let dst = if remote.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *remote.ip() };
        let remote = SocketAddrV4::new(dst, remote.port());
        let source = from.or_else(|| self.source_for(ns, dst)).ok_or(SockError::NetUnreachable)?;
        if remote.port() == 0 {
            return Err(SockError::Refused);
        }
        let key = |port| ConnKey { local: SocketAddrV4::new(source, port), remote };
        let port = self.ephemeral_port(ns, |sockets, port, now| {
            let key = key(port);
            !sockets.conns.contains_key(&key) && sockets.time_waits.get(&key, now).is_none()
        });
        let key = key(port.ok_or(SockError::AddrNotAvailable)?);
        let id = self.tcp_new(ns, key, cause, None);
        let Kernel { pool, namespaces, .. } = self;
        if let (Some(here), Some(conn)) = (namespaces.get_mut(ns.slot as usize), pool.tcp(id)) {
            let local =
                IpListenEndpoint { addr: Some((*key.local.ip()).into()), port: key.local.port() };
            let cx = here.sockets.stack.context();
            // Both ends are given and whole: smoltcp has nothing to refuse.
            let _ = conn.socket().connect(cx, endpoint(key.remote), local);
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

impl Host {
    /// Listens on an address of this namespace; the unspecified address stands for all of them.
    pub fn listen(&self, local: SocketAddrV4) -> Result<TcpListener, SockError> {
        let mut kernel = self.net.kernel_mut();
        let ns = kernel.ns_mut(self.ns).ok_or(SockError::AddrNotAvailable)?;
        let addr = *local.ip();
        if !addr.is_unspecified() && !ns.fib.is_local(addr) {
            return Err(SockError::AddrNotAvailable);
        }
        if clashes(ns.sockets.listeners.get(&local.port()), addr) {
            return Err(SockError::AddrInUse);
        }
        let listener =
            Listener { ns: self.ns, local, queue: VecDeque::new(), waiters: Waiters::new() };
        let id = kernel.pool.insert(Sock::Listener(listener));
        if let Some(ns) = kernel.ns_mut(self.ns) {
            ns.sockets.listeners.entry(local.port()).or_default().push((addr, id));
        }
        Ok(TcpListener { net: self.net.clone(), id })
    }

    /// Opens a connection.
    pub async fn connect(&self, remote: SocketAddrV4) -> Result<TcpStream, SockError> {
        self.connect_from(remote, None).await
    }

    /// Opens a connection from a given address of this namespace.
    pub async fn connect_from(
        &self,
        remote: SocketAddrV4,
        from: Option<Ipv4Addr>,
    ) -> Result<TcpStream, SockError> {
        let id = {
            let mut kernel = self.net.kernel_mut();
            let cause = kernel.scheduler.cause();
            kernel.tcp_connect(self.ns, remote, from, cause)?
        };
        let stream = TcpStream { net: self.net.clone(), id };
        poll_fn(|_| {
            let mut kernel = stream.net.kernel_mut();
            let Kernel { pool, scheduler, .. } = &mut *kernel;
            let Some(conn) = pool.tcp(id) else { return Poll::Ready(Err(SockError::Reset)) };
            if let Some(error) = conn.error {
                return Poll::Ready(Err(error));
            }
            match conn.state() {
                State::SynSent | State::SynReceived => {
                    scheduler.wait(&mut conn.waiters);
                    Poll::Pending
                }
                _ => Poll::Ready(Ok(())),
            }
        })
        .await?;
        Ok(stream)
    }
}

/// A listening socket. Dropping it closes it and resets the connections that were not accepted.
pub struct TcpListener {
    net: Net,
    id: SockId,
}

impl TcpListener {
    /// The next connection, and who opened it. What this task does from here on, it does for whatever the
    /// connection was opened for.
    pub async fn accept(&self) -> Result<(TcpStream, SocketAddrV4), SockError> {
        let id = poll_fn(|_| {
            let mut kernel = self.net.kernel_mut();
            let Kernel { pool, scheduler, .. } = &mut *kernel;
            let Some(listener) = pool.listener(self.id) else {
                return Poll::Ready(Err(SockError::BrokenPipe));
            };
            match listener.queue.pop_front() {
                Some(id) => Poll::Ready(Ok(id)),
                None => {
                    scheduler.wait(&mut listener.waiters);
                    Poll::Pending
                }
            }
        })
        .await?;
        let mut kernel = self.net.kernel_mut();
        let conn = kernel.pool.tcp(id).ok_or(SockError::Reset)?;
        conn.listener = None;
        let (remote, cause) = (conn.key.remote, conn.cause);
        kernel.scheduler.set_cause(cause);
        Ok((TcpStream { net: self.net.clone(), id }, remote))
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        let mut kernel = self.net.kernel_mut();
        let Some(Sock::Listener(listener)) = kernel.pool.remove(self.id) else { return };
        if let Some(ns) = kernel.ns_mut(listener.ns) {
            unbind(&mut ns.sockets.listeners, listener.local.port(), self.id);
        }
        for id in listener.queue {
            kernel.tcp_abandon(id);
        }
    }
}

/// One end of a connection. Dropping it closes it.
pub struct TcpStream {
    net: Net,
    id: SockId,
}

impl TcpStream {
    /// Our end.
    pub fn local_addr(&self) -> Option<SocketAddrV4> {
        self.net.kernel_mut().pool.tcp(self.id).map(|conn| conn.key.local)
    }

    /// The other end.
    pub fn peer_addr(&self) -> Option<SocketAddrV4> {
        self.net.kernel_mut().pool.tcp(self.id).map(|conn| conn.key.remote)
    }

    /// Reads what is there, or waits for something. 0: the other side has sent all it will.
    pub async fn read(&self, buffer: &mut [u8]) -> Result<usize, SockError> {
        poll_fn(|_| {
            let mut kernel = self.net.kernel_mut();
            let Kernel { pool, scheduler, .. } = &mut *kernel;
            let Some(conn) = pool.tcp(self.id) else { return Poll::Ready(Err(SockError::Reset)) };
            let socket = conn.socket();
            if socket.can_recv() {
                let read = socket.recv_slice(buffer).unwrap_or(0);
                // The window has grown; the other side may be waiting to hear of it.
                if read * 2 > RX_BUFFER || socket.recv_queue() > 0 {
                    kernel.tcp_poll(self.id, None);
                }
                return Poll::Ready(Ok(read));
            }
            if let Some(error) = conn.error {
                return Poll::Ready(Err(error));
            }
            if !conn.socket().may_recv() {
                return Poll::Ready(Ok(0));
            }
            scheduler.wait(&mut conn.waiters);
            Poll::Pending
        })
        .await
    }

    /// Writes all of `data`; waits where the other side is slow.
    pub async fn write_all(&self, mut data: &[u8]) -> Result<(), SockError> {
        poll_fn(|_| {
            loop {
                let mut kernel = self.net.kernel_mut();
                let Kernel { pool, scheduler, .. } = &mut *kernel;
                let Some(conn) = pool.tcp(self.id) else {
                    return Poll::Ready(Err(SockError::Reset));
                };
                if let Some(error) = conn.error {
                    return Poll::Ready(Err(error));
                }
                if data.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let socket = conn.socket();
                if !socket.may_send() {
                    return Poll::Ready(Err(SockError::BrokenPipe));
                }
                let sent = socket.send_slice(data).unwrap_or(0);
                if sent == 0 {
                    scheduler.wait(&mut conn.waiters);
                    return Poll::Pending;
                }
                data = data.get(sent..).unwrap_or_default();
                kernel.tcp_poll(self.id, None);
            }
        })
        .await
    }

    /// Says that nothing more will be written; reading goes on.
    pub fn shutdown(&self) {
        let mut kernel = self.net.kernel_mut();
        if let Some(conn) = kernel.pool.tcp(self.id) {
            conn.socket().close();
        }
        kernel.tcp_poll(self.id, None);
    }

    /// Resets the connection instead of closing it.
    pub fn abort(&self) {
        let mut kernel = self.net.kernel_mut();
        if let Some(conn) = kernel.pool.tcp(self.id) {
            conn.socket().abort();
        }
        kernel.tcp_poll(self.id, None);
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.net.kernel_mut().tcp_close(self.id);
    }
}
