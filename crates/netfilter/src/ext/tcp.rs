//! `-m tcp`: ports and flags.

use std::fmt::Write as _;

use packet::{Head, L4, tcp_flags};

use super::Match;
use super::udp::{PortRange, check_ports, list_ports, save_ports, wanted_ports};
use crate::rule::Wanted;
use crate::text::{ParseError, Words};
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

fn parse_flags(text: &str) -> Option<u8> {
    text.split(',').try_fold(0, |flags, name| match name.to_ascii_uppercase().as_str() {
        "ALL" => Some(0x3f),
        "NONE" => Some(flags),
        name => NAMES.iter().find(|(_, known)| *known == name).map(|(bit, _)| flags | bit),
    })
}

impl Tcp {
    #[inline]
    pub(crate) fn check(&self, head: &Head) -> Result<(), Miss> {
        let L4::Tcp { sport, dport, flags } = head.l4 else {
            return Err(Miss::new(Field::Protocol, Seen::Nothing));
        };
        check_ports(&self.sport, &self.dport, sport, dport)?;
        match self.flags {
            Some(wanted) if (flags & wanted.value.0 == wanted.value.1) == wanted.not => {
                Err(Miss::new(Field::TcpFlags, Seen::Flags(flags)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn wanted(&self, field: Field) -> Option<String> {
        match (field, self.flags) {
            (Field::TcpFlags, Some(Wanted { not, value: (mask, set) })) => {
                let not = if not { "anything but " } else { "" };
                Some(format!("{not}{} of {}", flag_names(set), flag_names(mask)))
            }
            (Field::Protocol, _) => Some("a whole TCP header".to_string()),
            _ => wanted_ports(&self.sport, &self.dport, field),
        }
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m tcp");
        save_ports(&self.sport, &self.dport, out);
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
        if let Some(flags) = &self.flags {
            let (mask, set) = flags.value;
            let bang = if flags.not { "!" } else { "" };
            let _ = write!(out, " flags:{bang}0x{mask:02X}/0x{set:02X}");
        }
    }
}

#[derive(Default)]
pub(super) struct Parser(Tcp);

impl super::MatchParser for Parser {
    fn option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<bool, ParseError> {
        match option {
            "--sport" | "--source-port" => {
                self.0.sport = Some(Wanted { not, value: PortRange::parse(words.value(option)?)? });
            }
            "--dport" | "--destination-port" => {
                self.0.dport = Some(Wanted { not, value: PortRange::parse(words.value(option)?)? });
            }
            "--syn" => self.0.flags = Some(Wanted { not, value: SYN }),
            "--tcp-flags" => {
                let (mask, set) = (words.value(option)?, words.value(option)?);
                let flags = |text: &str| {
                    parse_flags(text).ok_or_else(|| ParseError::UnknownTcpFlag(text.to_string()))
                };
                self.0.flags = Some(Wanted { not, value: (flags(mask)?, flags(set)?) });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self: Box<Self>) -> Result<Match, ParseError> {
        Ok(Match::Tcp(self.0))
    }
}
