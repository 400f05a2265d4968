//! The text being written, and reading up to the end of what was captured.

use std::fmt::Write;

use super::Options;
use super::tcp::Seqs;
use crate::ethernet::Mac;

/// The captured bytes end where a field should be: tcpdump prints `[|tcp]` and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// And gives the packet up.
    Packet,
    /// And goes on behind the header, as it does where it has looked before reading.
    Header,
}

/// What printing a header comes to.
pub(super) type Shown = Result<(), Cut>;

/// Packets inside packets that are looked into.
const DEPTH_MAX: u8 = 64;

/// The text of one packet.
pub(super) struct Page<'p> {
    out: String,
    pub(super) opt: Options,
    pub(super) seqs: &'p mut Seqs,
    /// What is being read, as `[|…]` names it.
    pub(super) proto: &'static str,
    depth: u8,
}

impl<'p> Page<'p> {
    pub(super) fn new(opt: Options, seqs: &'p mut Seqs) -> Page<'p> {
        Page { out: String::new(), opt, seqs, proto: "", depth: 0 }
    }

    pub(super) fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.out.write_fmt(text);
    }

    pub(super) fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// A byte as tcpdump prints it in text: printable ASCII as it is, others as `M-` and `^`.
    pub(super) fn push_char(&mut self, byte: u8) {
        let mut byte = byte;
        if byte >= 0x80 {
            byte &= 0x7f;
            self.out.push_str("M-");
        }
        if !(0x20..0x7f).contains(&byte) {
            byte ^= 0x40;
            self.out.push('^');
        }
        self.out.push(char::from(byte));
    }

    pub(super) fn trunc(&mut self) {
        let proto = self.proto;
        self.write(format_args!(" [|{proto}]"));
    }

    /// Says so when the captured bytes ended.
    pub(super) fn end(&mut self, shown: Shown) {
        if shown.is_err() {
            self.trunc();
        }
    }

    /// Says so when a header was cut, and goes on.
    pub(super) fn end_header(&mut self, shown: Shown) -> Shown {
        if shown == Err(Cut::Header) {
            self.trunc();
            return Ok(());
        }
        shown
    }

    /// One packet deeper; `false` when that is too deep.
    pub(super) fn enter(&mut self) -> bool {
        self.depth += 1;
        let is_in = self.depth <= DEPTH_MAX;
        if !is_in {
            self.push("[nested too deep]");
        }
        is_in
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// The port's number, or its service's name.
    pub(super) fn port(&self, port: u16, protocol: &str) -> String {
        let name = self.opt.port_names.then(|| crate::services::name_of(port, protocol));
        name.flatten().map_or_else(|| port.to_string(), str::to_string)
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}

impl Options {
    /// A hardware address; without `-n` with its maker, of which none is known here: the lab's addresses are
    /// locally administered.
    pub(super) fn mac(&self, mac: Mac) -> String {
        match (self.port_names, mac) {
            (false, mac) => mac.to_string(),
            (true, Mac::BROADCAST) => "Broadcast".to_string(),
            (true, Mac([0, 0, 0, ..])) => format!("{mac} (oui Ethernet)"),
            (true, mac) => format!("{mac} (oui Unknown)"),
        }
    }
}

/// Writes to a page.
macro_rules! put {
    ($page:expr, $($text:tt)*) => { $page.write(format_args!($($text)*)) };
}
pub(super) use put;

pub(super) fn u8_at(bytes: &[u8], at: usize) -> Result<u8, Cut> {
    bytes.get(at).copied().ok_or(Cut::Packet)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Cut> {
    crate::u16_at(bytes, at).ok_or(Cut::Packet)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Cut> {
    crate::u32_at(bytes, at).ok_or(Cut::Packet)
}

pub(super) fn ip_at(bytes: &[u8], at: usize) -> Result<std::net::Ipv4Addr, Cut> {
    Ok(u32_at(bytes, at)?.into())
}

/// All `len` bytes have been captured.
pub(super) fn need(bytes: &[u8], len: usize) -> Result<&[u8], Cut> {
    bytes.get(..len).ok_or(Cut::Header)
}

/// What the checksum field should hold, given what it holds and the sum over everything.
pub(super) fn should_be(field: u16, sum: u16) -> u16 {
    let shouldbe = u32::from(field) + u32::from(sum);
    crate::checksum::fold(shouldbe)
}
