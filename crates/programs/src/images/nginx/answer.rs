//! What nginx answers a request, by the blocks of the configuration that it belongs to.

use base::Utc;

use super::conf::Directive;
use super::{FILES, IMAGE_SECS, Location, Nginx, Server, VERSION};
use crate::http::message::reason;
use crate::http::{Request, Response};
use crate::images::site::{self, Found, Stamp, find};

/// A request in the block of the configuration that it belongs to.
pub(super) struct Scope<'a> {
    pub(super) nginx: &'a Nginx,
    pub(super) request: &'a Request,
    pub(super) server: Option<&'a Server>,
    pub(super) location: Option<&'a Location>,
    /// From the inside out.
    pub(super) blocks: [Option<&'a Directive>; 3],
}

impl Scope<'_> {
    /// A directive of the innermost block that has it.
    pub(super) fn get(&self, name: &str) -> Option<&Directive> {
        self.blocks.iter().flatten().find_map(|block| block.get(name))
    }

    /// What it calls itself (`server_tokens`).
    fn own_name(&self) -> &'static str {
        let is_hidden = self.get("server_tokens").is_some_and(|tokens| tokens.value() == "off");
        if is_hidden { "nginx" } else { VERSION }
    }

    pub(super) fn error_page(&self, status: u16) -> Response {
        error_page(status, self.own_name())
    }

    pub(super) async fn answer(&self) -> Response {
        let returns = self.blocks.iter().take(2).rev().flatten().find_map(|b| b.get("return"));
        if let Some(answer) = returns {
            return self.returned(answer);
        }
        let own = self.location.map(|location| &location.block);
        if own.is_some_and(|block| block.all("deny").any(|deny| deny.value() == "all")) {
            return self.error_page(403);
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
        match self.file() {
            Ok(response) => response,
            Err(name) => self.go_on_in(name).await,
        }
    }

    /// The answer of a location that has a name, `@name`; from such a one it goes nowhere else.
    async fn go_on_in(&self, name: &str) -> Response {
        let all = self.server.map(|server| server.locations.as_slice()).unwrap_or_default();
        let found = all.iter().find(|location| location.path == name);
        let was_sent = self.location.is_some_and(|location| location.path.starts_with('@'));
        let Some(location) = found.filter(|_| !was_sent) else {
            self.complain(&format!("could not find named location \"{name}\""));
            return self.error_page(500);
        };
        let [_, server, http] = self.blocks;
        let blocks = [Some(&location.block), server, http];
        let scope = Scope { location: Some(location), blocks, ..*self };
        Box::pin(scope.answer()).await
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
            (status, None) => self.error_page(status),
        }
    }

    fn redirected(&self, status: u16, location: &str) -> Response {
        let mut response = self.error_page(status);
        let location = match location.starts_with('/') {
            true => format!("http://{}{location}", self.variable("http_host")),
            false => location.to_string(),
        };
        response.headers.push("Location", location);
        response
    }

    /// A file; else the name of the location that is to answer instead.
    fn file(&self) -> Result<Response, &str> {
        let request = self.request;
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Ok(self.error_page(405));
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
        let tries = self.get("try_files").map(|tries| tries.args.as_slice()).unwrap_or_default();
        let mut paths: Vec<String> = vec![path.clone()];
        if !tries.is_empty() {
            paths = tries.iter().map(|tried| self.expand(tried)).collect();
        }
        for tried in &paths {
            if let Some(status) = tried.strip_prefix('=') {
                return Ok(self.error_page(status.parse().unwrap_or(404)));
            }
            match find(files, &root, tried, &index) {
                Found::File(path, content) => return Ok(self.content(&path, &content)),
                Found::Directory if tries.is_empty() => {
                    return Ok(self.redirected(301, &format!("{}/", request.path())));
                }
                Found::Listing(full, _) if tries.is_empty() => {
                    self.complain(&format!("directory index of \"{full}\" is forbidden"));
                    return Ok(self.error_page(403));
                }
                Found::Nothing(full) if tries.is_empty() => {
                    let what = if full.ends_with("/index.html") && path.ends_with('/') {
                        format!("\"{full}\" is not found")
                    } else {
                        format!("open() \"{full}\" failed")
                    };
                    self.complain(&format!("{what} (2: No such file or directory)"));
                    return Ok(self.error_page(404));
                }
                _ => {}
            }
        }
        match tries.last() {
            Some(name) if name.starts_with('@') => Err(name),
            _ => Ok(self.error_page(404)),
        }
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
    pub(super) fn complain(&self, what: &str) {
        self.complain_of(what, "");
    }

    pub(super) fn complain_of(&self, what: &str, upstream: &str) {
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

    pub(super) fn finish(&self, response: &mut Response) {
        let own = std::mem::take(&mut response.headers.0);
        let (kind, rest): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let (modified, rest): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|(name, _)| name == "Last-Modified");
        let headers = &mut response.headers;
        headers.push("Server", self.own_name());
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
}

/// The page of a status that is no success, by a server that calls itself `server`.
pub(in crate::images) fn error_page(status: u16, server: &str) -> Response {
    let reason = match status {
        405 => "Not Allowed",
        302 => "Found",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        status => reason(status),
    };
    let title = format!("{status} {reason}");
    let page = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>{server}</center>\r\n</body>\r\n</html>\r\n"
    );
    let mut response = site::html(status, page);
    response.reason = if status == 302 { "Moved Temporarily" } else { reason }.to_string();
    response
}

/// A line of the access log in nginx's `main` format, which ends with the forwarded address.
pub(super) fn combined(request: &Request, response: &Response, now: Utc) -> String {
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
