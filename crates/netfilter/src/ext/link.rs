//! `-m mac`, `-m pkttype`, `-m physdev`: what the link that the packet came by knows of it.
//!
//! The namespace says it through [`crate::Surroundings`]; what it does not know does not fit, and the trace
//! says so.

use std::fmt::Write as _;

use packet::Mac;

use super::{Facts, Match, but};
use crate::iface::{IfName, IfPattern};
use crate::rule::{Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::text::parse::interface;
use crate::trace::{Field, Miss, Seen};

/// Options of `-m mac`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacSource {
    /// `--mac-source`
    pub source: Wanted<Mac>,
}

fn mac_words(mac: Mac) -> String {
    mac.0.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

impl MacSource {
    pub(crate) fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        let source = facts.surroundings.source_mac();
        let source = source.ok_or(Miss::new(Field::MacSource, Seen::Nothing))?;
        if (source == self.source.value) == self.source.not {
            return Err(Miss::new(Field::MacSource, Seen::Mac(source)));
        }
        Ok(())
    }

    pub(super) fn wanted(&self) -> String {
        format!("{}{}", but(self.source.not), mac_words(self.source.value))
    }

    pub(super) fn save(&self, out: &mut String) {
        let (bang, mac) = (self.source.bang(), mac_words(self.source.value));
        let _ = write!(out, " -m mac {bang}--mac-source {mac}");
    }

    pub(super) fn list(&self, out: &mut String) {
        let _ = write!(out, " MAC {}{}", self.source.bang(), mac_words(self.source.value));
    }
}

static MAC_OPTIONS: Options =
    Options { ext: "mac", table: &[Opt::new("mac-source", 0).may_not().must()] };

#[derive(Default)]
pub(super) struct MacParser(Option<MacSource>);

impl super::MatchParser for MacParser {
    fn options(&self) -> &'static Options {
        &MAC_OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let invalid = || ParseError::new("Invalid MAC address specified.");
        let mut bytes = [0; 6];
        let mut parts = given.value.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| (1..=2).contains(&part.len()));
            let part = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = part.ok_or_else(invalid)?;
        }
        if parts.next().is_some() {
            return Err(invalid());
        }
        self.0 = Some(MacSource { source: Wanted { not: given.not, value: Mac(bytes) } });
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(self.0.map(Match::MacSource))
    }
}

/// To whom the link says a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PktType {
    /// To this host.
    Unicast,
    /// To everybody.
    Broadcast,
    /// To a group.
    Multicast,
    /// To another host.
    OtherHost,
}

impl PktType {
    /// The name after `--pkt-type`.
    pub fn name(self) -> &'static str {
        match self {
            PktType::Unicast => "unicast",
            PktType::Broadcast => "broadcast",
            PktType::Multicast => "multicast",
            PktType::OtherHost => "otherhost",
        }
    }
}

/// Names and aliases.
const TYPES: [(&str, PktType); 6] = [
    ("unicast", PktType::Unicast),
    ("host", PktType::Unicast),
    ("broadcast", PktType::Broadcast),
    ("multicast", PktType::Multicast),
    ("otherhost", PktType::OtherHost),
    ("to-other", PktType::OtherHost),
];

/// Options of `-m pkttype`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PktTypeMatch {
    /// `--pkt-type`
    pub kind: Wanted<PktType>,
}

impl PktTypeMatch {
    pub(crate) fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        let seen = facts.surroundings.packet_type();
        if (seen == self.kind.value) == self.kind.not {
            return Err(Miss::new(Field::PacketType, Seen::PktType(seen)));
        }
        Ok(())
    }

    pub(super) fn wanted(&self) -> String {
        format!("{}{}", but(self.kind.not), self.kind.value.name())
    }

    pub(super) fn save(&self, out: &mut String) {
        let (bang, name) = (self.kind.bang(), self.kind.value.name());
        let _ = write!(out, " -m pkttype {bang}--pkt-type {name}");
    }

    pub(super) fn list(&self, out: &mut String) {
        let sign = if self.kind.not { "!=" } else { "=" };
        let _ = write!(out, " PKTTYPE {sign} {}", self.kind.value.name());
    }
}

static PKTTYPE_OPTIONS: Options =
    Options { ext: "pkttype", table: &[Opt::new("pkt-type", 0).may_not().must()] };

#[derive(Default)]
pub(super) struct PktTypeParser(Option<PktTypeMatch>);

impl super::MatchParser for PktTypeParser {
    fn options(&self) -> &'static Options {
        &PKTTYPE_OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let known = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(given.value));
        let bad = || ParseError::new(format!("Bad packet type '{}'", given.value));
        let kind = known.ok_or_else(bad)?.1;
        self.0 = Some(PktTypeMatch { kind: Wanted { not: given.not, value: kind } });
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(self.0.map(Match::PktType))
    }
}

/// Options of `-m physdev`: ports of a bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Physdev {
    /// `--physdev-in`
    pub iif: Option<Wanted<IfPattern>>,
    /// `--physdev-out`
    pub oif: Option<Wanted<IfPattern>>,
    /// `--physdev-is-in`
    pub is_in: Option<Wanted<()>>,
    /// `--physdev-is-out`
    pub is_out: Option<Wanted<()>>,
    /// `--physdev-is-bridged`
    pub is_bridged: Option<Wanted<()>>,
}

impl Physdev {
    /// It asks for the port a packet will leave by, which is known only once it is forwarded.
    pub(super) fn asks_out(&self) -> bool {
        self.oif.is_some() || self.is_out.is_some_and(|w| !w.not)
    }

    pub(crate) fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        let (iif, oif) = facts.surroundings.bridge_ports();
        let states = [
            (self.is_in, !iif.is_none(), Field::BridgeIn, Seen::Iface(iif)),
            (self.is_out, !oif.is_none(), Field::BridgeOut, Seen::Iface(oif)),
            (
                self.is_bridged,
                !iif.is_none() && !oif.is_none(),
                Field::Bridged,
                Seen::Iface(if oif.is_none() { oif } else { iif }),
            ),
        ];
        for (wanted, seen, field, shown) in states {
            if let Some(wanted) = wanted
                && seen == wanted.not
            {
                return Err(Miss::new(field, shown));
            }
        }
        for (wanted, name, field) in
            [(self.iif, iif, Field::BridgeIn), (self.oif, oif, Field::BridgeOut)]
        {
            if let Some(wanted) = wanted
                && matches_port(&wanted.value, name) == wanted.not
            {
                return Err(Miss::new(field, Seen::Iface(name)));
            }
        }
        Ok(())
    }

    pub(super) fn wanted(&self, field: Field) -> Option<String> {
        let (named, any) = match field {
            Field::BridgeIn => (self.iif, self.is_in),
            Field::BridgeOut => (self.oif, self.is_out),
            Field::Bridged => (None, self.is_bridged),
            _ => return None,
        };
        match (any, named) {
            (Some(w), _) if w.not => Some("none".to_string()),
            (_, Some(w)) => Some(format!("{}{}", but(w.not), w.value)),
            _ => Some("a port of a bridge".to_string()),
        }
    }

    fn print(&self, out: &mut String) {
        let flag = |out: &mut String, wanted: &Option<Wanted<()>>, name: &str| {
            if let Some(w) = wanted {
                let _ = write!(out, " {}--physdev-{name}", w.bang());
            }
        };
        let port = |out: &mut String, wanted: &Option<Wanted<IfPattern>>, name: &str| {
            if let Some(w) = wanted {
                let _ = write!(out, " {}--physdev-{name} {}", w.bang(), w.value);
            }
        };
        flag(out, &self.is_in, "is-in");
        port(out, &self.iif, "in");
        flag(out, &self.is_out, "is-out");
        port(out, &self.oif, "out");
        flag(out, &self.is_bridged, "is-bridged");
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m physdev");
        self.print(out);
    }

    pub(super) fn list(&self, out: &mut String) {
        out.push_str(" PHYSDEV match");
        self.print(out);
    }
}

fn matches_port(pattern: &IfPattern, name: IfName) -> bool {
    !name.is_none() && pattern.matches(name)
}

static PHYSDEV_OPTIONS: Options = Options {
    ext: "physdev",
    table: &[
        Opt::new("physdev-in", 0).may_not(),
        Opt::new("physdev-out", 1).may_not(),
        Opt::flag("physdev-is-in", 2).may_not(),
        Opt::flag("physdev-is-out", 3).may_not(),
        Opt::flag("physdev-is-bridged", 4).may_not(),
    ],
};

#[derive(Default)]
pub(super) struct PhysdevParser(Physdev);

impl super::MatchParser for PhysdevParser {
    fn options(&self) -> &'static Options {
        &PHYSDEV_OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let not = given.not;
        let flag = Some(Wanted { not, value: () });
        match given.opt.id {
            0 => self.0.iif = Some(Wanted { not, value: interface(given.value)? }),
            1 => self.0.oif = Some(Wanted { not, value: interface(given.value)? }),
            2 => self.0.is_in = flag,
            3 => self.0.is_out = flag,
            _ => self.0.is_bridged = flag,
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ParseError> {
        if self.0 == Physdev::default() {
            return Err(ParseError::new("PHYSDEV: no physdev option specified"));
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        Ok(Some(Match::Physdev(self.0)))
    }
}
