//! `kubectl apply` and `kubectl replace`, and what `kubectl create -f` shares with them.

use kube_api::AnyObject;
use kube_api::patch::{LAST_APPLIED, three_way};
use serde_json::{Map, Value};

use super::kube::{Fail, Kube, error};
use super::manifest::{self, Manifest, refused};
use crate::flags::Args;

/// `--dry-run`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DryRun {
    No,
    Client,
    Server,
}

impl DryRun {
    pub(crate) fn of(args: &Args) -> Result<DryRun, Fail> {
        match args.get("dry-run") {
            None | Some("none") => Ok(DryRun::No),
            Some("client" | "unchanged") => Ok(DryRun::Client),
            Some("server") => Ok(DryRun::Server),
            Some(other) => Err(error(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
    }

    /// ` (dry run)`
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            DryRun::No => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }
}

/// `kubectl apply -f …`
pub(crate) async fn apply(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    if args.is_on("server-side") {
        return Err(kube.unsupported("'apply --server-side'"));
    }
    if args.is_on("prune") {
        return Err(kube.unsupported("'apply --prune'"));
    }
    if args.all("filename").is_empty() && args.get("kustomize").is_none() {
        return Err(error("must specify one of -f and -k"));
    }
    let dry_run = DryRun::of(args)?;
    each(kube, args, async |manifest: &Manifest| {
        let done = kube.api(|api| {
            let exists =
                api.store().get_any(manifest.kind.id, &manifest.namespace, &manifest.name).cloned();
            let now = kube.ctx.host.now();
            match exists {
                None => create_object(api, manifest, true, dry_run, now)
                    .map(|object| (object, "created")),
                Some(live) => change_object(api, manifest, &live, dry_run),
            }
        })?;
        tell(kube, args, manifest, done, dry_run).await
    })
    .await
}

/// `kubectl create -f …`
pub(crate) async fn create_files(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let dry_run = DryRun::of(args)?;
    let keeps = args.is_on("save-config");
    each(kube, args, async |manifest: &Manifest| {
        let now = kube.now();
        let done = kube.api(|api| create_object(api, manifest, keeps, dry_run, now))?;
        tell(kube, args, manifest, done.map(|object| (object, "created")), dry_run).await
    })
    .await
}

/// `kubectl replace -f …`
pub(crate) async fn replace(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    if args.is_on("force") {
        return Err(kube.unsupported("'replace --force'"));
    }
    let dry_run = DryRun::of(args)?;
    each(kube, args, async |manifest: &Manifest| {
        let done = kube.api(|api| {
            let object = api.object(manifest.kind.id, manifest.value.clone())?;
            if dry_run == DryRun::No { api.update(with_status(api, object)) } else { Ok(object) }
        })?;
        tell(kube, args, manifest, done.map(|object| (object, "replaced")), dry_run).await
    })
    .await
}

/// A replaced object keeps the status it has: `replace` does not write it.
fn with_status(api: &kube_api::Api, object: AnyObject) -> AnyObject {
    let live = api.store().get_any(object.kind(), object.namespace(), object.name());
    let Some(status) = live.and_then(|live| live.to_value().get("status").cloned()) else {
        return object;
    };
    let mut value = object.to_value();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("status".to_string(), status);
    }
    api.object(object.kind(), value).unwrap_or(object)
}

/// Does something with every manifest; what is wrong with one does not keep the others.
async fn each(
    kube: &Kube<'_>,
    args: &Args,
    mut act: impl AsyncFnMut(&Manifest) -> Result<bool, Fail>,
) -> Result<i32, Fail> {
    let mut code = 0;
    let manifests = manifest::read(kube, args).await?;
    manifest::warn_of_stored(kube, &manifests).await?;
    for manifest in manifests {
        match manifest {
            Ok(manifest) => {
                if !act(&manifest).await? {
                    code = 1;
                }
            }
            Err(message) => {
                kube.err(format!("{message}\n")).await?;
                code = 1;
            }
        }
    }
    Ok(code)
}

/// One line: what has become of it. `false`: it was refused.
async fn tell(
    kube: &Kube<'_>,
    args: &Args,
    manifest: &Manifest,
    done: Result<(AnyObject, &str), kube_api::Status>,
    dry_run: DryRun,
) -> Result<bool, Fail> {
    let (object, what) = match done {
        Ok(done) => done,
        Err(status) => {
            let (text, places) = (refused(&status, &manifest.file), manifest.places(&status));
            kube.err(format!("{text}\n{places}\n")).await?;
            return Ok(false);
        }
    };
    if dry_run == DryRun::No {
        kube.api(|api| {
            let (namespace, name) = (object.namespace(), object.name());
            api.provenance_mut().set(manifest.kind.id, namespace, name, manifest.origin());
        })?;
    }
    match args.get("output") {
        None => {
            let name = manifest.kind.object_name(object.name());
            kube.out(format!("{name} {what}{}\n", dry_run.suffix())).await?;
        }
        Some("name") => kube.out(format!("{}\n", manifest.kind.object_name(object.name()))).await?,
        Some("yaml") => kube.out(super::yaml::print(&object.to_value())).await?,
        Some("json") => kube.out(super::get::json_text(&object.to_value())).await?,
        Some(other) => return Err(kube.unsupported(&format!("-o {other} here"))),
    }
    Ok(true)
}

/// The manifest with a note of itself, as apply leaves it.
fn annotated(manifest: &Manifest) -> Value {
    let mut bare = manifest.value.clone();
    if let Some(annotations) = annotations_of(&mut bare) {
        annotations.remove(LAST_APPLIED);
    }
    let note = format!("{}\n", with_annotations(&bare));
    let mut value = bare;
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = meta.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(LAST_APPLIED.to_string(), note.into());
        }
    }
    value
}

/// kubectl writes `annotations: {}` where there were none.
fn with_annotations(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    }
    value
}

fn annotations_of(value: &mut Value) -> Option<&mut Map<String, Value>> {
    value.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()
}

fn create_object(
    api: &mut kube_api::Api,
    manifest: &Manifest,
    keeps: bool,
    dry_run: DryRun,
    now: base::Instant,
) -> Result<AnyObject, kube_api::Status> {
    let value = if keeps { annotated(manifest) } else { manifest.value.clone() };
    let object = api.object(manifest.kind.id, value)?;
    if dry_run == DryRun::No { api.create(object, now) } else { Ok(object) }
}

fn change_object(
    api: &mut kube_api::Api,
    manifest: &Manifest,
    live: &AnyObject,
    dry_run: DryRun,
) -> Result<(AnyObject, &'static str), kube_api::Status> {
    let current = live.to_value();
    let last = live.meta().annotations.as_ref().and_then(|all| all.get(LAST_APPLIED));
    let original: Value =
        last.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let merged = three_way(&original, &annotated(manifest), &current, manifest.kind.type_name);
    let object = api.object(manifest.kind.id, merged)?;
    let object = if dry_run == DryRun::No { api.update(object)? } else { object };
    let is_same = object.meta().resource_version == live.meta().resource_version && object == *live;
    Ok((object, if is_same { "unchanged" } else { "configured" }))
}
