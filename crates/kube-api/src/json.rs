//! JSON as kubectl reads it from a file: one value after the other, with the messages of Go's decoder
//! (`encoding/json`, `scanner.go`).

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

use serde_json::Number;

use crate::node::{Key, Mark, Node, NodeKind};
use crate::yaml::{DEPTH_MAX, Entries, YamlError};

/// Reads values one by one.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    mark: Mark,
}

/// The text ends too early.
pub const EOF: &str = "unexpected EOF";

/// What is wrong, and how many bytes had been read then.
type Fault = (String, Option<usize>);

impl<'a> Reader<'a> {
    /// From the beginning.
    pub fn new(text: &'a str) -> Reader<'a> {
        Reader { text, at: 0, mark: Mark { line: 1, column: 1 } }
    }

    /// What has not been read, and the line it begins on.
    pub fn rest(&self) -> (&'a str, u32) {
        (self.text.get(self.at..).unwrap_or_default(), self.mark.line)
    }

    /// The next value; `None` at the end. After an error the reader stands where the value began.
    pub fn next_value(&mut self) -> Option<Result<Node, YamlError>> {
        self.skip_space();
        let (at, mark) = (self.at, self.mark);
        self.peek()?;
        Some(self.value(0).map_err(|(what, offset)| {
            let message = match offset {
                Some(offset) => format!("json: offset {offset}: {what}"),
                None => what,
            };
            let error = YamlError { message, mark: self.mark };
            (self.at, self.mark) = (at, mark);
            error
        }))
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        if c == '\n' {
            self.mark = Mark { line: self.mark.line + 1, column: 1 };
        } else {
            self.mark.column += 1;
        }
        Some(c)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\r' | '\n')) {
            self.bump();
        }
    }

    /// `invalid character 'x' looking for beginning of value`
    fn fault<T>(&self, context: &str) -> Result<T, Fault> {
        let Some(c) = self.peek() else { return Err((EOF.to_string(), None)) };
        // Go looks at bytes; of a letter that has several it shows the first as Latin-1.
        let first = self.text.as_bytes().get(self.at).copied().map_or(c, char::from);
        let shown = match first {
            '\'' => r"'\''".to_string(),
            '"' => "'\"'".to_string(),
            c => format!("'{}'", c.escape_debug()),
        };
        Err((format!("invalid character {shown} {context}"), Some(self.at + 1)))
    }

    fn value(&mut self, depth: u32) -> Result<Node, Fault> {
        self.skip_space();
        let mark = self.mark;
        if depth > DEPTH_MAX {
            return Err(("exceeded max depth".to_string(), Some(self.at + 1)));
        }
        let kind = match self.peek() {
            Some('{') => self.object(depth)?,
            Some('[') => self.array(depth)?,
            Some('"') => NodeKind::String(self.string()?),
            Some('t') => self.literal("true", NodeKind::Bool(true))?,
            Some('f') => self.literal("false", NodeKind::Bool(false))?,
            Some('n') => self.literal("null", NodeKind::Null)?,
            Some('-' | '0'..='9') => self.number()?,
            _ => return self.fault("looking for beginning of value"),
        };
        Ok(Node { mark, kind })
    }

    fn object(&mut self, depth: u32) -> Result<NodeKind, Fault> {
        self.bump();
        let mut entries = Entries::default();
        self.skip_space();
        if self.peek() == Some('}') {
            self.bump();
            return Ok(entries.into_kind());
        }
        loop {
            self.skip_space();
            let mark = self.mark;
            if self.peek() != Some('"') {
                return self.fault("looking for beginning of object key string");
            }
            let name = self.string()?;
            self.skip_space();
            if self.peek() != Some(':') {
                return self.fault("after object key");
            }
            self.bump();
            let value = self.value(depth + 1)?;
            entries.put(Key { name, mark }, value);
            self.skip_space();
            match self.peek() {
                Some(',') => self.bump(),
                Some('}') => {
                    self.bump();
                    return Ok(entries.into_kind());
                }
                _ => return self.fault("after object key:value pair"),
            };
        }
    }

    fn array(&mut self, depth: u32) -> Result<NodeKind, Fault> {
        self.bump();
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(']') {
            self.bump();
            return Ok(NodeKind::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(',') => self.bump(),
                Some(']') => {
                    self.bump();
                    return Ok(NodeKind::List(items));
                }
                _ => return self.fault("after array element"),
            };
        }
    }

    fn literal(&mut self, word: &str, kind: NodeKind) -> Result<NodeKind, Fault> {
        for wanted in word.chars() {
            if self.peek() != Some(wanted) {
                return self.fault(&format!("in literal {word} (expecting '{wanted}')"));
            }
            self.bump();
        }
        Ok(kind)
    }

    fn number(&mut self) -> Result<NodeKind, Fault> {
        let start = self.at;
        if self.peek() == Some('-') {
            self.bump();
        }
        match self.peek() {
            Some('0') => drop(self.bump()),
            Some('1'..='9') => self.digits(),
            _ => return self.fault("in numeric literal"),
        }
        if self.peek() == Some('.') {
            self.bump();
            if !matches!(self.peek(), Some('0'..='9')) {
                return self.fault("after decimal point in numeric literal");
            }
            self.digits();
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.bump();
            if matches!(self.peek(), Some('+' | '-')) {
                self.bump();
            }
            if !matches!(self.peek(), Some('0'..='9')) {
                return self.fault("in exponent of numeric literal");
            }
            self.digits();
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let number = (text.parse::<i64>().map(Number::from).ok())
            .or_else(|| text.parse::<u64>().map(Number::from).ok())
            .or_else(|| Number::from_f64(text.parse().ok()?));
        Ok(NodeKind::Number(number.unwrap_or_else(|| Number::from(0))))
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some('0'..='9')) {
            self.bump();
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.bump();
        let mut text = String::new();
        loop {
            match self.peek() {
                Some('"') => {
                    self.bump();
                    return Ok(text);
                }
                Some('\\') => {
                    self.bump();
                    text.push(self.escape()?);
                }
                Some(c) if c >= ' ' => {
                    self.bump();
                    text.push(c);
                }
                _ => return self.fault("in string literal"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let c = match self.peek() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                self.bump();
                return self.unicode();
            }
            _ => return self.fault("in string escape code"),
        };
        self.bump();
        Ok(c)
    }

    /// `1F600` of `\u`, with the second half of a pair where it has one.
    fn unicode(&mut self) -> Result<char, Fault> {
        let first = self.hex()?;
        let rest = self.text.get(self.at..).unwrap_or_default();
        if (0xd800..0xdc00).contains(&first) && rest.starts_with("\\u") {
            let back = (self.at, self.mark);
            self.bump();
            self.bump();
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (self.at, self.mark) = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u32, Fault> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(16)) else {
                return self.fault("in \\u hexadecimal character escape");
            };
            code = code * 16 + digit;
            self.bump();
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let mut reader = Reader::new(text);
        let mut shown = Vec::new();
        while let Some(value) = reader.next_value() {
            match value {
                Ok(node) => shown.push(format!("{}:{}", node.mark.line, node.to_value())),
                Err(error) => {
                    shown.push(format!("{}:{}", error.mark.line, error.message));
                    break;
                }
            }
        }
        shown.join(" ")
    }

    #[test]
    fn several_values_in_a_row() {
        assert_eq!(
            read("{\"a\": [1, -2.5e1, true, null]}\n{}"),
            "1:{\"a\":[1,-25.0,true,null]} 2:{}"
        );
        assert_eq!(read(r#"["\u0041\ud83d\ude00\n\/", "é"]"#), "1:[\"A😀\\n/\",\"é\"]");
        assert_eq!(read("\t{\n\t\"a\": 1, \"b\": 2, \"a\": 3}"), "1:{\"a\":3,\"b\":2}");
    }

    #[test]
    fn mistakes_in_go_s_words() {
        let check = |text: &str, expected: &str| assert_eq!(read(text), expected, "{text}");
        check(
            "{\n  // no",
            "2:json: offset 5: invalid character '/' looking for beginning of object key string",
        );
        check("{\"a\" 1}", "1:json: offset 6: invalid character '1' after object key");
        check("{\"a\":1 2}", "1:json: offset 8: invalid character '2' after object key:value pair");
        check("[1 2]", "1:json: offset 4: invalid character '2' after array element");
        check(
            "{\"a\": .}",
            "1:json: offset 7: invalid character '.' looking for beginning of value",
        );
        check(
            "{\"a\": tru}",
            "1:json: offset 10: invalid character '}' in literal true (expecting 'e')",
        );
        check("{\"a\": \"x\ny\"}", "1:json: offset 9: invalid character '\\n' in string literal");
        check("{\"a\": 01}", "1:json: offset 8: invalid character '1' after object key:value pair");
        check("{\"a\": ", "1:unexpected EOF");
        check(
            "{“a”: 1}",
            "1:json: offset 2: invalid character 'â' looking for beginning of object key string",
        );
        assert!(read(&"[".repeat(100_000)).contains("exceeded max depth"));
    }
}
