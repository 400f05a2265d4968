//! What `ipvsadm` prints (ipvsadm 1.31).

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use base::Instant;
use packet::{protocol, services};

use super::conn::VsConn;
use super::service::{Server, Service, ServiceKey};
use super::stats::{Counts, Stats};
use super::{Ipvs, Timeouts};

/// What is shown of services and servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// Scheduler and flags; forwarding, weight and connections.
    #[default]
    Usual,
    /// `--stats`
    Stats,
    /// `--rate`
    Rate,
    /// `--thresholds`
    Thresholds,
    /// `--persistent-conn`
    Persistent,
    /// As the commands that make them (`-S`).
    Rules,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// What.
    pub shown: Shown,
    /// `-n`: ports as numbers.
    pub numeric: bool,
    /// `--nosort`: servers as the kernel lists them.
    pub nosort: bool,
    /// `--exact`: large numbers as they are.
    pub exact: bool,
}

/// Longest texts of a service and of a server (ipvsadm cuts them there).
const SERVICE_MAX: usize = 33;
const SERVER_MAX: usize = 28;

impl Format {
    fn address(&self, protocol: u8, at: SocketAddrV4) -> String {
        let word = match protocol {
            protocol::UDP => "udp",
            protocol::SCTP => "",
            _ => "tcp",
        };
        match services::name_of(at.port(), word).filter(|_| !self.numeric && !word.is_empty()) {
            Some(name) => format!("{}:{name}", at.ip()),
            None => at.to_string(),
        }
    }

    /// A number of nine columns, or more where it is exact.
    fn number(&self, number: u64, out: &mut String) {
        const UNITS: [(u64, &str); 4] =
            [(1_000, "K"), (1_000_000, "M"), (1_000_000_000, "G"), (1_000_000_000_000, "T")];
        if self.exact || number < 100_000_000 {
            // At least one blank stands before it.
            let _ = write!(out, " {number:>8}");
            return;
        }
        let at = match number {
            0..1_000_000_000 => 0,
            1_000_000_000..100_000_000_000 => 1,
            100_000_000_000..100_000_000_000_000 => 2,
            _ => 3,
        };
        let (unit, letter) = UNITS.get(at).copied().unwrap_or((1, ""));
        let _ = write!(out, "{:>8}{letter}", number / unit);
    }

    fn counts(&self, counts: &Counts, out: &mut String) {
        for number in
            [counts.conns, counts.in_packets, counts.out_packets, counts.in_bytes, counts.out_bytes]
        {
            self.number(number, out);
        }
    }
}

/// Titles of the columns.
fn title(shown: Shown) -> String {
    let [first, second] = ["Prot LocalAddress:Port", "  -> RemoteAddress:Port\n"];
    let wide = |columns: [&str; 5]| {
        let mut out = format!("{first:<33}");
        columns.iter().for_each(|column| {
            let _ = write!(out, " {column:>8}");
        });
        format!("{out}\n{second}")
    };
    match shown {
        Shown::Stats => wide(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]),
        Shown::Rate => wide(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"]),
        Shown::Thresholds => format!(
            "{first:<33} {:<10} {:<10} {:<10} {:<10}\n{second}",
            "Uthreshold", "Lthreshold", "ActiveConn", "InActConn"
        ),
        Shown::Persistent => format!(
            "{first:<33} {:<9} {:<11} {:<10} {:<10}\n{second}",
            "Weight", "PersistConn", "ActiveConn", "InActConn"
        ),
        Shown::Usual => format!(
            "{first} Scheduler Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
        ),
        Shown::Rules => String::new(),
    }
}

/// `TCP`, as ipvsadm writes it, and the option that means it.
fn protocol_words(number: u8) -> (&'static str, &'static str) {
    match number {
        protocol::UDP => ("UDP", "-u"),
        protocol::SCTP => ("SCTP", "--sctp-service"),
        _ => ("TCP", "-t"),
    }
}

/// The order in which ipvsadm sorts addresses: it takes the difference of two for a number with a sign.
fn compare(a: Ipv4Addr, b: Ipv4Addr) -> Ordering {
    u32::from(a).cast_signed().cmp(&u32::from(b).cast_signed())
}

fn cut(text: &str, len: usize) -> &str {
    text.get(..len).unwrap_or(text)
}

/// `-L` and `-S`: of one service, or of all.
pub fn list(ipvs: &Ipvs, only: Option<&ServiceKey>, format: Format, now: Instant) -> String {
    let mut out = String::new();
    if only.is_none() && format.shown != Shown::Rules {
        out.push_str("IP Virtual Server version 1.2.1 (size=4096)\n");
    }
    out.push_str(&title(format.shown));
    let is_shown = |key: &ServiceKey| only.is_none_or(|only| only == key);
    let mut shown: Vec<_> = ipvs.services().filter(|(key, _)| is_shown(key)).collect();
    if !format.nosort {
        base::order::sort_by(&mut shown, |(a, _), (b, _)| {
            let addr = compare(a.addr, b.addr);
            a.protocol.cmp(&b.protocol).then(addr).then(a.port.cmp(&b.port))
        });
    }
    for (key, service) in shown {
        entry(ipvs, key, service, format, now, &mut out);
    }
    out
}

fn entry(
    ipvs: &Ipvs,
    key: &ServiceKey,
    service: &Service,
    format: Format,
    now: Instant,
    out: &mut String,
) {
    let (word, option) = protocol_words(key.protocol);
    let address = format.address(key.protocol, SocketAddrV4::new(key.addr, key.port));
    let rule = format!("{option} {address}");
    let name = format!("{word}  {address}");
    let name = cut(&name, SERVICE_MAX);
    match format.shown {
        Shown::Rules => {
            let _ = write!(out, "-A {rule} -s {}", service.scheduler.name());
            flags(service, [" -p ", " -M "], out);
        }
        Shown::Stats | Shown::Rate => {
            let _ = write!(out, "{name:<33}");
            format.counts(&numbers(&service.stats, format.shown, now), out);
        }
        _ => {
            let _ = write!(out, "{name} {}", service.scheduler.name());
            flags(service, [" persistent ", " mask "], out);
        }
    }
    out.push('\n');
    let mut servers: Vec<&Server> = ipvs.servers(key).collect();
    if !format.nosort {
        base::order::sort_by(&mut servers, |a, b| {
            compare(*a.addr.ip(), *b.addr.ip()).then(a.addr.port().cmp(&b.addr.port()))
        });
    }
    for server in servers {
        let address = format.address(key.protocol, server.addr);
        if format.shown == Shown::Rules {
            let _ = writeln!(out, "-a {rule} -r {address} -m -w {}", server.options.weight);
            continue;
        }
        let _ = write!(out, "  -> {:<28}", cut(&address, SERVER_MAX));
        columns(server, format, now, out);
        out.push('\n');
    }
}

fn flags(service: &Service, words: [&str; 2], out: &mut String) {
    let Some(persistence) = service.persistence else { return };
    let [timeout, mask] = words;
    let _ = write!(out, "{timeout}{}", persistence.timeout);
    if persistence.netmask != Ipv4Addr::BROADCAST {
        let _ = write!(out, "{mask}{}", persistence.netmask);
    }
}

fn numbers(stats: &Stats, shown: Shown, now: Instant) -> Counts {
    if shown == Shown::Rate { stats.rates(now) } else { stats.counts }
}

fn columns(server: &Server, format: Format, now: Instant, out: &mut String) {
    let Server { options, active, inactive, persistent, .. } = server;
    let _ = match format.shown {
        Shown::Stats | Shown::Rate => {
            format.counts(&numbers(&server.stats, format.shown, now), out);
            Ok(())
        }
        Shown::Thresholds => {
            write!(out, " {:<10} {:<10} {active:<10} {inactive:<10}", options.upper, options.lower)
        }
        Shown::Persistent => {
            write!(out, " {:<9} {persistent:<11} {active:<10} {inactive:<10}", options.weight)
        }
        _ => write!(out, " {:<7} {:<6} {active:<10} {inactive:<10}", "Masq", options.weight),
    };
}

/// `-Lc`: the connections.
pub fn list_conns(ipvs: &Ipvs, format: Format, now: Instant) -> String {
    let columns = |words: [&str; 6]| {
        let [protocol, expire, state, client, service, server] = words;
        format!("{protocol:<3} {expire:<6} {state:<11} {client:<18} {service:<18} {server}\n")
    };
    let mut out = String::from("IPVS connection entries\n");
    out.push_str(&columns(["pro", "expire", "state", "source", "virtual", "destination"]));
    for conn in ipvs.conns().entries(now) {
        let VsConn { protocol, client, service, addr, expires, .. } = conn;
        let left = expires.since(now).as_secs();
        out.push_str(&columns([
            protocol_words(*protocol).0,
            &format!("{:02}:{:02}", left / 60, left % 60),
            conn.state_name(),
            &format.address(*protocol, *client),
            &format.address(*protocol, *service),
            &format.address(*protocol, *addr),
        ]));
    }
    out
}

/// `-L --timeout`
pub fn list_timeouts(timeouts: &Timeouts) -> String {
    let Timeouts { tcp, tcp_fin, udp } = timeouts;
    let [tcp, tcp_fin, udp] = [tcp, tcp_fin, udp].map(|timeout| timeout.as_secs());
    format!("Timeout (tcp tcpfin udp): {tcp} {tcp_fin} {udp}\n")
}
