//! `podwire run`: a script to a transcript.

use std::io::Write as _;
use std::rc::Rc;

use lab::{KindConfig, Options, World};
use shell::script::{Chunk, chunks};
use shell::{Shell, SyntaxError, Terminal};

use crate::disk::Disk;
use crate::{LoadBalancing, Run};

/// Standard output of the real process. Both of a command's outputs go there, in their order: it is a
/// transcript.
struct Stdout;

impl Terminal for Stdout {
    fn show(&self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        // Whoever reads us may have gone; then there is nobody to tell.
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }
}

/// Runs a script; the exit code is for the process.
pub(crate) fn run(text: &str, options: &Run) -> i32 {
    let balancing = match options.load_balancing {
        LoadBalancing::RoundRobin => "round-robin",
        LoadBalancing::Random => "random",
    };
    let mut world_options = Options { seed: options.seed, ..Options::default() };
    world_options.cluster = (!options.no_cluster).then(KindConfig::of_a_new_lab);
    let world = World::new(&world_options);
    let shell = Shell::new(world.lab(), Rc::new(Disk::here()), Rc::new(Stdout));
    if let LoadBalancing::Random = options.load_balancing {
        let _ = command(&world, &shell, &format!("lab set load-balancing {balancing}"), options);
    }
    let mut result = 0;
    for chunk in chunks(text) {
        let code = chunk_of(&world, &shell, &chunk, options);
        if code != 0 {
            if !options.keep_going {
                return code;
            }
            result = 1;
        }
    }
    result
}

fn chunk_of(world: &World, shell: &Shell, chunk: &Chunk, options: &Run) -> i32 {
    if !options.quiet {
        let mut lines = chunk.text.lines();
        Stdout.show(format!("$ {}\n", lines.next().unwrap_or_default()).as_bytes());
        lines.for_each(|line| Stdout.show(format!("> {line}\n").as_bytes()));
    }
    command(world, shell, &chunk.text, options)
}

fn command(world: &World, shell: &Shell, text: &str, options: &Run) -> i32 {
    let process = match shell.start(text) {
        Ok(process) => process,
        Err(SyntaxError::Incomplete) => {
            Stdout.show(b"bash: syntax error: unexpected end of file\n");
            return 2;
        }
        Err(SyntaxError::Wrong(why)) => {
            Stdout.show(format!("bash: {why}\n").as_bytes());
            return 2;
        }
    };
    let code = if options.wall { run_with_the_wall(world, &process) } else { world.run(&process) };
    code.unwrap_or_else(|| {
        // Nothing is left that could wake it: as if it had been interrupted.
        Stdout.show(b"podwire: the command waits for something that will never happen\n");
        130
    })
}

/// Sleeps for as long as virtual time passes.
#[allow(
    clippy::disallowed_methods,
    reason = "--wall is about the wall's clock, outside of the engine"
)]
fn run_with_the_wall(world: &World, process: &lab::Process) -> Option<i32> {
    loop {
        if let Some(code) = process.exit_code() {
            return Some(code);
        }
        let next = world.next_at()?;
        std::thread::sleep(next.since(world.lab().now()));
        world.step(next);
    }
}
