//! What the data plane costs. Each piece of work does a given amount and says what came of it; whoever
//! calls it holds the clock ([`run`]).
//!
//! - [`bare`]: smoltcp talking to smoltcp, nothing between them: the ceiling;
//! - [`node_port`]: the same exchange through a NodePort, two nodes, DNAT and masquerade;
//! - [`router`]: packets through one forwarding namespace;
//! - [`lookup`]: the rules alone, without a network;
//! - [`rules`]: the ruleset of so many Services, as kube-proxy writes it;
//! - [`run`]: all of them in one run, as a table.

pub mod bare;
pub mod lookup;
pub mod node_port;
pub mod router;
pub mod rules;
pub mod run;

/// What a client asks.
pub const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: 172.18.0.2:30007\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

/// What a server answers.
pub const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\
    Connection: close\r\n\r\nIt works!!!\n";
