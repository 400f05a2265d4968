//! What a table has decided about packets like this one, so that the next one need not walk.
//!
//! While a packet walks, every bit that a rule looks at is noted: the mask. Another packet with the same
//! values under that mask takes the same way, so that only what it leaves behind is repeated: the counters of
//! the rules that fit, and their targets ([`crate::walk`]).
//!
//! **Invariant:** only walks are kept whose every rule decides by nothing but [`Key`]: no rule that draws,
//! counts or remembers, that looks elsewhere, or that changes what the key is made of. Any edit of the table
//! makes all of it invalid. `tests/skips.rs` compares with the walk from rule to rule.
//! **Invariant:** memory is bounded: [`SLOTS`] walks for each hook; a new one takes the place of another.

use packet::{Fragment, Head, L4};

use crate::conntrack::Conntrack;
use crate::ext::plain::Plain;
use crate::ext::{Match, TargetExt};
use crate::firewall::{HookInput, Skb};
use crate::nft::field::{Ct, Meta, Place};
use crate::plan::Shape;
use crate::rule::{AddrMask, RuleSpec, Target, Wanted};
use crate::table::ChainId;

/// Walks kept for one hook of a table.
const SLOTS: usize = 64;
/// Sets of bits told apart for one hook.
const MASKS_MAX: usize = 4;
/// Walks that may be noted without being of use before only few more are.
const CREDIT: u32 = 64;

/// Everything that rules may decide by, or which bits of it they looked at.
///
/// Addresses; ports, protocol, TCP flags and the state of the connection; the mark; the interfaces; the
/// version of what the namespace knows of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key([u64; 8]);

const SPORT: u64 = 0xffff << 48;
const DPORT: u64 = 0xffff << 32;
const PROTOCOL: u64 = 0xff << 24;
const FLAGS: u32 = 16;

impl Key {
    /// The key of a packet; `None`: it is not of the kind that this is for.
    #[inline]
    pub(crate) fn of(input: &HookInput<'_>, skb: &Skb, conntrack: &Conntrack) -> Option<Key> {
        let head = skb.packet.head();
        if head.fragment != Fragment::default() {
            return None;
        }
        let (sport, dport, flags) = match head.l4 {
            L4::Tcp { sport, dport, flags } => (sport, dport, flags),
            L4::Udp { sport, dport } | L4::Sctp { sport, dport } => (sport, dport, 0),
            L4::Icmp { kind, code, .. } => (0, u16::from_be_bytes([kind, code]), 0),
            L4::Other => return None,
        };
        let state = conntrack.state_bits(skb.ct);
        let ports = u64::from(sport) << 48 | u64::from(dport) << 32;
        let rest = u64::from(head.protocol) << 24 | u64::from(flags) << FLAGS | u64::from(state);
        let [iif, oif] = [input.iif.words(), input.oif.words()];
        let addrs = addrs(head);
        let version = input.surroundings.version().unwrap_or_default();
        let mark = u64::from(skb.mark);
        Some(Key([addrs, ports | rest, mark, iif[0], iif[1], oif[0], oif[1], version]))
    }

    #[inline]
    fn masked(&self, mask: &Key) -> Key {
        let mut masked = *self;
        for (word, mask) in masked.0.iter_mut().zip(&mask.0) {
            *word &= mask;
        }
        masked
    }

    #[inline]
    fn slot(&self) -> usize {
        let mixed = self.0.iter().fold(0_u64, |mixed, word| {
            (mixed.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        (mixed >> 48) as usize % SLOTS
    }

    /// Of a mask: rules have looked at ports.
    pub(crate) fn has_ports(&self) -> bool {
        self.0[1] & (SPORT | DPORT) != 0
    }

    /// Of a mask: rules have looked at flags, which are others in every packet.
    pub(crate) fn has_flags(&self) -> bool {
        self.0[1] & (0xff << FLAGS) != 0
    }

    /// Adds what the rules of a long chain are found by.
    pub(crate) fn add_fields(&mut self, fields: Shape) {
        let low = u64::from(u32::MAX);
        for (field, word, bits) in [
            (Shape::SRC, 0, low << 32),
            (Shape::DST, 0, low),
            (Shape::SPORT, 1, SPORT),
            (Shape::DPORT, 1, DPORT),
            (Shape::PROTOCOL, 1, PROTOCOL),
            (Shape::IIF, 3, u64::MAX),
            (Shape::IIF, 4, u64::MAX),
            (Shape::OIF, 5, u64::MAX),
            (Shape::OIF, 6, u64::MAX),
        ] {
            if fields.has(field) {
                self.0[word] |= bits;
            }
        }
    }

    /// Adds the bits that a rule looks at. `false`: it looks at something else, or changes what is looked at.
    pub(crate) fn add_rule(&mut self, spec: &RuleSpec, has_version: bool) -> bool {
        let header = &spec.header;
        let mask = |wanted: Option<Wanted<AddrMask>>| {
            wanted.map_or(0, |wanted| u64::from(wanted.value.mask))
        };
        self.0[0] |= mask(header.src) << 32 | mask(header.dst);
        for (at, pattern) in [(3, header.iif), (5, header.oif)] {
            let [low, high] = pattern.map_or([0; 2], |wanted| wanted.value.mask_words());
            self.0[at] |= low;
            self.0[at + 1] |= high;
        }
        if header.protocol.is_some() {
            self.0[1] |= PROTOCOL;
        }
        for m in &spec.matches {
            match m {
                Match::Comment(_) => {}
                Match::Conntrack(ct) if ct.more.is_none() => {
                    self.0[1] |= ct.state.map_or(0, |wanted| u64::from(wanted.value));
                }
                Match::Mark(mark) => self.0[2] |= u64::from(mark.wanted.value.1),
                Match::Tcp(tcp) if tcp.option.is_none() => {
                    let flags = tcp.flags.map_or(0, |wanted| u64::from(wanted.value.0));
                    self.0[1] |= PROTOCOL | flags << FLAGS;
                    self.add_ports(tcp.sport.is_some(), tcp.dport.is_some());
                }
                Match::Udp(udp) => {
                    self.0[1] |= PROTOCOL;
                    self.add_ports(udp.sport.is_some(), udp.dport.is_some());
                }
                Match::Icmp(_) => self.0[1] |= PROTOCOL | DPORT,
                Match::Addrtype(kind) if has_version => {
                    let whole = |is_asked: bool| if is_asked { u64::from(u32::MAX) } else { 0 };
                    self.0[0] |= whole(kind.src.is_some()) << 32 | whole(kind.dst.is_some());
                    if kind.limit_in || kind.limit_out {
                        self.0[3..7].fill(u64::MAX);
                    }
                    self.0[7] = u64::MAX;
                }
                _ => return false,
            }
        }
        match &spec.target {
            Target::Ext(TargetExt::Mark(_)) => {
                self.0[2] = u64::MAX;
                true
            }
            Target::Ext(TargetExt::Plain(plain)) => !matches!(plain, Plain::Ct { .. }),
            Target::Ext(target) => {
                matches!(target, TargetExt::Nat(_) | TargetExt::Reject(_) | TargetExt::Log(_))
            }
            _ => true,
        }
    }

    /// Adds the bits of what a rule of nftables looks at. `false`: it looks at something else.
    pub(crate) fn add_place(&mut self, place: Place) -> bool {
        let low = u64::from(u32::MAX);
        match place {
            Place::Network(96, 32) => self.0[0] |= low << 32,
            Place::Network(128, 32) => self.0[0] |= low,
            Place::Network(72, 8) | Place::Meta(Meta::L4proto) => self.0[1] |= PROTOCOL,
            Place::Transport(_, bit @ (0 | 16), 16) => {
                self.0[1] |= PROTOCOL;
                self.add_ports(bit == 0, bit == 16);
            }
            Place::Meta(Meta::Mark) => self.0[2] = u64::MAX,
            Place::Meta(Meta::Iif | Meta::Iifname) => self.0[3..5].fill(u64::MAX),
            Place::Meta(Meta::Oif | Meta::Oifname) => self.0[5..7].fill(u64::MAX),
            Place::Meta(Meta::Nfproto | Meta::Protocol) => {}
            Place::Ct(Ct::State, _) => self.0[1] |= u64::from(u8::MAX),
            _ => return false,
        }
        true
    }

    fn add_ports(&mut self, sport: bool, dport: bool) {
        self.0[1] |= if sport { SPORT } else { 0 } | if dport { DPORT } else { 0 };
    }
}

fn addrs(head: &Head) -> u64 {
    u64::from(u32::from(head.src)) << 32 | u64::from(u32::from(head.dst))
}

/// The rules that fit a packet, in the order in which it meets them: their chains and numbers from 0.
pub(crate) type Fitted<'a> = &'a [(ChainId, u32)];

/// A walk as it is being noted.
#[derive(Debug, Default)]
pub(crate) struct Note {
    pub(crate) mask: Key,
    /// The rules that fitted, in order.
    pub(crate) fitted: Vec<(ChainId, u32)>,
}

/// A walk that has been noted.
#[derive(Clone, Debug, Default)]
struct Kept {
    key: Key,
    /// Number of the mask, from 1; 0: there is nothing here.
    mask: usize,
    fitted: Box<[(ChainId, u32)]>,
}

/// The walks of one hook of a table.
#[derive(Clone, Debug)]
pub(crate) struct Memo {
    /// The table's when they were noted.
    generation: u64,
    masks: Vec<Key>,
    slots: Vec<Kept>,
    credit: u32,
}

impl Default for Memo {
    fn default() -> Self {
        Memo { generation: 0, masks: Vec::new(), slots: Vec::new(), credit: CREDIT }
    }
}

impl Memo {
    /// The rules that a packet with this key fits, as far as it gets.
    #[inline]
    pub(crate) fn find(&mut self, key: &Key, generation: u64) -> Option<(&Key, Fitted<'_>)> {
        if self.generation != generation {
            *self = Memo { generation, ..Memo::default() };
        }
        for (number, mask) in (1..).zip(&self.masks) {
            let masked = key.masked(mask);
            let kept = self.slots.get(masked.slot())?;
            if kept.mask == number && kept.key == masked {
                self.credit = (self.credit + 1).min(CREDIT);
                return Some((mask, &kept.fitted));
            }
        }
        None
    }

    /// Whether a walk is worth being noted: not where hardly any comes back.
    pub(crate) fn wants_note(&mut self) -> bool {
        self.credit = self.credit.saturating_sub(1);
        self.credit > 0
    }

    /// Keeps the walk of a packet with this key.
    pub(crate) fn keep(&mut self, key: &Key, note: Note) {
        let known = self.masks.iter().position(|mask| *mask == note.mask);
        if known.is_none() && self.masks.len() >= MASKS_MAX {
            self.masks.clear();
            self.slots.clear();
        }
        let at = known.unwrap_or(self.masks.len());
        if at == self.masks.len() {
            self.masks.push(note.mask);
        }
        self.slots.resize(SLOTS, Kept::default());
        let key = key.masked(&note.mask);
        if let Some(slot) = self.slots.get_mut(key.slot()) {
            *slot = Kept { key, mask: at + 1, fitted: note.fitted.into() };
        }
    }
}
