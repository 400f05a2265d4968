//! Rules made by chance, out of tables of what a rule can say.
//!
//! A new match or target is a line here; the day our parser takes it, it is compared.

use netfilter::TableName;
use netfilter::text::parse_rule;

use crate::case::{Rule, USER_CHAINS};
use crate::generate::Generator;
use crate::town::{HOSTS, OWN};

/// A match or target: its feature, how often it comes, where it may stand (all chains, or those), its text.
/// In the text `{!}` is `! ` sometimes, `{v}` one of the values, `{n}` a number of the case, `{r}` one of its own.
type Phrase = (&'static str, u32, &'static [&'static str], &'static str, &'static [&'static str]);

/// The cables' names, names that are none, and beginnings.
const CABLES: &[&str] = &["in0", "ext0", "dmz0", "in+", "e+", "lo", "dmz1"];
#[rustfmt::skip]
const NETS: &[&str] = &[
    "10.1.0.0/24", "10.1.0.10/32", "10.0.0.0/8", "192.0.2.0/24", "192.0.2.10/32", "10.2.0.0/24",
    "10.2.0.10/32", "10.96.0.0/16", "10.96.0.10/32", "10.2.0.9/32", "10.9.0.0/16", "198.51.100.7/32",
];
const PORTS: &[&str] = &["80", "443", "53", "8080", "5000", "22"];
const PORT_RANGES: &[&str] = &["80", "443", "53", "8080", "5000", "22", "1024:65535", ":1023"];
const TYPES: &[&str] = &["LOCAL", "UNICAST", "LOCAL,BROADCAST", "MULTICAST"];
/// Chains that see a packet before it is routed, and after.
const BEFORE: &[&str] = &["PREROUTING", "INPUT"];
const AFTER: &[&str] = &["POSTROUTING", "OUTPUT"];
const RECEIVED: &[&str] = &["PREROUTING", "INPUT", "FORWARD"];

/// Matches that ask for a protocol, by its name.
#[rustfmt::skip]
const PROTOCOL_MATCHES: &[(&str, Phrase)] = &[
    ("tcp", ("tcp-match", 4, &[], "-m tcp {!}--dport {v}", PORT_RANGES)),
    ("tcp", ("tcp-match", 2, &[], "-m tcp {!}--sport {v}", PORT_RANGES)),
    ("tcp", ("tcp-match", 2, &[], "-m tcp {!}--tcp-flags {v}", &[
        "SYN,RST,ACK,FIN SYN", "ALL NONE", "SYN,ACK SYN,ACK", "RST RST", "FIN,PSH,URG FIN",
    ])),
    ("tcp", ("tcp-option", 1, &[], "-m tcp {!}--tcp-option {v}", &["2"])),
    // As it is meant: other packets find what the last insertion has left of a host that has no connections.
    ("tcp", ("connlimit", 1, &[], "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m connlimit {!}--connlimit-{v}", &[
        "above 1", "upto 2 --connlimit-mask 24", "above 2 --connlimit-daddr", "above 3 --connlimit-mask 0",
    ])),
    ("tcp", ("multiport", 1, &[], "-m multiport {!}--dports {v}", &["80,443,53", "5000"])),
    ("udp", ("udp-match", 4, &[], "-m udp {!}--dport {v}", PORT_RANGES)),
    ("udp", ("udp-match", 1, &[], "-m udp {!}--sport {v}", PORT_RANGES)),
    ("udp", ("multiport", 1, &[], "-m multiport {!}--ports {v}", &["1024:2000,40000:40001,22"])),
    ("sctp", ("sctp-match", 4, &[], "-m sctp {!}--dport {v}", PORT_RANGES)),
    ("icmp", ("icmp-match", 4, &[], "-m icmp {!}--icmp-type {v}", &[
        "8", "0", "3/3", "3", "11", "13", "any", "5/1",
    ])),
];

/// Matches for any packet.
#[rustfmt::skip]
const MATCHES: &[Phrase] = &[
    ("conntrack-state", 6, &[], "-m conntrack {!}--ctstate {v}", &[
        "NEW", "ESTABLISHED", "RELATED,ESTABLISHED", "INVALID", "UNTRACKED", "SNAT", "DNAT", "NEW,INVALID",
    ]),
    ("state", 2, &[], "-m state {!}--state {v}", &["NEW", "RELATED,ESTABLISHED", "INVALID"]),
    ("conntrack-dir", 1, &[], "-m conntrack --ctdir {v}", &["ORIGINAL", "REPLY"]),
    ("conntrack-more", 2, &[], "-m conntrack {!}{v}", &[
        "--ctproto 6", "--ctorigdst 10.96.0.0/16", "--ctorigsrc 10.1.0.0/24", "--ctreplsrc 10.2.0.0/24",
        "--ctrepldst 192.0.2.0/24", "--ctstatus SEEN_REPLY", "--ctstatus ASSURED", "--ctorigdstport 80",
    ]),
    ("mark", 4, &[], "-m mark {!}--mark {v}", &["0x1", "0x4000/0x4000", "0x0/0xff", "0x3/0x7"]),
    ("connbytes", 2, &[], "-m connbytes {!}--connbytes {v}", &[
        "2 --connbytes-mode packets --connbytes-dir both", "2:3 --connbytes-mode packets --connbytes-dir original",
        "1: --connbytes-mode packets --connbytes-dir reply", "60:200 --connbytes-mode bytes --connbytes-dir both",
        ":41 --connbytes-mode avgpkt --connbytes-dir both", "45 --connbytes-mode avgpkt --connbytes-dir original",
        "100 --connbytes-mode bytes --connbytes-dir reply",
    ]),
    ("connmark", 2, &[], "-m connmark {!}--mark {v}", &["0x1", "0x0/0xff", "0x4/0x4"]),
    ("addrtype", 2, &[], "-m addrtype {!}--src-type {v}", TYPES),
    ("addrtype", 2, &[], "-m addrtype {!}--dst-type {v}", TYPES),
    ("addrtype", 1, BEFORE, "-m addrtype {!}--dst-type {v} --limit-iface-in", TYPES),
    ("addrtype", 1, AFTER, "-m addrtype {!}--src-type {v} --limit-iface-out", TYPES),
    ("statistic", 4, &[], "-m statistic --mode nth {!}--every {v}", &[
        "2 --packet 0", "2 --packet 1", "3 --packet 0", "3 --packet 1", "4 --packet 3", "5 --packet 0",
    ]),
    // Other chances are no chances to compare.
    ("statistic", 1, &[], "-m statistic --mode random {!}--probability {v}", &["0", "1"]),
    ("recent", 3, &[], "-m recent {!}{v} --name l{n} --mask 255.255.255.255 --rsource", &[
        "--set", "--rcheck", "--update", "--remove", "--rcheck --hitcount 2",
        "--update --seconds 60 --hitcount 3", "--rcheck --seconds 60 --reap",
    ]),
    ("recent-rttl", 1, &[], "-m recent {!}--rcheck --seconds 60 --hitcount 2 --rttl --name l{n} --mask 255.255.255.255 --rsource", &[
        "",
    ]),
    ("recent", 1, &[], "-m recent {!}{v} --name d{n} --mask 255.255.255.0 --rdest", &[
        "--set", "--rcheck", "--update", "--remove",
    ]),
    ("comment", 1, &[], "-m comment --comment \"{v}\"", &["a comment, 'quoted'", "x"]),
    ("length", 1, &[], "-m length {!}--length {v}", &["40", "0:60", "41:1500"]),
    ("ttl", 1, &[], "-m ttl {v}", &["--ttl-eq 63", "--ttl-lt 64", "--ttl-gt 10", "--ttl-eq 64"]),
    ("iprange", 1, &[], "-m iprange {!}{v}", &[
        "--src-range 10.1.0.5-10.1.0.10", "--dst-range 10.0.0.0-10.2.0.15",
    ]),
    // So few that only the burst counts.
    ("limit", 1, &[], "-m limit --limit 1/hour --limit-burst {v}", &["1", "2", "5"]),
    ("tos", 1, &[], "-m tos {!}--tos {v}", &["0x10/0x3f", "0x00/0xff"]),
    ("dscp", 1, &[], "-m dscp {!}--dscp {v}", &["0x00", "0x04"]),
    ("pkttype", 1, &[], "-m pkttype {!}--pkt-type {v}", &["unicast", "broadcast"]),
    // So few that only the burst counts.
    ("hashlimit", 2, &[], "-m hashlimit {v} --hashlimit-name h{n}x{r}", HASHLIMITS),
    ("hashlimit", 1, &[], "-m hashlimit --hashlimit-upto 2/hour --hashlimit-burst 3 --hashlimit-mode srcip --hashlimit-name s{n}", &[
        "",
    ]),
    ("set", 3, &[], "-m set {!}--match-set {v}", SETS),
    ("set-counters", 1, &[], "-m set {!}--match-set {v}", COUNTED_SETS),
    ("set-nomatch", 1, &[], "-m set {!}--match-set {v} --return-nomatch", &[
        "net0 src", "net0 dst", "ip0 src", "nport0 src,src",
    ]),
    ("set-list", 1, &[], "-m set {!}--match-set {v}", &["list0 src", "list0 dst", "list0 src,dst"]),
    ("rpfilter", 2, &["PREROUTING"], "-m rpfilter {v}", &[
        "", "--loose", "--invert", "--validmark", "--accept-local", "--accept-local --invert", "--loose --invert",
    ]),
    ("quota", 1, &[], "-m quota {!}--quota {v}", &["100", "1000", "45"]),
    ("owner", 1, AFTER, "-m owner {!}{v}", &["--uid-owner 0", "--gid-owner 0-10", "--socket-exists"]),
    ("physdev", 1, &[], "-m physdev {!}{v}", &["--physdev-in in0", "--physdev-is-in", "--physdev-is-bridged"]),
    ("physdev", 1, &["FORWARD", "POSTROUTING"], "-m physdev {!}{v}", &["--physdev-out in0", "--physdev-is-out"]),
    ("mac", 1, RECEIVED, "-m mac {!}--mac-source {v}", &["02:00:00:00:01:ff", "02:00:00:00:02:ff"]),
];

#[rustfmt::skip]
const HASHLIMITS: &[&str] = &[
    "--hashlimit-upto 1/hour --hashlimit-burst 2 --hashlimit-mode srcip",
    "--hashlimit-above 1/hour --hashlimit-burst 1 --hashlimit-mode dstip",
    "--hashlimit-upto 3/day --hashlimit-burst 1 --hashlimit-mode srcip,dstip",
    "--hashlimit-above 2/hour --hashlimit-burst 3 --hashlimit-mode srcip,srcport,dstip,dstport",
    "--hashlimit-upto 1/hour --hashlimit-burst 2 --hashlimit-mode dstport",
    "--hashlimit-upto 4/day --hashlimit-burst 3 --hashlimit-mode srcip --hashlimit-srcmask 24",
    "--hashlimit-upto 1/day --hashlimit-burst 3 --hashlimit-mode dstip",
    "--hashlimit-above 3/day --hashlimit-burst 2 --hashlimit-mode srcip,dstip --hashlimit-srcmask 8 --hashlimit-dstmask 16",
    "--hashlimit-upto 1/hour --hashlimit-burst 4",
    "--hashlimit-above 1/hour --hashlimit-burst 4",
    "--hashlimit-upto 1/hour --hashlimit-burst 2 --hashlimit-mode srcip,dstip --hashlimit-htable-size 2 --hashlimit-htable-max 2",
];
/// Sets with the ends of a packet that they are asked for; [`crate::sets`] makes them.
#[rustfmt::skip]
const SETS: &[&str] = &[
    "ip0 src", "ip0 dst", "ip0 src,dst", "mask0 src", "net0 src", "net0 dst", "port0 src,dst", "port0 dst,dst",
    "port0 src,src", "port0 dst", "nport0 src,dst", "nport0 dst,dst", "three0 src,dst,dst", "three0 dst,dst,src",
    "ports0 dst", "ports0 src",
];
#[rustfmt::skip]
const COUNTED_SETS: &[&str] = &[
    "ip1 src", "ip1 dst", "net1 src", "net1 dst", "port1 src,dst", "net1 src ! --update-counters",
    "ip1 src --packets-gt 1", "net1 dst --packets-lt 3", "ip1 dst ! --packets-eq 2", "net1 src --bytes-gt 100",
    "port1 src,dst --packets-eq 1 --bytes-lt 50", "ip1 src --packets-gt 1 ! --update-counters",
];
/// What packets do to sets.
#[rustfmt::skip]
const SET_CHANGES: &[&str] = &[
    "--add-set ip0 src", "--del-set ip0 src", "--add-set ip1 dst --exist", "--add-set net0 src", "--add-set net1 dst",
    "--del-set net0 dst", "--add-set port0 src,dst --exist", "--del-set port0 dst,dst", "--add-set mask0 dst",
    "--add-set ip0 src --del-set ip1 dst", "--add-set three0 src,dst,dst", "--add-set nport0 src,dst",
    "--add-set ports0 dst", "--add-set list0 src", "--del-set list0 dst", "--add-set port1 src,dst --exist",
];

/// Targets of every table.
#[rustfmt::skip]
const TARGETS_OF_ALL: &[Phrase] = &[
    ("LOG", 1, &[], "-j LOG {v}", &["", "--log-prefix \"a b \"", "--log-level 7 --log-ip-options"]),
    ("NFLOG", 1, &[], "-j NFLOG {v}", &["--nflog-group 3", "--nflog-prefix x --nflog-threshold 2"]),
    ("SET", 2, &[], "-j SET {v}", SET_CHANGES),
];

/// Targets by table; those of `nat` that have addresses are made in [`Generator::nat_target`].
#[rustfmt::skip]
const TARGETS: &[(TableName, Phrase)] = &[
    (TableName::Raw, ("CT", 1, &[], "-j CT --notrack", &[""])),
    (TableName::Raw, ("TRACE", 1, &["PREROUTING", "OUTPUT"], "-j TRACE", &[""])),
    (TableName::Raw, ("MARK", 1, &[], "-j MARK {v}", MARKS)),
    (TableName::Mangle, ("MARK", 3, &[], "-j MARK {v}", MARKS)),
    (TableName::Mangle, ("CONNMARK", 1, &[], "-j CONNMARK {v}", &[
        "--set-xmark 0x4/0x4", "--save-mark --nfmask 0xff --ctmask 0xff",
        "--restore-mark --nfmask 0xffff --ctmask 0xffff",
    ])),
    (TableName::Mangle, ("CHECKSUM", 1, &[], "-j CHECKSUM --checksum-fill", &[""])),
    (TableName::Mangle, ("TTL", 1, &[], "-j TTL {v}", &["--ttl-set 10", "--ttl-inc 3", "--ttl-dec 1"])),
    (TableName::Mangle, ("TOS", 1, &[], "-j TOS {v}", &["--set-tos 0x10/0x3f", "--set-tos 0x08/0xff"])),
    (TableName::Mangle, ("DSCP", 1, &[], "-j DSCP --set-dscp {v}", &["0x04"])),
    (TableName::Nat, ("MARK", 1, &[], "-j MARK {v}", MARKS)),
    (TableName::Filter, ("MARK", 1, &[], "-j MARK {v}", MARKS)),
    (TableName::Filter, ("REJECT", 3, &[], "-j REJECT --reject-with {v}", &[
        "icmp-net-unreachable", "icmp-host-unreachable", "icmp-port-unreachable", "icmp-proto-unreachable",
        "icmp-net-prohibited", "icmp-host-prohibited", "icmp-admin-prohibited",
    ])),
];
#[rustfmt::skip]
const MARKS: &[&str] = &[
    "--set-xmark 0x4000/0x4000", "--set-xmark 0x1/0xffffffff", "--set-xmark 0x2/0x0", "--set-xmark 0x0/0x1",
    "--set-mark 0x3/0x7",
];
/// Targets that ask for TCP.
#[rustfmt::skip]
const TCP_TARGETS: &[(TableName, Phrase)] = &[
    (TableName::Filter, ("reject-reset", 1, &[], "-j REJECT --reject-with tcp-reset", &[""])),
    (TableName::Mangle, ("TCPMSS", 1, &[], "-m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss {v}", &[
        "1000",
    ])),
];

/// Matches and targets that ask about connections.
const STATEFUL: [&str; 6] =
    ["conntrack-state", "conntrack-dir", "conntrack-more", "state", "connmark", "CONNMARK"];

/// A rule in the making.
#[derive(Default)]
struct Draft {
    words: Vec<String>,
    features: Vec<&'static str>,
}

impl Draft {
    fn add(&mut self, (feature, text): (&'static str, String)) {
        self.words.push(text);
        self.features.push(feature);
    }
}

impl Generator<'_> {
    /// A rule for a chain.
    pub(crate) fn rule(&mut self, table: TableName, chain: &str) -> Rule {
        loop {
            let draft = self.draft(table, chain);
            let text = draft.words.join(" ");
            let parsed = parse_rule(&split(&text));
            for feature in draft.features {
                let (made, refused, why) = self.used.entry(feature).or_default();
                *made += 1;
                if let Err(error) = &parsed {
                    *refused += 1;
                    *why = error.to_string();
                }
            }
            if parsed.is_ok() || self.is_ahead {
                return Rule { table, chain: chain.to_string(), text };
            }
        }
    }

    fn draft(&mut self, table: TableName, chain: &str) -> Draft {
        let mut draft = Draft::default();
        let protocol = self.header(table, chain, &mut draft);
        let of_protocol: Vec<Phrase> = PROTOCOL_MATCHES
            .iter()
            .filter(|(p, _)| *p == protocol)
            .map(|(_, phrase)| *phrase)
            .collect();
        if self.chance(60)
            && let Some(phrase) = self.phrase(&of_protocol, table, chain)
        {
            draft.add(phrase);
        }
        for _ in 0..self.below(3) {
            if let Some((feature, text)) = self.phrase(MATCHES, table, chain)
                && !draft.features.contains(&feature)
            {
                draft.add((feature, text));
            }
        }
        self.target(table, chain, protocol, &mut draft);
        draft
    }

    /// Addresses, interfaces and protocol. The protocol's name, if it is one that matches can ask for.
    fn header(&mut self, table: TableName, chain: &str, draft: &mut Draft) -> &'static str {
        for option in ["-s", "-d"] {
            if self.chance(20) {
                let (bang, net) = (self.bang(), self.one(NETS));
                draft.words.push(format!("{bang}{option} {net}"));
            }
        }
        let is_user = is_user(chain);
        let is_after = chain.starts_with('S') || table == TableName::Mangle;
        let may_have_in = is_user && (!is_after || self.may("in-of-postrouting"));
        for (option, may_have) in [
            ("-i", may_have_in || RECEIVED.contains(&chain)),
            ("-o", is_user || matches!(chain, "FORWARD" | "OUTPUT" | "POSTROUTING")),
        ] {
            if may_have && self.chance(20) {
                let (bang, cable) = (self.bang(), self.one(CABLES));
                draft.words.push(format!("{bang}{option} {cable}"));
            }
        }
        let protocol = self.one(&["", "", "tcp", "tcp", "udp", "icmp", "sctp", "253"]);
        let bang = if self.chance(8) { "! " } else { "" };
        if !protocol.is_empty() {
            draft.words.push(format!("{bang}-p {protocol}"));
        }
        if bang.is_empty() { protocol } else { "" }
    }

    /// One of the phrases that may stand in this chain, by their weights.
    fn phrase(
        &mut self,
        phrases: &[Phrase],
        table: TableName,
        chain: &str,
    ) -> Option<(&'static str, String)> {
        let sees_own = self.only_others(table, chain);
        let sees_own_tos =
            !self.may("own-header") && (table == TableName::Raw || AFTER.contains(&chain));
        let fits = |(feature, _, chains, ..): &&Phrase| {
            (chains.is_empty() || chains.contains(&chain))
                && self.may(feature)
                && (*feature != "rpfilter" || table != TableName::Nat)
                && !(sees_own_tos && ["tos", "dscp"].contains(feature))
                && !(sees_own && (STATEFUL.contains(feature) || *feature == "REJECT"))
        };
        let fitting: Vec<Phrase> = phrases.iter().filter(fits).copied().collect();
        let total: u32 = fitting.iter().map(|phrase| phrase.1).sum();
        let mut at = self.below(total);
        let (feature, _, _, text, values) = fitting.into_iter().find(|(_, weight, ..)| {
            let is_it = at < *weight;
            at = at.saturating_sub(*weight);
            is_it
        })?;
        let (bang, value, number) = (self.bang(), self.one(values), self.serial.to_string());
        self.phrases += 1;
        let text = text.replace("{!}", bang).replace("{v}", value).replace("{n}", &number);
        let text = text.replace("{r}", &self.phrases.to_string());
        Some((feature, text.trim_end().to_string()))
    }

    fn target(&mut self, table: TableName, chain: &str, protocol: &str, draft: &mut Draft) {
        if self.chance(45) {
            let of_tcp = if protocol == "tcp" { TCP_TARGETS } else { &[] };
            let of_table = TARGETS.iter().chain(of_tcp).filter(|(t, _)| *t == table);
            let of_table = of_table.map(|(_, phrase)| *phrase);
            let phrases: Vec<Phrase> = of_table.chain(TARGETS_OF_ALL.iter().copied()).collect();
            let special = match table {
                TableName::Nat if self.chance(80) => {
                    self.nat_target(chain, protocol).filter(|(feature, _)| self.may(feature))
                }
                _ => self.phrase(&phrases, table, chain),
            };
            if let Some(special) = special {
                return draft.add(special);
            }
        }
        let plain = match self.below(10) {
            0..=3 => self.jump(table, chain).unwrap_or_default(),
            4..=5 => "-j ACCEPT".to_string(),
            6 if table != TableName::Nat => "-j DROP".to_string(),
            7 => "-j RETURN".to_string(),
            _ => String::new(),
        };
        draft.words.extend((!plain.is_empty()).then_some(plain));
    }

    /// To a later user chain of the same table and, in `nat`, the same end.
    fn jump(&mut self, table: TableName, chain: &str) -> Option<String> {
        if table != TableName::Nat && self.only_others(table, chain) {
            return None;
        }
        let (_, user) = USER_CHAINS.into_iter().find(|(t, _)| *t == table)?;
        let end = match chain {
            _ if table != TableName::Nat => "",
            "PREROUTING" | "OUTPUT" => "D",
            "POSTROUTING" => "S",
            "INPUT" => return None,
            user => user.get(..1)?,
        };
        let fits = |to: &&&str| to.starts_with(end) && (!is_user(chain) || **to > chain);
        let later: Vec<&str> = user.iter().filter(fits).copied().collect();
        let to = *later.get(self.below(later.len() as u32) as usize)?;
        let goto = self.may("goto") && self.chance(25);
        Some(format!("-{} {to}", if goto { "g" } else { "j" }))
    }

    /// Translation to an address of the town.
    fn nat_target(&mut self, chain: &str, protocol: &str) -> Option<(&'static str, String)> {
        let has_ports = matches!(protocol, "tcp" | "udp" | "sctp");
        let port = self.one(PORTS);
        let (port, to_ports) = match has_ports && self.chance(50) {
            true => (format!(":{port}"), format!(" --to-ports {port}")),
            false => (String::new(), String::new()),
        };
        let may_be_echo = !matches!(protocol, "tcp" | "udp") && !self.may("echo-to-router");
        let (_, host) = self.one(&HOSTS);
        let own = self.one(&OWN);
        let source = self.one(&["192.0.2.1", "203.0.113.9", "10.2.0.9"]);
        Some(match (chain, self.below(8)) {
            ("PREROUTING" | "OUTPUT" | "D0" | "D1", 4..=5) if may_be_echo => return None,
            ("PREROUTING" | "OUTPUT" | "D0" | "D1", 0..=3) => {
                ("DNAT", format!("-j DNAT --to-destination {host}{port}"))
            }
            ("PREROUTING" | "OUTPUT" | "D0" | "D1", 4) => {
                ("DNAT", format!("-j DNAT --to-destination {own}{port}"))
            }
            ("PREROUTING" | "OUTPUT" | "D0" | "D1", 5) => {
                ("REDIRECT", format!("-j REDIRECT{to_ports}"))
            }
            ("PREROUTING" | "D0", 6) => ("NETMAP", "-j NETMAP --to 10.2.0.0/24".to_string()),
            ("POSTROUTING" | "S0" | "S1", 0..=2) => {
                ("MASQUERADE", format!("-j MASQUERADE{to_ports}"))
            }
            ("POSTROUTING" | "S0" | "S1", 3..=5) => {
                ("SNAT", format!("-j SNAT --to-source {source}{port}"))
            }
            ("INPUT", 0..=2) => ("SNAT", format!("-j SNAT --to-source 10.9.0.77{port}")),
            _ => return None,
        })
    }

    /// Rules of this chain must not ask about connections: it sees what the router makes itself.
    fn only_others(&self, table: TableName, chain: &str) -> bool {
        let sees_own = table == TableName::Raw || AFTER.contains(&chain);
        sees_own && !self.may("own-state")
    }
}

fn is_user(chain: &str) -> bool {
    USER_CHAINS.iter().any(|(_, user)| user.contains(&chain))
}

/// Words, as a shell would split them where `"` is the only quote.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in text.split('"').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_string)),
            _ => words.push(part.to_string()),
        }
    }
    words
}
