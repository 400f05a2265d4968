//! What no compiler checks: who may know whom, and what may stand in a file.

use std::fs;

use serde_json::Value;

use crate::chore::{Outcome, Workspace};

/// Each crate, and the crates of this workspace that it may know. Dev-dependencies are free: a test may
/// look at anything. A new edge is a decision; it is written here and into `ARCHITECTURE.md`.
const ROOMS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("packet", &["base"]),
    ("netfilter", &["base", "packet"]),
    ("netsim", &["base", "packet", "netfilter"]),
    ("programs", &["base", "packet", "netsim"]),
    ("kube-api", &["base"]),
    ("controllers", &["base", "kube-api"]),
    ("kube-proxy", &["base", "kube-api", "netfilter"]),
    (
        "lab",
        &[
            "base",
            "packet",
            "netfilter",
            "netsim",
            "programs",
            "kube-api",
            "controllers",
            "kube-proxy",
        ],
    ),
    // Changes the world only through `lab`; of the others it reads types, to print them.
    (
        "shell",
        &[
            "base",
            "lab",
            "packet",
            "netfilter",
            "netsim",
            "programs",
            "kube-api",
            "controllers",
            "kube-proxy",
        ],
    ),
    ("cli", &["base", "lab", "shell"]),
    // Reads traces, which are of netsim and netfilter.
    ("web", &["base", "lab", "shell", "netsim", "netfilter"]),
    ("xtask", &[]),
    ("bench", &["base", "packet", "netfilter", "netsim"]),
    (
        "tests",
        &[
            "base",
            "packet",
            "netfilter",
            "netsim",
            "programs",
            "kube-api",
            "controllers",
            "kube-proxy",
            "lab",
            "shell",
            "cli",
            "web",
        ],
    ),
];

/// Files that people write; only there is space at the end of a line a slip. (rustfmt looks after Rust.)
const WRITTEN: &[&str] = &["css", "html", "js", "md", "mjs", "toml", "yml"];

/// Checks all of it; every fault is named.
pub(crate) fn tidy(ws: &Workspace) -> Outcome {
    let text = ws.line("cargo metadata --no-deps --format-version 1").read()?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let mut faults = edges(&metadata);
    faults.extend(openings(&metadata));
    faults.extend(files(ws));
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.join("\n"))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Edges between crates of the workspace that no room allows.
fn edges(metadata: &Value) -> Vec<String> {
    let packages = list(metadata, "packages");
    let names = Vec::from_iter(packages.iter().map(|package| word(package, "name")));
    let mut faults = vec![];
    for package in packages {
        let name = word(package, "name");
        let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == name) else {
            faults.push(format!(
                "{name}: this crate has no room; add it to ROOMS in crates/xtask/src/tidy.rs"
            ));
            continue;
        };
        let known = list(package, "dependencies").iter().filter(|dep| word(dep, "kind") != "dev");
        let known = known.map(|dep| word(dep, "name")).filter(|dep| names.contains(dep));
        let new = known.filter(|dep| !allowed.contains(dep));
        faults.extend(new.map(|dep| format!("{name} -> {dep}: this crate may not know that one")));
    }
    faults
}

/// Crates that do not open with what they are.
fn openings(metadata: &Value) -> Vec<String> {
    let targets = list(metadata, "packages").iter().flat_map(|package| list(package, "targets"));
    let sources = targets.filter(|target| {
        list(target, "kind")
            .iter()
            .any(|kind| ["lib", "rlib", "bin"].iter().any(|name| kind == name))
    });
    let sources = sources.map(|target| word(target, "src_path"));
    let bare =
        sources.filter(|path| !fs::read_to_string(path).is_ok_and(|text| text.starts_with("//!")));
    bare.map(|path| format!("{path}: a crate opens with `//!` and what it is")).collect()
}

/// Faults of the files that git knows or would add.
fn files(ws: &Workspace) -> Vec<String> {
    let git = ws.line("git ls-files -z --cached --others --exclude-standard").read();
    let Ok(names) = git else {
        println!("This is no checkout of git, so the text of files is not looked at.");
        return vec![];
    };
    let checkout = ws.root.to_string_lossy();
    // What is not text is not read, and neither is what was just deleted.
    let read = |name: &str| Some((name.to_string(), fs::read_to_string(ws.root.join(name)).ok()?));
    let texts = names.split_terminator('\0').filter_map(read);
    texts.flat_map(|(name, text)| faults(&name, &text, &checkout)).collect()
}

/// Faults of one file, each with its line.
fn faults(name: &str, text: &str, checkout: &str) -> Vec<String> {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_written = WRITTEN.contains(&extension) && !name.starts_with("tests/cases/");
    let mut faults = vec![];
    for (line, number) in text.lines().zip(1..) {
        let mut fault = |what: &str| faults.push(format!("{name}:{number}: {what}"));
        if is_written && line.ends_with([' ', '\t']) {
            fault("space at the end of the line");
        }
        if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
            fault("a conflict of a merge");
        }
        if names_machine(line, checkout) {
            fault("a path of somebody's machine");
        }
    }
    faults
}

/// True if the line holds the path of a home, but for `/home/you` of the simulated machine, or of the checkout.
fn names_machine(line: &str, checkout: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let mut homes = ["/home/", "/Users/"].into_iter().flat_map(|dir| {
        line.match_indices(dir).filter_map(move |(at, _)| {
            let is_inner = line[..at].ends_with(is_name);
            let rest = &line[at + dir.len()..];
            let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
            (!is_inner).then_some(name)
        })
    });
    // A checkout at the top of the tree has a name too short to tell from others.
    let is_deep = checkout.matches('/').count() > 1;
    homes.any(|name| !["", "you"].contains(&name)) || (is_deep && line.contains(checkout))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, dependencies: Value) -> Value {
        json!({ "name": name, "dependencies": dependencies, "targets": [] })
    }

    #[test]
    fn an_edge_that_no_room_allows_is_named() {
        let dependencies = json!([
            { "name": "netfilter", "kind": null },
            { "name": "netsim", "kind": null },
            { "name": "lab", "kind": "dev" },
            { "name": "serde", "kind": null },
        ]);
        let mut packages = vec![package("kube-proxy", dependencies)];
        packages.extend(["netfilter", "netsim", "lab"].map(|name| package(name, json!([]))));
        let faults = edges(&json!({ "packages": packages }));
        assert_eq!(faults, ["kube-proxy -> netsim: this crate may not know that one"]);
    }

    #[test]
    fn a_crate_without_a_room_is_named() {
        let faults = edges(&json!({ "packages": [package("attic", json!([]))] }));
        assert!(faults[0].starts_with("attic: this crate has no room"), "{faults:?}");
    }

    #[test]
    fn rooms_know_only_rooms() {
        for (room, known) in ROOMS {
            let is_room = |name: &&str| ROOMS.iter().any(|(room, _)| room == name);
            assert!(known.iter().all(is_room), "{room}");
            assert!(!known.contains(room), "{room}");
        }
    }

    #[test]
    fn faults_have_their_line() {
        let text = "a\nb \n<<<<<<< HEAD\n";
        assert_eq!(
            faults("www/a.css", text, "/x/y"),
            ["www/a.css:2: space at the end of the line", "www/a.css:3: a conflict of a merge"]
        );
        assert_eq!(faults("a.rs", "let a = \"b \n\";", "/x/y"), [""; 0]);
    }

    #[test]
    fn paths_of_machines_are_seen() {
        // Put together, or this file would be at fault itself.
        for (home, name, is_fault) in [
            ("/home/", "you/a.yml", false),
            ("/home/", "{user}", false),
            ("/home/", "ada/a.yml", true),
            ("see https://kubernetes.io/docs/home/", "ada", false),
            ("\"/Users/", "ada", true),
            ("/x", "/y/target", true),
        ] {
            assert_eq!(names_machine(&format!("{home}{name}"), "/x/y"), is_fault, "{home}{name}");
        }
        assert!(!names_machine("cd /work", "/work"));
    }
}
