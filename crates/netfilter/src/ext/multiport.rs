//! `-m multiport`: up to fifteen ports (`net/netfilter/xt_multiport.c`).

use std::fmt::Write as _;

use packet::{Head, protocol};

use super::udp::PortRange;
use super::{Match, but};
use crate::rule::{Header, Wanted};
use crate::text::options::{Given, Opt, Options};
use crate::text::{ParseError, parse_port};
use crate::trace::{Field, Miss, Seen};

/// Places for ports; a range takes two (`XT_MULTI_PORTS`).
const PORTS_MAX: usize = 15;

/// Which port is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `--sports`
    Source,
    /// `--dports`
    Destination,
    /// `--ports`: the one or the other.
    Either,
}

/// Options of `-m multiport`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multiport {
    /// Which port.
    pub side: Side,
    /// The ports.
    pub ports: Wanted<Vec<PortRange>>,
}

impl Multiport {
    pub(crate) fn check(&self, head: &Head) -> Result<(), Miss> {
        let field = self.field();
        let Some((sport, dport)) = head.ports() else {
            return Err(Miss::new(field, Seen::Nothing));
        };
        let has = |port: u16| self.ports.value.iter().any(|range| range.contains(port));
        let fits = match self.side {
            Side::Source => has(sport),
            Side::Destination => has(dport),
            Side::Either => has(sport) || has(dport),
        };
        if fits == self.ports.not {
            let seen = if self.side == Side::Source { sport } else { dport };
            return Err(Miss::new(field, Seen::Port(seen)));
        }
        Ok(())
    }

    fn field(&self) -> Field {
        match self.side {
            Side::Source => Field::SourcePorts,
            Side::Destination => Field::DestinationPorts,
            Side::Either => Field::EitherPort,
        }
    }

    pub(super) fn wanted(&self, field: Field) -> Option<String> {
        let one_of = if self.ports.value.len() > 1 { "one of " } else { "" };
        (field == self.field()).then(|| format!("{}{one_of}{}", but(self.ports.not), self.listed()))
    }

    fn word(&self) -> &'static str {
        match self.side {
            Side::Source => "sports",
            Side::Destination => "dports",
            Side::Either => "ports",
        }
    }

    fn listed(&self) -> String {
        self.ports.value.iter().map(PortRange::to_string).collect::<Vec<_>>().join(",")
    }

    pub(super) fn save(&self, out: &mut String) {
        let (bang, word) = (self.ports.bang(), self.word());
        let _ = write!(out, " -m multiport {bang}--{word} {}", self.listed());
    }

    pub(super) fn list(&self, out: &mut String) {
        let bang = if self.ports.not { " !" } else { "" };
        let _ = write!(out, " multiport {} {bang}{}", self.word(), self.listed());
    }
}

const SOURCE: u8 = 0;
const DESTINATION: u8 = 1;
const EITHER: u8 = 2;
const SIDES: u32 = 7;

const fn side(name: &'static str, id: u8) -> Opt {
    Opt::new(name, id).may_not().not_with(SIDES & !(1 << id))
}

static OPTIONS: Options = Options {
    ext: "multiport",
    table: &[
        side("source-ports", SOURCE),
        side("sports", SOURCE),
        side("destination-ports", DESTINATION),
        side("dports", DESTINATION),
        side("ports", EITHER),
        side("port", EITHER),
    ],
};

#[derive(Default)]
pub(super) struct Parser(Option<Multiport>);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        match given.around.protocol {
            None => {
                return Err(ParseError::new(
                    "multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'",
                ));
            }
            Some(Wanted {
                not: false,
                value: protocol::TCP | protocol::UDP | protocol::SCTP | 33 | 136,
            }) => {}
            Some(_) => {
                return Err(ParseError::new(
                    "multiport only works with TCP, UDP, UDPLITE, SCTP and DCCP",
                ));
            }
        }
        let side = match given.opt.id {
            SOURCE => Side::Source,
            DESTINATION => Side::Destination,
            _ => Side::Either,
        };
        let ports = Wanted { not: given.not, value: parse_ports(given.value)? };
        self.0 = Some(Multiport { side, ports });
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        match self.0 {
            Some(_) => Ok(()),
            None => Err(ParseError::new("multiport expection an option")),
        }
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(self.0.map(Match::Multiport))
    }
}

fn parse_ports(text: &str) -> Result<Vec<PortRange>, ParseError> {
    let too_many = || ParseError::new("too many ports specified");
    let mut places = 0;
    let mut ports = Vec::new();
    for part in text.split(',') {
        if places >= PORTS_MAX {
            return Err(too_many());
        }
        let (from, to) = match part.split_once(':') {
            Some((from, to)) => (from, Some(to)),
            None => (part, None),
        };
        let range = PortRange { from: parse_port(from)?, to: parse_port(to.unwrap_or(from))? };
        if to.is_some() {
            if places + 1 >= PORTS_MAX {
                return Err(too_many());
            }
            if range.from >= range.to {
                return Err(ParseError::new("invalid portrange specified"));
            }
        }
        places += if to.is_some() { 2 } else { 1 };
        ports.push(range);
    }
    Ok(ports)
}
