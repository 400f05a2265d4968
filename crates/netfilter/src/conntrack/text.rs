//! What `conntrack -L` prints (libnetfilter_conntrack `snprintf_default.c`).

use base::Instant;
use packet::protocol;

use super::{Conn, Conntrack, status};

/// The line of one connection.
pub fn line(conn: &Conn, now: Instant) -> String {
    let number = conn.original.protocol;
    let name = match number {
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::ICMP => "icmp",
        protocol::SCTP => "sctp",
        _ => "unknown",
    };
    let left = conn.expires.since(now).as_secs();
    let mut line = format!("{name:<8} {number} {left} ");
    if number == protocol::TCP {
        line.push_str(conn.tcp.name());
        line.push(' ');
    }
    line.push_str(&conn.original.to_string());
    if !conn.has(status::SEEN_REPLY) {
        line.push_str(" [UNREPLIED]");
    }
    line.push(' ');
    line.push_str(&conn.reply.to_string());
    if conn.has(status::ASSURED) {
        line.push_str(" [ASSURED]");
    }
    line.push_str(&format!(" mark={} use=1", conn.mark));
    line
}

/// All connections at `now`, one a line, in the order of their beginning.
pub fn list(conntrack: &Conntrack, now: Instant) -> String {
    conntrack.entries(now).into_iter().map(|(_, conn)| line(conn, now) + "\n").collect()
}
