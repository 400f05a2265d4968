//! `ipset`, carried out, in the words of ipset 7.17.

use std::fmt::Write as _;

use base::{Duration, Instant};

use super::element::{ELEMENTS_MAX, Element, Kind};
use super::{Entry, Refused, Set, SetOptions, Sets};
use crate::ext::{Match, TargetExt};
use crate::firewall::Netfilter;
use crate::hook::TableName;
use crate::rule::Target;
use crate::text::command::Output;
use crate::text::split_words;

/// The version that podwire's ipset reports.
pub const VERSION: &str = "v7.17";
/// Longest name of a set (`IPSET_MAXNAMELEN` less the final zero).
const NAME_MAX: usize = 31;
/// Smallest size of a `list:set`.
const LIST_MIN: u32 = 4;

/// A failure: its exit code and its words.
struct Failure(i32, String);

fn usage(text: impl Into<String>) -> Failure {
    Failure(2, format!("{}\nTry `ipset help' for more information.", text.into()))
}

fn refused(text: impl Into<String>) -> Failure {
    Failure(1, text.into())
}

fn no_set() -> Failure {
    refused("The set with the given name does not exist")
}

/// `ipset` with these arguments; `input` is what `ipset restore` reads.
pub fn ipset(netfilter: &mut Netfilter, args: &[String], input: &str, now: Instant) -> Output {
    let mut output = Output::default();
    let (mut again, mut words) = (false, Vec::new());
    for arg in args {
        match arg.as_str() {
            "-exist" | "-!" => again = true,
            "-q" | "-quiet" => {}
            word => words.push(word),
        }
    }
    let done = match words.as_slice() {
        ["restore" | "-R", ..] => restore(netfilter, input, again, now, &mut output),
        words => run(netfilter, words, again, now, &mut output),
    };
    if let Err(Failure(code, text)) = done {
        let _ = writeln!(output.err, "ipset {VERSION}: {text}");
        output.code = code;
    }
    output
}

/// Each line is a command; what came before a line that fails stays.
fn restore(
    netfilter: &mut Netfilter,
    input: &str,
    again: bool,
    now: Instant,
    output: &mut Output,
) -> Result<(), Failure> {
    for (number, line) in (1..).zip(input.lines()) {
        let words = split_words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if words.is_empty() || line.trim_start().starts_with('#') || words == ["COMMIT"] {
            continue;
        }
        let again = again || words.contains(&"-exist");
        run(netfilter, &words, again, now, output).map_err(|Failure(code, text)| match code {
            1 => Failure(1, format!("Error in line {number}: {text}")),
            _ => Failure(code, text),
        })?;
    }
    Ok(())
}

fn run(
    netfilter: &mut Netfilter,
    words: &[&str],
    again: bool,
    now: Instant,
    output: &mut Output,
) -> Result<(), Failure> {
    let Some((&command, rest)) = words.split_first() else {
        return Err(usage("No command specified."));
    };
    let rest: Vec<&str> = rest.iter().copied().filter(|word| *word != "-exist").collect();
    let missing =
        |which: &str| usage(format!("Missing {which} mandatory argument to command {command}"));
    let (first, second) = (rest.first().copied(), rest.get(1).copied());
    match command {
        "create" | "-N" | "n" => {
            let name = first.ok_or_else(|| missing("mandatory"))?;
            let kind = second.ok_or_else(|| missing("second"))?;
            create(netfilter, name, kind, rest.get(2..).unwrap_or_default(), again)
        }
        "add" | "-A" | "del" | "-D" | "test" | "-T" => {
            let name = first.ok_or_else(|| missing("mandatory"))?;
            let text = second.ok_or_else(|| missing("second"))?;
            let options = rest.get(2..).unwrap_or_default();
            let sets = &mut netfilter.stores_mut().sets;
            match command {
                "add" | "-A" => add(sets, name, text, options, again, now),
                "del" | "-D" => del(sets, name, text, again, now),
                _ => test(sets, name, text, now, output),
            }
        }
        "flush" | "-F" | "destroy" | "x" | "-X" => {
            let is_flush = matches!(command, "flush" | "-F");
            clear(netfilter, first, is_flush)
        }
        "swap" | "-W" | "rename" | "-E" | "e" => {
            let from = first.ok_or_else(|| missing("mandatory"))?;
            let to = second.ok_or_else(|| missing("second"))?;
            match command {
                "swap" | "-W" => swap(netfilter, from, to),
                _ => rename(netfilter, from, to),
            }
        }
        "list" | "-L" | "save" | "-S" => {
            let is_save = matches!(command, "save" | "-S");
            show(netfilter, &rest, is_save, now, output)
        }
        "version" | "-v" | "--version" => {
            let _ = writeln!(output.out, "ipset {VERSION}, protocol version: 7");
            Ok(())
        }
        "help" => Err(usage("the help text of ipset is not supported by podwire")),
        other => Err(usage(format!("No command specified: unknown argument {other}"))),
    }
}

/// The option's value, and where the next option stands.
fn value<'a>(words: &[&'a str], at: usize) -> Result<&'a str, Failure> {
    words.get(at + 1).copied().ok_or_else(|| {
        let option = words.get(at).copied().unwrap_or_default();
        usage(format!("Missing mandatory argument to option {option}"))
    })
}

fn number(option: &str, text: &str, max: u32) -> Result<u32, Failure> {
    text.parse::<u32>().ok().filter(|number| *number <= max).ok_or_else(|| {
        refused(format!("Syntax error: '{text}' is out of range 0-{max} of {option}"))
    })
}

fn check_name(name: &str) -> Result<(), Failure> {
    if name.len() <= NAME_MAX {
        return Ok(());
    }
    let text = format!("Syntax error: setname '{name}' is longer than {NAME_MAX} characters");
    Err(refused(text))
}

fn create(
    netfilter: &mut Netfilter,
    name: &str,
    kind: &str,
    words: &[&str],
    again: bool,
) -> Result<(), Failure> {
    check_name(name)?;
    let Some(found) = Kind::of(kind) else {
        let known = [
            "hash:ip,mark",
            "hash:mac",
            "hash:net,net",
            "hash:net,iface",
            "hash:net,port,net",
            "hash:ip,mac",
            "bitmap:ip",
            "bitmap:ip,mac",
        ];
        return Err(refused(match known.contains(&kind) {
            true => format!("the type '{kind}' is not supported by podwire"),
            false => format!("Syntax error: typename '{kind}' is unknown"),
        }));
    };
    let options = create_options(found, words)?;
    let sets = &mut netfilter.stores_mut().sets;
    if sets.get(name).is_some() {
        if again {
            return Ok(());
        }
        return Err(refused("Set cannot be created: set with the same name already exists"));
    }
    sets.create(name, found, options);
    Ok(())
}

fn create_options(kind: Kind, words: &[&str]) -> Result<SetOptions, Failure> {
    let mut options = SetOptions::default();
    let mut at = 0;
    while let Some(&word) = words.get(at) {
        at += 1;
        match word {
            "counters" => options.counters = true,
            "comment" => options.comment = true,
            "forceadd" | "skbinfo" => {
                return Err(refused(format!("option {word} is not supported by podwire")));
            }
            _ => {
                let text = value(words, at - 1)?;
                at += 1;
                create_option(kind, word, text, &mut options)?;
            }
        }
    }
    options.size = options.size.max(LIST_MIN);
    Ok(options)
}

fn create_option(
    kind: Kind,
    word: &str,
    text: &str,
    options: &mut SetOptions,
) -> Result<(), Failure> {
    match word {
        "timeout" => options.timeout = Some(number(word, text, 2_147_483)?),
        "hashsize" if kind.is_hash() => options.hashsize = number(word, text, u32::MAX)?,
        "maxelem" if kind.is_hash() => options.maxelem = number(word, text, u32::MAX)?,
        "bucketsize" | "initval" if kind.is_hash() => {}
        "netmask" if kind == Kind::HashIp => options.netmask = number(word, text, 32)? as u8,
        "size" if kind == Kind::ListSet => options.size = number(word, text, u32::MAX)?,
        "range" if kind == Kind::BitmapPort => {
            let ends =
                text.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            options.range = ends.ok_or_else(|| {
                refused(format!("Syntax error: cannot parse '{text}' as a range of ports"))
            })?;
        }
        "family" if kind.is_hash() => match text {
            "inet" | "ipv4" | "-4" => {}
            _ => return Err(refused(format!("family {text} is not supported by podwire"))),
        },
        _ => return Err(usage(format!("Unknown argument: `{word}'"))),
    }
    Ok(())
}

/// The elements that a text stands for in this set.
fn elements(set: &Set, text: &str) -> Result<Vec<Element>, Failure> {
    let wanted = match set.kind {
        Kind::HashIpPort | Kind::HashNetPort => 2,
        Kind::HashIpPortIp | Kind::HashIpPortNet => 3,
        _ => 1,
    };
    let parts = text.split(',').count();
    if parts < wanted {
        let which = if parts == 1 { "Second" } else { "Third" };
        return Err(refused(format!("Syntax error: {which} element is missing from {text}.")));
    }
    let net = match set.kind {
        Kind::HashNet | Kind::HashNetPort => text.split(',').next(),
        Kind::HashIpPortNet => text.split(',').nth(2),
        _ => None,
    };
    if net.is_some_and(|net| net.ends_with("/0")) {
        return Err(refused("The value of the CIDR parameter of the IP address is invalid"));
    }
    let parsed = Element::parse(set.kind, set.options.netmask, text);
    // A set of the usual size is full long before.
    if parsed.as_ref().is_some_and(|all| all.len() >= ELEMENTS_MAX)
        && set.options.maxelem as usize >= ELEMENTS_MAX
    {
        let text = format!("{ELEMENTS_MAX} elements at once are not supported by podwire");
        return Err(refused(text));
    }
    parsed.ok_or_else(|| match set.kind {
        Kind::BitmapPort => refused(format!("Syntax error: cannot parse '{text}' as a TCP port")),
        _ => {
            let first = text.split(',').next().unwrap_or_default();
            let text = format!("cannot parse {first}: resolving to IPv4 address failed");
            refused(format!("Syntax error: {text}"))
        }
    })
}

fn add(
    sets: &mut Sets,
    name: &str,
    text: &str,
    words: &[&str],
    again: bool,
    now: Instant,
) -> Result<(), Failure> {
    let set = sets.get(name).ok_or_else(no_set)?;
    let (kind, range) = (set.kind, set.options.range);
    let elements = elements(set, text)?;
    let (entry, timeout) = entry(set, words)?;
    if kind == Kind::ListSet {
        match sets.get(text) {
            None => {
                return Err(refused("Set to be added/deleted/tested as element does not exist."));
            }
            Some(member) if member.kind == Kind::ListSet => {
                return Err(refused("Sets with list:set type cannot be added to the set."));
            }
            Some(_) => {}
        }
    }
    let is_outside = |element: &Element| match element {
        Element::Port(port) => !(range.0..=range.1).contains(port),
        _ => false,
    };
    if elements.iter().any(is_outside) {
        return Err(refused("Element is out of the range of the set"));
    }
    let Some(set) = sets.0.get_mut(name) else { return Err(no_set()) };
    for element in elements {
        let entry = Entry { expires: set.expiry(timeout, now), ..entry.clone() };
        set.insert(element, entry, now, again).map_err(|why| {
            refused(match why {
                Refused::Full if kind == Kind::ListSet => {
                    "The set is full, more elements cannot be added."
                }
                Refused::Null if kind == Kind::HashIp => {
                    "Null-valued element, cannot be stored in a hash type of set"
                }
                Refused::Null => "Kernel error received: Invalid argument",
                Refused::Full => "Hash is full, cannot add more elements",
                _ => "Element cannot be added to the set: it's already added",
            })
        })?;
    }
    Ok(())
}

/// What `add` says of an element besides what it is.
fn entry(set: &Set, words: &[&str]) -> Result<(Entry, Option<Duration>), Failure> {
    let (mut entry, mut timeout) = (Entry::default(), None);
    let mut at = 0;
    while let Some(&word) = words.get(at) {
        at += 1;
        let is_net = matches!(set.kind, Kind::HashNet | Kind::HashNetPort | Kind::HashIpPortNet);
        if word == "nomatch" && is_net {
            entry.nomatch = true;
            continue;
        }
        let text = value(words, at - 1)?;
        at += 1;
        let without = |what: &str| {
            refused(format!(
                "{what} cannot be used: set was created without {} support",
                what.to_lowercase()
            ))
        };
        match word {
            "timeout" if set.options.timeout.is_none() => return Err(without("Timeout")),
            "timeout" => {
                let secs = number(word, text, 2_147_483)?;
                timeout = Some(Duration::from_secs(u64::from(secs)));
            }
            "comment" if !set.options.comment => return Err(without("Comment")),
            "comment" => entry.comment = text.to_string(),
            "packets" if set.options.counters => {
                entry.counters.packets = u64::from(number(word, text, u32::MAX)?);
            }
            "bytes" if set.options.counters => {
                entry.counters.bytes = u64::from(number(word, text, u32::MAX)?);
            }
            _ => return Err(usage(format!("Unknown argument: `{word}'"))),
        }
    }
    Ok((entry, timeout))
}

fn del(sets: &mut Sets, name: &str, text: &str, again: bool, now: Instant) -> Result<(), Failure> {
    let elements = elements(sets.get(name).ok_or_else(no_set)?, text)?;
    let Some(set) = sets.0.get_mut(name) else { return Err(no_set()) };
    for element in elements {
        if set.remove(&element, Some(now)).is_err() && !again {
            return Err(refused("Element cannot be deleted from the set: it's not added"));
        }
    }
    Ok(())
}

fn test(
    sets: &mut Sets,
    name: &str,
    text: &str,
    now: Instant,
    output: &mut Output,
) -> Result<(), Failure> {
    let set = sets.get(name).ok_or_else(no_set)?;
    let elements = elements(set, text)?;
    let is_in = elements.first().is_some_and(|element| set.holds(element, now));
    if is_in {
        let _ = writeln!(output.err, "Warning: {text} is in set {name}.");
    } else {
        let _ = writeln!(output.err, "{text} is NOT in set {name}.");
        output.code = 1;
    }
    Ok(())
}

/// How many rules and lists name a set.
fn references(netfilter: &Netfilter, name: &str) -> usize {
    let mut count = usize::from(netfilter.stores().sets.is_member(name));
    for table in TableName::ALL.into_iter().filter_map(|table| netfilter.table(table)) {
        for rule in table.chains().flat_map(|chain| &chain.rules) {
            count += rule.spec.matches.iter().filter(|m| is_of(m, name)).count();
            if let Target::Ext(TargetExt::Set(set)) = &rule.spec.target {
                count += set.names().filter(|of| *of == name).count();
            }
        }
    }
    count
}

fn is_of(m: &Match, name: &str) -> bool {
    matches!(m, Match::Set(set) if set.set.value.name == name)
}

/// `flush` and `destroy`, of one set or of all.
fn clear(netfilter: &mut Netfilter, name: Option<&str>, is_flush: bool) -> Result<(), Failure> {
    let names: Vec<String> = match name {
        Some(name) if netfilter.stores().sets.get(name).is_none() => return Err(no_set()),
        Some(name) => vec![name.to_string()],
        None => netfilter.stores().sets.iter().map(|(name, _)| name.to_string()).collect(),
    };
    // With all sets gone at once, those that are only members of others are free too.
    let is_used = |found: &String| match name {
        Some(_) => references(netfilter, found) > 0,
        None => {
            let member = usize::from(netfilter.stores().sets.is_member(found));
            references(netfilter, found) > member
        }
    };
    if !is_flush && names.iter().any(is_used) {
        return Err(refused("Set cannot be destroyed: it is in use by a kernel component"));
    }
    let sets = &mut netfilter.stores_mut().sets;
    for name in names {
        match sets.0.get_mut(&name) {
            Some(set) if is_flush => set.flush(),
            _ => {
                sets.0.remove(&name);
            }
        }
    }
    Ok(())
}

fn swap(netfilter: &mut Netfilter, from: &str, to: &str) -> Result<(), Failure> {
    let sets = &mut netfilter.stores_mut().sets;
    let (Some(a), Some(b)) = (sets.get(from), sets.get(to)) else { return Err(no_set()) };
    if a.kind != b.kind {
        return Err(refused("The sets cannot be swapped: their type does not match"));
    }
    if from != to
        && let (Some(mut a), Some(mut b)) = (sets.0.remove(from), sets.0.remove(to))
    {
        // The places stay; what is in them is exchanged.
        std::mem::swap(&mut a.serial, &mut b.serial);
        sets.0.insert(from.to_string(), b);
        sets.0.insert(to.to_string(), a);
    }
    Ok(())
}

fn rename(netfilter: &mut Netfilter, from: &str, to: &str) -> Result<(), Failure> {
    check_name(to)?;
    if netfilter.stores().sets.get(from).is_none() {
        return Err(no_set());
    }
    if references(netfilter, from) > 0 {
        return Err(refused("Set cannot be renamed: it is in use by another system"));
    }
    let sets = &mut netfilter.stores_mut().sets;
    if sets.get(to).is_some() {
        return Err(refused("Set cannot be renamed: a set with the new name already exists"));
    }
    if let Some(set) = sets.0.remove(from) {
        sets.0.insert(to.to_string(), set);
    }
    Ok(())
}

/// `list [name] [-t] [-n] [-o save]` and `save [name]`.
fn show(
    netfilter: &Netfilter,
    words: &[&str],
    is_save: bool,
    now: Instant,
    output: &mut Output,
) -> Result<(), Failure> {
    let (mut only, mut is_terse, mut names_only, mut is_save) = (None, false, false, is_save);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "-t" | "-terse" => is_terse = true,
            "-n" | "-name" => names_only = true,
            "-s" | "-sorted" => {}
            "-o" | "-output" => match words.next() {
                Some(&"save") => is_save = true,
                Some(&"plain") => {}
                _ => return Err(refused("this output mode is not supported by podwire")),
            },
            name => only = Some(name),
        }
    }
    let sets = &netfilter.stores().sets;
    if only.is_some_and(|name| sets.get(name).is_none()) {
        return Err(no_set());
    }
    let mut listed: Vec<(&str, &Set)> =
        sets.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).collect();
    // In the order of their making, so that a list of sets comes after its members.
    base::order::sort_by_key(&mut listed, |(_, set)| set.serial);
    for (at, (name, set)) in listed.into_iter().enumerate() {
        if names_only {
            let _ = writeln!(output.out, "{name}");
        } else if is_save {
            save_set(name, set, now, &mut output.out);
        } else {
            if at > 0 {
                output.out.push('\n');
            }
            list_set(name, set, is_terse, references(netfilter, name), now, &mut output.out);
        }
    }
    Ok(())
}

/// What `create` was told, in ipset's order.
fn header(set: &Set) -> String {
    let SetOptions { timeout, counters, comment, hashsize, maxelem, netmask, size, range } =
        set.options;
    let mut out = match set.kind {
        Kind::BitmapPort => format!("range {}-{}", range.0, range.1),
        Kind::ListSet => format!("size {size}"),
        _ => format!("family inet hashsize {hashsize} maxelem {maxelem}"),
    };
    if netmask != 32 {
        let _ = write!(out, " netmask {netmask}");
    }
    if let Some(timeout) = timeout {
        let _ = write!(out, " timeout {timeout}");
    }
    if counters {
        out.push_str(" counters");
    }
    if comment {
        out.push_str(" comment");
    }
    if set.kind.is_hash() {
        // The kernel begins its hashes at random; here there is nothing to begin.
        out.push_str(" bucketsize 12 initval 0x00000000");
    }
    out
}

/// The lines of the set's elements, without `add name`.
fn lines(set: &Set, now: Instant) -> Vec<String> {
    let mut lines: Vec<String> = set.members.clone();
    for (element, entry) in set.entries(now) {
        let mut line = element.to_string();
        if set.options.timeout.is_some() {
            let left = entry.expires.map_or(0, |at| at.since(now).as_micros().div_ceil(1_000_000));
            let _ = write!(line, " timeout {left}");
        }
        if entry.nomatch {
            line.push_str(" nomatch");
        }
        if set.options.counters {
            let _ =
                write!(line, " packets {} bytes {}", entry.counters.packets, entry.counters.bytes);
        }
        if !entry.comment.is_empty() {
            let _ = write!(line, " comment \"{}\"", entry.comment.replace('"', ""));
        }
        lines.push(line);
    }
    lines
}

fn save_set(name: &str, set: &Set, now: Instant, out: &mut String) {
    let _ = writeln!(out, "create {name} {} {}", set.kind.name(), header(set));
    for line in lines(set, now) {
        let _ = writeln!(out, "add {name} {line}");
    }
}

fn list_set(
    name: &str,
    set: &Set,
    is_terse: bool,
    references: usize,
    now: Instant,
    out: &mut String,
) {
    let lines = lines(set, now);
    let _ = writeln!(out, "Name: {name}\nType: {}", set.kind.name());
    let _ = writeln!(out, "Revision: {}\nHeader: {}", set.kind.revision(), header(set));
    // The size of its elements and of an empty set, about.
    let _ = writeln!(out, "Size in memory: {}", 200 + 16 * lines.len());
    let _ = writeln!(out, "References: {references}\nNumber of entries: {}", lines.len());
    if !is_terse {
        out.push_str("Members:\n");
        for line in lines {
            let _ = writeln!(out, "{line}");
        }
    }
}
