//! Packets through one forwarding namespace, without rules: UDP from one side to the other.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::Duration;
use netsim::{Cause, Cidr, LinkConfig, NsId, Route, Sim};

/// Sends `datagrams` of 100 bytes through a router; returns how many arrived.
pub fn forward(datagrams: u32) -> u32 {
    let sim = Sim::new(1);
    let net = sim.net().clone();
    let [left, router, right] = ["left", "router", "right"].map(|name| net.add_namespace(name));
    net.set_forwarding(router, true);
    let join = |ns: NsId, net_no: u8| {
        let cable = LinkConfig::default();
        let (end, port) = net.add_veth((ns, "eth0"), (router, &format!("eth{net_no}")), cable);
        net.add_addr(end, Cidr::new(Ipv4Addr::new(10, 0, net_no, 2), 24));
        net.add_addr(port, Cidr::new(Ipv4Addr::new(10, 0, net_no, 1), 24));
        let gateway = Ipv4Addr::new(10, 0, net_no, 1);
        // A namespace that is new has no default route yet.
        let _ = net.add_route(ns, Route::via(Cidr::DEFAULT, gateway, end));
    };
    join(left, 1);
    join(right, 2);
    let arrived = Rc::new(Cell::new(0));
    let count = arrived.clone();
    net.start(right, "sink", Cause::default(), |host| async move {
        let Ok(socket) = host.bind_udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 9)) else {
            return 1;
        };
        while socket.recv_from().await.is_ok() {
            count.set(count.get() + 1);
        }
        0
    });
    let source = net.start(left, "source", Cause::default(), |host| async move {
        let Ok(socket) = host.bind_udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)) else {
            return 1;
        };
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 2), 9);
        for i in 0..datagrams {
            let _ = socket.send_to(&[0; 100], to, None);
            if i % 32 == 0 {
                host.sleep(Duration::from_micros(10)).await;
            }
        }
        0
    });
    let end = net.now() + Duration::from_secs(3600);
    while source.exit_code().is_none() && sim.step(end) {}
    sim.advance(net.now() + Duration::from_secs(1), u32::MAX);
    arrived.get()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_datagram_arrives() {
        assert_eq!(super::forward(500), 500);
    }
}
