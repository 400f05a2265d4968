//! `REJECT`: drop, and tell the sender (`net/ipv4/netfilter/ipt_REJECT.c`).

use std::fmt::Write as _;

use packet::reply::Unreachable;

use super::TargetExt;
use crate::text::{ParseError, Words};

/// The answer the sender gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// An ICMP error.
    Icmp(Unreachable),
    /// A TCP reset.
    TcpReset,
}

impl Default for Reject {
    fn default() -> Self {
        Reject::Icmp(Unreachable::Port)
    }
}

/// Names and aliases; the first name of an answer is the one printed.
const NAMES: [(&str, Reject); 16] = [
    ("icmp-net-unreachable", Reject::Icmp(Unreachable::Net)),
    ("net-unreach", Reject::Icmp(Unreachable::Net)),
    ("icmp-host-unreachable", Reject::Icmp(Unreachable::Host)),
    ("host-unreach", Reject::Icmp(Unreachable::Host)),
    ("icmp-proto-unreachable", Reject::Icmp(Unreachable::Protocol)),
    ("proto-unreach", Reject::Icmp(Unreachable::Protocol)),
    ("icmp-port-unreachable", Reject::Icmp(Unreachable::Port)),
    ("port-unreach", Reject::Icmp(Unreachable::Port)),
    ("icmp-net-prohibited", Reject::Icmp(Unreachable::NetProhibited)),
    ("net-prohib", Reject::Icmp(Unreachable::NetProhibited)),
    ("icmp-host-prohibited", Reject::Icmp(Unreachable::HostProhibited)),
    ("host-prohib", Reject::Icmp(Unreachable::HostProhibited)),
    ("tcp-reset", Reject::TcpReset),
    ("tcp-rst", Reject::TcpReset),
    ("icmp-admin-prohibited", Reject::Icmp(Unreachable::AdminProhibited)),
    ("admin-prohib", Reject::Icmp(Unreachable::AdminProhibited)),
];

impl Reject {
    /// The name after `--reject-with`.
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, reject)| *reject == self)
            .map_or("icmp-port-unreachable", |(name, _)| name)
    }

    pub(super) fn save(self, out: &mut String) {
        let _ = write!(out, " --reject-with {}", self.name());
    }

    pub(super) fn list(self, out: &mut String) {
        let _ = write!(out, " reject-with {}", self.name());
    }
}

#[derive(Default)]
pub(super) struct Parser(Reject);

impl super::TargetParser for Parser {
    fn option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<bool, ParseError> {
        if option != "--reject-with" {
            return Ok(false);
        }
        words.refuse_not(option, not)?;
        let name = words.value(option)?;
        let known = NAMES.iter().find(|(known, _)| *known == name);
        self.0 = known.ok_or_else(|| ParseError::UnknownReject(name.to_string()))?.1;
        Ok(true)
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        Ok(TargetExt::Reject(self.0))
    }
}
