//! The world's owner, and the handle that everybody else holds.

use std::cell::{Ref, RefCell, RefMut};
use std::net::Ipv4Addr;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};

use base::{Instant, Rng};
use netfilter::{IfName, Netfilter};
use packet::Mac;

use crate::addr::Cidr;
use crate::bridge::Fdb;
use crate::exec::{Job, TaskId};
use crate::iface::{IfId, IfKind, IfStats, Iface};
use crate::kernel::Kernel;
use crate::link::LinkConfig;
use crate::neigh::Neighbours;
use crate::ns::{Namespace, NsId};
use crate::path::PacketCounts;
use crate::queue::Event;
use crate::route::{Fib, LocalAddr, Route, RouteExists, RouteKind};
use crate::socket::Sockets;
use crate::trace::{Step, TraceMode};

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
        let ready = self.net.kernel_mut().scheduler.next_ready();
        if let Some(task) = ready {
            self.run(task);
            return true;
        }
        let mut kernel = self.net.kernel_mut();
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
            Event::Arrive { iface, parcel } => self.arrive(iface, parcel),
            Event::Switch { bridge, port, parcel } => self.switch(bridge, port, parcel),
            Event::Socket(id) => self.socket_timer(id),
            Event::Neighbour { ns, iface, addr } => self.neighbour_timer(ns, iface, addr),
            Event::Wake(task) => self.scheduler.wake(task),
        }
    }
}

/// Building and changing the world.
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
        let loopback = IfId { slot: u32::MAX, serial: u32::MAX };
        let slot = kernel.namespaces.insert(Namespace {
            name: name.to_string(),
            serial,
            ifaces: Vec::new(),
            loopback,
            next_index: 1,
            forwarding: false,
            route_localnet: false,
            is_off: false,
            fib: Fib::default(),
            neighbours: Neighbours::default(),
            netfilter: Netfilter::new(rng.fork("netfilter")),
            sockets: Sockets::new(&rng),
            rng: rng.fork("ports"),
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

    /// Two interfaces with a cable between them, both up. Names must be new in their namespaces.
    pub fn add_veth(
        &self,
        (ns_a, name_a): (NsId, &str),
        (ns_b, name_b): (NsId, &str),
        link: LinkConfig,
    ) -> (IfId, IfId) {
        let mut kernel = self.kernel_mut();
        let nobody = IfId { slot: u32::MAX, serial: u32::MAX };
        let end = |link| IfKind::Veth { peer: nobody, link };
        let (mac_a, mac_b) = (kernel.mac(ns_a, name_a), kernel.mac(ns_b, name_b));
        let a = kernel.add_iface(ns_a, name_a, mac_a, 1500, end(link.clone()));
        let b = kernel.add_iface(ns_b, name_b, mac_b, 1500, end(link));
        for (one, other) in [(a, b), (b, a)] {
            if let Some(Iface { kind: IfKind::Veth { peer, .. }, .. }) = kernel.iface_mut(one) {
                *peer = other;
            }
        }
        (a, b)
    }

    /// A bridge, up, without ports.
    pub fn add_bridge(&self, ns: NsId, name: &str) -> IfId {
        let mut kernel = self.kernel_mut();
        let mac = kernel.mac(ns, name);
        let kind = IfKind::Bridge { ports: Vec::new(), fdb: Fdb::default() };
        kernel.add_iface(ns, name, mac, 1500, kind)
    }

    /// Makes an interface a port of a bridge of the same namespace.
    pub fn set_master(&self, port: IfId, bridge: IfId) {
        let mut kernel = self.kernel_mut();
        if let Some(Iface { kind: IfKind::Bridge { ports, .. }, .. }) = kernel.iface_mut(bridge) {
            ports.push(port);
        }
        if let Some(iface) = kernel.iface_mut(port) {
            iface.master = Some(bridge);
        }
    }

    /// Takes an interface away, with its peer, its addresses and routes.
    pub fn remove_iface(&self, id: IfId) {
        self.kernel_mut().remove_iface(id);
    }

    /// `ip addr add`: the address, and the route to its network.
    pub fn add_addr(&self, id: IfId, cidr: Cidr) {
        let mut kernel = self.kernel_mut();
        let Some(iface) = kernel.iface_mut(id) else { return };
        iface.addrs.push(cidr);
        let (ns, name) = (iface.ns, iface.name);
        let Some(ns) = kernel.ns_mut(ns) else { return };
        ns.fib.add_local(LocalAddr { cidr, dev: id, name });
        if cidr.len < 32 && id != ns.loopback {
            let src = Some(cidr.addr);
            let route = Route { src, is_kernel: true, ..Route::link(cidr, id) };
            // A second address in the same network finds the route there already.
            let _ = ns.fib.add(route);
        }
    }

    /// `ip route add`
    pub fn add_route(&self, ns: NsId, route: Route) -> Result<(), RouteExists> {
        self.kernel_mut().ns_mut(ns).map_or(Ok(()), |ns| ns.fib.add(route))
    }

    /// `ip route del`: the routes to `dst`. Says how many there were.
    pub fn remove_route(&self, ns: NsId, dst: Cidr) -> usize {
        let mut kernel = self.kernel_mut();
        kernel.ns_mut(ns).map_or(0, |ns| ns.fib.remove(|route| route.dst == dst.network()))
    }

    /// `sysctl net.ipv4.ip_forward`
    pub fn set_forwarding(&self, ns: NsId, forwarding: bool) {
        if let Some(ns) = self.kernel_mut().ns_mut(ns) {
            ns.forwarding = forwarding;
        }
    }

    /// `sysctl net.ipv4.conf.all.route_localnet`
    pub fn set_route_localnet(&self, ns: NsId, route_localnet: bool) {
        if let Some(ns) = self.kernel_mut().ns_mut(ns) {
            ns.route_localnet = route_localnet;
        }
    }

    /// `ip link set … up|down`
    pub fn set_up(&self, id: IfId, is_up: bool) {
        if let Some(iface) = self.kernel_mut().iface_mut(id) {
            iface.is_up = is_up;
        }
    }

    /// Switches a namespace off and on: while it is off nothing goes in or out. What runs in it is not
    /// touched; whoever pulls the plug ends that too.
    pub fn set_power(&self, ns: NsId, is_on: bool) {
        if let Some(ns) = self.kernel_mut().ns_mut(ns) {
            ns.is_off = !is_on;
        }
    }

    /// Changes how the cable treats what this end sends.
    pub fn set_link(&self, id: IfId, change: impl FnOnce(&mut LinkConfig)) {
        if let Some(Iface { kind: IfKind::Veth { link, .. }, .. }) = self.kernel_mut().iface_mut(id)
        {
            change(link);
        }
    }

    /// Looks at or changes the rules of a namespace.
    pub fn with_netfilter<R>(&self, ns: NsId, f: impl FnOnce(&mut Netfilter) -> R) -> Option<R> {
        self.kernel_mut().ns_mut(ns).map(|ns| f(&mut ns.netfilter))
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

    /// What became of all packets so far.
    pub fn packet_counts(&self) -> PacketCounts {
        self.kernel().counts
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
    /// Its addresses.
    pub addrs: Vec<Cidr>,
    /// The namespace, interface and number at the other end of its cable.
    pub peer: Option<(NsId, IfId, u32)>,
    /// The bridge it is a port of.
    pub master: Option<String>,
    /// It is a bridge.
    pub is_bridge: bool,
    /// It is the loopback interface.
    pub is_loopback: bool,
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
    /// Made with an address.
    pub is_kernel: bool,
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
            is_kernel: r.is_kernel,
            kind: r.kind,
        };
        ns.fib.routes().iter().map(view).collect()
    }

    /// `sysctl net.ipv4.ip_forward`
    pub fn is_forwarding(&self, ns: NsId) -> bool {
        self.kernel().ns(ns).is_some_and(|ns| ns.forwarding)
    }

    /// `sysctl net.ipv4.conf.all.route_localnet`
    pub fn routes_localnet(&self, ns: NsId) -> bool {
        self.kernel().ns(ns).is_some_and(|ns| ns.route_localnet)
    }

    /// The source address that a packet from `ns` to `dst` gets, if there is a way.
    pub fn source_for(&self, ns: NsId, dst: Ipv4Addr) -> Option<Ipv4Addr> {
        self.kernel().source_for(ns, dst)
    }
}

impl Kernel {
    /// A hardware address that depends on the seed and the place only.
    fn mac(&self, ns: NsId, iface: &str) -> Mac {
        let ns = self.ns(ns).map(|ns| ns.name.as_str()).unwrap_or_default();
        Mac::local(self.rng.fork(&format!("mac/{ns}/{iface}")).next_u64())
    }

    fn add_iface(&mut self, ns: NsId, name: &str, mac: Mac, mtu: u16, kind: IfKind) -> IfId {
        let serial = self.next_serial;
        self.next_serial += 1;
        let index = self.ns_mut(ns).map_or(0, |ns| {
            ns.next_index += 1;
            ns.next_index - 1
        });
        let slot = self.ifaces.insert(Iface {
            serial,
            ns,
            index,
            name: IfName::new(name),
            mac,
            mtu,
            is_up: true,
            master: None,
            addrs: Vec::new(),
            kind,
            stats: IfStats::default(),
        }) as u32;
        let id = IfId { slot, serial };
        if let Some(ns) = self.ns_mut(ns) {
            ns.ifaces.push(id);
        }
        id
    }

    fn remove_iface(&mut self, id: IfId) {
        let Some(iface) = self.iface(id) else { return };
        let (ns, master) = (iface.ns, iface.master);
        let peer = match &iface.kind {
            IfKind::Veth { peer, .. } => Some(*peer),
            _ => None,
        };
        self.ifaces.remove(id.slot as usize);
        if let Some(ns) = self.ns_mut(ns) {
            ns.ifaces.retain(|other| *other != id);
            ns.fib.remove(|route| route.dev == id);
            ns.fib.remove_local(|local| local.dev == id);
            ns.neighbours.forget_iface(id);
        }
        if let Some(Iface { kind: IfKind::Bridge { ports, fdb }, .. }) =
            master.and_then(|master| self.iface_mut(master))
        {
            ports.retain(|port| *port != id);
            fdb.forget_port(id);
        }
        if let Some(peer) = peer {
            self.remove_iface(peer);
        }
    }

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
            addrs: iface.addrs.clone(),
            peer,
            master,
            is_bridge: matches!(iface.kind, IfKind::Bridge { .. }),
            is_loopback: matches!(iface.kind, IfKind::Loopback),
            stats: iface.stats,
        })
    }

    pub(crate) fn source_for(&self, ns: NsId, dst: Ipv4Addr) -> Option<Ipv4Addr> {
        let ns = self.ns(ns)?;
        if dst.is_loopback() {
            return Some(Ipv4Addr::LOCALHOST);
        }
        if ns.fib.is_local(dst) {
            return Some(dst);
        }
        let route = ns.fib.lookup(dst).filter(|route| route.kind == RouteKind::Unicast)?;
        route.src.or_else(|| ns.fib.select_source(route.dev, route.via.unwrap_or(dst)))
    }
}
