//! A server of files, as dumb as the dumbest host: the page must work from it, under any path.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The path that stands before every file.
pub(crate) const PREFIX: &str = "/some/where/";

/// Serves the files under `root` on a free port, for as long as this process lives. Gives the port.
pub(crate) fn serve(root: PathBuf) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let root = root.clone();
            // A browser opens several connections, and may leave one silent.
            thread::spawn(move || answer(stream, &root));
        }
    });
    Ok(port)
}

/// Answers one request and closes. If the browser has gone, nobody misses the answer.
fn answer(mut stream: TcpStream, root: &Path) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(&stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let file = target(&request).and_then(|path| locate(root, path));
    let file = file.and_then(|path| Some((kind(&path), fs::read(path).ok()?)));
    let (status, kind, body) = match file {
        Some((kind, body)) => ("200 OK", kind, body),
        None => ("404 Not Found", "text/plain", b"no such file\n".to_vec()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n",
        body.len()
    )?;
    stream.write_all(b"Cache-Control: no-store\r\nConnection: close\r\n\r\n")?;
    stream.write_all(&body)
}

/// The path of `GET PATH HTTP/1.1`.
fn target(request: &str) -> Option<&str> {
    request.strip_prefix("GET ")?.split(' ').next()
}

/// The file for a path of a URL; never one outside `root`.
fn locate(root: &Path, path: &str) -> Option<PathBuf> {
    let path = path.split(['?', '#']).next()?.strip_prefix(PREFIX)?;
    let is_safe = |part: &str| part != ".." && !part.contains(['\\', '%', ':']);
    if !path.split('/').all(is_safe) || path.starts_with('/') {
        return None;
    }
    Some(root.join(if path.is_empty() { "index.html" } else { path }))
}

/// WebAssembly is compiled while it loads only under its own type.
fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn only_files_under_the_root_are_found() {
        let root = Path::new("dist");
        let found = |path| locate(root, path);
        assert_eq!(found("/some/where/"), Some(root.join("index.html")));
        assert_eq!(found("/some/where/a/b.js?v=1"), Some(root.join("a/b.js")));
        for path in
            ["/", "/index.html", "/some/where", "/some/where//etc/passwd", "/some/where/../a"]
        {
            assert_eq!(found(path), None, "{path}");
        }
        for path in ["/some/where/%2e%2e/a", "/some/where/..\\a", "/some/where/a/../../b"] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn other_methods_have_no_target() {
        assert_eq!(target("GET /a HTTP/1.1"), Some("/a"));
        assert_eq!(target("POST /a HTTP/1.1"), None);
        assert_eq!(target(""), None);
    }

    fn get(port: u16, path: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn files_are_served_with_their_kind() {
        let port = serve(Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()).unwrap();
        let found = get(port, "/some/where/Cargo.toml");
        assert!(found.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"));
        assert!(found.contains("\r\n\r\n[package]\n"));
        assert!(get(port, "/Cargo.toml").starts_with("HTTP/1.1 404 "));
    }
}
