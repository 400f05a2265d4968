//! Any text as a filter, any bytes as the packet it is asked of.

#![no_main]

use libfuzzer_sys::fuzz_target;
use packet::filter::Filter;
use packet::tcpdump::LinkType;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (text, packet) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(text) = std::str::from_utf8(text) else { return };
    for link in [LinkType::Ethernet, LinkType::Sll2, LinkType::Raw] {
        let known = |name: &str| (name.len() % 3..3).map(|n| (n as u32).into()).collect();
        if let Ok(filter) = Filter::compile(text, link, &known) {
            filter.matches(packet, packet.len() as u32);
        }
    }
});
