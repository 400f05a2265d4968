//! The real Linux kernel as an oracle: network namespaces, and the tools that fill them.
//!
//! Nothing is sent anywhere but inside the namespaces made here, and they are gone when a test is, however it
//! ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// With `1`, a missing oracle is a failure.
pub const REQUIRE: &str = "PODWIRE_REQUIRE_KERNEL";
/// `nft` or `legacy`: which iptables fills the real namespaces.
pub const IPTABLES: &str = "PODWIRE_IPTABLES";

/// What begins the name of every namespace made here; a process's number follows.
const PREFIX: &str = "pwk";

/// The tools that are there on a machine that can be asked.
const TOOLS: [&str; 8] = [
    "ip",
    "nft",
    "nsenter",
    "sysctl",
    "python3",
    "conntrack",
    "iptables-nft-restore",
    "iptables-nft-save",
];

/// Whether the kernel can be asked here. If not, the reason is printed; where `PODWIRE_REQUIRE_KERNEL=1`, it
/// is a failure.
#[allow(clippy::print_stderr, reason = "a test says why it was skipped")]
pub fn is_here() -> bool {
    let Some(reason) = missing() else { return true };
    let is_demanded = std::env::var(REQUIRE).is_ok_and(|value| value == "1");
    assert!(!is_demanded, "the kernel cannot be asked, and {REQUIRE}=1 demands it: {reason}");
    eprintln!("skipped: {reason}");
    false
}

fn missing() -> Option<String> {
    let found = |tool: &&str| Command::new(tool).arg("--version").output().is_err();
    let tools: Vec<&str> = TOOLS.into_iter().filter(found).collect();
    if !tools.is_empty() {
        return Some(format!("not installed: {}", tools.join(", ")));
    }
    remove_stale();
    let mut probe = Namespaces::new();
    let ns = match probe.try_add("probe") {
        Ok(ns) => ns,
        Err(error) => return Some(format!("no network namespace can be made: {error}")),
    };
    let rules = "*nat\n-A POSTROUTING -m statistic --mode nth --every 2 --packet 0 -j MASQUERADE --random-fully\nCOMMIT\n";
    restore(&ns, rules).err().map(|error| format!("rules cannot be loaded: {error}"))
}

/// Namespaces of processes that were killed are in nobody's way, but nobody else removes them.
fn remove_stale() {
    let listed = run("ip", &["netns", "list"]).unwrap_or_default();
    for name in listed.lines().filter_map(|line| line.split(' ').next()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let is_gone =
            pid.is_some_and(|pid| !PathBuf::from("/proc").join(pid).exists() && !pid.is_empty());
        if is_gone {
            let _ = run("ip", &["netns", "del", name]);
        }
    }
}

/// Runs a program; what it printed, or what it complained about.
pub fn run(program: &str, args: &[&str]) -> Result<String, String> {
    run_with(program, args, "")
}

/// The same with something to read.
pub fn run_with(program: &str, args: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    // A program that does not read to the end has its reasons, and says them.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", args.join(" "), complaint.trim()))
}

/// The namespaces of one test; they go when it ends.
#[derive(Debug, Default)]
pub struct Namespaces {
    names: Vec<String>,
}

impl Namespaces {
    /// None yet.
    pub fn new() -> Namespaces {
        Namespaces::default()
    }

    /// A new namespace without IPv6, `lo` up; its name on this machine.
    pub fn add(&mut self, what: &str) -> String {
        self.try_add(what).unwrap()
    }

    fn try_add(&mut self, what: &str) -> Result<String, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{what}", std::process::id());
        run("ip", &["netns", "add", &name])?;
        self.names.push(name.clone());
        sysctl(
            &name,
            &["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"],
        )?;
        run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
        Ok(name)
    }

    /// Takes one away before the end.
    pub fn remove(&mut self, name: &str) {
        self.names.retain(|known| known != name);
        let _ = run("ip", &["netns", "del", name]);
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = run("ip", &["netns", "del", name]);
        }
    }
}

fn file(ns: &str) -> String {
    format!("--net=/run/netns/{ns}")
}

/// Runs a program in a namespace.
pub fn inside(ns: &str, program: &str, args: &[&str], input: &str) -> Result<String, String> {
    let net = file(ns);
    let mut all = vec![net.as_str(), program];
    all.extend(args);
    run_with("nsenter", &all, input)
}

/// Sets kernel settings of a namespace, `name=value`. What the kernel does not have cannot be in the way.
pub fn sysctl(ns: &str, settings: &[&str]) -> Result<(), String> {
    let mut args = vec!["-q", "-e", "-w"];
    args.extend(settings);
    inside(ns, "sysctl", &args, "").map(drop)
}

/// Runs lines of `ip` in a namespace.
pub fn ip(ns: &str, lines: &str) -> Result<(), String> {
    run_with("ip", &["-n", ns, "-batch", "-"], lines).map(drop)
}

fn iptables(what: &str) -> String {
    let variant = std::env::var(IPTABLES).unwrap_or_else(|_| "nft".to_string());
    format!("iptables-{variant}-{what}")
}

/// `iptables-restore`
pub fn restore(ns: &str, rules: &str) -> Result<(), String> {
    inside(ns, &iptables("restore"), &[], rules).map(drop)
}

/// `iptables-save -c`
pub fn save(ns: &str) -> Result<String, String> {
    inside(ns, &iptables("save"), &["-c"], "")
}

/// `iptables-save -c -t TABLE`
pub fn save_table(ns: &str, table: &str) -> Result<String, String> {
    inside(ns, &iptables("save"), &["-c", "-t", table], "")
}

/// Kernel and iptables, for the record.
pub fn versions() -> String {
    let kernel = run("uname", &["-r"]).unwrap_or_default();
    let iptables = run(&iptables("save"), &["--version"]).unwrap_or_default();
    format!("Linux {}, {}", kernel.trim(), iptables.trim())
}

/// A program in a namespace that is spoken to in lines. It ends with this.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Agent {
    /// Starts a Python script of `tests/src/kernel/` in a namespace, and waits until it says `ready`.
    pub fn start(ns: Option<&str>, script: &str, argument: &str) -> Agent {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/kernel").join(script);
        let mut command = match ns {
            Some(ns) => {
                let mut command = Command::new("nsenter");
                command.arg(file(ns)).arg("python3");
                command
            }
            None => Command::new("python3"),
        };
        command.arg(path).arg(argument).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut agent = Agent { child, input, output };
        assert_eq!(agent.read(), "ready", "{script} did not start");
        agent
    }

    /// Says a line and hears the answer.
    pub fn ask(&mut self, line: &str) -> String {
        self.input.write_all(format!("{line}\n").as_bytes()).unwrap();
        self.read()
    }

    fn read(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a Python script of `tests/src/kernel/` in a namespace to its end.
pub fn script(ns: &str, name: &str, argument: &str) -> Result<String, String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/kernel").join(name);
    inside(ns, "python3", &[&path.display().to_string(), argument], "")
}
