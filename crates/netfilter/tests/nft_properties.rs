//! nftables: no text makes it panic, what it lists it takes again, and a transaction that fails leaves nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use base::{Instant, Rng};
use netfilter::Netfilter;
use netfilter::nft::command::{list_ruleset, load};
use netfilter::nft::value::Style;

fn listed(netfilter: &Netfilter) -> String {
    let style = Style { handles: true, ..Style::default() };
    list_ruleset(netfilter, style, Instant::ZERO)
}

/// Lines that nft knows.
fn known() -> Vec<String> {
    let rules = include_str!("oracle_nft/rules.txt").lines();
    let rules =
        rules.map(|line| line.trim_start_matches(|c: char| c.is_ascii_uppercase() || c == ':'));
    let chains = ["r", "c", "n", "p"];
    let mut lines: Vec<String> = rules
        .enumerate()
        .map(|(at, rule)| format!("add rule t {} {rule}", chains[at % chains.len()]))
        .collect();
    let commands = include_str!("oracle_nft/commands.txt").lines();
    lines.extend(commands.filter(|line| !line.starts_with(['-', 'f'])).map(String::from));
    lines
}

const FRAME: &str = "\
add table ip t
add chain ip t c { type filter hook input priority 0; }
add chain ip t n { type nat hook prerouting priority dstnat; }
add chain ip t p { type nat hook postrouting priority srcnat; }
add chain ip t r
add set ip t s { type ipv4_addr; }
add set ip t iv { type ipv4_addr; flags interval; }
add set ip t am { type ipv4_addr; flags interval; auto-merge; }
add map ip t m { type ipv4_addr : verdict; }
add counter ip t cnt
";

/// A line with words dropped, doubled, cut or taken from another.
fn spoiled(rng: &mut Rng, line: &str, other: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(String::from).collect();
    let others: Vec<&str> = other.split(' ').collect();
    for _ in 0..rng.below(3) {
        let at = rng.below(words.len() as u32) as usize;
        match rng.below(5) {
            0 if words.len() > 1 => drop(words.remove(at)),
            1 => words.insert(at, words[at].clone()),
            2 => words[at] = others[rng.below(others.len() as u32) as usize].to_string(),
            3 => {
                let cut = rng.below(words[at].chars().count() as u32 + 1) as usize;
                words[at] = words[at].chars().take(cut).collect();
            }
            _ => words[at].push_str(
                ["\"", "{", "}", "-1", "/33", "é", "*", ";", "\n", "."][rng.below(10) as usize],
            ),
        }
    }
    words.join(" ")
}

#[test]
fn what_is_listed_is_taken_again_and_what_fails_changes_nothing() {
    let lines = known();
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let mut netfilter = Netfilter::new(Rng::new(1));
        load(&mut netfilter, FRAME, Instant::ZERO).unwrap();
        for _ in 0..60 {
            let mut text = String::new();
            for _ in 0..1 + rng.below(4) {
                let line = &lines[rng.below(lines.len() as u32) as usize];
                let other = &lines[rng.below(lines.len() as u32) as usize];
                text.push_str(&spoiled(&mut rng, line, other));
                text.push('\n');
            }
            let before = listed(&netfilter);
            if load(&mut netfilter, &text, Instant::ZERO).is_err() {
                assert_eq!(listed(&netfilter), before, "seed {seed}: {text}");
            }
        }
        let style = Style { stateless: true, ..Style::default() };
        // A set whose elements have become one is that element when it is taken again: so it is taken twice.
        let mut first = list_ruleset(&netfilter, style, Instant::ZERO);
        for round in 0..2 {
            let mut again = Netfilter::new(Rng::new(1));
            if let Err(error) = load(&mut again, &first, Instant::ZERO) {
                panic!("seed {seed}: {error}\n{first}");
            }
            let second = list_ruleset(&again, style, Instant::ZERO);
            assert!(round == 0 || second == first, "seed {seed}: {first}\n{second}");
            first = second;
        }
        // Nothing is held by anything once all of it is gone.
        for table in ["ip t", "ip t6", "inet i", "ip t2", "ip t3", "ip t4", "ip t5", "ip t7"] {
            let _ = load(&mut netfilter, &format!("flush table {table}"), Instant::ZERO);
        }
        for line in ["delete chain ip t r", "delete set ip t s", "delete counter ip t cnt"] {
            let gone = load(&mut netfilter, line, Instant::ZERO);
            assert!(
                gone.as_ref().err().is_none_or(|error| !error.contains("busy")
                    || first.contains(": jump r")
                    || first.contains(": goto r")),
                "seed {seed}: {line}: {gone:?}\n{first}"
            );
        }
    }
}
