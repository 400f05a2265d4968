//! What runs in the world.
//!
//! In reading order:
//! - [`http`]: messages, a server, a client with curl's ways of failing;
//! - [`grpc`]: health checks over HTTP/2: frames, header fields, a server, a client with grpc-go's ways of failing;
//! - [`dns`]: messages, a server for whatever knows names, a resolver as the C library has it;
//! - [`images`]: a program for every container image;
//! - [`proxy`]: the user-space proxy that publishes a container's port on its host;
//! - [`echo`], [`health`]: echo servers, health checks;
//! - [`resolve`]: the hosts file;
//! - [`files`]: what a container sees as its files; [`log`]: what a program has printed;
//! - [`commands`]: who runs the commands of containers.
//!
//! **Invariant:** programs use sockets and the clock of [`netsim::Host`] only. They know nothing of
//! Kubernetes; whatever an object says about them arrives as plain values.
//! **Invariant:** what comes over a socket is read up to a limit and is never trusted.

pub mod commands;
pub mod dns;
pub mod echo;
pub mod files;
pub mod grpc;
pub mod health;
pub mod http;
pub mod images;
pub mod log;
pub mod proxy;
pub mod resolve;

pub use commands::Commands;
pub use files::{Files, Mount, Volume};
pub use images::{Container, Program};
pub use log::Log;
