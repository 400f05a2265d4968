//! Any bytes as a packet: views, rewriting, text, capture files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use packet::capture::Capture;
use packet::ipv4::End;
use packet::tcpdump::{Captured, Dump, LinkType, Options, Printer, Stamp, StampStyle};
use packet::{Arp, Frame, Packet, view};

fn print(bytes: &[u8], choice: u8) {
    let options = Options {
        port_names: choice & 1 != 0,
        link_header: choice & 2 != 0,
        verbose: choice >> 2 & 3,
        quiet: choice & 16 != 0,
        absolute: choice & 32 != 0,
        no_checksums: false,
        dump: [Dump::None, Dump::HexAscii, Dump::Ascii, Dump::Hex][usize::from(choice >> 6)],
        dump_link: choice & 4 != 0,
        stamp: StampStyle::of(usize::from(choice % 6)),
    };
    let mut printer = Printer::new(options);
    for link in [LinkType::Ethernet, LinkType::Sll2, LinkType::Raw] {
        for len in [bytes.len(), bytes.len() + 9] {
            let captured = Captured { at: Stamp(u64::from(choice)), link, bytes, len: len as u32 };
            printer.print(&captured);
        }
    }
}

fn rewrite(bytes: &[u8], choice: u8) {
    let Ok(mut packet) = Packet::parse(bytes.to_vec()) else { return };
    let was_right = packet.l4_checksum_ok();
    let header_was_right = Packet::parse_checked(bytes.to_vec()).is_ok();
    let mut salt = u32::from(choice);
    for step in 0..6 {
        salt = salt.wrapping_mul(0x9e37_79b9).wrapping_add(0x1234_5678);
        let end = if salt & 1 == 0 { End::Source } else { End::Destination };
        match step {
            0 | 3 => {
                packet.rewrite(end, salt.into(), (salt & 2 != 0).then_some((salt >> 8) as u16))
            }
            1 => packet.rewrite_quoted(end, salt.into(), Some((salt >> 8) as u16)),
            2 => packet.set_tos((salt >> 9) as u8),
            4 => {
                packet.set_tcp_mss((salt >> 9) as u16);
                packet.lower_mss(1000);
            }
            _ => {
                packet.set_ident(salt as u16);
                packet.decrement_ttl();
            }
        }
        if header_was_right {
            assert!(Packet::parse_checked(packet.bytes().to_vec()).is_ok());
        }
        if was_right {
            assert!(packet.l4_checksum_ok(), "{packet:?}");
        }
        assert_eq!(Packet::parse(packet.bytes().to_vec()).map(|p| *p.head()), Ok(*packet.head()));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    print(bytes, choice);
    rewrite(bytes, choice);
    let _ = (Frame::parse(bytes), Arp::parse(bytes), view::Ethernet::parse(bytes));
    if let Ok(tcp) = view::Tcp::parse(bytes) {
        let _ = (tcp.mss(), tcp.options().count());
    }
    let _ = Capture::read(bytes);
});
