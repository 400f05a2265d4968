//! Virtual services and their real servers (`net/netfilter/ipvs/ip_vs_ctl.c`).

use std::net::{Ipv4Addr, SocketAddrV4};

use base::Instant;

use super::conn::VsConn;
use super::schedule::{Scheduler, Turn};
use super::stats::Stats;
use super::{Ipvs, conn};
use crate::conntrack::Conntrack;

/// Names a virtual service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceKey {
    /// IP protocol number: TCP, UDP or SCTP.
    pub protocol: u8,
    /// Its address.
    pub addr: Ipv4Addr,
    /// Its port; 0: every port that has no service of its own.
    pub port: u16,
}

/// The same client gets the same server again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// For so many seconds after its last new connection.
    pub timeout: u32,
    /// Clients that are the same under this mask count as one.
    pub netmask: Ipv4Addr,
}

/// A virtual service.
#[derive(Clone, Debug)]
pub struct Service {
    /// How it chooses among its servers.
    pub scheduler: Scheduler,
    /// Whether the choice lasts for more than a connection.
    pub persistence: Option<Persistence>,
    /// Its servers, the latest first.
    pub(super) servers: Vec<u32>,
    pub(super) turn: Turn,
    /// What is counted.
    pub stats: Stats,
}

/// What can be said of a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Its share of new connections; with 0 it gets none.
    pub weight: u32,
    /// With so many connections it gets no more; 0: no limit.
    pub upper: u32,
    /// With less than so many it gets some again; 0: three quarters of the upper limit.
    pub lower: u32,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions { weight: 1, upper: 0, lower: 0 }
    }
}

/// A real server of a virtual service.
#[derive(Clone, Debug)]
pub struct Server {
    pub(super) service: ServiceKey,
    /// Its address and port.
    pub addr: SocketAddrV4,
    /// What can be said of it.
    pub options: ServerOptions,
    /// Connections that are active.
    pub active: u32,
    /// Other connections.
    pub inactive: u32,
    /// Clients that come here again.
    pub persistent: u32,
    /// It belongs to the service; else only connections know it.
    pub(super) is_available: bool,
    pub(super) is_overloaded: bool,
    /// What is counted.
    pub stats: Stats,
}

impl Server {
    /// Whether it gets new connections.
    pub(super) fn is_open(&self) -> bool {
        self.options.weight > 0 && !self.is_overloaded
    }

    fn conns(&self) -> u32 {
        self.active + self.inactive
    }

    /// A connection is bound to it.
    pub(super) fn bind(&mut self, is_template: bool) {
        if is_template {
            self.persistent += 1;
        } else {
            // It begins as an inactive one, whatever its protocol makes of it next.
            self.inactive += 1;
        }
        if self.options.upper != 0 && self.conns() >= self.options.upper {
            self.is_overloaded = true;
        }
    }

    /// A connection is forgotten.
    pub(super) fn unbind(&mut self, conn: &VsConn) {
        let count = match (conn.is_template, conn.is_active) {
            (true, _) => &mut self.persistent,
            (false, true) => &mut self.active,
            (false, false) => &mut self.inactive,
        };
        *count = count.saturating_sub(1);
        let ServerOptions { upper, lower, .. } = self.options;
        self.is_overloaded &= match (lower, upper) {
            (0, 0) => false,
            (0, upper) => u64::from(self.conns()) * 4 >= u64::from(upper) * 3,
            (lower, _) => self.conns() >= lower,
        };
    }

    fn is_unused(&self) -> bool {
        !self.is_available && self.conns() == 0 && self.persistent == 0
    }
}

/// Why the kernel refuses a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `EEXIST`: the service, or the server, is there already.
    Exists,
    /// `ESRCH`: there is no such service.
    NoService,
    /// `ENOENT`: there is no such server.
    NoServer,
    /// `EINVAL`: numbers that make no sense together.
    Invalid,
}

/// Whether the kernel takes a service of this name.
fn is_valid(key: &ServiceKey, persistence: Option<Persistence>) -> bool {
    key.port != 0 || persistence.is_some()
}

impl Ipvs {
    /// `ipvsadm -A`
    pub fn add_service(
        &mut self,
        key: ServiceKey,
        scheduler: Scheduler,
        persistence: Option<Persistence>,
        now: Instant,
    ) -> Result<(), Refused> {
        if self.services.contains_key(&key) {
            return Err(Refused::Exists);
        }
        if !is_valid(&key, persistence) {
            return Err(Refused::Invalid);
        }
        let (servers, turn, stats) = (Vec::new(), Turn::default(), Stats::new(now));
        self.services.insert(key, Service { scheduler, persistence, servers, turn, stats });
        Ok(())
    }

    /// `ipvsadm -E`
    pub fn edit_service(
        &mut self,
        key: &ServiceKey,
        scheduler: Scheduler,
        persistence: Option<Persistence>,
    ) -> Result<(), Refused> {
        let service = self.services.get_mut(key).ok_or(Refused::NoService)?;
        if !is_valid(key, persistence) {
            return Err(Refused::Invalid);
        }
        service.persistence = persistence;
        if service.scheduler != scheduler {
            service.scheduler = scheduler;
            service.turn = Turn::default();
            self.weigh(key);
        }
        Ok(())
    }

    /// `ipvsadm -D`: its connections stay until their time comes, without a server.
    pub fn remove_service(&mut self, key: &ServiceKey) -> Result<(), Refused> {
        let service = self.services.remove(key).ok_or(Refused::NoService)?;
        service.servers.into_iter().for_each(|id| self.retire(id));
        Ok(())
    }

    /// `ipvsadm -C`
    pub fn clear(&mut self) {
        while let Some((_, service)) = self.services.pop_first() {
            service.servers.into_iter().for_each(|id| self.retire(id));
        }
    }

    /// `ipvsadm -a`: one that connections still know is taken back as it was.
    pub fn add_server(
        &mut self,
        key: &ServiceKey,
        addr: SocketAddrV4,
        options: ServerOptions,
        now: Instant,
    ) -> Result<(), Refused> {
        check(options)?;
        if !self.services.contains_key(key) {
            return Err(Refused::NoService);
        }
        if self.server_id(key, addr).is_some() {
            return Err(Refused::Exists);
        }
        let id = self.trash.remove(&(*key, addr)).unwrap_or_else(|| {
            self.servers.insert(Server {
                service: *key,
                addr,
                options,
                active: 0,
                inactive: 0,
                persistent: 0,
                is_available: true,
                is_overloaded: false,
                stats: Stats::new(now),
            }) as u32
        });
        if let Some(server) = self.servers.get_mut(id as usize) {
            (server.is_available, server.options, server.is_overloaded) = (true, options, false);
        }
        if let Some(service) = self.services.get_mut(key) {
            service.servers.insert(0, id);
        }
        self.weigh(key);
        Ok(())
    }

    /// `ipvsadm -e`
    pub fn edit_server(
        &mut self,
        key: &ServiceKey,
        addr: SocketAddrV4,
        options: ServerOptions,
    ) -> Result<(), Refused> {
        check(options)?;
        let id = self.find_server(key, addr)?;
        if let Some(server) = self.servers.get_mut(id as usize) {
            if options.upper == 0 || options.upper > server.options.upper {
                server.is_overloaded = false;
            }
            server.options = options;
        }
        self.weigh(key);
        Ok(())
    }

    /// `ipvsadm -d`: what becomes of its connections, `expire_nodest_conn` says.
    pub fn remove_server(&mut self, key: &ServiceKey, addr: SocketAddrV4) -> Result<(), Refused> {
        let id = self.find_server(key, addr)?;
        if let Some(service) = self.services.get_mut(key) {
            service.turn.forget(&service.servers, id);
            service.servers.retain(|other| *other != id);
        }
        self.weigh(key);
        self.retire(id);
        Ok(())
    }

    /// `ipvsadm -Z`: of one service, or of all.
    pub fn zero(&mut self, key: Option<&ServiceKey>, now: Instant) -> Result<(), Refused> {
        if key.is_some_and(|key| !self.services.contains_key(key)) {
            return Err(Refused::NoService);
        }
        let is_meant = |of: &ServiceKey| key.is_none_or(|key| key == of);
        for (_, service) in self.services.iter_mut().filter(|(of, _)| is_meant(of)) {
            service.stats.zero(now);
        }
        for (_, server) in self.servers.iter_mut() {
            if is_meant(&server.service) {
                server.stats.zero(now);
            }
        }
        Ok(())
    }

    fn server_id(&self, key: &ServiceKey, addr: SocketAddrV4) -> Option<u32> {
        let ids = &self.services.get(key)?.servers;
        let is_it = |id: &u32| self.servers.get(*id as usize).is_some_and(|s| s.addr == addr);
        ids.iter().copied().find(is_it)
    }

    fn find_server(&self, key: &ServiceKey, addr: SocketAddrV4) -> Result<u32, Refused> {
        match self.services.contains_key(key) {
            true => self.server_id(key, addr).ok_or(Refused::NoServer),
            false => Err(Refused::NoService),
        }
    }

    /// The server is of no service any more.
    fn retire(&mut self, id: u32) {
        if let Some(server) = self.servers.get_mut(id as usize) {
            server.is_available = false;
            if server.is_unused() {
                self.servers.remove(id as usize);
            } else {
                self.trash.insert((server.service, server.addr), id);
            }
        }
    }

    /// Forgets what has been found to be over by `now`; with the connections go those of conntrack.
    #[inline]
    pub(crate) fn collect(&mut self, conntrack: &mut Conntrack, now: Instant) {
        while let Some(slot) = self.conns.next_due(now) {
            self.expire(slot, conntrack, now);
        }
    }

    /// Forgets a connection (`ip_vs_conn_expire`), unless others depend on it.
    pub(super) fn expire(&mut self, slot: u32, conntrack: &mut Conntrack, now: Instant) {
        let Some(conn) = self.conns.remove(slot, now) else { return };
        if let Some(server) = self.servers.get_mut(conn.server as usize) {
            server.unbind(&conn);
            if server.is_unused() {
                self.trash.remove(&(server.service, server.addr));
                self.servers.remove(conn.server as usize);
            }
        }
        conn::drop_tracked(&conn, conntrack, now);
        if let Some(template) = conn.control {
            self.conns.release(template);
        }
    }
}

fn check(options: ServerOptions) -> Result<(), Refused> {
    match options.lower > options.upper {
        true => Err(Refused::Invalid),
        false => Ok(()),
    }
}
