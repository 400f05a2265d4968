//! How a transaction is taken back, step by step.

use std::rc::Rc;

use base::tree::BTreeMap;

use super::edit::{Edit, link, link_all, set_name, users};
use super::model::{Chain, Counter, Element, Rule, Set, Table};
use super::value::Key;
use crate::table::Policy;

/// How a change is taken back. Tables and what is in them by handle.
pub(super) enum Undo {
    TableAdded(u64),
    TableRemoved(usize, Box<Table>),
    Dormant(u64, bool),
    ChainAdded(u64, u64),
    ChainRemoved(u64, Box<Chain>),
    Renamed(u64, u64, Rc<str>),
    Policy(u64, u64, Policy),
    RuleAdded(u64, u64, u64),
    RuleRemoved(u64, u64, usize, Box<Rule>),
    RulesRemoved(u64, u64, Vec<Rule>),
    SetAdded(u64, u64),
    Limits(u64, u64, (Option<u64>, Option<u64>, Option<u32>)),
    SetRemoved(u64, Box<Set>),
    ElementAdded(u64, u64, Option<Key>, Option<Box<Element>>),
    ElementRemoved(u64, u64, Option<Key>, Box<Element>),
    /// These became one, of this key.
    Merged(u64, u64, Key, Vec<(Key, Element)>),
    Elements(u64, u64, BTreeMap<Key, Element>, Option<Box<Element>>),
    CounterAdded(u64, u64),
    CounterRemoved(u64, Box<Counter>),
}

impl Edit<'_> {
    /// Takes a step back.
    pub(super) fn take_back(&mut self, step: Undo) {
        match step {
            Undo::Limits(table, set, limits) => self.set_limits(table, set, limits),
            Undo::TableAdded(handle) => {
                self.rules.tables.retain(|table| table.handle != handle);
                self.is_rehooked = true;
            }
            Undo::TableRemoved(index, table) => {
                self.rules.conntrack_users += users(&table);
                let index = index.min(self.rules.tables.len());
                self.rules.tables.insert(index, *table);
                self.is_rehooked = true;
            }
            Undo::RuleAdded(table, chain, handle) => {
                let known = self.by_handle(table).and_then(|table| table.chains.get(&chain));
                let index = known
                    .and_then(|chain| chain.rules.iter().position(|rule| rule.handle == handle));
                if let Some(index) = index {
                    self.remove_rule(table, chain, index);
                    self.undo.pop();
                }
            }
            Undo::RuleRemoved(table, chain, index, rule) => {
                self.put_rule(table, chain, index, *rule)
            }
            Undo::RulesRemoved(table, chain, rules) => {
                for (index, rule) in rules.into_iter().enumerate() {
                    self.put_rule(table, chain, index, rule);
                }
            }
            Undo::ChainAdded(table, chain) => {
                let removed = self.by_handle(table).and_then(|table| {
                    let chain = table.chains.remove(&chain)?;
                    table.chain_names.remove(chain.name.as_ref());
                    Some(chain)
                });
                if let Some(chain) = removed {
                    self.is_rehooked |= chain.base.is_some();
                }
            }
            Undo::ChainRemoved(table, chain) => {
                self.is_rehooked |= chain.base.is_some();
                if let Some(table) = self.by_handle(table) {
                    table.chain_names.insert(chain.name.clone(), chain.handle);
                    table.chains.insert(chain.handle, *chain);
                }
            }
            Undo::Dormant(table, dormant) => {
                self.is_rehooked = true;
                if let Some(table) = self.by_handle(table) {
                    table.dormant = dormant;
                }
            }
            step => self.take_back_in_table(step),
        }
    }

    fn take_back_in_table(&mut self, step: Undo) {
        let (Undo::Renamed(table, ..)
        | Undo::Policy(table, ..)
        | Undo::SetAdded(table, _)
        | Undo::SetRemoved(table, _)
        | Undo::ElementAdded(table, ..)
        | Undo::ElementRemoved(table, ..)
        | Undo::Merged(table, ..)
        | Undo::Elements(table, ..)
        | Undo::CounterAdded(table, _)
        | Undo::CounterRemoved(table, _)) = &step
        else {
            return;
        };
        let Some(table) = self.by_handle(*table) else { return };
        match step {
            Undo::Renamed(_, chain, name) => {
                set_name(table, chain, &name);
            }
            Undo::Policy(_, chain, policy) => {
                if let Some(base) =
                    table.chains.get_mut(&chain).and_then(|chain| chain.base.as_mut())
                {
                    base.policy = policy;
                }
            }
            Undo::SetAdded(_, set) => {
                if let Some(set) = table.sets.remove(&set) {
                    table.set_names.remove(set.name.as_ref());
                }
            }
            Undo::SetRemoved(_, set) => {
                link_all(table, &set.elements, set.any.as_deref(), true);
                table.set_names.insert(set.name.clone(), set.handle);
                table.sets.insert(set.handle, *set);
            }
            Undo::ElementAdded(_, set, key, before) => {
                let Some(set) = table.sets.get_mut(&set) else { return };
                let added = match &key {
                    Some(key) => set.elements.remove(key.as_slice()),
                    None => set.any.take().map(|any| *any),
                };
                if let (Some(key), Some(before)) = (key, &before) {
                    set.elements.insert(key, (**before).clone());
                }
                if let Some(before) = &before {
                    link(table, before, true);
                }
                if let Some(added) = &added {
                    link(table, added, false);
                }
            }
            Undo::ElementRemoved(_, set, key, element) => {
                link(table, &element, true);
                let Some(set) = table.sets.get_mut(&set) else { return };
                match key {
                    Some(key) => drop(set.elements.insert(key, *element)),
                    None => set.any = Some(element),
                }
            }
            // Only sets without verdicts merge, and nothing is linked.
            Undo::Merged(_, set, key, before) => {
                let Some(set) = table.sets.get_mut(&set) else { return };
                set.elements.remove(key.as_slice());
                for (key, element) in before {
                    set.elements.insert(key, element);
                }
            }
            Undo::Elements(_, set, elements, any) => {
                let Some(known) = table.sets.get_mut(&set) else { return };
                let after = std::mem::take(&mut known.elements);
                let any_after = known.any.take();
                link_all(table, &after, any_after.as_deref(), false);
                link_all(table, &elements, any.as_deref(), true);
                if let Some(known) = table.sets.get_mut(&set) {
                    (known.elements, known.any) = (elements, any);
                }
            }
            Undo::CounterAdded(_, counter) => drop(table.counters.remove(&counter)),
            Undo::CounterRemoved(_, counter) => {
                table.counters.insert(counter.handle, *counter);
            }
            _ => {}
        }
    }
}
