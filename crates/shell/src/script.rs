//! Scripts: texts of many commands, one complete command after the other.

use crate::grammar::{SyntaxError, parse};

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
