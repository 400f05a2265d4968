//! What a program has printed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use base::Instant;

/// Lines kept of one program; of more, the oldest are forgotten.
pub const LINES_MAX: usize = 1000;
/// Bytes of a line; a longer one is several.
const LINE_MAX: usize = 16 * 1024;

/// The standard output of a program. Cheap to copy; all copies are the same log.
#[derive(Clone, Debug, Default)]
pub struct Log(Rc<RefCell<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    whole: VecDeque<(Instant, String)>,
    /// Lines that were printed and are forgotten.
    forgotten: u64,
    /// What has come since the last line's end.
    open: Vec<u8>,
    is_closed: bool,
}

impl Log {
    /// Prints a line.
    pub fn line(&self, at: Instant, line: impl Into<String>) {
        let lines = &mut *self.0.borrow_mut();
        if lines.whole.len() >= LINES_MAX {
            lines.whole.pop_front();
            lines.forgotten += 1;
        }
        lines.whole.push_back((at, line.into()));
    }

    /// Prints bytes: lines, or parts of them.
    pub fn write(&self, at: Instant, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = {
                let open = &mut self.0.borrow_mut().open;
                // A line without an end is broken, as container runtimes do.
                open.extend_from_slice(part);
                if !part.ends_with(b"\n") && open.len() < LINE_MAX {
                    continue;
                }
                std::mem::take(open)
            };
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            self.line(at, String::from_utf8_lossy(text));
        }
    }

    /// The program is over; a line that has begun is ended.
    pub fn close(&self, at: Instant) {
        let open = {
            let lines = &mut *self.0.borrow_mut();
            lines.is_closed = true;
            std::mem::take(&mut lines.open)
        };
        if !open.is_empty() {
            self.line(at, String::from_utf8_lossy(&open));
        }
    }

    /// Whether both are the same log, and not only equal.
    pub fn is_same(&self, other: &Log) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Nothing more will come.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().is_closed
    }

    /// How many lines were printed, those among them that are forgotten.
    pub fn count(&self) -> u64 {
        let lines = self.0.borrow();
        lines.forgotten + lines.whole.len() as u64
    }

    /// All lines that are kept, with their times.
    pub fn lines(&self) -> Vec<(Instant, String)> {
        self.lines_from(0)
    }

    /// Those of them that came after the first `count` lines.
    pub fn lines_from(&self, count: u64) -> Vec<(Instant, String)> {
        let lines = self.0.borrow();
        let skip = usize::try_from(count.saturating_sub(lines.forgotten)).unwrap_or(usize::MAX);
        lines.whole.iter().skip(skip).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_lines() {
        let log = Log::default();
        for (at, bytes) in [(1, "a\nb"), (2, "c\n\nd")] {
            log.write(Instant::from_secs(at), bytes.as_bytes());
        }
        let lines = |log: &Log| log.lines().into_iter().map(|(_, line)| line).collect::<Vec<_>>();
        assert_eq!(lines(&log), ["a", "bc", ""]);
        log.close(Instant::from_secs(3));
        assert_eq!(lines(&log), ["a", "bc", "", "d"]);
    }

    #[test]
    fn a_reader_goes_on_where_it_was_though_lines_are_forgotten() {
        let log = Log::default();
        let print = |count: usize| (0..count).for_each(|n| log.line(Instant::ZERO, n.to_string()));
        print(LINES_MAX);
        let seen = log.count();
        print(2);
        let new: Vec<String> = log.lines_from(seen).into_iter().map(|(_, line)| line).collect();
        assert_eq!((new, log.count()), (vec!["0".into(), "1".into()], LINES_MAX as u64 + 2));
        assert_eq!((log.lines_from(0).len(), log.lines_from(log.count()).len()), (LINES_MAX, 0));
    }
}
