//! A transaction: tables are changed by all lines of a text, or by none.

use std::rc::Rc;

use base::Instant;
use base::tree::BTreeMap;

use super::Ruleset;
use super::check;
use super::error::Failure;
use super::lex::Span;
use super::model::{Base, Chain, Counter, Element, Kind, Rule, Set, Stmt, Table, Value, flags};
use super::parse::command::{Named, Place, Verb};
use super::parse::element::{Spec, Typed};
use super::parse::object::{At, ChainSpec, CounterSpec, SetSpec, TableSpec};
use super::resolve::{self, Referred};
use super::set::Put;
use super::undo::Undo;
use super::value::Key;
use crate::hook::Hook;

const NO_ENTRY: &str = "No such file or directory";
const EXISTS: &str = "File exists";
const BUSY: &str = "Device or resource busy";
const NOT_SUPPORTED: &str = "Operation not supported";

type Edited<T = ()> = Result<T, Failure>;

/// A transaction that is going on.
pub struct Edit<'a> {
    /// The tables.
    pub rules: &'a mut Ruleset,
    /// The time.
    pub now: Instant,
    pub(super) undo: Vec<Undo>,
    pub(super) is_rehooked: bool,
}

impl<'a> Edit<'a> {
    /// Begins.
    pub fn new(rules: &'a mut Ruleset, now: Instant) -> Edit<'a> {
        Edit { rules, now, undo: Vec::new(), is_rehooked: false }
    }

    /// Ends; everything is as it was before if `is_good` is not true. Whether anything is another.
    pub fn end(mut self, is_good: bool) -> bool {
        let is_changed = !self.undo.is_empty();
        if !is_good {
            while let Some(step) = self.undo.pop() {
                self.take_back(step);
            }
            for table in &mut self.rules.tables {
                let _ = check::anew(table);
            }
        }
        if self.is_rehooked {
            self.rules.hook_up();
        }
        is_changed && is_good
    }

    fn index(&self, at: &At) -> Option<usize> {
        let tables = &self.rules.tables;
        tables.iter().position(|table| table.family == at.family && table.name == at.name)
    }

    /// The table of a name; what nft says where there is none.
    fn table(&mut self, at: &At) -> Edited<&mut Table> {
        match self.index(at).and_then(|index| self.rules.tables.get_mut(index)) {
            Some(table) => Ok(table),
            None => Err(Failure::kernel(NO_ENTRY, at.span)),
        }
    }

    pub(super) fn by_handle(&mut self, handle: u64) -> Option<&mut Table> {
        self.rules.tables.iter_mut().find(|table| table.handle == handle)
    }

    /// `add table`, `create table`
    pub fn add_table(&mut self, verb: Verb, spec: TableSpec) -> Edited {
        match self.index(&spec.at) {
            Some(_) if verb == Verb::Create => return Err(Failure::kernel(EXISTS, spec.at.span)),
            Some(index) => {
                if let Some(table) = self.rules.tables.get_mut(index)
                    && table.dormant != spec.dormant
                {
                    self.undo.push(Undo::Dormant(table.handle, table.dormant));
                    table.dormant = spec.dormant;
                    self.is_rehooked = true;
                }
            }
            None => {
                self.rules.last_table += 1;
                let handle = self.rules.last_table;
                self.rules.tables.push(Table {
                    family: spec.at.family,
                    name: spec.at.name.clone(),
                    handle,
                    comment: spec.comment,
                    dormant: spec.dormant,
                    ..Table::empty()
                });
                self.undo.push(Undo::TableAdded(handle));
            }
        }
        // In the order in which nft sends them: the chains, what rules refer to, and then the rules.
        let mut rules = Vec::new();
        for mut chain in spec.chains {
            let name = Named { name: chain.name.clone(), handle: None, span: chain.span };
            rules.push((name, std::mem::take(&mut chain.rules)));
            let span = chain.span;
            self.add_chain(verb, &spec.at, chain, span)?;
        }
        for counter in spec.counters {
            self.add_counter(verb, &spec.at, counter)?;
        }
        for set in spec.sets {
            self.add_set(verb, &spec.at, set)?;
        }
        for (chain, rules) in rules {
            for (rule, span) in rules {
                self.add_rule(Verb::Add, &spec.at, &chain, Place::None, rule, span)?;
            }
        }
        Ok(())
    }

    /// `delete table`
    pub fn delete_table(&mut self, index: Option<usize>, span: Span) -> Edited {
        let Some(index) = index.filter(|index| *index < self.rules.tables.len()) else {
            return Err(Failure::kernel(NO_ENTRY, span));
        };
        let table = self.rules.tables.remove(index);
        self.is_rehooked = true;
        let used = self.rules.conntrack_users.saturating_sub(users(&table));
        self.rules.conntrack_users = used;
        self.undo.push(Undo::TableRemoved(index, Box::new(table)));
        Ok(())
    }

    /// Where a table is, by its name.
    pub fn find_table(&self, at: &At) -> Option<usize> {
        self.index(at)
    }

    /// `add chain`, `create chain`
    pub fn add_chain(&mut self, verb: Verb, at: &At, spec: ChainSpec, whole: Span) -> Edited {
        let base =
            spec.base.map(|base| Base { policy: spec.policy.unwrap_or(base.policy), ..base });
        if base.is_none() && spec.policy.is_some() {
            return Err(Failure::kernel(NOT_SUPPORTED, spec.spans[2]));
        }
        if let Some(Base { kind, hook, priority, .. }) = &base {
            let is_wrong = match kind {
                Kind::Filter => false,
                // Nothing can be translated before its connection is known.
                Kind::Nat => *hook == Hook::Forward || *priority <= -200,
                Kind::Route => *hook != Hook::Output,
            };
            if is_wrong {
                return Err(Failure::kernel(NOT_SUPPORTED, whole));
            }
        }
        let order = self.rules.next_order();
        let Edit { rules, undo, is_rehooked, .. } = self;
        let meant = |table: &&mut Table| table.family == at.family && table.name == at.name;
        let table = rules.tables.iter_mut().find(meant);
        let table = table.ok_or_else(|| Failure::kernel(NO_ENTRY, at.span))?;
        let name = &spec.name;
        let known = table.chain_names.get(name.as_ref()).copied();
        match known.and_then(|handle| table.chains.get_mut(&handle)) {
            Some(_) if verb == Verb::Create => return Err(Failure::kernel(EXISTS, spec.span)),
            Some(chain) => match (&mut chain.base, &base) {
                (_, None) => {}
                (Some(known), Some(base)) => {
                    if (known.kind, known.hook, known.priority)
                        != (base.kind, base.hook, base.priority)
                    {
                        return Err(Failure::kernel(NOT_SUPPORTED, whole));
                    }
                    if let Some(policy) = spec.policy {
                        let before = std::mem::replace(&mut known.policy, policy);
                        undo.push(Undo::Policy(table.handle, chain.handle, before));
                    }
                }
                (None, Some(_)) => {
                    let at = if spec.policy.is_some() { spec.spans[2] } else { whole };
                    return Err(Failure::kernel(NOT_SUPPORTED, at));
                }
            },
            None => {
                let handle = table.next_handle();
                let mut chain = Chain {
                    name: name.clone(),
                    handle,
                    base,
                    comment: spec.comment,
                    rules: Vec::new(),
                    uses: 0,
                    reach: check::Reach::default(),
                };
                if let Some(base) = &mut chain.base {
                    base.order = order;
                    chain.reach = check::Reach::base(base.kind, base.hook);
                    *is_rehooked = true;
                }
                table.chain_names.insert(name.clone(), handle);
                table.chains.insert(handle, chain);
                undo.push(Undo::ChainAdded(table.handle, handle));
            }
        }
        let chain = Named { name: spec.name.clone(), handle: None, span: spec.span };
        for (rule, span) in spec.rules {
            self.add_rule(Verb::Add, at, &chain, Place::None, rule, span)?;
        }
        Ok(())
    }

    /// The chain that is named.
    fn chain(&mut self, at: &At, named: &Named) -> Edited<u64> {
        let table = self.table(at)?;
        let found = match named.handle {
            Some(handle) => table.chains.get(&handle).map(|chain| chain.handle),
            None => table.chain_names.get(named.name.as_ref()).copied(),
        };
        found.ok_or_else(|| Failure::kernel(NO_ENTRY, named.span))
    }

    /// `delete chain`
    pub fn delete_chain(&mut self, at: &At, named: &Named) -> Edited {
        let handle = self.chain(at, named)?;
        let table = self.table(at)?;
        let table_handle = table.handle;
        // Its own rules go with it, and no longer lead anywhere, not even back to it.
        self.flush(table_handle, handle);
        let table = self.table(at)?;
        let Some(chain) = table.chains.get(&handle) else { return Ok(()) };
        if chain.uses > 0 {
            return Err(Failure::kernel(BUSY, named.span));
        }
        if let Some(chain) = table.chains.remove(&handle) {
            table.chain_names.remove(chain.name.as_ref());
            self.is_rehooked |= chain.base.is_some();
            self.undo.push(Undo::ChainRemoved(table_handle, Box::new(chain)));
        }
        Ok(())
    }

    /// `rename chain`
    pub fn rename(&mut self, at: &At, named: &Named, name: &Rc<str>, whole: Span) -> Edited {
        let Ok(handle) = self.chain(at, named) else {
            return Err(Failure::at(NO_ENTRY, named.span));
        };
        let table = self.table(at)?;
        if table.chain_names.get(name.as_ref()).is_some() {
            return Err(Failure::kernel(EXISTS, whole));
        }
        let before = set_name(table, handle, name);
        let undo = Undo::Renamed(table.handle, handle, before);
        self.undo.push(undo);
        Ok(())
    }

    /// `flush chain`
    pub fn flush_chain(&mut self, at: &At, named: &Named) -> Edited {
        let handle = self.chain(at, named)?;
        let table = self.table(at)?.handle;
        self.flush(table, handle);
        Ok(())
    }

    /// `flush table`
    pub fn flush_table(&mut self, at: &At) -> Edited {
        let table = self.table(at)?;
        let handle = table.handle;
        let chains: Vec<u64> = table.chains.keys().copied().collect();
        for chain in chains {
            self.flush(handle, chain);
        }
        Ok(())
    }

    fn flush(&mut self, table: u64, chain: u64) {
        let Some(known) = self.by_handle(table).and_then(|table| table.chains.get_mut(&chain))
        else {
            return;
        };
        let rules = std::mem::take(&mut known.rules);
        if rules.is_empty() {
            return;
        }
        for rule in &rules {
            self.hold(table, chain, rule, false);
        }
        self.undo.push(Undo::RulesRemoved(table, chain, rules));
    }

    /// `add rule`, `insert rule`, `replace rule`. Gives the rule's handle.
    pub fn add_rule(
        &mut self,
        verb: Verb,
        at: &At,
        chain: &Named,
        place: Place,
        mut rule: Rule,
        whole: Span,
    ) -> Edited<u64> {
        self.table(at)?;
        let chain_handle = self.chain(at, chain)?;
        let table = self.table(at)?;
        let rules = table.chains.get(&chain_handle).map_or(&[][..], |chain| &chain.rules);
        let (beside, span) = match place {
            Place::None => (None, whole),
            Place::Handle(handle, span) => {
                (Some(rules.iter().position(|rule| rule.handle == handle)), span)
            }
            Place::Index(index, span) => {
                (Some(usize::try_from(index).ok().filter(|index| *index < rules.len())), span)
            }
        };
        let beside = match beside {
            Some(None) => return Err(Failure::kernel(NO_ENTRY, span)),
            Some(found) => found,
            None => None,
        };
        let index = match (verb, beside) {
            (Verb::Insert, None) => 0,
            (Verb::Insert | Verb::Replace, Some(index)) => index,
            (_, Some(index)) => index + 1,
            (_, None) => rules.len(),
        };
        // Sets of the rule's own are made before it.
        let mut own = 0;
        resolve::each(&rule.stmts, &mut |referred| {
            own += u64::from(matches!(referred, Referred::Own(_)))
        });
        let resolved = resolve::rule(&mut rule, table);
        let is_sent = resolved.as_ref().err().is_none_or(Failure::is_kernels);
        // What the kernel refuses has had its handle.
        table.last_handle += if is_sent { own + 1 } else { 0 };
        resolved?;
        rule.handle = table.last_handle;
        let (handle, table_handle) = (rule.handle, table.handle);
        if verb == Verb::Replace {
            self.remove_rule(table_handle, chain_handle, index);
        }
        self.put_rule(table_handle, chain_handle, index, rule);
        self.undo.push(Undo::RuleAdded(table_handle, chain_handle, handle));
        let table = self.table(at)?;
        // Only what a rule says is looked at, not where it stands: it need not be copied but for this.
        let stmts = table.chains.get(&chain_handle).and_then(|chain| chain.rules.get(index));
        let stmts = stmts.map(|rule| rule.stmts.clone()).unwrap_or_default();
        check::grown(table, chain_handle, &stmts).map_err(|errno| Failure::kernel(errno, whole))?;
        Ok(handle)
    }

    pub(super) fn put_rule(&mut self, table: u64, chain: u64, index: usize, rule: Rule) {
        self.hold(table, chain, &rule, true);
        if let Some(known) = self.by_handle(table).and_then(|table| table.chains.get_mut(&chain)) {
            known.rules.insert(index.min(known.rules.len()), rule);
        }
    }

    pub(super) fn remove_rule(&mut self, table: u64, chain: u64, index: usize) {
        let known = self.by_handle(table).and_then(|table| table.chains.get_mut(&chain));
        let Some(known) = known.filter(|known| index < known.rules.len()) else { return };
        let rule = known.rules.remove(index);
        self.hold(table, chain, &rule, false);
        self.undo.push(Undo::RuleRemoved(table, chain, index, Box::new(rule)));
    }

    /// `delete rule`
    pub fn delete_rule(&mut self, at: &At, chain: &Named, handle: u64, span: Span) -> Edited {
        let chain = self.chain(at, chain)?;
        let table = self.table(at)?;
        let rules = table.chains.get(&chain).map_or(&[][..], |chain| &chain.rules);
        let Some(index) = rules.iter().position(|rule| rule.handle == handle) else {
            return Err(Failure::kernel(NO_ENTRY, span));
        };
        let table = table.handle;
        self.remove_rule(table, chain, index);
        Ok(())
    }

    /// A rule comes to a chain, or goes: what it refers to is used once more, or less.
    fn hold(&mut self, table: u64, chain: u64, rule: &Rule, comes: bool) {
        let mut conntrack = 0;
        let mut bounded = Vec::new();
        let Some(table) = self.by_handle(table) else { return };
        let table_handle = table.handle;
        let change =
            |uses: &mut u32| *uses = if comes { *uses + 1 } else { uses.saturating_sub(1) };
        resolve::each(&rule.stmts, &mut |referred| match referred {
            Referred::Chain(handle) => {
                if let Some(chain) = table.chains.get_mut(&handle) {
                    change(&mut chain.uses);
                }
            }
            Referred::Set(handle) => {
                if let Some(set) = table.sets.get_mut(&handle) {
                    if comes && set.size.is_none() && is_updated(&rule.stmts, set) {
                        let limits = (set.timeout, set.gc_interval, set.size);
                        bounded.push(Undo::Limits(table_handle, handle, limits));
                        set.size = Some(UPDATED_MAX);
                    }
                    let uses = set.users.entry(chain).or_default();
                    change(uses);
                    if *uses == 0 {
                        set.users.remove(&chain);
                    }
                }
            }
            Referred::Counter(handle) => {
                if let Some(counter) = table.counters.get_mut(&handle) {
                    change(&mut counter.uses);
                }
            }
            Referred::Conntrack => conntrack += 1,
            Referred::Own(_) => {}
        });
        self.undo.extend(bounded);
        let users = &mut self.rules.conntrack_users;
        *users = if comes { *users + conntrack } else { users.saturating_sub(conntrack) };
    }

    /// Changes how long elements of a set stay, and how many there may be.
    pub(super) fn set_limits(
        &mut self,
        table: u64,
        set: u64,
        (timeout, gc_interval, size): (Option<u64>, Option<u64>, Option<u32>),
    ) {
        if let Some(set) = self.by_handle(table).and_then(|table| table.sets.get_mut(&set)) {
            (set.timeout, set.gc_interval, set.size) = (timeout, gc_interval, size);
        }
    }

    /// `add set`, `add map`
    pub fn add_set(&mut self, verb: Verb, at: &At, spec: SetSpec) -> Edited {
        let now = self.now;
        let table = self.table(at)?;
        let name = spec.set.name.clone();
        match table.set(&name) {
            Some(_) if verb == Verb::Create => return Err(Failure::kernel(EXISTS, spec.span)),
            Some(known) => {
                let is_same = known.keys == spec.set.keys
                    && known.data == spec.set.data
                    && known.flags == spec.set.flags;
                if !is_same {
                    return Err(Failure::kernel(EXISTS, spec.span));
                }
                // These may change, and times that are not said are none (`nf_tables_newset`).
                let (table, handle) = (table.handle, known.handle);
                let limits = |set: &Set| (set.timeout, set.gc_interval, set.size);
                let (old, mut new) = (limits(known), limits(&spec.set));
                new.2 = new.2.or(old.2);
                if old != new {
                    self.undo.push(Undo::Limits(table, handle, old));
                    self.set_limits(table, handle, new);
                }
            }
            None => {
                let handle = table.next_handle();
                table.set_names.insert(name.clone(), handle);
                table.sets.insert(handle, Set { handle, ..spec.set });
                let undo = Undo::SetAdded(table.handle, handle);
                self.undo.push(undo);
            }
        }
        let named = Named { name, handle: None, span: spec.span };
        self.put_elements(Verb::Add, at, &named, &spec.elements, now)
    }

    /// The set that is named.
    fn set(&mut self, at: &At, named: &Named) -> Option<u64> {
        let table = self.table(at).ok()?;
        match named.handle {
            Some(handle) => table.sets.get(&handle).map(|set| set.handle),
            None => table.set_names.get(named.name.as_ref()).copied(),
        }
    }

    /// `delete set`, `delete map`
    pub fn delete_set(&mut self, at: &At, named: &Named, is_map: bool) -> Edited {
        self.table(at)?;
        let Some(handle) = self.set(at, named) else {
            // Maps nft looks for itself.
            return Err(match is_map {
                true => Failure::at(NO_ENTRY, named.span),
                false => Failure::kernel(NO_ENTRY, named.span),
            });
        };
        let table = self.table(at)?;
        if table.sets.get(&handle).is_some_and(|set| !set.users.is_empty()) {
            return Err(Failure::kernel(BUSY, named.span));
        }
        if let Some(set) = table.sets.remove(&handle) {
            table.set_names.remove(set.name.as_ref());
            link_all(table, &set.elements, set.any.as_deref(), false);
            let undo = Undo::SetRemoved(table.handle, Box::new(set));
            self.undo.push(undo);
        }
        Ok(())
    }

    /// `flush set`, `flush map`
    pub fn flush_set(&mut self, at: &At, named: &Named) -> Edited {
        let Some(handle) = self.set(at, named) else {
            return Err(Failure::at(
                NO_ENTRY,
                if self.index(at).is_none() { at.span } else { named.span },
            ));
        };
        let table = self.table(at)?;
        let Some(set) = table.sets.get_mut(&handle) else { return Ok(()) };
        if set.elements.is_empty() && set.any.is_none() {
            return Ok(());
        }
        let (elements, any) = (std::mem::take(&mut set.elements), set.any.take());
        link_all(table, &elements, any.as_deref(), false);
        let undo = Undo::Elements(table.handle, handle, elements, any);
        self.undo.push(undo);
        Ok(())
    }

    /// `add element`, `create element`
    pub fn put_elements(
        &mut self,
        verb: Verb,
        at: &At,
        named: &Named,
        specs: &[Spec],
        now: Instant,
    ) -> Edited {
        let handle = self.set(at, named).ok_or_else(|| Failure::at(NO_ENTRY, named.span))?;
        let table = self.table(at)?;
        let Some(set) = table.sets.get(&handle) else { return Ok(()) };
        let mut all = Vec::new();
        for spec in specs {
            all.push(spec.typed(set, now)?);
        }
        for at_index in 0..all.len() {
            let Some(mut typed) = all.get(at_index).cloned() else { break };
            let table = self.table(at)?;
            if let Some(value) = &mut typed.element.value {
                resolve::value(value, table)?;
            }
            self.put_element(verb, at, handle, typed, &all)?;
        }
        Ok(())
    }

    fn put_element(
        &mut self,
        verb: Verb,
        at: &At,
        set: u64,
        typed: Typed,
        all: &[Typed],
    ) -> Edited {
        let now = self.now;
        let table = self.table(at)?;
        let table_handle = table.handle;
        let Some(known) = table.sets.get_mut(&set) else { return Ok(()) };
        let to = match &typed.element.value {
            Some(Value::Action(action)) => check::target(action),
            _ => None,
        };
        let key = typed.key.clone();
        let put = known.put(typed.clone(), now).map_err(|clash| clash.failure(&typed, all))?;
        match put {
            Put::Same if verb == Verb::Create => return Err(Failure::kernel(EXISTS, typed.span)),
            Put::Same => return Ok(()),
            Put::New(gone) => {
                if let Some(gone) = &gone {
                    link(table, gone, false);
                }
                self.undo.push(Undo::ElementAdded(table_handle, set, key, gone));
            }
            Put::Merged(high, before) => {
                self.undo.push(Undo::Merged(table_handle, set, high, before));
            }
        }
        let table = self.table(at)?;
        link(table, &typed.element, true);
        if table.sets.get(&set).is_some_and(|set| is_overfull(set, now)) {
            return Err(Failure::kernel("Too many open files in system", typed.span));
        }
        match to {
            Some(to) => {
                check::linked(table, set, to).map_err(|errno| Failure::kernel(errno, typed.span))
            }
            None => Ok(()),
        }
    }

    /// `delete element`
    pub fn delete_elements(&mut self, at: &At, named: &Named, specs: &[Spec]) -> Edited {
        let handle = self.set(at, named).ok_or_else(|| Failure::at(NO_ENTRY, named.span))?;
        let now = self.now;
        for spec in specs {
            let table = self.table(at)?;
            let table_handle = table.handle;
            let Some(set) = table.sets.get_mut(&handle) else { return Ok(()) };
            // Only the key counts.
            let bare =
                Set { data: None, flags: set.flags | flags::TIMEOUT, ..Set::of(&set.keys, None) };
            let typed = spec.typed_key(&bare, now)?;
            match set.take(&typed).filter(|element| element.is_alive(now)) {
                None if bare.has_intervals() && bare.keys.len() == 1 => {
                    return Err(Failure::at("element does not exist", typed.span));
                }
                None => return Err(Failure::kernel(NO_ENTRY, typed.span)),
                Some(element) => {
                    link(table, &element, false);
                    self.undo.push(Undo::ElementRemoved(
                        table_handle,
                        handle,
                        typed.key,
                        Box::new(element),
                    ));
                }
            }
        }
        Ok(())
    }

    /// `add counter`
    pub fn add_counter(&mut self, verb: Verb, at: &At, spec: CounterSpec) -> Edited {
        let table = self.table(at)?;
        match table.counter(&spec.name) {
            Some(_) if verb == Verb::Create => Err(Failure::kernel(EXISTS, spec.span)),
            Some(_) => Ok(()),
            None => {
                let handle = table.next_handle();
                let CounterSpec { name, count, comment, .. } = spec;
                table.counters.insert(handle, Counter { name, handle, count, comment, uses: 0 });
                let undo = Undo::CounterAdded(table.handle, handle);
                self.undo.push(undo);
                Ok(())
            }
        }
    }

    /// `delete counter`
    pub fn delete_counter(&mut self, at: &At, named: &Named) -> Edited {
        let table = self.table(at)?;
        let found = match named.handle {
            Some(handle) => table.counters.get(&handle),
            None => table.counter(&named.name),
        };
        let Some(counter) = found else { return Err(Failure::kernel(NO_ENTRY, named.span)) };
        if counter.uses > 0 {
            return Err(Failure::kernel(BUSY, named.span));
        }
        let handle = counter.handle;
        if let Some(counter) = table.counters.remove(&handle) {
            let undo = Undo::CounterRemoved(table.handle, Box::new(counter));
            self.undo.push(undo);
        }
        Ok(())
    }
}

/// An element comes or goes: the chain it leads to is used once more, or less.
pub(super) fn link(table: &mut Table, element: &Element, comes: bool) {
    let Some(Value::Action(action)) = &element.value else { return };
    let chain = check::target(action).and_then(|handle| table.chains.get_mut(&handle));
    if let Some(chain) = chain {
        chain.uses = if comes { chain.uses + 1 } else { chain.uses.saturating_sub(1) };
    }
}

pub(super) fn link_all(
    table: &mut Table,
    elements: &BTreeMap<Key, Element>,
    any: Option<&Element>,
    comes: bool,
) {
    for element in elements.values().chain(any) {
        link(table, element, comes);
    }
}

pub(super) fn set_name(table: &mut Table, chain: u64, name: &Rc<str>) -> Rc<str> {
    let Some(known) = table.chains.get_mut(&chain) else { return name.clone() };
    let before = std::mem::replace(&mut known.name, name.clone());
    table.chain_names.remove(before.as_ref());
    table.chain_names.insert(name.clone(), chain);
    for rule in table.chains.values_mut().flat_map(|chain| &mut chain.rules) {
        resolve::renamed(&mut rule.stmts, chain, name);
    }
    for set in table.sets.values_mut() {
        resolve::renamed_in(set, chain, name);
    }
    before
}

/// There are more elements than there may be. Those whose time is over do not count.
fn is_overfull(set: &Set, now: Instant) -> bool {
    let most = set.size.map_or(usize::MAX, |size| size as usize);
    set.elements.len() > most
        && set.elements.values().filter(|element| element.is_alive(now)).count() > most
}

/// Elements that a set may have that rules add to, where nobody says (`nft_dynset_init`).
const UPDATED_MAX: u32 = 65_535;

/// A rule adds to the set.
fn is_updated(stmts: &[Stmt], set: &Set) -> bool {
    let updates =
        |stmt: &Stmt| matches!(stmt, Stmt::Update(update) if update.set.handle == set.handle);
    stmts.iter().any(updates)
}

/// How often a table needs connections to be known.
pub(super) fn users(table: &Table) -> u32 {
    let mut users = 0;
    for chain in table.chains.values() {
        for rule in &chain.rules {
            resolve::each(&rule.stmts, &mut |referred| {
                users += u32::from(matches!(referred, Referred::Conntrack));
            });
        }
    }
    users
}
