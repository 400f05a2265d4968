//! kube-proxy: Services and EndpointSlices in, rules out (`pkg/proxy` of Kubernetes).
//!
//! In reading order:
//! - [`config`]: what a node's kube-proxy is told about itself;
//! - [`service`], [`endpoint`]: the objects as a proxy sees them, one entry a port;
//! - [`topology`]: which endpoints of a port this node may use;
//! - [`names`]: what the chains are called;
//! - [`iptables`]: the rules of a port; `rules`: the same, chain by chain;
//! - [`proxier`]: [`Proxier`], what a node's kube-proxy knows and what has changed;
//! - [`sync`]: the rules into a node's tables, whole or in part;
//! - [`jumps`]: how packets get there; [`canary`]: whether somebody has taken it all away;
//! - [`conntrack`]: connections that a sync leaves behind;
//! - [`nftables`], [`ipvs`]: the other modes, what they write and their syncs;
//! - [`text`]: the rules as kube-proxy pipes them to `iptables-restore`;
//! - [`origin`]: from a rule back to its Service, port and endpoint.
//!
//! **Invariant:** what is written follows from the objects and the node's configuration alone. It knows rules,
//! and nothing of packets, namespaces or time.

pub mod canary;
pub mod config;
pub mod conntrack;
pub mod endpoint;
pub mod iptables;
pub mod ipvs;
pub mod jumps;
pub mod names;
pub mod nftables;
pub mod origin;
pub mod proxier;
mod rules;
pub mod service;
pub mod sync;
pub mod text;
pub mod topology;

pub use config::{Balancing, Mode, ProxyConfig};
pub use iptables::Plan;
pub use origin::Origin;
pub use proxier::Proxier;
pub use sync::{Sync, SyncReport};
