//! HTTP/2: a connection's frames (RFC 9113).

use netsim::{SockError, TcpStream};

use super::hpack;
use super::take;
use crate::http::Headers;

/// How a client begins (§3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame at most (§6.5.2, `SETTINGS_MAX_FRAME_SIZE` as it is without a word).
const FRAME_MAX: usize = 16 * 1024;

/// Kinds of frames (§6).
pub mod kind {
    /// A body, or a part of it.
    pub const DATA: u8 = 0;
    /// Header fields.
    pub const HEADERS: u8 = 1;
    /// The end of a stream before its end.
    pub const RST_STREAM: u8 = 3;
    /// What a side wants the other to keep to.
    pub const SETTINGS: u8 = 4;
    pub(super) const PRIORITY: u8 = 2;
    pub(super) const PUSH_PROMISE: u8 = 5;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

/// The last frame of a stream, from this side.
pub const END_STREAM: u8 = 0x1;
/// All header fields are there.
pub const END_HEADERS: u8 = 0x4;
const ACK: u8 = 0x1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Error codes (§7).
pub mod code {
    /// Nothing is wrong.
    pub const NO_ERROR: u32 = 0;
    /// The other side does not speak HTTP/2.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// The stream is over.
    pub const STREAM_CLOSED: u32 = 5;
    /// The stream is one too many.
    pub const REFUSED_STREAM: u32 = 7;
    pub(super) const FRAME_SIZE_ERROR: u32 = 6;
    pub(super) const COMPRESSION_ERROR: u32 = 9;
    pub(super) const ENHANCE_YOUR_CALM: u32 = 11;
}

/// Their names.
const CODES: &str = "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED \
    FRAME_SIZE_ERROR REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY \
    HTTP_1_1_REQUIRED";

/// An error code as Go prints it (`golang.org/x/net/http2`).
pub fn code_name(code: u32) -> String {
    let name = CODES.split(' ').nth(code as usize);
    name.map_or_else(|| format!("unknown error code 0x{code:x}"), str::to_string)
}

/// What a frame says that concerns a stream.
pub struct Event {
    /// The stream.
    pub id: u32,
    /// Nothing more comes on it from the other side.
    pub is_last: bool,
    /// What has come.
    pub what: What,
}

/// What has come.
pub enum What {
    /// Header fields, or those after a body.
    Headers(Headers),
    /// A part of a body.
    Data(Vec<u8>),
    /// The other side has given the stream up, for this reason.
    Reset(u32),
}

/// A connection is over.
pub enum Broken {
    /// The other side has closed it (`None`), or it broke.
    Closed(Option<SockError>),
    /// The other side broke the rules, with this error code; it has been told.
    Rules(u32),
}

struct Frame {
    kind: u8,
    flags: u8,
    id: u32,
    payload: Vec<u8>,
}

/// One end of a connection.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    fields: hpack::Decoder,
}

impl Connection {
    /// On a connection of TCP, of which so much has been read.
    pub fn new(stream: TcpStream, received: Vec<u8>) -> Connection {
        Connection { stream, received, fields: hpack::Decoder::default() }
    }

    /// The connection below.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes frames.
    pub async fn write(&self, frames: &[u8]) -> Result<(), Broken> {
        self.stream.write_all(frames).await.map_err(|error| Broken::Closed(Some(error)))
    }

    /// Waits for how a client begins.
    pub async fn preface(&mut self) -> Result<(), Broken> {
        while self.received.len() < PREFACE.len() && PREFACE.starts_with(&self.received) {
            self.more().await?;
        }
        if !self.received.starts_with(PREFACE) {
            return Err(Broken::Rules(code::PROTOCOL_ERROR));
        }
        self.received.drain(..PREFACE.len());
        Ok(())
    }

    /// Waits for the settings with which the other side begins (§3.4), and acknowledges them.
    pub async fn settings(&mut self) -> Result<(), Broken> {
        let frame = self.frame().await?;
        if frame.kind != kind::SETTINGS || frame.flags & ACK != 0 {
            return Err(Broken::Rules(code::PROTOCOL_ERROR));
        }
        self.take(frame).await.map(drop)
    }

    /// The next event. Frames that concern the connection are dealt with here; those of kinds that are not known
    /// are passed over, and so are priorities and windows.
    pub async fn next(&mut self) -> Result<Event, Broken> {
        loop {
            let frame = self.frame().await;
            let taken = match frame {
                Ok(frame) => self.take(frame).await,
                Err(broken) => Err(broken),
            };
            match taken {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(Broken::Rules(code)) => {
                    self.go_away(code, b"").await;
                    return Err(Broken::Rules(code));
                }
                Err(closed) => return Err(closed),
            }
        }
    }

    /// Says goodbye.
    pub async fn go_away(&self, code: u32, why: &[u8]) {
        let mut payload = [[0; 4], code.to_be_bytes()].concat();
        payload.extend_from_slice(why);
        let mut out = Vec::new();
        put(&mut out, kind::GOAWAY, 0, 0, &payload);
        let _ = self.write(&out).await;
    }

    async fn more(&mut self) -> Result<(), Broken> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk).await {
            Ok(0) => Err(Broken::Closed(None)),
            Ok(read) => {
                self.received.extend_from_slice(chunk.get(..read).unwrap_or_default());
                Ok(())
            }
            Err(error) => Err(Broken::Closed(Some(error))),
        }
    }

    async fn frame(&mut self) -> Result<Frame, Broken> {
        loop {
            if let Some((head, rest)) = self.received.split_first_chunk::<9>() {
                let [a, b, c, kind, flags, id @ ..] = *head;
                let len = u32::from_be_bytes([0, a, b, c]) as usize;
                if len > FRAME_MAX {
                    return Err(Broken::Rules(code::FRAME_SIZE_ERROR));
                }
                if let Some(payload) = rest.get(..len) {
                    let id = u32::from_be_bytes(id) & 0x7fff_ffff;
                    let frame = Frame { kind, flags, id, payload: payload.to_vec() };
                    self.received.drain(..head.len() + len);
                    return Ok(frame);
                }
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<Option<Event>, Broken> {
        let Frame { kind, flags, id, .. } = frame;
        // Streams have numbers, the connection has none; and these have one length.
        let (is_of_stream, len) = match kind {
            kind::DATA | kind::HEADERS | kind::CONTINUATION => (Some(true), None),
            kind::PRIORITY => (Some(true), Some(5)),
            kind::RST_STREAM => (Some(true), Some(4)),
            kind::SETTINGS if flags & ACK != 0 => (Some(false), Some(0)),
            kind::SETTINGS | kind::GOAWAY => (Some(false), None),
            kind::PING => (Some(false), Some(8)),
            kind::WINDOW_UPDATE => (None, Some(4)),
            _ => (None, None),
        };
        if is_of_stream.is_some_and(|is| is != (id != 0)) {
            return Err(Broken::Rules(code::PROTOCOL_ERROR));
        }
        let is_whole = kind != kind::SETTINGS || frame.payload.len().is_multiple_of(6);
        if len.is_some_and(|len| len != frame.payload.len()) || !is_whole {
            return Err(Broken::Rules(code::FRAME_SIZE_ERROR));
        }
        let is_last = flags & END_STREAM != 0;
        let first = frame.payload.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
        let mut answer = Vec::new();
        let what = match kind {
            kind::DATA => {
                let data = unpadded(&frame).ok_or(Broken::Rules(code::PROTOCOL_ERROR))?.to_vec();
                // Nobody keeps what has come for long: the window is open again at once (§6.9).
                if !frame.payload.is_empty() {
                    let len = (frame.payload.len() as u32).to_be_bytes();
                    put(&mut answer, kind::WINDOW_UPDATE, 0, 0, &len);
                }
                Some(What::Data(data))
            }
            kind::HEADERS => Some(What::Headers(self.headers(frame).await?)),
            kind::RST_STREAM => Some(What::Reset(first)),
            kind::SETTINGS | kind::PING if flags & ACK == 0 => {
                let same = if kind == kind::PING { &*frame.payload } else { &[] };
                put(&mut answer, kind, ACK, 0, same);
                None
            }
            kind::WINDOW_UPDATE if first & 0x7fff_ffff == 0 => {
                return Err(Broken::Rules(code::PROTOCOL_ERROR));
            }
            kind::PUSH_PROMISE | kind::CONTINUATION => {
                return Err(Broken::Rules(code::PROTOCOL_ERROR));
            }
            _ => None,
        };
        if !answer.is_empty() {
            self.write(&answer).await?;
        }
        let is_last = is_last && kind <= kind::HEADERS;
        Ok(what.map(|what| Event { id, is_last, what }))
    }

    /// The fields of a frame and of those that continue it (§6.10).
    async fn headers(&mut self, frame: Frame) -> Result<Headers, Broken> {
        let mut block = unpadded(&frame).ok_or(Broken::Rules(code::PROTOCOL_ERROR))?;
        if frame.flags & PRIORITY != 0 {
            take(&mut block, 5).ok_or(Broken::Rules(code::PROTOCOL_ERROR))?;
        }
        let (mut block, mut flags) = (block.to_vec(), frame.flags);
        while flags & END_HEADERS == 0 {
            let next = self.frame().await?;
            if next.kind != kind::CONTINUATION || next.id != frame.id {
                return Err(Broken::Rules(code::PROTOCOL_ERROR));
            }
            // Empty ones would go on for ever.
            if next.payload.is_empty() || block.len() + next.payload.len() > hpack::FIELDS_MAX {
                return Err(Broken::Rules(code::ENHANCE_YOUR_CALM));
            }
            block.extend_from_slice(&next.payload);
            flags = next.flags;
        }
        self.fields.read(&block).ok_or(Broken::Rules(code::COMPRESSION_ERROR))
    }
}

/// What a frame carries without what fills it up (§6.1).
fn unpadded(frame: &Frame) -> Option<&[u8]> {
    if frame.flags & PADDED == 0 {
        return Some(&frame.payload);
    }
    let (len, rest) = frame.payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*len))?)
}

/// Writes a frame.
pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let len = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(len.get(1..).unwrap_or_default());
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Writes header fields, which must fit into a frame.
pub fn put_headers(out: &mut Vec<u8>, id: u32, is_last: bool, fields: &[(&str, &str)]) {
    let mut block = Vec::new();
    for (name, value) in fields {
        hpack::put(&mut block, name, value);
    }
    let flags = END_HEADERS | if is_last { END_STREAM } else { 0 };
    put(out, kind::HEADERS, flags, id, &block);
}
