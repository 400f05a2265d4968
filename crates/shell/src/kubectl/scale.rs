//! `kubectl scale`.

use kube_api::{AnyObject, KindInfo, Request};
use serde_json::Value;

use super::kube::{Fail, Kube, error};
use super::output::DryRun;
use super::target::chosen;
use crate::flags::Args;

/// `kubectl scale --replicas=N TYPE/NAME…`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let Some(replicas) = args.number("replicas")? else {
        return Err(error("required flag(s) \"replicas\" not set"));
    };
    if replicas < 0 {
        return Err(error(format!(
            "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0, got {replicas}"
        )));
    }
    if args.words.is_empty() && args.get("filename").is_none() {
        return Err(error("resource(s) were provided, but no name was specified"));
    }
    let (found, all_there) = chosen(kube, args, &args.words).await?;
    let dry_run = DryRun::of(args)?;
    for (kind, object) in found {
        if !is_scalable(&kind) {
            return Err(Fail::Message(
                "Error from server (NotFound): the server could not find the requested resource"
                    .to_string(),
            ));
        }
        if let Some(current) = args.number("current-replicas")?.filter(|n| *n >= 0) {
            let have = object.to_value().pointer("/spec/replicas").and_then(Value::as_i64);
            if have != Some(current) {
                return Err(error(format!(
                    "Expected replicas to be {current}, was {}",
                    have.unwrap_or(0)
                )));
            }
        }
        let mut request = Request::new("kubectl", kube.now()).dry(dry_run != DryRun::No);
        request.subresource = "scale";
        change_as(kube, &object, &request, |value| {
            set(value, "/spec", "replicas", replicas.into());
        })?;
        let name = kind.object_name(object.name());
        kube.out(format!("{name} scaled{}\n", dry_run.suffix())).await?;
    }
    Ok(if all_there { 0 } else { 1 })
}

/// The kinds that have a number of replicas.
pub(super) fn is_scalable(kind: &KindInfo) -> bool {
    ["deployments", "replicasets", "statefulsets", "replicationcontrollers"]
        .contains(&kind.plural.as_str())
}

/// Changes an object at the API server.
pub(crate) fn change(
    kube: &Kube<'_>,
    object: &AnyObject,
    change: impl FnOnce(&mut Value),
) -> Result<AnyObject, Fail> {
    change_as(kube, object, &Request::new("kubectl", kube.now()), change)
}

/// The same as somebody asks.
pub(crate) fn change_as(
    kube: &Kube<'_>,
    object: &AnyObject,
    request: &Request<'_>,
    change: impl FnOnce(&mut Value),
) -> Result<AnyObject, Fail> {
    let done = kube.api(|api| {
        let live = api.store().get_any(object.kind(), object.namespace(), object.name());
        let mut value = live.unwrap_or(object).to_value();
        change(&mut value);
        let object = api.object(object.kind(), value)?;
        api.update_for(object, request)
    })?;
    Ok(done?)
}

/// Sets a field of an object inside an object, which is made if it is not there.
pub(crate) fn set(value: &mut Value, pointer: &str, field: &str, to: Value) {
    let mut here = value;
    for part in pointer.split('/').filter(|part| !part.is_empty()) {
        let Some(fields) = here.as_object_mut() else { return };
        here = fields.entry(part).or_insert_with(|| Value::Object(serde_json::Map::new()));
        if here.is_null() {
            *here = Value::Object(serde_json::Map::new());
        }
    }
    if let Some(fields) = here.as_object_mut() {
        fields.insert(field.to_string(), to);
    }
}
