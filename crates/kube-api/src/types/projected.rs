//! [`Projected`]: what a volume is made of when that is several things.

use serde_json::Value;

use super::Field;

/// What `ServiceAccount` admission gives to every Pod (`plugin/pkg/admission/serviceaccount`,
/// `TokenVolumeSource`).
const API_ACCESS: &str = r#"{"defaultMode":420,"sources":[
    {"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},
    {"configMap":{"items":[{"key":"ca.crt","path":"ca.crt"}],"name":"kube-root-ca.crt"}},
    {"downwardAPI":{"items":[{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"},"path":"namespace"}]}}
]}"#;

/// The sources of a projected volume. Nearly every Pod has the same one, so that is not kept as JSON: a thousand
/// Pods would have a thousand copies of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Projected {
    /// A token, the cluster's certificate and the name of the namespace: what it takes to talk to the API server.
    ApiAccess,
    /// Anything else.
    Other(Value),
}

impl Default for Projected {
    fn default() -> Self {
        Projected::Other(Value::Null)
    }
}

fn api_access() -> Value {
    serde_json::from_str(API_ACCESS).unwrap_or_default()
}

impl Field for Projected {
    fn to_json(&self) -> Option<Value> {
        match self {
            Projected::ApiAccess => Some(api_access()),
            Projected::Other(value) => Some(value.clone()),
        }
    }
    fn set(&mut self, value: Value) {
        *self = if value == api_access() { Projected::ApiAccess } else { Projected::Other(value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_sources_are_known_again() {
        let value = api_access();
        assert_eq!(value["sources"].as_array().map(Vec::len), Some(3));
        let mut read = Projected::default();
        read.set(value.clone());
        assert_eq!((read.clone(), read.to_json()), (Projected::ApiAccess, Some(value.clone())));
        let mut other = value;
        other["sources"][0]["serviceAccountToken"]["path"] = "elsewhere".into();
        read.set(other.clone());
        assert_eq!((read.clone(), read.to_json()), (Projected::Other(other.clone()), Some(other)));
    }
}
