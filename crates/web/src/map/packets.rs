//! Packets in flight, as the map shows them: made from the steps that were written down.
//!
//! Where a packet flies and for how long is virtual time, from the trace. How long a trail, a rewriting or a
//! loss stays readable is the reader's time, in milliseconds.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

use base::tree::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::rc::Rc;

use base::{Duration, Instant};
use lab::machine::BRIDGE;
use lab::path::{PacketKind, PacketPath, ends};
use lab::{Lab, Place};
use netfilter::trace::HookEvent;
use netsim::{Cause, DropReason, PacketId, Step, StepKind};

use crate::film::end_word;

use super::layout::{Layout, Point, Spot};

/// How long the Docker network's switch keeps a frame that it passes on.
const SWITCH: Duration = Duration::from_micros(50);
/// A packet of which nothing was heard for so long rests, or is gone.
const STALE: Duration = Duration::from_millis(2);
/// How long a trail stays, in the reader's milliseconds.
pub const TRAIL_MS: f64 = 1_200.0;
/// How long a rewriting stays readable.
pub const REWRITE_MS: f64 = 4_200.0;
/// How long a loss stays readable.
pub const LOSS_MS: f64 = 4_500.0;
/// How long the ring of an arrival grows.
pub const RING_MS: f64 = 500.0;
/// More rewritings than these are not kept readable at once: the newest are.
const REWRITINGS_MAX: usize = 4;
/// More than this many at once are not drawn: nobody could follow them.
const FLIGHTS_MAX: usize = 600;

/// A packet on a wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Flight {
    /// The packet.
    pub packet: PacketId,
    /// The request.
    pub cause: Cause,
    /// What it is.
    pub kind: PacketKind,
    /// The wire.
    pub wire: Rc<[Point]>,
    /// When it was put on it.
    pub at: Instant,
    /// When it is at the other end.
    pub arrives: Instant,
    /// Where it is for.
    pub label: Rc<str>,
}

impl Flight {
    /// How much of the wire lies behind it.
    pub fn share(&self, now: Instant) -> f64 {
        let whole = self.arrives.since(self.at).as_micros().max(1) as f64;
        (now.since(self.at).as_micros() as f64 / whole).min(1.0)
    }
}

/// Something to be read for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// Since when, in the reader's milliseconds.
    pub since: f64,
    /// Where.
    pub at: Point,
    /// The request.
    pub cause: Cause,
    /// What.
    pub what: Said,
}

/// What a note says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A gate has rewritten an end of a packet.
    Rewritten {
        /// `to`, `from`
        end: &'static str,
        /// Before.
        was: String,
        /// After.
        now: String,
    },
    /// A packet was lost, and why.
    Lost(String),
    /// A packet has arrived.
    Arrived,
}

impl Note {
    /// How long it stays.
    pub fn lasts(&self) -> f64 {
        match self.what {
            Said::Rewritten { .. } => REWRITE_MS,
            Said::Lost(_) => LOSS_MS,
            Said::Arrived => RING_MS,
        }
    }
}

/// A wire that a packet has just passed.
#[derive(Clone, Debug, PartialEq)]
pub struct Trail {
    /// Since when, in the reader's milliseconds.
    pub since: f64,
    /// The request.
    pub cause: Cause,
    /// The wire.
    pub wire: Rc<[Point]>,
}

/// What is on its way, and what has just happened.
#[derive(Debug, Default)]
pub struct Traffic {
    next_step: u64,
    /// On the wires.
    pub flights: Vec<Flight>,
    /// Passed wires.
    pub trails: Vec<Trail>,
    /// Things to be read.
    pub notes: Vec<Note>,
    at: BTreeMap<PacketId, (Spot, Instant)>,
    /// Requests whose packets went over the loopback interface: they are asked for by a proxy.
    proxied: BTreeSet<Cause>,
    /// Until then packets are certainly on their way.
    busy_until: Instant,
    opening_until: Instant,
}

impl Traffic {
    /// Packets of requests are on their way.
    pub fn is_busy(&self, now: Instant) -> bool {
        now < self.busy_until
    }

    /// Packets that open a connection are.
    pub fn is_opening(&self, now: Instant) -> bool {
        now < self.opening_until
    }

    /// Takes in what was written down since the last time.
    pub fn follow(&mut self, lab: &Lab, layout: &Layout, reader: f64) {
        let now = lab.now();
        if lab.net().next_step() != self.next_step {
            for step in lab.net().steps_since(self.next_step) {
                self.next_step = step.serial + 1;
                self.take(lab, layout, &step, reader);
            }
        }
        self.land(now, reader);
        self.notes.retain(|note| reader - note.since < note.lasts());
        self.trails.retain(|trail| reader - trail.since < TRAIL_MS);
        self.at.retain(|_, (_, since)| now.since(*since) < STALE);
        let excess = self.flights.len().saturating_sub(FLIGHTS_MAX);
        self.flights.drain(..excess);
        while self.proxied.len() > 64 {
            self.proxied.pop_first();
        }
    }

    /// Flights that are over leave a trail.
    fn land(&mut self, now: Instant, reader: f64) {
        let landed = self.flights.iter().filter(|flight| flight.arrives <= now);
        let trails = landed.filter(|flight| flight.kind != PacketKind::Arp).map(|f| Trail {
            since: reader,
            cause: f.cause,
            wire: f.wire.clone(),
        });
        self.trails.extend(trails);
        self.flights.retain(|flight| flight.arrives > now);
    }

    fn take(&mut self, lab: &Lab, layout: &Layout, step: &Step, reader: f64) {
        if step.cause == Cause(0) {
            return;
        }
        let place = Place::of(lab.net(), step.ns);
        match &step.kind {
            StepKind::Made => self.made(layout, step, &place),
            StepKind::Received { iface }
                if place == Place::Machine && !["lo", BRIDGE].contains(&iface.as_str()) =>
            {
                self.switching(layout, step);
            }
            StepKind::Sent { iface, to_ns, arrives, .. } => {
                let to = Place::of(lab.net(), *to_ns);
                self.sent(layout, step, (&place, iface.as_str()), &to, *arrives);
            }
            StepKind::Hook(trace) => self.rewritten(layout, step, &place, &trace.events, reader),
            StepKind::Delivered => self.ended(layout, step, Said::Arrived, reader),
            StepKind::Dropped(DropReason::OtherHost | DropReason::NoPort) => {}
            StepKind::Dropped(why) => {
                self.ended(layout, step, Said::Lost(why.to_string()), reader);
            }
            _ => {}
        }
    }

    fn made(&mut self, layout: &Layout, step: &Step, place: &Place) {
        let is_proxy = *place == Place::Machine && self.proxied.contains(&step.cause);
        let from_machine = ends(&step.bytes).is_none_or(|(src, _)| !src.ip().is_loopback());
        let spot = match layout.spot(place) {
            Some(Spot::Client) if is_proxy && from_machine => Some(Spot::Published),
            spot => spot,
        };
        self.stands(step, spot);
    }

    fn stands(&mut self, step: &Step, spot: Option<Spot>) {
        if let Some(spot) = spot {
            self.at.insert(step.packet, (spot, step.at));
        }
    }

    /// The Docker network's switch has a frame: it goes along the network to where it will leave it.
    fn switching(&mut self, layout: &Layout, step: &Step) {
        let Some(&(from @ Spot::Bus(_), _)) = self.at.get(&step.packet) else { return };
        let out = destination(&step.bytes).and_then(|dst| layout.way_out(dst));
        let is_proxied = self.proxied.contains(&step.cause);
        let machine = if is_proxied { Spot::Published } else { Spot::Client };
        let to = out.map_or(machine, Spot::Bus);
        self.fly(layout, step, from, to, step.at + SWITCH);
    }

    fn sent(
        &mut self,
        layout: &Layout,
        step: &Step,
        (place, iface): (&Place, &str),
        to: &Place,
        arrives: Instant,
    ) {
        let known = self.at.get(&step.packet).map(|(spot, _)| *spot);
        // A question to all stations leaves the network by several ports at once.
        let asks_all = |spot: &Spot| matches!((place, spot), (Place::Machine, Spot::Gate(_)));
        let port = || layout.node(to.short()).map(Spot::Bus);
        let from = match known {
            Some(spot) if asks_all(&spot) => port(),
            known => known.or_else(|| layout.spot(place)),
        };
        let Some(from) = from else { return };
        let target = match (place, to) {
            (Place::Machine, Place::Machine) if iface == "lo" => {
                self.proxied.insert(step.cause);
                return self.looped(layout, step, arrives);
            }
            (Place::Node(name), Place::Machine) => layout.node(name).map(Spot::Bus),
            (one, other) if one == other => None,
            _ => layout.spot(to),
        };
        if let Some(target) = target {
            self.fly(layout, step, from, target, arrives);
        }
    }

    /// Over your machine's loopback interface: to a published port, or back from one.
    fn looped(&mut self, layout: &Layout, step: &Step, arrives: Instant) {
        let Some((src, dst)) = ends(&step.bytes) else { return };
        // Programs that ask have the higher ports (`net.ipv4.ip_local_port_range` begins at 32768).
        let (from, to) = match src.port() > dst.port() {
            true => (Spot::Client, Spot::Published),
            false => (Spot::Published, Spot::Client),
        };
        self.fly(layout, step, from, to, arrives);
    }

    fn fly(&mut self, layout: &Layout, step: &Step, from: Spot, to: Spot, arrives: Instant) {
        self.at.insert(step.packet, (to, step.at));
        let kind = PacketKind::of(&step.bytes);
        self.busy_until = self.busy_until.max(arrives + Duration::from_micros(20));
        if matches!(kind, PacketKind::Syn | PacketKind::SynAck | PacketKind::Arp) {
            self.opening_until = self.opening_until.max(arrives);
        }
        let wire = layout.wire(from, to);
        if wire.len() < 2 {
            return;
        }
        let label = ends(&step.bytes).map(|(_, dst)| dst.to_string()).unwrap_or_default();
        self.flights.push(Flight {
            packet: step.packet,
            cause: step.cause,
            kind,
            wire: wire.into(),
            at: step.at,
            arrives,
            label: label.into(),
        });
    }

    fn rewritten(
        &mut self,
        layout: &Layout,
        step: &Step,
        place: &Place,
        events: &[HookEvent],
        reader: f64,
    ) {
        let Some(spot) = layout.spot(place) else { return };
        for event in events {
            let HookEvent::Translated { from, to, is_new: true, .. } = event else { continue };
            let end = if end_word(event) == "source" { "from" } else { "to" };
            let (was, now) = (format!("{}:{}", from.0, from.1), format!("{}:{}", to.0, to.1));
            let said = Said::Rewritten { end, was, now };
            self.note(layout.point(spot), step.cause, said, reader);
        }
    }

    fn ended(&mut self, layout: &Layout, step: &Step, said: Said, reader: f64) {
        let Some((spot, _)) = self.at.remove(&step.packet) else { return };
        if PacketKind::of(&step.bytes) != PacketKind::Arp {
            self.note(layout.point(spot), step.cause, said, reader);
        }
    }

    fn note(&mut self, at: Point, cause: Cause, what: Said, reader: f64) {
        let is_rewriting = |note: &Note| matches!(note.what, Said::Rewritten { .. });
        if self.notes.iter().filter(|note| is_rewriting(note)).count() > REWRITINGS_MAX {
            let oldest = self.notes.iter().position(is_rewriting);
            oldest.map(|oldest| self.notes.remove(oldest));
        }
        self.notes.push(Note { since: reader, at, cause, what });
    }
}

/// Where a packet is for; for ARP, whose address is asked for, or who has asked.
fn destination(bytes: &[u8]) -> Option<Ipv4Addr> {
    if let Some((_, dst)) = ends(bytes) {
        return Some(*dst.ip());
    }
    // RFC 826: the target's protocol address is the last field.
    let target: [u8; 4] = bytes.get(24..28)?.try_into().ok()?;
    Some(Ipv4Addr::from(target))
}

/// The wires that a packet has passed, from the places where it stayed.
pub fn way(layout: &Layout, packet: &PacketPath) -> Vec<Vec<Point>> {
    let is_looped = packet.ends().is_some_and(|(src, _)| src.ip().is_loopback());
    if is_looped {
        let from_client = packet.ends().is_some_and(|(src, dst)| src.port() > dst.port());
        let (from, to) = match from_client {
            true => (Spot::Client, Spot::Published),
            false => (Spot::Published, Spot::Client),
        };
        return vec![layout.wire(from, to)];
    }
    if packet.stays.iter().any(|stay| layout.spot(&stay.place).is_none()) {
        // It was in a place that is gone.
        return Vec::new();
    }
    // What leaves your machine for a node was sent by the proxy of a published port, most of the time.
    let machine = Spot::Published;
    let mut wires = Vec::new();
    let mut at: Option<Spot> = None;
    for stay in &packet.stays {
        let here = match (&stay.place, at) {
            (Place::Machine, Some(Spot::Gate(node))) => {
                wires.push(layout.wire(Spot::Gate(node), Spot::Bus(node)));
                if stay.is_switched() {
                    at = Some(Spot::Bus(node));
                    continue;
                }
                wires.push(layout.wire(Spot::Bus(node), machine));
                Some(machine)
            }
            (Place::Machine, _) => Some(machine),
            (place, _) => layout.spot(place),
        };
        match (at, here) {
            (Some(from @ Spot::Bus(_)), Some(to @ Spot::Gate(node))) => {
                wires.push(layout.wire(from, Spot::Bus(node)));
                wires.push(layout.wire(Spot::Bus(node), to));
            }
            (Some(from), Some(to)) if from != to => wires.push(layout.wire(from, to)),
            _ => {}
        }
        at = here;
    }
    wires.retain(|wire| wire.len() > 1);
    wires
}

#[cfg(test)]
mod tests {
    use lab::Options;

    use super::*;
    use crate::engine::Engine;

    #[test]
    fn packets_fly_rewritings_are_shown_and_then_it_is_quiet() {
        let mut engine = Engine::new(&Options::default());
        engine.run(
            "kubectl apply -f deployment.yml -f service.yml; sleep 10; curl -s localhost:30007",
        );
        let (mut kinds, mut said) = (BTreeSet::new(), Vec::new());
        for frame in 1..4000 {
            engine.frame(f64::from(frame) * 16.0, || false);
            if frame % 10 == 0 {
                engine.look();
            }
            let now = engine.now();
            for flight in &engine.traffic.flights {
                assert!(flight.wire.len() >= 2 && (0.0..=1.0).contains(&flight.share(now)));
                kinds.insert(flight.kind.word());
            }
            for note in &engine.traffic.notes {
                if !said.contains(&note.what) {
                    said.push(note.what.clone());
                }
            }
        }
        for kind in ["SYN", "SYN-ACK", "data", "ACK", "FIN", "ARP"] {
            assert!(kinds.contains(kind), "{kind} of {kinds:?}");
        }
        let rewritings = said.iter().filter(|said| matches!(said, Said::Rewritten { .. }));
        assert_eq!(rewritings.count(), 2, "{said:?}");
        assert!(!said.iter().any(|said| matches!(said, Said::Lost(_))), "{said:?}");
        assert!(engine.traffic.flights.is_empty() && !engine.traffic.is_busy(engine.now()));
    }
}
