//! An HTTP client that fails the way curl does.

use std::net::{Ipv4Addr, SocketAddrV4};

use base::Instant;
use netsim::{Host, SockError, TcpStream};

use super::message::{BODY_MAX, Framing, Headers, Response, parse_response, take_chunks};

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The response, its body included.
    pub response: Response,
    /// HTTP/1.0 is 0, HTTP/1.1 is 1.
    pub minor_version: u8,
    /// Our end of the connection.
    pub local: SocketAddrV4,
    /// The other end.
    pub remote: SocketAddrV4,
    /// When the connection stood.
    pub connected: Instant,
    /// When the first byte of the response came.
    pub first_byte: Instant,
    /// When the last byte came.
    pub done: Instant,
}

/// How a request failed; the numbers are curl's exit codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// 7 (28 when nobody answered at all): no connection to any of the addresses.
    Connect(SockError),
    /// 52: the other side closed without a word.
    Empty,
    /// 56: the connection broke while we were reading.
    Receive(SockError),
    /// 55: the connection broke while we were writing.
    Send(SockError),
    /// 1: what came is not HTTP.
    NotHttp,
    /// 18: the other side closed before all of the body had come.
    Partial {
        /// What had come.
        fetched: Box<Fetched>,
        /// Bytes that are missing, where the length was announced.
        missing: Option<usize>,
    },
}

/// What is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// `GET` and the like.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// All header fields, `Host` included.
    pub headers: Headers,
    /// Body; its length must be among the header fields.
    pub body: Vec<u8>,
}

impl Ask {
    /// The request line and the header fields, as they are sent.
    pub fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers.0 {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head
    }
}

/// Opens a connection to the first of `addrs` that takes one.
pub async fn connect(host: &Host, addrs: &[Ipv4Addr], port: u16) -> Result<TcpStream, SockError> {
    let mut last = SockError::AddrNotAvailable;
    for addr in addrs {
        match host.connect(SocketAddrV4::new(*addr, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Makes one request over a connection and reads the whole response.
pub async fn fetch(host: &Host, stream: &TcpStream, ask: &Ask) -> Result<Fetched, FetchError> {
    let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    let (local, remote) =
        (stream.local_addr().unwrap_or(nowhere), stream.peer_addr().unwrap_or(nowhere));
    let connected = host.now();
    let mut message = ask.head().into_bytes();
    message.extend_from_slice(&ask.body);
    stream.write_all(&message).await.map_err(FetchError::Send)?;

    let mut received = Vec::new();
    let mut first_byte = connected;
    let (response, minor_version, head_len, framing) = loop {
        let is_first = received.is_empty();
        match read_more(stream, &mut received).await {
            Ok(true) if is_first => first_byte = host.now(),
            Ok(true) => {}
            Ok(false) if received.is_empty() => return Err(FetchError::Empty),
            Ok(false) => return Err(FetchError::NotHttp),
            Err(error) => return Err(FetchError::Receive(error)),
        }
        if let Some(parsed) = final_response(&mut received, ask.method == "HEAD")? {
            break parsed;
        }
    };
    received.drain(..head_len);
    let mut fetched =
        Fetched { response, minor_version, local, remote, connected, first_byte, done: connected };
    let body = body(stream, received, framing, &mut fetched.response.body).await;
    fetched.done = host.now();
    match body {
        Ok(()) => Ok(fetched),
        Err(BodyError::Broken(error)) => Err(FetchError::Receive(error)),
        Err(BodyError::NotHttp) => Err(FetchError::NotHttp),
        Err(BodyError::Short(missing)) => {
            Err(FetchError::Partial { fetched: Box::new(fetched), missing })
        }
    }
}

/// The head of the response, once it is there; "100 Continue" and the like before it are passed over.
fn final_response(
    received: &mut Vec<u8>,
    to_head: bool,
) -> Result<Option<(Response, u8, usize, Framing)>, FetchError> {
    loop {
        match parse_response(received, to_head) {
            Ok(Some((response, _, head_len, _))) if response.status / 100 == 1 => {
                received.drain(..head_len);
            }
            Ok(parsed) => return Ok(parsed),
            Err(_) => return Err(FetchError::NotHttp),
        }
    }
}

enum BodyError {
    Broken(SockError),
    NotHttp,
    Short(Option<usize>),
}

async fn body(
    stream: &TcpStream,
    mut received: Vec<u8>,
    framing: Framing,
    body: &mut Vec<u8>,
) -> Result<(), BodyError> {
    loop {
        match framing {
            Framing::Length(len) => {
                body.append(&mut received);
                if body.len() >= len {
                    body.truncate(len);
                    return Ok(());
                }
            }
            Framing::Chunked => {
                let (used, is_last) =
                    take_chunks(&received, body).map_err(|_| BodyError::NotHttp)?;
                received.drain(..used);
                if is_last {
                    return Ok(());
                }
            }
            Framing::UntilClose => body.append(&mut received),
        }
        let more = read_more(stream, &mut received).await.map_err(BodyError::Broken)?;
        if !more || body.len() > BODY_MAX {
            return match framing {
                Framing::UntilClose => Ok(()),
                Framing::Length(len) => Err(BodyError::Short(Some(len - body.len()))),
                Framing::Chunked => Err(BodyError::Short(None)),
            };
        }
    }
}

/// `false`: the other side has sent all it will.
async fn read_more(stream: &TcpStream, received: &mut Vec<u8>) -> Result<bool, SockError> {
    let mut chunk = [0; 8192];
    let read = stream.read(&mut chunk).await?;
    received.extend_from_slice(chunk.get(..read).unwrap_or_default());
    Ok(read > 0)
}
