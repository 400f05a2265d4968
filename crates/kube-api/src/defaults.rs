//! What the API server fills in (`pkg/apis/core/v1/defaults.go`, `pkg/apis/apps/v1/defaults.go`, and the
//! admission plugins that are on by default).

use std::rc::Rc;

use crate::apps::{Deployment, DeploymentStrategy, ReplicaSet, RollingUpdateDeployment};
use crate::core::{
    Container, Namespace, NamespaceSpec, NamespaceStatus, Node, Pod, PodSpec, Service, ServicePort,
    Toleration,
};
use crate::object::AnyObject;
use crate::{IntOrString, apps};

/// Fills in what the user has left out.
pub fn apply(object: &mut AnyObject) {
    match object {
        AnyObject::Pod(pod) => self::pod(Rc::make_mut(pod)),
        AnyObject::Service(service) => self::service(Rc::make_mut(service)),
        AnyObject::Deployment(deployment) => self::deployment(Rc::make_mut(deployment)),
        AnyObject::ReplicaSet(set) => replica_set(Rc::make_mut(set)),
        AnyObject::DaemonSet(set) => daemon_set(Rc::make_mut(set)),
        AnyObject::Namespace(namespace) => self::namespace(Rc::make_mut(namespace)),
        AnyObject::Node(node) => self::node(Rc::make_mut(node)),
        _ => crate::workloads::apply(object),
    }
}

pub(crate) fn or<T>(field: &mut Option<T>, default: impl FnOnce() -> T) {
    if field.is_none() {
        *field = Some(default());
    }
}

fn pod(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    pod_spec(spec);
    // Admission: DefaultTolerationSeconds, Priority, ServiceAccount.
    let tolerations = spec.tolerations.get_or_insert_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let is_tolerated = |t: &Toleration| {
            t.key.as_deref().is_none_or(|known| known == key)
                && t.effect.as_deref().is_none_or(|effect| effect == "NoExecute")
        };
        if !tolerations.iter().any(is_tolerated) {
            tolerations.push(Toleration {
                key: Some(key.to_string()),
                operator: Some("Exists".to_string()),
                effect: Some("NoExecute".to_string()),
                toleration_seconds: Some(300),
                value: None,
            });
        }
    }
    or(&mut spec.priority, || 0);
    or(&mut spec.preemption_policy, || "PreemptLowerPriority".to_string());
    or(&mut spec.service_account_name, || "default".to_string());
    let account = spec.service_account_name.clone();
    or(&mut spec.service_account, || account.unwrap_or_default());
    let status = pod.status.get_or_insert_default();
    or(&mut status.phase, || "Pending".to_string());
    or(&mut status.qos_class, || qos_class(spec).to_string());
}

/// Defaults of a Pod's spec, also inside templates.
pub(crate) fn pod_spec(spec: &mut PodSpec) {
    or(&mut spec.restart_policy, || "Always".to_string());
    or(&mut spec.dns_policy, || "ClusterFirst".to_string());
    or(&mut spec.termination_grace_period_seconds, || 30);
    or(&mut spec.scheduler_name, || "default-scheduler".to_string());
    or(&mut spec.security_context, Default::default);
    or(&mut spec.enable_service_links, || true);
    let host_network = spec.host_network == Some(true);
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    for container in containers {
        self::container(container, host_network);
    }
}

fn container(container: &mut Container, host_network: bool) {
    or(&mut container.image_pull_policy, || {
        pull_policy(container.image.as_deref().unwrap_or_default()).to_string()
    });
    or(&mut container.termination_message_path, || "/dev/termination-log".to_string());
    or(&mut container.termination_message_policy, || "File".to_string());
    or(&mut container.resources, Default::default);
    for port in container.ports.iter_mut().flatten() {
        or(&mut port.protocol, || "TCP".to_string());
        if host_network {
            or(&mut port.host_port, || port.container_port);
        }
    }
    let probes = [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ];
    for probe in probes.into_iter().flatten() {
        or(&mut probe.timeout_seconds, || 1);
        or(&mut probe.period_seconds, || 10);
        or(&mut probe.success_threshold, || 1);
        or(&mut probe.failure_threshold, || 3);
        if let Some(get) = &mut probe.http_get {
            or(&mut get.path, || "/".to_string());
            or(&mut get.scheme, || "HTTP".to_string());
        }
    }
    let requests = container.resources.as_mut();
    if let Some(resources) = requests
        && let Some(limits) = &resources.limits
    {
        let requests = resources.requests.get_or_insert_default();
        for (name, limit) in limits {
            requests.entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
}

/// `Always` for `latest` and for images without a tag.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    let is_pinned =
        last.contains('@') || last.split_once(':').is_some_and(|(_, tag)| tag != "latest");
    if is_pinned { "IfNotPresent" } else { "Always" }
}

/// Quality of service (`pkg/apis/core/v1/helper/qos`).
fn qos_class(spec: &PodSpec) -> &'static str {
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let has_any = containers().any(|c| {
        let resources = c.resources.as_ref();
        let count = |map: Option<usize>| map.unwrap_or(0) > 0;
        count(resources.and_then(|r| r.requests.as_ref().map(|m| m.len())))
            || count(resources.and_then(|r| r.limits.as_ref().map(|m| m.len())))
    });
    if !has_any {
        return "BestEffort";
    }
    let is_guaranteed = containers().all(|c| {
        let Some(resources) = &c.resources else { return false };
        ["cpu", "memory"].iter().all(|name| {
            let of = |map: &Option<std::collections::BTreeMap<String, _>>| {
                map.as_ref().and_then(|map| map.get(*name)).cloned()
            };
            let limit = of(&resources.limits);
            limit.is_some() && of(&resources.requests) == limit
        })
    });
    if is_guaranteed { "Guaranteed" } else { "Burstable" }
}

fn service(service: &mut Service) {
    let spec = service.spec.get_or_insert_default();
    or(&mut spec.session_affinity, || "None".to_string());
    or(&mut spec.type_, || "ClusterIP".to_string());
    let kind = spec.type_.clone().unwrap_or_default();
    for port in spec.ports.iter_mut().flatten() {
        service_port(port);
    }
    if kind == "ExternalName" {
        return;
    }
    or(&mut spec.internal_traffic_policy, || "Cluster".to_string());
    let has_external = spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty());
    if kind == "NodePort" || kind == "LoadBalancer" || has_external {
        or(&mut spec.external_traffic_policy, || "Cluster".to_string());
    }
    if kind == "LoadBalancer" {
        or(&mut spec.allocate_load_balancer_node_ports, || true);
    }
    if spec.session_affinity.as_deref() == Some("ClientIP") {
        let config = spec.session_affinity_config.get_or_insert_default();
        let client_ip = config.client_ip.get_or_insert_default();
        or(&mut client_ip.timeout_seconds, || 10800);
    }
    service.status.get_or_insert_default().load_balancer.get_or_insert_default();
}

fn service_port(port: &mut ServicePort) {
    or(&mut port.protocol, || "TCP".to_string());
    let is_unset = matches!(&port.target_port, None | Some(IntOrString::Int(0)))
        || matches!(&port.target_port, Some(IntOrString::String(name)) if name.is_empty());
    if is_unset {
        port.target_port = Some(IntOrString::Int(port.port));
    }
}

fn deployment(deployment: &mut Deployment) {
    let spec = deployment.spec.get_or_insert_default();
    or(&mut spec.replicas, || 1);
    or(&mut spec.revision_history_limit, || 10);
    or(&mut spec.progress_deadline_seconds, || 600);
    let strategy: &mut DeploymentStrategy = spec.strategy.get_or_insert_default();
    or(&mut strategy.type_, || "RollingUpdate".to_string());
    if strategy.type_.as_deref() == Some("RollingUpdate") {
        let rolling: &mut RollingUpdateDeployment = strategy.rolling_update.get_or_insert_default();
        or(&mut rolling.max_unavailable, || IntOrString::String("25%".to_string()));
        or(&mut rolling.max_surge, || IntOrString::String("25%".to_string()));
    }
    pod_spec(spec.template.spec.get_or_insert_default());
    deployment.status.get_or_insert_default();
}

fn replica_set(set: &mut ReplicaSet) {
    let spec = set.spec.get_or_insert_default();
    or(&mut spec.replicas, || 1);
    let template = spec.template.get_or_insert_default();
    pod_spec(template.spec.get_or_insert_default());
    if spec.selector == Default::default() {
        spec.selector.match_labels =
            template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
    }
    set.status.get_or_insert_default();
}

fn daemon_set(set: &mut apps::DaemonSet) {
    let spec = set.spec.get_or_insert_default();
    or(&mut spec.revision_history_limit, || 10);
    let strategy = spec.update_strategy.get_or_insert_default();
    or(&mut strategy.type_, || "RollingUpdate".to_string());
    if strategy.type_.as_deref() == Some("RollingUpdate") {
        let rolling = strategy.rolling_update.get_or_insert_default();
        or(&mut rolling.max_unavailable, || IntOrString::Int(1));
        or(&mut rolling.max_surge, || IntOrString::Int(0));
    }
    pod_spec(spec.template.spec.get_or_insert_default());
    set.status.get_or_insert_default();
}

fn namespace(namespace: &mut Namespace) {
    let name = namespace.metadata.name.clone().unwrap_or_default();
    let labels = namespace.metadata.labels.get_or_insert_default();
    labels.entry("kubernetes.io/metadata.name".to_string()).or_insert(name);
    let spec: &mut NamespaceSpec = namespace.spec.get_or_insert_default();
    or(&mut spec.finalizers, || vec!["kubernetes".to_string()]);
    let status: &mut NamespaceStatus = namespace.status.get_or_insert_default();
    or(&mut status.phase, || "Active".to_string());
}

fn node(node: &mut Node) {
    node.spec.get_or_insert_default();
    let status = node.status.get_or_insert_default();
    if status.allocatable.is_none() {
        status.allocatable = status.capacity.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_without_a_tag_are_pulled_always() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("localhost:5000/nginx", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("nginx@sha256:abc", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
