//! From a rule back to what it was written for.

use crate::service::PortName;

/// What a rule was written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The port of the Service.
    pub port: PortName,
    /// Its place among the Service's ports.
    pub port_index: usize,
    /// The field of the Service that the rule comes from: `spec.clusterIP`, `spec.ports[0].nodePort`, …
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

/// The origins of a plan's rules; a rule's `origin` is a place here, counted from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Origin>);

impl Origins {
    pub(crate) fn add(&mut self, origin: Origin) -> u64 {
        self.0.push(origin);
        self.0.len() as u64
    }

    /// What the rule with this `origin` was written for.
    pub fn get(&self, origin: u64) -> Option<&Origin> {
        let at = usize::try_from(origin).ok()?.checked_sub(1)?;
        self.0.get(at)
    }
}
