//! `grep`, over `regex-lite`.

use regex_lite::{Regex, RegexBuilder};

use super::{Ctx, Letters, Lines};
use crate::io::{Exit, Input};

/// `grep [-EFivcnoqlwxhHe] [-A N] [-B N] [-C N] [-m N] PATTERN [FILE…]`
pub async fn run(ctx: Ctx) -> Exit {
    let args: Vec<String> =
        ctx.args.iter().filter(|arg| !arg.starts_with("--color")).cloned().collect();
    let letters = match Letters::parse(&args, "EFGivcnoqlwxhHsre:A:B:C:m:") {
        Ok(letters) => letters,
        Err(why) => return ctx.fail(format!("grep: {why}"), 2).await,
    };
    let mut words = letters.words.clone();
    let mut patterns: Vec<String> = letters.values('e').map(str::to_string).collect();
    if patterns.is_empty() {
        if words.is_empty() {
            return ctx.fail("Usage: grep [OPTION]... PATTERNS [FILE]...", 2).await;
        }
        patterns.push(words.remove(0));
    }
    let regex = match compile(&patterns, &letters) {
        Ok(regex) => regex,
        Err(_) => {
            let message = format!("grep: Invalid regular expression: {}", patterns.join("\\n"));
            return ctx.fail(message, 2).await;
        }
    };
    let number = |letter: char| letters.value(letter).and_then(|text| text.parse::<usize>().ok());
    let around = number('C').unwrap_or(0);
    let mut grep = Grep {
        ctx: &ctx,
        letters: &letters,
        regex,
        after: number('A').unwrap_or(around),
        before: number('B').unwrap_or(around),
        max: number('m').unwrap_or(usize::MAX),
        with_names: letters.has('H') || (words.len() > 1 && !letters.has('h')),
    };
    let mut has_found = false;
    let mut has_failed = false;
    let names = if words.is_empty() { vec!["-".to_string()] } else { words };
    for name in names {
        let input = if name == "-" {
            ctx.io.stdin.clone()
        } else {
            match ctx.read(&name).await {
                Ok(content) => Input::of(content),
                Err(error) => {
                    if !letters.has('s') {
                        ctx.err(format!("grep: {name}: {error}\n")).await?;
                    }
                    has_failed = true;
                    continue;
                }
            }
        };
        let shown = if name == "-" { "(standard input)" } else { &name };
        has_found |= grep.input(shown, input).await?;
    }
    Ok(if has_failed { 2 } else { i32::from(!has_found) })
}

struct Grep<'a> {
    ctx: &'a Ctx,
    letters: &'a Letters,
    regex: Regex,
    after: usize,
    before: usize,
    max: usize,
    with_names: bool,
}

impl Grep<'_> {
    async fn input(&mut self, name: &str, input: Input) -> Result<bool, crate::io::Closed> {
        let has = |letter| self.letters.has(letter);
        let mut lines = Lines::new(input);
        let mut found = 0;
        let mut earlier: std::collections::VecDeque<(usize, String)> = Default::default();
        let (mut number, mut to_show, mut last_shown) = (0, 0, 0);
        while let Some(line) = lines.next().await {
            number += 1;
            let fits = self.regex.is_match(&line) != has('v');
            if fits {
                found += 1;
                if has('q') {
                    return Ok(true);
                }
            }
            if has('c') || has('l') {
                if found >= self.max || (has('l') && found > 0) {
                    break;
                }
                continue;
            }
            if fits {
                let has_gap = earlier.front().map_or(number, |(n, _)| *n) > last_shown + 1;
                if has_gap && last_shown > 0 && self.before + self.after > 0 {
                    self.ctx.out("--\n").await?;
                }
                for (number, line) in std::mem::take(&mut earlier) {
                    self.show(name, number, '-', &line).await?;
                }
                self.matched(name, number, &line).await?;
                (to_show, last_shown) = (self.after, number);
            } else if to_show > 0 {
                to_show -= 1;
                last_shown = number;
                self.show(name, number, '-', &line).await?;
            } else if self.before > 0 {
                earlier.push_back((number, line));
                if earlier.len() > self.before {
                    earlier.pop_front();
                }
            }
            if found >= self.max && to_show == 0 {
                break;
            }
        }
        if has('l') && found > 0 {
            self.ctx.out(format!("{name}\n")).await?;
        } else if has('c') {
            let prefix = if self.with_names { format!("{name}:") } else { String::new() };
            self.ctx.out(format!("{prefix}{found}\n")).await?;
        }
        Ok(found > 0)
    }

    async fn matched(
        &self,
        name: &str,
        number: usize,
        line: &str,
    ) -> Result<(), crate::io::Closed> {
        if !self.letters.has('o') || self.letters.has('v') {
            return self.show(name, number, ':', line).await;
        }
        for part in self.regex.find_iter(line).filter(|part| !part.is_empty()) {
            self.show(name, number, ':', part.as_str()).await?;
        }
        Ok(())
    }

    async fn show(
        &self,
        name: &str,
        number: usize,
        mark: char,
        line: &str,
    ) -> Result<(), crate::io::Closed> {
        let mut text = String::new();
        if self.with_names {
            text.push_str(&format!("{name}{mark}"));
        }
        if self.letters.has('n') {
            text.push_str(&format!("{number}{mark}"));
        }
        self.ctx.out(format!("{text}{line}\n")).await
    }
}

fn compile(patterns: &[String], letters: &Letters) -> Result<Regex, regex_lite::Error> {
    let one = |pattern: &str| {
        if letters.has('F') {
            regex_lite::escape(pattern)
        } else if letters.has('E') {
            pattern.to_string()
        } else {
            basic(pattern)
        }
    };
    let lines = patterns.iter().flat_map(|pattern| pattern.split('\n'));
    let alternatives: Vec<String> = lines.map(|line| format!("(?:{})", one(line))).collect();
    let mut text = alternatives.join("|");
    if letters.has('w') {
        text = format!(r"\b(?:{text})\b");
    }
    if letters.has('x') {
        text = format!("^(?:{text})$");
    }
    RegexBuilder::new(&text).case_insensitive(letters.has('i')).build()
}

/// A basic regular expression as an extended one: `\(` groups and `(` stands for itself.
pub(crate) fn basic(pattern: &str) -> String {
    let mut result = String::new();
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            _ if in_class => {
                in_class = c != ']';
                result.push(c);
            }
            '\\' => match chars.next() {
                Some(c @ ('(' | ')' | '{' | '}' | '|' | '+' | '?')) => result.push(c),
                Some(c) => result.extend(['\\', c]),
                None => result.push_str("\\\\"),
            },
            '(' | ')' | '{' | '}' | '|' | '+' | '?' => result.extend(['\\', c]),
            // A star with nothing before it stands for itself.
            '*' if result.is_empty() || result == "^" => result.push_str("\\*"),
            '[' => {
                in_class = true;
                result.push('[');
                // A bracket that comes first is a member.
                for first in ['^', ']'] {
                    if chars.peek() == Some(&first) {
                        chars.next();
                        result.push_str(if first == ']' { "\\]" } else { "^" });
                    }
                }
            }
            c => result.push(c),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::basic;

    #[test]
    fn basic_expressions_as_extended_ones() {
        for (from, to) in [
            ("a+b(c)", r"a\+b\(c\)"),
            (r"\(a\|b\)\+", "(a|b)+"),
            ("*a*", r"\*a*"),
            ("[(]x", "[(]x"),
            ("[]a]", r"[\]a]"),
            ("KUBE-SVC.*DNAT", "KUBE-SVC.*DNAT"),
        ] {
            assert_eq!(basic(from), to);
        }
    }
}
