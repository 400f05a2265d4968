//! The table in our own netfilter.

use std::cell::RefCell;
use std::fmt;

use base::{Instant, Rng};
use kube_proxy::nftables::{Engine, Tables};
use netfilter::Netfilter;

pub(crate) struct Ours {
    netfilter: RefCell<Netfilter>,
}

impl fmt::Debug for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ours")
    }
}

/// One is as good as another.
impl PartialEq for Ours {
    fn eq(&self, _: &Ours) -> bool {
        true
    }
}

impl Ours {
    pub(crate) fn new() -> Ours {
        Ours { netfilter: RefCell::new(Netfilter::new(Rng::new(1))) }
    }

    /// Does what the lines say.
    pub(crate) fn run(&self, lines: &str) -> Result<(), String> {
        Engine::new(&mut self.netfilter.borrow_mut(), Instant::ZERO).run(lines)
    }

    /// What stands in the table, as [`super::Kernel::lines`] has it.
    pub(crate) fn lines(&self) -> Vec<String> {
        let netfilter = &mut self.netfilter.borrow_mut();
        let engine = Engine::new(netfilter, Instant::ZERO);
        let chains = engine.chains().into_iter();
        let mut lines: Vec<String> =
            chains.map(|(name, rules)| format!("chain {name} {rules}")).collect();
        for set in engine.sets() {
            lines.push(format!("set {set}"));
            for (key, value) in engine.elements(&set).unwrap_or_default() {
                lines.push(format!("element {set} {key} {value}"));
            }
        }
        for map in [
            "service-ips",
            "firewall-ips",
            "no-endpoint-services",
            "no-endpoint-nodeports",
            "service-nodeports",
        ] {
            let Some(elements) = engine.elements(map) else { continue };
            lines.push(format!("map {map}"));
            for (key, value) in elements {
                lines.push(format!("element {map} {key} {value}"));
            }
        }
        lines.sort();
        lines
    }
}
