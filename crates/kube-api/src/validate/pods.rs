//! What is asked of Pods and their templates (`pkg/apis/core/validation/validation.go`).

use serde_json::Value;

use super::names::Form;
use super::rules::{Checker, is_empty};
use crate::quantity::Quantity;

pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn number(value: &Value, field: &str) -> i64 {
    value.get(field).and_then(Value::as_i64).unwrap_or(0)
}

pub(super) fn enter_pod(checker: &mut Checker, spec: &Value) {
    checker.volumes.clear();
    checker.names.clear();
    checker.grace = number(spec, "terminationGracePeriodSeconds");
}

pub(super) fn only_pod(checker: &mut Checker, pod: &Value) {
    let Some(spec) = pod.get("spec") else { return };
    for field in ["containers", "initContainers"] {
        for (index, container) in list(spec, field).iter().enumerate() {
            let image = text(container, "image");
            if image.trim() != image {
                let what = "must not have leading or trailing whitespace";
                checker.invalid(&format!("spec.{field}[{index}].image"), &image.into(), what);
            }
        }
    }
}

/// Sources of volumes in upstream's order, and what each must say.
const SOURCES: &str = "emptyDir
hostPath path
gitRepo repository
gcePersistentDisk pdName
awsElasticBlockStore volumeID
secret secretName
nfs server path
iscsi targetPortal iqn
glusterfs endpoints path
flocker
persistentVolumeClaim claimName
rbd monitors image
cinder volumeID
cephfs monitors
quobyte registry volume
downwardAPI
fc
flexVolume driver
configMap name
azureFile secretName shareName
vsphereVolume volumePath
photonPersistentDisk pdID
portworxVolume volumeID
azureDisk diskName diskURI
storageos
scaleIO gateway system volumeName
projected
csi driver
ephemeral
image";

pub(super) fn volumes(checker: &mut Checker, volumes: &Value) {
    checker.each(volumes, &mut |checker, volume| {
        let before = checker.errors.len();
        let mut has_source = false;
        for line in SOURCES.lines() {
            let mut words = line.split(' ');
            let source = words.next().unwrap_or_default();
            let Some(found) = volume.get(source) else { continue };
            if std::mem::replace(&mut has_source, true) {
                checker.forbidden(source, "may not specify more than 1 volume type");
                continue;
            }
            for field in words {
                if is_empty(found.get(field).unwrap_or(&Value::Null)) {
                    checker.required(&format!("{source}.{field}"), "");
                }
            }
        }
        if !has_source {
            checker.required("", "must specify a volume type");
        }
        let name = text(volume, "name");
        match name {
            "" => checker.required("name", ""),
            name => checker.form("name", name, Form::Label),
        }
        if checker.volumes.iter().any(|known| known == name) {
            checker.duplicate("name", &name.into());
        }
        if checker.errors.len() == before {
            checker.volumes.push(name.to_string());
        }
    });
}

pub(super) fn containers(checker: &mut Checker, containers: &Value) {
    checker.each(containers, &mut |checker, container| {
        checker.object("core/v1.Container", container);
        unique_name(checker, container);
        if let Some(lifecycle) = container.get("lifecycle") {
            checker.within("lifecycle", |checker| checker.object("core/v1.Lifecycle", lifecycle));
        }
        probes(checker, container);
        if container.get("restartPolicy").is_some() && container.get("restartPolicyRules").is_none()
        {
            checker.forbidden("restartPolicy", "may not be set for non-init containers");
        }
    });
    host_ports(checker, containers);
}

fn unique_name(checker: &mut Checker, container: &Value) {
    let name = text(container, "name");
    if checker.names.iter().any(|known| known == name) {
        checker.duplicate("name", &name.into());
    } else {
        checker.names.push(name.to_string());
    }
}

pub(super) fn init_containers(checker: &mut Checker, containers: &Value) {
    checker.each(containers, &mut |checker, container| {
        checker.object("core/v1.Container", container);
        let restart = text(container, "restartPolicy");
        if !["", "Always"].contains(&restart) {
            checker.not_supported("restartPolicy", restart, &["Always"]);
        }
        unique_name(checker, container);
        if restart == "Always" {
            if let Some(lifecycle) = container.get("lifecycle") {
                checker
                    .within("lifecycle", |checker| checker.object("core/v1.Lifecycle", lifecycle));
            }
            probes(checker, container);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container.get(field).is_some() {
                    let what = "may not be set for init containers without restartPolicy=Always";
                    checker.forbidden(field, what);
                }
            }
        }
    });
}

/// A port of the host can serve one container only.
fn host_ports(checker: &mut Checker, containers: &Value) {
    let mut seen: Vec<String> = Vec::new();
    checker.each(containers, &mut |checker, container| {
        for (index, port) in list(container, "ports").iter().enumerate() {
            let number = number(port, "hostPort");
            if number == 0 {
                continue;
            }
            let key = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
            if seen.contains(&key) {
                checker.duplicate(&format!("ports[{index}].hostPort"), &key.into());
            } else {
                seen.push(key);
            }
        }
    });
}

pub(super) fn host_network(checker: &mut Checker, spec: &Value) {
    if spec.get("hostNetwork") != Some(&Value::Bool(true)) {
        return;
    }
    for (at, container) in list(spec, "containers").iter().enumerate() {
        for (index, port) in list(container, "ports").iter().enumerate() {
            let host = number(port, "hostPort");
            if host != 0 && host != number(port, "containerPort") {
                let field = format!("containers[{at}].ports[{index}].hostPort");
                let what = "must match `containerPort` when `hostNetwork` is true";
                checker.invalid(&field, &host.into(), what);
            }
        }
    }
}

pub(super) fn container_ports(checker: &mut Checker, ports: &Value) {
    let mut names: Vec<&str> = Vec::new();
    checker.each(ports, &mut |checker, port| {
        let name = text(port, "name");
        if !name.is_empty() {
            let before = checker.errors.len();
            checker.form("name", name, Form::PortName);
            if checker.errors.len() == before {
                if names.contains(&name) {
                    checker.duplicate("name", &name.into());
                }
                names.push(name);
            }
        }
        match number(port, "containerPort") {
            0 => checker.required("containerPort", ""),
            number => checker.port("containerPort", &number.into()),
        }
        match number(port, "hostPort") {
            0 => {}
            number => checker.port("hostPort", &number.into()),
        }
        protocol(checker, port);
    });
}

pub(super) fn protocol(checker: &mut Checker, port: &Value) {
    match text(port, "protocol") {
        "" => checker.required("protocol", ""),
        "TCP" | "UDP" | "SCTP" => {}
        other => checker.not_supported("protocol", other, &["SCTP", "TCP", "UDP"]),
    }
}

pub(super) fn env_source(checker: &mut Checker, env: &Value) {
    const FIELDS: [&str; 9] = [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    let Some(source) = env.get("valueFrom") else { return };
    let mut count = 0;
    if let Some(field) = source.get("fieldRef") {
        count += 1;
        let path = text(field, "fieldPath");
        let is_subscript =
            path.starts_with("metadata.labels['") || path.starts_with("metadata.annotations['");
        if path.is_empty() {
            checker.required("valueFrom.fieldRef.fieldPath", "");
        } else if !is_subscript && !FIELDS.contains(&path) {
            let known =
                ["metadata.", "spec.", "status."].iter().any(|start| path.starts_with(start));
            let field = "valueFrom.fieldRef.fieldPath";
            if known {
                checker.not_supported(field, path, &FIELDS);
            } else {
                let what = format!("error converting fieldPath: field label not supported: {path}");
                checker.invalid(field, &path.into(), &what);
            }
        }
    }
    if let Some(field) = source.get("resourceFieldRef") {
        count += 1;
        const RESOURCES: [&str; 6] = [
            "limits.cpu",
            "limits.ephemeral-storage",
            "limits.memory",
            "requests.cpu",
            "requests.ephemeral-storage",
            "requests.memory",
        ];
        let resource = text(field, "resource");
        let is_huge = resource.contains(".hugepages-");
        if resource.is_empty() {
            checker.required("valueFrom.resourceFieldRef.resource", "");
        } else if !RESOURCES.contains(&resource) && !is_huge {
            checker.not_supported("valueFrom.resourceFieldRef.resource", resource, &RESOURCES);
        }
    }
    for name in ["configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let Some(reference) = source.get(name) else { continue };
        count += 1;
        match text(reference, "key") {
            "" => checker.required(&format!("valueFrom.{name}.key"), ""),
            key if name != "fileKeyRef" => {
                checker.form(&format!("valueFrom.{name}.key"), key, Form::Key);
            }
            _ => {}
        }
    }
    let empty = Value::String(String::new());
    if count == 0 {
        let what = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        checker.invalid("valueFrom", &empty, what);
    } else if !text(env, "value").is_empty() {
        checker.invalid("valueFrom", &empty, "may not be specified when `value` is not empty");
    } else if count > 1 {
        checker.invalid(
            "valueFrom",
            &empty,
            "may not have more than one field specified at a time",
        );
    }
}

pub(super) fn volume_mounts(checker: &mut Checker, mounts: &Value) {
    let mut paths: Vec<&str> = Vec::new();
    checker.each(mounts, &mut |checker, mount| {
        let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            checker.required("name", "");
        }
        if !checker.volumes.iter().any(|known| known == name) {
            checker.not_found("name", name);
        }
        if path.is_empty() {
            checker.required("mountPath", "");
        }
        if paths.contains(&path) {
            checker.invalid("mountPath", &path.into(), "must be unique");
        }
        paths.push(path);
    });
}

/// What is asked for, what is allowed, and that the one is no more than the other.
pub(super) fn resources(checker: &mut Checker, resources: &Value) {
    let amounts = |kind: &str| resources.get(kind).and_then(Value::as_object);
    let limits = amounts("limits");
    for kind in ["limits", "requests"] {
        for (name, amount) in amounts(kind).into_iter().flatten() {
            let field = format!("{kind}[{name}]");
            resource_name(checker, &field, name);
            let Some(amount) = amount.as_str().and_then(Quantity::parse) else { continue };
            if amount.milli() < 0 {
                let shown = amount.canonical().into();
                checker.invalid(&field, &shown, "must be greater than or equal to 0");
            }
            if name.contains('/') && amount.milli() % 1000 != 0 {
                checker.invalid(&field, &amount.canonical().into(), "must be an integer");
            }
            if kind == "limits" {
                continue;
            }
            let limit = limits.and_then(|limits| limits.get(name)).and_then(Value::as_str);
            let Some(limit) = limit.and_then(Quantity::parse) else { continue };
            let may_be_less = !name.contains('/') && !name.starts_with("hugepages-");
            if !may_be_less && limit.milli() != amount.milli() {
                let what = format!("must be equal to {name} limit of {}", limit.canonical());
                checker.invalid(kind, &amount.canonical().into(), &what);
            } else if amount.milli() > limit.milli() {
                let what =
                    format!("must be less than or equal to {name} limit of {}", limit.canonical());
                checker.invalid(kind, &amount.canonical().into(), &what);
            }
        }
    }
}

fn resource_name(checker: &mut Checker, field: &str, name: &str) {
    const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
    let before = checker.errors.len();
    checker.form(field, name, Form::QualifiedName);
    if checker.errors.len() > before || name.contains('/') {
        return;
    }
    if !STANDARD.contains(&name) && !name.starts_with("hugepages-") {
        let others = ["storage", "pods", "services", "secrets", "configmaps"];
        if !others.contains(&name) {
            let what = "must be a standard resource type or fully qualified";
            checker.invalid(field, &name.into(), what);
        }
        checker.invalid(field, &name.into(), "must be a standard resource for containers");
    }
}

fn probes(checker: &mut Checker, container: &Value) {
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(field) else { continue };
        checker.within(field, |checker| {
            handler(checker, probe);
            for field in [
                "initialDelaySeconds",
                "timeoutSeconds",
                "periodSeconds",
                "successThreshold",
                "failureThreshold",
            ] {
                checker.at_least(field, probe, 0);
            }
            if let Some(grace) = probe.get("terminationGracePeriodSeconds") {
                if grace.as_i64().is_some_and(|grace| grace <= 0) {
                    checker.invalid(
                        "terminationGracePeriodSeconds",
                        grace,
                        "must be greater than 0",
                    );
                }
                if field == "readinessProbe" {
                    let what = "must not be set for readinessProbes";
                    checker.invalid("terminationGracePeriodSeconds", grace, what);
                }
            }
            let successes = number(probe, "successThreshold");
            if field != "readinessProbe" && successes != 1 {
                checker.invalid("successThreshold", &successes.into(), "must be 1");
            }
        });
    }
}

/// What a probe or a hook does.
pub(super) fn handler(checker: &mut Checker, handler: &Value) {
    let mut count = 0;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let Some(action) = handler.get(kind) else { continue };
        count += 1;
        if count > 1 {
            checker.forbidden(kind, "may not specify more than 1 handler type");
            continue;
        }
        let grace = checker.grace;
        checker.within(kind, |checker| match kind {
            "exec" => {
                if list(action, "command").is_empty() {
                    checker.required("command", "");
                }
            }
            "httpGet" => http_get(checker, action),
            "sleep" => {
                let seconds = number(action, "seconds");
                if seconds < 0 || seconds > grace {
                    let what = format!(
                        "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                    );
                    checker.invalid("", &seconds.into(), &what);
                }
            }
            _ => checker.port_ref("port", action.get("port").unwrap_or(&Value::Null)),
        });
    }
    if count == 0 {
        checker.required("", "must specify a handler type");
    }
}

fn http_get(checker: &mut Checker, action: &Value) {
    if text(action, "path").is_empty() {
        checker.required("path", "");
    }
    checker.port_ref("port", action.get("port").unwrap_or(&Value::Null));
    let scheme = text(action, "scheme");
    if !["HTTP", "HTTPS"].contains(&scheme) {
        checker.not_supported("scheme", scheme, &["HTTP", "HTTPS"]);
    }
    for header in list(action, "httpHeaders") {
        checker.form("httpHeaders", text(header, "name"), Form::Header);
    }
}

pub(super) fn deadline(checker: &mut Checker, seconds: &Value) {
    if seconds.as_i64().is_some_and(|seconds| !(1..=i64::from(i32::MAX)).contains(&seconds)) {
        checker.invalid("", seconds, "must be between 1 and 2147483647, inclusive");
    }
}

pub(super) fn dns_config(checker: &mut Checker, spec: &Value) {
    let config = spec.get("dnsConfig");
    if text(spec, "dnsPolicy") == "None" {
        let Some(config) = config else {
            let what = "must provide `dnsConfig` when `dnsPolicy` is None";
            return checker.required("dnsConfig", what);
        };
        if list(config, "nameservers").is_empty() {
            let what = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return checker.required("dnsConfig.nameservers", what);
        }
    }
    let Some(config) = config else { return };
    let servers = list(config, "nameservers");
    if servers.len() > 3 {
        let shown = Value::Array(servers.to_vec());
        checker.invalid("dnsConfig.nameservers", &shown, "must not have more than 3 nameservers");
    }
    for (index, server) in servers.iter().enumerate() {
        let field = format!("dnsConfig.nameservers[{index}]");
        checker.form(&field, server.as_str().unwrap_or_default(), Form::Ip);
    }
    for (index, search) in list(config, "searches").iter().enumerate() {
        let search = search.as_str().unwrap_or_default();
        let bare = search.strip_suffix('.').unwrap_or(search);
        if bare != "." && !bare.is_empty() {
            // Underscores are let in (KEP-4427).
            let field = format!("dnsConfig.searches[{index}]");
            checker.form(&field, &bare.replace('_', "a"), Form::Subdomain);
        }
    }
    for (index, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            checker.required(&format!("dnsConfig.options[{index}]"), "must not be empty");
        }
    }
}

pub(super) fn toleration(checker: &mut Checker, toleration: &Value) {
    let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
    let (value, effect) = (text(toleration, "value"), text(toleration, "effect"));
    if !key.is_empty() {
        checker.form("key", key, Form::QualifiedName);
    } else if operator != "Exists" {
        let what = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        checker.invalid("operator", &operator.into(), what);
    }
    if toleration.get("tolerationSeconds").is_some() && effect != "NoExecute" {
        let what = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        checker.invalid("effect", &effect.into(), what);
    }
    match operator {
        "" | "Equal" => checker.form("operator", value, Form::LabelValue),
        "Exists" if !value.is_empty() => {
            let what = "value must be empty when `operator` is 'Exists'";
            checker.invalid("operator", toleration, what);
        }
        "Exists" => {}
        other => checker.not_supported("operator", other, &["Equal", "Exists"]),
    }
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        checker.not_supported("effect", effect, &EFFECTS);
    }
}

pub(super) fn weight(checker: &mut Checker, weight: &Value) {
    if weight.as_i64().is_some_and(|weight| !(1..=100).contains(&weight)) {
        checker.invalid("", weight, "must be in the range 1-100");
    }
}

pub(super) fn node_requirement(checker: &mut Checker, requirement: &Value) {
    let values = list(requirement, "values").len();
    match text(requirement, "operator") {
        "In" | "NotIn" if values == 0 => {
            checker.required("values", "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if values > 0 => {
            let what = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            checker.forbidden("values", what);
        }
        "Gt" | "Lt" if values != 1 => {
            let what = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            checker.required("values", what);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => checker.invalid("operator", &other.into(), "not a valid selector operator"),
    }
}
