//! `-m ipvs`: packets of virtual services (`net/netfilter/xt_ipvs.c`).

use std::fmt::Write as _;

use super::{Facts, Match, but};
use crate::conntrack::{CtSlot, Direction};
use crate::ipvs::Handled;
use crate::rule::{AddrMask, Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::text::parse::parse_addr_mask;
use crate::text::words::{find_port, parse_protocol};
use crate::trace::{Field, Miss, Seen};

/// Options of `-m ipvs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpvsMatch {
    /// `--ipvs` alone: virtual servers have to do with the packet.
    pub property: Option<Wanted<()>>,
    /// `--vproto`
    pub protocol: Option<Wanted<u8>>,
    /// `--vaddr`
    pub addr: Option<Wanted<AddrMask>>,
    /// `--vport`
    pub port: Option<Wanted<u16>>,
    /// `--vdir`
    pub direction: Option<Wanted<Direction>>,
    /// `--vmethod MASQ`; nothing else is forwarded by here.
    pub masquerading: Option<Wanted<()>>,
}

impl IpvsMatch {
    pub(crate) fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        let none = Err(Miss::new(Field::Virtual, Seen::Nothing));
        let Handled::Done(service) = facts.skb.ipvs else {
            return if self.property.is_some_and(|wanted| wanted.not) { Ok(()) } else { none };
        };
        let asks = self
            .property
            .filter(|_| *self == IpvsMatch { property: self.property, ..IpvsMatch::default() });
        if asks.is_some_and(|wanted| wanted.not) {
            return none;
        }
        let direction = match facts.skb.ct {
            CtSlot::Tracked { info, .. } => info.direction(),
            _ => Direction::Original,
        };
        let miss = |fits: Option<bool>, seen| match fits {
            Some(false) => Err(Miss::new(Field::Virtual, seen)),
            _ => Ok(()),
        };
        let fits = self.protocol.map(|w| (w.value == service.protocol) != w.not);
        miss(fits, Seen::Protocol(service.protocol))?;
        let fits = self.addr.map(|w| w.value.contains(service.addr) != w.not);
        miss(fits, Seen::Addr(service.addr))?;
        miss(self.port.map(|w| (w.value == service.port) != w.not), Seen::Port(service.port))?;
        let fits = self.direction.map(|w| (w.value == direction) != w.not);
        miss(fits, Seen::Direction(direction))?;
        miss(self.masquerading.map(|w| !w.not), Seen::Nothing)
    }

    pub(super) fn wanted(&self) -> String {
        let mut words = Vec::new();
        if let Some(w) = self.property {
            words.push(format!("{}a virtual one", but(w.not)));
        }
        if let Some(w) = self.protocol {
            words.push(format!("{}{}", but(w.not), crate::text::protocol_word(w.value)));
        }
        if let Some(w) = self.addr {
            words.push(format!("{}{}", but(w.not), w.value));
        }
        if let Some(w) = self.port {
            words.push(format!("{}port {}", but(w.not), w.value));
        }
        if let Some(w) = self.direction {
            words.push(format!("{}{}", but(w.not), direction_word(w.value)));
        }
        words.join(" and ")
    }

    fn print(&self, out: &mut String, dashes: &str) {
        let mut say = |not: bool, word: &str, value: String| {
            let bang = if not { " !" } else { "" };
            let blank = if value.is_empty() { "" } else { " " };
            let _ = write!(out, "{bang} {dashes}{word}{blank}{value}");
        };
        if let Some(w) = self.property {
            say(w.not, "ipvs", String::new());
        }
        if let Some(w) = self.protocol {
            say(w.not, "vproto", w.value.to_string());
        }
        if let Some(w) = self.addr {
            let text = match w.value.prefix_len() {
                Some(32) => w.value.addr.to_string(),
                _ => w.value.to_string(),
            };
            say(w.not, "vaddr", text);
        }
        if let Some(w) = self.port {
            say(w.not, "vport", w.value.to_string());
        }
        if let Some(w) = self.direction {
            say(w.not, "vdir", direction_word(w.value).to_string());
        }
        if let Some(w) = self.masquerading {
            say(w.not, "vmethod", "MASQ".to_string());
        }
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m ipvs");
        self.print(out, "--");
    }

    pub(super) fn list(&self, out: &mut String) {
        self.print(out, "");
    }
}

fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Original => "ORIGINAL",
        Direction::Reply => "REPLY",
    }
}

static OPTIONS: Options = Options {
    ext: "ipvs",
    table: &[
        Opt::flag("ipvs", 0).may_not(),
        Opt::new("vproto", 1).may_not(),
        Opt::new("vaddr", 2).may_not(),
        Opt::new("vport", 3).may_not(),
        Opt::new("vdir", 4),
        Opt::new("vmethod", 5).may_not(),
        Opt::new("vportctl", 6).may_not(),
    ],
};

#[derive(Default)]
pub(super) struct Parser(IpvsMatch);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let (not, text) = (given.not, given.value);
        let bad = || given.bad(text);
        match given.opt.id {
            0 => self.0.property = Some(Wanted { not, value: () }),
            1 => self.0.protocol = Some(Wanted { not, value: parse_protocol(text)? }),
            2 => {
                let value = parse_addr_mask(text)?;
                self.0.addr = Some(Wanted { not, value });
            }
            3 => {
                let value = find_port(text).ok_or_else(bad)?;
                self.0.port = Some(Wanted { not, value });
            }
            4 => {
                let value = match text {
                    "ORIGINAL" => Direction::Original,
                    "REPLY" => Direction::Reply,
                    _ => return Err(bad()),
                };
                self.0.direction = Some(Wanted { not, value });
            }
            5 if text == "MASQ" => self.0.masquerading = Some(Wanted { not, value: () }),
            5 if matches!(text, "GATE" | "IPIP") => {
                return Err(ParseError::unsupported(&format!("ipvs: method {text}")));
            }
            5 => return Err(bad()),
            _ => return Err(ParseError::unsupported("ipvs: option \"--vportctl\"")),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        if self.0 == IpvsMatch::default() {
            return Err(ParseError::new("IPVS: At least one option is required"));
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Ipvs(self.0)))
    }
}
