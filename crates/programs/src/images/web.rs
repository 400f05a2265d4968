//! What web servers have in common; and the server that stands for images that are not known.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use base::{Duration, Utc};
use netsim::exec::select;
use netsim::{Host, TcpListener};

use super::Container;
use super::site::{self, Found, find};
use crate::grpc;
use crate::http::server::at_once;
use crate::http::{Limits, Request, Response, serve, serve_slowly};
use crate::log::Log;

/// How long a web server takes to end after SIGTERM.
pub(super) const GRACE: Duration = Duration::from_millis(200);

/// How long a stand-in takes for what it is to do once.
const TASK: Duration = Duration::from_secs(1);

pub(super) fn any(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)
}

/// The address of a namespace that others know.
pub(super) fn own_addr(host: &Host) -> Ipv4Addr {
    let ifaces = host.net().ifaces(host.ns());
    let mut addrs = ifaces.iter().flat_map(|iface| iface.addrs.iter().map(|cidr| cidr.addr));
    addrs.find(|addr| !addr.is_loopback()).unwrap_or(Ipv4Addr::LOCALHOST)
}

/// A plain text.
pub(super) fn text(body: impl Into<String>) -> Response {
    Response::new(200, "text/plain; charset=utf-8", body.into())
}

/// `2026/01/05 09:00:00`, as nginx and Go's `log` print the time.
pub(super) fn slashed(now: Utc) -> String {
    now.to_string().replace('-', "/").replace('T', " ").replace('Z', "")
}

/// Listens, or prints why not.
pub(super) fn listen(host: &Host, port: u16, log: &Log, complain: &str) -> Option<TcpListener> {
    match host.listen(any(port)) {
        Ok(listener) => Some(listener),
        Err(error) => {
            log.line(host.now(), complain.replace("{error}", &error.to_string()));
            None
        }
    }
}

/// Runs a server beside its program until that is asked to end: it takes no new connections then.
pub(super) fn keep(host: &Host, server: impl Future<Output = ()> + 'static) {
    let clock = host.clone();
    host.spawn(async move {
        select(server, clock.terminated()).await;
    });
}

/// Waits until the program is asked to end, and `grace` longer.
pub(super) async fn until_asked(host: &Host, grace: Duration) -> i32 {
    host.terminated().await;
    host.sleep(grace).await;
    0
}

impl Container {
    /// The words of its command line.
    pub(super) fn words(&self) -> Vec<String> {
        self.command.iter().chain(&self.args).cloned().collect()
    }

    /// A variable of its environment.
    pub(super) fn var(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// What is left of its image's name after the last `:`; `latest` where there is none.
    pub(super) fn tag(&self) -> &str {
        let last = self.image.rsplit('/').next().unwrap_or_default();
        last.split('@')
            .next()
            .and_then(|last| last.split_once(':'))
            .map_or("latest", |(_, tag)| tag)
    }
}

/// The value after `-name` or `--name`, also as `-name=value`.
pub(super) fn flag<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let bare = arg.trim_start_matches('-');
        if bare.len() == arg.len() {
            continue;
        }
        match bare.split_once('=') {
            Some((known, value)) if known == name => return Some(value),
            None if bare == name => return args.next().map(String::as_str),
            _ => {}
        }
    }
    None
}

/// The port of `:5678`, `0.0.0.0:5678` or `5678`.
pub(super) fn port_of(listen: &str) -> Option<u16> {
    listen.rsplit(':').next()?.trim().parse().ok()
}

/// A program's port: `from` names flags (`--port`) and variables (`PORT`) that decide it, the first of them
/// that is there.
pub(super) fn port(container: &Container, from: &str, default: u16) -> u16 {
    let words = container.words();
    let given = from.split_whitespace().find_map(|name| {
        match name.starts_with('-') {
            true => flag(&words, name.trim_start_matches('-')),
            false => container.var(name),
        }
        .and_then(port_of)
    });
    given.unwrap_or(default)
}

/// Stands for an image that is not known: a server on the ports that the image is known to open, else on
/// those that the container declares (8080 if none), which says so.
pub(super) async fn generic(host: Host, container: Container, log: Log, known: &[u16]) -> i32 {
    if container.is_task && known.is_empty() && container.declared_ports.is_empty() {
        // What it would do is not known, but it would end.
        host.sleep(TASK).await;
        let text = format!("podwire: stand-in for image {}, ends with 0", container.image);
        log.line(host.now(), text);
        return 0;
    }
    let is_guess = known.is_empty() && container.declared_ports.is_empty();
    let ports = match (known, container.declared_ports.as_slice()) {
        ([], []) => vec![8080],
        ([], ports) | (ports, _) => ports.to_vec(),
    };
    let list: Vec<String> = ports.iter().map(u16::to_string).collect();
    let text = format!("podwire: stand-in for image {}, listens on port", container.image);
    log.line(host.now(), format!("{text} {}", list.join(", ")));
    let mut opened: Vec<u16> = Vec::new();
    for port in ports {
        if opened.contains(&port) {
            continue;
        }
        opened.push(port);
        let complain = format!("podwire: cannot listen on port {port}: {{error}}");
        let Some(listener) = listen(&host, port, &log, &complain) else {
            // What nobody has asked for need not be there.
            if is_guess {
                continue;
            }
            return 1;
        };
        let container = container.clone();
        let http = at_once(move |request| {
            let body = format!(
                "podwire: stand-in for image {}, Pod {}, port {port}; request from {}\n",
                container.image, container.hostname, request.peer
            );
            Response::new(200, "text/plain; charset=utf-8", body)
        });
        // Whoever asks by gRPC knows that the image would answer.
        let health: grpc::Health = Rc::new(|_| Ok(grpc::SERVING));
        keep(&host, grpc::serve(host.clone(), listener, health, Some(http)));
    }
    until_asked(&host, GRACE).await
}

/// `lab/slow`: answers after `SECONDS` (3).
pub(super) async fn slow(host: Host, container: Container, log: Log) -> i32 {
    let secs = container.var("SECONDS").and_then(|secs| secs.parse().ok()).unwrap_or(3);
    let port = port(&container, "PORT", container.declared_ports.first().copied().unwrap_or(80));
    let complain = format!("listen on port {port}: {{error}}");
    let Some(listener) = listen(&host, port, &log, &complain) else { return 1 };
    log.line(host.now(), format!("listening on port {port}, answers after {secs} s"));
    let clock = host.clone();
    let handler = Rc::new(move |_| {
        let (clock, name) = (clock.clone(), container.hostname.clone());
        let answering = async move {
            clock.sleep(Duration::from_secs(secs)).await;
            Response::new(200, "text/plain; charset=utf-8", format!("{name}, after {secs} s\n"))
        };
        Box::pin(answering) as crate::http::Answering
    });
    keep(&host, serve_slowly(host.clone(), listener, Limits::default(), handler));
    until_asked(&host, GRACE).await
}

/// `python -m http.server [PORT]`: the files of the directory it is in.
pub(super) async fn python(host: Host, container: Container, log: Log) -> i32 {
    let words = container.words();
    let given = words.iter().skip_while(|word| *word != "http.server").nth(1);
    let port = given.and_then(|port| port.parse().ok()).unwrap_or(8000);
    let complain = "OSError: [Errno 98] Address already in use";
    let Some(listener) = listen(&host, port, &log, complain) else { return 1 };
    let at = format!("0.0.0.0 port {port} (http://0.0.0.0:{port}/)");
    log.line(host.now(), format!("Serving HTTP on {at} ..."));
    let clock = host.clone();
    let root = flag(&words, "directory").map(str::to_string);
    let root = root.unwrap_or_else(|| container.working_dir.clone());
    let server = serve(host.clone(), listener, move |request: &Request| {
        let response = python_answer(&container, &root, request);
        let now = Utc::at(clock.now());
        let date = now.access_log().replacen(':', " ", 1).replace(" +0000", "");
        let (peer, line) = (request.peer.ip(), request.line());
        let text = format!("{peer} - - [{date}] \"{line}\" {} -", response.status);
        log.line(clock.now(), text);
        response
    });
    keep(&host, server);
    until_asked(&host, GRACE).await
}

fn python_answer(container: &Container, root: &str, request: &Request) -> Response {
    let index = ["index.html".to_string(), "index.htm".to_string()];
    match find(&container.files, root, request.path(), &index) {
        Found::File(path, content) => {
            let kind = site::media_type(&path).unwrap_or("application/octet-stream");
            Response::new(200, kind, &*content)
        }
        Found::Directory => {
            let mut response = Response::new(301, "text/html", "");
            response.headers.push("Location", format!("{}/", request.path()));
            response
        }
        Found::Listing(_, names) => {
            let title = format!("Directory listing for {}", request.path());
            let items =
                names.iter().map(|name| format!("<li><a href=\"{name}\">{name}</a></li>\n"));
            let items: String = items.collect();
            let page = format!(
                "<!DOCTYPE HTML>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
                 </head>\n<body>\n<h1>{title}</h1>\n<hr>\n<ul>\n{items}</ul>\n<hr>\n</body>\n</html>\n"
            );
            Response::new(200, "text/html; charset=utf-8", page)
        }
        Found::Nothing(_) => {
            let page = "<!DOCTYPE HTML>\n<html lang=\"en\">\n    <head>\n        <meta charset=\"utf-8\">\n        \
                <title>Error response</title>\n    </head>\n    <body>\n        <h1>Error response</h1>\n        \
                <p>Error code: 404</p>\n        <p>Message: File not found.</p>\n        \
                <p>Error code explanation: 404 - Nothing matches the given URI.</p>\n    </body>\n</html>\n";
            Response::new(404, "text/html;charset=utf-8", page)
        }
    }
}
