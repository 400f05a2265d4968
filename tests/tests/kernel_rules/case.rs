//! A case: a ruleset and the packets that meet it. Data, with a text form:
//!
//! ```text
//! # What it is about.
//! create ip0 hash:ip
//! add ip0 10.1.0.10
//! *nat
//! :OUTPUT DROP
//! -A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.2.0.10:8080
//! nft add table ip t
//! packets
//! 1 from in0 src=10.1.0.10 dst=192.0.2.1 proto=6 sport=40000 dport=80 flags=0x02 seq=1000
//! 2 answers 1 flags=0x12 seq=5000 ack=1001
//! 3 like 1 flags=0x10 seq=1001 ack=5001
//! 4 error-about 3 icmp=3/1/0
//! ```
//!
//! `answers N` turns round what the router sent on because of packet N, as the host that got it would;
//! `like N` comes the same way as packet N; `error-about N` is a router's or host's complaint that quotes
//! what was sent on because of packet N. In each world they follow what that world has sent.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use netfilter::TableName;

use crate::bytes::{self, Fields};
use crate::nft;
use crate::town;

/// The user chains of every case, by table; those of `nat` belong to one end each.
pub(crate) const USER_CHAINS: [(TableName, &[&str]); 4] = [
    (TableName::Raw, &["R0", "R1"]),
    (TableName::Mangle, &["M0", "M1", "M2"]),
    (TableName::Nat, &["D0", "D1", "S0", "S1"]),
    (TableName::Filter, &["F0", "F1", "F2", "F3"]),
];

/// A rule, in the words of `iptables-save`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) table: TableName,
    pub(crate) chain: String,
    pub(crate) text: String,
}

/// A packet of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) id: u16,
    pub(crate) kind: Kind,
    pub(crate) fields: Fields,
}

/// What a packet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// New, by a cable.
    From(String),
    Answers(u16),
    Like(u16),
    ErrorAbout(u16),
}

/// A ruleset and packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Case {
    /// Comment lines at the head of its file.
    pub(crate) about: String,
    /// Lines of `ipset restore`.
    pub(crate) sets: Vec<String>,
    pub(crate) rules: Vec<Rule>,
    /// Built-in chains that drop what no rule decided about.
    pub(crate) drops: Vec<(TableName, String)>,
    /// Lines of `nft -f`.
    pub(crate) nft: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

/// One packet, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) cable: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) out: Vec<(String, Vec<u8>)>,
}

/// What has happened so far.
pub(crate) type History = BTreeMap<u16, Seen>;

/// The fields of which a step says nothing.
pub(crate) fn plain() -> Fields {
    Fields {
        src: Ipv4Addr::UNSPECIFIED,
        dst: Ipv4Addr::UNSPECIFIED,
        protocol: 6,
        ident: 0,
        sport: 0,
        dport: 0,
        flags: 0,
        seq: 0,
        ack: 0,
        window: 64240,
        mss: 0,
        icmp: (8, 0, 0),
        len: 0,
        ttl: 64,
        tos: 0,
        has_options: false,
        is_corrupt: false,
    }
}

impl Case {
    /// The ruleset for `iptables-restore`: all tables, with all chains.
    pub(crate) fn ruleset(&self) -> String {
        let mut out = String::new();
        for (table, user) in USER_CHAINS {
            let _ = writeln!(out, "*{table}");
            for hook in table.hooks() {
                let chain = hook.chain();
                let drops = self.drops.iter().any(|(t, c)| *t == table && c == chain);
                let _ = writeln!(out, ":{chain} {} [0:0]", if drops { "DROP" } else { "ACCEPT" });
            }
            user.iter().for_each(|chain| {
                let _ = writeln!(out, ":{chain} - [0:0]");
            });
            for rule in self.rules.iter().filter(|rule| rule.table == table) {
                let _ = writeln!(out, "-A {} {}", rule.chain, rule.text);
            }
            out.push_str("COMMIT\n");
        }
        if !self.nft.is_empty() {
            out.push_str(nft::MARK);
        }
        for line in &self.nft {
            let _ = writeln!(out, "{line}");
        }
        out
    }

    /// Whether a port, or an ICMP identifier, is one that the case names; any other was left to chance.
    pub(crate) fn names_port(&self, port: u16) -> bool {
        let in_steps = self.steps.iter().any(|step| {
            let f = &step.fields;
            [f.sport, f.dport, f.icmp.2].contains(&port)
        });
        let digits = port.to_string();
        let has =
            |text: &str| text.split(|c: char| !c.is_ascii_digit()).any(|number| number == digits);
        port == 0
            || in_steps
            || self.rules.iter().any(|rule| has(&rule.text))
            || self.nft.iter().any(|line| has(line))
    }

    /// The cable and the bytes of a step; `None` where what it follows did not happen.
    pub(crate) fn packet(&self, step: &Step, history: &History) -> Option<(String, Vec<u8>)> {
        let template = Fields { ident: 0x4000 + step.id, ..step.fields.clone() };
        let ident = template.ident;
        match &step.kind {
            Kind::From(cable) => Some((cable.clone(), template.bytes())),
            Kind::Like(other) => {
                let seen = history.get(other)?;
                let fields = Fields { ident, ..bytes::fields(&seen.bytes, &template) };
                Some((seen.cable.clone(), fields.bytes()))
            }
            Kind::Answers(other) => {
                let seen = history.get(other)?;
                let (cable, fields) = match forwarded(seen) {
                    Some((cable, out)) => (cable.clone(), bytes::fields(out, &template)),
                    None => {
                        let fields = bytes::fields(&seen.bytes, &template);
                        (town::cable_to(fields.dst)?.to_string(), fields)
                    }
                };
                Some((cable, Fields { ident, ..fields.turned() }.bytes()))
            }
            Kind::ErrorAbout(other) => {
                let (cable, out) = forwarded(history.get(other)?)?;
                let about = bytes::fields(out, &template);
                let fields = Fields {
                    src: about.dst,
                    dst: about.src,
                    protocol: 1,
                    ident,
                    icmp: template.icmp,
                    ..template
                };
                // Some quote all of it, some what RFC 792 asks for.
                let head = usize::from(out[0] & 0xf) * 4;
                let quoted =
                    if step.id.is_multiple_of(2) { out.len() } else { (head + 8).min(out.len()) };
                Some((cable.clone(), fields.icmp_error(&out[..quoted])))
            }
        }
    }
}

/// What the router sent on, as opposed to what it answered.
pub(crate) fn forwarded(seen: &Seen) -> Option<&(String, Vec<u8>)> {
    seen.out.iter().find(|(_, out)| out.len() >= 20 && out[4..6] == seen.bytes[4..6])
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.about.lines() {
            writeln!(f, "# {line}")?;
        }
        self.sets.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        for (table, _) in USER_CHAINS {
            let drops: Vec<_> = self.drops.iter().filter(|(t, _)| *t == table).collect();
            let rules: Vec<_> = self.rules.iter().filter(|rule| rule.table == table).collect();
            if !drops.is_empty() || !rules.is_empty() {
                writeln!(f, "*{table}")?;
            }
            drops.iter().try_for_each(|(_, chain)| writeln!(f, ":{chain} DROP"))?;
            rules.iter().try_for_each(|rule| writeln!(f, "-A {} {}", rule.chain, rule.text))?;
        }
        self.nft.iter().try_for_each(|line| writeln!(f, "nft {line}"))?;
        writeln!(f, "packets")?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.id)?;
        match &self.kind {
            Kind::From(cable) => write!(f, "from {cable}"),
            Kind::Answers(other) => write!(f, "answers {other}"),
            Kind::Like(other) => write!(f, "like {other}"),
            Kind::ErrorAbout(other) => write!(f, "error-about {other}"),
        }?;
        let (is, not) = (&self.fields, plain());
        let numbers = [
            ("proto", u32::from(is.protocol), u32::from(not.protocol)),
            ("sport", is.sport.into(), not.sport.into()),
            ("dport", is.dport.into(), not.dport.into()),
            ("seq", is.seq, not.seq),
            ("ack", is.ack, not.ack),
            ("win", is.window.into(), not.window.into()),
            ("mss", is.mss.into(), not.mss.into()),
            ("len", is.len.into(), not.len.into()),
            ("ttl", is.ttl.into(), not.ttl.into()),
            ("options", is.has_options.into(), 0),
            ("corrupt", is.is_corrupt.into(), 0),
        ];
        for (name, is, not) in [("src", is.src, not.src), ("dst", is.dst, not.dst)] {
            if is != not {
                write!(f, " {name}={is}")?;
            }
        }
        for (name, is, not) in numbers {
            if is != not {
                write!(f, " {name}={is}")?;
            }
        }
        for (name, is, not) in [("flags", is.flags, not.flags), ("tos", is.tos, not.tos)] {
            if is != not {
                write!(f, " {name}={is:#04x}")?;
            }
        }
        let (kind, code, id) = is.icmp;
        if is.icmp != not.icmp { write!(f, " icmp={kind}/{code}/{id}") } else { Ok(()) }
    }
}

/// Reads the text form. What is wrong with it is said in words: the test that reads it fails with them.
pub(crate) fn parse(text: &str) -> Result<Case, String> {
    let mut case = Case::default();
    let mut table = None;
    let mut in_packets = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let wrong = || format!("not a line of a case: {line}");
        if let Some(comment) = line.strip_prefix('#') {
            let _ = writeln!(case.about, "{}", comment.trim());
        } else if line == "packets" {
            in_packets = true;
        } else if in_packets {
            case.steps.push(parse_step(line).ok_or_else(wrong)?);
        } else if let Some(line) = line.strip_prefix("nft ") {
            case.nft.push(line.to_string());
        } else if line.starts_with("create ") || line.starts_with("add ") {
            case.sets.push(line.to_string());
        } else if let Some(name) = line.strip_prefix('*') {
            table = Some(name.parse::<TableName>().map_err(|_| wrong())?);
        } else if let Some(chain) = line.strip_prefix(':').and_then(|l| l.strip_suffix(" DROP")) {
            case.drops.push((table.ok_or_else(wrong)?, chain.to_string()));
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let (chain, text) = rule.split_once(' ').unwrap_or((rule, ""));
            let (chain, text) = (chain.to_string(), text.to_string());
            case.rules.push(Rule { table: table.ok_or_else(wrong)?, chain, text });
        } else {
            return Err(wrong());
        }
    }
    case.about = case.about.trim_end().to_string();
    Ok(case)
}

fn parse_step(line: &str) -> Option<Step> {
    let mut words = line.split_whitespace();
    let id = words.next()?.parse().ok()?;
    let (kind, of) = (words.next()?, words.next()?);
    let kind = match kind {
        "from" => Kind::From(of.to_string()),
        "answers" => Kind::Answers(of.parse().ok()?),
        "like" => Kind::Like(of.parse().ok()?),
        "error-about" => Kind::ErrorAbout(of.parse().ok()?),
        _ => return None,
    };
    let mut fields = plain();
    for word in words {
        let (name, value) = word.split_once('=')?;
        let number = || match value.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => value.parse().ok(),
        };
        match name {
            "src" => fields.src = value.parse().ok()?,
            "dst" => fields.dst = value.parse().ok()?,
            "proto" => fields.protocol = number()? as u8,
            "sport" => fields.sport = number()? as u16,
            "dport" => fields.dport = number()? as u16,
            "seq" => fields.seq = number()?,
            "ack" => fields.ack = number()?,
            "win" => fields.window = number()? as u16,
            "mss" => fields.mss = number()? as u16,
            "len" => fields.len = number()? as u16,
            "ttl" => fields.ttl = number()? as u8,
            "flags" => fields.flags = number()? as u8,
            "tos" => fields.tos = number()? as u8,
            "options" => fields.has_options = number()? == 1,
            "corrupt" => fields.is_corrupt = number()? == 1,
            "icmp" => {
                let mut parts = value.split('/').map(|part| part.parse::<u16>().ok());
                let mut next = || parts.next().flatten();
                fields.icmp = (next()? as u8, next()? as u8, next()?);
            }
            _ => return None,
        }
    }
    Some(Step { id, kind, fields })
}
