//! kube-proxy of one node: what it knows, and what of it has changed since it last wrote rules
//! (`ServiceChangeTracker`, `EndpointsChangeTracker`, `Proxier`).
//!
//! The rules of a port depend on that port and its endpoints alone, so they are kept, and made anew only
//! when one of the two has changed.

use base::tree::{BTreeMap, BTreeSet};
use std::rc::Rc;

use kube_api::MetaExt;
use kube_api::core::Service;
use kube_api::discovery::EndpointSlice;

use crate::config::{Mode, ProxyConfig};
use crate::endpoint::{self, ByPort, EndpointInfo, SERVICE_NAME};
use crate::iptables::{self, LARGE_CLUSTER, Plan};
use crate::origin::{self, EndpointOrigin, Field, Origin};
use crate::rules::PortRules;
use crate::service::{self, PortName, Protocol, ServicePortInfo};
use crate::{ipvs, nftables};

/// Namespace and name of a Service.
pub type ServiceKey = (String, String);

/// A port of a Service, with its rules.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) info: ServicePortInfo,
    pub(crate) endpoints: Vec<EndpointInfo>,
    /// `None`: they are still to be made.
    rules: Option<Rc<PortRules>>,
    pub(crate) serial: u32,
}

impl Port {
    pub(crate) fn rules(&self) -> Option<&PortRules> {
        self.rules.as_deref()
    }

    /// Makes the rules of the iptables mode; other modes make theirs when they write them.
    fn make_rules(&mut self, config: &ProxyConfig, is_large: bool) {
        let is_wanted = config.mode == Mode::Iptables;
        self.rules = is_wanted.then(|| Rc::new(PortRules::new(config, is_large, self)));
    }

    /// What something was written for that has to do with one of its fields and perhaps one of its endpoints.
    pub(crate) fn origin(&self, field: Field, endpoint: Option<&EndpointInfo>) -> Origin {
        let of = |endpoint: &EndpointInfo| EndpointOrigin {
            address: endpoint.to_string(),
            pod: endpoint.pod().map(str::to_string),
            slice: endpoint.slice().to_string(),
        };
        Origin {
            port: self.info.name.clone(),
            port_index: self.info.index,
            field: field.path(self.info.index),
            endpoint: endpoint.map(of),
        }
    }
}

/// A Service as it was last seen.
#[derive(Debug, Default)]
struct Known {
    ports: Vec<ServicePortInfo>,
    slices: BTreeMap<String, Rc<EndpointSlice>>,
}

/// The rules of a port before and after.
#[derive(Debug)]
pub(crate) struct PortChange {
    pub(crate) name: PortName,
    pub(crate) old: Option<Rc<PortRules>>,
    pub(crate) new: Option<Rc<PortRules>>,
}

/// What has changed since the last time.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) ports: Vec<PortChange>,
    /// Everything was made anew.
    pub(crate) is_all: bool,
}

/// kube-proxy of one node.
#[derive(Debug)]
pub struct Proxier {
    config: ProxyConfig,
    services: BTreeMap<ServiceKey, Known>,
    /// The ports that rules were made for.
    written: BTreeMap<ServiceKey, Vec<PortName>>,
    ports: BTreeMap<PortName, Port>,
    /// `healthCheckNodePort`s.
    health_checks: BTreeMap<ServiceKey, u16>,
    by_serial: BTreeMap<u32, PortName>,
    last_serial: u32,
    total_endpoints: usize,
    is_large: bool,
    changed: BTreeSet<ServiceKey>,
    /// The configuration has changed: all rules are to be made anew.
    is_stale: bool,
    /// Ports for UDP that are new or have changed since stale connections were last looked for.
    pub(crate) changed_udp: BTreeSet<PortName>,
    /// The tables' generations after the last sync.
    pub(crate) written_at: Option<[u64; 2]>,
    /// What is known of the table of the nftables mode.
    pub(crate) nftables: nftables::State,
    /// What is known of the virtual servers of the ipvs mode.
    pub(crate) ipvs: ipvs::State,
}

impl Proxier {
    /// Knows nothing yet.
    pub fn new(config: ProxyConfig) -> Proxier {
        Proxier {
            config,
            services: BTreeMap::new(),
            written: BTreeMap::new(),
            ports: BTreeMap::new(),
            health_checks: BTreeMap::new(),
            by_serial: BTreeMap::new(),
            last_serial: 0,
            total_endpoints: 0,
            is_large: false,
            changed: BTreeSet::new(),
            is_stale: false,
            changed_udp: BTreeSet::new(),
            written_at: None,
            nftables: nftables::State::default(),
            ipvs: ipvs::State::default(),
        }
    }

    /// What it is told about its node.
    pub fn config(&self) -> &ProxyConfig {
        &self.config
    }

    /// Changes what it is told about its node.
    pub fn configure(&mut self, config: ProxyConfig) {
        if config != self.config {
            self.config = config;
            self.is_stale = true;
        }
    }

    /// A Service is new, changed or gone. `false`: that changes nothing for a proxy.
    pub fn observe_service(
        &mut self,
        namespace: &str,
        name: &str,
        service: Option<&Service>,
    ) -> bool {
        let ports = service.map(service::ports).unwrap_or_default();
        let key = (namespace.to_string(), name.to_string());
        let known = self.services.entry(key.clone()).or_default();
        if known.ports == ports {
            if known.ports.is_empty() && known.slices.is_empty() {
                self.services.remove(&key);
            }
            return false;
        }
        known.ports = ports;
        self.changed.insert(key);
        true
    }

    /// An EndpointSlice is new, changed or gone (`new` is `None`).
    pub fn observe_slice(
        &mut self,
        old: Option<&Rc<EndpointSlice>>,
        new: Option<&Rc<EndpointSlice>>,
    ) {
        let key = |slice: &EndpointSlice| {
            let service = slice.metadata.label(SERVICE_NAME)?;
            Some((slice.metadata.namespace().to_string(), service.to_string()))
        };
        if let Some((slice, key)) = old.and_then(|slice| Some((slice, key(slice)?))) {
            if let Some(known) = self.services.get_mut(&key) {
                known.slices.remove(slice.metadata.name());
            }
            self.changed.insert(key);
        }
        if let Some((slice, key)) = new.and_then(|slice| Some((slice, key(slice)?))) {
            let known = self.services.entry(key.clone()).or_default();
            known.slices.insert(slice.metadata.name().to_string(), slice.clone());
            self.changed.insert(key);
        }
    }

    /// The rules as a whole, in the order in which a full sync writes them.
    pub fn plan(&self) -> Plan {
        let mut plan = iptables::chains(&self.config);
        plan.extend(&iptables::head(&self.config));
        self.ports.values().filter_map(Port::rules).for_each(|rules| plan.extend(&rules.plan));
        plan.extend(&iptables::tail(&self.config));
        plan
    }

    /// How many rules there are.
    pub fn rule_count(&self) -> usize {
        match self.config.mode {
            Mode::Nftables => return self.nftables_rule_count(),
            Mode::Ipvs => return self.ipvs.rule_count(),
            _ => {}
        }
        let fixed = [iptables::head(&self.config), iptables::tail(&self.config)];
        let fixed: usize = fixed.iter().map(Plan::rule_count).sum();
        let ports = self.ports.values().filter_map(Port::rules);
        fixed + ports.map(|rules| rules.plan.rule_count()).sum::<usize>()
    }

    /// What a rule was written for.
    pub fn origin(&self, number: u64) -> Option<Origin> {
        let (serial, field, endpoint) = origin::decode(number);
        let name = self.by_serial.get(&serial)?;
        let port = self.ports.get(name)?;
        Some(port.origin(field?, endpoint.and_then(|at| port.endpoints.get(at))))
    }

    /// A port as it is kept.
    pub(crate) fn kept(&self, name: &PortName) -> Option<&Port> {
        self.ports.get(name)
    }

    /// The rules of all ports, in the order of their names.
    pub(crate) fn all_rules(&self) -> impl Iterator<Item = (&PortName, &PortRules)> {
        self.ports.iter().filter_map(|(name, port)| Some((name, port.rules()?)))
    }

    /// The rules of all ports from this one on.
    pub(crate) fn rules_from(
        &self,
        first: &PortName,
    ) -> impl Iterator<Item = (&PortName, &PortRules)> {
        self.ports.range_from(first).filter_map(|(name, port)| Some((name, port.rules()?)))
    }

    /// The Services that nodes are asked about, and on which port.
    pub fn health_check_ports(&self) -> impl Iterator<Item = (&ServiceKey, u16)> {
        self.health_checks.iter().map(|(key, port)| (key, *port))
    }

    /// On which port nodes are asked about a Service.
    pub fn health_check_port(&self, service: &ServiceKey) -> Option<u16> {
        self.health_checks.get(service).copied()
    }

    /// How many addresses on this node are ready to serve a Service, on whatever port (`LocalReadyEndpoints`).
    pub fn local_ready_endpoints(&self, service: &ServiceKey) -> usize {
        let names = self.written.get(service).into_iter().flatten();
        let ports = names.filter_map(|name| self.ports.get(name));
        let ends = ports.flat_map(|port| &port.endpoints).filter(|end| end.is_local && end.ready);
        base::order::set(ends.map(|end| end.ip)).len()
    }

    /// A port and its endpoints.
    pub fn port(&self, name: &PortName) -> Option<(&ServicePortInfo, &[EndpointInfo])> {
        self.ports.get(name).map(|port| (&port.info, port.endpoints.as_slice()))
    }

    /// All ports.
    pub fn ports(&self) -> impl Iterator<Item = (&ServicePortInfo, &[EndpointInfo])> {
        self.ports.values().map(|port| (&port.info, port.endpoints.as_slice()))
    }

    /// Makes the rules of whatever has changed.
    pub(crate) fn update(&mut self) -> Changes {
        let mut changes = Changes::default();
        let mut fresh = Vec::new();
        for key in std::mem::take(&mut self.changed) {
            self.read_service(&key, &mut fresh, &mut changes.ports);
        }
        let is_large = self.total_endpoints > LARGE_CLUSTER && self.config.mode == Mode::Iptables;
        let is_stale = std::mem::take(&mut self.is_stale) || is_large != self.is_large;
        self.is_large = is_large;
        for name in &fresh {
            self.remake(name, &mut changes.ports);
        }
        if is_stale {
            changes.is_all = true;
            self.remake_others(&fresh);
        }
        changes
    }

    /// Takes in a Service and its slices. `fresh`: ports to make rules for.
    fn read_service(
        &mut self,
        key: &ServiceKey,
        fresh: &mut Vec<PortName>,
        changes: &mut Vec<PortChange>,
    ) {
        let (infos, mut endpoints) = match self.services.get(key) {
            Some(known) => {
                let slices = known.slices.values();
                (known.ports.clone(), endpoint::read(slices, &self.config))
            }
            None => (Vec::new(), ByPort::new()),
        };
        for name in self.written.remove(key).unwrap_or_default() {
            if !infos.iter().any(|info| info.name == name) {
                self.forget(&name, changes);
            }
        }
        let names: Vec<PortName> = infos.iter().map(|info| info.name.clone()).collect();
        if !names.is_empty() {
            fresh.extend(names.iter().cloned());
            self.written.insert(key.clone(), names);
        }
        match infos.iter().find_map(|info| info.health_check_node_port) {
            Some(port) => self.health_checks.insert(key.clone(), port),
            None => self.health_checks.remove(key),
        };
        for info in infos {
            let endpoints = endpoints.remove(&info.name).unwrap_or_default();
            self.take_in(info, endpoints);
        }
        if self.services.get(key).is_some_and(|k| k.ports.is_empty() && k.slices.is_empty()) {
            self.services.remove(key);
        }
    }

    fn forget(&mut self, name: &PortName, changes: &mut Vec<PortChange>) {
        let Some(port) = self.ports.remove(name) else { return };
        self.by_serial.remove(&port.serial);
        self.total_endpoints -= port.endpoints.len();
        changes.push(PortChange { name: name.clone(), old: port.rules, new: None });
    }

    fn take_in(&mut self, info: ServicePortInfo, endpoints: Vec<EndpointInfo>) {
        self.total_endpoints += endpoints.len();
        if info.name.protocol == Protocol::Udp {
            self.changed_udp.insert(info.name.clone());
        }
        match self.ports.get_mut(&info.name) {
            Some(port) => {
                self.total_endpoints -= port.endpoints.len();
                (port.info, port.endpoints) = (info, endpoints);
            }
            None => {
                self.last_serial = self.last_serial.wrapping_add(1);
                let serial = self.last_serial;
                let name = info.name.clone();
                self.by_serial.insert(serial, name.clone());
                self.ports.insert(name, Port { info, endpoints, rules: None, serial });
            }
        }
    }

    /// Makes the rules of a port. Upstream writes the chains of a Service anew whenever one of its objects
    /// has changed, also when they say the same.
    fn remake(&mut self, name: &PortName, changes: &mut Vec<PortChange>) {
        let Some(port) = self.ports.get_mut(name) else { return };
        let old = port.rules.take();
        port.make_rules(&self.config, self.is_large);
        changes.push(PortChange { name: name.clone(), old, new: port.rules.clone() });
    }

    fn remake_others(&mut self, fresh: &[PortName]) {
        let fresh = base::order::set(fresh);
        for (name, port) in &mut self.ports {
            if !fresh.contains(name) {
                port.make_rules(&self.config, self.is_large);
            }
        }
    }
}
