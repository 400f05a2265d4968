//! Our nftables against nft 1.0.6 and the kernel: what is printed, and what is said of mistakes.
//!
//! Needs root, `ip netns` and `nft`; where one is missing the tests say so and pass. Every difference is printed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "why a test was skipped, and what differs, is said")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use base::{Instant, Rng};
use netfilter::Netfilter;
use netfilter::nft::command::{Args, Input, nft};

/// A network namespace that is gone when this is.
struct Ns(String);

impl Ns {
    /// `Err`: why there is none.
    fn new(name: &str) -> Result<Ns, String> {
        let version = Command::new("nft").arg("--version").output();
        let version = version.map_err(|error| format!("nft: {error}"))?;
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        if !version.contains("v1.0.6") {
            return Err(format!("the model is nft v1.0.6, here is {}", version.trim()));
        }
        let name = format!("{name}-{}", std::process::id());
        match Command::new("ip").args(["netns", "add", &name]).output() {
            Ok(made) if made.status.success() => Ok(Ns(name)),
            Ok(made) => Err(String::from_utf8_lossy(&made.stderr).trim().to_string()),
            Err(error) => Err(format!("ip netns: {error}")),
        }
    }

    fn run(&self, args: &[String], input: &str) -> Output {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.0, "nft"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ip could be run a moment ago");
        let mut stdin = child.stdin.take().expect("piped");
        // One that does not read is done before.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("it ends")
    }
}

impl Drop for Ns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

/// Both worlds, and what differs.
struct Both {
    ns: Ns,
    ours: Netfilter,
    differences: String,
    compared: usize,
    /// The kernel has refused the last command.
    refused: bool,
    unsupported: Vec<String>,
}

/// What a command printed and said, and its exit code.
type Said = (String, String, i32);

/// What differs from run to run, or is the kernel's alone.
fn comparable(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        // Handles of tables count all that were ever made in the namespace.
        let line = match line.split_once(" { # handle ") {
            Some((table, _)) if table.starts_with("table ") => table,
            _ => line,
        };
        // What nft guesses at is not guessed here.
        let line = line.split_once("; did you mean").map_or(line, |(said, _)| said);
        let _ = writeln!(lines, "{line}");
    }
    lines
}

impl Both {
    fn new(name: &str) -> Option<Both> {
        match Ns::new(name) {
            Ok(ns) => Some(Both {
                ns,
                ours: Netfilter::new(Rng::new(1)),
                differences: String::new(),
                compared: 0,
                refused: false,
                unsupported: Vec::new(),
            }),
            Err(why) => {
                println!("skipped: {why}");
                None
            }
        }
    }

    fn ours(&mut self, args: &[String], input: &str) -> Said {
        match Args::parse(args) {
            Err(output) => (output.out, output.err, output.code),
            Ok(args) => {
                let output = match &args.input {
                    Input::Text(text) => nft(&mut self.ours, &args, text, None, Instant::ZERO),
                    Input::File(_) => {
                        nft(&mut self.ours, &args, input, Some("/dev/stdin"), Instant::ZERO)
                    }
                };
                (output.out, output.err, output.code)
            }
        }
    }

    /// Runs `nft` with these arguments in both worlds. Whether they agree.
    fn run(&mut self, args: &[&str], input: &str) -> bool {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_string()).collect();
        let theirs = self.ns.run(&args, input);
        let text = |bytes: &[u8]| comparable(&String::from_utf8_lossy(bytes));
        let mut theirs: Said =
            (text(&theirs.stdout), text(&theirs.stderr), theirs.status.code().unwrap_or(-1));
        // nft goes on after a mistake; what it says then is about nothing that was typed.
        if theirs.1.matches("Error: ").count() > 1 {
            theirs.1 = theirs.1.split_inclusive('\n').take(3).collect();
        }
        let (out, err, code) = self.ours(&args, input);
        let ours: Said = (comparable(&out), comparable(&err), code);
        self.compared += 1;
        self.refused = theirs.1.contains("Could not process rule");
        if ours == theirs {
            return true;
        }
        let what =
            if input.is_empty() { args.join(" ") } else { format!("{}\n{input}", args.join(" ")) };
        if ours.1.contains("not supported by podwire") {
            self.unsupported.push(what);
            return false;
        }
        let _ = writeln!(
            self.differences,
            "$ nft {what}\n--- theirs [{}]\n{}{}--- ours [{}]\n{}{}",
            theirs.2, theirs.0, theirs.1, ours.2, ours.0, ours.1
        );
        false
    }

    fn end(self) {
        println!("{} compared; not supported: {:#?}", self.compared, self.unsupported);
        assert!(self.differences.is_empty(), "{}", self.differences);
    }
}

/// The texts that kube-proxy wrote for each test of its own (`../shared/kube-proxy/flows.jsonl`).
fn kube_proxy() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/kube-proxy/flows.jsonl");
    let lines = std::fs::read_to_string(path).unwrap_or_default();
    let mut texts = Vec::new();
    for line in lines.lines() {
        let Some((_, rest)) = line.split_once("\"nftRules\":\"") else { continue };
        let mut text = String::new();
        let mut chars = rest.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('u') => {
                        let code: String = chars.by_ref().take(4).collect();
                        let code = u32::from_str_radix(&code, 16).unwrap();
                        text.extend(char::from_u32(code));
                    }
                    Some(c) => text.push(c),
                    None => {}
                },
                c => text.push(c),
            }
        }
        if !text.contains(" ip6 ") && !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

#[test]
fn what_kube_proxy_writes_is_listed_as_by_nft() {
    let texts = kube_proxy();
    let Some(mut both) = Both::new("nft-proxy") else { return };
    if texts.is_empty() {
        println!("skipped: ../shared/kube-proxy is not here");
    }
    for text in &texts {
        both.run(&["flush", "ruleset"], "");
        both.run(&["-f", "-"], text);
        // A second time: what kube-proxy does when it starts anew.
        both.run(&["-f", "-"], text);
        for style in ["-a", "-n", "-s", "-t"] {
            both.run(&[style, "list", "ruleset"], "");
        }
        // What we print is taken again, by nft and by us, and is the same then.
        let (listed, ..) = both.ours(&["list".to_string(), "ruleset".to_string()], "");
        both.run(&["flush", "ruleset"], "");
        both.run(&["-f", "-"], &listed);
        both.run(&["-a", "list", "ruleset"], "");
    }
    both.end();
}

/// A table in which every rule can stand.
const AROUND: &str = "\
add table ip t
add chain ip t c { type filter hook input priority 0; }
add chain ip t n { type nat hook prerouting priority dstnat; }
add chain ip t p { type nat hook postrouting priority srcnat; }
add chain ip t r
add set ip t s { type ipv4_addr; }
add set ip t aff { type ipv4_addr; flags dynamic,timeout; timeout 3h; }
add set ip t iv { type ipv4_addr; flags interval; }
add map ip t m { type ipv4_addr : verdict; }
add map ip t dm { type inet_service : ipv4_addr . inet_service; }
add map ip t mm { type ipv4_addr : mark; }
add counter ip t cnt
";

#[test]
fn rules_are_listed_as_by_nft() {
    let Some(mut both) = Both::new("nft-rules") else { return };
    both.run(&["-f", "-"], AROUND);
    for line in include_str!("rules.txt").lines() {
        let (chain, rule) = match line.split_once(':') {
            Some(("N", rule)) => ("n", rule),
            Some(("P", rule)) => ("p", rule),
            Some(("C", rule)) => ("c", rule),
            _ => ("r", line),
        };
        both.run(&["flush", "chain", "t", chain], "");
        if both.run(&["add", "rule", "t", chain, rule], "") {
            both.run(&["list", "chain", "t", chain], "");
            both.run(&["-s", "list", "chain", "t", chain], "");
            both.run(&["-n", "list", "chain", "t", chain], "");
        }
    }
    both.end();
}

#[test]
fn a_ruleset_of_everything_is_listed_as_by_nft() {
    let Some(mut both) = Both::new("nft-all") else { return };
    both.run(&["-f", "-"], include_str!("ruleset.nft"));
    for style in ["-a", "-n", "-t", "-s", "-y"] {
        both.run(&[style, "-s", "list", "ruleset"], "");
    }
    for what in [
        "tables",
        "chains",
        "sets",
        "maps",
        "counters",
        "limits",
        "quotas",
        "flowtables",
        "meters",
        "tables ip",
        "tables inet",
        "tables ip6",
        "chains ip",
        "sets inet",
        "sets table t",
        "ruleset ip",
        "ruleset inet",
        "table t",
        "table inet ti",
        "chain t in",
        "chain inet ti c",
        "set t iv",
        "set t many",
        "map t cc",
        "map t im",
        "counter t cnt",
        "counter t nope",
        "set t cc",
        "map t iv",
        "set t nope",
        "chain t nope",
        "table nope",
    ] {
        for style in ["-s", "-sa"] {
            let mut args = vec![style, "list"];
            args.extend(what.split(' '));
            both.run(&args, "");
        }
    }
    both.end();
}

#[test]
fn commands_do_and_say_what_nft_does_and_says() {
    let Some(mut both) = Both::new("nft-commands") else { return };
    // How many handles a transaction has had that the kernel refused depends on where it was then.
    let mut style = "-as";
    for line in include_str!("commands.txt").lines().filter(|line| !line.is_empty()) {
        if line == "---" {
            both.run(&["flush", "ruleset"], "");
            style = "-as";
            continue;
        }
        // As a file with one line, or as arguments.
        match line.strip_prefix("f: ") {
            Some(text) => both.run(
                &["-f", "-"],
                &text.replace("\\n", "\n").replace("\\t", "\t").replace("\\\\", "\\"),
            ),
            None => {
                let (options, rest) = match line.split_once(' ') {
                    Some((options, rest)) if options.starts_with('-') => (vec![options], rest),
                    _ => (vec![], line),
                };
                let mut args = options;
                args.push(rest);
                both.run(&args, "")
            }
        };
        if both.refused {
            style = "-s";
        }
        both.run(&[style, "list", "ruleset"], "");
    }
    both.end();
}
