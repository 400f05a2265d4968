//! The ingress controller's proxy: nginx as ingress-nginx configures it, with the routes of a file.
//!
//! Requests go to the servers of a route in turn, over connections that are kept. A server that refuses or does
//! not answer in time is passed over for the next, three at most (`proxy_next_upstream error timeout`).

use base::tree::BTreeMap;
use std::cell::RefCell;
use std::net::SocketAddrV4;
use std::rc::Rc;

use base::{Duration, Instant, Utc};
use netsim::exec::timeout;
use netsim::{Host, SockError, TcpStream};

use super::Container;
use super::nginx::answer::error_page;
use super::web::{GRACE, keep, listen, until_asked};
use crate::http::client::{Ask, FetchError, fetch};
use crate::http::routes::{Route, Table};
use crate::http::{Handler, Headers, Limits, Request, Response, serve, serve_slowly};
use crate::log::Log;

/// The file of the routes.
pub const ROUTES: &str = "/etc/nginx/routes";

/// `proxy-connect-timeout`, `proxy-read-timeout`
const CONNECT: Duration = Duration::from_secs(5);
const READ: Duration = Duration::from_secs(60);
/// `proxy-next-upstream-tries`
const TRIES: usize = 3;
/// `upstream-keepalive-timeout`, `upstream-keepalive-connections`
const KEPT_FOR: Duration = Duration::from_secs(60);
const KEPT: usize = 320;
/// `keep-alive`, `keep-alive-requests`
const CLIENT_IDLE: Duration = Duration::from_secs(75);
const CLIENT_REQUESTS: u32 = 1000;

/// Runs the proxy until it is asked to end.
pub async fn controller(host: Host, container: Container, log: Log) -> i32 {
    let complain = "nginx: [emerg] bind() to 0.0.0.0:80 failed (98: {error})";
    let Some(http) = listen(&host, 80, &log, complain) else { return 1 };
    let complain = "nginx: [emerg] bind() to 0.0.0.0:10254 failed (98: {error})";
    let Some(health) = listen(&host, 10254, &log, complain) else { return 1 };
    log.line(host.now(), "NGINX Ingress controller");
    log.line(host.now(), "TLS is not supported by podwire: nothing listens on port 443");
    host.spawn(serve(host.clone(), health, |request| match request.path() {
        "/healthz" => Response::new(200, "text/plain; charset=utf-8", "ok"),
        _ => Response::new(404, "text/plain; charset=utf-8", "404 page not found\n"),
    }));
    let proxy = Rc::new(Proxy {
        host: host.clone(),
        container,
        log,
        routes: RefCell::default(),
        turns: RefCell::default(),
        kept: RefCell::default(),
    });
    let handler: Handler = Rc::new(move |request| {
        let proxy = proxy.clone();
        Box::pin(async move { proxy.answer(&request).await })
    });
    let limits = Limits {
        idle: Some(CLIENT_IDLE),
        requests_max: Some(CLIENT_REQUESTS),
        ..Limits::default()
    };
    keep(&host, serve_slowly(host.clone(), http, limits, handler));
    until_asked(&host, GRACE).await
}

/// A file's content.
type File = Rc<[u8]>;

struct Proxy {
    host: Host,
    container: Container,
    log: Log,
    /// The file as it was when it was last read, and what it says.
    routes: RefCell<(Option<File>, Rc<Table>)>,
    /// Whose turn it is, by the name of what is behind a route.
    turns: RefCell<BTreeMap<String, usize>>,
    kept: RefCell<BTreeMap<SocketAddrV4, Vec<(TcpStream, Instant)>>>,
}

/// Who was asked for a request, as the log says it.
#[derive(Default)]
struct Asked {
    name: String,
    servers: Vec<String>,
    lengths: Vec<String>,
    times: Vec<String>,
    statuses: Vec<String>,
}

impl Proxy {
    fn table(&self) -> Rc<Table> {
        let file = self.container.files.read(ROUTES);
        let mut routes = self.routes.borrow_mut();
        let is_same = match (&file, &routes.0) {
            (Some(new), Some(old)) => Rc::ptr_eq(new, old),
            (new, old) => new.is_none() && old.is_none(),
        };
        if !is_same {
            let text = file.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            routes.1 = Rc::new(Table::parse(&text));
            routes.0 = file;
        }
        routes.1.clone()
    }

    async fn answer(&self, request: &Request) -> Response {
        let begun = self.host.now();
        let table = self.table();
        let name = request.headers.get("host").unwrap_or_default();
        let mut asked = Asked { name: "upstream-default-backend".into(), ..Asked::default() };
        let response = match table.find(name, request.path()) {
            None => page(404),
            Some((_, route)) if route.servers.is_empty() => {
                asked.name.clone_from(&route.name);
                page(503)
            }
            Some((_, route)) => {
                asked.name.clone_from(&route.name);
                self.pass_on(request, route, &mut asked).await
            }
        };
        let response = self.dressed(response, request);
        self.note(request, &response, &asked, begun);
        response
    }

    /// Asks one server after the other until one answers.
    async fn pass_on(&self, request: &Request, route: &Route, asked: &mut Asked) -> Response {
        let ask = self.ask(request, route);
        let mut status = 502;
        for _ in 0..TRIES.min(route.servers.len()) {
            let turn = {
                let mut turns = self.turns.borrow_mut();
                let turn = turns.entry(route.name.clone()).or_default();
                *turn = turn.wrapping_add(1);
                turn.wrapping_sub(1)
            };
            let Some(server) = route.servers.get(turn % route.servers.len()) else { break };
            let begun = self.host.now();
            let result = self.try_server(*server, &ask).await;
            asked.servers.push(server.to_string());
            let took = self.host.now().since(begun).as_millis();
            asked.times.push(format!("{}.{:03}", took / 1000, took % 1000));
            let (length, answer) = match result {
                Ok(response) => (response.body.len(), Ok(response)),
                Err(error) => (0, Err(error)),
            };
            asked.lengths.push(length.to_string());
            match answer {
                Ok(response) => {
                    asked.statuses.push(response.status.to_string());
                    return response;
                }
                Err((code, may_go_on)) => {
                    asked.statuses.push(code.to_string());
                    status = code;
                    if !may_go_on {
                        break;
                    }
                }
            }
        }
        page(status)
    }

    /// What a server says; else the status to answer with, and whether another server may be asked.
    async fn try_server(&self, server: SocketAddrV4, ask: &Ask) -> Result<Response, (u16, bool)> {
        // A request that may have been carried out is not sent twice, unless it does no harm.
        let is_harmless = !matches!(ask.method.as_str(), "POST" | "PATCH" | "LOCK");
        while let Some(stream) = self.take(server) {
            match timeout(self.host.sleep(READ), fetch(&self.host, &stream, ask)).await {
                None => return Err((504, is_harmless)),
                Some(Ok(fetched)) => {
                    self.keep(server, stream, &fetched.response, fetched.minor_version);
                    return Ok(fetched.response);
                }
                // The other side has closed a kept connection meanwhile.
                Some(Err(FetchError::Empty | FetchError::Send(_) | FetchError::Receive(_))) => {}
                Some(Err(_)) => return Err((502, is_harmless)),
            }
        }
        let stream = match timeout(self.host.sleep(CONNECT), self.host.connect(server)).await {
            None | Some(Err(SockError::TimedOut)) => return Err((504, true)),
            Some(Err(_)) => return Err((502, true)),
            Some(Ok(stream)) => stream,
        };
        match timeout(self.host.sleep(READ), fetch(&self.host, &stream, ask)).await {
            None => Err((504, is_harmless)),
            Some(Err(_)) => Err((502, is_harmless)),
            Some(Ok(fetched)) => {
                self.keep(server, stream, &fetched.response, fetched.minor_version);
                Ok(fetched.response)
            }
        }
    }

    fn take(&self, server: SocketAddrV4) -> Option<TcpStream> {
        let mut kept = self.kept.borrow_mut();
        let streams = kept.get_mut(&server)?;
        let now = self.host.now();
        streams.retain(|(_, since)| *since + KEPT_FOR > now);
        streams.pop().map(|(stream, _)| stream)
    }

    fn keep(&self, server: SocketAddrV4, stream: TcpStream, response: &Response, minor: u8) {
        let has_end = response.headers.get("content-length").is_some()
            || response.headers.has_word("transfer-encoding", "chunked");
        if minor == 0 || !has_end || response.headers.has_word("connection", "close") {
            return;
        }
        let (mut kept, now) = (self.kept.borrow_mut(), self.host.now());
        // Those to servers that are gone would take the place of others for ever.
        kept.retain(|_, streams| {
            streams.retain(|(_, since)| *since + KEPT_FOR > now);
            !streams.is_empty()
        });
        if kept.values().map(Vec::len).sum::<usize>() < KEPT {
            kept.entry(server).or_default().push((stream, now));
        }
    }

    /// The request as the server sees it.
    fn ask(&self, request: &Request, route: &Route) -> Ask {
        const OWN: [&str; 9] = [
            "host",
            "connection",
            "keep-alive",
            "transfer-encoding",
            "content-length",
            "x-forwarded-for",
            "x-real-ip",
            "expect",
            "x-request-id",
        ];
        let client = request.peer.ip().to_string();
        let host = request.headers.get("host").unwrap_or_default().to_string();
        let mut headers = Headers::default();
        headers.push("Host", host.clone());
        let id = self.request_id(request);
        for (name, value) in [
            ("X-Request-ID", id.as_str()),
            ("X-Real-IP", &client),
            ("X-Forwarded-For", &client),
            ("X-Forwarded-Host", &host),
            ("X-Forwarded-Port", "80"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Scheme", "http"),
            ("X-Scheme", "http"),
        ] {
            headers.push(name, value);
        }
        if let Some(before) = request.headers.get("x-forwarded-for") {
            headers.push("X-Original-Forwarded-For", before);
        }
        for (name, value) in &request.headers.0 {
            let lower = name.to_ascii_lowercase();
            let is_own = OWN.contains(&lower.as_str())
                || lower.starts_with("x-forwarded-")
                || lower == "x-scheme";
            if !is_own {
                headers.push(name, value.clone());
            }
        }
        if !request.body.is_empty() || request.headers.get("content-length").is_some() {
            headers.push("Content-Length", request.body.len().to_string());
        }
        Ask {
            method: request.method.clone(),
            target: route.target(&request.target),
            headers,
            body: request.body.clone(),
        }
    }

    fn request_id(&self, request: &Request) -> String {
        let purpose = format!("request/{}/{}", request.peer, self.host.now().as_micros());
        let mut rng = self.host.rng(&purpose);
        format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64())
    }

    /// The response as the client sees it: nginx has its own date, length and connection.
    fn dressed(&self, response: Response, request: &Request) -> Response {
        const OWN: [&str; 6] =
            ["date", "content-type", "content-length", "connection", "server", "transfer-encoding"];
        let mut headers = Headers::default();
        headers.push("Date", Utc::at(self.host.now()).http());
        for name in ["Content-Type", "Content-Length"] {
            if let Some(value) = response.headers.get(name) {
                headers.push(name, value);
            }
        }
        if response.headers.has_word("transfer-encoding", "chunked") {
            headers.push("Transfer-Encoding", "chunked");
        }
        if request.keeps_alive() {
            headers.push("Connection", "keep-alive");
        }
        for (name, value) in response.headers.0 {
            if !OWN.contains(&name.to_ascii_lowercase().as_str()) && name != "Keep-Alive" {
                headers.push(&name, value);
            }
        }
        Response { headers, ..response }
    }

    /// A line of the access log (`upstreaminfo`).
    fn note(&self, request: &Request, response: &Response, asked: &Asked, begun: Instant) {
        let field = |name: &str| request.headers.get(name).unwrap_or("-").to_string();
        let list = |list: &Vec<String>| match list.as_slice() {
            [] => "-".to_string(),
            list => list.join(", "),
        };
        let took = self.host.now().since(begun).as_millis();
        let line = format!(
            "{} - - [{}] \"{}\" {} {} \"{}\" \"{}\" {} {}.{:03} [{}] [] {} {} {} {} {}",
            request.peer.ip(),
            Utc::at(self.host.now()).access_log(),
            request.line(),
            response.status,
            response.body.len(),
            field("referer"),
            field("user-agent"),
            request.body.len(),
            took / 1000,
            took % 1000,
            asked.name,
            list(&asked.servers),
            list(&asked.lengths),
            list(&asked.times),
            list(&asked.statuses),
            self.request_id(request),
        );
        self.log.line(self.host.now(), line);
    }
}

/// nginx' own pages, which here do not say its version.
fn page(status: u16) -> Response {
    let mut response = error_page(status, "nginx");
    response.headers.push("Content-Length", response.body.len().to_string());
    response
}
