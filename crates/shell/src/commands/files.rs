//! Printing, files, and small change: echo, printf, cat, ls, test, seq, sleep, date and the like.

use base::{Duration, calendar::Utc};

use super::{Ctx, Letters};
use crate::files::FileKind;
use crate::io::Exit;

/// `true`, `:`
pub async fn success(_: Ctx) -> Exit {
    Ok(0)
}

/// `false`
pub async fn failure(_: Ctx) -> Exit {
    Ok(1)
}

/// `echo [-n] [-e] WORD…`
pub async fn echo(ctx: Ctx) -> Exit {
    let is_option = |arg: &&String| {
        arg.strip_prefix('-').is_some_and(|letters| {
            !letters.is_empty() && letters.chars().all(|c| matches!(c, 'n' | 'e' | 'E'))
        })
    };
    let options: String = ctx.args.iter().take_while(is_option).cloned().collect();
    let words: Vec<&str> = ctx.args.iter().skip_while(is_option).map(String::as_str).collect();
    let mut text = words.join(" ");
    if options.contains('e') {
        text = unescape(&text);
    }
    if !options.contains('n') {
        text.push('\n');
    }
    ctx.out(text).await?;
    Ok(0)
}

/// `\n` and the like, as `echo -e` and `printf` read them.
fn unescape(text: &str) -> String {
    let mut result = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => result.push('\n'),
            Some('t') => result.push('\t'),
            Some('r') => result.push('\r'),
            Some('e') => result.push('\u{1b}'),
            Some('\\') => result.push('\\'),
            Some('"') => result.push('"'),
            Some(other) => result.extend(['\\', other]),
            None => result.push('\\'),
        }
    }
    result
}

/// `printf FORMAT [WORD…]`
pub async fn printf(ctx: Ctx) -> Exit {
    let Some((format, words)) = ctx.args.split_first() else {
        return ctx.fail("printf: usage: printf [-v var] format [arguments]", 2).await;
    };
    let mut words = words.iter();
    let mut result = String::new();
    loop {
        let before = words.len();
        match fill(format, &mut words) {
            Ok(text) => result.push_str(&text),
            Err(message) => return ctx.fail(format!("printf: {message}"), 1).await,
        }
        // The format is used again while it uses words up.
        if words.len() == 0 || words.len() == before {
            break;
        }
    }
    ctx.out(result).await?;
    Ok(0)
}

fn fill<'a>(format: &str, words: &mut impl Iterator<Item = &'a String>) -> Result<String, String> {
    let mut result = String::new();
    let text = unescape(format);
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('%') {
        result.push_str(before);
        let end = after.find(|c: char| c.is_alphabetic() || c == '%').unwrap_or(after.len());
        let (spec, tail) = after.split_at(end);
        let Some(kind) = tail.chars().next() else {
            return Err("`%': missing format character".into());
        };
        rest = tail.get(kind.len_utf8()..).unwrap_or_default();
        if kind == '%' {
            result.push('%');
            continue;
        }
        let word = words.next().map(String::as_str).unwrap_or_default();
        let is_left = spec.starts_with('-');
        let is_zero = spec.starts_with('0');
        let (width, precision) = match spec.trim_start_matches(['-', '0', '+', ' ']).split_once('.')
        {
            Some((width, precision)) => (width, precision.parse::<usize>().ok()),
            None => (spec.trim_start_matches(['-', '0', '+', ' ']), None),
        };
        let width: usize = width.parse::<usize>().unwrap_or(0).min(10_000);
        let number = || {
            let text = if word.is_empty() { "0" } else { word };
            text.parse::<i64>().map_err(|_| format!("{word}: invalid number"))
        };
        let value = match kind {
            's' => word.chars().take(precision.unwrap_or(usize::MAX)).collect(),
            'b' => unescape(word),
            'q' => format!("'{word}'"),
            'c' => word.chars().take(1).collect(),
            'd' | 'i' => number()?.to_string(),
            'u' => number()?.to_string(),
            'x' => format!("{:x}", number()?),
            'X' => format!("{:X}", number()?),
            'o' => format!("{:o}", number()?),
            'f' => {
                let value: f64 = if word.is_empty() {
                    0.0
                } else {
                    word.parse().map_err(|_| format!("{word}: invalid number"))?
                };
                format!("{value:.*}", precision.unwrap_or(6).min(100))
            }
            other => return Err(format!("`{other}': invalid format character")),
        };
        let missing = width.saturating_sub(value.chars().count());
        let fill = if is_zero && !is_left && kind != 's' { "0" } else { " " };
        let padding = fill.repeat(missing);
        result.push_str(&if is_left { value + &padding } else { padding + &value });
    }
    result.push_str(rest);
    Ok(result)
}

/// `cat [FILE…]`
pub async fn cat(ctx: Ctx) -> Exit {
    let letters = match Letters::parse(&ctx.args, "nu") {
        Ok(letters) => letters,
        Err(why) => return ctx.fail(format!("cat: {why}"), 1).await,
    };
    let mut status = 0;
    let stdin = ["-".to_string()];
    let names = if letters.words.is_empty() { &stdin[..] } else { &letters.words[..] };
    let mut count = 0;
    for name in names {
        if name == "-" && !letters.has('n') {
            loop {
                let some = ctx.io.stdin.read(16 * 1024).await;
                if some.is_empty() {
                    break;
                }
                ctx.out(some).await?;
            }
            continue;
        }
        match ctx.read(name).await {
            Ok(content) if letters.has('n') => {
                for line in String::from_utf8_lossy(&content).lines() {
                    count += 1;
                    ctx.out(format!("{count:6}\t{line}\n")).await?;
                }
            }
            Ok(content) => ctx.out(content).await?,
            Err(error) => {
                let text = match ctx.is_busybox() {
                    true => format!("cat: can't open '{name}': {error}\n"),
                    false => format!("cat: {name}: {error}\n"),
                };
                ctx.err(text).await?;
                status = 1;
            }
        }
    }
    Ok(status)
}

/// `ls [-1al] [PATH…]`
pub async fn ls(ctx: Ctx) -> Exit {
    let letters = match Letters::parse(&ctx.args, "1aAl") {
        Ok(letters) => letters,
        Err(why) => return ctx.fail(format!("ls: {why}"), 2).await,
    };
    let here = [".".to_string()];
    let paths = if letters.words.is_empty() { &here[..] } else { &letters.words[..] };
    let mut status = 0;
    let mut names: Vec<(String, String)> = Vec::new();
    for path in paths {
        let whole = ctx.session.path(path);
        match ctx.session.files.kind(&whole) {
            None => {
                let what = match ctx.is_busybox() {
                    true => path.to_string(),
                    false => format!("cannot access '{path}'"),
                };
                ctx.err(format!("ls: {what}: No such file or directory\n")).await?;
                status = if ctx.is_busybox() { 1 } else { 2 };
            }
            Some(FileKind::File) => names.push((path.clone(), whole)),
            Some(FileKind::Directory) => match ctx.session.files.list(&whole) {
                Ok(list) => {
                    let shown = |name: &&String| letters.has('a') || !name.starts_with('.');
                    let within = list.iter().filter(shown);
                    names.extend(within.map(|name| (name.clone(), format!("{whole}/{name}"))));
                }
                Err(error) => {
                    ctx.err(format!("ls: cannot open directory '{path}': {error}\n")).await?;
                    status = 2;
                }
            },
        }
    }
    for (name, path) in &names {
        if letters.has('l') {
            let is_directory = ctx.session.files.kind(path) == Some(FileKind::Directory);
            let size = ctx.session.files.read(path).map(|content| content.len()).unwrap_or(4096);
            let mode = if is_directory { "drwxr-xr-x" } else { "-rw-r--r--" };
            ctx.out(format!("{mode} 1 you you {size:>8} {name}\n")).await?;
        } else if ctx.io.stdout.is_tty() && !letters.has('1') {
            let last = names.last().is_some_and(|(last, _)| last == name);
            ctx.out(format!("{name}{}", if last { "\n" } else { "  " })).await?;
        } else {
            ctx.out(format!("{name}\n")).await?;
        }
    }
    Ok(status)
}

/// `pwd`
pub async fn pwd(ctx: Ctx) -> Exit {
    ctx.out(format!("{}\n", ctx.session.cwd())).await?;
    Ok(0)
}

/// `rm [-f] FILE…`
pub async fn rm(ctx: Ctx) -> Exit {
    let letters = match Letters::parse(&ctx.args, "frv") {
        Ok(letters) => letters,
        Err(why) => return ctx.fail(format!("rm: {why}"), 1).await,
    };
    let mut status = 0;
    for name in &letters.words {
        if let Err(error) = ctx.session.files.remove(&ctx.session.path(name))
            && !letters.has('f')
        {
            ctx.err(format!("rm: cannot remove '{name}': {error}\n")).await?;
            status = 1;
        }
    }
    Ok(status)
}

/// `touch FILE…`
pub async fn touch(ctx: Ctx) -> Exit {
    for name in &ctx.args {
        if let Err(error) = ctx.session.files.append(&ctx.session.path(name), b"") {
            return ctx.fail(format!("touch: cannot touch '{name}': {error}"), 1).await;
        }
    }
    Ok(0)
}

/// `basename PATH [SUFFIX]`
pub async fn basename(ctx: Ctx) -> Exit {
    let Some(path) = ctx.args.first() else {
        return ctx.fail("basename: missing operand", 1).await;
    };
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let suffix = ctx.args.get(1).map(String::as_str).unwrap_or_default();
    let name = name.strip_suffix(suffix).filter(|rest| !rest.is_empty()).unwrap_or(name);
    ctx.out(format!("{name}\n")).await?;
    Ok(0)
}

/// `dirname PATH`
pub async fn dirname(ctx: Ctx) -> Exit {
    let Some(path) = ctx.args.first() else { return ctx.fail("dirname: missing operand", 1).await };
    let directory = match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) => "/",
        Some((directory, _)) => directory,
        None => ".",
    };
    ctx.out(format!("{directory}\n")).await?;
    Ok(0)
}

/// `seq [FIRST [STEP]] LAST`
pub async fn seq(ctx: Ctx) -> Exit {
    let mut numbers = Vec::new();
    for arg in &ctx.args {
        match arg.parse::<i64>() {
            Ok(number) => numbers.push(number),
            Err(_) => {
                let message = format!("seq: invalid floating point argument: '{arg}'");
                return ctx.fail(message, 1).await;
            }
        }
    }
    let (first, step, last) = match numbers.as_slice() {
        [last] => (1, 1, *last),
        [first, last] => (*first, 1, *last),
        [first, step, last] => (*first, *step, *last),
        _ => return ctx.fail("seq: missing operand", 1).await,
    };
    if step == 0 {
        return ctx.fail("seq: invalid Zero increment value: '0'", 1).await;
    }
    let mut number = first;
    while (step > 0 && number <= last) || (step < 0 && number >= last) {
        ctx.out(format!("{number}\n")).await?;
        let Some(next) = number.checked_add(step) else { break };
        number = next;
    }
    Ok(0)
}

/// `sleep DURATION…`, on the virtual clock.
pub async fn sleep(ctx: Ctx) -> Exit {
    let mut total = 0.0;
    for arg in &ctx.args {
        if matches!(arg.as_str(), "infinity" | "inf") {
            std::future::pending::<()>().await;
        }
        let (number, unit) = match arg.char_indices().last() {
            Some((at, c)) if c.is_alphabetic() => arg.split_at(at),
            _ => (arg.as_str(), "s"),
        };
        let secs = match unit {
            "s" => Some(1.0),
            "m" => Some(60.0),
            "h" => Some(3600.0),
            "d" => Some(86_400.0),
            _ => None,
        };
        let number = number.parse::<f64>().ok().filter(|number| *number >= 0.0);
        match (number, secs) {
            (Some(number), Some(secs)) => total += number * secs,
            _ => return ctx.fail(format!("sleep: invalid time interval '{arg}'"), 1).await,
        }
    }
    if ctx.args.is_empty() {
        return ctx.fail("sleep: missing operand", 1).await;
    }
    ctx.host.sleep(Duration::from_micros((total * 1e6).min(1e15) as u64)).await;
    Ok(0)
}

/// `date [+FORMAT]`, on the virtual clock.
pub async fn date(ctx: Ctx) -> Exit {
    let now = Utc::at(ctx.host.now());
    match ctx.args.iter().find(|arg| *arg != "-u") {
        None => {
            let text = now.ctime();
            let (day, year) = text.trim_end().rsplit_once(' ').unwrap_or_default();
            ctx.out(format!("{day} UTC {year}\n")).await?;
        }
        Some(format) if format == "+%s" => {
            let secs = base::calendar::EPOCH_UNIX_SECS + ctx.host.now().as_secs();
            ctx.out(format!("{secs}\n")).await?;
        }
        Some(format) if format == "+%T" || format == "+%H:%M:%S" => {
            let time = now.time_of_day();
            ctx.out(format!("{}\n", time.split('.').next().unwrap_or_default())).await?;
        }
        Some(format) => return ctx.unsupported(&format!("'{format}'")).await,
    }
    Ok(0)
}

/// `hostname`
pub async fn hostname(ctx: Ctx) -> Exit {
    let container = ctx.session.container.as_ref().map(|c| &c.hostname).filter(|n| !n.is_empty());
    let name = match &ctx.session.place {
        _ if container.is_some() => container.cloned().unwrap_or_default(),
        ::lab::Place::Machine => "podwire".to_string(),
        place => place.short().to_string(),
    };
    ctx.out(format!("{name}\n")).await?;
    Ok(0)
}

/// `whoami`
pub async fn whoami(ctx: Ctx) -> Exit {
    let user = ctx.session.var("USER").unwrap_or_default();
    ctx.out(format!("{user}\n")).await?;
    Ok(0)
}

/// `env`
pub async fn env(ctx: Ctx) -> Exit {
    if !ctx.args.is_empty() {
        return ctx.unsupported("running a command").await;
    }
    for (name, value) in ctx.session.exported().into_iter().chain(ctx.env.clone()) {
        ctx.out(format!("{name}={value}\n")).await?;
    }
    Ok(0)
}

/// `clear`
pub async fn clear(ctx: Ctx) -> Exit {
    if ctx.io.stdout.is_terminal() {
        ctx.out("\u{1b}[H\u{1b}[2J\u{1b}[3J").await?;
    }
    Ok(0)
}

/// `help`
pub async fn help(ctx: Ctx) -> Exit {
    ctx.out(HELP).await?;
    Ok(0)
}

const HELP: &str = "\
Your machine, in front of a cluster. Try:

  kubectl apply -f deployment.yml -f service.yml
  kubectl get pods -o wide
  curl localhost:30007
  kubectl delete pod NAME
  docker exec kind-control-plane iptables-save -t nat

Programs: kubectl, kind, docker, curl, lab, and in nodes iptables, iptables-save,
conntrack, ip. Small tools: cat cut echo grep head ls printf sed seq sleep sort
tail tee test tr uniq wc xargs. The grammar is bash's: pipes, loops, variables, $(…).
";

/// `test EXPRESSION`, `[ EXPRESSION ]`
pub async fn test(ctx: Ctx) -> Exit {
    let mut args: Vec<&str> = ctx.args.iter().map(String::as_str).collect();
    if ctx.name == "[" && args.pop() != Some("]") {
        return ctx.fail("bash: [: missing `]'", 2).await;
    }
    match (Test { ctx: &ctx }).holds(&args) {
        Ok(holds) => Ok(i32::from(!holds)),
        Err(why) => ctx.fail(format!("bash: {}: {why}", ctx.name), 2).await,
    }
}

struct Test<'a> {
    ctx: &'a Ctx,
}

impl Test<'_> {
    fn holds(&self, args: &[&str]) -> Result<bool, String> {
        // -o binds weakest, then -a, then !.
        for (word, any) in [("-o", true), ("-a", false)] {
            let at = args.iter().position(|arg| *arg == word);
            if let Some(at) = at.filter(|at| *at > 0 && args.len() > 3 && *at + 1 < args.len()) {
                let (left, right) = args.split_at(at);
                let left = self.holds(left)?;
                let right = self.holds(right.get(1..).unwrap_or_default())?;
                return Ok(if any { left || right } else { left && right });
            }
        }
        match args {
            [] => Ok(false),
            ["!", rest @ ..] if !rest.is_empty() => Ok(!self.holds(rest)?),
            [word] => Ok(!word.is_empty()),
            [operator, operand] => self.one(operator, operand),
            [left, operator, right] => self.two(left, operator, right),
            _ => Err("too many arguments".to_string()),
        }
    }

    fn one(&self, operator: &str, operand: &str) -> Result<bool, String> {
        let session = &self.ctx.session;
        let kind = session.files.kind(&session.path(operand));
        Ok(match operator {
            "-n" => !operand.is_empty(),
            "-z" => operand.is_empty(),
            "-e" | "-r" | "-w" => kind.is_some(),
            "-f" => kind == Some(FileKind::File),
            "-d" => kind == Some(FileKind::Directory),
            "-s" => session.files.read(&session.path(operand)).is_ok_and(|c| !c.is_empty()),
            _ => return Err(format!("{operator}: unary operator expected")),
        })
    }

    fn two(&self, left: &str, operator: &str, right: &str) -> Result<bool, String> {
        let number = |text: &str| {
            text.trim().parse::<i64>().map_err(|_| format!("{text}: integer expression expected"))
        };
        Ok(match operator {
            "=" | "==" => left == right,
            "!=" => left != right,
            "<" => left < right,
            ">" => left > right,
            "-eq" => number(left)? == number(right)?,
            "-ne" => number(left)? != number(right)?,
            "-lt" => number(left)? < number(right)?,
            "-le" => number(left)? <= number(right)?,
            "-gt" => number(left)? > number(right)?,
            "-ge" => number(left)? >= number(right)?,
            _ => return Err(format!("{operator}: binary operator expected")),
        })
    }
}
