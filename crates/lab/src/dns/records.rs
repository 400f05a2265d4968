//! Services and EndpointSlices as names (`plugin/kubernetes` of CoreDNS; the DNS specification of Kubernetes).

use base::Items as _;
use base::tree::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::rc::Rc;

use controllers::endpointslice::SERVICE_NAME;
use kube_api::core::Service;
use kube_api::discovery::{Endpoint, EndpointSlice};
use kube_api::{AnyObject, MetaExt};
use programs::dns::{Data, Kind, Name};

/// The cluster's domain.
pub(super) const DOMAIN: &str = "cluster.local";
/// How long records may be remembered, in seconds: kubeadm's Corefile.
pub(super) const TTL: u32 = 30;
/// The version of the specification.
const VERSION: &str = "1.1.0";

/// Namespace and name.
type Key = (String, String);

/// What a name leads to.
struct Found {
    /// An address, or another name.
    host: String,
    /// `None` where nothing says a port.
    port: Option<u16>,
    /// The host's own name.
    target: String,
}

/// What there is.
#[derive(Default)]
pub(super) struct Records {
    namespaces: BTreeSet<String>,
    services: BTreeMap<Key, Rc<Service>>,
    /// Slices of each Service, by their names.
    slices: BTreeMap<Key, BTreeMap<String, Rc<EndpointSlice>>>,
}

/// The labels of a question below `svc`.
struct Asked<'a> {
    namespace: &'a str,
    service: &'a str,
    endpoint: Option<&'a str>,
    port: Option<&'a str>,
    protocol: Option<&'a str>,
}

impl Asked<'_> {
    fn fits_port(&self, name: Option<&str>, protocol: Option<&str>) -> bool {
        let fits = |wanted: Option<&str>, is: &str| {
            wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(is))
        };
        fits(self.port, name.unwrap_or_default()) && fits(self.protocol, protocol.unwrap_or("TCP"))
    }
}

impl Records {
    pub(super) fn take(&mut self, object: &AnyObject, is_gone: bool) {
        let meta = object.meta();
        let key = |name: &str| (meta.namespace().to_string(), name.to_string());
        match object {
            AnyObject::Namespace(_) if is_gone => drop(self.namespaces.remove(meta.name())),
            AnyObject::Namespace(_) => drop(self.namespaces.insert(meta.name().to_string())),
            AnyObject::Service(_) if is_gone => drop(self.services.remove(&key(meta.name()))),
            AnyObject::Service(service) => {
                self.services.insert(key(meta.name()), service.clone());
            }
            AnyObject::EndpointSlice(slice) => {
                let key = key(meta.label(SERVICE_NAME).unwrap_or_default());
                let slices = self.slices.entry(key.clone()).or_default();
                if is_gone {
                    slices.remove(meta.name());
                } else {
                    slices.insert(meta.name().to_string(), slice.clone());
                }
                if slices.is_empty() {
                    self.slices.remove(&key);
                }
            }
            _ => {}
        }
    }

    /// What there is of a name below the domain. `None`: there is no such name.
    pub(super) fn lookup(&self, labels: &[&str], kind: Kind) -> Option<Vec<Data>> {
        let server = ("kube-system".to_string(), "kube-dns".to_string());
        match labels {
            [] if kind == Kind::Ns => {
                let known = self.services.contains_key(&server);
                let name = if known { "kube-dns.kube-system.svc" } else { "ns.dns" };
                Some(Name::parse(&format!("{name}.{DOMAIN}")).map(Data::Ns).into_iter().collect())
            }
            [] | ["svc" | "pod"] => Some(Vec::new()),
            ["dns-version"] if kind == Kind::Txt => {
                Some(vec![Data::Txt(vec![VERSION.as_bytes().to_vec()])])
            }
            ["dns-version"] => Some(Vec::new()),
            ["ns", "dns"] => {
                let service = self.services.get(&server)?;
                Some(data(&cluster_addresses(service, None), kind))
            }
            [rest @ .., namespace, "svc"] if self.namespaces.contains(*namespace) => {
                let (service, endpoint, port, protocol) = match rest {
                    [] => return Some(Vec::new()),
                    [service] => (service, None, None, None),
                    [endpoint, service] => (service, Some(*endpoint), None, None),
                    [port, protocol, service] => {
                        (service, None, Some(unscored(port)), Some(unscored(protocol)))
                    }
                    _ => return None,
                };
                let asked = Asked { namespace, service, endpoint, port, protocol };
                self.found(&asked).map(|found| data(&found, kind))
            }
            [rest @ .., namespace, "pod"] if self.namespaces.contains(*namespace) => match rest {
                [] => Some(Vec::new()),
                [pod] => {
                    let addr = dashed(pod)?;
                    Some(if kind == Kind::A { vec![Data::A(addr)] } else { Vec::new() })
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// What a name of a Service leads to (`findServices`). `None`: nothing has this name.
    fn found(&self, asked: &Asked<'_>) -> Option<Vec<Found>> {
        let key = (asked.namespace.to_string(), asked.service.to_string());
        let service = self.services.get(&key)?;
        let spec = service.spec.as_ref()?;
        if spec.type_.as_deref() == Some("ExternalName") {
            // It has no endpoints and no ports to be asked for.
            let is_plain = asked.endpoint.is_none() && asked.port.is_none();
            let host = spec.external_name.clone().filter(|_| is_plain)?;
            return Some(vec![Found { target: host.clone(), host, port: None }]);
        }
        let is_headless = spec.cluster_ip.as_deref() == Some("None");
        let found = if is_headless || asked.endpoint.is_some() {
            self.endpoints(&key, asked)
        } else {
            cluster_addresses(service, Some(asked))
        };
        // A headless Service without endpoints has no name either.
        (!found.is_empty()).then_some(found)
    }

    fn endpoints(&self, key: &Key, asked: &Asked<'_>) -> Vec<Found> {
        let mut all = Vec::new();
        for slice in self.slices.get(key).iter().flat_map(|slices| slices.values()) {
            for endpoint in slice.endpoints.iter().filter(|endpoint| is_ready(endpoint)) {
                for addr in &endpoint.addresses {
                    let name = endpoint_name(endpoint, addr);
                    if asked.endpoint.is_some_and(|wanted| wanted != name) {
                        continue;
                    }
                    let target = format!("{name}.{}.{}.svc.{DOMAIN}", key.1, key.0);
                    let found = |port| Found { host: addr.clone(), port, target: target.clone() };
                    let ports = slice.ports.as_deref().unwrap_or_default();
                    if ports.is_empty() && asked.port.is_none() && asked.protocol.is_none() {
                        all.push(found(None));
                    }
                    for port in ports {
                        if asked.fits_port(port.name.as_deref(), port.protocol.as_deref()) {
                            all.push(found(port.port.and_then(|port| u16::try_from(port).ok())));
                        }
                    }
                }
            }
        }
        all
    }

    /// The names of an address: of a Service, or of the endpoints that have it.
    pub(super) fn names_of(&self, addr: Ipv4Addr) -> Vec<Data> {
        let addr = addr.to_string();
        let mut names: Vec<Data> = Vec::new();
        let mut add = |name: String| {
            let data = Name::parse(&name).map(Data::Ptr).filter(|data| !names.contains(data));
            names.extend(data);
        };
        for ((namespace, name), service) in &self.services {
            if service.spec.as_ref().is_some_and(|spec| spec.cluster_ip.as_ref() == Some(&addr)) {
                add(format!("{name}.{namespace}.svc.{DOMAIN}"));
                return names;
            }
        }
        for ((namespace, name), slices) in &self.slices {
            let endpoints = slices.values().flat_map(|slice| &slice.endpoints);
            for endpoint in endpoints.filter(|endpoint| is_ready(endpoint)) {
                if endpoint.addresses.contains(&addr) {
                    let host = endpoint_name(endpoint, &addr);
                    add(format!("{host}.{name}.{namespace}.svc.{DOMAIN}"));
                }
            }
        }
        names
    }
}

fn unscored(label: &str) -> &str {
    label.strip_prefix('_').unwrap_or(label)
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
}

/// `web-0`, or the address with dashes.
fn endpoint_name(endpoint: &Endpoint, addr: &str) -> String {
    match &endpoint.hostname {
        Some(name) if !name.is_empty() => name.to_ascii_lowercase(),
        _ => addr.replace('.', "-"),
    }
}

/// `10-244-1-2`
fn dashed(label: &str) -> Option<Ipv4Addr> {
    label.replace('-', ".").parse().ok().filter(|_| !label.contains('.'))
}

/// A Service's own addresses, one for each port that is asked for.
fn cluster_addresses(service: &Service, asked: Option<&Asked<'_>>) -> Vec<Found> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let (name, namespace) = (service.metadata.name(), service.metadata.namespace());
    let mut found = Vec::new();
    for port in spec.ports.items() {
        let fits = asked
            .is_none_or(|asked| asked.fits_port(port.name.as_deref(), port.protocol.as_deref()));
        if let (true, Some(host)) = (fits, &spec.cluster_ip) {
            found.push(Found {
                host: host.clone(),
                port: u16::try_from(port.port).ok(),
                target: format!("{name}.{namespace}.svc.{DOMAIN}"),
            });
        }
    }
    found
}

/// The records of a type among what was found (`plugin/backend_lookup.go`).
fn data(found: &[Found], kind: Kind) -> Vec<Data> {
    let mut all: Vec<Data> = Vec::new();
    // Records that are for the same thing share its weight.
    let weight = (100 / found.len().clamp(1, 100)) as u16;
    for Found { host, port, target } in found {
        let addr: Option<Ipv4Addr> = host.parse().ok();
        let record = match (kind, addr) {
            (Kind::A, Some(addr)) => Some(Data::A(addr)),
            (Kind::A | Kind::Aaaa | Kind::Cname, None) => Name::parse(host).map(Data::Cname),
            (Kind::Srv, Some(_)) => port.and_then(|port| {
                Some(Data::Srv { priority: 0, weight, port, target: Name::parse(target)? })
            }),
            _ => None,
        };
        all.extend(record.filter(|record| !all.contains(record)));
    }
    all
}
