//! Text through a pipe: head, tail, wc, sort, uniq, cut, tr, tee, xargs.

use std::cmp::Ordering;

use super::{Ctx, Letters, Lines};
use crate::io::{Exit, Input};

/// The inputs that a filter was given by name, or its standard input; what cannot be read has been said.
async fn inputs(
    ctx: &Ctx,
    names: &[String],
) -> Result<(Vec<(String, Input)>, i32), crate::io::Closed> {
    if names.is_empty() {
        return Ok((vec![(String::new(), ctx.io.stdin.clone())], 0));
    }
    let mut inputs = Vec::new();
    let mut status = 0;
    for name in names {
        if name == "-" {
            inputs.push((name.clone(), ctx.io.stdin.clone()));
            continue;
        }
        match ctx.read(name).await {
            Ok(content) => inputs.push((name.clone(), Input::of(content))),
            Err(error) => {
                ctx.err(format!("{}: {name}: {error}\n", ctx.name)).await?;
                status = 1;
            }
        }
    }
    Ok((inputs, status))
}

async fn options(ctx: &Ctx, spec: &str) -> Result<Letters, Exit> {
    match Letters::parse(&ctx.args, spec) {
        Ok(letters) => Ok(letters),
        Err(why) => Err(ctx.fail(format!("{}: {why}", ctx.name), 1).await),
    }
}

/// `-5` is `-n 5`.
fn with_number_option(args: &[String]) -> Vec<String> {
    let digits = |arg: &String| {
        let rest = arg.strip_prefix('-').unwrap_or_default();
        (!rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit())).then(|| format!("-n{rest}"))
    };
    args.iter().map(|arg| digits(arg).unwrap_or_else(|| arg.clone())).collect()
}

/// `head [-n N] [-c N] [FILE…]`
pub async fn head(mut ctx: Ctx) -> Exit {
    ctx.args = with_number_option(&ctx.args);
    let letters = match options(&ctx, "n:c:q").await {
        Ok(letters) => letters,
        Err(exit) => return exit,
    };
    if let Some(text) = letters.value('c') {
        let Ok(mut left) = text.parse::<usize>() else {
            return ctx.fail(format!("head: invalid number of bytes: '{text}'"), 1).await;
        };
        let (inputs, status) = inputs(&ctx, &letters.words).await?;
        for (_, input) in inputs {
            while left > 0 {
                let some = input.read(left).await;
                if some.is_empty() {
                    break;
                }
                left -= some.len();
                ctx.out(some).await?;
            }
        }
        return Ok(status);
    }
    let text = letters.value('n').unwrap_or("10");
    let Ok(count) = text.parse::<i64>() else {
        return ctx.fail(format!("head: invalid number of lines: '{text}'"), 1).await;
    };
    let (inputs, status) = inputs(&ctx, &letters.words).await?;
    for (_, input) in inputs {
        let mut lines = Lines::new(input);
        if count >= 0 {
            for _ in 0..count {
                let Some(line) = lines.next().await else { break };
                ctx.out(line + "\n").await?;
            }
            continue;
        }
        // All but the last ones.
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            all.push(line);
        }
        let kept = all.len().saturating_sub(usize::try_from(-count).unwrap_or(0));
        for line in all.into_iter().take(kept) {
            ctx.out(line + "\n").await?;
        }
    }
    Ok(status)
}

/// `tail [-n N] [-n +N] [FILE…]`
pub async fn tail(mut ctx: Ctx) -> Exit {
    ctx.args = with_number_option(&ctx.args);
    let letters = match options(&ctx, "n:qf").await {
        Ok(letters) => letters,
        Err(exit) => return exit,
    };
    if letters.has('f') {
        return ctx.unsupported("-f").await;
    }
    let text = letters.value('n').unwrap_or("10");
    let from_start = text.starts_with('+');
    let Ok(count) = text.trim_start_matches(['+', '-']).parse::<usize>() else {
        return ctx.fail(format!("tail: invalid number of lines: '{text}'"), 1).await;
    };
    let (inputs, status) = inputs(&ctx, &letters.words).await?;
    for (_, input) in inputs {
        let mut lines = Lines::new(input);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            all.push(line);
        }
        let skipped = match from_start {
            true => count.saturating_sub(1),
            false => all.len().saturating_sub(count),
        };
        for line in all.into_iter().skip(skipped) {
            ctx.out(line + "\n").await?;
        }
    }
    Ok(status)
}

/// `wc [-lwcm] [FILE…]`
pub async fn wc(ctx: Ctx) -> Exit {
    let letters = match options(&ctx, "lwcm").await {
        Ok(letters) => letters,
        Err(exit) => return exit,
    };
    let (inputs, status) = inputs(&ctx, &letters.words).await?;
    let chosen: Vec<char> = "lwmc".chars().filter(|letter| letters.has(*letter)).collect();
    let chosen = if chosen.is_empty() { vec!['l', 'w', 'c'] } else { chosen };
    let mut total = vec![0usize; chosen.len()];
    let mut rows: Vec<(Vec<usize>, String)> = Vec::new();
    for (name, input) in inputs {
        let content = input.read_to_end().await;
        let text = String::from_utf8_lossy(&content);
        let count = |letter: &char| match letter {
            'l' => content.iter().filter(|byte| **byte == b'\n').count(),
            'w' => text.split_whitespace().count(),
            'm' => text.chars().count(),
            _ => content.len(),
        };
        let counts: Vec<usize> = chosen.iter().map(count).collect();
        total.iter_mut().zip(&counts).for_each(|(total, count)| *total += count);
        rows.push((counts, name));
    }
    if rows.len() > 1 {
        rows.push((total, "total".to_string()));
    }
    // One number of the standard input stands alone; otherwise they stand in columns.
    let is_alone = chosen.len() == 1 && rows.len() == 1;
    let widest = rows.iter().flat_map(|(counts, _)| counts).map(|n| n.to_string().len()).max();
    let is_piped = rows.iter().any(|(_, name)| name.is_empty() || name == "-");
    let width = if is_alone { 0 } else { widest.unwrap_or(0).max(if is_piped { 7 } else { 0 }) };
    for (counts, name) in rows {
        let numbers: Vec<String> = counts.iter().map(|count| format!("{count:>width$}")).collect();
        let name = if name.is_empty() { name } else { format!(" {name}") };
        ctx.out(format!("{}{name}\n", numbers.join(" "))).await?;
    }
    Ok(status)
}

/// `sort [-nrukV] [-t C] [FILE…]`
pub async fn sort(ctx: Ctx) -> Exit {
    let letters = match options(&ctx, "nrufbVhk:t:").await {
        Ok(letters) => letters,
        Err(exit) => return exit,
    };
    let (inputs, status) = inputs(&ctx, &letters.words).await?;
    let mut lines = Vec::new();
    for (_, input) in inputs {
        let mut more = Lines::new(input);
        while let Some(line) = more.next().await {
            lines.push(line);
        }
    }
    let separator = letters.value('t').and_then(|text| text.chars().next());
    let key_spec = letters.value('k').unwrap_or_default();
    let digits: String = key_spec.chars().take_while(char::is_ascii_digit).collect();
    let field = digits.parse::<usize>().ok().filter(|field| *field > 0);
    let ends = key_spec.split_once(',').is_some();
    let has = |letter: char| letters.has(letter) || key_spec.contains(letter);
    let key = |line: &str| -> String {
        let Some(field) = field else { return line.to_string() };
        let fields: Vec<&str> = match separator {
            Some(separator) => line.split(separator).collect(),
            None => line.split_whitespace().collect(),
        };
        let from = fields.get(field - 1..).unwrap_or_default();
        if ends { from.first().copied().unwrap_or_default().to_string() } else { from.join(" ") }
    };
    let compare = |a: &String, b: &String| -> Ordering {
        let (left, right) = (key(a), key(b));
        let order = if has('n') || has('h') {
            number(&left).total_cmp(&number(&right))
        } else if has('V') {
            version(&left).cmp(&version(&right))
        } else if has('f') {
            left.to_lowercase().cmp(&right.to_lowercase())
        } else {
            left.cmp(&right)
        };
        // What is the same by its key is in the order of the whole line.
        let order = if letters.has('u') { order } else { order.then_with(|| a.cmp(b)) };
        if has('r') { order.reverse() } else { order }
    };
    base::order::sort_by(&mut lines, compare);
    if letters.has('u') {
        lines.dedup_by(|a, b| compare(a, b) == Ordering::Equal);
    }
    for line in lines {
        ctx.out(line + "\n").await?;
    }
    Ok(status)
}

fn number(text: &str) -> f64 {
    let text = text.trim_start();
    let end =
        text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-').unwrap_or(text.len());
    text.get(..end).and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// Runs of digits compare as numbers.
fn version(text: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (letters, after) = rest.split_at(end);
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (digits, after) = after.split_at(end);
        parts.push((letters.to_string(), digits.parse().unwrap_or(0)));
        rest = after;
    }
    parts
}

/// `uniq [-cdu]`
pub async fn uniq(ctx: Ctx) -> Exit {
    let letters = match options(&ctx, "cdu").await {
        Ok(letters) => letters,
        Err(exit) => return exit,
    };
    let (inputs, status) = inputs(&ctx, &letters.words).await?;
    let mut runs: Vec<(usize, String)> = Vec::new();
    for (_, input) in inputs {
        let mut lines = Lines::new(input);
        while let Some(line) = lines.next().await {
            match runs.last_mut() {
                Some((count, last)) if *last == line => *count += 1,
                _ => runs.push((1, line)),
            }
        }
    }
    for (count, line) in runs {
        let is_wanted = match (letters.has('d'), letters.has('u')) {
            (true, false) => count > 1,
            (false, true) => count == 1,
            _ => true,
        };
        if is_wanted && letters.has('c') {
            ctx.out(format!("{count:>7} {line}\n")).await?;
        } else if is_wanted {
            ctx.out(line + "\n").await?;
        }
    }
    Ok(status)
}

/// `cut -d C -f LIST`, `cut -c LIST`
pub async fn cut(ctx: Ctx) -> Exit {
    let letters = match options(&ctx, "d:f:c:s").await {
        Ok(letters) => letters,
        Err(exit) => return exit,
    };
    let list = letters.value('f').or(letters.value('c'));
    let Some(list) = list else {
        return ctx.fail("cut: you must specify a list of bytes, characters, or fields", 1).await;
    };
    let Some(ranges) = ranges(list) else {
        return ctx.fail(format!("cut: invalid field value '{list}'"), 1).await;
    };
    let picked = |at: usize| ranges.iter().any(|(from, to)| (*from..=*to).contains(&(at + 1)));
    let separator = letters.value('d').and_then(|text| text.chars().next()).unwrap_or('\t');
    let (inputs, status) = inputs(&ctx, &letters.words).await?;
    for (_, input) in inputs {
        let mut lines = Lines::new(input);
        while let Some(line) = lines.next().await {
            let shown: String = if letters.has('c') {
                line.chars().enumerate().filter(|(at, _)| picked(*at)).map(|(_, c)| c).collect()
            } else if line.contains(separator) {
                let fields = line.split(separator).enumerate().filter(|(at, _)| picked(*at));
                let fields: Vec<&str> = fields.map(|(_, field)| field).collect();
                fields.join(&separator.to_string())
            } else if letters.has('s') {
                continue;
            } else {
                line
            };
            ctx.out(shown + "\n").await?;
        }
    }
    Ok(status)
}

/// `1,3-5,7-`
fn ranges(list: &str) -> Option<Vec<(usize, usize)>> {
    let range = |part: &str| -> Option<(usize, usize)> {
        let number = |text: &str, default: usize| match text {
            "" => Some(default),
            text => text.parse().ok(),
        };
        match part.split_once('-') {
            Some(("", "")) => None,
            Some((from, to)) => Some((number(from, 1)?, number(to, usize::MAX)?)),
            None => part.parse().ok().map(|n| (n, n)),
        }
    };
    list.split(',').map(range).collect()
}

/// `tr [-d] [-s] SET [SET]`
pub async fn tr(ctx: Ctx) -> Exit {
    let letters = match options(&ctx, "dsc").await {
        Ok(letters) => letters,
        Err(exit) => return exit,
    };
    let sets: Vec<Vec<char>> = letters.words.iter().map(|text| set(text)).collect();
    let (from, to) = match sets.as_slice() {
        [from] if letters.has('d') || letters.has('s') => (from.clone(), from.clone()),
        [from, to] => (from.clone(), to.clone()),
        _ => return ctx.fail("tr: missing operand", 1).await,
    };
    let is_in = |c: char| from.contains(&c) != letters.has('c');
    let mut last: Option<char> = None;
    loop {
        let some = ctx.io.stdin.read(16 * 1024).await;
        if some.is_empty() {
            return Ok(0);
        }
        let mut result = String::new();
        for c in String::from_utf8_lossy(&some).chars() {
            if letters.has('d') && is_in(c) {
                continue;
            }
            let at = from.iter().position(|known| *known == c).unwrap_or(usize::MAX);
            let is_mapped = is_in(c) && !letters.has('d');
            let mapped = to.get(at).or(to.last()).copied().filter(|_| is_mapped && sets.len() == 2);
            let c = mapped.unwrap_or(c);
            if letters.has('s') && last == Some(c) && to.contains(&c) {
                continue;
            }
            last = Some(c);
            result.push(c);
        }
        ctx.out(result).await?;
    }
}

/// `a-z`, `\n`, `[:upper:]`
fn set(text: &str) -> Vec<char> {
    let class = |from: char, to: char| (from..=to).collect::<Vec<char>>();
    match text {
        "[:upper:]" => return class('A', 'Z'),
        "[:lower:]" => return class('a', 'z'),
        "[:digit:]" => return class('0', '9'),
        "[:space:]" => return vec![' ', '\t', '\n', '\r'],
        "[:alnum:]" => return [class('0', '9'), class('A', 'Z'), class('a', 'z')].concat(),
        _ => {}
    }
    let mut chars = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let c = match (c, rest.peek()) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('t')) => '\t',
            ('\\', Some('r')) => '\r',
            ('\\', Some('\\')) => '\\',
            _ => {
                let range = (rest.peek() == Some(&'-')).then(|| rest.clone().nth(1)).flatten();
                match range {
                    Some(last) if last >= c => {
                        rest.next();
                        rest.next();
                        chars.extend(c..=last);
                    }
                    _ => chars.push(c),
                }
                continue;
            }
        };
        rest.next();
        chars.push(c);
    }
    chars
}

/// `tee [-a] FILE…`
pub async fn tee(ctx: Ctx) -> Exit {
    let letters = match options(&ctx, "a").await {
        Ok(letters) => letters,
        Err(exit) => return exit,
    };
    let content = ctx.io.stdin.read_to_end().await;
    for name in &letters.words {
        let path = ctx.session.path(name);
        let files = &ctx.session.files;
        let written = match letters.has('a') {
            true => files.append(&path, &content),
            false => files.write(&path, &content),
        };
        if let Err(error) = written {
            ctx.err(format!("tee: {name}: {error}\n")).await?;
        }
    }
    ctx.out(content).await?;
    Ok(0)
}

/// `xargs [-n N] [-I X] COMMAND…`: words of the input as arguments.
pub async fn xargs(ctx: Ctx) -> Exit {
    let takes_value = |arg: &str| matches!(arg, "-n" | "-I" | "-L");
    let mut own = 0;
    while let Some(arg) = ctx.args.get(own).filter(|arg| arg.starts_with('-')) {
        own += if takes_value(arg) { 2 } else { 1 };
    }
    let (options, command) = ctx.args.split_at(own.min(ctx.args.len()));
    let letters = match Letters::parse(options, "n:I:L:rt") {
        Ok(letters) => letters,
        Err(why) => return ctx.fail(format!("xargs: {why}"), 1).await,
    };
    let echo = ["echo".to_string()];
    let command = if command.is_empty() { &echo[..] } else { command };
    let input = ctx.io.stdin.read_to_end().await;
    let input = String::from_utf8_lossy(&input).into_owned();
    let calls: Vec<Vec<String>> = if let Some(mark) = letters.value('I') {
        let fill =
            |line: &str| command.iter().map(|word| word.replace(mark, line.trim())).collect();
        input.lines().filter(|line| !line.trim().is_empty()).map(fill).collect()
    } else {
        let words: Vec<String> = input.split_whitespace().map(str::to_string).collect();
        if words.is_empty() && letters.has('r') {
            return Ok(0);
        }
        let size = letters.value('n').and_then(|n| n.parse().ok()).unwrap_or(usize::MAX).max(1);
        let mut calls: Vec<Vec<String>> =
            words.chunks(size).map(|words| [command, words].concat()).collect();
        if calls.is_empty() {
            calls.push(command.to_vec());
        }
        calls
    };
    let mut status = 0;
    for call in calls {
        let Some((name, args)) = call.split_first() else { continue };
        let Some(program) = super::find(name, &ctx.session.place) else {
            return ctx.fail(format!("xargs: {name}: No such file or directory"), 127).await;
        };
        let mut inner = ctx.clone();
        (inner.name, inner.args) = (name.clone(), args.to_vec());
        inner.io.stdin = Input::Null;
        if program(inner).await? != 0 {
            status = 123;
        }
    }
    Ok(status)
}
