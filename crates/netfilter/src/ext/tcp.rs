//! `-m tcp`: ports and flags.

use std::fmt::Write as _;

use packet::{L4, protocol, tcp_flags};

use super::udp::{
    DPORT, PortRange, SPORT, check_ports, list_ports, save_ports, wanted_ports, without_all,
};
use super::{Facts, Match, but};
use crate::rule::{Header, Wanted};
use crate::text::options::{Given, Opt, Options};
use crate::text::{ParseError, parse_number};
use crate::trace::{Field, Miss, Seen};

/// Options of `-m tcp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// `--sport`
    pub sport: Option<Wanted<PortRange>>,
    /// `--dport`
    pub dport: Option<Wanted<PortRange>>,
    /// `--tcp-flags MASK COMP`: of the flags in the first, exactly those in the second are set.
    pub flags: Option<Wanted<(u8, u8)>>,
    /// `--tcp-option`: the header has an option of this number.
    pub option: Option<Wanted<u8>>,
}

const NAMES: [(u8, &str); 6] = [
    (tcp_flags::FIN, "FIN"),
    (tcp_flags::SYN, "SYN"),
    (tcp_flags::RST, "RST"),
    (tcp_flags::PSH, "PSH"),
    (tcp_flags::ACK, "ACK"),
    (tcp_flags::URG, "URG"),
];

/// What `--syn` stands for.
const SYN: (u8, u8) =
    (tcp_flags::FIN | tcp_flags::SYN | tcp_flags::RST | tcp_flags::ACK, tcp_flags::SYN);

/// `FIN,SYN,RST,ACK`; `NONE` for no flag. Congestion flags have no name here.
pub(crate) fn flag_names(flags: u8) -> String {
    let names: Vec<_> =
        NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    if names.is_empty() { "NONE".to_string() } else { names.join(",") }
}

fn parse_flags(text: &str) -> Result<u8, ParseError> {
    let mut flags = 0;
    for name in text.split(',') {
        flags |= match name.to_ascii_uppercase().as_str() {
            "ALL" => 0x3f,
            "NONE" => 0,
            upper => {
                let known = NAMES.iter().find(|(_, known)| *known == upper);
                let unknown = || ParseError::new(format!("Unknown TCP flag `{name}'"));
                known.ok_or_else(unknown)?.0
            }
        };
    }
    Ok(flags)
}

impl Tcp {
    #[inline]
    pub(crate) fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        let L4::Tcp { sport, dport, flags } = facts.head.l4 else {
            return Err(Miss::new(Field::Protocol, Seen::Nothing));
        };
        check_ports(&self.sport, &self.dport, sport, dport)?;
        if let Some(wanted) = self.flags
            && (flags & wanted.value.0 == wanted.value.1) == wanted.not
        {
            return Err(Miss::new(Field::TcpFlags, Seen::Flags(flags)));
        }
        if let Some(wanted) = self.option
            && has_option(facts.skb.packet.payload(), wanted.value) == wanted.not
        {
            let seen =
                if wanted.not { Seen::Number(u32::from(wanted.value)) } else { Seen::Nothing };
            return Err(Miss::new(Field::TcpOption, seen));
        }
        Ok(())
    }

    pub(super) fn wanted(&self, field: Field) -> Option<String> {
        match (field, self.flags) {
            (Field::TcpFlags, Some(Wanted { not, value: (mask, set) })) => {
                Some(format!("{}{} of {}", but(not), flag_names(set), flag_names(mask)))
            }
            (Field::TcpOption, _) => self.option.map(|w| format!("{}{}", but(w.not), w.value)),
            (Field::Protocol, _) => Some("a whole TCP header".to_string()),
            _ => wanted_ports(&self.sport, &self.dport, field),
        }
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m tcp");
        save_ports(&self.sport, &self.dport, out);
        if let Some(option) = &self.option {
            let _ = write!(out, " {}--tcp-option {}", option.bang(), option.value);
        }
        if let Some(flags) = &self.flags {
            let (mask, set) = flags.value;
            let _ = write!(
                out,
                " {}--tcp-flags {} {}",
                flags.bang(),
                flag_names(mask),
                flag_names(set)
            );
        }
    }

    pub(super) fn list(&self, out: &mut String) {
        out.push_str(" tcp");
        list_ports(&self.sport, &self.dport, out);
        if let Some(Wanted { not, value }) = self.option {
            let _ = write!(out, " option={}{value}", if not { "!" } else { "" });
        }
        if let Some(flags) = &self.flags {
            let (mask, set) = flags.value;
            let bang = if flags.not { "!" } else { "" };
            let _ = write!(out, " flags:{bang}0x{mask:02X}/0x{set:02X}");
        }
    }
}

/// Whether the TCP header at the beginning of `segment` has an option of this kind (`tcp_find_option`).
fn has_option(segment: &[u8], kind: u8) -> bool {
    let end = segment.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
    let mut at = 20;
    while at < end {
        let Some(&found) = segment.get(at) else { return false };
        if found == kind {
            return true;
        }
        at += match found {
            0 | 1 => 1,
            _ => usize::from(segment.get(at + 1).copied().unwrap_or(1).max(1)),
        };
    }
    false
}

const FLAGS: u8 = 2;
const SYN_ID: u8 = 3;
const OPTION: u8 = 4;

static OPTIONS: Options = Options {
    ext: "tcp",
    table: &[
        Opt::new("source-port", SPORT).may_not().many(),
        Opt::new("sport", SPORT).may_not().many(),
        Opt::new("destination-port", DPORT).may_not().many(),
        Opt::new("dport", DPORT).may_not().many(),
        Opt::flag("syn", SYN_ID).may_not().many(),
        Opt::new("tcp-flags", FLAGS).may_not().many(),
        Opt::new("tcp-option", OPTION).may_not().many(),
    ],
};

#[derive(Default)]
pub(super) struct Parser(Tcp);

impl Parser {
    fn once<T>(slot: &mut Option<T>, value: T, message: &str) -> Result<(), ParseError> {
        if slot.is_some() {
            return Err(ParseError::new(message));
        }
        *slot = Some(value);
        Ok(())
    }
}

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let not = given.not;
        let flags_twice = "Only one of `--syn' or `--tcp-flags'  allowed";
        match given.opt.id {
            SPORT => {
                let message = "Only one `--source-port' allowed";
                Self::once(
                    &mut self.0.sport,
                    Wanted { not, value: PortRange { from: 0, to: 0 } },
                    message,
                )?;
                self.0.sport = Some(Wanted { not, value: PortRange::parse_ordered(given.value)? });
            }
            DPORT => {
                let message = "Only one `--destination-port' allowed";
                Self::once(
                    &mut self.0.dport,
                    Wanted { not, value: PortRange { from: 0, to: 0 } },
                    message,
                )?;
                self.0.dport = Some(Wanted { not, value: PortRange::parse_ordered(given.value)? });
            }
            SYN_ID => Self::once(&mut self.0.flags, Wanted { not, value: SYN }, flags_twice)?,
            FLAGS => {
                Self::once(&mut self.0.flags, Wanted { not, value: (0, 0) }, flags_twice)?;
                let second = given.second();
                let second =
                    second.ok_or_else(|| ParseError::new("--tcp-flags requires two args."))?;
                let value = (parse_flags(given.value)?, parse_flags(second)?);
                self.0.flags = Some(Wanted { not, value });
            }
            _ => {
                let bad = || ParseError::new(format!("Bad TCP option \"{}\"", given.value));
                let number = parse_number(given.value).filter(|number| (1..=255).contains(number));
                let value = number.ok_or_else(bad)? as u8;
                let message = "Only one `--tcp-option' allowed";
                Self::once(&mut self.0.option, Wanted { not, value }, message)?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, header: &Header) -> Result<Option<Match>, ParseError> {
        let tcp = &mut self.0;
        let asked = tcp.sport.is_some() || tcp.dport.is_some() || tcp.flags.is_some();
        if asked && header.protocol.is_none_or(|p| p.value != protocol::TCP) {
            return Err(ParseError::new("TCP match requires '-p tcp'"));
        }
        let was_none = without_all(&mut tcp.sport) | without_all(&mut tcp.dport);
        tcp.flags = tcp.flags.filter(|flags| flags.value != (0, 0) || flags.not);
        Ok((self.0 != Tcp::default() || !was_none).then_some(Match::Tcp(self.0)))
    }
}
