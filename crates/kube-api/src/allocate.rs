//! Addresses and ports of Services: who has which, and what a Service keeps when it is changed
//! (`pkg/registry/core/service/storage/alloc.go`, `pkg/registry/core/service/strategy.go`).
//!
//! One number is one node port, whatever its protocol: two Services cannot have the same number, not even one for
//! TCP and one for UDP. Ports of one Service with the same number share their node port.

use base::Items as _;
use base::tree::BTreeSet;
use std::net::Ipv4Addr;

use base::Rng;

use crate::MetaExt;
use crate::core::{Service, ServicePort, ServiceSpec};
use crate::server::ApiConfig;
use crate::status::FieldError;

/// What is given out in a cluster. A change to a copy of it is a dry run.
#[derive(Clone, Debug, Default)]
pub struct Allocator {
    addresses: BTreeSet<Ipv4Addr>,
    node_ports: BTreeSet<u16>,
}

/// A Service of this type has a cluster IP.
fn needs_cluster_ip(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() != Some("ExternalName")
}

/// A Service of this type is given node ports.
fn needs_node_ports(spec: &ServiceSpec) -> bool {
    match spec.type_.as_deref() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec.allocate_load_balancer_node_ports != Some(false),
        _ => false,
    }
}

/// A load balancer asks the nodes whether they have endpoints of this Service.
fn needs_health_check(spec: &ServiceSpec) -> bool {
    is_load_balancer(spec) && spec.external_traffic_policy.as_deref() == Some("Local")
}

fn is_load_balancer(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("LoadBalancer")
}

fn is_external(spec: &ServiceSpec) -> bool {
    matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"))
        || spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty())
}

fn number(port: Option<i32>) -> i32 {
    port.unwrap_or(0)
}

/// The node ports of a Service's ports, each once.
fn node_ports(spec: &ServiceSpec) -> BTreeSet<u16> {
    let ports = spec.ports.items().filter_map(|port| valid(port.node_port));
    base::order::set(ports)
}

fn valid(port: Option<i32>) -> Option<u16> {
    u16::try_from(number(port)).ok().filter(|port| *port != 0)
}

/// A cluster IP in one field and not in the other is put into both (`NormalizeClusterIPs`).
fn normalize(old: Option<&ServiceSpec>, new: &mut ServiceSpec) {
    let text = |ip: &Option<String>| ip.clone().unwrap_or_default();
    let Some(old) = old else {
        if !text(&new.cluster_ip).is_empty() && new.cluster_ips.is_none() {
            new.cluster_ips = Some(vec![text(&new.cluster_ip)]);
        }
        return;
    };
    let same_list = new.cluster_ips == old.cluster_ips;
    if text(&old.cluster_ip) == text(&new.cluster_ip) {
        return;
    }
    if text(&new.cluster_ip).is_empty() {
        if same_list {
            new.cluster_ips = None;
        }
    } else if same_list || new.cluster_ips.is_none() {
        new.cluster_ips = Some(vec![text(&new.cluster_ip)]);
    }
}

/// What a changed Service keeps of what it had without having to say so (`patchAllocatedValues`), and loses
/// because its new type has no use for it and nobody has changed it (`dropTypeDependentFields`).
pub fn carry_over(old: &Service, new: &mut Service) {
    let is_balanced = new.spec.as_ref().is_some_and(is_load_balancer);
    if let Some(status) = new.status.as_mut().filter(|_| !is_balanced) {
        status.load_balancer = Some(Default::default());
    }
    let (Some(old), Some(new)) = (&old.spec, &mut new.spec) else { return };
    normalize(Some(old), new);
    if needs_cluster_ip(old) && needs_cluster_ip(new) {
        if new.cluster_ip.as_deref().unwrap_or_default().is_empty() {
            new.cluster_ip.clone_from(&old.cluster_ip);
        }
        if new.cluster_ips.is_none() && new.cluster_ip == old.cluster_ip {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
    }
    if needs_node_ports(old) && needs_node_ports(new) {
        keep_node_ports(old, new);
    }
    if needs_health_check(old) && needs_health_check(new) && number(new.health_check_node_port) == 0
    {
        new.health_check_node_port = old.health_check_node_port;
    }
    drop_fields(old, new);
}

/// A port without a node port gets the one that the port of its name had, unless another has it now.
fn keep_node_ports(old: &ServiceSpec, new: &mut ServiceSpec) {
    let (held, asked) = (node_ports(old), node_ports(new));
    let mut used: BTreeSet<u16> = base::order::set(held.intersection(&asked).copied());
    for port in new.ports.iter_mut().flatten() {
        if number(port.node_port) != 0 {
            continue;
        }
        let name = |port: &ServicePort| port.name.clone().unwrap_or_default();
        let same = old.ports.items().rev().find(|before| name(before) == name(port));
        let Some(before) = same.and_then(|before| valid(before.node_port)) else { continue };
        if used.insert(before) {
            port.node_port = Some(i32::from(before));
        }
    }
}

fn drop_fields(old: &ServiceSpec, new: &mut ServiceSpec) {
    if needs_cluster_ip(old) && !needs_cluster_ip(new) {
        if old.cluster_ips == new.cluster_ips {
            new.cluster_ip = None;
            new.cluster_ips = None;
        }
        if old.ip_families == new.ip_families {
            new.ip_families = None;
        }
        if old.ip_family_policy == new.ip_family_policy {
            new.ip_family_policy = None;
        }
    }
    let numbers = |spec: &ServiceSpec| -> Vec<i32> {
        spec.ports.items().map(|port| number(port.node_port)).collect()
    };
    if needs_node_ports(old) && !needs_node_ports(new) && numbers(old) == numbers(new) {
        new.ports.iter_mut().flatten().for_each(|port| port.node_port = None);
    }
    let same_check = old.health_check_node_port == new.health_check_node_port;
    if needs_health_check(old) && !needs_health_check(new) && same_check {
        new.health_check_node_port = None;
    }
    if is_load_balancer(old) && !is_load_balancer(new) {
        let field = "loadBalancerClass";
        if old.rest.get(field) == new.rest.get(field) {
            new.rest.remove(field);
        }
        if old.allocate_load_balancer_node_ports == new.allocate_load_balancer_node_ports {
            new.allocate_load_balancer_node_ports = None;
        }
    }
    let same_policy = old.external_traffic_policy == new.external_traffic_policy;
    if is_external(old) && !is_external(new) && same_policy {
        new.external_traffic_policy = None;
    }
}

/// The families of a Service's addresses, in a cluster that knows IPv4 only (`initIPFamilyFields`).
pub fn families(old: Option<&Service>, service: &mut Service) -> Vec<FieldError> {
    let Some(spec) = &mut service.spec else { return Vec::new() };
    if !needs_cluster_ip(spec) {
        return Vec::new();
    }
    if old.is_none() {
        normalize(None, spec);
    }
    let old = old.and_then(|old| old.spec.as_ref());
    let has_selector = spec.selector.as_ref().is_some_and(|labels| !labels.is_empty());
    let is_bare = spec.cluster_ip.as_deref() == Some("None") && !has_selector;
    if spec.ip_family_policy.is_none() {
        let before = old.and_then(|old| old.ip_family_policy.clone());
        let default = if is_bare { "RequireDualStack" } else { "SingleStack" };
        spec.ip_family_policy = Some(before.unwrap_or_else(|| default.to_string()));
    }
    let policy = spec.ip_family_policy.clone().unwrap_or_default();
    let mut errors = family_errors(spec, &policy);
    if !errors.is_empty() {
        return errors;
    }
    let families = spec.ip_families.get_or_insert_default();
    let ipv4 = || "IPv4".to_string();
    if is_bare {
        // Whoever writes the endpoints of such a Service decides of which family they are.
        if families.is_empty() {
            families.push(ipv4());
        }
        if families.len() < 2 && policy != "SingleStack" {
            let is_first = families.first().is_some_and(|family| family == "IPv4");
            families.push(if is_first { "IPv6".to_string() } else { ipv4() });
        }
        return Vec::new();
    }
    if policy == "RequireDualStack" {
        let complaint = "this cluster is not configured for dual-stack services";
        errors.push(policy_error(&policy, complaint));
    }
    for (index, family) in families.iter().enumerate().filter(|(_, family)| *family != "IPv4") {
        let at = format!("spec.ipFamilies[{index}]");
        let complaint = "not configured on this cluster";
        errors.push(FieldError::invalid(at, format!("{family:?}"), complaint));
    }
    if errors.is_empty() && families.is_empty() {
        families.push(ipv4());
    }
    errors
}

fn policy_error(policy: &str, complaint: &str) -> FieldError {
    FieldError::invalid("spec.ipFamilyPolicy", format!("{policy:?}"), complaint)
}

fn family_errors(spec: &ServiceSpec, policy: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    const POLICIES: [&str; 3] = ["SingleStack", "PreferDualStack", "RequireDualStack"];
    if !POLICIES.contains(&policy) {
        errors.push(FieldError::not_supported("spec.ipFamilyPolicy", policy, &POLICIES));
    }
    for (index, family) in spec.ip_families.items().enumerate() {
        let at = format!("spec.ipFamilies[{index}]");
        if family != "IPv4" && family != "IPv6" {
            errors.push(FieldError::not_supported(at, family, &["IPv4", "IPv6"]));
        } else if spec.ip_families.items().take(index).any(|before| before == family) {
            errors.push(FieldError::duplicate(at, format!("{family:?}")));
        }
    }
    let count = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
    if policy == "SingleStack" {
        for (number, what) in
            [(count(&spec.cluster_ips), "cluster IPs"), (count(&spec.ip_families), "IP families")]
        {
            if number == 2 {
                let complaint = format!(
                    "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                );
                errors.push(policy_error(policy, &complaint));
            }
        }
    }
    errors
}

impl Allocator {
    /// Gives a Service what it needs and does not have, and takes back what the old one had and the new one
    /// does not need. When that is not possible, nothing is given and nothing taken.
    pub fn allocate(
        &mut self,
        config: &ApiConfig,
        rng: &Rng,
        old: Option<&Service>,
        service: &mut Service,
    ) -> Vec<FieldError> {
        let errors = families(old, service);
        if !errors.is_empty() {
            return errors;
        }
        let name = format!("{}/{}", service.metadata.namespace(), service.metadata.name());
        let Some(spec) = &mut service.spec else { return Vec::new() };
        let default = ServiceSpec::default();
        let old = old.and_then(|old| old.spec.as_ref()).unwrap_or(&default);
        let mut work = Work {
            all: self,
            config,
            rng,
            name: &name,
            taken: Held::default(),
            left: Held::default(),
        };
        let result = work.settle(old, spec);
        // All or nothing: what is given back is what was taken just now, or what is not needed any more.
        let Work { taken, left, .. } = work;
        let back = if result.is_ok() { left } else { taken };
        for addr in &back.0 {
            self.addresses.remove(addr);
        }
        for port in &back.1 {
            self.node_ports.remove(port);
        }
        result.err().into_iter().collect()
    }

    /// Takes back what a Service that is gone has had.
    pub fn release(&mut self, service: &Service) {
        let Some(spec) = &service.spec else { return };
        self.give_back_ports(spec);
        if let Some(addr) = address(spec) {
            self.addresses.remove(&addr);
        }
    }

    fn give_back_ports(&mut self, spec: &ServiceSpec) {
        for port in node_ports(spec).into_iter().chain(valid(spec.health_check_node_port)) {
            self.node_ports.remove(&port);
        }
    }
}

fn address(spec: &ServiceSpec) -> Option<Ipv4Addr> {
    spec.cluster_ip.as_ref()?.parse().ok()
}

/// Addresses and ports.
#[derive(Default)]
struct Held(Vec<Ipv4Addr>, Vec<u16>);

/// Allocation for one Service.
struct Work<'a> {
    all: &'a mut Allocator,
    config: &'a ApiConfig,
    rng: &'a Rng,
    name: &'a str,
    /// What it has not had before.
    taken: Held,
    /// What it does not need any more.
    left: Held,
}

impl Work<'_> {
    fn settle(&mut self, old: &ServiceSpec, spec: &mut ServiceSpec) -> Result<(), FieldError> {
        self.address(old, spec)?;
        let had = node_ports(old);
        if is_load_balancer(spec) || needs_node_ports(spec) {
            self.node_ports(&had, spec)?;
        }
        let has = node_ports(spec);
        self.left.1.extend(had.difference(&has));
        self.health_check(old, spec)
    }

    fn address(&mut self, old: &ServiceSpec, spec: &mut ServiceSpec) -> Result<(), FieldError> {
        if !needs_cluster_ip(spec) {
            self.left.0.extend(address(old));
            return Ok(());
        }
        let first = || spec.cluster_ips.as_ref()?.first().cloned();
        let wanted = spec.cluster_ip.clone().filter(|ip| !ip.is_empty()).or_else(first);
        let addr = match wanted.filter(|ip| !ip.is_empty()) {
            Some(text) if text == "None" => text,
            Some(text) if old.cluster_ip.as_ref() == Some(&text) && address(old).is_some() => text,
            Some(text) => self.claim_address(&text)?.to_string(),
            None => self.pick_address()?.to_string(),
        };
        spec.cluster_ips = Some(vec![addr.clone()]);
        spec.cluster_ip = Some(addr);
        Ok(())
    }

    fn take_address(&mut self, addr: Ipv4Addr) -> bool {
        let is_free = self.all.addresses.insert(addr);
        self.taken.0.extend(is_free.then_some(addr));
        is_free
    }

    fn take_port(&mut self, port: u16) -> bool {
        let is_free = self.all.node_ports.insert(port);
        self.taken.1.extend(is_free.then_some(port));
        is_free
    }

    fn network(&self) -> (u32, u32) {
        let (first, len) = self.config.service_network;
        let size = 1u32.checked_shl(32 - u32::from(len.min(32))).unwrap_or(u32::MAX);
        (u32::from(first), size)
    }

    fn claim_address(&mut self, text: &str) -> Result<Ipv4Addr, FieldError> {
        let Ok(addr) = text.parse::<Ipv4Addr>() else {
            let complaint = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            return Err(FieldError::invalid("spec.clusterIPs[0]", format!("{text:?}"), complaint));
        };
        let (first, size) = self.network();
        let offset = u32::from(addr).wrapping_sub(first);
        let trouble = if offset >= size {
            "the provided network does not match the current range".to_string()
        } else if offset == 0 || offset == size - 1 {
            let (first, len) = self.config.service_network;
            format!(
                "the provided IP ({addr}) is not in the valid range. The range of valid IPs is {first}/{len}"
            )
        } else if self.take_address(addr) {
            return Ok(addr);
        } else {
            "provided IP is already allocated".to_string()
        };
        let detail = format!("failed to allocate IP {addr}: {trouble}");
        Err(FieldError::invalid("spec.clusterIPs", format!("[{text:?}]"), &detail))
    }

    /// A free address, from above the band that is kept for addresses asked for by number (KEP-3070).
    fn pick_address(&mut self) -> Result<Ipv4Addr, FieldError> {
        let (first, size) = self.network();
        let band = (size / 16).clamp(16, 256).min(size.saturating_sub(2));
        let mut rng = self.rng.fork(&format!("clusterip/{}", self.name));
        for (from, to) in [(band + 1, size.saturating_sub(2)), (1, band)] {
            let count = (to + 1).saturating_sub(from);
            if count == 0 {
                continue;
            }
            let start = rng.below(count);
            let free = (0..count)
                .map(|i| Ipv4Addr::from(first.wrapping_add(from + (start + i) % count)))
                .find(|addr| !self.all.addresses.contains(addr));
            if let Some(addr) = free {
                self.take_address(addr);
                return Ok(addr);
            }
        }
        let detail = "failed to allocate a serviceIP: range is full";
        Err(FieldError::invalid("spec.clusterIPs", "null", detail))
    }

    /// Claims what is asked for, then picks for the rest.
    fn node_ports(
        &mut self,
        had: &BTreeSet<u16>,
        spec: &mut ServiceSpec,
    ) -> Result<(), FieldError> {
        let wants = needs_node_ports(spec);
        let mut has: BTreeSet<u16> = BTreeSet::new();
        for (index, port) in spec.ports.items().enumerate() {
            let asked = number(port.node_port);
            if asked == 0 {
                continue;
            }
            let is_held =
                valid(port.node_port).is_some_and(|p| had.contains(&p) || has.contains(&p));
            if !is_held {
                let at = format!("spec.ports[{index}].nodePort");
                let claimed = self.claim_port(asked);
                claimed.map_err(|trouble| FieldError::invalid(at, asked, &trouble))?;
            }
            has.extend(valid(port.node_port));
        }
        if !wants {
            return Ok(());
        }
        let mut rng = self.rng.fork(&format!("nodeport/{}", self.name));
        let ports = spec.ports.clone().unwrap_or_default();
        let mut given: Vec<(i32, i32)> =
            ports.iter().map(|port| (port.port, number(port.node_port))).collect();
        for port in spec.ports.iter_mut().flatten() {
            if number(port.node_port) != 0 {
                continue;
            }
            // The same port of another protocol shares the number.
            let shared = given.iter().find(|(of, node)| *of == port.port && *node != 0);
            let node = match shared {
                Some((_, node)) => *node,
                None => i32::from(self.pick_port(&mut rng)?),
            };
            given.push((port.port, node));
            port.node_port = Some(node);
        }
        Ok(())
    }

    fn claim_port(&mut self, asked: i32) -> Result<(), String> {
        let range = &self.config.node_ports;
        let port = u16::try_from(asked).ok().filter(|port| range.contains(port));
        match port {
            None => Err(format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                range.start(),
                range.end()
            )),
            Some(port) if !self.take_port(port) => {
                Err("provided port is already allocated".to_string())
            }
            Some(_) => Ok(()),
        }
    }

    /// A free port, from above the band that is kept for ports asked for by number (KEP-3668).
    fn pick_port(&mut self, rng: &mut Rng) -> Result<u16, FieldError> {
        let (first, last) = (*self.config.node_ports.start(), *self.config.node_ports.end());
        let size = u32::from(last.saturating_sub(first)) + 1;
        let band = (size / 32).clamp(16, 128).min(size);
        for (from, count) in [(band, size - band), (0, band)] {
            if count == 0 {
                continue;
            }
            let start = rng.below(count);
            let free = (0..count)
                .map(|i| first + u16::try_from(from + (start + i) % count).unwrap_or(0))
                .find(|port| !self.all.node_ports.contains(port));
            if let Some(port) = free {
                self.take_port(port);
                return Ok(port);
            }
        }
        let detail = "failed to allocate a nodePort: range is full";
        Err(FieldError::invalid("spec.ports", "0", detail))
    }

    fn health_check(
        &mut self,
        old: &ServiceSpec,
        spec: &mut ServiceSpec,
    ) -> Result<(), FieldError> {
        let had = valid(old.health_check_node_port).filter(|_| needs_health_check(old));
        if !needs_health_check(spec) {
            self.left.1.extend(had);
            return Ok(());
        }
        let asked = number(spec.health_check_node_port);
        if asked == 0 {
            let mut rng = self.rng.fork(&format!("healthcheck/{}", self.name));
            spec.health_check_node_port = Some(i32::from(self.pick_port(&mut rng)?));
        } else if had.map(i32::from) != Some(asked) {
            self.claim_port(asked).map_err(|trouble| {
                let detail =
                    format!("failed to allocate requested HealthCheck NodePort {asked}: {trouble}");
                FieldError::invalid("spec.healthCheckNodePort", asked, &detail)
            })?;
        }
        Ok(())
    }
}
