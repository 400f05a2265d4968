//! Network interfaces.

use std::net::Ipv4Addr;

use base::Instant;
use netfilter::IfName;
use packet::Mac;

use crate::addr::Cidr;
use crate::bridge::Fdb;
use crate::link::LinkConfig;
use crate::ns::NsId;
use crate::route::Scope;
use crate::sysctl::IfConf;

/// Stands for an interface anywhere in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfId {
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

impl IfId {
    /// No interface: what routes without one name.
    pub const NONE: IfId = IfId { slot: u32::MAX, serial: u32::MAX };
}

/// What an interface is made of.
#[derive(Debug)]
pub enum IfKind {
    /// What goes out comes in again.
    Loopback,
    /// Takes everything and sends nothing.
    Dummy,
    /// One end of a cable.
    Veth {
        /// The other end.
        peer: IfId,
        /// How the cable treats what this end sends, faults included.
        link: LinkConfig,
        /// The same without faults.
        sound: LinkConfig,
        /// Until when the cable is busy with what has been sent before, where it has a rate.
        busy_until: Instant,
    },
    /// A switch whose ports are other interfaces of the namespace.
    Bridge {
        /// Its ports, in the order in which they were added.
        ports: Vec<IfId>,
        /// Which station is behind which port.
        fdb: Fdb,
    },
}

impl IfKind {
    /// The word `ip link add … type` takes.
    pub fn name(&self) -> &'static str {
        match self {
            IfKind::Loopback => "loopback",
            IfKind::Dummy => "dummy",
            IfKind::Veth { .. } => "veth",
            IfKind::Bridge { .. } => "bridge",
        }
    }
}

/// An address of an interface, as `ip addr` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfAddr {
    /// The address and its prefix length.
    pub cidr: Cidr,
    /// The broadcast address (`brd`), if one was set.
    pub broadcast: Option<Ipv4Addr>,
    /// How widely it is known.
    pub scope: Scope,
    /// Another address of the same network was there first.
    pub is_secondary: bool,
}

impl IfAddr {
    /// The address as `ip addr add` makes it: without broadcast address.
    pub fn new(cidr: Cidr, scope: Scope) -> IfAddr {
        IfAddr { cidr, broadcast: None, scope, is_secondary: false }
    }
}

/// Bytes and packets that went through an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IfStats {
    /// Frames received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames received and dropped by the interface.
    pub rx_dropped: u64,
    /// Frames dropped instead of being sent.
    pub tx_dropped: u64,
}

/// A network interface.
#[derive(Debug)]
pub struct Iface {
    pub(crate) serial: u32,
    /// Where it is.
    pub ns: NsId,
    /// Its number in its namespace, as `ip link` shows it.
    pub index: u32,
    /// Its name in its namespace.
    pub name: IfName,
    /// Its hardware address.
    pub mac: Mac,
    /// Longest packet it takes.
    pub mtu: u16,
    /// `ip link set up`
    pub is_up: bool,
    /// A fault keeps it from answering ARP.
    pub(crate) is_arp_silent: bool,
    /// The bridge it is a port of.
    pub master: Option<IfId>,
    /// Its addresses, the first being the primary one.
    pub addrs: Vec<IfAddr>,
    /// Its `net.ipv4.conf.NAME` settings.
    pub(crate) conf: IfConf,
    /// What it is made of.
    pub kind: IfKind,
    /// What went through it.
    pub stats: IfStats,
}

impl Iface {
    pub(crate) fn is_loopback(&self) -> bool {
        matches!(self.kind, IfKind::Loopback)
    }
}
