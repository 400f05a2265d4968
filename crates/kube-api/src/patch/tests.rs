//! Patches by table, and what holds of every sequence of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{json as json_patch, json_merge, strategic, three_way};

const DEPLOYMENT: &str = "apps/v1.Deployment";
const POD: &str = "core/v1.Pod";
const SERVICE: &str = "core/v1.Service";

fn pod(spec: Value) -> Value {
    json!({"spec": spec})
}

fn template(containers: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": containers}}}})
}

/// Applies `modified` after `original`; the patch that is sent, and what comes of it.
fn apply(ty: &'static str, original: &Value, modified: &Value, current: &Value) -> (Value, Value) {
    let patch = three_way(original, modified, current, Some(ty)).unwrap();
    let mut after = current.clone();
    strategic(&mut after, patch.clone(), ty).unwrap();
    (patch, after)
}

#[test]
fn what_apply_sends_and_what_comes_of_it() {
    let a = |image: &str| json!({"name": "a", "image": image});
    let cases = [
        (
            "what others added stays and what was taken out goes",
            DEPLOYMENT,
            json!({"spec": {"replicas": 2, "paused": true}}),
            json!({"spec": {"replicas": 3}}),
            json!({"spec": {"replicas": 2, "paused": true, "revisionHistoryLimit": 10}}),
            json!({"spec": {"replicas": 3, "paused": null}}),
            json!({"spec": {"replicas": 3, "revisionHistoryLimit": 10}}),
        ),
        (
            "containers by name",
            DEPLOYMENT,
            template(json!([a("nginx:1"), {"name": "gone", "image": "x"}])),
            template(json!([a("nginx:2")])),
            template(json!([{"name": "a", "image": "nginx:1", "imagePullPolicy": "Always"},
                {"name": "gone", "image": "x"}, {"name": "sidecar", "image": "y"}])),
            json!({"spec": {"template": {"spec": {
                "$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"image": "nginx:2", "name": "a"}, {"$patch": "delete", "name": "gone"}]}}}}),
            template(json!([{"name": "a", "image": "nginx:2", "imagePullPolicy": "Always"},
                {"name": "sidecar", "image": "y"}])),
        ),
        (
            "a port without its node port keeps the one it was given",
            SERVICE,
            json!({"spec": {"ports": [{"port": 80}]}}),
            json!({"spec": {"ports": [{"port": 80}]}}),
            json!({"spec": {"ports": [{"port": 80, "targetPort": 80, "nodePort": 30123}]}}),
            json!({}),
            json!({"spec": {"ports": [{"port": 80, "targetPort": 80, "nodePort": 30123}]}}),
        ),
        (
            "the order of what is applied counts",
            POD,
            pod(json!({"containers": [a("1"), {"name": "b"}]})),
            pod(json!({"containers": [{"name": "b"}, a("1")]})),
            pod(json!({"containers": [a("1"), {"name": "x"}, {"name": "b"}]})),
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
            pod(json!({"containers": [{"name": "x"}, {"name": "b"}, a("1")]})),
        ),
        (
            "another kind of volume",
            POD,
            pod(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
            pod(json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]})),
            pod(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
            json!({"spec": {"$setElementOrder/volumes": [{"name": "v"}],
                "volumes": [{"$retainKeys": ["configMap", "name"], "configMap": {"name": "c"}, "emptyDir": null, "name": "v"}]}}),
            pod(json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]})),
        ),
        (
            "another strategy",
            DEPLOYMENT,
            json!({"spec": {}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        ),
        (
            "finalizers are a set",
            DEPLOYMENT,
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["b", "c"]}}),
            json!({"metadata": {"finalizers": ["a", "b", "z"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"],
                "$setElementOrder/finalizers": ["b", "c"], "finalizers": ["c"]}}),
            json!({"metadata": {"finalizers": ["b", "c", "z"]}}),
        ),
        (
            "lists without a key are replaced",
            POD,
            pod(json!({"tolerations": [{"key": "a"}]})),
            pod(json!({"tolerations": [{"key": "b"}]})),
            pod(json!({"tolerations": [{"key": "a"}, {"key": "x"}]})),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
            pod(json!({"tolerations": [{"key": "b"}]})),
        ),
        (
            "a budget's selector is sent every time",
            "policy/v1.PodDisruptionBudget",
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
        ),
    ];
    for (what, ty, original, modified, current, patch, after) in cases {
        let found = apply(ty, &original, &modified, &current);
        assert_eq!(found, (patch, after), "{what}");
    }
}

#[test]
fn a_kind_without_a_schema_is_merged_as_json() {
    let original = json!({"spec": {"list": [{"name": "a"}], "old": 1}});
    let modified = json!({"spec": {"list": [{"name": "b"}]}});
    let current = json!({"spec": {"list": [{"name": "a"}, {"name": "x"}], "old": 1, "theirs": 2}});
    let patch = three_way(&original, &modified, &current, None).unwrap();
    assert_eq!(patch, json!({"spec": {"list": [{"name": "b"}], "old": null}}));
    let mut after = current;
    json_merge(&mut after, patch);
    assert_eq!(after, json!({"spec": {"list": [{"name": "b"}], "theirs": 2}}));
}

#[test]
fn strategic_patches_that_people_write() {
    let live =
        || template(json!([{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}]));
    let at = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    for (patch, expected) in [
        (
            at(json!({"containers": [{"name": "b", "image": "2"}]})),
            Ok(
                json!([{"name": "b", "image": "2"}, {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}]),
            ),
        ),
        (
            at(json!({"containers": [{"name": "a", "env": [{"name": "X", "$patch": "delete"}]}]})),
            Ok(json!([{"name": "a", "image": "1", "env": []}])),
        ),
        (
            at(json!({"containers": [{"name": "z"}, {"$patch": "replace"}]})),
            Ok(json!([{"name": "z"}])),
        ),
        (
            at(json!({"containers": [{"name": "a", "$patch": "replace", "image": "9"}]})),
            Ok(json!([])),
        ),
        (
            at(json!({"containers": [{"image": "2"}]})),
            Err("map: map[image:2] does not contain declared merge key: name"),
        ),
        (
            at(json!({"containers": [{"name": "a", "$patch": "nonsense"}]})),
            Err("unknown patch type: nonsense in map: map[$patch:nonsense name:a]"),
        ),
        (at(json!({"$patch": "what"})), Err("unknown patch type: what in map: map[]")),
    ] {
        let mut after = live();
        let found = strategic(&mut after, patch.clone(), DEPLOYMENT);
        let found =
            found.map(|()| after.pointer("/spec/template/spec/containers").unwrap().clone());
        assert_eq!(found.map_err(|error| error.0), expected.map_err(str::to_string), "{patch}");
    }
}

#[test]
fn json_patches() {
    let check = |patch: Value, expected: Result<Value, &str>| {
        let mut target = json!({"a": {"b": [1, 2]}, "c/d": 1, "n": null});
        let found = json_patch::apply(&mut target, &patch).map(|()| target);
        assert_eq!(found.map_err(|error| error.0), expected.map_err(str::to_string), "{patch}");
    };
    let whole = |b: Value| Ok(json!({"a": {"b": b}, "c/d": 1, "n": null}));
    check(json!([{"op": "add", "path": "/a/b/-", "value": 3}]), whole(json!([1, 2, 3])));
    check(json!([{"op": "add", "path": "/a/b/0", "value": 0}]), whole(json!([0, 1, 2])));
    check(json!([{"op": "replace", "path": "/a/b/1", "value": 9}]), whole(json!([1, 9])));
    check(json!([{"op": "remove", "path": "/a/b/0"}]), whole(json!([2])));
    check(json!([{"op": "test", "path": "/a/b/0", "value": 1}]), whole(json!([1, 2])));
    check(json!([{"op": "copy", "from": "/a/b/0", "path": "/a/b/-"}]), whole(json!([1, 2, 1])));
    check(
        json!([{"op": "move", "from": "/c~1d", "path": "/e"}]),
        Ok(json!({"a": {"b": [1, 2]}, "e": 1, "n": null})),
    );
    for (patch, error) in [
        (
            json!([{"op": "test", "path": "/a/b/0", "value": 2}]),
            "testing value /a/b/0 failed: test failed",
        ),
        (
            json!([{"op": "remove", "path": "/x"}]),
            "remove operation does not apply: doc is missing path: \"/x\": missing value",
        ),
        (
            json!([{"op": "replace", "path": "/a/b/2", "value": 1}]),
            "replace operation does not apply: doc is missing path: \"/a/b/2\": missing value",
        ),
        (
            json!([{"op": "add", "path": "/a/b/03", "value": 1}]),
            "add operation does not apply: doc is missing path: \"/a/b/03\": missing value",
        ),
        (
            json!([{"op": "move", "from": "/a", "path": "/a/b"}]),
            "move operation does not apply: doc is missing path: \"/a/b\": missing value",
        ),
        (json!([{"op": "frob", "path": "/a"}]), "Unexpected kind: frob"),
        (
            json!({"op": "add"}),
            "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch",
        ),
    ] {
        check(patch, Err(error));
    }
}

#[test]
fn copies_of_copies_come_to_an_end() {
    let copy = json!({"op": "copy", "from": "/a", "path": "/a/-"});
    let mut target = json!({"a": ["x".repeat(100)]});
    let error = json_patch::apply(&mut target, &json!(vec![copy; 100])).unwrap_err().0;
    assert!(error.starts_with("Unable to complete the copy"), "{error}");
    assert_eq!(target, json!({"a": ["x".repeat(100)]}));
}

/// A manifest of a Deployment that names some of all that it could.
fn manifests() -> impl Strategy<Value = Value> {
    let env = proptest::collection::btree_map("[A-C]", "[0-9]", 0..3);
    let container = (proptest::option::of("[x-z]"), env, proptest::option::of(0..3i64));
    let containers = proptest::collection::btree_map("[a-d]", container, 1..4);
    let labels = proptest::collection::btree_map("[k-n]", "[0-9]", 0..3);
    let scalars = (proptest::option::of(0..4i64), proptest::option::of(any::<bool>()));
    (containers, labels, scalars, any::<bool>(), any::<bool>()).prop_map(
        |(containers, labels, (replicas, paused), is_reversed, is_recreated)| {
            let mut list: Vec<Value> = Vec::new();
            for (name, (image, env, port)) in containers {
                let mut container = json!({"name": name});
                if let Some(image) = image {
                    container["image"] = image.into();
                }
                if !env.is_empty() {
                    let entry = |(name, value)| json!({"name": name, "value": value});
                    container["env"] = env.into_iter().map(entry).collect();
                }
                if let Some(port) = port {
                    container["ports"] = json!([{"containerPort": port}]);
                }
                list.push(container);
            }
            if is_reversed {
                list.reverse();
            }
            let mut manifest = template(list.into());
            manifest["metadata"] = json!({"labels": labels});
            for (name, value) in
                [("replicas", replicas.map(Value::from)), ("paused", paused.map(Value::from))]
            {
                if let Some(value) = value {
                    manifest["spec"][name] = value;
                }
            }
            if is_recreated {
                manifest["spec"]["strategy"] = json!({"type": "Recreate"});
            }
            manifest
        },
    )
}

/// What a manifest says is there: `wanted` is contained in `found`, and what it does not say any more, and
/// said before, is not.
fn holds(wanted: &Value, before: Option<&Value>, found: &Value, at: &str) {
    match (wanted, found) {
        (Value::Object(fields), Value::Object(live)) => {
            for (name, value) in fields {
                let live = live.get(name).unwrap_or_else(|| panic!("{at}.{name} is missing"));
                holds(value, before.and_then(|b| b.get(name)), live, &format!("{at}.{name}"));
            }
            for name in before.and_then(Value::as_object).into_iter().flat_map(|b| b.keys()) {
                let is_said = fields.contains_key(name) || !live.contains_key(name);
                assert!(is_said, "{at}.{name} is still there");
            }
        }
        (Value::Array(items), Value::Array(live)) => {
            let key = |item: &Value| item.get("name").or(item.get("containerPort")).cloned();
            let find = |list: &[Value], wanted: &Value| {
                list.iter().find(|i| key(i) == key(wanted)).cloned()
            };
            let before = before.and_then(Value::as_array).cloned().unwrap_or_default();
            let mut order = live.iter().filter(|item| find(items, item).is_some());
            for item in items {
                let found = order.next().unwrap_or_else(|| panic!("{at}: {item} is missing"));
                holds(item, find(&before, item).as_ref(), found, at);
            }
            for item in before.iter().filter(|item| find(items, item).is_none()) {
                assert!(find(live, item).is_none(), "{at}: {item} is still there");
            }
        }
        (wanted, found) => assert_eq!(wanted, found, "{at}"),
    }
}

proptest! {
    #[test]
    fn after_any_edits_the_last_manifest_holds(edits in proptest::collection::vec(manifests(), 1..6)) {
        let mut live = edits[0].clone();
        // Somebody else has added these.
        live["spec"]["revisionHistoryLimit"] = 10.into();
        live["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap()
            .insert(0, json!({"name": "sidecar", "image": "s"}));
        for pair in edits.windows(2) {
            let (patch, after) = apply(DEPLOYMENT, &pair[0], &pair[1], &live);
            holds(&pair[1], Some(&pair[0]), &after, "");
            prop_assert_eq!(&after["spec"]["revisionHistoryLimit"], 10);
            let containers = after["spec"]["template"]["spec"]["containers"].as_array().unwrap();
            prop_assert!(containers.iter().any(|c| c["name"] == "sidecar"));
            let (again, same) = apply(DEPLOYMENT, &pair[1], &pair[1], &after);
            prop_assert_eq!(same, after.clone(), "{}", patch);
            // Only an order that others disturbed is sent again.
            let text = again.to_string();
            prop_assert!(again == json!({}) || text.contains("$setElementOrder"), "{}", text);
            live = after;
        }
    }

    #[test]
    fn nothing_that_is_sent_is_a_panic(live in manifests(), name in "[$a-z/]{0,30}", value in "[a-z$]{0,8}") {
        for patch in [json!({"spec": {&name: value}}), json!({&name: [value]}), json!({"spec": {&name: [{&name: null}]}})] {
            let _ = strategic(&mut live.clone(), patch.clone(), DEPLOYMENT);
            json_merge(&mut live.clone(), patch);
        }
        let operation = json!([{"op": "add", "path": format!("/spec/{name}"), "value": value}]);
        let _ = json_patch::apply(&mut live.clone(), &operation);
    }
}
