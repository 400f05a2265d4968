//! What people ask of the API server: versions, names, dry runs, managers, deletion.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use base::{Instant, Rng};
use expect_test::{Expect, expect};
use kube_api::core::{Namespace, Pod, Service};
use kube_api::{AnyObject, Api, ApiConfig, DeleteOptions, Kind, Patch, Request, Status};
use serde_json::{Value, json};

fn api() -> Api {
    let mut api = Api::new(ApiConfig::default(), Rng::new(1));
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("default".into());
    api.create_typed(namespace, Instant::ZERO).unwrap();
    api
}

fn request() -> Request<'static> {
    Request::new("test", Instant::ZERO)
}

fn create(api: &mut Api, value: Value) -> Result<AnyObject, Status> {
    let text = |field: &str| value[field].as_str().unwrap().to_string();
    let kind = api.store().kinds().find(&text("apiVersion"), &text("kind")).unwrap().id;
    let object = api.object(kind, value)?;
    api.create_for(object, &request())
}

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

fn patch(api: &mut Api, kind: &str, name: &str, patch: Value) -> Result<AnyObject, Status> {
    let kind = api.store().kinds().by_name(kind).unwrap().id;
    api.patch(kind, "default", name, &Patch::Merge(patch), &request())
}

fn check(found: impl ToString, expected: Expect) {
    expected.assert_eq(&found.to_string());
}

#[test]
fn generation_rises_with_what_users_ask_for() {
    let mut api = api();
    create(&mut api, deployment("web")).unwrap();
    create(&mut api, service("web", json!({"ports": [{"port": 80}]}))).unwrap();
    let pdb = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": 1}});
    create(&mut api, pdb).unwrap();
    for (kind, change, expected) in [
        ("deploy", json!({"spec": {"replicas": 2}}), Some(2)),
        ("deploy", json!({"spec": {"replicas": 2}}), Some(2)),
        ("deploy", json!({"metadata": {"labels": {"x": "y"}}}), Some(2)),
        // Of all kinds only a Deployment counts annotations.
        ("deploy", json!({"metadata": {"annotations": {"x": "y"}}}), Some(3)),
        // The status has a way of its own.
        ("deploy", json!({"status": {"replicas": 7}}), Some(3)),
        ("pdb", json!({"spec": {"minAvailable": 2}}), Some(2)),
        ("pdb", json!({"metadata": {"annotations": {"x": "y"}}}), Some(2)),
        ("svc", json!({"spec": {"ports": [{"port": 81}]}}), None),
    ] {
        let after = patch(&mut api, kind, "web", change.clone()).unwrap();
        assert_eq!(after.meta().generation, expected, "{kind} {change}");
    }
    let kind = api.store().kinds().by_name("deploy").unwrap().id;
    let mut status = request();
    status.subresource = "status";
    let change = Patch::Merge(json!({"status": {"replicas": 7}, "spec": {"replicas": 9}}));
    let after = api.patch(kind, "default", "web", &change, &status).unwrap().to_value();
    assert_eq!((&after["status"]["replicas"], &after["spec"]["replicas"]), (&json!(7), &json!(2)));
    assert_eq!(after["metadata"]["generation"], 3);
    // A binding is no change that anybody asked for.
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    create(&mut api, pod).unwrap();
    api.modify::<Pod>("default", "p", |pod| {
        pod.spec.get_or_insert_default().node_name = Some("n".into());
    });
    let pod = api.store().get::<Pod>("default", "p").unwrap().clone();
    assert_eq!(pod.metadata.generation, Some(1));
    // The wish to delete is one.
    let marked =
        api.delete(Pod::id(), "default", "p", DeleteOptions::default(), Instant::ZERO).unwrap();
    assert_eq!(marked.meta().generation, Some(2));
}

#[test]
fn a_status_is_not_for_users_to_say() {
    let mut api = api();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}, "status": {"phase": "Running", "podIP": "1.2.3.4"}});
    let made = create(&mut api, pod).unwrap().to_value();
    assert_eq!(made["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Bound"}});
    assert_eq!(create(&mut api, claim).unwrap().to_value()["status"], json!({"phase": "Pending"}));
}

#[test]
fn who_has_an_old_version_is_told() {
    let mut api = api();
    let old = create(&mut api, deployment("web")).unwrap();
    patch(&mut api, "deploy", "web", json!({"spec": {"replicas": 2}})).unwrap();
    check(
        api.update_for(old.clone(), &request()).unwrap_err(),
        expect![[
            r#"Error from server (Conflict): Operation cannot be fulfilled on deployments.apps "web": the object has been modified; please apply your changes to the latest version and try again"#
        ]],
    );
    let mut another = old;
    another.meta_mut().resource_version = None;
    another.meta_mut().uid = Some("another".into());
    assert!(
        api.update_for(another, &request())
            .unwrap_err()
            .message
            .contains("Precondition failed: UID in precondition: another")
    );
    let kind = api.store().kinds().by_name("deploy").unwrap().id;
    let mut delete = |options| {
        api.delete(kind, "default", "web", options, Instant::ZERO).unwrap_err().to_string()
    };
    let uid = delete(DeleteOptions { uid: Some("x".into()), ..Default::default() });
    assert!(
        uid.contains("the UID in the precondition (x) does not match the UID in record ("),
        "{uid}"
    );
    let options = DeleteOptions { resource_version: Some("1".into()), ..Default::default() };
    check(
        delete(options),
        expect![[
            r#"Error from server (Conflict): Operation cannot be fulfilled on deployments.apps "web": the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (3). The object might have been modified"#
        ]],
    );
}

#[test]
fn a_dry_run_validates_and_leaves_nothing() {
    let mut api = api();
    let dry = request().dry(true);
    let spec = json!({"type": "NodePort", "clusterIP": "10.96.9.9", "ports": [{"port": 80, "nodePort": 30080}]});
    let object = |api: &Api, value| api.object(Service::id(), value).unwrap();
    let before = api.store().revision();
    for _ in 0..2 {
        let wanted = object(&api, service("web", spec.clone()));
        let made = api.create_for(wanted, &dry).unwrap().to_value();
        assert_eq!(made["spec"]["ports"][0]["nodePort"], 30080);
        assert_eq!(made["metadata"]["generation"], Value::Null);
    }
    let bad = object(&api, service("web", json!({"ports": [{"port": 0}]})));
    assert!(api.create_for(bad, &dry).is_err());
    assert_eq!(api.store().revision(), before);
    // What was tried is free, and what is held stays held.
    create(&mut api, service("web", spec)).unwrap();
    let change = Patch::Merge(json!({"spec": {"ports": [{"port": 80, "nodePort": 30081}]}}));
    let tried = api.patch(Service::id(), "default", "web", &change, &dry).unwrap().to_value();
    assert_eq!(tried["spec"]["ports"][0]["nodePort"], 30081);
    for (port, is_free) in [(30080, false), (30081, true)] {
        let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
        assert_eq!(create(&mut api, service(&format!("p{port}"), spec)).is_ok(), is_free);
    }
    let options = DeleteOptions { dry_run: true, ..Default::default() };
    api.delete(Service::id(), "default", "web", options, Instant::ZERO).unwrap();
    assert!(api.store().get::<Service>("default", "web").is_some());
}

#[test]
fn generated_names_are_of_five_letters_and_new() {
    let mut api = api();
    let made = |api: &mut Api, prefix: &str| {
        let value =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": prefix}});
        create(api, value).map(|object| object.name().to_string())
    };
    let mut names: Vec<String> = (0..200).map(|_| made(&mut api, "web-").unwrap()).collect();
    for name in &names {
        let end = name.strip_prefix("web-").unwrap();
        assert!(
            end.len() == 5 && end.chars().all(|c| kube_api::server::NAME_LETTERS.contains(c)),
            "{name}"
        );
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 200);
    let long = made(&mut api, &"x".repeat(80)).unwrap();
    assert_eq!(long.len(), 63);
    check(
        create(&mut api, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}))
            .unwrap_err(),
        expect![[
            r#"The ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required"#
        ]],
    );
}

#[test]
fn what_chance_gives_a_name_does_not_depend_on_others() {
    let name = |before: usize| {
        let mut api = api();
        for n in 0..before {
            create(&mut api, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("s{n}")}})).unwrap();
        }
        let value =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "web-"}});
        let made = create(&mut api, value).unwrap();
        (made.name().to_string(), made.meta().uid.clone())
    };
    assert_eq!(name(0), name(9));
}

#[test]
fn the_server_applies_to_what_is_there_and_what_is_not() {
    let mut api = api();
    let apply = |api: &mut Api, manager: &str, config: Value, force| {
        let kind = api.store().kinds().by_name("cm").unwrap().id;
        let request = Request::new(manager, Instant::ZERO);
        api.patch(kind, "default", "c", &Patch::Apply { config, force }, &request)
    };
    let config = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}, "data": data});
    apply(&mut api, "one", config(json!({"a": "1", "b": "1"})), false).unwrap();
    apply(&mut api, "two", config(json!({"a": "1", "c": "2"})), false).unwrap();
    check(
        apply(&mut api, "two", config(json!({"b": "2"})), false).unwrap_err(),
        expect![[
            r#"Error from server (Conflict): Apply failed with 1 conflict: conflict with "one": .data.b"#
        ]],
    );
    let after = apply(&mut api, "one", config(json!({"b": "1"})), false).unwrap().to_value();
    // `a` is still the other's.
    assert_eq!(after["data"], json!({"a": "1", "b": "1", "c": "2"}));
    let version = after["metadata"]["resourceVersion"].clone();
    let again = apply(&mut api, "one", config(json!({"b": "1"})), false).unwrap().to_value();
    assert_eq!(again["metadata"]["resourceVersion"], version);
}
