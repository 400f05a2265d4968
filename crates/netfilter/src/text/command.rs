//! `iptables`, carried out.

use super::ParseError;
use super::list::{describe, list};
use super::parse::{Command, Line, parse_command};
use super::save::{VERSION, list_rules};
use crate::ext::{Match, Stores, TargetExt};
use crate::firewall::Netfilter;
use crate::hook::TableName;
use crate::rule::{RuleSpec, Target};
use crate::table::{Counters, EditError, Policy, Table};

/// What a command printed, and its exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// To its standard output.
    pub out: String,
    /// To its standard error output.
    pub err: String,
    /// Exit code.
    pub code: i32,
}

/// Why a command failed, in the words of the real tool, without the program's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The words were not understood; exit code 2.
    Usage(ParseError),
    /// The table, the chain or the rule is not there; exit code 1.
    Missing(String),
    /// Something else that iptables says with its version; exit code 1.
    Other(String),
    /// The rule leads to a chain that is not there; exit code 2.
    NoTarget(String),
    /// There is no such table; exit code 3.
    NoTable(String),
    /// The kernel refused; exit code 4.
    Kernel { what: &'static str, errno: &'static str, place: String },
}

/// `iptables` with these arguments.
pub fn iptables(netfilter: &mut Netfilter, args: &[String]) -> Output {
    let mut output = Output::default();
    let line = match parse_command(args, None) {
        Ok(line) => line,
        Err(error) => {
            let warned = warnings_of(args);
            output.err = warned;
            fail(Failure::Usage(error), &mut output);
            return output;
        }
    };
    for warning in &line.warnings {
        output.err.push_str(warning);
        output.err.push('\n');
    }
    match carry_out(netfilter, &line) {
        Ok(text) => output.out = text,
        Err(failure) => fail(failure, &mut output),
    }
    output
}

/// What is said of deprecated options even where the command then fails.
fn warnings_of(args: &[String]) -> String {
    let is_interval = |word: &String| word == "-W" || word.starts_with("--wait-i");
    match args.iter().any(is_interval) {
        true => "Ignoring deprecated --wait-interval option.\n".to_string(),
        false => String::new(),
    }
}

const HINT: &str = "Try `iptables -h' or 'iptables --help' for more information.\n";

fn fail(failure: Failure, output: &mut Output) {
    let (code, text) = match failure {
        Failure::Usage(error) if error.to_string().is_empty() => (2, HINT.to_string()),
        Failure::Usage(error) if error.is_bare() => (2, format!("{error}\n{HINT}")),
        Failure::Usage(error) => (2, format!("iptables v{VERSION}: {error}\n{HINT}")),
        Failure::NoTarget(text) => (2, format!("iptables v{VERSION}: {text}\n{HINT}")),
        Failure::Missing(text) => (1, format!("iptables: {text}\n")),
        Failure::Other(text) => (1, format!("iptables v{VERSION}: {text}\n")),
        Failure::NoTable(name) => (
            3,
            format!(
                "iptables v{VERSION}: table '{name}' does not exist\nPerhaps iptables or your kernel needs to be upgraded.\n"
            ),
        ),
        Failure::Kernel { what, errno, place } => {
            (4, format!("iptables v{VERSION}:  {what} failed ({errno}): {place}\n"))
        }
    };
    output.err.push_str(&text);
    output.code = code;
}

/// What an edit that was refused comes to; `what` is what was asked of the kernel.
pub(crate) fn failure(error: EditError, what: &'static str) -> Failure {
    if let Some(errno) = error.errno() {
        return match &error {
            EditError::InUse(chain) | EditError::NotEmpty(chain) => {
                Failure::Kernel { what: "CHAIN_DEL", errno, place: format!("chain {chain}") }
            }
            EditError::Refused(chain)
            | EditError::Loop(chain)
            | EditError::TargetBuiltIn(chain) => {
                Failure::Kernel { what, errno, place: format!("rule in chain {chain}") }
            }
            _ => Failure::Missing(error.to_string()),
        };
    }
    match error {
        EditError::NoTarget(_) => Failure::NoTarget(error.to_string()),
        error => Failure::Missing(error.to_string()),
    }
}

fn carry_out(netfilter: &mut Netfilter, line: &Line) -> Result<String, Failure> {
    match line.command {
        Command::Version { not: true } => return Ok(format!("Not {VERSION} ;-)\n")),
        Command::Version { not: false } => return Ok(format!("iptables v{VERSION}\n")),
        Command::Help => {
            let error = ParseError::unsupported("the help text of iptables");
            return Err(Failure::Usage(error));
        }
        _ => {}
    }
    let table = line.table.as_deref().unwrap_or("filter");
    if table == "security" {
        return Err(Failure::Other("the table `security' is not supported by podwire".to_string()));
    }
    let name: TableName = table.parse().map_err(|_| Failure::NoTable(table.to_string()))?;
    if let Command::List { chain, number, .. } | Command::ListRules { chain, number, .. } =
        &line.command
    {
        // A table is there when it is asked for, even if nobody has written to it.
        let empty = Table::new(name);
        let table = netfilter.table(name).unwrap_or(&empty);
        let text = show(table, chain.as_deref(), *number, line)?;
        if let Command::List { zero: true, .. } | Command::ListRules { zero: true, .. } =
            line.command
        {
            netfilter.edit(name, |table| zero(table, chain.as_deref(), None))?;
        }
        return Ok(text);
    }
    check_names(netfilter.stores(), &line.rules)?;
    check_objects(netfilter.stores(), &line.rules, line_chain(&line.command), &line.command)?;
    netfilter.edit(name, |table| edit(table, line))
}

fn line_chain(command: &Command) -> &str {
    match command {
        Command::Append { chain }
        | Command::Insert { chain, .. }
        | Command::Replace { chain, .. } => chain,
        _ => "",
    }
}

/// The sets that a rule names must be there.
pub(crate) fn check_names(stores: &Stores, rules: &[RuleSpec]) -> Result<(), Failure> {
    for spec in rules {
        let matched = spec.matches.iter().filter_map(|m| match m {
            Match::Set(set) => Some(set.set.value.name.as_str()),
            _ => None,
        });
        let target: Vec<&str> = match &spec.target {
            Target::Ext(TargetExt::Set(set)) => set.names().collect(),
            _ => Vec::new(),
        };
        if let Some(name) = matched.chain(target).find(|name| stores.sets.get(name).is_none()) {
            let error = ParseError::new(format!("Set {name} doesn't exist.\n"));
            return Err(Failure::Usage(error));
        }
    }
    Ok(())
}

/// So must the named counters; but that only the kernel knows.
pub(crate) fn check_objects(
    stores: &Stores,
    rules: &[RuleSpec],
    chain: &str,
    command: &Command,
) -> Result<(), Failure> {
    let is_missing = |m: &Match| match m {
        Match::Nfacct(name) => stores.nfacct.get(name).is_none(),
        _ => false,
    };
    let takes_effect = matches!(
        command,
        Command::Append { .. } | Command::Insert { .. } | Command::Replace { .. }
    );
    if takes_effect && rules.iter().flat_map(|spec| &spec.matches).any(is_missing) {
        let place = format!("rule in chain {chain}");
        let what = verb(command);
        return Err(Failure::Kernel { what, errno: "No such file or directory", place });
    }
    Ok(())
}

fn verb(command: &Command) -> &'static str {
    match command {
        Command::Insert { .. } => "RULE_INSERT",
        Command::Replace { .. } => "RULE_REPLACE",
        _ => "RULE_APPEND",
    }
}

fn show(
    table: &Table,
    only: Option<&str>,
    number: Option<u32>,
    line: &Line,
) -> Result<String, Failure> {
    let only = match only {
        Some(chain) => Some(table.chain(chain).ok_or_else(|| {
            let table = table.name();
            Failure::Other(format!(
                "chain `{chain}' in table `{table}' is incompatible, use 'nft' tool."
            ))
        })?),
        None => None,
    };
    Ok(match line.command {
        Command::ListRules { .. } => list_rules(table, only, number, line.list.verbose),
        _ => list(table, only, number, line.list),
    })
}

/// Carries out a command that changes its table, which is left as it was where the command fails.
pub(crate) fn edit(table: &mut Table, line: &Line) -> Result<String, Failure> {
    let mut said = String::new();
    let verbose = line.list.verbose;
    let counters = line.counters.unwrap_or_default();
    let edit = |error| failure(error, verb(&line.command));
    match &line.command {
        Command::Append { .. } | Command::Insert { .. } | Command::Replace { .. } => {
            put(table, line, counters)?;
            if verbose {
                said = line.rules.iter().map(describe).collect();
            }
        }
        Command::Check { chain } | Command::Delete { chain } => {
            let is_delete = matches!(line.command, Command::Delete { .. });
            let missing = || Failure::Missing(EditError::NoSuchRule.to_string());
            for spec in &line.rules {
                check_target(table, spec)?;
                let number = table.find(chain, spec).map_err(|_| missing())?;
                if is_delete {
                    table.delete(chain, number).map_err(edit)?;
                }
                if verbose {
                    said.push_str(&describe(spec));
                }
            }
        }
        Command::DeleteNumber { chain, number } => table.delete(chain, *number).map_err(edit)?,
        Command::Flush { chain } => {
            for name in chains(table, chain.as_deref())? {
                match chain {
                    Some(_) => table.flush_named(&name),
                    None => table.flush(&name),
                }
                .map_err(edit)?;
                say(verbose, &mut said, "Flushing", &name);
            }
        }
        Command::Zero { chain, number } => {
            for name in zero(table, chain.as_deref(), *number)? {
                say(verbose && number.is_none(), &mut said, "Zeroing", &name);
            }
        }
        Command::NewChain { chain } => table.new_chain(chain).map_err(edit)?,
        Command::DeleteChain { chain } => said = delete_chains(table, chain.as_deref(), verbose)?,
        Command::Rename { chain, to } => table.rename(chain, to).map_err(edit)?,
        Command::Policy { chain, policy } => {
            set_policy(table, chain, policy)?;
            if line.counters.is_some() {
                table.set_chain_counters(chain, counters);
            }
        }
        Command::List { .. }
        | Command::ListRules { .. }
        | Command::Version { .. }
        | Command::Help => {}
    }
    Ok(said)
}

fn say(verbose: bool, said: &mut String, what: &str, chain: &str) {
    if verbose {
        said.push_str(&format!("{what} chain `{chain}'\n"));
    }
}

/// The chain that a rule leads to is looked for before the chain that the rule is to be in.
fn check_target(table: &Table, spec: &RuleSpec) -> Result<(), Failure> {
    match &spec.target {
        Target::Jump(to) | Target::Goto(to) if table.chain(to).is_none() => {
            let error = EditError::NoTarget(to.to_string());
            Err(Failure::NoTarget(error.to_string()))
        }
        _ => Ok(()),
    }
}

/// `-A`, `-I`, `-R`: all rules that the command stands for, or none.
fn put(table: &mut Table, line: &Line, counters: Counters) -> Result<(), Failure> {
    let edit = |error| failure(error, verb(&line.command));
    for spec in &line.rules {
        check_target(table, spec)?;
    }
    let mut placed: Vec<(&str, u32)> = Vec::new();
    for spec in &line.rules {
        let done = match &line.command {
            Command::Insert { chain, number } => {
                // Each at the same place, so that the last comes first.
                placed.push((chain, *number));
                table.insert_with(chain, *number, spec.clone(), counters)
            }
            Command::Replace { chain, number } => {
                return table.replace_with(chain, *number, spec.clone(), counters).map_err(edit);
            }
            Command::Append { chain } => {
                let len = table.chain(chain).map_or(0, |found| found.rules.len() as u32);
                placed.push((chain, len + 1));
                table.insert_counted(chain, u32::MAX, spec.clone(), counters)
            }
            _ => Ok(()),
        };
        if let Err(error) = done {
            placed.pop();
            for (chain, number) in placed.into_iter().rev() {
                table.delete(chain, number).map_err(edit)?;
            }
            return Err(edit(error));
        }
    }
    Ok(())
}

/// The chain of that name, or all.
fn chains(table: &Table, only: Option<&str>) -> Result<Vec<String>, Failure> {
    match only {
        Some(name) if table.chain(name).is_none() => {
            Err(Failure::Missing(EditError::NoChain(name.to_string()).to_string()))
        }
        Some(name) => Ok(vec![name.to_string()]),
        None => Ok(table.chains().map(|chain| chain.name.to_string()).collect()),
    }
}

fn zero(
    table: &mut Table,
    only: Option<&str>,
    number: Option<u32>,
) -> Result<Vec<String>, Failure> {
    let names = chains(table, only)?;
    for name in &names {
        match number {
            Some(number) => table.zero_rule(name, number),
            None => table.zero(name),
        }
        .map_err(|error| failure(error, "RULE_APPEND"))?;
    }
    Ok(names)
}

/// `-X`: the chain, or all of one's own; all or none.
fn delete_chains(table: &mut Table, only: Option<&str>, verbose: bool) -> Result<String, Failure> {
    let names: Vec<String> = match only {
        Some(name) => vec![name.to_string()],
        None => {
            let own = table.chains().filter(|chain| chain.policy.is_none());
            own.map(|chain| chain.name.to_string()).collect()
        }
    };
    for name in &names {
        table.can_delete(name).map_err(|error| failure(error, "CHAIN_DEL"))?;
    }
    let mut said = String::new();
    for name in names {
        table.delete_chain(&name).map_err(|error| failure(error, "CHAIN_DEL"))?;
        say(verbose, &mut said, "Deleting", &name);
    }
    Ok(said)
}

fn set_policy(table: &mut Table, chain: &str, policy: &str) -> Result<(), Failure> {
    let policy = match policy {
        "ACCEPT" => Policy::Accept,
        "DROP" => Policy::Drop,
        _ => {
            let text = "Bad policy name. Run `dmesg' for more information.";
            return Err(Failure::Missing(text.to_string()));
        }
    };
    let no_policy = |_| Failure::Missing(EditError::NoPolicy(String::new()).to_string());
    table.set_policy(chain, policy).map_err(no_policy)
}
