//! What a port of a Service asks for (`syncProxyRules`).

use std::net::{Ipv4Addr, SocketAddrV4};

use netfilter::ipset::Element;
use netfilter::ipvs::ServiceKey;
use netfilter::rule::AddrMask;

use super::sets;
use crate::config::ProxyConfig;
use crate::endpoint::EndpointInfo;
use crate::service::{Protocol, ServicePortInfo};
use crate::topology;

/// A thing that several ports may ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    /// An element of a set, by the set's place in [`sets::SETS`].
    Element(u8, Element),
    /// An address on the dummy interface.
    Bound(Ipv4Addr),
    /// A virtual service.
    Service(ServiceKey),
    /// A load balancer's address that this node itself may not use: address, protocol, port.
    Shut(Ipv4Addr, Protocol, u16),
}

/// What a port asks for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) items: Vec<Item>,
    /// Its virtual services, and whether their traffic keeps to this node.
    pub(super) services: Vec<(ServiceKey, bool)>,
    /// Servers of those that do not, and of those that do.
    pub(super) cluster: Vec<SocketAddrV4>,
    pub(super) local: Vec<SocketAddrV4>,
    pub(super) affinity_seconds: Option<u32>,
}

struct Writer<'a> {
    port: &'a ServicePortInfo,
    config: &'a ProxyConfig,
    wanted: Wanted,
}

/// What a port asks for on a node.
pub(super) fn of(
    config: &ProxyConfig,
    port: &ServicePortInfo,
    endpoints: &[EndpointInfo],
) -> Wanted {
    let reachable = topology::categorize(endpoints, port, config);
    let addrs = |endpoints: &[&EndpointInfo]| -> Vec<SocketAddrV4> {
        endpoints.iter().map(|endpoint| SocketAddrV4::new(endpoint.ip, endpoint.port)).collect()
    };
    let cluster = addrs(&reachable.cluster);
    // Without endpoints here what the node's own Pods send goes to others; others' answers will be discarded.
    let local = match reachable.local.is_empty() {
        true => cluster.clone(),
        false => addrs(&reachable.local),
    };
    let affinity_seconds = port.affinity_seconds;
    let wanted = Wanted { cluster, local, affinity_seconds, ..Wanted::default() };
    let mut writer = Writer { port, config, wanted };
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.is_local) {
        let at = (port.name.protocol.number(), endpoint.port);
        let element = Element::NetPortIp((endpoint.ip, 32), at, endpoint.ip);
        writer.element(sets::LOOP_BACK, element);
    }
    writer.ip_port(sets::CLUSTER_IP, port.cluster_ip, port.port);
    writer.service(port.cluster_ip, port.port, true, port.internal_local);
    for ip in &port.external_ips {
        let is_local = port.external_local;
        let set = if is_local { sets::EXTERNAL_IP_LOCAL } else { sets::EXTERNAL_IP };
        writer.ip_port(set, *ip, port.port);
        writer.service(*ip, port.port, !config.interface_addrs.contains(ip), is_local);
    }
    for ip in &port.load_balancer_ips {
        writer.load_balancer(*ip);
    }
    if let Some(number) = port.node_port {
        writer.node_port(number);
    }
    if let Some(number) = port.health_check_node_port {
        writer.element(sets::HEALTH_CHECK_NODE_PORT, Element::Port(number));
    }
    writer.wanted
}

impl Writer<'_> {
    fn element(&mut self, set: u8, element: Element) {
        self.wanted.items.push(Item::Element(set, element));
    }

    fn ip_port(&mut self, set: u8, ip: Ipv4Addr, port: u16) {
        let at = (self.port.name.protocol.number(), port);
        self.element(set, Element::NetPort((ip, 32), at));
    }

    /// A virtual service; its address goes to the dummy interface unless the node has it anyway.
    fn service(&mut self, addr: Ipv4Addr, port: u16, is_bound: bool, is_local: bool) {
        let key = ServiceKey { protocol: self.port.name.protocol.number(), addr, port };
        if is_bound {
            self.wanted.items.push(Item::Bound(addr));
            self.element(sets::IPVS_IPS, Element::Net((addr, 32)));
        }
        self.wanted.items.push(Item::Service(key));
        self.wanted.services.push((key, is_local));
    }

    fn load_balancer(&mut self, ip: Ipv4Addr) {
        let port = self.port;
        self.ip_port(sets::LOAD_BALANCER, ip, port.port);
        if port.external_local {
            self.ip_port(sets::LOAD_BALANCER_LOCAL, ip, port.port);
        }
        if !port.source_ranges.is_empty() {
            self.firewall(ip);
        }
        let is_bound = !self.config.interface_addrs.contains(&ip);
        self.service(ip, port.port, is_bound, port.external_local);
    }

    /// Only some may come by a load balancer's address.
    fn firewall(&mut self, ip: Ipv4Addr) {
        let port = self.port;
        self.ip_port(sets::LOAD_BALANCER_FW, ip, port.port);
        let at = (port.name.protocol.number(), port.port);
        for range in &port.source_ranges {
            for net in halves(*range) {
                self.element(sets::LOAD_BALANCER_SOURCE_CIDR, Element::IpPortNet(ip, at, net));
            }
        }
        let allows_this_node = port.source_ranges.iter().any(|r| r.contains(self.config.node_ip));
        if allows_this_node {
            let element = Element::NetPortIp((ip, 32), at, ip);
            self.element(sets::LOAD_BALANCER_SOURCE_IP, element);
        } else {
            self.wanted.items.push(Item::Shut(ip, port.name.protocol, port.port));
        }
    }

    fn node_port(&mut self, number: u16) {
        let (port, config) = (self.port, self.config);
        let is_meant = |addr: &Ipv4Addr| {
            let wanted = &config.node_port_addresses;
            !addr.is_loopback()
                && (wanted.is_empty() || wanted.iter().any(|range| range.contains(*addr)))
        };
        let mut addrs: Vec<Ipv4Addr> = Vec::new();
        for addr in config.interface_addrs.iter().copied().filter(is_meant) {
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        let (all, local) = match port.name.protocol {
            Protocol::Tcp => (sets::NODE_PORT_TCP, sets::NODE_PORT_LOCAL_TCP),
            Protocol::Udp => (sets::NODE_PORT_UDP, sets::NODE_PORT_LOCAL_UDP),
            Protocol::Sctp => (sets::NODE_PORT_SCTP, sets::NODE_PORT_LOCAL_SCTP),
        };
        let sets = if port.external_local { [Some(all), Some(local)] } else { [Some(all), None] };
        for set in sets.into_iter().flatten() {
            match port.name.protocol {
                Protocol::Sctp => addrs.iter().for_each(|addr| self.ip_port(set, *addr, number)),
                _ if addrs.is_empty() => {}
                _ => self.element(set, Element::Port(number)),
            }
        }
        for addr in addrs {
            self.service(addr, number, false, port.external_local);
        }
    }
}

/// A network as a set can have it: one of all addresses is none of its elements, but its halves are.
fn halves(range: AddrMask) -> Vec<(Ipv4Addr, u8)> {
    match range.prefix_len().and_then(|len| u8::try_from(len).ok()) {
        Some(0) => vec![(Ipv4Addr::UNSPECIFIED, 1), (Ipv4Addr::new(128, 0, 0, 0), 1)],
        len => vec![(range.addr, len.unwrap_or(32))],
    }
}
