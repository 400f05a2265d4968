//! Makes cases by chance: [`crate::rules`] the rules, [`crate::sets`] the sets that they ask for,
//! [`crate::packets`] the packets.
//!
//! What it may use has names ([`FEATURES`]); a known failure names the one that is left out because of it.
//! A rule that our own parser does not accept is thrown away and another is made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use base::Rng;
use netfilter::TableName;

use crate::case::{Case, USER_CHAINS};

/// What can be left out: what is compared, kinds of packets, matches, targets, and where they meet.
#[rustfmt::skip]
pub(crate) const FEATURES: &[&str] = &[
    "own-header", "own-quote", "own-reset-sum", "sctp-state",
    "to-broadcast", "to-multicast", "to-loopback", "from-itself", "from-nowhere", "to-router",
    "echo-to-router", "sctp-to-router",
    "tcp", "udp", "icmp", "sctp", "other-protocol", "other-data", "corrupt", "low-ttl", "ip-options",
    "tcp-window", "tcp-again", "mid-stream", "odd-flags", "odd-seq", "odd-icmp", "odd-tag",
    "icmp-error", "icmp-redirect",
    "addrtype", "comment", "connbytes", "connlimit", "connmark", "conntrack-dir", "conntrack-more", "conntrack-state", "dscp",
    "icmp-match", "iprange", "length", "limit", "mac", "mark", "multiport", "pkttype", "recent", "recent-rttl",
    "sctp-match", "state", "statistic", "tcp-match", "tcp-option", "tos", "ttl", "udp-match",
    "CONNMARK", "CT", "DNAT", "DSCP", "MARK", "MASQUERADE", "NETMAP", "REDIRECT", "REJECT", "SNAT",
    "TCPMSS", "TOS", "TTL", "reject-reset", "goto", "policy-drop",
    "hashlimit", "owner", "physdev", "quota", "rpfilter", "set", "set-counters", "set-list", "set-nomatch",
    "CHECKSUM", "LOG", "NFLOG", "SET", "TRACE",
    "own-state", "in-of-postrouting",
];

/// Makes cases.
pub(crate) struct Generator<'a> {
    rng: Rng,
    avoided: &'a dyn Fn(&str) -> bool,
    /// Rules that our parser refuses are made too.
    pub(crate) is_ahead: bool,
    /// How many rules had which match or target, how many of those our parser refused, and why last.
    pub(crate) used: BTreeMap<&'static str, (u32, u32, String)>,
    /// Number of the case that is being made.
    pub(crate) serial: u64,
    /// Number of the phrase that is being made, in its case.
    pub(crate) phrases: u64,
    /// Connections of the case so far.
    pub(crate) known: BTreeSet<(Ipv4Addr, Ipv4Addr, u16, u16)>,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(rng: Rng, avoided: &'a dyn Fn(&str) -> bool) -> Generator<'a> {
        let (used, known) = (BTreeMap::new(), BTreeSet::new());
        Generator { rng, avoided, is_ahead: false, used, serial: 0, phrases: 0, known }
    }

    /// Whether a feature may be used.
    pub(crate) fn may(&self, feature: &str) -> bool {
        assert!(FEATURES.contains(&feature), "{feature} has to be listed");
        !(self.avoided)(feature)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.rng.below(bound)
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.below(of.len() as u32) as usize]
    }

    /// True in so many of a hundred times.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.rng.below(100) < percent
    }

    pub(crate) fn bang(&mut self) -> &'static str {
        if self.chance(20) { "! " } else { "" }
    }

    /// A case with rules of nftables, some with rules of iptables besides, and at least `packets` packets.
    pub(crate) fn nft_case(&mut self, packets: usize) -> Case {
        let mut case = if self.chance(30) { self.case(packets) } else { Case::default() };
        self.known.clear();
        case.steps.clear();
        case.nft = crate::nft::lines(&mut self.rng);
        while case.steps.len() < packets {
            self.flows(&mut case.steps);
        }
        case
    }

    /// A case with at least `packets` packets.
    pub(crate) fn case(&mut self, packets: usize) -> Case {
        self.serial += 1;
        self.phrases = 0;
        self.known.clear();
        let mut case = Case::default();
        for (table, user) in USER_CHAINS {
            let hooks: Vec<&str> = table.hooks().iter().map(|hook| hook.chain()).collect();
            for _ in 0..self.one(&[0, 3, 5, 8]) {
                let chain = if self.chance(40) { self.one(user) } else { self.one(&hooks) };
                let rule = self.rule(table, chain);
                case.rules.push(rule);
            }
            if table != TableName::Nat && self.may("policy-drop") && self.chance(8) {
                case.drops.push((table, self.one(&hooks).to_string()));
            }
        }
        self.sets(&mut case);
        while case.steps.len() < packets {
            self.flows(&mut case.steps);
        }
        case
    }
}
