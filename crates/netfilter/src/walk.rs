//! A packet walks the rules of a table.

use std::rc::Rc;

use base::Rng;
use packet::Head;
use packet::ipv4::End;
use slab::Slab;
use smallvec::SmallVec;

use crate::conntrack::{Conntrack, CtSlot};
use crate::ext::mark::SetConnmark;
use crate::ext::nat::{NatKind, NatTarget};
use crate::ext::plain::Plain;
use crate::ext::reject::Reject;
use crate::ext::{Facts, State, Stores, TargetExt};
use crate::firewall::{HookInput, Skb};
use crate::hook::TableName;
use crate::memo::{Fitted, Key, Note};
use crate::nat::{self, NatRange};
use crate::passage::Draft;
use crate::plan::Values;
use crate::rule::Target;
use crate::table::{Action, Chain, ChainId, Policy, Rule, Table};
use crate::trace::{Effect, Eval, Miss, Outcome, Seen};

/// How a walk ended.
pub(crate) enum Walked {
    Accepted,
    Policy(Policy),
    Dropped { chain: Rc<str>, number: u32 },
    Rejected { chain: Rc<str>, number: u32, with: Reject },
}

/// What rules may change besides the packet.
pub(crate) struct World<'a> {
    pub(crate) conntrack: &'a mut Conntrack,
    pub(crate) stores: &'a mut Stores,
    pub(crate) rng: &'a mut Rng,
    pub(crate) draft: &'a mut Draft,
}

/// What the carrying out of a rule's target leads to.
enum Then {
    Next(Effect),
    Enter { chain: ChainId, comes_back: bool },
    Return,
    Accept(Effect),
    Drop,
    Reject(Reject),
}

/// Takes the packet through the table's built-in chain of the hook, and wherever its rules lead.
///
/// With `evals`, every rule that looked at the packet is written down.
pub(crate) fn walk(
    table: &mut Table,
    input: &HookInput<'_>,
    skb: &mut Skb,
    world: &mut World<'_>,
    evals: Option<&mut Vec<Eval>>,
) -> Walked {
    let Some(base) = table.builtin(input.hook) else { return Walked::Policy(Policy::Accept) };
    // Who wants to see everything gets to see every rule being asked.
    if evals.is_some() {
        world.draft.spoil();
        return walk_rules(table, base, (input, skb, world), evals, &mut None);
    }
    if table.at(base).rules.is_empty() {
        world.draft.count(table.name(), base, None);
        return Walked::Policy(policy(table, base, skb));
    }
    let Some(key) = Key::of(input, skb, world.conntrack) else {
        world.draft.spoil();
        return walk_rules(table, base, (input, skb, world), None, &mut None);
    };
    let name = table.name();
    if let Some((chains, mask, fitted)) = table.remembered(input.hook, &key) {
        world.draft.looked_at(mask);
        if let Some(walked) = repeat(name, (chains, fitted), input, skb, world) {
            return walked;
        }
        world.draft.count(name, base, None);
        return Walked::Policy(policy(table, base, skb));
    }
    world.draft.spoil();
    let mut note = table.memo(input.hook).wants_note().then(Note::default);
    let walked = walk_rules(table, base, (input, skb, world), None, &mut note);
    if let Some(note) = note {
        table.memo(input.hook).keep(&key, note);
    }
    walked
}

/// Does what the rules do that fit a packet. `None`: none of them ends its walk.
fn repeat(
    table: TableName,
    (chains, fitted): (&mut Slab<Chain>, Fitted<'_>),
    input: &HookInput<'_>,
    skb: &mut Skb,
    world: &mut World<'_>,
) -> Option<Walked> {
    let head = *skb.packet.head();
    for &(id, at) in fitted {
        let chain = chains.get_mut(id.slot())?;
        let rule = chain.rules.get_mut(at as usize)?;
        rule.counters.add(head.total_len);
        world.draft.count(table, id, Some(at));
        if let Target::Ext(target) = &rule.spec.target
            && !matches!(target, TargetExt::Mark(_))
        {
            world.draft.spoil();
        }
        let then = carry_out(rule, &head, input, skb, world);
        let place = || (chain.name.clone(), at + 1);
        if let Some(walked) = then.end(place) {
            return Some(walked);
        }
    }
    None
}

/// So many rules a packet is asked about by one table, and is then dropped: a dozen chains that each jump ten times
/// into the next are short to write, and without an end.
pub(crate) const RULES_MAX: u32 = 1 << 18;

/// Takes the packet from rule to rule. In `note` it is written down if its way depends on nothing but its key;
/// else nothing is left there.
fn walk_rules(
    table: &mut Table,
    base: ChainId,
    (input, skb, world): (&HookInput<'_>, &mut Skb, &mut World<'_>),
    mut evals: Option<&mut Vec<Eval>>,
    note: &mut Option<Note>,
) -> Walked {
    let has_version = input.surroundings.version().is_some();
    let mut callers: SmallVec<[(ChainId, usize); 8]> = SmallVec::new();
    let (mut at, mut next) = (base, 0);
    // Who wants to see everything gets to see also the rules that could have been skipped.
    let values = match evals {
        Some(_) => None,
        None => Values::of(skb.packet.head(), input.iif, input.oif),
    };
    let mut head = *skb.packet.head();
    let mut left = RULES_MAX;
    loop {
        let chain = table.at_mut(at);
        if let Some(values) = &values {
            next = chain.next_rule(next, values);
            if let (Some(note), Some(fields)) = (&mut *note, chain.skips_by()) {
                note.mask.add_fields(fields);
            }
        }
        let Some(rule) = chain.rules.get_mut(next) else {
            match callers.pop() {
                Some(caller) => (at, next) = caller,
                None => return Walked::Policy(policy(table, base, skb)),
            }
            continue;
        };
        next += 1;
        left -= 1;
        if left == 0 {
            *note = None;
            return Walked::Dropped { chain: chain.name.clone(), number: next as u32 };
        }
        if note.as_mut().is_some_and(|note| !note.mask.add_rule(&rule.spec, has_version)) {
            *note = None;
        }
        let checked = check(rule, &head, input, skb, world);
        let then = match checked {
            Ok(()) => {
                rule.counters.add(head.total_len);
                if let Some(note) = note {
                    note.fitted.push((at, next as u32 - 1));
                }
                carry_out(rule, &head, input, skb, world)
            }
            Err(miss) if miss.seen == Seen::NoRoom => Then::Drop,
            Err(_) => Then::Next(Effect::Counted),
        };
        if let Some(evals) = &mut evals {
            let outcome = match checked {
                Ok(()) => Outcome::Matched(then.effect()),
                Err(miss) => Outcome::Missed(miss),
            };
            let number = next as u32;
            evals.push(Eval {
                chain: chain.name.clone(),
                number,
                rule: rule.spec.clone(),
                outcome,
            });
        }
        let place = || (chain.name.clone(), next as u32);
        if let Some(walked) = then.end(place) {
            return walked;
        }
        match then {
            Then::Next(Effect::Changed { .. }) => head = *skb.packet.head(),
            Then::Next(_) => {}
            Then::Enter { chain, comes_back } => {
                if comes_back {
                    callers.push((at, next));
                }
                (at, next) = (chain, 0);
            }
            Then::Return => match callers.pop() {
                Some(caller) => (at, next) = caller,
                None => return Walked::Policy(policy(table, base, skb)),
            },
            Then::Accept(_) | Then::Drop | Then::Reject(_) => {}
        }
    }
}

impl Then {
    /// The end of a walk, if this is one; `place`: the rule's chain and number.
    #[inline]
    fn end(&self, place: impl Fn() -> (Rc<str>, u32)) -> Option<Walked> {
        match self {
            Then::Accept(_) => Some(Walked::Accepted),
            Then::Drop => {
                let (chain, number) = place();
                Some(Walked::Dropped { chain, number })
            }
            Then::Reject(with) => {
                let (chain, number) = place();
                Some(Walked::Rejected { chain, number, with: *with })
            }
            Then::Next(_) | Then::Enter { .. } | Then::Return => None,
        }
    }

    fn effect(&self) -> Effect {
        match self {
            Then::Next(effect) | Then::Accept(effect) => *effect,
            Then::Enter { .. } => Effect::Entered,
            Then::Return => Effect::Returned,
            Then::Drop => Effect::Dropped,
            Then::Reject(_) => Effect::Rejected,
        }
    }
}

fn policy(table: &mut Table, base: ChainId, skb: &Skb) -> Policy {
    let chain = table.at_mut(base);
    chain.counters.add(skb.packet.head().total_len);
    chain.policy.unwrap_or(Policy::Accept)
}

#[inline]
fn check(
    rule: &mut Rule,
    head: &Head,
    input: &HookInput<'_>,
    skb: &Skb,
    world: &mut World<'_>,
) -> Result<(), Miss> {
    rule.spec.header.check(head, input.iif, input.oif)?;
    if !rule.asks {
        return Ok(());
    }
    let mut facts = Facts {
        head,
        skb,
        iif: input.iif,
        oif: input.oif,
        now: input.now,
        conntrack: world.conntrack,
        stores: world.stores,
        rng: world.rng,
        surroundings: input.surroundings,
    };
    let mut states = rule.state.iter_mut();
    let mut none = State::default();
    for m in &rule.spec.matches {
        let state = if m.has_state() { states.next() } else { None };
        m.check(&mut facts, state.unwrap_or(&mut none))?;
    }
    Ok(())
}

fn carry_out(
    rule: &Rule,
    head: &Head,
    input: &HookInput<'_>,
    skb: &mut Skb,
    world: &mut World<'_>,
) -> Then {
    match rule.action {
        Action::Continue => Then::Next(Effect::Counted),
        Action::Accept => Then::Accept(Effect::Accepted),
        Action::Drop => Then::Drop,
        Action::Return => Then::Return,
        Action::Jump(chain) => Then::Enter { chain, comes_back: true },
        Action::Goto(chain) => Then::Enter { chain, comes_back: false },
        Action::Ext => match &rule.spec.target {
            Target::Ext(target) => carry_out_ext(target, head, input, skb, world),
            _ => Then::Next(Effect::Counted),
        },
    }
}

/// Carries out a target that is an extension.
fn carry_out_ext(
    target: &TargetExt,
    head: &Head,
    input: &HookInput<'_>,
    skb: &mut Skb,
    world: &mut World<'_>,
) -> Then {
    Then::Next(match target {
        TargetExt::Mark(set) => {
            let from = skb.mark;
            skb.mark = set.apply(from);
            Effect::Marked { from, to: skb.mark }
        }
        // A reset answers TCP only; for anything else the rule would not have been accepted.
        TargetExt::Reject(with) => return Then::Reject(*with),
        TargetExt::Nat(target) => {
            return match translate(target, head, input, skb, world) {
                true => Then::Accept(Effect::Translated),
                // As the kernel: nothing to masquerade by.
                false => Then::Drop,
            };
        }
        TargetExt::Connmark(set) => connmark(set, skb, world),
        TargetExt::Log(log) => {
            let number = world.stores.log.written();
            let line = log.line(&skb.packet, (input.iif, input.oif), skb.mark, input.now);
            world.stores.log.push(line);
            Effect::Logged(number)
        }
        TargetExt::Plain(Plain::Ct { notrack: true, .. }) if skb.ct == CtSlot::None => {
            skb.ct = CtSlot::Untracked;
            Effect::Untracked
        }
        TargetExt::Plain(_) => Effect::Counted,
        TargetExt::Set(set) => {
            let mut facts = Facts {
                head,
                skb,
                iif: input.iif,
                oif: input.oif,
                now: input.now,
                conntrack: world.conntrack,
                stores: world.stores,
                rng: world.rng,
                surroundings: input.surroundings,
            };
            set.carry_out(&mut facts);
            Effect::Counted
        }
        TargetExt::Tcpmss(mss) => {
            let most = mss.size(input.surroundings.path_mtu());
            match most.and_then(|most| skb.packet.lower_mss(most)) {
                Some((from, to)) => Effect::Changed { from, to },
                None => Effect::Counted,
            }
        }
        TargetExt::Tos(set) => {
            let to = set.apply(head.tos);
            skb.packet.set_tos(to);
            Effect::Changed { from: head.tos.into(), to: to.into() }
        }
        TargetExt::Ttl(set) => {
            let to = set.apply(head.ttl);
            skb.packet.set_ttl(to);
            Effect::Changed { from: head.ttl.into(), to: to.into() }
        }
    })
}

/// `CONNMARK`: marks go from the packet to its connection or back.
fn connmark(set: &SetConnmark, skb: &mut Skb, world: &mut World<'_>) -> Effect {
    let CtSlot::Tracked { conn, .. } = skb.ct else { return Effect::Counted };
    let Some(before) = world.conntrack.get(conn).map(|conn| conn.mark) else {
        return Effect::Counted;
    };
    let packet = skb.mark;
    let (mark, connection) = set.apply(packet, before);
    skb.mark = mark;
    world.conntrack.set_mark(conn, connection);
    Effect::Connmarked { packet: (packet, mark), connection: (before, connection) }
}

/// Carries out a translating target: decides the translation of the packet's connection. `false`: it cannot
/// be, and the packet is dropped.
pub(crate) fn translate(
    target: &NatTarget,
    head: &Head,
    input: &HookInput<'_>,
    skb: &Skb,
    world: &mut World<'_>,
) -> bool {
    let CtSlot::Tracked { conn, .. } = skb.ct else { return true };
    let addr = match target.kind {
        NatKind::Dnat | NatKind::Snat => None,
        NatKind::Masquerade => match input.surroundings.masquerade_source() {
            Some(addr) => {
                world.conntrack.conn_mut(conn, |conn| conn.masquerade = input.oif);
                Some(addr)
            }
            None => return false,
        },
        // What is made here goes to loopback; what comes in, to the interface it came in by.
        NatKind::Redirect if input.iif.is_none() => Some(std::net::Ipv4Addr::LOCALHOST),
        NatKind::Redirect => {
            Some(input.surroundings.primary_address(input.iif).unwrap_or(head.dst))
        }
        NatKind::Netmap => target.mapped(match nat::end_at(input.hook) {
            End::Source => head.src,
            End::Destination => head.dst,
        }),
    };
    let range = match addr {
        Some(addr) => NatRange { addrs: Some((addr, addr)), ..target.range.clone() },
        None => target.range.clone(),
    };
    let end = nat::end_at(input.hook);
    nat::decide(world.conntrack, conn, &range, end, world.rng, input.now);
    true
}
