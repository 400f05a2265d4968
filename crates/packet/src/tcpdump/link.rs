//! What the link puts in front: Ethernet, Linux cooked, nothing; and ARP.

use base::tree::BTreeMap;

use super::page::{Cut, Page, Shown, need, put, u8_at, u16_at, u32_at};
use super::{Captured, Dump, LinkType, hex, ip};
use crate::ethernet::Mac;

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
const IPV6: u16 = 0x86dd;

/// Types up to this are lengths (IEEE 802.3).
const LENGTH_MAX: u16 = 1500;

/// Prints a packet; says how long the link's header is.
pub(super) fn print(
    page: &mut Page<'_>,
    packet: &Captured<'_>,
    ifaces: &BTreeMap<u32, String>,
) -> usize {
    let header_len = std::cell::Cell::new(0);
    let shown = match packet.link {
        LinkType::Ethernet => ethernet(page, packet.bytes, packet.len, &header_len),
        LinkType::Raw => raw(page, packet.bytes, packet.len),
        LinkType::Sll2 => cooked(page, packet, ifaces, &header_len),
    };
    let shown = page.end_header(shown);
    page.end(shown);
    // A packet that has been given up is dumped whole.
    if shown.is_err() { 0 } else { header_len.get() }
}

fn raw(page: &mut Page<'_>, bytes: &[u8], len: u32) -> Shown {
    if page.opt.link_header {
        page.push("ip: ");
    }
    page.proto = "raw";
    match u8_at(bytes, 0)? >> 4 {
        4 => ip::print(page, bytes, len),
        6 => ip::ipv6(page, bytes, len),
        other => {
            put!(page, "unknown ip {other}");
            Ok(())
        }
    }
}

fn mac(bytes: &[u8], at: usize) -> Result<Mac, Cut> {
    let octets = bytes.get(at..at + 6).ok_or(Cut::Packet)?;
    Ok(Mac(octets.try_into().map_err(|_| Cut::Packet)?))
}

pub(super) fn ethertype_name(kind: u16) -> &'static str {
    match kind {
        IPV4 => "IPv4",
        ARP => "ARP",
        RARP => "Reverse ARP",
        IPV6 => "IPv6",
        0x8100 => "802.1Q",
        0x88a8 => "802.1Q-QinQ",
        0x9100 => "802.1Q-9100",
        0x9200 => "802.1Q-9200",
        0x8847 => "MPLS unicast",
        0x88cc => "LLDP",
        0x8863 => "PPPoE D",
        0x8864 => "PPPoE S",
        0x888e => "EAPOL",
        _ => "",
    }
}

fn is_tag(kind: u16) -> bool {
    matches!(kind, 0x8100 | 0x88a8 | 0x9100 | 0x9200)
}

fn put_type(page: &mut Page<'_>, kind: u16) {
    let name = ethertype_name(kind);
    match (page.opt.quiet, name.is_empty()) {
        (false, true) => put!(page, "ethertype Unknown (0x{kind:04x})"),
        (false, false) => put!(page, "ethertype {name} (0x{kind:04x})"),
        (true, true) => put!(page, "Unknown Ethertype (0x{kind:04x})"),
        (true, false) => page.push(name),
    }
}

/// A frame, on the wire or in a tunnel.
pub(super) fn ethernet(
    page: &mut Page<'_>,
    bytes: &[u8],
    len: u32,
    header_len: &std::cell::Cell<usize>,
) -> Shown {
    page.proto = "ether";
    if (len as usize) < bytes.len() {
        put!(page, "[length {len} < caplen {}] (invalid)", bytes.len());
        return Ok(());
    }
    if len < 14 || bytes.len() < 14 {
        header_len.set(bytes.len());
        return Err(Cut::Header);
    }
    let (dst, src) = (mac(bytes, 0)?, mac(bytes, 6)?);
    if page.opt.link_header {
        let (src, dst) = (page.opt.mac(src), page.opt.mac(dst));
        put!(page, "{src} > {dst}, ");
    }
    let mut at = 12;
    let mut length_is_said = false;
    let mut kind = u16_at(bytes, at)?;
    while is_tag(kind) {
        page.proto = "vlan";
        header_len.set(bytes.len());
        need(bytes, at + 6)?;
        if page.opt.link_header {
            put_type(page, kind);
            if length_is_said {
                page.push(", ");
            } else {
                put!(page, ", length {len}: ");
            }
            length_is_said = true;
            put_tag(page, u16_at(bytes, at + 2)?);
        }
        at += 4;
        kind = u16_at(bytes, at)?;
        page.proto = "ether";
    }
    at += 2;
    header_len.set(at);
    let rest = bytes.get(at..).ok_or(Cut::Packet)?;
    let rest_len = len.saturating_sub(at as u32);
    if kind <= LENGTH_MAX {
        return llc(page, rest, u32::from(kind).min(rest_len), length_is_said);
    }
    if page.opt.link_header {
        put_type(page, kind);
        if length_is_said {
            page.push(", ");
        } else {
            put!(page, ", length {len}: ");
        }
    }
    if !body(page, kind, rest, rest_len)? {
        if !page.opt.link_header {
            let (src, dst) = (page.opt.mac(src), page.opt.mac(dst));
            put!(page, "{src} > {dst}, ");
            put_type(page, kind);
            put!(page, ", length {len}: ");
        }
        unknown(page, rest);
    }
    Ok(())
}

fn put_tag(page: &mut Page<'_>, tci: u16) {
    put!(
        page,
        "vlan {}, p {}{}, ",
        tci & 0xfff,
        tci >> 13,
        if tci & 0x1000 == 0 { "" } else { ", DEI" }
    );
}

/// IEEE 802.2 frames are recognised and not taken apart.
fn llc(page: &mut Page<'_>, rest: &[u8], len: u32, length_is_said: bool) -> Shown {
    if page.opt.link_header {
        page.push("802.3");
        if !length_is_said {
            put!(page, ", length {len}: ");
        }
    }
    page.proto = "llc";
    need(rest, 3)?;
    put!(page, "LLC, not supported by podwire, length {len}");
    Ok(())
}

/// Bytes of which nothing is known.
fn unknown(page: &mut Page<'_>, bytes: &[u8]) {
    let will_be_dumped = matches!(page.opt.dump, Dump::Hex | Dump::HexAscii);
    if !will_be_dumped && !page.opt.quiet {
        dump(page, bytes);
    }
}

fn dump(page: &mut Page<'_>, bytes: &[u8]) {
    let mut text = String::new();
    hex::hex(&mut text, bytes, true);
    page.push(&text);
}

/// What stands behind the link's header. `false`: nothing is known of this type.
fn body(page: &mut Page<'_>, kind: u16, bytes: &[u8], len: u32) -> Result<bool, Cut> {
    match kind {
        IPV4 => ip::print(page, bytes, len)?,
        IPV6 => ip::ipv6(page, bytes, len)?,
        ARP | RARP => arp(page, bytes, len)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn cooked(
    page: &mut Page<'_>,
    packet: &Captured<'_>,
    ifaces: &BTreeMap<u32, String>,
    header_len: &std::cell::Cell<usize>,
) -> Shown {
    page.proto = "sll2";
    let (bytes, len) = (packet.bytes, packet.len);
    if len < 20 || bytes.len() < 20 {
        header_len.set(bytes.len());
        return Err(Cut::Header);
    }
    header_len.set(20);
    let name = ifaces.get(&u32_at(bytes, 4)?).map_or("?", String::as_str);
    let direction = match u8_at(bytes, 10)? {
        0 => "In",
        1 => "B",
        2 => "M",
        3 => "P",
        4 => "Out",
        _ => "?",
    };
    put!(page, "{name:<5} {direction:<3} ");
    if page.opt.link_header {
        cooked_header(page, bytes, len)?;
    }
    let (kind, rest) = (u16_at(bytes, 0)?, bytes.get(20..).ok_or(Cut::Packet)?);
    if !body(page, kind, rest, len - 20)? {
        if !page.opt.link_header {
            cooked_header(page, bytes, len)?;
        }
        unknown(page, rest);
    }
    Ok(())
}

fn cooked_header(page: &mut Page<'_>, bytes: &[u8], len: u32) -> Shown {
    put!(page, "ifindex {} ", u32_at(bytes, 4)?);
    if u8_at(bytes, 11)? == 6 {
        let from = page.opt.mac(mac(bytes, 12)?);
        put!(page, "{from} ");
    }
    if page.opt.quiet {
        return Ok(());
    }
    let kind = u16_at(bytes, 0)?;
    let name = ethertype_name(kind);
    let name = if name.is_empty() { "Unknown" } else { name };
    put!(page, "ethertype {name} (0x{kind:04x}), length {len}: ");
    Ok(())
}

/// ARP and RARP (`print-arp.c`).
pub(super) fn arp(page: &mut Page<'_>, bytes: &[u8], len: u32) -> Shown {
    let shown = arp_header(page, bytes, len);
    page.end_header(shown)
}

fn arp_header(page: &mut Page<'_>, bytes: &[u8], len: u32) -> Shown {
    page.proto = "arp";
    bytes.get(..8).ok_or(Cut::Packet)?;
    let (hrd, pro) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
    let (hln, pln) = (usize::from(u8_at(bytes, 4)?), usize::from(u8_at(bytes, 5)?));
    let op = u16_at(bytes, 6)?;
    bytes.get(..8 + 2 * (hln + pln)).ok_or(Cut::Packet)?;
    if !page.opt.link_header {
        page.push("ARP, ");
    }
    let is_odd = pro != IPV4 || pln != 4 || hln == 0;
    if is_odd || page.opt.verbose > 0 {
        match hrd {
            1 => put!(page, "Ethernet (len {hln}), "),
            6 => put!(page, "TokenRing (len {hln}), "),
            7 => put!(page, "ArcNet (len {hln}), "),
            15 => put!(page, "FrameRelay (len {hln}), "),
            17 => put!(page, "Strip (len {hln}), "),
            24 => put!(page, "IEEE 1394 (len {hln}), "),
            32 => put!(page, "Infiniband (len {hln}), "),
            other => put!(page, "Unknown Hardware ({other}) (len {hln}), "),
        }
        match ethertype_name(pro) {
            "" => put!(page, "Unknown Protocol (0x{pro:04x}) (len {pln})"),
            name => put!(page, "{name} (len {pln})"),
        }
        // Only an odd one without -v ends here.
        if page.opt.verbose == 0 {
            put!(page, ", length {len}");
            return Ok(());
        }
        page.push(", ");
    }
    if arp_operation(page, bytes, (op, pro, hln, pln))? {
        put!(page, ", length {len}");
    }
    Ok(())
}

/// `false`: the operation is not known, and the packet has been dumped.
fn arp_operation(
    page: &mut Page<'_>,
    bytes: &[u8],
    (op, pro, hln, pln): (u16, u16, usize, usize),
) -> Result<bool, Cut> {
    let options = page.opt;
    let hardware = |at: usize| -> Result<String, Cut> {
        let octets = bytes.get(at..at + hln).ok_or(Cut::Packet)?;
        if let Ok(octets) = <[u8; 6]>::try_from(octets) {
            return Ok(options.mac(Mac(octets)));
        }
        let octets: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        Ok(if octets.is_empty() { "<No address>".to_string() } else { octets.join(":") })
    };
    let address = |at: usize| -> Result<String, Cut> {
        Ok(match (pro, pln) {
            (IPV4, 4) => super::page::ip_at(bytes, at)?.to_string(),
            (IPV4, _) => "<wrong len>".to_string(),
            _ => "<wrong proto type>".to_string(),
        })
    };
    let (sha, spa, tha, tpa) = (8, 8 + hln, 8 + hln + pln, 8 + 2 * hln + pln);
    match op {
        1 => {
            put!(page, "Request who-has {}", address(tpa)?);
            if bytes.get(tha..tha + hln).ok_or(Cut::Packet)?.iter().any(|octet| *octet != 0) {
                put!(page, " ({})", hardware(tha)?);
            }
            put!(page, " tell {}", address(spa)?);
        }
        2 => put!(page, "Reply {} is-at {}", address(spa)?, hardware(sha)?),
        3 => put!(page, "Reverse Request who-is {} tell {}", hardware(tha)?, hardware(sha)?),
        4 => put!(page, "Reverse Reply {} at {}", hardware(tha)?, address(tpa)?),
        8 => put!(page, "Inverse Request who-is {} tell {}", hardware(tha)?, hardware(sha)?),
        9 => put!(page, "Inverse Reply {} at {}", hardware(sha)?, address(spa)?),
        other => {
            put!(page, "Unknown ({other}) ");
            // Even where a dump will follow.
            dump(page, bytes);
            return Ok(false);
        }
    }
    Ok(true)
}
