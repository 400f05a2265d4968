//! UDP, and the tunnels in it (`print-udp.c`, `print-vxlan.c`, `print-otv.c`).

use super::ip::Ip;
use super::page::{Cut, Page, Shown, need, put, should_be, u8_at, u16_at, u32_at};
use super::{dns, link, text};
use crate::protocol;

pub(super) fn print(page: &mut Page<'_>, ip: &Ip<'_>) -> Shown {
    let shown = header(page, ip);
    page.end_header(shown)
}

fn header(page: &mut Page<'_>, ip: &Ip<'_>) -> Shown {
    page.proto = "udp";
    let bytes = ip.payload;
    if bytes.len() < 4 {
        put!(page, "{} > {}: ", ip.src, ip.dst);
        page.trunc();
        return Ok(());
    }
    let (sport, dport) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
    let (from, to) = (page.port(sport, "udp"), page.port(dport, "udp"));
    put!(page, "{}.{from} > {}.{to}: ", ip.src, ip.dst);
    if ip.len < 8 {
        put!(page, "truncated-udp {}", ip.len);
        return Ok(());
    }
    let said = u32::from(u16_at(need(bytes, 6)?, 4)?);
    if said < 8 {
        put!(page, "truncated-udplength {said}");
        return Ok(());
    }
    let said = said - 8;
    let len = said.min(ip.len - 8);
    let data = bytes.get(8..).ok_or(Cut::Header)?;
    if page.opt.verbose > 1 && !page.opt.no_checksums && !ip.fragmented {
        show_checksum(page, ip, len)?;
    }
    if !page.opt.quiet {
        let is = |port| sport == port || dport == port;
        if is(53) {
            return dns::print(page, data, len, dns::Over::Udp);
        }
        if is(5353) {
            return dns::print(page, data, len, dns::Over::Multicast);
        }
        if is(5060) {
            page.push("SIP");
            return text::print_lines(page, text::Kind::Sip, data, len);
        }
        if is(8472) {
            return otv(page, data, len);
        }
        if is(4789) {
            return vxlan(page, data, len);
        }
    }
    if said > len && !ip.fragmented {
        put!(page, "UDP, bad length {said} > {len}");
    } else {
        put!(page, "UDP, length {said}");
    }
    Ok(())
}

fn show_checksum(page: &mut Page<'_>, ip: &Ip<'_>, len: u32) -> Shown {
    let field = u16_at(ip.payload, 6)?;
    if field == 0 {
        page.push("[no cksum] ");
    } else if let Some(whole) = ip.payload.get(..len as usize + 8) {
        match ip.checksum(protocol::UDP, whole, len + 8) {
            0 => page.push("[udp sum ok] "),
            sum => {
                let good = should_be(field, sum);
                put!(page, "[bad udp cksum 0x{field:04x} -> 0x{good:04x}!] ");
            }
        }
    }
    Ok(())
}

/// RFC 7348.
fn vxlan(page: &mut Page<'_>, data: &[u8], len: u32) -> Shown {
    page.proto = "vxlan";
    page.push("VXLAN");
    if len < 8 {
        page.push(" (invalid)");
        return Ok(());
    }
    data.first().ok_or(Cut::Packet)?;
    page.push(", ");
    let flags = u8_at(data, 0)?;
    put!(page, "flags [{}] (0x{flags:02x}), ", if flags & 8 != 0 { "I" } else { "invalid" });
    put!(page, "vni {}\n", u32_at(data, 4)? >> 8);
    inner(page, data, len)
}

/// Linux's first VXLAN port is one that tcpdump takes for OTV's, whose header is alike.
fn otv(page: &mut Page<'_>, data: &[u8], len: u32) -> Shown {
    page.proto = "otv";
    page.push("OTV, ");
    if len < 8 {
        put!(page, "[length {len} < 8] (invalid)");
        data.get(..len as usize).ok_or(Cut::Packet)?;
        return Ok(());
    }
    let flags = u8_at(data, 0)?;
    put!(page, "flags [{}] (0x{flags:02x}), ", if flags & 8 != 0 { "I" } else { "." });
    put!(page, "overlay {}, ", u32_at(data, 0)? & 0xff_ffff);
    put!(page, "instance {}\n", u32_at(data, 4)? >> 8);
    inner(page, data, len)
}

fn inner(page: &mut Page<'_>, data: &[u8], len: u32) -> Shown {
    need(data, 8)?;
    let frame = data.get(8..).unwrap_or_default();
    if !page.enter() {
        return Ok(());
    }
    let shown = link::ethernet(page, frame, len - 8, &std::cell::Cell::new(0));
    page.leave();
    shown
}
