//! A packet walks the rules of a base chain.

use std::net::Ipv4Addr;
use std::rc::Rc;

use base::Instant;
use packet::protocol;
use smallvec::SmallVec;

use super::look::{Look, addr_and_port};
use super::model::{
    Action, Counter, Element, Limit, Nat, NatKind, Rule, Stmt, Table, Update, UpdateOp, Value,
};
use super::value::Key;
use crate::conntrack::CtSlot;
use crate::ext::nat::{self, NatTarget};
use crate::ext::reject::Reject;
use crate::firewall::{HookInput, Skb};
use crate::memo;
use crate::nat::NatRange;
use crate::table::Policy;
use crate::trace::NftEval;
use crate::walk::{RULES_MAX, World, translate};

/// How a walk ended.
pub(crate) enum Walked {
    /// This base chain lets it pass.
    Accepted,
    /// No rule decided.
    Policy(Policy),
    /// A rule dropped it: chain and handle.
    Dropped(Rc<str>, u64),
    /// A rule refused it.
    Rejected(Rc<str>, u64, Reject),
}

/// What a rule leads to.
pub(super) enum Then {
    /// The next rule.
    Next,
    /// Another chain; with the way back.
    Enter(u64, bool),
    /// Back.
    Return,
    /// The end of this base chain.
    Accept,
    /// The end.
    Drop,
    /// The end, with an answer.
    Reject(Reject),
}

/// What a rule did.
pub(super) struct Did {
    /// What it leads to.
    pub(super) then: Then,
    /// The part that did not fit, and what the packet had there.
    pub(super) missed: Option<(usize, Option<Key>)>,
    /// The element that a map chose.
    pub(super) element: Option<(Key, Element)>,
    /// The mark before and after.
    pub(super) mark: Option<(u32, u32)>,
}

/// Takes a packet through a base chain of a table. With `evals`, every rule that looked at it is written down.
pub(crate) fn walk(
    table: &mut Table,
    base: u64,
    input: &HookInput<'_>,
    skb: &mut Skb,
    world: &mut World<'_>,
    mut evals: Option<&mut Vec<NftEval>>,
) -> Walked {
    let notes = evals.is_none() && world.draft.is_open() && !skb.packet.head().fragment.more;
    let mut callers: SmallVec<[(u64, usize); 16]> = SmallVec::new();
    let (mut at, mut next, mut asked) = (base, 0, 0_u32);
    let Table { chains, sets, counters, .. } = table;
    let mut look = Look { input, skb, world, sets, mask: notes.then(memo::Key::default) };
    let walked = loop {
        let Some(chain) = chains.get_mut(&at) else { break Walked::Policy(Policy::Accept) };
        let Some(rule) = chain.rules.get_mut(next) else {
            match callers.pop() {
                Some(caller) => (at, next) = caller,
                None => break policy(chains.get(&base)),
            }
            continue;
        };
        next += 1;
        asked += 1;
        if asked > RULES_MAX {
            break Walked::Dropped(chain.name.clone(), rule.handle);
        }
        let did = ask(rule, &mut look, counters);
        if let Some(evals) = &mut evals {
            evals.push(super::trace::eval((chain.name.clone(), next as u32), rule, &did));
        }
        match did.then {
            Then::Next => {}
            Then::Enter(to, comes_back) => {
                if comes_back {
                    callers.push((at, next));
                }
                (at, next) = (to, 0);
            }
            Then::Return => match callers.pop() {
                Some(caller) => (at, next) = caller,
                None => break policy(chains.get(&base)),
            },
            Then::Accept => break Walked::Accepted,
            Then::Drop => break Walked::Dropped(chain.name.clone(), rule.handle),
            Then::Reject(with) => break Walked::Rejected(chain.name.clone(), rule.handle, with),
        }
    };
    match look.mask {
        Some(mask) => look.world.draft.looked_at(&mask),
        None => look.world.draft.spoil(),
    }
    walked
}

fn policy(base: Option<&super::model::Chain>) -> Walked {
    let policy = base.and_then(|chain| chain.base.as_ref()).map(|base| base.policy);
    Walked::Policy(policy.unwrap_or(Policy::Accept))
}

type Counters = base::tree::BTreeMap<u64, Counter>;

/// Asks one rule.
fn ask(rule: &mut Rule, look: &mut Look<'_, '_>, counters: &mut Counters) -> Did {
    let mut did = Did { then: Then::Next, missed: None, element: None, mark: None };
    for (at, stmt) in rule.stmts.iter_mut().enumerate() {
        let broke = match stmt {
            Stmt::Match { left, op, right } => look.compare(left, *op, right).err(),
            Stmt::Vmap(key, source) => {
                let mut found = Key::new();
                if look.key(key, &mut found).is_none() {
                    did.missed = Some((at, None));
                    return did;
                }
                match look.find(source, &found) {
                    None => Some(Some(found)),
                    Some((key, element)) => {
                        let then = match &element.value {
                            Some(Value::Action(action)) => carry_out(action),
                            _ => Then::Next,
                        };
                        did.element = Some((key, element));
                        if !matches!(then, Then::Next) {
                            did.then = then;
                            return did;
                        }
                        None
                    }
                }
            }
            stmt => act(stmt, look, counters, &mut did),
        };
        if let Some(seen) = broke {
            did.missed = Some((at, seen));
            return did;
        }
        if !matches!(did.then, Then::Next) {
            return did;
        }
    }
    did
}

fn carry_out(action: &Action) -> Then {
    match action {
        Action::Accept => Then::Accept,
        Action::Drop => Then::Drop,
        Action::Continue => Then::Next,
        Action::Return => Then::Return,
        Action::Jump(to) => Then::Enter(to.handle, true),
        Action::Goto(to) => Then::Enter(to.handle, false),
    }
}

/// Carries out a part of a rule that does something. `Some`: the rule ends here.
fn act(
    stmt: &mut Stmt,
    look: &mut Look<'_, '_>,
    counters: &mut Counters,
    did: &mut Did,
) -> Option<Option<Key>> {
    let head = *look.skb.packet.head();
    if let Stmt::Verdict(action) = stmt {
        did.then = carry_out(action);
        return None;
    }
    look.mask = None;
    match stmt {
        Stmt::Counter(packets, bytes) => count(packets, bytes, head.total_len),
        Stmt::Named(name) => {
            if let Some(counter) = counters.get_mut(&name.handle) {
                count(&mut counter.count.0, &mut counter.count.1, head.total_len);
            }
        }
        Stmt::Limit(limit) => {
            if !limit.lets_pass(head.total_len, look.input.now) {
                return Some(None);
            }
        }
        Stmt::Log(log) => {
            let ways = (look.input.iif, look.input.oif);
            let line = log.line(&look.skb.packet, ways, look.skb.mark, look.input.now);
            look.world.stores.log.push(line);
        }
        Stmt::Reject(Reject::TcpReset) if head.protocol != protocol::TCP => return Some(None),
        Stmt::Reject(with) => did.then = Then::Reject(*with),
        Stmt::Nat(nat) => did.then = self::nat(nat, look)?,
        Stmt::SetMark(expr) => {
            let Some(mark) = look.value(expr) else { return Some(None) };
            did.mark = Some((look.skb.mark, mark as u32));
            look.skb.mark = mark as u32;
        }
        Stmt::SetCtMark(expr) => {
            let Some(mark) = look.value(expr) else { return Some(None) };
            if let CtSlot::Tracked { conn, .. } = look.skb.ct {
                look.world.conntrack.set_mark(conn, mark as u32);
            }
        }
        Stmt::Notrack => {
            if look.skb.ct == CtSlot::None {
                look.skb.ct = CtSlot::Untracked;
            }
        }
        Stmt::Update(update) => return self::update(update, look),
        Stmt::Match { .. } | Stmt::Vmap(..) | Stmt::Verdict(_) => {}
    }
    None
}

fn count(packets: &mut u64, bytes: &mut u64, len: u16) {
    *packets += 1;
    *bytes += u64::from(len);
}

/// Decides the translation of the packet's connection. `None`: the packet has no address for it, and the rule
/// ends.
fn nat(nat: &mut Nat, look: &mut Look<'_, '_>) -> Option<Then> {
    let mut range: NatRange = nat.range.clone();
    if let Some(map) = &mut nat.map {
        let Some(data) = look.data(map) else { return Some(Then::Next) };
        let has_addr = matches!(nat.kind, NatKind::Dnat | NatKind::Snat);
        if has_addr {
            let (addr, port) = addr_and_port(&data);
            range.addrs = Some((Ipv4Addr::from(addr), Ipv4Addr::from(addr)));
            range.ports = port.map(|port| (port, port));
        } else {
            let port = data.iter().fold(0_u16, |port, byte| port << 8 | u16::from(*byte));
            range.ports = Some((port, port));
        }
    }
    let kind = match nat.kind {
        NatKind::Dnat => nat::NatKind::Dnat,
        NatKind::Snat => nat::NatKind::Snat,
        NatKind::Masquerade => nat::NatKind::Masquerade,
        NatKind::Redirect => nat::NatKind::Redirect,
    };
    let head = *look.skb.packet.head();
    let target = NatTarget { kind, range };
    let is_done = translate(&target, &head, look.input, look.skb, look.world);
    Some(if is_done { Then::Accept } else { Then::Drop })
}

/// Puts an element into a set, or takes it out.
fn update(update: &mut Update, look: &mut Look<'_, '_>) -> Option<Option<Key>> {
    let mut key = Key::new();
    if look.key(&mut update.key, &mut key).is_none() {
        return Some(None);
    }
    let value = match &mut update.data {
        None => None,
        Some(data) => {
            let mut value = Key::new();
            if look.key(data, &mut value).is_none() {
                return Some(None);
            }
            Some(Value::Key(value))
        }
    };
    let (now, len) = (look.input.now, u64::from(look.skb.packet.head().total_len));
    let Some(set) = look.sets.get_mut(&update.set.handle) else { return Some(None) };
    if update.op == UpdateOp::Delete {
        set.elements.remove(key.as_slice());
        return None;
    }
    let timeout = update.timeout.or(set.timeout);
    let expires = timeout.map(|millis| now + base::Duration::from_millis(millis));
    let is_known = set.elements.get(key.as_slice()).is_some_and(|element| element.is_alive(now));
    if !is_known {
        let most = set.size.unwrap_or(u32::MAX) as usize;
        if set.elements.len() >= most {
            set.elements.retain(|_, element| element.is_alive(now));
        }
        if set.elements.len() >= most && set.elements.get(key.as_slice()).is_none() {
            return Some(None);
        }
        let element = Element {
            value,
            timeout: update.timeout.filter(|timeout| Some(*timeout) != set.timeout),
            expires,
            counter: (update.counter || set.counter).then_some((0, 0)),
            ..Element::default()
        };
        set.elements.insert(key.clone(), element);
    }
    let element = set.elements.get_mut(key.as_slice())?;
    if is_known && update.op == UpdateOp::Update && expires.is_some() {
        element.expires = expires;
    }
    if let Some((packets, bytes)) = &mut element.counter {
        (*packets, *bytes) = (*packets + 1, *bytes + len);
    }
    None
}

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

impl Limit {
    /// The kernel cannot count so much (`nft_limit_init`).
    pub(super) fn is_too_large(&self) -> bool {
        let burst = u64::from(if self.burst == 0 && !self.bytes { 5 } else { self.burst });
        let (Some(nanos), Some(sum)) =
            (self.unit.checked_mul(SECOND), self.rate.checked_add(burst))
        else {
            return true;
        };
        match self.bytes {
            true => nanos.checked_mul(sum).is_none(),
            false => (nanos / self.rate.max(1)).checked_mul(burst).is_none(),
        }
    }

    /// Whether a packet fits: there is enough in the bucket, or with `over` there is not
    /// (`net/netfilter/nft_limit.c`).
    fn lets_pass(&mut self, len: u16, now: Instant) -> bool {
        let nanos = u128::from(self.unit) * u128::from(SECOND);
        let rate = u128::from(self.rate.max(1));
        let (cost, full) = if self.bytes {
            (nanos * u128::from(len) / rate, nanos * (rate + u128::from(self.burst)) / rate)
        } else {
            let burst = if self.burst == 0 { 5 } else { self.burst };
            (nanos / rate, nanos / rate * u128::from(burst))
        };
        let full = u64::try_from(full).unwrap_or(u64::MAX);
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let (left, last) = self.bucket.unwrap_or((full, now));
        let passed = u64::try_from(now.since(last).as_nanos()).unwrap_or(u64::MAX);
        let left = left.saturating_add(passed).min(full);
        let has_enough = left >= cost;
        self.bucket = Some((if has_enough { left - cost } else { left }, now));
        has_enough != self.over
    }
}
