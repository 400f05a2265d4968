//! Netfilter of one namespace: the way in for packets, the tables, and what they remember.

use std::fmt;
use std::net::Ipv4Addr;
use std::rc::Rc;

use base::{Instant, Rng};
use packet::ipv4::End;
use packet::{Mac, Packet, protocol};

use crate::conntrack::{ConnId, Conntrack, CtInfo, CtSlot, status};
use crate::ext::Stores;
use crate::ext::addrtype::AddrType;
use crate::ext::link::PktType;
use crate::ext::reject::Reject;
use crate::hook::{Hook, TableName};
use crate::iface::IfName;
use crate::ipvs::{Handled, Ipvs};
use crate::nat;
use crate::nft::model::Kind;
use crate::nft::{Asked, Ruleset};
use crate::passage::Draft;
use crate::table::{Policy, Table};
use crate::trace::{HookEvent, HookTrace, TableVerdict};
use crate::walk::{self, Walked};

/// A packet and what its namespace knows about it; the kernel's `sk_buff`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skb {
    /// The packet.
    pub packet: Packet,
    /// `MARK`'s mark; never leaves the namespace.
    pub mark: u32,
    /// Its connection; never leaves the namespace.
    pub ct: CtSlot,
    /// Its checksums are known to be right, and nobody needs to add them up again (`CHECKSUM_UNNECESSARY`).
    pub is_trusted: bool,
    /// What virtual servers have to do with it; never leaves the namespace.
    pub ipvs: Handled,
}

impl Skb {
    /// A packet nobody has looked at yet.
    pub fn new(packet: Packet) -> Skb {
        let (mark, ct, ipvs) = (0, CtSlot::None, Handled::No);
        Skb { packet, mark, ct, is_trusted: false, ipvs }
    }
}

/// The socket that a packet comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sender {
    /// None: it only passes, or was made without one.
    #[default]
    None,
    /// One of the kernel's own, which nobody has opened.
    Kernel,
    /// One of a program, with its user and group.
    Program(u32, u32),
}

/// What a namespace knows of addresses, for the rules that ask.
pub trait Surroundings {
    /// What kind of address `addr` is; with `iface`, local means an address of that interface.
    fn addr_type(&self, addr: Ipv4Addr, iface: Option<IfName>) -> AddrType;
    /// The address that `MASQUERADE` gives to the packet at hand, by the interface it leaves.
    fn masquerade_source(&self) -> Option<Ipv4Addr>;
    /// Rises whenever [`Surroundings::addr_type`] may answer otherwise than before; `None`: nobody can tell.
    fn version(&self) -> Option<u64> {
        None
    }
    /// The first address of an interface, for `REDIRECT`.
    fn primary_address(&self, iface: IfName) -> Option<Ipv4Addr>;
    /// The hardware address that sent the packet at hand, for `mac`.
    fn source_mac(&self) -> Option<Mac> {
        None
    }
    /// To whom the link says the packet at hand goes, for `pkttype`.
    fn packet_type(&self) -> PktType {
        PktType::Unicast
    }
    /// The bridge ports by which the packet at hand came in and leaves, for `physdev`.
    fn bridge_ports(&self) -> (IfName, IfName) {
        (IfName::NONE, IfName::NONE)
    }
    /// The socket that sent the packet at hand, for `owner`.
    fn sender(&self) -> Sender {
        Sender::None
    }
    /// Whether an answer to `source` would leave by `iface` (`loose`: by any interface), with `mark` when the
    /// route is looked up; `None`: nobody can tell. For `rpfilter`.
    fn reverse_path(
        &self,
        source: Ipv4Addr,
        iface: IfName,
        loose: bool,
        mark: u32,
    ) -> Option<bool> {
        let _ = (source, iface, loose, mark);
        None
    }
    /// The smaller MTU of the packet's way and of the way back, for `TCPMSS --clamp-mss-to-pmtu`.
    fn path_mtu(&self) -> Option<u16> {
        None
    }
}

/// A packet's circumstances at a hook.
#[derive(Clone, Copy)]
pub struct HookInput<'a> {
    /// Where it is.
    pub hook: Hook,
    /// The interface it came in by; none for packets made here.
    pub iif: IfName,
    /// The interface it leaves by, once routed.
    pub oif: IfName,
    /// The time.
    pub now: Instant,
    /// What the namespace knows of addresses.
    pub surroundings: &'a dyn Surroundings,
}

/// Why a packet is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// A rule dropped it.
    Rule {
        /// Table.
        table: TableName,
        /// Chain.
        chain: Rc<str>,
        /// Number in the chain, from 1.
        number: u32,
    },
    /// A rule of nftables dropped it.
    NftRule {
        /// Family and table.
        table: Rc<str>,
        /// Chain.
        chain: Rc<str>,
        /// Handle.
        handle: u64,
    },
    /// The policy of a base chain of nftables dropped it.
    NftPolicy {
        /// Family and table.
        table: Rc<str>,
        /// Chain.
        chain: Rc<str>,
    },
    /// The policy of a built-in chain dropped it.
    Policy {
        /// Table.
        table: TableName,
        /// Built-in chain.
        hook: Hook,
    },
    /// The table of connections is full.
    ConntrackFull,
    /// Another connection took the same tuple first.
    ConntrackClash,
    /// Its connection was masqueraded by the address of another interface than it leaves by.
    MasqueradeMoved,
    /// An ICMP error that cannot be translated: a redirect, or one with a wrong checksum.
    IcmpUntranslatable,
    /// Its virtual service has no real server that takes it.
    NoServer,
    /// The real server of its connection is gone, or the connection is another one's.
    ServerGone,
    /// The table of connections to virtual services is full.
    VirtualTableFull,
    /// From or to a loopback address, and its real server is on the other side.
    VirtualLoopback,
}

impl DropReason {
    /// What it is called names who did it: a rule or a policy. Else it says why.
    pub fn is_by(&self) -> bool {
        use DropReason::{NftPolicy, NftRule, Policy, Rule};
        matches!(self, Rule { .. } | Policy { .. } | NftRule { .. } | NftPolicy { .. })
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DropReason::Rule { table, chain, number } => {
                write!(f, "rule {number} of chain {chain} in table {table}")
            }
            DropReason::NftRule { table, chain, handle } => {
                write!(f, "rule with handle {handle} of chain {chain} in table {table}")
            }
            DropReason::NftPolicy { table, chain } => {
                write!(f, "policy of chain {chain} in table {table}")
            }
            DropReason::Policy { table, hook } => write!(f, "policy of {hook} in table {table}"),
            DropReason::ConntrackFull => f.write_str("nf_conntrack: table full, dropping packet"),
            DropReason::ConntrackClash => f.write_str("another connection has the same addresses"),
            DropReason::MasqueradeMoved => {
                f.write_str("its connection was masqueraded by another interface")
            }
            DropReason::IcmpUntranslatable => {
                f.write_str("an ICMP error that cannot be translated")
            }
            DropReason::NoServer => f.write_str("its virtual service has no real server"),
            DropReason::ServerGone => f.write_str("the real server of its connection is gone"),
            DropReason::VirtualTableFull => {
                f.write_str("the table of connections to virtual services is full")
            }
            DropReason::VirtualLoopback => {
                f.write_str("loopback addresses do not reach a real server elsewhere")
            }
        }
    }
}

/// What becomes of a packet at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Accept,
    /// It is gone.
    Drop(DropReason),
    /// It is gone, and its sender is to be told.
    Reject(Reject, DropReason),
    /// A virtual service gives it to this real server: its time to live falls by one, it is sent there from here
    /// on whatever way leads to it, and goes through OUTPUT, where it is rewritten.
    Virtual {
        /// The real server.
        server: Ipv4Addr,
    },
}

/// What looks at a packet at a hook lets it pass, or not.
type Passed = Result<(), Verdict>;

/// What is done at hooks besides asking base chains of nftables.
#[derive(Clone, Copy)]
enum Step {
    Table(TableName),
    Track,
    Nat,
    Ipvs,
    Confirm,
}

/// The steps, and where and when they are.
struct StepAt {
    what: Step,
    priority: i32,
    hooks: &'static [Hook],
}

/// In the order of their priority (`enum nf_ip_hook_priorities`).
const STEPS: [StepAt; 10] = [
    StepAt {
        what: Step::Table(TableName::Raw),
        priority: -300,
        hooks: &[Hook::Prerouting, Hook::Output],
    },
    StepAt { what: Step::Track, priority: -200, hooks: &[Hook::Prerouting, Hook::Output] },
    StepAt { what: Step::Table(TableName::Mangle), priority: -150, hooks: &Hook::ALL },
    StepAt { what: Step::Nat, priority: -100, hooks: &[Hook::Prerouting, Hook::Output] },
    StepAt { what: Step::Ipvs, priority: -99, hooks: &[Hook::Output] },
    StepAt {
        what: Step::Table(TableName::Filter),
        priority: 0,
        hooks: &[Hook::Input, Hook::Forward, Hook::Output],
    },
    StepAt { what: Step::Ipvs, priority: 98, hooks: &[Hook::Input] },
    StepAt { what: Step::Ipvs, priority: 99, hooks: &[Hook::Forward] },
    StepAt { what: Step::Nat, priority: 100, hooks: &[Hook::Input, Hook::Postrouting] },
    StepAt { what: Step::Confirm, priority: i32::MAX, hooks: &[Hook::Input, Hook::Postrouting] },
];

/// Netfilter of one namespace.
#[derive(Debug)]
pub struct Netfilter {
    pub(crate) tables: [Option<Table>; 4],
    /// When each came into being, among nftables' base chains.
    made: [u64; 4],
    /// Rises with every edit of a table.
    pub(crate) version: u64,
    pub(crate) conntrack: Conntrack,
    pub(crate) nft: Ruleset,
    stores: Stores,
    rng: Rng,
    is_tracking: bool,
    is_idle: bool,
    pub(crate) draft: Draft,
    ipvs: Option<Box<Ipvs>>,
}

impl Netfilter {
    /// No tables, nothing tracked. `rng` decides what is left to chance: `--mode random`, new ports.
    pub fn new(rng: Rng) -> Netfilter {
        Netfilter {
            tables: [const { None }; 4],
            made: [0; 4],
            conntrack: Conntrack::default(),
            nft: Ruleset::default(),
            stores: Stores::default(),
            rng,
            is_tracking: false,
            is_idle: true,
            version: 0,
            draft: Draft::default(),
            ipvs: None,
        }
    }

    /// A table, if anything has ever been put into it.
    pub fn table(&self, name: TableName) -> Option<&Table> {
        self.tables.get(name.index()).and_then(Option::as_ref)
    }

    /// Edits a table; it comes into being with its built-in chains.
    pub fn edit<R>(&mut self, name: TableName, edit: impl FnOnce(&mut Table) -> R) -> R {
        // `index` is below four by construction.
        self.version += 1;
        let slot = &mut self.tables[name.index()];
        if slot.is_none() {
            self.made[name.index()] = self.nft.next_order();
        }
        let result = edit(slot.get_or_insert_with(|| Table::new(name)));
        self.begin_tracking();
        // From then on it is counted, until the setting is taken back.
        self.conntrack.settings.acct |=
            self.tables.iter_mut().flatten().any(Table::wants_accounting);
        self.is_idle = false;
        result
    }

    /// As in the kernel, tracking begins with the first rule that needs it; a `nat` table without one
    /// is never asked.
    fn begin_tracking(&mut self) {
        self.is_tracking = self.ipvs.is_some()
            || self.tables.iter().flatten().any(Table::uses_conntrack)
            || self.nft.uses_conntrack();
    }

    /// The tables of nftables.
    pub fn nft(&self) -> &Ruleset {
        &self.nft
    }

    /// Edits the tables of nftables.
    pub fn edit_nft<R>(&mut self, edit: impl FnOnce(&mut Ruleset) -> R) -> R {
        self.version += 1;
        let result = edit(&mut self.nft);
        self.begin_tracking();
        self.is_idle &= self.nft.asked().is_empty();
        result
    }

    /// The connections.
    pub fn conntrack(&self) -> &Conntrack {
        &self.conntrack
    }

    /// The connections, for changing.
    pub fn conntrack_mut(&mut self) -> &mut Conntrack {
        &mut self.conntrack
    }

    /// Connections are tracked: some rule needs it.
    pub fn is_tracking(&self) -> bool {
        self.is_tracking
    }

    /// The virtual servers, if there ever were any.
    pub fn ipvs(&self) -> Option<&Ipvs> {
        self.ipvs.as_deref()
    }

    /// The virtual servers, for changing. From now on connections are tracked, and packets are not passed along.
    pub fn ipvs_mut(&mut self) -> &mut Ipvs {
        if self.ipvs.is_none() {
            self.version += 1;
            (self.is_tracking, self.is_idle) = (true, false);
        }
        self.ipvs.get_or_insert_default()
    }

    /// Forgets the connections to virtual services whose time has come, and with them those of conntrack.
    #[inline]
    pub fn settle(&mut self, now: Instant) {
        if let Some(ipvs) = &mut self.ipvs {
            ipvs.collect(&mut self.conntrack, now);
        }
    }

    /// What rules remember besides connections: sets, named counters, log lines.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// The same, for changing.
    pub fn stores_mut(&mut self) -> &mut Stores {
        &mut self.stores
    }

    /// Nothing here could do anything to a packet.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// Takes a packet through a hook: connection tracking and the tables in the kernel's order.
    ///
    /// With `trace`, everything that looks at the packet is written down there.
    pub fn hook(
        &mut self,
        input: &HookInput<'_>,
        skb: &mut Skb,
        mut trace: Option<&mut HookTrace>,
    ) -> Verdict {
        if self.is_idle() {
            return Verdict::Accept;
        }
        let Err(verdict) = self.pass(input, skb, &mut trace) else { return Verdict::Accept };
        match verdict {
            Verdict::Accept | Verdict::Virtual { .. } => {}
            Verdict::Drop(_) => self.conntrack.discard(skb.ct),
            // The answer is RELATED to it, see `CtSlot::of_answer`.
            Verdict::Reject(..) => self.conntrack.discard_answered(skb.ct),
        }
        verdict
    }

    #[inline]
    fn pass(
        &mut self,
        input: &HookInput<'_>,
        skb: &mut Skb,
        trace: &mut Option<&mut HookTrace>,
    ) -> Passed {
        use TableName::{Filter, Mangle, Raw};
        let hook = input.hook;
        if self.ipvs.is_some() {
            self.send_virtual(skb, trace)?;
            self.settle(input.now);
        }
        if !self.nft.asked().is_empty() {
            return self.pass_both(input, skb, trace);
        }
        if matches!(hook, Hook::Prerouting | Hook::Output) {
            self.ask(Raw, input, skb, trace)?;
            self.track(input, skb, trace)?;
        }
        self.ask(Mangle, input, skb, trace)?;
        if matches!(hook, Hook::Input | Hook::Forward) {
            self.ask(Filter, input, skb, trace)?;
            self.run_ipvs(input, skb, trace)?;
        }
        if hook != Hook::Forward {
            self.run_nat(input, skb, trace)?;
        }
        if hook == Hook::Output {
            self.run_ipvs(input, skb, trace)?;
        }
        match hook {
            Hook::Output => self.ask(Filter, input, skb, trace),
            Hook::Input | Hook::Postrouting => {
                self.draft.leave(input.oif);
                self.confirm(skb, input.now, trace)
            }
            Hook::Prerouting | Hook::Forward => Ok(()),
        }
    }

    /// The same where there are base chains of nftables: each is asked before the first of the others whose
    /// priority is greater, or equal while it was made earlier.
    fn pass_both(
        &mut self,
        input: &HookInput<'_>,
        skb: &mut Skb,
        trace: &mut Option<&mut HookTrace>,
    ) -> Passed {
        let hook = input.hook;
        let mut next = self.nft.asked().iter().take_while(|asked| asked.hook < hook).count();
        for step in STEPS.iter().filter(|step| step.hooks.contains(&hook)) {
            let made = match step.what {
                Step::Table(name) => self.made[name.index()],
                Step::Track | Step::Nat | Step::Ipvs | Step::Confirm => u64::MAX,
            };
            self.ask_nft(&mut next, (step.priority, made), input, skb, trace)?;
            match step.what {
                Step::Table(name) => self.ask(name, input, skb, trace)?,
                Step::Track => self.track(input, skb, trace)?,
                Step::Nat => self.run_nat(input, skb, trace)?,
                Step::Ipvs => self.run_ipvs(input, skb, trace)?,
                Step::Confirm => {
                    self.draft.leave(input.oif);
                    self.confirm(skb, input.now, trace)?;
                }
            }
        }
        self.ask_nft(&mut next, (i32::MAX, 0), input, skb, trace)
    }

    /// Asks the base chains of nftables, but for those that translate, from the `next` on to a priority.
    fn ask_nft(
        &mut self,
        next: &mut usize,
        (priority, made): (i32, u64),
        input: &HookInput<'_>,
        skb: &mut Skb,
        trace: &mut Option<&mut HookTrace>,
    ) -> Passed {
        while let Some(asked) = self.nft.asked().get(*next).copied() {
            if asked.hook != input.hook || asked.is_behind(priority, made) {
                break;
            }
            *next += 1;
            if asked.kind != Kind::Nat {
                self.run_chain(asked, input, skb, trace)?;
            }
        }
        Ok(())
    }

    fn run_chain(
        &mut self,
        asked: Asked,
        input: &HookInput<'_>,
        skb: &mut Skb,
        trace: &mut Option<&mut HookTrace>,
    ) -> Passed {
        use crate::nft::walk::Walked;
        let Some(table) = self.nft.tables.get_mut(asked.table) else { return Ok(()) };
        let mut evals = trace.is_some().then(Vec::new);
        let mut world = walk::World {
            conntrack: &mut self.conntrack,
            stores: &mut self.stores,
            rng: &mut self.rng,
            draft: &mut self.draft,
        };
        let walked =
            crate::nft::walk::walk(table, asked.chain, input, skb, &mut world, evals.as_mut());
        let place = || -> (Rc<str>, Rc<str>) {
            let chain = table.chains.get(&asked.chain).map(|chain| chain.name.clone());
            (format!("{} {}", table.family.name(), table.name).into(), chain.unwrap_or_default())
        };
        if let (Some(trace), Some(evals)) = (trace, evals) {
            let verdict = match &walked {
                Walked::Accepted => TableVerdict::Accepted,
                Walked::Policy(policy) => TableVerdict::Policy(*policy),
                Walked::Dropped(..) | Walked::Rejected(..) => TableVerdict::Dropped,
            };
            let (table, chain) = place();
            trace.events.push(HookEvent::Nft { table, chain, evals, verdict });
        }
        match walked {
            Walked::Accepted | Walked::Policy(Policy::Accept) => Ok(()),
            Walked::Policy(Policy::Drop) => {
                let (table, chain) = place();
                Err(Verdict::Drop(DropReason::NftPolicy { table, chain }))
            }
            Walked::Dropped(chain, handle) => {
                Err(Verdict::Drop(DropReason::NftRule { table: place().0, chain, handle }))
            }
            Walked::Rejected(chain, handle, with) => {
                let table = place().0;
                Err(Verdict::Reject(with, DropReason::NftRule { table, chain, handle }))
            }
        }
    }

    /// Asks everything that may decide about a new connection, until something has: the `nat` table and the
    /// base chains of type `nat`, by their priority.
    fn ask_nat(
        &mut self,
        (conn, end): (ConnId, End),
        input: &HookInput<'_>,
        skb: &mut Skb,
        trace: &mut Option<&mut HookTrace>,
    ) -> Passed {
        let priority =
            if matches!(input.hook, Hook::Prerouting | Hook::Output) { -100 } else { 100 };
        let made = self.made[TableName::Nat.index()];
        let has_table = self.table(TableName::Nat).is_some_and(|table| table.is_hooked(input.hook));
        let mut was_table_asked = !has_table;
        let mut next = 0;
        while let Some(asked) = self.nft.asked().get(next).copied() {
            next += 1;
            if asked.hook != input.hook || asked.kind != Kind::Nat {
                continue;
            }
            if !was_table_asked && asked.is_behind(priority, made) {
                was_table_asked = true;
                self.ask(TableName::Nat, input, skb, trace)?;
            }
            if nat::is_decided(&self.conntrack, conn, end) {
                return Ok(());
            }
            self.run_chain(asked, input, skb, trace)?;
        }
        if was_table_asked || nat::is_decided(&self.conntrack, conn, end) {
            return Ok(());
        }
        self.ask(TableName::Nat, input, skb, trace)
    }

    /// Takes a packet through a table, if there is one.
    #[inline]
    fn ask(
        &mut self,
        name: TableName,
        input: &HookInput<'_>,
        skb: &mut Skb,
        trace: &mut Option<&mut HookTrace>,
    ) -> Passed {
        match self.table(name) {
            Some(table) if table.is_hooked(input.hook) => self.run_table(name, input, skb, trace),
            _ => Ok(()),
        }
    }

    fn run_table(
        &mut self,
        name: TableName,
        input: &HookInput<'_>,
        skb: &mut Skb,
        trace: &mut Option<&mut HookTrace>,
    ) -> Passed {
        let Some(table) = self.tables.get_mut(name.index()).and_then(Option::as_mut) else {
            return Ok(());
        };
        let mut evals = trace.is_some().then(Vec::new);
        let mut world = walk::World {
            conntrack: &mut self.conntrack,
            stores: &mut self.stores,
            rng: &mut self.rng,
            draft: &mut self.draft,
        };
        let walked = walk::walk(table, input, skb, &mut world, evals.as_mut());
        if let (Some(trace), Some(evals)) = (trace, evals) {
            let verdict = match &walked {
                Walked::Accepted => TableVerdict::Accepted,
                Walked::Policy(policy) => TableVerdict::Policy(*policy),
                Walked::Dropped { .. } | Walked::Rejected { .. } => TableVerdict::Dropped,
            };
            trace.events.push(HookEvent::Table { table: name, evals, verdict });
        }
        let by_rule = |chain, number| DropReason::Rule { table: name, chain, number };
        match walked {
            Walked::Accepted | Walked::Policy(Policy::Accept) => Ok(()),
            Walked::Policy(Policy::Drop) => {
                Err(Verdict::Drop(DropReason::Policy { table: name, hook: input.hook }))
            }
            Walked::Dropped { chain, number } => Err(Verdict::Drop(by_rule(chain, number))),
            Walked::Rejected { chain, number, with } => {
                Err(Verdict::Reject(with, by_rule(chain, number)))
            }
        }
    }

    fn track(
        &mut self,
        input: &HookInput<'_>,
        skb: &mut Skb,
        trace: &mut Option<&mut HookTrace>,
    ) -> Passed {
        // A packet that comes back over loopback has been looked up on its way out.
        if !self.is_tracking || skb.ct != CtSlot::None {
            return Ok(());
        }
        match self.conntrack.track(&skb.packet, input.hook, skb.is_trusted, input.now) {
            Ok(slot) => skb.ct = slot,
            Err(_) => return Err(Verdict::Drop(DropReason::ConntrackFull)),
        }
        if let CtSlot::Tracked { conn, .. } = skb.ct {
            self.draft.track(skb.ct, self.conntrack.get(conn), self.version);
        }
        if let Some(trace) = trace {
            let conn = match skb.ct {
                CtSlot::Tracked { conn, .. } => self.conntrack.get(conn),
                _ => None,
            };
            trace.events.push(HookEvent::Tracked {
                state: self.conntrack.state_bits(skb.ct),
                original: conn.map(|conn| conn.original),
                reply: conn.map(|conn| conn.reply),
            });
        }
        Ok(())
    }

    /// The `nat` table decides about new connections; every packet is then rewritten as decided
    /// (`nf_nat_inet_fn`).
    fn run_nat(
        &mut self,
        input: &HookInput<'_>,
        skb: &mut Skb,
        trace: &mut Option<&mut HookTrace>,
    ) -> Passed {
        let CtSlot::Tracked { conn, info } = skb.ct else { return Ok(()) };
        if self.table(TableName::Nat).is_none() && !self.nft.has_nat() {
            return Ok(());
        }
        let end = nat::end_at(input.hook);
        let is_related = matches!(info, CtInfo::Related(_));
        // An error says nothing about where its connection goes, and is only translated back.
        if is_related && skb.packet.head().protocol == protocol::ICMP {
            return self.translate(conn, info, input.hook, skb, false, trace);
        }
        // A reset of REJECT is the last that is seen of its connection: it asks in the connection's stead.
        let may_ask = is_related || info == CtInfo::New;
        let is_new = may_ask && !nat::is_decided(&self.conntrack, conn, end);
        if is_new {
            self.ask_nat((conn, end), input, skb, trace)?;
            nat::decide_none(&mut self.conntrack, conn, end, &mut self.rng, input.now);
        } else if self
            .conntrack
            .get(conn)
            .is_some_and(|conn| nat::has_moved(conn, info, input.hook, input.oif))
        {
            self.conntrack.remove(conn, input.now);
            return Err(Verdict::Drop(DropReason::MasqueradeMoved));
        }
        self.translate(conn, info, input.hook, skb, is_new, trace)
    }

    fn translate(
        &mut self,
        conn: ConnId,
        info: CtInfo,
        hook: Hook,
        skb: &mut Skb,
        is_new: bool,
        trace: &mut Option<&mut HookTrace>,
    ) -> Passed {
        let Some(conn) = self.conntrack.get(conn) else { return Ok(()) };
        match nat::translate(conn, info, hook, &mut skb.packet) {
            Ok(Some((end, from, to))) => {
                if let Some(trace) = trace {
                    trace.events.push(HookEvent::Translated { end, from, to, is_new });
                }
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(nat::Untranslatable) => Err(Verdict::Drop(DropReason::IcmpUntranslatable)),
        }
    }

    /// A packet that a virtual service has given to a real server gets its address.
    fn send_virtual(&mut self, skb: &mut Skb, trace: &mut Option<&mut HookTrace>) -> Passed {
        let (Handled::Chosen(conn), Some(ipvs)) = (skb.ipvs, &mut self.ipvs) else { return Ok(()) };
        match ipvs.send(conn, skb, &mut self.conntrack, trace) {
            true => Ok(()),
            false => Err(Verdict::Drop(DropReason::ServerGone)),
        }
    }

    /// Virtual services look at a packet. None may be passed along from then on.
    #[inline]
    fn run_ipvs(
        &mut self,
        input: &HookInput<'_>,
        skb: &mut Skb,
        trace: &mut Option<&mut HookTrace>,
    ) -> Passed {
        let Some(ipvs) = &mut self.ipvs else { return Ok(()) };
        self.draft.spoil();
        ipvs.look(input, skb, &mut self.conntrack, trace)
    }

    fn confirm(
        &mut self,
        skb: &mut Skb,
        now: Instant,
        trace: &mut Option<&mut HookTrace>,
    ) -> Passed {
        let CtSlot::Tracked { conn, info } = skb.ct else { return Ok(()) };
        let is_entering = info == CtInfo::New
            && trace.is_some()
            && self.conntrack.get(conn).is_some_and(|conn| !conn.has(status::CONFIRMED));
        if !self.conntrack.confirm(&mut skb.ct, now) {
            return Err(Verdict::Drop(DropReason::ConntrackClash));
        }
        if let (Some(trace), true) = (trace, is_entering)
            && let Some(conn) = self.conntrack.get(conn)
        {
            trace.events.push(HookEvent::Confirmed { original: conn.original, reply: conn.reply });
        }
        Ok(())
    }

    /// The packet was lost between two hooks (no route, TTL): a connection it began is forgotten.
    pub fn discard(&mut self, skb: &Skb) {
        self.conntrack.discard(skb.ct);
    }
}
