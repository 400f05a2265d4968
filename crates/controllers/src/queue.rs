//! Work that waits for its time.

use base::Instant;
use base::tree::{BTreeMap, BTreeSet};

/// Keys, each to be worked on once, at the earliest time anybody asked for.
#[derive(Clone, Debug)]
pub struct WorkQueue<K> {
    times: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Clone> Default for WorkQueue<K> {
    fn default() -> Self {
        WorkQueue { times: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> WorkQueue<K> {
    /// Asks for `key` to be worked on at `at`, unless it is to be earlier anyway.
    pub fn add(&mut self, key: K, at: Instant) {
        match self.times.get(&key) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                self.order.remove(&(*later, key.clone()));
            }
            None => {}
        }
        self.times.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    /// The first key whose time has come.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        let (at, key) = self.order.first()?.clone();
        if at > now {
            return None;
        }
        self.order.pop_first();
        self.times.remove(&key);
        Some(key)
    }

    /// When the first key's time comes.
    pub fn next_at(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

/// Namespace and name of an object.
pub type Key = (String, String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_worked_on_once_and_at_the_earliest_time() {
        let mut queue = WorkQueue::default();
        let at = Instant::from_millis;
        queue.add("b", at(20));
        queue.add("a", at(30));
        queue.add("a", at(10));
        queue.add("a", at(15));
        assert_eq!((queue.next_at(), queue.pop(at(9))), (Some(at(10)), None));
        assert_eq!(
            [queue.pop(at(20)), queue.pop(at(20)), queue.pop(at(99))],
            [Some("a"), Some("b"), None]
        );
    }
}
