//! `ip rule`.

use std::fmt::Write as _;

use netfilter::IfName;
use netsim::route::RouteKind;
use netsim::rule::{PolicyRule, RuleAction};

use super::{Answer, Call, Fail, is, number, prefix, table, table_name, unknown};

pub(super) fn run(mut call: Call<'_>) -> Answer {
    let verb = call.next().unwrap_or("show");
    match verb {
        _ if is(verb, "show") || is(verb, "list") || verb == "lst" => show(call),
        _ if is(verb, "add") => add(call),
        _ if is(verb, "delete") => delete(call),
        _ if is(verb, "flush") => {
            call.change()?;
            call.net.flush_rules(call.ns);
            Ok(String::new())
        }
        "save" | "restore" => Err(Fail::unsupported(&format!("'ip rule {verb}'"))),
        _ => Err(unknown(verb, "rule")),
    }
}

fn show(mut call: Call<'_>) -> Answer {
    if let Some(word) = call.next() {
        return Err(Fail::unsupported(&format!("'ip rule show {word}'")));
    }
    let mut out = String::new();
    for rule in call.net.rules(call.ns) {
        let _ = writeln!(out, "{}", line(&call, &rule));
    }
    Ok(out)
}

fn line(call: &Call<'_>, rule: &PolicyRule) -> String {
    let mut out = format!("{}:\t", rule.priority);
    let place = |prefix: netsim::Cidr| match prefix.len {
        32 => prefix.addr.to_string(),
        _ => prefix.to_string(),
    };
    if rule.not {
        out.push_str("not ");
    }
    let _ = write!(out, "from {}", rule.from.map_or("all".to_string(), place));
    if let Some(to) = rule.to {
        let _ = write!(out, " to {}", place(to));
    }
    if let Some((mark, mask)) = rule.fwmark {
        let _ = write!(out, " fwmark {mark:#x}");
        if mask != u32::MAX {
            let _ = write!(out, "/{mask:#x}");
        }
    }
    for (word, name) in [("iif", rule.iif), ("oif", rule.oif)] {
        if let Some(name) = name {
            let is_there = call.net.iface_named(call.ns, name.as_str()).is_some();
            let _ = write!(out, " {word} {name}{}", if is_there { "" } else { " [detached]" });
        }
    }
    match rule.action {
        RuleAction::Lookup(id) => {
            let _ = write!(out, " lookup {}", table_name(id));
        }
        RuleAction::Say(kind) => {
            let _ = write!(out, " {}", kind.name());
        }
    }
    out
}

/// What the words ask for, and what of it was said.
#[derive(Default)]
struct Wanted {
    not: bool,
    from: Option<netsim::Cidr>,
    to: Option<netsim::Cidr>,
    fwmark: Option<(u32, u32)>,
    iif: Option<IfName>,
    oif: Option<IfName>,
    action: Option<RuleAction>,
    priority: Option<u32>,
}

fn read(call: &mut Call<'_>, verb: &str) -> Result<Wanted, Fail> {
    let mut wanted = Wanted::default();
    let mut is_empty = true;
    while let Some(word) = call.next() {
        is_empty = false;
        match word {
            "not" => wanted.not = true,
            "from" => wanted.from = some(prefix(call.value()?)?),
            "to" => wanted.to = some(prefix(call.value()?)?),
            "fwmark" => {
                let text = call.value()?;
                let wrong = || Fail::wrong(text, "fwmark value is invalid");
                let (mark, mask) = match text.split_once('/') {
                    Some((mark, mask)) => (mark, number(mask).ok_or_else(wrong)?),
                    None => (text, u32::MAX),
                };
                wanted.fwmark = Some((number(mark).ok_or_else(wrong)?, mask));
            }
            "iif" | "dev" => wanted.iif = Some(IfName::new(call.value()?)),
            "oif" => wanted.oif = Some(IfName::new(call.value()?)),
            "lookup" | "table" => {
                let text = call.value()?;
                let id = table(text)?;
                if id == 0 {
                    return Err(Fail::wrong(text, "invalid table ID"));
                }
                wanted.action = Some(RuleAction::Lookup(id));
            }
            "pref" | "prio" | "priority" | "preference" | "order" => {
                wanted.priority = Some(call.number("preference")?);
            }
            "type" => {}
            "blackhole" | "prohibit" | "unreachable" => {
                let kind = RouteKind::of_name(word).unwrap_or(RouteKind::Unreachable);
                wanted.action = Some(RuleAction::Say(kind));
            }
            "goto"
            | "nop"
            | "nat"
            | "tos"
            | "dsfield"
            | "uidrange"
            | "ipproto"
            | "sport"
            | "dport"
            | "suppress_prefixlength"
            | "suppress_ifgroup"
            | "realms"
            | "l3mdev"
            | "tun_id"
            | "protocol" => {
                return Err(Fail::unsupported(&format!("'ip rule {verb} … {word}'")));
            }
            word => {
                let why = format!("Failed to parse rule type {word}");
                return Err(Fail::wrong(word, &why));
            }
        }
    }
    if is_empty {
        return Err(Fail(format!("\"ip rule {verb}\" requires arguments."), 1));
    }
    Ok(wanted)
}

/// `all` is no condition.
fn some(prefix: netsim::Cidr) -> Option<netsim::Cidr> {
    (prefix.len > 0).then(|| prefix.network())
}

fn add(mut call: Call<'_>) -> Answer {
    let wanted = read(&mut call, "add")?;
    call.change()?;
    let rule = PolicyRule {
        priority: 0,
        not: wanted.not,
        from: wanted.from,
        to: wanted.to,
        fwmark: wanted.fwmark,
        iif: wanted.iif,
        oif: wanted.oif,
        action: wanted.action.unwrap_or(RuleAction::Lookup(254)),
    };
    call.net.add_rule(call.ns, rule, wanted.priority)?;
    Ok(String::new())
}

fn delete(mut call: Call<'_>) -> Answer {
    let wanted = read(&mut call, "del")?;
    call.change()?;
    let fits = |rule: &PolicyRule| {
        wanted.priority.is_none_or(|priority| priority == rule.priority)
            && wanted.action.is_none_or(|action| action == rule.action)
            && (wanted.from.is_none() || wanted.from == rule.from)
            && (wanted.to.is_none() || wanted.to == rule.to)
            && (wanted.fwmark.is_none() || wanted.fwmark == rule.fwmark)
            && (wanted.iif.is_none() || wanted.iif == rule.iif)
            && (wanted.oif.is_none() || wanted.oif == rule.oif)
            && (!wanted.not || rule.not)
    };
    call.net.remove_rule(call.ns, fits)?;
    Ok(String::new())
}
