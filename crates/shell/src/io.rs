//! Standard input, output and error of a command: the terminal, pipes, files.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use netsim::Net;
use netsim::exec::Notify;
use programs::Log;

use crate::files::{FileError, Files};

/// What a terminal does with output.
pub trait Terminal {
    /// Shows it.
    fn show(&self, bytes: &[u8]);
    /// Width in columns.
    fn columns(&self) -> usize {
        80
    }
}

/// A terminal that remembers what was shown.
#[derive(Debug, Default)]
pub struct Transcript(RefCell<Vec<u8>>);

impl Transcript {
    /// Takes what was shown since the last time.
    pub fn take(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *self.0.borrow_mut())).into_owned()
    }
}

impl Terminal for Transcript {
    fn show(&self, bytes: &[u8]) {
        self.0.borrow_mut().extend_from_slice(bytes);
    }
}

/// Nobody reads what was written any more (`EPIPE`): the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// What a command that has nothing else to say returns: its exit code.
pub type Exit = Result<i32, Closed>;

/// Bytes that a pipe holds before writers have to wait (`PIPE_BUF` pages of Linux).
const PIPE_CAPACITY: usize = 64 * 1024;

struct PipeState {
    buffer: RefCell<VecDeque<u8>>,
    writers: Cell<usize>,
    readers: Cell<usize>,
    changed: Notify,
}

/// The writing end of a pipe; the pipe is closed when the last one is dropped.
pub struct PipeWriter(Rc<PipeState>);

/// The reading end of a pipe.
pub struct PipeReader(Rc<PipeState>);

/// A new pipe.
pub fn pipe(net: &Net) -> (PipeReader, PipeWriter) {
    let state = Rc::new(PipeState {
        buffer: RefCell::default(),
        writers: Cell::new(1),
        readers: Cell::new(1),
        changed: Notify::new(net),
    });
    (PipeReader(state.clone()), PipeWriter(state))
}

impl Clone for PipeWriter {
    fn clone(&self) -> Self {
        self.0.writers.set(self.0.writers.get() + 1);
        PipeWriter(self.0.clone())
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.0.writers.set(self.0.writers.get().saturating_sub(1));
        self.0.changed.notify();
    }
}

impl Clone for PipeReader {
    fn clone(&self) -> Self {
        self.0.readers.set(self.0.readers.get() + 1);
        PipeReader(self.0.clone())
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.0.readers.set(self.0.readers.get().saturating_sub(1));
        self.0.changed.notify();
    }
}

impl PipeWriter {
    async fn write(&self, mut bytes: &[u8]) -> Result<(), Closed> {
        while !bytes.is_empty() {
            if self.0.readers.get() == 0 {
                return Err(Closed);
            }
            let room = PIPE_CAPACITY.saturating_sub(self.0.buffer.borrow().len());
            if room == 0 {
                self.0.changed.changed().await;
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.0.buffer.borrow_mut().extend(now);
            self.0.changed.notify();
            bytes = later;
        }
        Ok(())
    }
}

impl PipeReader {
    /// At least one byte, or none when nobody writes any more.
    async fn read(&self, max: usize) -> Vec<u8> {
        loop {
            let read: Vec<u8> = {
                let mut buffer = self.0.buffer.borrow_mut();
                let count = buffer.len().min(max);
                buffer.drain(..count).collect()
            };
            if !read.is_empty() {
                self.0.changed.notify();
                return read;
            }
            if self.0.writers.get() == 0 {
                return read;
            }
            self.0.changed.changed().await;
        }
    }
}

/// Where output goes.
#[derive(Clone)]
pub enum Output {
    /// The terminal.
    Terminal(Rc<dyn Terminal>),
    /// The terminal, by way of somebody who passes it on (`kubectl exec` without `-t`): a program in a container sees a
    /// pipe.
    Passed(Rc<dyn Terminal>),
    /// The next command of a pipeline.
    Pipe(PipeWriter),
    /// A variable: `$(…)`.
    Capture(Rc<RefCell<Vec<u8>>>),
    /// A file.
    File(Rc<dyn Files>, Rc<str>),
    /// A container's log.
    Log(Log, Net),
    /// Nowhere.
    Null,
}

impl Output {
    /// Writes all of it.
    pub async fn write(&self, bytes: impl AsRef<[u8]>) -> Result<(), Closed> {
        let bytes = bytes.as_ref();
        match self {
            Output::Terminal(terminal) | Output::Passed(terminal) => terminal.show(bytes),
            Output::Pipe(pipe) => return pipe.write(bytes).await,
            Output::Capture(into) => into.borrow_mut().extend_from_slice(bytes),
            // The file was there when it was opened; a disk that is full by now is not told of.
            Output::File(files, path) => files.append(path, bytes).map_err(|_| Closed)?,
            Output::Log(log, net) => log.write(net.now(), bytes),
            Output::Null => {}
        }
        Ok(())
    }

    /// It is shown to somebody, and not passed on or kept.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Output::Terminal(_) | Output::Passed(_))
    }

    /// It is a terminal for the program itself, too.
    pub fn is_tty(&self) -> bool {
        matches!(self, Output::Terminal(_))
    }

    /// The same for a program that has no terminal of its own.
    pub(crate) fn passed_on(self) -> Output {
        match self {
            Output::Terminal(terminal) => Output::Passed(terminal),
            other => other,
        }
    }

    /// The file at `path`, emptied first unless `append`.
    pub fn to_file(files: &Rc<dyn Files>, path: &str, append: bool) -> Result<Output, FileError> {
        if path == "/dev/null" {
            return Ok(Output::Null);
        }
        if append {
            files.append(path, b"")?;
        } else {
            files.write(path, b"")?;
        }
        Ok(Output::File(files.clone(), path.into()))
    }
}

/// Where input comes from.
#[derive(Clone)]
pub enum Input {
    /// Nowhere: it has ended.
    Null,
    /// A text, from where it was read up to.
    Bytes(Rc<RefCell<VecDeque<u8>>>),
    /// The command before in a pipeline.
    Pipe(PipeReader),
}

impl Input {
    /// A text.
    pub fn of(bytes: impl Into<Vec<u8>>) -> Input {
        Input::Bytes(Rc::new(RefCell::new(VecDeque::from(bytes.into()))))
    }

    /// At least one byte and at most `max`, or none at the end.
    pub async fn read(&self, max: usize) -> Vec<u8> {
        match self {
            Input::Null => Vec::new(),
            Input::Bytes(bytes) => {
                let mut bytes = bytes.borrow_mut();
                let count = bytes.len().min(max);
                bytes.drain(..count).collect()
            }
            Input::Pipe(pipe) => pipe.read(max).await,
        }
    }

    /// Everything up to the end.
    pub async fn read_to_end(&self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let some = self.read(usize::MAX).await;
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    /// A line without its end; `None` at the end of the input.
    pub async fn read_line(&self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            let byte = self.read(1).await;
            match byte.first() {
                None if line.is_empty() => return None,
                None | Some(b'\n') => return Some(String::from_utf8_lossy(&line).into_owned()),
                Some(byte) => line.push(*byte),
            }
        }
    }
}

/// The three of them.
#[derive(Clone)]
pub struct Io {
    /// Standard input.
    pub stdin: Input,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
}
