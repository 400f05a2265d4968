//! The ipsets (`pkg/proxy/ipvs/ipset.go`).

use netfilter::ipset::Kind;

/// A set: its name, kind, and what rules that ask it have as their comment.
pub(super) struct SetInfo {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) comment: &'static str,
}

const fn set(name: &'static str, kind: Kind, comment: &'static str) -> SetInfo {
    SetInfo { name, kind, comment }
}

// Places in `SETS`.
pub(super) const LOOP_BACK: u8 = 0;
pub(super) const CLUSTER_IP: u8 = 1;
pub(super) const EXTERNAL_IP: u8 = 2;
pub(super) const EXTERNAL_IP_LOCAL: u8 = 3;
pub(super) const LOAD_BALANCER: u8 = 4;
pub(super) const LOAD_BALANCER_FW: u8 = 5;
pub(super) const LOAD_BALANCER_LOCAL: u8 = 6;
pub(super) const LOAD_BALANCER_SOURCE_IP: u8 = 7;
pub(super) const LOAD_BALANCER_SOURCE_CIDR: u8 = 8;
pub(super) const NODE_PORT_TCP: u8 = 9;
pub(super) const NODE_PORT_LOCAL_TCP: u8 = 10;
pub(super) const NODE_PORT_UDP: u8 = 11;
pub(super) const NODE_PORT_LOCAL_UDP: u8 = 12;
pub(super) const NODE_PORT_SCTP: u8 = 13;
pub(super) const NODE_PORT_LOCAL_SCTP: u8 = 14;
pub(super) const HEALTH_CHECK_NODE_PORT: u8 = 15;
pub(super) const IPVS_IPS: u8 = 16;

/// All of them; they are there also while they are empty.
pub(super) const SETS: [SetInfo; 17] = [
    set(
        "KUBE-LOOP-BACK",
        Kind::HashIpPortIp,
        "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose",
    ),
    set(
        "KUBE-CLUSTER-IP",
        Kind::HashIpPort,
        "Kubernetes service cluster ip + port for masquerade purpose",
    ),
    set(
        "KUBE-EXTERNAL-IP",
        Kind::HashIpPort,
        "Kubernetes service external ip + port for masquerade and filter purpose",
    ),
    set(
        "KUBE-EXTERNAL-IP-LOCAL",
        Kind::HashIpPort,
        "Kubernetes service external ip + port with externalTrafficPolicy=local",
    ),
    set("KUBE-LOAD-BALANCER", Kind::HashIpPort, "Kubernetes service lb portal"),
    set(
        "KUBE-LOAD-BALANCER-FW",
        Kind::HashIpPort,
        "Kubernetes service load balancer ip + port for load balancer with sourceRange",
    ),
    set(
        "KUBE-LOAD-BALANCER-LOCAL",
        Kind::HashIpPort,
        "Kubernetes service load balancer ip + port with externalTrafficPolicy=local",
    ),
    set(
        "KUBE-LOAD-BALANCER-SOURCE-IP",
        Kind::HashIpPortIp,
        "Kubernetes service load balancer ip + port + source IP for packet filter purpose",
    ),
    set(
        "KUBE-LOAD-BALANCER-SOURCE-CIDR",
        Kind::HashIpPortNet,
        "Kubernetes service load balancer ip + port + source cidr for packet filter purpose",
    ),
    set(
        "KUBE-NODE-PORT-TCP",
        Kind::BitmapPort,
        "Kubernetes nodeport TCP port for masquerade purpose",
    ),
    set(
        "KUBE-NODE-PORT-LOCAL-TCP",
        Kind::BitmapPort,
        "Kubernetes nodeport TCP port with externalTrafficPolicy=local",
    ),
    set(
        "KUBE-NODE-PORT-UDP",
        Kind::BitmapPort,
        "Kubernetes nodeport UDP port for masquerade purpose",
    ),
    set(
        "KUBE-NODE-PORT-LOCAL-UDP",
        Kind::BitmapPort,
        "Kubernetes nodeport UDP port with externalTrafficPolicy=local",
    ),
    set(
        "KUBE-NODE-PORT-SCTP-HASH",
        Kind::HashIpPort,
        "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'",
    ),
    set(
        "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
        Kind::HashIpPort,
        "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'",
    ),
    set("KUBE-HEALTH-CHECK-NODE-PORT", Kind::BitmapPort, "Kubernetes health check node port"),
    set("KUBE-IPVS-IPS", Kind::HashIp, "Addresses on the ipvs interface"),
];
