//! What can be set about connection tracking: the sysctls `net.netfilter.nf_conntrack_*`, by the kernel's
//! names, with its defaults and limits (`net/netfilter/nf_conntrack_standalone.c`).

use std::fmt;

use base::Duration;

use super::sctp::{SCTP_STATES, SctpState};
use super::tcp::{TCP_STATES, TcpState};

/// The settings of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `nf_conntrack_max`: most connections at once.
    pub max: u32,
    /// `nf_conntrack_buckets`: size of the kernel's hash table. Nothing is hashed into it here; it decides how
    /// much of the table a packet may search for a victim when the table is full.
    pub buckets: u32,
    /// `nf_conntrack_acct`: count packets and bytes of connections that begin from now on.
    pub acct: bool,
    /// `nf_conntrack_checksum`: a packet from outside with a wrong checksum is INVALID.
    pub checksum: bool,
    /// `nf_conntrack_events`: 0 never, 1 always, 2 for connections that begin while somebody listens.
    pub events: u8,
    /// `nf_conntrack_timestamp`: show when connections began.
    pub timestamp: bool,
    /// `nf_conntrack_log_invalid`: of which protocol number INVALID packets are logged; 255 means all. Kept
    /// for reading only: there is no kernel log.
    pub log_invalid: u8,
    /// `nf_conntrack_expect_max`. Kept for reading only: nothing is ever expected.
    pub expect_max: u32,
    /// TCP.
    pub tcp: TcpSettings,
    /// `nf_conntrack_udp_timeout`: UDP that nobody answered.
    pub udp_timeout: Duration,
    /// `nf_conntrack_udp_timeout_stream`: UDP with answers for more than two seconds.
    pub udp_timeout_stream: Duration,
    /// `nf_conntrack_icmp_timeout`: ICMP queries.
    pub icmp_timeout: Duration,
    /// `nf_conntrack_generic_timeout`: protocols that have no tracker of their own.
    pub generic_timeout: Duration,
    /// `nf_conntrack_gre_timeout`: GRE that nobody answered.
    pub gre_timeout: Duration,
    /// `nf_conntrack_gre_timeout_stream`: GRE with answers.
    pub gre_timeout_stream: Duration,
    /// `nf_conntrack_sctp_timeout_*`, by state.
    pub sctp: [Duration; SCTP_STATES],
}

/// Settings of the TCP tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSettings {
    timeouts: [Duration; TCP_STATES],
    /// `nf_conntrack_tcp_timeout_max_retrans`: after `max_retrans` retransmissions.
    pub timeout_max_retrans: Duration,
    /// `nf_conntrack_tcp_timeout_unacknowledged`: while data is not acknowledged.
    pub timeout_unacknowledged: Duration,
    /// `nf_conntrack_tcp_loose`: a connection may be picked up in its middle.
    pub loose: bool,
    /// `nf_conntrack_tcp_be_liberal`: only resets out of the window are INVALID.
    pub be_liberal: bool,
    /// `nf_conntrack_tcp_ignore_invalid_rst`: resets before the window are not INVALID.
    pub ignore_invalid_rst: bool,
    /// `nf_conntrack_tcp_max_retrans`.
    pub max_retrans: u8,
}

impl TcpSettings {
    /// How long an idle connection is remembered in `state`.
    #[inline]
    pub fn timeout(&self, state: TcpState) -> Duration {
        self.timeouts.get(state as usize).copied().unwrap_or_default()
    }

    /// Sets how long an idle connection is remembered in `state`.
    pub fn set_timeout(&mut self, state: TcpState, timeout: Duration) {
        *self.slot(state) = timeout;
    }

    fn slot(&mut self, state: TcpState) -> &mut Duration {
        // One for each state by construction.
        &mut self.timeouts[state as usize]
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

impl Default for TcpSettings {
    fn default() -> Self {
        TcpSettings {
            timeouts: TcpState::ALL.map(|state| match state {
                TcpState::None => secs(0),
                TcpState::SynSent | TcpState::SynSent2 => secs(120),
                TcpState::SynRecv | TcpState::CloseWait => secs(60),
                TcpState::Established => secs(5 * 24 * 3600),
                TcpState::FinWait | TcpState::TimeWait => secs(120),
                TcpState::LastAck => secs(30),
                TcpState::Close => secs(10),
            }),
            timeout_max_retrans: secs(300),
            timeout_unacknowledged: secs(300),
            loose: true,
            be_liberal: false,
            ignore_invalid_rst: false,
            max_retrans: 3,
        }
    }
}

impl Default for Settings {
    /// The kernel's defaults on a machine of 8 GB or more.
    fn default() -> Self {
        Settings {
            max: 262_144,
            buckets: 262_144,
            acct: false,
            checksum: true,
            events: 2,
            timestamp: false,
            log_invalid: 0,
            expect_max: 4096,
            tcp: TcpSettings::default(),
            udp_timeout: secs(30),
            udp_timeout_stream: secs(120),
            icmp_timeout: secs(30),
            generic_timeout: secs(600),
            gre_timeout: secs(30),
            gre_timeout_stream: secs(180),
            sctp: SctpState::ALL.map(SctpState::default_timeout),
        }
    }
}

/// A value within the settings, and what may be written there.
enum Slot<'a> {
    Secs(&'a mut Duration),
    Flag(&'a mut bool),
    Byte(&'a mut u8, u8),
    Number(&'a mut u32),
}

type Access = fn(&mut Settings) -> Slot<'_>;

macro_rules! tcp_timeout {
    ($state:ident) => {
        |s| Slot::Secs(s.tcp.slot(TcpState::$state))
    };
}

macro_rules! sctp_timeout {
    ($state:ident) => {
        |s| Slot::Secs(&mut s.sctp[SctpState::$state as usize])
    };
}

/// Everything that can be read and set, in alphabetical order as `sysctl -a` lists it.
const SYSCTLS: [(&str, Access); 36] = [
    ("nf_conntrack_acct", |s| Slot::Flag(&mut s.acct)),
    ("nf_conntrack_buckets", |s| Slot::Number(&mut s.buckets)),
    ("nf_conntrack_checksum", |s| Slot::Flag(&mut s.checksum)),
    ("nf_conntrack_events", |s| Slot::Byte(&mut s.events, 2)),
    ("nf_conntrack_expect_max", |s| Slot::Number(&mut s.expect_max)),
    ("nf_conntrack_generic_timeout", |s| Slot::Secs(&mut s.generic_timeout)),
    ("nf_conntrack_gre_timeout", |s| Slot::Secs(&mut s.gre_timeout)),
    ("nf_conntrack_gre_timeout_stream", |s| Slot::Secs(&mut s.gre_timeout_stream)),
    ("nf_conntrack_icmp_timeout", |s| Slot::Secs(&mut s.icmp_timeout)),
    ("nf_conntrack_log_invalid", |s| Slot::Byte(&mut s.log_invalid, 255)),
    ("nf_conntrack_max", |s| Slot::Number(&mut s.max)),
    ("nf_conntrack_sctp_timeout_closed", sctp_timeout!(Closed)),
    ("nf_conntrack_sctp_timeout_cookie_echoed", sctp_timeout!(CookieEchoed)),
    ("nf_conntrack_sctp_timeout_cookie_wait", sctp_timeout!(CookieWait)),
    ("nf_conntrack_sctp_timeout_established", sctp_timeout!(Established)),
    ("nf_conntrack_sctp_timeout_heartbeat_sent", sctp_timeout!(HeartbeatSent)),
    ("nf_conntrack_sctp_timeout_shutdown_ack_sent", sctp_timeout!(ShutdownAckSent)),
    ("nf_conntrack_sctp_timeout_shutdown_recd", sctp_timeout!(ShutdownRecd)),
    ("nf_conntrack_sctp_timeout_shutdown_sent", sctp_timeout!(ShutdownSent)),
    ("nf_conntrack_tcp_be_liberal", |s| Slot::Flag(&mut s.tcp.be_liberal)),
    ("nf_conntrack_tcp_ignore_invalid_rst", |s| Slot::Flag(&mut s.tcp.ignore_invalid_rst)),
    ("nf_conntrack_tcp_loose", |s| Slot::Flag(&mut s.tcp.loose)),
    ("nf_conntrack_tcp_max_retrans", |s| Slot::Byte(&mut s.tcp.max_retrans, 255)),
    ("nf_conntrack_tcp_timeout_close", tcp_timeout!(Close)),
    ("nf_conntrack_tcp_timeout_close_wait", tcp_timeout!(CloseWait)),
    ("nf_conntrack_tcp_timeout_established", tcp_timeout!(Established)),
    ("nf_conntrack_tcp_timeout_fin_wait", tcp_timeout!(FinWait)),
    ("nf_conntrack_tcp_timeout_last_ack", tcp_timeout!(LastAck)),
    ("nf_conntrack_tcp_timeout_max_retrans", |s| Slot::Secs(&mut s.tcp.timeout_max_retrans)),
    ("nf_conntrack_tcp_timeout_syn_recv", tcp_timeout!(SynRecv)),
    ("nf_conntrack_tcp_timeout_syn_sent", tcp_timeout!(SynSent)),
    ("nf_conntrack_tcp_timeout_time_wait", tcp_timeout!(TimeWait)),
    ("nf_conntrack_tcp_timeout_unacknowledged", |s| Slot::Secs(&mut s.tcp.timeout_unacknowledged)),
    ("nf_conntrack_timestamp", |s| Slot::Flag(&mut s.timestamp)),
    ("nf_conntrack_udp_timeout", |s| Slot::Secs(&mut s.udp_timeout)),
    ("nf_conntrack_udp_timeout_stream", |s| Slot::Secs(&mut s.udp_timeout_stream)),
];

/// Longest time in seconds that can be set: what fits into a signed word of milliseconds.
const SECS_MAX: u64 = i32::MAX as u64 / 1000;

/// Why a setting was refused, in the words of `errno` that `sysctl` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingError {
    /// There is no such setting.
    Unknown,
    /// It can only be read.
    ReadOnly,
    /// Not a number, or one out of its range.
    Invalid,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SettingError::Unknown => "No such file or directory",
            SettingError::ReadOnly => "Permission denied",
            SettingError::Invalid => "Invalid argument",
        })
    }
}

/// The name without `net.netfilter.`; also takes `net.nf_conntrack_max`, the older place of that one.
fn bare(name: &str) -> &str {
    match name {
        "net.nf_conntrack_max" | "net/nf_conntrack_max" => "nf_conntrack_max",
        _ => name
            .strip_prefix("net.netfilter.")
            .or_else(|| name.strip_prefix("net/netfilter/"))
            .unwrap_or(name),
    }
}

impl Settings {
    /// All names in alphabetical order, without `net.netfilter.`.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SYSCTLS.iter().map(|(name, _)| *name)
    }

    /// The value of a setting; times are in seconds.
    pub fn get(&self, name: &str) -> Option<u64> {
        let (_, access) = SYSCTLS.iter().find(|(known, _)| *known == bare(name))?;
        // Reading is rare; a second accessor for each setting would have to be kept in step.
        let mut copy = self.clone();
        Some(match access(&mut copy) {
            Slot::Secs(time) => time.as_secs(),
            Slot::Flag(flag) => u64::from(*flag),
            Slot::Byte(byte, _) => u64::from(*byte),
            Slot::Number(number) => u64::from(*number),
        })
    }

    /// Sets a setting; times are in seconds.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let name = bare(name);
        if name == "nf_conntrack_count" {
            return Err(SettingError::ReadOnly);
        }
        let found = SYSCTLS.iter().find(|(known, _)| *known == name);
        let (_, access) = found.ok_or(SettingError::Unknown)?;
        let value: u64 = value.trim().parse().map_err(|_| SettingError::Invalid)?;
        let limit = |max: u64| if value <= max { Ok(value) } else { Err(SettingError::Invalid) };
        match access(self) {
            Slot::Secs(time) => *time = Duration::from_secs(limit(SECS_MAX)?),
            Slot::Flag(flag) => *flag = limit(1)? == 1,
            Slot::Byte(byte, max) => *byte = limit(u64::from(max))? as u8,
            Slot::Number(number) => *number = limit(i32::MAX as u64)? as u32,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn names_are_sorted_and_defaults_are_those_of_a_fresh_namespace() {
        let names: Vec<_> = Settings::names().collect();
        assert!(names.is_sorted());
        let settings = Settings::default();
        let shown: String = names
            .iter()
            .map(|name| format!("{name} = {}\n", settings.get(name).unwrap()))
            .collect();
        // As `sysctl -a` shows them in a new network namespace of Linux 6.18.
        expect![[r#"
            nf_conntrack_acct = 0
            nf_conntrack_buckets = 262144
            nf_conntrack_checksum = 1
            nf_conntrack_events = 2
            nf_conntrack_expect_max = 4096
            nf_conntrack_generic_timeout = 600
            nf_conntrack_gre_timeout = 30
            nf_conntrack_gre_timeout_stream = 180
            nf_conntrack_icmp_timeout = 30
            nf_conntrack_log_invalid = 0
            nf_conntrack_max = 262144
            nf_conntrack_sctp_timeout_closed = 10
            nf_conntrack_sctp_timeout_cookie_echoed = 3
            nf_conntrack_sctp_timeout_cookie_wait = 3
            nf_conntrack_sctp_timeout_established = 210
            nf_conntrack_sctp_timeout_heartbeat_sent = 30
            nf_conntrack_sctp_timeout_shutdown_ack_sent = 3
            nf_conntrack_sctp_timeout_shutdown_recd = 3
            nf_conntrack_sctp_timeout_shutdown_sent = 3
            nf_conntrack_tcp_be_liberal = 0
            nf_conntrack_tcp_ignore_invalid_rst = 0
            nf_conntrack_tcp_loose = 1
            nf_conntrack_tcp_max_retrans = 3
            nf_conntrack_tcp_timeout_close = 10
            nf_conntrack_tcp_timeout_close_wait = 60
            nf_conntrack_tcp_timeout_established = 432000
            nf_conntrack_tcp_timeout_fin_wait = 120
            nf_conntrack_tcp_timeout_last_ack = 30
            nf_conntrack_tcp_timeout_max_retrans = 300
            nf_conntrack_tcp_timeout_syn_recv = 60
            nf_conntrack_tcp_timeout_syn_sent = 120
            nf_conntrack_tcp_timeout_time_wait = 120
            nf_conntrack_tcp_timeout_unacknowledged = 300
            nf_conntrack_timestamp = 0
            nf_conntrack_udp_timeout = 30
            nf_conntrack_udp_timeout_stream = 120
        "#]]
        .assert_eq(&shown);
    }

    #[test]
    fn what_is_set_is_read_and_what_is_wrong_is_refused() {
        let mut settings = Settings::default();
        let name = "net.netfilter.nf_conntrack_tcp_timeout_established";
        assert_eq!(settings.set(name, "86400"), Ok(()));
        assert_eq!(settings.get(name), Some(86400));
        assert_eq!(settings.tcp.timeout(TcpState::Established), secs(86400));
        assert_eq!(settings.set("net.nf_conntrack_max", "10"), Ok(()));
        assert_eq!(settings.max, 10);
        for (name, value, error) in [
            ("nf_conntrack_tcp_loose", "2", SettingError::Invalid),
            ("nf_conntrack_max", "-1", SettingError::Invalid),
            ("nf_conntrack_udp_timeout", "soon", SettingError::Invalid),
            ("nf_conntrack_udp_timeout", "2147484", SettingError::Invalid),
            ("nf_conntrack_count", "1", SettingError::ReadOnly),
            ("nf_conntrack_speed", "1", SettingError::Unknown),
        ] {
            assert_eq!(settings.set(name, value), Err(error), "{name} {value}");
        }
    }
}
