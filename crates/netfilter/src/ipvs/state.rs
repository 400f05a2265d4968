//! The states of the protocols as the man in the middle sees them, and how long each lasts
//! (`ip_vs_proto_tcp.c`, `ip_vs_proto_udp.c`, `ip_vs_proto_sctp.c`).

use base::Duration;
use packet::{L4, Packet, protocol, tcp_flags};

/// Timeouts that `ipvsadm --set` sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connections that are established.
    pub tcp: Duration,
    /// TCP connections in FIN_WAIT.
    pub tcp_fin: Duration,
    /// UDP.
    pub udp: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            tcp: Duration::from_secs(900),
            tcp_fin: Duration::from_secs(120),
            udp: Duration::from_secs(300),
        }
    }
}

/// The states of TCP: names, seconds, and whether a connection in it counts as active.
const TCP: [(&str, u64, bool); 11] = [
    ("NONE", 2, false),
    ("ESTABLISHED", 900, true),
    ("SYN_SENT", 120, true),
    ("SYN_RECV", 60, true),
    ("FIN_WAIT", 120, false),
    ("TIME_WAIT", 120, false),
    ("CLOSE", 10, false),
    ("CLOSE_WAIT", 60, false),
    ("LAST_ACK", 30, false),
    ("LISTEN", 120, false),
    ("SYNACK", 120, true),
];

/// States of TCP by their place in [`TCP`].
pub(super) const ESTABLISHED: u8 = 1;
const FIN_WAIT: u8 = 4;
const TIME_WAIT: u8 = 5;
const CLOSE: u8 = 6;

/// The next state of TCP: for packets from clients and to clients, with SYN, FIN, ACK or RST, a letter for each
/// state in the order of [`TCP`], `a` being the first.
const TCP_NEXT: [[&[u8; 11]; 4]; 2] = [
    [b"dbbdddddddd", b"ghcfffghijf", b"bbcbefghgjb", b"gggdggggijd"],
    [b"cbcdcccccjd", b"fecfefgfijf", b"bbcbefghibb", b"ggcggfggggg"],
];

/// The states of SCTP: names and seconds. Only an established association counts as active.
const SCTP: [(&str, u64); 14] = [
    ("NONE", 2),
    ("INIT1", 4),
    ("INIT", 61),
    ("C-SENT", 61),
    ("C-REPLIED", 61),
    ("C-WAIT", 61),
    ("COOKIE", 61),
    ("C-ECHOED", 61),
    ("ESTABLISHED", 900),
    ("S-SENT", 61),
    ("S-RECEIVED", 61),
    ("S-ACK-SENT", 61),
    ("REJECTED", 4),
    ("CLOSED", 61),
];

const SCTP_ESTABLISHED: u8 = 8;
const SCTP_CLOSED: u8 = 13;

/// The next state of SCTP: for packets from clients and to clients, for each of [`SctpEvent`].
const SCTP_NEXT: [[&[u8; 14]; 10]; 2] = [
    [
        b"ibcdefghijklmn",
        b"bccdefghijklcc",
        b"fffdegghijklmn",
        b"ecceefghijklmn",
        b"ibcdefgiijklmn",
        b"kbcdefghkjklmn",
        b"nccdefghinknmn",
        b"nnndefghijknmn",
        b"nbcdefgnijklmn",
        b"nnnnnmnnnnnnnn",
    ],
    [
        b"ibcdefghijklmn",
        b"ffffffffifffff",
        b"ddddefghijklmn",
        b"hhhhhhhhijklmn",
        b"iiiiiiiiijklmn",
        b"jjjjjjjjjjklmn",
        b"lllllfghilllmn",
        b"nbcdefghijklmn",
        b"nnnnnfghijklmn",
        b"nmnnnnnnnnnnnn",
    ],
];

/// Which row of [`SCTP_NEXT`] a chunk asks for: data, init, its answer, cookie echo, its answer, shutdown, its
/// answer, its end, error, abort.
const SCTP_EVENTS: [u8; 15] = [0, 1, 2, 0, 0, 0, 9, 5, 6, 8, 3, 4, 0, 0, 7];

/// The first chunk's kind.
fn first_chunk(packet: &Packet) -> Option<u8> {
    packet.payload().get(12).copied()
}

/// `INIT`, the chunk that begins an association.
const SCTP_INIT: u8 = 1;
const SCTP_ABORT: u8 = 6;
const SCTP_COOKIE_ECHO: u8 = 10;
const SCTP_COOKIE_ACK: u8 = 11;

/// The packet begins a connection (`is_new_conn`); of UDP nobody can tell.
pub(super) fn begins(packet: &Packet) -> bool {
    match packet.head().l4 {
        L4::Tcp { flags, .. } => flags & tcp_flags::SYN != 0,
        L4::Sctp { .. } => first_chunk(packet) == Some(SCTP_INIT),
        _ => false,
    }
}

/// The packet may be given a server though it is of no known connection.
pub(super) fn may_begin(packet: &Packet) -> bool {
    match packet.head().l4 {
        L4::Tcp { flags, .. } => flags & (tcp_flags::SYN | tcp_flags::RST) == tcp_flags::SYN,
        L4::Udp { .. } => true,
        L4::Sctp { .. } => first_chunk(packet) == Some(SCTP_INIT),
        _ => false,
    }
}

/// A connection in this state is over: its port may begin another one (`is_new_conn_expected`).
pub(super) fn is_over(number: u8, state: u8) -> bool {
    match number {
        protocol::TCP => matches!(state, TIME_WAIT | CLOSE),
        protocol::SCTP => state == SCTP_CLOSED,
        _ => false,
    }
}

/// The state after a packet, from a client or (`is_answer`) to one.
pub(super) fn next(packet: &Packet, state: u8, is_answer: bool) -> u8 {
    let direction = usize::from(is_answer);
    let letter = match packet.head().l4 {
        L4::Tcp { flags, .. } => {
            let asked = [tcp_flags::RST, tcp_flags::SYN, tcp_flags::FIN, tcp_flags::ACK];
            let Some(row) = asked.iter().position(|flag| flags & flag != 0) else { return CLOSE };
            let row = [3, 0, 1, 2].get(row).copied().unwrap_or(0);
            TCP_NEXT.get(direction).and_then(|rows| rows.get(row)?.get(usize::from(state)))
        }
        L4::Sctp { .. } => {
            let event = SCTP_EVENTS.get(usize::from(sctp_chunk(packet))).copied().unwrap_or(0);
            let rows = SCTP_NEXT.get(direction);
            rows.and_then(|rows| rows.get(usize::from(event))?.get(usize::from(state)))
        }
        _ => None,
    };
    letter.map_or(0, |letter| letter - b'a')
}

/// The chunk that counts: the first, or an ABORT bundled behind a cookie.
fn sctp_chunk(packet: &Packet) -> u8 {
    let payload = packet.payload();
    let Some(&[kind, _, high, low]) = payload.get(12..).and_then(|rest| rest.first_chunk::<4>())
    else {
        return 0;
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    let next = payload.get(12 + ((len + 3) & !3)).copied();
    match kind {
        SCTP_COOKIE_ECHO | SCTP_COOKIE_ACK if len >= 4 && next == Some(SCTP_ABORT) => SCTP_ABORT,
        kind => kind,
    }
}

/// How long a connection in this state lasts without a packet.
pub(super) fn timeout(number: u8, state: u8, timeouts: &Timeouts) -> Duration {
    let seconds = match (number, state) {
        (protocol::UDP, _) => return timeouts.udp,
        (protocol::TCP, ESTABLISHED) => return timeouts.tcp,
        (protocol::TCP, FIN_WAIT) => return timeouts.tcp_fin,
        (protocol::TCP, _) => TCP.get(usize::from(state)).map(|known| known.1),
        _ => SCTP.get(usize::from(state)).map(|known| known.1),
    };
    Duration::from_secs(seconds.unwrap_or(2))
}

/// A connection in this state counts among `ActiveConn`.
pub(super) fn is_active(number: u8, state: u8) -> bool {
    match number {
        protocol::TCP => TCP.get(usize::from(state)).is_some_and(|known| known.2),
        protocol::SCTP => state == SCTP_ESTABLISHED,
        _ => false,
    }
}

/// Both sides have agreed: a packet that leads here, or for UDP an answer, makes persistence sure
/// (`ip_vs_control_assure_ct`).
pub(super) fn assures(number: u8, state: u8, is_answer: bool) -> bool {
    match number {
        protocol::TCP => state == ESTABLISHED,
        protocol::SCTP => state == SCTP_ESTABLISHED,
        _ => is_answer,
    }
}

/// The name of a state, as `ipvsadm -Lc` shows it.
pub(super) fn name(number: u8, state: u8) -> &'static str {
    match number {
        protocol::TCP => TCP.get(usize::from(state)).map_or("ERR!", |known| known.0),
        protocol::SCTP => SCTP.get(usize::from(state)).map_or("ERR!", |known| known.0),
        _ => "UDP",
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use packet::reply::finish;

    use super::*;

    fn tcp(flags: u8) -> Packet {
        let mut segment = vec![0; 12];
        segment.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
        finish(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), protocol::TCP, 64, segment)
    }

    /// The names of the states that a connection goes through; `<` before a flag: from the server.
    fn way(packets: &str) -> Vec<&'static str> {
        let mut state = 0;
        let mut names = Vec::new();
        for word in packets.split(' ') {
            let flags = word.trim_start_matches('<').bytes().fold(0, |flags, letter| {
                flags
                    | match letter {
                        b'S' => tcp_flags::SYN,
                        b'F' => tcp_flags::FIN,
                        b'R' => tcp_flags::RST,
                        _ => tcp_flags::ACK,
                    }
            });
            state = next(&tcp(flags), state, word.starts_with('<'));
            names.push(name(protocol::TCP, state));
        }
        names
    }

    #[test]
    fn tcp_from_beginning_to_end() {
        assert_eq!(
            way("S <SA A A <A <FA A FA <A"),
            [
                "SYN_RECV",
                "SYN_RECV",
                "ESTABLISHED",
                "ESTABLISHED",
                "ESTABLISHED",
                "FIN_WAIT",
                "FIN_WAIT",
                "TIME_WAIT",
                "TIME_WAIT"
            ]
        );
        assert_eq!(way("S <RA"), ["SYN_RECV", "CLOSE"]);
        assert_eq!(
            way("S <SA A FA <FA A"),
            ["SYN_RECV", "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "TIME_WAIT", "TIME_WAIT"]
        );
    }

    #[test]
    fn every_state_leads_to_one_that_exists() {
        let (tcp, sctp) = (TCP_NEXT.iter().flatten(), SCTP_NEXT.iter().flatten());
        assert!(tcp.flat_map(|row| row.iter()).all(|l| usize::from(l - b'a') < TCP.len()));
        assert!(sctp.flat_map(|row| row.iter()).all(|l| usize::from(l - b'a') < SCTP.len()));
    }
}
