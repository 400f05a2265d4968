//! The composition: where Kubernetes meets the network.
//!
//! In reading order, from the outside in:
//! - [`world`]: [`World`], which owns everything and lets time pass; [`Lab`], the handle for shell and page;
//! - [`machine`]: your machine: Docker's bridge, published ports;
//! - [`kind`]: clusters made of containers: configuration, creation, deletion;
//! - [`cluster`]: [`cluster::Cluster`], objects, controllers and nodes of one cluster;
//!   [`mod@system`]: what is in it from the beginning;
//! - [`node`]: a node's parts; [`cni`]: how Pods get their addresses; [`kubelet`]: how they live and die;
//!   [`proxy`]: when a node's rules follow; [`mod@policy`]: NetworkPolicies in force;
//!   [`mod@ingress`]: Ingresses in force; [`mod@dns`]: names, and who is asked for them;
//!   [`mod@origin`]: from a rule back to the line it was written for; [`outage`]: nodes that fail, and heartbeats;
//! - [`requests`]: what people have sent, and what became of it;
//! - [`path`]: a request's packets, hop by hop; [`place`]: where something is, as people say it;
//! - [`journal`]: what has happened, a line each, and the session's fingerprint; [`mod@news`]: a change as
//!   such a line;
//! - [`view`]: plain pictures of the world for the page.
//!
//! **Invariant:** data plane and control plane meet here and in `kube-proxy` only.
//! **Invariant:** no request reaches a Pod except as packets through [`netsim`].
//! **Invariant:** knows no command's text format and no browser.

pub mod cluster;
pub mod cni;
mod dns;
mod ingress;
pub mod journal;
pub mod kind;
pub mod kubelet;
pub mod machine;
mod news;
pub mod node;
pub mod origin;
pub mod outage;
pub mod path;
pub mod place;
mod policy;
pub mod proxy;
pub mod requests;
mod system;
pub mod view;
pub mod world;

pub use journal::{Entry, Journal};
pub use kind::KindConfig;
pub use place::Place;
pub use requests::{Outcome, Request};
pub use world::{Lab, Options, WeakLab, World};

pub use kube_proxy::Balancing;
pub use netsim::Process;

/// The version of Kubernetes that the lab reports.
pub const KUBERNETES_VERSION: &str = "v1.35.0";
