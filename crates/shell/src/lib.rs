//! The terminal: bash's grammar, and the programs that people type.
//!
//! A line goes: [`grammar`] reads it and expands its words → a program of [`commands`] or [`kubectl`] runs as
//! a process of the place's network namespace → its output comes to a [`Terminal`]. Whatever goes over a
//! network goes as packets.
//!
//! - [`files`], [`io`], [`session`]: what a shell has;
//! - [`grammar`]: text to what is to be done, and doing it;
//! - [`flags`], [`tabwriter`]: how the real tools read arguments and lay out columns;
//! - [`commands`]: the programs; [`kubectl`]: the largest of them;
//! - [`Shell`]: all of it, behind one door; [`script`]: texts of many lines.
//!
//! Invariants: no input makes it panic; programs take virtual time and never wall time; a program that cannot
//! do something says so in one line and ends with a code other than 0.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

pub mod commands;
pub mod files;
pub mod flags;
pub mod grammar;
pub mod io;
pub mod kubectl;
pub mod script;
pub mod session;
pub mod tabwriter;

use std::rc::Rc;

use lab::{Lab, Place};
use netsim::Process;

pub use crate::files::{FileError, FileKind, Files, MemoryFiles};
pub use crate::grammar::SyntaxError;
pub use crate::io::{Input, Terminal, Transcript};

use crate::commands::exec::InContainers;
use crate::grammar::run::Runner;
use crate::io::{Io, Output};
use crate::session::Session;

/// A shell at a place, with files and a terminal.
pub struct Shell {
    session: Rc<Session>,
    terminal: Rc<dyn Terminal>,
}

impl Shell {
    /// A shell on your machine.
    pub fn new(lab: &Lab, files: Rc<dyn Files>, terminal: Rc<dyn Terminal>) -> Shell {
        Shell::at(lab, Place::Machine, files, terminal)
    }

    /// A shell somewhere. It runs the commands of containers from now on, too.
    pub fn at(lab: &Lab, place: Place, files: Rc<dyn Files>, terminal: Rc<dyn Terminal>) -> Shell {
        lab.set_commands(Rc::new(InContainers(lab.downgrade())));
        Shell { session: Rc::new(Session::new(lab, place, files)), terminal }
    }

    /// Starts what a text says. It runs while the world's time passes; the process's exit code is the last
    /// command's. [`SyntaxError::Incomplete`]: it needs more lines.
    pub fn start(&self, text: &str) -> Result<Process, SyntaxError> {
        self.start_with(text, Input::Null)
    }

    /// The same with something to read.
    pub fn start_with(&self, text: &str, stdin: Input) -> Result<Process, SyntaxError> {
        grammar::parse(text)?;
        let (session, text) = (self.session.clone(), text.to_string());
        let output = Output::Terminal(self.terminal.clone());
        let io = Io { stdin, stdout: output.clone(), stderr: output };
        let program = |host| async move { Runner::new(session, host, io).run(&text).await };
        let process = self.session.lab.start(&self.session.place, "bash", program);
        // The place is gone when its Pod or cluster is.
        process.ok_or_else(|| SyntaxError::Wrong(format!("{} is gone", self.session.place)))
    }

    /// What stands before the cursor: `you@laptop:~$ `.
    pub fn prompt(&self) -> String {
        let cwd = self.session.cwd();
        let home = self.session.var("HOME").unwrap_or_default();
        let cwd = match cwd.strip_prefix(&home) {
            Some(rest) if !home.is_empty() => format!("~{rest}"),
            _ => cwd,
        };
        let (user, sign) = match self.session.place {
            Place::Machine => ("you@laptop".to_string(), '$'),
            _ => (format!("root@{}", self.session.place.short()), '#'),
        };
        format!("{user}:{cwd}{sign} ")
    }

    /// What it remembers.
    pub fn session(&self) -> &Rc<Session> {
        &self.session
    }
}
