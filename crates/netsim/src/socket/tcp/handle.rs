//! What programs hold of TCP: listening, connecting, reading and writing.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::task::Poll;

use base::Duration;
use smoltcp::socket::tcp::State;

use super::super::{Sock, SockError, SockId, clashes, unbind};
use super::*;

impl Host {
    /// Listens on an address of this namespace; the unspecified address stands for all of them.
    pub fn listen(&self, local: SocketAddrV4) -> Result<TcpListener, SockError> {
        self.listen_with(local, ListenOptions::default())
    }

    /// The same, with a queue of its own length and with or without `SO_REUSEADDR`.
    pub fn listen_with(
        &self,
        local: SocketAddrV4,
        options: ListenOptions,
    ) -> Result<TcpListener, SockError> {
        let mut kernel = self.net.kernel_mut();
        let now = kernel.now;
        let ns = kernel.ns_mut(self.ns).ok_or(SockError::AddrNotAvailable)?;
        let addr = *local.ip();
        let may_bind = ns.fib.is_local(addr) || ns.sysctls.is_on(NsKey::IpNonlocalBind);
        if !addr.is_unspecified() && !may_bind {
            return Err(SockError::AddrNotAvailable);
        }
        let local = match local.port() {
            0 => {
                let is_free = |sockets: &super::super::Sockets, port: u16, _| {
                    !clashes(sockets.listeners.get(&port), addr)
                };
                let port = kernel.ephemeral_port(self.ns, is_free);
                SocketAddrV4::new(addr, port.ok_or(SockError::AddrInUse)?)
            }
            _ => local,
        };
        let ns = kernel.ns_mut(self.ns).ok_or(SockError::AddrNotAvailable)?;
        if clashes(ns.sockets.listeners.get(&local.port()), addr) {
            return Err(SockError::AddrInUse);
        }
        if !options.reuses_address && ns.sockets.is_port_in_use(local, now) {
            return Err(SockError::AddrInUse);
        }
        let somaxconn = ns.sysctls.get(NsKey::SoMaxConn);
        let backlog = options.backlog.min(usize::try_from(somaxconn).unwrap_or(0));
        let listener = Listener {
            ns: self.ns,
            local,
            queue: VecDeque::new(),
            backlog,
            half_open: 0,
            waiters: Waiters::new(),
            owner: self.process,
        };
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
            kernel.tcp_connect(self.ns, remote, (from, None), self.process)?
        };
        self.connected(id).await
    }

    /// Opens a connection from a given port, and address unless that is unspecified (`bind`, `connect`).
    pub async fn connect_bound(
        &self,
        remote: SocketAddrV4,
        local: SocketAddrV4,
    ) -> Result<TcpStream, SockError> {
        let from = Some(*local.ip()).filter(|addr| !addr.is_unspecified());
        let port = Some(local.port()).filter(|port| *port != 0);
        let id = {
            let mut kernel = self.net.kernel_mut();
            kernel.tcp_connect(self.ns, remote, (from, port), self.process)?
        };
        self.connected(id).await
    }

    async fn connected(&self, id: SockId) -> Result<TcpStream, SockError> {
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
    /// Where it listens.
    pub fn local_addr(&self) -> Option<SocketAddrV4> {
        self.net.kernel_mut().pool.listener(self.id).map(|listener| listener.local)
    }

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
            let cause = conn.cause;
            let socket = conn.socket();
            if socket.can_recv() {
                // What is done with it is done for who has sent it.
                scheduler.set_cause(cause);
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
                conn.cause = scheduler.cause();
                let socket = conn.socket();
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

    /// `SO_KEEPALIVE`: asks after so long without a word whether the other side is still there.
    pub fn set_keepalive(&self, after: Option<Duration>) {
        let mut kernel = self.net.kernel_mut();
        if let Some(conn) = kernel.pool.tcp(self.id) {
            conn.socket().set_keep_alive(after.map(duration));
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
