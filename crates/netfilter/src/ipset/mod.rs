//! Sets of addresses, networks and ports, as `ipset` makes them (`net/netfilter/ipset`).
//!
//! - [`Sets`]: all sets of a namespace;
//! - [`element`]: what can be in a set, and its text;
//! - [`command`]: `ipset`, carried out.
//!
//! **Invariant:** elements are kept and shown in order, not in the kernel's order of hashes.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]

pub mod command;
pub mod element;

use base::tree::BTreeMap;
use std::net::Ipv4Addr;

use base::{Duration, Instant};
use packet::{L4, protocol};
use smallvec::SmallVec;

use crate::rule::Wanted;
use crate::table::Counters;
pub use element::{Element, Kind};

/// What is compared with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The same.
    Equal(u64),
    /// Less than it.
    Less(u64),
    /// More than it.
    Greater(u64),
}

impl Comparison {
    fn fits(self, count: u64) -> bool {
        match self {
            Comparison::Equal(value) => count == value,
            Comparison::Less(value) => count < value,
            Comparison::Greater(value) => count > value,
        }
    }
}

/// A packet, as a set is asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    pub(crate) addrs: (Ipv4Addr, Ipv4Addr),
    pub(crate) ports: Option<(u16, u16)>,
    pub(crate) protocol: u8,
    pub(crate) l4: L4,
    /// For each part of an element: the source; else the destination.
    pub(crate) source: SmallVec<[bool; 3]>,
}

impl Probe {
    fn is_source(&self, part: usize) -> Option<bool> {
        self.source.get(part).copied()
    }

    fn addr(&self, part: usize) -> Option<Ipv4Addr> {
        let (src, dst) = self.addrs;
        Some(if self.is_source(part)? { src } else { dst })
    }

    /// The port; for ICMP its type and code, as ipset packs them; 0 where a protocol has none (`get_port`).
    fn port(&self, part: usize) -> Option<u16> {
        let is_source = self.is_source(part)?;
        match (self.ports, self.l4) {
            (Some((sport, dport)), _) => Some(if is_source { sport } else { dport }),
            (None, L4::Icmp { kind, code, .. }) => Some(u16::from(kind) << 8 | u16::from(code)),
            (None, L4::Other) if !element::has_ports(self.protocol) => Some(0),
            _ => None,
        }
    }
}

/// How a set is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub(crate) now: Instant,
    pub(crate) len: u16,
    pub(crate) counts: bool,
    /// Counters of the members of a list count too.
    pub(crate) counts_members: bool,
    pub(crate) return_nomatch: bool,
    pub(crate) packets: Option<Wanted<Comparison>>,
    pub(crate) bytes: Option<Wanted<Comparison>>,
}

/// What a set was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetOptions {
    /// `timeout`, seconds; 0: elements stay. `None`: elements have no timeouts.
    pub timeout: Option<u32>,
    /// `counters`
    pub counters: bool,
    /// `comment`
    pub comment: bool,
    /// `hashsize`
    pub hashsize: u32,
    /// `maxelem`
    pub maxelem: u32,
    /// `netmask`, of `hash:ip`.
    pub netmask: u8,
    /// `size`, of `list:set`.
    pub size: u32,
    /// `range`, of `bitmap:port`.
    pub range: (u16, u16),
}

impl Default for SetOptions {
    fn default() -> Self {
        SetOptions {
            timeout: None,
            counters: false,
            comment: false,
            hashsize: 1024,
            maxelem: 65_536,
            netmask: 32,
            size: 8,
            range: (0, 65_535),
        }
    }
}

/// What a set knows of an element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Gone at this time.
    pub expires: Option<Instant>,
    /// `nomatch`: an exception from a larger network.
    pub nomatch: bool,
    /// Packets and bytes that fitted.
    pub counters: Counters,
    /// `comment`
    pub comment: String,
}

impl Entry {
    fn is_alive(&self, now: Instant) -> bool {
        self.expires.is_none_or(|at| now < at)
    }

    /// Counts a packet, and compares what is counted by now (`ip_set_match_extensions`).
    fn counts_as_asked(&mut self, query: &Query) -> bool {
        if query.counts {
            self.counters.add(query.len);
        }
        let fits = |wanted: Option<Wanted<Comparison>>, count| {
            wanted.is_none_or(|w| w.value.fits(count) != w.not)
        };
        fits(query.packets, self.counters.packets) && fits(query.bytes, self.counters.bytes)
    }
}

/// A set.
#[derive(Clone, Debug)]
pub struct Set {
    /// What its elements are.
    pub kind: Kind,
    /// What it was made with.
    pub options: SetOptions,
    entries: BTreeMap<Element, Entry>,
    /// How many networks of each length there are, so that only those are asked for.
    lens: [u32; 33],
    /// Members of a `list:set`, in order.
    members: Vec<String>,
    /// Rises with every set that is made.
    serial: u64,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is there already.
    Exists,
    /// It is not there.
    Missing,
    /// No room for another.
    Full,
    /// `0.0.0.0`, which a hash of addresses does not take.
    Null,
}

impl Set {
    fn new(kind: Kind, options: SetOptions, serial: u64) -> Set {
        let (entries, members) = (BTreeMap::new(), Vec::new());
        Set { kind, options, entries, lens: [0; 33], members, serial }
    }

    /// Elements that are alive at `now`, in order.
    pub fn entries(&self, now: Instant) -> impl Iterator<Item = (&Element, &Entry)> {
        self.entries.iter().filter(move |(_, entry)| entry.is_alive(now))
    }

    fn insert(
        &mut self,
        element: Element,
        entry: Entry,
        now: Instant,
        again: bool,
    ) -> Result<(), Refused> {
        if let Element::Set(name) = &element {
            return self.insert_member(name, again);
        }
        if matches!(self.kind, Kind::HashIp | Kind::HashIpPort)
            && let Element::Net((Ipv4Addr::UNSPECIFIED, _))
            | Element::NetPort((Ipv4Addr::UNSPECIFIED, _), _) = &element
        {
            return Err(Refused::Null);
        }
        if let Some(old) = self.entries.get_mut(&element)
            && old.is_alive(now)
        {
            if !again {
                return Err(Refused::Exists);
            }
            *old = entry;
            return Ok(());
        }
        let is_new = !self.entries.contains_key(&element);
        if is_new && self.entries.len() >= self.options.maxelem as usize {
            self.collect(now);
            if self.entries.len() >= self.options.maxelem as usize {
                return Err(Refused::Full);
            }
        }
        if is_new && let Some(count) = self.lens.get_mut(usize::from(element.len())) {
            *count += 1;
        }
        self.entries.insert(element, entry);
        Ok(())
    }

    fn insert_member(&mut self, name: &str, again: bool) -> Result<(), Refused> {
        if self.members.iter().any(|member| member == name) {
            return if again { Ok(()) } else { Err(Refused::Exists) };
        }
        if self.members.len() >= self.options.size as usize {
            return Err(Refused::Full);
        }
        self.members.push(name.to_string());
        Ok(())
    }

    fn remove(&mut self, element: &Element, now: Option<Instant>) -> Result<(), Refused> {
        if let Element::Set(name) = element {
            let at = self.members.iter().position(|member| member == name);
            self.members.remove(at.ok_or(Refused::Missing)?);
            return Ok(());
        }
        let entry = self.entries.remove(element).ok_or(Refused::Missing)?;
        if let Some(count) = self.lens.get_mut(usize::from(element.len())) {
            *count -= 1;
        }
        let is_alive = now.is_none_or(|now| entry.is_alive(now));
        if is_alive { Ok(()) } else { Err(Refused::Missing) }
    }

    fn collect(&mut self, now: Instant) {
        let gone: Vec<Element> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.is_alive(now))
            .map(|(element, _)| element.clone())
            .collect();
        for element in gone {
            let _ = self.remove(&element, None);
        }
    }

    fn flush(&mut self) {
        self.entries.clear();
        self.members.clear();
        self.lens = [0; 33];
    }

    /// The element that a packet is to this set, with networks of `len` bits.
    fn element_of(&self, probe: &Probe, len: u8) -> Option<Element> {
        let net = |part, len| probe.addr(part).map(|addr| element::network(addr, len));
        let port = |part| Some((probe.protocol, probe.port(part)?));
        Some(match self.kind {
            Kind::HashIp => Element::Net((net(0, self.options.netmask)?.0, 32)),
            Kind::HashNet => Element::Net(net(0, len)?),
            Kind::HashIpPort => Element::NetPort(net(0, 32)?, port(1)?),
            Kind::HashNetPort => Element::NetPort(net(0, len)?, port(1)?),
            Kind::HashIpPortIp => Element::NetPortIp(net(0, 32)?, port(1)?, probe.addr(2)?),
            Kind::HashIpPortNet => Element::IpPortNet(probe.addr(0)?, port(1)?, net(2, len)?),
            Kind::BitmapPort => {
                let has_ports = matches!(probe.protocol, protocol::TCP | protocol::UDP);
                Element::Port(probe.port(0).filter(|_| has_ports)?)
            }
            Kind::ListSet => return None,
        })
    }

    /// Whether `ipset test` finds the element: an address in a set of networks is in the longest that holds
    /// it.
    fn holds(&self, element: &Element, now: Instant) -> bool {
        let is_here = |element: &Element| self.entries.get(element).filter(|e| e.is_alive(now));
        match element {
            Element::Set(name) => self.members.contains(name),
            Element::Net((addr, 32)) if self.has_networks() => (0..=32)
                .rev()
                .find_map(|len| is_here(&Element::Net(element::network(*addr, len))))
                .is_some_and(|entry| !entry.nomatch),
            Element::NetPort((addr, 32), at) if self.has_networks() => (0..=32)
                .rev()
                .find_map(|len| is_here(&Element::NetPort(element::network(*addr, len), *at)))
                .is_some_and(|entry| !entry.nomatch),
            Element::IpPortNet(host, at, (addr, 32)) => (0..=32)
                .rev()
                .find_map(|len| {
                    is_here(&Element::IpPortNet(*host, *at, element::network(*addr, len)))
                })
                .is_some_and(|entry| !entry.nomatch),
            element => is_here(element).is_some(),
        }
    }

    fn has_networks(&self) -> bool {
        matches!(self.kind, Kind::HashNet | Kind::HashNetPort | Kind::HashIpPortNet)
    }

    /// Whether a packet is in the set: of networks the longest that it fits decides.
    fn test(&mut self, probe: &Probe, query: &Query) -> bool {
        let (has_networks, has_counters) = (self.has_networks(), self.options.counters);
        for len in (0..=32u8).rev() {
            let count = self.lens.get(usize::from(len)).copied().unwrap_or(0);
            if has_networks && count == 0 {
                continue;
            }
            let Some(element) = self.element_of(probe, len) else { return false };
            if let Some(entry) = self.entries.get_mut(&element)
                && entry.is_alive(query.now)
                && (!has_counters || entry.counts_as_asked(query))
            {
                return !has_networks || entry.nomatch == query.return_nomatch;
            }
            if !has_networks {
                break;
            }
        }
        false
    }

    /// What a packet adds to the set or takes from it: a network is as long as the longest there is.
    fn element_to_change(&self, probe: &Probe) -> Option<Element> {
        let longest = self.lens.iter().rposition(|count| *count > 0).unwrap_or(32);
        let len = if self.has_networks() { longest as u8 } else { 32 };
        self.element_of(probe, len)
    }

    /// The time at which an element that is added now goes.
    fn expiry(&self, timeout: Option<Duration>, now: Instant) -> Option<Instant> {
        let usual = Duration::from_secs(u64::from(self.options.timeout?));
        let timeout = timeout.unwrap_or(usual);
        (timeout > Duration::from_secs(0)).then(|| now + timeout)
    }
}

/// All sets of a namespace, by name.
#[derive(Clone, Debug, Default)]
pub struct Sets(BTreeMap<String, Set>);

impl Sets {
    /// The set of this name.
    pub fn get(&self, name: &str) -> Option<&Set> {
        self.0.get(name)
    }

    /// All sets, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Set)> {
        self.0.iter().map(|(name, set)| (name.as_str(), set))
    }

    /// Makes a set, empty; one of the same name is replaced.
    pub fn create(&mut self, name: &str, kind: Kind, options: SetOptions) {
        let serial = self.0.values().map(|set| set.serial + 1).max().unwrap_or(0);
        self.0.insert(name.to_string(), Set::new(kind, options, serial));
    }

    /// Makes a set of the usual size, if there is none of this name.
    pub fn ensure(&mut self, name: &str, kind: Kind) {
        if self.get(name).is_none() {
            self.create(name, kind, SetOptions::default());
        }
    }

    /// Puts an element into a set. `false`: it is there, or there is no room, or no such set.
    pub fn put(&mut self, name: &str, element: Element) -> bool {
        let now = Instant::ZERO;
        let set = self.0.get_mut(name);
        set.is_some_and(|set| set.insert(element, Entry::default(), now, false).is_ok())
    }

    /// Takes an element out of a set. `false`: it is not there.
    pub fn take(&mut self, name: &str, element: &Element) -> bool {
        self.0.get_mut(name).is_some_and(|set| set.remove(element, None).is_ok())
    }

    /// Sets of which a `list:set` is made.
    fn is_member(&self, name: &str) -> bool {
        self.0.values().any(|set| set.members.iter().any(|member| member == name))
    }

    /// Whether a packet is in the set; of a `list:set`, in one of its members.
    pub(crate) fn test(&mut self, name: &str, probe: &Probe, query: &Query) -> bool {
        let Some(set) = self.0.get_mut(name) else { return false };
        if set.kind != Kind::ListSet {
            return set.test(probe, query);
        }
        let counts = query.counts && query.counts_members;
        let query = Query { counts, packets: None, bytes: None, ..*query };
        self.any_member(name, |set| set.test(probe, &query))
    }

    /// Goes through the members of a list until one is what is looked for.
    fn any_member(&mut self, name: &str, mut is_it: impl FnMut(&mut Set) -> bool) -> bool {
        for at in 0.. {
            let Some(member) = self.0.get(name).and_then(|set| set.members.get(at)) else { break };
            let member = member.clone();
            if let Some(set) = self.0.get_mut(&member)
                && set.kind != Kind::ListSet
                && is_it(set)
            {
                return true;
            }
        }
        false
    }

    /// Puts a packet of `len` bytes into a set; of a list, into the first member that takes it.
    pub(crate) fn add_packet(
        &mut self,
        name: &str,
        (probe, len): (&Probe, u16),
        timeout: Option<Duration>,
        again: bool,
        now: Instant,
    ) {
        let add = |set: &mut Set| {
            let Some(element) = set.element_to_change(probe) else { return false };
            // The packet that makes the element is the first that is counted.
            let mut entry = Entry { expires: set.expiry(timeout, now), ..Entry::default() };
            entry.counters.add(len);
            set.insert(element, entry, now, again).is_ok()
        };
        self.change(name, add);
    }

    /// Takes a packet out of a set; of a list, out of the first member that has it.
    pub(crate) fn del_packet(&mut self, name: &str, probe: &Probe) {
        let del = |set: &mut Set| {
            let element = set.element_to_change(probe);
            element.is_some_and(|element| set.remove(&element, None).is_ok())
        };
        self.change(name, del);
    }

    fn change(&mut self, name: &str, mut change: impl FnMut(&mut Set) -> bool) {
        match self.0.get_mut(name) {
            Some(set) if set.kind != Kind::ListSet => {
                change(set);
            }
            _ => {
                self.any_member(name, change);
            }
        }
    }
}
