//! `ipvsadm`, carried out, in the words of ipvsadm 1.31 (`ipvsadm.c`, `libipvs/libipvs.c`).

use std::net::{Ipv4Addr, SocketAddrV4};

use base::{Duration, Instant};
use packet::{protocol, services};

use super::schedule::{ABSENT, Scheduler};
use super::service::{Persistence, Refused, ServerOptions, ServiceKey};
use super::text::{self, Format, Shown};
use super::{Ipvs, Timeouts};
use crate::firewall::Netfilter;
use crate::text::command::Output;
use crate::text::split_words;

const VERSION: &str = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n";

/// Longest timeout, 31 days.
const TIMEOUT_MAX: u32 = 86_400 * 31;
/// How long persistence lasts where nobody says (`IPVS_SVC_PERSISTENT_TIMEOUT`).
const PERSISTENCE: u32 = 360;

/// A failure: its exit code and its words.
struct Failure(i32, String);

fn fail<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure(2, text.into()))
}

fn unsupported<T>(what: &str) -> Result<T, Failure> {
    fail(format!("ipvsadm: {what} not supported by podwire"))
}

fn try_help<T>() -> Result<T, Failure> {
    Err(Failure(255, "Try `ipvsadm -h' or 'ipvsadm --help' for more information.".into()))
}

/// Commands: their letter, their long name, their name in messages, and a mark for each of [`OPTIONS`]: `+` it
/// must be there, `x` it must not, `1` only one of those may be.
const COMMANDS: [(char, &str, &str, &[u8; 15]); 13] = [
    ('A', "add-service", "add-service", b"xx+   xxxxxxxxx"),
    ('E', "edit-service", "edit-service", b"xx+   xxxxxxxxx"),
    ('D', "delete-service", "delete-service", b"xx+xxxxxxxxxxxx"),
    ('C', "clear", "flush", b"xxxxxxxxxxxxxxx"),
    ('L', "list", "list", b" 11xxxxxxx1    "),
    ('l', "list", "list", b" 11xxxxxxx1    "),
    ('a', "add-server", "add-server", b"xx+xxx+   xxxxx"),
    ('d', "delete-server", "delete-server", b"xx+xxx+xxxxxxxx"),
    ('e', "edit-server", "edit-server", b"xx+xxx+   xxxxx"),
    ('=', "set", "set", b"xxxxxxxxxxxxxxx"),
    ('R', "restore", "restore", b"xxxxxxxxxxxxxxx"),
    ('S', "save", "save", b" xxxxxxxxxxxxxx"),
    ('Z', "zero", "zero", b"xx xxxxxxxxxxxx"),
];

/// Options: what each is called in messages.
const OPTIONS: [&str; 15] = [
    "numeric",
    "connection",
    "service-address",
    "scheduler",
    "persistent",
    "netmask",
    "real-server",
    "forwarding-method",
    "weight",
    "thresholds",
    "timeout",
    "display",
    "exact",
    "nosort",
    "other",
];

/// An option: letter (or a stand-in), long name, whether it takes a value (`?`: it may), its place in [`OPTIONS`].
type Word = (char, &'static str, char, usize);

const WORDS: [Word; 31] = [
    ('t', "tcp-service", '+', 2),
    ('u', "udp-service", '+', 2),
    ('#', "sctp-service", '+', 2),
    ('f', "fwmark-service", '+', 2),
    ('s', "scheduler", '+', 3),
    ('p', "persistent", '?', 4),
    ('M', "netmask", '+', 5),
    ('r', "real-server", '+', 6),
    ('m', "masquerading", ' ', 7),
    ('i', "ipip", ' ', 7),
    ('g', "gatewaying", ' ', 7),
    ('w', "weight", '+', 8),
    ('x', "u-threshold", '+', 9),
    ('y', "l-threshold", '+', 9),
    ('n', "numeric", ' ', 0),
    ('c', "connection", ' ', 1),
    ('0', "timeout", ' ', 10),
    ('1', "stats", ' ', 11),
    ('2', "rate", ' ', 11),
    ('3', "thresholds", ' ', 11),
    ('4', "persistent-conn", ' ', 11),
    ('5', "nosort", ' ', 13),
    ('7', "sort", ' ', 14),
    ('X', "exact", ' ', 12),
    ('6', "ipv6", ' ', 14),
    ('o', "ops", ' ', 14),
    ('8', "pe", '+', 14),
    ('9', "daemon", ' ', 14),
    ('b', "sched-flags", '+', 14),
    (':', "start-daemon", '+', 14),
    (';', "stop-daemon", '+', 14),
];

/// What has been typed.
struct Line<'a> {
    command: usize,
    /// Letters of options, and their values.
    options: Vec<(char, &'a str)>,
    rest: Vec<&'a str>,
}

/// `ipvsadm` with these arguments; `input` is what `ipvsadm -R` reads.
pub fn ipvsadm(netfilter: &mut Netfilter, args: &[String], input: &str, now: Instant) -> Output {
    let mut output = Output::default();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    run(netfilter, &words, Some(input), now, &mut output);
    output
}

fn run(
    netfilter: &mut Netfilter,
    words: &[&str],
    input: Option<&str>,
    now: Instant,
    output: &mut Output,
) {
    output.code = 0;
    if let Err(Failure(code, text)) = carry_out(netfilter, words, input, now, output) {
        output.err.push_str(&text);
        output.err.push('\n');
        output.code = code;
    }
}

fn carry_out(
    netfilter: &mut Netfilter,
    words: &[&str],
    input: Option<&str>,
    now: Instant,
    output: &mut Output,
) -> Result<(), Failure> {
    if words.is_empty() {
        let none = Ipvs::default();
        let ipvs = netfilter.ipvs().unwrap_or(&none);
        output.out.push_str(&text::list(ipvs, None, Format::default(), now));
        return Ok(());
    }
    match words.first() {
        Some(&("-h" | "--help")) => return unsupported("the help text of ipvsadm is"),
        Some(&("-v" | "--version")) => {
            output.out.push_str(VERSION);
            return Ok(());
        }
        _ => {}
    }
    let line = read(words)?;
    let command = COMMANDS.get(line.command).map_or(' ', |command| command.0);
    let given = Given::of(&line)?;
    check(&line)?;
    match (command, input) {
        ('R', Some(input)) => {
            for text in input.lines() {
                let words = split_words(text);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                if !words.is_empty() {
                    run(netfilter, &words, None, now, output);
                }
            }
            return Ok(());
        }
        ('R', None) => return try_help(),
        _ => {}
    }
    let none = Ipvs::default();
    if matches!(command, 'L' | 'l' | 'S') {
        let ipvs = netfilter.ipvs().unwrap_or(&none);
        output.out.push_str(&given.show(ipvs, command, &line, now)?);
        return Ok(());
    }
    given.change(netfilter, command, &line, now)
}

/// Takes the words apart as popt does.
fn read<'a>(words: &[&'a str]) -> Result<Line<'a>, Failure> {
    let mut line = Line { command: usize::MAX, options: Vec::new(), rest: Vec::new() };
    let mut words = words.iter().copied().peekable();
    let mut is_first = true;
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let command = COMMANDS.iter().position(|command| command.1 == name);
            let option = WORDS.iter().find(|option| option.1 == name);
            take(&mut line, word, (command, option), is_first, |takes| match (takes, value) {
                ('+', None) => words.next(),
                ('?', None) => words.next_if(|word| !word.starts_with('-')).or(Some("")),
                (_, value) => value.or(Some("")),
            })?;
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            for (at, letter) in letters.char_indices() {
                let command = COMMANDS.iter().position(|c| c.0 == letter && c.0 != '=');
                let is_it = |option: &&Word| {
                    option.0 == letter && (letter.is_ascii_alphabetic() || letter == '6')
                };
                let option = WORDS.iter().find(is_it);
                let mut is_value = false;
                let rest = letters.get(at + letter.len_utf8()..).unwrap_or_default();
                take(&mut line, &format!("-{letter}"), (command, option), is_first, |takes| {
                    match takes {
                        ' ' => Some(""),
                        _ if !rest.is_empty() => {
                            is_value = true;
                            Some(rest.strip_prefix('=').unwrap_or(rest))
                        }
                        '?' => words.next_if(|word| !word.starts_with('-')).or(Some("")),
                        _ => words.next(),
                    }
                })?;
                is_first = false;
                if is_value {
                    break;
                }
            }
        } else {
            line.rest.push(word);
        }
        is_first &= line.command == usize::MAX;
    }
    if line.command == usize::MAX {
        return try_help();
    }
    Ok(line)
}

/// One command or option. The first has to be a command.
fn take<'a>(
    line: &mut Line<'a>,
    word: &str,
    (command, option): (Option<usize>, Option<&Word>),
    is_first: bool,
    value: impl FnOnce(char) -> Option<&'a str>,
) -> Result<(), Failure> {
    match (command, option) {
        (Some(command), _) if is_first => {
            line.command = command;
            Ok(())
        }
        _ if is_first => try_help(),
        (Some(_), _) => fail(format!("invalid option `{word}'")),
        (None, None) => Err(Failure(255, format!("{word}: unknown option"))),
        (None, Some((letter, _, takes, _))) => match value(*takes) {
            Some(value) => {
                line.options.push((*letter, value));
                Ok(())
            }
            None => Err(Failure(255, format!("{word}: missing argument"))),
        },
    }
}

fn place(letter: char) -> usize {
    WORDS.iter().find(|option| option.0 == letter).map_or(14, |option| option.3)
}

/// The name of an option in messages, where several stand at one place.
fn message_name(letter: char) -> &'static str {
    match letter {
        'x' => "u-threshold",
        'y' => "l-threshold",
        '1' | '2' | '3' | '4' | '7' | '8' | 'o' => {
            WORDS.iter().find(|option| option.0 == letter).map_or("", |option| option.1)
        }
        letter => OPTIONS.get(place(letter)).copied().unwrap_or_default(),
    }
}

/// Whether the options go with the command and with each other (`generic_opt_check`).
fn check(line: &Line<'_>) -> Result<(), Failure> {
    let Some((letter, _, name, marks)) = COMMANDS.get(line.command) else { return try_help() };
    if let Some(word) = line.rest.first().filter(|_| *letter != '=') {
        return fail(format!("unexpected argument {word}"));
    }
    let mut only: Option<usize> = None;
    for (at, (option, mark)) in OPTIONS.iter().zip(marks.iter()).enumerate() {
        let given = line.options.iter().find(|(letter, _)| place(*letter) == at);
        match (mark, given) {
            (b'+', None) => {
                return fail(format!(
                    "You need to supply the '{option}' option for the '{name}' command"
                ));
            }
            (b'x', Some((letter, _))) => {
                let option = message_name(*letter);
                return fail(format!("Illegal '{option}' option with the '{name}' command"));
            }
            (b'1', Some(_)) => {
                if let Some(last) = only.and_then(|last| OPTIONS.get(last)) {
                    return fail(format!(
                        "The option '{option}' conflicts with '{last}' option in the '{name}' command"
                    ));
                }
                only = Some(at);
            }
            _ => {}
        }
    }
    Ok(())
}

/// What the options say.
#[derive(Default)]
struct Given {
    service: Option<ServiceKey>,
    server: Option<SocketAddrV4>,
    scheduler: Option<Scheduler>,
    is_unknown: bool,
    persistence: Option<u32>,
    netmask: Option<Ipv4Addr>,
    options: ServerOptions,
    is_masquerading: bool,
    format: Format,
}

impl Given {
    fn of(line: &Line<'_>) -> Result<Given, Failure> {
        let mut given = Given::default();
        let mut seen: Vec<char> = Vec::new();
        for (letter, value) in line.options.iter().copied() {
            let is_same = |other: &char| {
                let is_service = place(letter) == 2 || place(letter) == 7;
                *other == letter || (is_service && place(*other) == place(letter))
            };
            if seen.iter().any(is_same) {
                let name = message_name(letter);
                return fail(format!("multiple '{name}' options specified"));
            }
            seen.push(letter);
            given.take(letter, value)?;
        }
        Ok(given)
    }

    fn take(&mut self, letter: char, value: &str) -> Result<(), Failure> {
        let shown = &mut self.format.shown;
        match letter {
            't' | 'u' | '#' => {
                let number = match letter {
                    't' => protocol::TCP,
                    'u' => protocol::UDP,
                    _ => protocol::SCTP,
                };
                match address(value, number) {
                    Some((addr, port)) => {
                        let port = port.unwrap_or(0);
                        self.service = Some(ServiceKey { protocol: number, addr, port });
                    }
                    None if value.starts_with('[') => return unsupported("IPv6 is"),
                    None => return fail("illegal virtual server address[:port] specified"),
                }
            }
            'f' => return unsupported("services by firewall mark are"),
            's' if ABSENT.contains(&value) => {
                return unsupported(&format!("the scheduler {value} is"));
            }
            's' => {
                self.scheduler = Scheduler::of(value);
                self.is_unknown = self.scheduler.is_none();
            }
            'p' if value.is_empty() => self.persistence = Some(PERSISTENCE),
            'p' => self.persistence = Some(timeout(value, 1)?),
            'M' => match value.parse() {
                Ok(mask) => self.netmask = Some(mask),
                Err(_) => return fail("illegal virtual server persistent mask specified"),
            },
            'r' => {
                let number = self.service.map_or(protocol::TCP, |key| key.protocol);
                let Some((addr, port)) = address(value, number) else {
                    return fail("illegal real server address[:port] specified");
                };
                let port = port.or(self.service.map(|key| key.port)).unwrap_or(0);
                self.server = Some(SocketAddrV4::new(addr, port));
            }
            'm' => self.is_masquerading = true,
            'i' => return unsupported("tunneling (-i) is"),
            'g' => return unsupported("direct routing (-g) is"),
            'w' => self.options.weight = number(value, 65_535, "weight")?,
            'x' => self.options.upper = number(value, i32::MAX as u32, "u_threshold")?,
            'y' => self.options.lower = number(value, i32::MAX as u32, "l_threshold")?,
            'n' => self.format.numeric = true,
            '1' => *shown = Shown::Stats,
            '2' => *shown = Shown::Rate,
            '3' => *shown = Shown::Thresholds,
            '4' => *shown = Shown::Persistent,
            '5' => self.format.nosort = true,
            'X' => self.format.exact = true,
            'o' => return unsupported("one-packet scheduling (-o) is"),
            '6' => return unsupported("IPv6 is"),
            '8' => return unsupported("persistence engines are"),
            'b' => return unsupported("scheduler flags are"),
            '9' | ':' | ';' => return unsupported("connection synchronisation is"),
            _ => {}
        }
        Ok(())
    }

    fn show(
        &self,
        ipvs: &Ipvs,
        command: char,
        line: &Line<'_>,
        now: Instant,
    ) -> Result<String, Failure> {
        let has = |letter| line.options.iter().any(|(other, _)| *other == letter);
        if command == 'S' {
            let format = Format { shown: Shown::Rules, ..self.format };
            return Ok(text::list(ipvs, None, format, now));
        }
        let is_list = self.format.shown != Shown::Usual;
        if (has('c') && is_list && !has('4')) || (has('0') && is_list) {
            return fail("options conflicts in the list command");
        }
        if has('c') {
            return Ok(text::list_conns(ipvs, self.format, now));
        }
        if has('0') {
            return Ok(text::list_timeouts(&ipvs.timeouts));
        }
        match &self.service {
            Some(key) if ipvs.service(key).is_none() => Err(Failure(1, "No such service".into())),
            key => Ok(text::list(ipvs, key.as_ref(), self.format, now)),
        }
    }

    fn persistence(&self) -> Option<Persistence> {
        let netmask = self.netmask.unwrap_or(Ipv4Addr::BROADCAST);
        self.persistence.map(|timeout| Persistence { timeout, netmask })
    }

    fn change(
        &self,
        netfilter: &mut Netfilter,
        command: char,
        line: &Line<'_>,
        now: Instant,
    ) -> Result<(), Failure> {
        let is_service = matches!(command, 'A' | 'E');
        let key = self.service.unwrap_or(ServiceKey {
            protocol: protocol::TCP,
            addr: Ipv4Addr::UNSPECIFIED,
            port: 0,
        });
        if is_service && key.port == 0 && self.persistence.is_none() {
            return fail("Zero port specified for non-persistent service");
        }
        let refused = |text: &str| Err(Failure(255, text.to_string()));
        if is_service && self.is_unknown {
            return refused("Scheduler or persistence engine not found");
        }
        if matches!(command, 'a' | 'e') && !self.is_masquerading {
            return unsupported("direct routing (-g), which is meant without -m, is");
        }
        let (persistence, options) = (self.persistence(), self.options);
        let scheduler = self.scheduler.unwrap_or(Scheduler::WeightedLeastConnection);
        let timeouts = if command == '=' { Some(timeouts(&line.rest)?) } else { None };
        let addr = self.server.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        if netfilter.ipvs().is_none() && matches!(command, 'C' | 'Z') {
            return Ok(());
        }
        let ipvs = netfilter.ipvs_mut();
        let done = match command {
            'A' => ipvs.add_service(key, scheduler, persistence, now),
            'E' => ipvs.edit_service(&key, scheduler, persistence),
            'D' => ipvs.remove_service(&key),
            'a' => ipvs.add_server(&key, addr, options, now),
            'e' => ipvs.edit_server(&key, addr, options),
            'd' => ipvs.remove_server(&key, addr),
            'Z' => ipvs.zero(self.service.as_ref(), now),
            'C' => {
                ipvs.clear();
                Ok(())
            }
            _ => {
                set_timeouts(&mut ipvs.timeouts, timeouts.unwrap_or_default());
                Ok(())
            }
        };
        match done {
            Ok(()) => Ok(()),
            Err(why) => refused(words_of(why, command)),
        }
    }
}

/// What libipvs says of an error, by what was asked.
fn words_of(why: Refused, command: char) -> &'static str {
    let is_server = matches!(command, 'a' | 'e' | 'd');
    match why {
        Refused::Exists if is_server => "Destination already exists",
        Refused::Exists => "Service already exists",
        Refused::NoService if is_server => "Service not defined",
        Refused::NoService => "No such service",
        Refused::NoServer => "No such destination",
        Refused::Invalid => {
            "Invalid operation.  Possibly wrong module version, address not unicast, ..."
        }
    }
}

fn number(text: &str, max: u32, what: &str) -> Result<u32, Failure> {
    match text.parse().ok().filter(|number| *number <= max) {
        Some(number) => Ok(number),
        None => fail(format!("illegal {what} specified")),
    }
}

fn timeout(text: &str, min: u32) -> Result<u32, Failure> {
    match text.parse().ok().filter(|seconds| (min..=TIMEOUT_MAX).contains(seconds)) {
        Some(seconds) => Ok(seconds),
        None => fail(format!("invalid timeout value `{text}' specified")),
    }
}

/// The three values of `--set`.
fn timeouts(words: &[&str]) -> Result<[u32; 3], Failure> {
    let [tcp, tcp_fin, udp, rest @ ..] = words else {
        return fail("--set option requires 3 timeout values");
    };
    let values = [timeout(tcp, 0)?, timeout(tcp_fin, 0)?, timeout(udp, 0)?];
    match rest.first() {
        Some(word) => fail(format!("unexpected argument {word}")),
        None => Ok(values),
    }
}

/// A timeout of 0 stays as it is.
fn set_timeouts(timeouts: &mut Timeouts, values: [u32; 3]) {
    let Timeouts { tcp, tcp_fin, udp } = timeouts;
    for (timeout, seconds) in [tcp, tcp_fin, udp].into_iter().zip(values) {
        if seconds > 0 {
            *timeout = Duration::from_secs(u64::from(seconds));
        }
    }
}

/// `10.0.0.1`, `10.0.0.1:80`, `10.0.0.1:http`
fn address(text: &str, number: u8) -> Option<(Ipv4Addr, Option<u16>)> {
    let (addr, port) = match text.rsplit_once(':') {
        Some((addr, port)) => (addr, Some(port)),
        None => (text, None),
    };
    let addr = match addr {
        "localhost" => Ipv4Addr::LOCALHOST,
        addr => addr.parse().ok()?,
    };
    let Some(port) = port else { return Some((addr, None)) };
    let named = || match (services::ports_of(port), number) {
        ((tcp, _), protocol::TCP) => tcp,
        ((_, udp), protocol::UDP) => udp,
        _ => None,
    };
    Some((addr, Some(port.parse().ok().or_else(named)?)))
}
