//! `/etc/resolv.conf` and `/etc/hosts` of nodes and your machine, as Docker and systemd write them.

use std::net::Ipv4Addr;

use programs::dns::{Flavour, ResolvConf, Resolver};
use programs::resolve::Names;

/// Your machine asks its own service.
pub(crate) const MACHINE_RESOLV: &str = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n";
/// A node asks Docker, by way of your machine.
pub(crate) const NODE_RESOLV: &str = "nameserver 172.18.0.1\noptions ndots:0\n";

/// What every machine's file begins with.
const HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";

/// The file of your machine.
pub(crate) fn machine_hosts() -> String {
    HOSTS.to_string()
}

/// The file of a node: Docker adds its container's own name.
pub(crate) fn node_hosts(name: &str, ip: Ipv4Addr) -> String {
    format!("{HOSTS}{ip}\t{name}\n")
}

/// How programs of your machine and of nodes ask for names.
pub(crate) fn resolver_of(hosts: &str, resolv: &str) -> Resolver {
    Resolver {
        names: Names::parse(hosts),
        conf: ResolvConf::parse(resolv),
        flavour: Flavour::Glibc,
        asks_both: true,
        udp_size: None,
    }
}
