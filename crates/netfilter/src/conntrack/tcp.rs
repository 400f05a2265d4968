//! TCP as the man in the middle sees it (`net/netfilter/nf_conntrack_proto_tcp.c`).

use std::fmt;

use base::Duration;
use packet::tcp_flags::{ACK, FIN, RST, SYN};

use super::Direction;

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
    const ALL: [TcpState; 10] = [
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
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How long an idle TCP connection is remembered in each state: `net.netfilter.nf_conntrack_tcp_timeout_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpTimeouts([Duration; 10]);

impl Default for TcpTimeouts {
    fn default() -> Self {
        let secs = |state| match state {
            TcpState::None => 0,
            TcpState::SynSent | TcpState::SynSent2 => 120,
            TcpState::SynRecv | TcpState::CloseWait => 60,
            TcpState::Established => 5 * 24 * 3600,
            TcpState::FinWait | TcpState::TimeWait => 120,
            TcpState::LastAck => 30,
            TcpState::Close => 10,
        };
        TcpTimeouts(TcpState::ALL.map(|state| Duration::from_secs(secs(state))))
    }
}

impl TcpTimeouts {
    /// The timeout in `state`.
    pub fn of(&self, state: TcpState) -> Duration {
        self.0.get(state as usize).copied().unwrap_or_default()
    }

    /// Sets the timeout in `state`.
    pub fn set(&mut self, state: TcpState, timeout: Duration) {
        if let Some(slot) = self.0.get_mut(state as usize) {
            *slot = timeout;
        }
    }
}

/// The kind of segment that drives the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    None,
}

impl Segment {
    pub(crate) fn of(flags: u8) -> Segment {
        match flags {
            _ if flags & RST != 0 => Segment::Rst,
            _ if flags & (SYN | ACK) == SYN | ACK => Segment::SynAck,
            _ if flags & SYN != 0 => Segment::Syn,
            _ if flags & FIN != 0 => Segment::Fin,
            _ if flags & ACK != 0 => Segment::Ack,
            _ => Segment::None,
        }
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

/// The transition table. A row is a kind of segment; its columns are the states from `NONE` to
/// `SYN_SENT2`; `..` is invalid, `ig` is ignored.
const ORIGINAL: [(Segment, &str); 5] = [
    (Segment::Syn, "ss ss ig ig ig ig ig ss ss s2"),
    (Segment::SynAck, ".. .. sr .. .. .. .. .. .. sr"),
    (Segment::Fin, ".. .. fw fw la la la tw cl .."),
    (Segment::Ack, "es .. es es cw cw tw tw cl .."),
    (Segment::Rst, ".. cl cl cl cl cl cl cl cl cl"),
];
const REPLY: [(Segment, &str); 5] = [
    (Segment::Syn, ".. s2 .. .. .. .. .. ss .. s2"),
    (Segment::SynAck, ".. sr ig ig ig ig ig ig ig sr"),
    (Segment::Fin, ".. .. fw fw la la la tw cl .."),
    (Segment::Ack, ".. ig sr es cw cw tw tw cl ig"),
    (Segment::Rst, ".. cl cl cl cl cl cl cl cl cl"),
];

/// Where `segment`, seen in `direction`, leads from `state`.
pub(crate) fn next(state: TcpState, direction: Direction, segment: Segment) -> Next {
    let table = match direction {
        Direction::Original => &ORIGINAL,
        Direction::Reply => &REPLY,
    };
    let Some((_, row)) = table.iter().find(|(kind, _)| *kind == segment) else {
        return Next::Invalid;
    };
    let at = state as usize * 3;
    match row.get(at..at + 2) {
        Some("ss") => Next::To(TcpState::SynSent),
        Some("sr") => Next::To(TcpState::SynRecv),
        Some("es") => Next::To(TcpState::Established),
        Some("fw") => Next::To(TcpState::FinWait),
        Some("cw") => Next::To(TcpState::CloseWait),
        Some("la") => Next::To(TcpState::LastAck),
        Some("tw") => Next::To(TcpState::TimeWait),
        Some("cl") => Next::To(TcpState::Close),
        Some("s2") => Next::To(TcpState::SynSent2),
        Some("ig") => Next::Ignore,
        _ => Next::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Original, Reply};

    fn walk(segments: &[(Direction, u8)]) -> Vec<&'static str> {
        let mut state = TcpState::None;
        segments
            .iter()
            .map(|&(direction, flags)| match next(state, direction, Segment::of(flags)) {
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
    fn every_row_has_a_column_for_every_state() {
        for (segment, row) in ORIGINAL.iter().chain(&REPLY) {
            assert_eq!(row.split(' ').count(), TcpState::ALL.len(), "{segment:?}");
        }
    }
}
