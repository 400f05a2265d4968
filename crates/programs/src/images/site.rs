//! Files, as a web server gives them out.

use std::rc::Rc;

use base::{Instant, Utc};

use crate::files::Files;
use crate::http::message::decode;
use crate::http::{Request, Response};

/// What is found at a path of a site.
pub(super) enum Found {
    /// A file: its path and its content.
    File(String, Rc<[u8]>),
    /// A directory without a `/` behind it in the request.
    Directory,
    /// A directory without a page for itself: its path, and the names in it.
    Listing(String, Vec<String>),
    /// Nothing: the path that was looked at.
    Nothing(String),
}

/// Looks for a request's path below `root`; `index` are the pages of directories.
pub(super) fn find(files: &Files, root: &str, path: &str, index: &[String]) -> Found {
    let path = normal(path);
    let full = format!("{}{path}", root.trim_end_matches('/'));
    let bare = full.trim_end_matches('/');
    if !path.ends_with('/') {
        if let Some(content) = files.read(&full) {
            return Found::File(full, content);
        }
        let is_directory = files.list(&full).is_some();
        return if is_directory { Found::Directory } else { Found::Nothing(full) };
    }
    for page in index {
        let page = format!("{bare}/{}", page.trim_start_matches('/'));
        if let Some(content) = files.read(&page) {
            return Found::File(page, content);
        }
    }
    match files.list(if bare.is_empty() { "/" } else { bare }) {
        Some(names) => Found::Listing(full, names),
        None => {
            let first = index.first().map(String::as_str).unwrap_or_default();
            Found::Nothing(format!("{bare}/{first}"))
        }
    }
}

/// Without `%41`, `.` and `..`; it begins with a slash, and nothing leads out of it.
pub(super) fn normal(path: &str) -> String {
    let decoded = decode(path);
    let mut parts: Vec<&str> = Vec::new();
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let end = if decoded.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

/// The values of a query by name, in order.
pub(super) fn query(request: &Request) -> Vec<(String, String)> {
    let query = request.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        })
        .collect()
}

/// Types by the ends of names.
const TYPES: &str = "html text/html;htm text/html;css text/css;js application/javascript;\
    json application/json;txt text/plain;xml text/xml;svg image/svg+xml;png image/png;gif image/gif;\
    jpg image/jpeg;jpeg image/jpeg;ico image/x-icon;pdf application/pdf;wasm application/wasm;\
    zip application/zip;woff2 font/woff2";

/// The type of a file, by the end of its name.
pub(super) fn media_type(path: &str) -> Option<&'static str> {
    let (_, end) = path.rsplit('/').next()?.rsplit_once('.')?;
    let known = TYPES.split(';').filter_map(|pair| pair.split_once(' '));
    known.into_iter().find(|(known, _)| end.eq_ignore_ascii_case(known)).map(|(_, kind)| kind)
}

/// When the files of images were made, and how long they are: what their `Last-Modified` and `ETag` say.
pub(super) struct Stamp {
    /// Seconds since 1970.
    pub(super) secs: i64,
    pub(super) len: usize,
}

impl Stamp {
    /// Of a file that somebody has written since the container was started.
    pub(super) fn of(content: &[u8], started: Instant) -> Stamp {
        Stamp { secs: Utc::at(started).unix_secs(), len: content.len() }
    }

    pub(super) fn date(&self) -> String {
        Utc::from_unix(self.secs, 0).http()
    }

    /// nginx's: `"67ff9c07-267"`.
    pub(super) fn etag(&self) -> String {
        format!("\"{:x}-{:x}\"", self.secs, self.len)
    }
}

/// A page in HTML with this status.
pub(super) fn html(status: u16, body: impl Into<Vec<u8>>) -> Response {
    Response::new(status, "text/html", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_a_site() {
        let shown = |path| normal(path);
        assert_eq!(shown("/../../etc/passwd"), "/etc/passwd");
        assert_eq!(shown("/a/./b/%2e%2e/c/"), "/a/c/");
        assert_eq!(shown("//"), "/");
        assert_eq!(shown("/100%"), "/100%");
    }

    #[test]
    fn a_directory_is_its_page_or_its_names() {
        let files = Files::default();
        files.write("/srv/a/index.html", *b"page").unwrap();
        files.write("/srv/b/x.txt", *b"x").unwrap();
        let index = ["index.html".to_string()];
        let kind = |path| match find(&files, "/srv", path, &index) {
            Found::File(path, _) => path,
            Found::Directory => "directory".to_string(),
            Found::Listing(_, names) => names.join(","),
            Found::Nothing(path) => format!("no {path}"),
        };
        assert_eq!(kind("/a/"), "/srv/a/index.html");
        assert_eq!(kind("/a"), "directory");
        assert_eq!(kind("/b/"), "x.txt");
        assert_eq!(kind("/b/x.txt"), "/srv/b/x.txt");
        assert_eq!(kind("/c/"), "no /srv/c/index.html");
        assert_eq!(media_type("/a/b.CSS"), Some("text/css"));
    }
}
