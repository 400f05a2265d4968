//! What is written down of a packet's way.
//!
//! A [`Step`] is one thing that happened to one packet in one place. Steps are kept for what a person
//! started ([`Cause`] above zero), for everything, or not at all; the number kept is bounded.

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv4Addr;
use std::rc::Rc;

use base::Instant;
use netfilter::IfName;
use netfilter::trace::HookTrace;
use packet::{Arp, Packet, tcpdump};

use crate::addr::Cidr;
use crate::iface::IfId;
use crate::ns::NsId;
use crate::path::DropReason;

/// Stands for a packet from the stack that made it to the stack that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(pub u64);

/// What a packet was sent for: the number of a request that somebody started; 0 for the rest.
///
/// It is passed on: to the connections that a proxy opens for a connection it accepted, to the answers, to
/// the ARP questions that a packet makes necessary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause(pub u32);

/// What is to be written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceMode {
    /// Nothing.
    #[default]
    Off,
    /// Packets with a cause.
    Caused,
    /// Packets with this cause.
    One(Cause),
    /// Every packet.
    All,
}

/// One thing that happened to a packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Rises by one with every step written down.
    pub serial: u64,
    /// When.
    pub at: Instant,
    /// To which packet.
    pub packet: PacketId,
    /// What the packet was sent for.
    pub cause: Cause,
    /// Where.
    pub ns: NsId,
    /// What.
    pub kind: StepKind,
    /// The frame's payload (IPv4 packet or ARP) as it was after the step.
    pub bytes: Rc<[u8]>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum StepKind {
    /// The namespace's stack made it.
    Made,
    /// It came in by an interface.
    Received {
        /// Which.
        iface: IfName,
    },
    /// It passed a hook, or did not.
    Hook(HookTrace),
    /// The routing table was asked.
    Routed(Routed),
    /// It waits for an answer to "who has …?".
    Waits {
        /// The neighbour that is asked for.
        next_hop: Ipv4Addr,
        /// By which interface.
        iface: IfName,
    },
    /// It was put on a link.
    Sent {
        /// The interface it left by.
        iface: IfName,
        /// That interface.
        from: IfId,
        /// The interface at the other end.
        to: IfId,
        /// The namespace that is in.
        to_ns: NsId,
        /// When it will be there.
        arrives: Instant,
    },
    /// A switch passed it on.
    Switched {
        /// The switch.
        bridge: IfName,
        /// The ports it left by.
        ports: Vec<IfName>,
    },
    /// The namespace's own stack took it.
    Delivered,
    /// It is gone.
    Dropped(DropReason),
}

/// An answer of the routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routed {
    /// One of the namespace's own addresses.
    Local,
    /// By this route.
    By {
        /// Its prefix.
        dst: Cidr,
        /// Its next hop.
        via: Option<Ipv4Addr>,
        /// Its interface.
        dev: IfName,
    },
}

impl fmt::Display for StepKind {
    /// One line; the rules of a hook on lines of their own after it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepKind::Made => f.write_str("made"),
            StepKind::Received { iface } => write!(f, "in by {iface}"),
            StepKind::Hook(trace) => {
                write!(f, "{}", trace.hook)?;
                for event in &trace.events {
                    for line in event.to_string().lines() {
                        write!(f, "\n  {line}")?;
                    }
                }
                Ok(())
            }
            StepKind::Routed(Routed::Local) => f.write_str("for this host"),
            StepKind::Routed(Routed::By { dst, via: Some(via), dev }) => {
                write!(f, "route {dst} via {via} dev {dev}")
            }
            StepKind::Routed(Routed::By { dst, via: None, dev }) => {
                write!(f, "route {dst} dev {dev}")
            }
            StepKind::Waits { next_hop, iface } => {
                write!(f, "waits for the hardware address of {next_hop} on {iface}")
            }
            StepKind::Sent { iface, .. } => write!(f, "out by {iface}"),
            StepKind::Switched { bridge, ports } => {
                let ports: Vec<&str> = ports.iter().map(IfName::as_str).collect();
                write!(f, "switched by {bridge} to {}", ports.join(", "))
            }
            StepKind::Delivered => f.write_str("delivered"),
            StepKind::Dropped(reason) => write!(f, "lost: {reason}"),
        }
    }
}

impl Step {
    /// The line tcpdump would print for the packet as it was after the step.
    pub fn tcpdump(&self) -> String {
        match Packet::parse(self.bytes.to_vec()) {
            Ok(packet) => tcpdump::Line::new(&packet).to_string(),
            Err(_) => Arp::parse(&self.bytes).map(|arp| arp.to_string()).unwrap_or_default(),
        }
    }
}

/// Steps kept at most; of more, the oldest are forgotten.
pub const STEPS_MAX: usize = 200_000;

/// Bytes that the packets of all steps take at most, unless set otherwise.
pub const STEP_BYTES_MAX: usize = 256 << 20;

/// Keeps steps.
#[derive(Debug)]
pub(crate) struct Tracer {
    pub(crate) mode: TraceMode,
    steps: VecDeque<Step>,
    next_serial: u64,
    last_bytes: Option<(PacketId, Rc<[u8]>)>,
    /// Bytes of the packets of all steps, those that steps share counted once.
    bytes: usize,
    steps_max: usize,
    bytes_max: usize,
}

impl Default for Tracer {
    fn default() -> Self {
        Tracer {
            mode: TraceMode::Off,
            steps: VecDeque::new(),
            next_serial: 0,
            last_bytes: None,
            bytes: 0,
            steps_max: STEPS_MAX,
            bytes_max: STEP_BYTES_MAX,
        }
    }
}

impl Tracer {
    #[inline]
    pub(crate) fn wants(&self, cause: Cause) -> bool {
        match self.mode {
            TraceMode::Off => false,
            TraceMode::Caused => cause != Cause(0),
            TraceMode::One(only) => cause == only,
            TraceMode::All => true,
        }
    }

    /// Writes a step down. Cold, so that what leads here stays out of the way of what does not.
    #[cold]
    pub(crate) fn record(
        &mut self,
        at: Instant,
        (packet, cause): (PacketId, Cause),
        ns: NsId,
        bytes: &[u8],
        kind: StepKind,
    ) {
        let bytes = self.share(packet, bytes);
        let serial = self.next_serial;
        self.next_serial += 1;
        self.steps.push_back(Step { serial, at, packet, cause, ns, kind, bytes });
        self.trim();
    }

    pub(crate) fn set_limits(&mut self, steps: usize, bytes: usize) {
        (self.steps_max, self.bytes_max) = (steps, bytes);
        self.trim();
    }

    fn trim(&mut self) {
        while self.steps.len() > self.steps_max || self.bytes > self.bytes_max {
            if !self.forget_first() {
                return;
            }
        }
    }

    fn forget_first(&mut self) -> bool {
        let Some(step) = self.steps.pop_front() else { return false };
        // Steps that share their bytes follow one another.
        let is_shared = self.steps.front().is_some_and(|s| Rc::ptr_eq(&s.bytes, &step.bytes));
        if !is_shared {
            self.bytes = self.bytes.saturating_sub(step.bytes.len());
        }
        if self.steps.is_empty() {
            self.last_bytes = None;
        }
        true
    }

    /// The bytes, shared with the packet's last step where they have not changed.
    fn share(&mut self, packet: PacketId, bytes: &[u8]) -> Rc<[u8]> {
        match &self.last_bytes {
            Some((last, shared)) if *last == packet && **shared == *bytes => shared.clone(),
            _ => {
                let shared: Rc<[u8]> = bytes.into();
                self.bytes += shared.len();
                self.last_bytes = Some((packet, shared.clone()));
                shared
            }
        }
    }

    /// The steps from number `serial` on that are still kept.
    pub(crate) fn since(&self, serial: u64) -> impl Iterator<Item = &Step> {
        let at = self.steps.partition_point(|step| step.serial < serial);
        self.steps.range(at..)
    }

    pub(crate) fn next_serial(&self) -> u64 {
        self.next_serial
    }

    /// Forgets the steps before number `serial`.
    pub(crate) fn forget_before(&mut self, serial: u64) {
        while self.steps.front().is_some_and(|step| step.serial < serial) {
            self.forget_first();
        }
    }
}
