//! What the API server fills in that is more than a default: how a Job finds its Pods
//! (`pkg/registry/batch/job/strategy.go`), what a Pod's priority class means (`plugin/pkg/admission/priority`),
//! how a Pod talks to the API server (`plugin/pkg/admission/serviceaccount`), and what keeps claims and volumes that
//! are in use (`plugin/pkg/admission/storage/storageobjectinuseprotection`).

use base::Items as _;
use serde_json::Value;

use crate::MetaExt;
use crate::batch::Job;
use crate::core::{Container, Pod, Volume, VolumeMount};
use crate::kinds::KindInfo;
use crate::meta::LabelSelector;
use crate::object::AnyObject;
use crate::status::Status;
use crate::store::Store;
use crate::types::Projected;

/// The classes that every cluster has, and what they are worth.
pub const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// A Job that has just got its uid selects its Pods by it (`generateSelector`).
pub(crate) fn select_by_uid(job: &mut Job) {
    let (uid, name) = (job.metadata.uid().to_string(), job.metadata.name().to_string());
    let spec = job.spec.get_or_insert_default();
    if spec.manual_selector == Some(true) {
        return;
    }
    let metadata = spec.template.metadata.get_or_insert_default();
    let labels = metadata.labels.get_or_insert_default();
    for (key, value) in [("controller-uid", &uid), ("job-name", &name)] {
        labels.insert(key.to_string(), value.clone());
        labels.insert(format!("batch.kubernetes.io/{key}"), value.clone());
    }
    // A Job without labels has its template's: defaults are filled in whenever one is read (`SetDefaults_Job`).
    let shown = labels.clone();
    let own = job.metadata.labels.get_or_insert_default();
    if own.is_empty() {
        *own = shown;
    }
    let selector = spec.selector.get_or_insert_with(LabelSelector::default);
    let wanted = selector.match_labels.get_or_insert_default();
    wanted.insert("batch.kubernetes.io/controller-uid".to_string(), uid);
}

/// What a Pod's priority class is worth; without one, what the default class is.
pub(crate) fn settle_priority(store: &Store, pod: &mut Pod) -> Result<(), Status> {
    // A name that is to be made is not made yet.
    let name = pod.metadata.name.clone().or_else(|| pod.metadata.generate_name.clone());
    let spec = pod.spec.get_or_insert_default();
    let wanted = spec.priority_class_name.clone().filter(|class| !class.is_empty());
    let mut found = None;
    if let Ok(kind) = store.kinds().by_name("priorityclasses").map(|kind| kind.id) {
        let is_default = |body: &serde_json::Map<String, Value>| {
            body.get("globalDefault").and_then(Value::as_bool) == Some(true)
        };
        for object in store.list_any(kind) {
            let AnyObject::Dynamic(class) = object else { continue };
            let fits = match &wanted {
                Some(wanted) => wanted == class.metadata.name(),
                None => is_default(&class.body),
            };
            if fits {
                found = Some(class.clone());
            }
        }
    }
    if let Some(class) = &found {
        let value = class.body.get("value").and_then(Value::as_i64);
        spec.priority = value.and_then(|value| i32::try_from(value).ok());
        spec.priority_class_name = class.metadata.name.clone();
        let policy = class.body.get("preemptionPolicy").and_then(Value::as_str);
        if let Some(policy) = policy {
            spec.preemption_policy.get_or_insert_with(|| policy.to_string());
        }
        return Ok(());
    }
    let Some(wanted) = wanted else { return Ok(()) };
    match SYSTEM_CLASSES.iter().find(|(class, _)| *class == wanted) {
        Some((_, value)) => spec.priority = Some(*value),
        None => {
            let why = format!("no PriorityClass with name {wanted} was found");
            return Err(Status::forbidden("pods", &name.unwrap_or_default(), &why));
        }
    }
    Ok(())
}

/// Where a container finds what it takes to talk to the API server.
pub const API_ACCESS_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How the volume of that is called, before some letters of its own.
pub const API_ACCESS: &str = "kube-api-access-";

/// Whether a Pod's containers are to talk to the API server, as it says itself or its account does. Its account must
/// be there; that called `default` is on its way where it is not.
pub(crate) fn settle_account(store: &Store, pod: &Pod) -> Result<bool, Status> {
    let Some(spec) = &pod.spec else { return Ok(false) };
    let annotations = pod.metadata.annotations.as_ref();
    if annotations.is_some_and(|all| all.contains_key("kubernetes.io/config.mirror")) {
        return Ok(false);
    }
    let name = spec.service_account_name.as_deref().or(spec.service_account.as_deref());
    let name = name.filter(|name| !name.is_empty()).unwrap_or("default");
    let namespace = pod.metadata.namespace();
    let kind = store.kinds().find("v1", "ServiceAccount").map(|kind| kind.id);
    let account = kind.and_then(|kind| store.get_any(kind, namespace, name));
    if account.is_none() && name != "default" {
        let why = format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        );
        let pod = pod.metadata.name.as_ref().or(pod.metadata.generate_name.as_ref());
        return Err(Status::forbidden("pods", pod.map_or("", String::as_str), &why));
    }
    let said = spec.rest.get(AUTOMOUNT).and_then(Value::as_bool);
    let by_account = || match account {
        Some(AnyObject::Dynamic(account)) => account.body.get(AUTOMOUNT).and_then(Value::as_bool),
        _ => None,
    };
    Ok(said.or_else(by_account).unwrap_or(true))
}

const AUTOMOUNT: &str = "automountServiceAccountToken";

/// Mounts what it takes to talk to the API server into every container that has nothing of its own there. `end`: the
/// letters of the volume's name.
pub(crate) fn give_access(pod: &mut Pod, end: &str) {
    let Some(spec) = &mut pod.spec else { return };
    let mut volumes = spec.volumes.items().map(|volume| &volume.name);
    let known = volumes.find(|name| name.starts_with(API_ACCESS)).cloned();
    let name = known.clone().unwrap_or_else(|| format!("{API_ACCESS}{end}"));
    let mut is_wanted = false;
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        is_wanted |= mount_access(container, &name);
    }
    if is_wanted && known.is_none() {
        let projected = Some(Projected::ApiAccess);
        let volumes = spec.volumes.get_or_insert_default();
        // Pods are many, and this is most often their only volume.
        volumes.reserve_exact(1);
        volumes.push(Volume { name, projected, ..Volume::default() });
    }
}

fn mount_access(container: &mut Container, volume: &str) -> bool {
    let mounts = container.volume_mounts.get_or_insert_default();
    if mounts.iter().any(|mount| mount.mount_path == API_ACCESS_PATH) {
        return false;
    }
    mounts.reserve_exact(1);
    let (name, mount_path) = (volume.to_string(), API_ACCESS_PATH.to_string());
    mounts.push(VolumeMount { name, mount_path, read_only: Some(true), ..VolumeMount::default() });
    true
}

/// A claim stays while a Pod uses it, and a volume while a claim does: somebody takes these away then.
pub(crate) fn protect(info: &KindInfo, object: &mut AnyObject) {
    let finalizer = match (info.group.as_str(), info.plural.as_str()) {
        ("", "persistentvolumeclaims") => PROTECTED_CLAIM,
        ("", "persistentvolumes") => PROTECTED_VOLUME,
        _ => return,
    };
    let finalizers = object.meta_mut().finalizers.get_or_insert_default();
    if !finalizers.iter().any(|known| known == finalizer) {
        finalizers.push(finalizer.to_string());
    }
}

/// The finalizer of a claim.
pub const PROTECTED_CLAIM: &str = "kubernetes.io/pvc-protection";
/// The finalizer of a volume.
pub const PROTECTED_VOLUME: &str = "kubernetes.io/pv-protection";
