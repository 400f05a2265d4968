//! Tables: chains of rules, their references and counters.
//!
//! - `edit`: changing them; `reach`: where their rules lead.

mod edit;
mod reach;

use std::fmt;
use std::rc::Rc;

use base::FastMap;
use slab::Slab;
use smallvec::SmallVec;

use crate::ext::State;
use crate::hook::{Hook, TableName};
use crate::memo::{Fitted, Key, Memo};
use crate::plan::{Plan, Shape, Values};
use crate::rule::RuleSpec;

pub use edit::{EditError, Place};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that fitted.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
}

impl Counters {
    pub(crate) fn add(&mut self, bytes: u16) {
        self.packets += 1;
        self.bytes += u64::from(bytes);
    }
}

/// What a built-in chain does with a packet that no rule decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Let it pass.
    Accept,
    /// Drop it.
    Drop,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::Accept => "ACCEPT",
            Policy::Drop => "DROP",
        })
    }
}

/// Stands for a chain inside its table, as long as there is that chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainId(u32);

impl ChainId {
    pub(crate) fn slot(self) -> usize {
        self.0 as usize
    }
}

/// A rule in its place, with its counters.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it says.
    pub spec: Rc<RuleSpec>,
    /// What has fitted so far.
    pub counters: Counters,
    pub(crate) action: Action,
    /// Has matches besides comments.
    pub(crate) asks: bool,
    /// What those matches remember that remember something (`--mode nth`, `limit`), in their order.
    pub(crate) state: SmallVec<[State; 1]>,
}

impl Rule {
    /// Has counted nothing and remembers nothing.
    fn begin(&mut self) {
        self.counters = Counters::default();
        if !self.state.is_empty() {
            self.state = self.spec.matches.iter().filter_map(|m| m.initial_state()).collect();
        }
    }
}

/// A target with its chain looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Continue,
    Accept,
    Drop,
    Return,
    Jump(ChainId),
    Goto(ChainId),
    Ext,
}

/// A chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its name.
    pub name: Rc<str>,
    /// The policy, of a built-in chain.
    pub policy: Option<Policy>,
    /// What reached the policy.
    pub counters: Counters,
    /// Rules that jump or go here.
    pub references: u32,
    /// The table's generation when its rules were last written.
    pub(crate) written: u64,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
    plan: Planned,
    /// Hooks from which a packet may get here, a bit for each; perhaps more of them, never fewer.
    hooks: u8,
}

/// What is known of a chain's [`Plan`].
#[derive(Clone, Debug, Default)]
enum Planned {
    /// The rules have changed since.
    #[default]
    Stale,
    /// Every rule is asked.
    Walk,
    /// Rules that cannot fit are skipped.
    Skip(Box<Plan>),
}

impl Chain {
    /// The fields by which rules are skipped; `None`: none is.
    pub(crate) fn skips_by(&self) -> Option<Shape> {
        match &self.plan {
            Planned::Skip(plan) => Some(plan.looks_at()),
            Planned::Walk | Planned::Stale => None,
        }
    }

    /// The number (counting from 0) of the next rule from `from` on that is to be asked about a packet
    /// with these values.
    #[inline]
    pub(crate) fn next_rule(&mut self, from: usize, values: &Values) -> usize {
        if let Planned::Stale = self.plan {
            self.plan = match Plan::of(&self.rules) {
                Some(plan) => Planned::Skip(Box::new(plan)),
                None => Planned::Walk,
            };
        }
        match &self.plan {
            Planned::Skip(plan) => {
                plan.next(from as u32, values).map_or(self.rules.len(), |at| at as usize)
            }
            Planned::Walk | Planned::Stale => from,
        }
    }
}

/// A table: chains by name.
#[derive(Clone, Debug)]
pub struct Table {
    name: TableName,
    chains: Slab<Chain>,
    by_name: FastMap<Rc<str>, ChainId>,
    builtin: [Option<ChainId>; 5],
    /// Hooks at which the table looks at packets, a bit for each: built-in chains come into being only when
    /// something is put into them, or their policy is set.
    hooked: u8,
    /// Rules that ask about connections.
    conntrack_rules: u32,
    /// A rule that asks how much connections carry has come, and that has not been said yet.
    counts_traffic: bool,
    /// Rises with every edit.
    generation: u64,
    /// The ways packets have taken, for each hook.
    memos: [Memo; 5],
}

impl Table {
    /// A table with its built-in chains, empty, accepting.
    pub fn new(name: TableName) -> Table {
        let mut table = Table {
            name,
            chains: Slab::new(),
            by_name: FastMap::default(),
            builtin: [None; 5],
            hooked: 0,
            conntrack_rules: 0,
            counts_traffic: false,
            generation: 0,
            memos: Default::default(),
        };
        for &hook in name.hooks() {
            let id = table.add_chain(hook.chain().into(), Some(Policy::Accept));
            table.at_mut(id).hooks = 1 << hook as u8;
            if let Some(slot) = table.builtin.get_mut(hook as usize) {
                *slot = Some(id);
            }
        }
        table
    }

    /// Which table this is.
    pub fn name(&self) -> TableName {
        self.name
    }

    /// Rises with every edit; counters do not count.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn add_chain(&mut self, name: Rc<str>, policy: Option<Policy>) -> ChainId {
        let id = ChainId(self.chains.insert(Chain {
            name: name.clone(),
            policy,
            counters: Counters::default(),
            references: 0,
            written: self.generation,
            rules: Vec::new(),
            plan: Planned::default(),
            hooks: 0,
        }) as u32);
        self.by_name.insert(name, id);
        id
    }

    fn id(&self, chain: &str) -> Result<ChainId, EditError> {
        self.by_name.get(chain).copied().ok_or_else(|| EditError::NoChain(chain.to_string()))
    }

    pub(crate) fn at(&self, id: ChainId) -> &Chain {
        // Ids are made here and die with their chain, which no rule may refer to by then.
        &self.chains[id.0 as usize]
    }

    pub(crate) fn at_mut(&mut self, id: ChainId) -> &mut Chain {
        &mut self.chains[id.0 as usize]
    }

    /// The rules of a chain, for changing which there are.
    fn rules_mut(&mut self, id: ChainId) -> &mut Vec<Rule> {
        let written = self.generation;
        let chain = self.at_mut(id);
        chain.plan = Planned::Stale;
        chain.written = written;
        &mut chain.rules
    }

    /// A packet of `len` bytes fits a rule, or reaches a policy.
    #[inline]
    pub(crate) fn count(&mut self, chain: ChainId, rule: Option<u32>, len: u16) {
        let Some(chain) = self.chains.get_mut(chain.slot()) else { return };
        let counters = match rule {
            None => Some(&mut chain.counters),
            Some(rule) => chain.rules.get_mut(rule as usize).map(|rule| &mut rule.counters),
        };
        if let Some(counters) = counters {
            counters.add(len);
        }
    }

    /// The ways that packets of a hook have taken.
    pub(crate) fn memo(&mut self, hook: Hook) -> &mut Memo {
        // There are as many as hooks.
        &mut self.memos[hook as usize]
    }

    /// The table's chains, what the rules look at that a packet with this key meets, and those that it fits;
    /// `None`: it has to be seen.
    #[inline]
    pub(crate) fn remembered(
        &mut self,
        hook: Hook,
        key: &Key,
    ) -> Option<(&mut Slab<Chain>, &Key, Fitted<'_>)> {
        let Table { memos, chains, generation, .. } = self;
        let (mask, fitted) = memos[hook as usize].find(key, *generation)?;
        Some((chains, mask, fitted))
    }

    /// Whether the table looks at the packets of a hook.
    #[inline]
    pub(crate) fn is_hooked(&self, hook: Hook) -> bool {
        self.hooked & 1 << hook as u8 != 0
    }

    /// A chain is in use from now on; if it is a built-in one, its hook is.
    fn use_chain(&mut self, id: ChainId) {
        if let Some(at) = self.builtin.iter().position(|builtin| *builtin == Some(id)) {
            self.hooked |= 1 << at;
        }
    }

    pub(crate) fn builtin(&self, hook: Hook) -> Option<ChainId> {
        self.builtin.get(hook as usize).copied().flatten()
    }

    /// The chain of this name.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.by_name.get(name).map(|id| self.at(*id))
    }

    /// Chains in the order in which they are printed: the built-in ones by hook, then the others by name.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        let builtin = self.name.hooks().iter().filter_map(|hook| self.builtin(*hook));
        let others = self.chains.iter().map(|(_, chain)| chain);
        let mut others: Vec<&Chain> = others.filter(|chain| chain.policy.is_none()).collect();
        base::order::sort_by(&mut others, |a, b| a.name.cmp(&b.name));
        builtin.map(|id| self.at(id)).chain(others)
    }

    /// The names of the chains that nobody has written to since a generation, in no order that means anything.
    pub fn unwritten_since(&self, generation: u64) -> impl Iterator<Item = &Rc<str>> {
        let old = self.chains.iter().filter(move |(_, chain)| chain.written <= generation);
        old.map(|(_, chain)| &chain.name)
    }

    /// Rules ask about connections.
    pub(crate) fn uses_conntrack(&self) -> bool {
        self.conntrack_rules > 0
    }

    /// Whether a rule has come that asks how much connections carry; said once.
    pub(crate) fn wants_accounting(&mut self) -> bool {
        std::mem::take(&mut self.counts_traffic)
    }
}
