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
    /// What has come since the last line's end.
    open: Vec<u8>,
}

impl Log {
    /// Prints a line.
    pub fn line(&self, at: Instant, line: impl Into<String>) {
        let whole = &mut self.0.borrow_mut().whole;
        if whole.len() >= LINES_MAX {
            whole.pop_front();
        }
        whole.push_back((at, line.into()));
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

    /// Ends a line that has begun: the program is over.
    pub fn close(&self, at: Instant) {
        let open = std::mem::take(&mut self.0.borrow_mut().open);
        if !open.is_empty() {
            self.line(at, String::from_utf8_lossy(&open));
        }
    }

    /// All lines that are kept, with their times.
    pub fn lines(&self) -> Vec<(Instant, String)> {
        self.0.borrow().whole.iter().cloned().collect()
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
}
