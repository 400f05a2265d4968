//! What stands in the sets and maps that dispatch traffic, and what is to stand there
//! (`nftElementStorage`).
//!
//! An element is known by the text that it is added by: `service-ips { 10.96.0.1 . tcp . 443`. Upstream gathers
//! the elements of all ports in every sync and compares; here only those are compared that changed ports have or
//! had.

use std::rc::Rc;

use base::tree::BTreeMap;

use crate::service::PortName;

use super::Tables;
use super::batch::Batch;

/// The set of addresses that answer on node ports; it is written whole.
pub(super) const NODE_PORT_IPS: &str = "nodeport-ips";

/// The set of cluster IPs.
pub(super) const CLUSTER_IPS: &str = "cluster-ips";
/// Where traffic to addresses goes.
pub(super) const SERVICE_IPS: &str = "service-ips";
/// Addresses with a firewall.
pub(super) const FIREWALL_IPS: &str = "firewall-ips";
/// Addresses without endpoints.
pub(super) const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
/// Node ports without endpoints.
pub(super) const NO_ENDPOINT_NODE_PORTS: &str = "no-endpoint-nodeports";
/// Where traffic to node ports goes.
pub(super) const SERVICE_NODE_PORTS: &str = "service-nodeports";

/// All of them.
const ALL: [&str; 6] = [
    CLUSTER_IPS,
    SERVICE_IPS,
    FIREWALL_IPS,
    NO_ENDPOINT_SERVICES,
    NO_ENDPOINT_NODE_PORTS,
    SERVICE_NODE_PORTS,
];

/// An element that a port asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    /// Its container and key.
    pub(super) id: Rc<str>,
    /// Its verdict; empty in a set.
    pub(super) value: Rc<str>,
}

/// The text that an element is known by.
pub(super) fn id(container: &str, key: &str) -> Rc<str> {
    [container, " { ", key].concat().into()
}

/// A port that asks for an element.
#[derive(Clone, Debug)]
struct Claim {
    port: Rc<PortName>,
    value: Rc<str>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// What stands in the table, if anything.
    there: Option<Rc<str>>,
    /// In the order of the ports' names; the first is the one that counts.
    claims: Vec<Claim>,
}

/// What stands in all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elements {
    entries: BTreeMap<Rc<str>, Entry>,
}

impl Elements {
    /// Reads what stands in the table and forgets what was asked for (`readOrReset`). What cannot be read is
    /// emptied.
    pub(super) fn read(&mut self, tables: &dyn Tables, out: &mut Batch) {
        self.entries.clear();
        for container in ALL {
            let Some(elements) = tables.elements(container) else {
                let command = if container == CLUSTER_IPS { "flush set" } else { "flush map" };
                out.line(command, &[container]);
                continue;
            };
            for (key, value) in elements {
                let entry = Entry { there: Some(value.into()), claims: Vec::new() };
                self.entries.insert(id(container, &key), entry);
            }
        }
    }

    /// A port asks for elements.
    pub(super) fn claim(&mut self, port: &Rc<PortName>, elements: &[Element]) {
        for element in elements {
            let claims = &mut self.entries.entry(element.id.clone()).or_default().claims;
            let claim = Claim { port: port.clone(), value: element.value.clone() };
            match claims.iter().position(|known| known.port >= *port) {
                // Of what one port says of a key, the last counts.
                Some(at) if claims.get(at).is_some_and(|known| known.port == *port) => {
                    claims.splice(at..=at, [claim]);
                }
                Some(at) => claims.insert(at, claim),
                None => claims.push(claim),
            }
        }
    }

    /// A port does not ask for these any more.
    pub(super) fn release(&mut self, port: &PortName, elements: &[Element]) {
        for element in elements {
            if let Some(entry) = self.entries.get_mut(&element.id) {
                entry.claims.retain(|claim| *claim.port != *port);
            }
        }
    }

    /// Writes what makes these stand as they are asked for.
    pub(super) fn settle(&mut self, elements: &[Element], out: &mut Batch) {
        for element in elements {
            self.settle_one(&element.id, out);
        }
    }

    /// Writes what makes all stand as they are asked for.
    pub(super) fn settle_all(&mut self, out: &mut Batch) {
        let ids: Vec<Rc<str>> = self.entries.keys().cloned().collect();
        ids.iter().for_each(|id| self.settle_one(id, out));
    }

    fn settle_one(&mut self, id: &Rc<str>, out: &mut Batch) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let wanted = entry.claims.first();
        let value = wanted.map(|claim| &claim.value);
        if entry.there.as_ref() != value {
            if entry.there.is_some() {
                out.elements += 1;
                out.line("delete element", &[id, "}"]);
            }
            if let Some(claim) = wanted {
                out.elements += 1;
                add(id, claim, out);
            }
            entry.there = value.cloned();
        }
        if entry.claims.is_empty() {
            self.entries.remove(id);
        }
    }

    /// The port that an element stands for.
    pub(super) fn port(&self, container: &str, key: &str) -> Option<&PortName> {
        let entry = self.entries.get(&*id(container, key))?;
        entry.claims.first().map(|claim| &*claim.port)
    }
}

fn add(id: &str, claim: &Claim, out: &mut Batch) {
    let is_commented = [FIREWALL_IPS, NO_ENDPOINT_SERVICES, NO_ENDPOINT_NODE_PORTS]
        .iter()
        .any(|container| id.starts_with(container));
    let comment = format!("comment \"{}\"", claim.port);
    let mut parts = vec![id];
    if is_commented {
        parts.push(&comment);
    }
    if !claim.value.is_empty() {
        parts.extend([":", &claim.value]);
    }
    parts.push("}");
    out.line("add element", &parts);
}
