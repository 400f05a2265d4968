//! What the API server does with an object: names, defaults, validation, addresses and ports.
//!
//! [`requests`] is what people ask for: with who asks, patches, and dry runs; [`deletion`]: how objects go;
//! [`alike`]: Pods of one template.
//!
//! **Invariant:** `metadata.generation` counts what users asked for: changes of the spec, of a Deployment's
//! annotations (`pkg/registry/apps/deployment/strategy.go`), and the wish to delete; never a status.

mod alike;
mod deletion;
mod requests;

use base::tree::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::rc::Rc;

use base::{Instant, Items as _, Rng};
use serde_json::Value;

use crate::allocate::{self, Allocator};
use crate::core::{Namespace, Pod};
use crate::decode::{Decoded, decode, decode_custom};
use crate::kinds::{KindId, KindInfo};
use crate::managed::{self, Writer};
use crate::node::Node;
use crate::object::{self, AnyObject, Kind};
use crate::provenance::Provenance;
use crate::status::{FieldError, Status};
use crate::store::Store;
use crate::{MetaExt, crd, defaults, validate, workloads};

use alike::Alike;

pub use deletion::{DeleteOptions, FOREGROUND, ORPHAN, Propagation};
pub use requests::{Patch, Request};

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

/// The API server of one cluster.
#[derive(Debug)]
pub struct Api {
    store: Store,
    config: ApiConfig,
    allocator: Allocator,
    provenance: Provenance,
    rng: Rng,
    births: Births,
    alike: Alike,
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
            alike: Alike::default(),
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
        let decoded = self.decoded(kind, node);
        match decoded.server_message(&info.kind, &info.version) {
            None => Ok(decoded.value),
            Some(message) => Err(Box::new((Status::bad_request(message), decoded))),
        }
    }

    /// Reads a manifest as an object of a kind; the value, and what is wrong with its form.
    pub fn decoded(&self, kind: KindId, node: &Node) -> Decoded {
        match (kind.schema(), &self.store.kinds().get(kind).custom) {
            (_, Some(custom)) => decode_custom(node, custom),
            (Some(schema), None) => decode(node, schema),
            (None, None) => Decoded { value: node.to_value(), problems: Vec::new() },
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
    pub fn create(&mut self, object: AnyObject, now: Instant) -> Result<AnyObject, Status> {
        self.create_as(object, now, None)
    }

    fn create_as(
        &mut self,
        mut object: AnyObject,
        now: Instant,
        request: Option<&Request<'_>>,
    ) -> Result<AnyObject, Status> {
        let info = self.info(&object);
        self.settle_namespace(&info, &mut object)?;
        let mut has_access = false;
        if let AnyObject::Pod(pod) = &mut object {
            workloads::settle_priority(&self.store, Rc::make_mut(pod))?;
            has_access = workloads::settle_account(&self.store, pod)?;
        }
        self.settle_name(&info, &mut object);
        if self.store.get_any(info.id, object.namespace(), object.name()).is_some() {
            return Err(Status::already_exists(&info.resource(), object.name()));
        }
        if request.is_none() && self.alike.fill(&mut object) {
            self.refuse(&info, &object, validate::metadata(&info, &object))?;
        } else {
            object = self.filled_in(&info, object, request)?;
        }
        let held = self.held_if(request.is_some_and(|request| request.dry_run));
        if let AnyObject::Service(service) = &mut object {
            let service = Rc::make_mut(service);
            let errors = self.allocator.allocate(&self.config, &self.rng, None, service);
            self.refuse(&info, &object, errors)?;
        }
        let uid = self.uid(&info, &object, now);
        let meta = object.meta_mut();
        meta.uid = Some(uid);
        meta.creation_timestamp = Some(object::time(now));
        meta.generation = has_generation(&info).then_some(1);
        meta.deletion_timestamp = None;
        meta.deletion_grace_period_seconds = None;
        crd::accept(&mut object, now);
        workloads::protect(&info, &mut object);
        match &mut object {
            AnyObject::Job(job) => workloads::select_by_uid(Rc::make_mut(job)),
            AnyObject::Pod(pod) if has_access => {
                let end = self.rng.fork(pod.metadata.uid()).letters(NAME_LETTERS, 5);
                workloads::give_access(Rc::make_mut(pod), &end);
            }
            _ => {}
        }
        Ok(self.put(object, held))
    }

    /// A new object with its defaults and the note of who made it, if nothing is wrong with it.
    fn filled_in(
        &mut self,
        info: &KindInfo,
        mut object: AnyObject,
        request: Option<&Request<'_>>,
    ) -> Result<AnyObject, Status> {
        let given = if request.is_none() { Alike::given(&object) } else { None };
        defaults::apply(&mut object);
        defaults::ingress_class(&self.store, &mut object);
        if let Some(request) = request {
            object = self.noted(info, None, object, request);
        }
        self.refuse(info, &object, validate::create(info, &object))?;
        if let Some(given) = given {
            self.alike.remember(given, &object);
        }
        Ok(object)
    }

    /// Addresses and ports that are held now, if nothing is to come of what follows.
    fn held_if(&self, dry_run: bool) -> Option<Allocator> {
        dry_run.then(|| self.allocator.clone())
    }

    /// Stores an object, or goes back to what was held.
    fn put(&mut self, object: AnyObject, held: Option<Allocator>) -> AnyObject {
        match held {
            Some(held) => {
                self.allocator = held;
                object
            }
            None => self.store.put(object),
        }
    }

    /// The object, with a note that who asks has made it of the old one.
    fn noted(
        &self,
        info: &KindInfo,
        old: Option<&AnyObject>,
        object: AnyObject,
        request: &Request<'_>,
    ) -> AnyObject {
        if request.is_noted {
            return object;
        }
        let mut value = object.to_value();
        let time = object::time(request.now).to_string();
        let Request { manager, subresource, .. } = *request;
        let writer = Writer { manager, subresource, time: &time };
        let old = old.map(AnyObject::to_value);
        managed::note_update(old.as_ref(), &mut value, requests::type_of(info), writer);
        AnyObject::from_value(info, value).unwrap_or(object)
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
    fn settle_name(&mut self, info: &KindInfo, object: &mut AnyObject) {
        let prefix = object.meta().generate_name.clone().unwrap_or_default();
        if !object.name().is_empty() || prefix.is_empty() {
            return;
        }
        // `maxNameLength` less the letters that come (`apiserver/pkg/storage/names`).
        let prefix: String = prefix.chars().take(58).collect();
        // As often as upstream tries when a name is taken (`registry/generic/registry/store.go`).
        for _ in 0..8 {
            let name = format!("name/{}/{prefix}", object.namespace());
            let purpose = Births::count(&mut self.births.named, name);
            let end = self.rng.fork(&purpose).letters(NAME_LETTERS, 5);
            object.meta_mut().name = Some(format!("{prefix}{end}"));
            if self.store.get_any(info.id, object.namespace(), object.name()).is_none() {
                return;
            }
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
    pub fn update(&mut self, object: AnyObject) -> Result<AnyObject, Status> {
        self.update_as(object, None)
    }

    fn update_as(
        &mut self,
        mut object: AnyObject,
        request: Option<&Request<'_>>,
    ) -> Result<AnyObject, Status> {
        let info = self.info(&object);
        let found = self.store.get_any(info.id, object.namespace(), object.name()).cloned();
        let Some(old) = found else {
            return Err(Status::not_found(&info.resource(), object.name()));
        };
        same_object(&info, &old, &object)?;
        defaults::apply(&mut object);
        keep_identity(&old, &mut object);
        if let (AnyObject::Service(old), AnyObject::Service(new)) = (&old, &mut object) {
            allocate::carry_over(old, Rc::make_mut(new));
        }
        if let Some(request) = request {
            object = self.noted(&info, Some(&old), object, request);
        }
        let mut errors = new_finalizers(&old, &object);
        errors.extend(validate::update(&info, &old, &object));
        self.refuse(&info, &object, errors)?;
        let held = self.held_if(request.is_some_and(|request| request.dry_run));
        if let (AnyObject::Service(old), AnyObject::Service(new)) = (&old, &mut object) {
            let new = Rc::make_mut(new);
            let errors = self.allocator.allocate(&self.config, &self.rng, Some(old), new);
            self.refuse(&info, &object, errors)?;
        }
        let is_annotated = matches!(object, AnyObject::Deployment(_))
            && request.is_some()
            && object.meta().annotations != old.meta().annotations;
        if has_generation(&info) && (is_annotated || !object.same_spec(&old)) {
            let generation = old.meta().generation.unwrap_or(0) + 1;
            object.meta_mut().generation = Some(generation);
        }
        if object == old {
            return Ok(old);
        }
        let is_real = held.is_none();
        let put = self.put(object, held);
        if is_real {
            self.finish(&put);
        }
        Ok(put)
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
        // Binding a Pod to its node is no change that anybody asked for.
        let counts = T::id() != Pod::id() && has_generation(self.store.kinds().get(T::id()));
        if counts && !new.same_spec(&old) {
            new.metadata_mut().generation = Some(old.metadata().generation.unwrap_or(0) + 1);
        }
        let put = self.store.put(T::wrap(Rc::new(new)));
        self.finish(&put);
        T::of(&put).cloned()
    }
}

/// What people ask for counts its changes; reports and records do not, nor do the oldest kinds (each kind's
/// `strategy.go`).
fn has_generation(info: &KindInfo) -> bool {
    const WITHOUT: &str = " bindings componentstatuses configmaps controllerrevisions csinodes \
        csistoragecapacities endpoints events horizontalpodautoscalers leases limitranges namespaces nodes \
        persistentvolumeclaims persistentvolumes podtemplates resourcequotas runtimeclasses secrets \
        serviceaccounts services storageclasses volumeattachments certificatesigningrequests apiservices \
        roles rolebindings clusterroles clusterrolebindings ";
    let is_builtin = info.type_name.is_some();
    !(is_builtin && WITHOUT.contains(&format!(" {} ", info.plural)))
}

/// A request may name the uid and the version of the object that it is about.
fn same_object(info: &KindInfo, old: &AnyObject, new: &AnyObject) -> Result<(), Status> {
    let resource = info.resource();
    let (old, new) = (old.meta(), new.meta());
    if !new.uid().is_empty() && new.uid() != old.uid() {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{}{}{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {}, UID in object meta: {}",
            info.plural,
            old.namespace(),
            if info.is_namespaced { "/" } else { "" },
            old.name(),
            new.uid(),
            old.uid()
        );
        return Err(Status::unfulfilled(&resource, old.name(), &why));
    }
    let version = new.resource_version.as_deref().unwrap_or_default();
    if !version.is_empty() && old.resource_version.as_deref() != Some(version) {
        return Err(Status::conflict(&resource, old.name()));
    }
    Ok(())
}

/// Who is going gets no new finalizers (`apimachinery/pkg/api/validation/objectmeta.go`).
fn new_finalizers(old: &AnyObject, new: &AnyObject) -> Vec<FieldError> {
    if !old.meta().is_terminating() {
        return Vec::new();
    }
    let known = old.meta().finalizers.as_deref().unwrap_or_default();
    let finalizers = new.meta().finalizers.items();
    let added: Vec<String> =
        finalizers.filter(|f| !known.contains(f)).map(|f| format!("{f:?}")).collect();
    if added.is_empty() {
        return Vec::new();
    }
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        added.join(", ")
    );
    vec![FieldError::forbidden("metadata.finalizers", &detail)]
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
