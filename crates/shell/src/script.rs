//! Scripts: texts of many commands, one complete command after the other, and their transcripts.

use lab::World;
use netsim::Process;

use crate::grammar::{SyntaxError, parse};
use crate::{Shell, Terminal};

/// How a script is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlayOptions {
    /// Go on after failures.
    pub keep_going: bool,
    /// Outputs only, no `$ command` lines.
    pub quiet: bool,
}

/// Plays a script in virtual time; the transcript goes to the terminal, which should be the shell's. The exit
/// code is the first failing command's, or 1 at the end of a script that went on after failures.
pub fn play(world: &World, shell: &Shell, script: &str, options: PlayOptions) -> i32 {
    play_with(shell, script, options, &|process| world.run(process))
}

/// The same with another way to let time pass until a process has ended.
pub fn play_with(
    shell: &Shell,
    script: &str,
    options: PlayOptions,
    run: &dyn Fn(&Process) -> Option<i32>,
) -> i32 {
    let terminal = shell.terminal.as_ref();
    let mut result = 0;
    for chunk in chunks(script) {
        if !options.quiet {
            let mut lines = chunk.text.lines();
            terminal.show(format!("$ {}\n", lines.next().unwrap_or_default()).as_bytes());
            lines.for_each(|line| terminal.show(format!("> {line}\n").as_bytes()));
        }
        let code = play_chunk(shell, &chunk, terminal, run);
        if code != 0 && !options.keep_going {
            return code;
        }
        result = result.max(i32::from(code != 0));
    }
    result
}

fn play_chunk(
    shell: &Shell,
    chunk: &Chunk,
    terminal: &dyn Terminal,
    run: &dyn Fn(&Process) -> Option<i32>,
) -> i32 {
    let process = match shell.start(&chunk.text) {
        Ok(process) => process,
        Err(error) => {
            terminal.show(format!("{error}\n").as_bytes());
            return 2;
        }
    };
    run(&process).unwrap_or_else(|| {
        // Nothing is left that could wake it: as if it had been interrupted.
        terminal.show(b"podwire: the command waits for something that will never happen\n");
        130
    })
}

/// A command of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The line it begins in, from 1.
    pub line: usize,
    /// Its lines, without the end of the last one.
    pub text: String,
    /// What is wrong with it, if it is none.
    pub error: Option<SyntaxError>,
}

/// Splits a script into commands: a command has as many lines as it needs. Empty lines and lines that are
/// comments alone belong to none.
pub fn chunks(script: &str) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in script.lines().enumerate() {
        let (begin, text) = match open.take() {
            Some((begin, text)) => (begin, format!("{text}\n{line}")),
            None if line.trim().is_empty() || line.trim_start().starts_with('#') => continue,
            None => (number + 1, line.to_string()),
        };
        match parse(&text) {
            Ok(_) => chunks.push(Chunk { line: begin, text, error: None }),
            Err(SyntaxError::Incomplete) => open = Some((begin, text)),
            Err(wrong) => chunks.push(Chunk { line: begin, text, error: Some(wrong) }),
        }
    }
    let unfinished = |(line, text)| Chunk { line, text, error: Some(SyntaxError::Incomplete) };
    chunks.extend(open.map(unfinished));
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_take_the_lines_they_need() {
        let script = "# a story\nkubectl get pods\n\nfor i in 1 2; do\n  echo $i\ndone\necho 'a\nb'\ncat <<E\nx\nE\n";
        let texts: Vec<(usize, String)> =
            chunks(script).into_iter().map(|chunk| (chunk.line, chunk.text)).collect();
        let expected = [
            (2, "kubectl get pods"),
            (4, "for i in 1 2; do\n  echo $i\ndone"),
            (7, "echo 'a\nb'"),
            (9, "cat <<E\nx\nE"),
        ];
        assert_eq!(texts, expected.map(|(line, text)| (line, text.to_string())));
    }

    #[test]
    fn what_is_no_command_is_said_to_be_none() {
        assert_eq!(chunks("echo 'a\n")[0].error, Some(SyntaxError::Incomplete));
        assert!(matches!(chunks("| a\n")[0].error, Some(SyntaxError::Wrong(_))));
    }
}
