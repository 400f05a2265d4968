//! What a walk saw: every rule that looked at a packet, and the first field that did not fit.

use std::fmt;
use std::net::Ipv4Addr;
use std::rc::Rc;

use packet::Mac;
use packet::ipv4::End;

use crate::conntrack::{Direction, Tuple, ct_state};
use crate::ext::TargetExt;
use crate::ext::addrtype::AddrType;
use crate::ext::conntrack::{direction_word, status_names};
use crate::ext::link::PktType;
use crate::hook::{Hook, TableName};
use crate::iface::IfName;
use crate::ipvs::Scheduler;
use crate::rule::{AddrMask, RuleSpec, Target, Wanted};
use crate::table::Policy;

/// Everything that happened to a packet at one hook.
#[derive(Clone, Debug, PartialEq)]
pub struct HookTrace {
    /// Where.
    pub hook: Hook,
    /// What, in order.
    pub events: Vec<HookEvent>,
}

impl HookTrace {
    /// Nothing seen yet.
    pub fn new(hook: Hook) -> Self {
        HookTrace { hook, events: Vec::new() }
    }
}

/// One thing that happened at a hook.
#[derive(Clone, Debug, PartialEq)]
pub enum HookEvent {
    /// Connection tracking has looked the packet up.
    Tracked {
        /// [`ct_state`] bits.
        state: u8,
        /// The connection as its first packet came in, unless invalid.
        original: Option<Tuple>,
        /// The connection as answers come in.
        reply: Option<Tuple>,
    },
    /// A table has looked at the packet.
    Table {
        /// Which.
        table: TableName,
        /// Its rules, in the order in which they looked.
        evals: Vec<Eval>,
        /// What came of it.
        verdict: TableVerdict,
    },
    /// A base chain of nftables has looked at the packet.
    Nft {
        /// Its table, with the family: `ip kube-proxy`.
        table: Rc<str>,
        /// The chain.
        chain: Rc<str>,
        /// Its rules and those it led to, in the order in which they looked.
        evals: Vec<NftEval>,
        /// What came of it.
        verdict: TableVerdict,
    },
    /// One end of the packet was rewritten.
    Translated {
        /// Which end.
        end: End,
        /// Address and port before.
        from: (Ipv4Addr, u16),
        /// Address and port after.
        to: (Ipv4Addr, u16),
        /// Decided now, by a rule; else remembered from the connection's first packet.
        is_new: bool,
    },
    /// A virtual service has given the packet to a real server.
    Scheduled {
        /// IP protocol number.
        protocol: u8,
        /// The virtual address and port.
        service: (Ipv4Addr, u16),
        /// The server's address and port.
        server: (Ipv4Addr, u16),
        /// Why this one.
        choice: ServerChoice,
    },
    /// The connection entered the table.
    Confirmed {
        /// As its first packet came in.
        original: Tuple,
        /// As answers will come in.
        reply: Tuple,
    },
}

/// Why a virtual service gave a packet to this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerChoice {
    /// Chosen now.
    By(Scheduler),
    /// The client has been here before.
    Persistence,
    /// The connection goes there.
    Remembered,
}

/// What a table decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableVerdict {
    /// A rule accepted it.
    Accepted,
    /// A rule dropped or rejected it.
    Dropped,
    /// No rule decided; the policy of the built-in chain did.
    Policy(Policy),
}

/// One rule looked at one packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Eval {
    /// The chain.
    pub chain: Rc<str>,
    /// The rule's number in its chain, from 1, as `--line-numbers` counts.
    pub number: u32,
    /// The rule as it was at that moment.
    pub rule: Rc<RuleSpec>,
    /// What came of it.
    pub outcome: Outcome,
}

/// One rule of nftables looked at one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NftEval {
    /// The chain.
    pub chain: Rc<str>,
    /// The rule's number in its chain, from 1.
    pub number: u32,
    /// The rule's handle.
    pub handle: u64,
    /// The rule as `nft -s list` prints it.
    pub rule: Rc<str>,
    /// What came of it.
    pub outcome: NftOutcome,
}

/// What came of the look of a rule of nftables at a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NftOutcome {
    /// Not for this rule.
    Missed {
        /// The first part that did not fit.
        part: Rc<str>,
        /// What the packet had there; empty where it had nothing.
        seen: Rc<str>,
    },
    /// It fits, and this was done, in plain words.
    Matched {
        /// What was done.
        effect: Rc<str>,
        /// The element of a map that said so.
        element: Option<Rc<str>>,
    },
}

impl NftOutcome {
    /// It fits.
    pub fn is_match(&self) -> bool {
        matches!(self, NftOutcome::Matched { .. })
    }

    /// What came of it, in plain words.
    pub fn sentence(&self) -> String {
        match self {
            NftOutcome::Missed { part, seen } if seen.is_empty() => {
                format!("the packet has nothing that \"{part}\" could fit")
            }
            NftOutcome::Missed { part, seen } => {
                format!("the packet has {seen}, the rule wants \"{part}\"")
            }
            NftOutcome::Matched { effect, element: None } => effect.to_string(),
            NftOutcome::Matched { effect, element: Some(element) } => {
                format!("found {element}: {effect}")
            }
        }
    }
}

/// What came of a rule's look at a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not for this rule: the first field that did not fit.
    Missed(Miss),
    /// It fits; the target was carried out.
    Matched(Effect),
}

/// What carrying out a target did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Only counted, logged, or the like.
    Counted,
    /// Went into another chain.
    Entered,
    /// Went back to the calling chain.
    Returned,
    /// Accepted.
    Accepted,
    /// Dropped.
    Dropped,
    /// Refused, with an answer to the sender.
    Rejected,
    /// The packet's mark was changed.
    Marked {
        /// Before.
        from: u32,
        /// After.
        to: u32,
    },
    /// Address translation was decided for the connection.
    Translated,
    /// `CONNMARK` changed the packet's mark, the connection's mark, or neither.
    Connmarked {
        /// The packet's mark before and after.
        packet: (u32, u32),
        /// The connection's mark before and after.
        connection: (u32, u32),
    },
    /// A line was written; the number of lines written in this namespace before it.
    Logged(u64),
    /// A byte or word of the packet was changed.
    Changed {
        /// Before.
        from: u16,
        /// After.
        to: u16,
    },
    /// Excepted from connection tracking.
    Untracked,
}

/// The first field that did not fit, and what the packet had there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Miss {
    /// What was compared.
    pub field: Field,
    /// What the packet, or the world, had.
    pub seen: Seen,
}

impl Miss {
    /// `field` held `seen`.
    pub fn new(field: Field, seen: Seen) -> Miss {
        Miss { field, seen }
    }
}

/// Something that a rule compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `-s`
    Source,
    /// `-d`
    Destination,
    /// `-i`
    InInterface,
    /// `-o`
    OutInterface,
    /// `-p`
    Protocol,
    /// `-f`
    Fragment,
    /// `--sport`
    SourcePort,
    /// `--dport`
    DestinationPort,
    /// `--tcp-flags`, `--syn`
    TcpFlags,
    /// `--icmp-type`
    IcmpType,
    /// `--ctstate`, `--state`
    CtState,
    /// `-m mark --mark`
    Mark,
    /// `--src-type`
    SourceType,
    /// `--dst-type`
    DestinationType,
    /// `-m statistic`
    Turn,
    /// `-m recent`
    Recent,
    /// `--sports`
    SourcePorts,
    /// `--dports`
    DestinationPorts,
    /// `--ports`
    EitherPort,
    /// `--tcp-option`
    TcpOption,
    /// `--chunk-types`
    ChunkTypes,
    /// `-m conntrack` with more than a state
    CtConnection,
    /// `--ctdir`
    CtDirection,
    /// `--ctproto`
    CtProtocol,
    /// `--ctorigsrc`
    CtOrigSrc,
    /// `--ctorigdst`
    CtOrigDst,
    /// `--ctreplsrc`
    CtReplSrc,
    /// `--ctrepldst`
    CtReplDst,
    /// `--ctorigsrcport`
    CtOrigSrcPort,
    /// `--ctorigdstport`
    CtOrigDstPort,
    /// `--ctreplsrcport`
    CtReplSrcPort,
    /// `--ctrepldstport`
    CtReplDstPort,
    /// `--ctstatus`
    CtStatus,
    /// `--ctexpire`
    CtExpire,
    /// `-m connmark --mark`
    Connmark,
    /// `-m connbytes`
    Traffic,
    /// `-m connlimit`
    Connections,
    /// `-m limit`
    Rate,
    /// `-m hashlimit`
    HashRate,
    /// `--length`
    Length,
    /// `-m ttl`
    Ttl,
    /// `-m tos`, `-m dscp`
    Tos,
    /// `--src-range`
    SourceRange,
    /// `--dst-range`
    DestinationRange,
    /// `--mac-source`
    MacSource,
    /// `--pkt-type`
    PacketType,
    /// `--physdev-in`
    BridgeIn,
    /// `--physdev-out`
    BridgeOut,
    /// `--physdev-is-bridged`
    Bridged,
    /// `--uid-owner`
    UserId,
    /// `--gid-owner`
    GroupId,
    /// `--socket-exists`
    Socket,
    /// `--match-set`
    Set,
    /// `--quota`
    Quota,
    /// `--nfacct-name`
    Counter,
    /// `-m rpfilter`
    ReversePath,
    /// `-m ipvs`
    Virtual,
}

/// What the packet, or the world, had where a rule compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An address.
    Addr(Ipv4Addr),
    /// A port.
    Port(u16),
    /// An interface; none when empty.
    Iface(IfName),
    /// A protocol number.
    Protocol(u8),
    /// Some number.
    Number(u32),
    /// A mark.
    Mark(u32),
    /// TCP flags.
    Flags(u8),
    /// ICMP type and code.
    Icmp(u8, u8),
    /// [`ct_state`] bits.
    CtState(u8),
    /// What kind of address it is.
    AddrType(AddrType),
    /// The counter of `--mode nth` before this packet, of so many.
    Turn {
        /// 1-based.
        at: u32,
        /// `--every`
        of: u32,
    },
    /// The number drawn for `--mode random`, in units of 2⁻³¹.
    Drawn(u32),
    /// A byte, shown in hexadecimal.
    Byte(u8),
    /// A hardware address.
    Mac(Mac),
    /// To whom the link says it goes.
    PktType(PktType),
    /// Direction within its connection.
    Direction(Direction),
    /// Bits of [`crate::conntrack::status`].
    CtStatus(u16),
    /// Too many came; there is room again after so many milliseconds.
    TooFast(u32),
    /// A table that has no room for it; the packet is dropped (`hotdrop`).
    NoRoom,
    /// It is not there: the packet has no such header, the list no such entry.
    Nothing,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seen::Addr(addr) => addr.fmt(f),
            Seen::Port(port) => port.fmt(f),
            Seen::Iface(name) if name.is_none() => f.write_str("none"),
            Seen::Iface(name) => name.fmt(f),
            Seen::Protocol(number) => f.write_str(&crate::text::protocol_word(*number)),
            Seen::Number(number) => number.fmt(f),
            Seen::Mark(mark) => write!(f, "{mark:#x}"),
            Seen::Flags(flags) => f.write_str(&crate::ext::tcp::flag_names(*flags)),
            Seen::Icmp(kind, code) => write!(f, "type {kind} code {code}"),
            Seen::CtState(bits) => f.write_str(&ct_state_names(*bits)),
            Seen::AddrType(kind) => kind.fmt(f),
            Seen::Turn { at, of } => write!(f, "{at} of {of}"),
            Seen::Drawn(drawn) => write!(f, "{:.11}", f64::from(*drawn) / 2_147_483_648.0),
            Seen::Byte(byte) => write!(f, "{byte:#04x}"),
            Seen::Mac(mac) => mac.fmt(f),
            Seen::PktType(kind) => f.write_str(kind.name()),
            Seen::Direction(direction) => f.write_str(direction_word(*direction)),
            Seen::CtStatus(bits) => f.write_str(&status_names(*bits)),
            Seen::TooFast(millis) => write!(f, "used up for another {millis} ms"),
            Seen::NoRoom => f.write_str("no room for it"),
            Seen::Nothing => f.write_str("nothing"),
        }
    }
}

/// `NEW,DNAT` and the like, in iptables' order.
pub fn ct_state_names(bits: u8) -> String {
    let names = ct_state::NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name);
    names.collect::<Vec<_>>().join(",")
}

impl Field {
    /// The field in plain words, as the subject of "… is 30007".
    pub fn words(self) -> &'static str {
        match self {
            Field::Source => "the source",
            Field::Destination => "the destination",
            Field::InInterface => "the incoming interface",
            Field::OutInterface => "the outgoing interface",
            Field::Protocol => "the protocol",
            Field::Fragment => "the fragment offset",
            Field::SourcePort => "the source port",
            Field::DestinationPort => "the destination port",
            Field::TcpFlags => "the TCP flags",
            Field::IcmpType => "the ICMP message",
            Field::CtState => "the connection's state",
            Field::Mark => "the mark",
            Field::SourceType => "the source's kind of address",
            Field::DestinationType => "the destination's kind of address",
            Field::Turn => "the turn",
            Field::Recent => "the address",
            Field::SourcePorts => "the source port",
            Field::DestinationPorts => "the destination port",
            Field::EitherPort => "neither of the ports fits; the destination port",
            Field::TcpOption => "the TCP option",
            Field::ChunkTypes => "the first SCTP chunk",
            Field::CtConnection => "the connection",
            Field::CtDirection => "the direction",
            Field::CtProtocol => "the connection's protocol",
            Field::CtOrigSrc => "the connection's first source",
            Field::CtOrigDst => "the connection's first destination",
            Field::CtReplSrc => "the source of replies",
            Field::CtReplDst => "the destination of replies",
            Field::CtOrigSrcPort => "the connection's first source port",
            Field::CtOrigDstPort => "the connection's first destination port",
            Field::CtReplSrcPort => "the source port of replies",
            Field::CtReplDstPort => "the destination port of replies",
            Field::CtStatus => "the connection's status",
            Field::CtExpire => "the connection's time left, in seconds,",
            Field::Connmark => "the connection's mark",
            Field::Traffic => "what the connection has carried",
            Field::Connections => "the host's connections",
            Field::Rate => "the rate",
            Field::HashRate => "the group's rate",
            Field::Length => "the packet's length",
            Field::Ttl => "the time to live",
            Field::Tos => "the type of service",
            Field::SourceRange => "the source",
            Field::DestinationRange => "the destination",
            Field::MacSource => "the sender's hardware address",
            Field::PacketType => "the kind of delivery",
            Field::BridgeIn => "the bridge port it came in by",
            Field::BridgeOut => "the bridge port it leaves by",
            Field::Bridged => "the bridge port it is passed on by",
            Field::UserId => "the user of the sending socket",
            Field::GroupId => "the group of the sending socket",
            Field::Socket => "the sending socket",
            Field::Set => "the address",
            Field::Quota => "what is left of the quota",
            Field::Counter => "the named counter",
            Field::ReversePath => "the interface for an answer",
            Field::Virtual => "the virtual service",
        }
    }

    /// What `rule` wants in this field, as it would be typed; empty where the rule does not ask.
    pub fn wanted(self, rule: &RuleSpec) -> String {
        let header = &rule.header;
        let not = |not: bool| if not { "anything but " } else { "" };
        let shown = |wanted: &Option<Wanted<AddrMask>>| {
            let short = |mask: &AddrMask| match mask.prefix_len() {
                Some(32) => mask.addr.to_string(),
                _ => mask.to_string(),
            };
            wanted.as_ref().map(|w| format!("{}{}", not(w.not), short(&w.value)))
        };
        let text = match self {
            Field::Source => shown(&header.src),
            Field::Destination => shown(&header.dst),
            Field::InInterface => header.iif.map(|w| format!("{}{}", not(w.not), w.value)),
            Field::OutInterface => header.oif.map(|w| format!("{}{}", not(w.not), w.value)),
            Field::Protocol => header
                .protocol
                .map(|w| format!("{}{}", not(w.not), crate::text::protocol_word(w.value))),
            Field::Fragment => header.fragment.map(|w| format!("{}0", not(!w.not))),
            _ => rule.matches.iter().find_map(|m| m.wanted(self)),
        };
        text.unwrap_or_default()
    }
}

impl Miss {
    /// "the destination port is 30007, the rule wants 80"
    pub fn sentence(&self, rule: &RuleSpec) -> String {
        if let (Field::Turn, Seen::Turn { at, of }) = (self.field, self.seen) {
            return format!("the counter stands at {at} of {of}: not this one's turn");
        }
        let Miss { field, seen } = self;
        if let (Field::Rate | Field::HashRate, Seen::Number(_)) = (field, seen) {
            return format!(
                "{} is within the limit, the rule wants {}",
                field.words(),
                field.wanted(rule)
            );
        }
        format!("{} is {seen}, the rule wants {}", field.words(), field.wanted(rule))
    }
}

impl Effect {
    /// What the rule did, in plain words.
    pub fn words(&self, rule: &RuleSpec) -> String {
        match (self, &rule.target) {
            (Effect::Counted, _) => "counted".to_string(),
            (Effect::Entered, Target::Jump(chain) | Target::Goto(chain)) => {
                format!("go to {chain}")
            }
            (Effect::Entered, _) => "go on elsewhere".to_string(),
            (Effect::Returned, _) => "go back".to_string(),
            (Effect::Accepted, _) => "accepted".to_string(),
            (Effect::Dropped, _) => "dropped".to_string(),
            (Effect::Rejected, Target::Ext(TargetExt::Reject(with))) => {
                format!("refused with {}", with.name())
            }
            (Effect::Rejected, _) => "refused".to_string(),
            (Effect::Marked { from, to }, _) => format!("mark {from:#x} becomes {to:#x}"),
            (Effect::Translated, Target::Ext(ext)) => {
                let mut text = ext.name().to_string();
                ext.list(&mut text);
                text
            }
            (Effect::Translated, _) => "translated".to_string(),
            (Effect::Connmarked { packet, connection }, _) => connmark_words(*packet, *connection),
            (Effect::Logged(_), Target::Ext(TargetExt::Log(log))) => log.words(),
            (Effect::Logged(_), _) => "logged".to_string(),
            (Effect::Changed { from, to }, Target::Ext(TargetExt::Tos(_))) => {
                format!("type of service {from:#04x} becomes {to:#04x}")
            }
            (Effect::Changed { from, to }, Target::Ext(ext)) => {
                let what = match ext {
                    TargetExt::Ttl(_) => "time to live",
                    _ => "segment size",
                };
                format!("{what} {from} becomes {to}")
            }
            (Effect::Changed { from, to }, _) => format!("{from} becomes {to}"),
            (Effect::Untracked, _) => "not tracked".to_string(),
        }
    }
}

fn connmark_words(packet: (u32, u32), connection: (u32, u32)) -> String {
    if packet.0 != packet.1 {
        return format!("mark {:#x} becomes {:#x}, the connection's", packet.0, packet.1);
    }
    format!("the connection's mark {:#x} becomes {:#x}", connection.0, connection.1)
}

impl fmt::Display for Eval {
    /// `KUBE-SERVICES 3: the destination is 10.96.0.1, the rule wants 10.96.0.10`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.chain, self.number)?;
        match &self.outcome {
            Outcome::Missed(miss) => f.write_str(&miss.sentence(&self.rule)),
            Outcome::Matched(effect) => f.write_str(&effect.words(&self.rule)),
        }
    }
}

impl fmt::Display for HookEvent {
    /// One line, or one a rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookEvent::Tracked { state, original: None, .. } => {
                write!(f, "conntrack: {}", ct_state_names(*state))
            }
            HookEvent::Tracked { state, original: Some(original), .. } => {
                write!(f, "conntrack: {} ({original})", ct_state_names(*state))
            }
            HookEvent::Table { table, evals, verdict } => {
                for eval in evals {
                    writeln!(f, "{table} {eval}")?;
                }
                match verdict {
                    TableVerdict::Accepted => write!(f, "{table}: accepted"),
                    TableVerdict::Dropped => write!(f, "{table}: dropped"),
                    TableVerdict::Policy(policy) => write!(f, "{table}: policy {policy}"),
                }
            }
            HookEvent::Nft { table, chain, evals, verdict } => {
                for NftEval { chain, number, outcome, .. } in evals {
                    writeln!(f, "{table} {chain} {number}: {}", outcome.sentence())?;
                }
                let verdict = match verdict {
                    TableVerdict::Accepted => "accepted",
                    TableVerdict::Dropped => "dropped",
                    TableVerdict::Policy(Policy::Accept) => "policy accept",
                    TableVerdict::Policy(Policy::Drop) => "policy drop",
                };
                write!(f, "{table} {chain}: {verdict}")
            }
            HookEvent::Translated { end, from, to, is_new } => {
                let end = match end {
                    End::Source => "source",
                    End::Destination => "destination",
                };
                let why = if *is_new { "decided now" } else { "as remembered" };
                write!(f, "{end} {}:{} becomes {}:{} ({why})", from.0, from.1, to.0, to.1)
            }
            HookEvent::Scheduled { protocol, service, server, choice } => {
                let protocol = crate::text::protocol_word(*protocol);
                write!(f, "ipvs: {protocol} {}:{} goes to ", service.0, service.1)?;
                write!(f, "{}:{} (", server.0, server.1)?;
                match choice {
                    ServerChoice::By(scheduler) => write!(f, "chosen by {})", scheduler.name()),
                    ServerChoice::Persistence => f.write_str("persistent)"),
                    ServerChoice::Remembered => f.write_str("as remembered)"),
                }
            }
            HookEvent::Confirmed { original, reply } => {
                write!(f, "conntrack: remembered {original} / {reply}")
            }
        }
    }
}
