//! `kubectl patch` (`kubectl/pkg/cmd/patch`).

use kube_api::{Patch, yaml};
use serde_json::Value;

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
    let patch = make(parse(&text)?);
    let subresource = args.get("subresource").unwrap_or_default();
    if !matches!(subresource, "" | "status") {
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
        match kube.api(|api| api.patch(kind.id, namespace, name, &patch, &request))? {
            Ok(patched) => {
                let is_same = patched == *object;
                let what = if is_same { "patched (no change)" } else { "patched" };
                told.tell(kind, &patched.to_value(), what).await?;
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

/// A patch is written in YAML, of which JSON is a part.
fn parse(text: &str) -> Result<Value, Fail> {
    match yaml::first(text) {
        Ok(node) => Ok(node.map(|node| node.to_value()).unwrap_or_default()),
        Err(wrong) => Err(error(format!("unable to parse {text:?}: yaml: {}", wrong.message))),
    }
}
