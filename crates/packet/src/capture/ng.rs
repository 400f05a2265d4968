//! pcapng (draft-ietf-opsawg-pcapng).

use super::{BadCapture, Capture, Direction, Iface, Order, Record, SNAPLEN};
use crate::tcpdump::{LinkType, Stamp};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// Option codes: those of every block, and those whose meaning depends on the block.
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const HARDWARE: u16 = 2;
    pub(super) const OS: u16 = 3;
    pub(super) const APPLICATION: u16 = 4;
    pub(super) const IF_NAME: u16 = 2;
    pub(super) const IF_DESCRIPTION: u16 = 3;
    pub(super) const IF_TSRESOL: u16 = 9;
    pub(super) const EPB_FLAGS: u16 = 2;
}

/// Writes a file, block after block.
#[derive(Clone, Debug)]
pub struct Writer {
    out: Vec<u8>,
    ifaces: u32,
}

impl Writer {
    /// Begins with the section header.
    pub fn new(hardware: &str, os: &str, application: &str) -> Writer {
        let mut body = Vec::new();
        body.extend(BYTE_ORDER.to_le_bytes());
        body.extend([1, 0, 0, 0]);
        // The section's length is not said.
        body.extend([0xff; 8]);
        let texts =
            [(option::HARDWARE, hardware), (option::OS, os), (option::APPLICATION, application)];
        for (code, text) in texts {
            if !text.is_empty() {
                put_option(&mut body, code, text.as_bytes());
            }
        }
        end_options(&mut body);
        let mut writer = Writer { out: Vec::new(), ifaces: 0 };
        writer.block(SECTION, &body);
        writer
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let len = (body.len() as u32 + 12).to_le_bytes();
        self.out.extend(kind.to_le_bytes());
        self.out.extend(len);
        self.out.extend_from_slice(body);
        self.out.extend(len);
    }

    /// Describes an interface; its number is what packets name it with.
    pub fn iface(&mut self, iface: &Iface) -> u32 {
        let mut body = Vec::new();
        body.extend(iface.link.number().to_le_bytes());
        body.extend([0, 0]);
        body.extend(SNAPLEN.to_le_bytes());
        put_option(&mut body, option::IF_NAME, iface.name.as_bytes());
        if !iface.description.is_empty() {
            put_option(&mut body, option::IF_DESCRIPTION, iface.description.as_bytes());
        }
        // Ten to the minus ninth: nanoseconds.
        put_option(&mut body, option::IF_TSRESOL, &[9]);
        end_options(&mut body);
        self.block(INTERFACE, &body);
        self.ifaces += 1;
        self.ifaces - 1
    }

    /// Writes a packet.
    pub fn record(&mut self, record: &Record) {
        let mut body = Vec::with_capacity(record.bytes.len() + 40);
        body.extend(record.iface.to_le_bytes());
        body.extend(((record.at.0 >> 32) as u32).to_le_bytes());
        body.extend((record.at.0 as u32).to_le_bytes());
        let bytes = record.bytes.get(..SNAPLEN as usize).unwrap_or(&record.bytes);
        body.extend((bytes.len() as u32).to_le_bytes());
        body.extend(record.len.to_le_bytes());
        body.extend_from_slice(bytes);
        pad(&mut body);
        for comment in &record.comments {
            put_option(&mut body, option::COMMENT, comment.as_bytes());
        }
        let flags: u32 = match record.direction {
            Direction::Unknown => 0,
            Direction::In => 1,
            Direction::Out => 2,
        };
        if flags != 0 {
            put_option(&mut body, option::EPB_FLAGS, &flags.to_le_bytes());
        }
        end_options(&mut body);
        self.block(ENHANCED_PACKET, &body);
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

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn put_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

/// Nothing where there are no options.
fn end_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

/// What is known of an interface while reading.
struct Known {
    /// Where it is among the capture's.
    index: u32,
    /// Ticks in a second: a power of ten or of two.
    resolution: u8,
}

impl Known {
    fn nanos(&self, ticks: u64) -> u64 {
        let exponent = u32::from(self.resolution & 0x7f);
        let ticks = u128::from(ticks);
        let nanos = if self.resolution & 0x80 != 0 {
            ticks.saturating_mul(1_000_000_000) >> exponent.min(127)
        } else if exponent <= 9 {
            ticks * 10u128.pow(9 - exponent)
        } else {
            ticks / 10u128.pow((exponent - 9).min(30))
        };
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

/// Reads a file. Blocks of kinds that are not known are passed over.
pub fn read(bytes: &[u8]) -> Result<Capture, BadCapture> {
    let mut capture = Capture::default();
    let mut order = Order::Little;
    let mut known: Vec<Known> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let raw_kind = rest.first_chunk::<4>().copied().ok_or(BadCapture::Truncated)?;
        if u32::from_be_bytes(raw_kind) == SECTION {
            order = match Order::Little.u32(rest, 8)? {
                BYTE_ORDER => Order::Little,
                other if other.swap_bytes() == BYTE_ORDER => Order::Big,
                _ => return Err(BadCapture::UnknownFormat),
            };
            known.clear();
        }
        let kind = order.u32(rest, 0)?;
        let len = order.u32(rest, 4)? as usize;
        if len < 12 || !len.is_multiple_of(4) {
            return Err(BadCapture::BadLength);
        }
        let block = rest.get(..len).ok_or(BadCapture::Truncated)?;
        if order.u32(block, len - 4)? as usize != len {
            return Err(BadCapture::BadLength);
        }
        let body = block.get(8..len - 4).ok_or(BadCapture::BadLength)?;
        match kind {
            SECTION => section(&mut capture, order, body)?,
            INTERFACE => known.push(iface(&mut capture, order, body)?),
            ENHANCED_PACKET => capture.records.push(enhanced(order, &known, body)?),
            SIMPLE_PACKET => capture.records.push(simple(order, &known, body)?),
            _ => {}
        }
        rest = rest.get(len..).unwrap_or_default();
    }
    Ok(capture)
}

/// Calls `each` with the code and value of every option.
fn options(
    order: Order,
    mut rest: &[u8],
    mut each: impl FnMut(u16, &[u8]),
) -> Result<(), BadCapture> {
    while !rest.is_empty() {
        let (code, len) = (order.u16(rest, 0)?, usize::from(order.u16(rest, 2)?));
        if code == option::END {
            return Ok(());
        }
        each(code, rest.get(4..4 + len).ok_or(BadCapture::BadLength)?);
        rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_string()
}

fn section(capture: &mut Capture, order: Order, body: &[u8]) -> Result<(), BadCapture> {
    options(order, body.get(16..).ok_or(BadCapture::BadLength)?, |code, value| match code {
        option::HARDWARE => capture.hardware = text(value),
        option::OS => capture.os = text(value),
        option::APPLICATION => capture.application = text(value),
        _ => {}
    })
}

fn iface(capture: &mut Capture, order: Order, body: &[u8]) -> Result<Known, BadCapture> {
    let number = u32::from(order.u16(body, 0)?);
    let link = LinkType::of(number).ok_or(BadCapture::LinkType(number))?;
    let mut iface = Iface { link, ..Iface::default() };
    let mut resolution = 6;
    options(order, body.get(8..).ok_or(BadCapture::BadLength)?, |code, value| match code {
        option::IF_NAME => iface.name = text(value),
        option::IF_DESCRIPTION => iface.description = text(value),
        option::IF_TSRESOL => resolution = value.first().copied().unwrap_or(6),
        _ => {}
    })?;
    capture.ifaces.push(iface);
    Ok(Known { index: capture.ifaces.len() as u32 - 1, resolution })
}

fn find(known: &[Known], id: u32) -> Result<&Known, BadCapture> {
    known.get(id as usize).ok_or(BadCapture::UnknownInterface(id))
}

fn enhanced(order: Order, known: &[Known], body: &[u8]) -> Result<Record, BadCapture> {
    let iface = find(known, order.u32(body, 0)?)?;
    let ticks = u64::from(order.u32(body, 4)?) << 32 | u64::from(order.u32(body, 8)?);
    let captured = order.u32(body, 12)? as usize;
    let len = order.u32(body, 16)?;
    let end = captured.checked_add(20).ok_or(BadCapture::BadLength)?;
    let bytes = body.get(20..end).ok_or(BadCapture::BadLength)?.to_vec();
    let mut record =
        Record { iface: iface.index, at: Stamp(iface.nanos(ticks)), ..Record::default() };
    (record.bytes, record.len) = (bytes, len);
    let rest = body.get(end.next_multiple_of(4)..).unwrap_or_default();
    options(order, rest, |code, value| match code {
        option::COMMENT => record.comments.push(text(value)),
        option::EPB_FLAGS => {
            record.direction = match order.u32(value, 0).unwrap_or_default() & 3 {
                1 => Direction::In,
                2 => Direction::Out,
                _ => Direction::Unknown,
            }
        }
        _ => {}
    })?;
    Ok(record)
}

/// A packet of the first interface without a time.
fn simple(order: Order, known: &[Known], body: &[u8]) -> Result<Record, BadCapture> {
    let iface = find(known, 0)?.index;
    let len = order.u32(body, 0)?;
    let data = body.get(4..).unwrap_or_default();
    let bytes = data.get(..len as usize).unwrap_or(data).to_vec();
    Ok(Record { iface, bytes, len, ..Record::default() })
}
