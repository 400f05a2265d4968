//! kube-proxy: Services and EndpointSlices in, rules out (`pkg/proxy` of Kubernetes, iptables mode).
//!
//! In reading order:
//! - [`config`]: what a node's kube-proxy is told about itself;
//! - [`service`], [`endpoint`]: the objects as a proxy sees them, one entry a port;
//! - [`topology`]: which endpoints of a port this node may use;
//! - [`names`]: what the chains are called;
//! - [`iptables`]: [`iptables::plan`], the rules;
//! - [`text`]: the rules as kube-proxy pipes them to `iptables-restore`;
//! - [`sync`]: the rules into a node's tables, changing only what changed;
//! - [`origin`]: from a rule back to its Service, port and endpoint.
//!
//! **Invariant:** a pure function of the objects and the node's configuration. It knows rules, and nothing
//! of packets, namespaces or time.

pub mod config;
pub mod endpoint;
pub mod iptables;
pub mod names;
pub mod origin;
pub mod service;
pub mod sync;
pub mod text;
pub mod topology;

pub use config::{Balancing, ProxyConfig};
pub use iptables::{Plan, plan};
pub use origin::{Origin, Origins};
pub use sync::{SyncReport, Synced};
