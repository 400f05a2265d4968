//! Your machine: a namespace with Docker's bridge, and the ports that containers publish on it.

use std::net::{Ipv4Addr, SocketAddrV4};

use netfilter::TableName;
use netfilter::text::{RestoreOptions, parse_rule, restore};
use netsim::{Cause, Cidr, IfId, LinkConfig, Net, NsId, Process, Route};
use programs::proxy;

use crate::dns::docker::{self, Containers};
use crate::kind::PortMapping;
use crate::place::MACHINE;

/// The Docker network called `kind`.
pub const DOCKER_NETWORK: Cidr = Cidr { addr: Ipv4Addr::new(172, 18, 0, 0), len: 16 };
/// Its bridge on your machine.
pub const BRIDGE: &str = "br-kind";
/// Your machine's address there.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);

/// What Docker puts into the machine's tables for its network.
const DOCKER_RULES: &str = "
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.18.0.0/16 ! -o br-kind -j MASQUERADE
-A DOCKER -i br-kind -j RETURN
COMMIT
";

/// A published port.
#[derive(Clone)]
pub struct Published {
    /// The container that has it.
    pub container: String,
    /// The container's address.
    pub target: SocketAddrV4,
    /// Which, with the host port that was really taken.
    pub mapping: PortMapping,
    proxy: Option<Process>,
}

/// Your machine.
pub struct Machine {
    net: Net,
    ns: NsId,
    bridge: IfId,
    published: Vec<Published>,
    /// Addresses on the bridge that are in use.
    taken: Vec<Ipv4Addr>,
    /// What Docker's name server knows.
    containers: Containers,
}

/// The port is published already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortTaken;

impl Machine {
    /// Your machine with Docker, and no containers.
    pub(crate) fn new(net: &Net) -> Machine {
        let ns = net.add_namespace(MACHINE);
        net.set_forwarding(ns, true);
        let bridge = net.add_bridge(ns, BRIDGE);
        net.add_addr(bridge, Cidr::new(GATEWAY, DOCKER_NETWORK.len));
        net.with_netfilter(ns, |netfilter| {
            restore(netfilter, DOCKER_RULES, RestoreOptions::default())
                .expect("Docker's rules, written above, are rules");
        });
        let (published, containers) = (Vec::new(), Containers::default());
        docker::start(net, ns, &containers);
        Machine { net: net.clone(), ns, bridge, published, taken: vec![GATEWAY], containers }
    }

    /// Its namespace.
    pub fn ns(&self) -> NsId {
        self.ns
    }

    /// The published ports, in the order of publishing.
    pub fn published(&self) -> &[Published] {
        &self.published
    }

    /// The next free address on the bridge.
    pub(crate) fn next_address(&self) -> Ipv4Addr {
        let free = (2..).find_map(|n| DOCKER_NETWORK.nth(n).filter(|a| !self.taken.contains(a)));
        free.unwrap_or(GATEWAY)
    }

    /// Connects a container's namespace to the bridge, as its `eth0`.
    pub(crate) fn connect(&mut self, container: &str, ns: NsId, addr: Ipv4Addr) -> IfId {
        let mut rng = self.net.rng(&format!("docker/veth/{container}"));
        let port = format!("veth{:07x}", rng.next_u32() >> 4);
        let link = LinkConfig::default();
        let (port, eth0) = self.net.add_veth((self.ns, &port), (ns, "eth0"), link);
        self.net.set_master(port, self.bridge);
        self.net.add_addr(eth0, Cidr::new(addr, DOCKER_NETWORK.len));
        // A new namespace has no other default route.
        let _ = self.net.add_route(ns, Route::via(Cidr::DEFAULT, GATEWAY, eth0));
        self.taken.push(addr);
        self.containers.borrow_mut().insert(container.to_string(), addr);
        eth0
    }

    /// A container is gone.
    pub(crate) fn disconnect(&mut self, container: &str, addr: Ipv4Addr) {
        self.taken.retain(|taken| *taken != addr);
        self.containers.borrow_mut().remove(container);
        let gone: Vec<Published> = {
            let is_its = |published: &Published| published.container == container;
            let gone = self.published.iter().filter(|p| is_its(p)).cloned().collect();
            self.published.retain(|published| !is_its(published));
            gone
        };
        for published in gone {
            if let Some(proxy) = &published.proxy {
                proxy.kill();
            }
            let rule = dnat_rule(&published);
            self.net.with_netfilter(self.ns, |netfilter| {
                netfilter.edit(TableName::Nat, |nat| {
                    let number = rule.iter().find_map(|rule| nat.find("DOCKER", rule).ok());
                    number.map(|number| nat.delete("DOCKER", number))
                })
            });
        }
    }

    fn is_taken(&self, mapping: &PortMapping) -> bool {
        self.published.iter().any(|published| {
            let other = &published.mapping;
            let any = Ipv4Addr::UNSPECIFIED;
            other.host_port == mapping.host_port
                && other.protocol == mapping.protocol
                && (other.listen_address == mapping.listen_address
                    || other.listen_address == any
                    || mapping.listen_address == any)
        })
    }

    /// Publishes a container's port: a user-space proxy for what comes from the machine itself, a rule for
    /// what comes from elsewhere.
    pub(crate) fn publish(
        &mut self,
        container: &str,
        addr: Ipv4Addr,
        mut mapping: PortMapping,
    ) -> Result<(), PortTaken> {
        if mapping.host_port == 0 {
            let mut rng =
                self.net.rng(&format!("docker/port/{container}/{}", mapping.container_port));
            while mapping.host_port == 0 || self.is_taken(&mapping) {
                mapping.host_port = 32768 + rng.below(28_232) as u16;
            }
        }
        if self.is_taken(&mapping) {
            return Err(PortTaken);
        }
        let target = SocketAddrV4::new(addr, mapping.container_port);
        let listen = SocketAddrV4::new(mapping.listen_address, mapping.host_port);
        let proxy = (mapping.protocol == "TCP").then(|| {
            self.net.start(self.ns, "docker-proxy", Cause(0), |host| async move {
                match host.listen(listen) {
                    Ok(listener) => {
                        proxy::publish(host, listener, target).await;
                        0
                    }
                    Err(_) => 1,
                }
            })
        });
        let published = Published { container: container.to_string(), target, mapping, proxy };
        let rules = dnat_rule(&published);
        self.net.with_netfilter(self.ns, |netfilter| {
            netfilter.edit(TableName::Nat, |nat| {
                for rule in rules {
                    nat.append("DOCKER", rule).expect("Docker has its chain");
                }
            });
        });
        self.published.push(published);
        Ok(())
    }
}

/// `! -i br-kind -p tcp --dport 30007 -j DNAT --to-destination 172.18.0.2:30007`
fn dnat_rule(published: &Published) -> Vec<netfilter::RuleSpec> {
    let PortMapping { host_port, listen_address, protocol, .. } = &published.mapping;
    let protocol = protocol.to_ascii_lowercase();
    let listen = match listen_address.is_unspecified() {
        true => String::new(),
        false => format!("-d {listen_address} "),
    };
    let text = format!(
        "{listen}! -i {BRIDGE} -p {protocol} -m {protocol} --dport {host_port} -j DNAT --to-destination {}",
        published.target
    );
    let words: Vec<String> = text.split(' ').map(str::to_string).collect();
    parse_rule(&words).expect("a rule made of numbers and addresses is a rule")
}
