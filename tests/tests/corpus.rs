//! Manifests that people have written, against the API server: `../shared/corpus`, where it is there.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says what it counted"
)]

use std::fs;
use std::path::{Path, PathBuf};

use base::{Instant, Rng};
use kube_api::core::Namespace;
use kube_api::manifest::{self, Options};
use kube_api::{Api, ApiConfig, Metadata, kinds};

/// What every new cluster has.
const NAMESPACES: [&str; 5] =
    ["default", "kube-node-lease", "kube-public", "kube-system", "local-path-storage"];

fn api() -> Api {
    let mut api = Api::new(ApiConfig::default(), Rng::new(1));
    for name in NAMESPACES {
        let mut namespace = Namespace::default();
        namespace.metadata_mut().name = Some(name.to_string());
        api.create_typed(namespace, Instant::ZERO).unwrap();
    }
    api
}

/// What came of a file.
#[derive(Default)]
struct Outcome {
    applied: usize,
    refused: Vec<String>,
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

/// Applies a file as `kubectl apply -f` does: what is wrong with one object does not keep the others.
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
        let object = api.object(manifest.kind.id, manifest.value.clone());
        let exists =
            api.store().get_any(manifest.kind.id, &manifest.namespace, &manifest.name).is_some();
        let result = object.and_then(|object| match exists {
            false => api.create(object, Instant::ZERO),
            true => api.update(object),
        });
        match result {
            Ok(_) => outcome.applied += 1,
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
    let known = kinds::Kinds::default();
    let (mut files, mut whole, mut counted, mut counted_whole) = (0, 0, 0, 0);
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
        let is_expected = REFUSED.iter().any(|(file, _)| name.ends_with(file));
        if outcome.has_traffic && outcome.is_built_in && outcome.refused.is_empty() == is_expected {
            surprises.push(format!("{name}: {:?}", outcome.refused));
        }
    }
    println!(
        "{files} files, {whole} apply; with Services or workloads and only built-in kinds {counted}, {counted_whole} apply"
    );
    assert_eq!(surprises, Vec::<String>::new());
}

/// Files with Services or workloads of built-in kinds that a v1.35 server refuses too, and why.
const REFUSED: &[(&str, &str)] = &[];
