//! nft's grammar.
//!
//! In reading order: this cursor over tokens; [`command`]: a line; [`object`]: tables, chains, sets in braces;
//! [`rule`]: the parts of a rule; [`nat`]: those that translate, answer or log; [`expr`]: what is looked at;
//! [`value`]: with what it is compared; [`element`]: elements of sets.

pub mod command;
pub mod element;
mod expr;
mod nat;
pub use nat::{ERRORS, LEVELS, LOG_FLAGS};
pub mod object;
mod rule;
mod value;

use super::error::Failure;
use super::lex::{Span, Token, tokens};

/// Goes through the tokens of a text.
pub struct Cursor {
    tokens: Vec<(Token, Span)>,
    at: usize,
    /// How deep in braces and parentheses.
    depth: u32,
    /// Rules are for a table of the family `ip`.
    in_ip: bool,
}

type Parsed<T> = Result<T, Failure>;

static END: Token = Token::End;

impl Cursor {
    /// At the beginning of a text.
    pub fn new(text: &str) -> Parsed<Cursor> {
        Ok(Cursor { tokens: tokens(text)?, at: 0, depth: 0, in_ip: false })
    }

    /// The token at hand.
    pub fn token(&self) -> &Token {
        self.tokens.get(self.at).map_or(&END, |(token, _)| token)
    }

    fn after(&self) -> &Token {
        self.tokens.get(self.at + 1).map_or(&END, |(token, _)| token)
    }

    /// Where it stands.
    pub fn span(&self) -> Span {
        let last = self.tokens.last().map_or(Span::default(), |(_, span)| *span);
        self.tokens.get(self.at).map_or(last, |(_, span)| *span)
    }

    /// Where the one before stands.
    pub fn before(&self) -> Span {
        self.at
            .checked_sub(1)
            .and_then(|at| self.tokens.get(at))
            .map_or(Span::default(), |(_, span)| *span)
    }

    /// Goes on.
    pub fn step(&mut self) {
        self.at += 1;
    }

    /// The word at hand, or nothing.
    pub fn word(&self) -> &str {
        match self.token() {
            Token::Word(word) => word,
            _ => "",
        }
    }

    /// Takes a word, if it is this one.
    pub fn eat(&mut self, word: &str) -> bool {
        let is_it = self.word() == word;
        self.at += usize::from(is_it);
        is_it
    }

    /// Takes a sign, if it is this one.
    pub fn eat_sign(&mut self, sign: &str) -> bool {
        let is_it = self.is_sign(sign);
        self.at += usize::from(is_it);
        is_it
    }

    /// The token at hand is this sign.
    pub fn is_sign(&self, sign: &str) -> bool {
        matches!(self.token(), Token::Sign(found) if *found == sign)
    }

    /// `syntax error, unexpected …, expecting …`
    pub fn unexpected(&self, expecting: &str) -> Failure {
        let mut what = format!("unexpected {}", self.token().name());
        if !expecting.is_empty() {
            what.push_str(", expecting ");
            what.push_str(expecting);
        }
        Failure::syntax(&what, self.span())
    }

    /// Takes a sign that has to be there.
    pub fn sign(&mut self, sign: &str, expecting: &str) -> Parsed<()> {
        if self.eat_sign(sign) { Ok(()) } else { Err(self.unexpected(expecting)) }
    }

    /// Takes a word that has to be there.
    pub fn keyword(&mut self, word: &str) -> Parsed<()> {
        if self.eat(word) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    /// Takes a name.
    pub fn name(&mut self) -> Parsed<(String, Span)> {
        let span = self.span();
        match self.token() {
            Token::Word(name) => {
                let name = name.clone();
                self.step();
                Ok((name, span))
            }
            _ => Err(self.unexpected("string")),
        }
    }

    /// Takes a number.
    pub fn number(&mut self) -> Parsed<(u64, Span)> {
        let span = self.span();
        let number = match self.token() {
            Token::Number(text) => super::value::parse_number(text),
            _ => None,
        };
        let Some(number) = number.and_then(|number| u64::try_from(number).ok()) else {
            return Err(self.unexpected("number"));
        };
        self.step();
        Ok((number, span))
    }

    /// Takes a text, in quotes or not.
    pub fn text(&mut self) -> Parsed<String> {
        let text = match self.token() {
            Token::Word(text) | Token::Quoted(text) => text.clone(),
            _ => {
                return Err(
                    self.unexpected("string or quoted string or string with a trailing asterisk")
                );
            }
        };
        self.step();
        Ok(text)
    }

    /// Takes a time: `1h5m`, `30` (seconds); in milliseconds.
    pub fn time(&mut self) -> Parsed<u64> {
        let millis = match self.token() {
            Token::Number(text) => super::value::parse_time(text),
            _ => return Err(self.unexpected("string")),
        };
        match millis {
            Some(millis) => {
                self.step();
                Ok(millis)
            }
            None => Err(Failure::at("Could not parse Relative time", self.span())),
        }
    }

    /// Takes `comment`'s text.
    pub fn comment(&mut self) -> Parsed<std::rc::Rc<str>> {
        let span = self.span();
        let text = self.text()?;
        // `NFTNL_UDATA_COMMENT_MAXLEN`
        if text.len() >= 128 {
            let message = "comment too long, 128 characters maximum allowed";
            return Err(Failure::at(message, span.to(self.before())));
        }
        Ok(text.into())
    }

    /// Skips ends of lines and semicolons.
    pub fn skip_ends(&mut self) {
        while matches!(self.token(), Token::Newline | Token::Sign(";")) {
            self.step();
        }
    }

    /// Skips ends of lines.
    pub fn skip_newlines(&mut self) {
        while *self.token() == Token::Newline {
            self.step();
        }
    }

    /// The end of a statement is at hand.
    pub fn is_end(&self) -> bool {
        matches!(self.token(), Token::Newline | Token::Sign(";") | Token::End)
    }

    /// Goes into braces or parentheses, not without end.
    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > 32 { Err(Failure::syntax("memory exhausted", self.span())) } else { Ok(()) }
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }
}
