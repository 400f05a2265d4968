//! Where rules lead: no rule leads back to its own chain, and none stands where its matches may not be asked.

use base::FastMap;
use smallvec::SmallVec;

use super::{Action, ChainId, EditError, Rule, Table};
use crate::ext::EVERY_HOOK;
use crate::rule::{RuleSpec, Target};

impl Table {
    pub(super) fn resolve(&self, chain: ChainId, spec: &RuleSpec) -> Result<Action, EditError> {
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
    pub(super) fn admit(
        &mut self,
        chain: ChainId,
        spec: &RuleSpec,
        action: Action,
    ) -> Result<(), EditError> {
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
        let mut fits = true;
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
            fits &= found.rules.iter().all(|rule| rule.spec.hooks() & hooks == hooks);
        }
        fits
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
            // What stands there has been admitted before.
            self.spread(id, hooks & EVERY_HOOK);
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
}
