//! The rules that ask the sets (`writeIptablesRules`), as kube-proxy pipes them to `iptables-restore`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use base::tree::BTreeMap;
use netfilter::text::{RestoreOptions, restore};
use netfilter::{Netfilter, TableName};

use super::sets::{self, SETS};
use super::wanted::Item;
use crate::config::ProxyConfig;
use crate::jumps::{self, Jump};
use crate::service::Protocol;

const PORTALS: &str = "kubernetes service portals";
const FIREWALL: &str = "kube-proxy firewall rules";
const ACCESS: &str = "kubernetes ipvs access filter";

/// In upstream's order. Each is put before what is there, so that the last comes first.
const JUMPS: [Jump; 9] = [
    (TableName::Nat, "OUTPUT", "KUBE-SERVICES", false, PORTALS),
    (TableName::Nat, "PREROUTING", "KUBE-SERVICES", false, PORTALS),
    (TableName::Nat, "POSTROUTING", "KUBE-POSTROUTING", false, "kubernetes postrouting rules"),
    (TableName::Filter, "FORWARD", "KUBE-FORWARD", false, "kubernetes forwarding rules"),
    (TableName::Filter, "INPUT", "KUBE-NODE-PORT", false, "kubernetes health check rules"),
    (TableName::Filter, "INPUT", "KUBE-PROXY-FIREWALL", false, FIREWALL),
    (TableName::Filter, "FORWARD", "KUBE-PROXY-FIREWALL", false, FIREWALL),
    (TableName::Filter, "INPUT", "KUBE-IPVS-FILTER", false, ACCESS),
    (TableName::Filter, "OUTPUT", "KUBE-IPVS-OUT-FILTER", false, ACCESS),
];

const NAT_CHAINS: [&str; 5] =
    ["KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-NODE-PORT", "KUBE-LOAD-BALANCER", "KUBE-MARK-MASQ"];
const FILTER_CHAINS: [&str; 6] = [
    "KUBE-FORWARD",
    "KUBE-NODE-PORT",
    "KUBE-PROXY-FIREWALL",
    "KUBE-SOURCE-RANGES-FIREWALL",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
];

/// A set that leads somewhere while it is not empty: the set, whether the rule is in `nat`, the chain, the target,
/// what is compared, the protocol.
type Leading = (u8, bool, &'static str, &'static str, &'static str, &'static str);

const LEADING: [Leading; 12] = [
    (sets::LOOP_BACK, true, "KUBE-POSTROUTING", "MASQUERADE", "dst,dst,src", ""),
    (sets::LOAD_BALANCER, true, "KUBE-SERVICES", "KUBE-LOAD-BALANCER", "dst,dst", ""),
    (sets::LOAD_BALANCER_LOCAL, true, "KUBE-LOAD-BALANCER", "RETURN", "dst,dst", ""),
    (sets::NODE_PORT_LOCAL_TCP, true, "KUBE-NODE-PORT", "RETURN", "dst", "tcp"),
    (sets::NODE_PORT_TCP, true, "KUBE-NODE-PORT", "KUBE-MARK-MASQ", "dst", "tcp"),
    (sets::NODE_PORT_LOCAL_UDP, true, "KUBE-NODE-PORT", "RETURN", "dst", "udp"),
    (sets::NODE_PORT_UDP, true, "KUBE-NODE-PORT", "KUBE-MARK-MASQ", "dst", "udp"),
    (sets::NODE_PORT_LOCAL_SCTP, true, "KUBE-NODE-PORT", "RETURN", "dst,dst", "sctp"),
    (sets::NODE_PORT_SCTP, true, "KUBE-NODE-PORT", "KUBE-MARK-MASQ", "dst,dst", "sctp"),
    (
        sets::LOAD_BALANCER_FW,
        false,
        "KUBE-PROXY-FIREWALL",
        "KUBE-SOURCE-RANGES-FIREWALL",
        "dst,dst",
        "",
    ),
    (
        sets::LOAD_BALANCER_SOURCE_CIDR,
        false,
        "KUBE-SOURCE-RANGES-FIREWALL",
        "RETURN",
        "dst,dst,src",
        "",
    ),
    (
        sets::LOAD_BALANCER_SOURCE_IP,
        false,
        "KUBE-SOURCE-RANGES-FIREWALL",
        "RETURN",
        "dst,dst,src",
        "",
    ),
];

/// Puts in the jumps that are not there, and the chains that they lead to.
pub(super) fn install_jumps(netfilter: &mut Netfilter) {
    JUMPS.iter().for_each(|jump| jumps::install(netfilter, jump));
}

/// The rules in the making.
struct Writer<'a> {
    counts: &'a BTreeMap<Item, u32>,
    nat: String,
    filter: String,
}

impl Writer<'_> {
    fn is_empty(&self, set: u8) -> bool {
        let first = Item::Element(set, netfilter::ipset::Element::Net(([0; 4].into(), 0)));
        let next = self.counts.range_from(&first).next();
        !next.is_some_and(|(item, _)| matches!(item, Item::Element(of, _) if *of == set))
    }

    /// A rule that asks a set, with the set's comment if it is to have one.
    fn asking(
        &self,
        chain: &str,
        protocol: &str,
        set: u8,
        sides: &str,
        has_comment: bool,
    ) -> String {
        let mut rule = format!("-A {chain}");
        if !protocol.is_empty() {
            let _ = write!(rule, " -p {protocol}");
        }
        if let Some(set) = SETS.get(usize::from(set)) {
            if has_comment {
                let _ = write!(rule, " -m comment --comment \"{}\"", set.comment);
            }
            let _ = write!(rule, " -m set --match-set {} {sides}", set.name);
        }
        rule
    }

    fn nat(&mut self, rule: &str, rest: &str) {
        let _ = writeln!(self.nat, "{rule} {rest}");
    }

    fn filter(&mut self, rule: &str, rest: &str) {
        let _ = writeln!(self.filter, "{rule} {rest}");
    }

    fn leading(&mut self) {
        for (set, is_nat, chain, target, sides, protocol) in LEADING {
            if self.is_empty(set) {
                continue;
            }
            let rule = self.asking(chain, protocol, set, sides, true);
            let target = format!("-j {target}");
            if is_nat { self.nat(&rule, &target) } else { self.filter(&rule, &target) }
        }
    }

    fn cluster_ips(&mut self, config: &ProxyConfig) {
        if self.is_empty(sets::CLUSTER_IP) {
            return;
        }
        let (sides, more) = match (config.masquerade_all, config.cluster_cidr) {
            (true, _) => ("dst,dst", String::new()),
            (false, Some(pods)) => ("dst,dst", format!("! -s {pods} ")),
            // What the node itself sends comes from the address that it goes to.
            (false, None) => ("src,dst", String::new()),
        };
        let rule = self.asking("KUBE-SERVICES", "", sets::CLUSTER_IP, sides, true);
        self.nat(&rule, &format!("{more}-j KUBE-MARK-MASQ"));
    }

    fn external_ips(&mut self) {
        for (set, is_masqueraded) in [(sets::EXTERNAL_IP, true), (sets::EXTERNAL_IP_LOCAL, false)] {
            if self.is_empty(set) {
                continue;
            }
            let rule = self.asking("KUBE-SERVICES", "", set, "dst,dst", true);
            if is_masqueraded {
                self.nat(&rule, "-j KUBE-MARK-MASQ");
            }
            let outside = "-m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT";
            self.nat(&rule, outside);
            self.nat(&rule, "-m addrtype --dst-type LOCAL -j ACCEPT");
        }
    }

    /// What the node itself may not reach by a load balancer's address. There its packets come from the address
    /// that they go to.
    fn shut(&mut self) {
        // They are the last of all.
        let first = Item::Shut(Ipv4Addr::UNSPECIFIED, Protocol::Tcp, 0);
        for (item, _) in self.counts.range_from(&first) {
            let Item::Shut(addr, protocol, port) = item else { continue };
            let service =
                format!("-m ipvs --vaddr {addr} --vproto {} --vport {port}", protocol.name());
            let _ = writeln!(self.filter, "-A KUBE-IPVS-OUT-FILTER -s {addr} {service} -j DROP");
        }
    }

    /// Nothing else of the node is reached by the addresses of Services.
    fn access(&mut self) {
        for (set, sides) in [
            (sets::LOAD_BALANCER, "dst,dst"),
            (sets::CLUSTER_IP, "dst,dst"),
            (sets::EXTERNAL_IP, "dst,dst"),
            (sets::EXTERNAL_IP_LOCAL, "dst,dst"),
            (sets::HEALTH_CHECK_NODE_PORT, "dst"),
        ] {
            let rule = self.asking("KUBE-IPVS-FILTER", "", set, sides, false);
            self.filter(&rule, "-j RETURN");
        }
        let new = "KUBE-IPVS-FILTER -m conntrack --ctstate NEW";
        let rule = self.asking(new, "", sets::IPVS_IPS, "dst", false);
        self.filter(&rule, "-j REJECT");
    }

    fn masquerading(&mut self, config: &ProxyConfig) {
        let mark = format!("{:#x}", config.masquerade_mark());
        let chain = "-A KUBE-POSTROUTING";
        self.nat(chain, &format!("-m mark ! --mark {mark}/{mark} -j RETURN"));
        self.nat(chain, &format!("-j MARK --xor-mark {mark}"));
        let comment = "-m comment --comment \"kubernetes service traffic requiring SNAT\"";
        let random = if config.random_fully { " --random-fully" } else { "" };
        self.nat(chain, &format!("{comment} -j MASQUERADE{random}"));
        self.nat("-A KUBE-MARK-MASQ", &format!("-j MARK --or-mark {mark}"));
    }
}

/// The input of `iptables-restore`.
pub(super) fn text(config: &ProxyConfig, counts: &BTreeMap<Item, u32>) -> String {
    let mut writer = Writer { counts, nat: String::new(), filter: String::new() };
    writer.nat("-A KUBE-SERVICES", "-s 127.0.0.0/8 -j RETURN");
    writer.leading();
    writer.cluster_ips(config);
    writer.external_ips();
    writer.nat("-A KUBE-SERVICES", "-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT");
    writer.nat("-A KUBE-LOAD-BALANCER", "-j KUBE-MARK-MASQ");
    writer.filter("-A KUBE-SOURCE-RANGES-FIREWALL", "-j DROP");
    writer.shut();
    for set in [sets::CLUSTER_IP, sets::LOAD_BALANCER] {
        if !writer.is_empty(set) {
            let rule = writer.asking("KUBE-SERVICES", "", set, "dst,dst", false);
            writer.nat(&rule, "-j ACCEPT");
        }
    }
    let mark = format!("{:#x}", config.masquerade_mark());
    let forwarding = "-m comment --comment \"kubernetes forwarding rules\"";
    writer
        .filter("-A KUBE-FORWARD", &format!("{forwarding} -m mark --mark {mark}/{mark} -j ACCEPT"));
    let known = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
    let comment = "-m comment --comment \"kubernetes forwarding conntrack rule\"";
    writer.filter("-A KUBE-FORWARD", &format!("{comment} {known}"));
    let rule = writer.asking("KUBE-NODE-PORT", "", sets::HEALTH_CHECK_NODE_PORT, "dst", true);
    writer.filter(&rule, "-j ACCEPT");
    writer.access();
    writer.masquerading(config);
    let chains = |names: &[&str]| -> String {
        names.iter().map(|name| format!(":{name} - [0:0]\n")).collect()
    };
    let (nat, filter) = (chains(&NAT_CHAINS), chains(&FILTER_CHAINS));
    format!("*nat\n{nat}{}COMMIT\n*filter\n{filter}{}COMMIT\n", writer.nat, writer.filter)
}

/// Writes the rules; all chains are as the text says, and count from zero.
pub(super) fn write(netfilter: &mut Netfilter, text: &str) {
    let options = RestoreOptions { noflush: true, ..RestoreOptions::default() };
    // The text is ours; it is tested to be taken.
    let _ = restore(netfilter, text, options);
}

/// The chains count from zero.
pub(super) fn zero(netfilter: &mut Netfilter) {
    for (table, chains) in
        [(TableName::Nat, &NAT_CHAINS[..]), (TableName::Filter, &FILTER_CHAINS[..])]
    {
        netfilter.edit(table, |table| {
            for chain in chains {
                let _ = table.zero(chain);
            }
        });
    }
}
