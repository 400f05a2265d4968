//! The world's owner, and the handle that everybody else holds.

use std::cell::{Ref, RefCell, RefMut};
use std::net::Ipv4Addr;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};

use base::{Instant, Rng};
use netfilter::{Netfilter, Skb};
use packet::Mac;

use crate::addr::Cidr;
use crate::drops::DropReason;
use crate::exec::{Job, TaskId};
use crate::frag::Fragments;
use crate::icmp::IcmpLimits;
use crate::iface::{IfAddr, IfId, IfKind, IfStats, Iface};
use crate::kernel::Kernel;
use crate::neigh::Neighbours;
use crate::ns::{Namespace, NsId, PathMtus};
use crate::path::PacketCounts;
use crate::queue::Event;
use crate::route::{Fib, Flow, Route, RouteKind, TABLE_MAIN};
use crate::socket::Sockets;
use crate::sysctl::{IfKey, Sysctls};
use crate::trace::{Cause, PacketId, Step, TraceMode};

/// Owns a world: its state and its programs. When it is dropped, all programs are.
pub struct Sim {
    net: Net,
}

/// A world, to build it and to look at it. Cheap to copy; does not keep programs alive.
#[derive(Clone)]
pub struct Net {
    shared: Rc<Shared>,
}

/// A [`Net`] that does not keep the world alive.
pub(crate) struct WeakNet(Weak<Shared>);

impl WeakNet {
    pub(crate) fn upgrade(&self) -> Option<Net> {
        self.0.upgrade().map(|shared| Net { shared })
    }
}

struct Shared {
    kernel: RefCell<Kernel>,
    jobs: RefCell<Vec<Option<Job>>>,
}

/// How far [`Sim::advance`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// Up to the time asked for.
    Reached,
    /// The budget was used up first.
    OutOfBudget,
}

impl Sim {
    /// An empty world at time zero.
    pub fn new(seed: u64) -> Sim {
        let kernel = RefCell::new(Kernel::new(seed));
        Sim { net: Net { shared: Rc::new(Shared { kernel, jobs: RefCell::default() }) } }
    }

    /// The handle.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Does the next thing that happens by `until`, one event or one task's turn. `false`: there is none,
    /// and the clock stands at `until`.
    pub fn step(&self, until: Instant) -> bool {
        let mut kernel = self.net.kernel_mut();
        if let Some(task) = kernel.scheduler.next_ready() {
            drop(kernel);
            self.run(task);
            return true;
        }
        match kernel.queue.pop_by(until) {
            Some((at, event)) => {
                kernel.now = kernel.now.max(at);
                kernel.dispatch(event);
                true
            }
            None => {
                kernel.now = kernel.now.max(until);
                false
            }
        }
    }

    /// Lets the world run until the clock shows `until`, in at most `budget` steps.
    pub fn advance(&self, until: Instant, budget: u32) -> Advance {
        for _ in 0..budget {
            if !self.step(until) {
                return Advance::Reached;
            }
        }
        Advance::OutOfBudget
    }

    /// When the next thing happens, if anything does. Now, when a task can go on.
    pub fn next_at(&self) -> Option<Instant> {
        let kernel = self.net.kernel();
        if kernel.scheduler.has_ready() { Some(kernel.now) } else { kernel.queue.next_at() }
    }

    fn run(&self, task: TaskId) {
        let Some(mut job) = self.net.take_job(task) else { return };
        self.net.kernel_mut().scheduler.set_current(Some(task));
        let poll = job.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        // While it runs, a task may end its own process; then there is no place for it any more.
        let goes_on = poll.is_pending() && self.net.kernel().scheduler.exists(task);
        if goes_on {
            self.net.put_job(task, job);
        } else {
            drop(job);
            self.net.kernel_mut().scheduler.finished(task);
        }
        self.net.kernel_mut().scheduler.set_current(None);
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // Programs hold handles of the world they live in; without this they would keep it alive.
        let jobs = std::mem::take(&mut *self.net.shared.jobs.borrow_mut());
        drop(jobs);
    }
}

impl Kernel {
    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Arrive { iface, parcel } => {
                self.counts.on_wire -= u64::from(parcel.is_ip());
                self.arrive(iface, parcel);
            }
            Event::Switch { bridge, port, parcel } => {
                self.counts.on_wire -= u64::from(parcel.is_ip());
                self.switch(bridge, port, parcel);
            }
            Event::Fragments { ns } => self.fragment_timer(ns),
            Event::Socket(id) => self.socket_timer(id),
            Event::Neighbour { ns, iface, addr } => self.neighbour_timer(ns, iface, addr),
            Event::Wake(task) => self.scheduler.wake(task),
        }
    }
}

/// Building and changing the world; its network is built in [`crate::netlink`].
impl Net {
    pub(crate) fn kernel(&self) -> Ref<'_, Kernel> {
        self.shared.kernel.borrow()
    }

    pub(crate) fn kernel_mut(&self) -> RefMut<'_, Kernel> {
        self.shared.kernel.borrow_mut()
    }

    pub(crate) fn downgrade(&self) -> WeakNet {
        WeakNet(Rc::downgrade(&self.shared))
    }

    pub(crate) fn put_job(&self, id: TaskId, job: Job) {
        let mut jobs = self.shared.jobs.borrow_mut();
        let slot = id.slot as usize;
        if jobs.len() <= slot {
            jobs.resize_with(slot + 1, || None);
        }
        if let Some(place) = jobs.get_mut(slot) {
            *place = Some(job);
        }
    }

    pub(crate) fn take_job(&self, id: TaskId) -> Option<Job> {
        self.shared.jobs.borrow_mut().get_mut(id.slot as usize).and_then(Option::take)
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.kernel().now
    }

    /// Randomness of a purpose, by the world's seed.
    pub fn rng(&self, purpose: &str) -> Rng {
        self.kernel().rng.fork(purpose)
    }

    /// A new namespace with a loopback interface that is up. The name must be new.
    pub fn add_namespace(&self, name: &str) -> NsId {
        let mut kernel = self.kernel_mut();
        let rng = kernel.rng.fork(name);
        let serial = kernel.next_serial;
        kernel.next_serial += 1;
        let loopback = IfId::NONE;
        let slot = kernel.namespaces.insert(Namespace {
            name: name.to_string(),
            serial,
            ifaces: Vec::new(),
            loopback,
            next_index: 1,
            sysctls: Sysctls::default(),
            is_switched_off: false,
            has_no_power: false,
            fib: Fib::default(),
            neighbours: Neighbours::default(),
            fragments: Fragments::default(),
            icmp_limits: IcmpLimits::default(),
            path_mtus: PathMtus::default(),
            netfilter: Netfilter::new(rng.fork("netfilter")),
            sockets: Sockets::new(&rng),
            rng: rng.fork("ports"),
            ident: rng.fork("ident").next_u32() as u16,
        }) as u32;
        let id = NsId { slot, serial };
        let lo = kernel.add_iface(id, "lo", Mac::ZERO, 65535, IfKind::Loopback);
        if let Some(ns) = kernel.ns_mut(id) {
            ns.loopback = lo;
        }
        kernel.ns_by_name.insert(name.to_string(), id);
        drop(kernel);
        self.add_addr(lo, Cidr::new(Ipv4Addr::LOCALHOST, 8));
        id
    }

    /// Takes a namespace away with its interfaces and all that runs in it. Nobody is told.
    pub fn remove_namespace(&self, id: NsId) {
        self.kill_all(id);
        let mut kernel = self.kernel_mut();
        kernel.forget_sockets(id);
        let Some(ns) = kernel.ns(id) else { return };
        let (ifaces, name) = (ns.ifaces.clone(), ns.name.clone());
        for iface in ifaces {
            kernel.remove_iface(iface);
        }
        let fragments = kernel.ns_mut(id).map(|ns| ns.fragments.drain()).unwrap_or_default();
        for (packet, meta) in fragments {
            kernel.dropped(id, meta, &Skb::new(packet), DropReason::Down);
        }
        kernel.ns_by_name.remove(&name);
        kernel.past_names.insert(id, name);
        kernel.namespaces.remove(id.slot as usize);
    }

    /// The namespace of this name.
    pub fn namespace(&self, name: &str) -> Option<NsId> {
        self.kernel().ns_by_name.get(name).copied()
    }

    /// The name of a namespace, also of one that is gone.
    pub fn name_of(&self, id: NsId) -> Option<String> {
        let kernel = self.kernel();
        let past = || kernel.past_names.get(&id);
        kernel.ns(id).map(|ns| &ns.name).or_else(past).cloned()
    }

    /// All namespaces, by name.
    pub fn namespaces(&self) -> Vec<(String, NsId)> {
        self.kernel().ns_by_name.iter().map(|(name, id)| (name.clone(), *id)).collect()
    }

    /// `sysctl net.ipv4.ip_forward`
    pub fn set_forwarding(&self, ns: NsId, forwarding: bool) {
        self.kernel_mut().set_forwarding(ns, i32::from(forwarding));
    }

    /// `sysctl net.ipv4.conf.all.route_localnet`
    pub fn set_route_localnet(&self, ns: NsId, route_localnet: bool) {
        let mut kernel = self.kernel_mut();
        kernel.ways.changed();
        if let Some(ns) = kernel.ns_mut(ns) {
            ns.sysctls.all.set(IfKey::RouteLocalnet, i32::from(route_localnet));
        }
    }

    /// Switches a namespace off and on: while it is off nothing goes in or out. What runs in it is not
    /// touched; whoever pulls the plug ends that too.
    pub fn set_power(&self, ns: NsId, is_on: bool) {
        if let Some(ns) = self.kernel_mut().ns_mut(ns) {
            ns.is_switched_off = !is_on;
        }
    }

    /// Looks at or changes the rules of a namespace.
    pub fn with_netfilter<R>(&self, ns: NsId, f: impl FnOnce(&mut Netfilter) -> R) -> Option<R> {
        let mut kernel = self.kernel_mut();
        let now = kernel.now;
        kernel.ns_mut(ns).map(|ns| {
            ns.netfilter.settle(now);
            f(&mut ns.netfilter)
        })
    }

    /// What is written down of packets.
    pub fn set_trace(&self, mode: TraceMode) {
        self.kernel_mut().tracer.mode = mode;
    }

    /// The steps from number `serial` on that are still kept.
    pub fn steps_since(&self, serial: u64) -> Vec<Step> {
        self.kernel().tracer.since(serial).cloned().collect()
    }

    /// The number the next step will have.
    pub fn next_step(&self) -> u64 {
        self.kernel().tracer.next_serial()
    }

    /// Forgets the steps before number `serial`.
    pub fn forget_steps_before(&self, serial: u64) {
        self.kernel_mut().tracer.forget_before(serial);
    }

    /// Forgets the oldest steps when there are more than so many, or when the packets they show take more
    /// bytes.
    pub fn set_trace_limits(&self, steps: usize, bytes: usize) {
        self.kernel_mut().tracer.set_limits(steps, bytes);
    }

    /// What became of all packets so far.
    pub fn packet_counts(&self) -> PacketCounts {
        self.kernel().counts
    }

    /// Packets that are on their way: on links and in bridges, waiting for a neighbour or for the other
    /// fragments.
    pub fn packets_in_flight(&self) -> u64 {
        let kernel = self.kernel();
        let waiting = |ns: &Namespace| ns.neighbours.waiting() + ns.fragments.waiting();
        let waiting: usize = kernel.namespaces.iter().map(|(_, ns)| waiting(ns)).sum();
        kernel.counts.on_wire + waiting as u64
    }

    /// Puts bytes on the wire before an interface: an Ethernet frame from outside the world comes in there.
    /// What is no frame is dropped with a reason.
    pub fn inject(&self, iface: IfId, frame: &[u8], cause: Cause) -> PacketId {
        self.kernel_mut().inject(iface, frame, cause)
    }
}

/// An interface as `ip link` and `ip addr` show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfaceView {
    /// Stands for it.
    pub id: IfId,
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Longest packet.
    pub mtu: u16,
    /// It is up.
    pub is_up: bool,
    /// It could carry frames: the other end of its cable is up, a bridge has a port that is.
    pub has_carrier: bool,
    /// Its addresses.
    pub addrs: Vec<Cidr>,
    /// The same with all that is known of them.
    pub if_addrs: Vec<IfAddr>,
    /// The namespace, interface and number at the other end of its cable.
    pub peer: Option<(NsId, IfId, u32)>,
    /// The bridge it is a port of.
    pub master: Option<String>,
    /// It is a bridge.
    pub is_bridge: bool,
    /// It is the loopback interface.
    pub is_loopback: bool,
    /// The word `ip link add … type` takes.
    pub kind: &'static str,
    /// What went through it.
    pub stats: IfStats,
}

/// A route as `ip route` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// Prefix.
    pub dst: Cidr,
    /// Next hop.
    pub via: Option<Ipv4Addr>,
    /// Name of the interface.
    pub dev: String,
    /// Source address for what is made here.
    pub src: Option<Ipv4Addr>,
    /// Metric.
    pub metric: u32,
    /// Who has put it in, see [`crate::route::proto`].
    pub proto: u8,
    /// What it does.
    pub kind: RouteKind,
}

/// Looking at the world.
impl Net {
    /// The interfaces of a namespace, by number.
    pub fn ifaces(&self, ns: NsId) -> Vec<IfaceView> {
        let kernel = self.kernel();
        let ids = kernel.ns(ns).map(|ns| ns.ifaces.clone()).unwrap_or_default();
        ids.iter().filter_map(|id| kernel.iface_view(*id)).collect()
    }

    /// The routes of a namespace's main table.
    pub fn routes(&self, ns: NsId) -> Vec<RouteView> {
        let kernel = self.kernel();
        let Some(ns) = kernel.ns(ns) else { return Vec::new() };
        let name = |id| kernel.iface(id).map(|i| i.name.to_string()).unwrap_or_default();
        let view = |r: &Route| RouteView {
            dst: r.dst,
            via: r.via,
            dev: name(r.dev),
            src: r.src,
            metric: r.metric,
            proto: r.proto,
            kind: r.kind,
        };
        ns.fib.routes(TABLE_MAIN).iter().map(view).collect()
    }

    /// `sysctl net.ipv4.ip_forward`
    pub fn is_forwarding(&self, ns: NsId) -> bool {
        self.kernel().ns(ns).is_some_and(|ns| ns.sysctls.all.get(IfKey::Forwarding) != 0)
    }

    /// `sysctl net.ipv4.conf.all.route_localnet`
    pub fn routes_localnet(&self, ns: NsId) -> bool {
        self.kernel().ns(ns).is_some_and(|ns| ns.sysctls.all.get(IfKey::RouteLocalnet) != 0)
    }

    /// The source address that a packet from `ns` to `dst` gets, if there is a way.
    pub fn source_for(&self, ns: NsId, dst: Ipv4Addr) -> Option<Ipv4Addr> {
        self.kernel().source_for(ns, dst)
    }
}

impl Kernel {
    fn iface_view(&self, id: IfId) -> Option<IfaceView> {
        let iface = self.iface(id)?;
        let peer = match &iface.kind {
            IfKind::Veth { peer, .. } => {
                self.iface(*peer).map(|other| (other.ns, *peer, other.index))
            }
            _ => None,
        };
        let master = iface.master.and_then(|id| self.iface(id)).map(|m| m.name.to_string());
        Some(IfaceView {
            id,
            index: iface.index,
            name: iface.name.to_string(),
            mac: iface.mac,
            mtu: iface.mtu,
            is_up: iface.is_up,
            has_carrier: self.has_carrier(iface),
            addrs: iface.addrs.iter().map(|addr| addr.cidr).collect(),
            if_addrs: iface.addrs.clone(),
            peer,
            master,
            is_bridge: matches!(iface.kind, IfKind::Bridge { .. }),
            is_loopback: iface.is_loopback(),
            kind: iface.kind.name(),
            stats: iface.stats,
        })
    }

    fn has_carrier(&self, iface: &Iface) -> bool {
        let is_up = |id: &IfId| self.iface(*id).is_some_and(|iface| iface.is_up);
        match &iface.kind {
            IfKind::Loopback | IfKind::Dummy => true,
            IfKind::Veth { peer, .. } => is_up(peer),
            IfKind::Bridge { ports, .. } => ports.iter().any(is_up),
        }
    }

    pub(crate) fn source_for(&self, ns: NsId, dst: Ipv4Addr) -> Option<Ipv4Addr> {
        let ns = self.ns(ns)?;
        let route = ns.fib.lookup(&Flow::to(dst)).ok()?;
        if !route.kind.has_device() { None } else { ns.fib.source_of(route, dst) }
    }
}
