//! A JSON value made to fit the shape of its type, as the API server's decoder makes it fit: unknown fields
//! and nulls go, and so does what is empty and could as well have been left out; what every object of a type has is
//! there, stamps are in their one form.
//!
//! [`mod@crate::decode`] does the same for a manifest that a person has written, and tells everything that is
//! wrong and where; this is for values that programs have put together, and stops at the first.

use std::fmt;

use serde_json::{Map, Value};

use crate::schema::{Schema, Type};
use crate::types::{MicroTime, Time};

/// A value is not of the type that was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    found: String,
    wanted: String,
}

impl fmt::Display for Mismatch {
    /// In the words of Go's decoder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "json: cannot unmarshal {} into Go value of type {}", self.found, self.wanted)
    }
}

impl std::error::Error for Mismatch {}

fn mismatch(value: &Value, ty: Type) -> Mismatch {
    let found = match value {
        Value::Null => "null".to_string(),
        Value::Bool(_) => "bool".to_string(),
        Value::Number(number) if matches!(ty, Type::I32 | Type::I64) => format!("number {number}"),
        Value::Number(_) => "number".to_string(),
        Value::String(_) => "string".to_string(),
        Value::Array(_) => "array".to_string(),
        Value::Object(_) => "object".to_string(),
    };
    Mismatch { found, wanted: ty.go_name() }
}

/// The value as one of type `ty`.
pub fn fit(value: Value, ty: Type) -> Result<Value, Mismatch> {
    match (ty, value) {
        (Type::Any, value) => Ok(value),
        (Type::List(item), Value::Array(values)) => {
            let item = Type::parse(item);
            values.into_iter().map(|value| fit(value, item)).collect()
        }
        (Type::Map(of), Value::Object(values)) => {
            let of = Type::parse(of);
            let mut fitted = Map::new();
            for (key, value) in values {
                fitted.insert(key, fit(value, of)?);
            }
            Ok(Value::Object(fitted))
        }
        (Type::Object(name), Value::Object(values)) => object(values, name).map(Value::Object),
        (Type::Time, Value::String(text)) if let Some(time) = Time::parse(&text) => {
            Ok(Value::String(time.to_string()))
        }
        (Type::MicroTime, Value::String(text)) if let Some(time) = MicroTime::parse(&text) => {
            Ok(Value::String(time.to_string()))
        }
        (_, value) => {
            let fits = match ty {
                Type::String | Type::Bytes | Type::Quantity => value.is_string(),
                Type::Bool => value.is_boolean(),
                Type::I32 => is_i32(&value),
                Type::I64 => value.is_i64(),
                Type::F64 => value.is_number(),
                Type::IntOrString => value.is_string() || is_i32(&value),
                _ => false,
            };
            if fits { Ok(value) } else { Err(mismatch(&value, ty)) }
        }
    }
}

fn is_i32(value: &Value) -> bool {
    value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

fn object(
    mut values: Map<String, Value>,
    name: &'static str,
) -> Result<Map<String, Value>, Mismatch> {
    let mut fitted = Map::new();
    for field in Schema::get().fields(name).unwrap_or_default() {
        let given = values.remove(field.name).filter(|value| !value.is_null());
        let value = match given {
            Some(value) => Some(fit(value, field.ty)?).filter(|value| {
                field.is_required || !is_left_out(value, field.ty, name, field.name)
            }),
            None if field.is_required => nothing(field.ty)?,
            None => None,
        };
        if let Some(value) = value {
            fitted.insert(field.name.to_string(), value);
        }
    }
    Ok(fitted)
}

/// Types, each with its fields of one word that are left out when they say nothing: in upstream's types they are no
/// pointers, so nobody can tell whether somebody has written `""`, `0` or `false` there, or nothing at all.
const PLAIN: &str = "
meta/v1.ObjectMeta name generateName namespace
core/v1.PodSpec hostNetwork hostPID hostIPC hostname subdomain nodeName serviceAccountName serviceAccount schedulerName priorityClassName restartPolicy dnsPolicy
core/v1.Container image imagePullPolicy workingDir stdin stdinOnce tty terminationMessagePath terminationMessagePolicy
core/v1.ContainerPort name hostPort hostIP protocol
core/v1.EnvVar value
core/v1.EnvFromSource prefix
core/v1.VolumeMount readOnly subPath subPathExpr
core/v1.Probe initialDelaySeconds timeoutSeconds periodSeconds successThreshold failureThreshold
core/v1.HTTPGetAction path host scheme
core/v1.TCPSocketAction host
core/v1.Toleration key operator value effect
core/v1.EmptyDirVolumeSource medium
core/v1.SecretVolumeSource secretName
core/v1.ServiceSpec clusterIP type sessionAffinity loadBalancerIP externalName externalTrafficPolicy healthCheckNodePort publishNotReadyAddresses
core/v1.ServicePort name protocol nodePort
core/v1.NodeSpec unschedulable podCIDR providerID
core/v1.PersistentVolumeClaimSpec volumeName
core/v1.PersistentVolumeSpec storageClassName persistentVolumeReclaimPolicy
core/v1.ReplicationControllerSpec minReadySeconds
core/v1.Secret type
apps/v1.DeploymentSpec minReadySeconds paused
apps/v1.DeploymentStrategy type
apps/v1.ReplicaSetSpec minReadySeconds
apps/v1.DaemonSetSpec minReadySeconds
apps/v1.StatefulSetSpec minReadySeconds podManagementPolicy serviceName
batch/v1.CronJobSpec concurrencyPolicy
scheduling/v1.PriorityClass globalDefault description
";

/// Whether an optional field says nothing (`omitempty`).
fn is_left_out(value: &Value, ty: Type, type_name: &str, field: &str) -> bool {
    let says_nothing = match value {
        Value::Array(items) => return items.is_empty(),
        Value::Object(fields) => return fields.is_empty() && matches!(ty, Type::Map(_)),
        Value::String(text) => text.is_empty(),
        Value::Bool(is_on) => !is_on,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Null => true,
    };
    says_nothing
        && PLAIN.lines().any(|line| {
            let mut words = line.split(' ');
            words.next() == Some(type_name) && words.any(|known| known == field)
        })
}

/// What stands for a field that every object of its type has, where it was left out. There is no such time.
fn nothing(ty: Type) -> Result<Option<Value>, Mismatch> {
    Ok(Some(match ty {
        Type::String | Type::Bytes | Type::Quantity => Value::String(String::new()),
        Type::Bool => Value::Bool(false),
        Type::I32 | Type::I64 | Type::IntOrString => Value::Number(0.into()),
        Type::F64 => Value::from(0.0),
        Type::Any => Value::Null,
        Type::List(_) => Value::Array(Vec::new()),
        Type::Map(_) => Value::Object(Map::new()),
        Type::Object(name) => Value::Object(object(Map::new(), name)?),
        Type::Time | Type::MicroTime => return Ok(None),
    }))
}
