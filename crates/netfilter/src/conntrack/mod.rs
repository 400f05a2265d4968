//! Connection tracking: which connection does this packet belong to?
//! (`net/netfilter/nf_conntrack_core.c` and the protocol files beside it, of Linux 6.18.)
//!
//! In reading order:
//! - [`tuple`]: what identifies one direction;
//! - [`conn`]: what is remembered of a connection;
//! - [`settings`]: the sysctls, by the kernel's names;
//! - [`table`]: [`Conntrack`], all connections of a namespace: finding, entering, forgetting;
//! - `track`: a packet comes in ([`Conntrack::track`]);
//! - [`tcp`], [`sctp`]: the state machines of the man in the middle;
//! - [`event`]: who hears of what happens;
//! - [`filter`]: connections chosen by what they are;
//! - [`text`]: what `conntrack` prints; [`command`]: what it understands.
//!
//! A connection is made when its first packet comes in, travels with that packet, and enters the table
//! only when the packet leaves or is delivered ([`Conntrack::confirm`]): what is dropped on the way leaves
//! no trace.
//!
//! **Invariant:** no two connections in the table share a tuple, in either direction.
//! **Invariant:** a packet of a known connection costs one lookup and allocates nothing.
//! **Invariant:** memory is bounded by `nf_conntrack_max`, whatever packets come.
//!
//! Deliberately absent: expectations and helpers, zones, labels, sequence adjustment, offloading. UDP-Lite is
//! tracked like a protocol without ports, GRE of version 1 (PPTP) without its keys.

pub mod command;
pub mod conn;
pub mod event;
pub mod filter;
pub mod sctp;
pub mod settings;
pub mod table;
pub mod tcp;
pub mod text;
mod track;
pub mod tuple;

use std::fmt;

pub use self::conn::{Conn, Proto, Traffic};
pub use self::event::{Event, EventKind, Heard, Listener};
pub use self::filter::Filter;
pub use self::settings::{SettingError, Settings};
pub use self::table::{Conntrack, Stats, TableFull};
pub use self::tuple::Tuple;

/// Protocol numbers that `packet` has no use for.
pub(crate) const DCCP: u8 = 33;
pub(crate) const GRE: u8 = 47;

/// Direction of a packet within its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// As the packet that began it.
    Original,
    /// The other way.
    Reply,
}

impl Direction {
    /// The other direction.
    #[inline]
    pub fn opposite(self) -> Direction {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }
}

/// What a packet is to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CtInfo {
    /// Begins a connection, or belongs to one that nobody has answered yet.
    New,
    /// Belongs to a connection that has seen packets both ways.
    Established(Direction),
    /// An error about a connection; the direction is that of the message, not of the packet it quotes.
    Related(Direction),
}

impl CtInfo {
    /// Direction of the packet.
    #[inline]
    pub fn direction(self) -> Direction {
        match self {
            CtInfo::New => Direction::Original,
            CtInfo::Established(direction) | CtInfo::Related(direction) => direction,
        }
    }
}

/// Identifies a connection for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    slot: u32,
    serial: u64,
}

/// What a packet knows of connection tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CtSlot {
    /// Not tracked yet, or invalid: it fits no connection and may not begin one.
    #[default]
    None,
    /// Excepted from tracking (`CT --notrack`).
    Untracked,
    /// Belongs to a connection.
    Tracked {
        /// Which.
        conn: ConnId,
        /// As what.
        info: CtInfo,
    },
}

impl CtSlot {
    /// What a packet that is made about this one knows: the error or reset of `REJECT` is RELATED to the
    /// connection of what it rejects, going the other way (`nf_ct_attach`).
    pub fn of_answer(self) -> CtSlot {
        match self {
            CtSlot::Tracked { conn, info } => {
                CtSlot::Tracked { conn, info: CtInfo::Related(info.direction().opposite()) }
            }
            // An answer to what was excepted is looked up on its own.
            CtSlot::Untracked | CtSlot::None => CtSlot::None,
        }
    }
}

/// Bits of [`Conn::status`], with the names of the kernel's `IPS_*`.
pub mod status {
    /// Packets seen both ways.
    pub const SEEN_REPLY: u16 = 1 << 1;
    /// Will not be thrown out early when the table is full.
    pub const ASSURED: u16 = 1 << 2;
    /// In the table.
    pub const CONFIRMED: u16 = 1 << 3;
    /// Its source is translated.
    pub const SRC_NAT: u16 = 1 << 4;
    /// Its destination is translated.
    pub const DST_NAT: u16 = 1 << 5;
    /// Translation of the source has been decided, perhaps to none.
    pub const SRC_NAT_DONE: u16 = 1 << 7;
    /// Translation of the destination has been decided, perhaps to none.
    pub const DST_NAT_DONE: u16 = 1 << 8;
    /// Forgotten; a last packet of it is still on its way.
    pub const DYING: u16 = 1 << 9;
    /// Packets do not move its expiry.
    pub const FIXED_TIMEOUT: u16 = 1 << 10;
    /// Its first packet lost a race; only answers find it.
    pub const NAT_CLASH: u16 = 1 << 12;
}

/// Why a packet is INVALID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// A header is cut short, or lengths contradict each other.
    Truncated,
    /// The checksum of its payload is wrong.
    Checksum,
    /// Flags of TCP that make no sense together.
    Flags,
    /// It belongs to no connection and begins none.
    New,
    /// It does not fit the state of its connection.
    State,
    /// TCP data beyond what the receiver has offered.
    SeqOverBound,
    /// TCP acknowledgment of data not seen yet.
    AckOverBound,
    /// A TCP reset from before the window.
    Reset,
    /// An ICMP type that does not exist.
    IcmpType,
    /// An ICMP error about nothing known.
    IcmpUnrelated,
    /// A later fragment.
    Fragment,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invalid::Truncated => "truncated packet",
            Invalid::Checksum => "bad checksum",
            Invalid::Flags => "invalid tcp flag combination",
            Invalid::New => "invalid new",
            Invalid::State => "invalid in this state",
            Invalid::SeqOverBound => "SEQ is over upper bound (over the window of the receiver)",
            Invalid::AckOverBound => "ACK is over upper bound (ACKed data not seen yet)",
            Invalid::Reset => "invalid rst",
            Invalid::IcmpType => "invalid icmp type",
            Invalid::IcmpUnrelated => "icmp error about no known connection",
            Invalid::Fragment => "fragment",
        })
    }
}

/// The bits that `-m conntrack --ctstate` and `-m state` compare.
pub mod ct_state {
    /// Fits no connection.
    pub const INVALID: u8 = 1 << 0;
    /// Part of a connection that has seen both ways.
    pub const ESTABLISHED: u8 = 1 << 1;
    /// About a connection.
    pub const RELATED: u8 = 1 << 2;
    /// Begins one.
    pub const NEW: u8 = 1 << 3;
    /// Excepted from tracking.
    pub const UNTRACKED: u8 = 1 << 4;
    /// Its source is translated.
    pub const SNAT: u8 = 1 << 5;
    /// Its destination is translated.
    pub const DNAT: u8 = 1 << 6;

    /// Names in the order in which iptables prints them.
    pub const NAMES: [(u8, &str); 7] = [
        (INVALID, "INVALID"),
        (NEW, "NEW"),
        (RELATED, "RELATED"),
        (ESTABLISHED, "ESTABLISHED"),
        (UNTRACKED, "UNTRACKED"),
        (SNAT, "SNAT"),
        (DNAT, "DNAT"),
    ];
}

impl Conntrack {
    /// The [`ct_state`] bits of a packet.
    #[inline]
    pub fn state_bits(&self, slot: CtSlot) -> u8 {
        match slot {
            CtSlot::None => ct_state::INVALID,
            CtSlot::Untracked => ct_state::UNTRACKED,
            CtSlot::Tracked { conn, info } => {
                let mut bits = match info {
                    CtInfo::New => ct_state::NEW,
                    CtInfo::Established(_) => ct_state::ESTABLISHED,
                    CtInfo::Related(_) => ct_state::RELATED,
                };
                if let Some(conn) = self.get(conn) {
                    bits |= if conn.has(status::SRC_NAT) { ct_state::SNAT } else { 0 };
                    bits |= if conn.has(status::DST_NAT) { ct_state::DNAT } else { 0 };
                }
                bits
            }
        }
    }
}
