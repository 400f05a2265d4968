//! `-m connlimit`: how many connections has this host by now? (`net/netfilter/xt_connlimit.c`,
//! `net/netfilter/nf_conncount.c`)

use base::tree::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use base::Instant;
use packet::{Head, L4};

use super::{Facts, Match, State};
use crate::conntrack::tcp::TcpState;
use crate::conntrack::{Conntrack, Tuple, status};
use crate::rule::{AddrMask, Header};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::text::parse::parse_addr_mask;
use crate::text::words::parse_number;
use crate::trace::{Field, Miss, Seen};

/// Rules and hosts that are remembered; of more, the oldest are forgotten.
const RULES_MAX: usize = 256;
const HOSTS_MAX: usize = 65_536;
/// Hosts that are looked through for a new one.
const CLEARED_MAX: usize = 8;

/// Options of `-m connlimit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connlimit {
    /// `--connlimit-upto`; else `--connlimit-above`.
    pub upto: bool,
    /// So many connections.
    pub limit: u32,
    /// `--connlimit-mask`: addresses with the same first bits are one host.
    pub mask: u8,
    /// `--connlimit-daddr`; else `--connlimit-saddr`.
    pub daddr: bool,
}

/// The connections that rules have seen: by rule, then by host.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    rules: BTreeMap<u64, BTreeMap<Ipv4Addr, Vec<Tuple>>>,
    next: u64,
}

impl Connlimit {
    pub(crate) fn check(&self, facts: &mut Facts<'_>, state: &mut State) -> Result<(), Miss> {
        let head = facts.head;
        // What is no part of any connection is dropped.
        let nothing = Miss::new(Field::Connections, Seen::NoRoom);
        let of_packet = || Some((any_tuple(head)?, false));
        let of_conn = facts.conn().map(|conn| (conn.original, conn.has(status::CONFIRMED)));
        let packet = of_conn.or_else(of_packet).ok_or(nothing)?;
        let host = AddrMask::prefix(if self.daddr { head.dst } else { head.src }, self.mask).addr;
        let counts = &mut facts.stores.connlimit;
        if state.value == 0 {
            counts.next += 1;
            state.value = counts.next;
        }
        let seen = counts.count((state.value, host), packet, facts.conntrack, facts.now);
        if seen == 0 {
            return Err(nothing);
        }
        if (seen > self.limit) == self.upto {
            return Err(Miss::new(Field::Connections, Seen::Number(seen)));
        }
        Ok(())
    }

    pub(super) fn wanted(&self) -> String {
        format!("{} {}", if self.upto { "at most" } else { "more than" }, self.limit)
    }

    pub(super) fn save(&self, out: &mut String) {
        let word = if self.upto { "upto" } else { "above" };
        let end = if self.daddr { "daddr" } else { "saddr" };
        let Connlimit { limit, mask, .. } = self;
        let _ = write!(
            out,
            " -m connlimit --connlimit-{word} {limit} --connlimit-mask {mask} --connlimit-{end}"
        );
    }

    pub(super) fn list(&self, out: &mut String) {
        let end = if self.daddr { "dst" } else { "src" };
        let sign = if self.upto { "<=" } else { ">" };
        let _ = write!(out, " #conn {end}/{} {sign} {}", self.mask, self.limit);
    }
}

/// The tuple of a packet, whether or not it may begin a connection.
fn any_tuple(head: &Head) -> Option<Tuple> {
    let L4::Icmp { kind, code, id } = head.l4 else { return Tuple::of(head) };
    let dport = u16::from_be_bytes([kind, code]);
    Some(Tuple { src: head.src, dst: head.dst, sport: id, dport, protocol: head.protocol })
}

impl Counts {
    /// Adds the connection of a packet to those of a host, and counts those that are not over. A packet that is
    /// known to be of a connection in the table adds nothing, and may find none left
    /// (`nf_conncount_count_skb` of Linux 6.18).
    fn count(
        &mut self,
        (rule, host): (u64, Ipv4Addr),
        (tuple, is_confirmed): (Tuple, bool),
        conntrack: &Conntrack,
        now: Instant,
    ) -> u32 {
        if self.rules.len() >= RULES_MAX && !self.rules.contains_key(&rule) {
            self.rules.pop_first();
        }
        let hosts = self.rules.entry(rule).or_default();
        if hosts.len() >= HOSTS_MAX && !hosts.contains_key(&host) {
            hosts.pop_first();
        }
        let counts = |other: &Tuple| {
            let Some(conn) = conntrack.peek(other, now) else { return false };
            let is_over = matches!(conn.tcp_state(), Some(TcpState::TimeWait | TcpState::Close));
            !is_over || (!is_confirmed && *other == tuple)
        };
        let is_new_host = !hosts.contains_key(&host);
        // On the way to the place of a new host the kernel clears those that it meets; here, all of a few.
        if is_new_host && hosts.len() <= CLEARED_MAX {
            hosts.retain(|_, known| {
                known.retain(counts);
                !known.is_empty()
            });
        }
        let known = hosts.entry(host).or_default();
        known.retain(counts);
        if is_new_host || (!is_confirmed && !known.contains(&tuple)) {
            known.push(tuple);
        }
        u32::try_from(known.len()).unwrap_or(u32::MAX)
    }
}

const UPTO: u8 = 0;
const ABOVE: u8 = 1;
const MASK: u8 = 2;
const SADDR: u8 = 3;
const DADDR: u8 = 4;

static OPTIONS: Options = Options {
    ext: "connlimit",
    table: &[
        Opt::new("connlimit-upto", UPTO).may_not().not_with(1 << ABOVE),
        Opt::new("connlimit-above", ABOVE).may_not().not_with(1 << UPTO),
        Opt::new("connlimit-mask", MASK),
        Opt::flag("connlimit-saddr", SADDR).not_with(1 << DADDR),
        Opt::flag("connlimit-daddr", DADDR).not_with(1 << SADDR),
    ],
};

pub(super) struct Parser {
    limit: Connlimit,
    is_given: bool,
}

impl Default for Parser {
    fn default() -> Self {
        let limit = Connlimit { upto: false, limit: 0, mask: 32, daddr: false };
        Parser { limit, is_given: false }
    }
}

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        match given.opt.id {
            id @ (UPTO | ABOVE) => {
                self.limit.limit = given.number32(0, u32::MAX)?;
                self.limit.upto = (id == UPTO) != given.not;
                self.is_given = true;
            }
            MASK => {
                // Where it is no mask of first bits, all of them count.
                let mask = parse_addr_mask(&format!("0.0.0.0/{}", given.value));
                let len = match parse_number(given.value) {
                    Some(len) => Some(len.min(32) as u8),
                    None => mask.ok().map(|mask| mask.prefix_len().unwrap_or(32) as u8),
                };
                self.limit.mask = len.ok_or_else(|| {
                    ParseError::new(
                        "connlimit: bad value for option \"--connlimit-mask\", neither a valid network mask nor valid CIDR (0-32).\n",
                    )
                })?;
            }
            DADDR => self.limit.daddr = true,
            _ => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        match self.is_given {
            true => Ok(()),
            false => Err(ParseError::new(
                "You must specify \"--connlimit-above\" or \"--connlimit-upto\".",
            )),
        }
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Connlimit(self.limit)))
    }
}
