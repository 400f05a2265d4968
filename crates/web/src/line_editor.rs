//! The line that is being typed: what keys do to it, and how a terminal is made to show it.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

use std::fmt::Write as _;

/// Lines that the history keeps.
const HISTORY_MAX: usize = 500;

/// A key, as far as it means anything here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// Return.
    Enter,
    /// The character before the cursor goes.
    Backspace,
    /// The character under the cursor goes.
    Delete,
    /// A character to the left.
    Left,
    /// A character to the right.
    Right,
    /// A word to the left.
    WordLeft,
    /// A word to the right.
    WordRight,
    /// To the line's beginning.
    Home,
    /// To the line's end.
    End,
    /// The line before in the history.
    Up,
    /// The line after in the history.
    Down,
    /// Everything before the cursor goes.
    KillBefore,
    /// Everything after the cursor goes.
    KillAfter,
    /// The word before the cursor goes.
    KillWord,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-L.
    Clear,
}

/// Reads keys from what a terminal sends; what means nothing here is left out.
pub fn keys(data: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = data;
    while let Some(first) = rest.chars().next() {
        let (key, length) = match first {
            '\x1b' => escape(rest),
            '\r' if rest.starts_with("\r\n") => (Some(Key::Enter), 2),
            control => (plain(control), control.len_utf8()),
        };
        keys.extend(key);
        rest = rest.get(length..).unwrap_or_default();
    }
    keys
}

fn plain(c: char) -> Option<Key> {
    Some(match c {
        '\r' | '\n' => Key::Enter,
        '\x7f' | '\x08' => Key::Backspace,
        '\x01' => Key::Home,
        '\x02' => Key::Left,
        '\x03' => Key::Interrupt,
        '\x04' => Key::Delete,
        '\x05' => Key::End,
        '\x06' => Key::Right,
        '\x0b' => Key::KillAfter,
        '\x0c' => Key::Clear,
        '\x0e' => Key::Down,
        '\x10' => Key::Up,
        '\x15' => Key::KillBefore,
        '\x17' => Key::KillWord,
        // A tab that was pasted; the key itself moves the focus.
        '\t' => Key::Char(' '),
        c if c.is_control() => return None,
        c => Key::Char(c),
    })
}

/// The key of an escape sequence, and the sequence's length.
fn escape(text: &str) -> (Option<Key>, usize) {
    const KNOWN: [(&str, Key); 19] = [
        ("\x1b[A", Key::Up),
        ("\x1b[B", Key::Down),
        ("\x1b[C", Key::Right),
        ("\x1b[D", Key::Left),
        ("\x1b[H", Key::Home),
        ("\x1b[F", Key::End),
        ("\x1bOA", Key::Up),
        ("\x1bOB", Key::Down),
        ("\x1bOC", Key::Right),
        ("\x1bOD", Key::Left),
        ("\x1bOH", Key::Home),
        ("\x1bOF", Key::End),
        ("\x1b[3~", Key::Delete),
        ("\x1b[1;5C", Key::WordRight),
        ("\x1b[1;5D", Key::WordLeft),
        ("\x1b[1;3C", Key::WordRight),
        ("\x1b[1;3D", Key::WordLeft),
        ("\x1bb", Key::WordLeft),
        ("\x1bf", Key::WordRight),
    ];
    if let Some((sequence, key)) = KNOWN.iter().find(|(sequence, _)| text.starts_with(sequence)) {
        return (Some(*key), sequence.len());
    }
    let Some(body) = text.strip_prefix("\x1b[") else { return (None, 1) };
    let parameters = body.chars().take_while(|c| c.is_ascii_digit() || *c == ';').count();
    let end = body.get(parameters..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
    (None, 2 + parameters + end)
}

/// What came of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// The line, or the cursor in it.
    Edited,
    /// The line is finished.
    Entered(String),
    /// The line was given up.
    GivenUp,
    /// An empty screen is asked for.
    Cleared,
}

/// A line, its cursor, and the lines before it.
#[derive(Debug, Default)]
pub struct LineEditor {
    line: Vec<char>,
    cursor: usize,
    history: Vec<String>,
    /// Which line of the history is shown; none: a new one.
    shown: Option<usize>,
    /// The new line while one of the history is shown.
    draft: Vec<char>,
    /// The row of the cursor, counted from the prompt's, as it was drawn last.
    cursor_row: usize,
}

impl LineEditor {
    /// The line as it is.
    pub fn line(&self) -> String {
        self.line.iter().collect()
    }

    /// Puts a text into the line, the cursor behind it.
    pub fn set(&mut self, text: &str) {
        self.line = text.chars().collect();
        self.cursor = self.line.len();
    }

    /// Keeps a line in the history.
    pub fn remember(&mut self, line: &str) {
        self.shown = None;
        if line.trim().is_empty() || self.history.last().is_some_and(|last| last == line) {
            return;
        }
        if self.history.len() >= HISTORY_MAX {
            self.history.remove(0);
        }
        self.history.push(line.to_string());
    }

    /// A key was pressed.
    pub fn press(&mut self, key: Key) -> Typed {
        match key {
            Key::Enter => return self.finish(Typed::Entered),
            Key::Interrupt => return self.finish(|_| Typed::GivenUp),
            Key::Clear => return Typed::Cleared,
            Key::Up => self.up(),
            Key::Down => self.down(),
            _ => self.edit(key),
        }
        Typed::Edited
    }

    fn finish(&mut self, how: impl FnOnce(String) -> Typed) -> Typed {
        let line = self.line();
        self.set("");
        self.shown = None;
        how(line)
    }

    fn edit(&mut self, key: Key) {
        let (cursor, end) = (self.cursor, self.line.len());
        match key {
            Key::Char(c) => {
                self.line.insert(cursor, c);
                self.cursor += 1;
            }
            Key::Backspace if cursor > 0 => self.cut(cursor - 1, cursor),
            Key::Delete if cursor < end => self.cut(cursor, cursor + 1),
            Key::Left => self.cursor = cursor.saturating_sub(1),
            Key::Right => self.cursor = end.min(cursor + 1),
            Key::WordLeft => self.cursor = self.word_before(),
            Key::WordRight => self.cursor = self.word_after(),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = end,
            Key::KillBefore => self.cut(0, cursor),
            Key::KillAfter => self.cut(cursor, end),
            Key::KillWord => self.cut(self.word_before(), cursor),
            _ => {}
        }
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.line.drain(from..to);
        self.cursor = from;
    }

    /// Where the word before the cursor begins.
    fn word_before(&self) -> usize {
        let before = self.line.get(..self.cursor).unwrap_or_default();
        let blanks = before.iter().rev().take_while(|c| c.is_whitespace()).count();
        let word = before.iter().rev().skip(blanks).take_while(|c| !c.is_whitespace()).count();
        self.cursor - blanks - word
    }

    /// Where the word after the cursor ends.
    fn word_after(&self) -> usize {
        let after = self.line.get(self.cursor..).unwrap_or_default();
        let blanks = after.iter().take_while(|c| c.is_whitespace()).count();
        let word = after.iter().skip(blanks).take_while(|c| !c.is_whitespace()).count();
        self.cursor + blanks + word
    }

    fn up(&mut self) {
        let before = self.shown.unwrap_or(self.history.len()).checked_sub(1);
        let Some(line) = before.and_then(|at| self.history.get(at)).cloned() else { return };
        if self.shown.is_none() {
            self.draft = std::mem::take(&mut self.line);
        }
        self.shown = before;
        self.set(&line);
    }

    fn down(&mut self) {
        let Some(at) = self.shown else { return };
        match self.history.get(at + 1).cloned() {
            Some(line) => {
                self.shown = Some(at + 1);
                self.set(&line);
            }
            None => {
                self.shown = None;
                self.line = std::mem::take(&mut self.draft);
                self.cursor = self.line.len();
            }
        }
    }

    /// The cursor stands at the beginning of a row where nothing is.
    pub fn forget_row(&mut self) {
        self.cursor_row = 0;
    }

    /// What a terminal of so many columns must be sent to show the line behind its prompt, wherever the line
    /// was drawn last. `prompt` holds `(shown, width)`: escape sequences have no width.
    pub fn draw(&mut self, (prompt, prompt_width): (&str, usize), columns: usize) -> String {
        let columns = columns.max(1);
        let mut out = String::from("\r");
        if self.cursor_row > 0 {
            let _ = write!(out, "\x1b[{}A", self.cursor_row);
        }
        out.push_str("\x1b[J");
        out.push_str(prompt);
        out.extend(&self.line);
        let end = prompt_width + self.line.len();
        // A full last row leaves the cursor hanging behind it: begin the next.
        if end > 0 && end.is_multiple_of(columns) {
            out.push_str("\r\n");
        }
        let (end_row, target) = (end / columns, prompt_width + self.cursor);
        let (row, column) = (target / columns, target % columns);
        if end_row > row {
            let _ = write!(out, "\x1b[{}A", end_row - row);
        }
        out.push('\r');
        if column > 0 {
            let _ = write!(out, "\x1b[{column}C");
        }
        self.cursor_row = row;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(data: &str) -> LineEditor {
        let mut editor = LineEditor::default();
        for key in keys(data) {
            if let Typed::Entered(line) = editor.press(key) {
                editor.remember(&line);
            }
        }
        editor
    }

    #[test]
    fn keys_edit_the_line() {
        for (data, line) in [
            ("kubetcl\x7f\x7f\x7fctl get", "kubectl get"),
            ("ac\x1b[Db", "abc"),
            ("bc\x01a", "abc"),
            ("one two\x17three", "one three"),
            ("one two\x01\x0bthree", "three"),
            ("one two\x15x", "x"),
            ("one two\x1b[1;5D\x1b[3~", "one wo"),
            ("ä€\x7f!", "ä!"),
            ("a\x1b[99;99Xb\x1b", "ab"),
        ] {
            assert_eq!(typed(data).line(), line, "{data:?}");
        }
    }

    #[test]
    fn the_history_comes_back_and_the_draft_too() {
        for (data, line) in [
            ("one\rtwo\r\x1b[A", "two"),
            ("one\rtwo\r\x1b[A\x1b[A\x1b[A", "one"),
            ("one\rtwo\rdraft\x1b[A\x1b[A\x1b[B\x1b[B", "draft"),
            ("same\rsame\r\x1b[A\x1b[A", "same"),
            ("\x1b[A\x1b[B", ""),
        ] {
            assert_eq!(typed(data).line(), line, "{data:?}");
        }
    }

    #[test]
    fn a_long_line_wraps() {
        let mut editor = typed("abcdefgh");
        assert_eq!(editor.draw(("$ ", 2), 5), "\r\x1b[J$ abcdefgh\r\n\r");
        editor.press(Key::Home);
        assert_eq!(editor.draw(("$ ", 2), 5), "\r\x1b[2A\x1b[J$ abcdefgh\r\n\x1b[2A\r\x1b[2C");
    }

    #[test]
    fn whatever_comes_nothing_panics() {
        let odd: Vec<char> =
            "\x1b[;\x1bO~a\u{301}🦀\r\n\x03\x0c\x17\x0b\x1b[3~\x1b[D".chars().collect();
        for start in 0..odd.len() {
            for end in start..odd.len() {
                let data: String = odd.get(start..end).unwrap().iter().collect();
                typed(&data).draw(("> ", 2), 3);
            }
        }
    }
}
