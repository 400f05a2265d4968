//! Our text of rules against the real iptables 1.8.9, command by command.
//!
//! Needs root, `ip netns`, `iptables-nft` and `ipset`; where one is missing the test says so and passes.
//! Every difference is printed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "why a test was skipped, and what differs, is said")]

use std::process::{Command, Output};

use base::{Instant, Rng};
use netfilter::ipset::command::ipset;
use netfilter::text::command::iptables;
use netfilter::text::save::save;
use netfilter::text::{RestoreOptions, restore};
use netfilter::{Netfilter, TableName};

/// A network namespace that is gone when this is.
struct Ns(String);

impl Ns {
    /// `Err`: why there is none.
    fn new(name: &str) -> Result<Ns, String> {
        let version = Command::new("iptables-nft").arg("--version").output();
        let version = version.map_err(|error| format!("iptables-nft: {error}"))?;
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        if !version.contains("v1.8.9") {
            return Err(format!("the model is iptables v1.8.9, here is {}", version.trim()));
        }
        // Another run of the same test is in nobody's way.
        let name = format!("{name}-{}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        match made {
            Ok(made) if made.status.success() => Ok(Ns(name)),
            Ok(made) => Err(String::from_utf8_lossy(&made.stderr).trim().to_string()),
            Err(error) => Err(format!("ip netns: {error}")),
        }
    }

    fn run(&self, program: &str, args: &[String]) -> Output {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]).args(args);
        command.output().expect("ip could be run a moment ago")
    }

    /// With text on its standard input.
    fn feed(&self, program: &str, args: &[&str], input: &str) -> Output {
        use std::io::Write as _;
        use std::process::Stdio;
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.0, program])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ip could be run a moment ago");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        child.wait_with_output().expect("it ends")
    }
}

impl Drop for Ns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

fn words(line: &str) -> Vec<String> {
    // As a shell splits it: double quotes keep together.
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut in_quotes = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                in_quotes = !in_quotes;
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            ' ' if !in_quotes => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn line(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_string).collect()
}

const SETS: [&str; 3] =
    ["create SA hash:ip", "create SB hash:ip,port timeout 0", "create SC hash:net counters"];

/// What podwire does not have, and says so.
fn is_unsupported(err: &str) -> bool {
    err.contains("not supported by podwire")
}

/// What cannot be compared: the name service differs, or the kernel has no such module.
const INCOMPARABLE: [&str; 2] = ["-A USER -j USER", "-m nfacct --nfacct-name"];

struct Difference {
    line: String,
    what: &'static str,
    ours: String,
    theirs: String,
}

fn compare_line(ns: &Ns, text: &str, differences: &mut Vec<Difference>) -> bool {
    let mut ours = Netfilter::new(Rng::new(1));
    for set in SETS {
        ipset(&mut ours, &line(set), "", Instant::ZERO);
    }
    let args = words(text);
    let table = match args.first().map(String::as_str) {
        Some("-t") => args[1].clone(),
        _ => "filter".to_string(),
    };
    iptables(&mut ours, &line(&format!("-t {table} -N USER")));
    let mine = iptables(&mut ours, &args);
    if is_unsupported(&mine.err) {
        return false;
    }
    let real = ns.run("iptables", &args);
    let mut note = |what, ours: String, theirs: &[u8]| {
        let theirs = String::from_utf8_lossy(theirs).into_owned();
        if ours != theirs {
            differences.push(Difference { line: text.to_string(), what, ours, theirs });
        }
    };
    note("error", mine.err, &real.stderr);
    note("output", mine.out, &real.stdout);
    note(
        "exit code",
        mine.code.to_string(),
        real.status.code().unwrap_or(-1).to_string().as_bytes(),
    );
    for (what, command) in [
        ("-S", format!("-t {table} -S")),
        ("-L -n -v -x", format!("-t {table} -L -n -v -x --line-numbers")),
        ("-L -n", format!("-t {table} -L -n")),
    ] {
        let mine = iptables(&mut ours, &line(&command));
        note(what, mine.out, &ns.run("iptables", &line(&command)).stdout);
    }
    ns.run("iptables", &line(&format!("-t {table} -F")));
    true
}

#[test]
fn every_rule_reads_and_prints_as_in_the_real_tool() {
    let ns = match Ns::new("podwire-oracle-text") {
        Ok(ns) => ns,
        Err(why) => return println!("skipped: {why}"),
    };
    for set in SETS {
        ns.run("ipset", &line(set));
    }
    for table in TableName::ALL {
        ns.run("iptables", &line(&format!("-t {table} -N USER")));
    }
    let mut differences = Vec::new();
    let (mut compared, mut unsupported) = (0, 0);
    for text in include_str!("oracle/rules.txt").lines() {
        let is_comparable = !INCOMPARABLE.iter().any(|not| text.contains(not));
        if text.is_empty() || text.starts_with('#') || !is_comparable {
            continue;
        }
        match compare_line(&ns, text, &mut differences) {
            true => compared += 1,
            false => unsupported += 1,
        }
    }
    println!("{compared} commands compared, {unsupported} not supported by podwire");
    report(&differences);
    assert!(compared > 600, "only {compared} commands were compared");
}

fn report(differences: &[Difference]) {
    for Difference { line, what, ours, theirs } in differences {
        let own = ours.lines().filter(|line| !theirs.lines().any(|other| other == *line));
        let other = theirs.lines().filter(|line| !ours.lines().any(|own| own == *line));
        let (own, other): (Vec<_>, Vec<_>) = (own.collect(), other.collect());
        println!("iptables {line}\n  {what}\n    ours   {own:?}\n    theirs {other:?}");
    }
    assert!(differences.is_empty(), "{} differences", differences.len());
}

/// All rules that can stand together, as one ruleset.
fn ruleset() -> Netfilter {
    let mut netfilter = Netfilter::new(Rng::new(1));
    for set in SETS {
        ipset(&mut netfilter, &line(set), "", Instant::ZERO);
    }
    for table in TableName::ALL {
        iptables(&mut netfilter, &line(&format!("-t {table} -N USER")));
    }
    for text in include_str!("oracle/rules.txt").lines() {
        // Of these the real tool, too, writes less than it read, or what it cannot read.
        let is_whole =
            !["--icmp-type 255/255", "--name \"a b\""].iter().any(|not| text.contains(not));
        let is_comparable = !INCOMPARABLE.iter().any(|not| text.contains(not));
        if !text.is_empty() && !text.starts_with('#') && is_comparable && is_whole {
            iptables(&mut netfilter, &words(text));
        }
    }
    netfilter
}

/// Without the lines that carry a date.
fn undated(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn what_we_save_is_loaded_and_saved_alike_by_both_real_variants() {
    for (variant, name) in [("nft", "podwire-oracle-nft"), ("legacy", "podwire-oracle-leg")] {
        let ns = match Ns::new(name) {
            Ok(ns) => ns,
            Err(why) => return println!("skipped: {why}"),
        };
        for set in SETS {
            ns.run("ipset", &line(set));
        }
        let netfilter = ruleset();
        let mut ours = save(&netfilter, None, true, "never");
        if variant == "legacy" {
            // What only nftables takes.
            let only_nft = [
                "--limit-burst 10000",
                "-A INPUT -j TRACE",
                "-p tcp -j TCPMSS",
                "! -p tcp -m tcp",
                "! -i +",
            ];
            let kept = ours.lines().filter(|line| !only_nft.iter().any(|not| line.contains(not)));
            ours = kept.map(|line| format!("{line}\n")).collect();
        }
        let program = format!("iptables-{variant}-restore");
        let loaded = ns.feed(&program, &["--counters"], &ours);
        let complaint = String::from_utf8_lossy(&loaded.stderr).into_owned();
        assert!(loaded.status.success(), "{program}: {complaint}");
        let mut differences = Vec::new();
        for table in TableName::SAVE_ORDER {
            let args = line(&format!("-c -t {table}"));
            let real = ns.run(&format!("iptables-{variant}-save"), &args).stdout;
            let (real, begin) = (undated(&String::from_utf8_lossy(&real)), format!("*{table}\n"));
            let ours = undated(&ours);
            let ours = ours.split_once(&begin).map_or("", |(_, rest)| rest);
            let ours = ours.split_once("COMMIT\n").map_or("", |(table, _)| table);
            let ours = format!("{begin}{ours}COMMIT\n");
            if ours != real {
                let (line, what) = (format!("{variant} {table}"), "iptables-save");
                differences.push(Difference { line, what, ours, theirs: real });
            }
        }
        report(&differences);
    }
}

#[test]
fn what_is_saved_is_read_back_as_it_was() {
    let netfilter = ruleset();
    let saved = save(&netfilter, None, true, "never");
    let mut again = Netfilter::new(Rng::new(1));
    for set in SETS {
        ipset(&mut again, &line(set), "", Instant::ZERO);
    }
    let options = RestoreOptions { counters: true, ..RestoreOptions::default() };
    restore(&mut again, &saved, options).unwrap();
    assert_eq!(save(&again, None, true, "never"), saved);
    for table in TableName::ALL {
        let specs = |netfilter: &Netfilter| -> Vec<std::rc::Rc<netfilter::RuleSpec>> {
            let table = netfilter.table(table).unwrap();
            let rules = table.chains().flat_map(|chain| &chain.rules);
            rules.map(|rule| rule.spec.clone()).collect()
        };
        for (before, after) in specs(&netfilter).iter().zip(specs(&again)) {
            assert_eq!(*before, after, "{before}");
        }
    }
}

/// Commands one after the other on one table, so that what they leave behind counts.
const SESSION: &[&str] = &[
    "-N USER",
    "-A NOCHAIN -j NOSUCH",
    "-A INPUT -g ACCEPT",
    "-A INPUT -jACCEPT",
    "-A INPUT -j \"a b\"",
    "-A INPUT -j \"\"",
    "-A INPUT -j abcdefghijklmnopqrstuvwxyzabcdef",
    "-N abcdefghijklmnopqrstuvwxyzab",
    "-N abcdefghijklmnopqrstuvwxyzabc",
    "-N -x",
    "-N !x",
    "-N ACCEPT",
    "-N MASQUERADE",
    "-N \"a b\"",
    "-N USER",
    "-N INPUT",
    "-X NOPE",
    "-X INPUT",
    "-F NOPE",
    "-Z NOPE",
    "-L NOPE",
    "-S NOPE",
    "-P NOPE ACCEPT",
    "-P USER ACCEPT",
    "-P INPUT RETURN",
    "-P INPUT",
    "-P INPUT DROP",
    "-S",
    "-P INPUT ACCEPT",
    "-E USER USER2",
    "-E NOPE X",
    "-E USER2 INPUT",
    "-E USER2",
    "-E USER2 USER",
    "-D INPUT 1",
    "-D INPUT 0",
    "-D INPUT a",
    "-D INPUT -j ACCEPT",
    "-D NOPE 1",
    "-D NOPE -j ACCEPT",
    "-C INPUT -j ACCEPT",
    "-C NOPE -j ACCEPT",
    "-R INPUT 1 -j ACCEPT",
    "-R INPUT -j ACCEPT",
    "-R INPUT 0 -j ACCEPT",
    "-R NOPE 1 -j ACCEPT",
    "-I INPUT 2 -j ACCEPT",
    "-I INPUT 0 -j ACCEPT",
    "-I INPUT 1 -j ACCEPT",
    "-I INPUT 3 -j DROP",
    "-I INPUT 2 -j DROP",
    "-I INPUT -s 1.1.1.1,2.2.2.2 -j RETURN",
    "-S INPUT",
    "-A INPUT -j USER",
    "-X USER",
    "-A USER -j ACCEPT",
    "-X",
    "-X USER",
    "-S INPUT",
    "-S INPUT 2",
    "-S INPUT 9",
    "-S -v",
    "-vS INPUT",
    "-L INPUT 2 -n",
    "-L INPUT 9 -n",
    "-L INPUT -n --line-numbers",
    "-L USER -nvx",
    "-nvL",
    "-C INPUT -j DROP",
    "-R INPUT 1 -s 9.9.9.9 -j DROP",
    "-R INPUT 1 -s 1.1.1.1,2.2.2.2 -j ACCEPT",
    "-vA INPUT -p tcp --dport 80 -j ACCEPT",
    "-vD INPUT 1",
    "-vI INPUT -j ACCEPT",
    "-vN Q",
    "-vX Q",
    "-E USER RENAMED",
    "-S",
    "-E RENAMED USER",
    "-vF INPUT",
    "-vF",
    "-vZ",
    "-vP INPUT ACCEPT",
    "-t foo -L",
    "-t nat -P PREROUTING DROP",
    "-L -A INPUT",
    "-A INPUT -D INPUT",
    "-L foo bar",
    "-Z INPUT 1",
    "-Z INPUT 9",
    "-n",
    "-V",
    "! -V",
    "-A",
    "-A INPUT -A",
    "-F -n",
    "-F -j ACCEPT",
    "-L -s 1.2.3.4",
    "-L -c 1 2",
    "-S -n",
    "-S -x",
    "-S --line-numbers",
    "-D INPUT -c 1 2 -j ACCEPT",
    "-D INPUT 1 -j ACCEPT",
    "-P INPUT -c 1 2 ACCEPT",
    "-N A -v -n",
    "--list-r INPUT",
    "--li",
    "--line -L INPUT -n",
    "-A INPUT -i \"\"",
    "-A INPUT -i a/b -j ACCEPT",
    "-A INPUT -- foo",
    "-S -- foo",
    "-A USER -m owner --uid-owner 1",
    "-A INPUT -j USER",
    "-A OUTPUT -j USER",
    "-F USER",
    "-A INPUT -j USER",
    "-A USER -m owner --uid-owner 1",
    "-I USER -j REJECT --reject-with icmp-port-unreachable",
    "-I USER -p tcp -j REJECT --reject-with tcp-reset",
    "-I USER -j REJECT --reject-with tcp-reset",
    "-R USER 1 -j REJECT --reject-with tcp-reset",
    "-N LOOP",
    "-A LOOP -j USER",
    "-A USER -j LOOP",
    "-S",
];

#[test]
fn a_session_answers_as_the_real_tool_does() {
    let ns = match Ns::new("podwire-oracle-ses") {
        Ok(ns) => ns,
        Err(why) => return println!("skipped: {why}"),
    };
    let mut ours = Netfilter::new(Rng::new(1));
    let mut differences = Vec::new();
    for text in SESSION {
        let args = words(text);
        let (mine, real) = (iptables(&mut ours, &args), ns.run("iptables", &args));
        let real_code = real.status.code().unwrap_or(-1);
        let mine = format!("{}{}[{}]", mine.out, mine.err, mine.code);
        let [out, err] = [&real.stdout, &real.stderr].map(|text| String::from_utf8_lossy(text));
        let theirs = format!("{out}{err}[{real_code}]");
        if mine != theirs {
            let (line, what) = (text.to_string(), "session");
            differences.push(Difference { line, what, ours: mine, theirs });
        }
    }
    report(&differences);
}

/// Rulesets that are refused, or that say little.
const FILES: &[&str] = &[
    "*filter\n-A INPUT -j ACCEPT\n-A INPUT -j MASQUERADE\nCOMMIT\n",
    "*filter\n-A INPUT -j ACCEPT\n-A INPUT --foo\nCOMMIT\n",
    "*filter\n-A INPUT -j NOPE\nCOMMIT\n",
    "*filter\n-A NOPE -j ACCEPT\nCOMMIT\n",
    "*filter\n-A INPUT foo\nCOMMIT\n",
    "*filter\nfoo\nCOMMIT\n",
    "foo\n",
    "*foo\nCOMMIT\n",
    "*filter\n",
    "*filter\n:X - [0:0]\n:X - [0:0]\n",
    "*filter\n:INPUT DROP [1:2]\n:INPUT FOO [1:2]\nCOMMIT\n",
    "*filter\n:INPUT\nCOMMIT\n",
    "*filter\n:X ACCEPT [1:2]\nCOMMIT\n",
    "*filter\n:X DROP\nCOMMIT\n",
    "*filter\n:X - [a:2]\nCOMMIT\n",
    "*filter\n:X - [5:2]\n[3:4] -A X -j ACCEPT\nCOMMIT\n",
    "*filter\n-A INPUT -t nat -j ACCEPT\nCOMMIT\n",
    "*filter\n-D INPUT -j DROP\nCOMMIT\n",
    "*filter\n-X NOPE\nCOMMIT\n",
    "*filter\n-N NN\n-N NN\nCOMMIT\n",
    "*filter\n-A INPUT -m comment --comment \"two words\"\nCOMMIT\n",
    "*filter\n-P INPUT DROP\n-A INPUT -j ACCEPT\nCOMMIT\n*nat\n-A PREROUTING -j NOPE\nCOMMIT\n",
    "# c\n\n*filter\n-A INPUT -j ACCEPT\nCOMMIT\n",
    "# Warning: iptables-legacy tables present, use iptables-legacy to see them\n*filter\nCOMMIT\n",
    "*filter\n-A INPUT -m nosuch\nCOMMIT\n",
    "*filter\n:INPUT ACCEPT [0:0] foo\nCOMMIT\n",
    "*filter\n-E A B\nCOMMIT\n",
    "*filter\n:A - [0:0]\n:B - [0:0]\n-A A -j B\n-A INPUT -j A\n-A B -j A\nCOMMIT\n",
    "*filter\n:X - [0:0]\n-A X -m owner --uid-owner 1\n-A INPUT -j X\nCOMMIT\n",
    "*filter\n:X - [0:0]\n-A INPUT -j X\n-A X -m owner --uid-owner 1\nCOMMIT\n",
    "*nat\n-A PREROUTING -j DROP\nCOMMIT\n",
];

#[test]
fn rulesets_are_restored_or_refused_as_by_the_real_tool() {
    let mut differences = Vec::new();
    let ns = match Ns::new("podwire-oracle-res") {
        Ok(ns) => ns,
        Err(why) => return println!("skipped: {why}"),
    };
    for text in FILES {
        for table in TableName::ALL {
            ns.feed("iptables-restore", &[], &format!("*{table}\nCOMMIT\n"));
        }
        let mut ours = Netfilter::new(Rng::new(1));
        for table in TableName::ALL {
            ours.edit(table, |_| ());
        }
        let mine = match restore(&mut ours, text, RestoreOptions::default()) {
            Ok(()) => "[0]".to_string(),
            Err(error) => format!("{error}\n[{}]", error.code()),
        };
        let real = ns.feed("iptables-restore", &[], text);
        let code = real.status.code().unwrap_or(-1);
        let theirs = format!("{}[{code}]", String::from_utf8_lossy(&real.stderr));
        let mut note = |what, ours: String, theirs: String| {
            if ours != theirs {
                differences.push(Difference { line: text.to_string(), what, ours, theirs });
            }
        };
        note("iptables-restore", mine, theirs);
        for args in ["-t filter -S", "-t nat -S"] {
            let real = ns.run("iptables", &line(args)).stdout;
            let mine = iptables(&mut ours, &line(args)).out;
            note(args, mine, String::from_utf8_lossy(&real).into_owned());
        }
    }
    report(&differences);
}
