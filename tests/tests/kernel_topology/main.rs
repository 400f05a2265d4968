//! The lab's cluster and the same cluster made of the real kernel: the same requests have the same answers.
//!
//! The lab is rebuilt from its own views as network namespaces with cables, a bridge, addresses and routes;
//! each namespace loads the lab's own `iptables-save` and `nft list ruleset`; servers listen where the lab's do, and Docker's
//! published port is a real TCP proxy. Then the same requests are made from the same places. Equal have to
//! be: who answers, in which order, and which source address they saw, or how curl would have failed; the
//! counters of every rule of every `nat` table; the connections of every namespace, with their states.
//! Ports that a stack or `--random-fully` has chosen are not compared.
//!
//! Each file `tests/kernel/topology/*.txt` is a test; [`script`] tells what its lines are, the manifests
//! stand beside it.
//!
//! - [`script`]: what is done and asked;
//! - [`ours`]: the lab;
//! - [`theirs`]: the lab, rebuilt.
//!
//! Not here, since the kernel has it for the whole machine: a full table of connections.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod ours;
mod script;
mod theirs;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use lab::Place;
use libtest_mimic::{Arguments, Failed, Trial};
use tests::kernel;

use crate::ours::Ours;
use crate::script::{Line, Scenario};
use crate::theirs::Theirs;

fn main() {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernel/topology");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let scripts = paths.clone();
    let mut trials = vec![Trial::test("there_are_enough_scenarios", move || enough(&scripts))];
    if arguments.list || kernel::is_here() {
        for path in paths {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            for (mode, before) in MODES {
                if mode != "iptables" && !IN_ALL_MODES.contains(&name.as_str()) {
                    continue;
                }
                let (root, path) = (root.clone(), path.clone());
                let trial = move || check(&root, &path, before);
                trials.push(Trial::test(format!("{mode}/{name}"), trial));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// What kube-proxy writes its rules for, and how such a cluster is made.
const MODES: [(&str, &str); 2] = [
    ("iptables", ""),
    ("nftables", "kind delete cluster\nkind create cluster --config nftables.yml\n"),
];

/// The scripts about Services are played in every mode.
const IN_ALL_MODES: [&str; 7] =
    ["affinity", "cluster-ip", "features", "kinds", "node-port", "policies", "scale"];

fn enough(scripts: &[PathBuf]) -> Result<(), Failed> {
    let mut equal = 0;
    for path in scripts {
        let lines = script::parse(&fs::read_to_string(path)?)?;
        let is_equal = |line: &&Line| matches!(line, Line::Scenario(s) if !s.is_known);
        equal += lines.iter().filter(is_equal).count();
    }
    if equal >= 60 { Ok(()) } else { Err(format!("only {equal} scenarios").into()) }
}

/// The real kernel takes real time, and a machine may be busy: what differs has to differ every time.
fn check(root: &Path, path: &Path, before: &str) -> Result<(), Failed> {
    let play = || play(root, path, before);
    play().or_else(|_| play()).or_else(|_| play())
}

fn play(root: &Path, path: &Path, before: &str) -> Result<(), Failed> {
    let lines = script::parse(&fs::read_to_string(path)?)?;
    let mut ours = Ours::new(root);
    ours.command(before)?;
    let mut theirs: Option<Theirs> = None;
    let mut wrong = String::new();
    for line in &lines {
        match line {
            Line::Command(text) => {
                ours.command(text)?;
                theirs = None;
            }
            Line::Deed(deed) => {
                ours.do_deed(deed);
                theirs = None;
            }
            Line::Scenario(scenario) => {
                let theirs = theirs.get_or_insert_with(|| Theirs::of(&mut ours));
                let difference = compare(scenario, &ours, theirs);
                match (difference, scenario.is_known) {
                    (None, true) => {
                        let _ = writeln!(wrong, "equal now, write ? for !: {}\n", scenario.name);
                    }
                    (Some(difference), false) => {
                        let _ = writeln!(wrong, "{}\n{difference}", scenario.name);
                    }
                    _ => {}
                }
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
}

/// Asks in both worlds; what differs.
fn compare(scenario: &Scenario, ours: &Ours, theirs: &mut Theirs) -> Option<String> {
    let filtered = ours.filtered();
    for (name, ns) in &filtered {
        ours.forget_connections(*ns);
        theirs.forget_connections(name);
    }
    let to = SocketAddrV4::new(ours.resolve(&scenario.to.0), scenario.to.1);
    let from = match scenario.from.strip_prefix("pod/") {
        _ if scenario.from == "host" => Place::Machine.ns_name(),
        Some(pod) => format!("kind/pod/default/{pod}"),
        None => scenario.from.clone(),
    };
    let (here, there) = (ours.ask(scenario, to), theirs.ask(&from, scenario, to));
    let mut out = String::new();
    if here != there {
        let _ = writeln!(out, "  answers\n    kernel: {there:?}\n    engine: {here:?}");
    }
    for (name, ns) in &filtered {
        let here = ours.look(*ns);
        let mut difference = None;
        // The last packets of a connection are on their way when its client has ended.
        for attempt in 0..16 {
            difference = look_difference(name, &theirs.look(name), &here);
            if difference.is_none() || !out.is_empty() {
                break;
            }
            pause(10 * attempt);
        }
        out.extend(difference);
    }
    (!out.is_empty()).then_some(out)
}

#[allow(clippy::disallowed_methods, reason = "the real kernel takes real time")]
fn pause(millis: u64) {
    std::thread::sleep(std::time::Duration::from_millis(millis));
}

fn look_difference(
    name: &str,
    theirs: &(String, String),
    ours: &(String, String),
) -> Option<String> {
    let mut out = String::new();
    let (there, here) = (counters(&theirs.0), counters(&ours.0));
    for (rule, count) in &there {
        let ours = here.get(rule).map_or("no such rule", String::as_str);
        if ours != count {
            let (number, text) = rule;
            let _ =
                writeln!(out, "  {name} {number} {text}\n    kernel: {count}\n    engine: {ours}");
        }
    }
    let (there, here) = (connections(&theirs.1), connections(&ours.1));
    if there != here {
        let _ = writeln!(
            out,
            "  {name} connections\n    kernel:\n      {}\n    engine:\n      {}",
            there.join("\n      "),
            here.join("\n      ")
        );
    }
    (!out.is_empty()).then_some(out)
}

/// Packets that each rule of the `nat` table was right for, by number and text.
fn counters(save: &str) -> BTreeMap<(usize, String), String> {
    let rules = save.lines().filter_map(|line| line.split_once(" -A "));
    let mut number: BTreeMap<&str, usize> = BTreeMap::new();
    let mut counters = BTreeMap::new();
    for (count, rule) in rules {
        let chain = rule.split(' ').next().unwrap_or_default();
        let number = number.entry(chain).or_default();
        *number += 1;
        // Bytes of a SYN depend on the options that a stack sends.
        let packets = count.trim_start_matches('[').split(':').next().unwrap_or_default();
        counters.insert((*number, chain.to_string()), packets.to_string());
    }
    counters
}

/// Connections without what is a matter of time or chance, sorted.
fn connections(list: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in list.lines() {
        let mut ports = 0;
        let mut kept = Vec::new();
        for (at, word) in line.split_whitespace().enumerate() {
            if at == 2 || word.starts_with("use=") || word.starts_with("mark=") {
                continue;
            }
            // Of the first direction the source's port is chosen, of the answers the destination's.
            let is_port = word.starts_with("sport=") || word.starts_with("dport=");
            ports += usize::from(is_port);
            kept.push(if is_port && matches!(ports, 1 | 4) { "port=any" } else { word });
        }
        lines.push(kept.join(" "));
    }
    lines.sort();
    lines
}
