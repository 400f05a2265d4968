//! What chains and sets are called (`servicePortChainNameBase`, `hashAndTruncate`):
//! `service-ULMVA6XW-ns1/svc1/tcp/p80`, `endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80`.

use std::net::Ipv4Addr;
use std::rc::Rc;

use crate::names;
use crate::service::{PortName, Protocol};

/// Among all endpoints.
pub(super) const CLUSTER: &str = "service-";
/// Among the endpoints of this node.
pub(super) const LOCAL: &str = "local-";
/// From outside.
pub(super) const EXTERNAL: &str = "external-";
/// To one endpoint.
pub(super) const ENDPOINT: &str = "endpoint-";
/// The clients of one endpoint; a set.
pub(super) const AFFINITY: &str = "affinity-";
/// From outside, unless the sender may.
pub(super) const FIREWALL: &str = "firewall-";

/// The longest name of nftables that knftables allows, without the longest prefix.
const BASE_MAX: usize = 256 - 16;

fn hash_and_truncate(name: &str) -> String {
    let mut base = String::with_capacity(name.len() + 9);
    base.extend(names::hash(name).iter().take(8).map(|letter| char::from(*letter)));
    base.push('-');
    base.push_str(name);
    // Names of objects are ASCII.
    if base.len() > BASE_MAX && base.is_char_boundary(BASE_MAX - 3) {
        base.truncate(BASE_MAX - 3);
        base.push_str("...");
    }
    base
}

/// What a port is called by, before hash and prefix.
fn plain(port: &PortName) -> String {
    let PortName { namespace, service, port, protocol } = port;
    [namespace, service, protocol.name(), port].join("/")
}

/// Names the chains of one port of a Service.
pub(super) struct Names {
    base: String,
}

impl Names {
    pub(super) fn new(port: &PortName) -> Names {
        Names { base: hash_and_truncate(&plain(port)) }
    }

    /// One of its chains.
    pub(super) fn chain(&self, prefix: &str) -> Rc<str> {
        [prefix, &self.base].concat().into()
    }
}

/// The chain that leads to an endpoint of a port.
pub(crate) fn endpoint_chain(name: &PortName, ip: Ipv4Addr, port: u16) -> Rc<str> {
    let base = hash_and_truncate(&format!("{}__{ip}/{port}", plain(name)));
    [ENDPOINT, &base].concat().into()
}

/// The set that goes with the chain of an endpoint.
pub(super) fn affinity_set(chain: &str) -> Rc<str> {
    [AFFINITY, chain.strip_prefix(ENDPOINT).unwrap_or(chain)].concat().into()
}

/// Whether a chain is one of a Service or an endpoint (`isServiceChainName`).
pub(super) fn is_service_chain(chain: &str) -> bool {
    chain.contains('/')
}

/// Prefix, port, and `IP:port` of the endpoint that a name was made of.
pub(super) fn parse(name: &str) -> Option<(&str, PortName, Option<String>)> {
    let prefixes = [CLUSTER, LOCAL, EXTERNAL, ENDPOINT, AFFINITY, FIREWALL];
    let prefix = prefixes.into_iter().find(|prefix| name.starts_with(prefix))?;
    let (_hash, plain) = name.get(prefix.len()..)?.split_once('-')?;
    let (plain, endpoint) = match plain.split_once("__") {
        Some((plain, endpoint)) => (plain, Some(endpoint.replacen('/', ":", 1))),
        None => (plain, None),
    };
    let mut parts = plain.splitn(4, '/');
    let mut part = || parts.next().map(str::to_string);
    let (namespace, service, protocol, port) = (part()?, part()?, part()?, part()?);
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let protocol = protocols.into_iter().find(|known| known.name() == protocol)?;
    Some((prefix, PortName { namespace, service, port, protocol }, endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(service: &str, port: &str) -> PortName {
        PortName {
            namespace: "ns1".into(),
            service: service.into(),
            port: port.into(),
            protocol: Protocol::Tcp,
        }
    }

    #[test]
    fn names_as_upstream_s_tests_have_them() {
        let names = Names::new(&port("svc1", "p80"));
        assert_eq!(&*names.chain(CLUSTER), "service-ULMVA6XW-ns1/svc1/tcp/p80");
        assert_eq!(
            hash_and_truncate("ns1/svc1/tcp/p80__10.180.0.1/80"),
            "5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80"
        );
    }

    #[test]
    fn a_name_that_is_too_long_ends_in_dots() {
        let name = hash_and_truncate(&"a".repeat(300));
        assert_eq!(name.len(), 240);
        assert!(name.ends_with("a..."), "{name}");
        assert_eq!(hash_and_truncate(&"a".repeat(231)).len(), 240);
        assert!(!hash_and_truncate(&"a".repeat(231)).ends_with('.'));
    }

    #[test]
    fn a_name_says_what_it_was_made_of() {
        let name = Names::new(&port("svc1", "p80")).chain(EXTERNAL);
        assert_eq!(parse(&name), Some((EXTERNAL, port("svc1", "p80"), None)));
        let name = Names::new(&port("svc1", "")).chain(LOCAL);
        assert_eq!(parse(&name), Some((LOCAL, port("svc1", ""), None)));
        let name = "affinity-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80";
        let endpoint = Some("10.180.0.1:80".to_string());
        assert_eq!(parse(name), Some((AFFINITY, port("svc1", "p80"), endpoint)));
        for none in ["services", "service-endpoints-check", "service-A-b/c", "endpoint-", ""] {
            assert_eq!(parse(none), None, "{none}");
        }
    }
}
