//! The earlier templates of StatefulSets and DaemonSets: ControllerRevisions (`pkg/controller/history`).

use std::rc::Rc;

use base::Instant;
use kube_api::apps::ControllerRevision;
use kube_api::core::PodTemplateSpec;
use kube_api::meta::ObjectMeta;
use kube_api::{Api, DeleteOptions, Kind, MetaExt};
use serde_json::{Value, json};

use crate::control::Owner;
use crate::deployment::template_hash;

/// Tells Pods of one revision from those of another.
pub const REVISION_LABEL: &str = "controller-revision-hash";

/// The hash in a revision's name.
const HASH: &str = "controller.kubernetes.io/hash";

/// The revisions that belong to an object, oldest first.
pub fn of(api: &Api, uid: &str) -> Vec<Rc<ControllerRevision>> {
    let mut all: Vec<Rc<ControllerRevision>> =
        api.store().owned::<ControllerRevision>(uid).cloned().collect();
    base::order::sort_by_key(&mut all, |revision| {
        (revision.revision, revision.metadata.name().to_string())
    });
    all
}

/// A template as a revision keeps it: as a patch that puts it in place of another.
fn data(template: &PodTemplateSpec) -> Value {
    let mut template = kube_api::to_value(template);
    if let Some(fields) = template.as_object_mut() {
        fields.insert("$patch".to_string(), "replace".into());
    }
    json!({"spec": {"template": template}})
}

/// The template that a revision keeps.
pub fn template_of(revision: &ControllerRevision) -> Option<Value> {
    let mut template = revision.data.as_ref()?.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    Some(template)
}

/// The template that a revision keeps, as one.
pub(crate) fn typed_template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    kube_api::from_value(template_of(revision)?).ok()
}

/// What a Pod of a revision has as its label: the hash, without the owner's name.
pub(crate) fn hash_of(revision: &ControllerRevision) -> &str {
    revision.metadata.label(HASH).unwrap_or_default()
}

/// The revision of a template, which is the newest from now on; made if there is none.
pub(crate) fn current(
    api: &mut Api,
    owner: &Owner,
    meta: &ObjectMeta,
    template: &PodTemplateSpec,
    now: Instant,
) -> Option<Rc<ControllerRevision>> {
    let all = of(api, &owner.uid);
    let data = Some(data(template));
    let highest = all.last().map_or(0, |last| last.revision);
    if let Some(known) = all.iter().rev().find(|revision| revision.data == data) {
        if known.revision == highest {
            return Some(known.clone());
        }
        let name = known.metadata.name().to_string();
        return api.modify::<ControllerRevision>(&owner.namespace, &name, |revision| {
            revision.revision = highest + 1;
        });
    }
    let hash = template_hash(template, None);
    let mut revision =
        ControllerRevision { data, revision: highest + 1, ..ControllerRevision::default() };
    owner.own(&mut revision.metadata);
    revision.metadata.name = Some(format!("{}-{hash}", owner.name));
    let mut labels = template.metadata.as_ref().and_then(|m| m.labels.clone()).unwrap_or_default();
    labels.insert(HASH.to_string(), hash);
    revision.metadata.labels = Some(labels);
    // The reason for a change is kept with what it changed to.
    revision.metadata.annotations = meta.annotations.clone();
    api.create_typed(revision, now).ok()
}

/// Forgets revisions that nothing uses, beyond `limit`.
pub(crate) fn forget(
    api: &mut Api,
    owner: &Owner,
    limit: Option<i32>,
    used: &[&str],
    now: Instant,
) {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    let all = of(api, &owner.uid);
    let unused: Vec<_> = all
        .iter()
        .filter(|r| !used.contains(&r.metadata.name()) && !used.contains(&hash_of(r)))
        .collect();
    let surplus = unused.len().saturating_sub(limit);
    for revision in unused.into_iter().take(surplus) {
        let options = DeleteOptions::default();
        let name = revision.metadata.name();
        let _ = api.delete(ControllerRevision::id(), &owner.namespace, name, options, now);
    }
}
