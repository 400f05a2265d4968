//! `nfacct`: the named counters of a namespace, in the words of nfacct 1.0.2.

use std::fmt::Write as _;

use super::command::Output;
use crate::ext::Match;
use crate::ext::nfacct::Objects;
use crate::firewall::Netfilter;
use crate::table::Counters;

const VERSION: &str = "nfacct v1.0.2";
const USAGE: &str = "Usage: nfacct command [parameters]...\n";
const COMMANDS: &str = "
Commands:
  list [reset]\t\tList the accounting object table (and reset)
  add object-name\tAdd new accounting object to table
  delete object-name\tDelete existing accounting object
  get object-name\tGet existing accounting object
  flush\t\t\tFlush accounting object table
  restore\t\tRestore accounting object table reading 'list' output from stdin
  monitor\t\tListens for quota attainment notifications
  version\t\tDisplay version and disclaimer
  help\t\t\tDisplay this help message
";
const ABOUT: &str = "utility for the Netfilter extended accounting infrastructure";

/// Why it failed, in its words.
struct Failure(String);

impl Failure {
    /// What the kernel says.
    fn errno(text: &str) -> Failure {
        Failure(format!("{VERSION}: error: {text}\n"))
    }

    fn words(text: &str) -> Failure {
        Failure(format!("{VERSION}: {text}\n"))
    }
}

/// `nfacct` with these arguments; `input` is what `nfacct restore` reads.
pub fn nfacct(netfilter: &mut Netfilter, args: &[String], input: &str) -> Output {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut output = Output::default();
    match run(netfilter, &words, input) {
        Ok(out) => output.out = out,
        Err(Failure(err)) => (output.err, output.code) = (err, 1),
    }
    output
}

fn run(netfilter: &mut Netfilter, words: &[&str], input: &str) -> Result<String, Failure> {
    let missing = || Failure::words("missing object name");
    match words {
        ["list", options @ ..] => {
            let names: Vec<String> =
                objects(netfilter).iter().map(|(n, _)| n.to_string()).collect();
            show(objects(netfilter), &names, options)
        }
        ["get", name, options @ ..] => match objects(netfilter).get(name) {
            Some(_) => show(objects(netfilter), &[name.to_string()], options),
            None => Err(Failure::errno("No such file or directory")),
        },
        ["add", name] => match objects(netfilter).add(name, Counters::default()) {
            true => Ok(String::new()),
            false => Err(Failure::errno("Device or resource busy")),
        },
        ["add", _, ..] => Err(Failure::words("quotas are not supported by podwire")),
        ["delete", name] if objects(netfilter).get(name).is_none() => {
            Err(Failure::errno("No such file or directory"))
        }
        ["delete", name] if is_used(netfilter, name) => {
            Err(Failure::errno("Device or resource busy"))
        }
        ["delete", name] => {
            objects(netfilter).remove(|known| known == *name);
            Ok(String::new())
        }
        ["add" | "get" | "delete"] => Err(missing()),
        ["delete", ..] => Err(Failure::words("unknown argument")),
        ["flush"] => {
            let names: Vec<String> =
                objects(netfilter).iter().map(|(n, _)| n.to_string()).collect();
            let kept: Vec<&String> = names.iter().filter(|n| is_used(netfilter, n)).collect();
            objects(netfilter).remove(|name| !kept.iter().any(|kept| *kept == name));
            Ok(String::new())
        }
        ["restore"] => restore(objects(netfilter), input),
        ["monitor"] => Err(Failure::words("monitor is not supported by podwire")),
        ["version"] => Ok(format!("{VERSION}: {ABOUT}\n")),
        ["help"] => Ok(format!("{VERSION}: {ABOUT}\n{USAGE}{COMMANDS}")),
        [] => Err(Failure(USAGE.to_string())),
        [other, ..] => Err(Failure(format!("{VERSION}: Unknown command: {other}\n{USAGE}"))),
    }
}

fn objects(netfilter: &mut Netfilter) -> &mut Objects {
    &mut netfilter.stores_mut().nfacct
}

/// A rule counts with it.
fn is_used(netfilter: &Netfilter, name: &str) -> bool {
    let tables = crate::hook::TableName::ALL.into_iter().filter_map(|table| netfilter.table(table));
    let mut rules = tables.flat_map(|table| table.chains()).flat_map(|chain| &chain.rules);
    rules.any(|rule| {
        let uses = |m: &Match| matches!(m, Match::Nfacct(used) if used == name);
        rule.spec.matches.iter().any(uses)
    })
}

fn show(objects: &mut Objects, names: &[String], options: &[&str]) -> Result<String, Failure> {
    let mut resets = false;
    for option in options {
        match *option {
            "reset" => resets = true,
            "xml" | "json" => {
                return Err(Failure::words(&format!("{option} is not supported by podwire")));
            }
            _ => return Err(Failure::words("unknown argument")),
        }
    }
    let mut out = String::new();
    for name in names {
        let Some(counters) = objects.get_mut(name) else { continue };
        let Counters { packets, bytes } = *counters;
        let _ = writeln!(out, "{{ pkts = {packets:020}, bytes = {bytes:020} }} = {name};");
        if resets {
            *counters = Counters::default();
        }
    }
    Ok(out)
}

/// Reads what `list` has printed.
fn restore(objects: &mut Objects, input: &str) -> Result<String, Failure> {
    for line in input.lines() {
        let (name, counters) = parse(line).ok_or_else(|| Failure::words("invalid line"))?;
        match objects.get_mut(name) {
            Some(known) => *known = counters,
            None => drop(objects.add(name, counters)),
        }
    }
    Ok(String::new())
}

fn parse(line: &str) -> Option<(&str, Counters)> {
    let (counters, name) = line.trim().strip_prefix("{ pkts = ")?.split_once(" } = ")?;
    let (packets, bytes) = counters.split_once(", bytes = ")?;
    let counters = Counters { packets: packets.parse().ok()?, bytes: bytes.parse().ok()? };
    Some((name.strip_suffix(';')?, counters))
}
