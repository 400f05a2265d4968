//! A packet comes in: which connection is it of, and what does it do to it (`nf_conntrack_in`)?

use base::{Duration, Instant};
use packet::{L4, Packet, protocol};

use super::event::Change;
use super::sctp::{self, SctpTrack};
use super::tcp::{self, Segment, TcpState, TcpTrack};
use super::{
    Conn, ConnId, Conntrack, CtInfo, CtSlot, Direction, GRE, Invalid, Proto, Settings, TableFull,
    Tuple, status,
};
use crate::hook::Hook;

/// A UDP flow with answers for longer than this is a stream (`net/netfilter/nf_conntrack_proto_udp.c`).
const UDP_STREAM_AFTER: Duration = Duration::from_secs(2);

/// Highest ICMP type that is known (`NR_ICMP_TYPES`).
const ICMP_TYPE_MAX: u8 = 18;

/// What a packet did to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Updated {
    /// It belongs to it.
    Fits,
    /// It does not.
    Invalid(Invalid),
    /// It begins the connection anew; the old one is to be forgotten.
    Reopened,
    /// It belongs to it and ends it at once.
    Refused,
}

impl Conntrack {
    /// Finds or begins the connection of a packet at PREROUTING or OUTPUT. Checksums are looked at where a
    /// packet comes in from outside.
    #[inline]
    pub fn track(
        &mut self,
        packet: &Packet,
        hook: Hook,
        is_trusted: bool,
        now: Instant,
    ) -> Result<CtSlot, TableFull> {
        let checks_sum = self.settings.checksum && hook == Hook::Prerouting && !is_trusted;
        match self.lookup(packet, checks_sum, now) {
            Ok(slot) => slot,
            Err(why) => {
                self.stats.invalid += 1;
                self.last_invalid = Some(why);
                Ok(CtSlot::None)
            }
        }
    }

    /// The packet was answered with a reset that its sender will hear: its TCP connection is over
    /// (`nf_ct_set_closing`).
    pub fn set_closing(&mut self, slot: CtSlot, now: Instant) {
        let CtSlot::Tracked { conn: id, .. } = slot else { return };
        let timeout = self.settings.tcp.timeout(TcpState::Close);
        self.conn_mut(id, |conn| {
            let Proto::Tcp(track) = &mut conn.proto else { return };
            if conn.status & status::CONFIRMED == 0 {
                return;
            }
            let was_over = std::mem::replace(&mut track.state, TcpState::Close) == TcpState::Close;
            if !was_over && !conn.has(status::FIXED_TIMEOUT) {
                conn.expires = now + timeout;
                conn.pending |= Change::State as u8;
            }
        });
    }

    fn lookup(
        &mut self,
        packet: &Packet,
        checks_sum: bool,
        now: Instant,
    ) -> Result<Result<CtSlot, TableFull>, Invalid> {
        let head = packet.head();
        if head.fragment.offset != 0 {
            self.stats.error += 1;
            return Err(Invalid::Fragment);
        }
        if head.protocol == protocol::ICMP
            && let Some(done) = self.check_icmp(packet, checks_sum, now)
        {
            self.stats.error += u64::from(done.is_err());
            return done.map(Ok);
        }
        let tuple = Tuple::of(head).ok_or(match head.l4 {
            L4::Icmp { .. } => Invalid::New,
            _ => Invalid::Truncated,
        })?;
        // Twice: a SYN may reopen a connection that is as good as over, which is then removed first.
        for _ in 0..2 {
            let (id, direction, info) = match self.find(&tuple, now) {
                Some((id, direction)) => (id, direction, self.info(id, direction)),
                None => match self.begin(tuple, packet, now) {
                    Ok(id) => (id, Direction::Original, CtInfo::New),
                    Err(full) => return Ok(Err(full)),
                },
            };
            match self.update(id, packet, direction, checks_sum, now) {
                Updated::Fits => {
                    if direction == Direction::Reply {
                        self.conn_mut(id, |conn| conn.raise(status::SEEN_REPLY, Change::Reply));
                    }
                }
                Updated::Refused => {
                    self.conn_mut(id, |conn| conn.status |= status::SEEN_REPLY);
                    self.kill(id, now);
                }
                Updated::Invalid(why) => {
                    self.discard(CtSlot::Tracked { conn: id, info });
                    return Err(why);
                }
                Updated::Reopened => {
                    self.remove(id, now);
                    continue;
                }
            }
            return Ok(Ok(CtSlot::Tracked { conn: id, info }));
        }
        Err(Invalid::State)
    }

    /// A packet of an established connection, going in a known direction. `false`: it is not that simple, and
    /// nothing has happened.
    pub(crate) fn follow(
        &mut self,
        id: ConnId,
        direction: Direction,
        packet: &Packet,
        now: Instant,
    ) -> bool {
        let Some(conn) = self.conns.get_mut(id.slot as usize) else { return false };
        let needed = match direction {
            Direction::Original => status::CONFIRMED | status::SEEN_REPLY,
            Direction::Reply => status::CONFIRMED,
        };
        if conn.serial != id.serial
            || conn.status & (needed | status::DYING) != needed
            || conn.expires <= now
        {
            return false;
        }
        let before = conn.clone();
        let updated = self.update(id, packet, direction, false, now);
        let Some(conn) = self.conns.get_mut(id.slot as usize) else { return false };
        if updated != Updated::Fits {
            *conn = before;
            return false;
        }
        if direction == Direction::Reply {
            conn.raise(status::SEEN_REPLY, Change::Reply);
        }
        if conn.pending != 0 {
            self.tell_changes(id, now);
        }
        true
    }

    #[inline]
    fn info(&self, id: ConnId, direction: Direction) -> CtInfo {
        match direction {
            Direction::Reply => CtInfo::Established(Direction::Reply),
            Direction::Original => {
                let seen_reply = self.get(id).is_some_and(|conn| conn.has(status::SEEN_REPLY));
                if seen_reply { CtInfo::Established(Direction::Original) } else { CtInfo::New }
            }
        }
    }

    /// What can be said about an ICMP message alone; `None`: it is looked up like any other packet.
    fn check_icmp(
        &mut self,
        packet: &Packet,
        checks_sum: bool,
        now: Instant,
    ) -> Option<Result<CtSlot, Invalid>> {
        let L4::Icmp { kind, .. } = packet.head().l4 else { return Some(Err(Invalid::Truncated)) };
        if checks_sum && !packet.l4_checksum_ok() {
            return Some(Err(Invalid::Checksum));
        }
        if kind > ICMP_TYPE_MAX {
            return Some(Err(Invalid::IcmpType));
        }
        if !packet.head().is_icmp_error() {
            return None;
        }
        Some(self.related(packet, now).ok_or(Invalid::IcmpUnrelated))
    }

    /// An ICMP error belongs to the connection of the packet it quotes, if it goes to who sent that
    /// (`nf_conntrack_inet_error`).
    fn related(&mut self, packet: &Packet, now: Instant) -> Option<CtSlot> {
        let quoted = Tuple::of(&packet.quoted()?)?;
        // The quoted packet had been on its way out; its connection knows it from the other side.
        let (id, direction) = self.find(&quoted.inverted(), now)?;
        let receiver = self.get(id)?.tuple(direction).dst;
        (receiver == packet.head().dst)
            .then_some(CtSlot::Tracked { conn: id, info: CtInfo::Related(direction) })
    }

    /// Begins a connection with this packet. Whether a packet like it may begin one is asked later.
    fn begin(&mut self, tuple: Tuple, packet: &Packet, now: Instant) -> Result<ConnId, TableFull> {
        self.make_room(&tuple, now)?;
        let id = self.insert(tuple, now);
        let proto = match packet.head().l4 {
            L4::Tcp { .. } => Proto::Tcp(TcpTrack::default()),
            L4::Sctp { .. } => Proto::Sctp(SctpTrack::default()),
            _ => Proto::Other,
        };
        self.conn_mut(id, |conn| conn.proto = proto);
        Ok(id)
    }

    /// A packet of a connection, known or just begun: moves its state and its expiry.
    #[inline]
    fn update(
        &mut self,
        id: ConnId,
        packet: &Packet,
        direction: Direction,
        checks_sum: bool,
        now: Instant,
    ) -> Updated {
        let Conntrack { conns, settings, .. } = self;
        let Some(conn) = conns.get_mut(id.slot as usize) else {
            return Updated::Invalid(Invalid::State);
        };
        match packet.head().l4 {
            L4::Tcp { .. } => update_tcp(conn, packet, direction, settings, checks_sum, now),
            L4::Udp { .. } => update_udp(conn, packet, direction, settings, checks_sum, now),
            L4::Sctp { .. } if checks_sum && !packet.l4_checksum_ok() => {
                Updated::Invalid(Invalid::Checksum)
            }
            L4::Sctp { .. } => update_sctp(conn, packet, direction, settings, now),
            _ => update_other(conn, packet, direction, settings, now),
        }
    }
}

fn update_tcp(
    conn: &mut Conn,
    packet: &Packet,
    direction: Direction,
    settings: &Settings,
    checks_sum: bool,
    now: Instant,
) -> Updated {
    let segment = match Segment::of(packet) {
        Ok(segment) => segment,
        Err(why) => return Updated::Invalid(why),
    };
    if checks_sum && !packet.l4_checksum_ok() {
        return Updated::Invalid(Invalid::Checksum);
    }
    if !tcp::are_flags_valid(segment.flags()) {
        return Updated::Invalid(Invalid::Flags);
    }
    if !conn.has(status::CONFIRMED)
        && let Proto::Tcp(track) = &mut conn.proto
        && !track.begin(&segment, &settings.tcp)
    {
        return Updated::Invalid(Invalid::New);
    }
    tcp::track(conn, &segment, direction, packet.head().total_len, &settings.tcp, now)
}

fn update_udp(
    conn: &mut Conn,
    packet: &Packet,
    direction: Direction,
    settings: &Settings,
    checks_sum: bool,
    now: Instant,
) -> Updated {
    let payload = packet.payload();
    let len = payload.get(4..6).map_or(0, |len| usize::from(u16::from_be_bytes([len[0], len[1]])));
    if len < 8 || len > payload.len() {
        return Updated::Invalid(Invalid::Truncated);
    }
    if checks_sum && !packet.l4_checksum_ok() {
        return Updated::Invalid(Invalid::Checksum);
    }
    let is_stream = conn.has(status::SEEN_REPLY) && now > conn.since + UDP_STREAM_AFTER;
    let timeout = if is_stream { settings.udp_timeout_stream } else { settings.udp_timeout };
    conn.refresh(now + timeout, direction, packet.head().total_len);
    if is_stream && !conn.has(status::NAT_CLASH) {
        conn.raise(status::ASSURED, Change::Assured);
    }
    Updated::Fits
}

fn update_sctp(
    conn: &mut Conn,
    packet: &Packet,
    direction: Direction,
    settings: &Settings,
    now: Instant,
) -> Updated {
    if !conn.has(status::CONFIRMED)
        && let Proto::Sctp(track) = &mut conn.proto
        && !track.begin(packet.payload())
    {
        return Updated::Invalid(Invalid::New);
    }
    sctp::track(conn, packet.payload(), direction, packet.head().total_len, settings, now)
}

fn update_other(
    conn: &mut Conn,
    packet: &Packet,
    direction: Direction,
    settings: &Settings,
    now: Instant,
) -> Updated {
    let timeout = match conn.original.protocol {
        // Only questions begin something.
        protocol::ICMP if !matches!(conn.original.icmp_type_code().0, 8 | 13 | 15 | 17) => {
            return Updated::Invalid(Invalid::New);
        }
        protocol::ICMP => settings.icmp_timeout,
        GRE if conn.has(status::SEEN_REPLY) => {
            conn.raise(status::ASSURED, Change::Assured);
            settings.gre_timeout_stream
        }
        GRE => settings.gre_timeout,
        _ => settings.generic_timeout,
    };
    conn.refresh(now + timeout, direction, packet.head().total_len);
    Updated::Fits
}
