//! A syntax tree to what it does.
//!
//! Here are lists, pipelines and simple commands; [`compound`] has the loops and choices, [`test`] has `[[ … ]]`,
//! [`redirect`] input and output, [`builtins`] what is no program.

mod builtins;
mod compound;
mod redirect;
mod test;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use brush_parser::ast::{
    AndOr, AndOrList, Assignment, AssignmentName, AssignmentValue, Command,
    CommandPrefixOrSuffixItem, CompoundList, FunctionBody, Pipeline, SeparatorOperator,
    SimpleCommand,
};
use netsim::Host;
use netsim::exec::Notify;

use super::expand::ExpandError;
use super::{SyntaxError, parse};
use crate::commands::{self, Ctx};
use crate::io::{Input, Io, Output, pipe};
use crate::session::Session;

/// Functions and sourced texts within each other at most.
const DEPTH_MAX: u32 = 40;
/// How the flow of commands goes on. The exit code is the session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// With the next command.
    Next,
    /// After this many loops.
    Break(u32),
    /// With the next turn of the loop that many out.
    Continue(u32),
    /// After the function.
    Return,
    /// Not at all.
    Exit,
}

/// Runs commands in a session.
#[derive(Clone)]
pub struct Runner {
    pub(crate) session: Rc<Session>,
    pub(crate) host: Host,
    pub(crate) io: Io,
    depth: u32,
    /// The exit code is looked at by whoever runs this: `set -e` does not apply.
    is_tested: bool,
}

type Step<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

impl Runner {
    /// A runner for a session, in a program's place.
    pub fn new(session: Rc<Session>, host: Host, io: Io) -> Runner {
        Runner { session, host, io, depth: 0, is_tested: false }
    }

    /// Runs a text to its end. The exit code is the last command's.
    pub async fn run(&self, text: &str) -> i32 {
        self.source(text).await;
        self.session.status()
    }

    pub(crate) async fn source(&self, text: &str) -> Flow {
        let program = match parse(text) {
            Ok(program) => program,
            Err(SyntaxError::Incomplete) => {
                self.complain("syntax error: unexpected end of file").await;
                return self.end(2);
            }
            Err(SyntaxError::Wrong(why)) => {
                self.complain(&why).await;
                return self.end(2);
            }
        };
        for list in &program.complete_commands {
            let flow = self.list(list).await;
            if flow != Flow::Next {
                return flow;
            }
        }
        Flow::Next
    }

    fn end(&self, status: i32) -> Flow {
        self.session.set_status(status);
        Flow::Next
    }

    /// In a container the shell is `sh`, and speaks as busybox's does.
    fn in_container(&self) -> bool {
        self.session.container.is_some()
    }

    async fn complain(&self, message: &str) {
        let name = if self.in_container() { "sh" } else { "bash" };
        // Who does not read errors does not get them.
        let _ = self.io.stderr.write(format!("{name}: {message}\n")).await;
    }

    async fn bad_word(&self, error: &ExpandError) -> Flow {
        self.complain(&error.to_string()).await;
        self.end(1)
    }

    fn with_io(&self, io: Io) -> Runner {
        Runner { io, ..self.clone() }
    }

    fn tested(&self) -> Runner {
        Runner { is_tested: true, ..self.clone() }
    }

    /// In a copy of the session: `( … )`, `$(…)`, the parts of a pipeline.
    fn forked(&self) -> Runner {
        Runner { session: Rc::new(self.session.fork()), ..self.clone() }
    }

    /// `$(…)`: what a command prints, without the line ends at its end.
    pub(crate) async fn capture(&self, text: &str) -> String {
        if self.depth >= DEPTH_MAX {
            return String::new();
        }
        let output = Rc::new(RefCell::new(Vec::new()));
        let io = Io { stdout: Output::Capture(output.clone()), ..self.io.clone() };
        let inner = Runner { depth: self.depth + 1, ..self.forked().with_io(io) };
        let status = Box::pin(inner.run(text)).await;
        self.session.set_status(status);
        let bytes = output.take();
        String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_string()
    }

    // ---- lists and pipelines -----------------------------------------------------------------------------

    fn list<'a>(&'a self, list: &'a CompoundList) -> Step<'a, Flow> {
        Box::pin(async move {
            for item in &list.0 {
                let flow = match item.1 {
                    SeparatorOperator::Sequence => self.and_or(&item.0).await,
                    SeparatorOperator::Async => self.background(&item.0),
                };
                if flow != Flow::Next {
                    return flow;
                }
                if self.session.signals.get() {
                    let flow = self.signalled().await;
                    if flow != Flow::Next {
                        return flow;
                    }
                }
            }
            Flow::Next
        })
    }

    /// SIGTERM has come: what `trap` says is done, after the command that was running.
    fn signalled(&self) -> Step<'_, Flow> {
        Box::pin(async move {
            let Some(handler) = self.session.trap("TERM") else { return Flow::Next };
            self.session.signals.set(false);
            self.source(&handler).await
        })
    }

    async fn and_or(&self, list: &AndOrList) -> Flow {
        let rest = list.additional.as_slice();
        let first = if rest.is_empty() { self.clone() } else { self.tested() };
        let mut flow = first.pipeline(&list.first).await;
        for (at, item) in rest.iter().enumerate() {
            if flow != Flow::Next {
                return flow;
            }
            let (pipeline, wants_success) = match item {
                AndOr::And(pipeline) => (pipeline, true),
                AndOr::Or(pipeline) => (pipeline, false),
            };
            if (self.session.status() == 0) == wants_success {
                let is_last = at + 1 == rest.len();
                let runner = if is_last { self.clone() } else { self.tested() };
                flow = runner.pipeline(pipeline).await;
            }
        }
        flow
    }

    fn background(&self, list: &AndOrList) -> Flow {
        let runner = self.forked();
        let list = list.clone();
        let place = self.session.place.clone();
        let process = self.session.lab.start(&place, "bash", move |host| async move {
            let io = Io { stdin: Input::Null, ..runner.io.clone() };
            let runner = Runner { host, io, ..runner };
            runner.and_or(&list).await;
            runner.session.status()
        });
        if let Some(process) = process {
            self.session.add_job(process);
        }
        self.end(0)
    }

    async fn pipeline(&self, pipeline: &Pipeline) -> Flow {
        let begun = self.host.now();
        let runner = if pipeline.bang { self.tested() } else { self.clone() };
        let flow = match pipeline.seq.as_slice() {
            [one] => runner.command(one).await,
            many => runner.stages(many).await,
        };
        if pipeline.timed.is_some() {
            let took = self.host.now() - begun;
            let (minutes, micros) = (took.as_secs() / 60, took.as_micros() % 60_000_000);
            let (secs, millis) = (micros / 1_000_000, micros / 1000 % 1000);
            let text =
                format!("\nreal\t{minutes}m{secs}.{millis:03}s\nuser\t0m0.000s\nsys\t0m0.000s\n");
            let _ = self.io.stderr.write(text).await;
        }
        if pipeline.bang {
            let status = i32::from(self.session.status() == 0);
            self.session.set_status(status);
        }
        let has_failed = self.session.status() != 0 && !pipeline.bang;
        if flow == Flow::Next && has_failed && !self.is_tested && self.session.option("errexit") {
            return Flow::Exit;
        }
        flow
    }

    /// All stages run at once, each with the output of the one before as its input.
    async fn stages(&self, commands: &[Command]) -> Flow {
        let statuses = Rc::new(RefCell::new(vec![None; commands.len()]));
        let done = Notify::new(self.host.net());
        let mut stdin = self.io.stdin.clone();
        for (at, command) in commands.iter().enumerate() {
            let mut io = Io { stdin, ..self.io.clone() };
            stdin = Input::Null;
            if at + 1 < commands.len() {
                let (reader, writer) = pipe(self.host.net());
                io.stdout = Output::Pipe(writer);
                stdin = Input::Pipe(reader);
            }
            let stage = self.tested().forked().with_io(io);
            let (command, statuses, done) = (command.clone(), statuses.clone(), done.clone());
            self.host.spawn(async move {
                stage.command(&command).await;
                let status = stage.session.status();
                // Its ends of the pipes are closed before anybody hears that it is done.
                drop(stage);
                if let Some(slot) = statuses.borrow_mut().get_mut(at) {
                    *slot = Some(status);
                }
                done.notify();
            });
        }
        drop(stdin);
        while statuses.borrow().iter().any(Option::is_none) {
            done.changed().await;
        }
        let statuses: Vec<i32> = statuses.borrow().iter().flatten().copied().collect();
        let last = statuses.last().copied().unwrap_or(0);
        let failed = statuses.iter().rev().find(|status| **status != 0).copied();
        let status = if self.session.option("pipefail") { failed.unwrap_or(0) } else { last };
        self.end(status)
    }

    fn command<'a>(&'a self, command: &'a Command) -> Step<'a, Flow> {
        Box::pin(async move {
            match command {
                Command::Simple(simple) => self.simple(simple).await,
                Command::Compound(compound, redirects) => {
                    let redirects = redirects.iter().flat_map(|list| list.0.iter());
                    match self.redirected(redirects).await {
                        Ok(io) => self.with_io(io).compound(compound).await,
                        Err(_) => self.end(1),
                    }
                }
                Command::Function(definition) => {
                    self.session.define(&definition.fname.value, definition.body.clone());
                    self.end(0)
                }
                Command::ExtendedTest(test, _) => {
                    let status = match self.test(&test.expr).await {
                        Ok(holds) => i32::from(!holds),
                        Err(error) => {
                            self.complain(&error.to_string()).await;
                            2
                        }
                    };
                    self.end(status)
                }
            }
        })
    }

    // ---- simple commands ---------------------------------------------------------------------------------

    async fn simple(&self, command: &SimpleCommand) -> Flow {
        let prefix = command.prefix.iter().flat_map(|prefix| prefix.0.iter());
        let suffix = command.suffix.iter().flat_map(|suffix| suffix.0.iter());
        let items: Vec<&CommandPrefixOrSuffixItem> = prefix.clone().chain(suffix.clone()).collect();
        let substitutes = |item: &&CommandPrefixOrSuffixItem| {
            matches!(item, CommandPrefixOrSuffixItem::ProcessSubstitution(..))
        };
        if items.iter().any(substitutes) {
            self.complain("process substitution is not supported by podwire").await;
            return self.end(1);
        }
        let mut args = Vec::new();
        let before = self.session.status();
        let words = command.word_or_name.iter().map(|word| word.value.as_str());
        let more = suffix.filter_map(|item| match item {
            CommandPrefixOrSuffixItem::Word(word)
            | CommandPrefixOrSuffixItem::AssignmentWord(_, word) => Some(word.value.as_str()),
            _ => None,
        });
        for word in words.chain(more) {
            match self.words(word).await {
                Ok(more) => args.extend(more),
                Err(error) => {
                    self.complain(&error.to_string()).await;
                    self.session.set_status(1);
                    return Flow::Exit;
                }
            }
        }
        let mut assignments = Vec::new();
        for item in prefix {
            let CommandPrefixOrSuffixItem::AssignmentWord(assignment, _) = item else { continue };
            match self.assignment(assignment).await {
                Ok(pair) => assignments.push(pair),
                Err(error) => return self.bad_word(&error).await,
            }
        }
        let redirects = items.iter().filter_map(|item| match item {
            CommandPrefixOrSuffixItem::IoRedirect(redirect) => Some(redirect),
            _ => None,
        });
        let Ok(io) = self.redirected(redirects).await else { return self.end(1) };
        if args.is_empty() {
            for (name, value) in assignments {
                self.session.set(&name, &value);
            }
            // `$?` is that of the last `$(…)`, or 0.
            let has_run = self.session.status() != before;
            return if has_run { Flow::Next } else { self.end(0) };
        }
        self.with_io(io).call(args, assignments).await
    }

    async fn assignment(&self, assignment: &Assignment) -> Result<(String, String), ExpandError> {
        let (AssignmentName::VariableName(name), AssignmentValue::Scalar(word)) =
            (&assignment.name, &assignment.value)
        else {
            return Err(ExpandError("arrays are not supported by podwire".to_string()));
        };
        let value = self.text(&word.value).await?;
        let before = if assignment.append { self.session.var(name) } else { None };
        Ok((name.clone(), before.unwrap_or_default() + &value))
    }

    /// Runs a command by its name: function, builtin, program.
    async fn call(&self, mut args: Vec<String>, env: Vec<(String, String)>) -> Flow {
        let name = args.remove(0);
        if let Some(body) = self.session.function(&name) {
            return self.function(&body, args).await;
        }
        if matches!(name.as_str(), "export" | "eval" | "source" | ".") {
            // Before one of these an assignment stays; before a program it is the program's only.
            env.iter().for_each(|(name, value)| self.session.set(name, value));
        }
        if let Some(flow) = self.builtin(&name, &args).await {
            return flow;
        }
        let Some(command) = commands::find(&name, &self.session.place) else {
            args.insert(0, name);
            if let Some(status) =
                commands::exec::own_program(&self.session, &self.host, &args, &self.io)
            {
                return self.end(status.await);
            }
            let name = args.swap_remove(0);
            let what = if self.in_container() { "not found" } else { "command not found" };
            self.complain(&format!("{name}: {what}")).await;
            return self.end(127);
        };
        let ctx = Ctx {
            session: self.session.clone(),
            host: self.host.clone(),
            io: self.io.clone(),
            name,
            args,
            env,
        };
        // Writing where nobody reads ends a command (SIGPIPE).
        let status = command(ctx).await.unwrap_or(141);
        self.end(status)
    }

    async fn function(&self, body: &FunctionBody, args: Vec<String>) -> Flow {
        if self.depth >= DEPTH_MAX {
            self.complain("maximum function nesting level exceeded").await;
            return self.end(1);
        }
        let outer = self.session.set_parameters(args);
        let inner = Runner { depth: self.depth + 1, ..self.clone() };
        let flow = Box::pin(inner.compound(&body.0)).await;
        self.session.set_parameters(outer);
        if flow == Flow::Return { Flow::Next } else { flow }
    }
}
