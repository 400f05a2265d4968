//! What the hooks do to a forwarded packet of an established connection, so that the next ones need not be
//! asked about hook by hook (`net/netfilter/nf_flow_table_core.c`; there it has to be asked for by a rule, here
//! nobody sees a difference).
//!
//! A passage is noted while a packet goes through PREROUTING, FORWARD and POSTROUTING
//! ([`Netfilter::begin_passage`], [`Netfilter::end_passage`]) and repeated for the packets after it
//! ([`Netfilter::pass_along`]): connection tracking in full, then the counters of the rules that fitted, then
//! the rewriting.
//!
//! **Invariant:** a packet that is passed along, its connection and all counters are as if it had gone from hook
//! to hook. Noted is only what [`crate::memo`] knows to depend on nothing that changes from packet to packet.

use std::net::Ipv4Addr;

use base::Instant;
use packet::Packet;
use packet::ipv4::End;
use smallvec::SmallVec;

use crate::conntrack::{ConnId, CtInfo, CtSlot, Direction};
use crate::firewall::Netfilter;
use crate::hook::TableName;
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

/// What happens to the packets of one direction of a connection.
#[derive(Clone, Debug)]
pub struct Passage {
    conn: ConnId,
    direction: Direction,
    /// Of the tables.
    version: u64,
    counted: SmallVec<[Counted; 8]>,
    /// Which end becomes what.
    rewrites: SmallVec<[(End, Ipv4Addr, Option<u16>); 2]>,
}

impl Passage {
    pub(crate) fn rewrite(&mut self, end: End, addr: Ipv4Addr, port: Option<u16>) {
        self.rewrites.push((end, addr, port));
    }
}

/// A passage that is being noted, if it is.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    is_wanted: bool,
    pub(crate) passage: Option<Passage>,
}

impl Draft {
    /// The packet's connection is known.
    pub(crate) fn track(&mut self, slot: CtSlot, version: u64) {
        let is_wanted = std::mem::take(&mut self.is_wanted);
        if let (true, CtSlot::Tracked { conn, info: CtInfo::Established(direction) }) =
            (is_wanted, slot)
        {
            let (counted, rewrites) = Default::default();
            self.passage = Some(Passage { conn, direction, version, counted, rewrites });
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

    /// Takes a packet with the same addresses and ports, that came in and leaves by the same interfaces,
    /// through all hooks. `false`: this is not possible, and nothing has happened.
    pub fn pass_along(&mut self, passage: &Passage, packet: &mut Packet, now: Instant) -> bool {
        let &Passage { conn, direction, version, .. } = passage;
        if version != self.version || !self.conntrack.follow(conn, direction, packet, now) {
            return false;
        }
        let len = packet.head().total_len;
        for &Counted { table, chain, rule } in &passage.counted {
            if let Some(table) = self.tables.get_mut(table.index()).and_then(Option::as_mut) {
                table.count(chain, rule, len);
            }
        }
        for &(end, addr, port) in &passage.rewrites {
            packet.rewrite(end, addr, port);
        }
        true
    }
}
