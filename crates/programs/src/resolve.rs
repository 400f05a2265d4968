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

    /// Reads the file (hosts(5)); lines about IPv6 and what is no line of it are passed over.
    pub fn parse(text: &str) -> Names {
        let mut names = Names::default();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(addr) = words.next().and_then(|word| word.parse().ok()) else { continue };
            words.for_each(|name| names.hosts.push((name.to_string(), addr)));
        }
        names
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_address_and_its_names() {
        let text = "127.0.0.1\tlocalhost\n::1\tlocalhost\n# x\n10.0.0.1 a.b a # c\nrubbish\n";
        let names = Names::parse(text);
        assert_eq!(names.resolve("LOCALHOST"), [Ipv4Addr::LOCALHOST]);
        assert_eq!(names.resolve("a."), [Ipv4Addr::new(10, 0, 0, 1)]);
        assert_eq!(names.hosts.len(), 3);
    }
}
