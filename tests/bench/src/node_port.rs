//! Requests through a NodePort: client ─ node 1 (DNAT, masquerade) ─ node 2 ─ Pod.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::{Duration, Instant};
use netfilter::text::{RestoreOptions, restore};
use netsim::{Advance, Cause, Cidr, Host, IfId, LinkConfig, Net, NsId, Route, Sim};

use crate::rules::ruleset;
use crate::{ANSWER, REQUEST};

/// A world with `services` Services on both nodes.
pub struct World {
    sim: Sim,
    client: NsId,
}

fn cidr(addr: [u8; 4], len: u8) -> Cidr {
    Cidr::new(addr.into(), len)
}

/// A cable between two namespaces, with an address at each end.
fn wire(net: &Net, (a, a_addr): (NsId, [u8; 4]), (b, b_addr): (NsId, [u8; 4])) -> (IfId, IfId) {
    let names = (format!("to{}", b_addr[3]), format!("from{}", a_addr[3]));
    let (left, right) = net.add_veth((a, &names.0), (b, &names.1), LinkConfig::default());
    net.add_addr(left, cidr(a_addr, 24));
    net.add_addr(right, cidr(b_addr, 24));
    (left, right)
}

fn route(net: &Net, ns: NsId, dst: Cidr, (via, dev): ([u8; 4], IfId)) {
    // The worlds here have no route twice.
    let _ = net.add_route(ns, Route::via(dst, via.into(), dev));
}

impl World {
    /// Two nodes with the rules of `services` Services, a client before them, a Pod behind.
    pub fn new(services: u32) -> World {
        let sim = Sim::new(1);
        let net = sim.net().clone();
        let [client, node1, node2, pod] =
            ["client", "node1", "node2", "pod"].map(|name| net.add_namespace(name));
        let (out, _) = wire(&net, (client, [172, 18, 0, 1]), (node1, [172, 18, 0, 2]));
        let (left, right) = wire(&net, (node1, [172, 19, 0, 2]), (node2, [172, 19, 0, 3]));
        let (_, eth0) = wire(&net, (node2, [10, 244, 2, 1]), (pod, [10, 244, 2, 2]));
        route(&net, client, Cidr::DEFAULT, ([172, 18, 0, 2], out));
        route(&net, node1, cidr([10, 244, 2, 0], 24), ([172, 19, 0, 3], left));
        route(&net, node2, Cidr::DEFAULT, ([172, 19, 0, 2], right));
        route(&net, pod, Cidr::DEFAULT, ([10, 244, 2, 1], eth0));
        let text = ruleset(services);
        for node in [node1, node2] {
            net.set_forwarding(node, true);
            net.with_netfilter(node, |netfilter| {
                let taken = restore(netfilter, &text, RestoreOptions::default());
                assert!(taken.is_ok(), "{taken:?}");
            });
        }
        net.start(pod, "server", Cause::default(), serve);
        World { sim, client }
    }

    /// Makes `requests` requests one after the other; returns how many were answered.
    pub fn requests(&self, requests: u32) -> u32 {
        let answered = Rc::new(Cell::new(0));
        let count = answered.clone();
        let client = self
            .sim
            .net()
            .start(self.client, "client", Cause::default(), |host| ask(host, requests, count));
        let end = self.sim.net().now() + Duration::from_secs(3600);
        while client.exit_code().is_none() && self.sim.step(end) {}
        answered.get()
    }

    /// What became of all packets, and the time that has passed in the world.
    pub fn totals(&self) -> (u64, Instant) {
        (self.sim.net().packet_counts().made, self.sim.net().now())
    }

    /// Lets what is on its way arrive.
    pub fn settle(&self) -> Advance {
        self.sim.advance(self.sim.net().now() + Duration::from_secs(1), u32::MAX)
    }
}

async fn serve(host: Host) -> i32 {
    let Ok(listener) = host.listen(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 80)) else { return 1 };
    while let Ok((stream, _)) = listener.accept().await {
        host.spawn(async move {
            let mut buffer = [0; 512];
            if let Ok(1..) = stream.read(&mut buffer).await {
                let _ = stream.write_all(ANSWER).await;
            }
        });
    }
    0
}

async fn ask(host: Host, requests: u32, answered: Rc<Cell<u32>>) -> i32 {
    let to = SocketAddrV4::new(Ipv4Addr::new(172, 18, 0, 2), 30007);
    for _ in 0..requests {
        let Ok(stream) = host.connect(to).await else { continue };
        if stream.write_all(REQUEST).await.is_err() {
            continue;
        }
        let mut buffer = [0; 512];
        let mut read = 0;
        while let Ok(more @ 1..) = stream.read(&mut buffer).await {
            read += more;
        }
        if read == ANSWER.len() {
            answered.set(answered.get() + 1);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_answered() {
        for services in [3, 40] {
            let world = World::new(services);
            assert_eq!(world.requests(20), 20);
        }
    }
}
