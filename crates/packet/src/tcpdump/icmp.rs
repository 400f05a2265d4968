//! ICMP (`print-icmp.c`).

use super::ip::{self, Ip};
use super::page::{Cut, Page, Shown, ip_at, need, put, should_be, u8_at, u16_at, u32_at};
use crate::checksum;

/// Where the quoted packet begins.
const QUOTED: usize = 8;
/// Where extensions begin (RFC 4884 §5).
const EXTENSION: usize = 136;
/// Messages longer than this may have extensions.
const EXTENDED_MIN: u32 = 156;

pub(super) fn print(page: &mut Page<'_>, ip: &Ip<'_>) -> Shown {
    let shown = whole(page, ip);
    page.end_header(shown)
}

fn whole(page: &mut Page<'_>, ip: &Ip<'_>) -> Shown {
    page.proto = "icmp";
    let bytes = ip.payload;
    let (kind, code) = (u8_at(bytes, 0)?, u8_at(bytes, 1)?);
    let said = message(page, bytes, kind, code)?;
    put!(page, "ICMP {said}, length {}", ip.len);
    if page.opt.verbose == 0 {
        return Ok(());
    }
    if !ip.fragmented
        && let Some(whole) = bytes.get(..ip.len as usize)
    {
        let sum = checksum::of(whole);
        if sum != 0 {
            let field = u16_at(bytes, 2)?;
            put!(page, " (wrong icmp cksum {field:x} (->{:x})!)", should_be(field, sum));
        }
    }
    if matches!(kind, 3 | 4 | 5 | 11 | 12) {
        page.push("\n\t");
        let quoted = bytes.get(QUOTED..).ok_or(Cut::Packet)?;
        let len = u16_at(quoted, 2)?;
        let quoted = quoted.get(..usize::from(len)).unwrap_or(quoted);
        ip::print(page, quoted, u32::from(len))?;
        page.proto = "icmp";
    }
    if ip.len > EXTENDED_MIN && matches!(kind, 3 | 11 | 12) {
        extension(page, ip)?;
    }
    Ok(())
}

fn message(page: &Page<'_>, bytes: &[u8], kind: u8, code: u8) -> Result<String, Cut> {
    let word = |at| u16_at(bytes, at);
    Ok(match kind {
        0 | 8 => {
            let word_of = if kind == 8 { "request" } else { "reply" };
            format!("echo {word_of}, id {}, seq {}", word(4)?, word(6)?)
        }
        3 => unreachable(page, bytes, code)?,
        4 => "source quench".to_string(),
        5 => {
            let (gateway, dst) = (ip_at(bytes, 4)?, ip_at(bytes, QUOTED + 16)?);
            match code {
                0 => format!("redirect {dst} to net {gateway}"),
                1 => format!("redirect {dst} to host {gateway}"),
                2 => format!("redirect-tos {dst} to net {gateway}"),
                3 => format!("redirect-tos {dst} to host {gateway}"),
                other => format!("redirect-#{other} {dst} to {gateway}"),
            }
        }
        9 => router_advertisement(bytes)?,
        10 => "router solicitation".to_string(),
        11 => {
            need(bytes, QUOTED + 20)?;
            match code {
                0 => "time exceeded in-transit".to_string(),
                1 => "ip reassembly time exceeded".to_string(),
                other => format!("time exceeded-#{other}"),
            }
        }
        12 if code != 0 => format!("parameter problem - code {code}"),
        12 => format!("parameter problem - octet {}", u8_at(bytes, 4)?),
        13 => format!("time stamp query id {} seq {}", word(4)?, word(6)?),
        14 => format!(
            "time stamp reply id {} seq {}: org {}, recv {}, xmit {}",
            u16_at(need(bytes, 20)?, 4)?,
            word(6)?,
            time_of_day(u32_at(bytes, 8)?),
            time_of_day(u32_at(bytes, 12)?),
            time_of_day(u32_at(bytes, 16)?)
        ),
        15 => "information request".to_string(),
        16 => "information reply".to_string(),
        17 => "address mask request".to_string(),
        18 => format!("address mask is 0x{:08x}", u32_at(bytes, 8)?),
        other => format!("type-#{other}"),
    })
}

/// Milliseconds since midnight.
fn time_of_day(millis: u32) -> String {
    let secs = millis / 1000;
    format!("{:02}:{:02}:{:02}.{:03}", secs / 3600, secs / 60 % 60, secs % 60, millis % 1000)
}

fn unreachable(page: &Page<'_>, bytes: &[u8], code: u8) -> Result<String, Cut> {
    if code == 3 {
        need(bytes, QUOTED + 10)?;
    }
    let dst = ip_at(bytes, QUOTED + 16)?;
    Ok(match code {
        0 => format!("net {dst} unreachable"),
        1 => format!("host {dst} unreachable"),
        2 => format!("{dst} protocol {} unreachable", u8_at(bytes, QUOTED + 9)?),
        3 => {
            let header_len = usize::from(u8_at(bytes, QUOTED)? & 0xf) * 4;
            let port = u16_at(bytes, QUOTED + header_len + 2)?;
            match u8_at(bytes, QUOTED + 9)? {
                6 => format!("{dst} tcp port {} unreachable", page.port(port, "tcp")),
                17 => format!("{dst} udp port {} unreachable", page.port(port, "udp")),
                other => format!("{dst} protocol {other} port {port} unreachable"),
            }
        }
        4 => match u16_at(bytes, 6)? {
            0 => format!("{dst} unreachable - need to frag"),
            mtu => format!("{dst} unreachable - need to frag (mtu {mtu})"),
        },
        5 => format!("{dst} unreachable - source route failed"),
        6 => format!("net {dst} unreachable - unknown"),
        7 => format!("host {dst} unreachable - unknown"),
        8 => format!("{dst} unreachable - source host isolated"),
        9 => format!("net {dst} unreachable - admin prohibited"),
        10 => format!("host {dst} unreachable - admin prohibited"),
        11 => format!("net {dst} unreachable - tos prohibited"),
        12 => format!("host {dst} unreachable - tos prohibited"),
        13 => format!("host {dst} unreachable - admin prohibited filter"),
        14 => format!("host {dst} unreachable - host precedence violation"),
        15 => format!("host {dst} unreachable - precedence cutoff"),
        other => format!("{dst} unreachable - #{other}"),
    })
}

fn router_advertisement(bytes: &[u8]) -> Result<String, Cut> {
    let lifetime = u32::from(u16_at(need(bytes, 8)?, 6)?);
    let lifetime = match lifetime {
        0..60 => format!("{lifetime}"),
        60..3600 => format!("{}:{:02}", lifetime / 60, lifetime % 60),
        _ => format!("{}:{:02}:{:02}", lifetime / 3600, lifetime / 60 % 60, lifetime % 60),
    };
    let (count, size) = (u8_at(bytes, 4)?, u8_at(bytes, 5)?);
    let mut said = format!("router advertisement lifetime {lifetime} {count}:");
    if size != 2 {
        return Ok(said + &format!(" [size {size}]"));
    }
    for router in 0..usize::from(count) {
        let at = 8 + router * 8;
        let entry = need(bytes, at + 8)?;
        said.push_str(&format!(" {{{} {}}}", ip_at(entry, at)?, u32_at(entry, at + 4)?));
    }
    Ok(said)
}

/// Multi-part messages (RFC 4884) are recognised; their objects are not taken apart.
fn extension(page: &mut Page<'_>, ip: &Ip<'_>) -> Shown {
    let bytes = ip.payload;
    need(bytes, EXTENSION + 8)?;
    let len = ip.len as usize - EXTENSION;
    let extension = bytes.get(EXTENSION..EXTENSION + len);
    if u8_at(bytes, 5)? == 0
        && let Some(extension) = extension
        && checksum::of(extension) != 0
    {
        return Ok(());
    }
    let version = u8_at(bytes, EXTENSION)? >> 4;
    put!(page, "\n\tICMP Multi-Part extension v{version}");
    if version != 2 {
        page.push(" packet not supported");
        return Ok(());
    }
    if let Some(extension) = extension {
        let word = if checksum::of(extension) == 0 { "" } else { "in" };
        let field = u16_at(bytes, EXTENSION + 2)?;
        put!(page, ", checksum 0x{field:04x} ({word}correct), length {len}");
    }
    Ok(())
}
