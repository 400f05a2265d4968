//! `cargo xtask VERB`: every chore of this repository has one verb.
//!
//! In reading order:
//! - [`chore`]: where we are, how a command is run and timed;
//! - [`setup`]: the tools, their versions, and how they are installed;
//! - [`site`], [`serve`]: the page, built and served;
//! - [`tidy`]: what no compiler checks: who may know whom, and what may stand in a file;
//! - [`e2e`]: the built page, driven in a real browser;
//! - [`measure`]: benchmarks and fuzzing, which no test run waits for;
//! - [`test`]: all of it in order, fast things first.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "chores run in real time: they wait for processes, and one thread answers the browser"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "chores talk to whoever runs them")]

mod chore;
mod e2e;
mod measure;
mod serve;
mod setup;
mod site;
mod test;
mod tidy;

use std::process::ExitCode;

use chore::{Outcome, Workspace, timed};
use setup::Needs;

const USAGE: &str = "\
cargo xtask VERB

  setup [--tests]    install what is missing: wasm target, trunk, wasm-bindgen, npm packages;
                     with --tests also a browser and its driver
  serve [--port N]   build the page and serve it on 127.0.0.1 (8080), again after every change
  build              build the page into dist/, and weigh it
  test [NAME...]     run every check, or only those named:
                     format tidy clippy clippy-web native web site e2e
  tidy               check the edges between crates, and the text of all files
  e2e [DIR]          drive the page in dist/ (or DIR) in a headless browser
  bench [SIZE]       measure the data plane, then the control plane, natively; SIZE is 10 unless told
  bench --web        the data plane in a headless browser
  fuzz [SECONDS]     run every fuzz target for SECONDS (60 unless told), one after the other
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Outcome {
    let ws = Workspace::here()?;
    match words {
        ["setup"] => prepare(&ws, Needs::Site),
        ["setup", "--tests"] => prepare(&ws, Needs::Browser),
        ["serve"] => serve::serve(&ws, 8080),
        ["serve", "--port", port] => {
            let port = port.parse().map_err(|_| format!("{port:?} is not a port"))?;
            serve::serve(&ws, port)
        }
        ["build"] => {
            prepare(&ws, Needs::Site)?;
            site::build(&ws)
        }
        ["test", names @ ..] => test::test(&ws, names),
        ["tidy"] => timed("tidy", || tidy::tidy(&ws)).map(drop),
        ["e2e"] => drive(&ws, "dist"),
        ["e2e", dir] => drive(&ws, dir),
        ["bench"] => measure::bench(&ws, 10),
        ["bench", "--web"] => {
            prepare(&ws, Needs::Browser)?;
            measure::bench_web(&ws)
        }
        ["bench", size] => {
            let size = size.parse().map_err(|_| format!("{size:?} is not a size"))?;
            measure::bench(&ws, size)
        }
        ["fuzz"] => measure::fuzz(&ws, 60),
        ["fuzz", seconds] => {
            let seconds = seconds.parse().map_err(|_| format!("{seconds:?} is not a time"))?;
            measure::fuzz(&ws, seconds)
        }
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => Err(USAGE.to_string()),
    }
}

fn prepare(ws: &Workspace, needs: Needs) -> Outcome {
    timed("setup", || setup::setup(ws, needs)).map(drop)
}

fn drive(ws: &Workspace, dir: &str) -> Outcome {
    prepare(ws, Needs::Browser)?;
    timed("e2e", || e2e::drive(ws, dir)).map(drop)
}
