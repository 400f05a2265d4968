//! Policy routing: which table of routes is asked (`net/core/fib_rules.c`, `net/ipv4/fib_rules.c`).

use netfilter::IfName;

use crate::addr::Cidr;
use crate::route::{Flow, RouteKind, TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN};

/// What a policy rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Asks a table; if that has no route, the next rule is tried.
    Lookup(u32),
    /// Ends the search: blackhole, unreachable or prohibit.
    Say(RouteKind),
}

/// A policy rule. Every condition that is there has to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// Lower ones are tried first.
    pub priority: u32,
    /// It is for what the conditions do not fit.
    pub not: bool,
    /// The source address.
    pub from: Option<Cidr>,
    /// The destination address.
    pub to: Option<Cidr>,
    /// The mark, after masking.
    pub fwmark: Option<(u32, u32)>,
    /// The interface the packet came in by; `lo` for what is made here.
    pub iif: Option<IfName>,
    /// The interface a socket is bound to.
    pub oif: Option<IfName>,
    /// What it does.
    pub action: RuleAction,
}

impl PolicyRule {
    /// `from all lookup table`
    pub fn lookup(priority: u32, table: u32) -> PolicyRule {
        PolicyRule {
            priority,
            not: false,
            from: None,
            to: None,
            fwmark: None,
            iif: None,
            oif: None,
            action: RuleAction::Lookup(table),
        }
    }

    /// The three rules that every namespace begins with.
    pub fn initial() -> Vec<PolicyRule> {
        [(0, TABLE_LOCAL), (32766, TABLE_MAIN), (32767, TABLE_DEFAULT)]
            .map(|(priority, table)| PolicyRule::lookup(priority, table))
            .to_vec()
    }

    pub(crate) fn matches(&self, flow: &Flow) -> bool {
        let iif = if flow.iif.is_none() { IfName::new("lo") } else { flow.iif };
        let fits = self.from.is_none_or(|from| from.contains(flow.src))
            && self.to.is_none_or(|to| to.contains(flow.dst))
            && self.fwmark.is_none_or(|(mark, mask)| flow.mark & mask == mark & mask)
            && self.iif.is_none_or(|name| name == iif)
            && self.oif.is_none_or(|name| name == flow.oif_name);
        fits != self.not
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iface::IfId;
    use crate::route::{Fib, PutRoute, Route, RouteError};

    #[test]
    fn rules_choose_the_table_by_mark_and_source() {
        let mut fib = Fib::default();
        let dev = |slot| IfId { slot, serial: 0 };
        let add = |fib: &mut Fib, table, slot| {
            fib.put(Route { table, ..Route::link(Cidr::DEFAULT, dev(slot)) }, PutRoute::Add)
        };
        add(&mut fib, TABLE_MAIN, 1).unwrap();
        add(&mut fib, 100, 2).unwrap();
        let marked = PolicyRule { fwmark: Some((1, 0xff)), ..PolicyRule::lookup(0, 100) };
        assert!(fib.add_rule(marked.clone(), None));
        let from = Some("10.1.0.0/16".parse().unwrap());
        let action = RuleAction::Say(RouteKind::Prohibit);
        assert!(fib.add_rule(PolicyRule { from, action, ..PolicyRule::lookup(0, 0) }, None));
        let priorities: Vec<u32> = fib.rules().iter().map(|rule| rule.priority).collect();
        assert_eq!(priorities, [0, 32764, 32765, 32766, 32767]);
        let flow = Flow::to([8, 8, 8, 8].into());
        assert_eq!(fib.lookup(&flow).unwrap().dev, dev(1));
        assert_eq!(fib.lookup(&Flow { mark: 0x101, ..flow }).unwrap().dev, dev(2));
        let refused = Flow { src: [10, 1, 0, 5].into(), ..flow };
        assert_eq!(fib.lookup(&refused), Err(RouteError::RuleSays(RouteKind::Prohibit)));
        fib.flush_rules();
        assert_eq!(fib.lookup(&flow), Err(RouteError::NoRoute));
    }
}
