//! Virtual servers: one address and port in front, real servers behind it (`net/netfilter/ipvs`).
//!
//! In reading order:
//! - [`service`]: virtual services and their real servers, and how they are changed;
//! - [`schedule`]: which real server a new connection gets;
//! - [`conn`]: the connections, and when they are forgotten;
//! - [`state`]: the states of their protocols, and how long each lasts;
//! - [`stats`]: what is counted, and rates;
//! - `pass`: what happens to packets at the hooks;
//! - [`command`]: `ipvsadm`; [`text`]: what it prints.
//!
//! A packet for a virtual service is local: it goes through PREROUTING and INPUT, is given to a real server
//! behind the rules of INPUT, and goes out again through OUTPUT and POSTROUTING. One that is made here is given
//! away in OUTPUT, behind the rules of `nat`, and goes through OUTPUT once more. Answers get the virtual
//! address back in FORWARD, INPUT or OUTPUT, behind the rules there.
//!
//! **Invariant:** knows no routes and no devices: a packet that is to go out again is a
//! [`crate::Verdict::Virtual`], and whoever has asked sends it.
//! **Invariant:** memory is bounded by [`conn::CONNS_MAX`]; a connection is looked at again only when its time
//! may have come.
//!
//! Deliberately absent: forwarding other than masquerading, services by firewall mark, one-packet scheduling,
//! persistence engines, FTP, IPv6, the connection synchronisation of two directors.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]

pub mod command;
pub mod conn;
mod pass;
pub mod schedule;
pub mod service;
pub mod state;
pub mod stats;
pub mod text;

use std::net::SocketAddrV4;

use base::tree::BTreeMap;
use slab::Slab;

pub use self::conn::{Conns, VsConn, VsConnId};
pub use self::schedule::Scheduler;
pub use self::service::{Persistence, Refused, Server, ServerOptions, Service, ServiceKey};
pub use self::state::Timeouts;
pub use self::stats::{Counts, Stats};

/// The sysctls under `net.ipv4.vs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `conntrack`: packets of virtual services are tracked, so that their source can be translated.
    pub conntrack: bool,
    /// `conn_reuse_mode`: a new connection from a port that was in use before chooses anew.
    pub conn_reuse_mode: u8,
    /// `expire_nodest_conn`: connections to a server that is gone are forgotten with their next packet.
    pub expire_nodest_conn: bool,
    /// `expire_quiescent_template`: persistence ends when a server's weight is 0.
    pub expire_quiescent_template: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            conntrack: false,
            conn_reuse_mode: 1,
            expire_nodest_conn: false,
            expire_quiescent_template: false,
        }
    }
}

/// What ipvs has to do with a packet (the kernel's `ipvs_property`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handled {
    /// It has not looked at it, or found nothing.
    #[default]
    No,
    /// It is to be rewritten to the real server of this connection.
    Chosen(VsConnId),
    /// It is rewritten already, as this service asks.
    Done(ServiceKey),
}

/// The virtual servers of a namespace.
#[derive(Debug, Default)]
pub struct Ipvs {
    services: BTreeMap<ServiceKey, Service>,
    servers: Slab<Server>,
    /// Servers of no service any more that connections still know.
    trash: BTreeMap<(ServiceKey, SocketAddrV4), u32>,
    conns: Conns,
    /// The sysctls.
    pub settings: Settings,
    /// How long connections last.
    pub timeouts: Timeouts,
}

impl Ipvs {
    /// The virtual services, by protocol, address and port.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceKey, &Service)> {
        self.services.iter()
    }

    /// A virtual service.
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key)
    }

    /// The real servers of a service, the latest first, as the kernel lists them.
    pub fn servers(&self, key: &ServiceKey) -> impl Iterator<Item = &Server> {
        let ids = self.services.get(key).map(|service| service.servers.as_slice());
        ids.unwrap_or_default().iter().filter_map(|id| self.servers.get(*id as usize))
    }

    /// The connections.
    pub fn conns(&self) -> &Conns {
        &self.conns
    }
}
