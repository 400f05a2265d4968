//! The router that both worlds have, and what lies around it.
//!
//! Nobody lives behind its three cables: every packet that comes by them is made by the test, and everything
//! that the router sends is read there.

use std::net::Ipv4Addr;

/// A cable of the router.
pub(crate) struct Cable {
    /// The router's interface.
    pub(crate) name: &'static str,
    /// Its hardware address.
    pub(crate) mac: &'static str,
    /// Its addresses, the first being the primary one.
    pub(crate) addrs: &'static [&'static str],
    /// Stations on it that the router knows; the last one sends the test's own questions.
    pub(crate) stations: &'static [&'static str],
    /// The hardware address of all of them.
    pub(crate) station_mac: &'static str,
}

/// The cables.
pub(crate) const CABLES: [Cable; 3] = [
    Cable {
        name: "in0",
        mac: "02:00:00:00:01:01",
        addrs: &["10.1.0.1/24"],
        stations: &["10.1.0.10", "10.1.0.11", "10.1.0.250"],
        station_mac: "02:00:00:00:01:ff",
    },
    Cable {
        name: "ext0",
        mac: "02:00:00:00:02:01",
        addrs: &["192.0.2.1/24"],
        stations: &["192.0.2.10", "192.0.2.11", "192.0.2.254", "192.0.2.250"],
        station_mac: "02:00:00:00:02:ff",
    },
    Cable {
        name: "dmz0",
        mac: "02:00:00:00:03:01",
        addrs: &["10.2.0.1/24", "10.2.0.9/24"],
        stations: &["10.2.0.10", "10.2.0.20", "10.2.0.254", "10.2.0.250"],
        station_mac: "02:00:00:00:03:ff",
    },
];

/// Routes besides those to the cables: prefix, next hop, cable.
pub(crate) const ROUTES: [(&str, &str, &str); 2] =
    [("0.0.0.0/0", "192.0.2.254", "ext0"), ("10.9.0.0/16", "10.2.0.254", "dmz0")];

/// Hosts that send: the cable they are behind and their address.
pub(crate) const HOSTS: [(&str, Ipv4Addr); 8] = [
    ("in0", Ipv4Addr::new(10, 1, 0, 10)),
    ("in0", Ipv4Addr::new(10, 1, 0, 11)),
    ("ext0", Ipv4Addr::new(192, 0, 2, 10)),
    ("ext0", Ipv4Addr::new(192, 0, 2, 11)),
    ("ext0", Ipv4Addr::new(198, 51, 100, 7)),
    ("dmz0", Ipv4Addr::new(10, 2, 0, 10)),
    ("dmz0", Ipv4Addr::new(10, 2, 0, 20)),
    ("dmz0", Ipv4Addr::new(10, 9, 0, 5)),
];

/// The router's own addresses.
pub(crate) const OWN: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 1, 0, 1),
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv4Addr::new(10, 2, 0, 1),
    Ipv4Addr::new(10, 2, 0, 9),
];

/// Addresses that nobody has: they go the default way unless a rule says otherwise.
pub(crate) const VIRTUAL: [Ipv4Addr; 2] =
    [Ipv4Addr::new(10, 96, 0, 1), Ipv4Addr::new(10, 96, 0, 10)];

/// The cable that leads to `dst`; `None`: it is the router's own.
pub(crate) fn cable_to(dst: Ipv4Addr) -> Option<&'static str> {
    if OWN.contains(&dst) {
        return None;
    }
    Some(match dst.octets() {
        [10, 1, 0, _] => "in0",
        [10, 2, 0, _] | [10, 9, ..] => "dmz0",
        _ => "ext0",
    })
}
