//! SCTP (`print-sctp.c`).

use super::ip::Ip;
use super::page::{Cut, Page, Shown, need, put, u8_at, u16_at, u32_at};
use super::{Dump, hex};

pub(super) fn print(page: &mut Page<'_>, ip: &Ip<'_>) -> Shown {
    let shown = chunks(page, ip);
    page.end_header(shown)
}

fn chunks(page: &mut Page<'_>, ip: &Ip<'_>) -> Shown {
    page.proto = "sctp";
    if ip.len < 12 {
        put!(page, "truncated-sctp - {} bytes missing!", 12 - ip.len);
        return Ok(());
    }
    let bytes = ip.payload;
    need(bytes, 12)?;
    put!(page, "{}.{} > {}.{}: sctp", ip.src, u16_at(bytes, 0)?, ip.dst, u16_at(bytes, 2)?);
    let mut separator = if page.opt.verbose >= 2 { "\n\t" } else { " (" };
    let (mut at, mut left, mut count) = (12, ip.len as usize - 12, 0);
    while left != 0 {
        count += 1;
        if left < 4 {
            put!(page, "{separator}{count}) [chunk descriptor cut off at end of packet]");
            break;
        }
        let chunk = bytes.get(at..).ok_or(Cut::Packet)?;
        need(chunk, 4)?;
        let len = usize::from(u16_at(chunk, 2)?);
        if len < 4 {
            put!(page, "{separator}{count}) [Bad chunk length {len}, < size of chunk descriptor]");
            break;
        }
        if len > left {
            put!(page, "{separator}{count}) [Bad chunk length {len}, > remaining data in packet]");
            break;
        }
        let padding = len.next_multiple_of(4) - len;
        let chunk = need(chunk, len)?;
        put!(page, "{separator}{count}) ");
        if !body(page, chunk)? {
            return Ok(());
        }
        if page.opt.verbose < 2 {
            separator = ", (";
        }
        at += len;
        left -= len;
        if padding != 0 {
            need(bytes, at + padding)?;
            at += padding;
            left = left.saturating_sub(padding);
        }
    }
    Ok(())
}

/// One chunk. `false`: nothing can be read behind it.
fn body(page: &mut Page<'_>, chunk: &[u8]) -> Result<bool, Cut> {
    let kind = u8_at(chunk, 0)?;
    match name(kind) {
        Some(name) => put!(page, "[{name}] "),
        None => put!(page, "[Unknown chunk type: 0x{kind:x}] "),
    }
    let need_len = match kind {
        0 => 12,
        1 | 2 => 16,
        3 => 12,
        _ => return Ok(true),
    };
    if kind == 0 {
        data_flags(page, u8_at(chunk, 1)?);
    }
    if chunk.len() - 4 < need_len {
        put!(page, "bogus chunk length {}]", chunk.len());
        return Ok(false);
    }
    match kind {
        0 => return data(page, chunk),
        3 => return selective_ack(page, chunk),
        _ => {
            put!(page, "[init tag: {}] [rwnd: {}] ", u32_at(chunk, 4)?, u32_at(chunk, 8)?);
            put!(page, "[OS: {}] [MIS: {}] ", u16_at(chunk, 12)?, u16_at(chunk, 14)?);
            put!(page, "[init TSN: {}] ", u32_at(chunk, 16)?);
        }
    }
    Ok(true)
}

fn data_flags(page: &mut Page<'_>, flags: u8) {
    let letters = [(4, "(U)"), (2, "(B)"), (1, "(E)")];
    for (bit, letter) in letters {
        if flags & bit != 0 {
            page.push(letter);
        }
    }
    if flags & 7 != 0 {
        page.push(" ");
    }
}

fn data(page: &mut Page<'_>, chunk: &[u8]) -> Result<bool, Cut> {
    put!(page, "[TSN: {}] [SID: {}] ", u32_at(chunk, 4)?, u16_at(chunk, 8)?);
    put!(page, "[SSEQ {}] [PPID 0x{:x}] ", u16_at(chunk, 10)?, u32_at(chunk, 12)?);
    let payload = chunk.get(16..).unwrap_or_default();
    if payload.is_empty() {
        put!(page, "bogus chunk length {}]", chunk.len());
        return Ok(false);
    }
    if page.opt.verbose >= 2 {
        page.push("[Payload");
        let will_be_dumped = matches!(page.opt.dump, Dump::Hex | Dump::HexAscii);
        if !will_be_dumped && !page.opt.quiet {
            let mut text = String::new();
            hex::hex(&mut text, payload, true);
            page.push(":");
            page.push(&text);
        }
        page.push("]");
    }
    Ok(true)
}

fn selective_ack(page: &mut Page<'_>, chunk: &[u8]) -> Result<bool, Cut> {
    let cumulative = u32_at(chunk, 4)?;
    let (gaps, duplicates) = (u16_at(chunk, 12)?, u16_at(chunk, 14)?);
    put!(page, "[cum ack {cumulative}] [a_rwnd {}] ", u32_at(chunk, 8)?);
    put!(page, "[#gap acks {gaps}] [#dup tsns {duplicates}] ");
    let mut words = chunk.get(16..).unwrap_or_default().chunks(4);
    for gap in 1..=gaps {
        let Some(word) = words.next() else { return Ok(true) };
        if word.len() < 4 {
            put!(page, "bogus chunk length {}]", chunk.len());
            return Ok(false);
        }
        let edge = |at| u16_at(word, at).map(|edge| cumulative.wrapping_add(u32::from(edge)));
        put!(page, "\n\t\t[gap ack block #{gap}: start = {}, end = {}] ", edge(0)?, edge(2)?);
    }
    for duplicate in 1..=duplicates {
        let Some(word) = words.next() else { return Ok(true) };
        if word.len() < 4 {
            put!(page, "bogus chunk length {}]", chunk.len());
            return Ok(false);
        }
        put!(page, "\n\t\t[dup TSN #{duplicate}: {}] ", u32_at(word, 0)?);
    }
    Ok(true)
}

fn name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0x00 => "DATA",
        0x01 => "INIT",
        0x02 => "INIT ACK",
        0x03 => "SACK",
        0x04 => "HB REQ",
        0x05 => "HB ACK",
        0x06 => "ABORT",
        0x07 => "SHUTDOWN",
        0x08 => "SHUTDOWN ACK",
        0x09 => "OP ERR",
        0x0a => "COOKIE ECHO",
        0x0b => "COOKIE ACK",
        0x0c => "ECN ECHO",
        0x0d => "CWR",
        0x0e => "SHUTDOWN COMPLETE",
        0x0f => "AUTH",
        0xa2 => "REL REQ",
        0xa3 => "REL ACK",
        _ => return None,
    })
}
