//! Objects: typed where they have behaviour, plain values where they have none.

use std::rc::Rc;
use std::sync::OnceLock;

use base::Instant;
use serde_json::{Map, Value};

use crate::apps::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use crate::batch::{CronJob, Job};
use crate::core::{Endpoints, Event, Namespace, Node, Pod, ReplicationController, Service};
use crate::discovery::EndpointSlice;
use crate::kinds::{KindId, KindInfo};
use crate::meta::{ObjectMeta, OwnerReference};
use crate::networking::{Ingress, IngressClass, NetworkPolicy};
use crate::policy::PodDisruptionBudget;
use crate::schema::Type;
use crate::shape::{Mismatch, fit};
use crate::types::{self, Field, Metadata, MicroTime, Resource, Time, Typed};

/// A kind that the engine knows by its type.
pub trait Kind: Resource + Metadata + Typed {
    /// Its number; see [`crate::kinds::Kinds`].
    fn id() -> KindId;
    /// The object as one of any kind.
    fn wrap(object: Rc<Self>) -> AnyObject;
    /// An object of any kind as one of this.
    fn of(object: &AnyObject) -> Option<&Rc<Self>>;
    /// The parts that a user asks for, as opposed to those that report; `generation` rises with them.
    fn same_spec(&self, other: &Self) -> bool;
}

macro_rules! typed_kinds {
    ($($kind:ident $($spec:ident)?),* $(,)?) => {
        /// An object of any kind. Cheap to copy.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "the variants are the kinds")]
        pub enum AnyObject {
            $($kind(Rc<$kind>),)*
            /// Of a kind without behaviour.
            Dynamic(Rc<Dynamic>),
        }

        $(
            impl Kind for $kind {
                fn id() -> KindId {
                    static ID: OnceLock<KindId> = OnceLock::new();
                    *ID.get_or_init(|| {
                        KindId::builtin(<$kind as Resource>::API_VERSION, <$kind as Resource>::KIND)
                    })
                }
                fn wrap(object: Rc<Self>) -> AnyObject {
                    AnyObject::$kind(object)
                }
                fn of(object: &AnyObject) -> Option<&Rc<Self>> {
                    match object {
                        AnyObject::$kind(object) => Some(object),
                        _ => None,
                    }
                }
                #[allow(unused_variables, reason = "kinds without a spec have nothing to compare")]
                fn same_spec(&self, other: &Self) -> bool {
                    true $(&& self.$spec == other.$spec)?
                }
            }
        )*

        impl AnyObject {
            /// Its metadata.
            pub fn meta(&self) -> &ObjectMeta {
                match self {
                    $(AnyObject::$kind(object) => object.metadata(),)*
                    AnyObject::Dynamic(object) => &object.metadata,
                }
            }

            /// Its metadata, for changing.
            pub fn meta_mut(&mut self) -> &mut ObjectMeta {
                match self {
                    $(AnyObject::$kind(object) => Rc::make_mut(object).metadata_mut(),)*
                    AnyObject::Dynamic(object) => &mut Rc::make_mut(object).metadata,
                }
            }

            /// The number of its kind.
            pub fn kind(&self) -> KindId {
                match self {
                    $(AnyObject::$kind(_) => <$kind as Kind>::id(),)*
                    AnyObject::Dynamic(object) => object.kind,
                }
            }

            /// As JSON, `apiVersion` and `kind` included.
            pub fn to_value(&self) -> Value {
                let object: &dyn Field = match self {
                    $(AnyObject::$kind(object) => &**object,)*
                    AnyObject::Dynamic(object) => return object.to_value(),
                };
                types::to_value(object)
            }

            /// Becomes what `value` says; of one that does not fit the kind nothing is taken.
            pub(crate) fn set_value(&mut self, value: Value) {
                match self {
                    $(AnyObject::$kind(object) => {
                        if let Ok(read) = types::from_value::<$kind>(value) {
                            *object = Rc::new(read);
                        }
                    })*
                    AnyObject::Dynamic(object) => Rc::make_mut(object).set_value(value),
                }
            }

            /// Reads an object of a kind from JSON that has been checked against the kind's schema.
            pub fn from_value(info: &KindInfo, value: Value) -> Result<AnyObject, Mismatch> {
                $(
                    if info.id == <$kind as Kind>::id() {
                        return types::from_value::<$kind>(value).map(|o| <$kind as Kind>::wrap(Rc::new(o)));
                    }
                )*
                Dynamic::from_value(info, value).map(|object| AnyObject::Dynamic(Rc::new(object)))
            }

            /// Whether what users ask for is the same in both.
            pub fn same_spec(&self, other: &AnyObject) -> bool {
                match (self, other) {
                    $((AnyObject::$kind(a), AnyObject::$kind(b)) => a.same_spec(b),)*
                    (AnyObject::Dynamic(a), AnyObject::Dynamic(b)) => a.same_spec(b),
                    _ => false,
                }
            }
        }
    };
}

typed_kinds! {
    ControllerRevision,
    CronJob spec,
    DaemonSet spec,
    Deployment spec,
    EndpointSlice endpoints,
    Endpoints,
    Event,
    Ingress spec,
    IngressClass spec,
    Job spec,
    Namespace,
    NetworkPolicy spec,
    Node spec,
    Pod spec,
    PodDisruptionBudget spec,
    ReplicaSet spec,
    ReplicationController spec,
    Service spec,
    StatefulSet spec,
}

/// An object of a kind without behaviour: its metadata, and the rest as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Dynamic {
    /// The number of its kind.
    pub kind: KindId,
    /// `apps/v1`
    pub api_version: String,
    /// `StatefulSet`
    pub kind_name: String,
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Everything else.
    pub body: Map<String, Value>,
}

impl Dynamic {
    fn from_value(info: &KindInfo, value: Value) -> Result<Dynamic, Mismatch> {
        let value = match (info.type_name, &info.custom) {
            (Some(name), None) => fit(value, Type::Object(name))?,
            (_, Some(custom)) => {
                let mut value = value;
                crate::crd::settle(&mut value, &custom.schema);
                value
            }
            _ => value,
        };
        let mut body = match value {
            Value::Object(body) => body,
            _ => Map::new(),
        };
        body.remove("apiVersion");
        body.remove("kind");
        let metadata = body.remove("metadata").unwrap_or_else(|| Value::Object(Map::new()));
        Ok(Dynamic {
            kind: info.id,
            api_version: info.api_version(),
            kind_name: info.kind.to_string(),
            metadata: types::from_value(metadata)?,
            body,
        })
    }

    /// Everything but the status is what users ask for.
    fn same_spec(&self, other: &Dynamic) -> bool {
        let spec = |body: &'_ Map<String, Value>| {
            let mut body = body.clone();
            body.remove("status");
            body
        };
        spec(&self.body) == spec(&other.body)
    }

    fn set_value(&mut self, value: Value) {
        let Value::Object(mut body) = value else { return };
        body.remove("apiVersion");
        body.remove("kind");
        if let Some(Ok(metadata)) = body.remove("metadata").map(types::from_value) {
            self.metadata = metadata;
        }
        self.body = body;
    }

    fn to_value(&self) -> Value {
        let mut value = self.body.clone();
        value.insert("apiVersion".into(), self.api_version.clone().into());
        value.insert("kind".into(), self.kind_name.clone().into());
        value.insert("metadata".into(), types::to_value(&self.metadata));
        Value::Object(value)
    }
}

impl AnyObject {
    /// Its name.
    pub fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    /// Its namespace; empty where the kind has none.
    pub fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }
}

/// What is asked of the metadata of everything.
pub trait MetaExt {
    /// The name; empty where there is none.
    fn name(&self) -> &str;
    /// The namespace; empty where there is none.
    fn namespace(&self) -> &str;
    /// The uid; empty where there is none.
    fn uid(&self) -> &str;
    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;
    /// The value of an annotation.
    fn annotation(&self, key: &str) -> Option<&str>;
    /// The object that manages this one.
    fn controller(&self) -> Option<&OwnerReference>;
    /// It is to be deleted.
    fn is_terminating(&self) -> bool;
}

impl MetaExt for ObjectMeta {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.uid.as_deref().unwrap_or_default()
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key).map(String::as_str)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
    }

    fn is_terminating(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// A reference from an object to the one that manages it.
pub fn controller_ref<T: Kind>(owner: &T) -> OwnerReference {
    let meta = owner.metadata();
    OwnerReference {
        api_version: T::API_VERSION.to_string(),
        kind: T::KIND.to_string(),
        name: meta.name().to_string(),
        uid: meta.uid().to_string(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The virtual time as objects carry it, to the second.
pub fn time(at: Instant) -> Time {
    let secs = base::calendar::EPOCH_UNIX_SECS + at.as_secs();
    Time(i64::try_from(secs).unwrap_or(i64::MAX))
}

/// The virtual time as objects carry it, to the microsecond.
pub fn micro_time(at: Instant) -> MicroTime {
    let micros = (base::calendar::EPOCH_UNIX_SECS * 1_000_000).saturating_add(at.as_micros());
    MicroTime(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// The virtual time of a stamp in an object; what lies before the beginning counts as the beginning.
pub fn instant(time: &Time) -> Instant {
    let secs = time.0 - base::calendar::EPOCH_UNIX_SECS as i64;
    Instant::from_secs(u64::try_from(secs).unwrap_or(0))
}
