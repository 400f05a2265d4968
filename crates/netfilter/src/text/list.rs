//! `iptables -L`.

use std::fmt::Write as _;

use super::protocol_word;
use crate::iface::IfPattern;
use crate::rule::{AddrMask, RuleSpec, Target, Wanted};
use crate::table::{Chain, Counters, Rule, Table};

/// How `iptables -L` is to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// `-n`: numbers, no names.
    pub numeric: bool,
    /// `-v`: counters and interfaces.
    pub verbose: bool,
    /// `-x`: counters in full.
    pub exact: bool,
    /// `--line-numbers`
    pub line_numbers: bool,
}

/// The chains of a table, or one of them, or one rule of that.
pub fn list(
    table: &Table,
    only: Option<&Chain>,
    number: Option<u32>,
    options: ListOptions,
) -> String {
    let mut out = String::new();
    if let (Some(chain), Some(number)) = (only, number) {
        if let Some(rule) = chain.rules.get((number as usize).wrapping_sub(1)) {
            row(number as usize, rule, options, &mut out);
        }
        return out;
    }
    let chains = table.chains().filter(|chain| only.is_none_or(|only| only.name == chain.name));
    for (at, chain) in chains.enumerate() {
        if at > 0 {
            out.push('\n');
        }
        list_chain(chain, options, &mut out);
    }
    out
}

fn list_chain(chain: &Chain, options: ListOptions, out: &mut String) {
    let _ = write!(out, "Chain {} (", chain.name);
    match chain.policy {
        Some(policy) => {
            let _ = write!(out, "policy {policy}");
            if options.verbose {
                let Counters { packets, bytes } = chain.counters;
                let exact = options.exact;
                let _ = write!(
                    out,
                    " {} packets, {} bytes",
                    short(packets, exact),
                    short(bytes, exact)
                );
            }
        }
        None => {
            let _ = write!(out, "{} references", chain.references);
        }
    }
    out.push_str(")\n");
    head(options, out);
    for (at, rule) in chain.rules.iter().enumerate() {
        row(at + 1, rule, options, out);
    }
}

fn head(options: ListOptions, out: &mut String) {
    if options.line_numbers {
        out.push_str("num  ");
    }
    if options.verbose {
        out.push_str(if options.exact { "    pkts      bytes " } else { " pkts bytes " });
    }
    out.push_str("target     prot opt");
    if options.verbose {
        out.push_str(" in     out    ");
    }
    out.push_str(&format!(" {:<19}  {:<19} \n", "source", "destination"));
}

fn row(number: usize, rule: &Rule, options: ListOptions, out: &mut String) {
    let spec: &RuleSpec = &rule.spec;
    let header = &spec.header;
    if options.line_numbers {
        let _ = write!(out, "{number:<4} ");
    }
    if options.verbose {
        for count in [rule.counters.packets, rule.counters.bytes] {
            let _ = match options.exact {
                true => write!(out, "{count:>8} "),
                false => write!(out, "{:>5} ", short(count, false)),
            };
        }
    }
    let target = target_word(&spec.target);
    let _ = write!(out, "{target:<9} ");
    let (not, protocol) = match &header.protocol {
        // With -n, 1.8.9 prints the protocol as a number (netfilter bug 1729).
        Some(Wanted { not, value }) if options.numeric => (*not, value.to_string()),
        Some(Wanted { not, value }) => (*not, protocol_word(*value)),
        None => (false, if options.numeric { "0" } else { "all" }.to_string()),
    };
    let _ = write!(out, "{}{protocol:<5}", if not { "!" } else { " " });
    out.push_str(match &header.fragment {
        None => "-- ",
        Some(Wanted { not: false, .. }) => "-f ",
        Some(Wanted { not: true, .. }) => "!f ",
    });
    if options.verbose {
        out.push(' ');
        for pattern in [&header.iif, &header.oif] {
            let _ = write!(out, "{:<6} ", interface(pattern));
        }
    }
    for addr in [&header.src, &header.dst] {
        let (bang, shown) = address(addr, options.numeric);
        let bang = if bang.is_empty() { " " } else { bang };
        let _ = write!(out, "{bang}{shown:<19} ");
    }
    details(spec, out);
    out.push('\n');
}

/// What `iptables -v -A` says of the rule it adds.
pub(crate) fn describe(spec: &RuleSpec) -> String {
    let header = &spec.header;
    let mut out = String::new();
    let (not, protocol) = match &header.protocol {
        Some(w) => (w.bang().trim_end(), protocol_word(w.value)),
        None => ("", "all".to_string()),
    };
    let fragment = match header.fragment {
        None => "--",
        Some(Wanted { not: false, .. }) => "-f",
        Some(Wanted { not: true, .. }) => "!f",
    };
    let (iif, oif) = (interface(&header.iif), interface(&header.oif));
    let [src, dst] = [&header.src, &header.dst].map(|addr| {
        let (bang, shown) = address(addr, true);
        format!("{bang}{shown}")
    });
    let target = target_word(&spec.target);
    let _ = write!(
        out,
        "{target}  {not}{protocol} opt {fragment} in {iif} out {oif}  {src}  -> {dst}  "
    );
    details(spec, &mut out);
    out.push('\n');
    out
}

fn target_word(target: &Target) -> &str {
    match target {
        Target::Continue => "",
        Target::Accept => "ACCEPT",
        Target::Drop => "DROP",
        Target::Return => "RETURN",
        Target::Jump(chain) | Target::Goto(chain) => chain,
        Target::Ext(ext) => ext.listed_name(),
    }
}

/// What the matches and the target say.
fn details(spec: &RuleSpec, out: &mut String) {
    if matches!(spec.target, Target::Goto(_)) {
        out.push_str("[goto] ");
    }
    for m in &spec.matches {
        m.list(out);
    }
    if let Target::Ext(ext) = &spec.target {
        ext.list(out);
    }
}

fn interface(pattern: &Option<Wanted<IfPattern>>) -> String {
    match pattern {
        None => "*".to_string(),
        Some(Wanted { not, value }) => format!("{}{value}", if *not { "!" } else { "" }),
    }
}

fn address(addr: &Option<Wanted<AddrMask>>, numeric: bool) -> (&'static str, String) {
    let Some(Wanted { not, value }) = addr else {
        return ("", if numeric { "0.0.0.0/0" } else { "anywhere" }.to_string());
    };
    let shown = if value.mask == u32::MAX { value.addr.to_string() } else { value.to_string() };
    (if *not { "!" } else { "" }, shown)
}

/// Counters as iptables shortens them (`xtables_print_num`).
fn short(count: u64, exact: bool) -> String {
    if exact || count <= 99_999 {
        return count.to_string();
    }
    let mut count = count;
    for unit in ["K", "M", "G"] {
        count = (count + 500) / 1000;
        if count <= 9999 {
            return format!("{count}{unit}");
        }
    }
    format!("{}T", (count + 500) / 1000)
}
