//! Any text as rules. What is loaded prints, loads again, and prints the same.

#![no_main]

use base::Rng;
use libfuzzer_sys::fuzz_target;
use netfilter::text::save::save;
use netfilter::text::{RestoreOptions, restore};
use netfilter::{Netfilter, TableName};

fuzz_target!(|text: &str| {
    let mut first = Netfilter::new(Rng::new(1));
    if restore(&mut first, text, RestoreOptions::default()).is_err() {
        return;
    }
    // Known: names of chains and interfaces may hold control characters, and then do not print as they are.
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return;
    }
    // Known: a quoted name of a chain may hold blanks, which iptables refuses.
    let tables = TableName::SAVE_ORDER.into_iter().filter_map(|name| first.table(name));
    if tables.flat_map(|table| table.chains()).any(|chain| chain.name.contains(' ')) {
        return;
    }
    let printed = save(&first, None, false, "");
    let mut second = Netfilter::new(Rng::new(1));
    if let Err(error) = restore(&mut second, &printed, RestoreOptions::default()) {
        panic!("{error}: {printed}");
    }
    assert_eq!(save(&second, None, false, ""), printed);
});
