//! Connections that rules no longer lead where they should (`pkg/proxy/conntrack/cleanup.go`).
//!
//! A UDP "connection" lives as long as its sender goes on sending, so it would keep to an endpoint that is
//! gone, or to none at all, for ever. TCP ends by itself.

use base::tree::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use base::Instant;
use netfilter::Netfilter;
use netfilter::conntrack::ConnId;

use crate::endpoint::EndpointInfo;
use crate::proxier::Proxier;

const UDP: u8 = 17;

/// Where the UDP ports lead that have endpoints at all, by what they are reached by.
#[derive(Default)]
struct Serving {
    by_addr: BTreeMap<SocketAddrV4, BTreeSet<SocketAddrV4>>,
    by_node_port: BTreeMap<u16, BTreeSet<SocketAddrV4>>,
}

impl Serving {
    /// Where they lead whose endpoints have changed. What goes to others has followed its rules.
    fn changed(proxier: &mut Proxier) -> Serving {
        let mut serving = Serving::default();
        for name in std::mem::take(&mut proxier.changed_udp) {
            let Some((port, endpoints)) = proxier.port(&name) else { continue };
            let addr = |endpoint: &EndpointInfo| SocketAddrV4::new(endpoint.ip, endpoint.port);
            let ends = base::order::set(endpoints.iter().filter(|e| e.serving).map(addr));
            // Without endpoints rules refuse the traffic, whatever is remembered of it.
            if ends.is_empty() {
                continue;
            }
            let one = [port.cluster_ip];
            let addrs = one.iter().chain(&port.external_ips).chain(&port.load_balancer_ips);
            for addr in addrs {
                serving.by_addr.insert(SocketAddrV4::new(*addr, port.port), ends.clone());
            }
            if let Some(node_port) = port.node_port {
                serving.by_node_port.insert(node_port, ends);
            }
        }
        serving
    }

    /// Whether a connection to `to` may be answered by `from`.
    fn allows(&self, to: SocketAddrV4, from: SocketAddrV4) -> bool {
        let ends = self.by_addr.get(&to).or_else(|| self.by_node_port.get(&to.port()));
        ends.is_none_or(|ends| ends.contains(&from))
    }

    fn is_empty(&self) -> bool {
        self.by_addr.is_empty() && self.by_node_port.is_empty()
    }
}

/// Forgets the UDP connections to Services that lead to no endpoint of theirs. Says how many. To be done after
/// each sync.
pub fn clean_stale(proxier: &mut Proxier, netfilter: &mut Netfilter, now: Instant) -> usize {
    let serving = Serving::changed(proxier);
    if serving.is_empty() {
        return 0;
    }
    let at = |addr: Ipv4Addr, port| SocketAddrV4::new(addr, port);
    let entries = netfilter.conntrack().entries(now).into_iter();
    let udp = entries.filter(|(_, conn)| conn.original.protocol == UDP);
    let is_stale = |to, from| !serving.allows(to, from);
    let stale = udp.filter(|(_, conn)| {
        let (to, from) = (&conn.original, &conn.reply);
        is_stale(at(to.dst, to.dport), at(from.src, from.sport))
    });
    let stale: Vec<ConnId> = stale.map(|(id, _)| id).collect();
    stale.iter().for_each(|id| netfilter.conntrack_mut().remove(*id, now));
    stale.len()
}
