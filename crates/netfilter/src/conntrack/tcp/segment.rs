//! What is read of a TCP segment: its numbers, its window and its options.

use packet::tcp_flags::{ACK, FIN, RST, SYN};
use packet::{L4, Packet};

use super::Kind;
use crate::conntrack::Invalid;

/// A segment, read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) kind: Kind,
    flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    /// The sequence number after its data, SYN and FIN included.
    pub(crate) end: u32,
    pub(crate) window: u16,
    options: &'a [u8],
}

/// What a SYN says about windows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SynOptions {
    /// RFC 7323 §2.2, at most 14.
    pub(crate) scale: Option<u8>,
    /// RFC 2018 §2.
    pub(crate) permits_sack: bool,
}

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_WINDOW_SCALE: u8 = 3;
const OPTION_SACK_PERMITTED: u8 = 4;
const OPTION_SACK: u8 = 5;
/// Largest shift of a window (RFC 7323 §2.3).
const SCALE_MAX: u8 = 14;

impl<'a> Segment<'a> {
    /// Reads the segment of a packet; a header that is cut short or a wrong length is an error.
    #[inline]
    pub(crate) fn of(packet: &'a Packet) -> Result<Segment<'a>, Invalid> {
        let L4::Tcp { flags, .. } = packet.head().l4 else { return Err(Invalid::Truncated) };
        let payload = packet.payload();
        let Some(header) = payload.first_chunk::<20>() else { return Err(Invalid::Truncated) };
        let header_len = usize::from(header[12] >> 4) * 4;
        let Some(options) = payload.get(20..header_len) else { return Err(Invalid::Truncated) };
        let long = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let seq = long(4);
        let phantoms = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let data_len = (payload.len() - header_len) as u32;
        Ok(Segment {
            kind: Kind::of(flags),
            flags,
            seq,
            ack: long(8),
            end: seq.wrapping_add(data_len).wrapping_add(phantoms),
            window: u16::from_be_bytes([header[14], header[15]]),
            options,
        })
    }

    pub(crate) fn flags(&self) -> u8 {
        self.flags
    }

    pub(crate) fn has_syn(&self) -> bool {
        self.flags & SYN != 0
    }

    pub(crate) fn has_ack(&self) -> bool {
        self.flags & ACK != 0
    }

    pub(crate) fn has_rst(&self) -> bool {
        self.flags & RST != 0
    }

    pub(crate) fn has_options(&self) -> bool {
        !self.options.is_empty()
    }

    /// The options one by one: kind and contents. Ends where the options no longer make sense.
    fn options(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.options;
        std::iter::from_fn(move || {
            loop {
                match *rest {
                    [] | [OPTION_END, ..] => return None,
                    [OPTION_NOP, ..] => rest = rest.get(1..)?,
                    [kind, len, ..] => {
                        let option = rest.get(2..usize::from(len))?;
                        rest = rest.get(usize::from(len)..)?;
                        return Some((kind, option));
                    }
                    [_] => return None,
                }
            }
        })
    }

    pub(crate) fn syn_options(&self) -> SynOptions {
        let mut found = SynOptions::default();
        for option in self.options() {
            match option {
                (OPTION_SACK_PERMITTED, []) => found.permits_sack = true,
                (OPTION_WINDOW_SCALE, [scale]) => found.scale = Some((*scale).min(SCALE_MAX)),
                _ => {}
            }
        }
        found
    }

    /// The highest right edge among the selectively acknowledged blocks, and the acknowledgment itself.
    pub(crate) fn highest_ack(&self) -> u32 {
        if self.options.is_empty() {
            return self.ack;
        }
        let blocks = self
            .options()
            .find(|(kind, blocks)| {
                *kind == OPTION_SACK && !blocks.is_empty() && blocks.len() % 8 == 0
            })
            .map_or(&[][..], |(_, blocks)| blocks);
        blocks.chunks_exact(8).fold(self.ack, |highest, block| {
            let right = block.last_chunk::<4>().map_or(highest, |right| u32::from_be_bytes(*right));
            if after(right, highest) { right } else { highest }
        })
    }
}

/// `a` comes before `b` in sequence space (RFC 9293 §3.4).
#[inline]
pub(crate) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// `a` comes after `b` in sequence space.
#[inline]
pub(crate) fn after(a: u32, b: u32) -> bool {
    before(b, a)
}
