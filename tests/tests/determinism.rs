//! The same seed and the same commands give the same bytes; another seed gives others.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::rc::Rc;

use lab::{Options, World};
use proptest::prelude::*;
use shell::script::{PlayOptions, play};
use shell::{Files, MemoryFiles, Shell, Transcript};

const SCRIPT: &str = include_str!("../cases/story/first-page/script.sh");
const FILES: [(&str, &str); 4] = [
    ("kind.yml", include_str!("../cases/story/first-page/kind.yml")),
    ("deployment.yml", include_str!("../cases/story/first-page/deployment.yml")),
    ("service.yml", include_str!("../cases/story/first-page/service.yml")),
    ("httpd.yml", include_str!("../cases/story/first-page/httpd.yml")),
];

fn files() -> MemoryFiles {
    let files = MemoryFiles::default();
    for (name, text) in FILES {
        files.write(&format!("{}/{name}", files.home()), text.as_bytes()).unwrap();
    }
    files
}

/// The transcript, and the fingerprint of everything that happened.
fn story(seed: u64) -> (String, String) {
    let world = World::new(&Options { seed, ..Options::default() });
    let terminal = Rc::new(Transcript::default());
    let shell = Shell::new(world.lab(), Rc::new(files()), terminal.clone());
    play(&world, &shell, SCRIPT, PlayOptions { keep_going: true, quiet: false });
    (terminal.take(), world.lab().journal(|journal| journal.fingerprint()))
}

#[test]
fn one_seed_one_story() {
    let (first, again, other) = (story(1), story(1), story(2));
    assert_eq!(first, again);
    assert_ne!(first.0, other.0, "another seed gives other names and addresses");
    assert_ne!(first.1, other.1);
}

#[test]
fn a_killed_curl_leaves_no_request_open() {
    let world = World::new(&Options::default());
    let shell = Shell::new(world.lab(), Rc::new(files()), Rc::new(Transcript::default()));
    let process = shell.start("curl -s 172.18.0.77").unwrap();
    let pass = |millis| {
        let until = world.lab().now() + std::time::Duration::from_millis(millis);
        world.advance(until, u32::MAX);
    };
    pass(500);
    process.kill();
    pass(500);
    let outcome = world.lab().requests(|all| all.iter().next().unwrap().outcome.clone());
    assert_eq!(outcome, Some(lab::Outcome::Failed("interrupted".to_string())));
}

/// Words of commands, and what people get wrong about them.
fn command() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "kubectl",
        "get",
        "pods",
        "-o",
        "yaml",
        "jsonpath={.items[",
        "apply",
        "-f",
        "deployment.yml",
        "kind",
        "docker",
        "exec",
        "kind-worker",
        "iptables",
        "-t",
        "nat",
        "-L",
        "-A",
        "|",
        "&&",
        ";",
        "$(",
        ")",
        "((",
        "'",
        "\"",
        "{1..3}",
        "for",
        "in",
        "do",
        "done",
        "curl",
        "localhost:30007",
        "-w",
        "%{http_code}",
        "sed",
        "s/a/b/",
        "grep",
        "[",
        "]",
        "-n",
        "ip",
        "route",
        "conntrack",
        "lab",
        "trace",
        "describe",
        "node",
        "sleep",
        "1",
        ">",
        "x",
        "<<E",
        "E",
        "\n",
        "é",
        "--",
        "delete",
        "svc",
        "--all",
        "scale",
        "--replicas=-1",
        "printf",
        "%d%s",
        "logs",
        "-l",
        "a in (",
        "${a:-",
        "}",
        "\\",
    ]);
    prop::collection::vec(words, 1..12).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is typed, the shell answers and the world goes on.
    #[test]
    fn no_line_is_too_much(lines in prop::collection::vec(prop_oneof![command(), ".{0,40}"], 1..6)) {
        let world = World::new(&Options::default());
        let terminal = Rc::new(Transcript::default());
        let shell = Shell::new(world.lab(), Rc::new(files()), terminal.clone());
        for line in lines {
            let Ok(process) = shell.start(&line) else { continue };
            let until = world.lab().now() + std::time::Duration::from_secs(5);
            world.advance(until, 200_000);
            process.kill();
        }
        let process = shell.start("echo still here").unwrap();
        world.run(&process);
        prop_assert!(terminal.take().ends_with("still here\n"));
    }
}
