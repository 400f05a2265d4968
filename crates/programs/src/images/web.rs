//! Web servers.

use std::net::{Ipv4Addr, SocketAddrV4};

use base::{Duration, Utc};
use netsim::{Host, TcpListener};

use super::{Container, until_terminated};
use crate::http::message::reason;
use crate::http::{Request, Response, serve};
use crate::log::Log;

/// How long a web server takes to end after SIGTERM.
const GRACE: Duration = Duration::from_millis(200);

const NGINX_PAGE: &str = include_str!("nginx.html");

/// Apache's page: `<html><body><h1>It works!</h1></body></html>`.
const APACHE_PAGE: &str = "<html><body><h1>It works!</h1></body></html>\n";

fn any(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)
}

/// Listens, or prints why not.
fn listen(host: &Host, port: u16, log: &Log, complain: &str) -> Option<TcpListener> {
    match host.listen(any(port)) {
        Ok(listener) => Some(listener),
        Err(error) => {
            log.line(host.now(), complain.replace("{error}", &error.to_string()));
            None
        }
    }
}

/// nginx with its default configuration: the welcome page on port 80.
pub(super) async fn nginx(host: Host, container: Container, log: Log) -> i32 {
    let unprivileged = container.image.contains("unprivileged");
    let port = if unprivileged { 8080 } else { 80 };
    let complain = format!("nginx: [emerg] bind() to 0.0.0.0:{port} failed (98: {{error}})");
    let Some(listener) = listen(&host, port, &log, &complain) else { return 1 };
    let clock = host.clone();
    let server = serve(host.clone(), listener, move |request| {
        let response = nginx_answer(request, Utc::at(clock.now()));
        log.line(clock.now(), combined(request, &response, Utc::at(clock.now())));
        response
    });
    until_terminated(&host, server, GRACE).await
}

fn nginx_answer(request: &Request, now: Utc) -> Response {
    let (status, body) = match (request.method.as_str(), request.path()) {
        ("GET" | "HEAD", "/" | "/index.html") => (200, NGINX_PAGE.to_string()),
        ("GET" | "HEAD", _) => (404, nginx_error(404)),
        _ => (405, nginx_error(405)),
    };
    let mut response = Response::new(status, "text/html", body);
    let content_type = std::mem::take(&mut response.headers.0);
    let headers = &mut response.headers;
    headers.push("Server", "nginx/1.27.5");
    headers.push("Date", now.http());
    headers.0.extend(content_type);
    headers.push("Content-Length", response.body.len().to_string());
    if status == 200 {
        headers.push("Last-Modified", "Wed, 16 Apr 2025 12:01:11 GMT");
    }
    headers.push("Connection", if request.keeps_alive() { "keep-alive" } else { "close" });
    if status == 200 {
        headers.push("ETag", "\"67ff9c07-267\"");
        headers.push("Accept-Ranges", "bytes");
    }
    response
}

fn nginx_error(status: u16) -> String {
    let title = format!("{status} {}", reason(status).replace("Method Not Allowed", "Not Allowed"));
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>nginx/1.27.5</center>\r\n</body>\r\n</html>\r\n"
    )
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

/// Apache's httpd with its default configuration: "It works!" on port 80.
pub(super) async fn httpd(host: Host, log: Log) -> i32 {
    let complain =
        "(98)Address already in use: AH00072: make_sock: could not bind to address 0.0.0.0:80";
    let Some(listener) = listen(&host, 80, &log, complain) else { return 1 };
    let clock = host.clone();
    let server = serve(host.clone(), listener, move |request| {
        let now = Utc::at(clock.now());
        let response = httpd_answer(request, now);
        let line = format!(
            "{} - - [{}] \"{}\" {} {}",
            request.peer.ip(),
            now.access_log(),
            request.line(),
            response.status,
            response.body.len()
        );
        log.line(clock.now(), line);
        response
    });
    until_terminated(&host, server, GRACE).await
}

fn httpd_answer(request: &Request, now: Utc) -> Response {
    let is_page = matches!(request.path(), "/" | "/index.html");
    let (status, content_type, body) = if is_page {
        (200, "text/html", APACHE_PAGE)
    } else {
        (
            404,
            "text/html; charset=iso-8859-1",
            "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>404 Not Found</title>\n\
             </head><body>\n<h1>Not Found</h1>\n<p>The requested URL was not found on this server.</p>\n</body></html>\n",
        )
    };
    let mut response = Response::new(status, content_type, body);
    let content_type = std::mem::take(&mut response.headers.0);
    let headers = &mut response.headers;
    headers.push("Date", now.http());
    headers.push("Server", "Apache/2.4.63 (Unix)");
    if is_page {
        headers.push("Last-Modified", "Mon, 11 Jun 2007 18:53:14 GMT");
        headers.push("ETag", "\"2d-432a5e4a73a80\"");
        headers.push("Accept-Ranges", "bytes");
    }
    headers.push("Content-Length", response.body.len().to_string());
    if !request.keeps_alive() {
        headers.push("Connection", "close");
    }
    headers.0.extend(content_type);
    response
}

/// The value after `-name` or `--name`, also as `-name=value`.
fn flag<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
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

/// The port of `:5678` or `0.0.0.0:5678`.
fn port_of(listen: &str) -> Option<u16> {
    listen.rsplit(':').next()?.parse().ok()
}

/// hashicorp/http-echo: answers with its `-text`, on its `-listen` (default :5678).
pub(super) async fn http_echo(host: Host, container: Container, log: Log) -> i32 {
    let args: Vec<String> = container.command.iter().chain(&container.args).cloned().collect();
    let env = |name: &str| {
        container.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let Some(text) = flag(&args, "text").map(str::to_string).or_else(|| env("ECHO_TEXT")) else {
        log.line(host.now(), "Missing -text option or ECHO_TEXT env var!");
        return 127;
    };
    let port = flag(&args, "listen").map_or(Some(5678), port_of).unwrap_or(5678);
    let complain = format!("listen tcp 0.0.0.0:{port}: bind: {{error}}");
    let Some(listener) = listen(&host, port, &log, &complain) else { return 1 };
    log.line(host.now(), format!("[INFO] server is listening on :{port}"));
    let clock = host.clone();
    let server = serve(host.clone(), listener, move |_| {
        let mut response = Response::new(200, "text/plain; charset=utf-8", format!("{text}\n"));
        response.headers.push("X-App-Name", "http-echo");
        response.headers.push("X-App-Version", "1.0.0");
        response.headers.push("Date", Utc::at(clock.now()).http());
        response
    });
    until_terminated(&host, server, GRACE).await
}

/// traefik/whoami: says who answers, who asked, and with what headers.
pub(super) async fn whoami(host: Host, container: Container, log: Log) -> i32 {
    let port = flag(&container.args, "port").and_then(|port| port.parse().ok()).unwrap_or(80);
    let complain = format!("listen tcp :{port}: bind: {{error}}");
    let Some(listener) = listen(&host, port, &log, &complain) else { return 1 };
    log.line(host.now(), format!("Starting up on port {port}"));
    let addrs: Vec<String> = host
        .net()
        .ifaces(host.ns())
        .iter()
        .flat_map(|iface| iface.addrs.iter().map(|cidr| format!("IP: {}\n", cidr.addr)))
        .collect();
    let clock = host.clone();
    let server = serve(host.clone(), listener, move |request| {
        let fields: String =
            request.headers.0.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let body = format!(
            "Hostname: {}\n{}RemoteAddr: {}\n{}\n{fields}\n",
            container.hostname,
            addrs.concat(),
            request.peer,
            request.line(),
        );
        let mut response = Response::new(200, "text/plain; charset=utf-8", body);
        response.headers.push("Date", Utc::at(clock.now()).http());
        response
    });
    until_terminated(&host, server, GRACE).await
}

/// Stands for an image that is not known: a server on the ports that the container declares (8080 if
/// none), which says so.
pub(super) async fn generic(host: Host, container: Container, log: Log) -> i32 {
    let ports = match container.declared_ports.as_slice() {
        [] => vec![8080],
        ports => ports.to_vec(),
    };
    for port in ports {
        let complain = format!("podwire: cannot listen on port {port}: {{error}}");
        let Some(listener) = listen(&host, port, &log, &complain) else { return 1 };
        let container = container.clone();
        let server = serve(host.clone(), listener, move |request| {
            let body = format!(
                "podwire: stand-in for image {}, Pod {}, port {port}; request from {}\n",
                container.image, container.hostname, request.peer
            );
            Response::new(200, "text/plain; charset=utf-8", body)
        });
        host.spawn(server);
    }
    until_terminated(&host, std::future::pending(), GRACE).await
}
