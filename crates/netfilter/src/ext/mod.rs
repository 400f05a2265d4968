//! Match and target extensions, one file each: what it stores, its options, its text, its decision.
//!
//! Matches: [`addrtype`], [`comment`], [`conntrack`], [`icmp`], [`mark`], [`recent`], [`statistic`],
//! [`tcp`], [`udp`] (and sctp). Targets: [`mark`], [`nat`], [`reject`].

pub mod addrtype;
pub mod comment;
pub mod conntrack;
pub mod icmp;
pub mod mark;
pub mod nat;
pub mod recent;
pub mod reject;
pub mod statistic;
pub mod tcp;
pub mod udp;

use std::fmt::Write as _;

use base::{Instant, Rng};
use packet::{Head, protocol};

use crate::conntrack::Conntrack;
use crate::firewall::{Skb, Surroundings};
use crate::hook::TableName;
use crate::iface::IfName;
use crate::rule::TargetElsewhere;
use crate::text::{ParseError, Words};
use crate::trace::{Field, Miss};

/// A match extension with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `-m addrtype`
    Addrtype(addrtype::Addrtype),
    /// `-m comment`
    Comment(String),
    /// `-m conntrack` or `-m state`
    Conntrack(conntrack::CtMatch),
    /// `-m icmp`
    Icmp(icmp::Icmp),
    /// `-m mark`
    Mark(mark::MarkMatch),
    /// `-m recent`
    Recent(recent::Recent),
    /// `-m statistic`
    Statistic(statistic::Statistic),
    /// `-m tcp`
    Tcp(tcp::Tcp),
    /// `-m udp` or `-m sctp`
    Udp(udp::Ports),
}

/// A target extension with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetExt {
    /// `MARK`
    Mark(mark::SetMark),
    /// `DNAT`, `SNAT`, `MASQUERADE`, `REDIRECT`
    Nat(nat::NatTarget),
    /// `REJECT`
    Reject(reject::Reject),
}

/// What matches may look at, and change of their own state.
pub(crate) struct Facts<'a> {
    pub(crate) head: &'a Head,
    pub(crate) skb: &'a Skb,
    pub(crate) iif: IfName,
    pub(crate) oif: IfName,
    pub(crate) now: Instant,
    pub(crate) conntrack: &'a Conntrack,
    pub(crate) recent: &'a mut recent::Lists,
    pub(crate) rng: &'a mut Rng,
    pub(crate) surroundings: &'a dyn Surroundings,
}

impl Match {
    /// `Err`: does not fit, and why. `state` is the match's own counter, kept with its rule.
    #[inline]
    pub(crate) fn check(&self, facts: &mut Facts<'_>, state: &mut u32) -> Result<(), Miss> {
        match self {
            Match::Addrtype(m) => m.check(facts),
            Match::Comment(_) => Ok(()),
            Match::Conntrack(m) => m.check(facts),
            Match::Icmp(m) => m.check(facts.head),
            Match::Mark(m) => m.check(facts.skb.mark),
            Match::Recent(m) => m.check(facts),
            Match::Statistic(m) => m.check(facts.rng, state),
            Match::Tcp(m) => m.check(facts.head),
            Match::Udp(m) => m.check(facts.head),
        }
    }

    pub(crate) fn uses_conntrack(&self) -> bool {
        matches!(self, Match::Conntrack(_))
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
            Match::Conntrack(m) => (field == Field::CtState).then(|| m.wanted()),
            Match::Icmp(m) => (field == Field::IcmpType).then(|| m.wanted()),
            Match::Mark(m) => (field == Field::Mark).then(|| m.wanted()),
            Match::Recent(m) => (field == Field::Recent).then(|| m.wanted()),
            Match::Statistic(m) => (field == Field::Turn).then(|| m.wanted()),
            Match::Tcp(m) => m.wanted(field),
            Match::Udp(m) => udp::wanted_ports(&m.sport, &m.dport, field),
        }
    }

    /// Value of the rule's counter before its first packet.
    pub(crate) fn initial_state(&self) -> Option<u32> {
        match self {
            Match::Statistic(m) => m.initial_state(),
            _ => None,
        }
    }

    /// ` -m tcp --dport 80`, as `iptables-save` prints it.
    pub(crate) fn save(&self, out: &mut String) {
        match self {
            Match::Addrtype(m) => m.save(out),
            Match::Comment(text) => comment::save(text, out),
            Match::Conntrack(m) => m.save(out),
            Match::Icmp(m) => m.save(out),
            Match::Mark(m) => m.save(out),
            Match::Recent(m) => m.save(out),
            Match::Statistic(m) => m.save(out),
            Match::Tcp(m) => m.save(out),
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
            Match::Conntrack(m) => m.list(out),
            Match::Icmp(m) => m.list(out),
            Match::Mark(m) => m.list(out),
            Match::Recent(m) => m.list(out),
            Match::Statistic(m) => m.list(out),
            Match::Tcp(m) => m.list(out),
            Match::Udp(m) => m.list(out),
        }
    }
}

impl TargetExt {
    /// The name after `-j`.
    pub fn name(&self) -> &'static str {
        match self {
            TargetExt::Mark(_) => "MARK",
            TargetExt::Nat(t) => t.name(),
            TargetExt::Reject(_) => "REJECT",
        }
    }

    pub(crate) fn uses_conntrack(&self) -> bool {
        matches!(self, TargetExt::Nat(_))
    }

    pub(crate) fn check_table(&self, table: TableName) -> Result<(), TargetElsewhere> {
        let fits = match self {
            TargetExt::Mark(_) => true,
            TargetExt::Nat(_) => table == TableName::Nat,
            TargetExt::Reject(_) => table == TableName::Filter,
        };
        if fits { Ok(()) } else { Err(TargetElsewhere) }
    }

    /// ` --to-destination 10.244.1.5:80`, as `iptables-save` prints it.
    pub(crate) fn save(&self, out: &mut String) {
        match self {
            TargetExt::Mark(t) => t.save(out),
            TargetExt::Nat(t) => t.save(out),
            TargetExt::Reject(t) => t.save(out),
        }
    }

    /// ` to:10.244.1.5:80`, as `iptables -L` prints it.
    pub(crate) fn list(&self, out: &mut String) {
        match self {
            TargetExt::Mark(t) => t.list(out),
            TargetExt::Nat(t) => t.list(out),
            TargetExt::Reject(t) => t.list(out),
        }
    }
}

/// Reads the options of one `-m`.
pub(crate) trait MatchParser {
    /// Takes `option` (with its dashes) and its values. `false`: not an option of this match.
    fn option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<bool, ParseError>;

    /// All options are read.
    fn finish(self: Box<Self>) -> Result<Match, ParseError>;
}

/// Reads the options of a `-j`.
pub(crate) trait TargetParser {
    /// Takes `option` (with its dashes) and its values. `false`: not an option of this target.
    fn option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<bool, ParseError>;

    /// All options are read.
    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError>;
}

/// The parser for `-m name`; `None`: no such match.
pub(crate) fn match_parser(name: &str) -> Option<Box<dyn MatchParser>> {
    Some(match name {
        "addrtype" => Box::new(addrtype::Parser::default()),
        "comment" => Box::new(comment::Parser::default()),
        "conntrack" | "state" => Box::new(conntrack::Parser::new(name == "state")),
        "icmp" => Box::new(icmp::Parser::default()),
        "mark" => Box::new(mark::MatchParser::default()),
        "recent" => Box::new(recent::Parser::default()),
        "statistic" => Box::new(statistic::Parser::default()),
        "tcp" => Box::new(tcp::Parser::default()),
        "udp" | "sctp" => Box::new(udp::Parser::new(name == "sctp")),
        _ => return None,
    })
}

/// The parser for `-j name`; `None`: no such target.
pub(crate) fn target_parser(name: &str) -> Option<Box<dyn TargetParser>> {
    Some(match name {
        "MARK" => Box::new(mark::TargetParser::default()),
        "DNAT" | "SNAT" | "MASQUERADE" | "REDIRECT" => Box::new(nat::Parser::new(name)?),
        "REJECT" => Box::new(reject::Parser::default()),
        _ => return None,
    })
}

/// The match that `-p protocol` brings along for its options.
pub(crate) fn match_of_protocol(number: u8) -> Option<&'static str> {
    match number {
        protocol::TCP => Some("tcp"),
        protocol::UDP => Some("udp"),
        protocol::SCTP => Some("sctp"),
        protocol::ICMP => Some("icmp"),
        _ => None,
    }
}
