//! The two worlds: the kernel's and ours, behind one door.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use base::Duration;
use netfilter::ipset::command::ipset;
use netfilter::nft::command::{list_ruleset, load};
use netfilter::nft::value::Style;
use netfilter::text::command::Output;
use netfilter::text::{RestoreOptions, restore, save};
use netsim::{Cause, Cidr, IfId, LinkConfig, NsId, Route, Sim, StepKind, TraceMode};
use packet::{Arp, Body, Frame, Mac, Packet};
use serde_json::json;
use tests::kernel::{self, Agent, Namespaces};

use crate::nft;
use crate::town::{CABLES, ROUTES};

/// A router with the cables of [`crate::town`].
pub(crate) trait World {
    /// Forgets all connections, and takes lines of `ipset restore` and a ruleset.
    fn load(&mut self, sets: &[String], ruleset: &str) -> Result<(), String>;
    /// Puts a packet on a cable; what the router sends because of it.
    fn send(&mut self, cable: &str, packet: &[u8]) -> Vec<(String, Vec<u8>)>;
    /// What `iptables-save -c` prints.
    fn save(&mut self) -> String;
    /// What `conntrack -L` prints.
    fn connections(&mut self) -> String;
    /// What `ipset save` prints.
    fn sets(&mut self) -> String;
}

/// The real one: a namespace that routes, and one at the other end of its cables.
pub(crate) struct Kernel {
    router: String,
    agent: Agent,
    /// Rulesets taken so far.
    loads: u32,
    /// Name and making of all sets there are: one that a rule has asked for cannot be had away at once, and is
    /// used again.
    made: Vec<(String, String)>,
    /// Of those, the sets of the ruleset at hand.
    used: Vec<usize>,
    /// Packets and bytes of connections are counted.
    counts: bool,
    /// Between two packets the kernel's clock has to tick: `connlimit` counts a connection again that comes twice
    /// within a tick, and those that are over.
    waits: bool,
    /// There is a table of nftables.
    has_nft: bool,
    // Last, so that the agent has ended when its namespace goes.
    _namespaces: Namespaces,
}

/// Every refused packet is answered, in both worlds.
const ICMP_UNLIMITED: [(&str, &str); 3] = [
    ("net.ipv4.icmp_ratelimit", "0"),
    ("net.ipv4.icmp_msgs_per_sec", "1000000"),
    ("net.ipv4.icmp_msgs_burst", "100000"),
];

impl Kernel {
    /// `is_liberal`: a TCP segment outside of the window is valid all the same, unless it is a reset.
    pub(crate) fn new(is_liberal: bool) -> Kernel {
        let mut namespaces = Namespaces::new();
        let (router, outside) = (namespaces.add("router"), namespaces.add("outside"));
        let settings = [
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.conf.default.rp_filter=0",
            "net.ipv4.conf.all.send_redirects=0",
            "net.ipv4.conf.default.send_redirects=0",
        ];
        kernel::sysctl(&router, &settings).unwrap();
        let unlimited = ICMP_UNLIMITED.map(|(name, value)| format!("{name}={value}"));
        kernel::sysctl(&router, &unlimited.each_ref().map(String::as_str)).unwrap();
        let liberal = format!("net.netfilter.nf_conntrack_tcp_be_liberal={}", u8::from(is_liberal));
        kernel::sysctl(&router, &[&liberal]).unwrap();
        let mut lines = String::new();
        for cable in &CABLES {
            let name = cable.name;
            lines += &format!(
                "link add {name} address {} type veth peer name {name} netns {outside}\nlink set {name} up\n",
                cable.mac
            );
            for addr in cable.addrs {
                lines += &format!("addr add {addr} brd + dev {name}\n");
            }
            for station in cable.stations {
                let mac = cable.station_mac;
                lines += &format!("neigh add {station} lladdr {mac} nud permanent dev {name}\n");
            }
        }
        kernel::ip(&router, &lines).unwrap();
        let up: String = CABLES.iter().map(|c| format!("link set {} up\n", c.name)).collect();
        kernel::ip(&outside, &up).unwrap();
        for (dst, via, dev) in ROUTES {
            kernel::ip(&router, &format!("route add {dst} via {via} dev {dev}\n")).unwrap();
        }
        let names: Vec<&str> = CABLES.iter().map(|cable| cable.name).collect();
        let offload = json!({ "offload": names }).to_string();
        kernel::script(&router, "raw.py", &offload).unwrap();
        kernel::script(&outside, "raw.py", &offload).unwrap();
        let ifaces: BTreeMap<&str, _> = CABLES
            .iter()
            .map(|cable| {
                let router_ip = cable.addrs[0].split('/').next();
                let conf = json!({
                    "router_mac": cable.mac, "router_ip": router_ip,
                    "mac": cable.station_mac, "ip": cable.stations.last(),
                });
                (cable.name, conf)
            })
            .collect();
        let agent =
            Agent::start(Some(&outside), "raw.py", &json!({ "ifaces": ifaces }).to_string());
        Kernel {
            router,
            agent,
            loads: 0,
            made: Vec::new(),
            used: Vec::new(),
            counts: false,
            waits: false,
            has_nft: false,
            _namespaces: namespaces,
        }
    }
}

impl Kernel {
    /// Makes the sets, and says what the ruleset that asks for them is here.
    fn load_sets(&mut self, sets: &[String], ruleset: &str) -> Result<String, String> {
        let (mut input, mut ruleset) = (String::new(), ruleset.to_string());
        let mut names: Vec<(String, String)> = Vec::new();
        self.used.clear();
        for line in sets {
            let words: Vec<&str> = line.split(' ').collect();
            let (what, name, rest) = (words[0], words[1], words[2..].join(" "));
            if what == "create" {
                let made = (name.to_string(), rest.clone());
                let at = self.made.iter().position(|known| *known == made).unwrap_or_else(|| {
                    self.made.push(made);
                    self.made.len() - 1
                });
                self.used.push(at);
                let own = format!("{name}.{at}");
                input += &format!("create {own} {rest} -exist\nflush {own}\n");
                ruleset = ruleset.replace(&format!("-set {name} "), &format!("-set {own} "));
                names.push((name.to_string(), own));
            } else {
                let own = |word: &str| {
                    let found = names.iter().find(|(name, _)| name == word);
                    found.map_or(word, |(_, own)| own).to_string()
                };
                let words: Vec<String> = words[1..].iter().map(|word| own(word)).collect();
                input += &format!("add {} -exist\n", words.join(" "));
            }
        }
        if !sets.is_empty() {
            kernel::inside(&self.router, "ipset", &["restore"], &input)?;
        }
        Ok(ruleset)
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len() / 2).map(|n| byte(n * 2)).collect()
}

impl World for Kernel {
    fn load(&mut self, sets: &[String], ruleset: &str) -> Result<(), String> {
        self.loads += 1;
        let (ruleset, nft) = ruleset.split_once(nft::MARK).unwrap_or((ruleset, ""));
        if self.has_nft {
            let table = [&["delete"][..], &nft::TABLE].concat();
            kernel::inside(&self.router, "nft", &table, "")?;
            self.has_nft = false;
        }
        let mut ruleset = self.load_sets(sets, ruleset)?;
        self.waits = ruleset.contains("connlimit");
        // What `recent` and `hashlimit` remember outlives a ruleset whose successor has something of the same
        // name.
        for option in ["--name ", "--hashlimit-name "] {
            ruleset = ruleset.replace(option, &format!("{option}k{}", self.loads));
        }
        kernel::restore(&self.router, &ruleset)?;
        if !nft.is_empty() {
            kernel::inside(&self.router, "nft", &["-f", "-"], nft)?;
            self.has_nft = true;
        }
        // A rule that asks how much connections carry has it counted from then on.
        let counts = u8::from(ruleset.contains("connbytes"));
        if self.counts != (counts == 1) {
            let setting = format!("net.netfilter.nf_conntrack_acct={counts}");
            kernel::sysctl(&self.router, &[&setting])?;
            self.counts = counts == 1;
        }
        kernel::inside(&self.router, "conntrack", &["-F"], "").map(drop)
    }

    fn send(&mut self, cable: &str, packet: &[u8]) -> Vec<(String, Vec<u8>)> {
        let hex: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
        let pause = if self.waits { " 0.009" } else { "" };
        let answer = self.agent.ask(&format!("{cable} {hex}{pause}"));
        assert!(!answer.starts_with('-'), "{answer}");
        let words: Vec<&str> = answer.split_whitespace().collect();
        words.chunks(2).map(|pair| (pair[0].to_string(), from_hex(pair[1]))).collect()
    }

    fn save(&mut self) -> String {
        let mut saved = kernel::save(&self.router).unwrap();
        if self.has_nft {
            saved.push_str(nft::MARK);
            let table = [&["list"][..], &nft::TABLE].concat();
            saved.push_str(&kernel::inside(&self.router, "nft", &table, "").unwrap());
        }
        saved
    }

    fn connections(&mut self) -> String {
        kernel::inside(&self.router, "conntrack", &["-L"], "").unwrap()
    }

    fn sets(&mut self) -> String {
        let mut saved = kernel::inside(&self.router, "ipset", &["save"], "").unwrap();
        saved.push('\n');
        let mut out = String::new();
        for at in &self.used {
            let (name, kind) = &self.made[*at];
            for line in saved.lines() {
                let Some(rest) = line.strip_prefix(&format!("add {name}.{at} ")) else { continue };
                // Of a list, the names of its members.
                let member = rest.split_once('.').filter(|_| kind.starts_with("list:"));
                let rest = member.map_or(rest, |(name, _)| name);
                out += &format!("add {name} {rest}\n");
            }
        }
        out
    }
}

/// Ours.
pub(crate) struct Engine {
    sim: Sim,
    router: NsId,
    ifaces: Vec<(&'static str, IfId, Mac)>,
}

fn mac(text: &str) -> Mac {
    let mut bytes = [0; 6];
    for (byte, part) in bytes.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(part, 16).unwrap();
    }
    Mac(bytes)
}

impl Engine {
    pub(crate) fn new() -> Engine {
        let sim = Sim::new(1);
        let net = sim.net().clone();
        let (router, outside) = (net.add_namespace("router"), net.add_namespace("outside"));
        net.set_forwarding(router, true);
        let mut ifaces = Vec::new();
        for cable in &CABLES {
            let link = LinkConfig::default();
            let (iface, _) = net.add_veth((router, cable.name), (outside, cable.name), link);
            for addr in cable.addrs {
                net.add_addr(iface, addr.parse::<Cidr>().unwrap());
            }
            let views = net.ifaces(router);
            let view = views.iter().find(|view| view.id == iface).unwrap();
            ifaces.push((cable.name, iface, view.mac));
        }
        for (dst, via, dev) in ROUTES {
            let (_, dev, _) = ifaces.iter().find(|(name, ..)| *name == dev).unwrap();
            let route = Route::via(dst.parse().unwrap(), via.parse().unwrap(), *dev);
            net.add_route(router, route).unwrap();
        }
        for (name, value) in ICMP_UNLIMITED {
            net.set_sysctl(router, name, value).unwrap();
        }
        net.set_trace(TraceMode::All);
        let engine = Engine { sim, router, ifaces };
        for cable in &CABLES {
            engine.introduce(cable);
        }
        engine
    }

    /// The stations of a cable ask for the router, which so learns where they are.
    fn introduce(&self, cable: &crate::town::Cable) {
        let router: Ipv4Addr = cable.addrs[0].split('/').next().unwrap().parse().unwrap();
        let (_, iface, _) = self.ifaces.iter().find(|(name, ..)| *name == cable.name).unwrap();
        for station in cable.stations {
            let src = mac(cable.station_mac);
            let arp = Arp::who_has(router, src, station.parse().unwrap());
            let frame = Frame { dst: Mac::BROADCAST, src, body: Body::Arp(arp) };
            self.sim.net().inject(*iface, &frame.to_bytes(), Cause(0));
        }
        self.pass();
    }

    fn ipset(&self, args: &[&str], input: &str) -> Output {
        let (net, args) = (self.sim.net(), args.iter().map(ToString::to_string));
        let (now, args) = (net.now(), args.collect::<Vec<_>>());
        net.with_netfilter(self.router, |netfilter| ipset(netfilter, &args, input, now)).unwrap()
    }

    fn pass(&self) {
        let until = self.sim.net().now() + Duration::from_millis(1);
        self.sim.advance(until, u32::MAX);
    }
}

impl World for Engine {
    fn load(&mut self, sets: &[String], ruleset: &str) -> Result<(), String> {
        // A new one: nothing is left of what was before.
        *self = Engine::new();
        if !sets.is_empty() {
            let made = self.ipset(&["restore", "-exist"], &sets.join("\n"));
            if made.code != 0 {
                return Err(made.err);
            }
        }
        let (ruleset, nft) = ruleset.split_once(nft::MARK).unwrap_or((ruleset, ""));
        let now = self.sim.net().now();
        let done = self.sim.net().with_netfilter(self.router, |netfilter| {
            let done = restore(netfilter, ruleset, RestoreOptions::default());
            done.map_err(|error| error.to_string())?;
            load(netfilter, nft, now)
        });
        done.unwrap()
    }

    fn send(&mut self, cable: &str, packet: &[u8]) -> Vec<(String, Vec<u8>)> {
        let net = self.sim.net().clone();
        let first = net.next_step();
        let (_, iface, dst) = self.ifaces.iter().find(|(name, ..)| *name == cable).unwrap();
        let src = mac(CABLES.iter().find(|known| known.name == cable).unwrap().station_mac);
        let Ok(packet) = Packet::parse_checked(packet.to_vec()) else { return Vec::new() };
        let frame = Frame { dst: *dst, src, body: Body::Ipv4(packet) };
        net.inject(*iface, &frame.to_bytes(), Cause(0));
        self.pass();
        let steps = net.steps_since(first);
        net.forget_steps_before(net.next_step());
        let sent = steps.iter().filter(|step| step.ns == self.router);
        sent.filter_map(|step| match &step.kind {
            StepKind::Sent { iface, .. } if iface.as_str() != "lo" && step.bytes[0] >> 4 == 4 => {
                Some((iface.to_string(), step.bytes.to_vec()))
            }
            _ => None,
        })
        .collect()
    }

    fn save(&mut self) -> String {
        let net = self.sim.net();
        let now = net.now();
        let save = |netfilter: &mut netfilter::Netfilter| {
            let mut saved = save::save(netfilter, None, true, "now");
            if !netfilter.nft().tables.is_empty() {
                saved.push_str(nft::MARK);
                saved.push_str(&list_ruleset(netfilter, Style::default(), now));
            }
            saved
        };
        net.with_netfilter(self.router, save).unwrap()
    }

    fn connections(&mut self) -> String {
        let net = self.sim.net();
        let now = net.now();
        let list = |netfilter: &mut netfilter::Netfilter| {
            netfilter::conntrack::text::list(netfilter.conntrack(), now)
        };
        net.with_netfilter(self.router, list).unwrap()
    }

    fn sets(&mut self) -> String {
        self.ipset(&["save"], "").out
    }
}
