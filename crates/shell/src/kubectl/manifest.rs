//! `-f`: files, directories and standard input to objects (`cli-runtime/pkg/resource`).

use kube_api::Status;
pub(crate) use kube_api::manifest::Manifest;
use kube_api::manifest::{self, Options, Validate};

use super::kube::{Fail, Kube, error};
use crate::files::FileKind;
use crate::flags::Args;

/// Everything that `-f` names: each an object, or what is wrong with it.
pub(crate) async fn read(
    kube: &Kube<'_>,
    args: &Args,
) -> Result<Vec<Result<Manifest, String>>, Fail> {
    if args.get("kustomize").is_some() {
        return Err(kube.unsupported("-k (kustomize)"));
    }
    let validate = match args.get("validate") {
        None | Some("strict" | "true") => Validate::Strict,
        Some("warn") => Validate::Warn,
        Some("ignore" | "false") => Validate::Ignore,
        Some(other) => {
            return Err(error(format!(
                "invalid - validate option {other:?}; must be one of: strict (or true), warn, ignore (or false)"
            )));
        }
    };
    let namespace = kube.has_namespace.then_some(kube.namespace.as_str());
    let options = Options { namespace, validate };
    let mut manifests = Vec::new();
    for path in args.all("filename") {
        if path.starts_with("http://") || path.starts_with("https://") {
            return Err(kube.unsupported("-f with a URL"));
        }
        for file in files(kube, &path, args.is_on("recursive"))? {
            let shown = if file == "-" { "STDIN".to_string() } else { file.clone() };
            let bytes = kube.ctx.read(&file).await;
            let bytes = bytes.map_err(|_| missing(&file))?;
            for found in kube.api(|api| manifest::read(api, &shown, &bytes, &options))? {
                if let Ok(manifest) = &found {
                    for warning in &manifest.warnings {
                        kube.err(format!("Warning: {warning}\n")).await?;
                    }
                }
                manifests.push(found.map_err(|refusal| {
                    let message = match &refusal.status {
                        Some(status) => refused(status, &shown),
                        None => format!("error: {}", refusal.message),
                    };
                    format!("{message}\n{}", refusal.places)
                }));
            }
        }
    }
    if manifests.is_empty() {
        return Err(Fail::Message("error: no objects passed to apply".to_string()));
    }
    Ok(manifests)
}

fn missing(path: &str) -> Fail {
    Fail::Message(format!("error: the path {path:?} does not exist"))
}

/// The files at a path: a directory's manifests in the order of their names.
fn files(kube: &Kube<'_>, path: &str, recursive: bool) -> Result<Vec<String>, Fail> {
    if path == "-" {
        return Ok(vec![path.to_string()]);
    }
    let session = &kube.ctx.session;
    match session.files.kind(&session.path(path)) {
        None => Err(missing(path)),
        Some(FileKind::File) => Ok(vec![path.to_string()]),
        Some(FileKind::Directory) => {
            let mut found = Vec::new();
            let names = session.files.list(&session.path(path)).map_err(|_| missing(path))?;
            for name in names {
                let inner = format!("{}/{name}", path.trim_end_matches('/'));
                let is_directory =
                    session.files.kind(&session.path(&inner)) == Some(FileKind::Directory);
                if is_directory && recursive {
                    found.extend(files(kube, &inner, true)?);
                } else if !is_directory
                    && [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end))
                {
                    found.push(inner);
                }
            }
            if found.is_empty() && !recursive {
                let text = format!(
                    "error reading [{path}]: recognized file extensions are [.json .yaml .yml]"
                );
                return Err(Fail::Message(text));
            }
            Ok(found)
        }
    }
}

/// `Error from server (BadRequest): error when creating "a.yml": …`; invalid objects in their own words.
pub(crate) fn refused(status: &Status, file: &str) -> String {
    if status.invalid.is_some() {
        return status.to_string();
    }
    status.clone().while_doing(&format!("error when creating {file:?}")).in_list()
}

/// One line for each kind that is taken and kept, and does nothing here.
pub(crate) async fn warn_of_stored(
    kube: &Kube<'_>,
    manifests: &[Result<Manifest, String>],
) -> Result<(), Fail> {
    let mut told: Vec<&str> = Vec::new();
    for manifest in manifests.iter().flatten() {
        let kind = manifest.kind.kind.as_str();
        if !manifest.kind.has_behaviour() && !told.contains(&kind) {
            told.push(kind);
            kube.err(format!("Warning: {kind}: stored, no behaviour here (podwire)\n")).await?;
        }
    }
    Ok(())
}
