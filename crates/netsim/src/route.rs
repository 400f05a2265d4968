//! Routing tables: which addresses are our own, and where the others are.

use std::net::Ipv4Addr;

use base::FastMap;
use netfilter::IfName;

use crate::addr::Cidr;
use crate::iface::IfId;

/// What a route does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Drops it silently.
    Blackhole,
    /// Answers "host unreachable".
    Unreachable,
    /// Answers "administratively prohibited".
    Prohibit,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Addresses it is for.
    pub dst: Cidr,
    /// Next hop; without one the destination itself is on the link.
    pub via: Option<Ipv4Addr>,
    /// Interface to leave by.
    pub dev: IfId,
    /// Source address for what is made here.
    pub src: Option<Ipv4Addr>,
    /// Of two routes to the same prefix, the lower wins.
    pub metric: u32,
    /// Made by the kernel with an address (`proto kernel`).
    pub is_kernel: bool,
    /// What it does.
    pub kind: RouteKind,
}

impl Route {
    /// `dst dev dev`
    pub fn link(dst: Cidr, dev: IfId) -> Route {
        let dst = dst.network();
        Route {
            dst,
            via: None,
            dev,
            src: None,
            metric: 0,
            is_kernel: false,
            kind: RouteKind::Unicast,
        }
    }

    /// `dst via via dev dev`
    pub fn via(dst: Cidr, via: Ipv4Addr, dev: IfId) -> Route {
        Route { via: Some(via), ..Route::link(dst, dev) }
    }
}

/// One of the namespace's own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalAddr {
    pub(crate) cidr: Cidr,
    pub(crate) dev: IfId,
    pub(crate) name: IfName,
}

/// The routing tables of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Fib {
    /// By descending prefix length, then ascending metric, then age.
    main: Vec<Route>,
    /// For each prefix length in `main`, longest first: index of the first route of each prefix.
    by_len: Vec<(u8, FastMap<u32, u32>)>,
    local: Vec<LocalAddr>,
    by_addr: FastMap<Ipv4Addr, u32>,
}

/// A route exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteExists;

impl Fib {
    pub(crate) fn routes(&self) -> &[Route] {
        &self.main
    }

    pub(crate) fn add(&mut self, route: Route) -> Result<(), RouteExists> {
        let key = |route: &Route| (std::cmp::Reverse(route.dst.len), route.metric);
        if self.main.iter().any(|r| r.dst == route.dst && r.metric == route.metric) {
            return Err(RouteExists);
        }
        let at = self.main.partition_point(|r| key(r) <= key(&route));
        self.main.insert(at, route);
        self.reindex();
        Ok(())
    }

    /// Removes the routes that `matches`; says how many.
    pub(crate) fn remove(&mut self, matches: impl Fn(&Route) -> bool) -> usize {
        let before = self.main.len();
        self.main.retain(|route| !matches(route));
        self.reindex();
        before - self.main.len()
    }

    fn reindex(&mut self) {
        self.by_len.clear();
        for (at, route) in self.main.iter().enumerate() {
            let len = route.dst.len;
            if self.by_len.last().is_none_or(|(last, _)| *last != len) {
                self.by_len.push((len, FastMap::default()));
            }
            if let Some((_, prefixes)) = self.by_len.last_mut() {
                prefixes.entry(u32::from(route.dst.addr)).or_insert(at as u32);
            }
        }
    }

    /// The route for `dst`: the longest prefix, then the lowest metric.
    pub(crate) fn lookup(&self, dst: Ipv4Addr) -> Option<&Route> {
        self.by_len.iter().find_map(|(len, prefixes)| {
            let prefix = u32::from(Cidr::new(dst, *len).network().addr);
            self.main.get(*prefixes.get(&prefix)? as usize)
        })
    }

    pub(crate) fn add_local(&mut self, local: LocalAddr) {
        self.by_addr.entry(local.cidr.addr).or_insert(self.local.len() as u32);
        self.local.push(local);
    }

    pub(crate) fn remove_local(&mut self, matches: impl Fn(&LocalAddr) -> bool) {
        self.local.retain(|local| !matches(local));
        self.by_addr.clear();
        for (at, local) in self.local.iter().enumerate() {
            self.by_addr.entry(local.cidr.addr).or_insert(at as u32);
        }
    }

    /// Whether `addr` is one of our own; all of 127.0.0.0/8 is.
    pub(crate) fn is_local(&self, addr: Ipv4Addr) -> bool {
        addr.is_loopback() || self.by_addr.contains_key(&addr)
    }

    /// Our own address `addr`.
    pub(crate) fn local(&self, addr: Ipv4Addr) -> Option<&LocalAddr> {
        self.local.get(*self.by_addr.get(&addr)? as usize)
    }

    pub(crate) fn locals(&self) -> &[LocalAddr] {
        &self.local
    }

    /// Whether `addr` is the broadcast address of a network we are in.
    pub(crate) fn is_broadcast(&self, addr: Ipv4Addr) -> bool {
        addr.is_broadcast() || self.local.iter().any(|local| local.cidr.broadcast() == Some(addr))
    }

    /// The address that packets leaving by `dev` towards `next_hop` get as source
    /// (`inet_select_addr`): one in the next hop's network, else the interface's first, else any. Loopback
    /// addresses are of this host alone (scope `host`), and never one of these.
    pub(crate) fn select_source(&self, dev: IfId, next_hop: Ipv4Addr) -> Option<Ipv4Addr> {
        let wider = || self.local.iter().filter(|local| !local.cidr.addr.is_loopback());
        let on_dev = || wider().filter(|local| local.dev == dev);
        let in_network = on_dev().find(|local| local.cidr.contains(next_hop));
        let elsewhere = || wider().next();
        in_network.or_else(|| on_dev().next()).or_else(elsewhere).map(|local| local.cidr.addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(fib: &Fib, dst: &str) -> Option<String> {
        let route = fib.lookup(dst.parse().unwrap())?;
        Some(format!("{} metric {}", route.dst, route.metric))
    }

    #[test]
    fn what_leaves_by_loopback_is_not_given_a_loopback_source() {
        let mut fib = Fib::default();
        let [lo, eth0] = [0, 1].map(|slot| IfId { slot, serial: 0 });
        for (cidr, dev) in [("127.0.0.1/8", lo), ("172.18.0.4/16", eth0)] {
            fib.add_local(LocalAddr { cidr: cidr.parse().unwrap(), dev, name: IfName::NONE });
        }
        let own = Ipv4Addr::new(172, 18, 0, 4);
        assert_eq!(fib.select_source(lo, own), Some(own));
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lowest_metric() {
        let mut fib = Fib::default();
        let dev = IfId { slot: 0, serial: 0 };
        for (dst, metric) in
            [("0.0.0.0/0", 0), ("10.244.0.0/16", 5), ("10.244.1.0/24", 9), ("10.244.1.0/24", 3)]
        {
            let route = Route { metric, ..Route::link(dst.parse().unwrap(), dev) };
            fib.add(route.clone()).unwrap();
            assert_eq!(fib.add(route), Err(RouteExists));
        }
        assert_eq!(lookup(&fib, "10.244.1.7").unwrap(), "10.244.1.0/24 metric 3");
        assert_eq!(lookup(&fib, "10.244.2.7").unwrap(), "10.244.0.0/16 metric 5");
        assert_eq!(lookup(&fib, "8.8.8.8").unwrap(), "0.0.0.0/0 metric 0");
        assert_eq!(fib.remove(|route| route.dst.len == 0), 1);
        assert_eq!(lookup(&fib, "8.8.8.8"), None);
    }
}
