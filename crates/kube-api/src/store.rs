//! The objects, and what has changed.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::crd;
use crate::kinds::{KindId, Kinds};
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

/// All objects of a cluster. Knows nothing of rules; those are [`crate::server::Api`]'s.
#[derive(Debug, Default)]
pub struct Store {
    kinds: Kinds,
    /// By kind, namespace and name.
    objects: BTreeMap<KindId, BTreeMap<String, BTreeMap<String, AnyObject>>>,
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

    /// The changes after `revision`, oldest first.
    pub fn changes_since(&self, revision: u64) -> impl Iterator<Item = &Change> {
        let at = self.changes.partition_point(|change| change.revision <= revision);
        self.changes.range(at..)
    }
}
