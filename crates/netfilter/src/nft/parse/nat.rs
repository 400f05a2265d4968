//! The parts of a rule that translate, answer or log.

use std::net::Ipv4Addr;

use packet::reply::Unreachable;

use super::super::error::Failure;
use super::super::lex::{Span, Token};
use super::super::model::{Expr, Nat, NatKind, Right, Stmt};
use super::super::value::Type;
use super::rule::Facts;
use super::{Cursor, Parsed};
use crate::ext::log::Log;
use crate::ext::reject::Reject;
use crate::nat::NatRange;

/// nft's names of ICMP errors, with the code.
pub const ERRORS: [(&str, u8, Unreachable); 7] = [
    ("net-unreachable", 0, Unreachable::Net),
    ("host-unreachable", 1, Unreachable::Host),
    ("prot-unreachable", 2, Unreachable::Protocol),
    ("port-unreachable", 3, Unreachable::Port),
    ("net-prohibited", 9, Unreachable::NetProhibited),
    ("host-prohibited", 10, Unreachable::HostProhibited),
    ("admin-prohibited", 13, Unreachable::AdminProhibited),
];

/// Names of the levels of the kernel's log.
pub const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];

/// Names of what a log line tells besides, and their bits in [`Log::Kernel`].
pub const LOG_FLAGS: [(&str, &str, u8); 5] = [
    ("tcp", "sequence", 1),
    ("tcp", "options", 2),
    ("ip", "options", 4),
    ("skuid", "", 8),
    ("ether", "", 32),
];

impl Cursor {
    /// `reject with icmp port-unreachable`
    pub(super) fn reject(&mut self, facts: &mut Facts) -> Parsed<Stmt> {
        let begin = self.span();
        self.step();
        if !self.eat("with") {
            return Ok(Stmt::Reject(Reject::default()));
        }
        match self.word() {
            "icmp" => {
                self.step();
                self.eat("type");
                let span = self.span();
                let code = match self.token() {
                    Token::Word(text) | Token::Number(text) => {
                        Type::IcmpCode.parse(text).map_err(|message| Failure::at(message, span))?
                    }
                    _ => return Err(self.unexpected("")),
                };
                self.step();
                let known = ERRORS.iter().find(|(_, known, _)| u128::from(*known) == code);
                match known {
                    Some((_, _, error)) => Ok(Stmt::Reject(Reject::Icmp(*error))),
                    None => Err(Failure::unsupported("this ICMP code", span)),
                }
            }
            "tcp" => {
                self.step();
                self.keyword("reset")?;
                if facts.protocol.is_some_and(|protocol| protocol != packet::protocol::TCP) {
                    let message = "you cannot use tcp reset with this protocol";
                    let failure = Failure::at(message, begin);
                    return Err(match facts.span {
                        Some(span) => failure.and(span),
                        None => failure,
                    });
                }
                facts.needs_protocol();
                Ok(Stmt::Reject(Reject::TcpReset))
            }
            "icmpx" => {
                self.step();
                self.eat("type");
                let span = self.span();
                Err(Failure::at("abstracted ICMP unreachable not supported", span).and(begin))
            }
            "icmpv6" => Err(Failure::unsupported("icmpv6", self.span())),
            _ => Err(self.unexpected("icmp or icmpv6 or icmpx or tcp")),
        }
    }

    /// `dnat to 1.2.3.4:80`
    pub(super) fn nat(&mut self, facts: &mut Facts) -> Parsed<Stmt> {
        let begin = self.span();
        let kind = match self.word() {
            "dnat" => NatKind::Dnat,
            "snat" => NatKind::Snat,
            "masquerade" => NatKind::Masquerade,
            _ => NatKind::Redirect,
        };
        self.step();
        let mut nat = Nat { kind, range: NatRange::default(), map: None };
        let has_addr = matches!(kind, NatKind::Dnat | NatKind::Snat);
        let mut with_port = false;
        if has_addr {
            if self.word() == "ip6" {
                return Err(Failure::unsupported("ip6", self.span()));
            }
            if self.eat("ip") && self.eat("addr") {
                self.sign(".", ".")?;
                self.keyword("port")?;
                with_port = true;
            }
            with_port |= self.eat("prefix");
        }
        let has_to = self.eat("to");
        if self.begins_expr() {
            let types: &[Type] = match (has_addr, with_port) {
                (true, false) => &[Type::Addr],
                (true, true) => &[Type::Addr, Type::Port],
                (false, _) => &[Type::Port],
            };
            let key = self.expr(facts)?;
            if self.word() != "map" {
                return Err(Failure::unsupported("an address taken from the packet", begin));
            }
            nat.map = Some(self.mapped(key, facts, types)?);
        } else if has_addr || has_to {
            if has_addr && !self.is_sign(":") {
                nat.range.addrs = Some(self.addresses()?);
            }
            let port_at = self.span();
            if self.eat_sign(":") || !has_addr {
                let at = self.span();
                nat.range.ports = Some(self.ports()?);
                if !facts.has_protocol {
                    let message =
                        "transport protocol mapping is only valid after transport protocol match";
                    let at =
                        if has_addr { port_at.to(self.before()) } else { at.to(self.before()) };
                    let at = if has_addr { Span { from: at.from + 1, ..at } } else { at };
                    return Err(Failure::at(message, at).and(facts.span.unwrap_or(begin)));
                }
            }
        }
        loop {
            let flag = match self.word() {
                "random" => &mut nat.range.random,
                "fully-random" => &mut nat.range.random_fully,
                "persistent" => &mut nat.range.persistent,
                _ => break,
            };
            *flag = true;
            self.step();
            if !self.eat_sign(",") {
                break;
            }
        }
        Ok(Stmt::Nat(Box::new(nat)))
    }

    /// `1.2.3.4`, `1.2.3.4-1.2.3.9`, `1.2.3.0/24`
    fn addresses(&mut self) -> Parsed<(Ipv4Addr, Ipv4Addr)> {
        let raw = self.raw()?;
        let addr = |value: u128| Ipv4Addr::from(value as u32);
        match raw.right(Type::Addr)? {
            Right::Value(value) => Ok((addr(value), addr(value))),
            Right::Range(low, high) => Ok((addr(low), addr(high))),
            _ => raw.bounds(Type::Addr).map(|(low, high)| (addr(low), addr(high))),
        }
    }

    /// `:80`, `80-90`
    fn ports(&mut self) -> Parsed<(u16, u16)> {
        self.eat_sign(":");
        let raw = self.raw()?;
        let (low, high) = raw.bounds(Type::Port)?;
        Ok((low as u16, high as u16))
    }

    /// `log prefix "x" level info`
    pub(super) fn log(&mut self) -> Parsed<Stmt> {
        self.step();
        let (mut prefix, mut level, mut flags) = (String::new(), None, 0);
        let (mut group, mut size, mut threshold) = (None, None, 0);
        loop {
            let word = self.word().to_string();
            match word.as_str() {
                "prefix" => {
                    self.step();
                    let span = self.span();
                    prefix = self.text()?;
                    // `NF_LOG_PREFIXLEN`
                    if prefix.len() >= 128 {
                        return Err(Failure::at("log prefix is too long", span));
                    }
                }
                "level" => {
                    self.step();
                    let known = LEVELS.iter().position(|name| *name == self.word());
                    let named = if self.word() == "audit" { None } else { known };
                    match named {
                        Some(number) => level = Some(number as u8),
                        None if self.word() == "audit" => {
                            return Err(Failure::unsupported("log level audit", self.span()));
                        }
                        None => {
                            let message = format!("invalid log level {}", self.word());
                            return Err(Failure::at(message, self.span()));
                        }
                    }
                    self.step();
                }
                "flags" => {
                    self.step();
                    flags |= self.log_flags()?;
                }
                "group" => {
                    self.step();
                    group = Some(self.number()?.0 as u16);
                }
                "snaplen" => {
                    self.step();
                    size = Some(self.number()?.0 as u32);
                }
                "queue-threshold" => {
                    self.step();
                    threshold = self.number()?.0 as u16;
                }
                _ => break,
            }
        }
        let log = match group {
            Some(group) => Log::Group { group, prefix, size, threshold },
            None => Log::Kernel { level: level.unwrap_or(4), prefix, flags },
        };
        Ok(Stmt::Log(Box::new(log)))
    }

    fn log_flags(&mut self) -> Parsed<u8> {
        let what = self.word().to_string();
        self.step();
        if what == "all" {
            return Ok(47);
        }
        let mut flags = 0;
        if what == "skuid" || what == "ether" {
            return Ok(LOG_FLAGS
                .iter()
                .filter(|(word, ..)| *word == what)
                .map(|(.., bit)| bit)
                .sum());
        }
        loop {
            let known = LOG_FLAGS.iter().find(|(of, word, _)| *of == what && *word == self.word());
            let Some((.., bit)) = known else { return Err(self.unexpected("")) };
            flags |= bit;
            self.step();
            if !self.eat_sign(",") {
                return Ok(flags);
            }
        }
    }
}

impl Expr {
    /// It is a map that has an address and a port.
    pub fn has_port(&self) -> bool {
        matches!(self, Expr::Map(_, _, types) if types.len() > 1)
    }
}
