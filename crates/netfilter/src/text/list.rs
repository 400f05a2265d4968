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

/// The chains of a table, or one of them.
pub fn list(table: &Table, only: Option<&Chain>, options: ListOptions) -> String {
    let mut out = String::new();
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
        out.push_str(" in     out   ");
    }
    out.push_str(&format!("  {:<19}  {:<19} \n", "source", "destination"));
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
    let target = match &spec.target {
        Target::Continue => "",
        Target::Accept => "ACCEPT",
        Target::Drop => "DROP",
        Target::Return => "RETURN",
        Target::Jump(chain) | Target::Goto(chain) => chain,
        Target::Ext(ext) => ext.name(),
    };
    let _ = write!(out, "{target:<9} ");
    let (not, protocol) = match &header.protocol {
        // With -n, 1.8.9 prints the protocol as a number (netfilter bug 1729).
        Some(Wanted { not, value }) if options.numeric => (*not, value.to_string()),
        Some(Wanted { not, value }) => (*not, protocol_word(*value)),
        None => (false, if options.numeric { "0" } else { "all" }.to_string()),
    };
    let _ = write!(out, "{}{protocol:<5}", if not { "!" } else { " " });
    out.push_str(match &header.fragment {
        None => "--  ",
        Some(Wanted { not: false, .. }) => "-f  ",
        Some(Wanted { not: true, .. }) => "!f  ",
    });
    if options.verbose {
        for pattern in [&header.iif, &header.oif] {
            let _ = write!(out, "{:<6} ", interface(pattern));
        }
    }
    for addr in [&header.src, &header.dst] {
        let (bang, shown) = address(addr, options.numeric);
        let pad = if options.verbose || bang == "!" { "" } else { " " };
        let _ = write!(
            out,
            "{}{shown:<19} ",
            if bang.is_empty() { if options.verbose { " " } else { pad } } else { "!" }
        );
    }
    if matches!(spec.target, Target::Goto(_)) {
        out.push_str("[goto] ");
    }
    for m in &spec.matches {
        m.list(out);
    }
    if let Target::Ext(ext) = &spec.target {
        ext.list(out);
    }
    out.push('\n');
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
