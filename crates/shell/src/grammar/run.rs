//! A syntax tree to what it does: lists, pipelines, loops, redirections, simple commands.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use base::Duration;
use brush_parser::ast::{
    AndOr, AndOrList, Assignment, AssignmentName, AssignmentValue, BinaryPredicate,
    CaseItemPostAction, Command, CommandPrefixOrSuffixItem, CompoundCommand, CompoundList,
    ElseClause, ExtendedTestExpr, FunctionBody, IoFileRedirectKind, IoFileRedirectTarget,
    IoRedirect, Pipeline, SeparatorOperator, SimpleCommand, UnaryPredicate,
    UnexpandedArithmeticExpr, Word,
};
use netsim::Host;
use netsim::exec::{Either, Notify};

use super::expand::ExpandError;
use super::{SyntaxError, parse};
use crate::commands::{self, Ctx};
use crate::files::FileKind;
use crate::io::{Input, Io, Output, pipe};
use crate::session::Session;

/// Functions and sourced texts within each other at most.
const DEPTH_MAX: u32 = 40;
/// What a turn of a loop takes, so that an endless loop lets time pass.
const LOOP_TURN: Duration = Duration::from_micros(10);
/// The same in a container, where a loop may run for hours of virtual time with nobody looking.
const LOOP_TURN_CONTAINER: Duration = Duration::from_millis(1);

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

    /// `trap [HANDLER SIGNAL…]`
    async fn trap(&self, args: &[String]) -> Flow {
        let Some((handler, signals)) = args.split_first() else { return self.end(0) };
        let handler = Some(handler.as_str()).filter(|handler| *handler != "-");
        for signal in signals {
            let name = match signal.trim_start_matches("SIG") {
                "15" => "TERM",
                "0" => "EXIT",
                "2" => "INT",
                "1" => "HUP",
                "3" => "QUIT",
                name => name,
            };
            if !matches!(name, "TERM" | "EXIT" | "INT" | "HUP" | "QUIT" | "ERR" | "USR1" | "USR2") {
                self.complain(&format!("trap: {signal}: invalid signal specification")).await;
                return self.end(1);
            }
            self.session.set_trap(name, handler);
        }
        self.end(0)
    }

    /// `exec [COMMAND…]`: the command instead of the shell.
    async fn exec(&self, args: &[String]) -> Flow {
        if args.is_empty() {
            return self.end(0);
        }
        Box::pin(self.call(args.to_vec(), Vec::new())).await;
        Flow::Exit
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

    // ---- compound commands -------------------------------------------------------------------------------

    async fn compound(&self, command: &CompoundCommand) -> Flow {
        match command {
            CompoundCommand::BraceGroup(group) => self.list(&group.list).await,
            CompoundCommand::Subshell(subshell) => {
                let inner = self.forked();
                inner.list(&subshell.list).await;
                self.end(inner.session.status())
            }
            CompoundCommand::IfClause(clause) => {
                self.when(&clause.condition, &clause.then, clause.elses.as_deref()).await
            }
            CompoundCommand::ForClause(clause) => {
                let mut values = Vec::new();
                match &clause.values {
                    None => values = self.session.parameters(),
                    Some(words) => {
                        for word in words {
                            match self.words(&word.value).await {
                                Ok(more) => values.extend(more),
                                Err(error) => return self.bad_word(&error).await,
                            }
                        }
                    }
                }
                self.session.set_status(0);
                for value in values {
                    self.session.set(&clause.variable_name, &value);
                    match self.turn(&clause.body.list).await {
                        Turn::Again => {}
                        Turn::Over(flow) => return flow,
                    }
                }
                Flow::Next
            }
            CompoundCommand::WhileClause(clause) => {
                self.repeat(&clause.0, &clause.1.list, true).await
            }
            CompoundCommand::UntilClause(clause) => {
                self.repeat(&clause.0, &clause.1.list, false).await
            }
            CompoundCommand::ArithmeticForClause(clause) => {
                if let Err(error) = self.optional_arithmetic(clause.initializer.as_ref()).await {
                    return self.bad_word(&error).await;
                }
                loop {
                    match self.optional_arithmetic(clause.condition.as_ref()).await {
                        Ok(Some(0)) => return self.end(0),
                        Ok(_) => {}
                        Err(error) => return self.bad_word(&error).await,
                    }
                    match self.turn(&clause.body.list).await {
                        Turn::Again => {}
                        Turn::Over(flow) => return flow,
                    }
                    if let Err(error) = self.optional_arithmetic(clause.updater.as_ref()).await {
                        return self.bad_word(&error).await;
                    }
                }
            }
            CompoundCommand::Arithmetic(command) => match self.arithmetic(&command.expr).await {
                Ok(value) => self.end(i32::from(value == 0)),
                Err(error) => self.bad_word(&error).await,
            },
            CompoundCommand::CaseClause(clause) => {
                let value = match self.text(&clause.value.value).await {
                    Ok(value) => value,
                    Err(error) => return self.bad_word(&error).await,
                };
                self.session.set_status(0);
                let mut falls_through = false;
                for case in &clause.cases {
                    if !falls_through {
                        match self.fits_any(&value, &case.patterns).await {
                            Ok(true) => {}
                            Ok(false) => continue,
                            Err(error) => return self.bad_word(&error).await,
                        }
                    }
                    if let Some(body) = &case.cmd {
                        let flow = self.list(body).await;
                        if flow != Flow::Next {
                            return flow;
                        }
                    }
                    match case.post_action {
                        CaseItemPostAction::ExitCase => return Flow::Next,
                        CaseItemPostAction::UnconditionallyExecuteNextCaseItem => {
                            falls_through = true;
                        }
                        CaseItemPostAction::ContinueEvaluatingCases => falls_through = false,
                    }
                }
                Flow::Next
            }
            CompoundCommand::Coprocess(_) => {
                self.complain("coproc is not supported by podwire").await;
                self.end(1)
            }
        }
    }

    async fn fits_any(&self, value: &str, patterns: &[Word]) -> Result<bool, ExpandError> {
        for pattern in patterns {
            if self.pattern(&pattern.value).await?.matches(value) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn optional_arithmetic(
        &self,
        expression: Option<&UnexpandedArithmeticExpr>,
    ) -> Result<Option<i64>, ExpandError> {
        match expression {
            Some(expression) => self.arithmetic(expression).await.map(Some),
            None => Ok(None),
        }
    }

    async fn bad_word(&self, error: &ExpandError) -> Flow {
        self.complain(&error.to_string()).await;
        self.end(1)
    }

    async fn when(
        &self,
        condition: &CompoundList,
        then: &CompoundList,
        elses: Option<&[ElseClause]>,
    ) -> Flow {
        let flow = self.tested().list(condition).await;
        if flow != Flow::Next {
            return flow;
        }
        if self.session.status() == 0 {
            return self.list(then).await;
        }
        for clause in elses.unwrap_or_default() {
            if let Some(condition) = &clause.condition {
                let flow = self.tested().list(condition).await;
                if flow != Flow::Next {
                    return flow;
                }
                if self.session.status() != 0 {
                    continue;
                }
            }
            return self.list(&clause.body).await;
        }
        self.end(0)
    }

    async fn repeat(&self, condition: &CompoundList, body: &CompoundList, wanted: bool) -> Flow {
        let mut status = 0;
        loop {
            let flow = self.tested().list(condition).await;
            if flow != Flow::Next {
                return flow;
            }
            if (self.session.status() == 0) != wanted {
                return self.end(status);
            }
            match self.turn(body).await {
                Turn::Again => {}
                Turn::Over(flow) => return flow,
            }
            status = self.session.status();
        }
    }

    /// One turn of a loop.
    async fn turn(&self, body: &CompoundList) -> Turn {
        let is_container = self.session.container.is_some();
        self.host.sleep(if is_container { LOOP_TURN_CONTAINER } else { LOOP_TURN }).await;
        match self.list(body).await {
            Flow::Next | Flow::Continue(0 | 1) => Turn::Again,
            Flow::Break(0 | 1) => Turn::Over(Flow::Next),
            Flow::Break(loops) => Turn::Over(Flow::Break(loops - 1)),
            Flow::Continue(loops) => Turn::Over(Flow::Continue(loops - 1)),
            flow => Turn::Over(flow),
        }
    }

    /// `[[ … ]]`
    fn test<'a>(&'a self, expression: &'a ExtendedTestExpr) -> Step<'a, Result<bool, ExpandError>> {
        Box::pin(async move {
            match expression {
                ExtendedTestExpr::And(a, b) => Ok(self.test(a).await? && self.test(b).await?),
                ExtendedTestExpr::Or(a, b) => Ok(self.test(a).await? || self.test(b).await?),
                ExtendedTestExpr::Not(inner) => Ok(!self.test(inner).await?),
                ExtendedTestExpr::Parenthesized(inner) => self.test(inner).await,
                ExtendedTestExpr::UnaryTest(predicate, word) => {
                    let text = self.text(&word.value).await?;
                    self.test_one(predicate, &text)
                }
                ExtendedTestExpr::BinaryTest(predicate, left, right) => {
                    self.test_two(predicate, left, right).await
                }
            }
        })
    }

    fn test_one(&self, predicate: &UnaryPredicate, text: &str) -> Result<bool, ExpandError> {
        let path = self.session.path(text);
        let kind = self.session.files.kind(&path);
        Ok(match predicate {
            UnaryPredicate::StringHasZeroLength => text.is_empty(),
            UnaryPredicate::StringHasNonZeroLength => !text.is_empty(),
            UnaryPredicate::FileExists => kind.is_some(),
            UnaryPredicate::FileExistsAndIsRegularFile => kind == Some(FileKind::File),
            UnaryPredicate::FileExistsAndIsDir => kind == Some(FileKind::Directory),
            UnaryPredicate::FileExistsAndIsReadable | UnaryPredicate::FileExistsAndIsWritable => {
                kind.is_some()
            }
            UnaryPredicate::FileExistsAndIsNotZeroLength => {
                self.session.files.read(&path).is_ok_and(|content| !content.is_empty())
            }
            UnaryPredicate::ShellVariableIsSetAndAssigned => self.session.var(text).is_some(),
            _ => return Err(ExpandError("this test is not supported by podwire".to_string())),
        })
    }

    async fn test_two(
        &self,
        predicate: &BinaryPredicate,
        left: &Word,
        right: &Word,
    ) -> Result<bool, ExpandError> {
        let text = self.text(&left.value).await?;
        let other = self.text(&right.value).await?;
        let number = |text: &str| {
            super::arith::evaluate(text, &*self.session)
                .map_err(|why| ExpandError(format!("[[: {text}: {why}")))
        };
        Ok(match predicate {
            BinaryPredicate::StringExactlyMatchesPattern => {
                self.pattern(&right.value).await?.matches(&text)
            }
            BinaryPredicate::StringDoesNotExactlyMatchPattern => {
                !self.pattern(&right.value).await?.matches(&text)
            }
            BinaryPredicate::StringExactlyMatchesString => text == other,
            BinaryPredicate::StringDoesNotExactlyMatchString => text != other,
            BinaryPredicate::StringContainsSubstring => text.contains(&other),
            BinaryPredicate::StringMatchesRegex => regex_lite::Regex::new(&other)
                .map_err(|_| ExpandError(format!("[[: invalid regular expression `{other}'")))?
                .is_match(&text),
            BinaryPredicate::LeftSortsBeforeRight => text < other,
            BinaryPredicate::LeftSortsAfterRight => text > other,
            BinaryPredicate::ArithmeticEqualTo => number(&text)? == number(&other)?,
            BinaryPredicate::ArithmeticNotEqualTo => number(&text)? != number(&other)?,
            BinaryPredicate::ArithmeticLessThan => number(&text)? < number(&other)?,
            BinaryPredicate::ArithmeticLessThanOrEqualTo => number(&text)? <= number(&other)?,
            BinaryPredicate::ArithmeticGreaterThan => number(&text)? > number(&other)?,
            BinaryPredicate::ArithmeticGreaterThanOrEqualTo => number(&text)? >= number(&other)?,
            _ => return Err(ExpandError("this test is not supported by podwire".to_string())),
        })
    }

    // ---- redirections ------------------------------------------------------------------------------------

    /// Input and output as the redirections say, in their order. What is wrong has been said.
    async fn redirected<'a>(
        &self,
        redirects: impl Iterator<Item = &'a IoRedirect>,
    ) -> Result<Io, ()> {
        let mut io = self.io.clone();
        for redirect in redirects {
            if let Err(message) = self.redirect(redirect, &mut io).await {
                self.complain(&message).await;
                return Err(());
            }
        }
        Ok(io)
    }

    async fn redirect(&self, redirect: &IoRedirect, io: &mut Io) -> Result<(), String> {
        let say = |error: ExpandError| error.to_string();
        match redirect {
            IoRedirect::HereString(_, word) => {
                let text = self.text(&word.value).await.map_err(say)?;
                io.stdin = Input::of(text + "\n");
            }
            IoRedirect::HereDocument(_, document) => {
                let mut text = document.doc.value.clone();
                if document.remove_tabs {
                    let lines = text.split_inclusive('\n');
                    text = lines.map(|line| line.trim_start_matches('\t')).collect();
                }
                if document.requires_expansion {
                    text = self.here_document(&text).await.map_err(say)?;
                }
                io.stdin = Input::of(text);
            }
            IoRedirect::OutputAndError(word, append) => {
                let output = self.open(&word.value, *append).await?;
                (io.stdout, io.stderr) = (output.clone(), output);
            }
            IoRedirect::File(fd, kind, target) => {
                self.redirect_file(*fd, kind, target, io).await?;
            }
        }
        Ok(())
    }

    async fn redirect_file(
        &self,
        fd: Option<i32>,
        kind: &IoFileRedirectKind,
        target: &IoFileRedirectTarget,
        io: &mut Io,
    ) -> Result<(), String> {
        let unsupported = || "this redirection is not supported by podwire".to_string();
        let is_input =
            matches!(kind, IoFileRedirectKind::Read | IoFileRedirectKind::DuplicateInput);
        let fd = fd.unwrap_or(if is_input { 0 } else { 1 });
        let output = match (kind, target) {
            (IoFileRedirectKind::Read, IoFileRedirectTarget::Filename(word)) => {
                let path = self.text(&word.value).await.map_err(|error| error.to_string())?;
                let read = match path.as_str() {
                    "/dev/null" => Ok(Vec::new()),
                    path => self.session.files.read(&self.session.path(path)),
                };
                let read = read.map_err(|error| match self.in_container() {
                    true => format!("can't open {path}: {error}"),
                    false => format!("{path}: {error}"),
                });
                io.stdin = Input::of(read?);
                return Ok(());
            }
            (
                IoFileRedirectKind::Write | IoFileRedirectKind::Clobber,
                IoFileRedirectTarget::Filename(word),
            ) => self.open(&word.value, false).await?,
            (IoFileRedirectKind::Append, IoFileRedirectTarget::Filename(word)) => {
                self.open(&word.value, true).await?
            }
            (IoFileRedirectKind::DuplicateOutput, IoFileRedirectTarget::Fd(1)) => io.stdout.clone(),
            (IoFileRedirectKind::DuplicateOutput, IoFileRedirectTarget::Fd(2)) => io.stderr.clone(),
            (IoFileRedirectKind::DuplicateOutput, IoFileRedirectTarget::Duplicate(word)) => {
                match word.value.as_str() {
                    "1" => io.stdout.clone(),
                    "2" => io.stderr.clone(),
                    "-" => Output::Null,
                    _ => return Err(unsupported()),
                }
            }
            _ => return Err(unsupported()),
        };
        match fd {
            1 => io.stdout = output,
            2 => io.stderr = output,
            fd => return Err(format!("{fd}: Bad file descriptor")),
        }
        Ok(())
    }

    async fn open(&self, word: &str, append: bool) -> Result<Output, String> {
        let name = self.text(word).await.map_err(|error| error.to_string())?;
        match name.as_str() {
            "/dev/stdout" => return Ok(self.io.stdout.clone()),
            "/dev/stderr" => return Ok(self.io.stderr.clone()),
            _ => {}
        }
        let path = self.session.path(&name);
        Output::to_file(&self.session.files, &path, append).map_err(|error| {
            match self.in_container() {
                true => format!("can't create {name}: {error}"),
                false => format!("{name}: {error}"),
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

    /// What can only be done by the shell itself.
    async fn builtin(&self, name: &str, args: &[String]) -> Option<Flow> {
        let number =
            |default: i32| args.first().and_then(|arg| arg.parse::<i32>().ok()).unwrap_or(default);
        let loops = || u32::try_from(number(1)).unwrap_or(1).max(1);
        Some(match name {
            "break" => Flow::Break(loops()),
            "continue" => Flow::Continue(loops()),
            "return" => {
                self.session.set_status(number(self.session.status()));
                Flow::Return
            }
            "exit" => {
                self.session.set_status(number(self.session.status()) & 0xff);
                Flow::Exit
            }
            "eval" | "source" | "." => self.nested(name, args).await,
            "cd" => self.cd(args).await,
            "export" | "local" | "declare" | "readonly" => self.declare(name, args).await,
            "unset" => {
                args.iter().for_each(|name| self.session.unset(name));
                self.end(0)
            }
            "set" => self.set_options(args).await,
            "shift" => {
                let mut parameters = self.session.parameters();
                let count = usize::try_from(number(1)).unwrap_or(0).min(parameters.len());
                parameters.drain(..count);
                self.session.set_parameters(parameters);
                self.end(0)
            }
            "read" => self.read(args).await,
            "wait" => self.wait(args).await,
            "exec" => self.exec(args).await,
            "trap" => self.trap(args).await,
            "jobs" => {
                for (at, job) in self.session.jobs().iter().enumerate() {
                    let state = match job.process.exit_code() {
                        None => "Running",
                        Some(0) => "Done",
                        Some(_) => "Exit",
                    };
                    let line = format!("[{}]  {state:<22}\n", at + 1);
                    let _ = self.io.stdout.write(line).await;
                }
                self.end(0)
            }
            "kill" => self.kill(args).await,
            _ => return None,
        })
    }

    async fn nested(&self, name: &str, args: &[String]) -> Flow {
        if self.depth >= DEPTH_MAX {
            self.complain(&format!("{name}: maximum nesting level exceeded")).await;
            return self.end(1);
        }
        let text = if name == "eval" {
            args.join(" ")
        } else {
            let Some(file) = args.first() else {
                self.complain(&format!("{name}: filename argument required")).await;
                return self.end(2);
            };
            match self.session.files.read(&self.session.path(file)) {
                Ok(content) => String::from_utf8_lossy(&content).into_owned(),
                Err(error) => {
                    self.complain(&format!("{file}: {error}")).await;
                    return self.end(1);
                }
            }
        };
        let inner = Runner { depth: self.depth + 1, ..self.clone() };
        let flow = Box::pin(inner.source(&text)).await;
        if flow == Flow::Return && name != "eval" { Flow::Next } else { flow }
    }

    async fn cd(&self, args: &[String]) -> Flow {
        let home = || self.session.var("HOME").unwrap_or_else(|| "/".to_string());
        let target = match args.first().map(String::as_str) {
            None => home(),
            Some("-") => self.session.var("OLDPWD").unwrap_or_else(home),
            Some(path) => path.to_string(),
        };
        let path = self.session.path(&target);
        let problem = match self.session.files.kind(&path) {
            Some(FileKind::Directory) => {
                self.session.set("OLDPWD", &self.session.cwd());
                self.session.set_cwd(&path);
                return self.end(0);
            }
            Some(FileKind::File) => "Not a directory",
            None => "No such file or directory",
        };
        self.complain(&format!("cd: {target}: {problem}")).await;
        self.end(1)
    }

    async fn declare(&self, name: &str, args: &[String]) -> Flow {
        for arg in args.iter().filter(|arg| !arg.starts_with('-')) {
            let (variable, value) = match arg.split_once('=') {
                Some((variable, value)) => (variable, Some(value)),
                None => (arg.as_str(), None),
            };
            if variable.is_empty() || !variable.chars().all(|c| c.is_alphanumeric() || c == '_') {
                self.complain(&format!("{name}: `{arg}': not a valid identifier")).await;
                return self.end(1);
            }
            if let Some(value) = value {
                self.session.set(variable, value);
            }
            if name == "export" {
                self.session.export(variable);
            }
        }
        self.end(0)
    }

    async fn set_options(&self, args: &[String]) -> Flow {
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (is_on, letters) = match (arg.strip_prefix('-'), arg.strip_prefix('+')) {
                _ if arg == "--" => {
                    self.session.set_parameters(args.cloned().collect());
                    return self.end(0);
                }
                (Some(letters), _) => (true, letters),
                (_, Some(letters)) => (false, letters),
                _ => {
                    let rest = args.cloned();
                    self.session.set_parameters(std::iter::once(arg.clone()).chain(rest).collect());
                    return self.end(0);
                }
            };
            for letter in letters.chars() {
                let option = match letter {
                    'e' => "errexit",
                    'u' => "nounset",
                    'x' => "xtrace",
                    'o' => args.next().map(String::as_str).unwrap_or_default(),
                    other => {
                        self.complain(&format!("set: -{other}: invalid option")).await;
                        return self.end(2);
                    }
                };
                self.session.set_option(option, is_on);
            }
        }
        self.end(0)
    }

    /// `read [-r] NAME…`: the last name takes the rest of the line.
    async fn read(&self, args: &[String]) -> Flow {
        let names: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
        let line = self.io.stdin.read_line().await;
        let status = i32::from(line.is_none());
        let line = line.unwrap_or_default();
        let mut rest = line.trim();
        for (at, name) in names.iter().enumerate() {
            let is_last = at + 1 == names.len();
            let (word, after) = match rest.split_once(char::is_whitespace) {
                Some((word, after)) if !is_last => (word, after.trim_start()),
                _ => (rest, ""),
            };
            self.session.set(name, word);
            rest = after;
        }
        if names.is_empty() {
            self.session.set("REPLY", &line);
        }
        self.end(status)
    }

    async fn wait(&self, args: &[String]) -> Flow {
        let wanted: Vec<u32> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
        let mut status = 0;
        for job in self.session.jobs() {
            if !wanted.is_empty() && !wanted.contains(&job.pid) {
                continue;
            }
            let waiting = Box::pin(job.process.wait());
            // A signal that is trapped ends the waiting.
            let code = if self.session.trap("TERM").is_some() {
                let signal = Box::pin(self.host.terminated());
                match netsim::exec::select(waiting, signal).await {
                    Either::First(code) => code,
                    Either::Second(()) => {
                        self.session.signals.set(true);
                        return self.end(143);
                    }
                }
            } else {
                waiting.await
            };
            if !wanted.is_empty() {
                status = code;
            }
        }
        self.end(status)
    }

    async fn kill(&self, args: &[String]) -> Flow {
        let jobs = self.session.jobs();
        for arg in args.iter().filter(|arg| !arg.starts_with('-')) {
            let by_number = arg.strip_prefix('%').and_then(|number| number.parse::<usize>().ok());
            let job = match by_number {
                Some(number) => number.checked_sub(1).and_then(|at| jobs.get(at)),
                None => jobs.iter().find(|job| job.pid.to_string() == *arg),
            };
            match job {
                Some(job) => job.process.kill(),
                None => {
                    self.complain(&format!("kill: ({arg}) - No such process")).await;
                    return self.end(1);
                }
            }
        }
        self.end(0)
    }
}

/// Whether a loop goes on.
enum Turn {
    Again,
    Over(Flow),
}
