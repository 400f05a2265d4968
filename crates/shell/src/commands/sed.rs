//! `sed`: `s`, `p`, `d`, `q` with addresses, which is what pipelines use of it.

use regex_lite::Regex;

use super::grep::basic;
use super::{Ctx, Letters, Lines};
use crate::io::{Exit, Input};

/// `sed [-n] [-E] [-e SCRIPT] SCRIPT [FILE…]`
pub async fn run(ctx: Ctx) -> Exit {
    let letters = match Letters::parse(&ctx.args, "nEre:i") {
        Ok(letters) => letters,
        Err(why) => return ctx.fail(format!("sed: {why}"), 1).await,
    };
    let is_extended = letters.has('E') || letters.has('r');
    let mut words = letters.words.clone();
    let mut scripts: Vec<String> = letters.values('e').map(str::to_string).collect();
    if scripts.is_empty() {
        if words.is_empty() {
            return ctx
                .fail("Usage: sed [OPTION]... {script-only-if-no-other-script} [input-file]...", 1)
                .await;
        }
        scripts.push(words.remove(0));
    }
    let commands = match parse(&scripts.join("\n"), is_extended) {
        Ok(commands) => commands,
        Err(why) => return ctx.fail(format!("sed: -e expression #1: {why}"), 1).await,
    };
    let names = if words.is_empty() { vec!["-".to_string()] } else { words };
    let mut lines: Vec<String> = Vec::new();
    let mut status = 0;
    for name in &names {
        let input = match name.as_str() {
            "-" => ctx.io.stdin.clone(),
            name => match ctx.read(name).await {
                Ok(content) => Input::of(content),
                Err(error) => {
                    ctx.err(format!("sed: can't read {name}: {error}\n")).await?;
                    status = 2;
                    continue;
                }
            },
        };
        let mut more = Lines::new(input);
        while let Some(line) = more.next().await {
            lines.push(line);
        }
    }
    let output = edit(&commands, &lines, letters.has('n'));
    if letters.has('i') {
        for name in names.iter().filter(|name| *name != "-") {
            if let Err(error) = ctx.session.files.write(&ctx.session.path(name), output.as_bytes())
            {
                return ctx.fail(format!("sed: couldn't edit {name}: {error}"), 4).await;
            }
        }
        return Ok(status);
    }
    ctx.out(output).await?;
    Ok(status)
}

enum Address {
    Line(usize),
    Last,
    Regex(Regex),
}

enum Action {
    Print,
    Delete,
    Quit,
    Substitute { regex: Regex, with: String, all: bool, print: bool },
}

struct Command {
    from: Option<Address>,
    to: Option<Address>,
    not: bool,
    action: Action,
}

fn edit(commands: &[Command], lines: &[String], quiet: bool) -> String {
    let mut output = String::new();
    let mut open = vec![false; commands.len()];
    'lines: for (at, line) in lines.iter().enumerate() {
        let mut line = line.clone();
        let is_last = at + 1 == lines.len();
        let hits = |address: &Address, line: &str| match address {
            Address::Line(number) => *number == at + 1,
            Address::Last => is_last,
            Address::Regex(regex) => regex.is_match(line),
        };
        for (command, open) in commands.iter().zip(&mut open) {
            let applies = match (&command.from, &command.to) {
                (None, _) => true,
                (Some(from), None) => hits(from, &line),
                (Some(from), Some(to)) => {
                    let begins = !*open && hits(from, &line);
                    let was_open = *open;
                    let ends = match to {
                        // A line that is over already ends the range at once.
                        Address::Line(number) => *number <= at + 1,
                        to => was_open && hits(to, &line),
                    };
                    *open = (was_open || begins) && !ends;
                    was_open || begins
                }
            };
            if applies == command.not {
                continue;
            }
            match &command.action {
                Action::Print => output.push_str(&format!("{line}\n")),
                Action::Delete => continue 'lines,
                Action::Quit => {
                    if !quiet {
                        output.push_str(&format!("{line}\n"));
                    }
                    return output;
                }
                Action::Substitute { regex, with, all, print } => {
                    if regex.is_match(&line) {
                        let limit = if *all { 0 } else { 1 };
                        line = regex.replacen(&line, limit, with.as_str()).into_owned();
                        if *print {
                            output.push_str(&format!("{line}\n"));
                        }
                    }
                }
            }
        }
        if !quiet {
            output.push_str(&format!("{line}\n"));
        }
    }
    output
}

fn parse(script: &str, is_extended: bool) -> Result<Vec<Command>, String> {
    let mut parser = Parser { rest: script, is_extended };
    let mut commands = Vec::new();
    loop {
        parser.skip(|c| c.is_whitespace() || c == ';');
        if parser.rest.is_empty() {
            return Ok(commands);
        }
        commands.push(parser.command()?);
    }
}

struct Parser<'a> {
    rest: &'a str,
    is_extended: bool,
}

impl Parser<'_> {
    fn skip(&mut self, what: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(what);
    }

    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
        Some(c)
    }

    fn regex(&self, text: &str, ignore_case: bool) -> Result<Regex, String> {
        let text = if self.is_extended { text.to_string() } else { basic(text) };
        let built = regex_lite::RegexBuilder::new(&text).case_insensitive(ignore_case).build();
        built.map_err(|_| "invalid regular expression".to_string())
    }

    /// Up to the next `end` that has no backslash before it.
    fn until(&mut self, end: char) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.take() {
                None => return Err("unterminated `s' command".to_string()),
                Some(c) if c == end => return Ok(text),
                Some('\\') => match self.take() {
                    Some(c) if c == end => text.push(c),
                    Some(c) => text.extend(['\\', c]),
                    None => text.push('\\'),
                },
                Some(c) => text.push(c),
            }
        }
    }

    fn address(&mut self) -> Result<Option<Address>, String> {
        let digits: String = self.rest.chars().take_while(char::is_ascii_digit).collect();
        if !digits.is_empty() {
            self.rest = self.rest.get(digits.len()..).unwrap_or_default();
            return Ok(Some(Address::Line(digits.parse().unwrap_or(usize::MAX))));
        }
        match self.rest.chars().next() {
            Some('$') => {
                self.take();
                Ok(Some(Address::Last))
            }
            Some('/') => {
                self.take();
                let text = self.until('/').map_err(|_| "unterminated address regex".to_string())?;
                Ok(Some(Address::Regex(self.regex(&text, false)?)))
            }
            _ => Ok(None),
        }
    }

    fn command(&mut self) -> Result<Command, String> {
        let from = self.address()?;
        let mut to = None;
        if from.is_some() && self.rest.starts_with(',') {
            self.take();
            to = self.address()?;
            if to.is_none() {
                return Err("unexpected `,'".to_string());
            }
        }
        self.skip(char::is_whitespace);
        let not = self.rest.starts_with('!');
        if not {
            self.take();
        }
        let action = match self.take() {
            Some('p') => Action::Print,
            Some('d') => Action::Delete,
            Some('q') => Action::Quit,
            Some('s') => self.substitute()?,
            Some(other) => return Err(format!("command `{other}' is not supported by podwire")),
            None => return Err("missing command".to_string()),
        };
        Ok(Command { from, to, not, action })
    }

    fn substitute(&mut self) -> Result<Action, String> {
        let end = self.take().ok_or("unterminated `s' command")?;
        let pattern = self.until(end)?;
        let with = self.until(end)?;
        let flags: String =
            self.rest.chars().take_while(|c| matches!(c, 'g' | 'p' | 'i' | 'I')).collect();
        self.rest = self.rest.get(flags.len()..).unwrap_or_default();
        let regex = self.regex(&pattern, flags.contains(['i', 'I']))?;
        let (all, print) = (flags.contains('g'), flags.contains('p'));
        Ok(Action::Substitute { regex, with: replacement(&with), all, print })
    }
}

/// `\1` and `&` as `${1}` and `${0}`.
fn replacement(text: &str) -> String {
    let mut result = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => result.push_str("$$"),
            '&' => result.push_str("${0}"),
            '\\' => match chars.next() {
                Some(digit @ '0'..='9') => result.push_str(&format!("${{{digit}}}")),
                Some('n') => result.push('\n'),
                Some('t') => result.push('\t'),
                Some(c) => result.push(c),
                None => result.push('\\'),
            },
            c => result.push(c),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(script: &str, quiet: bool, input: &str, expected: &str) {
        let lines: Vec<String> = input.split(' ').map(str::to_string).collect();
        let Ok(commands) = parse(script, true) else { panic!("{script} is no script") };
        assert_eq!(
            edit(&commands, &lines, quiet).trim_end().replace('\n', " "),
            expected,
            "{script}"
        );
    }

    #[test]
    fn scripts() {
        check("s/a/b/", false, "aa ca", "ba cb");
        check("s/a/b/g;s/b/c/", false, "aa", "cb");
        check("2p", true, "a b c", "b");
        check("2,3d", false, "a b c d", "a d");
        check("/b/,$p", true, "a b c", "b c");
        check("$!d", false, "a b c", "c");
        check(r"s/(.)-(.)/\2-\1 &/", false, "a-b", "b-a a-b");
        check("s|/x|$1|", false, "/x", "$1");
        check("2q", false, "a b c", "a b");
        assert!(parse("y/a/b/", false).is_err());
        assert!(parse("s/a", false).is_err());
    }
}
