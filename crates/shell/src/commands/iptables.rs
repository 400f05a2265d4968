//! `iptables`, `iptables-save`, `iptables-restore`, `ipset`, `ipvsadm` and `nfacct` in a namespace. Grammar and words
//! are netfilter's: those of iptables 1.8.9, ipset 7.17, ipvsadm 1.31 and nfacct 1.0.2.

use base::calendar::Utc;
use netfilter::ipset::command::ipset;
use netfilter::ipvs::command::ipvsadm;
use netfilter::text::command::{Output, iptables};
use netfilter::text::nfacct::nfacct;
use netfilter::text::save::{self, VERSION};
use netfilter::text::{RestoreOptions, restore as put};
use netfilter::{Netfilter, TableName};

use super::Ctx;
use crate::io::Exit;

/// Does something with the place's rules.
fn with_rules<R>(ctx: &Ctx, work: impl FnOnce(&mut Netfilter) -> R) -> Option<R> {
    ctx.host.net().with_netfilter(ctx.host.ns(), work)
}

/// Prints what a command said, and ends with its exit code.
async fn say(ctx: &Ctx, output: Option<Output>) -> Exit {
    let Some(Output { out, err, code }) = output else {
        return ctx.fail(format!("{}: the network namespace is gone", ctx.name), 4).await;
    };
    ctx.out(out).await?;
    ctx.err(err).await?;
    Ok(code)
}

/// `iptables [-t TABLE] COMMAND [CHAIN] [RULE]`
pub async fn run(ctx: Ctx) -> Exit {
    let output = with_rules(&ctx, |netfilter| iptables(netfilter, &ctx.args));
    say(&ctx, output).await
}

/// `ipset COMMAND …`; `ipset restore` reads its standard input.
pub async fn sets(ctx: Ctx) -> Exit {
    let reads = ctx.args.iter().any(|word| word == "restore" || word == "-R");
    let input = if reads { ctx.io.stdin.read_to_end().await } else { Vec::new() };
    let input = String::from_utf8_lossy(&input);
    let now = ctx.host.now();
    let output = with_rules(&ctx, |netfilter| ipset(netfilter, &ctx.args, &input, now));
    say(&ctx, output).await
}

/// `ipvsadm COMMAND …`; `ipvsadm -R` reads its standard input.
pub async fn virtual_servers(ctx: Ctx) -> Exit {
    let reads = ctx.args.iter().any(|word| word == "--restore" || word == "-R");
    let input = if reads { ctx.io.stdin.read_to_end().await } else { Vec::new() };
    let input = String::from_utf8_lossy(&input);
    let now = ctx.host.now();
    let output = with_rules(&ctx, |netfilter| ipvsadm(netfilter, &ctx.args, &input, now));
    say(&ctx, output).await
}

/// `nfacct COMMAND …`; `nfacct restore` reads its standard input.
pub async fn accounts(ctx: Ctx) -> Exit {
    let reads = ctx.args.first().is_some_and(|word| word == "restore");
    let input = if reads { ctx.io.stdin.read_to_end().await } else { Vec::new() };
    let input = String::from_utf8_lossy(&input);
    let output = with_rules(&ctx, |netfilter| nfacct(netfilter, &ctx.args, &input));
    say(&ctx, output).await
}

/// Reads a table's name after `-t` or `-T`.
fn table(name: Option<&String>) -> Result<TableName, String> {
    let name = name.map(String::as_str).unwrap_or_default();
    name.parse().map_err(|_| name.to_string())
}

/// `iptables-save [-c] [-t TABLE]`
pub async fn save(ctx: Ctx) -> Exit {
    let (mut with_counters, mut only) = (false, None);
    let mut args = ctx.args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-c" | "--counters" => with_counters = true,
            "-V" | "--version" => {
                ctx.out(format!("iptables-save v{VERSION}\n")).await?;
                return Ok(0);
            }
            "-t" | "--table" => match table(args.next()) {
                Ok(name) => only = Some(name),
                Err(name) => return ctx.fail(format!("Table `{name}' does not exist"), 1).await,
            },
            other if other.starts_with("--") => {
                let text = format!("iptables-save: unrecognized option '{other}'");
                let hint = "Look at manual page `iptables-save.8' for more information.";
                return ctx.fail(format!("{text}\n{hint}"), 1).await;
            }
            other if other.starts_with('-') => return ctx.unsupported(&format!("'{other}'")).await,
            _ => return ctx.fail("Unknown arguments found on commandline", 1).await,
        }
    }
    let stamp = Utc::at(ctx.host.now()).ctime();
    let text = with_rules(&ctx, |netfilter| save::save(netfilter, only, with_counters, &stamp));
    ctx.out(text.unwrap_or_default()).await?;
    Ok(0)
}

/// `iptables-restore [-c] [-n] [--test] [-T TABLE] [FILE]`
pub async fn restore(ctx: Ctx) -> Exit {
    let mut options = RestoreOptions::default();
    let mut file = "-".to_string();
    let mut args = ctx.args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-c" | "--counters" => options.counters = true,
            "-n" | "--noflush" => options.noflush = true,
            "-t" | "--test" => options.test = true,
            "-v" | "--verbose" => {}
            // Waiting for others who hold the lock: here nobody does.
            "-w" | "--wait" => {
                let _ = args.as_slice().first().is_some_and(|word| word.parse::<u32>().is_ok())
                    && args.next().is_some();
            }
            "-T" | "--table" => match table(args.next()) {
                Ok(name) => options.only = Some(name),
                // No table of the text has this name.
                Err(_) => return Ok(0),
            },
            other if other.starts_with("--") => {
                let text = format!("iptables-restore: unrecognized option '{other}'");
                return ctx.fail(text, 1).await;
            }
            other if other.starts_with('-') && other.len() > 1 => {
                return ctx.unsupported(&format!("'{other}'")).await;
            }
            other => file = other.to_string(),
        }
    }
    let text = match ctx.read(&file).await {
        Ok(text) => text,
        Err(error) => return ctx.fail(format!("Can't open {file}: {error}"), 1).await,
    };
    let text = String::from_utf8_lossy(&text);
    match with_rules(&ctx, |netfilter| put(netfilter, &text, options)) {
        None => ctx.fail("iptables-restore: the network namespace is gone", 4).await,
        Some(Ok(())) => Ok(0),
        Some(Err(error)) => ctx.fail(error.to_string(), error.code()).await,
    }
}
