//! Connection tracking: which connection does this packet belong to?
//! (`net/netfilter/nf_conntrack_core.c` and the protocol files beside it.)
//!
//! - [`tuple`]: what identifies one direction;
//! - [`tcp`]: the TCP state machine of the man in the middle;
//! - [`Conntrack`]: the table;
//! - [`text`]: what `conntrack -L` prints.
//!
//! A connection is made when its first packet comes in, travels with that packet, and enters the table
//! only when the packet leaves or is delivered ([`Conntrack::confirm`]): what is dropped on the way leaves
//! no trace.

pub mod tcp;
pub mod text;
pub mod tuple;

use base::{Duration, FastMap, Instant};
use packet::{Head, L4, Packet};
use slab::Slab;

use self::tcp::{Next, Segment, TcpState, TcpTimeouts};
pub use self::tuple::Tuple;

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
}

/// What is remembered of a connection.
#[derive(Clone, Debug)]
pub struct Conn {
    /// Rises with every connection; the order of their beginning.
    pub serial: u64,
    /// As its first packet came in.
    pub original: Tuple,
    /// As answers will come in: the inverse of the first packet as it went out.
    pub reply: Tuple,
    /// Bits of [`status`].
    pub status: u16,
    /// Forgotten at this time unless a packet comes first.
    pub expires: Instant,
    /// Set by `CONNMARK`.
    pub mark: u32,
    /// When its first packet came in.
    pub since: Instant,
    /// State, for TCP.
    pub tcp: TcpState,
    /// First packet and last packet to go, for telling a reset after a lonely SYN.
    last: Option<(Direction, Segment)>,
    /// The first FIN has been seen from these directions (kernel: `IP_CT_TCP_FLAG_CLOSE_INIT`).
    close_init: bool,
}

impl Conn {
    /// The tuple of packets going in `direction`.
    pub fn tuple(&self, direction: Direction) -> &Tuple {
        match direction {
            Direction::Original => &self.original,
            Direction::Reply => &self.reply,
        }
    }

    /// Has all bits of `bits`.
    pub fn has(&self, bits: u16) -> bool {
        self.status & bits == bits
    }
}

/// How long what is idle is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, by state.
    pub tcp: TcpTimeouts,
    /// UDP that nobody answered.
    pub udp: Duration,
    /// UDP with answers for more than two seconds.
    pub udp_stream: Duration,
    /// ICMP queries.
    pub icmp: Duration,
    /// Any other protocol.
    pub generic: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            tcp: TcpTimeouts::default(),
            udp: Duration::from_secs(30),
            udp_stream: Duration::from_secs(120),
            icmp: Duration::from_secs(30),
            generic: Duration::from_secs(600),
        }
    }
}

/// Most connections remembered at once: `net.netfilter.nf_conntrack_max` of a machine of 8 GB or more.
pub const CONNTRACK_MAX: u32 = 262_144;

/// Connections looked at for expiry whenever a new one is remembered.
const GC_PER_INSERT: u32 = 3;

/// Connections looked at for one that can go early when the table is full.
const EARLY_DROP_MAX: u32 = 64;

/// A UDP flow with answers for this long is a stream (`net/netfilter/nf_conntrack_proto_udp.c`).
const UDP_STREAM_AFTER: Duration = Duration::from_secs(2);

/// The connections of one namespace.
#[derive(Debug, Default)]
pub struct Conntrack {
    conns: Slab<Conn>,
    by_tuple: FastMap<Tuple, (u32, Direction)>,
    /// Sources that were translated, for giving the same source the same port again.
    by_source: FastMap<(std::net::Ipv4Addr, u16, u8), ConnId>,
    next_serial: u64,
    gc_at: u32,
    confirmed_count: u32,
    /// How long what is idle is remembered.
    pub timeouts: Timeouts,
    /// Packets refused because the table was full.
    pub table_full_drops: u64,
}

/// Nothing more can be remembered; the packet is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

impl Conntrack {
    /// Finds or begins the connection of a packet that has just come in (`nf_conntrack_in`).
    pub fn track(&mut self, packet: &Packet, now: Instant) -> Result<CtSlot, TableFull> {
        let head = packet.head();
        if head.is_icmp_error() {
            return Ok(self.track_icmp_error(packet, now));
        }
        let Some(tuple) = Tuple::of(head) else { return Ok(CtSlot::None) };
        // Twice: a SYN may reopen a connection that is as good as over, which is then removed first.
        for _ in 0..2 {
            let Some((conn, direction)) = self.find(&tuple, now) else {
                return self.begin(tuple, head, now);
            };
            let info = self.info(conn, direction);
            match self.update(conn, head, direction, now) {
                Updated::Fits => {
                    if direction == Direction::Reply {
                        self.conn_mut(conn, |conn| conn.status |= status::SEEN_REPLY);
                    }
                    return Ok(CtSlot::Tracked { conn, info });
                }
                Updated::Invalid => return Ok(CtSlot::None),
                Updated::Reopened => self.remove(conn),
            }
        }
        self.begin(tuple, head, now)
    }

    fn info(&self, id: ConnId, direction: Direction) -> CtInfo {
        let seen_reply = self.get(id).is_some_and(|conn| conn.has(status::SEEN_REPLY));
        match direction {
            Direction::Reply => CtInfo::Established(Direction::Reply),
            Direction::Original if seen_reply => CtInfo::Established(Direction::Original),
            Direction::Original => CtInfo::New,
        }
    }

    /// An ICMP error belongs to the connection of the packet it quotes
    /// (`net/netfilter/nf_conntrack_proto_icmp.c`).
    fn track_icmp_error(&mut self, packet: &Packet, now: Instant) -> CtSlot {
        let Some(quoted) = packet.quoted().and_then(|quoted| Tuple::of(&quoted)) else {
            return CtSlot::None;
        };
        // The quoted packet had been on its way out; its connection knows it from the other side.
        let Some((conn, direction)) = self.find(&quoted.inverted(), now) else {
            return CtSlot::None;
        };
        CtSlot::Tracked { conn, info: CtInfo::Related(direction) }
    }

    /// Begins a connection with this packet, or says that a packet like it begins none.
    fn begin(&mut self, tuple: Tuple, head: &Head, now: Instant) -> Result<CtSlot, TableFull> {
        let mut tcp = TcpState::None;
        let mut last = None;
        let timeout = match head.l4 {
            L4::Tcp { flags, .. } => {
                let segment = Segment::of(flags);
                let Next::To(state) = tcp::next(TcpState::None, Direction::Original, segment)
                else {
                    return Ok(CtSlot::None);
                };
                tcp = state;
                last = Some((Direction::Original, segment));
                self.timeouts.tcp.of(state)
            }
            L4::Icmp { kind, .. } => {
                // Only questions begin something.
                if !matches!(kind, 8 | 13 | 15 | 17) {
                    return Ok(CtSlot::None);
                }
                self.timeouts.icmp
            }
            L4::Udp { .. } => self.timeouts.udp,
            _ => self.timeouts.generic,
        };
        if self.confirmed_count >= CONNTRACK_MAX && !self.early_drop(now) {
            self.table_full_drops += 1;
            return Err(TableFull);
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        let slot = self.conns.insert(Conn {
            serial,
            original: tuple,
            reply: tuple.inverted(),
            status: 0,
            expires: now + timeout,
            mark: 0,
            since: now,
            tcp,
            last,
            close_init: false,
        });
        let conn = ConnId { slot: slot as u32, serial };
        Ok(CtSlot::Tracked { conn, info: CtInfo::New })
    }

    /// A packet of a known connection: moves its state and its expiry.
    fn update(&mut self, id: ConnId, head: &Head, direction: Direction, now: Instant) -> Updated {
        let timeouts = self.timeouts.clone();
        let Some(conn) = self.conns.get_mut(id.slot as usize) else { return Updated::Invalid };
        let timeout = match head.l4 {
            L4::Tcp { flags, .. } => {
                return update_tcp(conn, Segment::of(flags), direction, &timeouts.tcp, now);
            }
            L4::Udp { .. } => {
                let answered = conn.has(status::SEEN_REPLY);
                if answered && now - conn.since >= UDP_STREAM_AFTER {
                    conn.status |= status::ASSURED;
                    timeouts.udp_stream
                } else {
                    timeouts.udp
                }
            }
            L4::Icmp { .. } => timeouts.icmp,
            _ => timeouts.generic,
        };
        conn.expires = now + timeout;
        Updated::Fits
    }

    /// The confirmed connection that has `tuple`, and in which direction. Forgets it when it has expired.
    pub fn find(&mut self, tuple: &Tuple, now: Instant) -> Option<(ConnId, Direction)> {
        let &(slot, direction) = self.by_tuple.get(tuple)?;
        let conn = self.conns.get(slot as usize)?;
        let id = ConnId { slot, serial: conn.serial };
        if conn.expires <= now {
            self.remove(id);
            return None;
        }
        Some((id, direction))
    }

    /// Whether a packet with `tuple` would be taken for a connection other than `except`.
    pub(crate) fn is_taken(&mut self, tuple: &Tuple, except: ConnId, now: Instant) -> bool {
        self.find(tuple, now).is_some_and(|(id, _)| id != except)
    }

    /// The connection, if it still exists.
    pub fn get(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(id.slot as usize).filter(|conn| conn.serial == id.serial)
    }

    pub(crate) fn conn_mut<R>(&mut self, id: ConnId, f: impl FnOnce(&mut Conn) -> R) -> Option<R> {
        let conn = self.conns.get_mut(id.slot as usize)?;
        (conn.serial == id.serial).then(|| f(conn))
    }

    /// The packet has got through: its connection enters the table. `false`: in the meantime another
    /// connection has taken the same tuple, and the packet is to be dropped (`nf_conntrack_confirm`).
    pub fn confirm(&mut self, slot: CtSlot, now: Instant) -> bool {
        let CtSlot::Tracked { conn: id, .. } = slot else { return true };
        let Some(conn) = self.get(id) else { return true };
        if conn.has(status::CONFIRMED) {
            return true;
        }
        let (original, reply) = (conn.original, conn.reply);
        if self.is_taken(&original, id, now) || self.is_taken(&reply, id, now) {
            self.remove(id);
            return false;
        }
        self.by_tuple.insert(original, (id.slot, Direction::Original));
        self.by_tuple.insert(reply, (id.slot, Direction::Reply));
        self.confirmed_count += 1;
        self.conn_mut(id, |conn| conn.status |= status::CONFIRMED);
        for _ in 0..GC_PER_INSERT {
            self.gc_step(now);
        }
        true
    }

    /// The packet did not get through: a connection that it began is forgotten.
    pub fn discard(&mut self, slot: CtSlot) {
        let CtSlot::Tracked { conn, .. } = slot else { return };
        if self.get(conn).is_some_and(|conn| !conn.has(status::CONFIRMED)) {
            self.remove(conn);
        }
    }

    /// Forgets a connection.
    pub fn remove(&mut self, id: ConnId) {
        if self.get(id).is_none() {
            return;
        }
        let conn = self.conns.remove(id.slot as usize);
        if conn.has(status::CONFIRMED) {
            self.confirmed_count -= 1;
            for tuple in [conn.original, conn.reply] {
                if self.by_tuple.get(&tuple).is_some_and(|&(slot, _)| slot == id.slot) {
                    self.by_tuple.remove(&tuple);
                }
            }
        }
        let source = (conn.original.src, conn.original.sport, conn.original.protocol);
        if self.by_source.get(&source) == Some(&id) {
            self.by_source.remove(&source);
        }
    }

    /// Remembers that the source of this connection has been decided (`nf_nat_bysource`).
    pub(crate) fn remember_source(&mut self, id: ConnId) {
        let Some(conn) = self.get(id) else { return };
        let source = (conn.original.src, conn.original.sport, conn.original.protocol);
        self.by_source.insert(source, id);
    }

    /// A connection from the same source whose translation has been decided.
    pub(crate) fn same_source(&self, tuple: &Tuple) -> Option<&Conn> {
        let id = self.by_source.get(&(tuple.src, tuple.sport, tuple.protocol))?;
        self.get(*id)
    }

    fn gc_step(&mut self, now: Instant) {
        let capacity = self.conns.capacity() as u32;
        self.gc_at = if self.gc_at + 1 >= capacity { 0 } else { self.gc_at + 1 };
        if let Some(conn) = self.conns.get(self.gc_at as usize)
            && conn.expires <= now
            && conn.has(status::CONFIRMED)
        {
            self.remove(ConnId { slot: self.gc_at, serial: conn.serial });
        }
    }

    /// Makes room by forgetting a connection that is over or that nobody has answered.
    fn early_drop(&mut self, now: Instant) -> bool {
        for _ in 0..EARLY_DROP_MAX {
            self.gc_at = (self.gc_at + 1) % self.conns.capacity().max(1) as u32;
            let Some(conn) = self.conns.get(self.gc_at as usize) else { continue };
            let is_idle = !conn.has(status::ASSURED) || conn.expires <= now;
            if is_idle && conn.has(status::CONFIRMED) {
                self.remove(ConnId { slot: self.gc_at, serial: conn.serial });
                return true;
            }
        }
        false
    }

    /// Number of connections in the table, those not yet swept up included.
    pub fn count(&self) -> u32 {
        self.confirmed_count
    }

    /// The connections in the table at `now`, in the order of their beginning.
    pub fn entries(&self, now: Instant) -> Vec<(ConnId, &Conn)> {
        let mut entries: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.has(status::CONFIRMED) && conn.expires > now)
            .map(|(slot, conn)| (ConnId { slot: slot as u32, serial: conn.serial }, conn))
            .collect();
        entries.sort_by_key(|(id, _)| id.serial);
        entries
    }
}

enum Updated {
    Fits,
    Invalid,
    /// The packet begins the connection anew; the old one is to be forgotten.
    Reopened,
}

fn update_tcp(
    conn: &mut Conn,
    segment: Segment,
    direction: Direction,
    timeouts: &TcpTimeouts,
    now: Instant,
) -> Updated {
    let old = conn.tcp;
    let new = match tcp::next(old, direction, segment) {
        Next::To(state) => state,
        Next::Ignore => {
            conn.last = Some((direction, segment));
            return Updated::Fits;
        }
        Next::Invalid => return Updated::Invalid,
    };
    let is_over = matches!(old, TcpState::TimeWait | TcpState::Close);
    if new == TcpState::SynSent && is_over {
        let was_closed = conn.close_init || conn.last == Some((direction, Segment::Rst));
        return if was_closed { Updated::Reopened } else { Updated::Fits };
    }
    conn.tcp = new;
    conn.last = Some((direction, segment));
    if old != new && new == TcpState::FinWait {
        conn.close_init = true;
    }
    let seen_reply = conn.has(status::SEEN_REPLY);
    if seen_reply
        && matches!(old, TcpState::SynRecv | TcpState::Established)
        && new == TcpState::Established
    {
        conn.status |= status::ASSURED;
    }
    // Nobody but the reset has ever answered: the kernel forgets the connection at once. Here it is kept
    // until the reset has been translated and delivered, and then expires.
    let refused = !seen_reply && segment == Segment::Rst && direction == Direction::Reply;
    conn.expires = if refused { now } else { now + timeouts.of(new) };
    Updated::Fits
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
