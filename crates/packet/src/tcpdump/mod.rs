//! What tcpdump 4.99 prints for packets, byte for byte (`tests/oracle_tcpdump.rs` compares).
//!
//! In reading order:
//! - [`Printer`]: the options of a tcpdump and what it remembers of connections; one call a packet;
//! - `page`: the text being written, and the end of the captured bytes;
//! - `link`: Ethernet, cooked and raw captures, ARP;
//! - `ip`, `tcp`, `udp`, `icmp`, `sctp`: headers; `dns`, `text` (HTTP and the like): what is inside;
//! - `hex`: `-x`, `-X`, `-A`; `stamp`: the time in front;
//! - [`Line`]: the line alone, for a packet that is at hand.
//!
//! Facts from the-tcpdump-group/tcpdump, `print-*.c`. Not decoded, and shown as their carrier's payload:
//! IPv6, GRE, IGMP, and applications other than DNS and those of `text`.

mod dns;
mod hex;
mod icmp;
mod ip;
mod link;
mod page;
mod sctp;
mod stamp;
mod tcp;
mod text;
mod udp;

use std::fmt;

use crate::arp::Arp;
use crate::ethernet::{Body, Frame};
use crate::ipv4::Packet;

use page::Page;
pub use stamp::{Stamp, StampStyle};
pub use tcp::flag_letters;

/// What a capture's packets begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header (`LINKTYPE_ETHERNET`, 1).
    #[default]
    Ethernet,
    /// The IP header (`LINKTYPE_RAW`, 101).
    Raw,
    /// A Linux cooked header of version 2 (`LINKTYPE_LINUX_SLL2`, 276), as captures on `any` have it.
    Sll2,
}

impl LinkType {
    /// The number in capture files.
    pub fn number(self) -> u16 {
        match self {
            LinkType::Ethernet => 1,
            LinkType::Raw => 101,
            LinkType::Sll2 => 276,
        }
    }

    /// The link type of this number in capture files.
    pub fn of(number: u32) -> Option<LinkType> {
        [LinkType::Ethernet, LinkType::Raw, LinkType::Sll2]
            .into_iter()
            .find(|link| u32::from(link.number()) == number)
    }

    /// `EN10MB (Ethernet)`, as tcpdump calls it.
    pub fn name(self) -> &'static str {
        match self {
            LinkType::Ethernet => "EN10MB (Ethernet)",
            LinkType::Raw => "RAW (Raw IP)",
            LinkType::Sll2 => "LINUX_SLL2 (Linux cooked v2)",
        }
    }
}

/// `-x` and its kin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dump {
    /// Nothing.
    #[default]
    None,
    /// `-x`: hexadecimal.
    Hex,
    /// `-X`: hexadecimal and ASCII.
    HexAscii,
    /// `-A`: ASCII.
    Ascii,
}

/// tcpdump's options that change what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Without `-n`, ports get their services' names. Addresses stay numbers: nobody is asked.
    pub port_names: bool,
    /// `-e`: the link's header.
    pub link_header: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// `-q`.
    pub quiet: bool,
    /// `-S`: sequence numbers as they are.
    pub absolute: bool,
    /// `-K`: checksums are not looked at.
    pub no_checksums: bool,
    /// `-x`, `-X`, `-A`.
    pub dump: Dump,
    /// `-xx`, `-XX`: the dump begins with the link's header.
    pub dump_link: bool,
    /// `-t` and its repetitions.
    pub stamp: StampStyle,
}

/// One packet of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// When.
    pub at: Stamp,
    /// What it begins with.
    pub link: LinkType,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// How long it was.
    pub len: u32,
}

/// Prints packets as one run of tcpdump does: options, and what is remembered from packet to packet.
#[derive(Clone, Debug, Default)]
pub struct Printer {
    options: Options,
    seqs: tcp::Seqs,
    stamps: stamp::Stamps,
    ifaces: base::tree::BTreeMap<u32, String>,
}

impl Printer {
    /// Nothing has been seen yet.
    pub fn new(options: Options) -> Printer {
        Printer { options, ..Printer::default() }
    }

    /// Names an interface that cooked headers speak of by its index.
    pub fn name_iface(&mut self, index: u32, name: &str) {
        self.ifaces.insert(index, name.to_string());
    }

    /// Everything tcpdump prints for a packet, without the newline at its end.
    pub fn print(&mut self, packet: &Captured<'_>) -> String {
        let mut out = self.stamps.show(packet.at, self.options.stamp);
        let mut page = Page::new(self.options, &mut self.seqs);
        let header_len = link::print(&mut page, packet, &self.ifaces);
        out.push_str(&page.finish());
        let from = if self.options.dump_link { 0 } else { header_len };
        hex::dump(&mut out, self.options.dump, packet.bytes.get(from..).unwrap_or_default());
        out
    }
}

/// Displays as tcpdump's line for an IPv4 packet.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    packet: &'a Packet,
    /// Initial sequence numbers of the sender and of its peer, when both have been seen.
    relative_to: Option<(u32, u32)>,
}

impl<'a> Line<'a> {
    /// With absolute sequence numbers, as for the first packets of a connection or with `-S`.
    pub fn new(packet: &'a Packet) -> Self {
        Line { packet, relative_to: None }
    }

    /// With sequence numbers relative to the initial ones of the sender and its peer.
    pub fn relative(packet: &'a Packet, isn: u32, peer_isn: u32) -> Self {
        Line { packet, relative_to: Some((isn, peer_isn)) }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seqs = tcp::Seqs::default();
        let mut options = Options { absolute: true, ..Options::default() };
        if let Some((isn, peer)) = self.relative_to
            && !self.packet.head().is_tcp_syn()
            && seqs.know(self.packet, isn, peer)
        {
            options.absolute = false;
        }
        let mut page = Page::new(options, &mut seqs);
        let bytes = self.packet.bytes();
        let shown = ip::print(&mut page, bytes, bytes.len() as u32);
        page.end(shown);
        f.write_str(&page.finish())
    }
}

impl fmt::Display for Arp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seqs = tcp::Seqs::default();
        let mut page = Page::new(Options::default(), &mut seqs);
        let shown = link::arp(&mut page, &self.to_bytes(), Arp::LEN as u32);
        page.end(shown);
        f.write_str(&page.finish())
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Ipv4(packet) => Line::new(packet).fmt(f),
            Body::Arp(arp) => arp.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
