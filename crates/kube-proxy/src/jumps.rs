//! The jumps that lead packets from the built-in chains into kube-proxy's (`iptablesJumpChains`,
//! `iptablesKubeletJumpChains`).

use std::rc::Rc;

use netfilter::conntrack::ct_state;
use netfilter::ext::Match;
use netfilter::ext::conntrack::CtMatch;
use netfilter::rule::Wanted;
use netfilter::{Netfilter, RuleSpec, TableName, Target};

use crate::config::ProxyConfig;

/// A jump: table, chain, the chain it leads to, whether for new connections only, comment.
pub(crate) type Jump = (TableName, &'static str, &'static str, bool, &'static str);

const EXTERNAL: &str = "kubernetes externally-visible service portals";
const PORTALS: &str = "kubernetes service portals";
const FIREWALL: &str = "kubernetes load balancer firewall";

/// In upstream's order. Each is put before what is there, so that the last comes first.
const JUMPS: [Jump; 12] = [
    (TableName::Filter, "INPUT", "KUBE-EXTERNAL-SERVICES", true, EXTERNAL),
    (TableName::Filter, "FORWARD", "KUBE-EXTERNAL-SERVICES", true, EXTERNAL),
    (TableName::Filter, "INPUT", "KUBE-NODEPORTS", false, "kubernetes health check service ports"),
    (TableName::Filter, "FORWARD", "KUBE-SERVICES", true, PORTALS),
    (TableName::Filter, "OUTPUT", "KUBE-SERVICES", true, PORTALS),
    (TableName::Filter, "FORWARD", "KUBE-FORWARD", false, "kubernetes forwarding rules"),
    (TableName::Filter, "INPUT", "KUBE-PROXY-FIREWALL", true, FIREWALL),
    (TableName::Filter, "OUTPUT", "KUBE-PROXY-FIREWALL", true, FIREWALL),
    (TableName::Filter, "FORWARD", "KUBE-PROXY-FIREWALL", true, FIREWALL),
    (TableName::Nat, "OUTPUT", "KUBE-SERVICES", false, PORTALS),
    (TableName::Nat, "PREROUTING", "KUBE-SERVICES", false, PORTALS),
    (TableName::Nat, "POSTROUTING", "KUBE-POSTROUTING", false, "kubernetes postrouting rules"),
];

/// Those that a kubelet puts in, too; kube-proxy does if node ports answer on 127.0.0.1.
const KUBELET_JUMPS: [Jump; 2] = [
    (TableName::Filter, "INPUT", "KUBE-FIREWALL", false, ""),
    (TableName::Filter, "OUTPUT", "KUBE-FIREWALL", false, ""),
];

/// Puts in the jumps that are not there, and the chains that they lead to.
pub fn install_jumps(netfilter: &mut Netfilter, config: &ProxyConfig) {
    JUMPS.iter().for_each(|jump| install(netfilter, jump));
    if config.localhost_node_ports {
        install_kubelet_jumps(netfilter);
    }
}

/// Puts in the jumps of the kubelet.
pub fn install_kubelet_jumps(netfilter: &mut Netfilter) {
    KUBELET_JUMPS.iter().for_each(|jump| install(netfilter, jump));
}

/// Puts in a jump if it is not there, before what is there, and the chain that it leads to.
pub(crate) fn install(netfilter: &mut Netfilter, &(table, from, to, is_new, comment): &Jump) {
    let to: Rc<str> = to.into();
    let mut rule = RuleSpec::new(Target::Jump(to.clone()));
    if is_new {
        let new = CtMatch::state(Wanted::is(ct_state::NEW));
        rule.matches.push(Match::Conntrack(new));
    }
    if !comment.is_empty() {
        rule.matches.push(Match::Comment(comment.to_string()));
    }
    let has_chain = netfilter.table(table).is_some_and(|table| table.chain(&to).is_some());
    let has_rule = netfilter.table(table).is_some_and(|table| table.find(from, &rule).is_ok());
    if !has_chain || !has_rule {
        netfilter.edit(table, |table| {
            table.ensure_chain(&to);
            if !has_rule {
                // The chain is built in and the rule fits every table.
                let _ = table.insert(from, 1, rule);
            }
        });
    }
}
