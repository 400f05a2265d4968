//! From a rule back to what it was written for.
//!
//! A rule's `origin` is a number: the port's serial number, the field, and the place of the endpoint.

use crate::service::PortName;

/// The field of a Service that a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Port,
    NodePort,
    TargetPort,
    ExternalIPs,
    LoadBalancerIngress,
    SourceRanges,
    HealthCheckNodePort,
}

const FIELDS: [Field; 7] = [
    Field::Port,
    Field::NodePort,
    Field::TargetPort,
    Field::ExternalIPs,
    Field::LoadBalancerIngress,
    Field::SourceRanges,
    Field::HealthCheckNodePort,
];

impl Field {
    /// `spec.ports[0].nodePort`, for the port at `index`.
    pub(crate) fn path(self, index: usize) -> String {
        match self {
            Field::Port => format!("spec.ports[{index}].port"),
            Field::NodePort => format!("spec.ports[{index}].nodePort"),
            Field::TargetPort => format!("spec.ports[{index}].targetPort"),
            Field::ExternalIPs => "spec.externalIPs".to_string(),
            Field::LoadBalancerIngress => "status.loadBalancer.ingress".to_string(),
            Field::SourceRanges => "spec.loadBalancerSourceRanges".to_string(),
            Field::HealthCheckNodePort => "spec.healthCheckNodePort".to_string(),
        }
    }
}

/// Writes an origin down as a number.
pub(crate) fn encode(serial: u32, field: Field, endpoint: Option<u32>) -> u64 {
    let endpoint = endpoint.map_or(0, |at| (at + 1).min(0xff_ffff));
    u64::from(serial) << 32 | (field as u64) << 24 | u64::from(endpoint)
}

/// Serial number, field and endpoint of a number.
pub(crate) fn decode(origin: u64) -> (u32, Option<Field>, Option<usize>) {
    let field = FIELDS.get((origin >> 24 & 0xff) as usize).copied();
    let endpoint = (origin & 0xff_ffff) as usize;
    ((origin >> 32) as u32, field, endpoint.checked_sub(1))
}

/// What a rule was written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The port of the Service.
    pub port: PortName,
    /// Its place among the Service's ports.
    pub port_index: usize,
    /// The field of the Service that the rule comes from: `spec.ports[0].nodePort`, …
    pub field: String,
    /// The endpoint it leads to, if it leads to one: address and port, Pod, slice.
    pub endpoint: Option<EndpointOrigin>,
}

/// The endpoint that a rule leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointOrigin {
    /// `10.244.1.5:8080`
    pub address: String,
    /// The Pod's name.
    pub pod: Option<String>,
    /// The EndpointSlice's name.
    pub slice: String,
}
