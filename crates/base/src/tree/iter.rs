//! Going through a map.

use std::{slice, vec};

use super::BTreeMap;

/// The entries of a map.
pub struct Iter<'a, K, V> {
    pub(super) leaves: slice::Iter<'a, Vec<(K, V)>>,
    pub(super) front: slice::Iter<'a, (K, V)>,
    pub(super) back: slice::Iter<'a, (K, V)>,
    pub(super) len: usize,
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        let Iter { leaves, front, back, len } = self;
        Iter { leaves: leaves.clone(), front: front.clone(), back: back.clone(), len: *len }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.len = self.len.saturating_sub(1);
        loop {
            if let Some((key, value)) = self.front.next() {
                return Some((key, value));
            }
            match self.leaves.next() {
                Some(leaf) => self.front = leaf.iter(),
                None => return self.back.next().map(|(key, value)| (key, value)),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len, Some(self.len))
    }
}

impl<K, V> DoubleEndedIterator for Iter<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.len = self.len.saturating_sub(1);
        loop {
            if let Some((key, value)) = self.back.next_back() {
                return Some((key, value));
            }
            match self.leaves.next_back() {
                Some(leaf) => self.back = leaf.iter(),
                None => return self.front.next_back().map(|(key, value)| (key, value)),
            }
        }
    }
}

impl<K, V> ExactSizeIterator for Iter<'_, K, V> {}

/// The entries of a map, the values for changing.
pub struct IterMut<'a, K, V> {
    pub(super) leaves: slice::IterMut<'a, Vec<(K, V)>>,
    pub(super) front: slice::IterMut<'a, (K, V)>,
}

impl<'a, K, V> Iterator for IterMut<'a, K, V> {
    type Item = (&'a K, &'a mut V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.front.next() {
                return Some((key, value));
            }
            self.front = self.leaves.next()?.iter_mut();
        }
    }
}

/// The values of a map, for changing.
pub struct ValuesMut<'a, K, V>(pub(super) IterMut<'a, K, V>);

impl<'a, K, V> Iterator for ValuesMut<'a, K, V> {
    type Item = &'a mut V;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(_, value)| value)
    }
}

/// The entries of a map, taken out.
pub struct IntoIter<K, V> {
    leaves: vec::IntoIter<Vec<(K, V)>>,
    front: vec::IntoIter<(K, V)>,
    len: usize,
}

impl<K, V> Iterator for IntoIter<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(pair) = self.front.next() {
                self.len -= 1;
                return Some(pair);
            }
            self.front = self.leaves.next()?.into_iter();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len, Some(self.len))
    }
}

macro_rules! part {
    ($(#[$doc:meta])* $name:ident $part:ident $which:tt) => {
        $(#[$doc])*
        pub struct $name<'a, K, V>(pub(super) Iter<'a, K, V>);

        impl<K, V> Clone for $name<'_, K, V> {
            fn clone(&self) -> Self {
                $name(self.0.clone())
            }
        }

        impl<'a, K, V> Iterator for $name<'a, K, V> {
            type Item = &'a $part;

            fn next(&mut self) -> Option<Self::Item> {
                self.0.next().map(|pair| pair.$which)
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                self.0.size_hint()
            }
        }

        impl<K, V> DoubleEndedIterator for $name<'_, K, V> {
            fn next_back(&mut self) -> Option<Self::Item> {
                self.0.next_back().map(|pair| pair.$which)
            }
        }

        impl<K, V> ExactSizeIterator for $name<'_, K, V> {}
    };
}

part! {
    /// The keys of a map, or the items of a set.
    Keys K 0
}
part! {
    /// The values of a map, in the order of their keys.
    Values V 1
}

impl<K, V> IntoIterator for BTreeMap<K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    fn into_iter(self) -> IntoIter<K, V> {
        let front = Vec::new().into_iter();
        IntoIter { leaves: self.leaves.into_iter(), front, len: self.len }
    }
}

impl<'a, K, V> IntoIterator for &'a BTreeMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut BTreeMap<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;

    fn into_iter(self) -> IterMut<'a, K, V> {
        self.iter_mut()
    }
}
