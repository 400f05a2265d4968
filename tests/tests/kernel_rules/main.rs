//! Random rulesets and packets: the engine decides as the Linux kernel does.
//!
//! A router with three cables stands twice: as a network namespace of this machine, and as a namespace of
//! [`netsim`]. Both get the same ruleset, and the same packets are put on their cables. Equal have to be: what
//! leaves and by which cable, every field of it, the answers of `REJECT` and of the router itself; the
//! counters of all rules and policies; and the connections in the end.
//!
//! - [`town`]: the router and what lies around it;
//! - [`bytes`]: packets made byte by byte, and read back in words;
//! - [`case`]: a ruleset and packets, as data;
//! - [`generate`]: cases made by chance, their [`rules`], [`sets`] and [`packets`], and those of [`nft`];
//! - [`worlds`]: the kernel and the engine, behind one door;
//! - [`compare`]: what differs, and the smallest case that still does.
//!
//! `tests/kernel/cases/` holds cases that have to be equal, `tests/kernel/known/` cases that are known not to
//! be: these turn red when they become equal. `avoids: FEATURE …` at a known failure's head keeps the generator
//! from what it is about; `without: FEATURE …` leaves out of its comparison what another one is about.
//!
//! The run is set by `PODWIRE_SEED` (a number; 1), `PODWIRE_PAIRS` (packets that meet a ruleset; 5000) and
//! `PODWIRE_IPTABLES` (`nft`, or `legacy`). A long run, recorded in `docs/parity.md`:
//!
//! ```text
//! PODWIRE_PAIRS=100000 PODWIRE_SEED=2 cargo test -p tests --test kernel_rules generated -- --nocapture
//! ```
//!
//! `PODWIRE_DIFFERENCES=N` goes on after a difference, and shows up to N of them. Without root or the tools
//! the tests are skipped and say why; `PODWIRE_REQUIRE_KERNEL=1` makes that a failure.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a run says what it was")]

mod bytes;
mod case;
mod compare;
mod generate;
mod nft;
mod packets;
mod rules;
mod sets;
mod town;
mod worlds;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use base::Rng;
use tests::kernel;

use crate::case::Case;
use crate::compare::{Shrinker, Worlds};
use crate::generate::{FEATURES, Generator};
use crate::worlds::{Engine, Kernel, World};

/// Packets for one ruleset, about.
const PACKETS: usize = 48;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// The cases of a directory of `tests/kernel/`, by name.
fn written(directory: &str) -> Vec<(String, Case)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kernel").join(directory);
    // Without known failures there is no directory of them.
    let entries = fs::read_dir(root).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let case = case::parse(&fs::read_to_string(path).unwrap());
        (name.clone(), case.unwrap_or_else(|wrong| panic!("{name}: {wrong}")))
    };
    paths.iter().map(read).collect()
}

/// The features in the lines of a case's head that begin with `what`.
fn features(case: &Case, what: &str) -> BTreeSet<String> {
    let lists = case.about.lines().filter_map(|line| line.strip_prefix(what));
    let features: BTreeSet<String> =
        lists.flat_map(str::split_whitespace).map(String::from).collect();
    for feature in &features {
        assert!(
            FEATURES.contains(&feature.as_str()),
            "{feature} is not a feature of the generator"
        );
    }
    features
}

/// What the known failures keep the generator from.
fn avoided() -> BTreeSet<String> {
    written("known").iter().flat_map(|(_, case)| features(case, "avoids:")).collect()
}

/// Plays a written case in both worlds; what differs every time.
fn written_difference(case: &Case, kernel: &mut Kernel, engine: &mut Engine) -> Option<String> {
    let without = features(case, "without:");
    let ignores = |feature: &str| without.contains(feature);
    Worlds { kernel, engine, ignores: &ignores }.difference(case)
}

/// What was found, from beginning to end.
#[derive(Default)]
struct Found {
    pairs: usize,
    rulesets: usize,
    /// Differences that were not there again.
    passing: usize,
    differences: Vec<String>,
}

/// Plays generated cases until there are enough pairs, or enough differences.
fn hunt(
    make: &mut dyn FnMut() -> Case,
    worlds: &mut Worlds<'_>,
    pairs: usize,
    enough: usize,
) -> Found {
    let mut found = Found::default();
    while found.pairs < pairs && found.differences.len() < enough {
        let case = make();
        let (played, difference) = worlds.play(&case);
        found.pairs += played;
        found.rulesets += 1;
        if difference.is_none() {
            continue;
        }
        let Some(difference) = worlds.difference(&case) else {
            found.passing += 1;
            continue;
        };
        let small = Shrinker::shrink(&case, &difference, worlds);
        let words = worlds.play(&small).1.unwrap_or(difference);
        found.differences.push(format!("{small}\n{words}"));
    }
    found
}

#[test]
fn generated_rulesets_decide_as_the_kernel() {
    if !kernel::is_here() {
        return;
    }
    let (seed, pairs) = (setting("PODWIRE_SEED", 1), setting("PODWIRE_PAIRS", 5000) as usize);
    let enough = setting("PODWIRE_DIFFERENCES", 1) as usize;
    let avoided = avoided();
    let avoids = |feature: &str| avoided.contains(feature);
    let mut generator = Generator::new(Rng::new(seed).fork("rulesets"), &avoids);
    let (mut kernel, mut engine) = (Kernel::new(avoids("tcp-window")), Engine::new());
    let mut worlds = Worlds { kernel: &mut kernel, engine: &mut engine, ignores: &avoids };
    let found = hunt(&mut || generator.case(PACKETS), &mut worlds, pairs, enough);
    eprintln!(
        "{}: seed {seed}, {} pairs in {} rulesets, {} differences, {} that did not come again",
        kernel::versions(),
        found.pairs,
        found.rulesets,
        found.differences.len(),
        found.passing
    );
    for (feature, (made, refused, why)) in &generator.used {
        if made == refused {
            eprintln!("not used, because our parser refuses it: {feature}: {why}");
        }
    }
    eprintln!("not used, because of known failures: {avoided:?}");
    assert!(found.differences.is_empty(), "seed {seed}\n\n{}", found.differences.join("\n---\n"));
    assert!(found.pairs >= pairs);
}

#[test]
fn generated_rules_of_nftables_decide_as_the_kernel() {
    if !kernel::is_here() {
        return;
    }
    let (seed, pairs) = (setting("PODWIRE_SEED", 1), setting("PODWIRE_PAIRS", 3000) as usize);
    let enough = setting("PODWIRE_DIFFERENCES", 1) as usize;
    let avoided = avoided();
    let avoids = |feature: &str| avoided.contains(feature);
    let mut generator = Generator::new(Rng::new(seed).fork("nft"), &avoids);
    let (mut kernel, mut engine) = (Kernel::new(avoids("tcp-window")), Engine::new());
    let mut worlds = Worlds { kernel: &mut kernel, engine: &mut engine, ignores: &avoids };
    let found = hunt(&mut || generator.nft_case(PACKETS), &mut worlds, pairs, enough);
    eprintln!(
        "nft: seed {seed}, {} pairs in {} rulesets, {} differences, {} that did not come again",
        found.pairs,
        found.rulesets,
        found.differences.len(),
        found.passing
    );
    assert!(found.differences.is_empty(), "seed {seed}\n\n{}", found.differences.join("\n---\n"));
    assert!(found.pairs >= pairs);
}

#[test]
fn written_cases_are_decided_as_by_the_kernel() {
    if !kernel::is_here() {
        return;
    }
    let (mut kernel, mut engine) = (Kernel::new(false), Engine::new());
    let cases = written("cases");
    assert!(!cases.is_empty());
    let mut differing = String::new();
    for (name, case) in cases {
        if let Some(difference) = written_difference(&case, &mut kernel, &mut engine) {
            differing += &format!("{name} differs\n{difference}\n");
        }
    }
    assert!(differing.is_empty(), "{differing}");
}

#[test]
fn known_failures_fail_still() {
    if !kernel::is_here() {
        return;
    }
    let (mut kernel, mut engine) = (Kernel::new(false), Engine::new());
    let mut is_equal = |case: &Case| written_difference(case, &mut kernel, &mut engine).is_none();
    let equal: Vec<String> = written("known")
        .into_iter()
        .filter(|(_, case)| is_equal(case))
        .map(|(name, _)| name)
        .collect();
    assert!(
        equal.is_empty(),
        "equal now; move them from tests/kernel/known/ to tests/kernel/cases/: {equal:?}"
    );
}

#[test]
fn the_kernel_takes_what_the_generator_makes() {
    if !kernel::is_here() {
        return;
    }
    // Also what our parser does not take yet: the day it does, it is to be compared.
    let mut generator = Generator::new(Rng::new(8), &|_| false);
    generator.is_ahead = true;
    let mut kernel = Kernel::new(false);
    for _ in 0..60 {
        let case = generator.case(1);
        if let Err(error) = kernel.load(&case.sets, &case.ruleset()) {
            panic!("{error}\n{case}");
        }
    }
}

#[test]
fn a_case_is_what_its_text_says() {
    let nothing_avoided = |_: &str| false;
    let mut generator = Generator::new(Rng::new(7), &nothing_avoided);
    for _ in 0..20 {
        let case = generator.case(PACKETS);
        let again = case::parse(&case.to_string()).unwrap();
        let by_table = |case: &Case| {
            let mut rules = case.rules.clone();
            rules.sort_by_key(|rule| rule.table);
            (rules, case.drops.len(), case.sets.clone(), case.steps.clone())
        };
        assert_eq!(by_table(&again), by_table(&case));
    }
}
