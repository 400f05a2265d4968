//! The grammar.

use super::FilterError;
use super::eval::{Arith, Node, Rel, apply};
use super::r#gen::{Dir, Gen, Kind, Proto, Quals};
use super::lex::Token;

type Result<T> = std::result::Result<T, FilterError>;

/// Nesting of parentheses, `not` and brackets.
const DEPTH_MAX: u32 = 100;

/// Steps in all; looking at a parenthesis twice must not make a short text long.
const STEPS_MAX: u32 = 200_000;

pub(super) fn parse(tokens: &[Token], r#gen: Gen<'_>) -> Result<Node> {
    let mut parser = Parser { tokens, at: 0, depth: 0, steps: 0, r#gen };
    let (node, _) = parser.expression(None)?;
    if parser.at == tokens.len() { Ok(node) } else { Err(FilterError::syntax()) }
}

struct Parser<'t, 'h> {
    tokens: &'t [Token],
    at: usize,
    depth: u32,
    steps: u32,
    r#gen: Gen<'h>,
}

/// A calculation, and what must hold for its bytes to be there.
type Value = (Arith, Option<Node>);

fn both(a: Option<Node>, b: Option<Node>) -> Option<Node> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.and(b)),
        (a, b) => a.or(b),
    }
}

impl<'t> Parser<'t, '_> {
    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.at)
    }

    fn peek_word(&self, ahead: usize) -> &'static str {
        match self.tokens.get(self.at + ahead) {
            Some(Token::Word(word)) => word,
            _ => "",
        }
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_it = self.peek_word(0) == word;
        self.at += usize::from(is_it);
        is_it
    }

    fn is_sign(&self, ahead: usize, sign: &str) -> bool {
        matches!(self.tokens.get(self.at + ahead), Some(Token::Sign(known)) if *known == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is_it = self.is_sign(0, sign);
        self.at += usize::from(is_it);
        is_it
    }

    fn expect_sign(&mut self, sign: &str) -> Result<()> {
        if self.take_sign(sign) { Ok(()) } else { Err(FilterError::syntax()) }
    }

    /// One level deeper.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        self.steps += 1;
        if self.depth > DEPTH_MAX || self.steps > STEPS_MAX {
            return Err(FilterError::new("expression nested too deep"));
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn expression(&mut self, quals: Option<Quals>) -> Result<(Node, Option<Quals>)> {
        let (mut node, mut quals) = self.operand(quals)?;
        while let word @ ("and" | "or") = self.peek_word(0) {
            self.at += 1;
            let (next, after) = self.operand(quals)?;
            node = node.join(word == "and", next);
            quals = after;
        }
        Ok((node, quals))
    }

    fn operand(&mut self, quals: Option<Quals>) -> Result<(Node, Option<Quals>)> {
        if self.take_word("not") {
            let (node, quals) = self.nested(|parser| parser.operand(quals))?;
            return Ok((node.negate(), quals));
        }
        if let Some(node) = self.relation()? {
            return Ok((node, None));
        }
        if self.take_sign("(") {
            let (node, _) = self.nested(|parser| parser.expression(quals))?;
            self.expect_sign(")")?;
            // What is in parentheses is one thing for what comes after it.
            return Ok((node, quals));
        }
        match self.peek() {
            Some(Token::Word(_)) => self.primitive(),
            Some(_) => {
                let quals = quals.ok_or_else(FilterError::syntax)?;
                Ok((self.id(quals)?, Some(quals)))
            }
            None => Err(FilterError::syntax()),
        }
    }

    /// A comparison of two calculations, if one stands here.
    fn relation(&mut self) -> Result<Option<Node>> {
        let could_be = match self.peek() {
            Some(Token::Num(_)) => true,
            Some(Token::Sign(sign)) => matches!(*sign, "(" | "-"),
            Some(Token::Word("len")) => true,
            Some(Token::Word(_)) => self.is_sign(1, "["),
            _ => false,
        };
        if !could_be {
            return Ok(None);
        }
        let (start, depth) = (self.at, self.depth);
        let left = match self.arith(0) {
            Ok(left) if self.relop().is_some() => left,
            // A number or a parenthesis of another kind, unless it can only be a calculation.
            result => {
                let must_be = matches!(self.tokens.get(start), Some(Token::Word(_)))
                    || self.tokens.get(start) == Some(&Token::Sign("-"));
                let error = result.err().unwrap_or_else(FilterError::syntax);
                if must_be || error != FilterError::syntax() {
                    return Err(error);
                }
                (self.at, self.depth) = (start, depth);
                return Ok(None);
            }
        };
        let Some((rel, is_negated)) = self.relop() else { return Err(FilterError::syntax()) };
        self.at += 1;
        let right = self.arith(0)?;
        let needs = both(left.1, right.1);
        let node = Node::Compare(rel, Box::new(left.0), Box::new(right.0));
        let node = if is_negated { node.negate() } else { node };
        Ok(Some(match needs {
            Some(needs) => needs.and(node),
            None => node,
        }))
    }

    fn relop(&self) -> Option<(Rel, bool)> {
        let Some(Token::Sign(sign)) = self.peek() else { return None };
        Some(match *sign {
            "=" => (Rel::Eq, false),
            "!=" => (Rel::Eq, true),
            ">" => (Rel::Gt, false),
            ">=" => (Rel::Ge, false),
            "<" => (Rel::Lt, false),
            "<=" => (Rel::Le, false),
            _ => return None,
        })
    }

    /// The operator that stands here, and its rank.
    fn operator(&self) -> Option<(char, u8)> {
        let Some(Token::Sign(sign)) = self.peek() else { return None };
        Some(match *sign {
            "|" => ('|', 1),
            "&" => ('&', 2),
            "<<" => ('<', 3),
            ">>" => ('>', 3),
            "+" => ('+', 4),
            "-" => ('-', 4),
            "*" => ('*', 5),
            "/" => ('/', 5),
            "%" => ('%', 5),
            "^" => ('^', 1),
            _ => return None,
        })
    }

    /// A calculation of operators above a rank.
    fn arith(&mut self, above: u8) -> Result<Value> {
        self.nested(|parser| {
            let (mut value, mut needs) = parser.arith_operand()?;
            while let Some((op, rank)) = parser.operator().filter(|(_, rank)| *rank > above) {
                parser.at += 1;
                let (right, right_needs) = parser.arith(rank)?;
                needs = both(needs, right_needs);
                value = combine(op, value, right)?;
            }
            Ok((value, needs))
        })
    }

    fn arith_operand(&mut self) -> Result<Value> {
        if self.take_sign("-") {
            let (value, needs) = self.nested(Self::arith_operand)?;
            return Ok(match value {
                Arith::Num(value) => (Arith::Num(value.wrapping_neg()), needs),
                value => (Arith::Neg(Box::new(value)), needs),
            });
        }
        if self.take_sign("(") {
            let value = self.arith(0)?;
            self.expect_sign(")")?;
            return Ok(value);
        }
        match self.peek() {
            Some(Token::Num(value)) => {
                self.at += 1;
                Ok((Arith::Num(*value), None))
            }
            Some(Token::Word("len")) => {
                self.at += 1;
                Ok((Arith::Len, None))
            }
            Some(Token::Word(word)) if self.is_sign(1, "[") => {
                let proto = proto_of(word).ok_or_else(FilterError::syntax)?;
                self.at += 2;
                let (offset, needs) = self.arith(0)?;
                let mut size = 1;
                if self.take_sign(":") {
                    let Some(Token::Num(value)) = self.peek() else {
                        return Err(FilterError::syntax());
                    };
                    size = *value;
                    self.at += 1;
                }
                self.expect_sign("]")?;
                let (value, more) = self.r#gen.load(proto, offset, size)?;
                Ok((value, both(more, needs)))
            }
            _ => Err(FilterError::syntax()),
        }
    }

    /// A term that begins with a word of the language.
    fn primitive(&mut self) -> Result<(Node, Option<Quals>)> {
        let proto = match proto_of(self.peek_word(0)) {
            Some(proto) => {
                self.at += 1;
                proto
            }
            None => Proto::Default,
        };
        let has_proto = proto != Proto::Default;
        if let Some(node) = self.simple(proto)? {
            return Ok((node, None));
        }
        let dir = self.direction();
        let kind = match self.peek_word(0) {
            "host" => Some(Kind::Host),
            "net" => Some(Kind::Net),
            "port" => Some(Kind::Port),
            "portrange" => Some(Kind::PortRange),
            "proto" if dir.is_none() => Some(Kind::Proto),
            "gateway" if dir.is_none() => return self.gateway(),
            word @ "protochain" if dir.is_none() => return Err(FilterError::unsupported(word)),
            _ => None,
        };
        self.at += usize::from(kind.is_some());
        if dir.is_none() && kind.is_none() {
            if has_proto {
                return Ok((self.r#gen.abbreviation(proto)?, None));
            }
            return Err(self.unknown_word());
        }
        let quals =
            Quals { proto, dir: dir.unwrap_or(Dir::Default), kind: kind.unwrap_or(Kind::Default) };
        Ok((self.id(quals)?, Some(quals)))
    }

    fn unknown_word(&self) -> FilterError {
        match self.peek_word(0) {
            word @ ("byte" | "mpls" | "pppoed" | "pppoes" | "geneve" | "llc" | "type"
            | "subtype" | "dir") => FilterError::unsupported(word),
            "ifname" => FilterError::new("ifname supported only on PF linktype"),
            _ => FilterError::syntax(),
        }
    }

    fn gateway(&mut self) -> Result<(Node, Option<Quals>)> {
        self.at += 1;
        match self.peek() {
            Some(Token::Name(_)) => Err(FilterError::unsupported("gateway")),
            Some(Token::Num(_) | Token::Dotted(_)) => {
                Err(FilterError::new("'gateway' requires a name"))
            }
            _ => Err(FilterError::syntax()),
        }
    }

    /// Primitives without a name or number of their own kind.
    fn simple(&mut self, proto: Proto) -> Result<Option<Node>> {
        let word = self.peek_word(0);
        match word {
            "broadcast" | "multicast" => {
                self.at += 1;
                let is_broadcast = word == "broadcast";
                let node = if is_broadcast {
                    self.r#gen.broadcast(proto)
                } else {
                    self.r#gen.multicast(proto)
                };
                return node.map(Some);
            }
            _ if proto != Proto::Default => return Ok(None),
            "less" | "greater" | "inbound" | "outbound" | "vlan" | "ifindex" => self.at += 1,
            _ => return Ok(None),
        }
        let number = match self.peek() {
            Some(Token::Num(number)) => Some(*number),
            _ => None,
        };
        let node = match word {
            "less" => Node::Len(Rel::Le, number.ok_or_else(FilterError::syntax)?),
            "greater" => Node::Len(Rel::Ge, number.ok_or_else(FilterError::syntax)?),
            "ifindex" => self.r#gen.ifindex(number.ok_or_else(FilterError::syntax)?)?,
            "vlan" => self.r#gen.vlan(number)?,
            _ => return self.r#gen.direction(word == "outbound").map(Some),
        };
        self.at += usize::from(number.is_some());
        Ok(Some(node))
    }

    fn direction(&mut self) -> Option<Dir> {
        let words = [self.peek_word(0), self.peek_word(1), self.peek_word(2)];
        let (dir, len) = match words {
            ["src", "or", "dst"] | ["dst", "or", "src"] => (Dir::Or, 3),
            ["src", "and", "dst"] | ["dst", "and", "src"] => (Dir::And, 3),
            ["src", ..] => (Dir::Src, 1),
            ["dst", ..] => (Dir::Dst, 1),
            _ => return None,
        };
        self.at += len;
        Some(dir)
    }

    /// A name or number, or several in parentheses.
    fn id(&mut self, quals: Quals) -> Result<Node> {
        if self.take_word("not") {
            return Ok(self.nested(|parser| parser.id(quals))?.negate());
        }
        if self.take_sign("(") {
            let node = self.nested(|parser| {
                let mut node = parser.id(quals)?;
                while let word @ ("and" | "or") = parser.peek_word(0) {
                    parser.at += 1;
                    node = node.join(word == "and", parser.id(quals)?);
                }
                Ok(node)
            })?;
            self.expect_sign(")")?;
            return Ok(node);
        }
        let token = self.peek().ok_or_else(FilterError::syntax)?;
        self.at += 1;
        match token {
            Token::Name(name) => self.r#gen.name(name, quals),
            Token::Num(value) => self.r#gen.number(None, *value, quals),
            Token::Mac(mac) => self.r#gen.mac(*mac, quals),
            Token::V6(addr) => {
                let len = self.slash()?;
                self.r#gen.v6(*addr, len.unwrap_or(128), quals)
            }
            Token::Dotted(text) => {
                if let Some(len) = self.slash()? {
                    return self.r#gen.network(text, Ok(len), quals);
                }
                if self.take_word("mask") {
                    let Some(Token::Dotted(mask)) = self.peek() else {
                        return Err(FilterError::syntax());
                    };
                    self.at += 1;
                    return self.r#gen.network(text, Err(mask), quals);
                }
                self.r#gen.number(Some(text), 0, quals)
            }
            Token::Word(_) | Token::Sign(_) => Err(FilterError::syntax()),
        }
    }

    /// The length of a prefix.
    fn slash(&mut self) -> Result<Option<u32>> {
        if !self.take_sign("/") {
            return Ok(None);
        }
        let Some(Token::Num(len)) = self.peek() else { return Err(FilterError::syntax()) };
        self.at += 1;
        Ok(Some(*len))
    }
}

fn combine(op: char, left: Arith, right: Arith) -> Result<Arith> {
    match (op, right.constant()) {
        ('/', Some(0)) => return Err(FilterError::new("division by zero")),
        ('%', Some(0)) => return Err(FilterError::new("modulus by zero")),
        ('<' | '>', Some(32..)) => return Err(FilterError::new("shift by more than 31 bits")),
        _ => {}
    }
    if let (Some(a), Some(b)) = (left.constant(), right.constant())
        && let Some(value) = apply(op, a, b)
    {
        return Ok(Arith::Num(value));
    }
    Ok(match left {
        Arith::Row(first, mut rest) => {
            rest.push((op, right));
            Arith::Row(first, rest)
        }
        first => Arith::Row(Box::new(first), vec![(op, right)]),
    })
}

fn proto_of(word: &'static str) -> Option<Proto> {
    Some(match word {
        "ether" => Proto::Link,
        "arp" | "rarp" | "ip" | "sctp" | "tcp" | "udp" | "icmp" | "igmp" | "igrp" | "pim"
        | "vrrp" | "carp" | "ip6" | "icmp6" | "ah" | "esp" | "atalk" | "aarp" | "decnet"
        | "lat" | "sca" | "moprc" | "mopdl" | "iso" | "esis" | "es-is" | "isis" | "is-is"
        | "clnp" | "stp" | "ipx" | "netbeui" | "wlan" | "radio" => Proto::Named(word),
        _ => return None,
    })
}
