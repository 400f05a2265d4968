//! The types against k8s-openapi's: the same names of types and fields, and nothing lost on the way through
//! them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

use base::tree::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use kube_api::schema::{Schema, Type};
use kube_api::{Api, ApiConfig, Resource, decode, from_value, to_value, yaml};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Calls `$check::<ours, theirs>(…)` for every typed kind.
macro_rules! for_each_kind {
    ($check:ident($($argument:expr),*)) => {
        for_each_kind!(@ $check ($($argument),*)
            apps::ControllerRevision apps::DaemonSet apps::Deployment apps::ReplicaSet apps::StatefulSet
            batch::CronJob batch::Job core::Endpoints core::Event core::Namespace core::Node core::Pod
            core::ReplicationController core::Service discovery::EndpointSlice
            networking::Ingress networking::IngressClass networking::NetworkPolicy
            policy::PodDisruptionBudget)
    };
    (@ $check:ident $arguments:tt $($group:ident::$kind:ident)*) => {
        $(for_each_kind!(# $check $arguments $group $kind);)*
    };
    (# $check:ident ($($argument:expr),*) $group:ident $kind:ident) => {
        $check::<kube_api::$group::$kind, k8s_openapi::api::$group::v1::$kind>($($argument),*)
    };
}

/// What the checks ask of both: ours and k8s-openapi's.
trait Both: Debug + Serialize + DeserializeOwned + PartialEq + Clone {}
impl<T: Debug + Serialize + DeserializeOwned + PartialEq + Clone> Both for T {}

/// A value of a type with every field it can have.
fn everything(ty: Type) -> Value {
    match ty {
        Type::String => json!("text"),
        Type::Bool => json!(true),
        Type::I32 => json!(7),
        Type::I64 => json!(7_000_000_000_i64),
        Type::F64 => json!(0.5),
        Type::Bytes => json!("YWJj"),
        Type::Time => json!("2026-01-05T09:00:00Z"),
        Type::MicroTime => json!("2026-01-05T09:00:00.000001Z"),
        Type::IntOrString => json!("http"),
        Type::Quantity => json!("100m"),
        Type::Any => json!({"any": [1, null]}),
        Type::List(item) => json!([everything(Type::parse(item)), everything(Type::parse(item))]),
        Type::Map(value) => json!({"key": everything(Type::parse(value))}),
        Type::Object(name) => {
            let fields = Schema::get().fields(name).unwrap_or_default();
            let pairs = fields.iter().map(|field| (field.name.to_string(), everything(field.ty)));
            let mut value = Value::Object(pairs.collect());
            // The one kind that stands inside another, in a StatefulSet.
            if name == "core/v1.PersistentVolumeClaim" {
                value["apiVersion"] = json!("v1");
                value["kind"] = json!("PersistentVolumeClaim");
            }
            value
        }
    }
}

/// An object of a kind with every field it can have.
fn whole_object<Ours: Resource>() -> Value {
    let kind = Schema::get().kind(Ours::API_VERSION, Ours::KIND).unwrap();
    let mut value = everything(Type::Object(kind.type_name));
    value["apiVersion"] = json!(Ours::API_VERSION);
    value["kind"] = json!(Ours::KIND);
    value
}

/// The fields of every type in a value that is printed with `{:#?}`.
fn fields_by_type(value: &impl Debug) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut open: Vec<String> = Vec::new();
    for line in format!("{value:#?}").lines().map(str::trim) {
        if line.starts_with('}') {
            open.pop();
            continue;
        }
        let field =
            line.split_once(": ").map(|(name, _)| name).filter(|name| !name.starts_with('"'));
        if let (Some(name), Some(of)) = (field, open.last()) {
            found.entry(of.clone()).or_default().insert(name.to_string());
        }
        if let Some(line) = line.strip_suffix('{') {
            let name = line.trim().rsplit([' ', '(']).next().unwrap_or_default();
            open.push(name.to_string());
        }
    }
    found.remove("");
    found
}

fn same_names<Ours: Both + Resource, Theirs: Both>(types: &mut usize) {
    let value = whole_object::<Ours>();
    let ours: Ours = serde_json::from_value(value.clone()).unwrap();
    let theirs: Theirs = serde_json::from_value(value).unwrap();
    let theirs = fields_by_type(&theirs);
    for (name, mut fields) in fields_by_type(&ours) {
        if name == "Object" {
            continue; // What is kept as JSON.
        }
        let upstream = theirs.get(&name).unwrap_or_else(|| panic!("no type is called {name}"));
        let is_partial = fields.remove("rest");
        let unknown: Vec<_> = fields.difference(upstream).collect();
        assert!(unknown.is_empty(), "{name} upstream has no {unknown:?}");
        let missing: Vec<_> = upstream.difference(&fields).collect();
        assert_eq!(missing.is_empty(), !is_partial, "{name} has no {missing:?}: it needs `rest`");
        *types += 1;
    }
}

#[test]
fn types_and_fields_have_upstream_s_names() {
    let mut types = 0;
    for_each_kind!(same_names(&mut types));
    assert!(types > 70, "{types} types compared");
}

/// Both make the same of a value. k8s-openapi's is what the API server's own decoder would make of it.
fn same_value<Ours: Both + Resource + kube_api::types::Typed, Theirs: Both>(
    value: &Value,
    place: &str,
    compared: &mut usize,
) {
    if value["apiVersion"] != Ours::API_VERSION || value["kind"] != Ours::KIND {
        return;
    }
    let theirs: Theirs = serde_json::from_value(value.clone()).unwrap();
    // What says nothing is left out here as the server leaves it out; k8s-openapi keeps it.
    let theirs = serde_json::to_value(&theirs).unwrap();
    let kind = theirs.as_object().map(|all| (all["apiVersion"].clone(), all["kind"].clone()));
    let mut theirs = kube_api::shape::fit(theirs, Ours::TYPE).unwrap();
    let (api_version, name) = kind.unwrap();
    (theirs["apiVersion"], theirs["kind"]) = (api_version, name);
    let ours: Ours = from_value(value.clone()).unwrap();
    assert_eq!(to_value(&ours), theirs, "{place}");
    let again: Ours = from_value(theirs.clone()).unwrap();
    assert!(again == ours, "{place}");
    assert_eq!(serde_json::to_value(&again).unwrap(), theirs, "{place}");
    *compared += 1;
}

fn check_whole<Ours: Both + Resource + kube_api::types::Typed, Theirs: Both>(compared: &mut usize) {
    let mut value = whole_object::<Ours>();
    same_value::<Ours, Theirs>(&value, Ours::KIND, compared);
    // With what the schema does not know, without what every object of its type has, and with nulls.
    strip(&mut value, &mut 0);
    same_value::<Ours, Theirs>(&value, Ours::KIND, compared);
    let bare = json!({"apiVersion": Ours::API_VERSION, "kind": Ours::KIND});
    same_value::<Ours, Theirs>(&bare, Ours::KIND, compared);
}

/// Takes some fields away, makes others null, and adds one that nobody knows.
fn strip(value: &mut Value, count: &mut u32) {
    match value {
        Value::Object(map) => {
            let names: Vec<String> = map.keys().cloned().collect();
            for name in names {
                *count += 1;
                // What is free-form, what says which kind it is, and the one time that k8s-openapi insists on
                // stay.
                if ["apiVersion", "kind", "any", "key", "lastTransitionTime"]
                    .contains(&name.as_str())
                {
                    continue;
                }
                match *count % 5 {
                    0 => drop(map.remove(&name)),
                    1 => drop(map.insert(name, Value::Null)),
                    _ => map.get_mut(&name).into_iter().for_each(|value| strip(value, count)),
                }
            }
            if !map.contains_key("any") && !map.contains_key("key") {
                map.insert("nobodyKnows".to_string(), json!({"x": 1}));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, count)),
        _ => {}
    }
}

#[test]
fn nothing_is_lost_of_an_object_with_every_field() {
    let mut compared = 0;
    for_each_kind!(check_whole(&mut compared));
    assert_eq!(compared, 57);
}

/// All files that end in `.yaml`, under a directory.
fn manifests(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            manifests(&path, found);
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml")
            && let Ok(text) = fs::read_to_string(&path)
        {
            found.push((path.display().to_string(), text));
        }
    }
}

#[test]
fn manifests_that_people_write_come_through() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for dir in ["www/samples", "tests", "../shared/corpus/files"] {
        manifests(&root.join(dir), &mut files);
    }
    let mut compared = 0;
    for (place, text) in &files {
        for document in yaml::documents(text) {
            let Ok(Some(node)) = document.content else { continue };
            let word =
                |name: &str| node.get(name).and_then(|node| node.as_str()).unwrap_or_default();
            let Some(kind) = Schema::get().kind(word("apiVersion"), word("kind")) else { continue };
            let value = decode::decode(&node, kind).value;
            for_each_kind!(same_value(&value, place, &mut compared));
        }
    }
    println!("{compared} objects of {} files", files.len());
    assert!(compared > 0);
}

#[test]
fn a_value_of_the_wrong_type_is_an_error() {
    let api = Api::new(ApiConfig::default(), base::Rng::new(1));
    let service = |spec: Value| {
        let mut value = Map::new();
        value.insert("spec".to_string(), spec);
        let kind = api.store().kinds().by_name("services").unwrap().id;
        api.object(kind, Value::Object(value)).map_err(|error| error.message)
    };
    let refused = |what: &str| {
        Err(format!(
            "Service in version \"v1\" cannot be handled as a Service: json: cannot {what}"
        ))
    };
    let check = |spec: Value, what: &str| assert_eq!(service(spec).map(drop), refused(what));
    check(json!({"ports": 80}), "unmarshal number into Go value of type []v1.ServicePort");
    check(json!({"ports": [{"port": "80"}]}), "unmarshal string into Go value of type int32");
    check(json!({"ports": [{"port": 1.5}]}), "unmarshal number 1.5 into Go value of type int32");
    check(json!({"selector": {"a": null}}), "unmarshal null into Go value of type string");
    check(json!("x"), "unmarshal string into Go value of type v1.ServiceSpec");
    // Also where podwire has no type of its own for it.
    check(json!({"loadBalancerIP": 5}), "unmarshal number into Go value of type string");
    assert!(
        service(json!({"ports": [{"port": 80, "targetPort": null}], "nobodyKnows": 1})).is_ok()
    );
}
