//! `-m sctp`: ports and chunk types (`net/netfilter/xt_sctp.c`).

use std::fmt::Write as _;

use packet::L4;

use super::udp::{DPORT, PortRange, SPORT, check_ports, list_ports, save_ports, wanted_ports};
use super::{Facts, Match, but};
use crate::rule::{Header, Wanted};
use crate::text::ParseError;
use crate::text::options::{Given, Opt, Options};
use crate::trace::{Field, Miss, Seen};

/// Options of `-m sctp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sctp {
    /// `--sport`
    pub sport: Option<Wanted<PortRange>>,
    /// `--dport`
    pub dport: Option<Wanted<PortRange>>,
    /// `--chunk-types`
    pub chunks: Option<Wanted<Chunks>>,
}

/// How the chunks of a packet are compared with the listed types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// All listed types are there.
    All,
    /// One of them is there.
    Any,
    /// No other type is there.
    Only,
}

/// Options of `--chunk-types`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// How they are compared.
    pub how: How,
    /// Types, a bit for each.
    pub types: [u128; 2],
    /// Of a type: bits of its flags that are compared, and what they are to be.
    pub flags: Vec<(u8, u8, u8)>,
}

/// Types by name, with the letters of their flags, highest bit first.
const TYPES: [(&str, u8, &str); 18] = [
    ("DATA", 0, "----IUBE"),
    ("INIT", 1, ""),
    ("INIT_ACK", 2, ""),
    ("SACK", 3, ""),
    ("HEARTBEAT", 4, ""),
    ("HEARTBEAT_ACK", 5, ""),
    ("ABORT", 6, "-------T"),
    ("SHUTDOWN", 7, ""),
    ("SHUTDOWN_ACK", 8, ""),
    ("ERROR", 9, ""),
    ("COOKIE_ECHO", 10, ""),
    ("COOKIE_ACK", 11, ""),
    ("ECN_ECNE", 12, ""),
    ("ECN_CWR", 13, ""),
    ("SHUTDOWN_COMPLETE", 14, "-------T"),
    ("I_DATA", 64, "----IUBE"),
    ("RE_CONFIG", 130, ""),
    ("ASCONF", 193, ""),
];

/// Types that have a name here but that iptables 1.8.9 does not read.
const LATER: u8 = 64;

impl Chunks {
    fn has(&self, kind: u8) -> bool {
        let word = if kind < 128 { self.types[0] } else { self.types[1] };
        word >> (kind & 127) & 1 != 0
    }

    fn add(&mut self, kind: u8) {
        let bit = 1 << (kind & 127);
        if kind < 128 { self.types[0] |= bit } else { self.types[1] |= bit }
    }

    fn listed(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=255).filter(|kind| self.has(*kind))
    }

    /// Whether a chunk of a listed type has the flags asked for.
    fn flags_fit(&self, kind: u8, flags: u8) -> bool {
        let asked = self.flags.iter().find(|(of, ..)| *of == kind);
        asked.is_none_or(|(_, mask, wanted)| flags & mask == *wanted)
    }

    fn fit(&self, chunks: &[(u8, u8)]) -> bool {
        let is_listed = |&(kind, flags): &(u8, u8)| self.has(kind) && self.flags_fit(kind, flags);
        match self.how {
            How::Any => chunks.iter().any(is_listed),
            How::Only => chunks.iter().all(is_listed),
            How::All => self.listed().all(|kind| {
                chunks.iter().any(|chunk| chunk.0 == kind && self.flags_fit(kind, chunk.1))
            }),
        }
    }

    /// `any INIT,DATA:Be`; in `iptables -L -n` types are numbers.
    fn print(&self, numeric: bool, out: &mut String) {
        out.push_str(match self.how {
            How::All => "all ",
            How::Any => "any ",
            How::Only => "only ",
        });
        match self.types {
            [0, 0] => return out.push_str("NONE"),
            [u128::MAX, u128::MAX] => return out.push_str("ALL"),
            _ => {}
        }
        for (at, kind) in self.listed().enumerate() {
            if at > 0 {
                out.push(',');
            }
            let named = TYPES.iter().find(|(_, known, _)| *known == kind);
            let _ = match named {
                Some((name, ..)) if !numeric => write!(out, "{name}"),
                _ => write!(out, "0x{kind:04X}"),
            };
            let Some((_, mask, wanted)) = self.flags.iter().find(|(of, ..)| *of == kind) else {
                continue;
            };
            out.push(':');
            for (at, letter) in named.map_or("", |(.., flags)| flags).chars().enumerate() {
                let bit = 0x80u8.checked_shr(at as u32).unwrap_or(0);
                if mask & bit != 0 {
                    let is_set = wanted & bit != 0;
                    out.push(if is_set { letter } else { letter.to_ascii_lowercase() });
                }
            }
        }
    }
}

/// Types and flags of the chunks after the common header.
fn chunks_of(segment: &[u8]) -> Vec<(u8, u8)> {
    let mut chunks = Vec::new();
    let mut at = 12;
    while let Some([kind, flags, high, low]) = segment.get(at..at + 4) {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        if len < 4 {
            break;
        }
        chunks.push((*kind, *flags));
        at += len.next_multiple_of(4);
    }
    chunks
}

impl Sctp {
    pub(crate) fn check(&self, facts: &Facts<'_>) -> Result<(), Miss> {
        let L4::Sctp { sport, dport } = facts.head.l4 else {
            return Err(Miss::new(Field::Protocol, Seen::Nothing));
        };
        check_ports(&self.sport, &self.dport, sport, dport)?;
        if let Some(wanted) = &self.chunks {
            let chunks = chunks_of(facts.skb.packet.payload());
            if wanted.value.fit(&chunks) == wanted.not {
                let first = chunks.first().map_or(Seen::Nothing, |c| Seen::Number(c.0.into()));
                return Err(Miss::new(Field::ChunkTypes, first));
            }
        }
        Ok(())
    }

    pub(super) fn wanted(&self, field: Field) -> Option<String> {
        if field == Field::ChunkTypes {
            let wanted = self.chunks.as_ref()?;
            let mut out = but(wanted.not).to_string();
            wanted.value.print(false, &mut out);
            return Some(out);
        }
        wanted_ports(&self.sport, &self.dport, field)
    }

    pub(super) fn save(&self, out: &mut String) {
        out.push_str(" -m sctp");
        save_ports(&self.sport, &self.dport, out);
        if let Some(chunks) = &self.chunks {
            let _ = write!(out, " {}--chunk-types ", chunks.bang());
            chunks.value.print(false, out);
        }
    }

    pub(super) fn list(&self, out: &mut String) {
        out.push_str(" sctp");
        list_ports(&self.sport, &self.dport, out);
        if let Some(chunks) = &self.chunks {
            let _ = write!(out, " {}", chunks.bang());
            chunks.value.print(true, out);
        }
    }
}

const CHUNKS: u8 = 2;

static OPTIONS: Options = Options {
    ext: "sctp",
    table: &[
        Opt::new("source-port", SPORT).may_not().many(),
        Opt::new("sport", SPORT).may_not().many(),
        Opt::new("destination-port", DPORT).may_not().many(),
        Opt::new("dport", DPORT).may_not().many(),
        Opt::new("chunk-types", CHUNKS).may_not().many(),
    ],
};

#[derive(Default)]
pub(super) struct Parser(Sctp);

impl super::MatchParser for Parser {
    fn options(&self) -> &'static Options {
        &OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        let not = given.not;
        let (is_there, what) = match given.opt.id {
            SPORT => (self.0.sport.is_some(), "--source-port"),
            DPORT => (self.0.dport.is_some(), "--destination-port"),
            _ => (self.0.chunks.is_some(), "--chunk-types"),
        };
        if is_there {
            return Err(ParseError::new(format!("Only one `{what}' allowed")));
        }
        match given.opt.id {
            SPORT => {
                self.0.sport = Some(Wanted { not, value: PortRange::parse_ordered(given.value)? });
            }
            DPORT => {
                self.0.dport = Some(Wanted { not, value: PortRange::parse_ordered(given.value)? });
            }
            _ => {
                let types = given.second();
                let types =
                    types.ok_or_else(|| ParseError::new("--chunk-types requires two args"))?;
                let value = parse_chunks(given.value, types)?;
                self.0.chunks = Some(Wanted { not, value });
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &Header) -> Result<Option<Match>, ParseError> {
        let is_all = |w: &Wanted<PortRange>| w.value.is_all() && !w.not;
        self.0.sport = self.0.sport.filter(|w| !is_all(w));
        self.0.dport = self.0.dport.filter(|w| !is_all(w));
        Ok(Some(Match::Sctp(self.0)))
    }
}

fn parse_chunks(how: &str, types: &str) -> Result<Chunks, ParseError> {
    let how = match how.to_ascii_lowercase().as_str() {
        "all" => How::All,
        "any" => How::Any,
        "only" => How::Only,
        _ => {
            return Err(ParseError::new(
                "Match type has to be one of \"ALL\", \"ANY\" or \"ONLY\"",
            ));
        }
    };
    let mut chunks = Chunks { how, types: [0; 2], flags: Vec::new() };
    match types.to_ascii_uppercase().as_str() {
        "ALL" => chunks.types = [u128::MAX; 2],
        "NONE" => {}
        _ => {
            for part in types.split(',') {
                parse_chunk(part, &mut chunks)?;
            }
        }
    }
    base::order::sort(&mut chunks.flags);
    Ok(chunks)
}

/// `INIT` or `DATA:Be`: a capital letter wants its flag set, a small one wants it clear.
fn parse_chunk(text: &str, chunks: &mut Chunks) -> Result<(), ParseError> {
    let (name, flags) = match text.split_once(':') {
        Some((name, flags)) => (name, Some(flags)),
        None => (text, None),
    };
    let known = TYPES.iter().find(|(known, kind, _)| {
        known.eq_ignore_ascii_case(name) && (*kind < LATER || *kind > 128)
    });
    let unknown = || ParseError::new(format!("Unknown sctp chunk `{name}'"));
    let (_, kind, letters) = known.ok_or_else(unknown)?;
    chunks.add(*kind);
    let Some(flags) = flags else { return Ok(()) };
    let (mut mask, mut wanted) = (0, 0);
    for letter in flags.chars() {
        let at = letters.chars().position(|known| known.eq_ignore_ascii_case(&letter));
        let invalid = || ParseError::new(format!("Invalid flags for chunk type {kind}"));
        let at = at.filter(|_| letter != '-').ok_or_else(invalid)?;
        let bit = 0x80u8.checked_shr(at as u32).unwrap_or(0);
        mask |= bit;
        wanted |= if letter.is_ascii_uppercase() { bit } else { 0 };
    }
    chunks.flags.retain(|(of, ..)| of != kind);
    chunks.flags.push((*kind, mask, wanted));
    Ok(())
}
