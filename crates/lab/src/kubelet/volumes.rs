//! A Pod's volumes, and where its containers see them (`pkg/volume`, `pkg/kubelet/volumemanager`).

use base::tree::BTreeMap;
use std::rc::Rc;

use base::{Duration, Instant, Items as _};
use controllers::events::Severity;
use kube_api::MetaExt;
use kube_api::core::Container as Spec;
use kube_api::types::Projected;
use programs::{Mount, Volume};
use serde_json::Value;

use super::Job;
use super::env::{bytes_of, config, expand, field_of, keys_of, resource_of};
use super::worker::json;

/// A volume of a Pod.
pub(super) struct Mounted {
    volume: Volume,
    /// What of it is the Pod's, where it is the node's disk.
    base: String,
    /// It shows objects of the API and cannot be written.
    is_of_api: bool,
    /// Those objects change, and so does what it shows.
    follows: bool,
}

type Content = BTreeMap<String, Rc<[u8]>>;

/// Stands for an account's token.
const TOKEN: &str = "podwire does not sign tokens\n";

/// How often a kubelet looks at a Pod without being told to (`--sync-frequency`).
const SYNC: Duration = Duration::from_secs(60);
/// Waiting before another attempt to mount: at first, and at most
/// (`pkg/volume/util/exponentialbackoff`).
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(122));

/// Why a volume cannot be mounted.
enum NoVolume {
    /// It is on its way, and nobody is told.
    NotYet,
    Failed(String),
    /// It is on another node.
    Elsewhere(String),
}

/// The next time after `now` at which a kubelet looks at a Pod that it has known since `since`.
pub(super) fn next_sync(since: Instant, now: Instant) -> Instant {
    let turns = (now - since).as_micros() / SYNC.as_micros() + 1;
    since + SYNC * u32::try_from(turns).unwrap_or(u32::MAX)
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(name).and_then(Value::as_array).items()
}

impl Job<'_> {
    /// Mounts all volumes. `false`: one of them cannot be had, and will be tried again.
    pub(super) fn mount_volumes(&mut self) -> bool {
        if self.worker.are_volumes_there {
            return true;
        }
        let pod = self.pod.clone();
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.items()) {
            let name = volume.name.clone();
            if self.worker.volumes.contains_key(&name) {
                continue;
            }
            match self.mount(volume) {
                Ok(mounted) => {
                    self.worker.volumes.insert(name, mounted);
                }
                Err(NoVolume::NotYet) => {
                    self.worker.retry = Some(self.now + TRY_AGAIN.0);
                    return false;
                }
                Err(no_volume) => {
                    let message = match no_volume {
                        NoVolume::Elsewhere(volume) => format!(
                            "MountVolume.NodeAffinity check failed for volume {volume:?} : no matching NodeSelectorTerms"
                        ),
                        NoVolume::Failed(why) => {
                            format!("MountVolume.SetUp failed for volume {name:?} : {why}")
                        }
                        NoVolume::NotYet => String::new(),
                    };
                    self.tell_pod(Severity::Warning, "FailedMount", &message);
                    let factor = 1u32 << self.worker.failures.min(8);
                    let wait = (TRY_AGAIN.0 * factor).min(TRY_AGAIN.1);
                    self.worker.failures += 1;
                    self.worker.retry = Some(self.now + wait);
                    return false;
                }
            }
        }
        self.worker.failures = 0;
        self.worker.are_volumes_there = true;
        true
    }

    fn mount(&mut self, volume: &kube_api::core::Volume) -> Result<Mounted, NoVolume> {
        let on_disk = |path: &str| Mounted {
            volume: self.disk.clone(),
            base: path.trim_matches('/').to_string(),
            is_of_api: false,
            follows: false,
        };
        if volume.projected == Some(Projected::ApiAccess) {
            let volume = self.api_access();
            return Ok(Mounted { volume, base: String::new(), is_of_api: true, follows: false });
        }
        let volume = &kube_api::to_value(volume);
        if let Some(content) = self.content(volume).map_err(NoVolume::Failed)? {
            let volume = Volume::of(content);
            return Ok(Mounted { volume, base: String::new(), is_of_api: true, follows: true });
        }
        if let Some(path) = volume.get("hostPath") {
            return Ok(on_disk(word(path, "path")));
        }
        if let Some(claim) = volume.get("persistentVolumeClaim") {
            return self.claim(word(claim, "claimName")).map(|path| on_disk(&path));
        }
        let fields = volume.as_object().into_iter().flat_map(|map| map.keys());
        match fields.filter(|field| *field != "name").map(String::as_str).next() {
            None | Some("emptyDir" | "ephemeral") => {
                let volume = Volume::default();
                Ok(Mounted { volume, base: String::new(), is_of_api: false, follows: false })
            }
            Some(kind) => {
                Err(NoVolume::Failed(format!("{kind} volumes are not supported by podwire")))
            }
        }
    }

    /// What it takes to talk to the API server: the same in all Pods of a namespace, there from the beginning, and
    /// never written, so that they all see the same files.
    fn api_access(&mut self) -> Volume {
        let namespace = self.pod.metadata.namespace();
        if let Some(volume) = self.api_access.get(namespace) {
            return volume.clone();
        }
        let mut content = Content::new();
        for (path, text) in [
            ("ca.crt", controllers::namespaces::ROOT_CA),
            ("namespace", namespace),
            ("token", TOKEN),
        ] {
            content.insert(path.to_string(), Rc::from(text.as_bytes()));
        }
        let volume = Volume::of(content);
        self.api_access.insert(namespace.to_string(), volume.clone());
        volume
    }

    /// Where a claim's volume is on the node's disk.
    fn claim(&self, name: &str) -> Result<String, NoVolume> {
        let namespace = self.pod.metadata.namespace();
        let claim = config(self.api, "PersistentVolumeClaim", namespace, name);
        let Some(claim) = claim else {
            let why = format!("persistentvolumeclaim {name:?} not found");
            return Err(NoVolume::Failed(why));
        };
        let is_bound = claim.pointer("/status/phase").and_then(Value::as_str) == Some("Bound");
        let volume = claim.pointer("/spec/volumeName").and_then(Value::as_str).unwrap_or_default();
        let volume = config(self.api, "PersistentVolume", "", volume).filter(|_| is_bound);
        let Some(volume) = volume else { return Err(NoVolume::NotYet) };
        let places = "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values";
        let mut places = volume.pointer(places).and_then(Value::as_array).items();
        let mut has_places = false;
        let is_here = places.any(|place| {
            has_places = true;
            place.as_str() == Some(&self.info.node)
        });
        if has_places && !is_here {
            let name = volume.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            return Err(NoVolume::Elsewhere(name.to_string()));
        }
        let path = |field: &str| volume.pointer(field).and_then(Value::as_str).map(str::to_string);
        // A volume of another kind is a directory of its own.
        let own =
            || format!("/var/lib/podwire/volumes/{}", path("/metadata/name").unwrap_or_default());
        Ok(path("/spec/hostPath/path").or_else(|| path("/spec/local/path")).unwrap_or_else(own))
    }

    /// The files of a volume that shows objects of the API; `None` for one that does not.
    fn content(&self, volume: &Value) -> Result<Option<Content>, String> {
        let mut content = Content::new();
        if let Some(source) = volume.get("configMap") {
            self.keys("ConfigMap", word(source, "name"), source, &mut content)?;
        } else if let Some(source) = volume.get("secret") {
            self.keys("Secret", word(source, "secretName"), source, &mut content)?;
        } else if let Some(source) = volume.get("downwardAPI") {
            self.downward(source, &mut content)?;
        } else if let Some(projected) = volume.get("projected") {
            for source in list(projected, "sources") {
                if let Some(source) = source.get("configMap") {
                    self.keys("ConfigMap", word(source, "name"), source, &mut content)?;
                } else if let Some(source) = source.get("secret") {
                    self.keys("Secret", word(source, "name"), source, &mut content)?;
                } else if let Some(source) = source.get("downwardAPI") {
                    self.downward(source, &mut content)?;
                } else if let Some(source) = source.get("serviceAccountToken") {
                    content.insert(word(source, "path").to_string(), Rc::from(TOKEN.as_bytes()));
                }
            }
        } else {
            return Ok(None);
        }
        Ok(Some(content))
    }

    /// The keys of a ConfigMap or Secret as files: all of them, or those that are named.
    fn keys(
        &self,
        kind: &str,
        name: &str,
        source: &Value,
        content: &mut Content,
    ) -> Result<(), String> {
        let is_optional = source.get("optional").and_then(Value::as_bool) == Some(true);
        let Some(object) = config(self.api, kind, self.pod.metadata.namespace(), name) else {
            if is_optional {
                return Ok(());
            }
            return Err(format!("{} {name:?} not found", kind.to_ascii_lowercase()));
        };
        let mut add = |path: &str, bytes: Vec<u8>| content.insert(path.to_string(), bytes.into());
        if source.get("items").is_none() {
            for key in keys_of(&object) {
                add(&key, bytes_of(&object, &key).unwrap_or_default());
            }
        }
        for item in list(source, "items") {
            let key = word(item, "key");
            match bytes_of(&object, key) {
                Some(bytes) => {
                    add(word(item, "path"), bytes);
                }
                None if is_optional => {}
                None => {
                    let word = if kind == "Secret" { "secret" } else { "config" };
                    return Err(format!("references non-existent {word} key: {key}"));
                }
            }
        }
        Ok(())
    }

    fn downward(&self, source: &Value, content: &mut Content) -> Result<(), String> {
        for item in list(source, "items") {
            let text = match (item.get("fieldRef"), item.get("resourceFieldRef")) {
                (Some(field), _) => field_of(&self.pod, word(field, "fieldPath"))?,
                (None, Some(reference)) => resource_of(&self.pod, &Spec::default(), reference),
                (None, None) => continue,
            };
            content.insert(word(item, "path").to_string(), Rc::from(text.as_bytes()));
        }
        Ok(())
    }

    /// What has changed in the API is changed in the files, too. What has gone from there stays.
    pub(super) fn refresh_volumes(&mut self) {
        for volume in self.pod.spec.iter().flat_map(|spec| spec.volumes.items()) {
            let mounted = self.worker.volumes.get(&volume.name).filter(|mounted| mounted.follows);
            let Some(mounted) = mounted else { continue };
            if let Ok(Some(content)) = self.content(&kube_api::to_value(volume)) {
                mounted.volume.replace(content);
            }
        }
    }

    /// Where a container sees which volumes.
    pub(super) fn mounts(&self, spec: &Spec, env: &super::env::Env) -> Vec<Mount> {
        let mounts = json(spec, "/volumeMounts").unwrap_or_default();
        let mut list = Vec::new();
        for mount in mounts.as_array().items() {
            let Some(mounted) = self.worker.volumes.get(word(mount, "name")) else { continue };
            let expression = expand(word(mount, "subPathExpr"), env, &BTreeMap::new());
            let part = format!("{}{expression}", word(mount, "subPath"));
            let part = part.trim_matches('/');
            let sub_path = match (mounted.base.as_str(), part) {
                ("", part) => part.to_string(),
                (base, "") => base.to_string(),
                (base, part) => format!("{base}/{part}"),
            };
            // A part of an object's files does not follow the object.
            let is_fixed = mounted.is_of_api && !part.is_empty();
            let volume = if is_fixed { mounted.volume.copy() } else { mounted.volume.clone() };
            let is_read_only = mount.get("readOnly").and_then(Value::as_bool) == Some(true);
            list.push(Mount {
                at: word(mount, "mountPath").trim_end_matches('/').to_string(),
                volume,
                sub_path,
                is_read_only: is_read_only || mounted.is_of_api,
            });
        }
        list.shrink_to_fit();
        list
    }
}

impl super::worker::Worker {
    /// One of its volumes shows objects of the API.
    pub(super) fn follows_api(&self) -> bool {
        self.volumes.values().any(|mounted| mounted.follows)
    }
}
