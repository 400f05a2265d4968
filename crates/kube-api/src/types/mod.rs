//! The objects that have behaviour, as types: upstream's names and shapes, and no more fields than the lab
//! reads or writes.
//!
//! - [`field`]: what a field can be; reading and writing, once for all types;
//! - [`mod@time`]: [`Time`], [`MicroTime`]; [`scalar`]: [`IntOrString`], [`Quantity`]; [`Projected`];
//! - [`meta`], [`core`], [`apps`], [`batch`], [`discovery`], [`networking`], [`policy`]: the types, by API group.
//!
//! **Invariant:** nothing gets lost. A field that has no place of its own is kept in the type's `rest`, and
//! written back. What the schema does not know is dropped, as the API server drops it.
//! **Invariant:** a type without `rest` has all fields that the schema has (a test holds them together).
//!
//! A new kind is a struct marked `: kind` here, and its name in the lists of `typed_kinds!` (`crate::object`) and
//! of `tests/types.rs`. A new field is a line; its test says if the name is not upstream's.
//!
//! They are made by the macro `objects!`, not by serde's derive: a reader and a writer for each type of
//! each format would be a third of the page. Here a type only names its fields; one function reads all types
//! and one writes them.

use serde_json::{Map, Value};

use crate::schema::Type;
use crate::shape::{Mismatch, fit};

/// Declares types of one API group: `"group in the schema", "apiVersion"`, then structs whose fields name
/// themselves in JSON. `: kind` makes one that has `apiVersion` and `kind`; a field `rest: Rest = ""`
/// keeps what has no field of its own.
macro_rules! objects {
    ($group:literal, $version:literal; $(
        $(#[$doc:meta])*
        struct $name:ident $(: $kind:ident)? {
            $($field:ident : $ty:ty = $json:literal),* $(,)?
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, PartialEq)]
            pub struct $name {
                $(pub $field: $ty,)*
            }

            impl $crate::types::field::Object for $name {
                fn each(&self, visit: &mut dyn FnMut(&'static str, &dyn $crate::types::field::Field)) {
                    $(objects!(@$kind each visit $version $name);)?
                    $(visit($json, &self.$field);)*
                }
                fn each_mut(
                    &mut self,
                    visit: &mut dyn FnMut(&'static str, &mut dyn $crate::types::field::Field),
                ) {
                    $(objects!(@$kind each_mut visit $version $name);)?
                    $(visit($json, &mut self.$field);)*
                }
            }

            impl $crate::types::Typed for $name {
                const TYPE: $crate::schema::Type =
                    $crate::schema::Type::Object(concat!($group, ".", stringify!($name)));
            }

            impl $crate::types::field::Field for $name {
                fn to_json(&self) -> Option<serde_json::Value> {
                    Some($crate::types::field::write(self))
                }
                fn set(&mut self, value: serde_json::Value) {
                    $crate::types::field::read(self, value);
                }
            }

            serde_by_value!($name);
            $(objects!(@$kind impl $version $name);)?
        )*
    };
    (@kind each $visit:ident $version:literal $name:ident) => {
        $visit("apiVersion", &$version);
        $visit("kind", &stringify!($name));
    };
    (@kind each_mut $visit:ident $version:literal $name:ident) => {
        $visit("apiVersion", &mut $version);
        $visit("kind", &mut stringify!($name));
    };
    (@kind impl $version:literal $name:ident) => {
        impl $crate::types::Resource for $name {
            const API_VERSION: &'static str = $version;
            const KIND: &'static str = stringify!($name);
        }
        impl $crate::types::Metadata for $name {
            fn metadata(&self) -> &$crate::types::meta::ObjectMeta {
                &self.metadata
            }
            fn metadata_mut(&mut self) -> &mut $crate::types::meta::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
/// serde's traits by way of a JSON value, for whoever wants them; the page does not.
macro_rules! serde_by_value {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::types::Field::to_json(self).serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = <serde_json::Value as serde::Deserialize>::deserialize(deserializer)?;
                $crate::types::from_value(value).map_err(serde::de::Error::custom)
            }
        }
    };
}

pub mod apps;
pub mod batch;
pub mod core;
pub mod discovery;
pub mod field;
pub mod meta;
pub mod networking;
pub mod policy;
mod projected;
pub mod scalar;
pub mod time;

pub use field::{Field, Object, part};
pub use projected::Projected;
pub use scalar::{IntOrString, Quantity};
pub use time::{MicroTime, Time};

/// The fields of an object that have no place of their own in its type.
pub type Rest = Map<String, Value>;

/// A type whose objects stand for themselves.
pub trait Resource {
    /// `apps/v1`, or `v1` for the core group.
    const API_VERSION: &'static str;
    /// `Deployment`
    const KIND: &'static str;
}

/// An object with metadata.
pub trait Metadata {
    /// Its metadata.
    fn metadata(&self) -> &meta::ObjectMeta;
    /// Its metadata, for changing.
    fn metadata_mut(&mut self) -> &mut meta::ObjectMeta;
}

/// A type of the schema.
pub trait Typed: Field + Default + Clone + PartialEq + 'static {
    /// Which one.
    const TYPE: Type;
}

/// Reads an object. What the schema does not know is dropped; an error says which type was wanted where
/// another was found.
pub fn from_value<T: Typed>(value: Value) -> Result<T, Mismatch> {
    let mut object = T::default();
    object.set(fit(value, T::TYPE)?);
    Ok(object)
}

/// The object as JSON.
pub fn to_value(object: &dyn Field) -> Value {
    object.to_json().unwrap_or_default()
}
