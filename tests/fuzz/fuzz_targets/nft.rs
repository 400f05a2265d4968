//! nft: no text makes it panic, and what it lists is taken again and is the same then.

#![no_main]

use base::{Instant, Rng};
use libfuzzer_sys::fuzz_target;
use netfilter::Netfilter;
use netfilter::nft::command::{list_ruleset, load};
use netfilter::nft::value::Style;

fuzz_target!(|text: &str| {
    let mut netfilter = Netfilter::new(Rng::new(1));
    // Line by line, so that one mistake does not take back all of it.
    if load(&mut netfilter, text, Instant::ZERO).is_err() {
        for line in text.lines() {
            let _ = load(&mut netfilter, line, Instant::ZERO);
        }
    }
    let style = Style { stateless: true, ..Style::default() };
    // A set whose elements have become one is that element when it is taken again: so it is taken twice.
    let mut listed = list_ruleset(&netfilter, style, Instant::ZERO);
    for round in 0..2 {
        let mut again = Netfilter::new(Rng::new(1));
        if let Err(error) = load(&mut again, &listed, Instant::ZERO) {
            panic!("{error}\n{listed}");
        }
        let second = list_ruleset(&again, style, Instant::ZERO);
        assert!(round == 0 || second == listed, "{listed}\n{second}");
        listed = second;
    }
});
