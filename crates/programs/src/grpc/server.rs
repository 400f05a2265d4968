//! Answers health checks, as a server of grpc-go does that has registered nothing else.

use std::rc::Rc;

use netsim::{Host, TcpListener};

use super::client::is_grpc;
use super::http2::{self, Broken, Connection, Event, What, code, kind, put, put_headers};
use super::{CHECK, CONTENT_TYPE, MESSAGE_MAX, Status, field_1, framed, unframed};
use crate::http::Headers;
use crate::http::server::{Handler, Limits, answer as answer_http};

/// The status of a service ([`super::SERVING`] and others), or why there is none.
pub type Health = Rc<dyn Fn(&str) -> Result<u64, Status>>;

/// Calls that may be going on at once on one connection.
const CALLS_MAX: usize = 100;
/// Characters of an error that a client is told.
const MESSAGE_CHARS_MAX: usize = 1000;

/// Answers health checks on every connection that `listener` accepts; and, where there is a handler, HTTP/1.1 as
/// well: by how a client begins it is known which of them it speaks.
pub async fn serve(host: Host, listener: TcpListener, health: Health, http: Option<Handler>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (here, health, http) = (host.clone(), health.clone(), http.clone());
        host.spawn(async move {
            let Some(http) = http else {
                let _ = talk(Connection::new(stream, Vec::new()), &health).await;
                return;
            };
            let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
            while received.len() < http2::PREFACE.len() && http2::PREFACE.starts_with(&received) {
                let Ok(read @ 1..) = stream.read(&mut chunk).await else { return };
                received.extend_from_slice(chunk.get(..read).unwrap_or_default());
            }
            if received.starts_with(http2::PREFACE) {
                let _ = talk(Connection::new(stream, received), &health).await;
            } else {
                answer_http(here, stream, received, Limits::default(), &http).await;
            }
        });
    }
}

/// A call of which not everything has come.
struct Call {
    id: u32,
    fields: Headers,
    body: Vec<u8>,
}

/// Answers call after call until the client goes.
async fn talk(mut connection: Connection, health: &Health) -> Result<(), Broken> {
    let mut out = Vec::new();
    // SETTINGS_MAX_CONCURRENT_STREAMS
    let most = [&[0, 3, 0, 0, 0], &[CALLS_MAX as u8][..]].concat();
    put(&mut out, kind::SETTINGS, 0, 0, &most);
    connection.write(&out).await?;
    connection.preface().await?;
    connection.settings().await?;
    let (mut calls, mut newest): (Vec<Call>, u32) = (Vec::new(), 0);
    loop {
        let Event { id, is_last, what } = connection.next().await?;
        let at = calls.iter().position(|call| call.id == id);
        let is_new = at.is_none() && id > newest;
        let mut out = Vec::new();
        match (what, at.and_then(|at| calls.get_mut(at))) {
            (What::Headers(fields), None) if is_new && id % 2 == 1 => {
                newest = id;
                if calls.len() < CALLS_MAX {
                    calls.push(Call { id, fields, body: Vec::new() });
                } else {
                    put_reset(&mut out, id, code::REFUSED_STREAM);
                }
            }
            // More of a message than is taken is not kept: its head says that it is too long.
            (What::Data(data), Some(call)) => {
                if call.body.len() <= MESSAGE_MAX {
                    call.body.extend_from_slice(&data);
                }
            }
            (What::Reset(_), Some(_)) => calls.retain(|call| call.id != id),
            // After the body: nothing that is looked at.
            (What::Headers(_), Some(_)) if is_last => {}
            (What::Data(_), None) if !is_new => put_reset(&mut out, id, code::STREAM_CLOSED),
            (What::Reset(_), None) if !is_new => {}
            _ => {
                connection.go_away(code::PROTOCOL_ERROR, b"").await;
                return Ok(());
            }
        }
        if is_last && let Some(at) = calls.iter().position(|call| call.id == id) {
            answer(&mut out, &calls.remove(at), health);
        }
        if !out.is_empty() {
            connection.write(&out).await?;
        }
    }
}

fn put_reset(out: &mut Vec<u8>, id: u32, code: u32) {
    put(out, kind::RST_STREAM, 0, id, &code.to_be_bytes());
}

/// Answers a call of which everything has come.
fn answer(out: &mut Vec<u8>, call: &Call, health: &Health) {
    let (http, answered) = call.result(health);
    let serving = match answered {
        Ok(serving) => serving,
        Err(status) => {
            let (code, message) = (status.code.to_string(), escaped(&status.message));
            let fields = [
                (":status", http),
                ("content-type", CONTENT_TYPE),
                ("grpc-status", &code),
                ("grpc-message", &message),
            ];
            return put_headers(out, call.id, true, &fields);
        }
    };
    put_headers(out, call.id, false, &[(":status", http), ("content-type", CONTENT_TYPE)]);
    // 0 is not written.
    let message: &[u8] = if serving == 0 { &[] } else { &[0x08, serving as u8 & 0x7f] };
    put(out, kind::DATA, 0, call.id, &framed(message));
    put_headers(out, call.id, true, &[("grpc-status", "0"), ("grpc-message", "")]);
}

impl Call {
    /// The status of HTTP, and what the call comes to (`internal/transport/http2_server.go`, `server.go`).
    fn result(&self, health: &Health) -> (&'static str, Result<u64, Status>) {
        let field = |name| self.fields.get(name).unwrap_or_default();
        let (content_type, method) = (field("content-type"), field(":method"));
        if !is_grpc(content_type) {
            let why = format!("invalid gRPC request content-type {content_type:?}");
            return ("415", Err(Status::new(Status::INVALID_ARGUMENT, why)));
        }
        if method != "POST" {
            let why =
                format!("Received a HEADERS frame with :method {method:?} which should be POST");
            return ("405", Err(Status::new(Status::INTERNAL, why)));
        }
        ("200", self.check(field(":path"), health))
    }

    fn check(&self, path: &str, health: &Health) -> Result<u64, Status> {
        if path != CHECK {
            let split = path.strip_prefix('/').unwrap_or(path).rsplit_once('/');
            let why = match split {
                None => format!("malformed method name: {path:?}"),
                Some((service, method))
                    if CHECK
                        .get(1..)
                        .is_some_and(|known| known.starts_with(&format!("{service}/"))) =>
                {
                    format!("unknown method {method} for service {service}")
                }
                Some((service, _)) => format!("unknown service {service}"),
            };
            return Err(Status::new(Status::UNIMPLEMENTED, why));
        }
        let message = unframed(&self.body)?;
        let message = message.ok_or_else(|| Status::new(Status::INTERNAL, "EOF"))?;
        let service = field_1(message).and_then(|(_, name)| std::str::from_utf8(name).ok());
        let service = service.ok_or_else(|| {
            let why =
                "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data";
            Status::new(Status::INTERNAL, why)
        })?;
        health(service)
    }
}

/// A message as it stands in a header field: what is not printable as `%0A` (gRPC over HTTP2,
/// "Percent-Encoded").
fn escaped(message: &str) -> String {
    let mut out = String::new();
    for c in message.chars().take(MESSAGE_CHARS_MAX) {
        if matches!(c, ' '..='~') && c != '%' {
            out.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
