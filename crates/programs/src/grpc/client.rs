//! Asks a server whether it serves, as grpc-go does.

use std::net::SocketAddrV4;

use base::Duration;
use netsim::{Host, TcpStream};

use super::http2::{self, Broken, Connection, What, code, code_name, kind, put, put_headers};
use super::{CHECK, CONTENT_TYPE, MESSAGE_MAX, Status, field_1, framed, request, unframed};
use crate::http::Headers;
use crate::http::message::{decode, reason};

/// How long grpc-go waits before it connects again: at first, and at most (`backoff.DefaultConfig`); each time it
/// is 1.6 times as long. Without jitter.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));

/// Opens a connection, again and again until one stands: until the other side has sent its settings.
pub async fn connect(host: &Host, addr: SocketAddrV4) -> Connection {
    let (mut wait, longest) = WAITS;
    loop {
        if let Ok(stream) = host.connect(addr).await
            && let Ok(connection) = begin(stream).await
        {
            return connection;
        }
        host.sleep(wait).await;
        wait = (wait * 8 / 5).min(longest);
    }
}

async fn begin(stream: TcpStream) -> Result<Connection, Broken> {
    let mut connection = Connection::new(stream, Vec::new());
    let mut out = http2::PREFACE.to_vec();
    put(&mut out, kind::SETTINGS, 0, 0, &[]);
    connection.write(&out).await?;
    connection.settings().await?;
    Ok(connection)
}

/// Makes the one call for which a connection was opened, and closes it: the status that a service has. `limit`:
/// how long the caller is going to wait, which the server is told.
pub async fn check(
    mut connection: Connection,
    service: &str,
    agent: &str,
    limit: Duration,
) -> Result<u64, Status> {
    let peer = connection.stream().peer_addr();
    let authority = peer.map(|addr| addr.to_string()).unwrap_or_default();
    let message = framed(&request(service));
    if message.len() > MESSAGE_MAX {
        let why =
            format!("trying to send message larger than max ({} vs. {MESSAGE_MAX})", message.len());
        return Err(Status::new(Status::RESOURCE_EXHAUSTED, why));
    }
    let agent = format!("{agent} grpc-go/1.72.2");
    // Eight digits at most (gRPC over HTTP2, "Timeout").
    let limit = match limit.as_micros() {
        micros @ ..100_000_000 => format!("{micros}u"),
        _ => format!("{}S", limit.as_secs().min(99_999_999)),
    };
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", CHECK),
        (":authority", &authority),
        ("content-type", CONTENT_TYPE),
        ("user-agent", &agent),
        ("te", "trailers"),
        ("grpc-timeout", &limit),
    ];
    let mut out = Vec::new();
    put_headers(&mut out, 1, false, &fields);
    put(&mut out, kind::DATA, http2::END_STREAM, 1, &message);
    let answered = match connection.write(&out).await {
        Ok(()) => answer(&mut connection).await,
        Err(broken) => Err(lost(&connection, broken)),
    };
    connection.go_away(code::NO_ERROR, b"client transport shutdown").await;
    answered
}

/// Reads the answer to the call (`internal/transport/http2_client.go`).
async fn answer(connection: &mut Connection) -> Result<u64, Status> {
    let (mut body, mut has_begun) = (Vec::new(), false);
    loop {
        let event = match connection.next().await {
            Ok(event) => event,
            Err(broken) => return Err(lost(connection, broken)),
        };
        if event.id != 1 {
            continue;
        }
        match event.what {
            What::Headers(fields) => {
                if !has_begun {
                    begins_well(&fields)?;
                } else if !event.is_last {
                    let why = "a HEADERS frame cannot appear in the middle of a stream";
                    return Err(Status::new(Status::INTERNAL, why));
                }
                has_begun = true;
                if event.is_last {
                    return ends(&fields, &body);
                }
            }
            What::Data(data) => {
                body.extend_from_slice(&data);
                if body.len() > MESSAGE_MAX {
                    unframed(&body)?;
                }
                if event.is_last || body.len() > 2 * MESSAGE_MAX {
                    let why = "server closed the stream without sending trailers";
                    return Err(Status::new(Status::INTERNAL, why));
                }
            }
            What::Reset(code) => return Err(reset(code)),
        }
    }
}

/// The first header fields are those of gRPC.
fn begins_well(fields: &Headers) -> Result<(), Status> {
    let mut wrong = Vec::new();
    let mut code = Status::INTERNAL;
    match fields.get(":status") {
        None => wrong.push("malformed header: missing HTTP status".to_string()),
        Some(status) => {
            code = match status {
                "400" => Status::INTERNAL,
                "401" => Status::UNAUTHENTICATED,
                "403" => Status::PERMISSION_DENIED,
                "404" => Status::UNIMPLEMENTED,
                "429" | "502" | "503" | "504" => Status::UNAVAILABLE,
                _ => Status::UNKNOWN,
            };
            if status != "200" {
                let phrase = reason(status.parse().unwrap_or(0));
                wrong.push(format!(
                    "unexpected HTTP status code received from server: {status} ({phrase})"
                ));
            }
        }
    }
    match fields.get("content-type") {
        None => wrong.push("malformed header: missing HTTP content-type".to_string()),
        Some(found) if !is_grpc(found) => {
            wrong.push(format!("transport: received unexpected content-type {found:?}"));
        }
        Some(_) => {}
    }
    if wrong.is_empty() { Ok(()) } else { Err(Status::new(code, wrong.join("; "))) }
}

/// `application/grpc`, also with what the messages are written in (`grpcutil.ContentSubtype`).
pub(super) fn is_grpc(content_type: &str) -> bool {
    let rest = content_type.strip_prefix(CONTENT_TYPE);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

/// What the last header fields and the body before them come to.
fn ends(fields: &Headers, body: &[u8]) -> Result<u64, Status> {
    let code = fields.get("grpc-status").map_or(Ok(Status::UNKNOWN), |code| {
        let why = || {
            let parsing = format!("strconv.ParseInt: parsing {code:?}: invalid syntax");
            Status::new(Status::INTERNAL, format!("transport: malformed grpc-status: {parsing}"))
        };
        code.parse().map_err(|_| why())
    })?;
    if code != 0 {
        let message = fields.get("grpc-message").map(decode).unwrap_or_default();
        return Err(Status::new(code, message));
    }
    let message = unframed(body)?.ok_or_else(|| {
        let why =
            "cardinality violation: received no response message from non-client-streaming RPC";
        Status::new(Status::INTERNAL, why)
    })?;
    let field = field_1(message).ok_or_else(|| {
        let why = "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data";
        Status::new(Status::INTERNAL, why)
    })?;
    Ok(field.0)
}

/// The stream was given up (`http2ErrConvTab`).
fn reset(code: u32) -> Status {
    let status = match code {
        3 | 11 => Status::RESOURCE_EXHAUSTED,
        7 => Status::UNAVAILABLE,
        8 => Status::CANCELED,
        12 => Status::PERMISSION_DENIED,
        ..14 => Status::INTERNAL,
        _ => Status::UNKNOWN,
    };
    let why = format!("stream terminated by RST_STREAM with error code: {}", code_name(code));
    Status::new(status, why)
}

/// The connection was lost before the answer had come.
fn lost(connection: &Connection, broken: Broken) -> Status {
    let why = match broken {
        Broken::Closed(None) => "EOF".to_string(),
        Broken::Closed(Some(error)) => {
            let stream = connection.stream();
            let ends = stream.local_addr().zip(stream.peer_addr());
            let ends = ends.map(|(local, peer)| format!(" {local}->{peer}")).unwrap_or_default();
            format!("read tcp{ends}: read: {}", error.to_string().to_lowercase())
        }
        Broken::Rules(code) => format!("connection error: {}", code_name(code)),
    };
    Status::new(Status::UNAVAILABLE, format!("error reading from server: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_grpc_is_named() {
        let said = |fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            begins_well(&Headers(fields.collect())).map_err(|status| status.error())
        };
        let grpc = ("content-type", "application/grpc+proto");
        assert_eq!(said(&[(":status", "200"), grpc]), Ok(()));
        let text = [
            said(&[(":status", "404"), ("content-type", "text/html")]),
            said(&[(":status", "200"), ("content-type", "application/grpcweb")]),
            said(&[(":status", "503")]),
            said(&[grpc]),
        ];
        let text: Vec<String> = text.into_iter().filter_map(Result::err).collect();
        expect_test::expect![[r#"
            rpc error: code = Unimplemented desc = unexpected HTTP status code received from server: 404 (Not Found); transport: received unexpected content-type "text/html"
            rpc error: code = Unknown desc = transport: received unexpected content-type "application/grpcweb"
            rpc error: code = Unavailable desc = unexpected HTTP status code received from server: 503 (Service Unavailable); malformed header: missing HTTP content-type
            rpc error: code = Internal desc = malformed header: missing HTTP status"#]]
        .assert_eq(&text.join("\n"));
        assert_eq!(
            reset(7).error(),
            "rpc error: code = Unavailable desc = stream terminated by RST_STREAM with error code: REFUSED_STREAM"
        );
        assert_eq!(
            reset(200).error(),
            "rpc error: code = Unknown desc = stream terminated by RST_STREAM with error code: unknown error code 0xc8"
        );
    }
}
