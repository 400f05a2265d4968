//! The arguments of `conntrack`.
//!
//! Options may stand in any order, but those of a protocol are known only after its `-p`; short ones may be
//! joined, long ones cut short, as `getopt_long` has it.

use std::net::Ipv4Addr;

use packet::protocol;

use super::{Changes, Command, CommandError, EventMask, EventPrinter, Which};
use crate::conntrack::filter::{AddrBits, Translated, TupleFilter};
use crate::conntrack::sctp::SctpState;
use crate::conntrack::tcp::TcpState;
use crate::conntrack::text::Format;
use crate::conntrack::{DCCP, Filter, GRE, Tuple, status};

/// What `conntrack -h` prints: what is supported here.
pub(super) const HELP: &str = "\
Command line interface for the connection tracking system. Version 1.4.7
Usage: conntrack [commands] [options]

Commands:
  -L [table]    list connections          -G  show one connection
  -D            delete connections        -U  change connections
  -E            show events as they come  -F  forget all
  -C            how many there are        -S  what has been counted

Which connections:
  -s, -d ip[/len]        source, destination of the first packet
  -r, -q ip[/len]        source, destination of the answers
  -p proto               tcp, udp, icmp, sctp, gre or a number; then also:
    --sport, --dport, --reply-port-src, --reply-port-dst port, --state state
    --icmp-type, --icmp-code, --icmp-id number
  -n, -g, -j [ip]        source, destination, either is translated
  -m mark[/mask]         mark (with -U: the new mark)
  -u status              ASSURED, SEEN_REPLY, UNREPLIED, FIXED_TIMEOUT
  -t seconds             with -U: the new timeout

How they are shown:
  -o type[,...]          extended, id, timestamp, ktimestamp, xml, save
  -e mask                with -E: NEW, UPDATES, DESTROY
  -z                     with -L: count from zero again
";

/// Whether an option takes a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    /// One that may be left out.
    Perhaps,
}

/// The commands, in the order of the columns of [`OPTIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    List,
    Delete,
    Get,
    Update,
    Event,
    Flush,
    Count,
    Stats,
}

/// An option: its letter, its names (the first is the one messages use), whether it takes a value, and the
/// commands it may stand with, as letters.
struct Opt {
    short: char,
    names: &'static [&'static str],
    takes: Takes,
    verbs: &'static str,
}

const fn opt(
    short: char,
    names: &'static [&'static str],
    takes: Takes,
    verbs: &'static str,
) -> Opt {
    Opt { short, names, takes, verbs }
}

const OPTIONS: [Opt; 23] = [
    opt('s', &["src", "orig-src"], Takes::Value, "LDGUE"),
    opt('d', &["dst", "orig-dst"], Takes::Value, "LDGUE"),
    opt('r', &["reply-src"], Takes::Value, "LDGUE"),
    opt('q', &["reply-dst"], Takes::Value, "LDGUE"),
    opt('p', &["protonum"], Takes::Value, "LDGUE"),
    opt('f', &["family"], Takes::Value, "LDGUEFC"),
    opt('t', &["timeout"], Takes::Value, "U"),
    opt('u', &["status"], Takes::Value, "LDUE"),
    opt('m', &["mark"], Takes::Value, "LDUE"),
    opt('e', &["event-mask"], Takes::Value, "E"),
    opt('o', &["output"], Takes::Value, "LDGUE"),
    opt('z', &["zero"], Takes::Nothing, "L"),
    opt('n', &["src-nat"], Takes::Perhaps, "LDE"),
    opt('g', &["dst-nat"], Takes::Perhaps, "LDE"),
    opt('j', &["any-nat"], Takes::Perhaps, "LE"),
    opt('w', &["zone"], Takes::Value, "LDGUE"),
    opt('b', &["buffer-size"], Takes::Value, "E"),
    opt('l', &["label"], Takes::Value, "LDUE"),
    opt('\0', &["mask-src"], Takes::Value, "LDE"),
    opt('\0', &["mask-dst"], Takes::Value, "LDE"),
    opt('c', &["secmark"], Takes::Value, "LDE"),
    opt('\0', &["orig-zone"], Takes::Value, "LDGUE"),
    opt('\0', &["reply-zone"], Takes::Value, "LDGUE"),
];

const VERBS: [(char, &str, Verb); 8] = [
    ('L', "dump", Verb::List),
    ('D', "delete", Verb::Delete),
    ('G', "get", Verb::Get),
    ('U', "update", Verb::Update),
    ('E', "event", Verb::Event),
    ('F', "flush", Verb::Flush),
    ('C', "count", Verb::Count),
    ('S', "stats", Verb::Stats),
];

/// Commands that exist, but not here.
const NOT_HERE: [(char, &str); 3] = [('I', "create"), ('A', "add"), ('R', "load-file")];

/// Options that come with a protocol: the names, and what they set.
const PORT_OPTIONS: [(&[&str], Part); 4] = [
    (&["orig-port-src", "sport"], Part::SourcePort),
    (&["orig-port-dst", "dport"], Part::DestinationPort),
    (&["reply-port-src"], Part::ReplySourcePort),
    (&["reply-port-dst"], Part::ReplyDestinationPort),
];
const STATE_OPTION: (&[&str], Part) = (&["state"], Part::State);
const ICMP_OPTIONS: [(&[&str], Part); 3] = [
    (&["icmp-type"], Part::IcmpType),
    (&["icmp-code"], Part::IcmpCode),
    (&["icmp-id"], Part::IcmpId),
];

/// What an option of a protocol sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    SourcePort,
    DestinationPort,
    ReplySourcePort,
    ReplyDestinationPort,
    State,
    IcmpType,
    IcmpCode,
    IcmpId,
}

fn misuse(message: impl Into<String>) -> CommandError {
    CommandError { message: message.into(), code: 2 }
}

/// What has been read so far.
#[derive(Default)]
struct Parsed {
    verb: Option<Verb>,
    table: Option<Which>,
    used: Vec<&'static Opt>,
    filter: Filter,
    format: Format,
    changes: Changes,
    mask: Option<EventMask>,
    zero: bool,
    help: bool,
    version: bool,
}

/// Reads the arguments, without the program's name.
pub fn parse<S: AsRef<str>>(args: &[S]) -> Result<Command, CommandError> {
    let mut args = args.iter().map(AsRef::as_ref).peekable();
    let mut parsed = Parsed::default();
    while let Some(arg) = args.next() {
        match arg.strip_prefix("--") {
            Some("") => break,
            Some(long) => parsed.long(long, &mut args)?,
            None => {
                // A word that belongs to nothing is passed over, as by the tool.
                if let Some(letters) = arg.strip_prefix('-') {
                    parsed.short(letters, &mut args)?;
                }
            }
        }
    }
    parsed.finish()
}

type Words<'a, I> = std::iter::Peekable<I>;

impl Parsed {
    fn short<'a, I: Iterator<Item = &'a str>>(
        &mut self,
        letters: &'a str,
        words: &mut Words<'a, I>,
    ) -> Result<(), CommandError> {
        for (at, letter) in letters.char_indices() {
            let rest = letters.get(at + letter.len_utf8()..).unwrap_or_default();
            // A command's letter takes the rest of its word for a value, and makes nothing of it.
            let is_verb = VERBS.iter().any(|(short, ..)| *short == letter);
            if is_verb && !rest.is_empty() {
                return self.verb_or_flag(letter, "", &mut std::iter::empty().peekable()).map(drop);
            }
            if self.verb_or_flag(letter, "", words)? {
                continue;
            }
            let Some(opt) = OPTIONS.iter().find(|opt| opt.short == letter && letter != '\0') else {
                return Err(misuse(format!("unknown option `-{letter}'")));
            };
            let name = format!("-{letter}");
            match opt.takes {
                Takes::Nothing => self.option(opt, "")?,
                Takes::Value | Takes::Perhaps if !rest.is_empty() => {
                    return self.option(opt, rest);
                }
                Takes::Value => {
                    let value = words.next().ok_or_else(|| needs_value(&name))?;
                    return self.option(opt, value);
                }
                Takes::Perhaps => return self.option(opt, optional(words)),
            }
        }
        Ok(())
    }

    /// The letter or name of a command, or of help and version.
    fn verb_or_flag<'a, I: Iterator<Item = &'a str>>(
        &mut self,
        letter: char,
        name: &str,
        words: &mut Words<'a, I>,
    ) -> Result<bool, CommandError> {
        let is = |short: char, long: &str| letter == short || (!name.is_empty() && name == long);
        if let Some((_, _, verb)) = VERBS.iter().find(|(short, long, _)| is(*short, long)) {
            if self.verb.replace(*verb).is_some_and(|before| before != *verb) {
                return Err(misuse("Invalid commands combination"));
            }
            self.table = Some(table_of(optional(words))?);
            return Ok(true);
        }
        if let Some((short, long)) = NOT_HERE.iter().find(|(short, long)| is(*short, long)) {
            return Err(CommandError {
                message: format!("`-{short}' (`--{long}') is not supported by podwire"),
                code: 1,
            });
        }
        self.help |= is('h', "help");
        self.version |= is('V', "version");
        Ok(is('h', "help") || is('V', "version"))
    }

    fn long<'a, I: Iterator<Item = &'a str>>(
        &mut self,
        long: &'a str,
        words: &mut Words<'a, I>,
    ) -> Result<(), CommandError> {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let unknown = || misuse(format!("unknown option `--{name}'"));
        let full = self.complete(name).ok_or_else(unknown)?;
        if self.verb_or_flag('\0', full, words)? {
            return Ok(());
        }
        if let Some(part) = self.part(full) {
            let value =
                value.or_else(|| words.next()).ok_or_else(|| needs_value(&format!("--{name}")))?;
            return self.set_part(part, value);
        }
        let opt = OPTIONS.iter().find(|opt| opt.names.contains(&full)).ok_or_else(unknown)?;
        let value = match (opt.takes, value) {
            (Takes::Nothing, _) => "",
            (_, Some(value)) => value,
            (Takes::Value, None) => {
                words.next().ok_or_else(|| needs_value(&format!("--{name}")))?
            }
            (Takes::Perhaps, None) => optional(words),
        };
        self.option(opt, value)
    }

    /// The long option that `name` is, or is the only beginning of.
    fn complete(&self, name: &str) -> Option<&'static str> {
        let options = OPTIONS.iter().flat_map(|opt| opt.names.iter().copied());
        let verbs = VERBS.iter().map(|(_, name, _)| *name);
        let others = NOT_HERE.iter().map(|(_, name)| *name).chain(["help", "version"]);
        let parts = self.parts().into_iter().flat_map(|(names, _)| names.iter().copied());
        let all: Vec<&str> = options.chain(verbs).chain(others).chain(parts).collect();
        if let Some(exact) = all.iter().find(|known| **known == name) {
            return Some(exact);
        }
        let mut fitting = all.into_iter().filter(|known| known.starts_with(name));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first)
    }

    /// The options that the protocol brings.
    fn parts(&self) -> Vec<(&'static [&'static str], Part)> {
        match self.filter.protocol {
            Some(protocol::TCP | protocol::SCTP) => {
                PORT_OPTIONS.into_iter().chain([STATE_OPTION]).collect()
            }
            Some(protocol::UDP | DCCP) => PORT_OPTIONS.to_vec(),
            Some(protocol::ICMP) => ICMP_OPTIONS.to_vec(),
            _ => Vec::new(),
        }
    }

    fn part(&self, name: &str) -> Option<Part> {
        self.parts().into_iter().find(|(names, _)| names.contains(&name)).map(|(_, part)| part)
    }

    fn set_part(&mut self, part: Part, value: &str) -> Result<(), CommandError> {
        let filter = &mut self.filter;
        let number = Some(leading_number(value) as u16);
        match part {
            Part::SourcePort | Part::IcmpId => filter.original.sport = number,
            Part::DestinationPort => filter.original.dport = number,
            Part::ReplySourcePort => filter.reply.sport = number,
            Part::ReplyDestinationPort => filter.reply.dport = number,
            Part::IcmpType => filter.icmp_type = number.map(|number| number as u8),
            Part::IcmpCode => filter.icmp_code = number.map(|number| number as u8),
            Part::State if filter.protocol == Some(protocol::TCP) => {
                let state = TcpState::from_name(value);
                filter.tcp_state =
                    Some(state.ok_or_else(|| misuse(format!("unknown TCP state `{value}'")))?);
            }
            Part::State => {
                let state = SctpState::ALL.into_iter().find(|state| state.name() == value);
                let state = state.ok_or_else(|| misuse(format!("unknown SCTP state `{value}'")))?;
                filter.state = Some(state.name());
            }
        }
        Ok(())
    }

    fn option(&mut self, opt: &'static Opt, value: &str) -> Result<(), CommandError> {
        self.used.push(opt);
        let name = opt.names.first().copied().unwrap_or_default();
        match name {
            "src" => addr_into(&mut self.filter, value, |filter| &mut filter.original.src)?,
            "dst" => addr_into(&mut self.filter, value, |filter| &mut filter.original.dst)?,
            "reply-src" => addr_into(&mut self.filter, value, |filter| &mut filter.reply.src)?,
            "reply-dst" => addr_into(&mut self.filter, value, |filter| &mut filter.reply.dst)?,
            "mask-src" => mask_into(&mut self.filter.original.src, value)?,
            "mask-dst" => mask_into(&mut self.filter.original.dst, value)?,
            "protonum" => self.filter.protocol = Some(protocol_of(value)?),
            "family" => match value {
                "ipv4" => {}
                "ipv6" => self.filter.is_foreign = true,
                _ => return Err(misuse(format!("`{value}' unsupported protocol"))),
            },
            "timeout" => self.changes.timeout = Some(leading_number(value) as u32),
            "status" => self.status(value)?,
            "mark" => self.filter.mark = Some(mark_of(value)),
            "event-mask" => self.mask = Some(event_mask(value, self.mask)?),
            "output" => output(&mut self.format, value)?,
            "zero" => self.zero = true,
            "src-nat" => self.filter.src_nat = Some(translated(value)?),
            "dst-nat" => self.filter.dst_nat = Some(translated(value)?),
            "any-nat" => self.filter.any_nat = Some(translated(value)?),
            "zone" | "orig-zone" | "reply-zone" => {
                self.filter.is_foreign |= leading_number(value) != 0;
            }
            "label" => return Err(misuse(format!("unknown label '{value}'"))),
            // Nobody has a security mark; buffers are as large as they are.
            "secmark" => self.filter.is_foreign |= leading_number(value) != 0,
            _ => {}
        }
        Ok(())
    }

    fn status(&mut self, value: &str) -> Result<(), CommandError> {
        for word in value.split(',') {
            let bit = match word {
                "ASSURED" => status::ASSURED,
                "SEEN_REPLY" => status::SEEN_REPLY,
                "FIXED_TIMEOUT" => status::FIXED_TIMEOUT,
                "CONFIRMED" => status::CONFIRMED,
                "UNREPLIED" => {
                    self.filter.is_unreplied = true;
                    0
                }
                // Nothing is expected here, and nothing offloaded.
                "EXPECTED" | "OFFLOAD" | "HW_OFFLOAD" => {
                    self.filter.is_foreign = true;
                    0
                }
                "UNSET" | "SRC_NAT" | "DST_NAT" => {
                    return Err(CommandError {
                        message: "Operation failed: invalid parameters".to_string(),
                        code: 1,
                    });
                }
                _ => return Err(misuse(format!("Bad parameter `{word}'"))),
            };
            self.filter.status |= bit;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Command, CommandError> {
        let Some(verb) = self.verb else {
            if let Some(opt) = self.used.first() {
                return Err(illegal(opt));
            }
            return Ok(if self.version { Command::Version } else { Command::Help });
        };
        let letter = VERBS.iter().find(|(_, _, known)| *known == verb).map_or(' ', |(l, ..)| *l);
        if let Some(opt) = self.used.iter().find(|opt| !opt.verbs.contains(letter)) {
            return Err(illegal(opt));
        }
        let table = self.table.unwrap_or(Which::Conntrack);
        let uses = |name: &str| self.used.iter().any(|opt| opt.names.contains(&name));
        if self.zero && (uses("protonum") || uses("src") || uses("dst")) {
            return Err(misuse("Can't use -z with filtering parameters"));
        }
        let filter = Box::new(std::mem::take(&mut self.filter));
        let format = self.format;
        Ok(match verb {
            Verb::List => Command::List { table, filter, format, zero: self.zero },
            Verb::Delete => Command::Delete { filter, format },
            Verb::Get => Command::Get { tuple: exact_tuple(&filter)?, format },
            Verb::Update => update(filter, format, self.changes),
            Verb::Event => {
                let all = EventMask { new: true, updates: true, destroy: true };
                let mask = self.mask.unwrap_or(all);
                Command::Events(Box::new(EventPrinter::new(*filter, format, mask)))
            }
            Verb::Flush => Command::Flush(table),
            Verb::Count => Command::Count(table),
            Verb::Stats => Command::Stats,
        })
    }
}

/// For `-U` the mark and the status are what is set, not what is looked for.
fn update(mut filter: Box<Filter>, format: Format, mut changes: Changes) -> Command {
    changes.mark = filter.mark.take();
    changes.status = std::mem::take(&mut filter.status);
    Command::Update { filter, format, changes }
}

fn needs_value(option: &str) -> CommandError {
    misuse(format!("option `{option}' requires an argument"))
}

fn illegal(opt: &Opt) -> CommandError {
    let name = opt.names.first().copied().unwrap_or_default();
    misuse(format!("Illegal option `--{name}' with this command"))
}

/// The next word, unless it is an option.
fn optional<'a, I: Iterator<Item = &'a str>>(words: &mut Words<'a, I>) -> &'a str {
    words.next_if(|word| !word.starts_with('-')).unwrap_or_default()
}

fn table_of(word: &str) -> Result<Which, CommandError> {
    match word {
        "" | "conntrack" => Ok(Which::Conntrack),
        "expect" => Ok(Which::Expect),
        "dying" | "unconfirmed" => Ok(Which::InBetween),
        _ => Err(misuse(format!("unknown type `{word}'"))),
    }
}

fn addr_into(
    filter: &mut Filter,
    value: &str,
    field: fn(&mut Filter) -> &mut Option<AddrBits>,
) -> Result<(), CommandError> {
    let (addr, len) = match value.split_once('/') {
        Some((addr, len)) => (addr, Some(len)),
        None => (value, None),
    };
    if addr.parse::<std::net::Ipv6Addr>().is_ok() {
        filter.is_foreign = true;
        return Ok(());
    }
    let addr: Ipv4Addr =
        addr.parse().map_err(|_| misuse(format!("Invalid IP address `{value}'")))?;
    let mask = match len.map(str::parse::<u32>) {
        None => u32::MAX,
        Some(Ok(0)) => 0,
        Some(Ok(len @ 1..=32)) => u32::MAX << (32 - len),
        Some(_) => return Err(misuse("Invalid netmask")),
    };
    *field(filter) = Some(AddrBits { addr, mask });
    Ok(())
}

fn mask_into(field: &mut Option<AddrBits>, value: &str) -> Result<(), CommandError> {
    let mask: Ipv4Addr =
        value.parse().map_err(|_| misuse(format!("Invalid IP address `{value}'")))?;
    if let Some(bits) = field {
        bits.mask = u32::from(mask);
    }
    Ok(())
}

fn protocol_of(value: &str) -> Result<u8, CommandError> {
    let known = [
        ("tcp", protocol::TCP),
        ("udp", protocol::UDP),
        ("icmp", protocol::ICMP),
        ("sctp", protocol::SCTP),
        ("gre", GRE),
        ("dccp", DCCP),
        ("udplite", 136),
        ("icmpv6", 58),
    ];
    let lower = value.to_ascii_lowercase();
    known
        .iter()
        .find(|(name, _)| *name == lower)
        .map(|(_, number)| *number)
        .or_else(|| value.parse().ok())
        .ok_or_else(|| misuse(format!("`{value}' unsupported protocol")))
}

/// The number a word begins with, 0 if it does not; `0x` and `0` choose the base (`strtoul`).
fn leading_number(word: &str) -> u64 {
    let (digits, radix) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if word.len() > 1 && word.starts_with('0') => (word, 8),
        None => (word, 10),
    };
    let len = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    u64::from_str_radix(digits.get(..len).unwrap_or_default(), radix).unwrap_or(0)
}

fn mark_of(value: &str) -> (u32, u32) {
    match value.split_once('/') {
        Some((mark, mask)) => (leading_number(mark) as u32, leading_number(mask) as u32),
        None => (leading_number(value) as u32, u32::MAX),
    }
}

fn event_mask(value: &str, before: Option<EventMask>) -> Result<EventMask, CommandError> {
    let none = EventMask { new: false, updates: false, destroy: false };
    let mut mask = before.unwrap_or(none);
    for word in value.split(',') {
        match word {
            "ALL" => mask = EventMask { new: true, updates: true, destroy: true },
            "NEW" => mask.new = true,
            "UPDATES" => mask.updates = true,
            "DESTROY" => mask.destroy = true,
            _ => return Err(misuse(format!("Bad parameter `{word}'"))),
        }
    }
    Ok(mask)
}

fn output(format: &mut Format, value: &str) -> Result<(), CommandError> {
    for word in value.split(',') {
        match word {
            "xml" => format.xml = true,
            "extended" => format.extended = true,
            "timestamp" => format.timestamp = true,
            "ktimestamp" => format.ktimestamp = true,
            "id" => format.id = true,
            "save" => format.save = true,
            // Nothing has labels, and who changes what is told anyway.
            "labels" | "userspace" => {}
            _ => return Err(misuse(format!("Bad parameter `{word}'"))),
        }
    }
    if format.save && *format != (Format { save: true, ..Format::default() }) {
        return Err(CommandError {
            message: "cannot combine save output with any other output type, use -o save only"
                .to_string(),
            code: 1,
        });
    }
    Ok(())
}

fn translated(value: &str) -> Result<Translated, CommandError> {
    let addr = value.split_once(':').map_or(value, |(addr, _)| addr);
    match addr {
        "" => Ok(Translated::Any),
        addr => addr
            .parse()
            .map(Translated::To)
            .map_err(|_| misuse(format!("Invalid IP address `{value}'"))),
    }
}

/// The connection that `-G` names, by one of its directions.
fn exact_tuple(filter: &Filter) -> Result<Tuple, CommandError> {
    let need =
        |name: &str| misuse(format!("You need to supply the `--{name}' option for this command"));
    let number = filter.protocol.ok_or_else(|| need("protonum"))?;
    let is_reply = filter.original == TupleFilter::default() && filter.reply != filter.original;
    let part = if is_reply { &filter.reply } else { &filter.original };
    let (Some(src), Some(dst)) = (part.src, part.dst) else {
        return Err(misuse("you have to specify `--src' and `--dst'"));
    };
    let (sport, dport) = match number {
        protocol::TCP | protocol::UDP | protocol::SCTP => match (part.sport, part.dport) {
            (Some(sport), Some(dport)) => (sport, dport),
            _ => return Err(misuse("you have to specify `--sport' and `--dport'")),
        },
        protocol::ICMP => {
            let kind = filter.icmp_type.ok_or_else(|| need("icmp-type"))?;
            let code = filter.icmp_code.unwrap_or(0);
            (part.sport.unwrap_or(0), u16::from_be_bytes([kind, code]))
        }
        _ => (0, 0),
    };
    Ok(Tuple { src: src.addr, dst: dst.addr, sport, dport, protocol: number })
}
