//! What the terminal shows: output of commands on its way to the screen, and the prompt.

use std::cell::{Cell, RefCell};

use shell::Terminal;

/// Output waits here until the next frame.
const WAITING_MAX: usize = 4 * 1024 * 1024;

/// Collects what is to be shown until the page takes it.
#[derive(Debug)]
pub struct Screen {
    bytes: RefCell<Vec<u8>>,
    columns: Cell<usize>,
    at_line_start: Cell<bool>,
}

impl Default for Screen {
    fn default() -> Self {
        Screen { bytes: RefCell::default(), columns: Cell::new(80), at_line_start: Cell::new(true) }
    }
}

impl Screen {
    /// What is to be shown since the last time.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.bytes.borrow_mut())
    }

    /// The terminal is so wide now.
    pub fn set_columns(&self, columns: usize) {
        self.columns.set(columns.max(20));
    }

    /// Shows what is meant for a terminal already: escape sequences, `\r\n`.
    pub fn raw(&self, text: &str) {
        self.bytes.borrow_mut().extend_from_slice(text.as_bytes());
        if let Some(last) = text.bytes().last() {
            self.at_line_start.set(last == b'\n');
        }
    }

    /// Begins a new line, unless the cursor stands at the beginning of one.
    pub fn fresh_line(&self) {
        if !self.at_line_start.get() {
            self.raw("\r\n");
        }
    }
}

impl Terminal for Screen {
    fn show(&self, bytes: &[u8]) {
        let mut out = self.bytes.borrow_mut();
        if out.len() > WAITING_MAX {
            // A program that writes without end must not eat the tab's memory; the oldest goes.
            out.drain(..WAITING_MAX / 2);
        }
        for byte in bytes {
            if *byte == b'\n' {
                out.push(b'\r');
            }
            out.push(*byte);
        }
        if let Some(last) = bytes.last() {
            self.at_line_start.set(*last == b'\n');
        }
    }

    fn columns(&self) -> usize {
        self.columns.get()
    }
}

/// `you@laptop:~$ ` with its colour, and its width on the screen.
pub fn coloured(prompt: &str) -> (String, usize) {
    let width = prompt.chars().count();
    let text = prompt.trim_end();
    (format!("\x1b[36m{text}\x1b[0m{}", prompt.get(text.len()..).unwrap_or_default()), width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_terminals_want_them() {
        let screen = Screen::default();
        screen.show(b"one\ntwo");
        screen.fresh_line();
        screen.fresh_line();
        assert_eq!(screen.take(), b"one\r\ntwo\r\n");
    }
}
