//! What runs in the world.
//!
//! In reading order:
//! - [`http`]: messages, a server, a client with curl's ways of failing;
//! - [`images`]: a program for every container image;
//! - [`proxy`]: the user-space proxy that publishes a container's port on its host;
//! - [`resolve`]: names to addresses;
//! - [`log`]: what a program has printed.
//!
//! **Invariant:** programs use sockets and the clock of [`netsim::Host`] only. They know nothing of
//! Kubernetes; whatever an object says about them arrives as plain values.

pub mod http;
pub mod images;
pub mod log;
pub mod proxy;
pub mod resolve;

pub use images::{Container, Program};
pub use log::Log;
