//! An HTTP server: keep-alive, pipelining, bodies with a length or in chunks, `Expect`, HEAD.

use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;

use base::Duration;
use netsim::exec::timeout;
use netsim::{Host, TcpListener, TcpStream};

use super::message::{
    BODY_MAX, BodyFraming, HEAD_MAX, Request, Response, parse_request, put_chunk, take_chunks,
};

/// What a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest body of a request; a longer one is answered with 413.
    pub body_max: usize,
    /// A connection on which nothing comes for so long is closed.
    pub idle: Option<Duration>,
    /// So many requests on one connection, then it is closed.
    pub requests_max: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { body_max: BODY_MAX, idle: None, requests_max: None }
    }
}

/// Answers the requests of every connection that `listener` accepts, until the listener is closed.
pub async fn serve(
    host: Host,
    listener: TcpListener,
    handler: impl Fn(&Request) -> Response + 'static,
) {
    serve_with(host, listener, Limits::default(), handler).await;
}

/// As [`serve`], within limits.
pub async fn serve_with(
    host: Host,
    listener: TcpListener,
    limits: Limits,
    handler: impl Fn(&Request) -> Response + 'static,
) {
    serve_slowly(host, listener, limits, at_once(handler)).await;
}

/// A handler whose answers need not be waited for.
pub fn at_once(handler: impl Fn(&Request) -> Response + 'static) -> Handler {
    Rc::new(move |request| Box::pin(ready(handler(&request))))
}

/// An answer that takes its time.
pub type Answering = Pin<Box<dyn Future<Output = Response>>>;
/// Answers requests, each when it can.
pub type Handler = Rc<dyn Fn(Rc<Request>) -> Answering>;

/// As [`serve_with`], by answers that have to be waited for.
pub async fn serve_slowly(host: Host, listener: TcpListener, limits: Limits, handler: Handler) {
    while let Ok((stream, _)) = listener.accept().await {
        let (here, handler) = (host.clone(), handler.clone());
        host.spawn(async move { answer(here, stream, Vec::new(), limits, &handler).await });
    }
}

/// Answers the requests of one connection, of which so much has been read.
pub async fn answer(
    host: Host,
    stream: TcpStream,
    received: Vec<u8>,
    limits: Limits,
    handler: &Handler,
) {
    let mut connection = Connection { host, stream, limits, received };
    let _ = connection.run(&**handler).await;
}

struct Connection {
    host: Host,
    stream: TcpStream,
    limits: Limits,
    received: Vec<u8>,
}

/// The connection is over.
struct Over;

/// Why a request is not answered by the handler.
enum Refused {
    Over,
    /// With this status, and then the connection is closed.
    With(u16),
}

impl From<Over> for Refused {
    fn from(_: Over) -> Self {
        Refused::Over
    }
}

impl Connection {
    /// Answers request after request until one side closes the connection.
    async fn run(&mut self, handler: &dyn Fn(Rc<Request>) -> Answering) -> Result<(), Over> {
        let mut left = self.limits.requests_max;
        loop {
            let request = match self.request().await {
                Ok(request) => request,
                Err(Refused::Over) => return Err(Over),
                Err(Refused::With(status)) => return self.refuse(status).await,
            };
            if let Some(left) = &mut left {
                *left = left.saturating_sub(1);
            }
            let keeps_alive = request.keeps_alive() && left != Some(0);
            let request = Rc::new(request);
            let response = handler(request.clone()).await;
            let bytes = to_bytes(response, &request, keeps_alive);
            self.stream.write_all(&bytes).await.map_err(|_| Over)?;
            if !keeps_alive {
                return Ok(());
            }
        }
    }

    async fn request(&mut self) -> Result<Request, Refused> {
        let (Some(local), Some(peer)) = (self.stream.local_addr(), self.stream.peer_addr()) else {
            return Err(Refused::Over);
        };
        let (mut request, head_len, framing) = loop {
            // Empty lines before a request are passed over (RFC 9112 §2.2).
            let blank = self.received.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            self.received.drain(..blank);
            match parse_request(&self.received, peer, local) {
                Ok(Some(parsed)) => break parsed,
                Ok(None) => self.more().await?,
                Err(_) if self.received.len() >= HEAD_MAX => return Err(Refused::With(431)),
                Err(_) => return Err(Refused::With(400)),
            }
        };
        if request.minor_version >= 1 && request.headers.get("host").is_none() {
            return Err(Refused::With(400));
        }
        self.received.drain(..head_len);
        if let BodyFraming::Length(len) = framing
            && len > self.limits.body_max
        {
            return Err(Refused::With(413));
        }
        self.expectation(&request, framing).await?;
        request.body = self.body(framing).await?;
        Ok(request)
    }

    /// Says that the body may come, to those who ask before they send it (RFC 9110 §10.1.1).
    async fn expectation(
        &mut self,
        request: &Request,
        framing: BodyFraming,
    ) -> Result<(), Refused> {
        let Some(expected) = request.headers.get("expect").filter(|_| request.minor_version >= 1)
        else {
            return Ok(());
        };
        if !expected.eq_ignore_ascii_case("100-continue") {
            return Err(Refused::With(417));
        }
        if framing != BodyFraming::Length(0) && self.received.is_empty() {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            self.stream.write_all(go_on).await.map_err(|_| Refused::Over)?;
        }
        Ok(())
    }

    async fn body(&mut self, framing: BodyFraming) -> Result<Vec<u8>, Refused> {
        match framing {
            BodyFraming::Length(len) => {
                while self.received.len() < len {
                    self.more().await?;
                }
                let rest = self.received.split_off(len);
                Ok(std::mem::replace(&mut self.received, rest))
            }
            BodyFraming::Chunked => {
                let mut body = Vec::new();
                loop {
                    let taken = take_chunks(&self.received, &mut body);
                    let (used, is_last) = taken.map_err(|_| Refused::With(400))?;
                    self.received.drain(..used);
                    if body.len() > self.limits.body_max {
                        return Err(Refused::With(413));
                    }
                    if is_last {
                        return Ok(body);
                    }
                    // A chunk that is announced longer than a body may be will never be all there.
                    if self.received.len() > self.limits.body_max.saturating_add(HEAD_MAX) {
                        return Err(Refused::With(413));
                    }
                    self.more().await?;
                }
            }
        }
    }

    async fn more(&mut self) -> Result<(), Over> {
        let mut chunk = [0; 4096];
        let reading = self.stream.read(&mut chunk);
        let read = match self.limits.idle {
            Some(idle) => timeout(self.host.sleep(idle), reading).await.ok_or(Over)?,
            None => reading.await,
        };
        match read {
            Ok(read @ 1..) => {
                self.received.extend_from_slice(chunk.get(..read).unwrap_or_default());
                Ok(())
            }
            _ => Err(Over),
        }
    }

    async fn refuse(&mut self, status: u16) -> Result<(), Over> {
        let response = Response::new(status, "text/plain", "");
        let body = format!("{}\n", response.reason);
        let mut response = Response { body: body.into_bytes(), ..response };
        response.headers.push("Connection", "close");
        response.headers.push("Content-Length", response.body.len().to_string());
        let mut bytes = response.head();
        bytes.extend_from_slice(&response.body);
        self.stream.write_all(&bytes).await.map_err(|_| Over)?;
        // The rest of what was sent is read and forgotten: closing before that would be a reset, and the
        // answer would be lost with it (RFC 9112 §9.6).
        self.stream.shutdown();
        let mut chunk = [0; 4096];
        let mut left = BODY_MAX;
        while left > 0 {
            let reading = self.stream.read(&mut chunk);
            match timeout(self.host.sleep(Duration::from_secs(5)), reading).await {
                Some(Ok(read @ 1..)) => left = left.saturating_sub(read),
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}

/// With a length, or in chunks where the handler has said so; without a body where there must be none.
fn to_bytes(mut response: Response, request: &Request, keeps_alive: bool) -> Vec<u8> {
    let is_empty = response.status / 100 == 1 || matches!(response.status, 204 | 304);
    // Who speaks HTTP/1.0 knows no chunks.
    let is_chunked = response.headers.has_word("transfer-encoding", "chunked");
    if is_chunked && request.minor_version == 0 {
        response.headers.remove("transfer-encoding");
    }
    let is_chunked = is_chunked && request.minor_version >= 1;
    if response.headers.get("content-length").is_none() && !is_empty && !is_chunked {
        response.headers.push("Content-Length", response.body.len().to_string());
    }
    if !keeps_alive && response.headers.get("connection").is_none() {
        response.headers.push("Connection", "close");
    }
    let mut bytes = response.head();
    if request.method == "HEAD" || is_empty {
        return bytes;
    }
    if is_chunked {
        for chunk in response.body.chunks(8192) {
            put_chunk(&mut bytes, chunk);
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    } else {
        bytes.extend_from_slice(&response.body);
    }
    bytes
}
