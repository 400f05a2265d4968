//! curl: a whole transfer, from an address as it is typed to an answer or an exit code.

use std::cell::RefCell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::pin::Pin;
use std::rc::Rc;

use base::{Duration, Instant};
use netsim::exec::timeout;
use netsim::{Host, SockError, TcpStream};

use super::client::{Ask, Fetched, fetch};
use super::message::Response;
use super::{FetchError, Headers};

/// Connections that are kept for the next request; of more, the oldest is closed.
const KEPT_MAX: usize = 5;
/// curl's own limit of a connection attempt (`DEFAULT_CONNECT_TIMEOUT`).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(300);

/// Asks for the addresses of a name.
pub type Lookup = Rc<dyn Fn(Host, String) -> Pin<Box<dyn Future<Output = Vec<Ipv4Addr>>>>>;

/// What curl is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// `http://web/path?query`; the scheme may be left out.
    pub url: String,
    /// `-X`; else GET, POST with a body, HEAD with `-I`.
    pub method: Option<String>,
    /// `-I`.
    pub head: bool,
    /// `-H`.
    pub headers: Headers,
    /// `-d`.
    pub body: Option<Vec<u8>>,
    /// `-f`: a status of 400 or more is an error.
    pub fail: bool,
    /// `-L`: goes where it is sent.
    pub follow: bool,
    /// `--max-redirs`.
    pub max_redirects: u32,
    /// `--connect-timeout`.
    pub connect_timeout: Option<Duration>,
    /// `-m`.
    pub max_time: Option<Duration>,
    /// `--retry`.
    pub retries: u32,
    /// `--retry-delay`; else 1, 2, 4, … seconds.
    pub retry_delay: Option<Duration>,
    /// `--retry-connrefused`.
    pub retry_refused: bool,
    /// `User-Agent`.
    pub user_agent: String,
}

impl Transfer {
    /// curl's defaults.
    pub fn new(url: &str) -> Transfer {
        Transfer {
            url: url.to_string(),
            method: None,
            head: false,
            headers: Headers::default(),
            body: None,
            fail: false,
            follow: false,
            max_redirects: 50,
            connect_timeout: None,
            max_time: None,
            retries: 0,
            retry_delay: None,
            retry_refused: false,
            user_agent: "curl/8.5.0".to_string(),
        }
    }
}

/// Why a transfer failed: curl's exit code and its words after `curl: (N) `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurlError {
    /// The exit code.
    pub code: u8,
    /// What curl says.
    pub text: String,
    /// What had come, if anything.
    pub fetched: Option<Box<Fetched>>,
}

fn error(code: u8, text: impl Into<String>) -> CurlError {
    CurlError { code, text: text.into(), fetched: None }
}

/// What came of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The last response.
    pub fetched: Fetched,
    /// How many redirects were followed.
    pub redirects: u32,
    /// How many connections were opened; of those that were kept, none.
    pub connects: u32,
    /// How often it was tried again.
    pub retries: u32,
    /// The address in the end.
    pub url: String,
}

/// The parts of an address that curl speaks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query, beginning with a slash.
    pub target: String,
}

impl Url {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Url, CurlError> {
        let malformed = || error(3, "URL rejected: Malformed input to a URL function");
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err(error(1, "Protocol \"https\" not supported by podwire"));
            }
            Some((scheme, _)) => {
                return Err(error(
                    1,
                    format!("Protocol \"{scheme}\" not supported or disabled in libcurl"),
                ));
            }
            None => text,
        };
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(malformed());
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).ok_or_else(malformed)?;
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = match authority.split_once(':') {
            Some((host, "")) => (host, 80),
            Some((host, port)) => {
                let bad = || {
                    error(
                        3,
                        "URL rejected: Port number was not a decimal number between 0 and 65535",
                    )
                };
                (host, port.parse().map_err(|_| bad())?)
            }
            None => (authority, 80),
        };
        if host.is_empty() {
            return Err(error(3, "URL rejected: No host part in the URL"));
        }
        let path = path.split('#').next().unwrap_or_default();
        let target = if path.starts_with('/') { path.to_string() } else { format!("/{path}") };
        Ok(Url { host: host.to_string(), port, target })
    }

    /// The address that a `Location` field sends to from here (RFC 3986 §5).
    fn join(&self, location: &str) -> String {
        let base = format!("http://{}:{}", self.host, self.port);
        if location.contains("://") {
            return location.to_string();
        }
        if let Some(rest) = location.strip_prefix("//") {
            return format!("http://{rest}");
        }
        if location.starts_with('/') {
            return base + location;
        }
        let path = self.target.split('?').next().unwrap_or_default();
        if location.starts_with('?') {
            return base + path + location;
        }
        let directory = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or("/");
        base + directory + location
    }

    /// The `Host` field.
    fn authority(&self) -> String {
        if self.port == 80 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

struct Kept {
    host: String,
    port: u16,
    stream: TcpStream,
}

/// One run of curl: its connections live from transfer to transfer.
#[derive(Clone)]
pub struct Session {
    host: Host,
    lookup: Lookup,
    kept: Rc<RefCell<Vec<Kept>>>,
}

impl Session {
    /// No connection yet.
    pub fn new(host: Host, lookup: Lookup) -> Session {
        Session { host, lookup, kept: Rc::default() }
    }

    /// Makes a transfer, with its retries.
    pub async fn run(&self, transfer: &Transfer) -> Result<Done, CurlError> {
        let mut wait = Duration::from_secs(1);
        for retry in 0..=transfer.retries {
            let result = self.within_time(transfer).await;
            if retry == transfer.retries || !is_transient(transfer, &result) {
                return finish(transfer, result).map(|done| Done { retries: retry, ..done });
            }
            self.host.sleep(transfer.retry_delay.unwrap_or(wait)).await;
            // Doubled every time, up to ten minutes.
            wait = (wait * 2).min(Duration::from_secs(600));
        }
        Err(error(2, "curl: no attempt was made"))
    }

    async fn within_time(&self, transfer: &Transfer) -> Result<Done, CurlError> {
        let Some(limit) = transfer.max_time else { return self.follow(transfer).await };
        let begun = self.host.now();
        match timeout(self.host.sleep(limit), self.follow(transfer)).await {
            Some(result) => result,
            None => {
                let millis = self.host.now().since(begun).as_millis();
                Err(error(
                    28,
                    format!(
                        "Operation timed out after {millis} milliseconds with 0 bytes received"
                    ),
                ))
            }
        }
    }

    async fn follow(&self, transfer: &Transfer) -> Result<Done, CurlError> {
        let mut address = transfer.url.clone();
        let mut body = transfer.body.clone();
        let mut method = transfer.method.clone().unwrap_or_else(|| {
            let usual = if transfer.head {
                "HEAD"
            } else if body.is_some() {
                "POST"
            } else {
                "GET"
            };
            usual.to_string()
        });
        let (mut redirects, mut connects) = (0, 0);
        loop {
            let url = Url::parse(&address)?;
            let ask = ask(transfer, &url, &method, body.as_deref());
            let fetched = self.one(transfer, &url, &ask, &mut connects).await?;
            let next = redirection(transfer, &fetched.response).map(|location| url.join(location));
            let Some(next) = next else {
                return Ok(Done { fetched, redirects, connects, retries: 0, url: address });
            };
            if redirects == transfer.max_redirects {
                let text = format!("Maximum ({}) redirects followed", transfer.max_redirects);
                return Err(CurlError { fetched: Some(Box::new(fetched)), ..error(47, text) });
            }
            redirects += 1;
            // A POST that is sent elsewhere becomes a GET there, unless it is told to stay one.
            let status = fetched.response.status;
            if status == 303 && method != "HEAD" || matches!(status, 301 | 302) && method == "POST"
            {
                if transfer.method.is_none() {
                    method = "GET".to_string();
                }
                body = None;
            }
            address = next;
        }
    }

    async fn one(
        &self,
        transfer: &Transfer,
        url: &Url,
        ask: &Ask,
        connects: &mut u32,
    ) -> Result<Fetched, CurlError> {
        let kept = self.take(url);
        let was_kept = kept.is_some();
        let stream = match kept {
            Some(stream) => stream,
            None => self.open(transfer, url, connects).await?,
        };
        let mut result = fetch(&self.host, &stream, ask).await;
        let mut stream = stream;
        // A connection that was kept may have been closed by now; a fresh one is tried once.
        let is_stale =
            matches!(result, Err(FetchError::Empty | FetchError::Receive(_) | FetchError::Send(_)));
        if was_kept && is_stale {
            stream = self.open(transfer, url, connects).await?;
            result = fetch(&self.host, &stream, ask).await;
        }
        let fetched = result.map_err(|failed| in_words(url, failed))?;
        if keeps_alive(&fetched) {
            self.keep(url, stream);
        }
        Ok(fetched)
    }

    fn take(&self, url: &Url) -> Option<TcpStream> {
        let mut kept = self.kept.borrow_mut();
        let at = kept.iter().position(|kept| kept.host == url.host && kept.port == url.port)?;
        Some(kept.remove(at).stream)
    }

    fn keep(&self, url: &Url, stream: TcpStream) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() == KEPT_MAX {
            kept.remove(0);
        }
        kept.push(Kept { host: url.host.clone(), port: url.port, stream });
    }

    async fn open(
        &self,
        transfer: &Transfer,
        url: &Url,
        connects: &mut u32,
    ) -> Result<TcpStream, CurlError> {
        let begun = self.host.now();
        let limit = transfer.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        let opening = async {
            let addrs = (self.lookup)(self.host.clone(), url.host.clone()).await;
            if addrs.is_empty() {
                return Err(error(6, format!("Could not resolve host: {}", url.host)));
            }
            self.connect(url, &addrs, begun).await
        };
        match timeout(self.host.sleep(limit), opening).await {
            Some(result) => {
                *connects += u32::from(result.is_ok());
                result
            }
            None => {
                let millis = self.host.now().since(begun).as_millis();
                let text = format!(
                    "Failed to connect to {} port {} after {millis} ms: Timeout was reached",
                    url.host, url.port
                );
                Err(error(28, text))
            }
        }
    }

    async fn connect(
        &self,
        url: &Url,
        addrs: &[Ipv4Addr],
        begun: Instant,
    ) -> Result<TcpStream, CurlError> {
        let mut last = SockError::AddrNotAvailable;
        for addr in addrs {
            match self.host.connect(SocketAddrV4::new(*addr, url.port)).await {
                Ok(stream) => return Ok(stream),
                Err(failed) => last = failed,
            }
        }
        let millis = self.host.now().since(begun).as_millis();
        let (code, why) = match last {
            SockError::TimedOut => (28, "Connection timed out"),
            _ => (7, "Couldn't connect to server"),
        };
        let text =
            format!("Failed to connect to {} port {} after {millis} ms: {why}", url.host, url.port);
        Err(error(code, text))
    }
}

fn ask(transfer: &Transfer, url: &Url, method: &str, body: Option<&[u8]>) -> Ask {
    let mut headers = Headers::default();
    let own = |name: &str| transfer.headers.get(name).is_some();
    if !own("host") {
        headers.push("Host", url.authority());
    }
    if !own("user-agent") {
        headers.push("User-Agent", transfer.user_agent.clone());
    }
    if !own("accept") {
        headers.push("Accept", "*/*");
    }
    headers.0.extend(transfer.headers.0.iter().filter(|(_, value)| !value.is_empty()).cloned());
    if let Some(body) = body {
        if !own("content-length") {
            headers.push("Content-Length", body.len().to_string());
        }
        if !own("content-type") {
            headers.push("Content-Type", "application/x-www-form-urlencoded");
        }
    }
    let target = url.target.clone();
    Ask { method: method.to_string(), target, headers, body: body.unwrap_or_default().to_vec() }
}

fn redirection<'r>(transfer: &Transfer, response: &'r Response) -> Option<&'r str> {
    let is_one = transfer.follow && matches!(response.status, 301 | 302 | 303 | 307 | 308);
    response.headers.get("location").filter(|_| is_one)
}

fn keeps_alive(fetched: &Fetched) -> bool {
    let headers = &fetched.response.headers;
    let has_end = headers.get("content-length").is_some()
        || headers.has_word("transfer-encoding", "chunked")
        || matches!(fetched.response.status, 204 | 304);
    let wants = if fetched.minor_version >= 1 {
        !headers.has_word("connection", "close")
    } else {
        headers.has_word("connection", "keep-alive")
    };
    has_end && wants
}

/// What `--retry` tries again: time-outs, and what a server says of itself for now.
fn is_transient(transfer: &Transfer, result: &Result<Done, CurlError>) -> bool {
    match result {
        Ok(done) => {
            matches!(done.fetched.response.status, 408 | 429 | 500 | 502 | 503 | 504)
        }
        Err(failed) => {
            // A name that cannot be resolved is one of the things that may change.
            matches!(failed.code, 6 | 28) || failed.code == 7 && transfer.retry_refused
        }
    }
}

fn finish(transfer: &Transfer, result: Result<Done, CurlError>) -> Result<Done, CurlError> {
    match result {
        Ok(done) if transfer.fail && done.fetched.response.status >= 400 => {
            let text =
                format!("The requested URL returned error: {}", done.fetched.response.status);
            Err(CurlError { fetched: Some(Box::new(done.fetched)), ..error(22, text) })
        }
        result => result,
    }
}

fn in_words(url: &Url, failed: FetchError) -> CurlError {
    match failed {
        FetchError::Empty => error(52, "Empty reply from server"),
        FetchError::Receive(SockError::TimedOut) => error(56, "Recv failure: Connection timed out"),
        FetchError::Receive(why) => error(56, format!("Recv failure: {why}")),
        FetchError::Send(why) => error(55, format!("Send failure: {why}")),
        FetchError::NotHttp => error(1, "Received HTTP/0.9 when not allowed"),
        FetchError::Connect(_) => {
            error(7, format!("Failed to connect to {} port {}", url.host, url.port))
        }
        FetchError::Partial { fetched, missing } => {
            let text = match missing {
                Some(missing) => {
                    format!("transfer closed with {missing} bytes remaining to read")
                }
                None => "transfer closed with outstanding read data remaining".to_string(),
            };
            CurlError { fetched: Some(fetched), ..error(18, text) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_they_are_typed() {
        let parts = |text: &str| {
            Url::parse(text).map(|url| (url.host, url.port, url.target)).map_err(|error| error.code)
        };
        let ok = |host: &str, port, target: &str| Ok((host.to_string(), port, target.to_string()));
        assert_eq!(parts("web"), ok("web", 80, "/"));
        assert_eq!(parts("http://web:8080/a?b#c"), ok("web", 8080, "/a?b"));
        assert_eq!(parts("HTTP://u:p@web?x"), ok("web", 80, "/?x"));
        assert_eq!(parts("https://web"), Err(1));
        assert_eq!(parts("ftp://web"), Err(1));
        assert_eq!(parts("http://"), Err(3));
        assert_eq!(parts("web:x"), Err(3));
        assert_eq!(parts("a b"), Err(3));
    }

    #[test]
    fn where_a_location_leads() {
        let url = Url::parse("http://web/a/b?c").unwrap();
        for (location, address) in [
            ("http://shop/x", "http://shop/x"),
            ("//shop/x", "http://shop/x"),
            ("/x", "http://web:80/x"),
            ("x", "http://web:80/a/x"),
            ("?x", "http://web:80/a/b?x"),
        ] {
            assert_eq!(url.join(location), address);
        }
    }
}
