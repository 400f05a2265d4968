//! `podwire run`: a script to a transcript.

use std::io::Write as _;
use std::rc::Rc;

use lab::{KindConfig, Options, Process, World};
use shell::script::{PlayOptions, play, play_with};
use shell::{Shell, Terminal};

use crate::Run;
use crate::disk::Disk;

/// Standard output of the real process. Both outputs of a command go there, in their order: it is a
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
pub(crate) fn run(text: &str, run: &Run) -> i32 {
    let world = World::new(&Options {
        seed: run.seed,
        balancing: run.load_balancing.into(),
        cluster: (!run.no_cluster).then(KindConfig::of_a_new_lab),
    });
    let shell = Shell::new(world.lab(), Rc::new(Disk::here()), Rc::new(Stdout));
    let options = PlayOptions { keep_going: run.keep_going, quiet: run.quiet };
    if run.wall {
        play_with(&shell, text, options, &|process| run_with_the_wall(&world, process))
    } else {
        play(&world, &shell, text, options)
    }
}

/// Sleeps for as long as virtual time passes.
#[allow(
    clippy::disallowed_methods,
    reason = "--wall is about the wall's clock, outside of the engine"
)]
fn run_with_the_wall(world: &World, process: &Process) -> Option<i32> {
    loop {
        if let Some(code) = process.exit_code() {
            return Some(code);
        }
        let next = world.next_at()?;
        std::thread::sleep(next.since(world.lab().now()));
        world.step(next);
    }
}
