//! `-f`: files, directories and standard input to objects (`cli-runtime/pkg/resource`).

use kube_api::Status;
pub(crate) use kube_api::manifest::Manifest;
use kube_api::manifest::{self, Options, Validate};

use super::kube::{Fail, Kube, error};
use crate::files::FileKind;
use crate::flags::Args;

/// What is wrong with a manifest.
pub(crate) struct Wrong {
    /// As kubectl says it when it is the only thing that went wrong…
    alone: String,
    /// …and among others (`MultipleErrors`).
    among: String,
    /// Where it is in the file.
    places: String,
    /// It came up while something was done with the manifest, not while files were read.
    is_late: bool,
}

impl Wrong {
    /// What kubectl itself found while it did something with the manifest.
    pub(crate) fn plain(text: String) -> Wrong {
        let among = text.strip_prefix("error: ").unwrap_or(&text).to_string();
        Wrong { alone: text, among, places: String::new(), is_late: true }
    }

    /// With where it is.
    pub(crate) fn at(self, places: String) -> Wrong {
        Wrong { places, ..self }
    }

    /// What the API server said while `doing`. Invalid objects are in words of their own when they are alone.
    pub(crate) fn refused(status: Status, doing: &str, places: String) -> Wrong {
        let invalid = status.invalid.is_some().then(|| status.to_string());
        let among = status.while_doing(doing).in_list();
        Wrong { alone: invalid.unwrap_or_else(|| among.clone()), among, places, is_late: true }
    }

    /// With its places, as it is said alone.
    pub(crate) fn text(&self) -> String {
        format!("{}\n{}", self.alone, self.places)
    }
}

/// Tells everything that went wrong, each with its place. Exit code 1 if anything did.
pub(crate) async fn tell_wrong(kube: &Kube<'_>, all: &[Wrong]) -> Result<i32, Fail> {
    if let [one] = all {
        kube.err(format!("{}\n", one.text().trim_end())).await?;
        return Ok(1);
    }
    // What was found while reading comes first, as files are read as a whole before the server is asked.
    for is_late in [false, true] {
        for wrong in all.iter().filter(|wrong| wrong.is_late == is_late) {
            let text = format!("{}\n{}", wrong.among, wrong.places);
            kube.err(format!("{}\n", text.trim_end())).await?;
        }
    }
    Ok(i32::from(!all.is_empty()))
}

/// Everything that `-f` names: each an object, or what is wrong with it.
pub(crate) async fn read(
    kube: &Kube<'_>,
    args: &Args,
) -> Result<Vec<Result<Manifest, Wrong>>, Fail> {
    read_as(kube, args, false).await
}

/// What `-f` names; nothing else of the manifests is looked at.
pub(crate) async fn read_names(
    kube: &Kube<'_>,
    args: &Args,
) -> Result<Vec<Result<Manifest, Wrong>>, Fail> {
    read_as(kube, args, true).await
}

async fn read_as(
    kube: &Kube<'_>,
    args: &Args,
    names_only: bool,
) -> Result<Vec<Result<Manifest, Wrong>>, Fail> {
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
    let options = Options { namespace, fallback: &kube.namespace, validate, names_only };
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
                manifests.push(found.map_err(|refusal| match refusal.status {
                    Some(status) => {
                        let doing = format!("error when creating {shown:?}");
                        Wrong::refused(status, &doing, refusal.places)
                    }
                    None => Wrong {
                        alone: format!("error: {}", refusal.message),
                        among: refusal.message,
                        places: refusal.places,
                        is_late: false,
                    },
                }));
            }
        }
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

/// One line for each kind that is taken and kept, and does nothing here.
pub(crate) async fn warn_of_stored(
    kube: &Kube<'_>,
    manifests: &[Result<Manifest, Wrong>],
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
