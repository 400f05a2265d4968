//! The connections of virtual services (`net/netfilter/ipvs/ip_vs_conn.c`).
//!
//! Each has a place in a line of times at which it is looked at. A packet moves only the time of its end; when
//! it is looked at too early, it gets a later place.

use std::net::{Ipv4Addr, SocketAddrV4};

use base::tree::BTreeMap;
use base::{Duration, FastMap, Instant};
use slab::Slab;

use super::{ServiceKey, state};
use crate::conntrack::{Conntrack, Direction, Tuple};

/// Most connections that are remembered.
pub const CONNS_MAX: usize = 1 << 18;

/// How much longer a template stays that connections depend on.
const HELD: Duration = Duration::from_secs(60);

/// Stands for a connection for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VsConnId {
    pub(super) slot: u32,
    serial: u64,
}

/// A connection to a virtual service, or what makes a client come to the same server again (a template).
#[derive(Clone, Debug)]
pub struct VsConn {
    serial: u64,
    /// IP protocol number.
    pub protocol: u8,
    /// The client; of a template its network, and port 0.
    pub client: SocketAddrV4,
    /// The virtual address.
    pub service: SocketAddrV4,
    /// The real server.
    pub addr: SocketAddrV4,
    pub(super) server: u32,
    pub(super) state: u8,
    pub(super) is_template: bool,
    /// Counts among the server's active connections.
    pub(super) is_active: bool,
    /// Of a template: some connection of it was answered.
    pub(super) is_assured: bool,
    /// Its packets are tracked.
    pub(super) is_tracked: bool,
    /// The template it follows.
    pub(super) control: Option<u32>,
    /// Connections that follow it.
    pub(super) controls: u32,
    pub(super) timeout: Duration,
    /// When it is forgotten.
    pub expires: Instant,
    /// Its place in the line.
    look_at: Instant,
    /// Another one whose answers look the same.
    next_same: Option<u32>,
}

impl VsConn {
    pub(super) fn new(
        protocol: u8,
        (client, service): (SocketAddrV4, SocketAddrV4),
        (server, addr): (u32, SocketAddrV4),
    ) -> VsConn {
        VsConn {
            serial: 0,
            protocol,
            client,
            service,
            addr,
            server,
            state: 0,
            is_template: false,
            is_active: false,
            is_assured: false,
            is_tracked: false,
            control: None,
            controls: 0,
            timeout: Duration::from_secs(3),
            expires: Instant::ZERO,
            look_at: Instant::ZERO,
            next_same: None,
        }
    }

    /// As packets of its client come in.
    pub(super) fn request(&self) -> Tuple {
        tuple(self.protocol, self.client, self.service)
    }

    /// As answers of its server come in.
    pub(super) fn answer(&self) -> Tuple {
        tuple(self.protocol, self.addr, self.client)
    }

    /// The virtual address, protocol and port.
    pub(super) fn key(&self) -> ServiceKey {
        let (addr, port) = (*self.service.ip(), self.service.port());
        ServiceKey { protocol: self.protocol, addr, port }
    }

    /// The name of its state.
    pub fn state_name(&self) -> &'static str {
        match (self.is_template, self.is_assured) {
            (true, true) => "ASSURED",
            (true, false) => "NONE",
            _ => state::name(self.protocol, self.state),
        }
    }
}

fn tuple(protocol: u8, from: SocketAddrV4, to: SocketAddrV4) -> Tuple {
    let (src, sport) = (*from.ip(), from.port());
    Tuple { src, dst: *to.ip(), sport, dport: to.port(), protocol }
}

/// The key of the template for a client's network.
pub(super) fn template_key(protocol: u8, network: Ipv4Addr, service: SocketAddrV4) -> Tuple {
    tuple(protocol, SocketAddrV4::new(network, 0), service)
}

/// The connections of a namespace.
#[derive(Debug, Default)]
pub struct Conns {
    slots: Slab<VsConn>,
    by_request: FastMap<Tuple, u32>,
    by_answer: FastMap<Tuple, u32>,
    templates: FastMap<Tuple, u32>,
    line: BTreeMap<Instant, Vec<u32>>,
    next_serial: u64,
}

impl Conns {
    /// How many there are, templates included.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All of them that last beyond `now`, in the order of their beginning.
    pub fn entries(&self, now: Instant) -> Vec<&VsConn> {
        let alive = |conn: &VsConn| conn.expires > now || conn.controls > 0;
        let mut all: Vec<&VsConn> =
            self.slots.iter().map(|(_, conn)| conn).filter(|conn| alive(conn)).collect();
        base::order::sort_by_key(&mut all, |conn| conn.serial);
        all
    }

    pub(super) fn get(&self, slot: u32) -> Option<&VsConn> {
        self.slots.get(slot as usize)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut VsConn> {
        self.slots.get_mut(slot as usize)
    }

    /// The connection, if it still exists.
    pub fn of(&self, id: VsConnId) -> Option<&VsConn> {
        self.get(id.slot).filter(|conn| conn.serial == id.serial)
    }

    pub(super) fn id(&self, slot: u32) -> Option<VsConnId> {
        self.get(slot).map(|conn| VsConnId { slot, serial: conn.serial })
    }

    pub(super) fn by_request(&self, tuple: &Tuple) -> Option<u32> {
        self.by_request.get(tuple).copied()
    }

    pub(super) fn by_answer(&self, tuple: &Tuple) -> Option<u32> {
        self.by_answer.get(tuple).copied()
    }

    pub(super) fn template(&self, key: &Tuple) -> Option<u32> {
        self.templates.get(key).copied()
    }

    /// A template leads nobody any more; it stays until its time comes.
    pub(super) fn invalidate(&mut self, slot: u32) {
        let Some(conn) = self.slots.get_mut(slot as usize) else { return };
        let key = conn.request();
        // As the kernel shows them.
        conn.service.set_port(u16::MAX);
        conn.addr.set_port(u16::MAX);
        if self.templates.get(&key) == Some(&slot) {
            self.templates.remove(&key);
        }
    }

    /// Remembers a connection; `None`: there is no room.
    pub(super) fn insert(&mut self, conn: VsConn, now: Instant) -> Option<u32> {
        if self.slots.len() >= CONNS_MAX {
            return None;
        }
        self.next_serial += 1;
        let expires = now + conn.timeout;
        let conn = VsConn { serial: self.next_serial, expires, look_at: expires, ..conn };
        let (request, answer, is_template) = (conn.request(), conn.answer(), conn.is_template);
        let slot = self.slots.insert(conn) as u32;
        if is_template {
            self.templates.insert(request, slot);
        } else {
            self.by_request.insert(request, slot);
            let same = self.by_answer.insert(answer, slot);
            if let Some(conn) = self.get_mut(slot) {
                conn.next_same = same;
            }
        }
        self.line.entry(expires).or_default().push(slot);
        Some(slot)
    }

    /// It lasts for its timeout from now on.
    pub(super) fn renew(&mut self, slot: u32, now: Instant) {
        let Some(conn) = self.slots.get_mut(slot as usize) else { return };
        conn.expires = now + conn.timeout;
        // Its end may be nearer than before.
        if conn.expires < conn.look_at {
            conn.look_at = conn.expires;
            self.line.entry(conn.expires).or_default().push(slot);
        }
    }

    /// The next one whose time has come.
    #[inline]
    pub(super) fn next_due(&mut self, now: Instant) -> Option<u32> {
        loop {
            let (at, _) = self.line.first_key_value().filter(|(at, _)| **at <= now)?;
            let at = *at;
            let Some(slot) = self.line.get_mut(&at).and_then(Vec::pop) else {
                self.line.remove(&at);
                continue;
            };
            let Some(conn) = self.slots.get_mut(slot as usize) else { continue };
            // It has got an earlier place since, or its slot is another's.
            if conn.look_at != at {
                continue;
            }
            if conn.expires <= now && conn.controls == 0 {
                return Some(slot);
            }
            if conn.expires <= now {
                conn.timeout = HELD;
                conn.expires += HELD;
            }
            conn.look_at = conn.expires;
            self.line.entry(conn.expires).or_default().push(slot);
        }
    }

    /// Takes a connection out, unless others depend on it.
    pub(super) fn remove(&mut self, slot: u32, now: Instant) -> Option<VsConn> {
        let conn = self.slots.get_mut(slot as usize)?;
        if conn.controls > 0 {
            conn.timeout = HELD;
            self.renew(slot, now);
            return None;
        }
        let conn = self.slots.remove(slot as usize);
        let request = conn.request();
        if conn.is_template {
            if self.templates.get(&request) == Some(&slot) {
                self.templates.remove(&request);
            }
            return Some(conn);
        }
        if self.by_request.get(&request) == Some(&slot) {
            self.by_request.remove(&request);
        }
        self.unlink_answer(slot, &conn);
        Some(conn)
    }

    fn unlink_answer(&mut self, slot: u32, conn: &VsConn) {
        let answer = conn.answer();
        let mut at = self.by_answer.get(&answer).copied();
        if at == Some(slot) {
            match conn.next_same {
                Some(next) => self.by_answer.insert(answer, next),
                None => self.by_answer.remove(&answer),
            };
            return;
        }
        while let Some(other) = at.and_then(|at| self.slots.get_mut(at as usize)) {
            at = other.next_same;
            if at == Some(slot) {
                other.next_same = conn.next_same;
            }
        }
    }

    /// One of the connections that follow a template is gone.
    pub(super) fn release(&mut self, template: u32) {
        if let Some(conn) = self.get_mut(template) {
            conn.controls = conn.controls.saturating_sub(1);
        }
    }
}

/// What conntrack knows of a connection that is over is forgotten, too (`ip_vs_conn_drop_conntrack`).
pub(super) fn drop_tracked(conn: &VsConn, conntrack: &mut Conntrack, now: Instant) {
    if !conn.is_tracked || conn.is_template {
        return;
    }
    if let Some((id, Direction::Original)) = conntrack.find(&conn.request(), now) {
        conntrack.remove(id, now);
    }
}
