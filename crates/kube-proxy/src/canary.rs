//! Chains that nobody needs, put in to see whether they are still there: when somebody has flushed the tables,
//! everything is written again (`pkg/util/iptables`, `Monitor`).

use std::rc::Rc;

use base::{Duration, Instant};
use netfilter::{Netfilter, TableName};

/// Where canaries are, the one that is looked at first.
const TABLES: [TableName; 3] = [TableName::Mangle, TableName::Nat, TableName::Filter];
/// How often the others are looked at when the first is gone (`iptablesFlushPollTime`).
const POLL: Duration = Duration::from_millis(100);
/// So long somebody who flushes tables may take for all of them (`iptablesFlushTimeout`).
const PATIENCE: Duration = Duration::from_secs(5);

/// A canary chain in three tables.
#[derive(Clone, Debug)]
pub struct Canary {
    name: Rc<str>,
    every: Duration,
    next: Instant,
    /// The first is gone, and the others may have until then to follow.
    until: Option<Instant>,
}

impl Canary {
    /// A canary that is looked at every so often.
    pub fn new(name: &str, every: Duration, now: Instant) -> Canary {
        Canary { name: name.into(), every, next: now, until: None }
    }

    /// When to look next.
    pub fn next_at(&self) -> Instant {
        self.next
    }

    /// Looks, and puts in what is missing. `true`: all of them were gone, so that whoever put them in has to put in
    /// everything else, too.
    pub fn look(&mut self, netfilter: &mut Netfilter, now: Instant) -> bool {
        if self.next > now {
            return false;
        }
        let is_there = |table: &TableName| {
            netfilter.table(*table).is_some_and(|table| table.chain(&self.name).is_some())
        };
        let there = TABLES.iter().filter(|table| is_there(table)).count();
        let has_first = TABLES.first().is_some_and(is_there);
        let until = *self.until.get_or_insert(now + PATIENCE);
        if !has_first && there > 0 && now < until {
            self.next = now + POLL;
            return false;
        }
        (self.until, self.next) = (None, now + self.every);
        if there < TABLES.len() {
            for table in TABLES {
                netfilter.edit(table, |table| table.ensure_chain(&self.name));
            }
        }
        there == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delete(netfilter: &mut Netfilter, tables: &[TableName]) {
        for table in tables {
            netfilter.edit(*table, |table| table.delete_chain("CANARY")).unwrap();
        }
    }

    #[test]
    fn a_flush_is_noticed_when_it_is_complete() {
        let mut netfilter = Netfilter::new(base::Rng::new(1));
        let mut canary = Canary::new("CANARY", Duration::from_secs(30), Instant::ZERO);
        let at = |seconds: u64, millis: u64| {
            Instant::ZERO + Duration::from_secs(seconds) + Duration::from_millis(millis)
        };
        assert!(canary.look(&mut netfilter, at(0, 0)), "there were none");
        assert!(!canary.look(&mut netfilter, at(30, 0)));
        delete(&mut netfilter, &[TableName::Mangle]);
        assert!(!canary.look(&mut netfilter, at(59, 0)), "not looked at");
        assert!(!canary.look(&mut netfilter, at(60, 0)), "somebody is flushing");
        assert_eq!(canary.next_at(), at(60, 100));
        delete(&mut netfilter, &[TableName::Nat, TableName::Filter]);
        assert!(canary.look(&mut netfilter, at(60, 100)));
        assert_eq!(canary.next_at(), at(90, 100));
        // One that is never complete is put right, and nothing else is done.
        delete(&mut netfilter, &[TableName::Mangle]);
        assert!(!canary.look(&mut netfilter, at(91, 0)));
        assert!(!canary.look(&mut netfilter, at(97, 0)));
        assert!(netfilter.table(TableName::Mangle).unwrap().chain("CANARY").is_some());
        // One in another table than the first is not missed.
        delete(&mut netfilter, &[TableName::Nat]);
        assert!(!canary.look(&mut netfilter, at(130, 0)));
    }
}
