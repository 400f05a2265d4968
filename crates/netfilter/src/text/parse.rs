//! The arguments of a rule.

use std::net::Ipv4Addr;

use super::{ParseError, Words, parse_protocol};
use crate::ext::{self, Match};
use crate::iface::{IFNAME_MAX, IfPattern};
use crate::rule::{AddrMask, Header, RuleSpec, Target, Wanted};

/// Extensions of iptables that are not here, named so that the message can say so.
const UNSUPPORTED_TARGETS: [&str; 21] = [
    "AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CT", "DSCP", "HMARK", "LED", "LOG", "NETMAP",
    "NFLOG", "NFQUEUE", "NOTRACK", "RATEEST", "SECMARK", "SET", "TCPMSS", "TEE", "TOS", "TPROXY",
    "TRACE",
];
const UNSUPPORTED_MATCHES: [&str; 24] = [
    "bpf",
    "cgroup",
    "connbytes",
    "connlabel",
    "connlimit",
    "connmark",
    "cpu",
    "dscp",
    "hashlimit",
    "helper",
    "iprange",
    "length",
    "limit",
    "mac",
    "multiport",
    "nfacct",
    "owner",
    "physdev",
    "pkttype",
    "quota",
    "set",
    "string",
    "tos",
    "ttl",
];

/// Reads the arguments of one rule, as after `-A CHAIN`.
///
/// A comma list of addresses stands for a rule each, as in iptables, so there may be several.
pub fn parse_rule(words: &[String]) -> Result<Vec<RuleSpec>, ParseError> {
    let mut reader = Reader::default();
    let mut words = Words::new(words);
    while let Some(word) = words.next() {
        let not = word == "!";
        let option = if not { words.value("!")? } else { word };
        reader.option(option, not, &mut words)?;
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    header: Header,
    sources: Vec<AddrMask>,
    destinations: Vec<AddrMask>,
    source_not: Option<bool>,
    destination_not: Option<bool>,
    matches: Vec<Box<dyn ext::MatchParser>>,
    match_names: Vec<String>,
    target: Option<TargetReader>,
}

enum TargetReader {
    Plain(Target),
    Ext(Box<dyn ext::TargetParser>),
}

impl Reader {
    fn option(&mut self, option: &str, not: bool, words: &mut Words<'_>) -> Result<(), ParseError> {
        match option {
            "-s" | "--source" | "--src" => {
                self.sources = addresses(words.value(option)?)?;
                set_once(&mut self.source_not, not, "-s")
            }
            "-d" | "--destination" | "--dst" => {
                self.destinations = addresses(words.value(option)?)?;
                set_once(&mut self.destination_not, not, "-d")
            }
            "-i" | "--in-interface" => {
                let value = interface(words.value(option)?)?;
                set_once(&mut self.header.iif, Wanted { not, value }, "-i")
            }
            "-o" | "--out-interface" => {
                let value = interface(words.value(option)?)?;
                set_once(&mut self.header.oif, Wanted { not, value }, "-o")
            }
            "-p" | "--protocol" | "--proto" => {
                let text = words.value(option)?;
                let value = parse_protocol(text)?;
                if value == 0 && not {
                    return Err(ParseError::UnknownProtocol(format!("! {text}")));
                }
                set_once(&mut self.header.protocol, Wanted { not, value }, "-p")
            }
            "-f" | "--fragment" => {
                set_once(&mut self.header.fragment, Wanted { not, value: () }, "-f")
            }
            "-m" | "--match" => {
                words.refuse_not(option, not)?;
                self.load_match(words.value(option)?)
            }
            "-j" | "--jump" | "-g" | "--goto" => {
                words.refuse_not(option, not)?;
                let name = words.value(option)?;
                self.load_target(name, matches!(option, "-g" | "--goto"))
            }
            // Rules are IPv4 here, as `iptables` takes them.
            "-4" | "--ipv4" | "-w" | "--wait" => Ok(()),
            _ => self.extension_option(option, not, words),
        }
    }

    fn load_match(&mut self, name: &str) -> Result<(), ParseError> {
        if UNSUPPORTED_MATCHES.contains(&name) {
            return Err(ParseError::UnsupportedMatch(name.to_string()));
        }
        let parser =
            ext::match_parser(name).ok_or_else(|| ParseError::UnknownMatch(name.to_string()))?;
        self.matches.push(parser);
        self.match_names.push(name.to_string());
        Ok(())
    }

    fn load_target(&mut self, name: &str, is_goto: bool) -> Result<(), ParseError> {
        if self.target.is_some() {
            return Err(ParseError::TwoTargets);
        }
        if UNSUPPORTED_TARGETS.contains(&name) {
            return Err(ParseError::UnsupportedTarget(name.to_string()));
        }
        let plain = match name {
            _ if is_goto => Target::Goto(name.into()),
            "ACCEPT" => Target::Accept,
            "DROP" => Target::Drop,
            "RETURN" => Target::Return,
            _ => match ext::target_parser(name) {
                Some(parser) => {
                    self.target = Some(TargetReader::Ext(parser));
                    return Ok(());
                }
                None => Target::Jump(name.into()),
            },
        };
        self.target = Some(TargetReader::Plain(plain));
        Ok(())
    }

    /// An option of the target, of a match (the last loaded first), or of the match that the protocol
    /// brings along.
    fn extension_option(
        &mut self,
        option: &str,
        not: bool,
        words: &mut Words<'_>,
    ) -> Result<(), ParseError> {
        if !option.starts_with('-') {
            return Err(ParseError::BadArgument(option.to_string()));
        }
        if let Some(TargetReader::Ext(target)) = &mut self.target
            && target.option(option, not, words)?
        {
            return Ok(());
        }
        for parser in self.matches.iter_mut().rev() {
            if parser.option(option, not, words)? {
                return Ok(());
            }
        }
        let implied = self
            .header
            .protocol
            .filter(|protocol| !protocol.not)
            .and_then(|protocol| ext::match_of_protocol(protocol.value))
            .filter(|name| !self.match_names.iter().any(|loaded| loaded == name));
        if let Some(name) = implied {
            self.load_match(name)?;
            if let Some(parser) = self.matches.last_mut()
                && parser.option(option, not, words)?
            {
                return Ok(());
            }
            self.matches.pop();
            self.match_names.pop();
        }
        Err(ParseError::UnknownOption(option.to_string()))
    }

    fn finish(self) -> Result<Vec<RuleSpec>, ParseError> {
        let mut header = self.header;
        header.protocol = header.protocol.filter(|protocol| protocol.value != 0);
        let matches =
            self.matches.into_iter().map(|m| m.finish()).collect::<Result<Vec<Match>, _>>()?;
        for m in &matches {
            check_protocol(m, &header)?;
        }
        let target = match self.target {
            None => Target::Continue,
            Some(TargetReader::Plain(target)) => target,
            Some(TargetReader::Ext(parser)) => Target::Ext(parser.finish()?),
        };
        let any = |masks: Vec<AddrMask>| -> Vec<Option<AddrMask>> {
            if masks.is_empty() { vec![None] } else { masks.into_iter().map(Some).collect() }
        };
        let wanted = |mask: Option<AddrMask>, not: Option<bool>| {
            let not = not.unwrap_or(false);
            mask.map(|value| Wanted { not, value }).filter(|w| w.value.mask != 0 || w.not)
        };
        let mut rules = Vec::new();
        let destinations = any(self.destinations);
        for source in any(self.sources) {
            for destination in &destinations {
                let src = wanted(source, self.source_not);
                let dst = wanted(*destination, self.destination_not);
                let header = Header { src, dst, ..header.clone() };
                let (matches, target) = (matches.clone(), target.clone());
                rules.push(RuleSpec { header, matches, target, origin: 0 });
            }
        }
        Ok(rules)
    }
}

fn set_once<T>(slot: &mut Option<T>, value: T, option: &'static str) -> Result<(), ParseError> {
    if slot.is_some() {
        return Err(ParseError::Repeated(option));
    }
    *slot = Some(value);
    Ok(())
}

/// A match on a protocol's header needs that protocol, as the kernel's extensions demand.
fn check_protocol(m: &Match, header: &Header) -> Result<(), ParseError> {
    use packet::protocol::{ICMP, SCTP, TCP, UDP};
    let (needed, name) = match m {
        Match::Tcp(_) => (TCP, "tcp"),
        Match::Udp(ports) if ports.is_sctp => (SCTP, "sctp"),
        Match::Udp(_) => (UDP, "udp"),
        Match::Icmp(_) => (ICMP, "icmp"),
        _ => return Ok(()),
    };
    match header.protocol {
        Some(Wanted { not: false, value }) if value == needed => Ok(()),
        _ => Err(ParseError::MatchNeedsProtocol(name)),
    }
}

fn interface(text: &str) -> Result<IfPattern, ParseError> {
    if text.is_empty() || text.len() > IFNAME_MAX {
        return Err(ParseError::BadInterface(text.to_string()));
    }
    Ok(IfPattern::new(text))
}

/// `10.0.0.0/8,192.168.1.1`
fn addresses(text: &str) -> Result<Vec<AddrMask>, ParseError> {
    text.split(',').map(|part| parse_addr_mask(part.trim())).collect()
}

/// `10.0.0.1`, `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, `10/8`.
pub fn parse_addr_mask(text: &str) -> Result<AddrMask, ParseError> {
    let (addr, mask) = match text.split_once('/') {
        Some((addr, mask)) => (addr, Some(mask)),
        None => (text, None),
    };
    let unknown = || ParseError::UnknownHost(text.to_string());
    let addr = parse_addr(addr).ok_or_else(unknown)?;
    let mask = match mask {
        None => u32::MAX,
        Some(mask) => match (mask.parse::<u8>(), mask.parse::<Ipv4Addr>()) {
            (Ok(len @ 0..=32), _) => AddrMask::prefix(addr, len).mask,
            (_, Ok(mask)) => u32::from(mask),
            _ => return Err(ParseError::BadMask(mask.to_string())),
        },
    };
    Ok(AddrMask { addr: Ipv4Addr::from(u32::from(addr) & mask), mask })
}

/// An address; the last numbers may be left out, and are then zero.
fn parse_addr(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for (at, octet) in octets.iter_mut().enumerate() {
        match parts.next() {
            Some(part) if part.len() <= 3 => *octet = part.parse().ok()?,
            Some(_) => return None,
            None if at > 0 => break,
            None => return None,
        }
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}
