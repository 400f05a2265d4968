//! `kubectl describe pod`, and containers wherever they are described.

use std::fmt::Write as _;

use kube_api::MetaExt;
use kube_api::core::Pod;
use kube_api::object::instant;
use serde_json::Value;

use super::super::kube::Kube;
use super::super::table::{View, human};
use super::{labelled, line, many, named, stamp};

pub(super) fn describe_pod(kube: &Kube<'_>, pod: &Pod, v: &View<'_>, out: &mut String) {
    named(v, out);
    line(out, "Priority", v.text_or("/spec/priority", "0"));
    for (name, pointer) in [
        ("Priority Class Name", "/spec/priorityClassName"),
        ("Runtime Class Name", "/spec/runtimeClassName"),
    ] {
        if v.at(pointer).is_some() {
            line(out, name, v.text(pointer));
        }
    }
    line(out, "Service Account", v.text_or("/spec/serviceAccountName", "default"));
    let node = v.text("/spec/nodeName");
    if node.is_empty() {
        line(out, "Node", "<none>");
    } else {
        line(out, "Node", format!("{node}/{}", v.text("/status/hostIP")));
        line(out, "Start Time", stamp(v, "/status/startTime"));
    }
    labelled(v, out);
    let summary = controllers::pods::summary(pod);
    if pod.metadata.is_terminating() && !controllers::pods::has_ended(pod) {
        let at = pod.metadata.deletion_timestamp.as_ref();
        let lasts = at.map(|at| human(instant(at).since(kube.now())));
        line(out, "Status", format!("Terminating (lasts {})", lasts.unwrap_or_default()));
        let grace = v.number("/metadata/deletionGracePeriodSeconds");
        line(out, "Termination Grace Period", format!("{grace}s"));
    } else {
        line(out, "Status", v.text_or("/status/phase", &summary.status));
    }
    for (name, pointer) in [("Reason", "/status/reason"), ("Message", "/status/message")] {
        if v.at(pointer).is_some() {
            line(out, name, v.text(pointer));
        }
    }
    line(out, "IP", v.text("/status/podIP"));
    if v.len("/status/podIPs") == 0 {
        line(out, "IPs", "<none>");
    } else {
        out.push_str("IPs:\n");
        for ip in v.items("/status/podIPs") {
            let _ = writeln!(out, "  IP:\t{}", View(ip).text("/ip"));
        }
    }
    if let Some(owner) = pod.metadata.controller() {
        line(out, "Controlled By", format!("{}/{}", owner.kind, owner.name));
    }
    if v.at("/status/nominatedNodeName").is_some() {
        line(out, "NominatedNodeName", v.text("/status/nominatedNodeName"));
    }
    if v.len("/spec/initContainers") > 0 {
        out.push_str("Init Containers:\n");
        for container in v.items("/spec/initContainers") {
            describe_container(v, &View(container), out);
        }
    }
    out.push_str("Containers:\n");
    for container in v.items("/spec/containers") {
        describe_container(v, &View(container), out);
    }
    readiness_gates(v, out);
    conditions(v, out);
    volumes(v, out);
    line(out, "QoS Class", v.text_or("/status/qosClass", "BestEffort"));
    many(out, "Node-Selectors", v.at("/spec/nodeSelector"), "=");
    tolerations(v, out);
}

fn readiness_gates(v: &View<'_>, out: &mut String) {
    if v.len("/spec/readinessGates") == 0 {
        return;
    }
    out.push_str("Readiness Gates:\n  Type\tStatus\n");
    for gate in v.items("/spec/readinessGates") {
        let kind = View(gate).text("/conditionType");
        let mut all = v.items("/status/conditions").map(View);
        let found = all.find(|condition| condition.text("/type") == kind);
        let status = found.map_or_else(|| "<none>".to_string(), |c| c.text("/status"));
        let _ = writeln!(out, "  {kind} \t{status} ");
    }
}

pub(super) fn describe_container(pod: &View<'_>, container: &View<'_>, out: &mut String) {
    let name = container.text("/name");
    let all =
        pod.items("/status/containerStatuses").chain(pod.items("/status/initContainerStatuses"));
    let status = all.map(View).find(|status| status.text("/name") == name);
    let _ = writeln!(out, "  {name}:");
    let inner = |out: &mut String, name: &str, value: String| {
        let _ = writeln!(out, "    {name}:\t{value}");
    };
    if let Some(status) = &status {
        inner(out, "Container ID", status.text("/containerID"));
    }
    inner(out, "Image", container.text("/image"));
    if let Some(status) = &status {
        inner(out, "Image ID", status.text("/imageID"));
    }
    let ports: Vec<String> = container
        .items("/ports")
        .map(|p| {
            format!("{}/{}", View(p).number("/containerPort"), View(p).text_or("/protocol", "TCP"))
        })
        .collect();
    let word = if ports.len() > 1 { "Ports" } else { "Port" };
    inner(out, word, if ports.is_empty() { "<none>".to_string() } else { ports.join(", ") });
    let host: Vec<String> = container
        .items("/ports")
        .map(|p| format!("{}/{}", View(p).number("/hostPort"), View(p).text_or("/protocol", "TCP")))
        .collect();
    let word = if host.len() > 1 { "Host Ports" } else { "Host Port" };
    inner(out, word, if host.is_empty() { "<none>".to_string() } else { host.join(", ") });
    for (field, pointer) in [("Command", "/command"), ("Args", "/args")] {
        if container.len(pointer) > 0 {
            let _ = writeln!(out, "    {field}:");
            for word in container.items(pointer) {
                let _ = writeln!(out, "      {}", word.as_str().unwrap_or_default());
            }
        }
    }
    if let Some(status) = &status {
        state(status, "/state", "State", out);
        if status.len("/lastState") > 0 {
            state(status, "/lastState", "Last State", out);
        }
        let ready = status.at("/ready") == Some(&Value::Bool(true));
        inner(out, "Ready", if ready { "True" } else { "False" }.to_string());
        inner(out, "Restart Count", status.number("/restartCount"));
    }
    amounts(container, "Limits", "/resources/limits", out);
    amounts(container, "Requests", "/resources/requests", out);
    for (name, pointer) in [
        ("Liveness", "/livenessProbe"),
        ("Readiness", "/readinessProbe"),
        ("Startup", "/startupProbe"),
    ] {
        if let Some(probe) = container.at(pointer) {
            inner(out, name, probe_text(&View(probe)));
        }
    }
    environment(pod, container, out);
    mounts(container, out);
}

fn is_on(v: &View<'_>, pointer: &str) -> bool {
    v.at(pointer) == Some(&Value::Bool(true))
}

fn amounts(container: &View<'_>, name: &str, pointer: &str, out: &mut String) {
    let Some(all) = container.at(pointer).and_then(Value::as_object) else { return };
    if all.is_empty() {
        return;
    }
    let _ = writeln!(out, "    {name}:");
    for (resource, amount) in all {
        let amount = amount.as_str().map_or_else(|| amount.to_string(), str::to_string);
        let _ = writeln!(out, "      {resource}:\t{amount}");
    }
}

fn environment(pod: &View<'_>, container: &View<'_>, out: &mut String) {
    if container.len("/envFrom") > 0 {
        out.push_str("    Environment Variables from:\n");
    }
    for source in container.items("/envFrom").map(View) {
        let is_secret = source.at("/secretRef").is_some();
        let (at, kind) =
            if is_secret { ("/secretRef", "Secret") } else { ("/configMapRef", "ConfigMap") };
        let prefix = match source.text("/prefix") {
            none if none.is_empty() => String::new(),
            prefix => format!(" with prefix '{prefix}'"),
        };
        let name = source.text(&format!("{at}/name"));
        let optional = is_on(&source, &format!("{at}/optional"));
        let _ = writeln!(out, "      {name}\t{kind}{prefix}\tOptional: {optional}");
    }
    if container.len("/env") == 0 {
        out.push_str("    Environment:\t<none>\n");
        return;
    }
    out.push_str("    Environment:\n");
    for variable in container.items("/env").map(View) {
        let name = variable.text("/name");
        let from = |field: &str| format!("/valueFrom/{field}");
        let text = if variable.at(&from("secretKeyRef")).is_some() {
            format!(
                "<set to the key '{}' in secret '{}'>\tOptional: {}",
                variable.text(&from("secretKeyRef/key")),
                variable.text(&from("secretKeyRef/name")),
                is_on(&variable, &from("secretKeyRef/optional"))
            )
        } else if variable.at(&from("configMapKeyRef")).is_some() {
            format!(
                "<set to the key '{}' of config map '{}'>\tOptional: {}",
                variable.text(&from("configMapKeyRef/key")),
                variable.text(&from("configMapKeyRef/name")),
                is_on(&variable, &from("configMapKeyRef/optional"))
            )
        } else if variable.at(&from("fieldRef")).is_some() {
            let path = variable.text(&from("fieldRef/fieldPath"));
            let version = variable.text_or(&from("fieldRef/apiVersion"), "v1");
            format!("{} ({version}:{path})", field(pod, &path))
        } else if variable.at(&from("resourceFieldRef")).is_some() {
            let resource = variable.text(&from("resourceFieldRef/resource"));
            let pointer = format!("/resources/{}", resource.replace('.', "/"));
            let amount = match container.text(&pointer) {
                none if none.is_empty() && resource.starts_with("limits.") => {
                    "node allocatable".to_string()
                }
                none if none.is_empty() => "0".to_string(),
                amount => amount,
            };
            format!("{amount} ({resource})")
        } else {
            variable.text("/value")
        };
        for (at, part) in text.split('\n').enumerate() {
            let head = if at == 0 { format!("{name}:") } else { String::new() };
            let _ = writeln!(out, "      {head}\t{part}");
        }
    }
}

/// What kubectl knows of a field that a variable refers to: names and labels, and not what a kubelet decides.
fn field(pod: &View<'_>, path: &str) -> String {
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let key = key.replace('~', "~0").replace('/', "~1");
        return pod.text(&format!("/{}/{key}", map.replace('.', "/")));
    }
    match path {
        "metadata.name" | "metadata.namespace" | "metadata.uid" => {
            pod.text(&format!("/{}", path.replace('.', "/")))
        }
        _ => String::new(),
    }
}

fn mounts(container: &View<'_>, out: &mut String) {
    if container.len("/volumeMounts") == 0 {
        out.push_str("    Mounts:\t<none>\n");
        return;
    }
    out.push_str("    Mounts:\n");
    let mut all: Vec<View<'_>> = container.items("/volumeMounts").map(View).collect();
    base::order::sort_by_key(&mut all, |mount| mount.text("/mountPath"));
    for mount in all {
        let mut flags = if is_on(&mount, "/readOnly") { "ro" } else { "rw" }.to_string();
        if mount.at("/subPath").is_some() {
            let _ = write!(flags, ",path={:?}", mount.text("/subPath"));
        }
        let (path, name) = (mount.text("/mountPath"), mount.text("/name"));
        let _ = writeln!(out, "      {path} from {name} ({flags})");
    }
}

pub(super) fn volumes(v: &View<'_>, out: &mut String) {
    if v.len("/spec/volumes") == 0 {
        return line(out, "Volumes", "<none>");
    }
    out.push_str("Volumes:\n");
    for volume in v.items("/spec/volumes").map(View) {
        let _ = writeln!(out, "  {}:", volume.text("/name"));
        volume_source(&volume, out);
    }
}

/// (`kubectl/pkg/describe`, `describeVolumes`)
fn volume_source(volume: &View<'_>, out: &mut String) {
    let mut say = |name: &str, value: String| {
        let _ = writeln!(out, "    {name}:\t{value}");
    };
    let of = |what: &str, more: &str| format!("{what} ({more})");
    if volume.at("/hostPath").is_some() {
        say("Type", of("HostPath", "bare host directory volume"));
        say("Path", volume.text("/hostPath/path"));
        say("HostPathType", volume.text("/hostPath/type"));
    } else if volume.at("/emptyDir").is_some() {
        say("Type", of("EmptyDir", "a temporary directory that shares a pod's lifetime"));
        say("Medium", volume.text("/emptyDir/medium"));
        say("SizeLimit", volume.text_or("/emptyDir/sizeLimit", "<unset>"));
    } else if volume.at("/secret").is_some() {
        say("Type", of("Secret", "a volume populated by a Secret"));
        say("SecretName", volume.text("/secret/secretName"));
        say("Optional", is_on(volume, "/secret/optional").to_string());
    } else if volume.at("/configMap").is_some() {
        say("Type", of("ConfigMap", "a volume populated by a ConfigMap"));
        say("Name", volume.text("/configMap/name"));
        say("Optional", is_on(volume, "/configMap/optional").to_string());
    } else if volume.at("/persistentVolumeClaim").is_some() {
        let more = "a reference to a PersistentVolumeClaim in the same namespace";
        say("Type", of("PersistentVolumeClaim", more));
        say("ClaimName", volume.text("/persistentVolumeClaim/claimName"));
        say("ReadOnly", is_on(volume, "/persistentVolumeClaim/readOnly").to_string());
    } else if volume.at("/downwardAPI").is_some() {
        say("Type", of("DownwardAPI", "a volume populated by information about the pod"));
        out.push_str("    Items:\n");
        for item in volume.items("/downwardAPI/items").map(View) {
            let (from, to) = (item.text("/fieldRef/fieldPath"), item.text("/path"));
            let from = if from.is_empty() { item.text("/resourceFieldRef/resource") } else { from };
            let _ = writeln!(out, "      {from} -> {to}");
        }
    } else if volume.at("/projected").is_some() {
        let more = "a volume that contains injected data from multiple sources";
        say("Type", of("Projected", more));
        for source in volume.items("/projected/sources").map(View) {
            if source.at("/secret").is_some() {
                say("SecretName", source.text("/secret/name"));
                say("Optional", is_on(&source, "/secret/optional").to_string());
            } else if source.at("/downwardAPI").is_some() {
                say("DownwardAPI", "true".to_string());
            } else if source.at("/configMap").is_some() {
                say("ConfigMapName", source.text("/configMap/name"));
                say("Optional", is_on(&source, "/configMap/optional").to_string());
            } else if source.at("/serviceAccountToken").is_some() {
                let secs = source.text_or("/serviceAccountToken/expirationSeconds", "3600");
                say("TokenExpirationSeconds", secs);
            }
        }
    } else {
        out.push_str("    <unknown>\n");
    }
}

pub(super) fn state(status: &View<'_>, pointer: &str, name: &str, out: &mut String) {
    let at = |field: &str| format!("{pointer}/{field}");
    if status.at(&at("running")).is_some() {
        let _ = writeln!(out, "    {name}:\tRunning");
        let _ = writeln!(out, "      Started:\t{}", stamp(status, &at("running/startedAt")));
    } else if status.at(&at("waiting")).is_some() {
        let _ = writeln!(out, "    {name}:\tWaiting");
        let _ = writeln!(out, "      Reason:\t{}", status.text(&at("waiting/reason")));
    } else if status.at(&at("terminated")).is_some() {
        let _ = writeln!(out, "    {name}:\tTerminated");
        let _ = writeln!(out, "      Reason:\t{}", status.text(&at("terminated/reason")));
        if status.at(&at("terminated/message")).is_some() {
            let _ = writeln!(out, "      Message:\t{}", status.text(&at("terminated/message")));
        }
        let _ = writeln!(out, "      Exit Code:\t{}", status.number(&at("terminated/exitCode")));
        let _ = writeln!(out, "      Started:\t{}", stamp(status, &at("terminated/startedAt")));
        let _ = writeln!(out, "      Finished:\t{}", stamp(status, &at("terminated/finishedAt")));
    } else {
        let _ = writeln!(out, "    {name}:\tWaiting");
    }
}

/// `http-get http://:80/ delay=0s timeout=1s period=10s #success=1 #failure=3`
pub(super) fn probe_text(probe: &View<'_>) -> String {
    let what = if probe.at("/httpGet").is_some() {
        let scheme = probe.text_or("/httpGet/scheme", "HTTP").to_lowercase();
        let (port, path) = (probe.text("/httpGet/port"), probe.text_or("/httpGet/path", "/"));
        format!("http-get {scheme}://{}:{port}{path}", probe.text("/httpGet/host"))
    } else if probe.at("/tcpSocket").is_some() {
        format!("tcp-socket {}:{}", probe.text("/tcpSocket/host"), probe.text("/tcpSocket/port"))
    } else if probe.at("/exec").is_some() {
        let words: Vec<&str> = probe.items("/exec/command").filter_map(Value::as_str).collect();
        format!("exec [{}]", words.join(" "))
    } else if probe.at("/grpc").is_some() {
        format!("grpc <pod>:{} {}", probe.number("/grpc/port"), probe.text("/grpc/service"))
    } else {
        "unknown".to_string()
    };
    format!(
        "{what} delay={}s timeout={}s period={}s #success={} #failure={}",
        probe.number("/initialDelaySeconds"),
        probe.text_or("/timeoutSeconds", "1"),
        probe.text_or("/periodSeconds", "10"),
        probe.text_or("/successThreshold", "1"),
        probe.text_or("/failureThreshold", "3"),
    )
}

pub(super) fn conditions(v: &View<'_>, out: &mut String) {
    if v.len("/status/conditions") == 0 {
        return;
    }
    out.push_str("Conditions:\n  Type\tStatus\n");
    for condition in v.items("/status/conditions") {
        let condition = View(condition);
        let _ = writeln!(out, "  {} \t{} ", condition.text("/type"), condition.text("/status"));
    }
}

pub(super) fn tolerations(v: &View<'_>, out: &mut String) {
    let mut is_first = true;
    for toleration in v.items("/spec/tolerations") {
        let t = View(toleration);
        let mut text = t.text("/key");
        if !t.text("/value").is_empty() {
            let _ = write!(text, "={}", t.text("/value"));
        }
        if !t.text("/effect").is_empty() {
            let _ = write!(text, ":{}", t.text("/effect"));
        }
        if t.text("/operator") == "Exists" {
            text.push_str(" op=Exists");
        }
        if t.at("/tolerationSeconds").is_some() {
            let _ = write!(text, " for {}s", t.number("/tolerationSeconds"));
        }
        let _ = writeln!(out, "{}\t{text}", if is_first { "Tolerations:" } else { "" });
        is_first = false;
    }
    if is_first {
        line(out, "Tolerations", "<none>");
    }
}
