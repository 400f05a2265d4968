//! What a kubelet itself keeps in its node's tables (`pkg/kubelet/kubelet_network_linux.go`).

use base::{Duration, Instant};
use kube_proxy::canary::Canary;
use kube_proxy::iptables::localnet_firewall;
use kube_proxy::jumps::install_kubelet_jumps;
use netfilter::{Netfilter, TableName};
use netsim::{Net, NsId};

/// The kubelet's hand in its node's tables.
#[derive(Debug)]
pub(crate) struct Tables {
    ns: NsId,
    canary: Canary,
}

impl Tables {
    pub(crate) fn new(ns: NsId, now: Instant) -> Tables {
        Tables { ns, canary: Canary::new("KUBE-KUBELET-CANARY", Duration::from_secs(60), now) }
    }

    pub(crate) fn next_at(&self) -> Instant {
        self.canary.next_at()
    }

    /// Sees whether its chains are still there, and puts them in again if they are not.
    pub(crate) fn work(&mut self, net: &Net, now: Instant) {
        if self.next_at() > now {
            return;
        }
        net.with_netfilter(self.ns, |netfilter| {
            if self.canary.look(netfilter, now) {
                install(netfilter);
            }
        });
    }
}

/// Puts in what is missing (`syncIPTablesRules`).
fn install(netfilter: &mut Netfilter) {
    // Others see by it which kind of iptables is in use.
    netfilter.edit(TableName::Mangle, |mangle| mangle.ensure_chain(&"KUBE-IPTABLES-HINT".into()));
    install_kubelet_jumps(netfilter);
    netfilter.edit(TableName::Filter, |filter| {
        let drop = localnet_firewall();
        if filter.find("KUBE-FIREWALL", &drop).is_err() {
            // The chain has just been made if it was not there.
            let _ = filter.append("KUBE-FIREWALL", drop);
        }
    });
}
