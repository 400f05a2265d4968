//! Kubernetes objects: from the text of a manifest to the store, and what has changed there.
//!
//! In reading order, as a manifest goes:
//! - [`yaml`], [`json`]: text → [`node`]s that know their line;
//! - [`schema`]: the shape of every kind; [`mod@decode`]: a node against it, strictly;
//! - [`manifest`]: a file → objects to apply, or what is wrong with it, with a [`hint`];
//! - [`types`]: the types of objects that have behaviour; [`shape`]: a JSON value made to fit its type;
//! - [`kinds`]: the kinds and their names, [`crd`]: those that users define, [`convert`]: between versions of one kind;
//!   [`object`]: typed and untyped objects;
//! - [`server`]: [`Api`], what the API server does with an object: names, [`defaults`], [`workloads`], [`validate`],
//!   deletion; [`allocate`]: addresses and ports of Services; [`status`]: how it says no;
//! - [`patch`]: how objects become others; [`managed`]: who manages which field, and the server's apply;
//! - [`store`]: the objects and their changes; [`index`]: by owner, node and label; [`provenance`]: where in a file each came from;
//! - [`labels`], [`quantity`]: the small languages inside objects.
//!
//! **Invariant:** knows no networks; an address is a text or a number to be handed out.
//! **Invariant:** whatever a user writes is an object or an error in the server's words, never a panic.

pub mod allocate;
pub mod convert;
pub mod crd;
pub mod decode;
pub mod defaults;
pub mod hint;
pub mod index;
pub mod json;
pub mod kinds;
pub mod labels;
pub mod managed;
pub mod manifest;
pub mod node;
pub mod object;
pub mod patch;
pub mod provenance;
pub mod quantity;
pub mod schema;
pub mod server;
pub mod shape;
pub mod status;
pub mod store;
pub mod types;
pub mod validate;
pub mod workloads;
pub mod yaml;

pub use types::{
    IntOrString, Metadata, MicroTime, Quantity, Resource, Time, apps, batch, core, discovery,
    from_value, meta, policy, to_value,
};

pub use kinds::{KindId, KindInfo, Kinds};
pub use object::{AnyObject, Dynamic, Kind, MetaExt};
pub use server::{Api, ApiConfig, DeleteOptions, Patch, Propagation, Request};
pub use status::{FieldError, Reason, Status};
pub use store::{Change, Store};

/// A quantity as objects carry it.
pub fn quantity_object(text: &str) -> Quantity {
    Quantity(text.to_string())
}
