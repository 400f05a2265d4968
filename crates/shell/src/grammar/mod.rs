//! bash's grammar: text to commands, and commands to what they do.
//!
//! - [`parse`]: text to a syntax tree, by `brush-parser`;
//! - [`expand`]: words to arguments; [`arith`]: `$((…))`; [`glob`]: patterns;
//! - [`run`]: a syntax tree to what it does.

pub mod arith;
pub mod expand;
pub mod glob;
pub mod run;

use brush_parser::ast::Program;
use brush_parser::{ParseError, Parser, ParserOptions};

/// A text that is longer is not read as commands.
const LENGTH_MAX: usize = 256 * 1024;
/// Brackets, quotes and keywords within each other at most: the parser is recursive.
const DEPTH_MAX: usize = 60;

/// Why a text is not a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyntaxError {
    /// It ends in the middle: more lines may make it one.
    Incomplete,
    /// It is none, and bash's words for it.
    Wrong(String),
}

impl std::fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SyntaxError::Incomplete => f.write_str("bash: syntax error: unexpected end of file"),
            SyntaxError::Wrong(why) => write!(f, "bash: {why}"),
        }
    }
}

/// Reads commands.
pub fn parse(text: &str) -> Result<Program, SyntaxError> {
    guard(text)?;
    let mut parser = Parser::new(text.as_bytes(), &ParserOptions::default());
    parser.parse_program().map_err(|error| match error {
        ParseError::ParsingAtEndOfInput => match stray(text) {
            Some(word) => {
                SyntaxError::Wrong(format!("syntax error near unexpected token `{word}'"))
            }
            None => SyntaxError::Incomplete,
        },
        ParseError::ParsingNear(position) => SyntaxError::Wrong(format!(
            "syntax error near {}",
            near(text, position.line, position.column)
        )),
        ParseError::Tokenizing { inner, .. } if inner.is_incomplete() => SyntaxError::Incomplete,
        ParseError::Tokenizing { inner, .. } => {
            SyntaxError::Wrong(format!("syntax error: {inner}"))
        }
    })
}

/// A word that closes or continues something, where nothing is open: no more lines make it a command.
fn stray(text: &str) -> Option<&str> {
    const CLOSING: [&str; 8] = ["do", "done", "then", "elif", "else", "fi", "esac", "}"];
    let first = text.trim_start().split([' ', '\t', '\n', ';']).next()?;
    CLOSING.contains(&first).then_some(first)
}

/// The word that the parser stumbled over.
fn near(text: &str, line: usize, column: usize) -> String {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let rest: String = line.chars().skip(column.saturating_sub(1)).collect();
    let word = rest.split_whitespace().next().unwrap_or("newline");
    format!("unexpected token `{word}'")
}

/// Keeps from the parser what would be too much for it: it is recursive, and takes some numbers for small.
fn guard(text: &str) -> Result<(), SyntaxError> {
    let wrong = |why: &str| Err(SyntaxError::Wrong(why.to_string()));
    if text.len() > LENGTH_MAX {
        return wrong("line too long");
    }
    let mut depth = 0usize;
    let mut digits = 0;
    for byte in text.bytes() {
        match byte {
            b'(' | b'{' | b'[' | b'`' | b'!' => depth += 1,
            b')' | b'}' | b']' | b'\n' => depth = depth.saturating_sub(1),
            _ => {}
        }
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        if depth > DEPTH_MAX {
            return wrong("too many brackets within each other");
        }
        if digits > 9 && !is_harmless_number(text) {
            return wrong("number too large");
        }
    }
    let nested = text.split_whitespace().filter(|word| {
        matches!(*word, "if" | "for" | "while" | "until" | "case" | "do" | "then" | "else" | "{")
    });
    if nested.count() > DEPTH_MAX * 4 {
        return wrong("too many commands within each other");
    }
    Ok(())
}

/// Long numbers matter where the parser wants a number: file descriptors, brace ranges, `~+N`.
fn is_harmless_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let run = bytes.iter().skip(at).take_while(|byte| byte.is_ascii_digit()).count();
        if run > 9 {
            let before = at.checked_sub(1).and_then(|at| bytes.get(at)).copied().unwrap_or(b' ');
            let after = bytes.get(at + run).copied().unwrap_or(b' ');
            let is_number = matches!(before, b'.' | b'{' | b'-' | b'+' | b'~' | b'$' | b'&')
                || matches!(after, b'.' | b'}' | b'<' | b'>');
            if is_number {
                return false;
            }
        }
        at += run.max(1);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_incomplete_and_wrong() {
        assert!(parse("echo a | cat && (b; c) > d").is_ok());
        assert!(parse("# nothing\n").is_ok());
        for text in [
            "echo 'a",
            "for i in 1 2; do",
            "if true",
            "a |",
            "a &&",
            "cat <<E\nx",
            "echo $(a",
            "a \\",
        ] {
            assert_eq!(parse(text).err(), Some(SyntaxError::Incomplete), "{text}");
        }
        for text in ["| a", "done", "a ;; b", ")"] {
            assert!(
                matches!(parse(text), Err(SyntaxError::Wrong(_))),
                "{text}: {:?}",
                parse(text).err()
            );
        }
    }

    #[test]
    fn what_would_upset_the_parser_is_refused() {
        for text in [
            "echo {99999999999999999999..1}",
            "echo ~+99999999999999999999",
            "echo 99999999999999999999>a",
            &"(".repeat(10_000),
            &"$(".repeat(10_000),
        ] {
            assert!(parse(text).is_err(), "{}", &text[..20.min(text.len())]);
        }
        assert!(parse("echo 123456789012345678901").is_ok());
    }
}
