//! `kubectl patch` (`kubectl/pkg/cmd/patch`).

use kube_api::decode::ProblemKind;
use kube_api::node::Node;
use kube_api::{KindInfo, Patch, yaml};
use serde_json::{Value, json};

use super::kube::{Fail, Kube, error};
use super::output::{DryRun, Told};
use super::target::objects;
use crate::flags::Args;

/// `kubectl patch TYPE NAME -p PATCH`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let text = match (args.get("patch"), args.get("patch-file")) {
        (None | Some(""), None) => {
            return Err(error(
                "must specify --patch or --patch-file containing the contents of the patch",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(error("cannot specify --patch and --patch-file together"));
        }
        (Some(text), None) => text.to_string(),
        (_, Some(path)) => {
            let bytes = kube.ctx.read(path).await;
            let bytes = bytes.map_err(|_| {
                error(format!("unable to read patch file: open {path}: no such file or directory"))
            })?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
    };
    let kind = args.get("type").unwrap_or("strategic").to_ascii_lowercase();
    let make: fn(Value) -> Patch = match kind.as_str() {
        "strategic" => Patch::Strategic,
        "merge" => Patch::Merge,
        "json" => Patch::Json,
        _ => {
            return Err(error(format!(
                "--type must be one of [json merge strategic], not {kind:?}"
            )));
        }
    };
    let node = parse(&text)?;
    let is_list = kind == "json";
    let subresource = args.get("subresource").unwrap_or_default();
    let mut value = node.as_ref().map(Node::to_value).unwrap_or_default();
    if subresource == "scale" && !is_list {
        // A Scale has nothing else that can be changed.
        value = match value.pointer("/spec/replicas") {
            Some(replicas) => json!({"spec": {"replicas": replicas}}),
            None => json!({}),
        };
    }
    let patch = make(value);
    if !matches!(subresource, "" | "status" | "scale") {
        return Err(kube.unsupported(&format!("--subresource={subresource}")));
    }
    let mut told = Told::new(kube, args, "kubectl-patch")?;
    let (found, all_there) = objects(kube, args, &args.words).await?;
    let mut code = i32::from(!all_there);
    for (kind, object) in &found {
        let mut request = told.request();
        request.dry_run |= told.dry_run == DryRun::Client;
        request.subresource = subresource;
        let (namespace, name) = (object.namespace(), object.name());
        if let Some(node) = node.as_ref().filter(|_| !is_list)
            && let Some(refused) = look(kube, kind, node, &patch).await?
        {
            kube.err(refused).await?;
            code = 1;
            continue;
        }
        match kube.api(|api| api.patch(kind.id, namespace, name, &patch, &request))? {
            Ok(patched) => {
                let is_same = patched == *object;
                let what = if is_same { "patched (no change)" } else { "patched" };
                if subresource == "scale" {
                    let suffix = told.dry_run.suffix();
                    kube.out(format!("scale.autoscaling/{name} {what}{suffix}\n")).await?;
                } else {
                    told.tell(kind, &patched.to_value(), what).await?;
                }
            }
            Err(status) => {
                kube.err(format!("{status}\n")).await?;
                code = 1;
            }
        }
    }
    told.end().await?;
    Ok(code)
}

/// What the server says of a patch before it carries it out: it warns of fields that nobody knows, and refuses values
/// of a wrong type (`apiserver/pkg/endpoints/handlers/patch.go`).
async fn look(
    kube: &Kube<'_>,
    kind: &KindInfo,
    node: &Node,
    patch: &Patch,
) -> Result<Option<String>, Fail> {
    let decoded = kube.api(|api| api.decoded(kind.id, node))?;
    for problem in &decoded.problems {
        match &problem.kind {
            // What says how to merge is no field.
            ProblemKind::UnknownField if problem.path.contains('$') => {}
            ProblemKind::UnknownField => {
                kube.err(format!("Warning: unknown field {:?}\n", problem.path)).await?;
            }
            ProblemKind::WrongType(message) => {
                if let (Patch::Strategic(value), Some(why)) = (patch, inconvertible(message)) {
                    let shown = go_text(value);
                    return Ok(Some(format!(
                        "The request is invalid: patch: Invalid value: {shown:?}: {why}\n"
                    )));
                }
            }
        }
    }
    Ok(None)
}

/// In the words of `apimachinery/pkg/runtime/converter.go`; from those of Go's decoder.
fn inconvertible(message: &str) -> Option<String> {
    let (found, wanted) = message.strip_prefix("json: cannot unmarshal ")?.split_once(" into ")?;
    let wanted = wanted.rsplit(" of type ").next()?;
    let found = match found.split(' ').next()? {
        "number" => "int64",
        "array" => "slice",
        "object" => "map",
        found => found,
    };
    Some(match wanted {
        "string" if found == "int64" => "cannot convert int64 to string".to_string(),
        "string" | "bool" | "int32" | "int64" => format!("unrecognized type: {wanted}"),
        list if list.starts_with("[]") => format!("cannot restore slice from {found}"),
        map if map.starts_with("map[") => format!("cannot restore map from {found}"),
        _ => format!("cannot restore struct from: {found}"),
    })
}

/// A value as Go prints it (`%+v`).
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => {
            let pair = |(key, value): (&String, &Value)| format!("{key}:{}", go_text(value));
            format!("map[{}]", fields.iter().map(pair).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// A patch is written in YAML, of which JSON is a part.
fn parse(text: &str) -> Result<Option<Node>, Fail> {
    match yaml::first(text) {
        Ok(node) => Ok(node),
        Err(wrong) => Err(error(format!("unable to parse {text:?}: yaml: {}", wrong.message))),
    }
}
