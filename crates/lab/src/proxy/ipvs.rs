//! What the ipvs mode needs of its node besides rules: the addresses it has, and an interface for those of Services.

use std::net::Ipv4Addr;

use base::tree::BTreeSet;
use kube_proxy::ipvs::DEVICE;
use netsim::iface::IfAddr;
use netsim::route::Scope;
use netsim::{Cidr, IfId, Net, NsId};

/// The node's own addresses, those of Services left out.
pub(super) fn own_addresses(net: &Net, ns: NsId) -> Vec<Ipv4Addr> {
    let ifaces = net.ifaces(ns);
    let own = ifaces.iter().filter(|iface| iface.name != DEVICE);
    own.flat_map(|iface| &iface.addrs).map(|cidr| cidr.addr).collect()
}

/// The interface, which takes no part in any traffic and is never set up.
fn device(net: &Net, ns: NsId) -> IfId {
    net.iface_named(ns, DEVICE).unwrap_or_else(|| {
        let device = net.add_dummy(ns, DEVICE);
        net.set_up(device, false);
        device
    })
}

/// Gives the interface these addresses and no others.
pub(super) fn bind(net: &Net, ns: NsId, wanted: &[Ipv4Addr]) {
    let device = device(net, ns);
    let ifaces = net.ifaces(ns);
    let there = ifaces.iter().filter(|iface| iface.name == DEVICE);
    let there: Vec<Ipv4Addr> = there.flat_map(|iface| &iface.addrs).map(|cidr| cidr.addr).collect();
    let has: BTreeSet<Ipv4Addr> = base::order::set(there.iter().copied());
    for addr in wanted.iter().filter(|addr| !has.contains(*addr)) {
        let _ = net.add_if_addr(device, IfAddr::new(Cidr::host(*addr), Scope::UNIVERSE));
    }
    let wanted: BTreeSet<Ipv4Addr> = base::order::set(wanted.iter().copied());
    for addr in there.iter().filter(|addr| !wanted.contains(*addr)) {
        let _ = net.remove_addr(device, Cidr::host(*addr));
    }
}
