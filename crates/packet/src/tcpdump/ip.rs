//! IPv4 (`print-ip.c`, `print-ip-demux.c`).

use std::net::Ipv4Addr;

use super::page::{Cut, Page, Shown, ip_at, need, put, should_be, u8_at, u16_at, u32_at};
use super::{icmp, sctp, tcp, udp};
use crate::{checksum, protocol};

/// What the layers above need of the header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip<'a> {
    pub(super) src: Ipv4Addr,
    pub(super) dst: Ipv4Addr,
    /// Where a source route ends, else `dst`: what checksums are made with.
    pub(super) last: Ipv4Addr,
    /// More fragments follow.
    pub(super) fragmented: bool,
    /// What has been captured of the payload.
    pub(super) payload: &'a [u8],
    /// How long the payload is.
    pub(super) len: u32,
}

impl Ip<'_> {
    /// The sum over pseudo header and payload, complemented: zero when the checksum is right.
    pub(super) fn checksum(&self, protocol: u8, payload: &[u8], len: u32) -> u16 {
        let pseudo = checksum::pseudo_header(self.src, self.last, protocol, len as u16);
        !checksum::fold(checksum::sum(pseudo, payload))
    }
}

pub(super) fn print(page: &mut Page<'_>, bytes: &[u8], len: u32) -> Shown {
    if !page.enter() {
        return Ok(());
    }
    let shown = header(page, bytes, len);
    page.leave();
    page.end_header(shown)
}

/// IPv6 is named and not taken apart.
pub(super) fn ipv6(page: &mut Page<'_>, bytes: &[u8], len: u32) -> Shown {
    page.proto = "ip6";
    need(bytes, 40)?;
    put!(page, "IP6, not supported by podwire, length {len}");
    Ok(())
}

fn header(page: &mut Page<'_>, bytes: &[u8], length: u32) -> Shown {
    page.proto = "ip";
    let version = u8_at(bytes, 0)? >> 4;
    if version != 4 {
        match version {
            6 => page.push("IP6, wrong link-layer encapsulation"),
            other => put!(page, "IP{other}"),
        }
        page.push(" (invalid)");
        return Ok(());
    }
    if !page.opt.link_header {
        page.push("IP ");
    }
    need(bytes, 20)?;
    if length < 20 {
        put!(page, "truncated-ip {length}");
        return Ok(());
    }
    let header_len = u32::from(u8_at(bytes, 0)? & 0xf) * 4;
    if header_len < 20 {
        put!(page, "bad-hlen {header_len}");
        return Ok(());
    }
    let mut total = u32::from(u16_at(bytes, 2)?);
    if length < total {
        put!(page, "truncated-ip - {} bytes missing! ", total - length);
    }
    if total < header_len {
        if total > 0 || length < header_len {
            put!(page, "bad-len {total}");
            return Ok(());
        }
        // A length of zero is what segmentation offload leaves.
        total = length;
    }
    let bytes = bytes.get(..total as usize).unwrap_or(bytes);
    body(page, bytes, header_len as usize, total - header_len)
}

fn body(page: &mut Page<'_>, bytes: &[u8], header_len: usize, len: u32) -> Shown {
    let offset = u16_at(bytes, 6)?;
    let protocol = u8_at(bytes, 9)?;
    let (src, dst) = (ip_at(bytes, 12)?, ip_at(bytes, 16)?);
    if page.opt.verbose > 0 && verbose(page, bytes, header_len, offset)? {
        put!(page, "{src} > {dst}: ");
        return Err(Cut::Header);
    }
    if offset & 0x1fff != 0 {
        put!(page, "{src} > {dst}:");
        match page.opt.port_names.then(|| crate::services::protocol_name(protocol)).flatten() {
            Some(name) => put!(page, " {name}"),
            None => put!(page, " ip-proto-{protocol}"),
        }
        return Ok(());
    }
    use protocol::{SCTP, TCP, UDP};
    if !matches!(protocol, TCP | UDP | SCTP) {
        put!(page, "{src} > {dst}: ");
    }
    let Some(payload) = bytes.get(header_len..) else {
        put!(page, " [remaining caplen({}) < header length({header_len})]", bytes.len());
        return Err(Cut::Packet);
    };
    let last = bytes.get(20..header_len).and_then(source_route_end).unwrap_or(dst);
    let ip = Ip { src, dst, last, fragmented: offset & 0x2000 != 0, payload, len };
    match protocol {
        TCP => tcp::print(page, &ip),
        UDP => udp::print(page, &ip),
        SCTP => sctp::print(page, &ip),
        protocol::ICMP => icmp::print(page, &ip),
        protocol::IPIP => print(page, payload, len),
        other => {
            match page.opt.port_names.then(|| crate::services::protocol_name(other)).flatten() {
                Some(name) => put!(page, " {name} {len}"),
                None => put!(page, " ip-proto-{other} {len}"),
            }
            Ok(())
        }
    }
}

/// The line of `-v`. `true`: an option was cut off.
fn verbose(page: &mut Page<'_>, bytes: &[u8], header_len: usize, offset: u16) -> Result<bool, Cut> {
    let tos = u8_at(bytes, 1)?;
    put!(page, "(tos 0x{tos:x}");
    page.push(["", ",ECT(1)", ",ECT(0)", ",CE"].get(usize::from(tos & 3)).copied().unwrap_or(""));
    let ttl = u8_at(bytes, 8)?;
    if ttl >= 1 {
        put!(page, ", ttl {ttl}");
    }
    let protocol = u8_at(bytes, 9)?;
    let flags: Vec<&str> = [(0x2000, "+"), (0x4000, "DF"), (0x8000, "rsvd")]
        .into_iter()
        .filter(|(bit, _)| offset & bit != 0)
        .map(|(_, name)| name)
        .collect();
    let flags = if flags.is_empty() { "none".to_string() } else { flags.join(", ") };
    put!(
        page,
        ", id {}, offset {}, flags [{flags}], proto {} ({protocol}), length {}",
        u16_at(bytes, 4)?,
        u32::from(offset & 0x1fff) * 8,
        protocol_label(protocol),
        u16_at(bytes, 2)?
    );
    let mut is_cut = false;
    if header_len > 20 {
        page.push(", options (");
        let captured = bytes.get(20..header_len.min(bytes.len())).unwrap_or_default();
        is_cut = options(page, captured, header_len - 20)?;
        if is_cut {
            page.push(" [truncated-option]");
        }
        page.push(")");
    }
    if !page.opt.no_checksums
        && let Some(header) = bytes.get(..header_len)
    {
        let sum = checksum::of(header);
        if sum != 0 {
            let field = u16_at(bytes, 10)?;
            put!(page, ", bad cksum {field:x} (->{:x})!", should_be(field, sum));
        }
    }
    page.push(")\n    ");
    Ok(is_cut)
}

fn protocol_label(protocol: u8) -> &'static str {
    match protocol {
        0 => "Options",
        1 => "ICMP",
        2 => "IGMP",
        4 => "IPIP",
        6 => "TCP",
        8 => "EGP",
        9 => "IGRP",
        17 => "UDP",
        33 => "DCCP",
        41 => "IPv6",
        43 => "Routing",
        44 => "Fragment",
        46 => "RSVP",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        55 => "Mobile IP",
        58 => "ICMPv6",
        62 => "Mobile IP (old)",
        88 => "EIGRP",
        89 => "OSPF",
        103 => "PIM",
        108 => "Compressed IP",
        112 => "VRRP",
        113 => "PGM",
        132 => "SCTP",
        135 => "Mobility",
        143 => "Ethernet",
        _ => "unknown",
    }
}

/// Where the packet will go in the end: the last hop of a source route.
fn source_route_end(mut options: &[u8]) -> Option<Ipv4Addr> {
    while let [kind, rest @ ..] = options {
        let len = match kind {
            0 => return None,
            1 => 1,
            _ => usize::from(*rest.first()?),
        };
        let (option, rest) = options.split_at_checked(len.max(1))?;
        if *kind != 1 && len < 2 {
            return None;
        }
        if matches!(kind, 131 | 137) && len >= 7 {
            return crate::u32_at(option, len - 4).map(Ipv4Addr::from);
        }
        options = rest;
    }
    None
}

/// The header's options. `true`: they were cut off.
fn options(page: &mut Page<'_>, captured: &[u8], len: usize) -> Result<bool, Cut> {
    let (mut at, mut separator) = (0, "");
    while at < len {
        page.push(separator);
        separator = ",";
        let kind = u8_at(captured, at)?;
        match kind {
            0 => page.push("EOL"),
            1 => page.push("NOP"),
            7 => page.push("RR"),
            68 => page.push("timestamp"),
            82 => page.push("traceroute"),
            130 => page.push("security"),
            131 => page.push("LSRR"),
            137 => page.push("SSRR"),
            148 => page.push("RA"),
            other => put!(page, "unknown {other}"),
        }
        let option_len = if kind <= 1 { 1 } else { usize::from(u8_at(captured, at + 1)?) };
        if (kind > 1 && option_len < 2) || option_len > len - at {
            put!(page, " [bad length {option_len}]");
            return Ok(false);
        }
        let Some(option) = captured.get(at..at + option_len) else { return Ok(true) };
        match kind {
            0 => return Ok(false),
            68 => timestamps(page, option)?,
            7 | 131 | 137 => route(page, option)?,
            148 if option_len < 4 => put!(page, " [bad length {option_len}]"),
            148 if u16_at(option, 2)? != 0 => put!(page, " value {}", u16_at(option, 2)?),
            _ => {}
        }
        at += option_len;
    }
    Ok(false)
}

fn route(page: &mut Page<'_>, option: &[u8]) -> Shown {
    let len = option.len();
    if len < 3 {
        put!(page, " [bad length {len}]");
        return Ok(());
    }
    if (len + 1) & 3 != 0 {
        put!(page, " [bad length {len}]");
    }
    let field = u8_at(option, 2)?;
    let pointer = usize::from(field).wrapping_sub(1);
    if pointer < 3 || pointer.wrapping_add(1) & 3 != 0 || pointer > len + 1 {
        put!(page, " [bad ptr {field}]");
    }
    let mut at = 3;
    while at < len {
        put!(page, " {}", ip_at(option, at)?);
        if pointer > at {
            page.push(",");
        }
        at += 4;
    }
    Ok(())
}

fn timestamps(page: &mut Page<'_>, option: &[u8]) -> Shown {
    let len = option.len();
    if len < 4 {
        put!(page, "[bad length {len}]");
        return Ok(());
    }
    page.push(" TS{");
    let flags = u8_at(option, 3)?;
    let hop_len = if flags & 0xf == 0 { 4 } else { 8 };
    if (len - 4) & (hop_len - 1) != 0 {
        put!(page, "[bad length {len}]");
    }
    let field = u8_at(option, 2)?;
    let pointer = usize::from(field).wrapping_sub(1);
    if pointer < 4 || pointer.wrapping_sub(4) & (hop_len - 1) != 0 || pointer > len + 1 {
        put!(page, "[bad ptr {field}]");
    }
    let mut at = 0;
    let known = match flags & 0xf {
        0 => Some("TSONLY"),
        1 => Some("TS+ADDR"),
        3 => Some("PRESPEC"),
        _ => None,
    };
    match known {
        Some(name) => {
            page.push(name);
            let mut separator = " ";
            at = 4;
            while at < len {
                if pointer == at {
                    separator = " ^ ";
                }
                let stamp = u32_at(option, at + hop_len - 4)?;
                match hop_len {
                    8 => put!(page, "{separator}{stamp}@{}", ip_at(option, at)?),
                    _ => put!(page, "{separator}{stamp}@"),
                }
                separator = " ";
                at += hop_len;
            }
        }
        None => put!(page, "[bad ts type {}]", flags & 0xf),
    }
    page.push(if pointer == at { " ^ " } else { "" });
    match flags >> 4 {
        0 => page.push("}"),
        hops => put!(page, " [{hops} hops not recorded]}} "),
    }
    Ok(())
}
