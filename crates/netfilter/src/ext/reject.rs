//! `REJECT`: drop, and tell the sender (`net/ipv4/netfilter/ipt_REJECT.c`).

use std::fmt::Write as _;

use packet::reply::Unreachable;

use super::TargetExt;
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};

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

static OPTIONS: Options = Options { ext: "REJECT", table: &[Opt::new("reject-with", 0)] };

#[derive(Default)]
pub(super) struct Parser(Reject);

impl super::TargetParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        // A beginning of a name will do; of several, the first one listed.
        let name = given.value.to_ascii_lowercase();
        let known = NAMES.iter().find(|(known, _)| known.starts_with(name.as_str()));
        if let Some((_, reject)) = known {
            self.0 = *reject;
            return Ok(());
        }
        let unknown = format!("unknown reject type \"{}\"", given.value);
        Err(match given.value {
            "echo-reply" | "echoreply" => ParseError::bare(format!(
                "--reject-with echo-reply no longer supported\niptables v{}: {unknown}",
                crate::text::save::VERSION
            )),
            _ => ParseError::new(unknown),
        })
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        Ok(TargetExt::Reject(self.0))
    }
}
