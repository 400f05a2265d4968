//! Claims to volumes: claims are bound to volumes that fit, and the volumes of local-path, which is kind's
//! storage class, are made when the first Pod that wants them has its node
//! (`pkg/controller/volume/persistentvolume`, rancher.io/local-path). Neither goes while it is in use.

use base::{Duration, Instant, Items as _};
use kube_api::core::{ObjectReference, Pod, Volume};
use kube_api::quantity::Quantity;
use kube_api::workloads::{PROTECTED_CLAIM, PROTECTED_VOLUME};
use kube_api::{AnyObject, Api, Change, DeleteOptions, Kind, KindId, MetaExt};
use serde_json::{Value, json};

use crate::events::{self, Severity};
use crate::queue::WorkQueue;

/// What local-path takes to make a volume: a Pod of its own does it.
const PROVISION: Duration = Duration::from_secs(2);
/// Whose volumes are made here.
const LOCAL_PATH: &str = "rancher.io/local-path";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// Look at a claim.
    Claim { namespace: String, name: String },
    /// Make a claim's volume on a node.
    Make { namespace: String, name: String, node: String },
    /// A claim is gone, and its volume may go.
    Release { volume: String },
    /// A volume is to go, and does when no claim holds it.
    Free { volume: String },
    /// A volume has come: look at all claims.
    All,
}

/// The volume binder and local-path's provisioner.
#[derive(Debug)]
pub struct Volumes {
    latency: Duration,
    queue: WorkQueue<Task>,
    kinds: Option<(KindId, KindId)>,
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Volumes {
    pub(crate) fn new(latency: Duration) -> Self {
        Volumes { latency, queue: WorkQueue::default(), kinds: None }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.next_at()
    }

    pub(crate) fn observe(&mut self, change: &Change, api: &Api, now: Instant) {
        let (claims, volumes) = *self.kinds.get_or_insert_with(|| {
            let of = |kind: &str| api.store().kinds().find("v1", kind).map(|info| info.id);
            let (claims, volumes) = (of("PersistentVolumeClaim"), of("PersistentVolume"));
            let none = Pod::id();
            (claims.unwrap_or(none), volumes.unwrap_or(none))
        });
        let at = now + self.latency;
        let object = change.object();
        let kind = object.kind();
        if kind == claims {
            let (namespace, name) = (object.namespace().to_string(), object.name().to_string());
            match &change.new {
                Some(_) => self.queue.add(Task::Claim { namespace, name }, at),
                None => {
                    let volume = text(&object.to_value(), "/spec/volumeName").to_string();
                    self.queue.add(Task::Release { volume }, at);
                }
            }
        } else if kind == volumes {
            if change.new.is_some() && object.meta().is_terminating() {
                self.queue.add(Task::Free { volume: object.name().to_string() }, at);
            } else if change.old.is_none() {
                self.queue.add(Task::All, at);
            }
        } else if let Some(pod) = change.of::<Pod>() {
            let was = change.old.as_ref().and_then(Pod::of);
            let had_node = was.is_some_and(|was| crate::pods::node_name(was).is_some());
            let is_placed = change.new.is_some() && crate::pods::node_name(pod).is_some();
            // A claim may be wanted from now on, or not any more.
            if change.new.is_none() || (is_placed && !had_node) {
                for name in claims_of(pod) {
                    let namespace = pod.metadata.namespace().to_string();
                    self.queue.add(Task::Claim { namespace, name }, at);
                }
            }
        }
    }

    pub(crate) fn work(&mut self, api: &mut Api, now: Instant) -> bool {
        let mut worked = false;
        while let Some(task) = self.queue.pop(now) {
            worked = true;
            match task {
                Task::Claim { namespace, name } => self.claim(api, &namespace, &name, now),
                Task::Make { namespace, name, node } => make(api, &namespace, &name, &node, now),
                Task::Release { volume } => release(api, &volume, now),
                Task::Free { volume } => {
                    let found = get(api, "PersistentVolume", "", &volume);
                    if let Some(value) = found.filter(|v| text(v, "/status/phase") != "Bound") {
                        unprotect(api, "PersistentVolume", value, PROTECTED_VOLUME);
                    }
                }
                Task::All => {
                    for claim in all(api, "PersistentVolumeClaim") {
                        if text(&claim, "/status/phase") != "Bound" {
                            let namespace = text(&claim, "/metadata/namespace").to_string();
                            let name = text(&claim, "/metadata/name").to_string();
                            self.queue.add(Task::Claim { namespace, name }, now);
                        }
                    }
                }
            }
        }
        worked
    }

    fn claim(&mut self, api: &mut Api, namespace: &str, name: &str, now: Instant) {
        let Some(mut claim) = get(api, "PersistentVolumeClaim", namespace, name) else { return };
        if !text(&claim, "/metadata/deletionTimestamp").is_empty() {
            if consumer(api, namespace, name).is_none() {
                unprotect(api, "PersistentVolumeClaim", claim, PROTECTED_CLAIM);
            }
            return;
        }
        if text(&claim, "/status/phase") == "Bound" {
            return;
        }
        let classes = all(api, "StorageClass");
        if claim.pointer("/spec/storageClassName").is_none() {
            // The admission plugin `DefaultStorageClass`.
            let is_default = |class: &&Value| {
                text(class, "/metadata/annotations/storageclass.kubernetes.io~1is-default-class")
                    == "true"
            };
            if let Some(class) = classes.iter().find(is_default) {
                claim["spec"]["storageClassName"] = class["metadata"]["name"].clone();
            }
        }
        if text(&claim, "/status/phase").is_empty() {
            claim["status"] = json!({"phase": "Pending"});
        }
        put(api, "PersistentVolumeClaim", claim);
        // As it is stored now.
        let Some(mut claim) = get(api, "PersistentVolumeClaim", namespace, name) else { return };
        if let Some(volume) = fitting(api, &claim) {
            return bind(api, claim, volume);
        }
        let class_name = text(&claim, "/spec/storageClassName").to_string();
        let mut tell = |reason: &str, severity: Severity, message: &str| {
            let from = events::component("persistentvolume-controller");
            events::record(api, now, reference(&claim), severity, reason, message, from);
        };
        if class_name.is_empty() {
            let message =
                "no persistent volumes available for this claim and no storage class is set";
            return tell("FailedBinding", Severity::Normal, message);
        }
        let class = classes.iter().find(|class| text(class, "/metadata/name") == class_name);
        let Some(class) = class else {
            let message = format!("storageclass.storage.k8s.io {class_name:?} not found");
            return tell("ProvisioningFailed", Severity::Warning, &message);
        };
        let provisioner = text(class, "/provisioner").to_string();
        let waits = text(class, "/volumeBindingMode") == "WaitForFirstConsumer";
        let node = consumer(api, namespace, name);
        if waits && node.is_none() {
            let message = "waiting for first consumer to be created before binding";
            let from = events::component("persistentvolume-controller");
            let about = reference(&claim);
            events::record(
                api,
                now,
                about,
                Severity::Normal,
                "WaitForFirstConsumer",
                message,
                from,
            );
            return;
        }
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        );
        let from = events::component("persistentvolume-controller");
        let about = reference(&claim);
        events::record(api, now, about, Severity::Normal, "ExternalProvisioning", &message, from);
        let key = "volume.kubernetes.io/storage-provisioner";
        let asked = claim["metadata"]["annotations"][key] == provisioner.as_str();
        let node = node.unwrap_or_default();
        if !asked {
            let notes = &mut claim["metadata"]["annotations"];
            for key in [key, "volume.beta.kubernetes.io/storage-provisioner"] {
                notes[key] = provisioner.as_str().into();
            }
            if waits {
                notes["volume.kubernetes.io/selected-node"] = node.as_str().into();
            }
            put(api, "PersistentVolumeClaim", claim.clone());
        }
        // What has been asked for once is under way.
        if provisioner != LOCAL_PATH || asked {
            return;
        }
        let message =
            format!("External provisioner is provisioning volume for claim \"{namespace}/{name}\"");
        let about = reference(&claim);
        let from = events::component(LOCAL_PATH);
        events::record(api, now, about, Severity::Normal, "Provisioning", &message, from);
        let (namespace, name) = (namespace.to_string(), name.to_string());
        self.queue.add(Task::Make { namespace, name, node }, now + PROVISION);
    }
}

/// The claim that a volume is.
pub(crate) fn claim_of(volume: &Volume) -> Option<&str> {
    let name = volume.rest.get("persistentVolumeClaim")?.get("claimName")?.as_str()?;
    Some(name).filter(|name| !name.is_empty())
}

/// The claims that a Pod's volumes name.
fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.items());
    volumes.filter_map(claim_of).map(str::to_string).collect()
}

/// The node of the first Pod that uses a claim and has one.
fn consumer(api: &Api, namespace: &str, claim: &str) -> Option<String> {
    let pods = api.store().list_in::<Pod>(namespace);
    let mut placed = pods.filter_map(|pod| Some((pod, crate::pods::node_name(pod)?)));
    let found = placed.find(|(pod, _)| claims_of(pod).iter().any(|name| name == claim));
    found.map(|(_, node)| node.to_string())
}

fn get(api: &Api, kind: &str, namespace: &str, name: &str) -> Option<Value> {
    let id = api.store().kinds().find("v1", kind)?.id;
    api.store().get_any(id, namespace, name).map(AnyObject::to_value)
}

fn all(api: &Api, kind: &str) -> Vec<Value> {
    let version = if kind == "StorageClass" { "storage.k8s.io/v1" } else { "v1" };
    let Some(info) = api.store().kinds().find(version, kind) else { return Vec::new() };
    api.store().list_any(info.id).map(AnyObject::to_value).collect()
}

/// Writes an object that is there.
fn put(api: &mut Api, kind: &str, value: Value) {
    let Some(id) = api.store().kinds().find("v1", kind).map(|info| info.id) else { return };
    if let Ok(object) = api.object(id, value) {
        // Somebody else may have changed it: then it will be looked at again.
        let _ = api.update(object);
    }
}

fn reference(object: &Value) -> ObjectReference {
    let field = |pointer: &str| Some(text(object, pointer).to_string()).filter(|t| !t.is_empty());
    ObjectReference {
        api_version: field("/apiVersion"),
        kind: field("/kind"),
        name: field("/metadata/name"),
        namespace: field("/metadata/namespace"),
        uid: field("/metadata/uid"),
        resource_version: field("/metadata/resourceVersion"),
        field_path: None,
    }
}

fn amount(value: &Value, pointer: &str) -> i128 {
    Quantity::parse(text(value, pointer)).map_or(0, |quantity| quantity.milli())
}

/// The smallest free volume that is large enough and can do what the claim asks
/// (`findMatchingVolume`).
fn fitting(api: &Api, claim: &Value) -> Option<Value> {
    let list = |value: &Value, pointer: &str| -> Vec<Value> {
        value.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let modes = list(claim, "/spec/accessModes");
    let wanted = amount(claim, "/spec/resources/requests/storage");
    let named = text(claim, "/spec/volumeName");
    let mut best: Option<Value> = None;
    for volume in all(api, "PersistentVolume") {
        let has = list(&volume, "/spec/accessModes");
        let owner = text(&volume, "/spec/claimRef/name");
        let is_free = owner.is_empty()
            || (owner == text(claim, "/metadata/name")
                && text(&volume, "/spec/claimRef/namespace") == text(claim, "/metadata/namespace"));
        let size = amount(&volume, "/spec/capacity/storage");
        let fits = is_free
            && text(&volume, "/status/phase") != "Released"
            && (named.is_empty() || named == text(&volume, "/metadata/name"))
            && text(&volume, "/spec/storageClassName") == text(claim, "/spec/storageClassName")
            && modes.iter().all(|mode| has.contains(mode))
            && size >= wanted;
        let is_smaller = best.as_ref().is_none_or(|b| size < amount(b, "/spec/capacity/storage"));
        if fits && is_smaller {
            best = Some(volume);
        }
    }
    best
}

/// Volume and claim are each other's from now on.
fn bind(api: &mut Api, claim: Value, mut volume: Value) {
    let mut owner = kube_api::types::to_value(&reference(&claim));
    if let Some(owner) = owner.as_object_mut() {
        owner.remove("fieldPath");
    }
    volume["spec"]["claimRef"] = owner;
    volume["status"] = json!({"phase": "Bound"});
    let (name, capacity) = (volume["metadata"]["name"].clone(), volume["spec"]["capacity"].clone());
    let modes = volume["spec"]["accessModes"].clone();
    put(api, "PersistentVolume", volume);
    let (namespace, claim_name) = (
        text(&claim, "/metadata/namespace").to_string(),
        text(&claim, "/metadata/name").to_string(),
    );
    // It has been written to just now: as it is in the API.
    let fresh = get(api, "PersistentVolumeClaim", &namespace, &claim_name);
    let Some(mut claim) = fresh else { return };
    claim["spec"]["volumeName"] = name;
    for key in ["pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"] {
        claim["metadata"]["annotations"][key] = "yes".into();
    }
    claim["status"] = json!({"phase": "Bound", "capacity": capacity, "accessModes": modes});
    put(api, "PersistentVolumeClaim", claim);
}

/// local-path makes a directory on the node.
fn make(api: &mut Api, namespace: &str, name: &str, node: &str, now: Instant) {
    let Some(claim) = get(api, "PersistentVolumeClaim", namespace, name) else { return };
    let volume_name = format!("pvc-{}", text(&claim, "/metadata/uid"));
    if get(api, "PersistentVolume", "", &volume_name).is_some() {
        return;
    }
    let path = format!("/var/local-path-provisioner/{volume_name}_{namespace}_{name}");
    let volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name,
            "annotations": {
                "local.path.provisioner/selected-node": node,
                "pv.kubernetes.io/provisioned-by": LOCAL_PATH,
            },
            "finalizers": [],
        },
        "spec": {
            "accessModes": claim["spec"]["accessModes"],
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "hostPath": {"path": path, "type": "DirectoryOrCreate"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{
                "key": "kubernetes.io/hostname", "operator": "In", "values": [node],
            }]}]}},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": claim["spec"]["storageClassName"],
            "volumeMode": "Filesystem",
        },
        "status": {"phase": "Pending"},
    });
    let Some(id) = api.store().kinds().find("v1", "PersistentVolume").map(|info| info.id) else {
        return;
    };
    let Ok(object) = api.object(id, volume) else { return };
    let Ok(created) = api.create(object, now) else { return };
    let message = format!("Successfully provisioned volume {volume_name}");
    let from = events::component(LOCAL_PATH);
    let about = reference(&claim);
    events::record(api, now, about, Severity::Normal, "ProvisioningSucceeded", &message, from);
    bind(api, claim, created.to_value());
}

/// Nobody uses it any more, and it is to go (`pkg/controller/volume/{pvcprotection,pvprotection}`).
fn unprotect(api: &mut Api, kind: &str, mut value: Value, finalizer: &str) {
    if let Some(all) = value.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut) {
        all.retain(|known| known != finalizer);
    }
    put(api, kind, value);
}

/// The claim of a volume is gone: what was made for it goes, too; another waits for somebody to free it.
fn release(api: &mut Api, name: &str, now: Instant) {
    let Some(mut volume) = get(api, "PersistentVolume", "", name) else { return };
    let is_made_for_it = text(&volume, "/spec/persistentVolumeReclaimPolicy") == "Delete";
    volume["status"] = json!({"phase": "Released"});
    put(api, "PersistentVolume", volume);
    if is_made_for_it {
        let id = api.store().kinds().find("v1", "PersistentVolume").map(|info| info.id);
        if let Some(id) = id {
            let _ = api.delete(id, "", name, DeleteOptions::default(), now);
        }
    }
}
