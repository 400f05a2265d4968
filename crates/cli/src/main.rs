//! The native command `podwire`: the same world and the same shell as in the page, on a terminal.
//!
//! - [`disk`]: the real directory as the shell's files;
//! - [`script`]: `podwire run`, a script to a transcript.
//!
//! Invariant: without `--wall`, the seed and the script decide every byte of the transcript.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

mod disk;
mod script;

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Kubernetes networking you can watch.
#[derive(Parser)]
#[command(name = "podwire", version)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs a script and prints a transcript; stops at the first failing command, with its exit code
    Run(Run),
}

#[derive(clap::Args)]
struct Run {
    /// The script; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Go on after failures; exit code 1 at the end if any command failed
    #[arg(long)]
    keep_going: bool,
    /// Print outputs only, no `$ command` lines
    #[arg(long)]
    quiet: bool,
    /// All chance comes from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How rules choose among endpoints
    #[arg(long, value_enum, default_value_t = LoadBalancing::RoundRobin)]
    load_balancing: LoadBalancing,
    /// Start without the default kind cluster
    #[arg(long)]
    no_cluster: bool,
    /// Let virtual time pass as fast as time on the wall
    #[arg(long)]
    wall: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum LoadBalancing {
    RoundRobin,
    Random,
}

impl From<LoadBalancing> for lab::Balancing {
    fn from(choice: LoadBalancing) -> Self {
        match choice {
            LoadBalancing::RoundRobin => lab::Balancing::RoundRobin,
            LoadBalancing::Random => lab::Balancing::Random,
        }
    }
}

fn main() -> ExitCode {
    let Verb::Run(run) = Command::parse().verb;
    let text = match read(&run.file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("podwire: {}: {error}", run.file.display());
            return ExitCode::from(2);
        }
    };
    let code = script::run(&text, &run);
    ExitCode::from(u8::try_from(code.clamp(0, 255)).unwrap_or(1))
}

fn read(path: &PathBuf) -> std::io::Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
}
