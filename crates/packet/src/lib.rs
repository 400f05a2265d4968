//! Packets as bytes.
//!
//! In reading order:
//! - [`checksum`]: the Internet checksum, whole and by difference (RFC 1071, RFC 1624); SCTP's CRC32c;
//! - [`view`]: headers read where they lie: Ethernet with its tags, IPv4, TCP, UDP, ICMP, SCTP, VXLAN;
//! - [`ethernet`]: hardware addresses and the [`Frame`] that crosses a link;
//! - [`arp`]: who has which address;
//! - [`ipv4`]: [`Packet`], an IPv4 packet that is parsed once and rewritten in place;
//! - [`reply`]: the packets that are made *about* a packet: ICMP errors and TCP resets;
//! - [`tcpdump`]: what tcpdump prints for it, byte for byte;
//! - [`filter`]: expressions of pcap-filter(7);
//! - [`capture`]: pcapng and pcap files;
//! - [`services`]: names of ports and protocols.
//!
//! **Invariant:** any bytes may come in; parsing answers with [`Malformed`], never with a panic.
//! **Invariant:** a [`Packet`] that was valid stays valid through every rewrite: its checksums are right
//! at every point where it can be captured.
//! **Invariant:** parsers, printers and filters are bounded in depth and memory, and so is what a
//! [`tcpdump::Printer`] remembers.
//! **Invariant:** nothing here reads a clock, or knows tables or Kubernetes.

pub mod arp;
pub mod capture;
pub mod checksum;
pub mod ethernet;
pub mod filter;
pub mod ipv4;
pub mod reply;
pub mod services;
pub mod tcpdump;
pub mod view;

pub use arp::Arp;
pub use ethernet::{Body, Frame, Mac};
pub use ipv4::{Fragment, Head, L4, Malformed, Packet, protocol, tcp_flags};

/// Big-endian field at `at`, if it is there.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(field.try_into().ok()?))
}

/// Big-endian field at `at`, if it is there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(field.try_into().ok()?))
}

/// Writes a big-endian field; does nothing where there is no room.
pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
