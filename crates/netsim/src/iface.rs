//! Network interfaces.

use netfilter::IfName;
use packet::Mac;

use crate::addr::Cidr;
use crate::bridge::Fdb;
use crate::link::LinkConfig;
use crate::ns::NsId;

/// Stands for an interface anywhere in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfId {
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

/// What an interface is made of.
#[derive(Debug)]
pub enum IfKind {
    /// What goes out comes in again.
    Loopback,
    /// One end of a cable.
    Veth {
        /// The other end.
        peer: IfId,
        /// How the cable treats what this end sends.
        link: LinkConfig,
    },
    /// A switch whose ports are other interfaces of the namespace.
    Bridge {
        /// Its ports, in the order in which they were added.
        ports: Vec<IfId>,
        /// Which station is behind which port.
        fdb: Fdb,
    },
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
    /// The bridge it is a port of.
    pub master: Option<IfId>,
    /// Its addresses, the first being the primary one.
    pub addrs: Vec<Cidr>,
    /// What it is made of.
    pub kind: IfKind,
    /// What went through it.
    pub stats: IfStats,
}
