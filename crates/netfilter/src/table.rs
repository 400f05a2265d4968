//! Tables: chains of rules, their references, counters and edits.

use std::fmt;
use std::rc::Rc;

use base::FastMap;
use slab::Slab;
use smallvec::SmallVec;

use crate::ext::{EVERY_HOOK, Match, State};
use crate::hook::{Hook, TableName};
use crate::memo::{Fitted, Key, Memo};
use crate::plan::{Plan, Shape, Values};
use crate::rule::{RuleSpec, Target};

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

/// Stands for a chain inside its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainId(u32);

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

/// Why an edit of a table was refused. Each is the user's doing; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// No such chain.
    NoChain(String),
    /// A new chain has the name of an old one.
    ChainExists(String),
    /// To be deleted or renamed, but it is built in.
    BuiltIn(String),
    /// To be deleted, but rules still lead to it.
    InUse(String),
    /// To be deleted, but it has rules.
    NotEmpty(String),
    /// A rule leads to a chain or target that does not exist.
    NoTarget(String),
    /// A rule leads to a built-in chain.
    TargetBuiltIn(String),
    /// There is no rule of that number.
    NoRule(Place),
    /// No rule is equal to the one to be deleted or checked.
    NoSuchRule,
    /// The kernel does not take the rule in this chain: a match or target belongs to another table, another
    /// hook, or needs another protocol.
    Refused(String),
    /// A chain gets another name, and there is one of that name.
    NameTaken(String),
    /// The rule would lead back to its own chain.
    Loop(String),
    /// Only built-in chains have a policy.
    NoPolicy(String),
}

impl EditError {
    /// The kernel's word for it, where it is the kernel that refuses.
    pub fn errno(&self) -> Option<&'static str> {
        match self {
            EditError::Refused(_) => Some("Invalid argument"),
            EditError::Loop(_) => Some("Too many links"),
            EditError::TargetBuiltIn(_) => Some("Operation not supported"),
            EditError::InUse(_) | EditError::NotEmpty(_) => Some("Device or resource busy"),
            _ => None,
        }
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EditError::NoChain(_) | EditError::BuiltIn(_) => {
                f.write_str("No chain/target/match by that name.")
            }
            EditError::ChainExists(_) => f.write_str("Chain already exists."),
            EditError::NameTaken(_) => f.write_str("File exists."),
            EditError::NoTarget(target) => write!(f, "Chain '{target}' does not exist"),
            EditError::NoRule(Place::Deletion) => f.write_str("Index of deletion too big."),
            EditError::NoRule(Place::Insertion) => f.write_str("Index of insertion too big."),
            EditError::NoRule(Place::Replacement) => f.write_str("Index of replacement too big."),
            EditError::NoSuchRule => {
                f.write_str("Bad rule (does a matching rule exist in that chain?).")
            }
            EditError::NoPolicy(_) => f.write_str("Bad built-in chain name."),
            EditError::InUse(chain) | EditError::NotEmpty(chain) => {
                write!(f, " CHAIN_DEL failed (Device or resource busy): chain {chain}")
            }
            EditError::Refused(chain)
            | EditError::Loop(chain)
            | EditError::TargetBuiltIn(chain) => {
                let errno = self.errno().unwrap_or_default();
                write!(f, " RULE_APPEND failed ({errno}): rule in chain {chain}")
            }
        }
    }
}

/// What a rule's number was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `-D`
    Deletion,
    /// `-I`
    Insertion,
    /// `-R`
    Replacement,
}

/// A table: chains by name.
#[derive(Clone, Debug)]
pub struct Table {
    name: TableName,
    chains: Slab<Chain>,
    by_name: FastMap<Rc<str>, ChainId>,
    builtin: [Option<ChainId>; 5],
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
        let chain = self.at_mut(id);
        chain.plan = Planned::Stale;
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

    /// The names of all chains, in no order that means anything.
    pub fn names(&self) -> impl Iterator<Item = &Rc<str>> {
        self.chains.iter().map(|(_, chain)| &chain.name)
    }

    /// Rules ask about connections.
    pub(crate) fn uses_conntrack(&self) -> bool {
        self.conntrack_rules > 0
    }

    /// Whether a rule has come that asks how much connections carry; said once.
    pub(crate) fn wants_accounting(&mut self) -> bool {
        std::mem::take(&mut self.counts_traffic)
    }

    /// `-N chain`
    pub fn new_chain(&mut self, name: &str) -> Result<(), EditError> {
        if self.by_name.contains_key(name) {
            return Err(EditError::ChainExists(name.to_string()));
        }
        self.generation += 1;
        self.add_chain(name.into(), None);
        Ok(())
    }

    /// Makes a chain unless it is there; whether it was made.
    pub fn ensure_chain(&mut self, name: &Rc<str>) -> bool {
        let is_new = !self.by_name.contains_key(name);
        if is_new {
            self.generation += 1;
            self.add_chain(name.clone(), None);
        }
        is_new
    }

    /// Gives a chain other rules, with counters at zero. On an error the rules before the refused one are in
    /// the chain.
    pub fn set_rules(
        &mut self,
        chain: &str,
        rules: impl Iterator<Item = Rc<RuleSpec>>,
    ) -> Result<(), EditError> {
        let id = self.id(chain)?;
        let rules: SmallVec<[Rc<RuleSpec>; 4]> = rules.collect();
        let old = &self.at(id).rules;
        let pairs = || old.iter().zip(&rules);
        if old.len() == rules.len() && pairs().all(|(old, new)| Rc::ptr_eq(&old.spec, new)) {
            // The same rules again: they begin anew, and everything found out about them holds.
            self.generation += 1;
            self.at_mut(id).rules.iter_mut().for_each(Rule::begin);
            return Ok(());
        }
        let len = old.len();
        self.splice_rules(chain, 0, len, rules.into_iter())
    }

    /// Replaces `count` rules from the one at `at` (counting from 0) by others, with counters at zero. On an
    /// error those before the refused one are in the chain.
    pub fn splice_rules(
        &mut self,
        chain: &str,
        at: usize,
        count: usize,
        rules: impl Iterator<Item = Rc<RuleSpec>>,
    ) -> Result<(), EditError> {
        let id = self.id(chain)?;
        self.generation += 1;
        let old = self.rules_mut(id);
        let at = at.min(old.len());
        let end = at.saturating_add(count).min(old.len());
        let gone: SmallVec<[Rule; 4]> = old.drain(at..end).collect();
        gone.iter().for_each(|rule| self.unlink(rule));
        let mut result = Ok(());
        let mut new: SmallVec<[Rule; 4]> = SmallVec::new();
        for spec in rules {
            match self.link(id, spec, Counters::default()) {
                Ok(rule) => new.push(rule),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.rules_mut(id).splice(at..at, new);
        result
    }

    /// `-F chain`
    pub fn flush(&mut self, chain: &str) -> Result<(), EditError> {
        let id = self.id(chain)?;
        self.generation += 1;
        for rule in std::mem::take(self.rules_mut(id)) {
            self.unlink(&rule);
        }
        Ok(())
    }

    /// `-F`
    pub fn flush_all(&mut self) {
        for id in self.chains.iter().map(|(id, _)| ChainId(id as u32)).collect::<Vec<_>>() {
            for rule in std::mem::take(self.rules_mut(id)) {
                self.unlink(&rule);
            }
        }
        self.generation += 1;
    }

    /// Whether `-X chain` would do; a chain that rules still lead to, or that has rules, stays.
    pub(crate) fn can_delete(&self, chain: &str) -> Result<(), EditError> {
        let found = self.at(self.id(chain)?);
        if found.policy.is_some() {
            return Err(EditError::BuiltIn(chain.to_string()));
        }
        if found.references > 0 {
            return Err(EditError::InUse(chain.to_string()));
        }
        if !found.rules.is_empty() {
            return Err(EditError::NotEmpty(chain.to_string()));
        }
        Ok(())
    }

    /// `-X chain`
    pub fn delete_chain(&mut self, chain: &str) -> Result<(), EditError> {
        self.can_delete(chain)?;
        let id = self.id(chain)?;
        self.generation += 1;
        self.by_name.remove(chain);
        self.chains.remove(id.0 as usize);
        Ok(())
    }

    /// `-E chain to`
    pub fn rename(&mut self, chain: &str, to: &str) -> Result<(), EditError> {
        let id = self.id(chain)?;
        if self.by_name.contains_key(to) {
            return Err(EditError::NameTaken(to.to_string()));
        }
        if self.at(id).policy.is_some() {
            return Err(EditError::BuiltIn(chain.to_string()));
        }
        let name: Rc<str> = to.into();
        self.by_name.remove(chain);
        self.by_name.insert(name.clone(), id);
        self.at_mut(id).name = name.clone();
        for (_, other) in &mut self.chains {
            for rule in &mut other.rules {
                let leads_here =
                    matches!(rule.action, Action::Jump(at) | Action::Goto(at) if at == id);
                if leads_here {
                    let spec = Rc::make_mut(&mut rule.spec);
                    spec.target = match spec.target {
                        Target::Goto(_) => Target::Goto(name.clone()),
                        _ => Target::Jump(name.clone()),
                    };
                }
            }
        }
        self.generation += 1;
        Ok(())
    }

    /// `-P chain policy`
    pub fn set_policy(&mut self, chain: &str, policy: Policy) -> Result<(), EditError> {
        let id = self.id(chain)?;
        let chain = self.at_mut(id);
        if chain.policy.is_none() {
            return Err(EditError::NoPolicy(chain.name.to_string()));
        }
        chain.policy = Some(policy);
        self.generation += 1;
        Ok(())
    }

    /// Sets what a built-in chain's policy has counted.
    pub(crate) fn set_chain_counters(&mut self, chain: &str, counters: Counters) {
        if let Ok(id) = self.id(chain) {
            self.at_mut(id).counters = counters;
        }
    }

    /// `-A chain rule`
    pub fn append(&mut self, chain: &str, spec: RuleSpec) -> Result<(), EditError> {
        let at = u32::MAX;
        self.insert_counted(chain, at, spec, Counters::default())
    }

    /// `-I chain number rule`; 1 is the head.
    pub fn insert(&mut self, chain: &str, number: u32, spec: RuleSpec) -> Result<(), EditError> {
        self.insert_with(chain, number, spec, Counters::default())
    }

    /// The same, with `-c`.
    pub(crate) fn insert_with(
        &mut self,
        chain: &str,
        number: u32,
        spec: RuleSpec,
        counters: Counters,
    ) -> Result<(), EditError> {
        let len = self.at(self.id(chain)?).rules.len() as u32;
        if number == 0 || number > len + 1 {
            return Err(EditError::NoRule(Place::Insertion));
        }
        self.insert_counted(chain, number - 1, spec, counters)
    }

    /// Puts a rule before the one at `at` (counting from 0), or at the end.
    pub(crate) fn insert_counted(
        &mut self,
        chain: &str,
        at: u32,
        spec: RuleSpec,
        counters: Counters,
    ) -> Result<(), EditError> {
        let id = self.id(chain)?;
        let rule = self.link(id, Rc::new(spec), counters)?;
        let rules = self.rules_mut(id);
        let at = (at as usize).min(rules.len());
        rules.insert(at, rule);
        self.generation += 1;
        Ok(())
    }

    /// Makes a rule for a chain, and counts what it refers to.
    fn link(
        &mut self,
        id: ChainId,
        spec: Rc<RuleSpec>,
        counters: Counters,
    ) -> Result<Rule, EditError> {
        let action = self.resolve(id, &spec)?;
        self.admit(id, &spec, action)?;
        self.conntrack_rules += u32::from(spec.uses_conntrack());
        self.counts_traffic |= spec.matches.iter().any(|m| matches!(m, Match::Connbytes(_)));
        if let Action::Jump(to) | Action::Goto(to) = action {
            self.at_mut(to).references += 1;
        }
        let state = spec.matches.iter().filter_map(|m| m.initial_state()).collect();
        let asks = spec.matches.iter().any(|m| !matches!(m, Match::Comment(_)));
        Ok(Rule { spec, counters, action, asks, state })
    }

    fn resolve(&self, chain: ChainId, spec: &RuleSpec) -> Result<Action, EditError> {
        let action = match &spec.target {
            Target::Continue => Action::Continue,
            Target::Accept => Action::Accept,
            Target::Drop => Action::Drop,
            Target::Return => Action::Return,
            Target::Jump(to) => Action::Jump(self.resolve_chain(chain, to)?),
            Target::Goto(to) => Action::Goto(self.resolve_chain(chain, to)?),
            Target::Ext(_) => Action::Ext,
        };
        let refused = |_| EditError::Refused(self.at(chain).name.to_string());
        spec.check_table(self.name).map_err(refused)?;
        Ok(action)
    }

    fn resolve_chain(&self, from: ChainId, to: &str) -> Result<ChainId, EditError> {
        let id = self.id(to).map_err(|_| EditError::NoTarget(to.to_string()))?;
        if self.at(id).policy.is_some() {
            return Err(EditError::TargetBuiltIn(self.at(from).name.to_string()));
        }
        if self.leads_to(id, from) {
            return Err(EditError::Loop(self.at(from).name.to_string()));
        }
        Ok(id)
    }

    /// Some matches and targets may stand only where certain hooks lead (`nf_tables_validate`): checks the
    /// rule, and with a jump all that it newly leads to.
    fn admit(&mut self, chain: ChainId, spec: &RuleSpec, action: Action) -> Result<(), EditError> {
        let allowed = spec.hooks();
        for is_fresh in [false, true] {
            if is_fresh {
                self.recompute_hooks();
            }
            let hooks = self.at(chain).hooks;
            let fits = match action {
                _ if hooks & !allowed != 0 => false,
                Action::Jump(to) | Action::Goto(to) => self.spread(to, hooks),
                _ => true,
            };
            if fits {
                return Ok(());
            }
        }
        self.recompute_hooks();
        Err(EditError::Refused(self.at(chain).name.to_string()))
    }

    /// A packet of `hooks` may now get to `chain`. `false`: a rule there does not allow it.
    fn spread(&mut self, chain: ChainId, hooks: u8) -> bool {
        let mut open: SmallVec<[ChainId; 8]> = SmallVec::new();
        open.push(chain);
        while let Some(id) = open.pop() {
            let found = self.at_mut(id);
            if hooks & !found.hooks == 0 {
                continue;
            }
            found.hooks |= hooks;
            for rule in &found.rules {
                if let Action::Jump(next) | Action::Goto(next) = rule.action {
                    open.push(next);
                }
            }
            if found.rules.iter().any(|rule| rule.spec.hooks() & hooks != hooks) {
                return false;
            }
        }
        true
    }

    /// Edits leave chains with hooks that no longer lead there; this finds out anew.
    fn recompute_hooks(&mut self) {
        for (_, chain) in &mut self.chains {
            if chain.policy.is_none() {
                chain.hooks = 0;
            }
        }
        for id in self.builtin.into_iter().flatten() {
            let hooks = std::mem::replace(&mut self.at_mut(id).hooks, 0);
            self.spread_unchecked(id, hooks & EVERY_HOOK);
        }
    }

    fn spread_unchecked(&mut self, chain: ChainId, hooks: u8) {
        let mut open = vec![chain];
        while let Some(id) = open.pop() {
            let found = self.at_mut(id);
            if hooks & !found.hooks == 0 {
                continue;
            }
            found.hooks |= hooks;
            for rule in &found.rules {
                if let Action::Jump(next) | Action::Goto(next) = rule.action {
                    open.push(next);
                }
            }
        }
    }

    /// Whether a packet in chain `from` can get to chain `to`.
    fn leads_to(&self, from: ChainId, to: ChainId) -> bool {
        // What is looked through is mostly a few chains of many.
        let mut seen: FastMap<u32, ()> = FastMap::default();
        let mut open: SmallVec<[ChainId; 16]> = SmallVec::new();
        open.push(from);
        while let Some(id) = open.pop() {
            if id == to {
                return true;
            }
            let leads_on = |rule: &Rule| matches!(rule.action, Action::Jump(_) | Action::Goto(_));
            if !self.at(id).rules.iter().any(leads_on) || seen.insert(id.0, ()).is_some() {
                continue;
            }
            open.extend(self.at(id).rules.iter().filter_map(|rule| match rule.action {
                Action::Jump(next) | Action::Goto(next) => Some(next),
                _ => None,
            }));
        }
        false
    }

    /// `-D chain number`
    pub fn delete(&mut self, chain: &str, number: u32) -> Result<(), EditError> {
        let id = self.id(chain)?;
        let rules = self.rules_mut(id);
        if number == 0 || number as usize > rules.len() {
            return Err(EditError::NoRule(Place::Deletion));
        }
        let rule = rules.remove(number as usize - 1);
        self.unlink(&rule);
        self.generation += 1;
        Ok(())
    }

    /// Number of the first rule that says the same, for `-D chain rule` and `-C chain rule`.
    pub fn find(&self, chain: &str, spec: &RuleSpec) -> Result<u32, EditError> {
        let same = |rule: &Rule| RuleSpec { origin: spec.origin, ..(*rule.spec).clone() } == *spec;
        let found = self.at(self.id(chain)?).rules.iter().position(same);
        found.map(|at| at as u32 + 1).ok_or(EditError::NoSuchRule)
    }

    /// `-R chain number rule`
    pub fn replace(&mut self, chain: &str, number: u32, spec: RuleSpec) -> Result<(), EditError> {
        self.replace_with(chain, number, spec, Counters::default())
    }

    /// The same, with `-c`.
    pub(crate) fn replace_with(
        &mut self,
        chain: &str,
        number: u32,
        spec: RuleSpec,
        counters: Counters,
    ) -> Result<(), EditError> {
        let id = self.id(chain)?;
        if number == 0 || number as usize > self.at(id).rules.len() {
            return Err(EditError::NoRule(Place::Replacement));
        }
        self.insert_counted(chain, number, spec, counters)?;
        self.delete(chain, number)
    }

    /// `-Z chain number`; a number without a rule does nothing.
    pub fn zero_rule(&mut self, chain: &str, number: u32) -> Result<(), EditError> {
        let id = self.id(chain)?;
        let at = (number as usize).wrapping_sub(1);
        if let Some(rule) = self.at_mut(id).rules.get_mut(at) {
            rule.counters = Counters::default();
        }
        Ok(())
    }

    /// `-Z chain`
    pub fn zero(&mut self, chain: &str) -> Result<(), EditError> {
        let id = self.id(chain)?;
        let chain = self.at_mut(id);
        chain.counters = Counters::default();
        for rule in &mut chain.rules {
            rule.counters = Counters::default();
        }
        Ok(())
    }

    /// Sets where the rules of a chain came from, without touching the rules.
    pub fn renumber_origins(&mut self, chain: &str, origins: impl Iterator<Item = u64>) {
        let Ok(id) = self.id(chain) else { return };
        for (rule, origin) in self.at_mut(id).rules.iter_mut().zip(origins) {
            if rule.spec.origin != origin {
                Rc::make_mut(&mut rule.spec).origin = origin;
            }
        }
    }

    fn unlink(&mut self, rule: &Rule) {
        self.conntrack_rules -= u32::from(rule.spec.uses_conntrack());
        if let Action::Jump(to) | Action::Goto(to) = rule.action {
            self.at_mut(to).references -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jump(to: &str) -> RuleSpec {
        RuleSpec::new(Target::Jump(to.into()))
    }

    fn table() -> Table {
        let mut table = Table::new(TableName::Filter);
        for chain in ["A", "B"] {
            table.new_chain(chain).unwrap();
        }
        table.append("INPUT", jump("A")).unwrap();
        table.append("A", jump("B")).unwrap();
        table
    }

    #[test]
    fn chains_in_use_cannot_be_deleted() {
        let mut table = table();
        assert_eq!(table.delete_chain("B"), Err(EditError::InUse("B".into())));
        assert_eq!(table.delete_chain("INPUT"), Err(EditError::BuiltIn("INPUT".into())));
        table.flush("A").unwrap();
        assert_eq!(table.delete_chain("B"), Ok(()));
        assert_eq!(table.delete_chain("A"), Err(EditError::InUse("A".into())));
        assert_eq!(table.delete_chain("C"), Err(EditError::NoChain("C".into())));
    }

    #[test]
    fn loops_are_refused() {
        let mut table = table();
        assert_eq!(table.append("B", jump("A")), Err(EditError::Loop("B".into())));
        assert_eq!(table.append("B", jump("B")), Err(EditError::Loop("B".into())));
        assert_eq!(table.append("B", jump("INPUT")), Err(EditError::TargetBuiltIn("B".into())));
        assert_eq!(table.append("B", jump("C")), Err(EditError::NoTarget("C".into())));
    }

    #[test]
    fn rules_are_numbered_from_one() {
        let mut table = table();
        let (drop, accept) = (RuleSpec::new(Target::Drop), RuleSpec::new(Target::Accept));
        table.insert("INPUT", 1, drop.clone()).unwrap();
        table.insert("INPUT", 3, accept.clone()).unwrap();
        assert_eq!(
            table.insert("INPUT", 5, drop.clone()),
            Err(EditError::NoRule(Place::Insertion))
        );
        assert_eq!(table.find("INPUT", &drop), Ok(1));
        assert_eq!(table.find("INPUT", &accept), Ok(3));
        table.replace("INPUT", 1, accept.clone()).unwrap();
        assert_eq!(table.find("INPUT", &accept), Ok(1));
        table.delete("INPUT", 2).unwrap();
        assert_eq!(table.chain("A").unwrap().references, 0);
        assert_eq!(table.find("INPUT", &jump("A")), Err(EditError::NoSuchRule));
    }
}
