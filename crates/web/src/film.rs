//! A request's packets as the inspector shows them: plain words and lines, made from a [`Journey`].

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

use lab::path::{AskedRule, Ending, Journey, PacketKind, PacketPath, Stay, ends};
use lab::{Place, Request};
use netfilter::ext::{Match, TargetExt};
use netfilter::text::save::append_line;
use netfilter::trace::{Effect, HookEvent, NftOutcome, Outcome};
use netfilter::{RuleSpec, Target};
use netsim::StepKind;
use netsim::trace::Routed;

use crate::map::layout::{Layout, Point};
use crate::map::packets::way;

/// A request, its packets, and one of them hop by hop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Film {
    /// The request's number.
    pub request: u32,
    /// The command that sent it.
    pub command: String,
    /// Its packets.
    pub packets: Vec<Frame>,
    /// Which of them is shown.
    pub shown: usize,
    /// Where that one was.
    pub hops: Vec<Hop>,
    /// The beginning of what was answered.
    pub body: String,
    /// The wires that the packet that is shown has passed.
    pub wires: Vec<Vec<Point>>,
}

/// A packet in the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// What it is.
    pub kind: PacketKind,
    /// When it was made, in microseconds since the request began.
    pub after: u64,
    /// Its ends, in brief.
    pub ends: String,
    /// tcpdump's line for it.
    pub line: String,
    /// It was lost.
    pub is_lost: bool,
    /// The places it passed.
    pub way: String,
    /// Over what it went.
    pub group: Group,
}

/// Over what a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Your machine's loopback interface.
    Loopback,
    /// The network.
    Network,
    /// It is a question about a hardware address, or the answer.
    Arp,
}

impl Group {
    /// In the order in which they are shown, with their words.
    pub const ALL: [(Group, &'static str); 3] = [
        (Group::Loopback, "on your machine itself"),
        (Group::Network, "over the network"),
        (Group::Arp, "ARP: who has this address?"),
    ];
}

/// A packet's stay at one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    /// Where, as people say it.
    pub place: String,
    /// In by which interface, and out by which.
    pub by: String,
    /// What happened there, in one sentence or two.
    pub sentence: String,
    /// What the rules did, chain by chain.
    pub chains: Vec<Chain>,
    /// How many rules looked at it.
    pub asked: usize,
    /// What was rewritten.
    pub rewritten: Vec<Change>,
    /// The route that it took from there.
    pub route: Option<String>,
    /// It was lost there.
    pub is_lost: bool,
    /// It arrived there.
    pub is_end: bool,
    /// Which of the rules that looked at it fitted: how far down they stand, and whether they rewrote.
    pub marks: Vec<(f64, bool)>,
}

/// The rules of a chain that fitted, at one hook.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// `PREROUTING`
    pub hook: &'static str,
    /// `nat`
    pub table: String,
    /// Its name.
    pub name: String,
    /// The rules.
    pub rules: Vec<Line>,
}

/// A rule that fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its number in its chain.
    pub number: u32,
    /// The rule, as it would be typed, its comment left out.
    pub text: String,
    /// Its comment.
    pub comment: String,
    /// What it did.
    pub effect: String,
    /// How that is to be shown.
    pub tone: Tone,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It went on.
    Plain,
    /// The packet was rewritten, or will be.
    Rewrites,
    /// The packet is gone.
    Loses,
}

/// One end of a packet before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// `source`, `destination`
    pub end: &'static str,
    /// Before.
    pub was: String,
    /// After.
    pub now: String,
    /// Decided by a rule just now; else as with the first packet of the connection.
    pub is_new: bool,
}

/// The packet that is shown when none was chosen: the first that asks for a connection and leaves the machine,
/// or else the first.
pub fn first_shown(journey: &Journey) -> usize {
    let asks = |packet: &PacketPath| matches!(packet.kind, PacketKind::Syn | PacketKind::Udp);
    let asking = journey.packets.iter().enumerate().filter(|(_, packet)| asks(packet));
    let far = asking.max_by_key(|(at, packet)| {
        let is_far = group(packet) == Group::Network;
        (is_far, packet.stays.len(), std::cmp::Reverse(*at))
    });
    far.map_or(0, |(at, _)| at)
}

/// Makes the film of a request.
pub fn film(request: &Request, journey: &Journey, shown: Option<usize>, map: &Layout) -> Film {
    let last = journey.packets.len().saturating_sub(1);
    let shown = shown.unwrap_or_else(|| first_shown(journey)).min(last);
    let shown_packet = journey.packets.get(shown);
    let body = String::from_utf8_lossy(&request.body);
    Film {
        request: request.cause.0,
        command: request.command.clone(),
        packets: journey.packets.iter().map(|packet| frame(request, packet)).collect(),
        shown,
        hops: shown_packet.map(|packet| hops(journey, packet)).unwrap_or_default(),
        body: body.chars().take(400).collect(),
        wires: shown_packet.map(|packet| way(map, packet)).unwrap_or_default(),
    }
}

fn frame(request: &Request, packet: &PacketPath) -> Frame {
    let between = packet.ends().filter(|_| packet.kind != PacketKind::Arp);
    let mut way: Vec<&str> = Vec::new();
    for stay in &packet.stays {
        let place = if stay.is_switched() { "Docker network" } else { stay.place.short() };
        if way.last() != Some(&place) {
            way.push(place);
        }
    }
    Frame {
        kind: packet.kind,
        after: packet.at.since(request.at).as_micros() as u64,
        ends: between.map(|(src, dst)| format!("{src} → {dst}")).unwrap_or_default(),
        line: packet.line.clone(),
        is_lost: packet.lost().is_some(),
        way: way.join(" → "),
        group: group(packet),
    }
}

fn group(packet: &PacketPath) -> Group {
    match packet.ends() {
        _ if packet.kind == PacketKind::Arp => Group::Arp,
        Some((src, _)) if src.ip().is_loopback() => Group::Loopback,
        _ => Group::Network,
    }
}

fn hops(journey: &Journey, packet: &PacketPath) -> Vec<Hop> {
    let mut hops: Vec<Hop> = packet.stays.iter().map(|stay| hop(packet, stay)).collect();
    if is_refused(journey, packet)
        && let Some(last) = hops.last_mut()
    {
        last.sentence =
            "It has arrived, but nobody listens on this port: the answer is RST.".to_string();
        (last.is_end, last.is_lost) = (false, true);
    }
    hops
}

/// The question for a connection was answered with RST, there where it arrived.
fn is_refused(journey: &Journey, packet: &PacketPath) -> bool {
    let Some(last) = packet.stays.last().filter(|_| packet.kind == PacketKind::Syn) else {
        return false;
    };
    let port = last.steps.last().and_then(|step| ends(&step.bytes)).map(|(_, dst)| dst.port());
    let answers = |kind: PacketKind| {
        journey.packets.iter().any(|answer| {
            let from = answer.ends().map(|(src, _)| src.port());
            let is_from_there = answer.stays.first().is_some_and(|stay| stay.ns == last.ns);
            answer.kind == kind && is_from_there && from == port
        })
    };
    last.ending() == Ending::Delivered && answers(PacketKind::Rst) && !answers(PacketKind::SynAck)
}

fn hop(packet: &PacketPath, stay: &Stay) -> Hop {
    let ending = stay.ending();
    let out = match &ending {
        Ending::Left(iface) => Some(iface.as_str()),
        _ => None,
    };
    let by = match (stay.came_by(), out) {
        (Some(iface), Some(out)) => format!("{iface} → {out}"),
        (Some(iface), None) => format!("in by {iface}"),
        (None, Some(out)) => format!("out by {out}"),
        (None, None) => String::new(),
    };
    Hop {
        place: place_words(stay),
        by,
        sentence: sentence(packet, stay),
        chains: chains(stay),
        asked: stay.rules_asked(),
        rewritten: changes(stay),
        route: route(stay),
        is_lost: matches!(ending, Ending::Lost(_)),
        is_end: ending == Ending::Delivered,
        marks: marks(stay),
    }
}

fn place_words(stay: &Stay) -> String {
    match (&stay.place, stay.is_switched()) {
        (Place::Machine, true) => "Docker network".to_string(),
        (Place::Machine, false) => "Your machine".to_string(),
        (place, _) => place.to_string(),
    }
}

fn changes(stay: &Stay) -> Vec<Change> {
    let events = stay.steps.iter().flat_map(|step| match &step.kind {
        StepKind::Hook(trace) => trace.events.as_slice(),
        _ => &[],
    });
    let changes = events.filter_map(|event| match event {
        HookEvent::Translated { from, to, is_new, .. } => Some(Change {
            end: end_word(event),
            was: format!("{}:{}", from.0, from.1),
            now: format!("{}:{}", to.0, to.1),
            is_new: *is_new,
        }),
        _ => None,
    });
    changes.collect()
}

fn marks(stay: &Stay) -> Vec<(f64, bool)> {
    let all = stay.rules_asked().max(1) as f64;
    let fits = stay.asked().enumerate().filter(|(_, asked)| asked.rule.is_match());
    fits.map(|(at, asked)| (at as f64 / all, tone(asked.rule) == Tone::Rewrites)).collect()
}

/// Which end of a packet was rewritten: `source` or `destination`.
pub fn end_word(event: &HookEvent) -> &'static str {
    // The event's own text begins with the word; its type belongs to a crate that this one need not know.
    if event.to_string().starts_with("source") { "source" } else { "destination" }
}

fn route(stay: &Stay) -> Option<String> {
    stay.steps.iter().rev().find_map(|step| match &step.kind {
        StepKind::Routed(Routed::By { .. }) => {
            Some(step.kind.to_string().trim_start_matches("route ").to_string())
        }
        _ => None,
    })
}

fn chains(stay: &Stay) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    for matched in stay.matched() {
        let (hook, table, name) = (matched.hook.chain(), matched.table, matched.rule.chain());
        let is_same = |last: &Chain| last.hook == hook && last.table == table && last.name == name;
        if !chains.last().is_some_and(is_same) {
            let (table, name) = (table.to_string(), name.to_string());
            chains.push(Chain { hook, table, name, rules: Vec::new() });
        }
        if let Some(chain) = chains.last_mut() {
            chain.rules.push(line(matched.rule));
        }
    }
    chains
}

fn line(rule: AskedRule<'_>) -> Line {
    let (text, comment) = match rule {
        AskedRule::Iptables(eval) => without_comments(&eval.rule),
        AskedRule::Nftables(eval) => (eval.rule.to_string(), String::new()),
        AskedRule::Ipvs(_) => {
            let line = rule.line();
            (line.split(" goes to ").next().unwrap_or_default().to_string(), String::new())
        }
    };
    Line { number: rule.number(), text, comment, effect: rule.words(), tone: tone(rule) }
}

/// A rule as it would be typed, and what it says of itself.
fn without_comments(rule: &RuleSpec) -> (String, String) {
    let mut rule = rule.clone();
    let mut comments = Vec::new();
    rule.matches.retain(|m| match m {
        Match::Comment(text) => {
            comments.push(text.clone());
            false
        }
        _ => true,
    });
    let text = append_line("", &rule);
    (text.trim_start_matches("-A").trim().to_string(), comments.join(" "))
}

fn tone(rule: AskedRule<'_>) -> Tone {
    match rule {
        AskedRule::Iptables(eval) => match (eval.outcome, &eval.rule.target) {
            (Outcome::Matched(Effect::Dropped | Effect::Rejected), _) => Tone::Loses,
            (Outcome::Matched(Effect::Translated), _) => Tone::Rewrites,
            (Outcome::Matched(_), Target::Ext(TargetExt::Nat(_))) => Tone::Rewrites,
            _ => Tone::Plain,
        },
        AskedRule::Nftables(eval) => match &eval.outcome {
            NftOutcome::Matched { effect, .. } => {
                let begins = |words: &[&str]| words.iter().any(|word| effect.starts_with(word));
                if begins(&["dnat", "snat", "masquerade", "redirect"]) {
                    Tone::Rewrites
                } else if begins(&["dropped", "refused"]) {
                    Tone::Loses
                } else {
                    Tone::Plain
                }
            }
            NftOutcome::Missed { .. } => Tone::Plain,
        },
        AskedRule::Ipvs(_) => Tone::Rewrites,
    }
}

/// What happened at a place, as one would tell it.
fn sentence(packet: &PacketPath, stay: &Stay) -> String {
    if packet.kind == PacketKind::Arp {
        return arp_sentence(stay);
    }
    if stay.is_switched() {
        return "Docker's bridge on your machine passes the frame on to the port where its \
                hardware address is. No rule looks at it here."
            .to_string();
    }
    let mut said = Vec::new();
    said.extend(beginning(packet, stay));
    said.extend(changes(stay).iter().map(|change| rewriting(stay, change)));
    said.push(end(packet, stay));
    said.join(" ")
}

fn arp_sentence(stay: &Stay) -> String {
    match stay.ending() {
        Ending::Delivered => "It is asked for its hardware address, and knows it.".to_string(),
        Ending::Lost(_) => "The question is for somebody else.".to_string(),
        _ if stay.came_by().is_none() => {
            "Before a packet can be sent, the hardware address of the next hop must be known: ask all."
                .to_string()
        }
        _ => "Passed on.".to_string(),
    }
}

fn beginning(packet: &PacketPath, stay: &Stay) -> Option<String> {
    if stay.came_by().is_some() {
        return None;
    }
    let what = match packet.kind {
        PacketKind::Syn => "A connection is asked for",
        PacketKind::SynAck => "The connection is granted",
        PacketKind::Ack => "What has come is acknowledged",
        PacketKind::Data => "Data is sent",
        PacketKind::Fin => "There is no more to say",
        PacketKind::Rst => "The connection is refused or broken off",
        PacketKind::Udp => "A datagram is sent",
        PacketKind::Icmp => "A message about the network is sent",
        PacketKind::Arp | PacketKind::Other => "A packet is sent",
    };
    let to = packet.ends().map(|(_, dst)| format!(", to {dst}")).unwrap_or_default();
    Some(format!("{what}{to}."))
}

fn rewriting(stay: &Stay, change: &Change) -> String {
    let place = stay.place.short();
    match (change.is_new, change.end) {
        (true, "destination") => format!(
            "{place} decides who answers: the destination is rewritten here, once, and conntrack remembers \
             it for the rest of the connection."
        ),
        (true, _) => {
            "The source is rewritten too, so that the answer comes back through this place."
                .to_string()
        }
        (false, end) => {
            format!(
                "The {end} is rewritten as conntrack remembers from the connection’s first packet."
            )
        }
    }
}

fn end(packet: &PacketPath, stay: &Stay) -> String {
    match stay.ending() {
        Ending::Lost(why) => format!("Here it is lost: {why}."),
        Ending::Delivered => match (&stay.place, packet.kind) {
            (Place::Pod { name, .. }, PacketKind::Syn) => {
                format!("It has arrived: {name} listens on this port.")
            }
            _ => "It has arrived: a program here has this connection.".to_string(),
        },
        Ending::Left(iface) if iface == "lo" => {
            "It is for this machine itself and takes the loopback interface.".to_string()
        }
        Ending::Left(iface) => match (stay.came_by(), route(stay)) {
            (Some(_), Some(_)) => "It is not for this place; a route leads on.".to_string(),
            (None, Some(_)) => "A route leads out.".to_string(),
            _ => format!("It leaves by {iface}."),
        },
        Ending::Open => "It is here now.".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use lab::Options;

    use super::*;
    use crate::engine::Engine;

    /// An engine in which these commands were run, one after the other.
    fn after(commands: &[&str]) -> Engine {
        let mut engine = Engine::new(&Options::default());
        let mut reader = 0.0;
        for command in commands {
            engine.run(command);
            for _ in 0..3000 {
                reader += 16.0;
                engine.frame(reader, || false);
                if engine.is_idle() {
                    break;
                }
            }
        }
        engine.look();
        engine
    }

    #[test]
    fn the_way_of_a_request() {
        let apply = "kubectl apply -f deployment.yml -f service.yml";
        let engine = after(&[apply, "sleep 10", "curl -s localhost:30007"]);
        let film = engine.film(1, None);
        let places: Vec<&str> = film.hops.iter().map(|hop| hop.place.as_str()).collect();
        let (last, before) = places.split_last().unwrap();
        let worker = before.last().unwrap();
        assert_eq!(before, ["Your machine", "kind-control-plane", "Docker network", worker]);
        assert!(last.starts_with("Pod default/nginx-deployment-"), "{last}");
        let gate = film.hops.get(1).unwrap();
        let ends: Vec<&str> = gate.rewritten.iter().map(|change| change.end).collect();
        assert_eq!(ends, ["destination", "source"]);
        let rules = gate.chains.iter().flat_map(|chain| &chain.rules);
        let rewrites: Vec<&str> =
            rules.filter(|r| r.tone == Tone::Rewrites).map(|r| r.text.as_str()).collect();
        assert!(
            rewrites.iter().any(|text| text.contains("-j DNAT --to-destination")),
            "{rewrites:?}"
        );
        assert!(film.hops.last().unwrap().is_end);
        assert!(film.wires.len() >= 4, "{:?}", film.wires);
        let words: Vec<&str> = film.packets.iter().map(|packet| packet.kind.word()).collect();
        assert_eq!(words.first(), Some(&"SYN"));
        assert!(film.packets.iter().all(|packet| !packet.is_lost));
    }

    #[test]
    fn nobody_listens() {
        let engine = after(&["curl -s localhost:30008"]);
        let film = engine.film(1, None);
        let last = film.hops.last().unwrap();
        assert!(last.is_lost && last.sentence.contains("nobody listens"), "{last:?}");
    }

    #[test]
    fn a_request_that_there_is_not() {
        assert_eq!(after(&[]).film(7, Some(3)), Film::default());
    }
}
