//! The lab, rebuilt from its own views with the real kernel.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddrV4;

use netsim::route::proto;
use netsim::{Net, NsId};
use serde_json::json;
use tests::kernel::{self, Agent, Namespaces};

use crate::ours::{Ours, PATIENCE, Server};
use crate::script::Scenario;

/// Namespaces, cables, routes, rules and servers as the lab has them at a moment.
pub(crate) struct Theirs {
    agent: Agent,
    /// The real name of each of the lab's namespaces.
    names: BTreeMap<String, String>,
    // Last, so that the agent has ended when its namespaces go.
    _namespaces: Namespaces,
}

impl Theirs {
    pub(crate) fn of(ours: &mut Ours) -> Theirs {
        let net = ours.world.lab().net().clone();
        let mut namespaces = Namespaces::new();
        let mut names = BTreeMap::new();
        for (name, _) in net.namespaces() {
            let real = namespaces.add(name.rsplit('/').next().unwrap_or(&name));
            names.insert(name, real);
        }
        for (name, ns) in net.namespaces() {
            let settings = settings(&net, ns);
            let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
            kernel::sysctl(&names[&name], &settings).unwrap();
        }
        for (name, ns) in net.namespaces() {
            kernel::ip(&names[&name], &links(&net, ns, &names)).unwrap();
        }
        for (name, ns) in net.namespaces() {
            kernel::ip(&names[&name], &addresses(&net, ns)).unwrap();
        }
        for (_, ns) in net.namespaces() {
            // Only now: a bridge takes ports that are there.
            let name = net.name_of(ns).unwrap();
            kernel::ip(&names[&name], &downs(&net, ns)).unwrap();
        }
        for (name, ns) in ours.filtered() {
            let (rules, nft) = ours.begin_anew(ns);
            kernel::restore(&names[&name], &rules).unwrap();
            kernel::inside(&names[&name], "nft", &["-f", "-"], &nft).unwrap();
        }
        let agent = Agent::start(None, "cluster.py", "");
        let mut theirs = Theirs { agent, names, _namespaces: namespaces };
        for server in ours.servers() {
            theirs.serve(&server);
        }
        theirs.publish(ours);
        theirs
    }

    fn obey(&mut self, command: &serde_json::Value) -> serde_json::Value {
        let answer = self.agent.ask(&command.to_string());
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert!(answer.get("error").is_none(), "{command}: {answer}");
        answer
    }

    fn serve(&mut self, server: &Server) {
        let Server { ns, protocol, port, name } = server;
        let ns = &self.names[ns];
        self.obey(&json!({"serve": {"ns": ns, "protocol": protocol, "port": port, "name": name}}));
    }

    /// Docker's proxies for published ports.
    fn publish(&mut self, ours: &Ours) {
        let published = ours.world.lab().machine(|machine| machine.published().to_vec());
        for port in published.iter().filter(|port| port.mapping.protocol == "TCP") {
            let host = ours.world.lab().machine(lab::machine::Machine::ns);
            let host = ours.world.lab().net().name_of(host).unwrap();
            let (addr, from) = (port.mapping.listen_address, port.mapping.host_port);
            let to = json!([port.target.ip().to_string(), port.target.port()]);
            let ns = &self.names[&host];
            self.obey(&json!({"publish": {"ns": ns, "addr": addr, "port": from, "to": to}}));
        }
    }

    pub(crate) fn ask(&mut self, from: &str, scenario: &Scenario, to: SocketAddrV4) -> Vec<String> {
        let ns = &self.names[from];
        let to = json!([to.ip().to_string(), to.port()]);
        let command = json!({"ask": {
            "ns": ns, "protocol": scenario.protocol, "to": to, "times": scenario.times,
            "timeout": PATIENCE.as_secs_f64(),
        }});
        serde_json::from_value(self.obey(&command)).unwrap()
    }

    pub(crate) fn forget_connections(&self, name: &str) {
        kernel::inside(&self.names[name], "conntrack", &["-F"], "").unwrap();
    }

    /// `iptables-save -c -t nat` and `conntrack -L`.
    pub(crate) fn look(&self, name: &str) -> (String, String) {
        let ns = &self.names[name];
        (
            kernel::save_table(ns, "nat").unwrap(),
            kernel::inside(ns, "conntrack", &["-L"], "").unwrap(),
        )
    }
}

fn settings(net: &Net, ns: NsId) -> Vec<String> {
    let number = |is_on: bool| u8::from(is_on);
    vec![
        format!("net.ipv4.ip_forward={}", number(net.is_forwarding(ns))),
        format!("net.ipv4.conf.all.route_localnet={}", number(net.routes_localnet(ns))),
        // What the lab does not have.
        "net.ipv4.conf.all.rp_filter=0".to_string(),
        "net.ipv4.conf.default.rp_filter=0".to_string(),
        "net.ipv4.conf.all.send_redirects=0".to_string(),
        "net.ipv4.conf.default.send_redirects=0".to_string(),
        "net.ipv4.icmp_ratelimit=0".to_string(),
        "net.bridge.bridge-nf-call-iptables=0".to_string(),
    ]
}

/// `ip link add` for bridges and for cables that begin in this namespace.
fn links(net: &Net, ns: NsId, names: &BTreeMap<String, String>) -> String {
    let mut lines = String::new();
    for iface in net.ifaces(ns) {
        let (name, mac, mtu) = (&iface.name, iface.mac, iface.mtu);
        if iface.is_bridge {
            let _ = writeln!(
                lines,
                "link add {name} address {mac} mtu {mtu} type bridge forward_delay 0 mcast_snooping 0"
            );
        }
        let Some((peer_ns, peer, _)) = iface.peer else { continue };
        // Each cable once: from its end that was made first.
        if peer < iface.id {
            continue;
        }
        let others = net.ifaces(peer_ns);
        let other = others.iter().find(|other| other.id == peer).unwrap();
        let real = &names[&net.name_of(peer_ns).unwrap()];
        let _ = writeln!(
            lines,
            "link add {name} address {mac} mtu {mtu} type veth peer name {} address {} mtu {} netns {real}",
            other.name, other.mac, other.mtu
        );
    }
    lines
}

/// Ports of bridges, addresses and routes.
fn addresses(net: &Net, ns: NsId) -> String {
    let mut lines = String::new();
    let routes = net.routes(ns);
    for iface in net.ifaces(ns).iter().filter(|iface| !iface.is_loopback) {
        let name = &iface.name;
        if let Some(bridge) = &iface.master {
            let _ = writeln!(lines, "link set {name} master {bridge}");
        }
        let _ = writeln!(lines, "link set {name} up");
        for addr in &iface.addrs {
            let has_route = routes
                .iter()
                .any(|r| r.proto == proto::KERNEL && r.dst == addr.network() && r.dev == *name);
            let without = if has_route { "" } else { " noprefixroute" };
            let _ = writeln!(lines, "addr add {addr} brd + dev {name}{without}");
        }
    }
    // Routes with a next hop need the route to it first.
    let (direct, via): (Vec<_>, Vec<_>) = routes
        .iter()
        .filter(|route| route.proto != proto::KERNEL)
        .partition(|route| route.via.is_none());
    for route in direct.into_iter().chain(via) {
        let _ = write!(lines, "route add {} dev {} metric {}", route.dst, route.dev, route.metric);
        if let Some(via) = route.via {
            let _ = write!(lines, " via {via}");
        }
        if let Some(src) = route.src {
            let _ = write!(lines, " src {src}");
        }
        lines.push('\n');
    }
    lines
}

fn downs(net: &Net, ns: NsId) -> String {
    let ifaces = net.ifaces(ns);
    let down = ifaces.iter().filter(|iface| !iface.is_up);
    down.map(|iface| format!("link set {} down\n", iface.name)).collect()
}
