//! `-m conntrack` and its older form `-m state --state` (`net/netfilter/xt_conntrack.c`).

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::udp::PortRange;
use super::{Facts, Match, but};
use crate::conntrack::{CtSlot, Direction, ct_state, status};
use crate::rule::{AddrMask, Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::text::parse::parse_addr_mask;
use crate::text::words::{find_port, parse_number, parse_protocol};
use crate::trace::{Field, Miss, Seen, ct_state_names};

/// Options of `-m conntrack`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CtMatch {
    /// Written as `-m state`.
    pub is_state: bool,
    /// `--ctstate`, bits of [`ct_state`].
    pub state: Option<Wanted<u8>>,
    /// All other options; most rules have none.
    pub more: Option<Box<CtFields>>,
}

/// The options of `-m conntrack` besides `--ctstate`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CtFields {
    /// `--ctproto`
    pub protocol: Option<Wanted<u8>>,
    /// `--ctorigsrc`, `--ctorigdst`, `--ctreplsrc`, `--ctrepldst`
    pub addrs: [Option<Wanted<AddrMask>>; 4],
    /// `--ctorigsrcport`, `--ctorigdstport`, `--ctreplsrcport`, `--ctrepldstport`
    pub ports: [Option<Wanted<PortRange>>; 4],
    /// `--ctstatus`, bits of [`status`]; 0 is `NONE`.
    pub status: Option<Wanted<u16>>,
    /// `--ctexpire`, seconds left, first and last.
    pub expire: Option<Wanted<(u32, u32)>>,
    /// `--ctdir`
    pub direction: Option<Direction>,
}

/// Names of the four ends of a connection, in the order in which the options are printed.
const ENDS: [(&str, Field, Field); 4] = [
    ("ctorigsrc", Field::CtOrigSrc, Field::CtOrigSrcPort),
    ("ctorigdst", Field::CtOrigDst, Field::CtOrigDstPort),
    ("ctreplsrc", Field::CtReplSrc, Field::CtReplSrcPort),
    ("ctrepldst", Field::CtReplDst, Field::CtReplDstPort),
];

/// Bits that `--ctstatus` names, in the order in which they are printed.
const STATUS: [(u16, &str); 4] = [
    (1, "EXPECTED"),
    (status::SEEN_REPLY, "SEEN_REPLY"),
    (status::ASSURED, "ASSURED"),
    (status::CONFIRMED, "CONFIRMED"),
];

/// `EXPECTED,ASSURED`, or `NONE`.
pub(crate) fn status_names(bits: u16) -> String {
    let named: Vec<_> =
        STATUS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    if named.is_empty() { "NONE".to_string() } else { named.join(",") }
}

impl CtMatch {
    /// `--ctstate`, with bits of [`ct_state`].
    pub fn state(state: Wanted<u8>) -> CtMatch {
        CtMatch { is_state: false, state: Some(state), more: None }
    }

    #[inline]
    pub(crate) fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        if let Some(state) = self.state {
            let seen = facts.conntrack.state_bits(facts.skb.ct);
            if (seen & state.value != 0) == state.not {
                return Err(Miss::new(Field::CtState, Seen::CtState(seen)));
            }
        }
        match &self.more {
            Some(more) => more.check(facts),
            None => Ok(()),
        }
    }

    pub(super) fn wanted(&self, field: Field) -> Option<String> {
        if field == Field::CtState {
            let state = self.state?;
            return Some(format!("{}{}", but(state.not), ct_state_names(state.value)));
        }
        self.more.as_ref()?.wanted(field)
    }

    pub(super) fn save(&self, out: &mut String) {
        let (ext, word) =
            if self.is_state { ("state", "--state") } else { ("conntrack", "--ctstate") };
        let _ = write!(out, " -m {ext}");
        if let Some(state) = &self.state {
            let _ = write!(out, " {}{word} {}", state.bang(), ct_state_names(state.value));
        }
        if let Some(more) = &self.more {
            more.print(out, "--");
        }
    }

    pub(super) fn list(&self, out: &mut String) {
        let word = if self.is_state { "state" } else { "ctstate" };
        if let Some(state) = &self.state {
            let _ = write!(out, " {}{word} {}", state.bang(), ct_state_names(state.value));
        }
        if let Some(more) = &self.more {
            more.print(out, "");
        }
    }
}

impl CtFields {
    fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        let nothing = |field| Err(Miss::new(field, Seen::Nothing));
        let CtSlot::Tracked { info, .. } = facts.skb.ct else {
            return nothing(Field::CtConnection);
        };
        let Some(conn) = facts.conn() else { return nothing(Field::CtConnection) };
        if let Some(wanted) = self.direction {
            let seen = info.direction();
            if wanted != seen {
                return Err(Miss::new(Field::CtDirection, Seen::Direction(seen)));
            }
        }
        if let Some(protocol) = self.protocol
            && (conn.original.protocol == protocol.value) == protocol.not
        {
            return Err(Miss::new(Field::CtProtocol, Seen::Protocol(conn.original.protocol)));
        }
        let (original, reply) = (&conn.original, &conn.reply);
        let addrs = [original.src, original.dst, reply.src, reply.dst];
        for ((wanted, seen), (_, field, _)) in self.addrs.iter().zip(addrs).zip(ENDS) {
            if let Some(wanted) = wanted
                && wanted.value.contains(seen) == wanted.not
            {
                return Err(Miss::new(field, Seen::Addr(seen)));
            }
        }
        let ports = [original.sport, original.dport, reply.sport, reply.dport];
        for ((wanted, seen), (.., field)) in self.ports.iter().zip(ports).zip(ENDS) {
            if let Some(wanted) = wanted
                && wanted.value.contains(seen) == wanted.not
            {
                return Err(Miss::new(field, Seen::Port(seen)));
            }
        }
        self.check_rest(conn.status, conn.expires.since(facts.now).as_secs())
    }

    fn check_rest(&self, status: u16, left: u64) -> Result<(), Miss> {
        if let Some(wanted) = self.status {
            let fits = if wanted.value == 0 { status == 0 } else { status & wanted.value != 0 };
            if fits == wanted.not {
                return Err(Miss::new(Field::CtStatus, Seen::CtStatus(status)));
            }
        }
        if let Some(Wanted { not, value: (first, last) }) = self.expire {
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            if (first..=last).contains(&left) == not {
                return Err(Miss::new(Field::CtExpire, Seen::Number(left)));
            }
        }
        Ok(())
    }

    fn wanted(&self, field: Field) -> Option<String> {
        for ((addr, port), (_, addr_field, port_field)) in
            self.addrs.iter().zip(&self.ports).zip(ENDS)
        {
            if field == addr_field {
                return addr.map(|w| format!("{}{}", but(w.not), short(&w.value)));
            }
            if field == port_field {
                return port.map(|w| format!("{}{}", but(w.not), w.value));
            }
        }
        match field {
            Field::CtConnection => Some("one that is tracked".to_string()),
            Field::CtProtocol => self
                .protocol
                .map(|w| format!("{}{}", but(w.not), crate::text::protocol_word(w.value))),
            Field::CtStatus => {
                self.status.map(|w| format!("{}{}", but(w.not), status_names(w.value)))
            }
            Field::CtExpire => self.expire.map(|w| format!("{}{}", but(w.not), range(w.value))),
            Field::CtDirection => self.direction.map(|d| direction_word(d).to_string()),
            _ => None,
        }
    }

    /// For both texts: in one the options have dashes.
    fn print(&self, out: &mut String, dashes: &str) {
        if let Some(w) = &self.protocol {
            let _ = write!(out, " {}{dashes}ctproto {}", w.bang(), w.value);
        }
        for (addr, (name, ..)) in self.addrs.iter().zip(ENDS) {
            if let Some(w) = addr {
                let _ = write!(out, " {}{dashes}{name} {}", w.bang(), short(&w.value));
            }
        }
        for (port, (name, ..)) in self.ports.iter().zip(ENDS) {
            if let Some(w) = port {
                let _ = write!(out, " {}{dashes}{name}port {}", w.bang(), w.value);
            }
        }
        if let Some(w) = &self.status {
            let _ = write!(out, " {}{dashes}ctstatus {}", w.bang(), status_names(w.value));
        }
        if let Some(w) = &self.expire {
            let _ = write!(out, " {}{dashes}ctexpire {}", w.bang(), range(w.value));
        }
        if let Some(direction) = self.direction {
            let _ = write!(out, " {dashes}ctdir {}", direction_word(direction));
        }
    }
}

pub(crate) fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Original => "ORIGINAL",
        Direction::Reply => "REPLY",
    }
}

fn range((first, last): (u32, u32)) -> String {
    if first == last { first.to_string() } else { format!("{first}:{last}") }
}

/// An address with its mask, unless that is the whole of it.
fn short(mask: &AddrMask) -> String {
    match mask.prefix_len() {
        Some(32) => mask.addr.to_string(),
        _ => mask.to_string(),
    }
}

fn parse_states(given: &Given<'_, '_>, is_state: bool) -> Result<Wanted<u8>, ParseError> {
    let mut bits = 0;
    for name in given.value.split(',') {
        let known = ct_state::NAMES.iter().find(|(bit, known)| {
            known.eq_ignore_ascii_case(name)
                && !(is_state && bit & (ct_state::SNAT | ct_state::DNAT) != 0)
        });
        let word = if is_state { "state" } else { "ctstate" };
        bits |= known.ok_or_else(|| ParseError::new(format!("Bad {word} \"{name}\"")))?.0;
    }
    Ok(Wanted { not: given.not, value: bits })
}

static STATE_OPTIONS: Options =
    Options { ext: "state", table: &[Opt::new("state", 0).may_not().must()] };

#[derive(Default)]
pub(super) struct StateParser(Option<Wanted<u8>>);

impl super::MatchParser for StateParser {
    fn options(&self) -> &'static Options {
        &STATE_OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        self.0 = Some(parse_states(given, true)?);
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Conntrack(CtMatch { is_state: true, state: self.0, more: None })))
    }
}

const STATE: u8 = 0;
const PROTO: u8 = 1;
const ADDR: u8 = 2;
const PORT: u8 = 6;
const STATUS_ID: u8 = 10;
const EXPIRE: u8 = 11;
const DIR: u8 = 12;

static OPTIONS: Options = Options {
    ext: "conntrack",
    table: &[
        Opt::new("ctstate", STATE).may_not(),
        Opt::new("ctproto", PROTO).may_not(),
        Opt::new("ctorigsrc", ADDR).may_not(),
        Opt::new("ctorigdst", ADDR + 1).may_not(),
        Opt::new("ctreplsrc", ADDR + 2).may_not(),
        Opt::new("ctrepldst", ADDR + 3).may_not(),
        Opt::new("ctstatus", STATUS_ID).may_not(),
        Opt::new("ctexpire", EXPIRE).may_not(),
        Opt::new("ctorigsrcport", PORT).may_not(),
        Opt::new("ctorigdstport", PORT + 1).may_not(),
        Opt::new("ctreplsrcport", PORT + 2).may_not(),
        Opt::new("ctrepldstport", PORT + 3).may_not(),
        Opt::new("ctdir", DIR),
    ],
};

#[derive(Default)]
pub(super) struct Parser {
    state: Option<Wanted<u8>>,
    more: CtFields,
}

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let not = given.not;
        let more = &mut self.more;
        match given.opt.id {
            STATE => self.state = Some(parse_states(given, false)?),
            PROTO => more.protocol = Some(Wanted { not, value: parse_protocol(given.value)? }),
            STATUS_ID => more.status = Some(Wanted { not, value: parse_status(given.value)? }),
            EXPIRE => {
                let (first, last) = given.range(u64::from(u32::MAX))?;
                more.expire = Some(Wanted { not, value: (first as u32, last as u32) });
            }
            DIR => {
                more.direction = Some(match given.value {
                    word if word.eq_ignore_ascii_case("ORIGINAL") => Direction::Original,
                    word if word.eq_ignore_ascii_case("REPLY") => Direction::Reply,
                    word => return Err(given.bad(word)),
                });
            }
            id @ ADDR..PORT => {
                let value = host_mask(given.value)?;
                if let Some(slot) = more.addrs.get_mut(usize::from(id - ADDR)) {
                    *slot = Some(Wanted { not, value });
                }
            }
            id => {
                let value = port_range(given.value)?;
                if let Some(slot) = more.ports.get_mut(usize::from(id.saturating_sub(PORT))) {
                    *slot = Some(Wanted { not, value });
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        if self.state.is_none() && self.more == CtFields::default() {
            return Err(ParseError::new("conntrack: At least one option is required"));
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        let Parser { state, more } = *self;
        let more = (more != CtFields::default()).then(|| Box::new(more));
        Ok(Some(Match::Conntrack(CtMatch { is_state: false, state, more })))
    }
}

fn parse_status(text: &str) -> Result<u16, ParseError> {
    let mut bits = 0;
    for name in text.split(',') {
        if name.eq_ignore_ascii_case("NONE") {
            continue;
        }
        let known = STATUS.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
        bits |= known.ok_or_else(|| ParseError::new(format!("Bad ctstatus \"{name}\"")))?.0;
    }
    Ok(bits)
}

/// An address with the length of its network; what is neither a length nor a mask of one stands for the
/// host. What is not an address would be looked up, and nobody answers here.
pub(super) fn host_mask(text: &str) -> Result<AddrMask, ParseError> {
    let host = text.split('/').next().unwrap_or_default();
    let Ok(addr) = host.parse::<Ipv4Addr>() else {
        let is_name = host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        return Err(ParseError::new(match is_name {
            true => "getaddrinfo: Temporary failure in name resolution\n",
            false => "getaddrinfo: Name or service not known\n",
        }));
    };
    let mask = parse_addr_mask(text).ok();
    Ok(mask.filter(|mask| mask.prefix_len().is_some()).unwrap_or(AddrMask::host(addr)))
}

/// `80`, `80:90`, `:90`, `80:`.
fn port_range(text: &str) -> Result<PortRange, ParseError> {
    // A number too large loses its upper bits.
    let find = |text: &str| parse_number(text).map(|port| port as u16).or_else(|| find_port(text));
    let port = |text: &str, default| match text {
        "" => Ok(default),
        _ => find(text).ok_or_else(|| {
            ParseError::new(format!("Port \"{text}\" does not resolve to anything.\n"))
        }),
    };
    match text.split_once(':') {
        Some((from, to)) => Ok(PortRange { from: port(from, 0)?, to: port(to, u16::MAX)? }),
        None => port(text, 0).map(PortRange::one),
    }
}
