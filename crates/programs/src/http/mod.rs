//! HTTP/1.1 (RFC 9112).
//!
//! - [`message`]: requests and responses, in and out of bytes;
//! - [`server`]: answers requests over kept-alive connections;
//! - [`client`]: makes one request and says how it failed;
//! - [`routes`]: which request goes where, by host and path;

pub mod client;
pub mod message;
pub mod routes;
pub mod server;

pub use client::{FetchError, Fetched, fetch};
pub use message::{Headers, Request, Response};
pub use server::{Answering, Handler, Limits, serve, serve_slowly, serve_with};
