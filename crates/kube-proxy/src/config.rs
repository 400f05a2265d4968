//! What a node's kube-proxy is told about itself.

use std::net::Ipv4Addr;

use netfilter::rule::AddrMask;

/// How a rule chooses among endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balancing {
    /// In turns: `-m statistic --mode nth`. The lab's default; not what a real kube-proxy writes.
    #[default]
    RoundRobin,
    /// By chance: `-m statistic --mode random`, upstream's own.
    Random,
}

impl Balancing {
    /// The choice of this name.
    pub fn parse(name: &str) -> Option<Balancing> {
        [Balancing::RoundRobin, Balancing::Random].into_iter().find(|choice| choice.name() == name)
    }

    /// The word it is switched by.
    pub fn name(self) -> &'static str {
        match self {
            Balancing::RoundRobin => "round-robin",
            Balancing::Random => "random",
        }
    }
}

/// What kube-proxy writes its rules for (`--proxy-mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// iptables.
    #[default]
    Iptables,
    /// nftables.
    Nftables,
    /// IP virtual servers, and iptables and ipsets for the rest.
    Ipvs,
    /// No kube-proxy runs.
    None,
}

impl Mode {
    /// The mode of this name.
    pub fn parse(name: &str) -> Option<Mode> {
        let all = [Mode::Iptables, Mode::Nftables, Mode::Ipvs, Mode::None];
        all.into_iter().find(|mode| mode.name() == name)
    }

    /// The word it is chosen by.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Iptables => "iptables",
            Mode::Nftables => "nftables",
            Mode::Ipvs => "ipvs",
            Mode::None => "none",
        }
    }
}

/// Configuration of kube-proxy on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// What rules are written for.
    pub mode: Mode,
    /// The node's name.
    pub node_name: String,
    /// The node's address.
    pub node_ip: Ipv4Addr,
    /// The node's `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// Where Pods have their addresses; without it no traffic counts as coming from a Pod.
    pub cluster_cidr: Option<AddrMask>,
    /// Where Services have their cluster IPs.
    pub service_cidrs: Vec<AddrMask>,
    /// Masquerade everything that goes to a cluster IP.
    pub masquerade_all: bool,
    /// Which bit of the mark asks for masquerading.
    pub masquerade_bit: u8,
    /// `MASQUERADE --random-fully`
    pub random_fully: bool,
    /// Do not drop what conntrack finds invalid.
    pub conntrack_tcp_liberal: bool,
    /// Node ports answer on 127.0.0.1 too.
    pub localhost_node_ports: bool,
    /// Only these of the node's addresses answer on node ports; none means all, and in nftables mode
    /// `node_ip`.
    pub node_port_addresses: Vec<AddrMask>,
    /// The node's own addresses, for `node_port_addresses`.
    pub interface_addrs: Vec<Ipv4Addr>,
    /// How a rule chooses among endpoints.
    pub balancing: Balancing,
}

impl ProxyConfig {
    /// The defaults of kind's nodes.
    pub fn new(node_name: &str, node_ip: Ipv4Addr, cluster_cidr: AddrMask) -> ProxyConfig {
        ProxyConfig {
            mode: Mode::default(),
            node_name: node_name.to_string(),
            node_ip,
            zone: None,
            cluster_cidr: Some(cluster_cidr),
            service_cidrs: Vec::new(),
            masquerade_all: false,
            masquerade_bit: 14,
            random_fully: true,
            conntrack_tcp_liberal: false,
            localhost_node_ports: true,
            node_port_addresses: Vec::new(),
            interface_addrs: vec![Ipv4Addr::LOCALHOST, node_ip],
            balancing: Balancing::default(),
        }
    }

    /// The mark that asks for masquerading.
    pub fn masquerade_mark(&self) -> u32 {
        1u32.checked_shl(u32::from(self.masquerade_bit)).unwrap_or(0)
    }
}
