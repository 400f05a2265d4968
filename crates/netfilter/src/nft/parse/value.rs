//! Values as they are typed, and what they are once their type is known.

use super::super::error::Failure;
use super::super::lex::Token;
use super::super::model::Right;
use super::super::value::{Raw, RawKind, Type, host_bits};
use super::{Cursor, Parsed};

impl Cursor {
    /// `1.2.3.4`, `10.0.0.0/8`, `80-90`, `*`, `syn|ack`.
    pub(super) fn raw(&mut self) -> Parsed<Raw> {
        let first = self.raw_term()?;
        let span = first.span;
        if self.eat_sign("-") {
            let last = self.raw_term()?;
            let span = span.to(last.span);
            return Ok(Raw { span, kind: RawKind::Range(Box::new(first), Box::new(last)) });
        }
        if self.is_sign("/") && matches!(self.after(), Token::Number(_)) {
            self.step();
            let (len, end) = self.number()?;
            return Ok(Raw {
                span: span.to(end),
                kind: RawKind::Prefix(Box::new(first), len as u32),
            });
        }
        if self.is_sign("|") {
            return self.raw_flags(first, "|");
        }
        Ok(first)
    }

    /// What follows the first of several flags.
    pub(super) fn raw_flags(&mut self, first: Raw, between: &str) -> Parsed<Raw> {
        let mut span = first.span;
        let mut flags = vec![first];
        while self.eat_sign(between) {
            let flag = self.raw_term()?;
            span = span.to(flag.span);
            flags.push(flag);
        }
        Ok(Raw { span, kind: RawKind::Flags(flags) })
    }

    fn raw_term(&mut self) -> Parsed<Raw> {
        let span = self.span();
        let kind = match self.token() {
            Token::Word(word) if is_statement(word) => return Err(self.unexpected("")),
            Token::Word(text) | Token::Number(text) => RawKind::Word(text.clone()),
            Token::Quoted(text) => RawKind::Quoted(text.clone()),
            Token::Sign("*") => RawKind::Any,
            Token::Sign("(") => {
                self.step();
                self.enter()?;
                let inner = self.raw()?;
                self.sign(")", "')'")?;
                self.leave();
                return Ok(inner);
            }
            _ => return Err(self.unexpected("")),
        };
        self.step();
        Ok(Raw { span, kind })
    }

    /// Several values with dots between.
    pub(super) fn raw_concat(&mut self) -> Parsed<Raw> {
        let first = self.raw()?;
        if !self.is_sign(".") {
            return Ok(first);
        }
        let mut span = first.span;
        let mut parts = vec![first];
        while self.eat_sign(".") {
            let part = self.raw()?;
            span = span.to(part.span);
            parts.push(part);
        }
        Ok(Raw { span, kind: RawKind::Concat(parts) })
    }
}

/// Words that begin a part of a rule, and cannot be values.
fn is_statement(word: &str) -> bool {
    let words = "jump goto accept drop continue return reject counter log limit masquerade comment vmap map set";
    words.split(' ').any(|known| known == word)
}

impl Raw {
    /// The value, where only one will do.
    pub fn single(&self, ty: Type) -> Parsed<u128> {
        match &self.kind {
            RawKind::Word(text) | RawKind::Quoted(text) => {
                ty.parse(text).map_err(|message| Failure::at(message, self.span))
            }
            RawKind::Flags(flags) => {
                flags.iter().try_fold(0, |value, flag| Ok(value | flag.single(ty)?))
            }
            _ => Err(Failure::syntax("unexpected expression", self.span)),
        }
    }

    /// What it is as the right side of a comparison.
    pub fn right(&self, ty: Type) -> Parsed<Right> {
        match &self.kind {
            RawKind::Word(text) | RawKind::Quoted(text) if ty.is_text() && text.ends_with('*') => {
                let beginning = text.strip_suffix('*').unwrap_or_default();
                let value =
                    ty.parse(beginning).map_err(|message| Failure::at(message, self.span))?;
                Ok(Right::Beginning(value, beginning.len() as u32))
            }
            RawKind::Prefix(value, len) => {
                if *len > ty.bits() {
                    let bits = ty.bits();
                    let message =
                        format!("Prefix length {len} is invalid for type of {bits} bits width");
                    return Err(Failure::at(message, self.span));
                }
                let value = value.single(ty)? & !host_bits(ty.bits(), *len);
                if *len == ty.bits() {
                    Ok(Right::Value(value))
                } else {
                    Ok(Right::Prefix(value, *len))
                }
            }
            RawKind::Range(low, high) => {
                let (low, high) = (low.single(ty)?, high.single(ty)?);
                if low > high {
                    return Err(Failure::at("Range has zero or negative size", self.span));
                }
                Ok(Right::Range(low, high))
            }
            _ => Ok(Right::Value(self.single(ty)?)),
        }
    }

    /// The first and the last value that it means.
    pub fn bounds(&self, ty: Type) -> Parsed<(u128, u128)> {
        Ok(match self.right(ty)? {
            Right::Value(value) => (value, value),
            Right::Prefix(value, len) => (value, value | host_bits(ty.bits(), len)),
            Right::Range(low, high) => (low, high),
            Right::Beginning(value, len) => (value, value | host_bits(128, len * 8)),
            Right::Set(_) => (0, 0),
        })
    }

    /// It means more than one value.
    pub fn is_interval(&self) -> bool {
        match &self.kind {
            RawKind::Prefix(..) | RawKind::Range(..) => true,
            RawKind::Word(text) | RawKind::Quoted(text) => text.ends_with('*'),
            RawKind::Concat(parts) => parts.iter().any(Raw::is_interval),
            RawKind::Flags(_) | RawKind::Any => false,
        }
    }
}
