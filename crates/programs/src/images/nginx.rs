//! nginx: its configuration, its files, its answers, its log.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::{Duration, Instant, Utc};
use netsim::exec::timeout;
use netsim::{Host, SockError};

use super::Container;
use super::nginx_conf::{Directive, Reader, unknown};
use super::site::{self, Found, Stamp, find};
use super::web::{GRACE, listen, until_asked};
use crate::http::client::Ask;
use crate::http::message::reason;
use crate::http::{Headers, Limits, Request, Response, fetch, serve_slowly};
use crate::log::Log;

/// What it calls itself.
const VERSION: &str = "nginx/1.27.5";
/// When the image's pages were made.
const IMAGE_SECS: i64 = 0x67ff_9c07;
/// How long another server may take (`proxy_connect_timeout`, `proxy_read_timeout`).
const PROXY_TIMEOUT: u64 = 60;

const PAGE: &str = include_str!("nginx.html");

/// The image's own files.
const FILES: [(&str, &str); 4] = [
    ("/usr/share/nginx/html/index.html", PAGE),
    (
        "/usr/share/nginx/html/50x.html",
        "<!DOCTYPE html>\n<html>\n<head>\n<title>Error</title>\n</head>\n<body>\n<h1>An error occurred.</h1>\n\
         </body>\n</html>\n",
    ),
    (
        "/etc/nginx/nginx.conf",
        "user  nginx;\nworker_processes  auto;\n\nerror_log  /var/log/nginx/error.log notice;\n\
         pid        /run/nginx.pid;\n\nevents {\n    worker_connections  1024;\n}\n\nhttp {\n\
         \x20   include       /etc/nginx/mime.types;\n    default_type  application/octet-stream;\n\n\
         \x20   sendfile        on;\n    keepalive_timeout  65;\n\n    include /etc/nginx/conf.d/*.conf;\n}\n",
    ),
    (
        DEFAULT_CONF,
        "server {\n    listen       80;\n    listen  [::]:80;\n    server_name  localhost;\n\n\
         \x20   location / {\n        root   /usr/share/nginx/html;\n        index  index.html index.htm;\n    }\n\n\
         \x20   error_page   500 502 503 504  /50x.html;\n    location = /50x.html {\n\
         \x20       root   /usr/share/nginx/html;\n    }\n}\n",
    ),
];
const DEFAULT_CONF: &str = "/etc/nginx/conf.d/default.conf";

/// One other server, or several that take turns.
struct Upstream {
    name: String,
    addrs: Vec<SocketAddrV4>,
    turn: Cell<usize>,
}

struct Location {
    /// `=` or `^~` or nothing.
    how: String,
    path: String,
    block: Directive,
}

struct Server {
    ports: Vec<u16>,
    names: Vec<String>,
    is_default: bool,
    block: Directive,
    locations: Vec<Location>,
}

struct Nginx {
    host: Host,
    container: Rc<Container>,
    log: Log,
    started: Instant,
    http: Directive,
    servers: Vec<Server>,
    upstreams: Vec<Upstream>,
    connections: Cell<u64>,
}

/// The nginx of an image; `conf` is what its `default.conf` says, where it is not the usual.
pub(super) async fn nginx(
    host: Host,
    container: Container,
    log: Log,
    conf: Option<&'static str>,
) -> i32 {
    let is_unprivileged = container.image.contains("unprivileged");
    for (path, content) in FILES {
        let content = match conf {
            Some(conf) if path == DEFAULT_CONF => conf.to_string(),
            _ if is_unprivileged => content.replace("80;", "8080;"),
            _ => content.to_string(),
        };
        container.files.bake(path, content.into_bytes());
    }
    if container.command.is_empty() {
        greet(&host, &container, &log);
    }
    let started = host.now();
    let mut nginx = Nginx {
        host,
        container: Rc::new(container),
        log,
        started,
        http: Directive::default(),
        servers: Vec::new(),
        upstreams: Vec::new(),
        connections: Cell::new(0),
    };
    // What it takes to read all that is not kept.
    if let Err(why) = Box::pin(nginx.configure()).await {
        return nginx.refuse(&why);
    }
    nginx.run().await
}

/// What the image's entrypoint says.
fn greet(host: &Host, container: &Container, log: &Log) {
    let changed = match container.files.read(DEFAULT_CONF) {
        Some(content)
            if content.starts_with(b"server {\n    listen       80;\n    listen  [::]:80;") =>
        {
            "Enabled listen on IPv6 in /etc/nginx/conf.d/default.conf"
        }
        Some(_) => "can not modify /etc/nginx/conf.d/default.conf (read-only file system?)",
        None => "/etc/nginx/conf.d/default.conf is not a file or does not exist",
    };
    let entry = "/docker-entrypoint.sh:";
    let ipv6 = "10-listen-on-ipv6-by-default.sh";
    let mut lines = vec![
        format!(
            "{entry} /docker-entrypoint.d/ is not empty, will attempt to perform configuration"
        ),
        format!("{entry} Looking for shell scripts in /docker-entrypoint.d/"),
        format!("{entry} Launching /docker-entrypoint.d/{ipv6}"),
    ];
    if changed.starts_with("Enabled") {
        lines.push(format!("{ipv6}: info: Getting the checksum of {DEFAULT_CONF}"));
    }
    lines.push(format!("{ipv6}: info: {changed}"));
    lines.push(format!("{entry} Sourcing /docker-entrypoint.d/15-local-resolvers.envsh"));
    for script in ["20-envsubst-on-templates.sh", "30-tune-worker-processes.sh"] {
        lines.push(format!("{entry} Launching /docker-entrypoint.d/{script}"));
    }
    lines.push(format!("{entry} Configuration complete; ready for start up"));
    lines.into_iter().for_each(|line| log.line(host.now(), line));
}

/// The port of `80`, `0.0.0.0:80`, `[::]:80`.
fn listen_port(value: &str) -> Option<u16> {
    if value.starts_with("unix:") {
        return None;
    }
    match value.parse() {
        Ok(port) => Some(port),
        Err(_) => value.rsplit_once(':').map_or(Some(80), |(_, port)| port.parse().ok()),
    }
}

/// `http://web:8080/api` → `web:8080`, `/api`.
fn proxy_parts(url: &str) -> Option<(&str, Option<&str>)> {
    let rest = url.strip_prefix("http://")?;
    Some(match rest.find('/') {
        Some(at) => (rest.get(..at)?, rest.get(at..)),
        None => (rest, None),
    })
}

fn host_and_port(authority: &str) -> (&str, u16) {
    match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(80)),
        None => (authority, 80),
    }
}

impl Nginx {
    fn notice(&self, level: &str, pid: u32, text: &str) {
        let now = Utc::at(self.host.now());
        let date = now.to_string().replace('-', "/").replace('T', " ").replace('Z', "");
        self.log.line(self.host.now(), format!("{date} [{level}] {pid}#{pid}: {text}"));
    }

    fn refuse(&self, why: &str) -> i32 {
        self.notice("emerg", 1, why);
        self.log.line(self.host.now(), format!("nginx: [emerg] {why}"));
        1
    }

    // ---- configuration -----------------------------------------------------------------------------------

    async fn configure(&mut self) -> Result<(), String> {
        let files = self.container.files.clone();
        let mut reader = Reader::new(&files);
        let whole = reader.file("/etc/nginx/nginx.conf", 0)?;
        if let Some(why) = unknown(&whole) {
            return Err(why);
        }
        let top = Directive { block: whole.into(), ..Directive::default() };
        if top.get("events").is_none() {
            return Err("no \"events\" section in configuration".to_string());
        }
        if top.get("stream").is_some() {
            self.log.line(self.host.now(), "podwire: the block stream is not supported");
        }
        self.http = top.get("http").cloned().unwrap_or_default();
        let http = self.http.clone();
        for upstream in http.all("upstream") {
            let mut addrs = Vec::new();
            for server in upstream.all("server") {
                let (name, port) = host_and_port(server.value());
                let found = self.resolve(name, &server.place).await?;
                addrs.extend(found.into_iter().map(|addr| SocketAddrV4::new(addr, port)));
            }
            if addrs.is_empty() {
                return Err(format!("no servers are inside upstream{}", upstream.place));
            }
            let name = upstream.value().to_string();
            self.upstreams.push(Upstream { name, addrs, turn: Cell::new(0) });
        }
        for server in http.all("server") {
            self.server(server).await?;
        }
        Ok(())
    }

    async fn server(&mut self, block: &Directive) -> Result<(), String> {
        let mut ports: Vec<u16> = Vec::new();
        let mut is_default = false;
        for listen in block.all("listen") {
            let port = listen_port(listen.value()).ok_or_else(|| {
                format!(
                    "invalid port in \"{}\" of the \"listen\" directive{}",
                    listen.value(),
                    listen.place
                )
            })?;
            is_default |= listen.args.iter().any(|arg| arg == "default_server");
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        if ports.is_empty() {
            ports.push(80);
        }
        let mut locations = Vec::new();
        for location in block.all("location") {
            let (how, path) = match location.args.as_slice() {
                [path] => (String::new(), path.clone()),
                [how, path] => (how.clone(), path.clone()),
                _ => {
                    let place = &location.place;
                    return Err(format!(
                        "invalid number of arguments in \"location\" directive{place}"
                    ));
                }
            };
            if how.starts_with('~') {
                let text = format!("podwire: location {how} {path} is not supported");
                self.log.line(self.host.now(), text);
                continue;
            }
            if let Some(pass) = location.get("proxy_pass") {
                self.prepare(pass).await?;
            }
            locations.push(Location { how, path, block: location.clone() });
        }
        let names = block.all("server_name").flat_map(|names| names.args.clone()).collect();
        self.servers.push(Server { ports, names, is_default, block: block.clone(), locations });
        Ok(())
    }

    /// A name that a request is passed on to is looked up once, at the start.
    async fn prepare(&mut self, pass: &Directive) -> Result<(), String> {
        let Some((authority, _)) = proxy_parts(pass.value()) else {
            return Err(match pass.value().starts_with("https://") {
                true => {
                    format!("https in \"proxy_pass\" is not supported by podwire{}", pass.place)
                }
                false => format!("invalid URL prefix{}", pass.place),
            });
        };
        // With variables in it, it is looked up at every request.
        if authority.contains('$') || self.upstreams.iter().any(|known| known.name == authority) {
            return Ok(());
        }
        let (name, port) = host_and_port(authority);
        let found = self.resolve(name, &pass.place).await?;
        let addrs = found.into_iter().map(|addr| SocketAddrV4::new(addr, port)).collect();
        let name = authority.to_string();
        self.upstreams.push(Upstream { name, addrs, turn: Cell::new(0) });
        Ok(())
    }

    async fn resolve(&self, name: &str, place: &str) -> Result<Vec<Ipv4Addr>, String> {
        let resolver = self.container.resolver();
        let found = resolver.addresses(&self.host, name).await;
        found.map_err(|_| format!("host not found in upstream \"{name}\"{place}"))
    }

    // ---- running -----------------------------------------------------------------------------------------

    async fn run(self) -> i32 {
        let mut ports: Vec<u16> = Vec::new();
        for port in self.servers.iter().flat_map(|server| &server.ports) {
            if !ports.contains(port) {
                ports.push(*port);
            }
        }
        let mut listeners = Vec::new();
        for port in ports {
            let complain =
                format!("nginx: [emerg] bind() to 0.0.0.0:{port} failed (98: {{error}})");
            let Some(listener) = listen(&self.host, port, &self.log, &complain) else { return 1 };
            listeners.push(listener);
        }
        for text in [
            "using the \"epoll\" event method",
            VERSION,
            "built by gcc 12.2.0 (Debian 12.2.0-14) ",
            "OS: Linux 6.12.0-podwire",
            "getrlimit(RLIMIT_NOFILE): 1048576:1048576",
            "start worker processes",
            "start worker process 29",
        ] {
            self.notice("notice", 1, text);
        }
        let nginx = Rc::new(self);
        for listener in listeners {
            let (server, host) = (nginx.clone(), nginx.host.clone());
            let handler = Rc::new(move |request: Rc<Request>| {
                let server = server.clone();
                let answering = async move { server.request(&request).await };
                Box::pin(answering) as crate::http::Answering
            });
            nginx.host.spawn(serve_slowly(host, listener, Limits::default(), handler));
        }
        until_asked(&nginx.host, GRACE).await
    }

    async fn request(&self, request: &Request) -> Response {
        self.connections.set(self.connections.get() + 1);
        let server = self.server_for(request);
        let location = server.and_then(|server| location_for(server, request.path()));
        let scope = Scope {
            nginx: self,
            request,
            server,
            location,
            blocks: [location.map(|l| &l.block), server.map(|s| &s.block), Some(&self.http)],
        };
        let mut response = scope.answer().await;
        scope.finish(&mut response);
        if scope.get("access_log").is_none_or(|log| log.value() != "off") {
            let line = combined(request, &response, Utc::at(self.host.now()));
            self.log.line(self.host.now(), line);
        }
        response
    }

    fn server_for(&self, request: &Request) -> Option<&Server> {
        let port = request.local.port();
        let host = request.headers.get("host").unwrap_or_default();
        let host = host_and_port(host).0;
        let mut fits = self.servers.iter().filter(|server| server.ports.contains(&port));
        let named = fits.clone().find(|server| {
            server.names.iter().any(|name| match name.strip_prefix("*.") {
                Some(end) => host.ends_with(end) && host.len() > end.len(),
                None => name.eq_ignore_ascii_case(host),
            })
        });
        named.or_else(|| fits.clone().find(|server| server.is_default)).or_else(|| fits.next())
    }
}

fn location_for<'a>(server: &'a Server, path: &str) -> Option<&'a Location> {
    let path = site::normal(path);
    let exact = server.locations.iter().find(|l| l.how == "=" && l.path == path);
    let prefix = server.locations.iter().filter(|l| l.how != "=" && !l.path.starts_with('@'));
    exact.or_else(|| prefix.filter(|l| path.starts_with(&l.path)).max_by_key(|l| l.path.len()))
}

/// A request in the block of the configuration that it belongs to.
struct Scope<'a> {
    nginx: &'a Nginx,
    request: &'a Request,
    server: Option<&'a Server>,
    location: Option<&'a Location>,
    /// From the inside out.
    blocks: [Option<&'a Directive>; 3],
}

impl Scope<'_> {
    /// A directive of the innermost block that has it.
    fn get(&self, name: &str) -> Option<&Directive> {
        self.blocks.iter().flatten().find_map(|block| block.get(name))
    }

    async fn answer(&self) -> Response {
        let returns = self.blocks.iter().take(2).rev().flatten().find_map(|b| b.get("return"));
        if let Some(answer) = returns {
            return self.returned(answer);
        }
        let own = self.location.map(|location| &location.block);
        if own.is_some_and(|block| block.all("deny").any(|deny| deny.value() == "all")) {
            return error_page(403);
        }
        if let Some(pass) = own.and_then(|block| block.get("proxy_pass")) {
            return self.pass(pass).await;
        }
        if own.is_some_and(|block| block.get("stub_status").is_some()) {
            let n = self.nginx.connections.get();
            let text = format!(
                "Active connections: 1 \nserver accepts handled requests\n {n} {n} {n} \nReading: 0 Writing: 1 Waiting: 0 \n"
            );
            return Response::new(200, "text/plain", text);
        }
        self.file()
    }

    /// `return 200 "text"`, `return 301 URL`.
    fn returned(&self, answer: &Directive) -> Response {
        let first = answer.value();
        let rest = answer.args.get(1).map(|text| self.expand(text));
        let (status, text) = match first.parse::<u16>() {
            Ok(status) => (status, rest),
            Err(_) => (302, Some(self.expand(first))),
        };
        match (status, text) {
            (301 | 302 | 303 | 307 | 308, Some(location)) => self.redirected(status, &location),
            (_, Some(text)) => {
                let kind = self.get("default_type").map_or("text/plain", Directive::value);
                Response::new(status, kind, text)
            }
            (200 | 204, None) => Response::new(status, "text/plain", ""),
            (status, None) => error_page(status),
        }
    }

    fn redirected(&self, status: u16, location: &str) -> Response {
        let mut response = error_page(status);
        let location = match location.starts_with('/') {
            true => format!("http://{}{location}", self.variable("http_host")),
            false => location.to_string(),
        };
        response.headers.push("Location", location);
        response
    }

    fn file(&self) -> Response {
        let request = self.request;
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return error_page(405);
        }
        let path = request.path();
        let own = self.location.map(|location| &location.block);
        let (root, path) = match own.and_then(|block| block.get("alias")) {
            Some(alias) => {
                let prefix = self.location.map_or("", |location| location.path.as_str());
                let rest = site::normal(path);
                let rest = rest.strip_prefix(prefix).unwrap_or_default().to_string();
                (
                    alias.value().trim_end_matches('/').to_string(),
                    format!("/{}", rest.trim_start_matches('/')),
                )
            }
            None => {
                let root = self.get("root").map_or("/etc/nginx/html", Directive::value);
                (self.expand(root), path.to_string())
            }
        };
        let index = self.get("index").map(|index| index.args.clone());
        let index = index.unwrap_or_else(|| vec!["index.html".to_string()]);
        let files = &self.nginx.container.files;
        let tries = self.get("try_files").map(|tries| tries.args.clone()).unwrap_or_default();
        let mut paths: Vec<String> = vec![path.clone()];
        if !tries.is_empty() {
            paths = tries.iter().map(|tried| self.expand(tried)).collect();
        }
        for tried in &paths {
            if let Some(status) = tried.strip_prefix('=') {
                return error_page(status.parse().unwrap_or(404));
            }
            match find(files, &root, tried, &index) {
                Found::File(path, content) => return self.content(&path, &content),
                Found::Directory if tries.is_empty() => {
                    return self.redirected(301, &format!("{path}/"));
                }
                Found::Listing(full, _) if tries.is_empty() => {
                    self.complain(&format!("directory index of \"{full}\" is forbidden"));
                    return error_page(403);
                }
                Found::Nothing(full) if tries.is_empty() => {
                    let what = if full.ends_with("/index.html") && path.ends_with('/') {
                        format!("\"{full}\" is not found")
                    } else {
                        format!("open() \"{full}\" failed")
                    };
                    self.complain(&format!("{what} (2: No such file or directory)"));
                    return error_page(404);
                }
                _ => {}
            }
        }
        error_page(404)
    }

    fn content(&self, path: &str, content: &[u8]) -> Response {
        let default = self.get("default_type").map_or("text/plain", Directive::value);
        let kind = site::media_type(path).unwrap_or(default);
        let is_from_image = FILES.iter().any(|(_, own)| own.as_bytes() == content);
        let stamp = match is_from_image {
            true => Stamp { secs: IMAGE_SECS, len: content.len() },
            false => Stamp::of(content, self.nginx.started),
        };
        let mut response = Response::new(200, kind, content);
        response.headers.push("Last-Modified", stamp.date());
        response.headers.push("ETag", stamp.etag());
        response.headers.push("Accept-Ranges", "bytes");
        response
    }

    /// A line about something that went wrong, as the error log has it.
    fn complain(&self, what: &str) {
        self.complain_of(what, "");
    }

    fn complain_of(&self, what: &str, upstream: &str) {
        let upstream = match upstream {
            "" => String::new(),
            upstream => format!(", upstream: \"{upstream}\""),
        };
        let name = self.server.and_then(|server| server.names.first());
        let text = format!(
            "*{} {what}, client: {}, server: {}, request: \"{}\"{upstream}, host: \"{}\"",
            self.nginx.connections.get(),
            self.request.peer.ip(),
            name.map(String::as_str).unwrap_or_default(),
            self.request.line(),
            self.variable("http_host"),
        );
        self.nginx.notice("error", 29, &text);
    }

    // ---- passing on --------------------------------------------------------------------------------------

    async fn pass(&self, pass: &Directive) -> Response {
        let url = self.expand(pass.value());
        let Some((authority, uri)) = proxy_parts(&url) else { return error_page(500) };
        let target = match uri {
            Some(uri) if !pass.value().contains('$') => {
                let prefix = self.location.map_or("", |location| location.path.as_str());
                let rest = self.request.target.strip_prefix(prefix).unwrap_or_default();
                format!("{uri}{rest}")
            }
            Some(uri) => uri.to_string(),
            None => self.request.target.clone(),
        };
        let known = self.nginx.upstreams.iter().find(|known| known.name == authority);
        let addrs = match known {
            Some(upstream) => {
                let turn = upstream.turn.get();
                upstream.turn.set(turn.wrapping_add(1));
                let mut addrs = upstream.addrs.clone();
                let by = turn % addrs.len().max(1);
                addrs.rotate_left(by);
                addrs
            }
            None => match self.look_up(authority).await {
                Some(addrs) => addrs,
                None => return error_page(502),
            },
        };
        let ask = self.ask(authority, &target);
        let mut last = error_page(502);
        for addr in addrs {
            match self.one(addr, &ask).await {
                Ok(response) => return response,
                Err((status, why)) => {
                    let upstream = format!("http://{addr}{target}");
                    self.complain_of(&format!("{why} while connecting to upstream"), &upstream);
                    last = error_page(status);
                }
            }
        }
        last
    }

    /// A name with variables in it is asked for now, of the server that `resolver` names.
    async fn look_up(&self, authority: &str) -> Option<Vec<SocketAddrV4>> {
        let (name, port) = host_and_port(authority);
        let mut resolver = self.nginx.container.resolver();
        let given = self.get("resolver").map(|given| host_and_port(given.value()).0.to_string());
        resolver.conf.search.clear();
        if name.parse::<Ipv4Addr>().is_err() {
            let Some(given) = given else {
                self.complain(&format!("no resolver defined to resolve {name}"));
                return None;
            };
            let server = self.nginx.container.resolver().addresses(&self.nginx.host, &given).await;
            resolver.conf.nameservers = server.unwrap_or_default();
        }
        match resolver.addresses(&self.nginx.host, name).await {
            Ok(found) => {
                Some(found.into_iter().map(|addr| SocketAddrV4::new(addr, port)).collect())
            }
            Err(_) => {
                self.complain(&format!("{name} could not be resolved (3: Host not found)"));
                None
            }
        }
    }

    fn ask(&self, authority: &str, target: &str) -> Ask {
        let request = self.request;
        let mut headers = Headers::default();
        headers.push("Host", authority);
        headers.push("Connection", "close");
        for (name, value) in &request.headers.0 {
            let is_own = ["host", "connection", "keep-alive", "transfer-encoding", "expect"]
                .iter()
                .any(|own| name.eq_ignore_ascii_case(own));
            if !is_own {
                headers.push(name, value.clone());
            }
        }
        let has_own = |block: &&&Directive| block.get("proxy_set_header").is_some();
        let block = self.blocks.iter().flatten().find(has_own);
        for set in block.into_iter().flat_map(|block| block.all("proxy_set_header")) {
            let [name, value] = set.args.as_slice() else { continue };
            let value = self.expand(value);
            headers.remove(name);
            if !value.is_empty() && !name.eq_ignore_ascii_case("connection") {
                headers.push(name, value);
            }
        }
        let (method, body) = (request.method.clone(), request.body.clone());
        Ask { method, target: target.to_string(), headers, body }
    }

    async fn one(&self, addr: SocketAddrV4, ask: &Ask) -> Result<Response, (u16, String)> {
        let host = &self.nginx.host;
        let secs = |name: &str| {
            let given =
                self.get(name).and_then(|given| given.value().trim_end_matches('s').parse().ok());
            Duration::from_secs(given.unwrap_or(PROXY_TIMEOUT))
        };
        let late = || (504, "upstream timed out (110: Operation timed out)".to_string());
        let connecting =
            timeout(host.sleep(secs("proxy_connect_timeout")), host.connect(addr)).await;
        let stream = connecting.ok_or_else(late)?.map_err(|error| match error {
            SockError::TimedOut => late(),
            SockError::Refused => (502, "connect() failed (111: Connection refused)".to_string()),
            error => (502, format!("connect() failed (113: {error})")),
        })?;
        let fetching = fetch(host, &stream, ask);
        let fetched = timeout(host.sleep(secs("proxy_read_timeout")), fetching).await;
        let fetched = fetched
            .ok_or_else(late)?
            .map_err(|_| (502, "upstream prematurely closed connection".to_string()))?;
        let mut response = fetched.response;
        for own in
            ["server", "date", "connection", "transfer-encoding", "keep-alive", "content-length"]
        {
            response.headers.remove(own);
        }
        Ok(response)
    }

    // ---- what all answers have ----------------------------------------------------------------------------

    fn finish(&self, response: &mut Response) {
        let own = std::mem::take(&mut response.headers.0);
        let (kind, rest): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let (modified, rest): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|(name, _)| name == "Last-Modified");
        let headers = &mut response.headers;
        let is_hidden = self.get("server_tokens").is_some_and(|tokens| tokens.value() == "off");
        headers.push("Server", if is_hidden { "nginx" } else { VERSION });
        headers.push("Date", Utc::at(self.nginx.host.now()).http());
        headers.0.extend(kind);
        if response.status != 204 {
            headers.push("Content-Length", response.body.len().to_string());
        }
        headers.0.extend(modified);
        headers.push("Connection", if self.request.keeps_alive() { "keep-alive" } else { "close" });
        headers.0.extend(rest);
        let has_own = |block: &&&Directive| block.get("add_header").is_some();
        let block = self.blocks.iter().flatten().find(has_own);
        for add in block.into_iter().flat_map(|block| block.all("add_header")) {
            let is_always = add.args.iter().any(|arg| arg == "always");
            if let [name, value, ..] = add.args.as_slice()
                && (response.status < 400 || is_always)
            {
                headers.push(name, self.expand(value));
            }
        }
    }

    /// A text with its variables' values.
    fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let (name, behind) =
                match after.strip_prefix('{').and_then(|after| after.split_once('}')) {
                    Some(found) => found,
                    None => {
                        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                        after.split_at(end.unwrap_or(after.len()))
                    }
                };
            if name.is_empty() {
                out.push('$');
            }
            out.push_str(&self.variable(name));
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    fn variable(&self, name: &str) -> String {
        let request = self.request;
        let field = |name: &str| request.headers.get(name).unwrap_or_default().to_string();
        let query = || request.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let text = match name {
            "host" => {
                let host = field("host");
                return host_and_port(&host).0.to_string();
            }
            "uri" | "document_uri" => return site::normal(request.path()),
            "request_uri" => &request.target,
            "args" | "query_string" => query(),
            "is_args" => {
                if query().is_empty() {
                    ""
                } else {
                    "?"
                }
            }
            "scheme" => "http",
            "hostname" => &self.nginx.container.hostname,
            "request_method" => &request.method,
            "server_protocol" => "HTTP/1.1",
            "nginx_version" => VERSION.trim_start_matches("nginx/"),
            "remote_addr" => return request.peer.ip().to_string(),
            "remote_port" => return request.peer.port().to_string(),
            "server_addr" => return request.local.ip().to_string(),
            "server_port" => return request.local.port().to_string(),
            "request" => return request.line(),
            "time_local" => return Utc::at(self.nginx.host.now()).access_log(),
            "request_id" => {
                let mut rng =
                    self.nginx.host.rng(&format!("request/{}", self.nginx.connections.get()));
                return format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64());
            }
            "server_name" => {
                let name = self.server.and_then(|server| server.names.first());
                return name.cloned().unwrap_or_default();
            }
            "proxy_host" | "proxy_add_x_forwarded_for" | "http_host" => {
                let before = field("x-forwarded-for");
                let peer = request.peer.ip();
                return match name {
                    "http_host" => field("host"),
                    "proxy_host" => {
                        let pass = self.get("proxy_pass").map(Directive::value).unwrap_or_default();
                        proxy_parts(pass).map_or("", |(authority, _)| authority).to_string()
                    }
                    _ if before.is_empty() => peer.to_string(),
                    _ => format!("{before}, {peer}"),
                };
            }
            _ => return self.named(name),
        };
        text.to_string()
    }

    /// `$http_x_y`, `$arg_x`, and what `set` has set.
    fn named(&self, name: &str) -> String {
        if let Some(field) = name.strip_prefix("http_") {
            let field = field.replace('_', "-");
            return self.request.headers.get(&field).unwrap_or_default().to_string();
        }
        if let Some(arg) = name.strip_prefix("arg_") {
            let mut query = site::query(self.request).into_iter();
            return query.find(|(known, _)| known == arg).map(|(_, v)| v).unwrap_or_default();
        }
        let mut sets = self.blocks.iter().take(2).flatten().flat_map(|block| block.all("set"));
        let found = sets.find(|set| set.value().strip_prefix('$') == Some(name));
        // What is set with itself is not expanded for ever.
        found
            .and_then(|set| set.args.get(1))
            .map(|value| match value.contains('$') {
                true => value.replace(&format!("${name}"), ""),
                false => value.clone(),
            })
            .unwrap_or_default()
    }
}

fn error_page(status: u16) -> Response {
    let title = format!(
        "{status} {}",
        match status {
            405 => "Not Allowed",
            302 => "Found",
            503 => "Service Temporarily Unavailable",
            504 => "Gateway Time-out",
            status => reason(status),
        }
    );
    let page = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>{VERSION}</center>\r\n</body>\r\n</html>\r\n"
    );
    let mut response = site::html(status, page);
    response.reason = match status {
        302 => "Moved Temporarily".to_string(),
        _ => title.split_once(' ').map(|(_, reason)| reason.to_string()).unwrap_or_default(),
    };
    response
}

/// A line of the access log in nginx's `main` format, which ends with the forwarded address.
fn combined(request: &Request, response: &Response, now: Utc) -> String {
    let field = |name| request.headers.get(name).unwrap_or("-");
    format!(
        "{} - - [{}] \"{}\" {} {} \"{}\" \"{}\" \"{}\"",
        request.peer.ip(),
        now.access_log(),
        request.line(),
        response.status,
        if request.method == "HEAD" { 0 } else { response.body.len() },
        field("referer"),
        field("user-agent"),
        field("x-forwarded-for"),
    )
}
