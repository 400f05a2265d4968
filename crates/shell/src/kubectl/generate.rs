//! `kubectl create TYPE NAME`: objects from flags (`kubectl/pkg/cmd/create`).
//!
//! Each is a text with places for what the flags say, read when it is asked for: a tenth of the code that
//! building it piece by piece would be.

use kube_api::defaults::base64;
use serde_json::{Map, Value, json};

use super::kube::{Fail, Kube, error};
use super::set::quantities;
use crate::flags::Args;

/// The object of a JSON text with `"$0"`, `"$1"`, … in the places of values. What has no value is left out.
pub(super) fn fill(text: &str, values: &[Value]) -> Value {
    let mut value = serde_json::from_str(text).unwrap_or_default();
    put(&mut value, values);
    value
}

fn put(value: &mut Value, values: &[Value]) {
    match value {
        Value::String(text) => {
            let place = text.strip_prefix('$').and_then(|place| place.parse::<usize>().ok());
            if let Some(place) = place {
                *value = values.get(place).cloned().unwrap_or_default();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| put(item, values)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|field| put(field, values));
            fields.retain(|_, field| !field.is_null());
        }
        _ => {}
    }
}

/// What `kubectl create` makes, by every name it has for it.
const KINDS: &str = "namespace ns serviceaccount sa configmap cm secret deployment deploy service svc job cronjob cj \
    ingress ing poddisruptionbudget pdb quota resourcequota priorityclass pc role clusterrole rolebinding \
    clusterrolebinding token";

/// What the words after `create` name, and its manager.
pub(super) async fn object(kube: &Kube<'_>, args: &Args) -> Result<Value, Fail> {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    let Some((verb, mut names)) = words.split_first() else {
        return Err(error("must specify one of -f and -k"));
    };
    let mut kind = "";
    if matches!(*verb, "service" | "svc" | "secret") {
        let Some((first, rest)) = names.split_first() else {
            return Err(kube.unsupported(&format!("'kubectl create {verb}' without a type")));
        };
        (kind, names) = (first, rest);
    }
    match *verb {
        "deployment" | "deploy" => required(args, &["image"])?,
        "cronjob" | "cj" => required(args, &["image", "schedule"])?,
        _ => {}
    }
    if !KINDS.split_whitespace().any(|known| known == *verb) {
        return Err(Fail::Message(format!(
            "Error: must specify one of -f and -k\n\nerror: unknown command {:?}\nSee 'kubectl create -h' for help and examples",
            args.words.join(" ")
        )));
    }
    let [name] = names else {
        let count = names.len();
        let verb = format!("{verb} {kind}");
        return Err(error(format!(
            "exactly one NAME is required, got {count}\nSee 'kubectl create {} -h' for help and examples",
            verb.trim_end()
        )));
    };
    Ok(match (*verb, kind) {
        ("namespace" | "ns", _) => simple("v1", "Namespace", name),
        ("serviceaccount" | "sa", _) => simple("v1", "ServiceAccount", name),
        ("configmap" | "cm", _) => config_map(kube, args, name).await?,
        ("secret", _) => secret(kube, args, kind, name).await?,
        ("deployment" | "deploy", _) => deployment(args, name)?,
        ("service" | "svc", _) => service(kube, args, kind, name)?,
        ("job", _) => job(kube, args, name)?,
        ("cronjob" | "cj", _) => cron_job(args, name)?,
        ("ingress" | "ing", _) => ingress(args, name)?,
        ("poddisruptionbudget" | "pdb", _) => budget(args, name)?,
        ("quota" | "resourcequota", _) => {
            let hard = Value::Object(quantities(args.get("hard"))?);
            let scopes = args.all("scopes");
            let scopes = if scopes.is_empty() { Value::Null } else { scopes.into() };
            fill(
                r#"{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"$0"},"spec":{"hard":"$1","scopes":"$2"},"status":{}}"#,
                &[(*name).into(), hard, scopes],
            )
        }
        ("priorityclass" | "pc", _) => {
            let policy = args.get("preemption-policy").unwrap_or("PreemptLowerPriority");
            let global = args.is_on("global-default").then_some(true);
            fill(
                r#"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"$0"},"value":"$1","globalDefault":"$2","description":"$3","preemptionPolicy":"$4"}"#,
                &[
                    (*name).into(),
                    args.number("value")?.unwrap_or(0).into(),
                    global.into(),
                    args.get("description").into(),
                    policy.into(),
                ],
            )
        }
        ("role", _) => rules(kube, args, "Role", name)?,
        ("clusterrole", _) => rules(kube, args, "ClusterRole", name)?,
        ("rolebinding", _) => binding(args, "RoleBinding", name)?,
        ("clusterrolebinding", _) => binding(args, "ClusterRoleBinding", name)?,
        ("token", _) => return Err(kube.unsupported("'kubectl create token'")),
        (other, _) => return Err(kube.unsupported(&format!("'kubectl create {other}'"))),
    })
}

fn simple(version: &str, kind: &str, name: &str) -> Value {
    let values = [version.into(), kind.into(), name.into()];
    fill(r#"{"apiVersion":"$0","kind":"$1","metadata":{"name":"$2"}}"#, &values)
}

fn required(args: &Args, flags: &[&str]) -> Result<(), Fail> {
    let missing: Vec<String> = flags
        .iter()
        .filter(|flag| args.get(flag).is_none())
        .map(|flag| format!("{flag:?}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(error(format!("required flag(s) {} not set", missing.join(", "))))
}

// ---- what is read from files -----------------------------------------------------------------------------

async fn file(kube: &Kube<'_>, path: &str) -> Result<Vec<u8>, Fail> {
    let bytes = kube.ctx.read(path).await;
    bytes.map_err(|_| error(format!("error reading {path}: no such file or directory")))
}

/// `--from-literal`, `--from-file`, `--from-env-file`
async fn data(kube: &Kube<'_>, args: &Args) -> Result<Vec<(String, Vec<u8>)>, Fail> {
    let mut data: Vec<(String, Vec<u8>)> = Vec::new();
    let has = |flag: &str| !args.each(flag).is_empty();
    if has("from-env-file") && (has("from-file") || has("from-literal")) {
        return Err(error("from-env-file cannot be combined with from-file or from-literal"));
    }
    for literal in args.each("from-literal") {
        let wrong = || error(format!("invalid literal source {literal}, expected key=value"));
        let (key, value) = literal.split_once('=').ok_or_else(wrong)?;
        // Quotes around the value go (`util.ParseLiteralSource`).
        let inner = value.strip_prefix(['"', '\'']).and_then(|v| v.strip_suffix(['"', '\'']));
        data.push((key.to_string(), inner.unwrap_or(value).into()));
    }
    for source in args.each("from-file") {
        let session = &kube.ctx.session;
        let (key, path) = match source.split_once('=') {
            Some((key, path)) => (Some(key), path),
            None => (None, source),
        };
        let is_directory =
            session.files.kind(&session.path(path)) == Some(crate::files::FileKind::Directory);
        if !is_directory {
            let base = path.rsplit('/').next().unwrap_or(path);
            data.push((key.unwrap_or(base).to_string(), file(kube, path).await?));
            continue;
        }
        let names = session.files.list(&session.path(path)).unwrap_or_default();
        for name in names {
            if let Ok(bytes) = kube.ctx.read(&format!("{path}/{name}")).await {
                data.push((name, bytes));
            }
        }
    }
    for path in args.each("from-env-file") {
        let text = String::from_utf8_lossy(&file(kube, path).await?).into_owned();
        let lines = text.lines().map(str::trim_start);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            data.push((key.to_string(), value.into()));
        }
    }
    for (at, (key, _)) in data.iter().enumerate() {
        if data.iter().take(at).any(|(known, _)| known == key) {
            let taken = "another key by that name already exists";
            return Err(error(match args.words.as_slice() {
                [kind, name] if kind != "secret" => {
                    format!("cannot add key {key:?}, {taken} in Data for ConfigMap {name:?}")
                }
                _ => format!("cannot add key {key}, {taken}"),
            }));
        }
    }
    Ok(data)
}

async fn config_map(kube: &Kube<'_>, args: &Args, name: &str) -> Result<Value, Fail> {
    let (mut texts, mut bytes) = (Map::new(), Map::new());
    for (key, content) in data(kube, args).await? {
        match String::from_utf8(content) {
            Ok(text) => texts.insert(key, text.into()),
            Err(content) => bytes.insert(key, base64(content.as_bytes()).into()),
        };
    }
    let some = |map: Map<String, Value>| if map.is_empty() { Value::Null } else { map.into() };
    Ok(fill(
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"$0"},"data":"$1","binaryData":"$2"}"#,
        &[name.into(), some(texts), some(bytes)],
    ))
}

async fn secret(kube: &Kube<'_>, args: &Args, kind: &str, name: &str) -> Result<Value, Fail> {
    let (kind, data) = match kind {
        "generic" => (args.get("type").map(str::to_string), data(kube, args).await?),
        "tls" => {
            required(args, &["cert", "key"])?;
            let (cert, key) =
                (args.get("cert").unwrap_or_default(), args.get("key").unwrap_or_default());
            let data = vec![
                ("tls.crt".to_string(), file(kube, cert).await?),
                ("tls.key".to_string(), file(kube, key).await?),
            ];
            (Some("kubernetes.io/tls".to_string()), data)
        }
        "docker-registry" => {
            let flag = |name: &str| args.get(name).unwrap_or_default();
            let (user, password) = (flag("docker-username"), flag("docker-password"));
            if user.is_empty() || password.is_empty() {
                return Err(error(
                    "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required",
                ));
            }
            let server = args.get("docker-server").unwrap_or("https://index.docker.io/v1/");
            let auth = base64(format!("{user}:{password}").as_bytes());
            let mail = args.get("docker-email");
            let entry = fill(
                r#"{"username":"$0","password":"$1","email":"$2","auth":"$3"}"#,
                &[user.into(), password.into(), mail.into(), auth.into()],
            );
            let config = json!({"auths": {server: entry}}).to_string();
            let data = vec![(".dockerconfigjson".to_string(), config.into_bytes())];
            (Some("kubernetes.io/dockerconfigjson".to_string()), data)
        }
        other => {
            return Err(error(format!("unknown command {other:?} for \"kubectl create secret\"")));
        }
    };
    let mut encoded = Map::new();
    for (key, content) in data {
        encoded.insert(key, base64(&content).into());
    }
    let encoded = if encoded.is_empty() { Value::Null } else { encoded.into() };
    Ok(fill(
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"$0"},"type":"$1","data":"$2"}"#,
        &[name.into(), kind.into(), encoded],
    ))
}

// ---- what runs containers --------------------------------------------------------------------------------

/// `registry/nginx:1.27` is called `nginx`.
fn container_name(image: &str) -> &str {
    let base = image.rsplit('/').next().unwrap_or(image);
    base.split([':', '@']).next().unwrap_or(base)
}

fn deployment(args: &Args, name: &str) -> Result<Value, Fail> {
    required(args, &["image"])?;
    let images = args.all("image");
    let command = args.rest.clone().filter(|command| !command.is_empty());
    if command.is_some() && images.len() > 1 {
        return Err(error("cannot specify multiple --image options and command"));
    }
    let port = args.number("port")?.map(|port| json!([{"containerPort": port}]));
    let mut containers = Vec::new();
    for image in &images {
        containers.push(fill(
            r#"{"name":"$0","image":"$1","command":"$2","ports":"$3","resources":{}}"#,
            &[
                container_name(image).into(),
                image.as_str().into(),
                command.clone().into(),
                port.clone().into(),
            ],
        ));
    }
    Ok(fill(
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"$0","labels":{"app":"$0"}},"spec":{"replicas":"$1","selector":{"matchLabels":{"app":"$0"}},"strategy":{},"template":{"metadata":{"labels":{"app":"$0"}},"spec":{"containers":"$2"}}},"status":{}}"#,
        &[name.into(), args.number("replicas")?.unwrap_or(1).into(), containers.into()],
    ))
}

const JOB_SPEC: &str = r#"{"template":{"metadata":{},"spec":{"containers":[{"name":"$0","image":"$1","command":"$2","resources":{}}],"restartPolicy":"$3"}}}"#;

fn job_spec(args: &Args, name: &str, restart: &str) -> Value {
    let image = args.get("image").unwrap_or_default();
    let command = args.rest.clone().filter(|command| !command.is_empty());
    let restart = args.get("restart").unwrap_or(restart);
    fill(JOB_SPEC, &[name.into(), image.into(), command.into(), restart.into()])
}

fn job(kube: &Kube<'_>, args: &Args, name: &str) -> Result<Value, Fail> {
    let Some(from) = args.get("from") else {
        if args.get("image").is_none() {
            return Err(error("either --image or --from must be specified"));
        }
        let values = [name.into(), job_spec(args, name, "Never")];
        return Ok(fill(
            r#"{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"$0"},"spec":"$1","status":{}}"#,
            &values,
        ));
    };
    let Some(("cronjob" | "cronjobs" | "cj" | "cronjob.batch", from)) = from.split_once('/') else {
        return Err(error(format!("from must be an existing cronjob, got {from}")));
    };
    let owner = kube.get(&kube.kind("cronjobs")?, from)?.to_value();
    let at = |pointer: &str| owner.pointer(pointer).cloned().unwrap_or_default();
    let mut annotations = at("/spec/jobTemplate/metadata/annotations");
    if !annotations.is_object() {
        annotations = json!({});
    }
    super::scale::set(&mut annotations, "", "cronjob.kubernetes.io/instantiate", "manual".into());
    Ok(fill(
        r#"{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"$0","labels":"$1","annotations":"$2","ownerReferences":[{"apiVersion":"batch/v1","kind":"CronJob","name":"$3","uid":"$4","controller":true}]},"spec":"$5"}"#,
        &[
            name.into(),
            at("/spec/jobTemplate/metadata/labels"),
            annotations,
            from.into(),
            at("/metadata/uid"),
            at("/spec/jobTemplate/spec"),
        ],
    ))
}

fn cron_job(args: &Args, name: &str) -> Result<Value, Fail> {
    required(args, &["image", "schedule"])?;
    Ok(fill(
        r#"{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"$0"},"spec":{"schedule":"$1","jobTemplate":{"metadata":{"name":"$0"},"spec":"$2"}},"status":{}}"#,
        &[name.into(), args.get("schedule").into(), job_spec(args, name, "OnFailure")],
    ))
}

// ---- what leads to them ----------------------------------------------------------------------------------

/// `--tcp=80:8080`
fn service(kube: &Kube<'_>, args: &Args, kind: &str, name: &str) -> Result<Value, Fail> {
    let type_name = match kind {
        "clusterip" => "ClusterIP",
        "nodeport" => "NodePort",
        "loadbalancer" => "LoadBalancer",
        "externalname" => "ExternalName",
        other => return Err(kube.unsupported(&format!("'kubectl create service {other}'"))),
    };
    let mut ports = Vec::new();
    for pair in args.all("tcp") {
        let (port, target) = pair.split_once(':').unwrap_or((&pair, &pair));
        let wrong = || error(format!("invalid port format, expected PORT[:TARGETPORT]: {pair}"));
        let port: i64 = port.parse().map_err(|_| wrong())?;
        let node_port = args.number("node-port")?.filter(|port| *port != 0);
        ports.push(fill(
            r#"{"name":"$0","port":"$1","targetPort":"$2","protocol":"TCP","nodePort":"$3"}"#,
            &[pair.replace(':', "-").into(), port.into(), port_of(target), node_port.into()],
        ));
    }
    let cluster_ip = args.get("clusterip");
    if type_name == "ExternalName" {
        required(args, &["external-name"])?;
    } else if ports.is_empty() && cluster_ip != Some("None") {
        return Err(error("at least one tcp port specifier must be provided"));
    }
    let ports = if ports.is_empty() { Value::Null } else { ports.into() };
    Ok(fill(
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"$0","labels":{"app":"$0"}},"spec":{"type":"$1","selector":{"app":"$0"},"ports":"$2","clusterIP":"$3","externalName":"$4"},"status":{"loadBalancer":{}}}"#,
        &[
            name.into(),
            type_name.into(),
            ports,
            cluster_ip.into(),
            args.get("external-name").into(),
        ],
    ))
}

/// A port's number, or its name.
pub(super) fn port_of(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from)
}

fn backend(text: &str) -> Option<Value> {
    let (service, port) = text.split_once(':')?;
    let port = match port_of(port) {
        number @ Value::Number(_) => json!({"number": number}),
        name => json!({"name": name}),
    };
    Some(fill(r#"{"service":{"name":"$0","port":"$1"}}"#, &[service.into(), port]))
}

/// `--rule=host/path*=service:port,tls=secret`
fn ingress(args: &Args, name: &str) -> Result<Value, Fail> {
    let (mut rules, mut tls): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for rule in args.each("rule") {
        let wrong = || {
            error(format!(
                "rule {rule} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"
            ))
        };
        let (place, target) = rule.split_once('=').ok_or_else(wrong)?;
        let (host, path) = place.split_at(place.find('/').ok_or_else(wrong)?);
        let (service, options) = target.split_once(',').unwrap_or((target, ""));
        let (path, how) = match path.strip_suffix('*') {
            Some(path) => (path, "Prefix"),
            None => (path, "Exact"),
        };
        let path = fill(
            r#"{"path":"$0","pathType":"$1","backend":"$2"}"#,
            &[path.into(), how.into(), backend(service).ok_or_else(wrong)?],
        );
        let host = if host.is_empty() { Value::Null } else { host.into() };
        let known =
            rules.iter_mut().find(|rule| rule.get("host") == Some(&host).filter(|h| !h.is_null()));
        let paths =
            known.and_then(|rule| rule.pointer_mut("/http/paths")).and_then(Value::as_array_mut);
        match paths {
            Some(paths) => paths.push(path),
            None => {
                rules.push(fill(r#"{"host":"$0","http":{"paths":["$1"]}}"#, &[host.clone(), path]))
            }
        }
        if let Some(secret) = options.strip_prefix("tls") {
            let secret = secret.strip_prefix('=').map(Value::from);
            let hosts = if host.is_null() { Value::Null } else { json!([host]) };
            tls.push(fill(r#"{"hosts":"$0","secretName":"$1"}"#, &[hosts, secret.into()]));
        }
    }
    let default = args.get("default-backend").map(|text| {
        backend(text)
            .ok_or_else(|| error("default-backend should be in format servicename:serviceport"))
    });
    let default = default.transpose()?;
    if rules.is_empty() && default.is_none() {
        return Err(error(
            "not enough information provided: every ingress has to either specify a default-backend (which catches all traffic) or a list of rules (which catch specific paths)",
        ));
    }
    let some = |list: Vec<Value>| if list.is_empty() { Value::Null } else { list.into() };
    Ok(fill(
        r#"{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"$0","annotations":"$1"},"spec":{"ingressClassName":"$2","defaultBackend":"$3","rules":"$4","tls":"$5"},"status":{"loadBalancer":{}}}"#,
        &[
            name.into(),
            pairs(args, "annotation"),
            args.get("class").into(),
            default.into(),
            some(rules),
            some(tls),
        ],
    ))
}

/// `KEY=VALUE` of a flag that may be given several times.
pub(super) fn pairs(args: &Args, flag: &str) -> Value {
    let mut pairs = Map::new();
    for pair in args.all(flag) {
        let (key, value) = pair.split_once('=').unwrap_or((&pair, ""));
        pairs.insert(key.to_string(), value.into());
    }
    if pairs.is_empty() { Value::Null } else { pairs.into() }
}

// ---- what limits and allows ------------------------------------------------------------------------------

fn budget(args: &Args, name: &str) -> Result<Value, Fail> {
    let (min, max) = (args.get("min-available"), args.get("max-unavailable"));
    if args.get("selector").is_none() {
        return Err(error("a selector must be specified"));
    }
    match (min, max) {
        (None, None) => {
            return Err(error("one of min-available or max-unavailable must be specified"));
        }
        (Some(_), Some(_)) => {
            return Err(error("min-available and max-unavailable cannot be both specified"));
        }
        _ => {}
    }
    let selector = kube_api::labels::Selector::parse(args.get("selector").unwrap_or_default());
    selector.map_err(|bad| error(bad.to_string()))?;
    Ok(fill(
        r#"{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"$0"},"spec":{"minAvailable":"$1","maxUnavailable":"$2","selector":{"matchLabels":"$3"}},"status":{"currentHealthy":0,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":0}}"#,
        &[name.into(), min.map(port_of).into(), max.map(port_of).into(), pairs(args, "selector")],
    ))
}

fn rules(kube: &Kube<'_>, args: &Args, kind: &str, name: &str) -> Result<Value, Fail> {
    let (verbs, resources) = (args.all("verb"), args.all("resource"));
    if verbs.is_empty() {
        return Err(error("at least one verb must be specified"));
    }
    if resources.is_empty() {
        return Err(error("at least one resource must be specified"));
    }
    let names = args.all("resource-name");
    let names = if names.is_empty() { Value::Null } else { names.into() };
    let mut rules: Vec<Value> = Vec::new();
    for typed in resources {
        let (typed, sub) =
            typed.split_once('/').map_or((typed.as_str(), None), |(t, s)| (t, Some(s)));
        let info = kube.kind(typed)?;
        let resource = sub.map_or(info.plural.clone(), |sub| format!("{}/{sub}", info.plural));
        let group = Value::from(info.group);
        let known = rules.iter_mut().find(|rule| rule.pointer("/apiGroups/0") == Some(&group));
        match known.and_then(|rule| rule.get_mut("resources")).and_then(Value::as_array_mut) {
            Some(resources) => resources.push(resource.into()),
            None => rules.push(fill(
                r#"{"apiGroups":["$0"],"resources":["$1"],"resourceNames":"$2","verbs":"$3"}"#,
                &[group, resource.into(), names.clone(), verbs.clone().into()],
            )),
        }
    }
    Ok(fill(
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"$0","metadata":{"name":"$1"},"rules":"$2"}"#,
        &[kind.into(), name.into(), rules.into()],
    ))
}

fn binding(args: &Args, kind: &str, name: &str) -> Result<Value, Fail> {
    let (role, to) = match (args.get("role"), args.get("clusterrole")) {
        (Some(role), None) if kind == "RoleBinding" => ("Role", role),
        (None, Some(role)) => ("ClusterRole", role),
        _ if kind == "RoleBinding" => {
            return Err(error("exactly one of clusterrole or role must be specified"));
        }
        _ => return Err(error("required flag(s) \"clusterrole\" not set")),
    };
    let mut subjects = Vec::new();
    for (flag, kind) in [("user", "User"), ("group", "Group")] {
        for subject in args.all(flag) {
            subjects.push(fill(
                r#"{"apiGroup":"rbac.authorization.k8s.io","kind":"$0","name":"$1"}"#,
                &[kind.into(), subject.into()],
            ));
        }
    }
    for account in args.all("serviceaccount") {
        let wrong = || error("serviceaccount must be <namespace>:<name>");
        let (namespace, account) = account.split_once(':').ok_or_else(wrong)?;
        subjects.push(fill(
            r#"{"kind":"ServiceAccount","name":"$0","namespace":"$1"}"#,
            &[account.into(), namespace.into()],
        ));
    }
    let subjects = if subjects.is_empty() { Value::Null } else { subjects.into() };
    Ok(fill(
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"$0","metadata":{"name":"$1"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"$2","name":"$3"},"subjects":"$4"}"#,
        &[kind.into(), name.into(), role.into(), to.into(), subjects],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_value_is_left_out() {
        let filled =
            fill(r#"{"a":"$0","b":["$1"],"c":{"d":"$2"}}"#, &[1.into(), "x".into(), Value::Null]);
        assert_eq!(filled, json!({"a": 1, "b": ["x"], "c": {}}));
    }
}
