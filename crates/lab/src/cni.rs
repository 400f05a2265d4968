//! How Pods get their addresses and find each other: kindnet, which is kind's default.
//!
//! A cable for every Pod, a route to it on its node, and on every node one route for each other node's
//! Pods. No bridge, no tunnel.

pub(crate) mod portmap;

use base::tree::BTreeSet;
use std::net::Ipv4Addr;

use netfilter::text::{RestoreOptions, restore};
use netsim::route::Scope;
use netsim::{Cidr, IfId, LinkConfig, Net, NsId, Route};

/// kindnet's masquerading: what leaves the Pod network leaves with the node's address.
const MASQUERADING: &str = r#"
*nat
:KIND-MASQ-AGENT - [0:0]
-A POSTROUTING -m addrtype ! --dst-type LOCAL -m comment --comment "kind-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom KIND-MASQ-AGENT chain" -j KIND-MASQ-AGENT
-A KIND-MASQ-AGENT -d POD_SUBNET -m comment --comment "kind-masq-agent: local traffic is not subject to MASQUERADE" -j RETURN
-A KIND-MASQ-AGENT -m comment --comment "kind-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)" -j MASQUERADE
COMMIT
"#;

/// Addresses for the Pods of one node, handed out one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Ipam {
    cidr: Cidr,
    last: u32,
    taken: BTreeSet<Ipv4Addr>,
}

impl Ipam {
    /// The node's own address in its Pod network is the first one.
    pub(crate) fn new(cidr: Cidr) -> Ipam {
        Ipam { cidr, last: 1, taken: BTreeSet::new() }
    }

    /// What Pods of this node use as their gateway.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        self.cidr.nth(1).unwrap_or(self.cidr.addr)
    }

    /// The next address: after the last one that was given out, so that a new Pod has a new address
    /// (`host-local`).
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        let size = 1u32.checked_shl(32 - u32::from(self.cidr.len)).unwrap_or(u32::MAX);
        for step in 1..size {
            // From 2 to the last but one, and round again.
            let n = 2 + (self.last - 1 + step - 1) % size.saturating_sub(3).max(1);
            let Some(addr) = self.cidr.nth(n) else { continue };
            if self.taken.insert(addr) {
                self.last = n;
                return Some(addr);
            }
        }
        None
    }

    pub(crate) fn give_back(&mut self, addr: Ipv4Addr) {
        self.taken.remove(&addr);
    }
}

/// A node joins: its own masquerading.
pub(crate) fn prepare_node(net: &Net, node: NsId, pod_subnet: Cidr) {
    net.set_forwarding(node, true);
    let rules = MASQUERADING.replace("POD_SUBNET", &pod_subnet.to_string());
    net.with_netfilter(node, |netfilter| {
        let options = RestoreOptions { noflush: true, ..RestoreOptions::default() };
        restore(netfilter, &rules, options).expect("kindnet's rules, written above, are rules");
    });
}

/// The Pods of another node are reached through that node.
pub(crate) fn add_peer(net: &Net, node: NsId, eth0: IfId, peer: Ipv4Addr, pod_cidr: Cidr) {
    // Only a node that has come back is there already.
    let _ = net.add_route(node, Route::via(pod_cidr, peer, eth0));
}

/// Gives a Pod's namespace its interface, its address and its routes, and the node the route to it.
pub(crate) fn add_pod(
    net: &Net,
    node: NsId,
    pod: NsId,
    name: &str,
    addr: Ipv4Addr,
    ipam: &Ipam,
) -> IfId {
    let mut rng = net.rng(&format!("cni/veth/{name}/{addr}"));
    let veth = format!("veth{:08x}", rng.next_u32());
    let (outside, eth0) = net.add_veth((node, &veth), (pod, "eth0"), LinkConfig::default());
    let gateway = ipam.gateway();
    net.add_addr(outside, Cidr::host(gateway));
    net.add_addr(eth0, Cidr::new(addr, ipam.cidr.len));
    // The Pod's own network is not on its link: even its neighbours are reached through the node.
    net.remove_route(pod, ipam.cidr);
    let routes = [
        Route { src: Some(addr), ..Route::link(Cidr::host(gateway), eth0) },
        Route { src: Some(addr), ..Route::via(ipam.cidr, gateway, eth0) },
        Route::via(Cidr::DEFAULT, gateway, eth0),
    ];
    for route in routes {
        // The namespace is new.
        let _ = net.add_route(pod, route);
    }
    let to_pod = Route { scope: Some(Scope::HOST), ..Route::link(Cidr::host(addr), outside) };
    let _ = net.add_route(node, to_pod);
    outside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_pod_has_a_new_address_until_they_run_out() {
        let mut ipam = Ipam::new("10.244.1.0/29".parse().unwrap());
        assert_eq!(ipam.gateway().to_string(), "10.244.1.1");
        let take = |ipam: &mut Ipam| ipam.take().map(|addr| addr.octets()[3]);
        assert_eq!([take(&mut ipam), take(&mut ipam)], [Some(2), Some(3)]);
        ipam.give_back("10.244.1.2".parse().unwrap());
        let rest: Vec<_> = (0..5).map(|_| take(&mut ipam)).collect();
        assert_eq!(rest, [Some(4), Some(5), Some(6), Some(2), None]);
    }
}
