//! gRPC over HTTP/2, as far as a health check needs it (RFC 9113, RFC 7541, gRPC over HTTP2, `grpc.health.v1`).
//!
//! - [`hpack`]: header fields in few bytes;
//! - [`http2`]: a connection's frames;
//! - [`server`]: answers `grpc.health.v1.Health/Check`;
//! - [`client`]: asks it, and fails in grpc-go's words.
//!
//! What we write is plain: no Huffman codes, no fields that have to be remembered. What comes may be all of
//! that. Frames, fields, messages and calls have their limits; a peer that goes beyond them is told so.
//!
//! Approximated: our messages are of a few bytes, so nobody's window is waited for before they are sent.

pub mod client;
pub mod hpack;
pub mod http2;
pub mod server;

pub use client::{check, connect};
pub use server::{Health, serve};

/// The path of the one call that is known.
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// What every message is announced as.
const CONTENT_TYPE: &str = "application/grpc";
/// Bytes of a message at most.
const MESSAGE_MAX: usize = 16 * 1024;

/// `HealthCheckResponse.ServingStatus`: it serves.
pub const SERVING: u64 = 1;
/// It does not.
pub const NOT_SERVING: u64 = 2;

/// How grpc-go prints a serving status.
pub fn serving_name(status: u64) -> String {
    let names = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
    let name = usize::try_from(status).ok().and_then(|at| names.get(at));
    name.map_or_else(|| (status as i32).to_string(), |name| (*name).to_string())
}

/// The names of status codes as grpc-go prints them, 0 being the first (`codes/code_string.go`).
const CODES: &str = "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied \
    ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated";

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// For instance 12, which is `Unimplemented`.
    pub code: u32,
    /// What the other side says about it.
    pub message: String,
}

impl Status {
    /// A call was cancelled.
    pub const CANCELED: u32 = 1;
    /// Nobody knows.
    pub const UNKNOWN: u32 = 2;
    /// The request is wrong.
    pub const INVALID_ARGUMENT: u32 = 3;
    /// There is no such thing.
    pub const NOT_FOUND: u32 = 5;
    /// It may not be asked.
    pub const PERMISSION_DENIED: u32 = 7;
    /// Too much of something.
    pub const RESOURCE_EXHAUSTED: u32 = 8;
    /// The server has no such method.
    pub const UNIMPLEMENTED: u32 = 12;
    /// What came makes no sense.
    pub const INTERNAL: u32 = 13;
    /// The connection is gone.
    pub const UNAVAILABLE: u32 = 14;
    /// Nobody says who asks.
    pub const UNAUTHENTICATED: u32 = 16;

    /// A failure of a kind.
    pub fn new(code: u32, message: impl Into<String>) -> Status {
        Status { code, message: message.into() }
    }

    /// `rpc error: code = NotFound desc = unknown service`, as grpc-go prints it.
    pub fn error(&self) -> String {
        let name = CODES.split(' ').nth(self.code as usize);
        let name = name.map_or_else(|| format!("Code({})", self.code), str::to_string);
        format!("rpc error: code = {name} desc = {}", self.message)
    }
}

/// A message with the flag and the length before it (gRPC over HTTP2, "Length-Prefixed-Message").
fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
    out
}

/// The one message of a body; nothing where there is none.
fn unframed(body: &[u8]) -> Result<Option<&[u8]>, Status> {
    let Some((head, message)) = body.split_first_chunk::<5>() else {
        return match body {
            [] => Ok(None),
            _ => Err(Status::new(Status::INTERNAL, "unexpected EOF")),
        };
    };
    let [flag, len @ ..] = *head;
    let len = u32::from_be_bytes(len) as usize;
    if flag != 0 {
        let why = "grpc: compressed flag set with identity or empty encoding";
        return Err(Status::new(Status::INTERNAL, why));
    }
    if len > MESSAGE_MAX {
        let why = format!("grpc: received message larger than max ({len} vs. {MESSAGE_MAX})");
        return Err(Status::new(Status::RESOURCE_EXHAUSTED, why));
    }
    let message = message.get(..len);
    message.map(Some).ok_or_else(|| Status::new(Status::INTERNAL, "unexpected EOF"))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

/// A number of Protocol Buffers: seven bits in a byte, the lowest first.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Field 1 of a message of Protocol Buffers, its number or its bytes; the last one counts. `None`: this is no
/// message.
fn field_1(mut message: &[u8]) -> Option<(u64, &[u8])> {
    let mut found: (u64, &[u8]) = (0, &[]);
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let mut value: (u64, &[u8]) = (0, &[]);
        match key & 7 {
            0 => value.0 = varint(&mut message)?,
            1 => value.1 = take(&mut message, 8)?,
            2 => {
                let len = usize::try_from(varint(&mut message)?).ok()?;
                value.1 = take(&mut message, len)?;
            }
            5 => value.1 = take(&mut message, 4)?,
            _ => return None,
        }
        match key >> 3 {
            0 => return None,
            1 => found = value,
            _ => {}
        }
    }
    Some(found)
}

/// `HealthCheckRequest` of a service.
fn request(service: &str) -> Vec<u8> {
    let mut out = Vec::new();
    if !service.is_empty() {
        out.push(0x0a);
        let mut len = service.len();
        while len >= 0x80 {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend_from_slice(service.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_have_their_length_before_them() {
        assert_eq!(framed(b"ab"), b"\0\0\0\0\x02ab");
        assert_eq!(unframed(b"\0\0\0\0\x02abc"), Ok(Some(&b"ab"[..])));
        assert_eq!(unframed(b""), Ok(None));
        let code = |body| unframed(body).map_err(|status| status.error()).unwrap_err();
        assert_eq!(code(b"\0\0\0\0\x02a"), "rpc error: code = Internal desc = unexpected EOF");
        assert_eq!(
            code(b"\0\x01\0\0\0"),
            "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (16777216 vs. 16384)"
        );
        assert!(code(b"\x01\0\0\0\0").contains("compressed flag set"));
        assert_eq!(Status::new(99, "x").error(), "rpc error: code = Code(99) desc = x");
    }

    #[test]
    fn other_fields_are_passed_over_and_the_last_of_one_number_counts() {
        // Fields 2 (a number), 3 (eight bytes), 4 (four bytes), 1, 5 (bytes), 1 again.
        let message = b"\x10\x96\x01\x1912345678\x251234\x08\x01\x2a\x01x\x08\xac\x02";
        assert_eq!(field_1(message), Some((300, &b""[..])));
        assert_eq!(
            field_1(&request("grpc.health.v1.Health")),
            Some((0, &b"grpc.health.v1.Health"[..]))
        );
        let long = "x".repeat(300);
        assert_eq!(field_1(&request(&long)), Some((0, long.as_bytes())));
        assert_eq!(field_1(b""), Some((0, &b""[..])));
        for bad in [
            &b"\x08"[..],
            b"\x0b",
            b"\x0a\x02x",
            b"\x00\x01",
            b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        ] {
            assert_eq!(field_1(bad), None, "{bad:?}");
        }
        let names: Vec<String> = [0, 1, 2, 3, 4, u64::MAX].map(serving_name).into();
        assert_eq!(names.join(" "), "UNKNOWN SERVING NOT_SERVING SERVICE_UNKNOWN 4 -1");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_none(bytes: Vec<u8>) {
            let _ = field_1(&bytes);
            let _ = unframed(&bytes);
        }
    }
}
