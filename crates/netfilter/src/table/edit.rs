//! Changing a table: chains and rules, each change whole or refused in the tool's words.

use std::fmt;
use std::rc::Rc;

use smallvec::SmallVec;

use super::{Action, ChainId, Counters, Planned, Policy, Rule, Table};
use crate::ext::Match;
use crate::rule::{RuleSpec, Target};

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

impl Table {
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
    pub fn ensure_chain(&mut self, name: &Rc<str>) -> (ChainId, bool) {
        if let Some(id) = self.by_name.get(name) {
            return (*id, false);
        }
        self.generation += 1;
        (self.add_chain(name.clone(), None), true)
    }

    /// Whether `id` is the chain of this name.
    pub fn is_chain(&self, id: ChainId, name: &Rc<str>) -> bool {
        let found = self.chains.get(id.slot());
        found.is_some_and(|chain| Rc::ptr_eq(&chain.name, name) || chain.name == *name)
    }

    /// Gives a chain other rules, with counters at zero. On an error the rules before the refused one are in
    /// the chain.
    pub fn set_rules(&mut self, id: ChainId, rules: &[Rc<RuleSpec>]) -> Result<(), EditError> {
        self.generation += 1;
        let written = self.generation;
        let Some(chain) = self.chains.get_mut(id.slot()) else { return Ok(()) };
        let same = |(old, new): (&Rule, &Rc<RuleSpec>)| Rc::ptr_eq(&old.spec, new);
        if chain.rules.len() == rules.len() && chain.rules.iter().zip(rules).all(same) {
            // The same rules again: they begin anew, and everything found out about them holds.
            chain.rules.iter_mut().for_each(Rule::begin);
            chain.written = written;
            return Ok(());
        }
        let len = chain.rules.len();
        self.splice(id, 0, len, rules)
    }

    /// Replaces `count` rules from the one at `at` (counting from 0) by others, with counters at zero. On an
    /// error those before the refused one are in the chain.
    pub fn splice_rules(
        &mut self,
        chain: &str,
        at: usize,
        count: usize,
        rules: &[Rc<RuleSpec>],
    ) -> Result<(), EditError> {
        let id = self.id(chain)?;
        self.splice(id, at, count, rules)
    }

    fn splice(
        &mut self,
        id: ChainId,
        at: usize,
        count: usize,
        rules: &[Rc<RuleSpec>],
    ) -> Result<(), EditError> {
        self.generation += 1;
        let plan = std::mem::take(&mut self.at_mut(id).plan);
        let old = self.rules_mut(id);
        let at = at.min(old.len());
        let end = at.saturating_add(count).min(old.len());
        let gone: SmallVec<[Rule; 4]> = old.drain(at..end).collect();
        gone.iter().for_each(|rule| self.unlink(rule));
        let mut result = Ok(());
        let mut new: SmallVec<[Rule; 4]> = SmallVec::new();
        for spec in rules {
            match self.link(id, spec.clone(), Counters::default()) {
                Ok(rule) => new.push(rule),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let chain = self.at_mut(id);
        let len = chain.rules.len() + new.len();
        if let Planned::Skip(mut plan) = plan
            && gone.len() + new.len() < len
            && plan.splice(at, &gone, &new, len)
        {
            chain.plan = Planned::Skip(plan);
        }
        chain.rules.splice(at..at, new);
        result
    }

    /// `-F chain` of a chain that is named; a built-in one comes into being by that.
    pub fn flush_named(&mut self, chain: &str) -> Result<(), EditError> {
        let id = self.id(chain)?;
        self.use_chain(id);
        self.flush(chain)
    }

    /// Takes all rules out of a chain.
    pub fn flush(&mut self, chain: &str) -> Result<(), EditError> {
        let id = self.id(chain)?;
        self.generation += 1;
        for rule in std::mem::take(self.rules_mut(id)) {
            self.unlink(&rule);
        }
        Ok(())
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
        let found = self.at_mut(id);
        if found.policy.is_none() {
            return Err(EditError::NoPolicy(found.name.to_string()));
        }
        found.policy = Some(policy);
        self.use_chain(id);
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
        self.use_chain(id);
        self.conntrack_rules += u32::from(spec.uses_conntrack());
        self.counts_traffic |= spec.matches.iter().any(|m| matches!(m, Match::Connbytes(_)));
        if let Action::Jump(to) | Action::Goto(to) = action {
            self.at_mut(to).references += 1;
        }
        let state = spec.matches.iter().filter_map(|m| m.initial_state()).collect();
        let asks = spec.matches.iter().any(|m| !matches!(m, Match::Comment(_)));
        Ok(Rule { spec, counters, action, asks, state })
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

    /// Where in a chain a rule stands (counting from 0).
    pub fn position(&self, chain: &str, spec: &Rc<RuleSpec>) -> Option<usize> {
        let rules = &self.at(self.id(chain).ok()?).rules;
        let very_same = rules.iter().position(|rule| Rc::ptr_eq(&rule.spec, spec));
        very_same.or_else(|| rules.iter().position(|rule| rule.spec == *spec))
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
    use crate::hook::TableName;

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
