//! What a rule says: header, matches, target.

use std::fmt;
use std::net::Ipv4Addr;
use std::rc::Rc;

use packet::Head;

use crate::ext::{EVERY_HOOK, Match, TargetExt};
use crate::hook::TableName;
use crate::iface::{IfName, IfPattern};
use crate::trace::{Field, Miss, Seen};

/// A value that a rule compares with, or with `!` before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<T> {
    /// `!`: anything but the value.
    pub not: bool,
    /// The value.
    pub value: T,
}

impl<T> Wanted<T> {
    /// The value itself.
    pub fn is(value: T) -> Self {
        Wanted { not: false, value }
    }

    /// Anything but the value.
    pub fn is_not(value: T) -> Self {
        Wanted { not: true, value }
    }

    /// `"! "` or nothing: what stands before the option.
    pub(crate) fn bang(&self) -> &'static str {
        if self.not { "! " } else { "" }
    }
}

/// An address and the bits of it that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddrMask {
    /// The address; bits outside the mask are zero.
    pub addr: Ipv4Addr,
    /// The mask, not necessarily a prefix.
    pub mask: u32,
}

impl Default for AddrMask {
    /// Any address.
    fn default() -> Self {
        AddrMask { addr: Ipv4Addr::UNSPECIFIED, mask: 0 }
    }
}

impl AddrMask {
    /// `addr/len`; a length above 32 counts as 32.
    pub fn prefix(addr: Ipv4Addr, len: u8) -> AddrMask {
        let mask = u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0);
        AddrMask { addr: Ipv4Addr::from(u32::from(addr) & mask), mask }
    }

    /// Exactly this host.
    pub fn host(addr: Ipv4Addr) -> AddrMask {
        AddrMask::prefix(addr, 32)
    }

    /// Whether `addr` is meant.
    pub fn contains(&self, addr: Ipv4Addr) -> bool {
        u32::from(addr) & self.mask == u32::from(self.addr)
    }

    /// The length, when the mask is a prefix.
    pub fn prefix_len(&self) -> Option<u32> {
        let ones = self.mask.leading_ones();
        (self.mask.count_ones() == ones).then_some(ones)
    }
}

impl fmt::Display for AddrMask {
    /// `10.96.0.10/32`, as `iptables-save` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix_len() {
            Some(len) => write!(f, "{}/{len}", self.addr),
            None => write!(f, "{}/{}", self.addr, Ipv4Addr::from(self.mask)),
        }
    }
}

/// The part of a rule that every rule has; what is `None` fits every packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `-s`
    pub src: Option<Wanted<AddrMask>>,
    /// `-d`
    pub dst: Option<Wanted<AddrMask>>,
    /// `-i`
    pub iif: Option<Wanted<IfPattern>>,
    /// `-o`
    pub oif: Option<Wanted<IfPattern>>,
    /// `-p`, by number
    pub protocol: Option<Wanted<u8>>,
    /// `-f`: second and further fragments; `!`: not those
    pub fragment: Option<Wanted<()>>,
}

impl Header {
    /// The first field that does not fit, if any.
    #[inline]
    pub(crate) fn check(&self, head: &Head, iif: IfName, oif: IfName) -> Result<(), Miss> {
        if let Some(src) = self.src
            && src.value.contains(head.src) == src.not
        {
            return Err(Miss::new(Field::Source, Seen::Addr(head.src)));
        }
        if let Some(dst) = self.dst
            && dst.value.contains(head.dst) == dst.not
        {
            return Err(Miss::new(Field::Destination, Seen::Addr(head.dst)));
        }
        if let Some(wanted) = self.iif
            && wanted.value.matches(iif) == wanted.not
        {
            return Err(Miss::new(Field::InInterface, Seen::Iface(iif)));
        }
        if let Some(wanted) = self.oif
            && wanted.value.matches(oif) == wanted.not
        {
            return Err(Miss::new(Field::OutInterface, Seen::Iface(oif)));
        }
        if let Some(protocol) = self.protocol
            && (protocol.value == head.protocol) == protocol.not
        {
            return Err(Miss::new(Field::Protocol, Seen::Protocol(head.protocol)));
        }
        if let Some(fragment) = self.fragment
            && (head.fragment.offset != 0) == fragment.not
        {
            return Err(Miss::new(Field::Fragment, Seen::Number(u32::from(head.fragment.offset))));
        }
        Ok(())
    }
}

/// What a rule does with a packet that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// No `-j`: count it and go on with the next rule.
    Continue,
    /// Terminal: the table is done with the packet.
    Accept,
    /// Terminal: the packet is gone.
    Drop,
    /// Back to the calling chain; from a built-in chain, to its policy.
    Return,
    /// `-j CHAIN`: go through a chain, and come back after its end.
    Jump(Rc<str>),
    /// `-g CHAIN`: go through a chain; its end returns to where *this* chain was called from.
    Goto(Rc<str>),
    /// An extension, see [`TargetExt`].
    Ext(TargetExt),
}

/// A rule without its counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Addresses, interfaces, protocol.
    pub header: Header,
    /// `-m …`, in the order given.
    pub matches: Vec<Match>,
    /// `-j …`
    pub target: Target,
    /// Whatever the maker of the rule wants to find again; 0 for none. Not part of the text.
    pub origin: u64,
}

impl RuleSpec {
    /// A rule that fits everything.
    pub fn new(target: Target) -> Self {
        RuleSpec { header: Header::default(), matches: Vec::new(), target, origin: 0 }
    }

    /// Asks about connections, so that tracking must be on.
    pub(crate) fn uses_conntrack(&self) -> bool {
        self.matches.iter().any(Match::uses_conntrack)
            || matches!(&self.target, Target::Ext(ext) if ext.uses_conntrack())
    }

    /// Targets that make sense in one table only are refused in another, and so is what the kernel's
    /// extensions refuse to be in a rule with.
    pub(crate) fn check_table(&self, table: TableName) -> Result<(), TargetElsewhere> {
        // Nothing can come from nowhere (`nft_cmp` against an empty mask).
        let is_never = |w: &Option<Wanted<AddrMask>>| w.is_some_and(|w| w.not && w.value.mask == 0);
        let header = &self.header;
        let is_sound = !is_never(&header.src)
            && !is_never(&header.dst)
            && self.matches.iter().all(|m| m.is_sound(table, header));
        match &self.target {
            _ if !is_sound => Err(TargetElsewhere),
            Target::Ext(ext) if !ext.is_sound(header) => Err(TargetElsewhere),
            Target::Ext(ext) => ext.check_table(table),
            _ => Ok(()),
        }
    }

    /// Where the kernel lets the rule stand, a bit for each hook.
    pub(crate) fn hooks(&self) -> u8 {
        let target = match &self.target {
            Target::Ext(ext) => ext.hooks(),
            _ => EVERY_HOOK,
        };
        self.matches.iter().fold(target, |hooks, m| hooks & m.hooks())
    }
}

/// The kernel would not take the rule in this table (for instance `DNAT` in `filter`), or in any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetElsewhere;
