//! Manifests that people have written, against the API server: `../shared/corpus`, where it is there.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says what it counted"
)]

use std::fs;
use std::path::{Path, PathBuf};

use base::{Instant, Rng};
use kube_api::core::Namespace;
use kube_api::manifest::{self, Options};
use kube_api::{Api, ApiConfig, Kinds, Metadata};

/// What every new cluster has.
const NAMESPACES: [&str; 5] =
    ["default", "kube-node-lease", "kube-public", "kube-system", "local-path-storage"];

fn api() -> Api {
    let mut api = Api::new(ApiConfig::default(), Rng::new(1));
    for name in NAMESPACES {
        create_namespace(&mut api, name);
    }
    api
}

fn create_namespace(api: &mut Api, name: &str) {
    let mut namespace = Namespace::default();
    namespace.metadata_mut().name = Some(name.to_string());
    api.create_typed(namespace, Instant::ZERO).unwrap();
}

/// What came of a file.
#[derive(Default)]
struct Outcome {
    refused: Vec<String>,
    /// Namespaces that it takes for granted.
    lacks: Vec<String>,
    has_traffic: bool,
    is_built_in: bool,
}

const WORKLOADS: [&str; 9] = [
    "Service",
    "Pod",
    "Deployment",
    "ReplicaSet",
    "ReplicationController",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
];

/// Applies a file as `kubectl apply -f` does: what is wrong with one object does not keep the others. A
/// namespace that it takes for granted is made then, as the page says that it comes from.
fn apply(name: &str, bytes: &[u8]) -> Outcome {
    let mut api = api();
    let mut outcome = Outcome { is_built_in: true, ..Outcome::default() };
    for found in manifest::read(&api, name, bytes, &Options::default()) {
        let manifest = match found {
            Ok(manifest) => manifest,
            Err(refusal) => {
                outcome.refused.push(format!("{}\n{}", refusal.message, refusal.places));
                continue;
            }
        };
        let space = manifest.namespace.as_str();
        if !space.is_empty() && api.store().get::<Namespace>("", space).is_none() {
            outcome.lacks.push(space.to_string());
            create_namespace(&mut api, space);
        }
        let object = api.object(manifest.kind.id, manifest.value.clone());
        let exists =
            api.store().get_any(manifest.kind.id, &manifest.namespace, &manifest.name).is_some();
        let result = object.and_then(|object| match exists {
            false => api.create(object, Instant::ZERO),
            true => api.update(object),
        });
        match result {
            Ok(_) => {}
            Err(status) => {
                outcome.refused.push(format!("{status}\n{}", manifest.places(&status)));
            }
        }
    }
    outcome
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus")
}

#[test]
fn whatever_people_have_written() {
    let Ok(index) = fs::read_to_string(root().join("index.jsonl")) else {
        println!("skipped: ../shared/corpus is not here");
        return;
    };
    let known = Kinds::default();
    let (mut files, mut whole, mut counted, mut counted_whole, mut lacking) = (0, 0, 0, 0, 0);
    let mut surprises = Vec::new();
    for line in index.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = entry["file"].as_str().unwrap();
        let bytes = fs::read(root().join(name)).unwrap();
        let mut outcome = apply(name, &bytes);
        for kind in entry["kinds"].as_array().unwrap() {
            let (version, kind) = kind.as_str().unwrap().rsplit_once('/').unwrap();
            outcome.has_traffic |= WORKLOADS.contains(&kind);
            outcome.is_built_in &= known.find(version, kind).is_some();
        }
        files += 1;
        whole += usize::from(outcome.refused.is_empty());
        if outcome.has_traffic && outcome.is_built_in {
            counted += 1;
            counted_whole += usize::from(outcome.refused.is_empty());
            lacking += usize::from(outcome.refused.is_empty() && !outcome.lacks.is_empty());
        }
        // Whatever is refused is refused with a reason and a place.
        for refusal in &outcome.refused {
            let has_place = refusal.lines().any(|line| line.starts_with("podwire: "));
            assert!(has_place && !refusal.starts_with("podwire: "), "{name}: {refusal}");
        }
        if std::env::var_os("PODWIRE_SHOW_REFUSALS").is_some() {
            for refusal in &outcome.refused {
                println!(
                    "=== {name} {}{}\n{refusal}",
                    u8::from(outcome.has_traffic),
                    u8::from(outcome.is_built_in)
                );
            }
        }
        let reason = REFUSED.iter().find(|(file, _)| name.ends_with(file)).map(|(_, why)| *why);
        let is_counted = outcome.has_traffic && outcome.is_built_in;
        if is_counted && outcome.refused.is_empty() == reason.is_some() {
            surprises.push(format!("{name}: {reason:?} {:?}", outcome.refused));
        }
    }
    println!("{files} files, {whole} apply fully");
    println!(
        "with Services or workloads and only built-in kinds {counted}: {counted_whole} apply fully, {lacking} of them once their namespace is there"
    );
    assert_eq!(surprises, Vec::<String>::new());
    assert_eq!(counted - counted_whole, REFUSED.len());
}

/// Files with Services or workloads of built-in kinds that a v1.35 server refuses too, as kind sets it up, and
/// why. All others apply.
const REFUSED: &[(&str, &str)] = &[
    (
        "kubernetes__website/content/en/examples/pods/pod-projected-svc-token.yaml",
        "an account that it takes for granted",
    ),
    (
        "kubernetes__website/content/en/examples/application/job/job-tmpl.yaml",
        "a placeholder in its name",
    ),
    (
        "kubernetes__website/content/en/examples/service/networking/dual-stack-ipfamilies-ipv6.yaml",
        "IPv6 on a cluster that has IPv4 only",
    ),
    (
        "kubernetes__website/content/en/examples/service/networking/dual-stack-ipv6-svc.yaml",
        "a field that its type does not have",
    ),
    (
        "kubernetes__website/content/en/examples/service/networking/dual-stack-prefer-ipv6-lb-svc.yaml",
        "IPv6 on a cluster that has IPv4 only",
    ),
    (
        "kubernetes__website/content/en/examples/service/networking/dual-stack-preferred-ipfamilies-svc.yaml",
        "IPv6 on a cluster that has IPv4 only",
    ),
    (
        "kubernetes__website/content/en/docs/concepts/overview/working-with-objects/common-labels.md.d/block01.yaml",
        "a piece of an object, without a name",
    ),
    (
        "kubernetes__website/content/en/docs/concepts/overview/working-with-objects/common-labels.md.d/block02.yaml",
        "a piece of an object, without a name",
    ),
    (
        "kubernetes__website/content/en/docs/concepts/overview/working-with-objects/common-labels.md.d/block03.yaml",
        "a piece of an object, without a name",
    ),
    (
        "kubernetes__website/content/en/docs/concepts/overview/working-with-objects/common-labels.md.d/block04.yaml",
        "a piece of an object, without a name",
    ),
    (
        "kubernetes__website/content/en/docs/concepts/overview/working-with-objects/common-labels.md.d/block05.yaml",
        "a piece of an object, without a name",
    ),
    (
        "kubernetes__website/content/en/docs/concepts/overview/working-with-objects/common-labels.md.d/block07.yaml",
        "a piece of an object, without a name",
    ),
    (
        "kubernetes__website/content/en/docs/concepts/services-networking/dual-stack.md.d/block01.yaml",
        "an address outside the Service network",
    ),
    (
        "kubernetes__website/content/en/docs/concepts/services-networking/service.md.d/block07.yaml",
        "an address outside the Service network",
    ),
    (
        "kubernetes__website/content/en/docs/concepts/workloads/controllers/job.md.d/block03.yaml",
        "a value of the wrong type",
    ),
    (
        "kubernetes__website/content/en/docs/concepts/workloads/controllers/job.md.d/block04.yaml",
        "a piece of an object, without a name",
    ),
    (
        "kubernetes__website/content/en/docs/concepts/workloads/controllers/job.md.d/block05.yaml",
        "a piece of an object, without a name",
    ),
    (
        "kubernetes__website/content/en/docs/concepts/workloads/controllers/replicaset.md.d/block01.yaml",
        "a piece of a Pod, without containers",
    ),
    (
        "kubernetes__website/content/en/docs/tasks/debug/debug-application/debug-service.md.d/block03.yaml",
        "an address outside the Service network",
    ),
    (
        "kubernetes__website/content/en/docs/tasks/network/validate-dual-stack.md.d/block01.yaml",
        "an address outside the Service network",
    ),
    (
        "kubernetes__website/content/en/docs/tasks/network/validate-dual-stack.md.d/block02.yaml",
        "IPv6 on a cluster that has IPv4 only",
    ),
    (
        "kubernetes__website/content/en/docs/tutorials/stateful-application/cassandra.md.d/block01.yaml",
        "a field that its type does not have",
    ),
    (
        "kubernetes__examples/_archived/storage/vitess/etcd-controller-template.yaml",
        "a template that is not rendered",
    ),
    (
        "kubernetes__examples/_archived/storage/vitess/etcd-service-template.yaml",
        "a template that is not rendered",
    ),
    (
        "kubernetes__examples/_archived/storage/vitess/vtgate-controller-template.yaml",
        "a template that is not rendered",
    ),
    (
        "kubernetes__examples/_archived/storage/vitess/vttablet-pod-template.yaml",
        "a template that is not rendered",
    ),
    (
        "kubernetes__examples/_archived/sysdig-cloud/sysdig-rc.yaml",
        "neither a selector nor labels to take it from",
    ),
    (
        "kubernetes__examples/_archived/volumes/aws_ebs/aws-ebs-web.yaml",
        "a protocol in small letters",
    ),
    (
        "kubernetes__examples/_archived/volumes/cinder/cinder-web.yaml",
        "a protocol in small letters",
    ),
    ("kubernetes__examples/_archived/volumes/fibre_channel/fc.yaml", "a value of the wrong type"),
    ("kubernetes__examples/_archived/volumes/rbd/rbd.yaml", "a field that its type does not have"),
    (
        "kubernetes__examples/_archived/volumes/scaleio/pod.yaml",
        "a field that its type does not have",
    ),
    (
        "kubernetes__examples/_archived/volumes/storageos/storageos-pod.yaml",
        "a field that its type does not have",
    ),
    (
        "kubernetes__examples/_archived/volumes/portworx/README.md.d/block07.yaml",
        "a field that its type does not have",
    ),
    (
        "kubernetes__examples/_archived/volumes/storageos/README.md.d/block02.yaml",
        "a field that its type does not have",
    ),
    (
        "istio__istio/samples/bookinfo/platform/kube/bookinfo-details-dualstack.yaml",
        "IPv6 on a cluster that has IPv4 only",
    ),
    (
        "istio__istio/samples/bookinfo/platform/kube/bookinfo-dualstack.yaml",
        "IPv6 on a cluster that has IPv4 only",
    ),
    (
        "istio__istio/samples/bookinfo/platform/kube/bookinfo-ratings-discovery-dualstack.yaml",
        "IPv6 on a cluster that has IPv4 only",
    ),
    (
        "istio__istio/samples/bookinfo/platform/kube/bookinfo-ratings-dualstack.yaml",
        "IPv6 on a cluster that has IPv4 only",
    ),
    (
        "istio__istio/samples/helloworld/helloworld-dual-stack.yaml",
        "IPv6 on a cluster that has IPv4 only",
    ),
    ("istio__istio/samples/mtls-echo/mtls-echo.yaml", "a mount of a volume that it does not have"),
    (
        "istio__istio/samples/tcp-echo/tcp-echo-dual-stack.yaml",
        "IPv6 on a cluster that has IPv4 only",
    ),
    ("istio__istio/samples/tcp-echo/tcp-echo-ipv6.yaml", "IPv6 on a cluster that has IPv4 only"),
];
