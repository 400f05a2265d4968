//! What the hooks do to a forwarded packet of an established connection, so that the next ones need not be
//! asked about hook by hook (`net/netfilter/nf_flow_table_core.c`; there it has to be asked for by a rule, here
//! nobody sees a difference).
//!
//! A passage is noted while a packet goes through PREROUTING, FORWARD and POSTROUTING
//! ([`Netfilter::begin_passage`], [`Netfilter::end_passage`]) and repeated for later packets between the same
//! addresses, be they of this connection or of another ([`Netfilter::pass_along`]): connection tracking in full,
//! then the counters of the rules that fitted, then the rewriting that the connection asks for.
//!
//! **Invariant:** a packet that is passed along, its connection and all counters are as if it had gone from hook
//! to hook. Noted is only what [`crate::memo`] knows to depend on nothing but addresses, interfaces, marks, the
//! state of the connection and, in a narrow passage, ports.

use std::net::Ipv4Addr;

use base::Instant;
use packet::Packet;
use smallvec::SmallVec;

use crate::conntrack::{Conn, CtInfo, CtSlot, Direction, Tuple, status};
use crate::firewall::Netfilter;
use crate::hook::{Hook, TableName};
use crate::iface::IfName;
use crate::memo::Key;
use crate::nat;
use crate::table::ChainId;

/// More rules than that are not noted.
const COUNTED_MAX: usize = 64;

/// What fits a packet: a rule by its number (counting from 0), or the policy of a built-in chain.
#[derive(Clone, Copy, Debug)]
struct Counted {
    table: TableName,
    chain: ChainId,
    rule: Option<u32>,
}

/// What happens to packets of one direction of established connections.
#[derive(Clone, Debug)]
pub struct Passage {
    direction: Direction,
    /// Which ends of the connection are translated: bits of [`status`].
    translated: u16,
    /// Source and destination of the packet as it leaves.
    leaves: (Ipv4Addr, Ipv4Addr),
    /// The interface by which it leaves.
    oif: IfName,
    /// Of the tables.
    version: u64,
    counted: SmallVec<[Counted; 8]>,
    is_narrow: bool,
}

const TRANSLATED: u16 = status::SRC_NAT | status::DST_NAT;

impl Passage {
    /// Rules have looked at ports: it is only for packets with the same.
    pub fn is_narrow(&self) -> bool {
        self.is_narrow
    }

    /// Whether it is for packets of this connection.
    fn is_for(&self, conn: &Conn) -> bool {
        let leaves = conn.tuple(self.direction.opposite());
        (leaves.dst, leaves.src) == self.leaves
            && conn.status & TRANSLATED == self.translated
            && !nat::has_moved(
                conn,
                CtInfo::Established(self.direction),
                Hook::Postrouting,
                self.oif,
            )
    }
}

/// A passage that is being noted, if it is.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    is_wanted: bool,
    passage: Option<Passage>,
}

impl Draft {
    /// The packet's connection is known.
    pub(crate) fn track(&mut self, slot: CtSlot, conn: Option<&Conn>, version: u64) {
        let is_wanted = std::mem::take(&mut self.is_wanted);
        if let (true, CtSlot::Tracked { info: CtInfo::Established(direction), .. }, Some(conn)) =
            (is_wanted, slot, conn)
        {
            let leaves = conn.tuple(direction.opposite());
            self.passage = Some(Passage {
                direction,
                translated: conn.status & TRANSLATED,
                leaves: (leaves.dst, leaves.src),
                oif: IfName::NONE,
                version,
                counted: SmallVec::new(),
                is_narrow: false,
            });
        }
    }

    /// Rules looked at these bits of the packet.
    pub(crate) fn looked_at(&mut self, mask: &Key) {
        if mask.has_flags() {
            return self.spoil();
        }
        if let Some(passage) = &mut self.passage {
            passage.is_narrow |= mask.has_ports();
        }
    }

    /// Something is being noted.
    pub(crate) fn is_open(&self) -> bool {
        self.passage.is_some()
    }

    /// The packet leaves by an interface.
    pub(crate) fn leave(&mut self, oif: IfName) {
        if let Some(passage) = &mut self.passage {
            passage.oif = oif;
        }
    }

    /// A rule fits, or a policy is reached.
    pub(crate) fn count(&mut self, table: TableName, chain: ChainId, rule: Option<u32>) {
        if let Some(passage) = &mut self.passage {
            passage.counted.push(Counted { table, chain, rule });
            if passage.counted.len() > COUNTED_MAX {
                self.passage = None;
            }
        }
    }

    /// Something happens that may be otherwise for the next packet.
    pub(crate) fn spoil(&mut self) {
        self.passage = None;
    }
}

impl Netfilter {
    /// What happens to the next packet is to be noted.
    pub fn begin_passage(&mut self) {
        self.draft = Draft { is_wanted: true, passage: None };
    }

    /// What has happened to the packet since, if it will be the same for the next ones.
    pub fn end_passage(&mut self) -> Option<Passage> {
        self.draft.is_wanted = false;
        self.draft.passage.take()
    }

    /// Takes a packet between the same addresses, that came in and leaves by the same interfaces, through all
    /// hooks; if the passage is narrow, its ports have to be the same, too. `false`: this is not possible, and
    /// nothing has happened.
    pub fn pass_along(&mut self, passage: &Passage, packet: &mut Packet, now: Instant) -> bool {
        if passage.version != self.version {
            return false;
        }
        let direction = passage.direction;
        let Some(tuple) = Tuple::of(packet.head()) else { return false };
        let found = self.conntrack.find(&tuple, now).filter(|found| found.1 == direction);
        let Some((id, _)) = found else { return false };
        if !self.conntrack.get(id).is_some_and(|conn| passage.is_for(conn))
            || !self.conntrack.follow(id, direction, packet, now)
        {
            return false;
        }
        let len = packet.head().total_len;
        for &Counted { table, chain, rule } in &passage.counted {
            if let Some(table) = self.tables.get_mut(table.index()).and_then(Option::as_mut) {
                table.count(chain, rule, len);
            }
        }
        if passage.translated != 0
            && let Some(conn) = self.conntrack.get(id)
        {
            // Only errors about a connection can be untranslatable.
            let info = CtInfo::Established(direction);
            let _ = nat::translate(conn, info, Hook::Prerouting, packet);
            let _ = nat::translate(conn, info, Hook::Postrouting, packet);
        }
        true
    }
}
