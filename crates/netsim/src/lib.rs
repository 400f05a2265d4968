//! Network namespaces on virtual time: a machine, a Pod, a router and an internet client are all the same
//! [`Namespace`].
//!
//! In reading order, as a packet goes:
//! - [`sim`]: [`Sim`], the world's owner, and [`Net`], the handle everybody else holds: building it, running it;
//! - [`netlink`]: links, addresses, routes, rules and neighbours, as `ip` changes them; [`sysctl`]: settings;
//! - [`socket`]: what programs hold; smoltcp makes the TCP segments;
//! - [`path`]: a packet's way through a namespace: hooks, routing, forwarding, delivery; [`drops`]: why it ends;
//!   `along`: a router's short way;
//! - `icmp`, `frag`: telling senders, and packets in pieces;
//! - [`route`], [`rule`], [`neigh`], [`iface`]: the tables the way is decided by; `arp` fills one of them;
//! - `ways`: the ways that have been found;
//! - `wire`, [`link`]: frames between two namespaces, and from outside the world (`inject`); [`fault`]: what can go wrong there and elsewhere;
//! - [`bridge`]: a switch inside a namespace;
//! - [`capture`]: watching frames go by;
//! - [`queue`], [`exec`]: what happens next, and which program runs next;
//! - [`trace`]: what is written down of all that.
//!
//! **Invariant:** a packet crosses from one namespace to another only as a frame on a link.
//! **Invariant:** everything that happens, happens in an order given by the virtual clock and, within one
//! instant, by the order in which it was caused.
//! **Invariant:** every packet that was sent is delivered, on its way, or dropped with a [`DropReason`].
//! **Invariant:** knows nothing of Kubernetes.
//!
//! Deliberately absent: IPv6, VLANs, spanning tree, multicast membership, ICMP redirects, multipath routes.

pub mod addr;
mod along;
mod arp;
pub mod bridge;
pub mod capture;
pub mod drops;
pub mod exec;
pub mod fault;
mod frag;
mod icmp;
pub mod iface;
mod kernel;
pub mod link;
pub mod neigh;
pub mod netlink;
pub mod ns;
pub mod path;
pub mod queue;
pub mod route;
pub mod rule;
pub mod sim;
pub mod socket;
pub mod sysctl;
pub mod trace;
mod ways;
mod wire;

pub use addr::Cidr;
pub use capture::{Captured, Tap};
pub use drops::DropReason;
pub use exec::{Host, Process, Sleep};
pub use fault::Fault;
pub use iface::IfId;
pub use link::LinkConfig;
pub use netlink::NetlinkError;
pub use ns::{Namespace, NsId};
/// Hardware addresses, for those who look at interfaces and do not know the crate.
pub use packet::Mac;
pub use route::{Flow, Route, RouteKind};
pub use sim::{Advance, Net, Sim};
pub use socket::{RawSocket, SockError, TcpListener, TcpStream, UdpSocket};
pub use trace::{Cause, PacketId, Step, StepKind, TraceMode};
