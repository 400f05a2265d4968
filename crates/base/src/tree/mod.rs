//! Sorted maps and sets in little code.
//!
//! The standard library's `BTreeMap` is some 4 kB of WebAssembly for every pair of types it is used with:
//! nodes that borrow from each other and are merged, for trees of any height. A hundred of them were a tenth
//! of the page. These are trees of two levels: leaves of at most 64 pairs, and one list of leaves. What
//! costs the logarithm there costs here a move of a leaf, and of the list whenever a leaf is split: of a
//! million entries still some microseconds.
//!
//! **Invariant:** keys rise strictly, within a leaf and from leaf to leaf; no leaf is empty.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Index;

mod iter;
mod set;

pub use iter::{IntoIter, Iter, IterMut, Keys, Values, ValuesMut};
pub use set::{BTreeSet, IntoItems};

/// A leaf with more pairs than this is split.
const FULL: usize = 64;

/// A map in the order of its keys.
#[derive(Clone)]
pub struct BTreeMap<K, V> {
    leaves: Vec<Vec<(K, V)>>,
    len: usize,
}

/// Where a key is, or where it would have to be put: the leaf, and the place in it.
#[derive(Clone, Copy)]
struct Place {
    leaf: usize,
    at: usize,
    is_there: bool,
}

impl<K, V> BTreeMap<K, V> {
    /// A map without entries.
    pub const fn new() -> BTreeMap<K, V> {
        BTreeMap { leaves: Vec::new(), len: 0 }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Without entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        *self = BTreeMap::new();
    }

    /// The entries, from the first key to the last.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let none: &[(K, V)] = &[];
        Iter { leaves: self.leaves.iter(), front: none.iter(), back: none.iter(), len: self.len }
    }

    /// The entries, the values for changing.
    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        let none: &mut [(K, V)] = &mut [];
        IterMut { leaves: self.leaves.iter_mut(), front: none.iter_mut() }
    }

    /// The keys.
    pub fn keys(&self) -> Keys<'_, K, V> {
        Keys(self.iter())
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> Values<'_, K, V> {
        Values(self.iter())
    }

    /// The values, for changing.
    pub fn values_mut(&mut self) -> ValuesMut<'_, K, V> {
        ValuesMut(self.iter_mut())
    }

    /// The keys alone.
    pub fn into_keys(self) -> impl Iterator<Item = K> {
        self.into_iter().map(|(key, _)| key)
    }

    /// The values alone.
    pub fn into_values(self) -> impl Iterator<Item = V> {
        self.into_iter().map(|(_, value)| value)
    }

    /// The entry with the least key.
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.leaves.first()?.first().map(|(key, value)| (key, value))
    }

    /// The entry with the greatest key.
    pub fn last_key_value(&self) -> Option<(&K, &V)> {
        self.leaves.last()?.last().map(|(key, value)| (key, value))
    }

    /// Takes the entry with the least key out.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        if self.is_empty() { None } else { Some(self.take(0, 0)) }
    }

    /// Takes the entry with the greatest key out.
    pub fn pop_last(&mut self) -> Option<(K, V)> {
        let leaf = self.leaves.len().checked_sub(1)?;
        let at = self.leaves.get(leaf)?.len().checked_sub(1)?;
        Some(self.take(leaf, at))
    }

    /// Keeps the entries that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        let mut len = 0;
        self.leaves.retain_mut(|leaf| {
            leaf.retain_mut(|(key, value)| keep(key, value));
            len += leaf.len();
            !leaf.is_empty()
        });
        self.len = len;
    }

    fn at(&self, place: Place) -> Option<&(K, V)> {
        if !place.is_there {
            return None;
        }
        self.leaves.get(place.leaf)?.get(place.at)
    }

    fn at_mut(&mut self, place: Place) -> Option<&mut (K, V)> {
        if !place.is_there {
            return None;
        }
        self.leaves.get_mut(place.leaf)?.get_mut(place.at)
    }

    /// Takes the entry out that is there.
    fn take(&mut self, leaf: usize, at: usize) -> (K, V) {
        self.len -= 1;
        let pairs = &mut self.leaves[leaf];
        let pair = pairs.remove(at);
        if pairs.is_empty() {
            self.leaves.remove(leaf);
        }
        pair
    }

    /// Puts an entry where its place is, and says where it is now.
    fn put(&mut self, place: Place, pair: (K, V)) -> (usize, usize) {
        self.len += 1;
        let Place { mut leaf, mut at, .. } = place;
        let len = self.leaves.get(leaf).map_or(FULL, Vec::len);
        if len >= FULL {
            // What comes in order fills its leaves.
            let from = if at >= FULL { len } else { len / 2 };
            let split = match self.leaves.get_mut(leaf) {
                Some(pairs) => pairs.split_off(from),
                // Most maps are small: the first entry takes the room of one.
                None => {
                    self.leaves.reserve_exact(1);
                    Vec::with_capacity(1)
                }
            };
            let after = (leaf + 1).min(self.leaves.len());
            self.leaves.insert(after, split);
            if at >= from && after > leaf {
                (leaf, at) = (after, at - from);
            }
        }
        self.leaves[leaf].insert(at, pair);
        (leaf, at)
    }
}

impl<K: Ord, V> BTreeMap<K, V> {
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Place
    where
        K: Borrow<Q>,
    {
        let mut place = Place { leaf: 0, at: 0, is_there: false };
        // The leaf is looked for by the first keys of leaves, and then the key in it. One loop does both, so that
        // there is one comparison in the code.
        let mut leaf: Option<&[(K, V)]> = None;
        loop {
            let (mut from, mut to) = (0, leaf.map_or(self.leaves.len(), <[_]>::len));
            while from < to {
                let middle = (from + to) / 2;
                let pair = match leaf {
                    Some(pairs) => pairs.get(middle),
                    None => self.leaves.get(middle).and_then(|pairs| pairs.first()),
                };
                match pair.map(|pair| pair.0.borrow().cmp(key)) {
                    Some(Ordering::Greater) => to = middle,
                    Some(Ordering::Equal) => {
                        match leaf {
                            Some(_) => place.at = middle,
                            None => place.leaf = middle,
                        }
                        return Place { is_there: true, ..place };
                    }
                    Some(Ordering::Less) | None => from = middle + 1,
                }
            }
            if leaf.is_some() {
                return Place { at: from, ..place };
            }
            place.leaf = from.saturating_sub(1);
            match self.leaves.get(place.leaf) {
                Some(pairs) => leaf = Some(pairs),
                None => return place,
            }
        }
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.at(self.place(key)).map(|pair| &pair.1)
    }

    /// The value of a key, for changing.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.at_mut(self.place(key)).map(|pair| &mut pair.1)
    }

    /// There is an entry with this key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_there
    }

    /// Sets the value of a key, and gives the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let place = self.place(&key);
        if let Some(pair) = self.at_mut(place) {
            return Some(std::mem::replace(&mut pair.1, value));
        }
        self.put(place, (key, value));
        None
    }

    /// Takes the entry of a key out, and gives its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key);
        if place.is_there { Some(self.take(place.leaf, place.at).1) } else { None }
    }

    /// The entry of a key, whether there is one or not.
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        Entry { place: self.place(&key), map: self, key }
    }

    /// The entries from a key on.
    pub fn range_from<Q: Ord + ?Sized>(&self, from: &Q) -> Iter<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let none: &[(K, V)] = &[];
        let Place { leaf, at, .. } = self.place(from);
        let first = self.leaves.get(leaf).and_then(|pairs| pairs.get(at..)).unwrap_or(none);
        let rest = self.leaves.get(leaf + 1..).unwrap_or_default();
        let len = first.len() + rest.iter().map(Vec::len).sum::<usize>();
        Iter { leaves: rest.iter(), front: first.iter(), back: none.iter(), len }
    }
}

/// The place of a key in a map, with an entry or without one.
pub struct Entry<'a, K, V> {
    map: &'a mut BTreeMap<K, V>,
    key: K,
    place: Place,
}

impl<'a, K, V> Entry<'a, K, V> {
    /// The value, which is made if there is none.
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> &'a mut V {
        let Entry { map, key, place } = self;
        let (leaf, at) = match place.is_there {
            true => (place.leaf, place.at),
            false => map.put(place, (key, make())),
        };
        &mut map.leaves[leaf][at].1
    }

    /// The value; this one if there is none.
    pub fn or_insert(self, value: V) -> &'a mut V {
        self.or_insert_with(|| value)
    }

    /// The value; the default one if there is none.
    pub fn or_default(self) -> &'a mut V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }
}

impl<K: Ord, V> Extend<(K, V)> for BTreeMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        for (key, value) in pairs {
            self.insert(key, value);
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for BTreeMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut map = BTreeMap::new();
        map.extend(pairs);
        map
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for BTreeMap<K, V> {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<K, V> Default for BTreeMap<K, V> {
    fn default() -> Self {
        BTreeMap::new()
    }
}

impl<K: Ord + Borrow<Q>, Q: Ord + ?Sized, V> Index<&Q> for BTreeMap<K, V> {
    type Output = V;

    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("no entry found for key")
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for BTreeMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for BTreeMap<K, V> {}

impl<K: PartialOrd, V: PartialOrd> PartialOrd for BTreeMap<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.iter().partial_cmp(other.iter())
    }
}

impl<K: Ord, V: Ord> Ord for BTreeMap<K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for BTreeMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap as Theirs;

    use super::*;
    use crate::Rng;

    /// Both say the same, and every leaf is as it has to be.
    fn compare(ours: &BTreeMap<u32, u32>, theirs: &Theirs<u32, u32>) {
        assert!(ours.iter().eq(theirs.iter()));
        assert!(ours.iter().rev().eq(theirs.iter().rev()));
        assert_eq!((ours.len(), ours.iter().len()), (theirs.len(), theirs.len()));
        assert_eq!(ours.first_key_value(), theirs.first_key_value());
        assert_eq!(ours.last_key_value(), theirs.last_key_value());
        assert!(ours.leaves.iter().all(|leaf| (1..=FULL).contains(&leaf.len())));
    }

    #[test]
    fn does_what_the_standard_librarys_does() {
        let mut rng = Rng::new(9);
        for keys in [3, 100, 1000_u32] {
            let (mut ours, mut theirs) = (BTreeMap::new(), Theirs::new());
            for step in 0..4000_u32 {
                let (key, grows) = (rng.below(keys), step < 2000);
                match rng.below(8) {
                    0..3 if grows => assert_eq!(ours.insert(key, step), theirs.insert(key, step)),
                    3 if grows => {
                        assert_eq!(
                            ours.entry(key).or_insert(step),
                            theirs.entry(key).or_insert(step)
                        );
                    }
                    4 => assert_eq!(ours.pop_first(), theirs.pop_first()),
                    5 => assert_eq!(ours.pop_last(), theirs.pop_last()),
                    6 => assert!(ours.range_from(&key).eq(theirs.range(key..))),
                    _ => assert_eq!(ours.remove(&key), theirs.remove(&key)),
                }
                assert_eq!(ours.get(&key), theirs.get(&key));
                if step % 100 == 0 {
                    compare(&ours, &theirs);
                }
            }
            compare(&ours, &theirs);
        }
    }

    #[test]
    fn what_comes_in_order_fills_its_leaves() {
        let rising = BTreeMap::from_iter((0..6400).map(|key| (key, ())));
        assert_eq!(rising.leaves.len(), 100);
        let falling = BTreeMap::from_iter((0..6400).rev().map(|key| (key, ())));
        assert!(falling.leaves.len() <= 200);
        assert_eq!(rising, falling);
    }

    #[test]
    fn keeps_changes_and_gives_away() {
        let mut ours = BTreeMap::from_iter((0..1000_u32).map(|key| (key, key)));
        ours.retain(|key, value| {
            *value += 1;
            key % 3 == 0
        });
        ours.values_mut().for_each(|value| *value *= 2);
        let theirs = Theirs::from_iter((0..1000).step_by(3).map(|key| (key, 2 * (key + 1))));
        compare(&ours, &theirs);
        let mut ends = ours.iter();
        let mut others = theirs.iter();
        for _ in 0..200 {
            assert_eq!(ends.next(), others.next());
            assert_eq!(ends.next_back(), others.next_back());
        }
        assert!(ours.into_iter().eq(theirs));
    }

    #[test]
    fn sets_meet_and_part() {
        let (a, b) = (BTreeSet::from([1, 2, 3, 5]), BTreeSet::from([2, 3, 4]));
        assert_eq!(Vec::from_iter(a.intersection(&b)), [&2, &3]);
        assert_eq!(Vec::from_iter(a.difference(&b)), [&1, &5]);
        assert_eq!(format!("{a:?}"), "{1, 2, 3, 5}");
        let mut c = b.clone();
        assert!(!c.insert(2) && c.insert(9) && c.remove(&9) && !c.remove(&9));
        assert_eq!((c.first(), c.last(), c == b), (Some(&2), Some(&4), true));
    }
}
