//! Running a program in another place: `docker exec`, `kubectl exec`.

use std::rc::Rc;

use ::lab::Place;
use netsim::Process;

use super::{Ctx, find};
use crate::grammar::run::Runner;
use crate::io::Input;
use crate::session::Session;

/// Ends the process when whoever started it is gone: Ctrl-C reaches what runs inside.
struct Ends(Process);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.kill();
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

/// Runs `argv` in `place` with the input and output of `ctx`, and gives its exit code.
pub(crate) async fn exec(
    ctx: &Ctx,
    place: &Place,
    argv: &[String],
    with_stdin: bool,
) -> Result<i32, ExecError> {
    let (name, args) = argv.split_first().ok_or_else(|| ExecError::NotFound(String::new()))?;
    let mut io = ctx.io.clone();
    if !with_stdin {
        io.stdin = Input::Null;
    }
    let session = Rc::new(Session::new(&ctx.session.lab, place.clone(), ctx.session.files.clone()));
    let lab = &ctx.session.lab;
    let base = name.rsplit('/').next().unwrap_or(name);
    let started = if matches!(base, "sh" | "bash" | "ash") {
        let text = match args {
            [option, text, ..] if option.starts_with('-') && option.ends_with('c') => text.clone(),
            _ => String::from_utf8_lossy(&io.stdin.read_to_end().await).into_owned(),
        };
        lab.start(
            place,
            base,
            |host| async move { Runner::new(session, host, io).run(&text).await },
        )
    } else {
        let program = find(name, place).ok_or_else(|| ExecError::NotFound(name.clone()))?;
        let (name, args) = (base.to_string(), args.to_vec());
        lab.start(place, base, |host| async move {
            let ctx = Ctx { session, host, io, name, args, env: Vec::new() };
            // Nobody reads what it writes any more: as if SIGPIPE had ended it.
            program(ctx).await.unwrap_or(141)
        })
    };
    let process = Ends(started.ok_or(ExecError::Gone)?);
    Ok(process.0.wait().await)
}
