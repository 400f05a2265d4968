//! Sorting, and sorted maps from pairs, as one piece of code for all types.
//!
//! The standard library's stable sort is some 4 kB of WebAssembly for every type and comparison it is used
//! with, and collecting into a `BTreeMap` or `BTreeSet` sorts too; thirty uses were a tenth of the page. These
//! sort numbers of places instead, once for all, and cost a little more time: for what people wait for, not
//! for the packet path.

use std::cmp::Ordering;

use crate::tree::{BTreeMap, BTreeSet};

/// Sorts by a comparison. Stable: what is equal keeps its order.
pub fn sort_by<T>(items: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    let order = order(items.len(), &mut |a, b| compare(&items[a], &items[b]));
    rearrange(&order, &mut |a, b| items.swap(a, b));
}

/// Sorts by a key, which is made anew for every comparison. Stable.
pub fn sort_by_key<T, K: Ord>(items: &mut [T], mut key: impl FnMut(&T) -> K) {
    sort_by(items, |a, b| key(a).cmp(&key(b)));
}

/// Sorts. Stable.
pub fn sort<T: Ord>(items: &mut [T]) {
    sort_by(items, T::cmp);
}

/// The pairs as a map; of equal keys the last counts.
pub fn map<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        map.insert(key, value);
    }
    map
}

/// The items as a set.
pub fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    for item in items {
        set.insert(item);
    }
    set
}

/// The places of `len` things, in the order in which they are to stand: a merge sort from short runs to
/// long ones. A comparison that contradicts itself gives some order, not a panic.
fn order(len: usize, compare: &mut dyn FnMut(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order = Vec::from_iter(0..len);
    let mut merged = order.clone();
    let mut run = 1;
    while run < len {
        for (runs, into) in order.chunks(2 * run).zip(merged.chunks_mut(2 * run)) {
            let (mut left, mut right) = runs.split_at(run.min(runs.len()));
            for place in into {
                let from = match (left, right) {
                    ([a, ..], [b, ..]) if compare(*b, *a) != Ordering::Less => &mut left,
                    (_, []) => &mut left,
                    _ => &mut right,
                };
                if let [first, rest @ ..] = *from {
                    (*place, *from) = (*first, rest);
                }
            }
        }
        std::mem::swap(&mut order, &mut merged);
        run *= 2;
    }
    order
}

/// Puts things into the order given, by swapping two of them at a time; each is moved to its place once.
fn rearrange(order: &[usize], swap: &mut dyn FnMut(usize, usize)) {
    let mut target = vec![0; order.len()];
    for (to, from) in order.iter().enumerate() {
        target[*from] = to;
    }
    for at in 0..target.len() {
        while target[at] != at {
            let to = target[at];
            swap(at, to);
            target.swap(at, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn sorts_as_the_standard_library_does() {
        let mut rng = Rng::new(7);
        for len in 0..200 {
            let items: Vec<(u32, usize)> = (0..len).map(|at| (rng.below(20), at)).collect();
            let (mut ours, mut theirs) = (items.clone(), items);
            sort_by_key(&mut ours, |(key, _)| *key);
            theirs.sort_by_key(|(key, _)| *key);
            assert_eq!(ours, theirs);
            sort_by(&mut ours, |a, b| b.0.cmp(&a.0));
            theirs.sort_by_key(|(key, _)| std::cmp::Reverse(*key));
            assert_eq!(ours, theirs);
            sort(&mut ours);
            theirs.sort();
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_comparison_without_sense_loses_nothing() {
        let mut rng = Rng::new(8);
        let mut items = Vec::from_iter(0..1000);
        sort_by(&mut items, |_, _| [Ordering::Less, Ordering::Greater][rng.below(2) as usize]);
        items.sort_unstable();
        assert_eq!(items, Vec::from_iter(0..1000));
    }

    #[test]
    fn of_equal_keys_the_last_counts() {
        let map = map([(2, 'a'), (1, 'b'), (2, 'c')]);
        assert_eq!(Vec::from_iter(map), [(1, 'b'), (2, 'c')]);
        assert_eq!(Vec::from_iter(set([3, 1, 3])), [1, 3]);
    }
}
