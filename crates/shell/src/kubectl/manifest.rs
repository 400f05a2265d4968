//! `-f`: files, directories and standard input to objects (`cli-runtime/pkg/resource`).

use kube_api::node::Node;
use kube_api::{KindInfo, Status, yaml};
use serde_json::Value;

use super::kube::{Fail, Kube};
use crate::files::FileKind;
use crate::flags::Args;

/// A document of a file, as an object of a known kind.
pub(crate) struct Manifest {
    pub(crate) file: String,
    pub(crate) kind: KindInfo,
    pub(crate) node: Node,
    /// What it says, checked against the kind's fields.
    pub(crate) value: Value,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Everything that `-f` names: each an object, or what is wrong with it.
pub(crate) async fn read(
    kube: &Kube<'_>,
    args: &Args,
) -> Result<Vec<Result<Manifest, String>>, Fail> {
    if args.get("kustomize").is_some() {
        return Err(kube.unsupported("-k (kustomize)"));
    }
    let mut manifests = Vec::new();
    for path in args.all("filename") {
        if path.starts_with("http://") || path.starts_with("https://") {
            return Err(kube.unsupported("-f with a URL"));
        }
        for file in files(kube, &path, args.is_on("recursive"))? {
            let shown = if file == "-" { "STDIN".to_string() } else { file.clone() };
            let bytes = kube.ctx.read(&file).await;
            let bytes = bytes.map_err(|_| missing(&file))?;
            let text = String::from_utf8_lossy(&bytes);
            documents(kube, &shown, &text, &mut manifests)?;
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

fn documents(
    kube: &Kube<'_>,
    file: &str,
    text: &str,
    manifests: &mut Vec<Result<Manifest, String>>,
) -> Result<(), Fail> {
    for document in yaml::documents(text) {
        match document.content {
            Ok(None) => {}
            Ok(Some(node)) => list_or_object(kube, file, node, manifests)?,
            Err(wrong) => {
                let line = wrong.mark.line;
                let message = wrong.message;
                manifests.push(Err(format!(
                    "error: error parsing {file}: error converting YAML to JSON: yaml: {message}\npodwire: {file}:{line}"
                )));
                // What stands behind it in the file is not read any more.
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A `List` stands for its items.
fn list_or_object(
    kube: &Kube<'_>,
    file: &str,
    node: Node,
    manifests: &mut Vec<Result<Manifest, String>>,
) -> Result<(), Fail> {
    use kube_api::node::NodeKind;
    if node.get("kind").and_then(Node::as_str) == Some("List")
        && let Some(NodeKind::List(items)) = node.get("items").map(|items| &items.kind)
    {
        for item in items {
            list_or_object(kube, file, item.clone(), manifests)?;
        }
        return Ok(());
    }
    manifests.push(object(kube, file, node)?);
    Ok(())
}

fn object(kube: &Kube<'_>, file: &str, node: Node) -> Result<Result<Manifest, String>, Fail> {
    let text = |field: &str| node.get(field).and_then(Node::as_str).unwrap_or_default().to_string();
    let (api_version, kind_name) = (text("apiVersion"), text("kind"));
    let line = node.mark.line;
    let at = |line: u32| format!("podwire: {file}:{line}");
    let missing: Vec<&str> = [("apiVersion", &api_version), ("kind", &kind_name)]
        .into_iter()
        .filter(|(_, value)| value.is_empty())
        .map(|(field, _)| field)
        .collect();
    if let Some(first) = missing.first() {
        let what = if *first == "kind" {
            format!("Object 'Kind' is missing in '{}'", node.to_value())
        } else {
            let not_set = if missing.len() > 1 {
                "[apiVersion not set, kind not set]"
            } else {
                "apiVersion not set"
            };
            let text = format!(
                "error: error validating {file:?}: error validating data: {not_set}; if you choose to ignore these errors, turn validation off with --validate=false"
            );
            return Ok(Err(format!("{text}\n{}", at(line))));
        };
        return Ok(Err(format!("error: unable to decode {file:?}: {what}\n{}", at(line))));
    }
    let name = node.get("metadata").and_then(|meta| meta.get("name")).and_then(Node::as_str);
    let name = name.unwrap_or_default().to_string();
    let found = kube.api(|api| api.store().kinds().find(&api_version, &kind_name).cloned())?;
    let Some(kind) = found else {
        let namespace = if kube.has_namespace { kube.namespace.as_str() } else { "" };
        let text = format!(
            "error: resource mapping not found for name: {name:?} namespace: {namespace:?} from {file:?}: no matches for kind {kind_name:?} in version {api_version:?}\nensure CRDs are installed first"
        );
        return Ok(Err(format!("{text}\n{}", at(line))));
    };
    let given = node.get("metadata").and_then(|meta| meta.get("namespace")).and_then(Node::as_str);
    if let Some(given) =
        given.filter(|given| kube.has_namespace && kind.is_namespaced && *given != kube.namespace)
    {
        let namespace = &kube.namespace;
        return Ok(Err(format!(
            "error: the namespace from the provided object {given:?} does not match the namespace {namespace:?}. You must pass '--namespace={given}' to perform this operation."
        )));
    }
    let namespace = match kind.is_namespaced {
        true => given.map_or_else(|| kube.namespace.clone(), str::to_string),
        false => String::new(),
    };
    let decoded = kube.api(|api| api.decode(kind.id, &node))?;
    let mut value = match decoded {
        Ok(value) => value,
        Err(wrong) => {
            let (status, decoded) = *wrong;
            let line = decoded.problems.first().map_or(line, |problem| problem.mark.line);
            return Ok(Err(format!("{}\n{}", refused(&status, file), at(line))));
        }
    };
    if kind.is_namespaced
        && let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut)
    {
        meta.insert("namespace".to_string(), namespace.clone().into());
    }
    Ok(Ok(Manifest { file: file.to_string(), kind, node, value, namespace, name }))
}

/// `Error from server (BadRequest): error when creating "a.yml": …`; invalid objects in their own words.
pub(crate) fn refused(status: &Status, file: &str) -> String {
    if status.invalid.is_some() {
        return status.to_string();
    }
    status.clone().while_doing(&format!("error when creating {file:?}")).in_list()
}
