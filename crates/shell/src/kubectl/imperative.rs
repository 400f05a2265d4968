//! `kubectl create TYPE NAME`, `run`, `expose`: objects from flags.

use kube_api::KindInfo;
use serde_json::{Map, Value, json};

use super::apply::{DryRun, create_files};
use super::kube::{Fail, Kube, error};
use super::target::{Filter, find, targets};
use crate::flags::Args;

/// `kubectl create -f … | TYPE NAME …`
pub(crate) async fn create(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    if args.get("filename").is_some() {
        return create_files(kube, args).await;
    }
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    let (value, what) = match words.as_slice() {
        ["namespace" | "ns", name] => (
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
            "created",
        ),
        ["deployment" | "deploy", name] => (deployment(args, name)?, "created"),
        ["service" | "svc", kind @ ("clusterip" | "nodeport" | "loadbalancer"), name] => {
            (service_of_ports(args, kind, name)?, "created")
        }
        ["configmap" | "cm", name] => {
            let data = literals(args)?;
            (
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}),
                "created",
            )
        }
        ["job", name] if args.get("from").is_some() => {
            let from = args.get("from").unwrap_or_default();
            (super::jobs::from_cron_job(kube, name, from)?, "created")
        }
        [] => return Err(error("must specify one of -f and -k")),
        [kind, ..] => {
            return Err(kube.unsupported(&format!("'kubectl create {kind}' with these arguments")));
        }
    };
    send(kube, args, value, what).await
}

/// `kubectl run NAME --image=…`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let Some(name) = args.words.first() else {
        return Err(error("NAME is required for run"));
    };
    let Some(image) = args.get("image") else {
        return Err(error("required flag(s) \"image\" not set"));
    };
    let mut container = json!({"name": name, "image": image});
    if let (Some(port), Some(fields)) = (args.number("port")?, container.as_object_mut()) {
        fields.insert("ports".to_string(), json!([{"containerPort": port}]));
    }
    let command: Vec<&String> =
        args.words.iter().skip(1).chain(args.rest.iter().flatten()).collect();
    if let (false, Some(fields)) = (command.is_empty(), container.as_object_mut()) {
        let field = if args.is_on("command") { "command" } else { "args" };
        fields.insert(field.to_string(), json!(command));
    }
    let labels = match args.get("labels") {
        Some(text) => Value::Object(pairs(text)),
        None => json!({"run": name}),
    };
    let restart = args.get("restart").unwrap_or("Always");
    let value = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [container], "restartPolicy": restart, "dnsPolicy": "ClusterFirst"},
    });
    send(kube, args, value, "created").await
}

/// `kubectl expose TYPE NAME --port=…`
pub(crate) async fn expose(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let targets = targets(kube, &args.words)?;
    let Some(target) = targets.first().filter(|target| target.name.is_some()) else {
        return Err(error("resource(s) were provided, but no name was specified"));
    };
    let found = find(kube, target, &Filter::default())?;
    let Some(object) = found.first() else { return Err(error("nothing to expose")) };
    let from = object.to_value();
    let selector = match target.kind.plural.as_str() {
        "pods" => from.pointer("/metadata/labels"),
        "services" | "replicationcontrollers" => from.pointer("/spec/selector"),
        "deployments" | "replicasets" => from.pointer("/spec/selector/matchLabels"),
        other => return Err(error(format!("cannot expose a {other}"))),
    };
    let Some(selector) = selector.cloned() else {
        return Err(error(
            "couldn't retrieve selectors via --selector flag or introspection: the pod has no labels and cannot be exposed",
        ));
    };
    let port = match args.number("port")? {
        Some(port) => port,
        None => {
            let containers = ["/spec/template/spec/containers", "/spec/containers"];
            let ports = containers
                .iter()
                .find_map(|at| from.pointer(&format!("{at}/0/ports/0/containerPort")));
            let missing = || error("couldn't find port via --port flag or introspection");
            ports.and_then(Value::as_i64).ok_or_else(missing)?
        }
    };
    let target_port = match args.get("target-port") {
        Some(text) => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
        None => Value::from(port),
    };
    let name = args.get("name").unwrap_or(object.name());
    let protocol = args.get("protocol").unwrap_or("TCP");
    let kind = args.get("type").unwrap_or("ClusterIP");
    let value = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "labels": from.pointer("/metadata/labels").cloned().unwrap_or(json!({}))},
        "spec": {"selector": selector, "type": kind,
                 "ports": [{"port": port, "targetPort": target_port, "protocol": protocol}]},
    });
    send(kube, args, value, "exposed").await
}

fn deployment(args: &Args, name: &str) -> Result<Value, Fail> {
    let images = args.all("image");
    if images.is_empty() {
        return Err(error("required flag(s) \"image\" not set"));
    }
    let mut containers = Vec::new();
    for image in &images {
        let base = image.rsplit('/').next().unwrap_or(image);
        let base = base.split([':', '@']).next().unwrap_or(base);
        let mut container = json!({"name": base, "image": image});
        if let (Some(port), Some(fields)) = (args.number("port")?, container.as_object_mut()) {
            fields.insert("ports".to_string(), json!([{"containerPort": port}]));
        }
        containers.push(container);
    }
    let labels = json!({"app": name});
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": args.number("replicas")?.unwrap_or(1), "selector": {"matchLabels": labels},
                 "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}},
    }))
}

/// `--tcp=80:8080`
fn service_of_ports(args: &Args, kind: &str, name: &str) -> Result<Value, Fail> {
    let mut ports = Vec::new();
    for pair in args.all("tcp") {
        let (port, target) = pair.split_once(':').unwrap_or((&pair, &pair));
        let wrong = || error(format!("invalid port format, expected PORT[:TARGETPORT]: {pair}"));
        let port: i64 = port.parse().map_err(|_| wrong())?;
        let target = target.parse::<i64>().map_or_else(|_| Value::from(target), Value::from);
        let port_name = pair.replace(':', "-");
        let mut entry =
            json!({"name": port_name, "port": port, "targetPort": target, "protocol": "TCP"});
        if let (Some(node_port), Some(fields)) = (args.number("node-port")?, entry.as_object_mut())
        {
            fields.insert("nodePort".to_string(), node_port.into());
        }
        ports.push(entry);
    }
    if ports.is_empty() {
        return Err(error("at least one tcp port specifier must be provided"));
    }
    let kind = match kind {
        "nodeport" => "NodePort",
        "loadbalancer" => "LoadBalancer",
        _ => "ClusterIP",
    };
    let labels = json!({"app": name});
    Ok(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels},
        "spec": {"type": kind, "selector": labels, "ports": ports},
    }))
}

fn literals(args: &Args) -> Result<Map<String, Value>, Fail> {
    let mut data = Map::new();
    for literal in args.all("from-literal") {
        let wrong = || error(format!("invalid literal source {literal}, expected key=value"));
        let (key, value) = literal.split_once('=').ok_or_else(wrong)?;
        data.insert(key.to_string(), value.into());
    }
    Ok(data)
}

fn pairs(text: &str) -> Map<String, Value> {
    let mut pairs = Map::new();
    for (key, value) in text.split(',').filter_map(|pair| pair.split_once('=')) {
        pairs.insert(key.to_string(), value.into());
    }
    pairs
}

/// Creates what was made up, or shows it.
async fn send(kube: &Kube<'_>, args: &Args, mut value: Value, what: &str) -> Result<i32, Fail> {
    let dry_run = DryRun::of(args)?;
    let text =
        |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_string();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let found = kube.api(|api| api.store().kinds().find(&api_version, &kind).cloned())?;
    let kind: KindInfo = found.ok_or_else(|| error(format!("no matches for kind {kind:?}")))?;
    // Shown only, it is in no namespace yet.
    if kind.is_namespaced && (dry_run != DryRun::Client || kube.has_namespace) {
        super::scale::set(&mut value, "/metadata", "namespace", kube.namespace.clone().into());
    }
    let now = kube.now();
    let done = kube.api(|api| {
        let object = api.object(kind.id, value)?;
        if dry_run == DryRun::No { api.create(object, now) } else { Ok(object) }
    })?;
    let object = match done {
        Ok(object) => object,
        Err(status) if status.invalid.is_some() => return Err(status.into()),
        Err(status) => {
            let prefix = format!("failed to create {}", kind.singular);
            let text = status.while_doing(&prefix).message;
            return Err(error(text));
        }
    };
    match args.get("output") {
        None => {
            let name = kind.object_name(object.name());
            kube.out(format!("{name} {what}{}\n", dry_run.suffix())).await?;
        }
        Some("yaml") => kube.out(super::yaml::print(&object.to_value())).await?,
        Some("json") => kube.out(super::get::json_text(&object.to_value())).await?,
        Some("name") => kube.out(format!("{}\n", kind.object_name(object.name()))).await?,
        Some(other) => return Err(kube.unsupported(&format!("-o {other} here"))),
    }
    Ok(0)
}
