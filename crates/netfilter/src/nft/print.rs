//! Rules, sets and tables as `nft list` prints them.

use std::fmt::Write as _;

use base::{Instant, order};

use super::model::{
    Action, Chain, Counter, Data, Element, Expr, Fib, FibResult, Limit, Nat, NatKind, Op, Right,
    Rule, Set, Source, Stmt, Table, Update, UpdateOp, Value, flags,
};
use super::parse::object::PRIORITIES;
use super::value::{Key, Style, Type, name_text, pop_key, prefix_of, time_text};
use crate::ext::log::Log;
use crate::ext::reject::Reject;
use crate::table::Policy;

/// What a text is printed of: a table's names, how, and when.
#[derive(Clone, Copy)]
pub struct Printer<'a> {
    /// The table.
    pub table: &'a Table,
    /// How.
    pub style: Style,
    /// For what is left of times.
    pub now: Instant,
}

/// An expression without sets with names.
pub fn expr(expr: &Expr, style: Style, out: &mut String) {
    match expr {
        Expr::Field(field) => out.push_str(field.name),
        Expr::Fib(of) => fib(of, out),
        Expr::Numgen(numgen) => {
            let mode = if numgen.random { "random" } else { "inc" };
            let _ = write!(out, "numgen {mode} mod {}", numgen.modulus);
            if numgen.offset != 0 {
                let _ = write!(out, " offset {}", numgen.offset);
            }
        }
        Expr::Concat(parts) => {
            for (at, part) in parts.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { " . " });
                self::expr(part, style, out);
            }
        }
        Expr::Masked { of, mask, xor } => {
            self::expr(of, style, out);
            let ty = of.types().first().copied().unwrap_or(Type::Number(4));
            let (or, and) = (xor & !mask, mask | (xor & !mask));
            for (sign, value, is_there) in [
                ('&', and, and != ty.max()),
                ('^', xor & mask, xor & mask != 0),
                ('|', or, or != 0),
            ] {
                if is_there {
                    let _ = write!(out, " {sign} ");
                    constant(ty, value, style, out);
                }
            }
        }
        Expr::Map(key, ..) => self::expr(key, style, out),
        Expr::Value(ty, value) => ty.print(*value, style, out),
    }
}

/// A value behind an operator: several flags in parentheses.
fn constant(ty: Type, value: u128, style: Style, out: &mut String) {
    if ty.is_flags() && value.count_ones() > 1 {
        let _ = write!(out, "({})", ty.flags(value as u32, " | ", style));
    } else {
        ty.print(value, style, out);
    }
}

fn fib(fib: &Fib, out: &mut String) {
    out.push_str(if fib.of_source { "fib saddr" } else { "fib daddr" });
    for (word, is_there) in [(" . mark", fib.mark), (" . iif", fib.iif), (" . oif", fib.oif)] {
        out.push_str(if is_there { word } else { "" });
    }
    out.push_str(match fib.result {
        FibResult::Type => " type",
        FibResult::Oif | FibResult::Index => " oif",
    });
}

/// What all values between two are written as. `typed`: as the right side of a comparison.
pub fn interval(ty: Type, low: u128, high: u128, typed: bool) -> Right {
    if low == high {
        return Right::Value(low);
    }
    let prefix = prefix_of(low, high, ty.bits());
    match prefix {
        Some(len) if ty.is_text() => Right::Beginning(low, len / 8),
        Some(len) if ty == Type::Addr || (ty.has_prefixes() && !typed) => Right::Prefix(low, len),
        _ => Right::Range(low, high),
    }
}

/// `10.0.0.0/8`, `80-90`, `"veth*"`
fn bounds(ty: Type, right: &Right, style: Style, out: &mut String) {
    match right {
        Right::Value(value) => ty.print(*value, style, out),
        Right::Beginning(value, _) => {
            let _ = write!(out, "\"{}*\"", name_text(*value));
        }
        Right::Prefix(value, len) => {
            ty.print(*value, style, out);
            let _ = write!(out, "/{len}");
        }
        Right::Range(low, high) => {
            ty.print(*low, style, out);
            out.push('-');
            ty.print(*high, style, out);
        }
        Right::Set(_) => {}
    }
}

impl Printer<'_> {
    /// `jump chain`
    pub fn action(&self, action: &Action, out: &mut String) {
        let (word, target) = match action {
            Action::Accept => ("accept", None),
            Action::Drop => ("drop", None),
            Action::Continue => ("continue", None),
            Action::Return => ("return", None),
            Action::Jump(target) => ("jump ", Some(target)),
            Action::Goto(target) => ("goto ", Some(target)),
        };
        out.push_str(word);
        if let Some(target) = target {
            out.push_str(&target.name);
        }
    }

    fn source(&self, source: &Source, out: &mut String) {
        match source {
            Source::Named(set) => {
                let _ = write!(out, "@{}", set.name);
            }
            Source::Own(set) => {
                out.push_str("{ ");
                self.elements(set, true, out);
                out.push_str(" }");
            }
        }
    }

    fn expr(&self, of: &Expr, out: &mut String) {
        expr(of, self.style, out);
        if let Expr::Map(_, source, _) = of {
            out.push_str(" map ");
            self.source(source, out);
        }
    }

    /// A rule without its handle.
    pub fn rule(&self, rule: &Rule, out: &mut String) {
        for (at, stmt) in rule.stmts.iter().enumerate() {
            out.push_str(if at == 0 { "" } else { " " });
            self.stmt(stmt, out);
        }
        if let Some(comment) = &rule.comment {
            let _ = write!(out, " comment \"{comment}\"");
        }
    }

    /// A part of a rule.
    pub fn stmt(&self, stmt: &Stmt, out: &mut String) {
        match stmt {
            Stmt::Match { left, op, right } => self.comparison(left, *op, right, out),
            Stmt::Vmap(key, source) => {
                self.expr(key, out);
                out.push_str(" vmap ");
                self.source(source, out);
            }
            Stmt::Verdict(action) => self.action(action, out),
            Stmt::Counter(packets, bytes) => {
                out.push_str("counter");
                self.counts((*packets, *bytes), out);
            }
            Stmt::Named(counter) => {
                let _ = write!(out, "counter name \"{}\"", counter.name);
            }
            Stmt::Limit(limit) => limit_text(limit, out),
            Stmt::Log(log) => log_text(log, out),
            Stmt::Reject(with) => reject(*with, self.style, out),
            Stmt::Nat(nat) => self.nat(nat, out),
            Stmt::SetMark(expr) => {
                out.push_str("meta mark set ");
                self.expr(expr, out);
            }
            Stmt::SetCtMark(expr) => {
                out.push_str("ct mark set ");
                self.expr(expr, out);
            }
            Stmt::Notrack => out.push_str("notrack"),
            Stmt::Update(update) => self.update(update, out),
        }
    }

    fn counts(&self, (packets, bytes): (u64, u64), out: &mut String) {
        if !self.style.stateless {
            let _ = write!(out, " packets {packets} bytes {bytes}");
        }
    }

    /// `ip saddr != 10.0.0.0/8`
    pub fn comparison(&self, left: &Expr, op: Op, right: &Right, out: &mut String) {
        let ty = left.types().first().copied().unwrap_or(Type::Number(4));
        if let (Expr::Masked { of, mask, xor: 0 }, Right::Value(value), Type::TcpFlag) =
            (left, right, ty)
            && matches!(op, Op::Eq | Op::Ne)
        {
            let sign = if op == Op::Ne { " !=" } else { "" };
            let flags = |value: u128| ty.flags(value as u32, ",", self.style);
            expr(of, self.style, out);
            let _ = write!(out, "{sign} {} / {}", flags(*value), flags(*mask));
            return;
        }
        self.expr(left, out);
        out.push(' ');
        out.push_str(match op {
            Op::Implicit => "",
            Op::Eq => "== ",
            Op::Ne => "!= ",
            Op::Lt => "< ",
            Op::Gt => "> ",
            Op::Le => "<= ",
            Op::Ge => ">= ",
        });
        match right {
            Right::Set(source) => self.source(source, out),
            Right::Value(value)
                if ty == Type::TcpFlag && op == Op::Implicit && *value == ty.max() =>
            {
                out.push_str("!= 0x0");
            }
            Right::Value(value) if ty.is_flags() => {
                let between = if op == Op::Implicit { "," } else { " | " };
                out.push_str(&ty.flags(*value as u32, between, self.style));
            }
            _ => bounds(ty, right, self.style, out),
        }
    }

    fn nat(&self, nat: &Nat, out: &mut String) {
        let has_addr = matches!(nat.kind, NatKind::Dnat | NatKind::Snat);
        out.push_str(match nat.kind {
            NatKind::Dnat => "dnat",
            NatKind::Snat => "snat",
            NatKind::Masquerade => "masquerade",
            NatKind::Redirect => "redirect",
        });
        if let Some(map) = &nat.map {
            out.push_str(if map.has_port() { " ip to " } else { " to " });
            if !has_addr {
                out.push(':');
            }
            self.expr(map, out);
        } else if has_addr || nat.range.ports.is_some() {
            out.push_str(" to ");
            if let Some((low, high)) = nat.range.addrs {
                let (low, high) = (u32::from(low).into(), u32::from(high).into());
                bounds(Type::Addr, &interval(Type::Addr, low, high, false), self.style, out);
            }
            if let Some((low, high)) = nat.range.ports {
                let _ = write!(out, ":{low}");
                if low != high {
                    let _ = write!(out, "-{high}");
                }
            }
        }
        let range = &nat.range;
        let mut before = " ";
        for (word, is_set) in [
            ("random", range.random),
            ("fully-random", range.random_fully),
            ("persistent", range.persistent),
        ] {
            if is_set {
                let _ = write!(out, "{before}{word}");
                before = ",";
            }
        }
    }

    fn update(&self, update: &Update, out: &mut String) {
        out.push_str(match update.op {
            UpdateOp::Add => "add",
            UpdateOp::Update => "update",
            UpdateOp::Delete => "delete",
        });
        let _ = write!(out, " @{} {{ ", update.set.name);
        self.expr(&update.key, out);
        if let Some(timeout) = update.timeout {
            let _ = write!(out, " timeout {}", time_text(timeout, self.style));
        }
        if update.counter {
            out.push_str(" counter");
        }
        if let Some(data) = &update.data {
            out.push_str(" : ");
            self.expr(data, out);
        }
        out.push_str(" }");
    }

    /// The elements of a set with what stands between them.
    pub fn elements(&self, set: &Set, in_line: bool, out: &mut String) {
        let mut sorted = Vec::new();
        for (key, element) in &set.elements {
            if element.is_alive(self.now) {
                sorted.push((sort_key(set, key, element), key, element));
            }
        }
        order::sort_by(&mut sorted, |a, b| a.0.cmp(&b.0));
        let per_line = match set.keys.as_ref() {
            [ty] => ty.on_a_line(),
            _ => 0,
        };
        let mut count = 0;
        let mut between = "";
        let mut next = |out: &mut String| {
            out.push_str(between);
            count += 1;
            between = ", ";
            if !in_line && count >= per_line {
                count = 0;
                between = ",\n\t\t\t     ";
            }
        };
        for (_, key, element) in &sorted {
            next(out);
            self.element(set, Some(key), element, out);
        }
        if let Some(any) = &set.any {
            next(out);
            self.element(set, None, any, out);
        }
    }

    /// `1.2.3.4 . 80 : goto chain`; without a key `*`.
    pub fn element(&self, set: &Set, key: Option<&Key>, element: &Element, out: &mut String) {
        match key {
            Some(high) => {
                key_text(set, element.low.as_ref().unwrap_or(high), high, self.style, out)
            }
            None => out.push('*'),
        }
        if let Some(counter) = element.counter {
            out.push_str(" counter");
            self.counts(counter, out);
        }
        if let Some(timeout) = element.timeout {
            let _ = write!(out, " timeout {}", time_text(timeout, self.style));
        }
        if let Some(expires) = element.expires.filter(|_| !self.style.stateless) {
            let left = expires.since(self.now).as_millis() as u64;
            let _ = write!(out, " expires {}", time_text(left, self.style));
        }
        if let Some(comment) = &element.comment {
            let _ = write!(out, " comment \"{comment}\"");
        }
        match (&element.value, &set.data) {
            (Some(Value::Action(action)), _) => {
                out.push_str(" : ");
                self.action(action, out);
            }
            (Some(Value::Key(key)), Some(Data::Values(types))) => {
                out.push_str(" : ");
                values(types, key, self.style, out);
            }
            _ => {}
        }
    }

    /// A chain in braces; its rules only if asked for.
    pub fn chain(&self, chain: &Chain, with_rules: bool, out: &mut String) {
        let _ = writeln!(out, "\tchain {} {{{}", chain.name, self.handle(chain.handle));
        comment(chain.comment.as_deref(), "\t\t", out);
        if let Some(base) = &chain.base {
            let (kind, hook) = (base.kind.name(), hook_name(base.hook));
            let _ = write!(out, "\t\ttype {kind} hook {hook} priority ");
            self.priority(base, out);
            let policy = match base.policy {
                Policy::Accept => "accept",
                Policy::Drop => "drop",
            };
            let _ = writeln!(out, "; policy {policy};");
        }
        for rule in chain.rules.iter().filter(|_| with_rules) {
            out.push_str("\t\t");
            self.rule(rule, out);
            let _ = writeln!(out, "{}", self.handle(rule.handle));
        }
        out.push_str("\t}\n");
    }

    fn priority(&self, base: &super::model::Base, out: &mut String) {
        let value = base.priority;
        let near = PRIORITIES.iter().find(|(_, known, _)| value.abs_diff(*known) <= 10);
        let named = near.filter(|(.., only)| {
            !self.style.numeric_priority && only.is_none_or(|only| only == base.hook)
        });
        let _ = match named {
            None => write!(out, "{value}"),
            Some((name, known, _)) => match value - known {
                0 => write!(out, "{name}"),
                more if more > 0 => write!(out, "{name} + {more}"),
                less => write!(out, "{name} - {}", -less),
            },
        };
    }

    /// ` # handle 5`, where handles are asked for.
    pub fn handle(&self, handle: u64) -> String {
        if self.style.handles { format!(" # handle {handle}") } else { String::new() }
    }

    /// A set or map in braces.
    pub fn set(&self, set: &Set, out: &mut String) {
        let word = if set.data.is_some() { "map" } else { "set" };
        let _ = writeln!(out, "\t{word} {} {{{}", set.name, self.handle(set.handle));
        match &set.type_of {
            Some(text) => {
                let _ = writeln!(out, "\t\ttypeof {text}");
            }
            None => {
                out.push_str("\t\ttype ");
                types(&set.keys, out);
                match &set.data {
                    None => {}
                    Some(Data::Verdicts) => out.push_str(" : verdict"),
                    Some(Data::Values(data)) => {
                        out.push_str(" : ");
                        types(data, out);
                    }
                }
                out.push('\n');
            }
        }
        if set.memory {
            out.push_str("\t\tpolicy memory\n");
        }
        if let Some(size) = set.size {
            let _ = writeln!(out, "\t\tsize {size}");
        }
        let names = flags::NAMES.iter().filter(|(flag, _)| set.flags & flag != 0);
        let names: Vec<_> = names.map(|(_, name)| *name).collect();
        if !names.is_empty() {
            let _ = writeln!(out, "\t\tflags {}", names.join(","));
        }
        if set.counter {
            out.push_str("\t\tcounter\n");
        }
        if let Some(timeout) = set.timeout {
            let _ = writeln!(out, "\t\ttimeout {}", time_text(timeout, self.style));
        }
        if let Some(interval) = set.gc_interval {
            let _ = writeln!(out, "\t\tgc-interval {}", time_text(interval, self.style));
        }
        if set.auto_merge {
            out.push_str("\t\tauto-merge\n");
        }
        comment(set.comment.as_deref(), "\t\t", out);
        let is_there =
            set.any.is_some() || set.elements.iter().any(|(_, element)| element.is_alive(self.now));
        if is_there && !self.style.terse {
            out.push_str("\t\telements = { ");
            self.elements(set, false, out);
            out.push_str(" }\n");
        }
        out.push_str("\t}\n");
    }

    /// A counter in braces.
    pub fn counter(&self, counter: &Counter, out: &mut String) {
        let _ = writeln!(out, "\tcounter {} {{{}", counter.name, self.handle(counter.handle));
        comment(counter.comment.as_deref(), "\t\t", out);
        if !self.style.stateless {
            let (packets, bytes) = counter.count;
            let _ = writeln!(out, "\t\tpackets {packets} bytes {bytes}");
        }
        out.push_str("\t}\n");
    }

    /// `table ip name {`
    pub fn begin(&self, out: &mut String) {
        let Table { family, name, handle, .. } = self.table;
        let _ = writeln!(out, "table {} {name} {{{}", family.name(), self.handle(*handle));
    }

    /// The whole table.
    pub fn table(&self, out: &mut String) {
        let table = self.table;
        self.begin(out);
        let mut between = "";
        if table.dormant {
            out.push_str("\tflags dormant\n");
            between = "\n";
        }
        comment(table.comment.as_deref(), "\t", out);
        for (_, counter) in &table.counters {
            out.push_str(std::mem::replace(&mut between, "\n"));
            self.counter(counter, out);
        }
        for (_, set) in &table.sets {
            out.push_str(std::mem::replace(&mut between, "\n"));
            self.set(set, out);
        }
        for (_, chain) in &table.chains {
            out.push_str(std::mem::replace(&mut between, "\n"));
            self.chain(chain, true, out);
        }
        out.push_str("}\n");
    }
}

fn comment(comment: Option<&str>, indent: &str, out: &mut String) {
    if let Some(comment) = comment {
        let _ = writeln!(out, "{indent}comment \"{comment}\"");
    }
}

/// nft's word for a hook.
pub fn hook_name(hook: crate::hook::Hook) -> &'static str {
    use crate::hook::Hook::{Forward, Input, Output, Postrouting, Prerouting};
    match hook {
        Prerouting => "prerouting",
        Input => "input",
        Forward => "forward",
        Output => "output",
        Postrouting => "postrouting",
    }
}

fn types(types: &[Type], out: &mut String) {
    for (at, ty) in types.iter().enumerate() {
        out.push_str(if at == 0 { "" } else { " . " });
        out.push_str(ty.name());
    }
}

/// The values of a key with dots between.
pub fn values(types: &[Type], key: &[u8], style: Style, out: &mut String) {
    let mut rest = key;
    for (at, ty) in types.iter().enumerate() {
        let (value, left) = pop_key(rest, *ty);
        rest = left;
        out.push_str(if at == 0 { "" } else { " . " });
        ty.print(value, style, out);
    }
}

/// An element's key, or the interval between two.
pub fn key_text(set: &Set, low: &[u8], high: &[u8], style: Style, out: &mut String) {
    let (mut low, mut high) = (low, high);
    for (at, ty) in set.keys.iter().enumerate() {
        let (from, rest_low) = pop_key(low, *ty);
        let (to, rest_high) = pop_key(high, *ty);
        (low, high) = (rest_low, rest_high);
        out.push_str(if at == 0 { "" } else { " . " });
        bounds(*ty, &interval(*ty, from, to, false), style, out);
    }
}

/// By what nft sorts elements: a number; of several values their bytes in memory, read as one number by a
/// little-endian machine (`concat_expr_msort_value`).
///
/// Intervals of several parts are not sorted.
fn sort_key(set: &Set, key: &Key, element: &Element) -> Vec<u8> {
    let key = element.low.as_ref().unwrap_or(key);
    if set.has_intervals() && set.keys.len() > 1 {
        return element.order.to_be_bytes().to_vec();
    }
    if let [ty] = set.keys.as_ref() {
        return match ty.is_text() && !set.has_intervals() {
            true => key.iter().rev().copied().collect(),
            false => key.to_vec(),
        };
    }
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_slice();
    for ty in &set.keys {
        let (part, left) = rest.split_at_checked(ty.bytes()).unwrap_or((rest, &[]));
        rest = left;
        match ty.is_host_order() && !ty.is_text() {
            true => bytes.extend(part.iter().rev()),
            false => bytes.extend_from_slice(part),
        }
    }
    bytes.reverse();
    bytes
}

fn reject(with: Reject, style: Style, out: &mut String) {
    match with {
        Reject::TcpReset => out.push_str("reject with tcp reset"),
        _ if with == Reject::default() => out.push_str("reject"),
        Reject::Icmp(error) => {
            let known = super::parse::ERRORS.iter().find(|(.., known)| *known == error);
            let code = known.map_or(3, |known| known.1);
            out.push_str("reject with icmp ");
            Type::IcmpCode.print(code.into(), style, out);
        }
    }
}

fn limit_text(limit: &Limit, out: &mut String) {
    let unit = match limit.unit {
        1 => "second",
        60 => "minute",
        3600 => "hour",
        86_400 => "day",
        _ => "week",
    };
    out.push_str(if limit.over { "limit rate over " } else { "limit rate " });
    if limit.bytes {
        let (rate, size) = scaled(limit.rate);
        let _ = write!(out, "{rate} {size}/{unit}");
        if limit.burst != 0 {
            let (burst, size) = scaled(limit.burst.into());
            let _ = write!(out, " burst {burst} {size}");
        }
        return;
    }
    let _ = write!(out, "{}/{unit}", limit.rate);
    if limit.burst != 5 && limit.burst != 0 {
        let _ = write!(out, " burst {} packets", limit.burst);
    }
}

fn scaled(bytes: u64) -> (u64, &'static str) {
    match bytes {
        0 => (0, "bytes"),
        _ if bytes.is_multiple_of(1 << 20) => (bytes >> 20, "mbytes"),
        _ if bytes.is_multiple_of(1 << 10) => (bytes >> 10, "kbytes"),
        _ => (bytes, "bytes"),
    }
}

fn log_text(log: &Log, out: &mut String) {
    out.push_str("log");
    let prefix = match log {
        Log::Kernel { prefix, .. } | Log::Group { prefix, .. } => prefix,
    };
    if !prefix.is_empty() {
        let _ = write!(out, " prefix \"{prefix}\"");
    }
    match log {
        Log::Group { group, size, threshold, .. } => {
            let _ = write!(out, " group {group}");
            if let Some(size) = size {
                let _ = write!(out, " snaplen {size}");
            }
            if *threshold != 0 {
                let _ = write!(out, " queue-threshold {threshold}");
            }
        }
        Log::Kernel { level, flags, .. } => {
            if let Some(name) =
                super::parse::LEVELS.get(usize::from(*level)).filter(|_| *level != 4)
            {
                let _ = write!(out, " level {name}");
            }
            if *flags == 47 {
                out.push_str(" flags all");
                return;
            }
            let mut last = "";
            for (of, word, bit) in super::parse::LOG_FLAGS {
                if flags & bit == 0 {
                    continue;
                }
                let _ = match (of == last, word.is_empty()) {
                    (true, _) => write!(out, ",{word}"),
                    (false, true) => write!(out, " flags {of}"),
                    (false, false) => write!(out, " flags {of} {word}"),
                };
                last = of;
            }
        }
    }
}
