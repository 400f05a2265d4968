//! `-j LOG` and `-j NFLOG`: a line for each packet (`net/netfilter/nf_log_syslog.c`).

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use base::Instant;
use packet::{Head, L4, Packet, tcp_flags};

use super::TargetExt;
use crate::iface::IfName;
use crate::text::options::{Given, Opt, Options};
use crate::text::words::{number_prefix, parse_number};
use crate::text::{ParseError, quote};

/// Longest prefix of `LOG` and of `NFLOG`.
const LOG_PREFIX_MAX: usize = 29;
const NFLOG_PREFIX_MAX: usize = 63;
/// Lines kept; older ones are forgotten first.
const LINES_MAX: usize = 1000;

/// Options of `-j LOG` and `-j NFLOG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Log {
    /// `LOG`: to the kernel's log.
    Kernel {
        /// `--log-level`
        level: u8,
        /// `--log-prefix`
        prefix: String,
        /// `--log-tcp-sequence` 1, `--log-tcp-options` 2, `--log-ip-options` 4, `--log-uid` 8,
        /// `--log-macdecode` 32.
        flags: u8,
    },
    /// `NFLOG`: to whoever listens to the group.
    Group {
        /// `--nflog-group`
        group: u16,
        /// `--nflog-prefix`
        prefix: String,
        /// `--nflog-size`
        size: Option<u32>,
        /// `--nflog-threshold`
        threshold: u16,
    },
}

/// A line that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Instant,
    /// 0 (emergency) to 7 (debug); `NFLOG` has none.
    pub level: Option<u8>,
    /// The kernel's words for the packet, after the prefix.
    pub text: String,
}

/// The last lines of a namespace.
#[derive(Debug, Default)]
pub struct LogBuffer {
    lines: VecDeque<LogLine>,
    written: u64,
}

impl LogBuffer {
    /// The lines that are kept, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &LogLine> {
        self.lines.iter()
    }

    /// Lines ever written, those forgotten included.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn push(&mut self, line: LogLine) {
        if self.lines.len() >= LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        self.written += 1;
    }
}

impl Log {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Log::Kernel { .. } => "LOG",
            Log::Group { .. } => "NFLOG",
        }
    }

    /// What the rule did, in plain words.
    pub(crate) fn words(&self) -> String {
        match self {
            Log::Kernel { prefix, .. } => format!("logged \"{prefix}\""),
            Log::Group { group, prefix, .. } => format!("logged \"{prefix}\" to group {group}"),
        }
    }

    /// The line for a packet.
    pub(crate) fn line(
        &self,
        packet: &Packet,
        (iif, oif): (IfName, IfName),
        mark: u32,
        at: Instant,
    ) -> LogLine {
        let (prefix, level, flags) = match self {
            Log::Kernel { level, prefix, flags } => (prefix, Some(*level), *flags),
            Log::Group { prefix, .. } => (prefix, None, 0),
        };
        let mut text = format!("{prefix}IN={iif} OUT={oif} ");
        describe(packet, flags, &mut text);
        if mark != 0 {
            let _ = write!(text, "MARK={mark:#x} ");
        }
        LogLine { at, level, text }
    }

    pub(super) fn save(&self, out: &mut String) {
        match self {
            Log::Kernel { level, prefix, flags } => {
                if !prefix.is_empty() {
                    out.push_str(" --log-prefix ");
                    quote(prefix, out);
                }
                if *level != 4 {
                    let _ = write!(out, " --log-level {level}");
                }
                for (_, word, bit) in FLAGS {
                    if flags & bit != 0 {
                        let _ = write!(out, " --{word}");
                    }
                }
            }
            Log::Group { .. } => self.print_group(out, "--"),
        }
    }

    pub(super) fn list(&self, out: &mut String) {
        match self {
            Log::Kernel { level, prefix, flags } => {
                let _ = write!(out, " LOG flags {flags} level {level}");
                if !prefix.is_empty() {
                    let _ = write!(out, " prefix \"{prefix}\"");
                }
            }
            Log::Group { .. } => self.print_group(out, ""),
        }
    }

    fn print_group(&self, out: &mut String, dashes: &str) {
        let Log::Group { group, prefix, size, threshold } = self else { return };
        if !prefix.is_empty() {
            let _ = write!(out, " {dashes}nflog-prefix ");
            quote(prefix, out);
        }
        if *group != 0 {
            let _ = write!(out, " {dashes}nflog-group {group}");
        }
        if let Some(size) = size {
            let _ = write!(out, " {dashes}nflog-size {size}");
        }
        if *threshold != 0 {
            let _ = write!(out, " {dashes}nflog-threshold {threshold}");
        }
    }
}

/// Everything from `SRC=` on (`dump_ipv4_packet`).
fn describe(packet: &Packet, flags: u8, out: &mut String) {
    let Head { src, dst, total_len, tos, ttl, fragment, .. } = *packet.head();
    let _ = write!(
        out,
        "SRC={src} DST={dst} LEN={total_len} TOS=0x{:02X} PREC=0x{:02X} TTL={ttl} ID={} ",
        tos & 0x1e,
        tos & 0xe0,
        packet.ident()
    );
    if packet.dont_fragment() {
        out.push_str("DF ");
    }
    if fragment.more {
        out.push_str("MF ");
    }
    if fragment.offset != 0 {
        let _ = write!(out, "FRAG:{} ", fragment.offset / 8);
    }
    if flags & 4 != 0
        && let Some(options) = packet.header().get(20..).filter(|options| !options.is_empty())
    {
        hex("OPT (", options, out);
    }
    describe_payload(packet, flags, out);
}

fn hex(before: &str, bytes: &[u8], out: &mut String) {
    out.push_str(before);
    for byte in bytes {
        let _ = write!(out, "{byte:02X}");
    }
    out.push_str(") ");
}

fn describe_payload(packet: &Packet, flags: u8, out: &mut String) {
    let payload = packet.payload();
    let word = |at: usize| {
        let bytes = payload.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u16::from_be_bytes)
    };
    match packet.head().l4 {
        L4::Tcp { sport, dport, flags: control } => {
            let _ = write!(out, "PROTO=TCP SPT={sport} DPT={dport} ");
            if flags & 1 != 0
                && let Some((seq, ack)) = packet.tcp_numbers()
            {
                let _ = write!(out, "SEQ={seq} ACK={ack} ");
            }
            let _ = write!(out, "WINDOW={} RES=0x{:02x} ", word(14), word(12) >> 8 & 0xf);
            for (bit, name) in CONTROL {
                if control & bit != 0 {
                    let _ = write!(out, "{name} ");
                }
            }
            let _ = write!(out, "URGP={} ", word(18));
            let end = payload.get(12).map_or(20, |offset| usize::from(offset >> 4) * 4);
            if flags & 2 != 0
                && let Some(options) = payload.get(20..end).filter(|options| !options.is_empty())
            {
                hex("OPT (", options, out);
            }
        }
        L4::Udp { sport, dport } => {
            let _ = write!(out, "PROTO=UDP SPT={sport} DPT={dport} LEN={} ", word(4));
        }
        L4::Icmp { kind, code, .. } => {
            let _ = write!(out, "PROTO=ICMP TYPE={kind} CODE={code} ");
            describe_icmp(packet, kind, out);
        }
        L4::Sctp { .. } | L4::Other => match packet.head().protocol {
            1 => out.push_str("PROTO=ICMP "),
            6 => out.push_str("PROTO=TCP "),
            17 => out.push_str("PROTO=UDP "),
            other => {
                let _ = write!(out, "PROTO={other} ");
            }
        },
    }
}

fn describe_icmp(packet: &Packet, kind: u8, out: &mut String) {
    let payload = packet.payload();
    let word = |at: usize| {
        let bytes = payload.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u16::from_be_bytes)
    };
    match kind {
        0 | 8 => {
            let _ = write!(out, "ID={} SEQ={} ", word(4), word(6));
        }
        5 => {
            let gateway = u32::from(word(4)) << 16 | u32::from(word(6));
            let _ = write!(out, "GATEWAY={} ", Ipv4Addr::from(gateway));
        }
        _ => {}
    }
    if let (3 | 4 | 11, Some(inner)) = (kind, payload.get(8..))
        && let Ok(inner) = Packet::parse(inner.to_vec())
    {
        out.push('[');
        describe(&inner, 0, out);
        out.push_str("] ");
    }
    if kind == 3 && payload.get(1) == Some(&4) {
        let _ = write!(out, "MTU={} ", word(6));
    }
}

/// Control bits in the order in which they are printed.
const CONTROL: [(u8, &str); 8] = [
    (tcp_flags::CWR, "CWR"),
    (tcp_flags::ECE, "ECE"),
    (tcp_flags::URG, "URG"),
    (tcp_flags::ACK, "ACK"),
    (tcp_flags::PSH, "PSH"),
    (tcp_flags::RST, "RST"),
    (tcp_flags::SYN, "SYN"),
    (tcp_flags::FIN, "FIN"),
];

/// Levels by name.
const LEVELS: [(&str, u8); 9] = [
    ("emerg", 0),
    ("panic", 0),
    ("alert", 1),
    ("crit", 2),
    ("error", 3),
    ("warning", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];

/// Id, name and bit of the flags, in the order in which they are printed.
const FLAGS: [(u8, &str, u8); 5] = [
    (2, "log-tcp-sequence", 1),
    (3, "log-tcp-options", 2),
    (4, "log-ip-options", 4),
    (5, "log-uid", 8),
    (6, "log-macdecode", 32),
];

static LOG_OPTIONS: Options = Options {
    ext: "LOG",
    table: &[
        Opt::new("log-level", 0),
        Opt::new("log-prefix", 1),
        Opt::flag("log-tcp-sequence", 2),
        Opt::flag("log-tcp-options", 3),
        Opt::flag("log-ip-options", 4),
        Opt::flag("log-uid", 5),
        Opt::flag("log-macdecode", 6),
    ],
};

pub(super) struct LogParser {
    level: u8,
    prefix: String,
    flags: u8,
}

impl Default for LogParser {
    fn default() -> Self {
        LogParser { level: 4, prefix: String::new(), flags: 0 }
    }
}

impl super::TargetParser for LogParser {
    fn options(&self) -> &'static Options {
        &LOG_OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        match given.opt.id {
            0 => {
                let text = given.value;
                let named = LEVELS.iter().find(|(name, _)| *name == text).map(|(_, level)| *level);
                let number =
                    parse_number(text).filter(|level| *level <= 7).map(|level| level as u8);
                let unknown = || ParseError::new(format!("log level \"{text}\" unknown\n"));
                self.level = number.or(named).ok_or_else(unknown)?;
            }
            1 => {
                let prefix = given.text(LOG_PREFIX_MAX)?;
                if given.value.contains('\n') {
                    return Err(ParseError::new("Newlines not allowed in --log-prefix"));
                }
                self.prefix = prefix;
            }
            id => {
                let flag = FLAGS.iter().find(|(known, ..)| *known == id);
                self.flags |= flag.map_or(0, |(_, _, bit)| *bit);
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        let LogParser { level, prefix, flags } = *self;
        Ok(TargetExt::Log(Log::Kernel { level, prefix, flags }))
    }
}

static NFLOG_OPTIONS: Options = Options {
    ext: "NFLOG",
    table: &[
        Opt::new("nflog-group", 0),
        Opt::new("nflog-prefix", 1),
        Opt::new("nflog-range", 2),
        Opt::new("nflog-size", 3),
        Opt::new("nflog-threshold", 4),
    ],
};

#[derive(Default)]
pub(super) struct NflogParser {
    group: u16,
    prefix: String,
    size: Option<u32>,
    threshold: u16,
}

impl super::TargetParser for NflogParser {
    fn options(&self) -> &'static Options {
        &NFLOG_OPTIONS
    }

    fn take(&mut self, given: &mut Given<'_, '_>) -> Result<(), ParseError> {
        match given.opt.id {
            0 => self.group = given.number32(0, 65_535)? as u16,
            1 => {
                let prefix = given.text(NFLOG_PREFIX_MAX)?;
                if given.value.contains('\n') {
                    return Err(ParseError::new("Newlines not allowed in --log-prefix"));
                }
                self.prefix = prefix;
            }
            2 => {
                number_prefix(given.value).ok_or_else(|| given.out_of_range(0, u32::MAX.into()))?;
                given.around.warnings.push(
                    "warn: --nflog-range has never worked and is no longer supported, please use --nflog-size instead"
                        .to_string(),
                );
            }
            3 => self.size = Some(given.number32(0, u32::MAX)?),
            _ => self.threshold = given.number32(0, 65_535)? as u16,
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<TargetExt, ParseError> {
        let NflogParser { group, prefix, size, threshold } = *self;
        Ok(TargetExt::Log(Log::Group { group, prefix, size, threshold }))
    }
}
