//! `iptables-restore`.

use std::fmt;

use super::command::{Failure, check_names, check_objects, edit};
use super::parse::{Command, Line, parse_command};
use super::save::VERSION;
use super::{ParseError, split_words};
use crate::firewall::Netfilter;
use crate::hook::TableName;
use crate::table::{Counters, Policy, Table};

/// Options of `iptables-restore`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// `--noflush`: what is not named stays.
    pub noflush: bool,
    /// `--counters`: counters as written; else zero.
    pub counters: bool,
    /// `--test`: only say whether it would be accepted.
    pub test: bool,
    /// `--table`: all other tables of the text are passed over.
    pub only: Option<TableName>,
}

/// Why a ruleset was refused. Tables committed before the line are in force; the line's table is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreError {
    /// Counted from 1.
    pub line: u32,
    /// What is wrong with it.
    problem: Problem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// What the same command would have said outside a file.
    Failure(Failure),
    /// Not a line of `iptables-save`.
    Garbage,
    /// The text ends before `COMMIT`.
    NoCommit,
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Problem::Failure(failure)
    }
}

impl From<ParseError> for Problem {
    fn from(error: ParseError) -> Self {
        Problem::Failure(Failure::Usage(error))
    }
}

impl RestoreError {
    /// The exit code of `iptables-restore`.
    pub fn code(&self) -> i32 {
        match &self.problem {
            Problem::Failure(Failure::Usage(_) | Failure::NoTarget(_)) => 2,
            Problem::Failure(Failure::NoTable(_)) => 2,
            Problem::Failure(Failure::Kernel { .. }) => 4,
            _ => 1,
        }
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        let where_ = format!(
            "Error occurred at line: {line}\nTry `iptables-restore -h' or 'iptables-restore --help' for more information."
        );
        match &self.problem {
            Problem::Failure(Failure::Usage(error)) if error.is_bare() => {
                write!(f, "{error}\n{where_}")
            }
            Problem::Failure(Failure::Usage(error)) => {
                write!(f, "iptables-restore v{VERSION}: {error}\n{where_}")
            }
            Problem::Failure(Failure::NoTarget(text)) => {
                write!(f, "iptables-restore v{VERSION}: {text}\n{where_}")
            }
            Problem::Failure(Failure::NoTable(name)) => write!(
                f,
                "iptables-restore v{VERSION}: iptables-restore: line {line} table name '{name}' invalid\n{where_}"
            ),
            Problem::Failure(Failure::Kernel { what, errno, place }) => write!(
                f,
                "iptables-restore v{VERSION}: \nline {line}: {what} failed ({errno}): {place}"
            ),
            Problem::Failure(Failure::Missing(text) | Failure::Other(text)) => {
                write!(f, "iptables-restore: line {line} failed: {text}")
            }
            Problem::Garbage => write!(f, "iptables-restore: line {line} failed"),
            Problem::NoCommit => write!(f, "iptables-restore: COMMIT expected at line {line}"),
        }
    }
}

/// Puts a ruleset in force, one table after the other, each as a whole or not at all.
pub fn restore(
    netfilter: &mut Netfilter,
    text: &str,
    options: RestoreOptions,
) -> Result<(), RestoreError> {
    let mut open: Option<Table> = None;
    let mut last_line = 0;
    for (line, content) in (1..).zip(text.lines()) {
        last_line = line;
        let at = |problem| RestoreError { line, problem };
        // What the real tool has written and read for years begins in the first column; people indent.
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let Some(table) = open.as_mut() else {
            let Some(name) = content.strip_prefix('*') else { return Err(at(Problem::Garbage)) };
            open = Some(begin(netfilter, name.trim(), options).map_err(at)?);
            continue;
        };
        let is_passed_over = options.only.is_some_and(|only| only != table.name());
        if content == "COMMIT" {
            if let Some(table) = open.take()
                && !options.test
                && !is_passed_over
            {
                netfilter.edit(table.name(), |slot| *slot = table);
            }
        } else if !is_passed_over {
            apply(netfilter, table, (line, content), options).map_err(|problem| {
                // Whether a chain is there is asked when all is known.
                let is_late = matches!(problem, Problem::Failure(Failure::NoTarget(_)));
                let line = if is_late { commit_after(text, line) } else { line };
                RestoreError { line, problem }
            })?;
        }
    }
    match open {
        Some(_) => Err(RestoreError { line: last_line + 1, problem: Problem::NoCommit }),
        None => Ok(()),
    }
}

/// The line of the next `COMMIT` after `line`.
fn commit_after(text: &str, line: u32) -> u32 {
    let mut numbered = (1..).zip(text.lines());
    let commit = numbered.find(|(number, content)| *number > line && content.trim() == "COMMIT");
    commit.map_or(line, |(number, _)| number)
}

/// A copy of the table to work on; without `--noflush`, an empty one that keeps the policies' counters.
fn begin(netfilter: &Netfilter, name: &str, options: RestoreOptions) -> Result<Table, Problem> {
    let table: TableName = name.parse().map_err(|_| Failure::NoTable(name.to_string()))?;
    match netfilter.table(table) {
        Some(existing) if options.noflush => Ok(existing.clone()),
        _ => Ok(Table::new(table)),
    }
}

fn apply(
    netfilter: &Netfilter,
    table: &mut Table,
    (number, line): (u32, &str),
    options: RestoreOptions,
) -> Result<(), Problem> {
    if let Some(chain) = line.strip_prefix(':') {
        return declare(table, (number, chain), options);
    }
    let mut words = split_words(line);
    let mut counters = None;
    if let Some(written) = words.first().and_then(|word| counter_words(word)) {
        counters = written.filter(|_| options.counters);
        let is_bad = written.is_none() && options.counters;
        words.remove(0);
        if is_bad {
            return Err(ParseError::new("-c packet counter not numeric").into());
        }
    }
    let mut line = parse_command(&words, Some(table.name().name()))?;
    line.counters = line.counters.or(counters);
    command(netfilter, table, &line)
}

/// `:CHAIN POLICY [packets:bytes]`
fn declare(
    table: &mut Table,
    (number, line): (u32, &str),
    options: RestoreOptions,
) -> Result<(), Problem> {
    let mut words = line.split_whitespace();
    let Some(chain) = words.next() else { return Err(Problem::Garbage) };
    let Some(policy) = words.next() else {
        let text = format!("iptables-restore: line {number} policy invalid");
        return Err(ParseError::new(text).into());
    };
    let is_builtin = table.chain(chain).is_some_and(|chain| chain.policy.is_some());
    let edited = match (table.chain(chain).is_some(), is_builtin) {
        (true, true) => {
            let policy = match policy {
                "ACCEPT" => Policy::Accept,
                "DROP" => Policy::Drop,
                "-" => return Ok(()),
                _ => return Err(Failure::Missing("Bad policy name.".to_string()).into()),
            };
            table.set_policy(chain, policy)
        }
        (true, false) => table.flush(chain),
        (false, _) => table.new_chain(chain),
    };
    edited.map_err(|error| super::command::failure(error, "CHAIN_ADD"))?;
    if let Some(counters) = words.next().and_then(parse_counters)
        && options.counters
        && is_builtin
    {
        table.set_chain_counters(chain, counters);
    }
    Ok(())
}

/// `[packets:bytes]`
fn parse_counters(word: &str) -> Option<Counters> {
    let (packets, bytes) = word.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some(Counters { packets: packets.parse().ok()?, bytes: bytes.parse().ok()? })
}

/// Whether a word is meant for counters; and, if they can be read, these.
fn counter_words(word: &str) -> Option<Option<Counters>> {
    word.starts_with('[').then(|| parse_counters(word))
}

fn command(netfilter: &Netfilter, table: &mut Table, line: &Line) -> Result<(), Problem> {
    if matches!(
        line.command,
        Command::List { .. } | Command::ListRules { .. } | Command::Help | Command::Version { .. }
    ) {
        return Err(ParseError::unsupported("a command that only prints, in a ruleset,").into());
    }
    let chain = match &line.command {
        Command::Append { chain }
        | Command::Insert { chain, .. }
        | Command::Replace { chain, .. } => chain.as_str(),
        _ => "",
    };
    check_names(netfilter.stores(), &line.rules)?;
    check_objects(netfilter.stores(), &line.rules, chain, &line.command)?;
    edit(table, line)?;
    Ok(())
}
