//! Any text as lines of `ipset restore`. What is saved is restored, and saved the same.

#![no_main]

use base::{Instant, Rng};
use libfuzzer_sys::fuzz_target;
use netfilter::Netfilter;
use netfilter::ipset::command::ipset;

/// What `ipset` prints for these words.
fn run(netfilter: &mut Netfilter, words: &[&str], input: &str) -> String {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    let output = ipset(netfilter, &words, input, Instant::ZERO);
    if output.code == 0 { output.out } else { format!("error {}", output.err) }
}

fuzz_target!(|text: &str| {
    // Large ranges take their time, and nothing else comes of them.
    if text.contains(['/', '-']) && text.len() > 300 {
        return;
    }
    let mut first = Netfilter::new(Rng::new(1));
    run(&mut first, &["restore", "-exist"], text);
    run(&mut first, &["list"], "");
    // Names may hold anything that is no blank, and then do not save as they are.
    if text.chars().any(|c| matches!(c, '"' | '\'' | '\\' | '#') || (c.is_control() && c != '\n')) {
        return;
    }
    let saved = run(&mut first, &["save"], "");
    let mut second = Netfilter::new(Rng::new(1));
    let restored = run(&mut second, &["restore"], &saved);
    assert_eq!((restored.as_str(), run(&mut second, &["save"], "")), ("", saved));
});
