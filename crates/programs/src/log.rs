//! What a program has printed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use base::Instant;

/// Lines kept of one program; of more, the oldest are forgotten.
pub const LINES_MAX: usize = 1000;

/// The standard output of a program. Cheap to copy; all copies are the same log.
#[derive(Clone, Debug, Default)]
pub struct Log(Rc<RefCell<VecDeque<(Instant, String)>>>);

impl Log {
    /// Prints a line.
    pub fn line(&self, at: Instant, line: impl Into<String>) {
        let mut lines = self.0.borrow_mut();
        if lines.len() >= LINES_MAX {
            lines.pop_front();
        }
        lines.push_back((at, line.into()));
    }

    /// All lines that are kept, with their times.
    pub fn lines(&self) -> Vec<(Instant, String)> {
        self.0.borrow().iter().cloned().collect()
    }
}
