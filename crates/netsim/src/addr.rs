//! Addresses with a prefix length.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An address and the length of the prefix it shares with its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// The address; host bits may be set, as in `172.18.0.2/16`.
    pub addr: Ipv4Addr,
    /// At most 32.
    pub len: u8,
}

impl Cidr {
    /// Everything: `0.0.0.0/0`.
    pub const DEFAULT: Cidr = Cidr { addr: Ipv4Addr::UNSPECIFIED, len: 0 };

    /// `addr/len`; a length above 32 counts as 32.
    pub fn new(addr: Ipv4Addr, len: u8) -> Cidr {
        Cidr { addr, len: len.min(32) }
    }

    /// `addr/32`
    pub fn host(addr: Ipv4Addr) -> Cidr {
        Cidr { addr, len: 32 }
    }

    /// The bits that belong to the network.
    pub fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.len)).unwrap_or(0)
    }

    /// The network: host bits cleared.
    pub fn network(&self) -> Cidr {
        Cidr { addr: Ipv4Addr::from(u32::from(self.addr) & self.mask()), len: self.len }
    }

    /// The network's last address, where it has hosts to call (RFC 919; not for /31 and /32).
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        (self.len < 31).then(|| Ipv4Addr::from(u32::from(self.addr) | !self.mask()))
    }

    /// Whether `addr` is in the network.
    pub fn contains(&self, addr: Ipv4Addr) -> bool {
        (u32::from(addr) ^ u32::from(self.addr)) & self.mask() == 0
    }

    /// The `n`th address of the network, its own address being number 0; `None` beyond its end.
    pub fn nth(&self, n: u32) -> Option<Ipv4Addr> {
        let addr = u32::from(self.network().addr).checked_add(n)?;
        self.contains(addr.into()).then(|| addr.into())
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

/// The text is not `a.b.c.d/len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCidr;

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Cidr, BadCidr> {
        let (addr, len) = text.split_once('/').ok_or(BadCidr)?;
        let len: u8 = len.parse().map_err(|_| BadCidr)?;
        if len > 32 {
            return Err(BadCidr);
        }
        Ok(Cidr { addr: addr.parse().map_err(|_| BadCidr)?, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let cidr: Cidr = "172.18.0.2/16".parse().unwrap();
        assert_eq!(cidr.network().to_string(), "172.18.0.0/16");
        assert_eq!(cidr.broadcast(), Some(Ipv4Addr::new(172, 18, 255, 255)));
        assert!(cidr.contains(Ipv4Addr::new(172, 18, 9, 9)));
        assert!(!cidr.contains(Ipv4Addr::new(172, 19, 0, 2)));
        assert_eq!(cidr.nth(5), Some(Ipv4Addr::new(172, 18, 0, 5)));
        assert_eq!(cidr.nth(70_000), None);
        assert!(Cidr::DEFAULT.contains(Ipv4Addr::new(8, 8, 8, 8)));
        assert_eq!(Cidr::host(Ipv4Addr::LOCALHOST).broadcast(), None);
        for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "x/8", "10.0.0.0/"] {
            assert_eq!(bad.parse::<Cidr>(), Err(BadCidr), "{bad}");
        }
    }
}
