//! Running a program in another place: `docker exec`, `kubectl exec`, and the commands of containers.

use std::rc::Rc;

use ::lab::{Place, WeakLab};
use netsim::{Host, Process};
use programs::{Commands, Container, Log, Program};

use super::{Ctx, find};
use crate::grammar::run::Runner;
use crate::io::{Input, Io, Output};
use crate::session::Session;

/// Ends the process when whoever started it is gone: Ctrl-C reaches what runs inside.
struct Ends(Process);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Ends what a shell has left in the background when the shell itself is gone.
struct EndsJobs(Rc<Session>);

impl Drop for EndsJobs {
    fn drop(&mut self) {
        self.0.jobs().iter().for_each(|job| job.process.kill());
    }
}

/// Why nothing could be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ExecError {
    /// The place does not exist (any more).
    Gone,
    /// There is no program of this name there.
    NotFound(String),
}

/// `-i` and `-t`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stdio {
    pub(crate) with_stdin: bool,
    pub(crate) with_tty: bool,
}

/// Runs `argv` in `place` with the input and output of `ctx`, and gives its exit code. In a Pod it runs in
/// a container.
pub(crate) async fn exec(
    ctx: &Ctx,
    place: &Place,
    container: Option<&Rc<Container>>,
    argv: &[String],
    Stdio { with_stdin, with_tty }: Stdio,
) -> Result<i32, ExecError> {
    let name = argv.first().cloned().unwrap_or_default();
    let mut io = ctx.io.clone();
    if !with_tty {
        io.stdout = io.stdout.passed_on();
    }
    if !with_stdin {
        io.stdin = Input::Null;
    }
    let lab = &ctx.session.lab;
    let session = match container {
        Some(container) => Session::in_container(lab, place.clone(), container),
        None => Session::new(lab, place.clone(), ctx.session.files.clone()),
    };
    let start = prepare(Rc::new(session), argv, io).ok_or(ExecError::NotFound(name.clone()))?;
    let name = name.rsplit('/').next().unwrap_or(&name);
    let process = Ends(lab.start(place, name, start).ok_or(ExecError::Gone)?);
    Ok(process.0.wait().await)
}

/// The name of a shell, or the path of one.
pub(crate) fn is_shell(word: &str) -> bool {
    matches!(word.rsplit('/').next(), Some("sh" | "bash" | "ash"))
}

/// A shell that would wait for what is typed, and there is nothing but the terminal to read from.
pub(crate) fn is_interactive(ctx: &Ctx, argv: &[String], with_stdin: bool) -> bool {
    let is_shell = |word: &String| is_shell(word) || word == "-l" || word == "-i";
    with_stdin
        && !argv.is_empty()
        && argv.iter().all(is_shell)
        && matches!(ctx.io.stdin, Input::Null)
}

/// What is said of it.
pub(crate) const INTERACTIVE: &str =
    "a shell that waits for what is typed (give it commands: sh -c '…')";

type Start = Box<dyn FnOnce(Host) -> Program>;

/// A command line, ready to be run; `None` when there is no such program.
fn prepare(session: Rc<Session>, argv: &[String], io: Io) -> Option<Start> {
    let (name, args) = argv.split_first()?;
    let base = name.rsplit('/').next().unwrap_or(name).to_string();
    let args = args.to_vec();
    if is_shell(&base) {
        return Some(Box::new(move |host| Box::pin(shell(session, host, io, base, args))));
    }
    if let Some(program) = find(name, &session.place) {
        let (name, env) = (base, Vec::new());
        return Some(Box::new(move |host| {
            let ctx = Ctx { session, host, io, name, args, env };
            // Nobody reads what it writes any more: as if SIGPIPE had ended it.
            Box::pin(async move { program(ctx).await.unwrap_or(141) })
        }));
    }
    session.container.as_ref()?.own_program(argv)?;
    let argv = argv.to_vec();
    Some(Box::new(move |host| {
        let own = own_program(&session, &host, &argv, &io);
        own.unwrap_or_else(|| Box::pin(std::future::ready(127)))
    }))
}

/// A program that a container's image has and no shell: what the container is for, or a tool beside it.
pub(crate) fn own_program(
    session: &Session,
    host: &Host,
    argv: &[String],
    io: &Io,
) -> Option<Program> {
    let own = session.container.as_ref()?.own_program(argv)?;
    let (host, argv) = (host.clone(), argv.to_vec());
    if let (true, Output::Log(log, _)) = (session.is_main, &io.stdout) {
        return Some(programs::images::program(host, own, log.clone()));
    }
    let (log, out) = (Log::default(), io.stdout.clone());
    Some(Box::pin(async move {
        let code = programs::images::tools::run(host, own, argv, log.clone()).await;
        for (_, line) in log.lines() {
            if out.write(line + "\n").await.is_err() {
                return 141;
            }
        }
        code
    }))
}

/// `sh [-eux] [-o OPTION] [-c TEXT | FILE] [ARGUMENT…]`
async fn shell(session: Rc<Session>, host: Host, io: Io, name: String, args: Vec<String>) -> i32 {
    let _ends = EndsJobs(session.clone());
    let mut args = args.into_iter().peekable();
    let mut is_text = false;
    while let Some(option) = args.next_if(|arg| arg.len() > 1 && arg.starts_with('-')) {
        if option == "--" {
            break;
        }
        for letter in option.chars().skip(1) {
            match letter {
                'c' => is_text = true,
                'e' => session.set_option("errexit", true),
                'u' => session.set_option("nounset", true),
                'x' => session.set_option("xtrace", true),
                'o' => {
                    let option = args.next().unwrap_or_default();
                    session.set_option(&option, true);
                }
                _ => {}
            }
        }
    }
    let first = args.next();
    let text = match first {
        Some(text) if is_text => {
            // What follows the text is `$0`, which only scripts look at.
            args.next();
            text
        }
        None if is_text => {
            let _ = io.stderr.write(format!("{name}: -c requires an argument\n")).await;
            return 2;
        }
        Some(file) => match session.files.read(&session.path(&file)) {
            Ok(content) => String::from_utf8_lossy(&content).into_owned(),
            Err(error) => {
                let _ = io.stderr.write(format!("{name}: can't open '{file}': {error}\n")).await;
                return 2;
            }
        },
        None => String::from_utf8_lossy(&io.stdin.read_to_end().await).into_owned(),
    };
    session.set_parameters(args.collect());
    let (signalled, clock) = (session.signals.clone(), host.clone());
    host.spawn(async move {
        clock.terminated().await;
        signalled.set(true);
    });
    let runner = Runner::new(session.clone(), host, io);
    let mut code = runner.run(&text).await;
    if let Some(handler) = session.trap("EXIT") {
        session.set_trap("EXIT", None);
        code = runner.run(&handler).await;
    }
    code
}

/// Runs the commands of containers with this shell and its programs.
pub(crate) struct InContainers(pub(crate) WeakLab);

impl Commands for InContainers {
    fn run(
        &self,
        host: Host,
        container: &Rc<Container>,
        argv: &[String],
        out: &Log,
    ) -> Option<Program> {
        let lab = self.0.upgrade()?;
        let place = Place::of(host.net(), host.ns());
        let is_main = container.command_line().as_deref() == Some(argv);
        let mut session = Session::in_container(&lab, place, container);
        session.is_main = is_main;
        let session = Rc::new(session);
        let output = Output::Log(out.clone(), host.net().clone());
        let io = Io { stdin: Input::Null, stdout: output.clone(), stderr: output };
        prepare(session, argv, io).map(|start| start(host))
    }
}
