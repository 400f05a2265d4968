//! What can go wrong, by name: a [`Fault`] is applied, shows in what the world does, and is healed.
//!
//! Faults name their places, they do not hold them: one that is applied to `node1/eth0` is there for
//! whatever interface has that name. What was set by hand ([`crate::Net::set_link`]) is not touched by a
//! fault; it shows again when the fault is healed.

use std::fmt;
use std::str::FromStr;

use base::Duration;

use crate::iface::{IfId, IfKind, Iface};
use crate::kernel::Kernel;
use crate::link::LinkConfig;
use crate::ns::NsId;
use crate::route::{PutRoute, Route, RouteKind};
use crate::sim::Net;

/// An interface by name: `namespace/interface`. Namespaces may have slashes in their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The namespace.
    pub ns: String,
    /// The interface.
    pub iface: String,
}

/// Which direction of a cable is meant, as its end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    Both,
    /// What this end sends.
    Out,
    /// What the other end sends.
    In,
}

/// What a bad link does, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impairment {
    /// Loses frames; parts per million.
    Loss(u32),
    /// Takes longer.
    Delay(Duration),
    /// Takes longer or shorter, by chance.
    Jitter(Duration),
    /// Delivers frames twice; parts per million.
    Duplicate(u32),
    /// Holds frames back; parts per million.
    Reorder(u32),
    /// Flips bits in frames; parts per million.
    Corrupt(u32),
    /// Takes only so many bytes a second.
    Rate(u64),
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A cable is cut. Both ends stay up: nobody is told.
    Cut(Port, Direction),
    /// A cable is bad.
    Impair(Port, Impairment),
    /// An interface is down. Healing also brings back the routes that went with it.
    Down(Port),
    /// A machine has no power: nothing goes in or out. Its programs are not touched.
    PowerOff(String),
    /// The network is parted between some namespaces and others; all others if none are named.
    Partition(Vec<String>, Vec<String>),
    /// An interface does not answer ARP.
    ArpSilence(Port),
    /// No more connections than this are tracked.
    ConntrackLimit(String, u32),
}

/// Why a fault was not applied or healed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// There is no such namespace.
    NoNamespace(String),
    /// There is no such interface.
    NoInterface(Port),
    /// The interface is not the end of a cable.
    NoCable(Port),
    /// It is there already.
    Applied,
    /// It is not there.
    NotApplied,
    /// The text does not name a fault.
    Unreadable(String),
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultError::NoNamespace(name) => write!(f, "no such place: {name}"),
            FaultError::NoInterface(port) => write!(f, "no such interface: {port}"),
            FaultError::NoCable(port) => write!(f, "{port} is not the end of a cable"),
            FaultError::Applied => f.write_str("this fault is there already"),
            FaultError::NotApplied => f.write_str("there is no such fault"),
            FaultError::Unreadable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for FaultError {}

/// The faults that are there.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    active: Vec<Fault>,
    /// Routes that went with interfaces that are down by a fault.
    lost_routes: Vec<(Port, Vec<Route>)>,
}

impl Net {
    /// Lets something go wrong.
    pub fn apply_fault(&self, fault: Fault) -> Result<(), FaultError> {
        let mut kernel = self.kernel_mut();
        if kernel.faults.active.contains(&fault) {
            return Err(FaultError::Applied);
        }
        kernel.check_fault(&fault)?;
        if let Fault::Down(port) = &fault {
            kernel.take_down(port)?;
        }
        kernel.faults.active.push(fault);
        kernel.refresh_faults();
        Ok(())
    }

    /// Ends it.
    pub fn heal_fault(&self, fault: &Fault) -> Result<(), FaultError> {
        let mut kernel = self.kernel_mut();
        let at = kernel.faults.active.iter().position(|active| active == fault);
        kernel.faults.active.remove(at.ok_or(FaultError::NotApplied)?);
        if let Fault::Down(port) = fault {
            kernel.bring_up(port);
        }
        if let Fault::ConntrackLimit(ns, _) = fault
            && let Some(here) = kernel.ns_by_name.get(ns).copied()
            && let Some(here) = kernel.ns_mut(here)
        {
            here.netfilter.conntrack_mut().limit = None;
        }
        kernel.refresh_faults();
        Ok(())
    }

    /// The faults that are there, in the order in which they were applied.
    pub fn faults(&self) -> Vec<Fault> {
        self.kernel().faults.active.clone()
    }
}

impl Kernel {
    fn port(&self, port: &Port) -> Result<IfId, FaultError> {
        let missing = || FaultError::NoNamespace(port.ns.clone());
        let ns = self.ns_by_name.get(&port.ns).and_then(|id| self.ns(*id)).ok_or_else(missing)?;
        let is_it = |id: &&IfId| self.iface(**id).is_some_and(|i| i.name.as_str() == port.iface);
        ns.ifaces.iter().find(is_it).copied().ok_or_else(|| FaultError::NoInterface(port.clone()))
    }

    fn check_fault(&self, fault: &Fault) -> Result<(), FaultError> {
        let is_there = |name: &String| match self.ns_by_name.contains_key(name) {
            true => Ok(()),
            false => Err(FaultError::NoNamespace(name.clone())),
        };
        match fault {
            Fault::Cut(port, _) | Fault::Impair(port, _) => {
                let iface = self.iface(self.port(port)?);
                match iface.map(|iface| &iface.kind) {
                    Some(IfKind::Veth { .. }) => Ok(()),
                    _ => Err(FaultError::NoCable(port.clone())),
                }
            }
            Fault::Down(port) | Fault::ArpSilence(port) => self.port(port).map(drop),
            Fault::PowerOff(ns) | Fault::ConntrackLimit(ns, _) => is_there(ns),
            Fault::Partition(some, others) => some.iter().chain(others).try_for_each(is_there),
        }
    }

    fn take_down(&mut self, port: &Port) -> Result<(), FaultError> {
        let id = self.port(port)?;
        let Some(ns) = self.iface(id).map(|iface| iface.ns) else { return Ok(()) };
        let Some(here) = self.ns_mut(ns) else { return Ok(()) };
        let lost = here.fib.forget_dev(id, false);
        self.faults.lost_routes.push((port.clone(), lost));
        self.set_up(id, false);
        Ok(())
    }

    fn bring_up(&mut self, port: &Port) {
        let (lost, others) = std::mem::take(&mut self.faults.lost_routes)
            .into_iter()
            .partition(|(at, _)| at == port);
        self.faults.lost_routes = others;
        let lost: Vec<(Port, Vec<Route>)> = lost;
        let Ok(id) = self.port(port) else { return };
        self.set_up(id, true);
        let Some(ns) = self.iface(id).map(|iface| iface.ns) else { return };
        let Some(here) = self.ns_mut(ns) else { return };
        // Those on the link first: the others' next hops are there.
        let mut lost: Vec<Route> = lost.into_iter().flat_map(|(_, routes)| routes).collect();
        base::order::sort_by_key(&mut lost, |route| route.via.is_some());
        for route in lost.into_iter().filter(|r| r.dev == id && r.kind != RouteKind::Broadcast) {
            // One that came back with an address, or was put in since, is there already.
            let _ = here.fib.put(route, PutRoute::Add);
        }
    }

    /// Brings everything in line with the faults that are there.
    pub(crate) fn refresh_faults(&mut self) {
        let ids: Vec<IfId> = self
            .ifaces
            .iter()
            .map(|(slot, iface)| IfId { slot: slot as u32, serial: iface.serial })
            .collect();
        for id in ids {
            self.refresh_link(id);
        }
        let active = self.faults.active.clone();
        for (_, ns) in self.namespaces.iter_mut() {
            ns.has_no_power =
                active.iter().any(|fault| matches!(fault, Fault::PowerOff(off) if *off == ns.name));
            for fault in &active {
                if let Fault::ConntrackLimit(at, limit) = fault
                    && *at == ns.name
                {
                    ns.netfilter.conntrack_mut().limit = Some(*limit);
                }
            }
        }
        let id_of = |name: &String| self.ns_by_name.get(name).copied();
        let ids = |names: &[String]| names.iter().filter_map(id_of).collect::<Vec<NsId>>();
        self.partitions = active
            .iter()
            .filter_map(|fault| match fault {
                Fault::Partition(some, others) => Some((ids(some), ids(others))),
                _ => None,
            })
            .collect();
    }

    /// Brings one interface in line with the faults that are there.
    pub(crate) fn refresh_link(&mut self, id: IfId) {
        let place = |id: IfId| {
            let iface = self.iface(id)?;
            let ns = self.ns(iface.ns)?;
            Some(Port { ns: ns.name.clone(), iface: iface.name.to_string() })
        };
        if self.faults.active.is_empty() {
            if let Some(iface) = self.iface_mut(id) {
                iface.is_arp_silent = false;
                if let IfKind::Veth { link, sound, .. } = &mut iface.kind {
                    link.clone_from(sound);
                }
            }
            return;
        }
        let Some(own) = place(id) else { return };
        let peer = match self.iface(id).map(|iface| &iface.kind) {
            Some(IfKind::Veth { peer, .. }) => place(*peer),
            _ => None,
        };
        let faults = self.faults.active.clone();
        let Some(iface) = self.iface_mut(id) else { return };
        iface.is_arp_silent =
            faults.iter().any(|fault| matches!(fault, Fault::ArpSilence(port) if *port == own));
        let Iface { kind: IfKind::Veth { link, sound, .. }, .. } = iface else { return };
        link.clone_from(sound);
        for fault in &faults {
            match fault {
                Fault::Cut(port, direction) => {
                    let is_own = *port == own && *direction != Direction::In;
                    let is_peers = peer.as_ref() == Some(port) && *direction != Direction::Out;
                    link.is_cut |= is_own || is_peers;
                }
                Fault::Impair(port, impairment) if *port == own || peer.as_ref() == Some(port) => {
                    impairment.worsen(link);
                }
                _ => {}
            }
        }
    }

    /// The network is parted between the two.
    pub(crate) fn are_parted(&self, from: NsId, to: NsId) -> bool {
        let is_on = |side: &[NsId], ns| side.contains(&ns);
        from != to
            && from != NsId::NONE
            && self.partitions.iter().any(|(some, others)| {
                let (a, b) = (is_on(some, from), is_on(some, to));
                let is_other = |ns| others.is_empty() || is_on(others, ns);
                a != b && is_other(if a { to } else { from })
            })
    }
}

impl Impairment {
    fn worsen(self, link: &mut LinkConfig) {
        match self {
            Impairment::Loss(ppm) => link.loss_ppm = link.loss_ppm.max(ppm),
            Impairment::Delay(more) => link.latency += more,
            Impairment::Jitter(more) => link.jitter = link.jitter.max(more),
            Impairment::Duplicate(ppm) => link.duplicate_ppm = link.duplicate_ppm.max(ppm),
            Impairment::Reorder(ppm) => link.reorder_ppm = link.reorder_ppm.max(ppm),
            Impairment::Corrupt(ppm) => link.corrupt_ppm = link.corrupt_ppm.max(ppm),
            Impairment::Rate(rate) => link.rate = Some(link.rate.map_or(rate, |r| r.min(rate))),
        }
    }
}

// ---- names ---------------------------------------------------------------------------------------------

/// How a fault is written, for a command's help.
pub const FAULT_FORMS: [&str; 15] = [
    "cut PLACE/INTERFACE",
    "cut-out PLACE/INTERFACE",
    "cut-in PLACE/INTERFACE",
    "loss PLACE/INTERFACE PERCENT%",
    "delay PLACE/INTERFACE TIME",
    "jitter PLACE/INTERFACE TIME",
    "duplicate PLACE/INTERFACE PERCENT%",
    "reorder PLACE/INTERFACE PERCENT%",
    "corrupt PLACE/INTERFACE PERCENT%",
    "rate PLACE/INTERFACE BITS",
    "down PLACE/INTERFACE",
    "power-off PLACE",
    "partition PLACE,… [PLACE,…]",
    "arp-silence PLACE/INTERFACE",
    "conntrack-limit PLACE NUMBER",
];

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ns, self.iface)
    }
}

impl FromStr for Port {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Port, FaultError> {
        match text.rsplit_once('/') {
            Some((ns, iface)) if !ns.is_empty() && !iface.is_empty() => {
                Ok(Port { ns: ns.to_string(), iface: iface.to_string() })
            }
            _ => Err(FaultError::Unreadable(format!("'{text}' is not PLACE/INTERFACE"))),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Cut(port, direction) => {
                let word = match direction {
                    Direction::Both => "cut",
                    Direction::Out => "cut-out",
                    Direction::In => "cut-in",
                };
                write!(f, "{word} {port}")
            }
            Fault::Impair(port, impairment) => {
                let (word, value) = impairment.words();
                write!(f, "{word} {port} {value}")
            }
            Fault::Down(port) => write!(f, "down {port}"),
            Fault::PowerOff(ns) => write!(f, "power-off {ns}"),
            Fault::Partition(some, others) if others.is_empty() => {
                write!(f, "partition {}", some.join(","))
            }
            Fault::Partition(some, others) => {
                write!(f, "partition {} {}", some.join(","), others.join(","))
            }
            Fault::ArpSilence(port) => write!(f, "arp-silence {port}"),
            Fault::ConntrackLimit(ns, limit) => write!(f, "conntrack-limit {ns} {limit}"),
        }
    }
}

impl Impairment {
    fn words(self) -> (&'static str, String) {
        match self {
            Impairment::Loss(ppm) => ("loss", percent(ppm)),
            Impairment::Delay(time) => ("delay", span(time)),
            Impairment::Jitter(time) => ("jitter", span(time)),
            Impairment::Duplicate(ppm) => ("duplicate", percent(ppm)),
            Impairment::Reorder(ppm) => ("reorder", percent(ppm)),
            Impairment::Corrupt(ppm) => ("corrupt", percent(ppm)),
            Impairment::Rate(bytes) => ("rate", bits(bytes)),
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Fault, FaultError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let Some((kind, rest)) = words.split_first() else { return Err(unknown("")) };
        let list = |text: &str| text.split(',').map(str::to_string).collect::<Vec<String>>();
        let impair = |port: &str, impairment| Ok(Fault::Impair(port.parse()?, impairment));
        match (*kind, rest) {
            ("cut", [port]) => Ok(Fault::Cut(port.parse()?, Direction::Both)),
            ("cut-out", [port]) => Ok(Fault::Cut(port.parse()?, Direction::Out)),
            ("cut-in", [port]) => Ok(Fault::Cut(port.parse()?, Direction::In)),
            ("loss", [port, value]) => impair(port, Impairment::Loss(read_percent(value)?)),
            ("delay", [port, value]) => impair(port, Impairment::Delay(read_span(value)?)),
            ("jitter", [port, value]) => impair(port, Impairment::Jitter(read_span(value)?)),
            ("duplicate", [port, value]) => {
                impair(port, Impairment::Duplicate(read_percent(value)?))
            }
            ("reorder", [port, value]) => impair(port, Impairment::Reorder(read_percent(value)?)),
            ("corrupt", [port, value]) => impair(port, Impairment::Corrupt(read_percent(value)?)),
            ("rate", [port, value]) => impair(port, Impairment::Rate(read_bits(value)?)),
            ("down", [port]) => Ok(Fault::Down(port.parse()?)),
            ("power-off", [ns]) => Ok(Fault::PowerOff(ns.to_string())),
            ("partition", [some]) => Ok(Fault::Partition(list(some), Vec::new())),
            ("partition", [some, others]) => Ok(Fault::Partition(list(some), list(others))),
            ("arp-silence", [port]) => Ok(Fault::ArpSilence(port.parse()?)),
            ("conntrack-limit", [ns, limit]) => match limit.parse() {
                Ok(limit) => Ok(Fault::ConntrackLimit(ns.to_string(), limit)),
                Err(_) => Err(FaultError::Unreadable(format!("'{limit}' is not a number"))),
            },
            (kind, _) => Err(unknown(kind)),
        }
    }
}

fn unknown(kind: &str) -> FaultError {
    let form = FAULT_FORMS.iter().find(|form| form.split(' ').next() == Some(kind));
    FaultError::Unreadable(match form {
        Some(form) => format!("usage: {form}"),
        None => format!("no fault is called '{kind}'"),
    })
}

fn percent(ppm: u32) -> String {
    let (whole, rest) = (ppm / 10_000, ppm % 10_000);
    if rest == 0 {
        return format!("{whole}%");
    }
    format!("{whole}.{}%", format!("{rest:04}").trim_end_matches('0'))
}

fn read_percent(text: &str) -> Result<u32, FaultError> {
    let bad = || FaultError::Unreadable(format!("'{text}' is not between 0% and 100%"));
    let number = text.strip_suffix('%').ok_or_else(bad)?;
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(rest) || rest.len() > 4 {
        return Err(bad());
    }
    let whole: u32 = whole.parse().map_err(|_| bad())?;
    let rest: u32 = format!("{rest:0<4}").parse().map_err(|_| bad())?;
    let ppm = whole.checked_mul(10_000).and_then(|ppm| ppm.checked_add(rest)).ok_or_else(bad)?;
    if ppm > 1_000_000 { Err(bad()) } else { Ok(ppm) }
}

const SPANS: [(&str, u64); 3] = [("us", 1), ("ms", 1000), ("s", 1_000_000)];

fn span(time: Duration) -> String {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let fits = SPANS.iter().rev().find(|(_, unit)| micros.is_multiple_of(*unit));
    fits.map_or(String::new(), |(name, unit)| format!("{}{name}", micros / unit))
}

fn read_span(text: &str) -> Result<Duration, FaultError> {
    let bad = || FaultError::Unreadable(format!("'{text}' is not a time such as 100ms"));
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(at);
    let unit = SPANS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1;
    let number: u64 = number.parse().map_err(|_| bad())?;
    // More than an hour would be no delay any more.
    let micros = number.checked_mul(unit).filter(|m| *m <= 3_600_000_000).ok_or_else(bad)?;
    Ok(Duration::from_micros(micros))
}

const RATES: [(&str, u64); 4] =
    [("bit", 1), ("kbit", 1000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];

fn bits(bytes: u64) -> String {
    let bits = bytes.saturating_mul(8);
    let fits = RATES.iter().rev().find(|(_, unit)| bits.is_multiple_of(*unit));
    fits.map_or(String::new(), |(name, unit)| format!("{}{name}", bits / unit))
}

fn read_bits(text: &str) -> Result<u64, FaultError> {
    let bad = || FaultError::Unreadable(format!("'{text}' is not a rate such as 10mbit"));
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(at);
    let unit = RATES.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1;
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(unit).map(|bits| bits / 8).filter(|bytes| *bytes > 0).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_written_as_they_are_read() {
        for text in [
            "cut node1/eth0",
            "cut-out node1/eth0",
            "cut-in pod/default/web-0/eth0",
            "loss a/eth0 12.5%",
            "loss a/eth0 0.0001%",
            "delay a/eth0 100ms",
            "jitter a/eth0 1500us",
            "duplicate a/eth0 100%",
            "reorder a/eth0 1%",
            "corrupt a/eth0 1%",
            "rate a/eth0 10mbit",
            "rate a/eth0 56kbit",
            "down a/eth0",
            "power-off a",
            "partition a,b",
            "partition a,b c",
            "arp-silence a/eth0",
            "conntrack-limit a 100",
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_fault_is_refused_in_one_line() {
        for (text, why) in [
            ("", "no fault is called ''"),
            ("explode a", "no fault is called 'explode'"),
            ("cut", "usage: cut PLACE/INTERFACE"),
            ("cut a", "'a' is not PLACE/INTERFACE"),
            ("cut a/", "'a/' is not PLACE/INTERFACE"),
            ("loss a/b 101%", "'101%' is not between 0% and 100%"),
            ("loss a/b 5", "'5' is not between 0% and 100%"),
            ("loss a/b 99999999999%", "'99999999999%' is not between 0% and 100%"),
            ("loss a/b 1.é%", "'1.é%' is not between 0% and 100%"),
            ("delay a/b 5", "'5' is not a time such as 100ms"),
            (
                "delay a/b 99999999999999999999s",
                "'99999999999999999999s' is not a time such as 100ms",
            ),
            ("rate a/b 0bit", "'0bit' is not a rate such as 10mbit"),
            ("conntrack-limit a -1", "'-1' is not a number"),
        ] {
            assert_eq!(text.parse::<Fault>().unwrap_err().to_string(), why, "{text}");
        }
    }
}
