//! What the API server refuses (`pkg/apis/core/validation/validation.go`,
//! `pkg/apis/apps/validation/validation.go`), for the kinds with behaviour.

use std::collections::BTreeMap;

use crate::apps::{DaemonSet, Deployment, ReplicaSet};
use crate::core::{Container, Pod, PodSpec, PodTemplateSpec, Service, ServicePort, ServiceSpec};
use crate::labels::{Labels, Selector};
use crate::meta::{LabelSelector, ObjectMeta};
use crate::object::AnyObject;
use crate::status::FieldError;
use crate::{IntOrString, MetaExt};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

type Errors = Vec<FieldError>;

/// What is wrong with a new object.
pub fn create(object: &AnyObject) -> Errors {
    let mut errors = meta(object);
    match object {
        AnyObject::Pod(pod) => self::pod(pod, &mut errors),
        AnyObject::Service(service) => self::service(service, &mut errors),
        AnyObject::Deployment(deployment) => self::deployment(deployment, &mut errors),
        AnyObject::ReplicaSet(set) => replica_set(set, &mut errors),
        AnyObject::DaemonSet(set) => daemon_set(set, &mut errors),
        _ => {}
    }
    errors
}

/// What is wrong with a changed object.
pub fn update(old: &AnyObject, new: &AnyObject) -> Errors {
    let mut errors = create(new);
    match (old, new) {
        (AnyObject::Deployment(old), AnyObject::Deployment(new)) => {
            let selector = |d: &Deployment| d.spec.as_ref().map(|spec| spec.selector.clone());
            immutable_selector(selector(old), selector(new), &mut errors);
        }
        (AnyObject::ReplicaSet(old), AnyObject::ReplicaSet(new)) => {
            let selector = |s: &ReplicaSet| s.spec.as_ref().map(|spec| spec.selector.clone());
            immutable_selector(selector(old), selector(new), &mut errors);
        }
        (AnyObject::DaemonSet(old), AnyObject::DaemonSet(new)) => {
            let selector = |s: &DaemonSet| s.spec.as_ref().map(|spec| spec.selector.clone());
            immutable_selector(selector(old), selector(new), &mut errors);
        }
        (AnyObject::Service(old), AnyObject::Service(new)) => service_update(old, new, &mut errors),
        (AnyObject::Pod(old), AnyObject::Pod(new)) => pod_update(old, new, &mut errors),
        _ => {}
    }
    errors
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// A map as Go prints it with `%#v`.
fn go_map(labels: Option<&Labels>) -> String {
    let pairs = labels.into_iter().flatten().map(|(key, value)| format!("{key:?}:{value:?}"));
    format!("map[string]string{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

// ---- names and labels ------------------------------------------------------------------------------------

fn meta(object: &AnyObject) -> Errors {
    let mut errors = Errors::new();
    let meta = object.meta();
    let name = meta.name();
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        let (max, fits, complaint): (usize, fn(&str) -> bool, &str) = match object {
            AnyObject::Namespace(_) => (63, is_label_1123, LABEL_1123),
            AnyObject::Service(_) => (63, is_label_1035, LABEL_1035),
            _ => (253, is_subdomain, SUBDOMAIN),
        };
        if name.len() > max {
            let complaint = format!("must be no more than {max} bytes");
            errors.push(FieldError::invalid("metadata.name", quoted(name), &complaint));
        }
        // Roles and the like may have other names.
        let is_free = matches!(object, AnyObject::Dynamic(d) if d.api_version.starts_with("rbac."));
        if !fits(name) && !is_free {
            errors.push(FieldError::invalid("metadata.name", quoted(name), complaint));
        }
    }
    labels(meta, "metadata", &mut errors);
    errors
}

fn labels(meta: &ObjectMeta, at: &str, errors: &mut Errors) {
    for (key, value) in meta.labels.iter().flatten() {
        label(key, value, &format!("{at}.labels"), errors);
    }
}

fn label(key: &str, value: &str, at: &str, errors: &mut Errors) {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_some_and(|prefix| !is_subdomain(prefix)) {
        let complaint = format!("prefix part {SUBDOMAIN}");
        errors.push(FieldError::invalid(at, quoted(key), &complaint));
    }
    if name.is_empty() {
        errors.push(FieldError::invalid(at, quoted(key), "name part must be non-empty"));
    } else if name.len() > 63 {
        let complaint = "name part must be no more than 63 bytes";
        errors.push(FieldError::invalid(at, quoted(key), complaint));
    }
    if !is_label_value(name) || name.is_empty() {
        errors.push(FieldError::invalid(at, quoted(key), QUALIFIED_NAME));
    }
    if value.len() > 63 {
        errors.push(FieldError::invalid(at, quoted(value), "must be no more than 63 bytes"));
    }
    if !is_label_value(value) {
        errors.push(FieldError::invalid(at, quoted(value), LABEL_VALUE));
    }
}

fn is_label_value(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_end = |c: char| c.is_ascii_alphanumeric();
    text.is_empty()
        || (text.chars().all(is_inner) && text.starts_with(is_end) && text.ends_with(is_end))
}

fn is_label_1123(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.chars().all(|c| is_end(c) || c == '-')
        && text.starts_with(is_end)
        && text.ends_with(is_end)
}

fn is_label_1035(text: &str) -> bool {
    is_label_1123(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label_1123)
}

/// Names of ports: RFC 6335 §5.1.
fn port_name(name: &str, at: &str, errors: &mut Errors) {
    let mut complain = |what: &str| errors.push(FieldError::invalid(at, quoted(name), what));
    if name.len() > 15 {
        complain("must be no more than 15 characters");
    }
    if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        complain("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.chars().any(|c| c.is_ascii_lowercase()) {
        complain("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        complain("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        complain("must not begin or end with a hyphen");
    }
}

fn is_port(port: i32) -> bool {
    (1..=65535).contains(&port)
}

// ---- workloads -------------------------------------------------------------------------------------------

fn pod(pod: &Pod, errors: &mut Errors) {
    if let Some(spec) = &pod.spec {
        pod_spec(spec, "spec", errors);
    }
}

fn pod_spec(spec: &PodSpec, at: &str, errors: &mut Errors) {
    if spec.containers.is_empty() {
        errors.push(FieldError::required(format!("{at}.containers"), ""));
    }
    let mut names: Vec<&str> = Vec::new();
    let init = spec.init_containers.iter().flatten().map(|c| ("initContainers", c));
    let lists: [Vec<&Container>; 2] =
        [init.map(|(_, c)| c).collect(), spec.containers.iter().collect()];
    for (list, containers) in ["initContainers", "containers"].iter().zip(lists) {
        for (index, container) in containers.into_iter().enumerate() {
            let at = format!("{at}.{list}[{index}]");
            self::container(container, &at, &mut names, errors);
        }
    }
    let restart = spec.restart_policy.as_deref().unwrap_or("Always");
    if !["Always", "OnFailure", "Never"].contains(&restart) {
        let field = format!("{at}.restartPolicy");
        errors.push(FieldError::not_supported(field, restart, &["Always", "Never", "OnFailure"]));
    }
    for (key, value) in spec.node_selector.iter().flatten() {
        label(key, value, &format!("{at}.nodeSelector"), errors);
    }
}

fn container<'a>(
    container: &'a Container,
    at: &str,
    names: &mut Vec<&'a str>,
    errors: &mut Errors,
) {
    let name = container.name.as_str();
    let field = format!("{at}.name");
    if name.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else if !is_label_1123(name) {
        errors.push(FieldError::invalid(field, quoted(name), LABEL_1123));
    } else if names.contains(&name) {
        errors.push(FieldError::duplicate(field, quoted(name)));
    }
    names.push(name);
    if container.image.as_deref().unwrap_or_default().is_empty() {
        errors.push(FieldError::required(format!("{at}.image"), ""));
    }
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let at = format!("{at}.ports[{index}]");
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            port_name(name, &format!("{at}.name"), errors);
        }
        if !is_port(port.container_port) {
            let field = format!("{at}.containerPort");
            errors.push(FieldError::invalid(field, port.container_port, PORT_RANGE));
        }
        if let Some(port) = port.host_port.filter(|port| *port != 0 && !is_port(*port)) {
            errors.push(FieldError::invalid(format!("{at}.hostPort"), port, PORT_RANGE));
        }
        protocol(port.protocol.as_deref(), &format!("{at}.protocol"), errors);
    }
    for (index, env) in container.env.iter().flatten().enumerate() {
        if env.name.is_empty() {
            errors.push(FieldError::required(format!("{at}.env[{index}].name"), ""));
        }
    }
    let policy = container.image_pull_policy.as_deref().unwrap_or("Always");
    if !["Always", "IfNotPresent", "Never"].contains(&policy) {
        let field = format!("{at}.imagePullPolicy");
        errors.push(FieldError::not_supported(field, policy, &["Always", "IfNotPresent", "Never"]));
    }
}

fn protocol(protocol: Option<&str>, at: &str, errors: &mut Errors) {
    let protocol = protocol.unwrap_or("TCP");
    if !["TCP", "UDP", "SCTP"].contains(&protocol) {
        errors.push(FieldError::not_supported(at, protocol, &["SCTP", "TCP", "UDP"]));
    }
}

fn template(template: &PodTemplateSpec, selector: &LabelSelector, errors: &mut Errors) {
    let is_unset = *selector == LabelSelector::default();
    if is_unset {
        errors.push(FieldError::required("spec.selector", ""));
    } else if Selector::of(selector).is_empty() {
        errors.push(FieldError::invalid(
            "spec.selector",
            "{}",
            "empty selector is invalid for deployment",
        ));
    }
    let metadata = template.metadata.as_ref();
    let template_labels = metadata.and_then(|metadata| metadata.labels.as_ref());
    if !is_unset && !Selector::of(selector).matches(template_labels) {
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            go_map(template_labels),
            "`selector` does not match template `labels`",
        ));
    }
    if let Some(metadata) = metadata {
        labels(metadata, "spec.template", errors);
    }
    let Some(spec) = &template.spec else { return };
    pod_spec(spec, "spec.template.spec", errors);
    let restart = spec.restart_policy.as_deref().unwrap_or("Always");
    if matches!(restart, "OnFailure" | "Never") {
        let field = "spec.template.spec.restartPolicy";
        errors.push(FieldError::not_supported(field, restart, &["Always"]));
    }
}

fn not_negative(value: Option<i32>, at: &str, errors: &mut Errors) {
    if let Some(value) = value.filter(|value| *value < 0) {
        errors.push(FieldError::invalid(at, value, "must be greater than or equal to 0"));
    }
}

fn deployment(deployment: &Deployment, errors: &mut Errors) {
    let Some(spec) = &deployment.spec else { return };
    not_negative(spec.replicas, "spec.replicas", errors);
    template(&spec.template, &spec.selector, errors);
    let strategy =
        spec.strategy.as_ref().and_then(|s| s.type_.as_deref()).unwrap_or("RollingUpdate");
    if !["Recreate", "RollingUpdate"].contains(&strategy) {
        let supported = &["Recreate", "RollingUpdate"];
        errors.push(FieldError::not_supported("spec.strategy.type", strategy, supported));
    }
    let rolling = spec.strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
    let is_zero = |value: Option<&IntOrString>| match value {
        Some(IntOrString::Int(number)) => *number == 0,
        Some(IntOrString::String(text)) => text == "0%" || text == "0",
        None => false,
    };
    if let Some(rolling) = rolling
        && is_zero(rolling.max_surge.as_ref())
        && is_zero(rolling.max_unavailable.as_ref())
    {
        errors.push(FieldError::invalid(
            "spec.strategy.rollingUpdate.maxUnavailable",
            "0",
            "may not be 0 when `maxSurge` is 0",
        ));
    }
    not_negative(spec.min_ready_seconds, "spec.minReadySeconds", errors);
}

fn replica_set(set: &ReplicaSet, errors: &mut Errors) {
    let Some(spec) = &set.spec else { return };
    not_negative(spec.replicas, "spec.replicas", errors);
    if let Some(pods) = &spec.template {
        template(pods, &spec.selector, errors);
    }
}

fn daemon_set(set: &DaemonSet, errors: &mut Errors) {
    if let Some(spec) = &set.spec {
        template(&spec.template, &spec.selector, errors);
    }
}

fn immutable_selector(old: Option<LabelSelector>, new: Option<LabelSelector>, errors: &mut Errors) {
    if old != new {
        let shown = new.map(|selector| go_selector(&selector)).unwrap_or_default();
        errors.push(FieldError::invalid("spec.selector", shown, "field is immutable"));
    }
}

/// A selector as Go prints it with `%#v`.
fn go_selector(selector: &LabelSelector) -> String {
    let labels = match &selector.match_labels {
        Some(labels) => go_map(Some(labels)),
        None => "map[string]string(nil)".to_string(),
    };
    let expressions = match &selector.match_expressions {
        None => "[]v1.LabelSelectorRequirement(nil)".to_string(),
        Some(list) => {
            let shown = list.iter().map(|e| {
                let values: Vec<String> =
                    e.values.iter().flatten().map(|value| format!("{value:?}")).collect();
                format!(
                    "v1.LabelSelectorRequirement{{Key:{:?}, Operator:{:?}, Values:[]string{{{}}}}}",
                    e.key,
                    e.operator,
                    values.join(", ")
                )
            });
            format!("[]v1.LabelSelectorRequirement{{{}}}", shown.collect::<Vec<_>>().join(", "))
        }
    };
    format!("v1.LabelSelector{{MatchLabels:{labels}, MatchExpressions:{expressions}}}")
}

/// Of a Pod's spec only the images and a few numbers may change.
fn pod_update(old: &Pod, new: &Pod, errors: &mut Errors) {
    let frozen = |pod: &Pod| {
        let mut spec = pod.spec.clone().unwrap_or_default();
        let containers =
            spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
        for container in containers {
            container.image = None;
        }
        spec.active_deadline_seconds = None;
        spec.termination_grace_period_seconds = None;
        spec.tolerations = None;
        // Written by the scheduler, once.
        spec.node_name = None;
        spec
    };
    if frozen(old) != frozen(new) {
        errors.push(FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
}

// ---- services --------------------------------------------------------------------------------------------

const SERVICE_TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

fn service(service: &Service, errors: &mut Errors) {
    let Some(spec) = &service.spec else { return };
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() && !is_headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    if kind == "LoadBalancer" && is_headless {
        let complaint = "may not be set to 'None' for LoadBalancer services";
        errors.push(FieldError::invalid("spec.clusterIPs[0]", "\"None\"", complaint));
    }
    if kind == "ExternalName" {
        external_name(spec, errors);
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let at = format!("spec.ports[{index}]");
        service_port(port, &at, ports.len() > 1, &mut names, errors);
        if port.node_port.is_some_and(|port| port != 0) && kind == "ClusterIP" {
            let complaint = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(format!("{at}.nodePort"), complaint));
        }
    }
    service_duplicates(ports, errors);
    for (key, value) in spec.selector.iter().flatten() {
        label(key, value, "spec.selector", errors);
    }
    if !SERVICE_TYPES.contains(&kind) {
        errors.push(FieldError::not_supported("spec.type", kind, &SERVICE_TYPES));
    }
    let one_of = |field: &str, value: Option<&str>, allowed: &[&str], errors: &mut Errors| {
        if let Some(value) = value.filter(|value| !allowed.contains(value)) {
            errors.push(FieldError::not_supported(field, value, allowed));
        }
    };
    let affinity = spec.session_affinity.as_deref();
    one_of("spec.sessionAffinity", affinity, &["ClientIP", "None"], errors);
    let external = spec.external_traffic_policy.as_deref().filter(|policy| !policy.is_empty());
    one_of("spec.externalTrafficPolicy", external, &["Cluster", "Local"], errors);
    let internal = spec.internal_traffic_policy.as_deref().filter(|policy| !policy.is_empty());
    one_of("spec.internalTrafficPolicy", internal, &["Cluster", "Local"], errors);
    for (index, ip) in spec.external_ips.iter().flatten().enumerate() {
        if ip.parse::<std::net::Ipv4Addr>().is_err() {
            let complaint = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.push(FieldError::invalid(
                format!("spec.externalIPs[{index}]"),
                quoted(ip),
                complaint,
            ));
        }
    }
}

fn external_name(spec: &ServiceSpec, errors: &mut Errors) {
    if spec.cluster_ip.as_deref().is_some_and(|ip| !ip.is_empty() && ip != "None") {
        let complaint = "may not be set when `type` is 'ExternalName'";
        errors.push(FieldError::forbidden("spec.clusterIPs[0]", complaint));
    }
    match spec.external_name.as_deref().unwrap_or_default().trim_end_matches('.') {
        "" => errors.push(FieldError::required("spec.externalName", "")),
        name if !is_subdomain(name) => {
            errors.push(FieldError::invalid("spec.externalName", quoted(name), SUBDOMAIN));
        }
        _ => {}
    }
}

fn service_port<'a>(
    port: &'a ServicePort,
    at: &str,
    needs_name: bool,
    names: &mut Vec<&'a str>,
    errors: &mut Errors,
) {
    match port.name.as_deref().unwrap_or_default() {
        "" if needs_name => errors.push(FieldError::required(format!("{at}.name"), "")),
        "" => {}
        name => {
            if !is_label_1123(name) {
                errors.push(FieldError::invalid(format!("{at}.name"), quoted(name), LABEL_1123));
            } else if names.contains(&name) {
                errors.push(FieldError::duplicate(format!("{at}.name"), quoted(name)));
            }
            names.push(name);
        }
    }
    if !is_port(port.port) {
        errors.push(FieldError::invalid(format!("{at}.port"), port.port, PORT_RANGE));
    }
    protocol(port.protocol.as_deref(), &format!("{at}.protocol"), errors);
    match &port.target_port {
        Some(IntOrString::Int(number)) if !is_port(*number) => {
            errors.push(FieldError::invalid(format!("{at}.targetPort"), number, PORT_RANGE));
        }
        Some(IntOrString::String(name)) => port_name(name, &format!("{at}.targetPort"), errors),
        _ => {}
    }
}

/// The same port and protocol twice, the same node port and protocol twice.
fn service_duplicates(ports: &[ServicePort], errors: &mut Errors) {
    let mut seen: BTreeMap<(&str, i32), ()> = BTreeMap::new();
    let mut seen_node: BTreeMap<(&str, i32), ()> = BTreeMap::new();
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        if seen.insert((protocol, port.port), ()).is_some() {
            let shown = format!(
                "core.ServicePort{{Name:\"\", Protocol:{protocol:?}, AppProtocol:(*string)(nil), Port:{}, TargetPort:intstr.IntOrString{{Type:0, IntVal:0, StrVal:\"\"}}, NodePort:0}}",
                port.port
            );
            errors.push(FieldError::duplicate(format!("spec.ports[{index}]"), shown));
        }
        let Some(node_port) = port.node_port.filter(|port| *port != 0) else { continue };
        if seen_node.insert((protocol, node_port), ()).is_some() {
            errors.push(FieldError::duplicate(format!("spec.ports[{index}].nodePort"), node_port));
        }
    }
}

fn service_update(old: &Service, new: &Service, errors: &mut Errors) {
    let spec = |service: &Service| service.spec.clone().unwrap_or_default();
    let (old, new) = (spec(old), spec(new));
    let is_external_name = |spec: &ServiceSpec| spec.type_.as_deref() == Some("ExternalName");
    if is_external_name(&old) || is_external_name(&new) {
        return;
    }
    let ip = |spec: &ServiceSpec| spec.cluster_ip.clone().unwrap_or_default();
    if ip(&old) != ip(&new) && !ip(&old).is_empty() {
        let shown = serde_json::to_string(&[ip(&new)]).unwrap_or_default();
        errors.push(FieldError::invalid(
            "spec.clusterIPs[0]",
            format!("[]string{{{}}}", shown.trim_matches(['[', ']'])),
            "may not change once set",
        ));
    }
}
