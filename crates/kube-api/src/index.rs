//! Where else objects are looked for than by their names: by owner, and Pods by node and by label.
//!
//! An object that changes is filed anew only when what it is filed under has changed: most changes are
//! reports of a status.

use base::Items as _;
use base::tree::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::kinds::KindId;
use crate::labels::Labels;
use crate::object::AnyObject;

/// Kind, namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its kind.
    pub kind: KindId,
    /// Its namespace; empty where the kind has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Place {
    /// Where an object is.
    pub fn of(object: &AnyObject) -> Place {
        let (namespace, name) = (object.namespace().to_string(), object.name().to_string());
        Place { kind: object.kind(), namespace, name }
    }
}

type Places = BTreeSet<Rc<Place>>;
type Shelf = BTreeMap<String, Places>;

/// The index of a store.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// By the uid of each owner.
    owned: Shelf,
    /// Pods by node.
    on_node: Shelf,
    /// Pods by namespace, then by `key=value`.
    labelled: BTreeMap<String, Shelf>,
}

fn file(shelf: &mut Shelf, under: String, place: &Rc<Place>, is_there: bool) {
    if is_there {
        shelf.entry(under).or_default().insert(place.clone());
    } else if let Some(places) = shelf.get_mut(&under) {
        places.remove(place);
        if places.is_empty() {
            shelf.remove(&under);
        }
    }
}

fn node_of(object: &AnyObject) -> Option<&String> {
    match object {
        AnyObject::Pod(pod) => pod.spec.as_ref()?.node_name.as_ref(),
        _ => None,
    }
}

fn pod_labels(object: &AnyObject) -> Option<&Labels> {
    match object {
        AnyObject::Pod(pod) => pod.metadata.labels.as_ref(),
        _ => None,
    }
}

fn label(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

impl Index {
    /// An object is there as `new` and no longer as `old`.
    pub(crate) fn change(&mut self, old: Option<&AnyObject>, new: Option<&AnyObject>) {
        let Some(object) = new.or(old) else { return };
        let was_owned_by = old.and_then(|old| old.meta().owner_references.as_ref());
        let is_owned_by = new.and_then(|new| new.meta().owner_references.as_ref());
        let is_moved = old.and_then(node_of) != new.and_then(node_of);
        let is_relabelled = old.and_then(pod_labels) != new.and_then(pod_labels);
        if !is_moved && !is_relabelled && was_owned_by == is_owned_by {
            return;
        }
        let place = Rc::new(Place::of(object));
        for (owners, is_there) in [(was_owned_by, false), (is_owned_by, true)] {
            for owner in owners.items() {
                file(&mut self.owned, owner.uid.clone(), &place, is_there);
            }
        }
        for (object, is_there) in [(old, false), (new, true)] {
            if let Some(node) = object.and_then(node_of).filter(|_| is_moved) {
                file(&mut self.on_node, node.clone(), &place, is_there);
            }
            if let Some(labels) = object.and_then(pod_labels).filter(|_| is_relabelled) {
                let shelf = self.labelled.entry(place.namespace.clone()).or_default();
                for (key, value) in labels {
                    file(shelf, label(key, value), &place, is_there);
                }
            }
        }
        if self.labelled.get(&place.namespace).is_some_and(Shelf::is_empty) {
            self.labelled.remove(&place.namespace);
        }
    }

    /// What names this uid as one of its owners.
    pub(crate) fn owned(&self, uid: &str) -> Option<&Places> {
        self.owned.get(uid)
    }

    /// The Pods bound to a node.
    pub(crate) fn on_node(&self, node: &str) -> Option<&Places> {
        self.on_node.get(node)
    }

    /// Of the Pods that have each of these labels, the fewest.
    pub(crate) fn labelled(&self, namespace: &str, labels: &Labels) -> Option<&Places> {
        let shelf = self.labelled.get(namespace)?;
        let mut fewest: Option<&Places> = None;
        for (key, value) in labels {
            let places = shelf.get(&label(key, value))?;
            if fewest.is_none_or(|fewest| places.len() < fewest.len()) {
                fewest = Some(places);
            }
        }
        fewest
    }
}
