//! What a rule looks at.

use super::super::error::Failure;
use super::super::field::{Field, Meta};
use super::super::lex::Token;
use super::super::model::{Expr, Fib, FibResult, Numgen};
use super::super::value::{RawKind, Type};
use super::rule::Facts;
use super::{Cursor, Parsed};

/// Words that can begin an expression and that podwire does not know.
const UNKNOWN: [&str; 24] = [
    "ip6", "ether", "vlan", "arp", "rt", "socket", "osf", "jhash", "symhash", "exthdr", "icmpv6",
    "igmp", "ah", "esp", "comp", "udplite", "dccp", "hbh", "frag", "dst", "ipsec", "xfrm", "gre",
    "geneve",
];

const META_KEYS: &str = "length, protocol, priority, mark, iif, oif, iifname, oifname, iiftype, oiftype, skuid, \
    skgid, nftrace, rtclassid, secmark, nfproto, l4proto, ibrname, obrname, pkttype, cpu, iifgroup, oifgroup, \
    cgroup, random, ipsec, iifkind, oifkind, ibrpvid, ibrvproto, time, day, hour, sdif, sdifname";

impl Cursor {
    /// Whether an expression begins here.
    pub(super) fn begins_expr(&self) -> bool {
        let word = self.word();
        let known = "ip tcp udp sctp th icmp meta ct fib numgen mark iif oif iifname oifname skuid skgid pkttype";
        !word.is_empty() && (known.split(' ').any(|begin| begin == word) || UNKNOWN.contains(&word))
    }

    /// A field, or several with dots between, with what is done to it.
    pub(super) fn expr(&mut self, facts: &mut Facts) -> Parsed<Expr> {
        let first = self.masked(facts)?;
        if !self.is_sign(".") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.eat_sign(".") {
            parts.push(self.masked(facts)?);
        }
        Ok(Expr::Concat(parts))
    }

    /// `meta mark and 0xff or 1`
    pub(super) fn masked(&mut self, facts: &mut Facts) -> Parsed<Expr> {
        let of = self.primary(facts)?;
        let ty = of.types().first().copied().unwrap_or(Type::Number(4));
        let all = ty.max();
        let (mut mask, mut xor, mut is_changed) = (all, 0, false);
        loop {
            let op = match self.token() {
                Token::Sign("&") => "and",
                Token::Sign("|") => "or",
                Token::Sign("^") => "xor",
                Token::Word(word) if ["and", "or", "xor"].contains(&word.as_str()) => {
                    match word.as_str() {
                        "and" => "and",
                        "or" => "or",
                        _ => "xor",
                    }
                }
                Token::Sign("<<" | ">>") => {
                    return Err(Failure::unsupported("shifts", self.span()));
                }
                _ => break,
            };
            self.step();
            let value = self.constant(ty)?;
            is_changed = true;
            match op {
                "and" => (mask, xor) = (mask & value, xor & value),
                "or" => (mask, xor) = (mask & !value, xor & !value | value),
                _ => xor ^= value,
            }
        }
        match is_changed {
            true => Ok(Expr::Masked { of: Box::new(of), mask: mask & all, xor: xor & all }),
            false => Ok(of),
        }
    }

    /// A constant after an operator: one value, or several in parentheses.
    fn constant(&mut self, ty: Type) -> Parsed<u128> {
        if !self.eat_sign("(") {
            let span = self.span();
            let text = match self.token() {
                Token::Word(text) | Token::Number(text) | Token::Quoted(text) => text.clone(),
                _ => return Err(self.unexpected("")),
            };
            self.step();
            return ty.parse(&text).map_err(|message| Failure::at(message, span));
        }
        let raw = self.raw()?;
        self.sign(")", "')'")?;
        raw.single(ty)
    }

    fn primary(&mut self, facts: &mut Facts) -> Parsed<Expr> {
        let begin = self.span();
        let word = self.word().to_string();
        match word.as_str() {
            "fib" => return self.fib(),
            "numgen" => return self.numgen(),
            "ip6" => {
                let span = begin.to(self.tokens.get(self.at + 1).map_or(begin, |(_, span)| *span));
                return Err(Failure::at("conflicting protocols specified: ip vs. ip6", span));
            }
            _ if UNKNOWN.contains(&word.as_str()) => {
                return Err(Failure::unsupported(&word, begin));
            }
            _ => {}
        }
        let field = self.field(&word)?;
        let span = begin.to(self.before());
        if field.is_meta(Meta::Nfproto) && self.in_ip {
            return Err(Failure::at("meta nfproto is only useful in the inet family", span));
        }
        facts.looks_at(field, span).map(Expr::Field)
    }

    fn field(&mut self, word: &str) -> Parsed<&'static Field> {
        let begin = self.span();
        let name = match word {
            "mark" | "skuid" | "skgid" | "pkttype" => format!("meta {word}"),
            "iif" | "oif" | "iifname" | "oifname" => word.to_string(),
            "ip" | "tcp" | "udp" | "sctp" | "th" | "icmp" | "meta" => {
                self.step();
                let key = self.word();
                match key {
                    "iif" | "oif" | "iifname" | "oifname" if word == "meta" => key.to_string(),
                    _ => format!("{word} {key}"),
                }
            }
            "ct" => {
                self.step();
                self.ct_name()
            }
            _ => return Err(self.unexpected("")),
        };
        if let Some(field) = Field::named(&name) {
            self.step();
            return Ok(field);
        }
        let is_known = match word {
            "meta" => META_KEYS.split(", ").any(|key| key == self.word()),
            "icmp" => ["id", "sequence", "mtu", "gateway"].contains(&self.word()),
            "tcp" => ["option", "reserved"].contains(&self.word()),
            "ip" => ["option", "ecn"].contains(&self.word()),
            "ct" => {
                ["helper", "label", "zone", "l3proto", "avgpkt", "id", "event", "count", "secmark"]
                    .contains(&self.word())
            }
            _ => false,
        };
        let span = begin.to(self.span());
        if is_known {
            return Err(Failure::unsupported(&format!("{word} {}", self.word()), span));
        }
        if let ("meta", Token::Word(key)) = (word, self.token()) {
            return Err(Failure::syntax(
                &format!("unexpected {key}, known keys are {META_KEYS}"),
                span,
            ));
        }
        Err(self.unexpected(""))
    }

    /// The name of a field of a connection; stops at its last word.
    fn ct_name(&mut self) -> String {
        let direction = self.word().to_string();
        if direction != "original" && direction != "reply" {
            return format!("ct {direction}");
        }
        self.step();
        self.eat("ip");
        match self.word() {
            key @ ("saddr" | "daddr") => format!("ct {direction} ip {key}"),
            // It is the same either way.
            "protocol" => "ct protocol".to_string(),
            key => format!("ct {direction} {key}"),
        }
    }

    /// `fib daddr . iif type`
    fn fib(&mut self) -> Parsed<Expr> {
        self.step();
        let mut fib =
            Fib { of_source: false, mark: false, iif: false, oif: false, result: FibResult::Type };
        let begin = self.span();
        let mut has_addr = false;
        loop {
            match self.word() {
                "saddr" => (fib.of_source, has_addr) = (true, true),
                "daddr" => has_addr = true,
                "mark" => fib.mark = true,
                "iif" => fib.iif = true,
                "oif" => fib.oif = true,
                _ => return Err(self.unexpected("")),
            }
            self.step();
            if !self.eat_sign(".") {
                break;
            }
        }
        fib.result = match self.word() {
            "type" => FibResult::Type,
            "oif" => FibResult::Oif,
            "oifname" => return Err(Failure::unsupported("fib … oifname", begin.to(self.span()))),
            _ => return Err(self.unexpected("type or oif or oifname")),
        };
        self.step();
        let span = begin.to(self.before());
        if !has_addr {
            return Err(Failure::kernel("Invalid argument", span));
        }
        if fib.result == FibResult::Oif && !(fib.of_source && fib.iif) {
            return Err(Failure::unsupported("fib … oif of anything but saddr . iif", span));
        }
        Ok(Expr::Fib(fib))
    }

    /// `numgen inc mod 2 offset 5`
    fn numgen(&mut self) -> Parsed<Expr> {
        let begin = self.span();
        self.step();
        let random = match self.word() {
            "random" => true,
            "inc" => false,
            _ => return Err(self.unexpected("random or inc")),
        };
        self.step();
        self.keyword("mod")?;
        let (modulus, _) = self.number()?;
        let offset = if self.eat("offset") { self.number()?.0 } else { 0 };
        let (modulus, offset) = (modulus as u32, offset as u32);
        if modulus == 0 {
            return Err(Failure::kernel("Numerical result out of range", begin.to(self.before())));
        }
        if offset.checked_add(modulus - 1).is_none() {
            return Err(Failure::kernel(
                "Value too large for defined data type",
                begin.to(self.before()),
            ));
        }
        Ok(Expr::Numgen(Numgen { random, modulus, offset, turn: 0 }))
    }

    /// What a packet's or a connection's mark is set to.
    pub(super) fn new_mark(&mut self, facts: &mut Facts) -> Parsed<Expr> {
        if !self.begins_expr() {
            let raw = self.raw()?;
            if matches!(raw.kind, RawKind::Prefix(..) | RawKind::Range(..) | RawKind::Any) {
                return Err(Failure::at("you cannot set a range of values", raw.span));
            }
            return Ok(Expr::Value(Type::Mark, raw.single(Type::Mark)?));
        }
        let expr = self.expr(facts)?;
        self.mapped(expr, facts, &[Type::Mark])
    }

    /// `KEY map @map`; without `map` the key itself.
    pub(super) fn mapped(&mut self, key: Expr, facts: &mut Facts, wanted: &[Type]) -> Parsed<Expr> {
        if !self.eat("map") {
            // A mark kept as it is, whatever was done to it, is just the mark.
            return Ok(match key {
                Expr::Masked { of, mask, xor: 0 } if mask == Type::Mark.max() => *of,
                key => key,
            });
        }
        let source = self.source(&key, Some(wanted), facts)?;
        Ok(Expr::Map(Box::new(key), source, wanted.into()))
    }
}

/// Whether a field tells the protocol of what follows the IP header.
pub(super) fn tells_protocol(field: &Field) -> bool {
    field.is_meta(Meta::L4proto) || field.name == "ip protocol"
}
