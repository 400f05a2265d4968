//! `wget`: busybox's, everywhere (1.36): its options, its words.

use std::net::SocketAddrV4;

use base::Duration;
use lab::Outcome;
use netsim::SockError;
use netsim::exec::timeout;
use programs::http::Headers;
use programs::http::client::{Ask, FetchError, Fetched, fetch};

use super::url::Url;
use super::{Ctx, Letters};
use crate::io::{Closed, Exit, Output};

/// How long nothing may come (`-T`).
const TIMEOUT: u64 = 900;
/// Redirects followed at most.
const REDIRECTS_MAX: u32 = 5;

/// What was asked for.
struct Options {
    letters: Letters,
    headers: Vec<(String, String)>,
    body: Option<String>,
    is_spider: bool,
    timeout: Duration,
}

/// Long options are turned into short ones, which `getopt` then reads.
fn options(args: &[String]) -> Result<Options, String> {
    let (mut short, mut headers, mut body, mut is_spider) = (Vec::new(), Vec::new(), None, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(long) = arg.strip_prefix("--").filter(|long| !long.is_empty()) else {
            short.push(arg.clone());
            continue;
        };
        let (name, given) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (long, None),
        };
        let mut value = || {
            let next = given.clone().or_else(|| args.next().cloned());
            next.ok_or_else(|| format!("option requires an argument: {name}"))
        };
        match name {
            "spider" => is_spider = true,
            "quiet" => short.push("-q".to_string()),
            "server-response" => short.push("-S".to_string()),
            "no-check-certificate" | "no-verbose" => {}
            "output-document" => short.extend(["-O".to_string(), value()?]),
            "timeout" => short.extend(["-T".to_string(), value()?]),
            "tries" => short.extend(["-t".to_string(), value()?]),
            "user-agent" => short.extend(["-U".to_string(), value()?]),
            "post-data" => body = Some(value()?),
            "header" => {
                let field = value()?;
                let (name, value) = field.split_once(':').unwrap_or((&field, ""));
                headers.push((name.trim().to_string(), value.trim().to_string()));
            }
            _ => return Err(format!("unrecognized option '{arg}'")),
        }
    }
    let letters = Letters::parse(&short, "qSO:T:t:U:P:cY:")?;
    let secs = letters.value('T').and_then(|secs| secs.parse().ok()).unwrap_or(TIMEOUT);
    Ok(Options { letters, headers, body, is_spider, timeout: Duration::from_secs(secs) })
}

/// `wget [-q] [-O FILE] [-T SECONDS] [--spider] URL…`
pub async fn run(ctx: Ctx) -> Exit {
    let options = match options(&ctx.args) {
        Ok(options) => options,
        Err(why) => return ctx.fail(format!("wget: {why}"), 1).await,
    };
    if options.letters.has('c') {
        return ctx.unsupported("-c").await;
    }
    if options.letters.words.is_empty() {
        return ctx.fail("wget: missing URL", 1).await;
    }
    for url in &options.letters.words {
        if let Err(why) = one(&ctx, &options, url).await? {
            return ctx.fail(format!("wget: {why}"), 1).await;
        }
    }
    Ok(0)
}

/// A request that nobody has ended: if wget is killed now, it is given up.
struct Open<'a> {
    lab: &'a lab::Lab,
    cause: netsim::Cause,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.lab.abandon_request(self.cause);
    }
}

async fn one(ctx: &Ctx, options: &Options, address: &str) -> Result<Result<(), String>, Closed> {
    let mut address = address.to_string();
    for _ in 0..=REDIRECTS_MAX {
        if address.starts_with("https://") {
            return Ok(Err("https is not supported by podwire".to_string()));
        }
        let Ok(url) = Url::parse(&address) else {
            return Ok(Err(format!("bad address '{address}'")));
        };
        let lab = &ctx.session.lab;
        let to = url.authority();
        let command = format!("wget {}", ctx.args.join(" "));
        let cause = lab.begin_request(&ctx.session.place, &to, &command);
        ctx.host.set_cause(cause);
        let open = Open { lab, cause };
        let result = request(ctx, options, &url).await?;
        std::mem::forget(open);
        match &result {
            Ok(fetched) => {
                let response = &fetched.response;
                lab.end_request(cause, Outcome::Answered(response.status), &response.body);
            }
            Err(why) => lab.end_request(cause, Outcome::Failed(why.clone()), b""),
        }
        let fetched = match result {
            Ok(fetched) => fetched,
            Err(why) => return Ok(Err(why)),
        };
        let response = &fetched.response;
        if options.letters.has('S') {
            let head = String::from_utf8_lossy(&response.head()).into_owned();
            for line in head.lines().filter(|line| !line.is_empty()) {
                ctx.err(format!("  {line}\n")).await?;
            }
        }
        let location = response.headers.get("location");
        if let (300..400, Some(location)) = (response.status, location) {
            address = url.join(location);
            continue;
        }
        if !(200..300).contains(&response.status) {
            let line = format!("HTTP/1.1 {} {}", response.status, response.reason);
            return Ok(Err(format!("server returned error: {line}")));
        }
        if options.is_spider {
            if !options.letters.has('q') {
                ctx.err("remote file exists\n").await?;
            }
            return Ok(Ok(()));
        }
        return save(ctx, options, &url.target, &response.body).await;
    }
    Ok(Err("too many redirections".to_string()))
}

/// Asks once.
async fn request(
    ctx: &Ctx,
    options: &Options,
    url: &Url,
) -> Result<Result<Fetched, String>, Closed> {
    let host = &ctx.host;
    let addrs = ctx.resolver().addresses(host, &url.host).await.unwrap_or_default();
    let Some(addr) = addrs.first() else {
        return Ok(Err(format!("bad address '{}'", url.authority())));
    };
    let to = SocketAddrV4::new(*addr, url.port);
    if !options.letters.has('q') {
        ctx.err(format!("Connecting to {} ({to})\n", url.host)).await?;
    }
    let stream = match timeout(host.sleep(options.timeout), host.connect(to)).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => {
            let why = match error {
                SockError::TimedOut => "Operation timed out".to_string(),
                error => error.to_string(),
            };
            return Ok(Err(format!("can't connect to remote host ({addr}): {why}")));
        }
        None => return Ok(Err("download timed out".to_string())),
    };
    let mut headers = Headers::default();
    headers.push("Host", url.authority());
    headers.push("User-Agent", options.letters.value('U').unwrap_or("Wget"));
    headers.push("Connection", "close");
    options.headers.iter().for_each(|(name, value)| headers.push(name, value.clone()));
    let body = options.body.clone().unwrap_or_default().into_bytes();
    if options.body.is_some() {
        headers.push("Content-Type", "application/x-www-form-urlencoded");
        headers.push("Content-Length", body.len().to_string());
    }
    let method = match (options.is_spider, &options.body) {
        (true, _) => "HEAD",
        (_, Some(_)) => "POST",
        _ => "GET",
    };
    let ask = Ask { method: method.to_string(), target: url.target.clone(), headers, body };
    Ok(match timeout(host.sleep(options.timeout), fetch(host, &stream, &ask)).await {
        None => Err("download timed out".to_string()),
        Some(Ok(fetched)) => Ok(fetched),
        Some(Err(FetchError::Empty | FetchError::NotHttp)) => {
            Err("error getting response".to_string())
        }
        Some(Err(FetchError::Partial { .. })) => Err("connection closed prematurely".to_string()),
        Some(Err(
            FetchError::Connect(error) | FetchError::Receive(error) | FetchError::Send(error),
        )) => Err(format!("error getting response: {error}")),
    })
}

/// Writes what has come, and says so.
async fn save(
    ctx: &Ctx,
    options: &Options,
    target: &str,
    body: &[u8],
) -> Result<Result<(), String>, Closed> {
    let is_quiet = options.letters.has('q');
    let from_url = target.split('?').next().unwrap_or_default().rsplit('/').next();
    let from_url = from_url.filter(|name| !name.is_empty()).unwrap_or("index.html");
    // Into the directory of `-P`, unless the file is named.
    let below = options.letters.value('P').map(|directory| format!("{directory}/{from_url}"));
    let name = options.letters.value('O').or(below.as_deref()).unwrap_or(from_url);
    let to_stdout = name == "-" || name == "/dev/stdout";
    let size = human(body.len());
    let bar = format!("{name:<20.20} 100% |{}| {size:>5}  0:00:00 ETA\n", "*".repeat(32));
    if to_stdout {
        if !is_quiet {
            ctx.err("writing to stdout\n").await?;
        }
        ctx.out(body).await?;
        if !is_quiet {
            ctx.err(format!("{bar}written to stdout\n")).await?;
        }
        return Ok(Ok(()));
    }
    let path = ctx.session.path(name);
    if options.letters.value('O').is_none() && ctx.session.files.kind(&path).is_some() {
        return Ok(Err(format!("can't open '{name}': File exists")));
    }
    if !is_quiet {
        ctx.err(format!("saving to '{name}'\n")).await?;
    }
    let file = match Output::to_file(&ctx.session.files, &path, false) {
        Ok(file) => file,
        Err(error) => return Ok(Err(format!("can't open '{name}': {error}"))),
    };
    file.write(body).await?;
    if !is_quiet {
        ctx.err(format!("{bar}'{name}' saved\n")).await?;
    }
    Ok(Ok(()))
}

/// `615`, `12345`, `1.2M`.
fn human(size: usize) -> String {
    match size {
        0..=99_999 => size.to_string(),
        100_000..=99_999_999 => format!("{}k", size / 1024),
        _ => format!("{}M", size / 1024 / 1024),
    }
}
