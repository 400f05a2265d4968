//! Apache's httpd with its default configuration: the files below `htdocs` on port 80.

use base::Utc;
use netsim::Host;

use super::Container;
use super::site::{self, Found, Stamp, find};
use super::web::{GRACE, keep, listen, own_addr, until_asked};
use crate::http::{Request, Response, serve};
use crate::log::Log;

const VERSION: &str = "Apache/2.4.63 (Unix)";
const ROOT: &str = "/usr/local/apache2/htdocs";
/// The image's page.
const PAGE: &str = "<html><body><h1>It works!</h1></body></html>\n";

/// The program of the image.
pub(super) async fn httpd(host: Host, container: Container, log: Log) -> i32 {
    container.files.bake(&format!("{ROOT}/index.html"), PAGE.as_bytes());
    let complain =
        "(98)Address already in use: AH00072: make_sock: could not bind to address 0.0.0.0:80";
    let Some(listener) = listen(&host, 80, &log, complain) else { return 1 };
    greet(&host, &log);
    let (clock, started) = (host.clone(), host.now());
    let server = serve(host.clone(), listener, move |request| {
        let now = Utc::at(clock.now());
        let mut response = answer(&container, request, started);
        finish(&mut response, request, now);
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
    keep(&host, server);
    until_asked(&host, GRACE).await
}

fn greet(host: &Host, log: &Log) {
    let name = format!(
        "AH00558: httpd: Could not reliably determine the server's fully qualified domain name, using {}. Set the 'ServerName' directive globally to suppress this message",
        own_addr(host)
    );
    let now = Utc::at(host.now());
    let date = now.ctime();
    let date = date.replace(
        &format!(" {}", now.time_of_day().split('.').next().unwrap_or_default()),
        &format!(" {}", now.time_of_day()),
    );
    let started = format!("AH00489: {VERSION} configured -- resuming normal operations");
    let command = "AH00094: Command line: 'httpd -D FOREGROUND'";
    log.line(host.now(), name.clone());
    log.line(host.now(), name);
    log.line(host.now(), format!("[{date}] [mpm_event:notice] [pid 1:tid 1] {started}"));
    log.line(host.now(), format!("[{date}] [core:notice] [pid 1:tid 1] {command}"));
}

fn answer(container: &Container, request: &Request, started: base::Instant) -> Response {
    let path = request.path();
    match find(&container.files, ROOT, path, &["index.html".to_string()]) {
        Found::File(path, content) => {
            let kind = site::media_type(&path).unwrap_or("text/plain");
            let mut response = Response::new(200, kind, &*content);
            let stamp = Stamp::of(&content, started);
            // The image's page is from 2007, as everybody knows who has seen its headers.
            let (date, etag) = match *content == *PAGE.as_bytes() {
                true => (
                    "Mon, 11 Jun 2007 18:53:14 GMT".to_string(),
                    "\"2d-432a5e4a73a80\"".to_string(),
                ),
                false => {
                    (stamp.date(), format!("\"{:x}-{:x}\"", stamp.len, stamp.secs * 1_000_000))
                }
            };
            response.headers.push("Last-Modified", date);
            response.headers.push("ETag", etag);
            response.headers.push("Accept-Ranges", "bytes");
            response
        }
        Found::Directory => {
            let host = request.headers.get("host").unwrap_or("localhost");
            let location = format!("http://{host}{path}/");
            let text = format!("<p>The document has moved <a href=\"{location}\">here</a>.</p>\n");
            let mut response = page(301, "Moved Permanently", &text);
            response.headers.push("Location", location);
            response
        }
        Found::Listing(_, names) => {
            let items =
                names.iter().map(|name| format!("<li><a href=\"{name}\"> {name}</a></li>\n"));
            let items: String = items.collect();
            let title = format!("Index of {}", path.trim_end_matches('/'));
            let title = if path == "/" { "Index of /".to_string() } else { title };
            let text = format!(
                "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2 Final//EN\">\n<html>\n <head>\n  <title>{title}</title>\n \
                 </head>\n <body>\n<h1>{title}</h1>\n<ul>{items}</ul>\n</body></html>\n"
            );
            Response::new(200, "text/html;charset=ISO-8859-1", text)
        }
        Found::Nothing(_) => {
            page(404, "Not Found", "<p>The requested URL was not found on this server.</p>\n")
        }
    }
}

fn page(status: u16, title: &str, text: &str) -> Response {
    let body = format!(
        "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>{status} {title}</title>\n\
         </head><body>\n<h1>{title}</h1>\n{text}</body></html>\n"
    );
    Response::new(status, "text/html; charset=iso-8859-1", body)
}

/// Its own fields first, the type last.
fn finish(response: &mut Response, request: &Request, now: Utc) {
    let own = std::mem::take(&mut response.headers.0);
    let (kind, rest): (Vec<_>, Vec<_>) =
        own.into_iter().partition(|(name, _)| name == "Content-Type");
    let headers = &mut response.headers;
    headers.push("Date", now.http());
    headers.push("Server", VERSION);
    headers.0.extend(rest);
    headers.push("Content-Length", response.body.len().to_string());
    if !request.keeps_alive() {
        headers.push("Connection", "close");
    }
    headers.0.extend(kind);
}
