//! Capture files: pcapng and the classic pcap, written and read.
//!
//! - [`Capture`]: interfaces and packets, what a file holds;
//! - [`ng`]: pcapng (draft-ietf-opsawg-pcapng): one interface block per interface, nanoseconds, comments;
//! - [`classic`]: pcap, as `tcpdump -w` writes it.
//!
//! Reading is total: any bytes are a capture or an error, and what is read is never more than what is there.

pub mod classic;
pub mod ng;

use std::fmt;

use crate::tcpdump::{LinkType, Stamp};

/// Bytes captured of a packet at most, as tcpdump says it: `snapshot length 262144 bytes`.
pub const SNAPLEN: u32 = 262_144;

/// Which way a packet went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Not said.
    #[default]
    Unknown,
    /// It came in.
    In,
    /// It went out.
    Out,
}

/// An interface packets were captured on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iface {
    /// For instance `eth0`.
    pub name: String,
    /// What is said about it, if anything.
    pub description: String,
    /// What its packets begin with.
    pub link: LinkType,
}

/// A captured packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Which of the capture's interfaces.
    pub iface: u32,
    /// When.
    pub at: Stamp,
    /// Which way.
    pub direction: Direction,
    /// What was captured of it.
    pub bytes: Vec<u8>,
    /// How long it was.
    pub len: u32,
    /// Comments on it.
    pub comments: Vec<String>,
}

impl Record {
    /// A packet that was captured whole.
    pub fn new(iface: u32, at: Stamp, bytes: Vec<u8>) -> Record {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Record { iface, at, bytes, len, ..Record::default() }
    }
}

/// What a capture file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// The machine it was made on.
    pub hardware: String,
    /// Its operating system.
    pub os: String,
    /// The program that made it.
    pub application: String,
    /// The interfaces, by the numbers packets name them with.
    pub ifaces: Vec<Iface>,
    /// The packets, in the file's order.
    pub records: Vec<Record>,
}

/// Why bytes are not a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadCapture {
    /// Neither format's magic number.
    UnknownFormat,
    /// The file ends within a header or a packet.
    Truncated,
    /// Length fields contradict each other.
    BadLength,
    /// A packet of an interface that has not been described.
    UnknownInterface(u32),
    /// A link type that is not known here.
    LinkType(u32),
}

impl fmt::Display for BadCapture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadCapture::UnknownFormat => f.write_str("unknown file format"),
            BadCapture::Truncated => f.write_str("truncated dump file"),
            BadCapture::BadLength => f.write_str("a block's length fields contradict each other"),
            BadCapture::UnknownInterface(id) => {
                write!(
                    f,
                    "a packet arrived on interface {id}, but there's no Interface Description Block for that interface"
                )
            }
            BadCapture::LinkType(number) => {
                write!(f, "link type {number} not supported by podwire")
            }
        }
    }
}

impl std::error::Error for BadCapture {}

impl Capture {
    /// Reads a file of either format.
    pub fn read(bytes: &[u8]) -> Result<Capture, BadCapture> {
        match bytes.first_chunk::<4>() {
            Some([0x0a, 0x0d, 0x0d, 0x0a]) => ng::read(bytes),
            Some(_) => classic::read(bytes),
            None => Err(BadCapture::Truncated),
        }
    }
}

/// Numbers in the order of bytes that a file's magic number tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Result<u16, BadCapture> {
        let field = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied();
        let field = field.ok_or(BadCapture::Truncated)?;
        Ok(if self == Order::Little {
            u16::from_le_bytes(field)
        } else {
            u16::from_be_bytes(field)
        })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Result<u32, BadCapture> {
        let field = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied();
        let field = field.ok_or(BadCapture::Truncated)?;
        Ok(if self == Order::Little {
            u32::from_le_bytes(field)
        } else {
            u32::from_be_bytes(field)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let direction =
            prop::sample::select(vec![Direction::Unknown, Direction::In, Direction::Out]);
        let comments = prop::collection::vec("[a-z é]{0,9}", 0..3);
        let bytes = prop::collection::vec(any::<u8>(), 0..70);
        let record = (0..2u32, any::<u64>(), direction, bytes, any::<u16>(), comments);
        prop::collection::vec(record, 0..6).prop_map(|records| {
            let make =
                |(iface, at, direction, bytes, more, comments): (_, _, _, Vec<u8>, u16, _)| {
                    let len = bytes.len() as u32 + u32::from(more);
                    Record { iface, at: Stamp(at), direction, bytes, len, comments }
                };
            records.into_iter().map(make).collect()
        })
    }

    fn capture(records: Vec<Record>) -> Capture {
        let iface = |name: &str, link| Iface {
            name: name.to_string(),
            description: "veth".to_string(),
            link,
        };
        Capture {
            hardware: "podwire".to_string(),
            os: "Linux".to_string(),
            application: "tcpdump".to_string(),
            ifaces: vec![iface("eth0", LinkType::Ethernet), iface("any", LinkType::Sll2)],
            records,
        }
    }

    proptest! {
        #[test]
        fn pcapng_survives_the_file(records in records()) {
            let capture = capture(records);
            let mut writer = ng::Writer::new(&capture.hardware, &capture.os, &capture.application);
            for iface in &capture.ifaces {
                writer.iface(iface);
            }
            for record in &capture.records {
                writer.record(record);
            }
            prop_assert_eq!(Capture::read(writer.bytes()), Ok(capture));
        }

        #[test]
        fn pcap_survives_the_file(records in records()) {
            let mut writer = classic::Writer::new(LinkType::Raw, true);
            for record in &records {
                writer.record(record);
            }
            let read = Capture::read(writer.bytes()).unwrap();
            prop_assert_eq!(read.records.len(), records.len());
            for (read, written) in read.records.iter().zip(&records) {
                // Seconds are 32 bits there.
                let at = Stamp(written.at.0 % (1_000_000_000 << 32));
                prop_assert_eq!((read.at, &read.bytes, read.len), (at, &written.bytes, written.len));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), magic in 0..4usize) {
            let magics: [&[u8]; 4] = [&[], &[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0],
                &[0xd4, 0xc3, 0xb2, 0xa1], &[0xa1, 0xb2, 0x3c, 0x4d]];
            let _ = Capture::read(&[magics[magic], &bytes].concat());
        }

        #[test]
        fn a_damaged_file_is_read_or_refused(records in records(), at: prop::sample::Index, with: u8) {
            let mut writer = ng::Writer::new("", "", "");
            for iface in &capture(vec![]).ifaces {
                writer.iface(iface);
            }
            for record in &records {
                writer.record(record);
            }
            let mut bytes = writer.bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = Capture::read(&bytes);
            let _ = Capture::read(&bytes[..at]);
        }
    }

    #[test]
    fn other_files_are_named() {
        assert_eq!(Capture::read(b"GET / HTTP/1.1"), Err(BadCapture::UnknownFormat));
        assert_eq!(Capture::read(b""), Err(BadCapture::Truncated));
    }
}
