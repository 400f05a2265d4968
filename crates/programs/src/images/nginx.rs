//! nginx: its files, how it starts, and which block of its configuration a request belongs to.
//!
//! - [`conf`]: the configuration's text;
//! - [`answer`]: what a request is answered; [`pass`]: by other servers; [`variables`]: `$host` and others.

pub(super) mod answer;
mod conf;
mod pass;
mod variables;

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::{Instant, Utc};
use netsim::Host;

use self::answer::Scope;
use self::conf::{Directive, Reader, unknown};
use super::Container;
use super::site;
use super::web::{GRACE, listen, slashed, until_asked};
use crate::http::{Limits, Request, Response, serve_slowly};
use crate::log::Log;

/// What it calls itself.
const VERSION: &str = "nginx/1.27.5";
/// When the image's pages were made.
const IMAGE_SECS: i64 = 0x67ff_9c07;
const PAGE: &str = include_str!("nginx/index.html");

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
        let date = slashed(Utc::at(self.host.now()));
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
            let line = answer::combined(request, &response, Utc::at(self.host.now()));
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
