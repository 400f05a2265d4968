//! The objects, and what has changed.
//!
//! Objects are found by kind, namespace and name, by their owners ([`Store::owned_by`]), and Pods by their node
//! and their labels ([`Store::pods_on`], [`Store::pods_with`]): controllers ask these instead of looking through
//! all Pods.
//!
//! A change keeps the object as it was, so changes that everybody has seen are let go ([`Store::forget`]); a
//! few stay for those who come back late.

use std::collections::VecDeque;

use base::tree::BTreeMap;
use std::rc::Rc;

use crate::core::Pod;
use crate::crd;
use crate::index::{Index, Place};
use crate::kinds::{KindId, Kinds};
use crate::labels::{Labels, Selector};
use crate::object::{AnyObject, Kind};

/// A change of an object.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision it made.
    pub revision: u64,
    /// As it was; `None` for a new object.
    pub old: Option<AnyObject>,
    /// As it is; `None` for one that is gone.
    pub new: Option<AnyObject>,
}

impl Change {
    /// The object as it is, or as it last was.
    pub fn object(&self) -> &AnyObject {
        match (&self.new, &self.old) {
            (Some(object), _) | (None, Some(object)) => object,
            (None, None) => unreachable!("a change has an object"),
        }
    }

    /// The object as it is or was, if it is of this kind.
    pub fn of<T: Kind>(&self) -> Option<&Rc<T>> {
        T::of(self.object())
    }
}

/// Changes remembered at most; watchers that are further behind must list again.
const CHANGES_MAX: usize = 100_000;

/// Changes that are kept although all who were named to [`Store::forget`] have seen them.
const CHANGES_KEPT: usize = 1_000;

/// All objects of a cluster. Knows nothing of rules; those are [`crate::server::Api`]'s.
#[derive(Debug, Default)]
pub struct Store {
    kinds: Kinds,
    /// By kind, namespace and name.
    objects: BTreeMap<KindId, BTreeMap<String, BTreeMap<String, AnyObject>>>,
    index: Index,
    revision: u64,
    changes: VecDeque<Change>,
}

impl Store {
    /// The kinds.
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Rises with every change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// An object.
    pub fn get_any(&self, kind: KindId, namespace: &str, name: &str) -> Option<&AnyObject> {
        self.objects.get(&kind)?.get(namespace)?.get(name)
    }

    /// An object of a typed kind.
    pub fn get<T: Kind>(&self, namespace: &str, name: &str) -> Option<&Rc<T>> {
        T::of(self.get_any(T::id(), namespace, name)?)
    }

    /// All objects of a kind, by namespace and name.
    pub fn list_any(&self, kind: KindId) -> impl Iterator<Item = &AnyObject> {
        self.objects
            .get(&kind)
            .into_iter()
            .flat_map(|spaces| spaces.values())
            .flat_map(BTreeMap::values)
    }

    /// All objects of a kind in one namespace, by name.
    pub fn list_any_in(&self, kind: KindId, namespace: &str) -> impl Iterator<Item = &AnyObject> {
        let spaces = self.objects.get(&kind);
        spaces.and_then(|spaces| spaces.get(namespace)).into_iter().flat_map(BTreeMap::values)
    }

    /// All objects of a typed kind, by namespace and name.
    pub fn list<T: Kind>(&self) -> impl Iterator<Item = &Rc<T>> {
        self.list_any(T::id()).filter_map(T::of)
    }

    /// All objects of a typed kind in one namespace, by name.
    pub fn list_in<T: Kind>(&self, namespace: &str) -> impl Iterator<Item = &Rc<T>> {
        self.list_any_in(T::id(), namespace).filter_map(T::of)
    }

    /// The objects of a typed kind in one namespace whose names begin with `prefix`, by name.
    pub fn list_named<'a, T: Kind>(
        &'a self,
        namespace: &str,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a Rc<T>> {
        let space = self.objects.get(&T::id()).and_then(|spaces| spaces.get(namespace));
        let names = space.into_iter().flat_map(|space| space.range_from(prefix));
        names.take_while(move |(name, _)| name.starts_with(prefix)).filter_map(|(_, o)| T::of(o))
    }

    fn at(&self, place: &Place) -> Option<&AnyObject> {
        self.get_any(place.kind, &place.namespace, &place.name)
    }

    /// All objects that name `uid` as one of their owners, by kind, namespace and name. Costs what there is
    /// to find, as do the next three.
    pub fn owned_by(&self, uid: &str) -> impl Iterator<Item = &AnyObject> {
        self.index.owned(uid).into_iter().flatten().filter_map(|place| self.at(place))
    }

    /// Those of one kind, by namespace and name.
    pub fn owned<T: Kind>(&self, uid: &str) -> impl Iterator<Item = &Rc<T>> {
        self.owned_by(uid).filter_map(T::of)
    }

    /// The Pods bound to a node, by namespace and name.
    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &Rc<Pod>> {
        self.index.on_node(node).into_iter().flatten().filter_map(|place| Pod::of(self.at(place)?))
    }

    /// The Pods of a namespace that have all these labels, by name; without labels, all its Pods.
    pub fn pods_with(&self, namespace: &str, labels: &Labels) -> Vec<&Rc<Pod>> {
        if labels.is_empty() {
            return self.list_in::<Pod>(namespace).collect();
        }
        let selector = Selector::of_labels(labels);
        let places = self.index.labelled(namespace, labels).into_iter().flatten();
        let pods = places.filter_map(|place| Pod::of(self.at(place)?));
        pods.filter(|pod| selector.matches(pod.metadata.labels.as_ref())).collect()
    }

    /// Puts an object, new or changed, in its place with a new revision.
    pub fn put(&mut self, mut object: AnyObject) -> AnyObject {
        self.revision += 1;
        object.meta_mut().resource_version = Some(self.revision.to_string());
        let space = self
            .objects
            .entry(object.kind())
            .or_default()
            .entry(object.namespace().to_string())
            .or_default();
        let old = space.insert(object.name().to_string(), object.clone());
        crd::define(&mut self.kinds, &object);
        self.index.change(old.as_ref(), Some(&object));
        self.note(old, Some(object.clone()));
        object
    }

    /// Takes an object away.
    pub fn remove(&mut self, kind: KindId, namespace: &str, name: &str) -> Option<AnyObject> {
        let spaces = self.objects.get_mut(&kind)?;
        let space = spaces.get_mut(namespace)?;
        let old = space.remove(name)?;
        if space.is_empty() {
            spaces.remove(namespace);
        }
        self.revision += 1;
        self.index.change(Some(&old), None);
        self.note(Some(old.clone()), None);
        Some(old)
    }

    /// The kinds that are gone with a definition.
    pub(crate) fn forget_kinds(&mut self, definition: &AnyObject) -> Vec<KindId> {
        crd::forget(&mut self.kinds, definition)
    }

    fn note(&mut self, old: Option<AnyObject>, new: Option<AnyObject>) {
        if self.changes.len() >= CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(Change { revision: self.revision, old, new });
    }

    /// Everybody who is waited for has seen the changes up to `revision`.
    pub fn forget(&mut self, revision: u64) {
        let seen = self.changes.partition_point(|change| change.revision <= revision);
        self.changes.drain(..seen.saturating_sub(CHANGES_KEPT));
    }

    /// Whether all changes after `revision` are still known; who asks for older ones must list again.
    pub fn knows_since(&self, revision: u64) -> bool {
        let unknown = self.changes.front().map_or(self.revision, |change| change.revision - 1);
        revision >= unknown
    }

    /// The changes after `revision`, oldest first, as far as they are known ([`Store::knows_since`]).
    pub fn changes_since(&self, revision: u64) -> impl Iterator<Item = &Change> {
        let at = self.changes.partition_point(|change| change.revision <= revision);
        self.changes.range(at..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::OwnerReference;

    fn pod(name: &str, node: Option<&str>, labels: &[(&str, &str)], owners: &[&str]) -> AnyObject {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("default".to_string());
        pod.metadata.name = Some(name.to_string());
        let pairs = labels.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        pod.metadata.labels = Some(base::order::map(pairs));
        let owner = |uid: &&str| OwnerReference { uid: uid.to_string(), ..Default::default() };
        pod.metadata.owner_references = Some(owners.iter().map(owner).collect());
        pod.spec.get_or_insert_default().node_name = node.map(str::to_string);
        Pod::wrap(Rc::new(pod))
    }

    fn names<'a>(pods: impl IntoIterator<Item = &'a Rc<Pod>>) -> String {
        let names: Vec<&str> =
            pods.into_iter().map(|pod| pod.metadata.name.as_deref().unwrap_or_default()).collect();
        names.join(" ")
    }

    #[test]
    fn objects_are_found_by_owner_node_and_label() {
        let mut store = Store::default();
        store.put(pod("b", Some("n1"), &[("app", "web"), ("tier", "x")], &["u1"]));
        store.put(pod("a", Some("n2"), &[("app", "web")], &["u1", "u2"]));
        store.put(pod("c", None, &[("app", "db")], &[]));
        let with = |store: &Store, labels: &[(&str, &str)]| {
            let pairs = labels.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            names(store.pods_with("default", &base::order::map(pairs)))
        };
        assert_eq!(names(store.owned::<Pod>("u1")), "a b");
        assert_eq!(names(store.owned::<Pod>("u2")), "a");
        assert_eq!(names(store.pods_on("n1")), "b");
        assert_eq!(with(&store, &[("app", "web")]), "a b");
        assert_eq!(with(&store, &[("app", "web"), ("tier", "x")]), "b");
        assert_eq!(with(&store, &[("app", "web"), ("tier", "y")]), "");
        assert_eq!(with(&store, &[]), "a b c");
        // Changed, and gone.
        store.put(pod("c", Some("n1"), &[("app", "web")], &["u2"]));
        store.remove(Pod::id(), "default", "b");
        assert_eq!(names(store.owned::<Pod>("u1")), "a");
        assert_eq!(names(store.owned::<Pod>("u2")), "a c");
        assert_eq!(names(store.pods_on("n1")), "c");
        assert_eq!(with(&store, &[("app", "web")]), "a c");
        assert_eq!(
            (with(&store, &[("app", "db")]), with(&store, &[("tier", "x")])),
            Default::default()
        );
        assert_eq!(names(store.list_named::<Pod>("default", "a")), "a");
    }

    #[test]
    fn what_everybody_has_seen_is_let_go() {
        let mut store = Store::default();
        for round in 0..3000 {
            store.put(pod("a", Some(&round.to_string()), &[], &[]));
        }
        assert!(store.knows_since(0));
        store.forget(2500);
        assert!(!store.knows_since(1499));
        assert!(store.knows_since(1500));
        assert_eq!(store.changes_since(2990).count(), 10);
        assert_eq!(store.changes_since(0).count(), 1500);
        store.forget(3000);
        assert_eq!(store.changes_since(0).count(), CHANGES_KEPT);
        assert!(store.knows_since(3000));
    }
}
