//! Properties of the text: what is printed is read back as the same rule, and no text is a panic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use base::{Instant, Rng};
use netfilter::ipset::command::ipset;
use netfilter::text::command::iptables;
use netfilter::text::save::save;
use netfilter::text::{RestoreOptions, parse_rule, restore};
use netfilter::{Netfilter, RuleSpec};
use proptest::prelude::*;

/// Choices for one option, its `!` included.
fn option(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(words).prop_map(str::to_string)
}

fn number(name: &'static str, max: u32) -> impl Strategy<Value = String> {
    (any::<bool>(), 0..=max)
        .prop_map(move |(not, value)| format!("{}{name} {value}", if not { "! " } else { "" }))
}

fn range(name: &'static str) -> impl Strategy<Value = String> {
    (any::<bool>(), any::<u16>(), any::<u16>()).prop_map(move |(not, a, b)| {
        format!("{}{name} {}:{}", if not { "! " } else { "" }, a.min(b), a.max(b))
    })
}

fn address(name: &'static str) -> impl Strategy<Value = String> {
    (any::<bool>(), any::<u32>(), 1..=32u8).prop_map(move |(not, addr, len)| {
        let addr = std::net::Ipv4Addr::from(addr);
        format!("{}{name} {addr}/{len}", if not { "! " } else { "" })
    })
}

fn header() -> impl Strategy<Value = String> {
    let parts = prop_oneof![
        Just(String::new()),
        address("-s"),
        address("-d"),
        option(&["-i eth0", "! -i veth+", "-o eth1", "! -o a", "-f", "! -f", "-i cali+ -o eth0"]),
    ];
    prop::collection::vec(parts, 0..2).prop_map(|parts| parts.join(" "))
}

/// Matches that go with TCP.
fn matches() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        (range("--sport"), range("--dport")).prop_map(|(a, b)| format!("-m tcp {a} {b}")),
        option(&[
            "-m tcp --syn",
            "-m tcp ! --tcp-flags SYN,ACK SYN",
            "-m tcp --tcp-option 8",
            "-m multiport --dports 80,443,1000:2000",
            "-m multiport ! --sports 1",
            "-m state --state NEW",
            "-m limit --limit 5/min --limit-burst 9",
            "-m addrtype --dst-type LOCAL",
            "-m addrtype ! --src-type UNICAST,LOCAL",
            "-m recent --set --name A",
            "-m recent ! --update --seconds 5 --hitcount 3 --name B --rdest",
            "-m statistic --mode nth --every 3 --packet 1",
            "-m statistic --mode random ! --probability 0.3",
            "-m pkttype ! --pkt-type broadcast",
            "-m mac --mac-source 02:00:00:00:00:01",
            "-m dscp --dscp 10",
            "-m tos ! --tos 0x10/0x3f",
            "-m rpfilter --invert",
            "-m owner ! --uid-owner 5-9 --socket-exists",
            "-m physdev --physdev-in a ! --physdev-out b+ --physdev-is-bridged",
            "-m conntrack --ctstate RELATED,ESTABLISHED ! --ctstatus ASSURED --ctdir REPLY",
            "-m set ! --match-set S src,dst --return-nomatch",
            "-m nfacct --nfacct-name n",
        ]),
        number("--mark", u32::MAX).prop_map(|mark| format!("-m mark {mark}/0xff")),
        number("--mark", u32::MAX).prop_map(|mark| format!("-m connmark {mark}")),
        range("--length").prop_map(|length| format!("-m length {length}")),
        number("--ttl-eq", 255).prop_map(|ttl| format!("-m ttl {ttl}")),
        number("--quota", u32::MAX).prop_map(|quota| format!("-m quota {quota}")),
        address("--ctorigsrc").prop_map(|addr| format!("-m conntrack {addr}")),
        (1..=59u32, 1..=1_000u32).prop_map(|(rate, burst)| format!(
            "-m hashlimit --hashlimit-upto {rate}/min --hashlimit-burst {burst} --hashlimit-mode srcip --hashlimit-name h"
        )),
        "[ -~]{0,40}".prop_map(|text| {
            let escaped: String =
                text.chars().flat_map(|c| [Some('\\').filter(|_| matches!(c, '"' | '\\')), Some(c)]).flatten().collect();
            format!("-m comment --comment \"{escaped}\"")
        }),
    ];
    prop::collection::vec(one, 0..4).prop_map(|all| all.join(" "))
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        option(&[
            "",
            "-j ACCEPT",
            "-j DROP",
            "-j RETURN",
            "-j SOME-CHAIN",
            "-g SOME-CHAIN",
            "-j REJECT --reject-with tcp-reset",
            "-j LOG --log-prefix \"a b\" --log-level 3 --log-uid",
            "-j NFLOG --nflog-group 3 --nflog-size 64",
            "-j TRACE",
            "-j CT --notrack",
            "-j NOTRACK",
            "-j CHECKSUM --checksum-fill",
            "-j MASQUERADE --to-ports 1-9 --random",
            "-j REDIRECT --to-ports 80",
            "-j NETMAP --to 10.0.0.0/8",
            "-j DNAT --to-destination 1.2.3.4-1.2.3.9:80-90 --persistent",
            "-j SNAT --to-source 1.2.3.4 --random-fully",
            "-j TCPMSS --clamp-mss-to-pmtu",
            "-j TTL --ttl-dec 1",
            "-j DSCP --set-dscp 9",
            "-j SET --add-set S src --exist --timeout 5",
            "-j CONNMARK --save-mark --nfmask 0xf0 --ctmask 0x0f --left-shift-mark 3",
        ]),
        any::<(u32, u32)>().prop_map(|(a, b)| format!("-j MARK --set-xmark {a:#x}/{b:#x}")),
        any::<(u32, u32)>().prop_map(|(a, b)| format!("-j CONNMARK --set-xmark {a:#x}/{b:#x}")),
        any::<(u8, u8)>().prop_map(|(a, b)| format!("-j TOS --set-tos {a:#x}/{b:#x}")),
    ]
}

/// Splits as the shell does: double quotes keep together.
fn words(line: &str) -> Vec<String> {
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

const FIXTURE: &str = include_str!("oracle/rules.txt");

/// A line of the list of all options, with a few of its bytes changed.
fn damaged() -> impl Strategy<Value = String> {
    let lines: Vec<&'static str> =
        FIXTURE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<char>()), 0..4);
    (prop::sample::select(lines), edits).prop_map(|(line, edits)| {
        let mut chars: Vec<char> = line.chars().collect();
        for (at, c) in edits {
            let at = at.index(chars.len());
            chars[at] = c;
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_back(
        header in header(), matches in matches(), target in target()
    ) {
        let text = format!("{header} -p tcp {matches} {target}");
        // Some of them do not go together (`-s` twice); those are no rules.
        if let Ok(rules) = parse_rule(&words(&text)) {
            for rule in rules {
                let printed = rule.to_string();
                let again: Vec<RuleSpec> = parse_rule(&words(&printed)).unwrap();
                prop_assert_eq!(&again, &vec![rule], "{}", printed);
                prop_assert_eq!(again[0].to_string(), printed);
            }
        }
    }

    #[test]
    fn no_command_is_a_panic(line in damaged()) {
        let mut netfilter = Netfilter::new(Rng::new(1));
        iptables(&mut netfilter, &words(&line));
        let saved = save(&netfilter, None, true, "never");
        // Most words are written as they are; a blank inside one is more than iptables can read again.
        let is_odd = |word: &String| word.contains(|c: char| c.is_whitespace() || "\"'\\".contains(c));
        let is_readable = !words(&line).iter().any(is_odd) && !saved.contains("-set ");
        if is_readable {
            let mut again = Netfilter::new(Rng::new(1));
            let read = restore(&mut again, &saved, RestoreOptions::default());
            prop_assert!(read.is_ok(), "{:?} {}", read, saved);
        }
    }

    #[test]
    fn no_ruleset_is_a_panic(lines in prop::collection::vec(prop_oneof![
        damaged(),
        any::<String>(),
        Just("*nat".to_string()), Just("*filter".to_string()),
        Just("COMMIT".to_string()), Just(":X - [0:0]".to_string()),
    ], 0..12)) {
        let mut netfilter = Netfilter::new(Rng::new(1));
        let _ = restore(&mut netfilter, &lines.join("\n"), RestoreOptions::default());
        let _ = restore(&mut netfilter, &format!("*filter\n{}", lines.join("\n")),
            RestoreOptions { noflush: true, counters: true, ..RestoreOptions::default() });
    }

    #[test]
    fn no_words_are_a_panic(words in prop::collection::vec(any::<String>(), 0..8)) {
        let mut netfilter = Netfilter::new(Rng::new(1));
        iptables(&mut netfilter, &words);
        ipset(&mut netfilter, &words, "add A 1\ncreate A hash:ip", Instant::ZERO);
        let _ = parse_rule(&words);
    }

    #[test]
    fn no_set_is_a_panic(
        kind in prop::sample::select(&["hash:ip", "hash:net", "hash:ip,port", "hash:net,port",
            "hash:ip,port,ip", "bitmap:port", "list:set"][..]),
        elements in prop::collection::vec("[0-9./,:a-z-]{1,24}", 0..8),
    ) {
        let mut netfilter = Netfilter::new(Rng::new(1));
        let run = |netfilter: &mut Netfilter, line: String| {
            let words: Vec<String> = line.split(' ').map(str::to_string).collect();
            ipset(netfilter, &words, "", Instant::ZERO)
        };
        run(&mut netfilter, format!("create A {kind}"));
        for element in &elements {
            run(&mut netfilter, format!("add A {element}"));
            run(&mut netfilter, format!("test A {element}"));
        }
        let saved = run(&mut netfilter, "save".to_string()).out;
        let mut again = Netfilter::new(Rng::new(1));
        ipset(&mut again, &["restore".to_string()], &saved, Instant::ZERO);
        prop_assert_eq!(run(&mut again, "save".to_string()).out, saved);
    }
}

#[test]
fn what_a_set_cannot_be_or_hold_is_refused() {
    let mut netfilter = Netfilter::new(Rng::new(1));
    let mut run = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_string).collect();
        ipset(&mut netfilter, &words, "", Instant::ZERO).err
    };
    run("create a hash:ip");
    run("create b hash:ip,port");
    run("create c hash:ip,port maxelem 4294967295");
    let long = "x".repeat(32);
    assert_eq!(
        run(&format!("rename a {long}")),
        format!("ipset v7.17: Syntax error: setname '{long}' is longer than 31 characters\n")
    );
    // Four thousand million elements: nobody has room for them.
    assert_eq!(
        run("add b 10.0.0.0/16,1-65535"),
        "ipset v7.17: Hash is full, cannot add more elements\n"
    );
    assert_eq!(
        run("add c 10.0.0.0/16,1-65535"),
        "ipset v7.17: 262144 elements at once are not supported by podwire\n"
    );
    assert_eq!(
        run("add a 0.0.0.0"),
        "ipset v7.17: Null-valued element, cannot be stored in a hash type of set\n"
    );
}

#[test]
fn sets_that_are_swapped_keep_their_places() {
    let mut netfilter = Netfilter::new(Rng::new(1));
    let mut run = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_string).collect();
        ipset(&mut netfilter, &words, "", Instant::ZERO).out
    };
    for line in
        ["create a hash:ip", "create l list:set", "add l a", "create b hash:ip", "add b 10.0.0.1"]
    {
        run(line);
    }
    run("swap a b");
    run("swap a a");
    assert_eq!(run("list -n"), "a\nl\nb\n");
    assert!(run("list a").contains("10.0.0.1"));
}
