//! `curl`: a request, as packets. Words and exit codes are those of curl 8.5.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use base::{Duration, Instant};
use lab::Outcome;
use netsim::exec::timeout;
use netsim::{SockError, TcpStream};
use programs::http::client::{Ask, FetchError, Fetched, fetch};
use programs::http::{Headers, Response};

use super::Ctx;
use super::url::{BadUrl, Url};
use crate::io::{Closed, Exit};

/// What it takes to start.
const START: Duration = Duration::from_millis(25);
/// Redirects followed at most.
const REDIRECTS_MAX: usize = 50;

/// What was asked for on the command line.
#[derive(Default)]
struct Options {
    urls: Vec<String>,
    method: Option<String>,
    headers: Vec<(String, String)>,
    data: Option<String>,
    output: Option<String>,
    remote_name: bool,
    write_out: Option<String>,
    resolve: Vec<(String, u16, Ipv4Addr)>,
    silent: bool,
    show_error: bool,
    verbose: bool,
    include: bool,
    head: bool,
    fail: bool,
    follow: bool,
    user_agent: Option<String>,
    max_time: Option<Duration>,
    connect_timeout: Option<Duration>,
}

/// A failure: exit code and words.
struct Trouble(i32, String);

/// `curl [OPTION…] URL…`
pub async fn run(ctx: Ctx) -> Exit {
    let options = match options(&ctx.args) {
        Ok(options) => options,
        Err(Trouble(code, message)) => {
            let hint = "curl: try 'curl --help' or 'curl --manual' for more information\n";
            ctx.err(format!("curl: {message}\n{hint}")).await?;
            return Ok(code);
        }
    };
    ctx.host.sleep(START).await;
    let mut transfer =
        Transfer { ctx: &ctx, options: &options, open: None, is_asking: false, has_metered: false };
    let mut status = 0;
    for url in &options.urls {
        status = transfer.url(url).await?;
    }
    Ok(status)
}

fn options(args: &[String]) -> Result<Options, Trouble> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if let Some(long) = arg.strip_prefix("--") {
            let mut value = || {
                let missing = || Trouble(2, format!("option --{long}: requires parameter"));
                args.next().cloned().ok_or_else(missing)
            };
            options.long(long, &mut value)?;
        } else if let Some(letters) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            let mut rest = letters;
            while let Some(letter) = rest.chars().next() {
                rest = rest.get(letter.len_utf8()..).unwrap_or_default();
                let Some(long) = long_name(letter) else {
                    return Err(Trouble(2, format!("option -{letter}: is unknown")));
                };
                let mut used = false;
                let mut value = || {
                    used = true;
                    let missing = || Trouble(2, format!("option -{letter}: requires parameter"));
                    match rest {
                        "" => args.next().cloned().ok_or_else(missing),
                        rest => Ok(rest.to_string()),
                    }
                };
                options.long(long, &mut value)?;
                if used {
                    break;
                }
            }
        } else {
            options.urls.push(arg.clone());
        }
    }
    if options.urls.is_empty() {
        return Err(Trouble(2, "no URL specified!".to_string()));
    }
    Ok(options)
}

fn long_name(letter: char) -> Option<&'static str> {
    Some(match letter {
        'A' => "user-agent",
        'd' => "data",
        'f' => "fail",
        'H' => "header",
        'I' => "head",
        'i' => "include",
        'k' => "insecure",
        'L' => "location",
        'm' => "max-time",
        'N' => "no-buffer",
        'O' => "remote-name",
        'o' => "output",
        'S' => "show-error",
        's' => "silent",
        'v' => "verbose",
        'w' => "write-out",
        'X' => "request",
        '4' => "ipv4",
        _ => return None,
    })
}

impl Options {
    fn long(
        &mut self,
        name: &str,
        value: &mut dyn FnMut() -> Result<String, Trouble>,
    ) -> Result<(), Trouble> {
        let secs = |text: String| {
            let number = text.parse::<f64>().ok().filter(|secs| *secs >= 0.0);
            let wrong =
                || Trouble(2, format!("option --{name}: expected a proper numerical parameter"));
            number.map(|secs| Duration::from_micros((secs * 1e6) as u64)).ok_or_else(wrong)
        };
        match name {
            "request" => self.method = Some(value()?),
            "header" => {
                let text = value()?;
                if let Some((name, value)) = text.split_once(':') {
                    self.headers.push((name.trim().to_string(), value.trim().to_string()));
                }
            }
            "data" | "data-raw" | "data-ascii" | "data-binary" => {
                let more = value()?;
                self.data = Some(match self.data.take() {
                    Some(before) => format!("{before}&{more}"),
                    None => more,
                });
            }
            "json" => {
                self.data = Some(value()?);
                self.headers.push(("Content-Type".into(), "application/json".into()));
                self.headers.push(("Accept".into(), "application/json".into()));
            }
            "output" => self.output = Some(value()?),
            "remote-name" => self.remote_name = true,
            "write-out" => self.write_out = Some(value()?),
            "user-agent" => self.user_agent = Some(value()?),
            "max-time" => self.max_time = Some(secs(value()?)?),
            "connect-timeout" => self.connect_timeout = Some(secs(value()?)?),
            "url" => self.urls.push(value()?),
            "resolve" => {
                let text = value()?;
                let wrong =
                    || Trouble(49, format!("Couldn't parse CURLOPT_RESOLVE entry '{text}'"));
                let mut parts = text.splitn(3, ':');
                let host = parts.next().unwrap_or_default().to_string();
                let port = parts.next().and_then(|port| port.parse().ok()).ok_or_else(wrong)?;
                let addr = parts.next().and_then(|addr| addr.parse().ok()).ok_or_else(wrong)?;
                self.resolve.push((host, port, addr));
            }
            "silent" => self.silent = true,
            "show-error" => self.show_error = true,
            "verbose" => self.verbose = true,
            "include" | "show-headers" => self.include = true,
            "head" => self.head = true,
            "fail" => self.fail = true,
            "location" => self.follow = true,
            "insecure" | "no-buffer" | "ipv4" | "no-progress-meter" | "http1.1" | "compressed"
            | "globoff" | "no-keepalive" => {}
            "interface" | "retry" | "parallel" | "cacert" | "cert" | "user" | "proxy" | "ipv6"
            | "http2" | "form" | "upload-file" | "cookie" | "cookie-jar" | "config" => {
                return Err(Trouble(2, format!("option --{name}: is not supported by podwire")));
            }
            _ => return Err(Trouble(2, format!("option --{name}: is unknown"))),
        }
        Ok(())
    }
}

struct Transfer<'a> {
    ctx: &'a Ctx,
    options: &'a Options,
    /// A connection that may be used again, and where it leads.
    open: Option<(String, TcpStream)>,
    /// It was sent elsewhere as one who asks, and no longer brings anything (`Curl_follow`).
    is_asking: bool,
    has_metered: bool,
}

/// A request that nobody has ended: if curl is killed now, it is given up.
struct OpenRequest<'a> {
    lab: &'a lab::Lab,
    cause: netsim::Cause,
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.lab.abandon_request(self.cause);
    }
}

/// What came of one URL.
struct Done {
    fetched: Option<Fetched>,
    trouble: Option<Trouble>,
    begun: Instant,
}

impl Transfer<'_> {
    async fn url(&mut self, text: &str) -> Result<i32, Closed> {
        let mut next = text.to_string();
        self.is_asking = false;
        for _ in 0..=REDIRECTS_MAX {
            let url = match Url::parse(&next) {
                Ok(url) => url,
                Err(BadUrl(code, why)) => return self.complain(&Trouble(code, why)).await,
            };
            let done = self.once(&url).await?;
            let fetched = done.fetched.as_ref().filter(|_| self.options.follow);
            if let Some((status, location)) = fetched.and_then(|fetched| redirect(fetched, &url)) {
                self.is_asking |= matches!(status, 301..=303);
                next = location;
                continue;
            }
            return self.finish(&url, &next, done).await;
        }
        let message = format!("Maximum ({REDIRECTS_MAX}) redirects followed");
        self.complain(&Trouble(47, message)).await
    }

    async fn complain(&self, trouble: &Trouble) -> Result<i32, Closed> {
        if !self.options.silent || self.options.show_error {
            self.ctx.err(format!("curl: ({}) {}\n", trouble.0, trouble.1)).await?;
        }
        Ok(trouble.0)
    }

    async fn note(&self, text: &str) -> Result<(), Closed> {
        if self.options.verbose {
            self.ctx.err(format!("* {text}\n")).await?;
        }
        Ok(())
    }

    /// Asks once, and writes down what came of it.
    async fn once(&mut self, url: &Url) -> Result<Done, Closed> {
        let ctx = self.ctx;
        let lab = ctx.session.lab.clone();
        let words: Vec<&str> = ctx.args.iter().map(String::as_str).collect();
        let command = format!("curl {}", words.join(" "));
        let cause = lab.begin_request(&ctx.session.place, &url.authority(), &command);
        ctx.host.set_cause(cause);
        let begun = ctx.host.now();
        let open = OpenRequest { lab: &lab, cause };
        let result = self.fetch(url, begun).await?;
        std::mem::forget(open);
        let (outcome, body) = match &result {
            Ok(fetched) => {
                let body = fetched.response.body.as_slice();
                (Outcome::Answered(fetched.response.status), body)
            }
            Err(Trouble(_, why)) => (Outcome::Failed(why.clone()), &[][..]),
        };
        lab.end_request(cause, outcome, body);
        Ok(match result {
            Ok(fetched) => Done { fetched: Some(fetched), trouble: None, begun },
            Err(trouble) => Done { fetched: None, trouble: Some(trouble), begun },
        })
    }

    async fn fetch(
        &mut self,
        url: &Url,
        begun: Instant,
    ) -> Result<Result<Fetched, Trouble>, Closed> {
        let stream = match self.connection(url, begun).await? {
            Ok(stream) => stream,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let ask = self.ask(url);
        if self.options.verbose {
            let mut shown = String::new();
            for line in ask.head().trim_end_matches("\r\n").lines() {
                let _ = writeln!(shown, "> {line}");
            }
            self.ctx.err(format!("{shown}> \n")).await?;
        }
        let host = &self.ctx.host;
        let answer = match self.options.max_time {
            None => fetch(host, &stream, &ask).await,
            Some(limit) => {
                let until = host.net().sleep_until(begun + limit);
                match timeout(until, fetch(host, &stream, &ask)).await {
                    Some(answer) => answer,
                    None => {
                        let millis = (host.now() - begun).as_millis();
                        let message = format!(
                            "Operation timed out after {millis} milliseconds with 0 bytes received"
                        );
                        return Ok(Err(Trouble(28, message)));
                    }
                }
            }
        };
        Ok(match answer {
            Ok(fetched) => {
                if keeps_alive(&fetched) {
                    self.open = Some((url.authority(), stream));
                }
                Ok(fetched)
            }
            Err(error) => {
                let trouble = trouble(error);
                self.note(&trouble.1).await?;
                self.note("Closing connection").await?;
                Err(trouble)
            }
        })
    }

    async fn connection(
        &mut self,
        url: &Url,
        begun: Instant,
    ) -> Result<Result<TcpStream, Trouble>, Closed> {
        if let Some((_, stream)) = self.open.take().filter(|(to, _)| *to == url.authority()) {
            self.note("Found bundle for host: serially").await?;
            return Ok(Ok(stream));
        }
        let given = self.options.resolve.iter();
        let mut addrs: Vec<Ipv4Addr> = given
            .filter(|(host, port, _)| *host == url.host && *port == url.port)
            .map(|(_, _, addr)| *addr)
            .collect();
        if addrs.is_empty() {
            let (host, resolver) = (&self.ctx.host, self.ctx.resolver());
            let asked = resolver.addresses(host, &url.host);
            let limit = [self.options.connect_timeout, self.options.max_time];
            let found = match limit.into_iter().flatten().min() {
                None => Some(asked.await),
                Some(limit) => timeout(host.net().sleep_until(begun + limit), asked).await,
            };
            let Some(found) = found else {
                let millis = (host.now() - begun).as_millis();
                let message = format!("Resolving timed out after {millis} milliseconds");
                return Ok(Err(Trouble(28, message)));
            };
            addrs = found.unwrap_or_default();
        }
        if addrs.is_empty() {
            let message = format!("Could not resolve host: {}", url.host);
            self.note(&message).await?;
            return Ok(Err(Trouble(6, message)));
        }
        if url.host.parse::<Ipv4Addr>().is_err() {
            let list: Vec<String> = addrs.iter().map(Ipv4Addr::to_string).collect();
            self.note(&format!("Host {}:{} was resolved.", url.host, url.port)).await?;
            self.note("IPv6: (none)").await?;
            self.note(&format!("IPv4: {}", list.join(", "))).await?;
        }
        self.connect(url, &addrs, begun).await
    }

    async fn connect(
        &self,
        url: &Url,
        addrs: &[Ipv4Addr],
        begun: Instant,
    ) -> Result<Result<TcpStream, Trouble>, Closed> {
        let host = &self.ctx.host;
        let limits = [self.options.connect_timeout, self.options.max_time];
        let limit = limits.into_iter().flatten().min();
        let Url { host: name, port, .. } = url;
        let mut last = SockError::AddrNotAvailable;
        for addr in addrs {
            if self.options.verbose {
                self.ctx.err(format!("*   Trying {addr}:{port}...\n")).await?;
            }
            let attempt = host.connect(std::net::SocketAddrV4::new(*addr, *port));
            let attempt = match limit {
                None => Some(attempt.await),
                Some(limit) => timeout(host.net().sleep_until(begun + limit), attempt).await,
            };
            match attempt {
                Some(Ok(stream)) => {
                    self.note(&format!("Connected to {name} ({addr}) port {port}")).await?;
                    return Ok(Ok(stream));
                }
                Some(Err(error)) => {
                    self.note(&format!("connect to {addr} port {port} failed: {error}")).await?;
                    last = error;
                }
                None => {
                    let millis = (host.now() - begun).as_millis();
                    let message = match self.options.connect_timeout {
                        Some(_) => format!(
                            "Failed to connect to {name} port {port} after {millis} ms: Timeout was reached"
                        ),
                        None => format!("Connection timed out after {millis} milliseconds"),
                    };
                    self.note(&message).await?;
                    self.note("Closing connection").await?;
                    return Ok(Err(Trouble(28, message)));
                }
            }
        }
        let (code, why) = match last {
            SockError::TimedOut => (28, "Timeout was reached"),
            _ => (7, "Couldn't connect to server"),
        };
        let millis = (host.now() - begun).as_millis();
        let message = format!("Failed to connect to {name} port {port} after {millis} ms: {why}");
        self.note(&message).await?;
        self.note("Closing connection").await?;
        Ok(Err(Trouble(code, message)))
    }

    fn ask(&self, url: &Url) -> Ask {
        let options = self.options;
        let data = options.data.clone().filter(|_| !self.is_asking);
        let default = match (options.head, &data) {
            (true, _) => "HEAD",
            (_, Some(_)) => "POST",
            _ => "GET",
        };
        let method = options.method.clone().unwrap_or_else(|| default.to_string());
        let own = |name: &str| {
            options.headers.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        let mut headers = Headers::default();
        let user_agent = options.user_agent.clone().unwrap_or_else(|| "curl/8.5.0".to_string());
        let mut defaults = vec![
            ("Host", url.authority()),
            ("User-Agent", user_agent),
            ("Accept", "*/*".to_string()),
        ];
        let has_body = data.is_some();
        let body = data.unwrap_or_default().into_bytes();
        if has_body {
            defaults.push(("Content-Length", body.len().to_string()));
            defaults.push(("Content-Type", "application/x-www-form-urlencoded".to_string()));
        }
        for (name, value) in defaults {
            // A field that is given without a value is not sent.
            match own(name) {
                Some((name, value)) if !value.is_empty() => headers.push(name, value.clone()),
                Some(_) => {}
                None => headers.push(name, value),
            }
        }
        for (name, value) in &options.headers {
            if headers.get(name).is_none() && !value.is_empty() {
                headers.push(name, value.clone());
            }
        }
        Ask { method, target: url.target.clone(), headers, body }
    }

    /// Prints what is to be printed.
    async fn finish(&mut self, url: &Url, given: &str, done: Done) -> Result<i32, Closed> {
        let ctx = self.ctx;
        let options = self.options;
        let mut status = 0;
        let to_terminal =
            ctx.io.stdout.is_terminal() && options.output.is_none() && !options.remote_name;
        if let Some(fetched) = &done.fetched {
            if options.verbose {
                let mut shown = String::new();
                for line in head(fetched).lines() {
                    let _ = writeln!(shown, "< {line}");
                }
                ctx.err(format!("{shown}< \n")).await?;
            }
            self.meter(fetched.response.body.len(), &done, to_terminal).await?;
            let has_failed = options.fail && fetched.response.status >= 400;
            if !has_failed {
                let mut bytes = Vec::new();
                if options.include || options.head {
                    bytes.extend_from_slice(head(fetched).replace('\n', "\r\n").as_bytes());
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(&fetched.response.body);
                if let Some(code) = self.write(url, &bytes).await? {
                    return Ok(code);
                }
            } else {
                let message =
                    format!("The requested URL returned error: {}", fetched.response.status);
                status = self.complain(&Trouble(22, message)).await?;
            }
            let note = match self.open {
                Some(_) => format!("Connection #0 to host {} left intact", url.host),
                None => "Closing connection".to_string(),
            };
            self.note(&note).await?;
        }
        if let Some(trouble) = &done.trouble {
            self.meter(0, &done, to_terminal).await?;
            status = self.complain(trouble).await?;
        }
        if let Some(format) = &options.write_out {
            let text = write_out(format, given, &done, ctx.host.now());
            ctx.out(text).await?;
        }
        Ok(status)
    }

    /// Where the answer goes; an exit code if it cannot.
    async fn write(&self, url: &Url, bytes: &[u8]) -> Result<Option<i32>, Closed> {
        let name = url.target.split('?').next().unwrap_or_default();
        let name = name.rsplit('/').next().unwrap_or_default().to_string();
        let file = if self.options.remote_name { Some(name) } else { self.options.output.clone() };
        let Some(file) = file.filter(|file| file != "-") else {
            self.ctx.out(bytes).await?;
            return Ok(None);
        };
        if file.is_empty() {
            let message = "Remote file name has no length!".to_string();
            return self.complain(&Trouble(23, message)).await.map(Some);
        }
        if file == "/dev/null" {
            return Ok(None);
        }
        let session = &self.ctx.session;
        match session.files.write(&session.path(&file), bytes) {
            Ok(()) => Ok(None),
            Err(error) => {
                self.ctx.err(format!("Warning: Failed to open the file {file}: {error}\n")).await?;
                let message = "client returned ERROR on write".to_string();
                self.complain(&Trouble(23, message)).await.map(Some)
            }
        }
    }

    /// The progress meter: shown when the answer does not go to the terminal.
    async fn meter(&mut self, size: usize, done: &Done, to_terminal: bool) -> Result<(), Closed> {
        if self.options.silent || to_terminal {
            return Ok(());
        }
        let mut text = String::new();
        if !self.has_metered {
            text.push_str(
                "  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n",
            );
            text.push_str(
                "                                 Dload  Upload   Total   Spent    Left  Speed\n",
            );
        }
        self.has_metered = true;
        let micros = (self.ctx.host.now() - done.begun).as_micros().max(1) as u64;
        let speed = (size as u64).saturating_mul(1_000_000) / micros;
        let (percent, shown) =
            if size > 0 { (100, short(size as u64)) } else { (0, "0".to_string()) };
        let zero = "  0     0    0     0    0     0      0      0 --:--:-- --:--:-- --:--:--     0";
        let _ = writeln!(
            text,
            "{zero}\r{percent:>3} {shown:>5}  {percent:>3} {shown:>5}    0     0  {:>5}      0 --:--:-- --:--:-- --:--:-- {:>5}",
            short(speed),
            short(speed)
        );
        self.ctx.err(text).await
    }
}

/// Five characters for a number of bytes, as the meter has them.
fn short(bytes: u64) -> String {
    match bytes {
        0..100_000 => bytes.to_string(),
        100_000..10_240_000 => format!("{}k", bytes / 1024),
        10_240_000..104_857_600 => {
            format!("{:.1}M", bytes as f64 / 1_048_576.0)
        }
        _ => format!("{}M", bytes / 1_048_576),
    }
}

fn head(fetched: &Fetched) -> String {
    let Response { status, reason, headers, .. } = &fetched.response;
    let mut head = format!("HTTP/1.{} {status} {reason}\n", fetched.minor_version);
    for (name, value) in &headers.0 {
        let _ = writeln!(head, "{name}: {value}");
    }
    head
}

fn keeps_alive(fetched: &Fetched) -> bool {
    let headers = &fetched.response.headers;
    // Without a length, the end of the connection was the end of the answer.
    let has_end = headers.get("content-length").is_some()
        || headers.has_word("transfer-encoding", "chunked")
        || matches!(fetched.response.status, 204 | 304);
    has_end && fetched.minor_version == 1 && !headers.has_word("connection", "close")
}

/// The status and where it sends to.
fn redirect(fetched: &Fetched, url: &Url) -> Option<(u16, String)> {
    let status = fetched.response.status;
    let location = fetched.response.headers.get("location")?;
    matches!(status, 301 | 302 | 303 | 307 | 308).then(|| (status, url.join(location)))
}

fn trouble(error: FetchError) -> Trouble {
    match error {
        FetchError::Connect(error) => Trouble(7, format!("Failed to connect: {error}")),
        FetchError::Empty => Trouble(52, "Empty reply from server".to_string()),
        FetchError::Receive(error) => Trouble(56, format!("Recv failure: {error}")),
        FetchError::Send(error) => Trouble(55, format!("Send failure: {error}")),
        FetchError::NotHttp => Trouble(1, "Received HTTP/0.9 when not allowed".to_string()),
        FetchError::Partial { missing: Some(missing), .. } => {
            Trouble(18, format!("transfer closed with {missing} bytes remaining to read"))
        }
        FetchError::Partial { missing: None, .. } => {
            Trouble(18, "transfer closed with outstanding read data remaining".to_string())
        }
    }
}

/// `-w`: `%{http_code}` and the like.
fn write_out(format: &str, url: &str, done: &Done, now: Instant) -> String {
    let fetched = done.fetched.as_ref();
    let secs = |at: Option<Instant>| {
        let since = at.map(|at| at - done.begun).unwrap_or_default();
        format!("{}.{:06}", since.as_secs(), since.as_micros() % 1_000_000)
    };
    let variable = |name: &str| -> String {
        match name {
            "http_code" | "response_code" => {
                format!("{:03}", fetched.map_or(0, |fetched| fetched.response.status))
            }
            "size_download" => fetched.map_or(0, |fetched| fetched.response.body.len()).to_string(),
            "time_total" => secs(Some(fetched.map_or(now, |fetched| fetched.done))),
            "time_connect" => secs(fetched.map(|fetched| fetched.connected)),
            "time_starttransfer" => secs(fetched.map(|fetched| fetched.first_byte)),
            "time_namelookup" => secs(None),
            "remote_ip" => fetched.map(|f| f.remote.ip().to_string()).unwrap_or_default(),
            "remote_port" => fetched.map_or(0, |f| f.remote.port()).to_string(),
            "local_ip" => fetched.map(|f| f.local.ip().to_string()).unwrap_or_default(),
            "local_port" => fetched.map_or(0, |f| f.local.port()).to_string(),
            "url_effective" | "url" => format!("http://{}", url.trim_start_matches("http://")),
            "content_type" => {
                let field = fetched.and_then(|f| f.response.headers.get("content-type"));
                field.unwrap_or_default().to_string()
            }
            "exitcode" => done.trouble.as_ref().map_or(0, |trouble| trouble.0).to_string(),
            "errormsg" => done.trouble.as_ref().map(|t| t.1.clone()).unwrap_or_default(),
            "num_connects" => "1".to_string(),
            _ => String::new(),
        }
    };
    let mut result = String::new();
    let mut rest = format;
    while let Some(at) = rest.find(['%', '\\']) {
        let (before, after) = rest.split_at(at);
        result.push_str(before);
        if let Some((name, tail)) = after.strip_prefix("%{").and_then(|inner| inner.split_once('}'))
        {
            result.push_str(&variable(name));
            rest = tail;
            continue;
        }
        let escaped = match after.get(..2) {
            Some("\\n") => Some('\n'),
            Some("\\t") => Some('\t'),
            Some("\\r") => Some('\r'),
            Some("%%") => Some('%'),
            _ => None,
        };
        match escaped {
            Some(c) => {
                result.push(c);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                result.push_str(after.get(..1).unwrap_or_default());
                rest = after.get(1..).unwrap_or_default();
            }
        }
    }
    result + rest
}
