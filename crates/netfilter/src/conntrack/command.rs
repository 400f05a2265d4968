//! The program `conntrack`: its arguments, and what it does with them (conntrack-tools 1.4.7).
//!
//! Not supported: the tables `expect`, `dying` and `unconfirmed` (always empty), labels, zones other than 0,
//! IPv6 (all of which list nothing), `-I`, `-A` and `-R`.

mod args;

use std::fmt;

use base::Instant;

pub use self::args::parse;
use super::event::{Event, EventKind};
use super::text::{self, Format};
use super::{ConnId, Conntrack, Filter, Tuple, status};

/// What every message begins with.
pub const BANNER: &str = "conntrack v1.4.7 (conntrack-tools): ";

/// A complaint, and the exit code that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// What is wrong.
    pub message: String,
    /// 2 for a misuse of options, 1 for what the kernel refused.
    pub code: u8,
}

impl fmt::Display for CommandError {
    /// As on standard error, the last newline included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{BANNER}{}", self.message)?;
        if self.code == 2 {
            writeln!(f, "Try `conntrack -h' or 'conntrack --help' for more information.")?;
        }
        Ok(())
    }
}

/// Which table is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Connections.
    Conntrack,
    /// Expectations; there never are any.
    Expect,
    /// Connections being made or forgotten; none stay so for long enough to be seen.
    InBetween,
}

/// Which events are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventMask {
    /// `NEW`
    pub new: bool,
    /// `UPDATES`
    pub updates: bool,
    /// `DESTROY`
    pub destroy: bool,
}

/// What `-U` changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// `-m`, and the bits of it that are set.
    pub mark: Option<(u32, u32)>,
    /// `-t`, seconds.
    pub timeout: Option<u32>,
    /// `-u`
    pub status: u16,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Without a command, and `-h`.
    Help,
    /// `-V`
    Version,
    /// `-L`
    List {
        /// Which table.
        table: Which,
        /// Which connections.
        filter: Box<Filter>,
        /// How.
        format: Format,
        /// `-z`: count from zero again.
        zero: bool,
    },
    /// `-D`
    Delete {
        /// Which connections.
        filter: Box<Filter>,
        /// How those deleted are shown.
        format: Format,
    },
    /// `-U`
    Update {
        /// Which connections.
        filter: Box<Filter>,
        /// How those changed are shown.
        format: Format,
        /// What changes.
        changes: Changes,
    },
    /// `-G`
    Get {
        /// The connection.
        tuple: Tuple,
        /// How it is shown.
        format: Format,
    },
    /// `-F`
    Flush(Which),
    /// `-C`
    Count(Which),
    /// `-S`
    Stats,
    /// `-E`
    Events(Box<EventPrinter>),
}

/// What a run has printed, and its exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code.
    pub code: u8,
}

impl Output {
    fn lines(lines: &[String], format: Format, what: &str) -> Output {
        let mut stdout = String::new();
        if format.xml {
            stdout.push_str(text::XML_HEAD);
        }
        for line in lines {
            stdout.push_str(line);
            stdout.push('\n');
        }
        if format.xml {
            stdout.push_str(text::XML_TAIL);
        }
        Output { stdout, stderr: footer(lines.len(), "entries", what), code: 0 }
    }
}

fn footer(count: usize, things: &str, what: &str) -> String {
    format!("{BANNER}{count} flow {things} have been {what}.\n")
}

/// Prints events as they are heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPrinter {
    filter: Filter,
    format: Format,
    mask: EventMask,
    shown: usize,
}

impl EventPrinter {
    fn new(filter: Filter, format: Format, mask: EventMask) -> EventPrinter {
        EventPrinter { filter, format, mask, shown: 0 }
    }

    /// What is printed before the first event.
    pub fn head(&self) -> &'static str {
        if self.format.xml { text::XML_HEAD } else { "" }
    }

    /// The line of an event, if it is asked for.
    pub fn line(&mut self, event: &Event) -> Option<String> {
        let is_wanted = match event.kind {
            EventKind::New => self.mask.new,
            EventKind::Update => self.mask.updates,
            EventKind::Destroy => self.mask.destroy,
        };
        if !is_wanted || !self.filter.matches(&event.conn) {
            return None;
        }
        self.shown += 1;
        Some(text::event_line(event, self.format) + "\n")
    }

    /// What is printed when it is interrupted.
    pub fn finish(&self) -> Output {
        let stdout = if self.format.xml { text::XML_TAIL } else { "" };
        Output {
            stdout: stdout.to_string(),
            stderr: footer(self.shown, "events", "shown"),
            code: 0,
        }
    }

    /// What is said when events came faster than they were read.
    pub const LOST: &'static str = "WARNING: We have hit ENOBUFS! We are losing events.\nThis message \
        means that the current netlink socket buffer size is too small.\nPlease, check --buffer-size \
        in conntrack(8) manpage.\n";
}

/// What a command leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// It is done.
    Done(Output),
    /// It goes on until it is interrupted: events are to be heard and printed.
    Listen(Box<EventPrinter>),
}

/// Runs `conntrack` with its arguments. `portid` is the number of the process, which events carry.
pub fn run<S: AsRef<str>>(args: &[S], conntrack: &mut Conntrack, now: Instant, portid: u32) -> Run {
    let done = match parse(args) {
        Ok(Command::Events(printer)) => return Run::Listen(printer),
        Ok(command) => execute(command, conntrack, now, portid),
        Err(error) => Err(error),
    };
    Run::Done(done.unwrap_or_else(|error| Output {
        stderr: error.to_string(),
        code: error.code,
        ..Output::default()
    }))
}

fn execute(
    command: Command,
    conntrack: &mut Conntrack,
    now: Instant,
    portid: u32,
) -> Result<Output, CommandError> {
    let say = |stdout: String| Ok(Output { stdout, ..Output::default() });
    match command {
        Command::Help => say(args::HELP.to_string()),
        Command::Version => say("conntrack v1.4.7 (conntrack-tools)\n".to_string()),
        Command::List { table, filter, format, zero } => {
            Ok(list(conntrack, table, &filter, format, zero, now))
        }
        Command::Delete { filter, format } => {
            let deleted = conntrack.delete(&filter, now, Some(portid));
            let line = |conn| text::formatted(conn, format, now);
            let lines: Vec<String> = deleted.iter().map(line).collect();
            let code = u8::from(lines.is_empty());
            Ok(Output { code, ..Output::lines(&lines, format, "deleted") })
        }
        Command::Update { filter, format, changes } => {
            Ok(update(conntrack, &filter, format, changes, (now, portid)))
        }
        Command::Get { tuple, format } => get(conntrack, &tuple, format, now),
        Command::Flush(which) => {
            if which == Which::Conntrack {
                conntrack.flush(now, Some(portid));
            }
            let table = if which == Which::Expect { "expectation" } else { "connection tracking" };
            let stderr = format!("{BANNER}{table} table has been emptied.\n");
            Ok(Output { stderr, ..Output::default() })
        }
        Command::Count(Which::Conntrack) => say(format!("{}\n", conntrack.count())),
        Command::Count(_) => say("0\n".to_string()),
        Command::Stats => say(text::stats_line(&conntrack.stats)),
        Command::Events(_) => Ok(Output::default()),
    }
}

fn list(
    conntrack: &mut Conntrack,
    table: Which,
    filter: &Filter,
    format: Format,
    zero: bool,
    now: Instant,
) -> Output {
    match table {
        Which::Expect => {
            let stderr = format!("{BANNER}0 expectations have been shown.\n");
            return Output { stderr, ..Output::default() };
        }
        Which::InBetween => return Output::lines(&[], format, "shown"),
        Which::Conntrack => {}
    }
    let chosen = conntrack.select(filter, now);
    let ids: Vec<ConnId> = chosen.iter().map(|(id, _)| *id).collect();
    let lines: Vec<String> =
        chosen.into_iter().map(|(_, conn)| text::formatted(conn, format, now)).collect();
    if zero {
        for id in ids {
            conntrack
                .conn_mut(id, |conn| conn.counters = conn.counters.map(|_| Default::default()));
        }
    }
    Output::lines(&lines, format, "shown")
}

fn update(
    conntrack: &mut Conntrack,
    filter: &Filter,
    format: Format,
    changes: Changes,
    (now, portid): (Instant, u32),
) -> Output {
    let ids: Vec<ConnId> = conntrack.select(filter, now).into_iter().map(|(id, _)| id).collect();
    let mut lines = Vec::new();
    for id in ids {
        conntrack.conn_mut(id, |conn| {
            if let Some((mark, mask)) = changes.mark {
                conn.mark = (conn.mark & !mask) | (mark & mask);
            }
            if let Some(secs) = changes.timeout {
                conn.expires = now + base::Duration::from_secs(u64::from(secs));
            }
            conn.status |= changes.status;
        });
        conntrack.tell(id, EventKind::Update, now, Some(portid));
        if let Some(conn) = conntrack.get(id) {
            lines.push(text::formatted_held(conn, format, now));
        }
    }
    let code = u8::from(lines.is_empty());
    Output { code, ..Output::lines(&lines, format, "updated") }
}

fn get(
    conntrack: &mut Conntrack,
    tuple: &Tuple,
    format: Format,
    now: Instant,
) -> Result<Output, CommandError> {
    let found = conntrack.find(tuple, now).and_then(|(id, _)| conntrack.get(id));
    match found.filter(|conn| !conn.has(status::NAT_CLASH)) {
        Some(conn) => {
            Ok(Output::lines(&[text::formatted_held(conn, format, now)], format, "shown"))
        }
        None => Err(CommandError {
            message: "Operation failed: such conntrack doesn't exist".to_string(),
            code: 1,
        }),
    }
}

#[cfg(test)]
mod tests;
