//! The parts of a rule.

use std::rc::Rc;

use super::super::error::Failure;
use super::super::field::{Field, Meta};
use super::super::lex::{Span, Token};
use super::super::model::{
    Action, Data, Expr, Fib, FibResult, Limit, Op, Ref, Right, Rule, Source, Stmt, Update, UpdateOp,
};
use super::super::print::interval;
use super::super::value::{Raw, RawKind, Type, pop_key};
use super::expr::tells_protocol;
use super::{Cursor, Parsed};
use packet::services;

/// What is known of a packet that has come so far in a rule.
#[derive(Default)]
pub(super) struct Facts {
    /// The protocol behind the IP header.
    pub(super) protocol: Option<u8>,
    /// The protocol has been asked for, one or several.
    pub(super) has_protocol: bool,
    /// It has been asked for these.
    several: Vec<u8>,
    /// Where it was asked for.
    pub(super) span: Option<Span>,
    /// The comparison that only asks for the protocol: a later field of that protocol makes it needless.
    needless: Option<usize>,
    /// A field has been looked at that the needless comparison is needless for.
    is_needless: bool,
}

impl Facts {
    /// A field is looked at. Fails where packets that have it cannot have come so far.
    pub(super) fn looks_at(&mut self, field: &'static Field, span: Span) -> Parsed<&'static Field> {
        let mut known = self.protocol.into_iter().chain(self.several.iter().copied());
        if let Some(wanted) = field.protocol()
            && let Some(known) = known.find(|known| *known != wanted)
        {
            let name = |number: u8| services::protocol_name(number).unwrap_or("unknown");
            let message =
                format!("conflicting protocols specified: {} vs. {}", name(known), name(wanted));
            return Err(Failure::at(message, span));
        }
        let field = self.protocol.map_or(field, |known| field.of_protocol(known));
        if let Some(protocol) = field.protocol() {
            self.is_needless |= self.needless.is_some();
            self.asks_for(protocol, span);
        }
        Ok(field)
    }

    pub(super) fn asks_for(&mut self, protocol: u8, span: Span) {
        self.protocol = Some(protocol);
        self.has_protocol = true;
        self.span = Some(span);
    }

    /// A statement that needs packets of the protocol to have come so far, and asks for it itself.
    pub(super) fn needs_protocol(&mut self) {
        self.is_needless |= self.needless.is_some();
    }
}

impl Cursor {
    /// A rule, to its end.
    pub fn rule(&mut self) -> Parsed<Rule> {
        let mut facts = Facts::default();
        let mut stmts: Vec<Stmt> = Vec::new();
        let mut last: Option<Span> = None;
        let mut rule = Rule { handle: 0, stmts: Vec::new(), comment: None };
        while !self.is_end() && !self.is_sign("}") && self.word() != "comment" {
            let begin = self.span();
            let stmt = self.stmt(&mut facts)?;
            let span = begin.to(self.before());
            if let Some(last) = last {
                let message = "Statement after terminal statement has no effect";
                return Err(Failure::at(message, span).and(last));
            }
            if is_terminal(&stmt) {
                last = Some(span);
            }
            if std::mem::take(&mut facts.is_needless)
                && let Some(at) = facts.needless.take()
            {
                stmts.remove(at);
            }
            match &stmt {
                Stmt::Match { left, op, right } => {
                    let field = left.field().filter(|field| tells_protocol(field));
                    if field.is_some() && matches!(op, Op::Implicit | Op::Eq) {
                        facts.has_protocol = true;
                        facts.span = Some(span);
                        if let Right::Set(Source::Own(set)) = right {
                            facts.several =
                                set.elements.keys().filter_map(|key| key.last().copied()).collect();
                        }
                        if let Right::Value(value) = right {
                            facts.asks_for(*value as u8, span);
                            facts.needless = Some(stmts.len());
                        }
                    }
                }
                _ => facts.needless = None,
            }
            if !(self.in_ip && says_ip(&stmt)) {
                stmts.push(stmt);
            }
        }
        if stmts.is_empty() {
            return Err(self.unexpected(""));
        }
        if self.eat("comment") {
            rule.comment = Some(self.comment()?);
        }
        rule.stmts = stmts;
        Ok(rule)
    }

    fn stmt(&mut self, facts: &mut Facts) -> Parsed<Stmt> {
        let begin = self.span();
        if let Some(action) = self.action()? {
            return Ok(Stmt::Verdict(action));
        }
        let word = self.word().to_string();
        let next = match self.after() {
            Token::Word(next) => next.clone(),
            _ => String::new(),
        };
        match (word.as_str(), next.as_str()) {
            ("counter", _) => {
                self.step();
                if self.eat("name") {
                    return Ok(Stmt::Named(self.counter_name()?));
                }
                let (packets, bytes) = self.counts()?;
                Ok(Stmt::Counter(packets, bytes))
            }
            ("limit", _) => self.limit(),
            ("log", _) => self.log(),
            ("reject", _) => self.reject(facts),
            ("dnat" | "snat" | "masquerade" | "redirect", _) => self.nat(facts),
            ("notrack", _) => {
                self.step();
                Ok(Stmt::Notrack)
            }
            ("add" | "update" | "delete", _) => self.update(facts),
            ("set", "add" | "update" | "delete") => {
                self.step();
                self.old_update(facts)
            }
            ("mark", "set") => {
                self.at += 2;
                Ok(Stmt::SetMark(self.new_mark(facts)?))
            }
            ("meta" | "ct", "mark") if self.sets_third() => {
                self.at += 3;
                let expr = self.new_mark(facts)?;
                Ok(if word == "ct" { Stmt::SetCtMark(expr) } else { Stmt::SetMark(expr) })
            }
            ("meta" | "ct" | "ip" | "tcp" | "udp", _) if self.sets_third() => {
                let span = begin.to(self.after_span());
                Err(Failure::unsupported(&format!("{word} {next} set"), span))
            }
            (
                "queue" | "dup" | "fwd" | "synproxy" | "quota" | "tproxy" | "flow" | "meter"
                | "last" | "secmark" | "xt",
                _,
            ) => Err(Failure::unsupported(&word, begin)),
            ("ct", "count") => Err(Failure::unsupported("ct count", begin.to(self.after_span()))),
            _ if self.begins_expr() => self.comparison(facts),
            // A word that nothing begins with: nft's parser asks what comes behind it.
            ("", _) => Err(self.unexpected("")),
            _ => {
                self.step();
                Err(self.unexpected(""))
            }
        }
    }

    fn after_span(&self) -> Span {
        self.tokens.get(self.at + 1).map_or(self.span(), |(_, span)| *span)
    }

    /// The third token from here is `set`.
    fn sets_third(&self) -> bool {
        matches!(self.tokens.get(self.at + 2), Some((Token::Word(word), _)) if word == "set")
    }

    fn counter_name(&mut self) -> Parsed<Ref> {
        let begin = self.span();
        let name = self.text()?;
        Ok({
            let span = begin.to(self.before());
            Ref { name: name.into(), handle: 0, span, about: span }
        })
    }

    /// `KEY vmap …`, or a comparison.
    fn comparison(&mut self, facts: &mut Facts) -> Parsed<Stmt> {
        let begin = self.span();
        let known = (facts.protocol, facts.span);
        let left = self.expr(facts)?;
        let span = begin.to(self.before());
        if self.eat("vmap") {
            let mut source = self.source(&left, None, facts)?;
            if let Source::Named(map) = &mut source {
                map.about = span;
            }
            return Ok(Stmt::Vmap(left, source));
        }
        let op = match self.token() {
            Token::Sign("==") => Op::Eq,
            Token::Sign("!=") => Op::Ne,
            Token::Sign("<") => Op::Lt,
            Token::Sign(">") => Op::Gt,
            Token::Sign("<=") => Op::Le,
            Token::Sign(">=") => Op::Ge,
            Token::Word(word) => match word.as_str() {
                "eq" => Op::Eq,
                "ne" => Op::Ne,
                "lt" => Op::Lt,
                "gt" => Op::Gt,
                "le" => Op::Le,
                "ge" => Op::Ge,
                _ => Op::Implicit,
            },
            _ => Op::Implicit,
        };
        if op != Op::Implicit {
            self.step();
        }
        // What is excluded says nothing about the packets that go on.
        if op == Op::Ne && left.field().is_some_and(tells_protocol) {
            (facts.protocol, facts.span) = known;
        }
        self.right(left, op, span, facts.has_protocol)
    }

    fn right(&mut self, left: Expr, op: Op, span: Span, knows_protocol: bool) -> Parsed<Stmt> {
        let types = left.types();
        if self.is_sign("@") {
            let set = Ref { about: span, ..self.set_ref()? };
            return Ok(Stmt::Match { left, op, right: Right::Set(Source::Named(set)) });
        }
        let ty = types.first().copied().unwrap_or(Type::Number(4));
        if self.is_sign("{") {
            let (set, all) = self.own_set(&types, None)?;
            // A set of one element is that element.
            if let (1, [only]) = (types.len(), all.as_slice())
                && let Some(key) = &only.key
            {
                let low = only.element.low.as_ref().unwrap_or(key);
                let right = interval(ty, pop_key(low, ty).0, pop_key(key, ty).0, true);
                return Ok(simplify(left, op, right, ty));
            }
            return Ok(Stmt::Match { left, op, right: Right::Set(Source::Own(set)) });
        }
        let first = self.raw()?;
        if types.len() > 1 {
            let whole = if self.is_sign(".") {
                let mut whole = first.span;
                while self.eat_sign(".") {
                    whole = whole.to(self.raw()?.span);
                }
                whole
            } else {
                first.span
            };
            let message = "Use concatenations with sets and maps, not singleton values";
            return Err(Failure::at(message, span).and(whole));
        }
        if self.eat_sign(".") {
            let whole = first.span.to(self.raw()?.span);
            return Err(Failure::at("Can't parse symbolic invalid expressions", whole));
        }
        let raw =
            if self.is_sign(",") && ty.is_flags() { self.raw_flags(first, ",")? } else { first };
        if self.is_sign("/") && ty.is_flags() {
            return self.masked_flags(left, op, raw, ty);
        }
        if let (Type::Exists, RawKind::Word(word), Expr::Fib(fib)) = (ty, &raw.kind, &left) {
            if word == "0" {
                let left = Expr::Fib(Fib { result: FibResult::Index, ..fib.clone() });
                return Ok(simplify(left, op, Right::Value(0), Type::Number(4)));
            }
            if word != "exists" && word != "missing" {
                return Err(Failure::unsupported("fib … oif with a name", raw.span));
            }
        }
        if let Some(field) = left.field()
            && field.name.contains(" proto-")
            && !knows_protocol
        {
            return Err(Failure::at("Can't parse symbolic invalid expressions", raw.span));
        }
        let right = raw.right(ty)?;
        let is_list = matches!(raw.kind, RawKind::Flags(_));
        let op = if is_list && op == Op::Eq { Op::Eq } else { op };
        Ok(simplify(left, op, right, ty))
    }

    /// `tcp flags syn / syn,ack`
    fn masked_flags(&mut self, left: Expr, op: Op, value: Raw, ty: Type) -> Parsed<Stmt> {
        self.step();
        let first = self.raw()?;
        let mask = if self.is_sign(",") { self.raw_flags(first, ",")? } else { first };
        let op = if op == Op::Implicit { Op::Eq } else { op };
        let (mask, value) = (mask.single(ty)?, value.single(ty)?);
        let left = Expr::Masked { of: Box::new(left), mask, xor: 0 };
        Ok(Stmt::Match { left, op, right: Right::Value(value) })
    }

    fn set_ref(&mut self) -> Parsed<Ref> {
        let begin = self.span();
        self.sign("@", "@")?;
        let (name, span) = self.name()?;
        let span = begin.to(span);
        Ok(Ref { name: name.into(), handle: 0, span, about: span })
    }

    /// Where a key is looked up: `@map` or `{ … }`. `wanted`: what the map has; else verdicts.
    pub(super) fn source(
        &mut self,
        key: &Expr,
        wanted: Option<&[Type]>,
        _facts: &mut Facts,
    ) -> Parsed<Source> {
        if self.is_sign("@") {
            return Ok(Source::Named(self.set_ref()?));
        }
        let data = wanted.map_or(Data::Verdicts, |types| Data::Values(types.into()));
        let (set, _) = self.own_set(&key.types(), Some(data))?;
        Ok(Source::Own(set))
    }

    /// `limit rate over 5/minute burst 10 packets`
    fn limit(&mut self) -> Parsed<Stmt> {
        let begin = self.span();
        self.step();
        if self.word() == "name" {
            return Err(Failure::unsupported("limit name", begin.to(self.span())));
        }
        self.keyword("rate")?;
        let mut limit =
            Limit { rate: 0, unit: 1, burst: 5, bytes: false, over: false, bucket: None };
        limit.over = self.eat("over");
        if !limit.over {
            self.eat("until");
        }
        (limit.rate, _) = self.number()?;
        let mut unit = String::new();
        if self.eat_sign("/") {
            unit = self.word().to_string();
            self.step();
        } else if let Some((size, time)) =
            self.word().split_once('/').map(|(a, b)| (a.to_string(), b.to_string()))
        {
            limit.rate = limit
                .rate
                .saturating_mul(bytes_of(&size).ok_or_else(|| self.unexpected("string"))?);
            (limit.bytes, limit.burst, unit) = (true, 0, time);
            self.step();
        }
        let units =
            [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400), ("week", 604_800)];
        match units.iter().find(|(name, _)| *name == unit) {
            Some((_, seconds)) => limit.unit = *seconds,
            None => return Err(self.unexpected("second or minute or hour or day or week")),
        }
        if self.eat("burst") {
            let (burst, _) = self.number()?;
            let scale = match self.word() {
                "packets" => 1,
                word => bytes_of(word).ok_or_else(|| self.unexpected("bytes or string"))?,
            };
            self.step();
            limit.burst = u32::try_from(burst.saturating_mul(scale)).unwrap_or(u32::MAX);
        }
        if limit.rate == 0 {
            return Err(Failure::kernel("Invalid argument", begin.to(self.before())));
        }
        if limit.is_too_large() {
            let message = "Value too large for defined data type";
            return Err(Failure::kernel(message, begin.to(self.before())));
        }
        Ok(Stmt::Limit(Box::new(limit)))
    }

    /// `update @set { ip saddr timeout 5s }`
    fn update(&mut self, facts: &mut Facts) -> Parsed<Stmt> {
        let begin = self.span();
        let op = self.update_op();
        let set = self.set_ref()?;
        self.sign("{", "'{'")?;
        let mut update = self.update_key(op, set, facts)?;
        if self.eat_sign(":") {
            let begin = self.span();
            update.data = Some(match self.begins_expr() {
                true => self.expr(facts)?,
                false => {
                    return Err(Failure::unsupported(
                        "a constant for an element that a rule adds",
                        begin,
                    ));
                }
            });
        }
        self.sign("}", "comma or '}'")?;
        update.span = begin.to(self.before());
        Ok(Stmt::Update(Box::new(update)))
    }

    /// `set update ip saddr @set`
    fn old_update(&mut self, facts: &mut Facts) -> Parsed<Stmt> {
        let op = self.update_op();
        let nowhere = Ref { name: Rc::from(""), handle: 0, span: self.span(), about: self.span() };
        let mut update = self.update_key(op, nowhere, facts)?;
        update.set = self.set_ref()?;
        Ok(Stmt::Update(Box::new(update)))
    }

    fn update_op(&mut self) -> UpdateOp {
        let op = match self.word() {
            "add" => UpdateOp::Add,
            "delete" => UpdateOp::Delete,
            _ => UpdateOp::Update,
        };
        self.step();
        op
    }

    fn update_key(&mut self, op: UpdateOp, set: Ref, facts: &mut Facts) -> Parsed<Update> {
        let begin = self.span();
        let key = self.expr(facts)?;
        let set = Ref { about: begin.to(self.before()), ..set };
        let mut update =
            Update { op, span: set.span, set, key, data: None, timeout: None, counter: false };
        loop {
            match self.word() {
                "timeout" => {
                    self.step();
                    update.timeout = Some(self.time()?);
                }
                "counter" => {
                    self.step();
                    self.counts()?;
                    update.counter = true;
                }
                "limit" | "quota" | "ct" => {
                    return Err(Failure::unsupported(
                        &format!("{} of an element", self.word()),
                        self.span(),
                    ));
                }
                _ => return Ok(update),
            }
        }
    }
}

fn bytes_of(unit: &str) -> Option<u64> {
    match unit {
        "bytes" => Some(1),
        "kbytes" => Some(1 << 10),
        "mbytes" => Some(1 << 20),
        _ => None,
    }
}

/// In a table of the family `ip` it says nothing, and the kernel is not told.
fn says_ip(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Match { left, op: Op::Implicit | Op::Eq, right: Right::Value(0x0800) } => {
            left.field().is_some_and(|field| field.is_meta(Meta::Protocol))
        }
        _ => false,
    }
}

fn is_terminal(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Verdict(action) => !matches!(action, Action::Continue),
        Stmt::Reject(_) | Stmt::Nat(_) => true,
        _ => false,
    }
}

/// The comparison as nft prints it after the kernel has had it.
fn simplify(left: Expr, op: Op, right: Right, ty: Type) -> Stmt {
    let (Expr::Masked { of, mask, xor }, Right::Value(value)) = (&left, &right) else {
        return Stmt::Match { left, op: plain(op, ty), right };
    };
    let all = ty.max();
    if *mask == all && matches!(op, Op::Implicit | Op::Eq | Op::Ne) {
        return simplify(*of.clone(), op, Right::Value(value ^ xor), ty);
    }
    if *xor == 0 && ty.is_flags() && op == Op::Ne && *value == 0 {
        return Stmt::Match { left: *of.clone(), op: Op::Implicit, right: Right::Value(*mask) };
    }
    let free = all & !mask;
    if *xor == 0
        && ty.has_prefixes()
        && free & free.wrapping_add(1) == 0
        && matches!(op, Op::Implicit | Op::Eq)
    {
        let len = ty.bits() - (128 - free.leading_zeros());
        return Stmt::Match {
            left: *of.clone(),
            op: Op::Implicit,
            right: Right::Prefix(value & mask, len),
        };
    }
    let op = if op == Op::Implicit { Op::Eq } else { op };
    Stmt::Match { left, op, right }
}

/// For anything but flags `==` says no more than nothing does.
fn plain(op: Op, ty: Type) -> Op {
    if op == Op::Eq && !ty.is_flags() { Op::Implicit } else { op }
}
