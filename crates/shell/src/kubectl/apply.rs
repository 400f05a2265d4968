//! `kubectl apply`, and what `create -f` and `replace` share with it (`kubectl/pkg/cmd/apply`).

use kube_api::patch::{LAST_APPLIED, three_way};
use kube_api::{AnyObject, Api, DeleteOptions, KindInfo, MetaExt, Patch, Reason, Request, Status};
use serde_json::{Map, Value};

use super::delete::wait_until_gone;
use super::kube::{Fail, Kube, error};
use super::manifest::{self, Manifest, Wrong};
use super::output::{DryRun, Told};
use super::prune;
use crate::flags::Args;

/// `kubectl apply -f …`
pub(crate) async fn apply(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    if let Some(verb) = args.words.first() {
        return match verb.as_str() {
            "view-last-applied" => view_last_applied(kube, args).await,
            "edit-last-applied" | "set-last-applied" => {
                Err(kube.unsupported(&format!("'apply {verb}'")))
            }
            _ => Err(error(format!("Unexpected args: [{}]", args.words.join(" ")))),
        };
    }
    if args.all("filename").is_empty() && args.get("kustomize").is_none() {
        return Err(error("must specify one of -f and -k"));
    }
    let on_server = args.is_on("server-side");
    if args.is_on("force-conflicts") && !on_server {
        return Err(error("--force-conflicts only works with --server-side"));
    }
    prune::check(kube, args)?;
    let manager = if on_server { "kubectl" } else { "kubectl-client-side-apply" };
    let mut told = Told::new(kube, args, manager)?;
    if on_server && told.dry_run == DryRun::Client {
        return Err(error(
            "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)",
        ));
    }
    let mut visited = prune::Visited::default();
    let mut code = each(kube, args, "apply", async |manifest: &Manifest| {
        let done = if on_server {
            on_the_server(kube, args, &told, manifest)?
        } else {
            on_this_side(kube, args, &told, manifest)?
        };
        let done = tell(kube, &mut told, manifest, done).await?;
        visited.add(manifest, done.as_ref().ok());
        Ok(done.map(drop))
    })
    .await?;
    if args.is_on("prune") && code == 0 {
        code = prune::run(kube, args, &mut told, &visited).await?;
    }
    told.end().await?;
    Ok(code)
}

/// What has become of a manifest.
struct Done {
    object: AnyObject,
    what: &'static str,
    warnings: Vec<String>,
}

/// Why a manifest was refused: the status, and in what it stood in the way.
pub(super) struct Refused {
    status: Status,
    doing: String,
}

type Outcome = Result<Done, Box<Refused>>;

fn done(object: AnyObject, what: &'static str) -> Outcome {
    Ok(Done { object, what, warnings: Vec::new() })
}

/// Applies by kubectl's own three-way merge.
fn on_this_side(
    kube: &Kube<'_>,
    args: &Args,
    told: &Told<'_>,
    manifest: &Manifest,
) -> Result<Outcome, Fail> {
    if manifest.name.is_empty() {
        return Err(nameless(manifest));
    }
    let (dry_run, request) = (told.dry_run, told.request());
    kube.api(|api| {
        let live = api.store().get_any(manifest.kind.id, &manifest.namespace, &manifest.name);
        let Some(live) = live.cloned() else {
            return create_object(api, manifest, true, dry_run, &request)
                .and_then(|object| done(object, "created"));
        };
        if dry_run == DryRun::Client {
            return done(live, "configured");
        }
        // Nobody comes in between here, so trying again, as kubectl does, would change nothing.
        let outcome = change_object(api, manifest, &live, &request);
        let wants_another =
            |refused: &Refused| matches!(refused.status.reason, Reason::Conflict | Reason::Invalid);
        match outcome {
            // What cannot be changed is made anew.
            Err(refused) if args.is_on("force") && wants_another(&refused) => {
                let (kind, name) = (manifest.kind.id, &manifest.name);
                let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
                let deleted = api.delete(kind, &manifest.namespace, name, options, request.now);
                deleted.map_err(|status| refused_while(status, manifest, "deleting"))?;
                create_object(api, manifest, true, dry_run, &request)
                    .and_then(|object| done(object, "configured"))
            }
            outcome => outcome,
        }
    })
}

fn nameless(manifest: &Manifest) -> Fail {
    let prefix = manifest.value.pointer("/metadata/generateName").and_then(Value::as_str);
    match prefix {
        Some(prefix) => error(format!("from {prefix}: cannot use generate name with apply")),
        None => error(format!(
            "error when retrieving current configuration of:\n{}\nfrom server for: {:?}: resource name may not be empty",
            whole_name(manifest),
            manifest.file
        )),
    }
}

/// An object as kubectl names it at length (`resource.Info`).
fn whole_name(manifest: &Manifest) -> String {
    let KindInfo { group, version, kind, plural, .. } = &manifest.kind;
    format!(
        "Resource: \"{group}/{version}, Resource={plural}\", GroupVersionKind: \"{group}/{version}, Kind={kind}\"\nName: {:?}, Namespace: {:?}",
        manifest.name, manifest.namespace
    )
}

fn refused_while(status: Status, manifest: &Manifest, doing: &str) -> Box<Refused> {
    Box::new(Refused { status, doing: format!("error when {doing} {:?}", manifest.file) })
}

fn change_object(
    api: &mut Api,
    manifest: &Manifest,
    live: &AnyObject,
    request: &Request<'_>,
) -> Outcome {
    let patch = patch_for(manifest, live)
        .map_err(|status| refused_while(status, manifest, "creating patch with"))?;
    let mut warnings = Vec::new();
    if live.meta().annotation(LAST_APPLIED).is_none() {
        let name = format!("{}/{}", manifest.kind.plural, manifest.name);
        warnings.push(format!("Warning: resource {name} is missing the {LAST_APPLIED} annotation which is required by kubectl apply. kubectl apply should only be used on resources created declaratively by either kubectl create --save-config or kubectl apply. The missing annotation will be patched automatically.\n"));
    }
    let is_same = patch.as_object().is_some_and(Map::is_empty);
    let text = patch.to_string();
    let patch = as_patch(manifest, patch);
    let (namespace, name) = (&manifest.namespace, &manifest.name);
    let object = match api.patch(manifest.kind.id, namespace, name, &patch, request) {
        _ if is_same => live.clone(),
        Ok(object) => object,
        Err(status) => {
            let (whole, file) = (whole_name(manifest), &manifest.file);
            let doing = format!("error when applying patch:\n{text}\nto:\n{whole}\nfor: {file:?}");
            return Err(Box::new(Refused { status, doing }));
        }
    };
    warnings.extend(warning_if_going(&object));
    Ok(Done { object, what: if is_same { "unchanged" } else { "configured" }, warnings })
}

/// What kubectl's own merge makes of what was applied before, what is there and what is to be (`Patcher`).
pub(super) fn patch_for(manifest: &Manifest, live: &AnyObject) -> Result<Value, Status> {
    let last = live.meta().annotation(LAST_APPLIED);
    let original: Value =
        last.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let (modified, current) = (annotated(manifest), live.to_value());
    three_way(&original, &modified, &current, manifest.kind.type_name)
        .map_err(|wrong| Status::unknown(wrong.0))
}

/// A patch as it is sent: lists are merged by their keys where the kind's are known.
pub(super) fn as_patch(manifest: &Manifest, patch: Value) -> Patch {
    match manifest.kind.type_name {
        Some(_) => Patch::Strategic(patch),
        None => Patch::Merge(patch),
    }
}

fn warning_if_going(object: &AnyObject) -> Option<String> {
    let name = object.name();
    object.meta().is_terminating().then(|| {
        format!("Warning: Detected changes to resource {name} which is currently being deleted.\n")
    })
}

const ABOUT_CONFLICTS: &str =
    "\nPlease review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
* You may co-own fields by updating your manifest to match the existing
  value; in this case, you'll become the manager if the other manager(s)
  stop managing the field (remove it from their configuration).
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts";

/// Lets the server apply.
fn on_the_server(
    kube: &Kube<'_>,
    args: &Args,
    told: &Told<'_>,
    manifest: &Manifest,
) -> Result<Outcome, Fail> {
    if manifest.name.is_empty() {
        return Err(nameless(manifest));
    }
    let force = args.is_on("force-conflicts");
    let patch = Patch::Apply { config: manifest.value.clone(), force };
    let (kind, namespace, name) = (manifest.kind.id, &manifest.namespace, &manifest.name);
    kube.api(|api| match api.patch(kind, namespace, name, &patch, &told.request()) {
        Ok(object) => {
            let warnings = warning_if_going(&object).into_iter().collect();
            Ok(Done { object, what: "serverside-applied", warnings })
        }
        // kubectl says this one as an error of its own.
        Err(status) if status.reason == Reason::Conflict && status.message.starts_with("Apply") => {
            let doing = format!("error: {}{ABOUT_CONFLICTS}", status.message);
            Err(Box::new(Refused { status, doing }))
        }
        Err(status) => Err(refused_while(status, manifest, "applying")),
    })
}

/// `kubectl create -f …`
pub(crate) async fn create_files(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let mut told = Told::new(kube, args, "kubectl-create")?;
    let keeps = args.is_on("save-config");
    let code = each(kube, args, "create", async |manifest: &Manifest| {
        let (dry_run, request) = (told.dry_run, told.request());
        let outcome = kube.api(|api| {
            create_object(api, manifest, keeps, dry_run, &request)
                .and_then(|object| done(object, "created"))
        })?;
        Ok(tell(kube, &mut told, manifest, outcome).await?.map(drop))
    })
    .await?;
    told.end().await?;
    Ok(code)
}

/// `kubectl replace -f …`
pub(crate) async fn replace(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    if args.all("filename").is_empty() && args.get("kustomize").is_none() {
        return Err(error("must specify -f, -k, or --raw to replace"));
    }
    let mut told = Told::new(kube, args, "kubectl-replace")?;
    let keeps = args.is_on("save-config");
    let code = each(kube, args, "replace", async |manifest: &Manifest| {
        if args.is_on("force") {
            delete_first(kube, args, manifest).await?;
        }
        let (dry_run, request) = (told.dry_run, told.request());
        let outcome = kube.api(|api| {
            if args.is_on("force") {
                return create_object(api, manifest, keeps, dry_run, &request)
                    .and_then(|object| done(object, "replaced"));
            }
            let refuse = |status| refused_while(status, manifest, "replacing");
            // One that was applied before keeps its note of it up to date.
            let live = api.store().get_any(manifest.kind.id, &manifest.namespace, &manifest.name);
            let is_noted = live.is_some_and(|o| o.meta().annotation(LAST_APPLIED).is_some());
            let value =
                if keeps || is_noted { annotated(manifest) } else { manifest.value.clone() };
            let object = api.object(manifest.kind.id, value).map_err(refuse)?;
            if dry_run == DryRun::Client {
                return done(object, "replaced");
            }
            done(api.update_for(object, &request).map_err(refuse)?, "replaced")
        })?;
        Ok(tell(kube, &mut told, manifest, outcome).await?.map(drop))
    })
    .await?;
    told.end().await?;
    Ok(code)
}

/// `replace --force`: the old one goes first, and is waited for.
async fn delete_first(kube: &Kube<'_>, args: &Args, manifest: &Manifest) -> Result<(), Fail> {
    let Ok(live) = kube.get_in(&manifest.kind, &manifest.namespace, &manifest.name) else {
        return Ok(());
    };
    let grace = args.number("grace-period")?.filter(|secs| *secs >= 0);
    let options = DeleteOptions { grace_seconds: grace, ..DeleteOptions::default() };
    let (kind, namespace, name) = (&manifest.kind, &manifest.namespace, &manifest.name);
    let now = kube.now();
    kube.api(|api| api.delete(kind.id, namespace, name, options, now))??;
    kube.out(super::delete::line(kind, namespace, name, "deleted")).await?;
    let deadline = kube.deadline(args, "timeout")?;
    wait_until_gone(kube, &[(kind.clone(), live)], deadline).await
}

/// Does something with every manifest; what is wrong with one does not keep the others. It is told at the end.
/// `verb` is said where there is nothing to be done anything with; empty: that is no mistake.
pub(super) async fn each(
    kube: &Kube<'_>,
    args: &Args,
    verb: &str,
    mut act: impl AsyncFnMut(&Manifest) -> Result<Result<(), Wrong>, Fail>,
) -> Result<i32, Fail> {
    let mut all = Vec::new();
    let manifests = manifest::read(kube, args).await?;
    if manifests.is_empty() && !verb.is_empty() {
        return Err(error(format!("no objects passed to {verb}")));
    }
    manifest::warn_of_stored(kube, &manifests).await?;
    let kinds: Vec<&KindInfo> = manifests.iter().flatten().map(|found| &found.kind).collect();
    kube.warn_of_old(&kinds).await?;
    for manifest in manifests {
        match manifest {
            Ok(manifest) => match act(&manifest).await {
                Ok(Ok(())) => {}
                Ok(Err(wrong)) => all.push(wrong),
                Err(Fail::Message(text)) => all.push(Wrong::plain(text)),
                Err(other) => return Err(other),
            },
            Err(wrong) => all.push(wrong),
        }
    }
    manifest::tell_wrong(kube, &all).await
}

/// Says what has become of a manifest; hands back why it was refused.
async fn tell(
    kube: &Kube<'_>,
    told: &mut Told<'_>,
    manifest: &Manifest,
    outcome: Outcome,
) -> Result<Result<AnyObject, Wrong>, Fail> {
    let Done { object, what, warnings } = match outcome {
        Ok(done) => done,
        Err(refused) => {
            let Refused { status, doing } = *refused;
            let places = manifest.places(&status);
            if doing.starts_with("error: ") {
                return Ok(Err(Wrong::plain(doing).at(places)));
            }
            return Ok(Err(Wrong::refused(status, &doing, places)));
        }
    };
    if told.dry_run == DryRun::No {
        kube.api(|api| {
            let (namespace, name) = (object.namespace(), object.name());
            api.provenance_mut().set(manifest.kind.id, namespace, name, manifest.origin());
        })?;
    }
    for warning in warnings {
        kube.err(warning).await?;
    }
    told.tell(&manifest.kind, &object.to_value(), what).await?;
    Ok(Ok(object))
}

/// The manifest with a note of itself, as apply leaves it.
pub(super) fn annotated(manifest: &Manifest) -> Value {
    let mut value = manifest.value.clone();
    let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return value };
    // kubectl writes `annotations: {}` where there were none.
    let annotations = meta.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    let note = format!("{value}\n");
    if let Some(annotations) = value.pointer_mut("/metadata/annotations") {
        annotations.as_object_mut().map(|all| all.insert(LAST_APPLIED.to_string(), note.into()));
    }
    value
}

fn create_object(
    api: &mut Api,
    manifest: &Manifest,
    keeps: bool,
    dry_run: DryRun,
    request: &Request<'_>,
) -> Result<AnyObject, Box<Refused>> {
    let refuse = |status| refused_while(status, manifest, "creating");
    let value = if keeps { annotated(manifest) } else { manifest.value.clone() };
    let object = api.object(manifest.kind.id, value).map_err(refuse)?;
    if dry_run == DryRun::Client {
        return Ok(object);
    }
    api.create_for(object, request).map_err(refuse)
}

/// `kubectl apply view-last-applied TYPE NAME`
async fn view_last_applied(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let words = args.words.get(1..).unwrap_or_default();
    let found = super::target::objects(kube, args, words).await?;
    for (_, object) in &found.0 {
        let Some(text) = object.meta().annotation(LAST_APPLIED) else {
            let name = object.name();
            return Err(error(format!(
                "no last-applied-configuration annotation found on resource: {name}"
            )));
        };
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let as_json = args.get("output") == Some("json");
        let text = if as_json { super::get::json_text(&value) } else { super::yaml::print(&value) };
        kube.out(text).await?;
    }
    Ok(i32::from(!found.1))
}
