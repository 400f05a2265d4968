//! TCP as the man in the middle sees it (`net/netfilter/nf_conntrack_proto_tcp.c` of Linux 6.18).
//!
//! - this file: the states, and where each kind of segment leads;
//! - [`segment`]: what is read of a segment;
//! - [`window`]: is a segment within what the two ends can have sent;
//! - [`track`]: what a segment does to its connection.

mod segment;
mod track;
mod window;

use std::fmt;

use packet::tcp_flags::{ACK, FIN, RST, SYN, URG};

pub(crate) use self::segment::Segment;
pub use self::track::TcpTrack;
pub(crate) use self::track::track;
use super::Direction;

/// Number of [`TcpState`]s.
pub const TCP_STATES: usize = 10;

/// State of a tracked TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpState {
    /// Nothing seen.
    None,
    /// SYN seen.
    SynSent,
    /// SYN and ACK seen.
    SynRecv,
    /// The handshake is complete.
    Established,
    /// FIN seen.
    FinWait,
    /// FIN seen, and acknowledged.
    CloseWait,
    /// FIN seen both ways.
    LastAck,
    /// The last ACK seen.
    TimeWait,
    /// Reset.
    Close,
    /// SYN seen both ways.
    SynSent2,
}

impl TcpState {
    /// All states in the kernel's order.
    pub const ALL: [TcpState; TCP_STATES] = [
        TcpState::None,
        TcpState::SynSent,
        TcpState::SynRecv,
        TcpState::Established,
        TcpState::FinWait,
        TcpState::CloseWait,
        TcpState::LastAck,
        TcpState::TimeWait,
        TcpState::Close,
        TcpState::SynSent2,
    ];

    /// The name `conntrack -L` prints.
    pub fn name(self) -> &'static str {
        match self {
            TcpState::None => "NONE",
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynRecv => "SYN_RECV",
            TcpState::Established => "ESTABLISHED",
            TcpState::FinWait => "FIN_WAIT",
            TcpState::CloseWait => "CLOSE_WAIT",
            TcpState::LastAck => "LAST_ACK",
            TcpState::TimeWait => "TIME_WAIT",
            TcpState::Close => "CLOSE",
            TcpState::SynSent2 => "SYN_SENT2",
        }
    }

    /// The state of this name.
    pub fn from_name(name: &str) -> Option<TcpState> {
        TcpState::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The end has begun: may be forgotten early.
    pub(crate) fn is_closing(self) -> bool {
        use TcpState::{Close, CloseWait, FinWait, LastAck, TimeWait};
        matches!(self, FinWait | LastAck | TimeWait | Close | CloseWait)
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind of segment that drives the state; in the order of the tables' rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    None,
}

impl Kind {
    pub(crate) fn of(flags: u8) -> Kind {
        match flags {
            _ if flags & RST != 0 => Kind::Rst,
            _ if flags & (SYN | ACK) == SYN | ACK => Kind::SynAck,
            _ if flags & SYN != 0 => Kind::Syn,
            _ if flags & FIN != 0 => Kind::Fin,
            _ if flags & ACK != 0 => Kind::Ack,
            _ => Kind::None,
        }
    }
}

/// The combinations of flags that make sense; PSH, ECE and CWR may be added to any.
pub(crate) fn are_flags_valid(flags: u8) -> bool {
    let flags = flags & (FIN | SYN | RST | ACK | URG);
    match flags & !URG {
        // Urgent data with a reset or with SYN and ACK is nothing that a stack sends.
        SYN | ACK => true,
        both if both == FIN | ACK => true,
        RST => flags & URG == 0,
        both if both == SYN | ACK || both == RST | ACK => flags & URG == 0,
        _ => false,
    }
}

/// What a segment does to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Go to this state.
    To(TcpState),
    /// Let it pass without a change: the receiver will answer as it sees fit.
    Ignore,
    /// Not part of this connection.
    Invalid,
}

const KINDS: usize = 6;

/// The transition tables. A row is a kind of segment in the order of [`Kind`]; its columns are the states
/// from `NONE` to `SYN_SENT2`; `..` is invalid, `ig` is ignored.
const ORIGINAL: [[Next; TCP_STATES]; KINDS] = table([
    b"ss ss ig ig ig ig ig ss ss s2", // SYN
    b".. .. sr .. .. .. .. .. .. sr", // SYN, ACK
    b".. .. fw fw la la la tw cl ..", // FIN
    b"es .. es es cw cw tw tw cl ..", // ACK
    b".. cl cl cl cl cl cl cl cl cl", // RST
    b".. .. .. .. .. .. .. .. .. ..", // none of them
]);
const REPLY: [[Next; TCP_STATES]; KINDS] = table([
    b".. s2 .. .. .. .. .. ss .. s2", // SYN
    b".. sr ig ig ig ig ig ig ig sr", // SYN, ACK
    b".. .. fw fw la la la tw cl ..", // FIN
    b".. ig sr es cw cw tw tw cl ig", // ACK
    b".. cl cl cl cl cl cl cl cl cl", // RST
    b".. .. .. .. .. .. .. .. .. ..", // none of them
]);

const fn table(rows: [&[u8; TCP_STATES * 3 - 1]; KINDS]) -> [[Next; TCP_STATES]; KINDS] {
    let mut table = [[Next::Invalid; TCP_STATES]; KINDS];
    let mut kind = 0;
    while kind < KINDS {
        let mut state = 0;
        while state < TCP_STATES {
            table[kind][state] = cell(rows[kind][state * 3], rows[kind][state * 3 + 1]);
            state += 1;
        }
        kind += 1;
    }
    table
}

/// A misspelled cell stops the build.
const fn cell(first: u8, second: u8) -> Next {
    match (first, second) {
        (b's', b's') => Next::To(TcpState::SynSent),
        (b's', b'r') => Next::To(TcpState::SynRecv),
        (b'e', b's') => Next::To(TcpState::Established),
        (b'f', b'w') => Next::To(TcpState::FinWait),
        (b'c', b'w') => Next::To(TcpState::CloseWait),
        (b'l', b'a') => Next::To(TcpState::LastAck),
        (b't', b'w') => Next::To(TcpState::TimeWait),
        (b'c', b'l') => Next::To(TcpState::Close),
        (b's', b'2') => Next::To(TcpState::SynSent2),
        (b'i', b'g') => Next::Ignore,
        (b'.', b'.') => Next::Invalid,
        _ => panic!("not a state"),
    }
}

/// Where a segment of `kind`, seen in `direction`, leads from `state`.
#[inline]
pub(crate) fn next(state: TcpState, direction: Direction, kind: Kind) -> Next {
    let table = match direction {
        Direction::Original => &ORIGINAL,
        Direction::Reply => &REPLY,
    };
    // Both are as large as their enumerations.
    table[kind as usize][state as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Original, Reply};

    fn walk(segments: &[(Direction, u8)]) -> Vec<&'static str> {
        let mut state = TcpState::None;
        segments
            .iter()
            .map(|&(direction, flags)| match next(state, direction, Kind::of(flags)) {
                Next::To(to) => {
                    state = to;
                    to.name()
                }
                Next::Ignore => "(ignored)",
                Next::Invalid => "(invalid)",
            })
            .collect()
    }

    #[test]
    fn a_connection_from_syn_to_time_wait() {
        let seen = walk(&[
            (Original, SYN),
            (Reply, SYN | ACK),
            (Original, ACK),
            (Original, ACK),
            (Reply, ACK),
            (Original, FIN | ACK),
            (Reply, FIN | ACK),
            (Original, ACK),
        ]);
        assert_eq!(
            seen,
            [
                "SYN_SENT",
                "SYN_RECV",
                "ESTABLISHED",
                "ESTABLISHED",
                "ESTABLISHED",
                "FIN_WAIT",
                "LAST_ACK",
                "TIME_WAIT"
            ]
        );
    }

    #[test]
    fn refused_reopened_and_wrong() {
        assert_eq!(walk(&[(Original, SYN), (Reply, RST | ACK)]), ["SYN_SENT", "CLOSE"]);
        assert_eq!(walk(&[(Original, SYN), (Original, SYN)]), ["SYN_SENT", "SYN_SENT"]);
        assert_eq!(walk(&[(Original, ACK), (Original, SYN)]), ["ESTABLISHED", "(ignored)"]);
        assert_eq!(walk(&[(Original, FIN | ACK)]), ["(invalid)"]);
        assert_eq!(walk(&[(Original, 0)]), ["(invalid)"]);
    }

    #[test]
    fn nine_combinations_of_flags_make_sense() {
        let valid: Vec<u8> = (0..64).filter(|&flags| are_flags_valid(flags & !0x08)).collect();
        let valid: Vec<u8> = valid.into_iter().filter(|flags| flags & 0x08 == 0).collect();
        let mut expected =
            [SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG];
        expected.sort_unstable();
        assert_eq!(valid, expected);
    }
}
