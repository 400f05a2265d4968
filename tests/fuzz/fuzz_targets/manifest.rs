//! Any bytes as a file of manifests: read, created, and applied once more to what is then there.

#![no_main]

use base::{Instant, Rng};
use kube_api::core::Namespace;
use kube_api::manifest::{Options, Validate, read};
use kube_api::{Api, ApiConfig, Metadata};
use libfuzzer_sys::fuzz_target;

fn apply(api: &mut Api, bytes: &[u8], validate: Validate) {
    for found in read(api, "f.yaml", bytes, &Options { validate, namespace: None }) {
        let manifest = match found {
            Ok(manifest) => manifest,
            Err(refusal) => {
                assert!(!refusal.message.is_empty() && !refusal.places.is_empty());
                continue;
            }
        };
        let Ok(object) = api.object(manifest.kind.id, manifest.value.clone()) else { continue };
        let (kind, namespace, name) = (manifest.kind.id, &manifest.namespace, &manifest.name);
        let result = match api.store().get_any(kind, namespace, name) {
            Some(_) => api.update(object),
            None => api.create(object, Instant::ZERO),
        };
        match result {
            Ok(object) => {
                let (namespace, name) = (object.namespace(), object.name());
                api.provenance_mut().set(kind, namespace, name, manifest.origin());
                // What is printed is read again.
                let again = api.object(kind, object.to_value());
                assert!(again.is_ok(), "{again:?}");
            }
            Err(status) => assert!(!manifest.places(&status).is_empty()),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut api = Api::new(ApiConfig::default(), Rng::new(1));
    let mut namespace = Namespace::default();
    namespace.metadata_mut().name = Some("default".to_string());
    assert!(api.create_typed(namespace, Instant::ZERO).is_ok());
    apply(&mut api, bytes, Validate::Strict);
    apply(&mut api, bytes, Validate::Ignore);
});
