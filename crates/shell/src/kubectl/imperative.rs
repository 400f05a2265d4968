//! `kubectl create`, `run`, `expose`, `autoscale`: objects that are made without a manifest.

use base::Items as _;
use kube_api::{AnyObject, KindInfo};
use serde_json::{Value, json};

use super::apply::create_files;
use super::attach;
use super::generate::{self, fill, pairs, port_of};
use super::kube::{Fail, Kube, error};
use super::output::{DryRun, Told};
use super::target::objects;
use crate::flags::Args;

/// `kubectl create -f … | TYPE NAME …`
pub(crate) async fn create(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    if args.get("filename").is_some() || args.get("kustomize").is_some() {
        return create_files(kube, args).await;
    }
    let value = generate::object(kube, args).await?;
    let mut told = Told::new(kube, args, "kubectl-create")?;
    send(kube, args, &mut told, value, "created").await?;
    told.end().await?;
    Ok(0)
}

/// `kubectl run NAME --image=…`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let Some(name) = args.words.first() else {
        return Err(error("NAME is required for run"));
    };
    let Some(image) = args.get("image") else {
        return Err(error("required flag(s) \"image\" not set"));
    };
    let command: Vec<&String> = args.words.iter().skip(1).chain(args.rest.items()).collect();
    let command = if command.is_empty() { Value::Null } else { json!(command) };
    let (command, arguments) =
        if args.is_on("command") { (command, Value::Null) } else { (Value::Null, command) };
    let mut env = Vec::new();
    for pair in args.each("env") {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| error(format!("invalid env: {pair}")))?;
        env.push(json!({"name": name, "value": value}));
    }
    let env = if env.is_empty() { Value::Null } else { env.into() };
    let port = args.number("port")?;
    let ports = port.map(|port| json!([{"containerPort": port}]));
    let labels = match pairs(args, "labels") {
        Value::Null => json!({"run": name}),
        labels => labels,
    };
    let restart = args.get("restart").unwrap_or("Always");
    if !matches!(restart, "Always" | "OnFailure" | "Never") {
        return Err(error(format!("invalid restart policy: {restart}")));
    }
    let mut told = Told::new(kube, args, "kubectl-run")?;
    let stays = attach::is_wanted(kube, args, told.dry_run != DryRun::No)?;
    let mut value = fill(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"$0","labels":"$1","annotations":"$8"},"spec":{"containers":[{"name":"$0","image":"$2","imagePullPolicy":"$9","command":"$3","args":"$4","env":"$5","ports":"$6","resources":{}}],"restartPolicy":"$7","dnsPolicy":"ClusterFirst"},"status":{}}"#,
        &[
            name.as_str().into(),
            labels.clone(),
            image.into(),
            command,
            arguments,
            env,
            ports.into(),
            restart.into(),
            pairs(args, "annotations"),
            args.get("image-pull-policy").into(),
        ],
    );
    if let Some(container) = value.pointer_mut("/spec/containers/0").and_then(Value::as_object_mut)
    {
        for (flag, fields) in [("stdin", ["stdin", "stdinOnce"].as_slice()), ("tty", &["tty"])] {
            let fields = fields.iter().filter(|_| args.is_on(flag));
            container.extend(fields.map(|field| (field.to_string(), true.into())));
        }
    }
    if stays {
        let mut quiet = told.silent();
        send(kube, args, &mut quiet, value, "created").await?;
        return attach::stay(kube, args, name).await;
    }
    send(kube, args, &mut told, value, "created").await?;
    if args.is_on("expose") {
        let port = port.ok_or_else(|| error("--port must be set when exposing a service"))?;
        let service = fill(
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"$0"},"spec":{"ports":[{"port":"$1","protocol":"TCP","targetPort":"$1"}],"selector":"$2"},"status":{"loadBalancer":{}}}"#,
            &[name.as_str().into(), port.into(), labels],
        );
        send(kube, args, &mut told, service, "created").await?;
    }
    told.end().await?;
    Ok(0)
}

/// `kubectl expose TYPE NAME --port=…` (`kubectl/pkg/cmd/expose`)
pub(crate) async fn expose(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let (found, all_there) = objects(kube, args, &args.words).await?;
    let mut told = Told::new(kube, args, "kubectl-expose")?;
    for (kind, object) in &found {
        let value = service_for(args, kind, object)?;
        send(kube, args, &mut told, value, "exposed").await?;
    }
    told.end().await?;
    Ok(i32::from(!all_there))
}

fn service_for(args: &Args, kind: &KindInfo, object: &AnyObject) -> Result<Value, Fail> {
    let from = object.to_value();
    let selector = match kind.plural.as_str() {
        "pods" => from.pointer("/metadata/labels"),
        "services" | "replicationcontrollers" => from.pointer("/spec/selector"),
        "deployments" | "replicasets" => from.pointer("/spec/selector/matchLabels"),
        _ => return Err(error(format!("cannot expose a {}", kind.kind))),
    };
    let selector = match pairs(args, "selector") {
        Value::Null => selector.cloned().ok_or_else(|| {
            error("couldn't retrieve selectors via --selector flag or introspection: the pod has no labels and cannot be exposed")
        })?,
        given => given,
    };
    let protocol = args.get("protocol");
    let target = args.get("target-port").map(port_of);
    let mut ports = Vec::new();
    match args.get("port") {
        Some(given) => {
            for port in given.split(',') {
                let port = port_of(port.trim());
                ports.push((port, protocol.unwrap_or("TCP").to_string()));
            }
        }
        None => {
            let places = ["/spec/template/spec/containers", "/spec/containers"];
            let containers =
                places.iter().find_map(|at| from.pointer(at)).and_then(Value::as_array);
            let own = containers.items().filter_map(|c| c.get("ports")?.as_array());
            let services = from.pointer("/spec/ports").and_then(Value::as_array);
            for port in own.chain(services).flatten() {
                let number = port.get("containerPort").or(port.get("port")).cloned();
                let known = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
                ports.push((number.unwrap_or_default(), protocol.unwrap_or(known).to_string()));
            }
        }
    }
    if ports.is_empty() {
        return Err(error("couldn't find port via --port flag or introspection"));
    }
    let several = ports.len() > 1;
    let mut list = Vec::new();
    for (at, (port, protocol)) in ports.into_iter().enumerate() {
        let name = several.then(|| format!("port-{}", at + 1));
        let target = target.clone().unwrap_or_else(|| port.clone());
        list.push(fill(
            r#"{"name":"$0","port":"$1","protocol":"$2","targetPort":"$3"}"#,
            &[name.into(), port, protocol.into(), target],
        ));
    }
    let labels = match pairs(args, "labels") {
        Value::Null => from.pointer("/metadata/labels").cloned().unwrap_or_default(),
        given => given,
    };
    let external = args.get("external-ip").map(|ip| json!([ip]));
    Ok(fill(
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"$0","labels":"$1"},"spec":{"selector":"$2","type":"$3","ports":"$4","clusterIP":"$5","sessionAffinity":"$6","externalIPs":"$7"},"status":{"loadBalancer":{}}}"#,
        &[
            args.get("name").unwrap_or(object.name()).into(),
            labels,
            selector,
            args.get("type").into(),
            list.into(),
            args.get("cluster-ip").into(),
            args.get("session-affinity").into(),
            external.into(),
        ],
    ))
}

/// `kubectl autoscale TYPE NAME --max=…` (`kubectl/pkg/cmd/autoscale`)
pub(crate) async fn autoscale(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    let Some(max) = args.number("max")? else {
        return Err(error("required flag(s) \"max\" not set"));
    };
    if args.get("cpu-percent").is_some() {
        let text = "Flag --cpu-percent has been deprecated, Use --cpu with percentage or resource quantity format (e.g., '70%' for utilization or '500m' for milliCPU).\n";
        kube.err(text).await?;
    }
    let min = args.number("min")?.filter(|min| *min > 0);
    if max < 1 {
        return Err(error(format!("--max=MAXPODS is required and must be at least 1, max: {max}")));
    }
    if min.is_some_and(|min| max < min) {
        let min = min.unwrap_or_default();
        return Err(error(format!(
            "--max=MAXPODS must be larger or equal to --min=MINPODS, max: {max}, min: {min}"
        )));
    }
    let percent = args.get("cpu").map(|text| text.trim_end_matches('%').parse::<i64>());
    let percent = percent.transpose().map_err(|_| error("invalid --cpu"))?;
    let percent = percent.or(args.number("cpu-percent")?).filter(|percent| *percent >= 0);
    let metrics = percent.map(|percent| {
        json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}])
    });
    let (found, all_there) = objects(kube, args, &args.words).await?;
    let mut told = Told::new(kube, args, "kubectl-autoscale")?;
    for (kind, object) in &found {
        if !super::scale::is_scalable(kind) {
            return Err(error(format!("cannot autoscale a {}", kind.kind)));
        }
        let value = fill(
            r#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"$0"},"spec":{"maxReplicas":"$1","minReplicas":"$2","metrics":"$3","scaleTargetRef":{"apiVersion":"$4","kind":"$5","name":"$6"}},"status":{"currentMetrics":null,"desiredReplicas":0}}"#,
            &[
                args.get("name").unwrap_or(object.name()).into(),
                max.into(),
                min.into(),
                metrics.clone().into(),
                kind.api_version().into(),
                kind.kind.as_str().into(),
                object.name().into(),
            ],
        );
        send(kube, args, &mut told, value, "autoscaled").await?;
    }
    told.end().await?;
    Ok(i32::from(!all_there))
}

/// Creates what was made up, or shows it.
async fn send(
    kube: &Kube<'_>,
    args: &Args,
    told: &mut Told<'_>,
    mut value: Value,
    what: &str,
) -> Result<(), Fail> {
    let text =
        |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_string();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let found = kube.api(|api| api.store().kinds().find(&api_version, &kind).cloned())?;
    let kind: KindInfo = found.ok_or_else(|| error(format!("no matches for kind {kind:?}")))?;
    // Shown only, it is in no namespace yet.
    if kind.is_namespaced && (told.dry_run != DryRun::Client || kube.has_namespace) {
        super::scale::set(&mut value, "/metadata", "namespace", kube.namespace.clone().into());
    }
    if args.is_on("save-config") {
        let note = format!("{value}\n");
        let key = kube_api::patch::LAST_APPLIED;
        super::scale::set(&mut value, "/metadata/annotations", key, note.into());
    }
    if told.dry_run == DryRun::Client {
        return told.tell(&kind, &value, what).await;
    }
    let service_type = value.pointer("/spec/type").and_then(Value::as_str).map(str::to_string);
    let done = kube.api(|api| {
        let object = api.object(kind.id, value)?;
        api.create_for(object, &told.request())
    })?;
    match done {
        Ok(object) => told.tell(&kind, &object.to_value(), what).await,
        Err(status) if status.invalid.is_some() => Err(status.into()),
        Err(status) if matches!(what, "exposed" | "autoscaled") => Err(status.into()),
        // Each of kubectl's generators says it in its own way.
        Err(status) => match kind.singular.as_str() {
            "pod" | "namespace" | "role" | "clusterrole" => Err(status.into()),
            "secret" => Err(error(format!("failed to create secret {}", status.message))),
            singular => {
                let prefix = match (singular, service_type) {
                    ("service", Some(service)) => format!("failed to create {service} service"),
                    ("resourcequota", _) => "failed to create quota".to_string(),
                    _ => format!("failed to create {singular}"),
                };
                Err(error(status.while_doing(&prefix).message))
            }
        },
    }
}
