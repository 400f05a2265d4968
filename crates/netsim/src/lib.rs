//! Network namespaces on virtual time: a machine, a Pod, a router and an internet client are all the same
//! [`Namespace`].
//!
//! In reading order, as a packet goes:
//! - [`sim`]: [`Sim`], the world's owner, and [`Net`], the handle everybody else holds: building it, running it;
//! - [`socket`]: what programs hold; smoltcp makes the segments;
//! - [`path`]: a packet's way through a namespace: hooks, routing, forwarding, delivery;
//! - [`route`], [`neigh`], [`iface`]: the tables the way is decided by;
//! - [`link`]: what lies between two namespaces, and its faults; `inject`: frames from outside the world;
//! - [`bridge`]: a switch inside a namespace;
//! - [`queue`], [`exec`]: what happens next, and which program runs next;
//! - [`trace`]: what is written down of all that.
//!
//! **Invariant:** a packet crosses from one namespace to another only as a frame on a link.
//! **Invariant:** everything that happens, happens in an order given by the virtual clock and, within one
//! instant, by the order in which it was caused.
//! **Invariant:** every packet that was sent is delivered, on its way, or dropped with a [`DropReason`].
//! **Invariant:** knows nothing of Kubernetes.

pub mod addr;
pub mod bridge;
pub mod exec;
pub mod iface;
mod inject;
mod kernel;
pub mod link;
pub mod neigh;
pub mod ns;
pub mod path;
pub mod queue;
pub mod route;
pub mod sim;
pub mod socket;
pub mod trace;

pub use addr::Cidr;
pub use exec::{Host, Process, Sleep};
pub use iface::IfId;
pub use link::LinkConfig;
pub use ns::{Namespace, NsId};
pub use path::DropReason;
pub use route::{Route, RouteKind};
pub use sim::{Advance, Net, Sim};
pub use socket::{SockError, TcpListener, TcpStream, UdpSocket};
pub use trace::{Cause, PacketId, Step, StepKind, TraceMode};
