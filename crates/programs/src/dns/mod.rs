//! DNS (RFC 1035, RFC 2782, RFC 6891).
//!
//! - [`message`]: questions and answers, in and out of bytes;
//! - [`server`]: answers over UDP and TCP from a [`Zone`], which is whatever knows names;
//! - [`resolver`]: asks as the C library does: hosts file, search list, servers one after the other.

pub mod message;
pub mod resolver;
pub mod server;

pub use message::{Data, Kind, Message, Name, Record, ResponseCode};
pub use resolver::{Flavour, ResolvConf, ResolveError, Resolver, Unheard};
pub use server::{Answer, Zone, serve};

/// Where a server listens.
pub const PORT: u16 = 53;
