//! A request's packets, hop by hop, from the steps that were written down of them.

use base::tree::BTreeMap;
use std::net::SocketAddrV4;

use base::Instant;
use netfilter::Hook;
use netfilter::ext::Match;
use netfilter::text::save::append_line;
use netfilter::trace::{Effect, Eval, HookEvent, NftEval, Outcome};
use netsim::{Cause, Net, NsId, PacketId, Step, StepKind};
use packet::ipv4::End;
use packet::{L4, Packet, tcp_flags};

use crate::place::Place;

/// All packets that were sent for one request, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journey {
    /// The packets.
    pub packets: Vec<PacketPath>,
}

/// One packet, from the stack that made it to the stack that took it, or to where it was lost.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketPath {
    /// Stands for it.
    pub id: PacketId,
    /// When it was made.
    pub at: Instant,
    /// What it is.
    pub kind: PacketKind,
    /// tcpdump's line for it as it was made.
    pub line: String,
    /// The namespaces it passed, in order.
    pub stays: Vec<Stay>,
}

/// What a packet is for, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// Asks for a connection.
    Syn,
    /// Grants a connection.
    SynAck,
    /// Only says what has come.
    Ack,
    /// Carries data.
    Data,
    /// Says that no more data will come.
    Fin,
    /// Refuses or breaks a connection.
    Rst,
    /// A datagram.
    Udp,
    /// An error or an echo.
    Icmp,
    /// Who has this address?
    Arp,
    /// Something else.
    Other,
}

impl PacketKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            PacketKind::Syn => "SYN",
            PacketKind::SynAck => "SYN-ACK",
            PacketKind::Ack => "ACK",
            PacketKind::Data => "data",
            PacketKind::Fin => "FIN",
            PacketKind::Rst => "RST",
            PacketKind::Udp => "UDP",
            PacketKind::Icmp => "ICMP",
            PacketKind::Arp => "ARP",
            PacketKind::Other => "IP",
        }
    }

    /// What the bytes of a frame's payload are.
    pub fn of(bytes: &[u8]) -> PacketKind {
        let Ok(packet) = Packet::parse(bytes.to_vec()) else { return PacketKind::Arp };
        let flags = match packet.head().l4 {
            L4::Tcp { flags, .. } => flags,
            L4::Udp { .. } => return PacketKind::Udp,
            L4::Icmp { .. } => return PacketKind::Icmp,
            L4::Sctp { .. } | L4::Other => return PacketKind::Other,
        };
        let has = |flag: u8| flags & flag != 0;
        if has(tcp_flags::RST) {
            PacketKind::Rst
        } else if has(tcp_flags::SYN) {
            if has(tcp_flags::ACK) { PacketKind::SynAck } else { PacketKind::Syn }
        } else if !packet.data().is_empty() {
            PacketKind::Data
        } else if has(tcp_flags::FIN) {
            PacketKind::Fin
        } else {
            PacketKind::Ack
        }
    }
}

/// A packet's stay in one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Stay {
    /// Where.
    pub ns: NsId,
    /// Where, as people say it.
    pub place: Place,
    /// What happened there.
    pub steps: Vec<Step>,
}

/// How a stay ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// It went on by this interface.
    Left(String),
    /// The namespace's own stack took it.
    Delivered,
    /// It was lost, and why.
    Lost(String),
    /// It has not ended, or more was not written down.
    Open,
}

/// A rule or a virtual server that looked at a packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked<'a> {
    /// At which hook.
    pub hook: Hook,
    /// In which table.
    pub table: &'a str,
    /// The rule and what it did.
    pub rule: AskedRule<'a>,
}

/// A rule and what came of its look at a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AskedRule<'a> {
    /// Of iptables.
    Iptables(&'a Eval),
    /// Of nftables.
    Nftables(&'a NftEval),
    /// No rule: a virtual server of ipvs chose a real one, [`HookEvent::Scheduled`].
    Ipvs(&'a HookEvent),
}

impl<'a> AskedRule<'a> {
    /// The chain it stands in.
    pub fn chain(self) -> &'a str {
        match self {
            AskedRule::Iptables(eval) => &eval.chain,
            AskedRule::Nftables(eval) => &eval.chain,
            AskedRule::Ipvs(_) => "virtual servers",
        }
    }

    /// Its number in the chain, from 1.
    pub fn number(self) -> u32 {
        match self {
            AskedRule::Iptables(eval) => eval.number,
            AskedRule::Nftables(eval) => eval.number,
            AskedRule::Ipvs(_) => 1,
        }
    }

    /// It fits.
    pub fn is_match(self) -> bool {
        match self {
            AskedRule::Iptables(eval) => matches!(eval.outcome, Outcome::Matched(_)),
            AskedRule::Nftables(eval) => eval.outcome.is_match(),
            AskedRule::Ipvs(_) => true,
        }
    }

    /// The rule as its tool prints it: `-A INPUT -j DROP`, or `chain: ip daddr @cluster-ips drop`.
    pub fn line(self) -> String {
        match self {
            AskedRule::Iptables(eval) => append_line(&eval.chain, &eval.rule),
            AskedRule::Nftables(eval) => format!("{}: {}", eval.chain, eval.rule),
            AskedRule::Ipvs(event) => event.to_string().trim_start_matches("ipvs: ").to_string(),
        }
    }

    /// What came of it, in plain words.
    pub fn words(self) -> String {
        match self {
            AskedRule::Iptables(eval) => match eval.outcome {
                Outcome::Matched(effect) => effect.words(&eval.rule),
                Outcome::Missed(miss) => miss.sentence(&eval.rule),
            },
            AskedRule::Nftables(eval) => eval.outcome.sentence(),
            AskedRule::Ipvs(_) => self.line(),
        }
    }
}

/// One end of a packet was rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Which end.
    pub end: End,
    /// Before.
    pub from: SocketAddrV4,
    /// After.
    pub to: SocketAddrV4,
    /// A rule has decided so now; else it is as the connection's first packet was treated.
    pub is_new: bool,
}

impl Stay {
    /// The interface the packet came in by; none where it was made.
    pub fn came_by(&self) -> Option<&str> {
        self.steps.iter().find_map(|step| match &step.kind {
            StepKind::Received { iface } => Some(iface.as_str()),
            _ => None,
        })
    }

    /// It only passed a switch here: no hook, no route, nobody took it.
    pub fn is_switched(&self) -> bool {
        let mut kinds = self.steps.iter().map(|step| &step.kind);
        let has_passed = |kind: &StepKind| {
            matches!(kind, StepKind::Hook(_) | StepKind::Routed(_) | StepKind::Delivered)
        };
        self.came_by().is_some() && !kinds.any(has_passed)
    }

    /// How it ended.
    pub fn ending(&self) -> Ending {
        let ends = self.steps.iter().rev().find_map(|step| match &step.kind {
            StepKind::Sent { iface, .. } => Some(Ending::Left(iface.to_string())),
            StepKind::Delivered => Some(Ending::Delivered),
            StepKind::Dropped(reason) => {
                let policies = self.denied_by().map(|policies| format!("dropped by {policies}"));
                Some(Ending::Lost(policies.unwrap_or_else(|| reason.to_string())))
            }
            _ => None,
        });
        ends.unwrap_or(Ending::Open)
    }

    /// The policies that keep the packet out, if that is why it is lost: `NetworkPolicy default/deny-all`.
    pub fn denied_by(&self) -> Option<String> {
        let AskedRule::Iptables(last) = self.matched().last()?.rule else { return None };
        let is_drop = matches!(last.outcome, Outcome::Matched(Effect::Dropped));
        if !is_drop || !last.chain.starts_with("KUBE-POD-FW-") {
            return None;
        }
        let comment = last.rule.matches.iter().find_map(|matched| match matched {
            Match::Comment(text) => Some(text.as_str()),
            _ => None,
        })?;
        let (one, many) = (comment.strip_prefix("policy "), comment.strip_prefix("policies "));
        one.map(|name| format!("NetworkPolicy {name}"))
            .or_else(|| many.map(|names| format!("NetworkPolicies {names}")))
    }

    fn hook_events(&self) -> impl Iterator<Item = (Hook, &HookEvent)> {
        self.steps.iter().flat_map(|step| match &step.kind {
            StepKind::Hook(trace) => {
                trace.events.iter().map(|event| (trace.hook, event)).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        })
    }

    /// The rules and virtual servers that looked at the packet, in order.
    pub fn asked(&self) -> impl Iterator<Item = Asked<'_>> {
        self.hook_events().flat_map(|(hook, event)| {
            let (table, rules): (&str, Vec<AskedRule<'_>>) = match event {
                HookEvent::Table { table, evals, .. } => {
                    (table.name(), evals.iter().map(AskedRule::Iptables).collect())
                }
                HookEvent::Nft { table, evals, .. } => {
                    (&**table, evals.iter().map(AskedRule::Nftables).collect())
                }
                HookEvent::Scheduled { .. } => ("ipvs", vec![AskedRule::Ipvs(event)]),
                _ => ("", Vec::new()),
            };
            rules.into_iter().map(move |rule| Asked { hook, table, rule })
        })
    }

    /// The rules that matched, in order.
    pub fn matched(&self) -> impl Iterator<Item = Asked<'_>> {
        self.asked().filter(|asked| asked.rule.is_match())
    }

    /// How many rules looked at the packet.
    pub fn rules_asked(&self) -> usize {
        let count = |event: &HookEvent| match event {
            HookEvent::Table { evals, .. } => evals.len(),
            HookEvent::Nft { evals, .. } => evals.len(),
            _ => 0,
        };
        self.hook_events().map(|(_, event)| count(event)).sum()
    }

    /// What was rewritten, in order.
    pub fn rewritten(&self) -> impl Iterator<Item = Rewritten> {
        self.hook_events().filter_map(|(_, event)| match *event {
            HookEvent::Translated { end, from, to, is_new } => Some(Rewritten {
                end,
                from: SocketAddrV4::new(from.0, from.1),
                to: SocketAddrV4::new(to.0, to.1),
                is_new,
            }),
            _ => None,
        })
    }
}

/// Puts together what was written down for a request.
pub fn journey(net: &Net, steps: &[Step], cause: Cause) -> Journey {
    let mut packets: Vec<PacketPath> = Vec::new();
    let mut places: BTreeMap<PacketId, usize> = BTreeMap::new();
    for step in steps.iter().filter(|step| step.cause == cause) {
        let at = *places.entry(step.packet).or_insert_with(|| {
            packets.push(PacketPath {
                id: step.packet,
                at: step.at,
                kind: PacketKind::of(&step.bytes),
                line: step.tcpdump(),
                stays: Vec::new(),
            });
            packets.len() - 1
        });
        if let Some(packet) = packets.get_mut(at) {
            packet.add(net, step);
        }
    }
    Journey { packets }
}

impl PacketPath {
    fn add(&mut self, net: &Net, step: &Step) {
        let begins = matches!(step.kind, StepKind::Made | StepKind::Received { .. });
        let stay = self.stays.iter_mut().rev().find(|stay| stay.ns == step.ns);
        // From a port of a switch to the switch's own interface: still the same stay.
        match stay {
            Some(stay) if !begins || stay.ending() == Ending::Open => {
                stay.steps.push(step.clone());
            }
            _ => {
                let place = Place::of(net, step.ns);
                self.stays.push(Stay { ns: step.ns, place, steps: vec![step.clone()] });
            }
        }
    }

    /// Source and destination as it was made.
    pub fn ends(&self) -> Option<(SocketAddrV4, SocketAddrV4)> {
        let first = self.stays.first()?.steps.first()?;
        ends(&first.bytes)
    }

    /// It goes the way of its connection's first packet, as connection tracking knows it where it comes by first.
    fn is_request(&self) -> bool {
        let events = self.stays.iter().flat_map(Stay::hook_events);
        let original = events.into_iter().find_map(|(_, event)| match event {
            HookEvent::Tracked { original, .. } => *original,
            _ => None,
        });
        let source = self.ends().map(|(source, _)| source);
        original.is_some_and(|tuple| {
            source.is_some_and(|source| *source.ip() == tuple.src && source.port() == tuple.sport)
        })
    }

    /// It asks for a name, or answers.
    pub fn is_dns(&self) -> bool {
        const PORT: u16 = 53;
        self.ends().is_some_and(|(from, to)| from.port() == PORT || to.port() == PORT)
    }

    /// Where it was lost, and why.
    pub fn lost(&self) -> Option<(&Place, String)> {
        self.stays.iter().find_map(|stay| match stay.ending() {
            Ending::Lost(why) => Some((&stay.place, why)),
            _ => None,
        })
    }
}

/// Source and destination of an IPv4 packet; ports are 0 where there are none.
pub fn ends(bytes: &[u8]) -> Option<(SocketAddrV4, SocketAddrV4)> {
    let packet = Packet::parse(bytes.to_vec()).ok()?;
    let head = packet.head();
    let (sport, dport) = head.ports().unwrap_or_default();
    Some((SocketAddrV4::new(head.src, sport), SocketAddrV4::new(head.dst, dport)))
}

impl Journey {
    /// The first packet of each connection, in order: of a new one its SYN, of one that was kept from before
    /// the packet that brings the request.
    fn firsts(&self) -> Vec<&PacketPath> {
        let mut known: Vec<(SocketAddrV4, SocketAddrV4)> = Vec::new();
        let mut firsts = Vec::new();
        for packet in &self.packets {
            let is_first = match packet.kind {
                PacketKind::Syn | PacketKind::Udp => true,
                PacketKind::Data => packet.is_request(),
                _ => false,
            };
            let Some(ends) = packet.ends().filter(|_| is_first) else { continue };
            if packet.kind == PacketKind::Data && known.contains(&ends) {
                continue;
            }
            known.push(ends);
            firsts.push(packet);
        }
        firsts
    }

    /// The places that the first packets of the request's connections passed, switches left out: its path in
    /// brief.
    pub fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        // Asking for the name comes first; where it ended there, that is the path.
        let is_all_dns = self.packets.iter().all(PacketPath::is_dns);
        let firsts = self.firsts().into_iter().filter(|packet| is_all_dns || !packet.is_dns());
        for stay in firsts.flat_map(|packet| &packet.stays) {
            if places.last() != Some(&stay.place) && !stay.is_switched() {
                places.push(stay.place.clone());
            }
        }
        places
    }

    /// The Pod that took the request, if one did.
    pub fn pod(&self) -> Option<&Place> {
        let firsts = self.firsts().into_iter().rev().filter(|packet| !packet.is_dns());
        let taken = firsts.into_iter().find_map(|packet| packet.stays.last())?;
        let is_pod = matches!(taken.place, Place::Pod { .. });
        (is_pod && taken.ending() == Ending::Delivered).then_some(&taken.place)
    }
}
