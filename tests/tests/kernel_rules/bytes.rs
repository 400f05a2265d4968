//! Packets made byte by byte, and read back as a line of words.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use packet::{checksum, protocol};

/// Everything about a packet that a case can choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) ident: u16,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    /// Flags of TCP, type of an SCTP chunk.
    pub(crate) flags: u8,
    /// Sequence number of TCP, verification tag of SCTP.
    pub(crate) seq: u32,
    /// Acknowledgment of TCP, initiation tag of SCTP.
    pub(crate) ack: u32,
    pub(crate) window: u16,
    /// TCP's maximum segment size, if it is sent.
    pub(crate) mss: u16,
    /// Type, code and identifier of ICMP.
    pub(crate) icmp: (u8, u8, u16),
    /// Bytes of data.
    pub(crate) len: u16,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    /// Four bytes of IP options that say nothing.
    pub(crate) has_options: bool,
    /// The checksum of the payload is wrong.
    pub(crate) is_corrupt: bool,
}

impl Fields {
    /// Source and destination change places, as in an answer.
    pub(crate) fn turned(&self) -> Fields {
        let (kind, code, id) = self.icmp;
        let kind = match kind {
            8 => 0,
            13 => 14,
            other => other,
        };
        Fields {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            icmp: (kind, code, id),
            ..self.clone()
        }
    }

    /// The packet.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let data: Vec<u8> = (0..self.len).map(|n| n as u8).collect();
        let payload = match self.protocol {
            protocol::TCP => self.tcp(&data),
            protocol::UDP => self.udp(&data),
            protocol::ICMP => self.icmp(&data),
            protocol::SCTP => self.sctp(&data),
            _ => data,
        };
        self.ip(&payload)
    }

    /// An IP header and what comes after it.
    pub(crate) fn ip(&self, payload: &[u8]) -> Vec<u8> {
        let options: &[u8] = if self.has_options { &[1, 1, 1, 0] } else { &[] };
        let header_len = 20 + options.len();
        let mut bytes = vec![0x40 | (header_len / 4) as u8, self.tos];
        bytes.extend(((header_len + payload.len()) as u16).to_be_bytes());
        bytes.extend(self.ident.to_be_bytes());
        bytes.extend([0x40, 0, self.ttl, self.protocol, 0, 0]);
        bytes.extend(self.src.octets());
        bytes.extend(self.dst.octets());
        bytes.extend(options);
        let check = checksum::of(&bytes);
        bytes[10..12].copy_from_slice(&check.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn ports(&self) -> Vec<u8> {
        [self.sport.to_be_bytes(), self.dport.to_be_bytes()].concat()
    }

    /// Fills in a checksum at `at`, over the pseudo header too if there is one.
    fn seal(&self, mut payload: Vec<u8>, at: usize, has_pseudo: bool) -> Vec<u8> {
        let len = payload.len() as u16;
        let pseudo = checksum::pseudo_header(self.src, self.dst, self.protocol, len);
        let initial = if has_pseudo { pseudo } else { 0 };
        let mut check = !checksum::fold(checksum::sum(initial, &payload));
        if self.is_corrupt {
            check ^= 0x1111;
        }
        if check == 0 && self.protocol == protocol::UDP {
            check = 0xffff;
        }
        payload[at..at + 2].copy_from_slice(&check.to_be_bytes());
        payload
    }

    fn tcp(&self, data: &[u8]) -> Vec<u8> {
        let mut header = self.ports();
        header.extend(self.seq.to_be_bytes());
        header.extend(self.ack.to_be_bytes());
        let options = match self.mss {
            0 => Vec::new(),
            mss => [&[2, 4][..], &mss.to_be_bytes()].concat(),
        };
        header.extend([((20 + options.len()) / 4 * 16) as u8, self.flags]);
        header.extend(self.window.to_be_bytes());
        header.extend([0; 4]);
        header.extend(options);
        header.extend(data);
        self.seal(header, 16, true)
    }

    fn udp(&self, data: &[u8]) -> Vec<u8> {
        let mut header = self.ports();
        header.extend((8 + data.len() as u16).to_be_bytes());
        header.extend([0; 2]);
        header.extend(data);
        self.seal(header, 6, true)
    }

    fn icmp(&self, data: &[u8]) -> Vec<u8> {
        let (kind, code, id) = self.icmp;
        let mut message = vec![kind, code, 0, 0];
        message.extend(id.to_be_bytes());
        message.extend([0, 1]);
        message.extend(data);
        self.seal(message, 2, false)
    }

    /// An ICMP error that quotes a packet.
    pub(crate) fn icmp_error(&self, quoted: &[u8]) -> Vec<u8> {
        let (kind, code, _) = self.icmp;
        let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
        if (kind, code) == (3, 4) {
            message[6..8].copy_from_slice(&1400u16.to_be_bytes());
        }
        message.extend(quoted);
        let message = self.seal(message, 2, false);
        self.ip(&message)
    }

    /// One chunk. An INIT and its answer carry a tag; data has a header of its own.
    fn sctp(&self, data: &[u8]) -> Vec<u8> {
        let mut packet = self.ports();
        packet.extend(self.seq.to_be_bytes());
        packet.extend([0; 4]);
        let body = match self.flags {
            1 | 2 => {
                [&self.ack.to_be_bytes()[..], &[0, 0, 255, 255, 0, 10, 0, 10, 0, 0, 0, 1]].concat()
            }
            0 => [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], data].concat(),
            _ => Vec::new(),
        };
        packet.extend([self.flags, 3]);
        packet.extend((4 + body.len() as u16).to_be_bytes());
        packet.extend(body);
        while !packet.len().is_multiple_of(4) {
            packet.push(0);
        }
        let mut check = crc32c(&packet);
        if self.is_corrupt {
            check ^= 0x1111;
        }
        packet[8..12].copy_from_slice(&check.to_le_bytes());
        packet
    }
}

/// CRC-32C, SCTP's checksum (RFC 9260 appendix A), with the checksum's own bytes as they are.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2))
}

fn addr(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(be32(bytes, at))
}

/// What is read of a packet where only its addresses and ports are asked for.
pub(crate) fn fields(bytes: &[u8], template: &Fields) -> Fields {
    let at = usize::from(bytes[0] & 0xf) * 4;
    let mut fields = Fields {
        src: addr(bytes, 12),
        dst: addr(bytes, 16),
        protocol: bytes[9],
        ident: be16(bytes, 4),
        ..template.clone()
    };
    if fields.protocol == protocol::ICMP {
        fields.icmp = (bytes[at], bytes[at + 1], be16(bytes, at + 4));
    } else {
        (fields.sport, fields.dport) = (be16(bytes, at), be16(bytes, at + 2));
    }
    fields
}

/// Reads packets. Ports that are left to chance get names: `R1`, `R2`, … in the order in which they are met.
pub(crate) struct Reader<'a> {
    /// The port is one that the case names.
    pub(crate) is_known: &'a dyn Fn(u16) -> bool,
    /// What a known failure leaves out of the comparison.
    pub(crate) ignores: &'a dyn Fn(&str) -> bool,
    pub(crate) met: Vec<u16>,
}

impl Reader<'_> {
    /// The port's number, or its name.
    pub(crate) fn port(&mut self, port: u16) -> String {
        if (self.is_known)(port) {
            return port.to_string();
        }
        let at = self.met.iter().position(|met| *met == port).unwrap_or_else(|| {
            self.met.push(port);
            self.met.len() - 1
        });
        format!("R{}", at + 1)
    }
}

/// Every field of a packet in words; of checksums, whether they are right. `sent` is the identification of
/// the packet that was put in: a packet that the router made itself has any other.
pub(crate) fn words(bytes: &[u8], sent: u16, reader: &mut Reader<'_>) -> String {
    if bytes.len() < 20 {
        return format!("{} bytes", bytes.len());
    }
    let at = (usize::from(bytes[0] & 0xf) * 4).clamp(20, bytes.len());
    let (header, payload) = bytes.split_at(at);
    let is_own = be16(header, 4) != sent;
    let is_own_error = is_own && header[9] == protocol::ICMP && payload.first() != Some(&0);
    let mut out = match is_own_error && (reader.ignores)("own-state") {
        true => format!("its own > {}", addr(header, 16)),
        false => format!("{} > {}", addr(header, 12), addr(header, 16)),
    };
    let _ = write!(out, " ttl={} id={}", header[8], if is_own { "own" } else { "same" });
    if !(is_own && (reader.ignores)("own-header")) {
        let _ = write!(out, " tos={:#x} frag={:#06x}", header[1], be16(header, 6));
    }
    if at > 20 {
        let _ = write!(out, " options={:02x?}", &header[20..]);
    }
    if checksum::fold(checksum::sum(0, header)) != 0xffff {
        out.push_str(" BAD-HEADER-SUM");
    }
    let pseudo = checksum::pseudo_header(
        addr(header, 12),
        addr(header, 16),
        header[9],
        payload.len() as u16,
    );
    let is_whole = usize::from(be16(header, 2)) == bytes.len();
    let sum = |initial| checksum::fold(checksum::sum(initial, payload)) == 0xffff;
    let right = match header[9] {
        protocol::TCP | protocol::UDP => Some(sum(pseudo)),
        protocol::ICMP => Some(sum(0)),
        protocol::SCTP if payload.len() >= 12 => {
            let mut zeroed = payload.to_vec();
            zeroed[8..12].fill(0);
            Some(crc32c(&zeroed).to_le_bytes() == payload[8..12])
        }
        _ => None,
    };
    let right = right.filter(|_| is_whole);
    payload_words(header[9], payload, sent, reader, &mut out);
    if right == Some(false) {
        out.push_str(" BAD-SUM");
    }
    out
}

fn payload_words(
    protocol: u8,
    payload: &[u8],
    sent: u16,
    reader: &mut Reader<'_>,
    out: &mut String,
) {
    let _ = match protocol {
        protocol::TCP if payload.len() >= 20 => {
            let data = (usize::from(payload[12] >> 4) * 4).clamp(20, payload.len());
            let pair =
                format!("{} > {}", reader.port(be16(payload, 0)), reader.port(be16(payload, 2)));
            write!(
                out,
                " tcp {pair} flags={:#04x} seq={} ack={} win={} urg={} opt={} len={}",
                payload[13],
                be32(payload, 4),
                be32(payload, 8),
                be16(payload, 14),
                be16(payload, 18),
                hex(&payload[20..data]),
                payload.len() - data
            )
        }
        protocol::TCP | protocol::UDP | protocol::SCTP if payload.len() >= 8 => {
            let pair =
                format!("{} > {}", reader.port(be16(payload, 0)), reader.port(be16(payload, 2)));
            let rest = if protocol == protocol::UDP { &payload[8..] } else { &payload[4..8] };
            write!(out, " proto={protocol} {pair} {} len={}", hex(rest), payload.len())
        }
        protocol::ICMP if payload.len() >= 8 => {
            let _ = write!(out, " icmp {}/{}", payload[0], payload[1]);
            if matches!(payload[0], 3 | 4 | 5 | 11 | 12) && (reader.ignores)("own-quote") {
                write!(out, " quotes something")
            } else if matches!(payload[0], 3 | 4 | 5 | 11 | 12) {
                let _ = write!(out, " rest={:#x} (", be32(payload, 4));
                let mut quoted = words(&payload[8..], sent, reader);
                let is_own_tcp = quoted.contains(" id=own ") && quoted.contains(" tcp ");
                if is_own_tcp && (reader.ignores)("own-reset-sum") {
                    quoted = quoted.replace(" BAD-SUM", "");
                }
                write!(out, "{quoted}) quotes={}", payload.len() - 8)
            } else {
                let id = reader.port(be16(payload, 4));
                let mut data = hex(&payload[8..]);
                // A time that was asked for: the clocks of the two worlds differ.
                if payload[0] == 14 && data.len() == 24 {
                    data.replace_range(8.., " and two times");
                }
                write!(out, " id={id} seq={} {data}", be16(payload, 6))
            }
        }
        _ => write!(out, " proto={protocol} {}", hex(payload)),
    };
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_sctp_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
