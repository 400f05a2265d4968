//! Our router: the same rules, the same packets, the hooks that a forwarded packet passes.

use std::net::Ipv4Addr;

use base::Rng;
use netfilter::conntrack::command::{self, Run};
use netfilter::conntrack::text;
use netfilter::ext::addrtype::AddrType;
use netfilter::text::{RestoreOptions, restore};
use netfilter::{CtInfo, CtSlot, Hook, HookInput, IfName, Netfilter, Skb, Surroundings, Verdict};
use packet::Packet;

use super::Said;
use super::kernel::split;
use super::script::{Scenario, Side, State, Step, settled};

pub(crate) struct Router {
    netfilter: Netfilter,
}

struct Node;

impl Surroundings for Node {
    fn addr_type(&self, _: Ipv4Addr, _: Option<IfName>) -> AddrType {
        AddrType::Unicast
    }

    fn masquerade_source(&self) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::new(10, 2, 0, 1))
    }

    fn primary_address(&self, _: IfName) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::new(10, 1, 0, 1))
    }
}

/// The rules of both routers. The first ones count. `has_nat`: the nat table is there though nothing is in it,
/// as once it has been loaded into a kernel's namespace.
pub(crate) fn ruleset(scenario: &Scenario, has_nat: bool) -> String {
    let count = ["NEW", "ESTABLISHED", "RELATED", "INVALID"]
        .map(|state| format!("-A PREROUTING -m conntrack --ctstate {state}\n"))
        .concat();
    let nat = &scenario.nat;
    let filter = &scenario.filter;
    let nat =
        if nat.is_empty() && !has_nat { String::new() } else { format!("*nat\n{nat}\nCOMMIT\n") };
    format!("*mangle\n{count}-A PREROUTING\nCOMMIT\n*filter\n{filter}\nCOMMIT\n{nat}")
}

impl Router {
    pub(crate) fn new(scenario: &Scenario, _: base::Instant) -> Router {
        let mut netfilter = Netfilter::new(Rng::new(1));
        restore(&mut netfilter, &ruleset(scenario, false), RestoreOptions::default()).unwrap();
        Router { netfilter }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.netfilter.conntrack_mut().settings.set(name, value).unwrap();
    }

    pub(crate) fn pass(
        &mut self,
        side: Side,
        packet: Packet,
        _: &Step,
        now: base::Instant,
    ) -> (Said, Vec<u64>) {
        let mut skb = Skb::new(packet);
        let iif = IfName::new(if side == Side::A { "ra" } else { "rb" });
        let mut accepted = self.hook(Hook::Prerouting, iif, IfName::NONE, &mut skb, now);
        let state = match skb.ct {
            CtSlot::Tracked { info: CtInfo::New, .. } => State::New,
            CtSlot::Tracked { info: CtInfo::Established(_), .. } => State::Established,
            CtSlot::Tracked { info: CtInfo::Related(_), .. } => State::Related,
            CtSlot::None | CtSlot::Untracked => State::Invalid,
        };
        let to = if skb.packet.head().dst.octets()[1] == 1 { Side::A } else { Side::B };
        let oif = IfName::new(if to == Side::A { "ra" } else { "rb" });
        for hook in [Hook::Forward, Hook::Postrouting] {
            let iif = if hook == Hook::Postrouting { IfName::NONE } else { iif };
            accepted = accepted && self.hook(hook, iif, oif, &mut skb, now);
        }
        // A router sends nothing on to one of its own addresses.
        let is_local = skb.packet.head().dst.octets()[3] == 1;
        let sent = (accepted && !is_local).then(|| (to, settled(skb.packet.bytes())));
        let listed = text::list(self.netfilter.conntrack(), now);
        let (lines, times) = split(listed.lines());
        (Said { state, lines, sent }, times)
    }

    /// Runs our `conntrack`: what it prints, and its exit code.
    pub(crate) fn program(&mut self, args: &[&str], now: base::Instant) -> (String, String, i32) {
        match command::run(args, self.netfilter.conntrack_mut(), now, 1) {
            Run::Done(output) => (output.stdout, output.stderr, output.code.into()),
            Run::Listen(_) => panic!("{args:?} does not end"),
        }
    }

    fn hook(
        &mut self,
        hook: Hook,
        iif: IfName,
        oif: IfName,
        skb: &mut Skb,
        now: base::Instant,
    ) -> bool {
        let input = HookInput { hook, iif, oif, now, surroundings: &Node };
        matches!(self.netfilter.hook(&input, skb, None), Verdict::Accept)
    }
}
