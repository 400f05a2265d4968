//! Names to addresses, as the C library does it: the hosts file.

use std::net::Ipv4Addr;

/// What a place knows about names: its `/etc/hosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Names and their addresses, the first being asked first.
    pub hosts: Vec<(String, Ipv4Addr)>,
}

impl Names {
    /// Every machine knows itself.
    pub fn localhost() -> Names {
        Names { hosts: vec![("localhost".to_string(), Ipv4Addr::LOCALHOST)] }
    }

    /// The addresses of a name. An address is its own name; there are no others of an unknown name.
    pub fn resolve(&self, name: &str) -> Vec<Ipv4Addr> {
        if let Ok(addr) = name.parse() {
            return vec![addr];
        }
        let name = name.trim_end_matches('.');
        let known = self.hosts.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(_, addr)| *addr).collect()
    }
}
