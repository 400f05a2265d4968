//! `kubectl apply --prune`: what was applied before and is not among what is applied now goes
//! (`kubectl/pkg/cmd/apply/prune.go`).

use base::tree::BTreeSet;
use kube_api::labels::Selector;
use kube_api::patch::LAST_APPLIED;
use kube_api::{AnyObject, DeleteOptions, KindInfo, MetaExt};

use super::kube::{Fail, Kube, error};
use super::manifest::Manifest;
use super::output::{DryRun, Told};
use crate::flags::Args;

/// The kinds that are looked through, in this order (`kubectl/pkg/util/prune`).
const KINDS: &str = "v1 ConfigMap,v1 Endpoints,v1 Namespace,v1 PersistentVolumeClaim,v1 PersistentVolume,v1 Pod,v1 ReplicationController,v1 Secret,v1 Service,batch/v1 Job,batch/v1 CronJob,networking.k8s.io/v1 Ingress,apps/v1 DaemonSet,apps/v1 Deployment,apps/v1 ReplicaSet,apps/v1 StatefulSet";

/// What has been applied.
#[derive(Debug, Default)]
pub(super) struct Visited {
    uids: BTreeSet<String>,
    namespaces: BTreeSet<String>,
}

impl Visited {
    pub(super) fn add(&mut self, manifest: &Manifest, object: Option<&AnyObject>) {
        if !manifest.namespace.is_empty() {
            self.namespaces.insert(manifest.namespace.clone());
        }
        self.uids.extend(object.and_then(|object| object.meta().uid.clone()));
    }
}

/// Whether the flags make sense.
pub(super) fn check(kube: &Kube<'_>, args: &Args) -> Result<(), Fail> {
    if args.get("prune-allowlist").is_some() {
        return Err(kube.unsupported("--prune-allowlist"));
    }
    if !args.is_on("prune") {
        return Ok(());
    }
    match (args.is_on("all"), args.get("selector").is_some()) {
        (true, true) => Err(error("cannot set --all and --selector at the same time")),
        (false, false) => Err(error(
            "all resources selected for prune without explicitly passing --all. To prune all resources, pass the --all flag. If you did not mean to prune all resources, specify a label selector",
        )),
        _ => Ok(()),
    }
}

pub(super) async fn run(
    kube: &Kube<'_>,
    args: &Args,
    told: &mut Told<'_>,
    visited: &Visited,
) -> Result<i32, Fail> {
    let selector = Selector::parse(args.get("selector").unwrap_or_default());
    let selector = selector.map_err(|bad| error(bad.to_string()))?;
    let goes = |object: &AnyObject| {
        let meta = object.meta();
        meta.annotation(LAST_APPLIED).is_some()
            && selector.matches(meta.labels.as_ref())
            && !visited.uids.contains(meta.uid())
    };
    let found: Vec<(KindInfo, AnyObject)> = kube.api(|api| {
        let store = api.store();
        let kinds: Vec<&KindInfo> = KINDS
            .split(',')
            .filter_map(|kind| kind.split_once(' '))
            .filter_map(|(version, kind)| store.kinds().find(version, kind))
            .collect();
        let mut found = Vec::new();
        for namespace in &visited.namespaces {
            for kind in kinds.iter().filter(|kind| kind.is_namespaced) {
                let objects = store.list_any_in(kind.id, namespace).filter(|object| goes(object));
                found.extend(objects.map(|object| ((*kind).clone(), object.clone())));
            }
        }
        // With a namespace given, what has none is left alone.
        for kind in kinds.iter().filter(|kind| !kind.is_namespaced && !kube.has_namespace) {
            let objects = store.list_any(kind.id).filter(|object| goes(object));
            found.extend(objects.map(|object| ((*kind).clone(), object.clone())));
        }
        found
    })?;
    for (kind, object) in found {
        if told.dry_run != DryRun::Client {
            let options = DeleteOptions {
                dry_run: told.dry_run == DryRun::Server,
                ..DeleteOptions::default()
            };
            let now = kube.now();
            let (namespace, name) = (object.namespace(), object.name());
            match kube.api(|api| api.delete(kind.id, namespace, name, options, now))? {
                Ok(_) => {}
                Err(status) => {
                    return Err(error(format!("error pruning object: {}", status.message)));
                }
            }
        }
        told.tell(&kind, &object.to_value(), "pruned").await?;
    }
    Ok(0)
}
