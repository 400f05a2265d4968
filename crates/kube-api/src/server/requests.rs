//! What people ask of the API server: who asks, patches, dry runs (`apiserver/pkg/endpoints/handlers`).

use base::Instant;
use serde_json::{Map, Value, json};

use super::Api;
use crate::kinds::{KindId, KindInfo};
use crate::managed::{self, Writer};
use crate::object::{self, AnyObject};
use crate::patch::{self, LAST_APPLIED, PatchError};
use crate::schema::Type;
use crate::status::Status;

/// The manager's name of kubectl's apply when it applies on its own side.
const CLIENT_SIDE: &str = "kubectl-client-side-apply";

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who: `kubectl-create`, `kubectl-edit`, …
    pub manager: &'a str,
    /// When.
    pub now: Instant,
    /// Only to see what would come of it.
    pub dry_run: bool,
    /// `status`: that and nothing else is changed; `scale`: the number of replicas was asked for by way of
    /// that. Empty for the object itself.
    pub subresource: &'a str,
    /// The object says already who manages what.
    pub(super) is_noted: bool,
}

impl<'a> Request<'a> {
    /// A request that is meant.
    pub fn new(manager: &'a str, now: Instant) -> Request<'a> {
        Request { manager, now, dry_run: false, subresource: "", is_noted: false }
    }

    /// The same, or only to see what would come of it.
    pub fn dry(self, dry_run: bool) -> Request<'a> {
        Request { dry_run, ..self }
    }
}

/// How an object is to be changed.
#[derive(Clone, Debug)]
pub enum Patch {
    /// By the rules of its type.
    Strategic(Value),
    /// RFC 7386
    Merge(Value),
    /// RFC 6902
    Json(Value),
    /// The server's apply; with `force`, what others manage is taken from them.
    Apply {
        /// What is to be so.
        config: Value,
        /// Conflicts are won.
        force: bool,
    },
}

pub(super) fn type_of(info: &KindInfo) -> Type {
    info.type_name.map_or(Type::Any, Type::Object)
}

impl Api {
    /// Creates an object as somebody asks. What they say about its status is not heard, unless it is a node's:
    /// those are created by themselves.
    pub fn create_for(
        &mut self,
        mut object: AnyObject,
        request: &Request<'_>,
    ) -> Result<AnyObject, Status> {
        let mut value = object.to_value();
        let is_node = matches!(object, AnyObject::Node(_));
        if !is_node && value.as_object_mut().is_some_and(|v| v.remove("status").is_some()) {
            object = self.object(object.kind(), value)?;
        }
        self.create_as(object, request.now, Some(request))
    }

    /// Changes an object as a whole as somebody asks. Its status stays: it has a way of its own.
    pub fn update_for(
        &mut self,
        object: AnyObject,
        request: &Request<'_>,
    ) -> Result<AnyObject, Status> {
        let live = self.store.get_any(object.kind(), object.namespace(), object.name()).cloned();
        let object = match live {
            Some(live) => {
                let mut value = object.to_value();
                keep_status(&live.to_value(), &mut value);
                self.object(object.kind(), value)?
            }
            None => object,
        };
        self.update_as(object, Some(request))
    }

    /// Changes an object by a patch as somebody asks. Applying makes it if it is not there.
    pub fn patch(
        &mut self,
        kind: KindId,
        namespace: &str,
        name: &str,
        patch: &Patch,
        request: &Request<'_>,
    ) -> Result<AnyObject, Status> {
        let info = self.store.kinds().get(kind).clone();
        let Some(live) = self.store.get_any(kind, namespace, name).map(AnyObject::to_value) else {
            let Patch::Apply { config, force } = patch else {
                return Err(Status::not_found(&info.resource(), name));
            };
            let nothing = json!({"apiVersion": info.api_version(), "kind": info.kind,
                "metadata": {"name": name, "namespace": namespace}});
            let value = applied(&info, &nothing, config, *force, request)?;
            let object = self.object(kind, value)?;
            return self.create_for(object, &Request { is_noted: true, ..*request });
        };
        let mut value = live.clone();
        let mut request = *request;
        match patch {
            Patch::Strategic(patch) => {
                let type_name = info.type_name.ok_or_else(Status::unsupported_patch)?;
                patch::strategic(&mut value, patch.clone(), type_name)
                    .map_err(|PatchError(text)| Status::unknown(text))?;
            }
            Patch::Merge(patch) => patch::json_merge(&mut value, patch.clone()),
            Patch::Json(patch) => {
                patch::json::check(patch).map_err(|PatchError(text)| Status::bad_request(text))?;
                patch::json::apply(&mut value, patch).map_err(|_| Status::rejected())?;
            }
            Patch::Apply { config, force } => {
                value = applied(&info, &live, config, *force, &request)?;
                request.is_noted = true;
            }
        }
        same_name(&live, &value)?;
        if request.subresource == "status" {
            let changed = std::mem::replace(&mut value, live);
            keep_status(&changed, &mut value);
        } else {
            keep_status(&live, &mut value);
        }
        let object = self.object(kind, value)?;
        self.update_as(object, Some(&request))
    }
}

fn keep_status(live: &Value, value: &mut Value) {
    let Some(fields) = value.as_object_mut() else { return };
    match live.get("status") {
        Some(status) => fields.insert("status".to_string(), status.clone()),
        None => fields.remove("status"),
    };
}

/// Who an object is cannot be changed (`apiserver/pkg/endpoints/handlers/rest.go`).
fn same_name(live: &Value, value: &Value) -> Result<(), Status> {
    for (field, what) in [("name", "name of the object"), ("namespace", "namespace of the object")]
    {
        let text = |value: &Value| {
            let text = value.get("metadata").and_then(|meta| meta.get(field));
            text.and_then(Value::as_str).unwrap_or_default().to_string()
        };
        let (old, new) = (text(live), text(value));
        if old != new {
            let place =
                if field == "name" { "name on the URL" } else { "namespace on the request" };
            let message = format!("the {what} ({new}) does not match the {place} ({old})");
            return Err(Status::bad_request(message));
        }
    }
    Ok(())
}

/// What the server's apply makes of an object.
fn applied(
    info: &KindInfo,
    live: &Value,
    config: &Value,
    force: bool,
    request: &Request<'_>,
) -> Result<Value, Status> {
    let time = object::time(request.now).to_string();
    let Request { manager, subresource, .. } = *request;
    let writer = Writer { manager, subresource, time: &time };
    let apply = |live: &Value| {
        managed::apply(live, config, type_of(info), writer, force)
            .map_err(|conflicts| Status::apply_conflict(managed::conflict_message(&conflicts)))
    };
    let mut value = apply(live)?;
    if managed::take_over(&mut value, CLIENT_SIDE, request.manager) {
        value = apply(&value)?;
    }
    // Who applies on kubectl's side next time must know what was applied this time.
    let note = value.get_mut("metadata").and_then(|meta| meta.get_mut("annotations"));
    if let Some(note) =
        note.and_then(Value::as_object_mut).and_then(|all| all.get_mut(LAST_APPLIED))
    {
        let mut config = config.clone();
        if let Some(meta) = config.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
        }
        *note = format!("{config}\n").into();
    }
    Ok(value)
}
