//! Sets made by chance: those that the rules of a case ask for.

use crate::case::Case;
use crate::generate::Generator;
use crate::town::{HOSTS, OWN, VIRTUAL};

/// Names, and what they are made as.
const SETS: [(&str, &str); 11] = [
    ("ip0", "hash:ip"),
    ("ip1", "hash:ip counters"),
    ("mask0", "hash:ip netmask 24"),
    ("net0", "hash:net"),
    ("net1", "hash:net counters"),
    ("port0", "hash:ip,port"),
    ("port1", "hash:ip,port counters"),
    ("nport0", "hash:net,port"),
    ("three0", "hash:ip,port,ip"),
    ("ports0", "bitmap:port range 0-65535"),
    ("list0", "list:set size 8"),
];
/// Sets that the list of sets is made of.
const MEMBERS: [&str; 3] = ["net1", "ip0", "port0"];
const NETS: [&str; 7] = [
    "10.0.0.0/8",
    "10.1.0.0/24",
    "10.1.0.10",
    "192.0.2.0/24",
    "10.2.0.0/28",
    "10.96.0.0/16",
    "192.0.0.0/4",
];
const PORTS: [&str; 9] = [
    "tcp:80",
    "tcp:443",
    "udp:53",
    "tcp:40000",
    "icmp:8/0",
    "icmp:0/0",
    "sctp:5000",
    "253:0",
    "udp:40000-40002",
];

impl Generator<'_> {
    /// Makes the sets that the rules name.
    pub(crate) fn sets(&mut self, case: &mut Case) {
        let names = |name: &str| {
            let word = format!("-set {name} ");
            case.rules.iter().any(|rule| rule.text.contains(&word))
        };
        let is_listed = names("list0");
        let wanted: Vec<(&str, &str)> = SETS
            .into_iter()
            .filter(|(name, _)| names(name) || (is_listed && MEMBERS.contains(name)))
            .collect();
        for (name, kind) in wanted {
            case.sets.push(format!("create {name} {kind}"));
            if name == "list0" {
                case.sets.extend(MEMBERS.map(|member| format!("add list0 {member}")));
                continue;
            }
            for _ in 0..self.below(6) {
                let element = self.element(kind);
                let line = format!("add {name} {element}");
                if !case.sets.contains(&line) {
                    case.sets.push(line);
                }
            }
        }
    }

    fn host(&mut self) -> String {
        let addr = match self.below(4) {
            0 => self.one(&OWN),
            1 => self.one(&VIRTUAL),
            _ => self.one(&HOSTS).1,
        };
        addr.to_string()
    }

    fn element(&mut self, kind: &str) -> String {
        let (net, port) = (self.one(&NETS), self.one(&PORTS));
        let but = if self.may("set-nomatch") && self.chance(25) { " nomatch" } else { "" };
        match kind.split(' ').next() {
            Some("hash:net") => format!("{net}{but}"),
            Some("hash:ip,port") => format!("{},{port}", self.host()),
            Some("hash:net,port") => format!("{net},{port}{but}"),
            Some("hash:ip,port,ip") => format!("{},{port},{}", self.host(), self.host()),
            Some("bitmap:port") => self.one(&["80", "443", "53", "40000-40002"]).to_string(),
            _ => self.host(),
        }
    }
}
