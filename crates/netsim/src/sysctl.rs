//! Settings of a namespace by the names `sysctl` knows them by
//! (`Documentation/networking/ip-sysctl.rst`, `net/ipv4/devinet.c`, `net/ipv4/sysctl_net_ipv4.c`).
//!
//! Names that podwire keeps without acting on them are marked so in [`IF_NAMES`] and [`NS_NAMES`]. Names
//! that begin with `net.netfilter.` are handed to [`crate::ns::Namespace`]'s connection tracking.

use base::tree::BTreeMap;
use std::fmt;

use netfilter::conntrack::Settings;

use crate::iface::IfId;
use crate::kernel::Kernel;
use crate::ns::{Namespace, NsId};
use crate::sim::Net;

/// A setting of an interface: its place in [`IfConf`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the order is that of the names, also of those without effect")]
pub(crate) enum IfKey {
    AcceptLocal,
    AcceptRedirects,
    AcceptSourceRoute,
    ArpAnnounce,
    ArpIgnore,
    Forwarding,
    LogMartians,
    ProxyArp,
    RouteLocalnet,
    RpFilter,
    SecureRedirects,
    SendRedirects,
}

/// Names under `net.ipv4.conf.IFACE`, in the order of [`IfKey`], and what a new namespace has. Kept
/// without effect: `accept_redirects`, `accept_source_route`, `log_martians`, `secure_redirects`,
/// `send_redirects` (redirects are neither sent nor heeded, source routes never followed).
pub const IF_NAMES: [(&str, i32); 12] = [
    ("accept_local", 0),
    ("accept_redirects", 1),
    ("accept_source_route", 0),
    ("arp_announce", 0),
    ("arp_ignore", 0),
    ("forwarding", 0),
    ("log_martians", 0),
    ("proxy_arp", 0),
    ("route_localnet", 0),
    ("rp_filter", 0),
    ("secure_redirects", 1),
    ("send_redirects", 1),
];

/// The settings under `net.ipv4.conf.IFACE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfConf([i32; IF_NAMES.len()]);

impl Default for IfConf {
    fn default() -> Self {
        IfConf(IF_NAMES.map(|(_, value)| value))
    }
}

impl IfConf {
    pub(crate) fn get(&self, key: IfKey) -> i32 {
        self.0.get(key as usize).copied().unwrap_or_default()
    }

    pub(crate) fn set(&mut self, key: IfKey, value: i32) {
        if let Some(slot) = self.0.get_mut(key as usize) {
            *slot = value;
        }
    }
}

/// A setting of a namespace: its place in [`Sysctls`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the order is that of the names, also of those without effect")]
pub(crate) enum NsKey {
    SoMaxConn,
    IcmpEchoIgnoreAll,
    IcmpEchoIgnoreBroadcasts,
    IcmpErrorsUseInboundIfaddr,
    IcmpMsgsBurst,
    IcmpMsgsPerSec,
    IcmpRatelimit,
    IcmpRatemask,
    IpDefaultTtl,
    IpLocalPortRange,
    IpNoPmtuDisc,
    IpNonlocalBind,
    IpfragHighThresh,
    IpfragTime,
    MinPmtu,
    MtuExpires,
    TcpAbortOnOverflow,
    TcpFinTimeout,
    TcpKeepaliveTime,
    TcpMaxSynBacklog,
    TcpRetries2,
    TcpSynRetries,
    TcpSynackRetries,
}

/// A name, its value in a new namespace, and the least and greatest value it takes.
type NsName = (&'static str, i64, i64, i64);

const ANY: i64 = i32::MAX as i64;

/// Names of a namespace in the order of [`NsKey`]. Kept without effect:
/// `icmp_errors_use_inbound_ifaddr`, `tcp_keepalive_time` (sockets say
/// themselves whether and how often they ask).
pub const NS_NAMES: [NsName; 23] = [
    ("net.core.somaxconn", 4096, 0, ANY),
    ("net.ipv4.icmp_echo_ignore_all", 0, 0, 1),
    ("net.ipv4.icmp_echo_ignore_broadcasts", 1, 0, 1),
    ("net.ipv4.icmp_errors_use_inbound_ifaddr", 0, 0, 1),
    ("net.ipv4.icmp_msgs_burst", 50, 0, ANY),
    ("net.ipv4.icmp_msgs_per_sec", 1000, 0, ANY),
    ("net.ipv4.icmp_ratelimit", 1000, 0, ANY),
    ("net.ipv4.icmp_ratemask", 6168, 0, ANY),
    ("net.ipv4.ip_default_ttl", 64, 1, 255),
    ("net.ipv4.ip_local_port_range", PORT_RANGE, 0, i64::MAX),
    ("net.ipv4.ip_no_pmtu_disc", 0, 0, 3),
    ("net.ipv4.ip_nonlocal_bind", 0, 0, 1),
    ("net.ipv4.ipfrag_high_thresh", 4_194_304, 0, i64::MAX),
    ("net.ipv4.ipfrag_time", 30, 0, ANY),
    ("net.ipv4.route.min_pmtu", 552, 68, 65535),
    ("net.ipv4.route.mtu_expires", 600, 0, ANY),
    ("net.ipv4.tcp_abort_on_overflow", 0, 0, 1),
    ("net.ipv4.tcp_fin_timeout", 60, 0, ANY),
    ("net.ipv4.tcp_keepalive_time", 7200, 0, ANY),
    ("net.ipv4.tcp_max_syn_backlog", 1024, 0, ANY),
    ("net.ipv4.tcp_retries2", 15, 0, 255),
    ("net.ipv4.tcp_syn_retries", 6, 1, 127),
    ("net.ipv4.tcp_synack_retries", 5, 0, 255),
];

/// 32768 to 60999, both in one number.
const PORT_RANGE: i64 = 32768 << 16 | 60999;

/// The settings of a namespace, its interfaces' apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sysctls {
    values: [i64; NS_NAMES.len()],
    /// `net.ipv4.conf.all`
    pub(crate) all: IfConf,
    /// `net.ipv4.conf.default`: what a new interface begins with.
    pub(crate) default: IfConf,
}

impl Default for Sysctls {
    fn default() -> Self {
        let values = NS_NAMES.map(|(_, value, ..)| value);
        Sysctls { values, all: IfConf::default(), default: IfConf::default() }
    }
}

impl Sysctls {
    pub(crate) fn get(&self, key: NsKey) -> i64 {
        self.values.get(key as usize).copied().unwrap_or_default()
    }

    pub(crate) fn is_on(&self, key: NsKey) -> bool {
        self.get(key) != 0
    }

    /// Ports for connections that do not ask for one.
    pub(crate) fn ports(&self) -> std::ops::RangeInclusive<u16> {
        let both = self.get(NsKey::IpLocalPortRange);
        (both >> 16) as u16..=both as u16
    }
}

/// Why a setting was not read or written, in the words of `sysctl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SysctlError {
    /// There is no such name.
    Unknown(String),
    /// The value is not one it takes.
    Invalid(String),
    /// It can only be read.
    ReadOnly(String),
}

impl fmt::Display for SysctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SysctlError::Unknown(name) => {
                let path = path_of(name);
                write!(f, "cannot stat {path}: No such file or directory")
            }
            SysctlError::Invalid(name) => write!(f, "setting key \"{name}\": Invalid argument"),
            SysctlError::ReadOnly(name) => {
                write!(f, "permission denied on key '{name}'")
            }
        }
    }
}

/// `/proc/sys/…` of a name. A `/` in a name of dots is a dot of an interface's name, and the other way.
fn path_of(name: &str) -> String {
    let with_slashes = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/'));
    let path = if with_slashes {
        name.to_string()
    } else {
        let swap = |c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        };
        name.chars().map(swap).collect()
    };
    format!("/proc/sys/{path}")
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Forward,
    Ns(usize),
    /// An interface, `all` or `default`, and its setting.
    If(String, usize),
    /// What is left after `net.netfilter.`.
    Netfilter(String),
}

impl Name {
    pub(crate) fn parse(name: &str) -> Result<Name, SysctlError> {
        let unknown = || SysctlError::Unknown(name.to_string());
        let path = path_of(name);
        let path = path.strip_prefix("/proc/sys/").unwrap_or_default();
        if path == "net/ipv4/ip_forward" {
            return Ok(Name::Forward);
        }
        if let Some(rest) = path.strip_prefix("net/netfilter/") {
            return Ok(Name::Netfilter(rest.to_string()));
        }
        if let Some(rest) = path.strip_prefix("net/ipv4/conf/") {
            let (iface, key) = rest.rsplit_once('/').ok_or_else(unknown)?;
            let at = IF_NAMES.iter().position(|(known, _)| *known == key).ok_or_else(unknown)?;
            return Ok(Name::If(iface.to_string(), at));
        }
        let is_it = |known: &str| known.replace('.', "/") == path;
        let at = NS_NAMES.iter().position(|(known, ..)| is_it(known)).ok_or_else(unknown)?;
        Ok(Name::Ns(at))
    }
}

impl Sysctls {
    /// The value as `sysctl` prints it.
    pub(crate) fn show(&self, at: usize) -> String {
        let value = self.values.get(at).copied().unwrap_or_default();
        if at == NsKey::IpLocalPortRange as usize {
            return format!("{}\t{}", value >> 16, value & 0xffff);
        }
        value.to_string()
    }

    /// Takes a value as text. `None`: it is not one this name takes.
    pub(crate) fn set(&mut self, at: usize, text: &str) -> Option<()> {
        let (_, _, least, greatest) = *NS_NAMES.get(at)?;
        let value = if at == NsKey::IpLocalPortRange as usize {
            let mut words = text.split_whitespace().map(|word| word.parse::<u16>().ok());
            let (low, high) = (words.next()??, words.next()??);
            // `proc_ipv4_local_port_range`: an empty range is refused, and so is one of both parities
            // at once only where it is empty.
            if words.next().is_some() || low > high || low == 0 {
                return None;
            }
            i64::from(low) << 16 | i64::from(high)
        } else {
            text.trim().parse().ok().filter(|value| (least..=greatest).contains(value))?
        };
        *self.values.get_mut(at)? = value;
        Some(())
    }
}

impl IfConf {
    pub(crate) fn show(&self, at: usize) -> String {
        self.0.get(at).copied().unwrap_or_default().to_string()
    }

    pub(crate) fn put(&mut self, at: usize, value: i32) {
        if let Some(slot) = self.0.get_mut(at) {
            *slot = value;
        }
    }
}

impl Net {
    /// `sysctl NAME`: the value as text.
    pub fn sysctl(&self, ns: NsId, name: &str) -> Result<String, SysctlError> {
        let unknown = || SysctlError::Unknown(name.to_string());
        let what = Name::parse(name)?;
        let kernel = self.kernel();
        kernel.sysctl(ns, &what).ok_or_else(unknown)
    }

    /// `sysctl -w NAME=VALUE`
    pub fn set_sysctl(&self, ns: NsId, name: &str, value: &str) -> Result<(), SysctlError> {
        let what = Name::parse(name)?;
        let mut kernel = self.kernel_mut();
        if kernel.sysctl(ns, &what).is_none() {
            return Err(SysctlError::Unknown(name.to_string()));
        }
        if what == Name::Netfilter("nf_conntrack_count".to_string()) {
            return Err(SysctlError::ReadOnly(name.to_string()));
        }
        kernel.set_sysctl(ns, &what, value).ok_or_else(|| SysctlError::Invalid(name.to_string()))
    }

    /// `sysctl -a`: every name and its value, by name.
    pub fn sysctls(&self, ns: NsId) -> Vec<(String, String)> {
        let kernel = self.kernel();
        let Some(here) = kernel.ns(ns) else { return Vec::new() };
        let mut names: Vec<String> = NS_NAMES.iter().map(|(name, ..)| name.to_string()).collect();
        names.push("net.ipv4.ip_forward".to_string());
        names.push("net.netfilter.nf_conntrack_count".to_string());
        names.extend(Settings::names().map(|name| format!("net.netfilter.{name}")));
        let own = here.ifaces.iter().filter_map(|id| kernel.iface(*id));
        let own = own.map(|iface| iface.name.to_string().replace('.', "/"));
        for place in ["all".to_string(), "default".to_string()].into_iter().chain(own) {
            names.extend(IF_NAMES.map(|(key, _)| format!("net.ipv4.conf.{place}.{key}")));
        }
        let value = |name: &String| kernel.sysctl(ns, &Name::parse(name).ok()?);
        let all: BTreeMap<String, String> =
            names.iter().filter_map(|name| Some((name.clone(), value(name)?))).collect();
        all.into_iter().collect()
    }
}

impl Kernel {
    /// The interface of a namespace that has this name.
    fn conf_iface(&self, here: &Namespace, name: &str) -> Option<IfId> {
        let is_it = |id: &&IfId| self.iface(**id).is_some_and(|iface| iface.name.as_str() == name);
        here.ifaces.iter().find(is_it).copied()
    }

    fn sysctl(&self, ns: NsId, name: &Name) -> Option<String> {
        let here = self.ns(ns)?;
        match name {
            Name::Forward => Some(here.sysctls.all.get(IfKey::Forwarding).to_string()),
            Name::Ns(at) => Some(here.sysctls.show(*at)),
            Name::If(place, at) => match place.as_str() {
                "all" => Some(here.sysctls.all.show(*at)),
                "default" => Some(here.sysctls.default.show(*at)),
                name => Some(self.iface(self.conf_iface(here, name)?)?.conf.show(*at)),
            },
            Name::Netfilter(name) => netfilter_value(here, name),
        }
    }

    fn set_sysctl(&mut self, ns: NsId, name: &Name, text: &str) -> Option<()> {
        let number = || text.trim().parse::<i32>().ok();
        match name {
            Name::Forward => self.set_forwarding(ns, number()?),
            Name::Ns(at) => return self.ns_mut(ns)?.sysctls.set(*at, text),
            Name::If(place, at) if place == "all" && *at == IfKey::Forwarding as usize => {
                self.set_forwarding(ns, number()?);
            }
            Name::If(place, at) => {
                let value = number()?;
                self.ways.changed();
                match place.as_str() {
                    "all" => self.ns_mut(ns)?.sysctls.all.put(*at, value),
                    "default" => self.ns_mut(ns)?.sysctls.default.put(*at, value),
                    name => {
                        let id = self.conf_iface(self.ns(ns)?, name)?;
                        self.iface_mut(id)?.conf.put(*at, value);
                    }
                }
            }
            Name::Netfilter(name) => {
                let conntrack = self.ns_mut(ns)?.netfilter.conntrack_mut();
                return conntrack.settings.set(name, text).ok();
            }
        }
        Some(())
    }

    /// `ip_forward`: for all interfaces, those there are and those to come (`inet_forward_change`).
    pub(crate) fn set_forwarding(&mut self, ns: NsId, value: i32) {
        self.ways.changed();
        let Some(here) = self.ns_mut(ns) else { return };
        here.sysctls.all.set(IfKey::Forwarding, value);
        here.sysctls.default.set(IfKey::Forwarding, value);
        for id in here.ifaces.clone() {
            if let Some(iface) = self.iface_mut(id) {
                iface.conf.set(IfKey::Forwarding, value);
            }
        }
    }
}

/// A value under `net.netfilter.`: connection tracking's settings, and how much it remembers.
fn netfilter_value(here: &Namespace, name: &str) -> Option<String> {
    match name {
        "nf_conntrack_count" => Some(here.netfilter.conntrack().count().to_string()),
        _ => here.netfilter.conntrack().settings.get(name).map(|value| value.to_string()),
    }
}
