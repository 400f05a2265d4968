//! The rules as kube-proxy pipes them to `iptables-restore --noflush --counters`: its own order of
//! arguments, which is not the one `iptables-save` prints.

use std::fmt::Write as _;

use netfilter::ext::recent::Action;
use netfilter::ext::statistic::Mode;
use netfilter::ext::{Match, TargetExt};
use netfilter::rule::{AddrMask, Wanted};
use netfilter::{RuleSpec, Target};

use crate::iptables::{Plan, TablePlan};

/// The input of `iptables-restore`.
pub fn restore_input(plan: &Plan) -> String {
    let mut out = String::new();
    table("filter", &plan.filter, &mut out);
    table("nat", &plan.nat, &mut out);
    out
}

fn table(name: &str, plan: &TablePlan, out: &mut String) {
    let _ = writeln!(out, "*{name}");
    for chain in &plan.chains {
        let _ = writeln!(out, ":{chain} - [0:0]");
    }
    for (chain, spec) in &plan.rules {
        let _ = writeln!(out, "-A {chain}{}", arguments(spec));
    }
    out.push_str("COMMIT\n");
}

fn arguments(spec: &RuleSpec) -> String {
    let mut out = String::new();
    let header = &spec.header;
    let mut dst = header.dst.as_ref();
    for m in &spec.matches {
        match m {
            Match::Comment(text) if text.contains(' ') => {
                let _ = write!(out, " -m comment --comment \"{text}\"");
            }
            Match::Comment(text) => {
                let _ = write!(out, " -m comment --comment {text}");
            }
            Match::Tcp(tcp) => {
                out.push_str(" -m tcp -p tcp");
                address(" -d ", dst.take(), &mut out);
                if let Some(dport) = &tcp.dport {
                    let _ = write!(out, " --dport {}", dport.value);
                }
            }
            Match::Udp(ports) => {
                out.push_str(" -m udp -p udp");
                address(" -d ", dst.take(), &mut out);
                if let Some(dport) = &ports.dport {
                    let _ = write!(out, " --dport {}", dport.value);
                }
            }
            Match::Sctp(ports) => {
                out.push_str(" -m sctp -p sctp");
                address(" -d ", dst.take(), &mut out);
                if let Some(dport) = &ports.dport {
                    let _ = write!(out, " --dport {}", dport.value);
                }
            }
            Match::Conntrack(ct) => {
                // The one rule that says addresses before the connection's state.
                if header.src.is_some() {
                    address(" -d ", dst.take(), &mut out);
                    address(" -s ", header.src.as_ref(), &mut out);
                }
                if let Some(state) = &ct.state {
                    let names = netfilter::trace::ct_state_names(state.value);
                    let bang = if state.not { "! " } else { "" };
                    let _ = write!(out, " -m conntrack {bang}--ctstate {names}");
                }
            }
            other => extension(other, &mut out),
        }
    }
    let is_said = spec.matches.iter().any(|m| matches!(m, Match::Conntrack(_)));
    address(" -d ", dst.filter(|_| !is_said || header.src.is_none()), &mut out);
    address(" -s ", header.src.as_ref().filter(|_| !is_said), &mut out);
    target(&spec.target, &mut out);
    out
}

fn address(option: &str, wanted: Option<&Wanted<AddrMask>>, out: &mut String) {
    let Some(Wanted { not, value }) = wanted else { return };
    let bang = if *not { " !" } else { "" };
    match value.prefix_len() {
        Some(32) => out.push_str(&format!("{bang}{option}{}", value.addr)),
        _ => out.push_str(&format!("{bang}{option}{value}")),
    }
}

fn extension(m: &Match, out: &mut String) {
    let _ = match m {
        Match::Mark(mark) => {
            let (value, mask) = mark.wanted.value;
            let bang = if mark.wanted.not { "! " } else { "" };
            write!(out, " -m mark {bang}--mark {value:#010x}/{mask:#010x}")
        }
        Match::Addrtype(addr) => {
            let word = if addr.src.is_some() { "--src-type" } else { "--dst-type" };
            write!(out, " -m addrtype {word} LOCAL")
        }
        Match::Recent(recent) => match recent.action.value {
            Action::Set => write!(out, " -m recent --name {} --set", recent.name),
            _ => {
                let seconds = recent.seconds.unwrap_or(0);
                write!(out, " -m recent --name {} --rcheck --seconds {seconds} --reap", recent.name)
            }
        },
        Match::Statistic(statistic) => match statistic.mode.value {
            Mode::Random(share) => {
                let share = f64::from(share) / 2_147_483_648.0;
                // The kernel keeps 31 bits; what was written is the fraction of a whole number.
                let written = 1.0 / (1.0 / share).round();
                write!(out, " -m statistic --mode random --probability {written:.10}")
            }
            Mode::Nth { every, packet } => {
                write!(out, " -m statistic --mode nth --every {every} --packet {packet}")
            }
        },
        _ => Ok(()),
    };
}

fn target(target: &Target, out: &mut String) {
    let _ = match target {
        Target::Continue => Ok(()),
        Target::Accept => write!(out, " -j ACCEPT"),
        Target::Drop => write!(out, " -j DROP"),
        Target::Return => write!(out, " -j RETURN"),
        Target::Jump(chain) | Target::Goto(chain) => write!(out, " -j {chain}"),
        Target::Ext(TargetExt::Reject(_)) => write!(out, " -j REJECT"),
        Target::Ext(TargetExt::Mark(set)) if set.mask == 0 => {
            write!(out, " -j MARK --xor-mark {:#010x}", set.value)
        }
        Target::Ext(TargetExt::Mark(set)) => write!(out, " -j MARK --or-mark {:#010x}", set.value),
        Target::Ext(TargetExt::Nat(nat)) => {
            let rule = RuleSpec::new(Target::Ext(TargetExt::Nat(nat.clone())));
            write!(out, " {rule}")
        }
        // kube-proxy writes no other.
        Target::Ext(other) => write!(out, " -j {}", other.name()),
    };
}
