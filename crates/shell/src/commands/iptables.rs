//! `iptables` and `iptables-save` in a namespace. Words are those of iptables 1.8.9.

use base::calendar::Utc;
use netfilter::table::EditError;
use netfilter::text::list::{ListOptions, list};
use netfilter::text::parse_rule;
use netfilter::text::save::{self, VERSION, list_rules};
use netfilter::{Policy, Table, TableName};

use super::Ctx;
use crate::io::Exit;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    Append(String),
    Check(String),
    Delete(String, Option<u32>),
    Insert(String, u32),
    Replace(String, u32),
    List(Option<String>),
    Rules(Option<String>),
    Flush(Option<String>),
    Zero(Option<String>),
    NewChain(String),
    DeleteChain(Option<String>),
    Policy(String, String),
}

/// A command line, read.
struct Line {
    table: String,
    command: Command,
    options: ListOptions,
    /// Words that make up the rule.
    rule: Vec<String>,
}

/// A failure: exit code and words.
struct Trouble(i32, String);

fn trouble(code: i32, text: impl Into<String>) -> Trouble {
    Trouble(code, format!("iptables v{VERSION}: {}", text.into()))
}

/// `iptables [-t TABLE] COMMAND [CHAIN] [RULE]`
pub async fn run(ctx: Ctx) -> Exit {
    if matches!(ctx.args.as_slice(), [one] if one == "-V" || one == "--version") {
        ctx.out(format!("iptables v{VERSION}\n")).await?;
        return Ok(0);
    }
    let done = read(&ctx.args).and_then(|line| apply(&ctx, &line));
    match done {
        Ok(text) => {
            ctx.out(text).await?;
            Ok(0)
        }
        Err(Trouble(code, text)) => {
            let hint = "Try `iptables -h' or 'iptables --help' for more information.";
            let text = if code == 2 { format!("{text}\n{hint}") } else { text };
            ctx.fail(text, code).await
        }
    }
}

fn read(args: &[String]) -> Result<Line, Trouble> {
    let mut table = "filter".to_string();
    let mut options = ListOptions::default();
    let mut command: Option<Command> = None;
    let mut rule = Vec::new();
    let mut args = args.iter().peekable();
    while let Some(word) = args.next() {
        let next = |args: &mut std::iter::Peekable<std::slice::Iter<'_, String>>| {
            args.next_if(|word| !word.starts_with('-') && *word != "!").cloned()
        };
        let chain = |args: &mut _| {
            let missing = || trouble(2, format!("option \"{word}\" requires an argument"));
            next(args).ok_or_else(missing)
        };
        let found = match word.as_str() {
            "-t" | "--table" => {
                table = chain(&mut args)?;
                continue;
            }
            "-n" | "--numeric" => {
                options.numeric = true;
                continue;
            }
            "-v" | "--verbose" => {
                options.verbose = true;
                continue;
            }
            "-x" | "--exact" => {
                options.exact = true;
                continue;
            }
            "--line-numbers" | "--line" => {
                options.line_numbers = true;
                continue;
            }
            // Waiting for others who hold the lock: here nobody does.
            "-w" | "--wait" => {
                let _ = args.next_if(|word| word.parse::<u32>().is_ok());
                continue;
            }
            // Short switches together, the command among them: `-nvL`.
            letters if is_cluster(letters) => {
                options.numeric |= letters.contains('n');
                options.verbose |= letters.contains('v');
                options.exact |= letters.contains('x');
                if letters.contains('L') {
                    Command::List(next(&mut args))
                } else if letters.contains('S') {
                    Command::Rules(next(&mut args))
                } else {
                    continue;
                }
            }
            "-A" | "--append" => Command::Append(chain(&mut args)?),
            "-C" | "--check" => Command::Check(chain(&mut args)?),
            "-D" | "--delete" => {
                let chain = chain(&mut args)?;
                Command::Delete(chain, number(&mut args))
            }
            "-I" | "--insert" => {
                let chain = chain(&mut args)?;
                Command::Insert(chain, number(&mut args).unwrap_or(1))
            }
            "-R" | "--replace" => {
                let chain = chain(&mut args)?;
                let missing = || trouble(2, "-R requires a rule number");
                Command::Replace(chain, number(&mut args).ok_or_else(missing)?)
            }
            "-L" | "--list" => Command::List(next(&mut args)),
            "-S" | "--list-rules" => Command::Rules(next(&mut args)),
            "-F" | "--flush" => Command::Flush(next(&mut args)),
            "-Z" | "--zero" => Command::Zero(next(&mut args)),
            "-N" | "--new-chain" => Command::NewChain(chain(&mut args)?),
            "-X" | "--delete-chain" => Command::DeleteChain(next(&mut args)),
            "-P" | "--policy" => {
                let name = chain(&mut args)?;
                Command::Policy(name, chain(&mut args)?)
            }
            _ => {
                rule.push(word.clone());
                continue;
            }
        };
        if command.is_some() {
            return Err(trouble(2, "Cannot use more than one command"));
        }
        command = Some(found);
    }
    let command = command.ok_or_else(|| trouble(2, "no command specified"))?;
    Ok(Line { table, command, options, rule })
}

/// `-nvL`: only switches of listing, two or more.
fn is_cluster(word: &str) -> bool {
    let letters = word.strip_prefix('-').unwrap_or_default();
    letters.len() > 1 && letters.chars().all(|c| "nvxLS".contains(c))
}

fn number(args: &mut std::iter::Peekable<std::slice::Iter<'_, String>>) -> Option<u32> {
    args.next_if(|word| word.parse::<u32>().is_ok())?.parse().ok()
}

fn apply(ctx: &Ctx, line: &Line) -> Result<String, Trouble> {
    let Some(name) = TableName::SAVE_ORDER.into_iter().find(|name| name.to_string() == line.table)
    else {
        let text =
            format!("can't initialize iptables table `{}': Table does not exist", line.table);
        return Err(trouble(
            3,
            format!(
                "{text} (do you need to insmod?)\nPerhaps iptables or your kernel needs to be upgraded."
            ),
        ));
    };
    let takes_rule = matches!(
        line.command,
        Command::Append(_)
            | Command::Check(_)
            | Command::Insert(..)
            | Command::Replace(..)
            | Command::Delete(_, None)
    );
    if !takes_rule && let Some(word) = line.rule.first() {
        let unknown = if word.starts_with('-') { "unknown option" } else { "Bad argument" };
        return Err(trouble(2, format!("{unknown} `{word}'")));
    }
    let (net, ns) = (ctx.host.net(), ctx.host.ns());
    let gone = || trouble(4, "the network namespace is gone");
    if let Command::List(only) | Command::Rules(only) = &line.command {
        // A table is there when it is asked for, even if nobody has written to it.
        let text = net.with_netfilter(ns, |nf| {
            let empty = Table::new(name);
            let table = nf.table(name).unwrap_or(&empty);
            show(table, only.as_deref(), line)
        });
        return text.ok_or_else(gone)?;
    }
    let done = net.with_netfilter(ns, |nf| nf.edit(name, |table| edit(table, line)));
    done.ok_or_else(gone)?.map(|()| String::new())
}

fn show(table: &Table, only: Option<&str>, line: &Line) -> Result<String, Trouble> {
    let only = match only {
        Some(name) => {
            let missing =
                || Trouble(1, "iptables: No chain/target/match by that name.".to_string());
            Some(table.chain(name).ok_or_else(missing)?)
        }
        None => None,
    };
    Ok(match line.command {
        Command::Rules(_) => list_rules(table, only, line.options.verbose),
        _ => list(table, only, line.options),
    })
}

fn edit(table: &mut Table, line: &Line) -> Result<(), Trouble> {
    let failed = |error: EditError| match error {
        EditError::NoChain(_) | EditError::ChainExists(_) | EditError::NoSuchRule => {
            Trouble(1, format!("iptables: {error}"))
        }
        EditError::NoTarget(_) => trouble(2, error.to_string()),
        error => trouble(4, error.to_string()),
    };
    let specs = || parse_rule(&line.rule).map_err(|error| trouble(2, error.to_string()));
    match &line.command {
        Command::Append(chain) => {
            for spec in specs()? {
                table.append(chain, spec).map_err(failed)?;
            }
        }
        Command::Insert(chain, at) => {
            for spec in specs()?.into_iter().rev() {
                table.insert(chain, *at, spec).map_err(failed)?;
            }
        }
        Command::Replace(chain, at) => match specs()?.as_slice() {
            [spec] => table.replace(chain, *at, spec.clone()).map_err(failed)?,
            _ => return Err(trouble(2, "Replacement rule does not specify a unique address")),
        },
        Command::Check(chain) => {
            for spec in specs()? {
                table.find(chain, &spec).map_err(failed)?;
            }
        }
        Command::Delete(chain, Some(at)) => table.delete(chain, *at).map_err(failed)?,
        Command::Delete(chain, None) => {
            for spec in specs()? {
                let at = table.find(chain, &spec).map_err(failed)?;
                table.delete(chain, at).map_err(failed)?;
            }
        }
        Command::Flush(Some(chain)) => table.flush(chain).map_err(failed)?,
        Command::Flush(None) => table.flush_all(),
        Command::Zero(Some(chain)) => table.zero(chain).map_err(failed)?,
        Command::Zero(None) => {
            let names: Vec<String> = table.chains().map(|c| c.name.to_string()).collect();
            for name in names {
                table.zero(&name).map_err(failed)?;
            }
        }
        Command::NewChain(chain) => table.new_chain(chain).map_err(failed)?,
        Command::DeleteChain(Some(chain)) => table.delete_chain(chain).map_err(failed)?,
        Command::DeleteChain(None) => {
            let own = table.chains().filter(|chain| chain.policy.is_none());
            let names: Vec<String> = own.map(|c| c.name.to_string()).collect();
            for name in names {
                table.delete_chain(&name).map_err(failed)?;
            }
        }
        Command::Policy(chain, policy) => {
            let policy = match policy.as_str() {
                "ACCEPT" => Policy::Accept,
                "DROP" => Policy::Drop,
                _ => {
                    return Err(Trouble(
                        1,
                        "iptables: Bad policy name. Run `dmesg' for more information.".to_string(),
                    ));
                }
            };
            table.set_policy(chain, policy).map_err(failed)?;
        }
        Command::List(_) | Command::Rules(_) => {}
    }
    Ok(())
}

/// `iptables-save [-c] [-t TABLE]`
pub async fn save(ctx: Ctx) -> Exit {
    let mut with_counters = false;
    let mut only = None;
    let mut args = ctx.args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-c" | "--counters" => with_counters = true,
            "-t" | "--table" => {
                let name = args.next().cloned().unwrap_or_default();
                only = TableName::SAVE_ORDER.into_iter().find(|table| table.to_string() == name);
                if only.is_none() {
                    return ctx
                        .fail(format!("iptables-save v{VERSION}: Table '{name}' does not exist"), 1)
                        .await;
                }
            }
            other => return ctx.unsupported(&format!("'{other}'")).await,
        }
    }
    let stamp = Utc::at(ctx.host.now()).ctime();
    let text = ctx.host.net().with_netfilter(ctx.host.ns(), |netfilter| {
        save::save(netfilter, only, with_counters, &stamp)
    });
    ctx.out(text.unwrap_or_default()).await?;
    Ok(0)
}
