//! Whether rules may stand where they are reached.
//!
//! A packet comes to a chain from base chains, perhaps by way of others. What a rule does may be possible only
//! there: translation in `nat` chains of some hooks, answers not on the way out. And no way may be longer than
//! sixteen chains (`nft_chain_validate`).
//!
//! Of each chain is kept where it is reached from. That grows with every rule that is added, by what is new only;
//! what is deleted makes it smaller when somebody asks in earnest: before anything is refused.

use super::model::{Action, Chain, Kind, NatKind, Source, Stmt, Table, Value};
use crate::hook::Hook;

/// From where a chain is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Types and hooks of base chains: a bit for each.
    pub bits: u16,
    /// Chains on the longest way.
    pub depth: u8,
}

/// Longest way (`NFT_JUMP_STACK_SIZE`).
const DEPTH_MAX: u8 = 16;

/// What the kernel says.
pub type Refused = &'static str;

const NOT_SUPPORTED: Refused = "Operation not supported";
const TOO_LONG: Refused = "Too many links";

impl Reach {
    /// Of a base chain.
    pub fn base(kind: Kind, hook: Hook) -> Reach {
        Reach { bits: 1 << (kind as u16 * 5 + hook as u16), depth: 0 }
    }
}

fn nat(hooks: &[Hook]) -> u16 {
    hooks.iter().fold(0, |bits, hook| bits | Reach::base(Kind::Nat, *hook).bits)
}

/// From where a part of a rule may be reached.
fn allowed(stmt: &Stmt) -> u16 {
    use Hook::{Forward, Input, Output, Postrouting, Prerouting};
    match stmt {
        Stmt::Nat(of) => match of.kind {
            NatKind::Dnat | NatKind::Redirect => nat(&[Prerouting, Output]),
            NatKind::Snat => nat(&[Postrouting, Input]),
            NatKind::Masquerade => nat(&[Postrouting]),
        },
        Stmt::Reject(_) => {
            [Kind::Filter, Kind::Nat, Kind::Route].into_iter().fold(0, |bits, kind| {
                [Prerouting, Input, Forward, Output]
                    .into_iter()
                    .fold(bits, |bits, hook| bits | Reach::base(kind, hook).bits)
            })
        }
        _ => u16::MAX,
    }
}

/// The chain that a verdict leads to.
pub fn target(action: &Action) -> Option<u64> {
    match action {
        Action::Jump(to) | Action::Goto(to) => Some(to.handle),
        _ => None,
    }
}

fn targets_of(table: &Table, stmt: &Stmt, found: &mut Vec<u64>) {
    let elements = match stmt {
        Stmt::Verdict(action) => return found.extend(target(action)),
        Stmt::Vmap(_, Source::Own(set)) => set,
        Stmt::Vmap(_, Source::Named(map)) => match table.sets.get(&map.handle) {
            Some(set) => set,
            None => return,
        },
        _ => return,
    };
    let all = elements.elements.values().chain(elements.any.as_deref());
    for element in all {
        if let Some(Value::Action(action)) = &element.value {
            found.extend(target(action));
        }
    }
}

/// A chain is reached in one more way; and all that it leads to.
pub fn spread(table: &mut Table, chain: u64, reach: Reach) -> Result<(), Refused> {
    let mut waiting = vec![(chain, reach)];
    let mut next = Vec::new();
    while let Some((handle, reach)) = waiting.pop() {
        if reach.depth >= DEPTH_MAX {
            return Err(TOO_LONG);
        }
        let Some(chain) = table.chains.get_mut(&handle) else { continue };
        let known = chain.reach;
        let more = Reach { bits: known.bits | reach.bits, depth: known.depth.max(reach.depth) };
        if more == known {
            continue;
        }
        chain.reach = more;
        next.clear();
        leads_to(table, handle, &mut next)?;
        waiting.extend(next.iter().map(|to| (*to, Reach { depth: more.depth + 1, ..more })));
    }
    Ok(())
}

/// Checks the rules of a chain, and finds where they lead.
fn leads_to(table: &Table, handle: u64, found: &mut Vec<u64>) -> Result<(), Refused> {
    let Some(Chain { rules, reach, .. }) = table.chains.get(&handle) else { return Ok(()) };
    for stmt in rules.iter().flat_map(|rule| &rule.stmts) {
        if reach.bits & !allowed(stmt) != 0 {
            return Err(NOT_SUPPORTED);
        }
        targets_of(table, stmt, found);
    }
    Ok(())
}

/// Statements have been added to a chain.
pub fn grown(table: &mut Table, chain: u64, stmts: &[Stmt]) -> Result<(), Refused> {
    let Some(reach) =
        table.chains.get(&chain).map(|chain| chain.reach).filter(|reach| reach.bits != 0)
    else {
        return Ok(());
    };
    let mut found = Vec::new();
    let mut result = Ok(());
    for stmt in stmts {
        if reach.bits & !allowed(stmt) != 0 {
            result = Err(NOT_SUPPORTED);
        }
        targets_of(table, stmt, &mut found);
    }
    for to in found {
        result = result.and(spread(table, to, Reach { depth: reach.depth + 1, ..reach }));
    }
    result.or_else(|_| anew(table))
}

/// An element of a map leads from the map's chains to another.
pub fn linked(table: &mut Table, set: u64, to: u64) -> Result<(), Refused> {
    let Some(set) = table.sets.get(&set) else { return Ok(()) };
    let mut result = Ok(());
    let mut from = Vec::new();
    for (user, _) in &set.users {
        from.extend(
            table.chains.get(user).map(|chain| chain.reach).filter(|reach| reach.bits != 0),
        );
    }
    for reach in from {
        result = result.and(spread(table, to, Reach { depth: reach.depth + 1, ..reach }));
    }
    result.or_else(|_| anew(table))
}

/// Looks at the whole table, as if nothing were known.
pub fn anew(table: &mut Table) -> Result<(), Refused> {
    let mut bases = Vec::new();
    for (handle, chain) in table.chains.iter_mut() {
        chain.reach = Reach::default();
        if let Some(base) = &chain.base {
            bases.push((*handle, Reach::base(base.kind, base.hook)));
        }
    }
    for (handle, reach) in bases {
        spread(table, handle, reach)?;
    }
    Ok(())
}
