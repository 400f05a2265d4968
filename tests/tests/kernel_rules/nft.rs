//! Rules of nftables made by chance: a table of base chains at all hooks, with sets, maps and verdict maps.

use base::Rng;

/// Behind this line of a ruleset stands what `nft -f` takes.
pub(crate) const MARK: &str = "#nft\n";

/// The table that they stand in.
pub(crate) const TABLE: [&str; 3] = ["table", "ip", "t"];

/// The chains of one kind: they may lead to those of their own that come later.
struct Place {
    chain: &'static str,
    /// `type` and `hook`; empty for one that is only led to.
    base: &'static str,
    /// What it may be asked at. None is that of a table of iptables.
    priorities: &'static [i32],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Lets pass or not; may answer.
    Filter,
    /// The same on the way out, where nothing is answered.
    Last,
    /// Translates destinations.
    Destination,
    /// Translates sources.
    Source,
    /// The same, where it may be masqueraded.
    Leaving,
}

const fn base(
    chain: &'static str,
    base: &'static str,
    priorities: &'static [i32],
    kind: Kind,
) -> Place {
    Place { chain, base, priorities, kind }
}

const PLACES: [Place; 14] = [
    // Answers before routing come from another address in the kernel.
    base("pre", "filter hook prerouting", &[-310, -160, -110, -90], Kind::Last),
    base("input", "filter hook input", &[-160, -110, 10, 110], Kind::Filter),
    base("forward", "filter hook forward", &[-160, -110, 10], Kind::Filter),
    base("output", "filter hook output", &[-310, -110, 10], Kind::Filter),
    base("post", "filter hook postrouting", &[-160, 90, 110], Kind::Last),
    base("npre", "nat hook prerouting", &[-110, -90], Kind::Destination),
    base("nout", "nat hook output", &[-110, -90], Kind::Destination),
    base("nin", "nat hook input", &[90, 110], Kind::Source),
    base("npost", "nat hook postrouting", &[90, 110], Kind::Leaving),
    base("f0", "", &[], Kind::Filter),
    base("f1", "", &[], Kind::Filter),
    base("l0", "", &[], Kind::Last),
    base("d0", "", &[], Kind::Destination),
    base("s0", "", &[], Kind::Leaving),
];

const ADDRS: [&str; 9] = [
    "10.1.0.10",
    "10.1.0.11",
    "192.0.2.10",
    "198.51.100.7",
    "10.2.0.10",
    "10.2.0.20",
    "10.9.0.5",
    "10.96.0.1",
    "192.0.2.1",
];
const TARGETS: [&str; 5] = ["10.1.0.10", "10.2.0.10", "10.2.0.20", "192.0.2.10", "10.9.0.5"];
const NETS: [&str; 4] = ["10.0.0.0/8", "10.1.0.0/24", "192.0.2.0/24", "10.2.0.8/29"];
const PORTS: [&str; 6] = ["80", "443", "53", "8080", "5000", "22"];

/// Sets and maps, and what is in them.
const SETS: &str = "\
add set ip t addrs { type ipv4_addr; elements = { 10.1.0.10, 192.0.2.10, 10.96.0.1 }; }
add set ip t nets { type ipv4_addr; flags interval; elements = { 10.1.0.0/28, 192.0.2.8-192.0.2.10, 198.51.100.0/24 }; }
add set ip t pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 50-90, 192.0.2.1 . 443 }; }
add set ip t seen { type ipv4_addr; flags dynamic,timeout; timeout 1h; }
add set ip t many { type ipv4_addr . ipv4_addr; flags dynamic,timeout; timeout 1h; counter; }
add map ip t marks { type ipv4_addr : mark; elements = { 10.1.0.10 : 0x10, 10.1.0.11 : 0x20, 192.0.2.10 : 0x4000 }; }
add map ip t targets { type inet_service : ipv4_addr . inet_service; elements = { 80 : 10.2.0.10 . 8080, 443 : 10.2.0.20 . 443 }; }
add map ip t hosts { type ipv4_addr : ipv4_addr; elements = { 10.96.0.1 : 10.2.0.10, 10.96.0.10 : 10.9.0.5 }; }
add map ip t ways { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.2.0.10 . tcp . 80 : goto f0, 192.0.2.10 . udp . 53 : drop, 10.96.0.1 . tcp . 443 : jump f1 }; }
add map ip t services { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.96.0.1 . tcp . 80 : goto d0, 10.96.0.1 . udp . 53 : goto d0, 192.0.2.1 . tcp . 8080 : jump d0 }; }
add counter ip t named
";

struct Maker<'a>(&'a mut Rng);

/// The lines of a ruleset.
pub(crate) fn lines(rng: &mut Rng) -> Vec<String> {
    let mut maker = Maker(rng);
    let mut lines = vec!["add table ip t".to_string()];
    let mut used = Vec::new();
    for place in &PLACES {
        if place.base.is_empty() {
            lines.push(format!("add chain ip t {}", place.chain));
            used.push(place);
        } else if maker.below(3) > 0 {
            let priority = maker.one(place.priorities);
            let drops = place.kind == Kind::Filter && maker.below(12) == 0;
            let policy = if drops { " policy drop;" } else { "" };
            let (chain, base) = (place.chain, place.base);
            lines.push(format!(
                "add chain ip t {chain} {{ type {base} priority {priority};{policy} }}"
            ));
            used.push(place);
        }
    }
    lines.extend(SETS.lines().map(String::from));
    for place in used {
        for _ in 0..maker.one(&[1, 2, 3, 5]) {
            let rule = maker.rule(place);
            lines.push(format!("add rule ip t {} {rule}", place.chain));
        }
    }
    lines
}

impl Maker<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        self.0.below(bound)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.below(of.len() as u32) as usize]
    }

    fn rule(&mut self, place: &Place) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut protocol = None;
        for _ in 0..self.one(&[0, 1, 1, 2, 3]) {
            let part = self.condition(place, &mut protocol);
            parts.push(part);
        }
        if self.below(3) == 0 {
            parts.push("counter".to_string());
        }
        let part = self.statement(place, protocol);
        parts.push(part);
        parts.join(" ")
    }

    fn ports(&mut self) -> String {
        match self.below(4) {
            0 => format!("!= {}", self.one(&PORTS)),
            1 => "{ 53, 80, 443 }".to_string(),
            2 => "50-100".to_string(),
            _ => self.one(&PORTS).to_string(),
        }
    }

    fn addrs(&mut self) -> String {
        let not = self.one(&["", "", "!= "]);
        let of = match self.below(6) {
            0 => "@addrs".to_string(),
            1 => "@nets".to_string(),
            2 => self.one(&NETS).to_string(),
            3 => format!("{{ {}, 10.2.0.0/24 }}", self.one(&["10.1.0.10", "192.0.2.11"])),
            4 => "10.1.0.5-10.2.0.10".to_string(),
            _ => self.one(&ADDRS).to_string(),
        };
        format!("{not}{of}")
    }

    fn condition(&mut self, place: &Place, protocol: &mut Option<&'static str>) -> String {
        match self.below(22) {
            0..=2 => format!("ip saddr {}", self.addrs()),
            3..=5 => format!("ip daddr {}", self.addrs()),
            6..=8 if protocol.is_none() => {
                let known = *protocol.get_or_insert(["tcp", "udp", "sctp"][self.below(3) as usize]);
                let end = self.one(&["sport", "dport", "dport"]);
                format!("{known} {end} {}", self.ports())
            }
            9 if protocol.is_none() => {
                *protocol = Some("either");
                "meta l4proto { tcp, udp }".to_string()
            }
            10 if protocol.is_none() => {
                *protocol = Some("either");
                format!("th dport {}", self.ports())
            }
            11 => {
                let states = [
                    "new",
                    "established",
                    "established,related",
                    "invalid",
                    "!= new",
                    "{ new, related }",
                ];
                format!("ct state {}", self.one(&states))
            }
            12 => self
                .one(&[
                    "meta mark 0x10",
                    "meta mark & 0x4000 == 0x4000",
                    "meta mark != 0",
                    "meta mark & 0x30 != 0",
                ])
                .to_string(),
            13 => format!(
                "iifname {}",
                self.one(&["\"in0\"", "!= \"ext0\"", "{ \"in0\", \"dmz0\" }", "\"d*\""])
            ),
            14 => {
                format!("oifname {}", self.one(&["\"in0\"", "!= \"ext0\"", "\"d*\"", "\"dmz0\""]))
            }
            15 => {
                let kinds = [
                    "fib daddr type local",
                    "fib saddr type != local",
                    "fib daddr type { local, unicast }",
                ];
                self.one(&kinds).to_string()
            }
            16 if protocol.is_none() => {
                *protocol = Some("icmp");
                self.one(&[
                    "icmp type echo-request",
                    "icmp type != echo-request",
                    "icmp type { echo-reply, destination-unreachable }",
                ])
                .to_string()
            }
            17 => self
                .one(&[
                    "ip ttl != 64",
                    "ip ttl 64",
                    "ip length > 40",
                    "ip length 20-60",
                    "ip dscp cs1",
                    "ip version 4",
                ])
                .to_string(),
            18 if protocol.is_none_or(|known| known == "tcp") => {
                *protocol = Some("tcp");
                self.one(&[
                    "tcp flags syn",
                    "tcp flags syn / fin,syn,rst,ack",
                    "tcp flags != syn",
                    "tcp flags & (syn | ack) == ack",
                ])
                .to_string()
            }
            19 => self
                .one(&[
                    "ct direction original",
                    "ct direction reply",
                    "ct status dnat",
                    "ct status snat,dnat",
                    "ct original ip daddr @addrs",
                    "ct reply ip saddr 10.2.0.10",
                    "ct mark 0x10",
                ])
                .to_string(),
            20 => self
                .one(&["numgen inc mod 2 0", "numgen inc mod 3 offset 1 2", "numgen inc mod 3 < 2"])
                .to_string(),
            _ => {
                let _ = place;
                self.one(&[
                    "ip daddr . th dport @pairs",
                    "ip saddr . ip daddr != { 10.1.0.10 . 10.2.0.10 }",
                    "meta l4proto . th dport { tcp . 80, udp . 53 }",
                    "meta pkttype host",
                ])
                .to_string()
            }
        }
    }

    /// What is done: at the end of a rule.
    fn statement(&mut self, place: &Place, protocol: Option<&'static str>) -> String {
        match self.below(12) {
            0..=1 => "counter".to_string(),
            2 => self
                .one(&[
                    "meta mark set 0x10",
                    "meta mark set meta mark | 0x4000",
                    "meta mark set meta mark ^ 0x30",
                    "meta mark set ip saddr map @marks",
                    "ct mark set meta mark",
                    "meta mark set ct mark",
                    "ct mark set 0x10",
                ])
                .to_string(),
            3 => self
                .one(&[
                    "update @seen { ip saddr }",
                    "add @seen { ip daddr } counter",
                    "update @many { ip saddr . ip daddr }",
                    "delete @seen { ip saddr }",
                ])
                .to_string(),
            4 => "counter name \"named\"".to_string(),
            5 => self.one(&["return", "continue", "accept"]).to_string(),
            _ => self.deed(place, protocol),
        }
    }

    fn deed(&mut self, place: &Place, protocol: Option<&'static str>) -> String {
        let has_ports = protocol.is_some_and(|known| !matches!(known, "icmp" | "either"));
        let leads = place.base.len() > 1;
        match place.kind {
            Kind::Filter if leads => match self.below(7) {
                0 => "ip daddr . meta l4proto . th dport vmap @ways".to_string(),
                1 => format!("jump {}", self.one(&["f0", "f1"])),
                2 => "goto f1".to_string(),
                3 => "numgen inc mod 3 vmap { 0 : jump f0, 1 : continue, 2 : goto f1 }".to_string(),
                4 => format!(
                    "ip saddr vmap {{ {} : jump f0, 192.0.2.0/28 : return }}",
                    self.one(&["10.1.0.10", "10.2.0.0/24"])
                ),
                _ => self.filtered(protocol),
            },
            Kind::Filter => self.filtered(protocol),
            Kind::Last if leads => self.one(&["jump l0", "counter drop", "accept"]).to_string(),
            Kind::Last => self.one(&["drop", "accept", "return"]).to_string(),
            Kind::Destination => match self.below(7) {
                0 if leads => "ip daddr . meta l4proto . th dport vmap @services".to_string(),
                1 if leads => "numgen inc mod 2 vmap { 0 : goto d0, 1 : return }".to_string(),
                2 => "dnat to ip daddr map @hosts".to_string(),
                3 if has_ports => format!("dnat to {}:{}", self.one(&TARGETS), self.one(&PORTS)),
                4 if has_ports => format!("redirect to :{}", self.one(&PORTS)),
                5 if protocol == Some("tcp") => "dnat ip to tcp dport map @targets".to_string(),
                _ => format!("dnat to {}", self.one(&TARGETS)),
            },
            Kind::Source => "snat to 192.0.2.200".to_string(),
            Kind::Leaving => match self.below(5) {
                0 if leads => "jump s0".to_string(),
                1 => "snat to 192.0.2.200".to_string(),
                2 => "snat to 192.0.2.200-192.0.2.205".to_string(),
                3 => "masquerade fully-random".to_string(),
                _ => "masquerade".to_string(),
            },
        }
    }

    fn filtered(&mut self, protocol: Option<&'static str>) -> String {
        match protocol {
            Some("tcp") if self.below(3) == 0 => "reject with tcp reset".to_string(),
            _ => self
                .one(&[
                    "drop",
                    "accept",
                    "reject",
                    "reject with icmp host-prohibited",
                    "return",
                    "counter",
                ])
                .to_string(),
        }
    }
}

/// What a table is like in the end, line by line, without what is a matter of time.
pub(crate) fn told(list: &str) -> Vec<String> {
    let without_time = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let mut kept = Vec::new();
        let mut at = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            if *word == "expires" {
                at += 1;
                continue;
            }
            kept.push(*word);
        }
        kept.join(" ")
    };
    list.lines().map(without_time).collect()
}
