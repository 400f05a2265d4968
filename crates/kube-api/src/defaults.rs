//! What the API server fills in (`pkg/apis/*/v1/defaults.go`, the strategies' `PrepareForCreate`, and the
//! admission plugins that are on by default).
//!
//! Most defaults are lines of [`TABLE`]: a type of the schema, a field, a value. An object is walked along its
//! schema, so a template of Pods is filled in wherever it stands. What depends on more than one field is
//! code, by type.

use base::Items as _;
use base::tree::BTreeMap;
use std::rc::Rc;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use crate::MetaExt;
use crate::networking::IngressClass;
use crate::object::AnyObject;
use crate::schema::{Schema, Type};
use crate::store::Store;

/// A type, then its fields and what they are where they are not given. A dotted field is one of an object
/// within, which is made where it is missing. A kind that has defaults only deep within stands here too.
const TABLE: &str = r#"
core/v1.PodSpec
restartPolicy "Always"
dnsPolicy "ClusterFirst"
terminationGracePeriodSeconds 30
schedulerName "default-scheduler"
securityContext {}
core/v1.Container
terminationMessagePath "/dev/termination-log"
terminationMessagePolicy "File"
resources {}
core/v1.ContainerPort
protocol "TCP"
core/v1.Probe
timeoutSeconds 1
periodSeconds 10
successThreshold 1
failureThreshold 3
core/v1.HTTPGetAction
path "/"
scheme "HTTP"
core/v1.GRPCAction
service ""
core/v1.ObjectFieldSelector
apiVersion "v1"
core/v1.ResourceFieldSelector
divisor "0"
core/v1.ConfigMapVolumeSource
defaultMode 420
core/v1.SecretVolumeSource
defaultMode 420
core/v1.DownwardAPIVolumeSource
defaultMode 420
core/v1.ProjectedVolumeSource
defaultMode 420
core/v1.ServiceAccountTokenProjection
expirationSeconds 3600
core/v1.HostPathVolumeSource
type ""
core/v1.Pod
spec.enableServiceLinks true
spec.priority 0
spec.preemptionPolicy "PreemptLowerPriority"
spec.serviceAccountName "default"
status.phase "Pending"
core/v1.Service
spec.sessionAffinity "None"
spec.type "ClusterIP"
status.loadBalancer {}
core/v1.ServicePort
protocol "TCP"
core/v1.EndpointPort
protocol "TCP"
discovery/v1.EndpointPort
name ""
protocol "TCP"
core/v1.Namespace
spec.finalizers ["kubernetes"]
status.phase "Active"
core/v1.Node
spec {}
status {}
core/v1.ReplicationController
spec.replicas 1
status {}
core/v1.Secret
type "Opaque"
core/v1.PersistentVolumeClaim
spec.volumeMode "Filesystem"
status.phase "Pending"
core/v1.PersistentVolume
spec.persistentVolumeReclaimPolicy "Retain"
spec.volumeMode "Filesystem"
status.phase "Pending"
apps/v1.Deployment
spec.template.spec {}
spec.replicas 1
spec.revisionHistoryLimit 10
spec.progressDeadlineSeconds 600
spec.strategy.type "RollingUpdate"
status {}
apps/v1.ReplicaSet
spec.template.spec {}
spec.replicas 1
status {}
apps/v1.DaemonSet
spec.template.spec {}
spec.revisionHistoryLimit 10
spec.updateStrategy.type "RollingUpdate"
status {}
apps/v1.StatefulSet
spec.template.spec {}
spec.replicas 1
spec.revisionHistoryLimit 10
spec.podManagementPolicy "OrderedReady"
spec.updateStrategy.type "RollingUpdate"
spec.persistentVolumeClaimRetentionPolicy.whenDeleted "Retain"
spec.persistentVolumeClaimRetentionPolicy.whenScaled "Retain"
status {}
batch/v1.Job
spec.template.spec {}
spec.parallelism 1
spec.backoffLimit 6
spec.completionMode "NonIndexed"
spec.suspend false
spec.manualSelector false
status {}
batch/v1.CronJob
spec.jobTemplate.spec.template.spec {}
spec.concurrencyPolicy "Allow"
spec.suspend false
spec.successfulJobsHistoryLimit 3
spec.failedJobsHistoryLimit 1
status {}
autoscaling/v2.HorizontalPodAutoscaler
spec.minReplicas 1
status {}
policy/v1.PodDisruptionBudget
status {}
networking/v1.NetworkPolicyPort
protocol "TCP"
networking/v1.Ingress
status.loadBalancer {}
networking/v1.IngressClassParametersReference
scope "Cluster"
storage/v1.StorageClass
reclaimPolicy "Delete"
volumeBindingMode "Immediate"
scheduling/v1.PriorityClass
preemptionPolicy "PreemptLowerPriority"
rbac/v1.RoleRef
apiGroup "rbac.authorization.k8s.io"
admissionregistration/v1.ValidatingWebhook
failurePolicy "Fail"
matchPolicy "Equivalent"
namespaceSelector {}
objectSelector {}
timeoutSeconds 10
admissionregistration/v1.MutatingWebhook
failurePolicy "Fail"
matchPolicy "Equivalent"
namespaceSelector {}
objectSelector {}
reinvocationPolicy "Never"
timeoutSeconds 10
apiextensions/v1.CustomResourceDefinition
spec.conversion.strategy "None"
admissionregistration/v1.MutatingWebhookConfiguration
admissionregistration/v1.ValidatingWebhookConfiguration
core/v1.Endpoints
core/v1.PodTemplate
discovery/v1.EndpointSlice
networking/v1.IngressClass
networking/v1.NetworkPolicy
rbac/v1.ClusterRoleBinding
rbac/v1.RoleBinding
storage/v1.VolumeAttachment
"#;

type Table = BTreeMap<&'static str, Vec<(&'static str, Value)>>;

fn table() -> &'static Table {
    static DEFAULTS: OnceLock<Table> = OnceLock::new();
    DEFAULTS.get_or_init(|| {
        let mut table = Table::new();
        let mut name = "";
        for line in TABLE.lines() {
            match line.split_once(' ') {
                Some((field, value)) => {
                    let value = serde_json::from_str(value).unwrap_or_default();
                    table.entry(name).or_default().push((field, value));
                }
                None => {
                    name = line;
                    table.entry(line).or_default();
                }
            }
        }
        table
    })
}

/// Fills in what the user has left out.
pub fn apply(object: &mut AnyObject) {
    let Some(schema) = object.kind().schema() else { return };
    if !table().contains_key(schema.type_name) {
        return;
    }
    let mut value = object.to_value();
    if let Some(fields) = value.as_object_mut() {
        whole_object(schema.type_name, fields);
        self::fields(fields, schema.type_name);
    }
    object.set_value(value);
}

/// An Ingress that names no class gets the default one, if there is one; of several the newest
/// (`plugin/pkg/admission/network/defaultingressclass`).
pub fn ingress_class(store: &Store, object: &mut AnyObject) {
    let AnyObject::Ingress(ingress) = object else { return };
    let names_one = ingress.spec.as_ref().is_some_and(|spec| spec.ingress_class_name.is_some());
    if names_one || ingress.metadata.annotation("kubernetes.io/ingress.class").is_some() {
        return;
    }
    let mut newest: Option<(i64, &str)> = None;
    for class in store.list::<IngressClass>() {
        let mark = class.metadata.annotation("ingressclass.kubernetes.io/is-default-class");
        let made = class.metadata.creation_timestamp.map_or(0, |time| time.0);
        if mark == Some("true") && newest.is_none_or(|(other, _)| other < made) {
            newest = Some((made, class.metadata.name()));
        }
    }
    if let Some((_, name)) = newest {
        let spec = Rc::make_mut(ingress).spec.get_or_insert_default();
        spec.ingress_class_name = Some(name.to_string());
    }
}

/// An object along its schema: first what it has, then what is in it.
fn fields(fields: &mut Map<String, Value>, type_name: &'static str) {
    for (path, default) in table().get(type_name).items() {
        put(fields, path, default);
    }
    by_type(type_name, fields);
    for (name, value) in fields.iter_mut() {
        if matches!(value, Value::Object(_) | Value::Array(_))
            && let Some(field) = Schema::get().field(type_name, name)
        {
            inside(value, field.ty);
        }
    }
}

fn inside(value: &mut Value, ty: Type) {
    match (ty, value) {
        (Type::Object(name), Value::Object(inner)) => fields(inner, name),
        (Type::List(item), Value::Array(items)) => {
            if let Type::Object(name) = Type::parse(item) {
                items
                    .iter_mut()
                    .filter_map(Value::as_object_mut)
                    .for_each(|item| fields(item, name));
            }
        }
        _ => {}
    }
}

fn put(fields: &mut Map<String, Value>, path: &str, default: &Value) {
    match path.split_once('.') {
        Some((outer, inner)) => {
            let outer = fields.entry(outer).or_insert_with(|| Value::Object(Map::new()));
            if let Some(outer) = outer.as_object_mut() {
                put(outer, inner, default);
            }
        }
        None if !fields.contains_key(path) => {
            fields.insert(path.to_string(), default.clone());
        }
        None => {}
    }
}

fn object<'a>(
    fields: &'a mut Map<String, Value>,
    name: &str,
) -> Option<&'a mut Map<String, Value>> {
    fields.get_mut(name)?.as_object_mut()
}

fn items<'a>(fields: &'a mut Map<String, Value>, name: &str) -> &'a mut [Value] {
    fields.get_mut(name).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// What depends on several fields, before the table's defaults.
fn whole_object(type_name: &str, fields: &mut Map<String, Value>) {
    match type_name {
        "core/v1.Secret" => secret(fields),
        "batch/v1.Job" => {
            // Without both, one Pod is to end; with more at once and no number, any one that ends ends the Job.
            let Some(spec) = object(fields, "spec") else { return };
            if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
                spec.insert("completions".to_string(), 1.into());
            }
            if spec.contains_key("backoffLimitPerIndex") {
                put(spec, "backoffLimit", &i32::MAX.into());
            }
        }
        "core/v1.ReplicationController" => replication_controller(fields),
        "core/v1.Service" => {
            put(fields, "spec", &json!({}));
            object(fields, "spec").map(service);
        }
        "core/v1.Pod" => {
            put(fields, "spec", &json!({}));
            object(fields, "spec").map(pod);
        }
        "core/v1.Namespace" => {
            let name = fields.get("metadata").and_then(|meta| meta.get("name")).cloned();
            let label = json!({"kubernetes.io/metadata.name": name.unwrap_or_default()});
            if let Some(meta) = object(fields, "metadata") {
                put(meta, "labels", &json!({}));
                if let Some(labels) = object(meta, "labels") {
                    merge(labels, label);
                }
            }
        }
        _ => {}
    }
}

/// Puts in what is not there.
fn merge(fields: &mut Map<String, Value>, defaults: Value) {
    let Value::Object(defaults) = defaults else { return };
    for (name, value) in defaults {
        fields.entry(name).or_insert(value);
    }
}

/// What depends on several fields of an object anywhere, after the table's defaults.
fn by_type(type_name: &str, fields: &mut Map<String, Value>) {
    match type_name {
        "core/v1.Container" => container(fields),
        // A name alone is an empty directory.
        "core/v1.Volume" if fields.len() == 1 && fields.contains_key("name") => {
            fields.insert("emptyDir".to_string(), json!({}));
        }
        "core/v1.ServicePort" => {
            let target = fields.get("targetPort");
            if target.is_none_or(|target| *target == json!(0) || *target == json!("")) {
                let port = fields.get("port").cloned().unwrap_or_default();
                fields.insert("targetPort".to_string(), port);
            }
        }
        "core/v1.Node" => {
            let status = object(fields, "status");
            if let Some(status) = status
                && let Some(capacity) = status.get("capacity").cloned()
            {
                status.entry("allocatable").or_insert(capacity);
            }
        }
        "core/v1.Pod" => pod_status(fields),
        "apps/v1.DeploymentStrategy" if text(fields, "type") == "RollingUpdate" => {
            put(fields, "rollingUpdate.maxUnavailable", &json!("25%"));
            put(fields, "rollingUpdate.maxSurge", &json!("25%"));
        }
        "apps/v1.DaemonSetUpdateStrategy" if text(fields, "type") == "RollingUpdate" => {
            put(fields, "rollingUpdate.maxUnavailable", &json!(1));
            put(fields, "rollingUpdate.maxSurge", &json!(0));
        }
        "apps/v1.StatefulSetUpdateStrategy" if text(fields, "type") == "RollingUpdate" => {
            put(fields, "rollingUpdate.partition", &json!(0));
            put(fields, "rollingUpdate.maxUnavailable", &json!(1));
        }
        "batch/v1.Job" => {
            if let Some(spec) = object(fields, "spec") {
                let policy = match spec.contains_key("podFailurePolicy") {
                    true => "Failed",
                    false => "TerminatingOrFailed",
                };
                put(spec, "podReplacementPolicy", &policy.into());
            }
        }
        "autoscaling/v2.HorizontalPodAutoscalerSpec" if !fields.contains_key("metrics") => {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
            fields.insert("metrics".to_string(), json!([metric]));
        }
        "networking/v1.NetworkPolicySpec" if !fields.contains_key("policyTypes") => {
            let has_egress =
                fields.get("egress").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
            let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            fields.insert("policyTypes".to_string(), types);
        }
        "rbac/v1.Subject" if !fields.contains_key("apiGroup") => {
            if matches!(text(fields, "kind"), "User" | "Group") {
                fields.insert("apiGroup".to_string(), "rbac.authorization.k8s.io".into());
            }
        }
        "apiextensions/v1.CustomResourceDefinitionNames" => {
            let kind = text(fields, "kind").to_string();
            put(fields, "singular", &kind.to_ascii_lowercase().into());
            put(fields, "listKind", &format!("{kind}List").into());
        }
        _ => {}
    }
}

/// `stringData` is written in, and never read out.
fn secret(fields: &mut Map<String, Value>) {
    let Some(Value::Object(plain)) = fields.remove("stringData") else { return };
    put(fields, "data", &json!({}));
    let Some(data) = object(fields, "data") else { return };
    for (key, value) in plain {
        let encoded = base64(value.as_str().unwrap_or_default().as_bytes());
        data.insert(key, encoded.into());
    }
}

/// Standard base64 with padding (RFC 4648 §4).
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit =
                DIGITS.get((bits >> (18 - 6 * place)) as usize & 63).copied().unwrap_or(b'=');
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// A controller without selector or labels takes those of its template.
fn replication_controller(fields: &mut Map<String, Value>) {
    let labels = fields.get("spec").and_then(|spec| spec.get("template"));
    let labels = labels.and_then(|template| template.get("metadata")).and_then(|m| m.get("labels"));
    let Some(labels) =
        labels.filter(|labels| labels.as_object().is_some_and(|l| !l.is_empty())).cloned()
    else {
        return;
    };
    let is_empty =
        |value: Option<&Value>| value.and_then(Value::as_object).is_none_or(Map::is_empty);
    if let Some(spec) = object(fields, "spec")
        && is_empty(spec.get("selector"))
    {
        spec.insert("selector".to_string(), labels.clone());
    }
    if let Some(meta) = object(fields, "metadata")
        && is_empty(meta.get("labels"))
    {
        meta.insert("labels".to_string(), labels);
    }
}

fn service(spec: &mut Map<String, Value>) {
    let kind = match text(spec, "type") {
        "" => "ClusterIP",
        kind => kind,
    }
    .to_string();
    if text(spec, "sessionAffinity") == "ClientIP" {
        put(spec, "sessionAffinityConfig.clientIP.timeoutSeconds", &json!(10800));
    }
    if kind == "ExternalName" {
        return;
    }
    put(spec, "internalTrafficPolicy", &json!("Cluster"));
    let has_external = !items(spec, "externalIPs").is_empty();
    if kind == "NodePort" || kind == "LoadBalancer" || has_external {
        put(spec, "externalTrafficPolicy", &json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        put(spec, "allocateLoadBalancerNodePorts", &json!(true));
    }
}

/// Only of Pods, not of templates: what they ask for where they only have limits, the host's ports on the
/// host's network, and what admission adds (DefaultTolerationSeconds, ServiceAccount).
fn pod(spec: &mut Map<String, Value>) {
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["containers", "initContainers"] {
        for container in items(spec, list).iter_mut().filter_map(Value::as_object_mut) {
            requests_from_limits(container);
            if !host_network {
                continue;
            }
            for port in items(container, "ports").iter_mut().filter_map(Value::as_object_mut) {
                let number = port.get("containerPort").cloned().unwrap_or_default();
                port.entry("hostPort").or_insert(number);
            }
        }
    }
    put(spec, "tolerations", &json!([]));
    if let Some(tolerations) = spec.get_mut("tolerations").and_then(Value::as_array_mut) {
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let is_tolerated = |t: &Value| {
                t.get("key").is_none_or(|known| known == key || known == "")
                    && t.get("effect").is_none_or(|effect| effect == "NoExecute" || effect == "")
            };
            if !tolerations.iter().any(is_tolerated) {
                tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
            }
        }
    }
}

fn requests_from_limits(container: &mut Map<String, Value>) {
    let Some(resources) = object(container, "resources") else { return };
    let Some(limits) = resources.get("limits").cloned() else { return };
    put(resources, "requests", &json!({}));
    if let Some(requests) = object(resources, "requests") {
        merge(requests, limits);
    }
}

fn pod_status(fields: &mut Map<String, Value>) {
    let Some(spec) = object(fields, "spec") else { return };
    let account = spec.get("serviceAccountName").cloned().unwrap_or_default();
    spec.entry("serviceAccount").or_insert(account);
    let class = qos_class(spec);
    put(fields, "status.qosClass", &class.into());
}

fn container(fields: &mut Map<String, Value>) {
    let policy = pull_policy(text(fields, "image"));
    put(fields, "imagePullPolicy", &policy.into());
}

/// `Always` for `latest` and for images without a tag.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    let is_pinned =
        last.contains('@') || last.split_once(':').is_some_and(|(_, tag)| tag != "latest");
    if is_pinned { "IfNotPresent" } else { "Always" }
}

/// Quality of service (`pkg/apis/core/v1/helper/qos`).
fn qos_class(spec: &Map<String, Value>) -> &'static str {
    let (mut has_any, mut is_guaranteed) = (false, true);
    for list in ["containers", "initContainers"] {
        for container in spec.get(list).and_then(Value::as_array).items() {
            let amounts = |kind: &str| container.get("resources").and_then(|r| r.get(kind));
            let (requests, limits) = (amounts("requests"), amounts("limits"));
            for name in ["cpu", "memory"] {
                let of = |map: Option<&Value>| map.and_then(|map| map.get(name)).cloned();
                let (request, limit) = (of(requests), of(limits));
                has_any |= request.is_some() || limit.is_some();
                is_guaranteed &= limit.is_some() && request == limit;
            }
        }
    }
    match (has_any, is_guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
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

    #[test]
    fn the_table_names_fields_that_exist() {
        for (type_name, fields) in table().iter().filter(|(name, _)| !name.is_empty()) {
            for (path, value) in fields {
                let mut ty = Type::Object(type_name);
                for name in path.split('.') {
                    let Type::Object(of) = ty else { panic!("{type_name} {path}") };
                    let field = Schema::get().field(of, name);
                    ty = field.unwrap_or_else(|| panic!("{type_name} has no {path}")).ty;
                }
                assert!(!value.is_null(), "{type_name} {path}");
                assert!(crate::shape::fit(value.clone(), ty).is_ok(), "{type_name} {path} {value}");
            }
        }
    }

    /// Whether a type has defaults, or something within it.
    fn has_defaults(type_name: &'static str, seen: &mut Vec<&'static str>) -> bool {
        if seen.contains(&type_name) {
            return false;
        }
        seen.push(type_name);
        if table().get(type_name).is_some_and(|fields| !fields.is_empty()) {
            return true;
        }
        let fields = Schema::get().fields(type_name).unwrap_or_default();
        fields.iter().any(|field| match field.ty {
            Type::Object(name) => has_defaults(name, seen),
            Type::List(item) => {
                matches!(Type::parse(item), Type::Object(name) if has_defaults(name, seen))
            }
            _ => false,
        })
    }

    #[test]
    fn every_kind_with_defaults_within_is_in_the_table() {
        let kinds = Schema::get().kinds().iter().map(|kind| kind.type_name);
        let missing: Vec<&str> = kinds
            .filter(|name| has_defaults(name, &mut Vec::new()) && !table().contains_key(name))
            .collect();
        assert_eq!(missing, Vec::<&str>::new());
    }

    #[test]
    fn secrets_are_kept_in_base64() {
        for (plain, encoded) in
            [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("ü?>", "w7w/Pg==")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        let mut fields = Map::new();
        fields.insert("stringData".to_string(), json!({"user": "admin"}));
        fields.insert("data".to_string(), json!({"user": "eA==", "other": "eA=="}));
        whole_object("core/v1.Secret", &mut fields);
        assert_eq!(Value::Object(fields), json!({"data": {"user": "YWRtaW4=", "other": "eA=="}}));
    }
}
