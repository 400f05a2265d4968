//! What the API server does with an object: names, defaults, validation, addresses and ports, deletion.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::rc::Rc;

use base::{Duration, Instant, Rng};
use serde_json::Value;

use crate::allocate::{self, Allocator};
use crate::core::{Namespace, Pod};
use crate::decode::{Decoded, decode};
use crate::kinds::{KindId, KindInfo};
use crate::node::Node;
use crate::object::{self, AnyObject, Kind};
use crate::provenance::Provenance;
use crate::schema::Schema;
use crate::status::{FieldError, Status};
use crate::store::Store;
use crate::{MetaExt, defaults, validate, workloads};

/// Letters of generated names: no vowels and nothing that looks like something else
/// (`apimachinery/pkg/util/rand`).
pub const NAME_LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";

/// Settings of an API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// First address and prefix length of the Service network.
    pub service_network: (Ipv4Addr, u8),
    /// Ports that nodes open for Services.
    pub node_ports: RangeInclusive<u16>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        ApiConfig { service_network: (Ipv4Addr::new(10, 96, 0, 0), 16), node_ports: 30000..=32767 }
    }
}

/// How an object is to be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds a Pod has to end; `None` is what the Pod says itself.
    pub grace_seconds: Option<i64>,
}

/// The API server of one cluster.
#[derive(Debug)]
pub struct Api {
    store: Store,
    config: ApiConfig,
    allocator: Allocator,
    provenance: Provenance,
    rng: Rng,
    births: Births,
}

/// How often something was created under a name, so that each gets other letters. It is counted by name: what
/// else is created, and when, makes no difference.
#[derive(Debug, Default)]
struct Births {
    /// Generated names, by namespace and prefix.
    named: BTreeMap<String, u32>,
    /// The instant of the last creation, and how often each name was created then.
    last: (Instant, BTreeMap<String, u32>),
}

impl Births {
    fn count(of: &mut BTreeMap<String, u32>, name: String) -> String {
        let count = of.entry(name.clone()).or_default();
        *count += 1;
        format!("{name}/{count}")
    }

    /// Another object is made at this time with this name.
    fn at(&mut self, now: Instant, name: String) -> String {
        if self.last.0 != now {
            self.last = (now, BTreeMap::new());
        }
        format!("{}/{}", Births::count(&mut self.last.1, name), now.as_micros())
    }
}

impl Api {
    /// An empty cluster.
    pub fn new(config: ApiConfig, rng: Rng) -> Api {
        Api {
            store: Store::default(),
            config,
            allocator: Allocator::default(),
            provenance: Provenance::default(),
            rng,
            births: Births::default(),
        }
    }

    /// The objects.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Everybody who is waited for has seen the changes up to `revision`.
    pub fn forget(&mut self, revision: u64) {
        self.store.forget(revision);
    }

    /// The settings.
    pub fn config(&self) -> &ApiConfig {
        &self.config
    }

    /// Where objects came from.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Where objects came from, for writing down.
    pub fn provenance_mut(&mut self) -> &mut Provenance {
        &mut self.provenance
    }

    /// Reads a manifest as an object of a kind: everything that is wrong with its form, or its value.
    pub fn decode(&self, kind: KindId, node: &Node) -> Result<Value, Box<(Status, Decoded)>> {
        let info = self.store.kinds().get(kind);
        let Some(schema) = Schema::get().kind(&info.api_version(), &info.kind) else {
            return Ok(node.to_value());
        };
        let decoded = decode(node, schema);
        match decoded.server_message(schema) {
            None => Ok(decoded.value),
            Some(message) => Err(Box::new((Status::bad_request(message), decoded))),
        }
    }

    /// Makes an object of a kind from JSON.
    pub fn object(&self, kind: KindId, value: Value) -> Result<AnyObject, Status> {
        let info = self.store.kinds().get(kind);
        AnyObject::from_value(info, value).map_err(|error| {
            let (name, version) = (&info.kind, &info.version);
            Status::bad_request(format!(
                "{name} in version {version:?} cannot be handled as a {name}: {error}"
            ))
        })
    }

    fn info(&self, object: &AnyObject) -> KindInfo {
        self.store.kinds().get(object.kind()).clone()
    }

    /// Creates an object.
    pub fn create(&mut self, mut object: AnyObject, now: Instant) -> Result<AnyObject, Status> {
        let info = self.info(&object);
        self.settle_namespace(&info, &mut object)?;
        if let AnyObject::Pod(pod) = &mut object {
            workloads::settle_priority(&self.store, Rc::make_mut(pod))?;
        }
        self.settle_name(&mut object);
        if self.store.get_any(info.id, object.namespace(), object.name()).is_some() {
            return Err(Status::already_exists(&info.resource(), object.name()));
        }
        defaults::apply(&mut object);
        self.refuse(&info, &object, validate::create(&object))?;
        if let AnyObject::Service(service) = &mut object {
            let service = Rc::make_mut(service);
            let errors = self.allocator.allocate(&self.config, &self.rng, None, service);
            self.refuse(&info, &object, errors)?;
        }
        let uid = self.uid(&info, &object, now);
        let meta = object.meta_mut();
        meta.uid = Some(uid);
        meta.creation_timestamp = Some(object::time(now));
        meta.generation = has_generation(info.id).then_some(1);
        meta.deletion_timestamp = None;
        if let AnyObject::Job(job) = &mut object {
            workloads::select_by_uid(Rc::make_mut(job));
        }
        Ok(self.store.put(object))
    }

    /// Creates an object of a typed kind.
    pub fn create_typed<T: Kind>(&mut self, object: T, now: Instant) -> Result<Rc<T>, Status> {
        let created = self.create(T::wrap(Rc::new(object)), now)?;
        Ok(T::of(&created).expect("an object keeps its kind").clone())
    }

    fn settle_namespace(&self, info: &KindInfo, object: &mut AnyObject) -> Result<(), Status> {
        if !info.is_namespaced {
            object.meta_mut().namespace = None;
            return Ok(());
        }
        if object.namespace().is_empty() {
            object.meta_mut().namespace = Some("default".to_string());
        }
        let name = object.namespace();
        let Some(namespace) = self.store.get::<Namespace>("", name) else {
            return Err(Status::not_found("namespaces", name));
        };
        if namespace.metadata.is_terminating() {
            let why = format!(
                "unable to create new content in namespace {name} because it is being terminated"
            );
            return Err(Status::forbidden(&info.resource(), object.name(), &why));
        }
        Ok(())
    }

    /// `generateName` makes a name with a random end.
    fn settle_name(&mut self, object: &mut AnyObject) {
        let prefix = object.meta().generate_name.clone().unwrap_or_default();
        if object.name().is_empty() && !prefix.is_empty() {
            let name = format!("name/{}/{prefix}", object.namespace());
            let purpose = Births::count(&mut self.births.named, name);
            let end = self.rng.fork(&purpose).letters(NAME_LETTERS, 5);
            object.meta_mut().name = Some(format!("{prefix}{end}"));
        }
    }

    fn uid(&mut self, info: &KindInfo, object: &AnyObject, now: Instant) -> String {
        let name = format!("uid/{}/{}/{}", info.plural, object.namespace(), object.name());
        let mut rng = self.rng.fork(&self.births.at(now, name));
        let (high, low) = (rng.next_u64(), rng.next_u64());
        // Version 4, variant 1 (RFC 9562 §5.4).
        let bits = (u128::from(high) << 64 | u128::from(low)) & !(0xf << 76) & !(0x3 << 62)
            | 0x4 << 76
            | 0x2 << 62;
        let hex = format!("{bits:032x}");
        let part = |range| hex.get::<std::ops::Range<usize>>(range).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
    }

    fn refuse(
        &self,
        info: &KindInfo,
        object: &AnyObject,
        errors: Vec<FieldError>,
    ) -> Result<(), Status> {
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(&info.kind, &info.group, object.name(), errors))
    }

    /// Changes an object as a whole. Its status is what the new object says; with a resource version, only
    /// if nobody else has changed it since.
    pub fn update(&mut self, mut object: AnyObject) -> Result<AnyObject, Status> {
        let info = self.info(&object);
        let found = self.store.get_any(info.id, object.namespace(), object.name()).cloned();
        let Some(old) = found else {
            return Err(Status::not_found(&info.resource(), object.name()));
        };
        let version = object.meta().resource_version.clone().unwrap_or_default();
        if !version.is_empty() && old.meta().resource_version.as_deref() != Some(&version) {
            return Err(Status::conflict(&info.resource(), object.name()));
        }
        defaults::apply(&mut object);
        keep_identity(&old, &mut object);
        if let (AnyObject::Service(old), AnyObject::Service(new)) = (&old, &mut object) {
            allocate::carry_over(old, Rc::make_mut(new));
        }
        self.refuse(&info, &object, validate::update(&old, &object))?;
        if let (AnyObject::Service(old), AnyObject::Service(new)) = (&old, &mut object) {
            let new = Rc::make_mut(new);
            let errors = self.allocator.allocate(&self.config, &self.rng, Some(old), new);
            self.refuse(&info, &object, errors)?;
        }
        if has_generation(info.id) && !object.same_spec(&old) {
            let generation = old.meta().generation.unwrap_or(0) + 1;
            object.meta_mut().generation = Some(generation);
        }
        if object == old {
            return Ok(old);
        }
        Ok(self.store.put(object))
    }

    /// Changes an object of a typed kind in place, if it is there. For controllers: what they write needs
    /// no validation, and nothing is noted when nothing changes.
    pub fn modify<T: Kind>(
        &mut self,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut T),
    ) -> Option<Rc<T>> {
        let old = self.store.get::<T>(namespace, name)?.clone();
        let mut new = (*old).clone();
        change(&mut new);
        if new == *old {
            return Some(old);
        }
        if has_generation(T::id()) && !new.same_spec(&old) {
            new.metadata_mut().generation = Some(old.metadata().generation.unwrap_or(0) + 1);
        }
        let put = self.store.put(T::wrap(Rc::new(new)));
        T::of(&put).cloned()
    }

    /// Deletes an object. A Pod that runs somewhere, and a namespace, are only marked: whoever is in
    /// charge of them takes them away when they are empty.
    pub fn delete(
        &mut self,
        kind: KindId,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
        now: Instant,
    ) -> Result<AnyObject, Status> {
        let info = self.store.kinds().get(kind).clone();
        let Some(object) = self.store.get_any(kind, namespace, name).cloned() else {
            return Err(Status::not_found(&info.resource(), name));
        };
        if info.plural == "namespaces" && matches!(name, "default" | "kube-system" | "kube-public")
        {
            return Err(Status::forbidden("namespaces", name, "this namespace may not be deleted"));
        }
        let grace = match &object {
            AnyObject::Pod(pod) => pod_grace(pod, options),
            _ => 0,
        };
        let has_finalizers = object.meta().finalizers.as_ref().is_some_and(|f| !f.is_empty());
        let is_namespace = matches!(object, AnyObject::Namespace(_));
        if grace == 0 && !has_finalizers && !is_namespace {
            return Ok(self.remove(kind, namespace, name).unwrap_or(object));
        }
        let mut marked = object.clone();
        let meta = marked.meta_mut();
        let ends = now + Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let is_sooner = meta.deletion_grace_period_seconds.is_none_or(|earlier| grace < earlier);
        if meta.deletion_timestamp.is_none() || is_sooner {
            meta.deletion_timestamp = Some(object::time(ends));
            meta.deletion_grace_period_seconds = Some(grace);
        }
        if let AnyObject::Namespace(namespace) = &mut marked {
            Rc::make_mut(namespace).status.get_or_insert_default().phase =
                Some("Terminating".into());
        }
        if marked == object {
            return Ok(object);
        }
        Ok(self.store.put(marked))
    }

    /// Takes an object away for good, and gives back what it held.
    pub fn remove(&mut self, kind: KindId, namespace: &str, name: &str) -> Option<AnyObject> {
        let removed = self.store.remove(kind, namespace, name)?;
        if let AnyObject::Service(service) = &removed {
            self.allocator.release(service);
        }
        Some(removed)
    }
}

/// What people ask for counts its changes; reports and records do not, nor do Services.
fn has_generation(kind: KindId) -> bool {
    use crate::core::{Endpoints, Event, Node, Service};
    ![Event::id(), Endpoints::id(), Namespace::id(), Node::id(), Service::id()].contains(&kind)
}

/// What cannot be changed about an object by writing another.
fn keep_identity(old: &AnyObject, new: &mut AnyObject) {
    let old = old.meta().clone();
    let meta = new.meta_mut();
    meta.uid = old.uid;
    meta.creation_timestamp = old.creation_timestamp;
    meta.generation = old.generation;
    meta.resource_version = old.resource_version;
    meta.deletion_timestamp = old.deletion_timestamp;
    meta.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
}

/// Seconds that a Pod has to end; none when it runs nowhere, or has ended.
fn pod_grace(pod: &Pod, options: DeleteOptions) -> i64 {
    let spec = pod.spec.as_ref();
    let is_scheduled = spec.is_some_and(|spec| spec.node_name.is_some());
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if !is_scheduled || matches!(phase, Some("Succeeded" | "Failed")) {
        return 0;
    }
    let own = spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
    options.grace_seconds.unwrap_or(own).max(0)
}
