//! The connections of a namespace: finding, entering and forgetting them.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use base::{FastMap, Instant};
use packet::protocol;
use slab::Slab;

use super::conn::SourceLinks;
use super::event::{Change, Events};
use super::{
    Conn, ConnId, CtSlot, Direction, Event, EventKind, Filter, Heard, Invalid, Listener, Settings,
    Tuple, status,
};
use crate::iface::IfName;

/// Connections looked at for expiry whenever a new one is remembered.
const GC_PER_INSERT: u32 = 3;

/// Buckets of the kernel's hash table searched for a victim when the table is full
/// (`NF_CT_EVICTION_RANGE`).
const EARLY_DROP_BUCKETS: u64 = 8;

/// Most connections kept for their last packet after they have been forgotten.
const LINGER_MAX: usize = 64;

/// What `conntrack -S` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tuples that a translation wanted and another connection had.
    pub found: u64,
    /// Packets that were INVALID.
    pub invalid: u64,
    /// Connections entered by a program.
    pub insert: u64,
    /// Connections that could not enter because another had their tuple.
    pub insert_failed: u64,
    /// Packets dropped because the table was full or a tuple was taken.
    pub drop: u64,
    /// Connections forgotten early to make room.
    pub early_drop: u64,
    /// ICMP errors about nothing known, and ICMP messages that make no sense.
    pub error: u64,
    /// Lookups begun again; a table with one user never does.
    pub search_restart: u64,
    /// Packets that lost a race and were let through all the same.
    pub clash_resolve: u64,
    /// Connections refused because a chain of the hash table was too long; there are no chains here.
    pub chaintoolong: u64,
}

/// The connections of one namespace.
#[derive(Debug, Default)]
pub struct Conntrack {
    pub(super) conns: Slab<Conn>,
    by_tuple: FastMap<Tuple, (u32, Direction)>,
    /// The latest connection from each source whose translation has been decided (`nf_nat_bysource`); the
    /// others are linked from it.
    by_source: FastMap<(Ipv4Addr, u16, u8), u32>,
    /// Forgotten, but their last packet may still be on its way.
    lingering: VecDeque<ConnId>,
    next_serial: u64,
    gc_at: u32,
    /// The table was full: what is closing may go, too.
    is_pressed: bool,
    pub(super) events: Events,
    /// The sysctls.
    pub settings: Settings,
    /// Instead of `settings.max`: room for so many and no more, as when somebody else uses up the memory.
    pub limit: Option<u32>,
    /// What has been counted.
    pub stats: Stats,
    /// Why the last packet that was INVALID was so.
    pub last_invalid: Option<Invalid>,
}

/// Nothing more can be remembered; the packet is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

/// A number for a tuple that is the same on every machine.
fn mixed(tuple: &Tuple) -> u64 {
    let addrs = u64::from(u32::from(tuple.src)) << 32 | u64::from(u32::from(tuple.dst));
    let rest = u64::from(tuple.sport) << 32 | u64::from(tuple.dport) << 8;
    let mix = |value: u64| (value ^ value >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = mix(mix(addrs) ^ rest ^ u64::from(tuple.protocol));
    mixed ^ mixed >> 32
}

fn source_of(tuple: &Tuple) -> (Ipv4Addr, u16, u8) {
    (tuple.src, tuple.sport, tuple.protocol)
}

impl Conntrack {
    /// A connection that is not in the table yet.
    pub(super) fn insert(&mut self, original: Tuple, now: Instant) -> ConnId {
        let serial = self.next_serial;
        self.next_serial += 1;
        let listens = match self.settings.events {
            0 => false,
            1 => true,
            _ => self.events.has_listener(),
        };
        let slot = self.conns.insert(Conn {
            serial,
            original,
            reply: original.inverted(),
            status: 0,
            expires: now,
            mark: 0,
            since: now,
            until: None,
            proto: super::Proto::Other,
            counters: self.settings.acct.then(Default::default),
            masquerade: IfName::NONE,
            shows_time: self.settings.timestamp,
            is_watched: listens,
            pending: 0,
            source_links: SourceLinks::default(),
        });
        ConnId { slot: slot as u32, serial }
    }

    /// `nf_conntrack_max` of zero is no limit.
    fn has_room(&self) -> bool {
        let max = self.limit.or(Some(self.settings.max).filter(|max| *max > 0));
        max.is_none_or(|max| self.count() < max)
    }

    /// Makes sure that there is room for a connection with this tuple; throws one out if need be
    /// (`__nf_conntrack_alloc`).
    pub(super) fn make_room(&mut self, tuple: &Tuple, now: Instant) -> Result<(), TableFull> {
        if self.has_room() || self.early_drop(tuple, now) {
            return Ok(());
        }
        self.is_pressed = true;
        // The kernel's sweeper would come round soon; here it comes with the packets.
        for _ in 0..GC_PER_INSERT {
            self.gc_step(now);
        }
        self.stats.drop += 1;
        Err(TableFull)
    }

    /// The confirmed connection that has `tuple`, and in which direction. Forgets it when it has expired.
    #[inline]
    pub fn find(&mut self, tuple: &Tuple, now: Instant) -> Option<(ConnId, Direction)> {
        let &(slot, direction) = self.by_tuple.get(tuple)?;
        let conn = self.conns.get(slot as usize)?;
        let id = ConnId { slot, serial: conn.serial };
        if conn.expires <= now {
            self.remove(id, now);
            return None;
        }
        Some((id, direction))
    }

    /// The same for somebody who only looks.
    pub(crate) fn peek(&self, tuple: &Tuple, now: Instant) -> Option<&Conn> {
        let conn = self.conns.get(self.by_tuple.get(tuple)?.0 as usize)?;
        (conn.expires > now).then_some(conn)
    }

    /// Whether `reply`, as a connection's translation would have it, belongs to another connection
    /// (`nf_conntrack_tuple_taken`). A connection of the same first packet does not count: that is a race,
    /// settled when the second one is confirmed.
    pub(crate) fn is_taken(&mut self, reply: &Tuple, by: ConnId, now: Instant) -> bool {
        let Some((id, _)) = self.find(reply, now).filter(|(id, _)| *id != by) else {
            return false;
        };
        let original = |id| self.get(id).map(|conn| conn.original);
        if original(id) == original(by) {
            return false;
        }
        self.stats.found += 1;
        true
    }

    /// The connection, if it still exists.
    #[inline]
    pub fn get(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(id.slot as usize).filter(|conn| conn.serial == id.serial)
    }

    pub(crate) fn conn_mut<R>(&mut self, id: ConnId, f: impl FnOnce(&mut Conn) -> R) -> Option<R> {
        let conn = self.conns.get_mut(id.slot as usize)?;
        (conn.serial == id.serial).then(|| f(conn))
    }

    /// Sets the mark of a connection (`CONNMARK`).
    pub fn set_mark(&mut self, id: ConnId, mark: u32) {
        self.conn_mut(id, |conn| {
            if conn.mark != mark {
                conn.mark = mark;
                conn.pending |= Change::Mark as u8;
            }
        });
    }

    /// The packet has got through: its connection enters the table, and whoever listens hears of it.
    /// `false`: in the meantime another connection has taken the same tuple, and the packet is to be dropped
    /// (`nf_conntrack_confirm`). A packet that lost a race harmlessly is given the connection that won.
    #[inline]
    pub fn confirm(&mut self, slot: &mut CtSlot, now: Instant) -> bool {
        let CtSlot::Tracked { conn: id, info } = *slot else { return true };
        let Some(conn) = self.get(id) else { return true };
        if conn.has(status::CONFIRMED) {
            if conn.pending != 0 {
                self.tell_changes(id, now);
            }
            return true;
        }
        info.direction() == Direction::Reply || self.enter(slot, id, now)
    }

    fn enter(&mut self, slot: &mut CtSlot, id: ConnId, now: Instant) -> bool {
        let Some(conn) = self.get(id) else { return true };
        let (original, reply) = (conn.original, conn.reply);
        let other = |found: Option<(ConnId, Direction)>| found.filter(|(found, _)| *found != id);
        let winner = other(self.find(&original, now)).or_else(|| other(self.find(&reply, now)));
        if let Some((winner, _)) = winner {
            return self.resolve_clash(slot, id, winner, now);
        }
        self.by_tuple.insert(original, (id.slot, Direction::Original));
        self.by_tuple.insert(reply, (id.slot, Direction::Reply));
        self.conn_mut(id, |conn| {
            // The time to live counts from here.
            conn.expires += now.since(conn.since);
            conn.status |= status::CONFIRMED;
            conn.pending = 0;
        });
        self.tell(id, EventKind::New, now, None);
        for _ in 0..GC_PER_INSERT {
            self.gc_step(now);
        }
        true
    }

    /// Two packets began the same connection at once (`nf_ct_resolve_clash`). Only UDP can live with that:
    /// its second packet joins the first one's connection, or has one of its own for a second.
    #[cold]
    fn resolve_clash(
        &mut self,
        slot: &mut CtSlot,
        loser: ConnId,
        winner: ConnId,
        now: Instant,
    ) -> bool {
        const NAT_DONE: u16 = status::SRC_NAT_DONE | status::DST_NAT_DONE;
        let (Some(lost), Some(won)) = (self.get(loser), self.get(winner)) else { return true };
        let (lost_original, lost_reply) = (lost.original, lost.reply);
        let is_loose = lost.original.protocol == protocol::UDP;
        let are_same = |won: &Conn| (won.original, won.reply) == (lost_original, lost_reply);
        if is_loose && (won.status & NAT_DONE == 0 || are_same(won)) {
            let is_reply = self.by_tuple.get(&lost_original).is_some_and(|&(slot, direction)| {
                slot == winner.slot && direction == Direction::Reply
            });
            let info = match is_reply {
                true => super::CtInfo::Established(Direction::Reply),
                false => super::CtInfo::New,
            };
            *slot = CtSlot::Tracked { conn: winner, info };
            self.forget(loser);
            self.stats.clash_resolve += 1;
            return true;
        }
        if is_loose && self.find(&lost_reply, now).is_none() {
            self.by_tuple.insert(lost_reply, (loser.slot, Direction::Reply));
            self.conn_mut(loser, |conn| {
                conn.expires = now + base::Duration::from_secs(1);
                conn.status |= status::FIXED_TIMEOUT | status::NAT_CLASH | status::CONFIRMED;
            });
            self.stats.clash_resolve += 1;
            return true;
        }
        self.stats.drop += 1;
        self.stats.insert_failed += 1;
        self.forget(loser);
        false
    }

    /// The packet did not get through: a connection that it began is forgotten.
    #[inline]
    pub fn discard(&mut self, slot: CtSlot) {
        let CtSlot::Tracked { conn, .. } = slot else { return };
        const KEPT: u16 = status::CONFIRMED | status::DYING;
        if self.get(conn).is_some_and(|conn| conn.status & KEPT == 0) {
            self.forget(conn);
        }
    }

    /// The packet did not get through, but its sender is to be told: a connection that it began is kept for
    /// the answer, which [`CtSlot::of_answer`] ties to it.
    pub fn discard_answered(&mut self, slot: CtSlot) {
        let CtSlot::Tracked { conn: id, .. } = slot else { return };
        if self.get(id).is_some_and(|conn| !conn.has(status::CONFIRMED)) {
            self.conn_mut(id, |conn| conn.status |= status::DYING);
            self.linger(id);
        }
    }

    /// Forgets a connection.
    pub fn remove(&mut self, id: ConnId, now: Instant) {
        self.remove_by(id, now, None);
    }

    /// Forgets a connection because the program `portid` says so.
    pub fn remove_by(&mut self, id: ConnId, now: Instant, portid: Option<u32>) {
        self.conn_mut(id, |conn| conn.until = Some(now));
        self.tell(id, EventKind::Destroy, now, portid);
        self.forget(id);
    }

    /// Forgets a connection whose last packet is still on its way: it is in the table no more, but the packet
    /// can still be translated (`nf_ct_kill`).
    pub(super) fn kill(&mut self, id: ConnId, now: Instant) {
        self.conn_mut(id, |conn| conn.until = Some(now));
        self.tell(id, EventKind::Destroy, now, None);
        self.unhash(id);
        self.conn_mut(id, |conn| conn.status |= status::DYING);
        self.linger(id);
    }

    fn linger(&mut self, id: ConnId) {
        self.lingering.push_back(id);
        if self.lingering.len() > LINGER_MAX
            && let Some(oldest) = self.lingering.pop_front()
        {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, id: ConnId) {
        if self.get(id).is_some() {
            self.unhash(id);
            self.conns.remove(id.slot as usize);
        }
    }

    /// Takes a connection out of everything that leads to it.
    fn unhash(&mut self, id: ConnId) {
        let Some(conn) = self.get(id) else { return };
        let (original, reply) = (conn.original, conn.reply);
        if conn.has(status::CONFIRMED) {
            for tuple in [original, reply] {
                if self.by_tuple.get(&tuple).is_some_and(|&(slot, _)| slot == id.slot) {
                    self.by_tuple.remove(&tuple);
                }
            }
        }
        self.unlink_source(id);
    }

    /// Remembers that the source of this connection has been decided (`nf_nat_bysource`).
    pub(crate) fn remember_source(&mut self, id: ConnId) {
        // One that is dying is not to be a model for others.
        let is_wanted = |conn: &&Conn| !conn.source_links.is_linked && !conn.has(status::DYING);
        let Some(conn) = self.get(id).filter(is_wanted) else { return };
        let next = self.by_source.insert(source_of(&conn.original), id.slot);
        if let Some(next) = next.and_then(|next| self.conns.get_mut(next as usize)) {
            next.source_links.previous = Some(id.slot);
        }
        self.conn_mut(id, |conn| {
            conn.source_links = SourceLinks { is_linked: true, previous: None, next };
        });
    }

    fn unlink_source(&mut self, id: ConnId) {
        let Some(conn) = self.get(id) else { return };
        let (links, source) = (conn.source_links, source_of(&conn.original));
        if !links.is_linked {
            return;
        }
        match links.previous.and_then(|previous| self.conns.get_mut(previous as usize)) {
            Some(previous) => previous.source_links.next = links.next,
            None => {
                match links.next {
                    Some(next) => self.by_source.insert(source, next),
                    None => self.by_source.remove(&source),
                };
            }
        }
        if let Some(next) = links.next.and_then(|next| self.conns.get_mut(next as usize)) {
            next.source_links.previous = links.previous;
        }
        self.conn_mut(id, |conn| conn.source_links = SourceLinks::default());
    }

    /// The connections from the same source whose translation has been decided, the latest first.
    pub(crate) fn same_source(&self, tuple: &Tuple) -> impl Iterator<Item = &Conn> {
        let first = self.by_source.get(&source_of(tuple)).copied();
        let conn_at = |slot: u32| self.conns.get(slot as usize);
        std::iter::successors(first.and_then(conn_at), move |conn| {
            conn.source_links.next.and_then(conn_at)
        })
    }

    // ---- making room -----------------------------------------------------------------------------------

    /// Looks at one more connection and forgets it if its time has come.
    fn gc_step(&mut self, now: Instant) {
        let Some(id) = self.next_place() else { return };
        let Some(conn) = self.get(id) else { return };
        // 95 % is where the kernel's sweeper stops to be strict.
        let is_crowded = self.is_pressed && self.count() >= self.settings.max / 100 * 95;
        let may_go = conn.expires <= now
            || (is_crowded && (!conn.has(status::ASSURED) || conn.is_closing()));
        if !conn.has(status::CONFIRMED) {
            // Its packet was lost and nobody said so.
            if conn.expires <= now && !conn.has(status::DYING) {
                self.forget(id);
            }
        } else if may_go && !conn.has(status::DYING) {
            self.remove(id, now);
        }
        if self.gc_at == 0 {
            self.is_pressed = false;
        }
    }

    fn next_place(&mut self) -> Option<ConnId> {
        let capacity = self.conns.capacity() as u32;
        self.gc_at = if self.gc_at + 1 >= capacity { 0 } else { self.gc_at + 1 };
        let conn = self.conns.get(self.gc_at as usize)?;
        Some(ConnId { slot: self.gc_at, serial: conn.serial })
    }

    /// Forgets all that has expired by now in the order of their expiry, and says how many that were.
    pub fn gc(&mut self, now: Instant) -> usize {
        let mut due: Vec<(Instant, ConnId)> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.expires <= now && !conn.has(status::DYING))
            .map(|(slot, conn)| (conn.expires, ConnId { slot: slot as u32, serial: conn.serial }))
            .collect();
        base::order::sort_by_key(&mut due, |(expires, id)| (*expires, id.serial));
        due.iter().for_each(|(_, id)| self.remove(*id, now));
        due.len()
    }

    /// Makes room by forgetting a connection that is over or that nobody needs (`early_drop`).
    ///
    /// The kernel looks into eight buckets of its hash table. How many connections it finds there depends on
    /// how full the table is for its size: with a limit far below the number of buckets it finds none, and
    /// the packet is dropped. So many are looked at here.
    fn early_drop(&mut self, tuple: &Tuple, now: Instant) -> bool {
        let hash = mixed(tuple);
        let buckets = u64::from(self.settings.buckets.max(1));
        // Each connection stands in two buckets. The fraction is decided by the tuple.
        let expected = EARLY_DROP_BUCKETS * 2 * u64::from(self.count());
        let looks = expected / buckets + u64::from(hash % buckets < expected % buckets);
        let capacity = self.conns.capacity().max(1) as u64;
        let mut dropped = 0;
        for at in 0..looks {
            let slot = ((hash >> 32).wrapping_add(at) % capacity) as u32;
            let Some(conn) = self.conns.get(slot as usize) else { continue };
            if !conn.has(status::CONFIRMED) || conn.has(status::DYING) {
                continue;
            }
            let id = ConnId { slot, serial: conn.serial };
            if conn.expires <= now {
                self.remove(id, now);
            } else if !conn.has(status::ASSURED) {
                self.remove(id, now);
                dropped += 1;
                break;
            }
        }
        self.stats.early_drop += dropped;
        dropped > 0 || self.has_room()
    }

    // ---- looking, deleting, listening --------------------------------------------------------------------

    /// `nf_conntrack_count`: connections that exist, those not yet swept up included.
    #[inline]
    pub fn count(&self) -> u32 {
        (self.conns.len() - self.lingering.len().min(self.conns.len())) as u32
    }

    /// The value of a sysctl, `nf_conntrack_count` included; what is set goes to [`Settings::set`].
    pub fn sysctl(&self, name: &str) -> Option<u64> {
        match name.rsplit(['.', '/']).next() {
            Some("nf_conntrack_count") => Some(u64::from(self.count())),
            _ => self.settings.get(name),
        }
    }

    /// The connections in the table at `now`, in the order of their beginning.
    pub fn entries(&self, now: Instant) -> Vec<(ConnId, &Conn)> {
        const HIDDEN: u16 = status::DYING | status::NAT_CLASH;
        let mut entries: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.has(status::CONFIRMED) && conn.status & HIDDEN == 0)
            .filter(|(_, conn)| conn.expires > now)
            .map(|(slot, conn)| (ConnId { slot: slot as u32, serial: conn.serial }, conn))
            .collect();
        base::order::sort_by_key(&mut entries, |(id, _)| id.serial);
        entries
    }

    /// The connections that fit a filter, in the order of their beginning.
    pub fn select(&self, filter: &Filter, now: Instant) -> Vec<(ConnId, &Conn)> {
        let mut entries = self.entries(now);
        entries.retain(|(_, conn)| filter.matches(conn));
        entries
    }

    /// Forgets the connections that fit a filter; `portid` is the program that wants it. Says which they were.
    pub fn delete(&mut self, filter: &Filter, now: Instant, portid: Option<u32>) -> Vec<Conn> {
        let chosen: Vec<(ConnId, Conn)> =
            self.select(filter, now).into_iter().map(|(id, conn)| (id, conn.clone())).collect();
        chosen
            .into_iter()
            .map(|(id, conn)| {
                self.remove_by(id, now, portid);
                conn
            })
            .collect()
    }

    /// Forgets everything that is in the table.
    pub fn flush(&mut self, now: Instant, portid: Option<u32>) {
        self.delete(&Filter::default(), now, portid);
    }

    /// An interface went down: connections that were masqueraded by its address are over
    /// (`masq_device_event`).
    pub fn masquerade_down(&mut self, iface: IfName, now: Instant) {
        self.remove_where(now, |conn| conn.masquerade == iface);
    }

    /// An address was taken from an interface: connections masqueraded by it are over
    /// (`masq_inet_event`).
    pub fn masquerade_address_gone(&mut self, iface: IfName, addr: Ipv4Addr, now: Instant) {
        self.remove_where(now, |conn| conn.masquerade == iface && conn.reply.dst == addr);
    }

    fn remove_where(&mut self, now: Instant, fits: impl Fn(&Conn) -> bool) {
        let chosen: Vec<ConnId> = self
            .entries(now)
            .into_iter()
            .filter(|(_, conn)| !conn.masquerade.is_none() && fits(conn))
            .map(|(id, _)| id)
            .collect();
        chosen.into_iter().for_each(|id| self.remove(id, now));
    }

    /// From now on events are kept for this listener, until it is dropped.
    pub fn listen(&mut self) -> Listener {
        self.events.listen()
    }

    /// The next thing a listener has not heard yet.
    pub fn hear(&self, listener: &mut Listener) -> Option<Heard> {
        self.events.hear(listener)
    }

    #[cold]
    pub(super) fn tell_changes(&mut self, id: ConnId, now: Instant) {
        self.conn_mut(id, |conn| conn.pending = 0);
        self.tell(id, EventKind::Update, now, None);
    }

    pub(super) fn tell(&mut self, id: ConnId, kind: EventKind, at: Instant, portid: Option<u32>) {
        if !self.events.has_listener() {
            return;
        }
        let is_told = |conn: &&Conn| {
            conn.is_watched && conn.has(status::CONFIRMED) && !conn.has(status::DYING)
        };
        let Some(conn) = self.get(id).filter(is_told).cloned() else { return };
        self.events.push(Event { at, kind, conn, portid });
    }
}
