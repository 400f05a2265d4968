//! pcap (draft-ietf-opsawg-pcap), what `tcpdump -w` writes.

use super::{BadCapture, Capture, Iface, Order, Record, SNAPLEN};
use crate::tcpdump::{LinkType, Stamp};

const MICROS: u32 = 0xa1b2_c3d4;
const NANOS: u32 = 0xa1b2_3c4d;

/// Writes a file of one link type.
#[derive(Clone, Debug)]
pub struct Writer {
    out: Vec<u8>,
    is_nano: bool,
}

impl Writer {
    /// Begins with the file's header. `is_nano`: times in nanoseconds, else in microseconds.
    pub fn new(link: LinkType, is_nano: bool) -> Writer {
        let mut out = Vec::new();
        out.extend(if is_nano { NANOS } else { MICROS }.to_le_bytes());
        out.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend(SNAPLEN.to_le_bytes());
        out.extend(u32::from(link.number()).to_le_bytes());
        Writer { out, is_nano }
    }

    /// Writes a packet. Its interface, direction and comments have no place here.
    pub fn record(&mut self, record: &Record) {
        let bytes = record.bytes.get(..SNAPLEN as usize).unwrap_or(&record.bytes);
        let fraction = record.at.0 % 1_000_000_000 / if self.is_nano { 1 } else { 1000 };
        self.out.extend((record.at.secs() as u32).to_le_bytes());
        self.out.extend((fraction as u32).to_le_bytes());
        self.out.extend((bytes.len() as u32).to_le_bytes());
        self.out.extend(record.len.to_le_bytes());
        self.out.extend_from_slice(bytes);
    }

    /// The file so far.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// The file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }
}

/// Reads a file.
pub fn read(bytes: &[u8]) -> Result<Capture, BadCapture> {
    let little = Order::Little.u32(bytes, 0)?;
    let (order, is_nano) = match (little, little.swap_bytes()) {
        (MICROS, _) => (Order::Little, false),
        (NANOS, _) => (Order::Little, true),
        (_, MICROS) => (Order::Big, false),
        (_, NANOS) => (Order::Big, true),
        _ => return Err(BadCapture::UnknownFormat),
    };
    let number = order.u32(bytes, 20)? & 0xffff;
    let link = LinkType::of(number).ok_or(BadCapture::LinkType(number))?;
    let mut capture =
        Capture { ifaces: vec![Iface { link, ..Iface::default() }], ..Capture::default() };
    let mut rest = bytes.get(24..).ok_or(BadCapture::Truncated)?;
    while !rest.is_empty() {
        let (secs, fraction) = (order.u32(rest, 0)?, order.u32(rest, 4)?);
        let (captured, len) = (order.u32(rest, 8)? as usize, order.u32(rest, 12)?);
        let end = captured.checked_add(16).ok_or(BadCapture::BadLength)?;
        let data = rest.get(16..end).ok_or(BadCapture::Truncated)?;
        let nanos = u64::from(fraction) * if is_nano { 1 } else { 1000 };
        let at = Stamp(u64::from(secs) * 1_000_000_000 + nanos);
        capture.records.push(Record { at, bytes: data.to_vec(), len, ..Record::default() });
        rest = rest.get(end..).unwrap_or_default();
    }
    Ok(capture)
}
