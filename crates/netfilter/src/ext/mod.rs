//! Match and target extensions, one file each: what it stores, its options, its text, its decision.
//!
//! In reading order:
//! - what a header says: [`tcp`], [`udp`], [`sctp`], [`icmp`], [`multiport`], [`length`], [`ttl`], [`tos`]
//!   (and DSCP), [`iprange`], [`addrtype`];
//! - where it came from: [`link`] (mac, pkttype, physdev), [`owner`], [`rpfilter`];
//! - what is known of its connection: [`conntrack`] (and state), [`mark`] (and connmark), [`connbytes`];
//! - what has been counted: [`limit`], [`hashlimit`], [`connlimit`], [`quota`], [`recent`], [`statistic`], [`nfacct`];
//! - sets of addresses: [`set`]; virtual services: [`ipvs`]; and [`comment`];
//! - targets: [`mark`] (MARK, CONNMARK), [`nat`], [`reject`], [`log`] (LOG, NFLOG), [`plain`] (CT, NOTRACK,
//!   TRACE, CHECKSUM), [`tcpmss`], [`tos`] (TOS, DSCP), [`ttl`], [`set`];
//! - [`names`]: which extension a name means, and which of iptables' are not here.

pub mod addrtype;
pub mod comment;
pub mod connbytes;
pub mod connlimit;
pub mod conntrack;
pub mod hashlimit;
pub mod icmp;
pub mod iprange;
pub mod ipvs;
pub mod length;
pub mod limit;
pub mod link;
pub mod log;
pub mod mark;
pub mod multiport;
mod names;
pub mod nat;
pub mod nfacct;
pub mod owner;
pub mod plain;
pub mod quota;
pub mod recent;
pub mod reject;
pub mod rpfilter;
pub mod sctp;
pub mod set;
pub mod statistic;
pub mod tcp;
pub mod tcpmss;
pub mod tos;
pub mod ttl;
pub mod udp;

use std::fmt::Write as _;

use base::{Instant, Rng};
use packet::Head;

use crate::conntrack::{Conn, Conntrack, CtSlot};
use crate::firewall::{Skb, Surroundings};
use crate::hook::{Hook, TableName};
use crate::iface::IfName;
use crate::ipset;
use crate::rule::{Header, TargetElsewhere};
use crate::text::ParseError;
use crate::text::options::{Given, Options};
use crate::trace::{Field, Miss};

pub(crate) use names::{is_protocol_match, is_target, match_parser, target_parser};

/// A match extension with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `-m addrtype`
    Addrtype(addrtype::Addrtype),
    /// `-m comment`
    Comment(String),
    /// `-m connbytes`
    Connbytes(connbytes::Connbytes),
    /// `-m connlimit`
    Connlimit(connlimit::Connlimit),
    /// `-m connmark`
    Connmark(mark::MarkMatch),
    /// `-m conntrack` or `-m state`
    Conntrack(conntrack::CtMatch),
    /// `-m dscp` or `-m tos`
    Tos(tos::TosMatch),
    /// `-m hashlimit`
    Hashlimit(hashlimit::Hashlimit),
    /// `-m icmp`
    Icmp(icmp::Icmp),
    /// `-m iprange`
    Iprange(iprange::Iprange),
    /// `-m ipvs`
    Ipvs(ipvs::IpvsMatch),
    /// `-m length`
    Length(length::Length),
    /// `-m limit`
    Limit(limit::Limit),
    /// `-m mac`
    MacSource(link::MacSource),
    /// `-m mark`
    Mark(mark::MarkMatch),
    /// `-m multiport`
    Multiport(multiport::Multiport),
    /// `-m nfacct`
    Nfacct(String),
    /// `-m owner`
    Owner(owner::Owner),
    /// `-m physdev`
    Physdev(link::Physdev),
    /// `-m pkttype`
    PktType(link::PktTypeMatch),
    /// `-m quota`
    Quota(quota::Quota),
    /// `-m recent`
    Recent(recent::Recent),
    /// `-m rpfilter`
    Rpfilter(rpfilter::Rpfilter),
    /// `-m sctp`
    Sctp(sctp::Sctp),
    /// `-m set`
    Set(set::SetMatch),
    /// `-m statistic`
    Statistic(statistic::Statistic),
    /// `-m tcp`
    Tcp(tcp::Tcp),
    /// `-m ttl`
    Ttl(ttl::TtlMatch),
    /// `-m udp`
    Udp(udp::Ports),
}

/// A target extension with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetExt {
    /// `CONNMARK`
    Connmark(mark::SetConnmark),
    /// `LOG`, `NFLOG`
    Log(log::Log),
    /// `MARK`
    Mark(mark::SetMark),
    /// `DNAT`, `SNAT`, `MASQUERADE`, `REDIRECT`, `NETMAP`
    Nat(nat::NatTarget),
    /// `CT`, `NOTRACK`, `TRACE`, `CHECKSUM`
    Plain(plain::Plain),
    /// `REJECT`
    Reject(reject::Reject),
    /// `SET`
    Set(set::SetTarget),
    /// `TCPMSS`
    Tcpmss(tcpmss::Tcpmss),
    /// `TOS`, `DSCP`
    Tos(tos::SetTos),
    /// `TTL`
    Ttl(ttl::SetTtl),
}

/// What the rules of a namespace remember from packet to packet, besides connections.
#[derive(Debug, Default)]
pub struct Stores {
    pub(crate) recent: recent::Lists,
    pub(crate) hashlimit: hashlimit::Tables,
    pub(crate) connlimit: connlimit::Counts,
    /// Sets of addresses.
    pub sets: ipset::Sets,
    /// Named counters.
    pub nfacct: nfacct::Objects,
    /// What `LOG` and `NFLOG` wrote.
    pub log: log::LogBuffer,
}

/// What a match remembers with its rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) value: u64,
    pub(crate) at: Instant,
}

/// What matches may look at, and change of their own state.
pub(crate) struct Facts<'a> {
    pub(crate) head: &'a Head,
    pub(crate) skb: &'a Skb,
    pub(crate) iif: IfName,
    pub(crate) oif: IfName,
    pub(crate) now: Instant,
    pub(crate) conntrack: &'a Conntrack,
    pub(crate) stores: &'a mut Stores,
    pub(crate) rng: &'a mut Rng,
    pub(crate) surroundings: &'a dyn Surroundings,
}

impl Facts<'_> {
    /// The packet's connection.
    pub(crate) fn conn(&self) -> Option<&Conn> {
        match self.skb.ct {
            CtSlot::Tracked { conn, .. } => self.conntrack.get(conn),
            _ => None,
        }
    }
}

/// Bits of hooks, one for each of [`Hook`].
pub(crate) const EVERY_HOOK: u8 = 0b1_1111;

/// The bits of `hooks`.
pub(crate) const fn hook_bits(hooks: &[Hook]) -> u8 {
    let mut bits = 0;
    let mut at = 0;
    while at < hooks.len() {
        bits |= 1 << hooks[at] as u8;
        at += 1;
    }
    bits
}

/// `anything but ` or nothing, for sentences.
pub(crate) fn but(not: bool) -> &'static str {
    if not { "anything but " } else { "" }
}

impl Match {
    /// `Err`: does not fit, and why. `state` is what the match remembers with its rule.
    #[inline]
    pub(crate) fn check(&self, facts: &mut Facts<'_>, state: &mut State) -> Result<(), Miss> {
        match self {
            Match::Addrtype(m) => m.check(facts),
            Match::Comment(_) => Ok(()),
            Match::Connbytes(m) => m.check(facts),
            Match::Connlimit(m) => m.check(facts, state),
            Match::Connmark(m) => m.check_conn(facts.conn().map(|conn| conn.mark)),
            Match::Conntrack(m) => m.check(facts),
            Match::Hashlimit(m) => m.check(facts),
            Match::Icmp(m) => m.check(facts.head),
            Match::Iprange(m) => m.check(facts.head),
            Match::Ipvs(m) => m.check(facts),
            Match::Length(m) => m.check(facts.head),
            Match::Limit(m) => m.check(facts.now, state),
            Match::MacSource(m) => m.check(facts),
            Match::Mark(m) => m.check(facts.skb.mark),
            Match::Multiport(m) => m.check(facts.head),
            Match::Nfacct(name) => nfacct::check(name, facts),
            Match::Owner(m) => m.check(facts),
            Match::Physdev(m) => m.check(facts),
            Match::PktType(m) => m.check(facts),
            Match::Quota(m) => m.check(facts.head, state),
            Match::Recent(m) => m.check(facts),
            Match::Rpfilter(m) => m.check(facts),
            Match::Sctp(m) => m.check(facts),
            Match::Set(m) => m.check(facts),
            Match::Statistic(m) => m.check(facts.rng, state),
            Match::Tcp(m) => m.check(facts),
            Match::Tos(m) => m.check(facts.head),
            Match::Ttl(m) => m.check(facts.head),
            Match::Udp(m) => m.check(facts.head),
        }
    }

    pub(crate) fn uses_conntrack(&self) -> bool {
        use Match::{Connbytes, Connlimit, Connmark, Conntrack, Ipvs};
        matches!(self, Conntrack(_) | Connmark(_) | Connbytes(_) | Connlimit(_) | Ipvs(_))
    }

    /// Asking it leaves nothing behind: no counter moves, no number is drawn, nothing is remembered. What
    /// does not stand here is always asked in its turn ([`crate::plan`]).
    pub(crate) fn is_unnoticed(&self) -> bool {
        use Match::{Addrtype, Comment, Conntrack, Icmp, Mark, Tcp, Udp};
        matches!(
            self,
            Addrtype(_) | Comment(_) | Conntrack(_) | Icmp(_) | Mark(_) | Tcp(_) | Udp(_)
        )
    }

    /// What is wanted in `field`, if this match asks for it, in plain words.
    pub(crate) fn wanted(&self, field: Field) -> Option<String> {
        match self {
            Match::Addrtype(m) => m.wanted(field),
            Match::Comment(_) => None,
            Match::Connbytes(m) => (field == Field::Traffic).then(|| m.wanted()),
            Match::Connlimit(m) => (field == Field::Connections).then(|| m.wanted()),
            Match::Connmark(m) => (field == Field::Connmark).then(|| m.wanted()),
            Match::Conntrack(m) => m.wanted(field),
            Match::Hashlimit(m) => (field == Field::HashRate).then(|| m.wanted()),
            Match::Icmp(m) => (field == Field::IcmpType).then(|| m.wanted()),
            Match::Iprange(m) => m.wanted(field),
            Match::Ipvs(m) => (field == Field::Virtual).then(|| m.wanted()),
            Match::Length(m) => (field == Field::Length).then(|| m.wanted()),
            Match::Limit(m) => (field == Field::Rate).then(|| m.wanted()),
            Match::MacSource(m) => (field == Field::MacSource).then(|| m.wanted()),
            Match::Mark(m) => (field == Field::Mark).then(|| m.wanted()),
            Match::Multiport(m) => m.wanted(field),
            Match::Nfacct(name) => (field == Field::Counter).then(|| name.clone()),
            Match::Owner(m) => m.wanted(field),
            Match::Physdev(m) => m.wanted(field),
            Match::PktType(m) => (field == Field::PacketType).then(|| m.wanted()),
            Match::Quota(m) => (field == Field::Quota).then(|| m.wanted()),
            Match::Recent(m) => (field == Field::Recent).then(|| m.wanted()),
            Match::Rpfilter(m) => (field == Field::ReversePath).then(|| m.wanted()),
            Match::Sctp(m) => m.wanted(field),
            Match::Set(m) => (field == Field::Set).then(|| m.wanted()),
            Match::Statistic(m) => (field == Field::Turn).then(|| m.wanted()),
            Match::Tcp(m) => m.wanted(field),
            Match::Tos(m) => (field == Field::Tos).then(|| m.wanted()),
            Match::Ttl(m) => (field == Field::Ttl).then(|| m.wanted()),
            Match::Udp(m) => udp::wanted_ports(&m.sport, &m.dport, field),
        }
    }

    /// What the match remembers before its rule's first packet; `None`: it remembers nothing.
    pub(crate) fn initial_state(&self) -> Option<State> {
        let value = match self {
            Match::Statistic(m) => m.initial_state()?,
            Match::Limit(m) => m.initial_state(),
            Match::Quota(m) => m.bytes.value,
            // The number of its rule, which it gets with the first packet.
            Match::Connlimit(_) => 0,
            _ => return None,
        };
        Some(State { value, at: Instant::ZERO })
    }

    /// Whether the match remembers something with its rule.
    #[inline]
    pub(crate) fn has_state(&self) -> bool {
        match self {
            Match::Statistic(m) => m.initial_state().is_some(),
            Match::Limit(_) | Match::Quota(_) | Match::Connlimit(_) => true,
            _ => false,
        }
    }

    /// Where the kernel lets a rule with this match stand.
    pub(crate) fn hooks(&self) -> u8 {
        use Hook::{Forward, Input, Output, Postrouting, Prerouting};
        match self {
            Match::Addrtype(m) if m.limit_in => hook_bits(&[Prerouting, Input, Forward]),
            Match::Addrtype(m) if m.limit_out => hook_bits(&[Forward, Output, Postrouting]),
            Match::MacSource(_) => hook_bits(&[Prerouting, Input, Forward]),
            Match::Owner(_) => hook_bits(&[Output, Postrouting]),
            Match::Rpfilter(_) => hook_bits(&[Prerouting]),
            Match::Physdev(m) if m.asks_out() => hook_bits(&[Forward, Postrouting]),
            _ => EVERY_HOOK,
        }
    }

    /// Whether the kernel would take it in a rule with this header.
    pub(crate) fn is_sound(&self, table: TableName, header: &Header) -> bool {
        use packet::protocol::{ICMP, SCTP, TCP, UDP};
        let is = |wanted: u8| header.protocol.is_some_and(|p| p.value == wanted && !p.not);
        let named = |wanted: u8| header.protocol.is_some_and(|p| p.value == wanted);
        match self {
            // nftables compares ports by itself, whatever stands before the protocol.
            Match::Tcp(m) => is(TCP) || (named(TCP) && *m != tcp::Tcp::default()),
            Match::Udp(m) => is(UDP) || (named(UDP) && *m != udp::Ports::default()),
            Match::Sctp(_) => is(SCTP),
            Match::Icmp(_) => is(ICMP),
            Match::Recent(m) => m.is_sound(),
            Match::Hashlimit(m) => m.is_sound(),
            Match::Owner(m) => m.is_sound(),
            Match::Rpfilter(_) => matches!(table, TableName::Raw | TableName::Mangle),
            _ => true,
        }
    }

    /// ` -m tcp --dport 80`, as `iptables-save` prints it.
    pub(crate) fn save(&self, out: &mut String) {
        match self {
            Match::Addrtype(m) => m.save(out),
            Match::Comment(text) => comment::save(text, out),
            Match::Connbytes(m) => m.save(out),
            Match::Connlimit(m) => m.save(out),
            Match::Connmark(m) => m.save("connmark", out),
            Match::Conntrack(m) => m.save(out),
            Match::Hashlimit(m) => m.save(out),
            Match::Icmp(m) => m.save(out),
            Match::Iprange(m) => m.save(out),
            Match::Ipvs(m) => m.save(out),
            Match::Length(m) => m.save(out),
            Match::Limit(m) => m.save(out),
            Match::MacSource(m) => m.save(out),
            Match::Mark(m) => m.save("mark", out),
            Match::Multiport(m) => m.save(out),
            Match::Nfacct(name) => {
                let _ = write!(out, " -m nfacct --nfacct-name {name}");
            }
            Match::Owner(m) => m.save(out),
            Match::Physdev(m) => m.save(out),
            Match::PktType(m) => m.save(out),
            Match::Quota(m) => m.save(out),
            Match::Recent(m) => m.save(out),
            Match::Rpfilter(m) => m.save(out),
            Match::Sctp(m) => m.save(out),
            Match::Set(m) => m.save(out),
            Match::Statistic(m) => m.save(out),
            Match::Tcp(m) => m.save(out),
            Match::Tos(m) => m.save(out),
            Match::Ttl(m) => m.save(out),
            Match::Udp(m) => m.save(out),
        }
    }

    /// ` tcp dpt:80`, as `iptables -L` prints it.
    pub(crate) fn list(&self, out: &mut String) {
        match self {
            Match::Addrtype(m) => m.list(out),
            Match::Comment(text) => {
                let _ = write!(out, " /* {text} */");
            }
            Match::Connbytes(m) => m.list(out),
            Match::Connlimit(m) => m.list(out),
            Match::Connmark(m) => m.list("connmark match", out),
            Match::Conntrack(m) => m.list(out),
            Match::Hashlimit(m) => m.list(out),
            Match::Icmp(m) => m.list(out),
            Match::Iprange(m) => m.list(out),
            Match::Ipvs(m) => m.list(out),
            Match::Length(m) => m.list(out),
            Match::Limit(m) => m.list(out),
            Match::MacSource(m) => m.list(out),
            Match::Mark(m) => m.list("mark match", out),
            Match::Multiport(m) => m.list(out),
            Match::Nfacct(name) => {
                let _ = write!(out, " nfacct-name  {name}");
            }
            Match::Owner(m) => m.list(out),
            Match::Physdev(m) => m.list(out),
            Match::PktType(m) => m.list(out),
            Match::Quota(m) => m.list(out),
            Match::Recent(m) => m.list(out),
            Match::Rpfilter(m) => m.list(out),
            Match::Sctp(m) => m.list(out),
            Match::Set(m) => m.list(out),
            Match::Statistic(m) => m.list(out),
            Match::Tcp(m) => m.list(out),
            Match::Tos(m) => m.list(out),
            Match::Ttl(m) => m.list(out),
            Match::Udp(m) => m.list(out),
        }
    }
}

impl TargetExt {
    /// The name after `-j`.
    pub fn name(&self) -> &'static str {
        match self {
            TargetExt::Connmark(_) => "CONNMARK",
            TargetExt::Log(t) => t.name(),
            TargetExt::Mark(_) => "MARK",
            TargetExt::Nat(t) => t.name(),
            TargetExt::Plain(t) => t.name(),
            TargetExt::Reject(_) => "REJECT",
            TargetExt::Set(_) => "SET",
            TargetExt::Tcpmss(_) => "TCPMSS",
            TargetExt::Tos(t) => t.name(),
            TargetExt::Ttl(_) => "TTL",
        }
    }

    /// The name in lists: there the two forms of `CT` have one.
    pub(crate) fn listed_name(&self) -> &'static str {
        match self {
            TargetExt::Plain(plain::Plain::Ct { .. }) => "CT",
            other => other.name(),
        }
    }

    pub(crate) fn uses_conntrack(&self) -> bool {
        matches!(self, TargetExt::Nat(_) | TargetExt::Connmark(_))
    }

    pub(crate) fn check_table(&self, table: TableName) -> Result<(), TargetElsewhere> {
        use TableName::{Filter, Mangle, Nat, Raw};
        let fits = match self {
            TargetExt::Nat(_) => table == Nat,
            TargetExt::Reject(_) => table == Filter,
            TargetExt::Ttl(_) | TargetExt::Tos(_) => table == Mangle,
            TargetExt::Plain(plain::Plain::Checksum) => table == Mangle,
            TargetExt::Plain(plain::Plain::Ct { .. }) => table == Raw,
            _ => true,
        };
        if fits { Ok(()) } else { Err(TargetElsewhere) }
    }

    /// Where the kernel lets a rule with this target stand.
    pub(crate) fn hooks(&self) -> u8 {
        use Hook::{Forward, Input, Output, Postrouting, Prerouting};
        match self {
            TargetExt::Nat(t) => t.hooks(),
            TargetExt::Reject(_) => hook_bits(&[Input, Forward, Output]),
            TargetExt::Plain(plain::Plain::Ct { .. }) => hook_bits(&[Prerouting, Output]),
            TargetExt::Tcpmss(tcpmss::Tcpmss::Clamp) => hook_bits(&[Forward, Output, Postrouting]),
            _ => EVERY_HOOK,
        }
    }

    /// Whether the kernel would take it in a rule with this header.
    pub(crate) fn is_sound(&self, header: &Header) -> bool {
        let is_tcp = header.protocol.is_some_and(|p| p.value == packet::protocol::TCP && !p.not);
        match self {
            TargetExt::Reject(reject::Reject::TcpReset) | TargetExt::Tcpmss(_) => is_tcp,
            _ => true,
        }
    }

    /// ` --to-destination 10.244.1.5:80`, as `iptables-save` prints it.
    pub(crate) fn save(&self, out: &mut String) {
        match self {
            TargetExt::Connmark(t) => t.save(out),
            TargetExt::Log(t) => t.save(out),
            TargetExt::Mark(t) => t.save(out),
            TargetExt::Nat(t) => t.save(out),
            TargetExt::Plain(t) => t.save(out),
            TargetExt::Reject(t) => t.save(out),
            TargetExt::Set(t) => t.save(out),
            TargetExt::Tcpmss(t) => t.save(out),
            TargetExt::Tos(t) => t.save(out),
            TargetExt::Ttl(t) => t.save(out),
        }
    }

    /// ` to:10.244.1.5:80`, as `iptables -L` prints it.
    pub(crate) fn list(&self, out: &mut String) {
        match self {
            TargetExt::Connmark(t) => t.list(out),
            TargetExt::Log(t) => t.list(out),
            TargetExt::Mark(t) => t.list("MARK", out),
            TargetExt::Nat(t) => t.list(out),
            TargetExt::Plain(t) => t.list(out),
            TargetExt::Reject(t) => t.list(out),
            TargetExt::Set(t) => t.list(out),
            TargetExt::Tcpmss(t) => t.list(out),
            TargetExt::Tos(t) => t.list(out),
            TargetExt::Ttl(t) => t.list(out),
        }
    }
}

/// Reads the options of one `-m`.
pub(crate) trait MatchParser {
    /// The options it knows.
    fn options(&self) -> &'static Options;

    /// Takes one of them.
    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError>;

    /// All options are read: is it complete? What is true of any extension is asked elsewhere.
    fn check(&self) -> Result<(), ParseError> {
        Ok(())
    }

    /// The match; `None` where it says nothing at all.
    fn finish(self: Box<Self>, header: &Header) -> Result<Option<Match>, ParseError>;
}

/// Reads the options of a `-j`.
pub(crate) trait TargetParser {
    /// The options it knows.
    fn options(&self) -> &'static Options;

    /// Takes one of them.
    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError>;

    /// All options are read: is it complete? What is true of any extension is asked elsewhere.
    fn check(&self) -> Result<(), ParseError> {
        Ok(())
    }

    /// The target.
    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError>;
}
