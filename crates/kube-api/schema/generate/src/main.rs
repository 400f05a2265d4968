//! Writes `v1_35.txt`, the compact schema of the built-in kinds, to standard output.
//!
//! `cargo run --manifest-path crates/kube-api/schema/generate/Cargo.toml > crates/kube-api/schema/v1_35.txt`
//!
//! Two kinds of blocks, each ended by the next or by the end of the file:
//!
//! ```text
//! @kind apps/v1 Deployment deployments namespaced apps/v1.Deployment
//! @type apps/v1.DeploymentSpec
//! minReadySeconds i32
//! selector! meta/v1.LabelSelector
//! template! core/v1.PodTemplateSpec
//! ```
//!
//! A field is a name, `!` when the server requires it, and a type: `string`, `bool`, `i32`, `i64`, `f64`,
//! `bytes`, `time`, `microtime`, `any`, `intstr`, `quantity`, a type's name, `[T]` for a list, `{T}` for a
//! map from strings.

use base::tree::BTreeMap;

use k8s_openapi::{ListableResource, Resource};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

struct Writer {
    generator: SchemaGenerator,
    kinds: Vec<String>,
}

trait Scope {
    const WORD: &'static str;
}
impl Scope for k8s_openapi::ClusterResourceScope {
    const WORD: &'static str = "cluster";
}
impl Scope for k8s_openapi::NamespaceResourceScope {
    const WORD: &'static str = "namespaced";
}

impl Writer {
    fn kind<T>(&mut self)
    where
        T: JsonSchema + Resource + ListableResource,
        T::Scope: Scope,
    {
        self.generator.subschema_for::<T>();
        let path = type_name(&T::schema_name());
        self.kinds.push(format!(
            "@kind {} {} {} {} {path}",
            T::API_VERSION,
            T::KIND,
            T::URL_PATH_SEGMENT,
            T::Scope::WORD
        ));
    }
}

/// `io.k8s.api.apps.v1.DeploymentSpec` → `apps/v1.DeploymentSpec`
fn type_name(schema_name: &str) -> String {
    let parts: Vec<&str> = schema_name.split('.').collect();
    match parts.as_slice() {
        [.., group, version, name] if version.starts_with('v') => format!("{group}/{version}.{name}"),
        [.., package, name] => format!("{package}.{name}"),
        _ => schema_name.to_string(),
    }
}

fn field_type(schema: &Value) -> String {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return match name {
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => "intstr".into(),
            "io.k8s.apimachinery.pkg.api.resource.Quantity" => "quantity".into(),
            "io.k8s.apimachinery.pkg.apis.meta.v1.Time" => "time".into(),
            "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime" => "microtime".into(),
            "io.k8s.apimachinery.pkg.runtime.RawExtension"
            | "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1"
            | "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON" => "any".into(),
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
            | "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
            | "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray" => {
                "any".into()
            }
            name => type_name(name),
        };
    }
    if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
        return all.first().map_or("any".into(), field_type);
    }
    let format = schema.get("format").and_then(Value::as_str);
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => match format {
            Some("byte") => "bytes".into(),
            Some("date-time") => "time".into(),
            _ => "string".into(),
        },
        Some("boolean") => "bool".into(),
        Some("integer") => if format == Some("int64") { "i64" } else { "i32" }.into(),
        Some("number") => "f64".into(),
        Some("array") => format!("[{}]", schema.get("items").map_or("any".into(), field_type)),
        Some("object") => match schema.get("additionalProperties") {
            Some(values) if values.is_object() => format!("{{{}}}", field_type(values)),
            _ => "any".into(),
        },
        _ => "any".into(),
    }
}

fn main() {
    let settings = schemars::generate::SchemaSettings::draft07();
    let mut writer = Writer { generator: settings.into_generator(), kinds: Vec::new() };
    kinds(&mut writer);
    let mut types = BTreeMap::new();
    types.insert("apiextensions/v1.CustomResourceSubresourceStatus".to_string(), Vec::new());
    for (name, schema) in writer.generator.definitions() {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { continue };
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let mut fields: Vec<String> = properties
            .iter()
            .map(|(field, schema)| {
                let bang = if required.contains(&field.as_str()) { "!" } else { "" };
                format!("{field}{bang} {}", field_type(schema))
            })
            .collect();
        fields.sort();
        types.insert(type_name(name), fields);
    }
    writer.kinds.sort();
    for kind in writer.kinds {
        println!("{kind}");
    }
    for (name, fields) in types {
        println!("@type {name}");
        for field in fields {
            println!("{field}");
        }
    }
}

/// Everything that a server of this version serves by default: the stable versions.
fn kinds(w: &mut Writer) {
    use k8s_openapi::api::*;
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
    use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
    w.kind::<admissionregistration::v1::MutatingWebhookConfiguration>();
    w.kind::<admissionregistration::v1::ValidatingAdmissionPolicy>();
    w.kind::<admissionregistration::v1::ValidatingAdmissionPolicyBinding>();
    w.kind::<admissionregistration::v1::ValidatingWebhookConfiguration>();
    w.kind::<apiextensions::v1::CustomResourceDefinition>();
    w.kind::<apiregistration::v1::APIService>();
    w.kind::<apps::v1::ControllerRevision>();
    w.kind::<apps::v1::DaemonSet>();
    w.kind::<apps::v1::Deployment>();
    w.kind::<apps::v1::ReplicaSet>();
    w.kind::<apps::v1::StatefulSet>();
    w.kind::<autoscaling::v1::HorizontalPodAutoscaler>();
    w.kind::<autoscaling::v2::HorizontalPodAutoscaler>();
    w.kind::<batch::v1::CronJob>();
    w.kind::<batch::v1::Job>();
    w.kind::<certificates::v1::CertificateSigningRequest>();
    w.kind::<coordination::v1::Lease>();
    w.kind::<core::v1::ComponentStatus>();
    w.kind::<core::v1::ConfigMap>();
    w.kind::<core::v1::Endpoints>();
    w.kind::<core::v1::Event>();
    w.kind::<core::v1::LimitRange>();
    w.kind::<core::v1::Namespace>();
    w.kind::<core::v1::Node>();
    w.kind::<core::v1::PersistentVolume>();
    w.kind::<core::v1::PersistentVolumeClaim>();
    w.kind::<core::v1::Pod>();
    w.kind::<core::v1::PodTemplate>();
    w.kind::<core::v1::ReplicationController>();
    w.kind::<core::v1::ResourceQuota>();
    w.kind::<core::v1::Secret>();
    w.kind::<core::v1::Service>();
    w.kind::<core::v1::ServiceAccount>();
    w.kind::<discovery::v1::EndpointSlice>();
    w.kind::<events::v1::Event>();
    w.kind::<flowcontrol::v1::FlowSchema>();
    w.kind::<flowcontrol::v1::PriorityLevelConfiguration>();
    w.kind::<networking::v1::IPAddress>();
    w.kind::<networking::v1::Ingress>();
    w.kind::<networking::v1::IngressClass>();
    w.kind::<networking::v1::NetworkPolicy>();
    w.kind::<networking::v1::ServiceCIDR>();
    w.kind::<node::v1::RuntimeClass>();
    w.kind::<policy::v1::PodDisruptionBudget>();
    w.kind::<rbac::v1::ClusterRole>();
    w.kind::<rbac::v1::ClusterRoleBinding>();
    w.kind::<rbac::v1::Role>();
    w.kind::<rbac::v1::RoleBinding>();
    w.kind::<resource::v1::DeviceClass>();
    w.kind::<resource::v1::ResourceClaim>();
    w.kind::<resource::v1::ResourceClaimTemplate>();
    w.kind::<resource::v1::ResourceSlice>();
    w.kind::<scheduling::v1::PriorityClass>();
    w.kind::<storage::v1::CSIDriver>();
    w.kind::<storage::v1::CSINode>();
    w.kind::<storage::v1::CSIStorageCapacity>();
    w.kind::<storage::v1::StorageClass>();
    w.kind::<storage::v1::VolumeAttachment>();
    w.kind::<storage::v1::VolumeAttributesClass>();
}
