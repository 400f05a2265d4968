//! `iptables-restore`.

use std::fmt;

use super::{ParseError, parse_rule, split_words};
use crate::firewall::Netfilter;
use crate::hook::TableName;
use crate::table::{Counters, EditError, Policy, Table};

/// Options of `iptables-restore`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// `--noflush`: what is not named stays.
    pub noflush: bool,
    /// `--counters`: counters as written; else zero.
    pub counters: bool,
    /// `--test`: only say whether it would be accepted.
    pub test: bool,
}

/// Why a ruleset was refused. Tables committed before the line are in force; the line's table is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreError {
    /// Counted from 1.
    pub line: u32,
    /// What is wrong with it.
    pub problem: RestoreProblem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreProblem {
    /// No such table.
    UnknownTable(String),
    /// A rule or chain outside `*table` … `COMMIT`.
    OutsideTable,
    /// The arguments of a rule.
    Rule(ParseError),
    /// The rule cannot be where it is to be.
    Edit(EditError),
    /// Not a line of `iptables-save`.
    Garbage,
    /// The text ends before `COMMIT`.
    NoCommit,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        match &self.problem {
            RestoreProblem::UnknownTable(table) => write!(
                f,
                "iptables-restore v{v}: iptables-restore: unable to initialize table '{table}'\n\nError occurred at line: {line}\nTry `iptables-restore -h' or 'iptables-restore --help' for more information.",
                v = super::save::VERSION
            ),
            RestoreProblem::Rule(error) => write!(
                f,
                "iptables-restore v{v}: {error}\n\nError occurred at line: {line}\nTry `iptables-restore -h' or 'iptables-restore --help' for more information.",
                v = super::save::VERSION
            ),
            RestoreProblem::Edit(error) => {
                write!(f, "iptables-restore: line {line} failed: {error}")
            }
            RestoreProblem::OutsideTable | RestoreProblem::Garbage => {
                write!(f, "iptables-restore: line {line} failed")
            }
            RestoreProblem::NoCommit => {
                write!(f, "iptables-restore: COMMIT expected at line {line}")
            }
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
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if let Some(name) = content.strip_prefix('*') {
            open = Some(begin(netfilter, name.trim(), options).map_err(at)?);
            continue;
        }
        let Some(table) = open.as_mut() else { return Err(at(RestoreProblem::OutsideTable)) };
        if content == "COMMIT" {
            if let Some(table) = open.take()
                && !options.test
            {
                netfilter.edit(table.name(), |slot| *slot = table);
            }
            continue;
        }
        apply(table, content, options).map_err(at)?;
    }
    match open {
        Some(_) => Err(RestoreError { line: last_line + 1, problem: RestoreProblem::NoCommit }),
        None => Ok(()),
    }
}

/// A copy of the table to work on; without `--noflush`, an empty one.
fn begin(
    netfilter: &Netfilter,
    name: &str,
    options: RestoreOptions,
) -> Result<Table, RestoreProblem> {
    let table: TableName =
        name.parse().map_err(|_| RestoreProblem::UnknownTable(name.to_string()))?;
    match netfilter.table(table) {
        Some(existing) if options.noflush => Ok(existing.clone()),
        _ => Ok(Table::new(table)),
    }
}

fn apply(table: &mut Table, line: &str, options: RestoreOptions) -> Result<(), RestoreProblem> {
    if let Some(chain) = line.strip_prefix(':') {
        return declare(table, chain, options);
    }
    let mut words = split_words(line);
    let mut counters = Counters::default();
    if let Some(written) = words.first().and_then(|word| parse_counters(word)) {
        words.remove(0);
        counters = if options.counters { written } else { counters };
    }
    command(table, &words, counters)
}

/// `:CHAIN POLICY [packets:bytes]`
fn declare(table: &mut Table, line: &str, options: RestoreOptions) -> Result<(), RestoreProblem> {
    let mut words = line.split_whitespace();
    let (Some(chain), Some(policy)) = (words.next(), words.next()) else {
        return Err(RestoreProblem::Garbage);
    };
    let policy = match policy {
        "ACCEPT" => Some(Policy::Accept),
        "DROP" => Some(Policy::Drop),
        "-" => None,
        _ => return Err(RestoreProblem::Garbage),
    };
    match (table.chain(chain).is_some(), policy) {
        (true, None) => table.flush(chain),
        (true, Some(policy)) => table.set_policy(chain, policy),
        (false, _) => table.new_chain(chain),
    }
    .map_err(RestoreProblem::Edit)?;
    if let Some(counters) = words.next().and_then(parse_counters)
        && options.counters
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

/// `-A CHAIN rule` and the other commands that may stand in a file.
fn command(table: &mut Table, words: &[String], counters: Counters) -> Result<(), RestoreProblem> {
    let (Some(command), rest) =
        (words.first().map(String::as_str), words.get(1..).unwrap_or_default())
    else {
        return Err(RestoreProblem::Garbage);
    };
    let chain = rest.first().map(String::as_str);
    let arguments = rest.get(1..).unwrap_or_default();
    let edit = RestoreProblem::Edit;
    match (command, chain) {
        ("-A" | "--append", Some(chain)) => {
            for spec in parse_rule(arguments).map_err(RestoreProblem::Rule)? {
                table.insert_counted(chain, u32::MAX, spec, counters).map_err(edit)?;
            }
            Ok(())
        }
        ("-I" | "--insert", Some(chain)) => insert(table, chain, arguments, counters),
        ("-D" | "--delete", Some(chain)) => delete(table, chain, arguments),
        ("-N" | "--new-chain", Some(chain)) => table.new_chain(chain).map_err(edit),
        ("-X" | "--delete-chain", Some(chain)) => table.delete_chain(chain).map_err(edit),
        ("-F" | "--flush", Some(chain)) => table.flush(chain).map_err(edit),
        ("-F" | "--flush", None) => {
            table.flush_all();
            Ok(())
        }
        ("-Z" | "--zero", Some(chain)) => table.zero(chain).map_err(edit),
        ("-P" | "--policy", Some(chain)) => match arguments.first().map(String::as_str) {
            Some("ACCEPT") => table.set_policy(chain, Policy::Accept).map_err(edit),
            Some("DROP") => table.set_policy(chain, Policy::Drop).map_err(edit),
            _ => Err(RestoreProblem::Garbage),
        },
        _ => Err(RestoreProblem::Garbage),
    }
}

fn insert(
    table: &mut Table,
    chain: &str,
    arguments: &[String],
    counters: Counters,
) -> Result<(), RestoreProblem> {
    let number = arguments.first().and_then(|word| word.parse::<u32>().ok());
    let rule = if number.is_some() { arguments.get(1..).unwrap_or_default() } else { arguments };
    let first = number.unwrap_or(1).saturating_sub(1);
    for (at, spec) in (first..).zip(parse_rule(rule).map_err(RestoreProblem::Rule)?) {
        table.insert_counted(chain, at, spec, counters).map_err(RestoreProblem::Edit)?;
    }
    Ok(())
}

fn delete(table: &mut Table, chain: &str, arguments: &[String]) -> Result<(), RestoreProblem> {
    if let [number] = arguments
        && let Ok(number) = number.parse()
    {
        return table.delete(chain, number).map_err(RestoreProblem::Edit);
    }
    for spec in parse_rule(arguments).map_err(RestoreProblem::Rule)? {
        let number = table.find(chain, &spec).map_err(RestoreProblem::Edit)?;
        table.delete(chain, number).map_err(RestoreProblem::Edit)?;
    }
    Ok(())
}
