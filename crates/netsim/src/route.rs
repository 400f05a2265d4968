//! Routing: which addresses are our own, where the others are, and which table is asked
//! (`net/ipv4/fib_frontend.c`, `fib_trie.c`, `fib_rules.c`, `route.c`).
//!
//! - [`Route`], [`RouteKind`], [`Scope`]: what a route says;
//! - [`Fib`]: the tables of a namespace, their lookup and the choice of a source address;
//! - [`crate::rule`]: the policy that says which table is asked.
//!
//! One next hop per route: multipath routes are refused where they are typed.

use base::tree::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use base::FastMap;
use netfilter::IfName;

use crate::addr::Cidr;
use crate::iface::{IfAddr, IfId};
use crate::rule::{PolicyRule, RuleAction};

/// The table of our own addresses and of broadcast addresses.
pub const TABLE_LOCAL: u32 = 255;
/// The table that routes go to unless another is named.
pub const TABLE_MAIN: u32 = 254;
/// The table that is asked last; usually empty.
pub const TABLE_DEFAULT: u32 = 253;

/// What a route does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Delivers it here.
    Local,
    /// Delivers it here and to everybody on the link.
    Broadcast,
    /// Drops it silently.
    Blackhole,
    /// Answers "host unreachable".
    Unreachable,
    /// Answers "administratively prohibited".
    Prohibit,
    /// Goes on with the next policy rule, as if the table had no route.
    Throw,
}

impl RouteKind {
    /// All kinds.
    pub const ALL: [RouteKind; 7] = [
        RouteKind::Unicast,
        RouteKind::Local,
        RouteKind::Broadcast,
        RouteKind::Blackhole,
        RouteKind::Unreachable,
        RouteKind::Prohibit,
        RouteKind::Throw,
    ];

    /// The word `ip route` uses.
    pub fn name(self) -> &'static str {
        match self {
            RouteKind::Unicast => "unicast",
            RouteKind::Local => "local",
            RouteKind::Broadcast => "broadcast",
            RouteKind::Blackhole => "blackhole",
            RouteKind::Unreachable => "unreachable",
            RouteKind::Prohibit => "prohibit",
            RouteKind::Throw => "throw",
        }
    }

    /// The kind of this name.
    pub fn of_name(name: &str) -> Option<RouteKind> {
        RouteKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// It needs an interface to leave or arrive by.
    pub fn has_device(self) -> bool {
        matches!(self, RouteKind::Unicast | RouteKind::Local | RouteKind::Broadcast)
    }
}

/// How far away a destination or how widely known an address is (`/etc/iproute2/rt_scopes`).
/// A greater number is nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(pub u8);

impl Scope {
    /// Anywhere.
    pub const UNIVERSE: Scope = Scope(0);
    /// Within the site.
    pub const SITE: Scope = Scope(200);
    /// On the link.
    pub const LINK: Scope = Scope(253);
    /// On this host.
    pub const HOST: Scope = Scope(254);
    /// Nowhere.
    pub const NOWHERE: Scope = Scope(255);

    const NAMES: [(Scope, &str); 5] = [
        (Scope::UNIVERSE, "global"),
        (Scope::SITE, "site"),
        (Scope::LINK, "link"),
        (Scope::HOST, "host"),
        (Scope::NOWHERE, "nowhere"),
    ];

    /// The scope of this name or number.
    pub fn parse(text: &str) -> Option<Scope> {
        let named = Scope::NAMES.iter().find(|(_, name)| *name == text).map(|(scope, _)| *scope);
        named.or_else(|| text.parse().ok().map(Scope))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Scope::NAMES.iter().find(|(scope, _)| scope == self) {
            Some((_, name)) => f.pad(name),
            None => self.0.fmt(f),
        }
    }
}

/// Who has put a route in (`/etc/iproute2/rt_protos`).
pub mod proto {
    /// The kernel, with an address.
    pub const KERNEL: u8 = 2;
    /// `ip route add` without `proto`.
    pub const BOOT: u8 = 3;
    /// An administrator.
    pub const STATIC: u8 = 4;

    /// Names `ip route` prints and takes.
    pub const NAMES: [(u8, &str); 11] = [
        (0, "unspec"),
        (1, "redirect"),
        (KERNEL, "kernel"),
        (BOOT, "boot"),
        (STATIC, "static"),
        (9, "ra"),
        (11, "zebra"),
        (12, "bird"),
        (16, "dhcp"),
        (186, "bgp"),
        (188, "ospf"),
    ];
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Addresses it is for.
    pub dst: Cidr,
    /// Next hop; without one the destination itself is on the link.
    pub via: Option<Ipv4Addr>,
    /// Interface to leave by; [`IfId::NONE`] for kinds that have none.
    pub dev: IfId,
    /// Source address for what is made here.
    pub src: Option<Ipv4Addr>,
    /// Of two routes to the same prefix, the lower wins.
    pub metric: u32,
    /// Who has put it in, see [`proto`].
    pub proto: u8,
    /// What it does.
    pub kind: RouteKind,
    /// The table it stands in.
    pub table: u32,
    /// How far away its destinations are; `None`: as its kind and next hop suggest.
    pub scope: Option<Scope>,
    /// The next hop is believed to be on the link though no route says so.
    pub onlink: bool,
    /// Longest packet this way, if less than the interface takes.
    pub mtu: Option<u16>,
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
            proto: proto::BOOT,
            kind: RouteKind::Unicast,
            table: TABLE_MAIN,
            scope: None,
            onlink: false,
            mtu: None,
        }
    }

    /// `dst via via dev dev`
    pub fn via(dst: Cidr, via: Ipv4Addr, dev: IfId) -> Route {
        Route { via: Some(via), ..Route::link(dst, dev) }
    }

    /// `blackhole dst` and the like.
    pub fn special(kind: RouteKind, dst: Cidr) -> Route {
        Route { kind, ..Route::link(dst, IfId::NONE) }
    }

    /// How far away its destinations are.
    pub fn effective_scope(&self) -> Scope {
        self.scope.unwrap_or(match (self.kind, self.via) {
            (RouteKind::Local, _) => Scope::HOST,
            (RouteKind::Broadcast, _) | (RouteKind::Unicast, None) => Scope::LINK,
            _ => Scope::UNIVERSE,
        })
    }

    fn is_same_prefix(&self, other: &Route) -> bool {
        self.dst == other.dst && self.metric == other.metric
    }
}

/// What a way is looked for with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Destination.
    pub dst: Ipv4Addr,
    /// Source; unspecified where it is to be chosen.
    pub src: Ipv4Addr,
    /// The packet's mark.
    pub mark: u32,
    /// The interface it came in by; [`IfName::NONE`] for what is made here, which counts as `lo`.
    pub iif: IfName,
    /// The interface it has to leave by.
    pub oif: Option<IfId>,
    /// The name of that interface.
    pub oif_name: IfName,
    /// Only routes to destinations at least this near.
    pub scope: Scope,
}

impl Flow {
    /// To `dst`, made here.
    pub fn to(dst: Ipv4Addr) -> Flow {
        Flow {
            dst,
            src: Ipv4Addr::UNSPECIFIED,
            mark: 0,
            iif: IfName::NONE,
            oif: None,
            oif_name: IfName::NONE,
            scope: Scope::UNIVERSE,
        }
    }
}

/// Why there is no way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// No route leads there.
    NoRoute,
    /// A route says so.
    Says(RouteKind),
    /// A policy rule says so.
    RuleSays(RouteKind),
}

/// A table of routes.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// By descending prefix length, then prefix, then ascending metric, then age.
    routes: Vec<Route>,
    /// For each prefix length, longest first: index of the first route of each prefix.
    by_len: Vec<(u8, FastMap<u32, u32>)>,
}

impl Table {
    fn insert(&mut self, route: Route) {
        let key = |r: &Route| (std::cmp::Reverse(r.dst.len), r.dst.addr, r.metric);
        let at = self.routes.partition_point(|r| key(r) <= key(&route));
        self.routes.insert(at, route);
        self.reindex();
    }

    fn retain(&mut self, keep: impl Fn(&Route) -> bool) -> Vec<Route> {
        let (kept, gone) = std::mem::take(&mut self.routes).into_iter().partition(|r| keep(r));
        self.routes = kept;
        self.reindex();
        gone
    }

    fn reindex(&mut self) {
        self.by_len.clear();
        for (at, route) in self.routes.iter().enumerate() {
            let len = route.dst.len;
            if self.by_len.last().is_none_or(|(last, _)| *last != len) {
                self.by_len.push((len, FastMap::default()));
            }
            if let Some((_, prefixes)) = self.by_len.last_mut() {
                prefixes.entry(u32::from(route.dst.addr)).or_insert(at as u32);
            }
        }
    }

    /// The route for a flow: the longest prefix, then the lowest metric, of those that fit.
    fn lookup(&self, flow: &Flow) -> Option<&Route> {
        let dst = u32::from(flow.dst);
        self.by_len.iter().find_map(|(len, prefixes)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(*len)).unwrap_or(0);
            let first = *prefixes.get(&(dst & mask))? as usize;
            let routes = self.routes.get(first..)?;
            let dst = routes.first()?.dst;
            routes.iter().take_while(|route| route.dst == dst).find(|route| {
                route.effective_scope() >= flow.scope
                    && (!route.kind.has_device() || flow.oif.is_none_or(|oif| oif == route.dev))
            })
        })
    }
}

/// One of the namespace's own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalAddr {
    pub(crate) cidr: Cidr,
    pub(crate) dev: IfId,
    /// The number of `dev`.
    pub(crate) index: u32,
    pub(crate) name: IfName,
    pub(crate) scope: Scope,
    pub(crate) is_secondary: bool,
}

/// The routing tables of a namespace.
#[derive(Debug)]
pub(crate) struct Fib {
    local: Table,
    main: Table,
    others: BTreeMap<u32, Table>,
    /// By priority; of equal ones, the older first.
    rules: Vec<PolicyRule>,
    /// The rules are the three that every namespace begins with.
    has_plain_rules: bool,
    /// Rises whenever an answer may be another than before.
    version: u64,
    addrs: Vec<LocalAddr>,
}

impl Default for Fib {
    fn default() -> Self {
        Fib {
            local: Table::default(),
            main: Table::default(),
            others: BTreeMap::new(),
            rules: PolicyRule::initial(),
            has_plain_rules: true,
            version: 0,
            addrs: Vec::new(),
        }
    }
}

/// How a route is put in: `NLM_F_EXCL`, `NLM_F_REPLACE`, `NLM_F_APPEND`, … of `ip route`'s verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutRoute {
    /// Only where there is none of this prefix and metric.
    Add,
    /// Instead of the one of this prefix and metric, or as a new one.
    Replace,
    /// Instead of one that must be there.
    Change,
    /// After those that are there.
    Append,
    /// Before those that are there.
    Prepend,
}

/// Why a route was not put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutRouteError {
    /// There is one already.
    Exists,
    /// There is none to change.
    Missing,
}

impl Fib {
    fn table(&self, id: u32) -> Option<&Table> {
        match id {
            TABLE_LOCAL => Some(&self.local),
            TABLE_MAIN => Some(&self.main),
            _ => self.others.get(&id),
        }
    }

    /// Rises whenever an answer may be another than before.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    fn table_mut(&mut self, id: u32) -> &mut Table {
        self.version += 1;
        match id {
            TABLE_LOCAL => &mut self.local,
            TABLE_MAIN => &mut self.main,
            _ => self.others.entry(id).or_default(),
        }
    }

    /// Ids of the tables that are there.
    pub(crate) fn table_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.others.keys().copied().collect();
        ids.extend([TABLE_MAIN, TABLE_LOCAL]);
        base::order::sort(&mut ids);
        ids
    }

    pub(crate) fn routes(&self, table: u32) -> &[Route] {
        self.table(table).map_or(&[], |table| &table.routes)
    }

    /// Puts a route in (`fib_table_insert`).
    pub(crate) fn put(&mut self, route: Route, how: PutRoute) -> Result<(), PutRouteError> {
        let table = self.table_mut(route.table);
        let at = table.routes.iter().position(|r| r.is_same_prefix(&route));
        let is_twin = |r: &Route| Route { proto: route.proto, ..r.clone() } == route;
        match (how, at) {
            (PutRoute::Add, Some(_)) => return Err(PutRouteError::Exists),
            (PutRoute::Change, None) => return Err(PutRouteError::Missing),
            (PutRoute::Replace | PutRoute::Change, Some(at)) => {
                if let Some(slot) = table.routes.get_mut(at) {
                    *slot = route;
                }
                return Ok(());
            }
            (PutRoute::Append, Some(_)) if table.routes.iter().any(is_twin) => {
                return Err(PutRouteError::Exists);
            }
            (PutRoute::Prepend, Some(at)) => {
                table.routes.insert(at, route);
                table.reindex();
                return Ok(());
            }
            _ => {}
        }
        table.insert(route);
        Ok(())
    }

    /// Removes the first route that `matches`.
    pub(crate) fn remove_first(
        &mut self,
        table: u32,
        matches: impl Fn(&Route) -> bool,
    ) -> Option<Route> {
        let table = self.table_mut(table);
        let at = table.routes.iter().position(matches)?;
        let gone = table.routes.remove(at);
        table.reindex();
        Some(gone)
    }

    /// Removes the routes of all tables that `matches`.
    pub(crate) fn remove(&mut self, matches: impl Fn(&Route) -> bool) -> Vec<Route> {
        self.version += 1;
        let mut gone = self.local.retain(|route| !matches(route));
        gone.extend(self.main.retain(|route| !matches(route)));
        for table in self.others.values_mut() {
            gone.extend(table.retain(|route| !matches(route)));
        }
        gone
    }

    /// The route for a flow, by the policy rules (`fib_lookup`).
    pub(crate) fn lookup(&self, flow: &Flow) -> Result<&Route, RouteError> {
        if self.has_plain_rules {
            let found = self.local.lookup(flow).or_else(|| self.main.lookup(flow));
            let found = match found {
                None if self.others.is_empty() => None,
                None => self.others.get(&TABLE_DEFAULT).and_then(|table| table.lookup(flow)),
                found => found,
            };
            return match found {
                Some(route) if route.kind == RouteKind::Throw => Err(RouteError::NoRoute),
                Some(route) => Ok(route),
                None => Err(RouteError::NoRoute),
            };
        }
        for rule in self.rules.iter().filter(|rule| rule.matches(flow)) {
            let table = match rule.action {
                RuleAction::Lookup(table) => table,
                RuleAction::Say(kind) => return Err(RouteError::RuleSays(kind)),
            };
            match self.table(table).and_then(|table| table.lookup(flow)) {
                Some(route) if route.kind != RouteKind::Throw => return Ok(route),
                _ => {}
            }
        }
        Err(RouteError::NoRoute)
    }

    // ---- policy rules --------------------------------------------------------------------------------

    pub(crate) fn rules(&self) -> &[PolicyRule] {
        &self.rules
    }

    /// Puts a policy rule in; without a priority it goes before the second of those that are there
    /// (`fib_default_rule_pref`). `false`: there is one like it.
    pub(crate) fn add_rule(&mut self, mut rule: PolicyRule, priority: Option<u32>) -> bool {
        let second = self.rules.get(1).map_or(0, |rule| rule.priority);
        rule.priority = priority.unwrap_or(second.saturating_sub(1));
        if self.rules.contains(&rule) {
            return false;
        }
        let at = self.rules.partition_point(|other| other.priority <= rule.priority);
        self.rules.insert(at, rule);
        self.rules_changed();
        true
    }

    /// Removes the first policy rule that `matches`.
    pub(crate) fn remove_rule(&mut self, matches: impl Fn(&PolicyRule) -> bool) -> bool {
        let Some(at) = self.rules.iter().position(matches) else { return false };
        self.rules.remove(at);
        self.rules_changed();
        true
    }

    fn rules_changed(&mut self) {
        self.has_plain_rules = self.rules == PolicyRule::initial();
        self.version += 1;
    }

    /// Removes all policy rules but the one for our own addresses (`ip rule flush`).
    pub(crate) fn flush_rules(&mut self) {
        self.rules.retain(|rule| rule.priority == 0);
        self.rules_changed();
    }

    // ---- addresses -----------------------------------------------------------------------------------

    /// Takes down the addresses an interface has now, in their order.
    pub(crate) fn set_addrs(&mut self, dev: IfId, (index, name): (u32, IfName), addrs: &[IfAddr]) {
        self.version += 1;
        self.addrs.retain(|addr| addr.dev != dev);
        self.addrs.extend(addrs.iter().map(|addr| LocalAddr {
            cidr: addr.cidr,
            dev,
            index,
            name,
            scope: addr.scope,
            is_secondary: addr.is_secondary,
        }));
        base::order::sort_by_key(&mut self.addrs, |addr| addr.index);
    }

    /// The routes that come with an address whose network's first address is `primary`; those to others
    /// only while the interface `is_up` (`fib_add_ifaddr`).
    pub(crate) fn add_addr_routes(
        &mut self,
        addr: &IfAddr,
        primary: Ipv4Addr,
        dev: IfId,
        (on_loopback, is_up): (bool, bool),
    ) {
        let network = addr.cidr.network();
        let mut put = |kind, dst: Cidr, table, scope| {
            let base = Route::link(dst, dev);
            let src = Some(primary);
            let route = Route { src, kind, table, scope, proto: proto::KERNEL, ..base };
            // A second address in the same network finds the route there already.
            let _ = self.put(route, PutRoute::Append);
        };
        put(RouteKind::Local, Cidr::host(addr.cidr.addr), TABLE_LOCAL, None);
        if !is_up {
            return;
        }
        for broadcast in broadcasts(addr) {
            put(RouteKind::Broadcast, Cidr::host(broadcast), TABLE_LOCAL, None);
        }
        if addr.cidr.len == 32 || addr.is_secondary || network.addr.is_unspecified() {
            return;
        }
        if on_loopback {
            put(RouteKind::Local, network, TABLE_LOCAL, None);
        } else {
            put(RouteKind::Unicast, network, TABLE_MAIN, Some(Scope::LINK));
        }
    }

    /// An address of `dev` is gone; [`Fib::set_addrs`] has been told. The routes that came with it go,
    /// and those that name it as their source (`fib_del_ifaddr`, `fib_sync_down_addr`).
    pub(crate) fn remove_addr_routes(&mut self, addr: &IfAddr, dev: IfId) {
        let own = addr.cidr.addr;
        let left = self.addrs.clone();
        let is_still_ours = left.iter().any(|a| a.cidr.addr == own);
        let network = addr.cidr.network();
        let is_network_left =
            left.iter().any(|a| a.dev == dev && a.cidr.network() == network && !a.is_secondary);
        let is_broadcast = |dst: Ipv4Addr| broadcasts(addr).any(|b| b == dst);
        self.remove(|route| {
            let is_kernels = route.proto == proto::KERNEL && route.dev == dev;
            let came_with_it = match route.kind {
                RouteKind::Local if route.dst.len == 32 && route.dst.addr == own => {
                    !left.iter().any(|a| a.dev == dev && a.cidr.addr == own)
                }
                RouteKind::Broadcast => is_broadcast(route.dst.addr) && !is_network_left,
                _ => route.dst == network && route.src == Some(own) && !addr.is_secondary,
            };
            is_kernels && came_with_it || route.src == Some(own) && !is_still_ours
        });
    }

    pub(crate) fn locals(&self) -> &[LocalAddr] {
        &self.addrs
    }

    /// An interface is gone or down: what leads there is forgotten; our own addresses stay ours while
    /// the interface is there (`fib_sync_down_dev`).
    pub(crate) fn forget_dev(&mut self, dev: IfId, is_gone: bool) -> Vec<Route> {
        self.version += 1;
        if is_gone {
            self.addrs.retain(|addr| addr.dev != dev);
        }
        self.remove(|route| route.dev == dev && (is_gone || route.kind != RouteKind::Local))
    }

    fn own(&self, addr: Ipv4Addr) -> Option<&Route> {
        self.local.lookup(&Flow::to(addr))
    }

    /// Whether `addr` is one of our own (`inet_addr_type` says local).
    pub(crate) fn is_local(&self, addr: Ipv4Addr) -> bool {
        self.own(addr).is_some_and(|route| route.kind == RouteKind::Local)
    }

    /// Our own address `addr`.
    pub(crate) fn local(&self, addr: Ipv4Addr) -> Option<&LocalAddr> {
        self.addrs.iter().find(|local| local.cidr.addr == addr)
    }

    /// Whether `addr` is the broadcast address of a network we are in.
    pub(crate) fn is_broadcast(&self, addr: Ipv4Addr) -> bool {
        addr.is_broadcast()
            || self.own(addr).is_some_and(|route| route.kind == RouteKind::Broadcast)
    }

    /// The interface of the network whose broadcast address `addr` is.
    pub(crate) fn broadcast_dev(&self, addr: Ipv4Addr) -> Option<IfId> {
        self.own(addr).filter(|route| route.kind == RouteKind::Broadcast).map(|route| route.dev)
    }

    /// The source address that a route gives to what is made here (`FIB_RES_PREFSRC`).
    pub(crate) fn source_of(&self, route: &Route, dst: Ipv4Addr) -> Option<Ipv4Addr> {
        if route.kind == RouteKind::Local {
            return route.src.or(Some(dst));
        }
        let next = route.via.unwrap_or(Ipv4Addr::UNSPECIFIED);
        route.src.or_else(|| self.select_addr(route.dev, next, route.effective_scope()))
    }

    /// The address of `dev` for talking to `next`, known at least as widely as `scope`: one in the
    /// network of `next`, else the interface's first, else another interface's (`inet_select_addr`).
    pub(crate) fn select_addr(&self, dev: IfId, next: Ipv4Addr, scope: Scope) -> Option<Ipv4Addr> {
        let fits = |a: &&LocalAddr| !a.is_secondary && a.scope <= scope;
        let on_dev = || self.addrs.iter().filter(|a| a.dev == dev).filter(fits);
        let in_network = on_dev().find(|a| next.is_unspecified() || a.cidr.contains(next));
        let elsewhere = || self.addrs.iter().find(|a| a.scope != Scope::LINK && fits(a));
        in_network.or_else(|| on_dev().next()).or_else(elsewhere).map(|a| a.cidr.addr)
    }
}

/// The broadcast addresses of an address' network: the one that was set, and the last one.
fn broadcasts(addr: &IfAddr) -> impl Iterator<Item = Ipv4Addr> {
    let both = [addr.broadcast, addr.cidr.broadcast()].into_iter().flatten();
    both.filter(|addr| !addr.is_broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dev(slot: u32) -> IfId {
        IfId { slot, serial: 0 }
    }

    fn lookup(fib: &Fib, dst: &str) -> Option<String> {
        let route = fib.lookup(&Flow::to(dst.parse().unwrap())).ok()?;
        Some(format!("{} metric {}", route.dst, route.metric))
    }

    #[test]
    fn what_leaves_by_loopback_is_not_given_a_loopback_source() {
        let mut fib = Fib::default();
        let [lo, eth0] = [0, 1].map(|slot| IfId { slot, serial: 0 });
        for (cidr, dev, scope) in
            [("127.0.0.1/8", lo, Scope::HOST), ("172.18.0.4/16", eth0, Scope::UNIVERSE)]
        {
            let (cidr, name, index) = (cidr.parse().unwrap(), IfName::NONE, dev.slot);
            fib.addrs.push(LocalAddr { cidr, dev, index, name, scope, is_secondary: false });
        }
        let own = Ipv4Addr::new(172, 18, 0, 4);
        assert_eq!(fib.select_addr(lo, own, Scope::UNIVERSE), Some(own));
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lowest_metric() {
        let mut fib = Fib::default();
        for (dst, metric) in
            [("0.0.0.0/0", 0), ("10.244.0.0/16", 5), ("10.244.1.0/24", 9), ("10.244.1.0/24", 3)]
        {
            let route = Route { metric, ..Route::link(dst.parse().unwrap(), dev(0)) };
            fib.put(route.clone(), PutRoute::Add).unwrap();
            assert_eq!(fib.put(route, PutRoute::Add), Err(PutRouteError::Exists));
        }
        assert_eq!(lookup(&fib, "10.244.1.7").unwrap(), "10.244.1.0/24 metric 3");
        assert_eq!(lookup(&fib, "10.244.2.7").unwrap(), "10.244.0.0/16 metric 5");
        assert_eq!(lookup(&fib, "8.8.8.8").unwrap(), "0.0.0.0/0 metric 0");
        assert_eq!(fib.remove(|route| route.dst.len == 0).len(), 1);
        assert_eq!(lookup(&fib, "8.8.8.8"), None);
    }

    #[test]
    fn what_does_not_fit_leaves_the_word_to_a_shorter_prefix() {
        let mut fib = Fib::default();
        for (dst, slot) in [("10.0.0.0/8", 1), ("10.1.0.0/16", 2)] {
            fib.put(Route::link(dst.parse().unwrap(), dev(slot)), PutRoute::Add).unwrap();
        }
        let flow = Flow::to("10.1.2.3".parse().unwrap());
        assert_eq!(fib.lookup(&flow).unwrap().dev, dev(2));
        assert_eq!(fib.lookup(&Flow { oif: Some(dev(1)), ..flow }).unwrap().dev, dev(1));
        let hole = Route::special(RouteKind::Throw, "10.1.2.0/24".parse().unwrap());
        fib.put(hole, PutRoute::Add).unwrap();
        assert_eq!(fib.lookup(&flow), Err(RouteError::NoRoute), "throw ends the table");
    }
}
