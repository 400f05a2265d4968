//! Requests and responses, in and out of bytes.

use std::net::SocketAddrV4;

/// Longest head of a message, in bytes; longer ones are refused.
pub const HEAD_MAX: usize = 64 * 1024;
/// Longest body of a message, in bytes; longer ones are cut off.
pub const BODY_MAX: usize = 16 * 1024 * 1024;
/// Header fields of a message at most.
const FIELDS_MAX: usize = 100;

/// Header fields in the order in which they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first field of this name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_string(), value.into()));
    }

    /// Takes all fields of this name away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// One of the words of a comma-separated field is `word`.
    pub fn has_word(&self, name: &str, word: &str) -> bool {
        self.get(name).is_some_and(|v| v.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    fn read(fields: &[httparse::Header<'_>]) -> Headers {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        Headers(fields.iter().map(|f| (f.name.to_string(), text(f.value))).collect())
    }

    fn content_length(&self) -> Option<usize> {
        self.get("content-length")?.trim().parse().ok()
    }

    /// The length that a request announces; an error where the fields contradict each other or are no
    /// numbers (RFC 9112 §6.3).
    fn request_length(&self) -> Result<usize, Malformed> {
        let mut lengths =
            self.0.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let Some((_, first)) = lengths.next() else { return Ok(0) };
        if lengths.any(|(_, other)| other != first) {
            return Err(Malformed);
        }
        let digits = first.trim();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Malformed);
        }
        // A number that no machine could hold is a body that is too long.
        Ok(digits.parse().unwrap_or(usize::MAX))
    }
}

/// A request as a server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET` and the like.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// HTTP/1.0 is 0, HTTP/1.1 is 1.
    pub minor_version: u8,
    /// Header fields.
    pub headers: Headers,
    /// Body.
    pub body: Vec<u8>,
    /// Who asks, as the server's socket sees it.
    pub peer: SocketAddrV4,
    /// Where it was asked.
    pub local: SocketAddrV4,
}

impl Request {
    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or_default()
    }

    /// `GET / HTTP/1.1`
    pub fn line(&self) -> String {
        format!("{} {} HTTP/1.{}", self.method, self.target, self.minor_version)
    }

    /// The connection stays open after the answer.
    pub(crate) fn keeps_alive(&self) -> bool {
        match self.minor_version {
            0 => self.headers.has_word("connection", "keep-alive"),
            _ => !self.headers.has_word("connection", "close"),
        }
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// For instance 200.
    pub status: u16,
    /// For instance `OK`.
    pub reason: String,
    /// Header fields; the length of the body is added when it is sent.
    pub headers: Headers,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// `status` with the usual reason, and a body of `content_type`.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Response {
        let mut headers = Headers::default();
        headers.push("Content-Type", content_type);
        Response { status, reason: reason(status).to_string(), headers, body: body.into() }
    }

    /// The status line and the header fields.
    pub fn head(&self) -> Vec<u8> {
        let mut out = format!("HTTP/1.1 {} {}\r\n", self.status, self.reason).into_bytes();
        self.headers.write(&mut out);
        out
    }
}

/// The usual reason phrase (RFC 9110 §15).
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        100 => "Continue",
        206 => "Partial Content",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}

/// `%41` as `A`, `+` as itself.
pub(crate) fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        let (byte, rest) = (*byte, bytes.as_slice());
        let hex = rest.get(..2).filter(|hex| byte == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                bytes.nth(1);
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The bytes are not an HTTP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// How the end of a request's body is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    Length(usize),
    Chunked,
}

/// Reads the head of a request, if it is all there: the request without body, the length of its head, and how
/// its body ends.
pub(crate) fn parse_request(
    bytes: &[u8],
    peer: SocketAddrV4,
    local: SocketAddrV4,
) -> Result<Option<(Request, usize, BodyFraming)>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let head_len = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX => return Ok(None),
        _ => return Err(Malformed),
    };
    let headers = Headers::read(parsed.headers);
    let framing = match headers.get("transfer-encoding") {
        Some(coding) if coding.trim().eq_ignore_ascii_case("chunked") => BodyFraming::Chunked,
        Some(_) => return Err(Malformed),
        None => BodyFraming::Length(headers.request_length()?),
    };
    let request = Request {
        method: parsed.method.unwrap_or_default().to_string(),
        target: parsed.path.unwrap_or_default().to_string(),
        minor_version: parsed.version.unwrap_or(1),
        headers,
        body: Vec::new(),
        peer,
        local,
    };
    Ok(Some((request, head_len, framing)))
}

/// How the end of a response's body is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// Reads the head of a response, if it is all there: the response without body, the length of its head,
/// and how its body ends. `to_head`: it answers a HEAD request and has no body.
pub(crate) fn parse_response(
    bytes: &[u8],
    to_head: bool,
) -> Result<Option<(Response, u8, usize, Framing)>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    let head_len = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX => return Ok(None),
        _ => return Err(Malformed),
    };
    let headers = Headers::read(parsed.headers);
    let status = parsed.code.unwrap_or_default();
    let framing = if to_head || status == 204 || status == 304 || status / 100 == 1 {
        Framing::Length(0)
    } else if headers.has_word("transfer-encoding", "chunked") {
        Framing::Chunked
    } else {
        headers
            .content_length()
            .map_or(Framing::UntilClose, |len| Framing::Length(len.min(BODY_MAX)))
    };
    let reason = parsed.reason.unwrap_or_default().to_string();
    let response = Response { status, reason, headers, body: Vec::new() };
    Ok(Some((response, parsed.version.unwrap_or(1), head_len, framing)))
}

/// Writes a chunk; nothing for an empty one, which would end the body.
pub(crate) fn put_chunk(out: &mut Vec<u8>, chunk: &[u8]) {
    if !chunk.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
}

/// Takes complete chunks from the beginning of `bytes` to `body`; says how many bytes were used up, and
/// whether the last chunk was among them (RFC 9112 §7.1).
pub(crate) fn take_chunks(bytes: &[u8], body: &mut Vec<u8>) -> Result<(usize, bool), Malformed> {
    let mut used = 0;
    while let Some(rest) = bytes.get(used..) {
        let (head, len) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(chunk)) => chunk,
            Ok(httparse::Status::Partial) => break,
            Err(_) => return Err(Malformed),
        };
        let len = usize::try_from(len).map_err(|_| Malformed)?;
        let end = head.checked_add(len).ok_or(Malformed)?;
        let Some(data) = rest.get(head..end) else { break };
        if rest.len() < end + 2 {
            break;
        }
        if body.len() + len > BODY_MAX {
            return Err(Malformed);
        }
        body.extend_from_slice(data);
        used += end + 2;
        if len == 0 {
            return Ok((used, true));
        }
    }
    Ok((used, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0);

    #[test]
    fn requests_arrive_in_pieces() {
        let bytes = b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
        for cut in 0..bytes.len() - 3 {
            assert_eq!(parse_request(&bytes[..cut], NOWHERE, NOWHERE), Ok(None));
        }
        let (request, head, body) = parse_request(bytes, NOWHERE, NOWHERE).unwrap().unwrap();
        assert_eq!((head, body), (bytes.len() - 3, BodyFraming::Length(3)));
        assert_eq!((request.path(), request.line().as_str()), ("/a", "POST /a?b HTTP/1.1"));
        assert!(request.keeps_alive());
        assert_eq!(parse_request(b"\0\0\r\n\r\n", NOWHERE, NOWHERE), Err(Malformed));
    }

    #[test]
    fn what_is_written_with_percents_is_read_and_nothing_else() {
        for (text, meant) in [
            ("a%20b%C3%A9", "a bé"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%ff", "\u{fffd}"),
            ("%+1", "%+1"),
        ] {
            assert_eq!(decode(text), meant, "{text}");
        }
    }

    #[test]
    fn bodies_end_by_length_by_chunks_or_by_close() {
        let framing = |head: &str| {
            let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n");
            parse_response(text.as_bytes(), false).unwrap().unwrap().3
        };
        assert_eq!(framing("Content-Length: 5\r\n"), Framing::Length(5));
        assert_eq!(framing("Transfer-Encoding: chunked\r\n"), Framing::Chunked);
        assert_eq!(framing(""), Framing::UntilClose);
        let mut body = Vec::new();
        assert_eq!(take_chunks(b"3\r\nabc\r\n2\r\nd", &mut body), Ok((8, false)));
        assert_eq!(take_chunks(b"2\r\nde\r\n0\r\n\r\n", &mut body), Ok((12, true)));
        assert_eq!(body, b"abcde");
        assert_eq!(take_chunks(b"zz\r\n", &mut body), Err(Malformed));
    }
}
