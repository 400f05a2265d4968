//! `kubectl set image | env | resources | selector | serviceaccount` (`kubectl/pkg/cmd/set`).

use base::Items as _;
use kube_api::KindInfo;
use serde_json::{Map, Value, json};

use super::kube::{Fail, Kube, error};
use super::output::{Change, Told, change_all};
use super::target::objects;
use crate::flags::Args;

/// `kubectl set WHAT TYPE/NAME …`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let Some((verb, words)) = args.words.split_first() else {
        kube.out("Configure application resources.\n\nAvailable Commands:\n  env              Update environment variables on a pod template\n  image            Update the image of a pod template\n  resources        Update resource requests/limits on objects with pod templates\n  selector         Set the selector on a resource\n  serviceaccount   Update the service account of a resource\n").await?;
        return Ok(0);
    };
    let takes_pairs = matches!(verb.as_str(), "image" | "env" | "selector");
    let is_pair = |word: &&String| {
        takes_pairs && (word.contains('=') || (verb == "env" && word.ends_with('-')))
    };
    let (pairs, words): (Vec<&String>, Vec<&String>) = words.iter().partition(is_pair);
    let mut words: Vec<String> = words.into_iter().cloned().collect();
    let containers = args.get("containers").unwrap_or("*").to_string();
    let mut change: Box<Change<'_>> = match verb.as_str() {
        "image" => {
            if pairs.is_empty() {
                return Err(error("at least one image update is required"));
            }
            Box::new(move |kind, value| image(kind, value, &pairs))
        }
        "env" => {
            if args.get("from").is_some() {
                return Err(kube.unsupported("'set env --from'"));
            }
            if args.is_on("list") {
                return list_env(kube, args, &words).await;
            }
            let pairs: Vec<String> = pairs
                .into_iter()
                .cloned()
                .chain(args.each("env").into_iter().map(str::to_string))
                .collect();
            if pairs.is_empty() {
                return Err(error("at least one environment variable must be provided"));
            }
            Box::new(move |kind, value| env(kind, value, &pairs, &containers))
        }
        "resources" => {
            let limits = quantities(args.get("limits"))?;
            let requests = quantities(args.get("requests"))?;
            if limits.is_empty() && requests.is_empty() {
                return Err(error(
                    "you must specify an update to requests or limits (in the form of --requests/--limits)",
                ));
            }
            Box::new(move |kind, value| resources(kind, value, &limits, &requests, &containers))
        }
        "selector" => {
            let [expression] = pairs.as_slice() else {
                return Err(error("one selector is required"));
            };
            let selector = labels(expression)?;
            Box::new(move |kind, value| {
                if kind.plural != "services" {
                    return Err(error("setting a selector is only supported for Services"));
                }
                let is_same = value.pointer("/spec/selector") == Some(&selector);
                super::scale::set(value, "/spec", "selector", selector.clone());
                Ok((!is_same).then_some("selector updated"))
            })
        }
        "serviceaccount" | "sa" => {
            let Some(account) = words.pop().filter(|_| !words.is_empty()) else {
                return Err(error("serviceaccount is required"));
            };
            Box::new(move |kind, value| {
                let spec = pod_spec(kind, value)?;
                let account = Value::from(account.clone());
                if let Some(spec) = spec.as_object_mut() {
                    spec.insert("serviceAccountName".to_string(), account.clone());
                    spec.insert("serviceAccount".to_string(), account);
                }
                Ok(Some("serviceaccount updated"))
            })
        }
        "subject" => return Err(kube.unsupported("'set subject'")),
        other => return Err(error(format!("unknown command {other:?}"))),
    };
    let mut told = Told::new(kube, args, "kubectl-set")?;
    let (found, all_there) = objects(kube, args, &words).await?;
    let code = change_all(kube, &mut told, &found, &mut *change).await?;
    told.end().await?;
    Ok(if all_there { code } else { 1 })
}

/// The spec of an object's Pods (`polymorphichelpers.UpdatePodSpecForObject`).
fn pod_spec<'a>(kind: &KindInfo, value: &'a mut Value) -> Result<&'a mut Value, Fail> {
    let at = match kind.plural.as_str() {
        "pods" => "/spec",
        "cronjobs" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    let missing =
        || error(format!("the object is not a pod or does not have a pod template: {}", kind.kind));
    value.pointer_mut(at).ok_or_else(missing)
}

/// The containers whose names fit, of init containers too; `*` fits all.
fn containers<'a>(
    kind: &KindInfo,
    value: &'a mut Value,
    fits: &dyn Fn(&str) -> bool,
) -> Result<Vec<&'a mut Map<String, Value>>, Fail> {
    let spec = pod_spec(kind, value)?;
    let mut found = Vec::new();
    let Some(spec) = spec.as_object_mut() else { return Ok(found) };
    for (name, list) in spec {
        let items = match name.as_str() {
            "containers" | "initContainers" => list.as_array_mut(),
            _ => None,
        };
        for container in items.into_iter().flatten().filter_map(Value::as_object_mut) {
            if container.get("name").and_then(Value::as_str).is_some_and(fits) {
                found.push(container);
            }
        }
    }
    Ok(found)
}

fn fits<'a>(pattern: &'a str) -> impl Fn(&str) -> bool + 'a {
    move |name| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

fn image(
    kind: &KindInfo,
    value: &mut Value,
    pairs: &[&String],
) -> Result<Option<&'static str>, Fail> {
    let before = value.clone();
    for pair in pairs {
        let (name, image) = pair.split_once('=').unwrap_or((pair, ""));
        if image.is_empty() {
            return Err(error(format!("invalid image spec: {pair}")));
        }
        let found = containers(kind, value, &fits(name))?;
        if found.is_empty() {
            return Err(error(format!("unable to find container named {name:?}")));
        }
        for container in found {
            container.insert("image".to_string(), image.into());
        }
    }
    Ok((*value != before).then_some("image updated"))
}

fn env(
    kind: &KindInfo,
    value: &mut Value,
    pairs: &[String],
    wanted: &str,
) -> Result<Option<&'static str>, Fail> {
    let before = value.clone();
    let found = containers(kind, value, &fits(wanted))?;
    if found.is_empty() {
        return Err(error(format!(
            "{} {:?} does not have any containers matching {wanted:?}",
            kind.plural,
            before.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
        )));
    }
    for container in found {
        let env = container.entry("env").or_insert_with(|| json!([]));
        let Some(env) = env.as_array_mut() else { continue };
        for pair in pairs {
            let name = pair.split_once('=').map_or(pair.trim_end_matches('-'), |(name, _)| name);
            let is_it = |entry: &Value| entry.get("name").is_some_and(|known| known == name);
            match pair.split_once('=') {
                None => env.retain(|entry| !is_it(entry)),
                Some((_, value)) => {
                    let entry = json!({"name": name, "value": value});
                    match env.iter_mut().find(|entry| is_it(entry)) {
                        Some(old) => *old = entry,
                        None => env.push(entry),
                    }
                }
            }
        }
        if env.is_empty() {
            container.remove("env");
        }
    }
    Ok((*value != before).then_some("env updated"))
}

/// `set env --list`
async fn list_env(kube: &Kube<'_>, args: &Args, words: &[String]) -> Result<i32, Fail> {
    let (found, all_there) = objects(kube, args, words).await?;
    for (kind, object) in &found {
        let mut value = object.to_value();
        for container in containers(kind, &mut value, &|_| true)? {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            let mut text = format!("# {} {}, container {name}\n", kind.plural, object.name());
            for entry in container.get("env").and_then(Value::as_array).items() {
                let field =
                    |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
                let (name, value) = (field("name"), field("value"));
                text.push_str(&match entry.get("valueFrom") {
                    Some(from) => format!("# {name} from {from}\n"),
                    None => format!("{name}={value}\n"),
                });
            }
            kube.out(text).await?;
        }
    }
    Ok(i32::from(!all_there))
}

/// `cpu=200m,memory=512Mi`
pub(super) fn quantities(text: Option<&str>) -> Result<Map<String, Value>, Fail> {
    let mut found = Map::new();
    for part in text.unwrap_or_default().split(',').filter(|part| !part.is_empty()) {
        let (name, amount) = part.split_once('=').ok_or_else(|| {
            error(format!("invalid argument syntax {part:?}, expected <resource>=<value>"))
        })?;
        if kube_api::quantity::Quantity::parse(amount).is_none() {
            return Err(error(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ));
        }
        found.insert(name.to_string(), amount.into());
    }
    Ok(found)
}

fn resources(
    kind: &KindInfo,
    value: &mut Value,
    limits: &Map<String, Value>,
    requests: &Map<String, Value>,
    wanted: &str,
) -> Result<Option<&'static str>, Fail> {
    let before = value.clone();
    let found = containers(kind, value, &fits(wanted))?;
    if found.is_empty() {
        return Err(error(format!("unable to find container named {wanted}")));
    }
    for container in found {
        let resources = container.entry("resources").or_insert_with(|| json!({}));
        for (field, amounts) in [("limits", limits), ("requests", requests)] {
            for (name, amount) in amounts {
                super::scale::set(resources, &format!("/{field}"), name, amount.clone());
            }
        }
    }
    Ok((*value != before).then_some("resource requirements updated"))
}

fn labels(text: &str) -> Result<Value, Fail> {
    let mut labels = Map::new();
    for part in text.split(',') {
        let wrong = || error(format!("invalid label requirement: {part}"));
        let (key, value) = part.split_once('=').ok_or_else(wrong)?;
        labels.insert(key.to_string(), value.into());
    }
    Ok(Value::Object(labels))
}
