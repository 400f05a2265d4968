//! What `ss` shows: the sockets of a namespace.

use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::socket::tcp::State;

use super::Sock;
use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::sim::Net;

/// What a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// Whole packets.
    Raw,
    /// Echo requests.
    Ping,
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

impl Transport {
    /// The word in the column `Netid`.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Raw => "raw",
            Transport::Ping => "icmp",
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }
}

/// The state of a socket, as `ss` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SocketState {
    /// Waits for connections.
    Listen,
    /// Has asked for a connection.
    SynSent,
    /// Was asked for one.
    SynRecv,
    /// Connected.
    Established,
    /// Has closed.
    FinWait1,
    /// Has closed, and the other side knows.
    FinWait2,
    /// The other side has closed.
    CloseWait,
    /// Both have closed, the other side first.
    LastAck,
    /// Both have closed at once.
    Closing,
    /// Closed and remembered for a while.
    TimeWait,
    /// Not connected.
    Unconnected,
}

impl SocketState {
    /// The word in the column `State`.
    pub fn name(self) -> &'static str {
        match self {
            SocketState::Listen => "LISTEN",
            SocketState::SynSent => "SYN-SENT",
            SocketState::SynRecv => "SYN-RECV",
            SocketState::Established => "ESTAB",
            SocketState::FinWait1 => "FIN-WAIT-1",
            SocketState::FinWait2 => "FIN-WAIT-2",
            SocketState::CloseWait => "CLOSE-WAIT",
            SocketState::LastAck => "LAST-ACK",
            SocketState::Closing => "CLOSING",
            SocketState::TimeWait => "TIME-WAIT",
            SocketState::Unconnected => "UNCONN",
        }
    }

    fn of(state: State) -> SocketState {
        match state {
            State::Closed => SocketState::Unconnected,
            State::Listen => SocketState::Listen,
            State::SynSent => SocketState::SynSent,
            State::SynReceived => SocketState::SynRecv,
            State::Established => SocketState::Established,
            State::FinWait1 => SocketState::FinWait1,
            State::FinWait2 => SocketState::FinWait2,
            State::CloseWait => SocketState::CloseWait,
            State::Closing => SocketState::Closing,
            State::LastAck => SocketState::LastAck,
            State::TimeWait => SocketState::TimeWait,
        }
    }
}

/// A socket as `ss` shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketView {
    /// What it speaks.
    pub transport: Transport,
    /// Its state.
    pub state: SocketState,
    /// Bytes to be read; of a listener, connections to be accepted.
    pub recv_q: usize,
    /// Bytes not yet acknowledged; of a listener, connections that may wait to be accepted.
    pub send_q: usize,
    /// Our end. Of a raw socket the port is its protocol, of a ping socket its identifier.
    pub local: SocketAddrV4,
    /// The other end.
    pub peer: Option<SocketAddrV4>,
    /// The name of the process that has it.
    pub process: Option<String>,
}

impl Net {
    /// The sockets of a namespace, by kind, state and addresses.
    pub fn sockets(&self, ns: NsId) -> Vec<SocketView> {
        let mut kernel = self.kernel_mut();
        let Kernel { pool, scheduler, namespaces, now, .. } = &mut *kernel;
        let name = |owner| scheduler.process_name(owner).map(str::to_string);
        let mut all: Vec<SocketView> = Vec::new();
        for (_, (_, sock)) in pool.socks.iter_mut() {
            let (at, view) = match sock {
                Sock::Tcp(conn) => (conn.ns(), {
                    let process = if conn.is_held() { name(conn.owner) } else { None };
                    let (recv_q, send_q) = conn.queued();
                    SocketView {
                        transport: Transport::Tcp,
                        state: SocketState::of(conn.state()),
                        recv_q,
                        send_q,
                        local: conn.key().local,
                        peer: Some(conn.key().remote),
                        process,
                    }
                }),
                Sock::Listener(listener) => (
                    listener.ns,
                    SocketView {
                        transport: Transport::Tcp,
                        state: SocketState::Listen,
                        recv_q: listener.queue.len(),
                        send_q: listener.backlog,
                        local: listener.local,
                        peer: None,
                        process: name(listener.owner),
                    },
                ),
                Sock::Udp(udp) => (
                    udp.ns,
                    SocketView {
                        transport: Transport::Udp,
                        state: match udp.remote {
                            Some(_) => SocketState::Established,
                            None => SocketState::Unconnected,
                        },
                        recv_q: udp.queued,
                        send_q: 0,
                        local: match udp.remote {
                            Some((_, own)) => SocketAddrV4::new(own, udp.local.port()),
                            None => udp.local,
                        },
                        peer: udp.remote.map(|(remote, _)| remote),
                        process: name(udp.owner),
                    },
                ),
                Sock::Raw(raw) => (
                    raw.ns,
                    SocketView {
                        transport: if raw.ident.is_some() {
                            Transport::Ping
                        } else {
                            Transport::Raw
                        },
                        state: SocketState::Unconnected,
                        recv_q: raw.queued,
                        send_q: 0,
                        local: SocketAddrV4::new(
                            Ipv4Addr::UNSPECIFIED,
                            raw.ident.unwrap_or(u16::from(raw.protocol)),
                        ),
                        peer: None,
                        process: name(raw.owner),
                    },
                ),
            };
            if at == ns {
                all.push(view);
            }
        }
        if let Some(here) = namespaces.get(ns.slot as usize).filter(|n| n.serial == ns.serial) {
            all.extend(here.sockets.time_waits.keys(*now).into_iter().map(|key| SocketView {
                transport: Transport::Tcp,
                state: SocketState::TimeWait,
                recv_q: 0,
                send_q: 0,
                local: key.local,
                peer: Some(key.remote),
                process: None,
            }));
        }
        base::order::sort(&mut all);
        all
    }
}
